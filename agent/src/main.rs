//! The agent's command line.

use std::{ffi::OsString, process::ExitCode};

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(code) = longshore_agent::host::reexec::run_helper(&args) {
        return code;
    }
    ExitCode::from(2)
}
