//! The same once more, smaller: other ciphers, threads, addresses, and the build without aws-lc.

use crate::coreapp::Coreapp;
use crate::harness::{Pair, Start, field};
use crate::nginx::Nginx;
use crate::{http, php};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// The build under test.
pub fn default_build() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_wa-sidecar"))
}

/// The build without aws-lc, made once, beside the other one.
fn portable_build() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("portable");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args([
            "build",
            "--quiet",
            "--locked",
            "--no-default-features",
            "--bin",
            "wa-sidecar",
            "--target-dir",
        ]);
        cargo.arg(&target).current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(
            cargo.status().expect("cargo").success(),
            "no build without default features"
        );
        target.join("debug/wa-sidecar")
    })
}

/// A pair and its addresses.
struct Variant<'a> {
    web: &'a Path,
    core: &'a Path,
    ip: IpAddr,
    flags: &'a [&'a str],
}

impl Variant<'_> {
    fn pair(&self, upstream: SocketAddr) -> Pair {
        let listen = SocketAddr::from((self.ip, 0)).to_string();
        let start = |program, role, to: &str, address: SocketAddr| {
            let address = address.to_string();
            let flags = [self.flags, &["--listen", &listen, to, &address]].concat();
            Start::of(program, role, &flags).spawn()
        };
        let core = start(self.core, "coreapp", "--upstream", upstream);
        let web = start(self.web, "webapp", "--peer", core.listen);
        web.until_ready();
        Pair { web, core }
    }

    fn hold(&self) {
        let at = SocketAddr::from((self.ip, 0));
        let coreapp = Coreapp::start(at, false);
        php::all_whole(&self.pair(coreapp.address), &coreapp, 2, 300);
        let mut coreapp = Coreapp::start(at, true);
        php::restarts(&self.pair(coreapp.address), &mut coreapp, 2, 150, 2);

        let nginx = Nginx::start(self.ip);
        let pair = self.pair(nginx.address);
        let at = pair.web.listen;
        for len in [0, 1, 4_097, 65_536, 1 << 20, 16 << 20] {
            let file = nginx.serve(&len.to_string(), len);
            http::download(at, &file, &[]);
            http::download(at, &file, &["--http1.0"]);
        }
        http::upload(at, &nginx, "upload", 4 << 20, &[]);
        let file = nginx.serve("1k", 1024);
        http::wrk_in_order(at, &file.name, 1, &[]);
        http::wrk_in_order(at, &file.name, 1, &["-H", "Connection: close"]);
        http::until_quiet(&pair);
    }
}

#[test]
fn with_the_fastest_cipher_that_both_have() {
    let default = default_build();
    let variant = Variant {
        web: default,
        core: default,
        ip: V4,
        flags: &["--cipher", "auto"],
    };
    variant.hold();
    let nobody = variant.pair(([127, 0, 0, 1], 9).into());
    let line = nobody.web.event("link_up");
    let suite = field(&line, "suite")
        .and_then(|suite| suite.as_str())
        .unwrap_or_default()
        .to_owned();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has_aes = cpu.contains(" aes ") && cpu.contains(" pclmulqdq ");
    assert!(
        !has_aes || suite.contains("aes"),
        "this host has AES, and the link {suite:?}"
    );
}

#[test]
fn with_two_workers() {
    let default = default_build();
    Variant {
        web: default,
        core: default,
        ip: V4,
        flags: &["--workers", "2"],
    }
    .hold();
}

#[test]
fn over_ipv6() {
    let default = default_build();
    Variant {
        web: default,
        core: default,
        ip: V6,
        flags: &[],
    }
    .hold();
}

#[test]
#[ignore = "builds the program once more: .ci/long"]
fn with_the_portable_build() {
    let portable = portable_build();
    Variant {
        web: portable,
        core: portable,
        ip: V4,
        flags: &[],
    }
    .hold();
}

#[test]
#[ignore = "builds the program once more: .ci/long"]
fn with_a_portable_build_at_either_end() {
    for (web, core) in [(portable_build(), default_build()), (default_build(), portable_build())] {
        let coreapp = Coreapp::start(([127, 0, 0, 1], 0).into(), false);
        let variant = Variant {
            web,
            core,
            ip: V4,
            flags: &["--cipher", "auto"],
        };
        php::all_whole(&variant.pair(coreapp.address), &coreapp, 2, 100);
    }
}
