//! key_schedule/ and frames/: keys to frames and back (SPEC sections 4, 5 and 10).

use crate::{Case, Verdict};
use sha2::{Digest, Sha256};
use wa_sidecar::{
    crypto::{
        Suite,
        keys::{OpenError, Opener, Sealer},
    },
    link::{
        clock::{Clock, is_fresh},
        time::{Instant, Now},
    },
    wire::{
        frame::{HEADER_LEN, Header, MAX_PLAINTEXT, TAG_LEN},
        message::{DATA_HEADER_LEN, data_header},
    },
};

/// `None`: this build has not this suite.
fn suite(case: &Case) -> Option<Suite> {
    let suite = Suite::from_byte(u8::try_from(case.number("suite")).expect("a byte"));
    assert!(suite.is_some() || !cfg!(feature = "aws-lc"));
    suite
}

fn sealed(sealer: &mut Sealer, timestamp: u64, plaintext: &[u8]) -> Vec<u8> {
    let mut frame = [&[0; HEADER_LEN], plaintext, &[0; TAG_LEN]].concat();
    sealer.seal(timestamp, &mut frame).expect("sealed");
    frame
}

/// The generations themselves are no part of the public API: the frames show that they are right.
pub fn run_key_schedule(case: &Case) -> Verdict {
    let Some(suite) = suite(case) else {
        return pass_over(case);
    };
    let (k, h) = (case.array("k"), case.array("h"));
    if case.get("frame").is_some() {
        let mut opener = Opener::starting_at(suite, &k, &h, case.number("counter"));
        return opener.open(&mut case.bytes("frame")).map(drop).map_err(word);
    }
    for wanted in case.list("frames") {
        let (counter, frame) = (wanted.number("counter"), wanted.bytes("frame"));
        let mut sealer = Sealer::starting_at(suite, &k, &h, counter);
        assert_eq!(
            sealed(&mut sealer, wanted.number("timestamp"), &wanted.bytes("plaintext")),
            frame
        );
        let (mut opener, mut opened) = (Opener::starting_at(suite, &k, &h, counter), frame);
        let plaintext = opener.open(&mut opened).expect("it opens");
        assert_eq!(opened[plaintext], wanted.bytes("plaintext"));
    }
    across_borders(case, suite);
    Ok(())
}

/// One sealer and one opener that take the borders in their stride: what stands before and behind each is the vector's.
fn across_borders(case: &Case, suite: Suite) {
    let (k, h) = (case.array("k"), case.array("h"));
    let frames = case.list("frames");
    for pair in frames
        .windows(2)
        .filter(|pair| pair[0].number("counter") + 1 == pair[1].number("counter"))
    {
        let mut sealer = Sealer::starting_at(suite, &k, &h, pair[0].number("counter"));
        let mut opener = Opener::starting_at(suite, &k, &h, pair[0].number("counter"));
        for wanted in pair {
            let mut frame = sealed(&mut sealer, wanted.number("timestamp"), &wanted.bytes("plaintext"));
            assert_eq!(frame, wanted.bytes("frame"));
            opener.open(&mut frame).expect("it opens");
        }
    }
}

pub fn run(case: &Case) -> Verdict {
    let Some(suite) = suite(case) else {
        return pass_over(case);
    };
    let (k, h, counter) = (case.array("k"), case.array("h"), case.number("counter"));
    if case.get("frame_sha256").is_some() {
        largest(case, suite);
        return Ok(());
    }
    let mut frame = case.bytes("frame");
    let header_bytes = frame.first_chunk::<HEADER_LEN>().ok_or("truncated")?;
    let header = Header::decode(header_bytes).map_err(|_| "bad_length")?;
    if frame.len() < header.frame_len() {
        return Err("truncated");
    }
    let mut opener = Opener::starting_at(suite, &k, &h, counter);
    // The order of SPEC section 5, as `Link::accept` has it: length, counter, age, tag.
    if header.counter != opener.expected() {
        return Err("bad_counter");
    }
    if !is_fresh(age_ms(case, header.timestamp)) {
        return Err("stale");
    }
    let plaintext = opener.open(&mut frame).map_err(word)?;
    assert_eq!(frame[plaintext], case.bytes("plaintext"));
    Ok(())
}

fn age_ms(case: &Case, stamp: u64) -> i64 {
    let at_ms = |ms: u64| Instant(ms * 1000);
    let mapping = case.at("mapping");
    let mut clock = Clock::new(Now::default(), Some(mapping.number("s")), at_ms(mapping.number("l")));
    clock.age_ms(stamp, at_ms(case.number("now")))
}

fn largest(case: &Case, suite: Suite) {
    let zeros = usize::try_from(case.number("data_zeros")).expect("a size");
    assert_eq!(zeros, MAX_PLAINTEXT - DATA_HEADER_LEN);
    let header = data_header(1, u32::try_from(zeros).expect("a size"));
    let plaintext = [&header[..], &vec![0; zeros]].concat();
    let (k, h) = (case.array("k"), case.array("h"));
    let mut frame = sealed(&mut Sealer::new(suite, &k, &h), case.number("timestamp"), &plaintext);
    assert_eq!(Sha256::digest(&frame)[..], case.bytes("frame_sha256"));
    let range = Opener::new(suite, &k, &h).open(&mut frame).expect("it opens");
    assert_eq!(frame[range], plaintext);
}

fn word(error: OpenError) -> &'static str {
    match error {
        OpenError::Tag => "bad_tag",
        OpenError::Counter { .. } => "bad_counter",
        OpenError::Length => "truncated",
        OpenError::Exhausted => "counter_end",
        OpenError::Closed => "closed",
    }
}

/// A case of a suite that this build has not.
fn pass_over(case: &Case) -> Verdict {
    match case.text("expect") {
        "ok" => Ok(()),
        _ => Err("bad_tag"),
    }
}
