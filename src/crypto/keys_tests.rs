use super::*;

const K: [u8; 32] = [3; 32];
const H: [u8; 32] = [5; 32];

/// `frame` with one bit turned.
fn flip(frame: &[u8], bit: usize) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[bit / 8] ^= 1 << (bit % 8);
    frame
}

fn suites() -> impl Iterator<Item = Suite> {
    (0..=255).filter_map(Suite::from_byte)
}

fn frame_of(plaintext: &[u8]) -> Vec<u8> {
    [&[0; HEADER_LEN], plaintext, &[0; TAG_LEN]].concat()
}

/// The next frame of `sealer`.
fn sealed(sealer: &mut Sealer, plaintext: &[u8]) -> Vec<u8> {
    let mut frame = frame_of(plaintext);
    sealer.seal(1_700_000_000_000, &mut frame).expect("sealed");
    frame
}

#[test]
fn a_frame_survives_the_round_trip() {
    for suite in suites() {
        let (mut sealer, mut opener) = (Sealer::new(suite, &K, &H), Opener::new(suite, &K, &H));
        for length in [1, 2, 16, 1000, 262_144] {
            let plaintext: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let mut frame = sealed(&mut sealer, &plaintext);
            let header = Header::decode(frame.first_chunk().expect("20 bytes")).expect("in range");
            assert_eq!(header.frame_len(), frame.len());
            assert_eq!(
                (header.counter, header.timestamp),
                (opener.expected(), 1_700_000_000_000)
            );
            let range = opener.open(&mut frame).expect("opens");
            assert_eq!(range, HEADER_LEN..HEADER_LEN + length);
            assert!(frame[range] == plaintext);
        }
        assert_eq!((sealer.counter(), opener.expected()), (5, 5));
    }
}

/// Made from SPEC section 4 with Python's hmac and `cryptography`: one frame on each side of a ratchet.
#[test]
fn known_frames() {
    let known = [
        (
            1,
            0,
            "0000001500000000000000000000018bcfe56800f0a2666cfe40a2b3e56764c26c8c74eb77b7ac7b6b",
        ),
        (
            1,
            (1 << 20) - 1,
            "0000001500000000000fffff0000018bcfe56800c09db6f30c16834048998e4fa339286479a67819b0",
        ),
        (
            1,
            1 << 20,
            "0000001500000000001000000000018bcfe5680099f9c8495cac9a11b8ab9e8dfacb762fab55430082",
        ),
        (
            2,
            2 << 20,
            "0000001500000000002000000000018bcfe568000f924d42857e47d4f35ca949a79346b75a8b800de5",
        ),
    ];
    for (byte, counter, expected) in known {
        // AES-256-GCM is not in every build.
        let Some(suite) = Suite::from_byte(byte) else { continue };
        let mut sealer = Sealer::starting_at(suite, &K, &H, counter);
        let frame = sealed(&mut sealer, b"hello");
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected, "suite {byte} counter {counter}");
    }
}

#[test]
fn the_ratchet_turns_without_a_message() {
    for suite in suites() {
        let start = (1 << 20) - 2;
        let mut sealer = Sealer::starting_at(suite, &K, &H, start);
        let mut opener = Opener::starting_at(suite, &K, &H, start);
        for counter in start..start + 5 {
            assert_eq!(opener.expected(), counter);
            let mut frame = sealed(&mut sealer, b"x");
            assert!(opener.open(&mut frame).is_ok(), "counter {counter}");
        }
        assert_eq!((sealer.0.generation, opener.direction.generation), (1, 1));
        // The generation before is gone: its secret, key and iv were assigned over.
        assert_ne!(*sealer.0.secret, *Direction::new(suite, &K, &H).secret);
        assert_ne!(*sealer.0.iv, *Direction::new(suite, &K, &H).iv);
    }
}

#[test]
fn every_altered_bit_of_a_frame_is_refused() {
    for suite in suites() {
        let frame = sealed(&mut Sealer::new(suite, &K, &H), b"some plaintext");
        for bit in 0..frame.len() * 8 {
            let mut opener = Opener::new(suite, &K, &H);
            let error = opener.open(&mut flip(&frame, bit)).expect_err("altered");
            match bit / 8 {
                0..4 => assert_eq!(error, OpenError::Length, "bit {bit}"),
                4..12 => assert!(matches!(error, OpenError::Counter { expected: 0, .. }), "bit {bit}"),
                _ => assert_eq!(error, OpenError::Tag, "bit {bit}"),
            }
            // SPEC section 5: fatal, so there is no second guess, not even a good one.
            assert_eq!(opener.open(&mut frame.clone()), Err(OpenError::Closed));
        }
    }
}

#[test]
fn dropped_repeated_and_reflected_frames_are_refused() {
    for suite in suites() {
        let mut sealer = Sealer::new(suite, &K, &H);
        let frames = [sealed(&mut sealer, b"a"), sealed(&mut sealer, b"b")];

        let mut opener = Opener::new(suite, &K, &H);
        let dropped = opener.open(&mut frames[1].clone());
        assert_eq!(dropped, Err(OpenError::Counter { expected: 0, got: 1 }));

        let mut opener = Opener::new(suite, &K, &H);
        assert!(opener.open(&mut frames[0].clone()).is_ok());
        let repeated = opener.open(&mut frames[0].clone());
        assert_eq!(repeated, Err(OpenError::Counter { expected: 1, got: 0 }));

        for (k, h) in [([4; 32], H), (K, [6; 32])] {
            let mut opener = Opener::new(suite, &k, &h);
            assert_eq!(opener.open(&mut frames[0].clone()), Err(OpenError::Tag));
        }
    }
}

#[test]
fn suites_do_not_share_keys() {
    let all: Vec<_> = suites().collect();
    let [a, b] = all[..] else { return };
    let mut frame = sealed(&mut Sealer::new(a, &K, &H), b"a");
    assert_eq!(Opener::new(b, &K, &H).open(&mut frame), Err(OpenError::Tag));
    let secret = kdf::extract(&H, &K);
    let key = |suite: Suite| kdf::expand::<32>(&secret, &[b"wa-sidecar/1 key", &[suite.byte()]]);
    assert_ne!(*key(a), *key(b));
}

#[test]
fn the_counter_never_reaches_its_limit() {
    for suite in suites() {
        let mut sealer = Sealer::new(suite, &K, &H);
        let mut opener = Opener::new(suite, &K, &H);
        // 2^28 ratchet steps would take minutes: pretend.
        for direction in [&mut sealer.0, &mut opener.direction] {
            direction.counter = MAX_COUNTER - 1;
            direction.generation = direction.counter >> GENERATION_BITS;
        }
        let mut frame = sealed(&mut sealer, b"last");
        let mut beyond = frame_of(b"beyond");
        assert_eq!(sealer.seal(0, &mut beyond), Err(SealError::Exhausted));
        assert_eq!(sealer.seal(0, &mut beyond), Err(SealError::Exhausted));
        assert_eq!(beyond, frame_of(b"beyond"), "touched");

        assert!(opener.open(&mut frame).is_ok());
        frame[4..12].copy_from_slice(&MAX_COUNTER.to_be_bytes());
        assert_eq!(opener.open(&mut frame), Err(OpenError::Exhausted));
    }
}

#[test]
fn frames_too_short_or_cut_off_are_refused() {
    let suite = Suite::ChaCha20Poly1305;
    let whole = sealed(&mut Sealer::new(suite, &K, &H), b"abc");
    for length in 0..whole.len() {
        let cut = Opener::new(suite, &K, &H).open(&mut whole[..length].to_vec());
        assert_eq!(cut, Err(OpenError::Length), "{length} bytes");
    }
    let longer = Opener::new(suite, &K, &H).open(&mut [&whole[..], &[0]].concat());
    assert_eq!(longer, Err(OpenError::Length));
}

#[test]
fn debug_shows_no_key() {
    let suite = Suite::ChaCha20Poly1305;
    let split = Split {
        k_i: Zeroizing::new(K),
        k_r: Zeroizing::new(K),
        h: H,
    };
    assert_eq!(format!("{split:?}"), "Split");
    let sealer = Sealer::new(suite, &K, &H);
    assert_eq!(format!("{sealer:?}"), "Sealer(chacha20-poly1305, counter 0)");
    let opener = Opener::new(suite, &K, &H);
    assert_eq!(format!("{opener:?}"), "Opener(chacha20-poly1305, counter 0)");
}

#[test]
fn both_ends_can_move_between_threads() {
    fn send<T: Send>() {}
    send::<Sealer>();
    send::<Opener>();
    send::<Split>();
}
