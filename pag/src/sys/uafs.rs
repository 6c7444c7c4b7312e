#![allow(clippy::missing_errors_doc, reason = "an error is the errno of the object's function")]
//! The shared object around libuafs: loading it, and a safe function for each of its own.
//!
//! # Safety
//! The object is trusted code: who may write to its file may do anything. Its table has the layout of `abi.rs`,
//! which is checked by version and size. It is never unloaded, since it leaves threads behind, so its functions are
//! good for ever. All of them may be called in any thread; before `start` has succeeded they return ENODEV.
//! Slices are valid for their lengths while they are borrowed.

use super::abi::{self, RawFile, RawStat, StartConfig, Table};
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr;

/// How the client starts; see `abi::StartConfig`.
#[derive(Debug)]
pub(crate) struct Start {
    /// Configuration directory.
    pub(crate) conf_dir: CString,
    /// Mount directory.
    pub(crate) mount_dir: CString,
    /// Cache directory; `None`: in memory.
    pub(crate) cache_dir: Option<CString>,
    /// Cache size in KiB.
    pub(crate) cache_kib: u32,
    /// Stat cache entries.
    pub(crate) stat_entries: u32,
    /// Volume cache entries.
    pub(crate) volumes: u32,
    /// Background threads.
    pub(crate) daemons: u32,
    /// Seconds until a silent server counts as down.
    pub(crate) dead_s: u32,
    /// Seconds without progress until a call ends.
    pub(crate) idle_s: u32,
    /// UDP ports to choose from, first and last.
    pub(crate) ports: (u16, u16),
}

/// The loaded object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Object(&'static Table);

/// A negative errno or a count.
fn count(n: isize) -> Result<usize, i32> {
    usize::try_from(n).map_err(|_| i32::try_from(n.unsigned_abs()).unwrap_or(libc::EIO))
}

/// 0 or a negative errno.
fn done(n: i32) -> Result<(), i32> {
    if n == 0 { Ok(()) } else { Err(n.saturating_neg()) }
}

/// What a call says, or what it says the second time where the first answer is that the PAG may not.
///
/// A file server that finds another client at this one's port makes a new record of it, and as long as the old one is in use
/// its callers have no rights (OpenAFS `src/viced/afsfileprocs.c`, `client_CheckRights`). The next call is by the new one.
/// What writes or closes is made once: what it had to store is lost where the answer is no. Nothing else has been done then, but for
/// mkdir, which also says no where only the look at the new directory was refused: the second call says EEXIST then, as it does
/// where something was there before.
fn again<T: Copy + PartialEq>(refusal: T, mut call: impl FnMut() -> T) -> T {
    let answer = call();
    if answer == refusal { call() } else { answer }
}

/// [`done`] of a call that may be made twice.
fn asked(call: impl FnMut() -> i32) -> Result<(), i32> {
    done(again(-libc::EACCES, call))
}

/// [`count`] of a call that may be made twice.
fn counted(call: impl FnMut() -> isize) -> Result<usize, i32> {
    count(again(-(libc::EACCES as isize), call))
}

/// What a call is about: an absolute path, or a name in an open directory (nothing: the directory itself).
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<'a> {
    /// The directory.
    dir: Option<&'a Handle>,
    /// Path or name.
    path: &'a [u8],
}

impl<'a> At<'a> {
    /// An absolute path.
    pub(crate) fn path(path: &'a [u8]) -> Self {
        Self { dir: None, path }
    }

    /// A name in a directory.
    pub(crate) fn name(dir: &'a Handle, name: &'a [u8]) -> Self {
        Self { dir: Some(dir), path: name }
    }

    /// As the object takes it; good as long as what was borrowed.
    fn raw(self) -> (*mut RawFile, *const u8, usize) {
        (self.dir.map_or(ptr::null_mut(), |dir| dir.at), self.path.as_ptr(), self.path.len())
    }
}

impl Object {
    /// Loads the object; the text says why it cannot be.
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
        // SAFETY: trusted code; its initialisers are those of Rust and of C libraries.
        let library =
            unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|e| e.to_string())?;
        // SAFETY: the symbol has this type in every version.
        let entry = unsafe { library.get::<abi::Entry>(abi::ENTRY) }.map_err(|e| e.to_string())?;
        // SAFETY: takes nothing.
        let table = unsafe { entry() };
        // Never unloaded: the client's threads run in it.
        let _ = library.into_raw();
        // SAFETY: the table is a static of the object; its first two fields are the same in every version.
        let version = unsafe { (*table).abi };
        // SAFETY: as above.
        let size = unsafe { (*table).size };
        if version != abi::ABI || u32::try_from(size_of::<Table>()) != Ok(size) {
            return Err(format!("interface {version} of {size} bytes is not the one of this build"));
        }
        // SAFETY: a static of the object, which stays loaded; version and size agree.
        unsafe { table.as_ref() }.map(Self).ok_or_else(|| "no table".to_owned())
    }

    /// Starts the client.
    pub(crate) fn start(self, s: &Start) -> Result<(), i32> {
        let config = StartConfig {
            conf_dir: s.conf_dir.as_ptr(),
            mount_dir: s.mount_dir.as_ptr(),
            cache_dir: s.cache_dir.as_ref().map_or(ptr::null(), |c| c.as_ptr()),
            cache_kib: s.cache_kib,
            chunk_log2: 0,
            stat_entries: s.stat_entries,
            volumes: s.volumes,
            daemons: s.daemons,
            dead_s: s.dead_s,
            idle_s: s.idle_s,
            hard_s: s.dead_s,
            // Without a dynamic root the library asserts that root.afs can be reached.
            flags: abi::START_DYNROOT,
            port_first: s.ports.0,
            port_last: s.ports.1,
        };
        // SAFETY: texts that live until the call is over.
        done(unsafe { (self.0.start)(&raw const config) })
    }

    /// Makes a PAG.
    pub(crate) fn pag_make(self, pag: u32) -> Result<(), i32> {
        // SAFETY: a number.
        done(unsafe { (self.0.pag_make)(pag) })
    }

    /// Ends a PAG.
    pub(crate) fn pag_end(self, pag: u32) -> Result<(), i32> {
        // SAFETY: a number.
        done(unsafe { (self.0.pag_end)(pag) })
    }

    /// Gives a PAG a token.
    pub(crate) fn pag_set_token(self, pag: u32, block: &[u8]) -> Result<(), i32> {
        // SAFETY: a slice.
        done(unsafe { (self.0.pag_set_token)(pag, block.as_ptr(), block.len()) })
    }

    /// Drops a PAG's tokens.
    pub(crate) fn pag_unlog(self, pag: u32) -> Result<(), i32> {
        // SAFETY: a number.
        done(unsafe { (self.0.pag_unlog)(pag) })
    }

    /// Puts the calling thread into a PAG.
    pub(crate) fn enter(self, pag: u32) -> Result<(), i32> {
        // SAFETY: a number.
        done(unsafe { (self.0.enter)(pag) })
    }

    /// The calling thread's PAG; 0: none.
    pub(crate) fn current(self) -> u32 {
        // SAFETY: takes nothing.
        unsafe { (self.0.current)() }
    }

    /// Opens a file.
    pub(crate) fn open(self, at: At<'_>, flags: u32, mode: u32) -> Result<Handle, i32> {
        let (dir, path, len) = at.raw();
        let mut out = ptr::null_mut();
        // SAFETY: an open directory or none, a slice and a variable.
        asked(|| unsafe { (self.0.open)(dir, path, len, flags, mode, &raw mut out) })?;
        Ok(Handle { at: out, object: self })
    }

    /// Attributes of what is somewhere.
    pub(crate) fn stat(self, at: At<'_>, follow: bool) -> Result<RawStat, i32> {
        let (dir, path, len) = at.raw();
        let mut out = RawStat::default();
        // SAFETY: an open directory or none, a slice and a variable.
        asked(|| unsafe { (self.0.stat)(dir, path, len, u32::from(follow), &raw mut out) })?;
        Ok(out)
    }

    /// Target of a link.
    pub(crate) fn readlink(self, at: At<'_>) -> Result<Vec<u8>, i32> {
        let (dir, path, len) = at.raw();
        let mut out = vec![0; 4_096];
        // SAFETY: an open directory or none, and two slices.
        let n = counted(|| unsafe { (self.0.readlink)(dir, path, len, out.as_mut_ptr(), out.len()) })?;
        out.truncate(n);
        Ok(out)
    }

    /// access(2).
    pub(crate) fn access(self, at: At<'_>, mode: u32) -> Result<(), i32> {
        let (dir, path, len) = at.raw();
        // SAFETY: an open directory or none, and a slice.
        asked(|| unsafe { (self.0.access)(dir, path, len, mode) })
    }

    /// A pioctl; its answer is at the start of `out`.
    pub(crate) fn pioctl(
        self,
        at: Option<At<'_>>,
        follow: bool,
        command: u32,
        input: &[u8],
        out: &mut [u8],
    ) -> Result<(), i32> {
        let (dir, path, len) = at.map_or((ptr::null_mut(), ptr::null(), 0), At::raw);
        let follow = u32::from(follow);
        let (i, il, o, ol) = (input.as_ptr().cast(), input.len(), out.as_mut_ptr().cast(), out.len());
        // SAFETY: an open directory or none, and slices, or null for no path.
        counted(|| unsafe { (self.0.pioctl)(dir, path, len, follow, command, i, il, o, ol) }).map(drop)
    }

    /// Makes a directory.
    pub(crate) fn mkdir(self, at: At<'_>, mode: u32) -> Result<(), i32> {
        let (dir, path, len) = at.raw();
        // SAFETY: an open directory or none, and a slice.
        asked(|| unsafe { (self.0.mkdir)(dir, path, len, mode) })
    }

    /// Makes a link or mount point.
    pub(crate) fn symlink(self, target: &[u8], at: At<'_>) -> Result<(), i32> {
        let (dir, path, len) = at.raw();
        // SAFETY: an open directory or none, and two slices.
        asked(|| unsafe { (self.0.symlink)(target.as_ptr(), target.len(), dir, path, len) })
    }

    /// Removes a file.
    pub(crate) fn unlink(self, at: At<'_>) -> Result<(), i32> {
        let (dir, path, len) = at.raw();
        // SAFETY: an open directory or none, and a slice.
        asked(|| unsafe { (self.0.unlink)(dir, path, len) })
    }

    /// Removes a directory.
    pub(crate) fn rmdir(self, at: At<'_>) -> Result<(), i32> {
        let (dir, path, len) = at.raw();
        // SAFETY: an open directory or none, and a slice.
        asked(|| unsafe { (self.0.rmdir)(dir, path, len) })
    }

    /// Renames.
    pub(crate) fn rename(self, from: At<'_>, to: At<'_>) -> Result<(), i32> {
        let ((d, f, n), (e, t, m)) = (from.raw(), to.raw());
        // SAFETY: open directories or none, and two slices.
        asked(|| unsafe { (self.0.rename)(d, f, n, e, t, m) })
    }

    /// Gives callbacks back.
    pub(crate) fn give_up_callbacks(self) -> Result<(), i32> {
        // SAFETY: takes nothing.
        done(unsafe { (self.0.give_up_callbacks)() })
    }
}

/// An open file; closed when dropped.
#[derive(Debug)]
pub(crate) struct Handle {
    /// The object's file; null once closed.
    at: *mut RawFile,
    /// Whose it is.
    object: Object,
}

// SAFETY: the object's functions take files of any thread, and its own lock orders them.
unsafe impl Send for Handle {}
// SAFETY: as above; nothing is changed through `&Handle` on this side.
unsafe impl Sync for Handle {}

impl Handle {
    /// The object that it was opened by.
    pub(crate) fn object(&self) -> Object {
        self.object
    }

    /// Reads at an offset.
    pub(crate) fn pread(&self, buf: &mut [u8], offset: u64) -> Result<usize, i32> {
        // SAFETY: open; a slice.
        counted(|| unsafe { (self.object.0.pread)(self.at, buf.as_mut_ptr(), buf.len(), offset) })
    }

    /// The same into memory that holds nothing yet: gives the part that was read.
    pub(crate) fn pread_uninit<'b>(
        &self,
        buf: &'b mut [MaybeUninit<u8>],
        offset: u64,
    ) -> Result<&'b mut [u8], i32> {
        // SAFETY: open; a slice, which is only written to.
        let n = counted(|| unsafe {
            (self.object.0.pread)(self.at, buf.as_mut_ptr().cast(), buf.len(), offset)
        })?;
        let read = buf.get_mut(..n).ok_or(libc::EIO)?;
        // SAFETY: the client has written so many bytes.
        Ok(unsafe { &mut *(core::ptr::from_mut(read) as *mut [u8]) })
    }

    /// Writes at an offset.
    pub(crate) fn pwrite(&self, buf: &[u8], offset: u64) -> Result<usize, i32> {
        // SAFETY: open; a slice.
        count(unsafe { (self.object.0.pwrite)(self.at, buf.as_ptr(), buf.len(), offset) })
    }

    /// Stores what was written.
    pub(crate) fn fsync(&self) -> Result<(), i32> {
        // SAFETY: open.
        done(unsafe { (self.object.0.fsync)(self.at) })
    }

    /// Cuts or extends it.
    pub(crate) fn truncate(&self, size: u64) -> Result<(), i32> {
        // SAFETY: open; a number.
        done(unsafe { (self.object.0.truncate)(self.at, size) })
    }

    /// Its attributes.
    pub(crate) fn stat(&self) -> Result<RawStat, i32> {
        let mut out = RawStat::default();
        // SAFETY: open; a variable.
        asked(|| unsafe { (self.object.0.fstat)(self.at, &raw mut out) })?;
        Ok(out)
    }

    /// Some names of a directory; none at its end.
    pub(crate) fn read_dir(&self, cookie: &mut i64) -> Result<Vec<Vec<u8>>, i32> {
        let mut buf = vec![0; 16_384];
        // SAFETY: open; a variable and a slice.
        let n = counted(|| unsafe {
            (self.object.0.read_dir)(self.at, &raw mut *cookie, buf.as_mut_ptr(), buf.len())
        })?;
        let mut rest = buf.get(..n).unwrap_or_default();
        let mut names = Vec::new();
        while let Some((len, tail)) = rest.split_first_chunk::<2>() {
            let Some((name, tail)) = tail.split_at_checked(usize::from(u16::from_ne_bytes(*len))) else {
                break;
            };
            names.push(name.to_vec());
            rest = tail;
        }
        Ok(names)
    }

    /// Closes it and says whether all that was written is stored.
    pub(crate) fn close(mut self) -> Result<(), i32> {
        let at = core::mem::replace(&mut self.at, ptr::null_mut());
        // SAFETY: open, and null from now on.
        done(unsafe { (self.object.0.close)(at) })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.at.is_null() {
            // SAFETY: open, and nobody has it after this.
            unsafe { (self.object.0.close)(self.at) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_asked_once_more_and_nothing_else() {
        for (answers, calls, last) in [
            (&[0][..], 1, Ok(())),
            (&[-libc::EACCES, 0], 2, Ok(())),
            (&[-libc::EACCES, -libc::EACCES, 0], 2, Err(libc::EACCES)),
            (&[-libc::EACCES, -libc::ENOENT, 0], 2, Err(libc::ENOENT)),
            (&[-libc::ETIMEDOUT, 0], 1, Err(libc::ETIMEDOUT)),
            (&[-libc::EEXIST, 0], 1, Err(libc::EEXIST)),
        ] {
            let mut made = 0;
            let said = asked(|| {
                made += 1;
                *answers.get(made - 1).unwrap()
            });
            assert_eq!((made, said), (calls, last), "{answers:?}");
        }
        let mut answers = [-(libc::EACCES as isize), 7].into_iter();
        assert_eq!(counted(|| answers.next().unwrap()), Ok(7));
    }
}
