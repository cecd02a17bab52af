//! Commands of the tour: shown as they are typed, run as they are by this very program, with what they print.

use std::{io, os::fd::AsFd as _, path::PathBuf, process::Stdio, time::Duration};

use serde::Serialize;
use tokio::process::Command;

use super::{
    AUTHOR,
    reader::{Reader, Wish},
};
use crate::{
    cli::{
        demo::{
            stage::Stage,
            world::{PASSPHRASE, World, failed},
        },
        exit::Exit,
        failure::Failure,
        signing::{FILE_VARIABLE, VARIABLE},
        style::{Ink, clip, width},
    },
    identity::init::OPERATOR_DIR,
};

/// For one command; a rollout takes some fifteen seconds.
const LIMIT: Duration = Duration::from_secs(300);
/// Says that the reader has seen enough; nothing has failed.
const LEFT: &str = "the reader leaves the tour";

/// One command and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Typed {
    pub who: String,
    pub command: String,
    pub exit: u8,
    /// Only where it is not shown as it comes: in the JSON.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub printed: Vec<String>,
}

/// Types commands in the demo's folder, one person after the other.
pub struct Typist {
    stage: Stage,
    reader: Reader,
    folder: PathBuf,
    program: PathBuf,
    /// A line without words was the last.
    spaced: bool,
    pub typed: Vec<Typed>,
}

impl Typist {
    /// What comes next, once the reader is done with what was before.
    pub async fn chapter(&mut self, number: u32, title: &str, text: &str) -> Result<(), Failure> {
        if number > 1 && self.reader.is_there() {
            self.stage.blank()?;
            self.waits(&format!("     {}", self.hint("Enter goes on, q ends"))).await?;
        }
        self.spaced = true;
        self.stage.chapter(number, title, text)
    }

    async fn waits(&self, line: &str) -> Result<(), Failure> {
        match self.reader.ask(line).await? {
            Wish::GoOn => Ok(()),
            Wish::Leave => Err(Failure::new(Exit::Interrupted, LEFT)),
        }
    }

    fn hint(&self, text: &str) -> String {
        self.stage.page().style.paint(Ink::Faint, text)
    }

    /// A line of its own beneath what a command printed.
    pub fn remark(&mut self, line: String) -> Result<(), Failure> {
        self.spaced = false;
        self.stage.say(&[String::new(), line])
    }

    pub fn new(stage: &Stage, world: &World, reader: Reader) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(|error| failed(&error))?;
        Ok(Self {
            stage: stage.clone(),
            reader,
            folder: world.folder.clone(),
            program,
            spaced: true,
            typed: vec![],
        })
    }

    /// Shows the command, waits for the reader, runs it, and fails unless it ends as it should.
    pub async fn types(&mut self, who: &str, args: &str, ends: Exit) -> Result<(), Failure> {
        self.show(who, &format!("longshore {args}")).await?;
        let mut command = self.command(who);
        command.args(words(args));
        let (exit, printed) = self.run(command).await?;
        self.typed.push(Typed { who: who.to_owned(), command: format!("longshore {args}"), exit, printed });
        if exit == ends.number() {
            return Ok(());
        }
        let wanted = ends.number();
        Err(Failure::new(
            Exit::Failed,
            format!("`longshore {args}` ended with {exit}, and should with {wanted}"),
        ))
    }

    /// A file of the demo's folder, as `cat` shows it.
    pub async fn reads(&mut self, who: &str, file: &str) -> Result<(), Failure> {
        self.show(who, &format!("cat {file}")).await?;
        let text = std::fs::read_to_string(self.folder.join(file)).map_err(|error| failed(&error))?;
        self.stage.say(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    async fn show(&mut self, who: &str, command: &str) -> Result<(), Failure> {
        let style = self.stage.page().style;
        let line =
            format!("{} {}", style.paint(Ink::Busy, &format!("{who} $")), style.paint(Ink::Strong, command));
        if !std::mem::take(&mut self.spaced) {
            self.stage.blank()?;
        }
        let page = self.stage.page();
        // What is longer than a line could not be taken away again.
        let room = page.columns.saturating_sub(width(who) + width(command) + 6);
        let hint = clip("Enter runs it, q ends", room);
        self.waits(&format!("{line}   {}", self.hint(&hint))).await?;
        self.stage.say(&[line])
    }

    fn command(&self, who: &str) -> Command {
        let context = match who {
            AUTHOR => self.folder.join("controller").join(OPERATOR_DIR),
            other => self.folder.join(other),
        };
        let mut command = Command::new(&self.program);
        command
            .current_dir(&self.folder)
            .env("LONGSHORE_CONTEXT", context)
            .env(FILE_VARIABLE, self.folder.join(PASSPHRASE))
            .env_remove(VARIABLE)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if !self.stage.is_live() {
            command.env("TERM", "dumb");
        }
        command
    }

    /// Its exit code, and what it printed where that is not shown as it comes.
    async fn run(&self, mut command: Command) -> Result<(u8, Vec<String>), Failure> {
        let late =
            |_| Failure::new(Exit::TimedOut, format!("a command is not over after {} s", LIMIT.as_secs()));
        if self.stage.is_told() {
            // What it complains of belongs to what is shown, wherever that goes.
            let ours = io::stdout().as_fd().try_clone_to_owned().map_err(|error| failed(&error))?;
            let status = tokio::time::timeout(LIMIT, command.stderr(Stdio::from(ours)).status()).await;
            return Ok((code(status.map_err(late)?.map_err(|error| failed(&error))?), vec![]));
        }
        let output = tokio::time::timeout(LIMIT, command.output()).await;
        let output = output.map_err(late)?.map_err(|error| failed(&error))?;
        let text = [output.stdout, output.stderr].concat();
        let printed = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
        Ok((code(output.status), printed))
    }
}

/// A command that a signal ended has failed.
fn code(status: std::process::ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(Exit::Failed.number())
}

pub fn is_leaving(failure: &Failure) -> bool {
    failure.exit == Exit::Interrupted && failure.message == LEFT
}

/// As a shell takes them apart, as far as the tour's commands need it: words, and words in double quotes.
fn words(args: &str) -> Vec<String> {
    let mut words = vec![];
    for (number, part) in args.split('"').enumerate() {
        match number % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(
            words("rollout approve 9c1e --reason \"read the diff\""),
            ["rollout", "approve", "9c1e", "--reason", "read the diff"]
        );
    }
}
