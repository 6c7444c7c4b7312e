//! Identity under stress: many visitors at once, small and large files, cached and not, transfers that are broken off,
//! children and brokers that are killed. No byte of anybody else's file, ever.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::load::{Dice, Faults, OwnFiles, writable_homes};
use common::{afs_client, broker_of, first, long, password, report, start_with, world};
use integration::content::{PUBLIC_LINE, owner_file, owner_line, pattern};
use integration::http::{Connection, Request};
use integration::httpd::Httpd;
use integration::process::signal_pid;
use integration::wait;
use integration::world::{FIRST_CELL, World};
use rustix::process::Signal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const VISITORS: [&str; 8] = ["alice", "bob", "carol", "mallory", "dave", "erin", "frank", "grace"];
const THREADS: u64 = 16;
/// A large file that only alice may read, and its size.
const LARGE: (&str, usize) = ("alice-sizes/1m.bin", 1 << 20);

#[derive(Default)]
struct Tally {
    right: AtomicU64,
    /// Files that were stored, and how often exactly that was in one.
    stored: AtomicU64,
    read_back: AtomicU64,
    unavailable: AtomicU64,
    broken_off: AtomicU64,
    faults: Faults,
}

/// What must come: status, and the beginning of the body (nothing of anybody's where it is an error).
fn wanted(who: Option<&str>, path: &str) -> (u16, Vec<u8>) {
    let owner = VISITORS.iter().find(|v| path.contains(&format!("/{v}/")));
    match (who, owner) {
        (_, None) if path.contains("/public/") => (200, PUBLIC_LINE.into()),
        (Some("alice"), None) => (200, pattern(0, LARGE.1)),
        (Some(who), Some(owner)) if who == *owner => (200, owner_line(who, FIRST_CELL).into_bytes()),
        (Some(_), _) => (403, Vec::new()),
        (None, _) => (401, Vec::new()),
    }
}

/// One client: asks for anything as anybody, keeps some connections, breaks some transfers off.
fn client(world: &World, httpd: &Httpd, seed: u64, stop: &AtomicBool, tally: &Tally) {
    let cell = world.cell(FIRST_CELL).unwrap();
    let mut dice = Dice::new(seed);
    let mut files = OwnFiles::new(seed);
    let mut kept: Option<Connection> = None;
    while !stop.load(Ordering::Relaxed) {
        let who = VISITORS.get(dice.place(VISITORS.len() + 1)).copied();
        // Whose file it is that this client writes.
        let (owner, put) = match (who, dice.throw(8)) {
            (Some(who), 0) => (Some(who), Some(files.next_body(who, &mut dice))),
            (_, 1) => (who, None),
            (_, 2) => (Some(VISITORS[dice.place(VISITORS.len())]), None),
            _ => (None, None),
        };
        let owner = owner.filter(|o| put.is_some() || files.text(o).is_some());
        let path = match (owner, dice.throw(8)) {
            (Some(owner), _) => files.path(owner),
            (_, 0) => first("public/page.html"),
            (_, 1) => first(LARGE.0),
            (_, 2) => first(&owner_file(VISITORS[dice.place(VISITORS.len())])),
            _ => first(&owner_file(who.unwrap_or("alice"))),
        };
        let mut request = match &put {
            Some(body) => Request::new("PUT", &path).body(body),
            None => Request::get(&path),
        };
        if let Some(who) = who {
            request = request.login(who, password(cell, who));
        }
        let opened = kept.take().map_or_else(|| Connection::open(httpd.address()), Ok);
        let Ok(mut c) = opened else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        if put.is_none() && dice.throw(12) == 0 {
            // Asks, and goes away while the answer comes.
            let _ = c.send_only(&request);
            std::thread::sleep(Duration::from_millis(dice.throw(10)));
            tally.broken_off.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        // The child may be killed, or may close a connection that was kept.
        let answer = c.send(&request);
        if let (Some(who), Some(body)) = (who, put) {
            match answer {
                Ok(r) if [201, 204].contains(&r.status) => {
                    files.stored(who, body);
                    tally.stored.fetch_add(1, Ordering::Relaxed);
                }
                other => {
                    files.unknown(who);
                    if let Ok(r) = other.as_ref()
                        && r.status != 503
                    {
                        tally.faults.add(format!("{who} stored {path}: got {}", r.status));
                    }
                }
            }
            continue;
        }
        let Ok(r) = answer else { continue };
        let (status, begins) = wanted(who, &path);
        let own = owner.filter(|_| who == owner).and_then(|owner| files.text(owner));
        let right = if let (200, Some(own)) = (r.status, own) {
            tally.read_back.fetch_add(u64::from(r.complete), Ordering::Relaxed);
            r.body == own || (!r.complete && own.starts_with(&r.body))
        } else if r.status == 200 {
            // What came before it was cut off must be of the right file, too.
            status == 200 && (r.body.starts_with(&begins) || (!r.complete && begins.starts_with(&r.body)))
        } else {
            (r.status == status || r.status == 503) && !r.text().contains("owner: ")
        };
        if !right {
            let head: String = r.text().chars().take(60).collect();
            tally.faults.add(format!("{who:?} asked for {path}: wanted {status}, got {} {head:?}", r.status));
        } else if r.status == 503 {
            tally.unavailable.fetch_add(1, Ordering::Relaxed);
        } else if r.complete {
            tally.right.fetch_add(1, Ordering::Relaxed);
        }
        if r.complete && dice.throw(4) != 0 && r.header("Connection") != Some("close") {
            kept = Some(c);
        }
    }
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn no_byte_of_anybody_elses_file_is_served_under_stress() {
    let world = world();
    let more = format!("SetAFSCacheExpiration 5\nSetAFSPags 64\n{}", writable_homes());
    let httpd = start_with(&world, &more, |mut o| {
        o.modules.push("dav".into());
        o
    });
    let slow = wait::slow_factor();
    let enough = if long() { 20_000 } else { 5_000 / u64::from(slow) };
    let (stop, tally) = (AtomicBool::new(false), Tally::default());
    let began = Instant::now();
    let limit = Duration::from_secs(if long() { 3_600 } else { 600 });
    let (mut children, mut brokers) = (0, 0);
    std::thread::scope(|s| {
        for seed in 1..=THREADS {
            let (world, httpd, stop, tally) = (&world, &httpd, &stop, &tally);
            s.spawn(move || client(world, httpd, seed, stop, tally));
        }
        let mut dice = Dice::new(0x1234_5678_9ABC_DEF1);
        // A new child takes an emulated machine seconds.
        let (child, broker) = (2 * slow, 10 * slow);
        for round in 1.. {
            let right = tally.right.load(Ordering::Relaxed);
            if right >= enough || began.elapsed() > limit || !tally.faults.are_none() {
                break;
            }
            std::thread::sleep(Duration::from_millis(500));
            let all = httpd.children();
            if round % child == 0
                && all.len() > 1
                && signal_pid(all[dice.place(all.len())], Signal::KILL).is_ok()
            {
                children += 1;
            }
            if round % broker == 0
                && broker_of(&httpd).is_some_and(|pid| signal_pid(pid, Signal::KILL).is_ok())
            {
                brokers += 1;
            }
            if round % 6 == 0 && afs_client() != "userspace" {
                // Nothing from the cache of pages.
                let _ = std::fs::write("/proc/sys/vm/drop_caches", "3");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let count = |c: &AtomicU64| c.load(Ordering::Relaxed);
    report(&format!(
        "{} right, {} files stored and {} read back, {} times 503, {} broken off, killed {children} children and {brokers} brokers in {:.0?}",
        count(&tally.right),
        count(&tally.stored),
        count(&tally.read_back),
        count(&tally.unavailable),
        count(&tally.broken_off),
        began.elapsed(),
    ));
    tally.faults.must_be_none();
    assert!(count(&tally.right) >= enough, "too little was served to prove anything");
    assert!(count(&tally.stored) > 0 && count(&tally.read_back) > 0, "nobody stored anything");
    httpd.stop(&["exit signal Killed", "weblog"]).unwrap();
}
