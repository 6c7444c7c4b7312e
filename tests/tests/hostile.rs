//! Requests that try to get what is another visitor's, and what could leak to programs that httpd starts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::{
    afs_client, answer_limit, ask, broker_of, first, get_as, nanny_of, password, raw_authorization, start,
    start_with, timed, world,
};
use integration::content::{owner_file, owner_line};
use integration::http::{Connection, Request, base64};
use integration::httpd::{Httpd, Mpm};
use integration::process::signal_pid;
use integration::seen;
use integration::wait;
use integration::world::{FIRST_CELL, World};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

/// User and password, path, status, whose file it is.
type Ask<'a> = (Option<(&'a str, &'a str)>, &'a str, u16, Option<&'a str>);

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn requests_that_come_in_one_packet_keep_their_own_visitors() {
    let world = world();
    let httpd = start(&world, "");
    let cell = world.cell(FIRST_CELL).unwrap();
    let alices = first(&owner_file("alice"));
    let bobs = first(&owner_file("bob"));
    let asks: [Ask<'_>; 7] = [
        (Some(("alice", password(cell, "alice"))), &alices, 200, Some("alice")),
        (None, &alices, 401, None),
        (Some(("bob", password(cell, "bob"))), &alices, 403, None),
        (Some(("alice", "wrong")), &alices, 401, None),
        (Some(("bob", password(cell, "bob"))), &bobs, 200, Some("bob")),
        (Some(("alice", password(cell, "bob"))), &bobs, 401, None),
        (None, &bobs, 401, None),
    ];
    for _ in 0..5 {
        let mut bytes = String::new();
        for (who, path, ..) in &asks {
            bytes.push_str(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n"));
            if let Some((user, password)) = who {
                let word = base64(format!("{user}:{password}").as_bytes());
                bytes.push_str(&format!("Authorization: Basic {word}\r\n"));
            }
            bytes.push_str("\r\n");
        }
        let mut c = Connection::open(httpd.address()).unwrap();
        c.send_raw(bytes.as_bytes()).unwrap();
        for (who, path, status, owner) in &asks {
            let r = c.receive(false).unwrap();
            assert_eq!(r.status, *status, "{who:?} {path}");
            match owner {
                Some(o) => assert!(r.text().starts_with(&owner_line(o, FIRST_CELL)), "{who:?} {path}"),
                None => assert!(!r.text().contains("owner: "), "{who:?} {path}"),
            }
        }
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn error_documents_and_indexes_in_afs_are_read_as_the_visitor_who_asked() {
    let world = world();
    let site = std::path::Path::new("/srv/httpd/hostile");
    std::fs::create_dir_all(site).unwrap();
    let more = format!(
        "Header always set X-User \"expr=%{{REMOTE_USER}}\"\n\
         ErrorDocument 401 {own}\nErrorDocument 403 {own}\nErrorDocument 404 {own}\n\
         Alias /plain {site}\n<Directory {site}>\nRequire all granted\nDirectoryIndex {own}\n</Directory>\n",
        own = first(&owner_file("alice")),
        site = site.display(),
    );
    let httpd = start(&world, &more);
    let cell = world.cell(FIRST_CELL).unwrap();
    let mine = owner_line("alice", FIRST_CELL);
    let asks: [(Option<(&str, &str)>, bool); 4] = [
        (None, false),
        (Some(("bob", password(cell, "bob"))), false),
        (Some(("alice", "wrong")), false),
        (Some(("alice", password(cell, "alice"))), true),
    ];
    for path in [
        first("nobody/page.html"),
        first("public/no-such-file"),
        first(&owner_file("carol")),
        "/plain/".to_owned(),
    ] {
        for (who, may) in asks {
            let mut request = Request::get(&path);
            if let Some((user, password)) = who {
                request = request.login(user, password);
            }
            let r = httpd.request(&request).unwrap();
            let what = format!("{path} {who:?}: {} {}", r.status, r.text());
            assert_eq!(r.text().contains(mine.trim_end()), may, "{what}");
            assert!(may || !r.text().contains("owner: "), "{what}");
            if who == Some(("alice", "wrong")) {
                assert_eq!(r.header("X-User").unwrap_or_default(), "", "{path}: wrong password");
            }
        }
    }
    httpd.stop(&["nobody", "no-right", "AH"]).unwrap();
}

/// The ends of pipes that a process has: which pipe, and whether it can be read.
fn pipes(pid: u32) -> BTreeSet<(String, bool)> {
    let end = |fd: std::fs::DirEntry| {
        let pipe = std::fs::read_link(fd.path()).ok()?.display().to_string();
        let number = fd.file_name().into_string().ok()?;
        let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim();
        pipe.starts_with("pipe:").then(|| (pipe, flags.ends_with('0')))
    };
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().filter_map(|fd| end(fd.ok()?)).collect()
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn programs_that_httpd_starts_inherit_nothing_of_ours() {
    let world = world();
    let dir = std::path::Path::new("/srv/httpd/cgi");
    std::fs::create_dir_all(dir).unwrap();
    let script = dir.join("show");
    std::fs::write(
        &script,
        "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\nls -l /proc/$$/fd\nenv\ntr '\\0' ' ' < /proc/$$/cmdline\n",
    )
    .unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let more = format!(
        "ScriptAlias /cgi {d}\n<Directory {d}>\nRequire all granted\nOptions ExecCGI\n</Directory>\n\
         <Location /cgi>\nAFSAuthType AFS\n</Location>\n",
        d = dir.display()
    );
    let httpd = start_with(&world, &more, |mut o| {
        o.modules.push(if o.mpm == Mpm::Prefork { "cgi" } else { "cgid" }.to_owned());
        if o.mpm != Mpm::Prefork {
            o.extra.push_str("ScriptSock cgid.sock\n");
        }
        o
    });
    // Children that have logged visitors in and read files.
    for _ in 0..30 {
        assert_eq!(get_as(&world, &httpd, &first(&owner_file("alice")), "alice").status, 200);
    }
    let r = get_as(&world, &httpd, "/cgi/show", "alice");
    let text = r.text();
    assert_eq!(r.status, 200, "{text}");
    // What the harness itself has left open is none of httpd's.
    let ours: Vec<String> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|e| Some(std::fs::read_link(e.ok()?.path()).ok()?.display().to_string()))
        .collect();
    for line in text.lines() {
        let Some((what, target)) = line.split_once(" -> ") else { continue };
        let number: u32 = what.split_whitespace().last().unwrap().parse().unwrap();
        let harmless = number <= 2 || ours.iter().any(|o| o == target) || target.ends_with("/cgi/show");
        assert!(harmless || target == "/dev/null", "inherited: {line}");
    }
    assert!(text.contains("REMOTE_USER=alice@cell.example"), "{text}");
    assert!(!text.contains("wonderland") && !text.contains("Authorization"), "{text}");
    assert!(!text.contains(&base64(b"alice:wonderland")), "{text}");
    // Nobody but httpd's parent has what is the broker's, neither a child nor mod_cgid's daemon.
    let broker = pipes(broker_of(&httpd).unwrap());
    assert!(broker.len() > 10, "{broker:?}");
    let processes = httpd.children();
    assert!(processes.len() > 1, "{processes:?}");
    for pid in processes {
        let both = pipes(pid).into_iter().filter(|end| broker.contains(end)).count();
        assert_eq!(both, 0, "process {pid} has the broker's ends of lanes");
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_broker_that_stands_still_holds_nobody_beyond_the_deadline() {
    let world = world();
    let httpd = start(&world, "");
    assert_eq!(get_as(&world, &httpd, &first(&owner_file("alice")), "alice").status, 200);
    let (broker, nanny) = (broker_of(&httpd).unwrap(), nanny_of(&httpd).unwrap());
    // She would replace it after half a minute.
    signal_pid(nanny, Signal::STOP).unwrap();
    signal_pid(broker, Signal::STOP).unwrap();
    std::thread::scope(|s| {
        let all: Vec<_> = (0..40)
            .map(|_| {
                let (world, httpd) = (&world, &httpd);
                s.spawn(move || timed(|| get_as(world, httpd, &first(&owner_file("bob")), "bob").status))
            })
            .collect();
        for t in all {
            let (status, took) = t.join().unwrap();
            assert_eq!(status, 503);
            assert!(took < answer_limit(), "{took:?}");
        }
    });
    signal_pid(broker, Signal::CONT).unwrap();
    signal_pid(nanny, Signal::CONT).unwrap();
    integration::wait::until_true("logins", Duration::from_secs(20), || {
        Ok(get_as(&world, &httpd, &first(&owner_file("bob")), "bob").status == 200)
    })
    .unwrap();
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn guesses_that_are_used_up_are_not_confirmed_from_a_cache() {
    let world = world();
    let more = "RemoteIPHeader X-Visitor\nRemoteIPInternalProxy 127.0.0.1\nSetAFSLoginLimit 3 1000 60\n";
    let httpd = start_with(&world, more, |mut o| {
        o.modules.push("remoteip".to_owned());
        o
    });
    let cell = world.cell(FIRST_CELL).unwrap();
    let path = first(&owner_file("alice"));
    let ask = |from: &str, password: &str| {
        httpd.request(&Request::get(&path).login("alice", password).header("X-Visitor", from)).unwrap().status
    };
    let right = password(cell, "alice");
    // Known to the broker and to every child.
    for _ in 0..40 {
        assert_eq!(ask("192.0.2.77", right), 200);
    }
    for i in 0..3 {
        assert_eq!(ask("198.51.100.66", &format!("guess {i}")), 401);
    }
    assert_eq!(ask("198.51.100.66", "guess 4"), 503);
    for _ in 0..40 {
        assert_eq!(ask("198.51.100.66", right), 503, "the right guess is told apart");
    }
    assert_eq!(ask("192.0.2.77", right), 200, "the victim goes on");
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn graceful_restarts_under_load_mix_nobody_up() {
    let world = world();
    let mut httpd = start(&world, "");
    let cell = world.cell(FIRST_CELL).unwrap();
    // Before it has children, a signal of a restart would end it.
    assert_eq!(get_as(&world, &httpd, &first(&owner_file("alice")), "alice").status, 200);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let address = httpd.address();
    std::thread::scope(|s| {
        let end = common::load::End(&stop);
        const USERS: [&str; 6] = ["alice", "bob", "carol", "dave", "erin", "frank"];
        let rights = [const { std::sync::atomic::AtomicU32::new(0) }; USERS.len()];
        let rights = &*Box::leak(Box::new(rights));
        let clients: Vec<_> = USERS
            .iter()
            .zip(rights)
            .map(|(user, right)| {
                let (stop, path, secret) = (&stop, first(&owner_file(user)), password(cell, user));
                s.spawn(move || {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        let Ok(mut c) = Connection::open(address) else { continue };
                        for _ in 0..5 {
                            let Ok(r) = c.send(&Request::get(&path).login(user, secret)) else { break };
                            if r.status == 200 {
                                assert!(
                                    r.text().starts_with(&owner_line(user, FIRST_CELL)),
                                    "{user}: {}",
                                    r.text()
                                );
                                right.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                            } else {
                                assert_eq!(r.status, 503, "{user}");
                            }
                            if r.header("Connection") == Some("close") {
                                break;
                            }
                        }
                    }
                })
            })
            .collect();
        // Not the other kind of restart: event's own closing of sockets under load crashes now and then.
        for _ in 0..6 {
            httpd.graceful().unwrap();
            std::thread::sleep(Duration::from_millis(500));
        }
        // Everybody is served after the last one, too, however slow the machine is.
        let served = || rights.each_ref().map(|r| r.load(std::sync::atomic::Ordering::Relaxed));
        let before = served();
        let all = wait::until_true("an answer for each client", Duration::from_secs(60), || {
            Ok(served().iter().zip(before).all(|(now, before)| *now > before.max(10)))
        });
        drop(end);
        for c in clients {
            c.join().unwrap();
        }
        all.unwrap();
    });
    httpd.stop(&["long lost child"]).unwrap();
}

/// One child for all, so that whatever a request leaves behind in it is there for the next one.
fn one_child(world: &World, more: &str) -> Httpd {
    start_with(world, more, |mut o| {
        o.sizes = Some(match o.mpm {
            Mpm::Prefork => "StartServers 1\nServerLimit 1\nMaxRequestWorkers 1\n".to_owned(),
            _ => "StartServers 1\nServerLimit 1\nThreadsPerChild 4\nThreadLimit 4\nMaxRequestWorkers 4\n"
                .to_owned(),
        });
        o
    })
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn d4_who_a_request_is_from_is_decided_by_it_alone_and_not_by_an_earlier_one() {
    let world = world();
    let httpd = one_child(&world, "Header always set X-User \"expr=%{REMOTE_USER}\"");
    let cell = world.cell(FIRST_CELL).unwrap();
    let alices = first(&owner_file("alice"));
    let ask = |login: Option<(&str, &str)>| {
        let mut request = Request::get(&alices);
        if let Some((user, password)) = login {
            request = request.login(user, password);
        }
        // A connection of its own each time.
        let r = httpd.request(&request).unwrap();
        assert!(r.status == 200 || !r.text().contains("owner: "), "{login:?}: {}", r.text());
        (r.status, r.header("X-User").unwrap_or_default().to_owned())
    };
    let (alice, bob) = (Some(("alice", password(cell, "alice"))), Some(("bob", password(cell, "bob"))));
    let nobody = (401, String::new());
    let is = |status: u16, user: &str| (status, format!("{user}@{FIRST_CELL}"));
    for round in 0..3 {
        assert_eq!(ask(None), nobody, "{round}: nobody, at first and after bob");
        assert_eq!(ask(alice), is(200, "alice"), "{round}");
        assert_eq!(ask(None), nobody, "{round}: nobody after alice");
        assert_eq!(ask(bob), is(403, "bob"), "{round}: bob after nobody");
        assert_eq!(ask(None), nobody, "{round}: nobody after bob was denied");
        assert_eq!(ask(Some(("alice", "wrong"))), nobody, "{round}: a wrong password after bob");
        assert_eq!(ask(Some(("bob", "wrong"))), nobody, "{round}: another one after that");
        assert_eq!(ask(alice), is(200, "alice"), "{round}: alice after wrong passwords");
        assert_eq!(ask(Some(("alice", password(cell, "bob")))), nobody, "{round}: bob's password for alice");
        assert_eq!(ask(Some(("alice@nowhere.example", password(cell, "alice")))), nobody, "{round}");
        assert_eq!(httpd.request(&raw_authorization(&alices, "Basic !")).unwrap().status, 400, "{round}");
        assert_eq!(ask(bob), is(403, "bob"), "{round}: bob after refused logins");
    }
    assert_eq!(httpd.children().len(), 1);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn d13_d59_a_login_of_any_length_is_refused_and_costs_no_child() {
    let world = world();
    let httpd = one_child(&world, "");
    let path = first(&owner_file("alice"));
    assert_eq!(get_as(&world, &httpd, &path, "alice").status, 200);
    let children = httpd.children();
    for n in [62, 63, 64, 65, 127, 128, 255, 256, 257, 1_000, 1_023, 1_024, 1_025, 4_000, 6_000] {
        let long = "a".repeat(n);
        for (user, password) in [
            (long.clone(), "x".to_owned()),
            ("alice".to_owned(), long.clone()),
            (format!("alice@{long}"), "x".to_owned()),
            (format!("{long}@{long}"), long.clone()),
        ]
        .iter()
        .filter(|(user, password)| user.len() + password.len() < 6_100)
        {
            let r = httpd.get_as(&path, user, password).unwrap();
            assert_eq!(r.status, 401, "{n}: {} and {} bytes", user.len(), password.len());
        }
    }
    // Longer than httpd takes any header.
    let r = httpd.get_as(&path, &"a".repeat(9_000), "x").unwrap();
    assert_eq!(r.status, 400);
    assert_eq!(get_as(&world, &httpd, &path, "alice").status, 200);
    assert_eq!(httpd.children(), children, "a child has ended");
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn d14_d15_d59_whatever_a_url_is_the_challenge_is_one_short_quoted_line() {
    let world = world();
    // Whatever begins so is alice's file.
    let more = format!(
        "AliasMatch ^/evil /afs/{FIRST_CELL}/{}\n<LocationMatch ^/evil>\nAFSAuthType AFS\n\
         AFSLoginPrompt \"Files below <%unowhere> of <%cno cell>\"\n</LocationMatch>",
        owner_file("alice")
    );
    let httpd = one_child(&world, &more);
    assert_eq!(get_as(&world, &httpd, &first(&owner_file("alice")), "alice").status, 200);
    let children = httpd.children();
    let longer = "a".repeat(7_000);
    // What the first part of the URL ends with, and what comes of it in the realm.
    for (part, shown) in [
        ("%22x", "/evil\\\"x/y of cell.example".to_owned()),
        ("%5c%22x", "/evil\\\\\\\"x/y of cell.example".to_owned()),
        ("%0d%0aX-Evil:%20yes", "/evilX-Evil: yes/y of cell.example".to_owned()),
        ("%0aX-Evil:%20yes%0a%0a%22", "/evilX-Evil: yes\\\"/y of cell.example".to_owned()),
        ("<%25d>%3c%25c", "/evil<%d><%c/y of cell.example".to_owned()),
        ("%25s%25n", "/evil%s%n/y of cell.example".to_owned()),
        (&longer, format!("/evil{}", "a".repeat(200 - "Files below /evil".len()))),
    ] {
        let url = format!("/evil{part}/y/z");
        let r = httpd.get(&url).unwrap();
        let challenge = r.header("WWW-Authenticate").unwrap_or_default();
        let part = part.get(..20).unwrap_or(part);
        assert_eq!(r.status, 401, "{part}: {}", r.text());
        assert_eq!(challenge, format!("Basic realm=\"Files below {shown}\""), "{part}");
        // A login that is refused before the URL is decoded.
        let refused = httpd.get_as(&url, "alice", "wrong").unwrap();
        assert!(refused.status == 401 && refused.header("WWW-Authenticate").is_some_and(|c| c.len() < 300));
        for r in [&r, &refused] {
            assert!(r.header("X-Evil").is_none() && r.all("WWW-Authenticate").len() == 1, "{:?}", r.headers);
        }
        assert_eq!(get_as(&world, &httpd, &url, "alice").status, 200, "{part}");
    }
    assert_eq!(httpd.children(), children, "a child has ended");
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn d17_what_comes_from_a_url_is_written_to_the_log_as_it_is_and_on_one_line() {
    let world = world();
    let httpd = one_child(&world, "LogLevel afs:trace2");
    let children = {
        assert_eq!(get_as(&world, &httpd, &first(&owner_file("alice")), "alice").status, 200);
        httpd.children()
    };
    let signs = "%25s%25n%25s%25n%25x%25.9999d%25s%25s%25s%25s";
    let deep = format!("{signs}{}", format!("/{}", "b".repeat(200)).repeat(30));
    for path in [signs, &format!("{signs}%0aforged%20line%0d"), &deep] {
        let target = first(&format!("nobody/{path}"));
        let seen = [httpd.get(&target).unwrap().status, get_as(&world, &httpd, &target, "alice").status];
        // What is longer than any name cannot be there.
        assert!(seen == [401, 403] || (path == deep && seen == [404, 404]), "{path}: {seen:?}");
    }
    let name = "alice%s%n%s%n@%s";
    assert_eq!(httpd.get_as(&first("public/page.html"), name, "x").unwrap().status, 401);
    assert_eq!(httpd.children(), children, "a child has ended");
    let log = std::fs::read_to_string(httpd.error_log()).unwrap();
    let plain = format!("/nobody/{}", signs.replace("%25", "%"));
    assert!(log.contains(&plain), "{plain} is not in the log");
    assert!(!log.lines().any(|l| l.starts_with("forged")), "a line was forged");
    // httpd escapes our backslashes once more.
    assert!(log.contains("x0aforged line"), "the newline is shown");
    httpd.stop(&[]).unwrap();
}

/// Whether the log shows that AFS refused somebody (module, level info), and that he was logged in (broker, the same level).
fn logged(log_level: &str, more: &str) -> (bool, bool) {
    let world = world();
    let httpd = start_with(&world, more, |mut o| {
        o.log_level = log_level.to_owned();
        o
    });
    for _ in 0..2 {
        assert_eq!(get_as(&world, &httpd, &first(&owner_file("alice")), "bob").status, 403);
    }
    let log = std::fs::read_to_string(httpd.error_log()).unwrap();
    httpd.stop(&[]).unwrap();
    let has = |parts: [&str; 3]| log.lines().any(|l| parts.iter().all(|part| l.contains(part)));
    (
        has(["[afs:info]", " AFS0501: ", "no-right (errno 13)"]),
        has(["[weblog:info]", " AFS2001: ", "login bob@cell.example from"]),
    )
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn one_level_counts_for_the_lines_of_module_and_broker_unless_httpd_has_one_for_the_module() {
    for (log_level, more, shown) in [
        ("warn", "SetAFSDebugLevel 4", (true, true)),
        ("info", "SetAFSDebugLevel 0", (false, false)),
        ("info", "", (true, false)),
        ("warn afs:info", "SetAFSDebugLevel 0", (true, false)),
        ("info afs:warn", "SetAFSDebugLevel 4", (false, true)),
    ] {
        assert_eq!(logged(log_level, more), shown, "LogLevel {log_level}, {more}");
    }
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn whoever_may_write_htaccess_learns_no_password_of_who_reads_his_pages() {
    let world = world();
    let dir = format!("write/anybody/sub/steals-{}", std::process::id());
    let at = |name: &str| first(&format!("{dir}/{name}"));
    // Places on this machine's disk that lead there: by an index file, by what is in the place of what is not there, by a link.
    let site = std::path::Path::new("/srv/httpd/steals");
    std::fs::create_dir_all(site).unwrap();
    let link = site.join("link");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(at(""), &link).unwrap();
    let more = format!(
        "<Location /afs/{FIRST_CELL}/write>\nDav afs\n</Location>\n\
         <Directory /afs/{FIRST_CELL}/write/anybody>\nAllowOverride All\nOptions +FollowSymLinks\n</Directory>\n\
         Alias /index {0}\nAlias /fallback {0}\nAlias /linked {0}/link\n<Location /linked>\nAFSAuthType AFS\n</Location>\n\
         <Directory {0}>\nRequire all granted\nOptions +FollowSymLinks\nAllowOverride All\n</Directory>\n\
         SetEnvIfNoCase ^Authorization$ \"(.+)\" HTTP_AUTHORIZATION=$1\n\
         Alias /index-linked {0}\n<Location /index-linked>\nDirectoryIndex /linked/page.html\n</Location>\n\
         <Location /index>\nDirectoryIndex {1}\n</Location>\n<Location /fallback>\nFallbackResource {1}\n</Location>\n",
        site.display(),
        at("page.html"),
    );
    let httpd = start_with(&world, &more, |mut o| {
        o.modules.extend(["dav", "rewrite", "headers", "setenvif"].map(str::to_owned));
        o
    });
    assert_eq!(ask(&world, &httpd, "bob", Request::new("MKCOL", &first(&dir))).status, 201);
    assert_eq!(ask(&world, &httpd, "bob", Request::new("PUT", &at("page.html")).body(b"<p>")).status, 201);
    // The header of the mark shows that each of these ways works.
    let htaccess = "RewriteEngine On\n\
                    RewriteRule ^go$ http://elsewhere.example/%{HTTP:X-Mark}/%{HTTP:Authorization}%{ENV:HTTP_AUTHORIZATION} [R,L]\n\
                    SetEnvIf X-Mark (.+) MARK=$1\nSetEnvIf Authorization (.+) STOLEN=$1\n\
                    Header always set X-By-Env \"%{MARK}e %{STOLEN}e\"\n\
                    RequestHeader set X-Copy \"expr=%{req:X-Mark} %{req:Authorization}\"\n\
                    Header always set X-By-Copy \"expr=%{req:X-Copy}\"\n\
                    Header always set X-By-Expr \"expr=%{req:X-Mark} %{req:Authorization}\"\n\
                    Header always set X-By-Server \"of the server %{HTTP_AUTHORIZATION}e\"\n\
                    CGIPassAuth On\n";
    seen::change(FIRST_CELL, &format!("{dir}/.htaccess"), htaccess).unwrap();
    let secret = base64(format!("alice:{}", password(world.cell(FIRST_CELL).unwrap(), "alice")).as_bytes());
    let mut paths: Vec<(String, &str)> = ["go", "page.html", "absent"].map(|name| (at(name), name)).to_vec();
    paths.extend([("/index/".to_owned(), "index"), ("/fallback/none".to_owned(), "fallback")]);
    if afs_client() != "userspace" {
        paths.extend([("/linked/page.html".to_owned(), "linked"), ("/linked/go".to_owned(), "go")]);
        paths.push(("/index-linked/".to_owned(), "index"));
    }
    for (path, name) in paths {
        let request = Request::get(&path).header("X-Mark", "a-mark");
        let r = ask(&world, &httpd, "alice", request);
        let head = format!("{:?}", r.headers);
        assert_eq!(r.header("X-By-Server"), Some("of the server (null)"), "{name}: {head}");
        // mod_setenvif is done before another file takes the place of what was asked for.
        let by_env = if matches!(name, "index" | "fallback") { "(null) (null)" } else { "a-mark (null)" };
        assert_eq!(r.header("X-By-Env").map(str::trim_end), Some(by_env), "{name}: {head}");
        assert_eq!(r.header("X-By-Expr").map(str::trim_end), Some("a-mark"), "{name}: {head}");
        assert_eq!(r.header("Location").is_some_and(|to| to.contains("/a-mark/")), name == "go", "{head}");
        let copied = r.header("X-By-Copy").map(str::trim_end);
        assert_eq!(copied, Some(if name == "go" { "" } else { "a-mark" }), "{name}: {head}");
        assert!(!head.contains(&secret) && !head.contains("Basic"), "{name}: {head}");
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn an_error_document_finds_no_password_also_where_nobody_logs_in() {
    let world = world();
    let dir = format!("write/anybody/sub/told-{}", std::process::id());
    let go = first(&format!("{dir}/go"));
    let more = format!(
        "ErrorDocument 401 {go}\n<Location /afs/{FIRST_CELL}/write>\nDav afs\n</Location>\n\
         <Location {0}>\nAFSLogin none\n</Location>\n<Directory {0}>\nAllowOverride All\n</Directory>\n",
        first(&dir)
    );
    let httpd = start_with(&world, &more, |mut o| {
        o.modules.extend(["dav", "rewrite"].map(str::to_owned));
        o
    });
    assert_eq!(httpd.request(&Request::new("MKCOL", &first(&dir))).unwrap().status, 201);
    let lines = "RewriteEngine On\n\
                 RewriteRule ^go$ http://elsewhere.example/%{HTTP:X-Mark}/%{HTTP:Authorization} [R,L]\n";
    seen::change(FIRST_CELL, &format!("{dir}/.htaccess"), lines).unwrap();
    let login = format!("Basic {}", base64(b"alice:not-her-password"));
    let request = Request::get(&first(&owner_file("alice"))).header("Authorization", &login);
    let r = httpd.request(&request.header("X-Mark", "a-mark")).unwrap();
    let to = r.header("Location").unwrap();
    assert!(to.contains("/a-mark/") && !to.contains("Basic"), "{} {to}", r.status);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_directory_whose_access_file_has_too_long_a_name_is_not_served_as_if_it_had_none() {
    let world = world();
    let more = format!("<Location /afs/{FIRST_CELL}/write>\nDav afs\nOptions +Indexes\n</Location>\n");
    let httpd = start_with(&world, &more, |mut o| {
        o.modules.push("dav".to_owned());
        o
    });
    // httpd takes names of up to 4,092 bytes (APR's limit), and AFS clients of 4,095.
    const DEEP: usize = 4_090;
    let mut path = first(&format!("write/anybody/sub/deep-{}", std::process::id()));
    let mut made = Vec::new();
    loop {
        let r = ask(&world, &httpd, "bob", Request::new("MKCOL", &path));
        assert_eq!(r.status, 201, "{} bytes: {}", path.len(), r.text());
        made.push(path.clone());
        let left = DEEP - path.len();
        if left == 0 {
            break;
        }
        path = format!(
            "{path}/{}",
            "d".repeat(if left > 300 {
                240
            } else if left > 251 {
                150
            } else {
                left - 1
            })
        );
    }
    for path in &made {
        let r = ask(&world, &httpd, "bob", Request::get(&format!("{path}/")));
        let is_too_long = path.len() + "/.htaccess".len() > 4_095;
        assert_eq!(r.status, if is_too_long { 403 } else { 200 }, "{} bytes: {}", path.len(), r.text());
    }
    assert_eq!(ask(&world, &httpd, "bob", Request::new("DELETE", &made[0])).status, 204);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn where_an_access_file_cannot_be_read_neither_the_page_nor_an_error_document_beside_it_is_served() {
    let world = world();
    let dir = format!("write/anybody/sub/rules-{}", std::process::id());
    let at = |name: &str| first(&format!("{dir}/{name}"));
    let more = format!(
        "<Location /afs/{FIRST_CELL}/write>\nDav afs\n</Location>\nErrorDocument 401 {0}\nErrorDocument 403 {0}\n",
        at("error.html"),
    );
    let httpd = start_with(&world, &more, |mut o| {
        o.modules.push("dav".to_owned());
        o
    });
    assert_eq!(ask(&world, &httpd, "bob", Request::new("MKCOL", &first(&dir))).status, 201);
    for name in ["page.html", "error.html"] {
        let put = Request::new("PUT", &at(name)).body(b"what the rules are for");
        assert_eq!(ask(&world, &httpd, "bob", put).status, 201, "{name}");
    }
    // Everybody may see that this file is there, and nobody may read it. To kAFS it seems not to be there at all.
    seen::link(FIRST_CELL, &format!("{dir}/.htaccess"), "../../../../lookup/file.txt").unwrap();
    for name in ["page.html", "error.html"] {
        let nobodys = httpd.get(&at(name)).unwrap();
        let bobs = get_as(&world, &httpd, &at(name), "bob");
        assert_eq!((nobodys.status, bobs.status), (401, 403), "{name}");
        for r in [nobodys, bobs] {
            assert!(!r.text().contains("what the rules are for"), "{name}: {}", r.text());
        }
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn whoever_may_write_htaccess_publishes_neither_files_of_the_server_nor_its_numbers() {
    let world = world();
    let dir = format!("write/anybody/sub/handler-{}", std::process::id());
    let at = |name: &str| first(&format!("{dir}/{name}"));
    let secret = std::path::Path::new("/srv/httpd/secret.txt");
    std::fs::create_dir_all("/srv/httpd").unwrap();
    std::fs::write(secret, "a file of the server's own, ".repeat(100)).unwrap();
    let more = format!(
        "<Location /afs/{FIRST_CELL}/write>\nDav afs\n</Location>\n\
         <Directory /afs/{FIRST_CELL}/write/anybody>\nAllowOverride All\nOptions +FollowSymLinks +Indexes\n</Directory>\n"
    );
    let httpd = start_with(&world, &more, |mut o| {
        o.modules.push("dav".to_owned());
        o
    });
    assert_eq!(ask(&world, &httpd, "bob", Request::new("MKCOL", &first(&dir))).status, 201);
    for name in ["numbers", "swapped"] {
        let put = Request::new("PUT", &at(name)).body(b"his own");
        assert_eq!(ask(&world, &httpd, "bob", put).status, 201);
    }
    let lines = "<Files numbers>\nSetHandler afs-metrics\n</Files>\n<Files swapped>\nSetHandler none-such\n</Files>\n";
    seen::change(FIRST_CELL, &format!("{dir}/.htaccess"), lines).unwrap();
    let r = httpd.get(&at("numbers")).unwrap();
    assert!(!r.text().contains("afs_"), "{} {}", r.status, r.text());
    // The file is exchanged while the server waits for the end of the request.
    let mut c = Connection::open(httpd.address()).unwrap();
    c.send_raw(
        format!("GET {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n", at("swapped")).as_bytes(),
    )
    .unwrap();
    std::thread::sleep(Duration::from_secs(1) * wait::slow_factor());
    assert_eq!(ask(&world, &httpd, "bob", Request::new("DELETE", &at("swapped"))).status, 204);
    seen::link(FIRST_CELL, &format!("{dir}/swapped"), secret.to_str().unwrap()).unwrap();
    c.send_raw(b"x").unwrap();
    let r = c.receive(false).unwrap();
    assert!(!r.text().contains("of the server's own"), "{} {}", r.status, r.text());
    assert!([403, 404].contains(&r.status), "{} {}", r.status, r.text());
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn whoever_may_write_htaccess_gives_mod_davs_handler_nothing_that_ends_a_child() {
    let world = world();
    let pid = std::process::id();
    let [with, without] = ["with", "without"].map(|n| format!("write/anybody/sub/{n}-dav-{pid}"));
    let start = |dav: &str| {
        let more = format!(
            "<LocationMatch ^/afs/{FIRST_CELL}/write/{dav}>\nDav afs\n</LocationMatch>\n\
             <Directory /afs/{FIRST_CELL}/write/anybody>\nAllowOverride All\n</Directory>\n"
        );
        start_with(&world, &more, |mut o| {
            o.modules.push("dav".to_owned());
            o
        })
    };
    let httpd = start("");
    for dir in [&with, &without] {
        assert_eq!(ask(&world, &httpd, "bob", Request::new("MKCOL", &first(dir))).status, 201);
        for name in ["set", "forced", "page"] {
            let put = Request::new("PUT", &first(&format!("{dir}/{name}"))).body(b"his own");
            assert_eq!(ask(&world, &httpd, "bob", put).status, 201);
        }
        let lines = "<Files set>\nSetHandler dav-handler\n</Files>\n<Files forced>\nForceType dav-handler\n</Files>\n";
        seen::change(FIRST_CELL, &format!("{dir}/.htaccess"), lines).unwrap();
    }
    httpd.stop(&[]).unwrap();
    let httpd = start("anybody/sub/with-");
    for dir in [&with, &without] {
        for name in ["set", "forced"] {
            let path = first(&format!("{dir}/{name}"));
            for method in ["GET", "HEAD"] {
                let nobodys = httpd.request(&Request::new(method, &path)).unwrap();
                let bobs = ask(&world, &httpd, "bob", Request::new(method, &path));
                assert_eq!((nobodys.status, bobs.status), (403, 403), "{method} {path}");
            }
        }
        let r = httpd.get(&first(&format!("{dir}/page"))).unwrap();
        assert_eq!((r.status, r.text().as_ref()), (200, "his own"));
    }
    // Where `Dav` names no provider, none is looked for.
    for method in
        ["LOCK", "UNLOCK", "VERSION-CONTROL", "SEARCH", "BIND", "PROPFIND", "PUT", "POST", "OPTIONS"]
    {
        let r = ask(&world, &httpd, "bob", Request::new(method, &first(&format!("{without}/set"))));
        assert!([200, 403, 405, 501].contains(&r.status), "{method}: {} {}", r.status, r.text());
    }
    // And what mod_dav takes for its own is answered as without that.
    let r = ask(&world, &httpd, "bob", Request::new("DELETE", &first(&format!("{with}/set"))));
    assert_eq!(r.status, 204, "{}", r.text());
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn nothing_is_moved_to_a_name_that_rules_could_not_be_asked_for() {
    let world = world();
    let dir = format!("write/anybody/sub/unruled-{}", std::process::id());
    let at = |name: &str| first(&format!("{dir}/{name}"));
    let more = format!(
        "<Location /afs/{FIRST_CELL}/write>\nDav afs\n</Location>\n\
         <FilesMatch \"^\\.ht\">\nRequire all denied\n</FilesMatch>\n"
    );
    let httpd = start_with(&world, &more, |mut o| {
        o.modules.push("dav".to_owned());
        o
    });
    assert_eq!(ask(&world, &httpd, "bob", Request::new("MKCOL", &first(&dir))).status, 201);
    let word = base64(format!("bob:{}", password(world.cell(FIRST_CELL).unwrap(), "bob")).as_bytes());
    for method in ["MOVE", "COPY"] {
        let to = format!("{method}/.htaccess");
        let put = Request::new("PUT", &at("text")).body(b"Require all granted\n");
        assert!([201, 204].contains(&ask(&world, &httpd, "bob", put).status));
        // The collection is made while the server waits for the end of the request.
        let mut c = Connection::open(httpd.address()).unwrap();
        c.send_raw(
            format!(
                "{method} {} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {word}\r\n\
                 Destination: http://localhost{}\r\nContent-Length: 1\r\n\r\n",
                at("text"),
                at(&to)
            )
            .as_bytes(),
        )
        .unwrap();
        std::thread::sleep(Duration::from_secs(1) * wait::slow_factor());
        assert_eq!(ask(&world, &httpd, "bob", Request::new("MKCOL", &at(method))).status, 201);
        c.send_raw(b"x").unwrap();
        let r = c.receive(false).unwrap();
        assert_eq!(r.status, 409, "{method}: {}", r.text());
        assert_eq!(httpd.get(&at("text")).unwrap().status, 200, "{method}");
        assert_eq!(seen::names(FIRST_CELL, &format!("{dir}/{method}")).unwrap(), [] as [&str; 0]);
    }
    httpd.stop(&[]).unwrap();
}
