//! Files in AFS where a client in the kernel shows them: ordinary calls, made by a thread that is in the right PAG.

use crate::content::Attributes;
use crate::httpd::{FileInfo, FileKind};
use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// A name as the system takes it.
fn name(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

/// The errno of a call.
fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// Attributes through symbolic links.
///
/// # Errors
/// An errno.
pub fn stat(path: &[u8]) -> Result<Attributes, i32> {
    std::fs::metadata(name(path)).map(|m| attributes(&m)).map_err(|e| errno(&e))
}

/// Attributes of the name itself, be it a symbolic link.
///
/// # Errors
/// An errno.
pub fn lstat(path: &[u8]) -> Result<Attributes, i32> {
    std::fs::symlink_metadata(name(path)).map(|m| attributes(&m)).map_err(|e| errno(&e))
}

/// May the names in this directory be read?
///
/// # Errors
/// An errno.
pub fn list(path: &[u8]) -> Result<(), i32> {
    let first = std::fs::read_dir(name(path)).map_err(|e| errno(&e))?.next();
    first.map_or(Ok(()), |entry| entry.map(drop).map_err(|e| errno(&e)))
}

/// Opens a file for reading, and its attributes as of then.
///
/// # Errors
/// An errno.
pub fn open(path: &[u8]) -> Result<(File, Attributes), i32> {
    // Never waits for somebody at the other end, should it be no file.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(name(path))
        .map_err(|e| errno(&e))?;
    let attributes = file.metadata().map(|m| attributes(&m)).map_err(|e| errno(&e))?;
    Ok((file, attributes))
}

/// Reads up to `to.len()` bytes from byte `at` on; 0 only at the end.
///
/// # Errors
/// An errno.
pub fn read_at(file: &File, at: u64, to: &mut [u8]) -> Result<usize, i32> {
    loop {
        match file.read_at(to, at) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map_err(|e| errno(&e)),
        }
    }
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
