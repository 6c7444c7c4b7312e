//! The child's side of a login: its short cache, and one question to the broker for all who ask the same.
//!
//! Knows neither httpd nor how a lane works. An entry holds the visitor's PAG;
//! when the entry has gone and the last request in it has ended, so has the PAG.

use afsweb_cache::{Store, Verifier, VerifierKey, expires_ms};
use core::fmt;
use core::num::NonZeroUsize;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use pag::{AfsClient, Home, Pag, Principal, Realm, Token};
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use weblog_proto::{Failure, Granted, Reply, Request, Service};

mod groups;

use crate::identity::Credentials;
use crate::tally::LoginCells;
use crate::waiting::Wait;

/// Longest time that a child relies on a login without asking the broker again, seconds.
const ENTRY_MAX_S: u64 = 60;
/// Most visitors that a child remembers.
const ENTRIES_MAX: NonZeroUsize = match NonZeroUsize::new(1000) {
    Some(n) => n,
    None => NonZeroUsize::MIN,
};
/// Bounds of the pause before a login under way is asked for again, milliseconds.
const RETRY_MS: core::ops::RangeInclusive<u32> = 5..=1000;

/// So long a broker may say that a cell is not allowed which is: after a restart of httpd, its new configuration gets to
/// the broker a moment later than to the children.
const CONFIGURED: Duration = Duration::from_secs(2);
/// The pause before it is asked again, milliseconds.
const CONFIGURED_RETRY_MS: u32 = 200;
/// A wait for another worker's login that is shorter than this is not counted as waiting.
const UNCOUNTED: Duration = Duration::from_millis(150);

/// Whom a login is asked of: lanes and board, or a stand-in.
pub trait Ask: Send + Sync {
    /// One question, one answer, by `deadline`.
    ///
    /// # Errors
    /// [`NoVisitor::Away`] or [`NoVisitor::Broker`] if no answer came.
    fn exchange(&self, request: &Request, deadline: Instant) -> Result<Reply, NoVisitor>;

    /// Rises when something was revoked.
    fn epoch(&self) -> u64;

    /// The calling worker is about to wait for a login at `home`, until the guard is dropped.
    ///
    /// # Errors
    /// [`NoVisitor::Broker`] with [`Failure::Overload`] if too many workers wait for its servers already.
    fn begin(&self, _home: &Home) -> Result<Option<Wait>, NoVisitor> {
        Ok(None)
    }
}

/// Somebody whose cell has said that he is who he claims to be.
#[derive(Debug)]
pub struct Visitor {
    /// User and cell.
    pub principal: Principal,
    /// What the cell calls him.
    pub name: String,
    /// Holds his token, and nobody else's.
    pub pag: Pag,
    /// When his token ends, seconds since 1970 UTC.
    pub token_end: i64,
    /// His number in the cell.
    pub afs_id: i32,
    /// Days until his password expires, if he has to change it.
    pub password_expires_days: Option<u8>,
    /// The epoch, which rises with each revocation, in which he was let in.
    pub epoch: u64,
    /// What his token is known by.
    token: Verifier,
    /// Programs may have been started in his PAG, so nobody else will ever get it.
    is_kept: AtomicBool,
}

impl Visitor {
    /// From now on programs may be started in his PAG.
    pub fn keep_pag(&self) {
        self.is_kept.store(true, Ordering::Release);
    }
}

/// Why credentials made no visitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoVisitor {
    /// The broker said so.
    Broker(Failure),
    /// The broker did not answer; the text says how.
    Away(String),
    /// The AFS client did not take the token.
    Client(pag::Error),
}

impl NoVisitor {
    /// The failure that a status is made of.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::Broker(failure) => *failure,
            Self::Client(pag::Error::TicketTooLong { .. }) => Failure::TicketTooLong,
            Self::Away(_) | Self::Client(_) => Failure::Internal,
        }
    }
}

impl fmt::Display for NoVisitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker(failure) => f.write_str(failure.word()),
            Self::Away(how) => write!(f, "the broker does not answer: {how}"),
            Self::Client(error @ pag::Error::TicketTooLong { .. }) => {
                write!(f, "{}: {error}", self.failure().word())
            }
            Self::Client(error) => write!(f, "the AFS client did not take the token: {error}"),
        }
    }
}

/// What else belongs to a login.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Where the visitor is.
    pub address: IpAddr,
    /// SetAFSTokenExpiration of the asking server, seconds.
    pub token_lifetime_s: u32,
    /// SetAFSCacheExpiration of the asking server, seconds.
    pub cache_expiration_s: u32,
    /// When the request gives up.
    pub deadline: Instant,
}

/// What an entry is found by. Servers with other expirations do not rely on each other's entries.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    /// A login's.
    Login {
        /// User and cell.
        principal: Principal,
        /// Where the visitor is: the broker, which bounds guesses, is asked once from each address.
        address: IpAddr,
        /// As in [`Terms`].
        token_lifetime_s: u32,
        /// As in [`Terms`].
        cache_expiration_s: u32,
    },
    /// A service identity's: no credentials find it.
    Service(Service),
}

impl Key {
    /// Whose entry.
    fn principal(&self) -> &Principal {
        match self {
            Self::Login { principal, .. } => principal,
            Self::Service(service) => &service.who,
        }
    }
}

/// For whom the broker is asked.
#[derive(Clone, Copy)]
enum Wanted<'a> {
    /// Whoever has these credentials.
    Visitor(&'a Credentials, &'a Terms),
    /// A service identity, until then.
    Service(&'a Service, Instant),
}

impl Wanted<'_> {
    /// The principal.
    fn principal(&self) -> &Principal {
        match self {
            Self::Visitor(claim, _) => &claim.principal,
            Self::Service(service, _) => &service.who,
        }
    }

    /// When the request gives up.
    fn deadline(&self) -> Instant {
        match self {
            Self::Visitor(_, terms) => terms.deadline,
            Self::Service(_, deadline) => *deadline,
        }
    }

    /// What an entry is found by.
    fn key(&self) -> Key {
        match self {
            Self::Visitor(claim, terms) => Key::Login {
                principal: claim.principal.clone(),
                address: terms.address,
                token_lifetime_s: terms.token_lifetime_s,
                cache_expiration_s: terms.cache_expiration_s,
            },
            Self::Service(service, _) => Key::Service((*service).clone()),
        }
    }

    /// The question.
    fn request(&self) -> Request {
        match self {
            Self::Visitor(claim, terms) => Request::GetToken(groups::get_token(claim, terms)),
            Self::Service(service, _) => Request::Service((*service).clone()),
        }
    }
}

/// A visitor, and what his password is known by.
struct Entry {
    /// Of the password that the cell took.
    verifier: Verifier,
    /// He.
    visitor: Arc<Visitor>,
}

/// What a login came to.
type Outcome = Result<Arc<Visitor>, NoVisitor>;

/// A login under way, for those who wait for it.
struct Flight {
    /// The epoch in which it was begun.
    epoch: u64,
    /// What it came to, once it has.
    outcome: Mutex<Option<Outcome>>,
    /// Rung when it has.
    done: Condvar,
}

/// What all threads share.
struct State {
    /// The epoch of everything in it.
    epoch: u64,
    /// Who was here lately.
    store: Store<Key, Entry>,
    /// Logins under way.
    flights: HashMap<(Key, Verifier), Arc<Flight>>,
    /// Where all this is shown.
    shown: Option<LoginCells>,
}

impl State {
    /// Takes out what has ended, and everything when something was revoked. Its PAGs end when it is dropped, which is
    /// not done under the lock.
    fn drop_ended(&mut self, epoch: u64, now_ms: u64) -> Vec<Entry> {
        let mut gone = self.store.sweep(now_ms);
        if self.epoch != epoch {
            self.epoch = epoch;
            gone.append(&mut self.store.clear());
        }
        self.show();
        gone
    }

    /// Shows how many are remembered.
    fn show(&self) {
        if let Some(cells) = &self.shown {
            cells.entries.store(u64::try_from(self.store.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

/// The logins of one child.
pub struct Logins {
    /// Whom to ask.
    broker: Box<dyn Ask>,
    /// Where the tokens go.
    client: Arc<dyn AfsClient>,
    /// Drawn after the fork.
    key: VerifierKey,
    /// Start of the store's clock.
    start: Instant,
    /// What all threads share.
    state: Mutex<State>,
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Logins(..)")
    }
}

/// Takes a lock, also after a panic of its owner: each change below leaves a usable state behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The broker has answered something that was not asked.
fn another_answer() -> NoVisitor {
    NoVisitor::Away("it answered another question".to_owned())
}

/// Seconds since 1970 UTC.
#[must_use]
pub fn unix_now() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(_) => 0,
    }
}

impl Logins {
    /// Empty; draws its key, so it is made after the fork.
    ///
    /// # Errors
    /// The kernel's, if it gives no random bytes.
    pub fn new(broker: Box<dyn Ask>, client: Arc<dyn AfsClient>) -> Result<Self, afsweb_cache::Error> {
        let epoch = broker.epoch();
        let store = Store::new(ENTRIES_MAX);
        Ok(Self {
            broker,
            client,
            key: VerifierKey::random()?,
            start: Instant::now(),
            state: Mutex::new(State { epoch, store, flights: HashMap::new(), shown: None }),
        })
    }

    /// Shows there what it does.
    #[must_use]
    pub fn shown_in(self, cells: Option<LoginCells>) -> Self {
        lock(&self.state).shown = cells;
        self
    }

    /// Whom these credentials make of their bearer: from the cache, from a login under way, or from the broker.
    ///
    /// # Errors
    /// [`NoVisitor`] says why nobody.
    pub fn visitor(&self, claim: &Credentials, terms: &Terms) -> Outcome {
        let verifier = self.key.verifier(&[
            claim.principal.name().as_bytes(),
            claim.principal.cell().as_str().as_bytes(),
            claim.principal.realm().map_or("", Realm::as_str).as_bytes(),
            claim.password.expose(),
        ]);
        self.find(Wanted::Visitor(claim, terms), &verifier)
    }

    /// The bearer of a service identity's token: from the cache, or from the broker.
    ///
    /// # Errors
    /// [`NoVisitor`] says why there is none.
    pub fn service(&self, service: &Service, deadline: Instant) -> Outcome {
        self.find(Wanted::Service(service, deadline), &self.key.verifier(&[]))
    }

    /// Whoever is wanted.
    ///
    /// # Errors
    /// [`NoVisitor`] says why nobody.
    fn find(&self, wanted: Wanted<'_>, verifier: &Verifier) -> Outcome {
        let (key, deadline) = (wanted.key(), wanted.deadline());
        loop {
            match self.find_or_begin(&key, verifier) {
                Found::Visitor(visitor) => return Ok(visitor),
                Found::Mine(lead) => return lead.run(wanted),
                Found::Theirs(flight) => {
                    let soon = deadline.min(Instant::now() + UNCOUNTED);
                    let mut outcome = flight.wait(soon);
                    if matches!(outcome, Err(NoVisitor::Broker(Failure::Deadline))) && soon < deadline {
                        let _wait = self.broker.begin(&wanted.principal().home())?;
                        outcome = flight.wait(deadline);
                    }
                    match outcome {
                        // Who led it had less time left than we have.
                        Err(NoVisitor::Broker(Failure::Deadline)) if Instant::now() < deadline => {}
                        outcome => return outcome,
                    }
                }
            }
        }
    }

    /// Ends the PAGs of all entries that have ended or were revoked, also where nobody comes any more.
    pub fn sweep(&self) {
        let epoch = self.broker.epoch();
        let now_ms = self.now_ms();
        let mut state = lock(&self.state);
        let gone = state.drop_ended(epoch, now_ms);
        drop(state);
        drop(gone);
    }

    /// Forgets a visitor whose PAG cannot be used any more: he gets another one with his next request.
    pub fn forget(&self, visitor: &Arc<Visitor>) {
        let mut state = lock(&self.state);
        let gone = state.store.take_matching(|_, entry| Arc::ptr_eq(&entry.visitor, visitor));
        state.show();
        drop(state);
        drop(gone);
    }

    /// Milliseconds on the store's clock.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The visitor if he is known, else the login under way, else the right to begin one.
    fn find_or_begin(&self, key: &Key, verifier: &Verifier) -> Found<'_> {
        let epoch = self.broker.epoch();
        let now_ms = self.now_ms();
        let mut state = lock(&self.state);
        let revoked = state.epoch != epoch;
        let gone = state.drop_ended(epoch, now_ms);
        // Kept for as long as it takes to ask whether his token is still the same.
        let earlier = gone
            .iter()
            .filter(|e| !revoked && e.verifier == *verifier && e.visitor.principal == *key.principal())
            .map(|e| Arc::clone(&e.visitor))
            .next();
        let known = state.store.get(key, now_ms).filter(|entry| entry.verifier == *verifier);
        let found = if let Some(entry) = known {
            let visitor = Arc::clone(&entry.visitor);
            if let Some(cells) = &state.shown {
                cells.known.fetch_add(1, Ordering::Relaxed);
            }
            Found::Visitor(visitor)
        } else {
            let mine = || Arc::new(Flight { epoch, outcome: Mutex::new(None), done: Condvar::new() });
            let slot = (key.clone(), verifier.clone());
            match state.flights.entry(slot.clone()) {
                Slot::Occupied(flight) if flight.get().epoch == epoch => {
                    Found::Theirs(Arc::clone(flight.get()))
                }
                // Begun before something was revoked: its outcome is not for those who come after.
                Slot::Occupied(mut flight) => {
                    let mine = mine();
                    flight.insert(Arc::clone(&mine));
                    Found::Mine(Lead { logins: self, slot, flight: mine, earlier })
                }
                Slot::Vacant(vacant) => {
                    let mine = mine();
                    vacant.insert(Arc::clone(&mine));
                    Found::Mine(Lead { logins: self, slot, flight: mine, earlier })
                }
            }
        };
        drop(state);
        drop(gone);
        found
    }

    /// Asks the broker until it has decided.
    ///
    /// # Errors
    /// [`NoVisitor`], at the deadline at the latest.
    fn ask(&self, wanted: Wanted<'_>) -> Result<Granted, NoVisitor> {
        let home = wanted.principal().home();
        match self.exchange(&wanted.request(), &home, wanted.deadline())? {
            Reply::Granted(granted) => Ok(granted),
            _ => Err(another_answer()),
        }
    }

    /// Puts a question to the broker until it has decided; what comes is neither a failure nor pending.
    ///
    /// # Errors
    /// [`NoVisitor`], at the deadline at the latest.
    fn exchange(&self, request: &Request, home: &Home, deadline: Instant) -> Result<Reply, NoVisitor> {
        // Counted only once it is slow: what the broker knows already is never refused because others wait.
        let mut wait = None;
        let mut is_pending = false;
        let configured = Instant::now() + CONFIGURED;
        loop {
            let reply = self.broker.exchange(request, deadline).map_err(|e| match e {
                // It has answered until now. What was too short is what was left for this time.
                NoVisitor::Away(_) if is_pending && Instant::now() >= deadline => {
                    NoVisitor::Broker(Failure::Deadline)
                }
                e => e,
            })?;
            // When to ask again, and what it comes to if there is no time for that.
            let (retry_ms, else_failure) = match reply {
                Reply::Pending { retry_ms } => (retry_ms, Failure::Deadline),
                Reply::Failed(failure @ Failure::CellNotAllowed) if Instant::now() < configured => {
                    (CONFIGURED_RETRY_MS, failure)
                }
                Reply::Failed(failure) => return Err(NoVisitor::Broker(failure)),
                decided => return Ok(decided),
            };
            is_pending = true;
            if wait.is_none() {
                wait = self.broker.begin(home)?;
            }
            let ms = retry_ms.clamp(*RETRY_MS.start(), *RETRY_MS.end());
            let pause = Duration::from_millis(u64::from(ms));
            if Instant::now() + pause >= deadline {
                return Err(NoVisitor::Broker(else_failure));
            }
            std::thread::sleep(pause);
        }
    }

    /// A PAG of his own for a visitor whom the broker has let in; the one that he has, if it holds this very token.
    ///
    /// # Errors
    /// [`NoVisitor`] if the token is of no use, or the client does not take it.
    fn admit(
        &self,
        principal: &Principal,
        granted: &Granted,
        epoch: u64,
        verifier: &Verifier,
        earlier: Option<&Arc<Visitor>>,
    ) -> Outcome {
        let token: &Token = &granted.token;
        if token.cell != *principal.cell() || token.lifetime_s(unix_now()) == 0 {
            return Err(NoVisitor::Broker(Failure::NotAccepted));
        }
        let known_by = self.key.verifier(&[
            token.ticket.as_slice(),
            token.key.0.as_slice(),
            &token.kvno.to_le_bytes(),
            &token.end.to_le_bytes(),
        ]);
        // Kernel clients have few PAGs and keys, and a new token costs a connection to each file server.
        let same = |e: &&Arc<Visitor>| e.principal == *principal && e.token == known_by && e.epoch == epoch;
        if let Some(earlier) = earlier.filter(same) {
            return Ok(Arc::clone(earlier));
        }
        // He may have come from another address, too.
        let elsewhere = |state: &State| {
            let entry = state.store.oldest(|_, e| e.verifier == *verifier && same(&&e.visitor));
            entry.map(|entry| Arc::clone(&entry.visitor))
        };
        if let Some(elsewhere) = elsewhere(&lock(&self.state)) {
            return Ok(elsewhere);
        }
        let pag = self.new_pag().map_err(NoVisitor::Client)?;
        pag.set_token(token).map_err(NoVisitor::Client)?;
        Ok(Arc::new(Visitor {
            principal: principal.clone(),
            name: granted.name.clone(),
            pag,
            token_end: token.end,
            afs_id: token.afs_id,
            password_expires_days: granted.password_expires_days,
            epoch,
            token: known_by,
            is_kept: AtomicBool::new(false),
        }))
    }

    /// A PAG; if none is free, that of whoever has not been here for longest and has no request under way.
    ///
    /// # Errors
    /// The client's.
    fn new_pag(&self) -> Result<Pag, pag::Error> {
        loop {
            match Arc::clone(&self.client).new_pag() {
                Err(pag::Error::NoPagLeft) if self.free_a_pag() => {}
                made => return made,
            }
        }
    }

    /// Forgets the visitor who has not been here for longest, of those who have no request under way and no program in their
    /// PAG: that ends, and may be free then. `false`: there is none.
    pub fn free_a_pag(&self) -> bool {
        let mut state = lock(&self.state);
        let store = &state.store;
        let is_idle = |visitor: &Arc<Visitor>| {
            let entries = || store.count(|_, entry| Arc::ptr_eq(&entry.visitor, visitor));
            !visitor.is_kept.load(Ordering::Acquire) && Arc::strong_count(visitor) == entries()
        };
        let idle = store.oldest(|key, entry| matches!(key, Key::Login { .. }) && is_idle(&entry.visitor));
        let Some(idle) = idle.map(|entry| Arc::clone(&entry.visitor)) else { return false };
        let gone = state.store.take_matching(|_, entry| Arc::ptr_eq(&entry.visitor, &idle));
        state.show();
        drop(state);
        drop((gone, idle));
        true
    }

    /// Remembers a visitor, unless something was revoked since he was asked for.
    fn remember(&self, slot: &(Key, Verifier), epoch: u64, visitor: &Arc<Visitor>, valid_s: u32) {
        let now_ms = self.now_ms();
        let limit = u64::from(valid_s).min(ENTRY_MAX_S);
        let Some(end) = expires_ms(now_ms, unix_now(), visitor.token_end, Some(limit)) else { return };
        let entry = Entry { verifier: slot.1.clone(), visitor: Arc::clone(visitor) };
        let revoked = self.broker.epoch() != epoch;
        let mut state = lock(&self.state);
        if revoked || state.epoch != epoch {
            return;
        }
        let gone = state.store.insert(slot.0.clone(), entry, end, now_ms);
        state.show();
        drop(state);
        drop(gone);
    }
}

/// What [`Logins::find_or_begin`] came upon.
enum Found<'a> {
    /// He is known.
    Visitor(Arc<Visitor>),
    /// Another thread asks for him.
    Theirs(Arc<Flight>),
    /// This thread is to ask.
    Mine(Lead<'a>),
}

impl Flight {
    /// Waits for the outcome.
    ///
    /// # Errors
    /// The outcome's, or [`Failure::Deadline`].
    fn wait(&self, deadline: Instant) -> Outcome {
        let mut outcome = lock(&self.outcome);
        loop {
            if let Some(outcome) = &*outcome {
                return outcome.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NoVisitor::Broker(Failure::Deadline));
            }
            outcome = self
                .done
                .wait_timeout(outcome, left)
                .map_or_else(|poisoned| poisoned.into_inner().0, |r| r.0);
        }
    }
}

/// The right and duty to ask the broker; whoever waits is told, also after a panic.
struct Lead<'a> {
    /// Whose.
    logins: &'a Logins,
    /// Where the flight stands.
    slot: (Key, Verifier),
    /// It.
    flight: Arc<Flight>,
    /// The visitor as he was known until now.
    earlier: Option<Arc<Visitor>>,
}

impl Lead<'_> {
    /// Asks, remembers, tells.
    ///
    /// # Errors
    /// As [`Logins::visitor`].
    fn run(self, wanted: Wanted<'_>) -> Outcome {
        let outcome = self.logins.ask(wanted).and_then(|granted| {
            let epoch = self.flight.epoch;
            let (verifier, earlier) = (&self.slot.1, self.earlier.as_ref());
            let visitor = self.logins.admit(wanted.principal(), &granted, epoch, verifier, earlier)?;
            self.logins.remember(&self.slot, epoch, &visitor, granted.valid_s);
            Ok(visitor)
        });
        *lock(&self.flight.outcome) = Some(outcome.clone());
        outcome
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.logins.state);
        if state.flights.get(&self.slot).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            state.flights.remove(&self.slot);
        }
        drop(state);
        lock(&self.flight.outcome)
            .get_or_insert_with(|| Err(NoVisitor::Away("the thread that asked has died".to_owned())));
        self.flight.done.notify_all();
    }
}

#[cfg(test)]
mod tests;
