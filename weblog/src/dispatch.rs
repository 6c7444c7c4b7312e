//! What becomes of a request: the cache, the memory of refused logins, the limits, a login.
//!
//! Pure: time comes in as a value, what is to be done goes out as [`Effect`]s.
//!
//! | request | handler | permitted | how often |
//! |---|---|---|---|
//! | `Ping` | `Pong` at once | always | once a lane: a lane has one asker |
//! | `Service` | [`Dispatch::service`] | as `GetToken`; identities of the configuration only | same; begins no login |
//! | `GetToken` | [`Dispatch::get_token`] | once there is a configuration; before, the asker is to ask again | same; logins: per cell, in all, and by [`crate::limiter`] |
//! | `Member` | [`Dispatch::member`] | as `GetToken`, by the same credentials | same; questions to protection servers: per cell and in all |
//!
//! An asker whose login takes longer than a moment is told to ask again, so that no lane waits for a cell.

use crate::audit::{self, Level, Line, Source, Verdict};
use crate::clock::Now;
use crate::config::{CellSettings, Settings};
use crate::limiter::{Limiter, Limits};
use crate::logins::{Bounds, Errand, Job, Login, LoginId, LoginKey, Logins, NotBegun, Secret, Waiter, Way};
use crate::outcome::{Answer, Fruit, Outcome, Refusal, Success};
use crate::services::{Act, Services};
use afsweb_cache::{Store, VerifierKey, expires_ms};
use core::fmt::Write as _;
use core::num::NonZeroUsize;
use pag::{Cell, Home, Principal, Realm, Token};
use std::collections::VecDeque;
use weblog_proto::reply::FailureClass;
use weblog_proto::{Failure, GetToken, Granted, Reply, Request, Service};

mod groups;
mod target;

use groups::Groups;
pub use target::{Behind, Target};

/// So long an asker waits for his login before he is told to ask again; at once, if half of the lanes hold one who waits:
/// the others are for those whose answer is known.
const PARK_MS: u64 = 100;
/// After so long he is to ask again, and a millisecond more for each login under way: so the last ones of a crowd hear of their
/// tokens soon, and all together ask about once a millisecond.
const RETRY_MS: u32 = 20;
/// But after so long in any case.
const RETRY_MAX_MS: u32 = 250;
/// The same before the first configuration, which comes a moment after the start.
const UNCONFIGURED_RETRY_MS: u32 = 20;
/// So long a login that failed for want of an answer is remembered: those who were told to ask again must get it.
const UNAVAILABLE_MS: u64 = 1_500;
/// Refused logins remembered.
const REFUSED_ENTRIES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(8_191);

/// Something to be done.
#[derive(Debug)]
pub enum Effect<A> {
    /// Answer an asker.
    Reply {
        /// His lane.
        lane: usize,
        /// Who.
        asker: A,
        /// What.
        reply: Reply,
    },
    /// Hand a login to an authenticator; tell [`Dispatch::handed`] when it has it, [`Dispatch::ended`] how it ended.
    Start {
        /// Its number.
        login: LoginId,
        /// What the authenticator needs.
        job: Job,
    },
    /// End this login's authenticator; its outcome is of no interest any more.
    Kill {
        /// Its number.
        login: LoginId,
    },
    /// Something was revoked: children must drop what they hold.
    Revoked,
    /// A line for the log.
    Log(Line),
}

/// A token in the cache.
struct Entry {
    token: Token,
    /// What the cell calls its owner.
    name: String,
    password_expires_days: Option<u8>,
    /// When the login ended.
    made: Now,
    /// Lifetime that was asked for; 0 = what the cell gives.
    lifetime_s: u32,
    /// End of the entry.
    expires_ms: u64,
}

/// Numbers for the status page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Requests for a token.
    pub requests: u64,
    /// Answered from the cache.
    pub cached: u64,
    /// Logins handed to an authenticator.
    pub logins: u64,
    /// Tokens obtained from cells.
    pub granted: u64,
    /// Logins that cells refused.
    pub refused: u64,
    /// Logins without a result.
    pub unavailable: u64,
    /// Requests stopped by a limit, a full queue or a silent cell.
    pub stopped: u64,
    /// Service identities that cannot be renewed at present.
    pub alarms: u64,
    /// Tokens in the cache.
    pub cache_entries: u64,
    /// Logins that run.
    pub running: u64,
    /// Logins that wait for their turn.
    pub waiting: u64,
    /// Questions for groups.
    pub group_requests: u64,
    /// Such as were answered from memory.
    pub group_cached: u64,
    /// Such as were handed to an authenticator.
    pub group_asked: u64,
    /// Such as had no answer.
    pub group_unavailable: u64,
    /// Memberships in memory.
    pub group_entries: u64,
}

/// The core of the broker.
pub struct Dispatch<A> {
    settings: Option<Settings>,
    /// How many lanes there are.
    lanes: usize,
    key: VerifierKey,
    cache: Store<LoginKey, Entry>,
    refused: Store<LoginKey, Failure>,
    limiter: Limiter,
    logins: Logins<A>,
    groups: Groups<A>,
    services: Services,
    counts: Counts,
    out: VecDeque<Effect<A>>,
}

impl<A> core::fmt::Debug for Dispatch<A> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Dispatch").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl<A> Dispatch<A> {
    /// Without a configuration yet; `key` is for the verifiers of passwords, `lanes` their number.
    #[must_use]
    pub fn new(key: VerifierKey, lanes: usize) -> Self {
        Self {
            settings: None,
            lanes,
            key,
            cache: Store::new(NonZeroUsize::MIN),
            refused: Store::new(REFUSED_ENTRIES),
            limiter: Limiter::new(Limits { per_user: 0, per_address: 0, window_ms: 1000 }),
            logins: Logins::new(Bounds { per_cell: 0, total: 0, queue_per_cell: 0 }, LoginId(1)),
            groups: Groups::new(),
            services: Services::default(),
            counts: Counts::default(),
            out: VecDeque::new(),
        }
    }

    /// The next thing to be done.
    pub fn effect(&mut self) -> Option<Effect<A>> {
        self.out.pop_front()
    }

    /// The numbers.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let size = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let (running, waiting) = self.logins.counts();
        Counts {
            alarms: size(self.services.alarms()),
            cache_entries: size(self.cache.len()),
            running: size(running),
            waiting: size(waiting),
            group_entries: size(self.groups.len()),
            ..self.counts
        }
    }

    /// The configuration, once there is one.
    #[must_use]
    pub fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }

    /// Applies a configuration; one that is older than the current one is ignored. Cache and logins stay, except for cells that are no longer allowed;
    /// cells that were silent are asked again.
    pub fn configure(&mut self, new: Settings, now: Now) {
        if self.settings.as_ref().is_some_and(|old| old.version > new.version) {
            self.note(Level::Warn, "an older configuration was ignored");
            return;
        }
        let gone: Vec<Target> = self.settings.iter().flat_map(|old| gone(old, &new)).collect();
        self.limiter.set_limits(new.limits);
        self.logins.set_bounds(new.bounds);
        self.logins.reset_breakers(now.ms);
        self.groups.configure(new.bounds, now.ms);
        if self.cache.capacity() != new.cache_entries {
            self.resize_cache(new.cache_entries, now);
        }
        self.settings = Some(new);
        for target in gone {
            self.forget(&target, now);
        }
        if let Some(settings) = &self.settings {
            let keep = |home: &Home| match home {
                Home::Cell(cell) => settings.cells.contains_key(cell),
                Home::Realm(realm) => settings.realms.contains(realm),
            };
            self.logins.retain_homes(keep);
            self.groups.retain_homes(keep);
        }
        let services = self.settings.as_ref().map(|s| s.services.clone()).unwrap_or_default();
        let acts = self.services.set(&services, now);
        self.act(acts, now);
        self.serve_services(now);
        self.run_next();
    }

    /// Moves the cache into one of another size, the most recently used entries last.
    fn resize_cache(&mut self, capacity: NonZeroUsize, now: Now) {
        let mut keys = Vec::new();
        let entries = self.cache.take_matching(|key, _| {
            keys.push(key.clone());
            true
        });
        self.cache = Store::new(capacity);
        for (key, entry) in keys.into_iter().zip(entries).rev() {
            let expires = entry.expires_ms;
            drop(self.cache.insert(key, entry, expires, now.ms));
        }
    }

    /// A request has come in on a lane.
    pub fn request(&mut self, lane: usize, asker: A, request: Request, now: Now) {
        // Whoever asked on this lane before has given up, else nobody else could ask there.
        self.logins.leave(lane);
        self.groups.leave(lane);
        match request {
            Request::Ping => self.reply(lane, asker, Reply::Pong),
            Request::Service(service) => self.service(lane, asker, &service, now),
            Request::GetToken(get) => self.get_token(lane, asker, get, now),
            Request::Member(member) => self.member(lane, asker, member, now),
        }
    }

    /// Somebody serves what a service identity is for.
    pub fn service(&mut self, lane: usize, asker: A, service: &Service, now: Now) {
        let reply = match &self.settings {
            Some(_) => self.services.answer(service, now),
            None => Reply::Pending { retry_ms: UNCONFIGURED_RETRY_MS },
        };
        self.reply(lane, asker, reply);
    }

    /// Lets service identities do what is due.
    fn serve_services(&mut self, now: Now) {
        let Some(deadline_ms) = self.settings.as_ref().map(|s| s.login_deadline_ms) else { return };
        let acts = self.services.tick(deadline_ms.into(), now);
        self.act(acts, now);
    }

    /// Carries out what service identities want.
    fn act(&mut self, acts: Vec<Act>, now: Now) {
        for act in acts {
            match act {
                Act::Kill(login) => self.out.push_back(Effect::Kill { login }),
                Act::Revoked => self.out.push_back(Effect::Revoked),
                Act::Log(line) => self.log(line),
                Act::Start(login, service) => {
                    let way = self.settings.as_ref().and_then(|s| way(s, service.who.cell()));
                    // The configuration was checked: its cell is an allowed one.
                    let (Some(way), Some(settings)) = (way, &self.settings) else { continue };
                    let job = Job {
                        who: service.who,
                        errand: Errand::Login {
                            secret: Secret::KeyFile(service.key_file),
                            lifetime_s: 0,
                            way,
                        },
                        deadline_ms: now.ms.saturating_add(settings.login_deadline_ms.into()),
                    };
                    self.counts.logins = self.counts.logins.saturating_add(1);
                    self.out.push_back(Effect::Start { login, job });
                }
            }
        }
    }

    /// Somebody's credentials: answers from memory, joins a login or begins one.
    pub fn get_token(&mut self, lane: usize, asker: A, get: GetToken, now: Now) {
        self.counts.requests = self.counts.requests.saturating_add(1);
        let key = match self.key_of(&get) {
            Ok(key) => key,
            Err(reply) => return self.turn_away(lane, asker, &get, reply),
        };
        let granted = self.cached(&key, &get, now);
        if let Some(limit) = self.hides(&key, &get, granted.is_some(), now) {
            return self.deny(lane, asker, &get, Failure::Overload, Source::Limit(limit));
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
    fn key_of(&self, get: &GetToken) -> Result<LoginKey, Reply> {
        // Workers may ask before the nanny has handed the configuration on.
        let settings = self.settings.as_ref().ok_or(Reply::Pending { retry_ms: UNCONFIGURED_RETRY_MS })?;
        let who = check(settings, get).map_err(Reply::Failed)?;
        let verifier = self.key.verifier(&[
            who.cell().as_str().as_bytes(),
            who.realm().map_or("", Realm::as_str).as_bytes(),
            who.name().as_bytes(),
            get.password.expose(),
        ]);
        Ok(LoginKey { who, verifier })
    }

    /// Says what [`Dispatch::key_of`] wants to be said.
    fn turn_away(&mut self, lane: usize, asker: A, get: &GetToken, reply: Reply) {
        match reply {
            Reply::Failed(failure) => self.deny(lane, asker, get, failure, Source::Checks),
            other => self.reply(lane, asker, other),
        }
    }

    /// Which limit keeps the memory from telling this asker what it knows, if he would learn something.
    fn hides(&mut self, key: &LoginKey, get: &GetToken, known: bool, now: Now) -> Option<&'static str> {
        let under_way = self.logins.find(key).and_then(|id| self.logins.get(id));
        // Not the one who began it: his own attempt counts as used up.
        let of_another = under_way.is_some_and(|login| login.address != get.address);
        if !known && !of_another {
            return None;
        }
        let limit = self.limiter.hides(&key.who, get.address, now.ms)?;
        self.counts.stopped = self.counts.stopped.saturating_add(1);
        Some(limit.word())
    }

    /// When whoever waits from now on is told to ask again.
    fn park_until_ms(&self, now: Now) -> u64 {
        let waiting = self.logins.waiting().saturating_add(self.groups.waiting());
        let park_ms = if waiting < self.lanes / 2 { PARK_MS } else { 0 };
        now.ms.saturating_add(park_ms)
    }

    /// Joins a login or begins one.
    fn log_in(&mut self, lane: usize, asker: A, get: &GetToken, key: LoginKey, wants_token: bool, now: Now) {
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
        if let Err(why) = self.logins.may_begin(&key.who.home(), now.ms) {
            self.counts.stopped = self.counts.stopped.saturating_add(1);
            let (failure, word) = match why {
                NotBegun::CellSilent => (Failure::CellUnreachable, "not asked, no answer lately"),
                NotBegun::QueueFull => (Failure::Overload, "too many logins wait"),
            };
            return self.deny(lane, asker, get, failure, Source::Busy(word));
        }
        let attempt = match self.limiter.begin(&key.who, get.address, now.ms) {
            Ok(attempt) => attempt,
            Err(limit) => {
                self.counts.stopped = self.counts.stopped.saturating_add(1);
                return self.deny(lane, asker, get, Failure::Overload, Source::Limit(limit.word()));
            }
        };
        let Some(way) = self.settings.as_ref().and_then(|s| way(s, key.who.cell())) else {
            return self.deny(lane, asker, get, Failure::CellNotAllowed, Source::Checks);
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

    /// The cached token, if this asker may have it.
    fn cached(&mut self, key: &LoginKey, get: &GetToken, now: Now) -> Option<Granted> {
        let entry = self.cache.get(key, now.ms)?;
        usable(entry, get.token_lifetime_s, get.cache_expiration_s, now)
    }

    /// An authenticator has got this login.
    pub fn handed(&mut self, login: LoginId) {
        if Groups::<A>::is_ours(login) {
            self.groups.handed(login);
        } else {
            self.logins.handed(login);
        }
    }

    /// A login or a question has ended, says its authenticator.
    pub fn ended(&mut self, login: LoginId, answer: Answer, now: Now) {
        if Groups::<A>::is_ours(login) {
            return self.group_ended(login, answer, now);
        }
        let outcome = answer.and_then(|fruit| match fruit {
            Fruit::Login(success) => Ok(success),
            Fruit::Group(_) => Err(Refusal::local(Failure::Internal)),
        });
        if Services::is_ours(login) {
            let Some(who) = self.services.who(login) else { return };
            let outcome = outcome.and_then(|success| plausible(success, who, now));
            let acts = self.services.ended(login, outcome, now);
            return self.act(acts.into_iter().collect(), now);
        }
        let Some(login_was) = self.logins.end(login) else { return };
        let outcome = outcome.and_then(|success| plausible(success, &login_was.key.who, now));
        self.conclude(login, login_was, outcome, now);
        self.run_next();
    }

    /// Draws the consequences of a login that is over.
    fn conclude(&mut self, id: LoginId, login: Login<A>, outcome: Outcome, now: Now) {
        let who = &login.key.who;
        let took_ms = now.ms.saturating_sub(login.asked_ms);
        let (verdict, step, code) = match &outcome {
            Ok(success) => (Verdict::Granted(success.password_expires_days), crate::outcome::Step::Proof, 0),
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
        let failure = outcome.as_ref().err().map(|refusal| refusal.failure);
        self.tell_breaker(id, &login, failure, now);
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
                    _ => self.limiter.failed(attempt),
                }
            }
            Some(_) => {
                self.counts.unavailable = self.counts.unavailable.saturating_add(1);
                self.limiter.take_back(attempt, now.ms);
            }
        }
        match outcome {
            Ok(success) => self.grant(login, success, now),
            Err(refusal) => self.refuse(login, refusal.failure, now),
        }
    }

    /// What the end of a login says about its cell.
    fn tell_breaker(&mut self, id: LoginId, login: &Login<A>, failure: Option<Failure>, now: Now) {
        let home = login.key.who.home();
        let asked = login.is_handed();
        let breaker = self.logins.breaker(&home);
        let changed = match failure {
            Some(Failure::CellUnreachable | Failure::Deadline) if asked => breaker
                .silent(id, login.asked_ms, now.ms)
                .then_some("does not answer, logins there fail at once for a while"),
            // Here it is: the reason says nothing of the servers.
            Some(
                Failure::NoKdc
                | Failure::Internal
                | Failure::Overload
                | Failure::CellUnreachable
                | Failure::Deadline,
            ) => {
                breaker.inconclusive(id, now.ms);
                None
            }
            _ => breaker.answered(now.ms).then_some("answers again"),
        };
        let Some(text) = changed else { return };
        self.note(Level::Warn, &format!("{} {home} {text}", kind(&home)));
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
        let stale =
            self.cache.take_matching(|key, _| key.who == login.key.who && key.verifier != login.key.verifier);
        if !stale.is_empty() {
            self.out.push_back(Effect::Revoked);
        }
        self.refused.remove(&login.key);
        drop(self.cache.insert(login.key, entry, expires, now.ms));
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

    /// Forgets somebody: tokens, refusals, failed logins, and logins under way. Children are told in any case.
    pub fn forget(&mut self, target: &Target, now: Now) -> usize {
        let target = &target.known_to(self.settings.as_ref());
        let tokens = self.cache.take_matching(|key, _| target.covers(&key.who)).len();
        drop(self.refused.take_matching(|key, _| target.covers(&key.who)));
        for id in self.logins.matching(|login| target.covers(&login.key.who)) {
            let Some(login) = self.logins.end(id) else { continue };
            if login.is_running() {
                self.out.push_back(Effect::Kill { login: id });
            }
            self.logins.breaker(&login.key.who.home()).inconclusive(id, now.ms);
            self.limiter.failed(login.attempt);
            let retry_ms = self.retry_ms();
            for waiter in login.waiters {
                self.reply(waiter.lane, waiter.asker, Reply::Pending { retry_ms });
            }
        }
        self.forget_groups(target, now);
        let of_services = self.services.forget(|who| target.covers(who), now);
        self.serve_services(now);
        match target {
            Target::All => self.limiter.clear(),
            _ => self.limiter.forget(|who| target.covers(who)),
        }
        self.out.push_back(Effect::Revoked);
        self.run_next();
        tokens.saturating_add(of_services)
    }

    /// Time has passed: deadlines, askers who have waited long enough, entries that have ended.
    pub fn tick(&mut self, now: Now) {
        for id in self.logins.matching(|login| login.deadline_ms <= now.ms) {
            let Some(login) = self.logins.end(id) else { continue };
            if login.is_running() {
                self.out.push_back(Effect::Kill { login: id });
            }
            // Without an authenticator it was we who had no time, not the cell.
            let failure = if login.is_handed() { Failure::Deadline } else { Failure::Overload };
            self.conclude(id, login, Err(Refusal::local(failure)), now);
        }
        let retry_ms = self.retry_ms();
        for waiter in self.logins.impatient(now.ms) {
            self.reply(waiter.lane, waiter.asker, Reply::Pending { retry_ms });
        }
        self.tick_groups(now);
        drop(self.cache.sweep(now.ms));
        drop(self.refused.sweep(now.ms));
        self.limiter.sweep(now.ms);
        self.serve_services(now);
        self.run_next();
    }

    /// After how long whoever is told so now is to ask again.
    fn retry_ms(&self) -> u32 {
        let (running, waiting) = self.logins.counts();
        let under_way = u32::try_from(running.saturating_add(waiting)).unwrap_or(u32::MAX);
        RETRY_MS.saturating_add(under_way).min(RETRY_MAX_MS)
    }

    /// When [`Dispatch::tick`] has something to do next.
    #[must_use]
    pub fn next_tick_ms(&self) -> Option<u64> {
        let others = [self.cache.next_expiry_ms(), self.refused.next_expiry_ms(), self.services.next_ms()];
        others.into_iter().chain([self.logins.next_event_ms(), self.groups.next_event_ms()]).flatten().min()
    }

    /// State in a few lines of text for the administrator.
    #[must_use]
    pub fn status(&self, now: Now) -> String {
        let (running, waiting) = self.logins.counts();
        let c = self.counts;
        let mut text = match &self.settings {
            Some(s) => format!("configuration {}, {} cells allowed\n", s.version, s.cells.len()),
            None => "no configuration yet\n".to_owned(),
        };
        let written = write!(
            text,
            "cache: {} of {} entries\nlogins: {running} running, {waiting} waiting\n\
             requests: {} in all, {} from the cache, {} stopped by limits\n\
             logins since start: {} begun, {} granted, {} refused, {} without result\n",
            self.cache.len(),
            self.cache.capacity(),
            c.requests,
            c.cached,
            c.stopped,
            c.logins,
            c.granted,
            c.refused,
            c.unavailable,
        );
        debug_assert!(written.is_ok(), "writing to a String");
        for home in self.logins.silent(now.ms) {
            text.push_str("silent: ");
            text.push_str(home.as_str());
            text.push('\n');
        }
        self.groups_status(&mut text);
        text.push_str(&self.services.status(now));
        text
    }

    /// Hands out the logins that may run now.
    fn run_next(&mut self) {
        while let Some((login, job)) = self.logins.next_job() {
            self.counts.logins = self.counts.logins.saturating_add(1);
            self.out.push_back(Effect::Start { login, job });
        }
    }

    /// Says no, and logs it.
    fn deny(&mut self, lane: usize, asker: A, get: &GetToken, failure: Failure, source: Source) {
        self.log(audit::decision(&get.user, asked_of(get), get.address, Verdict::Failed(failure), source));
        self.reply(lane, asker, Reply::Failed(failure));
    }

    fn reply(&mut self, lane: usize, asker: A, reply: Reply) {
        self.out.push_back(Effect::Reply { lane, asker, reply });
    }

    fn log(&mut self, line: Line) {
        self.out.push_back(Effect::Log(line));
    }

    fn note(&mut self, level: Level, text: &str) {
        self.log(Line { level, text: text.to_owned() });
    }
}

/// A token is not relied on in its last seconds: a request takes time, and an AFS client drops it on the second.
const LAST_S: u64 = 2;

/// Who is not allowed any more.
fn gone(old: &Settings, new: &Settings) -> Vec<Target> {
    let cells = old.cells.keys().filter(|cell| !new.cells.contains_key(cell)).cloned().map(Target::Cell);
    let realms = old.realms.difference(&new.realms).cloned().map(Target::Realm);
    cells.chain(realms).collect()
}

/// By which servers users of a cell are logged in.
fn way(settings: &Settings, cell: &Cell) -> Option<Way> {
    let CellSettings { method, realm } = settings.cells.get(cell)?.clone();
    let keytab = settings.keytab.as_ref().map(|path| path.to_string_lossy().into_owned());
    Some(Way { method, realm, keytab })
}

/// What stands behind the `@` of whoever asks.
fn asked_of(get: &GetToken) -> &str {
    get.realm.as_deref().unwrap_or(&get.cell)
}

/// The word for it.
fn kind(home: &Home) -> &'static str {
    match home {
        Home::Cell(_) => "cell",
        Home::Realm(_) => "realm",
    }
}

/// What an asker with these two limits gets of an entry, if anything.
fn usable(entry: &Entry, lifetime_s: u32, cache_s: u32, now: Now) -> Option<Granted> {
    let left_s = entry.token.lifetime_s(now.unix_s);
    // The cell rounds lifetimes up, so what was asked for counts, not what came of it.
    let short_enough = lifetime_s == 0
        || (entry.lifetime_s != 0 && entry.lifetime_s <= lifetime_s)
        || left_s <= u64::from(lifetime_s);
    let age_ms = now.ms.saturating_sub(entry.made.ms);
    let fresh_s = match cache_s {
        0 => u64::MAX,
        s => u64::from(s).saturating_mul(1000).saturating_sub(age_ms) / 1000,
    };
    let valid_s = left_s.saturating_sub(LAST_S).min(fresh_s);
    let first = age_ms == 0 && left_s > 0;
    (short_enough && (valid_s > 0 || first)).then(|| Granted {
        token: entry.token.clone(),
        name: entry.name.clone(),
        valid_s: u32::try_from(valid_s.max(1)).unwrap_or(u32::MAX),
        password_expires_days: entry.password_expires_days,
    })
}

/// Takes a success only if its token is what was asked for and still good.
///
/// # Errors
/// [`Failure::NotAccepted`] if not.
fn plausible(success: Success, who: &Principal, now: Now) -> Outcome {
    let token = &success.token;
    let ticket_fits = (Token::TICKET_MIN..=Token::TICKET_MAX).contains(&token.ticket.len());
    if token.cell == *who.cell() && token.lifetime_s(now.unix_s) > 0 && ticket_fits {
        Ok(success)
    } else {
        Err(Refusal::local(Failure::NotAccepted))
    }
}

/// Whether this may be asked of a cell at all, and for whom. Workers have checked it too; they are not believed.
///
/// # Errors
/// The failure to answer with.
fn check(settings: &Settings, get: &GetToken) -> Result<Principal, Failure> {
    let cell = Cell::new(&get.cell).map_err(|_| Failure::CellNotAllowed)?;
    let its = settings.cells.get(&cell).ok_or(Failure::CellNotAllowed)?;
    let mut who = Principal::new(&get.user, cell).map_err(|_| Failure::NotAcceptable)?;
    if let Some(name) = &get.realm {
        let realm = Realm::new(name).ok().filter(|realm| settings.realms.contains(realm));
        let realm = realm.ok_or(Failure::CellNotAllowed)?;
        // Who names the cell's own realm is the same user, and has no guesses more for it.
        if its.realm.as_ref() != Some(&realm) {
            who = who.of_realm(realm);
        }
    }
    let password = get.password.expose();
    if password.is_empty() || password.len() > weblog_proto::Password::MAX || password.contains(&0) {
        return Err(Failure::NotAcceptable);
    }
    Ok(who)
}

#[cfg(test)]
mod tests;
