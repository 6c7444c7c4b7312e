//! The package on a stock Debian Apache: what the README tells an administrator to do, outside the harness's own httpd.
//!
//! Runs in a world that has the cells and nothing of ours but what the package brings.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::{answer_limit, first, password, world};
use integration::content::{PUBLIC_LINE, owner_file, owner_line};
use integration::error_log::{self, Crashes};
use integration::http::{self, Request};
use integration::httpd::rest;
use integration::process::{self, named};
use integration::wait;
use integration::world::{FIRST_CELL, World};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

/// No command of an administrator takes longer.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// The modules that Debian's apache2 enables when it is installed (by its postinst), and mod_ssl.
const DEBIAN_MODULES: &[&str] = &[
    "mpm_event",
    "authz_host",
    "auth_basic",
    "access_compat",
    "authn_file",
    "authz_user",
    "alias",
    "dir",
    "autoindex",
    "env",
    "mime",
    "negotiation",
    "setenvif",
    "filter",
    "deflate",
    "status",
    "reqtimeout",
    "ssl",
];
/// All that an httpd with our module consists of.
const PROCESSES: [&str; 4] = ["apache2", "weblog-starter", "weblog", "weblog-login"];
/// The site with TLS that the README's lines go into.
const SITE: &str = "/etc/apache2/sites-available/afs-test.conf";

/// Runs a command and gives its output; it must succeed.
fn must(program: &str, args: &[&str]) -> String {
    let out = run(program, args);
    let said = said(&out);
    assert!(out.status.success(), "{program} {args:?}: {}: {said}", out.status);
    said
}

/// Runs a command.
fn run(program: &str, args: &[&str]) -> Output {
    process::output(Command::new(program).args(args), COMMAND_LIMIT).unwrap()
}

/// Both streams of a command.
fn said(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// The lines for httpd as the README has them.
fn readme_lines() -> String {
    let readme = include_str!("../../README.md");
    let block = readme.split("```apache\n").nth(1).and_then(|rest| rest.split("```").next());
    let block = block.expect("README.md has a block of lines for httpd").to_owned();
    assert_eq!(block.lines().count(), 12, "the README speaks of twelve lines");
    block
}

/// GET over TLS by curl: status and body.
fn https(path: &str, login: Option<(&str, &str)>) -> (u16, String) {
    let url = format!("https://127.0.0.1{path}");
    let mut args = vec!["--silent", "--insecure", "--max-time", "30", "--write-out", "\n%{http_code}"];
    let user = login.map(|(name, password)| format!("{name}:{password}"));
    if let Some(user) = &user {
        args.extend(["--user", user]);
    }
    args.push(&url);
    let text = must("curl", &args);
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.trim().parse().unwrap(), body.to_owned())
}

/// Processes of httpd and ours that are there.
fn processes() -> Vec<u32> {
    PROCESSES.iter().flat_map(|name| named(name)).collect()
}

/// Stops Apache when a test fails on its way.
struct Apache;

impl Drop for Apache {
    fn drop(&mut self) {
        if !processes().is_empty() {
            let _ = run("apachectl", &["-k", "stop"]);
        }
    }
}

/// What apt would do with the package, by hand: the packages that it depends on lie in the world already.
fn install(deb: &str) {
    // From the harness; the package brings its own.
    let _ = fs::remove_dir_all("/usr/lib/afsweb");
    must("userdel", &["weblog"]);
    apache_is_installed();
    must("dpkg-deb", &["--extract", deb, "/"]);
    must("dpkg-deb", &["--control", deb, "/run/afsweb-control"]);
    as_dpkg("postinst", "configure");
    assert!(!Path::new("/etc/apache2/mods-enabled/afs.load").exists(), "that is the administrator's to do");
    let account = must("getent", &["passwd", "weblog"]);
    let uid: u32 = account.split(':').nth(2).unwrap().parse().unwrap();
    assert!((1..1000).contains(&uid) && account.trim_end().ends_with("/nologin"), "{account}");
}

/// Runs a script of the package's as dpkg does.
fn as_dpkg(script: &str, what: &str) {
    let mut command = Command::new(format!("/run/afsweb-control/{script}"));
    command.arg(what).env("DPKG_MAINTSCRIPT_NAME", script);
    command.env("DPKG_MAINTSCRIPT_PACKAGE", "libapache2-mod-afs");
    let out = process::output(&mut command, COMMAND_LIMIT).unwrap();
    assert!(out.status.success(), "{script} {what}: {}", said(&out));
}

/// As on a machine where apt has installed apache2: its helper for packages of modules asks dpkg.
fn apache_is_installed() {
    let status = Path::new("/var/lib/dpkg/status");
    let known = fs::read_to_string(status).unwrap_or_default();
    if !known.contains("Package: apache2\n") {
        let apache = "\nPackage: apache2\nStatus: install ok installed\nVersion: 2.4\nArchitecture: amd64\n\
             Maintainer: nobody\nDescription: it lies in this world\n";
        fs::write(status, known + apache).unwrap();
    }
}

/// What admin.md says of mod_userdir.
fn users_directories_are_there_by_the_page_s_lines(alice: &str) {
    let page = include_str!("../../docs/admin.md");
    let block =
        page.split("```apache\n").find_map(|rest| rest.split("```").next().filter(|b| b.contains("UserDir")));
    let block = block.expect("admin.md has lines for UserDir").replace("example.com", FIRST_CELL);
    // Where this world's users have their pages.
    let block = block.replace("user/*/public_html", "home/*");
    let site = fs::read_to_string(SITE).unwrap();
    fs::write(SITE, site.replace("</VirtualHost>", &format!("{block}</VirtualHost>"))).unwrap();
    must("a2enmod", &["-q", "userdir"]);
    must("apachectl", &["configtest"]);
    must("apachectl", &["-k", "graceful"]);
    wait::until_true("users' directories", answer_limit(), || Ok(https("/~alice/owner.txt", None).0 == 401))
        .unwrap();
    let (status, body) = https("/~alice/owner.txt", Some(("alice", alice)));
    assert_eq!((status, body.starts_with(&owner_line("alice", FIRST_CELL))), (200, true), "{body}");
}

/// A site with TLS, and in it the README's lines.
fn make_site() {
    let args = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=web.cell.example -keyout /etc/ssl/afs-test.key -out /etc/ssl/afs-test.pem";
    must("openssl", &args.split(' ').collect::<Vec<_>>());
    let lines = readme_lines().replace("example.com", FIRST_CELL);
    let site = format!(
        "<VirtualHost *:443>\nSSLEngine on\nSSLCertificateFile /etc/ssl/afs-test.pem\n\
         SSLCertificateKeyFile /etc/ssl/afs-test.key\nDocumentRoot /var/www/html\n{lines}</VirtualHost>\n"
    );
    fs::write(SITE, site).unwrap();
    must("a2ensite", &["-q", "000-default", "afs-test"]);
}

/// Debian's Apache with the module and the README's lines.
fn configure(world: &World) {
    // As every Debian has them once it is up, and this world has not.
    for dir in ["/var/www/html", "/run/lock"] {
        fs::create_dir_all(dir).unwrap();
    }
    must("a2enmod", &[&["-q"], DEBIAN_MODULES].concat());
    must("a2enmod", &["-q", "afs"]);
    fs::write("/etc/apache2/conf-available/name.conf", "ServerName web.cell.example\n").unwrap();
    must("a2enconf", &["-q", "name"]);
    make_site();
    // As the README says, an administrator puts his cell there; the world has it already.
    assert!(world.conf_dir.join("CellServDB").is_file());
    let out = must("apachectl", &["configtest"]);
    assert!(out.contains("Syntax OK"), "{out}");
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn the_package_serves_on_a_stock_apache_with_the_readme_s_lines() {
    let world = world();
    let deb = std::env::var("AFSWEB_DEB").expect("AFSWEB_DEB names the package; cargo xtask test sets it");
    install(&deb);
    configure(&world);
    must("apachectl", &["-k", "start"]);
    let guard = Apache;
    let http = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
    wait::until_true("Apache", answer_limit(), || Ok(std::net::TcpStream::connect(http).is_ok())).unwrap();

    let (status, body) = https(&first("public/page.html"), None);
    assert_eq!((status, body.starts_with(PUBLIC_LINE)), (200, true), "{body}");
    // The other site publishes nothing.
    assert_eq!(http::request(http, &Request::get(&first("public/page.html"))).unwrap().status, 404);
    let alice = password(world.cell(FIRST_CELL).unwrap(), "alice");
    let own = first(&owner_file("alice"));
    assert_eq!(https(&own, None).0, 401);
    let (status, body) = https(&own, Some(("alice", alice)));
    assert_eq!((status, body.starts_with(&owner_line("alice", FIRST_CELL))), (200, true), "{body}");
    assert_eq!(https(&own, Some(("alice", "not this"))).0, 401);
    let refused = fs::read_to_string("/var/log/apache2/afs-refused.log").unwrap();
    assert!(refused.contains("401 no-right\n") && refused.contains("401 wrong-password\n"), "{refused}");

    let status = must("weblog", &["status"]);
    assert!(status.contains("ready") && status.contains("lanes: 8 of 8"), "{status}");
    assert!(must("weblog", &["forget", &format!("bob@{FIRST_CELL}")]).starts_with("ok"));
    assert!(!run("weblog", &["forget", "bob"]).status.success());

    the_configuration_can_be_reloaded(&own, alice);
    files_of_rules_are_obeyed_where_they_may_be_and_never_shown(&world);
    users_directories_are_there_by_the_page_s_lines(alice);

    let log = Path::new("/var/log/apache2/error.log");
    let crashes = if rest(&named("apache2")) { Crashes::Never } else { Crashes::from_now_on(log) };
    must("apachectl", &["-k", "stop"]);
    wait::until_true("the end of Apache and all that it started", answer_limit(), || {
        Ok(processes().is_empty())
    })
    .unwrap();
    drop(guard);
    error_log::check(log, &[], crashes).unwrap();

    as_dpkg("prerm", "remove");
    assert!(!Path::new("/etc/apache2/mods-enabled/afs.load").exists(), "httpd would look for what has gone");
    let left = run("apachectl", &["configtest"]);
    assert!(said(&left).contains("Invalid command 'SetAFS"), "{}", said(&left));
    as_dpkg("postinst", "configure");
    must("apachectl", &["configtest"]);
    as_dpkg("prerm", "remove");
    must("a2dissite", &["-q", "afs-test"]);
    must("apachectl", &["configtest"]);
    as_dpkg("postrm", "purge");
    assert!(!run("getent", &["passwd", "weblog"]).status.success(), "the broker's user has stayed");
}

/// Debian's own rule for names that begin with `.ht` counts below AFS, and so do the rules of users where AllowOverride lets them:
/// a Require in a Location would take the place of both.
fn files_of_rules_are_obeyed_where_they_may_be_and_never_shown(world: &World) {
    let cell = world.cell(FIRST_CELL).unwrap();
    let status =
        |path: &str, who: Option<&str>| https(&first(path), who.map(|name| (name, password(cell, name)))).0;
    let own = "alice-only/.htaccess";
    assert_eq!(status(own, Some("alice")), 403, "shown to whom AFS lets read it");
    assert_eq!(status("public/htaccess-deny/.htaccess", None), 403);
    // Debian allows no overrides.
    assert_eq!(status("public/htaccess-deny/page.html", None), 200);
    assert_eq!(status("require/friends/page.html", None), 200);

    let (site, line) = (fs::read_to_string(SITE).unwrap(), "    Require          all granted\n");
    assert_eq!(site.matches(line).count(), 1, "{site}");
    fs::write(SITE, site.replace(line, &format!("{line}    AllowOverride    AuthConfig\n"))).unwrap();
    must("apachectl", &["configtest"]);
    must("apachectl", &["-k", "graceful"]);
    wait::until_true("the users' own rules", answer_limit(), || {
        Ok(status("public/htaccess-deny/page.html", None) == 403)
    })
    .unwrap();
    let of_friends = ["alice", "bob", "carol"].map(|who| status("require/friends/page.html", Some(who)));
    assert_eq!((status("require/friends/page.html", None), of_friends), (401, [403, 200, 200]));
    assert_eq!(status("public/htaccess-deny/.htaccess", None), 403);
    assert_eq!(status("require/friends/.htaccess", Some("bob")), 403);
    assert_eq!(status("public/page.html", None), 200);
}

/// A reload keeps logins; what it cannot change, configtest says.
fn the_configuration_can_be_reloaded(own: &str, alice: &str) {
    let site = fs::read_to_string(SITE).unwrap();
    fs::write(SITE, format!("SetAFSLanes 16\nSetAFSLoginDeadline 15\n{site}")).unwrap();
    let out = must("apachectl", &["configtest"]);
    assert!(out.contains("SetAFSLanes 16: the httpd that runs keeps 8"), "{out}");
    assert!(!out.contains("SetAFSLoginDeadline"), "{out}");
    must("apachectl", &["-k", "graceful"]);
    wait::until_true("the graceful restart", answer_limit(), || {
        let log = fs::read_to_string("/var/log/apache2/error.log")?;
        Ok(log.contains("SetAFSLanes is still 8"))
    })
    .unwrap();
    assert_eq!(https(own, Some(("alice", alice))).0, 200);
    // The broker gets it a moment after httpd has taken it.
    wait::until_true("the broker's new configuration", answer_limit(), || {
        Ok(must("weblog", &["status"]).contains("configuration 2"))
    })
    .unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn the_package_has_a_manual() {
    let deb = std::env::var("AFSWEB_DEB").expect("AFSWEB_DEB names the package; cargo xtask test sets it");
    let files = must("dpkg-deb", &["--contents", &deb]);
    for page in ["weblog.8", "weblog-starter.8", "mod_afs.8"] {
        let path = format!("./usr/share/man/man8/{page}.gz");
        assert!(files.lines().any(|l| l.ends_with(&path)), "{path} is not in the package:\n{files}");
    }
    // Nothing belongs to anybody but root, nothing is writable for others.
    for line in files.lines() {
        assert!(line.contains(" root/root "), "{line}");
        let mode = line.split(' ').next().unwrap_or_default();
        assert!(mode.starts_with('l') || !mode[5..].contains('w'), "{line}");
    }
}
