//! What tests under load share: chance that can be repeated, a tally of what was wrong, an end for all.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// So many faults are told.
const TOLD: usize = 20;

/// A small generator (xorshift), so that a run can be repeated with its seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Any number.
    pub(crate) fn any(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to `sides`, without that.
    pub(crate) fn throw(&mut self, sides: u64) -> u64 {
        self.any() % sides
    }

    /// A place among so many.
    pub(crate) fn place(&mut self, of: usize) -> usize {
        usize::try_from(self.throw(of as u64)).unwrap()
    }
}

/// What was wrong; the first ones of it.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<String>>);

impl Faults {
    pub(crate) fn add(&self, text: String) {
        let mut faults = self.0.lock().unwrap();
        if faults.len() < TOLD {
            faults.push(text);
        }
    }

    pub(crate) fn are_none(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }

    pub(crate) fn must_be_none(&self) {
        assert_eq!(*self.0.lock().unwrap(), Vec::<String>::new());
    }
}

/// Tells those who go on until told to that this is the end: when it goes, also when a test fails.
pub(crate) struct End<'a>(pub(crate) &'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
