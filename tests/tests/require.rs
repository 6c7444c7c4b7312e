//! `Require afs-user`, `afs-group` and `afs-right`: who is let in, and what becomes of it when a protection server is silent.
//!
//! Some tests stop a protection server or change its groups, so they run one after the other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::{
    LOGIN_DEADLINE_S, afs_client, afs_config_without_methods, answer_limit, first, get_as, metrics, second,
    start, start_wide, start_with, timed, world,
};
use integration::http::Request;
use integration::httpd::{Httpd, Mpm, Options, configtest};
use integration::process::signal_pid;
use integration::wait;
use integration::world::{FIRST_CELL, FIRST_REALM, PARTNER_REALM, SECOND_CELL, World};
use rustix::process::Signal;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A section for a path of the first cell.
fn location(path: &str, rules: &str) -> String {
    format!("<Location {}>\n{rules}\n</Location>\n", first(path))
}

const PAGE: &str = "public/page.html";

/// What somebody gets for a path of the first cell: nobody, a user of the first cell, or `user@cell`.
fn status(world: &World, httpd: &Httpd, path: &str, who: &str) -> u16 {
    let path = first(path);
    if who.is_empty() {
        return httpd.get(&path).unwrap().status;
    }
    let (user, cell) = who.split_once('@').unwrap_or((who, FIRST_CELL));
    let password = &world.cell(cell).unwrap().user(user).unwrap().password;
    httpd.get_as(&path, who, password).unwrap().status
}

fn statuses<const N: usize>(world: &World, httpd: &Httpd, path: &str, who: [&str; N]) -> [u16; N] {
    who.map(|who| status(world, httpd, path, who))
}

fn log_has(httpd: &Httpd, needles: &[&str]) -> bool {
    let log = std::fs::read(httpd.error_log()).unwrap();
    String::from_utf8_lossy(&log).lines().any(|l| needles.iter().all(|n| l.contains(n)))
}

/// A counter of the broker.
fn counter(httpd: &Httpd, name: &str) -> u64 {
    metrics::read(httpd, &format!("broker_{name}_total"))
}

/// Makes and changes groups; what it has made goes with it.
struct Groups<'a> {
    world: &'a World,
    made: Vec<String>,
}

impl<'a> Groups<'a> {
    fn new(world: &'a World) -> Self {
        Self { world, made: Vec::new() }
    }

    fn pts(&self, args: &[&str]) {
        let all = args.iter().copied().chain(["-localauth"]);
        self.world.cell(FIRST_CELL).unwrap().machines[0].run("pts", all).unwrap();
    }

    fn make(&mut self, group: &str, members: &[&str]) {
        self.pts(&["creategroup", "-name", group, "-owner", "admin"]);
        self.made.push(group.to_owned());
        for member in members {
            self.add(group, member);
        }
    }

    fn add(&self, group: &str, member: &str) {
        self.pts(&["adduser", "-user", member, "-group", group]);
    }

    fn remove(&self, group: &str, member: &str) {
        self.pts(&["removeuser", "-user", member, "-group", group]);
    }
}

impl Drop for Groups<'_> {
    fn drop(&mut self) {
        for group in self.made.iter().rev() {
            self.pts(&["delete", "-nameorid", group]);
        }
    }
}

/// A protection server that is silent until this goes, also when a test fails.
struct Silent(u32);

impl Silent {
    fn new(world: &World) -> Self {
        let cell = world.cell(FIRST_CELL).unwrap();
        let pid = cell.server("ptserver", Ipv4Addr::new(192, 0, 2, 1)).unwrap().pid;
        signal_pid(pid, Signal::STOP).unwrap();
        Self(pid)
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        signal_pid(self.0, Signal::CONT).unwrap();
    }
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn users_are_those_whom_the_cell_knows_by_these_names() {
    let _one = alone();
    let world = world();
    let httpd = start(&world, &location(PAGE, &format!("Require afs-user alice zoe@{SECOND_CELL}")));
    let zoe = format!("zoe@{SECOND_CELL}");
    let (long, other) = (format!("alice@{FIRST_CELL}"), format!("alice@{SECOND_CELL}"));
    let who = ["", "alice", "bob", &long, &other, &zoe];
    assert_eq!(statuses(&world, &httpd, PAGE, who), [401, 200, 403, 200, 403, 200]);
    let challenge = httpd.get(&first(PAGE)).unwrap();
    assert!(challenge.header("WWW-Authenticate").is_some_and(|c| c.starts_with("Basic realm=\"AFS cell")));
    let wrong = httpd.get_as(&first(PAGE), "alice", "wrong").unwrap();
    assert_eq!(wrong.status, 401);
    assert_eq!(status(&world, &httpd, "public/plain.txt", ""), 200, "elsewhere everybody");
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn instances_and_users_of_other_realms_are_named_as_the_cell_names_them() {
    let _one = alone();
    let world = world();
    let rules = [
        ("public/page.html", "Require afs-user carol.admin"),
        ("public/plain.txt", "Require afs-user alice@PARTNER.EXAMPLE"),
        ("public/list", "Require afs-user alice"),
        ("public/names", "Require afs-group system:authuser"),
        ("public/index", "Require afs-group system:authuser@partner.example@cell.example"),
        ("public/deep", "Require afs-group admin:private-group"),
    ];
    let more = rules.map(|(path, rule)| location(path, rule)).concat();
    let mut groups = Groups::new(&world);
    groups.make("admin:private-group", &["alice"]);
    groups.pts(&["setfields", "admin:private-group", "-access", "S----"]);
    let mut options = Options::new(Mpm::from_env().unwrap());
    let realms =
        format!("AFSAuthMethod {FIRST_CELL} krb5\nSetAFSRealms {PARTNER_REALM} {FIRST_REALM}\n{more}");
    options.afs = Some(afs_config_without_methods(&world, &realms));
    let httpd = Httpd::start(&world, options).unwrap();
    let ask = |path: &str, name: &str, realm: &str| {
        let user = name.split('@').next().unwrap();
        let password = &world.realm(realm).unwrap().user(user).unwrap().password;
        httpd.get_as(&first(path), name, password).unwrap().status
    };
    let partner = format!("alice@{PARTNER_REALM}");
    let own = format!("alice@{FIRST_REALM}");
    for (path, admin, alice, foreign) in [
        ("public/page.html", 200, 403, 403),
        ("public/plain.txt", 403, 403, 200),
        ("public/list/one.txt", 403, 200, 403),
        ("public/names/plus+plus.txt", 200, 200, 403),
        ("public/index/index.html", 403, 403, 200),
        // Who belongs to another realm is not told about a group with private membership.
        ("public/deep/er/page.txt", 403, 200, 403),
    ] {
        assert_eq!(ask(path, "carol/admin", FIRST_REALM), admin, "{path}: carol/admin");
        assert_eq!(ask(path, "alice", FIRST_REALM), alice, "{path}: alice");
        assert_eq!(ask(path, &own, FIRST_REALM), alice, "{path}: {own}");
        assert_eq!(ask(path, &partner, PARTNER_REALM), foreign, "{path}: {partner}");
    }
    assert!(log_has(&httpd, &["does not tell alice@PARTNER.EXAMPLE", "private membership"]));
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn groups_are_those_of_the_cell_that_the_visitor_is_logged_in_at() {
    let _one = alone();
    let world = world();
    let mut groups = Groups::new(&world);
    groups.make("admin:inner", &["dave"]);
    groups.make("admin:outer", &["admin:inner"]);
    let rules = [
        ("public/page.html", "Require afs-group alice:friends"),
        ("public/plain.txt", "Require afs-group no:such-group alice:friends"),
        ("public/list", "Require afs-group system:anyuser"),
        ("public/names", "Require afs-group system:authuser"),
        ("public/deep", "Require afs-group system:authuser@other.example"),
        ("public/index", "Require afs-group admin:outer"),
        ("public/noextension", "Require afs-group system:administrators alice"),
    ];
    let httpd = start(&world, &rules.map(|(path, rule)| location(path, rule)).concat());
    let zoe = format!("zoe@{SECOND_CELL}");
    for (path, want) in [
        ("public/page.html", [401, 403, 200, 200, 403, 403]),
        ("public/plain.txt", [401, 403, 200, 200, 403, 403]),
        ("public/list/one.txt", [200, 200, 200, 200, 200, 200]),
        ("public/names/plus+plus.txt", [401, 200, 200, 200, 200, 403]),
        ("public/deep/er/page.txt", [401, 403, 403, 403, 403, 200]),
        // A group in a group counts as the server counts it.
        ("public/index/index.html", [401, 403, 403, 403, 200, 403]),
        // The name of a user is no group's.
        ("public/noextension", [401, 403, 403, 403, 403, 403]),
    ] {
        let got = statuses(&world, &httpd, path, ["", "alice", "bob", "carol", "dave", &zoe]);
        assert_eq!(got, want, "{path}");
    }
    assert_eq!(status(&world, &httpd, "public/noextension", "admin"), 200);
    assert!(log_has(&httpd, &["cell.example knows no group no:such-group"]));
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn rules_are_combined_as_httpd_combines_them() {
    let _one = alone();
    let world = world();
    let all = |rules: &str| format!("<RequireAll>\n{rules}\n</RequireAll>");
    let rules = [
        ("public/page.html", all("Require all granted\nRequire not afs-group alice:friends")),
        ("public/plain.txt", all("Require all granted\nRequire not afs-user bob")),
        ("public/list", "<RequireAny>\nRequire afs-user alice\nRequire afs-group alice:friends\n</RequireAny>".to_owned()),
        ("public/names", all("Require afs-group alice:friends\nRequire afs-user carol dave")),
        (
            "public/index",
            "<RequireAny>\nRequire ip 192.0.2.200\nRequire user bob@cell.example\nRequire afs-user alice\n</RequireAny>"
                .to_owned(),
        ),
        (
            "public/deep",
            all("<RequireNone>\nRequire afs-user bob\n</RequireNone>\nRequire afs-user alice bob"),
        ),
        ("public/htaccess-type", all("Require valid-user\nRequire not afs-group alice:friends")),
    ];
    let httpd = start(&world, &rules.map(|(path, rule)| location(path, &rule)).concat());
    for (path, want) in [
        // Nobody is in no group, and no user.
        ("public/page.html", [200, 200, 403, 403, 200]),
        ("public/plain.txt", [200, 200, 403, 200, 200]),
        ("public/list/one.txt", [401, 200, 200, 200, 403]),
        ("public/names/plus+plus.txt", [401, 403, 403, 200, 403]),
        ("public/index/index.html", [401, 200, 200, 403, 403]),
        ("public/deep/er/page.txt", [401, 200, 403, 403, 403]),
        ("public/htaccess-type/page.probe", [401, 200, 403, 403, 200]),
    ] {
        let got = statuses(&world, &httpd, path, ["", "alice", "bob", "carol", "dave"]);
        assert_eq!(got, want, "{path}");
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn two_hundred_who_ask_at_once_make_one_question_and_a_change_is_seen_when_its_time_has_come() {
    let _one = alone();
    let world = world();
    let mut groups = Groups::new(&world);
    groups.make("admin:changing", &["alice"]);
    let rule = location(PAGE, "Require afs-group admin:changing");
    let more = format!("SetAFSCacheExpiration {}\n{}{rule}", 15 * wait::slow_factor(), metrics::PLACE);
    let httpd = start_wide(&world, &more);
    // Logged in already, so that all that happens is about the group.
    assert_eq!(status(&world, &httpd, "public/plain.txt", "alice"), 200);
    let asked = || counter(&httpd, "group_asked");
    assert_eq!(asked(), 0);
    // On an emulated machine the broker is slow, and then no more than a quarter of the workers wait for it.
    let askers = if wait::slow_factor() > 1 { 12 } else { 200 };
    std::thread::scope(|s| {
        let all: Vec<_> = (0..askers).map(|_| s.spawn(|| status(&world, &httpd, PAGE, "alice"))).collect();
        let statuses: Vec<u16> = all.into_iter().map(|t| t.join().unwrap()).collect();
        assert!(statuses.iter().all(|s| *s == 200), "{statuses:?}");
    });
    assert_eq!(asked(), 1, "one question for all of them");
    assert!(counter(&httpd, "group_requests") >= askers);
    groups.remove("admin:changing", "alice");
    assert_eq!(status(&world, &httpd, PAGE, "alice"), 200, "remembered");
    let comes_to = |want: u16| {
        let limit = Duration::from_secs(40) * wait::slow_factor();
        wait::until_every(Duration::from_millis(300), &format!("{want}"), limit, || {
            Ok((status(&world, &httpd, PAGE, "alice") == want).then_some(()))
        })
        .unwrap();
    };
    comes_to(403);
    groups.add("admin:changing", "alice");
    assert_eq!(status(&world, &httpd, PAGE, "alice"), 403, "a no is remembered, too");
    comes_to(200);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_silent_protection_server_is_503_and_nobody_is_let_in_or_kept_out_by_it() {
    let _one = alone();
    let world = world();
    // No files of AFS: a file server, too, asks the protection server about whom it does not know.
    let place = |path: &str, rules: &str| {
        format!("<Location {path}>\nAFSAuthType AFS\nSetHandler afs-health\n{rules}\n</Location>\n")
    };
    let more = [
        metrics::PLACE.to_owned(),
        place("/in", "Require afs-group alice:friends"),
        place(
            "/not-in",
            "<RequireAll>\nRequire all granted\nRequire not afs-group alice:friends\n</RequireAll>",
        ),
        place(
            "/user-or-in",
            "<RequireAny>\nRequire afs-user bob\nRequire afs-group alice:friends\n</RequireAny>",
        ),
        place("/known", "Require afs-group system:authuser"),
    ]
    .concat();
    let httpd = start_wide(&world, &more);
    let ask = |path: &str, user: &str| {
        timed(|| if user.is_empty() { httpd.get(path).unwrap() } else { get_as(&world, &httpd, path, user) })
    };
    // Known to the broker, but his groups are not.
    assert_eq!(ask("/known", "bob").0.status, 200);
    let silent = Silent::new(&world);
    for path in ["/in", "/not-in"] {
        let (r, took) = ask(path, "bob");
        assert_eq!((r.status, r.header("Retry-After")), (503, Some("5")), "{path}");
        let limit = Duration::from_secs(LOGIN_DEADLINE_S + 3) * wait::slow_factor();
        assert!(took < limit.min(answer_limit()), "{took:?}");
    }
    assert!(log_has(&httpd, &["whether bob@cell.example is in alice:friends is not known"]));
    // What was last asked by who has given up may be counted a moment later.
    let mut asked = counter(&httpd, "group_requests");
    wait::until_true("the end of the questions", answer_limit(), || {
        std::thread::sleep(Duration::from_millis(500));
        let before = std::mem::replace(&mut asked, counter(&httpd, "group_requests"));
        Ok(asked == before)
    })
    .unwrap();
    for path in ["/user-or-in", "/known"] {
        let (r, took) = ask(path, "bob");
        assert_eq!(r.status, 200, "{path} needs no answer");
        assert!(took < Duration::from_secs(2) * wait::slow_factor(), "{took:?}");
    }
    assert_eq!((ask("/in", "").0.status, ask("/not-in", "").0.status), (401, 200), "nobody is in no group");
    assert_eq!(counter(&httpd, "group_requests"), asked);
    drop(silent);
    for (path, want) in [("/in", 200), ("/not-in", 403)] {
        wait::until_true("the protection server's answer", Duration::from_secs(60), || {
            Ok(ask(path, "bob").0.status == want)
        })
        .unwrap();
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn rights_are_those_of_the_visitor_where_the_file_lies() {
    let _one = alone();
    let world = world();
    let rule = |path: &str, rights: &str| location(path, &format!("Require afs-right {rights}"));
    let more = [
        rule("require/rights/some", "insert lock"),
        rule("require/rights/page.html", "read"),
        rule("alice-only", "read lookup"),
        rule("public/plain.txt", "administer"),
        location(
            "public/page.html",
            "<RequireAny>\nRequire afs-right write\nRequire afs-user carol\n</RequireAny>",
        ),
    ]
    .concat();
    if afs_client() == "kafs" {
        let mut options = Options::new(Mpm::from_env().unwrap());
        options.afs = Some(common::afs_config(&world, &more));
        let out = configtest(&world, options).unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains("kAFS does not say who has which rights"), "{said}");
        return;
    }
    let httpd = start(&world, &more);
    for (path, want) in [
        ("require/rights/some/page.html", [401, 200, 200, 403, 200]),
        ("require/rights/some/", [401, 200, 200, 403, 200]),
        ("require/rights/page.html", [200, 200, 200, 200, 200]),
        // File servers let administrators read everything.
        ("alice-only/page.html", [401, 200, 403, 403, 200]),
        ("public/plain.txt", [401, 403, 403, 403, 200]),
        ("public/page.html", [401, 403, 403, 200, 200]),
        ("require/writers/page.html", [401, 403, 403, 403, 200]),
        ("require/rights/nothing", [404, 404, 404, 404, 404]),
    ] {
        let got = statuses(&world, &httpd, path, ["", "alice", "bob", "carol", "admin"]);
        let want = if path.ends_with("some/") { want.map(|s| if s == 200 { 403 } else { s }) } else { want };
        assert_eq!(got, want, "{path}");
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn access_files_in_afs_have_their_say_and_nonsense_in_them_lets_nobody_in() {
    let _one = alone();
    let world = world();
    let httpd = start(&world, &location("require/friends/index.html", "Require afs-user bob"));
    let page = "require/friends/page.html";
    assert_eq!(statuses(&world, &httpd, page, ["", "alice", "bob"]), [401, 403, 200]);
    // A directory's index is a request of its own, by the rules of its own place.
    assert_eq!(
        statuses(&world, &httpd, "require/friends/", ["", "alice", "bob", "carol"]),
        [401, 403, 200, 403]
    );
    assert_eq!(statuses(&world, &httpd, "require/strange/page.html", ["", "alice"]), [500, 500]);
    assert!(log_has(&httpd, &["nobody logs in at nowhere.example"]));
    assert_eq!(statuses(&world, &httpd, "require/nonsense/page.html", ["", "alice"]), [500, 500]);
    assert!(log_has(&httpd, &["'fly' is not a right"]));
    httpd.stop(&["nobody logs in at nowhere.example", "'fly' is not a right"]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn methods_redirects_and_error_pages_are_asked_for_as_well() {
    let _one = alone();
    let world = world();
    let dav = "Dav afs\n<Limit GET HEAD OPTIONS>\nRequire all granted\n</Limit>\n\
               <LimitExcept GET HEAD OPTIONS>\nRequire afs-group alice:friends\n</LimitExcept>";
    let more = [
        location("write/anybody", dav),
        location("public/page.html", "Require afs-group alice:friends"),
        location("public/list", &format!("ErrorDocument 404 {}", first(PAGE))),
    ]
    .concat();
    let httpd = start_with(&world, &more, |mut o| {
        o.modules = vec!["dav".into()];
        o
    });
    let target = first(&format!("write/anybody/require-{}.txt", std::process::id()));
    let send = |method: &str, who: &str| {
        let request = Request::new(method, &target);
        let request = if method == "PUT" { request.body(b"text") } else { request };
        let request = match who {
            "" => request,
            who => request.login(who, &world.cell(FIRST_CELL).unwrap().user(who).unwrap().password),
        };
        httpd.request(&request).unwrap().status
    };
    for who in ["", "alice"] {
        let denied = if who.is_empty() { 401 } else { 403 };
        assert_eq!((send("PUT", who), send("DELETE", who), send("PROPFIND", who)), (denied, denied, denied));
    }
    assert_eq!((send("PUT", "bob"), send("GET", ""), send("GET", "alice")), (201, 200, 200));
    assert_eq!((send("DELETE", "alice"), send("DELETE", "carol")), (403, 204));
    let missing = first("public/list/missing");
    let page = |who: &str| {
        let r =
            if who.is_empty() { httpd.get(&missing).unwrap() } else { get_as(&world, &httpd, &missing, who) };
        (r.status, r.text().contains("a page"))
    };
    assert_eq!((page("bob"), page("alice").1, page("").1), ((404, true), false, false));
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn where_nobody_logs_in_nobody_is_asked_to() {
    let _one = alone();
    let world = world();
    let log = "/srv/afs-require.log";
    let _ = std::fs::remove_file(log);
    let more = format!("SetAFSAccessLog {log}\n")
        + &location("public/list", "AFSLogin none\nRequire afs-group system:authuser")
        + &location("public/deep", "AFSLogin none\nRequire afs-group system:anyuser")
        + "<Location /plain>\nRequire afs-user alice\n</Location>\n"
        + &location(PAGE, "Require afs-user alice");
    let httpd = start(&world, &more);
    assert_eq!(statuses(&world, &httpd, "public/list/one.txt", ["", "alice"]), [403, 403]);
    assert_eq!(statuses(&world, &httpd, "public/deep/er/page.txt", ["", "alice"]), [200, 200]);
    assert_eq!(httpd.get("/plain").unwrap().status, 403, "no place of AFS");
    assert!(log_has(&httpd, &["this is no place with AFSAuthType AFS"]));
    assert_eq!(status(&world, &httpd, PAGE, "bob"), 403);
    let refused = std::fs::read_to_string(log).unwrap();
    assert!(refused.lines().any(|l| l.contains("bob@cell.example") && l.contains("require")), "{refused}");
    assert_eq!(httpd.get(&second("public/page.html")).unwrap().status, 200);
    httpd.stop(&[]).unwrap();
}
