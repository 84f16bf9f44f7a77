//! Numbers with units: as typed on the command line, and for people to read.

use std::{num::NonZeroUsize, time::Duration};

/// `10`, `10s`, `500ms`, `2m`
///
/// # Errors
/// What would be right.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: 10, 10s, 500ms or 2m");
    let (number, unit) = split(text);
    let scale = match unit {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "m" | "min" => 60.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = number * scale;
    if (0.0..=1e6).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(wrong())
    }
}

/// `1024`, `64KiB`, `1GiB`, `1GB`
///
/// # Errors
/// What would be right.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size: 1024, 64KiB, 1GiB or 1GB");
    let (number, unit) = split(text);
    let scale: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => return Err(wrong()),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(scale))
        .ok_or_else(wrong)
}

/// How many: at least one.
///
/// # Errors
/// What would be right.
pub fn parse_count(text: &str) -> Result<NonZeroUsize, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is no number of them: at least 1"))
}

/// Operations a second: `40k`, or `40000`.
///
/// # Errors
/// What would be right.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is no rate: operations a second, above 0, such as 500 or 20k");
    let (number, unit) = split(text);
    let scale = match unit {
        "" | "/s" => 1.0,
        "k" | "k/s" => 1e3,
        _ => return Err(wrong()),
    };
    let rate = number.parse::<f64>().map_err(|_| wrong())? * scale;
    if (0.001..=1e7).contains(&rate) {
        Ok(rate)
    } else {
        Err(wrong())
    }
}

fn split(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

/// `812 us`, `3.40 ms`, `1.20 s`
pub fn micros(value: f64) -> String {
    match value {
        v if v < 9.95 => format!("{v:.1} us"),
        v if v < 999.5 => format!("{v:.0} us"),
        v if v < 999_500.0 => format!("{} ms", three_digits(v / 1e3)),
        v => format!("{} s", three_digits(v / 1e6)),
    }
}

/// `1.02 GB`: decimal, as lines are rated.
pub fn bytes(value: f64) -> String {
    match value {
        v if v < 999.5 => format!("{v:.0} B"),
        v if v < 999_500.0 => format!("{} kB", three_digits(v / 1e3)),
        v if v < 999_500_000.0 => format!("{} MB", three_digits(v / 1e6)),
        v => format!("{} GB", three_digits(v / 1e9)),
    }
}

/// `12 345`, thousands apart; small ones with digits behind the point.
pub fn count(value: f64) -> String {
    if value < 99.95 {
        let text = format!("{value:.1}");
        return text.strip_suffix(".0").map(str::to_owned).unwrap_or(text);
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `1.02`, `10.2`, `102`
pub fn three_digits(value: f64) -> String {
    match value {
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}
