//! How long to wait before the next broker. Pure: the time is an argument.

use std::collections::VecDeque;

/// Only ends within this time count.
const WINDOW_MS: u64 = 60_000;
/// A broker that has run for so long is as good as new: what was before is forgotten.
const QUIET_MS: u64 = 10_000;
/// So many ends within the window cost nothing but the shortest delay.
const FREE: usize = 5;
/// Shortest delay.
const SHORTEST_MS: u64 = 20;
/// Longest delay after a broker that was ready.
const LONGEST_READY_MS: u64 = 1_000;
/// Longest delay after one that never was: it will not help to hurry.
const LONGEST_MS: u64 = 10_000;

/// The ends of brokers within the window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backoff {
    /// When they ended, oldest first.
    ends: VecDeque<u64>,
}

impl Backoff {
    /// A broker ended at `now_ms`, after `lived_ms`. How many milliseconds to wait before the next one.
    ///
    /// It never gives up: the delay stops rising at a second if the last one was `ready`, else at ten.
    #[must_use]
    pub fn ended(&mut self, now_ms: u64, lived_ms: u64, ready: bool) -> u64 {
        if ready && lived_ms >= QUIET_MS {
            self.ends.clear();
        }
        self.ends.push_back(now_ms);
        while self.ends.front().is_some_and(|end| now_ms.saturating_sub(*end) > WINDOW_MS) {
            self.ends.pop_front();
        }
        let over = self.ends.len().saturating_sub(FREE).min(16);
        let longest = if ready { LONGEST_READY_MS } else { LONGEST_MS };
        (SHORTEST_MS << over).min(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_few_are_replaced_at_once_and_then_it_takes_longer_and_longer() {
        let mut b = Backoff::default();
        let delays: Vec<u64> = (0..16u64).map(|i| b.ended(i * 10, 5, false)).collect();
        assert_eq!(delays[..5], [20; 5]);
        assert!(delays.windows(2).all(|w| w[0] <= w[1]), "{delays:?}");
        assert_eq!(delays[15], LONGEST_MS);
    }

    /// Original defect D29: three restarts in the life of the server, then never again.
    #[test]
    fn d29_it_never_gives_up() {
        let mut b = Backoff::default();
        let mut now = 0;
        for _ in 0..10_000 {
            let delay = b.ended(now, 5, false);
            assert!((SHORTEST_MS..=LONGEST_MS).contains(&delay));
            now += delay;
        }
        assert!(b.ends.len() < 100, "and does not remember for ever");
    }

    #[test]
    fn brokers_that_were_ready_are_back_within_a_second_however_often_they_die() {
        let mut b = Backoff::default();
        assert!((0..300u64).all(|i| b.ended(i * 50, 30, true) <= LONGEST_READY_MS));
    }

    #[test]
    fn a_quiet_time_and_the_passing_of_the_window_make_it_forget() {
        let mut b = Backoff::default();
        for i in 0..20 {
            let _ = b.ended(i, 1, false);
        }
        assert_eq!(b.clone().ended(30, QUIET_MS, true), SHORTEST_MS);
        assert_eq!(b.clone().ended(30, QUIET_MS, false), LONGEST_MS, "not if it never worked");
        assert_eq!(b.ended(19 + WINDOW_MS + 1, 1, false), SHORTEST_MS);
    }
}
