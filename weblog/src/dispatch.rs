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

use crate::audit::Line;
use crate::clock::Now;
use crate::config::{CellSettings, Settings};
use crate::limiter::{Limiter, Limits};
use crate::logins::{Bounds, Job, LoginId, LoginKey, Logins, Way};
use crate::message::Message;
use crate::outcome::{Answer, Fruit, Refusal};
use crate::services::Services;
use afsweb_cache::{Store, VerifierKey};
use core::num::NonZeroUsize;
use pag::{Cell, Home, Principal};
use std::collections::VecDeque;
use weblog_proto::{Failure, Reply, Request};

mod checks;
mod configuration;
mod credentials;
mod ends;
mod entry;
mod forget;
mod groups;
mod services;
mod status;
mod target;

use checks::plausible;
use entry::Entry;
use groups::Groups;
pub use status::Counts;
pub use target::{Behind, Target};

/// So long an asker waits for his login before he is told to ask again; at once, if half of the lanes hold one who waits:
/// the others are for those whose answer is known.
const PARK_MS: u64 = 100;
/// After so long he is to ask again, and a millisecond more for each login under way: so the last ones of a crowd hear of their
/// tokens soon, and all together ask about once a millisecond.
const RETRY_MS: u32 = 20;
/// But after so long in any case.
const RETRY_MAX_MS: u32 = 250;
/// The same where others of his address are first. They stand in no queue, so they are not among those under way.
const ADDRESS_RETRY_MS: u32 = 100;
/// The same before the first configuration, which comes a moment after the start.
const UNCONFIGURED_RETRY_MS: u32 = 20;
/// So long a login that failed for want of an answer is remembered: those who were told to ask again must get it.
const UNAVAILABLE_MS: u64 = 1_500;
/// Refused logins remembered.
const REFUSED_ENTRIES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(8_191);

/// So long children need not be told of one user's next new password: what they hold under the one before ends by itself
/// within that time, since they rely on no login longer without asking (`ENTRY_MAX_S` in `mod-afs/src/broker.rs`).
const CHANGED_MS: u64 = 60_000;
/// So many users' new passwords are remembered for that.
const CHANGED_ENTRIES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(8_191);

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

/// The core of the broker.
pub struct Dispatch<A> {
    settings: Option<Settings>,
    /// How many lanes there are.
    lanes: usize,
    key: VerifierKey,
    cache: Store<LoginKey, Entry>,
    refused: Store<LoginKey, Failure>,
    /// Of whose new passwords children were told lately.
    changed: Store<Principal, ()>,
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
            changed: Store::new(CHANGED_ENTRIES),
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

    /// The configuration, once there is one.
    #[must_use]
    pub fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
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
        drop(self.changed.sweep(now.ms));
        self.limiter.sweep(now.ms);
        self.serve_services(now);
        self.run_next();
    }

    /// When [`Dispatch::tick`] has something to do next.
    #[must_use]
    pub fn next_tick_ms(&self) -> Option<u64> {
        let others = [self.cache.next_expiry_ms(), self.refused.next_expiry_ms(), self.services.next_ms()];
        others.into_iter().chain([self.logins.next_event_ms(), self.groups.next_event_ms()]).flatten().min()
    }

    /// When whoever waits from now on is told to ask again.
    fn park_until_ms(&self, now: Now) -> u64 {
        let waiting = self.logins.waiting().saturating_add(self.groups.waiting());
        let park_ms = if waiting < self.lanes / 2 { PARK_MS } else { 0 };
        now.ms.saturating_add(park_ms)
    }

    /// After how long whoever is told so now is to ask again.
    fn retry_ms(&self) -> u32 {
        let (running, waiting) = self.logins.counts();
        let under_way = u32::try_from(running.saturating_add(waiting)).unwrap_or(u32::MAX);
        RETRY_MS.saturating_add(under_way).min(RETRY_MAX_MS)
    }

    /// Hands out the logins that may run now.
    fn run_next(&mut self) {
        while let Some((login, job)) = self.logins.next_job() {
            self.counts.logins = self.counts.logins.saturating_add(1);
            self.out.push_back(Effect::Start { login, job });
        }
    }

    fn reply(&mut self, lane: usize, asker: A, reply: Reply) {
        self.out.push_back(Effect::Reply { lane, asker, reply });
    }

    fn log(&mut self, line: Line) {
        self.out.push_back(Effect::Log(line));
    }

    fn note(&mut self, message: Message, text: &str) {
        self.log(Line { message, text: text.to_owned() });
    }
}

/// By which servers users of a cell are logged in.
fn way(settings: &Settings, cell: &Cell) -> Option<Way> {
    let CellSettings { method, realm } = settings.cells.get(cell)?.clone();
    let keytab = settings.keytab.as_ref().map(|path| path.to_string_lossy().into_owned());
    Some(Way { method, realm, keytab })
}

/// The word for it.
fn kind(home: &Home) -> &'static str {
    match home {
        Home::Cell(_) => "cell",
        Home::Realm(_) => "realm",
    }
}

#[cfg(test)]
mod tests;
