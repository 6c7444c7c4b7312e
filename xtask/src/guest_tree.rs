//! What a guest is made of, in the cache: the emulator, a kernel with its modules, tools.
//!
//! All of it is Debian's, downloaded and unpacked, never installed.

use crate::apt::Apt;
use crate::packages::{self, Tree};
use crate::{guest_module, say, setup};
use anyhow::{Context as _, Result, bail};
use integration::guest::Parts;
use integration::process;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The emulator; busybox for the first seconds of the guest.
const EMULATOR: [&str; 2] = ["qemu-system-x86", "busybox-static"];
/// What the guest needs besides what the host has.
const TOOLS: [&str; 4] = ["iproute2", "keyutils", "kmod", "util-linux"];
/// Depends on Debian's newest kernel with all modules (the one for clouds has no 9p).
const KERNEL: &str = "linux-image-amd64";
/// Libraries in an unpacked tree.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// Time for the list of modules.
const DEPMOD_LIMIT: Duration = Duration::from_secs(120);

/// Downloads, unpacks and builds what is missing. Quick when there is nothing to do.
///
/// `with_module`: also OpenAFS's kernel module, which takes minutes to build.
///
/// # Errors
/// Something is missing and cannot be had: the text says what to do.
pub(crate) fn ensure(with_module: bool) -> Result<Parts> {
    setup::need_root("a guest (its files keep their owners)")?;
    if std::env::consts::ARCH != "x86_64" {
        bail!("the guest is made for x86_64 only");
    }
    let servers = setup::ensure()?;
    let cache = setup::cache_dir()?;
    let dir = cache.join("guest");
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let held = hold(&dir, "trees.lock")?;
    let apt = Apt::new(&cache);
    let image = apt.first_need(KERNEL)?;
    let version = image.strip_prefix("linux-image-").with_context(|| format!("odd name {image}"))?.to_owned();
    let emulator = Tree {
        what: "the emulator",
        dir: dir.join("emulator"),
        marker: dir.join("emulator.complete"),
        with_needs: &EMULATOR,
        alone: &[],
    };
    emulator.ensure(&apt, |_| Ok(()))?;
    let system = Tree {
        what: "the guest's kernel and tools",
        dir: dir.join("system"),
        marker: dir.join("system.complete"),
        with_needs: &TOOLS,
        alone: &[&image],
    };
    system.ensure(&apt, |tree| list_modules(tree, &version))?;
    drop(held);
    let module = if with_module {
        let _held = hold(&dir, "module.lock")?;
        Some(guest_module::ensure(&apt, &dir, &version)?)
    } else {
        None
    };
    Ok(Parts { emulator: emulator.dir, system: system.dir, servers, kernel: version, module })
}

/// Waits until no other run works on the same; held until the file goes.
fn hold(dir: &Path, name: &str) -> Result<File> {
    let lock = File::options().create(true).truncate(false).write(true).open(dir.join(name))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        say("another run is making the parts of a guest: waiting for it");
        flock(&lock, FlockOperation::LockExclusive).context("lock of the cache")?;
    }
    Ok(lock)
}

/// Makes the lists by which modules are found, with the tree's own depmod, since the host may have none.
fn list_modules(tree: &Path, version: &str) -> Result<()> {
    // depmod looks in /lib.
    let link = tree.join("lib");
    symlink("usr/lib", &link)?;
    let own = tree.join("usr/bin/kmod");
    let mut depmod = Command::new(if own.exists() { own } else { "kmod".into() });
    depmod.arg0("depmod").env("LD_LIBRARY_PATH", tree.join(LIBRARIES)).arg("-b").arg(tree).arg(version);
    process::run(&mut depmod, DEPMOD_LIMIT).context("list of the kernel's modules")?;
    packages::remove(&link)
}
