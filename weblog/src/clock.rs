//! The two clocks, read once per turn of the loop and passed down as a value.

use rustix::time::{ClockId, clock_gettime};

/// One instant on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on a clock that never jumps (`CLOCK_BOOTTIME`, so that a suspended machine does not prolong anything).
    pub ms: u64,
    /// Seconds since 1970 UTC, for what a token says.
    pub unix_s: i64,
}

impl Now {
    /// Reads both clocks.
    #[must_use]
    pub fn read() -> Self {
        let steady = clock_gettime(ClockId::Boottime);
        let wall = clock_gettime(ClockId::Realtime);
        let seconds = u64::try_from(steady.tv_sec).unwrap_or(0);
        let millis = u64::try_from(steady.tv_nsec).unwrap_or(0) / 1_000_000;
        Self { ms: seconds.saturating_mul(1000).saturating_add(millis), unix_s: wall.tv_sec }
    }
}
