//! Rx packets, as far as calls of one packet and without security need them.
//!
//! Source: OpenAFS `src/rx/rx_packet.h`, `src/rx/rx.c`.

/// Bytes of a header.
pub const HEADER: usize = 28;

/// A packet with data.
pub const DATA: u8 = 1;
/// An acknowledgement; with [`REQUEST_ACK`] a ping.
pub const ACK: u8 = 2;
/// The end of a call with an error.
pub const ABORT: u8 = 4;

/// Flag: sent by the side that made the connection.
pub const CLIENT_INITIATED: u8 = 1;
/// Flag: please acknowledge.
pub const REQUEST_ACK: u8 = 2;
/// Flag: the last data packet of its direction.
pub const LAST_PACKET: u8 = 4;

/// Abort code: no such service, or not with this security.
pub const INVALID_OPERATION: i32 = -2;
/// Abort code of the stubs: no such operation.
pub const UNKNOWN_OPERATION: i32 = -455;

/// Why something is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// The packet came a second time.
    Duplicate = 2,
    /// It was a ping.
    PingResponse = 7,
}

/// What an acknowledgement says about our side, after its list of packets.
///
/// Largest packet we take, largest of our interface, packets we hold at once, largest number in one datagram.
const ACK_TRAILER: [u32; 4] = [5692, 1444, 32, 1];

/// A packet's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// When the client started; with `cid` the name of the connection.
    pub epoch: u32,
    /// Connection; the low two bits are the channel.
    pub cid: u32,
    /// Number of the call on its channel, from 1.
    pub call: u32,
    /// Number of the packet in its direction of the call, from 1; 0 for what is no data.
    pub seq: u32,
    /// Number of the packet on its connection.
    pub serial: u32,
    /// [`DATA`], [`ACK`], [`ABORT`] and others.
    pub kind: u8,
    /// A sum of flags.
    pub flags: u8,
    /// Not used.
    pub user_status: u8,
    /// 0 = none, 2 = rxkad.
    pub security: u8,
    /// Checksum, where the security has one.
    pub spare: u16,
    /// Which service of the port.
    pub service: u16,
}

impl Header {
    /// Splits a datagram into header and body.
    #[must_use]
    pub fn decode(packet: &[u8]) -> Option<(Self, &[u8])> {
        let (header, body) = packet.split_first_chunk::<HEADER>()?;
        let (numbers, rest) = header.split_first_chunk::<20>()?;
        let [epoch, cid, call, seq, serial] = words(numbers);
        let &[kind, flags, user_status, security, spare_h, spare_l, service_h, service_l] = rest else {
            return None;
        };
        let spare = u16::from_be_bytes([spare_h, spare_l]);
        let service = u16::from_be_bytes([service_h, service_l]);
        Some((
            Self { epoch, cid, call, seq, serial, kind, flags, user_status, security, spare, service },
            body,
        ))
    }

    /// The whole packet.
    #[must_use]
    pub fn encode(&self, body: &[u8]) -> Vec<u8> {
        let mut packet = Vec::with_capacity(HEADER + body.len());
        for number in [self.epoch, self.cid, self.call, self.seq, self.serial] {
            packet.extend_from_slice(&number.to_be_bytes());
        }
        packet.extend_from_slice(&[self.kind, self.flags, self.user_status, self.security]);
        packet.extend_from_slice(&self.spare.to_be_bytes());
        packet.extend_from_slice(&self.service.to_be_bytes());
        packet.extend_from_slice(body);
        packet
    }

    /// The header of our packet of `kind` in the same call.
    #[must_use]
    pub fn answer(&self, kind: u8, serial: u32) -> Self {
        let (seq, flags) = if kind == DATA { (1, LAST_PACKET) } else { (0, 0) };
        Self { seq, serial, kind, flags, user_status: 0, security: 0, spare: 0, ..*self }
    }

    /// Whether the whole request is in this packet.
    #[must_use]
    pub fn is_whole_request(&self) -> bool {
        self.kind == DATA && self.flags & LAST_PACKET != 0 && self.seq == 1
    }

    /// Whether the client asks if we are still there.
    #[must_use]
    pub fn wants_ack(&self) -> bool {
        self.flags & REQUEST_ACK != 0
    }
}

/// Five big-endian numbers.
fn words(bytes: &[u8; 20]) -> [u32; 5] {
    let mut words = [0; 5];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = chunk.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
    }
    words
}

/// The body of an abort.
#[must_use]
pub fn abort_body(code: i32) -> [u8; 4] {
    code.to_be_bytes()
}

/// The body of an acknowledgement of packet `serial` by someone who waits for data packet `first`.
#[must_use]
pub fn ack_body(first: u32, serial: u32, reason: Reason) -> Vec<u8> {
    let mut body = vec![0; 4];
    for number in [first, first.saturating_sub(1), serial] {
        body.extend_from_slice(&number.to_be_bytes());
    }
    body.extend_from_slice(&[reason as u8, 0, 0, 0, 0]);
    for number in ACK_TRAILER {
        body.extend_from_slice(&number.to_be_bytes());
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            epoch: 0x9bf8_649a,
            cid: 0x4076_dda9,
            call: 3,
            seq: 1,
            serial: 9,
            kind: DATA,
            flags: 7,
            user_status: 0,
            security: 0,
            spare: 0,
            service: 731,
        }
    }

    #[test]
    fn headers_survive_the_wire() {
        let packet = header().encode(b"body");
        assert_eq!(packet.len(), HEADER + 4);
        assert_eq!(Header::decode(&packet), Some((header(), b"body".as_slice())));
        assert_eq!(Header::decode(&packet[..27]), None);
    }

    #[test]
    fn answers_keep_the_call_and_lose_the_client_bit() {
        let reply = header().answer(DATA, 1);
        assert_eq!(
            (reply.cid, reply.call, reply.seq, reply.flags, reply.serial),
            (0x4076_dda9, 3, 1, LAST_PACKET, 1)
        );
        let abort = header().answer(ABORT, 2);
        assert_eq!((abort.seq, abort.flags, abort.service), (0, 0, 731));
    }

    #[test]
    fn acks_have_the_layout_of_recorded_ones() {
        // Recorded: buffer, skew, first 2, previous 1, serial 1, reason 8, none listed, fill, four numbers.
        let recorded = "0000000000000002000000010000000108000000000000163c000005a40000002000000004";
        let mine: String =
            ack_body(2, 1, Reason::PingResponse).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(mine.len(), recorded.len());
        assert_eq!(mine[..32], recorded[..32]);
        assert_eq!(mine[34..66], recorded[34..66]);
    }
}
