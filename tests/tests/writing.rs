//! Writing by PUT and WebDAV: what is stored, what is refused and how, and that nothing half-written stays behind.
//!
//! Each test writes to a directory of its own in `write/` of the first cell.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::keys::{Keys, identity};
use common::{
    FILE_DEADLINE_S, Stopped, ask, first, get_as, password, report, second, start_with, timed, world,
};
use integration::content::NAMES;
use integration::http::{Connection, Request, Response, base64, escape};
use integration::httpd::Httpd;
use integration::seen;
use integration::wait;
use integration::world::{FIRST_CELL, PUBLISHER, World};
use std::net::Ipv4Addr;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// www-data
const UID: u32 = 33;
/// How temporary names begin.
const TEMPORARY: &str = ".afsweb-";

/// A directory that httpd's children may write to, for the locks of one httpd.
fn locks() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let dir = PathBuf::from(format!("/srv/dav-locks/{}-{number}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    chown(&dir, Some(UID), Some(UID)).unwrap();
    dir
}

/// An httpd on which the first cell can be written to.
fn start(world: &World, more: &str) -> Httpd {
    let dav = format!(
        "<Location /afs/{FIRST_CELL}>\nDav afs\nDavGenericLockDB {}/locks\nDavDepthInfinity on\n</Location>\n{more}",
        locks().display()
    );
    start_with(world, &dav, |mut o| {
        o.modules = vec!["dav".into(), "dav_lock".into()];
        o
    })
}

/// A PUT of a user of the first cell.
fn put(world: &World, httpd: &Httpd, user: &str, path: &str, body: &[u8]) -> Response {
    ask(world, httpd, user, Request::new("PUT", path).body(body))
}

/// The status of a request without a body.
fn status(world: &World, httpd: &Httpd, user: &str, method: &str, path: &str) -> u16 {
    ask(world, httpd, user, Request::new(method, path)).status
}

/// The status of a COPY or MOVE.
fn transfer(world: &World, httpd: &Httpd, user: &str, method: &str, from: &str, to: &str) -> u16 {
    let to = format!("http://localhost:{}{to}", httpd.address().port());
    let request = Request::new(method, from)
        .header("Host", &format!("localhost:{}", httpd.address().port()))
        .header("Destination", &to);
    ask(world, httpd, user, request).status
}

/// Makes a directory of `test`'s own in alice's, and gives its path.
fn own(world: &World, httpd: &Httpd, test: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = format!("write/alice/{test}-{}-{number}", std::process::id());
    assert_eq!(status(world, httpd, "alice", "MKCOL", &first(&path)), 201);
    path
}

/// What is in a directory of the first cell; `path` is below it. Without what a client in the kernel still calls by a name
/// since somebody reads it.
fn names(path: &str) -> Vec<String> {
    let mut names = seen::names(FIRST_CELL, path).unwrap();
    names.retain(|name| !name.starts_with(".__afs"));
    names
}

/// Waits until there is no temporary name in a directory.
fn no_temporary(path: &str) {
    wait::until_true("the end of temporary names", Duration::from_secs(60), || {
        Ok(seen::names(FIRST_CELL, path)?.iter().all(|name| !name.starts_with(TEMPORARY)))
    })
    .unwrap();
}

/// A PROPFIND of what is in a collection.
fn propfind(world: &World, httpd: &Httpd, user: &str, path: &str) -> Response {
    ask(world, httpd, user, Request::new("PROPFIND", path).header("Depth", "1"))
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn what_is_put_can_be_read_and_deleted() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "put");
    let path = escape(&first(&format!("{dir}/put me.txt")));
    let r = put(&world, &httpd, "alice", &path, b"first");
    assert_eq!(r.status, 201, "{}", r.text());
    let etag = r.header("ETag").map(str::to_owned);
    assert!(etag.is_some());
    let r = get_as(&world, &httpd, &path, "alice");
    assert_eq!((r.status, r.text().as_str()), (200, "first"));
    assert_eq!(r.header("ETag").map(str::to_owned), etag);
    let r = put(&world, &httpd, "alice", &path, b"second, and longer");
    assert_eq!(r.status, 204, "{}", r.text());
    assert_ne!(r.header("ETag").map(str::to_owned), etag);
    assert_eq!(get_as(&world, &httpd, &path, "bob").text(), "second, and longer");
    assert_eq!(put(&world, &httpd, "alice", &path, b"").status, 204);
    assert_eq!(get_as(&world, &httpd, &path, "bob").text(), "");
    assert_eq!(names(&dir), ["put me.txt"]);
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &path), 204);
    assert_eq!(get_as(&world, &httpd, &path, "alice").status, 404);
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &path), 404);
    let r = put(&world, &httpd, "alice", &first(&format!("{dir}/none/x")), b"x");
    assert_eq!(r.status, 409, "no such collection");
    assert_eq!(put(&world, &httpd, "alice", &first(&dir), b"x").status, 409, "a collection");
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn d50_who_may_not_write_writes_and_makes_nothing() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "rights");
    let path = first(&format!("{dir}/file.txt"));
    assert_eq!(put(&world, &httpd, "alice", &path, b"alice's").status, 201);
    for (user, want) in [("bob", 403), ("carol", 403)] {
        assert_eq!(put(&world, &httpd, user, &path, b"another's").status, want, "{user}");
        assert_eq!(put(&world, &httpd, user, &first(&format!("{dir}/new")), b"x").status, want);
        for method in ["DELETE", "MKCOL"] {
            let target = if method == "MKCOL" { first(&format!("{dir}/made")) } else { path.clone() };
            assert_eq!(status(&world, &httpd, user, method, &target), want, "{user} {method}");
        }
        let there = first(&format!("write/bob/stolen-{user}"));
        assert_eq!(transfer(&world, &httpd, user, "MOVE", &path, &there), want, "{user}");
    }
    let r = httpd.request(&Request::new("PUT", &path).body(b"nobody's")).unwrap();
    assert_eq!(r.status, 401);
    assert!(r.header("WWW-Authenticate").is_some_and(|v| v.starts_with("Basic realm=")), "{:?}", r.headers);
    for method in ["DELETE", "MKCOL", "LOCK", "PROPPATCH"] {
        let r = httpd.request(&Request::new(method, &first(&format!("{dir}/new")))).unwrap();
        assert_eq!(r.status, 401, "{method}");
    }
    assert_eq!(get_as(&world, &httpd, &path, "alice").text(), "alice's");
    assert_eq!(names(&dir), ["file.txt"]);
    // Where the ACL lets anybody write, anybody does, as whoever he is to the cell.
    let anybody = |name: &str| first(&format!("write/anybody/{name}-{}", std::process::id()));
    let r = httpd.request(&Request::new("PUT", &anybody("nobody")).body(b"nobody's")).unwrap();
    assert_eq!(r.status, 201, "{}", r.text());
    assert_eq!(httpd.get(&anybody("nobody")).unwrap().text(), "nobody's");
    assert_eq!(put(&world, &httpd, "bob", &anybody("bob"), b"bob's").status, 201);
    let owners: Vec<_> = seen::directory(FIRST_CELL, "write/anybody").unwrap();
    let owner = |name: &str| {
        let name = format!("{name}-{}", std::process::id());
        owners.iter().find(|s| s.name == name).unwrap().owner
    };
    assert_eq!((owner("nobody"), owner("bob")), (32_766, 1_002));
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn nobody_writes_by_the_token_of_a_service() {
    let (world, keys) = (world(), Keys::new());
    let service = identity(PUBLISHER, &keys.srvtab(&world, PUBLISHER));
    let dir = first("write/publisher");
    let none = first("write/anybody/sub");
    let more = format!(
        "<Location {dir}>\n{service}</Location>\n<Location {none}>\nAFSLogin none\n{service}</Location>\n"
    );
    let httpd = start(&world, &more);
    let path = format!("{dir}/page-{}", std::process::id());
    assert_eq!(put(&world, &httpd, "alice", &path, b"alice's").status, 201, "a visitor is himself");
    assert_eq!(httpd.get(&path).unwrap().status, 200);
    let list = Request::new("PROPFIND", &path).header("Depth", "0");
    assert_eq!(httpd.request(&list).unwrap().status, 207, "the service reads");
    for (dir, want) in [(&dir, 401), (&none, 403)] {
        let path = format!("{dir}/page-{}", std::process::id());
        for method in ["PUT", "DELETE", "MKCOL", "LOCK", "PROPPATCH", "COPY", "MOVE"] {
            let to = format!("http://{}{dir}/other", httpd.address());
            let request = Request::new(method, &path).header("Destination", &to).body(b"the service's");
            assert_eq!(httpd.request(&request).unwrap().status, want, "{method} {path}");
        }
    }
    assert_eq!(httpd.get(&path).unwrap().text(), "alice's");
    assert_eq!(names("write/publisher"), [format!("page-{}", std::process::id())]);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn visitors_who_share_a_connection_write_as_themselves() {
    let world = world();
    let httpd = start(&world, "");
    let cell = world.cell(FIRST_CELL).unwrap();
    let dir = format!("write/anybody/turns-{}", std::process::id());
    let r = httpd.request(&Request::new("MKCOL", &first(&dir))).unwrap();
    assert_eq!(r.status, 201, "{}", r.text());
    let mut c = Connection::open(httpd.address()).unwrap();
    for round in 0..10 {
        for user in ["alice", "bob"] {
            let login = |r: Request| r.login(user, password(cell, user));
            let path = first(&format!("{dir}/{user}-{round}"));
            let r = c.send(&login(Request::new("PUT", &path).body(user.as_bytes()))).unwrap();
            assert_eq!(r.status, 201, "{}", r.text());
            let other = if user == "alice" { "bob" } else { "alice" };
            let path = first(&format!("write/{other}/by-{user}-{round}"));
            let r = c.send(&login(Request::new("PUT", &path).body(b"x"))).unwrap();
            assert_eq!(r.status, 403);
        }
        let path = first(&format!("write/alice/by-nobody-{round}"));
        assert_eq!(c.send(&Request::new("PUT", &path).body(b"x")).unwrap().status, 401);
    }
    let seen = seen::directory(FIRST_CELL, &dir).unwrap();
    assert_eq!(seen.len(), 20);
    for s in seen {
        let want = if s.name.starts_with("alice") { 1_001 } else { 1_002 };
        assert_eq!(s.owner, want, "{}", s.name);
    }
    assert!(names("write/bob").iter().chain(&names("write/alice")).all(|n| !n.starts_with("by-")));
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn odd_names_come_back_as_they_were_put() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "names");
    let odd: Vec<&str> =
        NAMES.into_iter().filter(|n| !n.contains('\n') && !n.contains('\u{1}')).chain([".hidden"]).collect();
    for name in &odd {
        let path = escape(&first(&format!("{dir}/{name}")));
        let r = put(&world, &httpd, "alice", &path, name.as_bytes());
        assert_eq!(r.status, 201, "{name:?}: {}", r.text());
        assert_eq!(get_as(&world, &httpd, &path, "alice").text(), *name);
    }
    let mut want: Vec<String> = odd.iter().map(|n| (*n).to_owned()).collect();
    want.sort();
    assert_eq!(names(&dir), want);
    let r = propfind(&world, &httpd, "alice", &first(&format!("{dir}/")));
    assert_eq!(r.status, 207);
    let text = r.text();
    assert_eq!(
        text.matches("<D:response>").count() + text.matches("<D:response ").count(),
        odd.len() + 1,
        "{text}"
    );
    assert!(!text.contains("<b>"), "escaped: {text}");
    for name in &odd {
        let from = escape(&first(&format!("{dir}/{name}")));
        let to = escape(&first(&format!("{dir}/{name} moved")));
        assert_eq!(transfer(&world, &httpd, "alice", "MOVE", &from, &to), 201, "{name:?}");
        assert_eq!(get_as(&world, &httpd, &to, "alice").text(), *name);
        assert_eq!(status(&world, &httpd, "alice", "DELETE", &to), 204, "{name:?}");
    }
    for (name, want) in [("n".repeat(256), 400), ("x@sys".to_owned(), 400), (format!("{TEMPORARY}x"), 403)] {
        let r = put(&world, &httpd, "alice", &first(&format!("{dir}/{name}")), b"x");
        assert_eq!(r.status, want, "{name}: {}", r.text());
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn d64_conditions_are_met_and_bodies_whole_or_nothing_is_written() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "conditions");
    let path = first(&format!("{dir}/file"));
    let with = |name: &str, value: &str, body: &[u8]| {
        let request = Request::new("PUT", &path).header(name, value).body(body);
        ask(&world, &httpd, "alice", request)
    };
    assert_eq!(with("If-Match", "*", b"1").status, 412, "nothing is there");
    assert_eq!(with("If-None-Match", "*", b"1").status, 201);
    assert_eq!(with("If-None-Match", "*", b"2").status, 412);
    let etag = get_as(&world, &httpd, &path, "alice").header("ETag").unwrap().to_owned();
    let r = with("If-Match", &etag, b"the second");
    assert_eq!(r.status, 204);
    assert_eq!(with("If-Match", &etag, b"3").status, 412, "not that one any more");
    assert_eq!(with("If-Match", r.header("ETag").unwrap(), b"the third").status, 204);
    assert_eq!(get_as(&world, &httpd, &path, "alice").text(), "the third");
    let request = Request::new("DELETE", &path).header("If-Match", &etag);
    assert_eq!(ask(&world, &httpd, "alice", request).status, 412);
    // A part of a file.
    for range in ["bytes 0-2/9", "bytes 0-2/*", "bytes x", "lines 1-2/3"] {
        assert_eq!(with("Content-Range", range, b"THE").status, 400, "{range}");
    }
    assert_eq!(get_as(&world, &httpd, &path, "alice").text(), "the third");
    assert_eq!(names(&dir), ["file"]);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn pages_of_other_sites_write_nothing() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "cross-site");
    let port = httpd.address().port();
    let host = format!("localhost:{port}");
    let own_origin = format!("http://{host}");
    let with = |method: &str, name: &str, value: &str| {
        let request = Request::new(method, &first(&format!("{dir}/{method}")))
            .header("Host", &host)
            .header(name, value);
        let request = if method == "PUT" { request.body(b"x") } else { request };
        ask(&world, &httpd, "alice", request).status
    };
    for (name, value) in [
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Origin", "https://evil.example"),
        ("Origin", "http://localhost"),
        ("Origin", "null"),
    ] {
        for method in ["PUT", "DELETE", "MKCOL", "LOCK", "PROPPATCH", "MOVE", "POST"] {
            assert_eq!(with(method, name, value), 403, "{method} {name}: {value}");
        }
        for method in ["GET", "OPTIONS", "PROPFIND"] {
            assert_ne!(with(method, name, value), 403, "{method} {name}: {value}");
        }
    }
    // A form for everybody, without anybody's password.
    let form = Request::new("POST", &first("public/page.html")).header("Origin", "https://evil.example");
    assert_eq!(httpd.request(&form).unwrap().status, 405);
    assert_eq!(names(&dir), Vec::<String>::new());
    assert_eq!(with("PUT", "Origin", &own_origin), 201);
    assert_eq!(with("PUT", "Sec-Fetch-Site", "same-origin"), 204);
    assert_eq!(with("DELETE", "Sec-Fetch-Site", "none"), 404);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn over_quota_is_507_and_leaves_nothing_behind() {
    let world = world();
    let httpd = start(&world, "");
    let cell = world.cell(FIRST_CELL).unwrap();
    let quota = |kib: &str| {
        let machine = &cell.machines[0];
        machine.run("vos", ["setfields", "vol.quota", "-maxquota", kib, "-localauth"]).unwrap();
    };
    let at = |name: &str| first(&format!("write/quota/{name}"));
    assert_eq!(put(&world, &httpd, "alice", &at("old"), &[b'o'; 100_000]).status, 201);
    quota("500");
    let body = vec![b'n'; 4_000_000];
    // Its length tells.
    for name in ["new", "old"] {
        let r = put(&world, &httpd, "alice", &at(name), &body);
        assert_eq!(r.status, 507, "{}", r.text());
    }
    // Only the server tells: when the file is closed, or before.
    let chunks: Vec<u8> = body
        .chunks(500_000)
        .flat_map(|c| [format!("{:x}\r\n", c.len()).as_bytes(), c, b"\r\n"].concat())
        .collect();
    for name in ["new", "old"] {
        let login = base64(format!("alice:{}", password(cell, "alice")).as_bytes());
        let mut c = Connection::open(httpd.address()).unwrap();
        let head = format!(
            "PUT {} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {login}\r\nTransfer-Encoding: chunked\r\n\r\n",
            at(name)
        );
        c.send_raw(&[head.as_bytes(), &chunks, b"0\r\n\r\n"].concat()).unwrap();
        let r = c.receive(false).unwrap();
        assert_eq!(r.status, 507, "{name}: {}", r.text());
    }
    assert_eq!(transfer(&world, &httpd, "alice", "COPY", &first("sizes/big.bin"), &at("copied")), 507);
    no_temporary("write/quota");
    assert_eq!(names("write/quota"), ["old"]);
    let r = get_as(&world, &httpd, &at("old"), "alice");
    assert!(r.complete && r.body == [b'o'; 100_000], "{} bytes", r.body.len());
    quota("0");
    assert_eq!(put(&world, &httpd, "alice", &at("old"), &body).status, 204);
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &at("old")), 204);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_read_only_copy_is_403() {
    let world = world();
    let httpd = start(&world, "");
    let at = |name: &str| first(&format!("replica/{name}"));
    for user in ["alice", "admin"] {
        assert_eq!(put(&world, &httpd, user, &at("new"), b"x").status, 403, "{user}");
        assert_eq!(put(&world, &httpd, user, &at("page.html"), b"x").status, 403, "{user}");
        assert_eq!(status(&world, &httpd, user, "MKCOL", &at("made")), 403, "{user}");
        assert_eq!(status(&world, &httpd, user, "DELETE", &at("page.html")), 403, "{user}");
    }
    assert_eq!(get_as(&world, &httpd, &at("page.html"), "alice").status, 200);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn rights_to_insert_or_to_write_alone_will_do() {
    let world = world();
    let httpd = start(&world, "");
    let at = |dir: &str, name: &str| first(&format!("write/{dir}/{name}"));
    let body = |n: usize| vec![b'n'; n];
    let new = format!("new-{}", std::process::id());
    // Who may insert drops new files, and changes none.
    let r = put(&world, &httpd, "alice", &at("insert", &new), &body(300_000));
    assert_eq!(r.status, 201, "{}", r.text());
    assert_eq!(put(&world, &httpd, "alice", &at("insert", "file.txt"), b"x").status, 403);
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &at("insert", &new)), 403);
    let seen = seen::directory(FIRST_CELL, "write/insert").unwrap();
    let size = |name: &str| seen.iter().find(|s| s.name == name).unwrap().size;
    assert_eq!((size(&new), size("file.txt")), (300_000, 10));
    // Who may write (and read, else AFS does not even say what is there) changes files, and makes none.
    for n in [400_000, 7, 300_001] {
        let r = put(&world, &httpd, "alice", &at("in-place", "file.txt"), &body(n));
        assert_eq!(r.status, 204, "{}", r.text());
        let seen = seen::directory(FIRST_CELL, "write/in-place").unwrap();
        assert_eq!((seen.len(), seen[0].size), (1, n as u64));
    }
    for dir in ["in-place", "write-only"] {
        assert_eq!(put(&world, &httpd, "alice", &at(dir, &new), b"x").status, 403, "{dir}");
        assert_eq!(status(&world, &httpd, "alice", "DELETE", &at(dir, "file.txt")), 403, "{dir}");
    }
    assert_eq!(put(&world, &httpd, "alice", &at("write-only", "file.txt"), b"x").status, 403);
    assert_eq!(seen::directory(FIRST_CELL, "write/write-only").unwrap()[0].size, 10);
    let r = get_as(&world, &httpd, &at("in-place", "file.txt"), "alice");
    assert_eq!((r.status, r.body), (200, body(300_001)));
    // Who may do both, but not delete.
    assert_eq!(put(&world, &httpd, "alice", &at("no-delete", "file.txt"), b"changed").status, 204);
    assert_eq!(put(&world, &httpd, "alice", &at("no-delete", &new), b"new").status, 201);
    assert_eq!(get_as(&world, &httpd, &at("no-delete", "file.txt"), "alice").text(), "changed");
    assert_eq!(get_as(&world, &httpd, &at("no-delete", &new), "alice").text(), "new");
    // kAFS cannot be asked for rights: its attempt to rename leaves an empty file behind in such directories.
    if common::afs_client() != "kafs" {
        for dir in ["insert", "no-delete"] {
            assert!(names(&format!("write/{dir}")).iter().all(|n| !n.starts_with(TEMPORARY)), "{dir}");
        }
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn d64_an_upload_that_is_broken_off_leaves_what_was_there() {
    let world = world();
    let httpd = start(&world, "");
    let cell = world.cell(FIRST_CELL).unwrap();
    let dir = own(&world, &httpd, "aborted");
    let old = first(&format!("{dir}/old"));
    assert_eq!(put(&world, &httpd, "alice", &old, b"as it was").status, 201);
    let login = base64(format!("alice:{}", password(cell, "alice")).as_bytes());
    let begin = |path: &str, length: &str| {
        let mut c = Connection::open(httpd.address()).unwrap();
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {login}\r\n{length}\r\n\r\n"
        );
        c.send_raw(head.as_bytes()).unwrap();
        c
    };
    let in_place = first("write/in-place/file.txt");
    let before = get_as(&world, &httpd, &in_place, "alice").body;
    for path in [&old, &first(&format!("{dir}/new")), &in_place] {
        // The connection ends.
        let mut c = begin(path, "Content-Length: 3000000");
        c.send_raw(&vec![b'x'; 1_500_000]).unwrap();
        drop(c);
        let mut c = begin(path, "Content-Length: 3000000");
        c.send_raw(b"x").unwrap();
        drop(c);
        // No chunks.
        let mut c = begin(path, "Transfer-Encoding: chunked");
        c.send_raw(
            &[format!("{:x}\r\n", 600_000).as_bytes(), &vec![b'x'; 600_000], b"\r\nno chunk\r\n"].concat(),
        )
        .unwrap();
        let r = c.receive(false).unwrap();
        assert!((400..500).contains(&r.status), "{} {}", r.status, r.text());
    }
    no_temporary(&dir);
    assert_eq!(names(&dir), ["old"]);
    assert_eq!(get_as(&world, &httpd, &old, "alice").text(), "as it was");
    assert_eq!(get_as(&world, &httpd, &in_place, "alice").body, before);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_server_that_is_away_is_503_and_nothing_half_written_stays() {
    let world = world();
    let httpd = start(&world, "");
    let cell = world.cell(FIRST_CELL).unwrap();
    let far = Ipv4Addr::new(192, 0, 2, 3);
    let at = |name: &str| first(&format!("far/write/{name}"));
    assert_eq!(put(&world, &httpd, "alice", &at("old"), b"as it was").status, 201);
    // In the middle of an upload.
    let login = base64(format!("alice:{}", password(cell, "alice")).as_bytes());
    let mut c = Connection::open_within(httpd.address(), common::answer_limit() * 4).unwrap();
    let head = format!(
        "PUT {} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {login}\r\nContent-Length: 600000\r\n\r\n",
        at("old")
    );
    c.send_raw(&[head.as_bytes(), &vec![b'x'; 300_000]].concat()).unwrap();
    wait::until_true("the temporary name", Duration::from_secs(30), || {
        Ok(seen::names(FIRST_CELL, "far/write")?.len() == 2)
    })
    .unwrap();
    let stopped = Stopped::server(&world, far);
    c.send_raw(&vec![b'x'; 300_000]).unwrap();
    let (r, took) = timed(|| c.receive(false).unwrap());
    report(&format!("the end of a body for a silent server: {} after {took:?}", r.status));
    assert_eq!(r.status, 503, "{}", r.text());
    assert_eq!(r.header("Retry-After"), Some("5"));
    // From the beginning.
    let (r, took) = timed(|| put(&world, &httpd, "alice", &at("new"), b"x"));
    report(&format!("a body for a silent server: {} after {took:?}", r.status));
    assert_eq!(r.status, 503);
    if common::afs_client() == "userspace" {
        assert!(took < Duration::from_secs(3 * FILE_DEADLINE_S), "{took:?}");
    }
    for method in ["DELETE", "MKCOL"] {
        let seen = status(&world, &httpd, "alice", method, &at("old"));
        // kAFS may still know that there is something of that name.
        let known = method == "MKCOL" && common::afs_client() == "kafs" && seen == 405;
        assert!(seen == 503 || known, "{method}: {seen}");
    }
    let r = put(&world, &httpd, "alice", &first(&format!("write/alice/beside-{}", std::process::id())), b"x");
    assert_eq!(r.status, 201, "another server");
    drop(stopped);
    // Each child finds out for itself that the server is back.
    let mut in_a_row = 0;
    wait::until_true("the server", Duration::from_secs(180), || {
        let r = get_as(&world, &httpd, &at("old"), "alice");
        assert!(r.status == 503 || r.text() == "as it was", "{} {}", r.status, r.text());
        in_a_row = if r.status == 200 { in_a_row + 1 } else { 0 };
        Ok(in_a_row == 10)
    })
    .unwrap();
    no_temporary("far/write");
    wait::until_true("writing", Duration::from_secs(180), || {
        Ok(put(&world, &httpd, "alice", &at("old"), b"afterwards").status == 204)
    })
    .unwrap();
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn two_who_write_at_once_leave_a_whole_file() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "race");
    let path = first(&format!("{dir}/file"));
    let rounds = if wait::slow_factor() > 1 { 3 } else { 12 };
    let (writers, makers) = (b'1'..b'5', b'1'..b'7');
    report(&format!("{} who write at once, {} who make a file", writers.len(), makers.len()));
    assert_eq!(put(&world, &httpd, "alice", &path, &vec![b'0'; 700_000]).status, 201);
    std::thread::scope(|s| {
        for who in writers {
            let (world, httpd, path) = (&world, &httpd, &path);
            s.spawn(move || {
                for _ in 0..rounds {
                    let body = vec![who; 700_000 + usize::from(who) * 100];
                    let r = put(world, httpd, "alice", path, &body);
                    assert_eq!(r.status, 204, "{}", r.text());
                }
            });
        }
        for _ in 0..rounds {
            // A file that is replaced while it is read breaks off, and is never a mixture.
            let r = get_as(&world, &httpd, &path, "bob");
            assert_eq!(r.status, 200, "{}", r.text());
            assert!(r.body.iter().all(|b| *b == r.body[0]), "a mixture");
        }
    });
    let r = get_as(&world, &httpd, &path, "alice");
    assert_eq!((r.status, r.complete), (200, true));
    assert!(r.body.iter().all(|b| *b == r.body[0]) && r.body.len() == 700_000 + usize::from(r.body[0]) * 100);
    assert_eq!(names(&dir), ["file"]);
    // Of those who make it at the same time, one does.
    let path = first(&format!("{dir}/once"));
    let made = AtomicU32::new(0);
    std::thread::scope(|s| {
        for who in makers.clone() {
            let (world, httpd, path, made) = (&world, &httpd, &path, &made);
            s.spawn(move || {
                let request = Request::new("PUT", path).header("If-None-Match", "*").body(&[who; 200_000]);
                let r = ask(world, httpd, "alice", request);
                assert!(matches!(r.status, 201 | 412), "{} {}", r.status, r.text());
                made.fetch_add(u32::from(r.status == 201), Ordering::Relaxed);
            });
        }
    });
    report(&format!("made by {} of {}", made.load(Ordering::Relaxed), makers.len()));
    assert!(made.load(Ordering::Relaxed) >= 1);
    no_temporary(&dir);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_large_file_is_put_whole() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "large");
    let path = first(&format!("{dir}/file"));
    // More than a child's whole cache.
    let size = if wait::slow_factor() > 1 { 12 << 20 } else { 80 << 20 };
    let body = integration::content::pattern(0, size);
    let (r, took) = timed(|| put(&world, &httpd, "alice", &path, &body));
    assert_eq!(r.status, 201, "{}", r.text());
    report(&format!("{} MiB in {took:?}", size >> 20));
    let r = get_as(&world, &httpd, &path, "alice");
    assert!(r.complete && r.body == body, "another body, {} bytes", r.body.len());
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &path), 204);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn collections_are_made_copied_moved_and_deleted_within_their_volume() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "tree");
    let at = |name: &str| first(&format!("{dir}/{name}"));
    let file = |name: &str, text: &str| {
        let status = put(&world, &httpd, "alice", &at(name), text.as_bytes()).status;
        assert!(matches!(status, 201 | 204), "{name}: {status}");
    };
    let body = |name: &str| get_as(&world, &httpd, &at(name), "alice").text();
    for name in ["a", "a/b"] {
        assert_eq!(status(&world, &httpd, "alice", "MKCOL", &at(name)), 201);
    }
    assert_eq!(status(&world, &httpd, "alice", "MKCOL", &at("a")), 405);
    assert_eq!(status(&world, &httpd, "alice", "MKCOL", &at("none/x")), 409);
    file("a/one", "1");
    file("a/b/two", "2");
    file("other", "other");
    assert_eq!(transfer(&world, &httpd, "alice", "COPY", &at("a"), &at("copy")), 201);
    assert_eq!((body("copy/one").as_str(), body("copy/b/two").as_str()), ("1", "2"));
    assert_eq!(transfer(&world, &httpd, "alice", "MOVE", &at("copy"), &at("moved")), 201);
    assert_eq!(body("moved/b/two"), "2");
    assert_eq!(get_as(&world, &httpd, &at("copy/one"), "alice").status, 404);
    // What is replaced.
    assert_eq!(transfer(&world, &httpd, "alice", "MOVE", &at("other"), &at("moved/one")), 204);
    assert_eq!(body("moved/one"), "other");
    assert_eq!(transfer(&world, &httpd, "alice", "MOVE", &at("moved/one"), &at("a")), 204);
    assert_eq!(body("a"), "other");
    assert_eq!(transfer(&world, &httpd, "alice", "MOVE", &at("moved"), &at("a")), 204);
    assert_eq!(body("a/b/two"), "2");
    // Another volume, on this server and on another one, with and without something there.
    file("a/b/two", "still here");
    for there in ["write/quota/moved", "far/write/moved"] {
        for _ in 0..2 {
            assert_eq!(
                transfer(&world, &httpd, "alice", "MOVE", &at("a/b/two"), &first(there)),
                502,
                "{there}"
            );
            assert_eq!(body("a/b/two"), "still here");
            let r = put(&world, &httpd, "alice", &first(there), b"there before");
            assert!(matches!(r.status, 201 | 204));
        }
        assert_eq!(get_as(&world, &httpd, &first(there), "alice").text(), "there before");
        assert_eq!(transfer(&world, &httpd, "alice", "MOVE", &at("a"), &first(there)), 502, "a collection");
        assert_eq!(get_as(&world, &httpd, &first(there), "alice").text(), "there before");
        assert_eq!(transfer(&world, &httpd, "alice", "COPY", &at("a"), &first(there)), 204, "a copy will do");
        assert_eq!(get_as(&world, &httpd, &first(&format!("{there}/b/two")), "alice").text(), "still here");
        assert_eq!(status(&world, &httpd, "alice", "DELETE", &first(there)), 204);
    }
    // Another cell, and another server.
    assert_eq!(transfer(&world, &httpd, "alice", "MOVE", &at("a"), &second("public/x")), 405, "no Dav there");
    let request = Request::new("MOVE", &at("a")).header("Destination", "http://elsewhere.example/x");
    assert!(ask(&world, &httpd, "alice", request).status >= 400);
    // Mount points stay where they are, and what is behind them is not touched.
    assert_eq!(put(&world, &httpd, "alice", &first("write/quota/behind"), b"behind").status, 201);
    let mounted = first("write/alice/mounted");
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &mounted), 403);
    assert_eq!(transfer(&world, &httpd, "alice", "MOVE", &mounted, &at("mounted")), 403);
    assert_eq!(transfer(&world, &httpd, "alice", "MOVE", &at("a"), &mounted), 403);
    assert_eq!(get_as(&world, &httpd, &first("write/alice/mounted/behind"), "alice").text(), "behind");
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &first("write/quota/behind")), 204);
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &first(&dir)), 204);
    assert!(!names("write/alice").iter().any(|n| dir.ends_with(n.as_str())));
    assert!(names("write/alice").iter().all(|n| !n.starts_with(TEMPORARY)));
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn links_are_not_written_through_and_lead_nowhere_outside() {
    let world = world();
    let httpd = start(&world, "");
    let at = |name: &str| first(&format!("write/alice/{name}"));
    assert_eq!(put(&world, &httpd, "alice", &at("link"), b"x").status, 403);
    // In a directory behind a link, the rights are those of that directory.
    assert_eq!(put(&world, &httpd, "alice", &at("linked/new"), b"x").status, 403);
    for (method, name) in [("PUT", "outside/new"), ("MKCOL", "outside/new"), ("DELETE", "outside/httpd")] {
        let r = ask(&world, &httpd, "alice", Request::new(method, &at(name)));
        assert!((403..=409).contains(&r.status), "{method} {name}: {}", r.status);
    }
    assert!(!std::path::Path::new("/srv/new").exists());
    let dir = own(&world, &httpd, "links");
    for name in ["link", "linked"] {
        assert_eq!(
            transfer(&world, &httpd, "alice", "COPY", &at(name), &first(&format!("{dir}/{name}"))),
            201
        );
        assert_eq!(
            status(&world, &httpd, "alice", "DELETE", &first(&format!("{dir}/{name}"))),
            204,
            "{name}"
        );
    }
    assert_eq!(names(&dir), Vec::<String>::new());
    assert_eq!(httpd.get(&first("public/page.html")).unwrap().status, 200, "what the links led to");
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn writing_is_off_until_the_administrator_turns_it_on() {
    let world = world();
    let httpd = start_with(&world, "<Location /afs/cell.example/write/bob>\nDav On\n</Location>", |mut o| {
        o.modules = vec!["dav".into(), "dav_fs".into()];
        o
    });
    let path = first("write/alice/never");
    for method in ["PUT", "DELETE", "MKCOL", "MOVE", "PROPFIND", "LOCK"] {
        assert_eq!(status(&world, &httpd, "alice", method, &path), 405, "{method}");
    }
    let said = std::fs::read_to_string(httpd.error_log()).unwrap();
    assert!(said.contains("`Dav afs` in this location would allow it"), "{said}");
    let r = put(&world, &httpd, "bob", &first("write/bob/never"), b"x");
    assert_eq!(r.status, 403);
    assert!(std::fs::read_to_string(httpd.error_log()).unwrap().contains("use Dav afs"));
    assert!(!names("write/alice").contains(&"never".to_owned()));
    assert!(!names("write/bob").contains(&"never".to_owned()));
    httpd.stop(&[]).unwrap();
    // Without mod_dav_lock there are no locks, and all else goes on.
    let dav = format!("<Location /afs/{FIRST_CELL}/write>\nDav afs\n</Location>");
    let httpd = start_with(&world, &dav, |mut o| {
        o.modules = vec!["dav".into()];
        o
    });
    let dir = own(&world, &httpd, "unlocked");
    let path = first(&format!("{dir}/file"));
    assert_eq!(put(&world, &httpd, "alice", &path, b"x").status, 201);
    assert_eq!(status(&world, &httpd, "alice", "LOCK", &path), 405);
    let r = ask(&world, &httpd, "alice", Request::new("OPTIONS", &path));
    assert_eq!((r.status, r.header("DAV")), (200, Some("1")), "{:?}", r.headers);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn properties_are_those_of_afs_and_none_can_be_set() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "props");
    let path = first(&format!("{dir}/page.html"));
    assert_eq!(put(&world, &httpd, "alice", &path, b"<p>five</p>").status, 201);
    let get = get_as(&world, &httpd, &path, "alice");
    let text = propfind(&world, &httpd, "alice", &path).text();
    let want = [
        "<D:getcontentlength>11</D:getcontentlength>".to_owned(),
        format!("<D:getetag>{}</D:getetag>", get.header("ETag").unwrap()),
        format!("<D:getlastmodified>{}</D:getlastmodified>", get.header("Last-Modified").unwrap()),
        "<D:getcontenttype>text/html</D:getcontenttype>".to_owned(),
    ];
    for want in want {
        assert!(text.contains(&want), "{want}: {text}");
    }
    let text = propfind(&world, &httpd, "alice", &first(&dir)).text();
    assert!(text.contains("<D:collection/>") && text.contains(&format!("{path}</D:href>")), "{text}");
    let set = "<?xml version=\"1.0\"?><D:propertyupdate xmlns:D=\"DAV:\"><D:set><D:prop>\
               <x:color xmlns:x=\"urn:x\">red</x:color></D:prop></D:set></D:propertyupdate>";
    let r = ask(&world, &httpd, "alice", Request::new("PROPPATCH", &path).body(set.as_bytes()));
    assert_eq!(r.status, 207);
    assert!(r.text().contains("HTTP/1.1 403"), "{}", r.text());
    // What a visitor may not list he does not see.
    assert_eq!(propfind(&world, &httpd, "carol", &first("write/alice")).status, 403);
    let r = httpd.request(&Request::new("PROPFIND", &first("write/alice")).header("Depth", "1")).unwrap();
    assert_eq!(r.status, 401);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn who_may_not_write_locks_nothing() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "locks");
    let path = first(&format!("{dir}/file"));
    assert_eq!(put(&world, &httpd, "alice", &path, b"1").status, 201);
    let body =
        b"<?xml version=\"1.0\"?><D:lockinfo xmlns:D=\"DAV:\"><D:lockscope><D:exclusive/></D:lockscope>\
                 <D:locktype><D:write/></D:locktype><D:owner>me</D:owner></D:lockinfo>";
    let lock = |user: &str, path: &str| ask(&world, &httpd, user, Request::new("LOCK", path).body(body));
    for path in [&path, &first(&format!("{dir}/new")), &first(&dir), &first("public/page.html")] {
        assert_eq!(lock("bob", path).status, 403, "{path}");
        let r = httpd.request(&Request::new("LOCK", path).body(body)).unwrap();
        assert_eq!(r.status, 401, "{path}");
    }
    let r = lock("alice", &path);
    assert_eq!(r.status, 200, "{}", r.text());
    let token = r.header("Lock-Token").unwrap().to_owned();
    assert_eq!(put(&world, &httpd, "alice", &path, b"2").status, 423);
    assert_eq!(put(&world, &httpd, "bob", &path, b"2").status, 423);
    let with = |user: &str, r: Request| ask(&world, &httpd, user, r.header("If", &format!("({token})")));
    assert_eq!(with("alice", Request::new("PUT", &path).body(b"3")).status, 204);
    let unlock =
        |user: &str| ask(&world, &httpd, user, Request::new("UNLOCK", &path).header("Lock-Token", &token));
    assert!(unlock("bob").status >= 400);
    assert_eq!(unlock("alice").status, 204);
    assert_eq!(put(&world, &httpd, "alice", &path, b"4").status, 204);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn pages_from_afs_can_be_put_into_a_sandbox() {
    let world = world();
    let httpd = start(
        &world,
        "<Location /afs/cell.example/public>\nAFSSandbox On\n</Location>\n\
         <Location /afs/cell.example/public/index>\nAFSSandbox \"sandbox allow-scripts; default-src 'self'\"\n</Location>\n\
         <Location /afs/cell.example/public/deep>\nAFSSandbox Off\n</Location>",
    );
    let policy = |path: &str| {
        let r = httpd.get(&first(path)).unwrap();
        assert!(r.all("Content-Security-Policy").len() <= 1, "{:?}", r.headers);
        r.header("Content-Security-Policy").map(str::to_owned)
    };
    let on = policy("public/page.html").unwrap();
    assert!(on.starts_with("sandbox ") && !on.contains("allow-same-origin"), "{on}");
    assert_eq!(policy("public/none.html"), Some(on));
    assert_eq!(policy("public/index/"), Some("sandbox allow-scripts; default-src 'self'".to_owned()));
    assert_eq!(policy("public/deep/er/page.txt"), None);
    assert_eq!(policy("index.html"), None);
    httpd.stop(&[]).unwrap();
}

/// What fails in litmus for want of properties that can be set, by section.
const KNOWN: [(&str, &[&str]); 5] = [
    ("basic", &[]),
    ("copymove", &[]),
    ("props", &["propset", "propmanyns", "propget"]),
    ("locks", &["owner_modify"]),
    ("http", &[]),
];

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn litmus_finds_nothing_but_that_properties_cannot_be_set() {
    let world = world();
    let httpd = start(&world, "");
    let cell = world.cell(FIRST_CELL).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let url = format!("http://{}{}", httpd.address(), first("write/alice/"));
    let out = Command::new("litmus")
        .args(["--keep-going", &url, "alice", password(cell, "alice")])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    let (mut section, mut unknown, mut summaries) = (String::new(), Vec::new(), 0);
    // A line is written over itself while its test runs.
    for line in said.lines().filter_map(|l| l.rsplit('\r').next()) {
        if let Some(name) = line.strip_prefix("-> running `").and_then(|l| l.strip_suffix("':")) {
            section = name.to_owned();
        }
        let known = KNOWN.iter().find(|(s, _)| *s == section).map_or(&[][..], |(_, known)| known);
        if line.contains(" FAIL") && !known.iter().any(|k| line.contains(&format!(" {k}."))) {
            unknown.push(format!("{section}: {line}"));
        }
        if line.starts_with("<- summary") || line.contains("WARNING") || line.contains(" FAIL") {
            report(&format!("[{}] {section}: {line}", common::afs_client()));
            summaries += u32::from(line.starts_with("<- summary"));
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}\n{said}");
    assert_eq!(summaries, 5, "{said}{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &first("write/alice/litmus")), 204);
    httpd.stop(&[]).unwrap();
}
