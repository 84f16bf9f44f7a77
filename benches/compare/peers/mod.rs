//! Whom the pair is compared with: names, programs, and what each seals with.
//!
//! Every peer is two relays, one beside the client and one beside the server, in one thread each where a peer can be told.
//! A module a family says how it is configured; what is not said there is the program's default.
//!
//! Must not know: works, rounds.

mod haproxy;
mod nginx;
mod shadowsocks_libev;
mod shadowsocks_rust;
mod sidecar;
mod spiped;
mod stunnel;

use std::{
    env, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{flags::Options, material::Material};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    Aes,
    ChaCha,
}

impl Suite {
    fn tls(self) -> &'static str {
        match self {
            Suite::Aes => "TLS_AES_256_GCM_SHA384",
            Suite::ChaCha => "TLS_CHACHA20_POLY1305_SHA256",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Family {
    /// No relay at all.
    Direct,
    HaproxyPlain,
    HaproxyTls,
    Nginx,
    Stunnel,
    Spiped,
    ShadowsocksLibev,
    ShadowsocksRust,
    /// Ours, or another build of it.
    Sidecar(PathBuf),
}

#[derive(Clone, Debug)]
pub struct Peer {
    pub name: String,
    pub family: Family,
    /// What it seals with, where that is one of the two.
    pub suite: Option<Suite>,
    /// Takes part in `sealing` alone: it does not seal.
    pub without_aead: bool,
}

/// Who takes part, and who would but is not installed.
#[derive(Debug)]
pub struct Cast {
    pub peers: Vec<Peer>,
    /// The name, and what to type.
    pub missing: Vec<(String, String)>,
    /// A build of ours that is not there: no reason to compare without it.
    pub unbuilt: Option<String>,
}

/// Where the relays of a pair listen, and whom they dial.
#[derive(Clone, Copy, Debug)]
pub struct Wiring<'a> {
    /// The relay beside the client listens here,
    pub entry: SocketAddr,
    /// and dials this: the other relay, or the path before it.
    pub middle: SocketAddr,
    /// The relay beside the server listens here,
    pub exit: SocketAddr,
    /// and dials this.
    pub upstream: SocketAddr,
    /// So many connections at a time at most.
    pub connections: usize,
    /// For configuration files: the pair's own.
    pub directory: &'a Path,
    pub material: &'a Material,
}

/// Of the plaintext pair that all are held against.
pub const PLAIN: &str = "haproxy-plain";
/// Of our own pair: `ours-aes`, `ours-chacha`.
pub use sidecar::THIS as OUR_PROGRAM;
pub const OURS: &str = "ours";
/// The build for the work `sealing`.
pub const WITHOUT_AEAD: &str = "without-aead";

/// The peers that `options` ask for.
///
/// # Errors
/// A name that none has.
pub fn choose(options: &Options) -> Result<Cast, String> {
    let all = all(options);
    if let Some(odd) = options
        .peers
        .iter()
        .find(|wanted| !all.iter().any(|peer| peer.is_called(wanted)))
    {
        let names: Vec<_> = all.iter().map(|peer| peer.name.as_str()).collect();
        return Err(format!("--peers: there is no {odd:?}; there are {}", names.join(", ")));
    }
    // Whoever gave a build without AEAD wants it to take part.
    let wanted = |peer: &Peer| {
        peer.without_aead || options.peers.is_empty() || options.peers.iter().any(|name| peer.is_called(name))
    };
    let mut cast = Cast {
        peers: Vec::new(),
        missing: Vec::new(),
        unbuilt: None,
    };
    for peer in all.into_iter().filter(wanted) {
        match peer.missing() {
            None => cast.peers.push(peer),
            Some(advice) => {
                if peer.is_sidecar() {
                    cast.unbuilt.get_or_insert(format!("{}: {advice}", peer.name));
                }
                cast.missing.push((peer.name, advice));
            }
        }
    }
    Ok(cast)
}

/// Whoever could take part, installed or not.
pub fn all(options: &Options) -> Vec<Peer> {
    let one = |name: &str, family, suite| Peer {
        name: name.to_owned(),
        family,
        suite,
        without_aead: false,
    };
    let both = |name: &str, family: Family| {
        [("aes", Suite::Aes), ("chacha", Suite::ChaCha)]
            .map(|(suffix, suite)| one(&format!("{name}-{suffix}"), family.clone(), Some(suite)))
    };
    let mut all = vec![
        one("direct", Family::Direct, None),
        one(PLAIN, Family::HaproxyPlain, None),
    ];
    all.extend(both(OURS, Family::Sidecar(options.program.clone())));
    for (name, program) in &options.also {
        all.extend(both(name, Family::Sidecar(program.clone())));
    }
    if let Some(program) = &options.program_without_aead {
        all.push(Peer {
            without_aead: true,
            ..one(WITHOUT_AEAD, Family::Sidecar(program.clone()), Some(Suite::Aes))
        });
    }
    all.extend(both("haproxy-tls", Family::HaproxyTls));
    all.extend(both("nginx-tls", Family::Nginx));
    all.extend(both("stunnel-psk", Family::Stunnel));
    all.push(one("spiped", Family::Spiped, None));
    all.extend(both("ss-libev", Family::ShadowsocksLibev));
    all.extend(both("ss-rust", Family::ShadowsocksRust));
    all
}

impl Peer {
    /// By its name, or by the beginning of it up to a hyphen.
    pub fn is_called(&self, wanted: &str) -> bool {
        self.name
            .strip_prefix(wanted)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    pub fn is_sidecar(&self) -> bool {
        matches!(self.family, Family::Sidecar(_))
    }

    /// Somebody else's pair that seals.
    pub fn is_sealed_peer(&self) -> bool {
        !self.is_sidecar() && !matches!(self.family, Family::Direct | Family::HaproxyPlain)
    }

    /// What it is, for people.
    pub fn what(&self) -> String {
        let suite = |suite: Option<Suite>| suite.map(Suite::tls).unwrap_or_default();
        match &self.family {
            Family::Direct => "no relay".to_owned(),
            Family::HaproxyPlain => "HAProxy, TCP in plaintext, spliced".to_owned(),
            Family::HaproxyTls => format!("HAProxy, TCP in TLS 1.3, {}", suite(self.suite)),
            Family::Nginx => format!("nginx stream, TLS 1.3, {}", suite(self.suite)),
            Family::Stunnel => format!("stunnel, TLS 1.3 with a PSK, {}", stunnel::ciphersuite(self.suite)),
            Family::Spiped => "spiped, AES-256-CTR and HMAC-SHA256".to_owned(),
            Family::ShadowsocksLibev => format!("shadowsocks-libev, {}", shadowsocks_libev::method(self.suite)),
            Family::ShadowsocksRust => format!("shadowsocks-rust, {}", shadowsocks_rust::method(self.suite)),
            Family::Sidecar(_) if self.without_aead => "this project without its AEAD calls".to_owned(),
            Family::Sidecar(program) => {
                let program = match program == Path::new(OUR_PROGRAM) {
                    true => "this project".into(),
                    false => program.display().to_string(),
                };
                format!("{program}, --cipher {}", sidecar::cipher(self.suite))
            }
        }
    }

    /// What its program says of its own version.
    pub fn version(&self) -> String {
        let (program, flag) = match &self.family {
            Family::Direct => return String::new(),
            Family::HaproxyPlain | Family::HaproxyTls => ("haproxy", "-v"),
            Family::Nginx => ("nginx", "-v"),
            Family::Stunnel => ("stunnel", "-version"),
            Family::Spiped => ("spiped", "-v"),
            Family::ShadowsocksLibev => ("ss-server", "-h"),
            Family::ShadowsocksRust => ("ssserver", "--version"),
            Family::Sidecar(program) => return said(Command::new(program).arg("--version")),
        };
        find(program)
            .map(|file| said(Command::new(file).arg(flag)))
            .unwrap_or_default()
    }

    /// The programs of the two relays, the one beside the server first.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn relays(&self, wiring: &Wiring) -> io::Result<Vec<Command>> {
        Ok(match &self.family {
            Family::Direct => Vec::new(),
            Family::HaproxyPlain => haproxy::plain(wiring)?.into(),
            Family::HaproxyTls => haproxy::tls(wiring, self.suite)?.into(),
            Family::Nginx => nginx::tls(wiring, self.suite)?.into(),
            Family::Stunnel => stunnel::psk(wiring, self.suite)?.into(),
            Family::Spiped => spiped::pair(wiring).into(),
            Family::ShadowsocksLibev => shadowsocks_libev::pair(wiring, self.suite).into(),
            Family::ShadowsocksRust => shadowsocks_rust::pair(wiring, self.suite)?.into(),
            Family::Sidecar(program) => sidecar::pair(program, wiring, self.suite).into(),
        })
    }

    /// `None` if all is there, else what to type.
    fn missing(&self) -> Option<String> {
        let package = |programs: &[&str], package: &str| {
            let program = programs.iter().find(|program| find(program).is_none())?;
            Some(format!("{program} is missing; type: apt-get install {package}"))
        };
        match &self.family {
            Family::Direct => None,
            Family::HaproxyPlain => package(&["haproxy"], "haproxy"),
            Family::HaproxyTls => package(&["haproxy", "openssl"], "haproxy openssl"),
            Family::Nginx => package(&["nginx", "openssl"], "nginx-light libnginx-mod-stream openssl").or_else(|| {
                nginx::stream_is_missing()
                    .then(|| "nginx has no stream module; type: apt-get install libnginx-mod-stream".to_owned())
            }),
            Family::Stunnel => package(&["stunnel"], "stunnel4"),
            Family::Spiped => package(&["spiped"], "spiped"),
            Family::ShadowsocksLibev => package(&["ss-tunnel", "ss-server"], "shadowsocks-libev"),
            Family::ShadowsocksRust => ["sslocal", "ssserver"]
                .iter()
                .find(|program| find(program).is_none())
                .map(|program| format!("{program} is missing; type: benches/compare/install shadowsocks-rust")),
            Family::Sidecar(program) => (!program.is_file()).then(|| format!("{} is no file", program.display())),
        }
    }
}

/// A program on PATH; Debian has servers in /usr/sbin, which users' PATH lacks.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let whole = env::split_paths(&path).any(|directory| directory == Path::new("/usr/bin"));
    env::split_paths(&path)
        .chain(whole.then(|| PathBuf::from("/usr/sbin")))
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// The command of a program that [`Peer::missing`] has found.
fn program(name: &str) -> Command {
    Command::new(find(name).unwrap_or_else(|| name.into()))
}

/// The first line that has a digit in it: some print a banner or their name before.
pub fn said(command: &mut Command) -> String {
    let Ok(output) = command.output() else {
        return String::new();
    };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text)
        .lines()
        .map(|line| line.trim_start_matches("[ ] "))
        .find(|line| line.contains(|letter: char| letter.is_ascii_digit()))
        .map(|line| line.split(" - http").next().unwrap_or(line).trim().to_owned())
        .unwrap_or_default()
}
