//! What could not be done since its server went away, such as removing temporary names: tried again while the child lives.

use super::files::{Dir as _, Task, join};
use super::put::Problem;
use super::tree;
use crate::message;
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

impl Leftover {
    /// Tells what has come of something that somebody would miss.
    fn told(&self, problem: Option<&Problem>) {
        let Task::PutBack { aside, name } = &self.task else { return };
        let shown = |name| String::from_utf8_lossy(&join(self.dir.path(), name)).into_owned();
        let (path, now_at) = (shown(name), shown(aside));
        match problem {
            None => tracing::warn!(
                id = message::PUT_BACK_LATE.id,
                path,
                "what could not be given its name back has it again"
            ),
            Some(problem) => tracing::error!(
                id = message::NOT_PUT_BACK.id,
                path,
                now_at,
                ?problem,
                "what lost its name keeps another one"
            ),
        }
    }
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
        let problems: Vec<Problem> = match &leftover.task {
            Task::Remove(name) => {
                let failures = tree::remove(&leftover.dir, name).err().unwrap_or_default();
                failures.into_iter().map(|(_, problem)| problem).collect()
            }
            Task::PutBack { aside, name } => {
                tree::put_back(&leftover.dir, aside, name).err().into_iter().collect()
            }
        };
        let away = |p: &Problem| matches!(p, Problem::Afs(e) if Fault::of(*e) == Fault::Unreachable);
        if problems.iter().any(away) && leftover.since.elapsed() < PATIENCE {
            let next = Instant::now() + PAUSE;
            let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
            all.push_back(Leftover { next, ..leftover });
        } else {
            leftover.told(problems.first());
        }
    }
}
