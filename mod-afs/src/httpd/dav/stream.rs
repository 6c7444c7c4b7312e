//! The body of a PUT, as mod_dav's stream.

use super::resource::private;
use super::{error, guarded, pool_of, refuse};
use crate::dav::Put;
use crate::httpd::Request;
use core::ffi::{c_int, c_void};
use core::ptr;
use httpd_sys as sys;

/// A body that is put, as mod_dav's stream.
struct Stream {
    /// The request.
    request: *mut sys::request_rec,
    /// Its pool.
    pool: *mut sys::apr_pool_t,
    /// The body; none once it has ended.
    put: Option<Put>,
}

// SAFETY: dropped with its pool, on any thread, and the addresses are not used then.
unsafe impl Send for Stream {}

/// The body is about to come.
///
/// # Safety
/// Called by mod_dav with a resource of ours and a place for the stream.
pub(super) unsafe extern "C" fn open_stream(
    resource: *const sys::dav_resource,
    mode: sys::dav_stream_mode::Type,
    out: *mut *mut sys::dav_stream,
) -> *mut sys::dav_error {
    // SAFETY: the caller's promise.
    let pool = unsafe { pool_of(resource) };
    guarded(pool, "dav: open_stream", || {
        // SAFETY: the caller's promise.
        let Some(private) = (unsafe { private(resource) }) else { return error(pool, 500, "no resource") };
        // SAFETY: the request of the resource.
        let Some(request) = (unsafe { Request::from_raw(private.request) }) else {
            return error(pool, 500, "no request");
        };
        let partial = mode == sys::dav_stream_mode::DAV_MODE_WRITE_SEEKABLE;
        match private.thing.put(&request, partial) {
            Ok(put) => {
                let stream = Stream { request: private.request, pool, put: Some(put) };
                let stream = ptr::from_mut(request.pool().own(stream));
                // SAFETY: the caller's promise.
                unsafe { out.write(stream.cast::<sys::dav_stream>()) };
                ptr::null_mut()
            }
            // SAFETY: the request of the resource.
            Err(no) => unsafe { refuse(pool, private.request, no, ptr::null_mut()) },
        }
    })
}

/// Some of the body.
///
/// # Safety
/// Called by mod_dav with a stream of ours and so many bytes.
pub(super) unsafe extern "C" fn write_stream(
    stream: *mut sys::dav_stream,
    bytes: *const c_void,
    len: sys::apr_size_t,
) -> *mut sys::dav_error {
    // SAFETY: the caller's promise: made by `open_stream`.
    let Some(stream) = (unsafe { stream.cast::<Stream>().as_mut() }) else { return ptr::null_mut() };
    let pool = stream.pool;
    guarded(pool, "dav: write_stream", || {
        let bytes = if bytes.is_null() || len == 0 {
            &[]
        } else {
            // SAFETY: the caller's promise.
            unsafe { core::slice::from_raw_parts(bytes.cast::<u8>(), len) }
        };
        match stream.put.as_mut().map_or(Ok(()), |put| put.write(bytes)) {
            Ok(()) => ptr::null_mut(),
            // SAFETY: the request of the stream.
            Err(problem) => unsafe { refuse(pool, stream.request, problem.into(), ptr::null_mut()) },
        }
    })
}

/// The body is whole (`commit`), or will not be.
///
/// # Safety
/// Called by mod_dav with a stream of ours.
pub(super) unsafe extern "C" fn close_stream(
    stream: *mut sys::dav_stream,
    commit: c_int,
) -> *mut sys::dav_error {
    // SAFETY: the caller's promise: made by `open_stream`.
    let Some(stream) = (unsafe { stream.cast::<Stream>().as_mut() }) else { return ptr::null_mut() };
    let pool = stream.pool;
    guarded(pool, "dav: close_stream", || {
        let Some(put) = stream.put.take() else { return ptr::null_mut() };
        if commit == 0 {
            put.abort();
            return ptr::null_mut();
        }
        match put.commit() {
            Ok(etag) => {
                // SAFETY: the request of the stream.
                if let (Some(etag), Some(mut r)) = (etag, unsafe { Request::from_raw(stream.request) }) {
                    r.set_error_header(c"ETag", &format!("\"{etag}\""));
                }
                ptr::null_mut()
            }
            // SAFETY: the request of the stream.
            Err(problem) => unsafe { refuse(pool, stream.request, problem.into(), ptr::null_mut()) },
        }
    })
}
