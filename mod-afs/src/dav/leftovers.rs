//! What could not be done since its server went away, such as removing temporary names: tried again while the child lives.
//!
//! Each keeps its visitor's PAG, and the token in it. So none outlives a revocation: whatever was noted before one is dropped,
//! and what would be missed is told in the log. What is noted for somebody whose login was revoked meanwhile is dropped at once.

use super::files::{Dir, Task, join};
use super::put::Problem;
use super::tree;
use crate::child::child;
use crate::message;
use crate::writing::OpenDir;
use core::time::Duration;
use pag::Fault;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Most that are remembered; beyond, the oldest is forgotten.
const MOST: usize = 256;
/// So long it is tried.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// Why one is dropped.
const REVOKED: &str = "its visitor's logins were revoked";
/// Between two times.
const PAUSE: Duration = Duration::from_secs(10);

/// One of them.
struct Leftover<D: Dir> {
    /// Where, and as whom.
    dir: D,
    /// What.
    task: Task,
    /// The epoch of the broker's in which its visitor was let in.
    epoch: u64,
    /// Since when.
    since: Instant,
    /// When it is tried next.
    next: Instant,
}

/// Those of one child.
struct Leftovers<D: Dir>(VecDeque<Leftover<D>>);

/// All of this child.
static ALL: Mutex<Leftovers<OpenDir>> = Mutex::new(Leftovers(VecDeque::new()));

/// All of this child.
fn all() -> MutexGuard<'static, Leftovers<OpenDir>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The epoch, which rises with each revocation.
fn epoch() -> u64 {
    child().and_then(|child| child.broker.as_ref()).map_or(0, |broker| broker.board().epoch())
}

/// Notes one.
pub fn note(dir: OpenDir, task: Task) {
    let now = epoch();
    let let_in = dir.who().holder().map_or(now, |holder| holder.epoch);
    let leftover = Leftover::new(dir, task, let_in, Instant::now());
    if let_in != now {
        leftover.told(Some(REVOKED));
        return;
    }
    let gone = all().note(leftover);
    // A PAG ends with the last that keeps it, which takes a moment.
    if let Some(gone) = gone {
        gone.told(Some("too many others wait for servers that are away"));
    }
}

/// Drops those of before a revocation. Waits for nobody.
pub fn drop_revoked() {
    let epoch = epoch();
    let gone = all().take(|leftover| leftover.epoch != epoch);
    for leftover in gone {
        leftover.told(Some(REVOKED));
    }
}

/// Tries those that are due. Waits for servers, so it is for a thread that nobody waits for.
pub fn sweep() {
    let now = Instant::now();
    let due = all().take(|leftover| leftover.next <= now);
    for leftover in due {
        if leftover.epoch != epoch() {
            leftover.told(Some(REVOKED));
        } else if let Some(again) = leftover.try_it(Instant::now()) {
            all().0.push_back(again);
        }
    }
}

impl<D: Dir> Leftovers<D> {
    /// Notes one; gives the one that is forgotten for it: the oldest of those that nobody would miss, if there is one.
    fn note(&mut self, leftover: Leftover<D>) -> Option<Leftover<D>> {
        let forgotten = (self.0.len() >= MOST)
            .then(|| self.0.iter().position(|l| matches!(l.task, Task::Remove { .. })).unwrap_or(0));
        let forgotten = forgotten.and_then(|at| self.0.remove(at));
        self.0.push_back(leftover);
        forgotten
    }

    /// Takes out those of a kind.
    fn take(&mut self, which: impl Fn(&Leftover<D>) -> bool) -> VecDeque<Leftover<D>> {
        let (taken, rest) = core::mem::take(&mut self.0).into_iter().partition(which);
        self.0 = rest;
        taken
    }
}

impl<D: Dir> Leftover<D> {
    /// One that is noted now.
    fn new(dir: D, task: Task, epoch: u64, now: Instant) -> Self {
        Self { dir, task, epoch, since: now, next: now + PAUSE }
    }

    /// Tries it; gives itself if it is to be tried again.
    fn try_it(self, now: Instant) -> Option<Self> {
        let problems: Vec<Problem> = match &self.task {
            Task::Remove { name, which } => {
                let failures = tree::remove_made(&self.dir, name, *which).err().unwrap_or_default();
                failures.into_iter().map(|(_, problem)| problem).collect()
            }
            Task::PutBack { aside, name } => {
                tree::put_back(&self.dir, aside, name).err().into_iter().collect()
            }
        };
        let away = |p: &Problem| matches!(p, Problem::Afs(e) if Fault::of(*e) == Fault::Unreachable);
        if problems.iter().any(away) && now.duration_since(self.since) < PATIENCE {
            return Some(Self { next: now + PAUSE, ..self });
        }
        // Nobody can do anything about the others.
        self.told(problems.first().map(|problem| format!("{problem:?}")).as_deref());
        None
    }

    /// Tells what has come of something that somebody would miss: why it was given up, or that it is done.
    fn told(&self, why: Option<&str>) {
        let Task::PutBack { aside, name } = &self.task else { return };
        let shown = |name| String::from_utf8_lossy(&join(self.dir.path(), name)).into_owned();
        let (path, now_at) = (shown(name), shown(aside));
        match why {
            None => tracing::warn!(
                id = message::PUT_BACK_LATE.id,
                path,
                "what had lost its name, or might have, has it"
            ),
            Some(why) => tracing::error!(
                id = message::NOT_PUT_BACK.id,
                path,
                now_at,
                why,
                "what lost its name keeps another one"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::{Memory, Step};
    use super::*;

    #[test]
    fn what_is_due_is_tried_until_its_server_is_back() {
        let m = Memory::with(&[
            (".afsweb-1", "set aside"),
            (".afsweb-2", "/"),
            (".afsweb-2/x", "no longer needed"),
            (".afsweb-3", "no longer needed"),
        ]);
        let m = m.fail(Step::Rename, libc::ETIMEDOUT).fail(Step::Unlink, libc::ETIMEDOUT);
        let dir = m.dir(b"/afs/c").unwrap();
        let which = Some(dir.sub(b".afsweb-2").unwrap().id().unwrap());
        let begin = Instant::now();
        let mut all = Leftovers(VecDeque::new());
        for task in [
            Task::PutBack { aside: b".afsweb-1".to_vec(), name: b"x".to_vec() },
            Task::Remove { name: b".afsweb-2".to_vec(), which },
            Task::Remove { name: b".afsweb-3".to_vec(), which: None },
        ] {
            all.note(Leftover::new(dir.clone(), task, 1, begin));
        }
        for leftover in all.take(|_| true) {
            let again = leftover.try_it(begin).unwrap();
            assert_eq!(again.next, begin + PAUSE);
            all.0.push_back(again);
        }
        m.state().stop_failing();
        for leftover in all.take(|_| true) {
            assert!(leftover.try_it(begin).is_none());
        }
        assert_eq!(m.shown(), "x=set aside");
    }

    #[test]
    fn what_was_noted_before_a_revocation_is_dropped_and_patience_ends() {
        let m = Memory::with(&[("a", "1")]).fail(Step::Unlink, libc::ETIMEDOUT);
        let dir = m.dir(b"/afs/c").unwrap();
        let begin = Instant::now();
        let mut all = Leftovers(VecDeque::new());
        let remove = |epoch| {
            Leftover::new(dir.clone(), Task::Remove { name: b"a".to_vec(), which: None }, epoch, begin)
        };
        for epoch in [1, 2] {
            all.note(remove(epoch));
        }
        assert_eq!(all.take(|leftover| leftover.epoch != 2).len(), 1);
        assert_eq!(all.0.len(), 1);
        for leftover in all.take(|_| true) {
            assert!(leftover.try_it(begin + PATIENCE).is_none());
        }
        let missed = Task::PutBack { aside: b"b".to_vec(), name: b"c".to_vec() };
        all.note(Leftover::new(dir.clone(), missed.clone(), 2, begin));
        for n in 1..MOST {
            assert!(all.note(remove(2)).is_none(), "{n}");
        }
        assert!(all.note(remove(2)).is_some_and(|gone| gone.task != missed));
        assert_eq!(all.0.len(), MOST);
        assert_eq!(all.0[0].task, missed, "what somebody would miss stays as long as anything else can go");
    }
}
