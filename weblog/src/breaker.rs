//! When to stop asking a cell that does not answer, and when to try again.
//!
//! Pure; one per cell. A login that got no answer opens it; for a few seconds nothing is asked then, after that one
//! login goes through as a probe. Each probe without an answer doubles the pause, any answer closes it.
//!
//! As long as only one user got no answer, it may be he (his ticket may be too large for what lies between) and not the
//! cell: then the longer pauses are his alone, and anybody else's login takes the probe over from his.

use crate::logins::LoginId;
use pag::Principal;

/// First pause after a login without an answer.
const PAUSE_MS: u64 = 3_000;
/// Longest pause.
const PAUSE_MAX_MS: u64 = 24_000;

/// The state of one cell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Breaker {
    state: State,
    /// The one user whose logins got no answer, while he is the only one.
    alone: Option<Principal>,
    last_answer_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum State {
    /// All logins go through.
    #[default]
    Closed,
    /// None does before `until_ms`, at the end of `pause_ms`.
    Open { until_ms: u64, pause_ms: u64 },
    /// One is under way; `his`: of the one who is alone.
    Probing { probe: LoginId, his: bool, pause_ms: u64 },
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
    /// What a new login of `who` may do.
    #[must_use]
    pub fn gate(&self, who: &Principal, now_ms: u64) -> Gate {
        self.gate_of(self.is_beside(who), now_ms)
    }

    /// What a new login may do; `beside`: somebody else is alone without answers.
    fn gate_of(&self, beside: bool, now_ms: u64) -> Gate {
        match self.state {
            State::Closed => Gate::Pass,
            State::Open { until_ms, pause_ms } => {
                let due_ms = if beside { first_end_ms(until_ms, pause_ms) } else { until_ms };
                if now_ms >= due_ms { Gate::Probe } else { Gate::Stop }
            }
            State::Probing { his: true, .. } if beside => Gate::Probe,
            State::Probing { .. } => Gate::Stop,
        }
    }

    /// Whether somebody else than `who` is alone without answers.
    fn is_beside(&self, who: &Principal) -> bool {
        self.alone.as_ref().is_some_and(|alone| !alone.is_same_user(who))
    }

    /// `login` of `who` is the probe now. How one before it ends is of no interest any more, unless it is an answer.
    pub fn probe(&mut self, login: LoginId, who: &Principal) {
        if let State::Open { pause_ms, .. } | State::Probing { pause_ms, .. } = self.state {
            let his = self.alone.as_ref().is_some_and(|alone| alone.is_same_user(who));
            self.state = State::Probing { probe: login, his, pause_ms };
        }
    }

    /// A login ended with an answer of the cell, whichever. Says whether the state changed.
    pub fn answered(&mut self, now_ms: u64) -> bool {
        let changed = self.state != State::Closed;
        self.state = State::Closed;
        self.alone = None;
        self.last_answer_ms = Some(now_ms);
        changed
    }

    /// A login of `who` that began at `began_ms` ended without an answer. Says whether logins are stopped anew.
    ///
    /// Nothing changes if the cell answered another login that began no earlier: then it is not the cell.
    pub fn silent(&mut self, login: LoginId, who: &Principal, began_ms: u64, now_ms: u64) -> bool {
        if self.last_answer_ms.is_some_and(|at| at > began_ms) {
            return false;
        }
        if self.is_beside(who) {
            self.concern_all();
        }
        let pause_ms = match self.state {
            State::Closed => {
                self.alone = Some(who.clone());
                PAUSE_MS
            }
            State::Probing { probe, pause_ms, .. } if probe == login => {
                pause_ms.saturating_mul(2).min(PAUSE_MAX_MS)
            }
            State::Open { .. } | State::Probing { .. } => return false,
        };
        self.state = State::Open { until_ms: now_ms.saturating_add(pause_ms), pause_ms };
        true
    }

    /// It is not one user: all wait from now on as the others did, not as long as he.
    fn concern_all(&mut self) {
        self.alone = None;
        match &mut self.state {
            State::Closed => {}
            State::Open { until_ms, pause_ms } => {
                *until_ms = first_end_ms(*until_ms, *pause_ms);
                *pause_ms = PAUSE_MS;
            }
            State::Probing { pause_ms, .. } => *pause_ms = PAUSE_MS,
        }
    }

    /// A login ended for a reason that says nothing about the cell. A probe is tried again soon.
    pub fn inconclusive(&mut self, login: LoginId, now_ms: u64) {
        match self.state {
            State::Probing { probe, pause_ms, .. } if probe == login => {
                self.state = State::Open { until_ms: now_ms, pause_ms };
            }
            _ => {}
        }
    }

    /// Whether logins are being refused at `now_ms`, and not only those of one user.
    #[must_use]
    pub fn is_open(&self, now_ms: u64) -> bool {
        self.gate_of(self.alone.is_some(), now_ms) == Gate::Stop
    }
}

/// When a pause would have ended that was not doubled.
fn first_end_ms(until_ms: u64, pause_ms: u64) -> u64 {
    until_ms.saturating_sub(pause_ms.saturating_sub(PAUSE_MS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pag::Cell;

    const A: LoginId = LoginId(1);
    const B: LoginId = LoginId(2);
    const C: LoginId = LoginId(3);

    fn user(name: &str) -> Principal {
        Principal::new(name, Cell::new("example.com").unwrap()).unwrap()
    }

    fn alice() -> Principal {
        user("alice")
    }

    fn zoe() -> Principal {
        user("zoe")
    }

    /// One to which two users' logins were silent.
    fn of_everybody() -> Breaker {
        let mut b = Breaker::default();
        b.silent(A, &alice(), 0, 0);
        b.silent(B, &zoe(), 0, 0);
        b
    }

    #[test]
    fn one_login_without_an_answer_stops_the_next_ones_for_a_while() {
        let mut b = Breaker::default();
        for who in [alice(), zoe()] {
            assert_eq!(b.gate(&who, 0), Gate::Pass);
        }
        assert!(b.silent(A, &alice(), 0, 10_000));
        for who in [alice(), zoe()] {
            assert_eq!(b.gate(&who, 10_001), Gate::Stop);
            assert_eq!(b.gate(&who, 12_999), Gate::Stop);
            assert_eq!(b.gate(&who, 13_000), Gate::Probe);
        }
    }

    #[test]
    fn one_probe_at_a_time_and_its_answer_closes_it() {
        let mut b = of_everybody();
        b.probe(C, &zoe());
        for who in [alice(), zoe()] {
            assert_eq!(b.gate(&who, 60_000), Gate::Stop);
        }
        assert!(b.answered(60_001));
        assert_eq!(b.gate(&alice(), 60_001), Gate::Pass);
    }

    #[test]
    fn probes_without_an_answer_wait_longer_and_longer_but_not_for_ever() {
        let mut b = of_everybody();
        let mut now = 0;
        for pause in [3_000, 6_000, 12_000, 24_000, 24_000] {
            assert_eq!(b.gate(&alice(), now + pause - 1), Gate::Stop, "{pause}");
            now += pause;
            assert_eq!(b.gate(&alice(), now), Gate::Probe, "{pause}");
            b.probe(C, &zoe());
            assert!(b.silent(C, &zoe(), now, now));
        }
    }

    #[test]
    fn while_one_user_is_alone_without_answers_the_longer_pauses_are_his() {
        let mut b = Breaker::default();
        b.silent(A, &alice(), 0, 0);
        let mut now = 0;
        for pause in [3_000, 6_000, 12_000, 24_000, 24_000] {
            assert_eq!(b.gate(&zoe(), now + 2_999), Gate::Stop, "{pause}");
            assert!(b.is_open(now + 2_999));
            assert_eq!(b.gate(&zoe(), now + 3_000), Gate::Probe, "{pause}");
            assert!(!b.is_open(now + 3_000));
            assert_eq!(b.gate(&alice(), now + pause - 1), Gate::Stop, "{pause}");
            now += pause;
            assert_eq!(b.gate(&alice(), now), Gate::Probe, "{pause}");
            b.probe(A, &alice());
            assert!(b.silent(A, &alice(), now, now));
        }
    }

    #[test]
    fn another_user_takes_the_probe_over_and_the_one_before_changes_nothing_any_more() {
        let probed_twice = || {
            let mut b = Breaker::default();
            b.silent(A, &alice(), 0, 0);
            b.probe(B, &alice());
            assert_eq!((b.gate(&alice(), 4_000), b.gate(&zoe(), 4_000)), (Gate::Stop, Gate::Probe));
            b.probe(C, &zoe());
            let stopped = [alice(), zoe(), user("yan")].map(|who| b.gate(&who, 4_000));
            assert_eq!(stopped, [Gate::Stop; 3]);
            b
        };
        let mut b = probed_twice();
        let before = b.clone();
        b.inconclusive(B, 5_000);
        assert!(!b.silent(B, &alice(), 3_000, 13_000));
        assert_eq!(b, before);
        assert!(b.answered(13_500));
        assert_eq!(b.gate(&alice(), 13_500), Gate::Pass);
        let mut b = probed_twice();
        assert!(b.answered(5_000), "the one before");
        assert!(!b.silent(C, &zoe(), 4_000, 14_000), "that one was answered meanwhile");
        assert_eq!(b.gate(&zoe(), 14_000), Gate::Pass);
    }

    #[test]
    fn a_probe_of_a_second_user_without_an_answer_makes_it_everybodys() {
        let mut b = Breaker::default();
        b.silent(A, &alice(), 0, 0);
        for now in [3_000, 20_000] {
            b.probe(A, &alice());
            b.silent(A, &alice(), now, now);
        }
        assert_eq!((b.gate(&alice(), 31_999), b.gate(&zoe(), 23_000)), (Gate::Stop, Gate::Probe));
        b.probe(C, &zoe());
        assert!(b.silent(C, &zoe(), 23_000, 33_000));
        for who in [alice(), zoe(), user("yan")] {
            assert_eq!(b.gate(&who, 38_999), Gate::Stop, "{who}: twice the first pause, not alice's");
            assert_eq!(b.gate(&who, 39_000), Gate::Probe, "{who}");
        }
    }

    #[test]
    fn a_login_of_a_second_user_that_began_before_makes_it_everybodys_when_it_ends() {
        let mut b = Breaker::default();
        b.silent(A, &alice(), 0, 10_000);
        b.probe(B, &alice());
        b.silent(B, &alice(), 13_000, 23_000);
        assert!(!b.silent(C, &zoe(), 9_000, 24_000), "no new pause");
        for who in [alice(), zoe(), user("yan")] {
            assert_eq!(b.gate(&who, 25_999), Gate::Stop, "{who}");
            assert_eq!(b.gate(&who, 26_000), Gate::Probe, "{who}");
        }
        b.probe(B, &alice());
        assert_eq!(b.gate(&zoe(), 30_000), Gate::Stop, "one probe for all");
    }

    #[test]
    fn his_name_in_another_case_is_no_second_user() {
        let mut b = Breaker::default();
        b.silent(A, &alice(), 0, 0);
        b.probe(B, &user("Alice"));
        assert!(b.silent(B, &user("Alice"), 3_000, 3_000));
        assert_eq!((b.gate(&user("ALICE"), 8_999), b.gate(&zoe(), 6_000)), (Gate::Stop, Gate::Probe));
    }

    #[test]
    fn a_login_of_before_the_probe_does_not_end_the_probe() {
        let mut b = Breaker::default();
        b.silent(A, &alice(), 0, 0);
        b.probe(B, &zoe());
        assert!(!b.silent(A, &alice(), 0, 5_000));
        b.inconclusive(A, 5_000);
        assert_eq!(b.gate(&zoe(), 5_000), Gate::Stop);
        b.inconclusive(B, 5_000);
        assert_eq!(b.gate(&zoe(), 5_000), Gate::Probe);
        assert_eq!(b.gate(&alice(), 5_000), Gate::Probe);
    }

    #[test]
    fn a_lost_login_beside_answered_ones_is_not_the_cell() {
        let mut b = Breaker::default();
        b.answered(500);
        assert!(!b.silent(A, &alice(), 100, 10_000));
        assert_eq!(b.gate(&alice(), 10_000), Gate::Pass);
        assert!(b.silent(B, &zoe(), 600, 10_000));
        assert!(!b.silent(A, &alice(), 100, 10_000));
        assert_eq!(b.gate(&user("yan"), 13_000), Gate::Probe);
    }
}
