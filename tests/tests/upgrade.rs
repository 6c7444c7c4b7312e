//! Another release is installed under a living server, whose processes have other versions of what they have in common:
//! every request is answered right, nobody is ever locked out, nothing is left over. Also half of a release, and back.
//!
//! "Another release" is this one, built with the feature `next-version`, which raises all versions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::installed::{Installed, Part, maps_present, runs_present};
use common::visits::{Load, all_processes, descriptors, logins, many_workers, start_wide, under_load};
use common::{
    afs_config, below, first, first_line, get_as, kaserver, nannies_of, nanny_of, password, report,
    start_with, world,
};
use integration::content::{owner_file, owner_line};
use integration::crowd;
use integration::http::{Connection, base64};
use integration::httpd::{Httpd, Mpm, Options, configtest};
use integration::process::signal_pid;
use integration::wait;
use integration::world::{FIRST_CELL, World};
use rustix::process::Signal;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The parent looks every ten seconds what there is to do.
const LOOKS: Duration = Duration::from_secs(60);

/// Where cargo has put the programs of the next release.
fn next() -> PathBuf {
    PathBuf::from(std::env::var_os("AFSWEB_NEXT").expect("AFSWEB_NEXT: run by cargo xtask test"))
}

/// And those of this one.
fn this() -> PathBuf {
    integration::built::directory().unwrap()
}

/// Waits until an httpd has one nanny, with a broker that runs what is installed, and returns both.
fn one_pair(httpd: &Httpd, world: &World) -> (u32, u32) {
    let (starter, weblog) =
        (world.programs.weblog_starter.clone().unwrap(), world.programs.weblog.clone().unwrap());
    wait::until("one nanny, one broker, both as they are installed", LOOKS, || {
        let nannies = nannies_of(httpd);
        let brokers: Vec<u32> = nannies.iter().flat_map(|n| integration::process::children_of(*n)).collect();
        Ok(match (nannies.as_slice(), brokers.as_slice()) {
            (&[nanny], &[broker]) if runs_present(nanny, &starter) && runs_present(broker, &weblog) => {
                Some((nanny, broker))
            }
            _ => None,
        })
    })
    .unwrap()
}

/// This user gets his page. Whom a child has logged in, it knows for a minute.
fn is_served(world: &World, httpd: &Httpd, user: &str) -> bool {
    let r = get_as(world, httpd, &first(&owner_file(user)), user);
    r.status == 200 && first_line(&r) == owner_line(user, FIRST_CELL).trim_end()
}

/// Alice gets her page.
fn alice_is_served(world: &World, httpd: &Httpd) -> bool {
    is_served(world, httpd, "alice")
}

/// What the error log has said of this.
fn said(httpd: &Httpd, text: &str) -> usize {
    fs::read_to_string(httpd.error_log()).unwrap().matches(text).count()
}

/// What configtest says; it must refuse.
fn refused(world: &World) -> String {
    let mut options = Options::new(Mpm::from_env().unwrap());
    options.afs = Some(afs_config(world, ""));
    let out = configtest(world, options).unwrap();
    assert!(!out.status.success(), "{out:?}");
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn an_upgrade_and_a_downgrade_under_load_refuse_nobody_and_leave_nothing_behind() {
    let world = world();
    let people = crowd::make(&world, FIRST_CELL, 10).unwrap();
    let before = all_processes();
    let (installed, world) = Installed::new(&world);
    let module = world.programs.module.clone().unwrap();
    let mut httpd = start_wide(&world, "");
    kaserver(&world, FIRST_CELL, "stats reset");
    let mut fds = 0;
    let mut pair = (0, 0);
    let began = Instant::now();
    let ways = [next(), this(), next()];
    let tally = under_load(&mut httpd, &people, |httpd, load: &Load<'_>| {
        load.all_served();
        httpd.graceful().unwrap();
        load.all_served();
        fds = descriptors(httpd.pid());
        pair = one_pair(httpd, &world);
        for from in &ways {
            installed.install(from, &Part::ALL);
            load.all_served();
            httpd.graceful().unwrap();
            load.all_served();
            let now = one_pair(httpd, &world);
            assert!(now.0 != pair.0 && now.1 != pair.1, "{now:?}, {pair:?}: others");
            pair = now;
            wait::until_true("children with the present module", Duration::from_secs(20), || {
                Ok(httpd.children().into_iter().all(|c| maps_present(c, &module)))
            })
            .unwrap();
            load.all_served();
        }
        // What has changed nothing of what they have in common costs nobody his login.
        let asked = logins(&world);
        installed.replace_all();
        httpd.graceful().unwrap();
        load.all_served();
        assert_eq!((nanny_of(httpd), logins(&world)), (Some(pair.0), asked), "nanny and logins are kept");
    });
    report(&format!(
        "upgrade, downgrade and upgrade in {:.0?}: {} answers, all 200 and each his own; slowest {} ms",
        began.elapsed(),
        tally.right.load(Ordering::Relaxed),
        tally.slowest_ms.load(Ordering::Relaxed)
    ));
    let most = people.len() * (ways.len() + 1);
    assert!(logins(&world) <= most as u64, "{} logins: one for each visitor and broker", logins(&world));
    wait::until_true("as many descriptors as before", LOOKS, || Ok(descriptors(httpd.pid()) <= fds)).unwrap();
    assert!(alice_is_served(&world, &httpd));
    httpd.stop(&["long lost child"]).unwrap();
    assert_eq!(all_processes(), before, "no orphans");
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_request_under_way_during_an_upgrade_is_logged_in_by_the_broker_of_its_own_version() {
    let world = world();
    let before = all_processes();
    let (installed, world) = Installed::new(&world);
    let cell = world.cell(FIRST_CELL).unwrap();
    let mut httpd = start_wide(&world, "");
    assert!(alice_is_served(&world, &httpd));
    let old = one_pair(&httpd, &world);
    // Who has yet to say who he is, and was never here before.
    let mut asks = Connection::open(httpd.address()).unwrap();
    asks.send_raw(format!("GET {} HTTP/1.1\r\nHost: localhost\r\n", first(&owner_file("bob"))).as_bytes())
        .unwrap();
    std::thread::sleep(Duration::from_millis(300) * wait::slow_factor());
    installed.install(&next(), &Part::ALL);
    httpd.graceful().unwrap();
    assert!(alice_is_served(&world, &httpd), "by the new ones");
    assert_eq!(nannies_of(&httpd).len(), 2, "both versions");
    // Longer than the parent takes to look after them.
    std::thread::sleep(Duration::from_secs(12));
    // The old broker is replaced by its own program, whatever is installed by now.
    signal_pid(old.1, Signal::KILL).unwrap();
    wait::until_true("another old broker", Duration::from_secs(20), || {
        let brokers = integration::process::children_of(old.0);
        Ok(matches!(brokers.as_slice(), &[pid] if pid != old.1 && below(pid, "weblog-login").len() >= 4))
    })
    .unwrap();
    let secret = base64(format!("bob:{}", password(cell, "bob")).as_bytes());
    asks.send_raw(format!("Authorization: Basic {secret}\r\n\r\n").as_bytes()).unwrap();
    let r = asks.receive(false).unwrap();
    assert_eq!((r.status, first_line(&r)), (200, owner_line("bob", FIRST_CELL).trim_end().to_owned()));
    drop(asks);
    let new = one_pair(&httpd, &world);
    assert_ne!(new.0, old.0);
    assert_eq!(said(&httpd, "ends: its children have gone"), 1);
    assert!(alice_is_served(&world, &httpd));
    httpd.stop(&["long lost child"]).unwrap();
    assert_eq!(all_processes(), before, "no orphans");
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_daemon_of_mod_cgid_keeps_no_nanny_of_another_release() {
    let world = world();
    let before = all_processes();
    let (installed, world) = Installed::new(&world);
    let mut httpd = start_with(&world, "", |mut o| {
        o.sizes = Some(many_workers(o.mpm));
        o.modules.push("cgid".to_owned());
        o.extra.push_str("ScriptSock cgid.sock\n");
        o
    });
    assert!(alice_is_served(&world, &httpd));
    let old = one_pair(&httpd, &world);
    // A request under way, so that the old nanny is still needed when the daemon is forked.
    let mut asks = Connection::open(httpd.address()).unwrap();
    asks.send_raw(format!("GET {} HTTP/1.1\r\n", first("public/page.html")).as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(300) * wait::slow_factor());
    installed.install(&next(), &Part::ALL);
    httpd.graceful().unwrap();
    assert!(alice_is_served(&world, &httpd), "by the new ones");
    assert_eq!(nannies_of(&httpd).len(), 2, "both versions");
    asks.send_raw(b"Host: localhost\r\n\r\n").unwrap();
    assert_eq!(asks.receive(false).unwrap().status, 200);
    drop(asks);
    let new = one_pair(&httpd, &world);
    assert_ne!(new, old);
    assert_eq!(said(&httpd, "ends: its children have gone"), 1);
    assert!(alice_is_served(&world, &httpd));
    httpd.stop(&["long lost child"]).unwrap();
    assert_eq!(all_processes(), before, "no orphans");
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn programs_of_the_next_release_under_a_module_of_this_one_change_nothing_until_it_is_replaced_too() {
    let world = world();
    let before = all_processes();
    let (installed, world) = Installed::new(&world);
    let mut httpd = start_wide(&world, "");
    assert!(alice_is_served(&world, &httpd));
    let (nanny, broker) = one_pair(&httpd, &world);
    installed.install(&next(), &[Part::Starter, Part::Weblog]);
    let sentence = refused(&world);
    assert!(
        sentence.contains("is of another version than this module") && sentence.contains("board="),
        "{sentence}"
    );
    // Whoever restarts without a configtest is told, and nothing else happens.
    httpd.graceful().unwrap();
    assert!(alice_is_served(&world, &httpd));
    assert_eq!(nanny_of(&httpd), Some(nanny));
    assert!(said(&httpd, "nanny and broker that run go on, but ") > 0);
    // Neither death locks anybody out: what they were is started again.
    signal_pid(broker, Signal::KILL).unwrap();
    wait::until_true("logins with a dead broker", Duration::from_secs(20), || {
        Ok(said(&httpd, "the one that was there before goes on") > 0 && is_served(&world, &httpd, "bob"))
    })
    .unwrap();
    assert!(said(&httpd, "this program is of another version than the httpd that runs") > 0);
    signal_pid(nanny, Signal::KILL).unwrap();
    let goes_on = "the programs that were there before go on until httpd is restarted";
    wait::until_true("logins with a dead nanny", LOOKS, || {
        Ok(said(&httpd, goes_on) > 0 && is_served(&world, &httpd, "carol"))
    })
    .unwrap();
    // What is just being started, or dying, may have one of them for a moment.
    for name in ["weblog", "weblog-starter"] {
        wait::until_true(&format!("one process of the name {name}"), LOOKS, || {
            Ok(below(httpd.pid(), name).len() == 1)
        })
        .unwrap();
    }
    // The rest of the release.
    installed.install(&next(), &[Part::Module]);
    httpd.graceful().unwrap();
    assert!(alice_is_served(&world, &httpd));
    one_pair(&httpd, &world);
    httpd.stop(&["long lost child"]).unwrap();
    assert_eq!(all_processes(), before, "no orphans");
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_module_of_the_next_release_without_its_programs_is_refused_and_a_server_that_runs_waits_for_them() {
    let world = world();
    let before = all_processes();
    let (installed, world) = Installed::new(&world);
    let mut httpd = start_wide(&world, "");
    assert!(alice_is_served(&world, &httpd));
    installed.install(&next(), &[Part::Module]);
    let sentence = refused(&world);
    assert!(sentence.contains("weblog-starter is of another version than this module"), "{sentence}");
    // Without a configtest: what is public is served, and logins are 503 with a line that says why.
    httpd.graceful().unwrap();
    assert_eq!(httpd.get(&first("public/page.html")).unwrap().status, 200);
    assert_eq!(get_as(&world, &httpd, &first(&owner_file("alice")), "alice").status, 503);
    assert!(said(&httpd, "no nanny: ") > 0 && said(&httpd, "install both from one package") > 0);
    // With one of the two it still does not fit.
    installed.install(&next(), &[Part::Starter]);
    assert!(refused(&world).contains("weblog is of another version than this module"));
    installed.install(&next(), &[Part::Weblog]);
    wait::until_true("logins without another restart", LOOKS, || Ok(alice_is_served(&world, &httpd)))
        .unwrap();
    one_pair(&httpd, &world);
    httpd.stop(&["long lost child", "no nanny: "]).unwrap();
    assert_eq!(all_processes(), before, "no orphans");
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn children_that_are_started_before_the_restart_load_the_client_that_fits_their_module() {
    let world = world();
    let before = all_processes();
    let (installed, world) = Installed::new(&world);
    let object = world.programs.uafs.clone().unwrap();
    let httpd = start_wide(&world, "");
    assert!(alice_is_served(&world, &httpd));
    installed.replace_object();
    let old = httpd.children();
    for child in &old {
        signal_pid(*child, Signal::KILL).unwrap();
    }
    wait::until_true("other children", LOOKS, || {
        Ok(!httpd.children().is_empty() && httpd.children().iter().all(|child| !old.contains(child)))
    })
    .unwrap();
    for _ in 0..10 {
        assert!(alice_is_served(&world, &httpd));
    }
    assert!(
        !httpd.children().iter().any(|child| maps_present(*child, &object)),
        "none has what lies there now"
    );
    assert_eq!(said(&httpd, "can serve nothing in AFS"), 0);
    httpd.stop(&[]).unwrap();
    assert_eq!(all_processes(), before, "no orphans");
}
