//! The user-space client: OpenAFS's libuafs, for machines without an AFS kernel client.
//!
//! The kernel knows nothing of its files, so besides PAGs and tokens it has file calls.
//!
//! ```no_run
//! use pag::userspace::{Config, Userspace, snapshot_confdir};
//! # fn main() -> Result<(), pag::Error> {
//! // A directory with ThisCell, CellServDB and cacheinfo, made once from the administrator's:
//! snapshot_confdir("/etc/openafs".as_ref(), "/run/afsweb".as_ref())?;
//! // Once in a process, in the child; never where libafsauthent is loaded:
//! let afs = Userspace::start(&Config::new("/usr/lib/afsweb/libafsweb_uafs.so", "/run/afsweb"))?;
//! // A PAG for a visitor (`pag::AfsClient::new_pag`), with a token:
//! let pag = pag::AfsClient::new_pag(afs.clone())?;
//! # let token: pag::Token = todo!();
//! pag.set_token(&token)?;
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
//!   `mount_point`, `cell`; and for those who fill a cell: `write_file`, `create`, `open_to_write`, `mkdir`, `symlink`, `mount`, `unmount`,
//!   `unlink`, `rmdir`, `rename`, `acl`, `set_acl`, `flush`, `flush_volume`.
//! - [`File`]: `pread`, `pwrite`, `sync`, `stat`, `read_dir`, `close`. May be moved to another thread, but each call
//!   takes a scope of the PAG that opened it. Closes itself when dropped, in any thread, without a scope.
//! - [`Stat`]: type, size, mtime, file id, data version; `etag` makes a validator of them.
//! - Errors are [`Error::Errno`]: `EACCES` no permission, `ENOENT`, `ENOTDIR`, `ELOOP`, `ENODEV` a mount point that
//!   leads nowhere, `ETIMEDOUT` a server that does not answer.
//! - Paths are absolute bytes below the mount directory, at most 4,096, without NUL; a name has at most 255.
//!
//! # What to know
//! - **Waiting.** A silent server counts as down after [`Config::dead_time`] (6 s at least, Rx takes no less); until
//!   it has answered a probe, calls for it fail at once with `ETIMEDOUT`. Other threads go on meanwhile.
//! - **Threads.** A worker costs 262 KiB at its first call (libuafs's credential has room for 65,536 groups).
//!   The client's own threads block all signals.
//! - **Output.** libuafs writes to standard output when it starts and when servers go up or down.
//! - **The end.** There is no `stop`: libuafs's shutdown asserts, and a signal handler (prefork ends in one) must not
//!   call it. A process just exits. The file servers keep its callbacks until they break one, which its closed
//!   socket refuses.
//! - **exit and abort.** libuafs ends the process on a bad configuration; [`Config::check`] comes before it.
//! - The environment variables AFSCELL and AFSCONF change what libuafs reads; the caller sees to it that they are unset.

use crate::block::encode_settok;
use crate::client::{AfsClient, ClientKind, Pag, PagScope};
use crate::sys::uafs::{Handle, Object, Start};
use crate::sys::{OPEN_CREATE_NEW, OPEN_READ, OPEN_TRUNCATE, OPEN_WRITE, RawStat};
use crate::{Cell, Error, Token};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// First PAG number; libuafs's own counter starts at 1 and is never used.
const PAG_FIRST: u32 = 0x4100_0001;
/// Last one that fits in two groups (OpenAFS `src/afs/afs_osi_pag.c`): a thousand million visitors.
const PAG_LAST: u32 = 0x8fff_ffff;
/// Longest path.
const PATH_MAX: usize = 4_096;
/// Most that one pioctl answers.
const PIOCTL_OUT: usize = 4_096;

/// VIOCGETAL.
const GET_ACL: u32 = 0x4018_5602;
/// VIOCSETAL.
const SET_ACL: u32 = 0x4018_5601;
/// VIOCFLUSH.
const FLUSH: u32 = 0x4018_5606;
/// VIOCCKSERV.
const CHECK_SERVERS: u32 = 0x4018_560a;
/// VIOC_AFS_DELETE_MT_PT.
const DELETE_MOUNT: u32 = 0x4018_561c;
/// VIOC_AFS_STAT_MT_PT.
const STAT_MOUNT: u32 = 0x4018_561d;
/// VIOC_FILE_CELL_NAME.
const FILE_CELL: u32 = 0x4018_561e;
/// VIOC_FLUSHVOLUME.
const FLUSH_VOLUME: u32 = 0x4018_5625;
/// VIOC_GETVCXSTATUS2: the caller's rights first.
const GET_STATUS: u32 = 0x4018_5645;

/// How a client is started.
#[derive(Debug, Clone)]
pub struct Config {
    /// The shared object, libafsweb_uafs.so.
    pub object: PathBuf,
    /// Directory with ThisCell, CellServDB and cacheinfo ([`snapshot_confdir`] makes one).
    pub conf_dir: PathBuf,
    /// Where AFS appears: `/afs` or another directory below the root.
    pub mount_dir: PathBuf,
    /// The cache of this process.
    pub cache: Cache,
    /// Entries of the stat cache; 0: libuafs chooses by the size of the cache.
    pub stat_entries: u32,
    /// Entries of the volume cache.
    pub volumes: u32,
    /// Background threads.
    pub daemons: u32,
    /// After this time a silent server counts as down, and a call without progress ends. 6 s at least.
    pub dead_time: Duration,
}

/// Where a process keeps what it has read. Processes cannot share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cache {
    /// In memory, this many KiB.
    Memory {
        /// 4,096 to 16,777,216 KiB.
        kib: u32,
    },
    /// In an existing directory of this process alone, which nobody else may read.
    Disk {
        /// The directory.
        dir: PathBuf,
        /// 8,192 to 1,073,741,824 KiB.
        kib: u32,
    },
}

impl Config {
    /// A configuration with a memory cache of 64 MiB and a dead time of 20 s.
    pub fn new(object: impl Into<PathBuf>, conf_dir: impl Into<PathBuf>) -> Self {
        Self {
            object: object.into(),
            conf_dir: conf_dir.into(),
            mount_dir: "/afs".into(),
            cache: Cache::Memory { kib: 65_536 },
            stat_entries: 3_000,
            volumes: 200,
            daemons: 3,
            dead_time: Duration::from_secs(20),
        }
    }

    /// Checks what libuafs would end the process for.
    ///
    /// # Errors
    /// [`Error::NoAfs`] says what is wrong.
    pub fn check(&self) -> Result<(), Error> {
        let no = |text: String| Err(Error::NoAfs(text));
        if !self.object.is_file() {
            return no(format!("{} is missing", self.object.display()));
        }
        check_confdir(&self.conf_dir)?;
        check_mount_dir(&self.mount_dir)?;
        if self.conf_dir.as_os_str().len() > 900 {
            return no("name of the configuration directory is too long".to_owned());
        }
        match &self.cache {
            Cache::Memory { kib } if (4_096..=16_777_216).contains(kib) => {}
            Cache::Memory { kib } => return no(format!("memory cache of {kib} KiB is not 4096 to 16777216")),
            Cache::Disk { dir, kib } => check_disk_cache(dir, *kib, &self.conf_dir)?,
        }
        if self.stat_entries > 1_000_000
            || !(1..=100_000).contains(&self.volumes)
            || !(1..=32).contains(&self.daemons)
        {
            return no("stat entries, volumes or daemons are out of range".to_owned());
        }
        if self.dead_time > Duration::from_secs(600) {
            return no("dead time is longer than 600 s".to_owned());
        }
        Ok(())
    }
}

/// Reads a file of a configuration directory.
fn conf_file(dir: &Path, name: &str) -> Result<String, Error> {
    let path = dir.join(name);
    std::fs::read_to_string(&path).map_err(|e| Error::NoAfs(format!("{}: {e}", path.display())))
}

/// Checks the files of a configuration directory.
fn check_confdir(dir: &Path) -> Result<(), Error> {
    let no = |text: String| Err(Error::NoAfs(text));
    let cell = this_cell(dir)?;
    let cells = conf_file(dir, "CellServDB")?;
    check_cells(&cells, &cell, dir)?;
    let info = conf_file(dir, "cacheinfo")?;
    let fields: Vec<&str> = info.trim().splitn(3, ':').collect();
    let [mount, cache, kib] = fields.as_slice() else {
        return no(format!("{}/cacheinfo is not MOUNT:DIRECTORY:SIZE", dir.display()));
    };
    if mount.is_empty()
        || cache.is_empty()
        || mount.len() > 1_000
        || cache.len() > 1_000
        || kib.parse::<u32>().is_err()
    {
        return no(format!("{}/cacheinfo is not MOUNT:DIRECTORY:SIZE", dir.display()));
    }
    Ok(())
}

/// The local cell of a configuration directory.
fn this_cell(dir: &Path) -> Result<Cell, Error> {
    let text = conf_file(dir, "ThisCell")?;
    let name = text.lines().next().unwrap_or_default().trim();
    Cell::new(name).map_err(|e| Error::NoAfs(format!("{}/ThisCell: {e}", dir.display())))
}

/// CellServDB must be readable, line by line, and have a server of the local cell.
fn check_cells(text: &str, local: &Cell, dir: &Path) -> Result<(), Error> {
    let mut now: Option<Cell> = None;
    let mut found = false;
    for (number, line) in text.lines().enumerate() {
        let bad =
            |why: &str| Err(Error::NoAfs(format!("{}/CellServDB line {}: {why}", dir.display(), number + 1)));
        let line = line.trim();
        if line.len() > 200 {
            return bad("too long");
        }
        if let Some(cell) = line.strip_prefix('>') {
            let name = cell.split([' ', '\t', '#']).next().unwrap_or_default();
            match Cell::new(name) {
                Ok(c) => now = Some(c),
                Err(e) => return bad(&e.to_string()),
            }
        } else if !line.is_empty() && !line.starts_with('#') {
            let address = line.split([' ', '\t', '#']).next().unwrap_or_default();
            let address = address.trim_start_matches('[').trim_end_matches(']');
            if address.parse::<std::net::Ipv4Addr>().is_err() {
                return bad("not an address");
            }
            let Some(cell) = &now else { return bad("address before the first cell") };
            found |= cell == local;
        }
    }
    if found {
        Ok(())
    } else {
        Err(Error::NoAfs(format!("{}/CellServDB has no server of the local cell {local}", dir.display())))
    }
}

/// The mount directory is absolute, canonical and below the root.
fn check_mount_dir(dir: &Path) -> Result<(), Error> {
    let bytes = dir.as_os_str().as_bytes();
    let canonical = bytes.len() > 1
        && bytes.len() <= 255
        && bytes.strip_prefix(b"/").is_some_and(|rest| {
            rest.split(|b| *b == b'/').all(|p| !p.is_empty() && p != b"." && p != b".." && !p.contains(&b':'))
        });
    if canonical {
        Ok(())
    } else {
        Err(Error::NoAfs(format!("{} cannot be the mount directory", dir.display())))
    }
}

/// The cache directory must be there, be writable and lie on a large enough file system.
fn check_disk_cache(dir: &Path, kib: u32, conf_dir: &Path) -> Result<(), Error> {
    let no = |text: String| Err(Error::NoAfs(text));
    if !(8_192..=1_073_741_824).contains(&kib) {
        return no(format!("disk cache of {kib} KiB is not 8192 to 1073741824"));
    }
    if !dir.is_absolute() || dir.as_os_str().len() > 900 {
        return no(format!("{} cannot be the cache directory", dir.display()));
    }
    if !dir.is_dir()
        || rustix::fs::access(dir, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_err()
    {
        return no(format!("{} is no directory that may be written to", dir.display()));
    }
    // libuafs checks the directory that cacheinfo names, we also the one that is used.
    let info = conf_file(conf_dir, "cacheinfo")?;
    let named = info.trim().split(':').nth(1).unwrap_or_default().trim();
    for place in [dir, Path::new(named)] {
        let Ok(fs) = rustix::fs::statvfs(place) else { continue };
        let total_kib = fs.f_blocks.saturating_mul(fs.f_frsize) / 1_024;
        if u64::from(kib) > total_kib / 100 * 90 {
            return no(format!(
                "disk cache of {kib} KiB does not fit on the file system of {}",
                place.display()
            ));
        }
    }
    Ok(())
}

/// Makes a configuration directory for the client: copies ThisCell and CellServDB of `from` (the administrator's,
/// such as /etc/openafs) to the existing directory `to` and writes a cacheinfo, which libuafs wants in any case.
///
/// # Errors
/// [`Error::NoAfs`] if `from` is not acceptable or `to` cannot be written to; `to` is not touched in the first case.
pub fn snapshot_confdir(from: &Path, to: &Path) -> Result<(), Error> {
    let cell = this_cell(from)?;
    let cells = conf_file(from, "CellServDB")?;
    check_cells(&cells, &cell, from)?;
    let write = |name: &str, text: &str| {
        let path = to.join(name);
        std::fs::write(&path, text).map_err(|e| Error::NoAfs(format!("{}: {e}", path.display())))
    };
    write("ThisCell", &format!("{cell}\n"))?;
    write("CellServDB", &cells)?;
    // Only looked at for its form: size and place come from the configuration. A place that is not there makes
    // libuafs skip its own check of the file system.
    write("cacheinfo", "/afs:/nonexistent/afsweb:50000\n")
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
}

/// Whether a client was started in this process.
static STARTED: AtomicBool = AtomicBool::new(false);

/// An errno of a call as an error.
fn failed(call: &'static str) -> impl FnOnce(i32) -> Error {
    move |errno| Error::Errno { call, errno }
}

/// A text for the C side.
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
        };
        if STARTED.swap(true, Ordering::AcqRel) {
            return Err(Error::NoAfs("the user-space client was already started in this process".to_owned()));
        }
        let object = Object::load(&config.object)
            .map_err(|e| Error::NoAfs(format!("{}: {e}", config.object.display())))?;
        object
            .start(&start)
            .map_err(|e| Error::NoAfs(format!("the user-space client does not start: errno {e}")))?;
        let client = Arc::new(Self { object, next: AtomicU32::new(PAG_FIRST), anonymous: OnceLock::new() });
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

    /// Probes servers that count as down, so that one that is back is used again.
    ///
    /// # Errors
    /// The client's.
    pub fn check_servers(&self, scope: &PagScope<'_>) -> Result<(), Error> {
        // Flags 0: all servers of the local cell, and wait for the probes.
        let mut out = [0; PIOCTL_OUT];
        self.files(scope)?.pioctl(None, true, CHECK_SERVERS, &0i32.to_ne_bytes(), &mut out)
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
            tracing::error!("a thread cannot leave its PAG: ending the process");
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
        if let Err(errno) = self.object.pag_end(pag) {
            tracing::warn!(errno, "tokens of an ended PAG were not dropped");
        }
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

/// The identity of a file in AFS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fid {
    /// Cell, as this process numbers them.
    pub cell: u32,
    /// Volume.
    pub volume: u32,
    /// Vnode in the volume.
    pub vnode: u32,
    /// Uniquifier of the vnode.
    pub unique: u32,
}

/// What kind of thing a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory, or the root of a volume behind a mount point.
    Directory,
    /// A symbolic link.
    Link,
    /// Anything else.
    Other,
}

/// What AFS knows of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Mode bits, with the type, as in stat(2). In AFS only the owner's bits mean something.
    pub mode: u32,
    /// Length in bytes.
    pub size: u64,
    /// Time of the last change, seconds since 1970.
    pub mtime: i64,
    /// Inode number, 31 bits, not unique.
    pub ino: u64,
    /// Owner's id in the cell.
    pub uid: u32,
    /// Group's id in the cell.
    pub gid: u32,
    /// Links.
    pub nlink: u32,
    /// The file's identity.
    pub fid: Fid,
    /// Low 19 bits of the data version, which rises with each change.
    pub data_version: u32,
}

impl Stat {
    /// A strong validator without quotes: volume, vnode, uniquifier, data version, time and size, in hex.
    #[must_use]
    pub fn etag(&self) -> String {
        let Fid { volume, vnode, unique, .. } = self.fid;
        format!("{volume:x}-{vnode:x}-{unique:x}-{:x}-{:x}-{:x}", self.data_version, self.mtime, self.size)
    }
}

impl From<RawStat> for Stat {
    fn from(r: RawStat) -> Self {
        let kind = match r.mode & libc::S_IFMT {
            libc::S_IFREG => Kind::File,
            libc::S_IFDIR => Kind::Directory,
            libc::S_IFLNK => Kind::Link,
            _ => Kind::Other,
        };
        Self {
            kind,
            mode: r.mode,
            size: r.size,
            mtime: r.mtime,
            ino: r.ino,
            uid: r.uid,
            gid: r.gid,
            nlink: r.nlink,
            fid: Fid { cell: r.cell, volume: r.volume, vnode: r.vnode, unique: r.unique },
            data_version: r.data_version,
        }
    }
}

/// What a caller would like to do, for [`Files::access`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read the file or list the directory.
    Read,
    /// Write.
    Write,
    /// Search the directory.
    Search,
}

/// AFS rights, as `fs listacl` shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights(pub u32);

impl Rights {
    /// r.
    pub const READ: Self = Self(1);
    /// w.
    pub const WRITE: Self = Self(2);
    /// i.
    pub const INSERT: Self = Self(4);
    /// l.
    pub const LOOKUP: Self = Self(8);
    /// d.
    pub const DELETE: Self = Self(16);
    /// k.
    pub const LOCK: Self = Self(32);
    /// a.
    pub const ADMINISTER: Self = Self(64);

    /// Whether all of `other` are among them.
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Takes letters as `fs setacl` does: any of `rlidwka`, or `read`, `write`, `all`, `none`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "read" => return Some(Self(9)),
            "write" => return Some(Self(63)),
            "all" => return Some(Self(127)),
            "none" => return Some(Self(0)),
            _ => {}
        }
        text.chars().try_fold(Self(0), |sum, c| {
            let bit = match c {
                'r' => Self::READ,
                'w' => Self::WRITE,
                'i' => Self::INSERT,
                'l' => Self::LOOKUP,
                'd' => Self::DELETE,
                'k' => Self::LOCK,
                'a' => Self::ADMINISTER,
                _ => return None,
            };
            Some(Self(sum.0 | bit.0))
        })
    }
}

/// An access control list: who has, and who is denied, which rights.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acl {
    /// Users and groups that have rights.
    pub positive: Vec<(String, u32)>,
    /// Users and groups that lose rights, whatever else they have.
    pub negative: Vec<(String, u32)>,
}

impl Acl {
    /// The text of VIOCSETAL: two numbers of entries, then a name and a mask in each line.
    fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut text = format!("{}\n{}\n", self.positive.len(), self.negative.len());
        for (name, rights) in self.positive.iter().chain(&self.negative) {
            if name.is_empty()
                || name.len() > 63
                || name.contains(|c: char| c.is_whitespace() || c.is_control())
            {
                return Err(Error::BadValue("name in an ACL"));
            }
            text.push_str(&format!("{name}\t{rights}\n"));
        }
        text.push('\0');
        Ok(text.into_bytes())
    }

    /// Reads the text of VIOCGETAL.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let text = bytes.split(|b| *b == 0).next().and_then(|t| core::str::from_utf8(t).ok())?;
        let mut words = text.split_ascii_whitespace();
        // A server of DFS adds to the first line; those are not served.
        let positive: usize = words.next()?.parse().ok()?;
        let negative: usize = words.next()?.parse().ok()?;
        let mut entries = |n: usize| {
            (0..n.min(1_000))
                .map(|_| Some((words.next()?.to_owned(), words.next()?.parse().ok()?)))
                .collect::<Option<Vec<_>>>()
        };
        Some(Self { positive: entries(positive)?, negative: entries(negative)? })
    }
}

/// Which volume a new mount point leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountKind {
    /// A read-only copy if there is one and the way there is read-only (`#`).
    Normal,
    /// Always the volume itself (`%`).
    ReadWrite,
}

/// File calls of a thread that is in a PAG; borrows the scope.
#[derive(Debug)]
pub struct Files<'s> {
    /// The shared object.
    object: Object,
    /// The scope.
    scope: &'s PagScope<'s>,
}

/// Refuses what is no path.
fn path_ok(path: &[u8]) -> Result<&[u8], Error> {
    if path.len() > PATH_MAX {
        return Err(Error::Errno { call: "path", errno: libc::ENAMETOOLONG });
    }
    if !path.starts_with(b"/") || path.contains(&0) { Err(Error::BadValue("path")) } else { Ok(path) }
}

/// The directory of a path, and the last component.
fn split_last(path: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let end = path.iter().rposition(|b| *b != b'/').map_or(0, |i| i + 1);
    let path = path.get(..end).unwrap_or_default();
    let at = path.iter().rposition(|b| *b == b'/').ok_or(Error::BadValue("path"))?;
    match (path.get(..at), path.get(at + 1..)) {
        (Some(dir), Some(name)) if !dir.is_empty() && !name.is_empty() => Ok((dir, name)),
        _ => Err(Error::BadValue("path")),
    }
}

impl Files<'_> {
    /// Opens a file or directory for reading; symbolic links are followed.
    ///
    /// # Errors
    /// The client's: `EACCES`, `ENOENT`, `ELOOP`, `ETIMEDOUT` ...
    pub fn open(&self, path: &[u8]) -> Result<File, Error> {
        self.open_as(path, OPEN_READ, 0)
    }

    /// Makes a file, which must not exist, and opens it for writing.
    ///
    /// # Errors
    /// The client's.
    pub fn create(&self, path: &[u8], mode: u32) -> Result<File, Error> {
        self.open_as(path, OPEN_READ | OPEN_WRITE | OPEN_CREATE_NEW, mode)
    }

    /// Opens an existing file for writing; `truncate` empties it.
    ///
    /// # Errors
    /// The client's.
    pub fn open_to_write(&self, path: &[u8], truncate: bool) -> Result<File, Error> {
        self.open_as(path, OPEN_WRITE | if truncate { OPEN_TRUNCATE } else { 0 }, 0)
    }

    /// Makes or replaces a file with these contents.
    ///
    /// # Errors
    /// The client's; what the file holds then is not known.
    pub fn write_file(&self, path: &[u8], contents: &[u8]) -> Result<(), Error> {
        let file = match self.create(path, 0o644) {
            Err(e) if e.errno() == Some(libc::EEXIST) => self.open_to_write(path, true)?,
            other => other?,
        };
        let mut done = 0;
        while let Some(rest) = contents.get(done..).filter(|r| !r.is_empty()) {
            let piece = rest.get(..rest.len().min(1 << 20)).unwrap_or(rest);
            match file.pwrite(self.scope, piece, done as u64)? {
                0 => return Err(Error::Errno { call: "write", errno: libc::EIO }),
                n => done += n,
            }
        }
        file.close()
    }

    /// The contents of a file of at most `limit` bytes; `EFBIG` if it has more.
    ///
    /// # Errors
    /// The client's.
    pub fn read_file(&self, path: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
        let file = self.open(path)?;
        let mut contents = Vec::new();
        let mut piece = vec![0; limit.saturating_add(1).min(1 << 16)];
        loop {
            let n = file.pread(self.scope, &mut piece, contents.len() as u64)?;
            contents.extend_from_slice(piece.get(..n).unwrap_or_default());
            if contents.len() > limit {
                return Err(Error::Errno { call: "read", errno: libc::EFBIG });
            }
            if n == 0 {
                return Ok(contents);
            }
        }
    }

    /// The scope, for calls of a [`File`].
    #[must_use]
    pub fn scope(&self) -> &PagScope<'_> {
        self.scope
    }

    /// Opens with `OPEN_*`.
    fn open_as(&self, path: &[u8], flags: u32, mode: u32) -> Result<File, Error> {
        let handle = self.object.open(path_ok(path)?, flags, mode).map_err(failed("open"))?;
        Ok(File { handle, pag: self.scope.pag().clone() })
    }

    /// Attributes of what a path names; symbolic links are followed.
    ///
    /// # Errors
    /// The client's.
    pub fn stat(&self, path: &[u8]) -> Result<Stat, Error> {
        self.object.stat(path_ok(path)?, true).map(Into::into).map_err(failed("stat"))
    }

    /// Attributes; a symbolic link at the end is not followed.
    ///
    /// # Errors
    /// The client's.
    pub fn lstat(&self, path: &[u8]) -> Result<Stat, Error> {
        self.object.stat(path_ok(path)?, false).map(Into::into).map_err(failed("lstat"))
    }

    /// Target of a symbolic link; `EINVAL` if it is none.
    ///
    /// # Errors
    /// The client's.
    pub fn readlink(&self, path: &[u8]) -> Result<Vec<u8>, Error> {
        self.object.readlink(path_ok(path)?).map_err(failed("readlink"))
    }

    /// All names in a directory, without `.` and `..`, in the directory's order.
    ///
    /// # Errors
    /// The client's.
    pub fn read_dir(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        self.open(path)?.read_dir(self.scope)
    }

    /// Whether the PAG may; `EACCES` if not.
    ///
    /// # Errors
    /// The client's.
    pub fn access(&self, path: &[u8], what: Access) -> Result<(), Error> {
        let mode = match what {
            Access::Read => libc::R_OK,
            Access::Write => libc::W_OK,
            Access::Search => libc::X_OK,
        };
        self.object.access(path_ok(path)?, mode.cast_unsigned()).map_err(failed("access"))
    }

    /// The PAG's rights on a file or directory that it may read.
    ///
    /// # Errors
    /// The client's.
    pub fn rights(&self, path: &[u8]) -> Result<Rights, Error> {
        let mut out = [0; 16];
        self.pioctl(Some(path), true, GET_STATUS, &[], &mut out)?;
        let [a, b, c, d, ..] = out;
        Ok(Rights(u32::from_ne_bytes([a, b, c, d])))
    }

    /// Where a mount point leads (`#volume.` or `%cell:volume.`); `EINVAL` if the path is none.
    ///
    /// # Errors
    /// The client's.
    pub fn mount_point(&self, path: &[u8]) -> Result<Vec<u8>, Error> {
        let (dir, name) = split_last(path)?;
        let mut out = vec![0; PIOCTL_OUT];
        let mut input = name.to_vec();
        input.push(0);
        self.pioctl(Some(dir), true, STAT_MOUNT, &input, &mut out)?;
        Ok(until_nul(out))
    }

    /// The cell that a path is in.
    ///
    /// # Errors
    /// The client's.
    pub fn cell(&self, path: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = vec![0; PIOCTL_OUT];
        self.pioctl(Some(path), true, FILE_CELL, &[], &mut out)?;
        Ok(until_nul(out))
    }

    /// Makes a directory; it inherits its parent's ACL.
    ///
    /// # Errors
    /// The client's.
    pub fn mkdir(&self, path: &[u8]) -> Result<(), Error> {
        self.object.mkdir(path_ok(path)?, 0o755).map_err(failed("mkdir"))
    }

    /// Makes a symbolic link at `path`. A target that would make a mount point of it is refused.
    ///
    /// # Errors
    /// The client's.
    pub fn symlink(&self, target: &[u8], path: &[u8]) -> Result<(), Error> {
        if matches!(target, [b'#' | b'%', .., b'.']) || target.is_empty() || target.contains(&0) {
            return Err(Error::BadValue("target of a link"));
        }
        self.object.symlink(target, path_ok(path)?).map_err(failed("symlink"))
    }

    /// Makes a mount point at `path` for a volume of the cell that it stands in, or of another one.
    ///
    /// # Errors
    /// The client's.
    pub fn mount(
        &self,
        path: &[u8],
        kind: MountKind,
        cell: Option<&Cell>,
        volume: &str,
    ) -> Result<(), Error> {
        let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if volume.is_empty() || volume.len() > 63 || !volume.bytes().all(ok) {
            return Err(Error::BadValue("volume name"));
        }
        let sign = if kind == MountKind::ReadWrite { '%' } else { '#' };
        let target = match cell {
            Some(c) => format!("{sign}{c}:{volume}."),
            None => format!("{sign}{volume}."),
        };
        self.object.symlink(target.as_bytes(), path_ok(path)?).map_err(failed("mount"))
    }

    /// Removes a mount point.
    ///
    /// # Errors
    /// The client's.
    pub fn unmount(&self, path: &[u8]) -> Result<(), Error> {
        let (dir, name) = split_last(path)?;
        let mut input = name.to_vec();
        input.push(0);
        self.pioctl(Some(dir), true, DELETE_MOUNT, &input, &mut [])
    }

    /// Removes a file or link.
    ///
    /// # Errors
    /// The client's.
    pub fn unlink(&self, path: &[u8]) -> Result<(), Error> {
        self.object.unlink(path_ok(path)?).map_err(failed("unlink"))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// The client's.
    pub fn rmdir(&self, path: &[u8]) -> Result<(), Error> {
        self.object.rmdir(path_ok(path)?).map_err(failed("rmdir"))
    }

    /// Renames within a volume.
    ///
    /// # Errors
    /// The client's.
    pub fn rename(&self, from: &[u8], to: &[u8]) -> Result<(), Error> {
        self.object.rename(path_ok(from)?, path_ok(to)?).map_err(failed("rename"))
    }

    /// The ACL of a directory.
    ///
    /// # Errors
    /// The client's.
    pub fn acl(&self, path: &[u8]) -> Result<Acl, Error> {
        let mut out = vec![0; PIOCTL_OUT];
        self.pioctl(Some(path), true, GET_ACL, &[], &mut out)?;
        Acl::decode(&out).ok_or(Error::Errno { call: "get ACL", errno: libc::EIO })
    }

    /// Replaces the ACL of a directory.
    ///
    /// # Errors
    /// The client's; `EINVAL` if the cell does not know a name.
    pub fn set_acl(&self, path: &[u8], acl: &Acl) -> Result<(), Error> {
        self.pioctl(Some(path), true, SET_ACL, &acl.encode()?, &mut [])
    }

    /// Forgets what the cache holds of a file.
    ///
    /// # Errors
    /// The client's.
    pub fn flush(&self, path: &[u8]) -> Result<(), Error> {
        self.pioctl(Some(path), true, FLUSH, &[], &mut [])
    }

    /// Forgets what the cache holds of the volume that a path is in.
    ///
    /// # Errors
    /// The client's.
    pub fn flush_volume(&self, path: &[u8]) -> Result<(), Error> {
        self.pioctl(Some(path), true, FLUSH_VOLUME, &[], &mut [])
    }

    /// A pioctl. Those that change tokens or PAGs are refused (`EPERM`).
    ///
    /// `input` and `out`: at most 12,100 and 32,767 bytes; the answer is at the start of `out`.
    ///
    /// # Errors
    /// The client's.
    pub fn pioctl(
        &self,
        path: Option<&[u8]>,
        follow: bool,
        command: u32,
        input: &[u8],
        out: &mut [u8],
    ) -> Result<(), Error> {
        let path = path.map(path_ok).transpose()?;
        self.object.pioctl(path, follow, command, input, out).map_err(failed("pioctl"))
    }
}

/// A text that ends with a NUL.
fn until_nul(mut text: Vec<u8>) -> Vec<u8> {
    let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
    text.truncate(end);
    text
}

/// An open file or directory. Keeps its PAG alive; closes itself in any thread.
#[derive(Debug)]
pub struct File {
    /// The open file. Before the PAG, since fields are dropped in this order.
    handle: Handle,
    /// The PAG that opened it.
    pag: Pag,
}

impl File {
    /// Only the PAG that opened it may use it: what is in the cache would be given to anybody.
    fn check(&self, scope: &PagScope<'_>) -> Result<(), Error> {
        if scope.pag().id() == self.pag.id() { Ok(()) } else { Err(Error::WrongPag) }
    }

    /// Reads at an offset; 0 at the end of the file. May give less than asked for.
    ///
    /// # Errors
    /// The client's; [`Error::WrongPag`] in a scope of another PAG.
    pub fn pread(&self, scope: &PagScope<'_>, buf: &mut [u8], offset: u64) -> Result<usize, Error> {
        self.check(scope)?;
        self.handle.pread(buf, offset).map_err(failed("read"))
    }

    /// Writes at an offset; the server has it after [`File::close`] or [`File::sync`].
    ///
    /// # Errors
    /// The client's; [`Error::WrongPag`] in a scope of another PAG.
    pub fn pwrite(&self, scope: &PagScope<'_>, buf: &[u8], offset: u64) -> Result<usize, Error> {
        self.check(scope)?;
        self.handle.pwrite(buf, offset).map_err(failed("write"))
    }

    /// Stores what was written at the server.
    ///
    /// # Errors
    /// The client's; [`Error::WrongPag`] in a scope of another PAG.
    pub fn sync(&self, scope: &PagScope<'_>) -> Result<(), Error> {
        self.check(scope)?;
        self.handle.fsync().map_err(failed("fsync"))
    }

    /// Its attributes.
    ///
    /// # Errors
    /// The client's; [`Error::WrongPag`] in a scope of another PAG.
    pub fn stat(&self, scope: &PagScope<'_>) -> Result<Stat, Error> {
        self.check(scope)?;
        self.handle.stat().map(Into::into).map_err(failed("fstat"))
    }

    /// All names in a directory, without `.` and `..`.
    ///
    /// # Errors
    /// The client's (`ENOTDIR`); [`Error::WrongPag`] in a scope of another PAG.
    pub fn read_dir(&self, scope: &PagScope<'_>) -> Result<Vec<Vec<u8>>, Error> {
        self.check(scope)?;
        let (mut names, mut cookie) = (Vec::new(), 0);
        loop {
            let before = cookie;
            let more = self.handle.read_dir(&mut cookie).map_err(failed("read directory"))?;
            if more.is_empty() {
                break;
            }
            names.extend(more.into_iter().filter(|n| n != b"." && n != b".."));
            if cookie <= before {
                break;
            }
        }
        Ok(names)
    }

    /// Closes it and says whether all that was written is stored.
    ///
    /// # Errors
    /// The client's, such as `EDQUOT`.
    pub fn close(self) -> Result<(), Error> {
        self.handle.close().map_err(failed("close"))
    }
}
