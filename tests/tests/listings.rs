//! Listings of directories: ours with the user-space client, httpd's own with a client in the kernel, each as the visitor.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::keys::{Keys, identity};
use common::{
    FILE_DEADLINE_S, Stopped, afs_client, answer_limit, ask, first, first_line, get_as, peak_rss_kib, report,
    start_with, timed, world,
};
use integration::content::{NAMES, owner_line};
use integration::http::{Request, Response, escape};
use integration::httpd::Httpd;
use integration::world::{FIRST_CELL, PUBLISHER, World};
use integration::{seen, wait};
use std::net::Ipv4Addr;
use std::time::Duration;

/// An httpd that lists directories, whatever index files they have, and can be written to.
fn start(world: &World, more: &str) -> Httpd {
    let lists = format!(
        "<Directory /afs>\nOptions FollowSymLinks Indexes\nDirectoryIndex disabled\n</Directory>\n\
         <Location /afs/{FIRST_CELL}>\nDav afs\nIndexOptions FancyIndexing ShowForbidden NameWidth=*\n\
         IndexIgnore .??* *~ *# RCS CVS *,v *,t\n</Location>\n{more}"
    );
    start_with(world, &lists, |mut o| {
        o.modules.push("dav".into());
        o
    })
}

/// Whether listings are ours, not httpd's.
fn ours() -> bool {
    afs_client() == "userspace"
}

/// The targets of all links of a page, as they would be asked for.
fn links(page: &Response) -> Vec<String> {
    let page = page.text();
    let quoted = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    quoted.map(|link| link.replace("&amp;", "&")).collect()
}

/// The row of a listing that links to `link`; empty if there is none.
fn row(page: &Response, link: &str) -> String {
    let quoted = format!("href=\"{link}\"");
    page.text().lines().find(|l| l.contains(&quoted)).unwrap_or_default().to_owned()
}

/// Whether a row of a listing says when a file was changed.
fn has_date(row: &str) -> bool {
    row.contains(">20") || row.contains(" 20")
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn d58_a_listing_is_the_visitors_and_asks_for_login_where_afs_does() {
    let world = world();
    let httpd = start(&world, "");
    let dir = first("alice-only/");
    for _ in 0..3 {
        let r = httpd.get(&dir).unwrap();
        assert_eq!(r.status, 401, "{}", r.text());
        assert_eq!(
            r.header("WWW-Authenticate"),
            Some(format!("Basic realm=\"AFS cell {FIRST_CELL}\"").as_str())
        );
        let r = get_as(&world, &httpd, &dir, "alice");
        assert_eq!((r.status, r.header("Cache-Control")), (200, Some("private")), "{}", r.text());
        assert!(r.header("Vary").is_some_and(|v| v.contains("Authorization")), "{:?}", r.headers);
        assert!(links(&r).contains(&"page.html".to_owned()), "{}", r.text());
        let r = get_as(&world, &httpd, &dir, "bob");
        assert_eq!(r.status, 403);
        assert!(!r.text().contains("page.html"), "{}", r.text());
        assert_eq!(httpd.get_as(&dir, "alice", "wrong").unwrap().status, 401);
    }
    // Who may list but not read sees the names, also those of what asks him to log in.
    let r = httpd.get(&first("listed/")).unwrap();
    assert_eq!(r.status, 200, "{}", r.text());
    let anonymous = row(&r, "page.html");
    if ours() {
        assert!(!anonymous.is_empty() && !anonymous.contains("20"), "a name without a date: {}", r.text());
    }
    let r = httpd.get(&first("home/")).unwrap();
    assert_eq!(r.status, 200);
    for user in ["alice", "bob"] {
        assert!(r.text().contains(&format!("href=\"{user}/\"")), "{}", r.text());
    }
    // kAFS goes on saying that what nobody may read does not exist: see the next test.
    if afs_client() != "kafs" {
        let alices = row(&get_as(&world, &httpd, &first("listed/"), "alice"), "page.html");
        assert!(has_date(&alices), "a date: {alices}");
    }
    // Where alice asks first she sees it with every client, and so she does when others have asked.
    let dir = first("listed-alice-first/");
    for _ in 0..2 {
        let r = get_as(&world, &httpd, &dir, "alice");
        assert_eq!((r.status, r.header("Cache-Control")), (200, Some("private")));
        assert!(has_date(&row(&r, "page.html")), "{}", r.text());
        let r = get_as(&world, &httpd, &format!("{dir}page.html"), "alice");
        assert_eq!((r.status, first_line(&r)), (200, owner_line("alice", FIRST_CELL).trim_end().to_owned()));
        for r in [httpd.get(&dir).unwrap(), get_as(&world, &httpd, &dir, "bob")] {
            let shown = row(&r, "page.html");
            assert_eq!(r.status, 200);
            // Of what they may not read: the name, or what a kernel knows of it since she has asked (docs/admin.md).
            let seen = (!shown.is_empty(), has_date(&shown));
            let want = (true, !ours());
            assert_eq!(seen, want, "name, date: {}", r.text());
        }
        assert_eq!(httpd.get(&format!("{dir}page.html")).unwrap().status, 401);
        assert_eq!(get_as(&world, &httpd, &format!("{dir}page.html"), "bob").status, 403);
    }
    // And what everybody may see, everybody sees with all that is known of it, before anybody has logged in.
    let r = httpd.get(&first("public/list/")).unwrap();
    assert_eq!((r.status, r.header("Cache-Control")), (200, None));
    assert!(row(&r, "one.txt").contains("14"), "its size: {}", r.text());
    assert!(links(&r).contains(&"sub/".to_owned()), "a directory is marked: {}", r.text());
    httpd.stop(&["NoSuchDirective"]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn with_kafs_what_nobody_was_refused_first_stays_hidden_from_who_may_see_it() {
    let world = world();
    let httpd = start(&world, "");
    let dir = first("listed-nobody-first/");
    assert_eq!(httpd.get(&format!("{dir}page.html")).unwrap().status, 401);
    let nobodys = httpd.get(&dir).unwrap();
    assert_eq!(nobodys.status, 200);
    let listing = get_as(&world, &httpd, &dir, "alice");
    let page = get_as(&world, &httpd, &format!("{dir}page.html"), "alice");
    assert_eq!(listing.status, 200);
    // kAFS (Linux 6.1) tells whoever may only list that the file does not exist, and remembers that for all threads
    // (docs/admin.md). Where that is mended, here is what is then to be the same with every client.
    let is_there = afs_client() != "kafs";
    assert_eq!(has_date(&row(&listing, "page.html")), is_there, "{}", listing.text());
    // She is not told that she may not read it, which the ACL says she may.
    assert_eq!(page.status, if is_there { 200 } else { 503 });
    assert_eq!(get_as(&world, &httpd, &format!("{dir}page.html"), "bob").status, 403);
    // mod_autoindex passes over what it cannot look at.
    assert!(is_there || row(&nobodys, "page.html").is_empty(), "{}", nobodys.text());
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn d63_whatever_a_name_is_it_is_text_in_the_listing_and_its_link_leads_to_it() {
    let world = world();
    let httpd = start(&world, "");
    let dir = format!("write/alice/listing-{}", std::process::id());
    let at = |name: &str| format!("{}/{name}", first(&dir));
    let mkcol = |path: &str| ask(&world, &httpd, "alice", Request::new("MKCOL", path)).status;
    assert_eq!(mkcol(&first(&dir)), 201);
    // Directories with such names, and a name that is no text at all.
    let directory = "d <i>&amp; \"%41?x#y";
    assert_eq!(mkcol(&at(&escape(directory))), 201);
    for name in ["%FF%FEbytes", "javascript%3Aalert(1)", ".dotfile", "backup~"] {
        let r = ask(&world, &httpd, "alice", Request::new("PUT", &at(name)).body(name.as_bytes()));
        assert_eq!(r.status, 201, "{name}: {}", r.text());
    }
    let r = get_as(&world, &httpd, &format!("{}/", first(&dir)), "bob");
    assert_eq!(r.status, 200, "{}", r.text());
    let text = r.text();
    assert!(text.contains("d &lt;i&gt;&amp;amp; ") && !text.contains("<i>"), "{text}");
    assert!(!text.contains("dotfile") && !text.contains("backup"), "{text}");
    let found = links(&r);
    // Each by its link, which is relative, and no scheme of its own.
    for (has, body) in [("%fe", "%FF%FEbytes"), ("alert", "javascript%3Aalert(1)")] {
        let link = found.iter().find(|l| l.to_lowercase().contains(has)).expect(has);
        assert!(!link.starts_with("javascript:"), "{link}");
        let link = link.strip_prefix("./").unwrap_or(link);
        let r = get_as(&world, &httpd, &at(link), "bob");
        assert_eq!((r.status, r.text().as_str()), (200, body), "{link}");
    }
    let link = found.iter().find(|l| l.starts_with("d%20")).expect("the directory");
    assert!(link.ends_with('/'), "{link}");
    assert_eq!(get_as(&world, &httpd, &at(link), "bob").status, 200);
    // And what lies in the world.
    let r = httpd.get(&first("public/names/")).unwrap();
    let (text, found) = (r.text(), links(&r));
    assert!(!text.contains("<b>") && text.contains("&lt;b&gt;bold&amp;amp;.txt"), "{text}");
    // httpd takes no control characters in a URL.
    let names: Vec<&str> = NAMES.into_iter().filter(|n| !n.contains(|c: char| c.is_control())).collect();
    let bodies: Vec<String> = found
        .iter()
        .map(|link| httpd.get(&format!("{}{link}", first("public/names/"))).unwrap())
        .filter(|r| r.status == 200)
        .map(|r| r.text())
        .collect();
    for name in names {
        assert!(bodies.iter().any(|b| b.lines().nth(1) == Some(name)), "{name}: {bodies:?}");
    }
    if ours() {
        assert_eq!(r.header("Content-Type"), Some("text/html;charset=utf-8"));
        assert_eq!(r.header("Content-Security-Policy"), Some("default-src 'none'"));
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_listing_is_asked_for_by_head_and_by_conditions_and_changes_with_its_directory() {
    let world = world();
    let httpd = start(&world, "");
    let dir = format!("{}/", first(&format!("write/alice/again-{}", std::process::id())));
    assert_eq!(ask(&world, &httpd, "alice", Request::new("MKCOL", &dir)).status, 201);
    let put = |name: &str, body: &[u8]| {
        let request = Request::new("PUT", &format!("{dir}{name}")).body(body);
        assert!(ask(&world, &httpd, "alice", request).status < 300);
    };
    for name in ["b", "a", "B", "10", "9"] {
        put(name, b"x");
    }
    let get = get_as(&world, &httpd, &dir, "bob");
    assert_eq!(get.status, 200);
    let head = ask(&world, &httpd, "bob", Request::new("HEAD", &dir));
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("Content-Type"), get.header("Content-Type"));
    if ours() {
        let in_order: Vec<String> = links(&get).into_iter().skip(1).collect();
        assert_eq!(in_order, ["10", "9", "B", "a", "b"], "in the order of their bytes, behind the parent");
        assert_eq!(head.header("Content-Length"), get.header("Content-Length"));
        let etag = get.header("ETag").unwrap().to_owned();
        assert_eq!(head.header("ETag"), Some(etag.as_str()));
        let ask_if =
            |etag: &str| ask(&world, &httpd, "bob", Request::get(&dir).header("If-None-Match", etag));
        for _ in 0..10 {
            let r = get_as(&world, &httpd, &dir, "bob");
            assert!(r.body == get.body && r.header("ETag") == Some(&etag), "the same whoever serves it");
            assert_eq!(ask_if(&etag).status, 304);
        }
        put("a", b"another size");
        assert_eq!(ask_if(&etag).status, 200);
    }
    put("new", b"x");
    wait::until_true("the new name", Duration::from_secs(20), || {
        Ok(get_as(&world, &httpd, &dir, "bob").text().contains("href=\"new\""))
    })
    .unwrap();
    // Nothing else is done to a listing.
    for method in ["POST", "PATCH"] {
        let r = ask(&world, &httpd, "alice", Request::new(method, &dir).body(b"x"));
        assert!([403, 405].contains(&r.status), "{method}: {}", r.status);
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn options_decide_whether_directories_are_listed_and_links_are_followed() {
    let world = world();
    let more = format!(
        "<Directory /afs/{FIRST_CELL}/public>\nOptions -Indexes\n</Directory>\n\
         <Directory /afs/{FIRST_CELL}/public/deep>\nOptions +Indexes\n</Directory>\n"
    );
    let httpd = start(&world, &more);
    assert_eq!(httpd.get(&first("public/list/")).unwrap().status, 403);
    assert_eq!(httpd.get(&first("public/deep/")).unwrap().status, 200);
    assert_eq!(httpd.get(&first("public/deep")).unwrap().status, 301);
    let r = httpd.get(&first("links/")).unwrap();
    let found = links(&r);
    for link in ["inside", "directory/", "absolute", "other-cell"] {
        assert!(found.iter().any(|l| l == link), "{link}: {found:?}");
    }
    assert_eq!(found.iter().any(|l| l == "private"), ours(), "what he may not look at: {found:?}");
    // Nor is told what is known of this machine's own files.
    for link in ["outside", "up", "loop", "missing"] {
        assert!(!found.iter().any(|l| l.starts_with(link)), "{link}: {found:?}");
    }
    httpd.stop(&[]).unwrap();
    let httpd = start(
        &world,
        &format!("<Directory /afs/{FIRST_CELL}/links>\nOptions -FollowSymLinks\n</Directory>\n"),
    );
    let r = httpd.get(&first("links/")).unwrap();
    assert_eq!(r.status, 200);
    if ours() {
        assert_eq!(links(&r), ["../"], "{}", r.text());
    }
    for link in ["inside", "directory/"] {
        assert_eq!(httpd.get(&first(&format!("links/{link}"))).unwrap().status, 403, "{link}");
    }
    httpd.stop(&["symbolic link not allowed"]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_public_area_asks_nobody_for_a_password_and_shows_what_everybody_may_see() {
    let world = world();
    let area =
        |path: &str, login: &str| format!("<Location {}>\nAFSLogin {login}\n</Location>\n", first(path));
    let more = area("alice-only", "none") + &area("listed", "none") + &area("public", "required");
    let httpd = start(&world, &more);
    let ask_both =
        |path: &str| [httpd.get(&first(path)).unwrap(), get_as(&world, &httpd, &first(path), "alice")];
    for path in ["alice-only/", "alice-only/page.html", "listed/page.html"] {
        for r in ask_both(path) {
            assert_eq!((r.status, r.header("WWW-Authenticate")), (403, None), "{path}");
            assert!(!r.text().contains("owner: "), "{path}");
        }
    }
    for r in ask_both("listed/") {
        assert_eq!((r.status, r.header("Cache-Control")), (200, None), "everybody's");
        // What mod_autoindex shows of it depends on whether alice has asked on this machine: see above.
        assert!(!ours() || !row(&r, "page.html").is_empty(), "{}", r.text());
    }
    // And where everybody has to say who he is, also for a listing that everybody may see.
    let [nobodys, alices] = ask_both("public/list/");
    assert_eq!((nobodys.status, alices.status), (401, 200));
    assert!(nobodys.header("WWW-Authenticate").is_some());
    httpd.stop(&["NoSuchDirective"]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_listing_for_nobody_is_the_services_where_there_is_one() {
    let (world, keys) = (world(), Keys::new());
    let service = identity(PUBLISHER, &keys.srvtab(&world, PUBLISHER));
    let more = format!("<Location {}>\n{service}</Location>\n", first("published"));
    let httpd = start(&world, &more);
    let dir = first("published/");
    for _ in 0..3 {
        let r = httpd.get(&dir).unwrap();
        assert_eq!((r.status, r.header("Cache-Control")), (200, None), "{}", r.text());
        assert!(!row(&r, "page.html").is_empty(), "{}", r.text());
        // Who logs in is himself alone.
        assert_eq!(get_as(&world, &httpd, &dir, "alice").status, 403);
    }
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_directory_of_ten_thousand_names_is_listed_while_others_are_served() {
    let world = world();
    let httpd = start(&world, "");
    let count = 10_000;
    let path = format!("public/many-{}", std::process::id());
    let ((), took) = timed(|| seen::make_many(FIRST_CELL, &path, count).unwrap());
    report(&format!("{count} files were made in {took:?}"));
    let dir = first(&format!("{path}/"));
    let before = peak_rss_kib(&httpd);
    for round in 0..3 {
        std::thread::scope(|s| {
            let listing = s.spawn(|| timed(|| httpd.get(&dir).unwrap()));
            let mut slowest = Duration::ZERO;
            while !listing.is_finished() {
                let (r, took) = timed(|| get_as(&world, &httpd, &first("public/page.html"), "alice"));
                assert_eq!(r.status, 200);
                slowest = slowest.max(took);
            }
            let (r, took) = listing.join().unwrap();
            assert_eq!(r.status, 200);
            assert_eq!(links(&r).len(), count + 1);
            assert!(r.text().contains("href=\"09999.txt\""));
            report(&format!(
                "round {round}: {took:?}, {} bytes; others waited {slowest:?} at most",
                r.body.len()
            ));
            assert!(took < answer_limit(), "{took:?}");
            assert!(slowest < Duration::from_secs(3), "{slowest:?}");
        });
    }
    let grown = peak_rss_kib(&httpd).saturating_sub(before);
    report(&format!("memory grew by {grown} KiB"));
    assert!(grown < 64 * 1024, "{grown} KiB");
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_silent_server_costs_a_listing_its_details_and_not_its_names() {
    let world = world();
    let httpd = start(&world, "");
    let stopped = Stopped::server(&world, Ipv4Addr::new(192, 0, 2, 3));
    let (r, took) = timed(|| httpd.get(&first("")).unwrap());
    assert_eq!(r.status, 200);
    assert!(row(&r, "far").contains("<td></td>"), "{}", r.text());
    assert!(row(&r, "public/").contains(">20"), "{}", r.text());
    report(&format!("with a silent server: {took:?}"));
    assert!(took < Duration::from_secs(3 * FILE_DEADLINE_S), "{took:?}");
    drop(stopped);
    wait::until_true("the server", Duration::from_secs(180), || {
        Ok(links(&httpd.get(&first(""))?).contains(&"far/".to_owned()))
    })
    .unwrap();
    httpd.stop(&[]).unwrap();
}
