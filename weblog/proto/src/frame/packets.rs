//! What lies in a reply pipe: parts of replies, hellos.

use super::FrameError;
use super::drawn::{ID, RequestId};
use super::head::{HEAD, Kind, MAGIC, PACKET_MAX, VERSION, get_head, put_head};

/// Most packets of a reply.
pub const PARTS_MAX: usize = 4;
/// Bytes of a hello.
pub const HELLO_LEN: usize = HEAD + 8;
/// Bytes before the share of a part.
pub(super) const PART_HEAD: usize = HEAD + ID + 2;
/// Most bytes of the sealed reply in one part.
pub(super) const SHARE_MAX: usize = PACKET_MAX - PART_HEAD;

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

/// The packet by which a broker says that it is new.
#[must_use]
pub fn hello(generation: u64) -> [u8; HELLO_LEN] {
    let [m0, m1, m2, m3] = MAGIC;
    let [g0, g1, g2, g3, g4, g5, g6, g7] = generation.to_le_bytes();
    [m0, m1, m2, m3, VERSION, Kind::Hello as u8, 8, 0, g0, g1, g2, g3, g4, g5, g6, g7]
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

/// Writes what stands before a share over the first bytes of its packet.
///
/// # Errors
/// [`FrameError::TooLong`].
pub(super) fn put_part(id: &RequestId, index: u8, total: u8, packet: &mut [u8]) -> Result<(), FrameError> {
    let at = packet.get_mut(HEAD..PART_HEAD).ok_or(FrameError::Length)?;
    let (to, rest) = at.split_first_chunk_mut::<ID>().ok_or(FrameError::Length)?;
    *to = id.0;
    rest.copy_from_slice(&[index, total]);
    put_head(Kind::Part, packet)
}
