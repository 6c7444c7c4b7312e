//! A configuration file that comes out of memory: .htaccess files that an AFS client has read. And what httpd has noted of them.

use super::pool::Pool;
use super::request::Request;
use core::ffi::{CStr, c_char, c_void};
use core::ptr;
use httpd_sys as sys;

/// What `open_htaccess` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Htaccess {
    /// Not ours: httpd opens it itself.
    NotOurs,
    /// This errno: ENOENT and ENOTDIR mean that there is none, anything else ends the request with 403.
    Error(i32),
    /// These bytes, limited by whoever read them.
    Content(Vec<u8>),
}

/// The access files that a request knows of: the head of httpd's list.
#[derive(Debug)]
pub struct KnownAccessFiles(*const sys::htaccess_result);

impl Request<'_> {
    /// What this request knows of access files, also of those that are not there.
    #[must_use]
    pub fn known_access_files(&self) -> KnownAccessFiles {
        KnownAccessFiles(self.rec().htaccess)
    }

    /// Forgets what has become known since, and what a walk has come to by it. What is made in this request's place (an
    /// internal redirect) would go by that.
    pub fn forget_access_files_since(&mut self, known: &KnownAccessFiles) {
        self.rec_mut().htaccess = known.0;
        // SAFETY: the request is alive, and has room for each of httpd's own notes.
        let note = unsafe { sys::ap_get_request_note(self.raw(), sys::AP_NOTE_DIRECTORY_WALK as usize) };
        // SAFETY: NULL, or a place in the request's configuration; with NULL in it, httpd's walk begins anew.
        if let Some(note) = unsafe { note.as_mut() } {
            *note = ptr::null_mut();
        }
    }
}

/// Bytes and how far they have been read.
struct Cursor {
    /// All of them.
    bytes: Vec<u8>,
    /// Read so far.
    at: usize,
}

impl Cursor {
    /// The next byte.
    fn byte(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied()?;
        self.at += 1;
        Some(byte)
    }

    /// The next line with its end, or as much of it as `to` holds before its NUL; `false` at the end.
    fn line(&mut self, to: &mut [u8]) -> bool {
        let Some((last, room)) = to.split_last_mut() else { return false };
        *last = 0;
        let mut used = 0;
        for slot in room.iter_mut() {
            let Some(byte) = self.byte() else { break };
            *slot = byte;
            used += 1;
            if byte == b'\n' {
                break;
            }
        }
        if let Some(end) = to.get_mut(used) {
            *end = 0;
        }
        used > 0
    }
}

/// httpd's `getch`.
///
/// # Safety
/// `param` is a [`Cursor`] of ours, `to` can be written to.
unsafe extern "C" fn getch(to: *mut c_char, param: *mut c_void) -> sys::apr_status_t {
    // SAFETY: the caller's promise.
    let Some(cursor) = (unsafe { param.cast::<Cursor>().as_mut() }) else { return sys::APR_EOF as i32 };
    match cursor.byte() {
        Some(byte) => {
            // SAFETY: the caller's promise.
            unsafe { to.cast::<u8>().write(byte) };
            0
        }
        None => sys::APR_EOF as sys::apr_status_t,
    }
}

/// httpd's `getstr`.
///
/// # Safety
/// `param` is a [`Cursor`] of ours, `size` bytes can be written at `to`.
unsafe extern "C" fn getstr(to: *mut c_void, size: usize, param: *mut c_void) -> sys::apr_status_t {
    // SAFETY: the caller's promise.
    let Some(cursor) = (unsafe { param.cast::<Cursor>().as_mut() }) else { return sys::APR_EOF as i32 };
    // SAFETY: the caller's promise; httpd's buffer has been written to before (it is set by its allocator or us).
    unsafe { core::ptr::write_bytes(to.cast::<u8>(), 0, size) };
    // SAFETY: the caller's promise.
    let room = unsafe { core::slice::from_raw_parts_mut(to.cast::<u8>(), size) };
    if cursor.line(room) { 0 } else { sys::APR_EOF as sys::apr_status_t }
}

/// A configuration file called `name` (for messages) with these bytes.
pub(super) fn open(pool: Pool<'_>, name: &CStr, bytes: Vec<u8>) -> *mut sys::ap_configfile_t {
    let cursor: *mut Cursor = pool.own(Cursor { bytes, at: 0 });
    // SAFETY: the pool owns the cursor and lives as long as the file; httpd copies the name.
    unsafe {
        sys::ap_pcfg_open_custom(pool.raw(), name.as_ptr(), cursor.cast(), Some(getch), Some(getstr), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_lines_with_their_ends_and_cuts_what_does_not_fit() {
        let mut cursor = Cursor { bytes: b"ab\nlonger\nend".to_vec(), at: 0 };
        let mut to = [0xff; 5];
        let mut seen = Vec::new();
        while cursor.line(&mut to) {
            seen.push(CStr::from_bytes_until_nul(&to).unwrap().to_bytes().to_vec());
        }
        assert_eq!(seen, [&b"ab\n"[..], b"long", b"er\n", b"end"]);
    }
}
