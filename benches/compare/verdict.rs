//! What our pair is held against: a floor and a goal for each figure, as a ratio to a peer or as it is.

use crate::{
    figures::Spread,
    peers::{self, Peer, Suite},
    results::{Metric, Results},
    works::{self, Work},
};

/// One line of the list.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub work: &'static str,
    pub metric: Metric,
    /// Of our two pairs; `None`: both.
    pub suite: Option<Suite>,
    pub against: Against,
    pub floor: f64,
    pub goal: f64,
}

/// Where there are several, the one that is hardest to beat counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// Nobody: the figure itself.
    Itself,
    /// These, by the beginnings of their names.
    These(&'static [&'static str]),
    /// All that seal with this.
    Suite(Suite),
    /// All that seal.
    Sealed,
    /// All, but no relay at all.
    Everybody,
}

const PLAIN: Against = Against::These(&[peers::PLAIN]);
const TLS_AES: Against = Against::These(&["haproxy-tls-aes", "nginx-tls-aes", "stunnel-psk-aes"]);
const AES: Option<Suite> = Some(Suite::Aes);
const CHACHA: Option<Suite> = Some(Suite::ChaCha);

const fn rule(
    work: &'static str,
    metric: Metric,
    suite: Option<Suite>,
    against: Against,
    floor: f64,
    goal: f64,
) -> Rule {
    Rule {
        work,
        metric,
        suite,
        against,
        floor,
        goal,
    }
}

#[rustfmt::skip] // one row a rule
pub const RULES: &[Rule] = &[
    rule("bulk-1", Metric::Cpu, AES, PLAIN, 0.85, 0.70),
    rule("bulk-1", Metric::BytesPerSecond, AES, Against::These(&["ss-rust-aes"]), 1.0, 1.2),
    rule("bulk-1", Metric::BytesPerSecond, AES, TLS_AES, 1.3, 1.6),
    rule("bulk-1", Metric::Cpu, CHACHA, PLAIN, 1.25, 1.1),
    rule("bulk-1", Metric::BytesPerSecond, CHACHA, Against::Suite(Suite::ChaCha), 1.1, 1.25),
    rule("bulk-8", Metric::Cpu, AES, PLAIN, 0.85, 0.70),
    rule("bulk-8", Metric::BytesPerSecond, AES, Against::These(&["ss-rust-aes"]), 1.0, 1.2),
    rule("bulk-8", Metric::BytesPerSecond, AES, TLS_AES, 1.3, 1.6),
    rule("bulk-8", Metric::Cpu, CHACHA, PLAIN, 1.25, 1.1),
    rule("bulk-8", Metric::BytesPerSecond, CHACHA, Against::Suite(Suite::ChaCha), 1.1, 1.25),
    rule("request-64", Metric::Cpu, None, PLAIN, 0.70, 0.55),
    rule("request-64", Metric::PerSecond, None, Against::Sealed, 1.25, 1.5),
    rule("request-64", Metric::P99, None, Against::Sealed, 1.0, 1.0),
    rule("request-1", Metric::Cpu, None, PLAIN, 1.0, 0.9),
    rule("request-1", Metric::P50, None, Against::Sealed, 1.05, 1.0),
    rule("connection-16", Metric::Cpu, None, PLAIN, 0.65, 0.5),
    rule("connection-16", Metric::PerSecond, None, Against::These(&["ss-libev", "ss-rust"]), 1.5, 2.0),
    rule("connection-16", Metric::PerSecond, None, Against::These(&["haproxy-tls", "nginx-tls", "stunnel-psk", "spiped"]), 6.0, 8.0),
    rule("fairness", Metric::Fairness, None, Against::Itself, 5.0, 5.0),
    rule("fairness", Metric::Fairness, None, PLAIN, 1.0, 1.0),
    // One round trip, and the timers of the path.
    rule("first-byte", Metric::RoundTrips, None, Against::Itself, 1.2, 1.2),
    rule("far-bulk", Metric::BytesPerSecond, None, Against::These(&[works::IPERF3]), 0.8, 0.8),
    // Flat or falling, and the noise of a window.
    rule("growth", Metric::GrowthTo1000, None, Against::Itself, 1.05, 1.0),
    rule("growth", Metric::GrowthTo5000, None, Against::Itself, 1.3, 1.3),
    rule("sealing", Metric::Cpu, AES, Against::These(&[peers::WITHOUT_AEAD]), 1.25, 1.25),
    rule("memory", Metric::Idle, None, Against::Itself, 6.0 * 1024.0, 6.0 * 1024.0),
    rule("memory", Metric::BusyPeak, None, Against::Itself, 32.0 * 1024.0, 32.0 * 1024.0),
    rule("memory", Metric::PerStream, None, Against::Itself, 2.5, 2.5),
    rule("memory", Metric::PerStream, None, Against::Everybody, 1.0, 1.0),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Goal,
    Ok,
    Missed,
    /// Nobody to hold it against, or no figure.
    Open,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Goal => "goal",
            Verdict::Ok => "ok",
            Verdict::Missed => "missed",
            Verdict::Open => "-",
        }
    }
}

/// A rule, held against what was measured.
#[derive(Clone, Debug)]
pub struct Judged {
    pub rule: Rule,
    pub ours: String,
    /// Whom it was held against: empty if nobody.
    pub peer: String,
    pub spread: Option<Spread>,
    pub verdict: Verdict,
}

/// All rules of works that were measured, for `name` in both suites.
pub fn judge(results: &Results, peers: &[Peer], name: &str) -> Vec<Judged> {
    let mut judged = Vec::new();
    for rule in RULES.iter().filter(|rule| !results.peers(rule.work).is_empty()) {
        for ours in peers.iter().filter(|peer| peer.is_sidecar() && peer.is_called(name)) {
            if !ours.without_aead && rule.suite.is_none_or(|suite| ours.suite == Some(suite)) {
                judged.push(held(rule, results, peers, ours));
            }
        }
    }
    judged
}

fn held(rule: &Rule, results: &Results, peers: &[Peer], ours: &Peer) -> Judged {
    let more = Work::more_is_better(rule.metric);
    let hardest = match rule.against {
        Against::Itself => results
            .spread(rule.work, &ours.name, rule.metric)
            .map(|spread| (String::new(), spread)),
        _ => rivals(rule, results, peers)
            .into_iter()
            .filter_map(|rival| {
                let spread = results.ratio(rule.work, &ours.name, &rival, rule.metric)?;
                Some((rival, spread))
            })
            .min_by(|(_, a), (_, b)| {
                let order = a.median.total_cmp(&b.median);
                if more { order } else { order.reverse() }
            }),
    };
    let (peer, spread) = hardest.unzip();
    let verdict = spread.map_or(Verdict::Open, |spread: Spread| of(spread.median, rule, more));
    Judged {
        rule: *rule,
        ours: ours.name.clone(),
        peer: peer.unwrap_or_default(),
        spread,
        verdict,
    }
}

fn of(value: f64, rule: &Rule, more: bool) -> Verdict {
    let meets = |bound| if more { value >= bound } else { value <= bound };
    match (meets(rule.goal), meets(rule.floor)) {
        (true, _) => Verdict::Goal,
        (false, true) => Verdict::Ok,
        (false, false) => Verdict::Missed,
    }
}

/// Those of `rule.against` that were measured.
fn rivals(rule: &Rule, results: &Results, peers: &[Peer]) -> Vec<String> {
    let counts = |name: &str| {
        let peer = peers.iter().find(|peer| peer.name == name);
        match rule.against {
            Against::Itself => false,
            Against::These(names) => {
                names.contains(&name) || peer.is_some_and(|peer| names.iter().any(|name| peer.is_called(name)))
            }
            Against::Suite(suite) => peer.is_some_and(|peer| peer.is_sealed_peer() && peer.suite == Some(suite)),
            Against::Sealed => peer.is_some_and(Peer::is_sealed_peer),
            Against::Everybody => peer.is_some_and(|peer| peer.is_sealed_peer() || peer.name == peers::PLAIN),
        }
    };
    let names = results.peers(rule.work).into_iter();
    names.filter(|name| counts(name)).map(str::to_owned).collect()
}
