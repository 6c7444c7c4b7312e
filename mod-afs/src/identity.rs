//! Who a request claims to be: from the `Authorization` header to user, cell and password.
//!
//! Pure: knows nothing of httpd, of lanes or of AFS. Nothing here says that the claim is true.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use core::fmt;
use pag::{Cell, Principal, Realm};
use weblog_proto::Password;
use zeroize::Zeroizing;

/// The schemes that we offer, as they stand in a challenge.
pub const SCHEMES: &str = "Basic";

/// Longest `Authorization` value that is looked at; name, cell and password together cannot be longer.
const HEADER_MAX: usize = 1024;

/// A visitor's claim: who he says he is, and the password that is to prove it.
///
/// The password is wiped on drop and never shown.
#[derive(Clone)]
pub struct Credentials {
    /// User and cell.
    pub principal: Principal,
    /// As it came.
    pub password: Password,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, ..)", self.principal)
    }
}

/// What a request says of its visitor.
#[derive(Debug)]
pub enum Claim {
    /// Nothing.
    Anonymous,
    /// This, still to be proved.
    Credentials(Credentials),
}

/// Why a header is nobody's claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not what Basic looks like: 400.
    #[error("the Authorization header cannot be decoded")]
    Undecodable,
    /// Another scheme: 401 with the schemes that we offer.
    #[error("the authentication scheme is not offered here")]
    UnsupportedScheme,
    /// Name or password cannot be anybody's: 401.
    #[error("name or password cannot be anybody's")]
    NotAcceptable,
    /// Neither an allowed cell nor an allowed realm, or none was given and there is no default: 401.
    #[error("the cell is not an allowed one")]
    CellNotAllowed,
}

impl Refusal {
    /// One word for logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::UnsupportedScheme => "unsupported-scheme",
            Self::NotAcceptable => "not-acceptable",
            Self::CellNotAllowed => "cell-not-allowed",
        }
    }
}

/// Which cells a name may belong to.
#[derive(Debug, Clone, Copy)]
pub struct CellRules<'a> {
    /// The allowed ones.
    pub allowed: &'a [Cell],
    /// Realms whose users the default cell is for as well.
    pub realms: &'a [Realm],
    /// The cell of names without `@`: the location's, else the server's.
    pub default: Option<&'a Cell>,
}

impl CellRules<'_> {
    /// The cell that `name` stands for, if visitors of it may log in.
    fn find(&self, name: &str) -> Option<Cell> {
        let cell = Cell::new(name).ok()?;
        self.allowed.contains(&cell).then_some(cell)
    }

    /// The realm that `name` stands for in whatever case, as it is allowed.
    fn find_realm(&self, name: &str) -> Option<Realm> {
        self.realms.iter().find(|realm| realm.is_called(name)).cloned()
    }

    /// The default cell, if visitors of it may log in.
    fn find_default(&self) -> Option<Cell> {
        self.default.filter(|c| self.allowed.contains(c)).cloned()
    }
}

/// Reads the value of an `Authorization` header; `None` = the request has none.
///
/// `user@x` belongs to cell `x` (after the last `@`, case-insensitively), or is a user of realm `x` in the default cell;
/// `user` belongs to the default cell.
///
/// # Errors
/// [`Refusal`] says why it is nobody's.
pub fn claim(header: Option<&[u8]>, cells: CellRules<'_>) -> Result<Claim, Refusal> {
    let Some(header) = header else { return Ok(Claim::Anonymous) };
    let (scheme, rest) = parts(header);
    if scheme.is_empty() || !scheme.iter().all(|b| is_token(*b)) {
        return Err(Refusal::Undecodable);
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return Err(Refusal::UnsupportedScheme);
    }
    let plain = decode(rest)?;
    let colon = plain.iter().position(|b| *b == b':').ok_or(Refusal::Undecodable)?;
    let (name, password) = plain.split_at(colon);
    let principal = principal(name, cells)?;
    let bytes = password.get(1..).unwrap_or_default();
    let password = Password::new(Zeroizing::new(bytes.to_vec())).ok_or(Refusal::NotAcceptable)?;
    Ok(Claim::Credentials(Credentials { principal, password }))
}

/// Scheme and credentials.
fn parts(header: &[u8]) -> (&[u8], &[u8]) {
    let header = header.trim_ascii();
    let scheme_len = header.iter().position(|b| *b == b' ' || *b == b'\t').unwrap_or(header.len());
    let (scheme, rest) = header.split_at(scheme_len);
    (scheme, rest.trim_ascii())
}

/// Of an Authorization header what has a password in it; empty if none can be in there, so that nobody can make it a word
/// of his choice.
#[must_use]
pub fn secret_part(header: &[u8]) -> &[u8] {
    let (_, rest) = parts(header);
    if decode(rest).is_ok_and(|plain| plain.contains(&b':')) { rest } else { b"" }
}

/// Whether `byte` may stand in a token (RFC 9110, 5.6.2), as the name of a scheme is one.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Strict base64 (RFC 4648, padded), into memory that is wiped.
///
/// # Errors
/// [`Refusal::Undecodable`], or [`Refusal::NotAcceptable`] for what is decodable and longer than any login.
fn decode(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    if text.is_empty() {
        return Err(Refusal::Undecodable);
    }
    if text.len() > HEADER_MAX {
        // Long, but base64: such a name or password is nobody's. Else it cannot be decoded anyway.
        let ok = text.iter().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(b));
        return Err(if ok { Refusal::NotAcceptable } else { Refusal::Undecodable });
    }
    // Room for the whole result at once: a buffer that grows would leave copies behind.
    let mut plain = Zeroizing::new(vec![0; HEADER_MAX]);
    let len = STANDARD.decode_slice(text, &mut plain).map_err(|_| Refusal::Undecodable)?;
    plain.truncate(len);
    Ok(plain)
}

/// User and cell of a name as it was typed.
///
/// # Errors
/// [`Refusal::NotAcceptable`] or [`Refusal::CellNotAllowed`].
fn principal(name: &[u8], cells: CellRules<'_>) -> Result<Principal, Refusal> {
    let name = core::str::from_utf8(name).map_err(|_| Refusal::NotAcceptable)?;
    let (user, cell, realm) = match name.rsplit_once('@') {
        Some((user, of)) => match (cells.find(of), cells.find_realm(of)) {
            (None, Some(realm)) => (user, cells.find_default(), Some(realm)),
            (cell, _) => (user, cell, None),
        },
        None => (name, cells.find_default(), None),
    };
    // The name first: whoever types nonsense need not learn which cells there are.
    let any = cell.clone().or_else(|| Cell::new("x").ok()).ok_or(Refusal::NotAcceptable)?;
    let principal = Principal::new(user, any).map_err(|_| Refusal::NotAcceptable)?;
    match (cell, realm) {
        (Some(_), Some(realm)) => Ok(principal.of_realm(realm)),
        (Some(_), None) => Ok(principal),
        (None, _) => Err(Refusal::CellNotAllowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells() -> Vec<Cell> {
        vec![Cell::new("example.com").unwrap(), Cell::new("other.org").unwrap()]
    }

    fn header(plain: &[u8]) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(plain)).into_bytes()
    }

    /// Who the value of a header says.
    ///
    /// # Errors
    /// As [`claim`].
    fn read(value: &[u8]) -> Result<(String, Vec<u8>), Refusal> {
        let cells = cells();
        let rules = CellRules { allowed: &cells, realms: &[], default: cells.first() };
        match claim(Some(value), rules)? {
            Claim::Anonymous => Ok((String::new(), Vec::new())),
            Claim::Credentials(c) => Ok((c.principal.to_string(), c.password.expose().to_vec())),
        }
    }

    /// Who name and password, before they are encoded, say.
    ///
    /// # Errors
    /// As [`claim`].
    fn check(plain: &[u8]) -> Result<(String, Vec<u8>), Refusal> {
        read(&header(plain))
    }

    #[test]
    fn what_has_a_password_in_it_is_told_from_words_that_somebody_chose() {
        for (header, secret) in [
            ("Basic YWxpY2U6c2VjcmV0", "YWxpY2U6c2VjcmV0"),
            ("  basic \t YTo= ", "YTo="),
            ("Bearer YWxpY2U6c2VjcmV0", "YWxpY2U6c2VjcmV0"),
            ("Basic on", ""),
            ("Basic YWxpY2U=", ""),
            ("Basic", ""),
            ("", ""),
        ] {
            assert_eq!(secret_part(header.as_bytes()), secret.as_bytes(), "{header}");
        }
    }

    #[test]
    fn no_header_is_anonymous() {
        let rules = CellRules { allowed: &[], realms: &[], default: None };
        assert!(matches!(claim(None, rules), Ok(Claim::Anonymous)));
    }

    #[test]
    fn name_without_cell_belongs_to_the_default_cell() {
        assert_eq!(check(b"alice:secret"), Ok(("alice@example.com".into(), b"secret".to_vec())));
    }

    #[test]
    fn without_a_default_cell_a_bare_name_is_nobody() {
        let cells = cells();
        let rules = CellRules { allowed: &cells, realms: &[], default: None };
        assert_eq!(claim(Some(&header(b"alice:x")), rules).unwrap_err(), Refusal::CellNotAllowed);
        let stranger = Cell::new("stranger.net").unwrap();
        let rules = CellRules { allowed: &cells, realms: &[], default: Some(&stranger) };
        assert_eq!(claim(Some(&header(b"alice:x")), rules).unwrap_err(), Refusal::CellNotAllowed);
    }

    #[test]
    fn cell_stands_behind_the_last_at_in_any_case() {
        assert_eq!(check(b"bob@OTHER.Org:x").unwrap().0, "bob@other.org");
        assert_eq!(check(b"bob@x@other.org:x"), Err(Refusal::NotAcceptable));
        assert_eq!(check(b"bob@unknown.net:x"), Err(Refusal::CellNotAllowed));
        // libafsauthent would take a unique prefix
        assert_eq!(check(b"bob@other:x"), Err(Refusal::CellNotAllowed));
        assert_eq!(check(b"bob@:x"), Err(Refusal::CellNotAllowed));
        assert_eq!(check(b"@other.org:x"), Err(Refusal::NotAcceptable));
    }

    #[test]
    fn behind_the_at_stands_an_allowed_cell_else_an_allowed_realm() {
        let cells = cells();
        let realms = ["PARTNER.EXAMPLE", "OTHER.ORG"].map(|r| Realm::new(r).unwrap());
        let who = |name: &str, default: Option<&Cell>| {
            let rules = CellRules { allowed: &cells, realms: &realms, default };
            match claim(Some(&header(format!("{name}:x").as_bytes())), rules) {
                Ok(Claim::Credentials(c)) => Ok((c.principal.to_string(), c.principal.cell().to_string())),
                other => Err(other.err()),
            }
        };
        let default = cells.first();
        let is = |name: &str, cell: &str| Ok((name.to_owned(), cell.to_owned()));
        assert_eq!(who("bob@partner.example", default), is("bob@PARTNER.EXAMPLE", "example.com"));
        assert_eq!(who("bob/admin@PARTNER.EXAMPLE", default), is("bob/admin@PARTNER.EXAMPLE", "example.com"));
        assert_eq!(who("bob@OTHER.ORG", default), is("bob@other.org", "other.org"), "the cell first");
        assert_eq!(who("bob@PARTNER", default), Err(Some(Refusal::CellNotAllowed)));
        assert_eq!(who("bob@PARTNER.EXAMPLE", None), Err(Some(Refusal::CellNotAllowed)));
        assert_ne!(
            Principal::new("bob", cells[0].clone()),
            Principal::new("bob", cells[0].clone()).map(|p| p.of_realm(realms[0].clone()))
        );
    }

    #[test]
    fn d2_password_keeps_colons_and_newlines() {
        // D2: the original cut a password at its newline
        assert_eq!(check(b"alice:a:b\nc ").unwrap().1, b"a:b\nc ");
        assert_eq!(check(b"alice:\xff\xfe").unwrap().1, b"\xff\xfe");
    }

    #[test]
    fn d2_newline_in_a_name_is_refused() {
        // the original's broker took what followed the newline as cell and password
        for name in ["alice\nexample.com\nsecret", "alice\n", "alice\r", "alice\0", "alice\x7f", "al ice"] {
            assert_eq!(check(format!("{name}:x").as_bytes()), Err(Refusal::NotAcceptable), "{name:?}");
        }
        assert_eq!(check(b"alice@example.com\nother:x"), Err(Refusal::CellNotAllowed));
    }

    #[test]
    fn d13_d59_long_names_and_passwords_are_refused() {
        let ok = format!("{}:{}", "a".repeat(63), "p".repeat(255));
        assert_eq!(check(ok.as_bytes()).unwrap().1.len(), 255);
        for plain in [
            format!("{}:x", "a".repeat(64)),
            format!("alice:{}", "p".repeat(256)),
            format!("alice@{}:x", "c".repeat(64)),
            "a".repeat(100_000),
        ] {
            let refusal = check(plain.as_bytes()).unwrap_err();
            assert!(matches!(refusal, Refusal::NotAcceptable | Refusal::CellNotAllowed), "{}", plain.len());
        }
    }

    #[test]
    fn nul_and_empty_are_nobodys() {
        for plain in [&b"alice:a\0b"[..], b"alice:", b":x", b":"] {
            assert_eq!(check(plain), Err(Refusal::NotAcceptable), "{plain:?}");
        }
    }

    #[test]
    fn d51_other_schemes_are_told_what_is_offered() {
        for value in
            [&b"Bearer abc"[..], b"Negotiate YII=", b"Digest username=\"a\"", b"Basicx YTpi", b"NTLM"]
        {
            assert_eq!(read(value), Err(Refusal::UnsupportedScheme), "{value:?}");
        }
    }

    #[test]
    fn scheme_is_case_insensitive_and_blanks_do_not_matter() {
        for value in ["basic YWxpY2U6eA==", "BASIC   YWxpY2U6eA==  ", "Basic\tYWxpY2U6eA=="] {
            assert_eq!(read(value.as_bytes()).unwrap().0, "alice@example.com", "{value:?}");
        }
    }

    #[test]
    fn d60_what_is_not_base64_is_a_bad_request() {
        let values: [&[u8]; 14] = [
            b"",
            b"Basic",
            b"Basic ",
            b"Basic =",
            b"Basic ====",
            b"Basic YWxpY2U6eA",
            b"Basic YWxpY2U6eA=",
            b"Basic YWxpY2U6eB==",
            b"Basic YWxp Y2U6eA==",
            b"Basic YWxpY2U6eA==, Basic YWxpY2U6eA==",
            b"Basic \xff\xfe\xfd\xfc",
            b"Basic YWxp-2U6eA==",
            b"Basic YWxpY2U=",
            b"\xff YWxpY2U6eA==",
        ];
        for value in values {
            assert_eq!(read(value), Err(Refusal::Undecodable), "{:?}", String::from_utf8_lossy(value));
        }
    }

    #[test]
    fn d6_the_claim_keeps_the_cell() {
        let (first, second) =
            (check(b"alice@example.com:x").unwrap().0, check(b"alice@other.org:x").unwrap().0);
        assert_ne!(first, second);
    }

    #[test]
    fn d48_nothing_shows_the_password() {
        let cells = cells();
        let rules = CellRules { allowed: &cells, realms: &[], default: cells.first() };
        let claim = claim(Some(&header(b"alice:tops3cret")), rules).unwrap();
        assert!(!format!("{claim:?}").contains("tops3cret"));
    }
}
