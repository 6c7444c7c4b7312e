//! When a guest has to be given up; pure, `now` is an argument.

use std::time::{Duration, Instant};

/// Time from the start of the emulator to the first sign of life; 4 s on an idle machine.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// No guest that lives is silent for so long; it gives a sign every two seconds.
const SILENCE_LIMIT: Duration = Duration::from_secs(90);

/// What is known of a guest's life.
#[derive(Debug)]
pub(super) struct Watch {
    began: Instant,
    last_sign: Option<Instant>,
    limit: Duration,
}

impl Watch {
    /// Begins; nothing in all lasts longer than `limit`.
    pub(super) fn new(now: Instant, limit: Duration) -> Self {
        Self { began: now, last_sign: None, limit }
    }

    /// A sign of life.
    pub(super) fn sign(&mut self, now: Instant) {
        self.last_sign = Some(now);
    }

    /// Why it has to be given up, if so.
    pub(super) fn verdict(&self, now: Instant) -> Option<String> {
        let ran = now.saturating_duration_since(self.began);
        if ran >= self.limit {
            return Some(format!("the guest ran longer than {} s", self.limit.as_secs()));
        }
        match self.last_sign {
            None if ran >= BOOT_LIMIT => {
                Some(format!("the guest gave no sign of life within {} s", BOOT_LIMIT.as_secs()))
            }
            Some(last) if now.saturating_duration_since(last) >= SILENCE_LIMIT => {
                Some(format!("the guest has been silent for {} s", SILENCE_LIMIT.as_secs()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(signs: &[u64], now: u64, word: Option<&str>) {
        let began = Instant::now();
        let at = |s: u64| began + Duration::from_secs(s);
        let mut watch = Watch::new(began, Duration::from_secs(1000));
        for &s in signs {
            watch.sign(at(s));
        }
        let verdict = watch.verdict(at(now));
        assert_eq!(verdict.is_some(), word.is_some(), "{signs:?} at {now}: {verdict:?}");
        assert!(verdict.is_none_or(|v| v.contains(word.unwrap_or_default())));
    }

    #[test]
    fn a_guest_that_does_not_boot_is_given_up() {
        check(&[], 119, None);
        check(&[], 120, Some("no sign of life"));
    }

    #[test]
    fn a_guest_that_falls_silent_is_given_up() {
        check(&[100], 189, None);
        check(&[100, 102], 190, None);
        check(&[100], 190, Some("silent"));
    }

    #[test]
    fn a_guest_that_lives_too_long_is_given_up() {
        check(&[998], 999, None);
        check(&[999], 1000, Some("longer"));
    }
}
