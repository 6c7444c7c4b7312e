//! How long a ticket may be that kAFS can show to a server.
//!
//! A client shows its ticket in one packet. Kernels before Linux 6.8 (6.7.2, 6.6.14) forbid that packet to be taken apart on
//! the way: one that does not fit they never get rid of, and whoever waits for the server waits for ever, in a state in which
//! he cannot even be killed (`docs/facts.md`). So such a ticket must not get into a PAG.

use crate::{Cell, Error};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;

/// What kAFS says of servers, below which each cell has a directory.
const KAFS: &str = "/proc/fs/afs";
/// The kernel's version.
const RELEASE: &str = "/proc/sys/kernel/osrelease";
/// What is around a ticket in its packet: headers of IP (20 bytes), UDP (8) and Rx (28), and the rest of the answer to a
/// challenge (56).
const AROUND: usize = 112;
/// The same with IPv6.
const AROUND_V6: usize = 132;
/// Packets that every network takes which IPv6 may use; no ticket that fits into them is looked at further.
const EVERYWHERE: usize = 1_280;
/// Packets where no way to a server is known: an Ethernet's.
const USUAL: usize = 1_500;

/// That kAFS can show a ticket of so many bytes to the servers of `cell`, and to those that it knows.
///
/// # Errors
/// [`Error::TicketTooLong`]
pub(crate) fn check(cell: &Cell, bytes: usize) -> Result<(), Error> {
    if bytes <= EVERYWHERE - AROUND_V6 || takes_apart(&fs::read_to_string(RELEASE).unwrap_or_default()) {
        return Ok(());
    }
    let of_cell = Path::new(KAFS).join(cell.as_str()).join("vlservers");
    let text: String = [of_cell, Path::new(KAFS).join("servers")]
        .iter()
        .map(|file| fs::read_to_string(file).unwrap_or_default())
        .collect();
    let longest = addresses(&text).filter_map(|to| Some(ticket_in(packet_to(to)?, to))).min();
    let most = longest.unwrap_or(USUAL - AROUND);
    if bytes <= most { Ok(()) } else { Err(Error::TicketTooLong { bytes, most }) }
}

/// Whether a kernel of this release lets the packet be taken apart.
///
/// Source: Linux, commit 8722014311e6, "rxrpc: Fix use of Don't Fragment flag".
fn takes_apart(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    match (next(), next(), next()) {
        (6, 6, n) => n >= 14,
        (6, 7, n) => n >= 2,
        (major, minor, _) => (major, minor) >= (6, 8),
    }
}

/// The addresses of servers in a file of kAFS's: words that are an address and a port, the one in use with a star.
fn addresses(text: &str) -> impl Iterator<Item = SocketAddr> {
    text.split_whitespace().filter_map(|word| word.trim_end_matches('*').parse().ok())
}

/// The ticket for which there is room in a packet.
fn ticket_in(packet: usize, to: SocketAddr) -> usize {
    packet.saturating_sub(if to.is_ipv4() { AROUND } else { AROUND_V6 })
}

/// Bytes of the longest packet that the way to an address takes, as far as the kernel knows it. Nothing is sent.
fn packet_to(to: SocketAddr) -> Option<usize> {
    let any = match to.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    let bytes = if to.is_ipv4() {
        rustix::net::sockopt::ip_mtu(&socket)
    } else {
        rustix::net::sockopt::ipv6_mtu(&socket)
    };
    usize::try_from(bytes.ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_take_packets_apart_are_known_by_their_release() {
        for release in ["6.8.0-31-generic", "6.12.57+deb13-amd64", "6.6.14", "6.7.2-1", "7.0", "10.1.0"] {
            assert!(takes_apart(release), "{release}");
        }
        for release in ["6.1.0-56-amd64", "6.5.13", "6.6.13+bpo-amd64", "6.7.1", "6.6", "5.15.200", ""] {
            assert!(!takes_apart(release), "{release}");
        }
    }

    #[test]
    fn addresses_are_found_in_what_the_kernel_says() {
        let text = "UUID      REF ACT\n002d204e-bf0b-1b07-9c21-020200c0aa77   2   1\n  - info: fl=80101 rtt=47324 brk=1\n\
                    \x20 - ALIST v=1 rsp=1 f=0\n    [0] 192.0.2.2:7000*\n    [1] 192.0.2.7:7000\n\
                    <dummy> [p=0 w=0 s=unav,no-lookup]:\n > [2001:db8::1]:7003\n";
        let found: Vec<String> = addresses(text).map(|a| a.to_string()).collect();
        assert_eq!(found, ["192.0.2.2:7000", "192.0.2.7:7000", "[2001:db8::1]:7003"]);
    }

    #[test]
    fn a_packet_of_an_ethernet_has_room_for_1388_bytes() {
        let to = SocketAddr::from(([192, 0, 2, 1], 7000));
        assert_eq!((ticket_in(1_500, to), ticket_in(20, to)), (1_388, 0));
    }

    #[test]
    fn the_way_to_an_address_has_packets() {
        let mtu = fs::read_to_string("/sys/class/net/lo/mtu").unwrap().trim().parse::<usize>().unwrap();
        assert_eq!(packet_to(SocketAddr::from(([127, 0, 0, 1], 7000))), Some(mtu.min(65_535)));
    }
}
