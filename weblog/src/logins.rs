//! The logins under way: one per (user, cell, verifier of the password), the others wait for its answer. Questions to
//! protection servers are kept by the same rules.
//!
//! Pure: knows no processes, no pipes, no clock. Bounds how many run per cell and in all, keeps those that must wait in
//! bounded queues, one per cell, served in turn, and stops asking a cell that is silent (see [`crate::breaker`]).
//! `A` is whatever the caller needs to answer an asker.

use crate::breaker::{Breaker, Gate};
use crate::limiter::Attempt;
use afsweb_cache::Verifier;
use pag::{Home, Principal, Realm, Token};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use weblog_proto::{Method, Password};

/// Number of a login; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoginId(pub u64);

/// What makes two logins the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LoginKey {
    /// User and cell.
    pub who: Principal,
    /// Keyed verifier of the password; of a question, of what is asked.
    pub verifier: Verifier,
}

/// What an authenticator needs.
#[derive(Debug, Clone)]
pub struct Job {
    /// User and cell.
    pub who: Principal,
    /// What is to be done.
    pub errand: Errand,
    /// When it must be over.
    pub deadline_ms: u64,
}

/// What an authenticator does.
#[derive(Debug, Clone)]
pub enum Errand {
    /// Logs somebody in.
    Login {
        /// What he shows.
        secret: Secret,
        /// Lifetime to ask for, seconds; 0 = what the cell gives.
        lifetime_s: u32,
        /// By which servers.
        way: Way,
    },
    /// Asks the cell's protection server whether somebody is in a group, as himself.
    Group {
        /// His token.
        token: Token,
        /// The group.
        group: String,
    },
}

/// By what somebody shows who he is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// A password; wiped when this is dropped.
    Password(Password),
    /// The key in a file: a keytab, or for a kaserver a srvtab.
    KeyFile(String),
}

/// By which servers somebody is logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// How users of his cell are authenticated.
    pub method: Method,
    /// The cell's realm, if the configuration says it.
    pub realm: Option<Realm>,
    /// File with a key that tickets are verified by.
    pub keytab: Option<String>,
}

/// How many logins there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Running in one cell.
    pub per_cell: usize,
    /// Running in all.
    pub total: usize,
    /// Waiting in one cell.
    pub queue_per_cell: usize,
}

/// Somebody who waits for a login.
#[derive(Debug)]
pub struct Waiter<A> {
    /// His lane; there is one waiter per lane.
    pub lane: usize,
    /// How to answer him.
    pub asker: A,
    /// Where his visitor is.
    pub address: IpAddr,
    /// SetAFSTokenExpiration of his server.
    pub lifetime_s: u32,
    /// SetAFSCacheExpiration of his server.
    pub cache_s: u32,
    /// When he is told to ask again later.
    pub until_ms: u64,
    /// He asked for the token, not for what is to be done with it.
    pub wants_token: bool,
}

/// One login. `T`: what the limiter knows it by.
#[derive(Debug)]
pub struct Login<A, T = Attempt> {
    /// What it is for.
    pub key: LoginKey,
    /// Lifetime that was asked for.
    pub lifetime_s: u32,
    /// SetAFSCacheExpiration of the server that asked first.
    pub cache_s: u32,
    /// Where the visitor was who asked first.
    pub address: IpAddr,
    /// When it was asked for.
    pub asked_ms: u64,
    /// When it must be over.
    pub deadline_ms: u64,
    /// For the limiter.
    pub attempt: T,
    /// Who gets the answer.
    pub waiters: Vec<Waiter<A>>,
    /// Not yet handed to an authenticator: here is what that one will need.
    queued: Option<Job>,
    /// How far it is.
    stage: Stage,
}

/// How far a login is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Waits for its turn.
    Queued,
    /// Has its turn and waits for an authenticator.
    Started,
    /// An authenticator has it.
    Handed,
}

impl<A, T> Login<A, T> {
    /// Whether it has had its turn: an authenticator has it, or will have it as soon as there is one.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.stage != Stage::Queued
    }

    /// Whether an authenticator has got it, so that its cell may have been asked.
    #[must_use]
    pub fn is_handed(&self) -> bool {
        self.stage == Stage::Handed
    }
}

/// Why no login was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotBegun {
    /// The cell did not answer lately.
    CellSilent,
    /// Too many wait already.
    QueueFull,
}

/// One cell's or realm's part.
#[derive(Debug, Default)]
struct HomeState {
    running: usize,
    queue: VecDeque<LoginId>,
    breaker: Breaker,
}

/// All logins under way.
#[derive(Debug)]
pub struct Logins<A, T = Attempt> {
    bounds: Bounds,
    next_id: u64,
    by_key: HashMap<LoginKey, LoginId>,
    by_id: HashMap<LoginId, Login<A, T>>,
    homes: HashMap<Home, HomeState>,
    /// Those with a queue, in the order of their turns.
    turns: VecDeque<Home>,
    running: usize,
}

impl<A, T> Logins<A, T> {
    /// None; the first one will have this number.
    #[must_use]
    pub fn new(bounds: Bounds, first: LoginId) -> Self {
        Self {
            bounds,
            next_id: first.0,
            by_key: HashMap::new(),
            by_id: HashMap::new(),
            homes: HashMap::new(),
            turns: VecDeque::new(),
            running: 0,
        }
    }

    /// Other bounds from now on; what runs goes on.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// The login with this key, if there is one.
    #[must_use]
    pub fn find(&self, key: &LoginKey) -> Option<LoginId> {
        self.by_key.get(key).copied()
    }

    /// One login.
    #[must_use]
    pub fn get(&self, id: LoginId) -> Option<&Login<A, T>> {
        self.by_id.get(&id)
    }

    /// Running, waiting.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.running, self.by_id.len().saturating_sub(self.running))
    }

    /// Cells and realms that are not asked at the moment.
    pub fn silent(&self, now_ms: u64) -> impl Iterator<Item = &Home> {
        self.homes.iter().filter(move |(_, c)| c.breaker.is_open(now_ms)).map(|(name, _)| name)
    }

    /// Whether a login of `who` may begin.
    ///
    /// # Errors
    /// [`NotBegun`] says why not.
    pub fn may_begin(&self, who: &Principal, now_ms: u64) -> Result<(), NotBegun> {
        let Some(state) = self.homes.get(&who.home()) else { return Ok(()) };
        if state.breaker.gate(who, now_ms) == Gate::Stop {
            return Err(NotBegun::CellSilent);
        }
        if state.queue.len() >= self.bounds.queue_per_cell {
            return Err(NotBegun::QueueFull);
        }
        Ok(())
    }

    /// Begins one. Ask [`Logins::find`] and [`Logins::may_begin`] first; [`Logins::next_job`] then says when it runs.
    pub fn begin(&mut self, key: LoginKey, job: Job, attempt: T, first: Waiter<A>, now_ms: u64) -> LoginId {
        let id = LoginId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        let home = key.who.home();
        let state = self.homes.entry(home.clone()).or_default();
        if state.breaker.gate(&key.who, now_ms) == Gate::Probe {
            state.breaker.probe(id, &key.who);
        }
        state.queue.push_back(id);
        if !self.turns.contains(&home) {
            self.turns.push_back(home);
        }
        self.leave(first.lane);
        let login = Login {
            key: key.clone(),
            lifetime_s: first.lifetime_s,
            cache_s: first.cache_s,
            address: first.address,
            asked_ms: now_ms,
            deadline_ms: job.deadline_ms,
            attempt,
            waiters: vec![first],
            queued: Some(job),
            stage: Stage::Queued,
        };
        self.by_key.insert(key, id);
        self.by_id.insert(id, login);
        id
    }

    /// One more waits for this login.
    pub fn join(&mut self, id: LoginId, waiter: Waiter<A>) {
        self.leave(waiter.lane);
        if let Some(login) = self.by_id.get_mut(&id) {
            login.waiters.push(waiter);
        }
    }

    /// How many lanes hold somebody who waits.
    pub fn waiting(&self) -> usize {
        self.by_id.values().map(|login| login.waiters.len()).sum()
    }

    /// Whoever waited on this lane has gone: somebody else asks there now.
    pub fn leave(&mut self, lane: usize) {
        for login in self.by_id.values_mut() {
            login.waiters.retain(|w| w.lane != lane);
        }
    }

    /// The next login that may run now; it counts as running from now on.
    pub fn next_job(&mut self) -> Option<(LoginId, Job)> {
        if self.running >= self.bounds.total {
            return None;
        }
        for _ in 0..self.turns.len() {
            let home = self.turns.pop_front()?;
            let Some(state) = self.homes.get_mut(&home) else { continue };
            if state.running >= self.bounds.per_cell {
                self.turns.push_back(home);
                continue;
            }
            let Some(id) = state.queue.pop_front() else { continue };
            if !state.queue.is_empty() {
                self.turns.push_back(home);
            }
            let Some(login) = self.by_id.get_mut(&id) else { continue };
            let Some(job) = login.queued.take() else { continue };
            login.stage = Stage::Started;
            state.running = state.running.saturating_add(1);
            self.running = self.running.saturating_add(1);
            return Some((id, job));
        }
        None
    }

    /// An authenticator has got this login.
    pub fn handed(&mut self, id: LoginId) {
        if let Some(login) = self.by_id.get_mut(&id) {
            login.stage = Stage::Handed;
        }
    }

    /// Takes a login out, however it ended; tell [`Logins::breaker`] next.
    pub fn end(&mut self, id: LoginId) -> Option<Login<A, T>> {
        let login = self.by_id.remove(&id)?;
        if self.by_key.get(&login.key) == Some(&id) {
            self.by_key.remove(&login.key);
        }
        if let Some(state) = self.homes.get_mut(&login.key.who.home()) {
            if login.is_running() {
                state.running = state.running.saturating_sub(1);
                self.running = self.running.saturating_sub(1);
            } else {
                state.queue.retain(|other| *other != id);
            }
        }
        Some(login)
    }

    /// The breaker of a cell or realm.
    pub fn breaker(&mut self, home: &Home) -> &mut Breaker {
        &mut self.homes.entry(home.clone()).or_default().breaker
    }

    /// Gives everybody another chance: its servers may be others now. What began before says nothing any more.
    pub fn reset_breakers(&mut self, now_ms: u64) {
        for state in self.homes.values_mut() {
            state.breaker.answered(now_ms);
        }
    }

    /// Logins that `which` picks.
    pub fn matching(&self, mut which: impl FnMut(&Login<A, T>) -> bool) -> Vec<LoginId> {
        let mut ids: Vec<LoginId> =
            self.by_id.iter().filter(|(_, login)| which(login)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// Forgets the unused ones among those that `keep` says no to, so that there are never more than are allowed.
    pub fn retain_homes(&mut self, mut keep: impl FnMut(&Home) -> bool) {
        self.homes.retain(|home, state| state.running > 0 || !state.queue.is_empty() || keep(home));
    }

    /// Takes out those who have waited long enough for now.
    pub fn impatient(&mut self, now_ms: u64) -> Vec<Waiter<A>> {
        let mut out = Vec::new();
        for login in self.by_id.values_mut() {
            out.extend(login.waiters.extract_if(.., |w| w.until_ms <= now_ms));
        }
        out
    }

    /// When [`Logins::impatient`] or a deadline has something next.
    #[must_use]
    pub fn next_event_ms(&self) -> Option<u64> {
        self.by_id
            .values()
            .flat_map(|login| login.waiters.iter().map(|w| w.until_ms).chain([login.deadline_ms]))
            .min()
    }
}
