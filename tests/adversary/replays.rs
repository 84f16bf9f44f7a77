//! Recorded links, sent again: while the first is alive, after it, after a restart, and to another coreapp.

use crate::harness::Sidecar;
use crate::middlebox::{MESSAGE_LEN, Recording};
use crate::strangers::send;
use crate::{Attacked, Outcome, Upstream, handshakes, start_core};

/// All that the client side sent.
fn client_side(recording: &Recording) -> Vec<u8> {
    recording.up.concat()
}

/// A link that carried a call, and what was recorded of it.
fn recorded(web: &[&str], core: &[&str]) -> (Attacked, Recording) {
    let pair = Attacked::start_with(web, core, |_| ());
    pair.recovers();
    let recording = pair.middlebox.recording(0);
    assert!(recording.up.iter().skip(1).any(|frame| crate::frames::is_call(frame)));
    (pair, recording)
}

fn unconfirmed(core: &Sidecar, times: u32) {
    let wanted = f64::from(times);
    core.until_metric("wa_sidecar_handshakes_total{result=\"unconfirmed\"}", |n| n == wanted);
}

#[test]
fn a_recorded_link_is_of_no_use_at_the_coreapp_that_knows_it() {
    let (pair, recording) = recorded(&[], &[]);
    let (message_1, all) = (&recording.up[0], client_side(&recording));
    let connections = pair.upstream.connections();
    // While the first is alive, message 1 alone and everything.
    assert_eq!(send(pair.core.listen, message_1).bytes, 0);
    assert_eq!(send(pair.core.listen, &all).bytes, 0);
    assert_eq!(handshakes(&pair.core, "replay"), 2);
    assert_eq!(pair.call(4), Outcome::Whole, "the first link lives");
    assert_eq!(pair.middlebox.connections(), 1);
    pair.core.event_with_reason("handshake_failed", "replay");
    // After it has ended.
    pair.middlebox.cut();
    pair.core.event_with_reason("link_down", "disconnected");
    assert_eq!(send(pair.core.listen, &all).bytes, 0);
    assert_eq!(handshakes(&pair.core, "replay"), 3);
    pair.recovers();
    assert_eq!(handshakes(&pair.core, "unconfirmed"), 0);
    assert_eq!(
        pair.upstream.connections(),
        connections + 2,
        "a call each, and nothing of a replay"
    );
}

#[test]
fn a_recorded_link_has_no_effect_after_a_restart() {
    let (pair, recording) = recorded(&[], &[]);
    let Attacked {
        web, core, upstream, ..
    } = pair;
    drop(web);
    let listen = core.listen.to_string();
    drop(core);
    let before = upstream.connections();
    let core = start_core(&upstream, &["--listen", &listen]).spawn();
    // The cache is empty: message 1 is taken, but whoever sends it cannot read message 2, and its frame 0 is of other keys.
    let answer = send(core.listen, &client_side(&recording));
    assert!(answer.bytes == MESSAGE_LEN || answer.reset, "{answer:?}");
    unconfirmed(&core, 1);
    core.event_with_reason("handshake_failed", "unconfirmed");
    // Without frames it waits 3 s at most; now it is known.
    assert_eq!(send(core.listen, &recording.up[0]).bytes, 0);
    assert_eq!(handshakes(&core, "replay"), 1);
    assert_eq!(handshakes(&core, "accepted"), 0);
    assert_eq!(core.count("link_up"), 0);
    assert_eq!(core.metric("wa_sidecar_streams_opened_total"), 0.0);
    assert_eq!(upstream.connections(), before, "nothing was dialled");
}

#[test]
fn a_recorded_message_1_that_nothing_follows_is_closed_after_3_s() {
    let (pair, recording) = recorded(&[], &[]);
    let upstream = Upstream::start();
    let other = start_core(&upstream, &[]).spawn();
    let answer = send(other.listen, &recording.up[0]);
    assert_eq!(answer.bytes, MESSAGE_LEN);
    assert!((2900..4500).contains(&answer.took.as_millis()), "{answer:?}");
    unconfirmed(&other, 1);
    assert_eq!(upstream.connections(), 0);
    drop(pair);
}

#[test]
fn a_recorded_link_has_no_effect_at_another_coreapp() {
    let (pair, recording) = recorded(&["--peer-name", "B"], &["--name", "B"]);
    let upstream = Upstream::start();
    let all = client_side(&recording);
    // Another name, or none: refused for that.
    for name in [&["--name", "C"][..], &[]] {
        let other = start_core(&upstream, name).spawn();
        send(other.listen, &all);
        other.event_with_reason("handshake_refused", "peer_name");
        assert_eq!(handshakes(&other, "peer_name"), 1);
        assert_eq!(handshakes(&other, "unconfirmed"), 0);
    }
    // The very name: taken, but never confirmed.
    let twin = start_core(&upstream, &["--name", "B"]).spawn();
    send(twin.listen, &all);
    unconfirmed(&twin, 1);
    assert_eq!(twin.count("link_up"), 0);
    assert_eq!(upstream.connections(), 0);
    // The same without names.
    let (other_pair, recording) = recorded(&[], &[]);
    let nameless = start_core(&upstream, &[]).spawn();
    send(nameless.listen, &client_side(&recording));
    unconfirmed(&nameless, 1);
    assert_eq!(upstream.connections(), 0);
    for pair in [pair, other_pair] {
        pair.recovers();
    }
}
