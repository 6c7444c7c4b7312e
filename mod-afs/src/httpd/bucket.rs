//! The bucket type `AFS`: a file that is read when its bytes are needed, by whoever needs them in the request's thread.
//!
//! It can be split and copied (httpd's byte ranges do) without reading. It cannot be set aside: who wants to keep it
//! for later, on another thread perhaps, gets its bytes.

use super::guard::guard;
use super::log::log_anywhere;
use super::pool::cleanups_run;
use super::request::{Part, ReadAt, Request};
use super::status::Status;
use crate::message;
use core::ffi::{c_char, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use httpd_sys as sys;

/// Most bytes read at once, and so held in memory per request by us.
pub(super) const CHUNK: usize = 256 * 1024;

/// What the buckets of one file share. The head is APR's.
#[repr(C)]
struct Shared {
    /// How many buckets there are; APR counts.
    refcount: sys::apr_bucket_refcount,
    /// What reads.
    from: Box<dyn ReadAt>,
}

/// The type record, which APR wants at one address.
pub(super) struct TypeRecord(sys::apr_bucket_type_t);

// SAFETY: never written to; its pointers are to constants.
unsafe impl Sync for TypeRecord {}

/// Our bucket type.
pub(super) static TYPE: TypeRecord = TypeRecord(sys::apr_bucket_type_t {
    name: c"AFS".as_ptr(),
    num_func: 5,
    is_metadata: sys::apr_bucket_type_t__bindgen_ty_1::APR_BUCKET_DATA,
    destroy: Some(destroy),
    read: Some(read),
    setaside: Some(sys::apr_bucket_setaside_notimpl),
    split: Some(sys::apr_bucket_shared_split),
    copy: Some(sys::apr_bucket_shared_copy),
});

/// Is it one of ours?
///
/// # Safety
/// `bucket` points to a bucket.
pub(super) unsafe fn is_ours(bucket: *const sys::apr_bucket) -> bool {
    // SAFETY: the caller's promise.
    let type_ = unsafe { (*bucket).type_ };
    ptr::eq(type_, &raw const TYPE.0)
}

/// Lets go of one bucket's share.
///
/// # Safety
/// `data` is the [`Shared`] of a bucket that ends.
unsafe extern "C" fn destroy(data: *mut c_void) {
    // SAFETY: the caller's promise; APR counts in the head.
    let last = unsafe { sys::apr_bucket_shared_destroy(data) } != 0;
    if last && cleanups_run() {
        guard("closing a file", (), || {
            // SAFETY: boxed by `pass`, and this was the last bucket.
            drop(unsafe { Box::from_raw(data.cast::<Shared>()) });
        });
    }
}

/// Reads the first chunk of the bucket, which becomes a heap bucket; the rest stays behind it as one of ours.
///
/// # Safety
/// Called by APR for a bucket of our type, in a brigade; `str_` and `len` can be written to.
unsafe extern "C" fn read(
    bucket: *mut sys::apr_bucket,
    str_: *mut *const c_char,
    len: *mut sys::apr_size_t,
    _block: sys::apr_read_type_e::Type,
) -> sys::apr_status_t {
    // SAFETY: the caller's promise.
    unsafe { str_.write(c"".as_ptr()) };
    // SAFETY: the caller's promise.
    unsafe { len.write(0) };
    // SAFETY: the caller's promise.
    if unsafe { (*bucket).length } > CHUNK {
        // SAFETY: a bucket of our type, longer than where it is split.
        let split = unsafe { sys::apr_bucket_shared_split(bucket, CHUNK) };
        if split != 0 {
            return split;
        }
    }
    // SAFETY: the caller's promise; read again since it was split.
    let (start, want, data, list) = {
        // SAFETY: as above.
        let b = unsafe { &*bucket };
        (u64::try_from(b.start).unwrap_or(0), b.length, b.data, b.list)
    };
    // SAFETY: the allocator of the bucket's brigade; at least one byte, as an allocator may want.
    let memory = unsafe { sys::apr_bucket_alloc(want.max(1), list) };
    if memory.is_null() {
        return sys::APR_ENOMEM as sys::apr_status_t;
    }
    let status = guard("reading a file", sys::APR_EGENERAL as sys::apr_status_t, || {
        // SAFETY: `want` bytes, ours alone, of which nothing is said yet.
        let to = unsafe { core::slice::from_raw_parts_mut(memory.cast::<MaybeUninit<u8>>(), want) };
        // SAFETY: the shared part of our bucket; nobody else is using it, since a request has one thread.
        let shared = unsafe { &mut *data.cast::<Shared>() };
        fill(shared.from.as_mut(), start, to)
    });
    if status != 0 {
        // SAFETY: allocated above, used by nobody.
        unsafe { sys::apr_bucket_free(memory) };
        return status;
    }
    // SAFETY: the bucket takes the memory over; its old share is let go below.
    let made = unsafe {
        sys::apr_bucket_heap_make(bucket, memory.cast::<c_char>(), want, Some(sys::apr_bucket_free))
    };
    // SAFETY: this bucket no longer points to it.
    unsafe { destroy(data) };
    if made.is_null() {
        return sys::APR_ENOMEM as sys::apr_status_t;
    }
    // SAFETY: the caller's promise.
    unsafe { str_.write(memory.cast::<c_char>()) };
    // SAFETY: the caller's promise.
    unsafe { len.write(want) };
    0
}

/// Fills `to` completely, with bytes that were read: then 0, else an errno. A file that ends before is an error: its
/// length was promised.
fn fill(from: &mut dyn ReadAt, start: u64, to: &mut [MaybeUninit<u8>]) -> sys::apr_status_t {
    let mut done = 0;
    while let Some(rest) = to.get_mut(done..).filter(|r| !r.is_empty()) {
        let at = rest.as_ptr();
        match from.read_at(start.saturating_add(done as u64), rest) {
            Ok([]) => return sys::APR_EOF as sys::apr_status_t,
            // That these bytes are `rest`'s is what says that `rest` holds something now.
            Ok(read) if ptr::eq(read.as_ptr(), at.cast()) => done += read.len(),
            Ok(_) => return sys::APR_EGENERAL as sys::apr_status_t,
            Err(libc::EINTR) => {}
            Err(errno) => return if errno > 0 { errno } else { sys::APR_EGENERAL as sys::apr_status_t },
        }
    }
    0
}

/// A bucket of our type.
///
/// # Safety
/// `list` is the allocator of the connection that it will be sent on.
unsafe fn create(
    list: *mut sys::apr_bucket_alloc_t,
    from: Box<dyn ReadAt>,
    start: u64,
    len: u64,
) -> *mut sys::apr_bucket {
    let (Ok(start), Ok(len)) = (i64::try_from(start), usize::try_from(len)) else { return ptr::null_mut() };
    // SAFETY: the allocator is alive.
    let bucket =
        unsafe { sys::apr_bucket_alloc(size_of::<sys::apr_bucket>(), list) }.cast::<sys::apr_bucket>();
    if bucket.is_null() {
        return bucket;
    }
    let shared = Box::new(Shared { refcount: sys::apr_bucket_refcount { refcount: 0 }, from });
    let fresh = sys::apr_bucket {
        link: sys::apr_bucket__bindgen_ty_1 { next: bucket, prev: bucket },
        type_: &raw const TYPE.0,
        length: len,
        start,
        data: ptr::null_mut(),
        free: Some(sys::apr_bucket_free),
        list,
    };
    // SAFETY: enough bytes were just allocated.
    unsafe { bucket.write(fresh) };
    // SAFETY: a fresh bucket, and data with APR's counter as its head.
    unsafe { sys::apr_bucket_shared_make(bucket, Box::into_raw(shared).cast::<c_void>(), start, len) }
}

/// Puts `bucket` at the end of `brigade`.
///
/// # Safety
/// Both are alive, and the bucket is in no brigade.
pub(super) unsafe fn append(brigade: *mut sys::apr_bucket_brigade, bucket: *mut sys::apr_bucket) {
    let sentinel = sentinel(brigade);
    // SAFETY: a brigade is a ring whose sentinel lies where its list is.
    let last = unsafe { (*sentinel).link.prev };
    // SAFETY: the caller's promise.
    unsafe { (*bucket).link = sys::apr_bucket__bindgen_ty_1 { next: sentinel, prev: last } };
    // SAFETY: the last bucket or the sentinel.
    unsafe { (*last).link.next = bucket };
    // SAFETY: see above.
    unsafe { (*sentinel).link.prev = bucket };
}

/// The place in the ring that stands for the brigade itself. Only its link may be touched.
pub(super) fn sentinel(brigade: *mut sys::apr_bucket_brigade) -> *mut sys::apr_bucket {
    const { assert!(core::mem::offset_of!(sys::apr_bucket, link) == 0, "the link comes first") };
    // SAFETY: an address inside the brigade, computed and not read.
    unsafe { &raw mut (*brigade).list }.cast::<sys::apr_bucket>()
}

/// Sends the parts and the end of the body down the filters of the request.
///
/// # Errors
/// The errno if the first chunk of a whole body cannot be read; nothing has been sent then.
pub(super) fn pass(r: &mut Request<'_>, parts: Vec<Part>) -> Result<Status, i32> {
    let connection = r.rec().connection;
    // SAFETY: a request always has its connection, and that its allocator.
    let list = unsafe { (*connection).bucket_alloc };
    // SAFETY: pool and allocator are alive.
    let brigade = unsafe { sys::apr_brigade_create(r.rec().pool, list) };
    for part in parts {
        let bucket = match part {
            Part::Bytes(bytes) if bytes.is_empty() => continue,
            // SAFETY: no function to free: APR copies the bytes.
            Part::Bytes(bytes) => unsafe {
                sys::apr_bucket_heap_create(bytes.as_ptr().cast::<c_char>(), bytes.len(), None, list)
            },
            Part::File { len: 0, .. } => continue,
            // SAFETY: the allocator of this connection.
            Part::File { from, start, len } => unsafe { create(list, from, start, len) },
        };
        if bucket.is_null() {
            return Ok(Status::INTERNAL_SERVER_ERROR);
        }
        // SAFETY: just made.
        unsafe { append(brigade, bucket) };
    }
    // For a range too, whose headers would be on their way: a filter splits the chunk.
    if !r.header_only() {
        // SAFETY: the ring of a live brigade.
        let first = unsafe { (*sentinel(brigade)).link.next };
        // SAFETY: a bucket of the brigade, unless it is the sentinel, which is looked at first.
        if first != sentinel(brigade) && unsafe { is_ours(first) } {
            // SAFETY: a bucket of ours.
            let status = unsafe { into_memory(first) };
            if status != 0 {
                // SAFETY: our own brigade.
                unsafe { sys::apr_brigade_cleanup(brigade.cast()) };
                return Err(status);
            }
        }
    }
    // SAFETY: the allocator is alive.
    let eos = unsafe { sys::apr_bucket_eos_create(list) };
    // SAFETY: just made.
    unsafe { append(brigade, eos) };
    let filters = r.rec().output_filters;
    // SAFETY: the filters of this request, in its handler.
    let status = unsafe { sys::ap_pass_brigade(filters, brigade) };
    // A filter that has answered by itself (416 for a range, for instance) says AP_FILTER_ERROR.
    if status == 0 || status == sys::AP_FILTER_ERROR || r.is_aborted() {
        return Ok(Status::OK);
    }
    // A filter in front of ours could not read, or the connection is gone: the answer must not look whole.
    // SAFETY: `connection` is alive.
    unsafe { break_off(connection) };
    r.log(message::BROKEN_OFF, &format!("answer broken off: {}", status_text(status)));
    Ok(Status::OK)
}

/// Reads the bucket (or its first chunk) into memory.
///
/// # Safety
/// A bucket of ours in a brigade.
pub(super) unsafe fn into_memory(bucket: *mut sys::apr_bucket) -> sys::apr_status_t {
    // SAFETY: the caller's promise.
    let type_ = unsafe { (*bucket).type_ };
    // SAFETY: every bucket has its type.
    let Some(read) = (unsafe { (*type_).read }) else { return sys::APR_EGENERAL as sys::apr_status_t };
    let mut text: *const c_char = ptr::null();
    let mut len = 0;
    // SAFETY: as APR's own macro calls it.
    unsafe { read(bucket, &raw mut text, &raw mut len, sys::apr_read_type_e::APR_BLOCK_READ) }
}

/// Marks the connection so that nothing more goes out on it: the visitor sees that the answer is not whole.
///
/// # Safety
/// `connection` is alive and used by this thread.
pub(super) unsafe fn break_off(connection: *mut sys::conn_rec) {
    let Some(mut connection) = ptr::NonNull::new(connection) else {
        return log_anywhere(message::NO_CONNECTION, "a request without connection");
    };
    // SAFETY: the caller's promise.
    let connection = unsafe { connection.as_mut() };
    connection.keepalive = sys::ap_conn_keepalive_e::AP_CONN_CLOSE;
    connection.aborted = 1;
}

/// APR's words for a status.
pub(super) fn status_text(status: sys::apr_status_t) -> String {
    let mut buffer = [0_u8; 128];
    // SAFETY: so many bytes can be written; it ends them with NUL.
    unsafe { sys::apr_strerror(status, buffer.as_mut_ptr().cast::<c_char>(), buffer.len()) };
    core::ffi::CStr::from_bytes_until_nul(&buffer)
        .map(|t| t.to_string_lossy().into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives 3 bytes at a time, up to byte 10; an error at byte 20.
    struct Slow;
    impl ReadAt for Slow {
        fn read_at<'b>(&mut self, at: u64, to: &'b mut [MaybeUninit<u8>]) -> Result<&'b mut [u8], i32> {
            match at {
                20.. => Err(libc::EIO),
                10.. => Ok(&mut []),
                _ => {
                    let n = to.len().min(3).min(10 - at as usize);
                    Ok(to[..n].write_copy_of_slice(&vec![b'0' + at as u8; n]))
                }
            }
        }
    }

    /// Gives bytes that are not in the buffer.
    struct Liar;
    impl ReadAt for Liar {
        fn read_at<'b>(&mut self, _at: u64, to: &'b mut [MaybeUninit<u8>]) -> Result<&'b mut [u8], i32> {
            Ok(Box::leak(vec![0; to.len()].into_boxed_slice()))
        }
    }

    #[test]
    fn bytes_that_are_elsewhere_do_not_count_as_read() {
        assert_eq!(fill(&mut Liar, 0, &mut [MaybeUninit::uninit(); 4]), sys::APR_EGENERAL as i32);
    }

    #[test]
    fn fills_a_chunk_from_short_reads_and_never_pads() {
        let mut to = [MaybeUninit::new(0); 7];
        assert_eq!(fill(&mut Slow, 0, &mut to), 0);
        // SAFETY: they were set above.
        assert_eq!(&to.map(|b| unsafe { b.assume_init() }), b"0003336");
        assert_eq!(fill(&mut Slow, 8, &mut to), sys::APR_EOF as i32);
        assert_eq!(fill(&mut Slow, 20, &mut to), libc::EIO);
    }
}
