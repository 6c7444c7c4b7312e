//! The user-space client: OpenAFS's libuafs, for machines without an AFS kernel client.
//!
//! The kernel knows nothing of its files, so besides PAGs and tokens it has file calls.
//!
//! ```no_run
//! use pag::userspace::{Config, Userspace, snapshot_confdir};
//! # fn example(token: &pag::Token) -> Result<(), pag::Error> {
//! // A directory with ThisCell, CellServDB and cacheinfo, made once from the administrator's:
//! snapshot_confdir("/etc/openafs".as_ref(), "/run/afsweb".as_ref())?;
//! // Once in a process, in the child; never where libafsauthent is loaded:
//! let afs = Userspace::start(&Config::new("/usr/lib/afsweb/libafsweb_uafs.so", "/run/afsweb"))?;
//! // A PAG for a visitor (`pag::AfsClient::new_pag`), with a token:
//! let pag = pag::AfsClient::new_pag(afs.clone())?;
//! pag.set_token(token)?;
//! // File calls need a scope, in the thread that makes them:
//! let scope = pag.enter()?;
//! let files = afs.files(&scope)?;
//! let stat = files.stat(b"/afs/example.com/index.html")?;
//! let file = files.open(b"/afs/example.com/index.html")?;
//! let mut buf = [0; 8192];
//! let n = file.pread(&scope, &mut buf, 0)?;
//! // Without a token: `afs.anonymous().enter()`.
//! # Ok(()) }
//! ```
//!
//! - [`Userspace`]: `start`, `anonymous`, `files`, `check_servers`; and [`AfsClient`].
//! - [`Files`] (borrows a scope): `open`, `read_file`, `stat`, `lstat`, `readlink`, `read_dir`, `access`, `rights`,
//!   `mount_point`, `cell`, `volume_status`; `create`, `open_to_write`, `mkdir`, `symlink`, `unlink`, `rmdir`, `rename`; and for those
//!   who fill a cell: `write_file`, `mount`, `unmount`, `acl`, `set_acl`, `set_quota`, `flush`, `flush_volume`.
//! - [`Dir`], from `open_dir`: the same of names in a directory that is held, for who must not be led elsewhere meanwhile.
//! - [`File`]: `pread`, `pwrite`, `truncate`, `sync`, `stat`, `read_dir`, `close`. May be moved to another thread, but each call
//!   takes a scope of the PAG that opened it. Closes itself when dropped, in any thread, without a scope.
//! - [`Stat`]: type, size, mtime, file id, data version; `etag` makes a validator of them.
//! - `close` says whether what was written has been stored: `EDQUOT` over quota, `ENOSPC` the partition is full.
//! - Errors are [`Error::Errno`], which [`crate::Fault`] sorts: `EACCES` no permission, `ENOENT`, `ENOTDIR`, `ELOOP`, `ENODEV` a mount point that
//!   leads nowhere, `ETIMEDOUT` a server that does not answer.
//! - Paths are absolute bytes below the mount directory, at most 4,096, without NUL; a name has at most 255.
//!
//! # What to know
//! - **Waiting.** A silent server counts as down after [`Config::dead_time`] (6 s at least, Rx takes no less); until
//!   it has answered a probe, calls for it fail at once with `ETIMEDOUT`. Other threads go on meanwhile.
//! - **Cost**, in the cache: enter and leave 0.1 µs, open + stat + read of 4 KiB + close 2 µs, a read of 1 MiB 25 µs; one
//!   global lock around all calls, released while a call waits for a server. Changing PAG leaks nothing.
//! - **Threads.** A worker costs 262 KiB at its first call (libuafs's credential has room for 65,536 groups).
//!   The client's own threads block all signals.
//! - **Negative ACL entries** take nothing from a visitor that `system:anyuser` has: AFS clients look at the rights of
//!   nobody first, as he could drop his token. They work against `system:authuser` and groups.
//! - **Output.** libuafs writes to standard output when it starts and when servers go up or down.
//! - **The end.** There is no `stop`: libuafs's shutdown asserts, and a signal handler (prefork ends in one) must not
//!   call it. Before a process exits, [`Userspace::give_up_callbacks`] tells the file servers; else they keep its callbacks,
//!   and the next writer of such a file waits for each process that is gone (1 s measured; 14 s for a stopped one).
//!   Where another process has taken its port ([`Config::ports`]), that one answers for it.
//! - **exit and abort.** libuafs ends the process on a bad configuration; [`Config::check`] comes before it.
//! - The environment variables AFSCELL and AFSCONF change what libuafs reads; the caller sees to it that they are unset.

mod acl;
mod config;
mod dir;
mod file;
mod files;
mod stat;

pub use acl::{Acl, Rights};
pub use config::{Cache, Config, snapshot_confdir};
pub use dir::Dir;
pub use file::File;
pub(crate) use files::target_ok;
pub use files::{Access, Files, MountKind};
pub use stat::{Fid, Kind, Stat};

use crate::block::encode_settok;
use crate::client::{AfsClient, ClientKind, Counters, Pag, PagScope};
use crate::message;
use crate::meter::{Meter, PagCells};
use crate::sys::uafs::{Object, Start};
use crate::{Error, Token};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// First PAG number; libuafs's own counter starts at 1 and is never used.
const PAG_FIRST: u32 = 0x4100_0001;
/// Last one that fits in two groups (OpenAFS `src/afs/afs_osi_pag.c`): a thousand million visitors.
const PAG_LAST: u32 = 0x8fff_ffff;
/// VIOCGETCACHEPARMS.
const CACHE_PARAMETERS: u32 = 0x4018_5628;
/// VIOCCKSERV.
const CHECK_SERVERS: u32 = 0x4018_560a;

/// Sizes of a client's cache of files, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheUse {
    /// How large it may become.
    pub size: u64,
    /// How large it is.
    pub used: u64,
}

impl CacheUse {
    /// Of what the client answers: two numbers of KiB come first.
    fn of(answer: &[u8]) -> Self {
        let mut words = answer.chunks_exact(4).map(|word| {
            let kib = word.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
            u64::try_from(kib).unwrap_or(0).saturating_mul(1024)
        });
        Self { size: words.next().unwrap_or(0), used: words.next().unwrap_or(0) }
    }
}

/// The user-space client of this process.
#[derive(Debug)]
pub struct Userspace {
    /// The shared object.
    object: Object,
    /// The next PAG number.
    next: AtomicU32,
    /// The anonymous PAG. It never gets a token and never ends.
    anonymous: OnceLock<Pag>,
    /// Where the number of PAGs is shown.
    meter: Meter,
}

/// Whether a client was started in this process.
static STARTED: AtomicBool = AtomicBool::new(false);

/// An errno of a call as an error.
fn failed(call: &'static str) -> impl FnOnce(i32) -> Error {
    move |errno| Error::Errno { call, errno }
}

/// A text for the C side.
///
/// # Errors
/// [`Error::BadValue`] if there is a NUL in it.
fn c_text(path: &Path, what: &'static str) -> Result<CString, Error> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::BadValue(what))
}

/// Whole seconds.
fn seconds(d: Duration) -> u32 {
    u32::try_from(d.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX)
}

impl Userspace {
    /// Starts the client, once in a process, and puts the calling thread into the anonymous PAG.
    ///
    /// Takes about a tenth of a second; no server is asked. A process that started it must not fork and go on
    /// without exec.
    ///
    /// # Errors
    /// [`Error::NoAfs`] says what is missing.
    pub fn start(config: &Config) -> Result<Arc<Self>, Error> {
        config.check()?;
        let (cache_dir, cache_kib) = match &config.cache {
            Cache::Memory { kib } => (None, *kib),
            Cache::Disk { dir, kib } => (Some(c_text(dir, "cache directory")?), *kib),
        };
        let start = Start {
            conf_dir: c_text(&config.conf_dir, "configuration directory")?,
            mount_dir: c_text(&config.mount_dir, "mount directory")?,
            cache_dir,
            cache_kib,
            stat_entries: config.stat_entries,
            volumes: config.volumes,
            daemons: config.daemons,
            dead_s: seconds(config.dead_time),
            idle_s: seconds(config.dead_time),
            ports: config.ports.as_ref().map_or((0, 0), |ports| (*ports.start(), *ports.end())),
        };
        if STARTED.swap(true, Ordering::AcqRel) {
            return Err(Error::NoAfs("the user-space client was already started in this process".to_owned()));
        }
        let object = Object::load(&config.object)
            .map_err(|e| Error::NoAfs(format!("{}: {e}", config.object.display())))?;
        object
            .start(&start)
            .map_err(|e| Error::NoAfs(format!("the user-space client does not start: errno {e}")))?;
        let client = Arc::new(Self {
            object,
            next: AtomicU32::new(PAG_FIRST),
            anonymous: OnceLock::new(),
            meter: Meter::default(),
        });
        let anonymous = Arc::clone(&client).new_pag()?;
        object.enter(anonymous.id()).map_err(failed("enter"))?;
        let _ = client.anonymous.set(anonymous);
        Ok(client)
    }

    /// The PAG of those who are nobody. Entering it makes file calls without a token possible.
    #[must_use]
    pub fn anonymous(&self) -> &Pag {
        // `start` has set it before it gives the client out.
        self.anonymous.get().unwrap_or_else(|| std::process::abort())
    }

    /// File calls of a thread that is in a PAG of this client.
    ///
    /// # Errors
    /// [`Error::WrongPag`] if the scope is of another client or the thread is no longer in its PAG.
    pub fn files<'s>(&self, scope: &'s PagScope<'_>) -> Result<Files<'s>, Error> {
        let files = Files { object: self.object, scope };
        let ours = core::ptr::addr_eq(Arc::as_ptr(scope.pag().client()), core::ptr::from_ref(self));
        if ours && self.object.current() == scope.pag().id() { Ok(files) } else { Err(Error::WrongPag) }
    }

    /// Tells all file servers that this client wants to hear of no more changes, as the last thing that a process does.
    ///
    /// Waits for a server that does not answer as for any other call.
    ///
    /// # Errors
    /// The client's.
    pub fn give_up_callbacks(&self) -> Result<(), Error> {
        let _scope = self.anonymous().enter()?;
        self.object.give_up_callbacks().map_err(failed("give up callbacks"))
    }

    /// Probes servers that count as down, so that one that is back is used again.
    ///
    /// # Errors
    /// The client's.
    pub fn check_servers(&self, scope: &PagScope<'_>) -> Result<(), Error> {
        // Flags 0: all servers of the local cell, and wait for the probes.
        let mut out = [0; files::PIOCTL_OUT];
        self.files(scope)?.pioctl(None, true, CHECK_SERVERS, &0i32.to_ne_bytes(), &mut out)
    }

    /// How large the cache of files may become, and how large it is. Asks nobody; for a thread that is nobody's.
    ///
    /// # Errors
    /// The client's.
    pub fn cache_use(&self) -> Result<CacheUse, Error> {
        let scope = self.anonymous().enter()?;
        let mut out = [0; files::PIOCTL_OUT];
        self.files(&scope)?.pioctl(None, true, CACHE_PARAMETERS, &[], &mut out)?;
        Ok(CacheUse::of(&out))
    }
}

impl AfsClient for Userspace {
    fn kind(&self) -> ClientKind {
        ClientKind::Userspace
    }

    fn new_pag(self: Arc<Self>) -> Result<Pag, Error> {
        let next = |n: u32| (n <= PAG_LAST).then_some(n + 1);
        let id = self
            .next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .map_err(|_| Error::NoAfs("all PAG numbers of this process are used up".to_owned()))?;
        self.object.pag_make(id).map_err(failed("new PAG"))?;
        self.meter.made();
        self.meter.taken();
        Ok(Pag::adopt(id, self))
    }

    fn enter(&self, pag: u32) -> Result<(), Error> {
        let entered = self.object.enter(pag);
        if entered.is_ok() && self.object.current() == pag {
            return Ok(());
        }
        self.leave();
        Err(entered.map_or_else(failed("enter"), |()| Error::WrongPag))
    }

    fn leave(&self) {
        let nobody = self.anonymous().id();
        if self.object.enter(nobody).is_err() || self.object.current() != nobody {
            // The next request in this thread would be somebody else's.
            tracing::error!(
                id = message::STUCK_IN_PAG.id,
                "a thread cannot leave its PAG: ending the process"
            );
            std::process::abort();
        }
    }

    fn set_token(&self, pag: u32, token: &Token) -> Result<(), Error> {
        if self.anonymous.get().is_some_and(|a| a.id() == pag) {
            return Err(Error::BadValue("a token for the anonymous PAG"));
        }
        let block = encode_settok(token).map_err(|_| Error::BadValue("token"))?;
        self.object.pag_set_token(pag, &block).map_err(failed("set token"))
    }

    fn end(&self, pag: u32) {
        self.meter.ended();
        self.meter.gone();
        if let Err(errno) = self.object.pag_end(pag) {
            tracing::warn!(id = message::TOKENS_LEFT.id, errno, "tokens of an ended PAG were not dropped");
        }
    }

    fn show_pags(&self, cells: PagCells) {
        self.meter.show(cells, Counters::default());
    }
}

impl Userspace {
    /// Drops the tokens of a PAG, which goes on as one without.
    ///
    /// # Errors
    /// The client's.
    pub fn drop_tokens(&self, pag: &Pag) -> Result<(), Error> {
        self.object.pag_unlog(pag.id()).map_err(failed("drop tokens"))
    }
}
