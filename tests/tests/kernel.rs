//! What is there with a client in the kernel only: programs that run as the visitor, listings by httpd's own module,
//! and who inherits what. Run in a guest.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;
#[path = "../../pag/tests/outside/mod.rs"]
mod outside;

use common::keys::{Keys, identity};
use common::programs::{self, DIR as PROGRAMS, program};
use common::{ask, first, first_line, get_as, metrics, password, report, start, start_with, world};
use integration::content::{PUBLIC_LINE, owner_file, owner_line};
use integration::http::{Request, Response};
use integration::http2;
use integration::httpd::{Httpd, Mpm};
use integration::world::{ADMIN, FIRST_CELL, PUBLISHER, World};
use integration::{token, wait};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Programs at /run, as whoever asks; `module`: what starts them.
fn with_programs(world: &World, module: &str) -> Httpd {
    with_programs_and(world, module, "")
}

/// The same with more configuration.
fn with_programs_and(world: &World, module: &str, more: &str) -> Httpd {
    let more = programs::place() + more;
    let more = if module == "cgid" { format!("{more}ScriptSock {PROGRAMS}/cgid.sock\n") } else { more };
    start_with(world, &more, |mut o| {
        o.modules.push(module.to_owned());
        o
    })
}

/// The absolute name of somebody's file.
fn file_of(user: &str) -> String {
    first(&owner_file(user))
}

fn anonymous(httpd: &Httpd, path: &str) -> Response {
    httpd.get(path).unwrap()
}

#[test]
#[ignore = "needs a guest: run by cargo xtask vm test"]
fn a_program_runs_as_the_visitor_who_asked_and_as_nobody_for_nobody() {
    let world = world();
    program("read", "head -1 \"$QUERY_STRING\" 2>&1; echo \"user=$REMOTE_USER\"");
    let httpd = with_programs(&world, "cgi");
    for _ in 0..2 {
        for (who, whose, may) in
            [("alice", "alice", true), ("bob", "alice", false), ("bob", "bob", true), ("alice", "bob", false)]
        {
            let r = get_as(&world, &httpd, &format!("/run/read?{}", file_of(whose)), who);
            assert_eq!(r.status, 200);
            assert_eq!(
                r.text().contains(owner_line(whose, FIRST_CELL).trim_end()),
                may,
                "{who}: {}",
                r.text()
            );
            assert!(r.text().contains(&format!("user={who}@{FIRST_CELL}")), "{}", r.text());
        }
        let r = anonymous(&httpd, &format!("/run/read?{}", file_of("alice")));
        assert_eq!(r.status, 200);
        assert!(!r.text().contains("owner: ") && r.text().contains("user=\n"), "{}", r.text());
        let r = anonymous(&httpd, &format!("/run/read?{}", first("public/page.html")));
        assert!(r.text().contains("owner: public"), "{}", r.text());
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a guest: run by cargo xtask vm test"]
fn a_program_runs_as_the_service_where_nobody_is_logged_in_and_as_the_visitor_where_one_is() {
    let (world, keys) = (world(), Keys::new());
    let srvtab = keys.srvtab(&world, PUBLISHER);
    program("whose", "head -1 \"$QUERY_STRING\" 2>&1; echo \"service=$AFS_SERVICE\"");
    let more = format!("<Location /run>\n{}</Location>\n", identity(PUBLISHER, &srvtab));
    let httpd = with_programs_and(&world, "cgi", &more);
    let (service, alice) = (first("published/page.html"), file_of("alice"));
    for _ in 0..3 {
        for (path, who, may) in [
            (&service, None, true),
            (&alice, None, false),
            (&service, Some("alice"), false),
            (&alice, Some("alice"), true),
        ] {
            let url = format!("/run/whose?{path}");
            let r = match who {
                None => anonymous(&httpd, &url),
                Some(user) => get_as(&world, &httpd, &url, user),
            };
            assert_eq!(r.status, 200);
            assert_eq!(r.text().contains("owner: "), may, "{path} {who:?}: {}", r.text());
            let service = if who.is_none() { format!("{PUBLISHER}@{FIRST_CELL}") } else { String::new() };
            assert!(r.text().ends_with(&format!("service={service}\n")), "{}", r.text());
        }
    }
    httpd.stop(&[]).unwrap();
}

/// Places of other identities than /run, and one that has nothing to do with AFS; one child serves them all.
fn among_others(world: &World, keys: &Keys, more: &str, modules: &[&str]) -> Httpd {
    let srvtab = keys.srvtab(world, PUBLISHER);
    let places = format!(
        "Alias /open /afs/{FIRST_CELL}/public\nAlias /ours /afs/{FIRST_CELL}/published\n\
         <Location /open>\nAFSAuthType AFS\nAFSLogin none\n</Location>\n\
         <Location /ours>\nAFSAuthType AFS\nAFSLogin none\n{}</Location>\n\
         ScriptAlias /plain {PROGRAMS}\n",
        identity(PUBLISHER, &srvtab)
    );
    start_with(world, &(programs::place() + &places + more), |mut o| {
        o.modules.extend(["cgi", "alias"].into_iter().chain(modules.iter().copied()).map(str::to_owned));
        o.modules.dedup();
        o.sizes = Some(match o.mpm {
            Mpm::Prefork => "StartServers 1\nServerLimit 1\nMaxRequestWorkers 1\n".to_owned(),
            _ => "StartServers 1\nServerLimit 1\nThreadsPerChild 4\nThreadLimit 4\nMaxRequestWorkers 4\n"
                .to_owned(),
        });
        o
    })
}

/// A program that says which of these files it may read, and which keyring it is in.
const LOOK: &str = "for f in $(echo \"$QUERY_STRING\" | tr , ' '); do head -1 \"$f\" 2>&1; done\n\
                    echo \"ring=$(keyctl id @s 2>&1)\"";

#[test]
#[ignore = "needs a guest: run by cargo xtask vm test"]
fn a_program_runs_as_who_asked_for_it_whoever_its_path_info_would_be() {
    let (world, keys) = (world(), Keys::new());
    program("look", LOOK);
    let httpd = among_others(&world, &keys, "", &[]);
    let (alices, ours) = (file_of("alice"), first("published/page.html"));
    let get = |path: &str, who: Option<&str>| {
        let r = match who {
            Some(user) => get_as(&world, &httpd, path, user),
            None => anonymous(&httpd, path),
        };
        assert_eq!(r.status, 200, "{path} {who:?}: {}", r.text());
        r.text()
    };
    // The service is there, and its PAG, before it is asked for by way of a program.
    assert!(get("/ours/page.html", None).contains("owner: "));
    let ring = |text: &str| text.lines().find(|l| l.starts_with("ring=")).map(str::to_owned).unwrap();
    let nobodys = ring(&get("/run/look", None));
    assert!(nobodys.len() > "ring=".len(), "{nobodys}");
    let own = owner_line("alice", FIRST_CELL);
    for rest in ["", "/open/page.html", "/ours/page.html", "/ours/absent", &first("public/page.html")] {
        let url = format!("/run/look{rest}?{alices},{ours}");
        let text = get(&url, Some("alice"));
        assert!(text.starts_with(&own) && text.matches("owner: ").count() == 1, "{url}: {text}");
        let text = get(&url, None);
        assert!(!text.contains("owner: "), "{url}: {text}");
        // Nor does a program get into the PAG that nobody's requests are served in.
        assert_eq!(ring(&text), nobodys, "{url}");
        let url = url.replace("/run", "/plain");
        let text = get(&url, Some("alice"));
        assert!(!text.contains("owner: "), "{url}: {text}");
        assert_eq!(ring(&text), nobodys, "{url}");
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a guest: run by cargo xtask vm test"]
fn what_a_page_runs_is_run_as_who_asked_for_the_page_whatever_it_includes() {
    let (world, keys) = (world(), Keys::new());
    let (alices, ours) = (file_of("alice"), first("published/page.html"));
    program("look", LOOK);
    let exec = format!("<!--#exec cmd=\"head -1 {alices} 2>&1; head -1 {ours} 2>&1; echo end\" -->\n");
    let page = |name: &str, included: &str| {
        let page = format!("<!--#include virtual=\"{included}\" -->|\n{exec}");
        fs::write(Path::new(PROGRAMS).join(name), page).unwrap();
    };
    let link = Path::new(PROGRAMS).join("link.txt");
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(&alices, &link).unwrap();
    page("open.shtml", "/open/page.html");
    page("ours.shtml", "/ours/page.html");
    page("absent.shtml", "/ours/absent");
    page("inner.shtml", &format!("/plain/look?{alices},{ours}"));
    // What is no place of ours is nobody's also as a part of one that is.
    page("linked.shtml", "/local/link.txt");
    page("typed.typed", "/ours/page.html");
    let more = format!(
        "Alias /pages {PROGRAMS}\n<Location /pages>\nAFSAuthType AFS\n</Location>\n\
         Alias /local {PROGRAMS}\n\
         <Directory {PROGRAMS}>\nOptions +Includes +FollowSymLinks\nAcceptPathInfo On\n\
         AddOutputFilter INCLUDES .shtml\nAddOutputFilterByType INCLUDES text/x-typed\n</Directory>\n\
         AddType text/html .shtml\nAddType text/x-typed .typed\n"
    );
    let httpd = among_others(&world, &keys, &more, &["include", "filter"]);
    let own = owner_line("alice", FIRST_CELL);
    let pages = [
        ("open.shtml", 1),
        ("ours.shtml", 1),
        ("absent.shtml", 0),
        ("inner.shtml", 0),
        ("linked.shtml", 0),
        ("typed.typed", 1),
    ];
    for (page, owners) in pages {
        for rest in ["", "/ours/page.html"] {
            let url = format!("/pages/{page}{rest}");
            let r = get_as(&world, &httpd, &url, "alice");
            let text = r.text();
            let (included, run) = text.split_once("|\n").unwrap_or_else(|| panic!("{url}: {text}"));
            assert_eq!((r.status, included.matches("owner: ").count()), (200, owners), "{url}: {text}");
            assert!(run.starts_with(&own) && run.matches("owner: ").count() == 1, "{url}: {text}");
            let text = anonymous(&httpd, &url).text();
            let (_, run) = text.split_once("|\n").unwrap_or_else(|| panic!("{url}: {text}"));
            assert!(run.contains("end") && !run.contains("owner: "), "{url}: {text}");
        }
    }
    httpd.stop(&["unable to include"]).unwrap();
}

#[test]
#[ignore = "needs a guest: run by cargo xtask vm test"]
fn what_is_started_without_a_word_to_us_is_in_no_pag_of_ours() {
    let (world, keys) = (world(), Keys::new());
    let alices = file_of("alice");
    program("look", LOOK);
    // A filter is started by httpd's module for any file; and a URL can look like one of ours until it is decoded.
    let filter = program("filter", "");
    fs::write(&filter, format!("#!/bin/sh\ncat; head -1 {alices} 2>&1\n")).unwrap();
    let more = format!(
        "ExtFilterDefine look mode=output cmd={}\n<Location /afs>\nSetOutputFilter look\n</Location>\n\
         ScriptAlias \"/my files\" {PROGRAMS}\n\
         <Location />\nAFSAuthType AFS\n</Location>\n<Location \"/my files\">\nAFSAuthType None\n</Location>\n",
        filter.display()
    );
    let httpd = among_others(&world, &keys, &more, &["ext_filter"]);
    let own = owner_line("alice", FIRST_CELL);
    let r = get_as(&world, &httpd, &alices, "alice");
    let (text, log) = (r.text(), fs::read_to_string(httpd.error_log()).unwrap_or_default());
    let nobodys = text.starts_with(&own) && text.matches("owner: ").count() == 1;
    assert!(r.status == 200 && nobodys, "the filter's: {} {text}\n{log}", r.status);
    let text = get_as(&world, &httpd, &format!("/run/look?{alices}"), "alice").text();
    assert!(text.starts_with(&own), "one of his: {text}");
    let r = get_as(&world, &httpd, &format!("/my%20files/look?{alices}"), "alice");
    assert!(r.status == 200 && !r.text().contains("owner: "), "one beside: {}", r.text());
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a guest: run by cargo xtask vm test"]
fn a_program_of_the_daemon_of_mod_cgid_has_no_visitor() {
    let world = world();
    program("read", "head -1 \"$QUERY_STRING\" 2>&1");
    let httpd = with_programs(&world, "cgid");
    let r = get_as(&world, &httpd, &format!("/run/read?{}", file_of("alice")), "alice");
    assert_eq!(r.status, 200);
    assert!(!r.text().contains("owner: "), "{}", r.text());
    let r = get_as(&world, &httpd, &format!("/run/read?{}", first("public/page.html")), "alice");
    assert!(r.text().contains("owner: public"), "{}", r.text());
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a guest: run by cargo xtask vm test"]
fn a_program_that_outlives_its_request_never_gets_another_visitor() {
    let world = world();
    let out = Path::new(PROGRAMS).join("out/outlives");
    let _ = fs::remove_file(&out);
    let (alices, bobs) = (file_of("alice"), file_of("bob"));
    program(
        "outlive",
        &format!(
            "echo started\nexec >/dev/null 2>&1\n( i=0; while [ $i -lt 40 ]; do \
             {{ cat {alices} | head -1; cat {bobs} | head -1; echo round; }} >> {} 2>/dev/null; \
             i=$((i+1)); sleep 0.2; done ) &",
            out.display()
        ),
    );
    let httpd = with_programs(&world, "cgi");
    let r = get_as(&world, &httpd, "/run/outlive", "alice");
    assert!(r.text().starts_with("started"), "{}", r.text());
    let text = || fs::read_to_string(&out).unwrap_or_default();
    let rounds = |text: &str| text.lines().filter(|l| *l == "round").count();
    // Meanwhile others come, to every worker.
    wait::until_true("the program's rounds", Duration::from_secs(60), || {
        for who in ["bob", "carol", "dave"] {
            assert_eq!(get_as(&world, &httpd, &file_of(who), who).status, 200);
        }
        Ok(rounds(&text()) >= 15)
    })
    .unwrap();
    let seen = text();
    assert!(seen.contains(owner_line("alice", FIRST_CELL).trim_end()), "it never was alice: {seen}");
    assert!(!seen.contains(owner_line("bob", FIRST_CELL).trim_end()), "it became bob");
    assert_eq!(get_as(&world, &httpd, &file_of("alice"), "alice").status, 200);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a guest: run by cargo xtask vm test"]
fn a_program_that_tries_every_key_in_sight_gets_nothing_of_others() {
    let world = world();
    let (alices, bobs) = (file_of("alice"), file_of("bob"));
    // Everything that is visible, and everything near what it is in; into its session and its user's keyring.
    program(
        "steal",
        &format!(
            "exec 2>&1\nid -u\nown=$(keyctl id @s 2>/dev/null)\n\
             for k in $(cut -d' ' -f1 /proc/keys) $own; do\n\
             keyctl link 0x$k @s; keyctl link 0x$k @u; keyctl setperm 0x$k 0x3f3f3f3f; keyctl read 0x$k; \
             keyctl search 0x$k rxrpc afs@{FIRST_CELL} @u; keyctl unlink 0x$k @s; done >/dev/null 2>&1\n\
             keyctl link @u @s >/dev/null 2>&1\ncat {alices} | head -1\ncat {bobs} | head -1\n\
             keyctl session - cat {alices} | head -1\necho end"
        ),
    );
    let httpd = with_programs(&world, "cgi");
    for who in ["alice", "bob"] {
        assert_eq!(get_as(&world, &httpd, &file_of(who), who).status, 200);
    }
    let r = get_as(&world, &httpd, "/run/steal", "mallory");
    assert!(r.text().contains("end"), "{}", r.text());
    assert!(!r.text().contains("owner: "), "{}", r.text());
    let r = anonymous(&httpd, "/run/steal");
    assert!(r.text().contains("end") && !r.text().contains("owner: "), "{}", r.text());
    // And the others are served as before.
    for who in ["alice", "bob"] {
        let r = get_as(&world, &httpd, &file_of(who), who);
        assert_eq!((r.status, first_line(&r)), (200, owner_line(who, FIRST_CELL).trim_end().to_owned()));
    }
    assert_eq!(anonymous(&httpd, &alices).status, 401);
    httpd.stop(&[]).unwrap();
}

/// What this program does instead of tests, as a process of its own, and whose token it takes.
const SCENE: &str = "AFSWEB_SCENE";

/// As www-data, outside any PAG: gives its uid alice's token, says whether that opens her file, and waits to be told to end.
#[test]
#[ignore = "needs a guest: run by cargo xtask vm test"]
fn scene() {
    use std::io::Read as _;
    if std::env::var(SCENE).is_err() {
        return;
    }
    let world = world();
    let token = token::sealed(world.cell(FIRST_CELL).unwrap(), "alice").unwrap();
    outside::set_token_of_the_uid(&token);
    report(&format!("scene: {}", fs::read_to_string(file_of("alice")).is_ok()));
    let _ = std::io::stdin().read(&mut [0]);
    outside::drop_token_of_the_uid();
}

/// Killed when a test fails.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs a guest: run by cargo xtask vm test"]
fn a_token_that_somebody_gives_the_uid_of_httpd_is_nobodys() {
    use std::io::BufRead as _;
    use std::os::unix::process::CommandExt as _;
    let world = world();
    program("read", "head -1 \"$QUERY_STRING\" 2>&1");
    let mut httpd = with_programs(&world, "cgi");
    let mut command = Command::new("/proc/self/exe");
    command.args(["--ignored", "--exact", "--nocapture", "--test-threads=1", "scene"]).env(SCENE, "1");
    command.uid(33).gid(33).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut other = Ended(command.spawn().unwrap());
    let said = std::io::BufReader::new(other.0.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .find(|l| l.trim_start().starts_with("scene: "));
    assert_eq!(
        said.as_deref().map(str::trim),
        Some("scene: true"),
        "the token is no good: this proves nothing"
    );
    let ask = |httpd: &Httpd| {
        assert_eq!(anonymous(httpd, &file_of("alice")).status, 401);
        assert_eq!(get_as(&world, httpd, &file_of("alice"), "bob").status, 403);
        let r = anonymous(httpd, &format!("/run/read?{}", file_of("alice")));
        assert!(r.status == 200 && !r.text().contains("owner: "), "{}", r.text());
    };
    ask(&httpd);
    // Children that are new since then, too.
    httpd.graceful().unwrap();
    ask(&httpd);
    drop(other.0.stdin.take());
    wait::until_true("the end of the other process", Duration::from_secs(20), || {
        Ok(other.0.try_wait()?.is_some())
    })
    .unwrap();
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a guest: run by cargo xtask vm test"]
fn d10_an_administrator_who_starts_httpd_leaves_it_none_of_his_rights() {
    let world = world();
    program("read", "head -1 \"$QUERY_STRING\" 2>&1");
    let secret = first("nobody/page.html");
    let admins = token::sealed(world.cell(FIRST_CELL).unwrap(), ADMIN).unwrap();
    // A thread of its own, since a session cannot be left for the one before.
    std::thread::scope(|s| {
        s.spawn(|| {
            outside::log_in(&admins);
            assert!(fs::read_to_string(&secret).is_ok(), "the token is no good: this proves nothing");
            for module in ["cgi", "cgid"] {
                let mut httpd = with_programs(&world, module);
                for _ in 0..2 {
                    assert_eq!(anonymous(&httpd, &secret).status, 401, "{module}");
                    assert_eq!(get_as(&world, &httpd, &secret, "alice").status, 403, "{module}");
                    for r in [
                        anonymous(&httpd, &format!("/run/read?{secret}")),
                        get_as(&world, &httpd, &format!("/run/read?{secret}"), "alice"),
                    ] {
                        assert!(r.status == 200 && !r.text().contains("owner: "), "{module}: {}", r.text());
                    }
                    httpd.graceful().unwrap();
                }
                httpd.stop(&[]).unwrap();
            }
            assert!(fs::read_to_string(&secret).is_ok(), "he has kept them himself");
        });
    });
}

#[test]
#[ignore = "needs a guest: run by cargo xtask vm test"]
fn a_listing_shows_what_the_visitor_may_see() {
    let world = world();
    let more = format!(
        "<Directory /afs>\nOptions FollowSymLinks Indexes\nDirectoryIndex disabled\n</Directory>\n\
         <Location /afs/{FIRST_CELL}>\nIndexOptions FancyIndexing\n</Location>"
    );
    let httpd = start(&world, &more);
    let dir = first("alice-only/");
    assert_eq!(anonymous(&httpd, &dir).status, 401);
    assert_eq!(get_as(&world, &httpd, &dir, "bob").status, 403);
    let r = get_as(&world, &httpd, &dir, "alice");
    assert_eq!(r.status, 200, "{}", r.text());
    assert!(r.text().contains("page.html"), "{}", r.text());
    let r = anonymous(&httpd, &first("public/"));
    assert_eq!(r.status, 200, "{}", r.text());
    assert!(r.text().contains("page.html"), "{}", r.text());
    // The listing looks at each directory, and at its access file.
    httpd.stop(&["NoSuchDirective"]).unwrap();
}

#[test]
#[ignore = "needs a guest: run by cargo xtask vm test"]
fn a_program_is_run_for_no_page_of_another_site_and_its_answers_and_listings_are_sandboxed() {
    let world = world();
    let out = Path::new(PROGRAMS).join("out/posted");
    let _ = fs::remove_file(&out);
    program("post", &format!("cat >> {}; echo \"user=$REMOTE_USER\"", out.display()));
    let in_afs = format!("/afs/{FIRST_CELL}/alice-only");
    let more = format!(
        "AddHandler cgi-script .cgi\n\
         <Directory {in_afs}>\nOptions +ExecCGI +Indexes\nDirectoryIndex disabled\n</Directory>\n\
         <Location {in_afs}>\nAFSSandbox On\n</Location>\n"
    );
    let httpd = with_programs_and(&world, "cgi", &more);
    let host = format!("localhost:{}", httpd.address().port());
    let post = |path: &str, name: &str, value: &str| {
        let request = Request::new("POST", path).header("Host", &host).header(name, value).body(b"x\n");
        ask(&world, &httpd, "alice", request)
    };
    let posted = || fs::read_to_string(&out).unwrap_or_default();
    // One that lies on this machine, and one that lies in AFS.
    let programs = ["/run/post", &first("alice-only/run.cgi")];
    for path in programs {
        for (name, value) in [
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Site", "same-site"),
            ("Origin", "https://evil.example"),
            ("Origin", "null"),
        ] {
            let r = post(path, name, value);
            assert_eq!(r.status, 403, "{path} {name}: {value}: {}", r.text());
        }
    }
    assert_eq!(posted(), "", "nothing was run");
    for path in programs {
        for (name, value) in [("Sec-Fetch-Site", "same-origin"), ("Origin", &format!("http://{host}"))] {
            let r = post(path, name, value);
            assert_eq!(r.status, 200, "{path} {name}: {value}: {}", r.text());
            assert!(r.text().contains(&format!("user=alice@{FIRST_CELL}")), "{}", r.text());
        }
    }
    assert_eq!(posted(), "x\nx\n");
    // A form that everybody may send, without anybody's password.
    let form = Request::new("POST", "/run/post").header("Origin", "https://evil.example").body(b"y\n");
    let r = httpd.request(&form).unwrap();
    assert_eq!((r.status, r.text().as_str()), (200, "user=\n"));
    // What programs in AFS answer, and what mod_autoindex makes.
    let dir = first("alice-only/");
    let listing = get_as(&world, &httpd, &dir, "alice");
    assert!(listing.text().contains("href=\"page.html\""), "{}", listing.text());
    let run = get_as(&world, &httpd, programs[1], "alice");
    assert!(run.text().starts_with("user=alice"), "{}", run.text());
    for r in [&listing, &run] {
        let policies = r.all("Content-Security-Policy");
        assert!(policies.len() == 1 && policies[0].starts_with("sandbox "), "{:?}", r.headers);
        assert!(!policies[0].contains("allow-same-origin"), "{policies:?}");
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a guest: run by cargo xtask vm test"]
fn where_no_pag_is_left_who_is_away_gives_his_and_it_is_503_and_never_somebody_elses() {
    let world = world();
    program("who", "echo \"user=$REMOTE_USER\"");
    let page = first("public/page.html");
    let by_nobody = format!("<Location \"{page}\">\nSetHandler what-no-module-has\n</Location>\n");
    let more = format!("SetAFSPags 2\n{}{}{by_nobody}", metrics::PLACE, programs::place());
    let httpd = start_with(&world, &more, |mut o| {
        o.modules.extend(["cgi", "alias"].map(str::to_owned));
        o.sizes = Some(match o.mpm {
            Mpm::Prefork => "StartServers 1\nServerLimit 1\nMaxRequestWorkers 1\n".to_owned(),
            _ => "StartServers 1\nServerLimit 1\nThreadsPerChild 8\nThreadLimit 8\nMaxRequestWorkers 8\n"
                .to_owned(),
        });
        o
    });
    let pags = |in_use: u64, refused: u64| {
        let names = ["children", "pags_limit", "pags_made", "pags_in_use", "pags_refused_total"];
        assert_eq!(metrics::all(&httpd, names), [1, 2, 2, in_use, refused]);
        assert_eq!(metrics::all(&httpd, ["child_cache_entries", "pags_tainted"]), [in_use, 0]);
    };
    pags(0, 0);
    for (n, who) in (1..).zip(["alice", "bob"]) {
        let r = get_as(&world, &httpd, &file_of(who), who);
        assert_eq!((r.status, first_line(&r)), (200, owner_line(who, FIRST_CELL).trim_end().to_owned()));
        pags(n, 0);
    }
    // Nobody has a request under way.
    for who in ["carol", "dave", "alice", "bob"] {
        let r = get_as(&world, &httpd, &file_of(who), who);
        assert_eq!((r.status, first_line(&r)), (200, owner_line(who, FIRST_CELL).trim_end().to_owned()));
        pags(2, 0);
    }
    // A handler that no module has starts nothing.
    let r = get_as(&world, &httpd, &page, "alice");
    assert_eq!((r.status, first_line(&r)), (200, PUBLIC_LINE.trim_end().to_owned()));
    pags(2, 0);
    // Programs may go on in the PAGs that are there now.
    for who in ["alice", "bob"] {
        let r = get_as(&world, &httpd, "/run/who", who);
        assert_eq!(r.text(), format!("user={who}@{FIRST_CELL}\n"));
    }
    for (n, who) in (1..).zip(["carol", "dave"]) {
        let r = get_as(&world, &httpd, &file_of(who), who);
        assert_eq!(r.status, 503, "{who}: {}", r.text());
        pags(2, n);
    }
    assert_eq!(metrics::find(&httpd, "file_cache_bytes"), None, "the machine's, not the children's");
    let r = get_as(&world, &httpd, &file_of("alice"), "alice");
    assert_eq!((r.status, first_line(&r)), (200, owner_line("alice", FIRST_CELL).trim_end().to_owned()));
    httpd.stop(&["no PAG is left"]).unwrap();
}

#[test]
#[ignore = "needs a guest: run by cargo xtask vm test"]
fn four_hundred_workers_serve_ten_visitors_at_the_same_time() {
    let world = world();
    let visitors = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "mallory"];
    let sizes = match Mpm::from_env().unwrap() {
        // A process for each would not fit into the guest's memory.
        Mpm::Prefork => "StartServers 40\nMinSpareServers 40\nServerLimit 40\nMaxRequestWorkers 40\n",
        _ => {
            "StartServers 4\nServerLimit 4\nThreadsPerChild 100\nThreadLimit 100\nMinSpareThreads 400\n\
             MaxSpareThreads 400\nMaxRequestWorkers 400\n"
        }
    };
    let more = format!("SetAFSLoginDeadline 120\n{}", metrics::PLACE);
    let httpd = start_with(&world, &more, |mut o| {
        o.sizes = Some(sizes.into());
        o
    });
    let cell = world.cell(FIRST_CELL).unwrap();
    // One after the other before, until most children know everybody: what 400 logins at the same time cost, and what
    // a file server makes of so many new connections (docs/facts.md, "OpenAFS's kernel module"), is not what is tested.
    let enough = match Mpm::from_env().unwrap() {
        Mpm::Prefork => visitors.len(),
        _ => 4 * visitors.len() - 8,
    };
    for round in 0..60 {
        for who in visitors {
            assert_eq!(get_as(&world, &httpd, &file_of(who), who).status, 200, "{who}");
        }
        let known = metrics::read(&httpd, "child_cache_entries");
        if known >= u64::try_from(enough).unwrap() {
            report(&format!("{known} PAGs in children after {round} rounds more"));
            break;
        }
    }
    let answers = std::thread::scope(|s| {
        let all: Vec<_> = (0..400)
            .map(|n| {
                let (httpd, who) = (&httpd, visitors[n % visitors.len()]);
                s.spawn(move || {
                    // 503 is an answer, too, where too many wait; somebody else's file is not.
                    for _ in 0..20 {
                        let r = httpd.get_as(&file_of(who), who, password(cell, who)).unwrap();
                        if r.status == 200 {
                            assert_eq!(first_line(&r), owner_line(who, FIRST_CELL).trim_end(), "{who}");
                            return true;
                        }
                        assert_eq!(r.status, 503, "{who}: {}", r.text());
                        std::thread::sleep(Duration::from_secs(1));
                    }
                    false
                })
            })
            .collect();
        all.into_iter().map(|t| t.join().unwrap()).filter(|served| *served).count()
    });
    assert_eq!(answers, 400);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a guest: run by cargo xtask vm test"]
fn http2_keeps_no_worker_in_the_pag_of_a_visitor_who_has_been_answered() {
    let world = world();
    let more = format!(
        "SetAFSCacheExpiration 5\n{}<Location /local>\nAFSAuthType AFS\n</Location>\n",
        metrics::PLACE
    );
    let httpd = start_with(&world, &more, |mut o| {
        o.modules.push("http2".into());
        o.extra.push_str("Protocols h2c http/1.1\nH2MinWorkers 4\nH2MaxWorkers 4\n");
        o
    });
    // What is served, what is refused, what is not there, and what is not in AFS at all.
    let paths = [file_of("bob"), file_of("alice"), first("home/bob/none"), "/local/none".to_owned()];
    for path in &paths {
        let asked: Vec<Request> = (0..8)
            .map(|_| Request::get(path).login("bob", password(world.cell(FIRST_CELL).unwrap(), "bob")))
            .collect();
        let answers = http2::at_once(httpd.address(), &asked).unwrap();
        assert!(answers.iter().all(|r| r.status == answers[0].status), "{path}");
    }
    let names = ["child_cache_entries", "pags_in_use"];
    assert!(metrics::read(&httpd, names[1]) > 0, "he was never in a PAG");
    // Nobody asks for anything of AFS any more. A child looks for logins that have ended every ten seconds.
    wait::until_true("the end of his PAG", Duration::from_secs(60), || {
        Ok(metrics::all(&httpd, names) == [0, 0])
    })
    .unwrap();
    httpd.stop(&[]).unwrap();
}
