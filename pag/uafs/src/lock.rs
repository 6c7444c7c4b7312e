#![allow(unsafe_code, reason = "the archive's global lock is a C object")]
//! The library's global lock. It is released inside while a call waits for a server.
//!
//! # Safety
//! Mutex and owner are the archive's; they are used exactly as its own `AFS_GLOCK` does. [`Glock`] is proof that
//! the thread has the lock.

use crate::raw;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;

/// The calling thread has the global lock. Not `Send`.
pub(crate) struct Glock(PhantomData<*const ()>);

impl Glock {
    /// Waits for it.
    pub(crate) fn take() -> Self {
        let lock = &raw mut raw::afs_global_lock;
        // SAFETY: initialised by `uafs_Setup`, before which no caller gets here; not held by this thread, since no
        // function below takes it twice.
        unsafe { libc::pthread_mutex_lock(lock) };
        // SAFETY: a plain call.
        let me = unsafe { libc::pthread_self() };
        // SAFETY: written under the lock, read by others only to compare with themselves.
        unsafe { raw::afs_global_owner = me };
        Self(PhantomData)
    }
}

/// Releases the lock while `f` runs.
///
/// # Safety
/// The calling thread has it, as a function has that the archive calls.
pub(crate) unsafe fn without<T>(f: impl FnOnce() -> T) -> T {
    drop(Glock(PhantomData));
    let result = f();
    let _kept = ManuallyDrop::new(Glock::take());
    result
}

impl Drop for Glock {
    fn drop(&mut self) {
        let lock = &raw mut raw::afs_global_lock;
        // SAFETY: this thread has the lock; 0 is no thread.
        unsafe { raw::afs_global_owner = 0 };
        // SAFETY: as above.
        unsafe { libc::pthread_mutex_unlock(lock) };
    }
}
