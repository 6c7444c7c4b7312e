//! The broker's program; everything is in the library.
fn main() -> std::process::ExitCode {
    weblog::main()
}
