//! A login by the broker, and by the bare library calls in a process that was started ahead: for `cargo xtask bench`.
//!
//! Both read the same `CellServDB` and ask the same kaserver.
//! The broker's login ends with a call to the cell's protection server that only this user may make; the bare one does not.

use crate::process::Guarded;
use crate::wait;
use crate::world::World;
use anyhow::{Context as _, Result, bail, ensure};
use command_fds::{CommandFdExt as _, FdMapping};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use weblog_fds::{Board, BoardReader, LockTable, layout};
use weblog_proto::{BrokerConfig, CellConfig, GetToken, Lanes, Method, Password, Reply, Request, pipes};
use zeroize::Zeroizing;

/// Lanes of the broker; its asker uses one at a time.
const LANES: usize = 2;
/// Authenticators that it keeps started ahead.
const AUTHENTICATORS: u16 = 2;
/// Generation of this broker.
const GENERATION: u64 = 1;
/// Lifetime that both ask for, seconds.
const LIFE_S: u32 = 36_000;
/// One login takes no longer.
const LIMIT: Duration = Duration::from_secs(20);
/// Whom the broker runs as.
const USER: &str = "weblog";

/// A broker of one's own, with everything that httpd and nanny would hold.
#[derive(Debug)]
pub struct BrokerLogin {
    lanes: Lanes,
    listener: PathBuf,
    log: PathBuf,
    /// The broker ends when this does.
    control: OwnedFd,
    /// Ends the process.
    process: Guarded,
    /// Held for as long as the broker writes on it.
    _board: BoardReader,
    /// Where its socket lies.
    _dir: tempfile::TempDir,
}

impl BrokerLogin {
    /// Starts the installed broker and waits until it can log visitors in.
    ///
    /// # Errors
    /// It was not built, cannot be started, or does not become ready: the text has the end of its log.
    pub fn start(world: &World) -> Result<Self> {
        let program = world.programs.weblog.as_ref().context("the broker was not built")?;
        let dir = tempfile::tempdir_in("/run").context("directory of the broker's socket")?;
        let (listener, log) = (dir.path().join("socket"), world.results.join("bench-broker.log"));
        let (mut lanes, mut mappings) = (Vec::new(), Vec::new());
        for i in 0..LANES {
            let (lane, broker) = pipes()?;
            lanes.push(lane);
            mappings.push(FdMapping { parent_fd: broker.request, child_fd: layout::lane_request(i) });
            mappings.push(FdMapping { parent_fd: broker.reply, child_fd: layout::lane_reply(i) });
        }
        let board_fd = Board::create()?;
        let board = BoardReader::map(Board::read_only(&board_fd)?)?;
        let (control, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let socket = seqpacket()?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(&listener)?)?;
        rustix::net::listen(&socket, 8)?;
        mappings.push(FdMapping { parent_fd: theirs, child_fd: layout::CONTROL });
        mappings.push(FdMapping { parent_fd: board_fd, child_fd: layout::BOARD });
        mappings.push(FdMapping { parent_fd: socket, child_fd: layout::LISTENER });
        let mut command = Command::new(program);
        command
            .args(["--lanes", &LANES.to_string(), "--user", USER, "--generation", &GENERATION.to_string()])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .fd_mappings(mappings)
            .context("the broker's descriptors")?;
        let process = Guarded::spawn(&mut command, "broker", Duration::from_secs(5))?;
        // Our copies of the broker's ends go with it.
        drop(command);
        let lanes = Lanes::new(lanes, LockTable::create(LANES)?);
        let broker = Self { lanes, listener, log, control, process, _board: board, _dir: dir };
        broker.configure(world).with_context(|| broker.tail())?;
        broker.settle().with_context(|| broker.tail())?;
        Ok(broker)
    }

    /// Tells the broker which cells there are, and waits for its "ready".
    fn configure(&self, world: &World) -> Result<()> {
        let config = BrokerConfig {
            version: 1,
            conf_dir: world.conf_dir.to_str().context("directory of the cells")?.to_owned(),
            cells: world
                .cells
                .iter()
                .map(|c| CellConfig { name: c.name.clone(), method: Method::Kaserver, realm: None })
                .collect(),
            realms: Vec::new(),
            keytab: None,
            services: Vec::new(),
            login_deadline_ms: 15_000,
            logins_per_cell: 8,
            authenticators: AUTHENTICATORS,
            cache_entries: 1_000,
            refused_ms: 1_000,
            limit_per_user: 1_000,
            limit_per_address: 1_000,
            limit_window_s: 60,
            log_level: 2,
        };
        let mut message = vec![b'C'];
        message.extend(config.to_bytes()?);
        rustix::net::send(&self.control, &message, SendFlags::NOSIGNAL)?;
        let mut answer = [0; 9];
        let n = receive(&self.control, &mut answer).context("the broker's \"ready\"")?;
        let [b'R', generation @ ..] = answer else {
            bail!("the broker says {answer:?} instead of \"ready\"")
        };
        ensure!(n == 9 && u64::from_le_bytes(generation) == GENERATION, "a broker of another generation");
        Ok(())
    }

    /// Time from the question to the token, with nothing remembered of this user.
    ///
    /// # Errors
    /// There is no token: the text has the end of the broker's log.
    pub fn login(&mut self, cell: &str, user: &str, password: &str) -> Result<Duration> {
        self.timed(cell, user, password)
            .with_context(|| format!("{user}@{cell} by the broker; {}", self.tail()))
    }

    fn timed(&self, cell: &str, user: &str, password: &str) -> Result<Duration> {
        let forgotten = self.administrate("forget *")?;
        ensure!(forgotten.starts_with("ok"), "forget: {forgotten}");
        self.settle()?;
        let request = Request::GetToken(GetToken {
            realm: None,
            user: user.into(),
            cell: cell.into(),
            password: Password::new(Zeroizing::new(password.into())).context("password")?,
            address: "192.0.2.200".parse()?,
            token_lifetime_s: LIFE_S,
            cache_expiration_s: 600,
        });
        let begin = Instant::now();
        let end = begin + LIMIT;
        loop {
            match self.lanes.exchange(&request, end)? {
                Reply::Granted(_) => return Ok(begin.elapsed()),
                Reply::Pending { retry_ms } => std::thread::sleep(Duration::from_millis(retry_ms.into())),
                other => bail!("no token: {other:?}"),
            }
            ensure!(Instant::now() < end, "no answer within {LIMIT:?}");
        }
    }

    /// Waits until as many authenticators are ready as shall be, and nothing else of the last login runs.
    fn settle(&self) -> Result<()> {
        let wanted = format!("authenticators: {AUTHENTICATORS} ready, 0 starting, 0 busy");
        wait::until_true("the broker's authenticators", LIMIT, || {
            Ok(self.administrate("status")?.lines().any(|l| l == wanted))
        })
    }

    /// One command of an administrator, and its answer.
    fn administrate(&self, command: &str) -> Result<String> {
        let socket = seqpacket()?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(&self.listener)?)
            .context("the broker's socket")?;
        rustix::net::send(&socket, command.as_bytes(), SendFlags::NOSIGNAL)?;
        let mut answer = [0; 4096];
        let n = receive(&socket, &mut answer)?;
        Ok(String::from_utf8_lossy(answer.get(..n).unwrap_or_default()).into_owned())
    }

    fn tail(&self) -> String {
        crate::process::tail(&self.log, 15)
    }
}

impl Drop for BrokerLogin {
    fn drop(&mut self) {
        // Its guard kills it if it does not listen.
        let _ = rustix::net::send(&self.control, b"Q", SendFlags::NOSIGNAL);
        let process = &mut self.process;
        let _ = wait::until("the end of the broker", Duration::from_secs(5), || process.ended());
    }
}

/// A socket as the broker's administrators use it.
fn seqpacket() -> Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// The next message, waiting at most [`LIMIT`].
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<usize> {
    let limit = Timespec::try_from(LIMIT)?;
    ensure!(poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&limit))? > 0, "no answer within {LIMIT:?}");
    let (n, _) = rustix::net::recv(socket, buffer, RecvFlags::empty())?;
    ensure!(n > 0, "the broker has closed the socket");
    Ok(n)
}

/// Logins by `ka_StringToKey`, `ka_Authenticate` and `ka_GetToken` alone, a process each, as the library demands.
#[derive(Debug)]
pub struct BareLogin {
    program: PathBuf,
    conf_dir: PathBuf,
    servers: Vec<(String, String)>,
    /// For the next login.
    ready: Bare,
}

/// What the program is told.
#[derive(Serialize)]
struct Order<'a> {
    server: &'a str,
    cell: &'a str,
    name: &'a str,
    password: &'a str,
    life_s: u32,
}

/// What the program answers, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Outcome {
    failed: Option<String>,
    code: i32,
    ticket: String,
}

impl BareLogin {
    /// Finds the program and starts the process of the first login.
    ///
    /// # Errors
    /// The program was not built, or the library is not there.
    pub fn start(world: &World) -> Result<Self> {
        let program = world.programs.login.clone().context("libafsauthent-login was not built")?;
        let servers = world
            .cells
            .iter()
            .filter_map(|c| Some((c.name.clone(), c.kaserver.as_ref()?.address.to_string())))
            .collect();
        let conf_dir = world.conf_dir.clone();
        let ready = Bare::start(&program, &conf_dir)?;
        Ok(Self { program, conf_dir, servers, ready })
    }

    /// Time from the credentials to the answer, of a process that has started the library before.
    ///
    /// # Errors
    /// There is no token.
    pub fn login(&mut self, cell: &str, user: &str, password: &str) -> Result<Duration> {
        let (_, server) = self.servers.iter().find(|(c, _)| c == cell).context("a cell without kaserver")?;
        let order = Order { server, cell, name: user, password, life_s: LIFE_S };
        let took = self.ready.log_in(&order).with_context(|| format!("{user}@{cell} by the library"))?;
        self.ready = Bare::start(&self.program, &self.conf_dir)?;
        Ok(took)
    }
}

/// A process that has started the library and waits for credentials.
#[derive(Debug)]
struct Bare {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Bare {
    fn start(program: &Path, conf_dir: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .arg(conf_dir)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("libafsauthent-login")?;
        let (input, output) = (child.stdin.take(), child.stdout.take().context("no output")?);
        let mut bare = Self { child, input, output: BufReader::new(output) };
        bare.line("ready")?;
        Ok(bare)
    }

    fn log_in(&mut self, order: &Order<'_>) -> Result<Duration> {
        let order = serde_json::to_vec(order)?;
        let mut input = self.input.take().context("it has done its login")?;
        let begin = Instant::now();
        input.write_all(&order)?;
        // The end of the input is the end of the credentials.
        drop(input);
        let outcome = self.line("outcome ")?;
        let took = begin.elapsed();
        let outcome: Outcome = serde_json::from_str(&outcome)?;
        if let Some(step) = outcome.failed {
            bail!("{step} failed: {}", outcome.code);
        }
        ensure!(!outcome.ticket.is_empty(), "a token without ticket");
        // Its end is not to run beside the next login.
        self.child.wait()?;
        Ok(took)
    }

    /// The rest of the next line that starts like this; the library prints lines of its own.
    fn line(&mut self, start: &str) -> Result<String> {
        loop {
            let mut line = String::new();
            ensure!(self.output.read_line(&mut line)? > 0, "it ended: {}", self.child.wait()?);
            if let Some(rest) = line.trim_end().strip_prefix(start) {
                return Ok(rest.to_owned());
            }
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
