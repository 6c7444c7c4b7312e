//! What AFS's errors and failed logins come to in HTTP: one table each.
//!
//! Pure: knows numbers and words only.

use crate::identity::Refusal;
use weblog_proto::Failure;
use weblog_proto::reply::FailureClass;

/// Seconds after which a visitor may try again.
pub const RETRY_AFTER_S: u32 = 5;

/// How a request ends that is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 400.
    BadRequest,
    /// 401 with this location's prompt: other credentials might do.
    Challenge,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 405: not by this method.
    NotAllowed,
    /// 409: something else has to be there first, or is there already.
    Conflict,
    /// 412: what is there is not what the request was made for.
    Changed,
    /// 415: a file that is not sent as it is to be stored.
    Coded,
    /// 501: a method or transfer coding that httpd does not know.
    Unknown,
    /// 502: the destination is of another kind than the source.
    Elsewhere,
    /// 507: no room for it.
    Full,
    /// 503 with Retry-After.
    Unavailable,
}

impl Answer {
    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Challenge => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::NotAllowed => 405,
            Self::Conflict => 409,
            Self::Changed => 412,
            Self::Coded => 415,
            Self::Unknown => 501,
            Self::Elsewhere => 502,
            Self::Full => 507,
            Self::Unavailable => 503,
        }
    }
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        match failure.class() {
            FailureClass::Credentials => Self::Challenge,
            FailureClass::Unavailable => Self::Unavailable,
        }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Undecodable => Self::BadRequest,
            Refusal::UnsupportedScheme | Refusal::NotAcceptable | Refusal::CellNotAllowed => Self::Challenge,
        }
    }
}

/// What an AFS client's errno means for an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The cell says no.
    Denied,
    /// Nothing of that name.
    Absent,
    /// It is there, but cannot be served whoever asks (a loop of links, a directory in place of a file).
    Unfit,
    /// The visitor's token has ended while the request was under way: with the next one he logs in again.
    TokenEnded,
    /// Nobody may do it, but perhaps the service identity might, which has no token at present.
    ServiceAway,
    /// A server or the network is not there, or we have run out of something: later might do.
    Unavailable,
}

impl Trouble {
    /// By the number. A mount point whose volume nobody knows is ENODEV, as is one whose cell's
    /// volume location servers are silent; since they cannot be told apart, both are [`Trouble::Unavailable`].
    #[must_use]
    pub fn of(errno: i32) -> Self {
        match errno {
            libc::EACCES | libc::EPERM => Self::Denied,
            libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG => Self::Absent,
            libc::ELOOP | libc::EISDIR | libc::EINVAL => Self::Unfit,
            _ => Self::Unavailable,
        }
    }

    /// The same for a visitor whose token ends at `token_end` (seconds since 1970), none for nobody: what AFS refuses
    /// to a token that has ended says nothing about his rights.
    #[must_use]
    pub fn under(self, token_end: Option<i64>, now_s: i64) -> Self {
        match (self, token_end) {
            (Self::Denied, Some(end)) if end <= now_s => Self::TokenEnded,
            _ => self,
        }
    }

    /// How the request ends; `logged_in`: other credentials would not help, be it that none are asked for here.
    #[must_use]
    pub fn answer(self, logged_in: bool) -> Answer {
        match self {
            Self::Denied if logged_in => Answer::Forbidden,
            Self::Denied => Answer::Challenge,
            Self::Absent => Answer::NotFound,
            Self::Unfit => Answer::Forbidden,
            Self::TokenEnded | Self::ServiceAway | Self::Unavailable => Answer::Unavailable,
        }
    }

    /// One word for logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Denied => "no-right",
            Self::Absent => "absent",
            Self::Unfit => "unfit",
            Self::TokenEnded => "token-ended",
            Self::ServiceAway => "service-away",
            Self::Unavailable => "afs-unavailable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_right_under_a_token_that_has_ended_is_no_answer() {
        let denied = Trouble::of(libc::EACCES);
        assert_eq!(denied.under(Some(1001), 1000).answer(true), Answer::Forbidden);
        assert_eq!(denied.under(Some(1000), 1000).answer(true), Answer::Unavailable);
        assert_eq!(denied.under(None, 1000).answer(false), Answer::Challenge);
        assert_eq!(Trouble::of(libc::ENOENT).under(Some(1), 1000), Trouble::Absent);
    }

    #[test]
    fn every_failed_login_has_the_status_of_the_table() {
        for (failure, status) in [
            (Failure::WrongPassword, 401),
            (Failure::UnknownUser, 401),
            (Failure::Locked, 401),
            (Failure::PasswordExpired, 401),
            (Failure::CellNotAllowed, 401),
            (Failure::NotAcceptable, 401),
            (Failure::AccountExpired, 401),
            (Failure::PreauthFailed, 401),
            (Failure::NoKdc, 503),
            (Failure::NoAfsPrincipal, 503),
            (Failure::EnctypeRefused, 503),
            (Failure::TicketTooLong, 503),
            (Failure::KeytabCheck, 503),
            (Failure::KeyFile, 503),
            (Failure::CellUnreachable, 503),
            (Failure::Deadline, 503),
            (Failure::Overload, 503),
            (Failure::ClockSkew, 503),
            (Failure::NotAccepted, 503),
            (Failure::Internal, 503),
        ] {
            assert_eq!(Answer::from(failure).status(), status, "{failure:?}");
        }
        for (refusal, status) in [
            (Refusal::Undecodable, 400),
            (Refusal::UnsupportedScheme, 401),
            (Refusal::NotAcceptable, 401),
            (Refusal::CellNotAllowed, 401),
        ] {
            assert_eq!(Answer::from(refusal).status(), status, "{refusal:?}");
        }
    }

    #[test]
    fn d36_no_right_is_not_the_same_as_no_server() {
        for (errno, anonymous, logged_in) in [
            (libc::EACCES, 401, 403),
            (libc::EPERM, 401, 403),
            (libc::ENOENT, 404, 404),
            (libc::ENOTDIR, 404, 404),
            (libc::ELOOP, 403, 403),
            (libc::ETIMEDOUT, 503, 503),
            (libc::ENODEV, 503, 503),
            (libc::EIO, 503, 503),
            (libc::EMFILE, 503, 503),
            (-1, 503, 503),
            (19_270_408, 503, 503),
        ] {
            assert_eq!(Trouble::of(errno).answer(false).status(), anonymous, "{errno}");
            assert_eq!(Trouble::of(errno).answer(true).status(), logged_in, "{errno}");
        }
    }
}
