use super::*;

fn every_message() -> (Vec<u8>, Vec<Message>) {
    let mut out = vec![0; 512];
    let mut at = 0;
    let noise = [7; REKEY_NOISE_LEN];
    let mut w = Writer::new(&mut out, &mut at);
    assert!(w.open(1, b"a.b-c_9"));
    assert!(w.open(2, b""));
    assert!(w.credit(1, 1 << 40));
    assert!(w.yield_back(1, 3));
    assert!(w.fin(1, 9));
    assert!(w.reset(1, Code::DialTimeout));
    assert!(w.stop(1, Code::AppReset));
    assert!(w.ping(5, 6));
    assert!(w.pong(7, 8));
    assert!(w.rekey1(&noise));
    assert!(w.rekey2(Some(&noise)));
    assert!(w.rekey2(None));
    assert!(w.rekey3());
    assert!(w.goaway(GoAway::KeysTooOld));
    out.truncate(at);
    out.extend_from_slice(&data_header(3, 2));
    out.extend_from_slice(b"hi");
    let end = out.len();
    let expected = vec![
        Message::Open { id: 1, service: 6..13 },
        Message::Open { id: 2, service: 19..19 },
        Message::Credit { id: 1, limit: 1 << 40 },
        Message::Yield { id: 1, limit: 3 },
        Message::Fin { id: 1, offset: 9 },
        Message::Reset { id: 1, code: 3 },
        Message::Stop { id: 1, code: 1 },
        Message::Ping { token: 5, clock: 6 },
        Message::Pong { token: 7, clock: 8 },
        Message::Rekey1 { noise },
        Message::Rekey2 { status: 0, noise },
        Message::Rekey2 {
            status: 1,
            noise: [0; REKEY_NOISE_LEN],
        },
        Message::Rekey3,
        Message::GoAway { code: 2 },
        Message::Data {
            id: 3,
            bytes: end - 2..end,
        },
    ];
    (out, expected)
}

#[test]
fn what_is_written_is_what_is_read() {
    let (bytes, expected) = every_message();
    let mut at = 0;
    let mut got = Vec::new();
    while at < bytes.len() {
        let (message, next) = Message::decode(&bytes, at).expect("own messages decode");
        got.push(message);
        at = next;
    }
    assert_eq!(got, expected);
}

#[test]
fn a_message_cut_anywhere_is_refused() {
    let (bytes, expected) = every_message();
    let mut at = 0;
    for message in expected {
        let (_, next) = Message::decode(&bytes, at).expect("own messages decode");
        for end in at..next {
            assert_eq!(
                Message::decode(&bytes[..end], at),
                Err(Malformed::CutOff),
                "{message:?} cut at {end}"
            );
        }
        at = next;
    }
}

#[test]
fn what_is_not_a_message_is_refused() {
    assert_eq!(Message::decode(&[0x00], 0), Err(Malformed::UnknownType(0)));
    assert_eq!(Message::decode(&[0x0e], 0), Err(Malformed::UnknownType(0x0e)));
    assert_eq!(
        Message::decode(&[DATA, 0, 0, 0, 1, 0, 0, 0, 0], 0),
        Err(Malformed::EmptyData)
    );
    assert_eq!(
        Message::decode(&[DATA, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 1], 0),
        Err(Malformed::CutOff)
    );
    assert_eq!(Message::decode(&[OPEN, 0, 0, 0, 1, 65], 0), Err(Malformed::BadService));
    assert_eq!(
        Message::decode(&[OPEN, 0, 0, 0, 1, 1, b'/'], 0),
        Err(Malformed::BadService)
    );
    let mut refusal = [0; 50];
    refusal[..2].copy_from_slice(&[REKEY2, 1]);
    refusal[49] = 1;
    assert_eq!(Message::decode(&refusal, 0), Err(Malformed::BadRefusal));
}

#[test]
fn no_room_writes_nothing() {
    let (mut out, mut at) = ([0xaa; 12], 0);
    assert!(!Writer::new(&mut out, &mut at).credit(1, 2));
    assert!(!Writer::new(&mut out, &mut at).open(1, &[b'a'; 65]));
    assert_eq!((at, out), (0, [0xaa; 12]));
}
