//! The project's commands. See `cargo xtask --help`.
fn main() {}
