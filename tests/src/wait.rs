//! Waiting: by looking again and again, with a deadline, never by a bare sleep.

use anyhow::{Result, bail};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(15);

/// The variable that says how many times longer everything may take here; unset where the processor is real.
pub const SLOW_FACTOR: &str = "AFSWEB_SLOW_FACTOR";

/// How many times longer everything may take here.
///
/// Every deadline of this module and of [`crate::process`] is multiplied by it; a deadline of a test's own should be, too.
#[must_use]
pub fn slow_factor() -> u32 {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    *FACTOR.get_or_init(|| std::env::var(SLOW_FACTOR).ok().and_then(|v| v.parse().ok()).unwrap_or(1).max(1))
}

/// Asks `probe` until it has an answer; its error ends the wait.
///
/// # Errors
/// The probe's, or that `what` did not happen within `limit`.
pub fn until<T>(what: &str, limit: Duration, probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    until_every(PAUSE, what, limit, probe)
}

/// As [`until`], with a longer pause between two looks, where a look costs something.
///
/// # Errors
/// As [`until`].
pub fn until_every<T>(
    pause: Duration,
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let limit = limit * slow_factor();
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = probe()? {
            return Ok(found);
        }
        if Instant::now() >= end {
            bail!("{what}: not within {} s", limit.as_secs_f32());
        }
        std::thread::sleep(pause);
    }
}

/// As [`until`], for a condition.
///
/// # Errors
/// As [`until`].
pub fn until_true(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<bool>) -> Result<()> {
    until(what, limit, || Ok(probe()?.then_some(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_when_it_happened() {
        let mut n = 0;
        let answer = until("counting", Duration::from_secs(5), || {
            n += 1;
            Ok((n == 3).then_some(n))
        });
        assert_eq!(answer.unwrap(), 3);
    }

    #[test]
    fn ends_at_the_deadline_and_says_what_for() {
        let e = until_true("the moon", Duration::from_millis(20), || Ok(false)).unwrap_err();
        assert!(e.to_string().starts_with("the moon"), "{e}");
    }
}
