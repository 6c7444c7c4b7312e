//! httpd's error log. A line begins with its message's id, as httpd's own do. What is data never becomes a format, and control characters are written as escapes.

use super::record::module_index;
use crate::message::Message;
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

/// Id and text on one line and NUL-terminated: control characters as `\xNN`, at most 4 KiB.
pub(super) fn one_line(message: Message, text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 10);
    out.extend_from_slice(message.id.as_bytes());
    out.extend_from_slice(b": ");
    escaped(out, text)
}

/// `out` and a text on one line, NUL-terminated.
fn escaped(mut out: Vec<u8>, text: &str) -> Vec<u8> {
    /// httpd cuts at 8,192 bytes with its own additions.
    const MAX: usize = 4096;
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
pub(super) fn log_server(server: *const sys::server_rec, message: Message, text: &str) {
    write_server(server, message.level, &one_line(message, text));
}

/// Writes a line, NUL-terminated, to the log of a server.
fn write_server(server: *const sys::server_rec, level: Level, line: &[u8]) {
    debug_assert!(line.ends_with(&[0]), "a C string");
    // SAFETY: format and its one argument are NUL-terminated; `server` is NULL or a server of this httpd.
    unsafe {
        sys::ap_log_error_(
            FILE.as_ptr(),
            0,
            module_index(),
            level.number(),
            0,
            server,
            c"%s".as_ptr(),
            line.as_ptr().cast::<c_char>(),
        );
    }
}

/// Writes to the log of a request.
pub(super) fn log_request(request: *const sys::request_rec, message: Message, text: &str) {
    let line = one_line(message, text);
    // SAFETY: format and its one argument are NUL-terminated; `request` is the one being served.
    unsafe {
        sys::ap_log_rerror_(
            FILE.as_ptr(),
            0,
            module_index(),
            message.level.number(),
            0,
            request,
            c"%s".as_ptr(),
            line.as_ptr().cast::<c_char>(),
        );
    }
}

/// Writes to the main error log, from where no server and no request is at hand.
pub fn log_anywhere(message: Message, text: &str) {
    log_server(ptr::null(), message, text);
}

/// Writes a line that has its id already to the main error log.
pub fn log_traced(level: Level, line: &str) {
    write_server(ptr::null(), level, &escaped(Vec::new(), line));
}
