//! Sends the rows of the table and holds what comes back against them.

use crate::row::{BARE, Body, CLOSED, Carried, Header, Row, first};
use integration::content::PUBLIC_LINE;
use integration::http::{Connection, Request, Response};
use integration::httpd::{Httpd, Mpm};
use integration::table::{Answered, Mark};
use integration::{http2, wait};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::Shutdown;
use std::time::{Duration, Instant};

/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(20);
/// What takes longer is named at the end.
const SLOW: Duration = Duration::from_millis(700);
/// How the text of each file begins that belongs to somebody, or to everybody.
const OWNED: &str = "owner: ";
/// Statuses that httpd may give before it asks whose request it is.
const EARLY: [u16; 10] = [CLOSED, BARE, 400, 408, 413, 414, 417, 431, 501, 505];
/// What a row is spared that is closed without a word of it.
pub(crate) const CLOSES_SILENTLY: &str = "Connection: close";
/// What a row is spared whose connection is kept where it must be closed.
pub(crate) const STAYS_OPEN: &str = "a closed connection";
/// What a row is spared that does not say how long the file is.
pub(crate) const NO_LENGTH: &str = "416 without Content-Range";
/// What a row is spared that does not tell caches whose it is.
pub(crate) const NO_VARY: &str = "no Vary";
/// See [`NO_VARY`].
pub(crate) const NOT_PRIVATE: &str = "Cache-Control";
/// There must be one of each at most.
const SINGLE: [&str; 10] = [
    "Content-Length",
    "Content-Type",
    "Content-Range",
    "Date",
    "ETag",
    "Last-Modified",
    "Location",
    "Retry-After",
    "Transfer-Encoding",
    "WWW-Authenticate",
];

/// An answer.
struct Seen {
    status: u16,
    response: Option<Response>,
    /// Answers that only said "continue", before it.
    interim: u32,
}

impl Seen {
    fn of(response: Response, interim: u32) -> Self {
        Self { status: response.status, response: Some(response), interim }
    }

    fn closed() -> Self {
        Self { status: CLOSED, response: None, interim: 0 }
    }

    /// Whether the server says that the connection ends behind it.
    fn says_close(&self) -> bool {
        self.response.as_ref().is_none_or(|r| {
            r.all("Connection").iter().any(|v| v.to_ascii_lowercase().contains("close")) || !r.complete
        })
    }
}

/// Where the rows are sent.
pub(crate) struct Runner<'a> {
    pub(crate) httpd: &'a Httpd,
    pub(crate) mpm: Mpm,
    /// The AFS client that serves the files.
    pub(crate) client: String,
    /// The URL of a directory of alice's that nobody else uses.
    pub(crate) dir: String,
    /// ETag and Last-Modified, by path and credentials.
    pub(crate) validators: HashMap<(String, String), (String, String)>,
    /// Rows that took long.
    pub(crate) slow: Vec<String>,
}

impl Runner<'_> {
    /// Sends all rows; what came of each.
    pub(crate) fn run(&mut self, rows: &[Row]) -> Vec<Answered> {
        let mut answered = Vec::new();
        let mut rest = rows;
        while let Some((row, behind)) = rest.split_first() {
            let belongs = |r: &&Row| matches!(r.carried, Carried::Joined | Carried::Behind);
            let more = match row.carried {
                Carried::Http2 => behind.iter().take_while(|r| r.carried == Carried::Http2).count(),
                _ => behind.iter().take_while(belongs).count(),
            };
            let (group, others) = rest.split_at(1 + more);
            rest = others;
            answered.extend(if row.carried == Carried::Http2 {
                self.by_http2(group)
            } else {
                self.on_a_connection(group)
            });
        }
        answered
    }

    /// Why a row is not sent here.
    fn absent(&self, row: &Row) -> Option<&'static str> {
        if row.carried == Carried::Http2 && self.mpm == Mpm::Prefork {
            return Some("mod_http2 does not work with prefork");
        }
        row.absent.iter().find(|(client, _)| *client == self.client).map(|(_, why)| *why)
    }

    /// The status that must be seen here, and why it is not the one that is wanted.
    fn expected(&self, row: &Row) -> (u16, Option<&'static str>) {
        let here = row.on.iter().find(|(clients, ..)| clients.contains(&self.client.as_str()));
        here.map(|(_, seen, why)| (*seen, Some(*why)))
            .or(row.but.map(|(seen, why)| (seen, Some(why))))
            .unwrap_or((row.want, None))
    }

    /// Rows that share a connection.
    fn on_a_connection(&mut self, group: &[Row]) -> Vec<Answered> {
        let mut answered = Vec::new();
        let mut connection: Option<Connection> = None;
        for (n, row) in group.iter().enumerate() {
            if let Some(why) = self.absent(row) {
                answered.push(not_sent(row, why));
                continue;
            }
            if row.carried != Carried::Joined {
                let joined = group.iter().skip(n + 1).take_while(|r| r.carried == Carried::Joined);
                let bytes: Vec<u8> = std::iter::once(row).chain(joined).flat_map(|r| self.bytes(r)).collect();
                let c = connection.get_or_insert_with(|| {
                    let limit = LIMIT * wait::slow_factor();
                    Connection::open_within(self.httpd.address(), limit).unwrap()
                });
                // Who is refused early may close before all is sent; what it says counts.
                let _ = c.send_raw(&bytes);
                if row.cut {
                    let _ = c.socket().shutdown(Shutdown::Write);
                }
            }
            let Some(c) = connection.as_mut() else { continue };
            let mut faults = Vec::new();
            let began = Instant::now();
            let seen = receive(c, row, &mut faults);
            let (expected, why) = self.expected(row);
            self.compare(row, expected, &seen, &mut faults);
            if n + 1 == group.len() {
                self.look_behind(c, row, &seen, &mut faults);
            }
            let took = began.elapsed();
            if took > SLOW {
                self.slow.push(format!("{}: {took:.1?}", row.name));
            }
            answered.push(verdict(row, &seen, expected, why, faults));
        }
        answered
    }

    /// Behind the last answer: the connection ends where it was said, else it serves the next one, as nobody.
    fn look_behind(&self, c: &mut Connection, row: &Row, seen: &Seen, faults: &mut Vec<String>) {
        let spared = |what: &str| row.spared.iter().any(|(spared, _)| *spared == what);
        if row.closes.is_some_and(|wanted| wanted != (seen.says_close() != spared(STAYS_OPEN))) {
            faults.push(format!("the connection is to be closed: {}", seen.says_close()));
        }
        if seen.status == BARE {
            return;
        }
        if seen.says_close() || row.cut {
            let (bytes, closed) = c.rest();
            if !closed {
                faults.push("the connection stays open".into());
            }
            if !bytes.is_empty() {
                faults.push(format!("behind the answer: {:?}", String::from_utf8_lossy(&bytes)));
            }
            return;
        }
        let silently = spared(CLOSES_SILENTLY);
        match c.send(&Request::get(&first("public/plain.txt"))) {
            Err(_) if silently => {}
            Ok(_) if silently => faults.push("the connection stays open".into()),
            Ok(r) if r.status == 200 && r.text() == format!("{PUBLIC_LINE}text\n") => {
                if r.header("Cache-Control").is_some_and(|v| v.contains("private")) {
                    faults.push("the next request on the connection is not nobody's".into());
                }
            }
            Ok(r) => faults.push(format!("the next request on the connection: {} {}", r.status, r.text())),
            Err(e) => faults.push(format!("the next request on the connection: {e:#}")),
        }
    }

    /// All rows of HTTP/2, at once on one connection.
    fn by_http2(&mut self, group: &[Row]) -> Vec<Answered> {
        if let Some(why) = group.first().and_then(|row| self.absent(row)) {
            return group.iter().map(|row| not_sent(row, why)).collect();
        }
        let requests: Vec<Request> = group
            .iter()
            .map(|row| {
                let request = Request::new(&row.method, &row.target);
                let headers = self.headers(row);
                headers
                    .into_iter()
                    .fold(request, |r, (name, value)| r.header(&name, &String::from_utf8_lossy(&value)))
            })
            .collect();
        let answers = http2::at_once(self.httpd.address(), &requests).unwrap();
        let one = |(row, response): (&Row, Response)| {
            let mut faults = Vec::new();
            let seen = Seen::of(response, 0);
            let (expected, why) = self.expected(row);
            self.compare(row, expected, &seen, &mut faults);
            verdict(row, &seen, expected, why, faults)
        };
        group.iter().zip(answers).map(one).collect()
    }

    /// The headers of a row, filled in.
    fn headers(&mut self, row: &Row) -> Vec<(String, Vec<u8>)> {
        row.headers.iter().map(|(n, v)| (n.clone(), self.filled(row, v))).collect()
    }

    /// What goes over the wire.
    fn bytes(&mut self, row: &Row) -> Vec<u8> {
        if let Some(raw) = &row.raw {
            return self.filled(row, raw);
        }
        let target = self.filled(row, row.target.as_bytes());
        let mut bytes =
            [row.method.as_bytes(), b" ", &target, b" ", row.version.as_bytes(), b"\r\n"].concat();
        if let Some(host) = &row.host {
            let host = self.filled(row, host.as_bytes());
            bytes.extend([b"Host: ", host.as_slice(), b"\r\n"].concat());
        }
        for (name, value) in self.headers(row) {
            bytes.extend([name.as_bytes(), b": ", &value, b"\r\n"].concat());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&row.body);
        bytes
    }

    /// Bytes with what is only known here.
    fn filled(&mut self, row: &Row, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = replaced(bytes, "{port}", &self.httpd.address().port().to_string());
        bytes = replaced(&bytes, "{dir}", &self.dir);
        let Some(path) = &row.validators_of else { return bytes };
        let (etag, date) = self.validators(row, path);
        bytes = replaced(&bytes, "{etag}", &etag);
        bytes = replaced(&bytes, "{date}", &date);
        bytes = replaced(&bytes, "{date850}", &other_date(&date, false));
        replaced(&bytes, "{dateasc}", &other_date(&date, true))
    }

    /// ETag and Last-Modified of a file, as the one whom a row is from gets them, or else alice.
    fn validators(&mut self, row: &Row, path: &str) -> (String, String) {
        let own = row.headers.iter().find(|(n, _)| n == "Authorization" && row.is_visitor);
        let who = own.map(|(_, v)| String::from_utf8_lossy(v).into_owned()).unwrap_or_default();
        let changes = path.contains("{dir}");
        let path = path.replace("{dir}", &self.dir);
        let key = (path.clone(), who.clone());
        if let Some(known) = self.validators.get(&key).filter(|_| !changes) {
            return known.clone();
        }
        let ask = |who: &str| {
            let request = Request::get(&path);
            let request = if who.is_empty() { request } else { request.header("Authorization", who) };
            self.httpd.request(&request).unwrap()
        };
        let mut r = ask(&who);
        if r.status != 200 {
            r = ask(&crate::row::basic("alice"));
        }
        assert_eq!(r.status, 200, "validators of {path}: {}", r.text());
        let header = |name: &str| r.header(name).expect("a validator").to_owned();
        let found = (header("ETag"), header("Last-Modified"));
        self.validators.insert(key, found.clone());
        found
    }

    /// Holds an answer against its row.
    fn compare(&self, row: &Row, expected: u16, seen: &Seen, faults: &mut Vec<String>) {
        if seen.status != expected {
            let text = seen.response.as_ref().map(Response::text).unwrap_or_default();
            let start: String = text.chars().take(200).collect();
            faults.push(format!("{} instead of {expected}: {start:?}", seen.status));
            return;
        }
        if row.continues.is_some_and(|wanted| wanted != (seen.interim > 0)) {
            faults.push(format!("{} times \"continue\"", seen.interim));
        }
        let Some(r) = &seen.response else { return };
        let as_wanted = expected == row.want || row.but.is_some_and(|(but, _)| but == expected);
        compare_body(row, expected, r, faults);
        for secret in &row.secrets {
            let shown = r.headers.iter().any(|(_, v)| v.contains(secret)) || r.text().contains(secret);
            if shown {
                faults.push("the answer shows the credentials".into());
            }
        }
        if expected == BARE {
            return;
        }
        compare_headers(row, expected, r, faults);
        if as_wanted {
            faults.extend(row.wanted_headers.iter().filter_map(|h| differs(r, h)));
        }
    }
}

/// Reads the answer to a row.
fn receive(c: &mut Connection, row: &Row, faults: &mut Vec<String>) -> Seen {
    let before = c.interim();
    if row.want == BARE || row.but.is_some_and(|(but, _)| but == BARE) {
        let (bytes, closed) = c.rest();
        if !closed {
            faults.push("the connection stays open".into());
        }
        let text = String::from_utf8_lossy(&bytes);
        let status = text.strip_prefix("HTTP/1.1 ").and_then(|t| t.get(..3)?.parse().ok());
        let status = status.unwrap_or(if bytes.is_empty() { CLOSED } else { BARE });
        return Seen::of(Response { status, headers: Vec::new(), body: bytes, complete: true }, 0);
    }
    match c.receive(row.method == "HEAD") {
        Ok(response) => Seen::of(response, c.interim() - before),
        Err(e) => {
            let silent = e.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            if matches!(silent, Some(ErrorKind::WouldBlock | ErrorKind::TimedOut)) {
                faults.push("no answer in time".into());
            }
            Seen::closed()
        }
    }
}

/// The mark of a row.
fn verdict(row: &Row, seen: &Seen, expected: u16, why: Option<&str>, faults: Vec<String>) -> Answered {
    let spared = row.spared.first().map(|(_, why)| *why).filter(|_| expected == row.want);
    let (mark, why) = match (faults.is_empty(), why.or(spared)) {
        (false, _) => (Mark::Failed, Some(faults.join("; "))),
        (true, Some(why)) => (Mark::Deviates, Some(why.to_owned())),
        (true, None) => (Mark::Ok, None),
    };
    Answered {
        mark,
        seen: seen.status,
        want: row.want,
        whose: row.owner(expected),
        name: row.name.clone(),
        why: why.map(|w| w.replace(['\n', '\r'], " ")),
    }
}

/// A row that is not sent.
fn not_sent(row: &Row, why: &str) -> Answered {
    Answered {
        mark: Mark::Absent,
        seen: 0,
        want: row.want,
        whose: row.owner(row.want),
        name: row.name.clone(),
        why: Some(why.to_owned()),
    }
}

/// Whose body it is.
fn compare_body(row: &Row, expected: u16, r: &Response, faults: &mut Vec<String>) {
    let text = r.text();
    let files = text.matches(OWNED).count();
    if !r.complete {
        faults.push(format!("the body ends after {} bytes", r.body.len()));
    }
    let bodyless = row.method == "HEAD" || expected == 204 || expected == 304;
    let is_error = expected >= 300;
    let right = match &row.whose {
        _ if bodyless => r.body.is_empty(),
        Body::None => r.body.is_empty(),
        Body::Of(line) if !is_error => text.starts_with(line.as_str()) && files == 1,
        Body::Exactly(bytes) if !is_error => r.body == *bytes,
        Body::Says(part) => text.contains(part.as_str()) && files == 0,
        Body::Of(_) | Body::Exactly(_) | Body::Nobodys => files == 0,
    };
    if !right {
        let start: String = text.chars().take(200).collect();
        faults.push(format!("the body: {} bytes, {files} files: {start:?}", r.body.len()));
    }
}

/// What the headers of every answer must be.
fn compare_headers(row: &Row, expected: u16, r: &Response, faults: &mut Vec<String>) {
    let spared = |what: &str| row.spared.iter().any(|(spared, _)| *spared == what);
    let mut must = |right: bool, what: &str| {
        // What is spared must be missing, else nobody would notice that it is there now.
        if right == spared(what) {
            faults.push(format!("{what}: {:?}", r.headers));
        }
    };
    let starts = |name: &str, with: &str| r.header(name).is_some_and(|v| v.starts_with(with));
    let contains = |name: &str, part: &str| r.all(name).iter().any(|v| v.contains(part));
    must(r.header("Date").is_some(), "no Date");
    for name in SINGLE {
        must(r.all(name).len() <= 1, name);
    }
    let lengths = r.header("Content-Length").is_some() && r.header("Transfer-Encoding").is_some();
    must(!lengths, "length and chunks");
    must((expected == 401) == starts("WWW-Authenticate", "Basic realm=\""), "WWW-Authenticate");
    must(expected == 401 || r.header("WWW-Authenticate").is_none(), "WWW-Authenticate");
    must(expected != 405 || r.header("Allow").is_some(), "405 without Allow");
    must(expected != 503 || r.header("Retry-After").is_some(), "503 without Retry-After");
    must(expected != 301 || r.header("Location").is_some(), "301 without Location");
    must(expected != 416 || starts("Content-Range", "bytes */"), NO_LENGTH);
    let multiple = starts("Content-Type", "multipart/byteranges");
    must(expected != 206 || multiple || starts("Content-Range", "bytes "), "206 without Content-Range");
    must(expected == 206 || expected == 416 || r.header("Content-Range").is_none(), "Content-Range");
    must(expected != 204 || r.header("Transfer-Encoding").is_none(), "204 with a body");
    must(expected != 304 || r.header("ETag").is_some(), "304 without ETag");
    let is_file = matches!(row.whose, Body::Of(_) | Body::Exactly(_)) && matches!(expected, 200 | 206);
    if is_file && matches!(row.method.as_str(), "GET" | "HEAD") {
        must(starts("ETag", "\""), "ETag");
        must(r.header("Last-Modified").is_some(), "no Last-Modified");
        must(starts("Accept-Ranges", "bytes"), "Accept-Ranges");
        must(expected != 200 || r.header("Content-Length").is_some(), "no Content-Length");
    }
    if EARLY.contains(&expected) {
        return;
    }
    let path = row
        .target
        .strip_prefix("http://")
        .map_or(row.target.as_str(), |t| t.find('/').and_then(|at| t.get(at..)).unwrap_or_default());
    let in_afs = row.raw.is_none() && (path == "/afs" || path.starts_with("/afs/") || path.starts_with("/~"));
    match row.varies {
        Some(true) => must(contains("Vary", "Authorization"), NO_VARY),
        Some(false) => must(!contains("Vary", "Authorization"), "Vary"),
        None => must(!in_afs || contains("Vary", "Authorization"), NO_VARY),
    }
    must(row.is_visitor == contains("Cache-Control", "private"), NOT_PRIVATE);
}

/// What is wrong with a header.
fn differs(r: &Response, header: &Header) -> Option<String> {
    let (name, right) = match header {
        Header::Has(name, part) => (name, r.all(name).iter().any(|v| v.contains(part.as_str()))),
        Header::HasNot(name, part) => {
            (name, r.header(name).is_some() && r.all(name).iter().all(|v| !v.contains(part)))
        }
        Header::Is(name, value) => (name, r.header(name) == Some(value.as_str())),
        Header::Ends(name, end) => (name, r.header(name).is_some_and(|v| v.ends_with(end.as_str()))),
        Header::Lacks(name) => (name, r.header(name).is_none()),
    };
    (!right).then(|| format!("{name}: {:?}, wanted: {header:?}", r.all(name)))
}

/// `bytes` with `new` in the place of each `old`.
fn replaced(bytes: &[u8], old: &str, new: &str) -> Vec<u8> {
    let mut done = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(old.len()).position(|w| w == old.as_bytes()) {
        done.extend_from_slice(rest.get(..at).unwrap_or_default());
        done.extend_from_slice(new.as_bytes());
        rest = rest.get(at + old.len()..).unwrap_or_default();
    }
    done.extend_from_slice(rest);
    done
}

/// A date as RFC 850 or asctime(3) has it (RFC 9110, 5.6.7).
fn other_date(date: &str, asctime: bool) -> String {
    let parts: Vec<&str> = date.split_ascii_whitespace().collect();
    let [day, of_month, month, year, time, _] = parts[..] else { panic!("no date: {date}") };
    let day = day.trim_end_matches(',');
    if asctime {
        let of_month: u32 = of_month.parse().unwrap();
        return format!("{day} {month} {of_month:>2} {time} {year}");
    }
    let long = match day {
        "Tue" => "Tuesday".to_owned(),
        "Wed" => "Wednesday".to_owned(),
        "Thu" => "Thursday".to_owned(),
        "Sat" => "Saturday".to_owned(),
        other => format!("{other}day"),
    };
    format!("{long}, {of_month}-{month}-{} {time} GMT", &year[2..])
}

#[test]
fn dates_are_written_in_the_older_ways_too() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    assert_eq!(other_date(date, false), "Sunday, 06-Nov-94 08:49:37 GMT");
    assert_eq!(other_date(date, true), "Sun Nov  6 08:49:37 1994");
}

#[test]
fn places_are_filled_in_wherever_they_stand() {
    assert_eq!(replaced(b"{a}x{a}{b}\xff", "{a}", "12"), b"12x12{b}\xff");
}
