//! The library's structures, and what of them the rest of the crate sees.

use core::ffi::{c_char, c_int, c_short, c_uint};
use core::ptr;
use std::net::Ipv4Addr;
use zeroize::Zeroize;

/// Length of the C library's arrays for names, NUL included (`MAXKTCNAMELEN`, `MAXCELLCHARS`, `PR_MAXNAMELEN`).
pub(super) const NAME: usize = 64;
/// Most servers of a cell (`MAXHOSTSPERCELL`).
pub(super) const HOSTS: usize = 8;
/// Most servers of a ubik client (`MAXSERVERS`).
pub(super) const MAXSERVERS: usize = 20;
/// Longest ticket (`MAXKTCTICKETLEN`).
pub(super) const TICKET: usize = 12_000;

/// A name of at most 63 bytes, with a NUL behind it.
#[derive(Debug, Clone)]
pub struct Name(pub(super) [u8; NAME]);

impl Name {
    /// Takes `text` if it fits and has no NUL.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let mut name = [0; NAME];
        if bytes.contains(&0) {
            return None;
        }
        name.get_mut(..bytes.len()).filter(|place| place.len() < NAME)?.copy_from_slice(bytes);
        Some(Self(name))
    }

    /// A pointer for a `char *` argument that the library only reads.
    pub(super) fn ptr(&mut self) -> *mut c_char {
        self.0.as_mut_ptr().cast()
    }
}

/// `struct ktc_encryptionKey`: a DES key. Wiped on drop.
#[repr(C)]
#[derive(Clone, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct Key(pub(super) [u8; 8]);

impl Key {
    /// From its bytes.
    #[must_use]
    pub fn new(bytes: &[u8; 8]) -> Self {
        Self(*bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8; 8] {
        &self.0
    }
}

impl core::fmt::Debug for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// `struct ktc_token`. Wiped on drop.
#[repr(C)]
pub(super) struct KtcToken {
    start: i32,
    end: i32,
    key: Key,
    kvno: c_short,
    pub(super) ticket_len: c_int,
    ticket: [u8; TICKET],
}

impl Drop for KtcToken {
    fn drop(&mut self) {
        self.ticket.zeroize();
    }
}

/// A token, as the library has filled it in. Always on the heap and never moved, so that nothing of it is left behind.
pub struct RawToken(pub(super) Box<KtcToken>);

impl core::fmt::Debug for RawToken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("RawToken(..)")
    }
}

impl RawToken {
    pub(super) fn empty() -> Self {
        Self(Box::new(KtcToken {
            start: 0,
            end: 0,
            key: Key([0; 8]),
            kvno: 0,
            ticket_len: 0,
            ticket: [0; TICKET],
        }))
    }

    /// One with these parts, for connections; nothing if the ticket is too long.
    #[must_use]
    pub fn new(kvno: i16, key: [u8; 8], ticket: &[u8]) -> Option<Self> {
        let mut token = Self::empty();
        token.0.kvno = kvno;
        token.0.key = Key(key);
        token.0.ticket_len = c_int::try_from(ticket.len()).ok()?;
        token.0.ticket.get_mut(..ticket.len())?.copy_from_slice(ticket);
        Some(token)
    }

    /// The ticket; nothing if its length is not 0 to 12,000.
    #[must_use]
    pub fn ticket(&self) -> Option<&[u8]> {
        self.0.ticket.get(..usize::try_from(self.0.ticket_len).ok()?)
    }

    /// Session key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.0.key
    }

    /// Version of the key that the ticket is sealed with.
    #[must_use]
    pub fn kvno(&self) -> i16 {
        self.0.kvno
    }

    /// Start and end, seconds since 1970. The protocol's times are unsigned 32-bit numbers.
    #[must_use]
    pub fn times(&self) -> (i64, i64) {
        (i64::from(self.0.start.cast_unsigned()), i64::from(self.0.end.cast_unsigned()))
    }
}

/// Servers of a cell for one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Servers {
    /// Address and port, in network byte order.
    pub(super) addresses: Vec<(u32, u16)>,
}

impl Servers {
    /// The service at `port` of these machines; of the first ones, if there are more than the library takes.
    #[must_use]
    pub fn new(machines: &[Ipv4Addr], port: u16) -> Self {
        let place = |machine: &Ipv4Addr| (u32::from_ne_bytes(machine.octets()), port.to_be());
        Self { addresses: machines.iter().take(HOSTS).map(place).collect() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// None?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }
}

/// `namelist`, `idlist` and `prlist` of ptint.h.
#[repr(C)]
pub(super) struct XdrList<T> {
    pub(super) len: c_uint,
    pub(super) val: *mut T,
}

impl<T> XdrList<T> {
    /// For a reply: the library allocates.
    pub(super) const fn empty() -> Self {
        Self { len: 0, val: ptr::null_mut() }
    }
}

/// `struct prcheckentry` of ptint.h.
#[repr(C)]
pub(super) struct PrCheckEntry {
    pub(super) flags: i32,
    pub(super) id: i32,
    pub(super) owner: i32,
    pub(super) creator: i32,
    pub(super) ngroups: i32,
    pub(super) nusers: i32,
    pub(super) count: i32,
    pub(super) reserved: [i32; 5],
    pub(super) name: [u8; NAME],
}

/// What the protection server says about an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PtsEntry {
    /// AFS id.
    pub id: i32,
    /// Who may see what: the privacy bits, already shifted down.
    pub flags: i32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::{offset_of, size_of};

    #[test]
    fn structures_have_the_librarys_layout() {
        assert_eq!(size_of::<Key>(), 8);
        assert_eq!(size_of::<KtcToken>(), 12_024);
        assert_eq!(
            [
                offset_of!(KtcToken, start),
                offset_of!(KtcToken, end),
                offset_of!(KtcToken, key),
                offset_of!(KtcToken, kvno),
                offset_of!(KtcToken, ticket_len),
                offset_of!(KtcToken, ticket),
            ],
            [0, 4, 8, 16, 20, 24]
        );
        assert_eq!(size_of::<PrCheckEntry>(), 112);
        assert_eq!(size_of::<XdrList<i32>>(), 16);
    }

    #[test]
    fn addresses_and_ports_are_in_network_byte_order_and_no_more_than_the_library_takes() {
        let servers = Servers::new(&[Ipv4Addr::new(192, 0, 2, 1)], 7004);
        let (address, port) = servers.addresses[0];
        assert_eq!((address.to_ne_bytes(), port.to_ne_bytes()), ([192, 0, 2, 1], [0x1b, 0x5c]));
        assert_eq!(Servers::new(&[Ipv4Addr::LOCALHOST; 12], 1).len(), HOSTS);
    }

    #[test]
    fn names_fit_or_are_refused() {
        assert!(Name::new(&"a".repeat(63)).is_some());
        assert!(Name::new(&"a".repeat(64)).is_none());
        assert!(Name::new(&"a".repeat(1000)).is_none());
        assert!(Name::new("a\0b").is_none());
        assert_eq!(Name::new("ab").unwrap().0[..3], *b"ab\0");
    }

    #[test]
    fn a_ticket_with_a_length_that_cannot_be_is_nothing() {
        let mut t = RawToken::new(1, [1; 8], &[7; 40]).unwrap();
        assert_eq!(t.ticket().unwrap().len(), 40);
        for bad in [-1, 12_001, i32::MAX] {
            t.0.ticket_len = bad;
            assert!(t.ticket().is_none());
        }
        assert!(RawToken::new(1, [1; 8], &[0; 12_001]).is_none());
        t.0.end = -1;
        assert_eq!(t.times().1, 4_294_967_295, "times go on until 2106");
    }
}
