//! The table of children: numbers that each child keeps of itself, added up by whoever asks any of them.
//!
//! One slot per child, in memory that all children share; what the numbers mean is not known here. *Gauges* count for as
//! long as their child lives. *Totals* stay in the slot for the child that takes it next, so that their sum never falls.

use crate::Error;
use crate::rows::{Rows, kept_as_numbers};
use core::sync::atomic::{AtomicU64, Ordering};
use rustix::io::Errno;
use rustix::process::{Pid, getpid, test_kill_process};

/// "AFSCHILD".
const MAGIC: u64 = u64::from_le_bytes(*b"AFSCHILD");
/// A slot has two cache lines for itself; the first such place is the header.
const STRIDE: usize = 128;
/// Numbers of a child that also fall.
pub const GAUGES: usize = 9;
/// Numbers of a child that only rise.
pub const TOTALS: usize = 6;
/// In [`Slot::owner`]: the slot is not clean yet.
const TAKING: u64 = 1 << 63;
/// In [`Slot::owner`]: where the number of the process begins, behind the time of its start.
const PID_SHIFT: u32 = 40;
/// Bits of the time of its start: ticks since boot, so some hundred years.
const BORN_MASK: u64 = (1 << PID_SHIFT) - 1;

/// A child's slot.
#[repr(C, align(64))]
struct Slot {
    /// Which process; 0 = free. Its number may be another's one day, so the time of its start is there, too.
    owner: AtomicU64,
    /// Numbers that count while it lives.
    gauges: [AtomicU64; GAUGES],
    /// Numbers that count for ever.
    totals: [AtomicU64; TOTALS],
}

const _: () = assert!(size_of::<Slot>() == STRIDE);

/// What all children come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// Children that live and have a slot.
    pub children: u64,
    /// Of those.
    pub gauges: [u64; GAUGES],
    /// Of all that there ever were.
    pub totals: [u64; TOTALS],
}

/// The table. Copies are the same table; the memory stays for the life of the process.
#[derive(Debug, Clone, Copy)]
pub struct ChildTable(Rows);

kept_as_numbers!(ChildTable, STRIDE, MAGIC);

impl ChildTable {
    /// Makes a table of `n` free slots, for the processes that this one forks from now on.
    ///
    /// # Errors
    /// [`Error::Errno`] if there is no memory.
    pub fn create(n: usize) -> Result<Self, Error> {
        let rows = Rows::create(n, STRIDE)?;
        rows.are(MAGIC)?;
        Ok(Self(rows))
    }

    /// A slot for the calling process until it ends, its gauges at zero. `None` = all are in use.
    ///
    /// To be called once in a process.
    #[must_use]
    pub fn claim(&self) -> Option<ChildSlot> {
        let me = myself();
        let slot = self.take(me, |owner| owner == 0).or_else(|| self.take(me, |owner| !lives(owner)))?;
        for gauge in &slot.gauges {
            gauge.store(0, Ordering::Relaxed);
        }
        slot.owner.store(me, Ordering::Release);
        Some(ChildSlot(slot))
    }

    /// Takes a slot whose owner may be replaced.
    fn take(&self, me: u64, may: impl Fn(u64) -> bool) -> Option<&'static Slot> {
        self.slots().find(|slot| {
            let owner = slot.owner.load(Ordering::Acquire);
            may(owner)
                && slot
                    .owner
                    .compare_exchange(owner, me | TAKING, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
        })
    }

    /// What all children come to. Slots of dead ones are freed.
    #[must_use]
    pub fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for slot in self.slots() {
            add(&mut sums.totals, &slot.totals);
            let owner = slot.owner.load(Ordering::Acquire);
            if owner == 0 || owner & TAKING != 0 {
                continue;
            }
            if lives(owner) {
                sums.children = sums.children.saturating_add(1);
                add(&mut sums.gauges, &slot.gauges);
            } else {
                let _ = slot.owner.compare_exchange(owner, 0, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
        sums
    }

    /// All slots.
    fn slots(&self) -> impl Iterator<Item = &'static Slot> + use<'_> {
        (0..self.0.len()).filter_map(|i| {
            let slot = self.0.row::<Slot>(i)?;
            // SAFETY: inside a mapping that stays for ever, aligned, and all its fields are atomics.
            Some(unsafe { slot.as_ref() })
        })
    }
}

/// Adds up.
fn add<const N: usize>(sums: &mut [u64; N], more: &[AtomicU64; N]) {
    for (sum, one) in sums.iter_mut().zip(more) {
        *sum = sum.saturating_add(one.load(Ordering::Relaxed));
    }
}

/// The calling process, as it lies in a slot.
fn myself() -> u64 {
    let pid = getpid().as_raw_nonzero().get().unsigned_abs();
    let born = stat("self").map_or(0, |(_, born)| born & BORN_MASK);
    (u64::from(pid) << PID_SHIFT) | born
}

/// Does this owner of a slot live? A zombie does not.
fn lives(owner: u64) -> bool {
    let pid = i32::try_from((owner & !TAKING) >> PID_SHIFT).unwrap_or(0);
    let Some(process) = Pid::from_raw(pid) else { return false };
    match stat(&pid.to_string()) {
        Some((state, born)) => {
            let same = owner & BORN_MASK == 0 || owner & BORN_MASK == born & BORN_MASK;
            same && !matches!(state, 'Z' | 'X')
        }
        // No such process, or no /proc that shows it.
        None => test_kill_process(process) != Err(Errno::SRCH),
    }
}

/// State and time of start of a process.
fn stat(pid: &str) -> Option<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    state_and_start(&text)
}

/// Whether a process was there already at this moment (milliseconds of CLOCK_MONOTONIC; without the time that the machine
/// slept, so that a process looks younger then).
pub(crate) fn lives_since(pid: u32, since_ms: u64) -> bool {
    let start_ms = |ticks: u64| ticks.saturating_mul(1_000) / rustix::param::clock_ticks_per_second().max(1);
    stat(&pid.to_string()).is_some_and(|(_, ticks)| start_ms(ticks) <= since_ms)
}

/// The third and the 22nd field; the second one is a name in brackets, which may hold anything.
fn state_and_start(text: &str) -> Option<(char, u64)> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// A child's own slot. It is the child's until it ends; copies are the same slot.
#[derive(Clone, Copy)]
pub struct ChildSlot(&'static Slot);

impl ChildSlot {
    /// A number that counts while the child lives; `None` if there are not so many.
    #[must_use]
    pub fn gauge(&self, i: usize) -> Option<&'static AtomicU64> {
        self.0.gauges.get(i)
    }

    /// A number that only rises; `None` if there are not so many.
    #[must_use]
    pub fn total(&self, i: usize) -> Option<&'static AtomicU64> {
        self.0.totals.get(i)
    }
}

impl core::fmt::Debug for ChildSlot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ChildSlot(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Forked, fork};
    use core::time::Duration;

    /// A child that has taken a slot, written into it, and stays until it is killed.
    fn child(t: ChildTable, gauge: u64, total: u64) -> Forked {
        let before = t.sums().children;
        let child = fork(|| {
            let Some(mine) = t.claim() else { return 1 };
            mine.0.gauges[0].store(gauge, Ordering::Relaxed);
            mine.0.totals[1].fetch_add(total, Ordering::Relaxed);
            mine.0.gauges[GAUGES - 1].store(1, Ordering::Release);
            loop {
                std::thread::sleep(Duration::from_secs(60));
            }
        });
        let written = || t.sums().gauges[GAUGES - 1] > before;
        for _ in 0..1_000 {
            if written() {
                return child;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the child takes no slot");
    }

    #[test]
    fn gauges_are_those_of_living_children_and_totals_those_of_all() {
        let t = ChildTable::create(3).unwrap();
        assert_eq!(t.sums(), Sums::default());
        let (mut a, mut b) = (child(t, 5, 10), child(t, 7, 20));
        let sums = t.sums();
        assert_eq!((sums.children, sums.gauges[0], sums.totals[1]), (2, 12, 30));
        a.kill();
        let sums = t.sums();
        assert_eq!((sums.children, sums.gauges[0], sums.totals[1]), (1, 7, 30));
        let mut c = child(t, 1, 1);
        let sums = t.sums();
        assert_eq!((sums.children, sums.gauges[0], sums.totals[1]), (2, 8, 31));
        b.kill();
        c.kill();
        let sums = t.sums();
        assert_eq!((sums.children, sums.gauges[0], sums.totals[1]), (0, 0, 31));
    }

    #[test]
    fn slots_run_out_and_those_of_the_dead_come_back_clean() {
        let t = ChildTable::create(1).unwrap();
        let mut a = child(t, 5, 3);
        assert!(t.claim().is_none());
        a.kill();
        // Nobody has looked meanwhile.
        let mine = t.claim().unwrap();
        assert_eq!(mine.gauge(0).unwrap().load(Ordering::Relaxed), 0);
        assert_eq!((t.sums().children, t.sums().totals[1]), (1, 3));
        assert!(mine.gauge(GAUGES).is_none() && mine.total(TOTALS).is_none());
    }

    #[test]
    fn a_process_with_the_number_of_a_dead_one_is_not_taken_for_it() {
        let t = ChildTable::create(1).unwrap();
        let mine = t.claim().unwrap();
        assert_eq!(t.sums().children, 1);
        let me = mine.0.owner.load(Ordering::Relaxed);
        mine.0.owner.store(me ^ 1, Ordering::Relaxed);
        assert!(!lives(me ^ 1) && lives(me) && lives(me & !BORN_MASK), "by its start, where that is known");
        assert_eq!(t.sums().children, 0);
        assert!(t.claim().is_some());
    }

    #[test]
    fn one_that_died_while_it_took_its_slot_does_not_keep_it() {
        let t = ChildTable::create(1).unwrap();
        let mut taker = fork(|| i32::from(t.take(myself(), |owner| owner == 0).is_none()));
        assert_eq!(taker.wait(), Some(0));
        assert_eq!(t.sums().children, 0);
        assert!(t.claim().is_some());
    }

    #[test]
    fn many_at_once_each_get_a_slot_of_their_own() {
        let t = ChildTable::create(16).unwrap();
        let mut all: Vec<_> = (0..16).map(|_| fork(|| i32::from(t.claim().is_none()))).collect();
        assert!(all.iter_mut().all(|c| c.wait() == Some(0)));
        assert_eq!(t.sums().children, 0);
    }

    #[test]
    fn a_name_with_brackets_and_spaces_hides_nothing() {
        let tail = (4..22).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(state_and_start(&format!("7 (a) b (c) S {tail} 991 5")), Some(('S', 991)));
        assert_eq!(state_and_start("7 (short) S 1"), None);
    }

    #[test]
    fn is_found_again_by_its_plain_numbers() {
        let t = ChildTable::create(2).unwrap();
        let (addr, len) = t.parts();
        // SAFETY: the numbers are those of `t`.
        let again = unsafe { ChildTable::attach(addr, len) }.unwrap();
        t.claim().unwrap().total(0).unwrap().store(4, Ordering::Relaxed);
        assert_eq!(again.sums().totals[0], 4);
        let (locks, len) = crate::LockTable::create(3).unwrap().parts();
        // SAFETY: the memory is there; it is another table.
        assert!(unsafe { ChildTable::attach(locks, len) }.is_err());
    }
}
