//! `[[test]]`: tests that a release brings along, run on a host where a gate asks for them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{strict::Table, text::visible, time::Span};

const TESTS_MAX: usize = 32;
const NAME_BYTES: usize = 64;
const TIMEOUT: Span = Span::secs(300);
const TIMEOUT_MAX: Span = Span::secs(6 * 3600);

/// Run in the slot as the app's user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// Unique in the release.
    pub name: String,
    /// Program and arguments, as in `Service::exec`. Never empty.
    pub run: Vec<String>,
    /// After this the whole process tree is killed and the test has failed.
    pub timeout: Span,
    pub report: Report,
}

/// How it says which tests passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Report {
    /// What it prints is TAP.
    Tap,
    /// A file that it writes below `$LONGSHORE_REPORTS`; relative, without `..`.
    Junit { path: String },
}

pub(super) fn read_tests(root: &Table<'_>) -> Vec<Test> {
    let tables = root.tables("test");
    if tables.len() > TESTS_MAX {
        root.problem_at("test", format!("test: at most {TESTS_MAX} tests"));
    }
    let mut names = BTreeSet::new();
    let mut tests = vec![];
    for table in &tables {
        let name: Option<String> = table.required("name");
        let run: Vec<String> = table.list("run");
        if run.first().is_none_or(|program| program.is_empty()) {
            table.problem_at("run", "test.run: needs a program, like [\"./bin/smoke\"]");
        }
        let timeout = table.or("timeout", TIMEOUT);
        if timeout == Span::secs(0) || timeout > TIMEOUT_MAX {
            table.problem_at("timeout", format!("test.timeout: must be above 0 and at most {TIMEOUT_MAX}"));
        }
        let report = table.required::<String>("report").and_then(|text| read_report(table, &text));
        let (Some(name), Some(report)) = (name, report) else { continue };
        let sound = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c));
        if name.is_empty() || name.len() > NAME_BYTES || !sound {
            let shown = visible(&name);
            table.problem_at("name", format!("test.name: \"{shown}\" is invalid: use a-z 0-9 \"-\" \"_\""));
        }
        if !names.insert(name.clone()) {
            table.problem_at("name", format!("test.name: there are two tests \"{}\"", visible(&name)));
        }
        tests.push(Test { name, run, timeout, report });
    }
    tests
}

fn read_report(table: &Table<'_>, text: &str) -> Option<Report> {
    if text == "tap" {
        return Some(Report::Tap);
    }
    let path = text.strip_prefix("junit:").unwrap_or_default();
    let inside = path.split('/').all(|part| !part.is_empty() && part != ".." && part != ".");
    if path.is_empty() || path.len() > 256 || !inside || visible(path) != path {
        let shown = visible(text);
        table.problem_at(
            "report",
            format!("test.report: \"{shown}\" is neither \"tap\" nor \"junit:FILE\" with a relative path"),
        );
        return None;
    }
    Some(Report::Junit { path: path.to_owned() })
}
