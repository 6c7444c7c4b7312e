//! A small HTTP/1.1 client for tests: it keeps connections, sends raw bytes, and gives the whole answer with its headers.

use crate::{tcp, wait};
use anyhow::{Context as _, Result, bail};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A connection that hears nothing for so long fails, where the processor is real.
const LIMIT: Duration = Duration::from_secs(60);

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// `target` is sent as it is: escape it with [`escape`] where needed.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// A GET.
    #[must_use]
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Basic credentials.
    #[must_use]
    pub fn login(self, user: &str, password: &str) -> Self {
        let value = format!("Basic {}", base64(format!("{user}:{password}").as_bytes()));
        self.header("Authorization", &value)
    }

    /// A body, with its length.
    #[must_use]
    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self.header("Content-Length", &body.len().to_string())
    }

    /// The same, without its body, for HTTP/2.
    ///
    /// # Errors
    /// It cannot be said there.
    pub(crate) fn for_http2(&self, address: SocketAddr) -> Result<http::Request<()>> {
        let mut request = http::Request::builder()
            .method(self.method.as_str())
            .uri(format!("http://{address}{}", self.target));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(()).context("request")
    }

    /// What goes over the wire; a `Host` is added where there is none.
    fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("host")) {
            text.push_str("Host: localhost\r\n");
        }
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Names and values as they came.
    pub headers: Vec<(String, String)>,
    /// The body, without the marks of chunks.
    pub body: Vec<u8>,
    /// Whether the body came to its announced end.
    pub complete: bool,
}

impl Response {
    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// All headers of that name.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    /// The body as text; bytes that are none are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    opened: Instant,
    /// See [`Connection::interim`].
    interim: u32,
}

/// Whether this is because the other side has closed, as httpd may between two requests; not: because it let us wait.
#[must_use]
pub fn is_closed(error: &anyhow::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let kind = error.chain().find_map(|e| e.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    matches!(kind, Some(BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof))
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn open(address: SocketAddr) -> Result<Self> {
        Self::open_within(address, LIMIT * wait::slow_factor())
    }

    /// Connects; later waits of the connection end after `limit`.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn open_within(address: SocketAddr, limit: Duration) -> Result<Self> {
        let stream =
            TcpStream::connect_timeout(&address, limit).with_context(|| format!("connect to {address}"))?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), opened: Instant::now(), interim: 0 })
    }

    /// Sends a request and reads its answer; the connection can be used again.
    ///
    /// # Errors
    /// The connection ends before an answer has begun, or it is no HTTP.
    pub fn send(&mut self, request: &Request) -> Result<Response> {
        self.send_raw(&request.bytes())?;
        self.receive(request.method == "HEAD")
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection's.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.get_mut().write_all(bytes).context("send")
    }

    /// Sends a request without waiting for its answer.
    ///
    /// # Errors
    /// The connection's.
    pub fn send_only(&mut self, request: &Request) -> Result<()> {
        self.send_raw(&request.bytes())
    }

    /// Reads an answer; `head`: to a HEAD, which has no body.
    ///
    /// # Errors
    /// The connection ends before the end of the headers, or it is no HTTP. A body that ends early is no error:
    /// [`Response::complete`] is false then.
    pub fn receive(&mut self, head: bool) -> Result<Response> {
        let line = self.line()?;
        let status: u16 = line
            .strip_prefix("HTTP/1.")
            .and_then(|l| l.split(' ').nth(1))
            .and_then(|s| s.parse().ok())
            .with_context(|| format!("no status line: {line:?}"))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').with_context(|| format!("no header: {line:?}"))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        if status == 100 {
            self.interim += 1;
            return self.receive(head);
        }
        let mut response = Response { status, headers, body: Vec::new(), complete: true };
        if head || status == 204 || status == 304 || status < 200 {
            return Ok(response);
        }
        response.complete =
            if response.header("transfer-encoding").is_some_and(|t| t.eq_ignore_ascii_case("chunked")) {
                self.chunks(&mut response.body).is_ok()
            } else if let Some(length) = response.header("content-length") {
                let length: u64 = length.parse().context("Content-Length")?;
                // What came before an error is kept.
                let _ = self.stream.by_ref().take(length).read_to_end(&mut response.body);
                u64::try_from(response.body.len())? == length
            } else {
                self.stream.read_to_end(&mut response.body).is_ok()
            };
        Ok(response)
    }

    /// One line without its end.
    fn line(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        let read = self.stream.by_ref().take(65_536).read_until(b'\n', &mut bytes);
        read.map_err(|e| self.told(e)).context("receive")?;
        if bytes.pop() != Some(b'\n') {
            let ended =
                std::io::Error::new(ErrorKind::UnexpectedEof, "the connection ended within the headers");
            return Err(ended.into());
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// An error of the socket, with what can be said of a reset.
    fn told(&self, error: std::io::Error) -> anyhow::Error {
        let is_reset = error.kind() == ErrorKind::ConnectionReset;
        let error = anyhow::Error::from(error);
        if !is_reset {
            return error;
        }
        error.context(format!(
            "{:?}, open for {:.1?}; counted so far: {}",
            self.socket().local_addr(),
            self.opened.elapsed(),
            tcp::resets()
        ))
    }

    /// A chunked body.
    fn chunks(&mut self, body: &mut Vec<u8>) -> Result<()> {
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).with_context(|| format!("no chunk: {line:?}"))?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(());
            }
            let before = body.len();
            self.stream.by_ref().take(size).read_to_end(body)?;
            if u64::try_from(body.len() - before)? != size || !self.line()?.is_empty() {
                bail!("a chunk ended early");
            }
        }
    }

    /// How many answers were only "continue".
    #[must_use]
    pub fn interim(&self) -> u32 {
        self.interim
    }

    /// All that comes until the other side closes, and whether it does.
    #[must_use]
    pub fn rest(&mut self) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        let closed = match self.stream.read_to_end(&mut bytes) {
            Ok(_) => true,
            Err(e) => e.kind() == ErrorKind::ConnectionReset,
        };
        (bytes, closed)
    }

    /// The socket, for tests that set its options or close one direction.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }
}

/// One request on a connection of its own.
///
/// # Errors
/// As [`Connection::send`].
pub fn request(address: SocketAddr, request: &Request) -> Result<Response> {
    let closing = request.clone().header("Connection", "close");
    Connection::open(address)?.send(&closing)
}

/// As [`request`], and how long it took.
///
/// # Errors
/// As [`Connection::send`].
pub fn timed(address: SocketAddr, r: &Request) -> Result<(Response, Duration)> {
    let begin = Instant::now();
    let response = request(address, r)?;
    Ok((response, begin.elapsed()))
}

/// The path of a URL for a file name: all but unreserved characters and `/` as %XX.
#[must_use]
pub fn escape(path: &str) -> String {
    path.bytes().fold(String::new(), |mut out, b| {
        if b.is_ascii_alphanumeric() || b"-._~/".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
        out
    })
}

/// Base 64 with padding.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().enumerate().fold(0_u32, |acc, (n, &b)| acc | u32::from(b) << (16 - 8 * n));
        for n in 0..4 {
            let sign = SIGNS.get(((bits >> (18 - 6 * n)) & 63) as usize).copied().unwrap_or(b'=');
            out.push(char::from(if n > group.len() { b'=' } else { sign }));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Answers one connection with `bytes` after it got a request, then closes.
    fn server(bytes: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut s, _) = listener.accept().unwrap();
            let _ = s.read(&mut [0; 4096]).unwrap();
            s.write_all(bytes).unwrap();
        });
        address
    }

    #[test]
    fn closed_is_not_silent() {
        let mut c = Connection::open(server(b"")).unwrap();
        assert!(is_closed(&c.send(&Request::get("/")).unwrap_err()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut c =
            Connection::open_within(listener.local_addr().unwrap(), Duration::from_millis(50)).unwrap();
        assert!(!is_closed(&c.send(&Request::get("/")).unwrap_err()));
    }

    #[test]
    fn a_reset_says_when_and_what_tcp_has_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut c = Connection::open(listener.local_addr().unwrap()).unwrap();
        c.send_only(&Request::get("/")).unwrap();
        // Closed with a request that nobody has read.
        let (accepted, _) = listener.accept().unwrap();
        accepted.peek(&mut [0]).unwrap();
        drop(accepted);
        let error = c.receive(false).unwrap_err();
        assert!(is_closed(&error));
        let text = format!("{error:#}");
        assert!(text.contains("open for") && text.contains("TCPAbortOnClose"), "{text}");
    }

    #[test]
    fn reads_lengths_chunks_and_what_ends_with_the_connection() {
        for (wire, body, complete) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"[..], &b"abc"[..], true),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n",
                b"abc",
                true,
            ),
            (b"HTTP/1.1 200 OK\r\n\r\nabc", b"abc", true),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", b"abc", false),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5\r\nx", b"abcx", false),
            (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b"", true),
        ] {
            let r = request(server(wire), &Request::get("/")).unwrap();
            assert_eq!(
                (r.body.as_slice(), r.complete),
                (body, complete),
                "{}",
                String::from_utf8_lossy(wire)
            );
        }
    }

    #[test]
    fn headers_are_found_in_any_case() {
        let r = request(server(b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\nVary: a\r\nvary: b\r\nContent-Length: 0\r\n\r\n"), &Request::get("/"))
            .unwrap();
        assert_eq!(
            (r.status, r.header("www-authenticate"), r.all("Vary").len()),
            (401, Some("Basic realm=\"x\""), 2)
        );
    }

    #[test]
    fn no_answer_is_an_error() {
        assert!(request(server(b""), &Request::get("/")).is_err());
    }

    #[test]
    fn base64_pads() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("alice:wonderland", "YWxpY2U6d29uZGVybGFuZA=="),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn names_are_escaped_for_a_url() {
        assert_eq!(escape("/a b/%\u{e9}<"), "/a%20b/%25%C3%A9%3C");
    }
}
