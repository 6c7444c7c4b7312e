//! Our provider for mod_dav: its tables of functions, each of which asks [`crate::dav`].
//!
//! None of mod_dav's own functions is linked, so that the module also loads where mod_dav does not: a provider is
//! registered with httpd, and the two hooks for properties are looked up by name once all modules are there.
//!
//! # Safety
//! mod_dav calls with resources that the files in `dav/` have made, in the thread of their request, and with pools that
//! outlive them. A [`resource::Private`] is behind `info` of each of our resources. Headers: `mod_dav.h` of Debian's
//! apache2-dev.

mod locks;
mod properties;
mod resource;
mod stream;
mod tree;

use super::guard::guard;
use super::pool::Pool;
use super::request::Request;
use crate::dav::{self, No, PROVIDER};
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr;
use httpd_sys as sys;
use properties::{find_liveprop, find_others, getetag, insert_all_liveprops, open_properties};
use resource::{
    deliver, get_parent_resource, get_pathname, get_request_rec, get_resource, is_parent_resource,
    is_same_resource, set_headers,
};
use stream::{close_stream, open_stream, write_stream};
use tree::{copy_resource, create_collection, move_resource, remove_resource, walk};

/// The provider, as mod_dav wants it. Its locks are set before mod_dav looks.
struct Provider(UnsafeCell<sys::dav_provider>);

// SAFETY: written in `ready` alone, in the parent's one thread; its pointers are to constants and to the table of `locks`.
unsafe impl Sync for Provider {}

/// It.
static OURS: Provider = Provider(UnsafeCell::new(sys::dav_provider {
    repos: &raw const REPOSITORY.0,
    propdb: &raw const PROPERTIES.0,
    locks: ptr::null(),
    vsn: ptr::null(),
    binding: ptr::null(),
    search: ptr::null(),
    ctx: ptr::null_mut(),
}));

/// A table of functions, which nobody writes to.
struct Table<T>(T);

// SAFETY: constants.
unsafe impl<T> Sync for Table<T> {}

/// Files and collections.
static REPOSITORY: Table<sys::dav_hooks_repository> = Table(sys::dav_hooks_repository {
    // GET and HEAD are ours; mod_dav asks for them all the same where somebody else has set its handler.
    handle_get: 0,
    get_resource: Some(get_resource),
    get_parent_resource: Some(get_parent_resource),
    is_same_resource: Some(is_same_resource),
    is_parent_resource: Some(is_parent_resource),
    open_stream: Some(open_stream),
    close_stream: Some(close_stream),
    write_stream: Some(write_stream),
    // Never called: a stream for a part is refused.
    seek_stream: None,
    set_headers: Some(set_headers),
    deliver: Some(deliver),
    create_collection: Some(create_collection),
    copy_resource: Some(copy_resource),
    move_resource: Some(move_resource),
    remove_resource: Some(remove_resource),
    walk: Some(walk),
    getetag: Some(getetag),
    ctx: ptr::null_mut(),
    get_request_rec: Some(get_request_rec),
    get_pathname: Some(get_pathname),
});

/// Properties that somebody sets: there are none, and none can be set.
static PROPERTIES: Table<sys::dav_hooks_propdb> = Table(sys::dav_hooks_propdb {
    open: Some(open_properties),
    // Of no use without an open database.
    close: None,
    define_namespaces: None,
    output_value: None,
    map_namespaces: None,
    store: None,
    remove: None,
    exists: None,
    first_name: None,
    next_name: None,
    get_rollback: None,
    apply_rollback: None,
    ctx: ptr::null_mut(),
});

/// Registers the provider; where mod_dav is loaded, `Dav afs` finds it.
///
/// # Safety
/// Called by httpd when it registers the module.
pub(super) unsafe fn register(pool: *mut sys::apr_pool_t) {
    // SAFETY: the names are constant, and the provider lives as long as the module.
    unsafe {
        sys::ap_register_provider(
            pool,
            c"dav".as_ptr(),
            PROVIDER.as_ptr(),
            c"0".as_ptr(),
            OURS.0.get().cast::<c_void>(),
        )
    };
}

/// Whether mod_dav has locks for files in AFS.
#[must_use]
pub fn has_locks() -> bool {
    // SAFETY: written in `ready` alone, before there are requests.
    !unsafe { (*OURS.0.get()).locks }.is_null()
}

/// A function of another module, by its name.
fn function(name: &CStr) -> *mut c_void {
    // SAFETY: httpd makes the names of all its modules known to each other.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}

/// `dav_hook_find_liveprop` and its kin.
type Hook<F> = unsafe extern "C" fn(F, *const *const c_char, *const *const c_char, c_int);

/// Once all modules are loaded, before the configuration is looked at: takes mod_dav_lock's locks, where it is loaded, and
/// tells mod_dav of our properties.
pub(super) fn ready() {
    let (group, name) = (c"dav-lock".as_ptr(), c"generic".as_ptr());
    // SAFETY: names.
    let locks = unsafe { sys::ap_lookup_provider(group, name, c"0".as_ptr()) };
    // SAFETY: the parent has one thread now; mod_dav_lock's table lives until its modules are loaded anew.
    let locks = unsafe { locks::over(locks.cast::<sys::dav_hooks_locks>()) };
    // SAFETY: as above, and mod_dav has not looked yet.
    unsafe { (*OURS.0.get()).locks = locks };
    let (find, insert) = (function(c"dav_hook_find_liveprop"), function(c"dav_hook_insert_all_liveprops"));
    if find.is_null() || insert.is_null() {
        return;
    }
    let order = sys::APR_HOOK_MIDDLE as c_int;
    // SAFETY: mod_dav's function of that name has this type.
    let find: Hook<sys::dav_HOOK_find_liveprop_t> = unsafe { core::mem::transmute(find) };
    // SAFETY: as above.
    let insert: Hook<sys::dav_HOOK_insert_all_liveprops_t> = unsafe { core::mem::transmute(insert) };
    // SAFETY: httpd sorts its hooks after this phase; ours has the right shape.
    unsafe { find(Some(find_liveprop), ptr::null(), ptr::null(), order) };
    // Behind mod_dav's own.
    let last = sys::APR_HOOK_REALLY_LAST as c_int;
    // SAFETY: as above.
    unsafe { find(Some(find_others), ptr::null(), ptr::null(), last) };
    // SAFETY: as above.
    unsafe { insert(Some(insert_all_liveprops), ptr::null(), ptr::null(), order) };
}

impl Request<'_> {
    /// The provider that mod_dav has for this request, if it has one.
    #[must_use]
    pub fn dav_provider(&self) -> Option<&CStr> {
        let name = function(c"dav_get_provider_name");
        if name.is_null() {
            return None;
        }
        // SAFETY: mod_dav's function of that name has this type.
        let name: unsafe extern "C" fn(*mut sys::request_rec) -> *const c_char =
            unsafe { core::mem::transmute(name) };
        // SAFETY: the request is alive and has its configuration.
        let name = unsafe { name(self.raw()) };
        // SAFETY: NULL, or a word of the configuration.
        (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) })
    }
}

/// The pool of a resource; NULL if there is none.
///
/// # Safety
/// NULL, or a resource that is alive.
unsafe fn pool_of(resource: *const sys::dav_resource) -> *mut sys::apr_pool_t {
    // SAFETY: the caller's promise.
    unsafe { resource.as_ref() }.map_or(ptr::null_mut(), |r| r.pool)
}

/// The request that the visitor made, of which `r` may be a part.
///
/// # Safety
/// A request that is alive.
unsafe fn top(mut r: *mut sys::request_rec) -> *mut sys::request_rec {
    // SAFETY: a request or one of its ancestors, alive as long as it.
    while let Some(main) = unsafe { r.as_ref() }.map(|r| r.main).filter(|m| !m.is_null()) {
        r = main;
    }
    r
}

/// Room for a `T` in a pool; NULL without a pool.
fn room<T>(pool: *mut sys::apr_pool_t) -> *mut T {
    if pool.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: the pool is alive; httpd aborts when memory is out.
    unsafe { sys::apr_palloc(pool, size_of::<T>()) }.cast::<T>()
}

/// A text in a pool.
fn text(pool: *mut sys::apr_pool_t, bytes: &[u8]) -> *const c_char {
    // SAFETY: a pool of mod_dav's, alive.
    unsafe { Pool::from_raw(pool) }.map_or(ptr::null(), |pool| pool.dup(bytes).cast_const())
}

/// An error, as mod_dav has them.
fn error(pool: *mut sys::apr_pool_t, status: u16, desc: &str) -> *mut sys::dav_error {
    let at = room::<sys::dav_error>(pool);
    if at.is_null() {
        return at;
    }
    let error = sys::dav_error {
        status: c_int::from(status),
        error_id: 0,
        desc: text(pool, desc.as_bytes()),
        aprerr: 0,
        namespace: ptr::null(),
        tagname: ptr::null(),
        prev: ptr::null_mut(),
        childtags: ptr::null(),
    };
    // SAFETY: just made for it.
    unsafe { at.write(error) };
    at
}

/// Tells the visitor, and gives mod_dav the error; what concerns parts of a tree goes to `response`.
///
/// # Safety
/// `request` is alive and served by this thread; `response` is NULL or can be written to.
unsafe fn refuse(
    pool: *mut sys::apr_pool_t,
    request: *mut sys::request_rec,
    no: No,
    response: *mut *mut sys::dav_response,
) -> *mut sys::dav_error {
    // SAFETY: the caller's promise.
    let asked = unsafe { top(request) };
    // SAFETY: as above.
    let Some(mut r) = (unsafe { Request::from_raw(asked) }) else {
        return error(pool, 500, "no request");
    };
    let told = dav::tell(&mut r, no);
    if told.members.is_empty() || response.is_null() {
        return error(pool, told.status, &told.text);
    }
    for (uri, status) in told.members {
        let at = room::<sys::dav_response>(pool);
        // SAFETY: the caller's promise.
        let next = unsafe { response.read() };
        let one = sys::dav_response {
            href: text(pool, &uri),
            desc: ptr::null(),
            propresult: sys::dav_get_props_result { propstats: ptr::null_mut(), xmlns: ptr::null_mut() },
            status: c_int::from(status),
            next,
        };
        if at.is_null() {
            break;
        }
        // SAFETY: just made for it.
        unsafe { at.write(one) };
        // SAFETY: the caller's promise.
        unsafe { response.write(at) };
    }
    error(pool, 207, &told.text)
}

/// Runs `f`; a panic in it is an error of ours.
fn guarded(
    pool: *mut sys::apr_pool_t,
    what: &'static str,
    f: impl FnOnce() -> *mut sys::dav_error,
) -> *mut sys::dav_error {
    guard(what, None, || Some(f())).unwrap_or_else(|| error(pool, 500, "bug: see the error log"))
}
