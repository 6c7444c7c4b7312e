//! Temporary files of children that were killed in the middle of a body: whoever puts a file beside them removes them,
//! days later.
//!
//! Only what a body was on its way to; what a COPY or MOVE had set aside is a visitor's file, and has another name.

use super::files::{Dir, Look};
use super::put::{PREFIX, RANDOM};
use core::time::Duration;
use pag::userspace::Kind;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// So long after it was written last, nobody waits for it any more.
const AGE_S: i64 = 2 * 24 * 3_600;
/// A child looks through a directory this often at most.
const AGAIN: Duration = Duration::from_secs(3_600);
/// Most directories that are remembered.
const MOST: usize = 1_000;

/// When this child has looked through a directory.
static LOOKED: Mutex<Option<HashMap<Vec<u8>, Instant>>> = Mutex::new(None);

/// Is it time to look through this directory? Notes that it was.
pub fn is_due(dir: &[u8], now: Instant) -> bool {
    let mut looked = LOOKED.lock().unwrap_or_else(PoisonError::into_inner);
    let looked = looked.get_or_insert_default();
    if looked.get(dir).is_some_and(|then| now.saturating_duration_since(*then) < AGAIN) {
        return false;
    }
    if looked.len() >= MOST {
        looked.clear();
    }
    looked.insert(dir.to_vec(), now);
    true
}

/// Is it the name of a file that a body is on its way to?
fn is_ours(name: &[u8]) -> bool {
    let random = name.strip_prefix(PREFIX);
    random.is_some_and(|r| r.len() == RANDOM && r.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// Removes those of a directory; `now_s`: seconds since 1970. Whatever fails stays.
pub fn remove<D: Dir>(dir: &D, now_s: i64) {
    let old = |look: Look| look.kind == Kind::File && now_s.saturating_sub(look.mtime_s) > AGE_S;
    for name in dir.names().unwrap_or_default().iter().filter(|name| is_ours(name)) {
        if dir.look(name).is_ok_and(old) {
            let _ = dir.unlink(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_looked_through_once_an_hour() {
        let now = Instant::now();
        assert!(is_due(b"/afs/c/due", now) && !is_due(b"/afs/c/due", now) && is_due(b"/afs/c/other", now));
        assert!(is_due(b"/afs/c/due", now + AGAIN));
    }
}
