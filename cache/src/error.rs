//! What can go wrong here.

/// The crate's error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel gave no random bytes.
    #[error("no random bytes: errno {0}")]
    Random(i32),
}
