//! Who may change a directory leads nobody else's DELETE, COPY or MOVE elsewhere by links in it.

use crate::common::{ask, first, get_as, timed, world};
use crate::{lock, names, own, put, start, status, transfer};
use integration::http::Request;
use integration::seen::{self, Swap};
use integration::wait;
use integration::world::FIRST_CELL;
use std::time::Duration;

/// A walk through a few collections takes no longer, in whatever load.
const QUICK: Duration = Duration::from_secs(20);

/// Files in a directory.
const MANY: usize = 300;
/// In one that is removed: so many that it can be swapped meanwhile.
const MORE: usize = 1_500;

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_directory_that_is_swapped_for_a_link_leads_delete_and_copy_nowhere() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "swapped");
    let at = |name: &str| format!("{dir}/{name}");
    for name in ["shared", "copies"] {
        assert_eq!(status(&world, &httpd, "alice", "MKCOL", &first(&at(name))), 201);
    }
    for (name, count) in [("mine", MANY), ("shared/x", MANY), ("shared/y", MORE)] {
        seen::make_many(FIRST_CELL, &at(name), count).unwrap();
    }
    let secret = format!("mine/{:05}.txt", MANY - 1);
    assert_eq!(put(&world, &httpd, "alice", &first(&at(&secret)), b"secret").status, 204);
    let swap = |watched, path: &str, f: &dyn Fn() -> u16| {
        let moved = at(&format!("moved-{}", path.replace('/', "-")));
        let (watched, path) = (at(watched), at(path));
        Swap { watched: &watched, path: &path, moved: &moved, target: "../mine" }
            .during(FIRST_CELL, f)
            .unwrap()
    };
    let copied = swap("copies", "shared/x", &|| {
        transfer(&world, &httpd, "alice", "COPY", &first(&at("shared/x")), &first(&at("copies/of-x")))
    });
    let r = get_as(&world, &httpd, &first(&at(&secret.replace("mine", "copies/of-x"))), "alice");
    assert_ne!(r.text(), "secret", "{copied}");
    let deleted =
        swap("shared/y", "shared/y", &|| status(&world, &httpd, "alice", "DELETE", &first(&at("shared"))));
    assert_eq!(names(&at("mine")).len(), MANY, "{deleted}");
    assert_eq!(get_as(&world, &httpd, &first(&at(&secret)), "alice").text(), "secret");
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &first(&dir)), 204);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_collection_under_two_paths_is_not_put_in_the_place_of_itself() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "alias");
    let at = |name: &str| first(&format!("{dir}/{name}"));
    for name in ["d", "d/dir"] {
        assert_eq!(status(&world, &httpd, "alice", "MKCOL", &at(name)), 201);
    }
    assert_eq!(put(&world, &httpd, "alice", &at("d/dir/file"), b"still here").status, 201);
    seen::link(FIRST_CELL, &format!("{dir}/l"), "d").unwrap();
    for (from, to) in
        [("l/dir", "d/dir"), ("d/dir", "l/dir"), ("l/dir/file", "d/dir"), ("l/dir", "d"), ("d", "l/dir/new")]
    {
        for method in ["COPY", "MOVE"] {
            assert_eq!(
                transfer(&world, &httpd, "alice", method, &at(from), &at(to)),
                403,
                "{method} {from} {to}"
            );
            assert_eq!(
                get_as(&world, &httpd, &at("d/dir/file"), "alice").text(),
                "still here",
                "{method} {from} {to}"
            );
        }
    }
    assert_eq!(names(&format!("{dir}/d")), ["dir"]);
    assert_eq!(names(&format!("{dir}/d/dir")), ["file"]);
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &first(&dir)), 204);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn links_in_a_collection_are_named_and_not_gone_through() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "links-walk");
    let at = |name: &str| first(&format!("{dir}/{name}"));
    assert_eq!(status(&world, &httpd, "alice", "MKCOL", &at("c")), 201);
    assert_eq!(put(&world, &httpd, "alice", &at("c/file"), b"text").status, 201);
    for (name, target) in
        [("one", "."), ("two", "."), ("up", ".."), ("all", "/afs"), ("public", "../../../../public")]
    {
        seen::link(FIRST_CELL, &format!("{dir}/c/{name}"), target).unwrap();
    }
    let quick = |what: &str, f: &dyn Fn() -> u16| {
        let (status, took) = timed(f);
        assert!(took < QUICK * wait::slow_factor(), "{what}: {took:?}");
        status
    };
    let all = Request::new("PROPFIND", &at("c/")).header("Depth", "infinity");
    quick("PROPFIND", &|| {
        let r = ask(&world, &httpd, "alice", all.clone());
        let text = r.text();
        let found = text.matches("<D:response>").count() + text.matches("<D:response ").count();
        assert_eq!((r.status, found), (207, 7), "the collection and its six members: {text}");
        r.status
    });
    // Of what links lead to, nothing is locked, and no right is asked.
    let lock = lock(&world, &httpd, "alice", &at("c/"));
    assert_eq!(lock.status, 200, "{}", lock.text());
    let unlock = Request::new("UNLOCK", &at("c/")).header("Lock-Token", lock.header("Lock-Token").unwrap());
    assert_eq!(quick("UNLOCK", &|| ask(&world, &httpd, "alice", unlock.clone()).status), 204);
    assert_eq!(quick("MOVE", &|| transfer(&world, &httpd, "alice", "MOVE", &at("c"), &at("moved"))), 201);
    assert_eq!(quick("COPY", &|| transfer(&world, &httpd, "alice", "COPY", &at("moved"), &at("c"))), 201);
    assert_eq!(quick("COPY", &|| transfer(&world, &httpd, "alice", "COPY", &at("moved"), &at("c"))), 204);
    assert_eq!(names(&format!("{dir}/c")), ["all", "file", "one", "public", "two", "up"]);
    for name in ["c", "moved"] {
        assert_eq!(quick("DELETE", &|| status(&world, &httpd, "alice", "DELETE", &at(name))), 204);
    }
    assert_eq!(names(&dir), Vec::<String>::new());
    assert_eq!(httpd.get(&first("public/page.html")).unwrap().status, 200, "what a link led to");
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &first(&dir)), 204);
    httpd.stop(&[]).unwrap();
}
