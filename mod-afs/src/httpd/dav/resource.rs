//! Resources: what stands for a file or directory of AFS in mod_dav.

use super::{REPOSITORY, error, guarded, pool_of, refuse, room, text};
use crate::dav::Thing;
use crate::httpd::{Pool, Request};
use core::ffi::{c_char, c_int};
use core::ptr;
use httpd_sys as sys;

/// What is behind a resource of ours.
pub(super) struct Private {
    /// The request, or sub-request, that it was found for.
    pub(super) request: *mut sys::request_rec,
    /// What it is.
    pub(super) thing: Thing,
}

// SAFETY: dropped with its pool, on any thread, and the address is not used then.
unsafe impl Send for Private {}

/// What is behind a resource.
///
/// # Safety
/// NULL, or a resource of ours that is alive, and nobody changes it meanwhile.
pub(super) unsafe fn private<'a>(resource: *const sys::dav_resource) -> Option<&'a Private> {
    // SAFETY: the caller's promise.
    let info = unsafe { resource.as_ref() }?.info;
    // SAFETY: set by `new_resource` or `tree::visit`.
    unsafe { info.cast::<Private>().as_ref() }
}

/// The same, to be changed.
///
/// # Safety
/// As for [`private`], and nobody else uses it meanwhile.
pub(super) unsafe fn private_mut<'a>(resource: *mut sys::dav_resource) -> Option<&'a mut Private> {
    // SAFETY: the caller's promise.
    let info = unsafe { resource.as_ref() }?.info;
    // SAFETY: set by `new_resource` or `tree::visit`.
    unsafe { info.cast::<Private>().as_mut() }
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
pub(super) fn resource(pool: *mut sys::apr_pool_t, thing: &Thing, uri: *const c_char) -> sys::dav_resource {
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

/// To whoever has mod_dav send a file.
const NOT_SENT: &str = "Files in AFS are not sent by mod_dav.";

/// What a request is for.
///
/// # Safety
/// Called by mod_dav with a request that this thread serves and a place for the resource.
pub(super) unsafe extern "C" fn get_resource(
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
pub(super) unsafe extern "C" fn get_parent_resource(
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
pub(super) unsafe extern "C" fn is_same_resource(
    one: *const sys::dav_resource,
    two: *const sys::dav_resource,
) -> c_int {
    // SAFETY: the caller's promise.
    let (one, two) = (unsafe { private(one) }, unsafe { private(two) });
    c_int::from(one.zip(two).is_some_and(|(a, b)| a.thing.path() == b.thing.path()))
}

/// Is the second in the first, at whatever depth?
///
/// # Safety
/// Called by mod_dav with two resources of ours.
pub(super) unsafe extern "C" fn is_parent_resource(
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

/// The request of a resource.
///
/// # Safety
/// Called by mod_dav with a resource of ours.
pub(super) unsafe extern "C" fn get_request_rec(resource: *const sys::dav_resource) -> *mut sys::request_rec {
    // SAFETY: the caller's promise.
    unsafe { private(resource) }.map_or(ptr::null_mut(), |p| p.request)
}

/// The path of a resource.
///
/// # Safety
/// Called by mod_dav with a resource of ours.
pub(super) unsafe extern "C" fn get_pathname(resource: *const sys::dav_resource) -> *const c_char {
    // SAFETY: the caller's promise.
    let pool = unsafe { pool_of(resource) };
    // SAFETY: the caller's promise.
    unsafe { private(resource) }.map_or(ptr::null(), |p| text(pool, p.thing.path()))
}

/// The headers of what mod_dav would send: it sends nothing of ours.
///
/// # Safety
/// Called by mod_dav with a resource of ours.
pub(super) unsafe extern "C" fn set_headers(
    _r: *mut sys::request_rec,
    resource: *const sys::dav_resource,
) -> *mut sys::dav_error {
    // SAFETY: the caller's promise.
    error(unsafe { pool_of(resource) }, 403, NOT_SENT)
}

/// What mod_dav would send: the same.
///
/// # Safety
/// Called by mod_dav with a resource of ours.
pub(super) unsafe extern "C" fn deliver(
    resource: *const sys::dav_resource,
    _output: *mut sys::ap_filter_t,
) -> *mut sys::dav_error {
    // SAFETY: the caller's promise.
    error(unsafe { pool_of(resource) }, 403, NOT_SENT)
}
