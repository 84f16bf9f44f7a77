//! How each kind of value is written: sizes, durations, numbers, names, switches.
//!
//! Promises: every parser takes what the operator typed and either returns a value in range or says what is wrong
//! with it; what would be right stands in the key's own description.
//! Must not know: which setting it parses for, or where the text came from.

use std::{ops::RangeInclusive, time::Duration};

use crate::{logs::LogFormat, wire::Name};

pub(super) fn name(text: &str) -> Result<Name, String> {
    let why = || match text
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || "._-".contains(*c)))
    {
        Some(c) => format!("{c:?} is not allowed in a name"),
        None => format!("it has {} bytes", text.len()),
    };
    Name::new(text).ok_or_else(why)
}

/// Which AEAD suites this end offers or takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    /// AES-256-GCM where both hosts have it in hardware, else ChaCha20-Poly1305.
    Auto,
    ChaCha20Poly1305,
}

pub(super) fn cipher(text: &str) -> Result<Cipher, String> {
    match text {
        "auto" => Ok(Cipher::Auto),
        "chacha20poly1305" => Ok(Cipher::ChaCha20Poly1305),
        _ => Err("no such choice".into()),
    }
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("no such format".into()),
    }
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("neither true nor false".into()),
    }
}

/// `0660`, `660`.
pub(super) fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(mode),
        _ => Err("it is not an octal mode up to 0777".into()),
    }
}

pub(super) fn count(range: RangeInclusive<usize>) -> impl Fn(&str) -> Result<usize, String> {
    move |text| in_range(number(text)?, &range, |n| n.to_string())
}

/// Bytes: `16MiB`, `512KiB`, `1GiB`, or a bare number.
pub(super) fn size(range: RangeInclusive<usize>) -> impl Fn(&str) -> Result<usize, String> {
    move |text| {
        let (digits, unit) = split_unit(text);
        let shift = match unit {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err(format!("{unit:?} is not a unit of size")),
        };
        let bytes = number(digits)?.checked_mul(1 << shift).ok_or("it is too large")?;
        in_range(bytes, &range, |n| format!("{n} bytes"))
    }
}

/// `500ms`, `5s`, `1m`.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| {
        let (digits, unit) = split_unit(text);
        let ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "" => return Err("it has no unit".into()),
            _ => return Err(format!("{unit:?} is not a unit of time")),
        };
        let ms = (number(digits)? as u64).checked_mul(ms).ok_or("it is too long")?;
        in_range(Duration::from_millis(ms), &range, |d| format!("{d:?}"))
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn number(text: &str) -> Result<usize, String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err("it is not a whole number".into());
    }
    text.parse().map_err(|_| "it is too large".into())
}

fn in_range<T: PartialOrd>(n: T, range: &RangeInclusive<T>, show: impl Fn(&T) -> String) -> Result<T, String> {
    if n < *range.start() {
        Err(format!("it is under the least, {}", show(range.start())))
    } else if n > *range.end() {
        Err(format!("it is over the most, {}", show(range.end())))
    } else {
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let size = size(1 << 10..=1 << 40);
        for (text, bytes) in [
            ("1024", 1 << 10),
            ("2048B", 2 << 10),
            ("64KiB", 64 << 10),
            ("16MiB", 16 << 20),
        ] {
            assert_eq!(size(text), Ok(bytes));
        }
        for (text, why) in [
            ("16MB", "\"MB\" is not a unit"),
            ("16 MiB", "not a unit"),
            ("MiB", "not a whole number"),
            ("-1", "not a unit"),
            ("1.5MiB", "not a unit"),
            ("1023", "under the least, 1024 bytes"),
            ("99999999999GiB", "too large"),
            ("99999999999999999999999", "too large"),
        ] {
            assert!(size(text).is_err_and(|e| e.contains(why)), "{text}: {:?}", size(text));
        }
    }

    #[test]
    fn durations() {
        let duration = duration(Duration::from_millis(1)..=Duration::from_secs(300));
        for (text, ms) in [("500ms", 500), ("5s", 5_000), ("1m", 60_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)));
        }
        for (text, why) in [
            ("5", "no unit"),
            ("5h", "\"h\" is not a unit"),
            ("s", "not a whole number"),
            ("0s", "under the least, 1ms"),
            ("6m", "over the most, 300s"),
            ("18446744073709551615s", "too long"),
        ] {
            assert!(
                duration(text).is_err_and(|e| e.contains(why)),
                "{text}: {:?}",
                duration(text)
            );
        }
    }

    #[test]
    fn names() {
        assert!(name(&"n".repeat(64)).is_ok());
        assert!(name(&"n".repeat(65)).is_err());
        assert!(name("").is_err());
        assert!(name("Node_1.a-b").is_ok());
        assert!(name("a b").is_err_and(|e| e.contains("' '")));
        assert!(name("knoten-ä").is_err_and(|e| e.contains("'ä'")));
    }
}
