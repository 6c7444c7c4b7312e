//! Methods, where nothing can be written: RFC 9110, section 9, and docs/admin.md.

use crate::row::{Row, ask, basic, first, get, raw};
use integration::content::PUBLIC_LINE;

/// Methods that want to change something.
const CHANGING: [&str; 11] =
    ["POST", "PUT", "DELETE", "PATCH", "MKCOL", "COPY", "MOVE", "PROPPATCH", "LOCK", "UNLOCK", "PROPFIND"];

pub(crate) fn rows() -> Vec<Row> {
    let (public, private) = (first("public/plain.txt"), first("alice-only/page.html"));
    let length = (PUBLIC_LINE.len() + "text\n".len()).to_string();
    let mut rows = vec![
        get("GET public file, nobody", &public)
            .publics()
            .has("Content-Type", "text/plain")
            .with("Content-Length", &length),
        get("GET public file, alice", &public).by("alice").publics().with("Content-Length", &length),
        get("GET private file, nobody", &private).is(401).lacks("ETag").lacks("Last-Modified"),
        get("GET private file, alice", &private)
            .by("alice")
            .file_of("alice")
            .has("Content-Type", "text/html"),
        get("GET private file, bob", &private).by("bob").is(403).lacks("ETag").lacks("Last-Modified"),
        ask("HEAD public file, nobody", "HEAD", &public).is(200).with("Content-Length", &length),
        ask("HEAD public file, alice", "HEAD", &public).by("alice").is(200).with("Content-Length", &length),
        ask("HEAD private file, nobody", "HEAD", &private).is(401).lacks("ETag"),
        ask("HEAD private file, alice", "HEAD", &private)
            .by("alice")
            .is(200)
            .has("Content-Length", "")
            .has("ETag", "\""),
        ask("HEAD private file, bob", "HEAD", &private).by("bob").is(403).lacks("ETag"),
        ask("HEAD absent file, nobody", "HEAD", &first("public/absent")).is(404),
        ask("HEAD directory without slash, nobody", "HEAD", &first("public/index"))
            .is(301)
            .ends("Location", "/public/index/"),
        ask("OPTIONS public file, nobody", "OPTIONS", &public)
            .is(200)
            .has("Allow", "GET")
            .has("Allow", "HEAD")
            .has("Allow", "OPTIONS")
            .has_not("Allow", "PUT")
            .lacks("DAV"),
        ask("OPTIONS public file, alice", "OPTIONS", &public).by("alice").is(200).has("Allow", "GET"),
        ask("OPTIONS private file, nobody", "OPTIONS", &private).is(401),
        ask("OPTIONS private file, alice", "OPTIONS", &private).by("alice").is(200),
        ask("OPTIONS private file, bob", "OPTIONS", &private).by("bob").is(403),
        ask("OPTIONS with a wrong password", "OPTIONS", &public).typed("alice", "not hers").is(401),
        ask("OPTIONS *", "OPTIONS", "*").is(200).varies(false),
        raw("GET *", "GET * HTTP/1.1\r\nHost: localhost\r\n\r\n").is(400),
        // Nobody's credentials are looked at for it.
        ask("TRACE public file, nobody", "TRACE", &public).is(405).varies(false).has("Allow", "GET"),
        ask("TRACE private file, nobody", "TRACE", &private).is(405).varies(false),
        ask("TRACE private file, alice: no credentials come back", "TRACE", &private)
            .typed("alice", "wonderland")
            .is(405)
            .varies(false),
        ask("TRACE with a wrong password", "TRACE", &private)
            .typed("alice", "not hers")
            .is(405)
            .varies(false),
        ask("TRACE under an encoded path", "TRACE", "/%61fs/cell.example/public/plain.txt")
            .typed("alice", "wonderland")
            .is(405),
        ask("TRACE with a body", "TRACE", &public).body(b"x").is(405).varies(false),
        ask("TRACE of an absent file", "TRACE", &first("public/absent")).is(405).varies(false),
        raw("CONNECT to an authority", "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n")
            .is(405)
            .has("Allow", ""),
        raw("CONNECT to a path", format!("CONNECT {public} HTTP/1.1\r\nHost: localhost\r\n\r\n")).is(400),
        ask("an unknown method on a public file, nobody", "FROBNICATE", &public).is(501),
        ask("an unknown method on a public file, alice", "FROBNICATE", &public).by("alice").is(501),
        ask("an unknown method on a private file, nobody", "FROBNICATE", &private).is(401),
        ask("a method in lower case is another one", "get", &public).is(501),
        ask("a method of 5,000 letters", &"M".repeat(5_000), &public).is(501),
        ask("a method that is no token", "GE(T", &public).is(400),
        ask("BREW", "BREW", &public).is(501),
        ask("REPORT public file, nobody", "REPORT", &public).is(405),
        // httpd knows it, though no module here does anything with it.
        ask("SEARCH public file, nobody", "SEARCH", &public).is(405),
        get("GET public file with a body", &public).body(b"whatever").publics(),
        get("GET private file with a body, alice", &private).by("alice").body(b"x").file_of("alice"),
        get("GET private file with a body, nobody", &private).body(&[b'x'; 20_000]).is(401),
        ask("HEAD public file with a body", "HEAD", &public).body(b"whatever").is(200),
        ask("POST with a body of 100,000 bytes", "POST", &public).body(&[b'p'; 100_000]).is(405),
        ask("POST to an absent file", "POST", &first("public/absent")).body(b"x").is(405),
        ask("POST to a directory", "POST", &first("public/index/")).body(b"x").is(405),
        ask("POST of a form of another site, with credentials", "POST", &public)
            .by("alice")
            .header("Origin", "https://evil.example")
            .body(b"x")
            .is(403),
        ask("POST of a form of another site, without credentials", "POST", &public)
            .header("Origin", "https://evil.example")
            .body(b"x")
            .is(405),
        ask("a preflight of another site gets no leave", "OPTIONS", &public)
            .header("Origin", "https://evil.example")
            .header("Access-Control-Request-Method", "PUT")
            .is(200)
            .lacks("Access-Control-Allow-Origin"),
        get("X-HTTP-Method-Override is no method", &public)
            .header("X-HTTP-Method-Override", "DELETE")
            .publics(),
        raw(
            "PRI, the preface of HTTP/2, is no method of HTTP/1.1",
            format!("PRI {public} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        )
        .is(501),
    ];
    for method in CHANGING {
        let with_body =
            |row: Row| if matches!(method, "POST" | "PUT" | "PATCH") { row.body(b"x") } else { row };
        let name = |what: &str| format!("{method} {what}, where nothing is written");
        rows.push(
            with_body(ask(&name("public file, nobody"), method, &public))
                .is(405)
                .has("Allow", "GET")
                .has_not("Allow", "PUT"),
        );
        rows.push(with_body(ask(&name("private file, nobody"), method, &private)).is(401));
        rows.push(with_body(ask(&name("private file, alice"), method, &private)).by("alice").is(405));
        rows.push(with_body(ask(&name("private file, bob"), method, &private)).by("bob").is(403));
    }
    rows.push(get("the file is as it was", &public).with("Content-Length", &length).publics());
    rows.push(
        raw(
            "a second method behind the first",
            format!(
                "GET GET {public} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\r\n",
                basic("alice")
            ),
        )
        .is(400),
    );
    rows
}
