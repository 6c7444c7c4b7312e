//! Logins by Kerberos 5: every answer of a KDC, who somebody is, what it costs, and how long it lasts.
//!
//! The KDCs are Debian's; some tests take one away, so they run one after the other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::{
    KdcMischief, Replaced, afs_config_without_methods, answer_limit, below, broker_of, first, kdc, report,
    second, timed, when_ready, world,
};
use integration::content::{owner_file, owner_line};
use integration::httpd::{Httpd, Mpm, Options};
use integration::kdc::{IMPOSTORS_PASSWORD, Manner};
use integration::process::Guarded;
use integration::world::{FIRST_CELL, FIRST_REALM, LOCK_AFTER, LOCKABLE, PARTNER_REALM, SECOND_CELL, World};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An httpd whose first cell is asked by Kerberos 5, unless `methods` says otherwise; it writes down each login and who
/// each visitor is.
fn start(world: &World, methods: &str) -> Httpd {
    let methods = if methods.contains(&format!("AFSAuthMethod {FIRST_CELL} ")) {
        methods.to_owned()
    } else {
        format!("AFSAuthMethod {FIRST_CELL} krb5\n{methods}")
    };
    let mut options = Options::new(Mpm::from_env().unwrap());
    options.afs = Some(afs_config_without_methods(world, &format!("SetAFSDebugLevel 2\n{methods}")));
    let who = "LogFormat \"%U %>s %u user=%{AFS_USER}e cell=%{AFS_CELL}e end=%{AFS_TOKEN_EXPIRES}e days=%{AFS_PASSWORD_EXPIRES_DAYS}e\" who\n\
               CustomLog who.log who\n";
    when_ready(Httpd::start(world, options.extra(who)).unwrap())
}

/// What the server has written down of its last visitor, whose name this is.
fn last_visitor(httpd: &Httpd, user: &str) -> String {
    let log = httpd.dir().join("who.log");
    integration::wait::until("a line on the visitor", Duration::from_secs(5), || {
        let lines = fs::read_to_string(&log).unwrap_or_default();
        Ok(lines.lines().last().filter(|l| l.contains(&format!("user={user} "))).map(str::to_owned))
    })
    .unwrap()
}

/// The lines of the error log that begin a login of `user`.
fn logins(httpd: &Httpd, user: &str) -> Vec<String> {
    let log = fs::read(httpd.error_log()).unwrap();
    let needle = format!("login {user}");
    String::from_utf8_lossy(&log)
        .lines()
        .filter(|l| l.contains("[weblog:"))
        .filter_map(|l| l.find(&needle).map(|at| l[at..].to_owned()))
        .collect()
}

/// Those of them that tell how it ended.
fn ended(httpd: &Httpd, user: &str) -> Vec<String> {
    logins(httpd, user).into_iter().filter(|l| l.contains("(step ")).collect()
}

/// How a login of `user` has ended, who had `before` others, or that the log does not say it.
fn end_of_login(httpd: &Httpd, user: &str, before: usize) -> String {
    // A worker whose patience ends answers before the broker has written down that its own has.
    integration::wait::until("the end of the login", Duration::from_secs(5), || {
        Ok(ended(httpd, user).into_iter().nth(before))
    })
    .unwrap_or_else(|e| e.to_string())
}

fn password<'a>(world: &'a World, realm: &str, user: &str) -> &'a str {
    &world.realm(realm).unwrap().user(user).unwrap().password
}

/// What a KDC has written while `f` was done.
fn logged<T>(world: &World, realm: &str, f: impl FnOnce() -> T) -> (T, String) {
    let log = &world.realm(realm).unwrap().log;
    let before = fs::read_to_string(log).unwrap().len();
    let value = f();
    (value, fs::read_to_string(log).unwrap()[before..].to_owned())
}

/// A row of the table: what was provoked, and what is expected of it.
struct Row<'a> {
    what: &'a str,
    user: &'a str,
    password: &'a str,
    status: u16,
    word: &'a str,
    step: &'a str,
}

/// Provokes it; the row with what was seen, and whether it is as expected.
fn check(httpd: &Httpd, path: &str, row: &Row<'_>) -> bool {
    let before = ended(httpd, row.user).len();
    let (answer, took) = timed(|| httpd.get_as(path, row.user, row.password).unwrap());
    let line = end_of_login(httpd, row.user, before);
    let right = answer.status == row.status
        && line.contains(&format!(": {} ", row.word))
        && line.contains(&format!("step {}", row.step));
    report(&format!(
        "{} {}: expected {} {}, seen {} `{line}` after {:.1} s",
        if right { "ok" } else { "WRONG" },
        row.what,
        row.status,
        row.word,
        answer.status,
        took.as_secs_f32()
    ));
    right
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn each_answer_of_a_kdc_about_an_account_has_its_status_and_its_word() {
    let _one = alone();
    let world = world();
    let of = |user| password(&world, FIRST_REALM, user);
    kdc(&world, FIRST_REALM).unlock(LOCKABLE).unwrap();
    let httpd = start(&world, "");
    let path = first(&owner_file("alice"));
    let row =
        |what, user, password, status, word| Row { what, user, password, status, word, step: "authenticate" };
    let wrong: Vec<String> = (0..2 * LOCK_AFTER).map(|i| format!("wrong {i}")).collect();
    let mut rows = vec![
        row("unknown user", "nobody-here", "x", 401, "unknown-user"),
        row("wrong password", "alice", "wrong", 401, "wrong-password"),
        row("wrong password, no preauthentication", "nopreauth", "wrong", 401, "wrong-password"),
        row("password expired", "pwexpired", of("pwexpired"), 401, "password-expired"),
        row("account disabled", "disabled", of("disabled"), 401, "locked"),
        row("account expired", "expired", of("expired"), 401, "account-expired"),
        row("keys of a kind that nobody takes", "oldenctype", of("oldenctype"), 503, "enctype-refused"),
    ];
    rows.extend(
        wrong.iter().map(|w| row("wrong password until it is locked", LOCKABLE, w, 401, "wrong-password")),
    );
    rows.push(row("account locked", LOCKABLE, of(LOCKABLE), 401, "locked"));
    let mut faults = rows.iter().filter(|row| !check(&httpd, &path, row)).count();
    // Who has to preauthenticate himself with such keys cannot.
    kdc(&world, FIRST_REALM).kadmin(&["modify_principal +requires_preauth oldenctype"]).unwrap();
    let more = "preauthentication that a password does not do";
    let row = row(more, "oldenctype", "another", 401, "preauthentication-failed");
    faults += usize::from(!check(&httpd, &path, &row));
    kdc(&world, FIRST_REALM).kadmin(&["modify_principal -requires_preauth oldenctype"]).unwrap();
    kdc(&world, FIRST_REALM).unlock(LOCKABLE).unwrap();
    assert_eq!(faults, 0);
    assert_eq!(httpd.get_as(&path, "alice", of("alice")).unwrap().status, 200);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn whatever_else_keeps_a_token_away_is_503_and_has_its_word() {
    let _one = alone();
    let world = world();
    let alice = password(&world, FIRST_REALM, "alice");
    let path = first(&owner_file("alice"));
    let mut faults = 0;
    let mut try_it = |httpd: Httpd, what, password, word, step| {
        let row = Row { what, user: "alice", password, status: 503, word, step };
        faults += usize::from(!check(&httpd, &path, &row));
        httpd.stop(&[]).unwrap();
    };
    for (what, seconds) in [("clock an hour ahead", 3_600), ("clock an hour behind", -3_600)] {
        let httpd = start(&world, "");
        let _mischief = KdcMischief::run(&world, FIRST_REALM, Manner::Skewed(seconds));
        try_it(httpd, what, alice, "clock-skew", "authenticate");
    }
    {
        let httpd = start(&world, "");
        let _mischief = KdcMischief::stop(&world, FIRST_REALM);
        try_it(httpd, "no KDC there", alice, "cell-unreachable", "authenticate");
    }
    {
        let httpd = start(&world, "");
        let _mischief = KdcMischief::pause(&world, FIRST_REALM);
        try_it(httpd, "KDC silent", alice, "deadline", "local");
    }
    {
        let httpd = start(&world, "");
        let _mischief = KdcMischief::run(&world, FIRST_REALM, Manner::LargeTickets(12_500));
        try_it(httpd, "ticket of over 12,000 bytes", alice, "ticket-too-long", "get-token");
    }
    {
        let httpd = start(&world, "");
        let _mischief = KdcMischief::run(&world, FIRST_REALM, Manner::Impostor);
        try_it(httpd, "an impostor's KDC", IMPOSTORS_PASSWORD, "not-accepted-by-cell", "proof");
    }
    let nowhere = start(&world, &format!("AFSAuthMethod {FIRST_CELL} krb5 NOWHERE.EXAMPLE"));
    try_it(nowhere, "no KDC known", alice, "no-kdc", "authenticate");
    let partner = start(&world, &format!("AFSAuthMethod {FIRST_CELL} krb5 {PARTNER_REALM}"));
    let his = password(&world, PARTNER_REALM, "alice");
    try_it(partner, "no AFS principal", his, "no-afs-principal", "get-token");
    {
        /// Puts it back, also after a failure.
        struct Back<'a>(&'a World);
        impl Drop for Back<'_> {
            fn drop(&mut self) {
                kdc(self.0, FIRST_REALM).kadmin(&["del_string afs/cell.example session_enctypes"]).unwrap();
            }
        }
        let _back = Back(&world);
        kdc(&world, FIRST_REALM)
            .kadmin(&["set_string afs/cell.example session_enctypes arcfour-hmac"])
            .unwrap();
        try_it(
            start(&world, ""),
            "session keys of a kind that nobody takes",
            alice,
            "enctype-refused",
            "get-token",
        );
    }
    assert_eq!(faults, 0);
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_token_that_the_cell_does_not_take_is_503() {
    let _one = alone();
    let world = world();
    let kdc = kdc(&world, FIRST_REALM);
    // The servers of the second cell have no such key.
    kdc.kadmin(&["add_principal -clearpolicy -randkey -e aes256-cts:normal afs/other.example"]).unwrap();
    let httpd = start(&world, &format!("AFSAuthMethod {SECOND_CELL} krb5 {FIRST_REALM}"));
    let alice = password(&world, FIRST_REALM, "alice");
    let row = Row {
        what: "not accepted by the cell",
        user: "alice@other.example",
        password: alice,
        status: 503,
        word: "not-accepted-by-cell",
        step: "proof",
    };
    let right = check(&httpd, &second("public/page.html"), &row);
    kdc.kadmin(&["delete_principal -force afs/other.example"]).unwrap();
    assert!(right);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn with_a_keytab_only_the_kdc_that_has_its_key_is_believed() {
    let _one = alone();
    let world = world();
    let kdc = kdc(&world, FIRST_REALM);
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = dir.path().join("weblog.keytab");
    kdc.kadmin(&[
        "add_principal -clearpolicy -randkey HTTP/www.cell.example".to_owned(),
        format!("ktadd -k {} HTTP/www.cell.example", file.display()),
    ])
    .unwrap();
    let group = group_of_the_broker();
    std::os::unix::fs::chown(&file, Some(0), Some(group)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let config = format!("AFSKeytab {}", file.display());
    let alice = password(&world, FIRST_REALM, "alice");
    let path = first(&owner_file("alice"));
    let httpd = start(&world, &config);
    assert_eq!(httpd.get_as(&path, "alice", alice).unwrap().status, 200, "{:?}", logins(&httpd, "alice"));
    httpd.stop(&[]).unwrap();
    {
        let httpd = start(&world, &config);
        let _mischief = KdcMischief::run(&world, FIRST_REALM, Manner::Impostor);
        let row = Row {
            what: "an impostor's KDC, with a keytab",
            user: "alice",
            password: IMPOSTORS_PASSWORD,
            status: 503,
            word: "keytab-check-failed",
            step: "keytab",
        };
        assert!(check(&httpd, &path, &row));
        httpd.stop(&[]).unwrap();
    }
    // The KDC has another key from now on.
    kdc.kadmin(&["change_password -randkey HTTP/www.cell.example"]).unwrap();
    let httpd = start(&world, &config);
    let row = Row {
        what: "another KDC than the keytab's",
        user: "alice",
        password: alice,
        status: 503,
        word: "keytab-check-failed",
        step: "keytab",
    };
    let right = check(&httpd, &path, &row);
    kdc.kadmin(&["delete_principal -force HTTP/www.cell.example"]).unwrap();
    assert!(right);
    httpd.stop(&[]).unwrap();
}

/// The group of the user that the broker runs as.
fn group_of_the_broker() -> u32 {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|l| l.starts_with("weblog:")).expect("the broker's user");
    line.split(':').nth(3).unwrap().parse().unwrap()
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn users_of_cell_and_realms_read_what_is_theirs() {
    let _one = alone();
    let world = world();
    let httpd = start(&world, &format!("SetAFSRealms {PARTNER_REALM}\nAFSAuthMethod {SECOND_CELL} krb5"));
    let get = |path: &str, user: &str, realm: &str, principal: &str| {
        let r = httpd.get_as(path, user, password(&world, realm, principal)).unwrap();
        let line = r.text().lines().next().unwrap_or_default().to_owned() + "\n";
        (r.status, line)
    };
    let own = first(&owner_file("alice"));
    assert_eq!(get(&own, "alice", FIRST_REALM, "alice"), (200, owner_line("alice", FIRST_CELL)));
    assert_eq!(get(&own, "bob", FIRST_REALM, "bob").0, 403);
    assert_eq!(get(&own, "alice", FIRST_REALM, "bob").0, 401);
    // An instance.
    let page = first("carol-admin/page.html");
    let admin = get(&page, "carol/admin", FIRST_REALM, "carol/admin");
    assert_eq!(admin, (200, owner_line("carol.admin", FIRST_CELL)));
    assert_eq!(get(&page, "carol", FIRST_REALM, "carol").0, 403);
    // A realm whose AFS service has the older name.
    let r = get(&second("home/zoe/owner.txt"), "zoe@other.example", "OTHER.EXAMPLE", "zoe");
    assert_eq!(r.0, 200);
    // Somebody of another realm.
    let page = first("partner/page.html");
    let theirs = get(&page, "alice@partner.example", PARTNER_REALM, "alice");
    assert_eq!(theirs, (200, owner_line("alice", "partner.example")));
    let seen = last_visitor(&httpd, "alice");
    assert!(seen.contains(" alice@PARTNER.EXAMPLE user=alice cell=cell.example"), "{seen}");
    assert_eq!(get(&page, "alice", FIRST_REALM, "alice").0, 403, "of the cell's own realm");
    assert_eq!(get(&own, "alice@PARTNER.EXAMPLE", PARTNER_REALM, "alice").0, 403);
    assert_eq!(get(&page, "bob@PARTNER.EXAMPLE", PARTNER_REALM, "bob").0, 401, "whom the cell does not know");
    // A worker that asks twice is told what is remembered.
    let lines = logins(&httpd, "bob@PARTNER.EXAMPLE");
    assert!(lines.iter().any(|line| line.contains("unknown-user (step proof")), "{lines:?}");
    assert_eq!(get(&page, "alice@ELSEWHERE.EXAMPLE", PARTNER_REALM, "alice").0, 401);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn both_methods_go_together_and_auto_takes_kerberos_where_a_kdc_is_known() {
    let _one = alone();
    let world = world();
    let alice = password(&world, FIRST_REALM, "alice");
    let zoe = &world.cell(SECOND_CELL).unwrap().user("zoe").unwrap().password;
    let (path, other) = (first(&owner_file("alice")), second("home/zoe/owner.txt"));
    for (methods, by_kdc, zoe_by_kdc) in [
        (format!("AFSAuthMethod {FIRST_CELL} krb5\nAFSAuthMethod {SECOND_CELL} kaserver"), true, false),
        (format!("AFSAuthMethod {FIRST_CELL} kaserver\nAFSAuthMethod {SECOND_CELL} krb5"), false, true),
        (format!("AFSAuthMethod {FIRST_CELL} auto"), true, true),
        (format!("AFSAuthMethod {FIRST_CELL} auto NOWHERE.EXAMPLE"), false, true),
    ] {
        let httpd = start(&world, &methods);
        let ((status, took), log) =
            logged(&world, FIRST_REALM, || timed(|| httpd.get_as(&path, "alice", alice).unwrap().status));
        assert_eq!((status, log.contains("ISSUE")), (200, by_kdc), "{methods}: {log}");
        let (status, log) = logged(&world, "OTHER.EXAMPLE", || {
            httpd.get_as(&other, "zoe@other.example", zoe).unwrap().status
        });
        assert_eq!((status, log.contains("ISSUE")), (200, zoe_by_kdc), "{methods}: {log}");
        report(&format!("{}: a login in {:.2} s", methods.replace('\n', "; "), took.as_secs_f32()));
        httpd.stop(&[]).unwrap();
    }
}

/// A name server that knows the first realm's KDC, and nothing else.
fn name_server(world: &World) -> Guarded {
    let kdc = world.realm(FIRST_REALM).unwrap().kdc;
    let mut command = Command::new("dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--user=root",
    ]);
    command.args(["--pid-file=", "--bind-interfaces", "--local=/example/"]);
    command.arg(format!("--listen-address={}", kdc.ip()));
    command.arg(format!("--host-record=kdc.cell.example,{}", kdc.ip()));
    for protocol in ["udp", "tcp"] {
        command
            .arg(format!("--srv-host=_kerberos._{protocol}.{FIRST_REALM},kdc.cell.example,{}", kdc.port()));
    }
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Guarded::spawn(&mut command, "dnsmasq", Duration::from_millis(500)).unwrap()
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn kdcs_are_found_by_their_names_and_by_what_name_servers_say_of_the_realm() {
    let _one = alone();
    let world = world();
    let kdc = world.realm(FIRST_REALM).unwrap().kdc;
    let alice = password(&world, FIRST_REALM, "alice");
    let path = first(&owner_file("alice"));
    let common = format!(
        "[libdefaults]\ndefault_realm = {FIRST_REALM}\ndns_canonicalize_hostname = false\nrdns = false\n"
    );
    let by_name = format!(
        "{common}dns_lookup_kdc = false\n[realms]\n{FIRST_REALM} = {{\nkdc = kdc.names.example:{}\n}}\n",
        kdc.port()
    );
    let hosts = format!("127.0.0.1 localhost\n{} kdc.names.example\n", kdc.ip());
    let by_dns = format!("{common}dns_lookup_kdc = true\n");
    let here = format!("nameserver {}\n", kdc.ip());
    let check = |what: &str, files: &[(&str, &str)], method: &str| {
        let _changed = Replaced::new(files);
        let httpd = start(&world, &format!("AFSAuthMethod {FIRST_CELL} {method}"));
        let ((status, took), log) =
            logged(&world, FIRST_REALM, || timed(|| httpd.get_as(&path, "alice", alice).unwrap().status));
        report(&format!("{what}, {method}: {status} after {:.2} s", took.as_secs_f32()));
        assert!(took < answer_limit(), "{what}: {took:?}");
        let line = end_of_login(&httpd, "alice", 0);
        httpd.stop(&[]).unwrap();
        (status, log.contains("ISSUE"), line)
    };
    let files = [
        ("/etc/krb5.conf", by_name.as_str()),
        ("/etc/hosts", hosts.as_str()),
        ("/etc/nsswitch.conf", "hosts: files\n"),
    ];
    assert_eq!(check("by a name in /etc/hosts", &files, "krb5").0, 200);
    let files = [
        ("/etc/krb5.conf", by_dns.as_str()),
        ("/etc/resolv.conf", here.as_str()),
        ("/etc/nsswitch.conf", "hosts: files dns\n"),
    ];
    let server = name_server(&world);
    for method in ["krb5", "auto"] {
        let (status, by_kdc, line) = check("by DNS", &files, method);
        assert_eq!((status, by_kdc), (200, true), "{line}");
    }
    let (status, _, line) = check("by DNS, a realm that it does not know", &files, "krb5 NOWHERE.EXAMPLE");
    assert!(status == 503 && line.contains("no-kdc"), "{status} {line}");
    drop(server);
    let (status, _, line) = check("name servers that do not run", &files, "krb5");
    assert!(status == 503, "{status} {line}");
    let silent = [files[0], ("/etc/resolv.conf", "nameserver 192.0.2.99\n"), files[2]];
    let (status, _, line) = check("name servers that are silent", &silent, "krb5");
    assert!(status == 503 && line.contains("deadline"), "{status} {line}");
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_graceful_restart_changes_the_method() {
    let _one = alone();
    let world = world();
    let alice = password(&world, FIRST_REALM, "alice");
    let bob = password(&world, FIRST_REALM, "bob");
    let mut httpd = start(&world, &format!("AFSAuthMethod {FIRST_CELL} kaserver"));
    let path = first("public/page.html");
    let (_, log) = logged(&world, FIRST_REALM, || httpd.get_as(&path, "alice", alice).unwrap());
    assert!(!log.contains("ISSUE"), "{log}");
    httpd
        .rewrite(|t| t.replace("AFSAuthMethod cell.example kaserver", "AFSAuthMethod cell.example krb5"))
        .unwrap();
    httpd.graceful().unwrap();
    integration::wait::until_true("the new method", Duration::from_secs(10), || {
        let log = fs::read_to_string(httpd.error_log())?;
        Ok(log.matches("applies").count() >= 2)
    })
    .unwrap();
    let (r, log) = logged(&world, FIRST_REALM, || httpd.get_as(&path, "bob", bob).unwrap());
    assert_eq!((r.status, log.contains("ISSUE")), (200, true), "{log}");
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn many_who_ask_at_once_make_one_login() {
    let _one = alone();
    let world = world();
    let httpd = start(&world, "");
    let alice = password(&world, FIRST_REALM, "alice");
    let path = first(&owner_file("alice"));
    let (statuses, log) = logged(&world, FIRST_REALM, || {
        std::thread::scope(|s| {
            let threads: Vec<_> =
                (0..20).map(|_| s.spawn(|| httpd.get_as(&path, "alice", alice).unwrap().status)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>()
        })
    });
    assert!(statuses.iter().all(|s| *s == 200), "{statuses:?}");
    // A KDC that was started again writes each line twice.
    let counts = |log: &str| ["AS_REQ", "TGS_REQ"].map(|r| log.lines().filter(|l| l.contains(r)).count());
    let bob = password(&world, FIRST_REALM, "bob");
    let (status, of_one) = logged(&world, FIRST_REALM, || httpd.get_as(&path, "bob", bob).unwrap().status);
    assert_eq!((status, counts(&log)), (403, counts(&of_one)), "{log}{of_one}");
    assert!(counts(&log)[1] > 0);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn the_shortest_life_counts_and_days_to_the_end_of_a_password_are_told() {
    let _one = alone();
    let world = world();
    let path = first("public/page.html");
    let end = |httpd: &Httpd, user: &str| -> i64 {
        let before = now();
        assert_eq!(httpd.get_as(&path, user, password(&world, FIRST_REALM, user)).unwrap().status, 200);
        let seen = last_visitor(httpd, user);
        let end = seen.split("end=").nth(1).unwrap().split(' ').next().unwrap();
        end.parse::<i64>().unwrap() - before
    };
    let httpd = start(&world, "");
    let (all, short) = (end(&httpd, "alice"), end(&httpd, "life120"));
    assert!(all > 3_600 && (60..=130).contains(&short), "{all} {short}");
    assert!(last_visitor(&httpd, "life120").ends_with("days=-"));
    end(&httpd, "pwsoon");
    let seen = last_visitor(&httpd, "pwsoon");
    assert!(seen.ends_with("days=2") || seen.ends_with("days=3"), "{seen}");
    let lines = logins(&httpd, "pwsoon");
    let line = lines.iter().find(|line| line.contains("password expires in "));
    report(line.unwrap_or_else(|| panic!("{lines:?}")));
    httpd.stop(&[]).unwrap();
    let mut httpd = start(&world, "SetAFSTokenExpiration 600");
    let (asked, short) = (end(&httpd, "alice"), end(&httpd, "life120"));
    assert!((540..=610).contains(&asked) && (60..=130).contains(&short), "{asked} {short}");
    // What a graceful restart changes counts for logins from then on; who is logged in keeps what he has.
    httpd.rewrite(|t| t.replace("SetAFSTokenExpiration 600", "SetAFSTokenExpiration 1800")).unwrap();
    httpd.graceful().unwrap();
    // The broker gets a configuration a moment after httpd has taken it.
    let longer = ["bob", "carol", "mallory", "admin"].into_iter().any(|new| {
        std::thread::sleep(Duration::from_secs(1));
        (1_700..=1_810).contains(&end(&httpd, new))
    });
    assert!(longer);
    assert!((400..=610).contains(&end(&httpd, "alice")));
    httpd.stop(&[]).unwrap();
}

fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_secs().try_into().unwrap()
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_ticket_of_ten_thousand_bytes_gets_to_the_file_server() {
    let _one = alone();
    let world = world();
    let httpd = start(&world, "");
    let _mischief = KdcMischief::run(&world, FIRST_REALM, Manner::LargeTickets(10_000));
    let path = first(&owner_file("alice"));
    let r = httpd.get_as(&path, "alice", password(&world, FIRST_REALM, "alice")).unwrap();
    assert_eq!(r.status, 200, "{:?}", logins(&httpd, "alice"));
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn only_authenticators_have_the_library_and_no_password_is_written_down() {
    let _one = alone();
    let world = world();
    let httpd = start(&world, "");
    let alice = password(&world, FIRST_REALM, "alice");
    assert_eq!(httpd.get_as(&first(&owner_file("alice")), "alice", alice).unwrap().status, 200);
    let has_it = |pid: u32| fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().contains("libkrb5.so");
    assert!(!has_it(broker_of(&httpd).unwrap()));
    assert!(httpd.children().into_iter().all(|pid| !has_it(pid)));
    // They are ready when they have it.
    integration::wait::until_true("an authenticator with the library", Duration::from_secs(10), || {
        Ok(below(httpd.pid(), "weblog-login").into_iter().any(has_it))
    })
    .unwrap();
    let log = fs::read_to_string(httpd.error_log()).unwrap();
    assert!(!log.contains(alice));
    assert!(
        !Path::new("/tmp")
            .read_dir()
            .unwrap()
            .any(|f| { f.unwrap().file_name().to_string_lossy().starts_with("krb5cc") })
    );
    httpd.stop(&[]).unwrap();
    let kaserver_only =
        start(&world, &format!("AFSAuthMethod {FIRST_CELL} kaserver\nAFSAuthMethod {SECOND_CELL} kaserver"));
    let path = first(&owner_file("alice"));
    assert_eq!(kaserver_only.get_as(&path, "alice", alice).unwrap().status, 200);
    std::thread::sleep(Duration::from_millis(500));
    assert!(below(kaserver_only.pid(), "weblog-login").into_iter().all(|pid| !has_it(pid)));
    kaserver_only.stop(&[]).unwrap();
}
