//! The life of httpd, nanny, broker and children: who dies when, and what visitors notice of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::load::{End, Faults};
use common::{
    Mischief, below, broker_of, first, first_line, get_as, kaserver, login_deadline_s, nanny_of, password,
    report, start, start_with, timed, world,
};
use integration::content::{owner_file, owner_line};
use integration::http::{Connection, Request, Response};
use integration::httpd::{Httpd, Mpm};
use integration::process::{has_connection, is_alive, signal_pid};
use integration::wait;
use integration::world::{FIRST_CELL, World};
use rustix::process::Signal;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A new broker is there and answers.
fn new_broker(httpd: &Httpd, old: u32) -> u32 {
    wait::until("another broker", Duration::from_secs(20), || Ok(broker_of(httpd).filter(|b| *b != old)))
        .unwrap()
}

/// alice is served again within the limit; meanwhile nothing but 503.
fn served_again(world: &World, httpd: &Httpd) {
    let begin = Instant::now();
    loop {
        let r = get_as(world, httpd, &first(&owner_file("alice")), "alice");
        if r.status == 200 {
            assert_eq!(first_line(&r), owner_line("alice", FIRST_CELL).trim_end());
            return;
        }
        assert_eq!(r.status, 503);
        let limit = Duration::from_secs(30) * wait::slow_factor();
        assert!(begin.elapsed() < limit, "still 503 after {:?}", begin.elapsed());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_killed_broker_is_replaced_and_visitors_log_in_again() {
    let world = world();
    let httpd = start(&world, "");
    assert_eq!(get_as(&world, &httpd, &first(&owner_file("alice")), "alice").status, 200);
    let mut broker = new_broker(&httpd, 0);
    for _ in 0..3 {
        signal_pid(broker, Signal::KILL).unwrap();
        broker = new_broker(&httpd, broker);
        served_again(&world, &httpd);
        assert_eq!(
            get_as(&world, &httpd, &first(&owner_file("bob")), "bob").status,
            200,
            "one who was not cached"
        );
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_killed_nanny_takes_its_broker_along_and_is_replaced() {
    let world = world();
    let httpd = start(&world, "");
    assert_eq!(get_as(&world, &httpd, &first(&owner_file("alice")), "alice").status, 200);
    let (nanny, broker) = (nanny_of(&httpd).unwrap(), new_broker(&httpd, 0));
    signal_pid(nanny, Signal::KILL).unwrap();
    wait::until_true("the end of the broker", Duration::from_secs(5), || Ok(!is_alive(broker))).unwrap();
    new_broker(&httpd, broker);
    assert_ne!(nanny_of(&httpd), Some(nanny));
    served_again(&world, &httpd);
    assert_eq!(get_as(&world, &httpd, &first(&owner_file("bob")), "bob").status, 200);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn nothing_survives_httpd_even_if_it_is_killed() {
    let world = world();
    let httpd = start(&world, "");
    assert_eq!(get_as(&world, &httpd, &first(&owner_file("alice")), "alice").status, 200);
    new_broker(&httpd, 0);
    let ours: Vec<u32> =
        ["weblog", "weblog-starter", "weblog-login"].iter().flat_map(|n| below(httpd.pid(), n)).collect();
    assert!(ours.len() >= 3, "nanny, broker and authenticators: {ours:?}");
    signal_pid(httpd.pid(), Signal::KILL).unwrap();
    wait::until_true("the end of nanny, broker, authenticators", Duration::from_secs(10), || {
        Ok(!ours.iter().any(|p| is_alive(*p)))
    })
    .unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_graceful_restart_keeps_broker_and_logins_and_applies_what_changed() {
    let world = world();
    let mut httpd = start(&world, "");
    assert_eq!(get_as(&world, &httpd, &first(&owner_file("alice")), "alice").status, 200);
    let broker = new_broker(&httpd, 0);
    kaserver(&world, FIRST_CELL, "stats reset");
    for _ in 0..3 {
        httpd.graceful().unwrap();
        assert_eq!(get_as(&world, &httpd, &first(&owner_file("alice")), "alice").status, 200);
        assert_eq!(broker_of(&httpd), Some(broker));
    }
    let stats: serde_json::Value = serde_json::from_str(&kaserver(&world, FIRST_CELL, "stats")).unwrap();
    assert_eq!(
        stats["users"]["alice"]["authenticate"].as_u64().unwrap_or(0),
        0,
        "nobody logged in again: {stats}"
    );
    let zoe = |h: &Httpd| {
        h.get_as("/afs/other.example/home/zoe/owner.txt", "zoe@other.example", "zoe's pass").unwrap().status
    };
    // The broker gets a configuration a moment after httpd has taken it.
    let becomes = |h: &Httpd, status: u16, what: &str| {
        wait::until_true(what, Duration::from_secs(30), || Ok(zoe(h) == status)).unwrap();
    };
    assert_eq!(zoe(&httpd), 200);
    httpd.rewrite(|t| with_cells(&t, false)).unwrap();
    httpd.graceful().unwrap();
    becomes(&httpd, 401, "the cell is not allowed any more");
    httpd.rewrite(|t| with_cells(&t, true)).unwrap();
    httpd.restart().unwrap();
    becomes(&httpd, 200, "the cell is allowed again");
    assert_eq!(broker_of(&httpd), Some(broker), "also over a restart");
    httpd.stop(&[]).unwrap();
}

/// What a visitor got who asked again and again while httpd was restarted.
#[derive(Debug, Default)]
struct Got {
    right: AtomicU32,
    cut: AtomicU32,
}

/// Asks until told to stop. A restart cuts off what is under way; any answer that comes has to be `right`.
fn ask_again(
    address: SocketAddr,
    (got, stop, faults): (&Got, &AtomicBool, &Faults),
    mut request: impl FnMut() -> Request,
    right: impl Fn(&Response) -> bool,
) {
    while !stop.load(Ordering::Relaxed) {
        match integration::http::request(address, &request()) {
            Ok(r) if !right(&r) => faults.add(format!("{} {:?} {}", r.status, r.headers, r.text())),
            Ok(r) if r.complete => drop(got.right.fetch_add(1, Ordering::Relaxed)),
            _ => drop(got.cut.fetch_add(1, Ordering::Relaxed)),
        }
        std::thread::sleep(Duration::from_millis(50) * wait::slow_factor());
    }
}

/// Does a body begin with this line? Only what was cut off may end within it.
fn is_line_or_cut(r: &Response, line: &str) -> bool {
    let got = first_line(r);
    if r.complete { got == line.trim_end() } else { line.starts_with(&got) }
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn restarts_in_the_middle_of_logins_cost_no_login_and_apply_changed_cells_and_expirations() {
    let world = world();
    let mut httpd = start(&world, "SetAFSCacheExpiration 300");
    let cell = world.cell(FIRST_CELL).unwrap();
    let users = ["alice", "bob", "carol", "dave"];
    let logins = |user: &str| -> u64 {
        let stats: serde_json::Value = serde_json::from_str(&kaserver(&world, FIRST_CELL, "stats")).unwrap();
        stats["users"][user]["authenticate"].as_u64().unwrap_or(0)
    };
    let all_logins = || users.map(logins);
    kaserver(&world, FIRST_CELL, "stats reset");
    for user in users {
        assert_eq!(get_as(&world, &httpd, &first(&owner_file(user)), user).status, 200);
    }
    let (nanny, broker) = (nanny_of(&httpd).unwrap(), new_broker(&httpd, 0));
    // Somebody is always in the middle of a login, with a password that nobody has seen before.
    let slow = Mischief::mode(&world, FIRST_CELL, "delay 200", Some("mallory"));
    let (stop, faults, address) = (AtomicBool::new(false), Faults::default(), httpd.address());
    let (got, wrong): ([Got; 4], Got) = Default::default();
    let zoe = |h: &Httpd| {
        h.get_as("/afs/other.example/home/zoe/owner.txt", "zoe@other.example", "zoe's pass").unwrap().status
    };
    std::thread::scope(|s| {
        let end = End(&stop);
        for (user, got) in users.iter().zip(&got) {
            let request = Request::get(&first(&owner_file(user))).login(user, password(cell, user));
            let (shared, line) = ((got, &stop, &faults), owner_line(user, FIRST_CELL));
            s.spawn(move || {
                ask_again(
                    address,
                    shared,
                    || request.clone(),
                    |r| r.status == 200 && is_line_or_cut(r, &line),
                );
            });
        }
        let shared = (&wrong, &stop, &faults);
        s.spawn(move || {
            let mut n = 0;
            let another = || {
                n += 1;
                Request::get(&first("public/page.html")).login("mallory", &format!("no {n}"))
            };
            ask_again(address, shared, another, |r| r.status == 401);
        });
        let all_served = || {
            let count =
                || [&got[0], &got[1], &got[2], &got[3], &wrong].map(|g| g.right.load(Ordering::Relaxed));
            let before = count();
            wait::until_true("an answer for each", Duration::from_secs(60), || {
                faults.must_be_none();
                // One may have been under way already.
                Ok(count().iter().zip(before).all(|(now, before)| *now > before + 1))
            })
            .unwrap();
        };
        all_served();
        for round in 0..4 {
            let other = round % 2 == 1;
            httpd.rewrite(|t| with_cells(&t, other)).unwrap();
            httpd.restart().unwrap();
            all_served();
            // The broker gets a configuration a moment after httpd has taken it.
            let want = if other { 200 } else { 401 };
            wait::until_true("the cells of the new configuration", Duration::from_secs(30), || {
                Ok(zoe(&httpd) == want)
            })
            .unwrap();
        }
        assert_eq!(all_logins(), [1; 4], "nobody logged in again");
        // Logins that are remembered for a second only, and then again for long.
        httpd.rewrite(|t| t.replace("SetAFSCacheExpiration 300", "SetAFSCacheExpiration 1")).unwrap();
        httpd.restart().unwrap();
        wait::until_true("logins that are forgotten", Duration::from_secs(60), || {
            faults.must_be_none();
            Ok(all_logins().iter().all(|n| *n >= 3))
        })
        .unwrap();
        httpd.rewrite(|t| t.replace("SetAFSCacheExpiration 1\n", "SetAFSCacheExpiration 300\n")).unwrap();
        httpd.restart().unwrap();
        wait::until_true("logins that are kept", Duration::from_secs(60), || {
            let before = all_logins();
            all_served();
            std::thread::sleep(Duration::from_millis(2500));
            all_served();
            Ok(all_logins() == before)
        })
        .unwrap();
        drop(end);
    });
    faults.must_be_none();
    drop(slow);
    assert_eq!((nanny_of(&httpd), broker_of(&httpd)), (Some(nanny), Some(broker)), "they stay");
    let sum = |f: fn(&Got) -> &AtomicU32| got.iter().map(|g| f(g).load(Ordering::Relaxed)).sum::<u32>();
    report(&format!(
        "6 restarts: {} answers, all 200 and each his own, {} cut off; {} wrong passwords, each 401, {} cut off",
        sum(|g| &g.right),
        sum(|g| &g.cut),
        wrong.right.into_inner(),
        wrong.cut.into_inner()
    ));
    // One of the event MPM that is told to end at once may crash while it serves (docs/facts.md, httpd 2.4).
    let allowed: &[&str] =
        if Mpm::from_env().unwrap() == Mpm::Event { &["exit signal Segmentation fault"] } else { &[] };
    httpd.stop(allowed).unwrap();
}

/// A configuration with or without the other cell.
fn with_cells(text: &str, other: bool) -> String {
    let (one, both) = ("SetAFSCells cell.example\n", "SetAFSCells cell.example other.example\n");
    let (none, method) =
        ("SetAFSLocation /afs\n", "AFSAuthMethod other.example kaserver\nSetAFSLocation /afs\n");
    let bare = text.replace("AFSAuthMethod other.example kaserver\n", "");
    if other { bare.replace(one, both).replace(none, method) } else { bare.replace(both, one) }
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_configuration_without_afs_ends_nanny_and_broker_and_a_later_one_starts_others() {
    let world = world();
    let mut httpd = start(&world, "");
    let path = first(&owner_file("alice"));
    assert_eq!(get_as(&world, &httpd, &path, "alice").status, 200);
    let (nanny, broker) = (nanny_of(&httpd).unwrap(), new_broker(&httpd, 0));
    httpd
        .rewrite(|t| t.replace("SetAFSLocation /afs\n", "").replace("AFSAuthType AFS", "AFSAuthType None"))
        .unwrap();
    httpd.graceful().unwrap();
    wait::until_true("the end of nanny and broker", Duration::from_secs(10), || {
        Ok(!is_alive(nanny) && !is_alive(broker))
    })
    .unwrap();
    assert_eq!(httpd.get("/index.html").unwrap().status, 200, "the rest of the site goes on");
    // Those of before the restart end when they come to it.
    let holds = |child: u32| {
        let links = std::fs::read_dir(format!("/proc/{child}/fd")).into_iter().flatten();
        let mut targets = links.filter_map(|e| std::fs::read_link(e.ok()?.path()).ok());
        targets.any(|l| l.to_string_lossy().contains("afsweb-board"))
    };
    wait::until_true("children without descriptors of ours", Duration::from_secs(10), || {
        Ok(!httpd.children().into_iter().any(holds))
    })
    .unwrap();
    httpd
        .rewrite(|t| {
            t.replace("AFSAuthType None", "AFSAuthType AFS")
                .replace("<Location /afs>", "SetAFSLocation /afs\n<Location /afs>")
        })
        .unwrap();
    httpd.graceful().unwrap();
    served_again(&world, &httpd);
    assert_ne!(nanny_of(&httpd), Some(nanny));
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn d11_forgetting_a_visitor_reaches_every_child_before_its_next_request() {
    let world = world();
    let httpd = start(&world, &format!("SetAFSControlSocket {}", "/run/weblog-test.sock"));
    let path = first(&owner_file("alice"));
    let warm = || {
        for _ in 0..40 {
            assert_eq!(get_as(&world, &httpd, &path, "alice").status, 200);
        }
    };
    warm();
    kaserver(&world, FIRST_CELL, "stats reset");
    warm();
    let logins = || -> u64 {
        let stats: serde_json::Value = serde_json::from_str(&kaserver(&world, FIRST_CELL, "stats")).unwrap();
        stats["users"]["alice"]["authenticate"].as_u64().unwrap_or(0)
    };
    assert_eq!(logins(), 0);
    let weblog = world.programs.weblog.as_deref().unwrap();
    let out = std::process::Command::new(weblog)
        .args(["forget", "--socket", "/run/weblog-test.sock", "alice@cell.example"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    // The account is refused from now on: whoever still served it would have remembered it.
    let silent = Mischief::mode(&world, FIRST_CELL, "silent", Some("alice"));
    let statuses: Vec<u16> = (0..3).map(|_| get_as(&world, &httpd, &path, "alice").status).collect();
    drop(silent);
    assert_eq!(statuses, [503; 3]);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn d34_processes_have_the_rights_of_the_privilege_table_and_no_more() {
    let world = world();
    let httpd = start(&world, "");
    assert_eq!(get_as(&world, &httpd, &first(&owner_file("alice")), "alice").status, 200);
    let broker = new_broker(&httpd, 0);
    let nanny = nanny_of(&httpd).unwrap();
    let field = |pid: u32, name: &str| -> String {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status.lines().find_map(|l| l.strip_prefix(&format!("{name}:"))).unwrap_or_default().trim().to_owned()
    };
    // That of the login ends in a moment, and another takes its place.
    let mut authenticators = Vec::new();
    wait::until_true("authenticators that stay", Duration::from_secs(30), || {
        std::thread::sleep(Duration::from_millis(500));
        let now = integration::process::children_of(broker);
        let stay = !now.is_empty() && now == authenticators;
        authenticators = now;
        Ok(stay)
    })
    .unwrap();
    let maps = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    for pid in authenticators.iter().copied().chain([broker]) {
        assert!(!field(pid, "Uid").split_whitespace().any(|u| u == "0"), "uid {}", field(pid, "Uid"));
        assert_ne!(field(pid, "Uid"), field(httpd.children()[0], "Uid"), "a user of its own");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(u64::from_str_radix(&field(pid, set), 16).unwrap(), 0, "{set} of {pid}");
        }
        assert_eq!(field(pid, "NoNewPrivs"), "1");
        assert!(std::fs::read(format!("/proc/{pid}/environ")).unwrap().is_empty(), "environment of {pid}");
    }
    assert!(!maps(broker).contains("libafsauthent"), "only authenticators map it");
    assert!(authenticators.iter().any(|a| maps(*a).contains("libafsauthent")));
    assert!(!maps(nanny).contains("libafsauthent"));
    assert_ne!(field(broker, "VmLck"), "0 kB", "memory of the broker is locked");
    assert!(std::fs::read(format!("/proc/{nanny}/environ")).unwrap().is_empty());
    let sys_admin = 1u64 << 21;
    assert_eq!(
        u64::from_str_radix(&field(nanny, "CapBnd"), 16).unwrap() & sys_admin,
        0,
        "nanny's bounding set"
    );
    for child in httpd.children() {
        let links: Vec<String> = std::fs::read_dir(format!("/proc/{child}/fd"))
            .unwrap()
            .filter_map(|e| std::fs::read_link(e.ok()?.path()).ok())
            .map(|l| l.display().to_string())
            .collect();
        assert!(!maps(child).contains("libafsauthent"));
        assert!(links.iter().all(|l| !l.contains("weblog.sock")), "{links:?}");
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn d1_a_child_killed_in_the_middle_of_a_login_leaves_the_next_visitor_nothing() {
    let world = world();
    // Two lanes, so that whoever comes next soon takes the one that the dead child has held. With one, nobody is kept
    // waiting on it.
    let httpd = start_with(&world, "SetAFSLanes 2", |mut o| {
        o.sizes = Some(match o.mpm {
            Mpm::Prefork => {
                "StartServers 4\nMinSpareServers 4\nServerLimit 16\nMaxRequestWorkers 16\n".to_owned()
            }
            _ => "StartServers 2\nServerLimit 4\nThreadsPerChild 4\nThreadLimit 4\nMinSpareThreads 4\n\
                  MaxSpareThreads 16\nMaxRequestWorkers 16\n"
                .to_owned(),
        });
        o
    });
    let cell = world.cell(FIRST_CELL).unwrap();
    assert_eq!(get_as(&world, &httpd, &first(&owner_file("bob")), "bob").status, 200);
    let alices = first(&owner_file("alice"));
    let weblog = world.programs.weblog.as_deref().unwrap();
    let socket =
        std::path::Path::new("/srv/httpd").join(httpd.dir().file_name().unwrap()).join("run/weblog.sock");
    // So long every answer is under way: hers comes while those who come next wait for theirs.
    let delay = 150 * wait::slow_factor();
    // What an earlier test has said of alice alone counts more than what is said of all.
    let slow =
        [None, Some("alice")].map(|user| Mischief::mode(&world, FIRST_CELL, &format!("delay {delay}"), user));
    let (answered, cut, mut her_cut) = (AtomicU32::new(0), AtomicU32::new(0), 0);
    for round in 0..16 {
        // So that the cell is asked each time.
        let out = std::process::Command::new(weblog)
            .args(["forget", "--socket", socket.to_str().unwrap(), "alice@cell.example"])
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        wait::until_true("children", Duration::from_secs(30), || Ok(httpd.children().len() >= 2)).unwrap();
        let mut c = Connection::open(httpd.address()).unwrap();
        c.send_only(&Request::get(&alices).login("alice", password(cell, "alice"))).unwrap();
        let hers = wait::until("a child with her connection", Duration::from_secs(30), || {
            Ok(httpd.children().into_iter().find(|c| has_connection(*c)))
        })
        .unwrap();
        std::thread::sleep(Duration::from_millis(5 + 5 * (round % 8)));
        // Whoever serves her in every other round, else the others; the rest stay for those who come next.
        for child in httpd.children().into_iter().filter(|c| (*c == hers) == (round % 2 == 0)) {
            signal_pid(child, Signal::KILL).unwrap();
        }
        std::thread::scope(|s| {
            for n in 0..4 {
                let (httpd, alices, answered, cut) = (&httpd, &alices, &answered, &cut);
                s.spawn(move || {
                    // A connection that a killed child had taken is cut.
                    let Ok(r) = httpd.get_as(alices, "bob", &format!("wrong {round} {n}")) else {
                        cut.fetch_add(1, Ordering::Relaxed);
                        return;
                    };
                    assert!([401, 503].contains(&r.status), "{round}: {} {}", r.status, r.text());
                    answered.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        // She herself was cut off, or has got what is hers.
        match c.receive(false) {
            Err(_) => her_cut += 1,
            Ok(r) if r.status == 200 => {
                assert_eq!(first_line(&r), owner_line("alice", FIRST_CELL).trim_end(), "{round}");
            }
            Ok(r) => assert_eq!(r.status, 503, "{round}: {}", r.text()),
        }
        if let Ok(r) = httpd.get_as(&alices, "bob", password(cell, "bob")) {
            assert!([403, 503].contains(&r.status), "{round}: {} {}", r.status, r.text());
        }
    }
    drop(slow);
    let (answered, cut) = (answered.into_inner(), cut.into_inner());
    report(&format!(
        "{answered} answers to those who came next, {cut} cut; alice was cut {her_cut} times of 16"
    ));
    assert!(answered >= 16, "{answered} answers: what comes after a killed child was hardly looked at");
    assert!(her_cut >= 4, "hardly a child was killed in the middle of alice's login");
    served_again(&world, &httpd);
    httpd.stop(&["exit signal Killed"]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn d28_a_login_whose_broker_is_killed_is_asked_of_the_next_one() {
    let world = world();
    let httpd = start(&world, "");
    let cell = world.cell(FIRST_CELL).unwrap();
    assert_eq!(get_as(&world, &httpd, &first(&owner_file("bob")), "bob").status, 200);
    let slow = Mischief::mode(&world, FIRST_CELL, "delay 300", Some("alice"));
    for round in 0..6 {
        let broker = new_broker(&httpd, 0);
        let (r, took) = timed(|| {
            std::thread::scope(|s| {
                let alice = s.spawn(|| {
                    httpd.get_as(&first(&owner_file("alice")), "alice", password(cell, "alice")).unwrap()
                });
                // While it holds the question, and while the worker waits to ask again.
                std::thread::sleep(Duration::from_millis(20 + 40 * round));
                signal_pid(broker, Signal::KILL).unwrap();
                alice.join().unwrap()
            })
        });
        assert_eq!(
            (r.status, first_line(&r)),
            (200, owner_line("alice", FIRST_CELL).trim_end().to_owned()),
            "{round}"
        );
        assert!(took < Duration::from_secs(login_deadline_s()) / 2, "{round}: {took:?}");
        new_broker(&httpd, broker);
        // Children remember her; a restart makes them ask again.
        kill_children(&httpd);
    }
    drop(slow);
    httpd.stop(&["exit signal Killed"]).unwrap();
}

/// Kills all children, and waits until others serve.
fn kill_children(httpd: &Httpd) {
    for child in httpd.children() {
        signal_pid(child, Signal::KILL).unwrap();
    }
    wait::until_true("other children", Duration::from_secs(20), || {
        Ok(httpd.get(&first("public/page.html")).is_ok_and(|r| r.status == 200))
    })
    .unwrap();
}
