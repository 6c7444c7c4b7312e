#![allow(clippy::missing_errors_doc, reason = "an error is the errno of keyctl(2) or add_key(2)")]
//! Keyrings: one typed function for each operation of keyctl(2) that is used, and add_key(2).
//!
//! Those on the session keyring and on the special ones act on the calling *thread* alone; libc has no functions for them.
//!
//! # Safety
//! The kernel reads texts up to their NUL and buffers up to the length beside them, and writes into none but the one
//! of `KEYCTL_READ`, up to its length. Everything else is numbers.

use super::consts as k;
use std::ffi::CStr;
use std::ptr;

/// Number of a key or keyring, or of a special keyring (negative).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Serial(pub(crate) i32);

impl Serial {
    /// The calling thread's own keyring.
    pub(crate) const THREAD: Self = Self(k::SPEC_THREAD);
    /// The process's.
    pub(crate) const PROCESS: Self = Self(k::SPEC_PROCESS);
    /// The calling thread's session keyring.
    pub(crate) const SESSION: Self = Self(k::SPEC_SESSION);

    /// As an argument.
    fn arg(self) -> libc::c_long {
        self.0.into()
    }
}

/// The result of a call, or its errno.
fn result(n: libc::c_long) -> Result<libc::c_long, i32> {
    if n >= 0 { Ok(n) } else { Err(super::errno()) }
}

/// A result as a number of a key.
fn serial(n: libc::c_long) -> Result<Serial, i32> {
    result(n).and_then(|n| i32::try_from(n).map(Serial).map_err(|_| libc::EIO))
}

/// keyctl(2) with numbers only.
fn numbers(
    operation: libc::c_long,
    a: libc::c_long,
    b: libc::c_long,
    c: libc::c_long,
) -> Result<libc::c_long, i32> {
    // SAFETY: all operations that are passed here take numbers or null.
    result(unsafe { libc::syscall(libc::SYS_keyctl, operation, a, b, c, 0) })
}

/// Makes the keyring of that name the thread's session keyring; a new, empty one if none may be found. `None`: it is already.
pub(crate) fn join_session(name: &CStr) -> Result<Option<Serial>, i32> {
    // SAFETY: a text.
    let n = unsafe { libc::syscall(libc::SYS_keyctl, k::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    serial(n).map(|s| (s.0 != 0).then_some(s))
}

/// Gives the thread a new, empty session keyring.
pub(crate) fn new_session() -> Result<Serial, i32> {
    // SAFETY: null.
    serial(unsafe { libc::syscall(libc::SYS_keyctl, k::KEYCTL_JOIN_SESSION_KEYRING, ptr::null::<u8>()) })
}

/// Number of the thread's session keyring. `ENOKEY`: it has none, or what it has was invalidated.
pub(crate) fn session() -> Result<Serial, i32> {
    let n = numbers(k::KEYCTL_GET_KEYRING_ID, k::SPEC_SESSION.into(), 0, 0)?;
    i32::try_from(n).map(Serial).map_err(|_| libc::EIO)
}

/// Makes a keyring in another.
pub(crate) fn add_keyring(name: &CStr, into: Serial) -> Result<Serial, i32> {
    let none = ptr::null::<u8>();
    // SAFETY: texts, and no payload.
    serial(unsafe {
        libc::syscall(libc::SYS_add_key, c"keyring".as_ptr(), name.as_ptr(), none, 0, into.arg())
    })
}

/// Puts an rxrpc key into a keyring, in place of one of the same name.
pub(crate) fn add_rxrpc(name: &CStr, payload: &[u8], into: Serial) -> Result<Serial, i32> {
    let (kind, name) = (c"rxrpc".as_ptr(), name.as_ptr());
    // SAFETY: texts and a slice.
    serial(unsafe {
        libc::syscall(libc::SYS_add_key, kind, name, payload.as_ptr(), payload.len(), into.arg())
    })
}

/// Links a key into a keyring.
pub(crate) fn link(key: Serial, into: Serial) -> Result<(), i32> {
    numbers(k::KEYCTL_LINK, key.arg(), into.arg(), 0).map(drop)
}

/// Takes a key out of a keyring.
pub(crate) fn unlink(key: Serial, from: Serial) -> Result<(), i32> {
    numbers(k::KEYCTL_UNLINK, key.arg(), from.arg(), 0).map(drop)
}

/// Takes all keys out of a keyring.
pub(crate) fn clear(ring: Serial) -> Result<(), i32> {
    numbers(k::KEYCTL_CLEAR, ring.arg(), 0, 0).map(drop)
}

/// Sets the rights of possessor, owner, group and others.
pub(crate) fn set_rights(key: Serial, rights: u32) -> Result<(), i32> {
    numbers(k::KEYCTL_SETPERM, key.arg(), rights.into(), 0).map(drop)
}

/// Gives a key another group.
pub(crate) fn set_group(key: Serial, group: u32) -> Result<(), i32> {
    numbers(k::KEYCTL_CHOWN, key.arg(), -1, group.into()).map(drop)
}

/// Lets nothing more be linked into a keyring, for ever.
pub(crate) fn close_ring(ring: Serial) -> Result<(), i32> {
    numbers(k::KEYCTL_RESTRICT_KEYRING, ring.arg(), 0, 0).map(drop)
}

/// Finds a key of a type in a keyring and those in it.
pub(crate) fn find(ring: Serial, kind: &CStr, name: &CStr) -> Result<Serial, i32> {
    let (kind, name) = (kind.as_ptr(), name.as_ptr());
    // SAFETY: texts.
    serial(unsafe { libc::syscall(libc::SYS_keyctl, k::KEYCTL_SEARCH, ring.arg(), kind, name, 0) })
}

/// Reads what a key holds into `out`, and gives its length, which may be more than was there for it.
pub(crate) fn read(key: Serial, out: &mut [u8]) -> Result<usize, i32> {
    let (at, len) = (out.as_mut_ptr(), out.len());
    // SAFETY: a slice.
    let n = unsafe { libc::syscall(libc::SYS_keyctl, k::KEYCTL_READ, key.arg(), at, len) };
    result(n).and_then(|n| usize::try_from(n).map_err(|_| libc::EIO))
}
