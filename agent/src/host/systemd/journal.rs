//! What an app said, from the journal.

use std::{
    io,
    process::Stdio,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use longshore_common::time::Millis;
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::Command,
    time::timeout,
};

use crate::host::{
    evidence::{LINES_READ, LastLines},
    lines::{read_lines_up_to, shortened},
};

/// For journalctl, which reads many files on a host with a long history.
const DEADLINE: Duration = Duration::from_secs(10);

/// Of a row in JSON: a line may have 48 KiB (`LineMax=`), and where it is no text each byte of it is a number.
const ROW_BYTES: usize = 256 << 10;

/// The last lines of a unit, such as `longshore-shop.service`, and what systemd said of it, since it was told to run
/// then. Where the journal cannot be read, that and why.
///
/// What ran before is stopped after that moment, and what it says of its end is no word of what runs now.
/// Not those of its last run alone: one that crashes has often just begun the next one, and said nothing yet.
pub async fn last_lines_of(unit: &str, since: SystemTime) -> LastLines {
    let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = format!("@{}.{:06}", since.as_secs(), since.subsec_micros());
    // What the app wrote just before it ended may still be on its way.
    drop(run(&["--sync"], |_| ()).await); // without it a word may be missing, and no more
    let before = life_before(unit, &at, since.as_micros()).await;
    let own = read(&format!("_SYSTEMD_UNIT={unit}"), &at, before.as_deref()).await;
    match read(&format!("--unit={unit}"), &at, before.as_deref()).await {
        Ok(lines) => lines.with_own(own.unwrap_or_default()),
        Err(why) => LastLines::unread(&why),
    }
}

/// The last life (systemd's invocation) that the unit had before then.
async fn life_before(unit: &str, at: &str, at_us: u128) -> Option<String> {
    let (until, unit) = (format!("--until={at}"), format!("--unit={unit}"));
    let mut life: Option<String> = None;
    let keep = |row: String| life = life.take().or_else(|| life_until(&row, at_us));
    let args = ["-q", "--no-pager", "-o", "json", LIVES, "--reverse", "-n", "1", &until, &unit];
    drop(run(&args, keep).await); // then of none
    life
}

/// The last lines of what a match of journalctl picks, but for those of the life `before`.
async fn read(of: &str, at: &str, before: Option<&str>) -> io::Result<LastLines> {
    let mut lines = LastLines::default();
    let (count, since) = (LINES_READ.to_string(), format!("--since={at}"));
    let each = |row: String| {
        let said = said_since(&row, before).unwrap_or_default();
        said.lines().for_each(|line| lines.push(&shortened(line)));
    };
    let args = ["--no-pager", "-a", "-o", "json", LIVES_AND_LINES, "-n", &count, &since, of];
    match run(&args, each).await {
        Err(why) if lines.last().is_none() => Err(why),
        // Late or broken: what was read so far is what there is.
        Ok(()) | Err(_) => Ok(lines),
    }
}

/// Failures of the journal are failures to know more, never failures of the app.
async fn run(args: &[&str], each: impl FnMut(String)) -> io::Result<()> {
    let mut command = Command::new(JOURNALCTL);
    command.args(args);
    let late = || io::Error::other(format!("journalctl takes more than {DEADLINE:?}"));
    timeout(DEADLINE, rows(command, each)).await.unwrap_or_else(|_| Err(late()))
}

/// Every row of journalctl. An error: it could read nothing, which is something else than that nothing was said.
async fn rows(mut command: Command, mut each: impl FnMut(String)) -> io::Result<()> {
    let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| io::Error::new(e.kind(), format!("journalctl does not start: {e}")))?;
    let stdout = child.stdout.take().expect("asked to be piped");
    let stderr = child.stderr.take().expect("asked to be piped");
    let mut count = 0_usize;
    let counted = |row: String| {
        count += 1;
        each(row);
    };
    let ((), complaint) =
        tokio::try_join!(read_lines_up_to(ROW_BYTES, stdout, counted), complaint_in(stderr))?;
    let failed = !child.wait().await?.success();
    match complaint {
        // Where there is no entry some versions fail, and say that on their output.
        Some(complaint) if failed && count == 0 => Err(io::Error::other(complaint)),
        Some(_) | None => Ok(()),
    }
}

/// What it complained of last. An error as soon as it says that there are no files at all: it ends well all the same, or
/// goes on to wait for them.
async fn complaint_in(stderr: impl AsyncRead + Unpin) -> io::Result<Option<String>> {
    let (mut lines, mut last) = (BufReader::new(stderr).split(b'\n'), None);
    while let Some(line) = lines.next_segment().await? {
        let line = String::from_utf8_lossy(&line).trim().to_owned();
        if line.contains(NO_FILES) {
            return Err(io::Error::other(format!("{line} {NO_FILES_WHY}")));
        }
        last = Some(line).filter(|line| !line.is_empty()).or(last);
    }
    Ok(last)
}

const JOURNALCTL: &str = "journalctl";
/// Of "No journal files were found." and "No journal files were opened due to insufficient permissions.", which no version
/// translates. With `-q` it says neither.
const NO_FILES: &str = "No journal files were ";
const NO_FILES_WHY: &str = "See Storage= in /etc/systemd/journald.conf, and whether /var/log/journal or \
                            /run/log/journal has a folder named as in /etc/machine-id";
const LIVES: &str = "--output-fields=INVOCATION_ID,_SYSTEMD_INVOCATION_ID";
const LIVES_AND_LINES: &str = "--output-fields=MESSAGE,INVOCATION_ID,_SYSTEMD_INVOCATION_ID";

#[derive(Deserialize)]
struct Row {
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    time_us: String,
    #[serde(rename = "MESSAGE", default)]
    message: Option<Message>,
    /// Of which life of a unit it tells, where it is systemd that does.
    #[serde(rename = "INVOCATION_ID", default)]
    of_life: serde_json::Value,
    /// In which life of a unit it was said.
    #[serde(rename = "_SYSTEMD_INVOCATION_ID", default)]
    in_life: serde_json::Value,
}

impl Row {
    fn life(&self) -> Option<&str> {
        self.of_life.as_str().or(self.in_life.as_str())
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Message {
    Text(String),
    /// What is no text comes as bytes.
    Bytes(Vec<u8>),
}

impl Message {
    fn text(self) -> String {
        match self {
            Message::Text(text) => text,
            Message::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    Now,
    Dropped,
}

/// A unit's last lines, oldest first, and then perhaps every further one. One that never said anything has none; an error
/// says why nothing is known.
pub async fn lines_of(
    unit: &str,
    count: usize,
    until: Until,
    mut each: impl FnMut(Millis, String),
) -> io::Result<()> {
    let count = count.to_string();
    let mut command = Command::new(JOURNALCTL);
    // In full: of a longer line journalctl would say nothing at all.
    let json = ["--no-pager", "-a", "-o", "json", "--output-fields=MESSAGE"];
    command.args(json).args(["-u", unit, "-n", &count]);
    if until == Until::Dropped {
        command.arg("-f");
    }
    let row = |line: String| {
        if let Some((time, text)) = parse(&line) {
            each(time, shortened(&text));
        }
    };
    rows(command, row).await
}

fn parse(line: &str) -> Option<(Millis, String)> {
    let row: Row = serde_json::from_str(line).ok()?;
    let time = row.time_us.parse::<Millis>().ok()? / 1000;
    Some((time, row.message?.text()))
}

/// Of which life the row is; `None`: of none, or it is later than that.
fn life_until(row: &str, at_us: u128) -> Option<String> {
    let row: Row = serde_json::from_str(row).ok()?;
    let is_in_time = row.time_us.parse::<u128>().is_ok_and(|us| us <= at_us);
    row.life().filter(|_| is_in_time).map(str::to_owned)
}

/// `None`: no row, or of that life.
fn said_since(row: &str, before: Option<&str>) -> Option<String> {
    let row: Row = serde_json::from_str(row).ok()?;
    let is_before = before.is_some() && row.life() == before;
    row.message.filter(|_| !is_before).map(Message::text)
}

#[cfg(test)]
mod tests;
