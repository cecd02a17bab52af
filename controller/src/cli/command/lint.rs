//! `lint FILE...`: the same reading of `longshore.toml` that `release publish` does, and of an environment's file that
//! the controller does, and what lies beside them (`lint_across`); nothing is sent anywhere.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use longshore_common::{
    code::Code,
    manifest::file::AppFile,
    strict::{self, FILE_BYTES},
    text::visible,
};
use serde::Serialize;

use super::{Desk, lint_across as across};
use crate::{
    cli::{
        exit::Exit,
        failure::{Failure, shown},
        given,
        output::{Page, View, now},
        publish::APP_FILE,
        style::Ink,
    },
    config::Environment,
    environments::slips,
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
    /// What may be meant so. The file is sound for all that.
    warnings: Vec<Problem>,
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
            for Problem { line, column, message } in &file.warnings {
                let warning = page.style.paint(Ink::Warn, "warning");
                lines.push(format!("{name}:{line}:{column}: {warning}: {}", shown(message)));
            }
        }
        lines
    }
}

pub fn run(desk: &Desk, files: &[PathBuf]) -> Result<Exit, Failure> {
    let here = [PathBuf::from(APP_FILE)];
    let files = if files.is_empty() { &here[..] } else { files };
    let (mut read, mut unread) = (vec![], vec![]);
    for path in files {
        match lint(&file_of(path)) {
            Ok(file) => read.push(file),
            Err(failure) => unread.push(failure),
        }
    }
    among_each_other(&mut read);
    let linted = Linted { files: read.into_iter().map(|read| read.linted).collect() };
    if !linted.files.is_empty() {
        desk.output.print(&linted)?;
    }
    if let Some(failure) = all(unread) {
        return Err(failure);
    }
    let sound = linted.files.iter().all(|file| file.problems.is_empty());
    Ok(if sound { Exit::Done } else { Exit::Usage })
}

/// What is wrong with one file is no reason to say nothing of the next. None: every file could be read.
fn all(unread: Vec<Failure>) -> Option<Failure> {
    unread
        .into_iter()
        .reduce(|first, next| Failure { message: format!("{}\n{}", first.message, next.message), ..first })
}

/// A folder is meant by the app's file in it, as when it is published.
fn file_of(path: &Path) -> PathBuf {
    if path.is_dir() && !given::is_stdin(path) { path.join(APP_FILE) } else { path.to_owned() }
}

/// A file with what it says, where that can be read.
struct Read {
    linted: LintedFile,
    text: String,
    environment: Option<Environment>,
    app: Option<AppFile>,
}

fn lint(path: &Path) -> Result<Read, Failure> {
    let file = path.display().to_string();
    let text = read_text(path, FILE_BYTES)?;
    let (mut environment, mut read_app) = (None, None);
    let read = match is_environment(&text) {
        true => read_environment(&file, &text).map(|env| {
            let what = format!("environment {}", env.name);
            environment = Some(env);
            (what, vec![])
        }),
        false => AppFile::parse(&file, &text).map(|app| {
            let mut found = across::of_app(path, &app);
            found.extend(across::too_large(&app).map(|problem| (String::new(), problem)));
            let what = format!("app {}", app.app);
            read_app = Some(app);
            (what, found)
        }),
    };
    let linted = match read {
        Ok((what, found)) => {
            let problems: Vec<Problem> =
                found.into_iter().map(|(word, message)| problem(&text, &word, message)).collect();
            let what = problems.is_empty().then_some(what);
            LintedFile { file, what, problems, warnings: vec![] }
        }
        Err(problems) => {
            let problems = problems.list.into_iter();
            let problems = problems.map(|problem| Problem {
                line: problem.line,
                column: problem.column,
                message: problem.message,
            });
            LintedFile { file, what: None, problems: problems.collect(), warnings: vec![] }
        }
    };
    Ok(Read { linted, text, environment, app: read_app })
}

fn problem(text: &str, word: &str, message: String) -> Problem {
    let (line, column) = across::place(text, word);
    Problem { line, column, message }
}

/// Environments that are given together have to get along, with each other and with the apps beside them.
fn among_each_other(files: &mut [Read]) {
    let (at, environments): (Vec<usize>, Vec<&Environment>) =
        files.iter().enumerate().filter_map(|(at, read)| Some((at, read.environment.as_ref()?))).unzip();
    let apps: Vec<&AppFile> = files.iter().filter_map(|read| read.app.as_ref()).collect();
    let mut all = across::of_environments(&environments);
    all.extend(across::of_apps_in(&environments, &apps));
    let warnings = across::with_the_same_hosts(&environments);
    for (nth, word, message) in warnings {
        let found = problem(&files[at[nth]].text, &word, message);
        files[at[nth]].linted.warnings.push(found);
    }
    for (nth, word, message) in all {
        let found = problem(&files[at[nth]].text, &word, message);
        let linted = &mut files[at[nth]].linted;
        linted.what = None;
        linted.problems.push(found);
    }
}

/// What the controller finds in it as well, as far as one file and the clock can tell.
fn read_environment(file: &str, text: &str) -> Result<Environment, strict::Problems> {
    let environment = Environment::parse(file, text)?;
    let slips = slips(&environment, now().0);
    if slips.is_empty() {
        return Ok(environment);
    }
    let line = text.lines().position(|line| line.trim_start().starts_with("[calendar"));
    let line = line.map_or(1, |nth| nth + 1);
    let list = slips.into_iter().map(|message| strict::Problem { line, column: 1, message }).collect();
    Err(strict::Problems { file: file.to_owned(), list })
}

/// An environment's file has a table of that name. Where it was forgotten, other words that no app's file has tell.
fn is_environment(text: &str) -> bool {
    let has = |word: &str| text.lines().any(|line| line.trim_start().starts_with(word));
    let of_app = ["[app]", "[artifact]", "[service]"].into_iter().any(has);
    has("[environment]") || (!of_app && ["[rollout]", "selector"].into_iter().any(has))
}

/// A small file, or what comes through a pipe, as text. A mistake with a large file, or with what is none, costs nothing.
pub fn read_text(path: &Path, most: usize) -> Result<String, Failure> {
    given::read_text(path, most).map_err(|error| {
        let message = format!("read {}: {error}", visible(&path.display().to_string()));
        match error.kind() {
            ErrorKind::FileTooLarge => Failure::coded(Code::M01, message),
            _ => Failure::usage(message),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let unread = ["a.toml", "b.toml"].map(|name| lint(&dir.path().join(name)).err().unwrap());
        let message = all(unread.into()).unwrap().message;
        assert!(message.contains("a.toml: ") && message.contains("b.toml: "), "{message}");
        assert_eq!(all(vec![]), None);
    }

    #[test]
    fn what_is_no_small_file_is_named_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let large = dir.path().join("large");
        longshore_common::durable::write_atomic(&large, b"12345", 0o600).unwrap();
        let refused = |path: &Path| read_text(path, 4).unwrap_err().message;
        assert!(refused(Path::new("/dev/zero")).contains("/dev/zero: it is a device"));
        assert!(refused(&large).contains("it has 5 bytes; at most 4 are read"), "{}", refused(&large));
    }
}
