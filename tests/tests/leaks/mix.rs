//! What is asked: of all kinds, and as often as not in vain.

use crate::common::load::{Dice, Faults};
use crate::common::{afs_client, answer_limit, dav_locks, first, second};
use integration::content::owner_file;
use integration::http::{self, Connection, Request, Response};
use integration::http2;
use integration::httpd::{Httpd, Mpm};
use integration::wait;
use integration::world::FIRST_CELL;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Those who ask at the same time; fewer where the processor is emulated, which a dozen logins at once keep busy for seconds.
pub(crate) fn clients() -> u64 {
    if wait::slow_factor() > 1 { 3 } else { 12 }
}

/// Names, as one logs in with them, and passwords.
pub(crate) type Names = Vec<(String, String)>;

/// Who asks.
pub(crate) struct People {
    pub(crate) first: Names,
    /// Of the other cell, which has them log in by the other method.
    pub(crate) second: Names,
}

/// What came of the requests.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) done: AtomicU64,
    pub(crate) broken_off: AtomicU64,
    /// Connections that httpd closed behind an answer, as it does where its workers are busy.
    pub(crate) kept_closed: AtomicU64,
    pub(crate) trees: AtomicU64,
    pub(crate) locks: AtomicU64,
    pub(crate) streams: AtomicU64,
    pub(crate) programs_of_visitors: AtomicU64,
    /// How many more of these there may be.
    pub(crate) programs_left: AtomicU64,
    pub(crate) by_status: Mutex<BTreeMap<u16, u64>>,
    pub(crate) faults: Faults,
}

/// Who asks whom, and what comes of it.
pub(crate) struct Place<'a> {
    pub(crate) httpd: &'a Httpd,
    pub(crate) mpm: Mpm,
    pub(crate) people: &'a People,
    pub(crate) tally: &'a Tally,
    /// Each worker needs most memory for trees and HTTP/2, and is to have done them before anybody looks.
    pub(crate) warms_up: bool,
}

/// Where one may write, and where `Require` wants something.
pub(crate) fn places() -> String {
    let place = |path: &str, text: &str| format!("<Location {}>\n{text}\n</Location>\n", first(path));
    let locks = dav_locks();
    // kAFS does not say who has which rights, and such a line is an error with it.
    let rights = match afs_client().as_str() {
        "kafs" => ["afs-group system:authuser", "afs-group alice:friends"],
        _ => ["afs-right read", "afs-right write"],
    };
    // The database of mod_dav_lock is locked by fcntl, which does not keep threads of one process apart: one client alone
    // locks, in a place of its own.
    place("write", &format!("Dav afs\nDavGenericLockDB {}/none", locks.display()))
        + &place("write/anybody/sub", &format!("DavGenericLockDB {}/locks", locks.display()))
        + &place("public/noextension", "Require afs-group system:authuser")
        + &place("public/plain.txt", "Require afs-group alice:friends")
        + &place("public/list/one.txt", &format!("Require {}", rights[0]))
        + &place("public/list/two.html", &format!("Require {}", rights[1]))
}

/// A request, and what its answer may be.
struct Ask {
    request: Request,
    statuses: &'static [u16],
    /// The whole body.
    says: Option<String>,
}

/// What a client does next.
enum Next {
    Ask(Ask),
    /// Asks, takes a bit of what comes, and goes away.
    BreakOff(Request),
    /// A small tree by WebDAV, from its beginning to its end.
    Tree,
    /// Several visitors on one connection of HTTP/2.
    Streams,
}

const LOCK: &[u8] = b"<?xml version=\"1.0\"?><lockinfo xmlns=\"DAV:\"><lockscope><exclusive/></lockscope>\
    <locktype><write/></locktype></lockinfo>";

/// One client.
pub(crate) struct Client<'a> {
    place: &'a Place<'a>,
    dice: Dice,
    seed: u64,
    /// The one who locks.
    locks: bool,
    trees: u64,
    kept: Option<Connection>,
}

impl<'a> Client<'a> {
    pub(crate) fn new(place: &'a Place<'a>, seed: u64, locks: bool) -> Self {
        Self { place, dice: Dice::new(seed), seed, locks, trees: 0, kept: None }
    }

    /// Goes on until so many requests are done by all.
    pub(crate) fn ask_until(mut self, until: u64) {
        while self.place.tally.done.fetch_add(1, Ordering::Relaxed) < until {
            match self.next() {
                Next::Ask(ask) => self.ask(&ask),
                Next::BreakOff(request) => self.break_off(&request),
                Next::Tree => self.tree(),
                Next::Streams => self.streams(),
            }
        }
    }

    fn of_first(&mut self) -> (&'a str, &'a str) {
        let people = &self.place.people.first;
        let (name, password) = &people[self.dice.place(people.len())];
        (name, password)
    }

    fn of_second(&mut self) -> (&'a str, &'a str) {
        let people = &self.place.people.second;
        let (name, password) = &people[self.dice.place(people.len())];
        (name, password)
    }

    fn next(&mut self) -> Next {
        let (name, password) = self.of_first();
        let (other, others) = self.of_second();
        let dice = &mut self.dice;
        let as_one = |request: Request| request.login(name, password);
        let get = |path: &str| as_one(Request::get(&first(path)));
        let get_as_other = |path: &str| Request::get(path).login(other, others);
        let put = |path: &str| as_one(Request::new("PUT", &first(path)));
        let page = first("auth/page.html");
        let kind = if self.place.warms_up && dice.throw(4) == 0 { 20 } else { dice.throw(28) };
        let (request, statuses): (Request, &[u16]) = match kind {
            0 => (Request::get(&first("public/page.html")), &[200]),
            1 => (Request::get(&page), &[401]),
            2 => (get(&owner_file("alice")), &[403]),
            3 => (get("auth/no-such-file"), &[404]),
            4 => (get("auth/page.html").header("Range", "bytes=3-7"), &[206]),
            5 => match dice.throw(2) {
                0 => (get("sizes/64k.bin"), &[200]),
                _ => (as_one(Request::new("HEAD", &first("sizes/64k.bin"))), &[200]),
            },
            // Whoever guesses has to wait a little; nobody is locked out here.
            6 => (Request::get(&page).login(name, &format!("{:x}", dice.any())), &[401]),
            7 => (Request::get(&page).login(&format!("u{:x}", dice.any() >> 16), "x"), &[401]),
            8 => (Request::get(&page).header("Authorization", "Basic !!!"), &[400]),
            9 => (get("auth/"), &[403, 404]),
            10 => (as_one(Request::new("POST", &page)).body(b"x"), &[405]),
            11 => {
                let path = format!("write/anybody/leaks-{}", dice.throw(100));
                (put(&path).body(&vec![b'x'; 3_000]), &[201, 204])
            }
            12 | 21 => return Next::BreakOff(get("sizes/1m.bin")),
            13 | 22 => {
                let path = format!("write/anybody/broken-{}", dice.throw(100));
                return Next::BreakOff(put(&path).header("Content-Length", "100000"));
            }
            14 | 15 => (get_as_other(&second("auth/page.html")), &[200]),
            16 => match dice.throw(4) {
                0 => (get_as_other(&second(&owner_file("zoe"))), &[403]),
                1 => (get_as_other(&page), &[403]),
                2 => (Request::get(&second("auth/page.html")).login(other, "wrong"), &[401]),
                _ => (as_one(Request::get(&second("auth/page.html"))), &[403]),
            },
            17 => match dice.throw(5) {
                0 => (get("public/noextension"), &[200]),
                1 => (get("public/plain.txt"), &[403]),
                2 => (get("public/list/one.txt"), &[200]),
                3 => (get("public/list/two.html"), &[403]),
                _ => (get_as_other(&first("public/noextension")), &[403]),
            },
            18 => match dice.throw(3) {
                0 => {
                    let elsewhere =
                        put("write/anybody/unasked").header("Origin", "https://elsewhere.example");
                    (elsewhere.body(b"x"), &[403])
                }
                1 => {
                    let made = as_one(Request::new("MKCOL", &first("write/anybody/unasked")));
                    (made.header("Sec-Fetch-Site", "cross-site"), &[403])
                }
                _ => {
                    let asked = as_one(Request::new("PROPFIND", &first("write/anybody/")));
                    (asked.header("Depth", "0"), &[207])
                }
            },
            19 => return self.program(name, password),
            20 => match dice.throw(3) {
                0 => return Next::Tree,
                1 if self.place.mpm != Mpm::Prefork => return Next::Streams,
                _ => (get("auth/page.html"), &[200]),
            },
            _ => (get("auth/page.html"), &[200]),
        };
        Next::Ask(Ask { request, statuses, says: None })
    }

    /// A program, mostly as nobody.
    fn program(&mut self, name: &str, password: &str) -> Next {
        let tally = self.place.tally;
        let mut request = Request::get("/run/who");
        let mut who = String::new();
        let one_less = |left: u64| left.checked_sub(1);
        if self.dice.throw(2) == 0 {
            return Next::Ask(Ask { request: request.login(name, "wrong"), statuses: &[401], says: None });
        }
        if self.dice.throw(2) == 0
            && tally.programs_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
        {
            tally.programs_of_visitors.fetch_add(1, Ordering::Relaxed);
            request = request.login(name, password);
            who = format!("{name}@{FIRST_CELL}");
        }
        Next::Ask(Ask { request, statuses: &[200], says: Some(format!("user={who}\n")) })
    }

    /// Counts an answer; whether it is one that may come.
    fn takes(&self, request: &Request, statuses: &[u16], r: &Response) -> bool {
        let tally = self.place.tally;
        *tally.by_status.lock().unwrap().entry(r.status).or_default() += 1;
        if statuses.contains(&r.status) {
            return true;
        }
        // A file server may let a call on a new connection wait for a second; whoever stands behind it is told so.
        if r.status != 503 {
            tally.faults.add(format!("{} instead of {statuses:?}: {request:?}", r.status));
        }
        false
    }

    fn open(&self) -> Option<Connection> {
        let opened = Connection::open_within(self.place.httpd.address(), answer_limit());
        if opened.is_err() {
            self.place.tally.faults.add("nobody listens".to_owned());
        }
        opened.ok()
    }

    fn break_off(&mut self, request: &Request) {
        self.kept = None;
        let Some(mut c) = self.open() else { return };
        let _ = c.send_only(request);
        let _ = c.socket().set_read_timeout(Some(Duration::from_millis(1 + self.dice.throw(20))));
        let mut some = [0; 2_000];
        let _ = c.socket().read(&mut some);
        self.place.tally.broken_off.fetch_add(1, Ordering::Relaxed);
    }

    fn ask(&mut self, ask: &Ask) {
        let kept = self.kept.take();
        let was_kept = kept.is_some();
        let Some(mut c) = kept.or_else(|| self.open()) else { return };
        match c.send(&ask.request) {
            Ok(r) => {
                let right = self.takes(&ask.request, ask.statuses, &r);
                if right && ask.says.as_ref().is_some_and(|says| *says != r.text()) {
                    let text = r.text();
                    self.place.tally.faults.add(format!("{text:?} instead of {:?}", ask.says));
                }
                if self.dice.throw(4) != 0 && r.complete && r.header("Connection") != Some("close") {
                    self.kept = Some(c);
                }
            }
            Err(e) if was_kept && http::is_closed(&e) => {
                self.place.tally.kept_closed.fetch_add(1, Ordering::Relaxed);
            }
            Err(e) => self.place.tally.faults.add(format!("{e:#}: {:?}", ask.request)),
        }
    }

    /// Makes, copies, moves and removes a tree under a name that nobody else has.
    fn tree(&mut self) {
        let tally = self.place.tally;
        let (name, password) = self.of_first();
        let (seed, number) = (self.seed, self.trees);
        self.trees += 1;
        let below = if self.locks { "write/anybody/sub" } else { "write/anybody" };
        let at = |more: &str| first(&format!("{below}/tree-{seed}-{number}{more}"));
        let host = format!("localhost:{}", self.place.httpd.address().port());
        let to = |more: &str| format!("http://{host}{}", at(more));
        let transfer = |method: &str, from: &str, there: &str| {
            Request::new(method, &at(from)).header("Destination", &to(there))
        };
        let mut steps: Vec<(Request, &[u16])> = vec![
            (Request::new("MKCOL", &at("")), &[201]),
            (Request::new("PUT", &at("/one")).body(b"one"), &[201]),
            (Request::new("MKCOL", &at("/sub")), &[201]),
            (Request::new("PUT", &at("/sub/two")).body(b"two"), &[201]),
            (Request::new("MKCOL", &at("/none/sub")), &[409]),
            (Request::new("PROPFIND", &at("")).header("Depth", "1"), &[207]),
            (transfer("COPY", "", "-copy"), &[201]),
            (transfer("MOVE", "-copy", "-moved"), &[201]),
            (Request::new("DELETE", &at("")), &[204]),
            (Request::get(&at("-moved/sub/two")), &[200]),
            (Request::new("DELETE", &at("-moved")), &[204]),
        ];
        if self.locks {
            steps.insert(6, (Request::new("LOCK", &at("/one")).body(LOCK), &[200]));
            steps.insert(7, (Request::new("PUT", &at("/one")).body(b"locked"), &[423]));
            steps.insert(8, (Request::new("UNLOCK", &at("/one")), &[204]));
        }
        let Some(mut c) = self.open() else { return };
        let (mut lock, mut is_kept) = (String::new(), false);
        for (request, statuses) in steps {
            let mut request = request.header("Host", &host).login(name, password);
            if statuses == [204] && !lock.is_empty() {
                request = request.header("Lock-Token", &std::mem::take(&mut lock));
            }
            tally.done.fetch_add(1, Ordering::Relaxed);
            match c.send(&request) {
                Ok(r) => {
                    // Whoever is told to come later leaves the rest be.
                    if !self.takes(&request, statuses, &r) {
                        return;
                    }
                    if let Some(token) = r.header("Lock-Token") {
                        token.clone_into(&mut lock);
                        tally.locks.fetch_add(1, Ordering::Relaxed);
                    }
                    is_kept = r.header("Connection") != Some("close");
                    if !is_kept {
                        let Some(another) = self.open() else { return };
                        c = another;
                    }
                }
                // Whether that was done is not known, so the rest is let be here, too.
                Err(e) if is_kept && http::is_closed(&e) => {
                    tally.kept_closed.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Err(e) => {
                    tally.faults.add(format!("{e:#}: {request:?}"));
                    return;
                }
            }
        }
        tally.trees.fetch_add(1, Ordering::Relaxed);
    }

    fn streams(&mut self) {
        let tally = self.place.tally;
        let ((name, password), (other, others)) = (self.of_first(), self.of_second());
        let asked: [(Request, &[u16]); 5] = [
            (Request::get(&first("auth/page.html")).login(name, password), &[200]),
            (Request::get(&first("auth/page.html")), &[401]),
            (Request::get(&second("auth/page.html")).login(other, others), &[200]),
            (Request::get(&first("sizes/64k.bin")).login(name, password), &[200]),
            (Request::get(&first(&owner_file("alice"))).login(name, password), &[403]),
        ];
        let requests = asked.each_ref().map(|(request, _)| request.clone());
        tally.done.fetch_add(requests.len() as u64, Ordering::Relaxed);
        tally.streams.fetch_add(1, Ordering::Relaxed);
        match http2::at_once(self.place.httpd.address(), &requests) {
            Ok(answers) => {
                for ((request, statuses), r) in asked.iter().zip(&answers) {
                    self.takes(request, statuses, r);
                }
            }
            Err(e) => tally.faults.add(format!("{e:#}, by HTTP/2")),
        }
    }
}
