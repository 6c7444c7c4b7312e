//! Lanes: pairs of pipes between workers and broker, each with its lock.
//!
//! Both pipes are in packet mode: a write of up to 4,096 bytes is one packet and a read returns one packet,
//! so there are no half frames, whoever dies when. All ends are non-blocking.

use crate::frame::{Assembler, FrameError, OneTimeKey, PACKET_MAX, Packet, RequestId};
use crate::versions::FRAMES;
use crate::{Reply, Request, frame};
use core::time::Duration;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::time::Instant;
use weblog_fds::{LockError, LockGuard, LockTable};
use zeroize::{Zeroize as _, Zeroizing};

/// How long a worker waits for one lane before it tries the next.
const SLICE: Duration = Duration::from_millis(20);
/// How many new brokers are asked in one exchange; so many do not follow each other within a deadline.
const ASKED_AGAIN_MAX: u32 = 8;

thread_local! {
    /// A number of this thread that its siblings, and threads of sibling processes, hardly have.
    static THREAD: usize = usize::try_from(rustix::thread::gettid().as_raw_nonzero().get()).unwrap_or(0);
}

/// The worker's ends of a lane.
#[derive(Debug)]
pub struct Lane {
    /// Write end of the request pipe.
    pub request: OwnedFd,
    /// Read end of the reply pipe.
    pub reply: OwnedFd,
}

/// The broker's ends of a lane.
#[derive(Debug)]
pub struct BrokerEnds {
    /// Read end of the request pipe.
    pub request: OwnedFd,
    /// Write end of the reply pipe.
    pub reply: OwnedFd,
}

/// Makes the pipes of a lane: packet mode, non-blocking, close-on-exec.
///
/// # Errors
/// The errno of pipe2(2).
pub fn pipes() -> std::io::Result<(Lane, BrokerEnds)> {
    let flags = PipeFlags::DIRECT | PipeFlags::NONBLOCK | PipeFlags::CLOEXEC;
    let (request_read, request_write) = pipe_with(flags)?;
    let (reply_read, reply_write) = pipe_with(flags)?;
    Ok((
        Lane { request: request_write, reply: reply_read },
        BrokerEnds { request: request_read, reply: reply_write },
    ))
}

/// Why an exchange gave no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaneError {
    /// No lane was free before the deadline.
    #[error("no lane was free in time")]
    Busy,
    /// The broker did not answer before the deadline.
    #[error("the broker did not answer in time")]
    Deadline,
    /// The same, and somebody there speaks frames of this version, which is not ours.
    #[error("the broker is of another version: its frames have version {0}, those of this child {FRAMES}")]
    OtherVersion(u8),
    /// A pipe or a lock does not work.
    #[error("lane is broken: errno {0}")]
    Broken(i32),
    /// The request cannot be sent, or its reply cannot be read.
    #[error("{0}")]
    Frame(#[from] FrameError),
}

/// All lanes of a worker's process.
#[derive(Debug)]
pub struct Lanes {
    /// The pipes.
    lanes: Vec<Lane>,
    /// Lock i belongs to lane i.
    locks: LockTable,
}

impl Lanes {
    /// Lanes with their locks, in the same order.
    #[must_use]
    pub fn new(lanes: Vec<Lane>, locks: LockTable) -> Self {
        Self { lanes, locks }
    }

    /// Number of lanes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lanes.len().min(self.locks.len())
    }

    /// No lane at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asks the broker, and waits for its reply until `deadline`.
    ///
    /// [`Reply::Pending`] is a reply like others: the caller waits, without a lane, and asks again.
    ///
    /// # Errors
    /// [`LaneError`]; the lane is in order for the next one whatever happened.
    pub fn exchange(&self, request: &Request, deadline: Instant) -> Result<Reply, LaneError> {
        // Checked before a lane is taken.
        let question = Question::new(request)?;
        let (lane, guard) = self.take(deadline)?;
        lane.ask(request, question, &guard, deadline)
    }

    /// Takes a free lane, or waits for one.
    ///
    /// # Errors
    /// [`LaneError::Busy`], or [`LaneError::Broken`] if no lock works.
    fn take(&self, deadline: Instant) -> Result<(&Lane, LockGuard), LaneError> {
        let n = self.len();
        if n == 0 {
            return Err(LaneError::Busy);
        }
        // Threads start at different lanes, also those of sibling processes.
        let start = THREAD.with(|t| *t);
        let at = |i: usize| start.wrapping_add(i) % n;
        let mut wait_for = 0usize;
        loop {
            let mut broken = 0;
            let mut errno = 0;
            for i in (0..n).map(at) {
                match (self.locks.try_lock(i), self.lanes.get(i)) {
                    (Ok(Some(guard)), Some(lane)) => return Ok((lane, guard)),
                    (Err(e), _) => {
                        broken += 1;
                        errno = lock_errno(e);
                    }
                    _ => {}
                }
            }
            if broken == n {
                return Err(LaneError::Broken(errno));
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(LaneError::Busy);
            }
            let i = at(wait_for);
            wait_for = wait_for.wrapping_add(1);
            if let (Ok(guard), Some(lane)) =
                (self.locks.lock(i, deadline.min(now + SLICE)), self.lanes.get(i))
            {
                return Ok((lane, guard));
            }
        }
    }
}

/// The errno of a lock that does not work.
fn lock_errno(e: LockError) -> i32 {
    match e {
        LockError::Errno(errno) => errno,
        _ => Errno::INVAL.raw_os_error(),
    }
}

/// A request that was or will be sent.
struct Question {
    /// Its id.
    id: RequestId,
    /// Its one-time key.
    key: OneTimeKey,
    /// The packet.
    packet: Zeroizing<Vec<u8>>,
}

impl Question {
    /// Draws id and key, and makes the packet.
    ///
    /// # Errors
    /// [`FrameError`].
    fn new(request: &Request) -> Result<Self, FrameError> {
        let (id, key) = frame::fresh()?;
        let packet = frame::encode_request(&id, &key, request)?;
        Ok(Self { id, key, packet })
    }
}

impl Lane {
    /// Asks the broker; the caller holds the lane's lock.
    ///
    /// # Errors
    /// [`LaneError`].
    fn ask(
        &self,
        request: &Request,
        mut question: Question,
        guard: &LockGuard,
        deadline: Instant,
    ) -> Result<Reply, LaneError> {
        let mut buffer = [0u8; PACKET_MAX];
        // After an exchange that came to its end nothing lies there but perhaps a hello, which is as good as a new one.
        let mut generation = if guard.is_finished() { 0 } else { self.drain(&mut buffer, deadline)? };
        guard.set_finished(false);
        self.write(&question.packet, deadline)?;
        let mut assembler = Assembler::new(question.id);
        let mut asked_again = 0;
        let mut other_version = None;
        loop {
            // The broker is never so quick that a look at the pipe before would find something.
            wait(&self.reply, PollFlags::IN, deadline).map_err(|e| match (e, other_version) {
                (LaneError::Deadline, Some(version)) => LaneError::OtherVersion(version),
                (e, _) => e,
            })?;
            let Some(bytes) = self.read(&mut buffer)? else { continue };
            let packet = match frame::parse_packet(bytes) {
                Ok(packet) => packet,
                // What cannot be read is nobody's reply; but it may say why there will be none.
                Err(e) => {
                    if let FrameError::Version(version) = e {
                        other_version = Some(version);
                    }
                    continue;
                }
            };
            if let Packet::Hello { generation: g } = packet {
                // A broker has started since the lane was drained: the request may have died with the one before.
                if g > generation && asked_again < ASKED_AGAIN_MAX {
                    asked_again += 1;
                    // The newest of several is enough.
                    generation = self.drain(&mut buffer, deadline)?;
                    question = Question::new(request)?;
                    assembler = Assembler::new(question.id);
                    self.write(&question.packet, deadline)?;
                }
                generation = generation.max(g);
            } else if assembler.push(&packet)? {
                // Where it was asked more than once, more than one reply may come.
                guard.set_finished(asked_again == 0);
                return Ok(assembler.open(&question.key)?);
            }
        }
    }

    /// Throws away what lies in the reply pipe. Returns the newest generation that announced itself there, or 0.
    ///
    /// # Errors
    /// [`LaneError`].
    fn drain(&self, buffer: &mut [u8; PACKET_MAX], deadline: Instant) -> Result<u64, LaneError> {
        let mut newest = 0;
        while let Some(bytes) = self.read(buffer)? {
            if let Ok(Packet::Hello { generation }) = frame::parse_packet(bytes) {
                newest = newest.max(generation);
            }
            // Who writes without end shall not hold us for ever.
            if Instant::now() >= deadline {
                return Err(LaneError::Deadline);
            }
        }
        Ok(newest)
    }

    /// One packet from the reply pipe; `None` = nothing there.
    ///
    /// # Errors
    /// [`LaneError::Broken`].
    fn read<'b>(&self, buffer: &'b mut [u8; PACKET_MAX]) -> Result<Option<&'b [u8]>, LaneError> {
        match read_packet(&self.reply, buffer) {
            Ok(Some(0)) => Err(LaneError::Broken(Errno::PIPE.raw_os_error())),
            Ok(Some(n)) => Ok(buffer.get(..n)),
            Ok(None) => Ok(None),
            Err(e) => Err(LaneError::Broken(e.raw_os_error())),
        }
    }

    /// Writes a packet into the request pipe, waiting while it is full.
    ///
    /// # Errors
    /// [`LaneError::Deadline`], [`LaneError::Broken`].
    fn write(&self, packet: &[u8], deadline: Instant) -> Result<(), LaneError> {
        loop {
            match write_packet(&self.request, packet) {
                Ok(true) => return Ok(()),
                Ok(false) => wait(&self.request, PollFlags::OUT, deadline)?,
                Err(e) => return Err(LaneError::Broken(e.raw_os_error())),
            }
        }
    }
}

/// Waits until something can be read or written.
///
/// # Errors
/// [`LaneError::Deadline`], [`LaneError::Broken`].
fn wait(fd: &OwnedFd, what: PollFlags, deadline: Instant) -> Result<(), LaneError> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(LaneError::Deadline);
        }
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(fd, what)], Some(&left)) {
            Ok(0) => return Err(LaneError::Deadline),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(LaneError::Broken(e.raw_os_error())),
        }
    }
}

/// Reads one packet; `Some(0)` = all writers are gone, `None` = nothing there.
///
/// # Errors
/// The errno of read(2).
fn read_packet(fd: impl AsFd, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
    loop {
        match rustix::io::read(fd.as_fd(), &mut *buffer) {
            Ok(n) => return Ok(Some(n)),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Writes one packet; false = no room.
///
/// # Errors
/// The errno of write(2); EMSGSIZE if it was cut, which a pipe never does up to 4,096 bytes.
fn write_packet(fd: impl AsFd, packet: &[u8]) -> Result<bool, Errno> {
    loop {
        match rustix::io::write(fd.as_fd(), packet) {
            Ok(n) if n == packet.len() => return Ok(true),
            Ok(_) => return Err(Errno::MSGSIZE),
            Err(Errno::AGAIN) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Why there is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// All who could ask are gone.
    #[error("nobody is left who could ask")]
    Closed,
    /// The pipe does not work.
    #[error("request pipe is broken: errno {0}")]
    Errno(i32),
    /// Somebody sent what is no request. The lane goes on.
    #[error("{0}")]
    Frame(#[from] FrameError),
}

/// What became of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It lies in the pipe.
    Done,
    /// No room: dropped. Its asker is dead or will ask again.
    Full,
    /// It cannot be sent (the error says why), or the pipe does not work (`None`): dropped.
    Refused(Option<FrameError>),
}

/// The broker's side of a lane. Never blocks.
#[derive(Debug)]
pub struct BrokerLane {
    /// Read end of the request pipe.
    request: OwnedFd,
    /// Write end of the reply pipe.
    reply: OwnedFd,
}

impl BrokerLane {
    /// From the read end of the request pipe and the write end of the reply pipe.
    #[must_use]
    pub fn new(request: OwnedFd, reply: OwnedFd) -> Self {
        Self { request, reply }
    }

    /// The next request; `None` = nothing there.
    ///
    /// # Errors
    /// [`RecvError::Frame`] costs its sender his answer and nobody else anything: count it and go on.
    /// The others mean that the lane is of no use any more.
    pub fn recv(&self) -> Result<Option<(RequestId, OneTimeKey, Request)>, RecvError> {
        let mut buffer = [0u8; PACKET_MAX];
        match read_packet(&self.request, &mut buffer) {
            Ok(None) => Ok(None),
            Ok(Some(0)) => Err(RecvError::Closed),
            Ok(Some(n)) => {
                // Only what was written is wiped: all of it would take longer than the rest of this call.
                let packet = buffer.get_mut(..n).unwrap_or_default();
                let request = frame::decode_request(packet);
                packet.zeroize();
                Ok(Some(request?))
            }
            Err(e) => Err(RecvError::Errno(e.raw_os_error())),
        }
    }

    /// Seals and sends a reply, or drops it. A key is good for one.
    pub fn send(&self, id: &RequestId, key: OneTimeKey, reply: &Reply) -> Sent {
        match frame::seal_reply(id, key, reply) {
            Ok(packets) => {
                packets.iter().map(|p| self.write(p)).find(|s| *s != Sent::Done).unwrap_or(Sent::Done)
            }
            Err(e) => Sent::Refused(Some(e)),
        }
    }

    /// Tells whoever waits on this lane that this broker is new.
    pub fn hello(&self, generation: u64) -> Sent {
        self.write(&frame::hello(generation))
    }

    /// Writes one packet or drops it.
    fn write(&self, packet: &[u8]) -> Sent {
        match write_packet(&self.reply, packet) {
            Ok(true) => Sent::Done,
            Ok(false) => Sent::Full,
            Err(_) => Sent::Refused(None),
        }
    }
}

impl From<BrokerEnds> for BrokerLane {
    fn from(ends: BrokerEnds) -> Self {
        Self::new(ends.request, ends.reply)
    }
}

impl AsFd for BrokerLane {
    /// The request pipe: readable when there is a request.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.request.as_fd()
    }
}
