//! Files in AFS where a client in the kernel shows them: ordinary calls, made by a thread that is in the right PAG.
//!
//! The kernel follows a symbolic link in AFS to wherever it points, also to this machine's own files. So everything is
//! opened first, and then looked whether it lies below the mount directory.

use crate::content::{self, Attributes, Version};
use crate::httpd::{FileInfo, FileKind};
use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A name as the system takes it.
fn name(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

/// The errno of a call.
fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// Fails with ELOOP for what lies outside of `mount`, by whatever way it was reached.
///
/// # Errors
/// An errno.
fn inside(file: &File, mount: &str) -> Result<(), i32> {
    let real = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(|e| errno(&e))?;
    if content::is_below(real.as_os_str().as_bytes(), mount) { Ok(()) } else { Err(libc::ELOOP) }
}

/// Something that is said to be absent, and is listed.
#[derive(Debug, PartialEq, Eq)]
pub struct Hidden {
    /// The directory that lists it.
    pub dir: PathBuf,
    /// Whether it has no ACL of its own: the directory's counts.
    pub is_file: bool,
}

/// Is there something that is said to be absent?
///
/// In a directory whose names a visitor may read, but not its files, kAFS says of a file that it does not exist.
#[must_use]
pub fn hidden(path: &[u8]) -> Option<Hidden> {
    // What can be seen now has been made in between: then it was absent.
    listed(name(path)).filter(|_| std::fs::symlink_metadata(name(path)).is_err())
}

/// Where this name, or one of a directory on the way to it, is in a directory that can be read.
fn listed(path: &Path) -> Option<Hidden> {
    let (parent, last) = (path.parent()?, path.file_name()?);
    match std::fs::read_dir(parent) {
        // A symbolic link that leads nowhere is listed, too, and rightly absent.
        Ok(entries) => entries
            .filter_map(Result::ok)
            .find(|e| e.file_name() == last && !e.file_type().is_ok_and(|t| t.is_symlink()))
            // Numbers of directories are odd in AFS.
            .map(|e| Hidden { dir: parent.to_owned(), is_file: e.ino() % 2 == 0 }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => listed(parent),
        Err(_) => None,
    }
}

/// Looks at a name: `follow` = through a symbolic link at its end.
///
/// # Errors
/// An errno.
fn look(path: &[u8], mount: &str, follow: bool) -> Result<Attributes, i32> {
    let flags = libc::O_PATH | if follow { 0 } else { libc::O_NOFOLLOW };
    let file = OpenOptions::new().read(true).custom_flags(flags).open(name(path)).map_err(|e| errno(&e))?;
    inside(&file, mount)?;
    file.metadata().map(|m| attributes(&m)).map_err(|e| errno(&e))
}

/// Attributes through symbolic links.
///
/// # Errors
/// An errno; ELOOP for what does not lie below `mount`.
pub fn stat(path: &[u8], mount: &str) -> Result<Attributes, i32> {
    look(path, mount, true)
}

/// Attributes of the name itself, be it a symbolic link.
///
/// # Errors
/// As [`stat`].
pub fn lstat(path: &[u8], mount: &str) -> Result<Attributes, i32> {
    look(path, mount, false)
}

/// The name right below `mount` that a path goes through, and the same in lower case, if that is another one.
fn cell_in_lower_case(path: &[u8], mount: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let cell = content::first_below(path, mount).filter(|cell| cell.iter().any(u8::is_ascii_uppercase))?;
    let at = |name: &[u8]| [mount.as_bytes(), b"/", name].concat();
    Some((at(cell), at(&cell.to_ascii_lowercase())))
}

/// Does the path go by a second name of a cell? kAFS takes `CELL` for `cell`, of which httpd's own rules for paths know nothing.
#[must_use]
pub fn is_alias(path: &[u8], mount: &str) -> bool {
    let Some((as_is, lower)) = cell_in_lower_case(path, mount) else { return false };
    // What is mounted there, which a look at the name itself would not have mounted.
    let which =
        |path: &[u8]| stat(&[path, b"/."].concat(), mount).map(|found| (found.info.device, found.info.inode));
    matches!((which(&as_is), which(&lower)), (Ok(one), Ok(other)) if one == other)
}

/// May the names in this directory be read?
///
/// # Errors
/// As [`stat`].
pub fn list(path: &[u8], mount: &str) -> Result<(), i32> {
    look(path, mount, true)?;
    let first = std::fs::read_dir(name(path)).map_err(|e| errno(&e))?.next();
    first.map_or(Ok(()), |entry| entry.map(drop).map_err(|e| errno(&e)))
}

/// Opens a file for reading, and its attributes as of then.
///
/// # Errors
/// As [`stat`].
pub fn open(path: &[u8], mount: &str) -> Result<(File, Version, Attributes), i32> {
    // Never waits for somebody at the other end, should it be no file.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(name(path))
        .map_err(|e| errno(&e))?;
    inside(&file, mount)?;
    let attributes = file.metadata().map(|m| attributes(&m)).map_err(|e| errno(&e))?;
    Ok((file, version_in(&attributes.info), attributes))
}

/// What an open file is like now. The data version is not to be had by stat(2).
///
/// # Errors
/// An errno.
pub fn version(file: &File) -> Result<Version, i32> {
    file.metadata().map(|m| version_in(&attributes(&m).info)).map_err(|e| errno(&e))
}

/// The same of attributes.
fn version_in(info: &FileInfo) -> Version {
    Version { data: 0, size: info.size, mtime_us: info.mtime_us }
}

/// Reads up to `to.len()` bytes from byte `at` on: gives the part of `to` that they are in now; empty only at the end.
///
/// # Errors
/// An errno.
pub fn read_at<'b>(file: &File, at: u64, to: &'b mut [MaybeUninit<u8>]) -> Result<&'b mut [u8], i32> {
    rustix::io::pread(file, to, at).map(|(read, _)| read).map_err(|e| e.raw_os_error())
}

/// As [`read_at`], into memory that holds something already: how many bytes; 0 at the end.
///
/// # Errors
/// An errno.
pub fn read_into(file: &File, at: u64, to: &mut [u8]) -> Result<usize, i32> {
    rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *to, at)).map_err(|e| e.raw_os_error())
}

/// The system's attributes as httpd takes them, with a validator.
fn attributes(m: &Metadata) -> Attributes {
    let kind = m.file_type();
    let us = |s: i64, ns: i64| s.saturating_mul(1_000_000).saturating_add(ns / 1_000);
    let info = FileInfo {
        kind: if kind.is_file() {
            FileKind::Plain
        } else if kind.is_dir() {
            FileKind::Directory
        } else if kind.is_symlink() {
            FileKind::Link
        } else {
            FileKind::Other
        },
        mode: u16::try_from(m.mode() & 0o777).unwrap_or(0),
        uid: m.uid(),
        gid: m.gid(),
        inode: m.ino(),
        device: m.dev(),
        links: u32::try_from(m.nlink()).unwrap_or(u32::MAX),
        size: m.size(),
        mtime_us: us(m.mtime(), m.mtime_nsec()),
        ctime_us: us(m.ctime(), m.ctime_nsec()),
        atime_us: us(m.atime(), m.atime_nsec()),
    };
    // The inode number is made of volume and vnode; the data version is not to be had by stat(2).
    let etag = format!("{:x}-{:x}-{:x}", m.ino(), m.size(), us(m.mtime(), m.mtime_nsec()));
    Attributes { info, etag }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_in_capitals_is_told_from_a_name_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let mount = dir.path().canonicalize().unwrap();
        for name in ["cell", "OTHER", "other"] {
            std::fs::create_dir(mount.join(name)).unwrap();
        }
        std::os::unix::fs::symlink("cell", mount.join("Cell")).unwrap();
        let root = mount.to_str().unwrap();
        for (name, alias) in [
            ("Cell", true),
            ("Cell/x/y", true),
            ("cell/X", false),
            ("OTHER/x", false),
            ("ABSENT/x", false),
            ("", false),
        ] {
            let path = mount.join(name).into_os_string().into_encoded_bytes();
            assert_eq!(is_alias(&path, root), alias, "{name}");
        }
    }

    #[test]
    fn links_that_lead_out_of_the_mount_directory_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let (mount, outside) = (dir.join("afs"), dir.join("outside"));
        std::fs::create_dir_all(mount.join("sub")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(mount.join("sub/file"), "text").unwrap();
        std::fs::write(outside.join("secret"), "secret").unwrap();
        for (target, link) in [
            (mount.join("sub/file"), "good"),
            (outside.join("secret"), "bad"),
            (outside.clone(), "sub/out"),
            (Path::new("../outside/secret").to_owned(), "relative"),
        ] {
            std::os::unix::fs::symlink(target, mount.join(link)).unwrap();
        }
        let root = mount.to_str().unwrap();
        let at = |name: &str| mount.join(name).into_os_string().into_encoded_bytes();
        let kind = |r: Result<Attributes, i32>| r.map(|a| a.info.kind);
        for name in ["good", "sub/file"] {
            assert_eq!(kind(stat(&at(name), root)), Ok(FileKind::Plain), "{name}");
            let (file, _, found) = open(&at(name), root).unwrap();
            let mut to = [MaybeUninit::uninit(); 8];
            assert_eq!((&*read_at(&file, 1, &mut to).unwrap(), found.info.size), (&b"ext"[..], 4));
        }
        for name in ["bad", "sub/out/secret", "relative"] {
            assert_eq!(kind(stat(&at(name), root)), Err(libc::ELOOP), "{name}");
            assert_eq!(open(&at(name), root).map(drop), Err(libc::ELOOP), "{name}");
        }
        assert_eq!(kind(lstat(&at("bad"), root)), Ok(FileKind::Link));
        assert_eq!(kind(lstat(&at("sub/out/secret"), root)), Err(libc::ELOOP));
        assert_eq!(list(&at("sub"), root), Ok(()));
        assert_eq!(list(&at("sub/out"), root), Err(libc::ELOOP));
        assert_eq!(kind(stat(&at("none"), root)), Err(libc::ENOENT));
        assert_eq!(list(&at("sub/file"), root), Err(libc::ENOTDIR));
        // What is listed: the name itself, or one on the way to it, and no link; hidden is nothing here.
        let dir = |path: &str| listed(&mount.join(path)).map(|hidden| hidden.dir);
        assert_eq!((dir("sub/file"), dir("sub/none/file")), (Some(mount.join("sub")), None));
        assert_eq!((dir("none"), dir("good"), hidden(&at("sub/file"))), (None, None, None));
    }
}
