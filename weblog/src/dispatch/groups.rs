//! Whether visitors are in groups: asked of their cell's protection server by an authenticator with their token, one question
//! for all who ask the same, and remembered for a while.
//!
//! Only who shows a visitor's credentials is told what groups he is in, so this begins with what a login begins with.

use super::{Dispatch, Effect, UNAVAILABLE_MS, kind};
use crate::audit::Line;
use crate::clock::Now;
use crate::logins::{Bounds, Errand, Job, Login, LoginId, LoginKey, Logins, NotBegun, Waiter};
use crate::message;
use crate::outcome::{Answer, Fruit, Refusal, Step};
use afsweb_cache::Store;
use core::fmt::Write as _;
use core::num::NonZeroUsize;
use pag::{Home, Principal, Realm, Token};
use weblog_proto::{Failure, GetToken, Member, Membership, Reply};

/// So long a membership is remembered, milliseconds; less where SetAFSCacheExpiration of the asking server is less.
const KNOWN_MS: u64 = 60_000;
/// So many are.
const KNOWN_ENTRIES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999);
/// Questions have numbers of their own.
const NUMBERS: u64 = 1 << 62;
/// A token is not shown to a server in its last seconds.
const LAST_S: u64 = 2;

/// What a protection server has said.
#[derive(Debug, Clone, Copy)]
struct Known {
    membership: Membership,
    /// When it did.
    at_ms: u64,
}

/// Questions under way, and what is known.
pub(super) struct Groups<A> {
    /// What the limiter would know a login by, is the group here.
    questions: Logins<A, String>,
    known: Store<LoginKey, Known>,
    /// Questions that had no answer, for those who were told to ask again.
    unanswered: Store<LoginKey, Failure>,
}

impl<A> Groups<A> {
    /// Nothing is asked yet.
    pub(super) fn new() -> Self {
        let none = Bounds { per_cell: 0, total: 0, queue_per_cell: 0 };
        Self {
            questions: Logins::new(none, LoginId(NUMBERS | 1)),
            known: Store::new(KNOWN_ENTRIES),
            unanswered: Store::new(KNOWN_ENTRIES),
        }
    }

    /// Whether a number is a question's.
    pub(super) fn is_ours(id: LoginId) -> bool {
        id.0 >> 62 == 1
    }

    /// A configuration applies: so many questions there may be, and servers may be others now.
    pub(super) fn configure(&mut self, bounds: Bounds, now_ms: u64) {
        self.questions.set_bounds(bounds);
        self.questions.reset_breakers(now_ms);
    }

    /// As [`Logins::retain_homes`].
    pub(super) fn retain_homes(&mut self, keep: impl FnMut(&Home) -> bool) {
        self.questions.retain_homes(keep);
    }

    /// As [`Logins::leave`].
    pub(super) fn leave(&mut self, lane: usize) {
        self.questions.leave(lane);
    }

    /// As [`Logins::waiting`].
    pub(super) fn waiting(&self) -> usize {
        self.questions.waiting()
    }

    /// As [`Logins::handed`].
    pub(super) fn handed(&mut self, id: LoginId) {
        self.questions.handed(id);
    }

    /// Memberships in memory.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// When there is something to do next.
    pub(super) fn next_event_ms(&self) -> Option<u64> {
        let ends = [self.known.next_expiry_ms(), self.unanswered.next_expiry_ms()];
        ends.into_iter().chain([self.questions.next_event_ms()]).flatten().min()
    }

    /// What is known, if it is fresh enough for this asker.
    fn known(&mut self, key: &LoginKey, cache_s: u32, now: Now) -> Option<Membership> {
        let known = self.known.get(key, now.ms)?;
        let fresh_ms = match cache_s {
            0 => KNOWN_MS,
            s => u64::from(s).saturating_mul(1000).min(KNOWN_MS),
        };
        (now.ms.saturating_sub(known.at_ms) < fresh_ms).then_some(known.membership)
    }
}

impl<A> Dispatch<A> {
    /// Somebody asks whether the bearer of his credentials is in a group.
    ///
    /// Where his token is not here any more he is logged in first, as if he had asked for that, with the same limits.
    pub fn member(&mut self, lane: usize, asker: A, member: Member, now: Now) {
        let Member { login, group } = member;
        self.counts.group_requests = self.counts.group_requests.saturating_add(1);
        let key = match self.key_of(&login) {
            Ok(key) => key,
            Err(reply) => return self.turn_away(lane, asker, &login, reply),
        };
        let entry = self.cache.get(&key, now.ms);
        let token = entry.filter(|e| e.token.lifetime_s(now.unix_s) > LAST_S).map(|e| e.token.clone());
        if let Some(why) = self.hides(&key, &login, token.is_some(), now) {
            return self.stop(lane, asker, &login, why);
        }
        match token {
            Some(token) => self.ask_for_group(lane, asker, &login, key, token, group, now),
            None => self.log_in(lane, asker, &login, key, false, now),
        }
    }

    /// Answers from memory, joins a question, or begins one.
    #[expect(clippy::too_many_arguments, reason = "all that a question is made of")]
    fn ask_for_group(
        &mut self,
        lane: usize,
        asker: A,
        login: &GetToken,
        key: LoginKey,
        token: Token,
        group: String,
        now: Now,
    ) {
        let who = key.who;
        let verifier = self.key.verifier(&[
            b"group",
            who.cell().as_str().as_bytes(),
            who.realm().map_or("", Realm::as_str).as_bytes(),
            who.name().as_bytes(),
            &token.afs_id.to_le_bytes(),
            group.as_bytes(),
        ]);
        let key = LoginKey { who, verifier };
        if let Some(membership) = self.groups.known(&key, login.cache_expiration_s, now) {
            self.counts.group_cached = self.counts.group_cached.saturating_add(1);
            return self.reply(lane, asker, Reply::Member(membership));
        }
        let first = Waiter {
            lane,
            asker,
            address: login.address,
            lifetime_s: login.token_lifetime_s,
            cache_s: login.cache_expiration_s,
            until_ms: self.park_until_ms(now),
            wants_token: false,
        };
        let questions = &mut self.groups.questions;
        if let Some(question) = questions.find(&key) {
            return questions.join(question, first);
        }
        if let Some(failure) = self.groups.unanswered.get(&key, now.ms).copied() {
            return self.reply(lane, first.asker, Reply::Failed(failure));
        }
        if let Err(why) = questions.may_begin(&key.who, now.ms) {
            self.counts.stopped = self.counts.stopped.saturating_add(1);
            let failure = match why {
                NotBegun::CellSilent => Failure::CellUnreachable,
                NotBegun::QueueFull => Failure::Overload,
            };
            return self.reply(lane, first.asker, Reply::Failed(failure));
        }
        let patience_ms = self.settings.as_ref().map_or(0, |s| u64::from(s.login_deadline_ms));
        let job = Job {
            who: key.who.clone(),
            errand: Errand::Group { token, group: group.clone() },
            deadline_ms: now.ms.saturating_add(patience_ms),
        };
        questions.begin(key, job, group, first, now.ms);
        self.run_questions();
    }

    /// Hands out the questions that may be asked now.
    fn run_questions(&mut self) {
        while let Some((login, job)) = self.groups.questions.next_job() {
            self.counts.group_asked = self.counts.group_asked.saturating_add(1);
            self.out.push_back(Effect::Start { login, job });
        }
    }

    /// A question has ended, says its authenticator.
    pub(super) fn group_ended(&mut self, id: LoginId, answer: Answer, now: Now) {
        let Some(question) = self.groups.questions.end(id) else { return };
        let outcome = answer.and_then(|fruit| match fruit {
            Fruit::Group(membership) => Ok(membership),
            Fruit::Login(_) => Err(Refusal::local(Failure::Internal)),
        });
        self.conclude_question(id, question, outcome, now);
        self.run_questions();
    }

    /// Draws the consequences of a question that is over.
    fn conclude_question(
        &mut self,
        id: LoginId,
        question: Login<A, String>,
        outcome: Result<Membership, Refusal>,
        now: Now,
    ) {
        let (who, group) = (&question.key.who, &question.attempt);
        let home = who.home();
        let took_ms = now.ms.saturating_sub(question.asked_ms);
        let asked = question.is_handed();
        let (message, what) = match &outcome {
            Ok(Membership::Yes) => (message::MEMBERSHIP, "yes".to_owned()),
            Ok(Membership::No) => (message::MEMBERSHIP, "no".to_owned()),
            Ok(Membership::NoSuchGroup) => {
                (message::NO_SUCH_GROUP, format!("{} knows no such group", who.cell()))
            }
            Ok(Membership::Hidden) => {
                (message::MEMBERSHIP_HIDDEN, format!("{} does not tell him", who.cell()))
            }
            Err(Refusal { failure, step, code }) => {
                let what = format!("no answer: {} (step {}, error {code})", failure.word(), step.word());
                (message::GROUP_NOT_KNOWN, what)
            }
        };
        // Names of groups come from the configuration, and can be one: no blanks, nothing but ASCII.
        self.log(Line { message, text: format!("group {group} of {who}: {what} ({took_ms} ms)") });
        let breaker = self.groups.questions.breaker(&home);
        let changed = match outcome.as_ref().err().map(|refusal| (refusal.failure, refusal.step)) {
            Some((Failure::CellUnreachable | Failure::Deadline, _)) if asked => {
                breaker.silent(id, who, question.asked_ms, now.ms).then_some((
                    message::GROUPS_SILENT,
                    "does not say who is in groups, questions there fail at once for a while",
                ))
            }
            Some(
                (Failure::Internal | Failure::Overload | Failure::CellUnreachable | Failure::Deadline, _)
                | (Failure::NotAcceptable | Failure::CellNotAllowed, Step::Local),
            ) => {
                breaker.inconclusive(id, now.ms);
                None
            }
            _ => breaker.answered(now.ms).then_some((message::GROUPS_ANSWER, "says again who is in groups")),
        };
        let reply = match outcome {
            Ok(membership) => {
                let known = Known { membership, at_ms: now.ms };
                let until_ms = now.ms.saturating_add(KNOWN_MS);
                let _ = self.groups.known.insert(question.key, known, until_ms, now.ms);
                Reply::Member(membership)
            }
            Err(Refusal { failure, .. }) => {
                self.counts.group_unavailable = self.counts.group_unavailable.saturating_add(1);
                let until_ms = now.ms.saturating_add(UNAVAILABLE_MS);
                let _ = self.groups.unanswered.insert(question.key, failure, until_ms, now.ms);
                Reply::Failed(failure)
            }
        };
        for waiter in question.waiters {
            self.reply(waiter.lane, waiter.asker, reply.clone());
        }
        let Some((message, text)) = changed else { return };
        self.note(message, &format!("{} {home} {text}", kind(&home)));
        if self.groups.questions.breaker(&home).is_open(now.ms) {
            // Those who wait for their turn there would wait in vain.
            for waiting in self.groups.questions.matching(|q| !q.is_running() && q.key.who.home() == home) {
                self.end_question(waiting, Failure::CellUnreachable, now);
            }
        }
    }

    /// Ends a question without an answer.
    fn end_question(&mut self, id: LoginId, failure: Failure, now: Now) {
        if let Some(question) = self.groups.questions.end(id) {
            if question.is_running() {
                self.out.push_back(Effect::Kill { login: id });
            }
            self.conclude_question(id, question, Err(Refusal::local(failure)), now);
        }
    }

    /// Time has passed.
    pub(super) fn tick_groups(&mut self, now: Now) {
        for id in self.groups.questions.matching(|question| question.deadline_ms <= now.ms) {
            let handed = self.groups.questions.get(id).is_some_and(Login::is_handed);
            let failure = if handed { Failure::Deadline } else { Failure::Overload };
            self.end_question(id, failure, now);
        }
        let retry_ms = self.retry_ms();
        for waiter in self.groups.questions.impatient(now.ms) {
            self.reply(waiter.lane, waiter.asker, Reply::Pending { retry_ms });
        }
        drop(self.groups.known.sweep(now.ms));
        drop(self.groups.unanswered.sweep(now.ms));
        self.run_questions();
    }

    /// Forgets what groups somebody is in; questions that are under way for him are asked anew.
    pub(super) fn forget_groups(&mut self, covers: impl Fn(&Principal) -> bool, now: Now) {
        drop(self.groups.known.take_matching(|key, _| covers(&key.who)));
        drop(self.groups.unanswered.take_matching(|key, _| covers(&key.who)));
        let retry_ms = self.retry_ms();
        for id in self.groups.questions.matching(|question| covers(&question.key.who)) {
            let Some(question) = self.groups.questions.end(id) else { continue };
            if question.is_running() {
                self.out.push_back(Effect::Kill { login: id });
            }
            self.groups.questions.breaker(&question.key.who.home()).inconclusive(id, now.ms);
            for waiter in question.waiters {
                self.reply(waiter.lane, waiter.asker, Reply::Pending { retry_ms });
            }
        }
        self.run_questions();
    }

    /// Two lines for the administrator.
    pub(super) fn groups_status(&self, text: &mut String) {
        let (running, waiting) = self.groups.questions.counts();
        let c = self.counts;
        let written = writeln!(
            text,
            "groups: {} of {KNOWN_ENTRIES} memberships known; {running} questions running, {waiting} waiting\n\
             groups since start: {} asked for, {} from memory, {} asked of protection servers, {} without answer",
            self.groups.len(),
            c.group_requests,
            c.group_cached,
            c.group_asked,
            c.group_unavailable,
        );
        debug_assert!(written.is_ok(), "writing to a String");
    }
}
