//! Every way that a password can come: each request begins a login of its own, since the broker is told to forget first.

use crate::common::{KdcMischief, Mischief, first, method};
use crate::{TLS, marked, weblog};
use integration::http::{self, Request, Response, base64, escape};
use integration::http2;
use integration::httpd::{Httpd, Mpm};
use integration::method::Method;
use integration::world::{FIRST_CELL, FIRST_REALM, World};
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Sends requests and keeps what is answered.
pub(crate) struct Visitors<'a> {
    world: &'a World,
    httpd: &'a Httpd,
    asked: usize,
    shown: Vec<u8>,
}

impl<'a> Visitors<'a> {
    pub(crate) fn new(world: &'a World, httpd: &'a Httpd) -> Self {
        Self { world, httpd, asked: 0, shown: Vec::new() }
    }

    /// How many requests there were, and all that came back.
    pub(crate) fn end(self) -> (usize, Vec<u8>) {
        (self.asked, self.shown)
    }

    fn keep(&mut self, what: &str, answer: &Response, statuses: &[u16]) {
        assert!(statuses.contains(&answer.status), "{what}: {}", answer.status);
        self.asked += 1;
        for (name, value) in &answer.headers {
            self.shown.extend(format!("{name}: {value}\n").bytes());
        }
        self.shown.extend_from_slice(&answer.body);
        self.shown.push(b'\n');
    }

    /// A request that begins a login; one of these statuses must come of it.
    fn ask(&mut self, what: &str, request: &Request, statuses: &[u16]) {
        self.shown.extend(weblog(self.world, &["forget", "*"]));
        let answer = self.httpd.request(request).unwrap();
        self.keep(what, &answer, statuses);
    }

    fn get(&mut self, what: &str, path: &str, user: &str, password: &str, status: u16) {
        self.ask(what, &Request::get(path).login(user, password), &[status]);
    }

    /// All ways; `page` is one that a service reads.
    pub(crate) fn come(&mut self, page: &str) {
        self.log_in(page);
        self.fail();
        self.write();
        self.be_served();
        self.break_rules();
        self.share_connections();
        self.speak_tls();
        self.meet_bad_servers();
    }

    fn log_in(&mut self, page: &str) {
        let own = first("home/alice/owner.txt");
        let alice = marked("alice");
        self.get("right", &own, "alice", &alice, 200);
        self.get("with the cell's name", &own, &format!("alice@{FIRST_CELL}"), &alice, 200);
        self.get("another cell's", &first("public/page.html"), "alice@other.example", &marked("other"), 200);
        if method() == Method::Krb5 {
            self.get("another realm's", &first("partner/page.html"), "alice@partner.example", &alice, 200);
            self.get("another realm's, wrong", &own, "alice@partner.example", &marked("wrong"), 401);
        }
        self.get("somebody else's file", &first("home/bob/owner.txt"), "alice", &alice, 403);
        self.ask("a service's page", &Request::get(page), &[200]);
        self.get("a service's page, as oneself", page, "alice", &alice, 403);
    }

    fn fail(&mut self) {
        let own = first("home/alice/owner.txt");
        for (what, user, password) in [
            ("wrong", "alice", marked("wrong")),
            ("the right one and more", "alice", marked("alice") + "x"),
            ("unknown user", "nobody-here", marked("unknown")),
            ("unknown cell", "alice@nowhere.example", marked("nowhere")),
            ("prefix of a cell", "alice@other", marked("prefix")),
            ("control characters", "al\nice", marked("unfit")),
            ("a newline", "alice", marked("new\nline")),
            ("NUL", "alice", marked("n\0l")),
            ("too long", "alice", marked(&"p".repeat(300))),
            ("name too long", &"a".repeat(5_000), marked("long")),
            ("no name", "", marked("no-name")),
        ] {
            self.get(what, &own, user, &password, 401);
        }
        for (what, value) in [
            ("no base64", format!("Basic !{}", base64(marked("broken").as_bytes()))),
            ("no colon", format!("Basic {}", base64(marked("colon").as_bytes()))),
            ("cut off", format!("Basic {}=", base64(marked("cut").as_bytes()))),
            ("no scheme", base64(format!("alice:{}", marked("scheme")).as_bytes())),
            ("another scheme", format!("Bearer {}", base64(marked("bearer").as_bytes()))),
            ("plain", format!("Basic alice:{}", marked("plain"))),
        ] {
            self.ask(what, &Request::get(&own).header("Authorization", &value), &[400, 401]);
        }
    }

    fn write(&mut self) {
        let host = format!("localhost:{}", self.httpd.address().port());
        let alice = marked("alice");
        let dir = first(&format!("write/alice/secrets-{}", std::process::id()));
        let (one, two) = (format!("{dir}/one"), format!("{dir}/two"));
        let lock = b"<?xml version=\"1.0\"?><lockinfo xmlns=\"DAV:\"><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>";
        let steps = [
            Request::new("MKCOL", &dir),
            Request::new("PUT", &one).body(b"text"),
            Request::new("PROPFIND", &dir).header("Depth", "1"),
            Request::new("MOVE", &one).header("Destination", &format!("http://{host}{two}")),
            Request::new("COPY", &two).header("Destination", &format!("http://{host}{one}")),
            Request::new("PROPPATCH", &one).body(b"<?xml version=\"1.0\"?><propertyupdate xmlns=\"DAV:\"/>"),
            Request::new("OPTIONS", &one),
            Request::new("LOCK", &two).body(lock),
            Request::new("PUT", &two).body(b"locked"),
            Request::new("DELETE", &one),
        ];
        for (number, request) in steps.into_iter().enumerate() {
            let request = request.header("Host", &host).login("alice", &alice);
            self.ask(&format!("step {number} of WebDAV"), &request, &[200, 201, 204, 207, 400, 403, 423]);
        }
        let put = |user: &str, password: &str| Request::new("PUT", &two).body(b"x").login(user, password);
        self.ask("a PUT with a wrong password", &put("alice", &marked("wrong")), &[401]);
        let elsewhere = put("alice", &alice).header("Origin", "https://elsewhere.example");
        self.ask("a PUT from another site", &elsewhere, &[403]);
    }

    fn be_served(&mut self) {
        let alice = marked("alice");
        for (what, path, status) in [
            ("Require afs-user", first("public/empty.txt"), 200),
            ("Require afs-group", first("public/plain.txt"), 403),
            ("an index", first("alice-only/"), 200),
            ("a redirect", first("alice-only"), 301),
            ("an error document, by a program", first("home/alice/nothing"), 404),
            ("a rewritten URL", first("rewritten"), 200),
            ("a program", "/run/show".to_owned(), 200),
            ("a program with a path", "/run/show/more?with=query".to_owned(), 200),
            ("a name with signs", escape(&first("public/names/it's \"quoted\".txt")), 200),
        ] {
            self.get(what, &path, "alice", &alice, status);
            self.get(what, &path, "alice", &marked("wrong"), 401);
        }
        for method in ["HEAD", "POST", "TRACE", "DELETE", "BREW"] {
            let path = first("home/alice/owner.txt");
            self.ask(method, &Request::new(method, &path).login("alice", &alice), &[200, 403, 404, 405, 501]);
        }
    }

    fn break_rules(&mut self) {
        let own = first("home/alice/owner.txt");
        let request = Request::get(&own).login("alice", &marked("alice"));
        self.ask("without TLS", &request.clone().header("Host", "tls.example"), &[403]);
        self.ask("a header twice", &request.clone().login("alice", &marked("second")), &[400, 401]);
        self.ask("a header of 20,000 bytes", &request.header("X-Long", &"x".repeat(20_000)), &[400]);
        self.get("a bad target", "/afs/%00/x", "alice", &marked("alice"), 404);
    }

    /// Several visitors on one connection.
    fn share_connections(&mut self) {
        let requests: Vec<Request> =
            [("alice", "alice"), ("alice", "wrong"), ("alice@other.example", "other")]
                .map(|(user, word)| Request::get(&first("public/page.html")).login(user, &marked(word)))
                .to_vec();
        let mut kept = http::Connection::open(self.httpd.address()).unwrap();
        for request in &requests {
            let answer = kept.send(request).unwrap();
            self.keep("a kept connection", &answer, &[200, 401]);
        }
        if Mpm::from_env().unwrap() != Mpm::Prefork {
            weblog(self.world, &["forget", "*"]);
            for answer in http2::at_once(self.httpd.address(), &requests).unwrap() {
                self.keep("HTTP/2", &answer, &[200, 401]);
            }
        }
    }

    /// By curl, which is told on its standard input what to ask for as whom.
    fn speak_tls(&mut self) {
        for (what, word, status) in [("right, by TLS", "alice", "200"), ("wrong, by TLS", "wrong", "401")] {
            self.shown.extend(weblog(self.world, &["forget", "*"]));
            let mut curl = Command::new("curl")
                .args([
                    "--silent",
                    "--show-error",
                    "--insecure",
                    "--include",
                    "--max-time",
                    "60",
                    "--config",
                    "-",
                ])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let url = format!("https://{TLS}{}", first("home/alice/owner.txt"));
            let order = format!("url = \"{url}\"\nuser = \"alice:{}\"\n", marked(word));
            curl.stdin.take().unwrap().write_all(order.as_bytes()).unwrap();
            let answer = curl.wait_with_output().unwrap().stdout;
            let text = String::from_utf8_lossy(&answer);
            assert_eq!(text.split(' ').nth(1), Some(status), "{what}: {text}");
            self.asked += 1;
            self.shown.extend(answer);
        }
    }

    /// Servers that are silent or lie.
    fn meet_bad_servers(&mut self) {
        let own = first("home/alice/owner.txt");
        let alice = marked("alice");
        match method() {
            Method::Kaserver => {
                let forged = Mischief::mode(self.world, FIRST_CELL, "forge-user mallory", Some("alice"));
                self.get("somebody else's ticket", &own, "alice", &alice, 503);
                drop(forged);
                let _silent = Mischief::mode(self.world, FIRST_CELL, "silent", Some("alice"));
                self.get("a silent kaserver", &own, "alice", &marked("silent"), 503);
            }
            Method::Krb5 => {
                let _silent = KdcMischief::pause(self.world, FIRST_REALM);
                self.get("a silent KDC", &own, "alice", &alice, 503);
            }
        }
    }
}
