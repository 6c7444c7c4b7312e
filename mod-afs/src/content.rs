//! Files in AFS, as this child's client serves them to one visitor.
//!
//! Each call is made in the visitor's PAG, in the thread that makes it; afterwards the thread is in the PAG that it was in.

use crate::broker::Visitor;
use crate::httpd::{FileInfo, FileKind, ReadAt};
use crate::kernel_files;
use crate::standing::Standing;
use crate::stores::Stores;
use crate::waiting::{Directory, Wait, Waiting};
use pag::kafs::acl::{self, Somebody};
use pag::mounted::Dir;
use pag::userspace::{Acl, File, Files, Kind, Rights, Stat, Userspace};
use pag::{ClientKind, Pag, PagScope};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use weblog_fds::LockGuard;

/// Most bytes of an access file.
const HTACCESS_MAX: u64 = 1 << 20;
/// Bytes per read of an access file.
const HTACCESS_CHUNK: usize = 64 * 1024;

/// On whose behalf files are looked at.
#[derive(Debug, Clone)]
pub enum Who {
    /// Nobody's.
    Anonymous,
    /// A service identity's: of nobody who has logged in.
    Service(Arc<Visitor>),
    /// A visitor's.
    Visitor(Arc<Visitor>),
}

impl Who {
    /// Is it somebody?
    #[must_use]
    pub fn is_visitor(&self) -> bool {
        matches!(self, Self::Visitor(_))
    }

    /// The visitor.
    #[must_use]
    pub fn visitor(&self) -> Option<&Arc<Visitor>> {
        match self {
            Self::Anonymous | Self::Service(_) => None,
            Self::Visitor(visitor) => Some(visitor),
        }
    }

    /// Whoever has a token: the visitor, or the service identity.
    #[must_use]
    pub fn holder(&self) -> Option<&Arc<Visitor>> {
        match self {
            Self::Anonymous => None,
            Self::Service(holder) | Self::Visitor(holder) => Some(holder),
        }
    }
}

/// The ACL of a directory of kAFS's, and what it calls somebody; nothing where the server does not tell it.
pub(crate) fn acl_for(who: &Who, dir: &Dir) -> Option<(Acl, Somebody)> {
    let (acl, cell) = (acl::of(dir).ok()?, acl::cell_of(dir).ok()?);
    let own = who.holder().filter(|holder| holder.principal.cell().as_str().as_bytes() == cell);
    Some((acl, Somebody { name: own.map(|holder| holder.name.clone()), ..Somebody::default() }))
}

/// What serves files to this child.
#[derive(Debug)]
pub enum Client {
    /// OpenAFS's user-space client, in this process.
    Userspace(Arc<Userspace>),
    /// A client in the kernel.
    Kernel(Standing),
}

/// What changes when the contents of a file change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// The data version, where the client tells it.
    pub data: u32,
    /// Bytes.
    pub size: u64,
    /// Time of the last change.
    pub mtime_us: i64,
}

impl From<Stat> for Version {
    fn from(stat: Stat) -> Self {
        Self { data: stat.data_version, size: stat.size, mtime_us: stat.mtime.saturating_mul(1_000_000) }
    }
}

/// What AFS knows of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// As httpd takes it.
    pub info: FileInfo,
    /// A validator for ETag, without quotes.
    pub etag: String,
}

impl From<Stat> for Attributes {
    fn from(stat: Stat) -> Self {
        Self { info: file_info(&stat), etag: stat.etag() }
    }
}

/// The AFS client of this child.
#[derive(Debug)]
pub struct Afs {
    /// It.
    client: Client,
    /// Where its files appear: absolute, without a slash at the end.
    mount: String,
    /// Who waits for what.
    waiting: Option<Waiting>,
    /// Turns at storing.
    stores: Option<Stores>,
}

/// The errno of a client's error; what has none is EIO.
fn errno(error: &pag::Error) -> i32 {
    error.errno().unwrap_or(libc::EIO)
}

impl Afs {
    /// `mount`: where the client shows its files.
    #[must_use]
    pub fn new(client: Client, mount: String, waiting: Option<Waiting>, stores: Option<Stores>) -> Self {
        Self { client, mount, waiting, stores }
    }

    /// Whether `path` names something in AFS.
    #[must_use]
    pub fn holds(&self, path: &[u8]) -> bool {
        is_below(path, &self.mount)
    }

    /// The PAG to make calls in.
    #[must_use]
    pub fn pag<'a>(&'a self, who: &'a Who) -> &'a Pag {
        match (who, &self.client) {
            (Who::Service(holder) | Who::Visitor(holder), _) => &holder.pag,
            (Who::Anonymous, Client::Userspace(client)) => client.anonymous(),
            (Who::Anonymous, Client::Kernel(standing)) => standing.client().anonymous(),
        }
    }

    /// What threads are to the client, if it is one in the kernel.
    #[must_use]
    pub fn standing(&self) -> Option<&Standing> {
        match &self.client {
            Client::Userspace(_) => None,
            Client::Kernel(standing) => Some(standing),
        }
    }

    /// What waiting workers are counted by.
    fn directory(&self, path: &[u8]) -> Directory {
        Directory::of(&String::from_utf8_lossy(path), &self.mount)
    }

    /// Do too many workers wait for what is near `path`?
    #[must_use]
    pub fn is_full(&self, path: &[u8]) -> bool {
        self.waiting.is_some_and(|waiting| waiting.is_full(self.directory(path)))
    }

    /// The same for `path` alone, and not for `dir`, which it is in?
    #[must_use]
    pub fn is_full_beyond(&self, dir: &[u8], path: &[u8]) -> bool {
        self.is_full(path) && self.directory(path) != self.directory(dir)
    }

    /// Makes a call as `who`: `user`, if the client is the user-space one, else `kernel`.
    ///
    /// # Errors
    /// An errno.
    pub(crate) fn call<T>(
        &self,
        who: &Who,
        path: &[u8],
        user: impl FnOnce(&Files<'_>, &PagScope<'_>) -> Result<T, pag::Error>,
        kernel: impl FnOnce() -> Result<T, i32>,
    ) -> Result<T, i32> {
        let wait = self.waiting.map(|waiting| waiting.begin(self.directory(path)));
        let result = match &self.client {
            Client::Userspace(client) => {
                let scope = self.pag(who).enter().map_err(|e| errno(&e))?;
                let files = client.files(&scope).map_err(|e| errno(&e))?;
                user(&files, &scope).map_err(|e| errno(&e))
            }
            Client::Kernel(standing) => standing.within(self.pag(who), kernel),
        };
        waited(wait, result)
    }

    /// Makes a call as `who` that only a client in the kernel can have been asked for.
    ///
    /// # Errors
    /// An errno; `EBADF` with the user-space client.
    pub(crate) fn call_kernel<T>(
        &self,
        who: &Who,
        path: &[u8],
        f: impl FnOnce() -> Result<T, i32>,
    ) -> Result<T, i32> {
        let wait = self.waiting.map(|waiting| waiting.begin(self.directory(path)));
        let Client::Kernel(standing) = &self.client else { return Err(libc::EBADF) };
        waited(wait, standing.within(self.pag(who), f))
    }

    /// Waits for a turn at storing so many bytes, with a client that wants them taken one by one.
    ///
    /// # Errors
    /// `ETIMEDOUT`.
    pub(crate) fn turn_to_store(&self, bytes: u64) -> Result<Option<LockGuard>, i32> {
        match (&self.client, &self.stores) {
            (Client::Kernel(standing), Some(stores))
                if bytes > 0 && standing.client().kind() == ClientKind::Kafs =>
            {
                // Its file server is not what is waited for; but a store that hangs must not hold all workers.
                let turns = Directory::of_stores();
                if self.waiting.is_some_and(|waiting| waiting.is_full(turns)) {
                    return Err(libc::ETIMEDOUT);
                }
                let _wait = self.waiting.map(|waiting| waiting.begin(turns));
                stores.turn().map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Is the client Linux's own?
    fn is_kafs(&self) -> bool {
        self.standing().is_some_and(|standing| standing.client().kind() == ClientKind::Kafs)
    }

    /// What a kernel's errno for a name means to somebody: kAFS says of what he may not see that it is absent, and of what he
    /// may see, if its server did not want to tell at that moment (`EAGAIN`).
    ///
    /// No other client's directories are read for that: OpenAFS lets a reader wait until nobody looks for a name there,
    /// and everybody else behind him, also where that name is on a server that is silent.
    pub(crate) fn refused(&self, who: &Who, path: &[u8], errno: i32) -> i32 {
        if errno != libc::ENOENT || !self.is_kafs() {
            return errno;
        }
        match kernel_files::hidden(path) {
            None => errno,
            Some(hidden) if hidden.is_file && self.may_read_in(who, &hidden.dir) => libc::EAGAIN,
            Some(_) => libc::EACCES,
        }
    }

    /// Does the ACL of a directory say that he may read the files in it? Only if it can be seen without knowing his groups.
    fn may_read_in(&self, who: &Who, dir: &Path) -> bool {
        let dir = Dir::open(dir.as_os_str().as_bytes(), self.mount.as_bytes());
        dir.ok()
            .and_then(|dir| acl_for(who, &dir))
            .is_some_and(|(acl, somebody)| somebody.has(&acl, Rights::READ) == Some(true))
    }

    /// May something be there of which the client says that it is not? kAFS says so also of what a symbolic link leads to, if this
    /// visitor may not see it.
    #[must_use]
    pub fn may_hide(&self, who: &Who, path: &[u8]) -> bool {
        self.is_kafs() && self.lstat(who, path).is_ok_and(|found| found.info.kind == FileKind::Link)
    }

    /// Does the path go by a second name of something, for which no rule of httpd's was written: `@sys`, which stands for the
    /// machine's type, `.:mount` of OpenAFS's module, which leads to any volume and file by its number, or one that kAFS has for
    /// a cell?
    #[must_use]
    pub fn is_alias(&self, who: &Who, path: &[u8]) -> bool {
        if path.split(|b| *b == b'/').any(|name| name.ends_with(b"@sys")) {
            return true;
        }
        let first = first_below(path, &self.mount);
        if !self.is_kafs() {
            return first == Some(b".:mount");
        }
        matches!(first, Some(b"@cell" | b".@cell"))
            || self.call_kernel(who, path, || Ok(kernel_files::is_alias(path, &self.mount))).unwrap_or(false)
    }

    /// Where the client shows its files: absolute, without a slash at the end.
    #[must_use]
    pub fn mount(&self) -> &str {
        &self.mount
    }

    /// Attributes of what `path` names, through symbolic links.
    ///
    /// # Errors
    /// An errno.
    pub fn stat(&self, who: &Who, path: &[u8]) -> Result<Attributes, i32> {
        ask_of_name(|| {
            self.call(
                who,
                path,
                |files, _| files.stat(path).map(Into::into),
                || kernel_files::stat(path, &self.mount).map_err(|errno| self.refused(who, path, errno)),
            )
        })
    }

    /// Attributes of what `path` names, be it a symbolic link.
    ///
    /// # Errors
    /// An errno.
    pub fn lstat(&self, who: &Who, path: &[u8]) -> Result<Attributes, i32> {
        ask_of_name(|| {
            self.call(
                who,
                path,
                |files, _| files.lstat(path).map(Into::into),
                || kernel_files::lstat(path, &self.mount).map_err(|errno| self.refused(who, path, errno)),
            )
        })
    }

    /// May the names in this directory be read?
    ///
    /// # Errors
    /// An errno.
    pub fn list(&self, who: &Who, path: &[u8]) -> Result<(), i32> {
        self.call(
            who,
            path,
            |files, _| files.read_dir(path).map(drop),
            || kernel_files::list(path, &self.mount).map_err(|errno| self.refused(who, path, errno)),
        )
    }

    /// Opens a file for reading, and its attributes as of then. Not again by itself, as the other questions: what is opened is read,
    /// and [`ask_of_name`] is for both.
    ///
    /// # Errors
    /// An errno.
    pub fn open(&'static self, who: &Who, path: &[u8]) -> Result<(Content, Attributes), i32> {
        let (file, version, attributes) = self.call(
            who,
            path,
            |files, scope| {
                let file = files.open(path)?;
                let stat = file.stat(scope)?;
                Ok((Opened::Userspace(file), stat.into(), stat.into()))
            },
            || {
                kernel_files::open(path, &self.mount)
                    .map_err(|errno| self.refused(who, path, errno))
                    .map(|(file, version, attributes)| (Opened::Kernel(file), version, attributes))
            },
        )?;
        let directory = self.directory(path);
        Ok((Content { afs: self, who: who.clone(), directory, file, version }, attributes))
    }

    /// All of a small file.
    ///
    /// # Errors
    /// An errno; EFBIG for one that is not small.
    pub fn read_small(&'static self, who: &Who, path: &[u8]) -> Result<Vec<u8>, i32> {
        ask_of_name(|| self.read_at_once(who, path))
    }

    /// The same, if it stays as it is meanwhile.
    ///
    /// # Errors
    /// As [`Afs::read_small`], and of a file that was replaced.
    fn read_at_once(&'static self, who: &Who, path: &[u8]) -> Result<Vec<u8>, i32> {
        let (mut file, attributes) = self.open(who, path)?;
        if attributes.info.kind != FileKind::Plain {
            return Err(libc::ENOENT);
        }
        if attributes.info.size > HTACCESS_MAX {
            return Err(libc::EFBIG);
        }
        let mut all = Vec::new();
        let mut chunk = vec![MaybeUninit::uninit(); HTACCESS_CHUNK];
        loop {
            match file.read_at(all.len() as u64, &mut chunk) {
                Ok([]) => return Ok(all),
                Ok(read) => all.extend_from_slice(read),
                Err(libc::EINTR) => {}
                Err(errno) => return Err(errno),
            }
            if all.len() as u64 > HTACCESS_MAX {
                return Err(libc::EFBIG);
            }
        }
    }
}

/// An open file, as its client has it.
#[derive(Debug)]
enum Opened {
    /// The user-space client's.
    Userspace(File),
    /// The kernel's.
    Kernel(std::fs::File),
}

/// An open file in AFS. It is read as the visitor who opened it, in whatever thread.
#[derive(Debug)]
pub struct Content {
    /// The client; lives as long as the child.
    afs: &'static Afs,
    /// On whose behalf.
    who: Who,
    /// What waiting workers are counted by.
    directory: Directory,
    /// The file.
    file: Opened,
    /// Of this all that is read has to be.
    version: Version,
}

/// So long something is asked again of a name whose file was replaced or changed before any of it was used.
///
/// Each time takes milliseconds, on a busy machine a hundred: where several replace one file without a pause, twenty times have been too
/// few. And a file server puts each answer off by 3 s where ten calls of a visitor in a row have failed alike (OpenAFS
/// `src/rx/rx.c`, `rxi_SendCallAbort`); one such answer must not be the last.
const REPLACED_LIMIT: Duration = Duration::from_secs(10);
/// So long is asked again what kAFS has no server left for, as once while a volume was released; where a server is silent, it mostly
/// says so instead, and that is told at once.
const NO_SERVER_LIMIT: Duration = Duration::from_secs(2);
/// By so much each pause before it is asked again is longer than the last one, and at most so long: what is broken for good is not to
/// keep a file server busy.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// For how long a name is asked about again of which this is said; none: not at all.
///
/// A file that was replaced is gone from its server: it cannot be read any more, nor looked at by who found its name just before. And
/// one that was changed is not read further, since that would be another one's end.
fn patience(errno: i32) -> Duration {
    match errno {
        libc::EIO | libc::ESTALE => REPLACED_LIMIT,
        libc::EDESTADDRREQ => NO_SERVER_LIMIT,
        _ => Duration::ZERO,
    }
}

/// What `ask` says of a name; once more where that has come to stand for another file meanwhile, or has no server just now.
///
/// # Errors
/// An errno.
pub fn ask_of_name<T>(ask: impl FnMut() -> Result<T, i32>) -> Result<T, i32> {
    ask_within(patience, ask)
}

/// The same, with a patience of its own.
///
/// # Errors
/// An errno.
fn ask_within<T>(
    patience: impl Fn(i32) -> Duration,
    mut ask: impl FnMut() -> Result<T, i32>,
) -> Result<T, i32> {
    let begin = Instant::now();
    let mut pause = Duration::ZERO;
    loop {
        let said = ask();
        if !said.as_ref().is_err_and(|errno| begin.elapsed() + pause < patience(*errno)) {
            return said;
        }
        std::thread::sleep(pause);
        pause = LONGEST_PAUSE.min(pause + PAUSE);
    }
}

impl Content {
    /// What was read, if the file is what it was when it was opened.
    ///
    /// # Errors
    /// ESTALE.
    fn unchanged<T>(&self, read: T, now: Version) -> Result<T, i32> {
        if now == self.version { Ok(read) } else { Err(libc::ESTALE) }
    }
}

impl ReadAt for Content {
    fn read_at<'b>(&mut self, at: u64, to: &'b mut [MaybeUninit<u8>]) -> Result<&'b mut [u8], i32> {
        let wait = self.afs.waiting.map(|waiting| waiting.begin(self.directory));
        let pag = self.afs.pag(&self.who);
        let read = match (&self.file, &self.afs.client) {
            (Opened::Userspace(file), _) => {
                let scope = pag.enter().map_err(|e| errno(&e))?;
                let read = file.pread_uninit(&scope, to, at).map_err(|e| errno(&e))?;
                self.unchanged(read, file.stat(&scope).map_err(|e| errno(&e))?.into())
            }
            (Opened::Kernel(file), Client::Kernel(standing)) => standing.within(pag, || {
                let read = kernel_files::read_at(file, at, to)?;
                self.unchanged(read, kernel_files::version(file)?)
            }),
            (Opened::Kernel(_), Client::Userspace(_)) => Err(libc::EBADF),
        };
        waited(wait, read)
    }
}

/// What a wait has come to; others are told of it where it was not in vain.
///
/// # Errors
/// That of `result`.
fn waited<T>(wait: Option<Wait>, result: Result<T, i32>) -> Result<T, i32> {
    if result.is_ok()
        && let Some(wait) = wait
    {
        wait.answered();
    }
    result
}

/// Whether `path` is `mount` or below it.
#[must_use]
pub fn is_below(path: &[u8], mount: &str) -> bool {
    matches!(path.strip_prefix(mount.as_bytes()), Some([] | [b'/', ..]))
}

/// The name right below `mount` that a path goes through.
#[must_use]
pub fn first_below<'p>(path: &'p [u8], mount: &str) -> Option<&'p [u8]> {
    let below = path.strip_prefix(mount.as_bytes())?.strip_prefix(b"/")?;
    below.split(|b| *b == b'/').find(|name| !matches!(*name, b"" | b"."))
}

/// Whether `path` is a directory on the way from the root to `mount`.
#[must_use]
pub fn is_above(path: &[u8], mount: &str) -> bool {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    matches!(mount.as_bytes().strip_prefix(path), Some([b'/', ..]))
}

/// AFS's attributes as httpd takes them.
#[must_use]
fn file_info(stat: &Stat) -> FileInfo {
    let us = stat.mtime.saturating_mul(1_000_000);
    FileInfo {
        kind: match stat.kind {
            Kind::File => FileKind::Plain,
            Kind::Directory => FileKind::Directory,
            Kind::Link => FileKind::Link,
            Kind::Other => FileKind::Other,
        },
        mode: u16::try_from(stat.mode & 0o777).unwrap_or(0),
        uid: stat.uid,
        gid: stat.gid,
        inode: stat.ino,
        device: u64::from(stat.fid.volume),
        links: stat.nlink,
        size: stat.size,
        mtime_us: us,
        ctime_us: us,
        atime_us: us,
    }
}

/// The directories on the way to the mount directory, of which AFS knows nothing.
#[must_use]
pub fn plain_directory() -> FileInfo {
    FileInfo {
        kind: FileKind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        inode: 0,
        device: 0,
        links: 1,
        size: 0,
        mtime_us: 0,
        ctime_us: 0,
        atime_us: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_asked_about_again_only_where_its_file_has_gone_or_no_server_is_left() {
        let asked = |answers: &[Result<u32, i32>]| {
            let mut times = 0;
            let said = ask_within(
                |errno| patience(errno).min(Duration::from_millis(100)),
                || {
                    times += 1;
                    answers.get(times - 1).or(answers.last()).copied().unwrap_or(Err(0))
                },
            );
            (said, times)
        };
        assert_eq!(asked(&[Ok(1)]), (Ok(1), 1));
        assert_eq!(asked(&[Err(libc::EIO), Err(libc::ESTALE), Ok(3)]), (Ok(3), 3));
        assert_eq!(asked(&[Err(libc::EDESTADDRREQ), Ok(2)]), (Ok(2), 2));
        assert_eq!(asked(&[Err(libc::EIO), Err(libc::ENOENT), Ok(3)]), (Err(libc::ENOENT), 2));
        for errno in [libc::EACCES, libc::ENOENT, libc::ETIMEDOUT, libc::ENODEV] {
            assert_eq!(asked(&[Err(errno), Ok(2)]), (Err(errno), 1));
        }
        // Of what its directory names and no server knows, not for ever.
        for errno in [libc::EIO, libc::EDESTADDRREQ] {
            let (said, times) = asked(&[Err(errno)]);
            assert!(said == Err(errno) && times > 1, "{said:?} after {times}");
        }
    }

    #[test]
    fn only_what_is_below_the_mount_directory_is_in_afs() {
        for (path, below) in [
            ("/afs", true),
            ("/afs/", true),
            ("/afs/example.com/x", true),
            ("/afsx", false),
            ("/", false),
            ("/srv/afs/x", false),
            ("proxy:/afs/x", false),
        ] {
            assert_eq!(is_below(path.as_bytes(), "/afs"), below, "{path}");
        }
    }

    #[test]
    fn the_name_below_the_mount_directory_is_found_behind_whatever_slashes() {
        for (path, first) in [
            ("/afs", None),
            ("/afs/", None),
            ("/afsx/.:mount", None),
            ("/afs/.:mount/example.com:1:3:5", Some(".:mount")),
            ("/afs//.:mount/x", Some(".:mount")),
            ("/afs/.//.:mount", Some(".:mount")),
            ("/afs/example.com/.:mount", Some("example.com")),
        ] {
            assert_eq!(first_below(path.as_bytes(), "/afs"), first.map(str::as_bytes), "{path}");
        }
    }

    #[test]
    fn what_leads_to_the_mount_directory_is_above_it() {
        for (path, above) in
            [("/", true), ("/srv", true), ("/srv/", true), ("/srv/afs", false), ("/sr", false), ("/x", false)]
        {
            assert_eq!(is_above(path.as_bytes(), "/srv/afs"), above, "{path}");
        }
    }
}
