//! The role *guest-init*: process 1 of a guest. Makes what is around the command, gives signs of life, reaps, switches off.

use super::{mounts, ports};
use crate::namespace::{self, Plan};
use crate::{process, roles, wait};
use anyhow::{Context as _, Result, bail};
use ports::Said;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Between two signs of life.
const SIGN: Duration = Duration::from_secs(2);
/// Time for modules of the kernel.
const MODULES_LIMIT: Duration = Duration::from_secs(60);
/// Time for output that is still on its way when all processes have ended.
const OUTPUT_LIMIT: Duration = Duration::from_secs(10);
/// How much longer everything may take than on the machine itself: the processor is emulated.
const SLOWER: &str = "5";
/// Which processors work on packets of the loopback device: a mask, in hexadecimal.
const LOOPBACK_PROCESSORS: &str = "/sys/class/net/lo/queues/rx-0/rps_cpus";
/// How many packets may wait for one of them.
const PACKETS_WAITING: &str = "/proc/sys/net/core/netdev_max_backlog";
/// Where programs are.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Process 1. Argument: file of the plan.
pub(crate) fn init(args: &[String]) -> Result<ExitCode> {
    let result = mounts::make().and_then(|()| run(args));
    let code = result.unwrap_or_else(|e| {
        // The console: whatever else was to be used may not be there.
        let _ = writeln!(io::stderr(), "guest-init: {e:#}");
        namespace::FAILED
    });
    if let Ok(mut port) = ports::open_inside(ports::SAYS) {
        let _ = port.write_all(Said::Ended(code).line().as_bytes());
    }
    switch_off()
}

/// Everything up to the end of the command.
fn run(args: &[String]) -> Result<u8> {
    let [plan_file] = args else { bail!("PLAN") };
    let plan = Plan::read(plan_file)?;
    let (out, err) = (ports::open_inside(ports::OUT)?, ports::open_inside(ports::ERR)?);
    let signs = give_signs()?;
    let told = err.try_clone()?;
    let result = start_and_reap(plan_file, &plan, out, err);
    if let Err(e) = &result {
        let _ = writeln!(&told, "guest: {e:#}");
    }
    drop(told);
    // The port is free for the last word when the thread has ended.
    signs.end();
    if let Ok(results) = File::open(&plan.results) {
        let _ = rustix::fs::syncfs(&results);
    }
    result
}

/// Network and configuration as in a world of namespaces, then the manager, until it ends.
fn start_and_reap(plan_file: &str, plan: &Plan, out: File, err: File) -> Result<u8> {
    mounts::make_results(&plan.results)?;
    let mut modprobe = Command::new("/sbin/modprobe");
    process::run(modprobe.args(["-a", "tun", "dummy"]), MODULES_LIMIT).context("network devices")?;
    namespace::make_setting(plan)?;
    keep_packets_in_order()?;
    // Pipes, since a port cannot be opened twice, as a shell does with /dev/stderr.
    let mut manager = Command::new(roles::EXECUTABLE)
        .args([roles::MANAGER, plan_file])
        .env_clear()
        .envs(plan.environment.iter().map(|(k, v)| (k, v)))
        .env("PATH", PATH)
        .env("HOME", "/root")
        .env(wait::SLOW_FACTOR, SLOWER)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start the manager")?;
    let relays = [
        manager.stdout.take().map(|from| relay(from, out)).transpose()?,
        manager.stderr.take().map(|from| relay(from, err)).transpose()?,
    ];
    let status = namespace::reap_until(manager.id())?;
    end_all();
    for done in relays.into_iter().flatten() {
        // Its end, or that nothing came for long enough.
        let _ = done.recv_timeout(OUTPUT_LIMIT);
    }
    Ok(namespace::code(ExitStatus::from_raw(status)))
}

/// Has the first processor alone work on what processes here send to each other, as if it came by a network card with one
/// queue: docs/facts.md, "Linux".
fn keep_packets_in_order() -> Result<()> {
    // Who sends does not wait for the other processor, so there can be more.
    for (file, value) in [(LOOPBACK_PROCESSORS, "1"), (PACKETS_WAITING, "30000")] {
        fs::write(file, value).context(file)?;
    }
    Ok(())
}

/// Copies to a port; the receiver hears when all is copied.
fn relay(mut from: impl Read + Send + 'static, mut to: File) -> Result<Receiver<()>> {
    let (done, heard) = channel();
    std::thread::Builder::new().name("output".into()).spawn(move || {
        // Not io::copy: it splices, and the port loses what comes that way.
        let mut buffer = [0; 8192];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            if to.write_all(buffer.get(..n).unwrap_or_default()).is_err() {
                break;
            }
        }
        let _ = done.send(());
    })?;
    Ok(heard)
}

/// Signs of life until their end.
struct Signs {
    stop: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Signs {
    fn end(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

/// Begins to give signs of life.
fn give_signs() -> Result<Signs> {
    let mut port = ports::open_inside(ports::SAYS)?;
    let (stop, stopped) = channel();
    let thread = std::thread::Builder::new().name("signs of life".into()).spawn(move || {
        loop {
            let _ = port.write_all(Said::Alive.line().as_bytes());
            if stopped.recv_timeout(SIGN).is_ok() {
                return;
            }
        }
    })?;
    Ok(Signs { stop, thread })
}

/// Ends every process but this one.
fn end_all() {
    // -1: all that may be signalled, process 1 excepted.
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(-1), nix::sys::signal::Signal::SIGKILL);
}

/// Switches the machine off; nothing that has to be kept lies in it.
fn switch_off() -> ! {
    loop {
        let _ = fs::write("/proc/sysrq-trigger", "o");
        std::thread::sleep(Duration::from_secs(1));
    }
}
