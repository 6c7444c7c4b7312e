//! The project's commands. See `cargo xtask --help`.
#![forbid(unsafe_code)]
#![allow(
    clippy::missing_errors_doc,
    reason = "errors are anyhow's: they say what failed, and nobody tells them apart"
)]

mod cell;
mod setup;

use clap::{Parser, Subcommand};
use std::io::Write as _;
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
}

fn main() -> ExitCode {
    if let Some(code) = integration::roles::dispatch() {
        return code;
    }
    let result = match Args::parse().command {
        Cmd::Setup => setup::main(),
        Cmd::Cell(cmd) => cell::main(cmd),
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
