//! The one error type of this crate.

use std::io;

/// What went wrong before or beside serving; a refused login is not an error but an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key is not 16 hexadecimal digits.
    #[error("a key is 16 hexadecimal digits")]
    BadKey,
    /// A name, instance or realm is empty where it may not be, longer than 63 bytes, or holds a zero byte.
    #[error("not a name that fits a ticket")]
    BadName,
    /// A lifetime that no ticket can express: zero or more than 30 days.
    #[error("a ticket lives from 1 second to 30 days")]
    BadLifetime,
    /// A ticket that does not open with the key it was tried with, or is malformed.
    #[error("the ticket does not open under this key")]
    BadTicket,
    /// Two principals of the configuration have the same name and instance.
    #[error("principal {0:?} is named twice")]
    Duplicate(String),
    /// The configuration cannot be understood.
    #[error("configuration")]
    Json(#[from] serde_json::Error),
    /// A system call failed.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The control socket answered with an error.
    #[error("the test kaserver refuses: {0}")]
    Refused(String),
    /// The kernel gives no random bytes.
    #[error("no random bytes")]
    NoRandom,
}

impl Error {
    /// Wraps an I/O error with what was tried.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}
