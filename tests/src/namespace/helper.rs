//! The role *helper*: makes the namespaces, and waits.

use super::{code, terminal_signals};
use crate::roles;
use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::process::{Command, ExitCode};

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

/// From here on no mount of ours reaches the host.
pub(super) fn make_private() -> Result<()> {
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
