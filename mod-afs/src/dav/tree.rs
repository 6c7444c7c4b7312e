//! Whole trees: removed, copied, moved. They end where another volume begins: what lies behind a mount point is not touched.
//!
//! Each directory on the way down is held, from the one that the request is about on, so that nobody leads the rest of the
//! work elsewhere by moving one away and putting a link in its place.

use super::files::{Dir, Id, Task, join};
use super::put::{self, Condition, MODE, Problem, Put, REPLACE, or_later};
use super::walk::DEEPEST;
use crate::message;
use pag::Fault;
use pag::userspace::{Kind, Rights};

/// Most directories above one: a path of 4,096 bytes has fewer.
const HIGHEST: usize = 2_048;
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

    /// What something that comes there takes the place of; `new`: of nothing.
    ///
    /// # Errors
    /// What AFS says; [`Problem::Changed`].
    fn target(self, new: bool) -> Result<Option<Kind>, Failures> {
        match self.existing() {
            Ok(Some(_)) if new => Err(self.failed(Problem::Changed)),
            target => target.map_err(|p| self.failed(p)),
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

    /// The same, if it is in this volume: not the mount point of another one.
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
        for _ in 0..HIGHEST {
            if id == top {
                return Ok(true);
            }
            match at.above() {
                Ok(Some(above)) => at = above,
                // What is further up is nothing that the visitor could move.
                Ok(None) => return Ok(false),
                Err(errno) if Fault::of(errno) == Fault::NoRight => return Ok(false),
                Err(errno) => return Err(errno.into()),
            }
            id = at.id()?;
        }
        Err(Problem::TooDeep)
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
    remove_directory(at, volume, None, 0, &mut failures);
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

/// Removes what was made or set aside under a temporary name: `which` directory, with all that is in it; none: a file, a link,
/// or a directory that is empty. What somebody else has given the name to meanwhile stays, since he may be allowed to
/// move what he could not remove.
///
/// # Errors
/// What could not be removed.
pub fn remove_made<D: Dir>(dir: &D, name: &[u8], which: Option<Id>) -> Result<(), Failures> {
    let at = Place { dir, name };
    match (at.existing().map_err(|p| at.failed(p))?, which) {
        (None, _) => Ok(()),
        (Some(Kind::Directory), Some(id)) => {
            let mut failures = Failures::new();
            remove_directory(at, id.volume, Some(id), 0, &mut failures);
            if failures.is_empty() { Ok(()) } else { Err(failures) }
        }
        (Some(_), Some(_)) => Err(at.failed(Problem::Changed)),
        (Some(Kind::Directory), None) => dir.rmdir(name).map_err(|e| at.failed(e)),
        (Some(_), None) => dir.unlink(name).map_err(|e| at.failed(e)),
    }
}

/// Makes sure that a directory which is to be replaced can be removed with all that is in it, as far as that shows before.
///
/// # Errors
/// Mount points in it, and directories out of which the visitor may remove nothing.
fn removable<D: Dir>(at: Place<'_, D>) -> Result<(), Failures> {
    let volume = at.dir.id().map_err(|e| at.failed(e))?.volume;
    let mut failures = Failures::new();
    look_through(at, volume, 0, &mut failures);
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

/// Notes what of a directory could not be removed.
fn look_through<D: Dir>(at: Place<'_, D>, volume: u64, depth: usize, failures: &mut Failures) {
    if depth >= DEEPEST {
        fail(failures, at, Problem::TooDeep);
        return;
    }
    let looked = at.open_within(volume).and_then(|(dir, _)| {
        let names = dir.names()?;
        // Of no name in particular: what the client, or the ACL, says of the directory.
        if !names.is_empty() && dir.may_put(b"", None, Rights::DELETE)? == Some(false) {
            return Err(Problem::Afs(libc::EACCES));
        }
        for name in names {
            let at = Place { dir: &dir, name: &name };
            match at.existing() {
                Ok(Some(Kind::Directory)) => look_through(at, volume, depth + 1, failures),
                Ok(_) => {}
                Err(problem) => drop(fail(failures, at, problem)),
            }
        }
        Ok(())
    });
    if let Err(problem) = looked {
        fail(failures, at, problem);
    }
}

/// Notes that something cannot be removed.
fn fail<D: Dir>(failures: &mut Failures, at: Place<'_, D>, problem: impl Into<Problem>) -> bool {
    if failures.len() < TOLD {
        failures.push((at.path(), problem.into()));
    }
    false
}

/// Removes a directory, if it is this one; whether it is gone.
fn remove_directory<D: Dir>(
    at: Place<'_, D>,
    volume: u64,
    which: Option<Id>,
    depth: usize,
    failures: &mut Failures,
) -> bool {
    if depth >= DEEPEST {
        return fail(failures, at, Problem::TooDeep);
    }
    let dir = match at.open_within(volume) {
        Ok((_, id)) if which.is_some_and(|which| which != id) => return fail(failures, at, Problem::Changed),
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
            Ok(look) if look.kind == Kind::Directory => {
                remove_directory(at, volume, None, depth + 1, failures)
            }
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

/// Copies a file, a link, or a directory; `deep`: with all that is in it. What has the new name is replaced, in one step and
/// when the copy is whole, where the visitor may replace something there; but not if it is to be `new`.
///
/// # Errors
/// What could not be copied; then the new name is as it was, but for who may make things there and not remove them.
pub fn copy<D: Dir>(from: Place<'_, D>, to: Place<'_, D>, deep: bool, new: bool) -> Result<(), Failures> {
    let look = from.dir.look(from.name).map_err(|e| from.failed(e))?;
    let target = to.target(new)?;
    apart(from, look.kind, to, target).map_err(|p| to.failed(p))?;
    if look.kind == Kind::File && matches!(target, None | Some(Kind::File)) {
        // As a PUT of the same bytes: whole or not at all.
        let condition = new.then_some(None);
        return copy_file(from, to, condition).map_err(|p| to.failed(p));
    }
    if look.kind == Kind::Link && target.is_none() {
        return copy_link(from, to).map_err(|p| to.failed(p));
    }
    if target == Some(Kind::Directory) {
        removable(to)?;
    }
    match (may_replace(to).map_err(|p| to.failed(p))?, target) {
        (true, _) => {
            let name = put::temporary().map_err(|e| to.failed(e))?;
            let made = Place { dir: to.dir, name: &name };
            let mut which = None;
            let done =
                make(from, look.kind, made, deep, &mut which).and_then(|()| take_place(made, to, target));
            done.map_err(|failures| {
                discard(made, which);
                // What was made has the name that it was made for.
                let rest = |path: &[u8]| path.strip_prefix(made.path().as_slice()).map(<[u8]>::to_vec);
                let named = |path: Vec<u8>| rest(&path).map_or(path, |rest| [to.path(), rest].concat());
                failures.into_iter().map(|(path, problem)| (named(path), problem)).collect()
            })
        }
        (false, Some(_)) => Err(to.failed(libc::EACCES)),
        // He can neither rename nor remove what he makes.
        (false, None) => make(from, look.kind, to, deep, &mut None),
    }
}

/// Whether the visitor may make, rename and remove things beside a place. Where that neither is told nor shows, it is tried,
/// which leaves an empty directory behind where he may only make things.
///
/// # Errors
/// What AFS says.
fn may_replace<D: Dir>(at: Place<'_, D>) -> Result<bool, Problem> {
    let dir = at.dir;
    if let Some(may) = dir.may_put(at.name, None, REPLACE)? {
        return Ok(may);
    }
    let (first, second) = (put::temporary()?, put::temporary()?);
    let may = |done: Result<(), i32>| match done {
        Ok(()) => Ok(true),
        Err(errno) if Fault::of(errno) == Fault::NoRight => Ok(false),
        Err(errno) => Err(Problem::from(errno)),
    };
    if !may(or_later(dir, &first, dir.mkdir(&first)))? {
        return Ok(false);
    }
    let renamed = may(or_later(dir, &second, dir.rename(&first, dir, &second)));
    let made = if matches!(renamed, Ok(true)) { &second } else { &first };
    let _ = or_later(dir, made, dir.rmdir(made));
    renamed
}

/// Makes a copy at a place where nothing is. `which`: takes note of a directory that is made there.
///
/// # Errors
/// What could not be copied.
fn make<D: Dir>(
    from: Place<'_, D>,
    kind: Kind,
    to: Place<'_, D>,
    deep: bool,
    which: &mut Option<Id>,
) -> Result<(), Failures> {
    match kind {
        Kind::File => copy_file(from, to, Some(None)).map_err(|p| to.failed(p)),
        Kind::Directory => {
            let (source, id) = from.open().map_err(|p| from.failed(p))?;
            // Read before anything is made, which may be in it.
            let names = if deep { source.names() } else { Ok(Vec::new()) };
            let names = names.map_err(|e| from.failed(e))?;
            let (dir, made) = make_directory(to).map_err(|p| to.failed(p))?;
            *which = Some(made);
            fill(&dir, &source, &names, id.volume, 0)
        }
        Kind::Link => copy_link(from, to).map_err(|p| to.failed(p)),
        Kind::Other => Err(to.failed(libc::EINVAL)),
    }
}

/// Gives what stands at `from` the place of what stood at `to`, which was a `target`.
///
/// # Errors
/// Why not; then both are as they were.
fn take_place<D: Dir>(from: Place<'_, D>, to: Place<'_, D>, target: Option<Kind>) -> Result<(), Failures> {
    let aside = match target {
        None => match to.existing().map_err(|p| to.failed(p))? {
            None => None,
            // Somebody else's, made meanwhile.
            Some(_) => return Err(to.failed(libc::EEXIST)),
        },
        Some(_) => Some(set_aside(to).map_err(|p| to.failed(p))?),
    };
    let done = from.dir.rename(from.name, to.dir, to.name).map_err(|e| to.failed(e));
    match aside {
        Some((aside, which)) if done.is_ok() => discard(Place { dir: to.dir, name: &aside }, which),
        Some((aside, _)) => {
            if let Err(problem) = put_back(to.dir, &aside, to.name) {
                put_back_later(to, aside, problem);
            }
        }
        None => {}
    }
    done
}

/// Gives what stands at a place a temporary name, until what takes its place is there; says which directory it is, if it is one.
///
/// # Errors
/// What AFS says.
fn set_aside<D: Dir>(at: Place<'_, D>) -> Result<(Vec<u8>, Option<Id>), Problem> {
    let which = match at.dir.look(at.name)?.kind {
        Kind::Directory => Some(at.open_within(at.dir.id()?.volume)?.1),
        _ => None,
    };
    let aside = put::aside()?;
    match at.dir.rename(at.name, at.dir, &aside) {
        Ok(()) => Ok((aside, which)),
        Err(errno) => {
            if Fault::of(errno) == Fault::Unreachable {
                // A server may have done it and not been heard.
                put_back_later(at, aside, errno.into());
            }
            Err(errno.into())
        }
    }
}

/// Sees to it that what was set aside, or may have been, gets its name back.
fn put_back_later<D: Dir>(at: Place<'_, D>, aside: Vec<u8>, problem: Problem) {
    let path = String::from_utf8_lossy(&at.path()).into_owned();
    let now_at = String::from_utf8_lossy(&join(at.dir.path(), &aside)).into_owned();
    tracing::error!(
        id = message::NOT_PUT_BACK.id,
        path,
        now_at,
        ?problem,
        "what was to be replaced, and was not, could not be given its name back"
    );
    at.dir.do_later(Task::PutBack { aside, name: at.name.to_vec() });
}

/// Gives what was set aside its name back, if nothing else has it.
///
/// # Errors
/// What AFS says; `EEXIST` if something else has the name.
pub fn put_back<D: Dir>(dir: &D, aside: &[u8], name: &[u8]) -> Result<(), Problem> {
    let at = |name| Place { dir, name };
    match (at(aside).existing()?, at(name).existing()?) {
        (None, _) => Ok(()),
        (Some(_), None) => Ok(dir.rename(aside, dir, name)?),
        (Some(_), Some(_)) => Err(Problem::Afs(libc::EEXIST)),
    }
}

/// Removes something of a temporary name ([`remove_made`]); what its server does not let now, later.
fn discard<D: Dir>(at: Place<'_, D>, which: Option<Id>) {
    let failures = remove_made(at.dir, at.name, which).err().unwrap_or_default();
    let away = |problem: &Problem| matches!(problem, Problem::Afs(e) if Fault::of(*e) == Fault::Unreachable);
    if failures.iter().any(|(_, problem)| away(problem)) {
        at.dir.do_later(Task::Remove { name: at.name.to_vec(), which });
    }
    for (path, problem) in failures {
        let path = String::from_utf8_lossy(&path).into_owned();
        tracing::warn!(
            id = message::LEFT_BEHIND.id,
            path,
            ?problem,
            "what is no longer needed could not be removed"
        );
    }
}

/// Copies the contents of a file, and whether it is a program. `condition`: as a PUT has it.
///
/// # Errors
/// What AFS says; [`Problem::Changed`] if what was copied has changed meanwhile, and so may be half of one and half of the
/// other.
fn copy_file<D: Dir>(from: Place<'_, D>, to: Place<'_, D>, condition: Condition) -> Result<(), Problem> {
    let before = from.dir.etag(from.name)?;
    let look = from.dir.look(from.name)?;
    let mut source = from.dir.open_to_read(from.name)?;
    let mode = MODE | look.mode & 0o111;
    let mut put = Put::begin(to.dir.clone(), to.name, Some(look.size), condition, Some(mode))?;
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

/// Makes a directory at a place where nothing is, and holds it: not what somebody else has put in its place.
///
/// # Errors
/// What AFS says; [`Problem::Changed`] or [`Problem::MountPoint`] if it is another one.
fn make_directory<D: Dir>(at: Place<'_, D>) -> Result<(D, Id), Problem> {
    at.dir.mkdir(at.name)?;
    let (dir, id) = at.open_within(at.dir.id()?.volume)?;
    if dir.names()?.is_empty() { Ok((dir, id)) } else { Err(Problem::Changed) }
}

/// Copies these names of a directory into one that was just made.
///
/// # Errors
/// What could not be copied.
fn fill<D: Dir>(dir: &D, source: &D, names: &[Vec<u8>], volume: u64, depth: usize) -> Result<(), Failures> {
    for name in names.iter().filter(|n| !put::is_passing(n)) {
        let (from, to) = (Place { dir: source, name }, Place { dir, name });
        match from.dir.look(name).map_err(|e| from.failed(e))?.kind {
            Kind::Directory if depth + 1 >= DEEPEST => return Err(to.failed(Problem::TooDeep)),
            Kind::Directory => {
                let (source, _) = from.open_within(volume).map_err(|p| from.failed(p))?;
                let names = source.names().map_err(|e| from.failed(e))?;
                let (dir, _) = make_directory(to).map_err(|p| to.failed(p))?;
                fill(&dir, &source, &names, volume, depth + 1)?;
            }
            // Nothing is replaced there: whatever has the name, another has made it.
            Kind::File => copy_file(from, to, Some(None)).map_err(|p| to.failed(p))?,
            Kind::Link => copy_link(from, to).map_err(|p| to.failed(p))?,
            Kind::Other => return Err(from.failed(libc::EINVAL)),
        }
    }
    Ok(())
}

/// Renames; what has the new name is replaced, but not if it is to be `new`.
///
/// # Errors
/// What could not be done; then both names are as they were.
pub fn rename<D: Dir>(from: Place<'_, D>, to: Place<'_, D>, new: bool) -> Result<(), Failures> {
    let look = from.dir.look(from.name).map_err(|e| to.failed(e))?;
    let target = to.target(new)?;
    apart(from, look.kind, to, target).map_err(|p| to.failed(p))?;
    let volume = from.dir.id().map_err(|e| to.failed(e))?.volume;
    if look.kind == Kind::Directory {
        // Not a mount point, and not into another volume: the client would say so, but only after the way is clear.
        from.open_within(volume).map_err(|p| to.failed(p))?;
    }
    if volume != to.dir.id().map_err(|e| to.failed(e))?.volume {
        return Err(to.failed(libc::EXDEV));
    }
    if look.kind != Kind::Directory && target != Some(Kind::Directory) {
        // In one step.
        return from.dir.rename(from.name, to.dir, to.name).map_err(|e| to.failed(e));
    }
    if target == Some(Kind::Directory) {
        removable(to)?;
    }
    take_place(from, to, target)
}
