//! File calls of a thread that is in a PAG.

use super::acl::{Acl, Rights};
use super::dir::Dir;
use super::failed;
use super::file::File;
use super::stat::Stat;
use crate::client::PagScope;
use crate::sys::uafs::{At, Object};
use crate::sys::{OPEN_CREATE_NEW, OPEN_DIRECTORY, OPEN_READ, OPEN_TRUNCATE, OPEN_WRITE};
use crate::{Cell, Error, VolumeStatus};

/// Longest path.
const PATH_MAX: usize = 4_096;
/// Most that one pioctl answers.
pub(super) const PIOCTL_OUT: usize = 4_096;
/// VIOCGETAL.
const GET_ACL: u32 = 0x4018_5602;
/// VIOCSETAL.
const SET_ACL: u32 = 0x4018_5601;
/// VIOCGETVOLSTAT.
pub(super) const VOLUME_STATUS: u32 = 0x4018_5604;
/// VIOCSETVOLSTAT.
const SET_VOLUME_STATUS: u32 = 0x4018_5605;
/// VIOCFLUSH.
const FLUSH: u32 = 0x4018_5606;
/// VIOC_AFS_DELETE_MT_PT.
const DELETE_MOUNT: u32 = 0x4018_561c;
/// VIOC_AFS_STAT_MT_PT.
const STAT_MOUNT: u32 = 0x4018_561d;
/// VIOC_FILE_CELL_NAME.
const FILE_CELL: u32 = 0x4018_561e;
/// VIOC_FLUSHVOLUME.
const FLUSH_VOLUME: u32 = 0x4018_5625;
/// VIOC_GETVCXSTATUS2: the caller's rights first.
pub(super) const GET_STATUS: u32 = 0x4018_5645;

/// What a caller would like to do, for [`Files::access`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read the file or list the directory.
    Read,
    /// Write.
    Write,
    /// Search the directory.
    Search,
}

/// Which volume a new mount point leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountKind {
    /// A read-only copy if there is one and the way there is read-only (`#`).
    Normal,
    /// Always the volume itself (`%`).
    ReadWrite,
}

/// File calls of a thread that is in a PAG; borrows the scope.
#[derive(Debug)]
pub struct Files<'s> {
    /// The shared object.
    pub(super) object: Object,
    /// The scope.
    pub(super) scope: &'s PagScope<'s>,
}

/// Refuses what is no path.
///
/// # Errors
/// [`Error`] if it cannot be passed, or the client's.
fn path_ok(path: &[u8]) -> Result<&[u8], Error> {
    if path.len() > PATH_MAX {
        return Err(Error::Errno { call: "path", errno: libc::ENAMETOOLONG });
    }
    if !path.starts_with(b"/") || path.contains(&0) { Err(Error::BadValue("path")) } else { Ok(path) }
}

/// Refuses a target that would make a mount point of a link, or cannot be passed.
///
/// # Errors
/// `EINVAL`.
pub(crate) fn target_ok(target: &[u8]) -> Result<&[u8], Error> {
    if matches!(target, [b'#' | b'%', .., b'.']) || target.is_empty() || target.contains(&0) {
        return Err(Error::Errno { call: "target of a link", errno: libc::EINVAL });
    }
    Ok(target)
}

/// The rights in what [`GET_STATUS`] answers, the second time if those of the first are not enough: that is a refusal, and
/// asked about as others are. The server is asked only if it has not promised to tell of changes.
///
/// # Errors
/// The client's.
pub(super) fn rights_in(
    enough: impl Fn(Rights) -> bool,
    mut status: impl FnMut(&mut [u8]) -> Result<(), Error>,
) -> Result<Rights, Error> {
    let mut ask = || {
        let mut out = [0; 16];
        status(&mut out)?;
        let [a, b, c, d, ..] = out;
        Ok(Rights(u32::from_ne_bytes([a, b, c, d])))
    };
    let first = ask()?;
    if enough(first) { Ok(first) } else { ask() }
}

/// The directory of a path, and the last component.
///
/// # Errors
/// [`Error`] if it cannot be passed, or the client's.
fn split_last(path: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let end = path.iter().rposition(|b| *b != b'/').map_or(0, |i| i + 1);
    let path = path.get(..end).unwrap_or_default();
    let at = path.iter().rposition(|b| *b == b'/').ok_or(Error::BadValue("path"))?;
    match (path.get(..at), path.get(at + 1..)) {
        (Some(dir), Some(name)) if !dir.is_empty() && !name.is_empty() => Ok((dir, name)),
        _ => Err(Error::BadValue("path")),
    }
}

impl Files<'_> {
    /// Opens a file or directory for reading; symbolic links are followed.
    ///
    /// # Errors
    /// The client's: `EACCES`, `ENOENT`, `ELOOP`, `ETIMEDOUT` ...
    pub fn open(&self, path: &[u8]) -> Result<File, Error> {
        self.open_as(path, OPEN_READ, 0)
    }

    /// Opens a directory to work in, whatever becomes of its path; symbolic links that lead to it are followed.
    ///
    /// # Errors
    /// The client's: `ENOTDIR`, `ENOENT` ...
    pub fn open_dir(&self, path: &[u8]) -> Result<Dir, Error> {
        let handle = self.object.open(At::path(path_ok(path)?), OPEN_DIRECTORY, 0).map_err(failed("open"))?;
        Ok(Dir::new(handle, self.scope.pag().clone()))
    }

    /// Makes a file, which must not exist, and opens it for writing.
    ///
    /// # Errors
    /// The client's.
    pub fn create(&self, path: &[u8], mode: u32) -> Result<File, Error> {
        self.open_as(path, OPEN_READ | OPEN_WRITE | OPEN_CREATE_NEW, mode)
    }

    /// Opens an existing file for writing; `truncate` empties it.
    ///
    /// # Errors
    /// The client's.
    pub fn open_to_write(&self, path: &[u8], truncate: bool) -> Result<File, Error> {
        self.open_as(path, OPEN_WRITE | if truncate { OPEN_TRUNCATE } else { 0 }, 0)
    }

    /// Makes or replaces a file with these contents.
    ///
    /// # Errors
    /// The client's; what the file holds then is not known.
    pub fn write_file(&self, path: &[u8], contents: &[u8]) -> Result<(), Error> {
        let file = match self.create(path, 0o644) {
            Err(e) if e.errno() == Some(libc::EEXIST) => self.open_to_write(path, true)?,
            other => other?,
        };
        let mut done = 0;
        while let Some(rest) = contents.get(done..).filter(|r| !r.is_empty()) {
            let piece = rest.get(..rest.len().min(1 << 20)).unwrap_or(rest);
            match file.pwrite(self.scope, piece, done as u64)? {
                0 => return Err(Error::Errno { call: "write", errno: libc::EIO }),
                n => done += n,
            }
        }
        file.close()
    }

    /// The contents of a file of at most `limit` bytes; `EFBIG` if it has more.
    ///
    /// # Errors
    /// The client's.
    pub fn read_file(&self, path: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
        let file = self.open(path)?;
        let mut contents = Vec::new();
        let mut piece = vec![0; limit.saturating_add(1).min(1 << 16)];
        loop {
            let n = file.pread(self.scope, &mut piece, contents.len() as u64)?;
            contents.extend_from_slice(piece.get(..n).unwrap_or_default());
            if contents.len() > limit {
                return Err(Error::Errno { call: "read", errno: libc::EFBIG });
            }
            if n == 0 {
                return Ok(contents);
            }
        }
    }

    /// The scope, for calls of a [`File`].
    #[must_use]
    pub fn scope(&self) -> &PagScope<'_> {
        self.scope
    }

    /// Opens with `OPEN_*`.
    ///
    /// # Errors
    /// [`Error`] if it cannot be passed, or the client's.
    fn open_as(&self, path: &[u8], flags: u32, mode: u32) -> Result<File, Error> {
        let handle = self.object.open(At::path(path_ok(path)?), flags, mode).map_err(failed("open"))?;
        Ok(File::new(handle, self.scope.pag().clone()))
    }

    /// Attributes of what a path names; symbolic links are followed.
    ///
    /// # Errors
    /// The client's.
    pub fn stat(&self, path: &[u8]) -> Result<Stat, Error> {
        self.object.stat(At::path(path_ok(path)?), true).map(Into::into).map_err(failed("stat"))
    }

    /// Attributes; a symbolic link at the end is not followed.
    ///
    /// # Errors
    /// The client's.
    pub fn lstat(&self, path: &[u8]) -> Result<Stat, Error> {
        self.object.stat(At::path(path_ok(path)?), false).map(Into::into).map_err(failed("lstat"))
    }

    /// Target of a symbolic link; `EINVAL` if it is none.
    ///
    /// # Errors
    /// The client's.
    pub fn readlink(&self, path: &[u8]) -> Result<Vec<u8>, Error> {
        self.object.readlink(At::path(path_ok(path)?)).map_err(failed("readlink"))
    }

    /// All names in a directory, without `.` and `..`, in the directory's order.
    ///
    /// # Errors
    /// The client's.
    pub fn read_dir(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        self.open(path)?.read_dir(self.scope)
    }

    /// Whether the PAG may; `EACCES` if not.
    ///
    /// # Errors
    /// The client's.
    pub fn access(&self, path: &[u8], what: Access) -> Result<(), Error> {
        let mode = match what {
            Access::Read => libc::R_OK,
            Access::Write => libc::W_OK,
            Access::Search => libc::X_OK,
        };
        self.object.access(At::path(path_ok(path)?), mode.cast_unsigned()).map_err(failed("access"))
    }

    /// The PAG's rights on a file or directory that it may read.
    ///
    /// # Errors
    /// The client's.
    pub fn rights(&self, path: &[u8]) -> Result<Rights, Error> {
        rights_in(|all| all.has(Rights::ALL), |out| self.pioctl(Some(path), true, GET_STATUS, &[], out))
    }

    /// Where a mount point leads (`#volume.` or `%cell:volume.`); `EINVAL` if the path is none.
    ///
    /// # Errors
    /// The client's.
    pub fn mount_point(&self, path: &[u8]) -> Result<Vec<u8>, Error> {
        let (dir, name) = split_last(path)?;
        let mut out = vec![0; PIOCTL_OUT];
        let mut input = name.to_vec();
        input.push(0);
        self.pioctl(Some(dir), true, STAT_MOUNT, &input, &mut out)?;
        Ok(until_nul(out))
    }

    /// The cell that a path is in.
    ///
    /// # Errors
    /// The client's.
    pub fn cell(&self, path: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = vec![0; PIOCTL_OUT];
        self.pioctl(Some(path), true, FILE_CELL, &[], &mut out)?;
        Ok(until_nul(out))
    }

    /// Makes a directory; it inherits its parent's ACL.
    ///
    /// # Errors
    /// The client's.
    pub fn mkdir(&self, path: &[u8]) -> Result<(), Error> {
        self.object.mkdir(At::path(path_ok(path)?), 0o755).map_err(failed("mkdir"))
    }

    /// Makes a symbolic link at `path`. A target that would make a mount point of it is refused.
    ///
    /// # Errors
    /// The client's.
    pub fn symlink(&self, target: &[u8], path: &[u8]) -> Result<(), Error> {
        let target = target_ok(target)?;
        self.object.symlink(target, At::path(path_ok(path)?)).map_err(failed("symlink"))
    }

    /// Makes a mount point at `path` for a volume of the cell that it stands in, or of another one.
    ///
    /// # Errors
    /// The client's.
    pub fn mount(
        &self,
        path: &[u8],
        kind: MountKind,
        cell: Option<&Cell>,
        volume: &str,
    ) -> Result<(), Error> {
        let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if volume.is_empty() || volume.len() > 63 || !volume.bytes().all(ok) {
            return Err(Error::BadValue("volume name"));
        }
        let sign = if kind == MountKind::ReadWrite { '%' } else { '#' };
        let target = match cell {
            Some(c) => format!("{sign}{c}:{volume}."),
            None => format!("{sign}{volume}."),
        };
        self.object.symlink(target.as_bytes(), At::path(path_ok(path)?)).map_err(failed("mount"))
    }

    /// Removes a mount point.
    ///
    /// # Errors
    /// The client's.
    pub fn unmount(&self, path: &[u8]) -> Result<(), Error> {
        let (dir, name) = split_last(path)?;
        let mut input = name.to_vec();
        input.push(0);
        self.pioctl(Some(dir), true, DELETE_MOUNT, &input, &mut [])
    }

    /// Removes a file or link.
    ///
    /// # Errors
    /// The client's.
    pub fn unlink(&self, path: &[u8]) -> Result<(), Error> {
        self.object.unlink(At::path(path_ok(path)?)).map_err(failed("unlink"))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// The client's.
    pub fn rmdir(&self, path: &[u8]) -> Result<(), Error> {
        self.object.rmdir(At::path(path_ok(path)?)).map_err(failed("rmdir"))
    }

    /// Renames within a volume.
    ///
    /// # Errors
    /// The client's.
    pub fn rename(&self, from: &[u8], to: &[u8]) -> Result<(), Error> {
        self.object.rename(At::path(path_ok(from)?), At::path(path_ok(to)?)).map_err(failed("rename"))
    }

    /// The ACL of a directory.
    ///
    /// # Errors
    /// The client's.
    pub fn acl(&self, path: &[u8]) -> Result<Acl, Error> {
        let mut out = vec![0; PIOCTL_OUT];
        self.pioctl(Some(path), true, GET_ACL, &[], &mut out)?;
        Acl::decode(&out).ok_or(Error::Errno { call: "get ACL", errno: libc::EIO })
    }

    /// Replaces the ACL of a directory.
    ///
    /// # Errors
    /// The client's; `EINVAL` if the cell does not know a name.
    pub fn set_acl(&self, path: &[u8], acl: &Acl) -> Result<(), Error> {
        self.pioctl(Some(path), true, SET_ACL, &acl.encode()?, &mut [])
    }

    /// How full the volume is that a path is in. Asks its server.
    ///
    /// # Errors
    /// The client's.
    pub fn volume_status(&self, path: &[u8]) -> Result<VolumeStatus, Error> {
        let mut out = vec![0; PIOCTL_OUT];
        self.pioctl(Some(path), true, VOLUME_STATUS, &[], &mut out)?;
        VolumeStatus::decode(&out).ok_or(Error::Errno { call: "volume status", errno: libc::EIO })
    }

    /// Gives the volume that a path is in another quota, KiB; 0: none.
    ///
    /// # Errors
    /// The client's; `EACCES` for who is no administrator.
    pub fn set_quota(&self, path: &[u8], quota_kib: u32) -> Result<(), Error> {
        let mut out = vec![0; PIOCTL_OUT];
        self.pioctl(Some(path), true, VOLUME_STATUS, &[], &mut out)?;
        let block = VolumeStatus::with_quota(&out, quota_kib);
        let block = block.ok_or(Error::Errno { call: "volume status", errno: libc::EIO })?;
        self.pioctl(Some(path), true, SET_VOLUME_STATUS, &block, &mut out)
    }

    /// Forgets what the cache holds of a file.
    ///
    /// # Errors
    /// The client's.
    pub fn flush(&self, path: &[u8]) -> Result<(), Error> {
        self.pioctl(Some(path), true, FLUSH, &[], &mut [])
    }

    /// Forgets what the cache holds of the volume that a path is in.
    ///
    /// # Errors
    /// The client's.
    pub fn flush_volume(&self, path: &[u8]) -> Result<(), Error> {
        self.pioctl(Some(path), true, FLUSH_VOLUME, &[], &mut [])
    }

    /// A pioctl. Those that change tokens or PAGs are refused (`EPERM`).
    ///
    /// `input` and `out`: at most 12,100 and 32,767 bytes; the answer is at the start of `out`.
    ///
    /// # Errors
    /// The client's.
    pub fn pioctl(
        &self,
        path: Option<&[u8]>,
        follow: bool,
        command: u32,
        input: &[u8],
        out: &mut [u8],
    ) -> Result<(), Error> {
        let at = path.map(path_ok).transpose()?.map(At::path);
        self.object.pioctl(at, follow, command, input, out).map_err(failed("pioctl"))
    }
}

/// A text that ends with a NUL.
fn until_nul(mut text: Vec<u8>) -> Vec<u8> {
    let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_that_are_not_enough_are_asked_for_once_more() {
        let has = |answers: &[u32]| {
            let mut made = 0;
            let rights = rights_in(
                |all| all.has(Rights::INSERT),
                |out| {
                    out.get_mut(..4).unwrap().copy_from_slice(&answers.get(made).unwrap().to_ne_bytes());
                    made += 1;
                    Ok(())
                },
            );
            (made, rights.unwrap().0)
        };
        assert_eq!(has(&[63]), (1, 63));
        assert_eq!(has(&[0, 63]), (2, 63));
        assert_eq!(has(&[9, 9, 63]), (2, 9));
        // The second answer decides.
        assert_eq!(has(&[9, 0, 63]), (2, 0));
    }
}
