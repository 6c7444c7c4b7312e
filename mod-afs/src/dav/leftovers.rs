//! What could not be done since its server went away, such as removing temporary names: tried again while the child lives.

use super::files::{Dir as _, Task};
use crate::writing::OpenDir;
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
    /// Where, and as whom.
    dir: OpenDir,
    /// What.
    task: Task,
    /// Since when.
    since: Instant,
    /// When it is tried next.
    next: Instant,
}

/// All of this child.
static ALL: Mutex<VecDeque<Leftover>> = Mutex::new(VecDeque::new());

/// Notes one.
pub fn note(dir: OpenDir, task: Task) {
    let now = Instant::now();
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    if all.len() >= MOST {
        all.pop_front();
    }
    all.push_back(Leftover { dir, task, since: now, next: now + PAUSE });
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
        let gone = match &leftover.task {
            Task::Remove(name) => match leftover.dir.unlink(name) {
                Ok(()) => true,
                // Nobody can do anything about the others.
                Err(errno) => Fault::of(errno) != Fault::Unreachable,
            },
        };
        if !gone && leftover.since.elapsed() < PATIENCE {
            let next = Instant::now() + PAUSE;
            let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
            all.push_back(Leftover { next, ..leftover });
        }
    }
}
