//! `lint FILE...`: the same reading of `longshore.toml` that `release publish` does, and of an environment's file that
//! the controller does; nothing is sent anywhere.

use std::path::{Path, PathBuf};

use longshore_common::{
    code::Code,
    manifest::file::AppFile,
    strict::{self, FILE_BYTES},
    text::visible,
};
use serde::Serialize;

use super::Desk;
use crate::{
    cli::{
        exit::Exit,
        failure::{Failure, shown},
        output::{Page, View, now},
        style::Ink,
    },
    config::Environment,
    environments::never_opens,
};

#[derive(Clone, Debug, Serialize)]
struct Linted {
    files: Vec<LintedFile>,
}

#[derive(Clone, Debug, Serialize)]
struct LintedFile {
    file: String,
    /// `app shop`, `environment production`; none when it does not parse.
    what: Option<String>,
    problems: Vec<Problem>,
}

#[derive(Clone, Debug, Serialize)]
struct Problem {
    line: usize,
    column: usize,
    message: String,
}

impl View for Linted {
    const SCHEMA: &'static str = "longshore.cli.lint/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let mut lines = vec![];
        for file in &self.files {
            let name = visible(&file.file);
            if let Some(what) = &file.what {
                lines.push(format!("{name}: {}, {}", visible(what), page.style.paint(Ink::Good, "sound")));
            }
            for Problem { line, column, message } in &file.problems {
                lines.push(format!("{name}:{line}:{column}: {}", shown(message)));
            }
        }
        lines
    }
}

pub fn run(desk: &Desk, files: &[PathBuf]) -> Result<Exit, Failure> {
    let files = files.iter().map(|path| lint(path)).collect::<Result<Vec<_>, _>>()?;
    let linted = Linted { files };
    desk.output.print(&linted)?;
    let sound = linted.files.iter().all(|file| file.problems.is_empty());
    Ok(if sound { Exit::Done } else { Exit::Usage })
}

fn lint(path: &Path) -> Result<LintedFile, Failure> {
    let file = path.display().to_string();
    let text = read_text(path, FILE_BYTES)?;
    let read = match is_environment(&text) {
        true => environment(&file, &text),
        false => AppFile::parse(&file, &text).map(|app| format!("app {}", app.app)),
    };
    Ok(match read {
        Ok(what) => LintedFile { file, what: Some(what), problems: vec![] },
        Err(problems) => {
            let problems = problems.list.into_iter();
            let problems = problems.map(|problem| Problem {
                line: problem.line,
                column: problem.column,
                message: problem.message,
            });
            LintedFile { file, what: None, problems: problems.collect() }
        }
    })
}

/// What the controller finds in it as well, as far as one file and the clock can tell.
fn environment(file: &str, text: &str) -> Result<String, strict::Problems> {
    let environment = Environment::parse(file, text)?;
    let Some(message) = never_opens(&environment, now().0) else {
        return Ok(format!("environment {}", environment.name));
    };
    let line = text.lines().position(|line| line.trim_start().starts_with("[calendar]"));
    let problem = strict::Problem { line: line.map_or(1, |nth| nth + 1), column: 1, message };
    Err(strict::Problems { file: file.to_owned(), list: vec![problem] })
}

/// An environment's file has a table of that name; an app's has none.
fn is_environment(text: &str) -> bool {
    text.lines().any(|line| line.trim_start().starts_with("[environment]"))
}

/// A small file as text. Size first, so that a mistake with a large file costs nothing.
pub fn read_text(path: &Path, most: usize) -> Result<String, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::usage(format!("read {}: {error}", visible(&path.display().to_string())))
    };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > most as u64 {
        let name = visible(&path.display().to_string());
        return Err(Failure::coded(Code::M01, format!("{name} has {length} bytes; at most {most} are read")));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}
