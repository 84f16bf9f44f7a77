//! Where to listen and where to dial.
//!
//! Promises: an [`Address`] is well-formed; a name in it has not been looked up yet.
//! Must not know: sockets.

use std::{
    fmt, io,
    net::{SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
};

/// What an operator writes before the path of a Unix socket.
pub(super) const UNIX: &str = "unix:";
/// `sun_path` with its terminator, unix(7).
const MOST_PATH: usize = 107;

/// An address as an operator writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    Ip(SocketAddr),
    /// Looked up anew each time it is used.
    Name {
        host: String,
        port: u16,
    },
    /// An absolute path.
    Unix(PathBuf),
}

impl Address {
    /// 0 if it has none.
    pub fn port(&self) -> u16 {
        match self {
            Address::Ip(address) => address.port(),
            Address::Name { port, .. } => *port,
            Address::Unix(_) => 0,
        }
    }

    pub fn is_unix(&self) -> bool {
        matches!(self, Address::Unix(_))
    }

    /// Whether the system chooses the port: two of these are not one address.
    pub fn is_chosen(&self) -> bool {
        !self.is_unix() && self.port() == 0
    }

    /// Every socket address it stands for; a Unix socket has none. Blocks for as long as the system's resolver takes.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Address::Ip(address) => Ok(vec![*address]),
            Address::Name { host, port } => Ok((host.as_str(), *port).to_socket_addrs()?.collect()),
            Address::Unix(_) => Ok(Vec::new()),
        }
    }

    /// One address to listen on; port 0 lets the system choose one.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("it is empty".into());
        }
        if let Some(path) = text.strip_prefix(UNIX) {
            return check_path(path).map(Address::Unix);
        }
        if text.contains("://") || text.contains('/') {
            return Err("it is no URL: leave out the scheme and the path".into());
        }
        if text.contains(',') {
            return Err("one address stands here, not a list".into());
        }
        if let Ok(address) = text.parse() {
            return Ok(Address::Ip(address));
        }
        if text.starts_with('[') {
            return Err("the brackets hold no IPv6 address, or no port follows them".into());
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(if is_port(text) {
                "it has no host"
            } else {
                "it has no port"
            }
            .into());
        };
        if host.contains(':') {
            return Err("an IPv6 address stands in brackets: [::1]:6250".into());
        }
        if let Some((first, last)) = port.split_once('-')
            && is_port(first)
            && is_port(last)
        {
            return Err("one address stands here, not a range of ports".into());
        }
        if !is_port(port) {
            return Err(format!("{port:?} is not a port number up to 65535"));
        }
        let port = port
            .parse()
            .map_err(|_| format!("{port:?} is not a port number up to 65535"))?;
        check_host(host)?;
        Ok(Address::Name {
            host: host.to_owned(),
            port,
        })
    }

    /// One address to dial.
    pub fn parse_target(text: &str) -> Result<Self, String> {
        match Self::parse(text)? {
            address if address.is_chosen() => Err("port 0 cannot be dialled".into()),
            address => Ok(address),
        }
    }
}

fn check_path(path: &str) -> Result<PathBuf, String> {
    if !path.starts_with('/') {
        return Err("the path of a Unix socket starts with '/': unix:/run/wa/message_socket".into());
    }
    if path.len() > MOST_PATH {
        return Err(format!(
            "the path has {} bytes, and {MOST_PATH} is the most of a Unix socket",
            path.len()
        ));
    }
    if path.contains('\0') || path.ends_with('/') || path.contains(',') {
        return Err("the path names no file that can be a socket".into());
    }
    // The same file is the same address.
    Ok(Path::new(path).components().collect())
}

/// Digits alone: `u16::parse` would take `+80` too.
fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// RFC 1123 names, and the underscore that Docker's networks allow.
fn check_host(host: &str) -> Result<(), String> {
    let labels = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() {
        return Err("it has no host; every interface is 0.0.0.0 or [::]".into());
    }
    let fits = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    if labels.len() > 253 || !labels.split('.').all(fits) {
        return Err(format!("{host:?} is neither a host name nor an IP address"));
    }
    // No top-level domain is a number: this was meant to be an IPv4 address.
    if labels
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
    {
        return Err(format!("{host:?} is not an IPv4 address"));
    }
    Ok(())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Name { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_address() {
        for text in [
            "127.0.0.1:6250",
            "0.0.0.0:0",
            "[::1]:6250",
            "[fe80::1%2]:80",
            "core.example:7250",
            "a_b-1:1",
            "unix:/run/wa/message_socket",
        ] {
            assert_eq!(Address::parse(text).map(|a| a.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_is_none_and_why() {
        let long = format!("{}:1", "a".repeat(64));
        let deep = format!("unix:/{}", "a".repeat(107));
        for (text, why) in [
            ("", "empty"),
            ("unix:message_socket", "starts with '/'"),
            ("unix:@abstract", "starts with '/'"),
            ("unix:/run/wa/", "names no file"),
            (&deep, "107 is the most"),
            ("tcp://core:6250", "no URL"),
            ("127.0.0.1", "it has no port"),
            ("6250", "it has no host"),
            (":6250", "0.0.0.0 or [::]"),
            ("::1", "[::1]:6250"),
            ("::1:6250", "in brackets"),
            ("fe80::zz:1", "in brackets"),
            ("[::1]", "brackets"),
            ("[::g]:1", "brackets"),
            ("127.0.0.1:6250-6253", "one address stands here"),
            ("core:65536", "\"65536\" is not a port"),
            ("core:+80", "\"+80\" is not a port"),
            ("core:", "\"\" is not a port"),
            ("256.0.0.1:1", "not an IPv4 address"),
            ("10.0.1:1", "not an IPv4 address"),
            ("core host:1", "neither a host name"),
            ("core..example:1", "neither a host name"),
            (&long, "neither a host name"),
        ] {
            let cause = Address::parse(text).expect_err(text);
            assert!(cause.contains(why), "{text}: {cause}");
        }
        assert!(Address::parse_target("core:0").is_err());
    }
}
