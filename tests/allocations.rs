//! The data path of a real pair over sockets, as the allocator and the pair's counters see it: in its stride nothing is allocated,
//! and what many streams have ready shares frames. Both sidecars run in this process, on threads as they have in their own.

mod harness;

use harness::{app, connect, eventually};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use wa_sidecar::config::{Address, Service, Targets};
use wa_sidecar::counters::Registry;
use wa_sidecar::crypto::suite::Suites;
use wa_sidecar::crypto::{Keyring, Psk};
use wa_sidecar::link::budget::Budget;
use wa_sidecar::link::handshake::Local;
use wa_sidecar::net::listen::{Binder, For, Listener};
use wa_sidecar::net::unix::SocketFiles;
use wa_sidecar::process::{self, Tables};
use wa_sidecar::sidecar::Sidecar;
use wa_sidecar::signals::Stop;
use wa_sidecar::webapp::Door;
use wa_sidecar::wire::Software;
use wa_sidecar::{coreapp, webapp};

struct Counting;

static CALLS: AtomicU64 = AtomicU64::new(0);

// The system's allocator, counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The counter is the process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

const REQUEST: usize = 100;
/// A busy host splits one turn of a sidecar into many: of frames the least of so many runs is judged.
const RUNS: usize = 8;
/// A queue that comes to hold all 64 streams for the first time doubles at most so often, in all runs together, and so often bytes may have
/// to wait for a test that a busy host stopped; the last run allocates nothing.
const DOUBLINGS: u64 = 6;

/// One sidecar; it stops with the test.
struct Inside {
    registry: Arc<Registry>,
    address: SocketAddr,
    stop: Stop,
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.stop.drain.cancel();
        self.stop.now.cancel();
    }
}

impl Inside {
    fn start(instance: u8, purpose: For, tables: impl FnOnce(Listener) -> Tables) -> Self {
        let mut binder = Binder {
            socket_mode: 0o600,
            files: SocketFiles::default(),
        };
        let listener = binder
            .bind(&Address::Ip(([127, 0, 0, 1], 0).into()), purpose)
            .expect("bound");
        let Ok(Address::Ip(address)) = listener.address() else {
            panic!("no address")
        };
        let registry = Registry::new(1);
        let sidecar = Sidecar {
            keyring: Arc::new(Keyring {
                current: Psk::from_bytes([1; 32]),
                previous: None,
                deployment: "default".into(),
            }),
            local: Local {
                instance: [instance; 16],
                name: None,
                peer_name: None,
                suites: Suites::chacha20_poly1305(),
                software: Software::own(),
            },
            budget: Budget::new(16 << 20),
            own_links: 1,
            registry: Arc::clone(&registry),
            max_streams: 1024,
            max_links: 64,
            drain_timeout: Duration::from_secs(1),
        };
        let (stop, tables) = (Stop::default(), tables(listener));
        let stopped = stop.clone();
        thread::spawn(move || {
            let control = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let control = control.expect("a runtime");
            control
                .block_on(process::run(tables, sidecar, stopped))
                .expect("served");
        });
        Self {
            registry,
            address,
            stop,
        }
    }

    fn frames(&self) -> u64 {
        self.registry.all().map(|counters| counters.frames_sent.get()).sum()
    }
}

struct Pair {
    web: Inside,
    core: Inside,
}

impl Pair {
    fn start(upstream: SocketAddr) -> Self {
        let tables = Tables {
            max_waiting: 256,
            ..Tables::default()
        };
        let core = Inside::start(2, For::Links, |listener| {
            let settings = coreapp::Settings {
                targets: Targets::by_position(&[Address::Ip(upstream)]),
                dial_timeout: Duration::from_secs(5),
                max_dials: 256,
            };
            Tables {
                coreapps: vec![(settings, vec![listener])],
                max_waiting: 256,
                ..Tables::default()
            }
        });
        let web = Inside::start(1, For::Apps, |listener| {
            let settings = webapp::Settings {
                peer: Address::Ip(core.address),
                peer_name: None,
            };
            let service = Service::at(0, 1);
            Tables {
                webapps: vec![(settings, vec![Door { listener, service }])],
                ..tables
            }
        });
        eventually("a link", || web.registry.readiness.get().ok());
        Self { web, core }
    }

    /// Allocations of `work`, and the frames that either side sent for it.
    fn counted(&self, work: impl FnOnce()) -> (u64, u64, u64) {
        let sides = || (self.web.frames(), self.core.frames());
        let (calls, (web, core)) = (CALLS.load(Relaxed), sides());
        work();
        let (to_core, to_web) = sides();
        (CALLS.load(Relaxed) - calls, to_core - web, to_web - core)
    }
}

fn answer_all(mut stream: TcpStream) {
    let mut request = [0; REQUEST];
    while stream.read_exact(&mut request).is_ok() && stream.write_all(&request).is_ok() {}
}

/// `rounds` times a request on every connection, then all answers.
fn ask(streams: &mut [TcpStream], rounds: usize) {
    for _ in 0..rounds {
        for stream in &mut *streams {
            stream.write_all(&[5; REQUEST]).expect("sent");
        }
        for stream in &mut *streams {
            stream.read_exact(&mut [0; REQUEST]).expect("answered");
        }
    }
}

#[test]
fn requests_in_their_stride_allocate_nothing_and_share_frames() {
    let _alone = ALONE.lock();
    let pair = Pair::start(app(answer_all));
    for (connections, rounds) in [(1, 2000), (64, 100)] {
        let mut streams: Vec<_> = (0..connections).map(|_| connect(pair.web.address)).collect();
        ask(&mut streams, rounds / 2);
        let requests = (connections * rounds) as u64;
        // How many come to share a frame is up to how fast they come: on a fast host three on one side and thirty on the other.
        let most = if connections == 1 {
            requests + requests / 10
        } else {
            requests / 2
        };
        let (mut grown, mut last, mut least) = (0, 0, (u64::MAX, u64::MAX));
        for _ in 0..RUNS {
            let (calls, to_core, to_web) = pair.counted(|| ask(&mut streams, rounds));
            println!(
                "{requests} requests on {connections} connections: {calls} allocations, {to_core} frames there, {to_web} back"
            );
            (grown, last) = (grown + calls, calls);
            least = (least.0.min(to_core), least.1.min(to_web));
            if last == 0 && least.0.max(least.1) <= most {
                break;
            }
        }
        assert_eq!(last, 0, "{connections} connections");
        assert!(grown <= DOUBLINGS, "{grown} allocations on {connections} connections");
        let (to_core, to_web) = least;
        assert!(to_core <= most && to_web <= most, "{to_core} and {to_web} frames");
    }
    // The counter counts.
    let (calls, _, _) = pair.counted(|| ask(&mut [connect(pair.web.address)], 1));
    println!("{calls} allocations for a connection");
    assert!(calls > 0);
}

#[test]
fn bulk_in_its_stride_allocates_nothing() {
    const PART: usize = 1 << 20;
    let _alone = ALONE.lock();
    // Sends back one byte for each part, and a part for each byte of 1.
    let pair = Pair::start(app(|mut stream| {
        let mut part = vec![0; PART];
        while stream.read_exact(&mut part).is_ok() && stream.write_all(&part).is_ok() {}
    }));
    let mut stream = connect(pair.web.address);
    let mut part = vec![3; PART];
    let mut exchange = |parts: usize| {
        for _ in 0..parts {
            stream.write_all(&part).expect("sent");
            stream.read_exact(&mut part).expect("sent back");
        }
    };
    exchange(32);
    let (mut grown, mut last) = (0, 1);
    for _ in 0..RUNS {
        let (calls, to_core, to_web) = pair.counted(|| exchange(64));
        println!("64 MiB there and back: {calls} allocations, {to_core} frames there, {to_web} back");
        assert!(to_core >= 256 && to_web >= 256);
        (grown, last) = (grown + calls, calls);
        if last == 0 {
            break;
        }
    }
    assert_eq!(last, 0);
    assert!(grown <= DOUBLINGS, "{grown} allocations");
}
