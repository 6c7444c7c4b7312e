//! Logins: every row of the table of outcomes, what they cost, what limits them, and what is written down of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::{
    Mischief, afs_config_without_methods, first, first_line, get_as, kaserver, raw_authorization, start,
    start_wide, start_with, timed, world,
};
use integration::content::{owner_file, owner_line};
use integration::http::base64;
use integration::world::FIRST_CELL;
use std::time::Duration;

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
fn visitors_of_one_address_whose_logins_fill_its_limit_wait_for_each_other() {
    let world = world();
    let httpd = start(&world, "SetAFSLoginLimit 10 2 60");
    let slow = Mischief::mode(&world, FIRST_CELL, "delay 300", None);
    std::thread::scope(|s| {
        for user in ["alice", "bob", "carol", "dave"] {
            let (world, httpd) = (&world, &httpd);
            s.spawn(move || {
                let r = get_as(world, httpd, &first(&owner_file(user)), user);
                assert_eq!(
                    (r.status, first_line(&r)),
                    (200, owner_line(user, FIRST_CELL).trim_end().to_owned())
                );
            });
        }
    });
    drop(slow);
    // What has failed stays counted, whoever comes next.
    for user in ["alice", "bob"] {
        assert_eq!(httpd.get_as(&first("public/page.html"), user, "not hers or his").unwrap().status, 401);
    }
    let r = httpd.get_as(&first("public/page.html"), "carol", "not hers").unwrap();
    assert_eq!((r.status, r.header("Retry-After")), (503, Some("5")));
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
fn d18_refused_accesses_are_logged_escaped_and_not_for_everybody() {
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

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_location_says_whether_visitors_log_in_where_they_may_and_what_they_are_called() {
    let world = world();
    let of = |path: &str, text: &str| format!("<Location {}>\n{text}\n</Location>\n", first(path));
    let more = of("public", "AFSLogin required")
        + &of("sizes", "AFSLogin none")
        + &of("home", &format!("AFSCells {FIRST_CELL}"))
        + &of("home/alice", "AFSRemoteUser short")
        + "Header always set X-User \"expr=%{REMOTE_USER}\"\n";
    let httpd = start(&world, &more);
    let page = first("public/page.html");
    let zoe = |path: &str| httpd.get_as(path, "zoe@other.example", "zoe's pass").unwrap();
    // Everybody may read it, and has to say who he is.
    let r = httpd.get(&page).unwrap();
    assert_eq!(r.status, 401);
    assert!(r.header("WWW-Authenticate").is_some());
    assert_eq!(get_as(&world, &httpd, &page, "alice").status, 200);
    assert_eq!(zoe(&page).status, 200);
    let r = httpd.get_as(&first("sizes/4k.bin"), "alice", "wrong").unwrap();
    assert_eq!((r.status, r.header("X-User")), (200, Some("")), "a public area");
    // One cell only.
    assert_eq!(zoe(&first("home/")).status, 401);
    assert_eq!(zoe(&first("public/page.html")).status, 200);
    // His name without the cell, where that says as much.
    let user = |path: &str, name: &str, password: &str| {
        let r = httpd.get_as(&first(path), name, password).unwrap();
        (r.status, r.header("X-User").unwrap_or_default().to_owned())
    };
    assert_eq!(user("home/alice/owner.txt", "alice", "wonderland"), (200, "alice".to_owned()));
    assert_eq!(user("home/bob/owner.txt", "alice", "wonderland"), (403, "alice@cell.example".to_owned()));
    httpd.stop(&[]).unwrap();
    let short = start(&world, "AFSRemoteUser short\nHeader always set X-User \"expr=%{REMOTE_USER}\"\n");
    let other = short.get_as(&page, "alice@other.example", "looking-glass").unwrap();
    assert_eq!(
        (other.status, other.header("X-User")),
        (200, Some("alice@other.example")),
        "not the cell's alice"
    );
    short.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn d48_no_password_is_written_anywhere_however_much_is_logged() {
    let world = world();
    let httpd =
        start_with(&world, "SetAFSDebugLevel 4\nSetAFSAccessLog /srv/afs-refused-d48.log", |mut o| {
            // httpd itself writes the headers of requests from trace4 on.
            o.log_level = "debug afs:trace8".into();
            o
        });
    let path = first(&owner_file("alice"));
    let right = &world.cell(FIRST_CELL).unwrap().user("alice").unwrap().password;
    let logins: [(&str, &str, u16); 5] = [
        ("alice", right, 200),
        ("alice", "gu3ssed-wrong", 401),
        ("alice@nowhere.example", "nowhere-s3cret", 401),
        ("al\nice", "unfit-s3cret", 401),
        ("nobody-here", "unknown-s3cret", 401),
    ];
    for (user, password, status) in logins {
        assert_eq!(httpd.get_as(&path, user, password).unwrap().status, status, "{user}");
    }
    let forged = Mischief::mode(&world, FIRST_CELL, "forge-user mallory", Some("bob"));
    let of_bob = &world.cell(FIRST_CELL).unwrap().user("bob").unwrap().password;
    assert_eq!(httpd.get_as(&path, "bob", of_bob).unwrap().status, 503);
    drop(forged);
    let mut logs: Vec<_> = std::fs::read_dir(httpd.dir()).unwrap().map(|e| e.unwrap().path()).collect();
    logs.push("/srv/afs-refused-d48.log".into());
    let mut lines = 0;
    for log in logs.iter().filter(|p| p.is_file() && !p.ends_with("httpd.conf")) {
        let text = String::from_utf8_lossy(&std::fs::read(log).unwrap()).into_owned();
        lines += text.lines().count();
        for (user, password) in logins.iter().map(|l| (l.0, l.1)).chain([("bob", of_bob.as_str())]) {
            let header = base64(format!("{user}:{password}").as_bytes());
            assert!(!text.contains(password) && !text.contains(&header), "{user}: {}", log.display());
        }
    }
    assert!(lines > 30, "logs of {lines} lines show nothing");
    let log = std::fs::read_to_string(httpd.error_log()).unwrap();
    assert!(log.contains("login alice@cell.example from"), "the broker's line of a login");
    httpd.stop(&["not-accepted"]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn d53_the_values_that_the_original_recommended_serve_visitors() {
    let world = world();
    for method in ["kaserver", "krb5"] {
        for values in [
            "SetAFSCacheExpiration 300\nSetAFSTokenExpiration 60\n",
            "SetAFSCacheExpiration 300\n",
            "SetAFSTokenExpiration 600\n",
            "SetAFSCacheExpiration 0\nSetAFSTokenExpiration 600\n",
        ] {
            let httpd = start_with(&world, "", |mut o| {
                o.afs = Some(afs_config_without_methods(
                    &world,
                    &format!("AFSAuthMethod {FIRST_CELL} {method}\n{values}"),
                ));
                o
            });
            for _ in 0..3 {
                let r = get_as(&world, &httpd, &first(&owner_file("alice")), "alice");
                assert_eq!(r.status, 200, "{method} {values}: {}", r.text());
                assert_eq!(httpd.get(&first(&owner_file("alice"))).unwrap().status, 401, "{method} {values}");
            }
            httpd.stop(&[]).unwrap();
        }
    }
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_place_is_called_the_same_whenever_it_asks() {
    let world = world();
    let httpd = start(
        &world,
        &format!(
            "Alias /u {}\n<Location /u>\nAFSAuthType AFS\nAFSLoginPrompt \"<%unowhere>\"\n</Location>",
            first("alice-only")
        ),
    );
    // Refused by AFS, when the URL has been decoded; and before that, for a wrong password.
    let path = "/u/a%20b%C3%BC/page.html";
    let realms = [httpd.get(path).unwrap(), httpd.get_as(path, "alice", "wrong").unwrap()].map(|r| {
        assert_eq!(r.status, 401);
        r.header("WWW-Authenticate").unwrap().to_owned()
    });
    assert!(realms[0].contains("/u/a b"), "{realms:?}");
    assert_eq!(realms[0], realms[1]);
    httpd.stop(&[]).unwrap();
}
