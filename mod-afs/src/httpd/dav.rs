//! Our provider for mod_dav: its tables of functions, each of which asks [`crate::dav`].
//!
//! None of mod_dav's own functions is linked, so that the module also loads where mod_dav does not: a provider is
//! registered with httpd, and the two hooks for properties are looked up by name once all modules are there.
//!
//! # Safety
//! mod_dav calls with resources that this file has made, in the thread of their request, and with pools that outlive
//! them. A [`Private`] is behind `info` of each of our resources. Headers: `mod_dav.h` of Debian's apache2-dev.

use super::guard::guard;
use super::pool::Pool;
use super::request::Request;
use crate::dav::put::Put;
use crate::dav::{self, No, PROVIDER, Property, Thing};
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr;
use httpd_sys as sys;
use std::ffi::CString;

/// `DAV_CALLTYPE_MEMBER`: one of an enumeration without a name, which bindgen leaves out.
const CALLTYPE_MEMBER: c_int = 1;
/// `DAV_CALLTYPE_COLLECTION`
const CALLTYPE_COLLECTION: c_int = 2;
/// `DAV_INFINITY`
const INFINITY: c_int = c_int::MAX;

/// What is behind a resource of ours.
struct Private {
    /// The request, or sub-request, that it was found for.
    request: *mut sys::request_rec,
    /// What it is.
    thing: Thing,
}

// SAFETY: dropped with its pool, on any thread, and the address is not used then.
unsafe impl Send for Private {}

/// The provider, as mod_dav wants it. Its locks are set before mod_dav looks.
struct Provider(UnsafeCell<sys::dav_provider>);

// SAFETY: written in `ready` alone, in the parent's one thread; its pointers are to constants and to mod_dav_lock's.
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
    // GET and HEAD are ours anyway.
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
    set_headers: None,
    deliver: None,
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

/// Properties that AFS knows, all in the namespace `DAV:`, by mod_dav's number for each.
const KNOWN: [(c_int, &CStr, Property); 3] = [
    (1, c"getcontentlength", Property::Length),
    (2, c"getetag", Property::Etag),
    (3, c"getlastmodified", Property::Modified),
];

/// The number of all other properties: none is there, and none can be set.
const OTHERS: c_int = 100;

/// Their namespace.
const DAV: &CStr = c"DAV:";

/// Namespaces of properties, with the NULL that ends them.
static NAMESPACES: Table<[*const c_char; 2]> = Table([DAV.as_ptr(), ptr::null()]);

/// The functions for them.
static LIVE: Table<sys::dav_hooks_liveprop> = Table(sys::dav_hooks_liveprop {
    insert_prop: Some(insert_prop),
    is_writable: Some(is_writable),
    namespace_uris: (&raw const NAMESPACES.0).cast(),
    patch_validate: Some(patch_validate),
    patch_exec: None,
    patch_commit: None,
    patch_rollback: None,
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
    // SAFETY: the parent has one thread now, and mod_dav has not looked yet.
    unsafe { (*OURS.0.get()).locks = locks.cast::<sys::dav_hooks_locks>() };
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

/// What is behind a resource.
///
/// # Safety
/// NULL, or a resource of ours that is alive, and nobody changes it meanwhile.
unsafe fn private<'a>(resource: *const sys::dav_resource) -> Option<&'a Private> {
    // SAFETY: the caller's promise.
    let info = unsafe { resource.as_ref() }?.info;
    // SAFETY: set by `new_resource` or `visit`.
    unsafe { info.cast::<Private>().as_ref() }
}

/// The same, to be changed.
///
/// # Safety
/// As for [`private`], and nobody else uses it meanwhile.
unsafe fn private_mut<'a>(resource: *mut sys::dav_resource) -> Option<&'a mut Private> {
    // SAFETY: the caller's promise.
    let info = unsafe { resource.as_ref() }?.info;
    // SAFETY: set by `new_resource` or `visit`.
    unsafe { info.cast::<Private>().as_mut() }
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

/// A resource of ours.
///
/// # Safety
/// The pool is alive and outlives it; `request` lives as long.
unsafe fn new_resource(
    pool: *mut sys::apr_pool_t,
    request: *mut sys::request_rec,
    thing: Thing,
) -> *mut sys::dav_resource {
    let at = room::<sys::dav_resource>(pool);
    // SAFETY: the caller's promise.
    let Some(owner) = (unsafe { Pool::from_raw(pool) }) else { return ptr::null_mut() };
    let uri = text(pool, thing.uri());
    let mut resource = resource(pool, &thing, uri);
    resource.info = ptr::from_mut(owner.own(Private { request, thing })).cast();
    // SAFETY: just made for it.
    unsafe { at.write(resource) };
    at
}

/// The record of a resource, without what is behind it.
fn resource(pool: *mut sys::apr_pool_t, thing: &Thing, uri: *const c_char) -> sys::dav_resource {
    sys::dav_resource {
        type_: sys::dav_resource_type::DAV_RESOURCE_TYPE_REGULAR,
        exists: c_int::from(thing.exists()),
        collection: c_int::from(thing.is_collection()),
        versioned: 0,
        baselined: 0,
        working: 0,
        uri,
        info: ptr::null_mut(),
        hooks: &raw const REPOSITORY.0,
        pool,
    }
}

/// What a request is for.
///
/// # Safety
/// Called by mod_dav with a request that this thread serves and a place for the resource.
unsafe extern "C" fn get_resource(
    r: *mut sys::request_rec,
    _root: *const c_char,
    _label: *const c_char,
    _use_checked_in: c_int,
    out: *mut *mut sys::dav_resource,
) -> *mut sys::dav_error {
    // SAFETY: the caller's promise.
    let pool = unsafe { r.as_ref() }.map_or(ptr::null_mut(), |r| r.pool);
    guarded(pool, "dav: get_resource", || {
        // SAFETY: the caller's promise.
        let Some(request) = (unsafe { Request::from_raw(r) }) else { return error(pool, 500, "no request") };
        match Thing::of(&request) {
            Ok(thing) => {
                // SAFETY: the pool of the request.
                let resource = unsafe { new_resource(pool, r, thing) };
                // SAFETY: the caller's promise.
                unsafe { out.write(resource) };
                ptr::null_mut()
            }
            // SAFETY: the caller's promise.
            Err(no) => unsafe { refuse(pool, r, no, ptr::null_mut()) },
        }
    })
}

/// The collection that a resource is in.
///
/// # Safety
/// Called by mod_dav with a resource of ours and a place for the other one.
unsafe extern "C" fn get_parent_resource(
    resource: *const sys::dav_resource,
    out: *mut *mut sys::dav_resource,
) -> *mut sys::dav_error {
    // SAFETY: the caller's promise.
    let pool = unsafe { pool_of(resource) };
    guarded(pool, "dav: get_parent_resource", || {
        // SAFETY: the caller's promise.
        unsafe { out.write(ptr::null_mut()) };
        // SAFETY: the caller's promise.
        let Some(private) = (unsafe { private(resource) }) else { return error(pool, 500, "no resource") };
        match private.thing.parent() {
            Ok(None) => ptr::null_mut(),
            Ok(Some(parent)) => {
                // SAFETY: the pool of the resource, whose request lives as long.
                let parent = unsafe { new_resource(pool, private.request, parent) };
                // SAFETY: the caller's promise.
                unsafe { out.write(parent) };
                ptr::null_mut()
            }
            // SAFETY: the request of the resource.
            Err(no) => unsafe { refuse(pool, private.request, no, ptr::null_mut()) },
        }
    })
}

/// Are these the same?
///
/// # Safety
/// Called by mod_dav with two resources of ours.
unsafe extern "C" fn is_same_resource(one: *const sys::dav_resource, two: *const sys::dav_resource) -> c_int {
    // SAFETY: the caller's promise.
    let (one, two) = (unsafe { private(one) }, unsafe { private(two) });
    c_int::from(one.zip(two).is_some_and(|(a, b)| a.thing.path() == b.thing.path()))
}

/// Is the second in the first, at whatever depth?
///
/// # Safety
/// Called by mod_dav with two resources of ours.
unsafe extern "C" fn is_parent_resource(
    one: *const sys::dav_resource,
    two: *const sys::dav_resource,
) -> c_int {
    // SAFETY: the caller's promise.
    let (one, two) = (unsafe { private(one) }, unsafe { private(two) });
    c_int::from(
        one.zip(two)
            .is_some_and(|(a, b)| matches!(b.thing.path().strip_prefix(a.thing.path()), Some([b'/', ..]))),
    )
}

/// A body that is put, as mod_dav's stream.
struct Stream {
    /// The request.
    request: *mut sys::request_rec,
    /// Its pool.
    pool: *mut sys::apr_pool_t,
    /// The body; none once it has ended.
    put: Option<Put>,
}

// SAFETY: dropped with its pool, on any thread, and the addresses are not used then.
unsafe impl Send for Stream {}

/// The body is about to come.
///
/// # Safety
/// Called by mod_dav with a resource of ours and a place for the stream.
unsafe extern "C" fn open_stream(
    resource: *const sys::dav_resource,
    mode: sys::dav_stream_mode::Type,
    out: *mut *mut sys::dav_stream,
) -> *mut sys::dav_error {
    // SAFETY: the caller's promise.
    let pool = unsafe { pool_of(resource) };
    guarded(pool, "dav: open_stream", || {
        // SAFETY: the caller's promise.
        let Some(private) = (unsafe { private(resource) }) else { return error(pool, 500, "no resource") };
        // SAFETY: the request of the resource.
        let Some(request) = (unsafe { Request::from_raw(private.request) }) else {
            return error(pool, 500, "no request");
        };
        let partial = mode == sys::dav_stream_mode::DAV_MODE_WRITE_SEEKABLE;
        match private.thing.put(&request, partial) {
            Ok(put) => {
                let stream = Stream { request: private.request, pool, put: Some(put) };
                let stream = ptr::from_mut(request.pool().own(stream));
                // SAFETY: the caller's promise.
                unsafe { out.write(stream.cast::<sys::dav_stream>()) };
                ptr::null_mut()
            }
            // SAFETY: the request of the resource.
            Err(no) => unsafe { refuse(pool, private.request, no, ptr::null_mut()) },
        }
    })
}

/// Some of the body.
///
/// # Safety
/// Called by mod_dav with a stream of ours and so many bytes.
unsafe extern "C" fn write_stream(
    stream: *mut sys::dav_stream,
    bytes: *const c_void,
    len: sys::apr_size_t,
) -> *mut sys::dav_error {
    // SAFETY: the caller's promise: made by `open_stream`.
    let Some(stream) = (unsafe { stream.cast::<Stream>().as_mut() }) else { return ptr::null_mut() };
    let pool = stream.pool;
    guarded(pool, "dav: write_stream", || {
        let bytes = if bytes.is_null() || len == 0 {
            &[]
        } else {
            // SAFETY: the caller's promise.
            unsafe { core::slice::from_raw_parts(bytes.cast::<u8>(), len) }
        };
        match stream.put.as_mut().map_or(Ok(()), |put| put.write(bytes)) {
            Ok(()) => ptr::null_mut(),
            // SAFETY: the request of the stream.
            Err(problem) => unsafe { refuse(pool, stream.request, problem.into(), ptr::null_mut()) },
        }
    })
}

/// The body is whole (`commit`), or will not be.
///
/// # Safety
/// Called by mod_dav with a stream of ours.
unsafe extern "C" fn close_stream(stream: *mut sys::dav_stream, commit: c_int) -> *mut sys::dav_error {
    // SAFETY: the caller's promise: made by `open_stream`.
    let Some(stream) = (unsafe { stream.cast::<Stream>().as_mut() }) else { return ptr::null_mut() };
    let pool = stream.pool;
    guarded(pool, "dav: close_stream", || {
        let Some(put) = stream.put.take() else { return ptr::null_mut() };
        if commit == 0 {
            put.abort();
            return ptr::null_mut();
        }
        match put.commit() {
            Ok(etag) => {
                // SAFETY: the request of the stream.
                if let (Some(etag), Some(mut r)) = (etag, unsafe { Request::from_raw(stream.request) }) {
                    r.set_error_header(c"ETag", &format!("\"{etag}\""));
                }
                ptr::null_mut()
            }
            // SAFETY: the request of the stream.
            Err(problem) => unsafe { refuse(pool, stream.request, problem.into(), ptr::null_mut()) },
        }
    })
}

/// What changes one resource.
///
/// # Safety
/// `resource` is one of ours, and `response` NULL or a place for what concerns its members.
unsafe fn change(
    resource: *mut sys::dav_resource,
    response: *mut *mut sys::dav_response,
    what: &'static str,
    f: impl FnOnce(&mut Thing) -> Result<(), No>,
) -> *mut sys::dav_error {
    // SAFETY: the caller's promise.
    let pool = unsafe { pool_of(resource) };
    guarded(pool, what, || {
        if !response.is_null() {
            // SAFETY: the caller's promise.
            unsafe { response.write(ptr::null_mut()) };
        }
        // SAFETY: the caller's promise.
        let Some(private) = (unsafe { private_mut(resource) }) else {
            return error(pool, 500, "no resource");
        };
        let done = f(&mut private.thing);
        // SAFETY: the caller's promise.
        unsafe { show(resource, &private.thing) };
        match done {
            Ok(()) => ptr::null_mut(),
            // SAFETY: the request of the resource; `response` as above.
            Err(no) => unsafe { refuse(pool, private.request, no, response) },
        }
    })
}

/// Tells mod_dav what a resource is now.
///
/// # Safety
/// `resource` is alive.
unsafe fn show(resource: *mut sys::dav_resource, thing: &Thing) {
    // SAFETY: the caller's promise.
    if let Some(resource) = unsafe { resource.as_mut() } {
        resource.exists = c_int::from(thing.exists());
        resource.collection = c_int::from(thing.is_collection());
    }
}

/// Makes a collection.
///
/// # Safety
/// Called by mod_dav with a resource of ours.
unsafe extern "C" fn create_collection(resource: *mut sys::dav_resource) -> *mut sys::dav_error {
    // SAFETY: the caller's promise.
    unsafe { change(resource, ptr::null_mut(), "dav: create_collection", Thing::make_collection) }
}

/// Removes a resource. The destination of COPY and MOVE is left to these, which replace it when its successor is there.
///
/// # Safety
/// Called by mod_dav with a resource of ours and a place for what concerns its members.
unsafe extern "C" fn remove_resource(
    resource: *mut sys::dav_resource,
    response: *mut *mut sys::dav_response,
) -> *mut sys::dav_error {
    // SAFETY: the caller's promise.
    let request = unsafe { private(resource) }.map_or(ptr::null_mut(), |p| p.request);
    // SAFETY: the request of the resource.
    let of_destination = unsafe { request.as_ref() }.is_some_and(|r| !r.main.is_null());
    if of_destination {
        if !response.is_null() {
            // SAFETY: the caller's promise.
            unsafe { response.write(ptr::null_mut()) };
        }
        return ptr::null_mut();
    }
    // SAFETY: the caller's promise.
    unsafe { change(resource, response, "dav: remove_resource", Thing::remove) }
}

/// Copies a resource.
///
/// # Safety
/// Called by mod_dav with two resources of ours and a place for what concerns their members.
unsafe extern "C" fn copy_resource(
    from: *const sys::dav_resource,
    to: *mut sys::dav_resource,
    depth: c_int,
    response: *mut *mut sys::dav_response,
) -> *mut sys::dav_error {
    // SAFETY: the caller's promise; another resource than `to`.
    let Some(source) = (unsafe { private(from) }) else { return ptr::null_mut() };
    // SAFETY: the caller's promise.
    unsafe { change(to, response, "dav: copy_resource", |to| source.thing.copy_to(to, depth != 0)) }
}

/// Moves a resource.
///
/// # Safety
/// Called by mod_dav with two resources of ours and a place for what concerns their members.
unsafe extern "C" fn move_resource(
    from: *mut sys::dav_resource,
    to: *mut sys::dav_resource,
    response: *mut *mut sys::dav_response,
) -> *mut sys::dav_error {
    // SAFETY: the caller's promise; another resource than `to`.
    let Some(source) = (unsafe { private_mut(from) }) else { return ptr::null_mut() };
    // SAFETY: the caller's promise.
    let done = unsafe { change(to, response, "dav: move_resource", |to| source.thing.move_to(to)) };
    // SAFETY: the caller's promise.
    unsafe { show(from, &source.thing) };
    done
}

/// Calls mod_dav's function for a resource and what is in it.
///
/// # Safety
/// Called by mod_dav with its parameters, whose root is a resource of ours, and a place for what its function has to say.
unsafe extern "C" fn walk(
    params: *const sys::dav_walk_params,
    depth: c_int,
    response: *mut *mut sys::dav_response,
) -> *mut sys::dav_error {
    // SAFETY: the caller's promise.
    let Some(params) = (unsafe { params.as_ref() }) else { return ptr::null_mut() };
    guarded(params.pool, "dav: walk", || {
        // SAFETY: the caller's promise.
        let Some(root) = (unsafe { private(params.root) }) else {
            return error(params.pool, 500, "no resource");
        };
        let mut place = sys::dav_walk_resource {
            walk_ctx: params.walk_ctx,
            pool: params.pool,
            resource: ptr::null(),
            response: ptr::null_mut(),
        };
        // SAFETY: the caller's promise.
        let done = unsafe { visit(params, &mut place, root.request, root.thing.clone(), depth, true) };
        if !response.is_null() {
            // SAFETY: the caller's promise.
            unsafe { response.write(place.response) };
        }
        done
    })
}

/// Calls the function for `thing` and, to that depth, for what is in it.
///
/// # Safety
/// As for [`walk`]; `request` is the root's.
unsafe fn visit(
    params: &sys::dav_walk_params,
    place: &mut sys::dav_walk_resource,
    request: *mut sys::request_rec,
    thing: Thing,
    depth: c_int,
    root: bool,
) -> *mut sys::dav_error {
    let Some(call) = params.func else { return ptr::null_mut() };
    let collection = thing.is_collection();
    let slash: &[u8] = if collection && thing.uri() != b"/" { b"/" } else { b"" };
    let Ok(uri) = CString::new([thing.uri(), slash].concat()) else { return ptr::null_mut() };
    let mut private = Private { request, thing };
    let mut record = resource(params.pool, &private.thing, uri.as_ptr());
    record.info = ptr::from_mut(&mut private).cast();
    place.resource = &raw const record;
    let kind = if collection { CALLTYPE_COLLECTION } else { CALLTYPE_MEMBER };
    // SAFETY: mod_dav's own function, with a resource that lives until it returns; it copies what it keeps.
    let done = unsafe { call(place, kind) };
    if !done.is_null() || depth == 0 || !collection {
        return done;
    }
    // SAFETY: the request of the root.
    let Some(r) = (unsafe { Request::from_raw(request) }) else { return ptr::null_mut() };
    let members = match private.thing.members(&r) {
        Ok(members) => members,
        // SAFETY: the request of the root.
        Err(no) if root => return unsafe { refuse(params.pool, request, no, ptr::null_mut()) },
        // What the visitor may not list is shown as if there were nothing in it.
        Err(_) => return ptr::null_mut(),
    };
    let below = if depth == INFINITY { depth } else { depth - 1 };
    for member in members {
        // SAFETY: as above.
        let done = unsafe { visit(params, place, request, member, below, false) };
        if !done.is_null() {
            return done;
        }
    }
    ptr::null_mut()
}

/// The validator of a resource.
///
/// # Safety
/// Called by mod_dav with a resource of ours.
unsafe extern "C" fn getetag(resource: *const sys::dav_resource) -> *const c_char {
    // SAFETY: the caller's promise.
    let pool = unsafe { pool_of(resource) };
    guard("dav: getetag", ptr::null(), || {
        // SAFETY: the caller's promise.
        let etag = unsafe { private(resource) }.and_then(|p| p.thing.etag());
        etag.map_or(ptr::null(), |etag| text(pool, etag.as_bytes()))
    })
}

/// The request of a resource.
///
/// # Safety
/// Called by mod_dav with a resource of ours.
unsafe extern "C" fn get_request_rec(resource: *const sys::dav_resource) -> *mut sys::request_rec {
    // SAFETY: the caller's promise.
    unsafe { private(resource) }.map_or(ptr::null_mut(), |p| p.request)
}

/// The path of a resource.
///
/// # Safety
/// Called by mod_dav with a resource of ours.
unsafe extern "C" fn get_pathname(resource: *const sys::dav_resource) -> *const c_char {
    // SAFETY: the caller's promise.
    let pool = unsafe { pool_of(resource) };
    // SAFETY: the caller's promise.
    unsafe { private(resource) }.map_or(ptr::null(), |p| text(pool, p.thing.path()))
}

/// No properties of others: none to read, and none can be set.
///
/// # Safety
/// Called by mod_dav with a pool and a place for the database.
unsafe extern "C" fn open_properties(
    pool: *mut sys::apr_pool_t,
    _resource: *const sys::dav_resource,
    read_only: c_int,
    out: *mut *mut sys::dav_db,
) -> *mut sys::dav_error {
    if !out.is_null() {
        // SAFETY: the caller's promise.
        unsafe { out.write(ptr::null_mut()) };
    }
    if read_only != 0 { ptr::null_mut() } else { error(pool, 403, "AFS does not keep properties.") }
}

/// Is this resource ours?
///
/// # Safety
/// NULL, or a resource that is alive.
unsafe fn is_ours(resource: *const sys::dav_resource) -> bool {
    // SAFETY: the caller's promise.
    unsafe { resource.as_ref() }.is_some_and(|r| ptr::eq(r.hooks, &raw const REPOSITORY.0))
}

/// The number of a property, if AFS knows it.
///
/// # Safety
/// Called by mod_dav with any resource, two names, and a place for the functions.
unsafe extern "C" fn find_liveprop(
    resource: *const sys::dav_resource,
    namespace: *const c_char,
    name: *const c_char,
    hooks: *mut *const sys::dav_hooks_liveprop,
) -> c_int {
    // SAFETY: the caller's promise.
    if namespace.is_null() || name.is_null() || !unsafe { is_ours(resource) } {
        return 0;
    }
    // SAFETY: the caller's promise.
    let (namespace, name) = (unsafe { CStr::from_ptr(namespace) }, unsafe { CStr::from_ptr(name) });
    let known = KNOWN.iter().find(|(_, known, _)| namespace == DAV && *known == name);
    let Some((number, ..)) = known else { return 0 };
    // SAFETY: the caller's promise.
    unsafe { hooks.write(&raw const LIVE.0) };
    *number
}

/// All properties that nobody else knows: so it is us who say that they cannot be set. mod_dav would call it an error of
/// the server's.
///
/// # Safety
/// As for [`find_liveprop`].
unsafe extern "C" fn find_others(
    resource: *const sys::dav_resource,
    _namespace: *const c_char,
    _name: *const c_char,
    hooks: *mut *const sys::dav_hooks_liveprop,
) -> c_int {
    // SAFETY: the caller's promise.
    if !unsafe { is_ours(resource) } {
        return 0;
    }
    // SAFETY: the caller's promise.
    unsafe { hooks.write(&raw const LIVE.0) };
    OTHERS
}

/// Writes a property, its name, or that there is such a property.
///
/// # Safety
/// Called by mod_dav with a resource of ours and a text to append to.
unsafe extern "C" fn insert_prop(
    resource: *const sys::dav_resource,
    number: c_int,
    what: sys::dav_prop_insert::Type,
    to: *mut sys::apr_text_header,
) -> sys::dav_prop_insert::Type {
    let none = sys::dav_prop_insert::DAV_PROP_INSERT_NOTDEF;
    guard("dav: insert_prop", none, || {
        let Some((_, name, property)) = KNOWN.iter().find(|(known, ..)| *known == number) else {
            return none;
        };
        // SAFETY: the caller's promise.
        let value = unsafe { private(resource) }.and_then(|p| p.thing.property(*property));
        let Some(value) = value else { return none };
        let name = name.to_string_lossy();
        // mod_dav binds this prefix to its namespace. Values are numbers, dates and validators.
        let xml = match what {
            sys::dav_prop_insert::DAV_PROP_INSERT_VALUE => format!("<D:{name}>{value}</D:{name}>\n"),
            sys::dav_prop_insert::DAV_PROP_INSERT_NAME => format!("<D:{name}/>\n"),
            _ => format!("<D:supported-live-property D:name=\"{name}\" D:namespace=\"DAV:\"/>\n"),
        };
        // SAFETY: the caller's promise.
        let pool = unsafe { pool_of(resource) };
        // SAFETY: the text stays in the pool.
        unsafe { sys::apr_text_append(pool, to, text(pool, xml.as_bytes())) };
        what
    })
}

/// What AFS knows cannot be written. Of the others, [`patch_validate`] says so.
///
/// # Safety
/// Called by mod_dav.
unsafe extern "C" fn is_writable(_resource: *const sys::dav_resource, number: c_int) -> c_int {
    c_int::from(number == OTHERS)
}

/// No property can be set.
///
/// # Safety
/// Called by mod_dav with a resource of ours.
unsafe extern "C" fn patch_validate(
    resource: *const sys::dav_resource,
    _elem: *const sys::apr_xml_elem,
    _operation: c_int,
    _context: *mut *mut c_void,
    _defer_to_dead: *mut c_int,
) -> *mut sys::dav_error {
    // SAFETY: the caller's promise.
    error(unsafe { pool_of(resource) }, 403, "AFS does not keep properties.")
}

/// Writes all properties of a resource.
///
/// # Safety
/// Called by mod_dav with any resource and a text to append to.
unsafe extern "C" fn insert_all_liveprops(
    _r: *mut sys::request_rec,
    resource: *const sys::dav_resource,
    what: sys::dav_prop_insert::Type,
    to: *mut sys::apr_text_header,
) {
    // SAFETY: the caller's promise.
    if unsafe { is_ours(resource) } {
        for (number, ..) in KNOWN {
            // SAFETY: the caller's promise.
            unsafe { insert_prop(resource, number, what, to) };
        }
    }
}
