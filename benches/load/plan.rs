//! From flags to a plan: what is sent, by how many, in which phases.

use std::time::Duration;

use crate::{
    address::{self, Target},
    flags::{self, Direction, Work},
    machine,
    outcome::Heading,
    quantity,
    run::{Bulk, Phase, Plan, Small},
    work::{Request, Transfer},
};

/// One transfer of a bulk stream without end: long enough that its head does not matter.
const TRANSFER: u64 = 1 << 30;

/// # Errors
/// The target has no address.
pub fn make(options: &flags::Run) -> Result<(Plan, Heading), address::Error> {
    let target = Target::parse(&options.target)?;
    let phase = |name, length, counted, bulk| Phase {
        name,
        length,
        counted,
        bulk,
    };
    let (warmup, length) = (options.warmup, Some(options.duration));
    let (name, small, bulk, phases) = match &options.work {
        Work::Request(small) => (
            "request",
            Some((small, false)),
            None,
            vec![phase("measuring", length, true, false)],
        ),
        Work::Connection(small) => (
            "connection",
            Some((small, true)),
            None,
            vec![phase("measuring", length, true, false)],
        ),
        Work::Bulk(bulk) => {
            let length = length.filter(|_| bulk.bytes.is_none());
            ("bulk", None, Some(bulk), vec![phase("measuring", length, true, true)])
        }
        Work::Mixed(small, bulk) => {
            let begins = phase("bulk begins", Some(warmup.max(Duration::from_millis(500))), false, true);
            let phases = vec![
                phase("alone", length, true, false),
                begins,
                phase("beside bulk", length, true, true),
            ];
            ("mixed", Some((small, false)), Some(bulk), phases)
        }
    };
    // So many bytes are exactly so many: none are moved before.
    let warm = !warmup.is_zero() && bulk.is_none_or(|bulk| bulk.bytes.is_none());
    let first = warm.then(|| phase("warming up", Some(warmup), false, name == "bulk"));
    let most = small
        .map_or(0, |(small, _)| small.connections)
        .max(bulk.map_or(0, |bulk| bulk.streams));
    let threads = options.threads.min(most.max(1));
    let heading = Heading {
        work: name,
        label: options.label.clone().unwrap_or_else(|| options.target.clone()),
        target: options.target.clone(),
        rate: small.and_then(|(small, _)| small.rate),
        parameters: parameters(options, threads),
        machine: machine::describe(),
    };
    let plan = Plan {
        timeout: options.timeout,
        threads,
        small: small.map(|(small, connection_each)| Small {
            request: Request::get(&target, &small.path, small.size, connection_each),
            connections: small.connections,
            connection_each,
            rate: small.rate,
        }),
        bulk: bulk.map(|bulk| transfers(&target, bulk)),
        phases: first.into_iter().chain(phases).collect(),
        watched: options.watched.clone(),
        target,
    };
    Ok((plan, heading))
}

/// A transfer for each stream. With `--bytes` each stream has one, and the sum is exact.
fn transfers(target: &Target, bulk: &flags::Bulk) -> Bulk {
    let streams = bulk.streams as u64;
    let streams = (0..streams)
        .map(|index| {
            let length = bulk
                .bytes
                .map_or(TRANSFER, |bytes| bytes / streams + u64::from(index < bytes % streams));
            let send = match bulk.direction {
                Direction::Receive => false,
                Direction::Send => true,
                Direction::Both => index % 2 == 1,
            };
            let path = bulk.path.as_deref();
            if send {
                let path = path.unwrap_or(if bulk.verify { "/verify" } else { "/" });
                Transfer::Send {
                    request: Request::post(target, path, length),
                    length,
                }
            } else {
                let request = match path {
                    Some(path) => Request::get(target, path, None, false),
                    None => Request::get(target, &format!("/bytes/{length}"), Some(length), false),
                };
                Transfer::Receive {
                    request,
                    verify: bulk.verify,
                }
            }
        })
        .collect();
    Bulk {
        streams,
        once: bulk.bytes.is_some(),
    }
}

fn parameters(options: &flags::Run, threads: usize) -> Vec<(String, String)> {
    let mut rows: Vec<(&str, String)> = Vec::new();
    let small = match &options.work {
        Work::Request(small) | Work::Connection(small) | Work::Mixed(small, _) => Some(small),
        Work::Bulk(_) => None,
    };
    if let Some(small) = small {
        rows.push(("at a time", small.connections.to_string()));
        let rate = small.rate.map(|rate| format!("{}/s, open loop", quantity::count(rate)));
        rows.push((
            "rate",
            rate.unwrap_or_else(|| "as fast as it goes, closed loop".to_owned()),
        ));
        rows.push(("path", small.path.clone()));
    }
    if let Work::Bulk(bulk) | Work::Mixed(_, bulk) = &options.work {
        rows.push(("bulk streams", bulk.streams.to_string()));
        let direction = match bulk.direction {
            Direction::Receive => "receive",
            Direction::Send => "send",
            Direction::Both => "both",
        };
        rows.push(("direction", direction.to_owned()));
        if let Some(bytes) = bulk.bytes {
            rows.push(("bytes", bytes.to_string()));
        }
        if bulk.verify {
            rows.push(("verified", "every byte".to_owned()));
        }
    }
    rows.push(("warm-up", format!("{} s", options.warmup.as_secs_f64())));
    rows.push(("threads", threads.to_string()));
    rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
