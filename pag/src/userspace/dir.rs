//! A directory that is held: what is done to the names in it is done there, wherever its path leads meanwhile.

use super::acl::Rights;
use super::failed;
use super::file::File;
use super::files::{GET_STATUS, PIOCTL_OUT, VOLUME_STATUS, rights_in, target_ok};
use super::stat::Stat;
use crate::client::{Pag, PagScope};
use crate::mounted::name_ok;
use crate::sys::uafs::{At, Handle, Object};
use crate::sys::{OPEN_CREATE_NEW, OPEN_DIRECTORY, OPEN_READ, OPEN_WRITE};
use crate::{Error, VolumeStatus};

/// A directory to work in. No symbolic link is followed in it. Keeps its PAG alive, and takes calls of threads in that alone.
#[derive(Debug)]
pub struct Dir {
    /// It. Before the PAG, since fields are dropped in this order.
    handle: Handle,
    /// The PAG that opened it.
    pag: Pag,
}

impl Dir {
    /// Wraps what was opened in a PAG.
    pub(super) fn new(handle: Handle, pag: Pag) -> Self {
        Self { handle, pag }
    }

    /// The object, for a thread in the PAG that opened it.
    ///
    /// # Errors
    /// [`Error::WrongPag`] in another scope.
    fn object(&self, scope: &PagScope<'_>) -> Result<Object, Error> {
        if scope.pag().id() == self.pag.id() { Ok(self.handle.object()) } else { Err(Error::WrongPag) }
    }

    /// A name in it.
    ///
    /// # Errors
    /// `EINVAL`, `ENAMETOOLONG` for what is none.
    fn at<'a>(&'a self, name: &'a [u8]) -> Result<At<'a>, Error> {
        Ok(At::name(&self.handle, name_ok(name)?))
    }

    /// It itself.
    fn itself(&self) -> At<'_> {
        At::name(&self.handle, b"")
    }

    /// Opens a name in it.
    ///
    /// # Errors
    /// The client's.
    fn open(&self, scope: &PagScope<'_>, at: At<'_>, flags: u32, mode: u32) -> Result<Handle, Error> {
        self.object(scope)?.open(at, flags, mode).map_err(failed("open"))
    }

    /// Opens a directory in this one; a symbolic link is none.
    ///
    /// # Errors
    /// The client's: `ENOTDIR`.
    pub fn sub(&self, scope: &PagScope<'_>, name: &[u8]) -> Result<Self, Error> {
        let handle = self.open(scope, self.at(name)?, OPEN_DIRECTORY, 0)?;
        Ok(Self::new(handle, self.pag.clone()))
    }

    /// The directory that this one lies in; `None` for the topmost.
    ///
    /// # Errors
    /// The client's.
    pub fn above(&self, scope: &PagScope<'_>) -> Result<Option<Self>, Error> {
        match self.open(scope, At::name(&self.handle, b".."), OPEN_DIRECTORY, 0) {
            Ok(handle) => Ok(Some(Self::new(handle, self.pag.clone()))),
            Err(e) if e.errno() == Some(libc::ENOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Its own attributes.
    ///
    /// # Errors
    /// The client's.
    pub fn stat(&self, scope: &PagScope<'_>) -> Result<Stat, Error> {
        self.object(scope)?.stat(self.itself(), false).map(Into::into).map_err(failed("stat"))
    }

    /// Attributes of a name in it.
    ///
    /// # Errors
    /// The client's.
    pub fn lstat(&self, scope: &PagScope<'_>, name: &[u8]) -> Result<Stat, Error> {
        self.object(scope)?.stat(self.at(name)?, false).map(Into::into).map_err(failed("lstat"))
    }

    /// All names in it, without `.` and `..`, in the directory's order.
    ///
    /// # Errors
    /// The client's: `EACCES`.
    pub fn names(&self, scope: &PagScope<'_>) -> Result<Vec<Vec<u8>>, Error> {
        let handle = self.open(scope, self.itself(), OPEN_READ, 0)?;
        File::new(handle, self.pag.clone()).read_dir(scope)
    }

    /// The PAG's rights in it; `enough`: whether they are what the caller wants, else they are asked for once more.
    ///
    /// # Errors
    /// The client's.
    pub fn rights(&self, scope: &PagScope<'_>, enough: impl Fn(Rights) -> bool) -> Result<Rights, Error> {
        rights_in(enough, |out| self.pioctl(scope, GET_STATUS, out))
    }

    /// How full the volume is that it is in. Asks its server.
    ///
    /// # Errors
    /// The client's.
    pub fn volume_status(&self, scope: &PagScope<'_>) -> Result<VolumeStatus, Error> {
        let mut out = vec![0; PIOCTL_OUT];
        self.pioctl(scope, VOLUME_STATUS, &mut out)?;
        VolumeStatus::decode(&out).ok_or(Error::Errno { call: "volume status", errno: libc::EIO })
    }

    /// A pioctl on it, without input.
    ///
    /// # Errors
    /// The client's.
    fn pioctl(&self, scope: &PagScope<'_>, command: u32, out: &mut [u8]) -> Result<(), Error> {
        let object = self.object(scope)?;
        object.pioctl(Some(self.itself()), false, command, &[], out).map_err(failed("pioctl"))
    }

    /// Makes a file, which must not exist, and opens it for writing.
    ///
    /// # Errors
    /// The client's.
    pub fn create(&self, scope: &PagScope<'_>, name: &[u8], mode: u32) -> Result<File, Error> {
        let handle = self.open(scope, self.at(name)?, OPEN_READ | OPEN_WRITE | OPEN_CREATE_NEW, mode)?;
        Ok(File::new(handle, self.pag.clone()))
    }

    /// Opens an existing file for writing, as it is; a symbolic link is not followed (`ELOOP`).
    ///
    /// # Errors
    /// The client's.
    pub fn open_to_write(&self, scope: &PagScope<'_>, name: &[u8]) -> Result<File, Error> {
        Ok(File::new(self.open(scope, self.at(name)?, OPEN_WRITE, 0)?, self.pag.clone()))
    }

    /// Opens a file for reading; a symbolic link is not followed (`ELOOP`).
    ///
    /// # Errors
    /// The client's.
    pub fn open_to_read(&self, scope: &PagScope<'_>, name: &[u8]) -> Result<File, Error> {
        Ok(File::new(self.open(scope, self.at(name)?, OPEN_READ, 0)?, self.pag.clone()))
    }

    /// Where a symbolic link in it points to.
    ///
    /// # Errors
    /// The client's: `EINVAL` if it is none.
    pub fn readlink(&self, scope: &PagScope<'_>, name: &[u8]) -> Result<Vec<u8>, Error> {
        self.object(scope)?.readlink(self.at(name)?).map_err(failed("readlink"))
    }

    /// Makes a directory; it inherits this one's ACL.
    ///
    /// # Errors
    /// The client's.
    pub fn mkdir(&self, scope: &PagScope<'_>, name: &[u8]) -> Result<(), Error> {
        self.object(scope)?.mkdir(self.at(name)?, 0o755).map_err(failed("mkdir"))
    }

    /// Makes a symbolic link. A target that would make a mount point of it is refused.
    ///
    /// # Errors
    /// The client's.
    pub fn symlink(&self, scope: &PagScope<'_>, target: &[u8], name: &[u8]) -> Result<(), Error> {
        self.object(scope)?.symlink(target_ok(target)?, self.at(name)?).map_err(failed("symlink"))
    }

    /// Removes a file or link.
    ///
    /// # Errors
    /// The client's.
    pub fn unlink(&self, scope: &PagScope<'_>, name: &[u8]) -> Result<(), Error> {
        self.object(scope)?.unlink(self.at(name)?).map_err(failed("unlink"))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// The client's: `ENOTEMPTY`.
    pub fn rmdir(&self, scope: &PagScope<'_>, name: &[u8]) -> Result<(), Error> {
        self.object(scope)?.rmdir(self.at(name)?).map_err(failed("rmdir"))
    }

    /// Renames within a volume; what has the new name is replaced.
    ///
    /// # Errors
    /// The client's: `EXDEV`.
    pub fn rename(&self, scope: &PagScope<'_>, name: &[u8], to: &Self, new: &[u8]) -> Result<(), Error> {
        to.object(scope)?;
        self.object(scope)?.rename(self.at(name)?, to.at(new)?).map_err(failed("rename"))
    }
}
