//! Uploads that go on, bit by bit, while something is done to the server.

use super::answer_limit;
use super::load::{End, Faults};
use super::visits::own;
use integration::content::{owner_line, pattern};
use integration::crowd::Person;
use integration::http::{Connection, Request, base64, request};
use integration::wait;
use integration::world::FIRST_CELL;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// What a body has behind its owner's name: enough that some of it is stored before the rest has come.
const BULK: usize = 600_000;
/// Sent at once, before anything is done.
const BEGINNING: usize = 300_000;
/// Sent each time after that.
const BIT: usize = 64;
/// Between two bits.
const PAUSE: Duration = Duration::from_millis(50);

/// What one uploads in this round: nobody else's, and not what the round before had.
fn body_of(who: &Person, round: usize) -> Vec<u8> {
    let mut body = format!("{}round {round}\n", owner_line(&who.name, FIRST_CELL)).into_bytes();
    body.extend(pattern(0, BULK));
    body
}

fn path_of(who: &Person) -> String {
    format!("{}/upload", own(who))
}

/// One who uploads: in chunks or not, in bits from when he is asked to go on until `end`, then the rest.
///
/// # Errors
/// The connection's, or he is not asked to go on.
fn upload(
    address: SocketAddr,
    who: &Person,
    round: usize,
    chunked: bool,
    begun: &AtomicUsize,
    end: &AtomicBool,
) -> anyhow::Result<u16> {
    let body = body_of(who, round);
    let mut c = Connection::open_within(address, answer_limit())?;
    let secret = base64(format!("{}:{}", who.name, who.password).as_bytes());
    let length =
        if chunked { "Transfer-Encoding: chunked".into() } else { format!("Content-Length: {}", body.len()) };
    c.send_raw(
        format!(
            "PUT {} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {secret}\r\n{length}\r\nExpect: 100-continue\r\n\r\n",
            path_of(who)
        )
        .as_bytes(),
    )?;
    // From here on a worker reads the body.
    let wanted = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut said = vec![0; wanted.len()];
    c.socket().read_exact(&mut said)?;
    anyhow::ensure!(said == wanted, "{}", String::from_utf8_lossy(&said));
    let mut send = |part: &[u8]| {
        if chunked && !part.is_empty() {
            c.send_raw(format!("{:x}\r\n", part.len()).as_bytes())?;
            c.send_raw(&[part, b"\r\n"].concat())
        } else {
            c.send_raw(part)
        }
    };
    let (beginning, mut rest) = body.split_at(BEGINNING);
    send(beginning)?;
    begun.fetch_add(1, Ordering::Relaxed);
    while !end.load(Ordering::Relaxed) && rest.len() > BIT {
        let (bit, behind) = rest.split_at(BIT);
        send(bit)?;
        rest = behind;
        std::thread::sleep(PAUSE * wait::slow_factor());
    }
    send(rest)?;
    if chunked {
        c.send_raw(b"0\r\n\r\n")?;
    }
    Ok(c.receive(false)?.status)
}

/// These upload a file each while `f` is done, and end behind it: each is stored, and is what its visitor has sent.
/// `round` is 0 at the first time; each has a directory of his own, as under a writing load.
pub(crate) fn during(address: SocketAddr, people: &[Person], round: usize, f: impl FnOnce()) {
    let (begun, end) = (AtomicUsize::new(0), AtomicBool::new(false));
    let faults = Faults::default();
    std::thread::scope(|s| {
        let last = End(&end);
        for (n, who) in people.iter().enumerate() {
            let (begun, end, faults) = (&begun, &end, &faults);
            s.spawn(move || {
                let wanted = if round == 0 { 201 } else { 204 };
                match upload(address, who, round, n % 2 == 1, begun, end) {
                    Ok(status) if status == wanted => {}
                    other => faults.add(format!("upload of {}: {other:?} instead of {wanted}", who.name)),
                }
            });
        }
        wait::until_true("uploads that go on", Duration::from_secs(30), || {
            faults.must_be_none();
            Ok(begun.load(Ordering::Relaxed) == people.len())
        })
        .unwrap();
        f();
        drop(last);
    });
    faults.must_be_none();
    for who in people {
        let r = request(address, &Request::get(&path_of(who)).login(&who.name, &who.password)).unwrap();
        assert_eq!(r.status, 200, "{}", who.name);
        assert!(r.body == body_of(who, round), "{}: {} bytes, not his", who.name, r.body.len());
    }
}
