//! OpenAFS's kernel module. Never libafsauthent's `pioctl`, which may send tokens to another machine.
//!
//! OpenAFS takes for a thread's PAG what it finds as `_pag` in the thread's session keyring *and the keyrings in it*.
//! So each PAG is made once, by setpag, and the keyring that this gives is linked into one of ours
//! (see `keyring.rs`), which threads join by name. No PAG is made for a visitor: unprivileged processes may only make
//! one a second on average, and then wait.
//!
//! # What to know
//! - **A thread without a PAG** has the tokens of its uid, which any process of the uid can set. So after each change the
//!   kernel is asked, and anonymous is a PAG.
//! - **Whoever is inside a PAG** (a CGI program) can read its token, replace it and drop it. That does not reach other
//!   PAGs; and where something may have been run, entering the PAG compares its token with the one that it was given.
//! - **Threads and processes** that are started inside a PAG stay in it. See [`KernelClient::mark_forkable`].
//! - **Setting a token** costs some hundred times what entering a PAG costs: the next access makes a new connection.
//! - A token that a cell refuses is only noticed at the first access. One that has expired still opens what is cached:
//!   the client asks no server for that, and trusts its own clock only two hours later. So a [`Pag`] has to end with its
//!   token.

use crate::block::{decode_gettok, encode_settok, encode_xdr};
use crate::client::{AfsClient, ClientKind, Counters, KernelClient, Pag};
use crate::keyring::{ANONYMOUS, Pool, Ring, Slot, failed, here, root, set_here};
use crate::message;
use crate::meter::PagCells;
use crate::sys::afs_call::AfsCall;
use crate::sys::consts::{self, POS_SEARCH};
use crate::sys::keyctl::{self, Serial};
use crate::userspace::Rights;
use crate::{Cell, Error, Token, VolumeStatus};
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

/// What VIOC_GETPAG says of a thread without a PAG.
const NO_PAG: u32 = 0xffff_ffff;
/// Room for a token: a ticket of 12,000 bytes and what is around it.
const TOKEN_ROOM: usize = 12_288;
/// So long after its token's end a PAG may still be given to somebody else, seconds.
///
/// Two hours after it the client forgets (every ten minutes, `afs_GCUserData`) that there was a token, but not what rights
/// it gave to the PAG's number; and dropping tokens makes it forget those only where it knows of a token.
const GIVEN_ON_S: i64 = 60 * 60;
/// Room for the status of a volume and its three texts.
const STATUS_ROOM: usize = 2_048;
/// Most cells whose tokens are looked at.
const TOKENS_MAX: i32 = 64;

/// The OpenAFS client of this process.
#[derive(Debug)]
pub struct OpenAfs {
    /// The call.
    call: AfsCall,
    /// PAGs for visitors.
    pool: Pool,
    /// The anonymous PAG.
    nobody: Slot,
    /// The same as a [`Pag`]. It never gets a token and never ends.
    anonymous: OnceLock<Pag>,
    /// Whether the client has refused VIOC_SETTOK2.
    old_form: AtomicBool,
}

/// Opens the call.
///
/// # Errors
/// [`Error::NoAfs`]
fn open() -> Result<AfsCall, Error> {
    AfsCall::open().map_err(|e| Error::NoAfs(format!("{}: {e}", consts::AFS_IOCTL_FILE)))
}

/// The calling thread's PAG.
///
/// # Errors
/// [`Error::WrongPag`] if it has none.
fn current(call: &AfsCall) -> Result<u32, Error> {
    let mut out = [0; 4];
    call.pioctl(None, consts::GET_PAG, &[], &mut out).map_err(failed("VIOC_GETPAG"))?;
    match u32::from_ne_bytes(out) {
        NO_PAG => Err(Error::WrongPag),
        pag => Ok(pag),
    }
}

/// The key by which OpenAFS knows the calling thread's PAG, found as the client finds it, without a call of the client.
///
/// # Errors
/// The kernel's; `ENOKEY` if the thread has no PAG.
fn key_here() -> Result<Serial, Error> {
    keyctl::find(Serial::SESSION, c"afs_pag", c"_pag").map_err(failed("search PAG"))
}

/// Makes a PAG in the calling thread, behind a keyring of ours that the process holds, and leaves the thread in it.
///
/// # Errors
/// The kernel's or the client's.
fn make(call: &AfsCall, group: Option<u32>) -> Result<Slot, Error> {
    call.set_pag().map_err(failed("setpag"))?;
    let pag = current(call)?;
    let theirs = keyctl::session().map_err(failed("session keyring"))?;
    let ring = Ring::make(Serial::PROCESS)?;
    keyctl::link(theirs, ring.serial()).map_err(failed("link keyring"))?;
    // Both: who is inside possesses both.
    keyctl::set_rights(theirs, POS_SEARCH).map_err(failed("rights of a keyring"))?;
    ring.seal(group, 0)?;
    let key = key_here()?;
    // Whoever joins it has this PAG, says the client; later the key tells, at a tenth of the cost.
    ring.join()?;
    if current(call)? != pag || key_here()? != key {
        return Err(Error::WrongPag);
    }
    Ok(Slot::new(ring, Some(key)))
}

/// A text that the client wrote, up to its NUL.
///
/// # Errors
/// [`Error::NoAfs`] if it is not the name of a cell.
fn cell_in(out: &[u8]) -> Result<Cell, Error> {
    let name = out.split(|b| *b == 0).next().unwrap_or_default();
    crate::detect::cell_from(name)
}

impl OpenAfs {
    /// Makes `pags` PAGs for visitors and the anonymous one, and puts the calling thread into that.
    ///
    /// To be called as root, in a child that has one thread, before it changes its uid: threads and processes that are
    /// started later are in the anonymous PAG then. `group`: one that the child's threads will have, so that nobody else
    /// can do anything with its keyrings; none: threads of any uid and group can join them, if they know the names.
    /// Root's PAGs are not slowed down, and its keys not limited; but each counts for those who *are* slowed down.
    ///
    /// # Errors
    /// [`Error::NoAfs`] without OpenAFS, or if it is not root's process; else the kernel's.
    pub fn prepare(pags: usize, group: Option<u32>) -> Result<Arc<Self>, Error> {
        root()?;
        let call = open()?;
        let nobody = make(&call, group)?;
        let slots = (0..pags).map(|_| make(&call, group)).collect::<Result<Vec<_>, _>>()?;
        let client = Arc::new(Self {
            call,
            pool: Pool::new(slots),
            nobody,
            anonymous: OnceLock::new(),
            old_form: AtomicBool::new(false),
        });
        let _ = client.anonymous.set(Pag::adopt(ANONYMOUS, client.clone()));
        client.go(&client.nobody)?;
        Ok(client)
    }

    /// Puts the calling thread into a PAG.
    ///
    /// # Errors
    /// The kernel's, or [`Error::WrongPag`]; the thread may be anywhere then.
    fn go(&self, slot: &Slot) -> Result<(), Error> {
        slot.ring.join()?;
        if Some(key_here()?) == slot.key { Ok(()) } else { Err(Error::WrongPag) }
    }

    /// Does something in a PAG, and puts the calling thread back to where it was.
    ///
    /// # Errors
    /// What `f` gives; the kernel's.
    fn inside<T>(&self, slot: &Slot, f: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let result = self.go(slot).and_then(|()| f());
        let before = here();
        match before.as_ref().map(|s| self.go(s)) {
            Some(Ok(())) => {}
            _ => self.leave(),
        }
        result
    }

    /// A PAG's slot.
    ///
    /// # Errors
    /// `ESRCH` if it has ended.
    fn with_slot<T>(&self, id: u32, f: impl FnOnce(&Slot) -> Result<T, Error>) -> Result<T, Error> {
        if id == ANONYMOUS { f(&self.nobody) } else { f(&*self.pool.get(id)?) }
    }

    /// The tokens of a PAG. A ticket of less than 56 bytes comes back with zeros behind it, up to 56.
    ///
    /// # Errors
    /// The client's.
    pub fn tokens(&self, pag: &Pag) -> Result<Vec<Token>, Error> {
        self.with_slot(pag.id(), |slot| self.inside(slot, || self.tokens_here()))
    }

    /// The tokens that the calling thread has.
    ///
    /// # Errors
    /// The client's.
    fn tokens_here(&self) -> Result<Vec<Token>, Error> {
        let mut tokens = Vec::new();
        for n in 0..TOKENS_MAX {
            let mut out = Zeroizing::new(vec![0; TOKEN_ROOM]);
            match self.call.pioctl(None, consts::GET_TOKEN, &n.to_ne_bytes(), &mut out) {
                Ok(()) => tokens.push(decode_gettok(&out).map_err(|_| Error::BadValue("token"))?),
                // One that has expired.
                Err(libc::ENOTCONN) => {}
                Err(libc::EDOM) => break,
                Err(errno) => return Err(failed("VIOCGETTOK")(errno)),
            }
        }
        Ok(tokens)
    }

    /// That the PAG which the calling thread is in holds what it was given, where a program may have changed it.
    ///
    /// # Errors
    /// [`Error::WrongPag`] if not; the client's.
    fn is_as_given(&self, slot: &Slot) -> Result<(), Error> {
        if !slot.is_forkable() || slot.was_given(&self.tokens_here()?) {
            Ok(())
        } else {
            Err(Error::WrongPag)
        }
    }

    /// Drops the tokens of the calling thread's PAG.
    ///
    /// # Errors
    /// The client's.
    fn unlog(&self) -> Result<(), Error> {
        self.call.pioctl(None, consts::DROP_TOKENS, &[], &mut []).map_err(failed("VIOCUNLOG"))
    }

    /// The client's own cell.
    ///
    /// # Errors
    /// The client's.
    pub fn own_cell(&self) -> Result<Cell, Error> {
        let mut out = [0; 256];
        self.call.pioctl(None, consts::CELL_OF_CLIENT, &[], &mut out).map_err(failed("VIOC_GET_WS_CELL"))?;
        cell_in(&out)
    }

    /// Whether the calling thread has these rights on a path.
    ///
    /// # Errors
    /// `EACCES` if not; what stat(2) gives; `EINVAL` outside AFS.
    pub fn access(&self, path: &[u8], rights: Rights) -> Result<(), Error> {
        let path = text(path)?;
        let rights = rights.0.to_ne_bytes();
        self.call.pioctl(Some(&path), consts::ACCESS, &rights, &mut []).map_err(failed("VIOCACCESS"))
    }

    /// Forgets what is cached of the volume that a path lies in.
    ///
    /// # Errors
    /// What stat(2) gives; `EINVAL` outside AFS.
    pub fn flush_volume(&self, path: &[u8]) -> Result<(), Error> {
        let path = text(path)?;
        let done = self.call.pioctl(Some(&path), consts::FLUSH_VOLUME, &[], &mut []);
        done.map_err(failed("VIOC_FLUSHVOLUME"))
    }

    /// Gives the calling thread's PAG a token, in the newer form if the client takes it.
    ///
    /// # Errors
    /// The client's.
    fn put_token(&self, token: &Token) -> Result<(), Error> {
        if !self.old_form.load(Ordering::Relaxed) {
            let xdr = encode_xdr(token).map_err(|_| Error::BadValue("token"))?;
            match self.call.pioctl(None, consts::SET_TOKEN_XDR, &xdr, &mut []) {
                Ok(()) => return Ok(()),
                // What a client answers to a command that it does not know.
                Err(libc::EINVAL | libc::ENOSYS) => {}
                Err(errno) => return Err(failed("VIOC_SETTOK2")(errno)),
            }
        }
        let block = encode_settok(token).map_err(|_| Error::BadValue("token"))?;
        self.call.pioctl(None, consts::SET_TOKEN, &block, &mut []).map_err(failed("VIOCSETTOK"))?;
        self.old_form.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Uses VIOCSETTOK from now on, as for a client that knows nothing newer.
    pub fn use_old_form(&self) {
        self.old_form.store(true, Ordering::Relaxed);
    }
}

/// Seconds since 1970; as late as can be if there is no telling.
fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(i64::MAX)
}

/// A path for the client.
///
/// # Errors
/// [`Error::BadValue`] if there is a NUL in it.
fn text(path: &[u8]) -> Result<CString, Error> {
    CString::new(path).map_err(|_| Error::BadValue("path"))
}

impl AfsClient for OpenAfs {
    fn kind(&self) -> ClientKind {
        ClientKind::OpenAfs
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
        self.go(&slot).and_then(|()| self.is_as_given(&slot)).inspect_err(|_| self.leave())
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
        let slot = self.pool.get(pag)?;
        let result = self.go(&slot).and_then(|()| self.put_token(token));
        self.leave();
        slot.note_given(result.is_ok().then_some(token));
        result
    }

    fn end(&self, pag: u32) {
        let Some(slot) = self.pool.end(pag) else { return };
        let ring = slot.ring.serial();
        let lapsed = slot.has_ended_by(now_s().saturating_sub(GIVEN_ON_S));
        let dropped = self.inside(&slot, || self.unlog()).inspect_err(|error| {
            tracing::warn!(id = message::TOKENS_LEFT.id, %error, "tokens of an ended PAG were not dropped");
        });
        let kept = if dropped.is_err() || lapsed {
            self.pool.discard();
            false
        } else {
            slot.note_given(None);
            self.pool.park(slot)
        };
        if !kept {
            // It ends with the last process in it, and what tokens are left with it.
            let _ = keyctl::unlink(ring, Serial::PROCESS);
        }
    }

    fn show_pags(&self, cells: PagCells) {
        self.pool.show(cells);
    }
}

impl KernelClient for OpenAfs {
    fn anonymous(&self) -> &Pag {
        // `prepare` has set it before it gives the client out.
        self.anonymous.get().unwrap_or_else(|| std::process::abort())
    }

    fn verify(&self, pag: &Pag) -> Result<(), Error> {
        self.with_slot(pag.id(), |slot| {
            if slot.ring.is_here() && Some(key_here()?) == slot.key { Ok(()) } else { Err(Error::WrongPag) }
        })
    }

    fn mark_forkable(&self, pag: &Pag) -> Result<(), Error> {
        if pag.id() != ANONYMOUS {
            self.pool.get(pag.id())?.set_forkable();
        }
        Ok(())
    }

    fn drop_tokens(&self, pag: &Pag) -> Result<(), Error> {
        self.with_slot(pag.id(), |slot| {
            self.inside(slot, || self.unlog())?;
            slot.note_given(None);
            Ok(())
        })
    }

    fn cell_of(&self, path: &[u8]) -> Result<Cell, Error> {
        let mut out = [0; 256];
        self.call
            .pioctl(Some(&*text(path)?), consts::CELL_OF_FILE, &[], &mut out)
            .map_err(failed("VIOC_FILE_CELL_NAME"))?;
        cell_in(&out)
    }

    fn has_rights(&self, path: &[u8], rights: Rights) -> Result<Option<bool>, Error> {
        match self.access(path, rights) {
            Ok(()) => Ok(Some(true)),
            Err(Error::Errno { errno: libc::EACCES, .. }) => Ok(Some(false)),
            Err(e) => Err(e),
        }
    }

    fn id_of(&self, path: &[u8]) -> Result<(u64, u64), Error> {
        // Cell, volume, vnode, uniquifier.
        let mut out = [0; 16];
        let path = text(path)?;
        self.call.pioctl(Some(&path), consts::FILE_ID, &[], &mut out).map_err(failed("VIOCGETFID"))?;
        let number = |part: Option<&[u8; 8]>| part.map_or(0, |b| u64::from_ne_bytes(*b));
        Ok((number(out.first_chunk()), number(out.last_chunk())))
    }

    fn room(&self, path: &[u8]) -> Result<u64, Error> {
        let mut out = vec![0; STATUS_ROOM];
        let path = text(path)?;
        let asked = self.call.pioctl(Some(&path), consts::VOLUME_STATUS, &[], &mut out);
        asked.map_err(failed("VIOCGETVOLSTAT"))?;
        VolumeStatus::decode(&out).map(|s| s.room()).ok_or(Error::BadValue("status of a volume"))
    }

    fn counters(&self) -> Counters {
        self.pool.counters()
    }
}

/// For the httpd parent, where OpenAFS is loaded: a PAG of its own, so that its children inherit nobody's.
///
/// # Errors
/// The client's.
pub(crate) fn fresh_pag() -> Result<(), Error> {
    let call = open()?;
    call.set_pag().map_err(failed("setpag"))?;
    current(&call).map(drop)
}
