#![allow(unsafe_code, reason = "the only calls into an AFS client; see each file")]
//! Calls into AFS clients. Safe functions and handles; no decisions are taken here.
//!
//! # Safety
//! Each file says on which facts its unsafe blocks rest.

mod abi;
pub(crate) mod afs_call;
pub(crate) mod close;
pub(crate) mod consts;
pub(crate) mod keyctl;
pub(crate) mod signals;
pub(crate) mod uafs;

pub(crate) use abi::{OPEN_CREATE_NEW, OPEN_DIRECTORY, OPEN_READ, OPEN_TRUNCATE, OPEN_WRITE, RawStat};

/// errno of the call that has just failed in this thread.
fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}
