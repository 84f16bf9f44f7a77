//! The report: one HTML page of one run or several, with its plots in it.
//!
//! Promises: no script, nothing loaded from elsewhere, well-formed XML too. Must not know: how anything was measured.

use std::fmt::Write;

use crate::{
    figures::{self, cpu_text, micros, swatch},
    outcome::Outcome,
    plot::escape,
    quantity,
};

/// The page of `runs`, at least one, in their order.
pub fn render(runs: &[Outcome]) -> String {
    let title = title(runs);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>{0}</title>\n<style>\n{1}</style>\n</head>\n\
         <body>\n<h1>{0}</h1>\n<p>{2}</p>\n",
        escape(&title),
        include_str!("page.css"),
        escape(&subtitle(runs)),
    );
    match runs {
        [run] => page.push_str(&tiles(run)),
        _ => page.push_str(&summary(runs)),
    }
    page.push_str("<div class=\"plots\">\n");
    page.push_str(&figures::throughput(runs));
    page.push_str(&figures::percentiles(runs));
    page.push_str(&figures::latency_over_time(runs));
    page.push_str(&figures::cpu(runs));
    page.push_str("</div>\n");
    page.push_str(&errors(runs));
    for run in runs {
        page.push_str(&facts(run, runs.len() > 1));
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn title(runs: &[Outcome]) -> String {
    match runs {
        [run] if run.label == run.target => format!("{} load on {}", capital(&run.work), run.target),
        [run] => format!("{}: {} load on {}", run.label, run.work, run.target),
        _ => {
            let labels: Vec<&str> = runs.iter().map(|run| run.label.as_str()).collect();
            format!("Load: {}", labels.join(", "))
        }
    }
}

fn subtitle(runs: &[Outcome]) -> String {
    let Some(run) = runs.first() else { return String::new() };
    let machine: Vec<&str> = run
        .machine
        .iter()
        .filter(|row| row.0 == "cpu" || row.0 == "kernel")
        .map(|row| row.1.as_str())
        .collect();
    let cores = run
        .machine
        .iter()
        .find(|row| row.0 == "cores")
        .map_or(String::new(), |row| format!("{} cores, ", row.1));
    let measured = match (&run.alone, &run.beside) {
        (Some(alone), Some(beside)) => alone.seconds + beside.seconds,
        _ => run.seconds,
    };
    let seconds = format!("{measured:.0} s");
    format!("{seconds} measured on {cores}{}", machine.join(", "))
}

fn tiles(run: &Outcome) -> String {
    let mut tiles: Vec<(String, String, bool)> = Vec::new();
    if run.work == "bulk" {
        tiles.push((
            quantity::bytes(run.bytes_per_second) + "/s",
            "payload".to_owned(),
            false,
        ));
        tiles.push((quantity::bytes(run.bytes as f64), "moved".to_owned(), false));
    } else {
        tiles.push((
            quantity::count(run.per_second),
            format!("{}s a second", run.unit()),
            false,
        ));
        tiles.push((micros(run.latency_us.p50), "median latency".to_owned(), false));
        tiles.push((micros(run.latency_us.p99), "p99 latency".to_owned(), false));
    }
    if let (Some(ratio), Some(beside)) = (run.fairness_p99, &run.beside) {
        tiles.push((format!("{ratio:.2}"), "p99 beside bulk / alone".to_owned(), false));
        tiles.push((
            quantity::bytes(beside.bulk_bytes_per_second) + "/s",
            "bulk beside".to_owned(),
            false,
        ));
    }
    let (units, unit) = run.cpu_per_unit();
    for (name, value) in units.iter().filter(|(name, _)| run.cpu_seconds.contains_key(*name)) {
        let text = cpu_text(*value, unit);
        let (text, of) = text.split_once('/').unwrap_or((&text, ""));
        tiles.push((text.to_owned(), format!("CPU of {name} a {of}"), false));
    }
    tiles.push((quantity::count(run.errors as f64), "errors".to_owned(), run.errors > 0));
    let mut html = "<div class=\"tiles\">".to_owned();
    for (value, what, bad) in tiles {
        let class = if bad { "tile bad" } else { "tile" };
        let _ = write!(
            html,
            "<div class=\"{class}\"><b>{}</b><span>{}</span></div>",
            escape(&value),
            escape(&what)
        );
    }
    html + "</div>\n"
}

fn summary(runs: &[Outcome]) -> String {
    let mut html = "<div class=\"card\"><table><tr><th>run</th><th>work</th><th>a second</th><th>payload</th><th>p50</th><th>p99</th>\
                    <th>p99.9</th><th>max</th><th>CPU</th><th>errors</th></tr>"
        .to_owned();
    for (index, run) in runs.iter().enumerate() {
        let (units, unit) = run.cpu_per_unit();
        let watched: Vec<f64> = units
            .iter()
            .filter(|(name, _)| run.cpu_seconds.contains_key(*name))
            .map(|row| row.1)
            .collect();
        let cpu = if watched.is_empty() {
            "-".to_owned()
        } else {
            cpu_text(watched.iter().sum(), unit)
        };
        let latency = &run.latency_us;
        let _ = write!(
            html,
            "<tr><td>{}{}</td><td>{}</td><td>{}</td><td>{}/s</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td{}>{}</td></tr>",
            swatch(index, false),
            escape(&run.label),
            escape(&run.work),
            quantity::count(run.per_second),
            quantity::bytes(run.bytes_per_second),
            micros(latency.p50),
            micros(latency.p99),
            micros(latency.p999),
            micros(latency.max),
            escape(&cpu),
            if run.errors > 0 { " class=\"bad\"" } else { "" },
            run.errors
        );
    }
    html + "</table></div>\n"
}

fn errors(runs: &[Outcome]) -> String {
    let mut rows = String::new();
    for run in runs {
        for class in &run.error_classes {
            let _ = write!(
                rows,
                "<tr><td>{}</td><td class=\"text\">{}</td><td>{}</td><td class=\"text\">{}</td></tr>",
                escape(&run.label),
                escape(&class.class),
                class.count,
                escape(&class.first)
            );
        }
        for note in &run.notes {
            let _ = write!(
                rows,
                "<tr><td>{}</td><td class=\"text\">note</td><td></td><td class=\"text\">{}</td></tr>",
                escape(&run.label),
                escape(note)
            );
        }
    }
    if rows.is_empty() {
        return rows;
    }
    format!(
        "<div class=\"card\"><h2 class=\"bad\">Errors</h2><table><tr><th>run</th><th class=\"text\">class</th><th>how many</th><th class=\"text\">the first one</th></tr>{rows}</table></div>\n"
    )
}

fn facts(run: &Outcome, named: bool) -> String {
    let latency = &run.latency_us;
    let mut left: Vec<(String, String)> = vec![
        ("target".to_owned(), run.target.clone()),
        (
            "measured".to_owned(),
            format!(
                "{:.2} s{}",
                run.seconds,
                if run.interrupted { ", then interrupted" } else { "" }
            ),
        ),
    ];
    left.extend(run.parameters.iter().cloned());
    left.extend(run.machine.iter().cloned());
    let mut right = vec![
        (
            format!("{}s", run.unit()),
            format!(
                "{}, {}/s",
                quantity::count(run.operations as f64),
                quantity::count(run.per_second)
            ),
        ),
        (
            "payload".to_owned(),
            format!(
                "{}, {}/s",
                quantity::bytes(run.bytes as f64),
                quantity::bytes(run.bytes_per_second)
            ),
        ),
        ("connections made".to_owned(), quantity::count(run.connects as f64)),
    ];
    if latency.max > 0.0 {
        for (name, value) in [
            ("min", latency.min),
            ("mean", latency.mean),
            ("p50", latency.p50),
            ("p90", latency.p90),
            ("p99", latency.p99),
            ("p99.9", latency.p999),
            ("max", latency.max),
        ] {
            right.push((format!("latency {name}"), micros(value)));
        }
    }
    if run.rate.is_some() {
        right.push(("begun over 1 ms late".to_owned(), quantity::count(run.late as f64)));
        right.push((
            "unanswered at the end".to_owned(),
            quantity::count(run.unanswered as f64),
        ));
    }
    let (units, unit) = run.cpu_per_unit();
    for (name, value) in units {
        let seconds = run.cpu_seconds.get(name).copied().unwrap_or(run.generator_cpu_seconds);
        right.push((
            format!("CPU of {name}"),
            format!("{seconds:.3} s, {}", cpu_text(value, unit)),
        ));
    }
    let table = |rows: &[(String, String)]| {
        let rows: String = rows
            .iter()
            .map(|(name, value)| format!("<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value)))
            .collect();
        format!("<table>{rows}</table>")
    };
    let heading = if named { run.label.as_str() } else { "The run" };
    format!(
        "<div class=\"card\"><h2>{}</h2><div class=\"pairs\">{}{}</div></div>\n",
        escape(heading),
        table(&left),
        table(&right)
    )
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}
