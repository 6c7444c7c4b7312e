//! The emulator's command line, and the role that becomes it.

use super::{Parts, ports};
use crate::roles;
use anyhow::{Context as _, Result, bail};
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The guest's processors.
const PROCESSORS: u32 = 2;
/// Its memory, MiB; also what may be written to its root.
const MEMORY: u32 = 3072;
/// Libraries in the unpacked tree.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// The export of the results.
pub(super) const RESULTS: &str = "results";

/// A directory of the host that the guest may mount.
#[derive(Debug)]
pub(super) struct Export<'a> {
    /// Its name there.
    pub(super) tag: &'a str,
    /// The directory.
    pub(super) path: &'a Path,
    /// Whether the guest may write to it.
    pub(super) is_writable: bool,
}

/// The emulator, ready to be started: it dies with the thread that starts it.
pub(super) fn command(
    parts: &Parts,
    initramfs: &Path,
    console: &Path,
    exports: &[Export<'_>],
    socket: impl Fn(&str) -> PathBuf,
) -> Result<Command> {
    let at = |p: &str| parts.emulator.join(p);
    let mut args: Vec<OsString> = Vec::new();
    for (option, path) in [
        ("-L", at("usr/share/qemu")),
        ("-L", at("usr/share/seabios")),
        ("-kernel", parts.system.join(format!("boot/vmlinuz-{}", parts.kernel))),
        ("-initrd", initramfs.to_owned()),
    ] {
        args.extend([OsString::from(option), path.into()]);
    }
    let mut add = |words: &[&str]| args.extend(words.iter().map(OsString::from));
    // Emulation even where /dev/kvm opens: behind some of these a stock kernel does not get anywhere.
    add(&["-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "qemu64,+rdrand"]);
    add(&["-smp", &PROCESSORS.to_string(), "-m", &MEMORY.to_string()]);
    add(&["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none"]);
    add(&["-serial", &format!("file:{}", text(console)?)]);
    // A kernel in trouble ends at once, and with it the emulator (-no-reboot), rather than limp on.
    // Random numbers are trusted, or the guest would wait for them.
    add(&["-append", "console=ttyS0 panic=-1 oops=panic quiet mitigations=off random.trust_cpu=on"]);
    for e in exports {
        let mode = if e.is_writable { "" } else { ",readonly=on" };
        let path = text(e.path)?;
        add(&[
            "-fsdev",
            &format!("local,id={},path={path},security_model=none,multidevs=remap{mode}", e.tag),
        ]);
        add(&["-device", &format!("virtio-9p-pci,fsdev={0},mount_tag={0}", e.tag)]);
    }
    add(&["-device", "virtio-serial-pci"]);
    for name in ports::ALL {
        add(&["-chardev", &format!("socket,id={name},path={}", text(&socket(name))?)]);
        add(&["-device", &format!("virtserialport,chardev={name},name={name}")]);
    }
    let mut command = Command::new(roles::EXECUTABLE);
    command
        .arg(roles::EMULATOR)
        .arg(std::process::id().to_string())
        .arg(at("usr/bin/qemu-system-x86_64"))
        .args(args)
        .env("LD_LIBRARY_PATH", at(LIBRARIES))
        // What comes from the terminal is for the launcher, which ends the emulator.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    Ok(command)
}

/// A path inside an option of the emulator: a comma in it is written twice.
fn text(path: &Path) -> Result<String> {
    Ok(path.to_str().with_context(|| format!("odd path {}", path.display()))?.replace(',', ",,"))
}

/// The role that becomes the emulator and dies with its parent. Arguments: the parent, the program, its arguments.
pub(crate) fn become_emulator(args: &[String]) -> Result<ExitCode> {
    let [parent, program, rest @ ..] = args else { bail!("PARENT PROGRAM [ARGS]") };
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let now = rustix::process::getppid().map(|p| p.as_raw_nonzero().get().to_string());
    if now.as_ref() != Some(parent) {
        bail!("the launcher is gone");
    }
    let e = Command::new(program).args(rest).exec();
    Err(e).with_context(|| program.clone())
}
