//! How far a walk through collections goes for one request.
//!
//! mod_dav walks as deep as there is anything for each DELETE, LOCK and MOVE of a collection, to look for locks, and for
//! PROPFIND where httpd allows that. What symbolic links lead to is not in a collection: two links to `.` in one would make
//! more of it than anybody can go through, and one to the mount directory all of AFS.

use super::{No, Thing};
use crate::httpd::Request;
use std::time::{Duration, Instant};

/// A walk takes so long at most.
const PATIENCE: Duration = Duration::from_secs(300);
/// Most collections below one another. Each takes some of a thread's stack, and a descriptor or two while something in it is
/// done.
pub const DEEPEST: usize = 100;

/// Most resources that one finds: they are all kept until mod_dav is told of them.
const MOST: usize = 250_000;

/// A walk under way.
#[derive(Debug)]
pub struct Walk {
    /// When it ends.
    until: Instant,
    /// What it has found.
    found: Vec<Thing>,
}

impl Walk {
    /// Begins one.
    #[must_use]
    pub fn begin() -> Self {
        Self { until: Instant::now() + PATIENCE, found: Vec::new() }
    }

    /// Finds `root` and, to this depth, what is in it, in the order in which mod_dav is to hear of it: a collection before its members.
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
    ) -> Result<Vec<Thing>, No> {
        // What has been found and not been looked into, with its level below the root; the last one is next.
        let mut rest = vec![(root, 0)];
        while let Some((thing, level)) = rest.pop() {
            each(&thing)?;
            let goes_deeper = thing.is_collection() && depth.is_none_or(|depth| level < depth);
            if goes_deeper && self.descends(thing.is_by_link(), level, r.is_aborted())? {
                match thing.members(r, &self) {
                    Ok(members) => rest.extend(members.into_iter().rev().map(|member| (member, level + 1))),
                    Err(no) if level == 0 || matches!(no, No::TooMuch) => return Err(no),
                    // What the visitor may not list is shown as if there were nothing in it.
                    Err(_) => {}
                }
            }
            self.found.push(thing);
            if self.found.len().saturating_add(rest.len()) > MOST {
                return Err(No::TooMuch);
            }
        }
        Ok(self.found)
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
    fn a_walk_ends_at_links_and_in_time() {
        let walk = Walk::begin();
        for (by_link, level, want) in
            [(true, 0, Some(true)), (true, 1, Some(false)), (false, 1, Some(true)), (false, DEEPEST, None)]
        {
            assert_eq!(walk.descends(by_link, level, false).ok(), want, "{by_link} {level}");
        }
        assert!(matches!(walk.descends(false, 1, true), Err(No::TooMuch)), "nobody waits");
        let over = Walk { until: Instant::now(), found: Vec::new() };
        assert!(matches!(over.descends(true, 0, false), Err(No::TooMuch)));
    }
}
