//! What can go wrong between us and an AFS client.

/// An AFS client did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No AFS client of that kind can be used here; the text says what is missing.
    #[error("no AFS client: {0}")]
    NoAfs(String),
    /// The client answered with an errno (a number, since it may be one that we do not know).
    #[error("{call} failed: errno {errno}")]
    Errno {
        /// The call.
        call: &'static str,
        /// The number.
        errno: i32,
    },
    /// The thread is not in the PAG that it should be in.
    #[error("the thread is not in the PAG that it should be in")]
    WrongPag,
    /// All PAGs that this process made when it started belong to visitors, or to processes that may still run.
    #[error("no PAG is left in this process")]
    NoPagLeft,
    /// The kernel keeps no more keys for this uid.
    #[error("no more keys for this uid: kernel.keys.maxkeys or kernel.keys.maxbytes is too small")]
    Quota,
    /// A value cannot be given to the client (length, NUL byte).
    #[error("{0} cannot be passed to the AFS client")]
    BadValue(&'static str),
}

impl Error {
    /// The errno, where there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Errno { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}
