//! One side: a link, its driver without a socket, its apps. The order of calls is that of `net::driver`.

use super::{App, End, HostClock, Path, Random, Time};
use std::collections::BTreeMap;
use std::sync::Arc;
use wa_sidecar::counters::Counters;
use wa_sidecar::crypto::Keyring;
use wa_sidecar::link::budget::Budget;
use wa_sidecar::link::buffers::{BUFFER_LEN, Buffers};
use wa_sidecar::link::{Event, Fatal, Link, Role};

const WAKE_A_FRAME: usize = 8;

/// How a link ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Over {
    Closed,
    Disconnected,
    Fatal(Fatal),
}

pub struct Side {
    pub link: Link,
    pub buffers: Buffers,
    pub counters: Arc<Counters>,
    pub budget: Arc<Budget>,
    pub clock: HostClock,
    pub apps: BTreeMap<u32, App>,
    /// Makes the app of a stream that the peer opened; `None`: the stream is left to the test.
    pub serve: Box<dyn FnMut(u32) -> Option<App>>,
    pub over: Option<Over>,
    /// Events that are not about an app's bytes.
    pub seen: Vec<Event>,
    /// Streams that ended with the link.
    pub lost: Vec<u32>,
    /// When frames were sealed.
    pub sealed_at: Vec<Time>,
    pub blocked: bool,
    inlet: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Side {
    pub fn new(end: End, keyring: Keyring, seed: u64, t: Time) -> Self {
        let (budget, clock) = (Arc::clone(&end.budget), end.clock.clone());
        let from_initiator = end.established.role == Role::Initiator;
        let (link, counters) = end.link(keyring, seed, t);
        Self {
            link,
            buffers: Buffers::default(),
            counters,
            budget,
            clock,
            apps: BTreeMap::new(),
            serve: Box::new(move |id| Some(App::new(id, from_initiator))),
            over: None,
            seen: Vec::new(),
            lost: Vec::new(),
            sealed_at: Vec::new(),
            blocked: false,
            inlet: vec![0; BUFFER_LEN].into(),
            start: 0,
            end: 0,
        }
    }

    /// Opens a stream and gives it `app`'s plan.
    pub fn open(&mut self, app: App, t: Time) -> u32 {
        self.link_open(app, t).expect("room")
    }

    pub fn link_open(&mut self, app: App, t: Time) -> Result<u32, wa_sidecar::link::OpenError> {
        let now = self.clock.now(t).instant;
        let id = self.link.open(&mut self.buffers, b"", now)?;
        self.apps.insert(id, App { id, ..app });
        Ok(id)
    }

    pub fn end_by(&mut self, over: Over, out: &mut Path) {
        if self.over.is_none() {
            self.over = Some(over);
            out.closed = true;
            self.lost = self.link.abandon();
            for id in &self.lost {
                if let Some(app) = self.apps.get_mut(id) {
                    app.reset = Some(wa_sidecar::wire::message::Code::Unspecified);
                }
            }
            self.apps.values_mut().for_each(App::wake);
        }
    }

    /// One turn of driver and apps at `t`. `true`: something happened.
    pub fn turn(&mut self, t: Time, input: &mut Path, out: &mut Path, random: &mut Random) -> bool {
        if self.over.is_some() {
            return self.apps_turn(t);
        }
        match self.try_turn(t, input, out, random) {
            Ok(moved) => {
                if self.link.is_finished() {
                    self.end_by(Over::Closed, out);
                    return true;
                }
                if !moved && input.closed && input.is_empty() {
                    let over = if self.link.may_end() {
                        Over::Closed
                    } else {
                        Over::Disconnected
                    };
                    self.end_by(over, out);
                    return true;
                }
                moved
            }
            Err(fatal) => {
                self.end_by(Over::Fatal(fatal), out);
                true
            }
        }
    }

    fn try_turn(&mut self, t: Time, input: &mut Path, out: &mut Path, random: &mut Random) -> Result<bool, Fatal> {
        let mut moved = self.tick(t)?;
        moved |= self.flush(t, out)?;
        moved |= self.read(t, input, random)?;
        moved |= self.apps_turn(t);
        moved |= self.flush(t, out)?;
        Ok(moved)
    }

    pub fn tick(&mut self, t: Time) -> Result<bool, Fatal> {
        let now = self.clock.now(t);
        if now.instant < self.link.timeout() {
            return Ok(false);
        }
        self.link.tick(now)?;
        assert!(self.link.timeout() > now.instant, "the timer would spin");
        Ok(true)
    }

    /// Writes frames while the socket takes them.
    pub fn flush(&mut self, t: Time, out: &mut Path) -> Result<bool, Fatal> {
        let mut moved = false;
        if self.blocked && out.is_writable(self.link.unsent_limit()) {
            self.blocked = false;
        }
        while !self.blocked {
            let now = self.clock.now(t);
            let frames = self.counters.frames_sent.get();
            let unsent_limit = self.link.unsent_limit();
            let Some(bytes) = self.link.transmit(&mut self.buffers, now)? else {
                break;
            };
            let total = bytes.len();
            let put = out.write(bytes, unsent_limit, t);
            if self.counters.frames_sent.get() > frames {
                self.sealed_at.push(t);
            }
            self.link.transmitted(&mut self.buffers, put, now.instant);
            moved |= put > 0;
            if put < total {
                self.link.blocked();
                self.blocked = true;
            }
            for _ in 0..WAKE_A_FRAME {
                let Some(id) = self.link.unpark() else { break };
                self.wake(id);
            }
        }
        Ok(moved)
    }

    fn wake(&mut self, id: u32) {
        if let Some(app) = self.apps.get_mut(&id) {
            app.wake();
        }
    }

    /// One read, and the frames that it completed.
    pub fn read(&mut self, t: Time, input: &mut Path, random: &mut Random) -> Result<bool, Fatal> {
        let n = input.read(&mut self.inlet[self.end..], t, random);
        self.end += n;
        let now = self.clock.now(t);
        let mut inlet = std::mem::take(&mut self.inlet);
        while self.start < self.end {
            let bytes = &mut inlet[self.start..self.end];
            let Some(len) = self.link.accept(bytes, now)? else {
                break;
            };
            while let Some(event) = self.link.event(bytes, now)? {
                self.take(event, bytes, t)?;
            }
            self.start += len;
        }
        inlet.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        self.inlet = inlet;
        Ok(n > 0)
    }

    fn take(&mut self, event: Event, bytes: &[u8], t: Time) -> Result<(), Fatal> {
        let now = self.clock.now(t).instant;
        match event {
            Event::Data { id, bytes: range } => {
                let payload = &bytes[range];
                let app = self.apps.get_mut(&id).filter(|app| !app.done);
                let took = app.map_or(0, |app| if app.queued { 0 } else { app.receive(payload) });
                if took > 0 {
                    self.link.consumed(id, took, now);
                }
                if took < payload.len() {
                    self.link.store(id, &payload[took..])?;
                    if let Some(app) = self.apps.get_mut(&id) {
                        app.queued = true;
                        app.ready = true;
                    }
                }
            }
            Event::Open { id, service } => {
                assert!(service.is_empty());
                if let Some(app) = (self.serve)(id) {
                    self.apps.insert(id, App { id, ..app });
                }
            }
            Event::Fin { id } => {
                if let Some(app) = self.apps.get_mut(&id) {
                    assert!(!app.fin_arrived, "a second FIN");
                    app.fin_arrived = true;
                    app.ready = true;
                }
            }
            Event::Reset { id, code } => {
                if let Some(app) = self.apps.get_mut(&id) {
                    app.reset = Some(code);
                    app.ready = true;
                }
            }
            Event::Stop { id, code } => {
                if let Some(app) = self.apps.get_mut(&id) {
                    app.stopped = Some(code);
                    app.ready = true;
                }
            }
            Event::Credit { id } => self.wake(id),
            other => self.seen.push(other),
        }
        Ok(())
    }

    pub fn apps_turn(&mut self, t: Time) -> bool {
        let now = self.clock.now(t).instant;
        let mut moved = false;
        for app in self.apps.values_mut() {
            moved |= app.turn(&mut self.link, &mut self.buffers, now);
        }
        // As `net`'s kick: who moved wakes the next.
        if moved && let Some(id) = self.link.unpark() {
            self.wake(id);
        }
        moved
    }

    pub fn next(&self) -> Option<Time> {
        self.over.is_none().then(|| self.clock.when(self.link.timeout()))
    }
}
