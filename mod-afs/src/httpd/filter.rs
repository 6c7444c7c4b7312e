//! The output filter `AFS`: turns our buckets into memory in the request's own thread, in bounded chunks.
//!
//! It stands behind httpd's byte ranges and headers and before anything that sends or keeps data for later, so that
//! no other thread ever reads a file under another identity.

use super::bucket::{CHUNK, append, break_off, into_memory, is_ours, sentinel, status_text};
use super::guard::guard;
use super::log::{Level, log_request};
use super::request::Request;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use httpd_sys as sys;

/// httpd's record of the filter; made anew each time the module is registered.
static HANDLE: AtomicPtr<sys::ap_filter_rec_t> = AtomicPtr::new(ptr::null_mut());

/// Before `CHUNK`, behind byte ranges and headers.
const ORDER: u32 = sys::ap_filter_type::AP_FTYPE_TRANSCODE - 5;

/// Tells httpd of the filter.
pub(super) fn register() {
    // SAFETY: the name is constant, the function has the right shape and stays as long as the module.
    let handle = unsafe { sys::ap_register_output_filter(c"AFS".as_ptr(), Some(output), None, ORDER) };
    HANDLE.store(handle, Ordering::Relaxed);
}

/// Puts the filter behind the visitor's own request, once; sub-requests share its protocol filters.
pub(super) fn insert(r: &mut Request<'_>) {
    let handle = HANDLE.load(Ordering::Relaxed);
    let mut top = r.raw();
    // SAFETY: the request or one of its ancestors, alive as long as it.
    while let Some(main) = ptr::NonNull::new(unsafe { (*top).main }) {
        top = main.as_ptr();
    }
    // SAFETY: alive, see above.
    let mut at = unsafe { (*top).proto_output_filters };
    while let Some(filter) = ptr::NonNull::new(at) {
        // SAFETY: filters of a request live as long as it.
        let filter = unsafe { filter.as_ref() };
        if ptr::eq(filter.frec, handle) {
            return;
        }
        at = filter.next;
    }
    // SAFETY: alive, see above.
    let connection = unsafe { (*top).connection };
    // SAFETY: a registered filter, a live request and its connection.
    unsafe { sys::ap_add_output_filter_handle(handle, ptr::null_mut(), top, connection) };
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
    guard("the output filter", sys::APR_EGENERAL as sys::apr_status_t, || {
        // SAFETY: the caller's promise.
        unsafe { run(f, brigade) }
    })
}

/// Hands the brigade on, chunk by chunk.
///
/// # Safety
/// As for [`output`].
unsafe fn run(f: *mut sys::ap_filter_t, brigade: *mut sys::apr_bucket_brigade) -> sys::apr_status_t {
    // SAFETY: the caller's promise.
    let filter = unsafe { &*f };
    // SAFETY: a filter of a request has its connection.
    let list = unsafe { (*filter.c).bucket_alloc };
    // SAFETY: a filter of a request has that.
    let pool = unsafe { (*filter.r).pool };
    // SAFETY: the caller's promise.
    if unsafe { !has_ours(brigade) } {
        // SAFETY: the rest of the chain.
        return unsafe { sys::ap_pass_brigade(filter.next, brigade) };
    }
    // SAFETY: both are alive.
    let out = unsafe { sys::apr_brigade_create(pool, list) };
    let mut held = 0;
    loop {
        // SAFETY: the ring of the caller's brigade.
        let bucket = unsafe { (*sentinel(brigade)).link.next };
        if bucket == sentinel(brigade) {
            break;
        }
        // SAFETY: a bucket of the brigade.
        if unsafe { is_ours(bucket) } {
            if held >= CHUNK {
                // SAFETY: the rest of the chain; it empties the brigade.
                let status = unsafe { sys::ap_pass_brigade(filter.next, out) };
                // SAFETY: our own brigade.
                unsafe { sys::apr_brigade_cleanup(out.cast()) };
                held = 0;
                // SAFETY: the connection of the filter.
                if status != 0 || unsafe { (*filter.c).aborted } != 0 {
                    // SAFETY: the caller's brigade: what is left is not sent.
                    unsafe { sys::apr_brigade_cleanup(brigade.cast()) };
                    return if status == 0 { sys::APR_ECONNABORTED as sys::apr_status_t } else { status };
                }
            }
            // SAFETY: a bucket of the brigade, which becomes memory.
            let status = unsafe { into_memory(bucket) };
            if status != 0 {
                log_request(
                    filter.r,
                    Level::Error,
                    &format!("reading a file in AFS: {}; the answer is broken off", status_text(status)),
                );
                // SAFETY: the connection of the filter, in its thread.
                unsafe { break_off(filter.c) };
                for rest in [out, brigade] {
                    // SAFETY: brigades that go no further.
                    unsafe { sys::apr_brigade_cleanup(rest.cast()) };
                }
                return status;
            }
        }
        // SAFETY: a bucket of the brigade, whose length is known for what is memory.
        let length = unsafe { (*bucket).length };
        held = held.saturating_add(if length == usize::MAX { 0 } else { length });
        // SAFETY: in a ring.
        unsafe { unlink(bucket) };
        // SAFETY: just taken out of the other brigade.
        unsafe { append(out, bucket) };
    }
    // SAFETY: the rest of the chain.
    unsafe { sys::ap_pass_brigade(filter.next, out) }
}

/// Does the brigade hold a bucket of ours?
///
/// # Safety
/// The brigade is alive.
unsafe fn has_ours(brigade: *mut sys::apr_bucket_brigade) -> bool {
    // SAFETY: the ring of a live brigade.
    let mut bucket = unsafe { (*sentinel(brigade)).link.next };
    while bucket != sentinel(brigade) {
        // SAFETY: a bucket of the brigade.
        if unsafe { is_ours(bucket) } {
            return true;
        }
        // SAFETY: as above.
        bucket = unsafe { (*bucket).link.next };
    }
    false
}

/// Takes a bucket out of its brigade.
///
/// # Safety
/// It is in one.
unsafe fn unlink(bucket: *mut sys::apr_bucket) {
    // SAFETY: the caller's promise.
    let link = unsafe { (*bucket).link };
    // SAFETY: its neighbours in the ring.
    unsafe { (*link.prev).link.next = link.next };
    // SAFETY: its neighbours in the ring.
    unsafe { (*link.next).link.prev = link.prev };
}
