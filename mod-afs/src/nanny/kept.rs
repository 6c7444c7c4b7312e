//! What is kept from httpd's start to its end: descriptors by number, the nanny, and what it was last told.
//!
//! Plain data, since the module may be unloaded and loaded anew at each restart.

use super::listener::make_listener;
use super::{NotStarted, failed};
use crate::checks;
use crate::config::ServerConfig;
use crate::httpd::{self, KeptFd, Process, Server, mpm};
use crate::message;
use crate::stores::Stores;
use bincode::{Decode, Encode};
use core::ffi::CStr;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use weblog_fds::{Board, LockTable, WaitTable};

/// Where the record lies in the pool of the process; the number changes with its layout.
const KEY: &CStr = c"mod_afs/nanny/1";
/// Longest report of the nanny.
const REPORT_MAX: usize = 4096;

/// The four ends of a lane, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
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

/// What is kept from httpd's start to its end.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct Kept {
    /// The lanes.
    pub(super) lanes: Vec<LaneFds>,
    /// Their locks, and one more for [`Stores`].
    pub(super) locks: (usize, usize),
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
    /// The broker's user.
    pub(super) user: String,
    /// Version of the last configuration.
    pub(super) version: u64,
    /// The last configuration has not been sent yet.
    pub(super) unsent: bool,
    /// When nannies died, milliseconds of [`now_ms`].
    pub(super) deaths: Vec<u64>,
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

impl Kept {
    /// Makes everything, at httpd's first real start.
    ///
    /// # Errors
    /// [`NotStarted`] says what cannot be had.
    pub(super) fn make(config: &ServerConfig, socket: &Path) -> Result<Self, NotStarted> {
        let lanes_n = usize::from(config.lanes());
        let listener = make_listener(socket)?;
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
            waiting: waiting.parts(),
            board: number(board),
            board_read_only: number(board_read_only),
            listener: number(listener),
            socket: config.control_socket_text(),
            control: -1,
            nanny: 0,
            program: config.nanny().to_string_lossy().into_owned(),
            user: config.weblog_user().to_string(),
            version: 0,
            unsent: false,
            deaths: Vec::new(),
        })
    }

    /// The record of an earlier generation.
    pub(super) fn load(process: Process<'_>) -> Option<Self> {
        let bytes = process.kept(KEY)?;
        bincode::decode_from_slice(&bytes, bincode::config::standard()).ok().map(|(kept, _)| kept)
    }

    /// Keeps the record for the next generation.
    pub(super) fn save(&self, process: Process<'_>) {
        if let Ok(bytes) = bincode::encode_to_vec(self, bincode::config::standard()) {
            process.keep(KEY, &bytes);
        }
    }

    /// Starts a nanny with its descriptors.
    ///
    /// # Errors
    /// [`NotStarted`] if its program is not to be trusted or cannot be started.
    pub(super) fn start(&mut self) -> Result<(), NotStarted> {
        let program = PathBuf::from(&self.program);
        let broker = program.with_file_name(crate::config::BROKER);
        for path in [&program, &broker] {
            checks::trusted(path, 0, true).map_err(|e| NotStarted(format!("{}: {e}", path.display())))?;
        }
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
        let args: Vec<OsString> = vec![
            "--lanes".into(),
            self.lanes.len().to_string().into(),
            "--broker".into(),
            broker.into(),
            "--user".into(),
            self.user.clone().into(),
        ];
        let pid = httpd::start(&program, &args, fds).map_err(|e| failed(&self.program)(&e))?;
        self.nanny = pid;
        self.control = KeptFd::keep(ours).number();
        self.unsent = true;
        Ok(())
    }

    /// Closes everything, in a child of a configuration without AFS.
    pub(super) fn close_all(&self) {
        let lanes = self.lanes.iter();
        let pipes = lanes.flat_map(|l| [l.worker_request, l.worker_reply, l.broker_request, l.broker_reply]);
        let others = [self.board, self.board_read_only, self.listener, self.control];
        for number in pipes.chain(others).filter(|n| *n > 2) {
            KeptFd::with_number(number).close();
        }
    }

    /// Closes our end of the control socket, which ends the nanny.
    pub(super) fn close_control(&mut self) {
        if self.control > 2 {
            KeptFd::with_number(self.control).close();
        }
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
        loop {
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

    fn kept() -> Kept {
        Kept {
            lanes: vec![
                LaneFds { worker_request: 10, worker_reply: 11, broker_request: 12, broker_reply: 13 };
                8
            ],
            locks: (4096, 512),
            waiting: (8192, 1024),
            board: 20,
            board_read_only: 21,
            listener: 22,
            socket: ServerConfig::default().control_socket_text(),
            control: 23,
            nanny: 1234,
            program: crate::config::WEBLOG_PATH.to_owned(),
            user: crate::config::WEBLOG_USER.to_owned(),
            version: 3,
            unsent: false,
            deaths: vec![1, 2],
        }
    }

    #[test]
    fn the_record_survives_as_bytes() {
        let bytes = bincode::encode_to_vec(kept(), bincode::config::standard()).unwrap();
        let (back, used): (Kept, usize) =
            bincode::decode_from_slice(&bytes, bincode::config::standard()).unwrap();
        assert_eq!((back, used), (kept(), bytes.len()));
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
