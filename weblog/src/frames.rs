//! What broker and authenticator say to each other over a pair of pipes: one order, one answer.
//!
//! A frame is its length (u32, little endian) and that many bytes of bincode. Before the answer comes one byte: ready.
//! Buffers that hold secrets are of fixed size, so that no copy is left behind by growing, and are wiped.

use crate::logins::{Errand, Secret, Way};
use crate::outcome::{Answer, Fruit, Refusal, Step, Success};
use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use pag::{Cell, Principal, Realm, SessionKey, Token};
use weblog_proto::{Failure, Member, Membership, Method, Password};
use zeroize::{Zeroize, Zeroizing};

/// Longest frame, length included.
pub const FRAME_MAX: usize = 16_384;
/// The byte that says that an authenticator is ready.
pub const READY: u8 = b'R';
/// Version of the two formats; broker and authenticator are the same binary, so it only guards against the impossible.
const VERSION: u8 = 2;

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

/// Something to do.
pub struct Order {
    /// User and cell.
    pub who: Principal,
    /// What.
    pub errand: Errand,
    /// Seconds that are left for it.
    pub budget_s: u32,
}

/// An errand, as it is written.
#[derive(bincode::Encode, bincode::BorrowDecode)]
enum WireErrand<'a> {
    Login {
        is_file: bool,
        secret: &'a [u8],
        lifetime_s: u32,
        method: Method,
        realm: Option<&'a str>,
        keytab: Option<&'a str>,
    },
    Group {
        token: WireToken<'a>,
        group: &'a str,
    },
}

/// A token, as it is written.
#[derive(bincode::Encode, bincode::BorrowDecode)]
struct WireToken<'a> {
    cell: &'a str,
    afs_id: i32,
    kvno: i32,
    key: [u8; 8],
    begin: i64,
    end: i64,
    ticket: &'a [u8],
}

impl<'a> WireToken<'a> {
    fn put(token: &'a Token) -> Self {
        Self {
            cell: token.cell.as_str(),
            afs_id: token.afs_id,
            kvno: token.kvno,
            key: token.key.0,
            begin: token.begin,
            end: token.end,
            ticket: &token.ticket,
        }
    }

    fn get(&self) -> Option<Token> {
        Some(Token {
            cell: Cell::new(self.cell).ok()?,
            afs_id: self.afs_id,
            kvno: self.kvno,
            key: SessionKey(self.key),
            begin: self.begin,
            end: self.end,
            ticket: Zeroizing::new(self.ticket.to_vec()),
        })
    }
}

impl Drop for WireToken<'_> {
    fn drop(&mut self) {
        self.key.zeroize();
    }
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
        let errand = match &self.errand {
            Errand::Login { secret, lifetime_s, way } => {
                let (is_file, secret) = match secret {
                    Secret::Password(password) => (false, password.expose()),
                    Secret::KeyFile(path) => (true, path.as_bytes()),
                };
                WireErrand::Login {
                    is_file,
                    secret,
                    lifetime_s: *lifetime_s,
                    method: way.method,
                    realm: way.realm.as_ref().map(Realm::as_str),
                    keytab: way.keytab.as_deref(),
                }
            }
            Errand::Group { token, group } => WireErrand::Group { token: WireToken::put(token), group },
        };
        let who = &self.who;
        let realm = who.realm().map(Realm::as_str);
        Frame::encode((VERSION, who.name(), who.cell().as_str(), realm, self.budget_s, errand))
    }

    /// From the body of a frame.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        type Wire<'a> = (u8, &'a str, &'a str, Option<&'a str>, u32, WireErrand<'a>);
        let (wire, used): (Wire<'_>, usize) = bincode::borrow_decode_from_slice(body, format()).ok()?;
        let (version, name, cell, of, budget_s, errand) = wire;
        if version != VERSION || used != body.len() {
            return None;
        }
        let mut who = Principal::new(name, Cell::new(cell).ok()?).ok()?;
        if let Some(realm) = of {
            who = who.of_realm(Realm::new(realm).ok()?);
        }
        let errand = match errand {
            WireErrand::Login { is_file, secret, lifetime_s, method, realm, keytab } => {
                let realm = realm.map(Realm::new).transpose().ok()?;
                let secret = if is_file {
                    Secret::KeyFile(core::str::from_utf8(secret).ok()?.to_owned())
                } else {
                    Secret::Password(Password::new(Zeroizing::new(secret.to_vec()))?)
                };
                let way = Way { method, realm, keytab: keytab.map(str::to_owned) };
                Errand::Login { secret, lifetime_s, way }
            }
            WireErrand::Group { token, group } => {
                let group = Member::fits(group).then(|| group.to_owned())?;
                Errand::Group { token: token.get()?, group }
            }
        };
        Some(Self { who, errand, budget_s })
    }
}

/// The body of an answer.
#[derive(bincode::Encode, bincode::BorrowDecode)]
enum Wire<'a> {
    Granted { token: WireToken<'a>, name: &'a str, password_expires_days: Option<u8> },
    Refused { failure: u8, step: Step, code: i32 },
    Member(u8),
}

/// An answer as a frame.
#[must_use]
pub fn encode_answer(answer: &Answer) -> Option<Frame> {
    let wire = match answer {
        Ok(Fruit::Login(Success { token, name, password_expires_days })) => Wire::Granted {
            token: WireToken::put(token),
            name,
            password_expires_days: *password_expires_days,
        },
        Ok(Fruit::Group(membership)) => Wire::Member(*membership as u8),
        Err(Refusal { failure, step, code }) => {
            Wire::Refused { failure: *failure as u8, step: *step, code: *code }
        }
    };
    Frame::encode(&wire)
}

/// An answer from the body of a frame.
#[must_use]
pub fn decode_answer(body: &[u8]) -> Option<Answer> {
    let (wire, used): (Wire<'_>, usize) = bincode::borrow_decode_from_slice(body, format()).ok()?;
    if used != body.len() {
        return None;
    }
    Some(match &wire {
        Wire::Granted { token, name, password_expires_days } => Ok(Fruit::Login(Success {
            token: token.get()?,
            name: (*name).to_owned(),
            password_expires_days: *password_expires_days,
        })),
        Wire::Member(number) => Ok(Fruit::Group(Membership::ALL.into_iter().find(|m| *m as u8 == *number)?)),
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

    fn token() -> Token {
        Token {
            cell: Cell::new("example.com").unwrap(),
            afs_id: 1001,
            kvno: 213,
            key: SessionKey([9; 8]),
            begin: 1,
            end: 5_000_000_000,
            ticket: Zeroizing::new(vec![3; Token::TICKET_MAX]),
        }
    }

    fn alice() -> Principal {
        Principal::new("alice.admin", Cell::new("example.com").unwrap())
            .unwrap()
            .of_realm(Realm::new("OTHER.EXAMPLE").unwrap())
    }

    /// What arrives of an order.
    fn sent(order: &Order) -> Order {
        let frame = order.encode().unwrap();
        let c = collect(frame.bytes());
        let Collected::Body(body) = c.collected() else { panic!() };
        assert!(Order::decode(&body[..body.len() - 1]).is_none());
        Order::decode(body).unwrap()
    }

    #[test]
    fn an_order_arrives_as_it_was() {
        let login = |secret| Order {
            who: alice(),
            errand: Errand::Login {
                secret,
                lifetime_s: 600,
                way: Way {
                    method: Method::Auto,
                    realm: Some(Realm::new("EXAMPLE.COM").unwrap()),
                    keytab: Some(format!("/{}", "k".repeat(1023))),
                },
            },
            budget_s: 10,
        };
        let password = Secret::Password(Password::new(Zeroizing::new((1..=255).collect())).unwrap());
        for secret in [password, Secret::KeyFile("/etc/www.keytab".to_owned())] {
            let order = login(secret.clone());
            assert!(order.encode().unwrap().bytes().len() < 4096);
            let got = sent(&order);
            assert_eq!((&got.who, got.budget_s), (&order.who, 10));
            let Errand::Login { secret: got, lifetime_s, way } = got.errand else { panic!() };
            assert_eq!((got, lifetime_s, way.method), (secret, 600, Method::Auto));
            assert_eq!((way.realm.unwrap().as_str(), way.keytab.unwrap().len()), ("EXAMPLE.COM", 1024));
            assert!(!format!("{order:?}").contains('1'));
        }
    }

    #[test]
    fn a_question_for_a_group_arrives_as_it_was() {
        let ask = |group: &str| Order {
            who: alice(),
            errand: Errand::Group { token: token(), group: group.to_owned() },
            budget_s: 10,
        };
        let got = sent(&ask("alice:friends"));
        let Errand::Group { token, group } = got.errand else { panic!() };
        assert_eq!((token.ticket.len(), token.afs_id, group.as_str()), (12_000, 1001, "alice:friends"));
        let frame = ask("Alice Friends").encode().unwrap();
        let c = collect(frame.bytes());
        let Collected::Body(body) = c.collected() else { panic!() };
        assert!(Order::decode(body).is_none(), "no group is called so");
    }

    /// What arrives of an answer.
    ///
    /// # Errors
    /// The refusal that was sent.
    fn answered(answer: &Answer) -> Answer {
        let frame = encode_answer(answer).unwrap();
        let c = collect(frame.bytes());
        let Collected::Body(body) = c.collected() else { panic!() };
        decode_answer(body).unwrap()
    }

    #[test]
    fn answers_arrive_as_they_were() {
        let success = Success { token: token(), name: "alice".to_owned(), password_expires_days: Some(3) };
        let Ok(Fruit::Login(got)) = answered(&Ok(Fruit::Login(success))) else { panic!() };
        assert_eq!((got.token.end, got.token.ticket.len(), got.token.key.0), (5_000_000_000, 12_000, [9; 8]));
        assert_eq!((got.name.as_str(), got.password_expires_days), ("alice", Some(3)));
        for membership in Membership::ALL {
            let got = answered(&Ok(Fruit::Group(membership)));
            assert!(matches!(got, Ok(Fruit::Group(m)) if m == membership));
        }
        for failure in Failure::ALL {
            let refusal = Refusal { failure, step: Step::Proof, code: -7 };
            assert_eq!(answered(&Err(refusal)).unwrap_err(), refusal);
        }
    }

    #[test]
    fn halves_and_nonsense_are_told_apart() {
        let frame = encode_answer(&Err(Refusal::local(Failure::Internal))).unwrap();
        for n in 0..frame.bytes().len() {
            assert_eq!(collect(&frame.bytes()[..n]).collected(), Collected::More, "{n}");
        }
        assert_eq!(collect(&[255; 8]).collected(), Collected::Nonsense);
        let mut long = frame.bytes().to_vec();
        long.push(0);
        assert_eq!(collect(&long).collected(), Collected::Nonsense);
        for body in [&[][..], &[0; 3], &[9; 40], &[1, 0, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert!(decode_answer(body).is_none(), "{body:?}");
            assert!(Order::decode(body).is_none(), "{body:?}");
        }
    }
}
