//! An authenticator: makes everything ready, waits for one order, does what it says (a login, or a question to a protection
//! server), answers, ends.

use crate::args::AuthenticatorArgs;
use crate::audit::Log;
use crate::frames::{Collected, Collector, FRAME_MAX, Order, READY, encode_answer};
use crate::kaserver::sys::Afs;
use crate::kaserver::{self, srvtab, sys::find_hosts_by};
use crate::krb5::{self, sys::Krb5};
use crate::logins::{Errand, Secret, Way};
use crate::membership;
use crate::message;
use crate::outcome::{Answer, Credentials, Fruit, Outcome, Refusal};
use crate::privilege;
use crate::proof::Leftovers;
use pag::CellServDb;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use weblog_proto::{Failure, Method};

/// Exit codes, for the broker's log only.
const CONFINED_NOT: u8 = 77;
const LIBRARY: u8 = 69;
const PIPES: u8 = 74;
/// Longest pause between the answer and the end.
const STILL: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// The whole life of an authenticator; the exit code.
#[must_use]
pub fn run(args: &AuthenticatorArgs) -> u8 {
    // Started through /proc/self/exe, it would be "exe" in ps; not worth failing for.
    let _ = rustix::thread::set_name(c"weblog-login");
    let mut log = Log::new("weblog-authenticator");
    if let Err(error) = privilege::confine_authenticator(args.parent) {
        log.write(message::NOT_CONFINED, format_args!("{error}"));
        return CONFINED_NOT;
    }
    let Ok(answer) = take_answer_pipe() else { return PIPES };
    let Ok(conf_dir) = CString::new(args.conf_dir.as_os_str().as_bytes()) else { return LIBRARY };
    let afs = match Afs::open(&conf_dir) {
        Ok(afs) => afs,
        Err(error) => {
            let cause = core::error::Error::source(&error).map(|c| format!(": {c}")).unwrap_or_default();
            log.write(
                message::NO_LIBAFSAUTHENT,
                format_args!("{error}{cause} ({})", args.conf_dir.display()),
            );
            return LIBRARY;
        }
    };
    let cells = match CellServDb::read(&args.conf_dir) {
        Ok(cells) => cells,
        Err(error) => {
            log.write(message::NO_CELL_SERV_DB, format_args!("{error}"));
            return LIBRARY;
        }
    };
    kaserver::warm_up(&afs, &cells);
    let mut krb5 = None;
    if args.krb5 {
        match Krb5::open() {
            Ok(library) => {
                if Path::new(krb5::CONFIGURATION).exists() {
                    library.warm_up();
                }
                krb5 = Some(library);
            }
            Err(error) => {
                log.write(message::NO_LIBKRB5, format_args!("{error}"));
                return LIBRARY;
            }
        }
    }
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
    let outcome: Answer = match (&order.errand, now_s()) {
        (Errand::Login { secret, lifetime_s, way }, Some(now_s)) => {
            let credentials =
                Credentials { who: &order.who, secret, lifetime_s: *lifetime_s, budget_s: order.budget_s };
            log_in(&afs, krb5.as_ref(), &cells, &credentials, way, now_s, &mut leftovers).map(Fruit::Login)
        }
        (Errand::Login { .. }, None) => Err(Refusal::local(Failure::ClockSkew)),
        (Errand::Group { token, group }, _) => {
            membership::ask(&afs, &cells, token, group, order.budget_s, &mut leftovers).map(Fruit::Group)
        }
    };
    drop(order);
    let Some(frame) = encode_answer(&outcome) else { return PIPES };
    drop(outcome);
    let written = write_all(&answer, frame.bytes());
    drop(frame);
    await_reader(&answer);
    drop(answer);
    // Acknowledges the servers' last replies, so that they need not send them again.
    drop(leftovers);
    if written.is_ok() { 0 } else { PIPES }
}

/// Logs in by the servers that the order names.
///
/// # Errors
/// [`Refusal`] with the step and the error number.
fn log_in<'a>(
    afs: &'a Afs,
    krb5: Option<&Krb5>,
    cells: &CellServDb,
    credentials: &Credentials<'_>,
    way: &Way,
    now_s: u32,
    leftovers: &mut Leftovers<'a>,
) -> Outcome {
    let unfit = Refusal::local(Failure::Internal);
    let of_realm = credentials.who.realm().is_some();
    let is_key = matches!(credentials.secret, Secret::KeyFile(_));
    let by_krb5 = match way.method {
        Method::Kaserver if of_realm => return Err(Refusal::local(Failure::NotAcceptable)),
        Method::Kaserver => false,
        Method::Krb5 => true,
        Method::Auto if is_key => is_keytab(credentials.secret),
        // Without a configuration, name servers are not asked for KDCs either.
        Method::Auto => of_realm || Path::new(krb5::CONFIGURATION).exists(),
    };
    if by_krb5 {
        let krb5 = krb5.ok_or(unfit)?;
        if !find_hosts_by(&hosts()) {
            return Err(unfit);
        }
        let outcome = krb5::login(krb5, afs, credentials, way, cells, now_s, leftovers);
        // Nothing has gone anywhere then: libkrb5 looks for a KDC first of all.
        let unknown = matches!(&outcome, Err(refusal) if refusal.failure == Failure::NoKdc);
        let elsewhere = way.method == Method::Auto && !of_realm && !is_key;
        if !(unknown && elsewhere) {
            return outcome;
        }
        if !find_hosts_by(c"files") {
            return Err(unfit);
        }
    }
    kaserver::login(afs, credentials, cells, now_s, leftovers)
}

/// Whether a key is for KDCs, by the kind of its file; of one that cannot be read a kaserver's login tells what is wrong.
fn is_keytab(secret: &Secret) -> bool {
    let Secret::KeyFile(path) = secret else { return false };
    srvtab::read(path).is_ok_and(|bytes| srvtab::is_keytab(&bytes))
}

/// Where this machine finds hosts, in the words of nsswitch.conf: KDCs may be named there by their names.
fn hosts() -> CString {
    let conf = std::fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    CString::new(hosts_line(&conf).unwrap_or("files dns")).unwrap_or_default()
}

/// What nsswitch.conf says of hosts.
fn hosts_line(conf: &str) -> Option<&str> {
    let line = conf.lines().find_map(|line| line.trim_start().strip_prefix("hosts:"))?;
    let services = line.split('#').next().unwrap_or_default().trim();
    (!services.is_empty()).then_some(services)
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

/// Keeps still until the broker has passed the answer on, which it says by closing its end: broker and asker may have to run
/// on this processor, and there is a good deal to be done before this process has ended.
fn await_reader(answer: &OwnedFd) {
    // The end of the other side is told without being asked for. If it takes long, there is no hurry either.
    let _ = poll(&mut [PollFd::new(answer, PollFlags::empty())], Some(&STILL));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_as_the_machine_says() {
        for (conf, want) in [
            (
                "passwd: files\nhosts:          files mdns4_minimal [NOTFOUND=return] dns # x\n",
                "files mdns4_minimal [NOTFOUND=return] dns",
            ),
            ("hosts: files", "files"),
        ] {
            assert_eq!(hosts_line(conf), Some(want));
        }
        for conf in ["", "#hosts: files", "hosts:", "passwd: files"] {
            assert_eq!(hosts_line(conf), None, "{conf:?}");
        }
    }
}
