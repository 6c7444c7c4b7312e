//! Frames: what one packet of a lane is.
//!
//! | offset | bytes | every packet |
//! |---|---|---|
//! | 0 | 4 | `AFSW` |
//! | 4 | 1 | version, 3 |
//! | 5 | 1 | kind: 1 request, 2 part of a reply, 3 hello |
//! | 6 | 2 | bytes behind this header, little endian |
//!
//! A request goes on with id (16), one-time key (16) and body.
//! A part goes on with id (16), index (1), number of parts (1) and its share of the sealed reply.
//! A hello goes on with the generation (8, little endian).
//!
//! A sealed reply is the body under AEGIS-128L with the one-time key, and its tag (16).
//! Magic, version and id are authenticated with it, so that a reply cannot be passed off as another's.
//! The nonce is zero: a key seals one reply, which [`seal_reply`] makes sure of by taking it.

use crate::{Reply, Request, wire};
use aegis::aegis128l::Aegis128L;
use core::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Longest packet: what a pipe writes as one (`PIPE_BUF`).
pub const PACKET_MAX: usize = 4096;
/// Most packets of a reply.
pub const PARTS_MAX: usize = 4;
/// Bytes of a hello.
pub const HELLO_LEN: usize = HEAD + 8;

/// First bytes of every packet.
const MAGIC: [u8; 4] = *b"AFSW";
/// Version of all frames.
const VERSION: u8 = 3;
/// Bytes of the header of every packet.
const HEAD: usize = 8;
/// Bytes of an id.
const ID: usize = 16;
/// Bytes of a one-time key.
const KEY: usize = 16;
/// Bytes before the body of a request.
const REQUEST_HEAD: usize = HEAD + ID + KEY;
/// Room for the body of any request.
const BODY_ROOM: usize = 640;
/// Bytes before the share of a part.
const PART_HEAD: usize = HEAD + ID + 2;
/// Most bytes of the sealed reply in one part.
const SHARE_MAX: usize = PACKET_MAX - PART_HEAD;
/// Bytes of an authentication tag.
const TAG: usize = 16;

/// What a packet is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    /// Worker to broker.
    Request = 1,
    /// Broker to worker: a part of a reply.
    Part = 2,
    /// Broker to whoever waits: it is new.
    Hello = 3,
}

/// Why something is no frame, or cannot become one. Holds nothing of what was in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Other first bytes.
    #[error("packet is not ours")]
    Magic,
    /// Another version.
    #[error("packet has version {0}")]
    Version(u8),
    /// A kind that does not belong there.
    #[error("packet has kind {0}, which does not belong there")]
    Kind(u8),
    /// A length that does not agree with the packet.
    #[error("packet has another length than it says")]
    Length,
    /// More than fits.
    #[error("does not fit into its packets")]
    TooLong,
    /// User or cell outside their limits.
    #[error("name is not acceptable")]
    Name,
    /// Password outside its limits.
    #[error("password is not acceptable")]
    Password,
    /// Ticket outside its limits.
    #[error("ticket has less than 32 or more than 12,000 bytes")]
    Ticket,
    /// The body is not what it should be.
    #[error("body cannot be read")]
    Body,
    /// A part that does not follow the one before.
    #[error("part out of order")]
    Order,
    /// Sealed under another key, for another id, or changed.
    #[error("reply is not sealed for its asker")]
    Seal,
    /// The kernel gave no random bytes.
    #[error("no random bytes")]
    Random,
}

/// Tells a request and its reply from all others.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub [u8; ID]);

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Enough to tell requests apart in a log.
        let [a, b, c, d, ..] = self.0;
        write!(f, "RequestId({a:02x}{b:02x}{c:02x}{d:02x}..)")
    }
}

/// The key under which one reply is sealed. Wiped on drop, never shown.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct OneTimeKey(Box<[u8; KEY]>);

impl OneTimeKey {
    /// A copy of `bytes`; the caller wipes his.
    #[must_use]
    pub fn new(bytes: &[u8; KEY]) -> Self {
        let mut key = Self(Box::new([0; KEY]));
        key.0.copy_from_slice(bytes);
        key
    }
}

impl fmt::Debug for OneTimeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneTimeKey(..)")
    }
}

/// Draws id and key of a request from getrandom(2): 32 bytes, which cost the kernel one step.
///
/// # Errors
/// [`FrameError::Random`] if the kernel gives none.
pub fn fresh() -> Result<(RequestId, OneTimeKey), FrameError> {
    let mut bytes = Zeroizing::new([0u8; ID + KEY]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|_| FrameError::Random)?;
    let (id, rest) = bytes.split_first_chunk::<ID>().ok_or(FrameError::Length)?;
    let key = rest.first_chunk::<KEY>().ok_or(FrameError::Length)?;
    Ok((RequestId(*id), OneTimeKey::new(key)))
}

/// A request as one packet of at most [`PACKET_MAX`] bytes.
///
/// # Errors
/// [`FrameError::Name`], [`FrameError::Password`] if no broker would take it, [`FrameError::TooLong`].
pub fn encode_request(
    id: &RequestId,
    key: &OneTimeKey,
    request: &Request,
) -> Result<Zeroizing<Vec<u8>>, FrameError> {
    let mut room = [0; BODY_ROOM];
    let used = wire::put_request(request, &mut room).inspect_err(|_| room.zeroize())?;
    let body = room.get_mut(..used).ok_or(FrameError::Length)?;
    // Never grows, so that no copy of the password is left behind.
    let mut packet = Zeroizing::new(Vec::with_capacity(REQUEST_HEAD + used));
    packet.extend_from_slice(&[0; HEAD]);
    packet.extend_from_slice(&id.0);
    packet.extend_from_slice(key.0.as_slice());
    packet.extend_from_slice(body);
    // Wiping takes time, so only what was written is.
    body.zeroize();
    put_head(Kind::Request, &mut packet)?;
    Ok(packet)
}

/// Reads a request. Everything in it may be hostile.
///
/// # Errors
/// [`FrameError`] says what is wrong; nothing of it is to be trusted then, also not the id.
pub fn decode_request(packet: &[u8]) -> Result<(RequestId, OneTimeKey, Request), FrameError> {
    let (kind, rest) = get_head(packet)?;
    if kind != Kind::Request {
        return Err(FrameError::Kind(kind as u8));
    }
    let (id, rest) = rest.split_first_chunk::<ID>().ok_or(FrameError::Length)?;
    let (key, body) = rest.split_first_chunk::<KEY>().ok_or(FrameError::Length)?;
    Ok((RequestId(*id), OneTimeKey::new(key), wire::get_request(body)?))
}

/// A reply as one to four packets that only who holds `key` can read. No second one can be sealed under it.
///
/// # Errors
/// [`FrameError::Ticket`], [`FrameError::TooLong`] if no worker would take it.
#[expect(clippy::needless_pass_by_value, reason = "the key is used up")]
pub fn seal_reply(id: &RequestId, key: OneTimeKey, reply: &Reply) -> Result<Vec<Vec<u8>>, FrameError> {
    // Room for the head of a packet in front, so that a reply of one packet stays where it is.
    let mut whole = Zeroizing::new(vec![0; PART_HEAD + wire::reply_room(reply) + TAG]);
    let body = whole.get_mut(PART_HEAD..).ok_or(FrameError::Length)?;
    let used = wire::put_reply(reply, body)?;
    let (sealed, rest) = body.split_at_mut_checked(used).ok_or(FrameError::Length)?;
    let tag = cipher(&key).encrypt_in_place(sealed, &associated(id));
    *rest.first_chunk_mut::<TAG>().ok_or(FrameError::Length)? = tag;
    // Nothing in it is clear any more: need not be wiped.
    let mut whole = core::mem::take(&mut *whole);
    whole.truncate(PART_HEAD + used + TAG);
    if whole.len() <= PACKET_MAX {
        put_part(id, 0, 1, &mut whole)?;
        return Ok(vec![whole]);
    }
    let shares = whole.get(PART_HEAD..).ok_or(FrameError::Length)?.chunks(SHARE_MAX);
    let total = u8::try_from(shares.len()).ok().filter(|t| usize::from(*t) <= PARTS_MAX);
    let total = total.ok_or(FrameError::TooLong)?;
    let mut packets = Vec::with_capacity(total.into());
    for (share, index) in shares.zip(0u8..) {
        let mut packet = vec![0; PART_HEAD];
        packet.extend_from_slice(share);
        put_part(id, index, total, &mut packet)?;
        packets.push(packet);
    }
    Ok(packets)
}

/// The packet by which a broker says that it is new.
#[must_use]
pub fn hello(generation: u64) -> [u8; HELLO_LEN] {
    let [m0, m1, m2, m3] = MAGIC;
    let [g0, g1, g2, g3, g4, g5, g6, g7] = generation.to_le_bytes();
    [m0, m1, m2, m3, VERSION, Kind::Hello as u8, 8, 0, g0, g1, g2, g3, g4, g5, g6, g7]
}

/// What a worker may find in a reply pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A broker has started.
    Hello {
        /// Its generation.
        generation: u64,
    },
    /// A part of somebody's reply.
    Part {
        /// Whose.
        id: RequestId,
        /// Which part, from 0.
        index: u8,
        /// How many there are: 1 to 4.
        total: u8,
        /// Share of the sealed reply.
        bytes: &'a [u8],
    },
}

/// Reads a packet from a reply pipe.
///
/// # Errors
/// [`FrameError`] says what is wrong.
pub fn parse_packet(packet: &[u8]) -> Result<Packet<'_>, FrameError> {
    let (kind, rest) = get_head(packet)?;
    match kind {
        Kind::Request => Err(FrameError::Kind(kind as u8)),
        Kind::Hello => {
            let generation = u64::from_le_bytes(rest.try_into().map_err(|_| FrameError::Length)?);
            Ok(Packet::Hello { generation })
        }
        Kind::Part => {
            let (id, rest) = rest.split_first_chunk::<ID>().ok_or(FrameError::Length)?;
            let (&[index, total], bytes) = rest.split_first_chunk::<2>().ok_or(FrameError::Length)?;
            if index >= total || usize::from(total) > PARTS_MAX {
                return Err(FrameError::Order);
            }
            if bytes.is_empty() {
                return Err(FrameError::Length);
            }
            Ok(Packet::Part { id: RequestId(*id), index, total, bytes })
        }
    }
}

/// Puts the parts of one reply together.
#[derive(Debug)]
pub struct Assembler {
    /// Whose reply.
    id: RequestId,
    /// What has come of the sealed reply.
    sealed: Vec<u8>,
    /// Index of the part that comes next.
    next: u8,
    /// Number of parts, once one has come.
    total: Option<u8>,
}

impl Assembler {
    /// For the reply to request `id`.
    #[must_use]
    pub fn new(id: RequestId) -> Self {
        Self { id, sealed: Vec::new(), next: 0, total: None }
    }

    /// Takes a packet. True once the reply is whole. Those of other requests and hellos are ignored.
    ///
    /// # Errors
    /// [`FrameError::Order`] if parts are missing or come twice; the reply is lost then.
    pub fn push(&mut self, packet: &Packet<'_>) -> Result<bool, FrameError> {
        if let Packet::Part { id, index, total, bytes } = packet
            && *id == self.id
        {
            if *index != self.next || self.total.is_some_and(|t| t != *total) {
                return Err(FrameError::Order);
            }
            self.sealed.extend_from_slice(bytes);
            self.next = self.next.saturating_add(1);
            self.total = Some(*total);
        }
        Ok(self.total == Some(self.next))
    }

    /// Opens the whole reply.
    ///
    /// # Errors
    /// [`FrameError::Order`] if it is not whole, [`FrameError::Seal`] if it is not for the holder of `key`,
    /// [`FrameError::Body`] and its kin if the broker wrote nonsense.
    pub fn open(mut self, key: &OneTimeKey) -> Result<Reply, FrameError> {
        if self.total != Some(self.next) {
            return Err(FrameError::Order);
        }
        let mut sealed = Zeroizing::new(core::mem::take(&mut self.sealed));
        let (body, tag) = sealed.split_last_chunk_mut::<TAG>().ok_or(FrameError::Length)?;
        cipher(key).decrypt_in_place(body, tag, &associated(&self.id)).map_err(|_| FrameError::Seal)?;
        decode_body(body)
    }
}

/// Reads the body of a reply, as it is behind the seal. For fuzzing; workers use [`Assembler::open`].
///
/// # Errors
/// [`FrameError`] says what is wrong.
pub fn decode_body(body: &[u8]) -> Result<Reply, FrameError> {
    wire::get_reply(body)
}

/// The cipher under a one-time key.
fn cipher(key: &OneTimeKey) -> Aegis128L<TAG> {
    Aegis128L::new(&key.0, &[0; 16])
}

/// What is authenticated with the body of a reply.
fn associated(id: &RequestId) -> [u8; 5 + ID] {
    let mut out = [0; 5 + ID];
    let [m0, m1, m2, m3] = MAGIC;
    for (to, from) in out.iter_mut().zip([m0, m1, m2, m3, VERSION].into_iter().chain(id.0)) {
        *to = from;
    }
    out
}

/// Writes what stands before a share over the first bytes of its packet.
///
/// # Errors
/// [`FrameError::TooLong`].
fn put_part(id: &RequestId, index: u8, total: u8, packet: &mut [u8]) -> Result<(), FrameError> {
    let at = packet.get_mut(HEAD..PART_HEAD).ok_or(FrameError::Length)?;
    let (to, rest) = at.split_first_chunk_mut::<ID>().ok_or(FrameError::Length)?;
    *to = id.0;
    rest.copy_from_slice(&[index, total]);
    put_head(Kind::Part, packet)
}

/// Writes the header over the first bytes of a packet that is complete otherwise.
///
/// # Errors
/// [`FrameError::TooLong`].
fn put_head(kind: Kind, packet: &mut [u8]) -> Result<(), FrameError> {
    if packet.len() > PACKET_MAX {
        return Err(FrameError::TooLong);
    }
    let (head, rest) = packet.split_first_chunk_mut::<HEAD>().ok_or(FrameError::Length)?;
    let [l0, l1] = u16::try_from(rest.len()).map_err(|_| FrameError::TooLong)?.to_le_bytes();
    let [m0, m1, m2, m3] = MAGIC;
    *head = [m0, m1, m2, m3, VERSION, kind as u8, l0, l1];
    Ok(())
}

/// Checks the header; returns the kind and what is behind it.
///
/// # Errors
/// [`FrameError`] says what is wrong.
fn get_head(packet: &[u8]) -> Result<(Kind, &[u8]), FrameError> {
    if packet.len() > PACKET_MAX {
        return Err(FrameError::TooLong);
    }
    let (&[m0, m1, m2, m3, version, kind, l0, l1], rest) =
        packet.split_first_chunk::<HEAD>().ok_or(FrameError::Length)?;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(FrameError::Magic);
    }
    if version != VERSION {
        return Err(FrameError::Version(version));
    }
    if usize::from(u16::from_le_bytes([l0, l1])) != rest.len() {
        return Err(FrameError::Length);
    }
    let kind = match kind {
        1 => Kind::Request,
        2 => Kind::Part,
        3 => Kind::Hello,
        other => return Err(FrameError::Kind(other)),
    };
    Ok((kind, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Failure, GetToken, Granted, Password};
    use core::net::IpAddr;
    use pag::{Cell, SessionKey, Token};
    use proptest::prelude::*;

    const ID_A: RequestId = RequestId([7; ID]);
    const ID_B: RequestId = RequestId([8; ID]);

    fn key(b: u8) -> OneTimeKey {
        OneTimeKey::new(&[b; KEY])
    }

    fn get_token(user: &str, password: &[u8]) -> Request {
        Request::GetToken(GetToken {
            realm: Some("OTHER.EXAMPLE".into()),
            user: user.to_owned(),
            cell: "example.com".to_owned(),
            password: Password::new(Zeroizing::new(password.to_vec())).unwrap(),
            address: "2001:db8::1".parse::<IpAddr>().unwrap(),
            token_lifetime_s: 36_000,
            cache_expiration_s: u32::MAX,
        })
    }

    fn granted(ticket: usize) -> Reply {
        Reply::Granted(Granted {
            token: Token {
                cell: Cell::new(&"c".repeat(63)).unwrap(),
                afs_id: i32::MIN,
                kvno: 256,
                key: SessionKey([0xF1; 8]),
                begin: 5,
                end: i64::MAX,
                ticket: Zeroizing::new((0..ticket).map(|i| u8::try_from(i % 251).unwrap()).collect()),
            },
            name: "n".repeat(63),
            valid_s: u32::MAX,
            password_expires_days: Some(255),
        })
    }

    /// All parts of a reply, as its asker would take them.
    ///
    /// # Errors
    /// As its asker would get them.
    fn open(id: RequestId, key: &OneTimeKey, packets: &[Vec<u8>]) -> Result<Reply, FrameError> {
        let mut a = Assembler::new(id);
        for p in packets {
            a.push(&parse_packet(p)?)?;
        }
        a.open(key)
    }

    #[test]
    fn a_request_comes_as_it_was_sent() {
        let longest = [b'p', b'\n'].repeat(200)[..255].to_vec();
        for (user, password) in
            [("alice", b"x".as_slice()), (&"u".repeat(63), &longest), ("é", b"\xff\x01\n\n")]
        {
            let packet = encode_request(&ID_A, &key(1), &get_token(user, password)).unwrap();
            assert!(packet.len() <= PACKET_MAX);
            let (id, k, request) = decode_request(&packet).unwrap();
            assert_eq!((id, *k.0), (ID_A, [1; KEY]));
            let Request::GetToken(g) = request else { panic!("another request") };
            assert_eq!(
                (g.user.as_str(), g.password.expose(), g.cell.as_str()),
                (user, password, "example.com")
            );
            assert_eq!(g.realm.as_deref(), Some("OTHER.EXAMPLE"));
            assert_eq!((g.token_lifetime_s, g.cache_expiration_s), (36_000, u32::MAX));
            assert_eq!(g.address.to_string(), "2001:db8::1");
        }
        let packet = encode_request(&ID_B, &key(1), &Request::Ping).unwrap();
        assert!(matches!(decode_request(&packet), Ok((ID_B, _, Request::Ping))));
    }

    #[test]
    fn a_service_comes_as_it_was_sent_and_only_if_it_can_be_one() {
        let who =
            pag::Principal::new(&format!("http/{}", "w".repeat(58)), Cell::new(&"c".repeat(63)).unwrap());
        let who = who.unwrap().of_realm(pag::Realm::new(&"R".repeat(63)).unwrap());
        let sent = crate::Service { who, key_file: format!("/{}", "k".repeat(254)) };
        let packet = encode_request(&ID_A, &key(1), &Request::Service(sent.clone())).unwrap();
        let Ok((_, _, Request::Service(got))) = decode_request(&packet) else { panic!("another request") };
        assert_eq!(got, sent);
        for path in ["", "keytab", "/a\nb", &format!("/{}", "k".repeat(255))] {
            let wrong = crate::Service { key_file: path.to_owned(), ..sent.clone() };
            let refused = encode_request(&ID_A, &key(1), &Request::Service(wrong));
            assert_eq!(refused.err(), Some(FrameError::Name), "{path:?}");
        }
    }

    #[test]
    fn a_question_for_a_group_comes_as_it_was_sent_and_only_for_what_can_be_one() {
        let Request::GetToken(mut login) = get_token(&"u".repeat(63), &[b'p'; 255]) else { panic!() };
        (login.cell, login.realm) = ("c".repeat(63), Some("R".repeat(63)));
        let ask = |group: &str| {
            let member = crate::Member { login: login.clone(), group: group.to_owned() };
            encode_request(&ID_A, &key(1), &Request::Member(member))
        };
        for group in ["alice:friends", "system:authuser@other.example", &"g".repeat(63)] {
            let packet = ask(group).unwrap();
            let Ok((_, _, Request::Member(got))) = decode_request(&packet) else { panic!("another request") };
            assert_eq!((got.group.as_str(), &got.login.user), (group, &login.user));
            assert_eq!(got.login.password.expose(), [b'p'; 255]);
            for n in 0..packet.len() {
                assert!(decode_request(&packet[..n]).is_err(), "{n} bytes");
            }
        }
        for group in ["", "a b", "a\nb", "a\0", "Staff", "gr\u{fc}n", &"g".repeat(64)] {
            assert_eq!(ask(group).err(), Some(FrameError::Name), "{group:?}");
            let mut body = b"\x03\x05alice\x0bexample.com\0\x01p\0\x01\x02\x03\x04\0\0".to_vec();
            body.push(u8::try_from(group.len()).unwrap());
            body.extend_from_slice(group.as_bytes());
            assert_eq!(decode_request(&raw_request(&body)).unwrap_err(), FrameError::Name, "{group:?}");
        }
    }

    #[test]
    fn names_outside_their_limits_are_neither_sent_nor_taken() {
        let check = |user: &str, cell: &str| {
            let Request::GetToken(mut g) = get_token("x", b"p") else { panic!() };
            g.user = user.to_owned();
            g.cell = cell.to_owned();
            encode_request(&ID_A, &key(1), &Request::GetToken(g)).err()
        };
        assert_eq!(check("alice", "example.com"), None);
        let (long_user, long_cell) = ("u".repeat(64), "c".repeat(64));
        for (user, cell) in [
            ("", "example.com"),
            (long_user.as_str(), "example.com"),
            ("a\nexample.org", "example.com"),
            ("a\0", "example.com"),
            ("a\u{85}", "example.com"),
            ("alice", ""),
            ("alice", "Example.com"),
            ("alice", "example.com\n"),
            ("alice", long_cell.as_str()),
        ] {
            assert_eq!(check(user, cell), Some(FrameError::Name), "{user:?} {cell:?}");
            // What a worker's code refuses to send, a hostile worker sends all the same.
            let mut body = vec![0, u8::try_from(user.len()).unwrap()];
            body.extend_from_slice(user.as_bytes());
            body.push(u8::try_from(cell.len()).unwrap());
            body.extend_from_slice(cell.as_bytes());
            body.extend_from_slice(&[0, 1, b'p', 0, 1, 2, 3, 4, 0, 0]);
            assert_eq!(
                decode_request(&raw_request(&body)).unwrap_err(),
                FrameError::Name,
                "{user:?} {cell:?}"
            );
        }
    }

    #[test]
    fn a_realm_that_is_none_is_neither_sent_nor_taken() {
        let long = "R".repeat(64);
        for realm in ["", "A B", "A@B", "A\n", long.as_str()] {
            let Request::GetToken(mut g) = get_token("x", b"p") else { panic!() };
            g.realm = Some(realm.to_owned());
            assert_eq!(
                encode_request(&ID_A, &key(1), &Request::GetToken(g)).err(),
                Some(FrameError::Name),
                "{realm:?}"
            );
            let mut body = b"\0\x05alice\x0bexample.com\x01".to_vec();
            body.push(u8::try_from(realm.len()).unwrap());
            body.extend_from_slice(realm.as_bytes());
            body.extend_from_slice(&[1, b'p', 0, 1, 2, 3, 4, 0, 0]);
            assert_eq!(decode_request(&raw_request(&body)).unwrap_err(), FrameError::Name, "{realm:?}");
        }
    }

    /// A request with any body.
    fn raw_request(body: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; REQUEST_HEAD];
        packet.extend_from_slice(body);
        put_head(Kind::Request, &mut packet).unwrap();
        packet
    }

    /// A body with this password and otherwise in order.
    fn body_with_password(length: &[u8], password: &[u8]) -> Vec<u8> {
        let mut body = b"\0\x05alice\x0bexample.com\0".to_vec();
        body.extend_from_slice(length);
        body.extend_from_slice(password);
        body.extend_from_slice(&[0, 1, 2, 3, 4, 0, 0]);
        body
    }

    #[test]
    fn passwords_outside_their_limits_are_not_taken() {
        assert!(decode_request(&raw_request(&body_with_password(&[3], b"a\nb"))).is_ok());
        let long = [b'p'; 256];
        for (length, password) in
            [(&[0][..], &b""[..]), (&[3], b"a\0b"), (&[251, 0, 1], &long), (&[251, 255, 0], &long[..255])]
        {
            let got = decode_request(&raw_request(&body_with_password(length, password)));
            if password.len() == 255 {
                assert!(got.is_ok());
            } else {
                assert_eq!(got.unwrap_err(), FrameError::Password);
            }
        }
    }

    #[test]
    fn a_length_beyond_the_packet_is_refused_without_memory_for_it() {
        for length in [
            &[250][..],
            &[251, 255, 255],
            &[252, 255, 255, 255, 255],
            &[253, 255, 255, 255, 255, 255, 255, 255, 255],
        ] {
            let got = decode_request(&raw_request(&body_with_password(length, b"p")));
            assert_eq!(got.unwrap_err(), FrameError::Body, "{length:?}");
        }
    }

    /// Original defect D20: a request that fills the buffer.
    #[test]
    fn d20_truncated_extended_and_oversized_packets_are_refused() {
        let packet = encode_request(&ID_A, &key(1), &get_token("alice", b"secret")).unwrap();
        for n in 0..packet.len() {
            assert!(decode_request(&packet[..n]).is_err(), "{n} bytes");
        }
        let mut longer = packet.to_vec();
        longer.push(0);
        assert_eq!(decode_request(&longer).unwrap_err(), FrameError::Length);
        put_head(Kind::Request, &mut longer).unwrap();
        assert_eq!(decode_request(&longer).unwrap_err(), FrameError::Length, "trailing byte in the body");
        longer.resize(PACKET_MAX, 0);
        put_head(Kind::Request, &mut longer).unwrap();
        assert_eq!(decode_request(&longer).unwrap_err(), FrameError::Length);
        longer.push(0);
        assert_eq!(decode_request(&longer).unwrap_err(), FrameError::TooLong);
        assert_eq!(put_head(Kind::Request, &mut longer), Err(FrameError::TooLong));
    }

    #[test]
    fn other_magic_version_and_kind_are_refused() {
        let packet = encode_request(&ID_A, &key(1), &Request::Ping).unwrap();
        let with = |at: usize, b: u8| {
            let mut p = packet.to_vec();
            p[at] = b;
            decode_request(&p).err()
        };
        assert_eq!(with(0, b'X'), Some(FrameError::Magic));
        assert_eq!(with(4, 1), Some(FrameError::Version(1)));
        assert_eq!(with(5, 9), Some(FrameError::Kind(9)));
        assert_eq!(with(5, 2), Some(FrameError::Kind(2)));
        assert_eq!(parse_packet(&packet), Err(FrameError::Kind(1)), "a request in a reply pipe");
        assert_eq!(decode_request(&hello(3)).unwrap_err(), FrameError::Kind(3));
    }

    #[test]
    fn every_reply_comes_as_it_was_sealed() {
        for f in Failure::ALL {
            let packets = seal_reply(&ID_A, key(1), &Reply::Failed(f)).unwrap();
            assert!(matches!(open(ID_A, &key(1), &packets), Ok(Reply::Failed(g)) if g == f));
        }
        for number in 0..=u8::MAX {
            let known = crate::Membership::ALL.into_iter().find(|m| *m as u8 == number);
            match decode_body(&[4, number]) {
                Ok(Reply::Member(m)) => {
                    let packets = seal_reply(&ID_A, key(1), &Reply::Member(m)).unwrap();
                    assert!(matches!(open(ID_A, &key(1), &packets), Ok(Reply::Member(n)) if n == m));
                }
                other => assert!(known.is_none() && other.is_err(), "{number}: {other:?}"),
            }
        }
        let packets = seal_reply(&ID_A, key(1), &Reply::Pending { retry_ms: u32::MAX }).unwrap();
        assert!(matches!(open(ID_A, &key(1), &packets), Ok(Reply::Pending { retry_ms: u32::MAX })));
        let packets = seal_reply(&ID_A, key(1), &Reply::Pong).unwrap();
        assert!(matches!(open(ID_A, &key(1), &packets), Ok(Reply::Pong)));
    }

    #[test]
    fn d19_a_reason_is_one_known_number_and_nothing_behind_it() {
        for code in 0..=u8::MAX {
            let known = Failure::ALL.into_iter().find(|f| *f as u8 == code);
            match decode_body(&[1, code]) {
                Ok(Reply::Failed(f)) => assert_eq!(Some(f), known, "{code}"),
                other => assert!(known.is_none() && other.is_err(), "{code}: {other:?}"),
            }
            assert!(decode_body(&[1, code, 0]).is_err(), "{code} and a byte");
        }
        assert_eq!(decode_body(&[1]).unwrap_err(), FrameError::Body, "no number");
    }

    #[test]
    fn d22_a_refusal_is_its_number_and_brings_nothing_of_the_request_back() {
        for f in Failure::ALL {
            let packets = seal_reply(&ID_A, key(1), &Reply::Failed(f)).unwrap();
            let lengths: Vec<usize> = packets.iter().map(Vec::len).collect();
            assert_eq!(lengths, [PART_HEAD + 2 + TAG], "{f:?}");
        }
    }

    /// Original defect D42: tickets beyond 1,024 bytes could not pass.
    #[test]
    fn d42_the_largest_ticket_passes_and_a_larger_one_is_refused() {
        for n in [
            32, 56, 3_900, 3_910, 3_920, 3_930, 3_940, 3_950, 3_960, 3_970, 3_980, 3_990, 4_000, 4_070,
            8_000, 12_000,
        ] {
            let Reply::Granted(sent) = granted(n) else { panic!() };
            let packets = seal_reply(&ID_A, key(1), &Reply::Granted(sent.clone())).unwrap();
            assert!(packets.len() <= PARTS_MAX && packets.iter().all(|p| p.len() <= PACKET_MAX));
            let Ok(Reply::Granted(got)) = open(ID_A, &key(1), &packets) else { panic!("{n}") };
            assert_eq!(*got.token.ticket, *sent.token.ticket);
            assert_eq!((got.token.key.0, got.token.afs_id, got.token.kvno), ([0xF1; 8], i32::MIN, 256));
            assert_eq!((got.token.begin, got.token.end, got.token.cell), (5, i64::MAX, sent.token.cell));
            assert_eq!((got.valid_s, got.password_expires_days), (u32::MAX, Some(255)));
            assert_eq!(got.name, "n".repeat(63));
        }
        for n in [0, 31, 12_001, 40_000] {
            assert_eq!(seal_reply(&ID_A, key(1), &granted(n)).unwrap_err(), FrameError::Ticket, "{n}");
        }
    }

    #[test]
    fn a_reply_is_of_no_use_to_another_asker() {
        let packets = seal_reply(&ID_A, key(1), &granted(500)).unwrap();
        assert_eq!(open(ID_A, &key(2), &packets).unwrap_err(), FrameError::Seal, "another key");
        assert_eq!(open(ID_B, &key(1), &packets).unwrap_err(), FrameError::Order, "another id: never whole");
        // The id rewritten, as a stray reply would have to be to be taken.
        let mut forged = packets;
        for p in &mut forged {
            p[HEAD..HEAD + ID].copy_from_slice(&ID_B.0);
        }
        assert_eq!(open(ID_B, &key(1), &forged).unwrap_err(), FrameError::Seal);
    }

    #[test]
    fn no_secret_lies_open_in_the_packets() {
        let packets = seal_reply(&ID_A, key(1), &granted(12_000)).unwrap().concat();
        let Reply::Granted(g) = granted(12_000) else { panic!() };
        assert!(!packets.windows(8).any(|w| w == g.token.key.0 || w == &g.token.ticket[100..108]));
        assert_eq!(format!("{:?}", key(3)), "OneTimeKey(..)");
        assert_eq!(format!("{ID_A:?}"), "RequestId(07070707..)");
    }

    #[test]
    fn parts_out_of_order_missing_or_doubled_are_refused() {
        let packets = seal_reply(&ID_A, key(1), &granted(12_000)).unwrap();
        assert_eq!(packets.len(), 3);
        let pick = |order: &[usize]| {
            let chosen: Vec<Vec<u8>> = order.iter().map(|i| packets[*i].clone()).collect();
            open(ID_A, &key(1), &chosen)
        };
        assert!(pick(&[0, 1, 2]).is_ok());
        for order in [&[0, 1][..], &[1], &[0, 2], &[0, 0, 1, 2], &[1, 0, 2], &[]] {
            assert_eq!(pick(order).unwrap_err(), FrameError::Order, "{order:?}");
        }
        let mut more = packets[0].clone();
        more[HEAD + ID + 1] = 4;
        assert_eq!(open(ID_A, &key(1), &[more, packets[1].clone()]).unwrap_err(), FrameError::Order);
        for (index, total) in [(0, 0), (3, 3), (0, 5), (255, 255)] {
            let mut p = packets[0].clone();
            p[HEAD + ID] = index;
            p[HEAD + ID + 1] = total;
            assert_eq!(parse_packet(&p), Err(FrameError::Order), "{index} of {total}");
        }
    }

    #[test]
    fn a_hello_says_its_generation() {
        for g in [0, 1, u64::MAX] {
            let packet = hello(g);
            assert_eq!(parse_packet(&packet), Ok(Packet::Hello { generation: g }));
            assert!((0..HELLO_LEN).all(|n| parse_packet(&packet[..n]).is_err()));
        }
    }

    #[test]
    fn ids_and_keys_are_drawn_anew_each_time() {
        let ((a, ka), (b, kb)) = (fresh().unwrap(), fresh().unwrap());
        assert_ne!(a, b);
        assert_ne!(ka.0, kb.0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_request(&bytes);
            let _ = parse_packet(&bytes);
            let _ = wire::get_request(&bytes);
            let _ = wire::get_reply(&bytes);
            let _ = decode_request(&raw_request(&bytes));
        }

        #[test]
        fn a_changed_request_is_refused_or_still_within_limits(at in 0usize..120, to in any::<u8>()) {
            let mut p = encode_request(&ID_A, &key(1), &get_token("alice", b"secret")).unwrap().to_vec();
            let at = at % p.len();
            p[at] = to;
            if let Ok((_, _, Request::GetToken(g))) = decode_request(&p) {
                prop_assert!((1..=63).contains(&g.user.len()));
                prop_assert!(!g.user.chars().any(char::is_control));
                prop_assert!((1..=255).contains(&g.password.expose().len()));
            }
        }

        #[test]
        fn a_changed_reply_never_opens(part in 0usize..3, at in 0usize..4096, to in any::<u8>()) {
            let mut packets = seal_reply(&ID_A, key(1), &granted(12_000)).unwrap();
            let p = &mut packets[part];
            let at = at % p.len();
            prop_assume!(p[at] != to);
            p[at] = to;
            prop_assert!(open(ID_A, &key(1), &packets).is_err());
        }
    }
}
