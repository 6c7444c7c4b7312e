#![allow(unsafe_code, reason = "credentials are C structures")]
//! PAGs as credentials: one for each PAG, made once, that threads point at while they are in it.
//!
//! The library's own way (`afs_setpag_val`) copies the credential of 262 KiB on each call and forgets the old one.
//! Here a change of PAG is a change of a pointer and two counters.
//! A credential of an ended PAG is kept until nobody points at it any more and is then given to a new one.
//!
//! # Safety
//! Credentials come from mmap(2) and are never given back, so that a pointer to one is always good; the table keeps
//! one reference of its own, so that the library's `crfree` never comes to 0 and frees it.
//! Counters are only changed under the global lock, by us as by the library.

use crate::errno::{Errno, Res};
use crate::lock::Glock;
use crate::raw::{self, Ucred};
use core::mem::{offset_of, size_of};
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// Highest PAG: two groups of 14 bits and a number 0 to 8 (OpenAFS `src/afs/afs_osi_pag.c`).
const PAG_MAX: u32 = 0x8fff_ffff;

/// A credential of ours.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cred(*mut Ucred);

// SAFETY: what it points to lives for ever and is changed under the global lock only.
unsafe impl Send for Cred {}

/// All credentials.
#[derive(Default)]
struct Table {
    /// Of PAGs in use.
    live: HashMap<u32, Cred>,
    /// Of ended ones.
    ended: Vec<Cred>,
}

/// The table. Taken while the global lock is held, never the other way round.
static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(|| Mutex::new(Table::default()));

/// The table; it is whole between any two statements that could panic.
fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cred {
    /// For the library.
    pub(crate) fn as_ptr(self) -> *mut Ucred {
        self.0
    }

    /// Adds a reference.
    pub(crate) fn hold(self, _lock: &Glock) {
        // SAFETY: alive for ever; under the global lock.
        unsafe { (*self.0).cr_ref += 1 };
    }

    /// Drops one that `hold` added.
    pub(crate) fn release(self, _lock: &Glock) {
        // SAFETY: as above; the table's own reference keeps it above 0.
        unsafe { (*self.0).cr_ref -= 1 };
    }

    /// References besides the table's.
    fn in_use(self, _lock: &Glock) -> bool {
        // SAFETY: as above.
        unsafe { (*self.0).cr_ref > 1 }
    }

    /// Memory for a new one. Pages that no group is written to are never touched, so it costs one page.
    fn map() -> Res<Self> {
        let rw = libc::PROT_READ | libc::PROT_WRITE;
        let how = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, nothing is replaced.
        let at = unsafe { libc::mmap(core::ptr::null_mut(), size_of::<Ucred>(), rw, how, -1, 0) };
        if at == libc::MAP_FAILED { Err(Errno(libc::ENOMEM)) } else { Ok(Self(at.cast())) }
    }

    /// Fills it in for `pag`: the user and group of the process, and no group but the PAG's two.
    fn fill(self, pag: u32, _lock: &Glock) {
        // SAFETY: nobody else has it; it is as large as the structure.
        let c = unsafe { &mut *self.0 };
        c.cr_ref = 1;
        let (uid, gid) = process_ids();
        (c.cr_uid, c.cr_ruid, c.cr_suid) = (uid.into(), uid.into(), uid.into());
        (c.cr_gid, c.cr_rgid, c.cr_sgid) = (gid.into(), gid.into(), gid.into());
        c.cr_ngroups = 2;
        let [g0, g1, ..] = &mut c.cr_groups;
        // SAFETY: writes two numbers.
        unsafe { raw::afs_get_groups_from_pag(pag, g0, g1) };
    }
}

/// Makes a PAG without tokens.
pub(crate) fn make(pag: u32, lock: &Glock) -> Res<()> {
    if pag == 0 || pag > PAG_MAX {
        return Err(Errno(libc::EINVAL));
    }
    let mut t = table();
    if t.live.contains_key(&pag) {
        return Err(Errno(libc::EEXIST));
    }
    let free = t.ended.iter().position(|c| !c.in_use(lock));
    let cred = match free {
        Some(at) => t.ended.swap_remove(at),
        None => Cred::map()?,
    };
    cred.fill(pag, lock);
    t.live.insert(pag, cred);
    Ok(())
}

/// The credential of a PAG.
pub(crate) fn of(pag: u32) -> Res<Cred> {
    table().live.get(&pag).copied().ok_or(Errno(libc::ESRCH))
}

/// Forgets a PAG. The caller has dropped its tokens.
pub(crate) fn forget(pag: u32) {
    let mut t = table();
    if let Some(c) = t.live.remove(&pag) {
        t.ended.push(c);
    }
}

/// Puts the calling thread into a PAG, and asks the library whether it is there.
pub(crate) fn enter(pag: u32, lock: &Glock) -> Res<()> {
    let cred = of(pag)?;
    let user = this_thread();
    let old = user.u_cred;
    if old == cred.0 {
        return Ok(());
    }
    cred.hold(lock);
    user.u_cred = cred.0;
    // The credential that the thread came with belongs to its user structure and is freed with it.
    // SAFETY: the pointer is only compared.
    let own = unsafe { core::ptr::from_mut(user).add(1) }.cast::<Ucred>();
    if old != own {
        Cred(old).release(lock);
    }
    if current() == pag { Ok(()) } else { Err(Errno(libc::EPERM)) }
}

/// The PAG of the calling thread as the library sees it; 0 if none of ours.
pub(crate) fn current() -> u32 {
    // SAFETY: reads the thread's own credential.
    let pag = unsafe { raw::afs_getpag_val() }.cast_unsigned();
    if pag > PAG_MAX { 0 } else { pag }
}

/// The credential of the calling thread, which must be in a PAG of ours that has not ended.
pub(crate) fn mine(_lock: &Glock) -> Res<(u32, Cred)> {
    let pag = current();
    let at = this_thread().u_cred;
    match of(pag) {
        Ok(cred) if cred.0 == at => Ok((pag, cred)),
        _ => Err(Errno(libc::EPERM)),
    }
}

/// Checks that the thread's structure is laid out as [`raw::User`] says, as far as that can be seen.
/// A thread that has not entered anything must have its own credential behind the structure, with the process's ids.
pub(crate) fn check_layout(_lock: &Glock) -> bool {
    // SAFETY: never null; at least this many bytes in any 1.8.
    let user = unsafe { raw::get_user_struct() };
    // SAFETY: as above.
    let at = unsafe { (*user).u_cred };
    // SAFETY: the pointer is only compared.
    if at != unsafe { user.add(1) }.cast::<Ucred>() || offset_of!(raw::User, u_cred) != 48 {
        return false;
    }
    // SAFETY: it is the credential that follows; nobody changes it.
    let own = unsafe { &*at };
    // SAFETY: plain calls.
    let euid = unsafe { libc::geteuid() };
    // SAFETY: as above.
    let egid = unsafe { libc::getegid() };
    let (uid, _) = process_ids();
    own.cr_uid == i64::from(euid) && own.cr_ruid == i64::from(uid) && own.cr_gid == i64::from(egid)
}

/// Real user and group of the process.
pub(crate) fn process_ids() -> (libc::uid_t, libc::gid_t) {
    // SAFETY: a plain call.
    let uid = unsafe { libc::getuid() };
    // SAFETY: as above.
    (uid, unsafe { libc::getgid() })
}

/// What the library keeps for the calling thread.
fn this_thread<'a>() -> &'a mut raw::User {
    // SAFETY: made if it is not there yet; never null.
    let at = unsafe { raw::get_user_struct() };
    // SAFETY: only this thread uses it, and no two of these references are used at a time.
    unsafe { &mut *at }
}
