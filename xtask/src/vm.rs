//! `cargo xtask vm`: commands and tests in a guest, on an AFS client of its kernel.

use crate::plan::{self, Choice};
use crate::{cell, guest_suites, guest_tree, report, setup};
use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use integration::guest::{Ender, Launcher};
use integration::kernel_client::KernelClient;
use integration::namespace::Contents;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What can be done with a guest.
#[derive(Debug, Subcommand)]
pub(crate) enum Cmd {
    /// Run a command with cells and /afs up; its exit status is passed on, and everything ends with it.
    Run(Run),
    /// Run the tests that need one, each client in a guest of its own, with a summary.
    Test(Test),
}

/// Arguments of `vm test`.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// The volumes of a release.
    #[arg(long)]
    long: bool,
    /// Only this client.
    #[arg(long, value_enum)]
    client: Option<ClientArg>,
    /// Only what belongs to this suite of the test plan.
    #[arg(long, value_name = "NAME")]
    suite: Option<String>,
    /// Only the test programs whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Only this MPM, where it matters.
    #[arg(long, value_enum)]
    mpm: Option<cell::MpmArg>,
}

/// Arguments of `vm run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The AFS client that serves /afs.
    #[arg(long, value_enum, default_value = "openafs")]
    client: ClientArg,
    /// Minutes after which it is ended.
    #[arg(long, default_value_t = 60)]
    limit: u64,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<OsString>,
}

/// The clients by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClientArg {
    /// OpenAFS's kernel module.
    Openafs,
    /// Linux's own.
    Kafs,
}

impl From<ClientArg> for KernelClient {
    fn from(c: ClientArg) -> Self {
        match c {
            ClientArg::Openafs => Self::Openafs,
            ClientArg::Kafs => Self::Kafs,
        }
    }
}

/// `cargo xtask vm`.
pub(crate) fn main(cmd: Cmd) -> Result<ExitCode> {
    match cmd {
        Cmd::Run(args) => {
            let ender = ender()?;
            let limit = Duration::from_secs(args.limit * 60);
            let launcher = prepare(args.client.into(), "guest", limit, &ender)?;
            Ok(ExitCode::from(launcher.run(&args.command)?))
        }
        Cmd::Test(args) => test(&args),
    }
}

/// `cargo xtask vm test`.
fn test(args: &Test) -> Result<ExitCode> {
    let started = Instant::now();
    let choice = Choice {
        long: args.long,
        suite: args.suite.as_deref().map(plan::subject).transpose()?,
        only: args.only.as_deref(),
        client: args.client.map(Into::into),
        mpm: args.mpm.map(Into::into),
    };
    // Before anything is built: its headers are installed by this.
    setup::need_root("a guest (its files keep their owners)")?;
    setup::ensure()?;
    let mut lines = Vec::new();
    guest_suites::run(&choice, &ender()?, &mut lines)?;
    if lines.is_empty() {
        bail!("no suite was chosen");
    }
    Ok(report::summary(&lines, choice.subjects(), started.elapsed()))
}

/// Ends guests on Ctrl-C, SIGTERM and SIGHUP. Once in a process.
///
/// # Errors
/// There is a handler already.
pub(crate) fn ender() -> Result<Ender> {
    let ender = Ender::default();
    let for_signals = ender.clone();
    ctrlc::set_handler(move || {
        // The second time nothing is waited for; the emulator dies with this process.
        if for_signals.has_ended() {
            #[allow(clippy::exit, reason = "asked for twice")]
            std::process::exit(130);
        }
        for_signals.end();
    })
    .context("handler of Ctrl-C")?;
    Ok(ender)
}

/// Sets up and builds what a guest with this client needs; its results go to `<target>/world/<name>`.
///
/// # Errors
/// Not root; set-up or build failed.
pub(crate) fn prepare(client: KernelClient, name: &str, limit: Duration, ender: &Ender) -> Result<Launcher> {
    let parts = guest_tree::ensure(client == KernelClient::Openafs)?;
    Launcher::new(parts, cell::prepare(Contents::CellsAndPrograms, name)?, client, limit, ender)
}
