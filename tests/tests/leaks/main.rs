//! Many requests of all kinds, most of which fail or are broken off: no process of ours or of httpd's keeps anything of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

#[path = "../common/mod.rs"]
mod common;
mod mix;

use common::metrics;
use common::programs::{self, program};
use common::{
    HTTPD_UID, afs_client, afs_config_without_methods, broker_of, long, nanny_of, report, start_with, world,
};
use integration::crowd;
use integration::footprint::{self, Footprint};
use integration::httpd::{self, Httpd, Mpm};
use integration::process;
use integration::wait;
use integration::world::{FIRST_CELL, SECOND_CELL};
use mix::{Client, Names, People, Place, Tally, clients};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Seconds for which logins are remembered: most visitors log in again and again.
fn expiration_s() -> u64 {
    5 * u64::from(wait::slow_factor())
}

/// Each ends one of the PAGs that a kernel's client has, so there are few, and SetAFSPags is enough for them and the rest.
const PROGRAMS_OF_VISITORS: u64 = 6;
const PAGS: u32 = 64;
/// What may be left of a request, bytes: less than anything that is kept for one (a path, a login, a PAG of 262 KiB).
const BYTES_PER_REQUEST: u64 = 64;
/// What an allocator may add to a process without a leak, KiB: a step of an arena for some of its threads, and pages that
/// are half used.
const NOISE_KIB: u64 = 1_536;

/// The same in a guest, twice as much: after its few requests some threads have hardly begun to fill their arenas (children have had
/// from 7 to 25 MiB at the end). A PAG that is kept for each of them would be ten times that.
fn noise_kib() -> u64 {
    NOISE_KIB * u64::from(wait::slow_factor().min(2))
}

/// All clients, until so many requests are done.
fn load(place: &Place<'_>, seed: u64, requests: u64) {
    let tally = place.tally;
    let until = tally.done.load(Ordering::Relaxed) + requests;
    tally.programs_left.store(PROGRAMS_OF_VISITORS, Ordering::Relaxed);
    std::thread::scope(|s| {
        for n in 1..=clients() {
            s.spawn(move || Client::new(place, seed * clients() + n, n == 1).ask_until(until));
        }
    });
    // Each client has counted one that it did not do.
    tally.done.fetch_sub(clients(), Ordering::Relaxed);
    if !tally.faults.are_none() {
        let log = std::fs::read_to_string(place.httpd.error_log()).unwrap_or_default();
        // Below what is not there nothing can be made.
        for line in log.lines().filter(|l| l.contains("AFS0702") && !l.contains("/none/sub:")).take(20) {
            report(line);
        }
    }
    tally.faults.must_be_none();
}

/// What there is at a moment of rest.
struct Moment {
    processes: Vec<(String, u32, Footprint)>,
    keys: BTreeMap<u32, u64>,
    pags: Pags,
    /// Tokens that children have got from the broker, since it started.
    tokens: u64,
    /// What /proc/keys shows: number, rights, owner, kind, name.
    shown: BTreeSet<String>,
    /// All processes below httpd, authenticators that wait for a login included.
    all: usize,
}

/// The PAGs of all children, as their metrics tell.
struct Pags {
    made: u64,
    in_use: u64,
    tainted: u64,
    refused: u64,
    /// Logins that children remember.
    remembered: u64,
}

impl Pags {
    fn of(httpd: &Httpd) -> Self {
        let [made, in_use, tainted, refused, remembered] = metrics::all(
            httpd,
            ["pags_made", "pags_in_use", "pags_tainted", "pags_refused_total", "child_cache_entries"],
        );
        Self { made, in_use, tainted, refused, remembered }
    }
}

/// How many tokens children have got from the broker.
fn tokens(httpd: &Httpd) -> u64 {
    metrics::all(httpd, ["broker_granted_total", "broker_cached_total"]).iter().sum()
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
        pags: Pags::of(httpd),
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
        let bound = noise_kib() + share * BYTES_PER_REQUEST / 1_024;
        // Half-way some may just have been given back; what goes on is more than at the start, too.
        let before = a.own_kib.max(b.own_kib);
        if c.own_kib > before + bound {
            grown.push(format!("{name}: memory {before} to {} KiB, over {bound} more", c.own_kib));
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

/// Prints the PAGs that there were at the start, half-way and at the end, and says which should not be there.
fn compare_pags(moments: &[Moment; 3], children: u64, programs_of_visitors: u64) -> Vec<String> {
    let three = |of: fn(&Pags) -> u64| moments.each_ref().map(|m| of(&m.pags));
    let (made, in_use, tainted) = (three(|p| p.made), three(|p| p.in_use), three(|p| p.tainted));
    let remembered = three(|p| p.remembered);
    for (what, three) in
        [("in use", in_use), ("made", made), ("not used again", tainted), ("refused", three(|p| p.refused))]
    {
        report(&format!("PAGs {what}: {three:?}"));
    }
    report(&format!("logins that children remember: {remembered:?}"));
    // No login is remembered, so a PAG is nobody's, but for that of nobody's programs in each child.
    let of_nobody = if afs_client() == "userspace" { 0 } else { children };
    let mut wrong = Vec::new();
    if remembered != [0; 3] {
        wrong.push(format!("logins are remembered: {remembered:?}"));
    }
    if in_use.iter().any(|n| *n > of_nobody) {
        wrong.push(format!("PAGs in use: {in_use:?}, over {of_nobody}"));
    }
    if made[2] > made[0] {
        wrong.push(format!("PAGs made: {made:?}"));
    }
    if tainted[2] > programs_of_visitors {
        wrong.push(format!(
            "PAGs that are not used again: {tainted:?}, after {programs_of_visitors} programs"
        ));
    }
    wrong
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn nothing_is_left_of_requests_logins_failures_and_aborts() {
    let world = world();
    let slow = u64::from(wait::slow_factor());
    let (warm_up, requests) = match (long(), slow) {
        // Beside much else the arenas of threads go on filling for some ten thousand requests.
        (true, _) => (40_000, 100_000),
        (false, 1) => (4_000, 3_000),
        (false, _) => (1_500 / slow, 3_000 / slow),
    };
    let crowd = |cell: &str, count: usize, behind: &str| -> Names {
        let people = crowd::make(&world, cell, count).unwrap();
        people.into_iter().map(|p| (p.name + behind, p.password)).collect()
    };
    let people = People {
        first: crowd(FIRST_CELL, 40, ""),
        // The same names, in another cell.
        second: crowd(SECOND_CELL, 10, &format!("@{SECOND_CELL}")),
    };
    program("who", "echo \"user=$REMOTE_USER\"");
    let more = format!(
        "AFSAuthMethod {FIRST_CELL} krb5\nAFSAuthMethod {SECOND_CELL} kaserver\n\
         SetAFSCacheExpiration {}\nSetAFSLoginLimit 1000 60000 60\nSetAFSPags {PAGS}\nMaxConnectionsPerChild 0\n{}{}{}\
         <Location /server-status>\nSetHandler server-status\nRequire all granted\n</Location>\n",
        expiration_s(),
        mix::places(),
        programs::place(),
        metrics::PLACE,
    );
    let httpd = start_with(&world, "", |mut o| {
        // Both methods, not this run's.
        o.afs = Some(afs_config_without_methods(&world, &more));
        o.modules = ["dav", "dav_lock", "cgi"].map(String::from).to_vec();
        if o.mpm != Mpm::Prefork {
            // mod_http2 does not work with prefork. Its threads are the same from start to end.
            o.modules.push("http2".into());
            o.extra.push_str("Protocols h2c http/1.1\nH2MinWorkers 4\nH2MaxWorkers 4\n");
        }
        // The same children from start to end.
        o.sizes = Some(match o.mpm {
            Mpm::Prefork => "StartServers 8\nMinSpareServers 1\nMaxSpareServers 8\nServerLimit 8\nMaxRequestWorkers 8\n".to_owned(),
            _ => "StartServers 2\nServerLimit 2\nThreadsPerChild 16\nThreadLimit 16\nMinSpareThreads 1\nMaxSpareThreads 32\nMaxRequestWorkers 32\n".to_owned(),
        });
        // httpd's own lines would be of most requests; ours tell what AFS said of those that should have been done.
        o.log_level = "warn afs:info".into();
        o
    });
    let tally = Tally::default();
    let mpm = Mpm::from_env().unwrap();
    let place = |warms_up: bool| Place { httpd: &httpd, mpm, people: &people, tally: &tally, warms_up };
    let began = Instant::now();
    load(&place(true), 1, warm_up);
    let place = place(false);
    let start = moment(&httpd);
    load(&place, 2, requests / 2);
    let half = moment(&httpd);
    load(&place, 3, requests / 2);
    let end = moment(&httpd);
    report(&format!(
        "{requests} requests after {warm_up} in {:.0?}, {} broken off, {} kept connections closed, by status {:?}",
        began.elapsed(),
        tally.broken_off.load(Ordering::Relaxed),
        tally.kept_closed.load(Ordering::Relaxed),
        tally.by_status.lock().unwrap()
    ));
    let of = |n: &AtomicU64| n.load(Ordering::Relaxed);
    report(&format!(
        "of them {} trees by WebDAV, {} locks, {} connections of HTTP/2, {} programs as visitors",
        of(&tally.trees),
        of(&tally.locks),
        of(&tally.streams),
        of(&tally.programs_of_visitors)
    ));
    let moments = [start, half, end];
    let mut grown = compare(&moments, requests);
    let children = u64::try_from(httpd.children().len()).unwrap();
    grown.extend(compare_pags(&moments, children, of(&tally.programs_of_visitors)));
    assert!(of(&tally.trees) > 0 && of(&tally.locks) > 0, "nobody wrote a tree");
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
