#![allow(unsafe_code, reason = "calls of the archive's vnode functions")]
//! Open files, and what is done to paths. All under the global lock, with the calling thread's own credential.
//!
//! # Safety
//! Vnodes are held while they are used ([`Held`]); buffers are as long as the transfer says; output variables are
//! local.

use crate::abi::{self, RawStat};
use crate::creds::{self, Cred};
use crate::errno::{Errno, Res, check};
use crate::lock::Glock;
use crate::place::Place;
use crate::raw::{self, Vattr, Vnode};
use crate::walk::{self, Held, Transfer};
use core::ffi::{c_int, c_void};
use std::ffi::CString;

/// Most bytes of one transfer.
const TRANSFER_MAX: usize = 1 << 30;
/// VIOCGETFID.
const GET_FID: u32 = 0x4018_5616;

/// An open file: a vnode with a reference and the credential of who opened it, with a reference.
pub(crate) struct File {
    /// The vnode.
    at: *mut Vnode,
    /// `FREAD`, `FWRITE`; 0 for a directory to work in, which the library does not know to be open.
    flags: c_int,
    /// The PAG that opened it.
    pag: u32,
    /// Its credential.
    cred: Cred,
}

impl File {
    /// Opens a file or directory.
    pub(crate) fn open(place: Place<'_>, flags: u32, mode: u32) -> Res<Self> {
        let lock = Glock::take();
        let (pag, cred) = creds::mine(&lock)?;
        if flags == abi::OPEN_DIRECTORY {
            let found = place.find(true, cred, &lock)?;
            // Of what is in a directory, each call looks itself whether it may be known or changed.
            if !found.is_dir() {
                return Err(Errno(libc::ENOTDIR));
            }
            cred.hold(&lock);
            return Ok(Self { at: found.into_raw(), flags: 0, pag, cred });
        }
        let mut how = 0;
        let mut rights = 0;
        if flags & abi::OPEN_READ != 0 {
            how |= raw::FREAD;
            rights |= raw::VREAD;
        }
        if flags & (abi::OPEN_WRITE | abi::OPEN_CREATE_NEW | abi::OPEN_TRUNCATE) != 0 {
            how |= raw::FWRITE;
            rights |= raw::VWRITE;
        }
        if how == 0 {
            return Err(Errno(libc::EINVAL));
        }
        let vnode = if flags & abi::OPEN_CREATE_NEW == 0 {
            let found = place.find(true, cred, &lock)?;
            if found.is_link() {
                return Err(Errno(libc::ELOOP));
            }
            // SAFETY: held.
            check(unsafe { raw::afs_access(found.as_ptr(), rights, cred.as_ptr()) })?;
            if flags & abi::OPEN_TRUNCATE != 0 {
                how |= raw::FTRUNC;
            }
            found
        } else {
            create(place, mode, cred, &lock)?
        };
        let mut at = vnode.as_ptr();
        // SAFETY: held.
        check(unsafe { raw::afs_open(&raw mut at, how, cred.as_ptr()) })?;
        if flags & abi::OPEN_TRUNCATE != 0 {
            // Once it is open: before, the server would hear of it at once, and what the file held would be lost
            // also where the new contents cannot be stored.
            if let Err(e) = set_size(at, 0, cred) {
                // SAFETY: held, and opened above.
                let _ = unsafe { raw::afs_close(at, how, cred.as_ptr()) };
                return Err(e);
            }
        }
        cred.hold(&lock);
        Ok(Self { at: vnode.into_raw(), flags: how, pag, cred })
    }

    /// Its vnode once more, for a thread in the PAG that opened it.
    pub(crate) fn held<'l>(&self, lock: &'l Glock) -> Res<Held<'l>> {
        let cred = self.cred(lock)?;
        Ok(Held::again(self.at, cred, lock))
    }

    /// The credential, if the calling thread is in the PAG that opened the file.
    fn cred(&self, lock: &Glock) -> Res<Cred> {
        let (pag, cred) = creds::mine(lock)?;
        if pag == self.pag { Ok(cred) } else { Err(Errno(libc::EPERM)) }
    }

    /// Closes it.
    pub(crate) fn close(self) -> Res<()> {
        let lock = Glock::take();
        let code = if self.flags == 0 {
            0
        } else {
            // SAFETY: our own reference, and opened with these flags.
            unsafe { raw::afs_close(self.at, self.flags, self.cred.as_ptr()) }
        };
        walk::release(self.at, self.cred, &lock);
        self.cred.release(&lock);
        check(code)
    }

    /// Reads at an offset; 0 at the end.
    pub(crate) fn pread(&self, buf: *mut u8, len: usize, offset: u64) -> Res<usize> {
        let lock = Glock::take();
        let cred = self.cred(&lock)?;
        if self.flags & raw::FREAD == 0 {
            return Err(Errno(libc::EBADF));
        }
        let mut t = transfer(buf, len, offset, raw::FREAD)?;
        let uio = t.uio();
        // SAFETY: held; the caller vouches for the buffer.
        check(unsafe { raw::afs_read(self.at, uio, cred.as_ptr(), 0) })?;
        Ok(t.done())
    }

    /// Writes at an offset.
    pub(crate) fn pwrite(&self, buf: *const u8, len: usize, offset: u64) -> Res<usize> {
        let lock = Glock::take();
        let cred = self.cred(&lock)?;
        if self.flags & raw::FWRITE == 0 {
            return Err(Errno(libc::EBADF));
        }
        let mut t = transfer(buf.cast_mut(), len, offset, raw::FWRITE)?;
        let uio = t.uio();
        // SAFETY: held; the caller vouches for the buffer, which is only read.
        check(unsafe { raw::afs_write(self.at, uio, self.flags, cred.as_ptr(), 0) })?;
        Ok(t.done())
    }

    /// Stores what was written.
    pub(crate) fn fsync(&self) -> Res<()> {
        let lock = Glock::take();
        let cred = self.cred(&lock)?;
        // SAFETY: held.
        check(unsafe { raw::afs_fsync(self.at, cred.as_ptr()) })
    }

    /// Cuts or extends it. The server hears of it with what is stored next.
    pub(crate) fn truncate(&self, size: u64) -> Res<()> {
        let lock = Glock::take();
        let cred = self.cred(&lock)?;
        if self.flags & raw::FWRITE == 0 {
            return Err(Errno(libc::EBADF));
        }
        set_size(self.at, size, cred)
    }

    /// Its attributes.
    pub(crate) fn stat(&self) -> Res<RawStat> {
        let lock = Glock::take();
        let cred = self.cred(&lock)?;
        attributes(self.at, cred)
    }

    /// Some names of a directory.
    pub(crate) fn read_dir(&self, cookie: &mut i64, out: &mut [u8]) -> Res<usize> {
        let lock = Glock::take();
        let cred = self.cred(&lock)?;
        if self.flags & raw::FREAD == 0 {
            // Whether its names may be read has not been asked.
            return Err(Errno(libc::EBADF));
        }
        // SAFETY: our own reference, under the lock.
        let kind = unsafe { (*self.at).v_type };
        if kind != i64::from(libc::S_IFDIR) {
            return Err(Errno(libc::ENOTDIR));
        }
        // An entry takes 16 bytes more here than there.
        let mut block = vec![0u8; out.len().min(TRANSFER_MAX)];
        let mut t = Transfer::new(block.as_mut_ptr(), block.len(), *cookie, raw::FREAD)?;
        let uio = t.uio();
        // SAFETY: held; the block is as long as said.
        check(unsafe { raw::afs_readdir(self.at, uio, cred.as_ptr()) })?;
        *cookie = t.offset();
        drop(lock);
        block.truncate(t.done());
        Ok(names(&block, out))
    }
}

/// Copies the names of a block of `struct min_direct`, each with its length before it.
fn names(block: &[u8], out: &mut [u8]) -> usize {
    const HEAD: usize = size_of::<raw::MinDirect>();
    let (mut at, mut filled) = (0, 0);
    while let Some((head, rest)) = block.get(at..).and_then(|rest| rest.split_at_checked(HEAD)) {
        // SAFETY: that many bytes are there; integers only, any alignment.
        let head = unsafe { head.as_ptr().cast::<raw::MinDirect>().read_unaligned() };
        let len = usize::from(head.d_namlen);
        let Some(name) = rest.get(..len) else { break };
        if head.d_fileno == 0 {
            break;
        }
        let Some(room) = out.get_mut(filled..filled + 2 + len) else { break };
        let (a, b) = room.split_at_mut(2);
        a.copy_from_slice(&head.d_namlen.to_ne_bytes());
        b.copy_from_slice(name);
        filled += 2 + len;
        at += (HEAD + len + 4) & !3;
    }
    filled
}

/// Describes a buffer; what is too long is cut.
fn transfer(buf: *mut u8, len: usize, offset: u64, mode: c_int) -> Res<Transfer> {
    let offset = i64::try_from(offset).map_err(|_| Errno(libc::EFBIG))?;
    Transfer::new(buf, len.min(TRANSFER_MAX), offset, mode)
}

/// Makes a file.
fn create<'l>(place: Place<'_>, mode: u32, cred: Cred, lock: &'l Glock) -> Res<Held<'l>> {
    let (dir, name) = place.parent(cred, lock)?;
    let mut attrs = new_attrs(libc::S_IFREG, mode);
    let mut out = core::ptr::null_mut();
    let mode = c_int::try_from(mode & 0o7777).unwrap_or(0);
    let (d, n, c) = (dir.as_ptr(), name.as_ptr().cast_mut(), cred.as_ptr());
    // SAFETY: the directory is held, the rest is local.
    check(unsafe { raw::afs_create(d, n, &raw mut attrs, raw::EXCL, mode, &raw mut out, c) })?;
    Held::adopt(out, cred, lock)
}

/// Attributes of something new.
fn new_attrs(kind: libc::mode_t, mode: u32) -> Vattr {
    let mut a = Vattr::null();
    a.va_type = c_int::try_from(kind).unwrap_or(0);
    a.va_mode = mode & 0o7777;
    (a.va_uid, a.va_gid) = creds::process_ids();
    a
}

/// Sets the length of a file.
fn set_size(at: *mut Vnode, size: u64, cred: Cred) -> Res<()> {
    let mut attrs = Vattr::null();
    attrs.va_mask = raw::ATTR_SIZE;
    attrs.va_size = i64::try_from(size).map_err(|_| Errno(libc::EFBIG))?;
    // SAFETY: held by the caller; the attributes are local.
    check(unsafe { raw::afs_setattr(at, &raw mut attrs, cred.as_ptr()) })
}

/// Attributes and file id of a vnode.
fn attributes(at: *mut Vnode, cred: Cred) -> Res<RawStat> {
    let mut a = Vattr::null();
    // SAFETY: held by the caller; the attributes are local.
    check(unsafe { raw::afs_getattr(at, &raw mut a, cred.as_ptr()) })?;
    let mut fid = [0u32; 4];
    handle(at, GET_FID, &[], bytes(&mut fid), cred)?;
    let [cell, volume, vnode, unique] = fid;
    Ok(RawStat {
        size: u64::try_from(a.va_size).unwrap_or(0),
        mtime: a.va_mtime.tv_sec,
        ino: a.va_nodeid,
        mode: a.va_mode,
        uid: a.va_uid,
        gid: a.va_gid,
        nlink: u32::try_from(a.va_nlink).unwrap_or(u32::MAX),
        data_version: u32::try_from(a.va_mtime.tv_usec).unwrap_or(0),
        cell,
        volume,
        vnode,
        unique,
    })
}

/// Numbers as the bytes that a pioctl writes.
fn bytes(words: &mut [u32; 4]) -> &mut [u8] {
    // SAFETY: that many bytes, any of which is a value.
    unsafe { core::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of::<[u32; 4]>()) }
}

/// A pioctl on a vnode or on none. What the pioctl writes is at the start of `out`; how much it is, it does not say.
pub(crate) fn handle(at: *mut Vnode, command: u32, input: &[u8], out: &mut [u8], cred: Cred) -> Res<()> {
    let in_size = i16::try_from(input.len()).map_err(|_| Errno(libc::E2BIG))?;
    let out_size = i16::try_from(out.len().min(0x7fff)).unwrap_or(0);
    // The library copies the input before it looks at it.
    let mut blob = raw::AfsIoctl {
        input: input.as_ptr().cast_mut().cast(),
        out: out.as_mut_ptr().cast(),
        in_size,
        out_size,
    };
    let mut cred = cred.as_ptr();
    // SAFETY: the vnode is held by the caller, buffers are as long as said; under the lock. A command that would
    // change the credential is refused before.
    check(unsafe { raw::afs_HandlePioctl(at, command.cast_signed(), &raw mut blob, 1, &raw mut cred) })
}

/// Attributes of what is somewhere.
pub(crate) fn stat(place: Place<'_>, follow: bool) -> Res<RawStat> {
    let lock = Glock::take();
    let (_, cred) = creds::mine(&lock)?;
    let at = place.find(follow, cred, &lock)?;
    attributes(at.as_ptr(), cred)
}

/// Target of a link.
pub(crate) fn readlink(place: Place<'_>) -> Res<Vec<u8>> {
    let lock = Glock::take();
    let (_, cred) = creds::mine(&lock)?;
    place.find(false, cred, &lock)?.target()
}

/// Whether the thread's PAG may do what `mode` (R_OK, W_OK, X_OK) says.
pub(crate) fn access(place: Place<'_>, mode: u32) -> Res<()> {
    let lock = Glock::take();
    let (_, cred) = creds::mine(&lock)?;
    let at = place.find(true, cred, &lock)?;
    let rights = [(libc::R_OK, raw::VREAD), (libc::W_OK, raw::VWRITE), (libc::X_OK, raw::VEXEC)]
        .iter()
        .filter(|(ask, _)| mode & ask.cast_unsigned() != 0)
        .fold(0, |sum, (_, right)| sum | right);
    // SAFETY: held.
    check(unsafe { raw::afs_access(at.as_ptr(), rights, cred.as_ptr()) })
}

/// A pioctl of a caller.
pub(crate) fn pioctl(
    place: Option<Place<'_>>,
    follow: bool,
    command: u32,
    input: &[u8],
    out: &mut [u8],
) -> Res<usize> {
    // Tokens and PAGs are not changed behind our back: numbers 3, 9, 21 of 'V' and 7, 8 of 'C'.
    if matches!((command >> 8 & 0xff, command & 0xff), (0x56, 3 | 8 | 9 | 21) | (0x43, 7 | 8)) {
        return Err(Errno(libc::EPERM));
    }
    let lock = Glock::take();
    let (_, cred) = creds::mine(&lock)?;
    match place {
        Some(place) => {
            let at = place.find(follow, cred, &lock)?;
            handle(at.as_ptr(), command, input, out, cred)?;
        }
        None => handle(core::ptr::null_mut(), command, input, out, cred)?,
    }
    Ok(out.len())
}

/// Does something with a name in its directory.
fn in_parent(place: Place<'_>, f: impl FnOnce(*mut Vnode, &CString, Cred, &Glock) -> Res<()>) -> Res<()> {
    let lock = Glock::take();
    let (_, cred) = creds::mine(&lock)?;
    let (dir, name) = place.parent(cred, &lock)?;
    f(dir.as_ptr(), &name, cred, &lock)
}

/// Makes a directory.
pub(crate) fn mkdir(place: Place<'_>, mode: u32) -> Res<()> {
    in_parent(place, |dir, name, cred, lock| {
        let mut attrs = new_attrs(libc::S_IFREG, mode);
        let mut out = core::ptr::null_mut();
        // SAFETY: the directory is held, the rest is local.
        check(unsafe {
            raw::afs_mkdir(dir, name.as_ptr().cast_mut(), &raw mut attrs, &raw mut out, cred.as_ptr())
        })?;
        Held::adopt(out, cred, lock).map(drop)
    })
}

/// Makes a symbolic link or, if `target` is of that form, a mount point.
pub(crate) fn symlink(target: &[u8], place: Place<'_>) -> Res<()> {
    let target = CString::new(target).map_err(|_| Errno(libc::EINVAL))?;
    in_parent(place, |dir, name, cred, _| {
        let mut attrs = new_attrs(libc::S_IFLNK, 0o777);
        let (n, t) = (name.as_ptr().cast_mut(), target.as_ptr().cast_mut());
        // SAFETY: the directory is held, the rest is local; no vnode is asked for.
        check(unsafe { raw::afs_symlink(dir, n, &raw mut attrs, t, core::ptr::null_mut(), cred.as_ptr()) })
    })
}

/// Removes a file or link.
pub(crate) fn unlink(place: Place<'_>) -> Res<()> {
    in_parent(place, |dir, name, cred, _| {
        // SAFETY: the directory is held, the name a copy.
        check(unsafe { raw::afs_remove(dir, name.as_ptr().cast_mut(), cred.as_ptr()) })
    })
}

/// Removes a directory.
pub(crate) fn rmdir(place: Place<'_>) -> Res<()> {
    in_parent(place, |dir, name, cred, _| {
        // SAFETY: the directory is held, the name a copy.
        let code = unsafe { raw::afs_rmdir(dir, name.as_ptr().cast_mut(), cred.as_ptr()) };
        // What servers say of a directory that is not empty.
        check(if code == libc::EEXIST { libc::ENOTEMPTY } else { code })
    })
}

/// Renames.
pub(crate) fn rename(from: Place<'_>, to: Place<'_>) -> Res<()> {
    let lock = Glock::take();
    let (_, cred) = creds::mine(&lock)?;
    let (from_dir, from) = from.parent(cred, &lock)?;
    let (to_dir, to) = to.parent(cred, &lock)?;
    let (f, t) = (from.as_ptr().cast_mut(), to.as_ptr().cast_mut());
    // SAFETY: both directories are held, the names are copies.
    check(unsafe { raw::afs_rename(from_dir.as_ptr(), f, to_dir.as_ptr(), t, cred.as_ptr()) })
}

/// Gives a PAG a token, or drops what it has.
pub(crate) fn tokens(pag: u32, command: u32, block: &[u8]) -> Res<()> {
    let lock = Glock::take();
    let cred = creds::of(pag)?;
    let mut nothing: [u8; 0] = [];
    handle(core::ptr::null_mut::<c_void>().cast(), command, block, &mut nothing, cred)?;
    drop(lock);
    Ok(())
}
