//! The kernel's randomness, for the layers below that take it as an argument.

/// 32 random bytes. A kernel that cannot give them is one that no key may be made on: the process ends.
pub fn bytes() -> [u8; 32] {
    let mut out = [0; 32];
    if let Err(error) = getrandom::fill(&mut out) {
        tracing::error!(event = "no_randomness", reason = %error, "getrandom(2) failed");
        std::process::abort();
    }
    out
}
