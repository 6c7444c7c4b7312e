//! What broker and authenticator say to each other over a pair of pipes: one order, one answer.
//!
//! A frame is its length (u32, little endian) and that many bytes of bincode. Before the answer comes one byte: ready.
//! Buffers that hold secrets are of fixed size, so that no copy is left behind by growing, and are wiped.

use crate::logins::{Secret, Way};
use crate::outcome::{Outcome, Refusal, Step, Success};
use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use pag::{Cell, Principal, Realm, SessionKey, Token};
use weblog_proto::{Failure, Method, Password};
use zeroize::{Zeroize, Zeroizing};

/// Longest frame, length included.
pub const FRAME_MAX: usize = 16_384;
/// The byte that says that an authenticator is ready.
pub const READY: u8 = b'R';
/// Version of the two formats; broker and authenticator are the same binary, so it only guards against the impossible.
const VERSION: u8 = 1;

type Buffer = Zeroizing<[u8; FRAME_MAX]>;

const fn format() -> Configuration<LittleEndian, Fixint, Limit<FRAME_MAX>> {
    bincode::config::standard().with_fixed_int_encoding().with_limit::<FRAME_MAX>()
}

/// A frame that is ready to be written.
pub struct Frame {
    bytes: Box<Buffer>,
    len: usize,
}

impl core::fmt::Debug for Frame {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Frame({} bytes)", self.len)
    }
}

impl Frame {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Length and `value`; nothing if it is too long.
    fn encode(value: impl bincode::Encode) -> Option<Self> {
        let mut bytes: Box<Buffer> = Box::new(Zeroizing::new([0; FRAME_MAX]));
        let body = bincode::encode_into_slice(value, bytes.get_mut(4..)?, format()).ok()?;
        bytes.get_mut(..4)?.copy_from_slice(&u32::try_from(body).ok()?.to_le_bytes());
        Some(Self { bytes, len: body.checked_add(4)? })
    }
}

/// Collects the bytes of one frame.
pub struct Collector {
    bytes: Box<Buffer>,
    len: usize,
}

impl Default for Collector {
    fn default() -> Self {
        Self { bytes: Box::new(Zeroizing::new([0; FRAME_MAX])), len: 0 }
    }
}

impl core::fmt::Debug for Collector {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Collector({} bytes)", self.len)
    }
}

/// What has been collected.
#[derive(Debug, PartialEq, Eq)]
pub enum Collected<'a> {
    /// Not all of it yet.
    More,
    /// The frame's body.
    Body(&'a [u8]),
    /// Not a frame.
    Nonsense,
}

impl Collector {
    /// Where the next bytes go; empty once it is full.
    pub fn space(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.len..).unwrap_or_default()
    }

    /// So many bytes were put there.
    pub fn filled(&mut self, count: usize) {
        self.len = self.len.saturating_add(count).min(FRAME_MAX);
    }

    /// Whether nothing has come yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What there is.
    #[must_use]
    pub fn collected(&self) -> Collected<'_> {
        let have = self.bytes.get(..self.len).unwrap_or_default();
        let Some((length, body)) = have.split_first_chunk::<4>() else { return Collected::More };
        let Some(length) = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|l| *l <= FRAME_MAX - 4)
        else {
            return Collected::Nonsense;
        };
        match body.len().cmp(&length) {
            core::cmp::Ordering::Less => Collected::More,
            core::cmp::Ordering::Equal => Collected::Body(body),
            core::cmp::Ordering::Greater => Collected::Nonsense,
        }
    }
}

/// A login to do.
pub struct Order {
    /// User and cell.
    pub who: Principal,
    /// What he shows.
    pub secret: Secret,
    /// Lifetime to ask for, seconds; 0 = what the cell gives.
    pub lifetime_s: u32,
    /// Seconds that are left for it.
    pub budget_s: u32,
    /// By which servers.
    pub way: Way,
}

impl core::fmt::Debug for Order {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Order({})", self.who)
    }
}

impl Order {
    /// As a frame.
    #[must_use]
    pub fn encode(&self) -> Option<Frame> {
        let (is_file, secret) = match &self.secret {
            Secret::Password(password) => (false, password.expose()),
            Secret::KeyFile(path) => (true, path.as_bytes()),
        };
        Frame::encode((
            VERSION,
            self.who.name(),
            self.who.cell().as_str(),
            (is_file, secret),
            self.lifetime_s,
            self.budget_s,
            self.who.realm().map(Realm::as_str),
            self.way.method,
            self.way.realm.as_ref().map(Realm::as_str),
            self.way.keytab.as_deref(),
        ))
    }

    /// From the body of a frame.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        type Text<'a> = Option<&'a str>;
        type Shown<'a> = (bool, &'a [u8]);
        type Wire<'a> = (u8, &'a str, &'a str, Shown<'a>, u32, u32, Text<'a>, Method, Text<'a>, Text<'a>);
        let (wire, used): (Wire<'_>, usize) = bincode::borrow_decode_from_slice(body, format()).ok()?;
        let (version, name, cell, (is_file, secret), lifetime_s, budget_s, of, method, realm, keytab) = wire;
        if version != VERSION || used != body.len() {
            return None;
        }
        let mut who = Principal::new(name, Cell::new(cell).ok()?).ok()?;
        if let Some(realm) = of {
            who = who.of_realm(Realm::new(realm).ok()?);
        }
        let realm = realm.map(Realm::new).transpose().ok()?;
        let way = Way { method, realm, keytab: keytab.map(str::to_owned) };
        let secret = if is_file {
            Secret::KeyFile(core::str::from_utf8(secret).ok()?.to_owned())
        } else {
            Secret::Password(Password::new(Zeroizing::new(secret.to_vec()))?)
        };
        Some(Self { who, secret, lifetime_s, budget_s, way })
    }
}

/// The body of an answer.
#[derive(bincode::Encode, bincode::BorrowDecode)]
enum Wire<'a> {
    Granted {
        cell: &'a str,
        afs_id: i32,
        kvno: i32,
        key: [u8; 8],
        begin: i64,
        end: i64,
        ticket: &'a [u8],
        password_expires_days: Option<u8>,
    },
    Refused {
        failure: u8,
        step: Step,
        code: i32,
    },
}

impl Drop for Wire<'_> {
    fn drop(&mut self) {
        if let Self::Granted { key, .. } = self {
            key.zeroize();
        }
    }
}

/// An outcome as a frame.
#[must_use]
pub fn encode_outcome(outcome: &Outcome) -> Option<Frame> {
    let wire = match outcome {
        Ok(Success { token, password_expires_days }) => Wire::Granted {
            cell: token.cell.as_str(),
            afs_id: token.afs_id,
            kvno: token.kvno,
            key: token.key.0,
            begin: token.begin,
            end: token.end,
            ticket: &token.ticket,
            password_expires_days: *password_expires_days,
        },
        Err(Refusal { failure, step, code }) => {
            Wire::Refused { failure: *failure as u8, step: *step, code: *code }
        }
    };
    Frame::encode(&wire)
}

/// An outcome from the body of a frame.
#[must_use]
pub fn decode_outcome(body: &[u8]) -> Option<Outcome> {
    let (wire, used): (Wire<'_>, usize) = bincode::borrow_decode_from_slice(body, format()).ok()?;
    if used != body.len() {
        return None;
    }
    Some(match &wire {
        Wire::Granted { cell, afs_id, kvno, key, begin, end, ticket, password_expires_days } => Ok(Success {
            token: Token {
                cell: Cell::new(cell).ok()?,
                afs_id: *afs_id,
                kvno: *kvno,
                key: SessionKey(*key),
                begin: *begin,
                end: *end,
                ticket: Zeroizing::new(ticket.to_vec()),
            },
            password_expires_days: *password_expires_days,
        }),
        Wire::Refused { failure, step, code } => Err(Refusal {
            failure: Failure::ALL.into_iter().find(|f| *f as u8 == *failure)?,
            step: *step,
            code: *code,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(bytes: &[u8]) -> Collector {
        let mut c = Collector::default();
        c.space()[..bytes.len()].copy_from_slice(bytes);
        c.filled(bytes.len());
        c
    }

    #[test]
    fn an_order_arrives_as_it_was() {
        let order = Order {
            who: Principal::new("alice.admin", Cell::new("example.com").unwrap())
                .unwrap()
                .of_realm(Realm::new("OTHER.EXAMPLE").unwrap()),
            secret: Secret::Password(Password::new(Zeroizing::new((1..=255).collect())).unwrap()),
            lifetime_s: 600,
            budget_s: 10,
            way: Way {
                method: Method::Auto,
                realm: Some(Realm::new("EXAMPLE.COM").unwrap()),
                keytab: Some(format!("/{}", "k".repeat(1023))),
            },
        };
        let frame = order.encode().unwrap();
        assert!(frame.bytes().len() < 4096, "one write to an empty pipe never blocks");
        let c = collect(frame.bytes());
        let Collected::Body(body) = c.collected() else { panic!() };
        let got = Order::decode(body).unwrap();
        assert_eq!((&got.who, got.lifetime_s, got.budget_s), (&order.who, 600, 10));
        assert_eq!(got.way, order.way);
        assert_eq!(got.secret, order.secret);
        assert!(Order::decode(&body[..body.len() - 1]).is_none());
        assert!(!format!("{order:?}").contains('1'));
        let order = Order { secret: Secret::KeyFile("/etc/www.keytab".to_owned()), ..order };
        let frame = order.encode().unwrap();
        let c = collect(frame.bytes());
        let Collected::Body(body) = c.collected() else { panic!() };
        assert_eq!(Order::decode(body).unwrap().secret, order.secret);
    }

    #[test]
    fn outcomes_arrive_as_they_were() {
        let token = Token {
            cell: Cell::new("example.com").unwrap(),
            afs_id: 1001,
            kvno: 213,
            key: SessionKey([9; 8]),
            begin: 1,
            end: 5_000_000_000,
            ticket: Zeroizing::new(vec![3; Token::TICKET_MAX]),
        };
        let frame = encode_outcome(&Ok(Success { token, password_expires_days: Some(3) })).unwrap();
        let c = collect(frame.bytes());
        let Collected::Body(body) = c.collected() else { panic!() };
        let got = decode_outcome(body).unwrap().unwrap();
        assert_eq!((got.token.end, got.token.ticket.len(), got.token.key.0), (5_000_000_000, 12_000, [9; 8]));
        assert_eq!(got.password_expires_days, Some(3));
        for failure in Failure::ALL {
            let refusal = Refusal { failure, step: Step::Proof, code: -7 };
            let frame = encode_outcome(&Err(refusal)).unwrap();
            let c = collect(frame.bytes());
            let Collected::Body(body) = c.collected() else { panic!() };
            assert_eq!(decode_outcome(body).unwrap().unwrap_err(), refusal);
        }
    }

    #[test]
    fn halves_and_nonsense_are_told_apart() {
        let frame = encode_outcome(&Err(Refusal::local(Failure::Internal))).unwrap();
        for n in 0..frame.bytes().len() {
            assert_eq!(collect(&frame.bytes()[..n]).collected(), Collected::More, "{n}");
        }
        assert_eq!(collect(&[255; 8]).collected(), Collected::Nonsense);
        let mut long = frame.bytes().to_vec();
        long.push(0);
        assert_eq!(collect(&long).collected(), Collected::Nonsense);
        for body in [&[][..], &[0; 3], &[9; 40], &[1, 0, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert!(decode_outcome(body).is_none(), "{body:?}");
            assert!(Order::decode(body).is_none(), "{body:?}");
        }
    }
}
