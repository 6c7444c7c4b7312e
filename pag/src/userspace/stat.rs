//! What AFS knows of a file.

use crate::sys::RawStat;

/// The identity of a file in AFS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fid {
    /// Cell, as this process numbers them.
    pub cell: u32,
    /// Volume.
    pub volume: u32,
    /// Vnode in the volume.
    pub vnode: u32,
    /// Uniquifier of the vnode.
    pub unique: u32,
}

/// What kind of thing a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory, or the root of a volume behind a mount point.
    Directory,
    /// A symbolic link.
    Link,
    /// Anything else.
    Other,
}

/// What AFS knows of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Mode bits, with the type, as in stat(2). In AFS only the owner's bits mean something.
    pub mode: u32,
    /// Length in bytes.
    pub size: u64,
    /// Time of the last change, seconds since 1970.
    pub mtime: i64,
    /// Inode number, 31 bits, not unique.
    pub ino: u64,
    /// Owner's id in the cell.
    pub uid: u32,
    /// Group's id in the cell.
    pub gid: u32,
    /// Links.
    pub nlink: u32,
    /// The file's identity.
    pub fid: Fid,
    /// Low 19 bits of the data version, which rises with each change.
    pub data_version: u32,
}

impl Stat {
    /// A strong validator without quotes: volume, vnode, uniquifier, data version, time and size, in hex.
    #[must_use]
    pub fn etag(&self) -> String {
        let Fid { volume, vnode, unique, .. } = self.fid;
        format!("{volume:x}-{vnode:x}-{unique:x}-{:x}-{:x}-{:x}", self.data_version, self.mtime, self.size)
    }
}

impl From<RawStat> for Stat {
    fn from(r: RawStat) -> Self {
        let kind = match r.mode & libc::S_IFMT {
            libc::S_IFREG => Kind::File,
            libc::S_IFDIR => Kind::Directory,
            libc::S_IFLNK => Kind::Link,
            _ => Kind::Other,
        };
        Self {
            kind,
            mode: r.mode,
            size: r.size,
            mtime: r.mtime,
            ino: r.ino,
            uid: r.uid,
            gid: r.gid,
            nlink: r.nlink,
            fid: Fid { cell: r.cell, volume: r.volume, vnode: r.vnode, unique: r.unique },
            data_version: r.data_version,
        }
    }
}
