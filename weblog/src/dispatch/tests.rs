//! Tests of the decisions, with a clock and authenticators of their own.

use super::*;
use crate::config::tests::sample;
use crate::logins::{Errand, Secret};
use crate::outcome::{Step, Success};
use pag::{SessionKey, Token};
use std::collections::HashMap;
use std::net::IpAddr;
use weblog_proto::{BrokerConfig, GetToken, Granted, Password, Service};
use zeroize::Zeroizing;

mod groups;

const START: i64 = 1_800_000_000;
/// More than any test has askers, but one.
const LANES: usize = 1000;

/// A broker with a clock that is set by hand and authenticators that answer when told to.
struct World {
    broker: Dispatch<u32>,
    ms: u64,
    replies: HashMap<u32, Reply>,
    running: Vec<(LoginId, Job)>,
    /// No authenticator gets ready: logins are started, but not handed over.
    no_authenticator: bool,
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
            broker: Dispatch::new(VerifierKey::random().unwrap(), LANES),
            ms: 0,
            replies: HashMap::new(),
            running: Vec::new(),
            no_authenticator: false,
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
                    if !self.no_authenticator {
                        self.broker.handed(login);
                    }
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
                Ok(life_s) => Ok(Fruit::Login(success(token(job.who.cell(), self.now().unix_s + life_s)))),
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

fn success(token: Token) -> Success {
    Success { token, name: "alice".to_owned(), password_expires_days: None }
}

fn get(user: &str, cell: &str, password: &str) -> GetToken {
    GetToken {
        realm: None,
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
    let Errand::Login { secret: Secret::Password(password), .. } = &job.errand else { panic!("{job:?}") };
    if password.expose() == b"secret" { Ok(36_000) } else { Err(Failure::WrongPassword) }
}

#[test]
fn half_of_the_lanes_stay_free_for_those_whose_answer_is_known() {
    let mut b: Dispatch<u32> = Dispatch::new(VerifierKey::random().unwrap(), 8);
    let now = Now { ms: 0, unix_s: START };
    b.configure(Settings::new(&sample()).unwrap(), now);
    let pending = |b: &mut Dispatch<u32>| {
        std::iter::from_fn(|| b.effect())
            .filter(|e| matches!(e, Effect::Reply { reply: Reply::Pending { .. }, .. }))
            .count()
    };
    for lane in 0..7 {
        let user = format!("user{lane}");
        b.request(lane, 0, Request::GetToken(get(&user, "example.com", "secret")), now);
    }
    b.tick(now);
    assert_eq!(pending(&mut b), 3, "four wait, the others ask again");
    b.tick(Now { ms: PARK_MS, ..now });
    assert_eq!(pending(&mut b), 4);
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
    w.answer(
        |job| {
            if job.who.cell().as_str() == "other.example" { Ok(36_000) } else { Err(Failure::Internal) }
        },
    );
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
fn a_login_that_no_authenticator_got_says_nothing_about_its_cell() {
    let mut w = World::new(|_| ());
    w.no_authenticator = true;
    let a = w.ask(0, alice("secret"));
    w.advance(10_000);
    assert_eq!(w.failure(a), Failure::Overload);
    assert_eq!((w.killed.len(), w.broker.logins.counts()), (1, (0, 0)), "it waits nowhere any more");
    w.no_authenticator = false;
    let b = w.ask(1, get("bob", "example.com", "secret"));
    w.answer(right_is_secret);
    w.granted(b);
}

#[test]
fn after_a_new_configuration_a_silent_cell_is_asked_again() {
    let mut w = World::new(|_| ());
    w.ask(0, alice("secret"));
    w.advance(9_000);
    let old = w.ask(1, get("carol", "example.com", "secret"));
    w.advance(1_000);
    let b = w.ask(2, get("bob", "example.com", "secret"));
    assert_eq!(w.failure(b), Failure::CellUnreachable);
    let now = w.now();
    w.broker.configure(Settings::new(&BrokerConfig { version: 2, ..sample() }).unwrap(), now);
    w.drain();
    // A login that went to the servers of before.
    w.advance(9_000);
    assert_eq!(w.broker.logins.counts(), (0, 0), "{:?}", w.reply(old));
    let b = w.ask(2, get("bob", "example.com", "secret"));
    w.answer(right_is_secret);
    w.granted(b);
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
        let a = w.ask(0, GetToken { address: IpAddr::from([203, 0, 113, 9]), ..alice(&format!("guess{i}")) });
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
    w.advance(35_997_000);
    let a = w.ask(0, alice("secret"));
    assert_eq!(w.granted(a).valid_s, 1);
    w.advance(3_000);
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
    assert!(matches!(w.running[0].1.errand, Errand::Login { lifetime_s: 600, .. }));
    w.answer(|_| Ok(900));
    w.granted(short);
    let long = w.ask(0, with(0));
    w.granted(long);
    let same = w.ask(0, with(600));
    w.granted(same);
    assert_eq!(w.started, 2);
}

#[test]
fn d11_a_new_password_ends_what_the_old_one_left() {
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
    w.forget(&Target::User("alice".to_owned(), Behind::new("example.com").unwrap()));
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
fn before_the_first_configuration_whoever_asks_is_to_ask_again_and_a_ping_is_answered() {
    let mut b: Dispatch<u32> = Dispatch::new(VerifierKey::random().unwrap(), LANES);
    let now = Now { ms: 0, unix_s: START };
    b.request(0, 1, Request::GetToken(alice("secret")), now);
    b.request(0, 2, Request::Ping, now);
    let mut got = Vec::new();
    while let Some(e) = b.effect() {
        if let Effect::Reply { asker, reply, .. } = e {
            got.push((asker, reply));
        }
    }
    assert!(matches!(got[..], [(1, Reply::Pending { .. }), (2, Reply::Pong)]), "{got:?}");
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
fn d3_a_token_of_another_cell_or_one_that_has_ended_is_not_accepted() {
    let mut w = World::new(|_| ());
    for bad in [
        token(&Cell::new("other.example").unwrap(), START + 100),
        token(&Cell::new("example.com").unwrap(), START),
    ] {
        let a = w.ask(0, alice("secret"));
        let (id, _) = w.running.pop().unwrap();
        let now = w.now();
        w.broker.ended(id, Ok(Fruit::Login(success(bad))), now);
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
    let late = Fruit::Login(success(token(job.who.cell(), START + 1000)));
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

/// Alice of a realm that is not the cell's own.
fn foreign_alice(realm: &str) -> GetToken {
    GetToken { realm: Some(realm.to_owned()), ..alice("secret") }
}

#[test]
fn users_of_an_allowed_realm_are_others_than_those_of_the_cell() {
    let mut w = World::new(|_| ());
    let a = w.ask(0, foreign_alice("ELSEWHERE.EXAMPLE"));
    assert_eq!(w.failure(a), Failure::CellNotAllowed);
    let a = w.ask(0, foreign_alice("partner.example"));
    assert_eq!(w.failure(a), Failure::CellNotAllowed, "spelled as the configuration has it");
    let here = w.ask(0, alice("secret"));
    let there = w.ask(1, foreign_alice("PARTNER.EXAMPLE"));
    assert_eq!(w.started, 2, "no login for both");
    w.answer(|job| if job.who.realm().is_some() { Err(Failure::WrongPassword) } else { Ok(36_000) });
    w.granted(here);
    assert_eq!(w.failure(there), Failure::WrongPassword);
    let again = w.ask(1, foreign_alice("PARTNER.EXAMPLE"));
    assert_eq!(w.failure(again), Failure::WrongPassword, "not the other one's token");
    w.forget(&Target::User("alice".to_owned(), Behind::new("partner.example").unwrap()));
    assert_eq!((w.started, w.broker.cache.len()), (2, 1));
}

#[test]
fn a_silent_realm_holds_up_no_users_of_the_cell_and_one_that_is_no_longer_allowed_is_forgotten() {
    let mut w = World::new(|_| ());
    for i in 0..4 {
        w.ask(i, GetToken { user: format!("u{i}"), ..foreign_alice("PARTNER.EXAMPLE") });
        w.answer(|_| Err(Failure::CellUnreachable));
    }
    let there = w.ask(5, foreign_alice("PARTNER.EXAMPLE"));
    assert_eq!((w.failure(there), w.running.len()), (Failure::CellUnreachable, 0));
    let here = w.ask(6, alice("secret"));
    w.answer(right_is_secret);
    w.granted(here);
    w.advance(60_000);
    let there = w.ask(7, foreign_alice("PARTNER.EXAMPLE"));
    w.answer(right_is_secret);
    w.granted(there);
    assert_eq!(w.broker.cache.len(), 2);
    let mut config = sample();
    config.realms.clear();
    let now = w.now();
    w.broker.configure(Settings::new(&config).unwrap(), now);
    w.drain();
    assert_eq!(w.broker.cache.len(), 1);
}

#[test]
fn whoever_serves_for_a_service_gets_its_token_and_begins_no_login() {
    let config = || weblog_proto::ServiceConfig {
        name: "http/www.example.com".to_owned(),
        cell: "example.com".to_owned(),
        realm: None,
        key_file: "/etc/www.keytab".to_owned(),
    };
    let mut w = World::new(|c| c.services = vec![config()]);
    let service = config().service().unwrap();
    let ask = |w: &mut World, service: &Service| {
        w.next_asker += 1;
        let (asker, now) = (w.next_asker, w.now());
        w.broker.request(0, asker, Request::Service(service.clone()), now);
        w.drain();
        w.reply(asker)
    };
    assert_eq!(w.started, 1, "before anybody asks");
    assert!(matches!(ask(&mut w, &service), Reply::Pending { .. }));
    let Errand::Login { secret: Secret::KeyFile(path), .. } = &w.running[0].1.errand else { panic!() };
    assert_eq!(path, "/etc/www.keytab");
    w.answer(|_| Ok(36_000));
    assert!(matches!(ask(&mut w, &service), Reply::Granted(_)));
    let other = Service { key_file: "/etc/other.keytab".to_owned(), ..service.clone() };
    assert!(matches!(ask(&mut w, &other), Reply::Failed(Failure::CellNotAllowed)));
    assert_eq!(w.started, 1);
    w.forget(&Target::All);
    assert_eq!((w.revoked, w.started), (1, 2), "forgotten, and logged in again at once");
    w.answer(|_| Err(Failure::CellUnreachable));
    assert!(matches!(ask(&mut w, &service), Reply::Failed(Failure::CellUnreachable)));
    assert_eq!(w.broker.counts().alarms, 1);
    w.advance(1_000);
    w.answer(|_| Ok(36_000));
    assert!(matches!(ask(&mut w, &service), Reply::Granted(_)));
    assert_eq!(w.broker.counts().alarms, 0);
}

#[test]
fn a_token_of_another_cell_is_not_taken_for_a_service() {
    let mut w = World::new(|c| {
        c.services = vec![weblog_proto::ServiceConfig {
            name: "www".to_owned(),
            cell: "example.com".to_owned(),
            realm: None,
            key_file: "/etc/www.keytab".to_owned(),
        }];
    });
    let (id, _) = w.running.remove(0);
    let strange = success(token(&Cell::new("other.example").unwrap(), START + 1000));
    let now = w.now();
    w.broker.ended(id, Ok(Fruit::Login(strange)), now);
    w.drain();
    assert_eq!(w.broker.counts().alarms, 1);
}

#[test]
fn who_names_the_cell_s_own_realm_is_the_same_user() {
    let mut w = World::new(|c| {
        c.cells[0].method = weblog_proto::Method::Krb5;
        c.cells[0].realm = Some("EXAMPLE.ORG".to_owned());
        c.realms = vec!["EXAMPLE.ORG".to_owned()];
    });
    let a = w.ask(0, alice("secret"));
    w.answer(right_is_secret);
    w.granted(a);
    let a = w.ask(0, foreign_alice("EXAMPLE.ORG"));
    w.granted(a);
    assert_eq!((w.started, w.broker.cache.len()), (1, 1));
}

#[test]
fn who_is_forgotten_by_the_realm_of_his_cell_is_forgotten() {
    let mut w = World::new(|c| c.cells[0].realm = Some("EXAMPLE.ORG".to_owned()));
    for (user, cell) in [("alice", "example.com"), ("bob", "example.com"), ("alice", "other.example")] {
        let a = w.ask(0, get(user, cell, "secret"));
        w.answer(right_is_secret);
        w.granted(a);
    }
    w.forget(&Target::User("alice".to_owned(), Behind::new("example.org").unwrap()));
    assert_eq!(w.broker.cache.len(), 2, "alice of the other cell stays");
    w.forget(&Target::Every(Behind::new("EXAMPLE.ORG").unwrap()));
    assert_eq!(w.broker.cache.len(), 1);
    w.forget(&Target::Every(Behind::new("STRANGE.ORG").unwrap()));
    assert_eq!(w.broker.cache.len(), 1);
}
