//! Both sides of a lane, and of a bare pipe pair of the same sizes, between two processes: for `cargo xtask bench`.

use crate::roles::EXECUTABLE;
use anyhow::{Context as _, Result, ensure};
use pag::{Cell, SessionKey, Token};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use weblog_fds::LockTable;
use weblog_proto::lane::{BrokerLane, Lanes, pipes};
use weblog_proto::{GetToken, Granted, Password, Reply, Request};
use zeroize::Zeroizing;

/// Bytes of a kaserver ticket, near enough.
const TICKET: usize = 64;
/// Bytes of a request of [`LanePair`] on the wire, and of its reply.
const SIZES: (usize, usize) = (81, 148);
/// Time for one exchange.
const LIMIT: Duration = Duration::from_secs(5);

/// What is exchanged.
fn request() -> Result<Request> {
    Ok(Request::GetToken(GetToken {
        realm: None,
        user: "alice".into(),
        cell: "cell.example".into(),
        password: Password::new(Zeroizing::new(b"wonderland".to_vec())).context("password")?,
        address: "192.0.2.1".parse()?,
        token_lifetime_s: 0,
        cache_expiration_s: 600,
    }))
}

fn reply() -> Result<Reply> {
    let token = Token {
        cell: Cell::new("cell.example")?,
        afs_id: 1001,
        kvno: 5,
        key: SessionKey([1; 8]),
        begin: 0,
        end: i64::from(u32::MAX),
        ticket: Zeroizing::new(vec![7; TICKET]),
    };
    Ok(Reply::Granted(Granted { token, name: "alice".to_owned(), valid_s: 600, password_expires_days: None }))
}

/// Keeps the calling thread, and what it starts, on one processor; given back when this goes.
///
/// Otherwise the kernel decides anew in each run whether asker and responder share a processor, which makes a factor of ten
/// on either side.
#[derive(Debug)]
pub struct OneProcessor(CpuSet);

impl OneProcessor {
    /// On the processor that the thread is on.
    ///
    /// # Errors
    /// The errno of sched_setaffinity(2).
    pub fn take() -> Result<Self> {
        let before = sched_getaffinity(None)?;
        let mut one = CpuSet::new();
        one.set(sched_getcpu());
        sched_setaffinity(None, &one)?;
        Ok(Self(before))
    }
}

impl Drop for OneProcessor {
    fn drop(&mut self) {
        // It stays on the one processor then.
        let _ = sched_setaffinity(None, &self.0);
    }
}

/// Starts this program under a role, with two descriptors as standard input and output.
fn responder(role: &str, input: OwnedFd, output: OwnedFd) -> Result<Child> {
    Command::new(EXECUTABLE)
        .arg(role)
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output))
        .spawn()
        .with_context(|| format!("responder {role}"))
}

/// A lane with a process at its other end that answers each request with a token.
#[derive(Debug)]
pub struct LanePair {
    lanes: Lanes,
    request: Request,
    child: Child,
}

impl LanePair {
    /// Starts it.
    ///
    /// # Errors
    /// Pipes or process cannot be made.
    pub fn start() -> Result<Self> {
        let (lane, broker) = pipes()?;
        let child = responder(crate::roles::LANE_RESPONDER, broker.request, broker.reply)?;
        Ok(Self { lanes: Lanes::new(vec![lane], LockTable::create(1)?), request: request()?, child })
    }

    /// One token over the lane.
    ///
    /// # Errors
    /// The exchange failed, or gave something else.
    pub fn exchange(&self) -> Result<Duration> {
        let begin = Instant::now();
        let reply = self.lanes.exchange(&self.request, begin + LIMIT)?;
        let took = begin.elapsed();
        ensure!(matches!(reply, Reply::Granted(_)), "no token");
        Ok(took)
    }
}

impl Drop for LanePair {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two pipes and a lock, and a process that answers so many bytes with so many bytes: the least that could be done.
#[derive(Debug)]
pub struct BarePair {
    locks: LockTable,
    write: std::fs::File,
    read: std::fs::File,
    child: Child,
}

impl BarePair {
    /// Starts it.
    ///
    /// # Errors
    /// Pipes or process cannot be made.
    pub fn start() -> Result<Self> {
        let (request_read, request_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (reply_read, reply_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let child = responder(crate::roles::BARE_RESPONDER, request_read, reply_write)?;
        Ok(Self { locks: LockTable::create(1)?, write: request_write.into(), read: reply_read.into(), child })
    }

    /// One exchange.
    ///
    /// # Errors
    /// The pipe's.
    pub fn exchange(&self) -> Result<Duration> {
        let (mut write, mut read) = (&self.write, &self.read);
        let begin = Instant::now();
        let guard = self.locks.lock(0, begin + LIMIT)?;
        write.write_all(&[1; SIZES.0])?;
        let mut buffer = [0; SIZES.1];
        read.read_exact(&mut buffer)?;
        drop(guard);
        Ok(begin.elapsed())
    }
}

impl Drop for BarePair {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Role: answers requests of a lane on standard input and output until it is killed or the pipe ends.
pub(crate) fn lane_responder() -> Result<ExitCode> {
    let lane = BrokerLane::new(
        std::io::stdin().as_fd().try_clone_to_owned()?,
        std::io::stdout().as_fd().try_clone_to_owned()?,
    );
    let answer = reply()?;
    loop {
        let fd = lane.as_fd();
        let mut polled = [PollFd::new(&fd, PollFlags::IN)];
        poll(&mut polled, None)?;
        if polled.iter().any(|p| p.revents().contains(PollFlags::HUP) && !p.revents().contains(PollFlags::IN))
        {
            return Ok(ExitCode::SUCCESS);
        }
        if let Some((id, key, _)) = lane.recv()? {
            lane.send(&id, key, &answer);
        }
    }
}

/// Role: answers bytes with bytes.
pub(crate) fn bare_responder() -> Result<ExitCode> {
    let (mut input, mut output) = (
        std::fs::File::from(std::io::stdin().as_fd().try_clone_to_owned()?),
        std::fs::File::from(std::io::stdout().as_fd().try_clone_to_owned()?),
    );
    let mut buffer = [0; SIZES.0];
    while input.read_exact(&mut buffer).is_ok() {
        output.write_all(&[2; SIZES.1])?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weblog_proto::frame::{encode_request, fresh, seal_reply};

    #[test]
    fn the_bare_side_moves_as_many_bytes_as_the_lane() {
        let (id, key) = fresh().unwrap();
        let request = encode_request(&id, &key, &request().unwrap()).unwrap().len();
        let reply: usize = seal_reply(&id, key, &reply().unwrap()).unwrap().iter().map(Vec::len).sum();
        let near = |a: usize, b: usize| a.abs_diff(b) < 32;
        assert!(near(request, SIZES.0) && near(reply, SIZES.1), "{request} {reply}");
    }
}
