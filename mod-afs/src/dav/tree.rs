//! Whole trees: removed, copied, moved. They end where another volume begins: what lies behind a mount point is not touched.

use super::files::{Files, join, split};
use super::put::{self, Problem, Put};
use crate::message;
use pag::Fault;
use pag::userspace::Kind;

/// Most directories below one another.
const DEEPEST: usize = 256;
/// Most failures that are told.
const TOLD: usize = 100;
/// So many bytes are copied at once.
const PIECE: usize = 256 << 10;

/// What could not be done, and with which member; the root of the tree is one, too.
pub type Failures = Vec<(Vec<u8>, Problem)>;

/// Refuses a directory that is the root of another volume than the directory it stands in.
///
/// # Errors
/// What AFS says.
fn same_volume(files: &dyn Files, dir: &[u8], volume: u64) -> Result<(), Problem> {
    if files.volume(dir)? == volume { Ok(()) } else { Err(Problem::MountPoint) }
}

/// The volume of the directory that a path stands in.
///
/// # Errors
/// What AFS says.
fn volume_around(files: &dyn Files, path: &[u8]) -> Result<u64, Problem> {
    let (dir, _) = split(path).ok_or(Problem::Afs(libc::EINVAL))?;
    Ok(files.volume(dir)?)
}

/// Removes a file, a link, or a directory with all that is in it.
///
/// # Errors
/// What could not be removed; the rest has been.
pub fn remove(files: &dyn Files, path: &[u8]) -> Result<(), Failures> {
    let one = |problem: Problem| vec![(path.to_vec(), problem)];
    let look = files.look(path).map_err(|e| one(e.into()))?;
    if look.kind != Kind::Directory {
        return files.unlink(path).map_err(|e| one(e.into()));
    }
    let volume = volume_around(files, path).map_err(one)?;
    let mut failures = Failures::new();
    remove_directory(files, path, volume, 0, &mut failures);
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

/// Removes a directory; whether it is gone.
fn remove_directory(
    files: &dyn Files,
    dir: &[u8],
    volume: u64,
    depth: usize,
    failures: &mut Failures,
) -> bool {
    let fail = |failures: &mut Failures, path: &[u8], problem: Problem| {
        if failures.len() < TOLD {
            failures.push((path.to_vec(), problem));
        }
        false
    };
    if depth >= DEEPEST {
        return fail(failures, dir, Problem::Afs(libc::EFBIG));
    }
    let names = match same_volume(files, dir, volume).and_then(|()| Ok(files.names(dir)?)) {
        Ok(names) => names,
        Err(problem) => return fail(failures, dir, problem),
    };
    let mut empty = true;
    for name in names {
        let path = join(dir, &name);
        empty &= match files.look(&path) {
            Ok(look) if look.kind == Kind::Directory => {
                remove_directory(files, &path, volume, depth + 1, failures)
            }
            Ok(_) => match files.unlink(&path) {
                Ok(()) => true,
                Err(errno) => fail(failures, &path, errno.into()),
            },
            // Somebody else has removed it.
            Err(errno) if Fault::of(errno) == Fault::Absent => true,
            Err(errno) => fail(failures, &path, errno.into()),
        };
    }
    if !empty {
        return false;
    }
    match files.rmdir(dir) {
        Ok(()) => true,
        Err(errno) => fail(failures, dir, errno.into()),
    }
}

/// Copies a file, a link, or a directory; `deep`: with all that is in it. What has the new name is replaced.
///
/// # Errors
/// What could not be copied. What was made is removed again, as far as the visitor may, and what was replaced is put back.
pub fn copy(again: &dyn Fn() -> Box<dyn Files>, from: &[u8], to: &[u8], deep: bool) -> Result<(), Failures> {
    let files = again();
    let files = files.as_ref();
    let one = |problem: Problem| vec![(to.to_vec(), problem)];
    let look = files.look(from).map_err(|e| vec![(from.to_vec(), e.into())])?;
    let target = existing(files, to).map_err(one)?;
    if look.kind == Kind::File && matches!(target, None | Some(Kind::File)) {
        // As a PUT of the same bytes: whole or not at all.
        return copy_file(again, from, to).map_err(one);
    }
    // All that may fail before the copy begins comes before the way is cleared: from there on, `finish` is the only way out.
    let volume = if look.kind == Kind::Directory { files.volume(from) } else { Ok(0) };
    let volume = volume.map_err(|e| vec![(from.to_vec(), e.into())])?;
    let aside = target.map(|_| set_aside(files, to)).transpose().map_err(one)?;
    let done = match look.kind {
        Kind::File => copy_file(again, from, to).map_err(one),
        Kind::Directory => {
            let done = copy_directory(again, from, to, deep, volume, 0);
            if done.is_err() {
                // As far as it goes: what cannot be removed could not have been made, but for the rights of who inserts.
                let _ = remove(files, to);
            }
            done
        }
        Kind::Link => copy_link(files, from, to).map_err(one),
        Kind::Other => Err(one(Problem::Afs(libc::EINVAL))),
    };
    finish(files, aside.as_deref(), to, done.is_ok());
    done
}

/// What stands at a path; `None`: nothing.
///
/// # Errors
/// What AFS says.
fn existing(files: &dyn Files, path: &[u8]) -> Result<Option<Kind>, Problem> {
    match files.look(path) {
        Ok(look) => Ok(Some(look.kind)),
        Err(errno) if Fault::of(errno) == Fault::Absent => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Gives what stands at a path a temporary name, until what takes its place is there.
///
/// # Errors
/// What AFS says.
fn set_aside(files: &dyn Files, path: &[u8]) -> Result<Vec<u8>, Problem> {
    if files.look(path)?.kind == Kind::Directory {
        // Not the mount point of a volume.
        same_volume(files, path, volume_around(files, path)?)?;
    }
    let aside = put::aside(path)?;
    files.rename(path, &aside)?;
    Ok(aside)
}

/// Removes what was set aside, or puts it back if nothing has taken its place.
fn finish(files: &dyn Files, aside: Option<&[u8]>, path: &[u8], replaced: bool) {
    let Some(aside) = aside else { return };
    if !replaced {
        let _ = files.rename(aside, path);
        return;
    }
    for (path, problem) in remove(files, aside).err().unwrap_or_default() {
        let path = String::from_utf8_lossy(&path).into_owned();
        tracing::warn!(
            id = message::LEFT_BEHIND.id,
            path,
            ?problem,
            "what was replaced could not be removed"
        );
    }
}

/// Copies the contents of a file, and its mode.
///
/// # Errors
/// What AFS says; [`Problem::Changed`] if what was copied has changed meanwhile, and so may be half of one and half of the
/// other.
fn copy_file(again: &dyn Fn() -> Box<dyn Files>, from: &[u8], to: &[u8]) -> Result<(), Problem> {
    let files = again();
    let before = files.etag(from)?;
    let size = files.look(from)?.size;
    let mut source = files.open_to_read(from)?;
    let mut put = Put::begin(again(), to, Some(size), false)?;
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    loop {
        let n = source.read_at(&mut piece, at)?;
        if n == 0 {
            return if files.etag(from)? == before { put.commit().map(drop) } else { Err(Problem::Changed) };
        }
        put.write(piece.get(..n).unwrap_or_default())?;
        at += n as u64;
    }
}

/// Copies a symbolic link, as it is.
///
/// # Errors
/// What AFS says.
fn copy_link(files: &dyn Files, from: &[u8], to: &[u8]) -> Result<(), Problem> {
    Ok(files.symlink(&files.readlink(from)?, to)?)
}

/// Copies a directory to a name that does not exist.
///
/// # Errors
/// What AFS says.
fn copy_directory(
    again: &dyn Fn() -> Box<dyn Files>,
    from: &[u8],
    to: &[u8],
    deep: bool,
    volume: u64,
    depth: usize,
) -> Result<(), Failures> {
    let files = again();
    let one = |path: &[u8], problem: Problem| vec![(path.to_vec(), problem)];
    if depth >= DEEPEST {
        return Err(one(from, Problem::Afs(libc::EFBIG)));
    }
    same_volume(files.as_ref(), from, volume).map_err(|p| one(from, p))?;
    // Before the new one is made, which may lie in it.
    let names = if deep { files.names(from).map_err(|e| one(from, e.into()))? } else { Vec::new() };
    files.mkdir(to).map_err(|e| one(to, e.into()))?;
    for name in names.iter().filter(|n| !put::is_passing(n)) {
        let (from, to) = (join(from, name), join(to, name));
        match files.look(&from).map_err(|e| one(&from, e.into()))?.kind {
            Kind::Directory => copy_directory(again, &from, &to, deep, volume, depth + 1)?,
            Kind::File => copy_file(again, &from, &to).map_err(|p| one(&to, p))?,
            Kind::Link => copy_link(files.as_ref(), &from, &to).map_err(|p| one(&to, p))?,
            Kind::Other => return Err(one(&from, Problem::Afs(libc::EINVAL))),
        }
    }
    Ok(())
}

/// Renames; what has the new name is replaced.
///
/// # Errors
/// What could not be done; then both names are as they were.
pub fn rename(files: &dyn Files, from: &[u8], to: &[u8]) -> Result<(), Failures> {
    let one = |problem: Problem| vec![(to.to_vec(), problem)];
    let look = files.look(from).map_err(|e| one(e.into()))?;
    let target = existing(files, to).map_err(one)?;
    if look.kind == Kind::Directory {
        // Not a mount point, and not into another volume: the client would say so, but only after the way is clear.
        let volume = volume_around(files, from).map_err(one)?;
        same_volume(files, from, volume).map_err(one)?;
    }
    if volume_around(files, from).map_err(one)? != volume_around(files, to).map_err(one)? {
        return Err(one(Problem::Afs(libc::EXDEV)));
    }
    let as_it_is = look.kind != Kind::Directory && target != Some(Kind::Directory);
    if target.is_none() || as_it_is {
        return files.rename(from, to).map_err(|e| one(e.into()));
    }
    let aside = set_aside(files, to).map_err(one)?;
    let done = files.rename(from, to).map_err(|e| one(e.into()));
    finish(files, Some(&aside), to, done.is_ok());
    done
}
