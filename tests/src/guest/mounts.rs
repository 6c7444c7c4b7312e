//! The file systems of a guest besides its root.

use super::emulator::RESULTS;
use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use std::fs;
use std::path::Path;

/// What, where, of which kind, options.
const OWN: [(&str, &str, &str, &str); 6] = [
    ("proc", "/proc", "proc", ""),
    ("sysfs", "/sys", "sysfs", ""),
    ("devtmpfs", "/dev", "devtmpfs", "mode=0755"),
    ("devpts", "/dev/pts", "devpts", "mode=0620,ptmxmode=0666"),
    ("tmpfs", "/dev/shm", "tmpfs", "mode=1777"),
    ("tmpfs", "/run", "tmpfs", "mode=0755"),
];

/// What the kernel and programs look for.
pub(super) fn make() -> Result<()> {
    for (what, place, kind, options) in OWN {
        fs::create_dir_all(place).with_context(|| place.to_owned())?;
        mount(Some(what), place, Some(kind), MsFlags::MS_NOSUID, Some(options))
            .with_context(|| place.to_owned())?;
    }
    Ok(())
}

/// The directory of the results, at the path that it has on the host; what is written there is on the host at once.
pub(super) fn make_results(place: &Path) -> Result<()> {
    let options = "trans=virtio,version=9p2000.L,msize=524288,cache=mmap";
    mount(Some(RESULTS), place, Some("9p"), MsFlags::empty(), Some(options)).context("results")
}
