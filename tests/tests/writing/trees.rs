//! What is in collections: names of every kind, trees, links.

use crate::common::{ask, first, get_as, second, world};
use crate::{TEMPORARY, names, own, propfind, put, start, status, transfer, transferring};
use integration::content::NAMES;
use integration::http::{Request, escape};

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
    for (name, want) in [("n".repeat(256), 400), ("x@sys".to_owned(), 404), (format!("{TEMPORARY}x"), 403)] {
        let r = put(&world, &httpd, "alice", &first(&format!("{dir}/{name}")), b"x");
        assert_eq!(r.status, want, "{name}: {}", r.text());
    }
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
    let log = std::fs::read_to_string(httpd.error_log()).unwrap();
    let why = format!("AFS0702: MKCOL: {}: errno {}", at("none/x"), libc::ENOENT);
    assert!(log.contains(&why), "{why}");
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
    // Nor does what holds one go out of sight for something else.
    for (method, from) in [("COPY", "a"), ("COPY", "a/b/two"), ("MOVE", "a"), ("MOVE", "a/b/two")] {
        let to = first("write/alice/holds");
        let r = ask(&world, &httpd, "alice", transferring(&httpd, method, &at(from), &to));
        assert!(r.status == 207 && r.text().contains("holds/volume"), "{method} {from}: {}", r.text());
        assert_eq!(names("write/alice/holds"), ["beside", "volume"], "{method} {from}");
        assert_eq!(get_as(&world, &httpd, &at("a/b/two"), "alice").text(), "still here");
    }
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
fn a_collection_with_an_index_file_is_still_the_collection() {
    let world = world();
    let httpd =
        start(&world, "<Location /afs>\nFallbackResource /afs/cell.example/public/page.html\n</Location>");
    let dir = own(&world, &httpd, "index");
    let at = |name: &str| first(&format!("{dir}/{name}"));
    for name in ["site", "other"] {
        assert_eq!(status(&world, &httpd, "alice", "MKCOL", &at(name)), 201);
        let page = at(&format!("{name}/index.html"));
        assert_eq!(put(&world, &httpd, "alice", &page, name.as_bytes()).status, 201);
    }
    assert_eq!(get_as(&world, &httpd, &at("site/"), "alice").text(), "site");
    for name in ["site", "site/"] {
        let r = propfind(&world, &httpd, "alice", &at(name));
        assert_eq!(r.status, 207, "{name}: {}", r.text());
        assert!(
            r.text().contains("<D:collection/>") && r.text().contains("/site/index.html<"),
            "{}",
            r.text()
        );
        let r = ask(&world, &httpd, "alice", Request::new("OPTIONS", &at(name)));
        assert_eq!((r.status, r.header("DAV")), (200, Some("1,2")), "{name}: {:?}", r.headers);
    }
    assert_eq!(transfer(&world, &httpd, "alice", "COPY", &at("site/"), &at("other/")), 204);
    assert_eq!(names(&format!("{dir}/other")), ["index.html"]);
    assert_eq!(get_as(&world, &httpd, &at("other/"), "alice").text(), "site");
    assert_eq!(transfer(&world, &httpd, "alice", "MOVE", &at("other/"), &at("moved/")), 201);
    assert_eq!(names(&dir), ["moved", "site"]);
    assert_eq!(put(&world, &httpd, "alice", &at("site/"), b"x").status, 409);
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &at("site/")), 204);
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &at("moved")), 204);
    assert_eq!(names(&dir), Vec::<String>::new());
    httpd.stop(&[]).unwrap();
}
