//! Writing by PUT and WebDAV: what is stored, what is refused and how, and that nothing half-written stays behind.
//!
//! Each test writes to a directory of its own in `write/` of the first cell.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

#[path = "../common/mod.rs"]
mod common;

mod attacks;
mod bodies;
mod rights;
mod servers;
mod trees;
mod unasked;
mod webdav;

use common::{answer_limit, ask, dav_locks, first, password, start_with};
use integration::http::{Connection, Request, Response, base64};
use integration::httpd::Httpd;
use integration::seen;
use integration::wait;
use integration::world::{FIRST_CELL, World};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How temporary names begin.
const TEMPORARY: &str = ".afsweb-";

/// An httpd on which the first cell can be written to.
fn start(world: &World, more: &str) -> Httpd {
    let dav = format!(
        "<Location /afs/{FIRST_CELL}>\nDav afs\nDavGenericLockDB {}/locks\nDavDepthInfinity on\n</Location>\n{more}",
        dav_locks().display()
    );
    start_with(world, &dav, |mut o| {
        o.modules = vec!["dav".into(), "dav_lock".into()];
        o
    })
}

/// A PUT of a user of the first cell.
fn put(world: &World, httpd: &Httpd, user: &str, path: &str, body: &[u8]) -> Response {
    ask(world, httpd, user, Request::new("PUT", path).body(body))
}

/// Alice begins a request with a body; `length`: the header that tells it.
fn begin(world: &World, httpd: &Httpd, method: &str, path: &str, length: &str, body: &[u8]) -> Connection {
    let mut c = Connection::open_within(httpd.address(), answer_limit() * 4).unwrap();
    let login = format!("alice:{}", password(world.cell(FIRST_CELL).unwrap(), "alice"));
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {}\r\n{length}\r\n\r\n",
        base64(login.as_bytes())
    );
    c.send_raw(&[head.as_bytes(), body].concat()).unwrap();
    c
}

/// The status of a request without a body.
fn status(world: &World, httpd: &Httpd, user: &str, method: &str, path: &str) -> u16 {
    ask(world, httpd, user, Request::new(method, path)).status
}

/// The status of a COPY or MOVE.
fn transfer(world: &World, httpd: &Httpd, user: &str, method: &str, from: &str, to: &str) -> u16 {
    ask(world, httpd, user, transferring(httpd, method, from, to)).status
}

/// The request for that.
fn transferring(httpd: &Httpd, method: &str, from: &str, to: &str) -> Request {
    let host = format!("localhost:{}", httpd.address().port());
    Request::new(method, from).header("Destination", &format!("http://{host}{to}")).header("Host", &host)
}

/// Makes a directory of `test`'s own in alice's, and gives its path.
fn own(world: &World, httpd: &Httpd, test: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = format!("write/alice/{test}-{}-{number}", std::process::id());
    assert_eq!(status(world, httpd, "alice", "MKCOL", &first(&path)), 201);
    path
}

/// What is in a directory of the first cell; `path` is below it. Without what a client in the kernel still calls by a name
/// since somebody reads it.
fn names(path: &str) -> Vec<String> {
    let mut names = seen::names(FIRST_CELL, path).unwrap();
    names.retain(|name| !name.starts_with(".__afs"));
    names
}

/// Waits until there is no temporary name in a directory.
fn no_temporary(path: &str) {
    wait::until_true("the end of temporary names", Duration::from_secs(60), || {
        Ok(seen::names(FIRST_CELL, path)?.iter().all(|name| !name.starts_with(TEMPORARY)))
    })
    .unwrap();
}

/// A PROPFIND of what is in a collection.
fn propfind(world: &World, httpd: &Httpd, user: &str, path: &str) -> Response {
    ask(world, httpd, user, Request::new("PROPFIND", path).header("Depth", "1"))
}

/// What asks for a lock to write.
const LOCK: &[u8] =
    b"<?xml version=\"1.0\"?><D:lockinfo xmlns:D=\"DAV:\"><D:lockscope><D:exclusive/></D:lockscope>\
             <D:locktype><D:write/></D:locktype><D:owner>me</D:owner></D:lockinfo>";

/// A LOCK, with all that is in a collection.
fn lock(world: &World, httpd: &Httpd, user: &str, path: &str) -> Response {
    ask(world, httpd, user, Request::new("LOCK", path).body(LOCK))
}
