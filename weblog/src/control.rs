//! The administrator's socket: one datagram in, one out. Nobody there can hold the broker up.

use crate::audit::{Escaped, Log};
use crate::dispatch::{Behind, Target};
use crate::message;
use pag::{Cell, Principal};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Uid, geteuid};
use std::path::Path;

/// Connections at the same time; further ones are closed at once.
const CONNECTIONS: usize = 8;
/// A connection that says nothing is closed after so long.
const SILENCE_MS: u64 = 5_000;
/// Longest message.
const MESSAGE: usize = 4096;

/// What an administrator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Forget somebody.
    Forget(Target),
    /// Tell how things are.
    Status,
}

/// Reads a message.
///
/// # Errors
/// What is wrong with it, for the administrator.
pub fn parse(message: &str) -> Result<Command, String> {
    match message.trim().split_once(' ').unwrap_or((message.trim(), "")) {
        ("status", "") => Ok(Command::Status),
        ("forget", "*") => Ok(Command::Forget(Target::All)),
        ("forget", whom) => {
            let Some((user, cell)) = whom.trim().rsplit_once('@') else {
                return Err("forget whom? USER@CELL, USER@REALM, @CELL, @REALM or *".to_owned());
            };
            let behind = Behind::new(cell).map_err(|why| why.to_string())?;
            if user.is_empty() {
                return Ok(Command::Forget(Target::Every(behind)));
            }
            let any = Cell::new("x").map_err(|why| why.to_string())?;
            Principal::new(user, any)
                .map(|who| Command::Forget(Target::User(who.name().to_owned(), behind)))
                .map_err(|why| why.to_string())
        }
        _ => Err("commands are: forget USER@CELL, forget @CELL, forget *, status".to_owned()),
    }
}

/// A connection that has not said anything yet.
struct Connection {
    fd: OwnedFd,
    since_ms: u64,
}

/// The listening socket and its connections.
pub struct Control {
    listener: OwnedFd,
    connections: Vec<Connection>,
}

impl core::fmt::Debug for Control {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Control").field("connections", &self.connections.len()).finish_non_exhaustive()
    }
}

/// A command, and where its answer goes.
#[derive(Debug)]
pub struct Asked {
    fd: OwnedFd,
    /// What is wanted.
    pub command: Command,
    /// Who wants it.
    pub uid: u32,
}

impl Control {
    /// Takes the listening socket over.
    ///
    /// # Errors
    /// If it cannot be made non-blocking.
    pub fn new(listener: OwnedFd) -> Result<Self, Errno> {
        rustix::io::ioctl_fionbio(&listener, true)?;
        Ok(Self { listener, connections: Vec::new() })
    }

    /// Its descriptors.
    pub fn poll_fds<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        fds.push(PollFd::new(&self.listener, PollFlags::IN));
        for c in &self.connections {
            fds.push(PollFd::new(&c.fd, PollFlags::IN));
        }
    }

    /// When a silent connection is to be closed.
    #[must_use]
    pub fn next_turn_ms(&self) -> Option<u64> {
        self.connections.iter().map(|c| c.since_ms.saturating_add(SILENCE_MS)).min()
    }

    /// Accepts, reads, closes. Never waits.
    pub fn turn(&mut self, now_ms: u64, log: &mut Log) -> Vec<Asked> {
        // One more than fit, so that the surplus is told off and not left in the queue.
        for _ in 0..=CONNECTIONS {
            match rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(fd) if self.connections.len() < CONNECTIONS => {
                    self.connections.push(Connection { fd, since_ms: now_ms });
                }
                Ok(fd) => answer(&fd, "busy\n"),
                Err(_) => break,
            }
        }
        let mut asked = Vec::new();
        let mut silent = Vec::new();
        for c in core::mem::take(&mut self.connections) {
            let mut buffer = [0u8; MESSAGE];
            match rustix::net::recv(&c.fd, &mut buffer, RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN | Errno::INTR) if now_ms < c.since_ms.saturating_add(SILENCE_MS) => {
                    silent.push(c)
                }
                Ok((n, _)) if n > 0 => {
                    let text = buffer.get(..n).and_then(|b| core::str::from_utf8(b).ok()).unwrap_or("");
                    asked.extend(heard(c.fd, text, log));
                }
                _ => {}
            }
        }
        self.connections = silent;
        asked
    }
}

/// Who says what; answers at once if it is nothing or nobody.
fn heard(fd: OwnedFd, text: &str, log: &mut Log) -> Option<Asked> {
    let uid = rustix::net::sockopt::socket_peercred(&fd).ok()?.uid;
    if uid != Uid::ROOT && uid != geteuid() {
        log.write(message::NO_ADMINISTRATOR, format_args!("uid {} is no administrator", uid.as_raw()));
        answer(&fd, "error: only root and the broker's own user may\n");
        return None;
    }
    match parse(text) {
        Ok(command) => Some(Asked { fd, command, uid: uid.as_raw() }),
        Err(why) => {
            log.write(message::BAD_ORDER, format_args!("administrator said {}: {why}", Escaped(text)));
            answer(&fd, &format!("error: {why}\n"));
            None
        }
    }
}

impl Asked {
    /// Answers; drops the answer if the administrator does not take it.
    pub fn answer(self, text: &str) {
        answer(&self.fd, text);
    }
}

/// Sends without waiting.
fn answer(fd: &OwnedFd, text: &str) {
    let _ = rustix::net::send(fd, text.as_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}

/// The administrator's side: sends `message` to the broker at `socket`; its answer.
///
/// # Errors
/// The calls'.
pub fn ask(socket: &Path, message: &str) -> std::io::Result<String> {
    let fd =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let patience = Some(core::time::Duration::from_secs(10));
    rustix::net::sockopt::set_socket_timeout(&fd, rustix::net::sockopt::Timeout::Recv, patience)?;
    rustix::net::sockopt::set_socket_timeout(&fd, rustix::net::sockopt::Timeout::Send, patience)?;
    rustix::net::connect(&fd, &SocketAddrUnix::new(socket)?)?;
    rustix::net::send(&fd, message.as_bytes(), SendFlags::NOSIGNAL)?;
    let mut buffer = vec![0u8; 65_536];
    let (n, _) = rustix::net::recv(&fd, buffer.as_mut_slice(), RecvFlags::empty())?;
    if n == 0 {
        return Err(std::io::Error::other("the broker closed the connection"));
    }
    buffer.truncate(n);
    Ok(String::from_utf8_lossy(&buffer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        let behind = |name: &str| Behind::new(name).unwrap();
        let alice = Target::User("alice".to_owned(), behind("Example.com"));
        assert_eq!(parse("forget alice@Example.com\n"), Ok(Command::Forget(alice)));
        assert_eq!(parse("forget @example.com"), Ok(Command::Forget(Target::Every(behind("example.com")))));
        assert_eq!(parse("forget *"), Ok(Command::Forget(Target::All)));
        assert_eq!(parse("status"), Ok(Command::Status));
        for bad in
            ["", "forget", "forget alice", "forget a b@c", "forget a@", "status now", "quit", "forget **"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    /// A listening socket in a directory of its own.
    fn listening() -> (tempfile::TempDir, std::path::PathBuf, Control) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let fd =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        rustix::net::bind(&fd, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&fd, 16).unwrap();
        (dir, path, Control::new(fd).unwrap())
    }

    #[test]
    fn an_administrator_is_heard_and_answered() {
        let (_dir, path, mut control) = listening();
        let client = std::thread::spawn(move || ask(&path, "status").unwrap());
        let mut log = Log::new("test");
        let asked = loop {
            if let Some(asked) = control.turn(0, &mut log).pop() {
                break asked;
            }
            std::thread::yield_now();
        };
        assert_eq!(asked.command, Command::Status);
        asked.answer("fine\n");
        assert_eq!(client.join().unwrap(), "fine\n");
    }

    #[test]
    fn silent_connections_are_closed_and_never_waited_for() {
        let (_dir, path, mut control) = listening();
        let mut log = Log::new("test");
        let connect = || {
            let fd = rustix::net::socket_with(
                AddressFamily::UNIX,
                SocketType::SEQPACKET,
                SocketFlags::CLOEXEC,
                None,
            )
            .unwrap();
            rustix::net::connect(&fd, &SocketAddrUnix::new(&path).unwrap()).unwrap();
            fd
        };
        let silent: Vec<OwnedFd> = (0..CONNECTIONS + 2).map(|_| connect()).collect();
        assert!(control.turn(0, &mut log).is_empty());
        assert_eq!(control.connections.len(), CONNECTIONS);
        assert_eq!(control.next_turn_ms(), Some(SILENCE_MS));
        assert!(control.turn(SILENCE_MS, &mut log).is_empty());
        assert_eq!(control.connections.len(), 0);
        drop(silent);
    }
}
