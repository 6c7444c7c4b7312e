//! Writing in AFS, as one visitor: each call in his PAG, whichever client serves the files.

use crate::content::{Afs, Who};
use crate::dav::files::{Files, Look, Sink, Source, split};
use crate::dav::leftovers;
use crate::kernel_files;
use pag::kafs::acl::{self, Somebody};
use pag::mounted::{Dir, Writer};
use pag::userspace::{File, Kind, Rights};
use pag::{ClientKind, Fault};

/// Bytes that a new file or directory takes at most, empty.
const ENTRY: u64 = 4 << 10;

/// The files of a child's client, as one visitor.
#[derive(Debug, Clone)]
pub struct Writing {
    /// The client; lives as long as the child.
    afs: &'static Afs,
    /// On whose behalf.
    who: Who,
}

/// A file that is written.
struct Open {
    /// The client.
    afs: &'static Afs,
    /// On whose behalf.
    who: Who,
    /// Its path, by which waiting workers are counted.
    path: Vec<u8>,
    /// The file.
    file: Opened,
    /// How far it has been written.
    end: u64,
    /// Nothing else was ever in it.
    is_new: bool,
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

/// The two parts of a path.
///
/// # Errors
/// `EINVAL` for a path that has none.
fn parts(path: &[u8]) -> Result<(&[u8], &[u8]), i32> {
    split(path).ok_or(libc::EINVAL)
}

impl Writing {
    /// Files as `who`.
    #[must_use]
    pub fn new(afs: &'static Afs, who: Who) -> Self {
        Self { afs, who }
    }

    /// On whose behalf.
    #[must_use]
    pub fn who(&self) -> &Who {
        &self.who
    }

    /// The mount directory.
    fn mount(&self) -> &[u8] {
        self.afs.mount().as_bytes()
    }

    /// What an open directory is asked for, with a client in the kernel.
    ///
    /// # Errors
    /// An errno.
    fn in_dir<T>(&self, dir: &[u8], f: impl FnOnce(&Dir) -> Result<T, pag::Error>) -> Result<T, i32> {
        Dir::open(dir, self.mount()).and_then(|dir| f(&dir)).map_err(errno)
    }

    /// What is done to a name in its directory, with a client in the kernel.
    ///
    /// # Errors
    /// An errno.
    fn in_parent<T>(
        &self,
        path: &[u8],
        f: impl FnOnce(&Dir, &[u8]) -> Result<T, pag::Error>,
    ) -> Result<T, i32> {
        let (dir, name) = parts(path)?;
        self.in_dir(dir, |dir| f(dir, name))
    }

    /// A file that was opened for writing.
    fn sink(&self, path: &[u8], file: Opened, is_new: bool) -> Box<dyn Sink> {
        Box::new(Open { afs: self.afs, who: self.who.clone(), path: path.to_vec(), file, end: 0, is_new })
    }

    /// kAFS says the same of whatever is refused; it is for want of room where `path` has less than what is needed.
    ///
    /// # Errors
    /// That of `result`, or `EDQUOT`.
    fn or_full<T>(&self, path: &[u8], needed: u64, result: Result<T, i32>) -> Result<T, i32> {
        result.map_err(|errno| {
            let full = errno == libc::EDESTADDRREQ
                && split(path).is_some_and(|(dir, _)| self.room(dir).is_ok_and(|room| room < needed));
            if full { libc::EDQUOT } else { errno }
        })
    }

    /// What the client in the kernel says of a directory.
    ///
    /// # Errors
    /// An errno.
    fn ask<T>(
        &self,
        dir: &[u8],
        f: impl FnOnce(&dyn pag::KernelClient, &[u8]) -> Result<T, pag::Error>,
    ) -> Result<T, i32> {
        let standing = self.afs.standing().ok_or(libc::ENODEV)?;
        self.in_dir(dir, |dir| f(standing.client().as_ref(), &dir.by_descriptor()))
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
        let (Ok(acl), Ok(cell)) = (acl::of(dir), acl::cell_of(dir)) else { return Ok(None) };
        let own = self.who.holder().filter(|holder| holder.principal.cell().as_str().as_bytes() == cell);
        let name_there = own.map(|holder| holder.name.clone());
        let mut who = Somebody { name: name_there, ..Somebody::default() };
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
}

impl Files for Writing {
    fn may_put(&self, path: &[u8], target: Option<Look>, rights: Rights) -> Result<Option<bool>, i32> {
        let (dir, name) = parts(path)?;
        match self.may(dir, rights)? {
            None => self.afs.call_kernel(&self.who, dir, || {
                self.in_dir(dir, |dir| self.shown(dir, name, target, rights))
            }),
            told => Ok(told),
        }
    }

    fn may(&self, dir: &[u8], rights: Rights) -> Result<Option<bool>, i32> {
        self.afs.call(
            &self.who,
            dir,
            |files, _| files.rights(dir).map(|all| Some(all.has(rights))),
            || self.ask(dir, |client, path| client.has_rights(path, rights)),
        )
    }

    fn may_change(&self, dir: &[u8]) -> Result<(), i32> {
        let any = [Rights::WRITE, Rights::INSERT, Rights::DELETE];
        self.afs.call(
            &self.who,
            dir,
            |files, _| {
                let all = files.rights(dir)?;
                let may = any.iter().any(|right| all.has(*right));
                if may { Ok(()) } else { Err(pag::Error::Errno { call: "rights", errno: libc::EACCES }) }
            },
            || {
                for right in any {
                    match self.ask(dir, |client, path| client.has_rights(path, right))? {
                        Some(true) => return Ok(()),
                        Some(false) => {}
                        // kAFS says as much of a directory.
                        None => return self.in_dir(dir, Dir::is_writable),
                    }
                }
                Err(libc::EACCES)
            },
        )
    }

    fn room(&self, dir: &[u8]) -> Result<u64, i32> {
        self.afs.call(
            &self.who,
            dir,
            |files, _| files.volume_status(dir).map(|status| status.room()),
            || self.ask(dir, |client, path| client.room(path)),
        )
    }

    fn volume(&self, dir: &[u8]) -> Result<u64, i32> {
        self.afs.call(
            &self.who,
            dir,
            |files, _| {
                let fid = files.stat(dir)?.fid;
                Ok(u64::from(fid.cell) << 32 | u64::from(fid.volume))
            },
            || self.ask(dir, |client, path| client.volume_of(path)),
        )
    }

    fn look(&self, path: &[u8]) -> Result<Look, i32> {
        self.afs.call(
            &self.who,
            path,
            |files, _| {
                let found = files.lstat(path)?;
                Ok(Look {
                    kind: found.kind,
                    mode: found.mode & 0o7777,
                    size: found.size,
                    mtime_s: found.mtime,
                })
            },
            || {
                self.in_parent(path, |dir, name| {
                    let found = dir.look(name)?;
                    Ok(Look { kind: found.kind, mode: found.mode, size: found.size, mtime_s: found.mtime_s })
                })
            },
        )
    }

    fn etag(&self, path: &[u8]) -> Result<String, i32> {
        self.afs.lstat(&self.who, path).map(|found| found.etag)
    }

    fn names(&self, dir: &[u8]) -> Result<Vec<Vec<u8>>, i32> {
        self.afs.call(&self.who, dir, |files, _| files.read_dir(dir), || self.in_dir(dir, Dir::names))
    }

    fn create(&self, path: &[u8], mode: u32) -> Result<Box<dyn Sink>, i32> {
        let file = self.afs.call(
            &self.who,
            path,
            |files, _| files.create(path, mode).map(Opened::Userspace),
            || self.in_parent(path, |dir, name| dir.create(name, mode)).map(Opened::Kernel),
        );
        Ok(self.sink(path, self.or_full(path, ENTRY, file)?, true))
    }

    fn open_to_write(&self, path: &[u8]) -> Result<Box<dyn Sink>, i32> {
        let file = self.afs.call(
            &self.who,
            path,
            |files, _| files.open_to_write(path, false).map(Opened::Userspace),
            || {
                let file = self.in_parent(path, Dir::open_to_write)?;
                if file.is_file().map_err(errno)? { Ok(Opened::Kernel(file)) } else { Err(libc::EISDIR) }
            },
        )?;
        Ok(self.sink(path, file, false))
    }

    fn open_to_read(&self, path: &[u8]) -> Result<Box<dyn Source>, i32> {
        let file = self.afs.call(
            &self.who,
            path,
            |files, _| files.open(path).map(Readable::Userspace),
            || self.in_parent(path, Dir::open_to_read).map(Readable::Kernel),
        )?;
        Ok(Box::new(Reader { afs: self.afs, who: self.who.clone(), path: path.to_vec(), file }))
    }

    fn readlink(&self, path: &[u8]) -> Result<Vec<u8>, i32> {
        self.afs.call(
            &self.who,
            path,
            |files, _| files.readlink(path),
            || self.in_parent(path, Dir::readlink),
        )
    }

    fn symlink(&self, target: &[u8], path: &[u8]) -> Result<(), i32> {
        self.afs.call(
            &self.who,
            path,
            |files, _| files.symlink(target, path),
            || self.in_parent(path, |dir, name| dir.symlink(target, name)),
        )
    }

    fn mkdir(&self, path: &[u8]) -> Result<(), i32> {
        let made =
            self.afs.call(&self.who, path, |files, _| files.mkdir(path), || self.in_parent(path, Dir::mkdir));
        self.or_full(path, ENTRY, made)
    }

    fn rmdir(&self, path: &[u8]) -> Result<(), i32> {
        self.afs.call(&self.who, path, |files, _| files.rmdir(path), || self.in_parent(path, Dir::rmdir))
    }

    fn unlink(&self, path: &[u8]) -> Result<(), i32> {
        self.afs.call(&self.who, path, |files, _| files.unlink(path), || self.in_parent(path, Dir::unlink))
    }

    fn rename(&self, from: &[u8], to: &[u8]) -> Result<(), i32> {
        self.afs.call(
            &self.who,
            to,
            |files, _| files.rename(from, to),
            || {
                let (dir, name) = parts(to)?;
                let dir = Dir::open(dir, self.mount()).map_err(errno)?;
                self.in_parent(from, |from_dir, from_name| from_dir.rename(from_name, &dir, name))
            },
        )
    }

    fn cuts_at_once(&self) -> bool {
        self.afs.standing().is_some_and(|standing| standing.client().kind() == ClientKind::Kafs)
    }

    fn leave_behind(&self, path: &[u8]) {
        leftovers::note(self.clone(), path);
    }
}

impl Sink for Open {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<(), i32> {
        self.end = self.end.max(offset.saturating_add(bytes.len() as u64));
        match &self.file {
            Opened::Userspace(file) => self.afs.call(
                &self.who,
                &self.path,
                |_, scope| {
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
                },
                || Err(libc::EBADF),
            ),
            Opened::Kernel(file) => {
                self.afs.call_kernel(&self.who, &self.path, || file.write_at(bytes, offset).map_err(errno))
            }
        }
    }

    fn truncate(&mut self, size: u64) -> Result<(), i32> {
        self.end = self.end.min(size);
        match &self.file {
            Opened::Userspace(file) => self.afs.call(
                &self.who,
                &self.path,
                |_, scope| file.truncate(scope, size),
                || Err(libc::EBADF),
            ),
            Opened::Kernel(file) => {
                self.afs.call_kernel(&self.who, &self.path, || file.truncate(size).map_err(errno))
            }
        }
    }

    fn close(self: Box<Self>) -> Result<(), i32> {
        let Self { afs, who, path, file, end, is_new } = *self;
        match file {
            // Stored with the rights of the PAG that opened it, whichever the thread is in.
            Opened::Userspace(file) => afs.call(&who, &path, |_, _| file.close(), || Err(libc::EBADF)),
            Opened::Kernel(file) => {
                let stored = afs.call_kernel(&who, &path, || match afs.turn_to_store(end) {
                    Ok(_turn) => file.close().map_err(errno),
                    Err(no_turn) => {
                        // Whatever is still in it when it is closed is stored without a turn.
                        if is_new {
                            let _ = file.truncate(0);
                        }
                        Err(no_turn)
                    }
                });
                Writing::new(afs, who).or_full(&path, end, stored)
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
