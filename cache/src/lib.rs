//! A bounded map of expiring secrets, and keyed verifiers of passwords.
//!
//! This crate knows nothing of AFS, of httpd or of clocks: `now` is always an argument.
//! Times called `_ms` are milliseconds of any clock that never goes back (each store has its own),
//! times called `_unix_s` or `token_end_s` are seconds since 1970 UTC.
//! A secret is wiped when it leaves the store if its type wipes itself on drop.
#![forbid(unsafe_code)]

pub mod error;
pub mod expiry;
pub mod store;
pub mod verifier;

pub use error::Error;
pub use expiry::expires_ms;
pub use store::Store;
pub use verifier::{Verifier, VerifierKey};
