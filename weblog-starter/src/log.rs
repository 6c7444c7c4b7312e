//! The log: lines to standard error, which is httpd's error log. A reader who does not read loses lines; the nanny never waits for him.

use crate::message::Message;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, AsRawFd as _, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags};
use std::{fmt, io};
use tracing::{Level, error, info, warn};

/// Sees to it that neither we nor those whom we start can wait for the reader of a log that is a pipe.
///
/// All of httpd writes into that pipe, so that one that polls as writable may be full a moment later. Ours is opened
/// anew: it is the same pipe, but not blocking for us alone.
pub fn never_wait_for_its_reader() {
    if let Some(own) = opened_anew(io::stderr()) {
        // Nothing is lost if it fails: then we have the old one, and look before we write.
        let _ = rustix::stdio::dup2_stderr(own);
    }
}

/// The pipe behind `fd` once more, not blocking; `None` if it is no pipe, or cannot be opened.
fn opened_anew(fd: impl AsFd) -> Option<OwnedFd> {
    let about = rustix::fs::fstat(&fd).ok()?;
    if FileType::from_raw_mode(about.st_mode) != FileType::Fifo {
        return None;
    }
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    rustix::fs::open(path, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// Writes a line.
pub fn say(message: Message, text: fmt::Arguments<'_>) {
    match message.level {
        Level::ERROR => error!("weblog-starter: {}: {text}", message.id),
        Level::WARN => warn!("weblog-starter: {}: {text}", message.id),
        _ => info!("weblog-starter: {}: {text}", message.id),
    }
}

/// Writes what can be written at once, and drops the rest.
#[derive(Debug)]
pub struct Lossy<F>(pub F);

/// Most bytes that a pipe which polls as writable takes without waiting (`PIPE_BUF`).
const AT_ONCE: usize = 4096;

impl<F: AsFd> io::Write for Lossy<F> {
    /// Says that all of it was written, since nobody can do anything about what was not.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut fds = [PollFd::new(&self.0, PollFlags::OUT)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let writable = poll(&mut fds, Some(&now)).is_ok_and(|n| n == 1);
        let [entry] = fds;
        if writable && entry.revents().contains(PollFlags::OUT) {
            let piece = line.get(..AT_ONCE).unwrap_or(line);
            let _ = rustix::io::write(&self.0, piece);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::time::Duration;

    #[test]
    fn lines_arrive() {
        let (mut reader, writer) = io::pipe().unwrap();
        Lossy(writer).write_all(b"one line\n").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one line\n");
    }

    #[test]
    fn a_full_pipe_opened_anew_refuses_at_once_and_the_old_one_still_blocks() {
        let (reader, writer) = io::pipe().unwrap();
        let own = opened_anew(&writer).unwrap();
        while rustix::io::write(&own, &[b'x'; 4096]).is_ok() {}
        assert_eq!(rustix::io::write(&own, b"x"), Err(rustix::io::Errno::AGAIN));
        assert!(!rustix::fs::fcntl_getfl(&writer).unwrap().contains(OFlags::NONBLOCK));
        drop(reader);
        assert!(opened_anew(std::fs::File::open("/dev/null").unwrap()).is_none());
    }

    #[test]
    fn a_log_that_nobody_reads_holds_nobody() {
        let (reader, writer) = io::pipe().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut log = Lossy(writer);
            // More than a pipe holds.
            for _ in 0..20_000 {
                log.write_all(b"a line that nobody reads\n").unwrap();
            }
            tell.send(())
        });
        assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok(()));
        drop(reader);
    }
}
