//! Logins by the broker, one or many at once, and by the bare library calls in a process that was started ahead: for
//! `cargo xtask bench`.
//!
//! Both sides read the same configuration and ask the same kaserver or KDC, each login in a process of its own that has
//! started the library before: libafsauthent demands that, and libkrb5's authenticators are the same program.
//! The broker's login ends with a call to the cell's protection server that only this user may make; the bare one does not.

use crate::crowd::Person;
use crate::process::Guarded;
use crate::wait;
use crate::world::{Cell, World};
use anyhow::{Context as _, Result, bail, ensure};
use command_fds::{CommandFdExt as _, FdMapping};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use weblog_fds::{Board, BoardReader, LockTable, layout};
pub use weblog_proto::Method;
use weblog_proto::{BrokerConfig, CellConfig, GetToken, Lanes, Password, Reply, Request, pipes};
use zeroize::Zeroizing;

/// Lanes of the broker, as many as httpd has by default.
const LANES: usize = 8;
/// Authenticators that it keeps started ahead, logins that it runs in a cell at the same time: as httpd tells it.
const AUTHENTICATORS: u16 = 4;
const LOGINS_PER_CELL: u16 = 16;
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
    pub fn start(world: &World, method: Method) -> Result<Self> {
        let program = world.programs.weblog.as_ref().context("the broker was not built")?;
        let dir = tempfile::tempdir_in("/run").context("directory of the broker's socket")?;
        let log = world.results.join(format!("bench-broker-{method:?}.log").to_lowercase());
        let listener = dir.path().join("socket");
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
        broker.configure(world, method).with_context(|| broker.tail())?;
        broker.settle().with_context(|| broker.tail())?;
        Ok(broker)
    }

    /// Tells the broker which cells there are and how to log in there, as httpd does by default, and waits for its "ready".
    fn configure(&self, world: &World, method: Method) -> Result<()> {
        let config = BrokerConfig {
            version: 1,
            conf_dir: world.conf_dir.to_str().context("directory of the cells")?.to_owned(),
            cells: world
                .cells
                .iter()
                .map(|c| CellConfig { name: c.name.clone(), method, realm: None })
                .collect(),
            realms: Vec::new(),
            keytab: None,
            services: Vec::new(),
            login_deadline_ms: 20_000,
            logins_per_cell: LOGINS_PER_CELL,
            authenticators: AUTHENTICATORS,
            cache_entries: 10_000,
            refused_ms: 5_000,
            limit_per_user: 10,
            limit_per_address: 50,
            limit_window_s: 300,
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
        self.forget()?;
        let address = Ipv4Addr::new(192, 0, 2, 200);
        let person = Person { name: user.into(), password: password.into(), address };
        self.ask(cell, &person).with_context(|| self.tail())
    }

    /// Time until all of them have their tokens, who ask at the same time, each from an address of his own as visitors do.
    ///
    /// # Errors
    /// One gets no token: the text has the end of the broker's log.
    pub fn all_at_once(&mut self, cell: &str, people: &[Person]) -> Result<Duration> {
        self.forget()?;
        let begin = Instant::now();
        std::thread::scope(|s| {
            let asking: Vec<_> = people.iter().map(|person| s.spawn(|| self.ask(cell, person))).collect();
            let mut answers = asking
                .into_iter()
                .map(|t| t.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread of an asker panicked"))));
            answers.try_for_each(|answer| answer.map(|_| ()))
        })
        .with_context(|| self.tail())?;
        Ok(begin.elapsed())
    }

    /// The same, each of them once the one before has his token.
    ///
    /// # Errors
    /// As [`BrokerLogin::all_at_once`].
    pub fn one_by_one(&mut self, cell: &str, people: &[Person]) -> Result<Duration> {
        self.forget()?;
        let begin = Instant::now();
        people
            .iter()
            .try_for_each(|person| self.ask(cell, person).map(|_| ()))
            .with_context(|| self.tail())?;
        Ok(begin.elapsed())
    }

    /// Has the broker forget everybody, and waits until it has nothing left to do.
    fn forget(&self) -> Result<()> {
        let forgotten = self.administrate("forget *")?;
        ensure!(forgotten.starts_with("ok"), "forget: {forgotten}");
        self.settle()
    }

    /// Time from the question to the token.
    fn ask(&self, cell: &str, person: &Person) -> Result<Duration> {
        let password = Zeroizing::new(person.password.clone().into_bytes());
        let request = Request::GetToken(GetToken {
            realm: None,
            user: person.name.clone(),
            cell: cell.into(),
            password: Password::new(password).context("password")?,
            address: person.address.into(),
            token_lifetime_s: LIFE_S,
            cache_expiration_s: 600,
        });
        let begin = Instant::now();
        let end = begin + LIMIT;
        loop {
            match self.lanes.exchange(&request, end)? {
                Reply::Granted(_) => return Ok(begin.elapsed()),
                Reply::Pending { retry_ms } => std::thread::sleep(Duration::from_millis(retry_ms.into())),
                other => bail!("no token for {}@{cell}: {other:?}", person.name),
            }
            ensure!(Instant::now() < end, "no answer for {}@{cell} within {LIMIT:?}", person.name);
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

/// Logins by the bare library calls alone.
#[derive(Debug)]
pub struct BareLogin {
    bare: Program,
    /// For the next login.
    ready: Bare,
}

/// What makes them.
#[derive(Debug)]
enum Program {
    /// `ka_StringToKey`, `ka_Authenticate` and `ka_GetToken`; the directory of the cells; cells and their kaservers.
    Kaserver(PathBuf, PathBuf, Vec<(String, String)>),
    /// `krb5_get_init_creds_password` and `krb5_get_credentials`; cells, their realms and their AFS services there.
    Krb5(PathBuf, Vec<(String, String, String)>),
}

/// What the program for kaservers is told.
#[derive(Serialize)]
struct KaserverOrder<'a> {
    server: &'a str,
    cell: &'a str,
    name: &'a str,
    password: &'a str,
    life_s: u32,
}

/// What the program for KDCs is told.
#[derive(Serialize)]
struct Krb5Order<'a> {
    principal: &'a str,
    service: &'a str,
    password: &'a str,
    life_s: u32,
}

/// What they answer, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Outcome {
    failed: Option<String>,
    code: i32,
    /// The ticket, or how long it is.
    ticket: serde_json::Value,
}

impl BareLogin {
    /// Finds the program of a method and starts the process of the first login.
    ///
    /// # Errors
    /// The program was not built, or the library is not there.
    pub fn start(world: &World, method: Method) -> Result<Self> {
        let bare = if method == Method::Kaserver {
            let program = world.programs.login.clone().context("libafsauthent-login was not built")?;
            let kaserver = |c: &Cell| Some((c.name.clone(), c.kaserver.as_ref()?.address.to_string()));
            Program::Kaserver(
                program,
                world.conf_dir.clone(),
                world.cells.iter().filter_map(kaserver).collect(),
            )
        } else {
            let program = world.programs.krb5_login.clone().context("libkrb5-login was not built")?;
            let service = |c: &Cell| {
                let realm = world.realm(c.realm.as_deref()?).ok()?;
                Some((c.name.clone(), realm.name.clone(), format!("{}@{}", realm.afs.as_ref()?, realm.name)))
            };
            Program::Krb5(program, world.cells.iter().filter_map(service).collect())
        };
        let ready = Bare::start(&bare)?;
        Ok(Self { bare, ready })
    }

    /// Time from the credentials to the answer, of a process that has started the library before.
    ///
    /// # Errors
    /// There is no token.
    pub fn login(&mut self, cell: &str, user: &str, password: &str) -> Result<Duration> {
        let order = self.bare.order(cell, user, password)?;
        let took = self.ready.log_in(&order).with_context(|| format!("{user}@{cell} by the library"))?;
        self.ready = Bare::start(&self.bare)?;
        Ok(took)
    }
}

impl Program {
    fn command(&self) -> Command {
        match self {
            Self::Kaserver(program, conf_dir, _) => {
                let mut command = Command::new(program);
                command.arg(conf_dir);
                command
            }
            Self::Krb5(program, _) => Command::new(program),
        }
    }

    fn order(&self, cell: &str, name: &str, password: &str) -> Result<Vec<u8>> {
        let order = match self {
            Self::Kaserver(_, _, servers) => {
                let (_, server) =
                    servers.iter().find(|(c, _)| c == cell).context("a cell without kaserver")?;
                serde_json::to_vec(&KaserverOrder { server, cell, name, password, life_s: LIFE_S })
            }
            Self::Krb5(_, services) => {
                let (_, realm, service) =
                    services.iter().find(|(c, ..)| c == cell).context("a cell without realm")?;
                let principal = &format!("{name}@{realm}");
                serde_json::to_vec(&Krb5Order { principal, service, password, life_s: LIFE_S })
            }
        };
        Ok(order?)
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
    fn start(program: &Program) -> Result<Self> {
        let mut command = program.command();
        let mut child = command
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        let (input, output) = (child.stdin.take(), child.stdout.take().context("no output")?);
        let mut bare = Self { child, input, output: BufReader::new(output) };
        bare.line("ready")?;
        Ok(bare)
    }

    fn log_in(&mut self, order: &[u8]) -> Result<Duration> {
        let mut input = self.input.take().context("it has done its login")?;
        let begin = Instant::now();
        input.write_all(order)?;
        // The end of the input is the end of the credentials.
        drop(input);
        let outcome = self.line("outcome ")?;
        let took = begin.elapsed();
        let outcome: Outcome = serde_json::from_str(&outcome)?;
        if let Some(step) = outcome.failed {
            bail!("{step} failed: {}", outcome.code);
        }
        ensure!(
            outcome.ticket.as_str().is_some_and(|t| !t.is_empty())
                || outcome.ticket.as_u64().is_some_and(|n| n > 0),
            "a token without ticket"
        );
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
