//! The nanny's program; all of it is in the library.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    weblog_starter::main()
}
