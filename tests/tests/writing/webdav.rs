//! What WebDAV has beyond files: properties, locks; Debian's litmus.

use crate::common::{afs_client, ask, dav_locks, first, get_as, password, report, world};
use crate::{LOCK, begin, lock, names, own, propfind, put, start, status};
use integration::http::Request;
use integration::world::FIRST_CELL;
use integration::{seen, wait};
use std::io::Read as _;
use std::process::Command;
use std::time::Duration;

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
    let lock = |user: &str, path: &str| lock(&world, &httpd, user, path);
    for path in [&path, &first(&format!("{dir}/new")), &first(&dir), &first("public/page.html")] {
        assert_eq!(lock("bob", path).status, 403, "{path}");
        let r = httpd.request(&Request::new("LOCK", path).body(LOCK)).unwrap();
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
fn who_may_change_nothing_in_a_part_of_a_collection_does_not_lock_the_whole() {
    let world = world();
    let httpd = start(&world, "");
    let at = |name: &str| first(&format!("write/shared/{name}"));
    let lock = |user: &str, path: &str| lock(&world, &httpd, user, path);
    assert_eq!(lock("alice", &at("")).status, 403);
    assert_eq!(put(&world, &httpd, "bob", &at("bob/file"), b"his own").status, 201);
    let r = lock("bob", &at(""));
    assert_eq!(r.status, 200, "{}", r.text());
    assert_eq!(put(&world, &httpd, "bob", &at("bob/file"), b"locked").status, 423);
    let token = r.header("Lock-Token").unwrap().to_owned();
    let unlock = Request::new("UNLOCK", &at("")).header("Lock-Token", &token);
    assert_eq!(ask(&world, &httpd, "bob", unlock).status, 204);
    assert_eq!(put(&world, &httpd, "bob", &at("bob/file"), b"no longer").status, 204);
    assert_eq!(status(&world, &httpd, "bob", "DELETE", &at("bob/file")), 204);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_lock_is_off_also_where_its_holder_could_not_see_when_he_took_it_off() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "hidden");
    let at = |name: &str| first(&format!("{dir}/{name}"));
    let file = at("part/file");
    assert_eq!(status(&world, &httpd, "alice", "MKCOL", &at("part")), 201);
    let alice = |r: Request| ask(&world, &httpd, "alice", r);
    let put = |body: &[u8]| alice(Request::new("PUT", &file).body(body)).status;
    let put_by = |token: &str| {
        alice(Request::new("PUT", &file).header("If", &format!("({token})")).body(b"by a token")).status
    };
    assert_eq!(put(b"1"), 201);
    let shared = String::from_utf8_lossy(LOCK).replace("exclusive", "shared");
    let lock = |path: &str, body: &[u8]| {
        let r = alice(Request::new("LOCK", path).body(body));
        assert_eq!(r.status, 200, "{path}: {}", r.text());
        r.header("Lock-Token").unwrap().to_owned()
    };
    let unlock =
        |path: &str, token: &str| alice(Request::new("UNLOCK", path).header("Lock-Token", token)).status;
    let part = format!("{dir}/part");
    let hidden = |f: &dyn Fn()| {
        seen::allow(FIRST_CELL, &part, &[("bob", "rl")]).unwrap();
        assert_eq!(get_as(&world, &httpd, &file, "alice").status, 403);
        f();
        seen::allow(FIRST_CELL, &part, &[("alice", "rlidwk")]).unwrap();
    };
    let whole = lock(&at(""), LOCK);
    assert_eq!(put(b"2"), 423);
    hidden(&|| assert_eq!(unlock(&at(""), &whole), 204));
    let r = propfind(&world, &httpd, "alice", &file);
    assert!(r.status == 207 && !r.text().contains("activelock"), "{} {}", r.status, r.text());
    assert_eq!(put(b"3"), 204);
    assert_eq!(get_as(&world, &httpd, &file, "alice").text(), "3");
    // Another lock of the file holds meanwhile, and can be refreshed and taken off.
    let (own, whole) = (lock(&file, shared.as_bytes()), lock(&at(""), shared.as_bytes()));
    hidden(&|| assert_eq!(unlock(&at(""), &whole), 204));
    let r = propfind(&world, &httpd, "alice", &file);
    assert_eq!(r.text().matches("<D:activelock>").count(), 1, "{}", r.text());
    assert_eq!((put(b"4"), put_by(&whole), put_by(&own)), (423, 412, 204));
    let r =
        alice(Request::new("LOCK", &file).header("If", &format!("({own})")).header("Timeout", "Second-600"));
    assert_eq!(r.status, 200, "{}", r.text());
    assert_eq!((put(b"5"), unlock(&file, &own), put(b"6")), (423, 204, 204));
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &first(&dir)), 204);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_lock_of_a_collection_holds_for_its_members_as_long_as_it_was_refreshed_to() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "refreshed");
    let file = first(&format!("{dir}/file"));
    let alice = |r: Request| ask(&world, &httpd, "alice", r);
    let put = || alice(Request::new("PUT", &file).body(b"x")).status;
    assert_eq!(put(), 201);
    let lock = Request::new("LOCK", &first(&dir));
    let r = alice(lock.clone().header("Timeout", "Second-2").body(LOCK));
    assert_eq!(r.status, 200, "{}", r.text());
    let token = format!("({})", r.header("Lock-Token").unwrap());
    let refresh = |timeout: &str| {
        let r = alice(lock.clone().header("If", &token).header("Timeout", timeout));
        assert!(r.status == 200 && r.text().contains(timeout), "{} {}", r.status, r.text());
    };
    refresh("Second-600");
    // Longer than it was to last at first.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(put(), 423);
    refresh("Second-2");
    wait::until_true("the end of a lock", Duration::from_secs(20), || match put() {
        423 => Ok(false),
        204 => Ok(true),
        other => panic!("{other}"),
    })
    .unwrap();
    let r = propfind(&world, &httpd, "alice", &file);
    assert!(r.status == 207 && !r.text().contains("activelock"), "{} {}", r.status, r.text());
    // What is left of those that ended goes when another one comes.
    for n in 0..8 {
        let r = alice(lock.clone().header("Timeout", "Second-1").body(LOCK));
        assert_eq!(r.status, 200, "{n}: {}", r.text());
        std::thread::sleep(Duration::from_millis(1_100));
    }
    let key = first(&dir);
    let files = std::fs::read_dir(dav_locks().parent().unwrap()).unwrap().flat_map(|of_one| {
        std::fs::read_dir(of_one.unwrap().path())
            .unwrap()
            .map(|file| std::fs::read(file.unwrap().path()).unwrap())
    });
    let kept: usize =
        files.map(|bytes| bytes.windows(key.len()).filter(|part| *part == key.as_bytes()).count()).sum();
    assert!(kept < 8, "{kept}");
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &first(&dir)), 204);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_lock_that_has_ended_does_not_stand_in_the_way_of_one_that_holds() {
    let world = world();
    let httpd = start(&world, "");
    let file = first(&format!("{}/file", own(&world, &httpd, "ended")));
    let alice = |r: Request| ask(&world, &httpd, "alice", r);
    assert_eq!(alice(Request::new("PUT", &file).body(b"1")).status, 201);
    let shared = String::from_utf8_lossy(LOCK).replace("exclusive", "shared");
    let lock = |timeout: &str| {
        let r = alice(Request::new("LOCK", &file).header("Timeout", timeout).body(shared.as_bytes()));
        assert_eq!(r.status, 200, "{}", r.text());
        format!("({})", r.header("Lock-Token").unwrap())
    };
    let (long, short) = (lock("Second-600"), lock("Second-2"));
    std::thread::sleep(Duration::from_secs(4));
    let put = |token: &str| {
        let r = alice(Request::new("PUT", &file).header("If", token).body(b"2"));
        (r.status, r.text())
    };
    assert_eq!(put(&long).0, 204, "{:?}", put(&long));
    assert_eq!(put(&short).0, 412);
    assert_eq!(alice(Request::new("PUT", &file).body(b"3")).status, 423);
    let r = propfind(&world, &httpd, "alice", &file);
    assert_eq!(r.text().matches("<D:activelock>").count(), 1, "{}", r.text());
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_lock_that_comes_while_the_body_of_a_delete_is_late_holds() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "late");
    let at = |name: &str| first(&format!("{dir}/{name}"));
    assert_eq!(status(&world, &httpd, "alice", "MKCOL", &at("c")), 201);
    assert_eq!(put(&world, &httpd, "alice", &at("c/one"), b"1").status, 201);
    let mut c = begin(&world, &httpd, "DELETE", &at("c"), "Content-Length: 4\r\nExpect: 100-continue", b"");
    // httpd says so when mod_dav asks for the body; what is in the collection has been looked up before.
    let mut word = *b"HTTP/1.1 100 Continue\r\n\r\n";
    c.socket().read_exact(&mut word).unwrap();
    assert!(word.starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&word));
    assert_eq!(put(&world, &httpd, "alice", &at("c/two"), b"2").status, 201);
    let lock = lock(&world, &httpd, "alice", &at("c/two"));
    assert_eq!(lock.status, 200, "{}", lock.text());
    // So long at least it is as good as new.
    std::thread::sleep(Duration::from_secs(1));
    c.send_raw(b"body").unwrap();
    let r = c.receive(false).unwrap();
    assert!(r.status == 424 && r.text().contains("423 Locked"), "{} {}", r.status, r.text());
    assert_eq!(names(&format!("{dir}/c")), ["one", "two"]);
    let unlock =
        Request::new("UNLOCK", &at("c/two")).header("Lock-Token", lock.header("Lock-Token").unwrap());
    assert_eq!(ask(&world, &httpd, "alice", unlock).status, 204);
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &at("c")), 204);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn an_etag_in_an_if_header_is_a_condition_also_where_nothing_is() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "if");
    let at = |name: &str| first(&format!("{dir}/{name}"));
    assert_eq!(put(&world, &httpd, "alice", &at("file"), b"x").status, 201);
    let to = format!("http://localhost:{}{}", httpd.address().port(), at("copy"));
    let host = format!("localhost:{}", httpd.address().port());
    let with = |method: &str, name: &str, condition: &str| {
        let request = Request::new(method, &at(name)).header("Host", &host).header("If", condition);
        let request = match method {
            "PUT" => request.body(b"y"),
            "COPY" => request.header("Destination", &to),
            _ => request,
        };
        ask(&world, &httpd, "alice", request).status
    };
    for method in ["PUT", "MKCOL"] {
        assert_eq!(with(method, "new", "([\"x\"])"), 412, "{method}");
        assert_eq!(with(method, "new", "([W/\"x\"])"), 412, "{method}");
        assert_eq!(
            with(method, "new", "(<opaquelocktoken:00000000-0000-0000-0000-000000000000> [\"x\"])"),
            412,
            "{method}"
        );
    }
    assert_eq!(with("COPY", "file", "([\"x\"])"), 412);
    let there = get_as(&world, &httpd, &at("file"), "alice");
    let both = format!("<{}> (Not [\"x\"])", to);
    assert_eq!(with("COPY", "file", &both), 201);
    assert_eq!(with("PUT", "new", "(Not [\"x\"])"), 201);
    assert_eq!(with("PUT", "file", &format!("([{}])", there.header("ETag").unwrap())), 204);
    // Nobody, too; and he has no collection gone through for a condition.
    let copied = first("write/alice/");
    let copy = Request::new("COPY", &copied).header("Host", &host).header("Destination", &to);
    assert_eq!(httpd.request(&copy.header("If", "(Not [\"x\"])")).unwrap().status, 401);
    let r = httpd.request(&Request::new("PUT", &first("none")).header("If", "([\"x\"])").body(b"x")).unwrap();
    assert_eq!(r.status, 412);
    let log = std::fs::read_to_string(httpd.error_log()).unwrap();
    assert!(!log.contains("exit signal"), "{log}");
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn where_no_access_file_is_read_who_may_not_look_into_a_collection_is_told_so() {
    let world = world();
    let place = format!("/afs/{FIRST_CELL}");
    let httpd = start(&world, &format!("<Directory {place}>\nAllowOverride None\n</Directory>"));
    let dir = own(&world, &httpd, "closed");
    for path in [first("write/alice/"), first(&format!("{dir}/")), first("home/alice/")] {
        assert_eq!(propfind(&world, &httpd, "carol", &path).status, 403, "{path}");
        assert_eq!(propfind(&world, &httpd, "alice", &path).status, 207, "{path}");
        for method in ["PROPFIND", "DELETE"] {
            let r = httpd.request(&Request::new(method, &path).header("Depth", "infinity")).unwrap();
            assert_eq!(r.status, 401, "{method} {path}: {}", r.text());
        }
        assert_eq!(status(&world, &httpd, "carol", "DELETE", &path), 403, "{path}");
    }
    // Whoever may only look has nothing gone through.
    let r = httpd.request(&Request::new("DELETE", &first("public/"))).unwrap();
    assert_eq!(r.status, 401, "{}", r.text());
    httpd.stop(&[]).unwrap();
}

/// Litmus's sections: how many of its tests run, and which of them fail for want of properties that can be set.
const SECTIONS: [(&str, u32, &[&str]); 5] = [
    ("basic", 16, &[]),
    ("copymove", 13, &[]),
    ("props", 14, &["propset", "propmanyns", "propget"]),
    ("locks", 41, &["owner_modify", "owner_modify", "owner_modify"]),
    ("http", 4, &[]),
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
    let (mut section, mut failed, mut done) = ("", Vec::new(), Vec::new());
    // A line is written over itself while its test runs.
    for line in said.lines().filter_map(|l| l.rsplit('\r').next()) {
        if let Some(name) = line.strip_prefix("-> running `").and_then(|l| l.strip_suffix("':")) {
            section = name;
        }
        let summary = line.strip_prefix("<- summary").and_then(|l| l.split_once("': of ")?.1.split_once(' '));
        let fails = line.contains(" FAIL");
        if fails {
            // Such as ` 6. propset............... FAIL (why)`.
            let name = line.split_once(". ").map_or(line, |(_, rest)| rest);
            failed.push(name.split('.').next().unwrap_or(name));
        }
        if summary.is_some() || fails || line.contains("WARNING") {
            report(&format!("[{}] {section}: {line}", afs_client()));
        }
        if let Some((ran, _)) = summary {
            done.push((section, ran.parse().unwrap(), std::mem::take(&mut failed)));
        }
    }
    let want = SECTIONS.map(|(section, ran, failed)| (section, ran, failed.to_vec()));
    assert_eq!(done, want, "{said}{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &first("write/alice/litmus")), 204);
    httpd.stop(&[]).unwrap();
}
