//! What WebDAV has beyond files: properties, locks; Debian's litmus.

use crate::common::{afs_client, ask, first, get_as, password, report, world};
use crate::{own, propfind, put, start, status};
use integration::http::Request;
use integration::world::FIRST_CELL;
use std::process::Command;

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
            report(&format!("[{}] {section}: {line}", afs_client()));
            summaries += u32::from(line.starts_with("<- summary"));
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}\n{said}");
    assert_eq!(summaries, 5, "{said}{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &first("write/alice/litmus")), 204);
    httpd.stop(&[]).unwrap();
}
