//! Mixed load of ten visitors and nobody while children, brokers and nannies are killed at any moment.
//!
//! Every body belongs to the visitor who asked; every answer is the right one or 503; nothing waits beyond its deadline.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::load::{Dice, Faults, OwnFiles, writable_homes};
use common::{answer_limit, below, broker_of, first, get_as, nanny_of, password, start_with, world};
use integration::content::{PUBLIC_LINE, owner_file, owner_line};
use integration::http::{Connection, Request};
use integration::httpd::{Httpd, Mpm};
use integration::process::signal_pid;
use integration::wait;
use integration::world::{FIRST_CELL, World};
use rustix::process::Signal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const VISITORS: [&str; 10] =
    ["alice", "bob", "carol", "mallory", "dave", "erin", "frank", "grace", "heidi", "ivan"];

/// Those who ask at the same time; fewer where the processor is emulated, which a dozen logins at once keep busy for longer than
/// any of them may take.
fn clients() -> u64 {
    if wait::slow_factor() > 1 { 3 } else { 12 }
}

/// So many right answers prove something.
fn enough() -> u64 {
    500 / u64::from(wait::slow_factor())
}

#[derive(Default)]
struct Tally {
    right: AtomicU64,
    /// Files that were stored, and how often exactly that was in one.
    stored: AtomicU64,
    read_back: AtomicU64,
    unavailable: AtomicU64,
    cut: AtomicU64,
    /// Of these, on a connection that had been kept from an earlier answer: httpd may close such a one at any time.
    cut_kept: AtomicU64,
    slowest_ms: AtomicU64,
    faults: Faults,
}

/// One client: keeps a connection for some requests, changes visitors on it.
fn client(world: &World, httpd: &Httpd, seed: u64, stop: &AtomicBool, tally: &Tally) {
    let cell = world.cell(FIRST_CELL).unwrap();
    let mut dice = Dice::new(seed);
    let mut files = OwnFiles::new(seed);
    let mut connection: Option<Connection> = None;
    while !stop.load(Ordering::Relaxed) {
        // Now and then the one who was the last to store something reads it.
        let reader = files.last().filter(|_| dice.throw(8) == 0);
        let who = dice.place(11);
        let visitor = reader.or_else(|| VISITORS.get(who).copied());
        let of = VISITORS[dice.place(10)];
        let own = visitor.unwrap_or(of);
        let stored = reader.and_then(|v| files.text(v)).map(<[u8]>::to_vec);
        let writer = visitor.filter(|_| stored.is_none() && dice.throw(8) == 0);
        let put = writer.map(|v| files.next_body(v, &mut dice));
        let (path, status, line) = match dice.throw(4) {
            _ if put.is_some() || stored.is_some() => (files.path(own), 200, owner_line(own, FIRST_CELL)),
            0 => (first("public/page.html"), 200, PUBLIC_LINE.to_owned()),
            1 | 2 => match visitor {
                Some(v) => (first(&owner_file(own)), 200, owner_line(v, FIRST_CELL)),
                None => (first(&owner_file(own)), 401, String::new()),
            },
            _ => match visitor {
                Some(v) if v == of => (first(&owner_file(of)), 200, owner_line(of, FIRST_CELL)),
                Some(_) => (first(&owner_file(of)), 403, String::new()),
                None => (first(&owner_file(of)), 401, String::new()),
            },
        };
        let mut request = match &put {
            Some(body) => Request::new("PUT", &path).body(body),
            None => Request::get(&path),
        };
        if let Some(v) = visitor {
            request = request.login(v, password(cell, v));
        }
        let kept = connection.is_some();
        let mut c = match connection.take() {
            Some(c) => c,
            None => match Connection::open_within(httpd.address(), answer_limit()) {
                Ok(c) => c,
                Err(_) => {
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                }
            },
        };
        let begin = Instant::now();
        let answer = c.send(&request);
        let took = begin.elapsed();
        tally.slowest_ms.fetch_max(u64::try_from(took.as_millis()).unwrap(), Ordering::Relaxed);
        if took > answer_limit() {
            tally.faults.add(format!("{visitor:?} waited {took:?} for {path}"));
        }
        let r = match answer {
            Ok(r) => r,
            // The child was killed before it had answered.
            Err(_) => {
                if let (Some(v), Some(_)) = (visitor, &put) {
                    files.unknown(v);
                }
                tally.cut.fetch_add(1, Ordering::Relaxed);
                tally.cut_kept.fetch_add(u64::from(kept), Ordering::Relaxed);
                continue;
            }
        };
        // Whatever came, also the beginning of a body that was cut off, must be the right visitor's.
        let text = r.text();
        if let (Some(v), Some(body)) = (visitor, put) {
            match r.status {
                201 | 204 => {
                    files.stored(v, body);
                    tally.stored.fetch_add(1, Ordering::Relaxed);
                }
                503 => files.unknown(v),
                other => tally.faults.add(format!("{v} stored {path}: got {other}")),
            }
            continue;
        }
        let body_right = if let (200, Some(stored)) = (r.status, &stored) {
            tally.read_back.fetch_add(u64::from(r.complete), Ordering::Relaxed);
            r.body == *stored || (!r.complete && stored.starts_with(&r.body))
        } else if status == 200 {
            text.starts_with(&line) || (!r.complete && line.starts_with(&text))
        } else {
            !text.contains("owner: ")
        };
        if r.status == 503 && !text.contains("owner: ") {
            tally.unavailable.fetch_add(1, Ordering::Relaxed);
        } else if r.status == status && body_right {
            if r.complete { &tally.right } else { &tally.cut }.fetch_add(1, Ordering::Relaxed);
        } else {
            let head: String = text.chars().take(60).collect();
            tally.faults.add(format!(
                "{visitor:?} asked for {path}: wanted {status} {line:?}, got {} {head:?}",
                r.status
            ));
        }
        if r.complete && dice.throw(8) != 0 && r.header("Connection") != Some("close") {
            connection = Some(c);
        }
    }
}

/// Kills `children` children, `brokers` brokers and `nannies` nannies, one after the other, at moments that nobody can foresee.
fn killer(httpd: &Httpd, children: u64, brokers: u64, nannies: u64) -> (u64, u64, u64) {
    let mut dice = Dice::new(0x1234_5678_9ABC_DEF1);
    let (mut c, mut b, mut n) = (0, 0, 0);
    let limit = Instant::now() + Duration::from_secs(if children > 500 { 3000 } else { 240 });
    let mut last_broker = 0;
    while (c < children || b < brokers || n < nannies) && Instant::now() < limit {
        // A broker is killed only when it is another one than the last; a nanny only when it has a broker.
        if b < brokers
            && c * brokers >= b * children
            && let Some(pid) = broker_of(httpd).filter(|p| *p != last_broker)
            && signal_pid(pid, Signal::KILL).is_ok()
        {
            last_broker = pid;
            b += 1;
        }
        if n < nannies
            && c * nannies >= n * children
            && let Some(pid) = nanny_of(httpd).filter(|_| broker_of(httpd).is_some())
            && signal_pid(pid, Signal::KILL).is_ok()
        {
            n += 1;
        }
        if c < children {
            let all = httpd.children();
            if all.len() > 1 {
                let pick = dice.place(all.len());
                if signal_pid(all[pick], Signal::KILL).is_ok() {
                    c += 1;
                }
            }
        }
        // Children of a slow machine live longer, too, else none lives to answer.
        std::thread::sleep(Duration::from_millis(20 + dice.throw(130)) * wait::slow_factor());
    }
    (c, b, n)
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn whoever_is_killed_every_body_belongs_to_the_visitor_who_asked() {
    let world = world();
    // Logins are remembered for a second only, so that most requests go to the broker.
    let more = format!("SetAFSCacheExpiration 1\nSetAFSLanes 4\n{}", writable_homes());
    let httpd = start_with(&world, &more, |mut o| {
        o.modules.push("dav".into());
        if o.mpm != Mpm::Prefork {
            // Many small children, so that there is always another one to kill.
            let sizes = "StartServers 8\nServerLimit 16\nThreadsPerChild 4\nThreadLimit 4\n\
                         MinSpareThreads 16\nMaxSpareThreads 64\nMaxRequestWorkers 64\n";
            o.sizes = Some(sizes.into());
        }
        o
    });
    let (children, brokers, nannies) = if common::long() { (1000, 200, 50) } else { (60, 10, 3) };
    // A login takes a while, so that many are killed between request and reply.
    let slow = common::Mischief::mode(&world, FIRST_CELL, "delay 40", None);
    let stop = AtomicBool::new(false);
    let tally = Tally::default();
    let count = |c: &AtomicU64| c.load(Ordering::Relaxed);
    let began = Instant::now();
    let killed = std::thread::scope(|s| {
        for seed in 1..=clients() {
            let (world, httpd, stop, tally) = (&world, &httpd, &stop, &tally);
            s.spawn(move || client(world, httpd, seed, stop, tally));
        }
        let killed = killer(&httpd, children, brokers, nannies);
        // The load goes on for a moment after the last kill; longer where a slow machine has served or stored little so far.
        std::thread::sleep(Duration::from_secs(1));
        let go_on_until = |is_enough: &dyn Fn() -> bool| {
            let until = Instant::now() + Duration::from_secs(30) * wait::slow_factor();
            while !is_enough() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(100));
            }
        };
        go_on_until(&|| count(&tally.right) >= enough());
        go_on_until(&|| count(&tally.stored) > 0 && count(&tally.read_back) > 0);
        stop.store(true, Ordering::Relaxed);
        killed
    });
    common::report(&format!(
        "killed {killed:?} (children, brokers, nannies) in {:.0?}: {} right, {} files stored and {} read back, {} times 503, {} connections cut ({} of them kept ones), slowest answer {} ms",
        began.elapsed(),
        count(&tally.right),
        count(&tally.stored),
        count(&tally.read_back),
        count(&tally.unavailable),
        count(&tally.cut),
        count(&tally.cut_kept),
        count(&tally.slowest_ms)
    ));
    tally.faults.must_be_none();
    assert_eq!(killed, (children, brokers, nannies));
    assert!(count(&tally.right) >= enough(), "too little was served to prove anything");
    assert!(count(&tally.stored) > 0, "nobody stored anything");
    assert!(count(&tally.read_back) > 0, "nobody read what he had stored");

    drop(slow);
    // All lanes are in service again: more logins at once than there are lanes, none of them cached.
    let at_once = if wait::slow_factor() > 1 { 6 } else { 16 };
    wait::until("the broker", Duration::from_secs(60), || Ok(broker_of(&httpd))).unwrap();
    wait::until_true("logins", Duration::from_secs(60), || {
        Ok(VISITORS.iter().all(|v| get_as(&world, &httpd, &first(&owner_file(v)), v).status == 200))
    })
    .unwrap();
    let all_at_once = || -> Vec<u16> {
        std::thread::sleep(Duration::from_millis(1500));
        std::thread::scope(|s| {
            let all: Vec<_> = (0..at_once)
                .map(|i| {
                    let (world, httpd) = (&world, &httpd);
                    s.spawn(move || {
                        get_as(world, httpd, &first(&owner_file(VISITORS[i % 10])), VISITORS[i % 10]).status
                    })
                })
                .collect();
            all.into_iter().map(|t| t.join().unwrap()).collect()
        })
    };
    // A lane that is lost stays so; a slow machine is now and then quick enough.
    let mut statuses = all_at_once();
    for _ in 1..wait::slow_factor() {
        if statuses.iter().any(|s| *s != 200) {
            common::report(&format!("more logins at once than lanes: {statuses:?}; once more"));
            statuses = all_at_once();
        }
    }
    assert!(statuses.iter().all(|s| *s == 200), "a lane is lost: {statuses:?}");
    assert_eq!(below(httpd.pid(), "weblog-starter").len(), 1, "one nanny");
    httpd.stop(&["exit signal Killed", "weblog"]).unwrap();
}
