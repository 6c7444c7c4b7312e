//! Writing where a client in the kernel shows AFS: ordinary calls, made by a thread that is in the right PAG.
//!
//! The kernel follows a symbolic link in AFS to wherever it points, also to this machine's own files, and its author may
//! change it at any moment. So a directory is opened first, looked whether it lies below the mount directory, and what
//! is done to the names in it is done through its descriptor, following no link.
//!
//! Which PAG the thread is in, is the caller's business. The deadline of a call is the client's own.

use crate::Error;
use crate::sys::close::close;
use crate::userspace::{Kind, target_ok};
use rustix::fs::{AtFlags, Mode, OFlags};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

/// An errno of a call as an error.
fn failed(call: &'static str) -> impl FnOnce(rustix::io::Errno) -> Error {
    move |e| Error::Errno { call, errno: e.raw_os_error() }
}

/// Refuses what is no name in a directory.
///
/// # Errors
/// `EINVAL`; `ENAMETOOLONG` where other clients could not read it (OpenAFS's kernel module makes names of 256 bytes).
pub(crate) fn name_ok(name: &[u8]) -> Result<&[u8], Error> {
    /// Bytes of the longest name.
    const LONGEST: usize = 255;
    let no = |errno| Err(Error::Errno { call: "name", errno });
    let bad = name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0);
    // To the clients `@sys` at an end stands for the machine's own type: another file would be meant, and not in every call.
    if bad || name.ends_with(b"@sys") {
        return no(libc::EINVAL);
    }
    if name.len() > LONGEST { no(libc::ENAMETOOLONG) } else { Ok(name) }
}

/// What is known of a name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// What it is; a symbolic link is not followed.
    pub kind: Kind,
    /// Its mode bits.
    pub mode: u32,
    /// Its length in bytes.
    pub size: u64,
    /// When it was written last, seconds since 1970.
    pub mtime_s: i64,
}

/// An open directory in AFS.
#[derive(Debug)]
pub struct Dir(OwnedFd);

impl Dir {
    /// Opens a directory, which must lie below `mount`, whatever links lead to it.
    ///
    /// # Errors
    /// What open(2) gives; `ELOOP` outside of `mount`.
    pub fn open(path: &[u8], mount: &[u8]) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = Self(rustix::fs::open(path, flags, Mode::empty()).map_err(failed("open"))?);
        if dir.is_inside(mount)? { Ok(dir) } else { Err(Error::Errno { call: "open", errno: libc::ELOOP }) }
    }

    /// Opens a directory in this one; a symbolic link is none.
    ///
    /// # Errors
    /// What openat(2) gives.
    pub fn sub(&self, name: &[u8]) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = rustix::fs::openat(&self.0, name_ok(name)?, flags, Mode::empty());
        found.map(Self).map_err(failed("open"))
    }

    /// The directory that this one lies in; `None` for the topmost, or if that is not to be seen.
    ///
    /// # Errors
    /// What openat(2) gives.
    pub fn above(&self, mount: &[u8]) -> Result<Option<Self>, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = Self(rustix::fs::openat(&self.0, "..", flags, Mode::empty()).map_err(failed("open"))?);
        Ok(dir.is_inside(mount)?.then_some(dir))
    }

    /// Whether it lies below `mount`.
    ///
    /// # Errors
    /// What readlink(2) gives.
    fn is_inside(&self, mount: &[u8]) -> Result<bool, Error> {
        let real = std::fs::read_link(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
            .map_err(|e| Error::Errno { call: "readlink", errno: e.raw_os_error().unwrap_or(libc::EIO) })?;
        Ok(matches!(real.as_os_str().as_bytes().strip_prefix(mount), Some([] | [b'/', ..])))
    }

    /// A name by which the client can be asked about this directory, as long as it is open.
    #[must_use]
    pub fn by_descriptor(&self) -> Vec<u8> {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into_bytes()
    }

    /// Its descriptor.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Whether the client lets this thread change something in it.
    ///
    /// # Errors
    /// What access(2) gives: `EACCES` if not.
    pub fn is_writable(&self) -> Result<(), Error> {
        let how = rustix::fs::Access::WRITE_OK;
        rustix::fs::accessat(&self.0, c".", how, AtFlags::EACCESS).map_err(failed("access"))
    }

    /// Whether the client lets this thread write a file in it.
    ///
    /// # Errors
    /// What access(2) gives: `EACCES` if not.
    pub fn is_writable_at(&self, name: &[u8]) -> Result<(), Error> {
        let how = rustix::fs::Access::WRITE_OK;
        rustix::fs::accessat(&self.0, name_ok(name)?, how, AtFlags::EACCESS).map_err(failed("access"))
    }

    /// All names in it, without `.` and `..`.
    ///
    /// # Errors
    /// What getdents(2) gives.
    pub fn names(&self) -> Result<Vec<Vec<u8>>, Error> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.0).map_err(failed("read directory"))? {
            let entry = entry.map_err(failed("read directory"))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        Ok(names)
    }

    /// What a name is.
    ///
    /// # Errors
    /// What lstat(2) gives.
    pub fn look(&self, name: &[u8]) -> Result<Look, Error> {
        let found = rustix::fs::statat(&self.0, name_ok(name)?, AtFlags::SYMLINK_NOFOLLOW);
        let found = found.map_err(failed("lstat"))?;
        let kind = match found.st_mode & libc::S_IFMT {
            libc::S_IFREG => Kind::File,
            libc::S_IFDIR => Kind::Directory,
            libc::S_IFLNK => Kind::Link,
            _ => Kind::Other,
        };
        let size = u64::try_from(found.st_size).unwrap_or(0);
        Ok(Look { kind, mode: found.st_mode & 0o7777, size, mtime_s: found.st_mtime })
    }

    /// Where a symbolic link in it points to.
    ///
    /// # Errors
    /// What readlink(2) gives: `EINVAL` if it is none.
    pub fn readlink(&self, name: &[u8]) -> Result<Vec<u8>, Error> {
        let target = rustix::fs::readlinkat(&self.0, name_ok(name)?, Vec::new());
        target.map(std::ffi::CString::into_bytes).map_err(failed("readlink"))
    }

    /// Makes a file, which must not exist, and opens it for writing.
    ///
    /// # Errors
    /// What open(2) gives.
    pub fn create(&self, name: &[u8], mode: u32) -> Result<Writer, Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        self.writer(name, flags, mode)
    }

    /// Opens an existing file for writing, as it is; a symbolic link is not followed (`ELOOP`).
    ///
    /// # Errors
    /// What open(2) gives.
    pub fn open_to_write(&self, name: &[u8]) -> Result<Writer, Error> {
        // Never waits for somebody at the other end, should it be no file.
        self.writer(name, OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, 0)
    }

    /// Opens a file for writing.
    ///
    /// # Errors
    /// What open(2) gives.
    fn writer(&self, name: &[u8], flags: OFlags, mode: u32) -> Result<Writer, Error> {
        let mode = Mode::from_raw_mode(mode & 0o777);
        rustix::fs::openat(&self.0, name_ok(name)?, flags, mode).map(Writer).map_err(failed("open"))
    }

    /// Opens a file for reading; a symbolic link is not followed (`ELOOP`).
    ///
    /// # Errors
    /// What open(2) gives.
    pub fn open_to_read(&self, name: &[u8]) -> Result<std::fs::File, Error> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, name_ok(name)?, flags, Mode::empty());
        file.map(Into::into).map_err(failed("open"))
    }

    /// Makes a directory; it inherits this one's ACL.
    ///
    /// # Errors
    /// What mkdir(2) gives.
    pub fn mkdir(&self, name: &[u8]) -> Result<(), Error> {
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(&self.0, name_ok(name)?, mode).map_err(failed("mkdir"))
    }

    /// Makes a symbolic link. A target that would make a mount point of it is refused.
    ///
    /// # Errors
    /// What symlink(2) gives.
    pub fn symlink(&self, target: &[u8], name: &[u8]) -> Result<(), Error> {
        rustix::fs::symlinkat(target_ok(target)?, &self.0, name_ok(name)?).map_err(failed("symlink"))
    }

    /// Removes a file or link.
    ///
    /// # Errors
    /// What unlink(2) gives.
    pub fn unlink(&self, name: &[u8]) -> Result<(), Error> {
        rustix::fs::unlinkat(&self.0, name_ok(name)?, AtFlags::empty()).map_err(failed("unlink"))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// What rmdir(2) gives; `ENOTEMPTY` if it is not empty, by whatever name the client calls that.
    pub fn rmdir(&self, name: &[u8]) -> Result<(), Error> {
        let done = rustix::fs::unlinkat(&self.0, name_ok(name)?, AtFlags::REMOVEDIR);
        done.map_err(|e| if e == rustix::io::Errno::EXIST { rustix::io::Errno::NOTEMPTY } else { e })
            .map_err(failed("rmdir"))
    }

    /// Renames within a volume; what has the new name is replaced.
    ///
    /// # Errors
    /// What rename(2) gives: `EXDEV` for another volume.
    pub fn rename(&self, name: &[u8], to: &Self, new: &[u8]) -> Result<(), Error> {
        rustix::fs::renameat(&self.0, name_ok(name)?, &to.0, name_ok(new)?).map_err(failed("rename"))
    }
}

/// A file that is written.
#[derive(Debug)]
pub struct Writer(OwnedFd);

impl Writer {
    /// Writes all of `bytes` at an offset; the server has it after [`Writer::close`].
    ///
    /// # Errors
    /// What pwrite(2) gives.
    pub fn write_at(&self, mut bytes: &[u8], mut offset: u64) -> Result<(), Error> {
        while !bytes.is_empty() {
            match rustix::io::pwrite(&self.0, bytes, offset) {
                Ok(0) => return Err(Error::Errno { call: "write", errno: libc::EIO }),
                Ok(n) => {
                    bytes = bytes.get(n..).unwrap_or_default();
                    offset += n as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(failed("write")(e)),
            }
        }
        Ok(())
    }

    /// Cuts or extends it.
    ///
    /// # Errors
    /// What ftruncate(2) gives.
    pub fn truncate(&self, size: u64) -> Result<(), Error> {
        rustix::fs::ftruncate(&self.0, size).map_err(failed("truncate"))
    }

    /// Whether it is a regular file.
    ///
    /// # Errors
    /// What fstat(2) gives.
    pub fn is_file(&self) -> Result<bool, Error> {
        let found = rustix::fs::fstat(&self.0).map_err(failed("fstat"))?;
        Ok(found.st_mode & libc::S_IFMT == libc::S_IFREG)
    }

    /// Closes it and says whether all that was written is stored.
    ///
    /// # Errors
    /// What fsync(2) gives, such as `EDQUOT`, or else close(2). It is closed then, too.
    pub fn close(self) -> Result<(), Error> {
        // kAFS stores only when the last reference is gone, and tells nobody what came of it.
        let stored = rustix::fs::fsync(&self.0).map_err(failed("fsync"));
        stored.and(close(self.0).map_err(|errno| Error::Errno { call: "close", errno }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A directory that stands for the mount directory, and its path.
    fn mount() -> (tempfile::TempDir, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("afs");
        std::fs::create_dir(&path).unwrap();
        (dir, path.into_os_string().into_encoded_bytes())
    }

    fn errno<T: std::fmt::Debug>(r: Result<T, Error>) -> i32 {
        r.unwrap_err().errno().unwrap()
    }

    #[test]
    fn files_are_made_written_renamed_and_removed_by_their_directory() {
        let (_keep, path) = mount();
        let dir = Dir::open(&path, &path).unwrap();
        let new = dir.create(b"new", 0o644).unwrap();
        assert_eq!(errno(dir.create(b"new", 0o644)), libc::EEXIST);
        new.write_at(b"0123456789", 0).unwrap();
        new.truncate(4).unwrap();
        new.write_at(b"x", 4).unwrap();
        new.close().unwrap();
        dir.mkdir(b"sub").unwrap();
        let sub = dir.sub(b"sub").unwrap();
        dir.rename(b"new", &sub, b"moved").unwrap();
        let moved = sub.look(b"moved").unwrap();
        assert_eq!((moved.kind, moved.mode, moved.size), (Kind::File, 0o644, 5));
        assert_eq!(errno(dir.rmdir(b"sub")), libc::ENOTEMPTY);
        assert_eq!(errno(dir.look(b"new")), libc::ENOENT);
        assert_eq!(sub.names().unwrap(), [b"moved"]);
        let again = sub.open_to_write(b"moved").unwrap();
        assert!(again.is_file().unwrap());
        sub.unlink(b"moved").unwrap();
        dir.rmdir(b"sub").unwrap();
        assert_eq!(dir.names().unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn links_lead_nowhere() {
        let (keep, path) = mount();
        let outside = keep.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("file"), "text").unwrap();
        let at = keep.path().join("afs");
        symlink(&outside, at.join("dir")).unwrap();
        symlink(outside.join("file"), at.join("link")).unwrap();
        symlink(outside.join("none"), at.join("dangling")).unwrap();
        let dir = Dir::open(&path, &path).unwrap();
        assert_eq!(errno(Dir::open(&[&path[..], b"/dir"].concat(), &path)), libc::ELOOP);
        assert!(dir.sub(b"dir").is_err());
        assert_eq!(errno(dir.open_to_write(b"link")), libc::ELOOP);
        assert_eq!(errno(dir.open_to_read(b"link")), libc::ELOOP);
        assert_eq!(errno(dir.create(b"dangling", 0o644)), libc::EEXIST);
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0b", b"x@sys"] {
            assert_eq!(errno(dir.create(bad, 0o644)), libc::EINVAL);
        }
        dir.unlink(b"link").unwrap();
        assert_eq!(std::fs::read(outside.join("file")).unwrap(), b"text");
        assert_eq!(dir.readlink(b"dir").unwrap(), outside.into_os_string().into_encoded_bytes());
        assert!(dir.symlink(b"#root.cell.", b"x").is_err());
    }

    #[test]
    fn a_full_device_is_an_error() {
        let full = rustix::fs::open("/dev/full", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        assert_eq!(errno(Writer(full).write_at(b"x", 0)), libc::ENOSPC);
    }
}
