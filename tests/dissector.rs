//! `proto/dissector.lua` in tshark: on a capture of a real pair, and on captures made of the vectors' bytes.

mod harness;

use harness::{Sidecar, Start, connect, echo, eventually};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::Shutdown,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, SystemTime},
};
use wa_sidecar::crypto::{Suite, keys::Sealer};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The clock of message 1 in the vectors.
const START: u64 = 1_750_000_000_000;
/// One that the script knows.
const PORT: u16 = 7250;

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

// tshark ----------------------------------------------------------------------------------------------------------------------

fn tshark(pcap: &Path, flags: &[&str]) -> String {
    let output = Command::new("tshark")
        .arg("-X")
        .arg(format!("lua_script:{ROOT}/proto/dissector.lua"))
        .arg("-r")
        .arg(pcap)
        .args(flags)
        .output()
        .unwrap_or_else(|error| panic!("tshark: {error}; it is in the Debian package tshark"));
    let (out, err) = (utf8(output.stdout), utf8(output.stderr));
    assert!(output.status.success(), "{flags:?}: {err}");
    assert!(!err.contains("Lua"), "{err}");
    out
}

fn utf8(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("UTF-8")
}

/// In words, and in both of Wireshark's ways: everything in order, and a second time with what the first pass found.
fn in_words(pcap: &Path, flags: &[&str]) -> String {
    let print = |more: &[&str]| tshark(pcap, &[flags, more, &["-O", "wa_sidecar"]].concat());
    let (text, again) = (print(&[]), print(&["-2"]));
    for wrong in ["Lua Error", "Malformed", "Dissector bug", ".lua:"] {
        assert!(!text.contains(wrong) && !again.contains(wrong), "{text}\n{again}");
    }
    assert_eq!(of_the_link(&text), of_the_link(&again));
    text
}

/// Only the lines about the link: what TCP says differs between one pass and two.
fn of_the_link(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.lines()
        .filter(|line| {
            if !line.starts_with(' ') {
                inside = *line == "wa-sidecar link";
            }
            inside
        })
        .collect()
}

/// A packet's fields: each with as many values as there are of it.
type Row = BTreeMap<String, Vec<String>>;

fn fields(pcap: &Path, flags: &[&str], names: &[&str]) -> Vec<Row> {
    let wanted: Vec<&str> = names.iter().flat_map(|name| ["-e", name]).collect();
    let separate = [
        "-T",
        "fields",
        "-E",
        "separator=/t",
        "-E",
        "aggregator=;",
        "-E",
        "occurrence=a",
    ];
    let table = tshark(pcap, &[flags, &separate, &wanted].concat());
    let row = |line: &str| {
        let cells = line.split('\t').map(|cell| match cell {
            "" => Vec::new(),
            cell => cell.split(';').map(str::to_owned).collect(),
        });
        names.iter().map(|name| name.to_string()).zip(cells).collect()
    };
    table.lines().map(row).collect()
}

const FRAME: [&str; 10] = [
    "wa_sidecar.frame.length",
    "wa_sidecar.frame.counter",
    "wa_sidecar.frame.timestamp_ms",
    "wa_sidecar.frame.timestamp",
    "wa_sidecar.frame.size",
    "wa_sidecar.frame.ciphertext_length",
    "wa_sidecar.frame.expected",
    "wa_sidecar.frame.epoch",
    "wa_sidecar.frame.generation",
    "wa_sidecar.frame.age",
];

#[derive(Debug)]
struct Frame {
    stream: String,
    direction: String,
    captured_ms: f64,
    values: BTreeMap<&'static str, String>,
}

impl Frame {
    fn text(&self, name: &str) -> &str {
        &self.values[&*format!("wa_sidecar.{name}")]
    }

    fn number(&self, name: &str) -> u64 {
        self.text(&format!("frame.{name}")).parse().expect("a number")
    }

    fn age(&self) -> f64 {
        self.text("frame.age").parse().expect("a number")
    }

    fn by_initiator(&self) -> bool {
        self.direction == "initiator to responder"
    }
}

/// Every frame of a capture.
fn frames(pcap: &Path, flags: &[&str]) -> Vec<Frame> {
    let names = [&["frame.time_epoch", "tcp.stream", "wa_sidecar.direction"], &FRAME[..]].concat();
    let mut frames = Vec::new();
    let only = [flags, &["-Y", "wa_sidecar.frame"]].concat();
    for row in fields(pcap, &only, &names) {
        let count = row["wa_sidecar.frame.counter"].len();
        for name in FRAME {
            assert_eq!(row[name].len(), count, "{name}: {row:?}");
        }
        for i in 0..count {
            frames.push(Frame {
                stream: row["tcp.stream"][0].clone(),
                direction: row["wa_sidecar.direction"][0].clone(),
                captured_ms: row["frame.time_epoch"][0].parse::<f64>().expect("a time") * 1000.0,
                values: FRAME.iter().map(|&name| (name, row[name][i].clone())).collect(),
            });
        }
    }
    frames
}

/// What the info column says.
fn info(pcap: &Path, flags: &[&str]) -> Vec<String> {
    let rows = fields(pcap, flags, &["_ws.col.Protocol", "_ws.col.Info"]);
    let of_links = rows.iter().filter(|row| row["_ws.col.Protocol"] == ["wa-sidecar"]);
    of_links
        .map(|row| row["_ws.col.Info"].join(";").trim().to_owned())
        .collect()
}

// A real pair -----------------------------------------------------------------------------------------------------------------

/// dumpcap on the loopback interface.
struct Capture {
    child: Child,
    path: PathBuf,
}

impl Capture {
    fn start(port: u16, name: &str) -> Self {
        let path = scratch(name);
        let mut child = Command::new("dumpcap")
            .args(["-q", "-B", "32", "-i", "lo", "-f", &format!("tcp port {port}"), "-w"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("dumpcap: {error}; it comes with the Debian package tshark"));
        // It names the file once the filter is in force.
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut said = Vec::new();
        let started = lines.by_ref().map_while(Result::ok).any(|line| {
            said.push(line);
            said.last().is_some_and(|line| line.starts_with("File:"))
        });
        assert!(
            started,
            "no capture on lo (it needs CAP_NET_RAW and CAP_NET_ADMIN): {said:#?}"
        );
        thread::spawn(move || lines.for_each(drop));
        Self { child, path }
    }

    fn stop(mut self) -> PathBuf {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &pid])
                .status()
                .expect("kill")
                .success()
        );
        assert!(self.child.wait().expect("waited").success());
        self.path.clone()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn frames_counted(sidecar: &Sidecar, direction: &str) -> u64 {
    sidecar.metric(&format!("wa_sidecar_frames_total{{direction=\"{direction}\"}}")) as u64
}

/// Frames by the initiator and by the responder, and a moment at which there were just as many.
fn frames_at_rest(web: &Sidecar, core: &Sidecar) -> ([u64; 2], f64) {
    let counted = || {
        let sent = [frames_counted(web, "sent"), frames_counted(core, "sent")];
        let received = [frames_counted(core, "received"), frames_counted(web, "received")];
        (sent == received).then_some(sent)
    };
    eventually("a moment without frames", || {
        let before = counted()?;
        thread::sleep(Duration::from_millis(100));
        let moment = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("a time");
        thread::sleep(Duration::from_millis(100));
        (counted()? == before).then_some((before, moment.as_secs_f64() * 1000.0))
    })
}

#[test]
fn a_real_pair() {
    let mut core = Start::new("coreapp", &["--upstream", &echo().to_string()]).spawn();
    let port = core.listen.port();
    let capture = Capture::start(port, "real_pair.pcapng");
    let mut web = Start::new("webapp", &["--peer", &core.listen.to_string()]).spawn();
    web.until_ready();
    for size in [1, 1_000, 70_000, 400_000, 3_000] {
        let sent: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
        let (mut stream, mut got) = (connect(web.listen), Vec::new());
        let mut output = stream.try_clone().expect("clone");
        let copy = sent.clone();
        let writer = thread::spawn(move || {
            output.write_all(&copy).expect("sent");
            output.shutdown(Shutdown::Write).expect("ended");
        });
        stream.read_to_end(&mut got).expect("a whole answer");
        writer.join().expect("writer");
        assert!(got == sent);
    }
    let (counted, moment) = frames_at_rest(&web, &core);
    for side in [&mut web, &mut core] {
        side.signal("TERM");
        assert!(side.wait(harness::SOON).success());
    }
    let pcap = capture.stop();

    // The port is none that the script knows: by `-d`, and found by its first bytes.
    let decode_as = format!("tcp.port=={port},wa_sidecar");
    let as_told: &[&str] = &["-d", &decode_as, "-o", "wa_sidecar.heuristic:FALSE"];
    let text = in_words(&pcap, as_told);
    assert_eq!(of_the_link(&text), of_the_link(&in_words(&pcap, &[])));
    let experts = [
        "boundary",
        "length",
        "cut",
        "gap",
        "repeat",
        "rekey",
        "late",
        "timestamp",
    ];
    let experts = experts.map(|name| format!("wa_sidecar.expert.{name}"));
    let unwanted = format!("{} || wa_sidecar.unknown || wa_sidecar.rest", experts.join(" || "));
    assert_eq!(tshark(&pcap, &[as_told, &["-Y", &unwanted]].concat()), "");

    let handshakes = fields(
        &pcap,
        &[as_told, &["-Y", "wa_sidecar.handshake"]].concat(),
        &[
            "tcp.dstport",
            "wa_sidecar.handshake",
            "wa_sidecar.handshake.version",
            "wa_sidecar.handshake.ephemeral",
            "wa_sidecar.handshake.payload",
            "wa_sidecar.handshake.tag",
        ],
    );
    let links = handshakes.len() / 2;
    assert!(links >= 1 && handshakes.len().is_multiple_of(2), "{handshakes:#?}");
    for row in &handshakes {
        let to_responder = row["tcp.dstport"] == [port.to_string()];
        assert_eq!(row["wa_sidecar.handshake"], [if to_responder { "1" } else { "2" }]);
        assert_eq!(row["wa_sidecar.handshake.version"], ["1"]);
        let lengths =
            ["ephemeral", "payload", "tag"].map(|name| row[&format!("wa_sidecar.handshake.{name}")][0].len() / 2);
        assert_eq!(lengths, [32, 463, 16]);
    }

    let frames = frames(&pcap, as_told);
    for (by_initiator, counted) in [(true, counted[0]), (false, counted[1])] {
        let shown = frames
            .iter()
            .filter(|frame| frame.by_initiator() == by_initiator && frame.captured_ms < moment);
        assert_eq!(shown.count() as u64, counted, "by the initiator: {by_initiator}");
    }
    let mut next: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut largest = 0;
    for frame in &frames {
        let counter = next.entry((&frame.stream, &frame.direction)).or_default();
        assert_eq!(
            (frame.number("counter"), frame.number("expected")),
            (*counter, *counter)
        );
        *counter += 1;
        assert_eq!((frame.number("epoch"), frame.number("generation")), (0, 0));
        assert_eq!(frame.number("size"), 20 + frame.number("length"));
        assert_eq!(frame.number("ciphertext_length"), frame.number("length") - 16);
        largest = largest.max(frame.number("size"));
        // Both ends have this machine's clock.
        let off = frame.captured_ms - frame.number("timestamp_ms") as f64;
        assert!(off.abs() < 2_000.0, "{off} ms between stamp and capture: {frame:?}");
        assert!(frame.age().abs() < 1_000.0, "{frame:?}");
    }
    assert_eq!(next.len(), 2 * links);
    assert!(largest > 1_500, "a frame of more than a segment");
}

// Captures made of the vectors ------------------------------------------------------------------------------------------------

#[derive(Clone, Copy, PartialEq, Debug)]
enum By {
    Initiator,
    Responder,
}
use By::{Initiator, Responder};

#[derive(Clone)]
struct Segment {
    at: u64,
    by: By,
    bytes: Vec<u8>,
}

fn segment(at: u64, by: By, bytes: impl Into<Vec<u8>>) -> Segment {
    let bytes = bytes.into();
    Segment { at, by, bytes }
}

/// A capture of one connection to `port`.
fn pcap(name: &str, port: u16, snap: usize, segments: &[Segment]) -> PathBuf {
    pcap_of_all(name, port, snap, &[segments.to_vec()])
}

/// A capture of connections to `port`, of at most `snap` bytes a packet: classic pcap, IPv4 without a link layer.
fn pcap_of_all(name: &str, port: u16, snap: usize, connections: &[Vec<Segment>]) -> PathBuf {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 101_u32] {
        file.extend(word.to_le_bytes());
    }
    for (own_port, connection) in (40_000..).zip(connections) {
        let mut sent = [1; 2];
        for segment in connection {
            let packet = packet(&mut sent, [own_port, port], segment);
            let captured = packet.len().min(snap);
            for word in [
                segment.at / 1000,
                segment.at % 1000 * 1000,
                captured as u64,
                packet.len() as u64,
            ] {
                file.extend((word as u32).to_le_bytes());
            }
            file.extend(&packet[..captured]);
        }
    }
    let path = scratch(name);
    fs::write(&path, file).expect("written");
    path
}

/// IPv4 and TCP, without checksums. `sent`: sequence numbers of the initiator and the responder; `ports` likewise.
fn packet(sent: &mut [u32; 2], ports: [u16; 2], Segment { by, bytes, .. }: &Segment) -> Vec<u8> {
    let (own, other) = if *by == Initiator { (0, 1) } else { (1, 0) };
    let addresses = [[10, 0, 0, 1], [10, 0, 0, 2]];
    let length = u16::try_from(40 + bytes.len()).expect("a packet");
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 1, 0, 0, 64, 6, 0, 0]);
    packet.extend([addresses[own], addresses[other]].concat());
    packet.extend([ports[own], ports[other]].map(u16::to_be_bytes).concat());
    packet.extend([sent[own], sent[other]].map(u32::to_be_bytes).concat());
    packet.extend([5 << 4, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
    packet.extend(bytes);
    sent[own] = sent[own].wrapping_add(bytes.len() as u32);
    packet
}

fn vector(path: &str) -> Value {
    let text = fs::read(format!("{ROOT}/proto/vectors/{path}.json")).expect(path);
    serde_json::from_slice(&text).expect("JSON")
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().expect("hex");
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"))
        .collect()
}

fn key(hex: &Value) -> [u8; 32] {
    bytes(hex).try_into().expect("32 bytes")
}

fn handshake() -> Vec<Segment> {
    let case = vector("handshake/accepted");
    vec![
        segment(START, Initiator, bytes(&case["message_1"])),
        segment(START + 1, Responder, bytes(&case["message_2"])),
    ]
}

/// Behind a handshake: both directions of one REKEY, in the order of time. Each vector has the frames that one side receives.
fn rekey() -> (Vec<Segment>, Vec<Value>) {
    let by_initiator = vector("rekey/responder_old_frames_until_rekey3");
    let by_responder = vector("rekey/initiator_whole");
    let mut segments = handshake();
    for (by, case) in [(Initiator, &by_initiator), (Responder, &by_responder)] {
        for step in case["steps"].as_array().expect("steps") {
            if step.get("receive").is_some() {
                let at = START + step["at"].as_u64().expect("at");
                segments.push(segment(at, by, bytes(&step["receive"])));
            }
        }
    }
    segments.sort_by_key(|segment| segment.at);
    let epochs = ["old", "new"].map(|epoch| {
        assert_eq!(by_initiator[epoch], by_responder[epoch]);
        by_initiator[epoch].clone()
    });
    (segments, epochs.to_vec())
}

/// A key log of the link of [`handshake`]: `h`, `k_i` and `k_r` of each epoch.
fn keylog(name: &str, suite: u8, epochs: &[Value]) -> String {
    let case = vector("handshake/accepted");
    let ephemeral = &case["message_1"].as_str().expect("hex")[2..66];
    let mut text = "# For tests.\n".to_owned();
    for (number, epoch) in epochs.iter().enumerate() {
        let [k_i, k_r, h] = ["k_i", "k_r", "h"].map(|name| epoch[name].as_str().expect("hex"));
        text += &format!("WA_SIDECAR_EPOCH {ephemeral} {number} {suite} {k_i} {k_r} {h}\n");
    }
    let path = scratch(name);
    fs::write(&path, text).expect("written");
    format!("wa_sidecar.keylog_file:{}", path.display())
}

const WHOLE: usize = usize::MAX;

#[test]
fn rekey_is_a_new_epoch() {
    let (segments, epochs) = rekey();
    let path = pcap("rekey.pcap", PORT, WHOLE, &segments);
    let sealed = [
        "i>r Message 1",
        "r>i Message 2",
        "i>r Frame 0 (53)",
        "r>i Frame 0 (53)",
        "i>r Frame 1 (85)",
        "i>r Frame 2 (53)",
        "r>i Frame 1 (86)",
        "i>r Frame 3 (54)",
        "r>i Frame 0 (53) [new epoch: 1]",
        "i>r Frame 0 (53) [new epoch: 1]",
    ];
    assert_eq!(info(&path, &[]), sealed);
    let text = in_words(&path, &[]);
    assert_eq!(text.matches("[New epoch (REKEY): 1]").count(), 2, "{text}");
    let shown = frames(&path, &[]);
    let epochs_of = |by_initiator: bool| -> Vec<u64> {
        let own = shown.iter().filter(|frame| frame.by_initiator() == by_initiator);
        own.map(|frame| frame.number("epoch")).collect()
    };
    assert_eq!(
        (epochs_of(true), epochs_of(false)),
        (vec![0, 0, 0, 0, 1], vec![0, 0, 1])
    );
    // The vectors' stamps are what the captures' times are made of; the responder's clock is a second ahead.
    assert!(shown.iter().all(|frame| frame.age() == 0.0), "{shown:#?}");
    assert_eq!(shown[1].number("timestamp_ms"), START + 1_010);
    assert_eq!(shown[1].text("frame.timestamp"), "Jun 15, 2025 15:06:41.010000000 UTC");

    let log = keylog("rekey.keys", 1, &epochs);
    let opened = [
        "i>r Message 1",
        "r>i Message 2",
        "i>r Frame 0 (53) PING",
        "r>i Frame 0 (53) PING",
        "i>r Frame 1 (85) REKEY1",
        "i>r Frame 2 (53) PING",
        "r>i Frame 1 (86) REKEY2",
        "i>r Frame 3 (54) PING REKEY3",
        "r>i Frame 0 (53) PING [new epoch: 1]",
        "i>r Frame 0 (53) PING [new epoch: 1]",
    ];
    assert_eq!(info(&path, &["-o", &log]), opened);
    in_words(&path, &["-o", &log]);

    // However TCP cuts it: in crumbs, and each direction at once.
    let rows = |path: &Path| -> Vec<(bool, u64, u64)> {
        let mut rows: Vec<_> = frames(path, &["-o", &log])
            .iter()
            .map(|frame| (frame.by_initiator(), frame.number("epoch"), frame.number("counter")))
            .collect();
        rows.sort();
        rows
    };
    let crumbs: Vec<Segment> = segments
        .iter()
        .flat_map(|whole| whole.bytes.chunks(7).map(|crumb| segment(whole.at, whole.by, crumb)))
        .collect();
    let crumbs = pcap("crumbs.pcap", PORT, WHOLE, &crumbs);
    assert_eq!(rows(&crumbs), rows(&path));
    in_words(&crumbs, &["-o", &log]);
    let at_once = [Initiator, Responder].map(|by| {
        let own = segments.iter().filter(|segment| segment.by == by);
        segment(
            START + 100,
            by,
            own.flat_map(|segment| segment.bytes.clone()).collect::<Vec<u8>>(),
        )
    });
    let at_once = pcap("at_once.pcap", PORT, WHOLE, &at_once);
    assert_eq!(rows(&at_once), rows(&path));
    let text = in_words(&at_once, &["-o", &log]);
    assert_eq!(text.matches("Type: PING").count(), 6, "{text}");

    // A second connection between the same ports.
    let later = segments.iter().map(|first| Segment {
        at: first.at + 1_000,
        ..first.clone()
    });
    let twice: Vec<Segment> = segments.iter().cloned().chain(later).collect();
    let twice = pcap("twice.pcap", PORT, WHOLE, &twice);
    assert_eq!(info(&twice, &["-o", &log]), [opened, opened].concat());
    in_words(&twice, &[]);
}

#[test]
fn gap_repeat_and_lateness_are_flagged() {
    let (mut segments, _) = rekey();
    // By the initiator: 0 1 2 3, then 0 of the new epoch.
    let own: Vec<usize> = (2..segments.len()).filter(|&i| segments[i].by == Initiator).collect();
    let whole = segments.clone();
    segments.truncate(2);
    for (i, at) in [(0, 10), (0, 11), (1, 20), (1, 21), (3, 30), (2, 40), (4, 12_000)] {
        segments.push(Segment {
            at: START + at,
            ..whole[own[i]].clone()
        });
    }
    let path = pcap("gap.pcap", PORT, WHOLE, &segments);
    assert_eq!(
        info(&path, &[])[2..],
        [
            "i>r Frame 0 (53)",
            "i>r Frame 0 (53) [repeated: 1 expected]",
            "i>r Frame 1 (85)",
            "i>r Frame 1 (85) [repeated: 2 expected]",
            "i>r Frame 3 (54) [gap: 2 expected]",
            "i>r Frame 2 (53) [repeated: 4 expected]",
            "i>r Frame 0 (53) [new epoch: 1] [age 11950 ms]",
        ]
    );
    let text = in_words(&path, &[]);
    for (said, times) in [
        (
            "[Expert Info (Warning/Sequence): 1 frames are missing before this one]",
            1,
        ),
        ("[Expert Info (Warning/Sequence): Counter repeated: 1 expected]", 1),
        ("[Expert Info (Warning/Sequence): Counter repeated: 2 expected]", 1),
        ("[Expert Info (Warning/Sequence): Counter repeated: 4 expected]", 1),
        ("[Expert Info (Chat/Sequence): New epoch (REKEY): 1]", 1),
        ("[Expert Info (Warning/Sequence): Age beyond 10 s]", 1),
    ] {
        assert_eq!(text.matches(said).count(), times, "{said}: {text}");
    }
    let flagged = |filter: &str| tshark(&path, &["-Y", filter]).lines().count();
    assert_eq!(flagged("wa_sidecar.expert.gap"), 1);
    assert_eq!(flagged("wa_sidecar.expert.repeat"), 3);
    assert_eq!(flagged("wa_sidecar.frame.age > 10000"), 1);
}

#[test]
fn every_message_is_shown() {
    let case = vector("messages/all_in_one_frame");
    let plaintext = bytes(&case["plaintext"]);
    let secrets = vector("handshake/accepted");
    let mut frame = [&[0; 20], &plaintext[..], &[0; 16]].concat();
    Sealer::new(Suite::ChaCha20Poly1305, &key(&secrets["k_i"]), &key(&secrets["h"]))
        .seal(START + 40, &mut frame)
        .expect("sealed");
    let segments = [handshake(), vec![segment(START + 40, Initiator, frame)]].concat();
    let path = pcap("messages.pcap", PORT, WHOLE, &segments);
    let log = keylog("messages.keys", 1, std::slice::from_ref(&secrets));
    let messages = case["messages"].as_array().expect("messages");
    let wanted = messages.iter().map(|message| {
        let name = message["type"].as_str().expect("a type");
        message.get("id").map_or(name.to_owned(), |id| format!("{name}({id})"))
    });
    let wanted: Vec<String> = wanted.collect();
    let line = format!("i>r Frame 0 ({}) {}", plaintext.len() + 36, wanted.join(" "));
    assert_eq!(info(&path, &["-o", &log])[2], line);
    let text = in_words(&path, &["-o", &log]);
    assert!(text.contains("Decrypted without checking the tag"), "{text}");
    for (name, label) in [
        ("limit", "Limit"),
        ("offset", "Offset"),
        ("clock", "Clock (ms)"),
        ("data", "Data"),
        ("service", "Service"),
    ] {
        for value in messages
            .iter()
            .filter_map(|message| message.get(name))
            .filter(|value| **value != "")
        {
            let value = value.as_str().map_or(value.to_string(), str::to_owned);
            assert!(text.contains(&format!("{label}: {value}")), "{label}: {value}: {text}");
        }
    }

    // Under a key that is not this link's it does not look like messages; of a suite that is not in the script it says so.
    let other = vector("handshake/accepted_other_deployment");
    let log = keylog("other.keys", 1, &[other]);
    assert!(in_words(&path, &["-o", &log]).contains("Not a message: garbled, or a wrong key"));
    let log = keylog("aes.keys", 2, &[secrets]);
    assert!(in_words(&path, &["-o", &log]).contains("Not decrypted: suite 2"));
    let nowhere = "wa_sidecar.keylog_file:/nonexistent/keys";
    assert!(in_words(&path, &["-o", nowhere]).contains("No such file or directory"));
    let broken = scratch("broken.keys");
    fs::write(&broken, "WA_SIDECAR_EPOCH 00 0 1 00 00 00\n").expect("written");
    let broken = format!("wa_sidecar.keylog_file:{}", broken.display());
    assert!(in_words(&path, &["-o", &broken]).contains("key log: line 1 is not one of WA_SIDECAR_EPOCH"));
}

#[test]
fn generations_follow_the_counter() {
    let case = vector("key_schedule/chacha20_poly1305");
    let mut segments = handshake();
    let wanted = case["frames"].as_array().expect("frames");
    for frame in wanted {
        segments.push(segment(
            frame["timestamp"].as_u64().expect("ms"),
            Initiator,
            bytes(&frame["frame"]),
        ));
    }
    let path = pcap("generations.pcap", PORT, WHOLE, &segments);
    let epoch = serde_json::json!({ "k_i": case["k"], "k_r": case["k"], "h": case["h"] });
    let log = keylog("generations.keys", 1, &[epoch]);
    let shown = frames(&path, &[]);
    let generations: Vec<u64> = shown.iter().map(|frame| frame.number("generation")).collect();
    let counters = wanted.iter().map(|frame| frame["counter"].as_u64().expect("a counter"));
    assert_eq!(generations, counters.map(|counter| counter >> 20).collect::<Vec<u64>>());
    assert_eq!(generations, [0, 0, 0, 1, 1, 1, 2]);
    let text = in_words(&path, &["-o", &log]);
    assert_eq!(
        text.matches("Token: 0x0000000000000007").count(),
        wanted.len(),
        "{text}"
    );
}

/// Bytes that nobody chose, the same each time.
fn garbage(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn garbage_is_shown_as_such() {
    let (whole, epochs) = rekey();
    let log = keylog("garbage.keys", 1, &epochs);
    let frame_0 = whole[2].clone();
    let head = |length: u32, counter: u64, stamp: u64| {
        [&length.to_be_bytes()[..], &counter.to_be_bytes(), &stamp.to_be_bytes()].concat()
    };
    // What stands between the handshake and frame 0.
    let hostile = [
        garbage(1, 900),
        [vec![0], garbage(2, 900)].concat(),
        [vec![0, 0, 0, 32], garbage(3, 900)].concat(),
        vec![0; 1_000],
        vec![0xff; 1_000],
        b"GET / HTTP/1.1\r\nHost: core\r\n\r\n".to_vec(),
        head(16, 0, START),
        head(262_161, 0, START),
        head(u32::MAX, u64::MAX, u64::MAX),
        whole[0].bytes[..300].to_vec(),
    ];
    let connections = hostile.map(|bytes| {
        let between = segment(START + 5, Initiator, bytes);
        [handshake(), vec![between, frame_0.clone()]].concat()
    });
    let path = pcap_of_all("garbage.pcap", PORT, WHOLE, &connections);
    let text = in_words(&path, &["-o", &log]);
    assert_eq!(
        text.matches("Expert Info (Error/Protocol)").count(),
        connections.len(),
        "{text}"
    );
    let each = [
        "i>r Message 1",
        "r>i Message 2",
        "i>r (unknown)",
        "i>r Frame 0 (53) PING",
    ];
    assert_eq!(info(&path, &["-o", &log]), each.repeat(connections.len()));

    // Frames as far as their header goes: no counter or stamp is too large to be shown.
    let mut segments = handshake();
    for (i, (counter, stamp)) in [(0, 0), (1 << 47, u64::MAX), ((1 << 48) - 1, 1 << 63)]
        .into_iter()
        .enumerate()
    {
        let frame = [head(33, counter, stamp), garbage(9, 33)].concat();
        segments.push(segment(START + 10 + i as u64, Initiator, frame));
    }
    let text = in_words(&pcap("extremes.pcap", PORT, WHOLE, &segments), &["-o", &log]);
    assert!(
        text.contains("Counter: 281474976710655") && text.contains("No clock says this"),
        "{text}"
    );

    // Whole transcripts with wounds, and cut off by the capture.
    let mut wounded = vec![whole.clone(); 40];
    for (seed, segment) in (0..).zip(wounded.iter_mut().flatten()) {
        let wound = garbage(seed, 3);
        let at = usize::from(wound[0]) * segment.bytes.len() / 256;
        match wound[1] % 4 {
            0 => segment.bytes[at] ^= wound[2] | 1,
            1 => segment.bytes.truncate(at + 1),
            2 => segment.bytes.insert(at, wound[2]),
            _ => {}
        }
    }
    in_words(&pcap_of_all("wounded.pcap", PORT, WHOLE, &wounded), &["-o", &log]);
    for snap in [41, 59, 60, 92] {
        in_words(&pcap(&format!("snap_{snap}.pcap"), PORT, snap, &whole), &["-o", &log]);
    }
}

#[test]
fn headers_are_enough() {
    let (whole, _) = rekey();
    let long = [
        &5_000_u32.to_be_bytes()[..],
        &4_u64.to_be_bytes(),
        &(START + 45).to_be_bytes(),
        &garbage(5, 5_000),
    ]
    .concat();
    let mut segments: Vec<Segment> = whole[..whole.len() - 1].to_vec();
    segments.extend(long.chunks(1_400).map(|part| segment(START + 45, Initiator, part)));
    let mut next = whole.last().expect("a frame").clone();
    next.bytes[11] = 5;
    segments.push(next);
    let path = pcap("headers.pcap", PORT, 128, &segments);
    assert_eq!(
        info(&path, &[])[9..],
        [
            "i>r Frame 4 (5020)",
            "i>r (frame continued)",
            "i>r (frame continued)",
            "i>r (frame continued)",
            "i>r Frame 5 (53)",
        ]
    );
    assert!(!in_words(&path, &[]).contains("Warning"));
}

#[test]
fn links_are_found_where_they_are() {
    let (segments, _) = rekey();
    let path = pcap("elsewhere.pcap", 9_999, WHOLE, &segments);
    assert_eq!(info(&path, &[]).len(), segments.len());
    let off = "wa_sidecar.heuristic:FALSE";
    assert_eq!(info(&path, &["-o", off]), [""; 0]);
    assert_eq!(
        info(&path, &["-o", off, "-o", "wa_sidecar.ports:7250,9990-9999"]).len(),
        segments.len()
    );
    assert_eq!(
        info(&path, &["-o", off, "-d", "tcp.port==9999,wa_sidecar"]).len(),
        segments.len()
    );
    // From the middle on nothing tells it from noise.
    assert_eq!(info(&pcap("middle.pcap", 9_999, WHOLE, &segments[2..]), &[]), [""; 0]);
    let shown = info(&pcap("middle_of_known.pcap", PORT, WHOLE, &segments[4..]), &[]);
    assert_eq!(shown[0], "Frame 1 (85)");

    // What is as long and begins with a 1 is not taken for one.
    let text = [&[1][..], &b"0123456789abcdef".repeat(32)[..511]].concat();
    let after = [vec![segment(START, Initiator, garbage(1, 100))], segments].concat();
    for (name, segments) in [
        ("text.pcap", vec![segment(START, Initiator, text)]),
        ("after.pcap", after),
    ] {
        assert_eq!(info(&pcap(name, 9_999, WHOLE, &segments), &[]), [""; 0], "{name}");
    }
}
