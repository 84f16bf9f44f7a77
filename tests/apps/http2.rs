//! HTTP/2 without TLS: nginx behind the pair, `h2load`, `nghttp` and curl in front. Many requests share a connection.

use crate::account;
use crate::harness::Pair;
use crate::http::{download, upload, url};
use crate::nginx::Nginx;
use crate::tools::{program, said};
use std::net::{IpAddr, Ipv4Addr};
use std::thread;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn behind_a_pair() -> (Nginx, Pair) {
    // With sendfile nginx 1.22 takes many large answers at once for a flood, and closes: also without a pair.
    let nginx = Nginx::start_with(LOCAL, "http2", "sendfile off;");
    let pair = Pair::start(nginx.address);
    (nginx, pair)
}

/// `clients` connections with up to 100 requests under way on each.
fn h2load(requests: u64, clients: u64, len: u64) {
    let (nginx, pair) = behind_a_pair();
    let file = nginx.serve("file", len);
    let mut h2load = program("h2load", "nghttp2-client");
    h2load.args(["-m", "100", "-n", &requests.to_string(), "-c", &clients.to_string()]);
    let said = said(h2load.arg(url(pair.web.listen, &file.name)));
    assert_eq!(said.code, Some(0), "{said:?}");
    for line in [
        format!(
            "requests: {requests} total, {requests} started, {requests} done, {requests} succeeded, \
             0 failed, 0 errored, 0 timeout\n"
        ),
        format!("status codes: {requests} 2xx, 0 3xx, 0 4xx, 0 5xx\n"),
        format!("({}) data\n", requests * len),
        "Application protocol: h2c\n".to_owned(),
    ] {
        assert!(said.stdout.contains(&line), "{line}: {}", said.stdout);
    }
    account::whole(&pair, clients);
}

#[test]
fn thousands_of_small_answers_share_a_few_connections() {
    h2load(10_000, 8, 1_024);
}

#[test]
fn hundreds_of_large_answers_share_one_connection() {
    h2load(200, 1, 500_000);
}

const SIZES: [u64; 8] = [0, 1, 16_383, 16_385, 65_535, 65_536, 1 << 20, 5_000_000];

#[test]
fn bodies_of_every_size_cross_on_one_connection() {
    let (nginx, pair) = behind_a_pair();
    // Each of one letter: they are printed as they come, all mixed.
    let files: Vec<(u8, u64)> = (b'a'..=b'z').zip(SIZES.into_iter().cycle()).collect();
    let mut nghttp = program("nghttp", "nghttp2-client");
    for &(letter, len) in &files {
        let name = char::from(letter).to_string();
        let body = vec![letter; usize::try_from(len).expect("small")];
        std::fs::write(nginx.directory().join("files").join(&name), body).expect("written");
        nghttp.arg(url(pair.web.listen, &name));
    }
    let said = said(&mut nghttp);
    assert_eq!((said.code, &*said.stderr), (Some(0), ""));
    let mut counts = [0; 256];
    said.stdout.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
    for (letter, len) in files {
        assert_eq!(counts[usize::from(letter)], len, "{:?}", char::from(letter));
    }
    account::whole(&pair, 1);
}

#[test]
fn bodies_go_both_ways_at_once() {
    let (nginx, pair) = behind_a_pair();
    let at = pair.web.listen;
    // Debian 12's curl does HTTP/2 with prior knowledge on new connections alone (mended in 8.0).
    let args = &["--http2-prior-knowledge"];
    thread::scope(|scope| {
        for len in SIZES {
            let nginx = &nginx;
            scope.spawn(move || {
                upload(
                    at,
                    nginx,
                    &format!("u{len}"),
                    usize::try_from(len).expect("small"),
                    args,
                )
            });
            scope.spawn(move || download(at, &nginx.serve(&format!("d{len}"), len), args));
        }
    });
    account::whole(&pair, 2 * SIZES.len() as u64);
}
