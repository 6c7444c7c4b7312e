//! Service identities: whose token serves what, how it is renewed, and what becomes of a service when it is not.
//!
//! Some tests take a KDC away, so they run one after the other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::keys::{Keys, identity};
use common::{
    KdcMischief, afs_config_without_methods, broker_of, first, first_line, kdc, long, report, when_ready,
    world,
};
use integration::content::{PUBLIC_LINE, owner_file, owner_line};
use integration::http::{Request, Response};
use integration::httpd::{Httpd, Mpm, Options};
use integration::wait;
use integration::world::{FIRST_CELL, FIRST_REALM, PUBLISHER, SERVICE, World};
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The administrators' socket.
const SOCKET: &str = "/run/weblog-services.sock";
/// What AFS calls [`SERVICE`].
const AFS_NAME: &str = "http.www";

/// One test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An httpd that writes down by whom each request was served.
fn start(world: &World, more: &str) -> Httpd {
    let mut options = Options::new(Mpm::from_env().unwrap());
    let methods =
        format!("AFSAuthMethod {FIRST_CELL} krb5\nSetAFSDebugLevel 2\nSetAFSControlSocket {SOCKET}\n{more}");
    options.afs = Some(afs_config_without_methods(world, &methods));
    let who = "LogFormat \"%U %>s user=%u service=%{AFS_SERVICE}e\" who\nCustomLog who.log who\n";
    when_asked(Httpd::start(world, options.extra(who)).unwrap())
}

/// An httpd where the processor is emulated: there a service's first login can take longer than a worker waits for it.
fn when_asked(httpd: Httpd) -> Httpd {
    let httpd = when_ready(httpd);
    if wait::slow_factor() > 1 {
        let is_told =
            || !lines(&httpd, &["has a token for"]).is_empty() || !lines(&httpd, &["ALARM"]).is_empty();
        wait::until_true("what becomes of the service", Duration::from_secs(20), || Ok(is_told())).unwrap();
    }
    httpd
}

fn location(path: &str, text: &str) -> String {
    format!("<Location {}>\n{text}</Location>\n", first(path))
}

fn owner(r: &Response) -> String {
    first_line(r)
}

fn of(user: &str) -> String {
    owner_line(user, FIRST_CELL).trim_end().to_owned()
}

/// A user of the first realm asks.
fn get_as(world: &World, httpd: &Httpd, path: &str, user: &str) -> Response {
    let password = &world.realm(FIRST_REALM).unwrap().user(user).unwrap().password;
    httpd.get_as(path, user, password).unwrap()
}

/// The broker's lines in the error log that have all of these in them.
fn lines(httpd: &Httpd, needles: &[&str]) -> Vec<String> {
    let log = fs::read(httpd.error_log()).unwrap();
    let all = String::from_utf8_lossy(&log).into_owned();
    let has = |l: &&str| l.contains("[weblog:") && needles.iter().all(|n| l.contains(n));
    all.lines().filter(has).map(str::to_owned).collect()
}

/// Waits for such a line.
fn line(httpd: &Httpd, needles: &[&str], limit: Duration) -> String {
    wait::until(&format!("a line with {needles:?}"), limit, || Ok(lines(httpd, needles).pop())).unwrap()
}

fn status(world: &World) -> String {
    let weblog = world.programs.weblog.as_deref().unwrap();
    let out = Command::new(weblog).args(["status", "--socket", SOCKET]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Waits until a path has this status: after a graceful restart an old child may answer one more request.
fn comes_to(httpd: &Httpd, path: &str, status: u16) {
    wait::until_true(
        &format!("{path} to be {status}"),
        Duration::from_secs(20) * wait::slow_factor(),
        || Ok(httpd.get(path)?.status == status),
    )
    .unwrap();
}

/// What the server has written down of the last request for `path`.
fn served(httpd: &Httpd, path: &str) -> String {
    let log = httpd.dir().join("who.log");
    wait::until("a line in the log", Duration::from_secs(5), || {
        let lines = fs::read_to_string(&log).unwrap_or_default();
        Ok(lines.lines().rfind(|l| l.starts_with(&format!("{path} "))).map(str::to_owned))
    })
    .unwrap()
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn where_nobody_is_logged_in_the_service_reads_and_visitors_stay_themselves() {
    let _one = alone();
    let (world, keys) = (world(), Keys::new());
    let keytab = keys.keytab(&world, SERVICE);
    let httpd = start(&world, &location("", &identity(SERVICE, &keytab)));
    let page = first("service/page.html");
    let r = httpd.get(&page).unwrap();
    assert_eq!((r.status, owner(&r)), (200, of(AFS_NAME)), "{:?}", lines(&httpd, &["service"]));
    assert!(r.header("Cache-Control").is_none(), "it is public: {:?}", r.header("Cache-Control"));
    assert_eq!(served(&httpd, &page), format!("{page} 200 user=- service={SERVICE}@{FIRST_CELL}"));
    assert_eq!(owner(&httpd.get(&first("service/")).unwrap()), of(AFS_NAME), "the index");
    assert_eq!(httpd.get(&first("service")).unwrap().status, 301);
    let range = Request::get(&page).header("Range", "bytes=0-4");
    assert_eq!(httpd.request(&range).unwrap().text(), "owner");
    // Who may do more than everybody is still asked who he is, and is nobody but himself then.
    assert_eq!(httpd.get(&first(&owner_file("alice"))).unwrap().status, 401);
    let r = get_as(&world, &httpd, &first(&owner_file("alice")), "alice");
    assert_eq!((r.status, owner(&r)), (200, of("alice")));
    assert_eq!(get_as(&world, &httpd, &page, "alice").status, 403, "the service's right is not alice's");
    assert_eq!(httpd.get_as(&page, "alice", "wrong").unwrap().status, 401);
    assert_eq!(httpd.get(&page).unwrap().status, 200);
    let other = format!("/afs/other.example/{}", owner_file("alice"));
    assert_eq!(httpd.get(&other).unwrap().status, 401, "another location, in another cell");
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn where_nobody_logs_in_the_service_reads_whatever_is_sent() {
    let _one = alone();
    let (world, keys) = (world(), Keys::new());
    let keytab = keys.keytab(&world, SERVICE);
    let service = identity(SERVICE, &keytab);
    let more = location("service", &format!("AFSLogin none\n{service}"))
        + &location("home", &format!("AFSLogin none\n{service}"))
        + &location("home/alice", "AFSLogin optional\nAFSServiceIdentity none\n")
        + &location("lookup", "AFSLogin none\n");
    let httpd = start(&world, &more);
    let page = first("service/page.html");
    for (user, password) in [("alice", "wrong"), ("nobody", "x")] {
        let r = httpd.get_as(&page, user, password).unwrap();
        assert_eq!((r.status, owner(&r)), (200, of(AFS_NAME)));
        assert!(r.header("Vary").is_none());
    }
    let r = get_as(&world, &httpd, &first("lookup/file.txt"), "alice");
    assert_eq!((r.status, r.header("WWW-Authenticate")), (403, None), "nobody, and nobody is asked");
    assert_eq!(served(&httpd, &page), format!("{page} 200 user=- service={SERVICE}@{FIRST_CELL}"));
    let r = get_as(&world, &httpd, &first(&owner_file("bob")), "bob");
    assert_eq!((r.status, r.header("WWW-Authenticate")), (403, None), "not even bob's own");
    let r = get_as(&world, &httpd, &first(&owner_file("alice")), "alice");
    assert_eq!((r.status, owner(&r)), (200, of("alice")), "none, inside");
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn locations_and_hosts_have_services_of_their_own_by_keytab_or_srvtab() {
    let _one = alone();
    let (world, keys) = (world(), Keys::new());
    let keytab = keys.keytab(&world, SERVICE);
    let (page, published) = (first("service/page.html"), first("published/page.html"));
    let httpd = start(&world, &location("service", &identity(SERVICE, &keytab)));
    assert_eq!(httpd.get(&page).unwrap().status, 200);
    assert_eq!(httpd.get(&published).unwrap().status, 401);
    httpd.stop(&[]).unwrap();

    // By a kaserver, for a whole server but one location of it; another host has none.
    let srvtab = keys.srvtab(&world, PUBLISHER);
    let mut options = Options::new(Mpm::from_env().unwrap());
    let more = format!(
        "SetAFSDebugLevel 2\nAFSAuthMethod {FIRST_CELL} kaserver\n{}{}<VirtualHost *:*>\nServerName bare.example\nAFSServiceIdentity none\n</VirtualHost>\n\
         <VirtualHost *:*>\nServerName plain.example\n</VirtualHost>\n",
        identity(PUBLISHER, &srvtab),
        location("service", "AFSServiceIdentity none\n"),
    );
    options.afs = Some(afs_config_without_methods(&world, &more));
    let httpd = when_asked(Httpd::start(&world, options).unwrap());
    let get = |host: &str, path: &str| {
        let r = httpd.request(&Request::get(path).header("Host", host)).unwrap();
        (r.status, if r.status == 200 { owner(&r) } else { String::new() })
    };
    assert_eq!(get("plain.example", &published), (200, of(PUBLISHER)));
    assert_eq!(get("plain.example", &page).0, 401);
    assert_eq!(get("bare.example", &published).0, 401);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn the_first_requests_after_a_start_have_the_service_and_children_never_its_key() {
    let _one = alone();
    let (world, keys) = (world(), Keys::new());
    let keytab = keys.keytab(&world, SERVICE);
    let mut httpd = start(&world, &location("service", &identity(SERVICE, &keytab)));
    let page = first("service/page.html");
    let all = || -> Vec<u16> {
        std::thread::scope(|s| {
            let askers: Vec<_> = (0..24).map(|_| s.spawn(|| httpd.get(&page).unwrap().status)).collect();
            askers.into_iter().map(|t| t.join().unwrap()).collect()
        })
    };
    assert_eq!(all(), [200; 24]);
    assert_eq!(lines(&httpd, &["has a token for"]).len(), 1, "one login for all children");
    // What children run as cannot read the file, and none has it open.
    let probe = Command::new("setpriv")
        .args(["--reuid", "www-data", "--regid", "www-data", "--clear-groups", "cat"])
        .arg(&keytab)
        .output()
        .unwrap();
    assert!(!probe.status.success() && probe.stdout.is_empty());
    for child in httpd.children() {
        let open = fs::read_dir(format!("/proc/{child}/fd"))
            .unwrap()
            .filter_map(|e| fs::read_link(e.ok()?.path()).ok());
        assert!(open.into_iter().all(|l| l != keytab));
    }
    let broker = broker_of(&httpd).unwrap();
    httpd.graceful().unwrap();
    assert_eq!(httpd.get(&page).unwrap().status, 200);
    assert_eq!(lines(&httpd, &["has a token for"]).len(), 1, "a reload keeps it");
    // Another broker gets another token; meanwhile children have theirs.
    integration::process::signal_pid(broker, rustix::process::Signal::KILL).unwrap();
    wait::until("another broker", Duration::from_secs(20), || Ok(broker_of(&httpd).filter(|b| *b != broker)))
        .unwrap();
    assert_eq!(httpd.get(&page).unwrap().status, 200);
    // Without the directive there is no service any more, for nobody.
    httpd.rewrite(|c| c.replace("AFSServiceIdentity", "#AFSServiceIdentity")).unwrap();
    httpd.graceful().unwrap();
    comes_to(&httpd, &page, 401);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_service_is_renewed_under_load_and_outlives_a_kdc_that_is_away_as_long_as_its_token() {
    let _one = alone();
    let (world, keys) = (world(), Keys::new());
    // Where the processor is emulated, half of a short life can be too little for a renewal under load.
    let short_s = if wait::slow_factor() > 1 { 60 } else { 16 };
    let (life_s, renewals) = if long() { (120, 5) } else { (short_s, 3) };
    let kdc = kdc(&world, FIRST_REALM);
    kdc.kadmin(&[format!("modify_principal -maxlife \"{life_s} seconds\" {SERVICE}")]).unwrap();
    let keytab = keys.keytab(&world, SERVICE);
    let httpd = start(&world, &location("service", &identity(SERVICE, &keytab)));
    let page = first("service/page.html");
    let (right, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let wrong = Mutex::new(Vec::new());
    let renewed = |n: usize, limit_s: u64| {
        let limit = Duration::from_secs(limit_s) * wait::slow_factor();
        wait::until_true("renewals", limit, || Ok(lines(&httpd, &["has a token for"]).len() >= n)).unwrap();
    };
    std::thread::scope(|s| {
        for _ in 0..8 {
            s.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let r = httpd.get(&page);
                    match r {
                        Ok(r) if r.status == 200 && owner(&r) == of(AFS_NAME) => {
                            right.fetch_add(1, Ordering::Relaxed);
                        }
                        other => wrong.lock().unwrap().push(format!("{other:?}")),
                    }
                    // Children with many threads each, and few processors: the load is to leave some for the KDC.
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            renewed(renewals + 1, life_s * (renewals as u64 + 2));
        }));
        stop.store(true, Ordering::Relaxed);
        done.unwrap();
    });
    let right = right.load(Ordering::Relaxed);
    let wrong = wrong.into_inner().unwrap();
    report(&format!(
        "tickets of {life_s} s: renewed {renewals} times under load, {right} right, {} wrong",
        wrong.len()
    ));
    assert!(right > 100 && wrong.is_empty(), "{right} right; wrong: {:?}", wrong.first());

    let before = Instant::now();
    let away = KdcMischief::stop(&world, FIRST_REALM);
    let limit = Duration::from_secs(life_s + 20) * wait::slow_factor();
    let alarm = line(&httpd, &["ALARM", "is not renewed", "cell-unreachable"], limit);
    assert_eq!(httpd.get(&page).unwrap().status, 200, "{alarm}");
    let told = status(&world);
    assert!(told.contains("ALARM") && told.contains(SERVICE), "{told}");
    // Until its end, and then what is everybody's goes on.
    let end = loop {
        let r = httpd.get(&page).unwrap();
        if r.status != 200 {
            break r;
        }
        assert!(before.elapsed() < limit, "still served");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(end.status, 503, "not 401: no password would help");
    assert!(end.header("Retry-After").is_some());
    let public = httpd.get(&first("public/page.html")).unwrap();
    assert_eq!((public.status, owner(&public).as_str()), (200, PUBLIC_LINE.trim_end()));
    report(&format!("KDC away: alarm, then 503 after {:.1} s", before.elapsed().as_secs_f32()));
    line(&httpd, &["ALARM", "has ended"], limit);
    drop(away);
    let back = Instant::now();
    // Another child may have a second left of the old token when the first one asks in vain.
    line(&httpd, &["the alarm is over"], Duration::from_secs(60) * wait::slow_factor());
    wait::until_true("the service to recover", Duration::from_secs(60) * wait::slow_factor(), || {
        Ok(httpd.get(&page)?.status == 200)
    })
    .unwrap();
    report(&format!("recovered by itself {:.1} s after the KDC", back.elapsed().as_secs_f32()));
    assert!(!status(&world).contains("ALARM"));
    kdc.kadmin(&[format!("modify_principal -maxlife \"25 hours\" {SERVICE}")]).unwrap();
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_key_that_is_of_no_use_is_an_alarm_with_its_reason_and_a_reload_mends_it() {
    let _one = alone();
    let (world, keys) = (world(), Keys::new());
    let keytab = keys.keytab(&world, SERVICE);
    let page = first("service/page.html");
    let services = |principal: &str| location("", &identity(principal, &keytab));
    let mut httpd = start(&world, &services("http/elsewhere.cell.example"));
    line(&httpd, &["ALARM", "http/elsewhere", "key-file"], Duration::from_secs(20) * wait::slow_factor());
    assert_eq!(httpd.get(&page).unwrap().status, 503);
    assert_eq!(httpd.get(&first("public/page.html")).unwrap().status, 200);
    let r = get_as(&world, &httpd, &first(&owner_file("alice")), "alice");
    assert_eq!((r.status, owner(&r)), (200, of("alice")), "visitors do not need it");
    httpd.rewrite(|c| c.replace("http/elsewhere.cell.example", SERVICE)).unwrap();
    httpd.graceful().unwrap();
    comes_to(&httpd, &page, 200);

    // The KDC has another key from now on: what is held lasts; a new login fails, and says why.
    let kdc = kdc(&world, FIRST_REALM);
    kdc.set_password(SERVICE, "another pass").unwrap();
    let weblog = world.programs.weblog.as_deref().unwrap();
    let forget = Command::new(weblog)
        .args(["forget", "--socket", SOCKET, &format!("{SERVICE}@{FIRST_CELL}")])
        .output()
        .unwrap();
    assert!(forget.status.success(), "{}", String::from_utf8_lossy(&forget.stderr));
    let alarm = line(&httpd, &["ALARM", "wrong-password"], Duration::from_secs(20) * wait::slow_factor());
    assert_eq!(httpd.get(&page).unwrap().status, 503, "{alarm}");
    keys.keytab(&world, SERVICE);
    httpd.graceful().unwrap();
    comes_to(&httpd, &page, 200);
    kdc.set_password(SERVICE, &world.realm(FIRST_REALM).unwrap().user(SERVICE).unwrap().password).unwrap();
    let secrets = fs::read_to_string(httpd.error_log()).unwrap();
    assert!(!secrets.contains("another pass"));
    httpd.stop(&[]).unwrap();
}
