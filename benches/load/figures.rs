//! What the report plots: throughput, latency by percentile and over time, CPU per unit.
//!
//! Promises: a colour is a run, in every plot. Must not know: how a line is drawn.

use std::fmt::Write;

use crate::{
    outcome::{Latency, Outcome, Point},
    plot::{Axis, Bar, Chart, Line, bars, escape},
    quantity,
};

/// A plot in its frame. `legend` is colour, dashed, text; a single line needs none.
fn figure(title: &str, said: &str, legend: &[(usize, bool, String)], svg: &str) -> String {
    let mut html = format!("<figure><h2>{}</h2><p>{}</p>", escape(title), escape(said));
    if legend.len() > 1 {
        html.push_str("<div class=\"legend\">");
        for (colour, dashed, text) in legend {
            let _ = write!(html, "<span>{}{}</span>", swatch(*colour, *dashed), escape(text));
        }
        html.push_str("</div>");
    }
    html + svg + "</figure>\n"
}

/// A short line, as a legend has it.
pub fn swatch(colour: usize, dashed: bool) -> String {
    let dashed = if dashed { " dashed" } else { "" };
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"swatch\" width=\"22\" height=\"10\" viewBox=\"0 0 22 10\"><path class=\"line s{}{dashed}\" d=\"M1 5H21\"/></svg>",
        colour % crate::plot::COLOURS
    )
}

fn time_axis(runs: &[Outcome]) -> Axis {
    let end = runs
        .iter()
        .flat_map(|run| &run.series)
        .map(|point| point.at)
        .fold(0.0, f64::max);
    Axis::exact("seconds", end, plain)
}

/// Where bulk sets in, if all runs say the same.
fn marks(runs: &[Outcome]) -> Vec<(f64, String)> {
    runs.first()
        .and_then(|run| run.alone.as_ref())
        .map(|alone| (alone.seconds, "bulk beside".to_owned()))
        .into_iter()
        .collect()
}

/// Empty where there is nothing to show.
pub fn throughput(runs: &[Outcome]) -> String {
    let operations = runs.iter().any(|run| run.work != "bulk");
    let mut html = String::new();
    if operations {
        html.push_str(&over_time(
            runs,
            "Throughput",
            "Operations done in each second.",
            "operations / s",
            |point| point.per_second,
            quantity::count,
        ));
    }
    if !operations || runs.iter().any(|run| run.work == "mixed") {
        let bytes = |value| quantity::bytes(value) + "/s";
        html.push_str(&over_time(
            runs,
            "Payload",
            "Bytes moved in each second, both directions.",
            "",
            |point| point.bytes_per_second,
            bytes,
        ));
    }
    html
}

fn over_time(
    runs: &[Outcome],
    title: &str,
    said: &str,
    axis: &str,
    value: impl Fn(&Point) -> f64,
    text: impl Fn(f64) -> String,
) -> String {
    let lines: Vec<Line> = runs
        .iter()
        .enumerate()
        .map(|(colour, run)| Line {
            colour,
            dashed: false,
            points: run.series.iter().map(|point| (point.at, value(point))).collect(),
            tips: run
                .series
                .iter()
                .map(|point| format!("{}, {:.1} s: {}", run.label, point.at, text(value(point))))
                .collect(),
        })
        .collect();
    let high = lines
        .iter()
        .flat_map(|line| &line.points)
        .map(|point| point.1)
        .fold(0.0, f64::max);
    let chart = Chart {
        x: time_axis(runs),
        y: Axis::linear(axis, high * 1.02, text),
        lines,
        marks: marks(runs),
    };
    figure(title, said, &legend(runs), &chart.svg(title))
}

fn legend(runs: &[Outcome]) -> Vec<(usize, bool, String)> {
    runs.iter()
        .enumerate()
        .map(|(colour, run)| (colour, false, run.label.clone()))
        .collect()
}

/// Logarithmic where the values lie far apart.
fn latency_axis(values: impl Iterator<Item = f64>) -> Axis {
    let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
    for value in values.filter(|&value| value > 0.0) {
        (low, high) = (low.min(value), high.max(value));
    }
    if low < high / 10.0 {
        Axis::logarithmic("", low, high, micros_tick)
    } else {
        Axis::linear("", high, micros_tick)
    }
}

/// Empty where there is nothing to show.
pub fn percentiles(runs: &[Outcome]) -> String {
    let mut curves: Vec<(usize, bool, String, &Latency)> = Vec::new();
    for (colour, run) in runs.iter().enumerate() {
        match (&run.alone, &run.beside, runs.len()) {
            (Some(alone), Some(beside), 1) => {
                curves.push((0, false, "alone".to_owned(), &alone.latency_us));
                curves.push((1, false, "beside bulk".to_owned(), &beside.latency_us));
            }
            (Some(alone), Some(beside), _) => {
                curves.push((colour, true, format!("{}, alone", run.label), &alone.latency_us));
                curves.push((colour, false, format!("{}, beside bulk", run.label), &beside.latency_us));
            }
            _ => curves.push((colour, false, run.label.clone(), &run.latency_us)),
        }
    }
    // A handful of long transfers has no percentiles worth a curve.
    curves.retain(|curve| curve.3.curve.len() > 20);
    if curves.is_empty() {
        return String::new();
    }
    // Nines go along the axis: 90 % is 1, 99 % is 2.
    let nines = |percentile: f64| (100.0 / (100.0 - percentile).max(1e-7)).log10();
    let lines: Vec<Line> = curves
        .iter()
        .map(|(colour, dashed, _, latency)| Line {
            colour: *colour,
            dashed: *dashed,
            points: latency
                .curve
                .iter()
                .map(|&(percentile, value)| (nines(percentile), value))
                .collect(),
            tips: Vec::new(),
        })
        .collect();
    let end = lines
        .iter()
        .flat_map(|line| &line.points)
        .map(|point| point.0)
        .fold(0.0, f64::max);
    let labels = ["0", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %"];
    let mut ticks: Vec<(f64, String)> = labels
        .iter()
        .enumerate()
        .map(|(index, label)| (index as f64, (*label).to_owned()))
        .collect();
    ticks.insert(1, (nines(50.0), "50 %".to_owned()));
    let chart = Chart {
        x: Axis::with_ticks("percentile", end, ticks),
        y: latency_axis(lines.iter().flat_map(|line| &line.points).map(|point| point.1)),
        lines,
        marks: Vec::new(),
    };
    let open = runs.iter().all(|run| run.rate.is_some());
    let said = if open {
        "From the time at which each operation was due: none omitted."
    } else {
        "Closed loop: a stall stops the sending too. See --rate."
    };
    let legend: Vec<(usize, bool, String)> = curves.iter().map(|curve| (curve.0, curve.1, curve.2.clone())).collect();
    figure(
        "Latency by percentile",
        said,
        &legend,
        &chart.svg("Latency by percentile"),
    )
}

/// Empty where there is nothing to show.
pub fn latency_over_time(runs: &[Outcome]) -> String {
    let several = runs.len() > 1;
    let (mut lines, mut legend) = (Vec::new(), Vec::new());
    for (index, run) in runs.iter().enumerate().filter(|(_, run)| run.work != "bulk") {
        let name = |what: &str| {
            if several {
                format!("{}, {what}", run.label)
            } else {
                what.to_owned()
            }
        };
        for (what, dashed, value) in [
            ("p99", false, (|point| point.p99_us) as fn(&Point) -> f64),
            ("p50", true, |point| point.p50_us),
        ] {
            let points: Vec<&Point> = run.series.iter().filter(|point| value(point) > 0.0).collect();
            lines.push(Line {
                colour: index,
                dashed,
                points: points.iter().map(|point| (point.at, value(point))).collect(),
                tips: points
                    .iter()
                    .map(|point| format!("{}, {:.1} s: {}", name(what), point.at, micros(value(point))))
                    .collect(),
            });
            legend.push((index, dashed, name(what)));
        }
    }
    if lines.iter().all(|line| line.points.is_empty()) {
        return String::new();
    }
    let y = latency_axis(lines.iter().flat_map(|line| &line.points).map(|point| point.1));
    let chart = Chart {
        x: time_axis(runs),
        y,
        lines,
        marks: marks(runs),
    };
    figure(
        "Latency over time",
        "Of the operations that ended in each second.",
        &legend,
        &chart.svg("Latency over time"),
    )
}

/// Empty where there is nothing to show.
pub fn cpu(runs: &[Outcome]) -> String {
    let mut groups: Vec<(&str, Vec<Bar>)> = Vec::new();
    for (colour, run) in runs.iter().enumerate() {
        let (units, unit) = run.cpu_per_unit();
        for (name, value) in units {
            let bar = Bar {
                label: if runs.len() > 1 {
                    format!("{}: {name}", run.label)
                } else {
                    name.to_owned()
                },
                colour,
                value,
                text: cpu_text(value, unit),
            };
            match groups.iter_mut().find(|group| group.0 == unit) {
                Some(group) => group.1.push(bar),
                None => groups.push((unit, vec![bar])),
            }
        }
    }
    groups
        .iter()
        .map(|(unit, group)| {
            let title = format!(
                "CPU time, {}",
                unit.replace("us/", "µs a ").replace("s/GB", "seconds a GB")
            );
            figure(
                &title,
                "All threads, user and system, as the scheduler counts.",
                &[],
                &bars(group, &title),
            )
        })
        .collect()
}

/// With its unit, as from [`Outcome::cpu_per_unit`].
pub fn cpu_text(value: f64, unit: &str) -> String {
    format!("{} {}", quantity::three_digits(value), unit.replace("us/", "µs/"))
}

/// A latency.
pub fn micros(value: f64) -> String {
    quantity::micros(value).replace(" us", " µs")
}

fn micros_tick(value: f64) -> String {
    match value {
        v if v >= 999_999.0 => format!("{} s", plain(v / 1e6)),
        v if v >= 999.999 => format!("{} ms", plain(v / 1e3)),
        v => format!("{} µs", plain(v)),
    }
}

/// At most three digits behind the point, none that are zero.
fn plain(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
