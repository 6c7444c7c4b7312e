//! When to stop asking a cell that does not answer, and when to try again.
//!
//! Pure; one per cell. A login that got no answer opens it; for a few seconds nothing is asked then, after that one
//! login goes through as a probe. Each probe without an answer doubles the pause, any answer closes it.

use crate::logins::LoginId;

/// First pause after a login without an answer.
const PAUSE_MS: u64 = 3_000;
/// Longest pause.
const PAUSE_MAX_MS: u64 = 24_000;

/// The state of one cell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Breaker {
    state: State,
    last_answer_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum State {
    /// All logins go through.
    #[default]
    Closed,
    /// None does before `until_ms`.
    Open { until_ms: u64, pause_ms: u64 },
    /// One is under way.
    Probing { probe: LoginId, pause_ms: u64 },
}

/// May a login go through?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Yes.
    Pass,
    /// Yes, as the probe: tell [`Breaker::probe`] its number.
    Probe,
    /// No: the cell did not answer lately.
    Stop,
}

impl Breaker {
    /// What a new login may do.
    #[must_use]
    pub fn gate(&self, now_ms: u64) -> Gate {
        match self.state {
            State::Closed => Gate::Pass,
            State::Open { until_ms, .. } if now_ms >= until_ms => Gate::Probe,
            State::Open { .. } | State::Probing { .. } => Gate::Stop,
        }
    }

    /// `login` is the probe now.
    pub fn probe(&mut self, login: LoginId) {
        if let State::Open { pause_ms, .. } = self.state {
            self.state = State::Probing { probe: login, pause_ms };
        }
    }

    /// A login ended with an answer of the cell, whichever. Says whether the state changed.
    pub fn answered(&mut self, now_ms: u64) -> bool {
        let changed = self.state != State::Closed;
        self.state = State::Closed;
        self.last_answer_ms = Some(now_ms);
        changed
    }

    /// A login that began at `began_ms` ended without an answer. Says whether the state changed.
    ///
    /// Nothing changes if the cell answered another login that began no earlier: then it is not the cell.
    pub fn silent(&mut self, login: LoginId, began_ms: u64, now_ms: u64) -> bool {
        let pause_ms = match self.state {
            State::Closed if self.last_answer_ms.is_some_and(|at| at > began_ms) => return false,
            State::Closed => PAUSE_MS,
            State::Open { .. } => return false,
            State::Probing { probe, .. } if probe != login => return false,
            State::Probing { pause_ms, .. } => pause_ms.saturating_mul(2).min(PAUSE_MAX_MS),
        };
        self.state = State::Open { until_ms: now_ms.saturating_add(pause_ms), pause_ms };
        true
    }

    /// A login ended for a reason that says nothing about the cell. A probe is tried again soon.
    pub fn inconclusive(&mut self, login: LoginId, now_ms: u64) {
        match self.state {
            State::Probing { probe, pause_ms } if probe == login => {
                self.state = State::Open { until_ms: now_ms, pause_ms };
            }
            _ => {}
        }
    }

    /// Whether logins are being refused at `now_ms`.
    #[must_use]
    pub fn is_open(&self, now_ms: u64) -> bool {
        self.gate(now_ms) == Gate::Stop
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: LoginId = LoginId(1);
    const B: LoginId = LoginId(2);

    #[test]
    fn one_login_without_an_answer_stops_the_next_ones_for_a_while() {
        let mut b = Breaker::default();
        assert_eq!(b.gate(0), Gate::Pass);
        assert!(b.silent(A, 0, 10_000));
        assert_eq!(b.gate(10_001), Gate::Stop);
        assert_eq!(b.gate(12_999), Gate::Stop);
        assert_eq!(b.gate(13_000), Gate::Probe);
    }

    #[test]
    fn one_probe_at_a_time_and_its_answer_closes_it() {
        let mut b = Breaker::default();
        b.silent(A, 0, 0);
        b.probe(B);
        assert_eq!(b.gate(60_000), Gate::Stop);
        assert!(b.answered(60_001));
        assert_eq!(b.gate(60_001), Gate::Pass);
    }

    #[test]
    fn probes_without_an_answer_wait_longer_and_longer_but_not_for_ever() {
        let mut b = Breaker::default();
        b.silent(A, 0, 0);
        let mut now = 0;
        for pause in [3_000, 6_000, 12_000, 24_000, 24_000] {
            assert_eq!(b.gate(now + pause - 1), Gate::Stop, "{pause}");
            now += pause;
            assert_eq!(b.gate(now), Gate::Probe, "{pause}");
            b.probe(B);
            assert!(b.silent(B, now, now));
        }
    }

    #[test]
    fn a_login_of_before_the_probe_does_not_end_the_probe() {
        let mut b = Breaker::default();
        b.silent(A, 0, 0);
        b.probe(B);
        assert!(!b.silent(A, 0, 5_000));
        b.inconclusive(A, 5_000);
        assert_eq!(b.gate(5_000), Gate::Stop);
        b.inconclusive(B, 5_000);
        assert_eq!(b.gate(5_000), Gate::Probe);
    }

    #[test]
    fn a_lost_login_beside_answered_ones_is_not_the_cell() {
        let mut b = Breaker::default();
        b.answered(500);
        assert!(!b.silent(A, 100, 10_000));
        assert_eq!(b.gate(10_000), Gate::Pass);
        assert!(b.silent(B, 600, 10_000));
    }
}
