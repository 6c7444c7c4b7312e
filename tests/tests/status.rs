//! How an httpd says that it is: metrics, health and mod_status's page, and whether what they say is true.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::{afs_client, broker_of, first, get_as, metrics, nanny_of, start, start_with, world};
use integration::content::owner_file;
use integration::httpd::{Httpd, Mpm};
use integration::process::signal_pid;
use integration::wait;
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

/// SetAFSPags, where it is the subject.
const PAGS: u64 = 10;

/// Where metrics, health and status are.
fn places() -> String {
    let others = [("health", "afs-health"), ("server-status", "server-status")].map(|(path, handler)| {
        format!("<Location /{path}>\nSetHandler {handler}\nRequire all granted\n</Location>\n")
    });
    others.concat() + metrics::PLACE
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn metrics_health_and_status_tell_how_the_broker_is() {
    let world = world();
    let httpd = start(&world, &places());
    assert_eq!(get_as(&world, &httpd, &first(&owner_file("alice")), "alice").status, 200);
    assert_eq!(httpd.get_as(&first(&owner_file("alice")), "alice", "wrong").unwrap().status, 401);
    for (name, least) in [
        ("broker_ready", 1),
        ("broker_granted_total", 1),
        ("broker_refused_total", 1),
        ("broker_cache_entries", 1),
        ("broker_lanes", 8),
    ] {
        assert!(metrics::read(&httpd, name) >= least, "{name}");
    }
    assert_eq!(metrics::read(&httpd, "broker_bad_frames_total"), 0);
    let health = || httpd.get("/health").unwrap();
    assert_eq!((health().status, health().text().as_str()), (200, "ok\n"));
    let post = integration::http::Request::new("POST", "/health");
    assert_eq!(httpd.request(&post).unwrap().status, 405);
    let status = httpd.get("/server-status?auto").unwrap().text();
    assert!(status.contains("\nAFSGranted: 1\n"), "{status}");
    assert!(
        httpd.get("/server-status").unwrap().text().contains("<td>Tokens obtained from cells</td><td>1</td>")
    );
    // A broker that says nothing, and then one that is away for a moment.
    let broker = broker_of(&httpd).unwrap();
    signal_pid(broker, Signal::STOP).unwrap();
    let r = health();
    assert_eq!(r.status, 503);
    assert!(r.text().contains("does not answer"), "{}", r.text());
    signal_pid(broker, Signal::KILL).unwrap();
    wait::until_true("health again", Duration::from_secs(20) * wait::slow_factor(), || {
        Ok(health().status == 200)
    })
    .unwrap();
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_broker_that_stands_still_is_replaced_and_one_that_has_nothing_to_do_is_not() {
    let world = world();
    let httpd = start(&world, "");
    assert_eq!(get_as(&world, &httpd, &first(&owner_file("alice")), "alice").status, 200);
    let broker = broker_of(&httpd).unwrap();
    // Longer than the nanny waits for a sign of life.
    std::thread::sleep(Duration::from_secs(45));
    assert_eq!(broker_of(&httpd), Some(broker));
    signal_pid(broker, Signal::STOP).unwrap();
    wait::until_true("another broker", Duration::from_secs(60) * wait::slow_factor(), || {
        Ok(broker_of(&httpd).is_some_and(|b| b != broker))
    })
    .unwrap();
    wait::until_true("logins", Duration::from_secs(20) * wait::slow_factor(), || {
        Ok(get_as(&world, &httpd, &first(&owner_file("bob")), "bob").status == 200)
    })
    .unwrap();
    let log = fs::read_to_string(httpd.error_log()).unwrap();
    assert!(log.contains("no sign of life"), "{log}");
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn health_fails_while_there_can_be_no_broker_and_is_well_when_that_is_mended() {
    let world = world();
    let starter = world.programs.weblog_starter.clone().unwrap();
    // What is installed, in a place of its own.
    let (from, to) = (starter.parent().unwrap(), Path::new("/usr/lib/afsweb-health"));
    fs::create_dir_all(to).unwrap();
    for name in ["weblog-starter", "weblog", "libafsweb_uafs.so"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
    let mode = |mode| fs::set_permissions(to.join("weblog"), fs::Permissions::from_mode(mode)).unwrap();
    let httpd = start_with(&world, &places(), |mut o| {
        let place = |dir: &Path| format!("SetAFSWeblogPath {}/", dir.display());
        o.afs = o.afs.map(|text| text.replace(&place(from), &place(to)));
        o
    });
    let health = || {
        let r = httpd.get("/health").unwrap();
        (r.status, r.text())
    };
    assert_eq!(get_as(&world, &httpd, &first(&owner_file("alice")), "alice").status, 200);
    assert_eq!(health(), (200, "ok\n".to_owned()));
    let broker = broker_of(&httpd).unwrap();
    assert!(fs::read_link(format!("/proc/{broker}/exe")).unwrap().starts_with(to), "another installation's");
    // Anybody could have put another program there: the nanny, which lives, starts it no more.
    mode(0o777);
    signal_pid(broker, Signal::KILL).unwrap();
    wait::until_true("the sentence", Duration::from_secs(20) * wait::slow_factor(), || {
        let (status, text) = health();
        assert_eq!(status, 503, "{text}");
        Ok(text == "the broker is not ready\n")
    })
    .unwrap();
    let nanny = nanny_of(&httpd).unwrap();
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(health(), (503, "the broker is not ready\n".to_owned()));
        assert_eq!((broker_of(&httpd), metrics::read(&httpd, "broker_ready")), (None, 0));
    }
    mode(0o755);
    // It tries again after ten seconds at the latest.
    wait::until_true("health again", Duration::from_secs(30) * wait::slow_factor(), || {
        Ok(health() == (200, "ok\n".to_owned()))
    })
    .unwrap();
    assert_eq!((nanny_of(&httpd), metrics::read(&httpd, "broker_ready")), (Some(nanny), 1));
    assert_eq!(get_as(&world, &httpd, &first(&owner_file("bob")), "bob").status, 200);
    httpd.stop(&[]).unwrap();
    fs::remove_dir_all(to).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn health_fails_while_no_authenticator_can_be_started() {
    let world = world();
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["ThisCell", "CellServDB"] {
        fs::copy(Path::new("/etc/openafs").join(name), dir.path().join(name)).unwrap();
    }
    let httpd = start(&world, &format!("{}SetAFSConfDir {}\n", places(), dir.path().display()));
    let (health, log) = (|| httpd.get("/health").unwrap().status, || fs::read_to_string(httpd.error_log()));
    let own = first(&owner_file("alice"));
    // A worker waits for a broker that starts; health does not.
    assert_eq!((get_as(&world, &httpd, &own, "alice").status, health()), (200, 200));
    assert!(!log().unwrap().contains("AFS2056"), "one that has done its work hangs");
    // Those that wait have read it; each login takes one of them.
    let (db, whole) = (dir.path().join("CellServDB"), fs::read(dir.path().join("CellServDB")).unwrap());
    fs::write(&db, "no.address.example\n").unwrap();
    wait::until_true("it fails", Duration::from_secs(60), || {
        httpd.get_as(&own, "bob", "wrong").unwrap();
        Ok(health() == 503)
    })
    .unwrap();
    assert_eq!(
        (metrics::read(&httpd, "broker_ready"), httpd.get_as(&own, "carol", "x").unwrap().status),
        (0, 503)
    );
    fs::write(&db, whole).unwrap();
    wait::until_true("health again", Duration::from_secs(30), || Ok(health() == 200)).unwrap();
    assert_eq!(get_as(&world, &httpd, &first(&owner_file("bob")), "bob").status, 200);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn metrics_and_status_tell_the_pags_and_caches_of_the_children_that_live() {
    let world = world();
    let mut httpd = start_with(&world, &format!("{}SetAFSPags {PAGS}\n", places()), |mut o| {
        o.sizes = Some(match o.mpm {
            Mpm::Prefork => {
                "StartServers 1\nMinSpareServers 1\nMaxSpareServers 1\nServerLimit 2\nMaxRequestWorkers 1\n"
                    .to_owned()
            }
            _ => "StartServers 1\nServerLimit 2\nThreadsPerChild 8\nThreadLimit 8\nMinSpareThreads 1\n\
                  MaxSpareThreads 8\nMaxRequestWorkers 8\n"
                .to_owned(),
        });
        o
    });
    // A client in the kernel has its PAGs from the beginning, as many as there may be visitors.
    let limit = metrics::find(&httpd, "pags_limit");
    let pool = if afs_client() == "userspace" {
        assert_eq!(limit, None, "this client makes as many as it takes");
        None
    } else {
        assert_eq!(limit, Some(PAGS), "so many workers are one child");
        Some(PAGS)
    };
    let made = |in_use: u64| pool.unwrap_or(in_use);
    let served = |httpd: &Httpd, who: &str| {
        assert_eq!(get_as(&world, httpd, &first(&owner_file(who)), who).status, 200, "{who}");
    };
    let becomes = |httpd: &Httpd, name: &str, is: &dyn Fn(u64) -> bool| {
        wait::until_true(name, Duration::from_secs(30) * wait::slow_factor(), || {
            Ok(is(metrics::read(httpd, name)))
        })
        .unwrap();
    };
    let names = ["children", "pags_made", "pags_in_use", "child_cache_entries", "child_cache_hits_total"];
    assert_eq!(metrics::all(&httpd, names), [1, made(0), 0, 0, 0]);
    for (n, who) in (1..).zip(["alice", "bob", "carol"]) {
        served(&httpd, who);
        assert_eq!(metrics::all(&httpd, names), [1, made(n), n, n, 0], "{who}");
    }
    served(&httpd, "alice");
    served(&httpd, "bob");
    assert_eq!(metrics::all(&httpd, names), [1, made(3), 3, 3, 2]);
    // Who is refused is no visitor.
    assert_eq!(httpd.get_as(&first(&owner_file("dave")), "dave", "wrong").unwrap().status, 401);
    assert_eq!(metrics::all(&httpd, names), [1, made(3), 3, 3, 2]);
    assert_eq!(metrics::all(&httpd, ["pags_tainted", "pags_refused_total"]), [0, 0]);
    let status = httpd.get("/server-status?auto").unwrap().text();
    for line in ["AFSChildren: 1", "AFSPagsInUse: 3", "AFSChildCacheEntries: 3", "AFSChildCacheHits: 2"] {
        assert!(status.lines().any(|l| l == line), "{line} is not in {status}");
    }
    let page = httpd.get("/server-status").unwrap().text();
    assert!(page.contains("<td>PAGs of visitors</td><td>3</td>"), "{page}");
    if pool.is_none() {
        becomes(&httpd, "file_cache_used_bytes", &|used| used > 0);
        assert!(metrics::read(&httpd, "file_cache_bytes") >= metrics::read(&httpd, "file_cache_used_bytes"));
    } else {
        let caches = ["file_cache_bytes", "file_cache_used_bytes"].map(|name| metrics::find(&httpd, name));
        assert_eq!(caches, [None, None], "the machine's is not httpd's");
    }
    // A child that was killed had no time to say anything; what it counted is not lost.
    let child = httpd.children()[0];
    signal_pid(child, Signal::KILL).unwrap();
    wait::until_true("another child", Duration::from_secs(30), || {
        Ok(!httpd.children().contains(&child) && httpd.get("/metrics").is_ok_and(|r| r.status == 200))
    })
    .unwrap();
    assert_eq!(metrics::all(&httpd, names), [1, made(0), 0, 0, 2]);
    served(&httpd, "alice");
    assert_eq!(metrics::all(&httpd, names), [1, made(1), 1, 1, 2]);
    // Nor is it over a restart.
    httpd.graceful().unwrap();
    becomes(&httpd, "pags_in_use", &|n| n == 0);
    becomes(&httpd, "children", &|n| n == 1);
    assert_eq!(metrics::all(&httpd, names), [1, made(0), 0, 0, 2]);
    served(&httpd, "alice");
    served(&httpd, "alice");
    assert_eq!(metrics::all(&httpd, names), [1, made(1), 1, 1, 3]);
    // What was revoked is forgotten, also by a child that nobody asks for anything.
    let weblog = world.programs.weblog.as_deref().unwrap();
    let socket = Path::new("/srv/httpd").join(httpd.dir().file_name().unwrap()).join("run/weblog.sock");
    let out = std::process::Command::new(weblog)
        .args(["forget", "--socket"])
        .arg(socket)
        .arg("*")
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    becomes(&httpd, "pags_in_use", &|n| n == 0);
    assert_eq!(metrics::all(&httpd, names), [1, made(0), 0, 0, 3]);
    httpd.stop(&["exit signal Killed"]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn refused_accesses_are_counted_by_what_was_answered() {
    let world = world();
    let log = format!("/srv/refused-{}", std::process::id());
    let httpd = start(&world, &format!("{}SetAFSAccessLog {log}\n", places()));
    let names = ["unauthorized", "forbidden", "unavailable", "otherwise"];
    let counted = || names.map(|name| metrics::read(&httpd, &format!("refused_{name}_total")));
    let alices = first(&owner_file("alice"));
    let mut expected = [0; 4];
    assert_eq!(counted(), expected);
    // Nobody, a wrong password, no right, another site's page.
    assert_eq!(httpd.get(&alices).unwrap().status, 401);
    assert_eq!(httpd.get_as(&alices, "alice", "wrong").unwrap().status, 401);
    expected[0] += 2;
    assert_eq!(get_as(&world, &httpd, &alices, "bob").status, 403);
    let foreign = integration::http::Request::new("DELETE", &alices).header("Sec-Fetch-Site", "cross-site");
    assert_eq!(common::ask(&world, &httpd, "alice", foreign).status, 403);
    expected[1] += 2;
    let garbage = integration::http::Request::get(&alices).header("Authorization", "Basic !!!");
    assert_eq!(httpd.request(&garbage).unwrap().status, 400);
    expected[3] += 1;
    // What is served or not there is not refused.
    assert_eq!(get_as(&world, &httpd, &alices, "alice").status, 200);
    assert_eq!(get_as(&world, &httpd, &first("auth/no-such-file"), "alice").status, 404);
    assert_eq!(counted(), expected);
    let silent = common::Mischief::mode(&world, integration::world::FIRST_CELL, "silent", None);
    assert_eq!(httpd.get_as(&alices, "carol", "whoever").unwrap().status, 503);
    drop(silent);
    expected[2] += 1;
    assert_eq!(counted(), expected);
    let lines = fs::read_to_string(&log).unwrap().lines().count();
    assert_eq!(u64::try_from(lines).unwrap(), expected.iter().sum::<u64>(), "as many as the log has lines");
    let status = httpd.get("/server-status?auto").unwrap().text();
    assert!(status.lines().any(|l| l == "AFSRefusedForbidden: 2"), "{status}");
    httpd.stop(&[]).unwrap();
}
