//! Several addresses as one text: a list, a range of ports, or both.
//!
//! Promises: what came out is in the order in which it was written, ranges spread out, at most [`MOST`] of them, none twice.
//! Must not know: sockets, services.

use super::Address;

/// Addresses in one list, ports of ranges included.
pub const MOST: usize = 1024;

/// Addresses to listen on.
pub fn parse(text: &str) -> Result<Vec<Address>, String> {
    list(text, Address::parse)
}

/// Addresses to dial.
pub fn parse_targets(text: &str) -> Result<Vec<Address>, String> {
    list(text, Address::parse_target)
}

fn list(text: &str, one: fn(&str) -> Result<Address, String>) -> Result<Vec<Address>, String> {
    let mut found = Vec::new();
    for (i, item) in text.split(',').enumerate() {
        let item = item.trim();
        let several = text.contains(',');
        let named = |cause: String| match several {
            true if item.is_empty() => format!("item {} of the list is empty", i + 1),
            true => format!("{item:?} in the list: {cause}"),
            false => cause,
        };
        match range(item).map_err(named)? {
            Some((host, first, last)) => {
                for port in first..=last {
                    found.push(one(&format!("{host}:{port}")).map_err(named)?);
                }
            }
            None => found.push(one(item).map_err(named)?),
        }
        if found.len() > MOST {
            return Err(format!("it has more than {MOST} addresses"));
        }
    }
    distinct(&found)?;
    Ok(found)
}

/// Two of one address: one would never be reached, or could not be bound.
fn distinct(addresses: &[Address]) -> Result<(), String> {
    let fixed = addresses.iter().filter(|address| !address.is_chosen());
    let mut seen = std::collections::HashSet::new();
    for address in fixed {
        if !seen.insert(address.to_string()) {
            return Err(format!("{address} is in it twice"));
        }
    }
    Ok(())
}

/// `HOST:6250-6253`: host, first and last port. `None`: it does not look like a range.
fn range(text: &str) -> Result<Option<(&str, u16, u16)>, String> {
    let Some((host, ports)) = text.rsplit_once(':') else {
        return Ok(None);
    };
    let Some((first, last)) = ports.split_once('-') else {
        return Ok(None);
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if text.starts_with("unix:") || !digits(first) || !digits(last) {
        return Ok(None);
    }
    let port = |text: &str| {
        text.parse::<u16>()
            .map_err(|_| format!("{text:?} is not a port number up to 65535"))
    };
    let (first, last) = (port(first)?, port(last)?);
    if first == 0 || last == 0 {
        return Err("port 0 cannot stand in a range: it lets the system choose".into());
    }
    if first > last {
        return Err(format!("the range runs backwards; did you mean {last}-{first}?"));
    }
    let ports = usize::from(last - first) + 1;
    if ports > MOST {
        return Err(format!("the range has {ports} ports, and {MOST} is the most"));
    }
    Ok(Some((host, first, last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        let found = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ranges_and_lists_keep_their_order() {
        assert_eq!(texts("127.0.0.1:6250"), ["127.0.0.1:6250"]);
        assert_eq!(
            texts("127.0.0.1:6252-6253, core-1.example:1,[::1]:6250-6251"),
            [
                "127.0.0.1:6252",
                "127.0.0.1:6253",
                "core-1.example:1",
                "[::1]:6250",
                "[::1]:6251"
            ]
        );
        assert_eq!(texts("h:7-7"), ["h:7"]);
        assert_eq!(texts("h:1-1024").len(), MOST);
        assert_eq!(texts("h:0,h:0").len(), 2, "the system chooses two");
    }

    #[test]
    fn what_is_none_and_why() {
        for (text, why) in [
            ("127.0.0.1:6253-6250", "backwards; did you mean 6250-6253?"),
            ("h:1-1025", "has 1025 ports, and 1024 is the most"),
            ("h:1-1024,h:2000", "more than 1024 addresses"),
            ("h:0-5", "port 0 cannot stand in a range"),
            ("h:1-65536", "\"65536\" is not a port number"),
            ("h:-5", "\"-5\" is not a port number"),
            ("h:5-", "\"5-\" is not a port number"),
            (":1-5", "it has no host"),
            ("::1:6250-6251", "in brackets"),
            ("h:1,", "item 2 of the list is empty"),
            ("h:1,h", "\"h\" in the list: it has no port"),
            ("h:1-3,h:3-5", "h:3 is in it twice"),
        ] {
            let cause = parse(text).expect_err(text);
            assert!(cause.contains(why), "{text}: {cause}");
        }
        assert!(parse_targets("h:1,h:0").is_err_and(|e| e.contains("cannot be dialled")));
    }
}
