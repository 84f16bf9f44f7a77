//! A pair of relays that runs, in front of the far end, with a delaying path between the two where that is asked for.
//!
//! Promises: it has carried a request before it is handed out; it ends when it is dropped.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use crate::{
    material::Material,
    path::{Path, Way},
    peers::{Family, Peer, Suite, Wiring},
    probe,
    processes::Running,
};

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Pair {
    /// Where the client connects.
    pub entry: SocketAddr,
    /// The one beside the server first; none if this is `direct`.
    pub relays: Vec<Running>,
    /// What lies between, for as long as the pair lives.
    _path: Option<Path>,
}

/// What a pair is for.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub material: &'a Material,
    pub upstream: SocketAddr,
    pub connections: usize,
    /// What is between the relays, if it is more than loopback.
    pub way: Option<Way>,
}

impl Pair {
    /// # Errors
    /// Why it does not carry a request, with the end of its log.
    pub fn start(peer: &Peer, place: &Place) -> Result<Pair, String> {
        let text = |error: std::io::Error| error.to_string();
        if matches!(peer.family, Family::HaproxyTls | Family::Nginx) {
            place.material.certificates()?;
        }
        let entry = free_port().map_err(text)?;
        let exit = match peer.family {
            Family::Direct => place.upstream,
            _ => free_port().map_err(text)?,
        };
        let path = place.way.map(|way| Path::start(exit, way)).transpose().map_err(text)?;
        let middle = path.as_ref().map_or(exit, Path::address);
        let directory = place
            .material
            .directory()
            .join(format!("{}-{}", peer.name, entry.port()));
        fs::create_dir(&directory).map_err(text)?;
        let wiring = Wiring {
            entry,
            middle,
            exit,
            upstream: place.upstream,
            connections: place.connections,
            directory: &directory,
            material: place.material,
        };
        let mut pair = Pair {
            entry: if peer.family == Family::Direct { middle } else { entry },
            relays: Vec::new(),
            _path: path,
        };
        for (command, role) in peer.relays(&wiring).map_err(text)?.iter().zip(["server", "client"]) {
            let log = directory.join(format!("{role}.log"));
            pair.relays.push(Running::start(command, log).map_err(text)?);
        }
        pair.until_it_carries()?;
        pair.judge_suite(peer)?;
        Ok(pair)
    }

    fn until_it_carries(&mut self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let why = match probe::request(self.entry, PATIENCE) {
                Ok(_) => return Ok(()),
                Err(error) => error.to_string(),
            };
            if Instant::now() > until || !self.relays.iter_mut().all(Running::is_running) {
                return Err(format!("{why}\n{}", self.tails()));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// `--cipher auto` without AES in the hardware would be compared as what it is not.
    fn judge_suite(&self, peer: &Peer) -> Result<(), String> {
        if !peer.is_sidecar() || peer.suite != Some(Suite::Aes) {
            return Ok(());
        }
        let until = Instant::now() + PATIENCE;
        loop {
            // A thread of its own writes the log: it may come after the first answer.
            let logs = self
                .relays
                .iter()
                .map(|relay| fs::read_to_string(relay.log()).unwrap_or_default());
            let logs: String = logs.collect();
            if logs.contains("suite=\"aes-256-gcm\"") {
                return Ok(());
            }
            if logs.contains("suite=") || Instant::now() > until {
                return Err(format!(
                    "it did not agree on AES: this CPU may not have it\n{}",
                    self.tails()
                ));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.relays.iter_mut().all(Running::is_running)
    }

    /// The end of both logs.
    pub fn tails(&self) -> String {
        let tails = self.relays.iter().map(Running::tail);
        tails.filter(|tail| !tail.is_empty()).collect::<Vec<_>>().join("\n")
    }
}

/// Below those that the kernel gives to clients, so that no connection of a work takes it before its relay does.
pub fn free_port() -> std::io::Result<SocketAddr> {
    const FIRST: u16 = 20_000;
    const MANY: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two comparisons at a time begin at different places.
    let begin = (std::process::id() % u32::from(MANY)) as u16;
    let mut refused = None;
    for _ in 0..MANY {
        let port = FIRST + (begin + NEXT.fetch_add(1, Relaxed)) % MANY;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match TcpListener::bind(address) {
            Ok(_) => return Ok(address),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into()))
}
