//! The project's commands. See `cargo xtask --help`.
#![forbid(unsafe_code)]
#![allow(
    clippy::missing_errors_doc,
    reason = "errors are anyhow's: they say what failed, and nobody tells them apart"
)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "these are commands: they speak to who typed them"
)]

mod apt;
mod bench;
mod beside;
mod cell;
mod conformance;
mod defects;
mod demo;
mod directives;
mod dist;
mod guest_module;
mod guest_suites;
mod guest_tree;
mod kept;
mod messages;
mod packages;
mod plan;
mod report;
mod setup;
mod suites;
mod test;
mod tidy;
mod vm;

use clap::{Parser, Subcommand};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// The project's commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Cmd,
}

/// Each is explained in the file of its name.
#[derive(Debug, Subcommand)]
enum Cmd {
    /// Install what the build needs, unpack the servers into the cache (nothing else is installed, no service started).
    Setup,
    /// A private world with two real AFS cells.
    #[command(subcommand)]
    Cell(cell::Cmd),
    /// A guest: the same two cells in an emulated machine, /afs served by its kernel's AFS client.
    #[command(subcommand)]
    Vm(vm::Cmd),
    /// Two cells, Apache and a URL for a browser; with --check it asks everything by itself.
    Demo(demo::Demo),
    /// Everything that is tested, with a summary.
    Test(test::Test),
    /// How fast it is: ratios, both sides measured in one run.
    Bench(bench::Bench),
    /// A tree and a package for Debian's Apache.
    Dist,
    /// Checks the rules of docs/architecture.md that a program can check.
    Tidy,
    /// Writes the directives of docs/directives.md into the manual, docs/man/mod_afs.8.
    Man,
    /// The part of `demo` inside the world.
    #[command(hide = true)]
    DemoInside {
        /// `show` or `check`.
        what: String,
    },
    /// The part of `test` and `vm test` inside.
    #[command(hide = true)]
    Inside {
        /// The suites to run.
        plan: PathBuf,
        /// What came of them.
        report: PathBuf,
    },
    /// The part of `bench` inside the world.
    #[command(hide = true)]
    BenchInside(bench::Bench),
}

fn main() -> ExitCode {
    if let Some(code) = integration::roles::dispatch() {
        return code;
    }
    let result = match Args::parse().command {
        Cmd::Setup => setup::main(),
        Cmd::Cell(cmd) => cell::main(cmd),
        Cmd::Vm(cmd) => vm::main(cmd),
        Cmd::Demo(args) => demo::main(args),
        Cmd::Test(args) => test::main(args),
        Cmd::Bench(args) => bench::main(&args),
        Cmd::Dist => dist::main(),
        Cmd::Tidy => tidy::run(cell::workspace()).map(|()| ExitCode::SUCCESS),
        Cmd::Man => directives::main(cell::workspace()),
        Cmd::DemoInside { what } => demo::inside(&what),
        Cmd::Inside { plan, report } => suites::inside(&plan, &report),
        Cmd::BenchInside(args) => bench::inside(&args),
    };
    result.unwrap_or_else(|e| {
        // Nobody is left to tell if standard error is gone.
        let _ = writeln!(std::io::stderr(), "error: {e:#}");
        ExitCode::FAILURE
    })
}

/// Tells the user one line.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
