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

/// What systemd says of a start may be stamped a little before what its properties say.
const START_SLACK: Duration = Duration::from_secs(1);

/// The last lines of a unit, such as `longshore-shop.service`, and what systemd said of it, since it was told to run
/// then; its last start began at `begun`. Where the journal cannot be read or keeps nothing, that and why.
///
/// What ran before is stopped after that moment, and what it says of its end is no word of what runs now.
/// Not those of its last run alone: one that crashes has often just begun the next one, and said nothing yet.
pub async fn last_lines_of(unit: &str, since: SystemTime, begun: SystemTime) -> LastLines {
    last_lines_by(JOURNALCTL, unit, since, begun).await
}

async fn last_lines_by(
    journalctl: Program<'_>,
    unit: &str,
    since: SystemTime,
    begun: SystemTime,
) -> LastLines {
    let (at, at_us) = (stamp(since), since.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros());
    // What the app wrote just before it ended may still be on its way.
    drop(run(journalctl, &["--sync"], |_| ()).await); // without it a word may be missing, and no more
    let before = life_before(journalctl, unit, &at, at_us).await;
    let (own, all) = (format!("_SYSTEMD_UNIT={unit}"), format!("--unit={unit}"));
    let own = read(journalctl, &own, &at, before.as_deref()).await.unwrap_or_default();
    let read = match read(journalctl, &all, &at, before.as_deref()).await {
        Ok(read) if read.latest_ms >= first_ms(begun) => Ok(read),
        Ok(read) => kept_since(journalctl, begun).await.map(|()| read),
        Err(why) => Err(why),
    };
    read.map_or_else(|why| LastLines::unread(&why), |read| read.lines.with_own(own.lines))
}

/// The last life (systemd's invocation) that the unit had before then.
async fn life_before(journalctl: Program<'_>, unit: &str, at: &str, at_us: u128) -> Option<String> {
    let (until, unit) = (format!("--until={at}"), format!("--unit={unit}"));
    let mut life: Option<String> = None;
    let keep = |row: String| life = life.take().or_else(|| life_until(&row, at_us));
    let args = ["-q", "--no-pager", "-o", "json", LIVES, "--reverse", "-n", "1", &until, &unit];
    drop(run(journalctl, &args, keep).await); // then of none
    life
}

#[derive(Default)]
struct Read {
    lines: LastLines,
    /// When the latest of them was said. 0: there are none.
    latest_ms: Millis,
}

/// The last lines of what a match of journalctl picks, but for those of the life `before`.
async fn read(journalctl: Program<'_>, of: &str, at: &str, before: Option<&str>) -> io::Result<Read> {
    let mut read = Read::default();
    let (count, since) = (LINES_READ.to_string(), format!("--since={at}"));
    let each = |row: String| {
        if let Some((time_ms, said)) = said_since(&row, before) {
            read.latest_ms = read.latest_ms.max(time_ms);
            said.lines().for_each(|line| read.lines.push(&shortened(line)));
        }
    };
    let args = ["--no-pager", "-a", "-o", "json", LIVES_AND_LINES, "-n", &count, &since, of];
    match run(journalctl, &args, each).await {
        Err(why) if read.lines.last().is_none() => Err(why),
        // Late or broken: what was read so far is what there is.
        Ok(()) | Err(_) => Ok(read),
    }
}

/// An error where nothing was kept, of any unit, since a start that began then. systemd itself says a word of each start,
/// so a journal that is kept has one; of one that is not journalctl says nothing at all and ends well.
async fn kept_since(journalctl: Program<'_>, begun: SystemTime) -> io::Result<()> {
    // The word of a start just now may still be on its way.
    drop(run(journalctl, &["--sync"], |_| ()).await);
    let since = format!("--since={}", stamp(first(begun)));
    let mut is_kept = false;
    let args = ["-q", "--no-pager", "-o", "json", "--output-fields=PRIORITY", "-n", "1", &since];
    match run(journalctl, &args, |row| is_kept |= row.starts_with('{')).await {
        Ok(()) if !is_kept => Err(io::Error::other(format!("{NOTHING_KEPT}. {SEE}"))),
        // That it is late or broken says nothing of what is kept.
        Ok(()) | Err(_) => Ok(()),
    }
}

/// From when on an entry may be of a start that began then.
fn first(begun: SystemTime) -> SystemTime {
    begun.checked_sub(START_SLACK).unwrap_or(begun)
}

fn first_ms(begun: SystemTime) -> Millis {
    first(begun).duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as Millis
}

/// As journalctl reads it.
fn stamp(at: SystemTime) -> String {
    let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("@{}.{:06}", at.as_secs(), at.subsec_micros())
}

/// Failures of the journal are failures to know more, never failures of the app.
async fn run(journalctl: Program<'_>, args: &[&str], each: impl FnMut(String)) -> io::Result<()> {
    let command = journalctl.with(args);
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
            return Err(io::Error::other(format!("{line} {SEE}")));
        }
        last = Some(line).filter(|line| !line.is_empty()).or(last);
    }
    Ok(last)
}

/// A program, and the words that it begins with.
#[derive(Clone, Copy)]
struct Program<'a>(&'a str, &'a [&'a str]);

impl Program<'_> {
    fn with(self, args: &[&str]) -> Command {
        let mut command = Command::new(self.0);
        command.args(self.1).args(args);
        command
    }
}

const JOURNALCTL: Program<'static> = Program("journalctl", &[]);
/// Of "No journal files were found." and "No journal files were opened due to insufficient permissions.", which no version
/// translates. With `-q`, which `-o json` implies in many versions, it says neither.
const NO_FILES: &str = "No journal files were ";
const NOTHING_KEPT: &str = "nothing was kept in the journal since the app was started";
const SEE: &str = "See Storage= in /etc/systemd/journald.conf (is it none?), whether MaxLevelStore= there, or LogLevel= of \
                   system.conf, leaves out what systemd says of starts, and whether /var/log/journal or /run/log/journal \
                   has a folder named as in /etc/machine-id";
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

    fn said(self) -> Option<(Millis, String)> {
        let time_ms = self.time_us.parse::<Millis>().ok()? / 1000;
        Some((time_ms, self.message?.text()))
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
/// says why nothing is known. Its last start began at `begun`: where nothing was kept since then, what it said before is
/// not told, as if it were the last.
pub async fn lines_of(
    unit: &str,
    begun: SystemTime,
    count: usize,
    until: Until,
    each: impl FnMut(Millis, String),
) -> io::Result<()> {
    lines_by(JOURNALCTL, unit, begun, count, until, each).await
}

async fn lines_by(
    journalctl: Program<'_>,
    unit: &str,
    begun: SystemTime,
    count: usize,
    until: Until,
    mut each: impl FnMut(Millis, String),
) -> io::Result<()> {
    let (count, first_ms) = (count.to_string(), first_ms(begun));
    // In full: of a longer line journalctl would say nothing at all.
    let json = ["--no-pager", "-a", "-o", "json", "--output-fields=MESSAGE"];
    let mut command = journalctl.with(&json);
    command.args(["-u", unit, "-n", &count]);
    let mut is_kept = false;
    if until == Until::Dropped {
        command.arg("-f");
        // It would wait for ever for what never comes.
        kept_since(journalctl, begun).await?;
        is_kept = true;
    }
    // Of the lives before, until a line shows that this one's are kept as well.
    let mut held = vec![];
    let row = |line: String| {
        if let Some((time_ms, text)) = parse(&line) {
            is_kept |= time_ms >= first_ms;
            held.push((time_ms, shortened(&text)));
        }
        if is_kept {
            held.drain(..).for_each(|(time_ms, text)| each(time_ms, text));
        }
    };
    rows(command, row).await?;
    if !is_kept {
        kept_since(journalctl, begun).await?;
    }
    held.into_iter().for_each(|(time_ms, text)| each(time_ms, text));
    Ok(())
}

fn parse(line: &str) -> Option<(Millis, String)> {
    serde_json::from_str::<Row>(line).ok()?.said()
}

/// Of which life the row is; `None`: of none, or it is later than that.
fn life_until(row: &str, at_us: u128) -> Option<String> {
    let row: Row = serde_json::from_str(row).ok()?;
    let is_in_time = row.time_us.parse::<u128>().is_ok_and(|us| us <= at_us);
    row.life().filter(|_| is_in_time).map(str::to_owned)
}

/// `None`: no row, or of that life.
fn said_since(row: &str, before: Option<&str>) -> Option<(Millis, String)> {
    let row: Row = serde_json::from_str(row).ok()?;
    let is_before = before.is_some() && row.life() == before;
    if is_before { None } else { row.said() }
}

#[cfg(test)]
mod tests;
