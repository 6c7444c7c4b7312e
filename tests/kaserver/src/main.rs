//! The test kaserver.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    kaserver::cli::main()
}
