//! Where passwords, keys, session keys and tickets do not get to: visitors with marked ones log in in every way, at the
//! highest level of logging, and whatever is written down or shown meanwhile is looked through.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

#[path = "../common/mod.rs"]
mod common;

mod granted;
mod hidden;
mod places;
mod ways;

use common::keys::{Keys, identity};
use common::tls::certificate;
use common::{afs_config, first, kaserver, kdc, method, report, world};
use granted::{Grants, mark};
use integration::content::owner_file;
use integration::http::{Request, base64};
use integration::httpd::{Httpd, Mpm, Options};
use integration::marks::Marks;
use integration::method::Method;
use integration::wait;
use integration::world::{
    FIRST_CELL, FIRST_REALM, PARTNER_REALM, PUBLISHER, SECOND_CELL, SECOND_REALM, SERVICE, World,
};
use kaserver::string_to_key::string_to_key;
use places::{Watch, everything_written, is_httpds_own};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};
use ways::Visitors;

/// What all passwords begin with here, right ones and wrong ones.
const STEM: &str = "Gr0ttenolmQ7x";
/// The administrators' socket.
const SOCKET: &str = "/run/weblog-secrets.sock";
/// Where httpd speaks TLS.
const TLS: &str = "127.0.0.1:8443";
/// Where programs lie that httpd starts.
const PROGRAMS: &str = "/srv/httpd/secrets";
/// Refused accesses.
const ACCESS_LOG: &str = "/srv/afs-secrets.log";
/// www-data
const UID: u32 = 33;

fn marked(what: &str) -> String {
    format!("{STEM}-{what}")
}

/// Accounts with marked passwords; they are as they were when this goes, also when a test fails.
struct Accounts(Vec<Box<dyn Fn()>>);

impl Accounts {
    /// The alice of a cell, where this run's users are authenticated.
    fn give(&mut self, world: &World, cell: &'static str, realm: &'static str, new: &str) {
        let old = world.cell(cell).unwrap().user("alice").unwrap().password.clone();
        let of = world.clone();
        match method() {
            Method::Kaserver => {
                self.set(old, new, move |word| drop(kaserver(&of, cell, &format!("password alice {word}"))));
            }
            Method::Krb5 => {
                self.set(old, new, move |word| kdc(&of, realm).set_password("alice", word).unwrap())
            }
        }
    }

    /// The alice of a realm that is no cell's.
    fn give_partner(&mut self, world: &World, new: &str) {
        let old = world.realm(PARTNER_REALM).unwrap().user("alice").unwrap().password.clone();
        let of = world.clone();
        self.set(old, new, move |word| kdc(&of, PARTNER_REALM).set_password("alice", word).unwrap());
    }

    fn set(&mut self, old: String, new: &str, set: impl Fn(&str) + 'static) {
        set(new);
        self.0.push(Box::new(move || set(&old)));
    }
}

impl Drop for Accounts {
    fn drop(&mut self) {
        self.0.iter().for_each(|undo| undo());
    }
}

/// A program for httpd.
fn program(name: &str, text: &str) {
    fs::create_dir_all(PROGRAMS).unwrap();
    let file = Path::new(PROGRAMS).join(name);
    fs::write(&file, format!("#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\n{text}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A directory that httpd's children may write to.
fn for_children(name: &str) -> PathBuf {
    let dir = PathBuf::from(format!("/srv/{name}-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    chown(&dir, Some(UID), Some(UID)).unwrap();
    dir
}

/// An httpd with everything that a login can come through, and everything that shows something, at the highest levels.
fn start(world: &World, service: &str, more: &str) -> Httpd {
    let _ = fs::remove_file(ACCESS_LOG);
    let location = |path: &str, text: &str| format!("<Location {}>\n{text}\n</Location>\n", first(path));
    let shown = [("status", "server-status"), ("metrics", "afs-metrics"), ("health", "afs-health")].map(
        |(at, what)| format!("<Location /show/{at}>\nSetHandler {what}\nRequire all granted\n</Location>\n"),
    );
    let (cert, key) = certificate(world);
    let config = format!(
        "SetAFSDebugLevel 4\nSetAFSAccessLog {ACCESS_LOG}\nSetAFSControlSocket {SOCKET}\n{}ExtendedStatus On\n\
         {}{}{}{service}{}\
         ScriptAlias /run {PROGRAMS}\n<Location /run>\nAFSAuthType AFS\n</Location>\n\
         <Directory {PROGRAMS}>\nRequire all granted\nOptions ExecCGI\n</Directory>\n\
         ErrorDocument 404 /run/show\nRewriteEngine On\nRewriteRule ^{}$ {} [PT]\n\
         <VirtualHost *>\nServerName localhost\nRewriteEngine On\nRewriteOptions Inherit\n</VirtualHost>\n\
         <VirtualHost *>\nServerName tls.example\nSetAFSRequireTLS On\n</VirtualHost>\n\
         Listen {TLS} https\n<VirtualHost {TLS}>\nServerName localhost\nSSLEngine On\nSSLCertificateFile {cert}\n\
         SSLCertificateKeyFile {key}\nSetAFSRequireTLS On\n</VirtualHost>\n{more}",
        if method() == Method::Krb5 { format!("SetAFSRealms {PARTNER_REALM}\n") } else { String::new() },
        location(
            "write",
            &format!("Dav afs\nDavGenericLockDB {}/locks", for_children("dav-locks/secrets").display())
        ),
        location("public/plain.txt", "Require afs-group alice:friends"),
        location("public/empty.txt", "Require afs-user alice"),
        shown.concat(),
        first("rewritten"),
        first("home/alice/owner.txt"),
    );
    let mut options = Options::new(Mpm::from_env().unwrap());
    options.log_level = "trace8".into();
    options.afs = Some(afs_config(world, &config));
    options.modules = ["dav", "dav_lock", "cgi", "socache_shmcb", "ssl"].map(String::from).to_vec();
    if options.mpm != Mpm::Prefork {
        // mod_http2 does not work with prefork.
        options.modules.push("http2".into());
        options.extra.push_str("Protocols h2c http/1.1\n");
    }
    let seen = "LogFormat \"%r %>s %u user=%{AFS_USER}e cell=%{AFS_CELL}e end=%{AFS_TOKEN_EXPIRES}e service=%{AFS_SERVICE}e\" seen\n\
                CustomLog seen.log seen\n";
    Httpd::start(world, options.extra(seen)).unwrap()
}

/// Hexadecimal digits to bytes.
fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// A service's identity by this run's method: its directive; its keys are marks.
fn service(world: &World, keys: &Keys, marks: &mut Marks) -> (String, String) {
    let (name, place, file) = match method() {
        Method::Krb5 => {
            let file = keys.keytab(world, SERVICE);
            let all = kdc(world, FIRST_REALM).keys(SERVICE).unwrap();
            all.iter().for_each(|key| marks.add("the service's key", key));
            (SERVICE, "service", file)
        }
        Method::Kaserver => {
            let file = keys.srvtab(world, PUBLISHER);
            let password = &world.cell(FIRST_CELL).unwrap().user(PUBLISHER).unwrap().password;
            marks.add("the service's key", string_to_key(password.as_bytes(), FIRST_CELL).bytes());
            (PUBLISHER, "published", file)
        }
    };
    let path = first(place);
    (format!("<Location {path}>\n{}</Location>\n", identity(name, &file)), format!("{path}/page.html"))
}

/// Keys that are made of a marked password.
fn keys_of_alice(world: &World) -> Vec<Vec<u8>> {
    match method() {
        Method::Kaserver => {
            vec![string_to_key(marked("alice").as_bytes(), FIRST_CELL).bytes().to_vec()]
        }
        Method::Krb5 => {
            let all = kdc(world, FIRST_REALM).keys("alice").unwrap();
            all.iter().map(|key| key.to_vec()).collect()
        }
    }
}

/// What `weblog` tells the administrator, as soon as there is a broker.
fn weblog(world: &World, words: &[&str]) -> Vec<u8> {
    wait::until(&format!("weblog {words:?}"), Duration::from_secs(20), || {
        let program = world.programs.weblog.as_deref().unwrap();
        let out = Command::new(program).args(words).args(["--socket", SOCKET]).output()?;
        let said = [out.stdout, out.stderr].concat();
        anyhow::ensure!(
            [Some(0), Some(69)].contains(&out.status.code()),
            "{}: {}",
            out.status,
            String::from_utf8_lossy(&said)
        );
        Ok(out.status.success().then_some(said))
    })
    .unwrap()
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn d48_marked_secrets_are_written_down_nowhere_whichever_way_they_come() {
    let (world, keys, mut marks) = (world(), Keys::new(), Marks::default());
    let since = SystemTime::now();
    let mut accounts = Accounts(Vec::new());
    accounts.give(&world, FIRST_CELL, FIRST_REALM, &marked("alice"));
    accounts.give(&world, SECOND_CELL, SECOND_REALM, &marked("other"));
    if method() == Method::Krb5 {
        accounts.give_partner(&world, &marked("alice"));
    }
    marks.add("a password", STEM.as_bytes());
    keys_of_alice(&world).iter().for_each(|key| marks.add("alice's key", key));
    let (service, page) = service(&world, &keys, &mut marks);
    // What a program of httpd's finds: its environment, its parent's, and what it may see of all others.
    program("show", "env; id\ncat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'");
    let grants = Grants::begin(&world);
    let httpd = start(&world, &service, "");
    let watch = Watch::begin(httpd.pid());
    let mut visitors = Visitors::new(&world, &httpd);
    visitors.come(&page);
    let (asked, mut shown) = visitors.end();
    for at in ["status", "status?auto", "metrics", "health"] {
        shown.extend(httpd.get(&format!("/show/{at}")).unwrap().body);
    }
    shown.extend(weblog(&world, &["status"]));
    let processes = watch.end();
    let mut written = everything_written(&httpd, since, keys.dir());
    // Services log in all the time: whatever can be in there was granted before.
    let granted = grants.all();
    mark(&granted, &mut marks);
    written.push(("answers and pages".to_owned(), shown));
    written.push(("arguments and environments".to_owned(), processes.texts.join(&b'\n')));
    let mut found = Vec::new();
    let mut exempt = 0;
    for (place, text) in &written {
        for (what, line) in marks.lines_of(text) {
            if place.ends_with("/error.log") && is_httpds_own(&line) {
                exempt += 1;
            } else {
                found.push(format!("{place}: {what}: {line}"));
            }
        }
    }
    report(&format!(
        "{asked} requests by {}, {} tickets; {} places of {} KiB, {} arguments and environments of {:?} in {} rounds; \
         {exempt} lines are httpd's own, of headers",
        method(),
        granted.len(),
        written.len(),
        written.iter().map(|(_, t)| t.len()).sum::<usize>() / 1024,
        processes.texts.len(),
        processes.programs,
        processes.rounds,
    ));
    assert!(found.is_empty(), "{} times:\n{}", found.len(), found.join("\n"));
    // What is looked through is what it should be.
    assert!(exempt > 20, "httpd's own lines show that passwords are found where they are: {exempt}");
    let log = String::from_utf8_lossy(&fs::read(httpd.error_log()).unwrap()).into_owned();
    for needle in ["[afs:warn]", "[weblog:", "login alice@cell.example from", "weblog-starter: "] {
        assert!(log.contains(needle), "{needle} is not in the log");
    }
    for needle in ["afs-secrets.log", "seen.log", "access.log", "answers and pages"] {
        let (place, text) = written.iter().find(|(p, _)| p.ends_with(needle)).expect(needle);
        assert!(!text.is_empty(), "{place} is empty");
    }
    for name in ["apache2", "weblog", "weblog-starter", "weblog-login"] {
        assert!(processes.programs.contains(name), "{name} was never looked at: {:?}", processes.programs);
    }
    // Each login of a visitor took a ticket-granting ticket and one for the AFS service.
    let logins = log.lines().filter(|line| line.contains("AFS2001: login alice@")).count();
    let tickets = granted.iter().filter(|granted| granted.is_visitors()).count();
    report(&format!("{logins} visitors logged in, by {tickets} tickets"));
    assert!(logins > 10 && tickets >= 2 * logins, "{tickets} tickets for {logins} logins");
    httpd.stop(&["not-accepted"]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn secrets_that_are_planted_are_found_in_each_kind_of_place() {
    let (world, mut marks) = (world(), Marks::default());
    let since = SystemTime::now();
    let mut accounts = Accounts(Vec::new());
    accounts.give(&world, FIRST_CELL, FIRST_REALM, &marked("alice"));
    let more = "LogFormat \"%{Authorization}i %{X-Planted}i\" planted\nCustomLog planted.log planted\n";
    let grants = Grants::begin(&world);
    let httpd = start(&world, "", more);
    assert_eq!(httpd.get_as(&first(&owner_file("alice")), "alice", &marked("alice")).unwrap().status, 200);
    let granted = grants.all();
    mark(&granted, &mut marks);
    let mut planted = vec![("a password", STEM.as_bytes().to_vec())];
    planted.extend(keys_of_alice(&world).pop().map(|key| ("alice's key", key)));
    planted.extend(granted.last().unwrap().secrets.clone());
    planted.iter().take(2).for_each(|(name, secret)| marks.add(name, secret));
    assert_eq!(planted.len(), if method() == Method::Krb5 { 5 } else { 4 }, "kinds of secrets");
    // As arguments and in an environment, in hexadecimal; in a file that has no name any more; in an answer.
    let hex: Vec<String> =
        planted.iter().map(|(_, secret)| secret.iter().map(|b| format!("{b:02x}")).collect()).collect();
    let hex = hex.join(" ");
    program(
        "plant",
        &format!(
            "( exec 7>/tmp/planted; rm /tmp/planted; echo {hex} >&7; PLANTED='{hex}' exec sh -c 'sleep 3; exit' {hex} ) 2>/dev/null\necho {hex}"
        ),
    );
    // In a log, in base64.
    let header: Vec<String> = planted.iter().map(|(_, secret)| base64(secret)).collect();
    let request = Request::get("/run/plant").login("alice", &marked("alice"));
    let watch = Watch::begin(httpd.pid());
    let answer = httpd.request(&request.header("X-Planted", &header.join(" "))).unwrap();
    let processes = watch.end();
    let all_in = |text: &[u8]| {
        let found = marks.found_in(text);
        planted.iter().all(|(name, _)| found.iter().any(|what| what.starts_with(&format!("{name}, "))))
    };
    // httpd writes its line when the answer has been sent.
    let seen = wait::until("a log that shows headers", Duration::from_secs(20), || {
        let written = everything_written(&httpd, since, Path::new("/nowhere"));
        let log = |name: &str| written.iter().find(|(place, _)| place.ends_with(name)).expect(name).1.clone();
        Ok(all_in(&log("planted.log")).then(|| log("seen.log")))
    });
    assert!(marks.found_in(&seen.unwrap()).is_empty());
    assert!(all_in(&answer.body), "{}", answer.text());
    let in_processes: Vec<&Vec<u8>> = processes.texts.iter().filter(|text| all_in(text)).collect();
    assert!(in_processes.iter().any(|t| t.starts_with(b"sh\0-c\0")), "as arguments");
    assert!(in_processes.iter().any(|t| t.windows(8).any(|w| w == b"PLANTED=")), "in an environment");
    assert!(processes.open_files.iter().any(|text| all_in(text)), "in a file without a name");
    httpd.stop(&[]).unwrap();
}
