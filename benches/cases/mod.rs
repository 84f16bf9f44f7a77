//! The operations that are measured, each defined once: `layers` times them, `instructions` counts them.

mod frames;
mod links;
mod messages;

use wa_sidecar::crypto::suite::{Suite, Suites};

/// One call is one operation.
pub type Run = Box<dyn FnMut()>;

/// An operation.
pub struct Case {
    /// layer/what/of what.
    pub name: String,
    /// Bytes of an app that one operation moves.
    pub bytes: Option<u64>,
    /// Operations of a counted run: enough for what only every so many of them pay.
    pub rounds: usize,
    /// Prepares so many operations, and no more may be run.
    pub make: Box<dyn Fn(usize) -> Run + Sync>,
}

impl Case {
    fn new(name: impl Into<String>, rounds: usize, make: impl Fn(usize) -> Run + Sync + 'static) -> Self {
        Self {
            name: name.into(),
            bytes: None,
            rounds,
            make: Box::new(make),
        }
    }

    fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = Some(bytes as u64);
        self
    }
}

/// All of them, from the lowest layer up.
pub fn all() -> Vec<Case> {
    [frames::cases(), messages::cases(), links::cases()]
        .into_iter()
        .flatten()
        .collect()
}

/// Every suite of this build and host.
fn suites() -> Vec<(Suite, Suites)> {
    let chacha = (Suite::ChaCha20Poly1305, Suites::chacha20_poly1305());
    #[cfg(feature = "aws-lc")]
    if Suite::hardware_aes() {
        return vec![chacha, (Suite::Aes256Gcm, Suites::with_aes_256_gcm())];
    }
    vec![chacha]
}
