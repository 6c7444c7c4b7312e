//! A volume is released to its read-only copies while visitors read them.
//!
//! What AFS gives, and so we do: each file is of one version, never of two; whoever asks after the release has ended gets the
//! new one, from every child, without a restart; nobody gets an error, except where kAFS forgets a new file (docs/facts.md).
//! While it goes on, copies on two servers are changed one after the other, so that two requests of one visitor may get
//! different versions. docs/admin.md says what a publisher does about that; the test of what is pointed to does it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::load::{End, Faults};
use common::{afs_client, answer_limit, first, long, password, report, start, world};
use integration::http::{Connection, Request};
use integration::httpd::Httpd;
use integration::seen;
use integration::wait;
use integration::world::{FIRST_CELL, World};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The volume, and where it can be written and its copies be read.
const VOLUME: &str = "vol.rel";
const WRITABLE: &str = "release-rw";
const RELEASED: &str = "released";
/// Name, and lines of 16 bytes: one that fits into a packet, one of a chunk of the cache, one of several of our reads.
const FILES: [(&str, usize); 3] = [("version.txt", 4), ("page.html", 3_000), ("large.txt", 40_000)];
/// Who reads.
const VISITORS: [Option<&str>; 6] = [Some("alice"), None, Some("bob"), Some("carol"), None, Some("dave")];

/// A file of a version: it says so in every line.
fn text(version: u64, lines: usize) -> String {
    format!("version {version:07}\n").repeat(lines)
}

/// The version that a body is of, or of which it is a beginning; `None`: of none, or of two.
fn version_of(body: &str) -> Option<u64> {
    let line = body.get(..16)?;
    let version = line.strip_prefix("version ")?.trim_end().parse().ok()?;
    let whole = body.len() / 16 * 16;
    let same = body.as_bytes()[..whole].chunks(16).all(|l| l == line.as_bytes());
    (same && line.starts_with(&body[whole..])).then_some(version)
}

#[test]
fn a_body_of_two_versions_is_of_none() {
    assert_eq!(version_of(&text(7, 3)), Some(7));
    assert_eq!(version_of(&text(7, 3)[..40]), Some(7));
    assert_eq!(version_of(&(text(7, 3) + &text(8, 1))), None);
    assert_eq!(version_of(&(text(7, 3) + "version 0000008")), None);
    assert_eq!(version_of("<html>"), None);
}

/// Writes all files anew.
fn write(version: u64) {
    for (name, lines) in FILES {
        seen::change(FIRST_CELL, &format!("{WRITABLE}/{name}"), &text(version, lines)).unwrap();
    }
}

/// Has the cell make its copies anew: how long that took.
fn release(world: &World) -> Duration {
    let begin = Instant::now();
    world.cell(FIRST_CELL).unwrap().machines[0].run("vos", ["release", VOLUME, "-localauth"]).unwrap();
    begin.elapsed()
}

/// Writes the files of a version, and releases them.
fn publish(world: &World, version: u64) -> Duration {
    write(version);
    release(world)
}

/// What is released now; the first one here makes copies on both servers. A release takes vos five seconds.
fn released(world: &World) -> u64 {
    let cell = world.cell(FIRST_CELL).unwrap();
    let body = seen::text(FIRST_CELL, &format!("{WRITABLE}/version.txt")).unwrap_or_default();
    let version = version_of(&body);
    if version.is_none() {
        for machine in &cell.machines {
            let site = machine.address.to_string();
            cell.machines[0].run("vos", ["addsite", &site, "a", VOLUME, "-localauth"]).unwrap();
        }
        publish(world, 1);
    }
    version.unwrap_or(1)
}

/// A request for a released file.
fn ask(world: &World, who: Option<&str>, name: &str) -> Request {
    let request = Request::get(&first(&format!("{RELEASED}/{name}")));
    match who {
        Some(user) => request.login(user, password(world.cell(FIRST_CELL).unwrap(), user)),
        None => request,
    }
}

/// What visitors got.
#[derive(Default)]
struct Tally {
    right: AtomicU64,
    /// Answers that were broken off since their file was changed in the middle; each by file.
    broken_off: Mutex<BTreeMap<&'static str, u64>>,
    /// Requests whose answer was older than that of the same visitor before.
    backwards: AtomicU64,
    faults: Faults,
}

/// Where a body is of two versions, and whether it is the kernel's client that shows it so: what this process reads by itself,
/// without what the kernel keeps of files, and without what the client does.
fn looked_at(name: &str, body: &str) -> String {
    let lines: Vec<&str> = body.lines().collect();
    let mut runs: Vec<String> = Vec::new();
    for (at, pair) in lines.windows(2).enumerate() {
        if pair[0] != pair[1] {
            runs.push(format!("{} ends at byte {}", pair[0], (at + 1) * 16));
        }
    }
    let mut text = runs.join(", ");
    if afs_client() != "userspace" {
        let path = first(&format!("{RELEASED}/{name}"));
        let read = || std::fs::read_to_string(&path).map(|text| version_of(&text));
        let with_cache = read();
        let _ = std::fs::write("/proc/sys/vm/drop_caches", "1");
        text += &format!("; the client itself: {with_cache:?}, without cached pages: {:?}", read());
        if afs_client() == "openafs" {
            let _ = std::process::Command::new("fs").args(["flushvolume", &path]).status();
            text += &format!(", after fs flushvolume: {:?}", read());
        }
    }
    text
}

/// One who reads one file after the other; `versions`: the least and the largest that there can be.
fn read(
    world: &World,
    httpd: &Httpd,
    n: usize,
    versions: (&AtomicU64, &AtomicU64),
    stop: &AtomicBool,
    tally: &Tally,
) {
    let mut connection: Option<Connection> = None;
    let mut last = 0;
    for turn in n.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let (name, lines) = FILES[turn % FILES.len()];
        let request = ask(world, VISITORS[(n + turn / FILES.len()) % VISITORS.len()], name);
        let least = versions.0.load(Ordering::SeqCst);
        let opened =
            connection.take().map_or_else(|| Connection::open_within(httpd.address(), answer_limit()), Ok);
        let answer = opened.and_then(|mut c| Ok((c.send(&request)?, c)));
        let largest = versions.1.load(Ordering::SeqCst);
        let (r, c) = match answer {
            Ok(answer) => answer,
            Err(e) => {
                tally.faults.add(format!("{name}: {e:#}"));
                continue;
            }
        };
        let body = r.text();
        match version_of(&body) {
            Some(version) if r.status == 200 && (least..=largest).contains(&version) => {
                tally.backwards.fetch_add(u64::from(version < last), Ordering::Relaxed);
                last = version;
                if r.complete && body.len() == 16 * lines {
                    tally.right.fetch_add(1, Ordering::Relaxed);
                    connection = Some(c);
                } else if lines * 16 > 256 * 1024 {
                    *tally.broken_off.lock().unwrap().entry(name).or_default() += 1;
                } else {
                    tally.faults.add(format!("{name}: {} bytes instead of {}", body.len(), 16 * lines));
                }
            }
            version => {
                let seen = if r.status == 200 { looked_at(name, &body) } else { String::new() };
                tally.faults.add(format!(
                    "{name}: {} of version {version:?}, {least} to {largest} are right; {seen}",
                    r.status
                ));
            }
        }
    }
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn each_file_is_of_one_version_while_its_volume_is_released_and_of_the_new_one_afterwards() {
    let world = world();
    let releases = if long() { 30 } else { 2 };
    let base = released(&world);
    let httpd = start(&world, "");
    for who in VISITORS {
        assert_eq!(httpd.request(&ask(&world, who, "version.txt")).unwrap().status, 200);
    }
    let children = httpd.children();
    let (stop, tally) = (AtomicBool::new(false), Tally::default());
    let (least, largest) = (AtomicU64::new(base), AtomicU64::new(base));
    let mut took = Vec::new();
    let mut until_new = Vec::new();
    std::thread::scope(|s| {
        let end = End(&stop);
        for n in 0..8 {
            let (world, httpd, versions, stop, tally) = (&world, &httpd, (&least, &largest), &stop, &tally);
            s.spawn(move || read(world, httpd, n, versions, stop, tally));
        }
        for version in base + 1..=base + releases {
            largest.store(version, Ordering::SeqCst);
            took.push(publish(&world, version));
            let ended = Instant::now();
            // A file server tells its clients at once; what a child has been told is what its next request finds.
            let newest = |who: Option<&str>| {
                let r = httpd.request(&ask(&world, who, "version.txt")).unwrap();
                r.status == 200 && version_of(&r.text()) == Some(version)
            };
            let all = wait::until_true("the new version for all", Duration::from_secs(10), || {
                Ok((0..16).all(|n| newest(VISITORS[n % VISITORS.len()])))
            });
            until_new.push(ended.elapsed());
            std::thread::sleep(Duration::from_millis(500));
            least.store(version, Ordering::SeqCst);
            if all.is_err() || !tally.faults.are_none() {
                break;
            }
            // As long again nobody gets anything older.
            std::thread::sleep(Duration::from_millis(700));
        }
        drop(end);
    });
    report(&format!(
        "{} releases to two servers of {:.1?}; {} whole answers, each of one version; broken off: {:?}; {} older than the one before (during a release); all had the new one {:.1?} after its end",
        took.len(),
        took.iter().max().unwrap(),
        tally.right.load(Ordering::Relaxed),
        tally.broken_off.lock().unwrap(),
        tally.backwards.load(Ordering::Relaxed),
        until_new.iter().max().unwrap(),
    ));
    tally.faults.must_be_none();
    assert_eq!(took.len() as u64, releases);
    let now = httpd.children();
    assert!(children.iter().all(|c| now.contains(c)), "the same children all the time: {children:?} {now:?}");
    assert!(tally.right.load(Ordering::Relaxed) > 100, "too little was served to prove anything");
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn files_that_belong_together_do_so_for_whoever_comes_after_the_release() {
    let world = world();
    let base = released(&world);
    let httpd = start(&world, "");
    let version = base + 1;
    {
        write(version);
        // What is not released is nobody's.
        for (name, _) in FILES {
            let r = httpd.request(&ask(&world, Some("alice"), name)).unwrap();
            assert_eq!((r.status, version_of(&r.text())), (200, Some(version - 1)), "{name}");
        }
        release(&world);
        wait::until_true("the new version", Duration::from_secs(10), || {
            Ok(version_of(&httpd.request(&ask(&world, None, "version.txt")).unwrap().text()) == Some(version))
        })
        .unwrap();
        // From now on the whole set is of one version for each visitor, in every child, and stays so.
        for round in 0..32 {
            let who = VISITORS[round % VISITORS.len()];
            for (name, _) in FILES {
                let r = httpd.request(&ask(&world, who, name)).unwrap();
                let text = r.text();
                let seen = (r.status, version_of(&text));
                assert_eq!(seen, (200, Some(version)), "{who:?}: {name}: {}", looked_at(name, &text));
            }
        }
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn who_releases_what_is_pointed_to_before_what_points_to_it_breaks_no_link_meanwhile() {
    let world = world();
    released(&world);
    let put = |path: String, text: &str| {
        seen::change(FIRST_CELL, &format!("{WRITABLE}/{path}"), text).unwrap();
    };
    let mut version = 1;
    put(format!("part-{version}.txt"), &text(version, 8));
    put("pointer.txt".to_owned(), &text(version, 1));
    release(&world);
    let httpd = start(&world, "");
    let stop = AtomicBool::new(false);
    let (followed, faults) = (AtomicU64::new(0), Faults::default());
    // With kAFS: versions whose part it takes for absent, and how often it said so.
    let absent = Mutex::new(BTreeMap::<u64, u64>::new());
    std::thread::scope(|s| {
        let end = End(&stop);
        for who in VISITORS {
            let (world, httpd, stop, followed, faults) = (&world, &httpd, &stop, &followed, &faults);
            let absent = &absent;
            s.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let get = |name: &str| httpd.request(&ask(world, who, name)).unwrap();
                    let pointer = get("pointer.txt");
                    let Some(version) = version_of(&pointer.text()).filter(|_| pointer.status == 200) else {
                        faults.add(format!("pointer: {}", pointer.status));
                        return;
                    };
                    let part = get(&format!("part-{version}.txt"));
                    if part.status == 503 && afs_client() == "kafs" {
                        *absent.lock().unwrap().entry(version).or_default() += 1;
                        continue;
                    }
                    if part.status != 200 || part.text() != text(version, 8) {
                        faults.add(format!("{version}: {}", part.status));
                        return;
                    }
                    followed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..if long() { 20 } else { 1 } {
            version += 1;
            put(format!("part-{version}.txt"), &text(version, 8));
            release(&world);
            put("pointer.txt".to_owned(), &text(version, 1));
            release(&world);
        }
        drop(end);
    });
    report(&format!("{} pointers followed", followed.load(Ordering::Relaxed)));
    let absent = absent.into_inner().unwrap();
    if !absent.is_empty() {
        report(&format!("by version, how often kAFS took its part for absent (docs/facts.md): {absent:?}"));
    }
    // Any other 503 is a fault.
    let log = std::fs::read_to_string(httpd.error_log()).unwrap();
    for (version, answers) in absent {
        let line = format!("/part-{version}.txt: afs-unavailable (errno {})", libc::EAGAIN);
        assert_eq!(log.lines().filter(|l| l.contains(&line)).count() as u64, answers, "{line}");
    }
    faults.must_be_none();
    assert!(followed.load(Ordering::Relaxed) > 30, "too little was served to prove anything");
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn who_reads_slowly_while_a_file_is_released_gets_no_byte_of_the_new_one() {
    let world = world();
    let base = released(&world);
    let lines = (12 << 20) / 16;
    let put =
        |version| seen::change(FIRST_CELL, &format!("{WRITABLE}/slow.txt"), &text(version, lines)).unwrap();
    put(base);
    release(&world);
    let httpd = start(&world, "");
    let mut connections = Vec::new();
    for who in VISITORS {
        let mut c = Connection::open(httpd.address()).unwrap();
        c.send_only(&ask(&world, who, "slow.txt")).unwrap();
        connections.push(c);
    }
    // They have the beginning, and the rest waits for them.
    std::thread::sleep(Duration::from_millis(500) * wait::slow_factor());
    put(base + 1);
    release(&world);
    wait::until_true("the new version", Duration::from_secs(10), || {
        let r = httpd.request(&ask(&world, None, "slow.txt").header("Range", "bytes=0-15")).unwrap();
        Ok(version_of(&r.text()) == Some(base + 1))
    })
    .unwrap();
    let mut whole = 0;
    for mut c in connections {
        let r = c.receive(false).unwrap();
        assert_eq!((r.status, version_of(&r.text())), (200, Some(base)), "{} bytes", r.body.len());
        whole += u32::from(r.complete);
    }
    report(&format!("{whole} of {} got the whole old file, the others a beginning of it", VISITORS.len()));
    httpd.stop(&[]).unwrap();
}
