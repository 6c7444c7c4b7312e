//! Shared mappings that stay for the life of the process.

use crate::Error;
use core::ptr::NonNull;
use rustix::fd::AsFd;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};

/// A shared mapping. It is never unmapped, so copies of this value stay good.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mapping {
    /// Where it starts; aligned to a page.
    addr: NonNull<u8>,
    /// Bytes.
    len: usize,
}

// SAFETY: the mapping stays for ever, and those who use it touch it through atomics and mutexes only.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// New zeroed memory that children inherit by fork and share.
    ///
    /// # Errors
    /// [`Error::Errno`] from mmap(2).
    pub(crate) fn anonymous(len: usize) -> Result<Self, Error> {
        // SAFETY: no address is asked for, so nothing that is mapped already is touched.
        let p = unsafe {
            mmap_anonymous(core::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED)
        };
        Self::new(p.map_err(Error::call("mmap"))?, len)
    }

    /// The first `len` bytes of a file; the caller has made sure that it is so long and stays so.
    ///
    /// # Errors
    /// [`Error::Errno`] from mmap(2).
    pub(crate) fn file(fd: impl AsFd, len: usize, writable: bool) -> Result<Self, Error> {
        let prot = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: no address is asked for, so nothing that is mapped already is touched.
        let p = unsafe { mmap(core::ptr::null_mut(), len, prot, MapFlags::SHARED, fd, 0) };
        Self::new(p.map_err(Error::call("mmap"))?, len)
    }

    /// One that was made before, by the same process or one it was forked from.
    ///
    /// # Safety
    /// `addr` and `len` are those of a mapping of this type that is still there.
    ///
    /// # Errors
    /// [`Error::Memory`] if it cannot be one.
    pub(crate) unsafe fn attach(addr: usize, len: usize) -> Result<Self, Error> {
        if addr == 0 || !addr.is_multiple_of(64) {
            return Err(Error::Memory("address is not that of a mapping"));
        }
        Self::new(core::ptr::with_exposed_provenance_mut(addr), len)
    }

    /// Checks the pointer.
    ///
    /// # Errors
    /// [`Error::Memory`] if it is null.
    fn new(p: *mut core::ffi::c_void, len: usize) -> Result<Self, Error> {
        let addr = NonNull::new(p.cast()).ok_or(Error::Memory("mapped at address zero"))?;
        Ok(Self { addr, len })
    }

    /// Address and length as plain numbers.
    pub(crate) fn parts(self) -> (usize, usize) {
        (self.addr.as_ptr().expose_provenance(), self.len)
    }

    /// Bytes.
    pub(crate) fn len(self) -> usize {
        self.len
    }

    /// A pointer to a `T` at `offset`, if it lies inside and is aligned.
    pub(crate) fn at<T>(self, offset: usize) -> Option<NonNull<T>> {
        let end = offset.checked_add(size_of::<T>())?;
        if end > self.len || !offset.is_multiple_of(align_of::<T>()) {
            return None;
        }
        // SAFETY: `offset` lies inside the mapping.
        Some(unsafe { self.addr.add(offset) }.cast())
    }
}
