//! The output filter `AFS`: turns files into memory in the request's own thread, in bounded chunks.
//!
//! It stands behind httpd's byte ranges and headers and before anything that sends or keeps data for later, so that
//! no other thread ever reads a file under another identity. Files are our own buckets, and with a client in the kernel
//! also those of httpd and its other modules, which are neither mapped nor sent by the kernel.

use super::bucket::{CHUNK, append, break_off, into_memory, is_ours, sentinel, status_text};
use super::guard::guard;
use super::hook::Phases as _;
use super::log::log_request;
use super::request::Request;
use crate::message;
use crate::phases::Module;
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
    // SAFETY: the caller's promise.
    let (files, ends) = unsafe { looked_through(brigade) };
    let status = if files {
        // SAFETY: the caller's promise.
        unsafe { run_files(filter, brigade) }
    } else {
        // SAFETY: the rest of the chain.
        unsafe { sys::ap_pass_brigade(filter.next, brigade) }
    };
    if ends {
        // SAFETY: a filter of a request has that.
        if let Some(mut r) = unsafe { Request::from_raw(filter.r) } {
            Module::answered(&mut r);
        }
    }
    status
}

/// As [`run`], for a brigade with files in it.
///
/// # Safety
/// As for [`output`].
unsafe fn run_files(filter: &sys::ap_filter_t, brigade: *mut sys::apr_bucket_brigade) -> sys::apr_status_t {
    // SAFETY: a filter of a request has its connection.
    let list = unsafe { (*filter.c).bucket_alloc };
    // SAFETY: a filter of a request has that.
    let pool = unsafe { (*filter.r).pool };
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
        if unsafe { is_file(bucket) } {
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
            let status = unsafe { make_memory(bucket) };
            if status != 0 {
                log_request(
                    filter.r,
                    message::READ_FAILED,
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

/// Does the brigade hold files, and the end of the answer?
///
/// # Safety
/// The brigade is alive.
unsafe fn looked_through(brigade: *mut sys::apr_bucket_brigade) -> (bool, bool) {
    let (mut files, mut ends) = (false, false);
    // SAFETY: the ring of a live brigade.
    let mut bucket = unsafe { (*sentinel(brigade)).link.next };
    while bucket != sentinel(brigade) {
        // SAFETY: a bucket of the brigade.
        files |= unsafe { is_file(bucket) };
        // SAFETY: a bucket of the brigade.
        ends |= unsafe { (*bucket).type_ } == &raw const sys::apr_bucket_type_eos;
        // SAFETY: as above.
        bucket = unsafe { (*bucket).link.next };
    }
    (files, ends)
}

/// Does the brigade hold the end of an answer?
///
/// # Safety
/// The brigade is alive.
pub(super) unsafe fn ends(brigade: *mut sys::apr_bucket_brigade) -> bool {
    // SAFETY: the caller's promise.
    unsafe { looked_through(brigade) }.1
}

/// Is it a file or a mapping of one?
///
/// # Safety
/// `bucket` points to a bucket.
unsafe fn is_file(bucket: *const sys::apr_bucket) -> bool {
    // SAFETY: the caller's promise.
    let type_ = unsafe { (*bucket).type_ };
    // SAFETY: the caller's promise.
    (unsafe { is_ours(bucket) })
        || type_ == &raw const sys::apr_bucket_type_file
        || type_ == &raw const sys::apr_bucket_type_mmap
}

/// Reads the bucket (or its first chunk) into memory of its own.
///
/// # Safety
/// A bucket in a brigade for which [`is_file`] holds.
unsafe fn make_memory(bucket: *mut sys::apr_bucket) -> sys::apr_status_t {
    // SAFETY: the caller's promise.
    let type_ = unsafe { (*bucket).type_ };
    if type_ == &raw const sys::apr_bucket_type_file {
        // A mapping would be read later, by whoever sends it.
        // SAFETY: a bucket of a file.
        unsafe { sys::apr_bucket_file_enable_mmap(bucket, 0) };
    }
    if type_ != &raw const sys::apr_bucket_type_mmap {
        // SAFETY: a bucket in a brigade.
        return unsafe { into_memory(bucket) };
    }
    // SAFETY: the caller's promise.
    if unsafe { (*bucket).length } > CHUNK {
        // SAFETY: every bucket has its type.
        let Some(split) = (unsafe { (*type_).split }) else { return sys::APR_EGENERAL as sys::apr_status_t };
        // SAFETY: longer than where it is split.
        let status = unsafe { split(bucket, CHUNK) };
        if status != 0 {
            return status;
        }
    }
    // SAFETY: every bucket has its type.
    let type_ = unsafe { &*type_ };
    let (Some(read), Some(destroy)) = (type_.read, type_.destroy) else {
        return sys::APR_EGENERAL as sys::apr_status_t;
    };
    let mut text = ptr::null();
    let mut len = 0;
    // SAFETY: as APR's own macro calls it; it gives the address of what is mapped.
    let status = unsafe { read(bucket, &raw mut text, &raw mut len, sys::apr_read_type_e::APR_BLOCK_READ) };
    if status != 0 {
        return status;
    }
    // SAFETY: the bucket's own data, which the heap bucket does not keep.
    let data = unsafe { (*bucket).data };
    // SAFETY: `len` bytes are mapped at `text`; APR copies them, where no function to free is given.
    if unsafe { sys::apr_bucket_heap_make(bucket, text, len, None) }.is_null() {
        return sys::APR_ENOMEM as sys::apr_status_t;
    }
    // SAFETY: this bucket no longer uses it.
    unsafe { destroy(data) };
    0
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
