//! What file servers have promised to children that are gone, and how long whoever writes then has to wait.
//!
//! The children are prefork's, of which a server has most, each with a user-space client of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::{first, report, start_with, world};
use integration::http::{Connection, Request};
use integration::httpd::{Httpd, Mpm};
use integration::process::signal_pid;
use integration::seen;
use integration::wait;
use integration::world::{FIRST_CELL, World};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

/// How many children.
const CHILDREN: usize = 100;
/// As many as somebody who writes can be made to wait for in a test: a second for each.
const FEW: usize = 10;
/// The first of SetAFSPorts.
const FIRST_PORT: u16 = 7_101;
/// What all of them have read, and somebody else writes.
const FILE: &str = "write/anybody/callbacks.txt";

/// An httpd with that many children, which neither come nor go of themselves.
fn many(world: &World, children: usize) -> Httpd {
    let sizes = format!(
        "StartServers {children}\nMinSpareServers {children}\nMaxSpareServers {}\nServerLimit {children}\nMaxRequestWorkers {children}\n",
        children + 1
    );
    let httpd = sized(world, sizes, "");
    all_there(&httpd, children, &[]);
    httpd
}

/// A prefork httpd of that size.
fn sized(world: &World, sizes: String, more: &str) -> Httpd {
    start_with(world, more, |mut o| {
        o.mpm = Mpm::Prefork;
        o.sizes = Some(sizes);
        o
    })
}

/// Waits for all children, none of them one of `before`.
fn all_there(httpd: &Httpd, number: usize, before: &[u32]) {
    wait::until_true("all children", Duration::from_secs(120), || {
        let children = httpd.children();
        let new = children.iter().filter(|pid| !before.contains(pid)).count();
        Ok(new == number && ports().len() >= number)
    })
    .unwrap();
}

/// Has each child read the file, which shall be `text`: each holds one of so many connections.
fn all_read(httpd: &Httpd, text: &str) {
    let mut connections = Vec::new();
    for _ in 0..httpd.children().len() {
        let mut connection = Connection::open(httpd.address()).unwrap();
        let r = connection.send(&Request::get(&first(FILE))).unwrap();
        assert_eq!((r.status, r.text().as_str()), (200, text));
        connections.push(connection);
    }
}

/// The UDP ports of SetAFSPorts that somebody has.
fn ports() -> BTreeSet<u16> {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    let port = |line: &str| {
        let local = line.split_whitespace().nth(1)?;
        u16::from_str_radix(local.split_once(':')?.1, 16).ok()
    };
    table.lines().skip(1).filter_map(port).filter(|p| (FIRST_PORT..7_401).contains(p)).collect()
}

/// Writes the file elsewhere, and tells how long that took.
fn written(what: &str, text: &str) -> Duration {
    let took = seen::change(FIRST_CELL, FILE, text).unwrap();
    report(&format!("a write elsewhere, {what}: {:.2} s", took.as_secs_f64()));
    took
}

/// Kills processes and waits for their end.
fn kill(pids: &[u32]) {
    for pid in pids {
        signal_pid(*pid, Signal::KILL).unwrap();
    }
    wait::until_true("the end of the killed", Duration::from_secs(30), || {
        Ok(pids.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}/exe")).exists()))
    })
    .unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn who_writes_waits_for_no_child_that_has_a_successor_or_took_its_leave() {
    let world = world();
    let unread = written("which nobody has read", "one");
    let mut answered = Vec::new();
    let httpd = many(&world, CHILDREN);
    let own: BTreeSet<u16> = ports();
    assert_eq!(own.len(), CHILDREN, "a port each: {own:?}");
    all_read(&httpd, "one");
    answered.push(written(&format!("which {CHILDREN} living children have read"), "two"));
    all_read(&httpd, "two");

    let before = httpd.children();
    kill(&before);
    all_there(&httpd, CHILDREN, &before);
    assert_eq!(ports(), own, "the successors have the ports of those who were killed");
    answered.push(written(
        &format!("which {CHILDREN} children had read that were killed; as many have taken their places"),
        "three",
    ));
    all_read(&httpd, "three");

    let begin = Instant::now();
    httpd.stop(&[]).unwrap();
    report(&format!("the end of httpd: {:.2} s", begin.elapsed().as_secs_f64()));
    answered.push(written("which the children of a server had read that was stopped", "four"));

    let httpd = many(&world, CHILDREN);
    all_read(&httpd, "four");
    let mut all = httpd.children();
    all.insert(0, httpd.pid());
    kill(&all);
    drop(httpd);
    let httpd = many(&world, CHILDREN);
    assert_eq!(ports(), own, "another server's children answer for those of one that was killed");
    answered
        .push(written("which the children of a server had read that was killed, and started again", "five"));
    all_read(&httpd, "five");
    httpd.stop(&[]).unwrap();

    // As before, but nothing comes after them: for comparison.
    let httpd = many(&world, FEW);
    all_read(&httpd, "five");
    let mut all = httpd.children();
    all.insert(0, httpd.pid());
    kill(&all);
    drop(httpd);
    let nobody = written(
        &format!("which {FEW} children had read that were killed, with nothing in their place"),
        "six",
    );
    let again = written("the same, once more", "seven");
    // Each of the few for whom nobody answers costs whoever writes the file server's patience; none of the many may.
    assert!(nobody > unread * 4, "{nobody:?}, {unread:?}: nothing to compare with");
    for took in answered.into_iter().chain([again]) {
        assert!(
            took * 2 < nobody,
            "{took:?} for {CHILDREN} that are answered for, {nobody:?} for {FEW} that are not"
        );
    }
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn where_all_ports_are_in_use_the_system_gives_one() {
    let world = world();
    written("which nobody has read", "one");
    let httpd = sized(
        &world,
        "StartServers 4\nMinSpareServers 4\nMaxSpareServers 5\n".to_owned(),
        "SetAFSPorts 7399-7400",
    );
    wait::until_true("all children", Duration::from_secs(60), || Ok(httpd.children().len() == 4)).unwrap();
    all_read(&httpd, "one");
    let taken: Vec<u16> = ports().into_iter().collect();
    assert_eq!(taken, [7_399, 7_400]);
    httpd.stop(&[]).unwrap();
}

/// By what a client of a file server calls itself, asked at its port as file servers ask (RXAFSCB_WhoAreYou).
fn uuid_at(port: u16) -> [u32; 11] {
    /// The call, behind an Rx header: epoch and connection, call, packet, serial number, a client's only packet of data,
    /// no security, the service of callbacks.
    const WHO_ARE_YOU: u32 = 212;
    const HEADER: usize = 28;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut call = Vec::new();
    for word in [0x5eed_0001, u32::from(port) << 2, 1, 1, 1, 0x0105_0000, 1, WHO_ARE_YOU] {
        call.extend(word.to_be_bytes());
    }
    wait::until(&format!("an answer of port {port}"), Duration::from_secs(20), || {
        socket.send(&call).unwrap();
        let mut answer = [0; 2_048];
        let Ok(n) = socket.recv(&mut answer) else { return Ok(None) };
        // Data and no acknowledgement: how many interfaces, the UUID, and the interfaces.
        if n < HEADER + 48 || answer[20] != 1 {
            return Ok(None);
        }
        let word = |i: usize| u32::from_be_bytes(answer[HEADER + 4 * i..][..4].try_into().unwrap());
        let uuid: [u32; 11] = core::array::from_fn(|i| word(i + 1));
        // The library has its port, and answers there, before it has made its UUID; it has called nobody then.
        Ok(uuid.iter().any(|word| *word != 0).then_some(uuid))
    })
    .unwrap()
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn children_that_start_in_the_same_moment_are_different_clients_for_file_servers() {
    let world = world();
    let httpd = many(&world, CHILDREN);
    let uuids: Vec<[u32; 11]> = ports().into_iter().map(uuid_at).collect();
    let different: BTreeSet<_> = uuids.iter().collect();
    report(&format!("{} clients, {} of them different", uuids.len(), different.len()));
    assert!(uuids.len() >= CHILDREN && different.len() == uuids.len());
    // Of random bytes, and not of the time: two who start in the same microsecond would be one.
    for uuid in &uuids {
        // Single bytes come as signed numbers.
        assert_eq!((uuid[2] >> 12, (uuid[3] & 0xff) >> 6), (4, 2), "{uuid:x?}");
    }
    httpd.stop(&[]).unwrap();
}
