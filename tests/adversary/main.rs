//! Somebody on the path between two real sidecars, and strangers in front of one: what they can do is end a link, and be counted.

#[path = "../harness/mod.rs"]
mod harness;

mod apps;
mod clocks;
mod cuts;
mod floods;
mod frames;
mod handshakes;
mod hold;
mod middlebox;
mod replays;
mod strangers;

use apps::{Outcome, Upstream, call};
use harness::{Sidecar, Start};
use middlebox::{Middlebox, Plan};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// An address of this process alone: on a shared one a port may be one that another test's sidecar still dials.
fn loopback() -> IpAddr {
    let [a, b, c, d] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | a << 4 | b & 15, c, d).into()
}

/// webapp -> middlebox -> coreapp -> upstream.
struct Attacked {
    web: Sidecar,
    middlebox: Middlebox,
    core: Sidecar,
    upstream: Upstream,
}

impl Attacked {
    fn start() -> Self {
        Self::start_with(&[], &[], |_| ())
    }

    /// `plan`: for the first link.
    fn planned(plan: Plan) -> Self {
        Self::start_with(&[], &[], |middlebox| middlebox.plan(plan))
    }

    /// `plan`: for every link.
    fn planned_each(plan: impl FnMut() -> Plan + Send + 'static) -> Self {
        Self::start_with(&[], &[], |middlebox| middlebox.plan_each(plan))
    }

    fn start_with(web: &[&str], core: &[&str], prepare: impl FnOnce(&Middlebox)) -> Self {
        let upstream = Upstream::start();
        let (behind, listen) = (upstream.address.to_string(), format!("{}:0", loopback()));
        let core = Start::new(
            "coreapp",
            &[&["--upstream", &behind, "--listen", &listen], core].concat(),
        )
        .spawn();
        let middlebox = Middlebox::start(core.listen);
        prepare(&middlebox);
        let web = start_web(middlebox.address, web).spawn();
        Self {
            web,
            middlebox,
            core,
            upstream,
        }
    }

    /// A small call with a request and an answer of some hundred bytes.
    fn call(&self, seed: u32) -> Outcome {
        call(self.web.listen, seed, 200, 220)
    }

    /// A call that is not made before a link is up that was dialled after the last cut.
    fn call_on_a_new_link(&self) -> Outcome {
        harness::eventually("a new link", || {
            (self.middlebox.is_idle() && self.web.page("/readyz").starts_with("HTTP/1.1 200")).then_some(())
        });
        self.call(3)
    }

    /// The attack is over: a call passes, and never was a wrong byte or a false end seen.
    fn recovers(&self) {
        let outcome = (0..20).map(|_| self.call(7)).find(|outcome| *outcome == Outcome::Whole);
        assert!(outcome.is_some(), "no call passes: {:#?}", self.web.log());
        self.upstream.saw_no_fault();
    }
}

/// A coreapp in front of `upstream`.
fn start_core(upstream: &Upstream, flags: &[&str]) -> Start {
    let (behind, listen) = (upstream.address.to_string(), format!("{}:0", loopback()));
    let mut all = vec!["--upstream", &behind];
    if !flags.contains(&"--listen") {
        all.extend(["--listen", &listen]);
    }
    all.extend(flags);
    Start::new("coreapp", &all)
}

/// A webapp that dials `peer`.
fn start_web(peer: SocketAddr, flags: &[&str]) -> Start {
    let (peer, listen) = (peer.to_string(), format!("{}:0", loopback()));
    Start::new("webapp", &[&["--peer", &peer, "--listen", &listen], flags].concat())
}

/// Frames that `sidecar` refused for `reason`.
fn refused(sidecar: &Sidecar, reason: &str) -> u32 {
    sidecar.metric(&format!("wa_sidecar_frames_refused_total{{reason=\"{reason}\"}}")) as u32
}

/// Links of `sidecar` that ended for `reason`.
fn ended(sidecar: &Sidecar, reason: &str) -> u32 {
    sidecar.metric(&format!("wa_sidecar_links_ended_total{{reason=\"{reason}\"}}")) as u32
}

/// Handshakes of `sidecar` with `result`.
fn handshakes(sidecar: &Sidecar, result: &str) -> u32 {
    sidecar.metric(&format!("wa_sidecar_handshakes_total{{result=\"{result}\"}}")) as u32
}
