//! May root start this program? Only if nobody else can put another in its place.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bits by which group or others may write.
const OTHERS_WRITE: u32 = 0o022;
/// Only the owner of an entry may rename or remove it.
const STICKY: u32 = 0o1000;
/// Setuid and setgid.
const SET_ID: u32 = 0o6000;
/// Anybody may execute.
const EXECUTE: u32 = 0o111;

/// Why a program is not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// Cannot be looked at.
    #[error("{path}: {source}")]
    Look {
        /// What.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not a program.
    #[error("{0} is no executable file")]
    NotExecutable(PathBuf),
    /// Setuid or setgid, which the broker must not be.
    #[error("{0} is setuid or setgid")]
    SetId(PathBuf),
    /// Belongs to somebody who could change it.
    #[error("{path} belongs to uid {uid}")]
    Owner {
        /// What.
        path: PathBuf,
        /// Whom.
        uid: u32,
    },
    /// Others may write it.
    #[error("{path} may be written by others (mode {mode:o})")]
    Mode {
        /// What.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// Checks a program, its directory, all directories above, and all that its name leads through: symbolic links and the
/// directories above these. Returns its real path.
///
/// Each must belong to root (or to `uid`, the user that is about to start it) and be writable for nobody else.
/// Directories other than its own may be like /tmp, where nobody can touch what belongs to others.
///
/// # Errors
/// [`TrustError`] says which path and why.
pub fn check(program: &Path, uid: u32) -> Result<PathBuf, TrustError> {
    let look = |path: &Path, source| TrustError::Look { path: path.to_owned(), source };
    let real = program.canonicalize().map_err(|e| look(program, e))?;
    let way = weblog_fds::on_the_way(program).map_err(|e| look(program, e))?;
    // Whoever can change a link, or put another in its place, says what is started.
    let through = way.into_iter().filter(|path| !real.starts_with(path));
    for (depth, path) in real.ancestors().map(Path::to_owned).chain(through).enumerate() {
        let meta = std::fs::symlink_metadata(&path).map_err(|e| look(&path, e))?;
        let mode = meta.mode();
        if depth == 0 {
            if !meta.is_file() || mode & EXECUTE == 0 {
                return Err(TrustError::NotExecutable(path));
            }
            if mode & SET_ID != 0 {
                return Err(TrustError::SetId(path));
            }
        }
        if meta.uid() != 0 && meta.uid() != uid {
            return Err(TrustError::Owner { path, uid: meta.uid() });
        }
        let like_tmp = depth > 1 && mode & STICKY != 0;
        // The mode of a link is always 777, and means nothing.
        if mode & OTHERS_WRITE != 0 && !like_tmp && !meta.is_symlink() {
            return Err(TrustError::Mode { path, mode: mode & 0o7777 });
        }
    }
    Ok(real)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    fn me() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    /// A directory with a program in it, both with these modes.
    fn program(dir_mode: u32, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("lib");
        std::fs::create_dir(&dir).unwrap();
        let file = dir.join("weblog");
        std::fs::write(&file, "#!/bin/true\n").unwrap();
        set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        set_permissions(&dir, Permissions::from_mode(dir_mode)).unwrap();
        (top, file)
    }

    #[test]
    fn a_program_that_only_its_starter_can_change_is_good() {
        let (_top, file) = program(0o755, 0o755);
        assert_eq!(check(&file, me()).unwrap(), file.canonicalize().unwrap());
        assert!(check(Path::new("/bin/true"), 12345).is_ok(), "root's are good for everybody");
    }

    #[test]
    fn modes_that_let_others_write_are_refused() {
        for (dir, file) in [(0o775, 0o755), (0o757, 0o755), (0o1777, 0o755), (0o755, 0o775), (0o755, 0o757)] {
            let (_top, path) = program(dir, file);
            assert!(matches!(check(&path, me()), Err(TrustError::Mode { .. })), "{dir:o} {file:o}");
        }
    }

    #[test]
    fn what_is_no_program_or_has_set_id_bits_is_refused() {
        let (_top, path) = program(0o755, 0o644);
        assert!(matches!(check(&path, me()), Err(TrustError::NotExecutable(_))));
        assert!(matches!(check(path.parent().unwrap(), me()), Err(TrustError::NotExecutable(_))));
        assert!(matches!(check(&path.join("x"), me()), Err(TrustError::Look { .. })));
        let (_top, path) = program(0o755, 0o4755);
        assert!(matches!(check(&path, me()), Err(TrustError::SetId(_))));
    }

    #[test]
    fn a_link_is_as_good_as_what_it_leads_to() {
        let (top, path) = program(0o777, 0o755);
        let link = top.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(matches!(check(&link, me()), Err(TrustError::Mode { .. })));
        set_permissions(path.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
        assert_eq!(check(&link, me()).unwrap(), path.canonicalize().unwrap());
    }

    #[test]
    fn nobody_else_may_change_where_a_link_leads() {
        let (top, path) = program(0o755, 0o755);
        let dir = top.path().join("open");
        std::fs::create_dir(&dir).unwrap();
        let (link, next, over) = (dir.join("weblog"), top.path().join("next"), top.path().join("dirs"));
        symlink("../lib/weblog", &link).unwrap();
        symlink(&link, &next).unwrap();
        symlink("open", &over).unwrap();
        let names = [link.clone(), next, over.join("weblog"), dir.join("../lib/weblog")];
        let checked = |mode| {
            set_permissions(&dir, Permissions::from_mode(mode)).unwrap();
            names.iter().map(|name| check(name, me())).collect::<Vec<_>>()
        };
        for result in checked(0o777) {
            assert!(
                matches!(&result, Err(TrustError::Mode { path, .. }) if path.ends_with("open")),
                "{result:?}"
            );
        }
        // Like /tmp, where the link is its owner's.
        for mode in [0o1777, 0o755] {
            assert!(checked(mode).into_iter().all(|real| real.unwrap() == path.canonicalize().unwrap()));
        }
        if me() == 0 {
            std::os::unix::fs::lchown(&link, Some(12345), None).unwrap();
            assert!(matches!(check(&link, 0), Err(TrustError::Owner { uid: 12345, .. })));
        }
    }

    #[test]
    fn an_owner_other_than_root_and_the_starter_is_refused_at_any_depth() {
        let (top, path) = program(0o755, 0o755);
        let other = me().wrapping_add(1);
        if me() != 0 {
            // Without root files cannot be given away; the starter can be another instead.
            assert!(matches!(check(&path, other), Err(TrustError::Owner { .. })));
            return;
        }
        for p in [path.as_path(), path.parent().unwrap(), top.path()] {
            chown(p, Some(12345), None).unwrap();
            assert!(matches!(check(&path, 0), Err(TrustError::Owner { uid: 12345, .. })), "{}", p.display());
            chown(p, Some(0), None).unwrap();
        }
        assert!(check(&path, 0).is_ok());
    }
}
