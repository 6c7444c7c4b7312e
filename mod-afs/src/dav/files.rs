//! What writing needs of files, as one visitor. Errors are errnos.
//!
//! A path is walked once, to the directory that a request is about, and may go through symbolic links there. From there on
//! directories are held, and names in them are no paths: whoever may change a directory cannot lead somebody else's
//! DELETE or COPY elsewhere by putting a link in its place.

use pag::userspace::{Kind, Rights};

/// What a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Its kind.
    pub kind: Kind,
    /// Its mode bits.
    pub mode: u32,
    /// Its length in bytes.
    pub size: u64,
    /// When it was written last, seconds since 1970.
    pub mtime_s: i64,
}

/// A file that is written.
pub trait Sink: Send {
    /// Writes all of `bytes` at an offset; they are stored once [`Sink::close`] says so.
    ///
    /// # Errors
    /// An errno.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<(), i32>;

    /// Cuts or extends it.
    ///
    /// # Errors
    /// An errno.
    fn truncate(&mut self, size: u64) -> Result<(), i32>;

    /// Closes it: whether all that was written has been stored.
    ///
    /// # Errors
    /// An errno; it is closed then, too.
    fn close(self: Box<Self>) -> Result<(), i32>;
}

/// A file that is read.
pub trait Source: Send {
    /// Reads up to `to.len()` bytes at an offset; 0 at its end.
    ///
    /// # Errors
    /// An errno.
    fn read_at(&mut self, to: &mut [u8], offset: u64) -> Result<usize, i32>;
}

/// Which directory it is: the same for two if and only if they are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id {
    /// A number of its volume.
    pub volume: u64,
    /// A number of the directory in that.
    pub file: u64,
}

/// A directory that is held, as one visitor has it: what is done to the names in it is done there, and follows no link,
/// wherever the path by which it was found leads meanwhile.
pub trait Dir: Clone + Send {
    /// A turn at storing, until it is dropped.
    type Turn;

    /// The path by which it was found. Nothing is looked up by it.
    fn path(&self) -> &[u8];

    /// Opens a directory in it.
    ///
    /// # Errors
    /// An errno: for a symbolic link, too.
    fn sub(&self, name: &[u8]) -> Result<Self, i32>;

    /// The directory that it lies in; `None` for the topmost that the visitor can see.
    ///
    /// # Errors
    /// An errno.
    fn above(&self) -> Result<Option<Self>, i32>;

    /// Which one it is.
    ///
    /// # Errors
    /// An errno.
    fn id(&self) -> Result<Id, i32>;

    /// Whether he has these rights in it; `None` where that cannot be asked.
    ///
    /// # Errors
    /// An errno.
    fn may(&self, rights: Rights) -> Result<Option<bool>, i32>;

    /// As [`Dir::may`], for what is put there as `name` in the place of `target`; with clients that cannot be asked, as far as
    /// it shows otherwise.
    ///
    /// # Errors
    /// An errno.
    fn may_put(&self, name: &[u8], target: Option<Look>, rights: Rights) -> Result<Option<bool>, i32> {
        let (_, _) = (name, target);
        self.may(rights)
    }

    /// How many bytes still fit into its volume. A server lets a store go a little further.
    ///
    /// # Errors
    /// An errno.
    fn room(&self) -> Result<u64, i32>;

    /// What a name is.
    ///
    /// # Errors
    /// An errno.
    fn look(&self, name: &[u8]) -> Result<Look, i32>;

    /// A validator of a file as it is now, as ETag has it.
    ///
    /// # Errors
    /// An errno.
    fn etag(&self, name: &[u8]) -> Result<String, i32>;

    /// All names in it, without `.` and `..`.
    ///
    /// # Errors
    /// An errno.
    fn names(&self) -> Result<Vec<Vec<u8>>, i32>;

    /// Makes a file, which must not exist.
    ///
    /// # Errors
    /// An errno.
    fn create(&self, name: &[u8], mode: u32) -> Result<Box<dyn Sink>, i32>;

    /// Opens an existing file for writing, as it is.
    ///
    /// # Errors
    /// An errno.
    fn open_to_write(&self, name: &[u8]) -> Result<Box<dyn Sink>, i32>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// An errno.
    fn open_to_read(&self, name: &[u8]) -> Result<Box<dyn Source>, i32>;

    /// Where a symbolic link points to.
    ///
    /// # Errors
    /// An errno.
    fn readlink(&self, name: &[u8]) -> Result<Vec<u8>, i32>;

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// An errno.
    fn symlink(&self, target: &[u8], name: &[u8]) -> Result<(), i32>;

    /// Makes a directory.
    ///
    /// # Errors
    /// An errno.
    fn mkdir(&self, name: &[u8]) -> Result<(), i32>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// An errno.
    fn rmdir(&self, name: &[u8]) -> Result<(), i32>;

    /// Removes a file or link.
    ///
    /// # Errors
    /// An errno.
    fn unlink(&self, name: &[u8]) -> Result<(), i32>;

    /// Renames within a volume; a file or an empty directory of the new name is replaced.
    ///
    /// # Errors
    /// An errno: `EXDEV` out of the volume.
    fn rename(&self, name: &[u8], to: &Self, new: &[u8]) -> Result<(), i32>;

    /// Is a file that is cut empty at its server at once, and not only with what is stored next?
    fn cuts_at_once(&self) -> bool {
        false
    }

    /// Is a file stored only while nobody else stores one, and so not before all of it is there?
    fn stores_in_turn(&self) -> bool {
        false
    }

    /// Waits for the turn at storing so many bytes.
    ///
    /// # Errors
    /// An errno.
    fn turn_to_store(&self, bytes: u64) -> Result<Self::Turn, i32>;

    /// Has what could not be done in it now tried again later.
    fn do_later(&self, task: Task);
}

/// What is tried again, since its server was away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Removing what was made under a temporary name.
    Remove {
        /// The name.
        name: Vec<u8>,
        /// The directory that was made there, which is removed with what is in it. None: a file, a link, or a directory that
        /// is empty.
        which: Option<Id>,
    },
    /// Giving what was set aside its name back; if something else has that by now, it stays aside.
    PutBack {
        /// Its temporary name.
        aside: Vec<u8>,
        /// Its name.
        name: Vec<u8>,
    },
}

/// The directory of a path, and the name in it; `None` for a path that has none.
#[must_use]
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = path.iter().rposition(|b| *b == b'/')?;
    let (dir, name) = (path.get(..at)?, path.get(at + 1..)?);
    (!dir.is_empty() && !name.is_empty()).then_some((dir, name))
}

/// A name in a directory, as a path.
#[must_use]
pub fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    [dir, b"/", name].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_directory_and_a_name() {
        for (path, want) in [
            (&b"/afs/c/x"[..], Some((&b"/afs/c"[..], &b"x"[..]))),
            (b"/afs", None),
            (b"/afs/c/", None),
            (b"x", None),
            (b"", None),
        ] {
            assert_eq!(split(path), want);
        }
        assert_eq!(join(b"/afs/c", b"x"), b"/afs/c/x");
    }
}
