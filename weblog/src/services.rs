//! Service identities: a token each for what is served where nobody is logged in, obtained before it is asked for,
//! renewed at half its life, and kept until its end whatever becomes of the renewals.
//!
//! Pure: knows no processes, no files, no clock. Whoever asks gets what is there; no asker begins a login.

use crate::audit::Line;
use crate::clock::Now;
use crate::logins::LoginId;
use crate::message;
use crate::outcome::{Outcome, Refusal, Success};
use core::fmt::Write as _;
use pag::{Principal, Token};
use weblog_proto::{Failure, FailureClass, Granted, Reply, Service};

/// Pause after a failed attempt: doubled each time, from the first to the second of these.
const PAUSE_MS: u64 = 1_000;
const PAUSE_MAX_MS: u64 = 30_000;
/// The same where the key is refused: more attempts might lock the account.
const REFUSED_PAUSE_MS: u64 = 60_000;
const REFUSED_PAUSE_MAX_MS: u64 = 600_000;
/// No renewal comes sooner after the one before.
const RENEWAL_MIN_MS: u64 = 1_000;
/// Who asks while a renewal is under way or has failed comes again after so long, seconds.
const SOON_S: u64 = 5;
/// Who asks before the first attempt has ended is to ask again after so long, milliseconds.
const FIRST_RETRY_MS: u32 = 50;
/// A token is not relied on in its last seconds.
const LAST_S: u64 = 2;
/// An identity that is not in the configuration any more is kept for so long: children of the one before may still serve
/// for it.
const LEAVE_MS: u64 = 60_000;
/// Logins of service identities have numbers of their own.
const NUMBERS: u64 = 1 << 63;

/// Something to be done.
#[derive(Debug)]
pub enum Act {
    /// Log this one in; tell [`Services::ended`].
    Start(LoginId, Service),
    /// That login is not wanted any more.
    Kill(LoginId),
    /// Tokens were dropped: children must do so, too.
    Revoked,
    /// A line for the log.
    Log(Line),
}

/// A login under way.
#[derive(Debug)]
struct Attempt {
    id: LoginId,
    deadline_ms: u64,
}

/// A token, and when it was obtained.
#[derive(Debug)]
struct Held {
    token: Token,
    name: String,
    since: Now,
}

impl Held {
    /// So long it lived when it was obtained, milliseconds.
    fn life_ms(&self) -> u64 {
        self.token.lifetime_s(self.since.unix_s).saturating_mul(1_000)
    }

    /// When it is to be renewed: at half its life.
    fn renewal_ms(&self) -> u64 {
        self.since.ms.saturating_add((self.life_ms() / 2).max(RENEWAL_MIN_MS))
    }

    /// When it ends.
    fn end_ms(&self) -> u64 {
        self.since.ms.saturating_add(self.life_ms())
    }

    /// Seconds for which it can be relied on.
    fn left_s(&self, now: Now) -> u64 {
        self.token.lifetime_s(now.unix_s).saturating_sub(LAST_S)
    }

    /// Whether half of its life has gone by the wall clock, which may have jumped, as where a machine was paused or restored.
    fn is_old(&self, now: Now) -> bool {
        self.token.lifetime_s(now.unix_s) <= self.token.lifetime_s(self.since.unix_s) / 2
    }

    /// Whether it has ended. Servers go by the wall clock.
    fn has_ended(&self, now: Now) -> bool {
        self.end_ms() <= now.ms || self.left_s(now) == 0
    }
}

/// One identity.
#[derive(Debug)]
struct Identity {
    service: Service,
    held: Option<Held>,
    attempt: Option<Attempt>,
    /// When the next attempt is due, unless the token ends before.
    next_ms: u64,
    /// Failed attempts in a row, and how the last one failed.
    failures: u32,
    last: Option<Refusal>,
    /// Tokens obtained.
    obtained: u64,
    /// The end of the token was told.
    told_end: bool,
    /// It is not wanted any more, and dropped then.
    leaves_ms: Option<u64>,
}

impl Identity {
    fn new(service: Service, now: Now) -> Self {
        Self {
            service,
            held: None,
            attempt: None,
            next_ms: now.ms,
            failures: 0,
            last: None,
            obtained: 0,
            told_end: false,
            leaves_ms: None,
        }
    }

    /// How it is called in log and status.
    fn label(&self) -> String {
        format!("service {} ({})", self.service, self.service.key_file)
    }

    /// Whether an attempt is due: its time has come, or come before by the wall clock.
    fn is_due(&self, now: Now) -> bool {
        let is_old = |held: &Held| {
            (held.is_old(now) || held.has_ended(now))
                && held.since.ms.saturating_add(RENEWAL_MIN_MS) <= now.ms
        };
        // After a failed attempt, its pause counts.
        self.next_ms <= now.ms || (self.failures == 0 && self.held.as_ref().is_some_and(is_old))
    }

    /// An attempt has failed.
    fn failed(&mut self, refusal: Refusal, now: Now) -> Line {
        let pause_ms = match refusal.failure.class() {
            FailureClass::Unavailable => (PAUSE_MS << self.failures.min(16)).min(PAUSE_MAX_MS),
            FailureClass::Credentials => {
                (REFUSED_PAUSE_MS << self.failures.min(16)).min(REFUSED_PAUSE_MAX_MS)
            }
        };
        let message = if self.failures == 0 { message::SERVICE_ALARM } else { message::SERVICE_ALARM_AGAIN };
        self.failures = self.failures.saturating_add(1);
        self.last = Some(refusal);
        self.next_ms = now.ms.saturating_add(pause_ms);
        let left = match &self.held {
            Some(held) => format!("its token lasts {} s more", held.token.lifetime_s(now.unix_s)),
            None => "it has no token".to_owned(),
        };
        let Refusal { failure, step, code } = refusal;
        let text = format!(
            "ALARM: {} is not renewed: {} (step {}, error {code}), {left}; next attempt in {} s",
            self.label(),
            failure.word(),
            step.word(),
            pause_ms / 1_000
        );
        Line { message, text }
    }

    /// An attempt has succeeded.
    fn succeeded(&mut self, token: Token, name: String, now: Now) -> Line {
        let over = self.failures > 0;
        let held = Held { token, name, since: now };
        let life_s = held.token.lifetime_s(now.unix_s);
        self.next_ms = held.renewal_ms();
        self.held = Some(held);
        self.obtained = self.obtained.saturating_add(1);
        (self.failures, self.last, self.told_end) = (0, None, false);
        let alarm = if over { ", the alarm is over" } else { "" };
        let next_s = self.next_ms.saturating_sub(now.ms) / 1_000;
        let text = format!("{} has a token for {life_s} s, renewed in {next_s} s{alarm}", self.label());
        Line { message: if over { message::SERVICE_ALARM_OVER } else { message::SERVICE_TOKEN }, text }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Services {
    identities: Vec<Identity>,
    last_number: u64,
}

impl Services {
    /// These are wanted from now on: new ones are logged in at once, those of which the last attempt failed, too. Others
    /// are not renewed any more, and dropped a little later.
    pub fn set(&mut self, wanted: &[Service], now: Now) -> Vec<Act> {
        let mut acts = Vec::new();
        for identity in self.identities.iter_mut().filter(|i| !wanted.contains(&i.service)) {
            acts.extend(identity.attempt.take().map(|attempt| Act::Kill(attempt.id)));
            identity.leaves_ms.get_or_insert(now.ms.saturating_add(LEAVE_MS));
        }
        for service in wanted {
            match self.identities.iter_mut().find(|i| i.service == *service) {
                Some(known) => {
                    // Not its last attempt's failure, nor that it was to leave: its file or servers may be others now.
                    let was_leaving = known.leaves_ms.take().is_some();
                    if known.failures > 0 || was_leaving {
                        known.next_ms = now.ms;
                    }
                }
                None => self.identities.push(Identity::new(service.clone(), now)),
            }
        }
        acts
    }

    /// Begins what is due, and ends what takes longer than `deadline_ms`.
    pub fn tick(&mut self, deadline_ms: u64, now: Now) -> Vec<Act> {
        let mut acts = Vec::new();
        let gone = self.identities.extract_if(.., |i| i.leaves_ms.is_some_and(|at| at <= now.ms));
        if gone.filter(|i| i.held.is_some()).count() > 0 {
            acts.push(Act::Revoked);
        }
        for identity in self.identities.iter_mut().filter(|i| i.leaves_ms.is_none()) {
            if let Some(late) = identity.attempt.take_if(|a| a.deadline_ms <= now.ms) {
                acts.push(Act::Kill(late.id));
                acts.push(Act::Log(identity.failed(Refusal::local(Failure::Deadline), now)));
            }
            let ended = identity.held.as_ref().is_some_and(|held| held.has_ended(now));
            if ended && !identity.told_end {
                identity.told_end = true;
                let text = format!("ALARM: the token of {} has ended", identity.label());
                acts.push(Act::Log(Line { message: message::SERVICE_TOKEN_ENDED, text }));
            }
            if identity.attempt.is_none() && identity.is_due(now) {
                self.last_number = self.last_number.wrapping_add(1);
                let id = LoginId(NUMBERS | self.last_number);
                identity.attempt = Some(Attempt { id, deadline_ms: now.ms.saturating_add(deadline_ms) });
                acts.push(Act::Start(id, identity.service.clone()));
            }
        }
        acts
    }

    /// Whether a login is one of ours.
    #[must_use]
    pub fn is_ours(id: LoginId) -> bool {
        id.0 & NUMBERS != 0
    }

    /// Whom a login of ours is for.
    #[must_use]
    pub fn who(&self, id: LoginId) -> Option<&Principal> {
        let of = |i: &&Identity| i.attempt.as_ref().is_some_and(|a| a.id == id);
        self.identities.iter().find(of).map(|i| &i.service.who)
    }

    /// A login of ours has ended.
    pub fn ended(&mut self, id: LoginId, outcome: Outcome, now: Now) -> Option<Act> {
        let identity = self.identities.iter_mut().find(|i| i.attempt.as_ref().is_some_and(|a| a.id == id))?;
        identity.attempt = None;
        let line = match outcome {
            Ok(Success { token, name, .. }) => identity.succeeded(token, name, now),
            Err(refusal) => identity.failed(refusal, now),
        };
        Some(Act::Log(line))
    }

    /// The answer to whoever asks for this one.
    #[must_use]
    pub fn answer(&self, service: &Service, now: Now) -> Reply {
        let Some(identity) = self.identities.iter().find(|i| i.service == *service) else {
            return Reply::Failed(Failure::CellNotAllowed);
        };
        if let Some(held) = &identity.held
            && let left_s @ 1.. = held.left_s(now)
        {
            // Soon after the renewal the new one is asked for, so that each has half its life before it in use.
            let until_s = held.renewal_ms().saturating_sub(now.ms) / 1_000;
            let valid_s = u32::try_from(until_s.max(SOON_S).min(left_s)).unwrap_or(u32::MAX);
            let token = held.token.clone();
            let name = held.name.clone();
            return Reply::Granted(Granted { token, name, valid_s, password_expires_days: None });
        }
        match identity.last {
            Some(refusal) => Reply::Failed(refusal.failure),
            None => Reply::Pending { retry_ms: FIRST_RETRY_MS },
        }
    }

    /// Drops the tokens of those whom `which` picks, and gets others at once; how many.
    pub fn forget(&mut self, which: impl Fn(&Principal) -> bool, now: Now) -> usize {
        let mut tokens = 0_usize;
        for identity in self.identities.iter_mut().filter(|i| which(&i.service.who)) {
            if identity.held.take().is_some() {
                tokens = tokens.saturating_add(1);
            }
            identity.next_ms = now.ms;
        }
        tokens
    }

    /// When [`Services::tick`] has something to do next. A jump of the wall clock is not foreseen: the broker's loop ticks
    /// after each request, and every few seconds without one.
    #[must_use]
    pub fn next_ms(&self) -> Option<u64> {
        let next = |i: &Identity| {
            let attempt = i.attempt.as_ref().map_or(i.next_ms, |a| a.deadline_ms);
            let end = i.held.as_ref().filter(|_| !i.told_end).map_or(u64::MAX, Held::end_ms);
            i.leaves_ms.unwrap_or(attempt.min(end))
        };
        self.identities.iter().map(next).min()
    }

    /// How many could not be renewed.
    #[must_use]
    pub fn alarms(&self) -> usize {
        self.identities.iter().filter(|i| i.failures > 0 && i.leaves_ms.is_none()).count()
    }

    /// A line of text each.
    #[must_use]
    pub fn status(&self, now: Now) -> String {
        let mut text = String::new();
        for identity in self.identities.iter().filter(|i| i.leaves_ms.is_none()) {
            let left_s = identity.held.as_ref().map_or(0, |held| held.token.lifetime_s(now.unix_s));
            let mut written =
                write!(text, "{}: token for {left_s} s, {} obtained", identity.label(), identity.obtained);
            if let Some(Refusal { failure, step, code }) = identity.last {
                let next_s = identity.next_ms.saturating_sub(now.ms) / 1_000;
                written = written.and(write!(
                    text,
                    ", ALARM: {} attempts failed, {} (step {}, error {code}), next in {next_s} s",
                    identity.failures,
                    failure.word(),
                    step.word()
                ));
            }
            debug_assert!(written.is_ok(), "writing to a String");
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Step;
    use pag::{Cell, SessionKey};
    use zeroize::Zeroizing;

    const START: i64 = 1_800_000_000;
    const DEADLINE_MS: u64 = 20_000;

    fn at(ms: u64) -> Now {
        Now { ms, unix_s: START + i64::try_from(ms / 1_000).unwrap() }
    }

    fn service(name: &str) -> Service {
        let who = Principal::new(name, Cell::new("example.com").unwrap()).unwrap();
        Service { who, key_file: "/etc/www.keytab".to_owned() }
    }

    /// A token that ends then.
    ///
    /// # Errors
    /// Never.
    fn success(end_s: i64, mark: u8) -> Outcome {
        let token = Token {
            cell: Cell::new("example.com").unwrap(),
            afs_id: 7,
            kvno: 256,
            key: SessionKey([mark; 8]),
            begin: START,
            end: START + end_s,
            ticket: Zeroizing::new(vec![mark; 56]),
        };
        Ok(Success { token, name: "http.www".to_owned(), password_expires_days: None })
    }

    /// Services that are asked at times of the test's choice.
    struct World {
        services: Services,
        lines: Vec<Line>,
        killed: usize,
        revoked: usize,
    }

    impl World {
        fn new(names: &[&str]) -> Self {
            let mut w = Self { services: Services::default(), lines: Vec::new(), killed: 0, revoked: 0 };
            w.set(names, 0);
            w
        }

        fn set(&mut self, names: &[&str], ms: u64) {
            let wanted: Vec<Service> = names.iter().map(|n| service(n)).collect();
            let acts = self.services.set(&wanted, at(ms));
            self.carry_out(acts);
        }

        fn carry_out(&mut self, acts: Vec<Act>) -> Vec<LoginId> {
            let mut started = Vec::new();
            for act in acts {
                match act {
                    Act::Start(id, _) => started.push(id),
                    Act::Kill(_) => self.killed += 1,
                    Act::Revoked => self.revoked += 1,
                    Act::Log(line) => self.lines.push(line),
                }
            }
            started
        }

        fn tick(&mut self, ms: u64) -> Vec<LoginId> {
            let acts = self.services.tick(DEADLINE_MS, at(ms));
            self.carry_out(acts)
        }

        /// The one login that is begun then ends so.
        fn attempt(&mut self, ms: u64, outcome: Outcome) {
            let [id] = self.tick(ms)[..] else { panic!("not one attempt at {ms}") };
            assert!(Services::is_ours(id));
            let act = self.services.ended(id, outcome, at(ms)).unwrap();
            self.carry_out(vec![act]);
        }

        /// The mark of the token, and for how long.
        ///
        /// # Errors
        /// The failure; none while it is pending.
        fn answer(&self, name: &str, ms: u64) -> Result<(u8, u32), Option<Failure>> {
            match self.services.answer(&service(name), at(ms)) {
                Reply::Granted(g) => Ok((g.token.key.0[0], g.valid_s)),
                Reply::Failed(failure) => Err(Some(failure)),
                _ => Err(None),
            }
        }
    }

    /// A refusal.
    ///
    /// # Errors
    /// Always.
    fn refused(failure: Failure) -> Outcome {
        Err(Refusal { failure, step: Step::Authenticate, code: 3 })
    }

    #[test]
    fn a_token_is_there_before_anybody_asks_and_is_renewed_at_half_its_life() {
        let mut w = World::new(&["www"]);
        assert_eq!(w.answer("www", 0), Err(None), "the first attempt is under way");
        assert_eq!(w.services.next_ms(), Some(0));
        w.attempt(0, success(120, 1));
        assert_eq!(w.answer("www", 0), Ok((1, 60)));
        assert_eq!(w.answer("www", 59_000), Ok((1, 5)), "the next one is asked for soon after the renewal");
        assert_eq!(w.services.next_ms(), Some(60_000));
        assert!(w.tick(59_999).is_empty());
        w.attempt(60_000, success(180, 2));
        assert_eq!(w.answer("www", 60_000), Ok((2, 60)));
        assert_eq!(w.services.next_ms(), Some(120_000));
        assert!(w.lines.iter().all(|l| l.message == message::SERVICE_TOKEN), "{:?}", w.lines);
        assert_eq!(w.answer("other", 0), Err(Some(Failure::CellNotAllowed)));
    }

    #[test]
    fn what_cannot_be_renewed_lasts_to_its_end_with_an_alarm_and_recovers() {
        let mut w = World::new(&["www"]);
        w.attempt(0, success(120, 1));
        let away = || refused(Failure::CellUnreachable);
        w.attempt(60_000, away());
        assert_eq!(w.services.alarms(), 1);
        assert_eq!(w.lines.last().unwrap().message, message::SERVICE_ALARM);
        assert!(w.lines.last().unwrap().text.contains("ALARM"), "{:?}", w.lines);
        assert_eq!(w.answer("www", 60_000), Ok((1, 5)));
        let mut ms = 60_000;
        for pause in [1_000, 2_000, 4_000, 8_000, 16_000] {
            ms += pause;
            assert_eq!(w.services.next_ms(), Some(ms));
            w.attempt(ms, away());
        }
        assert_eq!(w.answer("www", 117_999), Ok((1, 1)));
        assert_eq!(w.answer("www", 119_000), Err(Some(Failure::CellUnreachable)), "not in its last seconds");
        assert_eq!(w.services.next_ms(), Some(120_000), "its end is told when it comes");
        assert!(w.tick(120_000).is_empty());
        for pause in [30_000, 30_000] {
            ms += pause;
            assert_eq!(w.services.next_ms(), Some(ms));
            w.attempt(ms, away());
        }
        let ends = w.lines.iter().filter(|l| l.message == message::SERVICE_TOKEN_ENDED).count();
        assert_eq!(ends, 1, "{:?}", w.lines);
        assert!(w.services.status(at(ms)).contains("ALARM: 8 attempts failed, cell-unreachable"));
        w.attempt(ms + 30_000, success(900, 2));
        assert_eq!(w.services.alarms(), 0);
        assert!(w.lines.last().unwrap().text.ends_with("the alarm is over"));
        assert_eq!(w.answer("www", ms + 30_000).unwrap().0, 2);
    }

    #[test]
    fn a_token_that_a_jump_of_the_wall_clock_has_ended_is_told_and_renewed_at_once() {
        let mut w = World::new(&["www"]);
        w.attempt(0, success(36_000, 1));
        let restored = |ms| Now { unix_s: START + 40_000, ..at(ms) };
        let service = service("www");
        assert!(matches!(w.services.answer(&service, restored(5_000)), Reply::Pending { .. }));
        let acts = w.services.tick(DEADLINE_MS, restored(5_000));
        let [id] = w.carry_out(acts)[..] else { panic!("{:?}", w.lines) };
        assert_eq!(w.lines.last().unwrap().message, message::SERVICE_TOKEN_ENDED);
        assert!(w.services.tick(DEADLINE_MS, restored(5_001)).is_empty(), "one attempt, told once");
        w.services.ended(id, refused(Failure::CellUnreachable), restored(6_000));
        assert!(w.services.tick(DEADLINE_MS, restored(6_999)).is_empty(), "the pause counts");
        let acts = w.services.tick(DEADLINE_MS, restored(7_000));
        let [id] = w.carry_out(acts)[..] else { panic!("{:?}", w.lines) };
        w.services.ended(id, success(76_000, 2), restored(7_000));
        assert!(matches!(w.services.answer(&service, restored(7_000)), Reply::Granted(_)));
        assert!(w.services.tick(DEADLINE_MS, restored(8_000)).is_empty());
    }

    #[test]
    fn a_token_of_whose_life_a_jump_of_the_wall_clock_has_taken_more_than_half_is_renewed_while_it_serves() {
        let mut w = World::new(&["www"]);
        w.attempt(0, success(36_000, 1));
        let jumped = |s| Now { unix_s: START + s, ..at(5_000) };
        assert!(w.services.tick(DEADLINE_MS, jumped(17_999)).is_empty());
        let acts = w.services.tick(DEADLINE_MS, jumped(18_000));
        assert_eq!(w.carry_out(acts).len(), 1);
        assert!(matches!(w.services.answer(&service("www"), jumped(18_000)), Reply::Granted(_)));
    }

    #[test]
    fn tokens_that_come_ended_already_are_renewed_no_more_than_once_a_second() {
        let mut w = World::new(&["www"]);
        w.attempt(0, success(1, 1));
        assert!(w.tick(999).is_empty());
        w.attempt(1_000, success(2, 2));
        assert!(w.tick(1_999).is_empty());
        assert_eq!(w.tick(2_000).len(), 1);
    }

    #[test]
    fn a_refused_key_is_not_tried_so_often_that_it_locks_the_account_but_at_once_after_a_reload() {
        let mut w = World::new(&["www"]);
        w.attempt(0, refused(Failure::WrongPassword));
        assert_eq!(w.services.next_ms(), Some(60_000));
        assert_eq!(w.answer("www", 0), Err(Some(Failure::WrongPassword)));
        w.attempt(60_000, refused(Failure::WrongPassword));
        assert_eq!(w.services.next_ms(), Some(180_000));
        w.set(&["www"], 61_000);
        w.attempt(61_000, success(120, 1));
    }

    #[test]
    fn a_silent_server_ends_an_attempt_at_its_deadline() {
        let mut w = World::new(&["www"]);
        let [id] = w.tick(0)[..] else { panic!() };
        assert_eq!(w.services.next_ms(), Some(DEADLINE_MS));
        assert!(w.tick(DEADLINE_MS).is_empty());
        assert_eq!((w.killed, w.answer("www", DEADLINE_MS)), (1, Err(Some(Failure::Deadline))));
        assert!(w.services.ended(id, success(120, 1), at(DEADLINE_MS)).is_none(), "too late");
    }

    #[test]
    fn what_is_not_wanted_any_more_is_not_renewed_and_dropped_when_old_children_have_gone() {
        let mut w = World::new(&["one", "two"]);
        for id in w.tick(0) {
            drop(w.services.ended(id, success(100, 1), at(0)));
        }
        w.set(&["two", "three"], 10_000);
        assert_eq!(
            w.answer("one", 10_000).unwrap().0,
            1,
            "children of the configuration before may still serve"
        );
        assert_eq!(w.tick(10_000).len(), 1, "three");
        w.set(&["two"], 11_000);
        assert_eq!(w.killed, 1);
        assert_eq!(w.tick(50_000).len(), 1, "only two is renewed");
        assert_eq!((w.revoked, w.answer("one", 69_999).unwrap().0), (0, 1));
        assert!(w.tick(70_000).is_empty());
        assert_eq!((w.revoked, w.answer("one", 70_000)), (1, Err(Some(Failure::CellNotAllowed))));
        assert!(w.services.next_ms().is_some_and(|at| at > 70_000), "{:?}", w.services.next_ms());
    }

    #[test]
    fn what_is_wanted_again_before_it_was_dropped_stays_and_is_renewed() {
        let mut w = World::new(&["one"]);
        w.attempt(0, success(1_000, 1));
        w.set(&[], 1_000);
        w.set(&["one"], 2_000);
        assert_eq!(w.answer("one", 2_000).unwrap().0, 1);
        w.attempt(2_000, success(1_000, 2));
        assert!(w.tick(100_000).is_empty());
        assert_eq!((w.revoked, w.answer("one", 100_000).unwrap().0), (0, 2));
    }

    #[test]
    fn what_had_failed_and_is_wanted_again_before_it_was_dropped_stays_and_is_attempted_at_once() {
        let mut w = World::new(&["one"]);
        w.attempt(0, refused(Failure::WrongPassword));
        w.set(&[], 1_000);
        w.set(&["one"], 2_000);
        w.attempt(2_000, success(1_000, 1));
        assert!(w.tick(2_000 + LEAVE_MS).is_empty());
        assert_eq!((w.revoked, w.answer("one", 2_000 + LEAVE_MS).unwrap().0), (0, 1));
    }

    #[test]
    fn who_is_forgotten_gets_another_token_at_once() {
        let mut w = World::new(&["one", "two"]);
        for id in w.tick(0) {
            drop(w.services.ended(id, success(120, 1), at(0)));
        }
        assert_eq!(w.services.forget(|who| who.name() == "one", at(1_000)), 1);
        assert_eq!(w.answer("one", 1_000), Err(None));
        w.attempt(1_000, success(120, 2));
        assert_eq!(w.answer("one", 1_000).unwrap().0, 2);
    }
}
