//! `longshore-agent`, the program. Everything is in the library, so that `longshore demo` can be an agent as well.

use std::{ffi::OsString, process::ExitCode};

use longshore_agent::{cli, host::reexec};

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = reexec::run_helper(&args[1.min(args.len())..]) {
        return code;
    }
    cli::main(args, reexec::SelfExec::this())
}
