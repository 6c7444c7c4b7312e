//! Temporary names that could not be removed, since their server went away: tried again while the child lives.

use super::files::Files as _;
use crate::writing::Writing;
use core::time::Duration;
use pag::Fault;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Most that are remembered; beyond, the oldest is forgotten.
const MOST: usize = 256;
/// So long it is tried.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// Between two times.
const PAUSE: Duration = Duration::from_secs(10);

/// One of them.
struct Leftover {
    /// As whom.
    files: Writing,
    /// What.
    path: Vec<u8>,
    /// Since when.
    since: Instant,
    /// When it is tried next.
    next: Instant,
}

/// All of this child.
static ALL: Mutex<VecDeque<Leftover>> = Mutex::new(VecDeque::new());

/// Notes one.
pub fn note(files: Writing, path: &[u8]) {
    let now = Instant::now();
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    if all.len() >= MOST {
        all.pop_front();
    }
    all.push_back(Leftover { files, path: path.to_vec(), since: now, next: now + PAUSE });
}

/// Tries those that are due. Waits for servers, so it is for a thread that nobody waits for.
pub fn sweep() {
    let now = Instant::now();
    let due: VecDeque<Leftover> = {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        let (due, rest) = core::mem::take(&mut *all).into_iter().partition(|l| l.next <= now);
        *all = rest;
        due
    };
    for leftover in due {
        let gone = match leftover.files.unlink(&leftover.path) {
            Ok(()) => true,
            // Nobody can do anything about the others.
            Err(errno) => Fault::of(errno) != Fault::Unreachable,
        };
        if !gone && leftover.since.elapsed() < PATIENCE {
            let next = Instant::now() + PAUSE;
            let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
            all.push_back(Leftover { next, ..leftover });
        }
    }
}
