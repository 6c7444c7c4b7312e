//! How many failed logins are let through to a cell: per user from one address, per user, and per address.
//!
//! Pure. Keeps a single attacker from guessing on, and from having the cell lock the victim out. Every attempt is
//! counted when it begins, so that many at once do not slip through, and taken back when it did not fail. Many visitors may
//! have one address, so where only attempts under way fill its limit, and end one after the other, the next one waits.
//! Users are counted in lower case: where a KDC takes a name in any case, each would have guesses of its own.
//! Knows no passwords.

use afsweb_cache::Store;
use core::num::NonZeroUsize;
use pag::Principal;
use std::net::{IpAddr, Ipv6Addr};

/// Users and addresses remembered; the one unused for longest goes first.
const REMEMBERED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(16_383);
/// Of attempts that have been under way for longer none may end soon: nobody waits for them.
const TURNOVER_MS: u64 = 2_000;
/// A user's limit over all addresses is so many times that from one address.
const ALL_ADDRESSES: usize = 4;

/// What the configuration says; 0 = no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Failed logins per user and address.
    pub per_user: u16,
    /// Failed logins per address.
    pub per_address: u16,
    /// Within so many milliseconds.
    pub window_ms: u64,
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// This user from this address.
    UserFromAddress,
    /// This user from anywhere.
    User,
    /// This address, whoever.
    Address,
}

impl Exceeded {
    /// One word for logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::UserFromAddress => "limit-user-address",
            Self::User => "limit-user",
            Self::Address => "limit-address",
        }
    }
}

/// Why an attempt must not be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// So many have failed.
    Exceeded(Exceeded),
    /// So many from this address are under way and might fail: to be tried again when some have ended.
    UnderWay,
}

/// An attempt that was let through; say how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Attempt {
    who: Principal,
    from: Origin,
    at_ms: u64,
}

/// Where requests come from, as far as limits tell: an IPv4 address, or the /64 of an IPv6 one (one subscriber has that many).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Origin(IpAddr);

impl Origin {
    fn new(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// The attempts of one key, oldest first.
type Tries = Vec<Try>;

/// One of them.
#[derive(Debug, Clone, Copy)]
struct Try {
    /// When it began.
    at_ms: u64,
    /// It was refused.
    has_failed: bool,
}

/// The memory of failed logins.
pub struct Limiter {
    limits: Limits,
    pairs: Store<(Principal, Origin), Tries>,
    users: Store<Principal, Tries>,
    origins: Store<Origin, Tries>,
    /// Where a user has logged in lately: there, an attack from elsewhere does not count against him.
    known: Store<(Principal, Origin), ()>,
}

impl core::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Limiter").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// How long a successful login makes an address known.
const KNOWN_MS: u64 = 24 * 3600 * 1000;

impl Limiter {
    /// With nothing remembered.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            pairs: Store::new(REMEMBERED),
            users: Store::new(REMEMBERED),
            origins: Store::new(REMEMBERED),
            known: Store::new(REMEMBERED),
        }
    }

    /// Other limits from now on; what is remembered stays.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// A login is about to be asked of the cell.
    ///
    /// # Errors
    /// [`Stopped`] if it must not be.
    pub fn begin(&mut self, who: &Principal, from: IpAddr, now_ms: u64) -> Result<Attempt, Stopped> {
        let from = Origin::new(from);
        let who = who.folded();
        let pair = (who.clone(), from);
        if let Some(why) = self.stopped(&pair, now_ms) {
            return Err(why);
        }
        let window = self.limits.window_ms;
        note(&mut self.pairs, pair, window, now_ms);
        note(&mut self.origins, from, window, now_ms);
        note(&mut self.users, who.clone(), window, now_ms);
        Ok(Attempt { who, from, at_ms: now_ms })
    }

    /// Whether an answer from memory would help a guesser: who has used up his guesses must not learn from the cache
    /// which one is right. Where the user himself is known, an attack does not cut him off from what is cached.
    #[must_use]
    pub fn hides(&mut self, who: &Principal, from: IpAddr, now_ms: u64) -> Option<Stopped> {
        let pair = (who.folded(), Origin::new(from));
        if self.known.get(&pair, now_ms).is_some() {
            return None;
        }
        self.stopped(&pair, now_ms)
    }

    /// What stops further guesses at this user from there.
    fn stopped(&mut self, pair: &(Principal, Origin), now_ms: u64) -> Option<Stopped> {
        let (who, from) = pair;
        let per_user = usize::from(self.limits.per_user);
        let per_address = usize::from(self.limits.per_address);
        let window = self.limits.window_ms;
        if count(&mut self.pairs, pair, window, now_ms).reaches(per_user) {
            return Some(Stopped::Exceeded(Exceeded::UserFromAddress));
        }
        let here = count(&mut self.origins, from, window, now_ms);
        if here.failed_reach(per_address) {
            return Some(Stopped::Exceeded(Exceeded::Address));
        }
        let known = self.known.get(pair, now_ms).is_some();
        let everywhere = per_user.saturating_mul(ALL_ADDRESSES);
        if !known && count(&mut self.users, who, window, now_ms).reaches(everywhere) {
            return Some(Stopped::Exceeded(Exceeded::User));
        }
        let turn_over = here.first_open_ms.is_some_and(|at| now_ms < at.saturating_add(TURNOVER_MS));
        let why = if turn_over { Stopped::UnderWay } else { Stopped::Exceeded(Exceeded::Address) };
        here.reaches(per_address).then_some(why)
    }

    /// The cell has accepted it: the user's own slips from there are forgotten.
    pub fn succeeded(&mut self, attempt: Attempt, now_ms: u64) {
        let pair = (attempt.who.clone(), attempt.from);
        self.pairs.remove(&pair);
        let _ = self.known.insert(pair, (), now_ms.saturating_add(KNOWN_MS), now_ms);
        self.take_back(attempt, now_ms);
    }

    /// It never was a guess at the cell, or told nothing (no answer, our own failure).
    pub fn take_back(&mut self, attempt: Attempt, now_ms: u64) {
        let window = self.limits.window_ms;
        erase(&mut self.pairs, (attempt.who.clone(), attempt.from), attempt.at_ms, window, now_ms);
        erase(&mut self.origins, attempt.from, attempt.at_ms, window, now_ms);
        erase(&mut self.users, attempt.who, attempt.at_ms, window, now_ms);
    }

    /// The cell has refused it, or memory knows better: it stays counted.
    pub fn failed(&mut self, attempt: Attempt, now_ms: u64) {
        let Attempt { from, at_ms, .. } = attempt;
        let Some(mut tries) = self.origins.remove(&from) else { return };
        if let Some(open) = tries.iter_mut().find(|t| t.at_ms == at_ms && !t.has_failed) {
            open.has_failed = true;
        }
        put(&mut self.origins, from, tries, self.limits.window_ms, now_ms);
    }

    /// Forgets what is known about users that `which` picks.
    pub fn forget(&mut self, mut which: impl FnMut(&Principal) -> bool) {
        self.users.take_matching(|who, _| which(who));
        self.pairs.take_matching(|(who, _), _| which(who));
        self.known.take_matching(|(who, _), ()| which(who));
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.users.clear();
        self.pairs.clear();
        self.origins.clear();
        self.known.clear();
    }

    /// Drops what has left the window.
    pub fn sweep(&mut self, now_ms: u64) {
        self.users.sweep(now_ms);
        self.pairs.sweep(now_ms);
        self.origins.sweep(now_ms);
        self.known.sweep(now_ms);
    }
}

/// Attempts within the window.
#[derive(Debug, Clone, Copy)]
struct Count {
    all: usize,
    failed: usize,
    /// When the first of those began that have not failed.
    first_open_ms: Option<u64>,
}

impl Count {
    /// Whether these are as many as are borne; 0: there is no limit.
    fn reaches(self, limit: usize) -> bool {
        limit != 0 && self.all >= limit
    }

    /// The same of those that have failed.
    fn failed_reach(self, limit: usize) -> bool {
        limit != 0 && self.failed >= limit
    }
}

/// The attempts of `key`.
fn count<K: core::hash::Hash + Eq + Clone>(
    store: &mut Store<K, Tries>,
    key: &K,
    window_ms: u64,
    now_ms: u64,
) -> Count {
    let mut count = Count { all: 0, failed: 0, first_open_ms: None };
    for one in store.get(key, now_ms).into_iter().flat_map(|tries| recent(tries, window_ms, now_ms)) {
        count.all = count.all.saturating_add(1);
        if one.has_failed {
            count.failed = count.failed.saturating_add(1);
        } else {
            count.first_open_ms.get_or_insert(one.at_ms);
        }
    }
    count
}

/// Those within the window.
fn recent(tries: &Tries, window_ms: u64, now_ms: u64) -> impl Iterator<Item = Try> + '_ {
    tries.iter().copied().filter(move |t| t.at_ms.saturating_add(window_ms) > now_ms)
}

/// Adds an attempt.
fn note<K: core::hash::Hash + Eq + Clone>(store: &mut Store<K, Tries>, key: K, window_ms: u64, now_ms: u64) {
    let mut tries: Tries =
        store.remove(&key).map(|t| recent(&t, window_ms, now_ms).collect()).unwrap_or_default();
    tries.push(Try { at_ms: now_ms, has_failed: false });
    put(store, key, tries, window_ms, now_ms);
}

/// Takes one attempt of `at_ms` back that has not failed.
fn erase<K: core::hash::Hash + Eq + Clone>(
    store: &mut Store<K, Tries>,
    key: K,
    at_ms: u64,
    window_ms: u64,
    now_ms: u64,
) {
    let Some(mut tries) = store.remove(&key) else { return };
    if let Some(i) = tries.iter().position(|t| t.at_ms == at_ms && !t.has_failed) {
        tries.remove(i);
    }
    put(store, key, tries, window_ms, now_ms);
}

/// Keeps the attempts of a key for as long as the last one counts.
fn put<K: core::hash::Hash + Eq + Clone>(
    store: &mut Store<K, Tries>,
    key: K,
    tries: Tries,
    window_ms: u64,
    now_ms: u64,
) {
    if let Some(last) = tries.last() {
        let expires = last.at_ms.saturating_add(window_ms);
        let _ = store.insert(key, tries, expires, now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pag::Cell;

    fn user(name: &str) -> Principal {
        Principal::new(name, Cell::new("example.com").unwrap()).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn limiter(per_user: u16, per_address: u16) -> Limiter {
        Limiter::new(Limits { per_user, per_address, window_ms: 60_000 })
    }

    #[test]
    fn guesses_at_one_user_end_at_the_limit_and_go_on_after_the_window() {
        let mut l = limiter(3, 100);
        for i in 0..3 {
            let a = l.begin(&user("alice"), ip("192.0.2.7"), i).unwrap();
            l.failed(a, i);
        }
        assert_eq!(
            l.begin(&user("alice"), ip("192.0.2.7"), 10).unwrap_err(),
            Stopped::Exceeded(Exceeded::UserFromAddress)
        );
        assert_eq!(
            l.begin(&user("alice"), ip("192.0.2.7"), 59_999).unwrap_err(),
            Stopped::Exceeded(Exceeded::UserFromAddress)
        );
        let _ = l.begin(&user("alice"), ip("192.0.2.7"), 60_000).unwrap();
        assert_eq!(
            l.begin(&user("alice"), ip("192.0.2.7"), 60_000).unwrap_err(),
            Stopped::Exceeded(Exceeded::UserFromAddress)
        );
    }

    #[test]
    fn attempts_under_way_count_as_well() {
        let mut l = limiter(3, 100);
        let open: Vec<_> = (0..3).map(|_| l.begin(&user("alice"), ip("192.0.2.7"), 5).unwrap()).collect();
        assert!(l.begin(&user("alice"), ip("192.0.2.7"), 5).is_err());
        for a in open {
            l.take_back(a, 6);
        }
        assert!(l.begin(&user("alice"), ip("192.0.2.7"), 7).is_ok());
    }

    #[test]
    fn those_of_one_address_who_fill_its_limit_by_logins_under_way_wait_for_each_other() {
        let mut l = limiter(3, 4);
        let at = ip("192.0.2.7");
        let mut open: Vec<_> = (0..4).map(|i| l.begin(&user(&format!("u{i}")), at, 5).unwrap()).collect();
        assert_eq!(l.begin(&user("zoe"), at, 6).unwrap_err(), Stopped::UnderWay);
        // What is in memory tells a guesser no more than the cell would.
        assert_eq!(l.hides(&user("zoe"), at, 6), Some(Stopped::UnderWay));
        l.succeeded(open.remove(0), 7);
        open.push(l.begin(&user("zoe"), at, 7).unwrap());
        l.take_back(open.remove(0), 8);
        assert_eq!(l.hides(&user("eve"), at, 8), None);
        open.push(l.begin(&user("eve"), at, 8).unwrap());
        for (failed, attempt) in open.into_iter().enumerate() {
            assert_eq!(l.begin(&user("ann"), at, 9).unwrap_err(), Stopped::UnderWay, "{failed} have failed");
            l.failed(attempt, 9);
        }
        assert_eq!(l.begin(&user("ann"), at, 10).unwrap_err(), Stopped::Exceeded(Exceeded::Address));
        // Those that have no answer for long are not waited for.
        let other = ip("192.0.2.9");
        let open: Vec<_> = (0..4).map(|i| l.begin(&user(&format!("v{i}")), other, 100).unwrap()).collect();
        assert_eq!(l.begin(&user("ann"), other, 100 + TURNOVER_MS - 1).unwrap_err(), Stopped::UnderWay);
        let stuck = l.begin(&user("ann"), other, 100 + TURNOVER_MS).unwrap_err();
        assert_eq!(stuck, Stopped::Exceeded(Exceeded::Address));
        open.into_iter().for_each(|attempt| l.take_back(attempt, 100 + TURNOVER_MS));
        // Who is told to wait has used up nothing.
        assert!(l.begin(&user("ann"), ip("192.0.2.8"), 10).is_ok());
    }

    #[test]
    fn one_address_cannot_try_a_few_passwords_at_everybody() {
        let mut l = limiter(3, 10);
        for i in 0..10 {
            let a = l.begin(&user(&format!("u{i}")), ip("192.0.2.7"), i).unwrap();
            l.failed(a, i);
        }
        assert_eq!(
            l.begin(&user("zoe"), ip("192.0.2.7"), 20).unwrap_err(),
            Stopped::Exceeded(Exceeded::Address)
        );
        assert!(l.begin(&user("zoe"), ip("192.0.2.8"), 20).is_ok());
    }

    #[test]
    fn many_addresses_cannot_lock_out_a_user_where_he_is_known() {
        let mut l = limiter(3, 100);
        let a = l.begin(&user("alice"), ip("198.51.100.1"), 0).unwrap();
        l.succeeded(a, 0);
        for i in 0..12u8 {
            let a = l.begin(&user("alice"), IpAddr::from([192, 0, 2, i / 3]), 1).unwrap();
            l.failed(a, 1);
        }
        assert_eq!(
            l.begin(&user("alice"), ip("203.0.113.1"), 2).unwrap_err(),
            Stopped::Exceeded(Exceeded::User)
        );
        assert!(l.begin(&user("alice"), ip("198.51.100.1"), 2).is_ok());
    }

    #[test]
    fn memory_answers_nobody_whose_guesses_are_used_up_but_the_user_where_he_is_known() {
        let mut l = limiter(3, 5);
        let a = l.begin(&user("alice"), ip("198.51.100.1"), 0).unwrap();
        l.succeeded(a, 0);
        assert_eq!(l.hides(&user("alice"), ip("192.0.2.7"), 0), None);
        for at in ["192.0.2.7", "198.51.100.1"] {
            for _ in 0..3 {
                let a = l.begin(&user("alice"), ip(at), 1).unwrap();
                l.failed(a, 1);
            }
        }
        assert_eq!(
            l.hides(&user("alice"), ip("192.0.2.7"), 2),
            Some(Stopped::Exceeded(Exceeded::UserFromAddress))
        );
        assert_eq!(l.hides(&user("alice"), ip("198.51.100.1"), 2), None, "he is known there");
        assert_eq!(l.hides(&user("bob"), ip("192.0.2.7"), 2), None);
        for _ in 0..2 {
            let a = l.begin(&user("carol"), ip("192.0.2.7"), 2).unwrap();
            l.failed(a, 2);
        }
        assert_eq!(l.hides(&user("bob"), ip("192.0.2.7"), 3), Some(Stopped::Exceeded(Exceeded::Address)));
        assert_eq!(l.hides(&user("alice"), ip("192.0.2.7"), 60_002), None);
    }

    #[test]
    fn success_forgets_the_users_own_slips_but_not_those_of_the_address() {
        let mut l = limiter(3, 4);
        for _ in 0..2 {
            let a = l.begin(&user("alice"), ip("192.0.2.7"), 0).unwrap();
            l.failed(a, 0);
        }
        let a = l.begin(&user("alice"), ip("192.0.2.7"), 1).unwrap();
        l.succeeded(a, 1);
        for _ in 0..2 {
            let a = l.begin(&user("alice"), ip("192.0.2.7"), 2).unwrap();
            l.failed(a, 2);
        }
        assert_eq!(
            l.begin(&user("alice"), ip("192.0.2.7"), 3).unwrap_err(),
            Stopped::Exceeded(Exceeded::Address)
        );
    }

    #[test]
    fn one_ipv6_subscriber_is_one_address_and_mapped_ipv4_is_ipv4() {
        let mut l = limiter(1, 100);
        let a = l.begin(&user("alice"), ip("2001:db8::1"), 0).unwrap();
        l.failed(a, 0);
        assert!(l.begin(&user("alice"), ip("2001:db8::ffff:2"), 0).is_err());
        assert!(l.begin(&user("alice"), ip("2001:db8:0:1::1"), 0).is_ok());
        let a = l.begin(&user("bob"), ip("::ffff:192.0.2.7"), 0).unwrap();
        l.failed(a, 0);
        assert!(l.begin(&user("bob"), ip("192.0.2.7"), 0).is_err());
    }

    #[test]
    fn a_name_in_another_case_has_no_guesses_of_its_own() {
        let mut l = limiter(3, 100);
        for name in ["alice", "Alice", "aLICE"] {
            let a = l.begin(&user(name), ip("192.0.2.7"), 0).unwrap();
            l.failed(a, 0);
        }
        for name in ["alice", "ALICE"] {
            assert_eq!(
                l.begin(&user(name), ip("192.0.2.7"), 1).unwrap_err(),
                Stopped::Exceeded(Exceeded::UserFromAddress)
            );
            assert_eq!(
                l.hides(&user(name), ip("192.0.2.7"), 1),
                Some(Stopped::Exceeded(Exceeded::UserFromAddress))
            );
        }
        let a = l.begin(&user("ALICE"), ip("198.51.100.1"), 1).unwrap();
        l.succeeded(a, 1);
        assert_eq!(l.hides(&user("Alice"), ip("198.51.100.1"), 2), None);
    }

    #[test]
    fn no_limit_and_forgetting() {
        let mut l = limiter(0, 0);
        for _ in 0..1000 {
            let a = l.begin(&user("alice"), ip("192.0.2.7"), 0).unwrap();
            l.failed(a, 0);
        }
        l.set_limits(Limits { per_user: 3, per_address: 0, window_ms: 60_000 });
        assert!(l.begin(&user("alice"), ip("192.0.2.7"), 1).is_err());
        l.forget(|who| who.name() == "alice");
        assert!(l.begin(&user("alice"), ip("192.0.2.7"), 1).is_ok());
    }

    #[test]
    fn memory_is_bounded() {
        let mut l = limiter(3, 3);
        for i in 0..16_900_u32 {
            let a =
                l.begin(&user(&format!("u{i}")), IpAddr::from((0x0a00_0000 + i).to_be_bytes()), 0).unwrap();
            l.failed(a, 0);
        }
        assert!(l.users.len() <= 16_384 && l.pairs.len() <= 16_384 && l.origins.len() <= 16_384);
    }
}
