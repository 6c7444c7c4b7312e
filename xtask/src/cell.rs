//! `cargo xtask cell`: commands inside a private world with two real AFS cells.

use crate::{say, setup};
use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use integration::httpd::Mpm;
use integration::namespace::{Bridge, Contents, Launcher, Running};
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Time for a world to come up.
const START_LIMIT: Duration = Duration::from_secs(180);

/// What can be done with a world.
#[derive(Debug, Subcommand)]
pub(crate) enum Cmd {
    /// Run a command (default: a shell) with everything up; its exit status is passed on, and everything ends with it.
    Run(Run),
}

/// Arguments of `cell run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Without httpd.
    #[arg(long)]
    bare: bool,
    /// Without cells: only the private root and network.
    #[arg(long)]
    empty: bool,
    /// How httpd runs its workers.
    #[arg(long, value_enum, default_value = "event")]
    mpm: MpmArg,
    /// Relay connections to this port of 127.0.0.1 on the host to httpd; 0: any free port.
    #[arg(long, conflicts_with_all = ["bare", "empty"])]
    port: Option<u16>,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// The MPMs by name.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum MpmArg {
    /// A process for each worker.
    Prefork,
    /// Threads.
    Worker,
    /// Threads, and one that holds idle connections.
    Event,
}

impl From<MpmArg> for Mpm {
    fn from(m: MpmArg) -> Self {
        match m {
            MpmArg::Prefork => Self::Prefork,
            MpmArg::Worker => Self::Worker,
            MpmArg::Event => Self::Event,
        }
    }
}

/// `cargo xtask cell`.
pub(crate) fn main(Cmd::Run(args): Cmd) -> Result<ExitCode> {
    let contents = match (args.empty, args.bare) {
        (true, _) => Contents::Empty,
        (false, true) => Contents::Cells,
        (false, false) => Contents::CellsAndHttpd(args.mpm.into()),
    };
    let command = if args.command.is_empty() {
        vec![std::env::var_os("SHELL").unwrap_or_else(|| "/bin/bash".into())]
    } else {
        args.command
    };
    let launcher = prepare(contents, "cell")?;
    let mut running = launcher.spawn(&command)?;
    end_on_interrupt(&running)?;
    let _bridge = match args.port {
        Some(port) => Some(publish(&mut running, port)?),
        None => None,
    };
    Ok(ExitCode::from(running.wait()?))
}

/// Waits until the world is up and relays a port of the host to its httpd.
fn publish(running: &mut Running, port: u16) -> Result<Bridge> {
    let world = running.wait_ready(START_LIMIT)?;
    let inside = world.httpd.context("no httpd in this world")?;
    let bridge = running.bridge(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), inside)?;
    say(&format!("http://{}/afs/", bridge.address()));
    Ok(bridge)
}

/// Sets up and builds what a world with these contents needs; its results go to `<target>/world/<name>`.
///
/// # Errors
/// Not root, set-up or build failed.
pub(crate) fn prepare(contents: Contents, name: &str) -> Result<Launcher> {
    setup::need_root("a world of its own (namespaces, mounts, a network device)")?;
    let tree = setup::ensure()?;
    build(contents)?;
    let results = results_dir(name)?;
    reserve(&results)?;
    Ok(Launcher::new(&tree, &setup::cache_dir()?, &results)?.contents(contents))
}

/// Keeps other runs away from these results until this program ends: each world empties its own when it starts.
///
/// # Errors
/// Another run has them.
pub(crate) fn reserve(results: &Path) -> Result<()> {
    static HELD: Mutex<BTreeMap<PathBuf, File>> = Mutex::new(BTreeMap::new());
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    if held.contains_key(results) {
        return Ok(());
    }
    fs::create_dir_all(results.parent().context("results without directory")?)?;
    let path = results.with_extension("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .context(path.display().to_string())?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!(
            "another run uses {}: wait for its end, or give this one a CARGO_TARGET_DIR of its own",
            results.display()
        );
    }
    held.insert(results.to_owned(), file);
    Ok(())
}

/// Where the results of a world with this name go.
///
/// # Errors
/// The path of this program cannot be found out.
pub(crate) fn results_dir(name: &str) -> Result<PathBuf> {
    Ok(target_dir()?.join("world").join(name))
}

/// Cargo's target directory that this program was built into.
///
/// # Errors
/// The path of this program cannot be found out.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let programs = integration::built::directory()?;
    Ok(programs.parent().context("program without directory")?.to_owned())
}

/// Ctrl-C, SIGTERM and SIGHUP end the world; the caller sees its end. Once in a process.
///
/// # Errors
/// There is a handler already.
pub(crate) fn end_on_interrupt(running: &Running) -> Result<()> {
    let lifeline = running.lifeline();
    ctrlc::set_handler(move || lifeline.cut()).context("handler of Ctrl-C")
}

/// Builds our programs as far as these contents need them, into the directory that this program is in.
///
/// # Errors
/// The build failed.
pub(crate) fn build(contents: Contents) -> Result<()> {
    let packages: &[&str] = match contents {
        Contents::Empty => return Ok(()),
        Contents::Cells => &["kaserver", "uafs"],
        Contents::CellsAndPrograms | Contents::CellsAndHttpd(_) => {
            &["kaserver", "uafs", "weblog", "weblog-starter", "mod-afs", "krb5-login"]
        }
    };
    say("building");
    cargo_build(&target_dir()?, packages, &[]).map(drop)
}

/// Builds what an upgrade replaces as a later release would be, with other versions, in a directory of its own, and gives
/// where it lies.
///
/// # Errors
/// The build failed.
pub(crate) fn build_next() -> Result<PathBuf> {
    say("building the next release");
    let packages = ["weblog", "weblog-starter", "mod-afs"];
    let features = packages.map(|package| format!("{package}/next-version"));
    cargo_build(&target_dir()?.join("next-version"), &packages, &features)
}

/// Builds packages of ours as this program was, and gives where their files lie.
fn cargo_build(target: &Path, packages: &[&str], features: &[String]) -> Result<PathBuf> {
    let programs = integration::built::directory()?;
    let profile = match programs.file_name().and_then(|n| n.to_str()) {
        Some("debug") => "dev",
        Some(other) => other,
        None => bail!("{} is no directory of cargo's", programs.display()),
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .current_dir(workspace());
    for p in packages {
        cargo.args(["--package", p]);
    }
    if !features.is_empty() {
        cargo.args(["--features", &features.join(",")]);
    }
    let status = cargo.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("the build failed");
    }
    Ok(target.join(programs.file_name().unwrap_or_default()))
}

/// The checkout.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}
