//! A panic ends the process at once, in every build.
//!
//! Unwinding would drop sockets one after the other while the process goes on: links would end in order that are not in
//! order, and half of a sidecar would stay up. An abort leaves everything to the kernel, and app sockets have zero linger
//! from birth: the apps see RST.
//!
//! Must not know: what panicked.

use crate::logs;
use std::panic::{self, PanicHookInfo};

/// From now on a panic on any thread logs one line and aborts.
pub fn abort_on_panic() {
    panic::set_hook(Box::new(|info| {
        let reason = text(info);
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        if logs::is_on() {
            tracing::error!(
                event = "panic",
                reason,
                location,
                "a bug in wa-sidecar: it aborts, and every open connection is reset. Please report this line"
            );
            logs::flush();
        } else {
            eprintln!("wa-sidecar: a bug, at {location}: {reason}. Please report this line");
        }
        std::process::abort();
    }));
}

fn text<'a>(info: &'a PanicHookInfo<'_>) -> &'a str {
    let payload = info.payload();
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}

/// Panics when stream `id` is opened, if a test asked for that. Not in release builds.
pub fn injected_at_stream(id: u32) {
    #[cfg(debug_assertions)]
    {
        static AT: std::sync::OnceLock<Option<u32>> = std::sync::OnceLock::new();
        let at = AT.get_or_init(|| std::env::var("SIDECAR_TEST_PANIC_AT_STREAM").ok()?.parse().ok());
        assert!(*at != Some(id), "injected by a test at stream {id}");
    }
    #[cfg(not(debug_assertions))]
    let _ = id;
}
