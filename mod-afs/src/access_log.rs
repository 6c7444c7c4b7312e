//! Refused accesses: one line each, escaped, in the file or program of `SetAFSAccessLog`.
//!
//! Knows nothing of why an access was refused beyond the word that it is given.

use crate::httpd::{self, Pool, Server, mpm};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Longest escaped field. With the others a line stays below `PIPE_BUF`, so that one write is one line.
const FIELD_MAX: usize = 1024;

/// The open logs, by what `SetAFSAccessLog` says.
pub type Logs = BTreeMap<PathBuf, OwnedFd>;

/// What the parent has opened for the children that it forks.
static OPEN: Mutex<Logs> = Mutex::new(Logs::new());

/// Opens the logs of all servers, in the parent, as root; they are closed with `pconf`.
///
/// A value that begins with `|` is a program, which httpd starts and watches.
///
/// # Errors
/// Which log cannot be opened, and why.
pub fn open_all(main: Server<'_>, pconf: Pool<'_>) -> Result<(), String> {
    if mpm::pass() != mpm::Pass::Real {
        return Ok(());
    }
    let mut logs = Logs::new();
    for path in main.all().filter_map(|server| server.config().access_log()) {
        if !logs.contains_key(path) {
            let log = open(path, pconf).map_err(|e| format!("SetAFSAccessLog {}: {e}", path.display()))?;
            logs.insert(path.to_owned(), log);
        }
    }
    *OPEN.lock().unwrap_or_else(PoisonError::into_inner) = logs;
    pconf.at_end(|| drop(take()));
    Ok(())
}

/// Opens one log.
///
/// # Errors
/// The errno of open(2), or that the program does not start.
fn open(path: &Path, pconf: Pool<'_>) -> io::Result<OwnedFd> {
    match path.as_os_str().as_bytes().strip_prefix(b"|") {
        Some(program) => never_waiting(httpd::piped_log(pconf, &CString::new(program)?)?),
        None if path.is_absolute() => open_file(path),
        None => {
            let name = CString::new(path.as_os_str().as_bytes())?;
            open_file(&httpd::in_server_root(pconf, &name).ok_or(io::ErrorKind::InvalidFilename)?)
        }
    }
}

/// Opens a file, or a named pipe that somebody reads; never waits for anybody who would.
///
/// # Errors
/// The errno of open(2): ENXIO for a named pipe that nobody reads.
fn open_file(path: &Path) -> io::Result<OwnedFd> {
    let mut how = OpenOptions::new();
    let how = how.append(true).create(true).mode(0o640).custom_flags(libc::O_NONBLOCK);
    never_waiting(how.open(path)?.into())
}

/// A log whose reader does not read loses lines; no request waits for him.
///
/// # Errors
/// The errno of ioctl(2).
fn never_waiting(log: OwnedFd) -> io::Result<OwnedFd> {
    rustix::io::ioctl_fionbio(&log, true)?;
    Ok(log)
}

/// The open logs: of a child, which takes them over.
#[must_use]
pub fn take() -> Logs {
    core::mem::take(&mut *OPEN.lock().unwrap_or_else(PoisonError::into_inner))
}

/// One refused access.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    /// Seconds since 1970 UTC.
    pub time: i64,
    /// Where the visitor is.
    pub address: IpAddr,
    /// `user@cell` if he has shown who he is, or claimed to be.
    pub visitor: Option<&'a str>,
    /// As it came.
    pub method: &'a [u8],
    /// As it came.
    pub uri: &'a [u8],
    /// What he was answered.
    pub status: u16,
    /// Why, in one word.
    pub reason: &'a str,
}

impl Refused<'_> {
    /// The line, with its newline: time, address, visitor, method, URI, status and reason, parted by blanks.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = String::with_capacity(160);
        timestamp(&mut line, self.time);
        let _ = write!(line, " {} ", self.address);
        escape(&mut line, self.visitor.unwrap_or("-").as_bytes());
        line.push(' ');
        escape(&mut line, self.method);
        line.push_str(" \"");
        escape(&mut line, self.uri);
        let _ = write!(line, "\" {} ", self.status);
        escape(&mut line, self.reason.as_bytes());
        line.push('\n');
        line
    }

    /// Writes the line by one call. What cannot be written is lost: no request waits for its log.
    pub fn write_to(&self, log: BorrowedFd<'_>) {
        let _ = rustix::io::write(log.as_fd(), self.line().as_bytes());
    }
}

/// Appends `bytes` as printable ASCII without blanks, quotes and backslashes, at most [`FIELD_MAX`] bytes of it.
fn escape(line: &mut String, bytes: &[u8]) {
    let start = line.len();
    for byte in bytes {
        if line.len() - start >= FIELD_MAX - 4 {
            line.push_str("...");
            return;
        }
        if byte.is_ascii_graphic() && !b"\"\\".contains(byte) {
            line.push(char::from(*byte));
        } else {
            let _ = write!(line, "\\x{byte:02x}");
        }
    }
}

/// Year, month (1 to 12) and day of the month of a day, counted from 1 January 1970.
pub(crate) fn civil(days: i64) -> (i64, i64, i64) {
    // The days of a year that begins with March, in eras of 400 years (146,097 days); 719,468 = 1 March of year 0.
    let day = days.saturating_add(719_468);
    let (era, day_of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day_of_month)
}

/// Appends a time as `2026-11-22T02:31:23Z`.
fn timestamp(line: &mut String, time: i64) {
    let (days, second) = (time.div_euclid(86_400), time.rem_euclid(86_400));
    let (year, month, day_of_month) = civil(days);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    let _ = write!(line, "{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{:02}Z", second % 60);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::Ipv4Addr;

    fn refused<'a>(visitor: Option<&'a str>, uri: &'a [u8]) -> Refused<'a> {
        Refused {
            time: 1_795_314_683,
            address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
            visitor,
            method: b"GET",
            uri,
            status: 403,
            reason: "no-right",
        }
    }

    #[test]
    fn line_names_who_what_and_why() {
        assert_eq!(
            refused(Some("alice@example.com"), b"/afs/example.com/user/bob").line(),
            "2026-11-22T02:31:23Z 192.0.2.7 alice@example.com GET \"/afs/example.com/user/bob\" 403 no-right\n"
        );
        assert!(refused(None, b"/").line().contains(" - GET "));
    }

    #[test]
    fn d18_nothing_in_a_request_forges_a_line_or_a_field() {
        let line = refused(Some("a b\n"), b"/x\" 200 ok\r\n2026 forged\\\x00\xff").line();
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(line.matches('"').count(), 2);
        assert!(line.contains(r"/x\x22\x20200\x20ok\x0d\x0a2026\x20forged\x5c\x00\xff"), "{line}");
        assert!(line.contains(r" a\x20b\x0a "), "{line}");
    }

    #[test]
    fn d18_the_longest_line_is_one_write_to_a_pipe() {
        let long = vec![0xFF; 100_000];
        let name = "n".repeat(10_000);
        let line = Refused { method: &long, ..refused(Some(&name), &long) }.line();
        assert!(line.len() < 4_096, "{}", line.len());
        assert!(line.ends_with("...\" 403 no-right\n"), "{line}");
    }

    #[test]
    fn times_are_right_before_1970_and_after_2038() {
        for (time, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (2_147_483_648, "2038-01-19T03:14:08Z"),
            (4_294_967_296, "2106-02-07T06:28:16Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            let mut line = String::new();
            timestamp(&mut line, time);
            assert_eq!(line, text);
        }
        timestamp(&mut String::new(), i64::MAX);
        timestamp(&mut String::new(), i64::MIN);
    }

    #[test]
    fn no_request_waits_for_whoever_should_read_the_log() {
        let (tell, told) = std::sync::mpsc::channel();
        let (reader, writer) = std::io::pipe().unwrap();
        std::thread::spawn(move || {
            let log = never_waiting(writer.into()).unwrap();
            // More than a pipe holds.
            for _ in 0..20_000 {
                refused(None, b"/").write_to(log.as_fd());
            }
            tell.send(())
        });
        assert_eq!(told.recv_timeout(std::time::Duration::from_secs(20)), Ok(()));
        drop(reader);
    }

    #[test]
    fn a_named_pipe_that_nobody_reads_is_an_error_at_start_and_not_a_wait() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("log");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || tell.send(open_file(&fifo).map(drop).map_err(|e| e.raw_os_error())));
        assert_eq!(told.recv_timeout(std::time::Duration::from_secs(20)), Ok(Err(Some(libc::ENXIO))));
    }

    #[test]
    fn write_is_one_line_to_the_descriptor() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        refused(None, b"/").write_to(writer.as_fd());
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, refused(None, b"/").line());
    }
}
