//! Properties: those that AFS knows, of which none can be set.

use super::resource::private;
use super::{REPOSITORY, Table, error, pool_of, text};
use crate::dav::Property;
use crate::httpd::guard::guard;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr;
use httpd_sys as sys;

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

/// The validator of a resource; of one that is not there an empty one: mod_dav looks at the first byte whatever it gets.
///
/// # Safety
/// Called by mod_dav with a resource of ours.
pub(super) unsafe extern "C" fn getetag(resource: *const sys::dav_resource) -> *const c_char {
    // SAFETY: the caller's promise.
    let pool = unsafe { pool_of(resource) };
    guard("dav: getetag", c"".as_ptr(), || {
        // SAFETY: the caller's promise.
        let etag = unsafe { private(resource) }.and_then(|p| p.thing.etag());
        etag.map_or(c"".as_ptr(), |etag| text(pool, etag.as_bytes()))
    })
}

/// No properties of others: none to read, and none can be set.
///
/// # Safety
/// Called by mod_dav with a pool and a place for the database.
pub(super) unsafe extern "C" fn open_properties(
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
pub(super) unsafe extern "C" fn find_liveprop(
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
pub(super) unsafe extern "C" fn find_others(
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
pub(super) unsafe extern "C" fn insert_all_liveprops(
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
