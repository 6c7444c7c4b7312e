//! A panic in our code ends here, as a status; it never unwinds through C.

use super::log::log_anywhere;
use crate::message;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `f`; a panic in it is logged, and `fallback` is the result.
pub(super) fn guard<T>(what: &'static str, fallback: T, f: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => value,
        Err(payload) => {
            let text = payload
                .downcast_ref::<&'static str>()
                .map(|s| (*s).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            // Dropping a foreign payload may panic once more.
            #[allow(clippy::mem_forget, reason = "a panic while dropping it would leave extern \"C\"")]
            core::mem::forget(payload);
            log_anywhere(message::PANIC, &format!("bug: panic in {what}: {text}"));
            fallback
        }
    }
}
