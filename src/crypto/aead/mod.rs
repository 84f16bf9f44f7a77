//! Seal and open in place with one key (RFC 8439, NIST SP 800-38D).
//!
//! Promises: the key object is made once per generation, a frame costs no allocation; every backend gives the same bytes.
//! Must not know: counters, nonces' making, headers.
//!
//! `aws` is the backend with the feature `aws-lc`, and `ring` beside it for AES on some hosts (`fastest` chooses); `portable` is the
//! one without it. `portable` is always compiled: it is the Noise cipher, and in tests the oracle that the others are compared with.
//! `absent` is in no build but one of the benches.

#[cfg(wa_bench_without_aead)]
mod absent;
#[cfg(feature = "aws-lc")]
mod aws;
#[cfg(feature = "aws-lc")]
mod fastest;
mod portable;
#[cfg(all(feature = "ring", target_arch = "x86_64"))]
mod ring;

#[cfg(wa_bench_without_aead)]
pub(super) use absent::Key;
#[cfg(all(feature = "aws-lc", not(wa_bench_without_aead)))]
pub(super) use fastest::Key;
pub(super) use portable::Key as PortableKey;
#[cfg(not(any(feature = "aws-lc", wa_bench_without_aead)))]
pub(super) use portable::Key;

pub(super) const KEY_LEN: usize = 32;
pub(super) const NONCE_LEN: usize = 12;
pub(super) const TAG_LEN: usize = 16;

/// The tag did not fit, or there is more to seal than the AEAD allows (far above [`MAX_FRAME`](crate::wire::frame::MAX_FRAME)).
/// What was to be opened is not to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failed;

#[cfg(test)]
mod tests;
