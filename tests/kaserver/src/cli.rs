//! The program `test-kaserver`.

use std::io::{Write, stderr, stdin, stdout};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use crate::config::Config;
use crate::run::{AsStop, Sockets};

/// A kaserver for tests: it logs users in, and it lies and dies on request.
#[derive(Debug, Parser)]
#[command(name = "test-kaserver")]
struct Args {
    /// UDP address to listen on; port 0 takes any, and `ready` says which
    #[arg(long, value_name = "ADDRESS:PORT")]
    bind: SocketAddr,
    /// JSON file with cell, keys and users
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Unix socket to be controlled by
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// One line on standard error for each call
    #[arg(long)]
    verbose: bool,
    /// End when standard input ends, so that nothing outlives a parent that holds a pipe to it
    #[arg(long)]
    end_with_stdin: bool,
}

/// Reads the arguments and serves.
#[must_use]
pub fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _unheard = writeln!(stderr(), "test-kaserver: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until standard input ends, or for ever.
///
/// # Errors
/// Whatever keeps it from serving.
fn run(args: &Args) -> anyhow::Result<()> {
    let json =
        std::fs::read_to_string(&args.config).with_context(|| format!("read {}", args.config.display()))?;
    let config = Config::parse(&json).with_context(|| args.config.display().to_string())?;
    let sockets = Sockets::open(&config, args.bind, args.control.as_deref())?;
    let ready =
        if args.bind.port() == 0 { format!("ready {}", sockets.address()?) } else { "ready".to_owned() };
    writeln!(stdout(), "{ready}").context("say that it is ready")?;
    let input = stdin();
    let stop = args.end_with_stdin.then_some(&input as &dyn AsStop);
    let mut log: Box<dyn Write> = if args.verbose { Box::new(stderr()) } else { Box::new(std::io::sink()) };
    Ok(sockets.serve(stop, &mut log)?)
}
