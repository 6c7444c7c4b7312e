//! Restarts, replaced children and replaced programs under load: nobody is asked to log in again, nothing is left over.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::installed::{Installed, maps_present, runs_present};
use common::uploads;
use common::visits::{
    PAGE, SLOW, WHO, all_processes, descriptors, logins, many_workers, start_wide, under_load,
    under_writing_load, writable,
};
use common::{
    broker_of, first, first_line, get_as, kaserver, long, nanny_of, password, report, start_with, world,
};
use integration::content::{owner_file, owner_line, pattern};
use integration::crowd;
use integration::http::{Connection, Request, base64};
use integration::httpd::{Httpd, Mpm};
use integration::process::signal_pid;
use integration::wait;
use integration::world::FIRST_CELL;
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Those who upload something over a restart.
const UPLOADS: usize = 6;

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn graceful_restarts_under_load_log_nobody_out_and_answer_nothing_with_5xx() {
    let world = world();
    let slow = usize::try_from(wait::slow_factor()).unwrap();
    let (restarts, visitors) = if long() { (50, 200) } else { (6, 60 / slow) };
    let people = crowd::make(&world, FIRST_CELL, visitors).unwrap();
    let before = all_processes();
    // Fifty restarts of a slow machine take longer than a login is remembered otherwise.
    let mut httpd = start_wide(&world, &format!("SetAFSCacheExpiration 3600\n{}", writable()));
    kaserver(&world, FIRST_CELL, "stats reset");
    // Some of them upload something at the same time, which begins before a restart and ends after it.
    let uploaders = &people[..UPLOADS.min(people.len())];
    let mut ours = None;
    let mut fds = (0, 0, 0);
    let began = Instant::now();
    let tally = under_writing_load(&mut httpd, &people, |httpd, load| {
        load.all_served();
        let (nanny, broker) = (nanny_of(httpd).unwrap(), broker_of(httpd).unwrap());
        ours = Some((nanny, broker));
        for round in 0..restarts {
            uploads::during(httpd.address(), uploaders, round, || {
                httpd.graceful().unwrap();
                load.all_served();
            });
            if round == 0 {
                // The first one is the first to read the configuration again.
                fds = (descriptors(httpd.pid()), descriptors(nanny), descriptors(broker));
            }
        }
    });
    let count = |n: &AtomicU32| n.load(Ordering::Relaxed);
    let asked = logins(&world);
    report(&format!(
        "{restarts} graceful restarts under {visitors} logged-in visitors in {:.0?}: {} answers, each right and his own, \
         {} of them that a file is stored, and {} uploads over a restart; \
         0 asked to log in again, 0 answers 5xx; {asked} logins at the cell; {} kept connections closed; \
         {} took over {SLOW:?}, slowest {} ms",
        began.elapsed(),
        count(&tally.right),
        count(&tally.stored),
        restarts * uploaders.len(),
        count(&tally.kept_closed),
        count(&tally.slow),
        count(&tally.slowest_ms)
    ));
    assert_eq!(asked, people.len() as u64, "one login each, before the first restart");
    let (nanny, broker) = ours.unwrap();
    assert_eq!((nanny_of(&httpd), broker_of(&httpd)), (Some(nanny), Some(broker)), "nanny and broker stay");
    wait::until_true("as many descriptors as before", Duration::from_secs(20), || {
        let now = (descriptors(httpd.pid()), descriptors(nanny), descriptors(broker));
        Ok(now.0 <= fds.0 && now.1 <= fds.1 && now.2 <= fds.2)
    })
    .unwrap();
    httpd.stop(&["long lost child"]).unwrap();
    assert_eq!(all_processes(), before, "no orphans");
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_graceful_stop_lets_requests_under_way_end_and_then_ends_all() {
    let world = world();
    let before = all_processes();
    // For all that a slow machine may need to read the large answer.
    let httpd = start_wide(&world, &format!("GracefulShutdownTimeout {}", 15 * wait::slow_factor()));
    let cell = world.cell(FIRST_CELL).unwrap();
    assert_eq!(get_as(&world, &httpd, &first(&owner_file("alice")), "alice").status, 200);
    // One whose answer is under way, and one who has yet to say who he is and was never here before.
    let big = first("alice-sizes/12m.bin");
    let mut reads = Connection::open(httpd.address()).unwrap();
    reads.send_only(&Request::get(&big).login("alice", password(cell, "alice"))).unwrap();
    let mut head = [0; 4096];
    reads.socket().read_exact(&mut head).unwrap();
    let mut asks = Connection::open(httpd.address()).unwrap();
    asks.send_raw(format!("GET {} HTTP/1.1\r\nHost: localhost\r\n", first(&owner_file("bob"))).as_bytes())
        .unwrap();
    std::thread::sleep(Duration::from_millis(300) * wait::slow_factor());
    httpd.begin_graceful_stop().unwrap();
    wait::until_true("nobody listens", Duration::from_secs(10), || {
        Ok(std::net::TcpStream::connect(httpd.address()).is_err())
    })
    .unwrap();
    let secret = base64(format!("bob:{}", password(cell, "bob")).as_bytes());
    asks.send_raw(format!("Authorization: Basic {secret}\r\n\r\n").as_bytes()).unwrap();
    let r = asks.receive(false).unwrap();
    assert_eq!((r.status, first_line(&r)), (200, owner_line("bob", FIRST_CELL).trim_end().to_owned()));
    let mut rest = Vec::new();
    let wanted = pattern(0, 12 << 20);
    let head_len = head.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let have = head.len() - head_len;
    rest.resize(wanted.len() - have, 0);
    reads.socket().read_exact(&mut rest).unwrap();
    assert!(wanted.starts_with(&head[head_len..]) && wanted.ends_with(&rest), "another body");
    drop((asks, reads));
    httpd.finish_graceful_stop(&[]).unwrap();
    assert_eq!(all_processes(), before, "no orphans");
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn children_that_are_replaced_all_the_time_cost_no_login_and_no_descriptor() {
    let world = world();
    let slow = wait::slow_factor();
    let people = crowd::make(&world, FIRST_CELL, 10).unwrap();
    let before = all_processes();
    let more = format!("{WHO}{}MaxConnectionsPerChild 10", writable());
    let mut httpd = start_with(&world, &more, |mut o| {
        o.modules.push("dav".into());
        if o.mpm != Mpm::Prefork {
            o.sizes = Some(many_workers(o.mpm));
        }
        o
    });
    kaserver(&world, FIRST_CELL, "stats reset");
    let mut seen = BTreeSet::new();
    let wanted = if long() { 400 } else { 40 / usize::try_from(slow).unwrap() };
    let mut fds = (0, 0);
    let tally = under_writing_load(&mut httpd, &people, |httpd, load| {
        load.all_served();
        fds = (descriptors(httpd.pid()), descriptors(broker_of(httpd).unwrap()));
        let initial: BTreeSet<u32> = httpd.children().into_iter().collect();
        wait::until_true("many children", Duration::from_secs(300), || {
            seen.extend(httpd.children());
            load.tally.faults.must_be_none();
            Ok(seen.difference(&initial).count() >= wanted)
        })
        .unwrap();
        load.all_served();
    });
    report(&format!(
        "{} children in turn, {} answers, {} logins at the cell",
        seen.len(),
        tally.right.load(Ordering::Relaxed),
        logins(&world)
    ));
    assert_eq!(logins(&world), people.len() as u64);
    wait::until_true("as many descriptors as before", Duration::from_secs(20), || {
        let now = (descriptors(httpd.pid()), descriptors(broker_of(&httpd).unwrap()));
        Ok(now.0 <= fds.0 && now.1 <= fds.1)
    })
    .unwrap();
    httpd.stop(&[]).unwrap();
    assert_eq!(all_processes(), before, "no orphans");
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn programs_that_are_replaced_under_a_living_broker_cost_no_login() {
    let world = world();
    let people = crowd::make(&world, FIRST_CELL, 10).unwrap();
    let before = all_processes();
    let (installed, world) = Installed::new(&world);
    let (module, weblog) = (world.programs.module.clone().unwrap(), world.programs.weblog.clone().unwrap());
    let starter = world.programs.weblog_starter.clone().unwrap();
    let mut httpd = start_wide(&world, "");
    kaserver(&world, FIRST_CELL, "stats reset");
    let (nanny, broker) = wait::until("nanny and broker", Duration::from_secs(20), || {
        Ok(nanny_of(&httpd).zip(broker_of(&httpd)))
    })
    .unwrap();
    let mut fds = 0;
    under_load(&mut httpd, &people, |httpd, load| {
        load.all_served();
        httpd.graceful().unwrap();
        load.all_served();
        fds = descriptors(httpd.pid());
        for _ in 0..3 {
            installed.replace_all();
            load.all_served();
            httpd.graceful().unwrap();
            load.all_served();
        }
    });
    assert_eq!(logins(&world), people.len() as u64, "no login was lost");
    assert_eq!((nanny_of(&httpd), broker_of(&httpd)), (Some(nanny), Some(broker)), "nanny and broker go on");
    assert!(!runs_present(broker, &weblog), "as what they were");
    wait::until_true("children with the present module", Duration::from_secs(20), || {
        Ok(httpd.children().into_iter().all(|c| maps_present(c, &module)))
    })
    .unwrap();
    wait::until_true("as many descriptors as before", Duration::from_secs(20), || {
        Ok(descriptors(httpd.pid()) <= fds)
    })
    .unwrap();
    // Authenticators are the same program as their broker, whatever is installed.
    let alice = || get_as(&world, &httpd, &first(&owner_file("alice")), "alice");
    assert_eq!(first_line(&alice()), owner_line("alice", FIRST_CELL).trim_end());
    // What is started anew is what is there now.
    signal_pid(broker, Signal::KILL).unwrap();
    let runs = |who: fn(&Httpd) -> Option<u32>, old: u32, program: &Path| {
        wait::until_true("another one", Duration::from_secs(20), || {
            Ok(who(&httpd).is_some_and(|pid| pid != old && runs_present(pid, program)))
        })
        .unwrap();
        wait::until_true("logins", Duration::from_secs(20), || Ok(alice().status == 200)).unwrap();
    };
    runs(broker_of, broker, &weblog);
    signal_pid(nanny, Signal::KILL).unwrap();
    runs(nanny_of, nanny, &starter);
    httpd.stop(&[]).unwrap();
    assert_eq!(all_processes(), before, "no orphans");
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn expirations_that_a_graceful_restart_changes_count_from_then_on() {
    let world = world();
    let mut httpd = start_wide(&world, "SetAFSCacheExpiration 300");
    kaserver(&world, FIRST_CELL, "stats reset");
    let address = httpd.address();
    let alice = Request::get(&first(PAGE)).login("alice", password(world.cell(FIRST_CELL).unwrap(), "alice"));
    let visit = || assert_eq!(integration::http::request(address, &alice).unwrap().status, 200);
    let mut set = |expiration: u64| {
        httpd
            .rewrite(|t| {
                let line = t.lines().find(|l| l.starts_with("SetAFSCacheExpiration")).unwrap();
                t.replace(line, &format!("SetAFSCacheExpiration {expiration}"))
            })
            .unwrap();
        httpd.graceful().unwrap();
    };
    visit();
    std::thread::sleep(Duration::from_millis(1500));
    visit();
    assert_eq!(logins(&world), 1);
    set(1);
    // The broker gets a configuration a moment after httpd has taken it.
    wait::until_true("logins that are forgotten", Duration::from_secs(30), || {
        visit();
        Ok(logins(&world) >= 3)
    })
    .unwrap();
    set(300);
    wait::until_true("logins that are kept", Duration::from_secs(30), || {
        visit();
        let before = logins(&world);
        std::thread::sleep(Duration::from_millis(1500));
        visit();
        Ok(logins(&world) == before)
    })
    .unwrap();
    httpd.stop(&[]).unwrap();
}
