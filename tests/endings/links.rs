//! How links end, and what that does to the apps: the relay between the sidecars cuts, holds back and slows down.

use super::apps::{answers, endless, notes};
use super::relay::{Cut, Relay};
use super::*;
use crate::harness::{SOON, Sidecar, Start, eventually};
use std::net::{Shutdown, SocketAddr};
use std::time::Instant;

const MANY: usize = 30;
const PART: usize = 50_000;

/// A pair with a relay on its link.
struct Relayed {
    pair: Pair,
    relay: Relay,
}

fn relayed(upstream: SocketAddr) -> Relayed {
    relayed_with(upstream, &[], &[])
}

fn relayed_with(upstream: SocketAddr, web: &[&str], core: &[&str]) -> Relayed {
    let core = Start::new("coreapp", &[&["--upstream", &upstream.to_string()], core].concat()).spawn();
    let relay = Relay::to(core.listen);
    let web = Start::new("webapp", &[&["--peer", &relay.address.to_string()], web].concat()).spawn();
    web.until_ready();
    Relayed {
        pair: Pair { web, core },
        relay,
    }
}

fn until_links(sidecar: &Sidecar, up: f64) {
    sidecar.until_metric("wa_sidecar_links_up", |n| n == up);
}

/// Reads what is left of an answer that is not whole.
fn breaks(mut stream: &TcpStream) {
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => panic!("an answer that is not whole ended in order"),
            Ok(_) => {}
            Err(e) => return assert_eq!(e.kind(), ErrorKind::ConnectionReset),
        }
    }
}

#[test]
fn a_link_that_is_cut_resets_the_apps_on_both_sides_and_comes_back() {
    for how in [Cut::Fin, Cut::Rst] {
        for n in [1, MANY] {
            let Relayed { pair, relay } = relayed(endless());
            let streams: Vec<_> = (0..n).map(|_| pair.connect()).collect();
            for stream in &streams {
                read_part(stream, &body(PART), PART);
            }
            relay.cut(how);
            streams.iter().for_each(breaks);
            for sidecar in [&pair.web, &pair.core] {
                sidecar.event_with_reason("link_down", "disconnected");
                sidecar.until_metric("wa_sidecar_streams_open", |n| n == 0.0);
                assert_eq!(ended(sidecar, "link_lost"), n as f64);
            }
            eventually("a second link", || (pair.web.count("link_up") == 2).then_some(()));
            until_links(&pair.web, 1.0);
            until_links(&pair.core, 1.0);
            read_part(&pair.connect(), &body(PART), PART);
        }

        let (address, seen) = notes(b"go on");
        let Relayed { pair, relay } = relayed(address);
        let streams: Vec<_> = (0..MANY).map(|_| pair.connect()).collect();
        for stream in &streams {
            assert!(write_all(stream, &body(PART)));
            read_part(stream, b"go on", 5);
        }
        relay.cut(how);
        eventually("every far app was told", || {
            (seen.lock().expect("lock").len() == MANY).then_some(())
        });
        for (_, end) in seen.lock().expect("lock").iter() {
            assert_eq!(*end, Err(ErrorKind::ConnectionReset));
        }
        streams.iter().for_each(breaks);
    }
}

#[test]
fn a_link_that_is_cut_at_every_point_of_an_answer_never_makes_it_look_whole() {
    let len = 60_000;
    let Relayed { pair, relay } = relayed(answers());
    let mut broken = 0;
    for after in (0..14).map(|i| 600 + i * 4_500) {
        relay.cut_each_after(after);
        let stream = pair.connect();
        write_all(&stream, len.to_string().as_bytes());
        let _ = stream.shutdown(Shutdown::Write);
        if read_answer(&stream, &body(len)) != Ending::Whole {
            broken += 1;
        }
        relay.cut_each_after(0);
        relay.cut(Cut::Rst);
        // The next one is to begin on a fresh link.
        let ups = pair.web.count("link_up");
        eventually("a link", || {
            (pair.web.count("link_up") > ups || relay.accepted() > ups).then_some(())
        });
        pair.web.until_ready();
    }
    assert!(broken > 7, "only {broken} of 14 were cut");
}

#[test]
fn a_whole_answer_outlives_its_link() {
    // The far app's FIN has arrived; the near app reads only after the link is gone.
    let Relayed { pair, relay } = relayed(answers());
    let len = 300_000;
    let streams: Vec<_> = (0..8).map(|_| pair.connect()).collect();
    for stream in &streams {
        assert!(write_all(stream, len.to_string().as_bytes()));
        stream.shutdown(Shutdown::Write).expect("half-closed");
    }
    pair.core
        .until_metric("wa_sidecar_streams_ended_total{end=\"fin\"}", |n| n == 8.0);
    pair.web
        .until_metric("wa_sidecar_plaintext_bytes_total{direction=\"received\"}", |n| {
            n == 8.0 * len as f64
        });
    relay.cut(Cut::Rst);
    pair.web.event("link_down");
    for stream in &streams {
        // Whole, or an error if the end was still on its way: never less.
        assert_eq!(read_answer(stream, &body(len)), Ending::Whole);
    }
    at_once(MANY, |_| {
        eventually("served again", || {
            let stream = pair.connect();
            write_all(&stream, b"10");
            let _ = stream.shutdown(Shutdown::Write);
            (read_answer(&stream, &body(10)) == Ending::Whole).then_some(())
        })
    });
}

#[test]
fn a_drain_on_a_slow_line_loses_nothing_that_is_on_its_way() {
    // The last of it is in the kernel of the side that drains when that closes, while the other side still sends CREDIT. Small windows
    // make that many.
    let len = 100_000;
    for _ in 0..3 {
        let Relayed { mut pair, relay } = relayed_with(answers(), &["--buffer-budget", "1MiB"], &[]);
        relay.throttle(800_000);
        let streams: Vec<_> = (0..10).map(|_| pair.connect()).collect();
        for stream in &streams {
            assert!(write_all(stream, len.to_string().as_bytes()));
            stream.shutdown(Shutdown::Write).expect("half-closed");
        }
        read_part(&streams[0], &body(10), 10);
        pair.core.signal("TERM");
        let got = at_once(streams.len(), |i| {
            let skip = if i == 0 { 10 } else { 0 };
            read_answer(&streams[i], &body(len)[skip..])
        });
        assert_eq!(got, [Ending::Whole; 10]);
        drop(streams);
        assert!(pair.core.wait(SOON).success());
        for sidecar in [&pair.web, &pair.core] {
            sidecar.event_with_reason("link_down", "closed");
        }
    }
}

#[test]
fn a_link_that_breaks_at_once_again_and_again_is_not_dialled_in_a_loop() {
    let Relayed { pair, relay } = relayed(answers());
    relay.cut_each_after(600);
    relay.cut(Cut::Rst);
    let before = relay.accepted();
    thread::sleep(Duration::from_secs(3));
    let dialled = relay.accepted() - before;
    assert!((2..=15).contains(&dialled), "dialled {dialled} times in 3 s");
    relay.cut_each_after(0);
    relay.cut(Cut::Rst);
    pair.web.until_ready();
    eventually("served again", || {
        let stream = pair.connect();
        write_all(&stream, b"10");
        let _ = stream.shutdown(Shutdown::Write);
        (read_answer(&stream, &body(10)) == Ending::Whole).then_some(())
    });
}

#[test]
fn a_silence_of_five_seconds_is_survived_and_one_of_twelve_is_not() {
    let Relayed { pair, relay } = relayed(endless());
    let mut slow = pair.connect();
    read_part(&slow, &body(PART), PART);
    relay.hold(true);
    thread::sleep(Duration::from_secs(5));
    relay.hold(false);
    // More than could wait anywhere: it goes on.
    let mut more = vec![0; 8_000_000];
    slow.read_exact(&mut more).expect("the answer goes on");
    assert_eq!((pair.web.count("link_down"), pair.core.count("link_down")), (0, 0));

    let idle = pair.connect();
    relay.hold(true);
    let began = Instant::now();
    for sidecar in [&pair.web, &pair.core] {
        sidecar.event_with_reason("link_down", "dead");
    }
    assert!(began.elapsed() > Duration::from_secs(9), "{:?}", began.elapsed());
    breaks(&slow);
    breaks(&idle);
    relay.hold(false);
    pair.web.until_ready();
    read_part(&pair.connect(), &body(PART), PART);
}

#[test]
fn a_sidecar_that_is_stopped_for_five_seconds_goes_on_and_for_twelve_is_dead() {
    for web_stops in [true, false] {
        let pair = Pair::start(endless());
        let stopped = if web_stops { &pair.web } else { &pair.core };
        let other = if web_stops { &pair.core } else { &pair.web };
        let mut stream = pair.connect();
        read_part(&stream, &body(PART), PART);
        stopped.signal("STOP");
        thread::sleep(Duration::from_secs(5));
        stopped.signal("CONT");
        stream.read_exact(&mut vec![0; 8_000_000]).expect("the answer goes on");
        assert_eq!((pair.web.count("link_down"), pair.core.count("link_down")), (0, 0));

        stopped.signal("STOP");
        other.event_with_reason("link_down", "dead");
        thread::sleep(Duration::from_secs(1));
        stopped.signal("CONT");
        stopped.event("link_down");
        breaks(&stream);
        pair.web.until_ready();
        read_part(&pair.connect(), &body(PART), PART);
    }
}

#[test]
fn nothing_of_the_plaintext_is_on_the_link() {
    let marker = b"a marker that nobody would seal by accident";
    let core = Start::new("coreapp", &["--upstream", &harness::echo().to_string()]).spawn();
    let relay = Relay::to(core.listen);
    relay.record();
    let web = Start::new("webapp", &["--peer", &relay.address.to_string()]).spawn();
    web.until_ready();
    let request = marker.repeat(1_000);
    at_once(10, |_| {
        let stream = connect(web.listen);
        assert!(write_all(&stream, &request));
        stream.shutdown(Shutdown::Write).expect("half-closed");
        assert_eq!(read_answer(&stream, &request), Ending::Whole);
    });
    let recorded = relay.recorded();
    assert_eq!(recorded.len(), 1);
    for way in &recorded[0] {
        assert!(way.len() > 10 * request.len(), "{} bytes were recorded", way.len());
        // Not whole, and no long part of it.
        for part in marker.windows(12) {
            assert!(!way.windows(12).any(|bytes| bytes == part));
        }
        // The handshake message is 512 bytes: the first frame begins behind it, with counter 0.
        assert_eq!(way[512 + 4..512 + 12], [0; 8]);
        let length = u32::from_be_bytes(way[512..516].try_into().expect("four"));
        let next = 512 + 20 + length as usize;
        assert_eq!(way[next + 4..next + 12], 1_u64.to_be_bytes());
    }
}

#[test]
fn ipv6_and_names() {
    let upstream = answers();
    for (listen, name) in [
        ("[::1]:0", None),
        ("127.0.0.1:0", Some("localhost")),
        ("[::]:0", Some("localhost")),
    ] {
        let upstream_text = name.map_or(upstream.to_string(), |name| format!("{name}:{}", upstream.port()));
        let core = Start::new("coreapp", &["--upstream", &upstream_text, "--listen", listen]).spawn();
        let peer = name.map_or(core.listen.to_string(), |name| format!("{name}:{}", core.listen.port()));
        let near = if name.is_some() { "localhost:0" } else { "[::1]:0" };
        let web = Start::new("webapp", &["--peer", &peer, "--listen", near]).spawn();
        web.until_ready();
        let pair = Pair { web, core };
        for size in [0, 1_000, 3_000_000] {
            whole_call(&pair, size);
        }
        at_rest(&pair);
    }
}
