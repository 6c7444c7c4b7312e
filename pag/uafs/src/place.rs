//! What a call is about: an absolute path, or a name in an open directory, which no link and no rename leads elsewhere.

use crate::creds::Cred;
use crate::errno::{Errno, Res};
use crate::file::File;
use crate::lock::Glock;
use crate::walk::{self, Held};
use std::ffi::CString;

/// A path, or a name in a directory.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The directory; none for an absolute path.
    pub(crate) dir: Option<&'a File>,
    /// The path; in a directory one name, `..`, or nothing for the directory itself.
    pub(crate) path: &'a [u8],
}

impl Place<'_> {
    /// What is there. In a directory no symbolic link is followed, else one at the end if `follow`.
    pub(crate) fn find<'l>(self, follow: bool, cred: Cred, lock: &'l Glock) -> Res<Held<'l>> {
        let Some(dir) = self.dir else { return walk::walk(self.path, follow, cred, lock) };
        let dir = dir.held(lock)?;
        if self.path.is_empty() { Ok(dir) } else { walk::step(&dir, self.path) }
    }

    /// The directory that it stands in, and its name there.
    pub(crate) fn parent<'l>(self, cred: Cred, lock: &'l Glock) -> Res<(Held<'l>, CString)> {
        let Some(dir) = self.dir else { return walk::parent(self.path, cred, lock) };
        let dir = dir.held(lock)?;
        if dir.is_dir() { Ok((dir, walk::name(self.path)?)) } else { Err(Errno(libc::ENOTDIR)) }
    }
}
