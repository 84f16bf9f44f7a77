//! Services: what an app's connection is for, as OPEN names it (SPEC section 6).
//!
//! A list of addresses on both sides maps by position: the n-th listener opens streams to service `n`, and the n-th upstream is
//! service `n`, from 0. The empty service is the default, and that is position 0: what a single address uses.
//!
//! Promises: a [`Service`] fits into OPEN.
//! Must not know: sockets, links.

use std::{collections::HashMap, fmt};

use super::Address;
use crate::wire::Name;

/// A service by its name on the wire: empty, or 1 to 64 bytes of a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Service(String);

impl Service {
    /// Of the listener at `position` among `of`.
    pub fn at(position: usize, of: usize) -> Self {
        Self(if of == 1 { String::new() } else { position.to_string() })
    }

    pub fn named(name: &Name) -> Self {
        Self(name.to_string())
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The default by its position.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "0" } else { &self.0 })
    }
}

/// What a coreapp side dials, by service. Nothing else is ever dialled.
#[derive(Debug, Clone)]
pub struct Targets {
    by_name: HashMap<Vec<u8>, Target>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub service: Service,
    pub address: Address,
}

impl Targets {
    pub fn by_position(addresses: &[Address]) -> Self {
        let mut by_name = HashMap::new();
        for (position, address) in addresses.iter().enumerate() {
            let target = Target {
                service: Service(position.to_string()),
                address: address.clone(),
            };
            if position == 0 {
                by_name.insert(Vec::new(), target.clone());
            }
            by_name.insert(position.to_string().into_bytes(), target);
        }
        Self { by_name }
    }

    /// One more, by name.
    pub fn add(&mut self, name: Name, address: Address) {
        let service = Service::named(&name);
        self.by_name
            .insert(name.as_bytes().to_vec(), Target { service, address });
    }

    pub fn find(&self, service: &[u8]) -> Option<&Target> {
        self.by_name.get(service)
    }

    /// Each once, in order.
    pub fn all(&self) -> Vec<&Target> {
        let mut all: Vec<_> = self
            .by_name
            .iter()
            .filter(|(name, _)| !name.is_empty())
            .map(|(_, target)| target)
            .collect();
        all.sort_by_key(|target| (target.service.0.len(), &target.service.0));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_position_and_the_default_is_the_first() {
        let addresses = super::super::addresses::parse("h:10-21").expect("a range");
        let targets = Targets::by_position(&addresses);
        let found = |service: &[u8]| targets.find(service).map(|target| target.address.port());
        assert_eq!((found(b""), found(b"0"), found(b"11")), (Some(10), Some(10), Some(21)));
        assert_eq!((found(b"12"), found(b"00"), found(b"health")), (None, None, None));
        let services: Vec<_> = targets.all().iter().map(|target| target.service.to_string()).collect();
        assert_eq!(services, (0..12).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(
            (Service::at(0, 1).as_bytes(), Service::at(0, 2).as_bytes()),
            (&b""[..], &b"0"[..])
        );
        assert_eq!(Service::at(0, 1).to_string(), "0");
    }
}
