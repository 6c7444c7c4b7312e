//! Signals as something to poll for.

use crate::Error;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd};

/// What the nanny is told by signals.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks them and makes the descriptor. What she starts inherits the mask, and sets one of its own.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn new() -> Result<Self, Error> {
        let failed = |call| move |e: nix::Error| Error::System { call, errno: e as i32 };
        // HUP, USR1, USR2 are here to be ignored: httpd gives them to its own children.
        let mask: SigSet = [
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGHUP,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
        ]
        .into_iter()
        .collect();
        mask.thread_block().map_err(failed("sigprocmask"))?;
        let fd = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        Ok(Self(fd.map_err(failed("signalfd"))?))
    }

    /// Reads all that has come. True if one of them asks the nanny to end.
    #[must_use]
    pub fn quit(&self) -> bool {
        let mut quit = false;
        while let Ok(Some(info)) = self.0.read_signal() {
            let signal = i32::try_from(info.ssi_signo).ok().and_then(|n| Signal::try_from(n).ok());
            quit |= matches!(signal, Some(Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT));
        }
        quit
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
