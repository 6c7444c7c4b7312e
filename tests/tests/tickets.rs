//! Large tickets, as a KDC makes them for members of many groups: from the KDC to the file server, on every AFS client.
//!
//! The KDC is restarted with larger and larger tickets, so the tests run one after the other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "this is test code")]

mod common;

use common::{KdcMischief, afs_client, afs_config_without_methods, first, first_line, get_as, report, world};
use integration::content::{owner_file, owner_line};
use integration::httpd::{Httpd, Mpm, Options};
use integration::kdc::Manner;
use integration::process;
use integration::ticket::Tickets;
use integration::world::{FIRST_CELL, FIRST_REALM, World};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The AFS service of the first cell.
const AFS: &str = "afs/cell.example@CELL.EXAMPLE";
/// Bytes of an Ethernet's packets.
const ETHERNET: usize = 1_500;
/// Around a ticket in the packet by which a client shows it, bytes.
const AROUND: usize = 112;
/// What a KDC adds to each ticket, and a user of each: so little that the ticket fits into a packet, that of a member of many
/// groups, ten thousand bytes, and almost the longest that any client takes. Nobody of them is known from a smaller one.
const SIZES: [(usize, &str); 5] =
    [(300, "bob"), (2_000, "carol"), (7_000, "dave"), (10_000, "erin"), (11_300, "frank")];

/// One test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(world: &World) -> Httpd {
    let mut options = Options::new(Mpm::from_env().unwrap());
    let methods = format!("AFSAuthMethod {FIRST_CELL} krb5\n");
    options.afs = Some(afs_config_without_methods(world, &methods));
    Httpd::start(world, options).unwrap()
}

/// The bytes of the ticket that the KDC gives to a user now, asked for by Debian's kinit and kvno.
fn ticket_bytes(world: &World, user: &str) -> usize {
    let tickets = Tickets::new().unwrap();
    let password = &world.realm(FIRST_REALM).unwrap().user(user).unwrap().password;
    tickets.log_in(&format!("{user}@{FIRST_REALM}"), password).unwrap();
    tickets.service(AFS).unwrap().ticket.len()
}

/// The device through which all of the world talks takes packets of so many bytes, until this goes.
struct Packets(usize);

impl Packets {
    fn of(bytes: usize) -> Self {
        let before = std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap().trim().parse().unwrap();
        let packets = Self(before);
        set_packets(bytes);
        packets
    }
}

impl Drop for Packets {
    fn drop(&mut self) {
        set_packets(self.0);
    }
}

fn set_packets(bytes: usize) {
    let mut ip = Command::new("ip");
    process::run(ip.args(["link", "set", "lo", "mtu", &bytes.to_string()]), Duration::from_secs(10)).unwrap();
}

/// Whether this client can show a ticket to a server in packets of so many bytes. kAFS of Linux 6.1 forbids it to be taken
/// apart (docs/facts.md), all others let it be.
fn shows(ticket: usize, packets: usize) -> bool {
    afs_client() != "kafs" || ticket + AROUND <= packets
}

/// What the last refusal of a user's ticket says: its bytes, and those of the longest that would do.
fn told(httpd: &Httpd, user: &str) -> Option<(usize, usize)> {
    let log = std::fs::read_to_string(httpd.error_log()).unwrap();
    let why = format!("login of {user}@{FIRST_CELL} failed: ticket-too-long: a ticket of ");
    let (_, said) = log.rsplit_once(&why)?;
    let mut numbers = said.lines().next()?.split(' ').filter_map(|word| word.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

/// A user with a ticket of so many bytes reads his own file, and nobody else's; or is told at once that his ticket is too long,
/// where the client cannot show it: whether that is so.
fn is_right(world: &World, httpd: &Httpd, user: &str, ticket: usize, packets: usize) -> bool {
    let own = get_as(world, httpd, &first(&owner_file(user)), user);
    let others = get_as(world, httpd, &first(&owner_file("alice")), user).status;
    let right = if shows(ticket, packets) {
        (own.status, others) == (200, 403) && first_line(&own) == owner_line(user, FIRST_CELL).trim_end()
    } else {
        (own.status, others) == (503, 503) && told(httpd, user).is_some()
    };
    report(&format!(
        "{} a ticket of {ticket} bytes in packets of {packets}: {user}'s own file {}, alice's {others}",
        if right { "ok" } else { "WRONG" },
        own.status
    ));
    right
}

/// Each of [`SIZES`].
fn all_sizes(packets: usize) {
    let world = world();
    let httpd = start(&world);
    let _packets = Packets::of(packets);
    let mut faults = 0;
    for (bytes, user) in SIZES {
        let _mischief = KdcMischief::run(&world, FIRST_REALM, Manner::LargeTickets(bytes));
        let ticket = ticket_bytes(&world, user);
        assert!(ticket > bytes, "{ticket}");
        faults += usize::from(!is_right(&world, &httpd, user, ticket, packets));
    }
    assert_eq!(faults, 0);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn tickets_of_all_sizes_get_to_the_file_server() {
    let _one = alone();
    // What one machine has within itself.
    all_sizes(65_536);
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn tickets_of_all_sizes_in_packets_of_an_ethernet() {
    let _one = alone();
    all_sizes(ETHERNET);
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_ticket_that_just_fits_into_a_packet_and_one_that_just_does_not() {
    let _one = alone();
    let world = world();
    let httpd = start(&world);
    let _mischief = KdcMischief::run(&world, FIRST_REALM, Manner::LargeTickets(2_000));
    let _packets = Packets::of(ETHERNET);
    // The broker remembers the first ticket, whose length is known to the byte when it has been refused.
    let status = || get_as(&world, &httpd, &first(&owner_file("grace")), "grace").status;
    if afs_client() == "kafs" {
        assert_eq!(status(), 503);
        let (ticket, most) = told(&httpd, "grace").unwrap();
        assert_eq!(most, ETHERNET - AROUND);
        set_packets(ticket + AROUND - 1);
        assert_eq!((status(), told(&httpd, "grace")), (503, Some((ticket, ticket - 1))));
        set_packets(ticket + AROUND);
        report(&format!("a ticket of {ticket} bytes in packets of {} and one more", ticket + AROUND - 1));
    }
    assert_eq!(status(), 200);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn with_tickets_of_ten_thousand_bytes_each_visitor_reads_what_is_his() {
    let _one = alone();
    let world = world();
    let httpd = start(&world);
    let _mischief = KdcMischief::run(&world, FIRST_REALM, Manner::LargeTickets(10_000));
    let users = ["alice", "bob", "carol", "dave"];
    for round in 0..3 {
        for user in users {
            for owner in users {
                let r = get_as(&world, &httpd, &first(&owner_file(owner)), user);
                let wanted = if user == owner { 200 } else { 403 };
                assert_eq!(r.status, wanted, "round {round}: {user} asks for {owner}'s file");
            }
            assert_eq!(httpd.get(&first(&owner_file(user))).unwrap().status, 401);
        }
    }
    httpd.stop(&[]).unwrap();
}
