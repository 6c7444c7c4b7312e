//! Steps in the tree of collections: making, removing, copying, moving, walking.

use super::resource::{Private, private, private_mut, resource};
use super::{error, guarded, pool_of, refuse};
use crate::dav::{No, Thing, ahead};
use crate::httpd::Request;
use core::ffi::c_int;
use core::ptr;
use httpd_sys as sys;
use std::ffi::CString;

/// `DAV_CALLTYPE_MEMBER`: one of an enumeration without a name, which bindgen leaves out.
const CALLTYPE_MEMBER: c_int = 1;
/// `DAV_CALLTYPE_COLLECTION`
const CALLTYPE_COLLECTION: c_int = 2;
/// `DAV_INFINITY`
const INFINITY: c_int = c_int::MAX;

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
pub(super) unsafe extern "C" fn create_collection(resource: *mut sys::dav_resource) -> *mut sys::dav_error {
    // SAFETY: the caller's promise.
    unsafe { change(resource, ptr::null_mut(), "dav: create_collection", Thing::make_collection) }
}

/// Removes a resource. The destination of COPY and MOVE is left to these, which replace it when its successor is there.
///
/// # Safety
/// Called by mod_dav with a resource of ours and a place for what concerns its members.
pub(super) unsafe extern "C" fn remove_resource(
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

/// Does a COPY or MOVE take the place of what is there? mod_dav has looked, and says so to nobody.
///
/// # Safety
/// The request of a resource.
unsafe fn overwrites(request: *mut sys::request_rec) -> bool {
    // SAFETY: the caller's promise.
    let r = unsafe { Request::from_raw(request) };
    r.as_ref()
        .and_then(|r| r.header_in(c"Overwrite"))
        .is_none_or(|v| !v.to_bytes().eq_ignore_ascii_case(b"f"))
}

/// Copies a resource.
///
/// # Safety
/// Called by mod_dav with two resources of ours and a place for what concerns their members.
pub(super) unsafe extern "C" fn copy_resource(
    from: *const sys::dav_resource,
    to: *mut sys::dav_resource,
    depth: c_int,
    response: *mut *mut sys::dav_response,
) -> *mut sys::dav_error {
    // SAFETY: the caller's promise; another resource than `to`.
    let Some(source) = (unsafe { private(from) }) else { return ptr::null_mut() };
    // SAFETY: the caller's promise.
    let overwrites = unsafe { overwrites(source.request) };
    // SAFETY: the caller's promise.
    unsafe {
        change(to, response, "dav: copy_resource", |to| source.thing.copy_to(to, depth != 0, overwrites))
    }
}

/// Moves a resource.
///
/// # Safety
/// Called by mod_dav with two resources of ours and a place for what concerns their members.
pub(super) unsafe extern "C" fn move_resource(
    from: *mut sys::dav_resource,
    to: *mut sys::dav_resource,
    response: *mut *mut sys::dav_response,
) -> *mut sys::dav_error {
    // SAFETY: the caller's promise; another resource than `to`.
    let Some(source) = (unsafe { private_mut(from) }) else { return ptr::null_mut() };
    // SAFETY: the caller's promise.
    let overwrites = unsafe { overwrites(source.request) };
    // SAFETY: the caller's promise.
    let done =
        unsafe { change(to, response, "dav: move_resource", |to| source.thing.move_to(to, overwrites)) };
    // SAFETY: the caller's promise.
    unsafe { show(from, &source.thing) };
    done
}

/// Calls mod_dav's function for a resource and what is in it.
///
/// # Safety
/// Called by mod_dav with its parameters, whose root is a resource of ours, and a place for what its function has to say.
pub(super) unsafe extern "C" fn walk(
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
        let request = root.request;
        if !response.is_null() {
            // SAFETY: the caller's promise.
            unsafe { response.write(ptr::null_mut()) };
        }
        // SAFETY: the request of the root, which nothing else borrows here.
        let Some(mut r) = (unsafe { Request::from_raw(request) }) else { return ptr::null_mut() };
        let depth = (depth != INFINITY).then(|| usize::try_from(depth).unwrap_or(0));
        // SAFETY: as above.
        let of_destination = unsafe { request.as_ref() }.is_some_and(|r| !r.main.is_null());
        // All of it before mod_dav hears of any: with the first resource it opens its database of locks, for which all other
        // writers wait.
        let found = match ahead::find(&mut r, &root.thing, depth, of_destination) {
            Ok(found) => found.things(),
            // SAFETY: the request of the root.
            Err(no) => return unsafe { refuse(params.pool, request, no, ptr::null_mut()) },
        };
        let mut place = sys::dav_walk_resource {
            walk_ctx: params.walk_ctx,
            pool: params.pool,
            resource: ptr::null(),
            response: ptr::null_mut(),
        };
        let mut done = ptr::null_mut();
        for thing in found.iter() {
            // SAFETY: the caller's promise.
            done = unsafe { visit(params, &mut place, request, thing.clone()) };
            if !done.is_null() {
                break;
            }
        }
        if !response.is_null() {
            // SAFETY: the caller's promise.
            unsafe { response.write(place.response) };
        }
        done
    })
}

/// Calls the function for `thing`.
///
/// # Safety
/// As for [`walk`]; `request` is the root's.
unsafe fn visit(
    params: &sys::dav_walk_params,
    place: &mut sys::dav_walk_resource,
    request: *mut sys::request_rec,
    thing: Thing,
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
    unsafe { call(place, kind) }
}
