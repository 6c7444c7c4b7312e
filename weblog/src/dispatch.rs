//! What becomes of a request: the cache, the memory of refused logins, the limits, a login.
//!
//! Pure: time comes in as a value, what is to be done goes out as [`Effect`]s.
//!
//! | request | handler | permitted | how often |
//! |---|---|---|---|
//! | `Ping` | `Pong` at once | always | once a lane: a lane has one asker |
//! | `GetToken` | [`Dispatch::get_token`] | once there is a configuration | same; logins: per cell, in all, and by [`crate::limiter`] |
//!
//! An asker whose login takes longer than a moment is told to ask again, so that no lane waits for a cell.

use crate::audit::{self, Level, Line, Source, Verdict};
use crate::clock::Now;
use crate::config::Settings;
use crate::limiter::{Limiter, Limits};
use crate::logins::{Bounds, Job, Login, LoginId, LoginKey, Logins, NotBegun, Waiter};
use crate::outcome::{Outcome, Refusal, Success};
use afsweb_cache::{Store, VerifierKey, expires_ms};
use core::fmt::Write as _;
use core::num::NonZeroUsize;
use pag::{Cell, Principal, Token};
use std::collections::VecDeque;
use weblog_proto::reply::FailureClass;
use weblog_proto::{Failure, GetToken, Granted, Reply, Request};

/// So long an asker waits for his login before he is told to ask again.
const PARK_MS: u64 = 100;
/// After so long he is to ask again.
const RETRY_MS: u32 = 100;
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
    /// Hand a login to an authenticator; tell [`Dispatch::ended`] how it ended.
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
    password_expires_days: Option<u8>,
    /// When the login ended.
    made: Now,
    /// Lifetime that was asked for; 0 = what the cell gives.
    lifetime_s: u32,
    /// End of the entry.
    expires_ms: u64,
}

/// Whom to forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One user.
    User(Principal),
    /// All users of a cell.
    Cell(Cell),
    /// Everybody.
    All,
}

impl Target {
    /// Whether it is about this user.
    fn covers(&self, who: &Principal) -> bool {
        match self {
            Self::User(user) => user == who,
            Self::Cell(cell) => cell == who.cell(),
            Self::All => true,
        }
    }
}

impl core::fmt::Display for Target {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::User(who) => write!(f, "{who}"),
            Self::Cell(cell) => write!(f, "@{cell}"),
            Self::All => f.write_str("everybody"),
        }
    }
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
}

/// The core of the broker.
pub struct Dispatch<A> {
    settings: Option<Settings>,
    key: VerifierKey,
    cache: Store<LoginKey, Entry>,
    refused: Store<LoginKey, Failure>,
    limiter: Limiter,
    logins: Logins<A>,
    counts: Counts,
    out: VecDeque<Effect<A>>,
}

impl<A> core::fmt::Debug for Dispatch<A> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Dispatch").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl<A> Dispatch<A> {
    /// Without a configuration yet; `key` is for the verifiers of passwords.
    #[must_use]
    pub fn new(key: VerifierKey) -> Self {
        Self {
            settings: None,
            key,
            cache: Store::new(NonZeroUsize::MIN),
            refused: Store::new(REFUSED_ENTRIES),
            limiter: Limiter::new(Limits { per_user: 0, per_address: 0, window_ms: 1000 }),
            logins: Logins::new(Bounds { per_cell: 0, total: 0, queue_per_cell: 0 }),
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
        self.counts
    }

    /// The configuration, once there is one.
    #[must_use]
    pub fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }

    /// Applies a configuration; one that is older than the current one is ignored. Cache and logins stay, except for cells that are no longer allowed.
    pub fn configure(&mut self, new: Settings, now: Now) {
        if self.settings.as_ref().is_some_and(|old| old.version > new.version) {
            self.note(Level::Warn, "an older configuration was ignored");
            return;
        }
        let gone: Vec<Cell> = self
            .settings
            .iter()
            .flat_map(|old| old.cells.keys())
            .filter(|cell| !new.cells.contains_key(cell))
            .cloned()
            .collect();
        self.limiter.set_limits(new.limits);
        self.logins.set_bounds(new.bounds);
        if self.cache.capacity() != new.cache_entries {
            self.resize_cache(new.cache_entries, now);
        }
        self.settings = Some(new);
        for cell in gone {
            self.forget(&Target::Cell(cell), now);
        }
        if let Some(settings) = &self.settings {
            self.logins.retain_cells(|cell| settings.cells.contains_key(cell));
        }
        self.run_next(now);
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
        match request {
            Request::Ping => {
                self.logins.leave(lane);
                self.reply(lane, asker, Reply::Pong);
            }
            Request::GetToken(get) => self.get_token(lane, asker, get, now),
        }
    }

    /// Somebody's credentials: answers from memory, joins a login or begins one.
    pub fn get_token(&mut self, lane: usize, asker: A, get: GetToken, now: Now) {
        self.counts.requests = self.counts.requests.saturating_add(1);
        // Whoever asked on this lane before has given up, else nobody else could ask there.
        self.logins.leave(lane);
        let who = match self.check(&get) {
            Ok(who) => who,
            Err(failure) => return self.deny(lane, asker, &get, failure, Source::Checks),
        };
        let verifier = self.key.verifier(&[
            who.cell().as_str().as_bytes(),
            who.name().as_bytes(),
            get.password.expose(),
        ]);
        let key = LoginKey { who, verifier };

        let granted = self.cached(&key, &get, now);
        let under_way = self.logins.find(&key);
        // Not the one who began it: his own attempt counts as used up.
        let of_another =
            under_way.and_then(|id| self.logins.get(id)).is_some_and(|l| l.address != get.address);
        if (granted.is_some() || of_another)
            && let Some(limit) = self.limiter.hides(&key.who, get.address, now.ms)
        {
            self.counts.stopped = self.counts.stopped.saturating_add(1);
            return self.deny(lane, asker, &get, Failure::Overload, Source::Limit(limit.word()));
        }
        if let Some(granted) = granted {
            self.counts.cached = self.counts.cached.saturating_add(1);
            self.log(audit::decision(&get.user, &get.cell, get.address, Verdict::Granted, Source::Memory));
            return self.reply(lane, asker, Reply::Granted(granted));
        }
        let waiter = |asker| Waiter {
            lane,
            asker,
            address: get.address,
            lifetime_s: get.token_lifetime_s,
            cache_s: get.cache_expiration_s,
            until_ms: now.ms.saturating_add(PARK_MS),
        };
        if let Some(login) = under_way {
            return self.logins.join(login, waiter(asker));
        }
        if let Some(failure) = self.refused.get(&key, now.ms).copied() {
            return self.deny(lane, asker, &get, failure, Source::Memory);
        }
        if let Err(why) = self.logins.may_begin(key.who.cell(), now.ms) {
            self.counts.stopped = self.counts.stopped.saturating_add(1);
            let (failure, word) = match why {
                NotBegun::CellSilent => (Failure::CellUnreachable, "not asked, no answer lately"),
                NotBegun::QueueFull => (Failure::Overload, "too many logins wait"),
            };
            return self.deny(lane, asker, &get, failure, Source::Busy(word));
        }
        let attempt = match self.limiter.begin(&key.who, get.address, now.ms) {
            Ok(attempt) => attempt,
            Err(limit) => {
                self.counts.stopped = self.counts.stopped.saturating_add(1);
                return self.deny(lane, asker, &get, Failure::Overload, Source::Limit(limit.word()));
            }
        };
        let deadline = self.settings.as_ref().map_or(0, |s| u64::from(s.login_deadline_ms));
        let job = Job {
            who: key.who.clone(),
            password: get.password.clone(),
            lifetime_s: get.token_lifetime_s,
            deadline_ms: now.ms.saturating_add(deadline),
        };
        let first = waiter(asker);
        self.logins.begin(key, job, attempt, first, now.ms);
        self.run_next(now);
    }

    /// Whether this may be asked of a cell at all, and for whom. Workers have checked it too; they are not believed.
    ///
    /// # Errors
    /// The failure to answer with.
    fn check(&self, get: &GetToken) -> Result<Principal, Failure> {
        let settings = self.settings.as_ref().ok_or(Failure::Internal)?;
        let cell = Cell::new(&get.cell).map_err(|_| Failure::CellNotAllowed)?;
        if !settings.cells.contains_key(&cell) {
            return Err(Failure::CellNotAllowed);
        }
        let who = Principal::new(&get.user, cell).map_err(|_| Failure::NotAcceptable)?;
        let password = get.password.expose();
        if password.is_empty() || password.len() > weblog_proto::Password::MAX || password.contains(&0) {
            return Err(Failure::NotAcceptable);
        }
        Ok(who)
    }

    /// The cached token, if this asker may have it.
    fn cached(&mut self, key: &LoginKey, get: &GetToken, now: Now) -> Option<Granted> {
        let entry = self.cache.get(key, now.ms)?;
        usable(entry, get.token_lifetime_s, get.cache_expiration_s, now)
    }

    /// A login has ended, says its authenticator.
    pub fn ended(&mut self, login: LoginId, outcome: Outcome, now: Now) {
        let Some(login_was) = self.logins.end(login) else { return };
        let outcome = outcome.and_then(|success| plausible(success, &login_was.key.who, now));
        self.conclude(login, login_was, outcome, now);
        self.run_next(now);
    }

    /// Draws the consequences of a login that is over.
    fn conclude(&mut self, id: LoginId, login: Login<A>, outcome: Outcome, now: Now) {
        let who = &login.key.who;
        let took_ms = now.ms.saturating_sub(login.asked_ms);
        let (verdict, step, code) = match &outcome {
            Ok(_) => (Verdict::Granted, crate::outcome::Step::Proof, 0),
            Err(refusal) => (Verdict::Failed(refusal.failure), refusal.step, refusal.code),
        };
        let line = audit::decision(
            who.name(),
            who.cell().as_str(),
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
        let cell = login.key.who.cell().clone();
        let ran = login.is_running();
        let breaker = self.logins.breaker(&cell);
        let changed = match failure {
            Some(Failure::CellUnreachable | Failure::Deadline) if ran => breaker
                .silent(id, login.asked_ms, now.ms)
                .then_some("does not answer, logins there fail at once for a while"),
            Some(Failure::Internal | Failure::Overload | Failure::CellUnreachable | Failure::Deadline) => {
                breaker.inconclusive(id, now.ms);
                None
            }
            _ => breaker.answered(now.ms).then_some("answers again"),
        };
        let Some(text) = changed else { return };
        self.note(Level::Warn, &format!("cell {cell} {text}"));
        if self.logins.breaker(&cell).is_open(now.ms) {
            // Those who wait for their turn there would wait in vain.
            for waiting in self.logins.matching(|l| !l.is_running() && *l.key.who.cell() == cell) {
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
            password_expires_days: success.password_expires_days,
            made: now,
            lifetime_s: login.lifetime_s,
            expires_ms: expires,
        };
        for waiter in login.waiters {
            let reply = usable(&entry, waiter.lifetime_s, waiter.cache_s, now)
                .map_or(Reply::Pending { retry_ms: RETRY_MS }, Reply::Granted);
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
        let tokens = self.cache.take_matching(|key, _| target.covers(&key.who)).len();
        drop(self.refused.take_matching(|key, _| target.covers(&key.who)));
        for id in self.logins.matching(|login| target.covers(&login.key.who)) {
            let Some(login) = self.logins.end(id) else { continue };
            if login.is_running() {
                self.out.push_back(Effect::Kill { login: id });
            }
            self.logins.breaker(login.key.who.cell()).inconclusive(id, now.ms);
            self.limiter.failed(login.attempt);
            for waiter in login.waiters {
                self.reply(waiter.lane, waiter.asker, Reply::Pending { retry_ms: RETRY_MS });
            }
        }
        match target {
            Target::All => self.limiter.clear(),
            Target::User(_) | Target::Cell(_) => self.limiter.forget(|who| target.covers(who)),
        }
        self.out.push_back(Effect::Revoked);
        self.run_next(now);
        tokens
    }

    /// Time has passed: deadlines, askers who have waited long enough, entries that have ended.
    pub fn tick(&mut self, now: Now) {
        for id in self.logins.matching(|login| login.deadline_ms <= now.ms) {
            let Some(login) = self.logins.end(id) else { continue };
            let failure = if login.is_running() {
                self.out.push_back(Effect::Kill { login: id });
                Failure::Deadline
            } else {
                Failure::Overload
            };
            self.conclude(id, login, Err(Refusal::local(failure)), now);
        }
        for waiter in self.logins.impatient(now.ms) {
            self.reply(waiter.lane, waiter.asker, Reply::Pending { retry_ms: RETRY_MS });
        }
        drop(self.cache.sweep(now.ms));
        drop(self.refused.sweep(now.ms));
        self.limiter.sweep(now.ms);
        self.run_next(now);
    }

    /// When [`Dispatch::tick`] has something to do next.
    #[must_use]
    pub fn next_tick_ms(&self) -> Option<u64> {
        [self.logins.next_event_ms(), self.cache.next_expiry_ms(), self.refused.next_expiry_ms()]
            .into_iter()
            .flatten()
            .min()
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
        for cell in self.logins.silent_cells(now.ms) {
            text.push_str("silent: ");
            text.push_str(cell.as_str());
            text.push('\n');
        }
        text
    }

    /// Hands out the logins that may run now.
    fn run_next(&mut self, now: Now) {
        while let Some((login, job)) = self.logins.next_job(now.ms) {
            self.counts.logins = self.counts.logins.saturating_add(1);
            self.out.push_back(Effect::Start { login, job });
        }
    }

    /// Says no, and logs it.
    fn deny(&mut self, lane: usize, asker: A, get: &GetToken, failure: Failure, source: Source) {
        self.log(audit::decision(&get.user, &get.cell, get.address, Verdict::Failed(failure), source));
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
    let valid_s = left_s.min(fresh_s);
    let first = age_ms == 0 && left_s > 0;
    (short_enough && (valid_s > 0 || first)).then(|| Granted {
        token: entry.token.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::sample;
    use crate::outcome::Step;
    use pag::SessionKey;
    use std::collections::HashMap;
    use std::net::IpAddr;
    use weblog_proto::{BrokerConfig, Password};
    use zeroize::Zeroizing;

    const START: i64 = 1_800_000_000;

    /// A broker with a clock that is set by hand and authenticators that answer when told to.
    struct World {
        broker: Dispatch<u32>,
        ms: u64,
        replies: HashMap<u32, Reply>,
        running: Vec<(LoginId, Job)>,
        killed: Vec<LoginId>,
        revoked: usize,
        started: usize,
        next_asker: u32,
    }

    impl World {
        fn new(change: impl FnOnce(&mut BrokerConfig)) -> Self {
            let mut config = sample();
            change(&mut config);
            let mut w = Self {
                broker: Dispatch::new(VerifierKey::random().unwrap()),
                ms: 0,
                replies: HashMap::new(),
                running: Vec::new(),
                killed: Vec::new(),
                revoked: 0,
                started: 0,
                next_asker: 0,
            };
            w.broker.configure(Settings::new(&config).unwrap(), w.now());
            w.drain();
            w
        }

        fn now(&self) -> Now {
            Now { ms: self.ms, unix_s: START + (self.ms / 1000) as i64 }
        }

        fn drain(&mut self) {
            while let Some(effect) = self.broker.effect() {
                match effect {
                    Effect::Reply { asker, reply, .. } => {
                        assert!(self.replies.insert(asker, reply).is_none(), "asker {asker} answered twice");
                    }
                    Effect::Start { login, job } => {
                        self.started += 1;
                        self.running.push((login, job));
                    }
                    Effect::Kill { login } => {
                        self.running.retain(|(id, _)| *id != login);
                        self.killed.push(login);
                    }
                    Effect::Revoked => self.revoked += 1,
                    Effect::Log(line) => assert!(!line.text.contains("secret"), "{}", line.text),
                }
            }
        }

        /// Asks on a lane; the number of the asker.
        fn ask(&mut self, lane: usize, get: GetToken) -> u32 {
            self.next_asker += 1;
            let asker = self.next_asker;
            let now = self.now();
            self.broker.request(lane, asker, Request::GetToken(get), now);
            self.drain();
            asker
        }

        fn advance(&mut self, ms: u64) {
            self.ms += ms;
            let now = self.now();
            self.broker.tick(now);
            self.drain();
        }

        /// All running authenticators answer.
        fn answer(&mut self, how: impl Fn(&Job) -> Result<i64, Failure>) {
            for (id, job) in core::mem::take(&mut self.running) {
                let outcome = match how(&job) {
                    Ok(life_s) => Ok(Success {
                        token: token(job.who.cell(), self.now().unix_s + life_s),
                        password_expires_days: None,
                    }),
                    Err(failure) => Err(Refusal { failure, step: Step::Authenticate, code: 1 }),
                };
                let now = self.now();
                self.broker.ended(id, outcome, now);
                self.drain();
            }
        }

        fn reply(&mut self, asker: u32) -> Reply {
            self.replies.remove(&asker).unwrap_or_else(|| panic!("asker {asker} has no answer"))
        }

        fn failure(&mut self, asker: u32) -> Failure {
            match self.reply(asker) {
                Reply::Failed(failure) => failure,
                other => panic!("{other:?}"),
            }
        }

        fn granted(&mut self, asker: u32) -> Granted {
            match self.reply(asker) {
                Reply::Granted(granted) => granted,
                other => panic!("{other:?}"),
            }
        }

        fn forget(&mut self, target: &Target) {
            let now = self.now();
            self.broker.forget(target, now);
            self.drain();
        }
    }

    fn token(cell: &Cell, end: i64) -> Token {
        Token {
            cell: cell.clone(),
            afs_id: 1001,
            kvno: 3,
            key: SessionKey([1; 8]),
            begin: START,
            end,
            ticket: Zeroizing::new(vec![7; 56]),
        }
    }

    fn get(user: &str, cell: &str, password: &str) -> GetToken {
        GetToken {
            user: user.into(),
            cell: cell.into(),
            password: Password::new(Zeroizing::new(password.as_bytes().to_vec())).unwrap(),
            address: IpAddr::from([192, 0, 2, 7]),
            token_lifetime_s: 0,
            cache_expiration_s: 0,
        }
    }

    fn alice(password: &str) -> GetToken {
        get("alice", "example.com", password)
    }

    /// What a cell would say where everybody's password is `secret`.
    ///
    /// # Errors
    /// Its refusal.
    fn right_is_secret(job: &Job) -> Result<i64, Failure> {
        if job.password.expose() == b"secret" { Ok(36_000) } else { Err(Failure::WrongPassword) }
    }

    #[test]
    fn hundreds_with_the_same_right_password_cause_one_login() {
        let mut w = World::new(|_| ());
        let askers: Vec<u32> = (0..500).map(|lane| w.ask(lane, alice("secret"))).collect();
        assert_eq!(w.started, 1);
        w.answer(right_is_secret);
        for a in askers {
            assert_eq!(w.granted(a).token.afs_id, 1001);
        }
        let later = w.ask(0, alice("secret"));
        w.granted(later);
        assert_eq!((w.started, w.broker.counts().cached), (1, 1));
    }

    #[test]
    fn hundreds_with_the_same_wrong_password_cause_one_login_also_one_after_the_other() {
        let mut w = World::new(|_| ());
        let askers: Vec<u32> = (0..300).map(|lane| w.ask(lane, alice("secretwrong"))).collect();
        w.answer(right_is_secret);
        for a in askers {
            assert_eq!(w.failure(a), Failure::WrongPassword);
        }
        for _ in 0..300 {
            w.advance(10);
            let a = w.ask(0, alice("secretwrong"));
            assert_eq!(w.failure(a), Failure::WrongPassword);
        }
        assert_eq!(w.started, 1);
        w.advance(5_000);
        w.ask(0, alice("secretwrong"));
        assert_eq!(w.started, 2, "it is not remembered for ever");
    }

    #[test]
    fn a_wrong_password_neither_spoils_nor_uses_the_entry_of_the_right_one() {
        let mut w = World::new(|_| ());
        w.ask(0, alice("secret"));
        w.answer(right_is_secret);
        let a = w.ask(0, alice("secret2"));
        assert_eq!(w.started, 2, "the cached token is not given for another password");
        w.answer(right_is_secret);
        assert_eq!(w.failure(a), Failure::WrongPassword);
        let a = w.ask(0, alice("secret"));
        w.granted(a);
        let b = w.ask(0, get("alice", "other.example", "secret"));
        assert_eq!(w.started, 3, "nor for the same name in another cell");
        w.answer(right_is_secret);
        assert_eq!(w.granted(b).token.cell.as_str(), "other.example");
    }

    #[test]
    fn who_has_used_up_his_guesses_does_not_learn_the_right_one_from_the_cache() {
        let mut w = World::new(|c| c.limit_per_user = 3);
        w.ask(0, alice("secret"));
        w.answer(right_is_secret);
        let from_elsewhere =
            |password: &str| GetToken { address: IpAddr::from([198, 51, 100, 9]), ..alice(password) };
        let a = w.ask(0, from_elsewhere("secret"));
        w.granted(a);
        for i in 0..3 {
            let a = w.ask(0, from_elsewhere(&format!("guess {i}")));
            w.answer(right_is_secret);
            assert_eq!(w.failure(a), Failure::WrongPassword);
        }
        let wrong = w.ask(0, from_elsewhere("guess 4"));
        let right = w.ask(0, from_elsewhere("secret"));
        assert_eq!(w.failure(wrong), Failure::Overload);
        assert_eq!(w.failure(right), Failure::Overload, "the right guess looks like the wrong one");
        let a = w.ask(0, alice("secret"));
        w.granted(a);
        assert_eq!(w.started, 4);
        w.advance(3_600_000);
        let a = w.ask(0, from_elsewhere("secret"));
        w.granted(a);
    }

    #[test]
    fn the_last_attempt_that_is_let_through_gets_its_answer_also_when_it_is_slow() {
        let mut w = World::new(|c| c.limit_per_user = 1);
        let a = w.ask(0, alice("secret"));
        w.advance(200);
        assert!(matches!(w.reply(a), Reply::Pending { .. }));
        let b = w.ask(0, alice("secret"));
        w.answer(right_is_secret);
        w.granted(b);
    }

    #[test]
    fn a_slow_login_gives_the_lane_back_and_its_answer_is_there_later() {
        let mut w = World::new(|_| ());
        let a = w.ask(0, alice("secret"));
        w.advance(99);
        assert!(w.replies.is_empty());
        w.advance(1);
        assert!(matches!(w.reply(a), Reply::Pending { .. }));
        let b = w.ask(0, alice("secret"));
        assert_eq!(w.started, 1);
        w.answer(right_is_secret);
        w.granted(b);
        let c = w.ask(3, alice("secret"));
        w.granted(c);
        assert_eq!(w.started, 1);
    }

    #[test]
    fn a_lane_has_one_asker() {
        let mut w = World::new(|_| ());
        let dead = w.ask(5, alice("secret"));
        let heir = w.ask(5, get("bob", "example.com", "secret"));
        w.answer(right_is_secret);
        assert!(!w.replies.contains_key(&dead), "the dead worker's reply must not reach his heir's lane");
        w.granted(heir);
        let again = w.ask(5, alice("secret"));
        w.granted(again);
        assert_eq!(w.started, 2);
    }

    #[test]
    fn a_silent_cell_ends_at_the_deadline_and_then_fails_fast_while_others_go_on() {
        let mut w = World::new(|_| ());
        for i in 0..40 {
            w.ask(i, get(&format!("u{i}"), "example.com", "secret"));
        }
        assert_eq!(w.running.len(), 4, "logins per cell");
        let other = w.ask(40, get("bob", "other.example", "secret"));
        w.answer(|job| {
            if job.who.cell().as_str() == "other.example" { Ok(36_000) } else { Err(Failure::Internal) }
        });
        w.granted(other);
        let mut w = World::new(|_| ());
        for i in 0..40 {
            w.ask(i, get(&format!("u{i}"), "example.com", "secret"));
        }
        w.advance(100);
        for i in 1..=40 {
            assert!(matches!(w.reply(i), Reply::Pending { .. }));
        }
        w.advance(9_900);
        assert_eq!(w.killed.len(), 4);
        assert_eq!(w.broker.logins.counts(), (0, 0), "those who wait for their turn are told at once");
        let a = w.ask(0, get("zoe", "example.com", "secret"));
        assert_eq!(w.failure(a), Failure::CellUnreachable);
        let b = w.ask(1, get("u1", "example.com", "secret"));
        assert_eq!(w.failure(b), Failure::Deadline, "who asks again learns what became of his login");
        let c = w.ask(2, get("bob", "other.example", "secret"));
        w.answer(right_is_secret);
        w.granted(c);
        w.advance(3_000);
        let probe = w.ask(3, get("zoe", "example.com", "secret"));
        let second = w.ask(4, get("yan", "example.com", "secret"));
        assert_eq!(w.failure(second), Failure::CellUnreachable, "one probe");
        w.answer(right_is_secret);
        w.granted(probe);
        let d = w.ask(4, get("yan", "example.com", "secret"));
        w.answer(right_is_secret);
        w.granted(d);
    }

    #[test]
    fn cached_visitors_of_a_silent_cell_go_on() {
        let mut w = World::new(|_| ());
        w.ask(0, alice("secret"));
        w.answer(right_is_secret);
        w.ask(0, get("bob", "example.com", "secret"));
        w.advance(10_000);
        let a = w.ask(0, get("carol", "example.com", "secret"));
        assert_eq!(w.failure(a), Failure::CellUnreachable);
        let b = w.ask(0, alice("secret"));
        w.granted(b);
    }

    #[test]
    fn the_queue_of_a_cell_is_bounded() {
        let mut w = World::new(|c| c.limit_per_address = 0);
        let mut overload = 0;
        for i in 0..400 {
            let a = w.ask(i, get(&format!("u{i}"), "example.com", "secret"));
            if let Some(Reply::Failed(f)) = w.replies.remove(&a) {
                assert_eq!(f, Failure::Overload);
                overload += 1;
            }
        }
        assert_eq!((w.running.len(), overload), (4, 400 - 4 - 256));
    }

    #[test]
    fn all_that_wait_get_their_turn_and_no_password_is_kept_after_that() {
        let mut w = World::new(|c| c.limit_per_address = 0);
        let askers: Vec<u32> =
            (0..50).map(|i| w.ask(i, get(&format!("u{i}"), "example.com", "secret"))).collect();
        for _ in 0..13 {
            assert!(w.running.len() <= 4);
            w.answer(right_is_secret);
        }
        for a in askers {
            w.granted(a);
        }
        assert_eq!(w.broker.logins.counts(), (0, 0));
    }

    #[test]
    fn an_attacker_is_stopped_before_the_cell_locks_the_victim_out_who_goes_on_from_the_cache() {
        let mut w = World::new(|_| ());
        w.ask(0, alice("secret"));
        w.answer(right_is_secret);
        let before = w.started;
        for i in 0..200 {
            let a =
                w.ask(0, GetToken { address: IpAddr::from([203, 0, 113, 9]), ..alice(&format!("guess{i}")) });
            w.answer(right_is_secret);
            let f = w.failure(a);
            assert_eq!(f, if i < 5 { Failure::WrongPassword } else { Failure::Overload });
        }
        assert_eq!(w.started - before, 5);
        let a = w.ask(0, alice("secret"));
        w.granted(a);
    }

    #[test]
    fn simultaneous_guesses_do_not_slip_through() {
        let mut w = World::new(|c| c.logins_per_cell = 64);
        for i in 0..100 {
            w.ask(i, alice(&format!("guess{i}")));
        }
        assert_eq!(w.started, 5);
    }

    #[test]
    fn each_askers_own_expiration_counts() {
        let mut w = World::new(|_| ());
        let with = |cache_s: u32| GetToken { cache_expiration_s: cache_s, ..alice("secret") };
        let a = w.ask(0, with(300));
        w.answer(right_is_secret);
        assert_eq!(w.granted(a).valid_s, 300);
        w.advance(59_000);
        let a = w.ask(0, with(60));
        assert_eq!(w.granted(a).valid_s, 1);
        w.advance(1_000);
        let a = w.ask(0, with(300));
        assert_eq!(w.granted(a).valid_s, 240);
        w.ask(0, with(60));
        assert_eq!(w.started, 2, "an entry of 300 s is of no use for 60 s after 60 s");
    }

    #[test]
    fn an_entry_ends_with_the_expiration_it_was_made_for_and_with_its_token() {
        let mut w = World::new(|_| ());
        w.ask(0, GetToken { cache_expiration_s: 300, ..alice("secret") });
        w.answer(right_is_secret);
        w.advance(300_000);
        assert_eq!(w.broker.cache.len(), 0);
        w.ask(0, alice("secret"));
        w.answer(|_| Ok(36_000));
        w.advance(35_999_000);
        let a = w.ask(0, alice("secret"));
        assert_eq!(w.granted(a).valid_s, 1);
        w.advance(1_000);
        assert_eq!(w.broker.cache.len(), 0);
        assert_eq!(w.started, 2);
    }

    #[test]
    fn a_token_with_a_longer_life_than_asked_for_is_not_given() {
        let mut w = World::new(|_| ());
        let with = |life_s: u32| GetToken { token_lifetime_s: life_s, ..alice("secret") };
        w.ask(0, with(0));
        let short = w.ask(1, with(600));
        assert_eq!(w.started, 1);
        w.answer(|_| Ok(36_000));
        assert!(matches!(w.reply(short), Reply::Pending { .. }));
        let short = w.ask(1, with(600));
        assert_eq!(w.running[0].1.lifetime_s, 600);
        w.answer(|_| Ok(900));
        w.granted(short);
        let long = w.ask(0, with(0));
        w.granted(long);
        let same = w.ask(0, with(600));
        w.granted(same);
        assert_eq!(w.started, 2);
    }

    #[test]
    fn a_new_password_ends_what_the_old_one_left() {
        let mut w = World::new(|_| ());
        w.ask(0, alice("secret"));
        w.answer(|_| Ok(36_000));
        w.ask(0, alice("secret-new"));
        w.answer(|_| Ok(36_000));
        assert_eq!((w.revoked, w.broker.cache.len()), (1, 1));
        w.ask(0, alice("secret"));
        w.answer(right_is_secret);
        assert_eq!(w.started, 3);
    }

    #[test]
    fn forgetting_drops_tokens_refusals_limits_and_running_logins_and_tells_children() {
        let mut w = World::new(|_| ());
        w.ask(0, alice("secret"));
        w.ask(1, get("bob", "example.com", "secret"));
        w.ask(2, get("bob", "other.example", "secret"));
        w.answer(right_is_secret);
        let under_way = w.ask(3, alice("secret-x"));
        w.forget(&Target::User(Principal::new("alice", Cell::new("example.com").unwrap()).unwrap()));
        assert_eq!((w.revoked, w.killed.len(), w.broker.cache.len()), (1, 1, 2));
        assert!(matches!(w.reply(under_way), Reply::Pending { .. }));
        w.forget(&Target::Cell(Cell::new("example.com").unwrap()));
        assert_eq!(w.broker.cache.len(), 1);
        w.forget(&Target::All);
        assert_eq!((w.revoked, w.broker.cache.len()), (3, 0));
        w.ask(0, alice("secret"));
        assert_eq!(w.started, 5);
    }

    #[test]
    fn what_nobody_can_be_never_reaches_a_cell() {
        let mut w = World::new(|_| ());
        for (user, cell, want) in [
            ("alice", "elsewhere.example", Failure::CellNotAllowed),
            ("alice", "exa", Failure::CellNotAllowed),
            ("alice", "bad cell", Failure::CellNotAllowed),
            ("al ice", "example.com", Failure::NotAcceptable),
            ("alice\n", "example.com", Failure::NotAcceptable),
            ("", "example.com", Failure::NotAcceptable),
        ] {
            let a = w.ask(0, get(user, cell, "secret"));
            assert_eq!(w.failure(a), want, "{user}@{cell}");
        }
        assert_eq!(w.started, 0);
        let a = w.ask(0, get("alice", "EXAMPLE.COM", "secret"));
        w.answer(right_is_secret);
        w.granted(a);
    }

    #[test]
    fn before_the_first_configuration_nothing_is_granted_but_a_ping_is_answered() {
        let mut b: Dispatch<u32> = Dispatch::new(VerifierKey::random().unwrap());
        let now = Now { ms: 0, unix_s: START };
        b.request(0, 1, Request::GetToken(alice("secret")), now);
        b.request(0, 2, Request::Ping, now);
        let mut got = Vec::new();
        while let Some(e) = b.effect() {
            if let Effect::Reply { asker, reply, .. } = e {
                got.push((asker, reply));
            }
        }
        assert!(matches!(got[..], [(1, Reply::Failed(Failure::Internal)), (2, Reply::Pong)]), "{got:?}");
    }

    #[test]
    fn a_new_configuration_keeps_tokens_but_not_those_of_cells_that_are_gone() {
        let mut w = World::new(|_| ());
        w.ask(0, alice("secret"));
        w.ask(1, get("bob", "other.example", "secret"));
        w.answer(right_is_secret);
        let mut c = sample();
        c.version = 2;
        c.cells.truncate(1);
        c.cache_entries = 7;
        let now = w.now();
        w.broker.configure(Settings::new(&c).unwrap(), now);
        w.drain();
        let a = w.ask(0, alice("secret"));
        w.granted(a);
        let b = w.ask(1, get("bob", "other.example", "secret"));
        assert_eq!(w.failure(b), Failure::CellNotAllowed);
        assert_eq!((w.broker.cache.len(), w.broker.cache.capacity().get(), w.revoked), (1, 7, 1));
        let mut old = sample();
        old.version = 1;
        let now = w.now();
        w.broker.configure(Settings::new(&old).unwrap(), now);
        assert_eq!(w.broker.settings().unwrap().version, 2);
    }

    #[test]
    fn a_token_of_another_cell_or_one_that_has_ended_is_not_accepted() {
        let mut w = World::new(|_| ());
        for bad in [
            token(&Cell::new("other.example").unwrap(), START + 100),
            token(&Cell::new("example.com").unwrap(), START),
        ] {
            let a = w.ask(0, alice("secret"));
            let (id, _) = w.running.pop().unwrap();
            let now = w.now();
            w.broker.ended(id, Ok(Success { token: bad, password_expires_days: None }), now);
            w.drain();
            assert_eq!(w.failure(a), Failure::NotAccepted);
            w.advance(2_000);
        }
        assert_eq!(w.broker.cache.len(), 0);
    }

    #[test]
    fn an_authenticator_that_dies_costs_one_login_only() {
        let mut w = World::new(|_| ());
        let a = w.ask(0, alice("secret"));
        w.answer(|_| Err(Failure::Internal));
        assert_eq!(w.failure(a), Failure::Internal);
        w.advance(2_000);
        let a = w.ask(0, alice("secret"));
        w.answer(right_is_secret);
        w.granted(a);
    }

    #[test]
    fn an_outcome_that_comes_after_its_deadline_is_nothing() {
        let mut w = World::new(|_| ());
        let a = w.ask(0, alice("secret"));
        let (id, job) = w.running[0].clone();
        w.advance(10_000);
        assert!(matches!(w.reply(a), Reply::Failed(Failure::Deadline)));
        let now = w.now();
        let late = Success { token: token(job.who.cell(), START + 1000), password_expires_days: None };
        w.broker.ended(id, Ok(late), now);
        w.drain();
        assert_eq!(w.broker.cache.len(), 0);
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut w = World::new(|c| {
            c.cache_entries = 10;
            c.limit_per_address = 0;
        });
        for i in 0..30 {
            w.ask(0, get(&format!("u{i}"), "example.com", "secret"));
            w.answer(right_is_secret);
        }
        assert_eq!(w.broker.cache.len(), 10);
    }

    #[test]
    fn status_tells_what_there_is() {
        let mut w = World::new(|_| ());
        w.ask(0, alice("secret"));
        w.advance(10_000);
        let text = w.broker.status(w.now());
        assert!(text.contains("configuration 1, 2 cells allowed"), "{text}");
        assert!(text.contains("silent: example.com"), "{text}");
    }
}
