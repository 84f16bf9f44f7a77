//! `run --config`: several peers, several services, both roles in one process.

use crate::harness::{SECRET, Sidecar, Start, connect, eventually, field};
use crate::{call, is_reset, named};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

pub fn file(name: &str, text: &str) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.toml", std::process::id()));
    fs::write(&path, text).expect("written");
    path.into_os_string().into_string().expect("text")
}

fn run(name: &str, text: &str) -> Sidecar {
    let path = file(name, text);
    Start::bare(&["run", "--config", &path, "--admin", "127.0.0.1:0"]).spawn()
}

fn coreapp(name: &str, app: SocketAddr) -> Sidecar {
    Start::new("coreapp", &["--name", name, "--upstream", &app.to_string()]).spawn()
}

#[test]
fn one_process_dials_two_peers_by_name_and_each_listener_goes_to_its_own() {
    let (one, two) = (coreapp("node-1", named("one")), coreapp("node-2", named("two")));
    let web = run(
        "two-peers",
        &format!(
            r#"
            [[webapp]]
            listen = "127.0.0.1:0"
            peer = "{}"
            peer_name = "node-1"
            [[webapp]]
            listen = "127.0.0.1:0"
            peer = "{}"
            peer_name = "node-2"
            "#,
            one.listen, two.listen
        ),
    );
    web.until_ready();
    let doors = web.doors(2);
    assert_eq!(call(&mut connect(doors[0]), "x"), "one: x");
    assert_eq!(call(&mut connect(doors[1]), "x"), "two: x");
    assert_eq!(
        web.metric("wa_sidecar_links_up"),
        2.0 * web.metric("wa_sidecar_workers")
    );

    // Not ready without one of them, and it says which.
    let gone = two.listen;
    drop(two);
    eventually("not ready", || {
        web.page("/readyz")
            .contains(&format!("no link to {gone}"))
            .then_some(())
    });
    assert!(!web.page("/readyz").contains(&one.listen.to_string()));
    assert_eq!(call(&mut connect(doors[0]), "x"), "one: x");
}

#[test]
fn a_peer_with_another_name_is_no_peer() {
    let one = coreapp("node-1", named("one"));
    let web = run(
        "wrong-name",
        &format!(
            "[[webapp]]\nlisten = \"127.0.0.1:0\"\npeer = \"{}\"\npeer_name = \"node-2\"\n",
            one.listen
        ),
    );
    web.event_with_reason("link_failed", "peer_name");
    is_reset(connect(web.listen));
}

#[test]
fn tables_with_one_peer_share_its_link() {
    let core = run(
        "named",
        &format!(
            "[[coreapp]]\nlisten = \"127.0.0.1:0\"\nupstream = \"{}\"\n[coreapp.services]\nhealth = \"{}\"\n",
            named("messaging"),
            named("health")
        ),
    );
    let peer = core.listen;
    let table = |more: &str| format!("[[webapp]]\nlisten = \"127.0.0.1:0\"\npeer = \"{peer}\"\n{more}\n");
    let web = run(
        "shared",
        &[
            table(""),
            table("services = [\"health\"]"),
            table("services = \"contacts\""),
        ]
        .concat(),
    );
    web.until_ready();
    let doors = web.doors(3);
    assert_eq!(call(&mut connect(doors[0]), "x"), "messaging: x");
    assert_eq!(call(&mut connect(doors[1]), "x"), "health: x");
    is_reset(connect(doors[2]));
    let line = core.event_with_reason("stream_refused", "unknown_service");
    assert_eq!(field(&line, "service").and_then(|s| s.as_str()), Some("contacts"));
    assert_eq!(web.metric("wa_sidecar_links_up"), web.metric("wa_sidecar_workers"));
}

#[test]
fn both_roles_in_one_process_and_a_table_admits_to_its_own_services_alone() {
    let far = coreapp("far", named("far"));
    let node = run(
        "both",
        &format!(
            r#"
            workers = 2
            [[coreapp]]
            listen = "127.0.0.1:0"
            upstream = "{}"
            [[coreapp]]
            listen = "127.0.0.1:0"
            [coreapp.services]
            second = "{}"
            [[webapp]]
            listen = "127.0.0.1:0"
            peer = "{}"
            "#,
            named("first"),
            named("second"),
            far.listen
        ),
    );
    node.until_ready();
    assert!(node.page("/metrics").contains("role=\"both\""));
    let doors = node.doors(3);
    assert_eq!(call(&mut connect(doors[2]), "x"), "far: x");
    let web = |core: SocketAddr, flags: &[&str]| {
        let web = Start::new("webapp", &[&["--peer", &core.to_string()], flags].concat()).spawn();
        web.until_ready();
        web
    };
    let first = web(doors[0], &[]);
    assert_eq!(call(&mut connect(first.listen), "x"), "first: x");
    let second = web(doors[1], &["--services", "second"]);
    assert_eq!(call(&mut connect(second.listen), "x"), "second: x");
    // The second table has no default, and the first no `second`.
    is_reset(connect(web(doors[1], &[]).listen));
    is_reset(connect(web(doors[0], &["--services", "second"]).listen));
    assert_eq!(call(&mut connect(doors[2]), "x"), "far: x");
}

#[test]
fn a_process_that_dials_itself_by_another_address_is_refused_by_the_handshake() {
    let (_, port) = crate::free_range(1);
    let node = run(
        "itself",
        &format!(
            "[[coreapp]]\nlisten = \"0.0.0.0:{port}\"\nupstream = \"127.0.0.1:1\"\n\
             [[webapp]]\nlisten = \"127.0.0.1:0\"\npeer = \"127.0.0.1:{port}\"\n"
        ),
    );
    node.event_with_reason("link_failed", "self_dial");
}

#[test]
fn a_dial_that_fails_makes_not_ready_until_that_app_answers() {
    let (_, port) = crate::free_range(1);
    let core = Start::new("coreapp", &["--upstream", &format!("{},127.0.0.1:{port}", named("a"))]).spawn();
    let listen = ["127.0.0.1:0"; 2].join(",");
    let web = Start::new("webapp", &["--listen", &listen, "--peer", &core.listen.to_string()]).spawn();
    web.until_ready();
    let doors = web.doors(2);
    is_reset(connect(doors[1]));
    assert!(
        core.page("/readyz").contains(&format!("127.0.0.1:{port}")),
        "{}",
        core.page("/readyz")
    );
    assert_eq!(call(&mut connect(doors[0]), "x"), "a: x");
    assert!(
        core.page("/readyz").contains("503"),
        "another app's answer says nothing of it"
    );
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("bound");
    let _answered = connect(doors[1]);
    let _ = listener.accept().expect("dialled");
    core.until_ready();
}

/// Relative to the file: the secret, and a Unix socket.
#[test]
fn relative_paths_start_at_the_file_and_its_secret_is_the_last_choice() {
    let directory = std::env::temp_dir().join(format!("wa-services-run-{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir(&directory).expect("created");
    fs::write(directory.join("secret"), SECRET).expect("written");
    let path = directory.join("wa-sidecar.toml");
    let text = "secret_file = \"secret\"\n[[coreapp]]\nlisten = \"unix:link\"\nupstream = \"127.0.0.1:1\"\n";
    fs::write(&path, text).expect("written");
    let path = path.to_str().expect("text");
    let core = Start::bare(&["run", "--config", path, "--admin", "127.0.0.1:0"])
        .env("WA_SECRET", "")
        .spawn();
    let peer = format!("unix:{}", directory.join("link").display());
    let web = Start::new("webapp", &["--peer", &peer]).spawn();
    web.until_ready();
    drop(core);
    let _ = fs::remove_dir_all(&directory);
}
