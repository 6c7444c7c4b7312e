//! Forked processes for tests: lanes are shared by fork, so nothing else tests them.

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// A forked process; killed and reaped on drop.
#[derive(Debug)]
pub struct Forked {
    /// Its number; `None` once it was reaped.
    pid: Option<Pid>,
}

/// Runs `child` in a forked process that ends with what it returns.
///
/// Only the calling thread exists in it: `child` must not need what another thread may have held at that moment
/// (it may allocate, since glibc makes that safe, but must not print).
///
/// # Panics
/// If there can be no process.
pub fn fork(child: impl FnOnce() -> i32) -> Forked {
    // SAFETY: the child runs only `child`, which keeps to the rule above, and then ends without returning.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        // A panic must not unwind into the test runner's copy.
        let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(101);
        // SAFETY: ends this process at once.
        unsafe { libc::_exit(code) };
    }
    Forked { pid: Pid::from_raw(pid) }
}

impl Forked {
    /// Its process number; 0 once it was reaped.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.pid.map_or(0, |p| p.as_raw_nonzero().get())
    }

    /// Kills it at once, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(pid) = self.pid.take() {
            let _ = kill_process(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
        }
    }

    /// Waits for its end; its exit code, or `None` if a signal ended it.
    pub fn wait(&mut self) -> Option<i32> {
        let pid = self.pid.take()?;
        let (_, status) = waitpid(Some(pid), WaitOptions::empty()).ok().flatten()?;
        status.exit_status()
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        self.kill();
    }
}
