//! `longshore-agent` and, called by that name, `longshore-helper`: one program, so that the two are never of two
//! versions and share their code in memory. Everything is in the library, so that `longshore demo` can be an agent as
//! well.

use std::{ffi::OsString, path::Path, process::ExitCode};

use longshore_agent::{cli, helper::daemon, host::reexec};

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = reexec::run_helper(&args[1.min(args.len())..]) {
        return code;
    }
    let exec = reexec::SelfExec::this();
    match args.first().and_then(|name| Path::new(name).file_name()) {
        Some(name) if name == daemon::NAME => daemon::main(args, exec),
        _ => cli::main(args, exec),
    }
}
