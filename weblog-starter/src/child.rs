//! A running broker: started with its descriptors in place, killed and waited for by pidfd.

use crate::control::Control;
use crate::supervise::End;
use crate::{Error, args::Args, trust};
use command_fds::{CommandFdExt, FdMapping};
use rustix::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::os::unix::process::{CommandExt as _, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use weblog_fds::layout;

/// What every broker gets, under the numbers of the layout.
#[derive(Debug)]
pub struct Ends(Vec<(RawFd, OwnedFd)>);

impl Ends {
    /// Takes over the board, the administrators' socket and the lanes.
    ///
    /// # Errors
    /// [`Error::Inherited`] if one is missing.
    pub fn take(lanes: usize) -> Result<Self, Error> {
        let lanes = (0..lanes).flat_map(|i| [layout::lane_request(i), layout::lane_reply(i)]);
        let all = [layout::BOARD, layout::LISTENER].into_iter().chain(lanes);
        Ok(Self(all.map(|n| Ok((n, weblog_fds::take(n)?))).collect::<Result<_, Error>>()?))
    }

    /// Another descriptor of the board.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn board(&self) -> Result<OwnedFd, Error> {
        let board = self.0.iter().find(|(n, _)| *n == layout::BOARD).map(|(_, fd)| fd);
        board.ok_or(weblog_fds::Error::NotOpen(layout::BOARD)).map(duplicate)?
    }
}

/// Another descriptor of the same, closed on exec.
///
/// # Errors
/// [`Error::System`].
fn duplicate(fd: &OwnedFd) -> Result<OwnedFd, Error> {
    fd.try_clone().map_err(|e| Error::System { call: "dup", errno: e.raw_os_error().unwrap_or_default() })
}

/// The broker's program: what lies under its name now, or what lay there when it was opened.
///
/// A package replaces the file while httpd runs; what is held here is still the one that was seen to fit.
#[derive(Debug)]
pub struct Program {
    /// The file, not opened for anything but to be executed.
    file: OwnedFd,
}

impl Program {
    /// What lies under the name now, if root may start it.
    ///
    /// # Errors
    /// [`Error::Trust`], [`Error::System`].
    pub fn installed(args: &Args) -> Result<Self, Error> {
        let path = trust::check(&args.broker, rustix::process::geteuid().as_raw())?;
        let file = open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(Error::call("open"))?;
        Ok(Self::of_file(file))
    }

    /// This file.
    #[must_use]
    pub fn of_file(file: OwnedFd) -> Self {
        Self { file }
    }

    /// By this name a process that has the descriptor executes it: another file may have its own name by then.
    fn path(&self) -> PathBuf {
        // No number that a broker finds a descriptor at: those are all taken in this process.
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// The same file, whatever lies under its name by now.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn held(&self) -> Result<Self, Error> {
        duplicate(&self.file).map(Self::of_file)
    }
}

/// A broker that was started and not yet reaped.
#[derive(Debug)]
pub struct Broker {
    /// What it runs.
    pub program: Program,
    /// The process.
    process: Child,
    /// Its pidfd: readable once it has ended.
    pidfd: OwnedFd,
    /// Our end of its control socket; `None` once it is closed.
    pub control: Option<Control>,
}

impl Broker {
    /// Starts this program.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn start(program: Program, args: &Args, ends: &Ends, generation: u64) -> Result<Self, Error> {
        let (control, theirs) = Control::pair().map_err(Error::call("socketpair"))?;
        let mut mappings = vec![FdMapping { parent_fd: theirs, child_fd: layout::CONTROL }];
        for (number, fd) in &ends.0 {
            mappings.push(FdMapping { parent_fd: duplicate(fd)?, child_fd: *number });
        }
        let mut command = Command::new(program.path());
        command
            .arg0(&args.broker)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .args(["--lanes", &args.lanes.to_string(), "--user", &args.user])
            .args(args.expects.iter().flat_map(|versions| ["--expects", versions]))
            .args(["--generation", &generation.to_string()])
            .fd_mappings(mappings)
            .map_err(|_| Error::System { call: "fd_mappings", errno: 0 })?;
        let spawned = command.spawn();
        // With the command go our copies of the broker's ends: its death closes the control socket for us.
        drop(command);
        let mut process = spawned
            .map_err(|e| Error::System { call: "exec", errno: e.raw_os_error().unwrap_or_default() })?;
        // Not reaped yet, so the number is still his.
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        let pidfd = pid.ok_or(rustix::io::Errno::SRCH).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
        match pidfd {
            Ok(pidfd) => Ok(Self { program, process, pidfd, control: Some(control) }),
            Err(e) => {
                // Whom we cannot watch we do not keep.
                let _ = process.kill();
                let _ = process.wait();
                Err(Error::call("pidfd_open")(e))
            }
        }
    }

    /// Its process number, for the log only.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Kills it; [`Broker::ended`] will tell.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// How it ended, if it has; reaps it.
    #[must_use]
    pub fn ended(&mut self) -> Option<End> {
        let status = self.process.try_wait().ok().flatten()?;
        Some(status.code().map_or_else(|| End::Signal(status.signal().unwrap_or_default()), End::Exit))
    }
}

impl AsFd for Broker {
    /// Readable once it has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[test]
    fn what_was_opened_is_executed_whatever_has_taken_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weblog");
        std::fs::copy("/bin/echo", &path).unwrap();
        let name = path.to_str().unwrap();
        let line = ["weblog-starter", "--lanes", "2", "--user", "#12345", "--broker", name];
        let program = Program::installed(&Args::try_parse_from(line).unwrap()).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::copy("/bin/false", &path).unwrap();
        let out = Command::new(program.path()).arg("yes").output().unwrap();
        assert_eq!(out.stdout, b"yes\n");
    }
}
