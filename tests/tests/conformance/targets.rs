//! What is asked for: files, directories and links of each kind, and URLs of each form (RFC 9112, section 3.2).

use crate::row::{Body, Row, ask, first, get, raw, second};
use integration::content::{NAMES, PUBLIC_LINE};
use integration::http::escape;

/// Of links that leave AFS.
const OUT: &str = "a client in the kernel would follow it out of AFS, which is refused; to the user-space client nothing is there";

/// A GET of a target that is sent as it is, whatever is in it.
fn odd(name: &str, target: &[u8]) -> Row {
    let bytes = [b"GET ", target, b" HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat();
    raw(name, bytes)
}

pub(crate) fn rows() -> Vec<Row> {
    [acls(), places(), directories(), links(), forms(), names()].concat()
}

/// Who may read what, by the ACL alone.
fn acls() -> Vec<Row> {
    let mut rows = Vec::new();
    // Path, nobody, alice, bob, dave.
    let table: &[(&str, [u16; 4])] = &[
        ("home/alice/owner.txt", [401, 200, 403, 403]),
        ("home/bob/owner.txt", [401, 403, 200, 403]),
        ("auth/page.html", [401, 200, 200, 200]),
        ("not-bob/page.html", [401, 200, 403, 200]),
        ("friends/page.html", [401, 200, 200, 403]),
        ("nobody/page.html", [401, 403, 403, 403]),
        ("lookup/file.txt", [401, 403, 403, 403]),
        ("read-no-lookup/file.txt", [401, 403, 403, 403]),
        ("far/alice/owner.txt", [401, 200, 403, 403]),
        ("alice-only/absent", [401, 404, 403, 403]),
        ("public/absent", [404, 404, 404, 404]),
        ("replica/page.html", [200, 200, 200, 200]),
    ];
    for (path, wanted) in table {
        for (who, status) in ["nobody", "alice", "bob", "dave"].into_iter().zip(wanted) {
            let row = get(&format!("ACL: {path}, {who}"), &first(path)).is(*status);
            let row = if who == "nobody" { row } else { row.by(who) };
            rows.push(match (status, path.strip_prefix("home/").or(path.strip_prefix("far/"))) {
                (200, Some(home)) => row.file_of(home.split('/').next().unwrap_or_default()),
                (200, None) => row.publics(),
                _ => row,
            });
        }
    }
    let listed = first("listed/page.html");
    let kafs = "kAFS takes it for absent, for everybody, once it has told somebody so (docs/facts.md)";
    rows.push(get("ACL: listed/page.html, alice", &listed).by("alice").file_of("alice"));
    rows.push(get("ACL: listed/page.html, bob", &listed).by("bob").is(403).absent("kafs", kafs));
    rows.push(get("ACL: listed/page.html, nobody", &listed).is(401).absent("kafs", kafs));
    rows
}

/// Cells, volumes, servers.
fn places() -> Vec<Row> {
    vec![
        get("the other cell, nobody", &second("public/page.html")).publics(),
        get("the other cell, alice of the first", &second("auth/page.html")).by("alice").is(403),
        get("an unknown cell", "/afs/nowhere.example/page.html").is(404),
        get("an unknown cell, alice", "/afs/nowhere.example/page.html").by("alice").is(404),
        get("a cell by the read-write path", "/afs/.cell.example/public/plain.txt").publics(),
        get("a cell in capitals is another name", "/afs/CELL.EXAMPLE/public/plain.txt").is(404),
        get("a cell in capitals is another name, alice", "/afs/CELL.EXAMPLE/alice-only/page.html")
            .by("alice")
            .is(404),
        get(
            "a cell in capitals does not get around a location's rules",
            "/afs/Cell.example/public/deep/er/page.txt",
        )
        .is(404),
        get("the other file server", &first("far/page.html")).publics(),
        get("the read-write volume of a replica", &first("replica-rw/page.html")).publics(),
        get("a mount point without a volume", &first("dangling/page.html")).is(503),
        get("a location where everybody has to log in, nobody", &first("public/deep/er/page.txt")).is(401),
        get("a location where everybody has to log in, alice", &first("public/deep/er/page.txt"))
            .by("alice")
            .publics(),
        get("a public area, nobody", "/area/public/page.html").publics().varies(false),
        get("a public area, with credentials, is nobody's", "/area/auth/page.html")
            .typed("zoe", "zoe's pass")
            .is(403)
            .varies(false),
        get("a public area, with a wrong password", "/area/public/page.html")
            .typed("zoe", "not hers")
            .publics()
            .varies(false),
        get("outside AFS", "/").is(200).says("local").varies(false),
        get("outside AFS, with credentials", "/")
            .typed("alice", "wonderland")
            .is(200)
            .says("local")
            .varies(false),
        get("outside AFS, absent", "/afsx/cell.example/public/plain.txt").is(404).varies(false),
        get("where passwords need TLS: public, nobody", &first("public/plain.txt"))
            .host(Some("tls.example"))
            .publics(),
        get("where passwords need TLS: private, nobody is asked", &first("alice-only/page.html"))
            .host(Some("tls.example"))
            .is(403),
        get("where passwords need TLS: alice", &first("alice-only/page.html"))
            .host(Some("tls.example"))
            .typed("alice", "wonderland")
            .is(403),
    ]
}

/// Directories and indexes.
fn directories() -> Vec<Row> {
    vec![
        get("/afs without a slash", "/afs").is(301).ends("Location", "/afs/"),
        get("/afs/, which has no index", "/afs/").is(403),
        get("a cell's root without a slash", "/afs/cell.example")
            .is(301)
            .ends("Location", "/afs/cell.example/"),
        get("a cell's root", &first("")).publics(),
        get("a directory with an index", &first("public/index/")).publics().has("Content-Type", "text/html"),
        get("a directory with an index and a query", &first("public/index/?a=b")).publics(),
        get("a directory without a slash", &first("public/index"))
            .is(301)
            .ends("Location", "/afs/cell.example/public/index/"),
        get("a directory without a slash, with a query", &first("public/index?a=b"))
            .is(301)
            .ends("Location", "/public/index/?a=b"),
        get("a directory without a slash, alice", &first("public/index")).by("alice").is(301),
        get("a directory without an index", &first("public/names/")).is(403),
        get("a directory without an index, alice", &first("public/names/")).by("alice").is(403),
        get("a directory that is listed, nobody", &first("public/list/"))
            .is(200)
            .says("href=\"one.txt\"")
            .has("Content-Type", "text/html"),
        get("a directory that is listed, alice", &first("public/list/")).by("alice").is(200).says("two.html"),
        get("a directory that is listed, with a query", &first("public/list/?C=N;O=D"))
            .is(200)
            .says("one.txt"),
        get(
            "a directory that is listed, by a query that is none",
            &first("public/list/?C=%22%3E%3Cb%3E;F=9"),
        )
        .is(200)
        .says("one.txt"),
        get("a directory that is listed, without a slash", &first("public/list")).is(301),
        ask("HEAD of a directory that is listed", "HEAD", &first("public/list/")).is(200),
        ask("POST to a directory that is listed", "POST", &first("public/list/")).body(b"x").is(405),
        get("a private directory that is listed, nobody", &first("alice-sizes/")).is(401),
        get("a private directory that is listed, alice", &first("alice-sizes/"))
            .by("alice")
            .is(200)
            .says("12m.bin"),
        get("a private directory that is listed, bob", &first("alice-sizes/")).by("bob").is(403),
        get("a private directory that is listed, without a slash, bob", &first("alice-sizes"))
            .by("bob")
            .is(403),
        get("a private directory, nobody", &first("alice-only/")).is(401),
        get("a private directory without a slash, nobody", &first("alice-only")).is(401).lacks("Location"),
        get("a private directory, alice", &first("alice-only/")).by("alice").file_of("alice"),
        get("a private directory without a slash, alice", &first("alice-only"))
            .by("alice")
            .is(301)
            .ends("Location", "/alice-only/"),
        get("a private directory, bob", &first("alice-only/")).by("bob").is(403),
        get("a private directory without a slash, bob", &first("alice-only")).by("bob").is(403),
        get("an absent directory", &first("public/absent/")).is(404),
        get("an absent directory of a private one, nobody", &first("alice-only/absent/x")).is(401),
        get("a user's directory, nobody", "/~alice/").is(401),
        get("a user's directory, alice", "/~alice/").by("alice").file_of("alice"),
        get("a user's directory, bob", "/~alice/").by("bob").is(403),
        get("a user's directory without a slash, alice", "/~alice")
            .by("alice")
            .is(301)
            .ends("Location", "/~alice/"),
        get("a user's file, alice", "/~alice/owner.txt").by("alice").file_of("alice"),
        get("a user's file, nobody", "/~alice/owner.txt").is(401),
        get("a user's file, bob", "/~alice/owner.txt").by("bob").is(403),
        get("a user's file under an encoded tilde", "/%7Ealice/owner.txt").by("alice").file_of("alice"),
        get("a user who is none", "/~nobodyhere/").is(404),
        get("a user without a name", "/~/").is(404),
        get("from a user's directory to another's", "/~alice/../~bob/owner.txt").by("bob").file_of("bob"),
        get("from a user's directory to another's, alice", "/~alice/../~bob/owner.txt").by("alice").is(403),
        get("above a user's directory by an encoded slash", "/~alice/..%2Fbob/owner.txt").by("alice").is(404),
        get("a directory whose .htaccess denies", &first("public/htaccess-deny/page.html")).is(403),
        get("a directory whose .htaccess gives a type", &first("public/htaccess-type/page.probe"))
            .publics()
            .with("Content-Type", "text/x-probe"),
        get("a directory whose .htaccess is broken", &first("public/htaccess-broken/page.html")).is(500),
        get("a directory whose .htaccess only alice may read, alice", &first("alice-only/page.html"))
            .by("alice")
            .file_of("alice")
            .with("X-Alice", "yes"),
        get("a hidden directory", &first("public/.hidden/page.txt")).publics(),
    ]
}

/// Symbolic links.
fn links() -> Vec<Row> {
    let page = |row: Row| row.publics();
    vec![
        page(get("a link to a file", &first("links/inside"))),
        page(get("a link to a directory", &first("links/directory/plain.txt"))),
        get("a link to a directory without a slash", &first("links/directory"))
            .is(301)
            .ends("Location", "/links/directory/"),
        page(get("a link with an absolute path in AFS", &first("links/absolute"))),
        page(get("a link to the other cell", &first("links/other-cell"))),
        get("a link to a private file, nobody", &first("links/private")).is(401),
        get("a link to a private file, alice", &first("links/private")).by("alice").file_of("alice"),
        get("a link to a private file, bob", &first("links/private")).by("bob").is(403),
        get("a link out of AFS", &first("links/outside")).is(404).on(&["openafs", "kafs"], 403, OUT),
        get("a link out of AFS, alice", &first("links/outside")).by("alice").is(404).on(
            &["openafs", "kafs"],
            403,
            OUT,
        ),
        get("a link above /afs", &first("links/up")).is(404).on(&["openafs", "kafs"], 403, OUT),
        get("a loop of links", &first("links/loop")).is(403),
        get("a loop of links, and on", &first("links/loop/x")).is(403),
        get("a broken link", &first("links/missing")).is(404),
        // It asks what could be done at a place, be there something or not.
        ask("OPTIONS of a broken link", "OPTIONS", &first("links/missing")).is(200),
    ]
}

/// Forms of a URL.
fn forms() -> Vec<Row> {
    let public = first("public/plain.txt");
    vec![
        get("a query", &first("public/plain.txt?a=b&c=%00%2f..")).publics(),
        get("an empty query", &first("public/plain.txt?")).publics(),
        get("a path that goes on behind a file", &first("public/plain.txt/more")).is(404),
        get("a slash behind a file", &first("public/plain.txt/")).is(404),
        get("a path that goes on behind a private file, nobody", &first("alice-only/page.html/more")).is(401),
        get("a path that goes on behind a private file, alice", &first("alice-only/page.html/more"))
            .by("alice")
            .is(404),
        get("double slashes", "/afs//cell.example///public//plain.txt").publics(),
        get("two slashes in front", "//afs/cell.example/public/plain.txt").publics().varies(true),
        get("double slashes to a private file, nobody", "/afs//cell.example//alice-only//page.html").is(401),
        get("two slashes in front of a private file, nobody", "//afs/cell.example/alice-only/page.html")
            .is(401)
            .varies(true),
        get("a dot", "/afs/./cell.example/./public/plain.txt").publics(),
        get("two dots", "/afs/cell.example/alice-only/../public/plain.txt").publics(),
        get("two dots into what is private, nobody", "/afs/cell.example/public/../alice-only/page.html")
            .is(401),
        get("two dots into what is private, alice", "/afs/cell.example/public/../alice-only/page.html")
            .by("alice")
            .file_of("alice"),
        get("encoded dots", "/afs/cell.example/public/%2e%2e/alice-only/page.html").is(401),
        get("encoded dots, alice", "/afs/cell.example/public/%2E%2e/alice-only/page.html")
            .by("alice")
            .file_of("alice"),
        get("half encoded dots", "/afs/cell.example/public/.%2e/alice-only/page.html").is(401),
        get("dots encoded twice", "/afs/cell.example/public/%252e%252e/alice-only/page.html").is(404),
        get("dots out of AFS", "/afs/../etc/passwd").is(404).varies(false),
        get("encoded dots out of AFS", "/afs/%2e%2e/etc/passwd").is(404).varies(false),
        get("dots into AFS from outside", "/icons/../afs/cell.example/alice-only/page.html")
            .is(401)
            .varies(true),
        odd("dots above the root", b"/../../etc/passwd").is(400),
        odd("encoded dots above the root", b"/afs/%2e%2e/%2e%2e/etc/passwd").is(400),
        get("three dots are a name", &first("public/.../plain.txt")).is(404),
        get("an encoded slash", &first("public%2Fplain.txt")).is(404),
        get("an encoded slash in what is private, nobody", &first("alice-only%2Fpage.html")).is(404),
        get("an encoded slash and dots", "/afs/cell.example/public/..%2Falice-only/page.html").is(404),
        get("an encoded NUL", &first("public/plain.txt%00.html")).is(404),
        get("an encoded NUL in what is private", &first("alice-only/page.html%00")).is(404),
        odd("a NUL", b"/afs/cell.example/public/plain.txt\0").is(400),
        odd("an encoding that is none", b"/afs/cell.example/public/%zz").is(400),
        odd("an encoding that is cut off", b"/afs/cell.example/public/plain%2").is(400),
        get("letters encoded", "/%61fs/cell.example/%61lice-only/page.html").is(401).varies(true),
        get("letters encoded, alice", "/%61fs/cell.example/%61lice-only/page.html")
            .by("alice")
            .file_of("alice")
            .varies(true),
        get("capitals are other names", "/AFS/cell.example/public/plain.txt").is(404).varies(false),
        odd("a blank", b"/afs/cell.example/public/names/with space.txt").is(400),
        odd("a tab", b"/afs/cell.example/public/names/with\tspace.txt").is(400),
        odd("a control character", b"/afs/cell.example/public/\x01").is(400),
        odd("a byte above 127", b"/afs/cell.example/public/names/gr\xc3\xbc").is(400).but(
            404,
            "httpd takes bytes above 127 in a URL as if they were encoded, as browsers used to send them",
        ),
        odd("a fragment", b"/afs/cell.example/public/plain.txt#part").is(400),
        odd("no slash in front", b"afs/cell.example/public/plain.txt").is(400),
        odd("no target", b"").is(400),
        odd("a backslash for a slash", b"/afs\\cell.example\\public\\plain.txt").is(404),
        get("the absolute form", "http://localhost:{port}/afs/cell.example/public/plain.txt").publics(),
        get(
            "the absolute form, private, nobody",
            "http://localhost:{port}/afs/cell.example/alice-only/page.html",
        )
        .is(401),
        get("the absolute form, alice", "http://localhost:{port}/afs/cell.example/alice-only/page.html")
            .by("alice")
            .file_of("alice"),
        get(
            "the absolute form counts before Host",
            "http://tls.example/afs/cell.example/alice-only/page.html",
        )
        .is(403),
        get(
            "the absolute form of a host that is not here",
            "http://elsewhere.example/afs/cell.example/public/plain.txt",
        )
        .publics(),
        get(
            "the absolute form with credentials in it",
            "http://alice:wonderland@localhost/afs/cell.example/alice-only/page.html",
        )
        .is(400),
        odd("the absolute form without a path", b"http://localhost").is(200).says("local"),
        odd("the absolute form of another scheme", b"ftp://localhost/afs/cell.example/public/plain.txt")
            .is(400),
        get("a name of 255 bytes", &first(&format!("public/{}", "n".repeat(255)))).is(404),
        get("a name of 300 bytes", &first(&format!("public/{}", "n".repeat(300)))).is(404),
        get("a path of 6,000 bytes", &first(&"d/".repeat(3_000))).is(404),
        // Longer than any path can be, so that nobody is asked for it.
        get(
            "a path of 6,000 bytes behind what is private, nobody",
            &first(&format!("alice-only/{}", "d/".repeat(3_000))),
        )
        .is(404),
        get(
            "a path of 3,000 bytes behind what is private, nobody",
            &first(&format!("alice-only/{}", "d/".repeat(1_500))),
        )
        .is(401),
        odd("a line of 9,000 bytes", &[public.as_bytes(), b"?", &[b'q'; 9_000]].concat()).is(414),
    ]
}

/// Names that have to be quoted somewhere.
fn names() -> Vec<Row> {
    let mut rows: Vec<Row> = NAMES
        .iter()
        .map(|name| {
            let body = format!("{PUBLIC_LINE}{name}");
            get(&format!("the name {name:?}"), &escape(&first(&format!("public/names/{name}"))))
                .is(200)
                .whose(Body::Exactly(body.into_bytes()))
        })
        .collect();
    rows.push(get("a name that is no UTF-8", &first("public/names/%FF%FE.txt")).is(404));
    rows.push(get("a name in Latin 1", &first("public/names/gr%FC%DFe-%E2%98%83.txt")).is(404));
    rows.push(get("a plus sign is no blank", &first("public/names/with+space.txt")).is(404));
    rows
}
