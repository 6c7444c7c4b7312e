//! A private world: network, mounts, processes, IPC and host name of its own, on a root that is an overlay of the host's.
//!
//! ```text
//! launcher (the caller) -> helper -> init (process 1) -> manager -> the command
//! ```
//! The *helper* makes the namespaces and waits. *init* makes the root and reaps.
//! The *manager* starts cells, kaservers and httpd, then the command, whose exit status everybody passes on.
//! The launcher holds the *lifeline*, the write end of a pipe: when it is gone, in whatever way the launcher ended,
//! init exits and the kernel kills all that is in the world.

use crate::cell::Cell;
use crate::httpd::{self, Httpd, Mpm};
use crate::kaserver::TestKaserver;
use crate::process;
use crate::roles;
use crate::world::{self, CELLS, CONF_DIR, STATE_DIR, Sizes, World};
use crate::{built, wait};
use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, Signal};
use rustix::fs::{Mode, OFlags};
use rustix::io::FdFlags;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Exit status when the world could not be made.
pub const FAILED: u8 = 125;
/// Exit status when the world was ended from outside.
pub const ENDED: u8 = 130;
/// This program, inside.
pub(crate) const SELF_INSIDE: &str = "/run/afsweb-harness";
/// Time for a small system program.
const TOOL_LIMIT: Duration = Duration::from_secs(30);
/// Time for the copy of the packages.
const COPY_LIMIT: Duration = Duration::from_secs(120);
/// The network device of the world.
const DEVICE: &str = "afs0";
/// The broker's user.
const BROKER_USER: &str = "weblog";

/// What the roles are told.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Plan {
    tree: PathBuf,
    scratch: PathBuf,
    results: PathBuf,
    programs: PathBuf,
    executable: PathBuf,
    contents: Contents,
    sizes: Sizes,
    command: Vec<OsString>,
    cwd: PathBuf,
}

/// What runs in a world before the command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Contents {
    /// Nothing: only the root and the network.
    Empty,
    /// Both cells, their content and kaservers.
    Cells,
    /// The same, and an httpd with our module.
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
        if plan.results.exists() {
            fs::remove_dir_all(&plan.results).with_context(|| plan.results.display().to_string())?;
        }
        fs::create_dir_all(&plan.results)?;
        let plan_file = plan.results.join("plan.json");
        fs::write(&plan_file, serde_json::to_string_pretty(&plan)?)?;
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

/// Exit status as a shell tells it.
fn code(status: ExitStatus) -> u8 {
    let n = status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(i32::from(FAILED));
    u8::try_from(n).unwrap_or(FAILED)
}

/// A listening address of the host whose connections end in a world. It stops to listen when this goes.
#[derive(Debug)]
pub struct Bridge {
    address: SocketAddr,
    stop: Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Bridge {
    /// The address that it listens at (the port is the real one if 0 was asked for).
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Release);
        // The thread sits in accept: one more connection wakes it.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Relays connections to `listen` to `target` in the network namespace of the process `pid`.
///
/// # Errors
/// The address is taken, or there is no such process.
pub fn bridge(listen: SocketAddr, pid: u32, target: SocketAddr) -> Result<Bridge> {
    let namespace = Arc::new(File::open(format!("/proc/{pid}/ns/net")).context("network of the world")?);
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen at {listen}"))?;
    let address = listener.local_addr()?;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = std::thread::Builder::new().name("bridge".into()).spawn(move || {
        for visitor in listener.incoming() {
            if stopped.load(std::sync::atomic::Ordering::Acquire) {
                return;
            }
            let (Ok(visitor), namespace) = (visitor, Arc::clone(&namespace)) else { continue };
            // A thread that cannot be had, or a connection that fails, costs this visitor only.
            let _ = std::thread::Builder::new().name("relay".into()).spawn(move || {
                let _ = relay(visitor, &namespace, target);
            });
        }
    })?;
    Ok(Bridge { address, stop, thread: Some(thread) })
}

/// Connects inside (the calling thread moves there for good) and copies both ways until both are done.
fn relay(visitor: TcpStream, namespace: &File, target: SocketAddr) -> Result<()> {
    setns(namespace, CloneFlags::CLONE_NEWNET)?;
    let inside = TcpStream::connect_timeout(&target, Duration::from_secs(10))?;
    let (mut from_visitor, mut to_inside) = (visitor.try_clone()?, inside.try_clone()?);
    let up = std::thread::spawn(move || {
        let _ = io::copy(&mut from_visitor, &mut to_inside);
        let _ = to_inside.shutdown(std::net::Shutdown::Write);
    });
    let (mut from_inside, mut to_visitor) = (inside, visitor);
    let _ = io::copy(&mut from_inside, &mut to_visitor);
    let _ = to_visitor.shutdown(std::net::Shutdown::Both);
    let _ = up.join();
    Ok(())
}

// ---- role: helper

/// Makes the namespaces, starts init, waits for it. Arguments: file of the plan, descriptor of the lifeline.
pub(crate) fn helper(args: &[String]) -> Result<ExitCode> {
    let [plan_file, lifeline] = args else { bail!("PLAN LIFELINE") };
    // What comes from the terminal is for the command; the launcher ends the world by the lifeline.
    terminal_signals().thread_block().context("block signals")?;
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS,
    )
    .context("namespaces of its own are refused here (this needs root with CAP_SYS_ADMIN; in a container: --privileged)")?;
    make_private()?;
    let status = Command::new(roles::EXECUTABLE)
        .args([roles::INIT, plan_file, lifeline])
        .spawn()
        .context("cannot start the first process of the world")?
        .wait()?;
    Ok(ExitCode::from(code(status)))
}

/// The signals that a terminal sends.
fn terminal_signals() -> SigSet {
    let mut set = SigSet::empty();
    for s in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        set.add(s);
    }
    set
}

/// From here on no mount of ours reaches the host.
fn make_private() -> Result<()> {
    let nothing = None::<&str>;
    let private = || mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing);
    match private() {
        Ok(()) => Ok(()),
        // In a chroot the root is no mount point. Entering the own mount namespace goes to its root, and then back.
        Err(nix::Error::EINVAL) => {
            let root =
                rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            let cwd =
                rustix::fs::open(".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            setns(File::open("/proc/self/ns/mnt")?, CloneFlags::CLONE_NEWNS)
                .context("own mount namespace")?;
            private().context("private mounts")?;
            rustix::process::fchdir(&root)?;
            nix::unistd::chroot(".").context("back into the chroot")?;
            rustix::process::fchdir(&cwd)?;
            Ok(())
        }
        Err(e) => Err(e).context("private mounts"),
    }
}

// ---- role: init

/// First process of the world. Arguments as the helper's.
pub(crate) fn init(args: &[String]) -> Result<ExitCode> {
    let [plan_file, lifeline] = args else { bail!("PLAN LIFELINE") };
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // Process 1 is not ended by these, and whatever it starts inherits the mask.
    terminal_signals().thread_unblock().context("unblock signals")?;
    hold_lifeline(lifeline)?;
    let plan = read_plan(plan_file)?;
    make_root(&plan)?;
    make_network()?;
    make_configuration(&plan)?;
    let manager = Command::new(roles::EXECUTABLE)
        .args([roles::MANAGER, plan_file])
        .spawn()
        .context("cannot start the manager of the world")?;
    loop {
        // Orphans become our children: without this loop they would stay zombies.
        match rustix::process::wait(rustix::process::WaitOptions::empty()) {
            Ok(Some((pid, status))) if u32::try_from(pid.as_raw_nonzero().get()) == Ok(manager.id()) => {
                return Ok(ExitCode::from(code(ExitStatus::from_raw(status.as_raw()))));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).context("wait for the manager"),
        }
    }
}

/// Ends this process, and so the world, when the launcher is gone.
fn hold_lifeline(descriptor: &str) -> Result<()> {
    let mut pipe = File::open(format!("/proc/self/fd/{descriptor}")).context("lifeline")?;
    std::thread::Builder::new().name("lifeline".into()).spawn(move || {
        let _ = pipe.read(&mut [0; 1]);
        #[allow(clippy::exit, reason = "the end of process 1 is what kills the world")]
        std::process::exit(i32::from(ENDED));
    })?;
    Ok(())
}

fn read_plan(file: &str) -> Result<Plan> {
    serde_json::from_str(&fs::read_to_string(file).with_context(|| file.to_owned())?)
        .context("plan of the world")
}

/// Mounts of the host, in order, without those that the world has its own of.
fn host_mounts(scratch: &Path) -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("mounts of the host")?;
    let mut found: Vec<PathBuf> = Vec::new();
    for line in text.lines() {
        let Some(place) = line.split(' ').nth(4).map(unescape) else { continue };
        let own = ["/proc", "/sys", "/dev", "/run"].iter().any(|d| place.starts_with(d));
        let is_auto = line.contains(" - autofs ");
        if place != Path::new("/")
            && !own
            && !is_auto
            && !place.starts_with(scratch)
            && !found.contains(&place)
        {
            found.push(place);
        }
    }
    Ok(found)
}

/// Undoes the octal escapes of /proc/PID/mountinfo.
fn unescape(field: &str) -> PathBuf {
    let mut path = field.to_owned();
    for (escape, plain) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        path = path.replace(escape, plain);
    }
    PathBuf::from(path)
}

/// An overlay at `target`: `lower` below, what is written goes to `upper`. All given by descriptors, since options cannot quote.
fn overlay(lower: &Path, upper: &Path, work: &Path, target: &Path) -> Result<()> {
    fs::create_dir_all(upper)?;
    fs::create_dir_all(work)?;
    let open = |p: &Path| {
        rustix::fs::open(p, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .with_context(|| p.display().to_string())
    };
    let (l, u, w) = (open(lower)?, open(upper)?, open(work)?);
    let fd = |d: &OwnedFd| format!("/proc/self/fd/{}", d.as_raw_fd());
    let options = format!("lowerdir={},upperdir={},workdir={}", fd(&l), fd(&u), fd(&w));
    mount(Some("afsweb-world"), target, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .with_context(|| format!("overlay of {}", lower.display()))
}

/// Makes the root of the world and moves into it.
fn make_root(plan: &Plan) -> Result<()> {
    let nothing = None::<&str>;
    let mounts = host_mounts(&plan.scratch)?;
    let dev_is_mount =
        fs::read_to_string("/proc/self/mountinfo")?.lines().any(|l| l.split(' ').nth(4) == Some("/dev"));
    mount(Some("afsweb-world"), &plan.scratch, Some("tmpfs"), MsFlags::empty(), Some("mode=0755,size=90%"))
        .context("tmpfs of the world")?;
    let (root, upper) = (plan.scratch.join("root"), plan.scratch.join("upper"));
    fs::create_dir(&root)?;
    fs::create_dir(&upper)?;
    // Two lower layers must not lie inside each other, so the packages go into the upper one.
    process::run(Command::new("cp").arg("-a").arg(plan.tree.join(".")).arg(&upper), COPY_LIMIT)?;
    overlay(Path::new("/"), &upper, &plan.scratch.join("work"), &root)?;
    let inside = |p: &Path| root.join(p.strip_prefix("/").unwrap_or(p));
    for (n, place) in mounts.iter().enumerate() {
        let target = inside(place);
        let above = plan.scratch.join("above").join(n.to_string());
        if place.is_dir() && overlay(place, &above.join("upper"), &above.join("work"), &target).is_ok() {
            continue;
        }
        // A file, or a file system that cannot lie below an overlay: it is there, read-only.
        let bound = mount(Some(place), &target, nothing, MsFlags::MS_BIND | MsFlags::MS_REC, nothing)
            .and_then(|()| {
                mount(
                    nothing,
                    &target,
                    nothing,
                    MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY,
                    nothing,
                )
            });
        if let Err(e) = bound {
            let _ = writeln!(io::stderr(), "world: {} is left out: {e}", place.display());
        }
    }
    mount(Some(&plan.results), &inside(&plan.results), nothing, MsFlags::MS_BIND, nothing)
        .context("results")?;
    if dev_is_mount {
        mount(Some("/dev"), &inside(Path::new("/dev")), nothing, MsFlags::MS_BIND | MsFlags::MS_REC, nothing)
            .context("/dev")?;
    }
    for (what, place, options) in
        [("proc", "/proc", None), ("sysfs", "/sys", None), ("tmpfs", "/run", Some("mode=0755"))]
    {
        let target = inside(Path::new(place));
        fs::create_dir_all(&target)?;
        mount(Some(what), &target, Some(what), MsFlags::MS_NOSUID, options)
            .with_context(|| place.to_owned())?;
    }
    let shm = inside(Path::new("/dev/shm"));
    if shm.is_dir() {
        mount(Some("tmpfs"), &shm, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=1777"))
            .context("/dev/shm")?;
    }
    nix::unistd::chroot(&root).context("root of the world")?;
    nix::unistd::chdir("/").context("root of the world")?;
    Ok(())
}

/// The addresses of the world. The servers refuse loopback devices; a tap device needs no peer.
fn make_network() -> Result<()> {
    let ip = |args: &[&str]| process::run(Command::new("ip").args(args), TOOL_LIMIT);
    ip(&["link", "set", "lo", "up"])?;
    if !Path::new("/dev/net/tun").exists() {
        make_tun();
    }
    let kinds: [&[&str]; 3] = [
        &["tuntap", "add", "mode", "tap", "name", DEVICE],
        &["link", "add", DEVICE, "type", "dummy"],
        &["link", "add", DEVICE, "type", "veth", "peer", "name", "afs1"],
    ];
    let mut refused = Vec::new();
    if !kinds.iter().any(|args| ip(args).map_err(|e| refused.push(format!("{e:#}"))).is_ok()) {
        bail!("no network device for the servers (tap, dummy and veth tried):\n{}", refused.join("\n"));
    }
    for (_, address) in CELLS.iter().flat_map(|c| c.machines) {
        ip(&["addr", "add", &format!("{address}/24"), "dev", DEVICE])?;
    }
    ip(&["link", "set", DEVICE, "up"])?;
    Ok(())
}

/// The node of the tap driver; where it cannot be made, another device has to do.
fn make_tun() {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let _ = fs::create_dir_all("/dev/net");
    let _ = mknod("/dev/net/tun", SFlag::S_IFCHR, Mode::S_IRUSR | Mode::S_IWUSR, makedev(10, 200));
}

/// Names, users and the AFS client's configuration of the world.
fn make_configuration(plan: &Plan) -> Result<()> {
    nix::unistd::sethostname("web.cell.example").context("host name")?;
    let mut hosts = String::from("127.0.0.1 localhost\n");
    let mut cell_serv_db = String::new();
    for cell in &CELLS {
        for (n, (short, address)) in cell.machines.iter().enumerate() {
            hosts.push_str(&format!("{address} {short}.{}\n", cell.name));
            if n == 0 {
                cell_serv_db
                    .push_str(&format!(">{} #test cell\n{address} #{short}.{}\n", cell.name, cell.name));
            }
        }
        if cell.name == world::FIRST_CELL
            && let Some((_, address)) = cell.machines.first()
        {
            hosts.push_str(&format!("{address} web.cell.example\n"));
        }
    }
    replace("/etc/hosts", &hosts)?;
    replace("/etc/hostname", "web.cell.example\n")?;
    // Nobody answers here: a query would only cost time.
    replace("/etc/resolv.conf", "")?;
    let switch = fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    let others: Vec<&str> = switch.lines().filter(|l| !l.trim_start().starts_with("hosts:")).collect();
    replace("/etc/nsswitch.conf", &format!("{}\nhosts: files\n", others.join("\n")))?;
    if Path::new(CONF_DIR).exists() {
        fs::remove_dir_all(CONF_DIR)?;
    }
    for dir in
        [CONF_DIR, STATE_DIR, "/var/lib/openafs", "/var/log/openafs", "/vicepa", "/afs", "/var/cache/openafs"]
    {
        fs::create_dir_all(dir).with_context(|| dir.to_owned())?;
    }
    replace("/etc/openafs/ThisCell", &format!("{}\n", world::FIRST_CELL))?;
    replace("/etc/openafs/CellServDB", &cell_serv_db)?;
    replace("/etc/openafs/cacheinfo", "/afs:/var/cache/openafs:50000\n")?;
    mount(Some("afsweb-state"), STATE_DIR, Some("tmpfs"), MsFlags::empty(), Some("mode=0755,size=90%"))
        .context("state of the servers")?;
    add_user(BROKER_USER)?;
    std::os::unix::fs::symlink(&plan.executable, SELF_INSIDE).context(SELF_INSIDE)?;
    Ok(())
}

/// Writes a file anew, also where a link stood.
fn replace(file: &str, text: &str) -> Result<()> {
    match fs::remove_file(file) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).with_context(|| file.to_owned()),
        _ => fs::write(file, text).with_context(|| file.to_owned()),
    }
}

/// A system user and his group, if there is none of that name.
fn add_user(name: &str) -> Result<()> {
    let mut passwd = fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
    let mut group = fs::read_to_string("/etc/group").context("/etc/group")?;
    let has = |text: &str| text.lines().any(|l| l.split(':').next() == Some(name));
    if has(&passwd) {
        return Ok(());
    }
    let taken = |id: u32| {
        let id = id.to_string();
        passwd.lines().chain(group.lines()).any(|l| l.split(':').nth(2) == Some(id.as_str()))
    };
    let id = (900..999).rev().find(|&id| !taken(id)).context("no free system user id")?;
    if !has(&group) {
        group.push_str(&format!("{name}:x:{id}:\n"));
    }
    passwd.push_str(&format!("{name}:x:{id}:{id}::/nonexistent:/usr/sbin/nologin\n"));
    replace("/etc/passwd", &passwd)?;
    replace("/etc/group", &group)
}

// ---- role: manager

/// Starts what the plan says, then the command. Argument: file of the plan.
pub(crate) fn manager(args: &[String]) -> Result<ExitCode> {
    let [plan_file] = args else { bail!("PLAN") };
    // Handled, not blocked or ignored: only that is not inherited by the command, for which they are meant.
    ctrlc::set_handler(|| ()).context("handler of signals")?;
    let plan = read_plan(plan_file)?;
    let began = Instant::now();
    let mut world = World {
        results: plan.results.clone(),
        conf_dir: CONF_DIR.into(),
        cells: Vec::new(),
        programs: built::install(&plan.programs)?,
        sizes: plan.sizes,
        httpd: None,
    };
    let mut up = Up::default();
    if plan.contents != Contents::Empty {
        up.start_cells(&mut world)?;
        progress(&plan, &format!("cells are ready, {:.1} s", began.elapsed().as_secs_f32()));
    }
    if let Contents::CellsAndHttpd(mpm) = plan.contents {
        let options = httpd::Options {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            ..httpd::Options::new(mpm)
        };
        let server = Httpd::start(&world, options)?;
        world.httpd = Some(server.address());
        up.httpd = Some(server);
        progress(&plan, &format!("httpd is ready, {:.1} s", began.elapsed().as_secs_f32()));
    }
    world.publish()?;
    let [program, rest @ ..] = plan.command.as_slice() else { bail!("no command") };
    let path = std::env::var("PATH").unwrap_or_default();
    let status = Command::new(program)
        .args(rest)
        .current_dir(&plan.cwd)
        .env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"))
        .status()
        .with_context(|| format!("cannot run {}", program.to_string_lossy()))?;
    for cell in &mut up.cells {
        if let Err(e) = cell.must_run() {
            let _ = writeln!(io::stderr(), "world: {e:#}");
        }
    }
    Ok(ExitCode::from(code(status)))
}

/// A line of progress, on standard error and in the results.
fn progress(plan: &Plan, text: &str) {
    let _ = writeln!(io::stderr(), "world: {text}");
    let _ = File::options()
        .append(true)
        .create(true)
        .open(plan.results.join("progress.log"))
        .and_then(|mut f| writeln!(f, "{text}"));
}

/// What the manager started; httpd ends before the cells.
#[derive(Debug, Default)]
struct Up {
    httpd: Option<Httpd>,
    kaservers: Vec<TestKaserver>,
    cells: Vec<Cell>,
}

impl Up {
    /// Both cells side by side, kaservers, content, replicas.
    fn start_cells(&mut self, world: &mut World) -> Result<()> {
        let logs = world.results.clone();
        let started: Vec<Result<Cell>> = std::thread::scope(|s| {
            let threads: Vec<_> =
                CELLS.iter().map(|spec| s.spawn(|| Cell::start(spec, Path::new(STATE_DIR), &logs))).collect();
            threads
                .into_iter()
                .map(|t| {
                    t.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread that starts a cell panicked")))
                })
                .collect()
        });
        for cell in started {
            self.cells.push(cell?);
        }
        world.cells = self.cells.iter().map(|c| c.description.clone()).collect();
        if let Some(program) = world.programs.kaserver.clone() {
            for cell in &mut world.cells {
                let server = TestKaserver::start(&program, cell, Path::new(STATE_DIR), &logs)?;
                cell.kaserver = Some(server.description().clone());
                self.kaservers.push(server);
            }
        }
        // libuafs starts threads and never gives back what it took: it runs in a process of its own.
        crate::fill::fill_in_process(world)?;
        for (cell, spec) in self.cells.iter().zip(&CELLS) {
            cell.release(spec)?;
        }
        Ok(())
    }
}
