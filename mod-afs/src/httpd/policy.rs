//! The output filter `AFS_POLICY`: adds the Content-Security-Policy of a place, behind mod_headers, and what a refusal lacks.
//!
//! mod_headers works in filters of its own, also for lines of an `.htaccess`; this one stands behind them, and before
//! those that keep answers (mod_cache) and the one that sends the headers. Who may set filters (mod_filter, by
//! `AllowOverride Options`) can put one behind it; docs/admin.md says so.

use super::guard::guard;
use super::hook::Phases as _;
use super::request::Request;
use crate::phases::Module;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use httpd_sys as sys;

/// httpd's record of the filter; made anew each time the module is registered.
static HANDLE: AtomicPtr<sys::ap_filter_rec_t> = AtomicPtr::new(ptr::null_mut());

/// mod_headers' kind, within which filters stand in the order in which they were inserted; mod_cache's comes behind.
const ORDER: u32 = sys::ap_filter_type::AP_FTYPE_CONTENT_SET;

/// Tells httpd of the filter, and has it inserted behind all others of its kind.
///
/// # Safety
/// httpd collects hooks.
pub(super) unsafe fn register() {
    // SAFETY: the name is constant, the function has the right shape and stays as long as the module.
    let handle = unsafe { sys::ap_register_output_filter(c"AFS_POLICY".as_ptr(), Some(output), None, ORDER) };
    HANDLE.store(handle, Ordering::Relaxed);
    let really_last = sys::APR_HOOK_REALLY_LAST as core::ffi::c_int;
    // SAFETY: the caller's promise; the function has the hook's shape.
    unsafe { sys::ap_hook_insert_filter(Some(insert), ptr::null(), ptr::null(), really_last) };
    // SAFETY: as above.
    unsafe { sys::ap_hook_insert_error_filter(Some(insert), ptr::null(), ptr::null(), really_last) };
}

/// Puts the filter behind a request that has a policy; its sub-requests send no headers.
///
/// # Safety
/// Called by httpd with a request that this thread serves.
unsafe extern "C" fn insert(r: *mut sys::request_rec) {
    guard("the policy's place", (), || {
        // SAFETY: the caller's promise.
        let Some(mut request) = (unsafe { Request::from_raw(r) }) else { return };
        if request.main().is_some()
            || Module::policy(&mut request).is_none() && Module::lacking(&mut request).is_none()
        {
            return;
        }
        let handle = HANDLE.load(Ordering::Relaxed);
        let connection = request.rec().connection;
        // SAFETY: a registered filter, a live request and its connection.
        unsafe { sys::ap_add_output_filter_handle(handle, ptr::null_mut(), r, connection) };
    });
}

/// The filter: once, and then it goes.
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
    let done = guard("the policy's filter", false, || {
        // SAFETY: the caller's promise.
        let raw = unsafe { (*f).r };
        // SAFETY: a filter of a request has that.
        let Some(mut r) = (unsafe { Request::from_raw(raw) }) else { return false };
        if let Some(policy) = Module::policy(&mut r) {
            r.have_error_header(c"Content-Security-Policy", &policy);
        }
        if let Some((name, value)) = Module::lacking(&mut r)
            && !r.has_header_out(name)
        {
            r.set_error_header(name, &value);
        }
        true
    });
    if !done {
        return sys::APR_EGENERAL as sys::apr_status_t;
    }
    // SAFETY: the caller's promise.
    let next = unsafe { (*f).next };
    // SAFETY: it is in its request's chain.
    unsafe { sys::ap_remove_output_filter(f) };
    // SAFETY: the rest of the chain.
    unsafe { sys::ap_pass_brigade(next, brigade) }
}
