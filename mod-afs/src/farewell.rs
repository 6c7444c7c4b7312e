//! The end of a child with the user-space client: it gives back what file servers have promised it.
//!
//! A file server tells each client that has read something before it lets anybody change it, and waits seconds for those
//! that are gone. A child that is killed cannot say so; the one that comes after it takes its port and is asked instead
//! (SetAFSPorts).
//!
//! A prefork child ends inside a signal handler, whatever its thread was just doing. So the client is called in a thread of
//! its own, and who ends the child only writes to a descriptor and waits for another, for a moment.

use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use pag::Userspace;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::{read, write};
use rustix::time::Timespec;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

/// So long the end of a child is held up at most, by a file server that does not answer.
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// What is written to a descriptor.
const ONE: [u8; 8] = 1_u64.to_ne_bytes();

/// How this child says farewell; none without the user-space client.
static FAREWELL: OnceLock<Farewell> = OnceLock::new();

/// Two descriptors that count.
#[derive(Debug)]
struct Farewell {
    /// The child ends.
    ends: OwnedFd,
    /// The file servers have been told.
    told: OwnedFd,
}

/// Starts the thread that tells the file servers.
///
/// # Errors
/// The system's, if there can be no thread or no descriptor.
pub fn prepare(client: Arc<Userspace>) -> std::io::Result<()> {
    let new = || eventfd(0, EventfdFlags::CLOEXEC);
    let made = Farewell { ends: new()?, told: new()? };
    let farewell = FAREWELL.get_or_init(|| made);
    // It must take none of the signals that httpd sends its child.
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    let started = std::thread::Builder::new().name("afs-farewell".to_owned()).spawn(move || {
        if read(&farewell.ends, &mut [0; 8]).is_ok() {
            let _ = client.give_up_callbacks();
            let _ = write(&farewell.told, &ONE);
        }
    });
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    started.map(drop)
}

/// Tells the file servers, and waits for a moment until they know. Async-signal-safe.
pub fn say() {
    let Some(farewell) = FAREWELL.get() else { return };
    if write(&farewell.ends, &ONE).is_ok() {
        let _ = poll(&mut [PollFd::new(&farewell.told, PollFlags::IN)], Some(&PATIENCE));
    }
}
