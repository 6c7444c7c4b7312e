//! A guest: an emulated machine with Debian's own kernel, for tests of the kernel's AFS clients.
//!
//! ```text
//! launcher (the caller) -> emulator | guest-init (process 1) -> manager -> the command
//! ```
//! The guest's root is an overlay of the host's files, read-only below, and of unpacked packages; the results' directory alone is
//! writable. It has no network but its own. What runs in it is the same *manager* as in a world of namespaces; when cells and
//! content are there, the kernel's client is started and /afs mounted.
//! The emulator dies with the launcher. A guest that gives no sign of life is ended, and the end of its console shown.

mod emulator;
mod init;
mod initramfs;
mod mounts;
mod ports;
mod watch;

pub(crate) use emulator::become_emulator;
pub(crate) use init::init;

use crate::kernel_client::{KernelClient, Start};
use crate::namespace::{self, Plan};
use crate::{process, roles};
use anyhow::{Context as _, Result, bail};
use emulator::Export;
use ports::Said;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use watch::Watch;

/// Between two looks at the guest.
const PAUSE: Duration = Duration::from_millis(100);
/// Time from the end of the command to the end of the emulator.
const OFF_LIMIT: Duration = Duration::from_secs(30);
/// Lines of the console that are shown when a guest is given up.
const CONSOLE_LINES: usize = 40;

/// What a guest is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Unpacked packages: the emulator, busybox.
    pub emulator: PathBuf,
    /// Unpacked packages: kernel, modules, tools; they lie over the host's files.
    pub system: PathBuf,
    /// Unpacked packages: the AFS servers; the same.
    pub servers: PathBuf,
    /// The kernel's version.
    pub kernel: String,
    /// OpenAFS's module for it; needed for that client only.
    pub module: Option<PathBuf>,
}

/// Ends guests from elsewhere, as from a signal's handler.
#[derive(Debug, Clone, Default)]
pub struct Ender(Arc<AtomicBool>);

impl Ender {
    /// Ends the guests that it was given to, now and later.
    pub fn end(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether they have to end.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Makes guests.
#[derive(Debug, Clone)]
pub struct Launcher {
    parts: Parts,
    plan: Plan,
    limit: Duration,
    ender: Ender,
}

impl Launcher {
    /// Guests in which is what `world` would have, and the kernel's AFS client. None runs longer than `limit`.
    ///
    /// # Errors
    /// The module for the client is missing.
    pub fn new(
        parts: Parts,
        world: namespace::Launcher,
        client: KernelClient,
        limit: Duration,
        ender: &Ender,
    ) -> Result<Self> {
        let start = match client {
            KernelClient::Kafs => Start::Kafs,
            KernelClient::Openafs => Start::Openafs {
                module: parts.module.clone().context("OpenAFS's module has not been built")?,
            },
        };
        let mut plan = world.into_plan();
        plan.client = Some(start);
        Ok(Self { parts, plan, limit, ender: ender.clone() })
    }

    /// Boots a guest that runs `command` when all else in it is up, shows what it writes, and waits for the end:
    /// its exit status, or [`namespace::ENDED`] if the guest was ended from elsewhere.
    ///
    /// To be called in a thread that lives on: the emulator ends with it.
    ///
    /// # Errors
    /// The guest cannot be booted, or had to be given up; the text has the end of its console.
    pub fn run(&self, command: &[OsString]) -> Result<u8> {
        if command.is_empty() {
            bail!("no command for the guest");
        }
        let mut plan = self.plan.clone();
        plan.command = command.to_vec();
        let plan_file = plan.write()?;
        let console = plan.results.join("console.log");
        let initramfs = plan.results.join("initramfs");
        fs::write(&initramfs, self.initramfs(&plan, &plan_file)?)?;
        let listeners = ports::Listeners::new()?;
        let mut command = emulator::command(
            &self.parts,
            &initramfs,
            &console,
            &[
                Export { tag: "host", path: Path::new("/"), is_writable: false },
                Export { tag: "servers", path: &self.parts.servers, is_writable: false },
                Export { tag: "system", path: &self.parts.system, is_writable: false },
                Export { tag: emulator::RESULTS, path: &plan.results, is_writable: true },
            ],
            |name| listeners.path(name),
        )?;
        let mut watch = Watch::new(Instant::now(), self.limit);
        let mut emulator = process::Guarded::spawn(&mut command, "the emulator", Duration::from_secs(2))?;
        let streams = listeners.accept(|| match emulator.ended()? {
            Some(status) => bail!("the emulator ended: {status}"),
            None => Ok(()),
        })?;
        let [out, err, says] = <[UnixStream; 3]>::try_from(streams)
            .map_err(|_| anyhow::anyhow!("the emulator took too few sockets"))?;
        let shown = [relay(out, io::stdout())?, relay(err, io::stderr())?];
        let code = self.attend(&mut emulator, &mut watch, &listen(says)?);
        // With the emulator the sockets end, and so the threads that show.
        emulator.stop()?;
        for thread in shown {
            let _ = thread.join();
        }
        fs::remove_file(&initramfs)?;
        code.map_err(|e| anyhow::anyhow!("{e:#}; {}", process::tail(&console, CONSOLE_LINES)))
    }

    /// The first file system, which boots into our process 1.
    fn initramfs(&self, plan: &Plan, plan_file: &Path) -> Result<Vec<u8>> {
        initramfs::build(
            &self.parts.emulator.join("usr/bin/busybox"),
            &self.parts.system.join("usr/lib/modules").join(&self.parts.kernel),
            &["system", "servers", "host"],
            &plan.executable,
            &[roles::GUEST_INIT, plan_file.to_str().context("odd path of the plan")?],
        )
    }

    /// Waits for the end of the command and then of the emulator.
    fn attend(
        &self,
        emulator: &mut process::Guarded,
        watch: &mut Watch,
        says: &Receiver<Said>,
    ) -> Result<u8> {
        let mut code = None;
        let mut off_by = None;
        loop {
            match says.recv_timeout(PAUSE) {
                Ok(Said::Alive) => watch.sign(Instant::now()),
                Ok(Said::Ended(status)) => {
                    code = Some(status);
                    off_by = Some(Instant::now() + OFF_LIMIT);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(PAUSE),
            }
            if self.ender.has_ended() {
                return Ok(namespace::ENDED);
            }
            let ended = emulator.ended()?;
            // What it said last may still be on its way.
            if ended.is_some()
                && let Some(Said::Ended(status)) = says.try_iter().last()
            {
                code = Some(status);
            }
            match (code, ended) {
                (Some(code), Some(_)) => return Ok(code),
                (None, Some(status)) => bail!("the guest ended by itself (the emulator: {status})"),
                (Some(code), None) if off_by.is_some_and(|by| Instant::now() >= by) => return Ok(code),
                (Some(_), None) => {}
                (None, None) => {
                    if let Some(why) = watch.verdict(Instant::now()) {
                        bail!(why);
                    }
                }
            }
        }
    }
}

/// Shows what comes, as it comes, in a thread of its own.
fn relay(mut from: UnixStream, mut to: impl Write + Send + 'static) -> Result<JoinHandle<()>> {
    Ok(std::thread::Builder::new().name("guest's output".into()).spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            // Nobody may be left to see it; the guest must not wait for that.
            let _ = to.write_all(buffer.get(..n).unwrap_or_default()).and_then(|()| to.flush());
        }
    })?)
}

/// Hears what process 1 says, in a thread of its own.
fn listen(from: UnixStream) -> Result<Receiver<Said>> {
    let (to, heard) = channel();
    std::thread::Builder::new().name("guest's signs".into()).spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send(Said::read(&line)).is_err() {
                return;
            }
        }
    })?;
    Ok(heard)
}
