//! What streams/ and rekey/ share: a `Link` under test, driven step by step, and its peer's half of the keys.
//!
//! A step is one frame that arrives or one thing that the own side does; then everything that is due is sealed.

use crate::{Case, messages::printed};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};
use wa_sidecar::{
    crypto::{
        Keyring, Psk, SecretUsed, Suite,
        keys::{Opener, Sealer, Split},
    },
    link::{
        Event, Fatal, Link, Role, Slot,
        budget::Budget,
        buffers::Buffers,
        handshake::{Established, Peer},
        time::{Instant, Now},
    },
    wire::{
        Software,
        message::{Code, GoAway, Message},
    },
};

/// Left out of `answers`: what the implementation says of its own accord, and what only an app can ask for.
const NOT_ANSWERS: [&str; 5] = ["PING", "CREDIT", "YIELD", "DATA", "OPEN"];

/// Keys of one epoch.
pub struct Keys {
    pub h: [u8; 32],
    pub k_i: [u8; 32],
    pub k_r: [u8; 32],
}

impl Keys {
    pub fn of(case: &Case) -> Self {
        Self {
            h: case.array("h"),
            k_i: case.array("k_i"),
            k_r: case.array("k_r"),
        }
    }

    /// The sealing keys: of the link under test, of its peer.
    fn own_and_peer(&self, role: Role) -> (&[u8; 32], &[u8; 32]) {
        match role {
            Role::Initiator => (&self.k_i, &self.k_r),
            Role::Responder => (&self.k_r, &self.k_i),
        }
    }
}

pub struct Start {
    pub role: Role,
    pub suite: Suite,
    pub keys: Keys,
    pub prologue: Vec<u8>,
    pub psks: Vec<[u8; 32]>,
    /// What the link draws for a REKEY.
    pub ephemeral: [u8; 32],
    pub window: u32,
    pub peer_window: u32,
    pub max_streams: u32,
    pub own_clock: u64,
    pub peer_clock: u64,
}

pub fn role(case: &Case) -> Role {
    match case.text("role") {
        "initiator" => Role::Initiator,
        "responder" => Role::Responder,
        other => panic!("role {other}"),
    }
}

#[derive(Default)]
struct App {
    bytes: usize,
    end: Option<&'static str>,
    own_ended: bool,
}

pub struct Driven {
    link: Link,
    buffers: Buffers,
    role: Role,
    suite: Suite,
    own_clock: u64,
    /// Opens what the link seals.
    own: Opener,
    /// Keys that the link's own direction takes behind an accepting REKEY2 or REKEY3.
    pub next: Option<Keys>,
    pub peer: Sealer,
    apps: BTreeMap<u32, App>,
    credit_given: BTreeMap<u32, u64>,
}

impl Driven {
    pub fn new(start: Start) -> Self {
        let (own, peer) = start.keys.own_and_peer(start.role);
        let established = Established {
            role: start.role,
            split: Split {
                k_i: start.keys.k_i.into(),
                k_r: start.keys.k_r.into(),
                h: start.keys.h,
            },
            suite: start.suite,
            prologue: start.prologue,
            window_local: start.window,
            window_peer: start.peer_window,
            max_streams: start.max_streams,
            features: 0,
            peer: Peer {
                name: None,
                software: Software::own(),
                instance: [7; 16],
            },
            clock_difference_ms: 0,
            base: Now {
                instant: Instant(0),
                clock_ms: start.own_clock,
            },
            peer_stamp: (start.role == Role::Initiator).then_some(start.peer_clock),
            written: Instant(0),
            secret: SecretUsed::Current,
        };
        let keyring = Keyring {
            current: Psk::from_bytes(start.psks[0]),
            previous: start.psks.get(1).map(|psk| Psk::from_bytes(*psk)),
            deployment: "default".to_owned(),
        };
        let (_, lease) = Budget::new(64 << 20).admit(start.max_streams).expect("room");
        let ephemeral = start.ephemeral;
        let now = Now {
            instant: Instant(0),
            clock_ms: start.own_clock,
        };
        let entropy = Box::new(move || ephemeral);
        let link = Link::new(established, lease, Arc::new(keyring), entropy, Arc::default(), now);
        Self {
            link,
            buffers: Buffers::default(),
            role: start.role,
            suite: start.suite,
            own_clock: start.own_clock,
            own: Opener::new(start.suite, own, &start.keys.h),
            next: None,
            peer: Sealer::new(start.suite, peer, &start.keys.h),
            apps: BTreeMap::new(),
            credit_given: BTreeMap::new(),
        }
    }

    fn now(&self, at_ms: u64) -> Now {
        Now {
            instant: Instant(at_ms * 1000),
            clock_ms: self.own_clock + at_ms,
        }
    }

    /// One frame arrives, whole.
    pub fn receive(&mut self, mut frame: Vec<u8>, at_ms: u64) -> Result<(), Fatal> {
        let now = self.now(at_ms);
        let taken = self.link.accept(&mut frame, now)?;
        assert_eq!(taken, Some(frame.len()));
        while let Some(event) = self.link.event(&frame, now)? {
            match event {
                Event::Open { id, .. } => drop(self.apps.insert(id, App::default())),
                Event::Data { id, bytes } => {
                    self.app(id).bytes += bytes.len();
                    self.link.store(id, &frame[bytes])?;
                }
                Event::Fin { id } => self.app(id).end = Some("fin"),
                Event::Reset { id, .. } => {
                    self.app(id).end = Some("reset");
                    self.link.release(id);
                }
                Event::Stop { id, .. } => self.app(id).own_ended = true,
                _ => {}
            }
        }
        Ok(())
    }

    fn app(&mut self, id: u32) -> &mut App {
        self.apps.get_mut(&id).expect("a stream that was opened")
    }

    /// The own side does something.
    pub fn act(&mut self, step: &Case, at_ms: u64) {
        let now = self.now(at_ms);
        let id = step
            .get("id")
            .map_or(0, |_| u32::try_from(step.number("id")).expect("an id"));
        match step.text("do") {
            "open" => {
                let opened = self.link.open(&mut self.buffers, b"", now.instant).expect("opened");
                assert_eq!(opened, id);
                self.apps.insert(id, App::default());
            }
            "send" => self.send(id, step.number("bytes"), now),
            "fin" => {
                self.link.fin(id);
                self.app(id).own_ended = true;
            }
            "break" => {
                self.link.abort(id, Code::AppReset);
                self.link.release(id);
                self.apps.remove(&id);
            }
            "credit" => {
                let queued: usize = self.link.queued(id).iter().map(|slice| slice.len()).sum();
                self.link.delivered(id, queued, now.instant);
                self.flush(at_ms);
                assert_eq!(
                    self.credit_given.get(&id),
                    Some(&step.number("limit")),
                    "the limit given"
                );
            }
            "goaway" => self
                .link
                .goaway(GoAway::from_byte(u8::try_from(step.number("code")).expect("a code"))),
            "rekey" => {
                self.link.rekey_now(now.instant);
                self.link.tick(now).expect("nothing is overdue");
            }
            other => panic!("do {other}"),
        }
    }

    fn send(&mut self, id: u32, bytes: u64, now: Now) {
        let mut left = usize::try_from(bytes).expect("a size");
        while left > 0 {
            match self.link.slot(&mut self.buffers, id) {
                Slot::Room(room) => {
                    let n = room.len().min(left);
                    room[..n].fill(0);
                    self.link.commit(&mut self.buffers, id, n);
                    left -= n;
                }
                Slot::Full => drop(self.flush(now.instant.0 / 1000)),
                other => panic!("{left} bytes left: {other:?}"),
            }
        }
    }

    /// Everything that is due goes out; what of it a case may name.
    pub fn flush(&mut self, at_ms: u64) -> Vec<Value> {
        let now = self.now(at_ms);
        let mut said = Vec::new();
        loop {
            let sealed = self.link.transmit(&mut self.buffers, now).expect("sealed");
            let Some(mut frame) = sealed.map(<[u8]>::to_vec) else {
                break;
            };
            self.link.transmitted(&mut self.buffers, frame.len(), now.instant);
            let range = self.own.open(&mut frame).expect("its peer can open it");
            self.heard(&frame[range], &mut said);
        }
        for (id, app) in &self.apps {
            if app.own_ended && app.end == Some("fin") {
                self.link.release(*id);
            }
        }
        said
    }

    fn heard(&mut self, plaintext: &[u8], said: &mut Vec<Value>) {
        let mut at = 0;
        while at < plaintext.len() {
            let (message, next) = Message::decode(plaintext, at).expect("a message");
            at = next;
            if let Message::Credit { id, limit } = message {
                assert!(Some(&limit) > self.credit_given.insert(id, limit).as_ref());
            }
            if matches!(message, Message::Rekey2 { status: 0, .. } | Message::Rekey3) {
                assert_eq!(at, plaintext.len(), "the last message of its frame");
                let keys = self.next.as_ref().expect("a case of rekey/");
                self.own = Opener::new(self.suite, keys.own_and_peer(self.role).0, &keys.h);
            }
            let mut value = printed(&message, plaintext);
            if !NOT_ANSWERS.contains(&value["type"].as_str().expect("a type")) {
                value.as_object_mut().expect("an object").remove("clock");
                said.push(value);
            }
        }
    }

    pub fn live(&self) -> usize {
        self.link.live_streams() as usize
    }

    /// As the vectors print it.
    pub fn apps(&self) -> Value {
        let app = |(id, app): (&u32, &App)| (id.to_string(), json!({"bytes": app.bytes, "end": app.end}));
        Value::Object(self.apps.iter().map(app).collect())
    }
}

/// In any order.
pub fn assert_answers(step: &Case, mut said: Vec<Value>) {
    let Some(Case(Value::Array(mut wanted))) = step.get("answers") else {
        return;
    };
    said.sort_by_key(Value::to_string);
    wanted.sort_by_key(Value::to_string);
    assert_eq!(said, wanted, "answers");
}
