//! Peers that hold the secret and keep no rule: handshakes and frames as a test writes them.

use crate::harness::{SECRET, SOON};
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{SystemTime, UNIX_EPOCH};
use wa_sidecar::crypto::keys::{Sealer, Split};
use wa_sidecar::crypto::noise::{Initiator, Responder};
use wa_sidecar::crypto::secret::Secret;
use wa_sidecar::crypto::suite::Suites;
use wa_sidecar::crypto::{Keyring, Suite, VERSION};
use wa_sidecar::link::handshake::{Dial, Grant, Local, MESSAGE_LEN};
use wa_sidecar::link::time::{Instant, Now};
use wa_sidecar::wire::Software;
use wa_sidecar::wire::frame::{HEADER_LEN, TAG_LEN};
use wa_sidecar::wire::message::Writer;
use wa_sidecar::wire::payload::{Answer, Message1, Message2, PAYLOAD_LEN, Refusal};

pub type Handshake = [u8; MESSAGE_LEN];

fn keyring() -> Keyring {
    Keyring {
        current: Secret::parse(SECRET.as_bytes(), false)
            .expect("a secret")
            .psk("default"),
        previous: None,
        deployment: "default".into(),
    }
}

fn entropy() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("random");
    bytes
}

pub fn clock_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_millis() as u64
}

/// What makes message 1 of a sidecar that means no harm; `edit` what is wrong with it.
pub struct Dialler(Keyring);

impl Dialler {
    /// Stretches the secret once.
    pub fn new() -> Self {
        Self(keyring())
    }

    pub fn message_1(&self, edit: impl FnOnce(&mut Message1)) -> Handshake {
        let mut message = Message1 {
            clock_ms: clock_ms(),
            instance: [7; 16],
            features: 0,
            suites: [Suite::ChaCha20Poly1305.byte()].into(),
            window: 4096,
            max_streams: 16,
            software: Software::own(),
            name: None,
            peer_name: None,
        };
        edit(&mut message);
        self.sealed(&message.encode())
    }

    /// Any payload, under the secret.
    pub fn sealed(&self, payload: &[u8; PAYLOAD_LEN]) -> Handshake {
        let mut out = [0; MESSAGE_LEN];
        out[0] = VERSION;
        let prologue = self.0.prologue();
        Initiator::start(&self.0.current, &prologue, payload, entropy(), &mut out[1..]).expect("made");
        out
    }
}

/// Sends it; what is answered is still to be read.
pub fn send(to: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = crate::harness::connect(to);
    stream.write_all(bytes).expect("sent");
    stream
}

/// The same, from another address of loopback.
pub fn send_from(source: [u8; 4], to: SocketAddr, bytes: &[u8]) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((source, 0)).into()).expect("bound");
    socket.connect(&to.into()).expect("connected");
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(SOON)).expect("time-out");
    stream.write_all(bytes).expect("sent");
    stream
}

/// A coreapp's sidecar that answers every message 1 with this.
pub fn answering(payload: impl Fn() -> [u8; PAYLOAD_LEN] + Send + Sync + 'static) -> SocketAddr {
    let keyring = keyring();
    crate::harness::app(move |mut stream| {
        let (mut message, mut theirs) = ([0; MESSAGE_LEN], [0; PAYLOAD_LEN]);
        if stream.read_exact(&mut message).is_err() {
            return;
        }
        let responder = Responder::read(&keyring.current, &keyring.prologue(), &message[1..], &mut theirs);
        let mut out = [0; MESSAGE_LEN];
        out[0] = VERSION;
        responder
            .expect("the same secret")
            .finish(&payload(), entropy(), &mut out[1..])
            .expect("made");
        let _ = stream.write_all(&out);
        let _ = stream.read(&mut [0]);
    })
}

/// One that refuses.
pub fn refusing(refusal: Refusal, figure: i64) -> SocketAddr {
    answering(move || {
        let answer = Answer::Refused { refusal, figure };
        message_2(answer).encode()
    })
}

fn message_2(answer: Answer) -> Message2 {
    Message2 {
        clock_ms: clock_ms(),
        instance: [9; 16],
        features: 0,
        software: Software::own(),
        name: None,
        answer,
    }
}

/// A link to a coreapp, as its initiator.
pub struct Hostile {
    pub stream: TcpStream,
    pub sealer: Sealer,
    suite: Suite,
    split: Split,
}

impl Hostile {
    /// Frame 0 is sent.
    pub fn dial(core: SocketAddr) -> Self {
        let local = Local {
            instance: [7; 16],
            name: None,
            peer_name: None,
            suites: Suites::chacha20_poly1305(),
            software: Software::own(),
        };
        let grant = Grant {
            window: 65_536,
            max_streams: 1024,
        };
        let now = || Now {
            instant: Instant(1),
            clock_ms: clock_ms(),
        };
        let (dial, message_1) = Dial::start(&keyring(), &local, grant, now(), entropy());
        let mut stream = send(core, &message_1);
        let mut message_2 = [0; MESSAGE_LEN];
        stream.read_exact(&mut message_2).expect("an answer");
        let established = dial.finish(&message_2, now()).expect("accepted");
        let (suite, split) = (established.suite, established.split);
        let mut hostile = Self {
            stream,
            sealer: Sealer::new(suite, &split.k_i, &split.h),
            suite,
            split,
        };
        let frame_0 = hostile.frame(clock_ms(), |w| w.ping(1, clock_ms()));
        hostile.write(&frame_0);
        hostile
    }

    /// A frame of what `write` puts into it.
    pub fn frame(&mut self, stamp: u64, write: impl FnOnce(&mut Writer<'_>) -> bool) -> Vec<u8> {
        let (mut frame, mut at) = (vec![0; 65_536], HEADER_LEN);
        assert!(write(&mut Writer::new(&mut frame, &mut at)), "it fits");
        frame.truncate(at + TAG_LEN);
        self.sealer.seal(stamp, &mut frame).expect("sealed");
        frame
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sent");
    }

    pub fn skip_counters(&mut self, next: u64) {
        self.sealer = Sealer::starting_at(self.suite, &self.split.k_i, &self.split.h, next);
    }
}
