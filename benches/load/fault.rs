//! What can go wrong with one operation, in classes that can be counted.
//!
//! Promises: a run keeps a count a class and the first example of each, whatever the far end does.

use std::io;

/// EMFILE (errno(3)).
const TOO_MANY_FILES: i32 = rustix::io::Errno::MFILE.raw_os_error();

/// The class of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nobody listens.
    Refused,
    /// The far end broke the connection.
    Reset,
    /// An orderly end before the answer was whole.
    Short,
    /// The answer is no 2xx.
    Status,
    /// No HTTP/1.1 answer.
    Malformed,
    /// The answer is whole but not what was asked for.
    Content,
    /// Nothing came within `--timeout`.
    Timeout,
    /// What the system says otherwise: no route, no port left, no descriptor left.
    System,
}

impl Kind {
    /// All of them, in the order of tables.
    pub const ALL: [Kind; 8] = [
        Kind::Refused,
        Kind::Reset,
        Kind::Short,
        Kind::Status,
        Kind::Malformed,
        Kind::Content,
        Kind::Timeout,
        Kind::System,
    ];

    /// As in tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Refused => "refused",
            Kind::Reset => "reset",
            Kind::Short => "short_answer",
            Kind::Status => "wrong_status",
            Kind::Malformed => "malformed",
            Kind::Content => "wrong_content",
            Kind::Timeout => "timeout",
            Kind::System => "system",
        }
    }
}

/// One failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    pub detail: String,
}

impl Fault {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Fault {
        Fault {
            kind,
            detail: detail.into(),
        }
    }

    /// An error of a connect.
    pub fn connect(error: &io::Error) -> Fault {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Fault::new(Kind::Refused, "connect: refused"),
            io::ErrorKind::ConnectionReset => Fault::new(Kind::Reset, "connect: reset"),
            _ if error.raw_os_error() == Some(TOO_MANY_FILES) => Fault::new(
                Kind::System,
                format!("connect: {error}; a connection is one: fewer of them, or `ulimit -Hn 65536` as root"),
            ),
            _ => Fault::new(Kind::System, format!("connect: {error}")),
        }
    }

    /// An error of a read or write.
    pub fn transfer(doing: &str, error: &io::Error) -> Fault {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
                Fault::new(Kind::Reset, format!("{doing}: {error}"))
            }
            io::ErrorKind::TimedOut => Fault::new(Kind::Timeout, format!("{doing}: {error}")),
            _ => Fault::new(Kind::System, format!("{doing}: {error}")),
        }
    }
}

/// Counts of failures by class.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    rows: [(u64, Option<String>); Kind::ALL.len()],
}

impl Faults {
    pub fn add(&mut self, fault: Fault) {
        let row = &mut self.rows[fault.kind as usize];
        row.0 += 1;
        row.1.get_or_insert(fault.detail);
    }

    pub fn merge(&mut self, other: Faults) {
        for (row, (count, example)) in self.rows.iter_mut().zip(other.rows) {
            row.0 += count;
            if row.1.is_none() {
                row.1 = example;
            }
        }
    }

    pub fn total(&self) -> u64 {
        self.rows.iter().map(|row| row.0).sum()
    }

    /// Class, count, first example; classes without any are left out.
    pub fn rows(&self) -> impl Iterator<Item = (Kind, u64, &str)> {
        Kind::ALL
            .iter()
            .zip(&self.rows)
            .filter(|(_, row)| row.0 > 0)
            .map(|(&kind, row)| (kind, row.0, row.1.as_deref().unwrap_or_default()))
    }
}
