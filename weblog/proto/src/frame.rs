//! Frames: what one packet of a lane is.
//!
//! | offset | bytes | every packet |
//! |---|---|---|
//! | 0 | 4 | `AFSW` |
//! | 4 | 1 | version, 1 |
//! | 5 | 1 | kind: 1 request, 2 part of a reply, 3 hello |
//! | 6 | 2 | bytes behind this header, little endian |
//!
//! A request goes on with id (16), one-time key (32) and body.
//! A part goes on with id (16), index (1), number of parts (1) and its share of the sealed reply.
//! A hello goes on with the generation (8, little endian).
//!
//! A sealed reply is a random nonce (12), then the body under ChaCha20-Poly1305 with the one-time key.
//! Magic, version and id are authenticated with it, so that a reply cannot be passed off as another's.

use crate::{Reply, Request, wire};
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Nonce, Tag};
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
const VERSION: u8 = 1;
/// Bytes of the header of every packet.
const HEAD: usize = 8;
/// Bytes of an id.
const ID: usize = 16;
/// Bytes of a one-time key.
const KEY: usize = 32;
/// Bytes before the body of a request.
const REQUEST_HEAD: usize = HEAD + ID + KEY;
/// Bytes before the share of a part.
const PART_HEAD: usize = HEAD + ID + 2;
/// Most bytes of the sealed reply in one part.
const SHARE_MAX: usize = PACKET_MAX - PART_HEAD;
/// Bytes of a nonce.
const NONCE: usize = 12;
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

/// Draws id and key of a request from getrandom(2).
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
    // Never grows, so that no copy of the password is left behind; short, since all of it is wiped later.
    let mut packet = Zeroizing::new(Vec::with_capacity(REQUEST_HEAD + 512));
    packet.extend_from_slice(&[0; HEAD]);
    packet.extend_from_slice(&id.0);
    packet.extend_from_slice(key.0.as_slice());
    packet.resize(REQUEST_HEAD + 512, 0);
    let body = packet.get_mut(REQUEST_HEAD..).ok_or(FrameError::Length)?;
    let used = wire::put_request(request, body)?;
    packet.truncate(REQUEST_HEAD + used);
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

/// A reply as one to four packets that only who holds `key` can read.
///
/// # Errors
/// [`FrameError::Ticket`], [`FrameError::TooLong`] if no worker would take it, [`FrameError::Random`].
pub fn seal_reply(id: &RequestId, key: &OneTimeKey, reply: &Reply) -> Result<Vec<Vec<u8>>, FrameError> {
    let mut nonce = [0u8; NONCE];
    getrandom::fill(&mut nonce).map_err(|_| FrameError::Random)?;
    let mut body = Zeroizing::new(vec![0; wire::reply_room(reply)]);
    let used = wire::put_reply(reply, &mut body)?;
    // Encrypted where it lies; what is behind it stays zero.
    let (sealed, _) = body.split_at_mut_checked(used).ok_or(FrameError::Length)?;
    let tag = cipher(key)
        .encrypt_inout_detached(&nonce.into(), &associated(id), (&mut *sealed).into())
        .map_err(|_| FrameError::TooLong)?;
    let whole = [nonce.as_slice(), sealed, tag.as_slice()].concat();
    let shares = whole.chunks(SHARE_MAX);
    let total = u8::try_from(shares.len()).ok().filter(|t| usize::from(*t) <= PARTS_MAX);
    let total = total.ok_or(FrameError::TooLong)?;
    let mut packets = Vec::with_capacity(total.into());
    for (share, index) in shares.zip(0u8..) {
        let mut packet = Vec::with_capacity(PART_HEAD + share.len());
        packet.extend_from_slice(&[0; HEAD]);
        packet.extend_from_slice(&id.0);
        packet.extend_from_slice(&[index, total]);
        packet.extend_from_slice(share);
        put_head(Kind::Part, &mut packet)?;
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
        let (nonce, rest) = sealed.split_first_chunk_mut::<NONCE>().ok_or(FrameError::Length)?;
        let (body, tag) = rest.split_last_chunk_mut::<TAG>().ok_or(FrameError::Length)?;
        let (nonce, tag) = (Nonce::from(*nonce), Tag::from(*tag));
        cipher(key)
            .decrypt_inout_detached(&nonce, &associated(&self.id), (&mut *body).into(), &tag)
            .map_err(|_| FrameError::Seal)?;
        wire::get_reply(body)
    }
}

/// The cipher under a one-time key.
fn cipher(key: &OneTimeKey) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new((&*key.0).into())
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
