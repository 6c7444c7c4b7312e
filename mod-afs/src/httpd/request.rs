//! One request, as the safe code of a phase sees it.

use super::file_info::{FileInfo, FileKind};
use super::log::{Level, log_request};
use super::pool::Pool;
use super::record::module;
use super::server::Server;
use super::status::Status;
use super::{bucket, filter, part};
use crate::config::DirConfig;
use crate::message::Message;
use core::any::Any;
use core::ffi::{CStr, c_char, c_int};
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use httpd_sys as sys;
use std::ffi::CString;
use std::net::IpAddr;

/// A request, for as long as the phase that got it.
///
/// Texts are borrowed from it and end with the next call that changes it.
pub struct Request<'r> {
    raw: NonNull<sys::request_rec>,
    life: PhantomData<&'r mut sys::request_rec>,
}

/// What hangs on a request; dropped with it.
type State = Box<dyn Any + Send>;

impl core::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Request({:?} {:?})", self.method(), self.uri())
    }
}

/// A header value that stays on its line.
fn header_value(value: &str) -> Vec<u8> {
    value.bytes().map(|b| if b == b'\t' || (b >= 0x20 && b != 0x7f) { b } else { b' ' }).collect()
}

impl<'r> Request<'r> {
    /// # Safety
    /// `raw` is NULL or a request that lives at least as long as `'r`, used by this thread only.
    pub(super) unsafe fn from_raw(raw: *mut sys::request_rec) -> Option<Self> {
        NonNull::new(raw).map(|raw| Self { raw, life: PhantomData })
    }

    /// httpd's pointer.
    pub(super) fn raw(&self) -> *mut sys::request_rec {
        self.raw.as_ptr()
    }

    /// The record, for reading.
    pub(super) fn rec(&self) -> &sys::request_rec {
        // SAFETY: alive (`from_raw`), and what changes it needs `&mut self`.
        unsafe { self.raw.as_ref() }
    }

    /// The record, for writing.
    pub(super) fn rec_mut(&mut self) -> &mut sys::request_rec {
        // SAFETY: alive (`from_raw`), and this is the only borrow.
        unsafe { self.raw.as_mut() }
    }

    /// A text of the record.
    fn text(&self, text: *const c_char) -> Option<&CStr> {
        // SAFETY: NULL or a string in a pool that lives as long as the request; changed only through `&mut self`.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
    }

    /// Its pool: lives until the answer has been sent and logged, and may end on another thread.
    #[must_use]
    pub fn pool(&self) -> Pool<'r> {
        // SAFETY: the pool lives as long as the request; a request always has one.
        unsafe { Pool::from_raw(self.rec().pool) }.unwrap_or_else(|| broken_record())
    }

    // What was asked.

    /// Method as it came, such as `GET` (also for HEAD, see [`Request::header_only`], it is `HEAD`).
    #[must_use]
    pub fn method(&self) -> &CStr {
        self.text(self.rec().method).unwrap_or(c"")
    }

    /// Is it GET or HEAD?
    #[must_use]
    pub fn is_get_or_head(&self) -> bool {
        self.rec().method_number == sys::M_GET as c_int
    }

    /// Is it HEAD?
    #[must_use]
    pub fn header_only(&self) -> bool {
        self.rec().header_only != 0
    }

    /// Path part of the URL; decoded from `translate_name` on, normalized but still encoded in `pre_translate_name`.
    #[must_use]
    pub fn uri(&self) -> &CStr {
        self.text(self.rec().uri).unwrap_or(c"")
    }

    /// The URL as it came: encoded, with its query.
    #[must_use]
    pub fn unparsed_uri(&self) -> &CStr {
        self.text(self.rec().unparsed_uri).unwrap_or(c"")
    }

    /// The query, encoded.
    #[must_use]
    pub fn args(&self) -> Option<&CStr> {
        self.text(self.rec().args)
    }

    /// The whole first line of the request: for logs only, it is not checked.
    #[must_use]
    pub fn request_line(&self) -> &CStr {
        self.text(self.rec().the_request).unwrap_or(c"")
    }

    /// A header of the request.
    #[must_use]
    pub fn header_in(&self, name: &CStr) -> Option<&CStr> {
        // SAFETY: the table is alive, the name NUL-terminated.
        self.text(unsafe { sys::apr_table_get(self.rec().headers_in, name.as_ptr()) })
    }

    /// Takes a header away: whatever reads this request from now on, or is made for it, does not find it. A request that this one
    /// is part of keeps its own.
    pub fn remove_header_in(&mut self, name: &CStr) {
        if self.header_in(name).is_none() {
            return;
        }
        let rec = self.rec();
        // SAFETY: pool and table are those of the request; names and values live as long as what has made them.
        let others = unsafe { sys::apr_table_copy(rec.pool, rec.headers_in) };
        // SAFETY: the table was just made, the name is NUL-terminated.
        unsafe { sys::apr_table_unset(others, name.as_ptr()) };
        // SAFETY: the request is alive, and nothing else of ours refers to the field.
        unsafe { (*self.raw()).headers_in = others };
    }

    /// Sets a header of the request: one that was taken away, or another one in its place.
    pub fn set_header_in(&mut self, name: &CStr, value: &[u8]) {
        let value = self.pool().dup(value);
        // SAFETY: the table is alive; it copies both.
        unsafe { sys::apr_table_set(self.rec().headers_in, name.as_ptr(), value) };
    }

    /// Address of the visitor (behind a proxy: what mod_remoteip made of it).
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let text = self.text(self.rec().useragent_ip)?.to_str().ok()?;
        // A link-local address may carry its interface.
        text.split('%').next()?.parse().ok()
    }

    /// Came it over TLS (also behind mod_http2, where it has a connection of its own)?
    #[must_use]
    pub fn is_https(&self) -> bool {
        // SAFETY: a request always has its connection.
        if unsafe { sys::ap_ssl_conn_is_ssl(self.rec().connection) } != 0 {
            return true;
        }
        // SAFETY: the request is alive.
        self.text(unsafe { sys::ap_run_http_scheme(self.raw()) }) == Some(c"https")
    }

    /// When it came, microseconds since 1970.
    #[must_use]
    pub fn time_us(&self) -> i64 {
        self.rec().request_time
    }

    // Relations.

    /// Is it what the visitor asked for, not a sub-request or an internal redirect?
    #[must_use]
    pub fn is_initial(&self) -> bool {
        self.rec().main.is_null() && self.rec().prev.is_null()
    }

    /// A number of what the visitor asked for: the same for it and all that is made for it, and never 0.
    ///
    /// Another request may get it once this one has been logged.
    #[must_use]
    pub fn initial_number(&self) -> usize {
        let mut at = self.raw.as_ptr();
        loop {
            // SAFETY: the request or one of its ancestors, all alive as long as it.
            let rec = unsafe { &*at };
            let up = if rec.prev.is_null() { rec.main } else { rec.prev };
            if up.is_null() {
                return at.addr();
            }
            at = up;
        }
    }

    /// The request of which this is a sub-request.
    #[must_use]
    pub fn main(&self) -> Option<Ancestor<'_>> {
        // SAFETY: NULL or alive as long as its sub-request.
        unsafe { Request::from_raw(self.rec().main) }.map(Ancestor)
    }

    /// The request that was redirected internally to this one.
    #[must_use]
    pub fn prev(&self) -> Option<Ancestor<'_>> {
        // SAFETY: NULL or alive as long as the one that it was redirected to.
        unsafe { Request::from_raw(self.rec().prev) }.map(Ancestor)
    }

    /// Its server.
    #[must_use]
    pub fn server(&self) -> Server<'r> {
        // SAFETY: servers live until the children that use them end.
        unsafe { Server::from_raw(self.rec().server) }.unwrap_or_else(|| broken_record())
    }

    // Configuration.

    /// Our per-directory configuration as of now; the walks replace it, so ask again after one.
    #[must_use]
    pub fn dir_config(&self) -> &'r DirConfig {
        // SAFETY: the vector is alive and has our slot.
        let ours = unsafe { sys::ap_get_module_config(self.rec().per_dir_config, module()) };
        let ours: *const DirConfig = ours.cast();
        // SAFETY: NULL or made by `create_dir_config` or `merge_dir_config` in a pool that lives as long as the
        // request (its own, its parent's or the configuration's); not changed any more.
        unsafe { ours.as_ref() }.unwrap_or_else(|| broken_record())
    }

    /// Puts the configuration back to what the server has outside all sections, as before `map_to_storage`.
    pub fn reset_dir_config(&mut self) {
        // SAFETY: a request always has its server, and the vector lives as long as that.
        let defaults = unsafe { (*self.rec().server).lookup_defaults };
        self.rec_mut().per_dir_config = defaults;
    }

    /// Merges the Location sections that match the URL.
    pub fn location_walk(&mut self) -> Status {
        // SAFETY: the request is alive and in a phase before the handler.
        Status::from_code(unsafe { sys::ap_location_walk(self.raw()) })
    }

    /// Merges the Directory sections and .htaccess files of [`Request::filename`], and splits off the path info.
    pub fn directory_walk(&mut self) -> Status {
        // SAFETY: as above.
        Status::from_code(unsafe { sys::ap_directory_walk(self.raw()) })
    }

    /// Merges the Files sections.
    pub fn file_walk(&mut self) -> Status {
        // SAFETY: as above.
        Status::from_code(unsafe { sys::ap_file_walk(self.raw()) })
    }

    /// httpd's rules that need no user (`Order`, `Allow`), under the present configuration.
    pub fn run_access_checker(&mut self) -> Status {
        // SAFETY: as above.
        Status::from_code(unsafe { sys::ap_run_access_checker(self.raw()) })
    }

    /// httpd's `Require` rules as far as they need no user: OK, 403, or DECLINED when a user would have to be known.
    pub fn run_access_checker_ex(&mut self) -> Status {
        // SAFETY: as above.
        Status::from_code(unsafe { sys::ap_run_access_checker_ex(self.raw()) })
    }

    // State of ours.

    /// Hangs a value on the request, instead of an earlier one; it is dropped with the request, on any thread.
    pub fn set_state<T: Any + Send>(&mut self, value: T) {
        let value: State = Box::new(value);
        if let Some(old) = self.slot_mut() {
            *old = value;
            return;
        }
        let slot: *mut State = self.pool().own(value);
        // SAFETY: the vector is alive and has our slot; the pool of the request owns the value.
        unsafe { sys::ap_set_module_config(self.rec().request_config, module(), slot.cast()) };
    }

    /// What hangs on the request.
    fn slot(&self) -> *mut State {
        if self.rec().request_config.is_null() {
            return ptr::null_mut();
        }
        // SAFETY: the vector is alive and has our slot.
        unsafe { sys::ap_get_module_config(self.rec().request_config, module()) }.cast()
    }

    /// What hangs on the request, for change.
    fn slot_mut(&mut self) -> Option<&mut State> {
        // SAFETY: NULL or set by `set_state`, and `&mut self` is the only way to it.
        unsafe { self.slot().as_mut() }
    }

    /// The value that was hung on this request, if it is a `T`.
    #[must_use]
    pub fn state<T: Any + Send>(&self) -> Option<&T> {
        // SAFETY: NULL or set by `set_state`; changed only through `&mut self`.
        unsafe { self.slot().as_ref() }?.downcast_ref()
    }

    /// The value that was hung on this request, for change.
    #[must_use]
    pub fn state_mut<T: Any + Send>(&mut self) -> Option<&mut T> {
        self.slot_mut()?.downcast_mut()
    }

    /// The `T` of the nearest request that has one: the redirected one, then the parent, and so on upwards.
    #[must_use]
    pub fn inherited_state<T: Any + Send>(&self) -> Option<&T> {
        let mut at = self.raw.as_ptr().cast_const();
        loop {
            // SAFETY: the request or one of its ancestors, all alive as long as it.
            let rec = unsafe { &*at };
            at = if rec.prev.is_null() { rec.main } else { rec.prev };
            let config = NonNull::new(at.cast_mut()).map(|a| {
                // SAFETY: an ancestor, see above.
                unsafe { a.as_ref() }.request_config
            })?;
            if config.is_null() {
                continue;
            }
            // SAFETY: the vector is alive and has our slot.
            let slot: *const State = unsafe { sys::ap_get_module_config(config, module()) }.cast();
            // SAFETY: NULL or set by `set_state`; nothing changes an ancestor's while we look.
            if let Some(found) = unsafe { slot.as_ref() }.and_then(|s| s.downcast_ref()) {
                return Some(found);
            }
        }
    }

    // File.

    /// The file that the URL stands for.
    #[must_use]
    pub fn filename(&self) -> Option<&CStr> {
        self.text(self.rec().filename)
    }

    /// Sets the file (up to its first NUL), also in its canonical form.
    pub fn set_filename(&mut self, name: &[u8]) {
        let copy = self.pool().dup(name);
        self.rec_mut().filename = copy;
        self.rec_mut().canonical_filename = copy;
    }

    /// What of the URL lies behind the file.
    #[must_use]
    pub fn path_info(&self) -> Option<&CStr> {
        self.text(self.rec().path_info)
    }

    /// What httpd knows of the file.
    #[must_use]
    pub fn file_info(&self) -> FileInfo {
        FileInfo::read(&self.rec().finfo)
    }

    /// Kind of the file.
    #[must_use]
    pub fn file_kind(&self) -> FileKind {
        self.file_info().kind
    }

    /// Tells httpd what the file is.
    pub fn set_file_info(&mut self, info: &FileInfo) {
        let name = self.rec().filename;
        let pool = self.rec().pool;
        let finfo = &mut self.rec_mut().finfo;
        finfo.fname = name;
        finfo.pool = pool;
        info.fill(finfo, 0);
    }

    // Visitor.

    /// The user name, once it is known.
    #[must_use]
    pub fn user(&self) -> Option<&CStr> {
        self.text(self.rec().user)
    }

    /// Sets user and method of authentication (REMOTE_USER, AUTH_TYPE).
    pub fn set_user(&mut self, user: &str, auth_type: &str) {
        let user = self.pool().dup(user.as_bytes());
        let auth_type = self.pool().dup(auth_type.as_bytes());
        let rec = self.rec_mut();
        rec.user = user;
        rec.ap_auth_type = auth_type;
    }

    /// Forgets user and method.
    pub fn clear_user(&mut self) {
        let rec = self.rec_mut();
        rec.user = ptr::null_mut();
        rec.ap_auth_type = ptr::null_mut();
    }

    /// A variable for CGI, SSI and logs.
    #[must_use]
    pub fn env(&self, name: &CStr) -> Option<&CStr> {
        // SAFETY: the table is alive, the name NUL-terminated.
        self.text(unsafe { sys::apr_table_get(self.rec().subprocess_env, name.as_ptr()) })
    }

    /// Sets a variable.
    pub fn set_env(&mut self, name: &CStr, value: &str) {
        let value = self.pool().dup(value.as_bytes());
        // SAFETY: the table is alive; it copies both.
        unsafe { sys::apr_table_set(self.rec().subprocess_env, name.as_ptr(), value) };
    }

    /// Takes a variable away.
    pub fn unset_env(&mut self, name: &CStr) {
        // SAFETY: the table is alive.
        unsafe { sys::apr_table_unset(self.rec().subprocess_env, name.as_ptr()) };
    }

    /// Takes away all variables in whose value this word stands.
    pub fn unset_env_with(&mut self, word: &[u8]) {
        // SAFETY: the table is alive.
        let entries = unsafe { sys::apr_table_elts(self.rec().subprocess_env) };
        // SAFETY: the table's own array.
        let entries = unsafe { entries.as_ref() };
        let Some(entries) = entries.filter(|entries| !entries.elts.is_null() && !word.is_empty()) else {
            return;
        };
        let first: *const sys::apr_table_entry_t = entries.elts.cast();
        let count = usize::try_from(entries.nelts).unwrap_or(0);
        // SAFETY: a table's array has so many entries, which nothing changes until the slice has been used.
        let entries = unsafe { core::slice::from_raw_parts(first, count) };
        let has = |value: &CStr| value.to_bytes().split(u8::is_ascii_whitespace).any(|part| part == word);
        let told = entries.iter().filter(|e| self.text(e.val).is_some_and(has));
        let names: Vec<CString> = told.filter_map(|e| self.text(e.key).map(CStr::to_owned)).collect();
        for name in names {
            self.unset_env(&name);
        }
    }

    // Answer.

    /// The handler that httpd chose.
    #[must_use]
    pub fn handler(&self) -> Option<&CStr> {
        self.text(self.rec().handler)
    }

    /// Chooses the handler.
    pub fn set_handler(&mut self, name: &'static CStr) {
        self.rec_mut().handler = name.as_ptr();
    }

    /// Sets the status of an answer that has a body of ours.
    pub fn set_status(&mut self, status: u16) {
        self.rec_mut().status = i32::from(status);
    }

    /// Status of the answer.
    #[must_use]
    pub fn status(&self) -> i32 {
        self.rec().status
    }

    /// Bytes sent as body.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        u64::try_from(self.rec().bytes_sent).unwrap_or(0)
    }

    /// Sets a header of a successful answer. Control characters become blanks.
    pub fn set_header(&mut self, name: &CStr, value: &str) {
        let value = self.pool().dup(&header_value(value));
        // SAFETY: the table is alive; it copies both.
        unsafe { sys::apr_table_set(self.rec().headers_out, name.as_ptr(), value) };
    }

    /// Appends to a header of a successful answer, after a comma.
    pub fn merge_header(&mut self, name: &CStr, value: &str) {
        let value = self.pool().dup(&header_value(value));
        // SAFETY: as above.
        unsafe { sys::apr_table_mergen(self.rec().headers_out, self.pool().dup(name.to_bytes()), value) };
    }

    /// Sets a header that also goes out with errors and through internal redirects.
    pub fn set_error_header(&mut self, name: &CStr, value: &str) {
        let value = self.pool().dup(&header_value(value));
        // SAFETY: as above.
        unsafe { sys::apr_table_set(self.rec().err_headers_out, name.as_ptr(), value) };
    }

    /// Appends to a header that also goes out with errors, after a comma.
    pub fn merge_error_header(&mut self, name: &CStr, value: &str) {
        let value = self.pool().dup(&header_value(value));
        // SAFETY: as above.
        unsafe { sys::apr_table_mergen(self.rec().err_headers_out, self.pool().dup(name.to_bytes()), value) };
    }

    /// Adds one more header of that name, which also goes out with errors (`WWW-Authenticate` per scheme).
    pub fn add_error_header(&mut self, name: &CStr, value: &str) {
        let value = self.pool().dup(&header_value(value));
        // SAFETY: as above.
        unsafe { sys::apr_table_add(self.rec().err_headers_out, name.as_ptr(), value) };
    }

    /// As [`Self::add_error_header`], unless that is the first of its name.
    pub fn have_error_header(&mut self, name: &CStr, value: &str) {
        // SAFETY: the table of a live request.
        let first = unsafe { sys::apr_table_get(self.rec().err_headers_out, name.as_ptr()) };
        if self.text(first).is_none_or(|first| first.to_bytes() != value.as_bytes()) {
            self.add_error_header(name, value);
        }
    }

    /// Has the answer a header of that name?
    pub fn has_header_out(&self, name: &CStr) -> bool {
        [self.rec().headers_out, self.rec().err_headers_out].into_iter().any(|table| {
            // SAFETY: a table of a live request.
            !unsafe { sys::apr_table_get(table, name.as_ptr()) }.is_null()
        })
    }

    /// Media type that httpd found for the file.
    #[must_use]
    pub fn content_type(&self) -> Option<&CStr> {
        self.text(self.rec().content_type)
    }

    /// Sets the media type.
    pub fn set_content_type(&mut self, value: &str) {
        let value = self.pool().dup(&header_value(value));
        // SAFETY: the request is alive, and so is the text, as long as it.
        unsafe { sys::ap_set_content_type(self.raw(), value) };
    }

    /// Sets Content-Length.
    pub fn set_content_length(&mut self, bytes: u64) {
        // SAFETY: the request is alive.
        unsafe { sys::ap_set_content_length(self.raw(), i64::try_from(bytes).unwrap_or(i64::MAX)) };
    }

    /// Sets Last-Modified, microseconds since 1970.
    pub fn set_last_modified(&mut self, mtime_us: i64) {
        // SAFETY: the request is alive.
        unsafe { sys::ap_update_mtime(self.raw(), mtime_us) };
        // SAFETY: the request is alive.
        unsafe { sys::ap_set_last_modified(self.raw()) };
    }

    /// Sets ETag as httpd's `FileETag` wants it from [`Request::file_info`]; set the header yourself for another one.
    pub fn set_etag_of_file(&mut self) {
        // SAFETY: the request is alive.
        unsafe { sys::ap_set_etag(self.raw()) };
    }

    /// Says that byte ranges may be asked for.
    pub fn set_accept_ranges(&mut self) {
        // SAFETY: the request is alive.
        unsafe { sys::ap_set_accept_ranges(self.raw()) };
    }

    /// Compares with If-Match and its kin: OK, 304 or 412. Needs Last-Modified and ETag to be set.
    pub fn meets_conditions(&mut self) -> Status {
        // SAFETY: the request is alive.
        Status::from_code(unsafe { sys::ap_meets_conditions(self.raw()) })
    }

    /// Says in `Allow` that GET and HEAD will do, and OPTIONS.
    pub fn allow_get(&mut self) {
        let end: c_int = -1;
        // SAFETY: the request is alive; the list of methods ends with -1.
        unsafe {
            sys::ap_allow_standard_methods(
                self.raw(),
                sys::MERGE_ALLOW as c_int,
                sys::M_GET as c_int,
                sys::M_OPTIONS as c_int,
                end,
            );
        }
    }

    /// Keeps shared caches of httpd from storing the answer.
    pub fn set_no_cache(&mut self) {
        self.rec_mut().no_cache = 1;
    }

    /// Reads and drops the body of the request.
    pub fn discard_body(&mut self) -> Status {
        // SAFETY: the request is alive and in its handler.
        Status::from_code(unsafe { sys::ap_discard_request_body(self.raw()) })
    }

    /// Has the visitor gone away (or was the answer broken off)?
    #[must_use]
    pub fn is_aborted(&self) -> bool {
        // SAFETY: a request always has its connection.
        unsafe { (*self.rec().connection).aborted != 0 }
    }

    /// Sends the body, in its order, and its end; for the handler, once headers are set.
    ///
    /// A file that cannot be read to its end breaks the connection off, so that nobody takes the part for the whole.
    /// But if the first chunk of a whole body cannot be read, nothing has been sent yet, and there is an errno instead.
    ///
    /// # Errors
    /// That errno. Otherwise, what the handler should return.
    pub fn try_send(&mut self, parts: Vec<Part>) -> Result<Status, i32> {
        filter::insert(self);
        bucket::pass(self, parts)
    }

    /// Files that another module sends for this request are read in its own thread, not by whoever writes to the network.
    pub fn read_in_own_thread(&mut self) {
        filter::insert(self);
    }

    /// Runs `f` behind the end of the answer to a sub-request that another module gives, in its thread; not at all, if that
    /// end does not come.
    pub fn at_end_of_part(&mut self, f: impl FnOnce() + Send + 'static) {
        part::insert(self, Box::new(f));
    }

    // Log.

    /// Writes to the error log, with the address of the visitor.
    pub fn log(&self, message: Message, text: &str) {
        log_request(self.raw(), message, text);
    }

    /// Would a line of this level be written?
    #[must_use]
    pub fn logs(&self, level: Level) -> bool {
        // SAFETY: the request is alive.
        let configured =
            unsafe { sys::ap_get_request_module_loglevel(self.raw(), super::record::module_index()) };
        level.number() <= configured
    }
}

/// httpd makes no request without pool, server and our configuration; the guard turns this into status 500.
#[allow(clippy::unreachable, reason = "httpd's own invariant, and the guard catches it")]
fn broken_record() -> ! {
    unreachable!("a request without pool, server or configuration")
}

/// A request that this one came of; only to be looked at.
#[derive(Debug)]
pub struct Ancestor<'a>(Request<'a>);

impl<'a> core::ops::Deref for Ancestor<'a> {
    type Target = Request<'a>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// A part of a body.
pub enum Part {
    /// These bytes.
    Bytes(Vec<u8>),
    /// `len` bytes of a file from `start` on; read when they are sent, in bounded chunks, by the request's own thread.
    File {
        /// What reads.
        from: Box<dyn ReadAt>,
        /// First byte.
        start: u64,
        /// Bytes.
        len: u64,
    },
}

impl core::fmt::Debug for Part {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Bytes(b) => write!(f, "Bytes({})", b.len()),
            Self::File { start, len, .. } => write!(f, "File({start}+{len})"),
        }
    }
}

/// Something that can be read anywhere: an open file in AFS.
///
/// It is read in the request's own thread, and dropped with the request, perhaps on another thread.
pub trait ReadAt: Send {
    /// Reads up to `to.len()` bytes from byte `at` on: gives the part of `to` that they are in now. Empty only at the end.
    ///
    /// # Errors
    /// An errno; after EINTR it can be asked again.
    fn read_at<'b>(&mut self, at: u64, to: &'b mut [MaybeUninit<u8>]) -> Result<&'b mut [u8], i32>;
}
