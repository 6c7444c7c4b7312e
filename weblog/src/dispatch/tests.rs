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

mod checks;
mod configuration;
mod forgetting;
mod groups;
mod limits;
mod memory;
mod realms;
mod services;
mod silence;
mod status;
mod waiting;

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
                Ok(life_s) => {
                    let name = job.who.name().to_ascii_lowercase().replace('/', ".");
                    let token = token(job.who.cell(), self.now().unix_s + life_s);
                    Ok(Fruit::Login(Success { name, ..success(token) }))
                }
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
