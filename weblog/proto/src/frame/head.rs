//! The header of every packet.

use super::FrameError;

/// Longest packet: what a pipe writes as one (`PIPE_BUF`).
pub const PACKET_MAX: usize = 4096;
/// First bytes of every packet.
pub(super) const MAGIC: [u8; 4] = *b"AFSW";
/// Version of all frames.
pub(super) const VERSION: u8 = crate::versions::FRAMES;
/// Bytes of the header of every packet.
pub(super) const HEAD: usize = 8;

/// What a packet is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Worker to broker.
    Request = 1,
    /// Broker to worker: a part of a reply.
    Part = 2,
    /// Broker to whoever waits: it is new.
    Hello = 3,
}

/// Writes the header over the first bytes of a packet that is complete otherwise.
///
/// # Errors
/// [`FrameError::TooLong`].
pub(super) fn put_head(kind: Kind, packet: &mut [u8]) -> Result<(), FrameError> {
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
pub(super) fn get_head(packet: &[u8]) -> Result<(Kind, &[u8]), FrameError> {
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
