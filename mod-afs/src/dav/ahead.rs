//! What is asked of AFS before mod_dav gets a request or hears of a resource: rights that it does not ask for, and all that it will
//! have gone through.

use super::walk::{Found, Walk};
use super::{No, Problem, Thing};
use crate::httpd::Request;
use crate::phases;
use core::ffi::CStr;

/// What mod_dav would not ask, or only when it has begun to answer, or with its database of locks open, for which writers
/// in other children wait.
///
/// # Errors
/// Why the visitor is refused.
pub(super) fn first_of_all(r: &mut Request<'_>) -> Result<(), No> {
    let depth = r.header_in(c"Depth").map(CStr::to_owned);
    let method = r.method().to_bytes().to_vec();
    if !matches!(method.as_slice(), b"DELETE" | b"LOCK" | b"MOVE" | b"PROPFIND" | b"UNLOCK") {
        return Ok(());
    }
    let thing = Thing::of(r)?;
    match (method.as_slice(), depth.as_deref().map(CStr::to_bytes)) {
        // It asks nobody but its own tables for a lock.
        (b"LOCK", Some(b"0")) => thing.may_lock(),
        (b"LOCK", _) => {
            thing.may_lock()?;
            if thing.is_collection() { find(r, &thing, None, false).map(drop) } else { Ok(()) }
        }
        (b"PROPFIND", Some(b"0")) => Ok(()),
        (b"PROPFIND", Some(b"1")) => find(r, &thing, Some(1), false).map(drop),
        (b"PROPFIND", _) => thing.may_list(),
        // Who has no lock to take off shall not have a whole tree gone through; mod_dav looks at the token.
        (b"UNLOCK", _) if r.header_in(c"Lock-Token").is_none() || thing.may_lock().is_err() => Ok(()),
        _ if thing.exists() => find(r, &thing, None, false).map(drop),
        _ => Ok(()),
    }
}

/// `root` and, to this depth, what is in it, for a request that mod_dav has it gone through for; looked up once for all its walks.
///
/// # Errors
/// Why the visitor is refused.
pub fn find(
    r: &mut Request<'_>,
    root: &Thing,
    depth: Option<usize>,
    of_destination: bool,
) -> Result<Found, No> {
    let method = r.method().to_bytes().to_vec();
    let method = method.as_slice();
    // What changes something is judged by what is there now; its body may have taken long to come.
    let still = |found: &Found| found.is_of(root, depth) && (method == b"PROPFIND" || found.is_fresh());
    if let Some(found) = phases::tree_in_afs(r).and_then(|tree| tree.clone()).filter(still) {
        return Ok(found);
    }
    // AFS decides on the change itself; whoever may do nothing there shall not have a whole tree gone through. A lock may be taken
    // off by whom it is, whatever he may do by now.
    if root.is_collection() && (of_destination || matches!(method, b"DELETE" | b"MOVE")) {
        root.may_be_changed()?;
    } else if method == b"UNLOCK" && !root.who.is_visitor() {
        root.may_lock()?;
    } else if method == b"COPY" && root.is_collection() && !root.who.is_visitor() {
        // For a condition on all of it. Nobody may write hardly anywhere, and whether he may is known too late.
        return Err(No::Problem(Problem::Afs(libc::EACCES)));
    }
    // A lock of a collection is one of all that is in it.
    let locks = method == b"LOCK";
    let each = |thing: &Thing| {
        if locks && thing.is_collection() && !thing.is_by_link() { thing.may_lock() } else { Ok(()) }
    };
    let found = Walk::begin(method == b"PROPFIND").find(r, root.clone(), depth, each)?;
    if let Some(tree) = phases::tree_in_afs(r) {
        *tree = Some(found.clone());
    }
    Ok(found)
}
