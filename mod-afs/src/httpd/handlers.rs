//! Which of httpd's modules answers.

use core::ffi::CStr;
use httpd_sys as sys;

/// Which of these modules (by the names of their sources, such as `mod_cgi.c`) httpd offers a request to first.
#[must_use]
pub fn first_handler<'n>(of: &[&'n CStr]) -> Option<&'n CStr> {
    // SAFETY: no precondition; the array is made while modules are loaded, and only read afterwards.
    let all = unsafe { sys::ap_hook_get_handler() };
    // SAFETY: NULL or such an array.
    let all = unsafe { all.as_ref() }?;
    let len = usize::try_from(all.nelts).ok().filter(|_| !all.elts.is_null())?;
    let links: *const sys::ap_LINK_handler_t = all.elts.cast();
    // SAFETY: APR's array of this hook has so many such records.
    let links = unsafe { core::slice::from_raw_parts(links, len) };
    links.iter().filter(|link| !link.szName.is_null()).find_map(|link| {
        // SAFETY: a module's own name, a string that lives as long as the module is loaded.
        let name = unsafe { CStr::from_ptr(link.szName) };
        of.iter().copied().find(|wanted| *wanted == name)
    })
}
