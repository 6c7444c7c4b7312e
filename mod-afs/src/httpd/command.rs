//! From httpd's directives to the table in [`crate::directives`].

use super::guard::guard;
use super::pool::Pool;
use super::record::module;
use crate::config::{DirConfig, ServerConfig};
use crate::directives::{Apply, DIRECTIVES, Directive, Place, Scope, Section};
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr;
use httpd_sys as sys;

/// The table in httpd's form, with an empty record behind the last.
pub(super) struct Commands([sys::command_rec; DIRECTIVES.len() + 1]);

// SAFETY: never written to; its pointers are to constants.
unsafe impl Sync for Commands {}

/// The table that the module record points to.
pub(super) static COMMANDS: Commands = Commands(records());

/// Address of the table.
pub(super) const fn table() -> *const sys::command_rec {
    (&raw const COMMANDS.0).cast::<sys::command_rec>()
}

/// A record without name ends the table.
const END: sys::command_rec = sys::command_rec {
    name: ptr::null(),
    func: sys::cmd_func { no_args: None },
    cmd_data: ptr::null_mut(),
    req_override: 0,
    args_how: sys::cmd_how::RAW_ARGS,
    errmsg: ptr::null(),
};

/// httpd's records of all directives.
const fn records() -> [sys::command_rec; DIRECTIVES.len() + 1] {
    let mut out = [END; DIRECTIVES.len() + 1];
    let mut i = 0;
    #[allow(clippy::indexing_slicing, reason = "computed by the compiler, which checks it")]
    while i < DIRECTIVES.len() {
        let d: &'static Directive = &DIRECTIVES[i];
        out[i] = sys::command_rec {
            name: d.name.as_ptr(),
            func: sys::cmd_func { raw_args: Some(set) },
            cmd_data: ptr::from_ref(d).cast_mut().cast::<c_void>(),
            req_override: allowed(d.scope),
            args_how: sys::cmd_how::RAW_ARGS,
            errmsg: d.help.as_ptr(),
        };
        i += 1;
    }
    out
}

/// Where httpd lets a directive through; finer rules are in [`Directive::refuse`].
const fn allowed(scope: Scope) -> c_int {
    let bits = match scope {
        Scope::Global | Scope::Server => sys::RSRC_CONF,
        Scope::Identity | Scope::Section => sys::RSRC_CONF | sys::ACCESS_CONF,
        Scope::Answer => sys::RSRC_CONF | sys::ACCESS_CONF | sys::OR_AUTHCFG,
    };
    bits as c_int
}

/// The words behind the name of a directive, as httpd splits and unquotes them.
///
/// # Errors
/// What is wrong with them.
pub(super) fn words(pool: *mut sys::apr_pool_t, args: *const c_char) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    let mut rest = args;
    if rest.is_null() {
        return Ok(out);
    }
    loop {
        // SAFETY: `rest` is in a NUL-terminated string.
        if unsafe { *rest } == 0 {
            return Ok(out);
        }
        // SAFETY: the pool is alive, `rest` moves on within its string.
        let word = unsafe { sys::ap_getword_conf(pool, &raw mut rest) };
        if word.is_null() {
            return Ok(out);
        }
        // SAFETY: httpd's copy in the pool.
        let word = unsafe { CStr::from_ptr(word) };
        let word = word.to_str().map_err(|_| "its words must be UTF-8".to_owned())?;
        out.push(word.to_owned());
    }
}

/// Where the directive stands.
///
/// # Safety
/// `cmd` is httpd's description of the directive being read.
unsafe fn place(cmd: &sys::cmd_parms) -> Place {
    // SAFETY: the caller's promise: a directive has its server.
    let virtual_host = unsafe { (*cmd.server).is_virtual != 0 };
    let htaccess = cmd.pool == cmd.temp_pool;
    let mut section = None;
    let mut at = cmd.directive.cast_const();
    // SAFETY: NULL or a node of the configuration tree.
    while let Some(node) = unsafe { at.as_ref() } {
        // SAFETY: names in the tree are NUL-terminated.
        let name = (!node.directive.is_null()).then(|| unsafe { CStr::from_ptr(node.directive) });
        if let Some(found) = name.and_then(|n| Section::from_name(n.to_bytes())) {
            // The strictest of nested sections counts: a Location inside an If is an If.
            section = section.max(Some(found));
        }
        at = node.parent;
    }
    if htaccess {
        section = section.max(Some(Section::Htaccess));
    }
    // All bits stand for all methods: outside Limit and LimitExcept.
    let limited = cmd.limited != -1;
    Place { virtual_host, section, limited }
}

/// A message that begins with the directive.
fn named(directive: &Directive, why: &str) -> String {
    format!("{}: {why}", directive.name.to_string_lossy())
}

/// One directive of the configuration.
///
/// # Safety
/// Called by httpd with its description, the directory's configuration and the text behind the name.
unsafe extern "C" fn set(
    cmd: *mut sys::cmd_parms,
    dir_config: *mut c_void,
    args: *const c_char,
) -> *const c_char {
    // SAFETY: the caller's promise.
    let Some(parms) = (unsafe { cmd.as_ref() }) else { return c"called without parameters".as_ptr() };
    let result = guard("a directive", Err("bug: see the log".to_owned()), || {
        // SAFETY: set by `records`.
        let directive = unsafe { parms.info.cast::<Directive>().as_ref() };
        let directive = directive.ok_or_else(|| "unknown directive".to_owned())?;
        let words = words(parms.temp_pool, args)?;
        // SAFETY: `parms` is httpd's.
        let place = unsafe { place(parms) };
        directive.check(&words, &place)?;
        // SAFETY: NULL or made by `create_dir_config`; only this thread configures it.
        let dir = unsafe { dir_config.cast::<DirConfig>().as_mut() };
        let dir = dir.ok_or_else(|| "no configuration of this section".to_owned())?;
        if let Apply::Dir(apply) = directive.apply {
            return apply(dir, &words).map_err(|why| named(directive, &why));
        }
        if place.section == Some(Section::Htaccess) {
            // Other threads read the server's configuration now.
            return Err(named(directive, "cannot stand in an access file"));
        }
        // SAFETY: a directive has its server.
        let vector = unsafe { (*parms.server).module_config };
        // SAFETY: the vector of the server being configured, which has our slot.
        let server = unsafe { sys::ap_get_module_config(vector, module()) };
        // SAFETY: NULL or made by `create_server_config`; only this thread configures, as nothing is served yet.
        let server = unsafe { server.cast::<ServerConfig>().as_mut() };
        let server = server.ok_or_else(|| "no configuration of this server".to_owned())?;
        match directive.apply {
            Apply::Server(apply) => apply(server, &words),
            Apply::Identity(apply) => apply(server, dir, &words),
            Apply::Dir(_) => Ok(()),
        }
        .map_err(|why| named(directive, &why))
    });
    match result {
        Ok(()) => ptr::null(),
        Err(why) => {
            // SAFETY: the pool of the configuration is alive.
            match unsafe { Pool::from_raw(parms.pool) } {
                Some(pool) => pool.dup(&super::log::one_line(crate::message::DIRECTIVE, &why)),
                None => c"wrong value".as_ptr(),
            }
        }
    }
}
