//! Who gets what: the whole way from the browser to the file server and back, and every row of the table of outcomes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::{
    Mischief, first, first_line, get_as, kaserver, raw_authorization, second, start, start_wide, start_with,
    timed, world,
};
use integration::content::{PUBLIC_LINE, owner_file, owner_line};
use integration::http::{Connection, Request};
use integration::world::{FIRST_CELL, SECOND_CELL};
use std::time::Duration;

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn what_everybody_may_read_is_served_without_login() {
    let world = world();
    let httpd = start(&world, "");
    for path in [
        first("public/page.html"),
        second("public/page.html"),
        first("replica/page.html"),
        first("far/page.html"),
    ] {
        let r = httpd.get(&path).unwrap();
        assert_eq!((r.status, r.text().starts_with(PUBLIC_LINE)), (200, true), "{path}");
        assert!(
            !r.header("Cache-Control").is_some_and(|v| v.contains("private")),
            "{path}: not served under a token"
        );
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn each_visitor_reads_exactly_what_the_acl_lets_him() {
    let world = world();
    let httpd = start(&world, "");
    // Path, anonymous, alice, bob, carol.
    let table: &[(&str, [u16; 4])] = &[
        ("public/page.html", [200, 200, 200, 200]),
        ("alice-only/page.html", [401, 200, 403, 403]),
        ("home/alice/owner.txt", [401, 200, 403, 403]),
        ("home/bob/owner.txt", [401, 403, 200, 403]),
        ("auth/page.html", [401, 200, 200, 200]),
        ("not-bob/page.html", [401, 200, 403, 200]),
        ("friends/page.html", [401, 200, 200, 200]),
        ("nobody/page.html", [401, 403, 403, 403]),
        ("lookup/file.txt", [401, 403, 403, 403]),
        ("listed/page.html", [401, 200, 403, 403]),
        ("far/alice/owner.txt", [401, 200, 403, 403]),
        ("public/no-such-file", [404, 404, 404, 404]),
        ("alice-only/no-such-file", [401, 404, 403, 403]),
        ("links/private", [401, 200, 403, 403]),
    ];
    for (path, want) in table {
        if common::afs_client() == "kafs" && path.starts_with("listed/") {
            // kAFS remembers for all threads that the file is absent, once it has told nobody so (docs/facts.md).
            common::report(&format!("not asked of kAFS, which denies it to everybody then: {path}"));
            continue;
        }
        let target = first(path);
        let anonymous = httpd.get(&target).unwrap();
        let seen = [
            anonymous.status,
            get_as(&world, &httpd, &target, "alice").status,
            get_as(&world, &httpd, &target, "bob").status,
            get_as(&world, &httpd, &target, "carol").status,
        ];
        assert_eq!(seen, *want, "{path}: anonymous, alice, bob, carol");
        if anonymous.status == 401 {
            let prompt = anonymous.header("WWW-Authenticate").unwrap_or_default();
            assert_eq!(prompt, format!("Basic realm=\"AFS cell {FIRST_CELL}\""), "{path}");
        }
    }
    let r = get_as(&world, &httpd, &first(&owner_file("alice")), "alice");
    assert!(r.text().starts_with(&owner_line("alice", FIRST_CELL)));
    assert!(r.header("Cache-Control").is_some_and(|v| v.contains("private")), "{:?}", r.headers);
    assert!(r.header("Vary").is_some_and(|v| v.contains("Authorization")), "{:?}", r.headers);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn the_same_name_in_another_cell_is_another_visitor() {
    let world = world();
    let httpd = start(&world, "");
    let other = &world.cell(SECOND_CELL).unwrap().user("alice").unwrap().password;
    let here = &world.cell(FIRST_CELL).unwrap().user("alice").unwrap().password;
    let at = |path: &str, user: &str, password: &str| httpd.get_as(path, user, password).unwrap();
    let r = at(&second("home/alice/owner.txt"), "alice@other.example", other);
    assert_eq!((r.status, first_line(&r)), (200, owner_line("alice", SECOND_CELL).trim_end().to_owned()));
    assert_eq!(
        at(&second("home/alice/owner.txt"), "alice@OTHER.Example", other).status,
        200,
        "cells know no case"
    );
    assert_eq!(
        at(&first("home/alice/owner.txt"), "alice@other.example", other).status,
        403,
        "the other alice"
    );
    assert_eq!(at(&first("home/alice/owner.txt"), "alice", here).status, 200);
    assert_eq!(at(&second("home/alice/owner.txt"), "alice", here).status, 403, "the default cell's alice");
    assert_eq!(
        at(&first("home/alice/owner.txt"), "alice@other.example", here).status,
        401,
        "password of the other cell"
    );
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_changed_password_counts_and_the_old_one_is_forgotten_everywhere() {
    /// Puts it back, also after a failure.
    struct Back<'a>(&'a integration::world::World);
    impl Drop for Back<'_> {
        fn drop(&mut self) {
            kaserver(self.0, FIRST_CELL, "password mallory m");
        }
    }
    let world = world();
    let httpd = start(&world, "");
    let path = first(&owner_file("mallory"));
    for _ in 0..10 {
        assert_eq!(httpd.get_as(&path, "mallory", "m").unwrap().status, 200);
    }
    kaserver(&world, FIRST_CELL, "password mallory changed");
    let back = Back(&world);
    assert_eq!(httpd.get_as(&path, "mallory", "changed").unwrap().status, 200, "the new one");
    // In each child, as soon as the cell has taken the new one.
    for _ in 0..20 {
        assert_eq!(httpd.get_as(&path, "mallory", "m").unwrap().status, 401, "the old one");
    }
    drop(back);
    integration::wait::until_true("the first one again", Duration::from_secs(30), || {
        Ok(httpd.get_as(&path, "mallory", "m")?.status == 200)
    })
    .unwrap();
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_login_that_fails_says_why_by_its_status() {
    let world = world();
    let httpd = start(&world, "");
    let path = first(&owner_file("alice"));
    let wrong = httpd.get_as(&path, "alice", "wrong").unwrap();
    let same_as_wrong = [
        ("unknown user", "nobody-here", "x"),
        ("unknown cell", "alice@nowhere.example", "x"),
        ("prefix of a cell", "alice@other", "looking-glass"),
        ("empty cell", "alice@", "x"),
        ("control character", "al\nice", "x"),
        ("injected fields", "alice\nother.example\nlooking-glass", "x"),
        ("long name", &"a".repeat(64), "x"),
        ("very long name", &"a".repeat(5000), "x"),
        ("empty name", "", "x"),
        ("empty password", "alice", ""),
        ("long password", "alice", &"p".repeat(256)),
        ("NUL in the password", "alice", "wonder\0land"),
        ("newline in the password", "alice", "wonderland\n"),
    ];
    assert_eq!(wrong.status, 401);
    for (what, user, password) in same_as_wrong {
        let r = httpd.get_as(&path, user, password).unwrap();
        assert_eq!((r.status, r.text()), (401, wrong.text()), "{what}");
        assert_eq!(r.header("WWW-Authenticate"), wrong.header("WWW-Authenticate"), "{what}");
    }
    for (value, status) in [
        ("Basic !!!!", 400),
        ("Basic YWxpY2U", 400),
        ("Basic", 400),
        ("Basic YWxpY2U=", 400),
        ("Bearer abc", 401),
        ("Negotiate abc", 401),
        ("Digest username=\"alice\"", 401),
    ] {
        let r = httpd.request(&raw_authorization(&path, value)).unwrap();
        assert_eq!(r.status, status, "{value}");
        if status == 401 {
            assert!(r.header("WWW-Authenticate").is_some_and(|v| v.starts_with("Basic ")), "{value}");
        }
    }
    assert_eq!(get_as(&world, &httpd, &path, "alice").status, 200, "and the right password still works");
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn what_the_cell_says_about_an_account_is_401_for_the_visitor_and_a_word_in_the_log() {
    let world = world();
    let httpd = start(&world, "");
    let path = first(&owner_file("alice"));
    let wrong = httpd.get_as(&path, "alice", "wrong").unwrap();
    assert_eq!(get_expecting(&httpd, &path, "pwexpired", "pwexpired's pass"), (401, wrong.text()));
    for _ in 0..3 {
        assert_eq!(get_expecting(&httpd, &path, "lockable", &format!("no {}", std::process::id())).0, 401);
        std::thread::sleep(Duration::from_millis(10));
    }
    // Three wrong passwords more, each another, so that none is remembered.
    for i in 0..3 {
        assert_eq!(get_expecting(&httpd, &path, "lockable", &format!("wrong {i}")).0, 401);
    }
    assert_eq!(get_expecting(&httpd, &path, "lockable", "lockable's pass"), (401, wrong.text()));
    let log = std::fs::read_to_string(httpd.error_log()).unwrap();
    for word in ["wrong-password", "password-expired", "locked"] {
        assert!(log.contains(word), "{word} is not in the log");
    }
    assert!(!log.contains("wonderland") && !log.contains("lockable's pass"), "a password is in the log");
    kaserver(&world, FIRST_CELL, "unlock lockable");
    httpd.stop(&[]).unwrap();
}

fn get_expecting(httpd: &integration::httpd::Httpd, path: &str, user: &str, password: &str) -> (u16, String) {
    let r = httpd.get_as(path, user, password).unwrap();
    (r.status, r.text())
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn forged_answers_and_wrong_clocks_are_503_and_set_no_variable() {
    let world = world();
    let httpd = start_with(&world, "Header always set X-User \"expr=%{REMOTE_USER}\"", |o| o);
    let path = first("public/page.html");
    for (mode, user) in [
        ("forge-key", "alice"),
        ("forge-user mallory", "alice"),
        ("forge-challenge", "alice"),
        ("forge-garbage", "alice"),
    ] {
        let forged = Mischief::mode(&world, FIRST_CELL, mode, Some(user));
        let (r, took) = timed(|| get_as(&world, &httpd, &path, user));
        assert_eq!(r.status, 503, "{mode}");
        assert!(r.header("Retry-After").is_some(), "{mode}");
        assert!(r.header("X-User").is_none_or(str::is_empty), "{mode}: {:?}", r.headers);
        assert!(took < common::answer_limit(), "{mode}: {took:?}");
        drop(forged);
        // What was refused is remembered for a few seconds.
        std::thread::sleep(Duration::from_secs(6));
    }
    let skewed = Mischief::skew(&world, FIRST_CELL, 3600);
    assert_eq!(get_as(&world, &httpd, &path, "bob").status, 503, "clock skew");
    drop(skewed);
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(get_as(&world, &httpd, &path, "alice").status, 200);
    assert_eq!(get_as(&world, &httpd, &path, "bob").status, 200);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn the_visitor_of_one_request_is_not_the_visitor_of_the_next_on_the_same_connection() {
    let world = world();
    let httpd = start(
        &world,
        "Header always set X-User \"expr=%{REMOTE_USER}\"\nHeader always set X-Afs \"%{AFS_USER}e|%{AFS_CELL}e|%{AFS_TOKEN_EXPIRES}e\"",
    );
    let cell = world.cell(FIRST_CELL).unwrap();
    let mut c = Connection::open(httpd.address()).unwrap();
    let path = first("public/page.html");
    let user = |r: &integration::http::Response| r.header("X-User").unwrap_or_default().to_owned();
    for _ in 0..3 {
        for name in ["alice", "bob"] {
            let r = c.send(&Request::get(&path).login(name, common::password(cell, name))).unwrap();
            assert_eq!((r.status, user(&r)), (200, format!("{name}@{FIRST_CELL}")));
            let afs = r.header("X-Afs").unwrap().to_owned();
            assert!(afs.starts_with(&format!("{name}|{FIRST_CELL}|")) && !afs.ends_with("(null)"), "{afs}");
        }
        let r = c.send(&Request::get(&path)).unwrap();
        assert_eq!((r.status, user(&r)), (200, String::new()), "anonymous");
        assert_eq!(r.header("X-Afs"), Some("(null)|(null)|(null)"));
        let r = c.send(&Request::get(&path).login("alice", "wrong")).unwrap();
        assert_eq!((r.status, user(&r)), (401, String::new()), "refused");
        let r = c.send(&Request::get(&first(&owner_file("alice")))).unwrap();
        assert_eq!(r.status, 401, "alice is gone");
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn hundreds_of_requests_with_the_same_credentials_cost_one_login() {
    let world = world();
    let httpd = start_wide(&world, "");
    let cell = world.cell(FIRST_CELL).unwrap();
    let slow = Mischief::mode(&world, FIRST_CELL, "delay 300", None);
    kaserver(&world, FIRST_CELL, "stats reset");
    let ask = |user: &str, password: &str, want: u16| {
        std::thread::scope(|s| {
            let threads: Vec<_> = (0..50)
                .map(|_| {
                    s.spawn(|| {
                        (0..4)
                            .map(|_| {
                                httpd.get_as(&first(&owner_file("dave")), user, password).unwrap().status
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            for t in threads {
                assert_eq!(t.join().unwrap(), vec![want; 4]);
            }
        });
    };
    ask("dave", common::password(cell, "dave"), 200);
    ask("erin", "not erin's pass", 401);
    drop(slow);
    let stats = kaserver(&world, FIRST_CELL, "stats");
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    let logins = |user: &str| stats["users"][user]["authenticate"].as_u64().unwrap_or(0);
    assert_eq!(logins("dave"), 1, "{stats}");
    // A refusal is remembered for five seconds, which a busy machine may take for 200 requests.
    assert!((1..=2).contains(&logins("erin")), "{stats}");
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_password_goes_to_the_broker_only_for_afs_locations() {
    let world = world();
    let httpd = start(
        &world,
        "Alias /plain /afs\n<Location /afs/cell.example/public>\nAFSAuthType None\n</Location>",
    );
    kaserver(&world, FIRST_CELL, "stats reset");
    let r = httpd.get_as("/index.html", "frank", "frank's pass").unwrap();
    assert_eq!(r.status, 200);
    httpd.get_as(&first("public/page.html"), "frank", "frank's pass").unwrap();
    let stats: serde_json::Value = serde_json::from_str(&kaserver(&world, FIRST_CELL, "stats")).unwrap();
    assert_eq!(stats["users"]["frank"]["authenticate"].as_u64().unwrap_or(0), 0, "{stats}");
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn address_rules_of_a_location_come_before_any_login() {
    let world = world();
    let httpd = start(&world, "<Location /afs/cell.example/home>\nRequire ip 203.0.113.0/24\n</Location>");
    kaserver(&world, FIRST_CELL, "stats reset");
    assert_eq!(httpd.get_as(&first(&owner_file("grace")), "grace", "grace's pass").unwrap().status, 403);
    let stats: serde_json::Value = serde_json::from_str(&kaserver(&world, FIRST_CELL, "stats")).unwrap();
    assert_eq!(stats["users"]["grace"]["authenticate"].as_u64().unwrap_or(0), 0, "{stats}");
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn failed_logins_are_limited_before_the_cell_is_asked() {
    let world = world();
    let httpd = start(&world, "SetAFSLoginLimit 3 10 60");
    kaserver(&world, FIRST_CELL, "stats reset");
    let path = first(&owner_file("heidi"));
    let seen: Vec<u16> =
        (0..6).map(|i| httpd.get_as(&path, "heidi", &format!("guess {i}")).unwrap().status).collect();
    assert_eq!(seen, [401, 401, 401, 503, 503, 503]);
    let stats: serde_json::Value = serde_json::from_str(&kaserver(&world, FIRST_CELL, "stats")).unwrap();
    assert_eq!(stats["users"]["heidi"]["authenticate"].as_u64(), Some(3), "{stats}");
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn without_tls_no_login_where_tls_is_required() {
    let world = world();
    let httpd = start(&world, "SetAFSRequireTLS On");
    kaserver(&world, FIRST_CELL, "stats reset");
    let r = httpd.get_as(&first(&owner_file("ivan")), "ivan", "ivan's pass").unwrap();
    assert_eq!(r.status, 403);
    assert_eq!(httpd.get(&first("public/page.html")).unwrap().status, 200);
    let r = httpd.get(&first(&owner_file("ivan"))).unwrap();
    assert_eq!((r.status, r.header("WWW-Authenticate")), (403, None), "no prompt for a password without TLS");
    let stats: serde_json::Value = serde_json::from_str(&kaserver(&world, FIRST_CELL, "stats")).unwrap();
    assert_eq!(stats["users"]["ivan"]["authenticate"].as_u64().unwrap_or(0), 0, "{stats}");
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn refused_accesses_are_logged_escaped_and_not_for_everybody() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = world();
    let log = "/srv/afs-refused.log";
    let _ = std::fs::remove_file(log);
    let httpd = start(&world, &format!("SetAFSAccessLog {log}"));
    assert_eq!(httpd.get(&first("home/alice/%22%0aforged%20line")).unwrap().status, 401);
    assert_eq!(get_as(&world, &httpd, &first(&owner_file("alice")), "bob").status, 403);
    assert_eq!(get_as(&world, &httpd, &first("public/page.html"), "bob").status, 200);
    integration::wait::until_true("both lines", Duration::from_secs(10), || {
        Ok(std::fs::read_to_string(log)?.lines().count() >= 2)
    })
    .unwrap();
    let text = std::fs::read_to_string(log).unwrap();
    assert_eq!(text.lines().count(), 2, "what was served is not refused: {text}");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("401") && lines[0].contains("/home/alice/") && lines[0].is_ascii(), "{text}");
    assert!(lines[1].contains("403") && lines[1].contains(&format!("bob@{FIRST_CELL}")), "{text}");
    assert_eq!(std::fs::metadata(log).unwrap().permissions().mode() & 0o777, 0o640);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn somebody_elses_ticket_is_refused_however_public_an_entry_of_the_protection_database_is() {
    let world = world();
    let httpd = start(&world, "");
    let machine = &world.cell(FIRST_CELL).unwrap().machines[0];
    let path = first("public/page.html");
    // Status only; membership public too; ownership public too: each is proved by another call.
    for (user, access) in [("frank", "S----"), ("grace", "S-M--"), ("heidi", "SOM--")] {
        machine.run("pts", ["setfields", user, "-access", access, "-localauth"]).unwrap();
        let forged = Mischief::mode(&world, FIRST_CELL, "forge-user mallory", Some(user));
        assert_eq!(get_as(&world, &httpd, &path, user).status, 503, "{access}");
        drop(forged);
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(get_as(&world, &httpd, &path, user).status, 200, "{access}");
        let entry = machine.run("pts", ["examine", user, "-localauth"]).unwrap();
        assert!(entry.contains(access), "the entry is as it was: {entry}");
        machine.run("pts", ["setfields", user, "-access", "S----", "-localauth"]).unwrap();
    }
    httpd.stop(&[]).unwrap();
}
