//! A request, which is one packet.

use super::FrameError;
use super::drawn::{ID, KEY, OneTimeKey, RequestId};
use super::head::{HEAD, Kind, get_head, put_head};
use crate::{Request, wire};
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes before the body of a request.
pub(super) const REQUEST_HEAD: usize = HEAD + ID + KEY;
/// Room for the body of any request.
const BODY_ROOM: usize = 640;

/// A request as one packet of at most [`super::PACKET_MAX`] bytes.
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
