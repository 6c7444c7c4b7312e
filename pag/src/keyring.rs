//! Session keyrings as PAGs, for both kernel clients: each has an unguessable name, by which a thread joins it.
//!
//! Knows no AFS. A keyring is made as root, so that nobody of the uid that serves owns it; then its rights are taken:
//! - *possessor* (whoever is inside, a CGI program too): search, so that the AFS client finds what is in it. No view,
//!   so that its name cannot be learned; no link, so that it cannot be put into another keyring or given to a parent.
//! - *owner* (root) and *group* (or everybody): search, which is what joining by name takes. Who knows only the number can do nothing
//!   with it but destroy it (`KEYCTL_INVALIDATE` takes no more), which joining notices.
//!
//! A keyring lives as long as a thread is in it or another keyring holds it. The kernel makes a new one for a name that
//! is gone; so the number that joining gives is compared.

use crate::meter::{Meter, PagCells};
use crate::sys::consts::{GRP_SEARCH, OTH_SEARCH, POS_SEARCH, USR_SEARCH};
use crate::sys::keyctl::{self, Serial};
use crate::{Cell, Error, Token};
use core::cell::RefCell;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use zeroize::Zeroizing;

/// Random bytes in a name.
const NAME_BYTES: usize = 16;

/// An errno of a call as an error.
pub(crate) fn failed(call: &'static str) -> impl Fn(i32) -> Error {
    move |errno| if errno == libc::EDQUOT { Error::Quota } else { Error::Errno { call, errno } }
}

/// Makes sure that the process is root's still: else other processes of its uid could read the names of its keyrings
/// while they are made, and link and change them.
///
/// # Errors
/// [`Error::NoAfs`]
pub(crate) fn root() -> Result<(), Error> {
    if rustix::process::geteuid().is_root() {
        Ok(())
    } else {
        Err(Error::NoAfs(
            "PAGs of a kernel client are made as root: httpd has to be started by root".to_owned(),
        ))
    }
}

/// A name for the kernel.
///
/// # Errors
/// None: it was made with its NUL.
fn text(name: &[u8]) -> Result<&CStr, Error> {
    CStr::from_bytes_with_nul(name).map_err(|_| Error::BadValue("name of a keyring"))
}

/// A keyring with a name that nobody else knows.
pub(crate) struct Ring {
    /// Whoever has it can be whose PAG it is. With its NUL.
    name: Zeroizing<Vec<u8>>,
    /// Its number.
    serial: Serial,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({:#x})", self.serial.0)
    }
}

impl Ring {
    /// Makes one in another keyring. To be called as root: until its rights are taken, its owner can read its name.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn make(into: Serial) -> Result<Self, Error> {
        // Whoever finds these has the name.
        let mut random = Zeroizing::new([0_u8; NAME_BYTES]);
        rustix::rand::getrandom(random.as_mut_slice(), rustix::rand::GetRandomFlags::empty())
            .map_err(|e| failed("getrandom")(e.raw_os_error()))?;
        let mut name = Zeroizing::new(Vec::with_capacity(7 + 2 * NAME_BYTES + 1));
        name.extend_from_slice(b"afsweb.");
        for byte in random.iter() {
            for nibble in [byte >> 4, byte & 15] {
                name.push(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
            }
        }
        name.push(0);
        let serial = keyctl::add_keyring(text(&name)?, into).map_err(failed("new keyring"))?;
        Ok(Self { name, serial })
    }

    /// Takes all rights but what joining and searching need, and what `also` leaves to whoever is inside.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn seal(&self, group: Option<u32>, also: u32) -> Result<(), Error> {
        let join = if let Some(group) = group {
            keyctl::set_group(self.serial, group).map_err(failed("group of a keyring"))?;
            GRP_SEARCH
        } else {
            OTH_SEARCH
        };
        keyctl::set_rights(self.serial, POS_SEARCH | USR_SEARCH | join | also)
            .map_err(failed("rights of a keyring"))
    }

    /// Its number.
    pub(crate) fn serial(&self) -> Serial {
        self.serial
    }

    /// Makes it the calling thread's session keyring.
    ///
    /// # Errors
    /// [`Error::WrongPag`] if it is gone: the thread is then in another one, and has to leave that.
    pub(crate) fn join(&self) -> Result<(), Error> {
        let joined = keyctl::join_session(text(&self.name)?);
        let joined = joined.map_err(failed("join keyring"))?;
        if joined.is_some_and(|s| s != self.serial) { Err(Error::WrongPag) } else { Ok(()) }
    }

    /// Whether it is the calling thread's session keyring, and alive.
    pub(crate) fn is_here(&self) -> bool {
        keyctl::session() == Ok(self.serial)
    }
}

/// What a token is known by: nobody but the cell can make another one with the same session key.
fn known_by(token: &Token) -> Zeroizing<Vec<u8>> {
    let mut known = Zeroizing::new(Vec::with_capacity(8 + 4 + 8 + Cell::MAX));
    known.extend_from_slice(&token.key.0);
    known.extend_from_slice(&token.kvno.to_ne_bytes());
    known.extend_from_slice(&token.end.to_ne_bytes());
    known.extend_from_slice(token.cell.as_str().as_bytes());
    known
}

/// A token that a PAG was given.
struct Given {
    /// What it is known by, since a process in the PAG could have changed it.
    known_by: Zeroizing<Vec<u8>>,
    /// When it ends, seconds since 1970.
    end: i64,
}

/// A PAG that was made when the process started.
pub(crate) struct Slot {
    /// Its keyring.
    pub(crate) ring: Ring,
    /// The key by which the AFS client knows it, where it has one.
    pub(crate) key: Option<Serial>,
    /// Whether a process may have been started in it.
    forkable: AtomicBool,
    /// The token that it was given.
    given: Mutex<Option<Given>>,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({:?}, forkable: {:?})", self.ring, self.forkable)
    }
}

impl Slot {
    /// A PAG.
    pub(crate) fn new(ring: Ring, key: Option<Serial>) -> Self {
        Self { ring, key, forkable: AtomicBool::new(false), given: Mutex::new(None) }
    }

    /// Notes which token it was given; `None` = none.
    pub(crate) fn note_given(&self, token: Option<&Token>) {
        let given = token.map(|token| Given { known_by: known_by(token), end: token.end });
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = given;
    }

    /// Whether the token that it was given had ended by then.
    pub(crate) fn has_ended_by(&self, then_s: i64) -> bool {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.as_ref().is_some_and(|given| given.end <= then_s)
    }

    /// Whether these tokens are what it was given.
    pub(crate) fn was_given(&self, tokens: &[Token]) -> bool {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        match (given.as_ref(), tokens) {
            (None, []) => true,
            (Some(given), [token]) => given.known_by == known_by(token),
            _ => false,
        }
    }

    /// Whether a process may have been started in it.
    pub(crate) fn is_forkable(&self) -> bool {
        self.forkable.load(Ordering::Acquire)
    }

    /// From now on it is not given to anybody else.
    pub(crate) fn set_forkable(&self) {
        self.forkable.store(true, Ordering::Release);
    }
}

thread_local! {
    /// The PAG that the thread has entered; none: the anonymous one. Its hold on the slot is what [`Pool::park`] sees.
    static HERE: RefCell<Option<Arc<Slot>>> = const { RefCell::new(None) };
}

/// Notes which PAG the calling thread is in.
pub(crate) fn set_here(slot: Option<Arc<Slot>>) {
    // A thread that is ending keeps no note any more.
    let _ = HERE.try_with(|h| h.replace(slot));
}

/// The PAG that the calling thread has entered.
pub(crate) fn here() -> Option<Arc<Slot>> {
    HERE.try_with(|h| h.borrow().clone()).ok().flatten()
}

/// The PAGs of a process. Their numbers in [`crate::Pag`] are given once, whatever the client's own are.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Visitors', by number.
    used: RwLock<HashMap<u32, Arc<Slot>>>,
    /// For visitors to come.
    free: Mutex<Vec<Arc<Slot>>>,
    /// How many there were.
    made: usize,
    /// Those that will not be given out again.
    tainted: AtomicUsize,
    /// The next number.
    next: AtomicU32,
    /// Where all this is shown.
    meter: Meter,
}

/// First number; the anonymous PAG's.
pub(crate) const ANONYMOUS: u32 = 0x4100_0001;

impl Pool {
    /// A pool of these.
    pub(crate) fn new(slots: Vec<Slot>) -> Self {
        let free: Vec<_> = slots.into_iter().rev().map(Arc::new).collect();
        Self {
            used: RwLock::default(),
            made: free.len(),
            free: Mutex::new(free),
            tainted: AtomicUsize::new(0),
            next: AtomicU32::new(ANONYMOUS + 1),
            meter: Meter::default(),
        }
    }

    /// Those that are free; whole between any two statements.
    fn free(&self) -> MutexGuard<'_, Vec<Arc<Slot>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One for a visitor.
    ///
    /// # Errors
    /// [`Error::NoPagLeft`]
    pub(crate) fn take(&self) -> Result<u32, Error> {
        // First a PAG: whoever gets none must not use up a number.
        let slot = self.free().pop().ok_or(Error::NoPagLeft)?;
        let numbered = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_add(1));
        let Ok(id) = numbered else {
            self.free().push(slot);
            return Err(Error::NoPagLeft);
        };
        self.used.write().unwrap_or_else(PoisonError::into_inner).insert(id, slot);
        self.meter.taken();
        Ok(id)
    }

    /// A visitor's.
    ///
    /// # Errors
    /// `ESRCH` if it has ended.
    pub(crate) fn get(&self, id: u32) -> Result<Arc<Slot>, Error> {
        let used = self.used.read().unwrap_or_else(PoisonError::into_inner);
        used.get(&id).cloned().ok_or(Error::Errno { call: "PAG", errno: libc::ESRCH })
    }

    /// Takes one back that has ended: it is nobody's now, and no thread can enter it.
    pub(crate) fn end(&self, id: u32) -> Option<Arc<Slot>> {
        let slot = self.used.write().unwrap_or_else(PoisonError::into_inner).remove(&id)?;
        self.meter.ended();
        Some(slot)
    }

    /// Keeps one without tokens for the next visitor, unless something may still be in it: a process that was started
    /// there, or a thread that has not left. `false`: it is not used any more.
    pub(crate) fn park(&self, slot: Arc<Slot>) -> bool {
        // Whatever is inside holds it, and nobody can enter any more.
        let mut slot = slot;
        let alone = Arc::get_mut(&mut slot).is_some();
        if alone && !slot.is_forkable() {
            // Behind those that were never used.
            self.free().insert(0, slot);
            true
        } else {
            self.discard();
            false
        }
    }

    /// Counts one that is not used any more.
    pub(crate) fn discard(&self) {
        self.tainted.fetch_add(1, Ordering::Relaxed);
        self.meter.tainted();
    }

    /// Shows there how many there are, from now on.
    pub(crate) fn show(&self, cells: PagCells) {
        self.meter.show(cells, self.counters());
    }

    /// How many there are.
    pub(crate) fn counters(&self) -> crate::client::Counters {
        crate::client::Counters {
            made: self.made,
            in_use: self.used.read().unwrap_or_else(PoisonError::into_inner).len(),
            tainted: self.tainted.load(Ordering::Relaxed),
            free: self.free().len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicU64;

    fn pool(n: usize) -> Pool {
        let ring = |i: usize| Ring {
            name: Zeroizing::new(b"afsweb.secret".to_vec()),
            serial: Serial(i32::try_from(i).unwrap() + 1),
        };
        Pool::new((0..n).map(|i| Slot::new(ring(i), None)).collect())
    }

    #[test]
    fn those_never_used_come_first_and_numbers_never_again() {
        let p = pool(2);
        let a = p.take().unwrap();
        let slot = p.end(a).unwrap();
        let serial = slot.ring.serial;
        assert!(p.park(slot));
        let (b, c) = (p.take().unwrap(), p.take().unwrap());
        assert!(a != b && b != c && a != c);
        assert_ne!(p.get(b).unwrap().ring.serial, serial);
        assert_eq!(p.get(c).unwrap().ring.serial, serial);
        assert_eq!(p.get(a).map(drop), Err(Error::Errno { call: "PAG", errno: libc::ESRCH }));
        assert_eq!(p.take(), Err(Error::NoPagLeft));
        assert_eq!(p.counters(), crate::client::Counters { made: 2, in_use: 2, tainted: 0, free: 0 });
    }

    #[test]
    fn who_gets_no_pag_uses_up_no_number_and_who_gets_no_number_no_pag() {
        let p = pool(1);
        let a = p.take().unwrap();
        for _ in 0..3 {
            assert_eq!(p.take(), Err(Error::NoPagLeft));
        }
        assert!(p.park(p.end(a).unwrap()));
        assert_eq!(p.take(), Ok(a + 1));
        assert!(p.park(p.end(a + 1).unwrap()));
        p.next.store(u32::MAX, Ordering::Relaxed);
        assert_eq!(p.take(), Err(Error::NoPagLeft));
        assert_eq!(p.counters(), crate::client::Counters { made: 1, in_use: 0, tainted: 0, free: 1 });
    }

    #[test]
    fn one_in_which_something_may_still_run_is_not_given_out_again() {
        let p = pool(2);
        let cell = || &*Box::leak(Box::new(AtomicU64::new(9)));
        let cells = PagCells { made: cell(), in_use: cell(), tainted: cell() };
        let shown = || [cells.made, cells.in_use, cells.tainted].map(|c| c.load(Ordering::Relaxed));
        p.show(cells);
        let (a, b) = (p.take().unwrap(), p.take().unwrap());
        assert_eq!(shown(), [2, 2, 0]);
        let slot = p.end(a).unwrap();
        slot.set_forkable();
        assert!(!p.park(slot));
        // A thread that has not left.
        set_here(Some(p.get(b).unwrap()));
        assert!(!p.park(p.end(b).unwrap()));
        set_here(None);
        assert_eq!(p.take(), Err(Error::NoPagLeft));
        assert_eq!(p.counters(), crate::client::Counters { made: 2, in_use: 0, tainted: 2, free: 0 });
        assert_eq!(shown(), [2, 0, 2]);
    }

    #[test]
    fn a_token_that_was_changed_is_noticed() {
        let token = |key: u8| Token {
            cell: Cell::new("example.com").unwrap(),
            afs_id: 1,
            kvno: 1,
            key: crate::SessionKey([key; 8]),
            begin: 0,
            end: 7,
            ticket: Zeroizing::new(vec![key; 40]),
        };
        let p = pool(1);
        let slot = p.get(p.take().unwrap()).unwrap();
        assert!(slot.was_given(&[]) && !slot.was_given(&[token(1)]));
        slot.note_given(Some(&token(1)));
        assert!(slot.was_given(&[token(1)]));
        for others in [vec![], vec![token(2)], vec![token(1), token(1)]] {
            assert!(!slot.was_given(&others), "{others:?}");
        }
        assert!(slot.has_ended_by(7) && !slot.has_ended_by(6));
        slot.note_given(None);
        assert!(slot.was_given(&[]) && !slot.has_ended_by(i64::MAX));
    }

    #[test]
    fn debug_does_not_show_the_name() {
        let p = pool(1);
        assert!(!format!("{p:?}").contains("secret") && !format!("{p:?}").contains("115"));
    }
}
