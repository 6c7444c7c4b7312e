//! What a file in AFS looks like over HTTP: ranges, conditions, types, directories, links; and httpd's own rules for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::{
    afs_client, ask, first, first_line, get_as, password, peak_rss_kib, start, start_with, timed, world,
};
use integration::content::{NAMES, PUBLIC_LINE, owner_file, owner_line, pattern};
use integration::http::{Connection, Request, Response, escape};
use integration::httpd::Httpd;
use integration::seen;
use integration::world::{FIRST_CELL, SECOND_CELL};
use std::io::Read as _;
use std::process::Command;
use std::time::Duration;

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn head_is_get_without_the_body() {
    let world = world();
    let httpd = start(&world, "");
    let get = httpd.get(&first("sizes/4k.bin")).unwrap();
    let head = httpd.request(&Request::new("HEAD", &first("sizes/4k.bin"))).unwrap();
    assert_eq!((get.status, head.status), (200, 200));
    assert_eq!(get.body, pattern(0, 4096));
    assert!(head.body.is_empty());
    for name in ["Content-Length", "Content-Type", "ETag", "Last-Modified", "Accept-Ranges"] {
        assert_eq!(get.header(name), head.header(name), "{name}");
    }
    assert_eq!(get.header("Content-Length"), Some("4096"));
    assert!(get.header("ETag").is_some_and(|e| e.starts_with('"')), "a strong validator: {:?}", get.headers);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn ranges_give_the_bytes_asked_for() {
    let world = world();
    let httpd = start(&world, "");
    let size: u64 = 1 << 20;
    let path = first("sizes/1m.bin");
    let ask = |range: &str| httpd.request(&Request::get(&path).header("Range", range)).unwrap();
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=1048570-", 1_048_570, size),
        ("bytes=-16", size - 16, size),
        ("bytes=65530-65550", 65_530, 65_551),
        ("bytes=1048575-9999999", size - 1, size),
        ("bytes=131072-917503", 131_072, 917_504),
    ] {
        let r = ask(range);
        assert_eq!(r.status, 206, "{range}");
        assert_eq!(r.header("Content-Range"), Some(format!("bytes {from}-{}/{size}", to - 1).as_str()));
        assert!(r.body == pattern(from, usize::try_from(to - from).unwrap()), "{range}: wrong bytes");
    }
    assert_eq!(ask("bytes=1048576-").status, 416);
    let r = ask("bytes=0-9,100-109");
    assert_eq!(r.status, 206);
    assert!(r.header("Content-Type").is_some_and(|t| t.starts_with("multipart/byteranges")));
    let text = r.text();
    for offset in [0, 100] {
        let part = String::from_utf8_lossy(&pattern(offset, 10)).into_owned();
        assert!(
            text.contains(&format!("bytes {offset}-{}/{size}\r\n\r\n{part}\r\n", offset + 9)),
            "{offset}: {text}"
        );
    }
    let whole = httpd.get(&path).unwrap();
    assert!(whole.body == pattern(0, 1 << 20) && whole.complete);
    let etag = whole.header("ETag").unwrap().to_owned();
    let with = |condition: &str| {
        httpd
            .request(&Request::get(&path).header("Range", "bytes=0-9").header("If-Range", condition))
            .unwrap()
            .status
    };
    assert_eq!((with(&etag), with("\"other\"")), (206, 200));
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn conditions_are_answered_from_what_afs_knows() {
    let world = world();
    let httpd = start(&world, "");
    let path = first("public/plain.txt");
    let r = httpd.get(&path).unwrap();
    let (etag, date) = (r.header("ETag").unwrap().to_owned(), r.header("Last-Modified").unwrap().to_owned());
    let ask =
        |name: &str, value: &str| httpd.request(&Request::get(&path).header(name, value)).unwrap().status;
    assert_eq!(ask("If-None-Match", &etag), 304);
    assert_eq!(ask("If-None-Match", "\"x\""), 200);
    assert_eq!(ask("If-Modified-Since", &date), 304);
    assert_eq!(ask("If-Modified-Since", "Thu, 01 Jan 1998 00:00:00 GMT"), 200);
    assert_eq!(ask("If-Match", &etag), 200);
    assert_eq!(ask("If-Match", "\"x\""), 412);
    assert_eq!(ask("If-Unmodified-Since", "Thu, 01 Jan 1998 00:00:00 GMT"), 412);
    let other = httpd.get(&first("public/page.html")).unwrap();
    assert_ne!(other.header("ETag"), Some(etag.as_str()));
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn types_directories_and_indexes_are_as_for_local_files() {
    let world = world();
    let httpd = start(&world, "");
    for (path, want) in [("public/page.html", "text/html"), ("public/plain.txt", "text/plain")] {
        let r = httpd.get(&first(path)).unwrap();
        assert_eq!(r.header("Content-Type"), Some(want), "{path}");
    }
    let r = httpd.get(&first("public/empty.txt")).unwrap();
    assert_eq!((r.status, r.body.len(), r.header("Content-Length")), (200, 0, Some("0")));
    let r = httpd.get(&first("public/index")).unwrap();
    assert_eq!(r.status, 301);
    assert!(r.header("Location").is_some_and(|l| l.ends_with("/public/index/")), "{:?}", r.headers);
    let r = httpd.get(&first("public/index/")).unwrap();
    assert!(r.status == 200 && r.text().contains("an index"));
    let r = get_as(&world, &httpd, &first("alice-only/"), "alice");
    assert!(r.status == 200 && r.text().starts_with("owner: alice@"), "index under the visitor's token");
    assert_eq!(httpd.get(&first("alice-only/")).unwrap().status, 401);
    assert_eq!(httpd.get(&first("public/list/")).unwrap().status, 403, "no listing without index");
    assert_eq!(
        httpd.get(&first("public/page.html/more")).unwrap().status,
        404,
        "PATH_INFO behind a static file"
    );
    assert_eq!(httpd.get(&first("")).unwrap().status, 200, "the root of the cell");
    for name in NAMES.iter().filter(|n| !n.contains('\n') && !n.contains('\u{1}')) {
        let r = httpd.get(&escape(&first(&format!("public/names/{name}")))).unwrap();
        assert!(
            r.status == 200 && r.text().starts_with(PUBLIC_LINE) && r.text().contains(name),
            "{name:?}: {}",
            r.status
        );
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn links_and_mount_points_lead_where_afs_says_and_nowhere_else() {
    let world = world();
    let httpd = start(&world, "");
    for path in ["links/inside", "links/directory/page.html", "links/absolute", "links/other-cell"] {
        let r = httpd.get(&first(path)).unwrap();
        assert!(r.status == 200 && r.text().starts_with(PUBLIC_LINE), "{path}: {}", r.status);
    }
    for path in ["links/outside", "links/up", "links/loop", "links/missing"] {
        let r = httpd.get(&first(path)).unwrap();
        assert!([403, 404].contains(&r.status), "{path}: {}", r.status);
        assert!(!r.text().contains("root:"), "{path}: the host's own file");
    }
    let r = httpd.get(&first("dangling/x")).unwrap();
    assert!([404, 503].contains(&r.status), "dangling mount point: {}", r.status);
    for path in [
        "/afs/../etc/passwd",
        "/afs/cell.example/public/../../../etc/passwd",
        "/afs/%2e%2e/etc/passwd",
        "/afs/cell.example/public/%2e%2e%2f%2e%2e/x",
        "/afs/cell.example/public/page.html%00.txt",
    ] {
        let mut c = Connection::open(httpd.address()).unwrap();
        let r = c.send(&Request::get(path)).unwrap();
        assert!([400, 403, 404].contains(&r.status), "{path}: {}", r.status);
        assert!(!r.text().contains("root:"), "{path}");
    }
    httpd.stop(&[]).unwrap();
}

/// The path of a file by the number of its volume and its own, as OpenAFS's clients take it.
fn by_number(httpd: &Httpd, path: &str) -> String {
    let numbers = if afs_client() == "openafs" {
        let out = Command::new("fs").args(["getfid", path]).output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let (_, behind) = said.split_once('(').expect(&said);
        behind.split(')').next().unwrap().replace('.', ":")
    } else {
        let found = httpd.request(&Request::new("PROPFIND", path).header("Depth", "0")).unwrap().text();
        let (_, behind) = found.split_once("getetag>\"").expect(&found);
        let etag = behind.split('"').next().unwrap();
        let fid: Vec<String> =
            etag.split('-').take(3).map(|n| u64::from_str_radix(n, 16).unwrap().to_string()).collect();
        fid.join(":")
    };
    format!("/afs/.:mount/{FIRST_CELL}:{numbers}")
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn no_second_name_leads_round_the_rules_for_a_path() {
    let world = world();
    let dav = format!("<Location /afs/{FIRST_CELL}>\nDav afs\n</Location>");
    let httpd = start_with(&world, &dav, |mut o| {
        o.modules = vec!["dav".into()];
        o
    });
    let page = first("public/page.html");
    assert_eq!(httpd.get(&page).unwrap().status, 200);
    let mut others = vec![
        "/afs/.:mount/".to_owned(),
        format!("/afs/.:mount/{FIRST_CELL}:root.cell/public/page.html"),
        "/afs/@cell/public/page.html".to_owned(),
        "/afs/.@cell/public/page.html".to_owned(),
    ];
    if afs_client() != "kafs" {
        let file = by_number(&httpd, &page);
        // The client itself would give it.
        if afs_client() == "openafs" {
            assert!(std::fs::read_to_string(&file).unwrap().starts_with(PUBLIC_LINE), "{file}");
        }
        others.extend([file.clone(), file.replace("/.:mount", "//./.:mount"), file.replace(".:", "%2e%3A")]);
        let directory = by_number(&httpd, &first("public/"));
        others.extend([format!("{directory}/page.html"), directory]);
    }
    for path in &others {
        let r = httpd.get(path).unwrap();
        assert_eq!(r.status, 404, "{path}: {}", r.text());
        let to = format!("http://{}{path}", httpd.address());
        let copy = Request::new("COPY", &page).header("Host", &httpd.address().to_string());
        let r = ask(&world, &httpd, "alice", copy.header("Destination", &to));
        assert!(r.status >= 400 && r.status < 500, "COPY to {path}: {}", r.status);
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn where_an_index_file_is_not_for_everybody_visitors_are_asked_to_log_in() {
    let world = world();
    let index = first("index-closed/index.html");
    let more = format!(
        "<Location /afs/{FIRST_CELL}/public/fallback>\nFallbackResource {index}\n</Location>\n\
         <Location /afs/{FIRST_CELL}/public/told>\nFallbackResource {index}\nErrorDocument 401 /plain.html\n</Location>\n"
    );
    let httpd = start(&world, &more);
    for path in ["index-closed/", "public/fallback", "public/told"] {
        let path = first(path);
        let r = httpd.get(&path).unwrap();
        // kAFS says that what a visitor may not read is not there.
        if r.status == 403 && afs_client() == "kafs" && path.ends_with('/') {
            continue;
        }
        assert_eq!(r.status, 401, "{path}: {}", r.text());
        let prompts = r.all("WWW-Authenticate");
        assert_eq!(prompts, [format!("Basic realm=\"AFS cell {FIRST_CELL}\"")], "{path}");
        if afs_client() == "kafs" {
            // And then for everybody.
            continue;
        }
        let r = get_as(&world, &httpd, &path, "alice");
        assert_eq!(
            (r.status, first_line(&r)),
            (200, owner_line("alice", FIRST_CELL).trim_end().to_owned()),
            "{path}"
        );
        assert_eq!(get_as(&world, &httpd, &path, "bob").status, 403, "{path}");
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_refusal_of_another_module_asks_for_no_password_where_nobody_logs_in_to_afs() {
    let world = world();
    let more = format!(
        "<Location /afs/{FIRST_CELL}/public>\nAFSLogin none\nAuthType Form\nAuthName x\nAuthFormProvider file\n\
         AuthUserFile /dev/null\nSession On\nSessionCookieName session path=/\nRequire valid-user\n</Location>"
    );
    let httpd = start_with(&world, &more, |mut o| {
        o.modules
            .extend(["auth_form", "authn_file", "request", "session", "session_cookie"].map(str::to_owned));
        o
    });
    let r = httpd.get(&first("public/page.html")).unwrap();
    assert_eq!((r.status, r.header("WWW-Authenticate")), (401, None), "{}", r.text());
    httpd.stop(&["AH"]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn rules_of_httpd_keep_applying_to_paths_in_afs() {
    let world = world();
    let more = "<Directory /afs/cell.example/public/deep>\nRequire all denied\n</Directory>\n\
                <Directory /afs/cell.example/links>\nOptions -FollowSymLinks\n</Directory>\n\
                <Directory /afs/cell.example/auth>\nRequire user bob@cell.example\n</Directory>\n\
                <Files \"*.bin\">\nRequire all denied\n</Files>\n\
                <Location /afs/cell.example/friends>\nRequire valid-user\n</Location>";
    let httpd = start(&world, more);
    assert_eq!(httpd.get(&first("public/deep/er/page.txt")).unwrap().status, 403);
    assert_eq!(httpd.get(&first("links/inside")).unwrap().status, 403, "no FollowSymLinks");
    assert_eq!(httpd.get(&first("sizes/4k.bin")).unwrap().status, 403, "Files section");
    assert_eq!(httpd.get(&first("public/htaccess-deny/page.html")).unwrap().status, 403);
    let r = httpd.get(&first("public/htaccess-type/page.probe")).unwrap();
    assert_eq!((r.status, r.header("Content-Type")), (200, Some("text/x-probe")));
    assert_eq!(httpd.get(&first("public/htaccess-broken/page.html")).unwrap().status, 500);
    assert_eq!(httpd.get(&first("public/page.html")).unwrap().status, 200);
    let r = get_as(&world, &httpd, &first("alice-only/page.html"), "alice");
    assert_eq!((r.status, r.header("X-Alice")), (200, Some("yes")), ".htaccess is read as the visitor");
    assert_eq!(get_as(&world, &httpd, &first("auth/page.html"), "bob").status, 200);
    assert!(
        [401, 403].contains(&get_as(&world, &httpd, &first("auth/page.html"), "alice").status),
        "Require user"
    );
    assert_eq!(httpd.get(&first("friends/page.html")).unwrap().status, 401);
    assert_eq!(get_as(&world, &httpd, &first("friends/page.html"), "bob").status, 200, "Require valid-user");
    httpd.stop(&["NoSuchDirective"]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn other_methods_and_handlers_are_refused_and_never_show_the_source() {
    let world = world();
    let more =
        "AddHandler cgi-script .html\n<Directory /afs/cell.example/public>\nOptions +ExecCGI\n</Directory>";
    let httpd = start_with(&world, more, |mut o| {
        o.modules.push("cgid".into());
        o
    });
    let r = httpd.get(&first("public/page.html")).unwrap();
    assert_eq!(r.status, 403);
    assert!(!r.text().contains("a page"));
    for method in ["PUT", "POST", "DELETE", "MKCOL", "PROPFIND"] {
        let r = httpd.request(&Request::new(method, &first("public/plain.txt")).body(b"x")).unwrap();
        assert_eq!(r.status, 405, "{method}");
        assert!(r.header("Allow").is_some_and(|a| a.contains("GET")), "{method}");
    }
    assert_eq!(httpd.get(&first("public/plain.txt")).unwrap().text(), format!("{PUBLIC_LINE}text\n"));
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_large_file_needs_little_memory_and_a_slow_reader_gets_all_of_it() {
    let world = world();
    let httpd = start(&world, "SetAFSCacheSize 64M");
    let path = first("sizes/big.bin");
    let mut c = Connection::open(httpd.address()).unwrap();
    c.send_only(&Request::get(&path)).unwrap();
    let before = peak_rss_kib(&httpd);
    // Reads slowly at first, so that httpd has to hold back, then all the rest.
    let mut socket = c.socket().try_clone().unwrap();
    let mut total = 0u64;
    let mut buffer = vec![0u8; 1 << 16];
    let mut head = Vec::new();
    let mut expected: Option<u64> = None;
    loop {
        let n = socket.read(&mut buffer).unwrap();
        if n == 0 {
            break;
        }
        if expected.is_none() {
            head.extend_from_slice(&buffer[..n]);
            let text = String::from_utf8_lossy(&head).into_owned();
            let Some((headers, _)) = text.split_once("\r\n\r\n") else { continue };
            let length: u64 = headers
                .lines()
                .find_map(|l| l.strip_prefix("Content-Length: "))
                .unwrap()
                .trim()
                .parse()
                .unwrap();
            assert_eq!(length, world.sizes.big);
            expected = Some(length);
            total = head.len() as u64 - headers.len() as u64 - 4;
        } else {
            total += n as u64;
        }
        if total < 2_000_000 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        if Some(total) == expected {
            break;
        }
    }
    assert_eq!(total, world.sizes.big);
    let grown = peak_rss_kib(&httpd).saturating_sub(before);
    assert!(grown < 96 * 1024, "memory grew by {grown} KiB for a file of {} bytes", world.sizes.big);
    let end = httpd.request(&Request::get(&path).header("Range", "bytes=-20")).unwrap();
    assert_eq!((end.status, end.body), (206, pattern(world.sizes.big - 20, 20)), "the last bytes");
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn prompts_quote_what_comes_from_the_url() {
    let world = world();
    let httpd = start(
        &world,
        "<Location /afs/cell.example/home>\nAFSLoginPrompt \"Files below <%unowhere>\"\n</Location>",
    );
    let r = httpd.get(&first("home/%22evil%0d%0aX-Evil:%20yes/x")).unwrap();
    assert!(r.header("X-Evil").is_none());
    let long = httpd.get(&format!("/afs/{}", "a".repeat(3000))).unwrap();
    assert!([401, 403, 404].contains(&long.status), "{}", long.status);
    let r = httpd.get(&first(&owner_file("alice"))).unwrap();
    assert_eq!(r.header("WWW-Authenticate"), Some("Basic realm=\"Files below /afs/cell.example\""));
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn an_access_file_may_say_how_visitors_are_asked_and_called() {
    let world = world();
    let place = format!("/afs/{FIRST_CELL}/write/anybody");
    let more = format!(
        "<Location {place}>\nDav afs\n</Location>\n<Directory {place}>\nAllowOverride AuthConfig\n</Directory>\n\
         Header always set X-User \"expr=%{{REMOTE_USER}}\"\n"
    );
    let httpd = start_with(&world, &more, |mut o| {
        o.modules.extend(["dav", "headers"].map(str::to_owned));
        // A Location's prompt would count before an access file's.
        o.afs = o.afs.map(|text| {
            text.lines().filter(|l| !l.starts_with("AFSLoginPrompt")).map(|l| l.to_owned() + "\n").collect()
        });
        o
    });
    let dir = format!("write/anybody/sub/asked-{}", std::process::id());
    let page = first(&format!("{dir}/page.html"));
    assert_eq!(ask(&world, &httpd, "bob", Request::new("MKCOL", &first(&dir))).status, 201);
    assert_eq!(ask(&world, &httpd, "bob", Request::new("PUT", &page).body(b"bob's")).status, 201);
    let asked = || {
        let r = get_as(&world, &httpd, &page, "alice");
        (httpd.get(&page).unwrap(), r.header("X-User").map(str::to_owned))
    };
    let (r, user) = asked();
    assert_eq!((r.status, user), (200, Some(format!("alice@{FIRST_CELL}"))), "no access file yet");
    let lines = "AFSLoginPrompt \"Ask me\"\nAFSRemoteUser short\nRequire valid-user\n";
    seen::change(FIRST_CELL, &format!("{dir}/.htaccess"), lines).unwrap();
    let (r, user) = asked();
    assert_eq!((r.status, r.header("WWW-Authenticate")), (401, Some("Basic realm=\"Ask me\"")));
    assert_eq!(user, Some("alice".to_owned()));
    // What decides who somebody is, no access file says.
    seen::change(FIRST_CELL, &format!("{dir}/.htaccess"), "AFSLogin none\n").unwrap();
    assert_eq!(asked().0.status, 500);
    httpd.stop(&["AFSLogin"]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn d7_a_nested_location_that_sets_only_a_prompt_or_a_cell_stays_protected() {
    let world = world();
    let more = format!(
        "<Location /afs/{FIRST_CELL}/home/alice>\nAFSLoginPrompt \"only a prompt\"\n</Location>\n\
         <Location /afs/{FIRST_CELL}/home/bob>\nAFSDefaultCell {SECOND_CELL}\n</Location>\n\
         <Location /afs/{FIRST_CELL}/home/bob/owner.txt>\nAFSLoginPrompt \"and another\"\n</Location>"
    );
    let httpd = start(&world, &more);
    let (alices, bobs) = (first(&owner_file("alice")), first(&owner_file("bob")));
    for (path, prompt) in [(&alices, "only a prompt"), (&bobs, "and another")] {
        let r = httpd.get(path).unwrap();
        assert_eq!(r.status, 401, "{path}: {}", r.text());
        assert_eq!(
            r.header("WWW-Authenticate"),
            Some(format!("Basic realm=\"{prompt}\"").as_str()),
            "{path}"
        );
        let wrong = httpd.get_as(path, "alice", "wrong").unwrap();
        assert_eq!(wrong.status, 401, "{path}");
    }
    assert_eq!(get_as(&world, &httpd, &alices, "alice").status, 200);
    assert_eq!(get_as(&world, &httpd, &alices, "bob").status, 403);
    // Whoever names no cell is of the inner section's; who does is whom he names.
    let here = password(world.cell(FIRST_CELL).unwrap(), "bob");
    assert_eq!(httpd.get_as(&bobs, "bob", here).unwrap().status, 401, "no password of {SECOND_CELL}");
    let r = httpd.get_as(&bobs, &format!("bob@{FIRST_CELL}"), here).unwrap();
    assert_eq!((r.status, first_line(&r)), (200, owner_line("bob", FIRST_CELL).trim_end().to_owned()));
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn d9_the_file_that_is_served_is_the_one_that_is_asked_for_in_afs_however_a_url_leads_there() {
    let world = world();
    let home = format!("/afs/{FIRST_CELL}/home");
    let more = format!(
        "Alias /alias {home}/alice\nAliasMatch ^/match/(.*)$ {home}/$1\nUserDir {home}\n\
         Alias /afs-public/page.html {home}/alice/owner.txt\n\
         <LocationMatch \"^/(alias|match|afs-public|~alice)\">\nAFSAuthType AFS\n</LocationMatch>\n\
         Alias /plain/{FIRST_CELL} /srv/no-such-directory\n"
    );
    let httpd = start_with(&world, &more, |mut o| {
        o.modules.push("userdir".to_owned());
        o
    });
    // What a look below the DocumentRoot would find: files that everybody may read, at the very same URLs.
    let documents = std::path::Path::new("/srv/httpd").join(httpd.dir().file_name().unwrap()).join("htdocs");
    let urls = ["/alias/owner.txt", "/match/alice/owner.txt", "/~alice/owner.txt", "/afs-public/page.html"];
    for url in urls {
        let decoy = documents.join(url.trim_start_matches('/'));
        std::fs::create_dir_all(decoy.parent().unwrap()).unwrap();
        std::fs::write(&decoy, "a decoy\n").unwrap();
    }
    let is_alices = |r: &Response| first_line(r) == owner_line("alice", FIRST_CELL).trim_end();
    for _ in 0..3 {
        for url in urls {
            let answers = [
                get_as(&world, &httpd, url, "alice"),
                httpd.get(url).unwrap(),
                get_as(&world, &httpd, url, "bob"),
                httpd.get_as(url, "alice", "wrong").unwrap(),
            ];
            let seen: Vec<(u16, bool)> = answers.iter().map(|r| (r.status, is_alices(r))).collect();
            assert_eq!(seen, [(200, true), (401, false), (403, false), (401, false)], "{url}");
            assert!(answers.iter().all(|r| !r.text().contains("a decoy")), "{url}");
        }
    }
    // And the other way round: what leads elsewhere is not AFS's, whatever its URL looks like.
    let r = get_as(&world, &httpd, &format!("/plain/{FIRST_CELL}/home/alice/owner.txt"), "alice");
    assert!(r.status >= 400 && !is_alices(&r), "{}", r.status);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn d49_a_path_that_goes_on_behind_what_is_denied_ends_at_once() {
    let world = world();
    let httpd = start(&world, "");
    let before = cpu_ticks(&httpd);
    let more = "/x".repeat(100);
    // Path, anonymous, alice.
    for (path, anonymous, alice) in [
        (format!("nobody/page.html{more}"), 401, 403),
        (format!("nobody/sub{more}/"), 401, 403),
        (format!("home/bob/owner.txt{more}"), 401, 403),
        (format!("public/page.html{more}"), 404, 404),
        (format!("links/loop{more}"), 403, 403),
    ] {
        let path = first(&path);
        for (who, want) in [(None, anonymous), (Some("alice"), alice)] {
            let (r, took) = timed(|| match who {
                None => httpd.get(&path).unwrap(),
                Some(user) => get_as(&world, &httpd, &path, user),
            });
            assert_eq!(r.status, want, "{who:?} {path}");
            let limit = Duration::from_secs(5) * integration::wait::slow_factor();
            assert!(took < limit, "{who:?} {path}: {took:?}");
        }
    }
    // No worker goes round in circles behind the answers.
    let busy = cpu_ticks(&httpd) - before;
    std::thread::sleep(Duration::from_secs(1));
    let idle = cpu_ticks(&httpd) - before - busy;
    assert!(idle < 50, "{idle} hundredths of a second of processor time within one of rest");
    httpd.stop(&[]).unwrap();
}

/// Processor time that the children have used, in hundredths of a second.
fn cpu_ticks(httpd: &Httpd) -> u64 {
    let of = |pid: u32| -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Behind the name, which may have blanks itself: fields 14 and 15 of all (proc(5)).
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_ascii_whitespace().skip(11).take(2).map(|f| f.parse::<u64>().ok()).sum()
    };
    httpd.children().into_iter().filter_map(of).sum()
}
