//! What ends the nanny.

use crate::trust::TrustError;
use rustix::io::Errno;

/// The crate's error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A descriptor is not there, or the board is no board.
    #[error("inherited descriptors")]
    Inherited(#[from] weblog_fds::Error),
    /// A system call failed.
    #[error("{call} failed: errno {errno}")]
    System {
        /// The call.
        call: &'static str,
        /// The number.
        errno: i32,
    },
    /// Capabilities cannot be dropped.
    #[error("capabilities cannot be dropped: {0}")]
    Capabilities(String),
    /// Root must not start this program.
    #[error("the broker's program may not be trusted")]
    Trust(#[from] TrustError),
}

impl Error {
    /// Exit code for wrong arguments (`EX_USAGE`).
    pub const USAGE: u8 = 64;
    /// Exit code when the system refuses something (`EX_OSERR`).
    pub const SYSTEM: u8 = 71;
    /// Exit code of nanny and broker for what only an administrator can put right (`EX_CONFIG`).
    pub const CONFIG: u8 = 78;

    /// The code that the program ends with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Trust(_) => Self::CONFIG,
            _ => Self::SYSTEM,
        }
    }

    /// Names the call that failed.
    pub(crate) fn call(call: &'static str) -> impl Fn(Errno) -> Self {
        move |e| Self::System { call, errno: e.raw_os_error() }
    }
}

/// The error and what it came from, in one line.
pub(crate) fn with_sources(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut next = e.source();
    while let Some(e) = next {
        text.push_str(": ");
        text.push_str(&e.to_string());
        next = e.source();
    }
    text
}
