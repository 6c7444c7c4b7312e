//! The httpd parent's side of the broker: makes lanes, locks, board and socket once, keeps them as long as httpd lives,
//! starts the nanny and starts it again when it dies, and tells it the configuration.
//!
//! Runs in the parent, as root, in its only thread. What outlives a restart is plain data (`Kept`) in the pool of the
//! process, since the module may be unloaded meanwhile.

use crate::checks;
use crate::config::{CONTROL_SOCKET, ServerConfig};
use crate::httpd::{self, Ended, KeptFd, Level, Pool, Process, Server, mpm};
use bincode::{Decode, Encode};
use core::ffi::CStr;
use core::time::Duration;
use pag::{Cell, Realm};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen,
    recv, send, socket_with, socketpair,
};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use weblog_fds::{Board, LockTable, WaitTable};
use weblog_proto::{BrokerConfig, CellConfig, Service, ServiceConfig};

/// Where the record lies in the pool of the process; the number changes with its layout.
const KEY: &CStr = c"mod_afs/nanny/1";
/// Deaths that are borne within [`DEATHS_MS`] before the next start waits for the monitor.
const DEATHS: usize = 10;
/// See [`DEATHS`].
const DEATHS_MS: u64 = 10_000;
/// Exit status of a nanny that cannot work with what it was given: another one could not either.
const BAD_CONFIG: i32 = 78;
/// Administrators that may wait to be heard.
const BACKLOG: i32 = 8;
/// How often and how long a socket in use is waited for.
const LISTENER_TRIES: u32 = 50;
/// See [`LISTENER_TRIES`].
const LISTENER_PAUSE: Duration = Duration::from_millis(100);
/// After so many tries without an answer nobody is there.
const LISTENER_SILENCE: u32 = 25;
/// Longest report of the nanny.
const REPORT_MAX: usize = 4096;
/// Logins at the same time in one cell.
const LOGINS_PER_CELL: u16 = 16;
/// Authenticators kept started ahead.
const AUTHENTICATORS: u16 = 4;
/// Entries of the broker's cache.
const CACHE_ENTRIES: u32 = 10_000;
/// How long a refused login is remembered, milliseconds.
const REFUSED_MS: u32 = 5_000;

/// The four ends of a lane, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
struct LaneFds {
    /// The workers' end of the request pipe.
    worker_request: i32,
    /// The workers' end of the reply pipe.
    worker_reply: i32,
    /// The broker's end of the request pipe.
    broker_request: i32,
    /// The broker's end of the reply pipe.
    broker_reply: i32,
}

/// What is kept from httpd's start to its end.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct Kept {
    /// The lanes.
    lanes: Vec<LaneFds>,
    /// Their locks.
    locks: (usize, usize),
    /// The table of waiting workers.
    waiting: (usize, usize),
    /// The board, to write.
    board: i32,
    /// The board, to read.
    board_read_only: i32,
    /// The administrators' socket.
    listener: i32,
    /// Its name.
    socket: String,
    /// Our end of the control socket; -1 = none.
    control: i32,
    /// The nanny; 0 = none.
    nanny: i32,
    /// Its program.
    program: String,
    /// The broker's user.
    user: String,
    /// Version of the last configuration.
    version: u64,
    /// The last configuration has not been sent yet.
    unsent: bool,
    /// When nannies died, milliseconds of [`now_ms`].
    deaths: Vec<u64>,
}

/// What the parent works with between two restarts, and a child when it starts.
#[derive(Debug)]
struct Parent {
    /// What outlives the next restart.
    kept: Kept,
    /// The configuration as the broker gets it.
    config: Vec<u8>,
    /// Directory with ThisCell and CellServDB for the children's client.
    client_conf: PathBuf,
    /// No nanny until the next restart.
    given_up: bool,
}

/// See [`Parent`]; empty where the module is not used.
static PARENT: Mutex<Option<Parent>> = Mutex::new(None);

/// What could not be done, for the administrator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotStarted(String);

/// Says what failed.
fn failed(what: &str) -> impl Fn(&dyn core::fmt::Display) -> NotStarted {
    move |e| NotStarted(format!("{what}: {e}"))
}

/// The state, also after a panic.
fn parent() -> MutexGuard<'static, Option<Parent>> {
    PARENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds since boot.
fn now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.unsigned_abs().saturating_mul(1_000).saturating_add(now.tv_nsec.unsigned_abs() / 1_000_000)
}

/// All cells in which visitors of any server may log in, each once.
#[must_use]
pub fn all_cells<'a>(servers: impl Iterator<Item = &'a ServerConfig>) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    for cell in servers.flat_map(ServerConfig::cells) {
        if !cells.contains(cell) {
            cells.push(cell.clone());
        }
    }
    cells
}

/// All realms whose users may log in at any server, each once.
#[must_use]
pub fn all_realms<'a>(servers: impl Iterator<Item = &'a ServerConfig>) -> Vec<Realm> {
    let mut realms: Vec<Realm> = Vec::new();
    for realm in servers.flat_map(ServerConfig::realms) {
        if !realms.contains(realm) {
            realms.push(realm.clone());
        }
    }
    realms
}

/// All service identities of any server, each once.
#[must_use]
pub fn all_services<'a>(servers: impl Iterator<Item = &'a ServerConfig>) -> Vec<Service> {
    let mut services: Vec<Service> = Vec::new();
    for service in servers.flat_map(|server| server.services.iter().flatten()) {
        if !services.contains(service) {
            services.push(service.clone());
        }
    }
    services
}

/// What the broker is told.
fn broker_config(
    main: &ServerConfig,
    cells: &[Cell],
    realms: &[Realm],
    services: &[Service],
    version: u64,
) -> BrokerConfig {
    let limit = main.login_limit();
    BrokerConfig {
        version,
        conf_dir: main.conf_dir().to_string_lossy().into_owned(),
        cells: cells
            .iter()
            .map(|c| {
                let (method, realm) = main.auth_method(c);
                CellConfig {
                    name: c.as_str().to_owned(),
                    method,
                    realm: realm.map(|realm| realm.as_str().to_owned()),
                }
            })
            .collect(),
        realms: realms.iter().map(|realm| realm.as_str().to_owned()).collect(),
        keytab: main.keytab().map(|path| path.to_string_lossy().into_owned()),
        services: services.iter().map(ServiceConfig::from).collect(),
        login_deadline_ms: main.login_deadline_s().saturating_mul(1_000),
        logins_per_cell: LOGINS_PER_CELL,
        authenticators: AUTHENTICATORS,
        cache_entries: CACHE_ENTRIES,
        refused_ms: REFUSED_MS,
        limit_per_user: limit.per_user,
        limit_per_address: limit.per_address,
        limit_window_s: limit.window_s,
        log_level: main.debug_level().min(4),
    }
}

/// What of `config` cannot be had before httpd is stopped and started, in words.
fn needs_full_restart(kept: &Kept, config: &ServerConfig) -> Vec<String> {
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

/// Whether so many deaths speak for a pause. Forgets old ones.
fn must_pause(deaths: &mut Vec<u64>, now_ms: u64) -> bool {
    deaths.retain(|at| now_ms.saturating_sub(*at) < DEATHS_MS);
    deaths.len() >= DEATHS
}

/// Does a broker answer there? Waits a little for that of an httpd that is just ending.
///
/// Who only holds the socket, as a CGI daemon that has survived its httpd does, answers nothing; nobody waits for him.
fn is_in_use(path: &Path) -> bool {
    let Ok(address) = SocketAddrUnix::new(path) else { return false };
    let mut unanswered = 0;
    for _ in 0..LISTENER_TRIES {
        // Not blocking: where nobody takes connections, one too many would wait for ever.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
        match socket.and_then(|socket| connect(&socket, &address).map(|()| socket)) {
            Ok(socket) if answers(&socket) => {
                unanswered = 0;
                std::thread::sleep(LISTENER_PAUSE);
            }
            Ok(_) => unanswered += 1,
            Err(Errno::AGAIN) => {
                unanswered += 1;
                std::thread::sleep(LISTENER_PAUSE);
            }
            Err(_) => return false,
        }
        if unanswered >= LISTENER_SILENCE {
            return false;
        }
    }
    true
}

/// Is a question answered within [`LISTENER_PAUSE`]?
fn answers(socket: &OwnedFd) -> bool {
    let pause = rustix::time::Timespec::try_from(LISTENER_PAUSE).ok();
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    send(socket, b"status", SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok()
        && poll(&mut fds, pause.as_ref()).is_ok_and(|n| n > 0)
        && recv(socket, &mut [0; 1], RecvFlags::DONTWAIT).is_ok_and(|(n, _)| n > 0)
}

/// Makes the administrators' socket. What lies there from an earlier httpd is removed, anything else is left alone.
///
/// # Errors
/// [`NotStarted`] names the socket and says what is wrong.
fn make_listener(path: &Path) -> Result<OwnedFd, NotStarted> {
    let wrong = |e: &dyn core::fmt::Display| NotStarted(format!("control socket {}: {e}", path.display()));
    let dir = path.parent().filter(|d| d.components().next() == Some(Component::RootDir));
    let Some(dir) = dir else { return Err(wrong(&"its name must be absolute")) };
    if !dir.exists() {
        std::fs::create_dir(dir).map_err(|e| wrong(&e))?;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).map_err(|e| wrong(&e))?;
    }
    let meta = std::fs::metadata(dir).map_err(|e| wrong(&e))?;
    if meta.uid() != 0 || meta.mode() & 0o022 != 0 {
        return Err(wrong(&"its directory must belong to root and be writable for root only"));
    }
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() && is_in_use(path) => {
            return Err(wrong(
                &"another httpd's broker listens there; SetAFSControlSocket names another one",
            ));
        }
        Ok(meta) if meta.file_type().is_socket() => std::fs::remove_file(path).map_err(|e| wrong(&e))?,
        Ok(_) => return Err(wrong(&"something else lies there")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(wrong(&e)),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(|e| wrong(&e))?;
    let address = SocketAddrUnix::new(path).map_err(|e| wrong(&e))?;
    // The parent has one thread, so nobody else makes a file meanwhile.
    let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = bind(&socket, &address);
    rustix::process::umask(umask);
    bound.map_err(|e| wrong(&e))?;
    listen(&socket, BACKLOG).map_err(|e| wrong(&e))?;
    Ok(socket)
}

impl Kept {
    /// Makes everything, at httpd's first real start.
    ///
    /// # Errors
    /// [`NotStarted`] says what cannot be had.
    fn make(config: &ServerConfig, socket: &Path) -> Result<Self, NotStarted> {
        let lanes_n = usize::from(config.lanes());
        let listener = make_listener(socket)?;
        let board = Board::create().map_err(|e| failed("board")(&e))?;
        let board_read_only = Board::read_only(&board).map_err(|e| failed("board")(&e))?;
        let locks = LockTable::create(lanes_n).map_err(|e| failed("locks of the lanes")(&e))?;
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
    fn load(process: Process<'_>) -> Option<Self> {
        let bytes = process.kept(KEY)?;
        bincode::decode_from_slice(&bytes, bincode::config::standard()).ok().map(|(kept, _)| kept)
    }

    /// Keeps the record for the next generation.
    fn save(&self, process: Process<'_>) {
        if let Ok(bytes) = bincode::encode_to_vec(self, bincode::config::standard()) {
            process.keep(KEY, &bytes);
        }
    }

    /// Starts a nanny with its descriptors.
    ///
    /// # Errors
    /// [`NotStarted`] if its program is not to be trusted or cannot be started.
    fn start(&mut self) -> Result<(), NotStarted> {
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
    fn close_all(&self) {
        let lanes = self.lanes.iter();
        let pipes = lanes.flat_map(|l| [l.worker_request, l.worker_reply, l.broker_request, l.broker_reply]);
        let others = [self.board, self.board_read_only, self.listener, self.control];
        for number in pipes.chain(others).filter(|n| *n > 2) {
            KeptFd::with_number(number).close();
        }
    }

    /// Closes our end of the control socket, which ends the nanny.
    fn close_control(&mut self) {
        if self.control > 2 {
            KeptFd::with_number(self.control).close();
        }
        self.control = -1;
    }

    /// Sends the configuration, if it has not been sent.
    fn tell(&mut self, config: &[u8], main: Server<'_>) {
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
                main.log(Level::Warning, &format!("the nanny does not take its configuration yet: {e}"))
            }
        }
    }

    /// Logs what the nanny has reported.
    fn hear(&self, main: Server<'_>) {
        let Ok(control) = KeptFd::with_number(self.control).dup() else { return };
        let mut buffer = vec![0; REPORT_MAX];
        loop {
            let received = recv(&control, buffer.as_mut_slice(), RecvFlags::DONTWAIT);
            let Ok((n, _)) = received else { return };
            match buffer.get(..n) {
                None | Some([]) => return,
                Some([b'R', generation @ ..]) => {
                    let generation = generation.try_into().map(u64::from_le_bytes).unwrap_or(0);
                    main.log(Level::Notice, &format!("the broker is ready, generation {generation}"));
                }
                Some([b'D', text @ ..]) => {
                    let text = String::from_utf8_lossy(text);
                    main.log(Level::Error, &format!("the broker ended: {text}"));
                }
                Some(_) => main.log(Level::Warning, "the nanny says something unknown"),
            }
        }
    }
}

/// A new configuration counts: makes or finds what is kept, sees that a nanny runs, tells it.
///
/// `pconf` ends with the next restart. Does nothing but check while the configuration is only being tried.
///
/// # Errors
/// [`NotStarted`] says why httpd should not go on.
pub fn configure(main: Server<'_>, pconf: Pool<'_>) -> Result<(), NotStarted> {
    let config = main.config();
    let cells = all_cells(main.all().map(Server::config));
    let process = main.process().ok_or_else(|| NotStarted("httpd has no process record".to_owned()))?;
    let known = Kept::load(process);
    let version = known.as_ref().map_or(0, |k| k.version).saturating_add(1);
    let realms = all_realms(main.all().map(Server::config));
    let services = all_services(main.all().map(Server::config));
    let bytes = broker_config(config, &cells, &realms, &services, version)
        .to_bytes()
        .map_err(|e| NotStarted(e.to_string()))?;
    if mpm::pass() != mpm::Pass::Real {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        return Err(NotStarted(
            "httpd has to be started by root: it starts the broker as another user".to_owned(),
        ));
    }
    let restarted = known.is_some();
    let mut kept = match known {
        Some(kept) => {
            for line in needs_full_restart(&kept, config) {
                main.log(Level::Warning, &line);
            }
            kept
        }
        None => {
            let socket = match config.control_socket() {
                Some(path) => path.to_owned(),
                None => httpd::in_run_directory(pconf, CONTROL_SOCKET)
                    .map(PathBuf::from)
                    .ok_or_else(|| NotStarted("httpd has no run directory (DefaultRuntimeDir)".to_owned()))?,
            };
            Kept::make(config, &socket)?
        }
    };
    kept.version = version;
    kept.unsent = true;
    if kept.nanny == 0 {
        match kept.start() {
            // A server that runs is not stopped by this: logins fail until it works.
            Err(e) if restarted => main.log(Level::Crit, &format!("no nanny: {e}")),
            other => other?,
        }
    }
    if kept.nanny != 0 {
        httpd::watch(pconf, kept.nanny);
    }
    kept.tell(&bytes, main);
    kept.save(process);
    let client_conf = snapshot(main, pconf);
    *parent() = Some(Parent { kept, config: bytes, client_conf, given_up: false });
    Ok(())
}

/// Copies the cells' configuration to where the children's client reads it, with what the client wants besides.
fn snapshot(main: Server<'_>, pconf: Pool<'_>) -> PathBuf {
    let dir = httpd::in_run_directory(pconf, c"mod_afs.client").map_or_else(PathBuf::new, PathBuf::from);
    let made = (|| -> Result<(), String> {
        match std::fs::create_dir(&dir) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e.to_string()),
            _ => {}
        }
        let meta = std::fs::symlink_metadata(&dir).map_err(|e| e.to_string())?;
        if !meta.is_dir() || meta.uid() != 0 {
            return Err("is not a directory of root".to_owned());
        }
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).map_err(|e| e.to_string())?;
        pag::userspace::snapshot_confdir(main.config().conf_dir(), &dir).map_err(|e| e.to_string())?;
        for name in ["ThisCell", "CellServDB", "cacheinfo"] {
            let mode = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(dir.join(name), mode).map_err(|e| e.to_string())?;
        }
        Ok(())
    })();
    if let Err(e) = made {
        main.log(Level::Crit, &format!("nothing in AFS can be served: {}: {e}", dir.display()));
    }
    dir
}

/// AFS is configured no more: nanny and broker end, lanes and sockets stay for a later configuration.
pub fn forget(main: Server<'_>) {
    *parent() = None;
    let Some(process) = main.process() else { return };
    let Some(mut kept) = Kept::load(process) else { return };
    if mpm::pass() == mpm::Pass::Real && kept.nanny != 0 {
        // Both end when this socket is closed.
        kept.close_control();
        kept.nanny = 0;
        kept.save(process);
    }
}

/// The nanny is gone: starts another, at once or at the next [`monitor`].
pub fn ended(pid: i32, how: Ended) {
    httpd::with_main_server(|main| ended_under(main, pid, how));
}

/// As [`ended`], with the server that logs it.
fn ended_under(main: Server<'_>, pid: i32, how: Ended) {
    let mut state = parent();
    let Some(parent) = state.as_mut() else { return };
    if parent.kept.nanny != pid {
        return;
    }
    parent.kept.hear(main);
    parent.kept.nanny = 0;
    if mpm::is_stopping() {
        return;
    }
    let (words, code) = in_words(how);
    main.log(Level::Error, &format!("the nanny (pid {pid}) {words}"));
    if code == Some(BAD_CONFIG) {
        main.log(Level::Crit, "logins fail until the configuration is corrected and httpd restarted");
        parent.given_up = true;
    }
    let now = now_ms();
    parent.kept.deaths.push(now);
    if must_pause(&mut parent.kept.deaths, now) {
        main.log(Level::Error, "the nanny dies again and again; the next one waits for some seconds");
    } else {
        parent.revive(main);
    }
    if let Some(process) = main.process() {
        parent.kept.save(process);
    }
}

/// About every ten seconds: hears the nanny, and starts one that is due.
pub fn monitor(main: Server<'_>) {
    let mut state = parent();
    let Some(parent) = state.as_mut() else { return };
    parent.kept.hear(main);
    if parent.kept.nanny == 0 && !mpm::is_stopping() {
        parent.revive(main);
    }
    let Parent { kept, config, .. } = parent;
    kept.tell(config, main);
    if let Some(process) = main.process() {
        parent.kept.save(process);
    }
}

impl Parent {
    /// Starts a nanny, unless that is no use.
    fn revive(&mut self, main: Server<'_>) {
        if self.given_up {
            return;
        }
        match (self.kept.start(), main.pconf()) {
            (Ok(()), Some(pconf)) => {
                httpd::watch(pconf, self.kept.nanny);
                self.kept.tell(&self.config, main);
                main.log(Level::Notice, &format!("another nanny was started (pid {})", self.kept.nanny));
            }
            (Ok(()), None) => main.log(Level::Crit, "a nanny was started, but nobody watches it"),
            (Err(e), _) => main.log(Level::Crit, &format!("no nanny: {e}")),
        }
    }
}

/// How a process ended, and its exit status if it had one.
fn in_words(how: Ended) -> (String, Option<i32>) {
    match how {
        Ended::Status(status) => {
            // From its main loop httpd gives the exit status or the signal, at a restart what wait(2) gave.
            let status = if status > 0xff { status >> 8 } else { status };
            (format!("ended with status {status}"), Some(status))
        }
        Ended::Unknown => ("ended".to_owned(), None),
    }
}

/// What a child takes along.
#[derive(Debug)]
pub struct Inherited {
    /// The lanes, or why there are none.
    pub lanes: Result<weblog_proto::Lanes, String>,
    /// The board.
    pub board: Result<weblog_fds::BoardReader, String>,
    /// The table of waiting workers.
    pub waiting: Option<WaitTable>,
    /// Directory with ThisCell and CellServDB for the client.
    pub client_conf: PathBuf,
}

/// In a new child, once: takes over what is for children, and closes what is not. `None` where the module is not used.
pub fn inherit(main: Server<'_>) -> Option<Inherited> {
    let Some(state) = parent().take() else {
        if let Some(kept) = main.process().and_then(Kept::load) {
            kept.close_all();
        }
        return None;
    };
    let kept = state.kept;
    let mut lanes = Vec::with_capacity(kept.lanes.len());
    let mut wrong = None;
    for lane in &kept.lanes {
        KeptFd::with_number(lane.broker_request).close();
        KeptFd::with_number(lane.broker_reply).close();
        let own = |number: i32| KeptFd::with_number(number).own();
        match (own(lane.worker_request), own(lane.worker_reply)) {
            (Ok(request), Ok(reply)) => lanes.push(weblog_proto::Lane { request, reply }),
            (Err(e), _) | (_, Err(e)) => wrong = Some(e.to_string()),
        }
    }
    for number in [kept.board, kept.listener, kept.control] {
        KeptFd::with_number(number).close();
    }
    let board = KeptFd::with_number(kept.board_read_only)
        .own()
        .map_err(|e| e.to_string())
        .and_then(|fd| weblog_fds::BoardReader::map(fd).map_err(|e| e.to_string()));
    let lanes = match (wrong, httpd::attach_locks(kept.locks)) {
        (Some(e), _) => Err(e),
        (None, Err(e)) => Err(e.to_string()),
        (None, Ok(locks)) => Ok(weblog_proto::Lanes::new(lanes, locks)),
    };
    Some(Inherited {
        lanes,
        board,
        waiting: httpd::attach_waiting(kept.waiting).ok(),
        client_conf: state.client_conf,
    })
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

    #[test]
    fn a_nanny_that_dies_again_and_again_pauses_and_old_deaths_are_forgotten() {
        let mut deaths: Vec<u64> = (0..9).collect();
        assert!(!must_pause(&mut deaths, 100));
        deaths.push(50);
        assert!(must_pause(&mut deaths, 100));
        assert!(!must_pause(&mut deaths, 100_000));
        assert!(deaths.is_empty());
    }

    #[test]
    fn the_broker_is_told_all_cells_once_and_values_that_it_takes() {
        let cell = |name: &str| Cell::new(name).unwrap();
        let (a, b) = (cell("a.example"), cell("b.example"));
        let servers = [
            ServerConfig { cells: Some([a.clone(), b.clone()].into()), ..ServerConfig::EMPTY },
            ServerConfig { default_cell: Some(b.clone()), ..ServerConfig::EMPTY },
            ServerConfig::EMPTY,
        ];
        let cells = all_cells(servers.iter());
        let realms = all_realms(servers.iter());
        assert_eq!(cells, [a, b]);
        let config = broker_config(&ServerConfig::EMPTY, &cells, &realms, &[], 5);
        assert_eq!(BrokerConfig::from_bytes(&config.to_bytes().unwrap()).unwrap(), config);
    }

    /// A socket in a directory of its own that somebody listens on; the rest is his business.
    fn listened_to(name: &str) -> (PathBuf, OwnedFd) {
        let dir = std::env::temp_dir().join(format!("afsweb-{name}-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("s");
        let socket = make_listener(&path).unwrap();
        (path, socket)
    }

    #[test]
    fn a_socket_that_somebody_holds_but_nobody_answers_on_does_not_keep_httpd_from_starting() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        // As a CGI daemon that has survived its httpd holds it.
        let (path, _held) = listened_to("held");
        let (tell, told) = std::sync::mpsc::channel();
        let there = path.clone();
        std::thread::spawn(move || tell.send(make_listener(&there).is_ok()));
        assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok(true));
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_socket_on_which_a_broker_answers_is_spared() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (path, socket) = listened_to("live");
        std::thread::spawn(move || {
            rustix::io::ioctl_fionbio(&socket, false).unwrap();
            while let Ok(asker) = rustix::net::accept(&socket) {
                let mut buffer = [0; 64];
                if recv(&asker, &mut buffer, RecvFlags::empty()).is_ok() {
                    let _ = send(&asker, b"a broker\n", SendFlags::NOSIGNAL);
                }
            }
        });
        let error = make_listener(&path).unwrap_err().to_string();
        assert!(error.contains("another httpd's broker"), "{error}");
        assert!(path.exists());
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn the_socket_replaces_a_stale_one_and_nothing_else() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = std::env::temp_dir().join(format!("afsweb-socket-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("s");
        for _ in 0..2 {
            let socket = make_listener(&path).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
            drop(socket);
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert!(make_listener(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(make_listener(&path).is_err());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
