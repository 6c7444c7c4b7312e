//! The root of a world: an overlay of the host's, the unpacked servers, and file systems of its own.

use super::Plan;
use crate::process;
use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use rustix::fs::{Mode, OFlags};
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Time for the copy of the packages.
const COPY_LIMIT: Duration = Duration::from_secs(120);

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

/// An overlay at `target`: the `lowers` below, the first on top; what is written goes to `upper`.
/// All given by descriptors, since options cannot quote.
pub(super) fn overlay(lowers: &[&Path], upper: &Path, work: &Path, target: &Path) -> Result<()> {
    fs::create_dir_all(upper)?;
    fs::create_dir_all(work)?;
    let open = |p: &Path| {
        rustix::fs::open(p, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .with_context(|| p.display().to_string())
    };
    let (u, w) = (open(upper)?, open(work)?);
    let lowers = lowers.iter().map(|l| open(l)).collect::<Result<Vec<_>>>()?;
    let fd = |d: &OwnedFd| format!("/proc/self/fd/{}", d.as_raw_fd());
    let lowerdir = lowers.iter().map(fd).collect::<Vec<_>>().join(":");
    let options = format!("lowerdir={lowerdir},upperdir={},workdir={}", fd(&u), fd(&w));
    mount(Some("afsweb-world"), target, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .with_context(|| format!("overlay at {}", target.display()))
}

/// Makes the root of the world and moves into it.
pub(super) fn enter(plan: &Plan) -> Result<()> {
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
    overlay(&[Path::new("/")], &upper, &plan.scratch.join("work"), &root)?;
    let inside = |p: &Path| root.join(p.strip_prefix("/").unwrap_or(p));
    for (n, place) in mounts.iter().enumerate() {
        let target = inside(place);
        let above = plan.scratch.join("above").join(n.to_string());
        if place.is_dir()
            && overlay(&[place.as_path()], &above.join("upper"), &above.join("work"), &target).is_ok()
        {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_blanks_are_read_right() {
        assert_eq!(unescape("/a\\040b\\134c"), Path::new("/a b\\c"));
    }
}
