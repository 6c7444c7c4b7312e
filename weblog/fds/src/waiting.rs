//! The table of waiting workers: who waits since when, and for what.
//!
//! One slot per worker, in memory that all children share. What they wait for is a number (a hash of a directory);
//! nothing here knows more of it. A slot keeps, too, what its worker has been given last that is worth telling.
//! Times are milliseconds of CLOCK_MONOTONIC, the same in all processes.

use crate::rows::{Rows, kept_as_numbers};
use crate::{Error, children};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use rustix::io::Errno;
use rustix::process::{Pid, getpid, test_kill_process};

/// "AFSWWAIT".
const MAGIC: u64 = u64::from_le_bytes(*b"AFSWWAIT");
/// A slot has a cache line for itself; the first line is the header.
const STRIDE: usize = 64;
/// Who seems to wait for longer is looked at more closely: few accesses take so long, so perhaps the process died, and another
/// has its number.
const LONGEST_MS: u64 = 15 * 60 * 1000;

/// A worker's slot.
#[repr(C, align(64))]
struct Slot {
    /// Process of the worker; 0 = free.
    pid: AtomicU32,
    /// Since when it waits; 0 = it does not.
    since_ms: AtomicU64,
    /// What it waits for.
    key_hash: AtomicU64,
    /// When it told last that it had been given what it waited for; 0 = never.
    given_ms: AtomicU64,
    /// What that was.
    given_hash: AtomicU64,
}

const _: () = assert!(size_of::<Slot>() == STRIDE);

/// The table. Copies are the same table; the memory stays for the life of the process.
#[derive(Debug, Clone, Copy)]
pub struct WaitTable(Rows);

kept_as_numbers!(WaitTable, STRIDE, MAGIC);

impl WaitTable {
    /// Makes a table of `n` free slots, for this process and those that it forks from now on.
    ///
    /// # Errors
    /// [`Error::Errno`] if there is no memory.
    pub fn create(n: usize) -> Result<Self, Error> {
        let rows = Rows::create(n, STRIDE)?;
        rows.are(MAGIC)?;
        Ok(Self(rows))
    }

    /// Number of slots.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.0.len()
    }

    /// A slot for the calling worker, until the guard is dropped or the process ends. `None` = all are in use.
    #[must_use]
    pub fn claim(&self) -> Option<SlotGuard> {
        let me = pid_word(getpid());
        for index in 0..self.slots() {
            let slot = self.slot(index)?;
            let holder = slot.pid.load(Ordering::Acquire);
            if holder != 0 && alive(holder) {
                continue;
            }
            if slot.pid.compare_exchange(holder, me, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                slot.since_ms.store(0, Ordering::Release);
                return Some(SlotGuard { table: *self, index, pid: me });
            }
        }
        None
    }

    /// The worker of slot `slot` waits for `key_hash` from now on. A slot that does not exist is ignored.
    pub fn begin(&self, slot: usize, key_hash: u64, now_ms: u64) {
        if let Some(s) = self.slot(slot) {
            s.key_hash.store(key_hash, Ordering::Relaxed);
            s.since_ms.store(now_ms.max(1), Ordering::Release);
        }
    }

    /// The worker of slot `slot` waits no more.
    pub fn end(&self, slot: usize) {
        if let Some(s) = self.slot(slot) {
            s.since_ms.store(0, Ordering::Release);
        }
    }

    /// The worker of slot `slot` was given `key_hash` after all.
    pub fn given(&self, slot: usize, key_hash: u64, now_ms: u64) {
        if let Some(s) = self.slot(slot) {
            // Who reads in between takes the old time for the new one, or the other way round: both are of this worker.
            s.given_hash.store(key_hash, Ordering::Relaxed);
            s.given_ms.store(now_ms.max(1), Ordering::Release);
        }
    }

    /// How many workers have told since `since_ms` that they were given `key_hash`; they may be dead by now.
    #[must_use]
    pub fn count_given(&self, key_hash: u64, since_ms: u64) -> usize {
        (0..self.slots())
            .filter_map(|i| self.slot(i))
            .filter(|s| {
                s.given_ms.load(Ordering::Acquire) >= since_ms.max(1)
                    && s.given_hash.load(Ordering::Relaxed) == key_hash
            })
            .count()
    }

    /// How many workers wait for `key_hash` since `older_than_ms` or longer. Slots of dead processes are freed.
    #[must_use]
    pub fn count(&self, key_hash: u64, older_than_ms: u64, now_ms: u64) -> usize {
        (0..self.slots())
            .filter(|i| self.slot(*i).is_some_and(|s| waits(s, key_hash, older_than_ms, now_ms)))
            .count()
    }

    /// How many wait for anything, for longer than `older_than_ms`.
    #[must_use]
    pub fn count_all(&self, older_than_ms: u64, now_ms: u64) -> usize {
        (0..self.slots())
            .filter(|i| self.slot(*i).is_some_and(|s| waits_at_all(s, older_than_ms, now_ms)))
            .count()
    }

    /// Slot `i`.
    fn slot(&self, i: usize) -> Option<&'static Slot> {
        let p = self.0.row::<Slot>(i)?;
        // SAFETY: inside a mapping that stays for ever, aligned, and all its fields are atomics.
        Some(unsafe { p.as_ref() })
    }
}

/// Does a living worker in this slot wait for it?
fn waits(slot: &Slot, key_hash: u64, older_than_ms: u64, now_ms: u64) -> bool {
    // What it waits for was written before since when.
    waits_at_all(slot, older_than_ms, now_ms) && slot.key_hash.load(Ordering::Relaxed) == key_hash
}

/// Does the holder of `slot` wait for anything?
fn waits_at_all(slot: &Slot, older_than_ms: u64, now_ms: u64) -> bool {
    let since = slot.since_ms.load(Ordering::Acquire);
    if since == 0 {
        return false;
    }
    let waited = now_ms.saturating_sub(since);
    if waited < older_than_ms {
        return false;
    }
    let holder = slot.pid.load(Ordering::Acquire);
    if holder != 0 && alive(holder) {
        return waited <= LONGEST_MS || children::lives_since(holder, since);
    }
    // The wait first: once the slot is free, another worker may begin one there.
    let _ = slot.since_ms.compare_exchange(since, 0, Ordering::AcqRel, Ordering::Relaxed);
    let _ = slot.pid.compare_exchange(holder, 0, Ordering::AcqRel, Ordering::Relaxed);
    false
}

/// Is there such a process? Only ESRCH says no; a zombie still counts.
fn alive(pid: u32) -> bool {
    i32::try_from(pid).ok().and_then(Pid::from_raw).is_some_and(|p| test_kill_process(p) != Err(Errno::SRCH))
}

/// A process number as it lies in a slot.
fn pid_word(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}

/// A worker's slot; free again when this is dropped by the process that claimed it.
#[derive(Debug)]
pub struct SlotGuard {
    /// Its table.
    table: WaitTable,
    /// Which slot.
    index: usize,
    /// Who claimed it: a forked copy of this value frees nothing.
    pid: u32,
}

impl SlotGuard {
    /// Which slot.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// The worker waits for `key_hash` from now on.
    pub fn begin(&self, key_hash: u64, now_ms: u64) {
        self.table.begin(self.index, key_hash, now_ms);
    }

    /// The worker was given `key_hash` after all.
    pub fn given(&self, key_hash: u64, now_ms: u64) {
        self.table.given(self.index, key_hash, now_ms);
    }

    /// The worker waits no more.
    pub fn end(&self) {
        self.table.end(self.index);
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        if pid_word(getpid()) == self.pid
            && let Some(slot) = self.table.slot(self.index)
        {
            slot.since_ms.store(0, Ordering::Release);
            let _ = slot.pid.compare_exchange(self.pid, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fork;

    #[test]
    fn counts_those_who_wait_long_enough_for_the_same() {
        let t = WaitTable::create(4).unwrap();
        let slots: Vec<_> = (0..3).map(|_| t.claim().unwrap()).collect();
        for (slot, (key, since)) in slots.iter().zip([(7, 1_000), (7, 1_500), (8, 1_000)]) {
            slot.begin(key, since);
        }
        assert_eq!(t.count(7, 0, 1_500), 2);
        assert_eq!(t.count(7, 400, 1_500), 1);
        assert_eq!(t.count(8, 500, 1_500), 1);
        assert_eq!(t.count(9, 0, 1_500), 0);
        slots[0].end();
        assert_eq!(t.count(7, 0, 1_500), 1);
        assert_eq!(t.count(7, 0, 1_500 + LONGEST_MS + 1), 0, "nobody waits so long");
        // But where it is the same process, it does.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now_ms = u64::try_from(now.tv_sec).unwrap() * 1_000 + 1_000;
        slots[1].begin(7, now_ms);
        assert_eq!(t.count(7, 0, now_ms + LONGEST_MS + 1), 1);
        slots[1].begin(7, 1_500);
        drop(slots);
        assert_eq!(t.count(7, 0, 1_500), 0);
    }

    #[test]
    fn a_wait_that_began_at_time_zero_counts() {
        let t = WaitTable::create(1).unwrap();
        t.claim().unwrap().begin(7, 0);
        let s = t.claim().unwrap();
        s.begin(7, 0);
        assert_eq!(t.count(7, 0, 5), 1);
    }

    #[test]
    fn what_was_given_is_known_to_all_and_by_its_time() {
        let t = WaitTable::create(2).unwrap();
        assert_eq!(t.count_given(0, 0), 0, "nothing was");
        let (s, other) = (t.claim().unwrap(), t.claim().unwrap());
        s.given(7, 1_000);
        assert_eq!((t.count_given(7, 1_000), t.count_given(7, 500)), (1, 1));
        assert_eq!((t.count_given(7, 1_001), t.count_given(8, 500)), (0, 0));
        other.given(7, 1_200);
        assert_eq!((t.count_given(7, 500), t.count_given(7, 1_100)), (2, 1));
        s.begin(8, 1_300);
        assert_eq!(t.count_given(7, 500), 2, "it waits for something else now");
        drop(s);
        assert_eq!(t.count_given(7, 500), 2, "its worker has gone");
        t.claim().unwrap().given(8, 0);
        assert_eq!((t.count_given(8, 0), t.count_given(7, 0)), (1, 1));
    }

    #[test]
    fn slots_run_out_and_come_back() {
        let t = WaitTable::create(2).unwrap();
        let a = t.claim().unwrap();
        let b = t.claim().unwrap();
        assert_ne!(a.index(), b.index());
        assert!(t.claim().is_none());
        drop(a);
        assert_eq!(t.claim().unwrap().index(), 0);
        t.begin(99, 7, 1);
        t.end(99);
    }

    #[test]
    fn the_slot_of_a_dead_process_is_freed() {
        let t = WaitTable::create(1).unwrap();
        let mut child = fork(|| {
            let Some(s) = t.claim().map(core::mem::ManuallyDrop::new) else { return 1 };
            s.begin(7, 1_000);
            i32::from(t.count(7, 0, 2_000) != 1)
        });
        assert_eq!(child.wait(), Some(0));
        assert_eq!(t.count(7, 0, 2_000), 0);
        let s = t.claim().expect("free again");
        s.begin(7, 1_000);
        assert_eq!(t.count(7, 0, 2_000), 1);
    }

    #[test]
    fn the_slot_of_a_dead_process_can_be_claimed_without_counting_first() {
        let t = WaitTable::create(1).unwrap();
        let mut child = fork(|| {
            let Some(s) = t.claim().map(core::mem::ManuallyDrop::new) else { return 1 };
            s.begin(7, 1_000);
            0
        });
        assert_eq!(child.wait(), Some(0));
        let _s = t.claim().expect("free again");
        assert_eq!(t.count(7, 0, 2_000), 0, "the wait ended with its process");
    }

    #[test]
    fn a_forked_copy_of_the_guard_frees_nothing() {
        let t = WaitTable::create(1).unwrap();
        let mut s = Some(t.claim().unwrap());
        let mut child = fork(|| {
            drop(s.take());
            0
        });
        assert_eq!(child.wait(), Some(0));
        assert!(t.claim().is_none());
        assert!(s.is_some());
    }

    #[test]
    fn is_found_again_by_its_plain_numbers() {
        let t = WaitTable::create(3).unwrap();
        let (addr, len) = t.parts();
        // SAFETY: the numbers are those of `t`.
        let again = unsafe { WaitTable::attach(addr, len) }.unwrap();
        let s = t.claim().unwrap();
        s.begin(5, 1);
        assert_eq!((again.slots(), again.count(5, 0, 1)), (3, 1));
        let (locks, len) = crate::LockTable::create(3).unwrap().parts();
        // SAFETY: the memory is there; it is another table.
        assert!(unsafe { WaitTable::attach(locks, len) }.is_err());
    }
}
