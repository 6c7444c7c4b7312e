//! What is kept from httpd's start to its end: descriptors by number, the nanny, and what it was last told.
//!
//! Plain data, since the module may be unloaded and loaded anew at each restart, also as another version of it.

mod entries;

use super::held::{Held, hold};
use super::listener::make_listener;
use super::old::{Old, Why};
use super::record::Record;
use super::{NotStarted, failed, now_ms};
use crate::config::ServerConfig;
use crate::httpd::{self, KeptFd, Process, Server, mpm};
use crate::stores::Stores;
use crate::{checks, installed, message};
use core::ffi::CStr;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use weblog_fds::versions::{MEMORY, versions};
use weblog_fds::{Board, LockTable, WaitTable};
use weblog_proto::versions::of_broker;

/// Where the record lies in the pool of the process, whatever the version.
const KEY: &CStr = c"mod_afs/kept";
/// Longest report of the nanny.
const REPORT_MAX: usize = 4096;
/// Reports heard at a time, more than brokers that die at once make in ten seconds; the rest is heard at the next look.
/// A nanny that talks without a pause must not hold httpd.
const REPORTS: usize = 64;

/// The four ends of a lane, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LaneFds {
    /// The workers' end of the request pipe.
    pub(super) worker_request: i32,
    /// The workers' end of the reply pipe.
    pub(super) worker_reply: i32,
    /// The broker's end of the request pipe.
    pub(super) broker_request: i32,
    /// The broker's end of the reply pipe.
    pub(super) broker_reply: i32,
}

/// What is kept from httpd's start to its end, or until a module of another version takes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    /// The lanes.
    pub(super) lanes: Vec<LaneFds>,
    /// Their locks, and one more behind them.
    pub(super) locks: (usize, usize),
    /// The table with the lock for [`Stores`], and which one that is.
    pub(super) stores: ((usize, usize), usize),
    /// The table of waiting workers.
    pub(super) waiting: (usize, usize),
    /// The board, to write.
    pub(super) board: i32,
    /// The board, to read.
    pub(super) board_read_only: i32,
    /// The administrators' socket.
    pub(super) listener: i32,
    /// Its name.
    pub(super) socket: String,
    /// Our end of the control socket; -1 = none.
    pub(super) control: i32,
    /// The nanny; 0 = none.
    pub(super) nanny: i32,
    /// Its program.
    pub(super) program: String,
    /// It and the broker's, as they were when they fitted.
    held: Option<Held>,
    /// The object of the user-space client, as it was when the module was loaded; -1 = none.
    pub(super) object: i32,
    /// The broker's user.
    pub(super) user: String,
    /// Version of the last configuration.
    pub(super) version: u64,
    /// The last configuration has not been sent yet.
    pub(super) unsent: bool,
    /// When nannies died, milliseconds of [`now_ms`].
    pub(super) deaths: Vec<u64>,
    /// Nannies of other versions, which end when their children have gone.
    pub(super) old: Vec<Old>,
    /// Descriptors that a later module of the same version has kept, and which are not known here.
    more_open: Vec<i32>,
    /// Its entries.
    more: Record,
}

/// What an earlier generation has kept.
#[derive(Debug)]
pub(super) enum Found {
    /// By a module of this version.
    Ours(Box<Kept>),
    /// By one of another version, with which nanny, lanes and board cannot be shared.
    OfOthers(Record),
}

impl Found {
    /// Version of the last configuration.
    pub(super) fn version(&self) -> u64 {
        match self {
            Self::Ours(kept) => kept.version,
            Self::OfOthers(left) => left.number("version").unwrap_or(0),
        }
    }

    /// Ends all nannies; what is kept otherwise stays for a later configuration, if it is of this version.
    pub(super) fn end_nannies(self, process: Process<'_>) {
        match self {
            Self::Ours(mut kept) => {
                kept.close_control();
                kept.nanny = 0;
                kept.old.iter_mut().for_each(Old::end);
                kept.save(process);
            }
            Self::OfOthers(left) => {
                Old::take_over(&left).iter_mut().for_each(Old::end);
                let mut rest = Record::default();
                rest.put("version", left.number("version").unwrap_or(0u64));
                rest.put("socket", left.text("socket").unwrap_or_default());
                process.keep(KEY, &rest.to_bytes());
            }
        }
    }

    /// Closes everything, in a child of a configuration without AFS.
    pub(super) fn close_all(self) {
        match self {
            Self::Ours(kept) => kept.close_all(),
            Self::OfOthers(left) => Old::take_over(&left).iter_mut().for_each(Old::let_go),
        }
    }
}

/// What of `config` cannot be had before httpd is stopped and started, in words.
pub(super) fn needs_full_restart(kept: &Kept, config: &ServerConfig) -> Vec<String> {
    let mut changed = Vec::new();
    let mut compare = |directive: &str, was: &str, now: &str| {
        if was != now {
            changed.push(format!("{directive} is still {was}: {now} needs a full restart"));
        }
    };
    compare("SetAFSLanes", &kept.lanes.len().to_string(), &config.lanes().to_string());
    compare("SetAFSWeblogPath", &kept.program, &config.nanny().to_string_lossy());
    compare("SetAFSWeblogUser", &kept.user, &config.weblog_user().to_string());
    compare("SetAFSControlSocket", &kept.socket, &config.control_socket_text());
    changed
}

impl LaneFds {
    /// All four.
    fn all(&self) -> [i32; 4] {
        [self.worker_request, self.worker_reply, self.broker_request, self.broker_reply]
    }
}

impl Kept {
    /// Makes everything, at httpd's first real start.
    ///
    /// # Errors
    /// [`NotStarted`] says what cannot be had.
    pub(super) fn make(config: &ServerConfig, socket: &Path) -> Result<Self, NotStarted> {
        Self::make_beside(config, socket, &Record::default())
    }

    /// Makes everything anew, beside what a module of another version has left: its nanny goes on for its children.
    /// Of the memory that children share, what both lay out alike stays in use.
    ///
    /// # Errors
    /// [`NotStarted`] says what cannot be had; what was left stays as it was.
    pub(super) fn make_beside(
        config: &ServerConfig,
        socket: &Path,
        left: &Record,
    ) -> Result<Self, NotStarted> {
        let lanes_n = usize::from(config.lanes());
        let is_ours = left.text("socket").is_some_and(|was| was == config.control_socket_text());
        let listener = make_listener(socket, is_ours)?;
        let board = Board::create().map_err(|e| failed("board")(&e))?;
        let board_read_only = Board::read_only(&board).map_err(|e| failed("board")(&e))?;
        let locks =
            LockTable::create(Stores::locks(lanes_n)).map_err(|e| failed("locks of the lanes")(&e))?;
        let workers = mpm::max_children().saturating_mul(mpm::threads_per_child());
        let waiting = WaitTable::create(workers).map_err(|e| failed("table of waiting workers")(&e))?;
        let mut pipes = Vec::with_capacity(lanes_n);
        for _ in 0..lanes_n {
            pipes.push(weblog_proto::pipes().map_err(|e| failed("lanes")(&e))?);
        }
        let memory = format!("memory={MEMORY}");
        let alike = left.text("versions").is_some_and(|left| versions(&left).any(|word| word == memory));
        let left_waiting = left.pair("waiting").filter(|_| alike);
        let left_stores = match left.numbers("stores").as_slice() {
            [address, length, place] if alike => Some(((*address, *length), *place)),
            _ => None,
        };
        // Nothing fails from here on, so nothing is left open by an error.
        let number = |fd: OwnedFd| KeptFd::keep(fd).number();
        Ok(Self {
            lanes: pipes
                .into_iter()
                .map(|(worker, broker)| LaneFds {
                    worker_request: number(worker.request),
                    worker_reply: number(worker.reply),
                    broker_request: number(broker.request),
                    broker_reply: number(broker.reply),
                })
                .collect(),
            locks: locks.parts(),
            stores: left_stores.unwrap_or((locks.parts(), lanes_n)),
            waiting: left_waiting.unwrap_or(waiting.parts()),
            board: number(board),
            board_read_only: number(board_read_only),
            listener: number(listener),
            socket: config.control_socket_text(),
            control: -1,
            nanny: 0,
            program: config.nanny().to_string_lossy().into_owned(),
            held: None,
            object: -1,
            user: config.weblog_user().to_string(),
            version: left.number("version").unwrap_or(0),
            unsent: false,
            deaths: Vec::new(),
            old: Old::take_over(left),
            more_open: Vec::new(),
            more: Record::default(),
        })
    }

    /// What an earlier generation has kept.
    pub(super) fn load(process: Process<'_>) -> Option<Found> {
        process.kept(KEY).map(|bytes| Self::from_record(Record::from_bytes(&bytes)))
    }

    /// All descriptors but those of control sockets, and of what was replaced.
    fn open(&self) -> Vec<i32> {
        let others = [self.board, self.board_read_only, self.listener].into_iter();
        let others = others.chain(self.held.iter().flat_map(|held| held.all()));
        let others = others.chain((self.object >= 0).then_some(self.object));
        self.lanes.iter().flat_map(LaneFds::all).chain(others).chain(self.more_open.iter().copied()).collect()
    }

    /// Keeps the record for the next generation.
    pub(super) fn save(&self, process: Process<'_>) {
        process.keep(KEY, &self.to_record().to_bytes());
    }

    /// The broker's program: beside the nanny's.
    fn broker(&self) -> PathBuf {
        Path::new(&self.program).with_file_name(crate::config::BROKER)
    }

    /// The programs on this disk, held; and whether they are of this module's version, or which one is not, in words.
    ///
    /// # Errors
    /// Which one is not there, or may not be trusted, in words.
    pub(super) fn installed(&self) -> Result<(Held, Result<(), String>), String> {
        let (program, broker) = (PathBuf::from(&self.program), self.broker());
        for path in [&program, &broker] {
            checks::trusted(path, 0, true).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        // A package may put others under their names at any moment.
        let held = Held::open(&program, &broker).map_err(|e| format!("{}: {e}", self.program))?;
        let fit = installed::fit((&program, &held.nanny_path()), (&broker, &held.broker_path()));
        Ok((held, fit))
    }

    /// Are they of this module's version?
    ///
    /// # Errors
    /// Which one is not, in words.
    pub(super) fn programs_fit(&self) -> Result<(), String> {
        let (held, fit) = self.installed()?;
        held.close();
        fit
    }

    /// The children of this configuration load the user-space client's object that lies there now, as the module does,
    /// whatever takes its name before they are started.
    pub(super) fn hold_object(&mut self, object: Option<&Path>) {
        let held = object.and_then(|path| hold(path).ok()).map_or(-1, KeptFd::number);
        KeptFd::with_number(self.object).close();
        self.object = held;
    }

    /// Starts a nanny with its descriptors: the program under its name, or the one that is held if that is of another
    /// version. What there is to say of that is returned.
    ///
    /// # Errors
    /// [`NotStarted`] if a program is not to be trusted, is of another version, or cannot be started.
    pub(super) fn start(&mut self) -> Result<Option<String>, NotStarted> {
        let (name, broker) = (PathBuf::from(&self.program), self.broker());
        let mut note = None;
        let (installed, fit) = self.installed().map_err(NotStarted)?;
        let held = match (fit, self.held) {
            (Ok(()), before) => {
                before.into_iter().for_each(Held::close);
                installed
            }
            (Err(e), Some(held)) => {
                installed.close();
                note =
                    Some(format!("{e}; the programs that were there before go on until httpd is restarted"));
                held
            }
            (Err(e), None) => {
                installed.close();
                return Err(NotStarted(e));
            }
        };
        self.held = Some(held);
        self.close_control();
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(|e| failed("control socket")(&e))?;
        let dup = |number: i32| {
            KeptFd::with_number(number).dup().map_err(|e| failed("descriptors of the nanny")(&e))
        };
        let mut fds = vec![theirs, dup(self.board)?, dup(self.listener)?];
        for lane in &self.lanes {
            fds.push(dup(lane.broker_request)?);
            fds.push(dup(lane.broker_reply)?);
        }
        fds.push(dup(held.broker)?);
        let args: Vec<OsString> = vec![
            "--lanes".into(),
            self.lanes.len().to_string().into(),
            "--broker".into(),
            broker.into(),
            "--user".into(),
            self.user.clone().into(),
            "--expects".into(),
            of_broker().into(),
            "--held".into(),
        ];
        let pid =
            httpd::start(&held.nanny_path(), &name, &args, fds).map_err(|e| failed(&self.program)(&e))?;
        self.nanny = pid;
        self.control = KeptFd::keep(ours).number();
        self.unsent = true;
        Ok(note)
    }

    /// See [`Found::close_all`].
    fn close_all(mut self) {
        self.close_for_parents_only();
        let lanes = self.lanes.iter().flat_map(|lane| [lane.worker_request, lane.worker_reply]);
        for number in lanes.chain([self.board_read_only, self.object]) {
            KeptFd::with_number(number).close();
        }
    }

    /// In a process that is not the parent: closes what only that one needs. A second time nothing is left to close.
    pub(super) fn close_for_parents_only(&mut self) {
        let lanes = self.lanes.iter_mut().flat_map(|lane| [&mut lane.broker_request, &mut lane.broker_reply]);
        let others = [&mut self.board, &mut self.listener, &mut self.control];
        for number in lanes.chain(others) {
            KeptFd::with_number(std::mem::replace(number, -1)).close();
        }
        for number in self.more_open.drain(..) {
            KeptFd::with_number(number).close();
        }
        self.held.take().into_iter().for_each(Held::close);
        self.old.drain(..).for_each(|mut old| old.let_go());
    }

    /// Ends nannies of other versions that nobody needs any more, and forgets those that have ended.
    pub(super) fn part_with_old(&mut self, main: Server<'_>) {
        let now = now_ms();
        for old in &mut self.old {
            let Some(why) = old.is_due(now) else { continue };
            let (message, text) = match why {
                Why::NobodyLeft => (message::OLD_NANNY_ENDS, "its children have gone"),
                Why::TooLong => (
                    message::OLD_NANNY_ENDED,
                    "a child of its version still serves a request, and cannot log anybody in from now on",
                ),
            };
            main.log(message, &format!("the nanny of another version (pid {}) ends: {text}", old.nanny));
            old.end();
        }
        self.old.retain(Old::is_there);
    }

    /// Nanny `pid` of another version has ended.
    pub(super) fn old_has_ended(&mut self, pid: i32) -> bool {
        let Some(at) = self.old.iter().position(|old| old.nanny == pid) else { return false };
        self.old.remove(at).let_go();
        true
    }

    /// Ends the nanny, if there is one. Only the parent may.
    pub(super) fn close_control(&mut self) {
        KeptFd::with_number(self.control).hang_up();
        self.control = -1;
    }

    /// Sends the configuration, if it has not been sent.
    pub(super) fn tell(&mut self, config: &[u8], main: Server<'_>) {
        if !self.unsent || self.control < 0 {
            return;
        }
        let mut message = Vec::with_capacity(config.len() + 1);
        message.push(b'C');
        message.extend_from_slice(config);
        let Ok(control) = KeptFd::with_number(self.control).dup() else { return };
        match send(&control, &message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(_) => self.unsent = false,
            Err(e) => {
                main.log(message::NANNY_DEAF, &format!("the nanny does not take its configuration yet: {e}"))
            }
        }
    }

    /// Logs what the nanny has reported.
    pub(super) fn hear(&self, main: Server<'_>) {
        let Ok(control) = KeptFd::with_number(self.control).dup() else { return };
        let mut buffer = vec![0; REPORT_MAX];
        for _ in 0..REPORTS {
            let received = recv(&control, buffer.as_mut_slice(), RecvFlags::DONTWAIT);
            let Ok((n, _)) = received else { return };
            match buffer.get(..n) {
                None | Some([]) => return,
                Some([b'R', generation @ ..]) => {
                    let generation = generation.try_into().map(u64::from_le_bytes).unwrap_or(0);
                    main.log(message::BROKER_READY, &format!("the broker is ready, generation {generation}"));
                }
                Some([b'D', text @ ..]) => {
                    let text = String::from_utf8_lossy(text);
                    main.log(message::BROKER_ENDED, &format!("the broker ended: {text}"));
                }
                Some(_) => main.log(message::NANNY_UNKNOWN, "the nanny says something unknown"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn kept() -> Kept {
        Kept {
            lanes: vec![
                LaneFds { worker_request: 10, worker_reply: 11, broker_request: 12, broker_reply: 13 };
                8
            ],
            locks: (4096, 512),
            stores: ((4096, 512), 8),
            waiting: (8192, 1024),
            board: 20,
            board_read_only: 21,
            listener: 22,
            socket: ServerConfig::default().control_socket_text(),
            control: 23,
            nanny: 1234,
            program: crate::config::WEBLOG_PATH.to_owned(),
            held: Some(Held { nanny: 200, broker: 201 }),
            object: 202,
            user: crate::config::WEBLOG_USER.to_owned(),
            version: 3,
            unsent: false,
            deaths: vec![1, 2],
            old: Vec::new(),
            more_open: Vec::new(),
            more: Record::default(),
        }
    }

    #[test]
    fn what_needs_a_full_restart_is_said_and_what_does_not_is_not() {
        let same = ServerConfig { login_deadline_s: Some(7), ..ServerConfig::EMPTY };
        assert!(needs_full_restart(&kept(), &same).is_empty());
        let other = ServerConfig {
            lanes: Some(4),
            weblog_path: Some("/opt/weblog-starter".into()),
            control_socket: Some("/run/x".into()),
            weblog_user: Some(crate::config::UserName::Uid(99)),
            ..ServerConfig::EMPTY
        };
        let lines = needs_full_restart(&kept(), &other);
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert!(lines.iter().all(|l| l.contains("full restart")));
        assert!(lines.iter().any(|l| l.contains("SetAFSLanes is still 8: 4")), "{lines:?}");
    }
}
