//! Starting the nanny from the httpd parent, and hearing of its end.

use super::guard::guard;
use super::hook::Phases;
use super::pool::Pool;
use command_fds::{CommandFdExt, FdMapping};
use core::ffi::{c_int, c_void};
use core::ptr;
use httpd_sys as sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How a watched process was found to have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this status, as wait(2) gives it.
    Status(i32),
    /// Somebody else took its status.
    Unknown,
}

/// Starts `program`, called `name`, with an empty environment and exactly these descriptors: 0 and 1 are /dev/null, 2 is ours,
/// `fds` become 3, 4, 5 and so on; all others are closed. It leads a process group of its own, because httpd signals
/// its group when it restarts. Returns its pid, which httpd's own wait loop will collect: see [`watch`].
///
/// # Errors
/// Those of fork and exec.
pub fn start(program: &Path, name: &Path, args: &[OsString], fds: Vec<OwnedFd>) -> io::Result<i32> {
    let mut command = Command::new(program);
    command.arg0(name).args(args).env_clear().current_dir("/").process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    let mut next = 3;
    let mut mappings = Vec::with_capacity(fds.len());
    for parent_fd in fds {
        mappings.push(FdMapping { parent_fd, child_fd: next });
        next += 1;
    }
    command.fd_mappings(mappings).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
    let first_unwanted = u32::try_from(next).unwrap_or(u32::MAX);
    let close_rest = move || {
        // SAFETY: a system call that takes numbers; only marks descriptors, so that exec's own error pipe still works.
        let done = unsafe {
            libc::syscall(libc::SYS_close_range, first_unwanted, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: what runs between fork and exec makes one system call and allocates nothing.
    unsafe { command.pre_exec(close_rest) };
    let child = command.spawn()?;
    // Dropping a `Child` neither waits nor kills: httpd's loop collects it.
    i32::try_from(child.id()).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// What `program` writes to its standard output, `longest` bytes at most, within `patience`; it has an empty environment
/// and is killed when it has closed that, or takes longer. Waits for its end.
///
/// # Errors
/// Those of fork and exec, and of reading.
pub fn output(program: &Path, args: &[&str], longest: usize, patience: Duration) -> io::Result<Vec<u8>> {
    let mut command = Command::new(program);
    command.args(args).env_clear().current_dir("/");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let until = Instant::now() + patience;
    let mut said = Vec::new();
    let result = (|| {
        let Some(out) = child.stdout.as_mut() else { return Ok(()) };
        while said.len() < longest {
            let left = Timespec::try_from(until.saturating_duration_since(Instant::now()))
                .map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(out, PollFlags::IN)], Some(&left)) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(e) => return Err(e.into()),
            }
            let mut piece = vec![0; longest.saturating_sub(said.len())];
            match out.read(&mut piece)? {
                0 => return Ok(()),
                n => said.extend_from_slice(piece.get(..n).unwrap_or_default()),
            }
        }
        Ok(())
    })();
    let _ = child.kill();
    let _ = child.wait();
    result.map(|()| said)
}

/// Has httpd call [`Phases::watched_ended`] when the process ends; until `pconf` ends, that is until the next restart,
/// after which it has to be watched anew. For the parent only.
pub fn watch(pconf: Pool<'_>, pid: i32) {
    let proc_ = pconf.own(Watched(sys::apr_proc_t {
        pid,
        in_: ptr::null_mut(),
        out: ptr::null_mut(),
        err: ptr::null_mut(),
    }));
    let raw: *mut sys::apr_proc_t = &raw mut proc_.0;
    // SAFETY: the record lives as long as the pool, whose end also ends the watch (registered later, run earlier).
    unsafe {
        sys::apr_proc_other_child_register(raw, Some(maintain), raw.cast(), ptr::null_mut(), pconf.raw())
    };
}

/// APR's record of a process.
struct Watched(sys::apr_proc_t);

// SAFETY: a pid and NULL pointers.
unsafe impl Send for Watched {}

/// httpd's news of a watched process.
///
/// # Safety
/// Called by APR with the record given to [`watch`].
unsafe extern "C" fn maintain(reason: c_int, data: *mut c_void, status: c_int) {
    let ended = match u32::try_from(reason) {
        Ok(sys::APR_OC_REASON_DEATH) => Ended::Status(status),
        Ok(sys::APR_OC_REASON_LOST) => Ended::Unknown,
        // Restart and unregister: it lives on, and is watched anew from the new configuration.
        _ => return,
    };
    // SAFETY: the caller's promise.
    let Some(proc_) = (unsafe { data.cast::<sys::apr_proc_t>().as_ref() }) else { return };
    let pid = proc_.pid;
    // SAFETY: registered under this pointer.
    unsafe { sys::apr_proc_other_child_unregister(data) };
    guard("the watch over the nanny", (), || crate::phases::Module::watched_ended(pid, ended));
}
