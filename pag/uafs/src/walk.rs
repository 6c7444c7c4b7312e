#![allow(unsafe_code, reason = "vnodes are C structures")]
//! From a path to a vnode, component by component.
//!
//! The library's own walk follows symbolic links by recursion without a limit, so that a link to itself, which any
//! author in the cell can make, overflows the stack; and each `..` at the root loses a reference of the root.
//! Here links are counted, the root is known, and the library only ever looks up one component without following.
//!
//! # Safety
//! A [`Held`] owns one reference of its vnode and is only made and dropped under the global lock.

use crate::creds::Cred;
use crate::errno::{Errno, Res, check};
use crate::lock::Glock;
use crate::raw::{self, Vnode};
use core::ffi::{CStr, c_int};
use std::ffi::CString;
use std::sync::OnceLock;

/// Longest path in bytes, and longest target of a link.
const PATH_MAX: usize = 4_096;
/// Longest name in bytes.
const NAME_MAX: usize = 255;
/// Most links followed in one walk.
const LINKS_MAX: u32 = 25;

/// The mount directory, canonical, without a slash at the end.
static MOUNT: OnceLock<CString> = OnceLock::new();

/// Sets the mount directory.
pub(crate) fn set_mount(dir: &CStr) {
    let _ = MOUNT.set(dir.to_owned());
}

/// A vnode with a reference.
pub(crate) struct Held<'l> {
    /// The vnode.
    at: *mut Vnode,
    /// Whose rights the library uses when it puts the vnode away.
    cred: Cred,
    /// Proof of the lock.
    lock: &'l Glock,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        release(self.at, self.cred, self.lock);
    }
}

/// Drops one reference of a vnode, as the library's `VN_RELE` does.
pub(crate) fn release(at: *mut Vnode, cred: Cred, _lock: &Glock) {
    // SAFETY: the caller owns a reference, so the vnode is alive; under the global lock.
    let vnode = unsafe { &mut *at };
    vnode.v_count -= 1;
    let left = vnode.v_count;
    if left == 0 {
        // SAFETY: as above.
        unsafe { raw::afs_inactive(at, cred.as_ptr()) };
    }
}

impl<'l> Held<'l> {
    /// Takes over a reference that the library gave.
    pub(crate) fn adopt(at: *mut Vnode, cred: Cred, lock: &'l Glock) -> Res<Self> {
        if at.is_null() { Err(Errno(libc::EIO)) } else { Ok(Self { at, cred, lock }) }
    }

    /// Takes a reference of its own of a vnode that is held elsewhere, as the library's `VN_HOLD` does.
    pub(crate) fn again(at: *mut Vnode, cred: Cred, lock: &'l Glock) -> Self {
        // SAFETY: the caller holds a reference, so the vnode is alive; under the global lock.
        unsafe { (*at).v_count += 1 };
        Self { at, cred, lock }
    }

    /// For the library.
    pub(crate) fn as_ptr(&self) -> *mut Vnode {
        self.at
    }

    /// Gives the reference away.
    pub(crate) fn into_raw(self) -> *mut Vnode {
        core::mem::ManuallyDrop::new(self).at
    }

    /// Its type, as in the mode of stat(2).
    fn kind(&self) -> libc::mode_t {
        // SAFETY: alive, under the lock.
        let t = unsafe { (*self.at).v_type };
        libc::mode_t::try_from(t).unwrap_or(0) & libc::S_IFMT
    }

    /// Whether it is a directory.
    pub(crate) fn is_dir(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }

    /// Whether it is a symbolic link.
    pub(crate) fn is_link(&self) -> bool {
        self.kind() == libc::S_IFLNK
    }

    /// The entry `name` of this directory; mount points are crossed, links not followed.
    fn lookup(&self, name: &[u8]) -> Res<Held<'l>> {
        let name = component(name)?;
        lookup_name(&name, self.at, self.cred, self.lock)
    }

    /// Where a symbolic link points to.
    pub(crate) fn target(&self) -> Res<Vec<u8>> {
        if !self.is_link() {
            return Err(Errno(libc::EINVAL));
        }
        let mut buf = vec![0u8; PATH_MAX];
        let mut transfer = Transfer::new(buf.as_mut_ptr(), buf.len(), 0, raw::FREAD)?;
        let uio = transfer.uio();
        // SAFETY: the vnode is alive, the buffer as long as the uio says; under the lock.
        check(unsafe { raw::afs_readlink(self.at, uio, self.cred.as_ptr()) })?;
        buf.truncate(transfer.done());
        Ok(buf)
    }
}

/// One component as the library wants it.
fn component(name: &[u8]) -> Res<CString> {
    if name.len() > NAME_MAX {
        return Err(Errno(libc::ENAMETOOLONG));
    }
    if name.is_empty() || name.contains(&b'/') {
        return Err(Errno(libc::EINVAL));
    }
    CString::new(name).map_err(|_| Errno(libc::EINVAL))
}

/// The library's lookup of one component, or of the mount directory.
fn lookup_name<'l>(name: &CStr, parent: *mut Vnode, cred: Cred, lock: &'l Glock) -> Res<Held<'l>> {
    let mut out = core::ptr::null_mut();
    const NO: c_int = 0;
    // SAFETY: the text is copied before it is changed; `parent` is held by the caller; under the lock.
    check(unsafe { raw::uafs_LookupName(name.as_ptr().cast_mut(), parent, &raw mut out, NO, NO) })?;
    Held::adopt(out, cred, lock)
}

/// The root of AFS.
fn root(cred: Cred, lock: &Glock) -> Res<Held<'_>> {
    let mount = MOUNT.get().ok_or(Errno(libc::ENODEV))?;
    lookup_name(mount, core::ptr::null_mut(), cred, lock)
}

/// What is left of an absolute path behind the mount directory.
fn below_mount(path: &[u8]) -> Res<Vec<Vec<u8>>> {
    let mount = MOUNT.get().ok_or(Errno(libc::ENODEV))?.to_bytes();
    let mut rest = parts(path);
    for m in parts(mount) {
        // "/afs/.." never gets here: the root of AFS is its own parent.
        if rest.first() != Some(&m) {
            return Err(Errno(libc::ENOENT));
        }
        rest.remove(0);
    }
    Ok(rest)
}

/// The components of a path, without empty ones and ".".
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".").map(<[u8]>::to_vec).collect()
}

/// Whether a path can only mean a directory.
fn wants_dir(path: &[u8]) -> bool {
    path.ends_with(b"/") || path.ends_with(b"/.") || path == b"."
}

/// Refuses what is no path.
fn check_path(path: &[u8]) -> Res<()> {
    match path {
        [] => Err(Errno(libc::ENOENT)),
        p if p.len() > PATH_MAX => Err(Errno(libc::ENAMETOOLONG)),
        p if p.contains(&0) || !p.starts_with(b"/") => Err(Errno(libc::EINVAL)),
        _ => Ok(()),
    }
}

/// Walks to what an absolute path names; a link at its end is followed if `follow`.
pub(crate) fn walk<'l>(path: &[u8], follow: bool, cred: Cred, lock: &'l Glock) -> Res<Held<'l>> {
    check_path(path)?;
    let mut must_be_dir = wants_dir(path);
    let mut todo = below_mount(path)?;
    todo.reverse();
    let mut at = root(cred, lock)?;
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if !at.is_dir() {
            return Err(Errno(libc::ENOTDIR));
        }
        // The root is its own parent. The library's lookup knows that, but gives out its root without a reference.
        if name == b".." && at.at == root(cred, lock)?.at {
            continue;
        }
        let next = at.lookup(&name)?;
        let last = todo.is_empty();
        if !next.is_link() || (last && !follow && !must_be_dir) {
            at = next;
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            return Err(Errno(libc::ELOOP));
        }
        let target = next.target()?;
        if target.is_empty() {
            return Err(Errno(libc::ENOENT));
        }
        if last && wants_dir(&target) {
            must_be_dir = true;
        }
        let absolute = target.starts_with(b"/");
        let more = if absolute { below_mount(&target)? } else { parts(&target) };
        if absolute {
            at = root(cred, lock)?;
        }
        todo.extend(more.into_iter().rev());
        if todo.len() > PATH_MAX {
            return Err(Errno(libc::ENAMETOOLONG));
        }
    }
    if must_be_dir && !at.is_dir() {
        return Err(Errno(libc::ENOTDIR));
    }
    Ok(at)
}

/// Walks to the directory in which the last component of a path stands; also gives that component.
pub(crate) fn parent<'l>(path: &[u8], cred: Cred, lock: &'l Glock) -> Res<(Held<'l>, CString)> {
    check_path(path)?;
    let end = path.iter().rposition(|b| *b != b'/').map_or(0, |i| i + 1);
    let (dir, name) =
        path.split_at(path.get(..end).and_then(|p| p.iter().rposition(|b| *b == b'/')).unwrap_or(0));
    let name = self::name(name.get(1..).and_then(|n| n.split(|b| *b == b'/').next()).unwrap_or_default())?;
    let dir = walk(if dir.is_empty() { b"/" } else { dir }, true, cred, lock)?;
    if dir.is_dir() { Ok((dir, name)) } else { Err(Errno(libc::ENOTDIR)) }
}

/// A name that something in a directory can have.
pub(crate) fn name(name: &[u8]) -> Res<CString> {
    if name == b"." || name == b".." { Err(Errno(libc::EINVAL)) } else { component(name) }
}

/// The entry `name` of a directory, or with `..` the directory above it; links are not followed. Above the root of AFS there is
/// nothing.
pub(crate) fn step<'l>(dir: &Held<'l>, name: &[u8]) -> Res<Held<'l>> {
    if !dir.is_dir() {
        return Err(Errno(libc::ENOTDIR));
    }
    // As in `walk`: the library gives out its root without a reference there.
    if name == b".." && dir.at == root(dir.cred, dir.lock)?.at {
        return Err(Errno(libc::ENOENT));
    }
    if name == b"." { Err(Errno(libc::EINVAL)) } else { dir.lookup(name) }
}

/// The root must be a directory by its vnode and by its attributes.
pub(crate) fn check_layout(cred: Cred, lock: &Glock) -> bool {
    let Ok(root) = root(cred, lock) else { return false };
    let mut attrs = raw::Vattr::null();
    // SAFETY: alive; the attributes are ours; under the lock.
    let code = unsafe { raw::afs_getattr(root.as_ptr(), &raw mut attrs, cred.as_ptr()) };
    // SAFETY: alive, under the lock.
    let count = unsafe { (*root.as_ptr()).v_count };
    // A root that cannot be reached is no fault of the layout; a directory cannot be anything else.
    root.is_dir()
        && (1..1_000_000).contains(&count)
        && (code != 0 || attrs.va_mode & libc::S_IFMT == libc::S_IFDIR)
}

/// One buffer for the library to fill or to empty.
pub(crate) struct Transfer {
    /// The buffer.
    iov: libc::iovec,
    /// Its description.
    uio: raw::Uio,
    /// Bytes at first.
    len: usize,
}

impl Transfer {
    /// Describes `len` bytes at `buf`, for `offset` in the file.
    pub(crate) fn new(buf: *mut u8, len: usize, offset: i64, mode: c_int) -> Res<Self> {
        let invalid = |_| Errno(libc::EINVAL);
        let resid = c_int::try_from(len).map_err(invalid)?;
        let mode = i16::try_from(mode).map_err(invalid)?;
        if offset < 0 {
            return Err(Errno(libc::EINVAL));
        }
        Ok(Self {
            iov: libc::iovec { iov_base: buf.cast(), iov_len: len },
            uio: raw::Uio {
                uio_iov: core::ptr::null_mut(),
                uio_iovcnt: 1,
                uio_offset: offset,
                uio_segflg: 0,
                uio_fmode: mode,
                uio_resid: resid,
            },
            len,
        })
    }

    /// For the library; the value must stay where it is until the call is over.
    pub(crate) fn uio(&mut self) -> *mut raw::Uio {
        self.uio.uio_iov = &raw mut self.iov;
        &raw mut self.uio
    }

    /// Bytes that went through, by the space left in the buffer.
    /// (`afs_readdir` sets the count of bytes left to 0 without having filled them.)
    pub(crate) fn done(&self) -> usize {
        self.len.saturating_sub(self.iov.iov_len)
    }

    /// Offset behind them.
    pub(crate) fn offset(&self) -> i64 {
        self.uio.uio_offset
    }
}
