//! A command that finds unpacked packages in /usr, though nothing is installed: in mount and process namespaces of its own.
//!
//! ```text
//! caller -> outer (makes the namespaces, waits) -> inner (process 1: lays the packages over /usr) = the command
//! ```
//! Both die with who started them, and with process 1 all that the command started.

use super::{code, helper, root};
use crate::roles;
use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

/// A command that runs `program` with what is in `packages`/usr over the host's /usr; `scratch` is an empty directory for mounts.
///
/// Its arguments may be added. It needs root.
#[must_use]
pub fn over_usr(packages: &Path, scratch: &Path, program: &str) -> Command {
    let mut command = Command::new(roles::EXECUTABLE);
    command.arg(roles::OVER_USR_OUTER).arg(packages).arg(scratch).arg(program);
    command
}

/// The role that makes the namespaces. Arguments: packages, scratch, program, its arguments.
pub(crate) fn outer(args: &[String]) -> Result<ExitCode> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID).context("namespaces of its own")?;
    helper::make_private()?;
    let status = Command::new(roles::EXECUTABLE).arg(roles::OVER_USR_INNER).args(args).status()?;
    Ok(ExitCode::from(code(status)))
}

/// The role that becomes the program. Arguments as [`outer`]'s.
pub(crate) fn inner(args: &[String]) -> Result<ExitCode> {
    let [packages, scratch, program, rest @ ..] = args else { bail!("PACKAGES SCRATCH PROGRAM [ARGS]") };
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let scratch = Path::new(scratch);
    mount(Some("afsweb-usr"), scratch, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
        .context("tmpfs")?;
    let packages = Path::new(packages).join("usr");
    root::overlay(
        &[&packages, Path::new("/usr")],
        &scratch.join("upper"),
        &scratch.join("work"),
        Path::new("/usr"),
    )?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::MS_NOSUID, None::<&str>).context("/proc")?;
    let e = Command::new(program).args(rest).exec();
    Err(e).with_context(|| program.clone())
}
