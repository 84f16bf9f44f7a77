//! The one table of settings: flags, environment, defaults, help and advice all come from here.
//!
//! Promises: whatever `--help` says of a setting is what happens. A row is a flag (`--max-links`), an environment
//! variable (`WA_MAX_LINKS`) and, by its name, a key of a file.
//! Must not know: where a value came from, or what is done with it.

use super::RoleName::{self, Coreapp, Webapp};

#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub value_name: &'static str,
    pub help: &'static str,
    /// What is right, for somebody who got it wrong.
    pub form: &'static str,
    pub example: &'static str,
    /// Written as the operator would; parsed like everything else.
    pub default: Option<&'static str>,
    pub roles: &'static [RoleName],
    /// `--name` alone means `--name=true`.
    pub switch: bool,
    /// In a file it belongs to a `[[webapp]]` or `[[coreapp]]`, not to the whole process.
    pub per_table: bool,
}

impl Key {
    pub fn flag(&self) -> String {
        format!("--{}", self.name)
    }

    /// The key of a file.
    pub fn in_file(&self) -> String {
        self.name.replace('-', "_")
    }

    /// A value as a file has it.
    pub fn as_toml(&self, value: &str) -> String {
        let number = value.parse::<u32>().is_ok_and(|n| n.to_string() == value);
        let switch = self.switch && matches!(value, "true" | "false");
        if number || switch {
            return value.to_owned();
        }
        let quoted = |text: &str| toml_text(text.trim());
        match value.contains(',') && self.per_table {
            true => format!("[{}]", value.split(',').map(quoted).collect::<Vec<_>>().join(", ")),
            false => quoted(value),
        }
    }

    pub fn variable(&self) -> String {
        format!("WA_{}", self.name.replace('-', "_").to_ascii_uppercase())
    }
}

/// A basic string of TOML. Rust's own quoting is almost that.
pub fn toml_text(text: &str) -> String {
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}

const BOTH: &[RoleName] = &[Webapp, Coreapp];
const ADDRESS_FORM: &str = "HOST:PORT, where HOST is an IPv4 address, an IPv6 address in brackets, or a host name; or \
     unix:/PATH";
const ADDRESSES_FORM: &str = "HOST:PORT, where HOST is an IPv4 address, an IPv6 address in brackets, or a host name; \
     also unix:/PATH, a range of up to 1024 ports, HOST:FIRST-LAST, and a list of these, joined by commas";
const NAME_FORM: &str = "1 to 64 letters, digits, '.', '_' or '-'";

const fn key(name: &'static str, value_name: &'static str, help: &'static str) -> Key {
    Key {
        name,
        value_name,
        help,
        form: "",
        example: "",
        default: None,
        roles: BOTH,
        switch: false,
        per_table: false,
    }
}

impl Key {
    const fn right(self, form: &'static str, example: &'static str) -> Self {
        Self { form, example, ..self }
    }
    const fn default(self, text: &'static str) -> Self {
        Self {
            default: Some(text),
            ..self
        }
    }
    const fn per_table(self) -> Self {
        Self {
            per_table: true,
            ..self
        }
    }
    const fn only(self, roles: &'static [RoleName]) -> Self {
        Self { roles, ..self }
    }
}

pub static LISTEN: Key = key(
    "listen",
    "ADDRESSES",
    "Accept here: the app (webapp), or the webapp's sidecar (coreapp); ports in order",
)
.right(ADDRESSES_FORM, "127.0.0.1:6250")
.per_table();
pub static PEER: Key = key("peer", "ADDRESS", "The coreapp's sidecar, to dial")
    .right(ADDRESS_FORM, "core.example:7250")
    .only(&[Webapp])
    .per_table();
pub static UPSTREAM: Key = key("upstream", "ADDRESSES", "The real Coreapp, to dial; ports in order")
    .right(ADDRESSES_FORM, "127.0.0.1:6250")
    .only(&[Coreapp])
    .per_table();
pub static SERVICES: Key = key(
    "services",
    "NAMES",
    "What --listen's addresses are for, in their order; else their positions: 0, 1, 2",
)
.right("names joined by commas, one for each address of --listen", "health")
.only(&[Webapp])
.per_table();
/// Of `run` and `health`; not in the file itself.
pub static CONFIG: Key = key(
    "config",
    "FILE",
    "The configuration: tables [[webapp]] and [[coreapp]], and these flags",
)
.right("the name of a TOML file", "wa-sidecar.toml");
pub static DEPLOYMENT: Key = key(
    "deployment",
    "NAME",
    "Only sidecars of one deployment understand each other",
)
.right(NAME_FORM, "staging")
.default("default");
pub static NAME: Key = key("name", "NAME", "Who this sidecar is").right(NAME_FORM, "node-1");
pub static PEER_NAME: Key = key(
    "peer-name",
    "NAME",
    "Whom --peer must be: a sidecar with another --name refuses the link",
)
.right(NAME_FORM, "node-2")
.only(&[Webapp])
.per_table();
pub static ADMIN: Key = key(
    "admin",
    "ADDRESS",
    "Serve /metrics, /livez, /readyz and /status here; 'off' does not",
)
.right("HOST:PORT, unix:/PATH, or 'off'", "127.0.0.1:9464")
.default("127.0.0.1:9464");
pub static CIPHER: Key = key(
    "cipher",
    "SUITE",
    "'auto' takes AES-256-GCM where both hosts have it in hardware; or 'chacha20poly1305'",
)
.right("'auto' or 'chacha20poly1305'", "auto")
.default("chacha20poly1305");
pub static WORKERS: Key = key(
    "workers",
    "N",
    "Threads that move data; 'auto' is 1 on up to 2 cores, else half, to 4",
)
.right("'auto', or a whole number from 1 to 64", "2")
.default("auto");
pub static BUFFER_BUDGET: Key = key(
    "buffer-budget",
    "SIZE",
    "Memory for what apps have not taken yet; 'auto' is 16MiB, more with more workers or streams, at most half of a memory limit",
)
.right("'auto', or a size from 1MiB to 64GiB, in KiB, MiB or GiB", "16MiB")
.default("auto");
pub static MAX_LINKS: Key = key("max-links", "N", "Links at a time")
    .right("a whole number from 1 to 65535", "64")
    .default("64");
pub static MAX_STREAMS: Key = key("max-streams", "N", "App connections on one link at a time")
    .right("a whole number from 1 to 65535", "1024")
    .default("1024");
pub static MAX_DIALS: Key = key(
    "max-dials",
    "N",
    "Dials of one --upstream address under way at a time; as many again wait",
)
.right("a whole number from 1 to 65535", "256")
.default("256")
.only(&[Coreapp]);
pub static MAX_WAITING: Key = key("max-waiting", "N", "App connections that wait while no link is up")
    .right("a whole number from 1 to 65535", "256")
    .default("256")
    .only(&[Webapp]);
pub static DIAL_TIMEOUT: Key = key("dial-timeout", "TIME", "How long a connect to --upstream may take")
    .right("a time from 1ms to 5m, in ms, s or m", "5s")
    .default("5s")
    .only(&[Coreapp]);
pub static SOCKET_MODE: Key = key("socket-mode", "MODE", "Who may connect to the Unix sockets made here")
    .right("an octal mode of a file, up to 0777", "0660")
    .default("0660");
pub static DRAIN_TIMEOUT: Key = key(
    "drain-timeout",
    "TIME",
    "How long open connections may go on after SIGTERM",
)
.right("a time from 0s to 60m, in ms, s or m", "25s")
.default("25s");
pub static LOG: Key = key("log", "FILTER", "What is logged")
    .right(
        "off, error, warn, info, debug or trace, also by module, joined by commas",
        "info,wa_sidecar::net=debug",
    )
    .default("info");
pub static LOG_FORMAT: Key = key("log-format", "FORMAT", "'text' or 'json'")
    .right("'text' or 'json'", "json")
    .default("text");
pub static ALLOW_WEAK_SECRET: Key = Key {
    switch: true,
    ..key(
        "allow-weak-secret",
        "BOOL",
        "Take a secret that can be guessed from one recorded handshake",
    )
    .right("true or false", "true")
    .default("false")
};

/// In the order in which `--help` and `check` list them.
pub static ALL: [&Key; 21] = [
    &LISTEN,
    &PEER,
    &UPSTREAM,
    &SERVICES,
    &DEPLOYMENT,
    &NAME,
    &PEER_NAME,
    &ADMIN,
    &CIPHER,
    &WORKERS,
    &BUFFER_BUDGET,
    &MAX_LINKS,
    &MAX_STREAMS,
    &MAX_DIALS,
    &MAX_WAITING,
    &DIAL_TIMEOUT,
    &SOCKET_MODE,
    &DRAIN_TIMEOUT,
    &LOG,
    &LOG_FORMAT,
    &ALLOW_WEAK_SECRET,
];
