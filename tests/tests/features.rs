//! Each row of docs/features.md is true with the AFS client that this runs on.
//!
//! A row's test knows what to ask; who should answer, or how it is refused, it reads from the page.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::fastcgi::FastCgi;
use common::{afs_client, ask, first, first_line, get_as, start_with, world};
use integration::content::{PUBLIC_LINE, owner_file, owner_line, pattern};
use integration::http::{Request, Response};
use integration::httpd::Httpd;
use integration::world::{FIRST_CELL, World};
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The page.
const PAGE: &str = include_str!("../../docs/features.md");
/// Modules that all configurations have, and that here only those get that need them.
const OPTIONAL: [&str; 4] = ["alias", "autoindex", "dir", "rewrite"];
/// What lies outside of AFS.
const LOCAL: &str = "/srv/httpd/features";

/// What the page says of a feature with a client.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cell {
    /// A module of httpd's does it, or its core.
    Httpd(String),
    /// Ours does.
    Ours,
    /// It is refused, with this status and these words in the error log.
    Refused(u16, String),
    /// Nothing comes of it.
    None,
}

impl Cell {
    fn parse(text: &str) -> Option<Self> {
        if ["our handler", "our provider"].contains(&text) {
            return Some(Self::Ours);
        }
        if let Some(name) = text.strip_prefix("httpd's ") {
            return (name == "core" || name.starts_with("mod_")).then(|| Self::Httpd(name.to_owned()));
        }
        if let Some(rest) = text.strip_prefix("refused: ") {
            let (status, why) = rest.split_once(", ")?;
            return Some(Self::Refused(status.parse().ok()?, why.to_owned()));
        }
        text.starts_with("none: ").then_some(Self::None)
    }
}

/// The rows of the table: feature, and a cell for each client.
fn table() -> Vec<(String, [Cell; 3])> {
    let lines = PAGE.lines().skip_while(|l| !l.starts_with("| feature |")).skip(2);
    let rows = lines.take_while(|l| l.starts_with('|')).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let cell = |n: usize| Cell::parse(cells[n]).unwrap_or_else(|| unreadable(line));
        (cells[0].to_owned(), [cell(1), cell(2), cell(3)])
    });
    rows.collect()
}

/// Fails for a row that says nothing.
fn unreadable(line: &str) -> Cell {
    assert_eq!(line, "", "a cell says neither who serves nor how it is refused");
    Cell::None
}

/// What the page says of a feature with the client of this run.
fn said(feature: &str) -> Cell {
    let column = ["userspace", "openafs", "kafs"].iter().position(|c| *c == afs_client()).expect("a client");
    let row = table().into_iter().find(|(name, _)| name == feature).expect("a row of the table");
    row.1[column].clone()
}

/// What came of asking.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// It was done, as the visitor.
    Served,
    /// It was answered with an error.
    Refused(u16),
    /// Something else was answered.
    Nothing,
}

/// How a row is asked for.
struct Row {
    /// Modules that are loaded, whoever is to answer.
    modules: &'static [&'static str],
    /// More configuration; `{H}`: alice's directory, `{C}`: the first cell, `{L}`: a local directory, `{N}`: httpd's number.
    config: &'static str,
    /// Asks.
    ask: fn(&World, &Httpd) -> Seen,
}

/// An httpd for a row, with these modules of the optional ones and of all others.
fn start(world: &World, row: &Row, modules: &[&str]) -> Httpd {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let locks = PathBuf::from(format!("{LOCAL}/locks-{number}"));
    fs::create_dir_all(&locks).unwrap();
    chown(&locks, Some(33), Some(33)).unwrap();
    let local = Path::new(LOCAL).join("htdocs");
    fs::create_dir_all(&local).unwrap();
    let page = format!("<!--#include virtual=\"{}\" -->\n", first(&owner_file("alice")));
    fs::write(local.join("page.shtml"), page).unwrap();
    let config = row
        .config
        .replace("{H}", &first("home/alice"))
        .replace("{C}", &format!("/afs/{FIRST_CELL}"))
        .replace("{L}", LOCAL)
        .replace("{N}", &number);
    start_with(world, &config, |mut o| {
        o.without = OPTIONAL.iter().filter(|m| !modules.contains(m)).map(|m| (*m).to_owned()).collect();
        let more = modules.iter().filter(|m| !OPTIONAL.contains(m));
        o.modules.extend(more.map(|m| (*m).to_owned()));
        o
    })
}

/// Asks for a feature, and compares with what the page says.
fn check(feature: &str, row: &Row) {
    let world = world();
    let cell = said(feature);
    let by = match &cell {
        Cell::Httpd(name) => name.strip_prefix("mod_"),
        _ => None,
    };
    let more = by.filter(|by| !row.modules.contains(by));
    let modules: Vec<&str> = row.modules.iter().copied().chain(more).collect();
    let httpd = start(&world, row, &modules);
    let seen = (row.ask)(&world, &httpd);
    let log = fs::read_to_string(httpd.error_log()).unwrap();
    match &cell {
        Cell::Httpd(_) | Cell::Ours => assert_eq!(seen, Seen::Served, "{feature}: {cell:?}"),
        Cell::Refused(status, why) => {
            assert_eq!(seen, Seen::Refused(*status), "{feature}");
            assert!(log.contains(why), "{feature}: nothing of {why:?} in {log}");
        }
        Cell::None => assert_eq!(seen, Seen::Nothing, "{feature}"),
    }
    httpd.stop(&[]).unwrap();
    if let Some(by) = by {
        let others: Vec<&str> = row.modules.iter().copied().filter(|m| *m != by).collect();
        let httpd = start(&world, row, &others);
        assert_ne!((row.ask)(&world, &httpd), Seen::Served, "{feature}: also without mod_{by}");
        httpd.stop(&[]).unwrap();
    }
}

/// A test for each row.
macro_rules! rows {
    ($($name:ident, $feature:literal: $modules:expr, $config:expr, $ask:expr;)*) => {
        /// The features that are asked for.
        const FEATURES: &[&str] = &[$($feature),*];
        $(
            #[test]
            #[ignore = "needs a world: run by cargo xtask test"]
            fn $name() {
                check($feature, &Row { modules: &$modules, config: $config, ask: $ask });
            }
        )*
    };
}

#[test]
fn the_page_has_the_rows_that_are_asked_for_and_no_others() {
    let page: Vec<String> = table().into_iter().map(|(name, _)| name).collect();
    assert_eq!(page, FEATURES);
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn of_both_modules_for_programs_the_one_that_httpd_asks_first_decides() {
    let world = world();
    let row = Row { modules: &[], config: PROGRAMS, ask: |_, _| Seen::Nothing };
    for (modules, feature) in
        [(["cgi", "cgid"], "programs, mod_cgi"), (["cgid", "cgi"], "programs, mod_cgid")]
    {
        let httpd = start(&world, &row, &modules);
        let r = get_as(&world, &httpd, &first("alice-only/run.cgi"), "alice");
        match said(feature) {
            Cell::Refused(status, _) => assert_eq!(r.status, status, "{modules:?}"),
            _ => assert!(is_run_as_alice(&r), "{modules:?}: {} {}", r.status, r.text()),
        }
        httpd.stop(&[]).unwrap();
    }
}

/// Writing in the first cell.
const DAV: &str = "<IfModule mod_dav.c>\n<Location {C}>\nDav afs\n<IfModule mod_dav_lock.c>\n\
                   DavGenericLockDB {L}/locks-{N}/db\n</IfModule>\n</Location>\n</IfModule>";
/// Programs by their names.
const PROGRAMS: &str = "AddHandler cgi-script .cgi\n<Directory {C}>\nOptions +ExecCGI\n</Directory>\n\
                        <IfModule mod_cgid.c>\nScriptSock {L}/cgid-{N}.sock\n</IfModule>";
/// Pages that include.
const INCLUDES: &str = "<Directory /afs>\nOptions +Includes\n</Directory>\nAddType text/html .shtml\n\
                        AddOutputFilter INCLUDES .shtml\n<IfModule mod_cgid.c>\n\
                        ScriptSock {L}/cgid-{N}.sock\n</IfModule>";
/// A local directory.
const LOCALLY: &str = "Alias /local {L}/htdocs\n<Directory {L}/htdocs>\nRequire all granted\n\
                       Options +Includes\n<IfModule mod_include.c>\nAddOutputFilter INCLUDES .shtml\n</IfModule>\n\
                       <IfModule mod_rewrite.c>\nRewriteEngine On\n\
                       RewriteRule ^go$ {H}/owner.txt\n</IfModule>\n</Directory>";

rows! {
    get_and_head, "GET, HEAD": [], "", |world, httpd| {
        let path = first("alice-only/page.html");
        let head = ask(world, httpd, "alice", Request::new("HEAD", &path));
        assert_eq!((head.status, head.body.len()), (200, 0));
        whose(world, httpd, &path, "alice")
    };
    byte_ranges, "byte ranges": [], "", |world, httpd| {
        let request = Request::get(&first("alice-sizes/4k.bin")).header("Range", "bytes=16-31");
        let r = ask(world, httpd, "alice", request);
        seen(&r, r.status == 206 && r.body == pattern(16, 16) && is_by_ours(&r))
    };
    conditional_requests, "conditional requests": [], "", |world, httpd| {
        let path = first("alice-only/page.html");
        let etag = get_as(world, httpd, &path, "alice").header("ETag").unwrap().to_owned();
        let r = ask(world, httpd, "alice", Request::get(&path).header("If-None-Match", &etag));
        seen(&r, r.status == 304 && is_by_ours(&r))
    };
    options, "OPTIONS": [], "", |world, httpd| {
        let r = ask(world, httpd, "alice", Request::new("OPTIONS", &first("alice-only/page.html")));
        // httpd's core would allow POST as well.
        let allow = r.header("Allow").unwrap_or_default();
        seen(&r, r.status == 200 && allow.contains("GET") && !allow.contains("POST"))
    };
    index_files, "index files": [], "", |world, httpd| whose(world, httpd, &first("alice-only/"), "alice");
    directory_redirects, "the slash behind a directory": [], "", |world, httpd| {
        let r = get_as(world, httpd, &first("alice-only"), "alice");
        seen(&r, r.header("Location").is_some_and(|l| l.ends_with("/alice-only/")))
    };
    listings, "listings": [], "<Directory /afs>\nOptions +Indexes\n</Directory>", |world, httpd| {
        let path = first("alice-only/");
        assert_eq!(httpd.get(&path).unwrap().status, 401);
        assert_eq!(get_as(world, httpd, &path, "bob").status, 403);
        let r = get_as(world, httpd, &path, "alice");
        seen(&r, r.text().contains("href=\"page.html\""))
    };
    multi_views, "MultiViews": ["dav", "negotiation"],
        "<Directory /afs>\nOptions +MultiViews\n</Directory>\nAddLanguage en .en\nAddLanguage de .de\n\
         <IfModule mod_dav.c>\n<Location {C}>\nDav afs\n</Location>\n</IfModule>",
        |world, httpd| {
            // Writing is not kept by it from making what is not there.
            let r = ask(world, httpd, "alice", Request::new("PUT", &own("views")).body(b"x"));
            assert_eq!(r.status, 201, "{}", r.text());
            let request = || Request::get(&first("alice-only/chosen")).header("Accept-Language", "de");
            assert_eq!(httpd.request(&request()).unwrap().status, 401);
            let r = ask(world, httpd, "alice", request());
            seen(&r, is_alices(&r) && r.header("Content-Language") == Some("de"))
        };
    type_maps, "type maps": ["negotiation"], "AddHandler type-map .var\nAddLanguage en .en\nAddLanguage de .de", |world, httpd| {
        let request = |language: &str| {
            Request::get(&first("alice-only/choice.var")).header("Accept-Language", language)
        };
        assert_eq!(httpd.request(&request("de")).unwrap().status, 401);
        assert_eq!(ask(world, httpd, "bob", request("de")).status, 403);
        let r = ask(world, httpd, "alice", request("de"));
        let served = is_alices(&r) && r.header("Content-Language") == Some("de");
        let other = ask(world, httpd, "alice", request("en"));
        seen(&r, served && is_alices(&other) && other.header("Content-Language") == Some("en"))
    };
    users_directories, "users' directories": ["autoindex", "dav", "dir"],
        "<IfModule mod_userdir.c>\nUserDir /srv/nowhere/*/www {C}/home/*\n</IfModule>\n\
         <LocationMatch \"^/~\">\nAFSAuthType AFS\nDav afs\nOptions +Indexes\n</LocationMatch>",
        |world, httpd| read_and_written(world, httpd, "/~alice");
    alias, "Alias": ["autoindex", "dav", "dir"],
        "<IfModule mod_alias.c>\nAlias /alices {H}\n</IfModule>\n\
         <Location /alices>\nAFSAuthType AFS\nDav afs\nOptions +Indexes\n</Location>",
        |world, httpd| read_and_written(world, httpd, "/alices");
    rewrite_urls, "RewriteCond -U": [],
        "<IfModule mod_rewrite.c>\nRewriteEngine On\nRewriteCond {H}/owner.txt -U\n\
         RewriteRule ^{C}/go$ {C}/public/page.html [PT]\n</IfModule>",
        |world, httpd| for_alice_alone(world, httpd, &first("go"));
    rewrite_files, "RewriteCond -f, -d": ["rewrite"],
        "<IfModule mod_rewrite.c>\nRewriteEngine On\nRewriteCond {H}/owner.txt -f\n\
         RewriteCond {C}/alice-only/sub -d\nRewriteRule ^(?:{C}|/elsewhere)/go$ {C}/public/page.html [PT]\n\
         RewriteCond {C}/public/page.html -f\nRewriteCond {C}/public/list -d\n\
         RewriteRule ^(?:{C}|/elsewhere)/open$ {C}/public/page.html [PT]\n\
         RewriteCond {H}/owner.txt -F\nRewriteRule ^{C}/go-F$ {C}/public/page.html [PT]\n</IfModule>",
        |world, httpd| {
            // Without a Location of ours, it is nobody who asks: what is not his is not there.
            assert_eq!(get_as(world, httpd, "/elsewhere/go", "alice").status, 404);
            let by_stat = for_alice_alone(world, httpd, &first("go"));
            assert_eq!(for_alice_alone(world, httpd, &first("go-F")), by_stat, "-F asks the kernel, too");
            let by_stat = if by_stat == Seen::Refused(404) { Seen::Nothing } else { by_stat };
            // What everybody may see, he sees.
            for path in ["/elsewhere/open", &first("open")] {
                let r = httpd.get(path).unwrap();
                let open = r.status == 200 && r.text().starts_with(PUBLIC_LINE);
                assert_eq!(open, by_stat == Seen::Served, "{path}: {} {}", r.status, r.text());
            }
            by_stat
        };
    server_side_includes, "server-side includes": ["include"],
        INCLUDES, |world, httpd| {
            let path = first("alice-only/page.shtml");
            assert_eq!(httpd.get(&path).unwrap().status, 401);
            let r = get_as(world, httpd, &path, "alice");
            let text = r.text();
            let whole = format!("alice@{FIRST_CELL}\n{}", owner_line("alice", FIRST_CELL));
            let served = text.starts_with(&whole) && !text.contains("<!--#");
            // Sizes, and files by their names.
            let size = get_as(world, httpd, &first("alice-only/page.html"), "alice").body.len();
            let parts = get_as(world, httpd, &first("alice-only/parts.shtml"), "alice").text();
            let whole = format!("{},{:03}\n{}", size / 1000, size % 1000, owner_line("alice", FIRST_CELL));
            seen(&r, served && parts.starts_with(&whole))
        };
    exec_in_includes, "programs in server-side includes": ["include"],
        "<Directory /afs>\nOptions +Includes +ExecCGI\n</Directory>\nAddType text/html .shtml\n\
         AddOutputFilter INCLUDES .shtml\nAddHandler cgi-script .cgi",
        |world, httpd| {
            let path = first("alice-only/exec.shtml");
            assert_eq!(httpd.get(&path).unwrap().status, 401);
            assert_eq!(get_as(world, httpd, &path, "bob").status, 403);
            let r = get_as(world, httpd, &path, "alice");
            let owner = owner_line("alice", FIRST_CELL);
            seen(&r, r.text() == format!("{owner}|user=alice@{FIRST_CELL}\n{owner}|\n"))
        };
    sub_requests, "sub-requests": ["include", "alias"], LOCALLY, |world, httpd| {
        let path = "/local/page.shtml";
        for r in [httpd.get(path).unwrap(), get_as(world, httpd, path, "bob")] {
            assert!(r.status == 200 && !r.text().contains("owner: "), "{}", r.text());
        }
        let r = get_as(world, httpd, path, "alice");
        seen(&r, is_alices(&r))
    };
    internal_redirects, "internal redirects": ["alias", "rewrite"], LOCALLY, |world, httpd| {
        whose(world, httpd, "/local/go", "alice")
    };
    error_documents, "error documents": [], "ErrorDocument 404 {H}/owner.txt", |world, httpd| {
        for r in [httpd.get("/none").unwrap(), get_as(world, httpd, "/none", "bob")] {
            assert!(!r.text().contains("owner: "), "{}", r.text());
        }
        let r = get_as(world, httpd, "/none", "alice");
        assert_eq!(r.status, 404);
        if is_alices(&r) && is_by_ours(&r) { Seen::Served } else { Seen::Nothing }
    };
    path_info, "PATH_INFO behind a file": [],
        "<Directory {C}/alice-only>\nAcceptPathInfo On\n</Directory>", |world, httpd| {
            let r = get_as(world, httpd, &format!("{}/more", first(&owner_file("alice"))), "alice");
            assert_eq!(r.status, 404);
            whose(world, httpd, &first("alice-only/page.html/more/of/it"), "alice")
        };
    programs_of_mod_cgi, "programs, mod_cgi": ["cgi"], PROGRAMS, |world, httpd| {
        let path = first("alice-only/run.cgi");
        assert_eq!(httpd.get(&path).unwrap().status, 401);
        let r = get_as(world, httpd, &path, "alice");
        seen(&r, is_run_as_alice(&r))
    };
    programs_of_mod_cgid, "programs, mod_cgid": ["cgid"], PROGRAMS, |world, httpd| {
        let (public, path) = (first("public/run.cgi"), first("alice-only/run.cgi"));
        for r in [httpd.get(&public).unwrap(), get_as(world, httpd, &public, "alice")] {
            assert!(r.status == 403 && !r.text().contains(PUBLIC_LINE), "{} {}", r.status, r.text());
        }
        assert_eq!(httpd.get(&path).unwrap().status, 401);
        let r = get_as(world, httpd, &path, "alice");
        seen(&r, is_run_as_alice(&r))
    };
    exec_of_mod_cgid, "programs in server-side includes, mod_cgid": ["cgid", "include"], INCLUDES,
        |world, httpd| {
            let path = first("alice-only/exec.shtml");
            assert_eq!(httpd.get(&path).unwrap().status, 401);
            let r = get_as(world, httpd, &path, "alice");
            assert!(!r.text().contains("<!--#"), "{}", r.text());
            seen(&r, r.text().contains("owner: "))
        };
    servers_behind, "servers of FastCGI": ["proxy"],
        "<IfModule mod_proxy.c>\nSetHandler \"proxy:unix:{L}/fcgi.sock|fcgi://localhost\"\n</IfModule>",
        |world, httpd| {
            let server = FastCgi::listen(&Path::new(LOCAL).join("fcgi.sock"));
            let path = first("alice-only/page.html");
            assert_eq!(httpd.get(&path).unwrap().status, 401);
            assert_eq!(get_as(world, httpd, &path, "mallory").status, 403);
            let r = get_as(world, httpd, &path, "alice");
            // It is told who asks, and is nobody itself.
            let text = format!("user=alice@{FIRST_CELL}\nfile={path}\nPermission denied (os error 13)\n");
            let served = r.text() == text;
            let r = get_as(world, httpd, &first("public/page.html"), "alice");
            let public = r.text().starts_with("user=") && r.text().contains(PUBLIC_LINE);
            drop(server);
            seen(&r, served && public)
        };
    access_files, ".htaccess": [], "", |world, httpd| {
        assert_eq!(httpd.get(&first("public/htaccess-deny/page.html")).unwrap().status, 403);
        let r = get_as(world, httpd, &first("alice-only/page.html"), "alice");
        seen(&r, r.header("X-Alice") == Some("yes"))
    };
    require_user, "Require afs-user": [],
        "<Location {C}/public/page.html>\nRequire afs-user bob\n</Location>",
        |world, httpd| let_in(world, httpd, "public/page.html", "alice", "bob");
    require_group, "Require afs-group": [], "",
        |world, httpd| let_in(world, httpd, "require/friends/page.html", "alice", "bob");
    require_right, "Require afs-right": [], "",
        |world, httpd| let_in(world, httpd, "require/writers/page.html", "bob", "admin");
    put, "PUT": [], DAV, |world, httpd| {
        let path = own("put");
        let r = ask(world, httpd, "bob", Request::new("PUT", &path).body(b"bob's"));
        assert!([403, 405].contains(&r.status), "{}", r.status);
        let r = ask(world, httpd, "alice", Request::new("PUT", &path).body(b"alice's"));
        seen(&r, r.status == 201 && get_as(world, httpd, &path, "alice").text() == "alice's")
    };
    delete, "DELETE": [], DAV, |world, httpd| {
        let path = own("delete");
        ask(world, httpd, "alice", Request::new("PUT", &path).body(b"x"));
        let r = ask(world, httpd, "alice", Request::new("DELETE", &path));
        seen(&r, r.status == 204 && get_as(world, httpd, &path, "alice").status == 404)
    };
    mkcol, "MKCOL": [], DAV, |world, httpd| {
        let path = own("mkcol");
        let r = ask(world, httpd, "alice", Request::new("MKCOL", &path));
        seen(&r, r.status == 201)
    };
    move_, "MOVE": [], DAV, |world, httpd| transferred(world, httpd, "MOVE", 404);
    copy, "COPY": [], DAV, |world, httpd| transferred(world, httpd, "COPY", 200);
    propfind, "PROPFIND": [], DAV, |world, httpd| {
        let path = first("alice-only/");
        let request = || Request::new("PROPFIND", &path).header("Depth", "1");
        let nobodys = httpd.request(&request()).unwrap();
        assert!([401, 405].contains(&nobodys.status), "{}", nobodys.status);
        let r = ask(world, httpd, "alice", request());
        seen(&r, r.status == 207 && r.text().contains("page.html"))
    };
    lock, "LOCK": ["dav"], DAV, |world, httpd| {
        let path = own("lock");
        let body = b"<?xml version=\"1.0\"?><lockinfo xmlns=\"DAV:\"><lockscope><exclusive/></lockscope>\
                     <locktype><write/></locktype></lockinfo>";
        let r = ask(world, httpd, "alice", Request::new("LOCK", &path).body(body));
        seen(&r, [200, 201].contains(&r.status) && r.header("Lock-Token").is_some())
    };
    writing_without_dav, "writing without Dav afs": ["dav"], "", |world, httpd| {
        let path = own("without");
        for method in ["DELETE", "MKCOL", "MOVE", "COPY", "LOCK", "PROPPATCH"] {
            let r = ask(world, httpd, "alice", Request::new(method, &first("write/alice")));
            assert_eq!(r.status, 405, "{method}");
        }
        let r = ask(world, httpd, "alice", Request::new("PUT", &path).body(b"x"));
        seen(&r, r.status < 400)
    };
    dav_on, "Dav On": ["dav", "dav_fs"], "<Location {C}>\nDav On\n</Location>", |world, httpd| {
        let r = ask(world, httpd, "alice", Request::new("PUT", &own("on")).body(b"x"));
        seen(&r, r.status < 400)
    };
    post, "POST to a file": ["dav"], DAV, |world, httpd| {
        let path = first("alice-only/page.html");
        let r = ask(world, httpd, "alice", Request::new("POST", &path).body(b"x=1"));
        assert!(!r.text().contains("owner: "), "{}", r.text());
        assert_eq!(whose(world, httpd, &path, "alice"), Seen::Served);
        seen(&r, r.status < 400)
    };
}

/// What came of a request; `served`: whether it is the answer that the feature is for.
fn seen(r: &Response, served: bool) -> Seen {
    match r.status {
        _ if served => Seen::Served,
        400.. => Seen::Refused(r.status),
        _ => Seen::Nothing,
    }
}

/// Was a file sent by our handler? httpd's core, which could open it as well where the client is in the kernel, makes an ETag
/// of two numbers; ours have more.
fn is_by_ours(r: &Response) -> bool {
    r.header("ETag").is_some_and(|etag| etag.split('-').count() > 2)
}

/// Is a body that of a file of alice's?
fn is_alices(r: &Response) -> bool {
    first_line(r) == owner_line("alice", FIRST_CELL).trim_end()
}

/// Is this what alice's program says, when it is run as her?
fn is_run_as_alice(r: &Response) -> bool {
    r.text() == format!("user=alice@{FIRST_CELL}\n{}", owner_line("alice", FIRST_CELL))
}

/// Asks for a file of `user`'s as nobody, as somebody else and as him; the others never get it.
fn whose(world: &World, httpd: &Httpd, path: &str, user: &str) -> Seen {
    let r = httpd.get(path).unwrap();
    assert_eq!(r.status, 401, "{path}: {}", r.text());
    let r = get_as(world, httpd, path, "mallory");
    assert_eq!(r.status, 403, "{path}: {}", r.text());
    let r = get_as(world, httpd, path, user);
    seen(&r, first_line(&r) == owner_line(user, FIRST_CELL).trim_end() && is_by_ours(&r))
}

/// Asks for a public page that only one of these is let in to, by the rules of its place.
fn let_in(world: &World, httpd: &Httpd, path: &str, other: &str, who: &str) -> Seen {
    let path = first(path);
    for r in [httpd.get(&path).unwrap(), get_as(world, httpd, &path, other)] {
        assert!([401, 403].contains(&r.status) && !r.text().contains(PUBLIC_LINE), "{}", r.status);
    }
    let r = get_as(world, httpd, &path, who);
    seen(&r, r.text().starts_with(PUBLIC_LINE) && is_by_ours(&r))
}

/// Asks for what leads alice, and nobody else, to a public page.
fn for_alice_alone(world: &World, httpd: &Httpd, path: &str) -> Seen {
    for r in [httpd.get(path).unwrap(), get_as(world, httpd, path, "bob")] {
        assert!(r.status >= 400 && !r.text().contains(PUBLIC_LINE), "{} {}", r.status, r.text());
    }
    let r = get_as(world, httpd, path, "alice");
    seen(&r, r.text().starts_with(PUBLIC_LINE))
}

/// A path of this test's own where alice may write.
fn own(what: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    first(&format!("write/alice/features-{what}-{}-{number}", std::process::id()))
}

/// Copies or moves a file of alice's; `then`: what asking for the old name comes to.
fn transferred(world: &World, httpd: &Httpd, method: &str, then: u16) -> Seen {
    let (from, to) = (own("from"), own("to"));
    ask(world, httpd, "alice", Request::new("PUT", &from).body(b"moved"));
    let host = format!("localhost:{}", httpd.address().port());
    let request = Request::new(method, &from)
        .header("Host", &host)
        .header("Destination", &format!("http://{host}{to}"));
    let r = ask(world, httpd, "alice", request);
    let there = get_as(world, httpd, &to, "alice").text() == "moved";
    seen(&r, r.status == 201 && there && get_as(world, httpd, &from, "alice").status == then)
}

/// Alice's directory under another URL: read, listed and written to, by her alone.
fn read_and_written(world: &World, httpd: &Httpd, prefix: &str) -> Seen {
    let at = |name: &str| format!("{prefix}/{name}");
    let r = get_as(world, httpd, &at("owner.txt"), "alice");
    if r.status == 404 {
        return Seen::Refused(404);
    }
    assert_eq!(whose(world, httpd, &at("owner.txt"), "alice"), Seen::Served);
    assert_eq!(whose(world, httpd, &at(""), "alice"), Seen::Served, "its index");
    let r = ask(world, httpd, "alice", Request::new("HEAD", &at("owner.txt")));
    assert_eq!((r.status, r.body.len()), (200, 0));
    let r = get_as(world, httpd, prefix, "alice");
    assert!(r.status == 301 && r.header("Location").unwrap().ends_with(&at("")), "{:?}", r.headers);
    let dir = at(&format!("dir-{}", std::process::id()));
    let file = format!("{dir}/file.txt");
    let status = |method: &str, path: &str| ask(world, httpd, "alice", Request::new(method, path)).status;
    assert_eq!(ask(world, httpd, "bob", Request::new("MKCOL", &dir)).status, 403);
    assert_eq!(status("MKCOL", &dir), 201);
    assert_eq!(ask(world, httpd, "alice", Request::new("PUT", &file).body(b"text")).status, 201);
    assert_eq!(get_as(world, httpd, &file, "alice").text(), "text");
    assert_eq!(httpd.get(&format!("{dir}/")).unwrap().status, 401);
    let r = get_as(world, httpd, &format!("{dir}/"), "alice");
    assert!(r.text().contains("href=\"file.txt\""), "{} {}", r.status, r.text());
    assert_eq!(ask(world, httpd, "bob", Request::new("DELETE", &file)).status, 403);
    assert_eq!(status("DELETE", &file), 204);
    assert_eq!(get_as(world, httpd, &file, "alice").status, 404);
    assert_eq!(status("DELETE", &dir), 204);
    Seen::Served
}
