//! Nothing is written unasked: the administrator's switch, pages of other sites, the sandbox.

use crate::common::{ask, first, start_with, world};
use crate::{names, own, put, start, status};
use integration::http::Request;
use integration::seen;
use integration::world::FIRST_CELL;

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
    // mod_dav would call a function of the locks that it has not; whoever asks, and wherever.
    let with = |method: &str, condition: &str| Request::new(method, &path).header("If", condition);
    for (method, not_met, broken) in [("PUT", 412, 400), ("DELETE", 412, 400), ("MKCOL", 405, 405)] {
        let r = ask(&world, &httpd, "alice", with(method, "(<opaquelocktoken:1>)"));
        assert_eq!(r.status, not_met, "{method}");
        let nobody = httpd.request(&with(method, "(<opaquelocktoken:1>)")).unwrap().status;
        assert!([401, 405, 412].contains(&nobody), "{method}: {nobody}");
        assert_eq!(ask(&world, &httpd, "alice", with(method, "(<a")).status, broken, "{method}");
    }
    let tagged = format!("<http://localhost:{}{path}> (Not <DAV:no-lock>)", httpd.address().port());
    let host = format!("localhost:{}", httpd.address().port());
    let r = ask(&world, &httpd, "alice", with("PUT", &tagged).header("Host", &host).body(b"y"));
    assert_eq!(r.status, 204);
    assert_eq!(ask(&world, &httpd, "alice", with("DELETE", "(Not <DAV:no-lock>)")).status, 204);
    let log = std::fs::read_to_string(httpd.error_log()).unwrap();
    assert!(!log.contains("exit signal"), "{log}");
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
    let on = policy("public/page.html");
    assert!(
        on.as_deref().is_some_and(|p| p.starts_with("sandbox ") && !p.contains("allow-same-origin")),
        "{on:?}"
    );
    assert_eq!(policy("public/none.html"), on);
    assert_eq!(policy("public/index/"), Some("sandbox allow-scripts; default-src 'self'".to_owned()));
    assert_eq!(policy("public/deep/er/page.txt"), None);
    assert_eq!(policy("index.html"), None);
    // Browsers apply what comes with a 304 to the page that they have kept from before there was a sandbox.
    let page = Request::get(&first("public/page.html"));
    let etag = httpd.request(&page).unwrap().header("ETag").unwrap().to_owned();
    let r = httpd.request(&page.header("If-None-Match", &etag)).unwrap();
    assert_eq!((r.status, r.header("Content-Security-Policy")), (304, on.as_deref()));
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn whoever_may_write_htaccess_does_not_get_his_pages_out_of_the_sandbox() {
    let world = world();
    let place = format!("/afs/{FIRST_CELL}/write/anybody");
    let more = format!(
        "<Location {place}>\nDav afs\nAFSSandbox On\n</Location>\n\
         <Directory {place}>\nAllowOverride All\nOptions All\n</Directory>\n"
    );
    let httpd = start_with(&world, &more, |mut o| {
        o.modules.extend(["dav", "headers", "filter", "rewrite"].map(str::to_owned));
        o
    });
    let dir = format!("write/anybody/sub/sandbox-{}", std::process::id());
    let at = |name: &str| first(&format!("{dir}/{name}"));
    assert_eq!(ask(&world, &httpd, "bob", Request::new("MKCOL", &first(&dir))).status, 201);
    assert_eq!(put(&world, &httpd, "bob", &at("page.html"), b"<script>").status, 201);
    let lines = "Header always unset Content-Security-Policy\nHeader unset Content-Security-Policy\n\
                 Header always edit* Content-Security-Policy . \"\"\nHeader always set X-Mine yes\n\
                 Header always append Content-Security-Policy \"sandbox allow-same-origin\"\n\
                 FilterDeclare late CONTENT_SET\nFilterProvider late FIXUP_HEADERS_OUT \"true\"\nFilterChain late\n\
                 SetOutputFilter FIXUP_HEADERS_OUT;FIXUP_HEADERS_ERR\n\
                 RewriteEngine On\nRewriteRule ^moved$ page.html\n\
                 ErrorDocument 404 \"<script>absent</script>\"\nErrorDocument 405 /afs/cell.example/";
    let lines = format!("{lines}{dir}/page.html\n");
    seen::change(FIRST_CELL, &format!("{dir}/.htaccess"), &lines).unwrap();
    let part = Request::get(&at("page.html")).header("Range", "bytes=0-3");
    for (request, wanted, begins) in [
        (Request::get(&at("page.html")), 200, "<script>"),
        (Request::new("HEAD", &at("page.html")), 200, ""),
        (part, 206, "<scr"),
        (Request::get(&at("moved")), 200, "<script>"),
        (Request::get(&at("absent")), 404, "<script>absent"),
        (Request::new("POST", &at("page.html")), 405, "<script>"),
    ] {
        let r = ask(&world, &httpd, "alice", request);
        let said = format!("{} {:?} {}", r.status, r.headers, r.text());
        assert!(r.status == wanted && r.text().starts_with(begins), "{said}");
        assert_eq!(r.header("X-Mine"), Some("yes"), "his lines count: {said}");
        // Browsers keep to each of several policies, so another one takes nothing away.
        let ours = |policy: &&&str| policy.starts_with("sandbox allow-downloads");
        assert_eq!(r.all("Content-Security-Policy").iter().filter(ours).count(), 1, "{said}");
    }
    httpd.stop(&[]).unwrap();
}
