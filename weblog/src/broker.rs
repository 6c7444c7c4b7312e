//! The broker's one loop: lanes, authenticators, the nanny's messages, administrators, timers.

use crate::args::BrokerArgs;
use crate::audit::Log;
use crate::authenticator::{Plan, Pool};
use crate::clock::Now;
use crate::config::Settings;
use crate::control::{Command, Control};
use crate::dispatch::{Dispatch, Effect};
use crate::error::Error;
use crate::message;
use crate::privilege::{self, RunAs};
use afsweb_cache::VerifierKey;
use core::time::Duration;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use weblog_fds::{BEAT_MS, BoardWriter, layout, versions};
use weblog_proto::lane::{BrokerLane, RecvError, Sent};
use weblog_proto::versions::of_broker;
use weblog_proto::{BrokerConfig, COUNTERS, OneTimeKey, RequestId};

/// Requests taken from one lane before the others get their turn; a lane has one asker, so more is not honest.
const REQUESTS_PER_TURN: usize = 4;
/// Longest pause of the loop.
const PAUSE_MAX_MS: u64 = BEAT_MS;
/// How an asker is answered.
struct Asker {
    id: RequestId,
    key: OneTimeKey,
}

/// Everything the broker has.
struct Broker {
    control: OwnedFd,
    board: BoardWriter,
    lanes: Vec<Option<BrokerLane>>,
    admin: Control,
    pool: Pool,
    dispatch: Dispatch<Asker>,
    log: Log,
    generation: u64,
    told_ready: bool,
    bad_frames: u64,
    dropped_replies: u64,
}

/// Why the loop goes on or ends.
enum Next {
    Go,
    Quit(&'static str),
}

/// The whole life of a broker.
///
/// # Errors
/// [`Error`] says what went wrong; its exit code tells the nanny whether to start another one.
pub fn run(args: &BrokerArgs, log: &mut Log) -> Result<(), Error> {
    if let Some(expected) = args.expects.as_deref()
        && !versions::fits(&of_broker(), expected)
    {
        // Before anything is touched: nobody would be understood.
        return Err(Error::OtherVersion { own: of_broker(), expected: expected.to_owned() });
    }
    privilege::let_signals_end_it();
    // The name of the file that it was started by may be a number (see the nanny).
    let _ = rustix::thread::set_name(c"weblog");
    let parent = rustix::process::getppid();
    // Before anything is opened, so that nothing of ours has one of these numbers.
    weblog_fds::close_from(layout::end(args.lanes))
        .map_err(|e| Error::Descriptor(layout::end(args.lanes), fd_error(e)))?;
    let take = |fd| weblog_fds::take(fd).map_err(|e| Error::Descriptor(fd, fd_error(e)));
    let control = take(layout::CONTROL)?;
    let board = take(layout::BOARD)?;
    let listener = take(layout::LISTENER)?;
    let mut lanes = Vec::with_capacity(args.lanes);
    for i in 0..args.lanes {
        let request = take(layout::lane_request(i))?;
        let reply = take(layout::lane_reply(i))?;
        for fd in [&request, &reply] {
            rustix::io::ioctl_fionbio(fd, true)
                .map_err(|e| Error::System("making a lane non-blocking", e))?;
        }
        lanes.push(Some(BrokerLane::new(request, reply)));
    }
    let board = BoardWriter::map(board).map_err(|e| Error::Descriptor(layout::BOARD, fd_error(e)))?;
    // The user database may let us wait: not longer than the nanny lives.
    privilege::die_with_parent(parent)?;
    let user = RunAs::find(&args.user)?;
    let missing = privilege::drop_all(user, parent)?;
    for what in missing.0 {
        log.write(message::NOT_PROTECTED, format_args!("{what}"));
    }
    let admin =
        Control::new(listener).map_err(|e| Error::System("making the control socket non-blocking", e))?;
    let key = VerifierKey::random().map_err(|_| Error::Random)?;
    let dispatch = Dispatch::new(key, lanes.len());
    let mut broker = Broker {
        control,
        board,
        lanes,
        admin,
        pool: Pool::new(),
        dispatch,
        log: core::mem::replace(log, Log::new("weblog")),
        generation: args.generation,
        told_ready: false,
        bad_frames: 0,
        dropped_replies: 0,
    };
    broker.announce();
    let why = broker.serve();
    broker.board.set_ready(false);
    *log = broker.log;
    let why = why?;
    log.write(message::BROKER_ENDS, format_args!("broker of generation {} ends: {why}", args.generation));
    Ok(())
}

/// The error of a descriptor as an I/O error, which keeps its text.
fn fd_error(error: weblog_fds::Error) -> std::io::Error {
    std::io::Error::other(error)
}

impl Broker {
    /// Tells everybody that there is a new broker: what was asked of the one before is lost.
    fn announce(&mut self) {
        self.board.set_generation(self.generation);
        for lane in self.lanes.iter().flatten() {
            let _ = lane.hello(self.generation);
        }
        self.log.write(
            message::BROKER_SERVES,
            format_args!("broker of generation {} serves {} lanes", self.generation, self.lanes.len()),
        );
    }

    /// The loop; why it ended.
    ///
    /// # Errors
    /// A bad configuration, or poll's.
    fn serve(&mut self) -> Result<&'static str, Error> {
        loop {
            self.board.beat();
            let now = Now::read();
            self.dispatch.tick(now);
            self.settle(now);
            self.wait(now)?;
            let now = Now::read();
            // The nanny first: what she says decides about the rest.
            if let Next::Quit(why) = self.hear_nanny(now)? {
                return Ok(why);
            }
            self.take_requests(now);
            self.hear_administrators(now);
        }
    }

    /// Waits until something happens or is due.
    ///
    /// # Errors
    /// poll's.
    fn wait(&self, now: Now) -> Result<(), Error> {
        let due = [self.dispatch.next_tick_ms(), self.pool.next_turn_ms(), self.admin.next_turn_ms()];
        let pause_ms = due
            .into_iter()
            .flatten()
            .min()
            .map_or(PAUSE_MAX_MS, |at| at.saturating_sub(now.ms).min(PAUSE_MAX_MS));
        let mut fds = vec![PollFd::new(&self.control, PollFlags::IN)];
        for lane in self.lanes.iter().flatten() {
            fds.push(PollFd::from_borrowed_fd(lane.as_fd(), PollFlags::IN));
        }
        self.admin.poll_fds(&mut fds);
        self.pool.poll_fds(&mut fds);
        let timeout = Timespec::try_from(Duration::from_millis(pause_ms)).ok();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR | Errno::AGAIN | Errno::NOMEM) => Ok(()),
            Err(errno) => Err(Error::System("poll", errno)),
        }
    }

    /// Reads the nanny's messages.
    ///
    /// # Errors
    /// A configuration that cannot be used.
    fn hear_nanny(&mut self, now: Now) -> Result<Next, Error> {
        loop {
            // No longer than a configuration can be; allocated only when there is something.
            let mut head = [0u8; 1];
            match rustix::net::recv(&self.control, &mut head, RecvFlags::DONTWAIT | RecvFlags::PEEK) {
                Err(Errno::AGAIN) => return Ok(Next::Go),
                Err(Errno::INTR) => continue,
                Err(_) | Ok((0, _)) => return Ok(Next::Quit("the nanny is gone")),
                Ok(_) => {}
            }
            let mut message = vec![0u8; BrokerConfig::BYTES_MAX.saturating_add(2)];
            let Ok((n, _)) = rustix::net::recv(&self.control, message.as_mut_slice(), RecvFlags::DONTWAIT)
            else {
                continue;
            };
            message.truncate(n);
            match message.split_first() {
                Some((b'C', bytes)) => self.configure(bytes, now)?,
                Some((b'Q', _)) => return Ok(Next::Quit("told to")),
                _ => self
                    .log
                    .write(message::NANNY_UNKNOWN, format_args!("unknown message of the nanny ignored")),
            }
        }
    }

    /// Applies a configuration.
    ///
    /// # Errors
    /// If it cannot be used; another broker could not do so either.
    fn configure(&mut self, bytes: &[u8], now: Now) -> Result<(), Error> {
        let sent = BrokerConfig::from_bytes(bytes).map_err(|_| Error::Undecodable)?;
        let settings = Settings::new(&sent)?;
        self.dispatch.configure(settings, now);
        // One that came too late has changed nothing.
        if let Some(current) = self.dispatch.settings() {
            self.log.set_level(current.log_level);
            self.pool.set_plan(Plan {
                version: current.version,
                conf_dir: current.conf_dir.clone(),
                krb5: current.wants_krb5(),
                ahead: current.authenticators,
            });
            self.log.write(message::CONFIGURED, format_args!("configuration {} applies", current.version));
        }
        Ok(())
    }

    /// Takes requests from all lanes.
    fn take_requests(&mut self, now: Now) {
        for number in 0..self.lanes.len() {
            for _ in 0..REQUESTS_PER_TURN {
                let Some(lane) = self.lanes.get(number).and_then(Option::as_ref) else { break };
                match lane.recv() {
                    Ok(None) => break,
                    Ok(Some((id, key, request))) => {
                        self.dispatch.request(number, Asker { id, key }, request, now);
                    }
                    Err(RecvError::Frame(why)) => {
                        self.bad_frames = self.bad_frames.saturating_add(1);
                        self.log.write(
                            message::REQUEST_DROPPED,
                            format_args!("lane {number}: request dropped: {why}"),
                        );
                    }
                    Err(why) => {
                        // Its askers have all gone where httpd has made other lanes: for another version.
                        let lost =
                            if why == RecvError::Closed { message::LANE_UNUSED } else { message::LANE_LOST };
                        self.log.write(lost, format_args!("lane {number} is lost: {why}"));
                        if let Some(lane) = self.lanes.get_mut(number) {
                            *lane = None;
                        }
                    }
                }
            }
        }
    }

    /// Does what administrators want.
    fn hear_administrators(&mut self, now: Now) {
        for asked in self.admin.turn(now.ms, &mut self.log) {
            let answer = match &asked.command {
                Command::Status => self.status(now),
                Command::Forget(target) => {
                    let tokens = self.dispatch.forget(target, now);
                    self.log.write(
                        message::FORGOTTEN,
                        format_args!("uid {} made us forget {target}: {tokens} tokens dropped", asked.uid),
                    );
                    // Before the answer, so that whoever has it can rely on it.
                    self.settle(now);
                    format!("ok: {tokens} tokens dropped, children told\n")
                }
            };
            asked.answer(&answer);
        }
    }

    /// Everything for the administrator.
    fn status(&self, now: Now) -> String {
        let (starting, ready, busy) = self.pool.counts();
        let board = self.board.reader();
        format!(
            "broker of generation {}, pid {}, {}, revocations: {}\nlanes: {} of {} in service\n\
             authenticators: {ready} ready, {starting} starting, {busy} busy\n\
             bad frames: {}, replies nobody took: {}\n{}",
            self.generation,
            rustix::process::getpid().as_raw_nonzero(),
            if board.ready() { "ready" } else { "not ready yet" },
            board.epoch(),
            self.lanes.iter().flatten().count(),
            self.lanes.len(),
            self.bad_frames,
            self.dropped_replies,
            self.dispatch.status(now)
        )
    }

    /// Carries out effects and lets authenticators work until nothing is left to do.
    fn settle(&mut self, now: Now) {
        loop {
            self.effects();
            let turn = self.pool.turn(now.ms, &mut self.log);
            for login in turn.handed {
                self.dispatch.handed(login);
            }
            if turn.ended.is_empty() {
                break;
            }
            for (login, outcome) in turn.ended {
                self.dispatch.ended(login, outcome, now);
            }
        }
        self.pool.fill(now.ms, &mut self.log);
        self.tell_ready();
        self.count();
    }

    /// Carries out what the core wants.
    fn effects(&mut self) {
        while let Some(effect) = self.dispatch.effect() {
            match effect {
                Effect::Reply { lane, asker, reply } => {
                    let Some(lane) = self.lanes.get(lane).and_then(Option::as_ref) else { continue };
                    if lane.send(&asker.id, asker.key, &reply) != Sent::Done {
                        self.dropped_replies = self.dropped_replies.saturating_add(1);
                    }
                }
                Effect::Start { login, job } => self.pool.start(login, job),
                Effect::Kill { login } => self.pool.kill(login),
                Effect::Revoked => {
                    self.board.raise_epoch();
                }
                Effect::Log(line) => self.log.line(&line),
            }
        }
    }

    /// Tells the nanny once that logins can be done, and shows it as long as they can.
    fn tell_ready(&mut self) {
        if self.told_ready {
            self.board.set_ready(self.pool.can_log_in());
        }
        if self.told_ready || !self.pool.is_ready() {
            return;
        }
        self.board.set_ready(true);
        let mut message = [b'R'; 9];
        if let Some(number) = message.get_mut(1..) {
            number.copy_from_slice(&self.generation.to_le_bytes());
        }
        // If she does not take it now, she gets it at the next turn.
        self.told_ready =
            rustix::net::send(&self.control, &message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok();
    }

    /// Shows the counters on the board.
    fn count(&self) {
        let c = self.dispatch.counts();
        let (_, ready, _) = self.pool.counts();
        let size = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let values: [u64; COUNTERS.len()] = [
            c.requests,
            c.cached,
            c.logins,
            c.granted,
            c.refused,
            c.unavailable,
            c.stopped,
            self.bad_frames,
            c.alarms,
            c.cache_entries,
            c.running,
            c.waiting,
            size(ready),
            size(self.lanes.iter().flatten().count()),
            self.dropped_replies,
            c.group_requests,
            c.group_cached,
            c.group_asked,
            c.group_unavailable,
            c.group_entries,
        ];
        for (i, value) in values.into_iter().enumerate() {
            self.board.set_counter(i, value);
        }
    }
}
