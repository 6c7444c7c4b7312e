//! What each child counts of itself, in memory that all children share: mod_status's page and the metrics add it up.
//!
//! A child writes its own numbers only, by atomics. What it has at present counts as long as it lives; what it has
//! counted, also after its end.

use crate::answer::Answer;
use crate::child::child;
use crate::httpd::{self, Server, mpm};
use crate::message;
use core::ffi::CStr;
use core::sync::atomic::{AtomicU64, Ordering};
use pag::{PagCells, Userspace};
use weblog_fds::{ChildSlot, ChildTable};

/// Where the table's place lies in the pool of the process; the number changes with the table or with what follows.
const KEY: &CStr = c"mod_afs/children/1";
/// Slots besides those of all children that can run: of some that end while others begin.
const SPARE: usize = 8;

/// Gauges of a child, by their places in its slot.
const PAGS_MADE: usize = 0;
const PAGS_IN_USE: usize = 1;
const PAGS_TAINTED: usize = 2;
const LOGINS: usize = 3;
const FILE_CACHE: usize = 4;
const FILE_CACHE_USED: usize = 5;

/// Totals of a child, by their places in its slot.
const PAGS_REFUSED: usize = 0;
const LOGINS_KNOWN: usize = 1;
const UNAUTHORIZED: usize = 2;
const FORBIDDEN: usize = 3;
const UNAVAILABLE: usize = 4;
const OTHERWISE: usize = 5;

/// In the parent, at each start: makes the table, unless it is there already.
///
/// Kept by itself, so that a server which an earlier version of this module has started gets one, too.
pub fn make(main: Server<'_>) {
    let Some(process) = main.process().filter(|_| mpm::pass() == mpm::Pass::Real) else { return };
    if find(main).is_some() {
        return;
    }
    match ChildTable::create(mpm::max_children().saturating_add(SPARE)) {
        Ok(table) => {
            let (address, length) = table.parts();
            process.keep(KEY, &[address.to_ne_bytes(), length.to_ne_bytes()].concat());
        }
        Err(e) => main.log(message::NO_TALLY, &format!("the status will not tell of children: {e}")),
    }
}

/// The table, if there is one.
fn find(main: Server<'_>) -> Option<ChildTable> {
    let parts = main.process()?.kept(KEY)?;
    let mut numbers = parts.chunks_exact(size_of::<usize>()).filter_map(|n| n.first_chunk());
    let parts = (usize::from_ne_bytes(*numbers.next()?), usize::from_ne_bytes(*numbers.next()?));
    httpd::attach_children(parts).ok()
}

/// The table, and what this child writes into it.
#[derive(Debug, Clone, Copy)]
pub struct Tally {
    /// Of all children.
    table: ChildTable,
    /// This one's; `None` if all are taken, and then it is not counted.
    mine: Option<ChildSlot>,
    /// How many PAGs all children together may have; `None` where nothing but memory bounds them.
    pags_limit: Option<u64>,
}

/// Where a child's logins show what they do.
#[derive(Debug, Clone, Copy)]
pub struct LoginCells {
    /// How many are remembered.
    pub entries: &'static AtomicU64,
    /// Requests for which one was.
    pub known: &'static AtomicU64,
}

impl Tally {
    /// In a new child, once. `pags`: how many it may have.
    #[must_use]
    pub fn begin(main: Server<'_>, pags: Option<usize>) -> Option<Self> {
        let all = |pags: usize| u64::try_from(pags.saturating_mul(mpm::children())).unwrap_or(u64::MAX);
        let table = find(main)?;
        Some(Self { table, mine: table.claim(), pags_limit: pags.map(all) })
    }

    /// For a client.
    #[must_use]
    pub fn pag_cells(&self) -> Option<PagCells> {
        let mine = self.mine?;
        let (made, in_use) = (mine.gauge(PAGS_MADE)?, mine.gauge(PAGS_IN_USE)?);
        Some(PagCells { made, in_use, tainted: mine.gauge(PAGS_TAINTED)? })
    }

    /// For the child's logins.
    #[must_use]
    pub fn login_cells(&self) -> Option<LoginCells> {
        let mine = self.mine?;
        Some(LoginCells { entries: mine.gauge(LOGINS)?, known: mine.total(LOGINS_KNOWN)? })
    }

    /// Notes how large this child's cache of files is. Takes the client's lock: not for a request.
    pub fn look_at_cache(&self, client: &Userspace) {
        let cells = self.mine.and_then(|mine| mine.gauge(FILE_CACHE).zip(mine.gauge(FILE_CACHE_USED)));
        if let (Some((size, used)), Ok(cache)) = (cells, client.cache_use()) {
            size.store(cache.size, Ordering::Relaxed);
            used.store(cache.used, Ordering::Relaxed);
        }
    }

    /// What all children come to.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let sums = self.table.sums();
        let now = |i: usize| sums.gauges.get(i).copied().unwrap_or(0);
        let ever = |i: usize| sums.totals.get(i).copied().unwrap_or(0);
        let mut rows = vec![gauge("children", "Children that are counted here", sums.children)];
        if let Some(limit) = self.pags_limit {
            rows.push(gauge("pags_limit", "PAGs that as many children as may run would make", limit));
        }
        rows.extend([
            gauge("pags_made", "PAGs that children have", now(PAGS_MADE)),
            gauge("pags_in_use", "PAGs of visitors", now(PAGS_IN_USE)),
            gauge("pags_tainted", "PAGs not used again, as a program may run in them", now(PAGS_TAINTED)),
            counter("pags_refused", "Requests refused as no PAG was left", ever(PAGS_REFUSED)),
            counter("refused_unauthorized", "Accesses refused with 401", ever(UNAUTHORIZED)),
            counter("refused_forbidden", "Accesses refused with 403", ever(FORBIDDEN)),
            counter("refused_unavailable", "Accesses refused with 503", ever(UNAVAILABLE)),
            counter(
                "refused_otherwise",
                "Accesses refused with another status than these and 404",
                ever(OTHERWISE),
            ),
            gauge("child_cache_entries", "Logins that children remember", now(LOGINS)),
            counter("child_cache_hits", "Requests whose login a child remembered", ever(LOGINS_KNOWN)),
        ]);
        // With a client in the kernel, its cache is the machine's.
        if self.pags_limit.is_none() {
            rows.push(gauge("file_cache_bytes", "Size of the file caches of children", now(FILE_CACHE)));
            let used = now(FILE_CACHE_USED);
            rows.push(gauge("file_cache_used_bytes", "What the file caches of children hold", used));
        }
        rows
    }
}

/// An access is answered so; that nothing is there is no refusal.
pub fn count_answer(answer: Answer) {
    let place = match answer {
        Answer::NotFound => return,
        Answer::Challenge => UNAUTHORIZED,
        Answer::Forbidden => FORBIDDEN,
        Answer::Unavailable => UNAVAILABLE,
        _ => OTHERWISE,
    };
    if let Some(refused) = child().and_then(|child| child.tally?.mine).and_then(|mine| mine.total(place)) {
        refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// A request is refused for this reason: counts it if there was no PAG.
pub fn count_refused(why: &pag::Error) {
    let mine = child().and_then(|child| child.tally?.mine);
    if *why == pag::Error::NoPagLeft
        && let Some(refused) = mine.and_then(|mine| mine.total(PAGS_REFUSED))
    {
        refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// A number for status page and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its name, without the prefix `afsweb_`.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// It also falls.
    pub gauge: bool,
    /// The number.
    pub value: u64,
}

/// One that also falls.
fn gauge(name: &'static str, help: &'static str, value: u64) -> Row {
    Row { name, help, gauge: true, value }
}

/// One that does not.
fn counter(name: &'static str, help: &'static str, value: u64) -> Row {
    Row { name, help, gauge: false, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(pags_limit: Option<u64>) -> Tally {
        let table = ChildTable::create(2).unwrap();
        Tally { table, mine: table.claim(), pags_limit }
    }

    fn value(tally: &Tally, name: &str) -> Option<u64> {
        tally.rows().into_iter().find(|row| row.name == name).map(|row| row.value)
    }

    #[test]
    fn what_a_child_shows_is_in_the_rows_under_its_name() {
        let tally = tally(Some(6));
        let (pags, logins) = (tally.pag_cells().unwrap(), tally.login_cells().unwrap());
        for (cell, n) in [(pags.made, 3), (pags.in_use, 2), (pags.tainted, 1), (logins.entries, 4)] {
            cell.store(n, Ordering::Relaxed);
        }
        logins.known.fetch_add(9, Ordering::Relaxed);
        for (name, is) in [
            ("children", 1),
            ("pags_limit", 6),
            ("pags_made", 3),
            ("pags_in_use", 2),
            ("pags_tainted", 1),
            ("pags_refused", 0),
            ("refused_unauthorized", 0),
            ("refused_forbidden", 0),
            ("refused_unavailable", 0),
            ("refused_otherwise", 0),
            ("child_cache_entries", 4),
            ("child_cache_hits", 9),
        ] {
            assert_eq!(value(&tally, name), Some(is), "{name}");
        }
        assert_eq!(value(&tally, "file_cache_bytes"), None, "the machine's, not the children's");
        assert_eq!(value(&self::tally(None), "pags_limit"), None, "nothing bounds them");
    }

    #[test]
    fn names_are_there_once() {
        for limit in [None, Some(1)] {
            let rows = tally(limit).rows();
            for (i, row) in rows.iter().enumerate() {
                assert!(rows.iter().take(i).all(|other| other.name != row.name), "{}", row.name);
                assert!(row.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            }
        }
    }
}
