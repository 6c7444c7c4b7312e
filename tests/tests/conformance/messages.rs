//! Messages of each form, broken ones included: RFC 9112.

use crate::row::{BARE, Body, CLOSED, Row, ask, basic, first, get, raw};
use crate::run::{CLOSES_SILENTLY, STAYS_OPEN};

/// Of versions to come.
const NEWER: &str = "httpd takes any version from 1.1 on for 1.1";
/// Of what is expected of a server that cannot do it.
pub(crate) const MIRACLE: &str = "httpd closes the connection behind a 417 without saying so";
/// Of codings before the last one.
const LAST: &str = "httpd looks for chunks as the last coding alone, and for no other coding";
/// A file that everybody may read.
fn page() -> String {
    first("public/plain.txt")
}

/// A request for it with these lines behind the first, as they are.
fn with(name: &str, lines: &str) -> Row {
    raw(name, format!("GET {} HTTP/1.1\r\n{lines}\r\n", page()))
}

/// A first line, and Host.
fn line(name: &str, line: &str) -> Row {
    raw(name, format!("{line}\r\nHost: localhost\r\n\r\n"))
}

pub(crate) fn rows() -> Vec<Row> {
    [versions(), hosts(), lines(), lengths(), coded()].concat()
}

fn versions() -> Vec<Row> {
    let private = first("alice-only/page.html");
    vec![
        get("HTTP/1.0", &page()).version("HTTP/1.0").publics().closes(true),
        get("HTTP/1.0 without Host", &page()).version("HTTP/1.0").host(None).publics().closes(true),
        get("HTTP/1.0, alice", &private).version("HTTP/1.0").host(None).by("alice").file_of("alice"),
        get("HTTP/1.0, nobody", &private).version("HTTP/1.0").host(None).is(401),
        raw("HTTP/1.0 with keep-alive", format!("GET {} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", page()))
            .publics()
            .has("Connection", "Keep-Alive")
            .closes(false),
        get("HTTP/1.0 with a Range", &page())
            .version("HTTP/1.0")
            .header("Range", "bytes=0-5")
            .is(206)
            .whose(Body::Exactly(b"owner:".to_vec())),
        get("HTTP/1.1 with Connection: close", &page()).header("Connection", "close").publics().closes(true),
        get("HTTP/1.2 is answered as HTTP/1.1", &page()).version("HTTP/1.2").publics(),
        get("HTTP/2.0 in a line of HTTP/1", &page()).version("HTTP/2.0").publics().is(505).but(200, NEWER),
        get("HTTP/3.0 in a line of HTTP/1", &page()).version("HTTP/3.0").publics().is(505).but(200, NEWER),
        get("HTTP/0.9 with a version", &page()).version("HTTP/0.9").is(505).but(
            400,
            "httpd takes a line that names HTTP/0.9 for a broken one, since that version has no name",
        ),
        raw("HTTP/0.9, public file", format!("GET {}\r\n", page()))
            .publics()
            .is(400)
            .but(BARE, "httpd answers HTTP/0.9 unless `HttpProtocolOptions Require1.0` says otherwise"),
        raw("HTTP/0.9, private file", format!("GET {private}\r\n"))
            .is(400)
            .but(BARE, "httpd answers HTTP/0.9 unless `HttpProtocolOptions Require1.0` says otherwise"),
        line("the protocol in lower case", &format!("GET {} http/1.1", page())).is(400),
        line("a version without a dot", &format!("GET {} HTTP/11", page())).is(400),
        line("a version of two digits", &format!("GET {} HTTP/1.10", page())).is(400),
        line("another protocol", &format!("GET {} SIP/2.0", page())).is(400),
        line("a blank behind the version", &format!("GET {} HTTP/1.1 ", page())).is(400),
        line("two blanks", &format!("GET  {} HTTP/1.1", page())).is(400),
        line("a tab for a blank", &format!("GET\t{}\tHTTP/1.1", page())).is(400),
        line("a blank in front", &format!(" GET {} HTTP/1.1", page())).is(400),
        line("a method alone", "GET").is(400),
        raw("an empty line in front", format!("\r\nGET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", page()))
            .publics(),
        raw(
            "two hundred empty lines in front",
            format!("{}GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", "\r\n".repeat(200), page()),
        )
        .is(400),
        raw("TLS where none is spoken", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n").is(400),
        raw("nothing but bytes", b"\x00\xff\xfe\x80garbage\r\n\r\n").is(400),
        raw("nothing at all", b"").cut().is(CLOSED),
        raw("a line that is cut off", format!("GET {}", page())).cut().is(CLOSED),
        raw("headers that are cut off", format!("GET {} HTTP/1.1\r\nHost: localhost\r\nAuthor", page()))
            .cut()
            .is(400),
        raw(
            "credentials in front of the cut are nobody's",
            format!("GET {private} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n", basic("alice")),
        )
        .cut()
        .is(400),
    ]
}

fn hosts() -> Vec<Row> {
    vec![
        get("no Host", &page()).host(None).is(400),
        get("an empty Host", &page()).host(Some("")).is(200).but(400, "httpd takes an empty Host for none"),
        with("two Hosts", "Host: localhost\r\nHost: tls.example\r\n").is(400),
        with("the same Host twice", "Host: localhost\r\nHost: localhost\r\n").is(400),
        get("a Host with a blank", &page()).host(Some("local host")).is(400),
        get("a Host with a user", &page()).host(Some("alice@localhost")).is(400),
        get("a Host with a path", &page()).host(Some("localhost/x")).is(400),
        get("a Host with a port that is none", &page()).host(Some("localhost:x")).is(400),
        get("a Host of IPv6", &page()).host(Some("[::1]:80")).publics(),
        get("a Host that is not here", &page()).host(Some("elsewhere.example")).publics(),
        get("a Host in capitals", &first("alice-only/page.html")).host(Some("TLS.EXAMPLE")).is(403),
        get("a Host with a dot behind", &first("alice-only/page.html")).host(Some("tls.example.")).is(403),
        get("no Host, with credentials", &first("alice-only/page.html"))
            .host(None)
            .typed("alice", "wonderland")
            .is(400),
    ]
}

fn lines() -> Vec<Row> {
    let long = |n: usize| "x".repeat(n);
    let host = "Host: localhost\r\n";
    vec![
        with("a header of 4,000 bytes", &format!("{host}X: {}\r\n", long(4_000))).publics(),
        with("a header of 9,000 bytes", &format!("{host}X: {}\r\n", long(9_000)))
            .is(431)
            .but(400, "httpd's answer to a header that is too long is 400"),
        with("a name of 9,000 bytes", &format!("{host}{}: x\r\n", long(9_000)))
            .is(431)
            .but(400, "httpd's answer to a header that is too long is 400"),
        with("ninety headers", &format!("{host}{}", "X: y\r\n".repeat(90))).publics(),
        with("two hundred headers", &format!("{host}{}", "X: y\r\n".repeat(200)))
            .is(431)
            .but(400, "httpd's answer to more headers than LimitRequestFields (100) is 400"),
        with("a line without a colon", &format!("{host}nonsense\r\n")).is(400),
        with("an empty name", &format!("{host}: x\r\n")).is(400),
        with("a name with a blank", &format!("{host}X y: z\r\n")).is(400),
        with("a name with a control character", &format!("{host}X\x01: z\r\n")).is(400),
        with("a name with brackets", &format!("{host}X(y): z\r\n")).is(400),
        with("a NUL in a value", &format!("{host}X: a\0b\r\n")).is(400),
        with("a control character in a value", &format!("{host}X: a\x01b\r\n")).is(400),
        with("a tab in a value", &format!("{host}X: a\tb\r\n")).publics(),
        with("a value above 127", &format!("{host}X: gr\u{fc}n\r\n")).publics(),
        with("an empty value", &format!("{host}X:\r\n")).publics(),
        with("no blank behind the colon", "Host:localhost\r\n").publics(),
        with("blanks around a value", "Host:   localhost   \r\n").publics(),
        with("the first header begins with a blank", &format!(" X: y\r\n{host}")).is(400),
        with("a header in two lines", &format!("{host}X: y\r\n z\r\n")).publics(),
        raw("newlines alone", format!("GET {} HTTP/1.1\nHost: localhost\n\n", page())).is(400),
        raw(
            "a newline alone behind the first line",
            format!("GET {} HTTP/1.1\nHost: localhost\r\n\r\n", page()),
        )
        .is(400),
        raw(
            "a carriage return alone in the first line",
            format!("GET {} HTTP/1.1\r Host: localhost\r\n\r\n", page()),
        )
        .is(400),
        with("Connection names Authorization", &format!("{host}Connection: Authorization\r\n")).publics(),
        with("Expect of something else", &format!("{host}Expect: a-miracle\r\n"))
            .is(417)
            .spares(CLOSES_SILENTLY, MIRACLE),
    ]
}

/// A POST where it is 405, so that only its framing counts.
fn post(name: &str, headers: &str, body: &str) -> Row {
    raw(name, format!("POST {} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{body}", page()))
}

fn lengths() -> Vec<Row> {
    vec![
        post("no body", "", "").is(405),
        post("Content-Length: 0", "Content-Length: 0\r\n", "").is(405),
        post("Content-Length: 5", "Content-Length: 5\r\n", "12345").is(405),
        post("Content-Length with zeros in front", "Content-Length: 0005\r\n", "12345").is(405),
        post("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n", "123456").is(400),
        post("the same length twice", "Content-Length: 5\r\nContent-Length: 5\r\n", "12345").is(400),
        post("a list of lengths", "Content-Length: 5, 5\r\n", "12345").is(400),
        post("a length with a sign", "Content-Length: +5\r\n", "12345").is(400),
        post("a negative length", "Content-Length: -5\r\n", "12345").is(400),
        post("a hexadecimal length", "Content-Length: 0x5\r\n", "12345").is(400),
        post("a length with a blank in it", "Content-Length: 1 2\r\n", "123456789012").is(400),
        post("no length", "Content-Length: many\r\n", "12345").is(400),
        post("an empty length", "Content-Length:\r\n", "12345").is(400),
        post("a length that no machine counts to", "Content-Length: 99999999999999999999\r\n", "1").is(400),
        post("a body that is cut off", "Content-Length: 100\r\n", "12345").cut().is(400),
        with("GET: two lengths", "Host: localhost\r\nContent-Length: 0\r\nContent-Length: 5\r\n").is(400),
    ]
}

fn coded() -> Vec<Row> {
    let chunked = "Transfer-Encoding: chunked\r\n";
    let smuggled = format!(
        "0\r\n\r\nGET {} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\r\n",
        first("alice-only/page.html"),
        basic("alice")
    );
    let both = format!("Content-Length: {}\r\n{chunked}", smuggled.len());
    vec![
        post("chunks", chunked, "5\r\n12345\r\n0\r\n\r\n").is(405),
        post("chunks: the coding in capitals", "Transfer-Encoding: CHUNKED\r\n", "5\r\n12345\r\n0\r\n\r\n")
            .is(405),
        post("chunks: with extensions and trailers", chunked, "5;a=b\r\n12345\r\n0;c\r\nX: y\r\n\r\n")
            .is(405),
        post("chunks: a size with zeros in front", chunked, "0000a\r\n1234567890\r\n000\r\n\r\n").is(405),
        post("chunks: no size", chunked, "x\r\n12345\r\n0\r\n\r\n").is(400),
        post("chunks: a size with a sign", chunked, "+5\r\n12345\r\n0\r\n\r\n").is(400),
        post("chunks: a negative size", chunked, "-1\r\n12345\r\n0\r\n\r\n").is(400),
        post("chunks: a size with 0x", chunked, "0x5\r\n12345\r\n0\r\n\r\n").is(400),
        post("chunks: a size of seventeen digits", chunked, "fffffffffffffffff\r\n1\r\n0\r\n\r\n").is(413),
        post("chunks: more than the size", chunked, "3\r\n12345\r\n0\r\n\r\n").is(400),
        post("chunks: cut off", chunked, "5\r\n12").cut().is(400),
        post("chunks: cut off before the last", chunked, "5\r\n12345\r\n").cut().is(400),
        post("chunks: newlines alone", chunked, "5\n12345\n0\n\n").is(400),
        post("another coding", "Transfer-Encoding: gzip\r\n", "12345").is(400),
        post(
            "another coding before chunks",
            "Transfer-Encoding: gzip, chunked\r\n",
            "5\r\n12345\r\n0\r\n\r\n",
        )
        .is(501)
        .but(405, LAST),
        post(
            "another coding behind chunks",
            "Transfer-Encoding: chunked, gzip\r\n",
            "5\r\n12345\r\n0\r\n\r\n",
        )
        .is(400),
        post("chunks in chunks", "Transfer-Encoding: chunked, chunked\r\n", "5\r\n12345\r\n0\r\n\r\n")
            .is(400)
            .but(405, LAST),
        post(
            "chunks in two headers",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "5\r\n12345\r\n0\r\n\r\n",
        )
        .is(400)
        .but(405, LAST),
        post("the coding identity", "Transfer-Encoding: identity\r\n", "12345").is(400),
        post("an empty coding", "Transfer-Encoding:\r\n", "12345").is(400),
        post("a coding with a control character", "Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n").is(400),
        post("a blank before the colon of a coding", "Transfer-Encoding : chunked\r\n", "0\r\n\r\n").is(400),
        post("chunks and a length: what the length hides is never answered", &both, &smuggled)
            .is(405)
            .closes(true),
        post(
            "a length and chunks, the other way round",
            &format!("{chunked}Content-Length: 5\r\n"),
            "0\r\n\r\n",
        )
        .is(405)
        .closes(true),
        raw(
            "chunks in HTTP/1.0",
            format!(
                "POST {} HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n{chunked}\r\n0\r\n\r\n",
                page()
            ),
        )
        .is(405)
        .closes(true)
        .spares(
            STAYS_OPEN,
            "httpd keeps a connection of HTTP/1.0 open behind chunks, which RFC 9112, 6.1 wants closed",
        ),
        raw(
            "GET with chunks",
            format!("GET {} HTTP/1.1\r\nHost: localhost\r\n{chunked}\r\n5\r\n12345\r\n0\r\n\r\n", page()),
        )
        .publics(),
        raw(
            "GET with broken chunks",
            format!("GET {} HTTP/1.1\r\nHost: localhost\r\n{chunked}\r\nx\r\n\r\n", page()),
        )
        .is(400),
        ask("GET with a body and Expect", "GET", &page())
            .header("Expect", "100-continue")
            .body(b"12345")
            .publics(),
    ]
}
