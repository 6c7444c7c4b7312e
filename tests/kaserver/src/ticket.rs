//! Kerberos 4 tickets as rxkad takes them, and tokens around them.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use crate::des::{BLOCK, Key, pcbc_open, pcbc_seal};
use crate::error::Error;
use crate::lifetime;

/// Bytes a name, instance or realm may have, including the closing zero byte.
pub const NAME_MAX: usize = 64;
/// The shortest ticket that a server or client takes; also the shortest there can be.
pub const TICKET_MIN: usize = 32;
/// The longest.
pub const TICKET_MAX: usize = 12_000;

/// What a ticket says when it is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Whom it speaks for.
    pub name: Vec<u8>,
    /// His instance.
    pub instance: Vec<u8>,
    /// His realm; empty in the home cell.
    pub realm: Vec<u8>,
    /// The IPv4 address it was given to.
    pub host: [u8; 4],
    /// The key that client and server share.
    pub session_key: Key,
    /// The lifetime byte.
    pub life: u8,
    /// From when on it is good, in seconds since 1970.
    pub start: u32,
    /// The server it is for.
    pub server_name: Vec<u8>,
    /// That server's instance.
    pub server_instance: Vec<u8>,
}

impl Ticket {
    /// When it ends, in seconds since 1970.
    #[must_use]
    pub fn end(&self) -> u32 {
        lifetime::end_of(self.start, self.life)
    }

    /// The clear text, not filled up to whole blocks.
    ///
    /// # Errors
    /// [`Error::BadName`] if a name does not fit; [`Error::BadLifetime`] for a lifetime of zero.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        if self.life == 0 {
            return Err(Error::BadLifetime);
        }
        let mut clear = Zeroizing::new(vec![0_u8]);
        put_string(&mut clear, &self.name, 1)?;
        put_string(&mut clear, &self.instance, 0)?;
        put_string(&mut clear, &self.realm, 0)?;
        clear.extend_from_slice(&self.host);
        clear.extend_from_slice(self.session_key.bytes());
        clear.push(self.life);
        clear.extend_from_slice(&self.start.to_be_bytes());
        put_string(&mut clear, &self.server_name, 1)?;
        put_string(&mut clear, &self.server_instance, 0)?;
        Ok(clear)
    }

    /// Seals it under the server's key.
    ///
    /// # Errors
    /// As [`Ticket::encode`].
    pub fn seal(&self, key: &Key) -> Result<Vec<u8>, Error> {
        Ok(pcbc_seal(key, &self.encode()?))
    }

    /// Opens a sealed ticket.
    ///
    /// # Errors
    /// [`Error::BadTicket`] if it was sealed under another key or is malformed.
    pub fn open(sealed: &[u8], key: &Key) -> Result<Self, Error> {
        if !(TICKET_MIN..=TICKET_MAX).contains(&sealed.len()) {
            return Err(Error::BadTicket);
        }
        let clear = Zeroizing::new(pcbc_open(key, sealed).ok_or(Error::BadTicket)?);
        let mut rest = clear.as_slice();
        let [flags] = take(&mut rest)?;
        let number =
            |bytes| if flags & 1 == 0 { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
        let ticket = Self {
            name: take_string(&mut rest, 1)?,
            instance: take_string(&mut rest, 0)?,
            realm: take_string(&mut rest, 0)?,
            host: take(&mut rest)?,
            session_key: Key::new(take(&mut rest)?),
            life: take::<1>(&mut rest)?[0],
            start: number(take(&mut rest)?),
            server_name: take_string(&mut rest, 1)?,
            server_instance: take_string(&mut rest, 0)?,
        };
        let used = clear.len() - rest.len();
        if used.next_multiple_of(BLOCK) != sealed.len() && sealed.len() != 56 {
            return Err(Error::BadTicket);
        }
        Ok(ticket)
    }
}

/// Appends a string with its closing zero byte.
///
/// # Errors
/// [`Error::BadName`] if it does not fit.
fn put_string(out: &mut Vec<u8>, text: &[u8], min: usize) -> Result<(), Error> {
    if text.len() < min || text.len() >= NAME_MAX || text.contains(&0) {
        return Err(Error::BadName);
    }
    out.extend_from_slice(text);
    out.push(0);
    Ok(())
}

/// Takes `N` bytes off the front.
///
/// # Errors
/// [`Error::BadTicket`] if it is not there.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Error> {
    let (bytes, tail) = rest.split_first_chunk().ok_or(Error::BadTicket)?;
    *rest = tail;
    Ok(*bytes)
}

/// Takes a zero-closed string off the front.
///
/// # Errors
/// [`Error::BadTicket`] if it is not there.
fn take_string(rest: &mut &[u8], min: usize) -> Result<Vec<u8>, Error> {
    let length = rest.iter().take(NAME_MAX).position(|byte| *byte == 0).ok_or(Error::BadTicket)?;
    let (text, tail) = rest.split_at_checked(length).ok_or(Error::BadTicket)?;
    if length < min {
        return Err(Error::BadTicket);
    }
    *rest = tail.get(1..).ok_or(Error::BadTicket)?;
    Ok(text.to_vec())
}

/// Seals a ticket for the cell's `afs` service, as a login there would have got it.
///
/// `life_s`: 1 to 2 592 000 seconds, rounded up to what a ticket can say. `realm`: empty for a user of the cell itself.
///
/// # Errors
/// [`Error::BadName`] if a name does not fit; [`Error::BadLifetime`] if the lifetime is out of range.
pub fn seal_ticket(
    name: &str,
    instance: &str,
    realm: &str,
    session_key: &Key,
    start: u32,
    life_s: u32,
    service_key: &Key,
) -> Result<Vec<u8>, Error> {
    let end = start.checked_add(life_s).ok_or(Error::BadLifetime)?;
    Ticket {
        name: name.into(),
        instance: instance.into(),
        realm: realm.into(),
        host: [0; 4],
        session_key: session_key.clone(),
        life: lifetime::byte_for(start, end).ok_or(Error::BadLifetime)?,
        start,
        server_name: b"afs".to_vec(),
        server_instance: Vec::new(),
    }
    .seal(service_key)
}

/// What an AFS client holds for a user in a cell: enough to speak rxkad.
#[derive(Clone)]
pub struct Token {
    /// The key that client and servers share.
    pub session_key: [u8; BLOCK],
    /// The sealed ticket.
    pub ticket: Vec<u8>,
    /// Which of the cell's keys seals the ticket.
    pub kvno: i32,
    /// From when on it is good, in seconds since 1970.
    pub begin: u32,
    /// When it ends, in seconds since 1970.
    pub end: u32,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("kvno", &self.kvno)
            .field("begin", &self.begin)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.session_key.zeroize();
        self.ticket.zeroize();
    }
}

/// Makes a token for `name` without any login, as whoever knows the cell's key can: to set up a cell.
///
/// # Errors
/// As [`seal_ticket`]; [`Error::NoRandom`] if no session key can be drawn.
pub fn mint_token(
    name: &str,
    instance: &str,
    begin: u32,
    life_s: u32,
    service_key: &Key,
    kvno: i32,
) -> Result<Token, Error> {
    let session_key = Key::random()?;
    let ticket = seal_ticket(name, instance, "", &session_key, begin, life_s, service_key)?;
    let life = lifetime::byte_for(begin, begin.saturating_add(life_s)).ok_or(Error::BadLifetime)?;
    Ok(Token { session_key: *session_key.bytes(), ticket, kvno, begin, end: lifetime::end_of(begin, life) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(hex: &str) -> Key {
        hex.parse().unwrap()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn joe() -> Ticket {
        Ticket {
            name: b"joe".to_vec(),
            instance: Vec::new(),
            realm: Vec::new(),
            host: [127, 0, 0, 1],
            session_key: key("0123456789abcdef"),
            life: 0x78,
            start: 0x6000_0000,
            server_name: b"afs".to_vec(),
            server_instance: b"example.com".to_vec(),
        }
    }

    #[test]
    fn a_ticket_is_sealed_as_openafs_seals_it() {
        let sealed = joe().seal(&key("6d9ec8b06babeaf4")).unwrap();
        assert_eq!(
            hex(&sealed),
            "f893597d5d1d2da600d300b2a998ecc01569638326451bd3c83c18b19988b44ce79eb721ad7f7c1a"
        );
        assert_eq!(
            hex(&pcbc_open(&key("6d9ec8b06babeaf4"), &sealed).unwrap()),
            "006a6f650000007f0000010123456789abcdef7860000000616673006578616d706c652e636f6d00"
        );
        assert_eq!(Ticket::open(&sealed, &key("6d9ec8b06babeaf4")).unwrap(), joe());
    }

    #[test]
    fn another_key_does_not_open_it() {
        let sealed = joe().seal(&key("6d9ec8b06babeaf4")).unwrap();
        assert!(Ticket::open(&sealed, &key("b35e9dd6e3d69bae")).is_err());
        assert!(Ticket::open(&sealed[..32], &key("6d9ec8b06babeaf4")).is_err());
        assert!(Ticket::open(&[], &key("6d9ec8b06babeaf4")).is_err());
    }

    #[test]
    fn the_shortest_ticket_is_long_enough_for_a_server() {
        let sealed =
            seal_ticket("a", "", "", &key("0123456789abcdef"), 1, 300, &key("6d9ec8b06babeaf4")).unwrap();
        assert_eq!(sealed.len(), TICKET_MIN);
        assert_eq!(Ticket::open(&sealed, &key("6d9ec8b06babeaf4")).unwrap().end(), 301);
    }

    #[test]
    fn names_and_lifetimes_that_do_not_fit_are_refused() {
        let seal = |name: &str, life| {
            seal_ticket(name, "", "", &key("0123456789abcdef"), 1, life, &key("6d9ec8b06babeaf4"))
        };
        assert!(matches!(seal("", 300), Err(Error::BadName)));
        assert!(matches!(seal(&"x".repeat(64), 300), Err(Error::BadName)));
        assert!(seal(&"x".repeat(63), 300).is_ok());
        assert!(matches!(seal("a\0b", 300), Err(Error::BadName)));
        assert!(matches!(seal("a", 0), Err(Error::BadLifetime)));
        assert!(matches!(seal("a", u32::MAX), Err(Error::BadLifetime)));
    }

    #[test]
    fn a_minted_token_opens_under_the_cells_key() {
        let token = mint_token("admin", "", 1000, 3600, &key("6d9ec8b06babeaf4"), 1).unwrap();
        let ticket = Ticket::open(&token.ticket, &key("6d9ec8b06babeaf4")).unwrap();
        assert_eq!((token.begin, token.end, token.kvno), (1000, 4600, 1));
        assert_eq!(ticket.session_key.bytes(), &token.session_key);
        assert_eq!(ticket.name, b"admin");
    }
}
