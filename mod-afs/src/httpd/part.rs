//! The output filter `AFS_PART`: tells of the end of the answer to a sub-request, which no hook of httpd's does.
//!
//! It stands before all others of the sub-request, so that what they do at the end (a page that includes others, a program
//! that it asks for) is done when it tells.

use super::guard::guard;
use super::request::Request;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use httpd_sys as sys;

/// httpd's record of the filter; made anew each time the module is registered.
static HANDLE: AtomicPtr<sys::ap_filter_rec_t> = AtomicPtr::new(ptr::null_mut());

/// Before everything that changes contents.
const ORDER: u32 = sys::ap_filter_type::AP_FTYPE_RESOURCE - 5;

/// What is to be done at the end.
type Last = Option<Box<dyn FnOnce() + Send>>;

/// Tells httpd of the filter.
pub(super) fn register() {
    // SAFETY: the name is constant, the function has the right shape and stays as long as the module.
    let handle = unsafe { sys::ap_register_output_filter(c"AFS_PART".as_ptr(), Some(output), None, ORDER) };
    HANDLE.store(handle, Ordering::Relaxed);
}

/// Puts the filter before a sub-request.
pub(super) fn insert(r: &mut Request<'_>, last: Box<dyn FnOnce() + Send>) {
    let handle = HANDLE.load(Ordering::Relaxed);
    let last: *mut Last = r.pool().own::<Last>(Some(last));
    let connection = r.rec().connection;
    // SAFETY: a registered filter, a value that lives as long as the request, the request, and its connection.
    unsafe { sys::ap_add_output_filter_handle(handle, last.cast(), r.raw(), connection) };
}

/// The filter.
///
/// # Safety
/// Called by httpd, with a filter of ours and a brigade.
unsafe extern "C" fn output(
    f: *mut sys::ap_filter_t,
    brigade: *mut sys::apr_bucket_brigade,
) -> sys::apr_status_t {
    if f.is_null() || brigade.is_null() {
        return sys::APR_EGENERAL as sys::apr_status_t;
    }
    // SAFETY: the caller's promise.
    let ends = unsafe { super::filter::ends(brigade) };
    // SAFETY: the caller's promise.
    let filter = unsafe { &*f };
    let (next, last) = (filter.next, filter.ctx.cast::<Last>());
    // SAFETY: the rest of the chain.
    let status = unsafe { sys::ap_pass_brigade(next, brigade) };
    if ends {
        guard("the end of a part", (), || {
            // SAFETY: what `insert` gave, which lives as long as the request; nothing else has it.
            if let Some(last) = unsafe { last.as_mut() }.and_then(Option::take) {
                last();
            }
        });
    }
    status
}
