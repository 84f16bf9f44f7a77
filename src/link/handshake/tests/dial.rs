use super::*;
use core::num::NonZeroU8;

#[test]
fn every_altered_bit_of_message_2_fails() {
    let (message2, _) = accepted(answer(&mut acceptor(), &dial().1, now(0)));
    for bit in 0..MESSAGE_LEN * 8 {
        let mut altered = message2;
        altered[bit / 8] ^= 1 << (bit % 8);
        match bit / 8 {
            0 => assert_eq!(dial_error(&altered), DialError::Version(altered[0])),
            _ => assert_eq!(dial_error(&altered), DialError::Unauthenticated, "bit {bit}"),
        }
    }
}

#[test]
fn suites_that_were_not_offered_are_refused() {
    for suite in [0, 2, 3, 255] {
        let answer = Answer::Accepted {
            suite,
            window: 1024,
            max_streams: 1,
        };
        let error = concluded(&local("web"), &payload_2(answer).encode()).expect_err("not offered");
        assert_eq!(error, DialError::SuiteNotOffered(suite));
    }
}

#[test]
fn malformed_answers_and_refusals_are_no_links() {
    let mut padded = payload_2(YES).encode();
    padded[PAYLOAD_LEN - 1] = 1;
    assert!(matches!(
        concluded(&local("web"), &padded),
        Err(DialError::Malformed(_))
    ));
    for code in 1..=255 {
        let refusal = Refusal::from_code(code).expect("not accepted");
        let answer = Answer::Refused { refusal, figure: 5 };
        let error = concluded(&local("web"), &payload_2(answer).encode()).expect_err("refused");
        assert!(matches!(error, DialError::Refused { result, figure: 5, .. } if result == refusal));
        assert_eq!(error.result().label(), refusal.label());
    }
}

#[test]
fn clock_skew_says_whose_clock_is_ahead() {
    let says = |role, figure| explain(role, Refusal::ClockSkew, figure, None).to_string();
    let responder_ahead = "differ by 12.3 s: the peer's is ahead of this host's";
    assert!(says(Role::Initiator, 12_345).contains(responder_ahead));
    assert!(says(Role::Responder, -12_345).contains(responder_ahead));
    let own_ahead = "differ by 86400.0 s: this host's is ahead of the peer's";
    assert!(says(Role::Initiator, -86_400_000).contains(own_ahead));
    assert!(says(Role::Responder, 86_400_000).contains(own_ahead));
    assert!(says(Role::Initiator, i64::MIN).contains("chronyc tracking"));
}

#[test]
fn every_failure_says_what_to_do() {
    let peer = Peer {
        name: None,
        software: Software::own(),
        instance: [0; 16],
    };
    for code in 1..=8 {
        let refusal = Refusal::from_code(code).expect("not accepted");
        for role in [Role::Initiator, Role::Responder] {
            let explanation = explain(role, refusal, 3, Some(&peer));
            assert!(explanation.what.len() > 10 && explanation.advice.len() > 10);
        }
    }
    for error in [
        DialError::Closed,
        DialError::Version(72),
        DialError::Unauthenticated,
        DialError::SuiteNotOffered(2),
    ] {
        assert!(!error.explanation().advice.is_empty());
    }
    let unknown = Refusal::Unknown(NonZeroU8::MAX);
    assert!(explain(Role::Initiator, unknown, 0, None).what.contains("255"));
}
