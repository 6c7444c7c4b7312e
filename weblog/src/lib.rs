//! The broker: logs visitors in at their cell and hands out tokens.
//!
//! One thread, one `poll` loop. It knows nothing of httpd but lanes, the board and its nanny's messages, and maps no AFS library:
//! a login runs in an authenticator, a process of this same program that does one login and ends. See `docs/architecture.md`.

pub mod args;
pub mod audit;
pub mod authenticator;
pub mod breaker;
pub mod broker;
pub mod clock;
pub mod config;
pub mod control;
pub mod dispatch;
pub mod error;
pub mod frames;
pub mod kaserver;
pub mod krb5;
pub mod limiter;
pub mod logins;
pub mod membership;
pub mod message;
pub mod one_login;
pub mod outcome;
pub mod privilege;
pub mod proof;
pub mod protection;
pub mod services;

use args::Mode;
use audit::Log;
use std::io::Write as _;
use std::process::ExitCode;
use weblog_proto::versions::of_broker;

/// The program: broker, authenticator or the administrator's client, by its arguments.
#[must_use]
pub fn main() -> ExitCode {
    let mut log = Log::new("weblog");
    let code = match args::parse(std::env::args_os().skip(1)) {
        Ok(Mode::Broker(args)) => match broker::run(&args, &mut log) {
            Ok(()) => 0,
            Err(error) => {
                complain(&mut log, &error);
                error.exit_code()
            }
        },
        Ok(Mode::Authenticator(args)) => one_login::run(&args),
        Ok(Mode::Client { socket, message }) => match control::ask(&socket, &message) {
            Ok(answer) => {
                let failed = answer.starts_with("error") || answer == "busy\n";
                say(&answer);
                u8::from(failed)
            }
            Err(error) => {
                say(&format!("weblog: {}: {error}\n", socket.display()));
                69
            }
        },
        Ok(Mode::Help) => {
            say(&format!("{}\n", args::USAGE));
            0
        }
        Ok(Mode::Version) => {
            say(&format!("weblog {} {}\n", env!("CARGO_PKG_VERSION"), of_broker()));
            0
        }
        Err(error) => {
            complain(&mut log, &error);
            error.exit_code()
        }
    };
    ExitCode::from(code)
}

/// Logs an error with its causes.
fn complain(log: &mut Log, error: &error::Error) {
    let mut text = error.to_string();
    let mut cause = core::error::Error::source(error);
    while let Some(c) = cause {
        text.push_str(": ");
        text.push_str(&c.to_string());
        cause = c.source();
    }
    log.write(message::BROKER_FAILS, format_args!("{text}"));
}

/// Writes to standard output; whoever has closed it does not want to read it.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
