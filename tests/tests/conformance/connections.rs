//! Requests of different visitors that share a connection, by HTTP/1.1 and by HTTP/2.

use crate::contents::FILTERED;
use crate::row::{CLOSED, Row, ask, basic, first, get, raw};
use crate::run::{NO_LENGTH, NO_VARY};
use integration::content::owner_file;

pub(crate) fn rows() -> Vec<Row> {
    [pipelined(), kept(), http2()].concat()
}

/// Sent in one packet.
fn pipelined() -> Vec<Row> {
    let (alices, bobs) = (first(&owner_file("alice")), first(&owner_file("bob")));
    let public = first("public/plain.txt");
    let hidden =
        format!("GET {alices} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\r\n", basic("alice"));
    vec![
        get("one packet: alice's file, alice", &alices).by("alice").file_of("alice"),
        get("one packet: alice's file, nobody", &alices).joined().is(401),
        get("one packet: alice's file, bob", &alices).by("bob").joined().is(403),
        get("one packet: alice's file, a wrong password", &alices)
            .typed("alice", "not hers")
            .joined()
            .is(401),
        get("one packet: bob's file, bob", &bobs).by("bob").joined().file_of("bob"),
        get("one packet: bob's file, alice", &bobs).by("alice").joined().is(403),
        get("one packet: public file, nobody", &public).joined().publics(),
        get("one packet: a header that cannot be decoded", &alices)
            .header("Authorization", "Basic !")
            .joined()
            .is(400)
            .closes(true),
        get("one packet: alice's file, alice, behind that", &alices)
            .typed("alice", "wonderland")
            .joined()
            .is(CLOSED),
        ask("one packet: HEAD, alice", "HEAD", &alices).by("alice").is(200),
        ask("one packet: HEAD, nobody", "HEAD", &alices).joined().is(401),
        ask("one packet: OPTIONS, nobody", "OPTIONS", &public).joined().is(200),
        get("one packet: not modified", &public)
            .validators_of(&public)
            .header("If-None-Match", "{etag}")
            .joined()
            .is(304),
        get("one packet: a part, bob", &bobs)
            .by("bob")
            .header("Range", "bytes=0-9")
            .joined()
            .is(206)
            .whose(crate::row::Body::Exactly(b"owner: bob".to_vec())),
        ask("one packet: a body, where nothing is written, alice", "PUT", &public)
            .by("alice")
            .body(b"12345")
            .joined()
            .is(405),
        get("one packet: alice's file, nobody, behind a body", &alices).joined().is(401),
        get("one packet: a request inside of a body is none", &public).body(hidden.as_bytes()).publics(),
        get("one packet: nobody, behind the body", &alices).joined().is(401),
        raw(
            "one packet: a request that is broken, behind alice's",
            format!("GET {alices} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\r\n", basic("alice")),
        )
        .logged_in()
        .file_of("alice"),
        raw("one packet: the broken one", format!("GET {alices} HTTP/1.1\r\nHost localhost\r\n\r\n"))
            .joined()
            .is(400)
            .closes(true),
        get("one packet: by Connection: close, alice", &alices)
            .by("alice")
            .header("Connection", "close")
            .file_of("alice")
            .closes(true),
    ]
}

/// One behind the other on a connection.
fn kept() -> Vec<Row> {
    let alices = first(&owner_file("alice"));
    vec![
        get("kept: 401", &alices).is(401),
        get("kept: alice behind a 401", &alices).by("alice").behind().file_of("alice"),
        get("kept: nobody behind alice", &alices).behind().is(401),
        get("kept: alice by a wrong password, behind alice", &alices)
            .typed("alice", "not hers")
            .behind()
            .is(401),
        get("kept: bob behind alice", &alices).by("bob").behind().is(403),
        get("kept: absent", &first("public/absent")).behind().is(404),
        ask("kept: no such method here", "POST", &first("public/plain.txt")).body(b"x").behind().is(405),
        get("kept: a redirect", &first("public/index")).by("alice").behind().is(301),
        get("kept: not satisfiable", &first("sizes/4k.bin"))
            .header("Range", "bytes=9999-")
            .behind()
            .is(416)
            .spares(NO_LENGTH, FILTERED)
            .spares(NO_VARY, FILTERED),
        get("kept: a failed condition", &first("sizes/4k.bin")).header("If-Match", "\"x\"").behind().is(412),
        get("kept: outside AFS", "/").typed("alice", "wonderland").behind().is(200).says("local"),
        get("kept: alice at the end", &alices).by("alice").behind().file_of("alice"),
        get("kept: a mount point without a volume, behind alice", &first("dangling/x"))
            .behind()
            .is(503)
            .closes(true),
        get("kept: nobody, behind what closes", &alices).behind().is(CLOSED),
        ask("kept: an unknown method, bob", "FROBNICATE", &first("public/plain.txt"))
            .by("bob")
            .is(501)
            .closes(true),
        get("kept: bad credentials", &alices).header("Authorization", "Basic !").is(400).closes(true),
    ]
}

/// At once on one connection.
fn http2() -> Vec<Row> {
    let (alices, bobs) = (first(&owner_file("alice")), first(&owner_file("bob")));
    let public = first("public/plain.txt");
    let rows = vec![
        get("HTTP/2: public file, nobody", &public).publics(),
        get("HTTP/2: public file, alice", &public).by("alice").publics(),
        get("HTTP/2: alice's file, alice", &alices).by("alice").file_of("alice"),
        get("HTTP/2: alice's file, nobody", &alices).is(401),
        get("HTTP/2: alice's file, bob", &alices).by("bob").is(403),
        get("HTTP/2: alice's file, a wrong password", &alices).typed("alice", "not hers").is(401),
        get("HTTP/2: bob's file, bob", &bobs).by("bob").file_of("bob"),
        get("HTTP/2: a header that cannot be decoded", &alices).header("authorization", "Basic !").is(400),
        ask("HTTP/2: HEAD, alice", "HEAD", &alices).by("alice").is(200),
        ask("HTTP/2: OPTIONS, nobody", "OPTIONS", &public).is(200).has("Allow", "GET"),
        ask("HTTP/2: POST, nobody", "POST", &public).is(405),
        ask("HTTP/2: an unknown method", "FROBNICATE", &public).is(501),
        get("HTTP/2: absent", &first("public/absent")).is(404),
        get("HTTP/2: a directory without a slash", &first("public/index")).is(301),
        get("HTTP/2: a part", &first("sizes/4k.bin"))
            .header("range", "bytes=16-31")
            .is(206)
            .whose(crate::row::Body::Exactly(integration::content::pattern(16, 16))),
        get("HTTP/2: not modified", &public).validators_of(&public).header("if-none-match", "{etag}").is(304),
        get("HTTP/2: dots", "/afs/cell.example/public/../alice-only/page.html").is(401),
        get("HTTP/2: an encoded NUL", &first("public/plain.txt%00")).is(404),
        get("HTTP/2: a mount point without a volume", &first("dangling/x")).is(503),
    ];
    rows.into_iter().map(Row::http2).collect()
}
