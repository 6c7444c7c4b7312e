//! The loop: everything that happens is an event, and what to do about it is decided in [`crate::supervise`].

use crate::args::Args;
use crate::child::{Broker, Ends, Program};
use crate::control::{self, Control, Received};
use crate::error::with_sources;
use crate::log::say;
use crate::message;
use crate::signals::Signals;
use crate::supervise::{Action, End, Event, State};
use crate::{Error, privilege, trust};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal, getppid, pidfd_open};
use rustix::time::{ClockId, clock_gettime};
use weblog_fds::{BoardWriter, layout};

/// The nanny from start to end.
///
/// # Errors
/// [`Error`] if it cannot do its work. That a broker cannot is no error.
pub fn run(args: &Args) -> Result<(), Error> {
    // First of all: close what it was not meant to have, and take over what it was.
    let _ = rustix::thread::set_name(c"weblog-starter");
    weblog_fds::close_from(layout::end(args.lanes) + i32::from(args.held))?;
    let held = args.held.then(|| weblog_fds::take(layout::held(args.lanes))).transpose()?;
    let parent = Control::new(weblog_fds::take(layout::CONTROL)?);
    let ends = Ends::take(args.lanes)?;
    let board = BoardWriter::map(ends.board()?)?;
    board.set_ready(false);
    // A session of its own: httpd's signals to its group, and a terminal's, are not for nanny and broker.
    // EPERM = has one already.
    let _ = rustix::process::setsid();
    let signals = Signals::new()?;
    privilege::drop_privileges()?;
    let parent_process = watch_parent()?;
    if let Err(e) = trust::check(&args.broker, rustix::process::geteuid().as_raw()) {
        let e = Error::from(e);
        let _ = parent.send(control::DOWN, with_sources(&e).as_bytes());
        return Err(e);
    }
    let generation = last_generation(board.reader().generation());
    let state = State::new(generation, board.reader().beats(), now_ms());
    Nanny {
        args,
        parent,
        ends,
        board,
        state,
        broker: None,
        good: held.map(Program::of_file),
        unfit: false,
        config: Vec::new(),
        unsent: false,
    }
    .watch(&signals, &parent_process)
}

/// Makes the parent's death known by signal and by pidfd.
///
/// The control socket alone is not enough: old children and CGI daemons may hold copies of the parent's end.
///
/// # Errors
/// [`Error::System`]; ESRCH if it is gone already.
fn watch_parent() -> Result<OwnedFd, Error> {
    let gone = || Error::System { call: "getppid", errno: Errno::SRCH.raw_os_error() };
    let pid = getppid().ok_or_else(gone)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(Error::call("pidfd_open"))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(Error::call("prctl(PR_SET_PDEATHSIG)"))?;
    // If it died meanwhile, the pidfd may be another's and the signal does not come.
    if getppid() == Some(pid) { Ok(pidfd) } else { Err(gone()) }
}

/// The generation before the first one of this nanny: higher than any that was there, whatever the clock says.
fn last_generation(on_board: u64) -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    let ms = u64::try_from(now.tv_sec).unwrap_or(0).saturating_mul(1_000);
    on_board.max(ms.saturating_add(u64::try_from(now.tv_nsec / 1_000_000).unwrap_or(0)))
}

/// Milliseconds of a clock that never goes back.
fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let s = u64::try_from(now.tv_sec).unwrap_or(0);
    s.saturating_mul(1_000).saturating_add(u64::try_from(now.tv_nsec / 1_000_000).unwrap_or(0))
}

/// Messages of one socket in a turn; poll tells of the rest. Whoever talks without a pause must not keep her from her watch.
const MESSAGES: usize = 16;

/// What the loop works with.
struct Nanny<'a> {
    /// The command line.
    args: &'a Args,
    /// To the httpd parent.
    parent: Control,
    /// What each broker gets.
    ends: Ends,
    /// Where it says that no broker is ready.
    board: BoardWriter,
    /// What stands.
    state: State,
    /// The broker, if there is one.
    broker: Option<Broker>,
    /// The program of the last broker that was ready, or that httpd holds.
    good: Option<Program>,
    /// The program that lay there for the last broker is of another version.
    unfit: bool,
    /// The last configuration, as it came.
    config: Vec<u8>,
    /// The broker has not got it yet, for lack of room.
    unsent: bool,
}

/// What poll has found.
#[derive(Default)]
struct Found {
    /// A signal.
    signal: bool,
    /// The parent has ended.
    orphan: bool,
    /// The parent's socket has something.
    parent: bool,
    /// The broker's socket has something.
    broker: bool,
    /// The broker's socket has room.
    room: bool,
    /// The broker has ended.
    ended: bool,
}

impl Nanny<'_> {
    /// The loop.
    ///
    /// # Errors
    /// [`Error::System`] from poll(2).
    fn watch(mut self, signals: &Signals, parent_process: &OwnedFd) -> Result<(), Error> {
        let mut leave = self.happens(Event::Tick);
        let (mut listen, mut orphan) = (true, false);
        while !leave {
            let found = self.wait(signals, parent_process, listen, orphan)?;
            let mut events = vec![Event::Beats(self.board.reader().beats())];
            // What the broker has said comes before its end.
            if found.broker {
                events.extend(self.hear_broker());
            }
            if found.ended
                && let Some(end) = self.broker.as_mut().and_then(Broker::ended)
            {
                events.push(Event::Ended(end));
            }
            if found.parent {
                let (heard, open) = self.hear_parent();
                listen = open;
                events.extend(heard);
            }
            if found.room {
                self.send_config();
            }
            if (found.signal && signals.quit()) || found.orphan {
                events.push(Event::Quit);
            }
            orphan |= found.orphan;
            events.push(Event::Tick);
            for event in events {
                leave |= self.happens(event);
            }
        }
        Ok(())
    }

    /// Waits for anything, at most until the next tick.
    ///
    /// # Errors
    /// [`Error::System`].
    fn wait(
        &self,
        signals: &Signals,
        parent_process: &OwnedFd,
        listen: bool,
        orphan: bool,
    ) -> Result<Found, Error> {
        let timeout = self.state.next_tick_ms().map(|t| {
            let left = t.saturating_sub(now_ms());
            Timespec {
                tv_sec: i64::try_from(left / 1_000).unwrap_or(i64::MAX),
                tv_nsec: i64::try_from((left % 1_000) * 1_000_000).unwrap_or(0),
            }
        });
        let mut fds = vec![
            PollFd::new(signals, PollFlags::IN),
            // What has ended or is closed would never be quiet again; something else holds its place then.
            if orphan {
                PollFd::new(signals, PollFlags::IN)
            } else {
                PollFd::new(parent_process, PollFlags::IN)
            },
            if listen {
                PollFd::new(&self.parent, PollFlags::IN)
            } else {
                PollFd::new(signals, PollFlags::IN)
            },
        ];
        if let Some(broker) = &self.broker {
            fds.push(PollFd::new(broker, PollFlags::IN));
            if let Some(control) = &broker.control {
                let out = if self.unsent { PollFlags::OUT } else { PollFlags::empty() };
                fds.push(PollFd::new(control, PollFlags::IN | out));
            }
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(Error::call("poll")(e)),
        }
        let happened: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        let at = |i: usize| happened.get(i).copied().unwrap_or(PollFlags::empty());
        Ok(Found {
            signal: !at(0).is_empty(),
            orphan: !orphan && !at(1).is_empty(),
            parent: listen && !at(2).is_empty(),
            ended: !at(3).is_empty(),
            broker: at(4).intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR),
            room: at(4).contains(PollFlags::OUT),
        })
    }

    /// Reads what the parent says. False = its end is closed, which is its end.
    fn hear_parent(&mut self) -> (Vec<Event>, bool) {
        let mut events = Vec::new();
        for _ in 0..MESSAGES {
            match self.parent.receive() {
                Received::Message(control::CONFIG, bytes) => {
                    self.config = bytes;
                    events.push(Event::Config);
                }
                Received::Message(control::QUIT, _) => events.push(Event::Quit),
                Received::Message(kind, _) => {
                    say(message::HTTPD_UNKNOWN, format_args!("message of unknown kind {kind} from httpd"))
                }
                Received::Nothing => return (events, true),
                Received::Closed => {
                    events.push(Event::Quit);
                    return (events, false);
                }
            }
        }
        (events, true)
    }

    /// Reads what the broker says.
    fn hear_broker(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let Some(broker) = &mut self.broker else { return events };
        for _ in 0..MESSAGES {
            let Some(control) = &broker.control else { break };
            match control.receive() {
                Received::Message(control::READY, rest) => {
                    let generation = <[u8; 8]>::try_from(rest.as_slice()).map(u64::from_le_bytes);
                    events.push(generation.map_or(Event::Astray, Event::Ready));
                }
                Received::Message(..) => events.push(Event::Astray),
                Received::Nothing => break,
                Received::Closed => {
                    broker.control = None;
                    events.push(Event::Deaf);
                }
            }
        }
        events
    }

    /// Does what an event asks for. True = the nanny ends.
    fn happens(&mut self, event: Event) -> bool {
        let mut events = vec![event];
        let mut leave = false;
        while let Some(event) = events.pop() {
            let (state, actions) = self.state.clone().step(event, now_ms());
            self.state = state;
            for action in actions {
                match action {
                    Action::Start(generation) => {
                        if !self.start(generation) {
                            events.push(Event::Ended(End::NotStarted));
                            break;
                        }
                    }
                    Action::SendConfig => self.send_config(),
                    Action::ReportReady(generation) => {
                        // It is held even if another one takes its name: that may be of another version.
                        if let Some(Ok(program)) = self.broker.as_ref().map(|b| b.program.held()) {
                            self.good = Some(program);
                        }
                        self.unfit = false;
                        say(message::BROKER_READY, format_args!("broker {generation} is ready"));
                        self.report(control::READY, &generation.to_le_bytes());
                    }
                    Action::ReportDown(end) => {
                        self.broker = None;
                        // If not even the one that was ready fits, what lies there may by now.
                        self.unfit = end.is_of_another_version() && !self.unfit;
                        self.board.set_ready(false);
                        say(message::BROKER_ENDED, format_args!("the broker ended: {end}"));
                        self.report(control::DOWN, end.to_string().as_bytes());
                    }
                    Action::AskToQuit => {
                        let control = self.broker.as_ref().and_then(|b| b.control.as_ref());
                        if control.is_none_or(|c| c.send(control::QUIT, &[]).is_err())
                            && let Some(broker) = &self.broker
                        {
                            broker.kill();
                        }
                    }
                    Action::Kill(why) => {
                        if let Some(broker) = &self.broker {
                            // First of all: the log may lie on a disk that makes us wait.
                            broker.kill();
                            self.board.set_ready(false);
                            say(
                                message::BROKER_KILLED,
                                format_args!("killed broker process {}: {why}", broker.id()),
                            );
                        }
                    }
                    Action::Leave => {
                        self.broker = None;
                        self.board.set_ready(false);
                        leave = true;
                    }
                }
            }
        }
        leave
    }

    /// Starts a broker. False = it cannot be started.
    fn start(&mut self, generation: u64) -> bool {
        self.unsent = false;
        let program = match &self.good {
            Some(good) if self.unfit => {
                say(
                    message::BROKER_HELD,
                    format_args!(
                        "{} is of another version now: the one that was there before goes on until httpd is restarted",
                        self.args.broker.display()
                    ),
                );
                good.held()
            }
            _ => Program::installed(self.args),
        };
        match program.and_then(|program| Broker::start(program, self.args, &self.ends, generation)) {
            Ok(broker) => {
                say(
                    message::BROKER_STARTED,
                    format_args!("started broker {generation} as process {}", broker.id()),
                );
                self.broker = Some(broker);
                true
            }
            Err(e) => {
                say(message::BROKER_NOT_STARTED, format_args!("{}", with_sources(&e)));
                false
            }
        }
    }

    /// Sends the last configuration to the broker, now or when there is room.
    fn send_config(&mut self) {
        let Some(control) = self.broker.as_ref().and_then(|b| b.control.as_ref()) else { return };
        match control.send(control::CONFIG, &self.config) {
            Ok(()) => self.unsent = false,
            Err(Errno::AGAIN) => self.unsent = true,
            // It is about to end.
            Err(_) => self.unsent = false,
        }
    }

    /// Tells the parent. It may be too busy to listen; the board says it too.
    fn report(&self, kind: u8, rest: &[u8]) {
        if let Err(e) = self.parent.send(kind, rest) {
            say(message::HTTPD_DEAF, format_args!("httpd does not listen: errno {}", e.raw_os_error()));
        }
    }
}
