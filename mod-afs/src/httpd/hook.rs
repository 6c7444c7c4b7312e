//! The trampolines: each checks its pointers, enters the guard, calls the safe function, and gives its status.

use super::authz::{self, Verdict};
use super::dav;
use super::file_info::{FileInfo, Look};
use super::filter;
use super::fork;
use super::guard::guard;
use super::htaccess::{self, Htaccess};
use super::log::log_anywhere;
use super::mpm;
use super::part;
use super::policy;
use super::pool::{self, Pool};
use super::request::Request;
use super::server::Server;
use super::spawn::Ended;
use super::status::Status;
use crate::message;
use crate::phases::Module;
use crate::require::Require;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr;
use httpd_sys as sys;
use std::sync::Arc;

/// What the module does in httpd's phases. What is not implemented does nothing.
///
/// In the parent: `pre_config` to `post_config`, `monitor`, `watched_ended`. In a child, while still root:
/// `drop_privileges`. In a child, as its user: the rest.
pub trait Phases {
    /// Before the configuration is read.
    fn pre_config() -> Status {
        Status::OK
    }

    /// The configuration has been read; also by `httpd -t`. Anything but OK ends httpd, so say why in the log.
    fn check_config(main: Server<'_>) -> Status {
        crate::configtest::check(main)
    }

    /// Last step of `httpd -t`.
    fn test_config(_main: Server<'_>) {}

    /// The configuration counts now. `pconf` lives until the next restart. See [`mpm::pass`] for which pass this is.
    fn post_config(_main: Server<'_>, _pconf: Pool<'_>) -> Status {
        Status::OK
    }

    /// In each process that is forked from one that has this module, before anything else; what it is for is not known yet. Nothing
    /// may be waited for there.
    fn forked() {}

    /// In a new child, still as root.
    fn drop_privileges(_main: Server<'_>) -> Status {
        Status::OK
    }

    /// In a new child, as httpd's user, before its threads start. `pchild` lives as long as the child.
    fn child_init(_main: Server<'_>, _pchild: Pool<'_>) {}

    /// In a process that httpd has forked from a child, of the thread that did so: may it become the program that it was made
    /// for? As little as possible is to be done there.
    fn program_starts() -> bool {
        true
    }

    /// The child will end: `graceful` after its requests, else at once. In prefork possibly inside a signal handler:
    /// take no lock and allocate nothing there.
    fn child_stopping(_graceful: bool) {}

    /// In the parent, about every ten seconds. No other hook of ours runs meanwhile.
    fn monitor(_main: Server<'_>) {}

    /// A process given to [`super::watch`] has ended.
    fn watched_ended(_pid: i32, _ended: Ended) {}

    /// What mod_status shows of us, in its page; `short`: in its form for programs.
    fn status_page(_short: bool) -> String {
        String::new()
    }

    /// A connection begins, on the thread that will serve its first request.
    fn connection_begins() {}

    /// A connection becomes one of another protocol, which its thread serves from now on; `r` has asked for that and is answered
    /// anew there (HTTP/2 by Upgrade), none where that was settled before any request.
    fn connection_changes(_r: Option<&mut Request<'_>>) {}

    /// A thread takes up a connection (event).
    fn connection_resumes() {}

    /// A thread leaves a connection (event).
    fn connection_suspends() {}

    /// A request or sub-request was made; its URL is not known yet.
    fn create_request(_r: &mut Request<'_>) {}

    /// Location sections are merged, the URL is still encoded. DECLINED to go on, or an error.
    fn pre_translate_name(_r: &mut Request<'_>) -> Status {
        Status::DECLINED
    }

    /// Location sections are merged for the decoded URL; before any module makes a file name of it. DECLINED to go on, or an
    /// error.
    fn url_decoded(_r: &mut Request<'_>) -> Status {
        Status::DECLINED
    }

    /// From URL to file name: OK if done.
    fn translate_name(_r: &mut Request<'_>) -> Status {
        Status::DECLINED
    }

    /// Before the core walks the directories: OK if that has been done.
    fn map_to_storage(_r: &mut Request<'_>) -> Status {
        Status::DECLINED
    }

    /// What a directory walk wants to know of `r.filename()`: `None` if it is not ours, else an answer or an errno.
    fn dirwalk_stat(_r: &mut Request<'_>, _look: Look) -> Option<Result<FileInfo, i32>> {
        None
    }

    /// The access file `name` in `dir` (which may end with a slash).
    fn open_htaccess(_r: &mut Request<'_>, _dir: &CStr, _name: &CStr) -> Htaccess {
        Htaccess::NotOurs
    }

    /// Access rules that need no user: OK, DECLINED or an error.
    fn access_checker(_r: &mut Request<'_>) -> Status {
        Status::DECLINED
    }

    /// Who the visitor is: OK if known.
    fn check_user_id(_r: &mut Request<'_>) -> Status {
        Status::DECLINED
    }

    /// Before it is found out what the file is, and which of several variants: OK if that is
    /// not to be asked, DECLINED to go on, or an error.
    fn type_checker(_r: &mut Request<'_>) -> Status {
        Status::DECLINED
    }

    /// Whether the request is what a `Require` of ours wants.
    fn requires(_r: &mut Request<'_>, _require: &Require) -> Verdict {
        Verdict::Unknown
    }

    /// Whether anybody may, as far as that needs no user: OK, DECLINED or an error. Before all others.
    fn access_checker_ex(_r: &mut Request<'_>) -> Status {
        Status::DECLINED
    }

    /// Whether a known user may: OK, DECLINED or an error. Before all others.
    fn auth_checker(_r: &mut Request<'_>) -> Status {
        Status::DECLINED
    }

    /// Before the handler: OK, DECLINED or an error.
    fn fixups(_r: &mut Request<'_>) -> Status {
        Status::DECLINED
    }

    /// httpd may have put another file in the place of the one that was asked for (DirectoryIndex, FallbackResource), with all
    /// that the access files beside it say. DECLINED to go on, or an error.
    fn put_in_place(_r: &mut Request<'_>) -> Status {
        Status::DECLINED
    }

    /// The Content-Security-Policy that the answer is to have, whatever mod_headers makes of its headers.
    fn policy(_r: &mut Request<'_>) -> Option<Arc<str>> {
        None
    }

    /// A header without which an answer with its status is of no use, and its value: where the answer has none of that name. A
    /// module that has asked by a sub-request (mod_dir) may have kept its status alone.
    fn lacking(_r: &mut Request<'_>) -> Option<(&'static CStr, String)> {
        None
    }

    /// The answer where no module had one, instead of httpd's own for files.
    fn last_handler(_r: &mut Request<'_>) -> Status {
        Status::DECLINED
    }

    /// The answer: OK, DECLINED, or a status.
    fn handler(_r: &mut Request<'_>) -> Status {
        Status::DECLINED
    }

    /// The end of an answer that [`Request::read_in_own_thread`] was called for, or that was sent from AFS, has gone
    /// through our filter: nothing more is read for it. In the request's own thread.
    fn answered(_r: &mut Request<'_>) {}

    /// The answer has been sent; possibly on another thread.
    fn log_transaction(_r: &mut Request<'_>) {}
}

/// A trampoline of a phase of a request.
macro_rules! request_phase {
    ($name:ident) => {
        /// Trampoline.
        ///
        /// # Safety
        /// Called by httpd with a request that this thread serves.
        unsafe extern "C" fn $name(r: *mut sys::request_rec) -> c_int {
            guard(stringify!($name), Status::INTERNAL_SERVER_ERROR, || {
                // SAFETY: the caller's promise.
                match unsafe { Request::from_raw(r) } {
                    Some(mut r) => Module::$name(&mut r),
                    None => Status::INTERNAL_SERVER_ERROR,
                }
            })
            .code()
        }
    };
}

request_phase!(pre_translate_name);
request_phase!(url_decoded);
request_phase!(translate_name);
request_phase!(map_to_storage);
request_phase!(access_checker);
request_phase!(check_user_id);
request_phase!(type_checker);
request_phase!(access_checker_ex);
request_phase!(auth_checker);
request_phase!(fixups);
request_phase!(put_in_place);
request_phase!(handler);
request_phase!(last_handler);

/// A trampoline of a phase of a request that has no say.
macro_rules! silent_request_phase {
    ($name:ident) => {
        /// Trampoline.
        ///
        /// # Safety
        /// Called by httpd with a request that this thread serves.
        unsafe extern "C" fn $name(r: *mut sys::request_rec) -> c_int {
            guard(stringify!($name), (), || {
                // SAFETY: the caller's promise.
                if let Some(mut r) = unsafe { Request::from_raw(r) } {
                    Module::$name(&mut r);
                }
            });
            Status::DECLINED.code()
        }
    };
}

silent_request_phase!(create_request);
silent_request_phase!(log_transaction);

/// Trampoline.
///
/// # Safety
/// Called by httpd with its pools.
unsafe extern "C" fn pre_config(
    _pconf: *mut sys::apr_pool_t,
    _plog: *mut sys::apr_pool_t,
    _ptemp: *mut sys::apr_pool_t,
) -> c_int {
    dav::ready();
    guard("pre_config", Status::INTERNAL_SERVER_ERROR, Module::pre_config).code()
}

/// Trampoline.
///
/// # Safety
/// Called by httpd with its pools and the main server.
unsafe extern "C" fn check_config(
    _pconf: *mut sys::apr_pool_t,
    _plog: *mut sys::apr_pool_t,
    _ptemp: *mut sys::apr_pool_t,
    main: *mut sys::server_rec,
) -> c_int {
    guard("check_config", Status::INTERNAL_SERVER_ERROR, || {
        // SAFETY: the caller's promise.
        unsafe { Server::from_raw(main) }.map_or(Status::INTERNAL_SERVER_ERROR, Module::check_config)
    })
    .code()
}

/// Trampoline.
///
/// # Safety
/// Called by httpd with a pool and the main server.
unsafe extern "C" fn test_config(_pconf: *mut sys::apr_pool_t, main: *mut sys::server_rec) {
    guard("test_config", (), || {
        // SAFETY: the caller's promise.
        if let Some(main) = unsafe { Server::from_raw(main) } {
            Module::test_config(main);
        }
    });
}

/// Trampoline.
///
/// # Safety
/// Called by httpd with its pools and the main server.
unsafe extern "C" fn post_config(
    pconf: *mut sys::apr_pool_t,
    _plog: *mut sys::apr_pool_t,
    _ptemp: *mut sys::apr_pool_t,
    main: *mut sys::server_rec,
) -> c_int {
    guard("post_config", Status::INTERNAL_SERVER_ERROR, || {
        // SAFETY: the caller's promise.
        let pool = unsafe { Pool::from_raw(pconf) };
        // SAFETY: the caller's promise.
        match (unsafe { Server::from_raw(main) }, pool) {
            (Some(main), Some(pool)) => Module::post_config(main, pool),
            _ => Status::INTERNAL_SERVER_ERROR,
        }
    })
    .code()
}

/// Trampoline.
///
/// # Safety
/// Called by httpd with a pool and the main server.
unsafe extern "C" fn drop_privileges(_pchild: *mut sys::apr_pool_t, main: *mut sys::server_rec) -> c_int {
    guard("drop_privileges", Status::INTERNAL_SERVER_ERROR, || {
        // SAFETY: the caller's promise.
        unsafe { Server::from_raw(main) }.map_or(Status::INTERNAL_SERVER_ERROR, Module::drop_privileges)
    })
    .code()
}

/// Trampoline.
///
/// # Safety
/// Called by httpd with the child's pool and the main server.
unsafe extern "C" fn child_init(pchild: *mut sys::apr_pool_t, main: *mut sys::server_rec) {
    guard("child_init", (), || {
        // SAFETY: the caller's promise.
        let pool = unsafe { Pool::from_raw(pchild) };
        // SAFETY: the caller's promise.
        if let (Some(main), Some(pool)) = (unsafe { Server::from_raw(main) }, pool) {
            pool.watch_programs();
            Module::child_init(main, pool);
        }
    });
}

/// Trampoline.
///
/// # Safety
/// Called by httpd.
unsafe extern "C" fn child_stopping(_pchild: *mut sys::apr_pool_t, graceful: c_int) {
    if !mpm::is_threaded() {
        pool::stop_cleanups();
    }
    guard("child_stopping", (), || Module::child_stopping(graceful != 0));
}

/// Trampoline.
///
/// # Safety
/// Called by httpd with a pool and the main server.
unsafe extern "C" fn monitor(_p: *mut sys::apr_pool_t, main: *mut sys::server_rec) -> c_int {
    guard("monitor", (), || {
        // SAFETY: the caller's promise.
        if let Some(main) = unsafe { Server::from_raw(main) } {
            Module::monitor(main);
        }
    });
    Status::DECLINED.code()
}

/// Trampoline.
///
/// # Safety
/// Called by httpd.
unsafe extern "C" fn pre_connection(c: *mut sys::conn_rec, _socket: *mut c_void) -> c_int {
    if !c.is_null() {
        guard("pre_connection", (), Module::connection_begins);
    }
    Status::OK.code()
}

/// Trampoline.
///
/// # Safety
/// Called by httpd with a request that this thread serves, or none.
unsafe extern "C" fn protocol_switch(
    _c: *mut sys::conn_rec,
    r: *mut sys::request_rec,
    _s: *mut sys::server_rec,
    _protocol: *const c_char,
) -> c_int {
    guard("protocol_switch", (), || {
        // SAFETY: the caller's promise.
        let mut r = unsafe { Request::from_raw(r) };
        Module::connection_changes(r.as_mut());
    });
    Status::DECLINED.code()
}

/// Trampoline.
///
/// # Safety
/// Called by httpd.
unsafe extern "C" fn resume_connection(_c: *mut sys::conn_rec, _r: *mut sys::request_rec) {
    guard("resume_connection", (), Module::connection_resumes);
}

/// Trampoline.
///
/// # Safety
/// Called by httpd.
unsafe extern "C" fn suspend_connection(_c: *mut sys::conn_rec, _r: *mut sys::request_rec) {
    guard("suspend_connection", (), Module::connection_suspends);
}

/// Trampoline.
///
/// # Safety
/// Called by httpd with a request that this thread serves and a record to fill.
unsafe extern "C" fn dirwalk_stat(
    finfo: *mut sys::apr_finfo_t,
    r: *mut sys::request_rec,
    wanted: c_int,
) -> sys::apr_status_t {
    if finfo.is_null() {
        return sys::APR_EGENERAL as sys::apr_status_t;
    }
    guard("dirwalk_stat", sys::APR_EGENERAL as sys::apr_status_t, || {
        // SAFETY: the caller's promise.
        let Some(mut request) = (unsafe { Request::from_raw(r) }) else {
            return sys::APR_EGENERAL as sys::apr_status_t;
        };
        let link = wanted & (sys::APR_FINFO_LINK as c_int) != 0;
        let look = if link { Look::AtLink } else { Look::Through };
        match Module::dirwalk_stat(&mut request, look) {
            None => sys::AP_DECLINED as sys::apr_status_t,
            Some(Err(errno)) => {
                // SAFETY: the caller's promise; httpd reads the kind also after an error.
                unsafe { (*finfo).filetype = sys::apr_filetype_e::APR_NOFILE };
                if errno > 0 { errno } else { sys::APR_EGENERAL as sys::apr_status_t }
            }
            Some(Ok(info)) => {
                let (name, pool) = (request.rec().filename, request.rec().pool);
                // SAFETY: the caller's promise; the record may be `r->finfo`, which nothing else borrows here.
                let finfo = unsafe { &mut *finfo };
                finfo.fname = name;
                finfo.pool = pool;
                finfo.filehand = ptr::null_mut();
                match info.fill(finfo, wanted) {
                    0 => 0,
                    _ => sys::APR_INCOMPLETE as sys::apr_status_t,
                }
            }
        }
    })
}

/// Trampoline.
///
/// # Safety
/// Called by httpd with a request that this thread serves, two names, and two places to fill.
unsafe extern "C" fn open_htaccess(
    r: *mut sys::request_rec,
    dir: *const c_char,
    name: *const c_char,
    file: *mut *mut sys::ap_configfile_t,
    full_name: *mut *const c_char,
) -> sys::apr_status_t {
    if dir.is_null() || name.is_null() || file.is_null() || full_name.is_null() {
        return sys::AP_DECLINED as sys::apr_status_t;
    }
    guard("open_htaccess", libc::EACCES, || {
        // SAFETY: the caller's promise.
        let Some(mut request) = (unsafe { Request::from_raw(r) }) else { return libc::EACCES };
        // SAFETY: the caller's promise.
        let dir = unsafe { CStr::from_ptr(dir) };
        // SAFETY: the caller's promise.
        let name = unsafe { CStr::from_ptr(name) };
        let found = Module::open_htaccess(&mut request, dir, name);
        if found == Htaccess::NotOurs {
            return sys::AP_DECLINED as sys::apr_status_t;
        }
        let mut full = dir.to_bytes().to_vec();
        if !full.ends_with(b"/") {
            full.push(b'/');
        }
        full.extend_from_slice(name.to_bytes());
        let full = request.pool().dup(&full);
        // SAFETY: the caller's promise.
        unsafe { full_name.write(full) };
        match found {
            Htaccess::NotOurs => sys::AP_DECLINED as sys::apr_status_t,
            Htaccess::Error(errno) if errno > 0 => errno,
            Htaccess::Error(_) => libc::EACCES,
            Htaccess::Content(bytes) => {
                // SAFETY: a copy of ours in the pool.
                let full = unsafe { CStr::from_ptr(full) };
                let opened = htaccess::open(request.pool(), full, bytes);
                // SAFETY: the caller's promise.
                unsafe { file.write(opened) };
                0
            }
        }
    })
}

/// Trampoline.
///
/// # Safety
/// Called by mod_status with a request.
unsafe extern "C" fn status_page(r: *mut sys::request_rec, flags: c_int) -> c_int {
    /// `AP_STATUS_SHORT` of mod_status.h.
    const SHORT: c_int = 1;
    guard("status_page", (), || {
        let text = Module::status_page(flags & SHORT != 0);
        let len = c_int::try_from(text.len()).unwrap_or(0);
        if !r.is_null() {
            // SAFETY: the request is alive, and the text has so many bytes.
            unsafe { sys::ap_rwrite(text.as_ptr().cast(), len, r) };
        }
    });
    Status::OK.code()
}

/// Names of modules, with a null pointer behind them. httpd keeps the address, and reads them whenever it sorts its hooks.
struct Names([*const c_char; 2]);

// SAFETY: literals, which are only read.
unsafe impl Sync for Names {}

/// The module whose daemon is forked in its `post_config`.
static BEFORE_DAEMON: Names = Names([c"mod_cgid.c".as_ptr(), ptr::null()]);

/// The module that puts other files in the place of directories, and of files that are not there.
static BEHIND_DIR: Names = Names([c"mod_dir.c".as_ptr(), ptr::null()]);
/// The one that is behind it, and by which an access file can read headers of the request.
static BEFORE_HEADERS: Names = Names([c"mod_headers.c".as_ptr(), ptr::null()]);

/// Hooks everything in.
///
/// # Safety
/// Called by httpd when it registers the module.
pub(super) unsafe extern "C" fn register(p: *mut sys::apr_pool_t) {
    /// No module that has to be before or behind.
    const NONE: *const *const c_char = ptr::null();
    let first = sys::APR_HOOK_FIRST as c_int;
    let really_first = sys::APR_HOOK_REALLY_FIRST as c_int;
    let middle = sys::APR_HOOK_MIDDLE as c_int;
    let last = sys::APR_HOOK_LAST as c_int;
    let really_last = sys::APR_HOOK_REALLY_LAST as c_int;
    let per_conf = sys::AP_AUTH_INTERNAL_PER_CONF as c_int;
    if !fork::register() {
        log_anywhere(
            message::FORK_NOT_SEEN,
            "pthread_atfork failed: daemons of other modules keep descriptors of ours",
        );
    }
    filter::register();
    part::register();
    // SAFETY: as said above.
    unsafe { policy::register() };
    // SAFETY: as said above.
    unsafe { dav::register(p) };
    // SAFETY: as said above.
    unsafe { authz::register(p) };
    // SAFETY: httpd collects hooks now; each function has the shape that its hook asks for.
    #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one list of the same call")]
    unsafe {
        sys::ap_hook_pre_config(Some(pre_config), NONE, NONE, middle);
        sys::ap_hook_check_config(Some(check_config), NONE, NONE, middle);
        sys::ap_hook_test_config(Some(test_config), NONE, NONE, middle);
        // Before other modules fork their daemons, which would keep what we close or make then.
        sys::ap_hook_post_config(Some(post_config), NONE, BEFORE_DAEMON.0.as_ptr(), first);
        // Before mod_unixd gives root up.
        sys::ap_hook_drop_privileges(Some(drop_privileges), NONE, NONE, really_first);
        // Behind all others, since threads start here.
        sys::ap_hook_child_init(Some(child_init), NONE, NONE, last);
        sys::ap_hook_child_stopping(Some(child_stopping), NONE, NONE, first);
        sys::ap_hook_monitor(Some(monitor), NONE, NONE, middle);
        sys::ap_hook_pre_connection(Some(pre_connection), NONE, NONE, really_first);
        sys::ap_hook_protocol_switch(Some(protocol_switch), NONE, NONE, really_first);
        sys::ap_hook_resume_connection(Some(resume_connection), NONE, NONE, really_first);
        sys::ap_hook_suspend_connection(Some(suspend_connection), NONE, NONE, really_last);
        sys::ap_hook_create_request(Some(create_request), NONE, NONE, really_first);
        sys::ap_hook_pre_translate_name(Some(pre_translate_name), NONE, NONE, first);
        sys::ap_hook_translate_name(Some(url_decoded), NONE, NONE, really_first);
        sys::ap_hook_translate_name(Some(translate_name), NONE, NONE, middle);
        // Right before the core's, which is really last.
        sys::ap_hook_map_to_storage(Some(map_to_storage), NONE, NONE, last);
        sys::ap_hook_dirwalk_stat(Some(dirwalk_stat), NONE, NONE, first);
        sys::ap_hook_open_htaccess(Some(open_htaccess), NONE, NONE, first);
        sys::ap_hook_check_access(Some(access_checker), NONE, NONE, middle, per_conf);
        sys::ap_hook_check_authn(Some(check_user_id), NONE, NONE, first, per_conf);
        // Before mod_negotiation, which is first and looks for variants.
        sys::ap_hook_type_checker(Some(type_checker), NONE, NONE, really_first);
        sys::ap_hook_check_access_ex(Some(access_checker_ex), NONE, NONE, really_first, per_conf);
        sys::ap_hook_check_authz(Some(auth_checker), NONE, NONE, really_first, per_conf);
        sys::ap_hook_fixups(Some(fixups), NONE, NONE, first);
        sys::ap_hook_fixups(Some(put_in_place), BEHIND_DIR.0.as_ptr(), BEFORE_HEADERS.0.as_ptr(), last);
        sys::ap_hook_handler(Some(handler), NONE, NONE, really_first);
        // Right before the core's for files; it has another one before all, so its name says nothing here.
        sys::ap_hook_handler(Some(last_handler), NONE, NONE, really_last - 1);
        sys::ap_hook_log_transaction(Some(log_transaction), NONE, NONE, middle);
    }
    // SAFETY: an optional hook is kept by its name as a function without type; mod_status calls the one of this name with
    // a request and its flags.
    let status_page = unsafe {
        core::mem::transmute::<
            unsafe extern "C" fn(*mut sys::request_rec, c_int) -> c_int,
            unsafe extern "C" fn(),
        >(status_page)
    };
    // SAFETY: as for the others; the name is NUL-terminated.
    unsafe { sys::apr_optional_hook_add(c"status_hook".as_ptr(), Some(status_page), NONE, NONE, middle) };
}
