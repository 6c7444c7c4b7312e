//! Writing in AFS, as one visitor: each call in his PAG, whichever client serves the files.

use crate::content::{Afs, Who, acl_for, ask_of_name};
use crate::dav;
use crate::dav::files::{Dir as _, Id, Look, Sink, Source, Task, join};
use crate::dav::leftovers;
use crate::kernel_files;
use pag::mounted::{Dir, Writer};
use pag::userspace::{Fid, File, Kind, Rights};
use pag::{ClientKind, Fault, PagScope};
use std::sync::Arc;
use weblog_fds::LockGuard;

/// Bytes that a new file or directory takes at most, empty.
const ENTRY: u64 = 4 << 10;

/// A directory that is held, as one visitor.
#[derive(Debug, Clone)]
pub struct OpenDir {
    /// The client; lives as long as the child.
    afs: &'static Afs,
    /// On whose behalf.
    who: Who,
    /// The path by which it was found.
    path: Vec<u8>,
    /// It.
    held: Arc<Held>,
}

/// A file that is written.
struct Open {
    /// Its directory.
    dir: OpenDir,
    /// Its path, by which waiting workers are counted.
    path: Vec<u8>,
    /// The file.
    file: Opened,
    /// How far it has been written.
    end: u64,
}

/// A file that is written, as its client has it.
enum Opened {
    /// The user-space client's.
    Userspace(File),
    /// The kernel's.
    Kernel(Writer),
}

/// A file that is read.
struct Reader {
    /// The client.
    afs: &'static Afs,
    /// On whose behalf.
    who: Who,
    /// Its path.
    path: Vec<u8>,
    /// The file.
    file: Readable,
}

/// A file that is read, as its client has it.
enum Readable {
    /// The user-space client's.
    Userspace(File),
    /// The kernel's.
    Kernel(std::fs::File),
}

/// The errno of a client's error; what has none is EIO.
#[expect(clippy::needless_pass_by_value, reason = "an error that is used up")]
fn errno(error: pag::Error) -> i32 {
    error.errno().unwrap_or(libc::EIO)
}

/// A directory that is held, as its client has it.
#[derive(Debug)]
enum Held {
    /// The user-space client's.
    Userspace(pag::userspace::Dir),
    /// The kernel's.
    Kernel(Dir),
}

impl OpenDir {
    /// Opens a directory in AFS, whatever links lead to it.
    ///
    /// # Errors
    /// An errno; `ELOOP` for what lies outside of AFS.
    pub fn open(afs: &'static Afs, who: &Who, path: &[u8]) -> Result<Self, i32> {
        let held = ask_of_name(|| {
            afs.call(
                who,
                path,
                |files, _| files.open_dir(path).map(Held::Userspace),
                || Dir::open(path, afs.mount().as_bytes()).map(Held::Kernel).map_err(errno),
            )
        })?;
        Ok(Self { afs, who: who.clone(), path: path.to_vec(), held: Arc::new(held) })
    }

    /// On whose behalf.
    #[must_use]
    pub fn who(&self) -> &Who {
        &self.who
    }

    /// Another directory, of the same visitor's.
    fn other(&self, path: Vec<u8>, held: Held) -> Self {
        Self { afs: self.afs, who: self.who.clone(), path, held: Arc::new(held) }
    }

    /// Makes a call in it, as its client has it.
    ///
    /// # Errors
    /// An errno.
    fn call<T>(
        &self,
        user: impl FnOnce(&pag::userspace::Dir, &PagScope<'_>) -> Result<T, pag::Error>,
        kernel: impl FnOnce(&Dir) -> Result<T, pag::Error>,
    ) -> Result<T, i32> {
        self.call_in(user, |dir| kernel(dir).map_err(errno))
    }

    /// The same, with a client in the kernel as whole steps.
    ///
    /// # Errors
    /// An errno.
    fn call_in<T>(
        &self,
        user: impl FnOnce(&pag::userspace::Dir, &PagScope<'_>) -> Result<T, pag::Error>,
        kernel: impl FnOnce(&Dir) -> Result<T, i32>,
    ) -> Result<T, i32> {
        match self.held.as_ref() {
            Held::Userspace(dir) => self.afs.call(
                &self.who,
                &self.path,
                |files, scope| match user(dir, scope) {
                    // What libuafs says of a directory that somebody has removed, and of much else.
                    Err(e) if e.errno() == Some(libc::EIO) => match files.stat(&self.path) {
                        Err(gone) if gone.errno() == Some(libc::ENOENT) => Err(gone),
                        _ => Err(e),
                    },
                    other => other,
                },
                || Err(libc::EBADF),
            ),
            Held::Kernel(dir) => self.afs.call_kernel(&self.who, &self.path, || kernel(dir)),
        }
    }

    /// A file that was opened for writing.
    fn sink(&self, name: &[u8], file: Opened) -> Box<dyn Sink> {
        Box::new(Open { dir: self.clone(), path: join(&self.path, name), file, end: 0 })
    }

    /// kAFS says the same of whatever is refused; it is for want of room where the directory's volume has less than what is
    /// needed.
    ///
    /// # Errors
    /// That of `result`, or `EDQUOT`.
    fn or_full<T>(&self, needed: u64, result: Result<T, i32>) -> Result<T, i32> {
        result.map_err(|errno| {
            let full = errno == libc::EDESTADDRREQ && self.room().is_ok_and(|room| room < needed);
            if full { libc::EDQUOT } else { errno }
        })
    }

    /// What the client in the kernel says of a directory.
    ///
    /// # Errors
    /// An errno.
    fn ask<T>(
        &self,
        dir: &Dir,
        f: impl FnOnce(&dyn pag::KernelClient, &[u8]) -> Result<T, pag::Error>,
    ) -> Result<T, i32> {
        let standing = self.afs.standing().ok_or(libc::ENODEV)?;
        f(standing.client().as_ref(), &dir.by_descriptor()).map_err(errno)
    }

    /// Whether he has these rights in a directory whose client cannot be asked, as far as ACL and accesses show.
    ///
    /// # Errors
    /// What the client says.
    fn shown(
        &self,
        dir: &Dir,
        name: &[u8],
        target: Option<Look>,
        rights: Rights,
    ) -> Result<Option<bool>, pag::Error> {
        // Where the server does not tell it, nothing shows.
        let Some((acl, mut who)) = acl_for(&self.who, dir) else { return Ok(None) };
        let mut note = |rights: Rights, access: Result<(), pag::Error>| {
            match access {
                Ok(()) => who.has_one_of.push(rights),
                Err(e) if Fault::of(errno(e.clone())) == Fault::NoRight => who.lacks.0 |= rights.0,
                Err(e) => return Err(e),
            }
            Ok(())
        };
        note(Rights(Rights::INSERT.0 | Rights::DELETE.0), dir.is_writable())?;
        // Without the owner's bit nobody writes it, whatever his rights.
        if target.is_some_and(|look| look.kind == Kind::File && look.mode & 0o200 != 0) {
            note(Rights::WRITE, dir.is_writable_at(name))?;
        }
        Ok(who.has(&acl, rights))
    }

    /// Stores something in a file of his there that the user-space client has open.
    ///
    /// # Errors
    /// An errno.
    fn storing(
        &self,
        path: &[u8],
        store: impl FnOnce(&PagScope<'_>) -> Result<(), pag::Error>,
    ) -> Result<(), i32> {
        let stored = self.afs.call(&self.who, path, |_, scope| store(scope), || Err(libc::EBADF));
        stored.map_err(|errno| self.refused_to_store(errno))
    }

    /// What it means that something could not be stored: what is refused is lost, and cannot be stored once more. Where he
    /// may write all the same, it was refused for a moment only.
    fn refused_to_store(&self, errno: i32) -> i32 {
        let may = || [Rights::WRITE, Rights::INSERT].into_iter().any(|one| self.may(one) == Ok(Some(true)));
        if errno == libc::EACCES && may() { libc::EAGAIN } else { errno }
    }

    /// Is the client Linux's kAFS?
    fn is_kafs(&self) -> bool {
        self.afs.standing().is_some_and(|standing| standing.client().kind() == ClientKind::Kafs)
    }

    /// Whether he may change something in it, whatever it is.
    ///
    /// # Errors
    /// An errno: `EACCES` if not.
    pub fn may_change(&self) -> Result<(), i32> {
        let any = [Rights::WRITE, Rights::INSERT, Rights::DELETE];
        self.call_in(
            |dir, scope| {
                let may = |all: Rights| any.iter().any(|right| all.has(*right));
                let all = dir.rights(scope, may)?;
                if may(all) { Ok(()) } else { Err(pag::Error::Errno { call: "rights", errno: libc::EACCES }) }
            },
            |dir| {
                for right in any {
                    match self.ask(dir, |client, path| client.has_rights(path, right))? {
                        Some(true) => return Ok(()),
                        Some(false) => {}
                        // kAFS says as much of a directory.
                        None => return dir.is_writable().map_err(errno),
                    }
                }
                Err(libc::EACCES)
            },
        )
    }
}

impl dav::files::Dir for OpenDir {
    type Turn = Option<LockGuard>;

    fn path(&self) -> &[u8] {
        &self.path
    }

    fn sub(&self, name: &[u8]) -> Result<Self, i32> {
        let sub = ask_of_name(|| {
            self.call(
                |dir, scope| dir.sub(scope, name).map(Held::Userspace),
                |dir| dir.sub(name).map(Held::Kernel),
            )
        })?;
        Ok(self.other(join(&self.path, name), sub))
    }

    fn above(&self) -> Result<Option<Self>, i32> {
        let above = self.call(
            |dir, scope| Ok(dir.above(scope)?.map(Held::Userspace)),
            |dir| Ok(dir.above(self.afs.mount().as_bytes())?.map(Held::Kernel)),
        )?;
        Ok(above.map(|dir| self.other(join(&self.path, b".."), dir)))
    }

    fn id(&self) -> Result<Id, i32> {
        self.call_in(
            |dir, scope| {
                let Fid { cell, volume, vnode, unique } = dir.stat(scope)?.fid;
                let pair = |high, low| u64::from(high) << 32 | u64::from(low);
                Ok(Id { volume: pair(cell, volume), file: pair(vnode, unique) })
            },
            |dir| {
                let (volume, file) = self.ask(dir, |client, path| client.id_of(path))?;
                Ok(Id { volume, file })
            },
        )
    }

    fn may(&self, rights: Rights) -> Result<Option<bool>, i32> {
        self.call_in(
            |dir, scope| {
                let has = |all: Rights| all.has(rights);
                dir.rights(scope, has).map(|all| Some(has(all)))
            },
            |dir| self.ask(dir, |client, path| client.has_rights(path, rights)),
        )
    }

    fn may_put(&self, name: &[u8], target: Option<Look>, rights: Rights) -> Result<Option<bool>, i32> {
        match self.may(rights)? {
            None => self.call_in(|_, _| Ok(None), |dir| self.shown(dir, name, target, rights).map_err(errno)),
            told => Ok(told),
        }
    }

    fn room(&self) -> Result<u64, i32> {
        self.call_in(
            |dir, scope| dir.volume_status(scope).map(|status| status.room()),
            |dir| self.ask(dir, |client, path| client.room(path)),
        )
    }

    fn look(&self, name: &[u8]) -> Result<Look, i32> {
        ask_of_name(|| {
            self.call(
                |dir, scope| {
                    let found = dir.lstat(scope, name)?;
                    let mode = found.mode & 0o7777;
                    Ok(Look { kind: found.kind, mode, size: found.size, mtime_s: found.mtime })
                },
                |dir| {
                    let found = dir.look(name)?;
                    Ok(Look { kind: found.kind, mode: found.mode, size: found.size, mtime_s: found.mtime_s })
                },
            )
        })
    }

    fn etag(&self, name: &[u8]) -> Result<String, i32> {
        ask_of_name(|| {
            self.call_in(
                |dir, scope| dir.lstat(scope, name).map(|found| found.etag()),
                |dir| {
                    let path = join(&dir.by_descriptor(), name);
                    kernel_files::lstat(&path, self.afs.mount())
                        .map(|found| found.etag)
                        .map_err(|errno| self.afs.refused(&self.who, &path, errno))
                },
            )
        })
    }

    fn names(&self) -> Result<Vec<Vec<u8>>, i32> {
        self.call(|dir, scope| dir.names(scope), Dir::names)
    }

    fn create(&self, name: &[u8], mode: u32) -> Result<Box<dyn Sink>, i32> {
        let file = self.call(
            |dir, scope| dir.create(scope, name, mode).map(Opened::Userspace),
            |dir| dir.create(name, mode).map(Opened::Kernel),
        );
        Ok(self.sink(name, self.or_full(ENTRY, file)?))
    }

    fn open_to_write(&self, name: &[u8]) -> Result<Box<dyn Sink>, i32> {
        let file = ask_of_name(|| {
            self.call_in(
                |dir, scope| dir.open_to_write(scope, name).map(Opened::Userspace),
                |dir| {
                    let file = dir.open_to_write(name).map_err(errno)?;
                    if file.is_file().map_err(errno)? { Ok(Opened::Kernel(file)) } else { Err(libc::EISDIR) }
                },
            )
        })?;
        Ok(self.sink(name, file))
    }

    fn open_to_read(&self, name: &[u8]) -> Result<Box<dyn Source>, i32> {
        let file = ask_of_name(|| {
            self.call(
                |dir, scope| dir.open_to_read(scope, name).map(Readable::Userspace),
                |dir| dir.open_to_read(name).map(Readable::Kernel),
            )
        })?;
        Ok(Box::new(Reader { afs: self.afs, who: self.who.clone(), path: join(&self.path, name), file }))
    }

    fn readlink(&self, name: &[u8]) -> Result<Vec<u8>, i32> {
        ask_of_name(|| self.call(|dir, scope| dir.readlink(scope, name), |dir| dir.readlink(name)))
    }

    fn symlink(&self, target: &[u8], name: &[u8]) -> Result<(), i32> {
        self.call(|dir, scope| dir.symlink(scope, target, name), |dir| dir.symlink(target, name))
    }

    fn mkdir(&self, name: &[u8]) -> Result<(), i32> {
        let made = self.call(|dir, scope| dir.mkdir(scope, name), |dir| dir.mkdir(name));
        self.or_full(ENTRY, made)
    }

    fn rmdir(&self, name: &[u8]) -> Result<(), i32> {
        self.call(|dir, scope| dir.rmdir(scope, name), |dir| dir.rmdir(name))
    }

    fn unlink(&self, name: &[u8]) -> Result<(), i32> {
        self.call(|dir, scope| dir.unlink(scope, name), |dir| dir.unlink(name))
    }

    fn rename(&self, name: &[u8], to: &Self, new: &[u8]) -> Result<(), i32> {
        match (self.held.as_ref(), to.held.as_ref()) {
            (Held::Userspace(here), Held::Userspace(_)) => {
                to.call_in(|there, scope| here.rename(scope, name, there, new), |_| Err(libc::EBADF))
            }
            (Held::Kernel(here), Held::Kernel(there)) => {
                self.afs.call_kernel(&to.who, &to.path, || here.rename(name, there, new).map_err(errno))
            }
            _ => Err(libc::EXDEV),
        }
    }

    fn cuts_at_once(&self) -> bool {
        self.is_kafs()
    }

    fn stores_in_turn(&self) -> bool {
        self.is_kafs()
    }

    fn turn_to_store(&self, bytes: u64) -> Result<Self::Turn, i32> {
        self.afs.turn_to_store(bytes)
    }

    fn do_later(&self, task: Task) {
        leftovers::note(self.clone(), task);
    }
}

impl Sink for Open {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<(), i32> {
        self.end = self.end.max(offset.saturating_add(bytes.len() as u64));
        match &self.file {
            // A client with much to store does so before it is closed.
            Opened::Userspace(file) => self.dir.storing(&self.path, |scope| {
                let (mut rest, mut at) = (bytes, offset);
                while !rest.is_empty() {
                    match file.pwrite(scope, rest, at)? {
                        0 => return Err(pag::Error::Errno { call: "write", errno: libc::EIO }),
                        n => {
                            rest = rest.get(n..).unwrap_or_default();
                            at += n as u64;
                        }
                    }
                }
                Ok(())
            }),
            Opened::Kernel(file) => self
                .dir
                .afs
                .call_kernel(&self.dir.who, &self.path, || file.write_at(bytes, offset).map_err(errno)),
        }
    }

    fn truncate(&mut self, size: u64) -> Result<(), i32> {
        self.end = self.end.min(size);
        match &self.file {
            Opened::Userspace(file) => self.dir.storing(&self.path, |scope| file.truncate(scope, size)),
            Opened::Kernel(file) => {
                self.dir.afs.call_kernel(&self.dir.who, &self.path, || file.truncate(size).map_err(errno))
            }
        }
    }

    fn close(self: Box<Self>) -> Result<(), i32> {
        let Self { dir, path, file, end } = *self;
        let OpenDir { afs, who, .. } = &dir;
        match file {
            // Stored with the rights of the PAG that opened it, whichever the thread is in.
            Opened::Userspace(file) => dir.storing(&path, |_| file.close()),
            Opened::Kernel(file) => {
                let stored = afs.call_kernel(who, &path, || file.close().map_err(errno));
                dir.or_full(end, stored)
            }
        }
    }
}

impl Source for Reader {
    fn read_at(&mut self, to: &mut [u8], offset: u64) -> Result<usize, i32> {
        match &self.file {
            Readable::Userspace(file) => {
                let mut to = Some(to);
                self.afs.call(
                    &self.who,
                    &self.path,
                    |_, scope| file.pread(scope, to.take().unwrap_or_default(), offset),
                    || Err(libc::EBADF),
                )
            }
            Readable::Kernel(file) => {
                self.afs.call_kernel(&self.who, &self.path, || kernel_files::read_into(file, offset, to))
            }
        }
    }
}
