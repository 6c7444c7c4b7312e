//! Bounds the workers that wait for one dead file server, or for logins in one silent cell.
//!
//! A file server that is silent holds whoever asks it until the client gives it up. So each worker says in shared
//! memory since when it waits and below which directory; when too many wait there, the next is told at once.
//!
//! A server that is only slow answers some of them meanwhile. So they say that as well, and where enough do, more may wait.

use core::cell::{Cell, RefCell};
use weblog_fds::{SlotGuard, WaitTable};

/// Who waits for longer seems to wait for a dead server, milliseconds.
const SUSPICIOUS_MS: u64 = 1_000;
/// Who waited for so long for an answer, from and to, milliseconds, has heard of a server that is there but slow. Sooner it
/// could be what the client remembers; and a server that is slower holds as many as a silent one.
const SLOW_MS: (u64, u64) = (500, 2_000);
/// So long ago they have heard of it, at most, milliseconds.
const LATELY_MS: u64 = 1_000;
/// For one who has heard of it so many may wait: below one directory there may be a silent server and one that is slow.
const WAIT_FOR_EACH: usize = 4;
/// So many times as many as may wait for a silent server may wait for a slow one: a quarter of the workers is left to others.
const SLOW_FACTOR: usize = 3;
/// Components of a path, behind the mount directory, that make the directory which is counted: cell and two more.
const COMPONENTS: usize = 3;

thread_local! {
    /// The slot of this worker, claimed at its first access.
    static SLOT: RefCell<Option<SlotGuard>> = const { RefCell::new(None) };
    /// For what and since when the slot says that this worker waits.
    static NOW: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
}

/// Milliseconds since boot: the same clock in all children.
fn now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.unsigned_abs().saturating_mul(1_000).saturating_add(now.tv_nsec.unsigned_abs() / 1_000_000)
}

/// The table, and how many may wait.
#[derive(Debug, Clone, Copy)]
pub struct Waiting {
    /// One slot per worker.
    table: WaitTable,
    /// So many waiting below one directory are too many.
    limit: usize,
}

impl Waiting {
    /// For `workers` workers in all children: a quarter of them may wait, one at least.
    #[must_use]
    pub fn new(table: WaitTable, workers: usize) -> Self {
        Self { table, limit: (workers / 4).max(1) }
    }

    /// Do too many workers wait below `directory` already?
    #[must_use]
    pub fn is_full(&self, directory: Directory) -> bool {
        let now = now_ms();
        let waiting = self.table.count(directory.0, SUSPICIOUS_MS, now);
        if waiting < self.limit {
            return false;
        }
        let heard = self.table.count_given(directory.0, now.saturating_sub(LATELY_MS));
        waiting >= self.limit * SLOW_FACTOR || waiting > heard * WAIT_FOR_EACH
    }

    /// How many workers wait for anything at all, for longer than is usual.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.table.count_all(SUSPICIOUS_MS, now_ms())
    }

    /// Until the guard is dropped, the calling worker may be waiting below `directory`. A wait within another one
    /// takes its place meanwhile.
    #[must_use]
    pub fn begin(&self, directory: Directory) -> Wait {
        SLOT.with_borrow_mut(|slot| {
            if slot.is_none() {
                // With more threads than slots (those of HTTP/2) some are not counted.
                *slot = self.table.claim();
            }
        });
        let before = NOW.get();
        note(Some((directory.0, now_ms())));
        Wait { before }
    }
}

/// What waiting workers are counted by: the beginning of a path, as a number that all children agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directory(u64);

impl Directory {
    /// The directory that `path` is counted under. `path`: below the mount directory `mount`, or relative to it.
    #[must_use]
    pub fn of(path: &str, mount: &str) -> Self {
        let below = path.strip_prefix(mount).unwrap_or(path);
        Self::hash(below.split('/').filter(|c| !c.is_empty()).take(COMPONENTS))
    }

    /// What waits for logins in `cell` are counted under.
    #[must_use]
    pub fn of_logins(cell: &str) -> Self {
        // No component of a path has a slash.
        Self::hash(["/login/", cell].into_iter())
    }

    /// What exchanges with the broker are counted under.
    #[must_use]
    pub fn of_broker() -> Self {
        Self::hash(["/broker/"].into_iter())
    }

    /// What waits for a turn at storing are counted under.
    #[must_use]
    pub fn of_stores() -> Self {
        Self::hash(["/stores/"].into_iter())
    }

    /// FNV-1a over the components.
    fn hash<'c>(components: impl Iterator<Item = &'c str>) -> Self {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for component in components {
            for byte in component.bytes().chain([b'/']) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        Self(hash)
    }
}

/// Does something with the slot of this worker, if it has one. A thread that is ending has freed its slot already.
fn with_slot(f: impl FnOnce(&SlotGuard)) {
    let _ = SLOT.try_with(|slot| {
        if let Ok(slot) = slot.try_borrow()
            && let Some(slot) = &*slot
        {
            f(slot);
        }
    });
}

/// Writes into the slot of this worker what it waits for.
fn note(wait: Option<(u64, u64)>) {
    with_slot(|slot| match wait {
        Some((key, since_ms)) => slot.begin(key, since_ms),
        None => slot.end(),
    });
    let _ = NOW.try_with(|now| now.set(wait));
}

/// The calling worker waits no more when this is dropped, or for what it waited for before.
#[derive(Debug)]
pub struct Wait {
    /// That.
    before: Option<(u64, u64)>,
}

impl Wait {
    /// The wait is over, and was not in vain: whoever was asked is there. Others are told, if that tells them something.
    pub fn answered(self) {
        let Ok(Some((key, since_ms))) = NOW.try_with(Cell::get) else { return };
        let now = now_ms();
        if (SLOW_MS.0..=SLOW_MS.1).contains(&now.saturating_sub(since_ms)) {
            with_slot(|slot| slot.given(key, now));
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        note(self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::time::Duration;

    #[test]
    fn directory_is_cell_and_two_more_components() {
        let of = |path| Directory::of(path, "/afs");
        assert_eq!(of("/afs/example.com/user/alice/a/b"), of("/afs/example.com//user/alice/c"));
        assert_ne!(of("/afs/example.com/user/alice"), of("/afs/example.com/user/bob"));
        assert_ne!(of("/afs/example.com/user"), of("/afs/example.comuser"));
        assert_ne!(of("/afs/example.com"), of("/afs/other.org"));
    }

    #[test]
    fn a_quarter_of_the_workers_may_wait_and_one_at_least() {
        for (workers, limit) in [(0, 1), (1, 1), (4, 1), (8, 2), (150, 37)] {
            assert_eq!(Waiting::new(WaitTable::create(1).unwrap(), workers).limit, limit);
        }
    }

    #[test]
    fn who_waits_long_is_counted_until_it_is_over() {
        let waiting = Waiting::new(WaitTable::create(8).unwrap(), 8);
        let (dead, alive) = (Directory::of("/afs/a/b/c", "/afs"), Directory::of("/afs/a/b/d", "/afs"));
        let (begun, over) = (Barrier::new(3), Barrier::new(3));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let wait = waiting.begin(dead);
                    begun.wait();
                    over.wait();
                    drop(wait);
                });
            }
            begun.wait();
            assert!(!waiting.is_full(dead), "nobody has waited for long yet");
            std::thread::sleep(Duration::from_millis(SUSPICIOUS_MS + 50));
            assert!(waiting.is_full(dead));
            assert!(!waiting.is_full(alive));
            over.wait();
        });
        assert!(!waiting.is_full(dead));
    }

    #[test]
    fn a_server_that_is_slow_is_not_silent() {
        let waiting = Waiting::new(WaitTable::create(20).unwrap(), 4);
        let (slow, silent) = (Directory::of("/afs/a/b/c", "/afs"), Directory::of("/afs/a/b/d", "/afs"));
        let (begun, over) = (Barrier::new(3), Barrier::new(3));
        let pause = |ms| std::thread::sleep(Duration::from_millis(ms));
        std::thread::scope(|scope| {
            for directory in [slow, silent] {
                let (begun, over, waiting) = (&begun, &over, &waiting);
                scope.spawn(move || {
                    let wait = waiting.begin(directory);
                    begun.wait();
                    over.wait();
                    drop(wait);
                });
            }
            begun.wait();
            pause(SUSPICIOUS_MS);
            waiting.begin(slow).answered();
            assert!(waiting.is_full(slow), "at once, from what is remembered");
            let wait = waiting.begin(slow);
            pause(SLOW_MS.0);
            wait.answered();
            assert!(!waiting.is_full(slow));
            assert!(waiting.is_full(silent));
            let more: Vec<_> = (0..2).map(|_| waiting.table.claim().unwrap()).collect();
            more[0].begin(slow.0, now_ms() - SUSPICIOUS_MS);
            assert!(!waiting.is_full(slow), "two wait");
            more[1].begin(slow.0, now_ms() - SUSPICIOUS_MS);
            assert!(waiting.is_full(slow), "three of four workers may not");
            drop(more);
            pause(LATELY_MS + 50);
            assert!(waiting.is_full(slow), "nobody has heard of it lately");
            let wait = waiting.begin(slow);
            pause(SLOW_MS.0);
            drop(wait);
            assert!(waiting.is_full(slow), "in vain");
            let wait = waiting.begin(slow);
            pause(SLOW_MS.1 + 50);
            wait.answered();
            assert!(waiting.is_full(slow), "as good as silent");
            over.wait();
        });
    }

    #[test]
    fn a_slow_server_does_not_hide_a_silent_one_beside_it() {
        let waiting = Waiting::new(WaitTable::create(60).unwrap(), 40);
        let directory = Directory::of("/afs/a/b/c", "/afs");
        let slots: Vec<_> = (0..29).map(|_| waiting.table.claim().unwrap()).collect();
        let wait =
            |n: usize| slots.iter().take(n).for_each(|s| s.begin(directory.0, now_ms() - SUSPICIOUS_MS));
        wait(9);
        assert!(!waiting.is_full(directory));
        wait(10);
        assert!(waiting.is_full(directory));
        for slot in &slots[..3] {
            slot.given(directory.0, now_ms());
        }
        assert!(!waiting.is_full(directory));
        wait(12);
        assert!(!waiting.is_full(directory));
        wait(13);
        assert!(waiting.is_full(directory), "three have heard of it");
        slots.iter().for_each(|slot| slot.given(directory.0, now_ms()));
        wait(29);
        assert!(!waiting.is_full(directory));
        let last = waiting.table.claim().unwrap();
        last.begin(directory.0, now_ms() - SUSPICIOUS_MS);
        assert!(waiting.is_full(directory), "the others are for other servers");
    }

    #[test]
    fn a_wait_within_another_one_takes_its_place_and_gives_it_back() {
        let waiting = Waiting::new(WaitTable::create(1).unwrap(), 1);
        let (outer, inner) = (Directory::of_logins("a"), Directory::of_broker());
        let count = |d: Directory| waiting.table.count(d.0, 0, now_ms() + 1);
        let first = waiting.begin(outer);
        let second = waiting.begin(inner);
        assert_eq!((count(outer), count(inner)), (0, 1));
        drop(second);
        assert_eq!((count(outer), count(inner)), (1, 0));
        drop(first);
        assert_eq!((count(outer), count(inner)), (0, 0));
    }

    #[test]
    fn a_table_that_is_full_does_not_stop_anybody() {
        let waiting = Waiting::new(WaitTable::create(0).unwrap(), 0);
        let directory = Directory::of("/afs/a", "/afs");
        drop(waiting.begin(directory));
        assert!(!waiting.is_full(directory));
    }
}
