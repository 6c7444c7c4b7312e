//! Processes that are forked and execute nothing: httpd's children, and daemons of other modules (mod_cgid, mod_fcgid, mod_wsgi),
//! of which some come by no hook at all.

use super::guard::guard;
use super::hook::Phases as _;
use crate::phases::Module;
use core::ffi::c_int;
use std::sync::Once;

/// What is called around a fork.
type Handler = Option<unsafe extern "C" fn()>;

unsafe extern "C" {
    /// Of the C library, in the part of it that is linked into each shared object: it forgets the functions when that is unloaded.
    fn pthread_atfork(before: Handler, parent: Handler, child: Handler) -> c_int;
}

/// Has [`Phases::forked`] called in each process that is forked from here on; false if it will not be.
pub(super) fn register() -> bool {
    static ONCE: Once = Once::new();
    let mut done = true;
    // SAFETY: a function of this module, which stays as long as the C library may call it.
    ONCE.call_once(|| done = unsafe { pthread_atfork(None, None, Some(forked)) } == 0);
    done
}

/// In the new process, in the thread that forked.
///
/// # Safety
/// Called by the C library.
unsafe extern "C" fn forked() {
    guard("forked", (), Module::forked);
}
