//! An authenticator: makes everything ready, waits for one order, does that login, answers, ends.

use crate::args::AuthenticatorArgs;
use crate::audit::{Level, Log};
use crate::frames::{Collected, Collector, FRAME_MAX, Order, READY, encode_outcome};
use crate::kaserver::{self, Credentials, Leftovers};
use crate::outcome::{Outcome, Refusal};
use crate::privilege;
use pag::CellServDb;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use weblog_proto::Failure;

/// Exit codes, for the broker's log only.
const CONFINED_NOT: u8 = 77;
const LIBRARY: u8 = 69;
const PIPES: u8 = 74;

/// The whole life of an authenticator; the exit code.
#[must_use]
pub fn run(args: &AuthenticatorArgs) -> u8 {
    // Started through /proc/self/exe, it would be "exe" in ps; not worth failing for.
    let _ = rustix::thread::set_name(c"weblog-login");
    let mut log = Log::new("weblog-authenticator");
    if let Err(error) = privilege::confine_authenticator(args.parent) {
        log.write(Level::Error, format_args!("{error}"));
        return CONFINED_NOT;
    }
    let Ok(answer) = take_answer_pipe() else { return PIPES };
    let Ok(conf_dir) = CString::new(args.conf_dir.as_os_str().as_bytes()) else { return LIBRARY };
    let afs = match kaserver::sys::Afs::open(&conf_dir) {
        Ok(afs) => afs,
        Err(error) => {
            let cause = core::error::Error::source(&error).map(|c| format!(": {c}")).unwrap_or_default();
            log.write(Level::Error, format_args!("{error}{cause} ({})", args.conf_dir.display()));
            return LIBRARY;
        }
    };
    let cells = match CellServDb::read(&args.conf_dir) {
        Ok(cells) => cells,
        Err(error) => {
            log.write(Level::Error, format_args!("{error}"));
            return LIBRARY;
        }
    };
    kaserver::warm_up(&afs, &cells);
    if write_all(&answer, &[READY]).is_err() {
        return PIPES;
    }
    let order = match read_order() {
        Ok(Some(order)) => order,
        // The broker wants no more of this one.
        Ok(None) => return 0,
        Err(_) => return PIPES,
    };
    let mut leftovers = Leftovers::default();
    let outcome: Outcome = match now_s() {
        Some(now_s) => {
            let credentials = Credentials {
                who: &order.who,
                password: &order.password,
                lifetime_s: order.lifetime_s,
                budget_s: order.budget_s,
            };
            kaserver::login(&afs, &credentials, &cells, now_s, &mut leftovers)
        }
        None => Err(Refusal::local(Failure::ClockSkew)),
    };
    drop(order);
    let Some(frame) = encode_outcome(&outcome) else { return PIPES };
    drop(outcome);
    let written = write_all(&answer, frame.bytes());
    drop(frame);
    drop(answer);
    // Acknowledges the servers' last replies, so that they need not send them again.
    drop(leftovers);
    if written.is_ok() { 0 } else { PIPES }
}

/// The protocol's time: unsigned 32-bit seconds, good until 2106.
fn now_s() -> Option<u32> {
    u32::try_from(crate::clock::Now::read().unix_s).ok()
}

/// Moves the answer pipe away from descriptor 1: the library prints there now and then.
///
/// # Errors
/// The calls'.
fn take_answer_pipe() -> Result<OwnedFd, Errno> {
    let answer = rustix::io::fcntl_dupfd_cloexec(std::io::stdout().as_fd(), 3)?;
    let null = rustix::fs::open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(answer)
}

/// Writes all of it.
///
/// # Errors
/// write's; the broker is gone then.
fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Waits for the order; `None` if there will be none.
///
/// # Errors
/// read's, or `EPROTO` if what came is none.
fn read_order() -> Result<Option<Order>, Errno> {
    let stdin = std::io::stdin();
    let mut collector = Collector::default();
    loop {
        match collector.collected() {
            Collected::Body(body) => return Order::decode(body).map(Some).ok_or(Errno::PROTO),
            Collected::Nonsense => return Err(Errno::PROTO),
            Collected::More => {}
        }
        match rustix::io::read(stdin.as_fd(), collector.space()) {
            Ok(0) => return if collector.is_empty() { Ok(None) } else { Err(Errno::PROTO) },
            Ok(n) => collector.filled(n.min(FRAME_MAX)),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
