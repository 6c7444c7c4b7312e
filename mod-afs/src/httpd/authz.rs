//! `Require afs-...`: providers of authorization for mod_authz_core.
//!
//! What is wanted is read when the configuration is, into a value that lives as long as it; who gets what is decided in
//! [`Phases::requires`].

use super::command::words;
use super::guard::guard;
use super::hook::Phases;
use super::pool::Pool;
use super::request::Request;
use super::server::Server;
use super::status::Status;
use crate::phases::Module;
use crate::require::{self, Kind, Require, Seen};
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr;
use httpd_sys as sys;

/// What mod_authz_core is told of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is as the line wants.
    Granted,
    /// It is not.
    Denied,
    /// It might be if the visitor logged in.
    NoUser,
    /// It is not known; the request ends.
    Unknown,
}

/// mod_auth.h's names, which are strings there: group and version of providers.
const GROUP: &CStr = c"authz";
const VERSION: &CStr = c"0";

/// A provider in a form that can be static.
struct Provider(sys::authz_provider);

// SAFETY: never written to; two pointers to functions.
unsafe impl Sync for Provider {}

static USER: Provider = provider::<0>();
static GROUPS: Provider = provider::<1>();
static RIGHT: Provider = provider::<2>();

/// The provider of a kind.
const fn provider<const KIND: u8>() -> Provider {
    Provider(sys::authz_provider {
        check_authorization: Some(check),
        parse_require_line: Some(parse::<KIND>),
    })
}

/// The kind of a number, as [`provider`] counts.
const fn kind(number: u8) -> Kind {
    match number {
        0 => Kind::User,
        1 => Kind::Group,
        _ => Kind::Right,
    }
}

/// Registers the providers.
///
/// # Safety
/// Called by httpd with its pool when it registers the module.
pub(super) unsafe fn register(p: *mut sys::apr_pool_t) {
    for (name, provider) in [(c"afs-user", &USER), (c"afs-group", &GROUPS), (c"afs-right", &RIGHT)] {
        let record = ptr::from_ref(&provider.0).cast::<c_void>();
        let per_conf = sys::AP_AUTH_INTERNAL_PER_CONF as c_int;
        // SAFETY: the pool is alive, the names are NUL-terminated, the record lives as long as the module.
        unsafe {
            sys::ap_register_auth_provider(
                p,
                GROUP.as_ptr(),
                name.as_ptr(),
                VERSION.as_ptr(),
                record,
                per_conf,
            );
        }
    }
}

/// Reads a line.
///
/// # Safety
/// Called by httpd with its description of the directive, the words behind the provider's name, and a place to fill.
unsafe extern "C" fn parse<const KIND: u8>(
    cmd: *mut sys::cmd_parms,
    line: *const c_char,
    parsed: *mut *const c_void,
) -> *const c_char {
    // SAFETY: the caller's promise.
    let Some(parms) = (unsafe { cmd.as_ref() }) else { return c"called without parameters".as_ptr() };
    if parsed.is_null() {
        return c"called without a place for what is read".as_ptr();
    }
    // SAFETY: the pool of the configuration, or of the request whose access file is read.
    let Some(pool) = (unsafe { Pool::from_raw(parms.pool) }) else {
        return c"called without a pool".as_ptr();
    };
    let read = guard("a Require", Err("bug: see the log".to_owned()), || {
        let require = require::parse(kind(KIND), &words(parms.temp_pool, line)?)?;
        // SAFETY: a directive has its server.
        let server = unsafe { Server::from_raw(parms.server) };
        if parms.pool == parms.temp_pool {
            // An access file: nobody looks it through later.
            if let Some(why) = server.and_then(|server| require.finding_on(server.config())) {
                return Err(why);
            }
        } else if let Some(server) = server {
            let place = place(parms);
            require::note(Seen { server: server.number(), place, require: require.clone() });
        }
        Ok(require)
    });
    match read {
        Ok(require) => {
            let kept: *const Require = pool.own(require);
            // SAFETY: the caller's promise.
            unsafe { parsed.write(kept.cast()) };
            ptr::null()
        }
        Err(why) => pool.dup(&super::log::one_line(crate::message::REQUIRE_LINE, &why)),
    }
}

/// File and line of a directive.
fn place(parms: &sys::cmd_parms) -> String {
    // SAFETY: NULL or a node of the configuration tree.
    let Some(node) = (unsafe { parms.directive.as_ref() }) else { return "unknown place".to_owned() };
    // SAFETY: NULL or a string of the configuration.
    let file = (!node.filename.is_null()).then(|| unsafe { CStr::from_ptr(node.filename) });
    format!("{}:{}", file.map(CStr::to_string_lossy).unwrap_or_default(), node.line_num)
}

/// Decides for a request.
///
/// # Safety
/// Called by httpd with a request that this thread serves, and with what [`parse`] has made.
unsafe extern "C" fn check(
    r: *mut sys::request_rec,
    _line: *const c_char,
    parsed: *const c_void,
) -> sys::authz_status::Type {
    use sys::authz_status as status;
    let verdict = guard("a Require", Verdict::Unknown, || {
        // SAFETY: NULL or made by `parse`, in a pool that lives as long as the configuration that has it.
        let require = unsafe { parsed.cast::<Require>().as_ref() };
        // SAFETY: the caller's promise.
        match (unsafe { Request::from_raw(r) }, require) {
            (Some(mut r), Some(require)) => Module::requires(&mut r, require),
            _ => Verdict::Unknown,
        }
    });
    match verdict {
        Verdict::Granted => status::AUTHZ_GRANTED,
        Verdict::Denied => status::AUTHZ_DENIED,
        Verdict::NoUser => status::AUTHZ_DENIED_NO_USER,
        Verdict::Unknown => status::AUTHZ_GENERAL_ERROR,
    }
}

impl Request<'_> {
    /// httpd's `Require` rules, with the user known.
    pub fn run_auth_checker(&mut self) -> Status {
        // SAFETY: the request is alive and in a phase before the handler.
        Status::from_code(unsafe { sys::ap_run_auth_checker(self.raw()) })
    }
}
