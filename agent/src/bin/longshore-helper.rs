//! `longshore-helper`, the program. Everything is in the library.

use std::{ffi::OsString, process::ExitCode};

use longshore_agent::{helper::daemon, host::reexec};

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = reexec::run_helper(&args[1.min(args.len())..]) {
        return code;
    }
    daemon::main(args, reexec::SelfExec::this())
}
