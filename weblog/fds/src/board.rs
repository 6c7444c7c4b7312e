//! The board: one page that the broker writes and everybody else reads.

use crate::{Error, mapping::Mapping};
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;

/// "AFSBOARD".
const MAGIC: u64 = u64::from_le_bytes(*b"AFSBOARD");
/// Rises when a field moves.
const VERSION: u32 = crate::versions::BOARD;
/// Bytes of the board.
const LEN: usize = 4096;
/// Number of counters.
pub const COUNTERS: usize = 32;
/// A broker that works beats at least this often, in milliseconds.
pub const BEAT_MS: u64 = 5_000;

/// What lies on the page. Every field is an atomic: the writer is another process.
#[repr(C)]
struct Page {
    /// [`MAGIC`].
    magic: AtomicU64,
    /// [`VERSION`].
    version: AtomicU32,
    /// 1 once the broker serves.
    ready: AtomicU32,
    /// Generation of the broker; 0 = none yet.
    generation: AtomicU64,
    /// Rises when something was revoked.
    epoch: AtomicU64,
    /// For status pages.
    counters: [AtomicU64; COUNTERS],
    /// Rises as long as the broker's loop turns.
    beat: AtomicU64,
}

const _: () = assert!(size_of::<Page>() <= LEN);

/// Making of boards.
#[derive(Debug, Clone, Copy)]
pub struct Board;

impl Board {
    /// A new, empty board: read-write, close-on-exec, its size sealed.
    ///
    /// Its mode is 0400, so that those who are not its maker cannot open a read-only descriptor of it
    /// again for writing through /proc.
    ///
    /// # Errors
    /// [`Error::Errno`] from memfd_create(2), ftruncate(2), fchmod(2), fcntl(2), pwrite(2).
    pub fn create() -> Result<OwnedFd, Error> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let made = match rustix::fs::memfd_create("afsweb-board", flags | MemfdFlags::NOEXEC_SEAL) {
            // Before Linux 6.3.
            Err(Errno::INVAL) => rustix::fs::memfd_create("afsweb-board", flags),
            other => other,
        };
        let fd = made.map_err(Error::call("memfd_create"))?;
        rustix::fs::ftruncate(&fd, LEN as u64).map_err(Error::call("ftruncate"))?;
        rustix::fs::fchmod(&fd, Mode::RUSR).map_err(Error::call("fchmod"))?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
            .map_err(Error::call("fcntl(F_ADD_SEALS)"))?;
        let page = page(Mapping::file(&fd, LEN, true)?)?;
        page.version.store(VERSION, Ordering::Relaxed);
        page.magic.store(MAGIC, Ordering::Release);
        Ok(fd)
    }

    /// A descriptor of the same board that nobody can write or map for writing. Close-on-exec.
    ///
    /// # Errors
    /// [`Error::Errno`] from openat(2), for instance without /proc or as another user than its maker.
    pub fn read_only(board: &OwnedFd) -> Result<OwnedFd, Error> {
        let path = format!("/proc/self/fd/{}", board.as_raw_fd());
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(Error::call("open"))
    }
}

/// Checks size and seals, then maps.
///
/// # Errors
/// [`Error`] says what is wrong with it.
fn map(fd: impl AsFd, writable: bool) -> Result<&'static Page, Error> {
    let fd = fd.as_fd();
    let seals = rustix::fs::fcntl_get_seals(fd).map_err(Error::call("fcntl(F_GET_SEALS)"))?;
    // Without this seal somebody could shorten it, and reading would be SIGBUS.
    if !seals.contains(SealFlags::SHRINK) {
        return Err(Error::Memory("the board is not sealed"));
    }
    let stat = rustix::fs::fstat(fd).map_err(Error::call("fstat"))?;
    if stat.st_size < i64::try_from(LEN).unwrap_or(i64::MAX) {
        return Err(Error::Memory("the board is too short"));
    }
    let page = page(Mapping::file(fd, LEN, writable)?)?;
    if page.magic.load(Ordering::Acquire) != MAGIC {
        return Err(Error::Memory("this is no board"));
    }
    if page.version.load(Ordering::Relaxed) != VERSION {
        return Err(Error::Memory("the board has another version"));
    }
    Ok(page)
}

/// The page in a mapping.
///
/// # Errors
/// [`Error::Memory`] if it is too short.
fn page(map: Mapping) -> Result<&'static Page, Error> {
    let p = map.at::<Page>(0).ok_or(Error::Memory("the board is too short"))?;
    // SAFETY: inside a mapping that stays for ever, aligned, and all its fields are atomics.
    Ok(unsafe { p.as_ref() })
}

/// The broker's side of the board.
#[derive(Clone, Copy)]
pub struct BoardWriter(&'static Page);

impl BoardWriter {
    /// Maps a board for writing; the descriptor is closed, the mapping stays.
    ///
    /// # Errors
    /// [`Error::Memory`] if it is no board of this version, [`Error::Errno`] if it cannot be mapped.
    pub fn map(fd: OwnedFd) -> Result<Self, Error> {
        map(&fd, true).map(Self)
    }

    /// Says which broker serves.
    pub fn set_generation(&self, generation: u64) {
        self.0.generation.store(generation, Ordering::Release);
    }

    /// Says whether it can serve.
    pub fn set_ready(&self, ready: bool) {
        self.0.ready.store(u32::from(ready), Ordering::Release);
    }

    /// Shows that the broker is alive; due every [`BEAT_MS`].
    pub fn beat(&self) {
        self.0.beat.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells all readers that something was revoked; returns the new epoch.
    pub fn raise_epoch(&self) -> u64 {
        self.0.epoch.fetch_add(1, Ordering::AcqRel).wrapping_add(1)
    }

    /// Sets counter `i`; one that does not exist is ignored.
    pub fn set_counter(&self, i: usize, value: u64) {
        if let Some(c) = self.0.counters.get(i) {
            c.store(value, Ordering::Relaxed);
        }
    }

    /// Adds to counter `i`; one that does not exist is ignored.
    pub fn add_counter(&self, i: usize, more: u64) {
        if let Some(c) = self.0.counters.get(i) {
            c.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// The same page, to read.
    #[must_use]
    pub fn reader(&self) -> BoardReader {
        BoardReader(self.0)
    }
}

impl fmt::Debug for BoardWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reader().fmt(f)
    }
}

/// Everybody else's side of the board.
#[derive(Clone, Copy)]
pub struct BoardReader(&'static Page);

impl BoardReader {
    /// Maps a board for reading; the descriptor is closed, the mapping stays.
    ///
    /// # Errors
    /// [`Error::Memory`] if it is no board of this version, [`Error::Errno`] if it cannot be mapped.
    pub fn map(fd: OwnedFd) -> Result<Self, Error> {
        map(&fd, false).map(Self)
    }

    /// Which broker serves; 0 = none yet.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// Rises when something was revoked.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.0.epoch.load(Ordering::Acquire)
    }

    /// Can the broker serve?
    #[must_use]
    pub fn ready(&self) -> bool {
        self.0.ready.load(Ordering::Acquire) != 0
    }

    /// Rises at least every [`BEAT_MS`] while a broker works; the next one counts on.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.0.beat.load(Ordering::Relaxed)
    }

    /// Counter `i`; 0 if it does not exist.
    #[must_use]
    pub fn counter(&self, i: usize) -> u64 {
        self.0.counters.get(i).map_or(0, |c| c.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for BoardReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board")
            .field("generation", &self.generation())
            .field("epoch", &self.epoch())
            .field("ready", &self.ready())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fork;

    #[test]
    fn what_the_writer_says_is_read_by_others_also_across_processes() {
        let fd = Board::create().unwrap();
        let reader = BoardReader::map(Board::read_only(&fd).unwrap()).unwrap();
        assert_eq!(
            (reader.generation(), reader.epoch(), reader.ready(), reader.counter(3)),
            (0, 0, false, 0)
        );
        let mut writer = fork(|| {
            let Ok(w) = BoardWriter::map(fd.try_clone().unwrap()) else { return 1 };
            w.set_generation(u64::MAX - 1);
            w.set_ready(true);
            w.raise_epoch();
            w.set_counter(3, 40);
            w.add_counter(3, 2);
            w.add_counter(COUNTERS, 1);
            w.beat();
            i32::from(w.raise_epoch() != 2)
        });
        assert_eq!(writer.wait(), Some(0));
        assert_eq!((reader.generation(), reader.epoch(), reader.ready()), (u64::MAX - 1, 2, true));
        assert_eq!((reader.counter(3), reader.counter(COUNTERS), reader.beats()), (42, 0, 1));
        // The next broker goes on from there.
        assert_eq!(BoardWriter::map(fd).unwrap().raise_epoch(), 3);
    }

    #[test]
    fn a_read_only_descriptor_cannot_be_written_or_mapped_for_writing() {
        let fd = Board::create().unwrap();
        let ro = Board::read_only(&fd).unwrap();
        assert_eq!(rustix::io::pwrite(&ro, b"x", 0), Err(Errno::BADF));
        assert!(BoardWriter::map(ro).is_err());
        assert_eq!(rustix::fs::fstat(&fd).unwrap().st_mode & 0o7777, 0o400);
    }

    #[test]
    fn another_user_cannot_open_it_again_for_writing() {
        if !rustix::process::geteuid().is_root() {
            return; // Without root there is no other user to be.
        }
        let fd = Board::create().unwrap();
        let ro = Board::read_only(&fd).unwrap();
        let path = format!("/proc/self/fd/{}", ro.as_raw_fd());
        let mut child = fork(|| {
            // SAFETY: no pointers.
            if unsafe { libc::setresuid(12345, 12345, 12345) } != 0 {
                return 1;
            }
            match rustix::fs::open(path.as_str(), OFlags::RDWR, Mode::empty()) {
                Err(Errno::ACCESS) => 0,
                _ => 2,
            }
        });
        assert_eq!(child.wait(), Some(0));
    }

    #[test]
    fn its_size_is_sealed() {
        let fd = Board::create().unwrap();
        assert_eq!(rustix::fs::ftruncate(&fd, 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&fd, 8192), Err(Errno::PERM));
    }

    #[test]
    fn what_is_no_board_is_refused() {
        let plain = rustix::fs::memfd_create("x", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&plain, LEN as u64).unwrap();
        let unsealed = plain.try_clone().unwrap();
        assert_eq!(BoardReader::map(unsealed).unwrap_err(), Error::Memory("the board is not sealed"));
        rustix::fs::fcntl_add_seals(&plain, SealFlags::SHRINK).unwrap();
        assert_eq!(
            BoardReader::map(plain.try_clone().unwrap()).unwrap_err(),
            Error::Memory("this is no board")
        );
        rustix::io::pwrite(&plain, &MAGIC.to_ne_bytes(), 0).unwrap();
        rustix::io::pwrite(&plain, &99u32.to_ne_bytes(), 8).unwrap();
        assert_eq!(BoardReader::map(plain).unwrap_err(), Error::Memory("the board has another version"));
        let short = rustix::fs::memfd_create("x", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::fcntl_add_seals(&short, SealFlags::SHRINK).unwrap();
        assert_eq!(BoardReader::map(short).unwrap_err(), Error::Memory("the board is too short"));
    }
}
