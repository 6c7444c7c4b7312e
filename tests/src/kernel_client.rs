//! The AFS clients of the kernel: starts one, in a guest whose kernel is ours, and mounts /afs.

use crate::process;
use crate::wait;
use crate::world::{Cell, FIRST_CELL, World};
use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Where the client serves.
const MOUNT: &str = "/afs";
/// Time for each step.
const LIMIT: Duration = Duration::from_secs(60);
/// In every cell; everybody may read it.
const PAGE: &str = "public/page.html";
/// State of a call whose question is out, in /proc/net/rxrpc/calls.
const AWAITS_REPLY: &str = "ClAwtRpl";
/// See [`meet`].
const MOMENT: Duration = Duration::from_millis(20);
/// What httpd's user may have of keys with kAFS, as configtest tells an administrator to set it: by default 39 tokens of a KDC's,
/// and the kernel goes on counting those of children that have gone.
const KEYS: [(&str, &str); 2] = [("maxkeys", "20000"), ("maxbytes", "10000000")];
/// What names the client for the command in a guest.
pub const VARIABLE: &str = "AFSWEB_CLIENT";

/// An AFS client of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KernelClient {
    /// OpenAFS's kernel module.
    Openafs,
    /// Linux's own client, kAFS.
    Kafs,
}

impl KernelClient {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Openafs, Self::Kafs];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Openafs => "openafs",
            Self::Kafs => "kafs",
        }
    }

    /// What statfs(2) says of its file systems (`f_type`).
    ///
    /// Source: OpenAFS `src/afs/LINUX/osi_vfsops.c` (`AFS_VFSMAGIC`); Linux `include/uapi/linux/magic.h` (`AFS_FS_MAGIC`).
    #[must_use]
    pub fn magic(self) -> i64 {
        match self {
            Self::Openafs => 0x5346_414f,
            Self::Kafs => 0x6b41_4653,
        }
    }
}

impl fmt::Display for KernelClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A client, and what it takes to start it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Start {
    /// OpenAFS's, from this module.
    Openafs {
        /// The module's file.
        module: PathBuf,
    },
    /// Linux's own.
    Kafs,
}

impl Start {
    /// Which client it is.
    pub(crate) fn client(&self) -> KernelClient {
        match self {
            Self::Openafs { .. } => KernelClient::Openafs,
            Self::Kafs => KernelClient::Kafs,
        }
    }

    /// Loads the client, mounts /afs, and waits until each cell of the world answers there.
    ///
    /// # Errors
    /// The kernel refuses it, or a cell cannot be seen through it.
    pub(crate) fn start(&self, world: &World) -> Result<()> {
        if fs::read_dir(MOUNT).context(MOUNT)?.next().is_some() {
            bail!("{MOUNT} is not empty");
        }
        match self {
            Self::Openafs { module } => start_openafs(module)?,
            Self::Kafs => start_kafs(world)?,
        }
        for cell in &world.cells {
            match self {
                Self::Openafs { .. } => see(cell)?,
                Self::Kafs => meet(cell)?,
            }
        }
        Ok(())
    }
}

/// Waits until a page of the cell can be read.
fn see(cell: &Cell) -> Result<()> {
    let page = Path::new(MOUNT).join(&cell.name).join(PAGE);
    let mut last = String::new();
    wait::until(&page.display().to_string(), LIMIT, || {
        Ok(fs::read(&page).map_err(|e| last = e.to_string()).ok())
    })
    .with_context(|| last)
    .map(|_| ())
}

/// Lets kAFS ask the cell for the first time, with the server of volume locations held until the question is out.
///
/// The first question is for the server's capabilities, which OpenAFS's refuses. If the refusal comes while kAFS is still
/// putting the question, Linux 6.1 uses a call that is gone, and dies (seen in `afs_vlserver_probe_result`).
fn meet(cell: &Cell) -> Result<()> {
    let servers: Vec<_> = cell.servers.iter().filter(|s| s.program == "vlserver").collect();
    for s in &servers {
        process::signal_pid(s.pid, Signal::STOP)?;
    }
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| see(cell));
        let asked = wait::until_true("kAFS's question to the cell", LIMIT, || {
            Ok(reader.is_finished() || fs::read_to_string("/proc/net/rxrpc/calls")?.contains(AWAITS_REPLY))
        });
        // Sent; what the kernel still has to note of it takes no time that counts.
        std::thread::sleep(MOMENT * wait::slow_factor());
        for s in &servers {
            process::signal_pid(s.pid, Signal::CONT)?;
        }
        asked?;
        reader.join().map_err(|_| anyhow::anyhow!("the thread that reads panicked"))?
    })
}

/// The kernel module, then its daemons, which mount.
fn start_openafs(module: &Path) -> Result<()> {
    let run = |command: &mut Command| process::run(command, LIMIT);
    run(Command::new("insmod").arg(module)).context("OpenAFS's kernel module")?;
    // A cache in memory: what lies below an overlay cannot hold one.
    run(Command::new("afsd")
        .args(["-memcache", "-blocks", "80000", "-chunksize", "17", "-dynroot", "-fakestat"])
        .args(["-mountdir", MOUNT, "-stat", "3000", "-daemons", "3", "-volumes", "100"]))
    .context("OpenAFS's client")?;
    Ok(())
}

/// The module, cells by their addresses, a rule that answers questions for names, room for keys, the mount.
fn start_kafs(world: &World) -> Result<()> {
    // A dynamic root takes each unknown name for a cell and asks for its address: there is nobody who knows.
    let _ = fs::remove_dir_all("/etc/request-key.d");
    fs::write("/etc/request-key.conf", "create dns_resolver * * /bin/keyctl negate %k 60 %S\n")
        .context("/etc/request-key.conf")?;
    let address = |cell: &Cell| cell.machines.first().map(|m| m.address).context("no machine");
    let root = world.cell(FIRST_CELL)?;
    let parameter = format!("rootcell={}:{}", root.name, address(root)?);
    process::run(Command::new("modprobe").args(["kafs", &parameter]), LIMIT).context("kAFS")?;
    for cell in world.cells.iter().filter(|c| c.name != root.name) {
        fs::write("/proc/fs/afs/cells", format!("add {} {}\n", cell.name, address(cell)?))
            .with_context(|| format!("cell {} for kAFS", cell.name))?;
    }
    for (name, value) in KEYS {
        fs::write(format!("/proc/sys/kernel/keys/{name}"), value).context(name)?;
    }
    mount(Some("none"), MOUNT, Some("afs"), MsFlags::empty(), Some("dyn")).context("mount of kAFS")
}
