//! Control messages: the first byte is the kind. The nanny looks no further into what it hands on.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};

/// Longest message: a configuration of 60 KiB behind its kind, and some room.
pub const MESSAGE_MAX: usize = 64 * 1024;

/// A configuration, to the one below.
pub const CONFIG: u8 = b'C';
/// Quit, to the one below.
pub const QUIT: u8 = b'Q';
/// Ready, with the generation, to the one above.
pub const READY: u8 = b'R';
/// The broker ended, with the reason, to the parent.
pub const DOWN: u8 = b'D';

/// An end of a control socket (SOCK_SEQPACKET); never blocks.
#[derive(Debug)]
pub struct Control(OwnedFd);

/// What has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// A message: its kind and what is behind it.
    Message(u8, Vec<u8>),
    /// Nothing now.
    Nothing,
    /// The other end is closed, or the socket does not work.
    Closed,
}

impl Control {
    /// Takes a socket.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// A fresh pair: ours, and one for the broker. Both are closed on exec.
    ///
    /// # Errors
    /// The errno of socketpair(2).
    pub fn pair() -> Result<(Self, OwnedFd), Errno> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(ours), theirs))
    }

    /// The next message.
    #[must_use]
    pub fn receive(&self) -> Received {
        let mut buffer = vec![0u8; MESSAGE_MAX];
        loop {
            match recv(&self.0, buffer.as_mut_slice(), RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
                Ok((_, 0)) => return Received::Closed,
                Ok((_, whole)) if whole > MESSAGE_MAX => {} // Too long for us: dropped.
                Ok((n, _)) => {
                    buffer.truncate(n);
                    let kind = buffer.first().copied().unwrap_or_default();
                    return Received::Message(kind, buffer.split_off(1.min(buffer.len())));
                }
                Err(Errno::AGAIN) => return Received::Nothing,
                Err(Errno::INTR) => {}
                Err(_) => return Received::Closed,
            }
        }
    }

    /// Sends a message. False = no room, or nobody there.
    ///
    /// # Errors
    /// `Errno::AGAIN` if there is no room now, others if it will never be sent.
    pub fn send(&self, kind: u8, rest: &[u8]) -> Result<(), Errno> {
        let message = [&[kind], rest].concat();
        loop {
            match send(&self.0, &message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn messages_come_whole_and_in_order_and_the_end_is_seen() {
        let (a, b) = Control::pair().unwrap();
        let b = Control::new(b);
        assert_eq!(b.receive(), Received::Nothing);
        let config = vec![7; 60 * 1024];
        a.send(CONFIG, &config).unwrap();
        a.send(QUIT, &[]).unwrap();
        assert_eq!(b.receive(), Received::Message(CONFIG, config));
        assert_eq!(b.receive(), Received::Message(QUIT, vec![]));
        drop(a);
        // Children of other tests have it, too, until they have become their programs.
        let end = Instant::now() + Duration::from_secs(20);
        while b.receive() == Received::Nothing {
            assert!(Instant::now() < end, "the end is not seen");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(b.receive(), Received::Closed);
        assert!(b.send(READY, &[1]).is_err());
    }

    #[test]
    fn a_full_socket_does_not_block_and_a_message_that_is_too_long_is_dropped() {
        let (a, b) = Control::pair().unwrap();
        let b = Control::new(b);
        a.send(CONFIG, &vec![1; MESSAGE_MAX]).unwrap();
        a.send(READY, &[2]).unwrap();
        assert_eq!(b.receive(), Received::Message(READY, vec![2]));
        let full = (0..10_000).find_map(|_| a.send(CONFIG, &[0; 1000]).err());
        assert_eq!(full, Some(Errno::AGAIN));
    }
}
