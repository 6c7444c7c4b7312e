//! Who writes, by which rights of the ACL.

use crate::common::keys::{Keys, identity};
use crate::common::{first, get_as, password, world};
use crate::{names, own, put, start, status, transfer};
use integration::http::{Connection, Request};
use integration::seen;
use integration::world::{FIRST_CELL, PUBLISHER};

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
    // By a COPY as by a PUT.
    let copied =
        transfer(&world, &httpd, "alice", "COPY", &first("public/page.html"), &at("in-place", "file.txt"));
    assert_eq!(copied, 204);
    let page = httpd.get(&first("public/page.html")).unwrap().body;
    assert_eq!(get_as(&world, &httpd, &at("in-place", "file.txt"), "alice").body, page);
    assert_eq!(put(&world, &httpd, "alice", &at("in-place", "file.txt"), &body(300_001)).status, 204);
    let r = get_as(&world, &httpd, &at("in-place", "file.txt"), "alice");
    assert_eq!((r.status, r.body), (200, body(300_001)));
    // Who may do both, but not delete.
    assert_eq!(put(&world, &httpd, "alice", &at("no-delete", "file.txt"), b"changed").status, 204);
    assert_eq!(put(&world, &httpd, "alice", &at("no-delete", &new), b"new").status, 201);
    assert_eq!(get_as(&world, &httpd, &at("no-delete", "file.txt"), "alice").text(), "changed");
    assert_eq!(get_as(&world, &httpd, &at("no-delete", &new), "alice").text(), "new");
    for dir in ["insert", "no-delete"] {
        let mut seen = names(&format!("write/{dir}"));
        // What this test has put under another MPM.
        seen.retain(|name| !name.starts_with("new-") || *name == new);
        assert_eq!(seen, ["file.txt", &new], "{dir}");
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn who_writes_by_a_group_replaces_files_and_who_is_not_in_it_leaves_nothing() {
    let world = world();
    let httpd = start(&world, "");
    let bob = 1_002;
    for (dir, may_insert) in [("group", false), ("drop", true)] {
        let at = |name: &str| first(&format!("write/{dir}/{name}"));
        let new = |user: &str| format!("{user}-{}", std::process::id());
        // Dave is not in the group.
        let want = if may_insert { 201 } else { 403 };
        assert_eq!(put(&world, &httpd, "dave", &at(&new("dave")), b"dave's").status, want, "{dir}");
        assert_eq!(put(&world, &httpd, "dave", &at("file.txt"), b"dave's").status, 403, "{dir}");
        for _ in 0..2 {
            let r = put(&world, &httpd, "bob", &at("file.txt"), b"bob's");
            assert_eq!(r.status, 204, "{dir}: {}", r.text());
        }
        assert_eq!(put(&world, &httpd, "bob", &at(&new("bob")), b"bob's").status, 201, "{dir}");
        let mut seen = seen::directory(FIRST_CELL, &format!("write/{dir}")).unwrap();
        let others = |name: &str| ["bob", "dave"].iter().any(|u| name.starts_with(&format!("{u}-")));
        seen.retain(|s| !others(&s.name) || [new("bob"), new("dave")].contains(&s.name));
        let owners: Vec<_> = seen.iter().map(|s| (s.name.as_str(), s.owner)).collect();
        // The file is another one than before, since it was replaced in one step.
        let (bobs, daves) = (new("bob"), new("dave"));
        let mut want = vec![(bobs.as_str(), bob), ("file.txt", bob)];
        if may_insert {
            want.insert(1, (daves.as_str(), 1_005));
        }
        assert_eq!(owners, want, "{dir}");
        assert_eq!(get_as(&world, &httpd, &at("file.txt"), "bob").text(), "bob's");
        assert_eq!(status(&world, &httpd, "bob", "DELETE", &at(&new("bob"))), 204, "{dir}");
    }
    httpd.stop(&[]).unwrap();
}
