//! The consequences of a login that is over.

use super::entry::{Entry, usable};
use super::{CHANGED_MS, Dispatch, Effect, UNAVAILABLE_MS, kind};
use crate::audit::{self, Source, Verdict};
use crate::clock::Now;
use crate::logins::{Login, LoginId};
use crate::message;
use crate::outcome::{Outcome, Refusal, Step, Success};
use afsweb_cache::expires_ms;
use pag::Principal;
use weblog_proto::reply::FailureClass;
use weblog_proto::{Failure, Reply};

impl<A> Dispatch<A> {
    /// Draws the consequences of a login that is over.
    pub(super) fn conclude(&mut self, id: LoginId, login: Login<A>, outcome: Outcome, now: Now) {
        let who = &login.key.who;
        let took_ms = now.ms.saturating_sub(login.asked_ms);
        let (verdict, step, code) = match &outcome {
            Ok(success) => (Verdict::Granted(success.password_expires_days), Step::Proof, 0),
            Err(refusal) => (Verdict::Failed(refusal.failure), refusal.step, refusal.code),
        };
        let line = audit::decision(
            who.name(),
            who.home().as_str(),
            login.address,
            verdict,
            Source::Login(step, code, took_ms),
        );
        self.out.push_back(Effect::Log(line));
        self.tell_breaker(id, &login, outcome.as_ref().err(), now);
        let failure = outcome.as_ref().err().map(|refusal| refusal.failure);
        let attempt = login.attempt.clone();
        match failure {
            None => {
                self.counts.granted = self.counts.granted.saturating_add(1);
                self.limiter.succeeded(attempt, now.ms);
            }
            Some(failure) if failure.class() == FailureClass::Credentials => {
                self.counts.refused = self.counts.refused.saturating_add(1);
                match failure {
                    Failure::NotAcceptable | Failure::CellNotAllowed => {
                        self.limiter.take_back(attempt, now.ms)
                    }
                    _ => self.limiter.failed(attempt, now.ms),
                }
            }
            Some(_) => {
                self.counts.unavailable = self.counts.unavailable.saturating_add(1);
                if self.contradicts_memory(&login.key) {
                    self.limiter.failed(attempt, now.ms);
                } else {
                    self.limiter.take_back(attempt, now.ms);
                }
            }
        }
        match outcome {
            Ok(success) => self.grant(login, success, now),
            Err(refusal) => self.refuse(login, refusal.failure, now),
        }
    }

    /// What the end of a login says about its cell.
    fn tell_breaker(&mut self, id: LoginId, login: &Login<A>, refusal: Option<&Refusal>, now: Now) {
        let home = login.key.who.home();
        let asked = login.is_handed();
        let breaker = self.logins.breaker(&home);
        let changed = match refusal.map(|refusal| (refusal.failure, refusal.step)) {
            Some((Failure::CellUnreachable | Failure::Deadline, _)) if asked => breaker
                .silent(id, &login.key.who, login.asked_ms, now.ms)
                .then_some((message::CELL_SILENT, "does not answer, logins there fail at once for a while")),
            // Here it is: the reason says nothing of the servers.
            Some(
                (
                    Failure::NoKdc
                    | Failure::Internal
                    | Failure::Overload
                    | Failure::CellUnreachable
                    | Failure::Deadline,
                    _,
                )
                | (Failure::NotAcceptable | Failure::CellNotAllowed | Failure::ClockSkew, Step::Local),
            ) => {
                breaker.inconclusive(id, now.ms);
                None
            }
            _ => breaker.answered(now.ms).then_some((message::CELL_ANSWERS, "answers again")),
        };
        let Some((message, text)) = changed else { return };
        self.note(message, &format!("{} {home} {text}", kind(&home)));
        if self.logins.breaker(&home).is_open(now.ms) {
            // Those who wait for their turn there would wait in vain.
            for waiting in self.logins.matching(|l| !l.is_running() && l.key.who.home() == home) {
                self.end_unstarted(waiting, Failure::CellUnreachable, now);
            }
        }
    }

    /// Ends a login that no authenticator has got.
    fn end_unstarted(&mut self, id: LoginId, failure: Failure, now: Now) {
        if let Some(login) = self.logins.end(id) {
            self.conclude(id, login, Err(Refusal::local(failure)), now);
        }
    }

    /// Keeps the token and answers those who wait.
    fn grant(&mut self, login: Login<A>, success: Success, now: Now) {
        let limit = (login.cache_s != 0).then_some(u64::from(login.cache_s));
        let expires = expires_ms(now.ms, now.unix_s, success.token.end, limit).unwrap_or(now.ms);
        let entry = Entry {
            token: success.token,
            name: success.name,
            password_expires_days: success.password_expires_days,
            made: now,
            lifetime_s: login.lifetime_s,
            expires_ms: expires,
        };
        let retry_ms = self.retry_ms();
        for waiter in login.waiters {
            let granted = usable(&entry, waiter.lifetime_s, waiter.cache_s, now);
            let reply =
                granted.filter(|_| waiter.wants_token).map_or(Reply::Pending { retry_ms }, Reply::Granted);
            self.reply(waiter.lane, waiter.asker, reply);
        }
        // Another password of this user has been changed since: what was kept under it is stale, here and in children.
        let stale = self.cache.take_matching(|key, _| {
            key.who.is_same_user(&login.key.who) && key.verifier != login.key.verifier
        });
        if !stale.is_empty() {
            self.tell_changed(&login.key.who, now);
        }
        self.refused.remove(&login.key);
        drop(self.cache.insert(login.key, entry, expires, now.ms));
    }

    /// Somebody has a new password: children must forget the old one's logins, which costs them everybody's.
    ///
    /// So once a while is enough: a password may have two forms that the cell takes, which its owner could use by turns.
    fn tell_changed(&mut self, who: &Principal, now: Now) {
        let who = who.folded();
        if self.changed.get(&who, now.ms).is_none() {
            let until_ms = now.ms.saturating_add(CHANGED_MS);
            let _ = self.changed.insert(who, (), until_ms, now.ms);
            self.out.push_back(Effect::Revoked);
        }
    }

    /// Remembers the refusal and answers those who wait.
    fn refuse(&mut self, login: Login<A>, failure: Failure, now: Now) {
        let refused_ms = self.settings.as_ref().map_or(0, |s| u64::from(s.refused_ms));
        // Those who were told to ask again must find it, so never shorter than they take to do that.
        let keep_ms = match failure.class() {
            FailureClass::Credentials => refused_ms.max(UNAVAILABLE_MS),
            FailureClass::Unavailable => UNAVAILABLE_MS,
        };
        let _ = self.refused.insert(login.key, failure, now.ms.saturating_add(keep_ms), now.ms);
        for waiter in login.waiters {
            self.reply(waiter.lane, waiter.asker, Reply::Failed(failure));
        }
    }
}
