//! What a link costs in memory, as the allocator sees it: stalled streams within the budget, nothing per frame.

mod simulation;

use simulation::{Options, Raw, SECOND, against_responder, fill};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use wa_sidecar::link::{Event, Slot};
use wa_sidecar::wire::message::Message;

struct Counting;

static LIVE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);
static CALLS: AtomicU64 = AtomicU64::new(0);

fn grew(by: i64) {
    let live = LIVE.fetch_add(by, Relaxed) + by;
    PEAK.fetch_max(live, Relaxed);
    CALLS.fetch_add(1, Relaxed);
}

// The system's allocator, counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grew(layout.size() as i64);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grew(layout.size() as i64);
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grew(size as i64 - layout.size() as i64);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The counters are the process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Of a stream beside what it keeps for its app: its state, its places in the lists, the slack of both.
const PER_STREAM: i64 = 1024;
const BUDGET: i64 = 16 << 20;

fn live() -> i64 {
    LIVE.load(Relaxed)
}

/// The peer fills stream `id` as far as it is let; the app takes nothing.
fn fill_up(raw: &mut Raw, id: u32) {
    let credit = raw.link.credit(id).expect("open");
    let mut left = (credit.granted - credit.received) as usize;
    while left > 0 {
        let n = left.min(50_000);
        let events = raw.data(id, n).expect("within credit");
        assert!(matches!(events[..], [Event::Data { .. }]));
        raw.link
            .store(id, &vec![1; n])
            .expect("there is room for what credit was given for");
        left -= n;
    }
}

#[test]
fn a_thousand_stalled_streams_stay_within_the_budget_and_give_it_back() {
    let _alone = ALONE.lock();
    let mut raw = against_responder(&Options {
        max_streams: 1024,
        ..Options::default()
    });
    raw.receive();
    let start = live();
    let streams = 1_000;
    for id in 1..=streams {
        raw.send(|w| w.open(id, b"")).expect("room");
    }
    // Some take for a while, and quickly, so that their windows grow until the budget has nothing left.
    for round in 0..12 {
        for id in 1..=streams {
            if id % 50 != round % 50 && round > 0 {
                continue;
            }
            for _ in 0..8 {
                let credit = raw.link.credit(id).expect("open");
                let n = ((credit.granted - credit.received) as usize).min(50_000);
                if n > 0 {
                    raw.data(id, n).expect("within credit");
                    let now = raw.clock.now(raw.t).instant;
                    raw.link.consumed(id, n, now);
                }
                raw.receive();
            }
        }
    }
    assert!(
        raw.budget.free().1 < 4 << 20,
        "growth was used: {:?}",
        raw.budget.free()
    );
    PEAK.store(live(), Relaxed);
    for id in 1..=streams {
        fill_up(&mut raw, id);
    }
    let held: i64 = (1..=streams)
        .map(|id| raw.link.queued(id).iter().map(|part| part.len() as i64).sum::<i64>())
        .sum();
    let grown = live() - start;
    println!(
        "{held} bytes wait for {streams} apps in {grown} bytes of heap, peak {}",
        PEAK.load(Relaxed) - start
    );
    assert!(held > 8 << 20, "{held}");
    assert!(grown <= BUDGET + PER_STREAM * i64::from(streams), "{grown} for {held}");
    for id in 1..=streams {
        raw.send(|w| w.reset(id, wa_sidecar::wire::message::Code::AppReset))
            .expect("taken");
        raw.link.release(id);
        if id % 100 == 0 {
            raw.receive();
            raw.t += SECOND / 10;
        }
    }
    raw.receive();
    assert_eq!(raw.link.streams(), 0);
    assert_eq!(raw.budget.free().1, 8 << 20);
    let left = live() - start;
    println!("{left} bytes are left");
    assert!(
        left <= PER_STREAM * i64::from(streams),
        "{left}: no more than tables that keep their size"
    );
}

#[test]
fn a_transfer_in_its_stride_allocates_nothing() {
    let _alone = ALONE.lock();
    let options = Options {
        max_streams: 64,
        ..Options::default()
    };
    let (mut web, mut core) = links(&options);
    for _ in 0..10 {
        web.link.open(&mut web.buffers, b"", web.now.instant).expect("room");
    }
    let mut frame = vec![0; wa_sidecar::link::buffers::BUFFER_LEN];
    for _ in 0..300 {
        exchange(&mut web, &mut core, &mut frame);
    }
    let (calls, frames) = (CALLS.load(Relaxed), web.frames() + core.frames());
    for _ in 0..500 {
        exchange(&mut web, &mut core, &mut frame);
    }
    let (calls, frames) = (CALLS.load(Relaxed) - calls, web.frames() + core.frames() - frames);
    println!("{calls} allocations in {frames} frames");
    assert!(frames >= 1000);
    assert_eq!(calls, 0);
}

#[test]
fn an_idle_link_holds_no_buffer_and_little_else() {
    let _alone = ALONE.lock();
    let before = live();
    let (mut web, mut core) = links(&Options::default());
    let mut frame = vec![0; wa_sidecar::link::buffers::BUFFER_LEN];
    for _ in 0..10 {
        exchange(&mut web, &mut core, &mut frame);
    }
    drop((
        std::mem::take(&mut web.buffers),
        std::mem::take(&mut core.buffers),
        frame,
    ));
    let both = live() - before;
    println!("{both} bytes for two idle links");
    assert!(both < 32 * 1024, "{both}");
}

/// One end, without apps.
struct Bare {
    link: wa_sidecar::link::Link,
    buffers: wa_sidecar::link::buffers::Buffers,
    counters: std::sync::Arc<wa_sidecar::counters::Counters>,
    clock: simulation::HostClock,
    now: wa_sidecar::link::time::Now,
    t: u64,
}

impl Bare {
    fn frames(&self) -> u64 {
        self.counters.frames_sent.get()
    }
}

fn links(options: &Options) -> (Bare, Bare) {
    let (a, b) = simulation::handshake(options);
    let bare = |end: simulation::End| {
        let t = 2 * options.delay;
        let clock = end.clock.clone();
        let (link, counters) = end.link(simulation::keyring(1), 3, t);
        Bare {
            link,
            buffers: Default::default(),
            counters,
            now: clock.now(t),
            clock,
            t,
        }
    };
    (bare(a), bare(b))
}

/// Half a second: both send on every stream what credit and frame allow, and take all that comes.
fn exchange(web: &mut Bare, core: &mut Bare, frame: &mut [u8]) {
    for at_web in [true, false] {
        let (from, to) = if at_web {
            (&mut *web, &mut *core)
        } else {
            (&mut *core, &mut *web)
        };
        for side in [&mut *from, &mut *to] {
            side.t += SECOND / 4;
            side.now = side.clock.now(side.t);
            if side.now.instant >= side.link.timeout() {
                side.link.tick(side.now).expect("lives");
            }
        }
        for id in 1..=10 {
            if let Slot::Room(room) = from.link.slot(&mut from.buffers, id) {
                let n = room.len().min(5_000);
                fill(id, at_web, 0, &mut room[..n]);
                from.link.commit(&mut from.buffers, id, n);
            }
        }
        while let Some(bytes) = from.link.transmit(&mut from.buffers, from.now).expect("lives") {
            let n = bytes.len();
            frame[..n].copy_from_slice(bytes);
            from.link.transmitted(&mut from.buffers, n, from.now.instant);
            to.link.accept(&mut frame[..n], to.now).expect("opens").expect("whole");
            while let Some(event) = to.link.event(&frame[..n], to.now).expect("fair") {
                if let Event::Data { id, bytes } = event {
                    to.link.consumed(id, bytes.len(), to.now.instant);
                }
            }
        }
        while from.link.unpark().is_some() {}
    }
}

#[test]
fn messages_are_small() {
    assert!(size_of::<Message>() <= 64 && size_of::<Event>() <= 48);
}
