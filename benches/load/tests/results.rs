//! What comes out of each kind of work: counts that are exact, JSON whose names stay, a page that is well-formed.

use crate::{
    cpu::{self, Watched},
    far_end, outcome,
    outcome::Outcome,
    page, pattern, quantity,
};

/// The names that others rely on (benches/README.md).
fn assert_contract(outcome: &Outcome, more: &[&str]) {
    let json = serde_json::to_value(outcome).unwrap();
    for name in [
        "seconds",
        "operations",
        "bytes",
        "errors",
        "per_second",
        "bytes_per_second",
    ] {
        assert!(json[name].is_number(), "{name}: {json}");
    }
    assert!(
        json["work"].is_string() && json["target"].is_string() && json["cpu_seconds"]["me"].is_number(),
        "{json}"
    );
    for name in ["min", "mean", "p50", "p90", "p99", "p999", "max"] {
        assert!(json["latency_us"][name].is_number(), "{name}: {json}");
    }
    for name in more {
        assert!(!json[*name].is_null(), "{name}: {json}");
    }
    let back: Outcome = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(&back).unwrap(), json);
}

fn me() -> String {
    format!("--cpu-of me={}", std::process::id())
}

#[test]
fn requests() {
    let target = far_end();
    let run = outcome(&format!(
        "request --target {target} --connections 3 --threads 2 --duration 300ms --warmup 0 --size 2000 {}",
        me()
    ));
    assert!(run.is_good() && run.operations > 0, "{run:?}");
    assert_eq!((run.bytes, run.connects), (run.operations * 2000, 3));
    assert_contract(&run, &[]);
    let latency = &run.latency_us;
    let rising = [
        latency.min,
        latency.p50,
        latency.p90,
        latency.p99,
        latency.p999,
        latency.max,
    ];
    assert!(rising.is_sorted() && latency.min > 0.0, "{latency:?}");
    assert!(
        latency.curve.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1),
        "{latency:?}"
    );
}

#[test]
fn requests_at_a_rate() {
    let run = outcome(&format!(
        "request --target {} --connections 8 --threads 2 --duration 500ms --warmup 0 --rate 100",
        far_end()
    ));
    assert!(run.is_good(), "{run:?}");
    // 50 were due, whatever the host does; those that it delayed past the end are counted as unanswered.
    let due = run.operations + run.unanswered;
    assert!((45..=(run.seconds * 100.0) as u64 + 2).contains(&due), "{run:?}");
    assert!(run.table().contains("open loop"), "{}", run.table());
}

#[test]
fn connections() {
    let run = outcome(&format!(
        "connection --target {} --concurrency 3 --duration 300ms --warmup 0 {}",
        far_end(),
        me()
    ));
    assert!(run.is_good(), "{run:?}");
    assert_eq!(run.bytes, run.operations * 1024);
    assert!((run.operations..=run.operations + 3).contains(&run.connects), "{run:?}");
    assert_contract(&run, &[]);
}

#[test]
fn bulk_of_so_many_bytes() {
    let target = far_end();
    for direction in ["receive", "send", "both"] {
        let run = outcome(&format!(
            "bulk --target {target} --streams 3 --bytes 10000000 --direction {direction} --verify {}",
            me()
        ));
        assert!(run.is_good(), "{run:?}");
        assert_eq!((run.operations, run.bytes), (3, 10_000_000), "{direction}");
        assert_contract(&run, &[]);
    }
}

#[test]
fn mixed() {
    let target = far_end();
    let run = outcome(&format!(
        "mixed --target {target} --duration 500ms --warmup 100ms --rate 100 {}",
        me()
    ));
    assert!(run.is_good(), "{run:?}");
    assert_contract(&run, &["alone", "beside", "fairness_p99"]);
    let (alone, beside) = (run.alone.as_ref().unwrap(), run.beside.as_ref().unwrap());
    assert!(
        alone.operations > 0 && alone.bulk_bytes == 0 && beside.bulk_bytes > 0,
        "{run:?}"
    );
    assert!(run.table().contains("fairness"), "{}", run.table());
}

#[test]
fn unix_sockets() {
    let path = std::env::temp_dir().join(format!("wa-sidecar-load-{}", std::process::id()));
    let door = crate::serve::bind(&format!("unix:{}", path.display())).unwrap();
    let target = door.address();
    std::thread::spawn(move || door.serve(1));
    for work in ["request", "connection"] {
        let run = outcome(&format!("{work} --target {target} --duration 200ms --warmup 0"));
        assert!(run.is_good(), "{run:?}");
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn pages_are_well_formed_and_load_nothing() {
    let target = far_end();
    let mut request = outcome(&format!(
        "request --target {target} --duration 1500ms --warmup 0 --rate 300 {}",
        me()
    ));
    request.label = "<script>alert(\"&\")</script>\u{1b}".to_owned();
    request.notes.push("a < b & c".to_owned());
    let mixed = outcome(&format!("mixed --target {target} --duration 300ms --warmup 0"));
    let bulk = outcome(&format!("bulk --target {target} --duration 300ms --warmup 0"));
    let failed = outcome(&format!(
        "request --target {target} --path /nowhere --duration 200ms --warmup 0"
    ));
    for (runs, plots) in [
        (vec![request.clone()], 4),
        (vec![mixed.clone()], 5),
        (vec![bulk.clone()], 2),
        (vec![failed.clone()], 2),
        (vec![request, mixed, bulk, failed], 5),
    ] {
        let html = page::render(&runs);
        let options = roxmltree::ParsingOptions {
            allow_dtd: true,
            ..Default::default()
        };
        let document = roxmltree::Document::parse_with_options(&html, options).unwrap();
        let count = |name| {
            document
                .descendants()
                .filter(|node| node.has_tag_name(("http://www.w3.org/1999/xhtml", name)))
                .count()
        };
        assert!(count("figure") >= plots, "{} plots", count("figure"));
        assert_eq!((count("script"), count("link"), count("img")), (0, 0, 0));
        let loads = document
            .descendants()
            .flat_map(|node| node.attributes())
            .filter(|it| ["src", "href"].contains(&it.name()));
        assert_eq!(loads.count(), 0);
        assert!(!html.contains("NaN") && !html.contains("inf"), "a number is none");
        assert!(!html.contains("url(") && !html.contains("@import"));
    }
}

#[test]
fn cpu_of_a_process() {
    let me = Watched::parse(&format!("me={}", std::process::id())).unwrap();
    let (before, own) = (me.seconds().unwrap(), cpu::own());
    while cpu::own() < own + 0.1 {
        std::hint::black_box(pattern::first_wrong(0, pattern::at(0, 10_000)));
    }
    let spent = me.seconds().unwrap() - before;
    assert!(spent > 0.05, "{spent} s of 0.1 s");

    let many = Watched::parse("pair=12,13").unwrap();
    assert_eq!(
        (many.name.as_str(), many.pids.as_slice()),
        ("pair", [12, 13].as_slice())
    );
    assert!(
        Watched::parse("gone=4194305").unwrap().seconds().is_err(),
        "past the largest id there is"
    );
}

#[test]
fn cpu_of_threads_that_have_ended() {
    let me = Watched::parse(&format!("me={}", std::process::id())).unwrap();
    let spend = || {
        let begin = cpu::own();
        while cpu::own() < begin + 0.2 {
            std::hint::black_box(pattern::first_wrong(0, pattern::at(0, 10_000)));
        }
    };
    std::thread::spawn(spend).join().unwrap();
    let (seconds, own) = (me.seconds().unwrap(), cpu::own());
    assert!(seconds > own - 0.1, "{seconds} s of {own} s");
}

#[test]
fn cpu_without_schedstat() {
    let ticks = rustix::param::clock_ticks_per_second();
    let stat = format!("42 (a) b (c) S 1 1 1 0 -1 0 0 0 0 0 {} {ticks} 0 0 20 0 1 0", 2 * ticks);
    assert_eq!(cpu::by_stat(&stat).unwrap(), 3.0);
    for odd in ["", "42", "42 (a) S 1 2 3", "42 (a S 1 1 1 0 -1 0 0 0 0 0 1 1 0 0"] {
        assert!(cpu::by_stat(odd).is_err(), "{odd}");
    }
}

#[test]
fn the_pattern_shows_what_is_moved_doubled_or_lost() {
    let whole: Vec<u8> = (0..4)
        .flat_map(|index| pattern::at(index * 100_000, 100_000))
        .copied()
        .collect();
    assert_eq!(pattern::first_wrong(0, &whole), None);
    assert_eq!(pattern::first_wrong(7, &whole[7..]), None);
    let lost = [&whole[..1000], &whole[66_536..]].concat();
    assert_eq!(pattern::first_wrong(0, &lost), Some(1000), "64 KiB are lost");
    let doubled = [&whole[..65_536], &whole].concat();
    assert!(pattern::first_wrong(0, &doubled).is_some_and(|at| at >= 65_536));
}

#[test]
fn quantities() {
    for (value, text) in [
        (0.4, "0.4 us"),
        (812.0, "812 us"),
        (3_400.0, "3.40 ms"),
        (999_600.0, "1.00 s"),
        (12_000_000.0, "12.0 s"),
    ] {
        assert_eq!(quantity::micros(value), text);
    }
    for (value, text) in [
        (0.0, "0"),
        (2.6, "2.6"),
        (99.96, "100"),
        (12_345.0, "12 345"),
        (1_234_567.0, "1 234 567"),
    ] {
        assert_eq!(quantity::count(value), text);
    }
    assert_eq!(quantity::parse_bytes("2GiB"), Ok(2 << 30));
    assert_eq!(quantity::parse_bytes("2GB"), Ok(2_000_000_000));
    assert_eq!(quantity::parse_rate("20k"), Ok(20_000.0));
}
