use super::*;

fn message_1() -> Message1 {
    Message1 {
        clock_ms: 0x0102_0304_0506_0708,
        instance: [9; 16],
        features: 0x8000_0000_0000_0001,
        suites: Offer::new(&[2, 1]).expect("two"),
        window: 16_384,
        max_streams: 1024,
        software: Software::new("wa-sidecar/0.1.0").expect("printable"),
        name: Name::new("web-1"),
        peer_name: Name::new("core-1"),
    }
}

fn message_2(answer: Answer) -> Message2 {
    Message2 {
        clock_ms: 7,
        instance: [9; 16],
        features: 0,
        software: Software::new("s").expect("printable"),
        name: None,
        answer,
    }
}

const ACCEPTED: Answer = Answer::Accepted {
    suite: 1,
    window: 1024,
    max_streams: 1,
};

type Raw = Vec<(u8, Vec<u8>)>;

/// The fields of a payload, to be changed and joined again.
fn fields(payload: &[u8]) -> Raw {
    let mut fields = Vec::new();
    let mut at = 0;
    while payload[at] != 0 {
        let length = usize::from(u16::from_be_bytes([payload[at + 1], payload[at + 2]]));
        fields.push((payload[at], payload[at + 3..at + 3 + length].to_vec()));
        at += 3 + length;
    }
    fields
}

fn joined(fields: &[(u8, Vec<u8>)]) -> [u8; PAYLOAD_LEN] {
    let mut payload = Vec::new();
    for (kind, value) in fields {
        payload.push(*kind);
        payload.extend_from_slice(&(value.len() as u16).to_be_bytes());
        payload.extend_from_slice(value);
    }
    payload.resize(PAYLOAD_LEN, 0);
    payload.try_into().expect("short enough")
}

fn decode_1(fields: &[(u8, Vec<u8>)]) -> Result<Message1, Malformed> {
    Message1::decode(&joined(fields))
}

fn decode_2(fields: &[(u8, Vec<u8>)]) -> Result<Message2, Malformed> {
    Message2::decode(&joined(fields))
}

/// `fields` with the value of `kind` replaced.
fn with(fields: &[(u8, Vec<u8>)], kind: u8, value: &[u8]) -> Raw {
    let mut fields: Raw = fields.iter().filter(|(other, _)| *other != kind).cloned().collect();
    let at = fields.partition_point(|(other, _)| *other < kind);
    fields.insert(at, (kind, value.to_vec()));
    fields
}

#[test]
fn what_is_encoded_is_what_is_decoded() {
    let full = message_1();
    assert_eq!(Message1::decode(&full.encode()), Ok(full));
    let bare = Message1 {
        name: None,
        peer_name: None,
        ..full
    };
    assert_eq!(Message1::decode(&bare.encode()), Ok(bare));

    let codes = (1..=255).filter_map(Refusal::from_code);
    let refused = codes.map(|refusal| Answer::Refused { refusal, figure: -5 });
    for answer in refused.chain([ACCEPTED]) {
        let message = message_2(answer);
        assert_eq!(Message2::decode(&message.encode()), Ok(message));
    }
}

#[test]
fn the_bytes_of_the_first_fields() {
    let payload = message_1().encode();
    assert_eq!(payload[..14], [1, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 2, 0, 16]);
    let kinds: Vec<_> = fields(&payload).iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let kinds: Vec<_> = fields(&message_2(ACCEPTED).encode())
        .iter()
        .map(|(kind, _)| *kind)
        .collect();
    assert_eq!(kinds, [1, 2, 3, 4, 5, 6, 7, 10]);
}

#[test]
fn the_longest_values_fit() {
    let name = Name::new(&"n".repeat(64));
    let message = Message1 {
        suites: Offer::new(&[7; 16]).expect("16"),
        software: Software::new(&"s".repeat(32)).expect("32"),
        name,
        peer_name: name,
        ..message_1()
    };
    assert_eq!(Message1::decode(&message.encode()), Ok(message));
}

#[test]
fn each_required_field_is_required() {
    let whole = fields(&message_1().encode());
    for i in 0..whole.len() {
        let mut cut = whole.clone();
        let (kind, _) = cut.remove(i);
        match kind {
            8 | 9 => assert!(decode_1(&cut).is_ok()),
            _ => assert!(matches!(decode_1(&cut), Err(Malformed::Missing(field)) if field as u8 == kind)),
        }
    }
    let whole = fields(&message_2(ACCEPTED).encode());
    for i in 0..whole.len() {
        let mut cut = whole.clone();
        let (kind, _) = cut.remove(i);
        assert!(matches!(decode_2(&cut), Err(Malformed::Missing(field)) if field as u8 == kind));
        // SPEC 3.3: what a link needs is required only with result 0.
        let refused = decode_2(&with(&cut, 10, &[3, 0, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(refused.is_ok(), matches!(kind, 4..=6 | 10), "{kind}");
    }
}

#[test]
fn values_outside_of_the_table_are_malformed() {
    let whole = fields(&message_1().encode());
    let long = |n: usize| vec![b'a'; n];
    let bad: [(u8, Vec<Vec<u8>>); 9] = [
        (1, vec![long(0), long(7), long(9)]),
        (2, vec![long(0), long(15), long(17)]),
        (3, vec![long(0), long(7), long(9)]),
        (4, vec![long(0), long(17)]),
        (5, vec![long(3), long(5), vec![0, 0, 3, 0xff], vec![0, 0x40, 0, 1]]),
        (6, vec![long(3), long(5), vec![0; 4], vec![0, 0x10, 0, 1]]),
        (7, vec![long(0), long(33), b"a\n".to_vec(), vec![0x7f]]),
        (8, vec![long(0), long(65), b"a b".to_vec(), vec![0xc3, 0xa4]]),
        (9, vec![long(0), long(65), b"a/b".to_vec()]),
    ];
    for (kind, values) in bad {
        for value in values {
            let error = decode_1(&with(&whole, kind, &value)).expect_err("malformed");
            assert!(
                matches!(error, Malformed::Value(field) if field as u8 == kind),
                "{kind} {value:?}: {error}"
            );
        }
    }
    let good: [(u8, &[u8]); 7] = [
        (4, &[0]),
        (5, &[0, 0, 4, 0]),
        (5, &[0, 0x40, 0, 0]),
        (6, &[0, 0, 0, 1]),
        (6, &[0, 0x10, 0, 0]),
        (7, b"~ "),
        (8, b"-"),
    ];
    for (kind, value) in good {
        assert!(decode_1(&with(&whole, kind, value)).is_ok(), "{kind} {value:?}");
    }
    // The same table in message 2, where one suite is chosen.
    let whole = fields(&message_2(ACCEPTED).encode());
    for (kind, value, field) in [
        (4, vec![1, 2], Field::Suites),
        (4, vec![], Field::Suites),
        (10, vec![0; 8], Field::Result),
        (10, vec![0; 10], Field::Result),
        (10, vec![], Field::Result),
    ] {
        assert_eq!(decode_2(&with(&whole, kind, &value)), Err(Malformed::Value(field)));
    }
}

#[test]
fn a_field_of_the_other_message_is_malformed() {
    let one = with(&fields(&message_1().encode()), 10, &[0; 9]);
    assert_eq!(decode_1(&one), Err(Malformed::Misplaced(Field::Result)));
    let two = with(&fields(&message_2(ACCEPTED).encode()), 9, b"core-1");
    assert_eq!(decode_2(&two), Err(Malformed::Misplaced(Field::PeerName)));
}

#[test]
fn repeated_and_swapped_fields_are_malformed() {
    let whole = fields(&message_1().encode());
    for i in 0..whole.len() {
        let mut repeated = whole.clone();
        repeated.insert(i, whole[i].clone());
        let kind = whole[i].0;
        assert_eq!(
            decode_1(&repeated),
            Err(Malformed::OutOfOrder {
                field: kind,
                after: kind
            })
        );
        if i > 0 {
            let mut swapped = whole.clone();
            swapped.swap(i, i - 1);
            let error = decode_1(&swapped);
            assert_eq!(
                error,
                Err(Malformed::OutOfOrder {
                    field: kind - 1,
                    after: kind
                })
            );
        }
    }
}

#[test]
fn unknown_fields_are_skipped_in_their_order() {
    let whole = fields(&message_1().encode());
    let extended = with(&with(&whole, 0x0b, b"later"), 0xff, b"");
    assert_eq!(decode_1(&extended), Ok(message_1()));
    let mut early = extended.clone();
    early.insert(0, (0x0b, vec![]));
    assert_eq!(decode_1(&early), Err(Malformed::OutOfOrder { field: 1, after: 0x0b }));
}

#[test]
fn padding_is_zeros() {
    let payload = message_1().encode();
    let end: usize = fields(&payload).iter().map(|(_, value)| 3 + value.len()).sum();
    for at in end + 1..PAYLOAD_LEN {
        let mut altered = payload;
        altered[at] = 1;
        assert_eq!(Message1::decode(&altered), Err(Malformed::Padding), "byte {at}");
    }
}

#[test]
fn fields_that_run_over_the_end_are_cut_off() {
    let whole = fields(&message_1().encode());
    let used: usize = whole.iter().map(|(_, value)| 3 + value.len()).sum();
    // A skipped field may fill the payload to its last byte, so that there is no end marker.
    let filling = with(&whole, 0x20, &vec![1; PAYLOAD_LEN - used - 3]);
    assert_eq!(decode_1(&filling), Ok(message_1()));
    let mut payload = joined(&filling);
    payload[used + 2] = payload[used + 2].wrapping_add(1);
    assert_eq!(Message1::decode(&payload), Err(Malformed::CutOff(0x20)));
    // One or two bytes are left: no room for a length.
    for left in 1..3 {
        let mut payload = joined(&with(&whole, 0x20, &vec![1; PAYLOAD_LEN - used - 3 - left]));
        payload[PAYLOAD_LEN - left] = 0x21;
        assert_eq!(Message1::decode(&payload), Err(Malformed::CutOff(0x21)));
    }
}

#[test]
fn no_payload_panics() {
    let mut state = 1_u64;
    for round in 0..20_000 {
        let mut payload = if round % 2 == 0 {
            message_1().encode()
        } else {
            message_2(ACCEPTED).encode()
        };
        for _ in 0..1 + round % 4 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            payload[(state >> 33) as usize % 140] = (state >> 24) as u8;
        }
        if let Ok(message) = Message1::decode(&payload) {
            assert_eq!(Message1::decode(&message.encode()), Ok(message));
        }
        if let Ok(message) = Message2::decode(&payload) {
            assert_eq!(Message2::decode(&message.encode()), Ok(message));
        }
    }
}
