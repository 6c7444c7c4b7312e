//! The calls of services 731 and 732, both ways: the server's side, and the client's for tests.
//!
//! Source: OpenAFS `src/kauth/kauth.rg`, `kaaux.c`, `kautils.p.h`.

use zeroize::Zeroizing;

use crate::des::{BLOCK, Key, ecb_open, ecb_seal, pcbc_open, pcbc_seal};
use crate::ticket::{NAME_MAX, TICKET_MAX, TICKET_MIN};
use crate::xdr::{Reader, Writer};

/// Service: proves a password, gives a ticket-granting ticket.
pub const AUTHENTICATION: u16 = 731;
/// Service: gives tickets for other servers.
pub const TICKET_GRANTING: u16 = 732;

/// What a client says it can take of an answer.
pub const ANSWER_MAX: u32 = 12_356;
/// The longest byte sequence that is decoded.
const SEQUENCE_MAX: usize = 2048;
/// Label that ends an answer of [`TICKET_GRANTING`].
const GET_TICKET_LABEL: [u8; 4] = *b"gtkt";

/// Error codes of the protocol; the names are OpenAFS's.
pub mod code {
    /// No such principal.
    pub const KANOENT: i32 = 180_484;
    /// A name that no ticket can hold.
    pub const KABADNAME: i32 = 180_486;
    /// The caller's ticket does not open.
    pub const KANOAUTH: i32 = 180_488;
    /// The client's buffer is too small.
    pub const KAANSWERTOOLONG: i32 = 180_489;
    /// The request does not open: wrong password.
    pub const KABADREQUEST: i32 = 180_490;
    /// An argument out of range.
    pub const KABADARGUMENT: i32 = 180_492;
    /// No session key can be drawn.
    pub const KANOKEYS: i32 = 180_494;
    /// A ticket of another realm that does not say which.
    pub const KABADTICKET: i32 = 180_504;
    /// A ticket-granting key of that version is not known.
    pub const KAUNKNOWNKEY: i32 = 180_505;
    /// No tickets for this server.
    pub const KABADSERVER: i32 = 180_507;
    /// No tickets for this user.
    pub const KABADUSER: i32 = 180_508;
    /// Client and server disagree about the time.
    pub const KACLOCKSKEW: i32 = 180_514;
    /// The password or the principal has expired.
    pub const KAPWEXPIRED: i32 = 180_519;
    /// Too many failures.
    pub const KALOCKED: i32 = 180_522;
    /// The caller's ticket has ended.
    pub const RXKADEXPIRED: i32 = 19_270_409;
    /// What `tkt_MakeTicket` says when no ticket can be made, such as for a lifetime of nothing.
    pub const NO_TICKET: i32 = -1;
}

/// Which of the calls that do the same; later ones say more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Operations 1 and 3.
    Old,
    /// Operations 21 and 23.
    V1,
    /// Operation 22; of service 732 there is none.
    V2,
}

/// Whom an Authenticate call asks a ticket for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The ticket-granting service.
    TicketGranting,
    /// The administration service.
    Admin,
}

impl Target {
    /// The label in the sealed request.
    const fn request_label(self) -> [u8; 4] {
        match self {
            Self::TicketGranting => *b"gTGS",
            Self::Admin => *b"gADM",
        }
    }

    /// The label that ends the answer.
    const fn answer_label(self) -> [u8; 4] {
        match self {
            Self::TicketGranting => *b"tgsT",
            Self::Admin => *b"admT",
        }
    }
}

/// Arguments of an Authenticate call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticate {
    /// Which call.
    pub version: Version,
    /// Who asks.
    pub name: Vec<u8>,
    /// His instance.
    pub instance: Vec<u8>,
    /// From when on, in seconds since 1970.
    pub start: u32,
    /// Until when.
    pub end: u32,
    /// Time and label, sealed under his key.
    pub request: Vec<u8>,
    /// The longest answer he takes.
    pub answer_max: u32,
}

/// Arguments of a GetTicket call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetTicket {
    /// Which call; never [`Version::V2`].
    pub version: Version,
    /// Which key seals the caller's ticket.
    pub kvno: i32,
    /// The realm that gave the caller's ticket; empty means ours.
    pub auth_domain: Vec<u8>,
    /// The caller's ticket-granting ticket.
    pub ticket: Vec<u8>,
    /// The server he wants a ticket for.
    pub name: Vec<u8>,
    /// Its instance.
    pub instance: Vec<u8>,
    /// Start and end, sealed under the ticket's session key.
    pub times: Vec<u8>,
    /// The longest answer he takes.
    pub answer_max: u32,
}

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Operations 22, 21 and 1 of service 731.
    Authenticate(Authenticate),
    /// Operations 23 and 3 of service 732.
    GetTicket(GetTicket),
}

/// Why a call cannot be handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoCall {
    /// There is no such service.
    UnknownService,
    /// The service has no such operation.
    UnknownOperation,
    /// The arguments do not decode.
    Malformed,
}

impl Call {
    /// Decodes the body of a request to `service`.
    ///
    /// # Errors
    /// [`NoCall`], see there.
    pub fn decode(service: u16, body: &[u8]) -> Result<Self, NoCall> {
        if ![AUTHENTICATION, TICKET_GRANTING].contains(&service) {
            return Err(NoCall::UnknownService);
        }
        let mut reader = Reader::new(body);
        let operation = reader.u32().ok_or(NoCall::Malformed)?;
        let call = match (service, operation) {
            (AUTHENTICATION, 22) => Authenticate::decode(Version::V2, &mut reader).map(Self::Authenticate),
            (AUTHENTICATION, 21) => Authenticate::decode(Version::V1, &mut reader).map(Self::Authenticate),
            (AUTHENTICATION, 1) => Authenticate::decode(Version::Old, &mut reader).map(Self::Authenticate),
            (TICKET_GRANTING, 23) => GetTicket::decode(Version::V1, &mut reader).map(Self::GetTicket),
            (TICKET_GRANTING, 3) => GetTicket::decode(Version::Old, &mut reader).map(Self::GetTicket),
            _ => return Err(NoCall::UnknownOperation),
        };
        call.ok_or(NoCall::Malformed)
    }

    /// Encodes the body of the request, as a client does.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        match self {
            Self::Authenticate(call) => writer
                .u32(match call.version {
                    Version::V2 => 22,
                    Version::V1 => 21,
                    Version::Old => 1,
                })
                .string(&call.name)
                .string(&call.instance)
                .u32(call.start)
                .u32(call.end)
                .string(&call.request)
                .u32(call.answer_max)
                .string(b""),
            Self::GetTicket(call) => writer
                .u32(if call.version == Version::Old { 3 } else { 23 })
                .u32(call.kvno.cast_unsigned())
                .string(&call.auth_domain)
                .string(&call.ticket)
                .string(&call.name)
                .string(&call.instance)
                .string(&call.times)
                .u32(call.answer_max)
                .string(b""),
        };
        writer.finish()
    }

    /// Which call of those that do the same.
    #[must_use]
    pub fn version(&self) -> Version {
        match self {
            Self::Authenticate(call) => call.version,
            Self::GetTicket(call) => call.version,
        }
    }
}

impl Authenticate {
    /// Decodes what follows the operation number.
    fn decode(version: Version, reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            version,
            name: reader.string(NAME_MAX)?.to_vec(),
            instance: reader.string(NAME_MAX)?.to_vec(),
            start: reader.u32()?,
            end: reader.u32()?,
            request: reader.string(SEQUENCE_MAX)?.to_vec(),
            answer_max: answer_max(reader)?,
        })
    }
}

impl GetTicket {
    /// Decodes what follows the operation number.
    fn decode(version: Version, reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            version,
            kvno: reader.i32()?,
            auth_domain: reader.string(NAME_MAX)?.to_vec(),
            ticket: reader.string(SEQUENCE_MAX)?.to_vec(),
            name: reader.string(NAME_MAX)?.to_vec(),
            instance: reader.string(NAME_MAX)?.to_vec(),
            times: reader.string(SEQUENCE_MAX)?.to_vec(),
            answer_max: answer_max(reader)?,
        })
    }
}

/// The answer argument of a call, of which only the longest length matters on the way in.
fn answer_max(reader: &mut Reader<'_>) -> Option<u32> {
    let max = reader.u32()?;
    reader.string(SEQUENCE_MAX.min(usize::try_from(max).ok()?))?;
    Some(max)
}

/// The body of a reply that carries a sealed answer to a client that takes `answer_max` bytes.
#[must_use]
pub fn reply_body(answer_max: u32, sealed: &[u8]) -> Vec<u8> {
    Writer::default().u32(answer_max).string(sealed).finish()
}

/// The sealed answer in the body of a reply, and how long the client had said it may be.
#[must_use]
pub fn open_reply_body(body: &[u8]) -> Option<(u32, &[u8])> {
    let mut reader = Reader::new(body);
    Some((reader.u32()?, reader.string(TICKET_MAX + 1024)?))
}

/// Seals the proof that a client knows its password.
#[must_use]
pub fn seal_request(time: u32, target: Target, key: &Key) -> Vec<u8> {
    pcbc_seal(key, &[time.to_be_bytes(), target.request_label()].concat())
}

/// Opens that proof; `None` if the key is not the one it was sealed under.
#[must_use]
pub fn open_request(sealed: &[u8], key: &Key) -> Option<(u32, Target)> {
    // Longer ones are read as far as they are needed, as the original does.
    let clear = Zeroizing::new(pcbc_open(key, sealed.get(..BLOCK)?)?);
    let (time, label) = clear.split_first_chunk()?;
    let target =
        [Target::TicketGranting, Target::Admin].into_iter().find(|target| label == target.request_label())?;
    Some((u32::from_be_bytes(*time), target))
}

/// Seals the times of a GetTicket call under the session key of its ticket.
#[must_use]
pub fn seal_times(start: u32, end: u32, session_key: &Key) -> Vec<u8> {
    ecb_seal(session_key, ((u64::from(start) << 32) | u64::from(end)).to_be_bytes()).to_vec()
}

/// Opens them again: start and end.
#[must_use]
pub fn open_times(sealed: &[u8; BLOCK], session_key: &Key) -> (u32, u32) {
    let both = u64::from_be_bytes(ecb_open(session_key, *sealed));
    let low = both & u64::from(u32::MAX);
    (u32::try_from(both >> 32).unwrap_or(u32::MAX), u32::try_from(low).unwrap_or(u32::MAX))
}

/// Which shape an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Operation 1: challenge, key, version, ticket.
    AuthenticateOld(Target),
    /// Operation 21: everything but the days.
    Authenticate(Target),
    /// Operation 22, with the days until the password expires; 255 = never.
    AuthenticateV2(Target, u8),
    /// Operation 3: no challenge, no label.
    GetTicketOld,
    /// Operation 23.
    GetTicket,
}

impl Shape {
    /// The label that ends such an answer.
    fn label(self) -> [u8; 4] {
        match self {
            Self::AuthenticateOld(target) | Self::Authenticate(target) | Self::AuthenticateV2(target, _) => {
                target.answer_label()
            }
            Self::GetTicketOld | Self::GetTicket => GET_TICKET_LABEL,
        }
    }
}

/// A ticket, and what its owner must know to use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Time of the request plus one; 0 in answers to GetTicket.
    pub challenge: u32,
    /// The key that is also in the ticket.
    pub session_key: Key,
    /// From when on the ticket is good.
    pub start: u32,
    /// When it ends.
    pub end: u32,
    /// Which of the server's keys seals it.
    pub kvno: i32,
    /// Name, instance and cell of the caller, name and instance of the server.
    pub names: [Vec<u8>; 5],
    /// The sealed ticket.
    pub ticket: Vec<u8>,
}

impl Answer {
    /// Puts the answer into `shape`, filled up to whole blocks, not yet sealed.
    ///
    /// `fill`: what to fill up with. Ours are zeroes; the original sends what happens to lie in its memory.
    #[must_use]
    pub fn encode(&self, shape: Shape, fill: u8) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::new());
        let ticket_length = u32::try_from(self.ticket.len()).unwrap_or(u32::MAX);
        match shape {
            Shape::AuthenticateOld(_) => {
                out.extend_from_slice(&self.challenge.to_be_bytes());
                out.extend_from_slice(self.session_key.bytes());
                out.extend_from_slice(&self.kvno.to_be_bytes());
                out.extend_from_slice(&ticket_length.to_be_bytes());
            }
            Shape::Authenticate(_) | Shape::AuthenticateV2(..) | Shape::GetTicket | Shape::GetTicketOld => {
                if shape != Shape::GetTicketOld {
                    out.extend_from_slice(&[0; 4]);
                    out.extend_from_slice(&self.challenge.to_be_bytes());
                }
                out.extend_from_slice(self.session_key.bytes());
                for number in [self.start, self.end, self.kvno.cast_unsigned(), ticket_length] {
                    out.extend_from_slice(&number.to_be_bytes());
                }
                for name in &self.names {
                    out.extend_from_slice(name);
                    out.push(0);
                }
            }
        }
        out.extend_from_slice(&self.ticket);
        if shape != Shape::GetTicketOld {
            out.extend_from_slice(&shape.label());
        }
        let whole = out.len().next_multiple_of(BLOCK);
        out.resize(whole, fill);
        if let Shape::AuthenticateV2(_, days) = shape {
            out.extend_from_slice(&[days, 0, 0, 0]);
            out.extend_from_slice(&[fill; 4]);
        }
        out
    }

    /// Seals the answer under the key that the client knows.
    #[must_use]
    pub fn seal(&self, shape: Shape, key: &Key) -> Vec<u8> {
        pcbc_seal(key, &self.encode(shape, 0))
    }

    /// Opens an answer to operations 22, 21 or 23 and says which it was, as a client can.
    #[must_use]
    pub fn open(sealed: &[u8], key: &Key) -> Option<(Self, Shape)> {
        let clear = Zeroizing::new(pcbc_open(key, sealed)?);
        let (fixed, mut rest) = clear.split_first_chunk::<32>()?;
        let mut reader = Reader::new(fixed);
        reader.u32()?;
        let challenge = reader.u32()?;
        let session_key = Key::new(reader.opaque(BLOCK)?.try_into().ok()?);
        let (start, end, kvno) = (reader.u32()?, reader.u32()?, reader.i32()?);
        let ticket_length = usize::try_from(reader.u32()?).ok()?;
        if !(TICKET_MIN..=TICKET_MAX).contains(&ticket_length) {
            return None;
        }
        let mut names: [Vec<u8>; 5] = Default::default();
        for name in &mut names {
            let length = rest.iter().take(NAME_MAX).position(|byte| *byte == 0)?;
            let (text, tail) = rest.split_at_checked(length)?;
            *name = text.to_vec();
            rest = tail.get(1..)?;
        }
        let (ticket, rest) = rest.split_at_checked(ticket_length)?;
        let (label, rest) = rest.split_first_chunk::<4>()?;
        let fill = (clear.len() - rest.len()).next_multiple_of(BLOCK) - (clear.len() - rest.len());
        let days = match *rest.get(fill..)? {
            [] => None,
            [days, _, _, _, _, _, _, _] => Some(days),
            _ => return None,
        };
        let target = [Target::TicketGranting, Target::Admin].into_iter().find(|t| t.answer_label() == *label);
        let shape = match (target, days) {
            (Some(target), Some(days)) => Shape::AuthenticateV2(target, days),
            (Some(target), None) => Shape::Authenticate(target),
            (None, None) if *label == GET_TICKET_LABEL => Shape::GetTicket,
            _ => return None,
        };
        Some((Self { challenge, session_key, start, end, kvno, names, ticket: ticket.to_vec() }, shape))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(hex: &str) -> Key {
        hex.parse().unwrap()
    }

    #[test]
    fn a_request_is_sealed_as_libafsauthent_seals_it() {
        let sealed = seal_request(0x6000_0000, Target::TicketGranting, &key("6d9ec8b06babeaf4"));
        assert_eq!(sealed, 0xd23b_84e1_2c7b_e025_u64.to_be_bytes());
        assert_eq!(
            open_request(&sealed, &key("6d9ec8b06babeaf4")),
            Some((0x6000_0000, Target::TicketGranting))
        );
        assert_eq!(open_request(&sealed, &key("b35e9dd6e3d69bae")), None);
        assert_eq!(open_request(&sealed[..7], &key("6d9ec8b06babeaf4")), None);
    }

    #[test]
    fn the_first_packet_of_a_login_has_the_documented_body() {
        let call = Call::Authenticate(Authenticate {
            version: Version::V2,
            name: b"joe".to_vec(),
            instance: Vec::new(),
            start: 1,
            end: 2,
            request: vec![0xaa; 8],
            answer_max: ANSWER_MAX,
        });
        let body = call.encode();
        assert_eq!(body.len() + crate::rx::HEADER, 72);
        assert_eq!(body[..12], *b"\0\0\0\x16\0\0\0\x03joe\0");
        assert_eq!(body[body.len() - 8..], *b"\0\0\x30\x44\0\0\0\0");
        assert_eq!(Call::decode(AUTHENTICATION, &body), Ok(call));
        assert_eq!(Call::decode(TICKET_GRANTING, &body), Err(NoCall::UnknownOperation));
        assert_eq!(Call::decode(733, &body), Err(NoCall::UnknownService));
        for length in 0..body.len() {
            assert_eq!(Call::decode(AUTHENTICATION, &body[..length]), Err(NoCall::Malformed), "{length}");
        }
    }

    #[test]
    fn times_are_sealed_in_one_block() {
        let sealed = seal_times(0x6000_0000, 0x6000_1000, &key("6d9ec8b06babeaf4"));
        let sealed: [u8; 8] = sealed.try_into().unwrap();
        assert_eq!(open_times(&sealed, &key("6d9ec8b06babeaf4")), (0x6000_0000, 0x6000_1000));
    }

    #[test]
    fn answers_open_again_in_every_modern_shape() {
        let answer = Answer {
            challenge: 5,
            session_key: key("0123456789abcdef"),
            start: 10,
            end: 20,
            kvno: 3,
            names: [b"a".to_vec(), Vec::new(), Vec::new(), b"krbtgt".to_vec(), b"R".to_vec()],
            ticket: vec![7; 40],
        };
        for shape in [
            Shape::Authenticate(Target::Admin),
            Shape::AuthenticateV2(Target::TicketGranting, 9),
            Shape::GetTicket,
        ] {
            let sealed = answer.seal(shape, &key("6d9ec8b06babeaf4"));
            assert_eq!(Answer::open(&sealed, &key("6d9ec8b06babeaf4")), Some((answer.clone(), shape)));
            assert_eq!(Answer::open(&sealed, &key("b35e9dd6e3d69bae")), None);
            for length in 0..sealed.len() - 8 {
                assert_eq!(Answer::open(&sealed[..length], &key("6d9ec8b06babeaf4")), None);
            }
        }
    }
}
