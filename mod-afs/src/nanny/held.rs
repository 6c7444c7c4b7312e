//! Files of ours as they were when they fitted: the programs of nanny and broker, and the user-space client's object. A
//! package puts others under their names while httpd runs; until it is restarted, what dies is replaced by these.

use crate::httpd::KeptFd;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use std::path::{Path, PathBuf};

/// Behind all numbers that a nanny finds something at, which replace what has these numbers before it is executed.
const FIRST: i32 = 200;

/// Opens a file for nothing but to be executed or loaded, and keeps it.
///
/// # Errors
/// The system's.
pub(super) fn hold(path: &Path) -> Result<KeptFd, Errno> {
    let file = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    Ok(KeptFd::keep(fcntl_dupfd_cloexec(&file, FIRST)?))
}

/// The name by which a process that has this descriptor finds its file.
pub(super) fn name_of(number: i32) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{number}"))
}

/// The two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// The nanny's.
    pub(super) nanny: i32,
    /// The broker's.
    pub(super) broker: i32,
}

impl Held {
    /// What lies under these names now.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn open(nanny: &Path, broker: &Path) -> Result<Self, Errno> {
        let nanny = hold(nanny)?;
        let broker = hold(broker).inspect_err(|_| nanny.close())?;
        Ok(Self { nanny: nanny.number(), broker: broker.number() })
    }

    /// By this name a process that has them executes the nanny.
    pub(super) fn nanny_path(self) -> PathBuf {
        name_of(self.nanny)
    }

    /// By this name a process that has them executes the broker.
    pub(super) fn broker_path(self) -> PathBuf {
        name_of(self.broker)
    }

    /// Both.
    pub(super) fn all(self) -> [i32; 2] {
        [self.nanny, self.broker]
    }

    /// Lets go of them.
    pub(super) fn close(self) {
        self.all().into_iter().for_each(|number| KeptFd::with_number(number).close());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_executed_whatever_has_taken_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        std::fs::copy("/bin/echo", &path).unwrap();
        let held = Held::open(&path, &path).unwrap();
        assert!(held.all().iter().all(|number| *number >= FIRST));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "nonsense").unwrap();
        let out = std::process::Command::new(held.nanny_path()).arg("yes").output().unwrap();
        assert_eq!(out.stdout, b"yes\n");
        held.close();
        assert!(!held.nanny_path().exists());
    }
}
