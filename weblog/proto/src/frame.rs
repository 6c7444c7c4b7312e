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

mod drawn;
mod error;
mod head;
mod packets;
mod replies;
mod requests;

pub use drawn::{OneTimeKey, RequestId, fresh};
pub use error::FrameError;
pub use head::PACKET_MAX;
pub use packets::{HELLO_LEN, PARTS_MAX, Packet, hello, parse_packet};
pub use replies::{Assembler, decode_body, seal_reply};
pub use requests::{decode_request, encode_request};

#[cfg(test)]
mod tests;
