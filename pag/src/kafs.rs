//! Linux kAFS: tokens are rxrpc keys, which a file call searches in the thread's keyrings.
//!
//! The kernel looks into the thread's, the process's and the session keyring. Each PAG is a session keyring of its own (see
//! `keyring.rs`) that threads join by name. What keeps these keyrings alive, and puts tokens into them, is one thread,
//! in whose own keyring they lie: in any other place every thread's search would find all visitors' tokens.
//!
//! # What to know
//! - **The key is bound at open.** An open file goes on with its token in whatever thread; there is no check at read.
//! - **Whoever is inside a PAG** (a CGI program) can read its token and remove it, but after
//!   [`KernelClient::mark_forkable`] not put another in its place.
//! - **Limits.** Keyrings are root's, but each token counts for the uid that serves: [`KeyNeed`]. The kernel goes on
//!   counting tokens of ended visitors while cached inodes remember them. [`Error::Quota`] says that there is no room.
//! - **Long tickets.** Older kernels show none that does not fit into one packet, and hang: [`Error::TicketTooLong`].
//! - **A token of a wrong key or key version** gives `EKEYREJECTED`, for public files too; an expired one is as none.
//! - The thread exists before the process changes its uid, and changes it with it.

pub mod acl;

use crate::block::{decode_xdr, encode_rxrpc_v1, encode_xdr};
use crate::client::{AfsClient, ClientKind, Counters, KernelClient, Pag};
use crate::keyring::{ANONYMOUS, Pool, Ring, Slot, failed, here, root, set_here};
use crate::message;
use crate::meter::PagCells;
use crate::sys::consts::{POS_SEARCH, POS_SETATTR, POS_WRITE};
use crate::sys::keyctl::{self, Serial};
use crate::sys::signals::with_all_blocked;
use crate::userspace::Rights;
use crate::{Cell, Error, Token, packet};
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use zeroize::Zeroizing;

/// Most bytes of a token that is read.
const TOKEN_ROOM: usize = 16_384;

/// What the thread that holds the keyrings does, one after the other.
type Order = Box<dyn FnOnce() + Send>;

/// The kAFS client of this process.
#[derive(Debug)]
pub struct Kafs {
    /// PAGs for visitors.
    pool: Pool,
    /// The anonymous PAG.
    nobody: Slot,
    /// The same as a [`Pag`]. It never gets a token and never ends.
    anonymous: OnceLock<Pag>,
    /// To the thread that holds the keyrings.
    holder: Mutex<Sender<Order>>,
    /// Whether the first form of a key is used.
    old_form: AtomicBool,
}

/// The thread that holds the keyrings: makes them, then does what it is told.
///
/// # Errors
/// The kernel's.
fn make_rings(pags: usize, group: Option<u32>) -> Result<Vec<Slot>, Error> {
    (0..pags)
        .map(|_| {
            let ring = Ring::make(Serial::THREAD)?;
            // This thread writes into it as a possessor, as whoever is inside could: hence `mark_forkable`.
            ring.seal(group, POS_WRITE | POS_SETATTR)?;
            Ok(Slot::new(ring, None))
        })
        .collect()
}

/// Name of the key with a cell's token.
///
/// # Errors
/// None: a cell's name has no NUL.
fn key_name(cell: &Cell) -> Result<CString, Error> {
    CString::new(format!("afs@{}", cell.as_str())).map_err(|_| Error::BadValue("cell"))
}

/// Puts a token into a keyring. Every kernel takes the newer form, which says the cell; the first one is there for tests.
///
/// # Errors
/// [`Error::Quota`], or the kernel's.
fn put_token(ring: Serial, token: &Token, old_form: bool) -> Result<(), Error> {
    let name = key_name(&token.cell)?;
    let payload = if old_form { encode_rxrpc_v1(token) } else { encode_xdr(token) };
    let payload = payload.map_err(|_| Error::BadValue("token"))?;
    let key = keyctl::add_rxrpc(&name, &payload, ring).map_err(failed("add key"))?;
    // Found by a search from inside, and nothing else.
    keyctl::set_rights(key, POS_SEARCH).map_err(|errno| {
        // As with one that has expired; whatever it is, it does not stay with other rights.
        if keyctl::unlink(key, ring).is_err() {
            let _ = keyctl::clear(ring);
        }
        failed("rights of a key")(errno)
    })
}

impl Kafs {
    /// Makes `pags` PAGs for visitors and the anonymous one, and puts the calling thread into that.
    ///
    /// To be called as root, in a child that has one thread, before it changes its uid: threads and processes that are
    /// started later are in the anonymous PAG then. Starts a thread, which blocks all signals. `group`: one that the
    /// child's threads will have; none: threads of any uid and group can join its keyrings, if they know the names.
    ///
    /// # Errors
    /// [`Error::NoAfs`] if it is not root's process; else the kernel's.
    pub fn prepare(pags: usize, group: Option<u32>) -> Result<Arc<Self>, Error> {
        root()?;
        // Held by the process: all threads may be elsewhere at the same time. It is empty, so finding it harms nobody.
        let ring = Ring::make(Serial::PROCESS)?;
        ring.seal(group, 0)?;
        let nobody = Slot::new(ring, None);
        nobody.ring.join()?;
        let (holder, orders): (Sender<Order>, Receiver<Order>) = channel();
        let (answer, made) = channel();
        let thread = std::thread::Builder::new().name("afsweb-keys".to_owned());
        let body = move || {
            let _ = answer.send(make_rings(pags, group));
            orders.into_iter().for_each(|order| order());
        };
        with_all_blocked(|| thread.spawn(body))
            .map_err(|e| failed("new thread")(e.raw_os_error().unwrap_or(libc::EAGAIN)))?;
        let slots = made.recv().map_err(|_| gone())??;
        let pool = Pool::new(slots);
        let client = Arc::new(Self {
            pool,
            nobody,
            anonymous: OnceLock::new(),
            holder: Mutex::new(holder),
            old_form: AtomicBool::new(false),
        });
        let _ = client.anonymous.set(Pag::adopt(ANONYMOUS, client.clone()));
        client.go(&client.nobody)?;
        Ok(client)
    }

    /// Has the holding thread do something, and waits for it.
    ///
    /// # Errors
    /// What it gives.
    fn by_holder<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, result) = channel();
        let order = Box::new(move || drop(answer.send(f())));
        self.holder.lock().unwrap_or_else(PoisonError::into_inner).send(order).map_err(|_| gone())?;
        result.recv().map_err(|_| gone())?
    }

    /// Puts the calling thread into a PAG.
    ///
    /// # Errors
    /// The kernel's, or [`Error::WrongPag`]; the thread may be anywhere then.
    #[expect(clippy::unused_self, reason = "as with the other client")]
    fn go(&self, slot: &Slot) -> Result<(), Error> {
        slot.ring.join()?;
        if slot.ring.is_here() { Ok(()) } else { Err(Error::WrongPag) }
    }

    /// A PAG's slot.
    ///
    /// # Errors
    /// `ESRCH` if it has ended.
    fn with_slot<T>(&self, id: u32, f: impl FnOnce(&Slot) -> Result<T, Error>) -> Result<T, Error> {
        if id == ANONYMOUS { f(&self.nobody) } else { f(&*self.pool.get(id)?) }
    }

    /// The token of a PAG for a cell.
    ///
    /// # Errors
    /// `ENOKEY` if there is none, `EKEYEXPIRED`; the kernel's.
    pub fn token(&self, pag: &Pag, cell: &Cell) -> Result<Token, Error> {
        let name = key_name(cell)?;
        self.with_slot(pag.id(), |slot| {
            let before = here();
            let result = self.go(slot).and_then(|()| {
                let key = keyctl::find(Serial::SESSION, c"rxrpc", &name).map_err(failed("search key"))?;
                let mut out = Zeroizing::new(vec![0; TOKEN_ROOM]);
                let n = keyctl::read(key, &mut out).map_err(failed("read key"))?;
                decode_xdr(out.get(..n).unwrap_or_default()).map_err(|_| Error::BadValue("token"))
            });
            match before.as_ref().map(|s| self.go(s)) {
                Some(Ok(())) => {}
                _ => self.leave(),
            }
            result
        })
    }

    /// Uses the first form of a key from now on, without the cell and the beginning.
    pub fn use_old_form(&self) {
        self.old_form.store(true, Ordering::Relaxed);
    }
}

/// The holding thread has ended, which it never does.
fn gone() -> Error {
    Error::NoAfs("the thread that holds the keyrings is gone".to_owned())
}

impl AfsClient for Kafs {
    fn kind(&self) -> ClientKind {
        ClientKind::Kafs
    }

    fn new_pag(self: Arc<Self>) -> Result<Pag, Error> {
        Ok(Pag::adopt(self.pool.take()?, self))
    }

    fn enter(&self, pag: u32) -> Result<(), Error> {
        if pag == ANONYMOUS {
            self.leave();
            return Ok(());
        }
        let slot = self.pool.get(pag).inspect_err(|_| self.leave())?;
        set_here(Some(Arc::clone(&slot)));
        self.go(&slot).inspect_err(|_| self.leave())
    }

    fn leave(&self) {
        if let Err(error) = self.go(&self.nobody) {
            // The next request in this thread would be somebody else's.
            tracing::error!(id = message::STUCK_IN_PAG.id, %error, "a thread cannot leave its PAG: ending the process");
            std::process::abort();
        }
        set_here(None);
    }

    fn set_token(&self, pag: u32, token: &Token) -> Result<(), Error> {
        if pag == ANONYMOUS {
            return Err(Error::BadValue("a token for the anonymous PAG"));
        }
        let ring = self.pool.get(pag)?.ring.serial();
        let token = token.clone();
        let old_form = self.old_form.load(Ordering::Relaxed);
        let result = packet::check(&token.cell, token.ticket.len())
            .and_then(|()| self.by_holder(move || put_token(ring, &token, old_form)));
        self.leave();
        result
    }

    fn end(&self, pag: u32) {
        let Some(slot) = self.pool.end(pag) else { return };
        let ring = slot.ring.serial();
        let cleared = self.by_holder(move || keyctl::clear(ring).map_err(failed("clear keyring")));
        let kept = match cleared {
            Ok(()) => self.pool.park(slot),
            Err(error) => {
                tracing::warn!(id = message::TOKENS_LEFT.id, %error, "tokens of an ended PAG were not dropped");
                self.pool.discard();
                false
            }
        };
        if !kept {
            // It ends with the last process in it.
            let _ = self.by_holder(move || keyctl::unlink(ring, Serial::THREAD).map_err(failed("unlink")));
        }
    }

    fn show_pags(&self, cells: PagCells) {
        self.pool.show(cells);
    }
}

impl KernelClient for Kafs {
    fn anonymous(&self) -> &Pag {
        // `prepare` has set it before it gives the client out.
        self.anonymous.get().unwrap_or_else(|| std::process::abort())
    }

    fn verify(&self, pag: &Pag) -> Result<(), Error> {
        self.with_slot(pag.id(), |slot| if slot.ring.is_here() { Ok(()) } else { Err(Error::WrongPag) })
    }

    fn mark_forkable(&self, pag: &Pag) -> Result<(), Error> {
        if pag.id() == ANONYMOUS {
            return Ok(());
        }
        let slot = self.pool.get(pag.id())?;
        slot.set_forkable();
        let ring = slot.ring.serial();
        self.by_holder(move || match keyctl::close_ring(ring) {
            // It was before.
            Ok(()) | Err(libc::EEXIST) => Ok(()),
            Err(errno) => Err(failed("close keyring")(errno)),
        })
    }

    fn drop_tokens(&self, pag: &Pag) -> Result<(), Error> {
        let ring = self.pool.get(pag.id())?.ring.serial();
        self.by_holder(move || keyctl::clear(ring).map_err(failed("clear keyring")))
    }

    fn cell_of(&self, path: &[u8]) -> Result<Cell, Error> {
        let mut out = [0; 256];
        let n = rustix::fs::getxattr(path, c"afs.cell", &mut out)
            .map_err(|e| failed("afs.cell")(e.raw_os_error()))?;
        crate::detect::cell_from(out.get(..n).unwrap_or_default())
    }

    fn has_rights(&self, _path: &[u8], _rights: Rights) -> Result<Option<bool>, Error> {
        // access(2) only tells whether a directory can be changed in some way.
        Ok(None)
    }

    fn id_of(&self, path: &[u8]) -> Result<(u64, u64), Error> {
        // Each volume is mounted by itself. Opened, since a look at a mount point does not lead through it.
        use rustix::fs::{Mode, OFlags};
        let fail = |e: rustix::io::Errno| failed("volume of a path")(e.raw_os_error());
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let found = match rustix::fs::open(path, flags | OFlags::DIRECTORY, Mode::empty()) {
            Err(rustix::io::Errno::NOTDIR) => rustix::fs::open(path, flags, Mode::empty()),
            other => other,
        };
        let found = rustix::fs::fstat(found.map_err(fail)?).map_err(fail)?;
        Ok((found.st_dev, found.st_ino))
    }

    fn room(&self, path: &[u8]) -> Result<u64, Error> {
        let about = rustix::fs::statfs(path).map_err(|e| failed("statfs")(e.raw_os_error()))?;
        let block = u64::try_from(about.f_bsize).unwrap_or(0);
        Ok(about.f_bavail.saturating_mul(block))
    }

    fn counters(&self) -> Counters {
        self.pool.counters()
    }
}

/// What a uid may hold of keys (`kernel.keys.maxkeys`, `kernel.keys.maxbytes`), or needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyNeed {
    /// Keys.
    pub keys: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Bytes that the kernel counts for a token besides those of its ticket (Linux 6.1: 28 and the key's name; twice as much
/// again as a reserve).
const TOKEN_BYTES: u64 = 256;

impl KeyNeed {
    /// What `children` of httpd need if each has up to `visitors` at the same time, with tickets of `ticket` bytes.
    ///
    /// Twice that many tokens: the kernel keeps those of ended visitors for a while (`docs/facts.md`).
    #[must_use]
    pub fn of(children: u64, visitors: u64, ticket: u64) -> Self {
        let keys = children.saturating_mul(visitors).saturating_mul(2);
        // A child has a keyring for its process and one for the holding thread.
        let own = children.saturating_mul(4);
        let each = ticket.saturating_add(TOKEN_BYTES);
        Self {
            keys: keys.saturating_add(own),
            bytes: keys.saturating_mul(each).saturating_add(own.saturating_mul(64)),
        }
    }

    /// What a uid that is not root's may hold.
    ///
    /// # Errors
    /// [`Error::NoAfs`] if the kernel does not say.
    pub fn limit() -> Result<Self, Error> {
        let number = |name: &str| {
            let at = format!("/proc/sys/kernel/keys/{name}");
            let text = std::fs::read_to_string(&at).map_err(|e| Error::NoAfs(format!("{at}: {e}")))?;
            text.trim().parse().map_err(|_| Error::NoAfs(format!("{at}: not a number")))
        };
        Ok(Self { keys: number("maxkeys")?, bytes: number("maxbytes")? })
    }

    /// Whether this much is enough for `need`.
    #[must_use]
    pub fn suffices(self, need: Self) -> bool {
        self.keys >= need.keys && self.bytes >= need.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_uid_may_hold_by_default_is_enough_for_little() {
        let default = KeyNeed { keys: 200, bytes: 20_000 };
        assert!(default.suffices(KeyNeed::of(1, 10, 56)));
        assert!(!default.suffices(KeyNeed::of(1, 40, 56)));
        assert!(!default.suffices(KeyNeed::of(4, 10, 1_000)));
        let most = KeyNeed::of(u64::MAX, u64::MAX, u64::MAX);
        assert!(most.keys == u64::MAX && most.bytes == u64::MAX);
    }
}
