//! What an app said, from the journal.

use std::{
    process::Stdio,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use longshore_common::time::Millis;
use serde::Deserialize;
use tokio::{process::Command, time::timeout};

use crate::host::{
    evidence::{LINES_READ, LastLines},
    lines::{read_lines_up_to, shortened},
};

/// For journalctl, which reads many files on a host with a long history.
const DEADLINE: Duration = Duration::from_secs(10);

/// Of a row in JSON: a line may have 48 KiB (`LineMax=`), and where it is no text each byte of it is a number.
const ROW_BYTES: usize = 256 << 10;

/// The last lines of a unit, such as `longshore-shop.service`, and what systemd said of it, since it was told to run
/// then. Empty where the journal cannot be read.
///
/// What ran before is stopped after that moment, and what it says of its end is no word of what runs now.
/// Not those of its last run alone: one that crashes has often just begun the next one, and said nothing yet.
pub async fn last_lines_of(unit: &str, since: SystemTime) -> LastLines {
    let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = format!("@{}.{:06}", since.as_secs(), since.subsec_micros());
    // What the app wrote just before it ended may still be on its way.
    run(&["--sync"], |_| ()).await;
    let before = life_before(unit, &at, since.as_micros()).await;
    let own = read(&format!("_SYSTEMD_UNIT={unit}"), &at, before.as_deref()).await;
    read(&format!("--unit={unit}"), &at, before.as_deref()).await.with_own(own)
}

/// The last life (systemd's invocation) that the unit had before then.
async fn life_before(unit: &str, at: &str, at_us: u128) -> Option<String> {
    let (until, unit) = (format!("--until={at}"), format!("--unit={unit}"));
    let mut life: Option<String> = None;
    let keep = |row: String| life = life.take().or_else(|| life_until(&row, at_us));
    run(&["-q", "--no-pager", "-o", "json", LIVES, "--reverse", "-n", "1", &until, &unit], keep).await;
    life
}

/// The last lines of what a match of journalctl picks, but for those of the life `before`.
async fn read(of: &str, at: &str, before: Option<&str>) -> LastLines {
    let mut lines = LastLines::default();
    let (count, since) = (LINES_READ.to_string(), format!("--since={at}"));
    let each = |row: String| {
        let said = said_since(&row, before).unwrap_or_default();
        said.lines().for_each(|line| lines.push(&shortened(line)));
    };
    run(&["-q", "--no-pager", "-a", "-o", "json", LIVES_AND_LINES, "-n", &count, &since, of], each).await;
    lines
}

/// Failures of the journal are failures to know more, never failures of the app.
async fn run(args: &[&str], each: impl FnMut(String)) {
    let child = Command::new("journalctl")
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let Ok(mut child) = child else { return };
    let stdout = child.stdout.take().expect("asked to be piped");
    // Late or broken: what was read so far is what there is.
    let _ = timeout(DEADLINE, read_lines_up_to(ROW_BYTES, stdout, each)).await;
    let _ = timeout(DEADLINE, child.wait()).await;
}

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

/// A unit's last lines, oldest first, and then perhaps every further one.
pub async fn lines_of(
    unit: &str,
    count: usize,
    until: Until,
    mut each: impl FnMut(Millis, String),
) -> std::io::Result<()> {
    let count = count.to_string();
    let mut command = Command::new("journalctl");
    // In full: of a longer line journalctl would say nothing at all.
    let json = ["-q", "--no-pager", "-a", "-o", "json", "--output-fields=MESSAGE"];
    command.args(json).args(["-u", unit, "-n", &count]);
    if until == Until::Dropped {
        command.arg("-f");
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = child.stdout.take().expect("asked to be piped");
    read_lines_up_to(ROW_BYTES, stdout, |line| {
        if let Some((time, text)) = parse(&line) {
            each(time, shortened(&text));
        }
    })
    .await?;
    child.wait().await.map(drop)
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
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_journal_are_lines() {
        let row = r#"{"__REALTIME_TIMESTAMP":"1732256000123456","MESSAGE":"up","_BOOT_ID":"x"}"#;
        assert_eq!(parse(row), Some((1_732_256_000_123, "up".into())));
        let bytes = r#"{"__REALTIME_TIMESTAMP":"1000","MESSAGE":[97,27,255]}"#;
        assert_eq!(parse(bytes), Some((1, "a\u{1b}\u{fffd}".into())));
        assert_eq!(parse("-- No entries --"), None);
    }

    /// Those of the release before, and what systemd says of its end, are no evidence of what failed after it.
    #[test]
    fn the_last_words_of_the_life_before_are_not_told() {
        let row = |life: &str, text: &str| {
            format!(r#"{{"__REALTIME_TIMESTAMP":"1000","MESSAGE":"{text}",{life}}}"#)
        };
        let (old, new) = (r#""_SYSTEMD_INVOCATION_ID":"aa""#, r#""_SYSTEMD_INVOCATION_ID":"bb""#);
        let stopped = row(r#""INVOCATION_ID":"aa""#, "Stopped shop");
        let started = row(r#""INVOCATION_ID":"bb","_SYSTEMD_INVOCATION_ID":"aa""#, "Started shop");
        let rows = [row(old, "bye"), stopped, started, row(new, "cannot open the database")];
        let told = |before: Option<&str>| -> Vec<String> {
            rows.iter().filter_map(|row| said_since(row, before)).collect()
        };
        assert_eq!(told(Some("aa")), ["Started shop", "cannot open the database"]);
        assert_eq!(told(None).len(), 4, "nothing is known of what ran before");
        assert_eq!((life_until(&rows[1], 1000).as_deref(), life_until(&rows[1], 999)), (Some("aa"), None));
        let unnamed = r#"{"__REALTIME_TIMESTAMP":"1000","MESSAGE":"a core was dumped"}"#;
        assert_eq!(said_since(unnamed, Some("aa")).as_deref(), Some("a core was dumped"));
        assert_eq!(said_since(unnamed, None).as_deref(), Some("a core was dumped"));
    }
}
