//! Principals, and what they are given: the checks in the order of the original, without any packets.
//!
//! Source: OpenAFS `src/kauth/kaprocs.c` (`Authenticate`, `GetTicket`, `GetEndTime`), `kaauxdb.c` (locks).

use std::collections::BTreeMap;
use std::fmt;

use crate::config::{Config, ServiceConfig, UserConfig};
use crate::des::{BLOCK, Key};
use crate::error::Error;
use crate::kauth::{Answer, Authenticate, GetTicket, Shape, Target, Version, code, open_request, open_times};
use crate::lifetime::{self, NEVER, SKEW_S, Validity};
use crate::ticket::{NAME_MAX, Ticket};

/// Seconds of a day.
const DAY_S: u64 = 24 * 3600;
/// How long an administrator may go on with an expired password.
const ADMIN_GRACE_S: u64 = 30 * DAY_S;
/// Name of the ticket-granting service; its instance is the realm.
const KRBTGT: &[u8] = b"krbtgt";
/// Name and instance of the administration service.
const ADMIN: (&[u8], &[u8]) = (b"AuthServer", b"Admin");

/// What a failed call is answered with.
pub type Code = i32;

/// Name and instance.
type Id = (Vec<u8>, Vec<u8>);

/// What is known of a user or server.
#[derive(Clone)]
struct Principal {
    /// Its key.
    key: Key,
    /// The key's version number.
    kvno: i32,
    /// The longest life of its tickets, and of tickets for it.
    max_life_s: u32,
    /// When it expires.
    expiration: u32,
    /// It gets no tickets.
    no_tickets: bool,
    /// No tickets are given for it by GetTicket.
    no_seal: bool,
    /// Failed logins before it is locked; 0 = no limit.
    attempts: u8,
    /// How long a lock lasts; 0 = for ever.
    lock_s: u32,
    /// Failures since the last success.
    failures: u32,
    /// When the last failure was.
    last_failure: u32,
    /// When the password expires, if ever.
    password_ends: Option<u32>,
}

/// The principals of a cell.
pub struct Database {
    /// The cell's name: part of keys made of passwords.
    cell: String,
    /// The realm.
    realm: Vec<u8>,
    /// All principals.
    principals: BTreeMap<Id, Principal>,
}

/// Where session keys come from; `None` if there are none to be had.
pub type Keys = dyn FnMut() -> Option<Key> + Send;

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("cell", &self.cell).finish_non_exhaustive()
    }
}

/// An answer that is not sealed yet, so that it can still be forged.
#[derive(Debug, Clone)]
pub struct Grant {
    /// What the client is told.
    pub answer: Answer,
    /// How.
    pub shape: Shape,
    /// The ticket in the answer, open.
    pub ticket: Ticket,
    /// The key that the answer is sealed under.
    pub answer_key: Key,
    /// The key that the ticket is sealed under.
    pub server_key: Key,
}

impl Grant {
    /// Replaces the ticket by `ticket`, sealed under `server_key`.
    ///
    /// # Errors
    /// [`code::NO_TICKET`] if it cannot be sealed.
    pub fn replace_ticket(&mut self, ticket: Ticket, server_key: Key) -> Result<(), Code> {
        self.answer.ticket = ticket.seal(&server_key).map_err(|_| code::NO_TICKET)?;
        self.ticket = ticket;
        self.server_key = server_key;
        Ok(())
    }

    /// The sealed answer, if it fits into what the client takes.
    ///
    /// # Errors
    /// [`code::KAANSWERTOOLONG`].
    pub fn seal(&self, answer_max: u32) -> Result<Vec<u8>, Code> {
        let sealed = self.answer.seal(self.shape, &self.answer_key);
        match u32::try_from(sealed.len()) {
            Ok(length) if length <= answer_max => Ok(sealed),
            _ => Err(code::KAANSWERTOOLONG),
        }
    }
}

impl Principal {
    /// A server's principal.
    ///
    /// # Errors
    /// [`Error::BadKey`] if the key is none.
    fn service(config: &ServiceConfig, cell: &str, max_life_s: u32, no_seal: bool) -> Result<Self, Error> {
        Ok(Self {
            key: config.key.resolve(cell)?,
            kvno: config.kvno.into(),
            max_life_s,
            expiration: NEVER,
            no_tickets: no_seal,
            no_seal,
            attempts: 0,
            lock_s: 0,
            failures: 0,
            last_failure: 0,
            password_ends: None,
        })
    }

    /// A user's principal.
    ///
    /// # Errors
    /// [`Error::BadKey`] if the key is none.
    fn user(config: &UserConfig, cell: &str, now: u32) -> Result<Self, Error> {
        let days = u64::from(config.expires_days);
        let ends = match (config.expired, days) {
            (true, _) => Some(u64::from(now.saturating_sub(1))),
            (false, 0) => None,
            (false, days) => Some(u64::from(now) + days * DAY_S),
        };
        Ok(Self {
            key: config.key.resolve(cell)?,
            kvno: 0,
            max_life_s: config.life_s(),
            expiration: config.expiration.unwrap_or(NEVER),
            no_tickets: config.no_tickets,
            no_seal: false,
            attempts: config.attempts,
            lock_s: config.lock_s,
            failures: 0,
            last_failure: 0,
            password_ends: ends.map(|ends| u32::try_from(ends).unwrap_or(NEVER)),
        })
    }

    /// Whether a failure of `then` is too long ago to count.
    fn forgiven(&self, now: u32) -> bool {
        self.lock_s != 0 && self.last_failure.saturating_add(self.lock_s) < now
    }

    /// Whether too many logins failed.
    fn locked(&self, now: u32) -> bool {
        self.attempts != 0 && self.failures >= 2 * u32::from(self.attempts) && !self.forgiven(now)
    }

    /// Counts a failed login.
    fn fail(&mut self, now: u32) {
        self.failures = if self.forgiven(now) { 1 } else { self.failures.saturating_add(1) };
        self.last_failure = now;
    }

    /// Days until the password expires, 255 for never or later.
    ///
    /// # Errors
    /// [`code::KAPWEXPIRED`] if it has.
    fn days_left(&self, target: Target, now: u32) -> Result<u8, Code> {
        let Some(ends) = self.password_ends else { return Ok(u8::MAX) };
        let grace = if target == Target::Admin { ADMIN_GRACE_S } else { 0 };
        let left = (u64::from(ends) + grace).checked_sub(now.into()).ok_or(code::KAPWEXPIRED)?;
        Ok(u8::try_from(left / DAY_S).unwrap_or(u8::MAX))
    }
}

/// When a ticket for `server` that `caller` asks for ends; `authorized_until` is the end of the ticket he shows.
///
/// # Errors
/// The code that the client is told.
fn end_time(
    start: u32,
    end: u32,
    authorized_until: Option<u32>,
    caller: &Principal,
    server: &Principal,
) -> Result<(u8, u32), Code> {
    if caller.no_tickets {
        return Err(code::KABADUSER);
    }
    if authorized_until.is_some() && server.no_seal {
        return Err(code::KABADSERVER);
    }
    if caller.expiration < start {
        return Err(code::KAPWEXPIRED);
    }
    if server.expiration < start {
        return Err(code::KABADSERVER);
    }
    let end = [
        end,
        authorized_until.unwrap_or(NEVER),
        start.wrapping_add(caller.max_life_s),
        start.wrapping_add(server.max_life_s),
        caller.expiration,
        server.expiration,
    ]
    .into_iter()
    .fold(NEVER, u32::min);
    let life = lifetime::byte_for(start, end).ok_or(code::NO_TICKET)?;
    Ok((life, lifetime::end_of(start, life)))
}

/// Whether a ticket could hold these names.
///
/// # Errors
/// [`code::KABADNAME`] if not.
fn legal(names: [&[u8]; 2]) -> Result<(), Code> {
    let fits = names.iter().all(|name| name.len() < NAME_MAX && !name.contains(&0));
    if fits { Ok(()) } else { Err(code::KABADNAME) }
}

impl Database {
    /// Reads the principals of a configuration; passwords with a limit in days are as old as `now`.
    ///
    /// # Errors
    /// [`Error::BadKey`], [`Error::BadName`], [`Error::Duplicate`], [`Error::NoRandom`].
    pub fn new(config: &Config, now: u32) -> Result<Self, Error> {
        let cell = &config.cell;
        let realm = config.realm().into_bytes();
        let mut principals = BTreeMap::new();
        let mut add = |name: &[u8], instance: &[u8], principal| {
            if name.is_empty() || legal([name, instance]).is_err() {
                return Err(Error::BadName);
            }
            let shown = String::from_utf8_lossy(name).into_owned();
            match principals.insert((name.to_vec(), instance.to_vec()), principal) {
                None => Ok(()),
                Some(_) => Err(Error::Duplicate(shown)),
            }
        };
        let afs = &config.afs;
        add(
            b"afs",
            b"",
            Principal { no_tickets: false, ..Principal::service(afs, cell, afs.afs_life_s(), false)? },
        )?;
        let krbtgt = Principal::service(&config.krbtgt, cell, config.krbtgt.krbtgt_life_s(), true)?;
        add(ADMIN.0, ADMIN.1, Principal { key: Key::random()?, ..krbtgt.clone() })?;
        add(KRBTGT, &realm, krbtgt)?;
        for user in &config.users {
            add(user.name.as_bytes(), user.instance.as_bytes(), Principal::user(user, cell, now)?)?;
        }
        Ok(Self { cell: cell.clone(), realm, principals })
    }

    /// A principal, if there is one.
    ///
    /// # Errors
    /// [`code::KANOENT`] if not.
    fn find(&self, name: &[u8], instance: &[u8]) -> Result<&Principal, Code> {
        self.principals.get(&(name.to_vec(), instance.to_vec())).ok_or(code::KANOENT)
    }

    /// A principal that is going to be changed; `id` is `name` or `name.instance`.
    fn find_mut(&mut self, id: &str) -> Option<&mut Principal> {
        let (name, instance) = id.split_once('.').unwrap_or((id, ""));
        self.principals.get_mut(&(name.into(), instance.into()))
    }

    /// Forgets the failures of `id` (`name` or `name.instance`); false if there is no such principal.
    pub fn unlock(&mut self, id: &str) -> bool {
        self.find_mut(id).map(|principal| principal.failures = 0).is_some()
    }

    /// Gives `id` another password; false if there is no such principal.
    pub fn set_password(&mut self, id: &str, password: &str) -> bool {
        let key = crate::string_to_key::string_to_key(password.as_bytes(), &self.cell);
        self.find_mut(id).map(|principal| principal.key = key).is_some()
    }

    /// Adds a user with nothing special about him, or gives one who is there another password.
    ///
    /// # Errors
    /// [`Error::BadName`] if no ticket could hold the name.
    pub fn add_user(&mut self, name: &str, password: &str) -> Result<(), Error> {
        if name.is_empty() || name.contains('.') || legal([name.as_bytes(), b""]).is_err() {
            return Err(Error::BadName);
        }
        if self.set_password(name, password) {
            return Ok(());
        }
        let config = UserConfig::plain(name, password);
        // When it is now matters to passwords that expire.
        let user = Principal::user(&config, &self.cell, 0)?;
        self.principals.insert((name.into(), Vec::new()), user);
        Ok(())
    }

    /// Whether there is a principal `id` (`name` or `name.instance`).
    pub fn knows(&mut self, id: &str) -> bool {
        self.find_mut(id).is_some()
    }

    /// Who shows his ticket in a GetTicket call, if it opens.
    #[must_use]
    pub fn caller(&self, call: &GetTicket) -> Option<(Vec<u8>, Vec<u8>)> {
        let krbtgt = self.find(KRBTGT, &self.realm).ok()?;
        let ticket = Ticket::open(&call.ticket, &krbtgt.key).ok()?;
        Some((ticket.name, ticket.instance))
    }

    /// Proves a password and gives a ticket-granting (or administration) ticket.
    ///
    /// # Errors
    /// The code that the client is told.
    pub fn authenticate(
        &mut self,
        call: &Authenticate,
        host: [u8; 4],
        now: u32,
        keys: &mut Keys,
    ) -> Result<Grant, Code> {
        legal([&call.name, &call.instance])?;
        let id = (call.name.clone(), call.instance.clone());
        let user = self.principals.get_mut(&id).ok_or(code::KANOENT)?;
        // Before the password, or a locked user could still be guessed.
        if user.locked(now) {
            return Err(code::KALOCKED);
        }
        let Some((time, target)) = open_request(&call.request, &user.key) else {
            user.fail(now);
            return Err(code::KABADREQUEST);
        };
        user.failures = 0;
        let days = user.days_left(target, now)?;
        if time.abs_diff(now) > SKEW_S {
            return Err(code::KACLOCKSKEW);
        }
        let (user, realm) = (user.clone(), self.realm.clone());
        let (server_name, server_instance) = match target {
            Target::TicketGranting => (KRBTGT, realm.as_slice()),
            Target::Admin => ADMIN,
        };
        let server = self.find(server_name, server_instance)?;
        let session_key = keys().ok_or(code::KANOKEYS)?;
        let (life, end) = end_time(call.start, call.end, None, &user, server)?;
        let ticket = Ticket {
            name: call.name.clone(),
            instance: call.instance.clone(),
            realm: Vec::new(),
            host,
            session_key,
            life,
            start: call.start,
            server_name: server_name.to_vec(),
            server_instance: server_instance.to_vec(),
        };
        let shape = match call.version {
            Version::V2 => Shape::AuthenticateV2(target, days),
            Version::V1 => Shape::Authenticate(target),
            Version::Old => Shape::AuthenticateOld(target),
        };
        grant(ticket, server, end, time.wrapping_add(1), shape, user.key.clone())
    }

    /// Gives a ticket for a server to whoever shows a ticket-granting ticket.
    ///
    /// # Errors
    /// The code that the client is told.
    pub fn get_ticket(
        &self,
        call: &GetTicket,
        host: [u8; 4],
        now: u32,
        keys: &mut Keys,
    ) -> Result<Grant, Code> {
        legal([&call.name, &call.instance])?;
        let times: &[u8; BLOCK] = call.times.as_slice().try_into().map_err(|_| code::KABADARGUMENT)?;
        // Keys of other realms would be found here; there are none.
        let krbtgt = self.find(KRBTGT, &self.realm)?;
        let ours = call.auth_domain.is_empty() || call.auth_domain == self.realm;
        if !ours || call.kvno != krbtgt.kvno {
            return Err(code::KAUNKNOWNKEY);
        }
        let shown = Ticket::open(&call.ticket, &krbtgt.key).map_err(|_| code::KANOAUTH)?;
        // Opening a ticket checks its times against the machine's clock in the original, then again against its own.
        match lifetime::check(shown.start, shown.end(), now) {
            Validity::Valid => {}
            Validity::Expired => return Err(code::RXKADEXPIRED),
            Validity::Early | Validity::Nonsense => return Err(code::KANOAUTH),
        }
        if !shown.realm.is_empty() && shown.realm != self.realm {
            return Err(code::KABADUSER);
        }
        let (start, end) = open_times(times, &shown.session_key);
        if matches!(lifetime::check(start, end, now), Validity::Nonsense | Validity::Expired) {
            return Err(code::KABADREQUEST);
        }
        let caller = self.find(&shown.name, &shown.instance)?;
        let server = self.find(&call.name, &call.instance)?;
        let session_key = keys().ok_or(code::KANOKEYS)?;
        let (life, end) = end_time(start, end, Some(shown.end()), caller, server)?;
        let ticket = Ticket {
            name: shown.name,
            instance: shown.instance,
            realm: shown.realm,
            host,
            session_key,
            life,
            start,
            server_name: call.name.clone(),
            server_instance: call.instance.clone(),
        };
        let shape = if call.version == Version::Old { Shape::GetTicketOld } else { Shape::GetTicket };
        grant(ticket, server, end, 0, shape, shown.session_key)
    }
}

/// Puts a ticket into an answer.
///
/// # Errors
/// The code that the client is told.
fn grant(
    ticket: Ticket,
    server: &Principal,
    end: u32,
    challenge: u32,
    shape: Shape,
    answer_key: Key,
) -> Result<Grant, Code> {
    let sealed = ticket.seal(&server.key).map_err(|_| code::NO_TICKET)?;
    let names = [
        ticket.name.clone(),
        ticket.instance.clone(),
        ticket.realm.clone(),
        ticket.server_name.clone(),
        ticket.server_instance.clone(),
    ];
    let session_key = ticket.session_key.clone();
    let answer =
        Answer { challenge, session_key, start: ticket.start, end, kvno: server.kvno, names, ticket: sealed };
    Ok(Grant { answer, shape, ticket, answer_key, server_key: server.key.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kauth::{ANSWER_MAX, seal_request, seal_times};

    const NOW: u32 = 0x6b02_476e;
    const LIFE: u32 = 36_000;

    fn config() -> Config {
        let mut config = Config::new(
            "test.example",
            ServiceConfig::with_password("pw-afs"),
            ServiceConfig::with_key("7620cb29e980c280", 1),
        );
        let user = |name| UserConfig::new(name, "pw");
        config.users = vec![
            user("alice"),
            UserConfig { attempts: 2, ..user("eve") },
            UserConfig { attempts: 1, lock_s: 60, ..user("lisa") },
            UserConfig { expired: true, ..user("old") },
            UserConfig { expires_days: 30, ..user("soon") },
            UserConfig { no_tickets: true, ..user("robot") },
            UserConfig { expiration: Some(NOW - 1), ..user("gone") },
            UserConfig { instance: "admin".into(), max_life_s: Some(600), ..user("bob") },
        ];
        config
    }

    fn database() -> Database {
        Database::new(&config(), NOW).unwrap()
    }

    fn asked(name: &str, password: &str, time: u32, target: Target) -> Authenticate {
        let (name, instance) = name.split_once('.').unwrap_or((name, ""));
        Authenticate {
            version: Version::V2,
            name: name.into(),
            instance: instance.into(),
            start: NOW,
            end: NOW + LIFE,
            request: seal_request(time, target, &crate::string_to_key(password.as_bytes(), "test.example")),
            answer_max: ANSWER_MAX,
        }
    }

    fn keys() -> Box<Keys> {
        Box::new(|| Key::random().ok())
    }

    ///
    /// # Errors
    /// The code that the client is told.
    fn login(database: &mut Database, name: &str, password: &str, now: u32) -> Result<Grant, Code> {
        database.authenticate(
            &asked(name, password, now, Target::TicketGranting),
            [192, 0, 2, 9],
            now,
            &mut keys(),
        )
    }

    fn service(grant: &Grant, name: &str) -> GetTicket {
        GetTicket {
            version: Version::V1,
            kvno: grant.answer.kvno,
            auth_domain: b"TEST.EXAMPLE".to_vec(),
            ticket: grant.answer.ticket.clone(),
            name: name.into(),
            instance: Vec::new(),
            times: seal_times(NOW, NOW + LIFE, &grant.answer.session_key),
            answer_max: ANSWER_MAX,
        }
    }

    #[test]
    fn a_login_gives_a_ticket_for_the_file_servers() {
        let mut database = database();
        let tgt = login(&mut database, "alice", "pw", NOW).unwrap();
        assert_eq!(tgt.shape, Shape::AuthenticateV2(Target::TicketGranting, 255));
        assert_eq!((tgt.answer.challenge, tgt.answer.end, tgt.answer.kvno), (NOW + 1, NOW + LIFE, 1));
        let afs = database.get_ticket(&service(&tgt, "afs"), [192, 0, 2, 9], NOW, &mut keys()).unwrap();
        let ticket = Ticket::open(&afs.answer.ticket, &config().afs_key().unwrap().0).unwrap();
        assert_eq!((ticket.name.as_slice(), ticket.host), (b"alice".as_slice(), [192, 0, 2, 9]));
        assert_eq!((afs.answer.challenge, afs.answer.kvno, afs.shape), (0, 0, Shape::GetTicket));
        assert_eq!(ticket.session_key, afs.answer.session_key);
    }

    #[test]
    fn each_refusal_has_its_code() {
        let mut database = database();
        for (name, password, expected) in [
            ("nobody", "pw", code::KANOENT),
            ("alice.admin", "pw", code::KANOENT),
            ("", "pw", code::KANOENT),
            ("alice", "wrong", code::KABADREQUEST),
            ("old", "pw", code::KAPWEXPIRED),
            ("old", "wrong", code::KABADREQUEST),
            ("robot", "pw", code::KABADUSER),
            ("gone", "pw", code::KAPWEXPIRED),
            ("krbtgt", "pw", code::KANOENT),
        ] {
            assert_eq!(login(&mut database, name, password, NOW).unwrap_err(), expected, "{name}");
        }
        let long = "x".repeat(64);
        assert_eq!(login(&mut database, &long, "pw", NOW).unwrap_err(), code::KABADNAME);
        assert_eq!(login(&mut database, "a\0b", "pw", NOW).unwrap_err(), code::KABADNAME);
    }

    #[test]
    fn clocks_may_differ_by_fifteen_minutes() {
        let mut database = database();
        for (time, expected) in [
            (NOW - 900, None),
            (NOW + 900, None),
            (NOW - 901, Some(code::KACLOCKSKEW)),
            (NOW + 901, Some(code::KACLOCKSKEW)),
        ] {
            let call = asked("alice", "pw", time, Target::TicketGranting);
            assert_eq!(database.authenticate(&call, [0; 4], NOW, &mut keys()).err(), expected, "{time}");
        }
    }

    #[test]
    fn twice_the_attempts_lock_and_a_success_forgives() {
        let mut database = database();
        let mut result = |password| login(&mut database, "eve", password, NOW).map(|_| ());
        for _ in 0..3 {
            assert_eq!(result("wrong"), Err(code::KABADREQUEST));
        }
        assert_eq!(result("pw"), Ok(()));
        for _ in 0..4 {
            assert_eq!(result("wrong"), Err(code::KABADREQUEST));
        }
        assert_eq!(result("wrong"), Err(code::KALOCKED));
        assert_eq!(result("pw"), Err(code::KALOCKED));
        assert!(database.unlock("eve"));
        assert!(login(&mut database, "eve", "pw", NOW).is_ok());
        assert!(!database.unlock("nobody"));
    }

    #[test]
    fn users_can_be_added_and_added_again_with_another_password() {
        let mut database = database();
        for password in ["first", "second"] {
            assert!(login(&mut database, "newcomer", password, NOW).is_err());
            database.add_user("newcomer", password).unwrap();
            assert!(login(&mut database, "newcomer", password, NOW).is_ok());
        }
        for bad in ["", "a.b", &"x".repeat(64)] {
            assert!(matches!(database.add_user(bad, "pw"), Err(Error::BadName)), "{bad:?}");
        }
    }

    #[test]
    fn a_timed_lock_ends_and_old_failures_do_not_count() {
        let mut database = database();
        let mut result = |password, now| login(&mut database, "lisa", password, now).map(|_| ());
        assert_eq!(result("wrong", NOW), Err(code::KABADREQUEST));
        assert_eq!(result("wrong", NOW + 61), Err(code::KABADREQUEST));
        assert_eq!(result("wrong", NOW + 62), Err(code::KABADREQUEST));
        assert_eq!(result("pw", NOW + 62 + 60), Err(code::KALOCKED));
        assert_eq!(result("pw", NOW + 62 + 61), Ok(()));
    }

    #[test]
    fn the_days_until_the_password_expires_are_counted() {
        let mut database = database();
        let mut days = |now| match login(&mut database, "soon", "pw", now).map(|grant| grant.shape) {
            Ok(Shape::AuthenticateV2(_, days)) => Ok(days),
            Ok(other) => panic!("{other:?}"),
            Err(code) => Err(code),
        };
        assert_eq!(days(NOW), Ok(30));
        assert_eq!(days(NOW + 1), Ok(29));
        // Requests carry the start NOW, which is no matter: the ticket's times are the client's affair.
        assert_eq!(days(NOW + 30 * 86_400), Ok(0));
        assert_eq!(days(NOW + 30 * 86_400 + 1), Err(code::KAPWEXPIRED));
    }

    #[test]
    fn an_expired_password_still_opens_the_administration_for_a_month() {
        let call = asked("old", "pw", NOW, Target::Admin);
        let grant = database().authenticate(&call, [0; 4], NOW, &mut keys()).unwrap();
        assert_eq!(grant.ticket.server_name, b"AuthServer");
        assert_eq!(grant.shape, Shape::AuthenticateV2(Target::Admin, 29));
    }

    #[test]
    fn lifetimes_end_at_the_smallest_limit() {
        let mut database = database();
        let bob = login(&mut database, "bob.admin", "pw", NOW).unwrap();
        assert_eq!(bob.answer.end, NOW + 600);
        let mut call = asked("alice", "pw", NOW, Target::TicketGranting);
        call.end = NOW + 100 * 86_400;
        let grant = database.authenticate(&call, [0; 4], NOW, &mut keys()).unwrap();
        assert_eq!(grant.answer.end, NOW + 91_581, "25 hours, rounded up to what a ticket can say");
        call.end = NOW;
        assert_eq!(database.authenticate(&call, [0; 4], NOW, &mut keys()).unwrap_err(), code::NO_TICKET);
        let afs = database.get_ticket(&service(&bob, "afs"), [0; 4], NOW, &mut keys()).unwrap();
        assert_eq!(afs.answer.end, NOW + 600);
    }

    #[test]
    fn get_ticket_refuses_what_the_original_refuses() {
        let mut database = database();
        let tgt = login(&mut database, "alice", "pw", NOW).unwrap();
        let good = service(&tgt, "afs");
        let code_of = |call: &GetTicket, now| database.get_ticket(call, [0; 4], now, &mut keys()).err();
        assert_eq!(code_of(&good, NOW), None);
        assert_eq!(code_of(&GetTicket { auth_domain: Vec::new(), ..good.clone() }, NOW), None);
        let cases = [
            (GetTicket { times: vec![0; 16], ..good.clone() }, code::KABADARGUMENT),
            (GetTicket { times: vec![0; 8], ..good.clone() }, code::KABADREQUEST),
            (GetTicket { kvno: 9, ..good.clone() }, code::KAUNKNOWNKEY),
            (GetTicket { auth_domain: b"OTHER".to_vec(), ..good.clone() }, code::KAUNKNOWNKEY),
            (GetTicket { ticket: vec![0; 48], ..good.clone() }, code::KANOAUTH),
            (GetTicket { ticket: Vec::new(), ..good.clone() }, code::KANOAUTH),
            (GetTicket { name: b"nfs".to_vec(), ..good.clone() }, code::KANOENT),
            (GetTicket { name: vec![b'x'; 64], ..good.clone() }, code::KABADNAME),
            (
                GetTicket { name: b"krbtgt".to_vec(), instance: b"TEST.EXAMPLE".to_vec(), ..good.clone() },
                code::KABADSERVER,
            ),
        ];
        for (call, expected) in cases {
            assert_eq!(code_of(&call, NOW), Some(expected), "{call:?}");
        }
        assert_eq!(code_of(&good, NOW + LIFE + 901), Some(code::RXKADEXPIRED));
        assert_eq!(code_of(&good, NOW - 901), Some(code::KANOAUTH));
    }

    #[test]
    fn an_answer_that_is_too_long_for_the_client_is_not_sent() {
        let grant = login(&mut database(), "alice", "pw", NOW).unwrap();
        let sealed = grant.seal(ANSWER_MAX).unwrap();
        let length = u32::try_from(sealed.len()).unwrap();
        assert!(grant.seal(length).is_ok());
        assert_eq!(grant.seal(length - 1), Err(code::KAANSWERTOOLONG));
    }

    #[test]
    fn two_principals_of_one_name_are_refused() {
        let mut config = config();
        config.users.push(UserConfig::new("alice", "x"));
        assert!(matches!(Database::new(&config, NOW), Err(Error::Duplicate(name)) if name == "alice"));
        config.users = vec![UserConfig::new("afs", "x")];
        assert!(matches!(Database::new(&config, NOW), Err(Error::Duplicate(_))));
    }

    #[test]
    fn without_random_bytes_there_are_no_tickets() {
        let call = asked("alice", "pw", NOW, Target::TicketGranting);
        let mut none: Box<Keys> = Box::new(|| None);
        assert_eq!(database().authenticate(&call, [0; 4], NOW, &mut none).unwrap_err(), code::KANOKEYS);
    }
}
