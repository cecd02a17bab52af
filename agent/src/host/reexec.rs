//! This program started again as one of its own small helpers.
//!
//! Launching an app, ending a process tree and supervising are done by separate processes. They are this same binary:
//! nothing else has to be installed, and its pages are shared. Whoever embeds the agent (`longshore-agent`, or
//! `longshore` for the demo) says how it is started again, and calls [`run_helper`] first thing in `main`.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use super::{direct::relay, launch, process, tree};

/// The command line that leads to [`run_helper`].
#[derive(Clone, Debug)]
pub struct SelfExec {
    pub program: PathBuf,
    /// Before the helper's name, e.g. a hidden subcommand of the embedding program.
    pub args: Vec<OsString>,
}

impl SelfExec {
    /// The running program itself, even if its file has been replaced since.
    pub fn this() -> Self {
        Self { program: "/proc/self/exe".into(), args: vec![] }
    }

    /// For a helper that starts another: the same program with the same leading arguments.
    pub(crate) fn same() -> Self {
        let ours = |arg: &OsString| !Helper::ALL.iter().any(|helper| arg == OsStr::new(helper.as_str()));
        Self { args: std::env::args_os().skip(1).take_while(ours).collect(), ..Self::this() }
    }

    /// The same as words, for a program that another process starts: systemd.
    pub(crate) fn words(&self, helper: Helper) -> io::Result<Vec<String>> {
        // The link leads elsewhere in any other process. A file that was replaced since has a new version in its place.
        let program = match self.program == Path::new("/proc/self/exe") {
            true => std::env::current_exe()?,
            false => self.program.clone(),
        };
        let text = program.to_string_lossy();
        let text = text.strip_suffix(" (deleted)").unwrap_or(&text).to_owned();
        let args = self.args.iter().map(|arg| arg.to_string_lossy().into_owned());
        Ok(std::iter::once(text).chain(args).chain([helper.as_str().to_owned()]).collect())
    }

    pub(crate) fn command(&self, helper: Helper) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).arg(helper.as_str());
        command
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Helper {
    /// Becomes an app or hook: drops privileges, places sockets, execs.
    Launch,
    /// Runs one program and ends everything it started.
    Tree,
    /// Supervises one app.
    Shim,
    /// Holds an app's public sockets and hands their connections on.
    Relay,
}

impl Helper {
    const ALL: [Helper; 4] = [Helper::Launch, Helper::Tree, Helper::Shim, Helper::Relay];

    fn as_str(self) -> &'static str {
        match self {
            Helper::Launch => "__launch",
            Helper::Tree => "__tree",
            Helper::Shim => "__shim",
            Helper::Relay => "__relay",
        }
    }
}

/// Becomes the helper that `args` (after the embedding program's own) ask for; None when they ask for none.
pub fn run_helper(args: &[OsString]) -> Option<ExitCode> {
    let (name, rest) = args.split_first()?;
    let is = |helper: Helper| name == OsStr::new(helper.as_str());
    if is(Helper::Launch) {
        Some(launch::trampoline::main())
    } else if is(Helper::Tree) {
        Some(tree::runner::main())
    } else if is(Helper::Shim) {
        Some(process::shim::main(rest))
    } else if is(Helper::Relay) {
        Some(relay::main(rest))
    } else {
        None
    }
}
