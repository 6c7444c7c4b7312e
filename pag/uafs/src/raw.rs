#![allow(unsafe_code, reason = "declarations of the archive's functions")]
//! The archive's functions and structures, as far as they are used.
//!
//! # Safety
//! No package has these prototypes; they are those of OpenAFS 1.8 (`src/afs/UKERNEL/sysincludes.h`,
//! `src/afs/afs_prototypes.h`, read at 1.8.9). The 1.8 series keeps them; `start` checks what can be checked of the
//! layouts ([`crate::creds::check_layout`], [`crate::walk::check_layout`]) before anything is built on them.
//! All functions of the cache manager need the global lock ([`crate::lock`]).

use core::ffi::{c_char, c_int, c_long, c_short, c_uint, c_ulong, c_void};

/// How many groups a credential has room for (`NGROUPS_MAX`).
pub(crate) const NGROUPS: usize = 65_536;

/// `struct usr_ucred`.
#[repr(C)]
pub(crate) struct Ucred {
    /// References, changed under the global lock.
    pub(crate) cr_ref: c_ulong,
    /// Effective user.
    pub(crate) cr_uid: c_long,
    /// Effective group.
    pub(crate) cr_gid: c_long,
    /// Real user.
    pub(crate) cr_ruid: c_long,
    /// Real group.
    pub(crate) cr_rgid: c_long,
    /// Saved user.
    pub(crate) cr_suid: c_long,
    /// Saved group.
    pub(crate) cr_sgid: c_long,
    /// Groups in use.
    pub(crate) cr_ngroups: c_long,
    /// The first two hold the PAG.
    pub(crate) cr_groups: [libc::gid_t; NGROUPS],
}

/// `struct usr_user`: what the library keeps for a thread. A fresh one is followed by a credential of its own.
#[repr(C)]
pub(crate) struct User {
    /// Error of the last call.
    u_error: c_int,
    /// Unused.
    u_prio: c_int,
    /// Arguments of the last call.
    u_ap: *mut c_char,
    /// Unused.
    u_rval1: c_int,
    /// Unused.
    u_viceid: c_long,
    /// Unused.
    u_expiration: c_ulong,
    /// The process.
    u_procp: *mut c_void,
    /// The credential.
    pub(crate) u_cred: *mut Ucred,
    /// Result of the last call.
    u_r: c_int,
}

/// `struct usr_vnode`, the head of each `struct vcache`.
#[repr(C)]
pub(crate) struct Vnode {
    /// Unused.
    v_flag: u16,
    /// References, changed under the global lock.
    pub(crate) v_count: c_ulong,
    /// Operations.
    v_op: *mut c_void,
    /// File system.
    v_vfsp: *mut c_void,
    /// Type, as in the mode of stat(2).
    pub(crate) v_type: c_long,
    /// Unused.
    v_rdev: c_ulong,
    /// Unused.
    v_data: *mut c_char,
}

/// `struct usr_vattr`.
#[repr(C)]
pub(crate) struct Vattr {
    /// What to set: [`ATTR_SIZE`].
    pub(crate) va_mask: c_int,
    /// Type.
    pub(crate) va_type: c_int,
    /// Mode.
    pub(crate) va_mode: libc::mode_t,
    /// Owner.
    pub(crate) va_uid: libc::uid_t,
    /// Group.
    pub(crate) va_gid: libc::gid_t,
    /// Unused.
    va_fsid: c_int,
    /// Inode number.
    pub(crate) va_nodeid: libc::ino_t,
    /// Links.
    pub(crate) va_nlink: libc::nlink_t,
    /// Length.
    pub(crate) va_size: i64,
    /// Same as `va_mtime`.
    va_atime: libc::timeval,
    /// Time of the last change; microseconds: low 19 bits of the data version.
    pub(crate) va_mtime: libc::timeval,
    /// Same as `va_mtime`.
    va_ctime: libc::timeval,
    /// Unused.
    va_rdev: libc::dev_t,
    /// Unused.
    va_blocksize: c_ulong,
    /// Unused.
    va_blocks: libc::fsblkcnt_t,
    /// Unused.
    va_vcode: c_ulong,
}

/// [`Vattr::va_mask`]: the length.
pub(crate) const ATTR_SIZE: c_int = 1 << 4;

/// `struct usr_uio`: where data goes to or comes from.
#[repr(C)]
pub(crate) struct Uio {
    /// Buffers.
    pub(crate) uio_iov: *mut libc::iovec,
    /// Their number.
    pub(crate) uio_iovcnt: c_int,
    /// Offset in the file.
    pub(crate) uio_offset: c_long,
    /// Unused.
    pub(crate) uio_segflg: c_int,
    /// [`FREAD`] or [`FWRITE`].
    pub(crate) uio_fmode: c_short,
    /// Bytes left.
    pub(crate) uio_resid: c_int,
}

/// For reading.
pub(crate) const FREAD: c_int = 0x0001;
/// For writing.
pub(crate) const FWRITE: c_int = 0x0800;
/// Truncates.
pub(crate) const FTRUNC: c_int = 0x0400;

/// Right to read, in `afs_access`.
pub(crate) const VREAD: i32 = 0o400;
/// Right to write.
pub(crate) const VWRITE: i32 = 0o200;
/// Right to search.
pub(crate) const VEXEC: i32 = 0o100;

/// `enum usr_vcexcl`: it must not exist.
pub(crate) const EXCL: c_uint = 1;

/// `struct afs_ioctl`.
#[repr(C)]
pub(crate) struct AfsIoctl {
    /// Input.
    pub(crate) input: *mut c_char,
    /// Output.
    pub(crate) out: *mut c_char,
    /// Length of the input.
    pub(crate) in_size: c_short,
    /// Room for output.
    pub(crate) out_size: c_short,
}

/// `struct min_direct`, an entry of `afs_readdir`; the name follows.
#[repr(C)]
pub(crate) struct MinDirect {
    /// Inode number; 0 ends a block.
    pub(crate) d_fileno: c_ulong,
    /// Unused.
    d_reclen: u16,
    /// Length of the name.
    pub(crate) d_namlen: u16,
}

unsafe extern "C" {
    /// The lock around everything.
    pub(crate) static mut afs_global_lock: libc::pthread_mutex_t;
    /// Who has it.
    pub(crate) static mut afs_global_owner: libc::pthread_t;
    /// Seconds until a silent server counts as down.
    pub(crate) static mut afs_rx_deadtime: i32;
    /// Upper limit of calls to volume location servers, in seconds.
    pub(crate) static mut afs_rx_harddead: i32;
    /// Seconds without progress until a call ends.
    pub(crate) static mut afs_rx_idledead: i32;
    /// The same for replicated volumes.
    pub(crate) static mut afs_rx_idledead_rep: i32;

    /// Seconds before a call that a server calls busy is made again.
    pub(crate) static mut afs_BusyWaitPeriod: c_int;

    pub(crate) fn uafs_Setup(mount: *const c_char) -> c_int;
    pub(crate) fn uafs_ParseArgs(argc: c_int, argv: *mut *mut c_char) -> c_int;
    pub(crate) fn uafs_Run() -> c_int;
    pub(crate) fn uafs_LookupName(
        path: *mut c_char,
        parent: *mut Vnode,
        out: *mut *mut Vnode,
        follow: c_int,
        no_eval_mtpt: c_int,
    ) -> c_int;
    pub(crate) fn get_user_struct() -> *mut User;
    pub(crate) fn afs_get_groups_from_pag(pag: u32, g0: *mut libc::gid_t, g1: *mut libc::gid_t);
    pub(crate) fn afs_getpag_val() -> c_int;
    pub(crate) fn afs_inactive(vc: *mut Vnode, cred: *mut Ucred) -> c_int;
    pub(crate) fn afs_access(vc: *mut Vnode, mode: i32, cred: *mut Ucred) -> c_int;
    pub(crate) fn afs_getattr(vc: *mut Vnode, attrs: *mut Vattr, cred: *mut Ucred) -> c_int;
    pub(crate) fn afs_setattr(vc: *mut Vnode, attrs: *mut Vattr, cred: *mut Ucred) -> c_int;
    pub(crate) fn afs_open(vc: *mut *mut Vnode, flags: i32, cred: *mut Ucred) -> c_int;
    pub(crate) fn afs_close(vc: *mut Vnode, flags: i32, cred: *mut Ucred) -> c_int;
    pub(crate) fn afs_fsync(vc: *mut Vnode, cred: *mut Ucred) -> c_int;
    pub(crate) fn afs_read(vc: *mut Vnode, uio: *mut Uio, cred: *mut Ucred, no_lock: c_int) -> c_int;
    pub(crate) fn afs_write(
        vc: *mut Vnode,
        uio: *mut Uio,
        flags: c_int,
        cred: *mut Ucred,
        no_lock: c_int,
    ) -> c_int;
    pub(crate) fn afs_readdir(vc: *mut Vnode, uio: *mut Uio, cred: *mut Ucred) -> c_int;
    pub(crate) fn afs_readlink(vc: *mut Vnode, uio: *mut Uio, cred: *mut Ucred) -> c_int;
    pub(crate) fn afs_create(
        dir: *mut Vnode,
        name: *mut c_char,
        attrs: *mut Vattr,
        excl: c_uint,
        mode: c_int,
        out: *mut *mut Vnode,
        cred: *mut Ucred,
    ) -> c_int;
    pub(crate) fn afs_mkdir(
        dir: *mut Vnode,
        name: *mut c_char,
        attrs: *mut Vattr,
        out: *mut *mut Vnode,
        cred: *mut Ucred,
    ) -> c_int;
    pub(crate) fn afs_symlink(
        dir: *mut Vnode,
        name: *mut c_char,
        attrs: *mut Vattr,
        target: *mut c_char,
        out: *mut *mut Vnode,
        cred: *mut Ucred,
    ) -> c_int;
    pub(crate) fn afs_remove(dir: *mut Vnode, name: *mut c_char, cred: *mut Ucred) -> c_int;
    pub(crate) fn afs_rmdir(dir: *mut Vnode, name: *mut c_char, cred: *mut Ucred) -> c_int;
    pub(crate) fn afs_rename(
        from_dir: *mut Vnode,
        from: *mut c_char,
        to_dir: *mut Vnode,
        to: *mut c_char,
        cred: *mut Ucred,
    ) -> c_int;
    pub(crate) fn afs_FlushVCBs(lockit: c_int) -> c_int;
    pub(crate) fn afs_HandlePioctl(
        vc: *mut Vnode,
        command: i32,
        blob: *mut AfsIoctl,
        follow: c_int,
        cred: *mut *mut Ucred,
    ) -> c_int;
}

impl Vattr {
    /// Attributes of which none is to be set: all bits one, as `usr_vattr_null` leaves them.
    pub(crate) fn null() -> Self {
        // SAFETY: integers only; any bits are a value.
        let mut v: Self = unsafe { core::mem::zeroed() };
        // SAFETY: `v` has that many bytes.
        unsafe { core::ptr::write_bytes(&raw mut v, 0xff, 1) };
        v
    }
}
