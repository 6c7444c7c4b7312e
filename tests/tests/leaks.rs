//! Many requests of all kinds, most of which fail or are broken off: no process of ours or of httpd's keeps anything of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::load::{Dice, Faults};
use common::{afs_client, answer_limit, broker_of, first, long, nanny_of, report, start_with, world};
use integration::content::owner_file;
use integration::crowd;
use integration::footprint::{self, Footprint};
use integration::http::{Connection, Request};
use integration::httpd::{self, Httpd, Mpm};
use integration::process;
use integration::wait;
use integration::world::FIRST_CELL;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Those who ask at the same time; fewer where the processor is emulated, which a dozen logins at once keep busy for seconds.
fn clients() -> u64 {
    if wait::slow_factor() > 1 { 3 } else { 12 }
}

/// Seconds for which logins are remembered: most visitors log in again and again.
fn expiration_s() -> u64 {
    5 * u64::from(wait::slow_factor())
}

/// www-data
const HTTPD_UID: u32 = 33;
/// What may be left of a request, bytes: less than anything that is kept for one (a path, a login, a PAG of 262 KiB).
const BYTES_PER_REQUEST: u64 = 64;
/// What an allocator may add to a process without a leak, KiB: a step of an arena for some of its threads, and pages that
/// are half used.
const NOISE_KIB: u64 = 1_536;

/// Who asks, and with which password.
type Names = Vec<(String, String)>;

/// What came of the requests.
#[derive(Default)]
struct Tally {
    done: AtomicU64,
    broken_off: AtomicU64,
    by_status: Mutex<BTreeMap<u16, u64>>,
    faults: Faults,
}

/// One request, and the statuses that it may have; what is to be broken off has none.
fn request(dice: &mut Dice, people: &Names) -> (Request, &'static [u16]) {
    let (name, password) = &people[dice.place(people.len())];
    let as_one = |path: &str| Request::get(&first(path)).login(name, password);
    match dice.throw(20) {
        0 => (Request::get(&first("public/page.html")), &[200]),
        1 => (Request::get(&first("auth/page.html")), &[401]),
        2 => (Request::get(&first(&owner_file("alice"))).login(name, password), &[403]),
        3 => (as_one("auth/no-such-file"), &[404]),
        4 => (as_one("auth/page.html").header("Range", "bytes=3-7"), &[206]),
        5 => (as_one("sizes/64k.bin"), &[200]),
        // Whoever guesses has to wait a little; nobody is locked out here.
        6 => (Request::get(&first("auth/page.html")).login(name, &format!("{:x}", dice.any())), &[401]),
        7 => (Request::get(&first("auth/page.html")).login(&format!("u{:x}", dice.any() >> 16), "x"), &[401]),
        8 => (Request::get(&first("auth/page.html")).header("Authorization", "Basic !!!"), &[400]),
        9 => (as_one("auth/"), &[403, 404]),
        10 => (Request::new("POST", &first("auth/page.html")).login(name, password).body(b"x"), &[405]),
        11 => {
            let path = first(&format!("write/anybody/leaks-{}", dice.throw(100)));
            (Request::new("PUT", &path).login(name, password).body(&vec![b'x'; 3_000]), &[201, 204])
        }
        12 => (as_one("sizes/1m.bin"), &[]),
        13 => {
            let path = first(&format!("write/anybody/broken-{}", dice.throw(100)));
            let part = Request::new("PUT", &path).login(name, password).header("Content-Length", "100000");
            (part, &[])
        }
        _ => (as_one("auth/page.html"), &[200]),
    }
}

/// One client, until so many requests are done.
fn client(httpd: &Httpd, people: &Names, seed: u64, until: u64, tally: &Tally) {
    let mut dice = Dice::new(seed);
    let mut kept: Option<Connection> = None;
    while tally.done.fetch_add(1, Ordering::Relaxed) < until {
        let (request, wanted) = request(&mut dice, people);
        let was_kept = kept.is_some() && !wanted.is_empty();
        let opened = kept
            .take()
            .filter(|_| !wanted.is_empty())
            .map_or_else(|| Connection::open_within(httpd.address(), answer_limit()), Ok);
        let Ok(mut c) = opened else {
            tally.faults.add("nobody listens".to_owned());
            return;
        };
        if wanted.is_empty() {
            // Asks, takes a bit of what comes, and goes away.
            let _ = c.send_only(&request);
            let _ = c.socket().set_read_timeout(Some(Duration::from_millis(1 + dice.throw(20))));
            let mut some = [0; 2_000];
            let _ = c.socket().read(&mut some);
            tally.broken_off.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        match c.send(&request) {
            Ok(r) => {
                *tally.by_status.lock().unwrap().entry(r.status).or_default() += 1;
                // A file server may let a call on a new connection wait for a second; whoever stands behind it is told so.
                if !wanted.contains(&r.status) && r.status != 503 {
                    tally.faults.add(format!("{} instead of {wanted:?}: {request:?}", r.status));
                }
                if dice.throw(4) != 0 && r.complete && r.header("Connection") != Some("close") {
                    kept = Some(c);
                }
            }
            // httpd may close one that it had kept.
            Err(_) if was_kept => {}
            Err(e) => tally.faults.add(format!("{e:#}: {request:?}")),
        }
    }
}

/// All clients, until so many requests are done.
fn load(httpd: &Httpd, people: &Names, seed: u64, requests: u64, tally: &Tally) {
    let until = tally.done.load(Ordering::Relaxed) + requests;
    std::thread::scope(|s| {
        for n in 1..=clients() {
            s.spawn(move || client(httpd, people, seed * clients() + n, until, tally));
        }
    });
    // Each client has counted one that it did not do.
    tally.done.fetch_sub(clients(), Ordering::Relaxed);
    tally.faults.must_be_none();
}

/// What there is at a moment of rest.
struct Moment {
    processes: Vec<(String, u32, Footprint)>,
    keys: BTreeMap<u32, u64>,
    /// Tokens that children have got from the broker, since it started.
    tokens: u64,
    /// What /proc/keys shows: number, rights, owner, kind, name.
    shown: BTreeSet<String>,
    /// All processes below httpd, authenticators that wait for a login included.
    all: usize,
}

/// How many tokens children have got from the broker.
fn tokens(httpd: &Httpd) -> u64 {
    let text = httpd.get("/metrics").unwrap().text();
    let count = |name: &str| -> u64 {
        let line = text.lines().find_map(|l| l.strip_prefix(&format!("afsweb_broker_{name}_total ")));
        line.expect("a counter of that name").parse().unwrap()
    };
    count("granted") + count("cached")
}

/// Keys that this process may see, without what changes by itself.
fn shown_keys() -> BTreeSet<String> {
    let text = std::fs::read_to_string("/proc/keys").unwrap();
    let columns = |line: &str| {
        let all: Vec<&str> = line.split_whitespace().collect();
        [all[0], all[4], all[5], &all[7..].join(" ")].join(" ")
    };
    text.lines().map(columns).collect()
}

/// Waits until every request and every login is over, and looks.
fn moment(httpd: &Httpd) -> Moment {
    assert!(httpd::rest(&httpd.children()), "children come to rest");
    // All remembered logins end, and a thread of each child looks for them every ten seconds.
    std::thread::sleep(Duration::from_secs(expiration_s() + 12));
    if afs_client() != "userspace" {
        // kAFS's keys are counted for as long as cached inodes know them.
        std::fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
        std::thread::sleep(Duration::from_secs(2));
    }
    let mut named = vec![("parent".to_owned(), httpd.pid())];
    named.extend(httpd.children().into_iter().enumerate().map(|(n, pid)| (format!("child {}", n + 1), pid)));
    named.push(("nanny".to_owned(), nanny_of(httpd).unwrap()));
    named.push(("broker".to_owned(), broker_of(httpd).unwrap()));
    let look = |(name, pid): (String, u32)| (name, pid, footprint::of(pid).unwrap());
    Moment {
        processes: named.into_iter().map(look).collect(),
        keys: footprint::keys().unwrap(),
        shown: shown_keys(),
        tokens: tokens(httpd),
        all: process::descendants_of(httpd.pid()).len(),
    }
}

/// Prints what there was at the start, half-way and at the end, and gives what has grown beyond its bound.
fn compare(moments: &[Moment; 3], requests: u64) -> Vec<String> {
    let [start, half, end] = moments;
    let mut grown = Vec::new();
    report(&format!(
        "{:<10} {:>26} {:>26} {:>26} {:>15} {:>12}",
        "start/half/end", "RSS KiB", "PSS KiB", "own KiB", "descriptors", "threads"
    ));
    let server = end.processes.iter().filter(|(name, _, _)| name.starts_with("child")).count() as u64;
    for (((name, pid, a), (_, _, b)), (_, last, c)) in
        start.processes.iter().zip(&half.processes).zip(&end.processes)
    {
        if pid != last {
            grown.push(format!("{name}: another process"));
        }
        let three = |of: fn(&Footprint) -> u64| [of(a), of(b), of(c)].map(|n| n.to_string()).join(" ");
        report(&format!(
            "{name:<10} {:>30} {:>26} {:>26} {:>15} {:>12}",
            three(|f| f.rss_kib),
            three(|f| f.pss_kib),
            three(|f| f.own_kib),
            three(|f| f.descriptors),
            three(|f| f.threads)
        ));
        // Of the second half alone: what is filled once is full by then, a leak goes on.
        let share = if name.starts_with("child") { requests / 2 / server } else { requests / 2 };
        let bound = NOISE_KIB + share * BYTES_PER_REQUEST / 1_024;
        if c.own_kib > b.own_kib + bound {
            grown.push(format!("{name}: memory {} to {} KiB, over {bound} more", b.own_kib, c.own_kib));
        }
        if c.descriptors > a.descriptors {
            grown.push(format!("{name}: descriptors {} to {}", a.descriptors, c.descriptors));
        }
        if c.threads > a.threads {
            grown.push(format!("{name}: threads {} to {}", a.threads, c.threads));
        }
    }
    report(&format!("processes below httpd: {} {} {}", start.all, half.all, end.all));
    if end.all > start.all {
        grown.push(format!("processes: {} to {}", start.all, end.all));
    }
    for uid in start.keys.keys().chain(end.keys.keys()).collect::<BTreeSet<_>>() {
        let of = |m: &Moment| m.keys.get(uid).copied().unwrap_or(0);
        report(&format!("keys of uid {uid}: {} {} {}", of(start), of(half), of(end)));
        // kAFS's tokens are httpd's user's keys, of which the kernel goes on counting some; never more than there were.
        let bearable =
            if afs_client() == "kafs" && *uid == HTTPD_UID { end.tokens - start.tokens } else { 0 };
        if afs_client() != "userspace" && of(end) > of(start) + bearable {
            for key in end.shown.difference(&start.shown) {
                report(&format!("new key: {key}"));
            }
            grown.push(format!("keys of uid {uid}: {} to {}", of(start), of(end)));
        }
    }
    grown
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn nothing_is_left_of_requests_logins_failures_and_aborts() {
    let world = world();
    let slow = u64::from(wait::slow_factor());
    let (warm_up, requests) = if long() { (10_000, 100_000) } else { (1_500 / slow, 3_000 / slow) };
    let crowd = crowd::make(&world, FIRST_CELL, 40).unwrap();
    let people: Names = crowd.into_iter().map(|p| (p.name, p.password)).collect();
    let more = format!(
        "SetAFSCacheExpiration {}\nSetAFSLoginLimit 1000 60000 60\nMaxConnectionsPerChild 0\n\
         <Location /afs/{FIRST_CELL}/write>\nDav afs\n</Location>\n\
         <Location /server-status>\nSetHandler server-status\nRequire all granted\n</Location>\n\
         <Location /metrics>\nSetHandler afs-metrics\nRequire all granted\n</Location>\n",
        expiration_s()
    );
    let httpd = start_with(&world, &more, |mut o| {
        o.modules = vec!["dav".into()];
        // The same children from start to end.
        o.sizes = Some(match o.mpm {
            Mpm::Prefork => "StartServers 8\nMinSpareServers 1\nMaxSpareServers 8\nServerLimit 8\nMaxRequestWorkers 8\n".to_owned(),
            _ => "StartServers 2\nServerLimit 2\nThreadsPerChild 16\nThreadLimit 16\nMinSpareThreads 1\nMaxSpareThreads 32\nMaxRequestWorkers 32\n".to_owned(),
        });
        // What is refused is logged.
        o.log_level = "warn".into();
        o
    });
    let tally = Tally::default();
    let began = Instant::now();
    load(&httpd, &people, 1, warm_up, &tally);
    let start = moment(&httpd);
    load(&httpd, &people, 2, requests / 2, &tally);
    let half = moment(&httpd);
    load(&httpd, &people, 3, requests / 2, &tally);
    let end = moment(&httpd);
    report(&format!(
        "{requests} requests after {warm_up} in {:.0?}, {} broken off, by status {:?}",
        began.elapsed(),
        tally.broken_off.load(Ordering::Relaxed),
        tally.by_status.lock().unwrap()
    ));
    let grown = compare(&[start, half, end], requests);
    let unavailable = tally.by_status.lock().unwrap().get(&503).copied().unwrap_or(0);
    // How much an emulated machine bears is not the subject.
    let bearable = if slow > 1 { requests / 4 } else { requests / 500 };
    assert!(unavailable <= bearable, "{unavailable} times 503");
    let status = httpd.get("/server-status?auto").unwrap().text();
    let busy = status.lines().find_map(|l| l.strip_prefix("BusyWorkers: ")).unwrap().to_owned();
    assert_eq!(busy, "1", "the one who answers this");
    assert_eq!(grown, Vec::<String>::new());
    httpd.stop(&[]).unwrap();
}
