//! What is silent or gone, and who goes on nevertheless.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::{
    FILE_DEADLINE_S, Mischief, Replaced, Stopped, afs_client, answer_limit, first, forget_volume, get_as,
    login_deadline_s, metrics, report, second, start_wide, timed, world,
};
use integration::content::owner_file;
use integration::http::{Connection, Request, Response};
use integration::httpd::Httpd;
use integration::process::signal_pid;
use integration::wait;
use integration::world::{FIRST_CELL, SECOND_CELL};
use rustix::process::Signal;
use std::net::Ipv4Addr;
use std::time::Duration;

/// SetAFSFileDeadline where it is the subject who waits.
const QUARTER_DEADLINE_S: u64 = 20;

/// Nobody waits longer for a silent file server.
fn patience() -> Duration {
    match afs_client().as_str() {
        "userspace" => Duration::from_secs(QUARTER_DEADLINE_S + 15),
        // Their own: about a minute and 20 s.
        "openafs" => Duration::from_secs(120),
        _ => Duration::from_secs(60),
    }
}

/// An answer that may take longer than a visitor of these tests usually waits.
fn get_patiently(httpd: &Httpd, path: &str) -> Response {
    let mut connection = Connection::open_within(httpd.address(), Duration::from_secs(300)).unwrap();
    connection.send(&Request::get(path).header("Connection", "close")).unwrap()
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn with_a_silent_kaserver_the_other_cell_and_cached_visitors_go_on() {
    let world = world();
    let httpd = start_wide(&world, "");
    assert_eq!(get_as(&world, &httpd, &first(&owner_file("alice")), "alice").status, 200);
    let silent = Mischief::mode(&world, FIRST_CELL, "silent", None);
    // An emulated processor has a quarter of all workers wait for the broker itself where more log in at once.
    let many = if wait::slow_factor() > 1 { 8 } else { 24 };
    std::thread::scope(|s| {
        // Many visitors of the silent cell, each with other credentials.
        let stuck: Vec<_> = (0..many)
            .map(|i| {
                let httpd = &httpd;
                s.spawn(move || {
                    timed(|| {
                        httpd.get_as(&first(&owner_file("bob")), "bob", &format!("pw {i}")).unwrap().status
                    })
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(500));
        for _ in 0..20 {
            let (r, took) = timed(|| {
                httpd.get_as(&second(&owner_file("zoe")), "zoe@other.example", "zoe's pass").unwrap()
            });
            assert_eq!(r.status, 200, "a login to the other cell");
            assert!(took < Duration::from_secs(login_deadline_s()), "{took:?}");
            let (r, took) = timed(|| get_as(&world, &httpd, &first(&owner_file("alice")), "alice"));
            assert_eq!(r.status, 200, "a visitor who is cached");
            assert!(took < Duration::from_secs(login_deadline_s()), "{took:?}");
        }
        let alice2 = &world.cell(SECOND_CELL).unwrap().user("alice").unwrap().password;
        assert_eq!(
            httpd.get_as(&second(&owner_file("alice")), "alice@other.example", alice2).unwrap().status,
            200,
            "a fresh login"
        );
        for t in stuck {
            let (status, took) = t.join().unwrap();
            assert_eq!(status, 503);
            assert!(took < answer_limit(), "{took:?}");
        }
    });
    drop(silent);
    integration::wait::until_true("logins to the first cell", Duration::from_secs(30), || {
        Ok(get_as(&world, &httpd, &first(&owner_file("carol")), "carol").status == 200)
    })
    .unwrap();
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn with_a_silent_file_server_other_volumes_go_on_and_the_rest_is_503() {
    let world = world();
    let httpd = start_wide(&world, "");
    // Nothing of that server is in a cache.
    forget_volume("far");
    let far = first("far/page.html");
    let server =
        world.cell(FIRST_CELL).unwrap().server("fileserver", Ipv4Addr::new(192, 0, 2, 3)).unwrap().pid;
    signal_pid(server, Signal::STOP).unwrap();
    let outcome = std::panic::catch_unwind(|| {
        std::thread::scope(|s| {
            let stuck: Vec<_> = (0..60)
                .map(|i| {
                    let httpd = &httpd;
                    let path = first(["far/page.html", "far/1m.bin", "far/alice/owner.txt"][i % 3]);
                    s.spawn(move || timed(|| get_patiently(httpd, &path).status))
                })
                .collect();
            std::thread::sleep(Duration::from_secs(3));
            for _ in 0..20 {
                let (r, took) = timed(|| httpd.get(&first("public/page.html")).unwrap());
                assert_eq!(r.status, 200, "another volume");
                assert!(took < Duration::from_secs(FILE_DEADLINE_S), "{took:?}");
                assert_eq!(get_as(&world, &httpd, &first(&owner_file("alice")), "alice").status, 200);
            }
            let mut answers: Vec<(u16, Duration)> = stuck.into_iter().map(|t| t.join().unwrap()).collect();
            answers.sort_by_key(|a| a.1);
            assert!(answers.iter().all(|a| a.0 == 503), "{answers:?}");
            assert!(answers.iter().all(|a| a.1 < answer_limit()), "{answers:?}");
        });
    });
    signal_pid(server, Signal::CONT).unwrap();
    if let Err(cause) = outcome {
        std::panic::resume_unwind(cause);
    }
    integration::wait::until_true("the volume", Duration::from_secs(120), || {
        Ok(httpd.get(&far)?.status == 200)
    })
    .unwrap();
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_part_of_a_file_whose_server_has_fallen_silent_is_503_as_the_whole() {
    let world = world();
    let httpd = start_wide(&world, "");
    forget_volume("far");
    let path = first("far/1m.bin");
    // What it is every child knows, what is in it none.
    for _ in 0..100 {
        assert_eq!(httpd.request(&Request::new("HEAD", &path)).unwrap().status, 200);
    }
    let silent = Stopped::server(&world, Ipv4Addr::new(192, 0, 2, 3));
    for range in ["bytes=0-", "bytes=5-9,100-199"] {
        let mut c = Connection::open_within(httpd.address(), Duration::from_secs(300)).unwrap();
        let r = c.send(&Request::get(&path).header("Range", range)).unwrap();
        assert_eq!(r.status, 503, "{range}: {}", r.text());
    }
    drop(silent);
    integration::wait::until_true("the volume", Duration::from_secs(120), || {
        Ok(httpd.get(&path)?.status == 200)
    })
    .unwrap();
    httpd.stop(&[]).unwrap();
}

/// Workers of a server that is wide, under each MPM.
const WORKERS: usize = 64;
/// So many of them may wait for what is in one directory.
const QUARTER: usize = WORKERS / 4;

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn no_more_than_a_quarter_of_the_workers_wait_for_a_silent_file_server() {
    let world = world();
    // Long enough that a quarter waits while the rest is looked at.
    let more = format!("SetAFSFileDeadline {QUARTER_DEADLINE_S}\n{}", metrics::PLACE);
    let httpd = start_wide(&world, &more);
    forget_volume("far");
    let far = first("far/page.html");
    let silent = Stopped::server(&world, Ipv4Addr::new(192, 0, 2, 3));
    let waiting = || metrics::read(&httpd, "workers_waiting");
    let quick = Duration::from_secs(3) * wait::slow_factor();
    let get = |httpd: &Httpd| timed(|| get_patiently(httpd, &far));
    std::thread::scope(|s| {
        let stuck: Vec<_> = (0..QUARTER).map(|_| s.spawn(|| get(&httpd))).collect();
        wait::until_true("a quarter that waits", Duration::from_secs(10), || Ok(waiting() == QUARTER as u64))
            .unwrap();
        // Whoever comes now is told at once, and no worker more is held.
        let others: Vec<_> = (0..WORKERS).map(|_| s.spawn(|| get(&httpd))).collect();
        for other in others {
            let (r, took) = other.join().unwrap();
            assert_eq!((r.status, r.header("Retry-After")), (503, Some("5")));
            assert!(took < quick, "{took:?}");
        }
        assert_eq!(waiting(), QUARTER as u64);
        let log = std::fs::read_to_string(httpd.error_log()).unwrap();
        assert_eq!(log.matches("AFS0503").count(), WORKERS, "each has a line");
        for _ in 0..5 {
            let served = [
                timed(|| httpd.get(&first("public/page.html")).unwrap()),
                timed(|| get_as(&world, &httpd, &first(&owner_file("alice")), "alice")),
                timed(|| {
                    httpd.get_as(&second(&owner_file("zoe")), "zoe@other.example", "zoe's pass").unwrap()
                }),
            ];
            for (r, took) in served {
                assert_eq!(r.status, 200, "another server");
                assert!(took < quick, "{took:?}");
            }
        }
        assert!(stuck.iter().any(|t| !t.is_finished()), "all this was while they waited");
        let mut answers: Vec<(u16, Duration)> =
            stuck.into_iter().map(|t| t.join().unwrap()).map(|(r, took)| (r.status, took)).collect();
        answers.sort_by_key(|a| a.1);
        report(&format!(
            "a silent file server: 503 after {:.0?} to {:.0?}",
            answers[0].1,
            answers[QUARTER - 1].1
        ));
        assert!(answers.iter().all(|a| a.0 == 503 && a.1 < patience()), "{answers:?}");
    });
    let (r, took) = get(&httpd);
    report(&format!("the next one: {} after {took:.1?}", r.status));
    drop(silent);
    wait::until_true("the volume", Duration::from_secs(120), || Ok(httpd.get(&far)?.status == 200)).unwrap();
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn silent_name_servers_are_no_matter() {
    let world = world();
    let silent = Replaced::new(&[
        ("/etc/resolv.conf", "nameserver 192.0.2.99\n"),
        ("/etc/nsswitch.conf", "hosts: dns\n"),
    ]);
    let httpd = start_wide(&world, "");
    for user in ["alice", "bob"] {
        assert_eq!(get_as(&world, &httpd, &first(&owner_file(user)), user).status, 200, "{user}");
    }
    let zoe = httpd.get_as(&second(&owner_file("zoe")), "zoe@other.example", "zoe's pass").unwrap();
    assert_eq!(zoe.status, 200);
    drop(silent);
    httpd.stop(&[]).unwrap();
}
