//! The role *init*: first process of a world. Makes what is around the command, holds the lifeline, reaps.

use super::{ENDED, Plan, code, root, setting, terminal_signals};
use crate::roles;
use anyhow::{Context as _, Result, bail};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, ExitStatus};

/// First process of the world. Arguments as the helper's.
pub(crate) fn init(args: &[String]) -> Result<ExitCode> {
    let [plan_file, lifeline] = args else { bail!("PLAN LIFELINE") };
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // Process 1 is not ended by these, and whatever it starts inherits the mask.
    terminal_signals().thread_unblock().context("unblock signals")?;
    hold_lifeline(lifeline)?;
    let plan = Plan::read(plan_file)?;
    root::enter(&plan)?;
    setting::make(&plan)?;
    let manager = Command::new(roles::EXECUTABLE)
        .args([roles::MANAGER, plan_file])
        .spawn()
        .context("cannot start the manager of the world")?;
    Ok(ExitCode::from(code(ExitStatus::from_raw(reap_until(manager.id())?))))
}

/// Reaps whatever ends until the process `pid` does: its status.
///
/// # Errors
/// waitpid(2) failed.
pub(crate) fn reap_until(pid: u32) -> Result<i32> {
    loop {
        // Orphans become our children: without this loop they would stay zombies.
        match rustix::process::wait(rustix::process::WaitOptions::empty()) {
            Ok(Some((ended, status))) if u32::try_from(ended.as_raw_nonzero().get()) == Ok(pid) => {
                return Ok(status.as_raw());
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).context("wait for the manager"),
        }
    }
}

/// Ends this process, and so the world, when the launcher is gone.
fn hold_lifeline(descriptor: &str) -> Result<()> {
    // Closed on exec from here on: what runs in the world finds no descriptor that it does not expect.
    let mut pipe = File::from(weblog_fds::take(descriptor.parse().context("lifeline")?).context("lifeline")?);
    std::thread::Builder::new().name("lifeline".into()).spawn(move || {
        let _ = pipe.read(&mut [0; 1]);
        #[allow(clippy::exit, reason = "the end of process 1 is what kills the world")]
        std::process::exit(i32::from(ENDED));
    })?;
    Ok(())
}
