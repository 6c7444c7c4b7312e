//! How far a walk through collections goes for one request.
//!
//! mod_dav walks as deep as there is anything for each DELETE, LOCK and MOVE of a collection, to look for locks, and for
//! PROPFIND where httpd allows that. What symbolic links lead to is not in a collection: two links to `.` in one would make
//! more of it than anybody can go through, and one to the mount directory all of AFS.

use super::{No, Thing};
use crate::httpd::Request;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A walk takes so long at most.
const PATIENCE: Duration = Duration::from_secs(300);
/// Most collections below one another. Each takes some of a thread's stack, and a descriptor or two while something in it is
/// done.
pub const DEEPEST: usize = 100;

/// Most bytes of what one finds: all of it is kept until the end of the request, since mod_dav asks more than once.
const MOST: usize = 128 << 20;
/// Most bytes of what all walks of a child find: any of its threads may serve one.
const MOST_TOGETHER: usize = 4 * MOST;

/// What has been found counts so long for what changes something, whose body may take long to come.
const FRESH: Duration = Duration::from_secs(1);

/// A walk under way.
#[derive(Debug)]
pub struct Walk {
    /// When it ends.
    until: Instant,
    /// It only shows what is there: nothing is decided by it.
    shows: bool,
    /// What it has found, and the room for that.
    found: Vec<Thing>,
    room: Room,
}

/// So many bytes, of those that all walks of this process may take; given back with it.
#[derive(Debug)]
struct Room {
    size: usize,
    /// What all of them take.
    taken: &'static AtomicUsize,
}

impl Room {
    fn new() -> Self {
        static TAKEN: AtomicUsize = AtomicUsize::new(0);
        Self { size: 0, taken: &TAKEN }
    }

    /// Takes more.
    ///
    /// # Errors
    /// [`No::TooMuch`].
    fn grow(&mut self, by: usize) -> Result<(), No> {
        self.size = self.size.saturating_add(by);
        let before = self.taken.fetch_add(by, Ordering::Relaxed);
        let fits = self.size <= MOST && before.saturating_add(by) <= MOST_TOGETHER;
        if fits { Ok(()) } else { Err(No::TooMuch) }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// What a walk has found.
#[derive(Debug, Clone)]
pub struct Found {
    /// To which depth; `None`: to any.
    depth: Option<usize>,
    /// In the order in which mod_dav is to hear of it: a collection before its members, the root first.
    things: Arc<[Thing]>,
    /// When that was.
    at: Instant,
    /// The room for it.
    _room: Arc<Room>,
}

impl Found {
    /// Whether it was found just now.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.at.elapsed() < FRESH
    }

    /// Whether it is what a walk through `root` to this depth would find.
    #[must_use]
    pub fn is_of(&self, root: &Thing, depth: Option<usize>) -> bool {
        self.depth == depth && self.things.first().is_some_and(|first| first.path() == root.path())
    }

    /// All of it.
    #[must_use]
    pub fn things(&self) -> Arc<[Thing]> {
        Arc::clone(&self.things)
    }
}

impl Walk {
    /// Begins one; `shows`: only to show what is there.
    #[must_use]
    pub fn begin(shows: bool) -> Self {
        Self { until: Instant::now() + PATIENCE, shows, found: Vec::new(), room: Room::new() }
    }

    /// Whether it only shows what is there.
    #[must_use]
    pub fn shows(&self) -> bool {
        self.shows
    }

    /// Finds `root` and, to this depth, what is in it.
    ///
    /// `each`: what has to hold of each resource.
    ///
    /// # Errors
    /// Why the names in `root` cannot be read; what `each` says; [`No::TooMuch`].
    pub fn find(
        mut self,
        r: &Request<'_>,
        root: Thing,
        depth: Option<usize>,
        each: impl Fn(&Thing) -> Result<(), No>,
    ) -> Result<Found, No> {
        // What has not been looked into, with its level below the root; the last one is next.
        let mut rest = vec![(root, 0)];
        while let Some((thing, level)) = rest.pop() {
            each(&thing)?;
            let goes_deeper = thing.is_collection() && depth.is_none_or(|depth| level < depth);
            let by_link = thing.is_by_link();
            self.found.push(thing);
            if !goes_deeper || !self.descends(by_link, level, r.is_aborted())? {
                continue;
            }
            let members = self.found.last().map_or(Ok(Vec::new()), |thing| thing.members(r, &self));
            match members {
                Ok(members) => {
                    self.room.grow(members.iter().map(Thing::size).sum())?;
                    rest.extend(members.into_iter().rev().map(|member| (member, level + 1)));
                }
                Err(no) if level == 0 || matches!(no, No::TooMuch) => return Err(no),
                // What the visitor may not list is shown as if there were nothing in it.
                Err(_) => {}
            }
        }
        let room = Arc::new(self.room);
        Ok(Found { depth, things: self.found.into(), at: Instant::now(), _room: room })
    }

    /// Whether there is time left, and somebody who waits for the answer.
    ///
    /// # Errors
    /// [`No::TooMuch`] if not.
    pub fn goes_on(&self, aborted: bool) -> Result<(), No> {
        if aborted || Instant::now() >= self.until { Err(No::TooMuch) } else { Ok(()) }
    }

    /// Whether what is in a collection `level` below the root of the walk belongs to it; `by_link`: a symbolic link leads to it.
    ///
    /// # Errors
    /// [`No::TooMuch`]; also if nobody waits for the answer any more.
    fn descends(&self, by_link: bool, level: usize, aborted: bool) -> Result<bool, No> {
        self.goes_on(aborted)?;
        match (by_link, level) {
            // What the request is for, it is for whatever way leads to it.
            (_, 0) => Ok(true),
            (true, _) => Ok(false),
            (false, level) if level >= DEEPEST => Err(No::TooMuch),
            (false, _) => Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_together_take_no_more_than_there_is_and_give_it_back() {
        static TAKEN: AtomicUsize = AtomicUsize::new(0);
        let room = || Room { size: 0, taken: &TAKEN };
        let mut one = room();
        one.grow(MOST).unwrap();
        assert!(matches!(one.grow(1), Err(No::TooMuch)), "each has its own end");
        drop(one);
        assert_eq!(TAKEN.load(Ordering::Relaxed), 0);
        let all: Vec<Room> = (0..MOST_TOGETHER / MOST)
            .map(|_| {
                let mut room = room();
                room.grow(MOST).unwrap();
                room
            })
            .collect();
        let mut another = room();
        assert!(matches!(another.grow(1), Err(No::TooMuch)));
        drop((all, another));
        room().grow(1).unwrap();
        assert_eq!(TAKEN.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_walk_ends_at_links_and_in_time() {
        let walk = Walk::begin(false);
        for (by_link, level, want) in
            [(true, 0, Some(true)), (true, 1, Some(false)), (false, 1, Some(true)), (false, DEEPEST, None)]
        {
            assert_eq!(walk.descends(by_link, level, false).ok(), want, "{by_link} {level}");
        }
        assert!(matches!(walk.descends(false, 1, true), Err(No::TooMuch)), "nobody waits");
        let over = Walk { until: Instant::now(), ..Walk::begin(false) };
        assert!(matches!(over.descends(true, 0, false), Err(No::TooMuch)));
    }
}
