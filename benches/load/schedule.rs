//! When operations begin: as soon as the one before is done (closed loop), or at times fixed in advance (open loop).
//!
//! In an open loop operation `i` is due at `begin + i * interval`, whatever the target does. Its latency counts from there:
//! a target that stalls for a second makes a second's worth of operations late, and all of them are seen. A closed loop
//! would see one slow operation a connection and send nothing meanwhile ("coordinated omission").
//!
//! Promises: due times depend on nothing that is measured. Must not know: what an operation is.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::{io::unix::AsyncFd, sync::Semaphore, time::Instant};

/// A beginning over this after its time is late: the connections were busy, not the timer coarse.
pub const LATE: Duration = Duration::from_millis(1);

/// The due times of one thread's operations.
#[derive(Debug)]
pub enum Schedule {
    Closed,
    Open(Open),
}

/// Operations at fixed times.
#[derive(Debug)]
pub struct Open {
    begin: Instant,
    interval: Duration,
    /// How many were handed out.
    next: AtomicU64,
    /// How many are due and not handed out.
    due: Semaphore,
}

/// When an operation begins.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Latency counts from here.
    pub due: Instant,
    pub now: Instant,
}

impl Schedule {
    /// `rate` operations a second from `begin` on, or without one a closed loop.
    pub fn new(rate: Option<f64>, begin: Instant) -> Schedule {
        match rate {
            None => Schedule::Closed,
            Some(rate) => Schedule::Open(Open {
                begin,
                interval: Duration::from_nanos((1e9 / rate).round().clamp(1.0, 1e18) as u64),
                next: AtomicU64::new(0),
                due: Semaphore::new(0),
            }),
        }
    }

    /// Waits until an operation may begin.
    pub async fn start(&self) -> Start {
        match self {
            Schedule::Closed => {
                let now = Instant::now();
                Start { due: now, now }
            }
            Schedule::Open(open) => {
                // The semaphore is never closed.
                if let Ok(permit) = open.due.acquire().await {
                    permit.forget();
                }
                let index = open.next.fetch_add(1, Ordering::Relaxed);
                Start {
                    due: open.due_at(index),
                    now: Instant::now(),
                }
            }
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self, Schedule::Open(_))
    }

    /// Lets operations begin as their times come; never ends. In a closed loop there is nothing to do.
    ///
    /// # Errors
    /// The system has no timer left.
    pub async fn run(&self) -> io::Result<()> {
        match self {
            Schedule::Closed => std::future::pending().await,
            Schedule::Open(open) => open.run().await,
        }
    }
}

impl Open {
    fn due_at(&self, index: u64) -> Instant {
        let nanos = u128::from(index) * self.interval.as_nanos();
        self.begin + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The due times up to `end` of operations that were not handed out.
    pub fn left(&self, end: Instant) -> impl Iterator<Item = Instant> {
        (self.next.load(Ordering::Relaxed)..)
            .map(|index| self.due_at(index))
            .take_while(move |&due| due <= end)
    }

    fn hand_out(&self, count: u64) {
        let room = Semaphore::MAX_PERMITS - self.due.available_permits();
        self.due
            .add_permits(usize::try_from(count).unwrap_or(usize::MAX).min(room));
    }

    /// A timer of the kernel with this very interval: the runtime's own knows milliseconds only.
    async fn run(&self) -> io::Result<()> {
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        // What was due before this thread came to run is due at once; the timer goes on from there.
        let now = Instant::now();
        let behind = now.checked_duration_since(self.begin);
        let missed = behind.map_or(0, |behind| behind.as_nanos() / self.interval.as_nanos() + 1);
        let missed = u64::try_from(missed).unwrap_or(u64::MAX);
        self.hand_out(missed);
        // A value of zero would disarm it.
        let first = self
            .due_at(missed)
            .saturating_duration_since(now)
            .max(Duration::from_nanos(1));
        let spec = Itimerspec {
            it_value: timespec(first),
            it_interval: timespec(self.interval),
        };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &spec)?;
        #[allow(deprecated)] // for types that may give another descriptor each time, which OwnedFd does not
        let timer = AsyncFd::new(timer)?;
        loop {
            let mut ready = timer.readable().await?;
            let mut count = [0; 8];
            match ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut count)?)) {
                Ok(Ok(_)) => self.hand_out(u64::from_ne_bytes(count)),
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
