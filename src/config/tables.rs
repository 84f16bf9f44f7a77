//! The tables of a configuration: who is accepted where, and where that goes.
//!
//! One comes from flags and variables (`webapp`, `coreapp`), any number from a file (`run`).
//!
//! Must not know: what is done with them.

use super::{
    Address, ConfigError, Coreapp, Effective, FileError, Key, Origin, RoleName, Section, Service, Targets, Webapp,
    What, addresses, file::Place, keys, origin::Resolver, values,
};
use crate::wire::Name;

pub(super) fn tables(what: What, from: &mut Resolver<'_>) -> Result<(Vec<Webapp>, Vec<Coreapp>), ConfigError> {
    let (of_webapp, of_coreapp) = match (what, from.file) {
        (What::Role(RoleName::Webapp), _) => (1, 0),
        (What::Role(RoleName::Coreapp), _) => (0, 1),
        (What::Run, Some(file)) => (file.webapps.len(), file.coreapps.len()),
        (What::Run, None) => (0, 0),
    };
    if let Some(path) = from.file.map(|file| &file.path).filter(|_| of_webapp + of_coreapp == 0) {
        let place = Place {
            path: path.clone(),
            line: 1,
        };
        let text = "there is no table [[webapp]] and none [[coreapp]]: nothing to do\n  See:  wa-sidecar run --help";
        return Err(wrong(&place, text.to_owned()));
    }
    let mut webapps = Vec::new();
    for i in 0..of_webapp {
        from.section = Section::Webapp(i);
        webapps.push(webapp(from)?);
    }
    let mut coreapps = Vec::new();
    for i in 0..of_coreapp {
        from.section = Section::Coreapp(i);
        coreapps.push(coreapp(from)?);
    }
    named(&webapps, from)?;
    from.section = Section::Top;
    Ok((webapps, coreapps))
}

fn webapp(from: &mut Resolver<'_>) -> Result<Webapp, ConfigError> {
    let listen = from.required(&keys::LISTEN, addresses::parse)?;
    let of = listen.len();
    let names = from.optional(&keys::SERVICES, |text| {
        let names = text.split(',').map(|name| values::name(name.trim()));
        let names = names.collect::<Result<Vec<_>, _>>()?;
        match names.len() {
            n if n == of => Ok(names),
            n => Err(format!("it has {n} names, and listen has {of} addresses")),
        }
    })?;
    let services = match names {
        Some(names) => names.iter().map(Service::named).collect(),
        None => (0..of).map(|position| Service::at(position, of)).collect(),
    };
    Ok(Webapp {
        listen,
        services,
        peer: from.required(&keys::PEER, Address::parse_target)?,
        peer_name: from.optional(&keys::PEER_NAME, values::name)?,
    })
}

fn coreapp(from: &mut Resolver<'_>) -> Result<Coreapp, ConfigError> {
    let listen = from.required(&keys::LISTEN, addresses::parse)?;
    let named = from.table().map(|table| table.services.as_slice()).unwrap_or_default();
    let upstream = match named {
        [] => from.required(&keys::UPSTREAM, addresses::parse_targets)?,
        _ => from
            .optional(&keys::UPSTREAM, addresses::parse_targets)?
            .unwrap_or_default(),
    };
    let mut targets = Targets::by_position(&upstream);
    for (text, entry) in named {
        let key: &'static Key = &keys::SERVICES;
        let origin = Origin::File(entry.place.clone());
        let wrong = |text: String| wrong(&entry.place, text);
        let name = values::name(text).map_err(|cause| wrong(format!("service {text:?}: {cause}")))?;
        if text.bytes().all(|b| b.is_ascii_digit()) {
            let cause =
                format!("service {text:?} is a number, and these are the positions of upstream: give it a name");
            return Err(wrong(cause));
        }
        let address = Address::parse_target(&entry.value).map_err(|cause| {
            wrong(format!(
                "service {text} has {:?}: {cause}\n  Right is: {}",
                entry.value,
                keys::PEER.form
            ))
        })?;
        targets.add(name, address);
        from.effective.push(Effective {
            section: from.section,
            key,
            service: Some(text.clone()),
            value: entry.value.clone(),
            origin,
        });
    }
    Ok(Coreapp { listen, targets })
}

fn wrong(place: &Place, text: String) -> ConfigError {
    let place = place.clone();
    FileError::Wrong { place, text }.into()
}

/// One secret opens every node, so with several peers each is named: else a link for one could be steered to another.
fn named(webapps: &[Webapp], from: &Resolver<'_>) -> Result<(), ConfigError> {
    let several = webapps.iter().any(|webapp| webapp.peer != webapps[0].peer);
    let nameless = |webapp: &Webapp| -> bool { Option::<Name>::is_none(&webapp.peer_name) };
    match (webapps.iter().position(nameless), from.file) {
        (Some(i), Some(file)) if several => {
            let Some(table) = file.webapps.get(i) else {
                return Ok(());
            };
            let key = keys::PEER_NAME.in_file();
            let text = format!(
                "this table has no {key}, and there are several peers: one secret opens them all, so each must be named\n  \
                 For example:  {key} = \"node-2\"  here, and  --name node-2  at that peer"
            );
            Err(wrong(&table.place, text))
        }
        _ => Ok(()),
    }
}
