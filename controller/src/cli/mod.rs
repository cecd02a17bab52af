//! `longshore`, the operator's command line: a client of the API in `proto/`.
//!
//! `args` is what may be typed, `command` does it, `view` holds the words that are printed (our own structs, also the
//! shape of the JSON), `paint` turns a moving rollout into lines as pure functions. Nothing of the controller is used
//! here but its API, so what a command can do, any client can do. `demo` plays the whole thing on one machine.

pub mod args;
pub mod client;
pub mod command;
pub mod context;
pub mod demo;
pub mod exit;
pub mod failure;
pub mod given;
pub mod line;
pub mod mistake;
pub mod moment;
pub mod operator;
pub mod output;
pub mod paint;
pub mod publish;
pub mod screen;
pub mod signing;
pub mod style;
pub mod surroundings;
pub mod table;
pub mod view;

use std::{ffi::OsString, io::IsTerminal as _, process::ExitCode};

use clap::Parser;
use longshore_common::text::visible_lines;

use args::Command;
use exit::Exit;
use failure::Failure;
use output::Format;
use surroundings::Surroundings;

/// The whole program: arguments in, exit code out.
pub fn run(args: Vec<OsString>) -> ExitCode {
    if let Some(exit) = demo::role::play(&args) {
        return exit;
    }
    let for_programs = mistake::asks_for_json(&args);
    let command = match Command::try_parse_from(args) {
        Ok(command) => command,
        Err(told) if for_programs && told.use_stderr() => {
            let failure = mistake::failure(&told);
            complain(&failure, Format::Json);
            return failure.exit.into();
        }
        Err(told) => return tell(&told),
    };
    let format = command.output;
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("start: {error}")))
        .and_then(|runtime| runtime.block_on(until_interrupted(command)));
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => {
            complain(&failure, format);
            failure.exit.into()
        }
    }
}

/// Ctrl-C ends the watching, never what is watched. The demo cleans up by itself.
async fn until_interrupted(command: Command) -> Result<Exit, Failure> {
    let minds_itself = matches!(command.noun, args::Noun::Demo(_));
    let work = command::run(command, Surroundings::read());
    if minds_itself {
        return work.await;
    }
    tokio::select! {
        ended = work => ended,
        interrupted = tokio::signal::ctrl_c() => match interrupted {
            Ok(()) => Err(Failure::new(Exit::Interrupted, "interrupted; what was started on the controller goes on")),
            Err(error) => Err(Failure::new(Exit::Failed, format!("wait for signals: {error}"))),
        },
    }
}

/// Help and version to standard output, mistakes to standard error.
fn tell(told: &clap::Error) -> ExitCode {
    let exit = if told.use_stderr() { Exit::Usage } else { Exit::Done };
    // It repeats what was typed, and that may have come from elsewhere.
    let (plain, safe) = (told.render().to_string(), visible_lines(&told.render().to_string()));
    if plain.trim_end() == safe.trim_end() {
        // Nothing is left to say it to when standard output or error is closed.
        drop(told.print());
    } else {
        eprintln!("{safe}");
    }
    exit.into()
}

fn complain(failure: &Failure, format: Format) {
    match (failure.exit, format) {
        (Exit::Done, _) => {} // the reader of our output left early, as `head` does
        (_, Format::Json) => eprintln!("{}", failure.json()),
        (_, Format::Table) => {
            let columns =
                if std::io::stderr().is_terminal() { surroundings::terminal_size().0 } else { usize::MAX };
            complaint(failure, columns).iter().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// A failure on a screen of so many columns. What is several lines stays several lines.
fn complaint(failure: &Failure, columns: usize) -> Vec<String> {
    failure.lines().iter().flat_map(|text| text.lines()).flat_map(|line| folded(line, columns)).collect()
}

/// A line between words where the screen ends, what follows a little further in than where it began.
fn folded(line: &str, columns: usize) -> Vec<String> {
    if style::width(line) <= columns {
        return vec![line.to_owned()];
    }
    let indent = line.len() - line.trim_start().len();
    let parts = style::wrap(line, columns.saturating_sub(indent + 2).max(20));
    let lead = |at: usize| " ".repeat(if at == 0 { indent } else { indent + 2 });
    parts.iter().enumerate().map(|(at, part)| format!("{}{part}", lead(at))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_complained_of_is_folded_between_words() {
        assert_eq!(folded("  one two", 9), ["  one two"]);
        let long = "    frozen by eve: stock-taking until tomorrow morning";
        assert_eq!(
            folded(long, 30),
            ["    frozen by eve:", "      stock-taking until", "      tomorrow morning"]
        );
    }

    #[test]
    fn a_complaint_of_several_lines_is_not_run_together() {
        let moved = Failure::from(longshore_common::code::Coded::new(
            longshore_common::code::Code::R03,
            "the world is no longer as plan cc96bb1f saw it:\n  what is live was 1.1, and is 1.0\nLook: longshore plan show",
        ));
        assert_eq!(
            complaint(&moved.next("then start that"), 40),
            [
                "longshore: LS-R03 the world is no",
                "  longer as plan cc96bb1f saw it:",
                "    what is live was 1.1, and is 1.0",
                "  Look: longshore plan show",
                "  then start that",
            ]
        );
    }
}
