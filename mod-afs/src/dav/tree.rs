//! Whole trees: removed, copied, moved. They end where another volume begins: what lies behind a mount point is not touched.
//!
//! Each directory on the way down is held, from the one that the request is about on, so that nobody leads the rest of the
//! work elsewhere by moving one away and putting a link in its place.

use super::files::{Dir, Id, join};
use super::put::{self, Problem, Put};
use crate::message;
use pag::Fault;
use pag::userspace::Kind;

/// Most directories below one another. Each takes a descriptor or two while something in it is done.
const DEEPEST: usize = 100;
/// Most failures that are told.
const TOLD: usize = 100;
/// So many bytes are copied at once.
const PIECE: usize = 256 << 10;

/// What could not be done, and with which member; the root of the tree is one, too.
pub type Failures = Vec<(Vec<u8>, Problem)>;

/// A name in a directory that is held.
#[derive(Debug)]
pub struct Place<'a, D: Dir> {
    /// The directory.
    pub dir: &'a D,
    /// The name.
    pub name: &'a [u8],
}

impl<D: Dir> Clone for Place<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Dir> Copy for Place<'_, D> {}

impl<D: Dir> Place<'_, D> {
    /// As a path, to tell of it.
    fn path(self) -> Vec<u8> {
        join(self.dir.path(), self.name)
    }

    /// That something cannot be done with it.
    fn failed(self, problem: impl Into<Problem>) -> Failures {
        vec![(self.path(), problem.into())]
    }

    /// What stands there; `None`: nothing.
    ///
    /// # Errors
    /// What AFS says.
    fn existing(self) -> Result<Option<Kind>, Problem> {
        match self.dir.look(self.name) {
            Ok(look) => Ok(Some(look.kind)),
            Err(errno) if Fault::of(errno) == Fault::Absent => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The directory there, and which one it is.
    ///
    /// # Errors
    /// What AFS says.
    fn open(self) -> Result<(D, Id), Problem> {
        let dir = self.dir.sub(self.name)?;
        let id = dir.id()?;
        Ok((dir, id))
    }

    /// The same, if it is in this volume.
    ///
    /// # Errors
    /// What AFS says; [`Problem::MountPoint`].
    fn open_within(self, volume: u64) -> Result<(D, Id), Problem> {
        let (dir, id) = self.open()?;
        if id.volume == volume { Ok((dir, id)) } else { Err(Problem::MountPoint) }
    }

    /// Whether what stands there is, or lies in, what stands at `other`, which is an `others`.
    ///
    /// # Errors
    /// What AFS says.
    fn is_in(self, other: Self, others: Kind) -> Result<bool, Problem> {
        let around = self.dir.id()?;
        if around == other.dir.id()? && self.name == other.name {
            return Ok(true);
        }
        if others != Kind::Directory {
            return Ok(false);
        }
        let (_, top) = other.open()?;
        let (mut at, mut id) = (self.dir.clone(), around);
        for _ in 0..DEEPEST {
            if id == top {
                return Ok(true);
            }
            match at.above() {
                Ok(Some(above)) => at = above,
                // What is further up is nothing that the visitor could move.
                Ok(None) => break,
                Err(errno) if Fault::of(errno) == Fault::NoRight => break,
                Err(errno) => return Err(errno.into()),
            }
            id = at.id()?;
        }
        Ok(false)
    }
}

/// Refuses to put something in the place of itself, of what it lies in, or of what lies in it, under whatever paths.
///
/// # Errors
/// [`Problem::Overlap`]; what AFS says.
fn apart<D: Dir>(
    from: Place<'_, D>,
    kind: Kind,
    to: Place<'_, D>,
    target: Option<Kind>,
) -> Result<(), Problem> {
    let overlap = to.is_in(from, kind)? || target.map_or(Ok(false), |target| from.is_in(to, target))?;
    if overlap { Err(Problem::Overlap) } else { Ok(()) }
}

/// Removes a file, a link, or a directory with all that is in it.
///
/// # Errors
/// What could not be removed; the rest has been.
pub fn remove<D: Dir>(dir: &D, name: &[u8]) -> Result<(), Failures> {
    let at = Place { dir, name };
    let look = dir.look(name).map_err(|e| at.failed(e))?;
    if look.kind != Kind::Directory {
        return dir.unlink(name).map_err(|e| at.failed(e));
    }
    let volume = dir.id().map_err(|e| at.failed(e))?.volume;
    let mut failures = Failures::new();
    remove_directory(at, volume, 0, &mut failures);
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

/// Notes that something cannot be removed.
fn fail<D: Dir>(failures: &mut Failures, at: Place<'_, D>, problem: impl Into<Problem>) -> bool {
    if failures.len() < TOLD {
        failures.push((at.path(), problem.into()));
    }
    false
}

/// Removes a directory; whether it is gone.
fn remove_directory<D: Dir>(at: Place<'_, D>, volume: u64, depth: usize, failures: &mut Failures) -> bool {
    if depth >= DEEPEST {
        return fail(failures, at, libc::EFBIG);
    }
    let dir = match at.open_within(volume) {
        Ok((dir, _)) => dir,
        Err(problem) => return fail(failures, at, problem),
    };
    match remove_members(&dir, volume, depth, failures) {
        Ok(false) => return false,
        Ok(true) => {}
        Err(errno) => return fail(failures, at, errno),
    }
    match at.dir.rmdir(at.name) {
        Ok(()) => true,
        Err(errno) => fail(failures, at, errno),
    }
}

/// Removes what is in a directory; whether all of it is gone.
///
/// # Errors
/// Why its names cannot be read.
fn remove_members<D: Dir>(dir: &D, volume: u64, depth: usize, failures: &mut Failures) -> Result<bool, i32> {
    let mut empty = true;
    for name in dir.names()? {
        let at = Place { dir, name: &name };
        empty &= match dir.look(&name) {
            Ok(look) if look.kind == Kind::Directory => remove_directory(at, volume, depth + 1, failures),
            Ok(_) => match dir.unlink(&name) {
                Ok(()) => true,
                Err(errno) => fail(failures, at, errno),
            },
            // Somebody else has removed it.
            Err(errno) if Fault::of(errno) == Fault::Absent => true,
            Err(errno) => fail(failures, at, errno),
        };
    }
    Ok(empty)
}

/// Copies a file, a link, or a directory; `deep`: with all that is in it. What has the new name is replaced.
///
/// # Errors
/// What could not be copied. What was made is removed again, as far as the visitor may, and what was replaced is put back.
pub fn copy<D: Dir>(from: Place<'_, D>, to: Place<'_, D>, deep: bool) -> Result<(), Failures> {
    let look = from.dir.look(from.name).map_err(|e| from.failed(e))?;
    let target = to.existing().map_err(|p| to.failed(p))?;
    apart(from, look.kind, to, target).map_err(|p| to.failed(p))?;
    if look.kind == Kind::File && matches!(target, None | Some(Kind::File)) {
        // As a PUT of the same bytes: whole or not at all.
        return copy_file(from, to).map_err(|p| to.failed(p));
    }
    // All that may fail before the copy begins comes before the way is cleared: from there on, `finish` is the only way out.
    let source = match look.kind {
        Kind::Directory => Some(from.open().map_err(|p| from.failed(p))?),
        _ => None,
    };
    let aside = target.map(|_| set_aside(to)).transpose().map_err(|p| to.failed(p))?;
    let done = match (look.kind, source) {
        (Kind::File, _) => copy_file(from, to).map_err(|p| to.failed(p)),
        (Kind::Directory, Some((source, id))) => {
            let done = copy_directory(&source, to, deep, id.volume, 0);
            if done.is_err() {
                // As far as it goes: what cannot be removed could not have been made, but for the rights of who inserts.
                let _ = remove(to.dir, to.name);
            }
            done
        }
        (Kind::Link, _) => copy_link(from, to).map_err(|p| to.failed(p)),
        _ => Err(to.failed(libc::EINVAL)),
    };
    finish(to, aside.as_deref(), done.is_ok());
    done
}

/// Gives what stands at a place a temporary name, until what takes its place is there.
///
/// # Errors
/// What AFS says.
fn set_aside<D: Dir>(at: Place<'_, D>) -> Result<Vec<u8>, Problem> {
    if at.dir.look(at.name)?.kind == Kind::Directory {
        // Not the mount point of a volume.
        at.open_within(at.dir.id()?.volume)?;
    }
    let aside = put::aside()?;
    at.dir.rename(at.name, at.dir, &aside)?;
    Ok(aside)
}

/// Removes what was set aside, or puts it back if nothing has taken its place.
fn finish<D: Dir>(at: Place<'_, D>, aside: Option<&[u8]>, replaced: bool) {
    let Some(aside) = aside else { return };
    if !replaced {
        let _ = at.dir.rename(aside, at.dir, at.name);
        return;
    }
    for (path, problem) in remove(at.dir, aside).err().unwrap_or_default() {
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
fn copy_file<D: Dir>(from: Place<'_, D>, to: Place<'_, D>) -> Result<(), Problem> {
    let before = from.dir.etag(from.name)?;
    let size = from.dir.look(from.name)?.size;
    let mut source = from.dir.open_to_read(from.name)?;
    let mut put = Put::begin(to.dir.clone(), to.name, Some(size), false)?;
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    loop {
        let n = source.read_at(&mut piece, at)?;
        if n == 0 {
            let same = from.dir.etag(from.name)? == before;
            return if same { put.commit().map(drop) } else { Err(Problem::Changed) };
        }
        put.write(piece.get(..n).unwrap_or_default())?;
        at += n as u64;
    }
}

/// Copies a symbolic link, as it is.
///
/// # Errors
/// What AFS says.
fn copy_link<D: Dir>(from: Place<'_, D>, to: Place<'_, D>) -> Result<(), Problem> {
    Ok(to.dir.symlink(&from.dir.readlink(from.name)?, to.name)?)
}

/// Copies a directory to a name that does not exist.
///
/// # Errors
/// What could not be copied.
fn copy_directory<D: Dir>(
    source: &D,
    to: Place<'_, D>,
    deep: bool,
    volume: u64,
    depth: usize,
) -> Result<(), Failures> {
    if depth >= DEEPEST {
        return Err(to.failed(libc::EFBIG));
    }
    // Before the new one is made, which may lie in it.
    let names = if deep { source.names() } else { Ok(Vec::new()) };
    let names = names.map_err(|e| vec![(source.path().to_vec(), e.into())])?;
    to.dir.mkdir(to.name).map_err(|e| to.failed(e))?;
    let dir = to.dir.sub(to.name).map_err(|e| to.failed(e))?;
    for name in names.iter().filter(|n| !put::is_passing(n)) {
        let (from, to) = (Place { dir: source, name }, Place { dir: &dir, name });
        match source.look(name).map_err(|e| from.failed(e))?.kind {
            Kind::Directory => {
                let (source, _) = from.open_within(volume).map_err(|p| from.failed(p))?;
                copy_directory(&source, to, deep, volume, depth + 1)?;
            }
            Kind::File => copy_file(from, to).map_err(|p| to.failed(p))?,
            Kind::Link => copy_link(from, to).map_err(|p| to.failed(p))?,
            Kind::Other => return Err(from.failed(libc::EINVAL)),
        }
    }
    Ok(())
}

/// Renames; what has the new name is replaced.
///
/// # Errors
/// What could not be done; then both names are as they were.
pub fn rename<D: Dir>(from: Place<'_, D>, to: Place<'_, D>) -> Result<(), Failures> {
    let look = from.dir.look(from.name).map_err(|e| to.failed(e))?;
    let target = to.existing().map_err(|p| to.failed(p))?;
    apart(from, look.kind, to, target).map_err(|p| to.failed(p))?;
    let volume = from.dir.id().map_err(|e| to.failed(e))?.volume;
    if look.kind == Kind::Directory {
        // Not a mount point, and not into another volume: the client would say so, but only after the way is clear.
        from.open_within(volume).map_err(|p| to.failed(p))?;
    }
    if volume != to.dir.id().map_err(|e| to.failed(e))?.volume {
        return Err(to.failed(libc::EXDEV));
    }
    let as_it_is = look.kind != Kind::Directory && target != Some(Kind::Directory);
    let go = || from.dir.rename(from.name, to.dir, to.name).map_err(|e| to.failed(e));
    if target.is_none() || as_it_is {
        return go();
    }
    let aside = set_aside(to).map_err(|p| to.failed(p))?;
    let done = go();
    finish(to, Some(&aside), done.is_ok());
    done
}
