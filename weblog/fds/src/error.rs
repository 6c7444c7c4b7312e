//! What can go wrong with descriptors and mappings.

use std::os::fd::RawFd;

/// The crate's error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No open descriptor has this number.
    #[error("descriptor {0} is not open")]
    NotOpen(RawFd),
    /// The number has been taken before in this process, or is one of the standard ones.
    #[error("descriptor {0} is not to be taken")]
    Taken(RawFd),
    /// A call failed.
    #[error("{call} failed: errno {errno}")]
    Errno {
        /// The call.
        call: &'static str,
        /// The number.
        errno: i32,
    },
    /// The memory is not what it should be; the text says how.
    #[error("shared memory: {0}")]
    Memory(&'static str),
}

impl Error {
    /// Names the call that failed.
    pub(crate) fn call(call: &'static str) -> impl Fn(rustix::io::Errno) -> Self {
        move |e| Self::Errno { call, errno: e.raw_os_error() }
    }
}
