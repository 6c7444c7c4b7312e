//! An open file.

use super::failed;
use super::stat::Stat;
use crate::Error;
use crate::client::{Pag, PagScope};
use crate::sys::uafs::Handle;
use std::mem::MaybeUninit;

/// An open file or directory. Keeps its PAG alive; closes itself in any thread.
#[derive(Debug)]
pub struct File {
    /// The open file. Before the PAG, since fields are dropped in this order.
    handle: Handle,
    /// The PAG that opened it.
    pag: Pag,
}

impl File {
    /// Wraps what was opened in a PAG.
    pub(super) fn new(handle: Handle, pag: Pag) -> Self {
        Self { handle, pag }
    }

    /// Only the PAG that opened it may use it: what is in the cache would be given to anybody.
    ///
    /// # Errors
    /// [`Error::WrongPag`] in another scope.
    fn check(&self, scope: &PagScope<'_>) -> Result<(), Error> {
        if scope.pag().id() == self.pag.id() { Ok(()) } else { Err(Error::WrongPag) }
    }

    /// Reads at an offset; 0 at the end of the file. May give less than asked for.
    ///
    /// # Errors
    /// The client's; [`Error::WrongPag`] in a scope of another PAG.
    pub fn pread(&self, scope: &PagScope<'_>, buf: &mut [u8], offset: u64) -> Result<usize, Error> {
        self.check(scope)?;
        self.handle.pread(buf, offset).map_err(failed("read"))
    }

    /// The same into a buffer that holds nothing yet: gives the part that was read.
    ///
    /// # Errors
    /// As [`File::pread`].
    pub fn pread_uninit<'b>(
        &self,
        scope: &PagScope<'_>,
        buf: &'b mut [MaybeUninit<u8>],
        offset: u64,
    ) -> Result<&'b mut [u8], Error> {
        self.check(scope)?;
        self.handle.pread_uninit(buf, offset).map_err(failed("read"))
    }

    /// Writes at an offset; the server has it after [`File::close`] or [`File::sync`].
    ///
    /// # Errors
    /// The client's; [`Error::WrongPag`] in a scope of another PAG.
    pub fn pwrite(&self, scope: &PagScope<'_>, buf: &[u8], offset: u64) -> Result<usize, Error> {
        self.check(scope)?;
        self.handle.pwrite(buf, offset).map_err(failed("write"))
    }

    /// Stores what was written at the server.
    ///
    /// # Errors
    /// The client's; [`Error::WrongPag`] in a scope of another PAG.
    pub fn sync(&self, scope: &PagScope<'_>) -> Result<(), Error> {
        self.check(scope)?;
        self.handle.fsync().map_err(failed("fsync"))
    }

    /// Cuts or extends it to `size` bytes; the server hears of it with what is stored next.
    ///
    /// # Errors
    /// The client's; [`Error::WrongPag`] in a scope of another PAG.
    pub fn truncate(&self, scope: &PagScope<'_>, size: u64) -> Result<(), Error> {
        self.check(scope)?;
        self.handle.truncate(size).map_err(failed("truncate"))
    }

    /// Its attributes.
    ///
    /// # Errors
    /// The client's; [`Error::WrongPag`] in a scope of another PAG.
    pub fn stat(&self, scope: &PagScope<'_>) -> Result<Stat, Error> {
        self.check(scope)?;
        self.handle.stat().map(Into::into).map_err(failed("fstat"))
    }

    /// All names in a directory, without `.` and `..`.
    ///
    /// # Errors
    /// The client's (`ENOTDIR`); [`Error::WrongPag`] in a scope of another PAG.
    pub fn read_dir(&self, scope: &PagScope<'_>) -> Result<Vec<Vec<u8>>, Error> {
        self.check(scope)?;
        let (mut names, mut cookie) = (Vec::new(), 0);
        loop {
            let before = cookie;
            let more = self.handle.read_dir(&mut cookie).map_err(failed("read directory"))?;
            if more.is_empty() {
                break;
            }
            names.extend(more.into_iter().filter(|n| n != b"." && n != b".."));
            if cookie <= before {
                break;
            }
        }
        Ok(names)
    }

    /// Closes it and says whether all that was written is stored.
    ///
    /// # Errors
    /// The client's, such as `EDQUOT`.
    pub fn close(self) -> Result<(), Error> {
        self.handle.close().map_err(failed("close"))
    }
}
