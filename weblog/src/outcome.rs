//! How a login or a question ended, as an authenticator tells the broker, and the step at which it failed.

use crate::logins::Secret;
use pag::{Principal, Token};
use weblog_proto::{Failure, Membership};

/// The step of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum Step {
    /// In the broker or the authenticator itself.
    Local,
    /// Finding the cell's servers.
    Servers,
    /// Asking kaserver or KDC for a ticket-granting ticket.
    Authenticate,
    /// Verifying the ticket-granting ticket by the keytab's key.
    Keytab,
    /// Asking kaserver or KDC for the ticket that makes the token.
    GetToken,
    /// Having the protection server accept the token as that user.
    Proof,
    /// Asking the protection server for a group.
    Group,
}

impl Step {
    /// One word for logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Servers => "servers",
            Self::Authenticate => "authenticate",
            Self::Keytab => "keytab",
            Self::GetToken => "get-token",
            Self::Proof => "proof",
            Self::Group => "group",
        }
    }
}

/// What to log in with.
#[derive(Debug)]
pub struct Credentials<'a> {
    /// User, cell, and realm if he named one.
    pub who: &'a Principal,
    /// What he shows.
    pub secret: &'a Secret,
    /// Lifetime to ask for, seconds; 0 = the longest that the cell gives.
    pub lifetime_s: u32,
    /// Seconds that are left for it.
    pub budget_s: u32,
}

/// A login that gave no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// What the asker is told.
    pub failure: Failure,
    /// Where it failed.
    pub step: Step,
    /// The server's or library's error number; 0 where there is none.
    pub code: i32,
}

impl Refusal {
    /// One that has no error number.
    #[must_use]
    pub fn local(failure: Failure) -> Self {
        Self { failure, step: Step::Local, code: 0 }
    }
}

/// A login that the cell's protection server has confirmed.
#[derive(Debug, Clone)]
pub struct Success {
    /// The token.
    pub token: Token,
    /// What the cell calls him, in lower case as its protection database does.
    pub name: String,
    /// Days until the password expires; `None` = never or unknown.
    pub password_expires_days: Option<u8>,
}

/// How a login ended.
pub type Outcome = Result<Success, Refusal>;

/// What an authenticator has brought.
#[derive(Debug, Clone)]
pub enum Fruit {
    /// Of a login.
    Login(Success),
    /// Of a question for a group.
    Group(Membership),
}

/// How either ended.
pub type Answer = Result<Fruit, Refusal>;
