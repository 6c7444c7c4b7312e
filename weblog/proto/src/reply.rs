//! What the broker answers.

use pag::Token;

/// One reply.
#[derive(Debug, Clone)]
pub enum Reply {
    /// The visitor is who he says; the cell has accepted the token.
    Granted(Granted),
    /// No token.
    Failed(Failure),
    /// The login is under way; ask again with the same credentials after so many milliseconds.
    Pending {
        /// Milliseconds.
        retry_ms: u32,
    },
    /// Answer to [`crate::Request::Ping`].
    Pong,
    /// Answer to [`crate::Request::Member`].
    Member(Membership),
}

/// What a cell's protection server says of somebody and a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Membership {
    /// He is not in it.
    No = 0,
    /// He is.
    Yes = 1,
    /// There is no such group.
    NoSuchGroup = 2,
    /// The server does not tell him: a group with private membership asks that of users of other realms.
    Hidden = 3,
}

impl Membership {
    /// All of them, for tables and tests.
    pub const ALL: [Self; 4] = [Self::No, Self::Yes, Self::NoSuchGroup, Self::Hidden];
}

/// A token and what goes with it.
#[derive(Debug, Clone)]
pub struct Granted {
    /// The token.
    pub token: Token,
    /// The visitor's name in the cell's protection database, in lower case as it has them.
    pub name: String,
    /// Seconds for which the asker may rely on it without asking again (at least 1).
    pub valid_s: u32,
    /// Days until the password expires; `None` = never or unknown.
    pub password_expires_days: Option<u8>,
}

/// Why there is no token. The worker turns it into a status; the details are in the broker's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Failure {
    /// The cell does not take this password.
    WrongPassword = 1,
    /// The cell does not know this user.
    UnknownUser = 2,
    /// The account is locked.
    Locked = 3,
    /// The password has expired.
    PasswordExpired = 4,
    /// The cell is not on the list of allowed ones.
    CellNotAllowed = 5,
    /// Name or password cannot be anybody's.
    NotAcceptable = 6,
    /// The account has expired.
    AccountExpired = 7,
    /// The KDC wants more than a password.
    PreauthFailed = 8,
    /// No server of the cell answers.
    CellUnreachable = 16,
    /// The login did not end in time.
    Deadline = 17,
    /// Too many logins at once, or too many failed ones from there.
    Overload = 18,
    /// Our clock and the cell's differ too much.
    ClockSkew = 19,
    /// Something answered, but the cell does not accept what came of it.
    NotAccepted = 20,
    /// The broker cannot do it now (no configuration yet, an authenticator that died).
    Internal = 21,
    /// No KDC of the realm is known.
    NoKdc = 22,
    /// The realm has no principal for the cell's AFS service.
    NoAfsPrincipal = 23,
    /// A kind of encryption that KDC, servers and we do not all take.
    EnctypeRefused = 24,
    /// The ticket has more bytes than AFS servers take.
    TicketTooLong = 25,
    /// The ticket is not from the KDC that the keytab's key is from, or the keytab is of no use.
    KeytabCheck = 26,
    /// The file with the key of a service identity is of no use: it cannot be read, or has no key of that principal.
    KeyFile = 27,
}

/// The HTTP class of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// 401: other credentials might do.
    Credentials,
    /// 503: later might do.
    Unavailable,
}

impl Failure {
    /// All of them, for tables and tests.
    pub const ALL: [Self; 20] = [
        Self::WrongPassword,
        Self::UnknownUser,
        Self::Locked,
        Self::PasswordExpired,
        Self::CellNotAllowed,
        Self::NotAcceptable,
        Self::AccountExpired,
        Self::PreauthFailed,
        Self::CellUnreachable,
        Self::Deadline,
        Self::Overload,
        Self::ClockSkew,
        Self::NotAccepted,
        Self::Internal,
        Self::NoKdc,
        Self::NoAfsPrincipal,
        Self::EnctypeRefused,
        Self::TicketTooLong,
        Self::KeytabCheck,
        Self::KeyFile,
    ];

    /// 401 or 503.
    #[must_use]
    pub fn class(self) -> FailureClass {
        if (self as u8) < 16 { FailureClass::Credentials } else { FailureClass::Unavailable }
    }

    /// One word for logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::WrongPassword => "wrong-password",
            Self::UnknownUser => "unknown-user",
            Self::Locked => "locked",
            Self::PasswordExpired => "password-expired",
            Self::CellNotAllowed => "cell-not-allowed",
            Self::NotAcceptable => "not-acceptable",
            Self::CellUnreachable => "cell-unreachable",
            Self::Deadline => "deadline",
            Self::Overload => "overload",
            Self::ClockSkew => "clock-skew",
            Self::NotAccepted => "not-accepted-by-cell",
            Self::Internal => "internal",
            Self::AccountExpired => "account-expired",
            Self::PreauthFailed => "preauthentication-failed",
            Self::NoKdc => "no-kdc",
            Self::NoAfsPrincipal => "no-afs-principal",
            Self::EnctypeRefused => "enctype-refused",
            Self::TicketTooLong => "ticket-too-long",
            Self::KeytabCheck => "keytab-check-failed",
            Self::KeyFile => "key-file",
        }
    }
}
