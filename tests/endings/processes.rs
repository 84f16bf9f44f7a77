//! What the end of a sidecar's process does to the apps on both sides.

use super::apps::{answers, endless, notes};
use super::*;
use crate::harness::{SOON, Sidecar, Start, eventually, field};
use std::fs::File;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use wa_sidecar::config::{Config, Environment, Flags, RoleName, Secrets, What};
use wa_sidecar::counters::Registry;
use wa_sidecar::net::listen::Listener;
use wa_sidecar::process::{self, Tables};
use wa_sidecar::sidecar::Sidecar as Parts;
use wa_sidecar::signals::Stop;
use wa_sidecar::webapp::{Door, Settings};

const MANY: usize = 30;
const PART: usize = 50_000;

/// Connections in mid-answer, all of which have read a part of it.
fn in_mid_answer(pair: &Pair, n: usize) -> Vec<TcpStream> {
    let streams: Vec<_> = (0..n).map(|_| pair.connect()).collect();
    for stream in &streams {
        read_part(stream, &body(PART), PART);
    }
    streams
}

/// Reads what is left of an answer that never ends.
fn breaks(mut stream: &TcpStream) -> ErrorKind {
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => panic!("an answer that is not whole ended in order"),
            Ok(_) => {}
            Err(e) => return e.kind(),
        }
    }
}

/// Ends one sidecar in some way while answers and requests are under way, then looks at the apps on both sides.
fn ends_by(which: fn(&mut Pair) -> &mut Sidecar, end: impl Fn(&mut Sidecar)) {
    for n in [1, MANY] {
        let mut pair = Pair::start(endless());
        let streams = in_mid_answer(&pair, n);
        end(which(&mut pair));
        for stream in &streams {
            assert_eq!(breaks(stream), ErrorKind::ConnectionReset);
        }

        let (address, seen) = notes(b"go on");
        let mut pair = Pair::start(address);
        let streams: Vec<_> = (0..n).map(|_| pair.connect()).collect();
        for stream in &streams {
            assert!(write_all(stream, &body(PART)));
            read_part(stream, b"go on", 5);
        }
        end(which(&mut pair));
        eventually("every far app was told", || {
            (seen.lock().expect("lock").len() == n).then_some(())
        });
        for (_, end) in seen.lock().expect("lock").iter() {
            assert_eq!(*end, Err(ErrorKind::ConnectionReset));
        }
        for stream in &streams {
            assert_eq!(breaks(stream), ErrorKind::ConnectionReset);
        }
    }
}

fn web(pair: &mut Pair) -> &mut Sidecar {
    &mut pair.web
}
fn core(pair: &mut Pair) -> &mut Sidecar {
    &mut pair.core
}

#[test]
fn a_webapp_sidecar_that_is_killed_resets_its_apps() {
    ends_by(web, |sidecar| sidecar.signal("KILL"));
}

#[test]
fn a_coreapp_sidecar_that_is_killed_resets_its_apps() {
    ends_by(core, |sidecar| sidecar.signal("KILL"));
}

#[test]
fn a_sidecar_that_aborts_resets_its_apps() {
    ends_by(web, |sidecar| sidecar.signal("ABRT"));
    ends_by(core, |sidecar| sidecar.signal("ABRT"));
}

#[test]
fn a_second_signal_resets_what_a_drain_waits_for() {
    for which in [web, core] {
        ends_by(which, |sidecar| {
            sidecar.signal("TERM");
            sidecar.event("draining");
            sidecar.signal("INT");
            assert!(sidecar.wait(SOON).success());
            sidecar.event("drain_over");
        });
    }
}

#[test]
fn a_drain_has_its_time() {
    let flags = ["--drain-timeout", "300ms"];
    for (which, web_flags, core_flags) in [
        (web as fn(&mut Pair) -> &mut Sidecar, &flags[..], &[][..]),
        (core, &[], &flags),
    ] {
        let mut pair = Pair::start_with(endless(), web_flags, core_flags);
        let streams = in_mid_answer(&pair, MANY);
        which(&mut pair).signal("TERM");
        for stream in &streams {
            assert_eq!(breaks(stream), ErrorKind::ConnectionReset);
        }
        assert!(which(&mut pair).wait(SOON).success());
        which(&mut pair).event_with_reason("drain_over", "time_is_up");
        which(&mut pair).event("stopped");
        // It was this side that cut them: that the peer had refused them would send a reader to the wrong log.
        assert_eq!(which(&mut pair).count("stream_refused"), 0);
    }
}

#[test]
fn a_panic_in_a_worker_ends_the_process_and_resets_the_apps() {
    for panics in ["webapp", "coreapp"] {
        let fault = |role: &str, start: Start| {
            if role == panics {
                start.env("SIDECAR_TEST_PANIC_AT_STREAM", "4")
            } else {
                start
            }
        };
        let upstream = endless().to_string();
        let core = fault("coreapp", Start::new("coreapp", &["--upstream", &upstream])).spawn();
        let peer = core.listen.to_string();
        let web = fault("webapp", Start::new("webapp", &["--peer", &peer])).spawn();
        web.until_ready();
        let mut pair = Pair { web, core };
        let mut streams = in_mid_answer(&pair, 3);
        streams.push(pair.connect());
        for stream in &streams {
            assert_eq!(breaks(stream), ErrorKind::ConnectionReset);
        }
        let sidecar = if panics == "webapp" {
            &mut pair.web
        } else {
            &mut pair.core
        };
        let status = sidecar.wait(SOON);
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(6),
            "{status}"
        );
        let line = sidecar.event("panic");
        let reason = field(&line, "reason").and_then(|reason| reason.as_str());
        assert_eq!(reason, Some("injected by a test at stream 4"));
        assert_eq!(sidecar.count("panic"), 1);
    }
}

/// Answers its whole request once it is told to.
fn answers_when_told() -> (std::net::SocketAddr, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel();
    let wait = std::sync::Mutex::new(wait);
    let address = harness::app(move |mut stream| {
        let mut request = Vec::new();
        if stream.read_to_end(&mut request).is_ok() {
            let _ = wait.lock().expect("lock").recv();
            write_all(&stream, &request);
        }
    });
    (address, go)
}

#[test]
fn a_drain_lets_open_calls_finish_and_takes_no_new_ones() {
    for which in [web, core] {
        let (address, go) = answers_when_told();
        let mut pair = Pair::start(address);
        let asked: Vec<_> = (0..MANY).map(|i| (pair.connect(), body(40_000 + i))).collect();
        for (stream, request) in &asked {
            assert!(write_all(stream, request));
            stream.shutdown(std::net::Shutdown::Write).expect("half-closed");
        }
        pair.core.until_metric("wa_sidecar_streams_open", |n| n == MANY as f64);
        let drains = which(&mut pair);
        drains.signal("TERM");
        drains.event("draining");
        if drains.pid() == pair.core.pid() {
            pair.web.event("goaway");
            let stream = pair.connect();
            assert!(read_answer(&stream, b"never").is_reset());
        } else {
            // What is accepted until then is served.
            eventually("no new calls", || {
                TcpStream::connect(pair.web.listen).is_err().then_some(())
            });
        }
        for _ in 0..1_000 {
            go.send(()).expect("sent");
        }
        for (stream, request) in &asked {
            assert_eq!(read_answer(stream, request), Ending::Whole);
        }
        drop(asked);
        assert!(which(&mut pair).wait(SOON).success());
        assert_eq!(which(&mut pair).count("drain_over"), 0);
        // Both ends know that it was in order.
        for sidecar in [&pair.web, &pair.core] {
            sidecar.event_with_reason("link_down", "closed");
        }
    }
}

#[test]
fn apps_that_wait_for_a_link_do_not_hold_up_a_drain() {
    let nobody = super::apps::nobody().to_string();
    let mut web = Start::new("webapp", &["--peer", &nobody]).spawn();
    let waiting: Vec<_> = (0..MANY).map(|_| connect(web.listen)).collect();
    web.event("link_failed");
    web.signal("TERM");
    for stream in &waiting {
        assert!(read_answer(stream, b"never").is_reset());
    }
    assert!(web.wait(SOON).success());
}

#[test]
fn a_link_is_back_with_its_peer() {
    for end in ["KILL", "TERM"] {
        let upstream = answers();
        let mut pair = Pair::start(upstream);
        whole_call(&pair, 1_000);
        let listen = pair.core.listen.to_string();
        pair.core.signal(end);
        pair.core.wait(SOON);
        pair.web.event("link_down");
        // Accepted without a link: it waits, and is served.
        let early = pair.connect();
        let flags = ["--upstream", &upstream.to_string(), "--listen", &listen];
        pair.core = Start::new("coreapp", &flags).spawn();
        let back = std::time::Instant::now();
        eventually("a second link", || (pair.web.count("link_up") == 2).then_some(()));
        assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
        assert!(write_all(&early, b"70000"));
        early.shutdown(std::net::Shutdown::Write).expect("half-closed");
        assert_eq!(read_answer(&early, &body(70_000)), Ending::Whole);
        at_once(MANY, |_| whole_call(&pair, 1_000));
    }
}

#[test]
fn an_app_that_no_link_comes_for_is_reset() {
    let nobody = super::apps::nobody().to_string();
    let web = Start::new("webapp", &["--peer", &nobody]).spawn();
    for ending in at_once(MANY, |_| read_answer(&connect(web.listen), b"never")) {
        assert!(ending.is_reset());
    }
    web.event_with_reason("app_refused", "no_link");
}

#[test]
fn a_peer_that_comes_back_with_another_secret_is_named_on_both_sides() {
    let upstream = answers();
    let mut pair = Pair::start(upstream);
    let listen = pair.core.listen.to_string();
    pair.core.signal("KILL");
    pair.core.wait(SOON);
    let flags = ["--upstream", &upstream.to_string(), "--listen", &listen];
    pair.core = Start::new("coreapp", &flags)
        .env("WA_SECRET", "quite another battery staple")
        .spawn();
    let said = |line: serde_json::Value| line.to_string();
    let web = said(pair.web.event_with_reason("link_failed", "unauthenticated"));
    assert!(web.contains("secret"), "{web}");
    let core = said(pair.core.event_with_reason("handshake_failed", "unauthenticated"));
    assert!(core.contains("secret"), "{core}");
    assert!(read_answer(&pair.connect(), b"never").is_reset());
}

/// main ends with 70 for it.
#[test]
fn a_listener_that_cannot_be_used_is_an_error_and_no_orderly_end() {
    let variables = [
        ("WA_LISTEN", "127.0.0.1:0"),
        ("WA_PEER", "127.0.0.1:1"),
        ("WA_SECRET", crate::harness::SECRET),
    ];
    let env: Environment = variables
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
        .into_iter()
        .collect();
    let config = Config::resolve(What::Role(RoleName::Webapp), &Flags::default(), &env).expect("good");
    let secrets = Secrets::load(&env, &config.secret_files, false).expect("good");
    let sidecar = Parts::new(&config, &secrets, Registry::new(2));
    let webapp = &config.webapps[0];
    // A file that epoll(7) does not take.
    let program = File::open(std::env::current_exe().expect("this program")).expect("open");
    rustix::io::ioctl_fionbio(&program, true).expect("non-blocking");
    let door = Door {
        listener: Listener::Tcp(TcpListener::from(OwnedFd::from(program))),
        service: webapp.services[0].clone(),
    };
    let settings = Settings {
        peer: webapp.peer.clone(),
        peer_name: None,
    };
    let tables = Tables {
        webapps: vec![(settings, vec![door])],
        ..Tables::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let ended = runtime.block_on(process::run(tables, sidecar, Stop::default()));
    let said = ended.expect_err("an error").to_string();
    assert!(said.contains("a listener cannot be used"), "{said}");
}
