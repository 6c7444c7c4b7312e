//! What httpd tells of itself: phase of its life, and how it makes children and workers.

use core::ffi::{c_int, c_uint};
use httpd_sys as sys;

/// How often the configuration has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// The first of two at start: only a rehearsal, and the module is unloaded afterwards.
    Rehearsal,
    /// For real: at start and at each restart.
    Real,
    /// `httpd -t` or `-S`: nothing will be started.
    Check,
}

/// Asks the MPM; `None` if it does not know.
fn query(code: c_uint) -> Option<c_int> {
    let mut out: c_int = 0;
    // SAFETY: `out` is written to.
    let status = unsafe { sys::ap_mpm_query(c_int::try_from(code).ok()?, &raw mut out) };
    (status == 0).then_some(out)
}

/// Which pass over the configuration this is.
#[must_use]
pub fn pass() -> Pass {
    // SAFETY: no precondition.
    let mode = unsafe { sys::ap_state_query(sys::AP_SQ_RUN_MODE as c_int) };
    // SAFETY: no precondition.
    let state = unsafe { sys::ap_state_query(sys::AP_SQ_MAIN_STATE as c_int) };
    if mode == sys::AP_SQ_RM_CONFIG_TEST as c_int || mode == sys::AP_SQ_RM_CONFIG_DUMP as c_int {
        Pass::Check
    } else if state == sys::AP_SQ_MS_CREATE_PRE_CONFIG as c_int
        || state == sys::AP_SQ_MS_INITIAL_STARTUP as c_int
    {
        Pass::Rehearsal
    } else {
        Pass::Real
    }
}

/// Generation of the configuration: rises with each restart.
#[must_use]
pub fn generation() -> i32 {
    // SAFETY: no precondition.
    unsafe { sys::ap_state_query(sys::AP_SQ_CONFIG_GEN as c_int) }
}

/// Does a child have more than one worker thread (worker, event; not prefork)?
#[must_use]
pub fn is_threaded() -> bool {
    query(sys::AP_MPMQ_IS_THREADED).is_some_and(|n| n != 0)
}

/// Most children that may run at once.
#[must_use]
pub fn max_children() -> usize {
    query(sys::AP_MPMQ_HARD_LIMIT_DAEMONS)
        .max(query(sys::AP_MPMQ_MAX_DAEMONS))
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(1)
        .max(1)
}

/// Most children that the present configuration lets run at once.
#[must_use]
pub fn children() -> usize {
    query(sys::AP_MPMQ_MAX_DAEMONS).and_then(|n| usize::try_from(n).ok()).unwrap_or(1).max(1)
}

/// Worker threads of one child (1 in prefork).
#[must_use]
pub fn threads_per_child() -> usize {
    query(sys::AP_MPMQ_MAX_THREADS).and_then(|n| usize::try_from(n).ok()).unwrap_or(1).max(1)
}

/// Does a child live as long as httpd (`MaxConnectionsPerChild 0`)?
#[must_use]
pub fn children_stay() -> bool {
    query(sys::AP_MPMQ_MAX_REQUESTS_DAEMON) == Some(0)
}

/// Is httpd stopping (so that what ended need not be started again)? Also true when the MPM does not say.
#[must_use]
pub fn is_stopping() -> bool {
    query(sys::AP_MPMQ_MPM_STATE).is_none_or(|n| n == sys::AP_MPMQ_STOPPING as c_int)
}

/// Number of the user that children run as, once the configuration has been read; not known without mod_unixd.
#[must_use]
pub fn child_user() -> Option<u32> {
    // SAFETY: httpd's own record, written only while it reads its configuration, in one thread.
    let uid = unsafe { sys::ap_unixd_config.user_id };
    (uid != u32::MAX).then_some(uid)
}

/// Number of the group that children run as, once the configuration has been read; not known without mod_unixd.
#[must_use]
pub fn child_group() -> Option<u32> {
    // SAFETY: as in `child_user`.
    let gid = unsafe { sys::ap_unixd_config.group_id };
    (gid != u32::MAX).then_some(gid)
}

/// Has the administrator configured CoreDumpDirectory, so that httpd makes its children dumpable?
#[must_use]
pub fn wants_cores() -> bool {
    // SAFETY: as in `child_user`.
    let configured = unsafe { sys::ap_coredumpdir_configured };
    configured != 0
}
