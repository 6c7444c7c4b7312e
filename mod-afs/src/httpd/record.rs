//! The module record: the one symbol that httpd looks for, and the making and merging of configurations.

use super::command;
use super::guard::guard;
use super::hook;
use super::pool::Pool;
use crate::config::{DirConfig, ServerConfig};
use core::ffi::{c_char, c_int, c_void};
use core::ptr;
use httpd_sys as sys;

/// The module, as `LoadModule afs_module .../mod_afs.so` names it. httpd writes into it when it loads it.
#[allow(non_upper_case_globals, reason = "the name that httpd looks for")]
#[unsafe(no_mangle)]
pub static mut afs_module: sys::module = sys::module {
    version: sys::MODULE_MAGIC_NUMBER_MAJOR as c_int,
    minor_version: sys::MODULE_MAGIC_NUMBER_MINOR as c_int,
    module_index: -1,
    name: c"mod_afs.c".as_ptr(),
    dynamic_load_handle: ptr::null_mut(),
    next: ptr::null_mut(),
    magic: sys::MODULE_MAGIC_COOKIE as core::ffi::c_ulong,
    rewrite_args: None,
    create_dir_config: Some(create_dir_config),
    merge_dir_config: Some(merge_dir_config),
    create_server_config: Some(create_server_config),
    merge_server_config: Some(merge_server_config),
    cmds: command::table(),
    register_hooks: Some(hook::register),
    flags: 0,
};

/// Address of the record, for httpd's look-ups.
pub(super) fn module() -> *const sys::module {
    &raw const afs_module
}

/// Number of the module, for the log.
pub(super) fn module_index() -> c_int {
    // SAFETY: written only while httpd registers modules, in one thread, before anything else is called.
    unsafe { (*module()).module_index }
}

/// Puts a new value into a pool.
///
/// # Safety
/// `pool` is NULL or alive.
unsafe fn place<T: Send + 'static>(pool: *mut sys::apr_pool_t, value: T) -> *mut c_void {
    // SAFETY: the caller's promise.
    match unsafe { Pool::from_raw(pool) } {
        Some(pool) => ptr::from_mut(pool.own(value)).cast::<c_void>(),
        None => ptr::null_mut(),
    }
}

/// An empty configuration of a section.
///
/// # Safety
/// Called by httpd with a live pool.
unsafe extern "C" fn create_dir_config(pool: *mut sys::apr_pool_t, _dir: *mut c_char) -> *mut c_void {
    guard("create_dir_config", ptr::null_mut(), || {
        // SAFETY: the caller's promise.
        unsafe { place(pool, DirConfig::EMPTY) }
    })
}

/// The inner section over the outer one. Also at each request that merges sections.
///
/// # Safety
/// Called by httpd with a live pool and two configurations of ours.
unsafe extern "C" fn merge_dir_config(
    pool: *mut sys::apr_pool_t,
    outer: *mut c_void,
    inner: *mut c_void,
) -> *mut c_void {
    guard("merge_dir_config", ptr::null_mut(), || {
        // SAFETY: the caller's promise.
        let outer = unsafe { outer.cast::<DirConfig>().as_ref() }.unwrap_or(DirConfig::empty());
        // SAFETY: the caller's promise.
        let inner = unsafe { inner.cast::<DirConfig>().as_ref() }.unwrap_or(DirConfig::empty());
        // SAFETY: the caller's promise.
        unsafe { place(pool, inner.merged_over(outer)) }
    })
}

/// An empty configuration of a server.
///
/// # Safety
/// Called by httpd with a live pool.
unsafe extern "C" fn create_server_config(
    pool: *mut sys::apr_pool_t,
    _s: *mut sys::server_rec,
) -> *mut c_void {
    guard("create_server_config", ptr::null_mut(), || {
        // SAFETY: the caller's promise.
        unsafe { place(pool, ServerConfig::EMPTY) }
    })
}

/// The virtual host over the main server.
///
/// # Safety
/// Called by httpd with a live pool and two configurations of ours.
unsafe extern "C" fn merge_server_config(
    pool: *mut sys::apr_pool_t,
    main: *mut c_void,
    host: *mut c_void,
) -> *mut c_void {
    guard("merge_server_config", ptr::null_mut(), || {
        // SAFETY: the caller's promise.
        let main = unsafe { main.cast::<ServerConfig>().as_ref() }.unwrap_or(ServerConfig::empty());
        // SAFETY: the caller's promise.
        let host = unsafe { host.cast::<ServerConfig>().as_ref() }.unwrap_or(ServerConfig::empty());
        // SAFETY: the caller's promise.
        unsafe { place(pool, host.merged_over(main)) }
    })
}
