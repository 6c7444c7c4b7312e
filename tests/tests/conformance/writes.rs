//! Methods where `Dav afs` lets visitors write: RFC 9110, RFC 4918, and docs/admin.md, "Writing".
//!
//! All rows share one directory of alice's, `{dir}`, and run in their order.

use crate::messages::MIRACLE;
use crate::row::{Body, Row, ask, basic, first, get, raw};
use crate::run::CLOSES_SILENTLY;

/// Asks for a lock nobody else can have beside it.
const EXCLUSIVE: &str = "<?xml version=\"1.0\"?><D:lockinfo xmlns:D=\"DAV:\"><D:lockscope><D:exclusive/></D:lockscope>\
    <D:locktype><D:write/></D:locktype><D:owner>alice</D:owner></D:lockinfo>";
/// Wants a property set.
const SET: &str = "<?xml version=\"1.0\"?><D:propertyupdate xmlns:D=\"DAV:\"><D:set><D:prop>\
    <x xmlns=\"urn:x\">y</x></D:prop></D:set></D:propertyupdate>";

/// A request of alice's.
fn alice(name: &str, method: &str, target: &str) -> Row {
    ask(&format!("write: {name}"), method, target).by("alice")
}

/// A PUT of alice's.
fn put(name: &str, target: &str) -> Row {
    alice(name, "PUT", target).body(b"as it was\n")
}

/// A COPY or MOVE of alice's within her directory.
fn to(name: &str, method: &str, from: &str, to: &str) -> Row {
    let destination = format!("http://localhost:{{port}}{to}");
    alice(name, method, from).header("Destination", &destination)
}

/// What stands in a file of alice's.
fn file(name: &str, target: &str, text: &str) -> Row {
    let row = get(&format!("write: {name}"), target).by("alice");
    row.is(200).whose(Body::Exactly(text.as_bytes().to_vec()))
}

pub(crate) fn rows() -> Vec<Row> {
    [rights(), bodies(), collections(), locks(), elsewhere(), ends()].concat()
}

fn rights() -> Vec<Row> {
    let by = |name: &str, method: &str, who: &str| {
        let row = ask(&format!("write: {name}"), method, "{dir}/x");
        let row = if who == "nobody" { row } else { row.by(who) };
        if method == "PUT" { row.body(b"x") } else { row }
    };
    let mut rows = vec![
        ask("write: MKCOL, nobody", "MKCOL", "{dir}").is(401).varies(true),
        ask("write: MKCOL, bob", "MKCOL", "{dir}").by("bob").is(403).varies(true),
        alice("MKCOL", "MKCOL", "{dir}").is(201),
        alice("MKCOL of what is there", "MKCOL", "{dir}").is(405).has("Allow", ""),
        alice("MKCOL in nothing", "MKCOL", "{dir}/none/x").is(409),
        alice("MKCOL with a body", "MKCOL", "{dir}/y").body(b"what is this?").is(415),
        alice("OPTIONS of a collection", "OPTIONS", "{dir}/")
            .is(200)
            .has("DAV", "1")
            .has("Allow", "PROPFIND"),
        ask("write: OPTIONS, nobody", "OPTIONS", "{dir}/").is(401).varies(true),
    ];
    for method in ["PUT", "DELETE", "LOCK", "UNLOCK", "PROPPATCH", "PROPFIND", "COPY", "MOVE"] {
        rows.push(by(&format!("{method} of a new name, nobody"), method, "nobody").is(401));
    }
    rows.push(by("PUT of a new name, bob, who may only read", "PUT", "bob").is(403));
    rows.push(by("PUT of a new name, carol, who may not even read", "PUT", "carol").is(403));
    rows.push(by("DELETE of nothing, alice", "DELETE", "alice").is(404));
    rows.push(by("a wrong password", "PUT", "nobody").typed("alice", "not hers").is(401));
    rows
}

fn bodies() -> Vec<Row> {
    let login = format!("Authorization: {}\r\n", basic("alice"));
    let chunked = |name: &str, path: &str, body: &str| {
        let head = format!(
            "PUT {{dir}}/{path} HTTP/1.1\r\nHost: localhost\r\n{login}Transfer-Encoding: chunked\r\n"
        );
        raw(&format!("write: {name}"), format!("{head}\r\n{body}")).logged_in()
    };
    let absent = |name: &str, path: &str| {
        get(&format!("write: {name}"), &format!("{{dir}}/{path}")).by("alice").is(404)
    };
    vec![
        put("PUT of a new file", "{dir}/a").is(201),
        file("what was put", "{dir}/a", "as it was\n"),
        get("write: what was put, bob may read", "{dir}/a")
            .by("bob")
            .is(200)
            .whose(Body::Exactly(b"as it was\n".to_vec())),
        get("write: what was put, nobody", "{dir}/a").is(401).varies(true),
        put("PUT onto a file", "{dir}/a").is(204).has("ETag", "\""),
        put("PUT onto a file, bob's form of another site", "{dir}/a")
            .header("Origin", "https://evil.example")
            .is(403),
        put("PUT of another site, by Sec-Fetch-Site", "{dir}/a").header("Sec-Fetch-Site", "cross-site").is(403),
        put("PUT of the same site", "{dir}/a").header("Origin", "http://localhost:{port}").is(204),
        put("PUT with Content-Range", "{dir}/a").header("Content-Range", "bytes 0-9/20").is(400),
        put("PUT with a Content-Range that is none", "{dir}/a").header("Content-Range", "nonsense").is(400),
        put("PUT with Range, which has no meaning there", "{dir}/a").header("Range", "bytes=0-1").is(204),
        put("PUT, If-Match of another", "{dir}/a").header("If-Match", "\"x\"").is(412),
        put("PUT, If-Match", "{dir}/a").validators_of("{dir}/a").header("If-Match", "{etag}").is(204),
        put("PUT, If-Match: * on nothing", "{dir}/b").header("If-Match", "*").is(412),
        put("PUT, If-None-Match: * on something", "{dir}/a").header("If-None-Match", "*").is(412),
        put("PUT, If-None-Match: * on nothing", "{dir}/b").header("If-None-Match", "*").is(201),
        put("PUT, If-Unmodified-Since of old", "{dir}/a")
            .header("If-Unmodified-Since", "Thu, 01 Jan 1998 00:00:00 GMT")
            .is(412),
        put("PUT, If-Modified-Since has no meaning there", "{dir}/a")
            .header("If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT")
            .is(204),
        ask("write: PUT with Expect", "PUT", "{dir}/a")
            .by("alice")
            .header("Expect", "100-continue")
            .body(b"as it was\n")
            .is(204)
            .continues(true),
        ask("write: PUT with Expect, bob is not told to go on", "PUT", "{dir}/a")
            .by("bob")
            .header("Expect", "100-continue")
            .body(b"bob's")
            .is(403)
            .continues(false),
        ask("write: PUT with Expect, nobody is not told to go on", "PUT", "{dir}/a")
            .header("Expect", "100-continue")
            .body(b"nobody's")
            .is(401)
            .varies(true)
            .continues(false),
        put("PUT with Expect of something else", "{dir}/a")
            .header("Expect", "a-miracle")
            .is(417)
            .spares(CLOSES_SILENTLY, MIRACLE),
        file("all that changed nothing", "{dir}/a", "as it was\n"),
        chunked("PUT in chunks", "chunks", "5\r\n12345\r\n6;x=y\r\n67890\n\r\n0\r\nX: y\r\n\r\n").is(201),
        file("what was put in chunks", "{dir}/chunks", "1234567890\n"),
        raw(
            "write: PUT in another coding and chunks",
            format!("PUT {{dir}}/coded HTTP/1.1\r\nHost: localhost\r\n{login}Transfer-Encoding: gzip, chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n"),
        )
        .logged_in()
        .is(501),
        put("PUT of a file in a coding", "{dir}/coded").header("Content-Encoding", "gzip").is(415),
        put("PUT of a file in the coding of none", "{dir}/uncoded").header("Content-Encoding", "identity").is(201),
        absent("nothing in another coding is there", "coded"),
        chunked("PUT in broken chunks", "broken", "5\r\n12345\r\nx\r\n").is(400),
        chunked("PUT in chunks that are cut off", "broken", "5\r\n12345\r\n5\r\n12").cut().is(400),
        chunked("PUT in chunks of a wrong size", "broken", "3\r\n12345\r\n0\r\n\r\n").is(400),
        raw(
            "write: PUT that is cut off",
            format!("PUT {{dir}}/broken HTTP/1.1\r\nHost: localhost\r\n{login}Content-Length: 100\r\n\r\n12345"),
        )
        .logged_in()
        .cut()
        .is(400),
        raw(
            "write: PUT with two lengths",
            format!("PUT {{dir}}/broken HTTP/1.1\r\nHost: localhost\r\n{login}Content-Length: 5\r\nContent-Length: 6\r\n\r\n123456"),
        )
        .is(400),
        absent("nothing of them is there", "broken"),
        raw(
            "write: PUT with chunks and a length: the chunks count",
            format!("PUT {{dir}}/both HTTP/1.1\r\nHost: localhost\r\n{login}Content-Length: 30\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\nPUT {{dir}}/smuggled HTTP/1.1\r\n\r\n"),
        )
        .logged_in()
        .is(201)
        .closes(true),
        file("of chunks and a length, the chunks were stored", "{dir}/both", "12345"),
        absent("of chunks and a length, nothing else was done", "smuggled"),
        put("PUT of a name that is no UTF-8", "{dir}/%FF%FE%20%22").is(201),
        file("the name that is no UTF-8", "{dir}/%FF%FE%20%22", "as it was\n"),
        alice("DELETE of the name that is no UTF-8", "DELETE", "{dir}/%FF%FE%20%22").is(204),
        put("PUT of a name of 256 bytes", &format!("{{dir}}/{}", "n".repeat(256))).is(400),
        put("PUT of a reserved name", "{dir}/.afsweb-0").is(403),
        put("PUT with an encoded slash", "{dir}%2Fa").is(404),
        put("PUT with an encoded NUL", "{dir}/a%00").is(404),
        put("PUT through dots, to bob's", "{dir}/../../bob/stolen").is(403),
        put("PUT of an empty file", "{dir}/a/../empty").is(201),
        put("PUT behind a file", "{dir}/a/more").is(409),
        put("PUT in nothing", "{dir}/none/x").is(409),
        put("PUT onto a collection", "{dir}/").is(409),
    ]
}

fn collections() -> Vec<Row> {
    let depth =
        |name: &str, target: &str, depth: &str| alice(name, "PROPFIND", target).header("Depth", depth);
    vec![
        depth("PROPFIND of a file", "{dir}/a", "0").is(207).says("getetag").has("Content-Type", "xml"),
        depth("PROPFIND of a collection", "{dir}/", "1").is(207).says("/both<"),
        depth("PROPFIND of nothing", "{dir}/none", "0").is(404),
        depth("PROPFIND without end", "{dir}/", "infinity").is(403),
        alice("PROPFIND without Depth, which is without end", "PROPFIND", "{dir}/").is(403),
        depth("PROPFIND with a Depth that is none", "{dir}/", "2").is(400),
        depth("PROPFIND with broken XML", "{dir}/a", "0").body(b"<propfind").is(400),
        ask("write: PROPFIND, bob, who may read", "PROPFIND", "{dir}/a")
            .by("bob")
            .header("Depth", "0")
            .is(207),
        ask("write: PROPFIND, carol", "PROPFIND", "{dir}/a").by("carol").header("Depth", "0").is(403),
        alice("PROPPATCH", "PROPPATCH", "{dir}/a").body(SET.as_bytes()).is(207).says("403"),
        alice("PROPPATCH with broken XML", "PROPPATCH", "{dir}/a").body(b"<x").is(400),
        to("COPY to a new name", "COPY", "{dir}/a", "{dir}/copy").is(201),
        to("COPY onto a file", "COPY", "{dir}/a", "{dir}/copy").is(204),
        to("COPY onto a file, Overwrite: F", "COPY", "{dir}/a", "{dir}/copy")
            .header("Overwrite", "F")
            .is(412),
        to("COPY onto itself", "COPY", "{dir}/a", "{dir}/a").is(403),
        to("COPY into nothing", "COPY", "{dir}/a", "{dir}/none/x").is(409),
        to("COPY of nothing", "COPY", "{dir}/none", "{dir}/x").is(404),
        to("COPY to bob's", "COPY", "{dir}/a", "/afs/cell.example/write/bob/copy").is(403),
        to("COPY to another location", "COPY", "{dir}/a", "/afs/cell.example/public/copy")
            .is(403)
            .but(405, "mod_dav's answer where the destination is none of WebDAV's"),
        alice("COPY without Destination", "COPY", "{dir}/a").is(400),
        alice("COPY to another server", "COPY", "{dir}/a")
            .header("Destination", "http://elsewhere.example/x")
            .is(502),
        alice("COPY to the same path of another server", "COPY", "{dir}/a")
            .header("Destination", "http://elsewhere.example:{port}{dir}/elsewhere")
            .is(502),
        alice("MOVE to another port", "MOVE", "{dir}/a")
            .header("Destination", "http://localhost:1{dir}/elsewhere")
            .is(502),
        get("write: nothing went to another server", "{dir}/elsewhere").by("alice").is(404),
        alice("COPY by the absolute path alone", "COPY", "{dir}/a")
            .header("Destination", "{dir}/b")
            .is(204)
            .but(400, "mod_dav wants a whole URL as Destination, as RFC 2518 had it"),
        alice("COPY to a Destination that is none", "COPY", "{dir}/a").header("Destination", "::").is(400),
        to("MOVE", "MOVE", "{dir}/copy", "{dir}/moved").is(201),
        file("what was moved", "{dir}/moved", "as it was\n"),
        to("MOVE of what is gone", "MOVE", "{dir}/copy", "{dir}/x").is(404),
        to("MOVE onto a file", "MOVE", "{dir}/moved", "{dir}/b").is(204),
        to("MOVE into another volume", "MOVE", "{dir}/b", "/afs/cell.example/write/alice/mounted/b").is(502),
        to("MOVE to bob's", "MOVE", "{dir}/b", "/afs/cell.example/write/bob/b").is(403),
        alice("MKCOL of another", "MKCOL", "{dir}/sub/").is(201),
        to("MOVE of a collection into itself", "MOVE", "{dir}/sub", "{dir}/sub/sub").is(403),
        alice("DELETE of a collection with Depth: 0", "DELETE", "{dir}/sub/").header("Depth", "0").is(400),
        alice("GET of a collection", "GET", "{dir}/").is(403),
        alice("GET of a collection without a slash", "GET", "{dir}").is(301).varies(true),
        alice("POST to a file", "POST", "{dir}/a").body(b"x").is(405),
        alice("PATCH of a file", "PATCH", "{dir}/a").body(b"x").is(405),
        ask("write: TRACE of a file", "TRACE", "{dir}/a").typed("alice", "wonderland").is(405),
        alice("an unknown method", "FROBNICATE", "{dir}/a").is(501),
    ]
}

fn locks() -> Vec<Row> {
    let token = "<opaquelocktoken:00000000-0000-0000-0000-000000000000>";
    vec![
        put("PUT of what is to be locked", "{dir}/locked").is(201),
        alice("LOCK", "LOCK", "{dir}/locked")
            .header("Depth", "0")
            .header("Timeout", "Second-30")
            .body(EXCLUSIVE.as_bytes())
            .is(200)
            .has("Lock-Token", "<opaquelocktoken:")
            .says("lockdiscovery"),
        alice("LOCK of what is locked", "LOCK", "{dir}/locked")
            .header("Depth", "0")
            .body(EXCLUSIVE.as_bytes())
            .is(423),
        ask("write: LOCK, bob, who may only read", "LOCK", "{dir}/locked")
            .by("bob")
            .header("Depth", "0")
            .body(EXCLUSIVE.as_bytes())
            .is(403),
        put("PUT onto what is locked, without the token", "{dir}/locked").is(423),
        put("PUT onto what is locked, with another token", "{dir}/locked")
            .header("If", &format!("({token})"))
            .is(412),
        alice("DELETE of what is locked", "DELETE", "{dir}/locked").is(423),
        to("MOVE of what is locked", "MOVE", "{dir}/locked", "{dir}/x").is(423),
        to("COPY of what is locked", "COPY", "{dir}/locked", "{dir}/unlocked").is(201),
        alice("UNLOCK without a token", "UNLOCK", "{dir}/locked").is(400),
        alice("UNLOCK with another token", "UNLOCK", "{dir}/locked")
            .header("Lock-Token", token)
            .is(409)
            .but(400, "mod_dav's answer to a token that is not the lock's"),
        alice("LOCK with broken XML", "LOCK", "{dir}/a").body(b"<lockinfo").is(400),
        alice("an If that is none", "PUT", "{dir}/a").header("If", "nonsense").body(b"x").is(400),
        file("what is locked can be read", "{dir}/locked", "as it was\n"),
    ]
}

fn elsewhere() -> Vec<Row> {
    let replica = first("replica/page.html");
    let link = first("write/alice/link");
    let mount = first("write/alice/mounted");
    vec![
        put("PUT onto a read-only copy", &replica).is(403),
        put("PUT into a read-only copy", &first("replica/new")).is(403),
        alice("DELETE in a read-only copy", "DELETE", &replica).is(403),
        alice("MKCOL in a read-only copy", "MKCOL", &first("replica/new")).is(403),
        ask("write: PUT onto a read-only copy, nobody", "PUT", &replica).body(b"x").is(403).on(
            &["kafs"],
            401,
            "kAFS looks at the rights before it says that the copy is read-only",
        ),
        get("write: the read-only copy is as it was", &replica).publics(),
        put("PUT onto a link", &link).is(403),
        get("write: what the link leads to is as it was", &first("public/page.html")).publics(),
        put("PUT onto a mount point", &mount).is(409),
        alice("DELETE of a mount point", "DELETE", &mount).is(403),
        put("PUT onto what is private to bob", &first("write/bob/file")).is(403),
    ]
}

fn ends() -> Vec<Row> {
    vec![
        alice("DELETE of a file", "DELETE", "{dir}/a").is(204),
        alice("DELETE of what is gone", "DELETE", "{dir}/a").is(404),
        ask("write: DELETE, bob", "DELETE", "{dir}/both").by("bob").is(403),
        ask("write: DELETE, nobody", "DELETE", "{dir}/both").is(401).varies(true),
        alice("DELETE of a collection", "DELETE", "{dir}/sub/").is(204),
        get("write: the collection is gone", "{dir}/sub/").by("alice").is(404),
    ]
}
