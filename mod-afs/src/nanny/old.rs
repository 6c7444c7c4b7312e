//! Nanny and broker of another version: they go on for the children of their version, and end when those have gone.
//!
//! All that is known of them is what means the same in each version of the record:
//!
//! | name | value |
//! |---|---|
//! | `versions` | what nanny, broker and children have in common, as `name=number` |
//! | `nanny` | its process; 0 = none |
//! | `control` | our end of the control socket: whoever shuts it down ends nanny and broker; -1 = none |
//! | `probe` | a descriptor that polls as hung up when the children have gone |
//! | `open` | all descriptors, but those of `control` and `old` |
//! | `old` | process, control socket, probe and the time (milliseconds since boot) of the end of one that was replaced; for each |

use super::now_ms;
use super::record::{Record, numbers};
use crate::httpd::KeptFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// Requests that old children still serve may ask their broker for so long.
const PATIENCE_MS: u64 = 10 * 60 * 1_000;

/// A nanny that was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Old {
    /// Its process.
    pub(super) nanny: i32,
    /// Our end of its control socket; -1 = closed, it is about to end.
    control: i32,
    /// Hung up when its children have gone; -1 = none.
    probe: i32,
    /// It ends at this time at the latest.
    until_ms: u64,
}

/// Why one that was replaced is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// No child of its version is left.
    NobodyLeft,
    /// A child has outlived its patience.
    TooLong,
}

impl Old {
    /// What `record`, of whatever version, says of nanny and descriptors. Closes those that nobody needs any more.
    pub(super) fn take_over(record: &Record) -> Vec<Self> {
        let mut all = Self::all_of(record);
        let number = |name| record.number(name).unwrap_or(-1);
        let mut one = Self {
            nanny: record.number("nanny").unwrap_or(0),
            control: number("control"),
            probe: number("probe"),
            until_ms: now_ms().saturating_add(PATIENCE_MS),
        };
        for fd in record.numbers::<i32>("open").into_iter().filter(|fd| *fd != one.probe) {
            KeptFd::with_number(fd).close();
        }
        if one.nanny == 0 || one.control < 0 {
            one.let_go();
        } else {
            all.push(one);
        }
        all
    }

    /// Those that a record knows of.
    pub(super) fn all_of(record: &Record) -> Vec<Self> {
        let one = |value| match *numbers::<i64>(value).as_slice() {
            [nanny, control, probe, until, ..] => Some(Self {
                nanny: i32::try_from(nanny).ok()?,
                control: i32::try_from(control).ok()?,
                probe: i32::try_from(probe).ok()?,
                until_ms: u64::try_from(until).ok()?,
            }),
            _ => None,
        };
        record.all("old").filter_map(one).collect()
    }

    /// Into a record.
    pub(super) fn put_into(&self, record: &mut Record) {
        record.put("old", format_args!("{} {} {} {}", self.nanny, self.control, self.probe, self.until_ms));
    }

    /// Whether it is to end now.
    pub(super) fn is_due(&self, now_ms: u64) -> Option<Why> {
        if self.control < 0 {
            None
        } else if self.is_left_alone() {
            Some(Why::NobodyLeft)
        } else {
            (now_ms >= self.until_ms).then_some(Why::TooLong)
        }
    }

    /// Have all gone who could ask its broker?
    fn is_left_alone(&self) -> bool {
        let Ok(probe) = KeptFd::with_number(self.probe).dup() else { return false };
        let mut fds = [PollFd::new(&probe, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok_and(|n| n > 0)
            && fds.iter().any(|fd| fd.revents().contains(PollFlags::HUP))
    }

    /// Is there still such a process? One that has taken its number counts, too.
    pub(super) fn is_there(&self) -> bool {
        Pid::from_raw(self.nanny).is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
    }

    /// Ends it. Only the parent may.
    pub(super) fn end(&mut self) {
        KeptFd::with_number(self.control).hang_up();
        self.control = -1;
        self.let_go();
    }

    /// Closes what this process has of it.
    pub(super) fn let_go(&mut self) {
        for number in [&mut self.control, &mut self.probe] {
            KeptFd::with_number(*number).close();
            *number = -1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record whose lane has these writers, and the nanny's end of the control socket.
    fn record() -> (Record, std::os::fd::OwnedFd, std::os::fd::OwnedFd) {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let (ours, theirs) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let probe = KeptFd::keep(read).number();
        let board = KeptFd::keep(std::fs::File::open("/dev/null").unwrap().into()).number();
        let mut record = Record::default();
        record.put("versions", "frames=99");
        record.put("nanny", std::process::id());
        record.put("control", KeptFd::keep(ours).number());
        record.put("probe", probe);
        record.put_all("open", [probe, board]);
        (record, write, theirs)
    }

    fn is_closed(theirs: &std::os::fd::OwnedFd) -> bool {
        let flags = rustix::net::RecvFlags::DONTWAIT;
        matches!(rustix::net::recv(theirs, &mut [0u8; 1], flags), Ok((_, 0)))
    }

    #[test]
    fn one_that_was_replaced_ends_when_the_last_who_could_ask_it_has_gone() {
        let (record, write, theirs) = record();
        let mut old = Old::take_over(&record);
        assert_eq!(old.len(), 1);
        let mut kept = Record::default();
        old[0].put_into(&mut kept);
        assert_eq!(Old::all_of(&kept), old, "it survives a restart");
        assert!(old[0].is_there() && !is_closed(&theirs));
        assert_eq!(old[0].is_due(now_ms()), None);
        assert_eq!(old[0].is_due(now_ms() + PATIENCE_MS), Some(Why::TooLong));
        drop(write);
        assert_eq!(old[0].is_due(now_ms()), Some(Why::NobodyLeft));
        // As a process has it that was forked.
        let copy = KeptFd::with_number(old[0].control).dup().unwrap();
        let mut childs = old.clone();
        childs[0].control = KeptFd::keep(copy.try_clone().unwrap()).number();
        childs[0].probe = -1;
        childs[0].let_go();
        assert!(!is_closed(&theirs), "a child ends nobody");
        old[0].end();
        assert!(is_closed(&theirs), "whoever has a copy");
        assert_eq!(old[0].is_due(u64::MAX), None, "once");
    }

    #[test]
    fn where_there_is_no_nanny_all_is_closed_at_once() {
        let (record, _write, theirs) = record();
        let mut without = record.others(&["nanny"]);
        without.put("nanny", 0);
        assert_eq!(Old::take_over(&without), []);
        assert!(is_closed(&theirs));
    }
}
