//! Somebody's credentials: answered from memory, or by a login that is joined or begun.

use super::checks::check;
use super::entry::usable;
use super::{ADDRESS_RETRY_MS, Dispatch, UNCONFIGURED_RETRY_MS, way};
use crate::audit::{self, Source, Verdict};
use crate::clock::Now;
use crate::limiter::Stopped;
use crate::logins::{Errand, Job, LoginKey, NotBegun, Secret, Waiter};
use pag::Realm;
use weblog_proto::{Failure, GetToken, Granted, Reply};

impl<A> Dispatch<A> {
    /// Somebody's credentials: answers from memory, joins a login or begins one.
    pub fn get_token(&mut self, lane: usize, asker: A, get: GetToken, now: Now) {
        self.counts.requests = self.counts.requests.saturating_add(1);
        let key = match self.key_of(&get) {
            Ok(key) => key,
            Err(reply) => return self.turn_away(lane, asker, &get, reply),
        };
        let granted = self.cached(&key, &get, now);
        if let Some(why) = self.hides(&key, &get, granted.is_some(), now) {
            return self.stop(lane, asker, &get, why);
        }
        if let Some(granted) = granted {
            self.counts.cached = self.counts.cached.saturating_add(1);
            self.log(audit::decision(
                &get.user,
                asked_of(&get),
                get.address,
                Verdict::Granted(granted.password_expires_days),
                Source::Memory,
            ));
            return self.reply(lane, asker, Reply::Granted(granted));
        }
        self.log_in(lane, asker, &get, key, true, now);
    }

    /// Whom these credentials are for, and what his entry is found by.
    ///
    /// # Errors
    /// The answer, if they are for nobody or nothing is known yet.
    pub(super) fn key_of(&self, get: &GetToken) -> Result<LoginKey, Reply> {
        // Workers may ask before the nanny has handed the configuration on.
        let settings = self.settings.as_ref().ok_or(Reply::Pending { retry_ms: UNCONFIGURED_RETRY_MS })?;
        let who = check(settings, get).map_err(Reply::Failed)?;
        // Of one user's name in two cases, the verifiers tell only whether the password is the same.
        let name = who.name().to_ascii_lowercase();
        let verifier = self.key.verifier(&[
            who.cell().as_str().as_bytes(),
            who.realm().map_or("", Realm::as_str).as_bytes(),
            name.as_bytes(),
            get.password.expose(),
        ]);
        Ok(LoginKey { who, verifier })
    }

    /// Says what [`Dispatch::key_of`] wants to be said.
    pub(super) fn turn_away(&mut self, lane: usize, asker: A, get: &GetToken, reply: Reply) {
        match reply {
            Reply::Failed(failure) => self.deny(lane, asker, get, failure, Source::Checks),
            other => self.reply(lane, asker, other),
        }
    }

    /// Says that a limit allows no attempt: never, or not yet.
    pub(super) fn stop(&mut self, lane: usize, asker: A, get: &GetToken, why: Stopped) {
        match why {
            Stopped::Exceeded(limit) => {
                self.counts.stopped = self.counts.stopped.saturating_add(1);
                self.deny(lane, asker, get, Failure::Overload, Source::Limit(limit.word()));
            }
            Stopped::UnderWay => {
                self.reply(lane, asker, Reply::Pending { retry_ms: ADDRESS_RETRY_MS });
            }
        }
    }

    /// Whether memory knows another password of that user: a guess that the cell does not answer counts then, since the
    /// right one would be told from it.
    pub(super) fn contradicts_memory(&self, key: &LoginKey) -> bool {
        self.cache.oldest(|k, _| k.who.is_same_user(&key.who) && k.verifier != key.verifier).is_some()
    }

    /// Which limit keeps the memory from telling this asker what it knows, if he would learn something.
    pub(super) fn hides(&mut self, key: &LoginKey, get: &GetToken, known: bool, now: Now) -> Option<Stopped> {
        let under_way = self.logins.find(key).and_then(|id| self.logins.get(id));
        // Not the one who began it: his own attempt counts as used up.
        let of_another = under_way.is_some_and(|login| login.address != get.address);
        if !known && !of_another {
            return None;
        }
        self.limiter.hides(&key.who, get.address, now.ms)
    }

    /// The cached token, if this asker may have it.
    fn cached(&mut self, key: &LoginKey, get: &GetToken, now: Now) -> Option<Granted> {
        let entry = self.cache.get(key, now.ms)?;
        usable(entry, get.token_lifetime_s, get.cache_expiration_s, now)
    }

    /// Joins a login or begins one.
    pub(super) fn log_in(
        &mut self,
        lane: usize,
        asker: A,
        get: &GetToken,
        key: LoginKey,
        wants_token: bool,
        now: Now,
    ) {
        let until_ms = self.park_until_ms(now);
        let waiter = |asker| Waiter {
            lane,
            asker,
            address: get.address,
            lifetime_s: get.token_lifetime_s,
            cache_s: get.cache_expiration_s,
            until_ms,
            wants_token,
        };
        if let Some(login) = self.logins.find(&key) {
            return self.logins.join(login, waiter(asker));
        }
        if let Some(failure) = self.refused.get(&key, now.ms).copied() {
            return self.deny(lane, asker, get, failure, Source::Memory);
        }
        let Some(way) = self.settings.as_ref().and_then(|s| way(s, key.who.cell())) else {
            return self.deny(lane, asker, get, Failure::CellNotAllowed, Source::Checks);
        };
        if let Err(why) = self.logins.may_begin(&key.who, now.ms) {
            if self.contradicts_memory(&key) {
                match self.limiter.begin(&key.who, get.address, now.ms) {
                    Ok(attempt) => self.limiter.failed(attempt, now.ms),
                    Err(why) => return self.stop(lane, asker, get, why),
                }
            }
            self.counts.stopped = self.counts.stopped.saturating_add(1);
            let (failure, word) = match why {
                NotBegun::CellSilent => (Failure::CellUnreachable, "not asked, no answer lately"),
                NotBegun::QueueFull => (Failure::Overload, "too many logins wait"),
            };
            return self.deny(lane, asker, get, failure, Source::Busy(word));
        }
        let attempt = match self.limiter.begin(&key.who, get.address, now.ms) {
            Ok(attempt) => attempt,
            Err(why) => return self.stop(lane, asker, get, why),
        };
        let deadline = self.settings.as_ref().map_or(0, |s| u64::from(s.login_deadline_ms));
        let job = Job {
            who: key.who.clone(),
            errand: Errand::Login {
                secret: Secret::Password(get.password.clone()),
                lifetime_s: get.token_lifetime_s,
                way,
            },
            deadline_ms: now.ms.saturating_add(deadline),
        };
        let first = waiter(asker);
        self.logins.begin(key, job, attempt, first, now.ms);
        self.run_next();
    }

    /// Says no, and logs it.
    pub(super) fn deny(&mut self, lane: usize, asker: A, get: &GetToken, failure: Failure, source: Source) {
        self.log(audit::decision(&get.user, asked_of(get), get.address, Verdict::Failed(failure), source));
        self.reply(lane, asker, Reply::Failed(failure));
    }
}

/// What stands behind the `@` of whoever asks.
fn asked_of(get: &GetToken) -> &str {
    get.realm.as_deref().unwrap_or(&get.cell)
}
