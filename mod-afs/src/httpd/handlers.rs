//! Which of httpd's modules answers.

use core::ffi::CStr;
use httpd_sys as sys;

/// The modules that httpd offers requests to, in that order, by the names of their sources, such as `mod_cgi.c`.
fn handlers() -> impl Iterator<Item = &'static CStr> {
    // SAFETY: no precondition; the array is made while modules are loaded, and only read afterwards.
    let all = unsafe { sys::ap_hook_get_handler() };
    // SAFETY: NULL or such an array.
    let all = unsafe { all.as_ref() }.filter(|all| !all.elts.is_null());
    let len = all.map_or(0, |all| usize::try_from(all.nelts).unwrap_or(0));
    let links: &[sys::ap_LINK_handler_t] = all.map_or(&[], |all| {
        // SAFETY: APR's array of this hook has so many such records, and stays until modules are loaded anew.
        unsafe { core::slice::from_raw_parts(all.elts.cast(), len) }
    });
    links.iter().filter(|link| !link.szName.is_null()).map(|link| {
        // SAFETY: a module's own name, a string that lives as long as the module is loaded.
        unsafe { CStr::from_ptr(link.szName) }
    })
}

/// Which of these modules httpd offers a request to first.
#[must_use]
pub fn first_handler<'n>(of: &[&'n CStr]) -> Option<&'n CStr> {
    handlers().find_map(|name| of.iter().copied().find(|wanted| *wanted == name))
}

/// Does httpd offer requests to other modules than these?
#[must_use]
pub fn has_other_handlers(known: &[&CStr]) -> bool {
    handlers().any(|name| !known.contains(&name))
}
