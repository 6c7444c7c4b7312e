//! httpd's error log. What is data never becomes a format, and control characters are written as escapes.

use super::record::module_index;
use core::ffi::{CStr, c_char, c_int};
use core::ptr;
use httpd_sys as sys;

/// httpd's log levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Needs action at once.
    Alert = 1,
    /// Bug or loss of service.
    Crit = 2,
    /// This did not work.
    Error = 3,
    /// Might be wrong.
    Warning = 4,
    /// Worth knowing; always written.
    Notice = 5,
    /// Normal.
    Info = 6,
    /// For those who look for something.
    Debug = 7,
    /// Steps.
    Trace1 = 8,
    /// Details of steps.
    Trace2 = 9,
}

impl Level {
    /// httpd's number.
    pub(super) fn number(self) -> c_int {
        c_int::from(self as u8)
    }
}

/// The file named in lines of the log; httpd shows it only when asked for the source.
const FILE: &CStr = c"mod_afs";

/// `text` on one line and NUL-terminated: control characters as `\xNN`, at most 4 KiB.
pub(super) fn one_line(text: &str) -> Vec<u8> {
    /// httpd cuts at 8,192 bytes with its own additions.
    const MAX: usize = 4096;
    let mut out = Vec::with_capacity(text.len() + 1);
    for b in text.bytes() {
        if out.len() >= MAX {
            break;
        }
        if b < 0x20 || b == 0x7f {
            out.extend_from_slice(format!("\\x{b:02x}").as_bytes());
        } else {
            out.push(b);
        }
    }
    out.push(0);
    out
}

/// Writes to the log of a server (NULL: to standard error, which is the main log once httpd has opened it).
pub(super) fn log_server(server: *const sys::server_rec, level: Level, text: &str) {
    let line = one_line(text);
    // SAFETY: format and its one argument are NUL-terminated; `server` is NULL or a server of this httpd.
    unsafe {
        sys::ap_log_error_(
            FILE.as_ptr(),
            0,
            module_index(),
            level.number(),
            0,
            server,
            c"afs: %s".as_ptr(),
            line.as_ptr().cast::<c_char>(),
        );
    }
}

/// Writes to the log of a request.
pub(super) fn log_request(request: *const sys::request_rec, level: Level, text: &str) {
    let line = one_line(text);
    // SAFETY: format and its one argument are NUL-terminated; `request` is the one being served.
    unsafe {
        sys::ap_log_rerror_(
            FILE.as_ptr(),
            0,
            module_index(),
            level.number(),
            0,
            request,
            c"afs: %s".as_ptr(),
            line.as_ptr().cast::<c_char>(),
        );
    }
}

/// Writes to the main error log, from where no server and no request is at hand.
pub fn log_anywhere(level: Level, text: &str) {
    log_server(ptr::null(), level, text);
}
