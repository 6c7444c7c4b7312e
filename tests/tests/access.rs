//! Who reads what: the whole way from the browser to the file server and back, one suite for every method, AFS client and MPM.
//!
//! Its table of methods, clients and MPMs is printed at the end of the run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod common;

use common::tls::tls_httpd;
use common::{
    Changed, afs_client, first, first_line, forget_volume, get_as, kaserver, method, password, report,
    second, start, world,
};
use integration::content::{PUBLIC_LINE, owner_file, owner_line, pattern};
use integration::http::{Connection, Request, Response, base64};
use integration::httpd::Httpd;
use integration::method::Method;
use integration::world::{Cell, FIRST_CELL, SECOND_CELL, World};
use integration::{http2, wait};
use kaserver::Stats;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A file of 12 MiB that only alice may read.
const LARGE: (&str, usize) = ("alice-sizes/12m.bin", 12 << 20);

/// How often something is repeated: less where the processor is emulated, unless there is time.
fn rounds(n: u64) -> u64 {
    if wait::slow_factor() > 1 && !common::long() { n.div_ceil(3) } else { n }
}

fn is_owners(r: &Response, user: &str) -> bool {
    (r.status, first_line(r)) == (200, owner_line(user, FIRST_CELL).trim_end().to_owned())
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn what_everybody_may_read_is_served_without_login() {
    let world = world();
    let httpd = start(&world, "");
    for path in [first("public/page.html"), second("public/page.html"), first("far/page.html")] {
        let r = httpd.get(&path).unwrap();
        assert_eq!((r.status, r.text().starts_with(PUBLIC_LINE)), (200, true), "{path}");
        assert!(
            !r.header("Cache-Control").is_some_and(|v| v.contains("private")),
            "{path}: not served under a token"
        );
    }
    httpd.stop(&[]).unwrap();
}

/// How many tickets the kaserver and the KDC of a cell have given to a user.
fn tickets_of(world: &World, cell: &str, user: &str) -> (u64, usize) {
    let stats: Stats = serde_json::from_str(&kaserver(world, cell, "stats")).unwrap();
    let realm = world.realm(world.cell(cell).unwrap().realm.as_ref().unwrap()).unwrap();
    let principal = format!("{user}@{}", realm.name);
    let log = std::fs::read_to_string(&realm.log).unwrap();
    let issued = log.lines().filter(|l| l.contains(": ISSUE: ") && l.contains(&principal)).count();
    (stats.user(user).granted, issued)
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn tickets_come_from_the_servers_of_this_runs_method_alone() {
    let world = world();
    let httpd = start(&world, "");
    for (cell, user) in [(FIRST_CELL, "ivan"), (SECOND_CELL, "zoe")] {
        let secret = &world.cell(cell).unwrap().user(user).unwrap().password;
        let before = tickets_of(&world, cell, user);
        let r = httpd.get_as(&first("public/page.html"), &format!("{user}@{cell}"), secret).unwrap();
        assert_eq!(r.status, 200, "{user}@{cell}");
        let after = tickets_of(&world, cell, user);
        let more = (after.0 > before.0, after.1 > before.1);
        assert_eq!(more, (method() == Method::Kaserver, method() == Method::Krb5), "kaserver, KDC of {cell}");
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
        if afs_client() == "kafs" && path.starts_with("listed/") {
            // kAFS remembers for all threads that the file is absent, once it has told nobody so (docs/facts.md).
            report(&format!("not asked of kAFS in this order, in which it denies it to everybody: {path}"));
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
    // What everybody may list and alice may read, she is asked for first here, so that kAFS has it, too.
    let listed = first("listed-alice-first/page.html");
    for _ in 0..2 {
        let seen = ["alice", "bob", "carol"].map(|user| get_as(&world, &httpd, &listed, user).status);
        assert_eq!(seen, [200, 403, 403], "alice, bob, carol");
        assert_eq!(httpd.get(&listed).unwrap().status, 401);
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
fn d11_a_changed_password_counts_and_the_old_one_is_forgotten_everywhere() {
    let world = world();
    let httpd = start(&world, "");
    let path = first(&owner_file("mallory"));
    for _ in 0..10 {
        assert_eq!(httpd.get_as(&path, "mallory", "m").unwrap().status, 200);
    }
    let back = Changed::password(&world, "mallory", "changed");
    assert_eq!(httpd.get_as(&path, "mallory", "changed").unwrap().status, 200, "the new one");
    // In each child, as soon as the cell has taken the new one.
    for _ in 0..20 {
        assert_eq!(httpd.get_as(&path, "mallory", "m").unwrap().status, 401, "the old one");
    }
    drop(back);
    wait::until_true("the first one again", Duration::from_secs(30), || {
        Ok(httpd.get_as(&path, "mallory", "m")?.status == 200)
    })
    .unwrap();
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn d6_the_visitor_of_one_request_is_not_the_visitor_of_the_next_on_the_same_connection() {
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
            let r = c.send(&Request::get(&path).login(name, password(cell, name))).unwrap();
            assert_eq!((r.status, user(&r)), (200, format!("{name}@{FIRST_CELL}")));
            let afs = r.header("X-Afs").unwrap().to_owned();
            assert!(afs.starts_with(&format!("{name}|{FIRST_CELL}|")) && !afs.ends_with("(null)"), "{afs}");
        }
        // Logged in, but not let in: logs tell who it was.
        let r =
            c.send(&Request::get(&first(&owner_file("alice"))).login("bob", password(cell, "bob"))).unwrap();
        assert_eq!((r.status, user(&r)), (403, format!("bob@{FIRST_CELL}")));
        let afs = r.header("X-Afs").unwrap();
        assert!(afs.starts_with(&format!("bob|{FIRST_CELL}|")) && !afs.ends_with("(null)"), "{afs}");
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
fn a_read_only_replica_is_for_whom_its_acl_lets_in() {
    let world = world();
    let httpd = start(&world, "");
    let path = first("replica/page.html");
    for r in [httpd.get(&path).unwrap(), get_as(&world, &httpd, &path, "alice")] {
        assert_eq!((r.status, r.text().starts_with(PUBLIC_LINE)), (200, true));
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn an_expired_token_opens_nothing_and_the_next_login_makes_another() {
    let world = world();
    let httpd = start(&world, "Header always set X-Expires \"%{AFS_TOKEN_EXPIRES}e\"");
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let life = 10 * u64::from(wait::slow_factor());
    let path = first(&owner_file("mallory"));
    let ask = || httpd.get_as(&path, "mallory", "m").unwrap();
    let end_of = |r: &Response| -> u64 { r.header("X-Expires").unwrap().parse().unwrap() };

    let short = Changed::life(&world, "mallory", life);
    let r = ask();
    assert!(is_owners(&r, "mallory"), "{} {}", r.status, r.text());
    let end = end_of(&r);
    assert!(end <= now() + life, "{end} is later than in {life} s");
    drop(short);
    // The cell does not know the password any more: only the token can open the file.
    let back = Changed::password(&world, "mallory", "changed");
    let (mut with_token, mut after) = (0, 0);
    let began = Instant::now();
    while after < 20 {
        assert!(began.elapsed() < Duration::from_secs(4 * life), "the token never ends");
        let asked = now();
        let r = ask();
        match r.status {
            200 => {
                assert!(asked <= end, "served {} s after the end of the token", asked - end);
                assert_eq!(end_of(&r), end);
                with_token += 1;
            }
            401 => {
                // It is not relied on in its last seconds.
                assert!(now() + 3 >= end, "refused before the end of the token");
                after += 1;
            }
            // It ended while the request was under way.
            503 => assert!(now() >= end, "{}", r.text()),
            other => panic!("{other}: {}", r.text()),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(with_token > 0, "the token was never used");
    drop(back);
    wait::until_true("the next token", Duration::from_secs(30), || {
        let r = ask();
        Ok(is_owners(&r, "mallory") && end_of(&r) > end + 60)
    })
    .unwrap();
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_large_file_reaches_a_slow_reader_whole_while_others_are_served() {
    let world = world();
    let httpd = start(&world, "");
    let path = first(LARGE.0);
    forget_volume("alice-sizes");
    let secret = password(world.cell(FIRST_CELL).unwrap(), "alice");
    let bobs = first(&owner_file("bob"));
    std::thread::scope(|s| {
        let slow = s.spawn(|| {
            let mut c = Connection::open(httpd.address()).unwrap();
            c.send_only(&Request::get(&path).login("alice", secret)).unwrap();
            // What the network does not take has to wait, and is sent by whatever thread comes by.
            std::thread::sleep(Duration::from_secs(5));
            c.receive(false).unwrap()
        });
        for _ in 0..10 {
            assert!(is_owners(&get_as(&world, &httpd, &bobs, "bob"), "bob"));
            assert_eq!(get_as(&world, &httpd, &path, "bob").status, 403);
            assert_eq!(httpd.get(&path).unwrap().status, 401);
        }
        let r = slow.join().unwrap();
        assert_eq!((r.status, r.complete, r.body.len()), (200, true, LARGE.1));
        assert!(r.body == pattern(0, LARGE.1), "another body");
    });
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_large_file_and_another_visitors_request_in_one_packet_keep_apart() {
    let world = world();
    let httpd = start(&world, "");
    let cell = world.cell(FIRST_CELL).unwrap();
    let asks = [("alice", first(LARGE.0)), ("bob", first(&owner_file("bob"))), ("bob", first(LARGE.0))];
    for round in 0..rounds(3) {
        forget_volume("alice-sizes");
        let mut bytes = String::new();
        for (who, path) in &asks {
            let word = base64(format!("{who}:{}", password(cell, who)).as_bytes());
            let ask =
                format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {word}\r\n\r\n");
            bytes.push_str(&ask);
        }
        let mut c = Connection::open(httpd.address()).unwrap();
        c.send_raw(bytes.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_secs(2_u64.saturating_sub(round)));
        let large = c.receive(false).unwrap();
        assert_eq!((large.status, large.complete, large.body.len()), (200, true, LARGE.1));
        assert!(large.body == pattern(0, LARGE.1), "another body");
        assert!(is_owners(&c.receive(false).unwrap(), "bob"));
        assert_eq!(c.receive(false).unwrap().status, 403);
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn transfers_that_are_broken_off_leave_nobody_behind() {
    let world = world();
    let httpd = start(&world, "");
    let secret = password(world.cell(FIRST_CELL).unwrap(), "alice");
    let (large, bobs, alices) = (first(LARGE.0), first(&owner_file("bob")), first(&owner_file("alice")));
    for round in 0..rounds(12) {
        if round % 4 == 0 {
            forget_volume("alice-sizes");
        }
        let mut c = Connection::open(httpd.address()).unwrap();
        c.send_only(&Request::get(&large).login("alice", secret)).unwrap();
        if round % 2 == 0 {
            let mut some = [0; 4096];
            std::io::Read::read_exact(&mut c.socket(), &mut some).unwrap();
        }
        drop(c);
        assert_eq!(httpd.get(&alices).unwrap().status, 401, "nobody became alice");
        assert_eq!(get_as(&world, &httpd, &alices, "bob").status, 403, "bob became alice");
        assert!(is_owners(&get_as(&world, &httpd, &bobs, "bob"), "bob"));
    }
    let r = get_as(&world, &httpd, &large, "alice");
    assert!(r.complete && r.body == pattern(0, LARGE.1));
    httpd.stop(&[]).unwrap();
}

/// Asks for all of this at once on one connection with TLS: status and body of each.
fn over_tls(httpd: &Httpd, asks: &[(Option<&str>, String)], cell: &Cell) -> Vec<(u16, Vec<u8>)> {
    use std::io::Write as _;
    let dir = tempfile::tempdir().unwrap();
    let body = |i: usize| dir.path().join(i.to_string());
    let mut config = String::new();
    for (i, (who, path)) in asks.iter().enumerate() {
        if i > 0 {
            config.push_str("next\n");
        }
        config.push_str("silent\nshow-error\ninsecure\nhttp2\nmax-time = 300\n");
        config.push_str(&format!("url = \"https://{}{path}\"\n", httpd.address()));
        config.push_str(&format!("output = \"{}\"\n", body(i).display()));
        config
            .push_str(&format!("write-out = \"{i} %{{http_code}} %{{http_version}} %{{local_port}}\\n\"\n"));
        if let Some(user) = who {
            config.push_str(&format!("user = \"{user}:{}\"\n", password(cell, user)));
        }
    }
    let mut curl = std::process::Command::new("curl")
        .args(["--parallel", "--parallel-max", "100", "--config", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    curl.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
    let out = curl.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let mut found: Vec<Option<(u16, Vec<u8>)>> = asks.iter().map(|_| None).collect();
    let mut ports = std::collections::BTreeSet::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[i, status, version, port] = &words[..] else { panic!("{line}") };
        assert_eq!(version, "2", "{line}");
        let i: usize = i.parse().unwrap();
        found[i] = Some((status.parse().unwrap(), std::fs::read(body(i)).unwrap_or_default()));
        ports.insert(port.to_owned());
    }
    assert_eq!(ports.len(), 1, "one connection: {ports:?}");
    found.into_iter().map(|s| s.expect("an answer for each stream")).collect()
}

/// The same without TLS, where nothing on the way reads a body before the main connection's thread does.
fn without_tls(httpd: &Httpd, asks: &[(Option<&str>, String)], cell: &Cell) -> Vec<(u16, Vec<u8>)> {
    let requests: Vec<Request> = asks
        .iter()
        .map(|(who, path)| match who {
            Some(user) => Request::get(path).login(user, password(cell, user)),
            None => Request::get(path),
        })
        .collect();
    let answers = http2::at_once(httpd.address(), &requests).unwrap();
    answers.into_iter().map(|r| (r.status, r.body)).collect()
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn twenty_streams_of_different_visitors_on_one_http2_connection_keep_apart() {
    let world = world();
    let cell = world.cell(FIRST_CELL).unwrap();
    let mut asks = Vec::new();
    for user in ["alice", "bob", "carol", "dave"] {
        asks.push((Some(user), first(&owner_file(user))));
        asks.push((Some(user), first(LARGE.0)));
        asks.push((None, first(&owner_file(user))));
        asks.push((Some(user), first(&owner_file("erin"))));
        asks.push((Some(user), first(&owner_file(user))));
    }
    for tls in [true, false] {
        let httpd = if tls {
            tls_httpd(&world, "Protocols h2 http/1.1")
        } else {
            common::start_with(&world, "Protocols h2c http/1.1", |mut o| {
                o.modules.push("http2".to_owned());
                o
            })
        };
        for round in 0..rounds(3) {
            forget_volume("alice-sizes");
            let answers = if tls { over_tls } else { without_tls }(&httpd, &asks, cell);
            for ((who, path), (status, body)) in asks.iter().zip(&answers) {
                let what =
                    format!("TLS {tls}, round {round}: {who:?} {path}: {status}, {} bytes", body.len());
                match *who {
                    Some("alice") if *path == first(LARGE.0) => {
                        assert!(*status == 200 && *body == pattern(0, LARGE.1), "{what}");
                    }
                    Some(user) if *path == first(&owner_file(user)) => {
                        let begins = owner_line(user, FIRST_CELL).into_bytes();
                        assert!(*status == 200 && body.starts_with(&begins), "{what}");
                    }
                    _ => {
                        let text = String::from_utf8_lossy(body);
                        let wanted = if who.is_some() { 403 } else { 401 };
                        assert!(*status == wanted && !text.contains("owner: "), "{what} {text:.80}");
                    }
                }
            }
        }
        httpd.stop(&[]).unwrap();
    }
}

/// The connection begins with HTTP/1.1, and the request that changes it is answered behind that; if it is refused, nothing is
/// changed.
#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn who_changes_to_http2_by_upgrade_is_served_as_himself() {
    use std::io::Write as _;

    let world = world();
    let cell = world.cell(FIRST_CELL).unwrap();
    let httpd = common::start_with(&world, "Protocols h2c http/1.1", |mut o| {
        o.modules.push("http2".to_owned());
        o
    });
    for (user, owner, wanted) in
        [("alice", "alice", "200 2"), ("bob", "bob", "200 2"), ("bob", "alice", "403 1.1")]
    {
        let path = first(&owner_file(owner));
        let config = format!(
            "silent\nshow-error\nhttp2\nmax-time = 60\nurl = \"http://{}{path}\"\nuser = \"{user}:{}\"\n\
             write-out = \"%{{http_code}} %{{http_version}}\"\n",
            httpd.address(),
            password(cell, user)
        );
        let mut curl = std::process::Command::new("curl")
            .args(["--config", "-"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        curl.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
        let out = curl.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(text.ends_with(wanted), "{user}: {path}: {text}");
        assert_eq!(text.starts_with(&owner_line(owner, FIRST_CELL)), user == owner, "{user}: {path}: {text}");
    }
    httpd.stop(&[]).unwrap();
}
