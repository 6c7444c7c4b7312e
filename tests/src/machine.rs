//! An AFS machine: a host name, an address, and directories of its own where Debian's servers look for theirs.
//!
//! Every program of it runs in a mount namespace of its own in which these directories stand at
//! `/etc/openafs`, `/var/lib/openafs`, `/var/log/openafs` and `/vicepa`, and in a UTS namespace with its name.

use crate::process::{self, Guarded};
use crate::roles;
use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Where the servers look, and the name of the directory that stands there.
const PLACES: [(&str, &str); 4] = [
    ("etc", "/etc/openafs"),
    ("lib", "/var/lib/openafs"),
    ("log", "/var/log/openafs"),
    ("vicepa", "/vicepa"),
];

/// Time for one administrative command.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// An AFS machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// Its full name.
    pub hostname: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its directories lie here.
    pub dir: PathBuf,
    /// Its logs lie here.
    pub log: PathBuf,
}

impl Machine {
    /// Makes its directories; the logs lie in `log`.
    ///
    /// # Errors
    /// The file system's.
    pub fn create(hostname: &str, address: Ipv4Addr, dir: &Path, log: &Path) -> Result<Self> {
        for sub in ["etc/server", "lib/db", "lib/local", "lib/logs", "log", "vicepa"] {
            fs::create_dir_all(dir.join(sub)).with_context(|| format!("{}", dir.display()))?;
        }
        fs::create_dir_all(log)?;
        fs::write(dir.join("vicepa/AlwaysAttach"), "")?;
        fs::write(dir.join("lib/local/NetInfo"), format!("{address}\n"))?;
        Ok(Self { hostname: hostname.to_owned(), address, dir: dir.to_owned(), log: log.to_owned() })
    }

    /// A command on this machine.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut c = Command::new(crate::namespace::SELF_INSIDE);
        c.arg(roles::MACHINE).arg(&self.hostname).arg(&self.dir).arg(&self.log).arg(program);
        c
    }

    /// Runs a command on this machine to its end.
    ///
    /// # Errors
    /// It fails or takes too long; the message shows what it wrote.
    pub fn run<'a>(&self, program: &str, args: impl IntoIterator<Item = &'a str>) -> Result<String> {
        process::run(self.command(program).args(args), COMMAND_LIMIT)
    }

    /// Starts a server on this machine; what it prints goes to `<name>.out` beside its logs.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, name: &str, args: &[&str]) -> Result<Guarded> {
        let out = fs::File::create(self.log.join(format!("{name}.out")))?;
        let mut command = self.command(&format!("/usr/lib/openafs/{name}"));
        command.args(args).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        Guarded::spawn(&mut command, &format!("{name} on {}", self.hostname), Duration::from_millis(500))
    }
}

/// The role of a process that becomes a program of a machine: `HOSTNAME DIR LOG PROGRAM ARGS...`.
///
/// # Errors
/// Namespaces or mounts are refused, or the program is not there. It does not return otherwise.
pub fn become_program(args: &[String]) -> Result<()> {
    let [hostname, dir, log, program, rest @ ..] = args else {
        anyhow::bail!("HOSTNAME DIR LOG PROGRAM [ARGS]")
    };
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS).context("unshare")?;
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).context("private mounts")?;
    for (sub, place) in PLACES {
        let from = if sub == "log" { PathBuf::from(log) } else { Path::new(dir).join(sub) };
        mount(Some(&from), place, nothing, MsFlags::MS_BIND, nothing)
            .with_context(|| format!("bind {} to {place}", from.display()))?;
    }
    nix::unistd::sethostname(hostname).context("sethostname")?;
    let e = Command::new(program).args(rest).exec();
    Err(e).with_context(|| program.clone())
}
