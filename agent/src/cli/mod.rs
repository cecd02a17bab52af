//! `longshore-agent`: what admins type on the host, and how the agent itself is started.
//!
//! Exit codes: 0 done, 1 failed, 2 usage, 3 the agent or controller cannot be reached, 4 refused, 5 timed out while
//! waiting, 6 nothing to do; 75 from `run` when only a new process can go on.

mod args;
mod ask;
mod deploy;
mod enroll;
mod processes;
mod run;
mod say;
mod show;
mod sides;
mod standing;
mod token;
mod trust;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser as _, error::ErrorKind};
use longshore_common::{
    code::{Code, Coded},
    mistake::{self, Mistake},
    text::{visible, visible_lines},
};

pub(crate) use run::{cancel_on_signal, exit_code, log_to_stderr, runtime, with_credentials};

use crate::host::reexec::SelfExec;
use args::{Args, Command, Output};

/// Runs one command. `args` begins with the program's name; `exec` is how this program is started again as a helper.
pub fn main(args: impl IntoIterator<Item = OsString>, exec: SelfExec) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let for_programs = mistake::asks_for_json(&args);
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) if for_programs && error.use_stderr() => {
            let text = error.render().to_string();
            let Mistake { message, next } = match error.kind() {
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Mistake::incomplete(&text),
                _ => Mistake::told(&text),
            };
            complain_to_program(None, &message, &next, Exit::Usage);
            return ExitCode::from(Exit::Usage as u8);
        }
        Err(error) => {
            tell(&error);
            return ExitCode::from(if error.use_stderr() { Exit::Usage as u8 } else { Exit::Done as u8 });
        }
    };
    let output = args.output;
    let done = match args.command.clone() {
        Command::Enroll(wanted) => enroll::enroll(&args, wanted),
        Command::Run(wanted) => return run::run(&args, wanted, exec),
        Command::Status => ask::status(&args),
        Command::History(wanted) => ask::history(&args, wanted),
        Command::Logs(wanted) => ask::logs(&args, wanted),
        Command::Hold(wanted) => ask::hold(&args, wanted),
        Command::Deploy(wanted) => deploy::deploy(&args, wanted, exec),
        Command::Trust(wanted) => trust::trust(&args, wanted),
        Command::Processes(wanted) => processes::processes(&args, wanted),
        Command::Unhold => ask::unhold(&args),
        Command::Revert(wanted) => ask::revert(&args, wanted),
    };
    match done {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(error) => {
            complain(&error, output);
            ExitCode::from(exit_of(error.code) as u8)
        }
    }
}

pub(crate) const USAGE: u8 = Exit::Usage as u8;

/// It repeats what was typed, and that may have come from elsewhere.
fn tell(error: &clap::Error) {
    let (plain, safe) = (error.render().to_string(), visible_lines(&error.render().to_string()));
    if plain.trim_end() == safe.trim_end() {
        drop(error.print()); // a closed terminal is no reason to fail differently
    } else {
        eprintln!("{safe}");
    }
}

/// The meaning of an exit code never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Unreachable = 3,
    Refused = 4,
    TimedOut = 5,
    NothingToDo = 6,
}

fn exit_of(code: Code) -> Exit {
    match code {
        Code::V01 | Code::M01 => Exit::Usage,
        Code::C01 => Exit::Unreachable,
        Code::C02 | Code::P01 | Code::P02 | Code::R01 | Code::R02 | Code::N01 | Code::N02 | Code::O03 => {
            Exit::Refused
        }
        Code::T01 | Code::T02 | Code::T03 | Code::T04 | Code::T05 => Exit::Refused,
        Code::E01 | Code::E02 | Code::E03 | Code::E04 | Code::E05 | Code::E06 | Code::E07 => Exit::Refused,
        _ => Exit::Failed,
    }
}

fn complain(error: &Coded, output: Output) {
    match output {
        Output::Table => {
            let lines: Vec<String> = error.message.lines().map(visible).collect();
            eprintln!("longshore-agent: {} {}", error.code, lines.join("\n"));
        }
        Output::Json => {
            complain_to_program(Some(error.code), &error.message, &[], exit_of(error.code));
        }
    }
}

/// One line. `code`: none for a mistake on the command line.
fn complain_to_program(code: Option<Code>, message: &str, next: &[String], exit: Exit) {
    let said = serde_json::json!({
        "schema": "longshore.agent.error/1",
        "code": code.map(|code| code.to_string()),
        "message": message,
        "next": next,
        "exit": exit as u8,
    });
    eprintln!("{said}");
}
