//! Wall clocks that differ, or are stepped: judged by the handshake alone.

use crate::harness::{Sidecar, Start, eventually, field};
use crate::middlebox::Middlebox;
use crate::{Outcome, Upstream, call, ended, handshakes, start_core, start_web};
use std::fs;
use std::path::{Path, PathBuf};

/// Debian's faketime, which lies to a process about the wall clock and leaves the monotonic one alone.
fn library() -> String {
    let found = fs::read_dir("/usr/lib")
        .expect("/usr/lib")
        .flatten()
        .find_map(|triplet| {
            let library = triplet.path().join("faketime/libfaketimeMT.so.1");
            library.is_file().then_some(library)
        });
    let library = found.expect("libfaketimeMT.so.1: install Debian's package faketime  (apt-get install faketime)");
    library.to_str().expect("a path").to_owned()
}

/// A file that says what the wall clock of a sidecar shows, and may change.
struct Clock(PathBuf);

impl Clock {
    fn new(name: &str, offset: &str) -> Self {
        let clock = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id())));
        clock.set(offset);
        clock
    }

    fn set(&self, offset: &str) {
        let new = self.0.with_extension("new");
        fs::write(&new, format!("{offset}\n")).expect("written");
        fs::rename(&new, &self.0).expect("renamed");
    }

    /// `sidecar` reads its wall clock here.
    fn of(&self, sidecar: Start) -> Start {
        sidecar
            .env("LD_PRELOAD", &library())
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_TIMESTAMP_FILE", self.0.to_str().expect("a path"))
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The coreapp's wall clock is what `clock` says.
fn pair(clock: &Clock) -> (Sidecar, Middlebox, Sidecar, Upstream) {
    let upstream = Upstream::start();
    let core = clock.of(start_core(&upstream, &[])).spawn();
    let middlebox = Middlebox::start(core.listen);
    let web = start_web(middlebox.address, &[]).spawn();
    (web, middlebox, core, upstream)
}

fn text(line: &serde_json::Value) -> String {
    field(line, "message")
        .and_then(|text| text.as_str())
        .expect("a message")
        .to_owned()
}

/// Both sides say that the handshake was refused for the clocks, by how much, and whose is ahead.
fn skew_is_said(web: &Sidecar, core: &Sidecar, seconds: f64) {
    let (at_web, at_core) = (
        web.event_with_reason("link_failed", "clock_skew"),
        core.event_with_reason("handshake_refused", "clock_skew"),
    );
    let core_is_ahead = seconds > 0.0;
    let (peer_ahead, own_ahead) = (
        "the peer's is ahead of this host's",
        "this host's is ahead of the peer's",
    );
    for (line, peer_is_ahead) in [(at_web, core_is_ahead), (at_core, !core_is_ahead)] {
        let text = text(&line);
        let ahead = if peer_is_ahead { peer_ahead } else { own_ahead };
        assert!(text.contains(ahead), "{ahead} is not in: {text}");
        let figure = text.split_once("differ by ").expect("a figure").1;
        let figure: f64 = figure.split_once(" s").expect("seconds").0.parse().expect("a number");
        assert!((figure - seconds.abs()).abs() < 0.5, "{text}");
        assert!(text.contains("NTP") && text.contains("timedatectl"), "{text}");
    }
    for (sidecar, sign) in [(web, 1.0), (core, -1.0)] {
        assert!(handshakes(sidecar, "clock_skew") >= 1);
        let measured = sidecar.metric("wa_sidecar_handshake_clock_difference_seconds");
        assert!((measured - sign * seconds).abs() < 0.5, "{measured}");
    }
}

#[test]
fn clocks_9_5_s_apart_work() {
    for offset in ["+9.5", "-9.5"] {
        let clock = Clock::new("works", offset);
        let (web, _middlebox, core, upstream) = pair(&clock);
        assert_eq!(call(web.listen, 1, 5_000, 70_000), Outcome::Whole, "{offset}");
        let seconds: f64 = offset.parse().expect("a number");
        for (sidecar, sign) in [(&web, 1.0), (&core, -1.0)] {
            let measured = sidecar.metric("wa_sidecar_handshake_clock_difference_seconds");
            // At the responder with the time that message 1 took to be read; on a busy host that may be refused, and tried again.
            assert!((measured - sign * seconds).abs() <= 0.5, "{measured}");
            let warning = text(&sidecar.event_with_reason("clock_difference", "clock_skew"));
            assert!(
                warning.contains("9.5 s") || warning.contains("9.4 s") || warning.contains("9.6 s"),
                "{warning}"
            );
            assert!(handshakes(sidecar, "accepted") >= 1);
        }
        upstream.saw_no_fault();
    }
}

#[test]
fn clocks_10_5_s_apart_are_refused() {
    for offset in ["+10.5", "-10.5"] {
        let clock = Clock::new("refused", offset);
        let (web, _middlebox, core, upstream) = pair(&clock);
        skew_is_said(&web, &core, offset.parse().expect("a number"));
        assert_eq!(handshakes(&core, "accepted"), 0);
        assert_eq!(upstream.connections(), 0);
        let ready = web.page("/readyz");
        assert!(
            ready.starts_with("HTTP/1.1 503") && ready.contains("clock_skew"),
            "{ready}"
        );
    }
}

#[test]
fn a_clock_that_is_stepped_in_mid_link_is_judged_by_the_next_handshake() {
    let clock = Clock::new("stepped", "+0");
    let (web, middlebox, core, upstream) = pair(&clock);
    assert_eq!(call(web.listen, 1, 200, 200), Outcome::Whole);
    // A call is under way while the clock is stepped, more are made behind it.
    let listen = web.listen;
    let bulk = std::thread::spawn(move || (0..30).all(|n| call(listen, n, 300_000, 300_000) == Outcome::Whole));
    clock.set("+3600");
    for (sidecar, sign) in [(&web, 1.0), (&core, -1.0)] {
        let peer = if sign > 0.0 {
            middlebox.address.to_string()
        } else {
            "127.0.0.1".to_owned()
        };
        let sample = format!("wa_sidecar_link_clock_difference_seconds{{peer=\"{peer}\",peer_name=\"\"}}");
        sidecar.until_metric(&sample, |s| (s - sign * 3600.0).abs() < 1.0);
        let warning = text(&sidecar.event_with_reason("clock_difference", "clock_skew"));
        let ahead = if sign > 0.0 { "ahead of" } else { "behind" };
        assert!(warning.contains(ahead) && warning.contains("3600."), "{warning}");
    }
    assert!(bulk.join().expect("the calls"), "calls pass");
    assert_eq!(call(web.listen, 2, 200, 200), Outcome::Whole);
    assert_eq!(middlebox.connections(), 1, "the link lives");
    assert_eq!(ended(&web, "stale") + ended(&core, "stale"), 0);
    middlebox.cut();
    skew_is_said(&web, &core, 3600.0);
    clock.set("+0");
    eventually("a call passes again", || {
        (call(listen, 3, 200, 200) == Outcome::Whole).then_some(())
    });
    upstream.saw_no_fault();
}
