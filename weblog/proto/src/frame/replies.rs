//! A reply under its seal.

use super::FrameError;
use super::drawn::{ID, OneTimeKey, RequestId};
use super::head::{MAGIC, PACKET_MAX, VERSION};
use super::packets::{PART_HEAD, PARTS_MAX, Packet, SHARE_MAX, put_part};
use crate::{Reply, wire};
use aegis::aegis128l::Aegis128L;
use zeroize::Zeroizing;

/// Bytes of an authentication tag.
pub(super) const TAG: usize = 16;

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
