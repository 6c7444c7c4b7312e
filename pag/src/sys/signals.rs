//! The signal mask of a thread.
//!
//! # Safety
//! pthread_sigmask(3) and sigfillset(3) read and write the sets that they are given, and nothing else.

use core::mem::MaybeUninit;
use std::ptr;

/// Does something with all signals blocked in the calling thread; a thread that is made in it has them blocked for ever.
pub(crate) fn with_all_blocked<T>(f: impl FnOnce() -> T) -> T {
    let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: room for a set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: a set that was filled, and room for another.
    let blocked = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
    let result = f();
    if blocked == 0 {
        // SAFETY: the set that the call above has written.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    }
    result
}
