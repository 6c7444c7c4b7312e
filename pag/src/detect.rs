//! Which AFS client serves a path, and what would be needed where none does.

use crate::client::ClientKind;
use crate::sys::consts::{AFS_IOCTL_FILE, MAGIC_KAFS, MAGIC_OPENAFS};
use crate::sys::keyctl;
use crate::{Cell, Error, keyring};
use std::path::Path;

/// The kernel client that serves a path; `None`: it is not in AFS.
///
/// Asks the file system, so it waits as long as a stat of the path.
///
/// # Errors
/// The errno of statfs(2).
pub fn serving(path: &Path) -> Result<Option<ClientKind>, Error> {
    let about = rustix::fs::statfs(path).map_err(|e| keyring::failed("statfs")(e.raw_os_error()))?;
    Ok(kind_of(about.f_type))
}

/// The client of a type of file system.
fn kind_of(f_type: i64) -> Option<ClientKind> {
    match u32::try_from(f_type) {
        Ok(MAGIC_OPENAFS) => Some(ClientKind::OpenAfs),
        Ok(MAGIC_KAFS) => Some(ClientKind::Kafs),
        _ => None,
    }
}

/// Whether the module of a kernel client is loaded. `false` for the user-space client.
#[must_use]
pub fn loaded(kind: ClientKind) -> bool {
    match kind {
        ClientKind::OpenAfs => Path::new(AFS_IOCTL_FILE).exists(),
        ClientKind::Kafs => Path::new("/proc/fs/afs").exists(),
        ClientKind::Userspace => false,
    }
}

/// What would be needed for a kernel client to serve a path that none serves, in a sentence.
#[must_use]
pub fn missing(path: &Path) -> String {
    let path = path.display();
    match (loaded(ClientKind::OpenAfs), loaded(ClientKind::Kafs)) {
        (true, _) => {
            format!("the OpenAFS module is loaded, but {path} is not in AFS: afsd has not mounted it there")
        }
        (false, true) => {
            format!("kAFS is loaded, but not mounted on {path}: mount -t afs none {path} -o dyn")
        }
        (false, false) => format!(
            "no AFS client is loaded that could serve {path}: start OpenAFS (afsd), or load and mount kAFS, or use the user-space client"
        ),
    }
}

/// A cell's name as a client wrote it.
///
/// # Errors
/// [`Error::NoAfs`] if it is none.
pub(crate) fn cell_from(name: &[u8]) -> Result<Cell, Error> {
    let name = name.split(|b| *b == 0).next().unwrap_or_default();
    core::str::from_utf8(name)
        .ok()
        .and_then(|n| Cell::new(n).ok())
        .ok_or_else(|| Error::NoAfs("the client gives no name of a cell".to_owned()))
}

/// For the httpd parent, which has one thread: an empty session keyring of its own and, where OpenAFS is loaded, a PAG.
///
/// So neither a PAG nor a session of whoever started it, with his tokens, gets to its children.
///
/// # Errors
/// The kernel's.
pub fn leave_inherited() -> Result<(), Error> {
    keyctl::new_session().map_err(keyring::failed("new session keyring"))?;
    if loaded(ClientKind::OpenAfs) {
        crate::openafs::fresh_pag()?;
    }
    Ok(())
}

/// For a process that has just been forked from a thread of httpd's: it is in no PAG of that one's any more. One system call.
///
/// With OpenAFS it has no PAG then, as whatever else its uid starts: for a new one, the module lets whoever is not root wait
/// until there have been no more of them than seconds.
///
/// # Errors
/// The kernel's.
pub fn leave_all() -> Result<(), Error> {
    keyctl::new_session().map(drop).map_err(keyring::failed("new session keyring"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_known_by_the_type_of_their_file_system() {
        for (f_type, kind) in [
            (0x5346_414F, Some(ClientKind::OpenAfs)),
            (0x6B41_4653, Some(ClientKind::Kafs)),
            (0x0102_1994, None),
            (-1, None),
        ] {
            assert_eq!(kind_of(f_type), kind);
        }
        assert_eq!(serving("/proc".as_ref()), Ok(None));
        assert_eq!(serving("/proc/none".as_ref()).unwrap_err().errno(), Some(libc::ENOENT));
    }

    #[test]
    fn names_of_cells_end_at_a_nul() {
        assert_eq!(cell_from(b"a.example\0xx").unwrap().as_str(), "a.example");
        assert_eq!(cell_from(b"a.example").unwrap().as_str(), "a.example");
        assert!(cell_from(b"").is_err());
        assert!(cell_from(b"\xff\0").is_err());
    }

    #[test]
    fn what_is_missing_names_the_path() {
        assert!(missing("/afs".as_ref()).contains("/afs"));
    }
}
