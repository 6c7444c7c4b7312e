//! What can go wrong between us and an AFS client.

/// An AFS client did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No AFS client of that kind can be used here; the text says what is missing.
    #[error("no AFS client: {0}")]
    NoAfs(String),
    /// The client answered with an errno (a number, since it may be one that we do not know).
    #[error("{call} failed: errno {errno}")]
    Errno {
        /// The call.
        call: &'static str,
        /// The number.
        errno: i32,
    },
    /// The thread is not in the PAG that it should be in.
    #[error("the thread is not in the PAG that it should be in")]
    WrongPag,
    /// All PAGs that this process made when it started belong to visitors, or to processes that may still run.
    #[error("no PAG is left in this process")]
    NoPagLeft,
    /// The kernel keeps no more keys for this uid.
    #[error("no more keys for this uid: kernel.keys.maxkeys or kernel.keys.maxbytes is too small")]
    Quota,
    /// The client could never show this ticket to a server.
    #[error("a ticket of {bytes} bytes, and kAFS of this kernel shows its servers none of over {most}")]
    TicketTooLong {
        /// Of the ticket.
        bytes: usize,
        /// Of the longest that it shows.
        most: usize,
    },
    /// A value cannot be given to the client (length, NUL byte).
    #[error("{0} cannot be passed to the AFS client")]
    BadValue(&'static str),
}

impl Error {
    /// The errno, where there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Errno { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

/// What an errno says of a call on a file, for who has to tell somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The ACL, or the mode bits of a file, do not let him.
    NoRight,
    /// The volume's quota or the server's partition is full.
    OverQuota,
    /// More than a file or a directory can hold.
    TooLarge,
    /// A read-only copy of a volume.
    ReadOnly,
    /// There is something of that name.
    Exists,
    /// A directory with something in it.
    NotEmpty,
    /// A directory, where a file is wanted.
    IsDirectory,
    /// No directory, where one is wanted.
    NotDirectory,
    /// A name that AFS does not take.
    BadName,
    /// A name of more than 255 bytes.
    NameTooLong,
    /// Nothing of that name, any more.
    Absent,
    /// In another volume, or a file with links from other directories that would leave its own.
    OtherVolume,
    /// A symbolic link that leads nowhere, or outside.
    Link,
    /// The server or the client cannot at the moment, or the kind is not known.
    Unreachable,
}

impl Fault {
    /// By the number.
    ///
    /// `EDQUOT` and `ENOSPC` are what clients make of VOVERQUOTA and VDISKFULL, `EROFS` of a read-only volume,
    /// `EXDEV` of a rename out of a volume (OpenAFS `src/afs/afs_error.c`, `src/afs/VNOPS/afs_vnop_rename.c`;
    /// Linux `fs/afs/misc.c`).
    #[must_use]
    pub fn of(errno: i32) -> Self {
        match errno {
            libc::EACCES | libc::EPERM => Self::NoRight,
            libc::EDQUOT | libc::ENOSPC => Self::OverQuota,
            libc::EFBIG => Self::TooLarge,
            libc::EROFS => Self::ReadOnly,
            libc::EEXIST => Self::Exists,
            libc::ENOTEMPTY => Self::NotEmpty,
            libc::EISDIR => Self::IsDirectory,
            libc::ENOTDIR => Self::NotDirectory,
            libc::EINVAL => Self::BadName,
            libc::ENAMETOOLONG => Self::NameTooLong,
            libc::ENOENT | libc::ESTALE => Self::Absent,
            libc::EXDEV => Self::OtherVolume,
            libc::ELOOP => Self::Link,
            _ => Self::Unreachable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_counts_as_unreachable() {
        for (errno, fault) in [
            (libc::EACCES, Fault::NoRight),
            (libc::EDQUOT, Fault::OverQuota),
            (libc::ENOSPC, Fault::OverQuota),
            (libc::EROFS, Fault::ReadOnly),
            (libc::EXDEV, Fault::OtherVolume),
            (libc::ETIMEDOUT, Fault::Unreachable),
            (libc::EIO, Fault::Unreachable),
            (0, Fault::Unreachable),
            (-1, Fault::Unreachable),
        ] {
            assert_eq!(Fault::of(errno), fault, "{errno}");
        }
    }
}
