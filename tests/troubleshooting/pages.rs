//! What `/readyz`, `health` and the apps themselves say.

use crate::harness::{Sidecar, Start, app, connect, echo, eventually};
use crate::lines::{is_reset, open_call};
use crate::links::{core, nowhere, web};
use crate::{Proof, rows};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Waits until the page says it, `here` for the addresses of the text.
fn until_it_says(sidecar: &Sidecar, says: &str, ends: bool) {
    let wanted = if ends {
        format!("not ready: {says}\n")
    } else {
        format!("not ready: {says}")
    };
    eventually(says, || {
        let page = sidecar.page("/readyz");
        (page.starts_with("HTTP/1.1 503") && page.contains(&wanted)).then_some(())
    });
}

fn lost_link(says: &str) {
    // Carries the first link; whoever dials then is left to wait.
    let core = core(echo(), &[]);
    let (target, gone) = (core.listen, Arc::new(AtomicBool::new(false)));
    let is_gone = Arc::clone(&gone);
    let address = app(move |near| {
        if is_gone.load(SeqCst) {
            let _ = (&near).read_to_end(&mut Vec::new());
            return;
        }
        let far = TcpStream::connect(target).expect("connected");
        let (mut up, mut down) = (near.try_clone().expect("clone"), far.try_clone().expect("clone"));
        std::thread::scope(|scope| {
            scope.spawn(|| std::io::copy(&mut up, &mut &far));
            let _ = std::io::copy(&mut down, &mut &near);
            let _ = near.shutdown(std::net::Shutdown::Both);
        });
    });
    let web = web(address, &[]).spawn();
    web.until_ready();
    gone.store(true, SeqCst);
    core.signal("KILL");
    until_it_says(&web, &says.replace("127.0.0.1:7250", &address.to_string()), true);
}

#[test]
fn each_cause_that_readyz_gives_is_as_the_page_says() {
    for row in rows("ready") {
        let says = row[1].as_str();
        let of = |address: SocketAddr| says.replace("127.0.0.1:7250", &address.to_string());
        match says {
            "no link to 127.0.0.1:7250 (dial_refused):" => {
                let peer = nowhere();
                until_it_says(&web(peer, &[]).spawn(), &of(peer), false);
            }
            "no link to 127.0.0.1:7250 yet" => {
                let peer = app(|mut stream| drop(stream.read_to_end(&mut Vec::new())));
                until_it_says(&web(peer, &[]).spawn(), &of(peer), true);
            }
            "no link to 127.0.0.1:7250" => lost_link(says),
            "the last dial to 127.0.0.1:6250 failed" => {
                let upstream = nowhere();
                let core = core(upstream, &[]);
                let web = web(core.listen, &[]).spawn();
                web.until_ready();
                is_reset(connect(web.listen));
                until_it_says(&core, &says.replace("127.0.0.1:6250", &upstream.to_string()), false);
            }
            "starting" => Proof::Test("src/counters.rs", "draining_is_for_good").holds(),
            "draining" => {
                let core = core(echo(), &[]);
                let web = web(core.listen, &[]).spawn();
                web.until_ready();
                let _call = open_call(&web);
                web.signal("TERM");
                until_it_says(&web, says, true);
            }
            _ => panic!("a row that nobody provokes: {row:?}"),
        }
    }
}

fn health(admin: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wa-sidecar"));
    let output = command
        .args(["health", "--admin", admin])
        .env_clear()
        .output()
        .expect("started");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn each_answer_of_health_is_as_the_page_says() {
    for row in rows("health") {
        let (exit, says) = (row[0].parse().ok(), row[1].as_str());
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let held = listener.local_addr().expect("bound");
        let admin = match says {
            "no answer from http://127.0.0.1:9464/readyz: Connection refused" => nowhere().to_string(),
            "another program listens there" => app(|mut stream| {
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(b"SSH-2.0-x\r\n");
            })
            .to_string(),
            // The kernel accepts, and nobody answers.
            "no answer from http://127.0.0.1:9464/readyz: timed out" => held.to_string(),
            "the admin endpoint is off" => "off".to_owned(),
            _ => panic!("a row that nobody provokes: {row:?}"),
        };
        let (code, stderr) = health(&admin);
        assert_eq!(code, exit, "{row:?}: {stderr}");
        let says = says.replace("127.0.0.1:9464", &admin);
        assert!(stderr.contains(&says), "{says} is not what it says: {stderr}");
    }
}

fn reset_of(upstream: Option<SocketAddr>) {
    match upstream {
        Some(upstream) => {
            let core = core(upstream, &[]);
            let web = web(core.listen, &[]).spawn();
            web.until_ready();
            is_reset(connect(web.listen));
        }
        None => is_reset(connect(web(nowhere(), &[]).spawn().listen)),
    }
}

#[test]
fn what_apps_see_is_as_the_page_says() {
    for row in rows("apps") {
        match row[0].as_str() {
            "Connection refused from 127.0.0.1:6250" => {
                let refused = TcpStream::connect(nowhere()).expect_err("refused");
                assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            }
            "Connection reset by peer at once" => reset_of(Some(nowhere())),
            "Connection reset by peer after 3 s" => reset_of(None),
            "Connection reset by peer in mid-answer" => {
                let core = core(echo(), &[]);
                let web = web(core.listen, &[]).spawn();
                web.until_ready();
                let call = open_call(&web);
                core.signal("KILL");
                is_reset(call);
            }
            "an answer cut short that looks whole, in PHP" => {
                Proof::Test(
                    "tests/apps/php.rs",
                    "a_coreapp_that_restarts_makes_calls_fail_and_never_short",
                )
                .holds();
            }
            "an answer cut short that looks whole, on a Unix socket" => {
                Proof::Test(
                    "tests/services/unix.rs",
                    "half_an_answer_is_reset_once_the_app_has_asked",
                )
                .holds();
            }
            "the sidecar ends with 137" => {
                let mut web = Start::new("webapp", &["--peer", "127.0.0.1:1"]).spawn();
                web.signal("KILL");
                let status = web.wait(crate::harness::SOON);
                assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(137 - 128));
            }
            _ => panic!("a row that nobody provokes: {row:?}"),
        }
    }
}

/// Docker's own part is shown on a real engine.
#[test]
fn what_containers_do_is_shown_by_their_smoke_test() {
    for row in rows("containers") {
        let shown_by = match row[0].as_str() {
            says if says.starts_with("cannot read the secret of file") => "secret",
            says if says.starts_with("unhealthy, no link to") => "stranded",
            says if says.starts_with("exited, cannot join network") => "stranded",
            says if says.starts_with("unhealthy for 11 s") => "paused",
            "calls broken off by docker stop" => "drain",
            "clocks apart" => continue,
            _ => panic!("a row that nobody shows: {row:?}"),
        };
        Proof::Test("docker/smoke.sh", shown_by).holds();
    }
}
