//! mod_dav_lock's locks, but one of a collection holds for its members as long as for the collection: no longer, and no less.
//!
//! For the lock of a collection mod_dav_lock keeps a record with the collection, and one with each member that refers to it; each
//! ends by itself. So
//! - a member that is not found when the lock is taken off (hidden by an ACL, renamed by another client of AFS) keeps its record, and
//!   so do all members where the lock is refreshed to end earlier. mod_dav_lock calls that a corrupt database: whatever asks for
//!   the member's locks would be 500, for ever where the lock had no end. Such a record is none to us;
//! - what is refreshed is the collection's record alone; those of the members would end when they were to end at first. So we
//!   give them no end.
//!
//! A record that refers to nothing is only removed where the resource gets another: threads of one child do not wait for each
//! other's database, so that one may miss for a moment what another one is moving there.

use super::guarded;
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_int};
use core::ptr;
use httpd_sys as sys;

/// In the text of mod_dav_lock's error for a record that refers to nothing; its number it shares with damaged records.
const REFERS_TO_NOTHING: &[u8] = b"direct lock could not be found";
/// `DAV_GETLOCKS_RESOLVED`: with what the records refer to.
const RESOLVED: c_int = 0;
/// `DAV_GETLOCKS_PARTIAL`: without a look at that.
const PARTIAL: c_int = 1;
/// `DAV_TIMEOUT_INFINITE`
const NO_END: sys::time_t = 0;

/// What is said where there is no table, which cannot be.
const NO_LOCKS: &str = "no locks";

/// `get_locks`
type Get = unsafe extern "C" fn(
    *mut sys::dav_lockdb,
    *const sys::dav_resource,
    c_int,
    *mut *mut sys::dav_lock,
) -> Outcome;
/// `find_lock`
type Find = unsafe extern "C" fn(
    *mut sys::dav_lockdb,
    *const sys::dav_resource,
    *const sys::dav_locktoken,
    c_int,
    *mut *mut sys::dav_lock,
) -> Outcome;
/// mod_dav_lock's functions.
type Hooks = sys::dav_hooks_locks;
/// What comes back from most of them; NULL: done.
type Outcome = *mut sys::dav_error;

/// mod_dav_lock's functions, and the same with ours among them.
struct Both {
    theirs: *const Hooks,
    ours: Hooks,
}

/// None without mod_dav_lock.
struct Locks(UnsafeCell<Option<Both>>);

// SAFETY: written in `over` alone, in the parent's one thread; its pointers are to constants.
unsafe impl Sync for Locks {}

/// They.
static LOCKS: Locks = Locks(UnsafeCell::new(None));

/// The functions for mod_dav, from mod_dav_lock's; NULL stays NULL.
///
/// # Safety
/// Called while the process has one thread, with a table that lives until it is called again.
pub(super) unsafe fn over(theirs: *const Hooks) -> *const Hooks {
    // SAFETY: the caller's promise.
    let Some(table) = (unsafe { theirs.as_ref() }) else { return ptr::null() };
    let ours = Hooks {
        open_lockdb: Some(open_lockdb),
        get_locks: Some(get_locks),
        has_locks: Some(has_locks),
        refresh_locks: Some(refresh_locks),
        append_locks: Some(append_locks),
        ..*table
    };
    // SAFETY: nobody else looks now.
    let locks = unsafe { &mut *LOCKS.0.get() };
    &raw const locks.insert(Both { theirs, ours }).ours
}

/// Both tables.
fn both() -> Option<&'static Both> {
    // SAFETY: nobody writes while there are requests.
    unsafe { &*LOCKS.0.get() }.as_ref()
}

/// mod_dav_lock's own.
fn theirs() -> Option<&'static Hooks> {
    // SAFETY: it lives as long as it is kept here.
    both().and_then(|both| unsafe { both.theirs.as_ref() })
}

/// Opens the database, and has mod_dav use our table for it.
///
/// # Safety
/// Called by mod_dav with a request and a place for the database.
unsafe extern "C" fn open_lockdb(
    r: *mut sys::request_rec,
    ro: c_int,
    force: c_int,
    out: *mut *mut sys::dav_lockdb,
) -> Outcome {
    let Some((both, open)) = both().zip(theirs().and_then(|t| t.open_lockdb)) else {
        // SAFETY: the caller's promise.
        let pool = unsafe { r.as_ref() }.map_or(ptr::null_mut(), |r| r.pool);
        return super::error(pool, 500, NO_LOCKS);
    };
    // SAFETY: the caller's promise.
    let error = unsafe { open(r, ro, force, out) };
    // SAFETY: the caller's promise.
    let opened = unsafe { out.as_ref() }.filter(|_| error.is_null());
    // SAFETY: after success it is mod_dav_lock's, in the request's pool.
    if let Some(db) = opened.and_then(|db| unsafe { db.as_mut() }) {
        db.hooks = &raw const both.ours;
    }
    error
}

/// Whether it says that a record refers to nothing.
///
/// # Safety
/// NULL, or an error of mod_dav_lock's.
unsafe fn refers_to_nothing(error: Outcome) -> bool {
    // SAFETY: the caller's promise.
    let text = unsafe { error.as_ref() }.map(|e| e.desc).filter(|text| !text.is_null());
    // SAFETY: a text that lives as long as the error.
    let text = text.map(|text| unsafe { CStr::from_ptr(text) }.to_bytes());
    text.is_some_and(|text| text.windows(REFERS_TO_NOTHING.len()).any(|part| part == REFERS_TO_NOTHING))
}

/// The locks of a resource, without those whose records refer to nothing; those go to `dangling`.
///
/// # Safety
/// A database that is open, a resource, and functions of mod_dav_lock's.
///
/// # Errors
/// mod_dav_lock's; what `dangling` gives.
unsafe fn sort_out(
    (get, find): (Get, Find),
    db: *mut sys::dav_lockdb,
    resource: *const sys::dav_resource,
    mut dangling: impl FnMut(*const sys::dav_locktoken) -> Outcome,
) -> Result<*mut sys::dav_lock, Outcome> {
    let done = |error: Outcome| if error.is_null() { Ok(()) } else { Err(error) };
    let mut rest = ptr::null_mut();
    // SAFETY: the caller's promise.
    done(unsafe { get(db, resource, PARTIAL, &raw mut rest) })?;
    let mut locks = ptr::null_mut();
    // SAFETY: a list of mod_dav_lock's, in the request's pool.
    while let Some(record) = unsafe { rest.as_ref() } {
        let mut lock = rest;
        rest = record.next;
        if record.rectype != sys::dav_lock_rectype::DAV_LOCKREC_DIRECT {
            // SAFETY: as above; the token is the record's.
            let error = unsafe { find(db, resource, record.locktoken, 0, &raw mut lock) };
            // SAFETY: just made by mod_dav_lock.
            if unsafe { refers_to_nothing(error) } {
                done(dangling(record.locktoken))?;
                continue;
            }
            done(error)?;
        }
        // SAFETY: mod_dav_lock's, in the request's pool, and in no other list that is still looked at.
        if let Some(lock) = unsafe { lock.as_mut() } {
            // As it is where nothing is wrong: mod_dav asked for what the record refers to.
            lock.rectype = sys::dav_lock_rectype::DAV_LOCKREC_DIRECT;
            lock.next = locks;
            locks = lock;
        }
    }
    Ok(locks)
}

/// The locks of a resource, without those whose records refer to nothing.
///
/// # Safety
/// Called by mod_dav with a database that is open, a resource and a place for the locks.
unsafe extern "C" fn get_locks(
    db: *mut sys::dav_lockdb,
    resource: *const sys::dav_resource,
    kind: c_int,
    out: *mut *mut sys::dav_lock,
) -> Outcome {
    // SAFETY: the caller's promise.
    let pool = unsafe { super::pool_of(resource) };
    guarded(pool, "dav: get_locks", || {
        let Some(hooks) = theirs().and_then(|t| t.get_locks.zip(t.find_lock)) else {
            return super::error(pool, 500, NO_LOCKS);
        };
        // SAFETY: the caller's promise.
        let error = unsafe { (hooks.0)(db, resource, kind, out) };
        // SAFETY: just made by mod_dav_lock.
        if !unsafe { refers_to_nothing(error) } {
            return error;
        }
        // SAFETY: the caller's promise.
        match unsafe { sort_out(hooks, db, resource, |_| ptr::null_mut()) } {
            Ok(locks) => {
                // SAFETY: as above.
                unsafe { out.write(locks) };
                ptr::null_mut()
            }
            Err(error) => error,
        }
    })
}

/// Whether a resource has locks; to mod_dav_lock it has if there is any record.
///
/// # Safety
/// Called by mod_dav with a database that is open, a resource and a place for the answer.
unsafe extern "C" fn has_locks(
    db: *mut sys::dav_lockdb,
    resource: *const sys::dav_resource,
    out: *mut c_int,
) -> Outcome {
    let mut locks = ptr::null_mut();
    // SAFETY: the caller's promise.
    let error = unsafe { get_locks(db, resource, RESOLVED, &raw mut locks) };
    if error.is_null() {
        // SAFETY: as above.
        unsafe { out.write(c_int::from(!locks.is_null())) };
        return error;
    }
    // Whether there is a record can be told where the locks cannot.
    match theirs().and_then(|t| t.has_locks) {
        // SAFETY: as above.
        Some(has) => unsafe { has(db, resource, out) },
        None => error,
    }
}

/// Refreshes locks of a resource.
///
/// # Safety
/// Called by mod_dav with a database that is open, a resource, a list of tokens and a place for the locks.
unsafe extern "C" fn refresh_locks(
    db: *mut sys::dav_lockdb,
    resource: *const sys::dav_resource,
    tokens: *const sys::dav_locktoken_list,
    end: sys::time_t,
    out: *mut *mut sys::dav_lock,
) -> Outcome {
    // SAFETY: the caller's promise.
    let pool = unsafe { super::pool_of(resource) };
    let Some(refresh) = theirs().and_then(|t| t.refresh_locks) else {
        return super::error(pool, 500, NO_LOCKS);
    };
    // SAFETY: the caller's promise.
    let error = unsafe { refresh(db, resource, tokens, end, out) };
    // The resource's own were refreshed, and written down, before what refers to others was looked at.
    // SAFETY: just made by mod_dav_lock.
    let own = unsafe { refers_to_nothing(error) };
    // SAFETY: the caller's promise; mod_dav_lock sets it first of all.
    if own && !unsafe { *out }.is_null() { ptr::null_mut() } else { error }
}

/// Gives a resource more locks; what refers to another's ends with that alone.
///
/// # Safety
/// Called by mod_dav with a database that is open, a resource and a list of locks.
unsafe extern "C" fn append_locks(
    db: *mut sys::dav_lockdb,
    resource: *const sys::dav_resource,
    make_indirect: c_int,
    list: *const sys::dav_lock,
) -> Outcome {
    // SAFETY: the caller's promise.
    let pool = unsafe { super::pool_of(resource) };
    guarded(pool, "dav: append_locks", || {
        let hooks =
            theirs().and_then(|t| Some((t.append_locks?, t.get_locks?, t.find_lock?, t.remove_lock?)));
        let Some((append, get, find, remove)) = hooks else { return super::error(pool, 500, NO_LOCKS) };
        // There is not room for any number of records.
        // SAFETY: the caller's promise; the token is the record's.
        let remove = |token| unsafe { remove(db, resource, token) };
        // SAFETY: as above.
        if let Err(error) = unsafe { sort_out((get, find), db, resource, remove) } {
            return error;
        }
        if make_indirect == 0 {
            // SAFETY: the caller's promise.
            return unsafe { append(db, resource, make_indirect, list) };
        }
        // In the order of the list, which is not ours to change.
        let (mut copies, mut rest) = (Vec::new(), list);
        // SAFETY: as above.
        while let Some(lock) = unsafe { rest.as_ref() } {
            copies.push(sys::dav_lock { timeout: NO_END, next: ptr::null_mut(), ..*lock });
            rest = lock.next;
        }
        let mut next = ptr::null_mut();
        for copy in copies.iter_mut().rev() {
            copy.next = next;
            next = ptr::from_mut(copy);
        }
        // SAFETY: as above; mod_dav_lock has written the list down when it comes back.
        unsafe { append(db, resource, make_indirect, next) }
    })
}
