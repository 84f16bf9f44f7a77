//! `wa-sidecar demo`: the whole pair on one machine, for somebody who has never seen it.
//!
//! ```text
//! client --> webapp sidecar ==> tap ==> coreapp sidecar --> stand-in Coreapp
//!   (this process)  (a child)   (here)    (a child)          (here)
//! ```
//!
//! Promises: no root, free ports of 127.0.0.1 alone, nothing written to disk, a secret that lives as long as the demo. The
//! sidecars are what an operator would run. Whatever is claimed was checked in this very run.
//! Must not know: keys; what is sealed it sees as anybody on the wire would.

mod children;
mod measure;
mod show;
mod standin;
mod tap;

pub use children::become_sidecar;

use crate::cli::{self, Demo, Exit, Failure};
use crate::{confine, health, signals};
use children::Sidecar;
use measure::Tally;
use show::{Out, grouped, micros};
use standin::MARKER;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;
use tap::Tap;

const PAUSE: Duration = Duration::from_secs(1);

/// Until Ctrl-C, or with `once` until the calls are made.
pub fn run(demo: &Demo) -> Result<(), Failure> {
    confine::no_core_dumps();
    let out = Out::stdout();
    let asked_to_end = watch_signals()?;
    let mut stage = Stage::set()?;
    stage.introduce(&out)?;
    stage.show_one_call(&out)?;
    let calls = match demo.once {
        true => demo.calls,
        false => measure::GLANCE,
    };
    let tally = stage.measure(calls, &asked_to_end);
    stage.sum_up(&out, &tally)?;
    let interrupted = tally.made < calls && tally.failures.is_empty();
    let mut wrong = tally.failures.len() as u64 + tally.leaks;
    if !demo.once && !interrupted && wrong == 0 {
        wrong = stage.go_on(&out, &asked_to_end)?;
    }
    let in_order = stage.end(&out)?;
    if interrupted && demo.once {
        let made = grouped(tally.made);
        return Err(Failure::new(Exit::Internal, format!("interrupted after {made} calls")));
    }
    if wrong > 0 {
        return Err(Failure::new(
            Exit::Internal,
            "not every call came back right; see above",
        ));
    }
    if !in_order {
        return Err(Failure::new(Exit::Internal, "a sidecar did not end in order"));
    }
    if demo.once {
        let made = grouped(tally.made);
        out.line(out.good(&format!("ok: {made} of {made} calls came back right")))?;
    }
    Ok(())
}

/// Everything that runs. Dropped, the sidecars are gone.
struct Stage {
    app: SocketAddr,
    // In this order: who dials ends first.
    web: Sidecar,
    core: Sidecar,
    tap: Tap,
    handshake_us: u64,
    suite: String,
}

impl Stage {
    fn set() -> Result<Self, Failure> {
        let secret = cli::new_secret()?;
        let listener = bind("the stand-in Coreapp")?;
        let app = listener.local_addr().map_err(internal)?;
        standin::serve(listener).map_err(no_thread)?;
        let core = Sidecar::start("coreapp", "--upstream", app, &secret)?;
        let tap = Tap::start(bind("the tap")?, core.listen, MARKER).map_err(no_thread)?;
        let mut web = Sidecar::start("webapp", "--peer", tap.address, &secret)?;
        let link_up = web.event("link_up")?;
        Ok(Self {
            app,
            web,
            core,
            tap,
            handshake_us: link_up["handshake_us"].as_u64().unwrap_or_default(),
            suite: link_up["suite"].as_str().unwrap_or_default().to_owned(),
        })
    }

    fn introduce(&self, out: &Out) -> Result<(), Failure> {
        let Self {
            app, web, core, tap, ..
        } = self;
        out.headline("A sealed pair on this machine")?;
        out.line("")?;
        out.line("    client --> webapp sidecar ==> tap ==> coreapp sidecar --> stand-in Coreapp")?;
        out.line("          plain            sealed     sealed              plain")?;
        out.line("")?;
        out.line("                       pid       listens            admin pages")?;
        let row = |name: &str, pid: u32, listens: SocketAddr, admin: &str| {
            out.line(format!("    {name:<18} {pid:<9} {listens:<18} {admin}").trim_end())
        };
        let here = std::process::id();
        row(
            "webapp sidecar",
            web.pid(),
            web.listen,
            &format!("http://{}", web.admin),
        )?;
        row("tap", here, tap.address, "")?;
        row(
            "coreapp sidecar",
            core.pid(),
            core.listen,
            &format!("http://{}", core.admin),
        )?;
        row("stand-in Coreapp", here, *app, "")?;
        out.line("")?;
        out.line("    The client calls the webapp sidecar as if that were Coreapp. Both sidecars got one fresh")?;
        out.line("    secret, WA_SECRET, in their environment. The tap has none: it sees what the wire carries.")?;

        let whole = |way: &tap::Way| way.handshake.len() == tap::HANDSHAKE_LEN;
        let seen = tap.seen_once(|seen| whole(&seen.there) && whole(&seen.back));
        out.headline("The handshake, as the tap saw it")?;
        out.line("")?;
        out.line(format!(
            "    webapp  -> coreapp   {}   512 bytes",
            show::start_of(&seen.there)
        ))?;
        out.line(format!(
            "    coreapp -> webapp    {}   512 bytes",
            show::start_of(&seen.back)
        ))?;
        out.line(format!(
            "    once, in {} us; from then on every frame is sealed with {}",
            grouped(self.handshake_us),
            self.suite
        ))?;
        Ok(())
    }

    fn show_one_call(&self, out: &Out) -> Result<(), Failure> {
        let (request, answer) = (standin::request(0), standin::answer(0));
        let (called, seen) = self.tap.record(
            || standin::call(self.web.listen, 0),
            |seen| seen.there.carrier_of(request.len()).is_some() && seen.back.carrier_of(answer.len()).is_some(),
        );
        out.headline("One call: what the apps see, beside what is on the wire")?;
        let took = match called {
            Ok(took) => took,
            Err(wrong) => return Err(self.explained(&format!("the first call {wrong}"))),
        };
        for (from, to, bytes, way) in [
            ("client", "Coreapp", &request, &seen.there),
            ("Coreapp", "client", &answer, &seen.back),
        ] {
            out.line(format!("\n  {from} -> {to}, plain, {} bytes", bytes.len()))?;
            out.plain(bytes)?;
            let Some(frame) = way.carrier_of(bytes.len()) else {
                return Err(Failure::new(
                    Exit::Internal,
                    "the tap saw no frame that could have carried it",
                ));
            };
            out.line(format!("  the frame that carried it, sealed, {} bytes", frame.len()))?;
            out.frame(frame, bytes.len())?;
        }
        out.line(format!(
            "\n  The client read until EOF and had the whole answer {} after it began to connect.",
            micros(took)
        ))?;
        Ok(())
    }

    fn measure(&mut self, calls: u64, asked_to_end: &Receiver<()>) -> Tally {
        let before = self.tap.seen();
        let (web, app) = (self.web.listen, self.app);
        let mut tally = measure::calls(web, app, calls, || {
            asked_to_end.try_recv().is_ok() || self.web.ended().is_some() || self.core.ended().is_some()
        });
        tally.traffic(&before, &self.tap.seen());
        tally
    }

    fn sum_up(&mut self, out: &Out, tally: &Tally) -> Result<(), Failure> {
        let made = grouped(tally.made);
        out.headline(&format!(
            "{made} calls through the pair, every answer compared byte for byte"
        ))?;
        out.line("")?;
        let row =
            |name: &str, value: &str, note: &str| out.line(format!("    {name:<24} {value:<24} {note}").trim_end());
        let failures = tally.failures.len() as u64;
        row("calls", &made, "a connection each")?;
        row("failures", &grouped(failures), "")?;
        if let (Some(sealed), Some(direct)) = (tally.sealed.percentiles(), tally.direct.percentiles()) {
            row("a call, p50 and p99", &sealed, "through the pair, and the tap in it")?;
            row("", &direct, "straight to the stand-in, by turns")?;
        }
        row(
            "handshake",
            &format!("{} us", grouped(self.handshake_us)),
            &format!("{} since the start", count(tally.links, "link")),
        )?;
        row(
            "frames",
            &format!("{} and {}", grouped(tally.there.frames), grouped(tally.back.frames)),
            "toward Coreapp, and back",
        )?;
        row(
            "bytes on the wire",
            &format!("{} and {}", grouped(tally.there.bytes), grouped(tally.back.bytes)),
            &format!(
                "for {} and {} of the apps'",
                grouped(tally.requests),
                grouped(tally.answers)
            ),
        )?;
        row(
            "plaintext on the wire",
            &if tally.leaks == 0 {
                "none".to_owned()
            } else {
                out.bad(&format!("{} times", tally.leaks))
            },
            &format!("looked for {MARKER:?}"),
        )?;
        if cfg!(debug_assertions) {
            out.line("    This is a debug build. With  cargo run --release -- demo  the times are those that count.")?;
        }
        for (n, wrong) in tally.failures.iter().take(5) {
            out.line(format!("    {} call {n} {wrong}", out.bad("FAILED")))?;
        }
        // One may have died between two calls, so that none failed.
        if failures > 0 || self.web.ended().is_some() || self.core.ended().is_some() {
            self.say_what_the_sidecars_said(out)?;
        }
        Ok(())
    }

    /// A call a second until asked to end. Returns how many failed.
    fn go_on(&mut self, out: &Out, asked_to_end: &Receiver<()>) -> Result<u64, Failure> {
        let (web, core) = (self.web.admin, self.core.admin);
        out.headline("Both sidecars stay up, with a call a second. Ctrl-C ends it all, in order.")?;
        let pid = self.core.pid();
        out.line(format!(
            "
    http://{web}/status   the webapp sidecar; also /metrics, /readyz, /livez
    http://{core}/status   the coreapp sidecar

  Worth a try, in another terminal:

    curl -s http://{web}/metrics | grep bytes_total
        the apps' bytes, and what they came to when sealed
    curl -s http://{core}/status
        what one end knows of the other: version, clock difference, round trip
    kill -STOP {pid}; sleep 5; kill -CONT {pid}
        the coreapp sidecar stalls for less than 10 s: a call waits, and no link is lost
    kill -9 {pid}
        it dies: whoever waits for an answer is reset, and never gets a short one that looks whole
"
        ))?;
        let mut failed = 0;
        let mut gone = false;
        for n in 1_u64.. {
            let called = standin::call(self.web.listen, n);
            let seen = self.tap.seen();
            let (time, frames) = (show::now(), grouped(seen.there.frames + seen.back.frames));
            match called {
                Ok(took) => {
                    let bytes = standin::answer(n).len();
                    out.line(format!(
                        "  {time}  call {n:<5} {:>10}   {:>5} bytes, whole   {frames:>7} frames so far",
                        micros(took),
                        grouped(bytes as u64)
                    ))?;
                }
                Err(wrong) => {
                    failed += 1;
                    out.line(format!("  {time}  call {n:<5} {} {wrong}", out.bad("FAILED")))?;
                }
            }
            for sidecar in [&mut self.web, &mut self.core] {
                if let Some(how) = sidecar.ended().filter(|_| !gone) {
                    gone = true;
                    out.line(format!(
                        "  The {} sidecar is gone ({how}) and the demo starts no other: Ctrl-C.",
                        sidecar.role
                    ))?;
                }
            }
            match asked_to_end.recv_timeout(PAUSE) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => break,
            }
        }
        Ok(failed)
    }

    /// Who dials first. `false`: one of them did not end as asked.
    fn end(mut self, out: &Out) -> Result<bool, Failure> {
        let refused = [&self.web, &self.core].map(|sidecar| refused_frames(sidecar.admin));
        let ended = [self.web.end(), self.core.end()];
        let refused = match refused {
            [Some(0), Some(0)] => "no frame was refused",
            [Some(_), Some(_)] => "FRAMES WERE REFUSED",
            _ => "whether frames were refused is not known",
        };
        let how = |ended| {
            if ended {
                "drained and ended"
            } else {
                "did not end in order"
            }
        };
        let ends = match ended {
            [true, true] => "Both sidecars drained and ended".to_owned(),
            [web, core] => format!("The webapp sidecar {}, the coreapp sidecar {}", how(web), how(core)),
        };
        out.line(format!("\n  {ends}; {refused}."))?;
        Ok(ended == [true, true])
    }

    fn say_what_the_sidecars_said(&mut self, out: &Out) -> Result<(), Failure> {
        for sidecar in [&mut self.web, &mut self.core] {
            let role = sidecar.role;
            if let Some(how) = sidecar.ended() {
                out.line(format!("    the {role} sidecar has ended: {how}"))?;
            }
            for line in sidecar.warnings().iter().rev().take(5).rev() {
                out.line(format!("    {role}: {line}"))?;
            }
        }
        Ok(())
    }

    fn explained(&self, what: &str) -> Failure {
        let said = [&self.web, &self.core].map(|sidecar| sidecar.warnings().join("\n  "));
        Failure::new(Exit::Internal, format!("{what}\n  {}", said.join("\n  ")))
    }
}

fn count(n: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(n), if n == 1 { "" } else { "s" })
}

/// The sum over all reasons; `None` if the page cannot be had.
fn refused_frames(admin: SocketAddr) -> Option<u64> {
    let (_, page) = health::fetch(&crate::config::Address::Ip(admin), "/metrics").ok()?;
    let samples = page
        .lines()
        .filter(|line| line.starts_with("wa_sidecar_frames_refused_total{"));
    samples.map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

fn bind(who: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind("127.0.0.1:0").map_err(|error| {
        Failure::new(
            Exit::Unavailable,
            format!(
                "no port of 127.0.0.1 for {who}: {error}\n  \
                 The demo needs six free ports of loopback, which the system chooses. Is the interface up?  ip address show lo"
            ),
        )
    })
}

/// The first SIGINT or SIGTERM is told, a second one ends this process, and so its children.
fn watch_signals() -> Result<Receiver<()>, Failure> {
    let (asked, inbox) = mpsc::channel();
    let runtime = signals::runtime().map_err(internal)?;
    let watch = {
        let _context = runtime.enter();
        signals::watch().map_err(internal)?
    };
    let watcher = thread::Builder::new().name("signals".into());
    let watching = watcher.spawn(move || {
        runtime.block_on(async {
            watch.drain.cancelled().await;
            let _ = asked.send(());
            watch.now.cancelled().await;
            std::process::exit(Exit::Internal as i32);
        });
    });
    watching.map_err(no_thread)?;
    Ok(inbox)
}

/// Threads are all that these can lack.
fn no_thread(error: std::io::Error) -> Failure {
    Failure::new(
        Exit::Unavailable,
        format!(
            "cannot start a thread: {error}\n  \
             Is there a limit on processes or open files?  ulimit -u; ulimit -n"
        ),
    )
}

fn internal(error: impl ToString) -> Failure {
    Failure::new(Exit::Internal, error)
}
