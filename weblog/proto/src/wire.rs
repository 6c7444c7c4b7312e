//! The bodies of frames as they lie in memory: borrowed, so that decoding leaves no copies of secrets behind.

use crate::{Failure, FrameError, GetToken, Granted, Member, Membership, Password, Reply, Request, Service};
use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{BorrowDecode, Encode};
use core::net::IpAddr;
use pag::{Cell, Principal, Realm, SessionKey, Token};
use zeroize::Zeroizing;

/// Longest user name in bytes.
const USER_MAX: usize = 63;
/// More than any body has: what bincode may believe of lengths that it reads.
const LIMIT: usize = 16 * 1024;

/// How bodies are written.
fn config() -> Configuration<LittleEndian, Varint, Limit<LIMIT>> {
    bincode::config::standard().with_limit::<LIMIT>()
}

/// [`GetToken`] on the wire.
#[derive(Encode, BorrowDecode)]
struct WireLogin<'a> {
    /// User.
    user: &'a str,
    /// Cell.
    cell: &'a str,
    /// Realm.
    realm: Option<&'a str>,
    /// Password.
    password: &'a [u8],
    /// Address of the visitor.
    address: IpAddr,
    /// Lifetime asked for.
    token_lifetime_s: u32,
    /// Longest answer from the cache.
    cache_expiration_s: u32,
}

/// [`Request`] on the wire.
#[derive(Encode, BorrowDecode)]
enum WireRequest<'a> {
    /// [`Request::GetToken`].
    GetToken(WireLogin<'a>),
    /// [`Request::Ping`].
    Ping,
    /// [`Request::Service`].
    Service {
        /// Name of the principal.
        name: &'a str,
        /// Cell.
        cell: &'a str,
        /// Realm.
        realm: Option<&'a str>,
        /// Path.
        key_file: &'a str,
    },
    /// [`Request::Member`].
    Member {
        /// Credentials.
        login: WireLogin<'a>,
        /// Group.
        group: &'a str,
    },
}

/// [`Reply`] on the wire.
#[derive(Encode, BorrowDecode)]
enum WireReply<'a> {
    /// [`Reply::Granted`].
    Granted {
        /// Cell of the token.
        cell: &'a str,
        /// The visitor's name there.
        name: &'a str,
        /// AFS id.
        afs_id: i32,
        /// Key version.
        kvno: i32,
        /// Session key, eight bytes.
        key: &'a [u8],
        /// Start, seconds since 1970.
        begin: i64,
        /// End, seconds since 1970.
        end: i64,
        /// Ticket.
        ticket: &'a [u8],
        /// Seconds without asking again.
        valid_s: u32,
        /// Days until the password expires.
        password_expires_days: Option<u8>,
    },
    /// [`Reply::Failed`].
    Failed(u8),
    /// [`Reply::Pending`].
    Pending {
        /// Milliseconds.
        retry_ms: u32,
    },
    /// [`Reply::Pong`].
    Pong,
    /// [`Reply::Member`].
    Member(u8),
}

impl<'a> WireLogin<'a> {
    /// As it is written.
    ///
    /// # Errors
    /// [`FrameError::Name`].
    fn put(g: &'a GetToken) -> Result<Self, FrameError> {
        check_names(&g.user, &g.cell, g.realm.as_deref())?;
        Ok(Self {
            user: &g.user,
            cell: &g.cell,
            realm: g.realm.as_deref(),
            password: g.password.expose(),
            address: g.address,
            token_lifetime_s: g.token_lifetime_s,
            cache_expiration_s: g.cache_expiration_s,
        })
    }

    /// As it was read, checked.
    ///
    /// # Errors
    /// [`FrameError`] says what is wrong.
    fn get(self) -> Result<GetToken, FrameError> {
        check_names(self.user, self.cell, self.realm)?;
        if self.password.len() > Password::MAX {
            return Err(FrameError::Password);
        }
        let password = Password::new(Zeroizing::new(self.password.to_vec())).ok_or(FrameError::Password)?;
        Ok(GetToken {
            user: self.user.to_owned(),
            cell: self.cell.to_owned(),
            realm: self.realm.map(str::to_owned),
            password,
            address: self.address,
            token_lifetime_s: self.token_lifetime_s,
            cache_expiration_s: self.cache_expiration_s,
        })
    }
}

/// Writes a request into `out`; returns how many bytes it took.
///
/// # Errors
/// [`FrameError`]: a value that no broker takes, or no room.
pub(crate) fn put_request(request: &Request, out: &mut [u8]) -> Result<usize, FrameError> {
    let wire = match request {
        Request::Ping => WireRequest::Ping,
        Request::Service(s) => {
            check_key_file(&s.key_file)?;
            WireRequest::Service {
                name: s.who.name(),
                cell: s.who.cell().as_str(),
                realm: s.who.realm().map(Realm::as_str),
                key_file: &s.key_file,
            }
        }
        Request::GetToken(g) => WireRequest::GetToken(WireLogin::put(g)?),
        Request::Member(m) => {
            check_group(&m.group)?;
            WireRequest::Member { login: WireLogin::put(&m.login)?, group: &m.group }
        }
    };
    bincode::encode_into_slice(wire, out, config()).map_err(|_| FrameError::TooLong)
}

/// Reads a request, all of `body`, and checks every field.
///
/// # Errors
/// [`FrameError`] says what is wrong.
pub(crate) fn get_request(body: &[u8]) -> Result<Request, FrameError> {
    match get::<WireRequest<'_>>(body)? {
        WireRequest::Ping => Ok(Request::Ping),
        WireRequest::Service { name, cell, realm, key_file } => {
            check_key_file(key_file)?;
            let mut who = Principal::new(name, canonical(cell)?).map_err(|_| FrameError::Name)?;
            if let Some(realm) = realm {
                who = who.of_realm(Realm::new(realm).map_err(|_| FrameError::Name)?);
            }
            Ok(Request::Service(Service { who, key_file: key_file.to_owned() }))
        }
        WireRequest::GetToken(login) => login.get().map(Request::GetToken),
        WireRequest::Member { login, group } => {
            check_group(group)?;
            Ok(Request::Member(Member { login: login.get()?, group: group.to_owned() }))
        }
    }
}

/// Most bytes that the body of `reply` takes.
pub(crate) fn reply_room(reply: &Reply) -> usize {
    match reply {
        // The names of cell and visitor, the key, and numbers with their lengths: less than 224 bytes.
        Reply::Granted(g) => g.token.ticket.len().saturating_add(224),
        _ => 16,
    }
}

/// Writes a reply into `out`; returns how many bytes it took.
///
/// # Errors
/// [`FrameError`]: a token that no worker takes, or no room.
pub(crate) fn put_reply(reply: &Reply, out: &mut [u8]) -> Result<usize, FrameError> {
    let wire = match reply {
        Reply::Pong => WireReply::Pong,
        Reply::Pending { retry_ms } => WireReply::Pending { retry_ms: *retry_ms },
        Reply::Failed(f) => WireReply::Failed(*f as u8),
        Reply::Member(m) => WireReply::Member(*m as u8),
        Reply::Granted(g) => {
            check_ticket(&g.token.ticket)?;
            check_user(&g.name)?;
            WireReply::Granted {
                cell: g.token.cell.as_str(),
                name: &g.name,
                afs_id: g.token.afs_id,
                kvno: g.token.kvno,
                key: &g.token.key.0,
                begin: g.token.begin,
                end: g.token.end,
                ticket: &g.token.ticket,
                valid_s: g.valid_s,
                password_expires_days: g.password_expires_days,
            }
        }
    };
    bincode::encode_into_slice(wire, out, config()).map_err(|_| FrameError::TooLong)
}

/// Reads a reply, all of `body`, and checks every field.
///
/// # Errors
/// [`FrameError`] says what is wrong.
pub(crate) fn get_reply(body: &[u8]) -> Result<Reply, FrameError> {
    match get::<WireReply<'_>>(body)? {
        WireReply::Pong => Ok(Reply::Pong),
        WireReply::Pending { retry_ms } => Ok(Reply::Pending { retry_ms }),
        WireReply::Failed(code) => {
            let known = Failure::ALL.into_iter().find(|f| *f as u8 == code);
            known.map(Reply::Failed).ok_or(FrameError::Body)
        }
        WireReply::Member(number) => {
            let known = Membership::ALL.into_iter().find(|m| *m as u8 == number);
            known.map(Reply::Member).ok_or(FrameError::Body)
        }
        WireReply::Granted {
            cell,
            name,
            afs_id,
            kvno,
            key,
            begin,
            end,
            ticket,
            valid_s,
            password_expires_days,
        } => {
            check_ticket(ticket)?;
            check_user(name)?;
            let token = Token {
                cell: canonical(cell)?,
                afs_id,
                kvno,
                key: SessionKey(key.try_into().map_err(|_| FrameError::Body)?),
                begin,
                end,
                ticket: Zeroizing::new(ticket.to_vec()),
            };
            Ok(Reply::Granted(Granted { token, name: name.to_owned(), valid_s, password_expires_days }))
        }
    }
}

/// Reads a value that fills `body` to its last byte.
///
/// # Errors
/// [`FrameError::Body`], [`FrameError::Length`].
fn get<'a, T: BorrowDecode<'a, ()>>(body: &'a [u8]) -> Result<T, FrameError> {
    let (value, used) =
        bincode::borrow_decode_from_slice::<T, _>(body, config()).map_err(|_| FrameError::Body)?;
    if used == body.len() { Ok(value) } else { Err(FrameError::Length) }
}

/// The limits of names; stricter ones are the business of whoever uses them.
///
/// # Errors
/// [`FrameError::Name`].
fn check_names(user: &str, cell: &str, realm: Option<&str>) -> Result<(), FrameError> {
    check_user(user)?;
    if realm.is_some_and(|r| Realm::new(r).is_err()) {
        return Err(FrameError::Name);
    }
    canonical(cell).map(drop)
}

/// The limits of the name of a user.
///
/// # Errors
/// [`FrameError::Name`].
fn check_user(user: &str) -> Result<(), FrameError> {
    let wrong = user.is_empty() || user.len() > USER_MAX || user.chars().any(char::is_control);
    if wrong { Err(FrameError::Name) } else { Ok(()) }
}

/// The limits of the name of a group.
///
/// # Errors
/// [`FrameError::Name`].
fn check_group(group: &str) -> Result<(), FrameError> {
    if Member::fits(group) { Ok(()) } else { Err(FrameError::Name) }
}

/// The limits of paths.
///
/// # Errors
/// [`FrameError::Name`].
fn check_key_file(path: &str) -> Result<(), FrameError> {
    if Service::fits(path) { Ok(()) } else { Err(FrameError::Name) }
}

/// The name of a cell, in canonical spelling already.
///
/// # Errors
/// [`FrameError::Name`].
fn canonical(name: &str) -> Result<Cell, FrameError> {
    Cell::new(name).ok().filter(|c| c.as_str() == name).ok_or(FrameError::Name)
}

/// The limits of tickets.
///
/// # Errors
/// [`FrameError::Ticket`].
fn check_ticket(ticket: &[u8]) -> Result<(), FrameError> {
    if (Token::TICKET_MIN..=Token::TICKET_MAX).contains(&ticket.len()) {
        Ok(())
    } else {
        Err(FrameError::Ticket)
    }
}
