//! What is known of a file: between an AFS client's answer and httpd's `apr_finfo_t`.

use core::ffi::c_int;
use httpd_sys as sys;

/// Kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Nothing there, or nobody looked.
    None,
    /// A plain file.
    Plain,
    /// A directory.
    Directory,
    /// A symbolic link (only where the link itself was asked for).
    Link,
    /// Anything else; httpd refuses it.
    Other,
}

/// What is known of a file. Times are microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileInfo {
    /// Kind.
    pub kind: FileKind,
    /// Permission bits (the nine of `chmod`).
    pub mode: u16,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// Number within its device.
    pub inode: u64,
    /// Device.
    pub device: u64,
    /// Names that it has.
    pub links: u32,
    /// Bytes.
    pub size: u64,
    /// Last change of content.
    pub mtime_us: i64,
    /// Last change of status.
    pub ctime_us: i64,
    /// Last access.
    pub atime_us: i64,
}

/// What `dirwalk_stat` is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The file, through symbolic links.
    Through,
    /// The symbolic link itself, if the last component is one (lstat).
    AtLink,
}

/// The fields of `apr_finfo_t` that a [`FileInfo`] fills.
const KNOWN: u32 = sys::APR_FINFO_TYPE
    | sys::APR_FINFO_PROT
    | sys::APR_FINFO_OWNER
    | sys::APR_FINFO_IDENT
    | sys::APR_FINFO_NLINK
    | sys::APR_FINFO_SIZE
    | sys::APR_FINFO_CSIZE
    | sys::APR_FINFO_MTIME
    | sys::APR_FINFO_CTIME
    | sys::APR_FINFO_ATIME;

/// `rwxrwxrwx` to APR's bits: one hexadecimal digit each for owner, group, world.
fn protection(mode: u16) -> c_int {
    let mode = c_int::from(mode);
    ((mode & 0o700) << 2) | ((mode & 0o070) << 1) | (mode & 0o007)
}

/// APR's bits to `rwxrwxrwx`.
fn mode(protection: c_int) -> u16 {
    u16::try_from(((protection >> 2) & 0o700) | ((protection >> 1) & 0o070) | (protection & 0o007))
        .unwrap_or(0)
}

impl FileInfo {
    /// Fills httpd's record; `name` and `pool` stay as they are.
    ///
    /// Returns the bits of `wanted` that stay unknown.
    pub(super) fn fill(&self, to: &mut sys::apr_finfo_t, wanted: c_int) -> c_int {
        to.valid = KNOWN as c_int;
        to.protection = protection(self.mode);
        to.filetype = match self.kind {
            FileKind::None => sys::apr_filetype_e::APR_NOFILE,
            FileKind::Plain => sys::apr_filetype_e::APR_REG,
            FileKind::Directory => sys::apr_filetype_e::APR_DIR,
            FileKind::Link => sys::apr_filetype_e::APR_LNK,
            FileKind::Other => sys::apr_filetype_e::APR_UNKFILE,
        };
        to.user = self.uid;
        to.group = self.gid;
        to.inode = self.inode;
        to.device = self.device;
        to.nlink = c_int::try_from(self.links).unwrap_or(c_int::MAX);
        to.size = i64::try_from(self.size).unwrap_or(i64::MAX);
        to.csize = to.size;
        to.atime = self.atime_us;
        to.mtime = self.mtime_us;
        to.ctime = self.ctime_us;
        wanted & !(KNOWN as c_int) & !(sys::APR_FINFO_LINK as c_int)
    }

    /// Reads httpd's record.
    pub(super) fn read(from: &sys::apr_finfo_t) -> Self {
        Self {
            kind: match from.filetype {
                sys::apr_filetype_e::APR_NOFILE => FileKind::None,
                sys::apr_filetype_e::APR_REG => FileKind::Plain,
                sys::apr_filetype_e::APR_DIR => FileKind::Directory,
                sys::apr_filetype_e::APR_LNK => FileKind::Link,
                _ => FileKind::Other,
            },
            mode: mode(from.protection),
            uid: from.user,
            gid: from.group,
            inode: from.inode,
            device: from.device,
            links: u32::try_from(from.nlink).unwrap_or(0),
            size: u64::try_from(from.size).unwrap_or(0),
            mtime_us: from.mtime,
            ctime_us: from.ctime,
            atime_us: from.atime,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_bits_survive_the_way_to_apr_and_back() {
        for bits in [0, 0o777, 0o644, 0o751, 0o007, 0o070, 0o700] {
            assert_eq!(mode(protection(bits)), bits, "{bits:o}");
        }
        assert_eq!(protection(0o754), 0x754);
    }
}
