//! What the parent keeps for as long as httpd lives, as plain numbers: descriptors and shared memory.
//!
//! Numbers, because the module may be unloaded and loaded anew at a restart, and then has only what lies in the
//! pool of the process.

use super::pool::Pool;
use super::server::Server;
use core::ffi::CStr;
use core::ptr;
use httpd_sys as sys;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use weblog_fds::{ChildTable, Error, LockTable, WaitTable};

/// A descriptor that nobody owns: it stays open until the process ends, or until it is closed on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptFd(RawFd);

impl KeptFd {
    /// Keeps `fd` open.
    #[must_use]
    pub fn keep(fd: OwnedFd) -> Self {
        Self(fd.into_raw_fd())
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> RawFd {
        self.0
    }

    /// The one with this number, which [`KeptFd::number`] gave before a restart.
    #[must_use]
    pub fn with_number(number: RawFd) -> Self {
        Self(number)
    }

    /// Another descriptor of the same thing, closed on exec.
    ///
    /// # Errors
    /// The errno of fcntl(2): EBADF if it was closed.
    pub fn dup(self) -> io::Result<OwnedFd> {
        if self.0 < 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: not -1; borrowed for one call only, and a closed number gives EBADF.
        unsafe { BorrowedFd::borrow_raw(self.0) }.try_clone_to_owned()
    }

    /// Takes it over in a child, which is done once per child: closed when the result is dropped.
    ///
    /// # Errors
    /// The errno of fcntl(2): EBADF if it was closed.
    pub fn own(self) -> io::Result<OwnedFd> {
        let copy = self.dup()?;
        self.close();
        Ok(copy)
    }

    /// Ends the connection of a socket, whoever else has it, and closes it in this process.
    ///
    /// Copies are what processes have that were forked and have executed nothing since, such as the daemon of mod_cgid.
    pub fn hang_up(self) {
        if let Ok(socket) = self.dup() {
            let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
        }
        self.close();
    }

    /// Closes it in this process.
    pub fn close(self) {
        if self.0 > 2 {
            // SAFETY: kept descriptors have no owner, and their keeper closes each once.
            drop(unsafe { OwnedFd::from_raw_fd(self.0) });
        }
    }
}

/// The locks of the lanes again, from what [`LockTable::parts`] gave in this process or the one it was forked from.
///
/// # Errors
/// If there is no such table at that place.
pub fn attach_locks(parts: (usize, usize)) -> Result<LockTable, Error> {
    // SAFETY: kept by the parent in its own pool; the mapping is never unmapped and is inherited by fork.
    unsafe { LockTable::attach(parts.0, parts.1) }
}

/// The table of waiting workers again, as [`attach_locks`].
///
/// # Errors
/// If there is no such table at that place.
pub fn attach_waiting(parts: (usize, usize)) -> Result<WaitTable, Error> {
    // SAFETY: as above.
    unsafe { WaitTable::attach(parts.0, parts.1) }
}

/// The table of children again, as [`attach_locks`].
///
/// # Errors
/// If there is no such table at that place.
pub fn attach_children(parts: (usize, usize)) -> Result<ChildTable, Error> {
    // SAFETY: as above.
    unsafe { ChildTable::attach(parts.0, parts.1) }
}

/// Calls `f` with the main server, if there is one: it lives until the configuration is read anew.
pub fn with_main_server<R>(f: impl FnOnce(Server<'_>) -> R) -> Option<R> {
    // SAFETY: set by httpd in its only thread before any child starts.
    let main = unsafe { sys::ap_server_conf };
    // SAFETY: NULL or the main server, which is not replaced while `f` runs.
    unsafe { Server::from_raw(main) }.map(f)
}

/// A name relative to httpd's directory for things of this run, made absolute.
#[must_use]
pub fn in_run_directory(pool: Pool<'_>, name: &CStr) -> Option<String> {
    // SAFETY: the pool is alive, the name NUL-terminated.
    let path = unsafe { sys::ap_runtime_dir_relative(pool.raw(), name.as_ptr()) };
    // SAFETY: NULL or a string in the pool.
    (!path.is_null()).then(|| unsafe { CStr::from_ptr(path) }.to_string_lossy().into_owned())
}

/// A name relative to httpd's ServerRoot, made absolute.
#[must_use]
pub fn in_server_root(pool: Pool<'_>, name: &CStr) -> Option<PathBuf> {
    // SAFETY: the pool is alive, the name NUL-terminated.
    let path = unsafe { sys::ap_server_root_relative(pool.raw(), name.as_ptr()) };
    // SAFETY: NULL or a string in the pool.
    (!path.is_null()).then(|| OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()).into())
}

/// Starts `program`, which httpd restarts when it ends, and gives the descriptor that it reads lines from.
///
/// It ends with `pconf`.
///
/// # Errors
/// If httpd cannot start it.
pub fn piped_log(pconf: Pool<'_>, program: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: the pool is alive, the text NUL-terminated.
    let log = unsafe { sys::ap_open_piped_log(pconf.raw(), program.as_ptr()) };
    if log.is_null() {
        return Err(io::ErrorKind::NotFound.into());
    }
    // SAFETY: just opened.
    let file = unsafe { sys::ap_piped_log_write_fd(log) };
    let mut number: sys::apr_os_file_t = -1;
    if file.is_null() {
        return Err(io::ErrorKind::NotFound.into());
    }
    // SAFETY: a file of a log that is open; `number` can be written to.
    let status = unsafe { sys::apr_os_file_get(ptr::from_mut(&mut number), file) };
    if status != 0 {
        return Err(io::Error::from_raw_os_error(status));
    }
    KeptFd(number).dup()
}

impl<'s> Server<'s> {
    /// The pool of this configuration: lives until the next restart. For the parent only.
    #[must_use]
    pub fn pconf(self) -> Option<Pool<'s>> {
        let process = ptr::NonNull::new(self.process_record())?;
        // SAFETY: every server points to the one process record.
        let pool = unsafe { process.as_ref() }.pconf;
        // SAFETY: as long as the server.
        unsafe { Pool::from_raw(pool) }
    }
}
