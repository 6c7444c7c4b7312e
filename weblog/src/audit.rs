//! The log: one line per decision, never a secret; what a visitor typed is escaped.
//!
//! Standard error is httpd's error log. It may be a pipe that nobody reads at the moment; a line is dropped then
//! (and counted) rather than have everybody wait.

use core::fmt::{self, Write as _};
use core::time::Duration;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::BorrowedFd;
use std::net::IpAddr;
use std::os::fd::AsFd;
use weblog_proto::Failure;

use crate::message::{self, Message};
use crate::outcome::Step;

/// How important a line is. A line is written if it is no less important than the configured level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Something that an administrator must see to.
    Error = 0,
    /// Refused logins, cells that do not answer.
    Warn = 1,
    /// Logins, changes of configuration.
    Info = 2,
    /// Answers from memory.
    Debug = 3,
    /// Life of single processes.
    Trace = 4,
}

impl Level {
    /// As httpd calls it.
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace1",
        }
    }
}

/// One line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it says, and how important that is.
    pub message: Message,
    /// The text behind its id; has no control characters if made by this module.
    pub text: String,
}

/// How a request was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A token, and days until the password expires if it does.
    Granted(Option<u8>),
    /// None.
    Failed(Failure),
}

/// Where the decision was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Before anything else: names, allowed cells, no configuration.
    Checks,
    /// The cache, or the memory of refused logins.
    Memory,
    /// The limits of failed logins; the word of the one.
    Limit(&'static str),
    /// The cell has not answered lately, or too many wait.
    Busy(&'static str),
    /// A login: step, error number, milliseconds.
    Login(Step, i32, u64),
}

/// A decision as a line. `cell`: or realm. Both are as they were typed.
#[must_use]
pub fn decision(user: &str, cell: &str, address: IpAddr, verdict: Verdict, source: Source) -> Line {
    let message = match (verdict, source) {
        (Verdict::Granted(_), Source::Memory) => message::LOGIN_REMEMBERED,
        (Verdict::Granted(_), _) => message::LOGIN_GRANTED,
        (Verdict::Failed(_), Source::Memory) => message::FAILURE_REMEMBERED,
        (Verdict::Failed(_), _) => message::LOGIN_FAILED,
    };
    let outcome = match verdict {
        Verdict::Granted(_) => "granted",
        Verdict::Failed(failure) => failure.word(),
    };
    let mut text = format!("login {}@{} from {address}: {outcome}", Escaped(user), Escaped(cell));
    let written = match source {
        Source::Checks => Ok(()),
        Source::Memory => text.write_str(" (remembered)"),
        Source::Limit(word) | Source::Busy(word) => write!(text, " ({word})"),
        Source::Login(step, 0, took_ms) => write!(text, " (step {}, {took_ms} ms)", step.word()),
        Source::Login(step, code, took_ms) => {
            write!(text, " (step {}, error {code}, {took_ms} ms)", step.word())
        }
    };
    let written = written.and_then(|()| match verdict {
        Verdict::Granted(Some(days)) => write!(text, ", password expires in {days} days"),
        _ => Ok(()),
    });
    debug_assert!(written.is_ok(), "writing to a String");
    Line { message, text }
}

/// Text of others: printable ASCII as it is, the rest and the quoting characters as `\xNN`, cut at 64 bytes.
#[derive(Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for b in self.0.bytes().take(64) {
            if b.is_ascii_graphic() && b != b'\\' && b != b'"' {
                f.write_char(char::from(b))?;
            } else {
                write!(f, "\\x{b:02x}")?;
            }
        }
        if self.0.len() > 64 { f.write_str("...") } else { Ok(()) }
    }
}

/// Writes lines to standard error.
#[derive(Debug)]
pub struct Log {
    level: u8,
    name: &'static str,
    dropped: u64,
}

impl Log {
    /// One that writes errors to information until told otherwise.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self { level: Level::Info as u8, name, dropped: 0 }
    }

    /// Writes lines up to this level from now on.
    pub fn set_level(&mut self, level: u8) {
        self.level = level;
    }

    /// Writes a line if it is important enough.
    pub fn line(&mut self, line: &Line) {
        self.write(line.message, format_args!("{}", line.text));
    }

    /// Writes a line if it is important enough.
    pub fn write(&mut self, message: Message, text: fmt::Arguments<'_>) {
        let Message { id, level } = message;
        if level as u8 > self.level {
            return;
        }
        let dropped = core::mem::take(&mut self.dropped);
        let note = if dropped == 0 { String::new() } else { format!(" [{dropped} lines were lost before]") };
        let pid = rustix::process::getpid().as_raw_nonzero();
        let line = format!(
            "[{}] [{}:{}] [pid {pid}] {id}: {text}{note}\n",
            timestamp(rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec),
            self.name,
            level.word()
        );
        if !write_stderr(line.as_bytes()) {
            self.dropped = dropped.saturating_add(1);
        }
    }
}

/// Writes without waiting; says whether it did.
fn write_stderr(line: &[u8]) -> bool {
    let stderr = std::io::stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    let at_once = rustix::time::Timespec::try_from(Duration::ZERO).ok();
    let writable = poll(&mut fds, at_once.as_ref()).is_ok_and(|n| n == 1);
    let [entry] = fds;
    writable && entry.revents().contains(PollFlags::OUT) && write_once(stderr.as_fd(), line)
}

/// One write; a pipe that polls as writable takes `PIPE_BUF` bytes without waiting.
fn write_once(fd: BorrowedFd<'_>, line: &[u8]) -> bool {
    let end = line.len().min(4096);
    line.get(..end).is_some_and(|bytes| rustix::io::write(fd, bytes).is_ok_and(|n| n == bytes.len()))
}

/// Seconds since 1970 as `2026-11-22 02:31:25Z`.
fn timestamp(unix_s: i64) -> String {
    let days = unix_s.div_euclid(86_400);
    let second = unix_s.rem_euclid(86_400);
    // Civil date from days, with years that begin in March (so that a leap day is the last day of its year).
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_cannot_forge_a_line() {
        let line = decision(
            "alice\n[error] root",
            "exa\"mple\u{e9}\0",
            IpAddr::from([192, 0, 2, 7]),
            Verdict::Failed(Failure::NotAcceptable),
            Source::Checks,
        );
        assert_eq!(
            line.text,
            "login alice\\x0a[error]\\x20root@exa\\x22mple\\xc3\\xa9\\x00 from 192.0.2.7: not-acceptable"
        );
        assert_eq!(line.message, message::LOGIN_FAILED);
    }

    #[test]
    fn long_text_is_cut() {
        let line = decision(
            &"a".repeat(10_000),
            "c",
            IpAddr::from([192, 0, 2, 7]),
            Verdict::Granted(None),
            Source::Login(Step::Proof, 0, 12),
        );
        assert_eq!(
            line.text,
            format!("login {}...@c from 192.0.2.7: granted (step proof, 12 ms)", "a".repeat(64))
        );
    }

    #[test]
    fn error_numbers_are_named() {
        let line = decision(
            "a",
            "c",
            IpAddr::from([192, 0, 2, 7]),
            Verdict::Failed(Failure::WrongPassword),
            Source::Login(Step::Authenticate, 180_490, 12),
        );
        assert!(
            line.text.ends_with("wrong-password (step authenticate, error 180490, 12 ms)"),
            "{}",
            line.text
        );
    }

    #[test]
    fn dates() {
        for (s, text) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_827_696, "2000-02-29 12:34:56Z"),
            (1_795_314_685, "2026-11-22 02:31:25Z"),
            (4_107_542_400, "2100-03-01 00:00:00Z"),
        ] {
            assert_eq!(timestamp(s), text);
        }
    }
}
