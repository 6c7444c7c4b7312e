//! The child's side of a login: its short cache, and one question to the broker for all who ask the same.
//!
//! Knows neither httpd nor how a lane works. An entry holds the visitor's PAG;
//! when the entry has gone and the last request in it has ended, so has the PAG.

use afsweb_cache::{Store, Verifier, VerifierKey, expires_ms};
use core::fmt;
use core::num::NonZeroUsize;
use core::time::Duration;
use pag::{AfsClient, Cell, Pag, Principal, Token};
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use weblog_proto::{Failure, GetToken, Granted, Reply, Request};

use crate::identity::Credentials;
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

    /// The calling worker is about to wait for a login in `cell`, until the guard is dropped.
    ///
    /// # Errors
    /// [`NoVisitor::Broker`] with [`Failure::Overload`] if too many workers wait for that cell already.
    fn begin(&self, _cell: &Cell) -> Result<Option<Wait>, NoVisitor> {
        Ok(None)
    }
}

/// Somebody whose cell has said that he is who he claims to be.
#[derive(Debug)]
pub struct Visitor {
    /// User and cell.
    pub principal: Principal,
    /// Holds his token, and nobody else's.
    pub pag: Pag,
    /// When his token ends, seconds since 1970 UTC.
    pub token_end: i64,
    /// His number in the cell.
    pub afs_id: i32,
    /// What his token is known by.
    token: Verifier,
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
            Self::Away(_) | Self::Client(_) => Failure::Internal,
        }
    }
}

impl fmt::Display for NoVisitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker(failure) => f.write_str(failure.word()),
            Self::Away(how) => write!(f, "the broker does not answer: {how}"),
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
struct Key {
    /// User and cell.
    principal: Principal,
    /// Where the visitor is: the broker, which bounds guesses, is asked once from each address.
    address: IpAddr,
    /// As in [`Terms`].
    token_lifetime_s: u32,
    /// As in [`Terms`].
    cache_expiration_s: u32,
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
        gone
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
            state: Mutex::new(State { epoch, store, flights: HashMap::new() }),
        })
    }

    /// Whom these credentials make of their bearer: from the cache, from a login under way, or from the broker.
    ///
    /// # Errors
    /// [`NoVisitor`] says why nobody.
    pub fn visitor(&self, claim: &Credentials, terms: &Terms) -> Outcome {
        let key = Key {
            principal: claim.principal.clone(),
            address: terms.address,
            token_lifetime_s: terms.token_lifetime_s,
            cache_expiration_s: terms.cache_expiration_s,
        };
        let verifier = self.key.verifier(&[
            claim.principal.name().as_bytes(),
            claim.principal.cell().as_str().as_bytes(),
            claim.password.expose(),
        ]);
        loop {
            match self.find_or_begin(&key, &verifier) {
                Found::Visitor(visitor) => return Ok(visitor),
                Found::Mine(lead) => return lead.run(claim, terms),
                Found::Theirs(flight) => {
                    let soon = terms.deadline.min(Instant::now() + UNCOUNTED);
                    let mut outcome = flight.wait(soon);
                    if matches!(outcome, Err(NoVisitor::Broker(Failure::Deadline))) && soon < terms.deadline {
                        let _wait = self.broker.begin(claim.principal.cell())?;
                        outcome = flight.wait(terms.deadline);
                    }
                    match outcome {
                        // Who led it had less time left than we have.
                        Err(NoVisitor::Broker(Failure::Deadline)) if Instant::now() < terms.deadline => {}
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
            .filter(|e| !revoked && e.verifier == *verifier && e.visitor.principal == key.principal)
            .map(|e| Arc::clone(&e.visitor))
            .next();
        let known = state.store.get(key, now_ms).filter(|entry| entry.verifier == *verifier);
        let found = if let Some(entry) = known {
            Found::Visitor(Arc::clone(&entry.visitor))
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
    fn ask(&self, claim: &Credentials, terms: &Terms) -> Result<Granted, NoVisitor> {
        let request = Request::GetToken(GetToken {
            user: claim.principal.name().to_owned(),
            cell: claim.principal.cell().as_str().to_owned(),
            password: claim.password.clone(),
            address: terms.address,
            token_lifetime_s: terms.token_lifetime_s,
            cache_expiration_s: terms.cache_expiration_s,
        });
        // Counted only once it is slow: what the broker knows already is never refused because others wait.
        let mut wait = None;
        let configured = Instant::now() + CONFIGURED;
        loop {
            let mut reply = self.broker.exchange(&request, terms.deadline)?;
            if matches!(reply, Reply::Failed(Failure::CellNotAllowed)) && Instant::now() < configured {
                reply = Reply::Pending { retry_ms: CONFIGURED_RETRY_MS };
            }
            match reply {
                Reply::Granted(granted) => return Ok(granted),
                Reply::Failed(failure) => return Err(NoVisitor::Broker(failure)),
                Reply::Pending { retry_ms } => {
                    if wait.is_none() {
                        wait = self.broker.begin(claim.principal.cell())?;
                    }
                    let ms = retry_ms.clamp(*RETRY_MS.start(), *RETRY_MS.end());
                    let pause = Duration::from_millis(u64::from(ms));
                    if Instant::now() + pause >= terms.deadline {
                        return Err(NoVisitor::Broker(Failure::Deadline));
                    }
                    std::thread::sleep(pause);
                }
                Reply::Pong => return Err(NoVisitor::Away("it answered another question".to_owned())),
            }
        }
    }

    /// A PAG of his own for a visitor whom the broker has let in; the one that he has, if it holds this very token.
    ///
    /// # Errors
    /// [`NoVisitor`] if the token is of no use, or the client does not take it.
    fn admit(&self, claim: &Credentials, token: &Token, earlier: Option<&Arc<Visitor>>) -> Outcome {
        if token.cell != *claim.principal.cell() || token.lifetime_s(unix_now()) == 0 {
            return Err(NoVisitor::Broker(Failure::NotAccepted));
        }
        let known_by = self.key.verifier(&[
            token.ticket.as_slice(),
            token.key.0.as_slice(),
            &token.kvno.to_le_bytes(),
            &token.end.to_le_bytes(),
        ]);
        // Kernel clients have few PAGs and keys, and a new token costs a connection to each file server.
        if let Some(earlier) = earlier.filter(|e| e.principal == claim.principal && e.token == known_by) {
            return Ok(Arc::clone(earlier));
        }
        let pag = Arc::clone(&self.client).new_pag().map_err(NoVisitor::Client)?;
        pag.set_token(token).map_err(NoVisitor::Client)?;
        Ok(Arc::new(Visitor {
            principal: claim.principal.clone(),
            pag,
            token_end: token.end,
            afs_id: token.afs_id,
            token: known_by,
        }))
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
    fn run(self, claim: &Credentials, terms: &Terms) -> Outcome {
        let outcome = self.logins.ask(claim, terms).and_then(|granted| {
            let visitor = self.logins.admit(claim, &granted.token, self.earlier.as_ref())?;
            self.logins.remember(&self.slot, self.flight.epoch, &visitor, granted.valid_s);
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
mod tests {
    use super::*;
    use pag::{ClientKind, SessionKey};
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use weblog_proto::Password;
    use zeroize::Zeroizing;

    /// Counts its PAGs.
    #[derive(Default)]
    struct Client {
        made: AtomicU32,
        ended: Mutex<Vec<u32>>,
        refuses_tokens: bool,
    }

    impl AfsClient for Client {
        fn kind(&self) -> ClientKind {
            ClientKind::Userspace
        }
        fn new_pag(self: Arc<Self>) -> Result<Pag, pag::Error> {
            let id = self.made.fetch_add(1, SeqCst) + 1;
            Ok(Pag::adopt(id, self))
        }
        fn enter(&self, _: u32) -> Result<(), pag::Error> {
            Ok(())
        }
        fn leave(&self) {}
        fn set_token(&self, _: u32, _: &Token) -> Result<(), pag::Error> {
            if self.refuses_tokens { Err(pag::Error::WrongPag) } else { Ok(()) }
        }
        fn end(&self, pag: u32) {
            lock(&self.ended).push(pag);
        }
    }

    /// What is expected to happen happens in this time, also on a busy machine.
    const IN_TIME: Duration = Duration::from_secs(30);

    /// Keeps whoever asks the broker there.
    struct Hold {
        inside: Sender<()>,
        go_on: Mutex<Receiver<()>>,
    }

    /// A hold, who is told of each that comes there, and what lets them go when it is dropped.
    fn hold() -> (Option<Hold>, Receiver<()>, Sender<()>) {
        let ((inside, told), (let_go, go_on)) = (channel(), channel());
        (Some(Hold { inside, go_on: Mutex::new(go_on) }), told, let_go)
    }

    /// Waits until so many threads wait for the one that asks.
    fn until_waiting(logins: &Logins, followers: usize) {
        let end = Instant::now() + IN_TIME;
        // The table has one, and so has the one that asks.
        while lock(&logins.state).flights.values().map(Arc::strong_count).sum::<usize>() < followers + 2 {
            assert!(Instant::now() < end, "not all of them wait");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Grants "right" (and "new"), refuses the rest.
    struct Broker {
        asked: AtomicU32,
        epoch: AtomicU64,
        pending: AtomicU32,
        hold: Option<Hold>,
        valid_s: u32,
        token_s: i64,
        /// The same token each time, which ends then.
        token_end: Option<i64>,
        revokes_meanwhile: bool,
        cell: &'static str,
        full: bool,
    }

    impl Default for Broker {
        fn default() -> Self {
            Self {
                asked: AtomicU32::new(0),
                epoch: AtomicU64::new(1),
                pending: AtomicU32::new(0),
                hold: None,
                valid_s: 300,
                token_s: 3600,
                token_end: None,
                revokes_meanwhile: false,
                cell: "example.com",
                full: false,
            }
        }
    }

    impl Ask for Arc<Broker> {
        fn exchange(&self, request: &Request, _: Instant) -> Result<Reply, NoVisitor> {
            let Request::GetToken(get) = request else { return Ok(Reply::Pong) };
            self.asked.fetch_add(1, SeqCst);
            if let Some(hold) = &self.hold {
                hold.inside.send(()).unwrap();
                // Until the other end is dropped.
                let _ = lock(&hold.go_on).recv_timeout(IN_TIME);
            }
            if self.revokes_meanwhile {
                self.epoch.fetch_add(1, SeqCst);
            }
            if self.pending.load(SeqCst) > 0 {
                self.pending.fetch_sub(1, SeqCst);
                return Ok(Reply::Pending { retry_ms: 10 });
            }
            match get.password.expose() {
                b"right" | b"new" => Ok(Reply::Granted(Granted {
                    token: Token {
                        cell: Cell::new(self.cell).unwrap(),
                        afs_id: 7,
                        kvno: 1,
                        key: SessionKey([1; 8]),
                        begin: 0,
                        end: self.token_end.unwrap_or_else(|| unix_now() + self.token_s),
                        ticket: Zeroizing::new(vec![0; 40]),
                    },
                    valid_s: self.valid_s,
                    password_expires_days: None,
                })),
                b"away" => Err(NoVisitor::Away("gone".into())),
                b"panic" => panic!("as a test"),
                _ => Ok(Reply::Failed(Failure::WrongPassword)),
            }
        }
        fn epoch(&self) -> u64 {
            self.epoch.load(SeqCst)
        }
        fn begin(&self, _: &Cell) -> Result<Option<Wait>, NoVisitor> {
            if self.full { Err(NoVisitor::Broker(Failure::Overload)) } else { Ok(None) }
        }
    }

    fn set_up(broker: Broker, client: Client) -> (Arc<Broker>, Arc<Client>, Logins) {
        let (broker, client) = (Arc::new(broker), Arc::new(client));
        let logins =
            Logins::new(Box::new(Arc::clone(&broker)), Arc::clone(&client) as Arc<dyn AfsClient>).unwrap();
        (broker, client, logins)
    }

    fn claim(user: &str, password: &str) -> Credentials {
        Credentials {
            principal: Principal::new(user, Cell::new("example.com").unwrap()).unwrap(),
            password: Password::new(Zeroizing::new(password.as_bytes().to_vec())).unwrap(),
        }
    }

    fn terms(ms: u64) -> Terms {
        Terms {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            token_lifetime_s: 0,
            cache_expiration_s: 300,
            deadline: Instant::now() + Duration::from_millis(ms),
        }
    }

    const WRONG: NoVisitor = NoVisitor::Broker(Failure::WrongPassword);

    #[test]
    fn second_request_is_answered_from_the_cache() {
        let (broker, client, logins) = set_up(Broker::default(), Client::default());
        let first = logins.visitor(&claim("alice", "right"), &terms(1000)).unwrap();
        let second = logins.visitor(&claim("alice", "right"), &terms(1000)).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!((broker.asked.load(SeqCst), client.made.load(SeqCst)), (1, 1));
        assert_eq!((first.afs_id, first.principal.to_string().as_str()), (7, "alice@example.com"));
    }

    #[test]
    fn another_password_is_asked_for_and_does_not_push_out_the_right_one() {
        let (broker, client, logins) = set_up(Broker::default(), Client::default());
        let first = logins.visitor(&claim("alice", "right"), &terms(1000)).unwrap();
        assert_eq!(logins.visitor(&claim("alice", "wrong"), &terms(1000)).unwrap_err(), WRONG);
        assert!(Arc::ptr_eq(&first, &logins.visitor(&claim("alice", "right"), &terms(1000)).unwrap()));
        assert_eq!(broker.asked.load(SeqCst), 2);
        // a changed password, once the cell takes it, replaces the old one
        drop(first);
        logins.visitor(&claim("alice", "new"), &terms(1000)).unwrap();
        assert_eq!(*lock(&client.ended), [1]);
        logins.visitor(&claim("alice", "right"), &terms(1000)).unwrap();
        assert_eq!(broker.asked.load(SeqCst), 4);
    }

    #[test]
    fn a_refusal_is_not_remembered_here() {
        let (broker, client, logins) = set_up(Broker::default(), Client::default());
        for _ in 0..2 {
            assert_eq!(logins.visitor(&claim("alice", "wrong"), &terms(1000)).unwrap_err(), WRONG);
        }
        assert_eq!((broker.asked.load(SeqCst), client.made.load(SeqCst)), (2, 0));
    }

    #[test]
    fn visitors_do_not_share() {
        let (_, _, logins) = set_up(Broker::default(), Client::default());
        let alice = logins.visitor(&claim("alice", "right"), &terms(1000)).unwrap();
        let bob = logins.visitor(&claim("bob", "right"), &terms(1000)).unwrap();
        assert_ne!(alice.pag.id(), bob.pag.id());
        assert_eq!(bob.principal.name(), "bob");
    }

    #[test]
    fn servers_with_other_expirations_do_not_share_an_entry() {
        let (broker, _, logins) = set_up(Broker::default(), Client::default());
        logins.visitor(&claim("alice", "right"), &terms(1000)).unwrap();
        let strict = Terms { cache_expiration_s: 5, ..terms(1000) };
        logins.visitor(&claim("alice", "right"), &strict).unwrap();
        assert_eq!(broker.asked.load(SeqCst), 2);
    }

    #[test]
    fn a_guess_from_another_address_is_not_confirmed_from_the_cache() {
        let (broker, _, logins) = set_up(Broker::default(), Client::default());
        logins.visitor(&claim("alice", "right"), &terms(1000)).unwrap();
        let elsewhere = Terms { address: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9)), ..terms(1000) };
        logins.visitor(&claim("alice", "right"), &elsewhere).unwrap();
        assert_eq!(broker.asked.load(SeqCst), 2, "the broker, which counts guesses, was not asked");
        logins.visitor(&claim("alice", "right"), &terms(1000)).unwrap();
        assert_eq!(broker.asked.load(SeqCst), 2);
    }

    #[test]
    fn revocation_ends_all_entries_and_their_pags() {
        let (broker, client, logins) = set_up(Broker::default(), Client::default());
        for user in ["alice", "bob"] {
            logins.visitor(&claim(user, "right"), &terms(1000)).unwrap();
        }
        broker.epoch.fetch_add(1, SeqCst);
        let held = logins.visitor(&claim("alice", "right"), &terms(1000)).unwrap();
        assert_eq!(held.pag.id(), 3);
        let mut ended = lock(&client.ended).clone();
        ended.sort_unstable();
        assert_eq!(ended, [1, 2]);
    }

    #[test]
    fn a_login_during_a_revocation_is_not_kept() {
        let (broker, _, logins) =
            set_up(Broker { revokes_meanwhile: true, ..Broker::default() }, Client::default());
        for _ in 0..2 {
            logins.visitor(&claim("alice", "right"), &terms(1000)).unwrap();
        }
        assert_eq!(broker.asked.load(SeqCst), 2);
    }

    #[test]
    fn a_pag_lives_as_long_as_a_request_in_it() {
        let (broker, client, logins) = set_up(Broker::default(), Client::default());
        let held = logins.visitor(&claim("alice", "right"), &terms(1000)).unwrap();
        broker.epoch.fetch_add(1, SeqCst);
        logins.visitor(&claim("bob", "right"), &terms(1000)).unwrap();
        assert!(lock(&client.ended).is_empty());
        drop(held);
        assert_eq!(*lock(&client.ended), [1]);
    }

    #[test]
    fn a_visitor_who_is_forgotten_gets_another_pag() {
        let (broker, client, logins) = set_up(Broker::default(), Client::default());
        let first = logins.visitor(&claim("alice", "right"), &terms(1000)).unwrap();
        logins.visitor(&claim("bob", "right"), &terms(1000)).unwrap();
        logins.forget(&first);
        drop(first);
        assert_eq!(*lock(&client.ended), [1]);
        logins.visitor(&claim("bob", "right"), &terms(1000)).unwrap();
        assert_eq!(broker.asked.load(SeqCst), 2, "bob is still known");
        assert_eq!(logins.visitor(&claim("alice", "right"), &terms(1000)).unwrap().pag.id(), 3);
    }

    #[test]
    fn an_entry_never_outlives_its_token() {
        // Its end is a whole second, so it has two to three.
        let (broker, _, logins) = set_up(Broker { token_s: 3, ..Broker::default() }, Client::default());
        logins.visitor(&claim("alice", "right"), &terms(1000)).unwrap();
        std::thread::sleep(Duration::from_millis(3100));
        logins.visitor(&claim("alice", "right"), &terms(1000)).unwrap();
        assert_eq!(broker.asked.load(SeqCst), 2);
        let (_, client, logins) = set_up(Broker { token_s: -1, ..Broker::default() }, Client::default());
        let outcome = logins.visitor(&claim("alice", "right"), &terms(1000));
        assert_eq!(outcome.unwrap_err(), NoVisitor::Broker(Failure::NotAccepted));
        assert_eq!(client.made.load(SeqCst), 0);
    }

    #[test]
    fn who_comes_again_with_the_same_token_keeps_his_pag_and_another_token_gets_its_own() {
        let same = Broker { valid_s: 1, token_end: Some(unix_now() + 3600), ..Broker::default() };
        for (broker, pags) in [(same, 1), (Broker { valid_s: 1, ..Broker::default() }, 2)] {
            let (broker, client, logins) = set_up(broker, Client::default());
            logins.visitor(&claim("alice", "right"), &terms(1000)).unwrap();
            std::thread::sleep(Duration::from_millis(1100));
            logins.visitor(&claim("alice", "right"), &terms(1000)).unwrap();
            assert_eq!((broker.asked.load(SeqCst), client.made.load(SeqCst)), (2, pags));
            assert_eq!(lock(&client.ended).len(), pags as usize - 1);
        }
        // After a revocation, nothing is taken over.
        let broker = Broker { token_end: Some(unix_now() + 3600), ..Broker::default() };
        let (broker, client, logins) = set_up(broker, Client::default());
        logins.visitor(&claim("alice", "right"), &terms(1000)).unwrap();
        broker.epoch.fetch_add(1, SeqCst);
        logins.visitor(&claim("alice", "right"), &terms(1000)).unwrap();
        assert_eq!((client.made.load(SeqCst), lock(&client.ended).clone()), (2, vec![1]));
    }

    #[test]
    fn where_nobody_comes_any_more_tokens_end_all_the_same() {
        let (broker, client, logins) = set_up(Broker { token_s: 3, ..Broker::default() }, Client::default());
        logins.visitor(&claim("alice", "right"), &terms(1000)).unwrap();
        logins.sweep();
        assert_eq!(*lock(&client.ended), Vec::<u32>::new());
        std::thread::sleep(Duration::from_millis(3100));
        logins.sweep();
        assert_eq!(*lock(&client.ended), [1], "ended");
        let (broker2, client, logins) = set_up(Broker::default(), Client::default());
        logins.visitor(&claim("alice", "right"), &terms(1000)).unwrap();
        broker2.epoch.fetch_add(1, SeqCst);
        logins.sweep();
        assert_eq!(*lock(&client.ended), [1], "revoked");
        assert_eq!(broker.asked.load(SeqCst), 1);
    }

    #[test]
    fn a_token_of_another_cell_is_nobodys() {
        let (_, client, logins) =
            set_up(Broker { cell: "other.org", ..Broker::default() }, Client::default());
        let outcome = logins.visitor(&claim("alice", "right"), &terms(1000));
        assert_eq!(outcome.unwrap_err(), NoVisitor::Broker(Failure::NotAccepted));
        assert_eq!(client.made.load(SeqCst), 0);
    }

    #[test]
    fn a_client_that_takes_no_token_leaves_no_pag() {
        let (_, client, logins) =
            set_up(Broker::default(), Client { refuses_tokens: true, ..Client::default() });
        let outcome = logins.visitor(&claim("alice", "right"), &terms(1000));
        assert_eq!(outcome.unwrap_err(), NoVisitor::Client(pag::Error::WrongPag));
        assert_eq!(*lock(&client.ended), [1]);
    }

    #[test]
    fn simultaneous_requests_with_the_same_credentials_ask_once() {
        for (password, granted) in [("right", true), ("wrong", false)] {
            let (hold, _told, let_go) = hold();
            let (broker, client, logins) = set_up(Broker { hold, ..Broker::default() }, Client::default());
            std::thread::scope(|scope| {
                let all: Vec<_> = (0..20)
                    .map(|_| {
                        scope.spawn(|| logins.visitor(&claim("alice", password), &terms(30_000)).is_ok())
                    })
                    .collect();
                until_waiting(&logins, 19);
                drop(let_go);
                assert!(all.into_iter().all(|t| t.join().unwrap() == granted));
            });
            assert_eq!((broker.asked.load(SeqCst), client.made.load(SeqCst)), (1, u32::from(granted)));
            assert!(lock(&logins.state).flights.is_empty());
        }
    }

    #[test]
    fn a_pending_login_is_asked_for_again() {
        let (broker, _, logins) =
            set_up(Broker { pending: 3.into(), ..Broker::default() }, Client::default());
        assert!(logins.visitor(&claim("alice", "right"), &terms(5000)).is_ok());
        assert_eq!(broker.asked.load(SeqCst), 4);
    }

    #[test]
    fn a_login_ends_at_the_deadline() {
        let (_, _, logins) =
            set_up(Broker { pending: 100_000.into(), ..Broker::default() }, Client::default());
        let outcome = logins.visitor(&claim("alice", "right"), &terms(200));
        assert_eq!(outcome.unwrap_err(), NoVisitor::Broker(Failure::Deadline));
    }

    #[test]
    fn who_waits_for_another_gives_up_at_his_own_deadline() {
        let (hold, told, let_go) = hold();
        let (_, _, logins) = set_up(Broker { hold, ..Broker::default() }, Client::default());
        std::thread::scope(|scope| {
            let lead = scope.spawn(|| logins.visitor(&claim("alice", "right"), &terms(30_000)).is_ok());
            told.recv_timeout(IN_TIME).unwrap();
            let outcome = logins.visitor(&claim("alice", "right"), &terms(100));
            assert_eq!(outcome.unwrap_err(), NoVisitor::Broker(Failure::Deadline));
            drop(let_go);
            assert!(lead.join().unwrap());
        });
    }

    #[test]
    fn a_thread_that_dies_leaves_nobody_waiting() {
        let (hold, told, let_go) = hold();
        let (_, _, logins) = set_up(Broker { hold, ..Broker::default() }, Client::default());
        std::thread::scope(|scope| {
            let lead = scope.spawn(|| logins.visitor(&claim("alice", "panic"), &terms(30_000)).is_ok());
            told.recv_timeout(IN_TIME).unwrap();
            let other = scope.spawn(|| logins.visitor(&claim("alice", "panic"), &terms(30_000)));
            until_waiting(&logins, 1);
            drop(let_go);
            assert_eq!(other.join().unwrap().unwrap_err().failure(), Failure::Internal);
            assert!(lead.join().is_err());
        });
        assert!(lock(&logins.state).flights.is_empty());
        assert!(logins.visitor(&claim("alice", "right"), &terms(1000)).is_ok());
    }

    #[test]
    fn where_too_many_wait_already_only_what_the_broker_knows_is_served() {
        let (_, _, logins) = set_up(Broker { full: true, ..Broker::default() }, Client::default());
        assert!(logins.visitor(&claim("alice", "right"), &terms(1000)).is_ok());
        let (broker, _, logins) =
            set_up(Broker { full: true, pending: AtomicU32::new(5), ..Broker::default() }, Client::default());
        let outcome = logins.visitor(&claim("alice", "right"), &terms(1000)).unwrap_err();
        assert_eq!(outcome, NoVisitor::Broker(Failure::Overload));
        assert_eq!(broker.asked.load(SeqCst), 1);
        assert!(lock(&logins.state).flights.is_empty());
    }

    #[test]
    fn a_broker_that_is_away_is_not_a_wrong_password() {
        let (_, _, logins) = set_up(Broker::default(), Client::default());
        let outcome = logins.visitor(&claim("alice", "away"), &terms(1000)).unwrap_err();
        assert_eq!(outcome.failure().class(), weblog_proto::reply::FailureClass::Unavailable);
    }
}
