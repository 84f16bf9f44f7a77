//! Lists and ranges map by position, over the same links.

use crate::harness::{Pair, Sidecar, Start, black_hole, connect, field};
use crate::{call, free_range, is_reset, named};
use std::net::SocketAddr;

/// Both sidecars, with these addresses.
fn start(listen: &str, upstream: &str) -> Pair {
    let core = Start::new("coreapp", &["--upstream", upstream]).spawn();
    let web = Start::new("webapp", &["--listen", listen, "--peer", &core.listen.to_string()]).spawn();
    web.until_ready();
    Pair { web, core }
}

fn list(addresses: &[SocketAddr]) -> String {
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    texts.join(",")
}

fn services(sidecar: &Sidecar, event: &str) -> Vec<String> {
    let events = sidecar.log().into_iter();
    events
        .filter(|line| field(line, "event").and_then(|e| e.as_str()) == Some(event))
        .filter_map(|line| Some(field(&line, "service")?.as_str()?.to_owned()))
        .collect()
}

#[test]
fn four_ports_go_through_one_pair_and_one_link_in_their_order() {
    let apps = ["messaging", "contacts", "control", "health"].map(named);
    let listen = ["127.0.0.1:0"; 4].join(",");
    let pair = start(&listen, &list(&apps));
    let doors = pair.web.doors(4);
    for _ in 0..3 {
        for (door, name) in doors.iter().zip(["messaging", "contacts", "control", "health"]) {
            assert_eq!(call(&mut connect(*door), "hello"), format!("{name}: hello"));
        }
    }
    assert_eq!(services(&pair.web, "listening"), ["0", "1", "2", "3"]);
    assert_eq!(services(&pair.core, "service"), ["0", "1", "2", "3"]);
    let workers = pair.web.metric("wa_sidecar_workers");
    assert_eq!(pair.web.metric("wa_sidecar_links_up"), workers);
    assert_eq!(pair.core.metric("wa_sidecar_links_up"), workers);
    pair.web
        .until_metric("wa_sidecar_streams_ended_total{end=\"fin\"}", |n| n == 12.0);
}

#[test]
fn a_range_is_each_of_its_ports() {
    let (range, first) = free_range(3);
    let upstream = list(&["a", "b", "c"].map(named));
    let _pair = start(&format!("127.0.0.1:{range}"), &upstream);
    for (door, name) in (first..).zip(["a", "b", "c"]) {
        let door = SocketAddr::from(([127, 0, 0, 1], door));
        assert_eq!(call(&mut connect(door), "x"), format!("{name}: x"));
    }
}

#[test]
fn a_range_of_ipv6_is_each_of_its_ports() {
    let (range, first) = free_range(2);
    let pair = start(&format!("[::1]:{range}"), &list(&["a", "b"].map(named)));
    let doors = pair.web.doors(2);
    assert_eq!(
        doors,
        [first, first + 1].map(|port| SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)))
    );
    assert_eq!(call(&mut connect(doors[1]), "x"), "b: x");
}

/// A single address uses the default service: position 0 of whatever the other side lists.
#[test]
fn a_single_address_is_the_first_of_a_longer_list() {
    let one = start("127.0.0.1:0", &list(&["a", "b"].map(named)));
    assert_eq!(call(&mut one.connect(), "x"), "a: x");
}

#[test]
fn what_the_coreapp_side_does_not_list_is_refused_and_both_sides_say_what_to_type() {
    let pair = start(&["127.0.0.1:0"; 3].join(","), &list(&["a", "b"].map(named)));
    let doors = pair.web.doors(3);
    assert_eq!(call(&mut connect(doors[1]), "x"), "b: x");
    is_reset(connect(doors[2]));
    for (sidecar, advice) in [
        (&pair.web, "its --upstream as many"),
        (&pair.core, "--upstream as many"),
    ] {
        let line = sidecar.event_with_reason("stream_refused", "unknown_service");
        assert_eq!(field(&line, "service").and_then(|s| s.as_str()), Some("2"), "{line}");
        let text = line.to_string();
        assert!(text.contains(advice) && text.contains("service 2"), "{text}");
        sidecar.until_metric("wa_sidecar_streams_ended_total{end=\"refused\"}", |n| n == 1.0);
    }
    assert_eq!(
        call(&mut connect(doors[0]), "x"),
        "a: x",
        "the link is as good as before"
    );
    assert_eq!(pair.core.count("dial_failed"), 0);
}

#[test]
fn each_service_fails_alone_and_by_its_name() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let gone = dead.local_addr().expect("bound");
    drop(dead);
    let pair = start(&["127.0.0.1:0"; 2].join(","), &list(&[named("a"), gone]));
    let doors = pair.web.doors(2);
    is_reset(connect(doors[1]));
    let line = pair.core.event_with_reason("dial_failed", "dial_refused");
    assert_eq!(field(&line, "service").and_then(|s| s.as_str()), Some("1"), "{line}");
    let line = pair.web.event_with_reason("stream_refused", "dial_refused");
    assert_eq!(field(&line, "service").and_then(|s| s.as_str()), Some("1"), "{line}");
    assert_eq!(call(&mut connect(doors[0]), "x"), "a: x");
}

/// Whose dials take all the room that they may have.
#[test]
fn an_app_that_does_not_accept_holds_up_no_other() {
    let (hanging, _held) = black_hole();
    let upstream = list(&[hanging, named("b")]);
    let flags = ["--upstream", &upstream, "--max-dials", "2", "--dial-timeout", "5m"];
    let core = Start::new("coreapp", &flags).spawn();
    let listen = ["127.0.0.1:0"; 2].join(",");
    let web = Start::new("webapp", &["--listen", &listen, "--peer", &core.listen.to_string()]).spawn();
    web.until_ready();
    let doors = web.doors(2);
    let _waiting: Vec<_> = (0..4).map(|_| connect(doors[0])).collect();
    core.until_metric("wa_sidecar_limits_hit_total{limit=\"dials_in_flight\"}", |n| n == 2.0);
    for _ in 0..3 {
        assert_eq!(call(&mut connect(doors[1]), "x"), "b: x");
    }
}

#[test]
fn all_listeners_are_bound_or_none() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let taken = held.local_addr().expect("bound").to_string();
    let (_, free) = free_range(1);
    let listen = format!("127.0.0.1:{free},{taken}");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_wa-sidecar"))
        .args(["webapp", "--listen", &listen, "--peer", "127.0.0.1:1", "--admin", "off"])
        .env_clear()
        .env("WA_SECRET", crate::harness::SECRET)
        .output()
        .expect("started");
    assert_eq!(output.status.code(), Some(69));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains(&format!("cannot listen on {taken}")), "{said}");
    assert!(!said.contains("listening"), "{said}");
}
