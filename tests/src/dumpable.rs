//! Whether others may look into a process, and whether it leaves a core when it crashes.

use crate::process;
use anyhow::{Context as _, Result};
use rustix::process::{Pid, Resource, Rlimit};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// For each of the programs started here.
const LIMIT: Duration = Duration::from_secs(20);

/// May somebody with the uid and gid of a process, and no more than that, look into it? What the kernel asks for that is
/// asked for its memory, too. If it is root, somebody asks who has all of root's capabilities but `CAP_SYS_PTRACE`, which it
/// must not have either.
///
/// # Errors
/// There is no such process; setpriv does not start.
pub fn is_open(pid: u32) -> Result<bool> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("no such process")?;
    let id = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name)).context("no id")?;
        line.split_whitespace().next().context("no id").map(str::to_owned)
    };
    let (uid, gid) = (id("Uid:")?, id("Gid:")?);
    let mut command = Command::new("setpriv");
    if uid == "0" {
        command.arg("--bounding-set=-sys_ptrace");
    } else {
        command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]);
    }
    command.arg("readlink").arg(format!("/proc/{pid}/exe"));
    let out = process::output(&mut command, LIMIT)?;
    anyhow::ensure!(
        out.status.code().is_some_and(|code| code <= 1),
        "setpriv: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(out.status.success())
}

/// Lets what this process starts from now on leave cores of any size, where nothing forbids it.
///
/// # Errors
/// The system's.
pub fn allow_cores() -> Result<()> {
    let limit = rustix::process::getrlimit(Resource::Core);
    rustix::process::setrlimit(Resource::Core, Rlimit { current: limit.maximum, ..limit })
        .context("setrlimit")
}

/// Lets a process leave cores of any size, whatever it said of that itself. False where root may not: in a container without
/// `CAP_SYS_RESOURCE`.
///
/// # Errors
/// The system's.
pub fn lift_core_limit(pid: u32) -> Result<bool> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("not a process id")?;
    let none = Rlimit { current: None, maximum: None };
    match rustix::process::prlimit(Some(pid), Resource::Core, none) {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::PERM) => Ok(false),
        Err(e) => Err(e).context("prlimit"),
    }
}

/// Do cores lie where the process was that crashed (core_pattern is the host's)? Else nobody can look for them.
///
/// # Errors
/// The system's.
pub fn cores_lie_in_the_working_directory() -> Result<bool> {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern")?;
    Ok(pattern.starts_with("core"))
}

/// The cores in a directory.
#[must_use]
pub fn cores_in(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with("core"))
        .map(|e| e.path())
        .filter(|path| path.is_file())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Guarded;

    #[test]
    fn cores_are_files_that_are_called_so() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["core", "core.17", "score"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::create_dir(dir.path().join("cores")).unwrap();
        let mut found = cores_in(dir.path());
        found.sort();
        assert_eq!(found, ["core", "core.17"].map(|n| dir.path().join(n)));
    }

    #[test]
    fn a_process_that_says_nothing_is_open() {
        use std::os::unix::process::CommandExt as _;
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let mut of_nobody = Command::new("sleep");
        of_nobody.arg("60").uid(65_534).gid(65_534);
        let mut of_root = Command::new("setpriv");
        of_root.args(["--bounding-set=-sys_ptrace", "sleep", "60"]);
        for mut command in [of_nobody, of_root] {
            let sleep = Guarded::spawn(&mut command, "sleep", LIMIT).unwrap();
            let asleep =
                || Ok(fs::read_to_string(format!("/proc/{}/comm", sleep.pid()))?.trim_end() == "sleep");
            crate::wait::until_true("its start", LIMIT, asleep).unwrap();
            assert!(is_open(sleep.pid()).unwrap(), "{command:?}");
        }
        assert!(is_open(u32::MAX).is_err());
    }
}
