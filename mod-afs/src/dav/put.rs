//! A PUT: from the bytes of a request to a file in AFS, whole or not at all.
//!
//! Where the visitor may insert and delete, the bytes go to a temporary name in the same directory, which takes the place
//! of the file once close has said that they are stored. Where he may not, they are kept on this machine until all of
//! them are there, and then written into the file itself, so that whatever the visitor does changes nothing; but others
//! can see it half-written, and if its server fails meanwhile it stays so.

use super::files::{Dir, Look, Sink, Task, join};
use super::stale;
use crate::broker::unix_now;
use pag::Fault;
use pag::userspace::{Kind, Rights};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Instant;

/// How temporary names begin. WebDAV refuses such names and shows none of them, and our own listings leave out whatever
/// begins with a dot. But a GET serves one to whoever knows it and may read the file, and httpd's listings leave it out
/// only where IndexIgnore has files with a dot, as in Debian's configuration.
pub const PREFIX: &[u8] = b".afsweb-";
/// How those of what a COPY or MOVE replaces go on.
const ASIDE: &[u8] = b"was-";
/// Hexadecimal digits that temporary names end with.
pub const RANDOM: usize = 32;
/// How names begin that clients in the kernel give to files which are removed while somebody reads them.
const REMOVED: &[u8] = b".__afs";
/// So many bytes are written at once.
const PIECE: usize = 256 << 10;
/// By so much a server lets a store go over the quota (`fileserver -spare`), bytes.
const SPARE: u64 = 1 << 20;
/// Smaller bodies are not worth the question how much room there is: close will tell.
const SMALL: u64 = 256 << 10;
/// What it takes to give something a name that something else has.
pub const REPLACE: Rights = Rights(Rights::INSERT.0 | Rights::DELETE.0);
/// Mode of a new file; in AFS the owner's bits count for everybody.
pub const MODE: u32 = 0o644;

/// Where the bytes go.
enum Way {
    /// To a temporary name in the directory.
    Temporary {
        /// It.
        name: Vec<u8>,
        /// The file; none once it is closed.
        sink: Option<Box<dyn Sink>>,
        /// Where the bytes are until all of them are there, in a file of this machine that has no name, with a client that
        /// must not store while others do.
        body: Option<File>,
    },
    /// To a file of this machine that has no name; in the end into the file itself, which exists or is made then.
    Kept {
        /// That file.
        body: File,
        /// How long the file is; none: it is to be made.
        existing: Option<u64>,
    },
}

/// On what a request depends: what was there when it was judged, by its validator, or that nothing was. None: on nothing.
pub type Condition = Option<Option<String>>;

/// A body that is being put.
pub struct Put<D: Dir> {
    /// The directory.
    dir: D,
    /// The file's name in it.
    name: Vec<u8>,
    /// Where the bytes go.
    way: Way,
    /// What has not been written yet.
    buffer: Vec<u8>,
    /// How much has been written.
    written: u64,
    /// On what it depends.
    condition: Condition,
    /// Mode of a file that is made.
    mode: u32,
    /// Whether it has ended, in whatever way.
    ended: bool,
    /// Whether its server did not answer for as long as is waited.
    silent: bool,
}

impl<D: Dir> core::fmt::Debug for Put<D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let way = if matches!(self.way, Way::Temporary { .. }) { "temporary" } else { "kept" };
        write!(
            f,
            "Put({}, {way}, {} bytes)",
            String::from_utf8_lossy(&join(self.dir.path(), &self.name)),
            self.written
        )
    }
}

/// Why a body is not put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// What AFS says: an errno.
    Afs(i32),
    /// This machine cannot keep the body: an errno.
    Here(i32),
    /// A symbolic link is not written through.
    Link,
    /// What is there is not what the request was made for.
    Changed,
    /// The mount point of a volume, which is none of the directories that can be moved, copied or removed.
    MountPoint,
    /// What would be replaced is, holds, or lies in what would replace it.
    Overlap,
    /// Too many collections in one another.
    TooDeep,
}

impl From<i32> for Problem {
    fn from(errno: i32) -> Self {
        Self::Afs(errno)
    }
}

/// Is this the name of a file that is not there yet, or no longer?
#[must_use]
pub fn is_passing(name: &[u8]) -> bool {
    name.starts_with(PREFIX) || name.starts_with(REMOVED)
}

/// A new name that nobody can guess, for what is on its way to another.
///
/// # Errors
/// `EIO` without random bytes.
pub fn temporary() -> Result<Vec<u8>, i32> {
    unguessable(PREFIX)
}

/// The same for what is set aside.
///
/// # Errors
/// As above.
pub fn aside() -> Result<Vec<u8>, i32> {
    unguessable(&[PREFIX, ASIDE].concat())
}

/// A new name that begins with `prefix`.
///
/// # Errors
/// As above.
fn unguessable(prefix: &[u8]) -> Result<Vec<u8>, i32> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| libc::EIO)?;
    let name = format!("{:0RANDOM$x}", u128::from_ne_bytes(random));
    Ok([prefix, name.as_bytes()].concat())
}

/// A file of this machine without a name.
///
/// # Errors
/// An errno.
fn nameless() -> Result<File, i32> {
    tempfile::tempfile().map_err(|e| e.raw_os_error().unwrap_or(libc::EIO))
}

/// How a body gets into a directory, by what the visitor may do there.
///
/// # Errors
/// What AFS says.
fn way<D: Dir>(dir: &D, name: &[u8], target: Option<Look>, mode: u32) -> Result<Way, Problem> {
    match dir.may_put(name, target, REPLACE)? {
        Some(true) => through_temporary(dir, mode),
        Some(false) => keeping(dir, name, target),
        None => match keeping(dir, name, target) {
            // He cannot write what is there; but perhaps replace it.
            Err(Problem::Afs(errno)) if target.is_some() && Fault::of(errno) == Fault::NoRight => {
                through_temporary(dir, mode).and_then(|way| proved(dir, name, way, target))
            }
            other => other,
        },
    }
}

/// The outcome of something that is done with a temporary name. Its server may have done it and not been heard, or could not be
/// asked: then what is there is removed later.
///
/// # Errors
/// That of `done`.
pub fn or_later<D: Dir, T>(dir: &D, name: &[u8], done: Result<T, i32>) -> Result<T, i32> {
    done.inspect_err(|errno| {
        if Fault::of(*errno) == Fault::Unreachable {
            dir.do_later(Task::Remove { name: name.to_vec(), which: None });
        }
    })
}

/// Makes the temporary file.
///
/// # Errors
/// What AFS says.
fn through_temporary<D: Dir>(dir: &D, mode: u32) -> Result<Way, Problem> {
    let name = temporary()?;
    let sink = or_later(dir, &name, dir.create(&name, mode))?;
    Ok(Way::Temporary { name, sink: Some(sink), body: None })
}

/// Where neither the client nor the ACL tells his rights: renames the temporary file, which is still empty, to see whether
/// that will do in the end.
///
/// # Errors
/// What AFS says.
fn proved<D: Dir>(dir: &D, name: &[u8], way: Way, target: Option<Look>) -> Result<Way, Problem> {
    let Way::Temporary { name: first, sink, body } = way else { return Ok(way) };
    let second = temporary()?;
    match or_later(dir, &second, dir.rename(&first, dir, &second)) {
        Ok(()) => Ok(Way::Temporary { name: second, sink, body }),
        Err(errno) => {
            let _ = sink.map(Sink::close);
            // He may not remove it either. Nothing is in it, and its directory is one that he can only add to.
            let _ = or_later(dir, &first, dir.unlink(&first));
            if Fault::of(errno) == Fault::NoRight { keeping(dir, name, target) } else { Err(errno.into()) }
        }
    }
}

/// Makes sure that the file itself can be written or made, and a file to keep the body in until then.
///
/// # Errors
/// What AFS says.
fn keeping<D: Dir>(dir: &D, name: &[u8], target: Option<Look>) -> Result<Way, Problem> {
    if target.is_some() {
        dir.open_to_write(name)?.close()?;
    } else if dir.may_put(name, None, Rights::INSERT)? == Some(false) {
        return Err(Problem::Afs(libc::EACCES));
    }
    Ok(Way::Kept { body: nameless().map_err(Problem::Here)?, existing: target.map(|look| look.size) })
}

impl<D: Dir> Put<D> {
    /// Begins with a body of `length` bytes, if that is known. `condition`: only if what is there is still what the request was
    /// judged by when the body takes its place. `mode`: that of the file, if it takes the place of what is there; none: as it is,
    /// or [`MODE`].
    ///
    /// # Errors
    /// Why nothing can be put there. Nothing is left behind then, once its server is there.
    pub fn begin(
        dir: D,
        name: &[u8],
        length: Option<u64>,
        condition: Condition,
        mode: Option<u32>,
    ) -> Result<Self, Problem> {
        let target = match dir.look(name) {
            Ok(look) => Some(look),
            Err(errno) if Fault::of(errno) == Fault::Absent => None,
            Err(errno) => return Err(errno.into()),
        };
        match target.map(|look| look.kind) {
            Some(Kind::Directory) => return Err(Problem::Afs(libc::EISDIR)),
            Some(Kind::Link) => return Err(Problem::Link),
            _ => {}
        }
        if let Some(length) = length.filter(|l| *l > SMALL)
            // Of whom it cannot be asked, close tells.
            && dir.room().is_ok_and(|room| length > room.saturating_add(SPARE))
        {
            return Err(Problem::Afs(libc::EDQUOT));
        }
        let mode = mode.or(target.map(|look| look.mode)).unwrap_or(MODE) & 0o777;
        let way = way(&dir, name, target, mode)?;
        let (name, buffer) = (name.to_vec(), Vec::new());
        let mut put =
            Self { dir, name, way, buffer, written: 0, condition, mode, ended: false, silent: false };
        if let Way::Temporary { body, .. } = &mut put.way
            && put.dir.stores_in_turn()
        {
            *body = Some(nameless().map_err(Problem::Here)?);
        }
        Ok(put)
    }

    /// Takes the next bytes of the body.
    ///
    /// # Errors
    /// Why they cannot be written; nothing of the body will be there then.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE { self.flush() } else { Ok(()) }
    }

    /// Writes what has not been written yet.
    ///
    /// # Errors
    /// What AFS says.
    fn flush(&mut self) -> Result<(), Problem> {
        let bytes = core::mem::take(&mut self.buffer);
        match &mut self.way {
            Way::Temporary { sink, body: None, .. } => {
                let sink = sink.as_mut().ok_or(Problem::Afs(libc::EBADF))?;
                let done = sink.write_at(&bytes, self.written).map_err(Into::into);
                self.note_silence(&done);
                done?;
            }
            Way::Temporary { body: Some(body), .. } | Way::Kept { body, .. } => {
                let done = body.write_all_at(&bytes, self.written);
                done.map_err(|e| Problem::Here(e.raw_os_error().unwrap_or(libc::EIO)))?;
            }
        }
        self.written += bytes.len() as u64;
        self.buffer = bytes;
        self.buffer.clear();
        Ok(())
    }

    /// The body is whole: puts it in its place, and says how the file validates now, if that can be had.
    ///
    /// # Errors
    /// Why it is not there; a temporary name is removed then, or noted to be.
    pub fn commit(mut self) -> Result<Option<String>, Problem> {
        let done = self.flush().and_then(|()| self.place());
        if done.is_err() {
            self.abandon();
        }
        self.ended = true;
        let replaced = done.is_ok() && matches!(self.way, Way::Temporary { .. });
        if replaced && stale::is_due(self.dir.path(), Instant::now()) {
            stale::remove(&self.dir, unix_now());
        }
        done.map(|()| self.dir.etag(&self.name).ok())
    }

    /// Stores the body and gives it its name.
    ///
    /// # Errors
    /// What AFS says.
    fn place(&mut self) -> Result<(), Problem> {
        // Taken before it is looked what is there and whether there is room: it may be long in coming.
        let _turn = self.dir.turn_to_store(self.written)?;
        let done = self.place_in_turn();
        self.note_silence(&done);
        done
    }

    /// The same when its turn has come.
    ///
    /// # Errors
    /// What AFS says.
    fn place_in_turn(&mut self) -> Result<(), Problem> {
        if let Way::Temporary { sink, body, .. } = &mut self.way {
            let body = body.take();
            let mut taken = sink.take().ok_or(Problem::Afs(libc::EBADF))?;
            if let Some(Err(problem)) = body.map(|body| self.pour(&body, taken.as_mut())) {
                // Emptied while the turn lasts, so that nothing is stored when it is closed.
                let _ = taken.truncate(0);
                if let Way::Temporary { sink, .. } = &mut self.way {
                    *sink = Some(taken);
                }
                return Err(problem);
            }
            taken.close()?;
        }
        self.check_condition()?;
        match &self.way {
            Way::Temporary { name, .. } => self.dir.rename(name, &self.dir, &self.name).map_err(Into::into),
            Way::Kept { body, existing } => self.write_itself(body, *existing),
        }
    }

    /// Makes sure that what was there is still there.
    ///
    /// # Errors
    /// What AFS says.
    fn check_condition(&self) -> Result<(), Problem> {
        let Some(before) = &self.condition else { return Ok(()) };
        let now = match self.dir.etag(&self.name) {
            Ok(etag) => Some(etag),
            Err(errno) if Fault::of(errno) == Fault::Absent => None,
            Err(errno) => return Err(errno.into()),
        };
        if now == *before { Ok(()) } else { Err(Problem::Changed) }
    }

    /// Makes sure that the file, which is `existing` bytes long, will not be emptied for a body that is not stored then.
    ///
    /// Asked also where the body is small: a server that is away has to be found out before, too.
    ///
    /// # Errors
    /// `EDQUOT` without room for the body, or what AFS says.
    fn check_room(&self, existing: u64) -> Result<(), Problem> {
        let needed = if existing > 0 && self.dir.cuts_at_once() {
            self.written
        } else {
            self.written.saturating_sub(existing)
        };
        // A server's indulgence ends in the middle of what is stored in several steps, or is used up already.
        let spare = if needed > SMALL || (existing > 0 && self.dir.cuts_at_once()) { 0 } else { SPARE };
        match self.dir.room() {
            Ok(room) if needed > room.saturating_add(spare) => Err(Problem::Afs(libc::EDQUOT)),
            Err(errno) if Fault::of(errno) == Fault::Unreachable => Err(errno.into()),
            // Of whom it cannot be asked, close tells.
            _ => Ok(()),
        }
    }

    /// Writes the whole body into the file itself.
    ///
    /// # Errors
    /// What AFS says.
    fn write_itself(&self, body: &File, existing: Option<u64>) -> Result<(), Problem> {
        self.check_room(existing.unwrap_or(0))?;
        let mut sink = match existing {
            Some(_) => self.dir.open_to_write(&self.name)?,
            None => self.dir.create(&self.name, self.mode)?,
        };
        // Who may only insert cannot cut.
        let cut = |sink: &mut dyn Sink, size| {
            if existing.is_some() { sink.truncate(size).map_err(Problem::Afs) } else { Ok(()) }
        };
        let open = sink.as_mut();
        let written = if self.dir.cuts_at_once() {
            cut(open, 0).and_then(|()| self.pour(body, open))
        } else {
            // A client that keeps the cut for the next store keeps it also where it says that it has failed, and would empty
            // the file when it is closed. The length is part of what is stored.
            self.pour(body, open).and_then(|()| cut(open, self.written))
        };
        let stored = sink.close();
        if let Err(problem) = written.and(stored.map_err(Into::into)) {
            if existing.is_none() {
                // Made by this request. Who may only insert cannot remove it, nor cut what was written of it.
                let _ = self.dir.unlink(&self.name);
            }
            return Err(problem);
        }
        Ok(())
    }

    /// Copies the body.
    ///
    /// # Errors
    /// What AFS says.
    fn pour(&self, body: &File, sink: &mut dyn Sink) -> Result<(), Problem> {
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        while at < self.written {
            let n = body
                .read_at(&mut piece, at)
                .map_err(|e| Problem::Here(e.raw_os_error().unwrap_or(libc::EIO)))?;
            if n == 0 {
                return Err(Problem::Here(libc::EIO));
            }
            sink.write_at(piece.get(..n).unwrap_or_default(), at)?;
            at += n as u64;
        }
        Ok(())
    }

    /// The body did not come to its end: nothing of it stays.
    pub fn abort(mut self) {
        self.abandon();
    }

    /// Notes whether the server was waited for in vain. Other errors that mean that it is away come at once.
    fn note_silence(&mut self, done: &Result<(), Problem>) {
        self.silent |= matches!(done, Err(Problem::Afs(libc::ETIMEDOUT)));
    }

    /// Removes the temporary name; later, where the server has just been waited for in vain.
    fn abandon(&mut self) {
        if core::mem::replace(&mut self.ended, true) {
            return;
        }
        let Way::Temporary { name, sink, .. } = &mut self.way else { return };
        if let Some(mut sink) = sink.take() {
            // Nothing of it needs to be stored.
            let _ = sink.truncate(0);
            let _ = sink.close();
        }
        if self.silent {
            self.dir.do_later(Task::Remove { name: name.clone(), which: None });
        } else {
            let _ = or_later(&self.dir, name, self.dir.unlink(name));
        }
    }
}

impl<D: Dir> Drop for Put<D> {
    fn drop(&mut self) {
        self.abandon();
    }
}
