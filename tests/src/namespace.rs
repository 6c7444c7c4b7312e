//! A private world: network, mounts, processes, IPC and host name of its own, on a root that is an overlay of the host's.
//!
//! ```text
//! launcher (the caller) -> helper -> init (process 1) -> manager -> the command
//! ```
//! The *helper* makes the namespaces and waits. *init* makes the root and reaps.
//! The *manager* starts cells, kaservers and httpd, then the command, whose exit status everybody passes on.
//! The launcher holds the *lifeline*, the write end of a pipe: when it is gone, in whatever way the launcher ended,
//! init exits and the kernel kills all that is in the world.

mod bridge;
mod helper;
mod init;
mod manager;
mod over_usr;
mod root;
mod setting;

pub use bridge::{Bridge, bridge};
pub use over_usr::over_usr;
pub(crate) use over_usr::{inner as over_usr_inner, outer as over_usr_outer};
pub(crate) use {
    helper::helper, init::init, init::reap_until, manager::manager, setting::make as make_setting,
};

use crate::httpd::Mpm;
use crate::kernel_client::Start;
use crate::world::{self, Sizes, World};
use crate::{built, roles, wait};
use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{SigSet, Signal};
use rustix::io::FdFlags;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Exit status when the world could not be made.
pub const FAILED: u8 = 125;
/// Exit status when the world was ended from outside.
pub const ENDED: u8 = 130;
/// This program, inside.
pub(crate) const SELF_INSIDE: &str = "/run/afsweb-harness";

/// What the roles are told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    tree: PathBuf,
    scratch: PathBuf,
    pub(crate) results: PathBuf,
    programs: PathBuf,
    pub(crate) executable: PathBuf,
    contents: Contents,
    sizes: Sizes,
    pub(crate) command: Vec<OsString>,
    cwd: PathBuf,
    /// The kernel's AFS client, in a guest.
    pub(crate) client: Option<Start>,
    /// Of the launcher's environment what a guest shall have.
    pub(crate) environment: Vec<(String, String)>,
}

impl Plan {
    /// Reads what the launcher wrote.
    pub(crate) fn read(file: &str) -> Result<Self> {
        serde_json::from_str(&fs::read_to_string(file).with_context(|| file.to_owned())?)
            .context("plan of the world")
    }

    /// Empties the results and writes it there: the file.
    pub(crate) fn write(&self) -> Result<PathBuf> {
        if self.results.exists() {
            fs::remove_dir_all(&self.results).with_context(|| self.results.display().to_string())?;
        }
        fs::create_dir_all(&self.results)?;
        let file = self.results.join("plan.json");
        fs::write(&file, serde_json::to_string_pretty(self)?)?;
        Ok(file)
    }
}

/// What runs in a world before the command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Contents {
    /// Nothing: only the root and the network.
    Empty,
    /// Both cells, their content and kaservers.
    Cells,
    /// The same, with all programs of ours built and installed; none of them runs.
    CellsAndPrograms,
    /// The cells, and an httpd with our module.
    CellsAndHttpd(Mpm),
}

/// Makes worlds.
#[derive(Debug, Clone)]
pub struct Launcher {
    plan: Plan,
}

impl Launcher {
    /// Worlds whose servers come from the unpacked packages in `tree`, with mount points in `cache`;
    /// logs go to `results`, which is emptied first. Contents: [`Contents::Cells`].
    ///
    /// # Errors
    /// A path cannot be made absolute.
    pub fn new(tree: &Path, cache: &Path, results: &Path) -> Result<Self> {
        Ok(Self {
            plan: Plan {
                tree: tree.canonicalize().with_context(|| tree.display().to_string())?,
                scratch: std::path::absolute(cache)?.join("world"),
                results: std::path::absolute(results)?,
                programs: built::directory()?,
                executable: std::env::current_exe()?.canonicalize()?,
                contents: Contents::Cells,
                sizes: Sizes { big: 4 << 20 },
                command: Vec::new(),
                cwd: std::env::current_dir()?,
                client: None,
                environment: environment_for_guests(),
            },
        })
    }

    /// What runs before the command.
    #[must_use]
    pub fn contents(mut self, contents: Contents) -> Self {
        self.plan.contents = contents;
        self
    }

    /// Size of the big file, bytes.
    #[must_use]
    pub fn big_file(mut self, bytes: u64) -> Self {
        self.plan.sizes.big = bytes;
        self
    }

    /// Where our built programs lie, if not beside the running one.
    #[must_use]
    pub fn programs(mut self, dir: &Path) -> Self {
        self.plan.programs = dir.to_owned();
        self
    }

    /// Working directory of the command.
    #[must_use]
    pub fn cwd(mut self, dir: &Path) -> Self {
        self.plan.cwd = dir.to_owned();
        self
    }

    /// What it would make.
    pub(crate) fn into_plan(self) -> Plan {
        self.plan
    }

    /// Starts a world that runs `command` when all else in it is up.
    ///
    /// # Errors
    /// Not root, or processes and pipes are refused. What fails later is told on standard error, status [`FAILED`].
    pub fn spawn(&self, command: &[OsString]) -> Result<Running> {
        if !rustix::process::geteuid().is_root() {
            bail!(
                "a world of its own (namespaces, mounts, a network device) needs root: run this as root or by sudo"
            );
        }
        if command.is_empty() {
            bail!("no command for the world");
        }
        let plan = Plan { command: command.to_vec(), ..self.plan.clone() };
        fs::create_dir_all(&plan.scratch).with_context(|| plan.scratch.display().to_string())?;
        let plan_file = plan.write()?;
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        // Only the read end is inherited; it does no harm in another process.
        rustix::io::fcntl_setfd(&read, FdFlags::empty())?;
        let child = Command::new(roles::EXECUTABLE)
            .arg(roles::HELPER)
            .arg(&plan_file)
            .arg(read.as_raw_fd().to_string())
            .spawn()
            .context("cannot start the helper of the world")?;
        Ok(Running { child, lifeline: Lifeline(Arc::new(Mutex::new(Some(write)))), results: plan.results })
    }

    /// [`Launcher::spawn`], and waits for the end: the exit status of the command.
    ///
    /// # Errors
    /// As there.
    pub fn run(&self, command: &[OsString]) -> Result<u8> {
        self.spawn(command)?.wait()
    }
}

/// Ends a world when the last clone goes, or at [`Lifeline::cut`].
#[derive(Debug, Clone)]
pub struct Lifeline(Arc<Mutex<Option<OwnedFd>>>);

impl Lifeline {
    /// Ends the world. For the handler of Ctrl-C; whoever waits for the world then sees its end.
    pub fn cut(&self) {
        let mut end = match self.0.lock() {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        };
        *end = None;
    }
}

/// A world that runs; it ends when this goes.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lifeline: Lifeline,
    results: PathBuf,
}

impl Running {
    /// What ends the world from elsewhere, as from a signal's handler.
    #[must_use]
    pub fn lifeline(&self) -> Lifeline {
        self.lifeline.clone()
    }

    /// The directory of results.
    #[must_use]
    pub fn results(&self) -> &Path {
        &self.results
    }

    /// Waits until everything before the command is up.
    ///
    /// # Errors
    /// The world ended before, or `limit` passed.
    pub fn wait_ready(&mut self, limit: Duration) -> Result<World> {
        let file = self.results.join(world::DESCRIPTION_COPY);
        let child = &mut self.child;
        let text = wait::until("the world", limit, || {
            if let Ok(text) = fs::read_to_string(&file) {
                return Ok(Some(text));
            }
            match child.try_wait()? {
                Some(status) => bail!("the world ended before it was ready: {status}"),
                None => Ok(None),
            }
        })?;
        serde_json::from_str(&text).context("description of the world")
    }

    /// Waits for the end of the command: its exit status, or 128 + the signal that ended it.
    ///
    /// # Errors
    /// waitpid(2) failed.
    pub fn wait(&mut self) -> Result<u8> {
        Ok(code(self.child.wait()?))
    }

    /// How the command ended, if it did.
    ///
    /// # Errors
    /// waitpid(2) failed.
    pub fn ended(&mut self) -> Result<Option<u8>> {
        Ok(self.child.try_wait()?.map(code))
    }

    /// Relays connections to `listen` (on the host) to `target` (in the world).
    ///
    /// # Errors
    /// The address is taken, or the world has ended.
    pub fn bridge(&self, listen: SocketAddr, target: SocketAddr) -> Result<Bridge> {
        bridge(listen, self.child.id(), target)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.lifeline.cut();
        let _ = self.child.wait();
    }
}

/// The variables by which tests are told something.
fn environment_for_guests() -> Vec<(String, String)> {
    std::env::vars()
        .filter(|(name, _)| name.starts_with("AFSWEB_") || name == "RUST_BACKTRACE" || name == "LANG")
        .collect()
}

/// Exit status as a shell tells it.
pub(crate) fn code(status: ExitStatus) -> u8 {
    let n = status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(i32::from(FAILED));
    u8::try_from(n).unwrap_or(FAILED)
}

/// The signals that a terminal sends.
fn terminal_signals() -> SigSet {
    let mut set = SigSet::empty();
    for s in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        set.add(s);
    }
    set
}
