//! Tests of the child's side of a login, with a broker and a client that count.

use super::*;
use pag::{Cell, ClientKind, SessionKey};
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
    /// So many at a time; 0: as many as anybody wants.
    limit: usize,
    refuses_tokens: Option<pag::Error>,
}

impl AfsClient for Client {
    fn kind(&self) -> ClientKind {
        ClientKind::Userspace
    }
    fn new_pag(self: Arc<Self>) -> Result<Pag, pag::Error> {
        let live = self.made.load(SeqCst) as usize - lock(&self.ended).len();
        if self.limit > 0 && live >= self.limit {
            return Err(pag::Error::NoPagLeft);
        }
        let id = self.made.fetch_add(1, SeqCst) + 1;
        Ok(Pag::adopt(id, self))
    }
    fn enter(&self, _: u32) -> Result<(), pag::Error> {
        Ok(())
    }
    fn leave(&self) {}
    fn set_token(&self, _: u32, _: &Token) -> Result<(), pag::Error> {
        self.refuses_tokens.clone().map_or(Ok(()), Err)
    }
    fn end(&self, pag: u32) {
        lock(&self.ended).push(pag);
    }
    fn show_pags(&self, _: pag::PagCells) {}
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
    /// So many are told first that the cell is not allowed.
    unconfigured: AtomicU32,
    /// After what is pending no answer comes, until the asker's deadline.
    is_slow: bool,
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
            unconfigured: AtomicU32::new(0),
            is_slow: false,
        }
    }
}

impl Ask for Arc<Broker> {
    fn exchange(&self, request: &Request, deadline: Instant) -> Result<Reply, NoVisitor> {
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
        if self.unconfigured.load(SeqCst) > 0 {
            self.unconfigured.fetch_sub(1, SeqCst);
            return Ok(Reply::Failed(Failure::CellNotAllowed));
        }
        if self.is_slow {
            std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
            return Err(NoVisitor::Away("slow".into()));
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
                name: get.user.clone(),
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
    fn begin(&self, _: &Home) -> Result<Option<Wait>, NoVisitor> {
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
    let first = logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap();
    let second = logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!((broker.asked.load(SeqCst), client.made.load(SeqCst)), (1, 1));
    assert_eq!((first.afs_id, first.principal.to_string().as_str()), (7, "alice@example.com"));
}

#[test]
fn another_password_is_asked_for_and_does_not_push_out_the_right_one() {
    let (broker, client, logins) = set_up(Broker::default(), Client::default());
    let first = logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap();
    assert_eq!(logins.visitor(&claim("alice", "wrong"), &terms(30_000)).unwrap_err(), WRONG);
    assert!(Arc::ptr_eq(&first, &logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap()));
    assert_eq!(broker.asked.load(SeqCst), 2);
    // a changed password, once the cell takes it, replaces the old one
    drop(first);
    logins.visitor(&claim("alice", "new"), &terms(30_000)).unwrap();
    assert_eq!(*lock(&client.ended), [1]);
    logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap();
    assert_eq!(broker.asked.load(SeqCst), 4);
}

#[test]
fn a_refusal_is_not_remembered_here() {
    let (broker, client, logins) = set_up(Broker::default(), Client::default());
    for _ in 0..2 {
        assert_eq!(logins.visitor(&claim("alice", "wrong"), &terms(30_000)).unwrap_err(), WRONG);
    }
    assert_eq!((broker.asked.load(SeqCst), client.made.load(SeqCst)), (2, 0));
}

#[test]
fn visitors_do_not_share() {
    let (_, _, logins) = set_up(Broker::default(), Client::default());
    let alice = logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap();
    let bob = logins.visitor(&claim("bob", "right"), &terms(30_000)).unwrap();
    assert_ne!(alice.pag.id(), bob.pag.id());
    assert_eq!(bob.principal.name(), "bob");
}

#[test]
fn servers_with_other_expirations_do_not_share_an_entry() {
    let (broker, _, logins) = set_up(Broker::default(), Client::default());
    logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap();
    let strict = Terms { cache_expiration_s: 5, ..terms(30_000) };
    logins.visitor(&claim("alice", "right"), &strict).unwrap();
    assert_eq!(broker.asked.load(SeqCst), 2);
}

#[test]
fn a_guess_from_another_address_is_not_confirmed_from_the_cache() {
    let (broker, _, logins) = set_up(Broker::default(), Client::default());
    logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap();
    let elsewhere = Terms { address: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9)), ..terms(30_000) };
    logins.visitor(&claim("alice", "right"), &elsewhere).unwrap();
    assert_eq!(broker.asked.load(SeqCst), 2, "the broker, which counts guesses, was not asked");
    logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap();
    assert_eq!(broker.asked.load(SeqCst), 2);
}

#[test]
fn revocation_ends_all_entries_and_their_pags() {
    let (broker, client, logins) = set_up(Broker::default(), Client::default());
    for user in ["alice", "bob"] {
        logins.visitor(&claim(user, "right"), &terms(30_000)).unwrap();
    }
    broker.epoch.fetch_add(1, SeqCst);
    let held = logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap();
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
        logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap();
    }
    assert_eq!(broker.asked.load(SeqCst), 2);
}

#[test]
fn a_pag_lives_as_long_as_a_request_in_it() {
    let (broker, client, logins) = set_up(Broker::default(), Client::default());
    let held = logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap();
    broker.epoch.fetch_add(1, SeqCst);
    let after = logins.visitor(&claim("bob", "right"), &terms(30_000)).unwrap();
    assert_eq!((held.epoch, after.epoch), (1, 2), "it is known who was let in before");
    assert!(lock(&client.ended).is_empty());
    drop(held);
    assert_eq!(*lock(&client.ended), [1]);
}

#[test]
fn a_visitor_who_is_forgotten_gets_another_pag() {
    let (broker, client, logins) = set_up(Broker::default(), Client::default());
    let first = logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap();
    logins.visitor(&claim("bob", "right"), &terms(30_000)).unwrap();
    logins.forget(&first);
    drop(first);
    assert_eq!(*lock(&client.ended), [1]);
    logins.visitor(&claim("bob", "right"), &terms(30_000)).unwrap();
    assert_eq!(broker.asked.load(SeqCst), 2, "bob is still known");
    assert_eq!(logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap().pag.id(), 3);
}

#[test]
fn an_entry_never_outlives_its_token() {
    // Its end is a whole second, so it has two to three.
    let (broker, _, logins) = set_up(Broker { token_s: 3, ..Broker::default() }, Client::default());
    logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap();
    std::thread::sleep(Duration::from_millis(3100));
    logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap();
    assert_eq!(broker.asked.load(SeqCst), 2);
    let (_, client, logins) = set_up(Broker { token_s: -1, ..Broker::default() }, Client::default());
    let outcome = logins.visitor(&claim("alice", "right"), &terms(30_000));
    assert_eq!(outcome.unwrap_err(), NoVisitor::Broker(Failure::NotAccepted));
    assert_eq!(client.made.load(SeqCst), 0);
}

#[test]
fn who_comes_again_with_the_same_token_keeps_his_pag_and_another_token_gets_its_own() {
    let same = Broker { valid_s: 1, token_end: Some(unix_now() + 3600), ..Broker::default() };
    for (broker, pags) in [(same, 1), (Broker { valid_s: 1, ..Broker::default() }, 2)] {
        let (broker, client, logins) = set_up(broker, Client::default());
        logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap();
        std::thread::sleep(Duration::from_millis(1100));
        logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap();
        assert_eq!((broker.asked.load(SeqCst), client.made.load(SeqCst)), (2, pags));
        assert_eq!(lock(&client.ended).len(), pags as usize - 1);
    }
    // After a revocation, nothing is taken over.
    let broker = Broker { token_end: Some(unix_now() + 3600), ..Broker::default() };
    let (broker, client, logins) = set_up(broker, Client::default());
    logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap();
    broker.epoch.fetch_add(1, SeqCst);
    logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap();
    assert_eq!((client.made.load(SeqCst), lock(&client.ended).clone()), (2, vec![1]));
}

#[test]
fn one_login_has_one_pag_whatever_addresses_it_comes_from() {
    let broker = Broker { token_end: Some(unix_now() + 3600), ..Broker::default() };
    let (broker, client, logins) = set_up(broker, Client::default());
    let come = |password: &str, last: u8| {
        let terms = Terms { address: IpAddr::from([192, 0, 2, last]), ..terms(30_000) };
        logins.visitor(&claim("alice", password), &terms).unwrap();
    };
    (1..=3).for_each(|last| come("right", last));
    assert_eq!((broker.asked.load(SeqCst), client.made.load(SeqCst)), (3, 1));
    come("new", 4);
    assert_eq!(client.made.load(SeqCst), 2, "another password is another login");
}

#[test]
fn where_no_pag_is_left_the_one_who_was_away_for_longest_gives_his() {
    let (broker, client, logins) = set_up(Broker::default(), Client { limit: 3, ..Client::default() });
    let come = |user: &str| logins.visitor(&claim(user, "right"), &terms(30_000));
    // The first has a request under way, in the PAG of the second a program was started.
    let alice = come("alice").unwrap();
    come("bob").unwrap().keep_pag();
    drop(come("carol").unwrap());
    drop(come("dave").unwrap());
    assert_eq!(*lock(&client.ended), [3], "carol's");
    drop(come("carol").unwrap());
    assert_eq!(*lock(&client.ended), [3, 4], "dave's");
    let asked = broker.asked.load(SeqCst);
    for user in ["alice", "bob"] {
        come(user).unwrap();
    }
    assert_eq!(broker.asked.load(SeqCst), asked, "they are known as before");
    let carol = come("carol").unwrap();
    assert_eq!(come("dave").unwrap_err(), NoVisitor::Client(pag::Error::NoPagLeft));
    drop(carol);
    drop(alice);
    come("dave").unwrap();
    assert_eq!(*lock(&client.ended), [3, 4, 1], "alice's now, since carol has come after her");
}

#[test]
fn where_nobody_comes_any_more_tokens_end_all_the_same() {
    let (broker, client, logins) = set_up(Broker { token_s: 3, ..Broker::default() }, Client::default());
    logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap();
    logins.sweep();
    assert_eq!(*lock(&client.ended), Vec::<u32>::new());
    std::thread::sleep(Duration::from_millis(3100));
    logins.sweep();
    assert_eq!(*lock(&client.ended), [1], "ended");
    let (broker2, client, logins) = set_up(Broker::default(), Client::default());
    logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap();
    broker2.epoch.fetch_add(1, SeqCst);
    logins.sweep();
    assert_eq!(*lock(&client.ended), [1], "revoked");
    assert_eq!(broker.asked.load(SeqCst), 1);
}

#[test]
fn a_token_of_another_cell_is_nobodys() {
    let (_, client, logins) = set_up(Broker { cell: "other.org", ..Broker::default() }, Client::default());
    let outcome = logins.visitor(&claim("alice", "right"), &terms(30_000));
    assert_eq!(outcome.unwrap_err(), NoVisitor::Broker(Failure::NotAccepted));
    assert_eq!(client.made.load(SeqCst), 0);
}

#[test]
fn d3_a_client_that_takes_no_token_leaves_no_pag() {
    let too_long = pag::Error::TicketTooLong { bytes: 2000, most: 1388 };
    for (error, failure) in [(pag::Error::WrongPag, Failure::Internal), (too_long, Failure::TicketTooLong)] {
        let refuses = Client { refuses_tokens: Some(error.clone()), ..Client::default() };
        let (_, client, logins) = set_up(Broker::default(), refuses);
        let outcome = logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap_err();
        assert_eq!((outcome.failure(), outcome), (failure, NoVisitor::Client(error)));
        assert_eq!(*lock(&client.ended), [1]);
    }
}

#[test]
fn simultaneous_requests_with_the_same_credentials_ask_once() {
    for (password, granted) in [("right", true), ("wrong", false)] {
        let (hold, _told, let_go) = hold();
        let (broker, client, logins) = set_up(Broker { hold, ..Broker::default() }, Client::default());
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..20)
                .map(|_| scope.spawn(|| logins.visitor(&claim("alice", password), &terms(30_000)).is_ok()))
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
    let (broker, _, logins) = set_up(Broker { pending: 3.into(), ..Broker::default() }, Client::default());
    assert!(logins.visitor(&claim("alice", "right"), &terms(5000)).is_ok());
    assert_eq!(broker.asked.load(SeqCst), 4);
}

#[test]
fn a_broker_that_does_not_know_the_cell_yet_is_asked_again_while_there_is_time() {
    let (broker, _, logins) =
        set_up(Broker { unconfigured: 2.into(), ..Broker::default() }, Client::default());
    assert!(logins.visitor(&claim("alice", "right"), &terms(30_000)).is_ok());
    assert_eq!(broker.asked.load(SeqCst), 3);
    // However little time there is: the cell is not allowed, which is not a broker that is late.
    for ms in [100, 500, 30_000] {
        let (broker, _, logins) =
            set_up(Broker { unconfigured: 100_000.into(), ..Broker::default() }, Client::default());
        let outcome = logins.visitor(&claim("alice", "right"), &terms(ms));
        assert_eq!(outcome.unwrap_err(), NoVisitor::Broker(Failure::CellNotAllowed), "{ms} ms");
        assert!(broker.asked.load(SeqCst) <= 11, "no longer than a configuration takes");
    }
}

#[test]
fn a_login_ends_at_the_deadline() {
    let (_, _, logins) = set_up(Broker { pending: 100_000.into(), ..Broker::default() }, Client::default());
    let outcome = logins.visitor(&claim("alice", "right"), &terms(200));
    assert_eq!(outcome.unwrap_err(), NoVisitor::Broker(Failure::Deadline));
}

#[test]
fn a_broker_that_has_answered_is_not_away_because_the_deadline_comes_first() {
    for (pending, failure) in
        [(1, NoVisitor::Broker(Failure::Deadline)), (0, NoVisitor::Away("slow".to_owned()))]
    {
        let slow = Broker { pending: pending.into(), is_slow: true, ..Broker::default() };
        let (_, _, logins) = set_up(slow, Client::default());
        let outcome = logins.visitor(&claim("alice", "right"), &terms(300));
        assert_eq!(outcome.unwrap_err(), failure);
    }
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
    assert!(logins.visitor(&claim("alice", "right"), &terms(30_000)).is_ok());
}

#[test]
fn where_too_many_wait_already_only_what_the_broker_knows_is_served() {
    let (_, _, logins) = set_up(Broker { full: true, ..Broker::default() }, Client::default());
    assert!(logins.visitor(&claim("alice", "right"), &terms(30_000)).is_ok());
    let (broker, _, logins) =
        set_up(Broker { full: true, pending: AtomicU32::new(5), ..Broker::default() }, Client::default());
    let outcome = logins.visitor(&claim("alice", "right"), &terms(30_000)).unwrap_err();
    assert_eq!(outcome, NoVisitor::Broker(Failure::Overload));
    assert_eq!(broker.asked.load(SeqCst), 1);
    assert!(lock(&logins.state).flights.is_empty());
}

#[test]
fn a_broker_that_is_away_is_not_a_wrong_password() {
    let (_, _, logins) = set_up(Broker::default(), Client::default());
    let outcome = logins.visitor(&claim("alice", "away"), &terms(30_000)).unwrap_err();
    assert_eq!(outcome.failure().class(), weblog_proto::reply::FailureClass::Unavailable);
}
