//! The operator's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    longshore_controller::cli::run(std::env::args_os().collect())
}
