//! Tests that a release brings along, run in its slot where a gate asks for it.
//!
//! They run as the app's user and are kept together (`keeper`), so that at their timeout nothing of them is left. What they
//! print is told as it comes, of much of it the beginning and the end (`told`); which tests passed is read from that (TAP)
//! or from a file (JUnit). Both are written by the release and not to be believed: everything read is bounded.

pub mod junit;
pub mod tap;
mod told;
mod xml;

use std::{
    fs,
    io::{self, Read},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    time::Duration,
};

use longshore_common::{
    ids::AppName,
    manifest::{Report, Test},
    text::visible,
    wire::cut,
};
use rustix::fs::{FileType, Mode, OFlags};
use serde::{Deserialize, Serialize};

use told::Told;

use super::{
    Sink,
    account::Account,
    evidence::LastLines,
    keeper::{Keeper, Kind},
    launch::{Fault, LaunchSpec},
    tree::Ended,
};

/// Tests that one run may tell of; further ones are counted.
pub const CASES_MAX: usize = 2000;
const NAME_BYTES: usize = 200;
const MESSAGE_BYTES: usize = 400;
const REPORT_BYTES: u64 = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    Passed,
    Failed,
    Skipped,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            State::Passed => "passed",
            State::Failed => "failed",
            State::Skipped => "skipped",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    pub name: String,
    pub state: State,
    pub message: String,
}

/// Tests in the order in which they were told of, and how many of each there were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cases {
    pub told: Vec<Case>,
    pub passed: u32,
    pub failed: u32,
    pub skipped: u32,
}

impl Cases {
    fn add(&mut self, name: &str, state: State, message: &str) {
        *match state {
            State::Passed => &mut self.passed,
            State::Failed => &mut self.failed,
            State::Skipped => &mut self.skipped,
        } += 1;
        let case = || Case {
            name: cut(&visible(name.trim()), NAME_BYTES),
            state,
            message: cut(&visible(message.trim()), MESSAGE_BYTES),
        };
        if self.told.len() < CASES_MAX {
            self.told.push(case());
        } else if state == State::Failed
            && let Some(place) = self.told.iter().rposition(|case| case.state != State::Failed)
        {
            self.told[place] = case(); // what failed is what people look for
        }
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.state.as_str(), self.name)?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

/// How a run went.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    pub cases: Cases,
    /// None: it could not be run.
    pub ended: Option<Ended>,
    /// Why it could not be run, or its report not be read.
    pub trouble: String,
    /// The last lines.
    pub lines: Vec<String>,
}

/// Runs it to its end, its timeout or `limit`. Dropped half way, everything of it is killed.
pub async fn run(
    keeper: &Keeper,
    app: &AppName,
    test: &Test,
    mut spec: LaunchSpec,
    reports: &Path,
    limit: Duration,
    sink: &Sink,
) -> Outcome {
    let folder = match make_reports(reports, spec.account.as_ref()) {
        Ok(folder) => folder,
        Err(e) => {
            return Outcome { trouble: format!("make {}: {e}", reports.display()), ..Outcome::default() };
        }
    };
    spec.env.insert("LONGSHORE_REPORTS".to_owned(), folder.path.display().to_string());
    let source = format!("test:{}", test.name);
    let (mut last, mut tap) = (LastLines::default(), tap::Reader::default());
    let mut told = Told::new(sink, &source);
    let each = |stream, line: String| {
        last.push(&line);
        if test.report == Report::Tap {
            tap.line(&line);
        }
        told.line(stream, line);
    };
    let ended = keeper.run(app, Kind::Test, &spec, test.timeout.0.min(limit), each).await;
    told.end();
    let ended = match ended {
        Ok(ended) => ended,
        Err(Fault(why)) => return Outcome { trouble: why, ..Outcome::default() },
    };
    let lines = last.into_iter().collect();
    let read = match &test.report {
        Report::Tap => tap.finish(),
        Report::Junit { path } => read_report(&folder.path, path).and_then(|text| junit::read(&text)),
    };
    let (cases, trouble) = match read {
        Ok(cases) => (cases, String::new()),
        Err(why) => (Cases::default(), why),
    };
    if let Report::Junit { .. } = &test.report {
        told::cases(sink, &source, &cases.told);
    }
    Outcome { cases, ended: Some(ended), trouble, lines }
}

/// Removed when it is dropped.
struct Reports {
    path: PathBuf,
}

impl Drop for Reports {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_dir_all(&self.path) {
            tracing::warn!("{} is left: {e}", self.path.display());
        }
    }
}

/// A fresh folder that belongs to whoever runs the test.
fn make_reports(path: &Path, account: Option<&Account>) -> io::Result<Reports> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    fs::create_dir_all(path)?;
    if let Some(account) = account {
        std::os::unix::fs::chown(path, Some(account.uid), Some(account.gid))?;
    }
    Ok(Reports { path: path.to_owned() })
}

/// The file's text. Whatever the test made of its folder: no link is followed out of it, no pipe waited for.
fn read_report(folder: &Path, path: &str) -> Result<String, String> {
    let bad = |why: String| format!("{path}: {why}");
    let home = folder.canonicalize().map_err(|e| bad(e.to_string()))?;
    let found = folder.join(path).canonicalize().map_err(|e| bad(e.to_string()))?;
    read_within(&home, &found).map_err(bad)
}

/// The folder is the app's to change at any moment: what counts is where the file lies that is held, and only then is it
/// opened.
fn read_within(home: &Path, found: &Path) -> Result<String, String> {
    let said = |e: io::Error| e.to_string();
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = rustix::fs::open(found, flags, Mode::empty()).map_err(|e| e.to_string())?;
    let through = format!("/proc/self/fd/{}", held.as_raw_fd());
    if !fs::read_link(&through).map_err(said)?.starts_with(home) {
        return Err("it lies outside of the folder for reports".to_owned());
    }
    let stat = rustix::fs::fstat(&held).map_err(|e| e.to_string())?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err("it is no file".to_owned());
    }
    let file = fs::File::open(&through).map_err(said)?;
    let length = file.metadata().map_err(said)?.len();
    if length > REPORT_BYTES {
        return Err(format!("it has {length} bytes; at most {REPORT_BYTES} are read"));
    }
    let mut bytes = vec![];
    file.take(REPORT_BYTES).read_to_end(&mut bytes).map_err(said)?;
    String::from_utf8(bytes).map_err(|_| "it is no UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use longshore_common::durable::write_atomic;

    use super::*;

    /// The user that a test runs as may be the app's, which goes on running while we look.
    #[test]
    fn a_report_is_read_where_it_lies_and_not_where_it_lay() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (home, elsewhere) =
            (folder.path().canonicalize().unwrap(), outside.path().canonicalize().unwrap());
        fs::create_dir(home.join("out")).unwrap();
        write_atomic(&home.join("out/report.xml"), b"<mine/>", 0o644).unwrap();
        write_atomic(&elsewhere.join("report.xml"), b"<theirs/>", 0o644).unwrap();
        symlink("out/report.xml", home.join("latest.xml")).unwrap();
        symlink(elsewhere.join("report.xml"), home.join("away.xml")).unwrap();
        for inside in ["out/report.xml", "latest.xml"] {
            assert_eq!(read_report(&home, inside).unwrap(), "<mine/>");
        }
        let away = read_report(&home, "away.xml").unwrap_err();
        assert_eq!(away, "away.xml: it lies outside of the folder for reports");
        assert_eq!(read_report(&home, "out").unwrap_err(), "out: it is no file");

        let found = home.join("out/report.xml").canonicalize().unwrap();
        fs::rename(home.join("out"), home.join("was")).unwrap();
        symlink(&elsewhere, home.join("out")).unwrap();
        let swapped = read_within(&home, &found).unwrap_err();
        assert_eq!(swapped, "it lies outside of the folder for reports");
    }
}
