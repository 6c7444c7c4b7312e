//! How far a walk through collections goes for one request.
//!
//! mod_dav walks as deep as there is anything for each DELETE, LOCK and MOVE of a collection, to look for locks, and for
//! PROPFIND where httpd allows that. What symbolic links lead to is not in a collection: two links to `.` in one would make
//! more of it than anybody can go through, and one to the mount directory all of AFS.

use super::No;
use std::time::{Duration, Instant};

/// A walk takes so long at most.
const PATIENCE: Duration = Duration::from_secs(300);
/// Most collections below one another. Each takes some of a thread's stack, and a descriptor or two while something in it is
/// done.
pub const DEEPEST: usize = 100;

/// A walk under way.
#[derive(Debug, Clone, Copy)]
pub struct Walk {
    /// When it ends.
    until: Instant,
}

impl Walk {
    /// Begins one.
    #[must_use]
    pub fn begin() -> Self {
        Self { until: Instant::now() + PATIENCE }
    }

    /// Whether what is in a collection `level` below the root of the walk belongs to it; `by_link`: a symbolic link leads to it.
    ///
    /// # Errors
    /// [`No::TooMuch`]; also if nobody waits for the answer any more.
    pub fn descends(self, by_link: bool, level: usize, aborted: bool) -> Result<bool, No> {
        if aborted || Instant::now() >= self.until {
            return Err(No::TooMuch);
        }
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
        let over = Walk { until: Instant::now() };
        assert!(matches!(over.descends(true, 0, false), Err(No::TooMuch)));
    }
}
