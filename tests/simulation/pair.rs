//! Both sides and the two paths between them, run from event to event.

use super::{App, MS, Options, Over, Path, Random, SECOND, Side, Time, handshake, keyring};

pub struct Pair {
    /// Now.
    pub t: Time,
    /// The initiator.
    pub a: Side,
    /// The responder.
    pub b: Side,
    pub ab: Path,
    pub ba: Path,
    pub random: Random,
    next_step: Time,
    pub options: Options,
}

impl Pair {
    pub fn start() -> Self {
        Self::new(Options::default())
    }

    /// Right after message 2; frame 0 is not sent yet.
    pub fn new(options: Options) -> Self {
        let t = 2 * options.delay;
        let (a, b) = handshake(&options);
        let path = || Path {
            delay: options.delay,
            ..Path::default()
        };
        Self {
            t,
            a: Side::new(a, keyring(1), options.seed ^ 0xa, t),
            b: Side::new(b, options.rekey_at_responder.clone(), options.seed ^ 0xb, t),
            ab: path(),
            ba: path(),
            random: Random(options.seed ^ 0xc),
            next_step: t,
            options,
        }
    }

    pub fn open(&mut self, app: App) -> u32 {
        self.a.open(
            App {
                from_initiator: true,
                ..app
            },
            self.t,
        )
    }

    /// Does all that can be done now.
    pub fn settle(&mut self) {
        if self.t >= self.next_step {
            self.next_step = self.t + App::STEP;
            for side in [&mut self.a, &mut self.b] {
                side.apps.values_mut().for_each(App::step);
            }
        }
        for round in 0.. {
            assert!(round < 100_000, "it never comes to rest");
            self.ab.pump(self.t);
            self.ba.pump(self.t);
            let moved = self.a.turn(self.t, &mut self.ba, &mut self.ab, &mut self.random)
                | self.b.turn(self.t, &mut self.ab, &mut self.ba, &mut self.random);
            if !moved {
                break;
            }
        }
    }

    fn next(&self) -> Option<Time> {
        let steps = [&self.a, &self.b]
            .into_iter()
            .flat_map(|side| side.apps.values())
            .any(App::next_step);
        [
            self.a.next(),
            self.b.next(),
            // Nobody reads what is for a link that is over.
            self.ab.next().filter(|_| self.b.over.is_none()),
            self.ba.next().filter(|_| self.a.over.is_none()),
            steps.then_some(self.next_step),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Runs until `end`, both links up or not.
    pub fn run_until(&mut self, end: Time) {
        self.run_to(end, |_| false);
    }
    pub fn run_for(&mut self, time: Time) {
        self.run_until(self.t + time);
    }

    /// Runs until `stop` says so, at most for `most`. `true`: it did.
    #[must_use]
    pub fn run_while_not(&mut self, most: Time, stop: impl FnMut(&Self) -> bool) -> bool {
        self.run_to(self.t + most, stop)
    }

    fn run_to(&mut self, end: Time, mut stop: impl FnMut(&Self) -> bool) -> bool {
        loop {
            self.settle();
            if stop(self) {
                return true;
            }
            match self.next() {
                Some(next) if next <= end => self.t = next.max(self.t + 1),
                _ => {
                    self.t = end;
                    return false;
                }
            }
            if self.t > end {
                self.t = end;
                return false;
            }
        }
    }

    #[track_caller]
    pub fn assert_alive(&self) {
        assert_eq!((&self.a.over, &self.b.over), (&None, &None), "at {} ms", self.t / MS);
    }

    /// Every stream is over at both ends, every lease returned, the counters agree.
    #[track_caller]
    pub fn assert_at_rest(&mut self) {
        self.run_for(3 * SECOND);
        self.assert_alive();
        for side in [&self.a, &self.b] {
            assert_eq!((side.link.streams(), side.link.live_streams()), (0, 0), "streams left");
            assert_eq!(side.counters.streams_open.get(), 0);
            let ended: u64 = side.counters.streams_ended.iter().map(|c| c.get()).sum();
            assert_eq!(ended, side.counters.streams_opened.get(), "ends counted");
            assert_eq!(
                side.budget.free().1,
                side.budget.total() - side.budget.total() / 2,
                "growth"
            );
        }
    }

    /// Says GOAWAY at the initiator and sees both ends close in order.
    #[track_caller]
    pub fn drain(&mut self) {
        self.a.link.goaway(wa_sidecar::wire::message::GoAway::Shutdown);
        self.run_for(2 * SECOND);
        assert_eq!((&self.a.over, &self.b.over), (&Some(Over::Closed), &Some(Over::Closed)));
    }
}
