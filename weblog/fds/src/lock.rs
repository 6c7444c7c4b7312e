//! Locks that exclude processes as well as threads, have a deadline, and notice that their owner died.
//!
//! Each is a robust, process-shared, error-checking pthread mutex in a mapping that children inherit by fork.
//! The kernel frees the locks of a thread that dies, however it dies; the next owner learns of it.
//! Error-checking, so that a thread that asks for a lock which it holds gets `EDEADLK` instead of waiting for itself.

use crate::Error;
use crate::rows::{Rows, kept_as_numbers};
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// "AFSWLOCK".
const MAGIC: u64 = u64::from_le_bytes(*b"AFSWLOCK");
/// A mutex has a cache line for itself; the first line is the header.
const STRIDE: usize = 64;
/// Where in the line the word stands that holders leave to each other.
const WORD: usize = 56;
/// glibc `pthread.h`: `PTHREAD_MUTEX_ROBUST`.
const PTHREAD_MUTEX_ROBUST: libc::c_int = 1;

const _: () = assert!(size_of::<libc::pthread_mutex_t>() <= WORD);

unsafe extern "C" {
    /// glibc since 2.30 `pthread.h`; the `libc` crate does not declare it.
    fn pthread_mutex_clocklock(
        mutex: *mut libc::pthread_mutex_t,
        clock: libc::clockid_t,
        until: *const libc::timespec,
    ) -> libc::c_int;
    /// glibc `pthread.h`.
    fn pthread_mutexattr_setrobust(attr: *mut libc::pthread_mutexattr_t, robust: libc::c_int) -> libc::c_int;
    /// glibc `pthread.h`.
    fn pthread_mutex_consistent(mutex: *mut libc::pthread_mutex_t) -> libc::c_int;
}

/// Why there is no lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else held it all the time.
    #[error("the lock was not free before the deadline")]
    Deadline,
    /// There is no such lock.
    #[error("there is no such lock")]
    NoSuchLock,
    /// Another errno of pthread_mutex_lock(3); 35 (`EDEADLK`): this thread holds it already.
    #[error("lock failed: errno {0}")]
    Errno(i32),
}

/// A table of locks in shared memory. Copies are the same table; the memory stays for the life of the process.
#[derive(Debug, Clone, Copy)]
pub struct LockTable(Rows);

kept_as_numbers!(LockTable, STRIDE, MAGIC);

impl LockTable {
    /// Makes `n` free locks, for this process and those that it forks from now on.
    ///
    /// # Errors
    /// [`Error::Errno`] if there is no memory, or the C library cannot make such a mutex.
    pub fn create(n: usize) -> Result<Self, Error> {
        let table = Self(Rows::create(n, STRIDE)?);
        let attr = Attr::new()?;
        for i in 0..n {
            let mutex = table.mutex(i).ok_or(Error::Memory("too short"))?;
            // SAFETY: the memory is ours, zeroed, aligned, and nobody else knows of it yet; `attr` is initialised.
            let r = unsafe { libc::pthread_mutex_init(mutex.as_ptr(), attr.as_ptr()) };
            check("pthread_mutex_init", r)?;
        }
        table.0.are(MAGIC)?;
        Ok(table)
    }

    /// Number of locks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// No lock at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// Waits for lock `i` until `deadline`.
    ///
    /// # Errors
    /// [`LockError::Deadline`] if it was not free in time, [`LockError::NoSuchLock`], [`LockError::Errno`].
    pub fn lock(&self, i: usize, deadline: Instant) -> Result<LockGuard, LockError> {
        let mutex = self.mutex(i).ok_or(LockError::NoSuchLock)?;
        let until = monotonic(deadline);
        // SAFETY: `mutex` is an initialised mutex in a mapping that stays; `until` outlives the call.
        let r = unsafe { pthread_mutex_clocklock(mutex.as_ptr(), libc::CLOCK_MONOTONIC, &raw const until) };
        guard(mutex, r)
    }

    /// Lock `i` if it is free now.
    ///
    /// # Errors
    /// [`LockError::NoSuchLock`], [`LockError::Errno`].
    pub fn try_lock(&self, i: usize) -> Result<Option<LockGuard>, LockError> {
        let mutex = self.mutex(i).ok_or(LockError::NoSuchLock)?;
        // SAFETY: `mutex` is an initialised mutex in a mapping that stays.
        let r = unsafe { libc::pthread_mutex_trylock(mutex.as_ptr()) };
        if r == libc::EBUSY { Ok(None) } else { guard(mutex, r).map(Some) }
    }

    /// Where mutex `i` lies.
    fn mutex(&self, i: usize) -> Option<NonNull<libc::pthread_mutex_t>> {
        self.0.row(i)
    }
}

/// The instant on CLOCK_MONOTONIC, which is also the clock of [`Instant`].
fn monotonic(deadline: Instant) -> libc::timespec {
    let left = deadline.saturating_duration_since(Instant::now());
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let nanos = now.tv_nsec + i64::from(left.subsec_nanos());
    let carry = i64::from(nanos >= 1_000_000_000);
    let secs = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
    libc::timespec {
        tv_sec: now.tv_sec.saturating_add(secs).saturating_add(carry),
        tv_nsec: nanos - carry * 1_000_000_000,
    }
}

/// Turns what a lock call returned into a guard.
///
/// # Errors
/// [`LockError`] if it is not ours.
fn guard(mutex: NonNull<libc::pthread_mutex_t>, r: libc::c_int) -> Result<LockGuard, LockError> {
    let died = match r {
        0 => false,
        libc::EOWNERDEAD => true,
        libc::ETIMEDOUT => return Err(LockError::Deadline),
        other => return Err(LockError::Errno(other)),
    };
    // From here on the lock is ours: the guard must exist before anything else can fail.
    let guard = LockGuard { mutex, died, not_send: PhantomData };
    if died {
        // What the lock guards is a pipe, which its next owner drains, since it was not left finished.
        // SAFETY: this thread holds the mutex and got EOWNERDEAD for it.
        let r = unsafe { pthread_mutex_consistent(mutex.as_ptr()) };
        if r != 0 {
            return Err(LockError::Errno(r));
        }
    }
    Ok(guard)
}

/// Holds a lock; it is free again when this is dropped. Stays in its thread.
pub struct LockGuard {
    /// The mutex, locked by this thread.
    mutex: NonNull<libc::pthread_mutex_t>,
    /// Got with `EOWNERDEAD`.
    died: bool,
    /// Only the thread that locked may unlock.
    not_send: PhantomData<*mut ()>,
}

impl LockGuard {
    /// The one who held it before died with it.
    #[must_use]
    pub fn previous_owner_died(&self) -> bool {
        self.died
    }

    /// Whether the last holder brought to its end what he began: not so where he died, had an error, or where there was
    /// none yet.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.word().load(Ordering::Relaxed) != 0
    }

    /// Says that something is begun (`false`), or brought to its end. The lock itself orders this between holders.
    pub fn set_finished(&self, finished: bool) {
        self.word().store(u32::from(finished), Ordering::Relaxed);
    }

    /// The word behind the mutex.
    fn word(&self) -> &AtomicU32 {
        // SAFETY: in the line of the mutex, which is inside the mapping.
        let word = unsafe { self.mutex.byte_add(WORD) }.cast::<AtomicU32>();
        // SAFETY: behind the mutex, aligned, in a mapping that stays, and only ever used as an atomic.
        unsafe { word.as_ref() }
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard").field("previous_owner_died", &self.died).finish_non_exhaustive()
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        // After a fork with the guard held this is not the owner: then the call says EPERM and does nothing.
        // SAFETY: the mutex is initialised and its mapping stays.
        unsafe { libc::pthread_mutex_unlock(self.mutex.as_ptr()) };
    }
}

/// Attributes of our mutexes.
struct Attr(libc::pthread_mutexattr_t);

impl Attr {
    /// Process-shared, robust, error-checking.
    ///
    /// # Errors
    /// [`Error::Errno`] if the C library does not know them.
    fn new() -> Result<Self, Error> {
        let mut raw = core::mem::MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        // SAFETY: the pointer is valid for a write.
        check("pthread_mutexattr_init", unsafe { libc::pthread_mutexattr_init(raw.as_mut_ptr()) })?;
        // SAFETY: initialised by the call above.
        let mut attr = Self(unsafe { raw.assume_init() });
        let p = &raw mut attr.0;
        // SAFETY: `p` points to initialised attributes.
        let r = unsafe { libc::pthread_mutexattr_setpshared(p, libc::PTHREAD_PROCESS_SHARED) };
        check("pthread_mutexattr_setpshared", r)?;
        // SAFETY: as above.
        let r = unsafe { pthread_mutexattr_setrobust(p, PTHREAD_MUTEX_ROBUST) };
        check("pthread_mutexattr_setrobust", r)?;
        // SAFETY: as above.
        let r = unsafe { libc::pthread_mutexattr_settype(p, libc::PTHREAD_MUTEX_ERRORCHECK) };
        check("pthread_mutexattr_settype", r)?;
        Ok(attr)
    }

    /// For pthread_mutex_init.
    fn as_ptr(&self) -> *const libc::pthread_mutexattr_t {
        &raw const self.0
    }
}

impl Drop for Attr {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, and used no more.
        unsafe { libc::pthread_mutexattr_destroy(&raw mut self.0) };
    }
}

/// An errno that a pthread call returned.
///
/// # Errors
/// [`Error::Errno`] unless it is 0.
fn check(call: &'static str, r: libc::c_int) -> Result<(), Error> {
    if r == 0 { Ok(()) } else { Err(Error::Errno { call, errno: r }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Mapping;
    use crate::rows::word;
    use crate::testing::fork;
    use core::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    /// A pipe end by which a child says that it has come so far.
    fn wait_byte(fd: &rustix::fd::OwnedFd) {
        let mut b = [0u8; 1];
        assert_eq!(rustix::io::read(fd, &mut b).unwrap(), 1);
    }

    #[test]
    fn excludes_threads_of_one_process_until_the_deadline() {
        let table = LockTable::create(2).unwrap();
        let guard = table.lock(0, soon()).unwrap();
        std::thread::scope(|s| {
            s.spawn(|| {
                assert!(table.try_lock(0).unwrap().is_none());
                let start = Instant::now();
                assert_eq!(
                    table.lock(0, start + Duration::from_millis(80)).unwrap_err(),
                    LockError::Deadline
                );
                assert!(start.elapsed() >= Duration::from_millis(80));
                assert_eq!(table.lock(0, start).unwrap_err(), LockError::Deadline, "a deadline in the past");
                assert!(!table.try_lock(1).unwrap().unwrap().previous_owner_died());
            });
        });
        drop(guard);
        assert!(table.try_lock(0).unwrap().is_some());
    }

    #[test]
    fn asking_again_for_a_lock_that_one_holds_is_an_error_and_no_wait() {
        let table = LockTable::create(1).unwrap();
        let _guard = table.lock(0, soon()).unwrap();
        assert_eq!(table.lock(0, soon()).unwrap_err(), LockError::Errno(libc::EDEADLK));
        assert_eq!(table.lock(1, soon()).unwrap_err(), LockError::NoSuchLock);
    }

    #[test]
    fn excludes_processes_and_is_free_at_once_when_its_owner_is_killed() {
        let table = LockTable::create(1).unwrap();
        // Again and again: the lock must not wear out.
        for _ in 0..20 {
            let (r, w) = rustix::pipe::pipe().unwrap();
            let mut child = fork(|| {
                let Ok(_guard) = table.lock(0, soon()) else { return 1 };
                let _ = rustix::io::write(&w, b"x");
                std::thread::sleep(Duration::from_secs(60));
                0
            });
            wait_byte(&r);
            assert!(table.try_lock(0).unwrap().is_none());
            let guard = std::thread::scope(|s| {
                let killer = s.spawn(move || {
                    std::thread::sleep(Duration::from_millis(10));
                    child.kill();
                });
                let guard = table.lock(0, soon()).unwrap();
                killer.join().unwrap();
                guard
            });
            assert!(guard.previous_owner_died());
            drop(guard);
            assert!(!table.try_lock(0).unwrap().unwrap().previous_owner_died(), "told once");
        }
    }

    #[test]
    fn a_thread_that_ends_with_the_lock_frees_it() {
        let table = LockTable::create(1).unwrap();
        std::thread::spawn(move || {
            let _never_dropped = core::mem::ManuallyDrop::new(table.lock(0, soon()).unwrap());
        })
        .join()
        .unwrap();
        assert!(table.lock(0, soon()).unwrap().previous_owner_died());
    }

    #[test]
    fn a_forked_copy_of_the_guard_frees_nothing() {
        let table = LockTable::create(1).unwrap();
        let guard = table.lock(0, soon()).unwrap();
        let mut slot = Some(guard);
        let mut child = fork(|| {
            drop(slot.take());
            0
        });
        assert_eq!(child.wait(), Some(0));
        assert!(slot.is_some());
        let mut other = fork(|| i32::from(!matches!(table.try_lock(0), Ok(None))));
        assert_eq!(other.wait(), Some(0), "still held by the parent");
    }

    #[test]
    fn processes_and_threads_never_hold_it_together() {
        let table = LockTable::create(1).unwrap();
        let shared = Mapping::anonymous(4096).unwrap();
        let counter = word(shared, 0).unwrap();
        let work = || {
            for _ in 0..500 {
                let Ok(_guard) = table.lock(0, Instant::now() + Duration::from_secs(30)) else { return 1 };
                // Not an atomic step: two at once would lose counts.
                let seen = counter.load(Ordering::Relaxed);
                std::thread::yield_now();
                counter.store(seen + 1, Ordering::Relaxed);
            }
            0
        };
        let mut children: Vec<_> = (0..4).map(|_| fork(work)).collect();
        std::thread::scope(|s| {
            for _ in 0..2 {
                s.spawn(|| assert_eq!(work(), 0));
            }
        });
        for c in &mut children {
            assert_eq!(c.wait(), Some(0));
        }
        assert_eq!(counter.load(Ordering::Relaxed), 3000);
    }

    #[test]
    fn is_found_again_by_its_plain_numbers() {
        let table = LockTable::create(3).unwrap();
        let (addr, len) = table.parts();
        // SAFETY: the numbers are those of `table`.
        let again = unsafe { LockTable::attach(addr, len) }.unwrap();
        assert_eq!(again.len(), 3);
        let _guard = table.lock(2, soon()).unwrap();
        std::thread::scope(|s| {
            s.spawn(|| assert!(again.try_lock(2).unwrap().is_none()));
        });
        // SAFETY: only the length is wrong, and it is shorter.
        assert!(unsafe { LockTable::attach(addr, len - 1) }.is_err());
        // SAFETY: refused before it is read.
        assert!(unsafe { LockTable::attach(0, len) }.is_err());
    }

    #[test]
    fn whoever_comes_next_learns_whether_all_was_brought_to_its_end() {
        let table = LockTable::create(1).unwrap();
        let guard = table.lock(0, soon()).unwrap();
        assert!(!guard.is_finished(), "nobody was there");
        guard.set_finished(true);
        drop(guard);
        assert!(table.lock(0, soon()).unwrap().is_finished());
        // Another process begins and dies.
        let mut child = fork(|| {
            let guard = core::mem::ManuallyDrop::new(table.lock(0, soon()).unwrap());
            guard.set_finished(false);
            0
        });
        assert_eq!(child.wait(), Some(0));
        let guard = table.lock(0, soon()).unwrap();
        assert!(guard.previous_owner_died() && !guard.is_finished());
    }
}
