//! What the demo prints: text, hex, figures.
//!
//! Promises: at most 100 columns; colour only on a terminal that wants it; an error of stdout ends the demo.
//! Must not know: processes, sockets.

use super::tap::Way;
use crate::wire::frame::{HEADER_LEN, Header, TAG_LEN};
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, SystemTime};

/// Standard output.
pub struct Out {
    colour: bool,
}

/// Bytes in a line of hex.
const PER_LINE: usize = 16;
/// Lines of hex of one field; what is longer is cut in the middle of nowhere.
const LINES: usize = 4;

impl Out {
    pub fn stdout() -> Self {
        let unwanted = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            colour: io::stdout().is_terminal() && !dumb && !unwanted("NO_COLOR"),
        }
    }

    pub fn line(&self, text: impl AsRef<str>) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", text.as_ref())?;
        out.flush()
    }

    /// With an empty line above.
    pub fn headline(&self, text: &str) -> io::Result<()> {
        self.line(format!("\n{}", self.painted("1", text)))
    }

    pub fn good(&self, text: &str) -> String {
        self.painted("32", text)
    }

    pub fn bad(&self, text: &str) -> String {
        self.painted("1;31", text)
    }

    pub fn faint(&self, text: &str) -> String {
        self.painted("2", text)
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Bytes as whoever reads the socket sees them.
    pub fn plain(&self, bytes: &[u8]) -> io::Result<()> {
        let text: Vec<char> = String::from_utf8_lossy(bytes).chars().collect();
        text.chunks(88)
            .try_for_each(|part| self.line(format!("    {}", part.iter().collect::<String>())))
    }

    /// A sealed frame, its fields named, of which `plain` bytes are an app's.
    pub fn frame(&self, frame: &[u8], plain: usize) -> io::Result<()> {
        let Some((Ok(header), rest)) = frame
            .split_first_chunk()
            .map(|(head, rest)| (Header::decode(head), rest))
        else {
            return self.line(format!("    {}", self.bad("not a frame")));
        };
        let Header {
            length,
            counter,
            timestamp,
        } = header;
        let (ciphertext, tag) = rest.split_at(rest.len().saturating_sub(TAG_LEN));
        let time = time_of_day(Duration::from_millis(timestamp));
        let body = ciphertext.len();
        let framing = body.saturating_sub(plain);
        for (at, bytes, name, note) in [
            (0, &frame[..4], "length", format!("{length} bytes follow the header")),
            (4, &frame[4..12], "counter", format!("the next must be {}", counter + 1)),
            (12, &frame[12..HEADER_LEN], "timestamp", format!("{time} UTC")),
            (
                HEADER_LEN,
                ciphertext,
                "ciphertext",
                format!("{body} bytes: the {plain} above, and {framing} that frame them"),
            ),
            (
                HEADER_LEN + body,
                tag,
                "tag",
                "one flipped bit anywhere, and it fails".to_owned(),
            ),
        ] {
            self.field(at, bytes, name, &note)?;
        }
        Ok(())
    }

    fn field(&self, at: usize, bytes: &[u8], name: &str, note: &str) -> io::Result<()> {
        let mut lines = bytes.chunks(PER_LINE).enumerate();
        let first = lines.next().map(|(_, line)| hex(line)).unwrap_or_default();
        // Short fields have their name beside them, long ones above.
        if bytes.len() < PER_LINE {
            self.line(format!("    {at:>5}  {first:<25}{name:<11} {}", self.faint(note)))?;
            return Ok(());
        }
        self.line(format!("    {at:>5}  {:<25}{name:<11} {}", "", self.faint(note)))?;
        self.line(format!("           {first}"))?;
        for (i, line) in lines {
            if i == LINES {
                let left = bytes.len() - i * PER_LINE;
                return self.line(format!("           ... {left} more"));
            }
            self.line(format!("           {}", hex(line)))?;
        }
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(" ")
}

/// The beginning of a handshake message.
pub fn start_of(way: &Way) -> String {
    format!("{} ...", hex(way.handshake.get(..PER_LINE).unwrap_or_default()))
}

/// `22:31:07.123`, in UTC.
pub fn time_of_day(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs() % 86_400;
    let (h, m, s, ms) = (
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        since_1970.subsec_millis(),
    );
    format!("{h:02}:{m:02}:{s:02}.{ms:03}")
}

pub fn now() -> String {
    time_of_day(SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default())
}

/// `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `187 us`.
pub fn micros(took: Duration) -> String {
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    format!("{} us", grouped(us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures() {
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(n), text);
        }
        assert_eq!(
            time_of_day(Duration::from_millis(86_400_000 * 3 + 3_723_004)),
            "01:02:03.004"
        );
        assert_eq!(micros(Duration::from_nanos(1_234_567)), "1,234 us");
        assert_eq!(hex(&[0, 255]), "00 ff");
    }
}
