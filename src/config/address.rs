//! Where to listen and where to dial.
//!
//! Promises: an [`Address`] is well-formed; a name in it has not been looked up yet.
//! Must not know: sockets.

use std::{
    fmt, io,
    net::{SocketAddr, ToSocketAddrs},
};

/// A TCP address as an operator writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Ip(SocketAddr),
    /// Looked up anew each time it is used.
    Name {
        host: String,
        port: u16,
    },
}

impl Address {
    pub fn port(&self) -> u16 {
        match self {
            Address::Ip(address) => address.port(),
            Address::Name { port, .. } => *port,
        }
    }

    /// Every socket address it stands for. Blocks for as long as the system's resolver takes.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Address::Ip(address) => Ok(vec![*address]),
            Address::Name { host, port } => Ok((host.as_str(), *port).to_socket_addrs()?.collect()),
        }
    }

    /// One address to listen on; port 0 lets the system choose one.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("it is empty".into());
        }
        if text.starts_with("unix:") {
            return Err("Unix sockets are not supported yet".into());
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
            address if address.port() == 0 => Err("port 0 cannot be dialled".into()),
            address => Ok(address),
        }
    }
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
        ] {
            assert_eq!(Address::parse(text).map(|a| a.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_is_none_and_why() {
        let long = format!("{}:1", "a".repeat(64));
        for (text, why) in [
            ("", "empty"),
            ("unix:/run/wa/message_socket", "Unix sockets are not supported yet"),
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
