//! All that runs during a comparison: the far end, and for each peer the pairs that the works need.
//!
//! Promises: a peer that does not start is left out and named, with the end of its log.

use std::{collections::BTreeMap, io::Write, time::Duration};

use crate::{
    flags::Options,
    generator::{FarEnd, Generator},
    iperf3::Iperf3,
    material::Material,
    pair::{Pair, Place},
    path::Way,
    peers::{Cast, Peer},
    works::{self, Kind, Setting, Work},
};

pub const ROUND_TRIP: Duration = Duration::from_millis(50);
/// 400 Mbit/s.
const RATE: f64 = 50e6;
/// What a pair is configured for: 1,000 busy streams fit what our program takes by default.
const ORDINARY: usize = 1024;
/// What it is configured for where there are more, if the limit of open files lets it.
const CROWD: usize = 12_000;
/// Files that are no connections.
const SPARE: usize = 1_000;

#[derive(Debug)]
pub struct Stage {
    // Dropped in this order: what runs before what it runs on.
    pairs: BTreeMap<(String, Setting), Pair>,
    pub iperf3: Option<Iperf3>,
    far_end: FarEnd,
    material: Material,
    pub generator: Generator,
    pub cast: Cast,
    /// Files that a process may have open.
    limit: usize,
    /// Who did not start, and why.
    pub failures: Vec<(String, String)>,
}

impl Stage {
    /// # Errors
    /// There is no far end, or no place for files.
    pub fn new(options: &Options, cast: Cast, generator: &Generator, limit: u64) -> Result<Stage, String> {
        let mut stage = Stage {
            pairs: BTreeMap::new(),
            iperf3: None,
            far_end: generator.serve()?,
            material: Material::new().map_err(|error| format!("{}: {error}", std::env::temp_dir().display()))?,
            generator: generator.clone(),
            cast,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            failures: Vec::new(),
        };
        for (name, advice) in &stage.cast.missing {
            eprintln!("compare: without {name}: {advice}");
        }
        let during_rounds = options.works.iter().filter(|work| work.kind != Kind::Memory);
        let mut settings: Vec<(&Work, Setting)> = during_rounds.map(|work| (*work, work.setting())).collect();
        settings.sort_by_key(|&(_, setting)| setting);
        for (work, setting) in settings {
            for peer in stage.cast.peers.clone() {
                if work.takes(&peer) && !stage.pairs.contains_key(&(peer.name.clone(), setting)) {
                    stage.bring_up(&peer, setting);
                }
            }
            if setting == Setting::Far && stage.iperf3.is_none() {
                let started = way(Setting::Far).map(|way| Iperf3::start(stage.material.directory(), way));
                match started.transpose() {
                    Ok(iperf3) => stage.iperf3 = iperf3,
                    Err(why) => stage.fail(works::IPERF3, why),
                }
            }
        }
        Ok(stage)
    }

    fn bring_up(&mut self, peer: &Peer, setting: Setting) {
        if self.failures.iter().any(|(name, _)| *name == peer.name) {
            return;
        }
        match self.start(peer, setting) {
            Ok(pair) => drop(self.pairs.insert((peer.name.clone(), setting), pair)),
            Err(why) => self.fail(&peer.name, why),
        }
    }

    fn fail(&mut self, name: &str, why: String) {
        let _ = writeln!(std::io::stderr(), "compare: without {name}, which did not start: {why}");
        self.failures.push((name.to_owned(), why));
    }

    /// A pair of its own, apart from those of the rounds.
    ///
    /// # Errors
    /// As [`Pair::start`].
    pub fn start(&self, peer: &Peer, setting: Setting) -> Result<Pair, String> {
        let place = Place {
            material: &self.material,
            upstream: self.far_end.address,
            connections: match setting {
                Setting::Crowded => self.crowd(peer),
                _ => ORDINARY,
            },
            way: way(setting),
        };
        Pair::start(peer, &place)
    }

    /// What a pair takes at a time in the works with many connections: our relays have one socket for each, others two.
    pub fn crowd(&self, peer: &Peer) -> usize {
        let sockets = if peer.is_sidecar() { 1 } else { 2 };
        (self.limit.saturating_sub(SPARE) / sockets).min(CROWD)
    }

    pub fn pair(&mut self, name: &str, setting: Setting) -> Option<&mut Pair> {
        self.pairs.get_mut(&(name.to_owned(), setting))
    }

    /// Who takes part in a work of the rounds.
    pub fn participants(&self, work: &Work) -> Vec<String> {
        let there = |peer: &&Peer| self.pairs.contains_key(&(peer.name.clone(), work.setting()));
        let peers = self.cast.peers.iter().filter(|peer| work.takes(peer)).filter(there);
        let mut names: Vec<String> = peers.map(|peer| peer.name.clone()).collect();
        if work.kind == Kind::Far && self.iperf3.is_some() {
            names.push(works::IPERF3.to_owned());
        }
        names
    }

    /// Ends all pairs: what they share with one measured alone would be counted as shared.
    pub fn clear(&mut self) {
        self.pairs.clear();
        self.iperf3 = None;
    }
}

fn way(setting: Setting) -> Option<Way> {
    let rate = match setting {
        Setting::Near | Setting::Crowded => return None,
        Setting::Delayed => None,
        Setting::Far => Some(RATE),
    };
    Some(Way {
        round_trip: ROUND_TRIP,
        rate,
    })
}
