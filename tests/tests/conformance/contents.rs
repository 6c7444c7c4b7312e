//! Parts of files and conditions: RFC 9110, sections 12 to 14.

use crate::row::{Body, Row, ask, first, get};
use crate::run::{NO_LENGTH, NO_VARY, NOT_PRIVATE};
use integration::content::pattern;

/// Of conditions by date beside those by tag.
const TOGETHER: &str = "httpd wants a condition by date met as well as one by tag, as RFC 2616 had it";
/// Bytes of the file that is asked for.
const SIZE: usize = 4096;
/// An old date.
const OLD: &str = "Thu, 01 Jan 1998 00:00:00 GMT";
/// Of the 416.
pub(crate) const FILTERED: &str = "a 416 comes from httpd's filter for ranges, which drops all headers that were set, and does not tell the length";
/// One to come.
const FUTURE: &str = "Fri, 01 Jan 2100 00:00:00 GMT";

pub(crate) fn rows() -> Vec<Row> {
    [ranges(), conditions(), negotiation()].concat()
}

/// The file, with a Range.
fn part(name: &str, range: &str) -> Row {
    get(&format!("Range: {name}"), &first("sizes/4k.bin")).header("Range", range)
}

/// The bytes of the file from one to behind another.
fn bytes(from: usize, to: usize) -> Body {
    Body::Exactly(pattern(from as u64, to - from))
}

/// 206 with these bytes.
fn gives(row: Row, from: usize, to: usize) -> Row {
    row.is(206)
        .whose(bytes(from, to))
        .with("Content-Range", &format!("bytes {from}-{}/{SIZE}", to - 1))
        .with("Content-Length", &(to - from).to_string())
}

/// 200 with the whole file.
fn whole(row: Row) -> Row {
    row.is(200).whose(bytes(0, SIZE)).with("Content-Length", &SIZE.to_string())
}

/// 416, for a file of whatever size.
fn unsatisfiable(row: Row) -> Row {
    row.is(416).spares(NO_LENGTH, FILTERED)
}

fn ranges() -> Vec<Row> {
    let overlapping = format!("bytes={}", (0..300).map(|_| "0-").collect::<Vec<_>>().join(","));
    let parts = |step: usize| {
        let parts: Vec<String> = (0..150).map(|n| format!("{0}-{0}", n * step)).collect();
        format!("bytes={}", parts.join(","))
    };
    let (many, touching) = (parts(20), parts(1));
    let private = first("alice-sizes/4k.bin");
    let own = |name: &str| get(name, &private).header("Range", "bytes=16-31");
    vec![
        whole(get("no Range", &first("sizes/4k.bin"))),
        gives(part("the first byte", "bytes=0-0"), 0, 1),
        gives(part("the first hundred", "bytes=0-99"), 0, 100),
        gives(part("in the middle", "bytes=1000-2000"), 1000, 2001),
        gives(part("from somewhere on", "bytes=4000-"), 4000, SIZE),
        gives(part("the last byte", "bytes=4095-4095"), 4095, SIZE),
        gives(part("the last sixteen", "bytes=-16"), SIZE - 16, SIZE),
        gives(part("beyond the end", "bytes=4095-99999"), 4095, SIZE),
        gives(part("more than there is, from the end", "bytes=-99999"), 0, SIZE),
        gives(part("all of it", "bytes=0-4095"), 0, SIZE),
        gives(part("the unit in capitals", "Bytes=0-0"), 0, 1),
        gives(part("one that can be had and one that cannot", "bytes=5000-,0-9"), 0, 10),
        unsatisfiable(part("behind the end", "bytes=4096-")).spares(NO_VARY, FILTERED),
        unsatisfiable(part("far behind the end", "bytes=99999999999999-99999999999999"))
            .spares(NO_VARY, FILTERED),
        whole(part("the last zero bytes", "bytes=-0")),
        unsatisfiable(part("two behind the end", "bytes=5000-,6000-7000")).spares(NO_VARY, FILTERED),
        part("two parts", "bytes=0-9,100-109")
            .is(206)
            .says("\r\nContent-range: bytes 100-109/4096\r\n\r\n")
            .has("Content-Type", "multipart/byteranges")
            .lacks("Content-Range"),
        part("two parts, the last first", "bytes=100-109,0-9")
            .is(206)
            .says("Content-range: bytes 0-9/4096")
            .has("Content-Type", "multipart/byteranges"),
        // RFC 9110, 14.2: what overlaps may be made one, and Range as a whole be ignored.
        gives(part("three hundred times the whole", &overlapping), 0, SIZE),
        whole(part("a hundred and fifty parts that touch", &touching)),
        part("a hundred and fifty parts", &many)
            .is(206)
            .says("Content-range: bytes 2980-2980/4096")
            .has("Content-Type", "multipart/byteranges"),
        whole(part("the end before the beginning", "bytes=9-5")),
        whole(part("no number", "bytes=x-y")),
        whole(part("nothing behind the unit", "bytes=")),
        whole(part("a dash alone", "bytes=-")),
        whole(part("no unit", "0-9")),
        whole(part("another unit", "lines=0-9")),
        whole(part("a negative beginning", "bytes=--5")),
        whole(part("a number that no machine counts to", "bytes=99999999999999999999999999-")),
        whole(part("hexadecimal", "bytes=0x0-0x9")),
        whole(part("two headers", "bytes=0-9").header("Range", "bytes=20-29")),
        ask("Range: HEAD has none", "HEAD", &first("sizes/4k.bin"))
            .header("Range", "bytes=0-9")
            .is(200)
            .but(206, "httpd takes HEAD with Range for the head of what GET would get"),
        ask("Range: HEAD has none, outside AFS", "HEAD", "/index.html")
            .header("Range", "bytes=0-1")
            .is(200)
            .but(206, "httpd takes HEAD with Range for the head of what GET would get"),
        get("Range: behind the end, outside AFS", "/index.html")
            .header("Range", "bytes=9999-")
            .is(416)
            .spares(NO_LENGTH, FILTERED),
        unsatisfiable(
            get("Range: behind the end of a private file, alice", &private).header("Range", "bytes=4096-"),
        )
        .by("alice")
        .spares(NO_VARY, FILTERED)
        .spares(NOT_PRIVATE, FILTERED),
        gives(own("Range: a private file, alice").by("alice"), 16, 32),
        own("Range: a private file, nobody").is(401),
        own("Range: a private file, bob").by("bob").is(403),
        get("Range: behind the end of a private file, bob", &private)
            .by("bob")
            .header("Range", "bytes=999999-")
            .is(403),
        get("Range: an empty file", &first("public/empty.txt"))
            .header("Range", "bytes=0-")
            .is(200)
            .whose(Body::Exactly(Vec::new())),
        get("Range: the last bytes of an empty file", &first("public/empty.txt"))
            .header("Range", "bytes=-5")
            .is(200)
            .whose(Body::Exactly(Vec::new())),
        get("Range: an absent file", &first("public/absent")).header("Range", "bytes=0-9").is(404),
        get("Range: a directory without a slash", &first("public/index"))
            .header("Range", "bytes=0-9")
            .is(301),
    ]
}

/// The file, with conditions.
fn when(name: &str, conditions: &[(&str, &str)]) -> Row {
    let file = first("sizes/4k.bin");
    let row = get(&format!("Condition: {name}"), &file).validators_of(&file);
    conditions.iter().fold(row, |row, (name, value)| row.header(name, value))
}

fn conditions() -> Vec<Row> {
    let not_modified = |row: Row| row.is(304).empty().has("ETag", "\"");
    let failed = |row: Row| row.is(412);
    let private = first("alice-sizes/4k.bin");
    let own = |name: &str, header: &str| get(name, &private).validators_of(&private).header(header, "{etag}");
    let head = |name: &str, header: &str, value: &str| {
        let file = first("sizes/4k.bin");
        ask(name, "HEAD", &file).validators_of(&file).header(header, value)
    };
    vec![
        not_modified(when("If-None-Match with its tag", &[("If-None-Match", "{etag}")])),
        not_modified(when("If-None-Match with its tag, weak", &[("If-None-Match", "W/{etag}")])),
        not_modified(when("If-None-Match with a list", &[("If-None-Match", "\"a\", {etag}, \"b\"")])),
        not_modified(when(
            "If-None-Match in two headers",
            &[("If-None-Match", "\"a\""), ("If-None-Match", "{etag}")],
        )),
        not_modified(when("If-None-Match: *", &[("If-None-Match", "*")])),
        whole(when("If-None-Match with another tag", &[("If-None-Match", "\"other\"")])),
        whole(when("If-None-Match without quotes", &[("If-None-Match", "other")])),
        not_modified(when("If-Modified-Since with its date", &[("If-Modified-Since", "{date}")])),
        not_modified(when("If-Modified-Since as RFC 850 has dates", &[("If-Modified-Since", "{date850}")])),
        not_modified(when("If-Modified-Since as asctime has dates", &[("If-Modified-Since", "{dateasc}")])),
        whole(when("If-Modified-Since with an old date", &[("If-Modified-Since", OLD)])),
        whole(when("If-Modified-Since with a date to come", &[("If-Modified-Since", FUTURE)]))
            .is(304)
            .but(200, "httpd takes a date to come for none, as RFC 2616 had it"),
        whole(when("If-Modified-Since with no date", &[("If-Modified-Since", "yesterday")])),
        whole(when("If-Modified-Since with a number", &[("If-Modified-Since", "1764000000")])),
        whole(when(
            "If-Modified-Since with a date that is none",
            &[("If-Modified-Since", "Thu, 32 Jan 1998 25:61:61 GMT")],
        )),
        whole(when(
            "If-None-Match counts before If-Modified-Since",
            &[("If-None-Match", "\"other\""), ("If-Modified-Since", "{date}")],
        )),
        whole(when(
            "If-None-Match counts before If-Modified-Since, the other way",
            &[("If-None-Match", "{etag}"), ("If-Modified-Since", OLD)],
        ))
        .is(304)
        .but(200, TOGETHER),
        whole(when("If-Match with its tag", &[("If-Match", "{etag}")])),
        whole(when("If-Match with a list", &[("If-Match", "\"a\", {etag}")])),
        whole(when("If-Match: *", &[("If-Match", "*")])),
        failed(when("If-Match with another tag", &[("If-Match", "\"other\"")])),
        failed(when("If-Match with its tag, weak", &[("If-Match", "W/{etag}")])),
        get("Condition: If-Match: * on an absent file", &first("public/absent"))
            .header("If-Match", "*")
            .is(404),
        whole(when("If-Unmodified-Since with its date", &[("If-Unmodified-Since", "{date}")])),
        failed(when("If-Unmodified-Since with an old date", &[("If-Unmodified-Since", OLD)])),
        whole(when("If-Unmodified-Since with no date", &[("If-Unmodified-Since", "tomorrow")])),
        when(
            "If-Match counts before If-Unmodified-Since",
            &[("If-Match", "{etag}"), ("If-Unmodified-Since", OLD)],
        )
        .is(200)
        .but(412, TOGETHER),
        failed(when(
            "If-Match before If-None-Match",
            &[("If-Match", "\"other\""), ("If-None-Match", "{etag}")],
        )),
        gives(when("If-Range with its tag", &[("If-Range", "{etag}"), ("Range", "bytes=0-9")]), 0, 10),
        whole(when("If-Range with another tag", &[("If-Range", "\"other\""), ("Range", "bytes=0-9")])),
        whole(when("If-Range with its tag, weak", &[("If-Range", "W/{etag}"), ("Range", "bytes=0-9")])),
        whole(when("If-Range with an old date", &[("If-Range", OLD), ("Range", "bytes=0-9")])),
        whole(when("If-Range with a date to come", &[("If-Range", FUTURE), ("Range", "bytes=0-9")])),
        whole(when("If-Range with no date", &[("If-Range", "yesterday"), ("Range", "bytes=0-9")])),
        whole(when("If-Range without Range", &[("If-Range", "\"other\"")])),
        not_modified(when("If-None-Match and Range", &[("If-None-Match", "{etag}"), ("Range", "bytes=0-9")])),
        failed(when("If-Match and Range", &[("If-Match", "\"other\""), ("Range", "bytes=0-9")])),
        head("Condition: HEAD, If-None-Match", "If-None-Match", "{etag}").is(304),
        head("Condition: HEAD, If-Modified-Since", "If-Modified-Since", "{date}").is(304),
        head("Condition: HEAD, If-Match", "If-Match", "\"other\"").is(412),
        own("Condition: If-None-Match, private file, alice", "If-None-Match").by("alice").is(304).empty(),
        own("Condition: If-None-Match, private file, bob", "If-None-Match").by("bob").is(403).lacks("ETag"),
        own("Condition: If-None-Match, private file, nobody", "If-None-Match").is(401).lacks("ETag"),
        own("Condition: If-Match, private file, bob", "If-Match").by("bob").is(403).lacks("ETag"),
        get("Condition: If-Match with another tag, private file, nobody", &private)
            .header("If-Match", "\"x\"")
            .is(401),
        get("Condition: If-Modified-Since, private file, wrong password", &private)
            .typed("alice", "not hers")
            .header("If-Modified-Since", FUTURE)
            .is(401),
        get("Condition: If-None-Match: *, a directory without a slash", &first("public/index"))
            .header("If-None-Match", "*")
            .is(301),
        get("Condition: If-None-Match: *, absent", &first("public/absent"))
            .header("If-None-Match", "*")
            .is(404),
    ]
}

fn negotiation() -> Vec<Row> {
    let public = first("public/plain.txt");
    let with = |name: &str, header: &str, value: &str| get(name, &public).header(header, value).publics();
    vec![
        with("Accept-Encoding: gzip", "Accept-Encoding", "gzip, deflate, br").lacks("Content-Encoding"),
        with("Accept-Encoding without identity", "Accept-Encoding", "identity;q=0, *;q=0"),
        with("Accept of another type", "Accept", "application/json"),
        with("Accept that is broken", "Accept", ";;;,,q=x"),
        with("Accept-Language", "Accept-Language", "tlh"),
        with("TE: trailers", "TE", "trailers"),
        with("Upgrade to WebSocket", "Upgrade", "websocket"),
        with("Max-Forwards", "Max-Forwards", "0"),
        with("X-Forwarded-For does not matter", "X-Forwarded-For", "192.0.2.250"),
        get("no type for a file without an extension", &first("public/noextension"))
            .publics()
            .lacks("Content-Type"),
        get("an empty file", &first("public/empty.txt"))
            .is(200)
            .whose(Body::Exactly(Vec::new()))
            .with("Content-Length", "0"),
    ]
}
