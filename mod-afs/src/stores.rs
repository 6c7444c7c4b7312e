//! Turns at storing files, for a client that cannot bear two stores at once: kAFS of Linux 6.1 can hang then, for ever
//! (docs/facts.md).

use std::time::{Duration, Instant};
use weblog_fds::{LockGuard, LockTable};

/// A turn is as long as a store. Whoever waited that long does not get his.
const PATIENCE: Duration = Duration::from_secs(60);

/// One turn at a time, in all children of this server. Free again when its holder dies.
#[derive(Debug, Clone, Copy)]
pub struct Stores {
    /// Where the lock is.
    locks: LockTable,
    /// Which one it is: behind those of the lanes.
    place: usize,
}

impl Stores {
    /// How many locks a server with so many lanes needs.
    #[must_use]
    pub fn locks(lanes: usize) -> usize {
        lanes.saturating_add(1)
    }

    /// The lock of a table that was made with [`Stores::locks`]; `None` if an earlier version of this module made it.
    #[must_use]
    pub fn of(locks: LockTable, lanes: usize) -> Option<Self> {
        (lanes < locks.len()).then_some(Self { locks, place: lanes })
    }

    /// Waits for a turn, which lasts until the guard is dropped.
    ///
    /// # Errors
    /// `ETIMEDOUT` if somebody else stores all the time, or hangs.
    pub fn turn(&self) -> Result<LockGuard, i32> {
        self.turn_within(PATIENCE)
    }

    /// The same, for so long.
    ///
    /// # Errors
    /// `ETIMEDOUT`.
    fn turn_within(&self, patience: Duration) -> Result<LockGuard, i32> {
        self.locks.lock(self.place, Instant::now() + patience).map_err(|_| libc::ETIMEDOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stores_and_the_others_wait_no_longer_than_their_patience() {
        let stores = Stores::of(LockTable::create(Stores::locks(3)).unwrap(), 3).unwrap();
        let turn = stores.turn().unwrap();
        std::thread::scope(|s| {
            let waited = s.spawn(|| stores.turn_within(Duration::from_millis(20)).err()).join();
            assert_eq!(waited.unwrap(), Some(libc::ETIMEDOUT));
        });
        drop(turn);
        std::thread::scope(|s| {
            assert!(s.spawn(|| stores.turn_within(Duration::ZERO).is_ok()).join().unwrap());
        });
        assert!(Stores::of(LockTable::create(3).unwrap(), 3).is_none(), "of an earlier version");
    }
}
