//! The nanny: starts the broker, keeps the pipe ends and the board open, and starts another broker when one ends or stands still.
//!
//! It holds no secret, does not know what the configuration means, and waits only in `poll`.
//! How it starts and what it finds at which descriptor: `docs/architecture.md`, "Descriptors at exec".
//!
//! Exit codes:
//!
//! | code | why | what the httpd parent does |
//! |---|---|---|
//! | 0 | asked to, or the parent is gone | start another, unless it is stopping |
//! | 64 | wrong arguments | start another; after ten ends in ten seconds at its next look |
//! | 71 | a descriptor is missing, or the system refuses something | as for 64 |
//! | 78 | the broker's program may not be trusted | not start it again until httpd is restarted |
//!
//! The broker's own exit code 78 says that its configuration cannot be used:
//! the nanny starts no other until it gets a new one.
#![forbid(unsafe_code)]

pub mod args;
pub mod backoff;
pub mod child;
pub mod control;
pub mod error;
pub mod log;
pub mod message;
pub mod privilege;
pub mod run;
pub mod signals;
pub mod supervise;
pub mod trust;

pub use error::Error;

use clap::Parser;
use std::io::Write as _;
use std::process::ExitCode;
use weblog_fds::versions::of_nanny;

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    if std::env::args_os().skip(1).eq(["--version"]) {
        let text = format!("weblog-starter {} {}\n", env!("CARGO_PKG_VERSION"), of_nanny());
        // Whoever has closed it does not want to read it.
        let _ = std::io::stdout().write_all(text.as_bytes());
        return ExitCode::SUCCESS;
    }
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(e) => {
            // Help and version are no failure.
            let code = if e.use_stderr() { Error::USAGE } else { 0 };
            let _ = e.print();
            return ExitCode::from(code);
        }
    };
    log::never_wait_for_its_reader();
    // Without complaints about the log itself: a log that nobody reads must not end the nanny.
    tracing_subscriber::fmt()
        .with_writer(|| log::Lossy(std::io::stderr()))
        .with_ansi(false)
        .log_internal_errors(false)
        .with_target(false)
        .init();
    match run::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            log::say(message::NANNY_FAILS, format_args!("{}", error::with_sources(&e)));
            ExitCode::from(e.exit_code())
        }
    }
}
