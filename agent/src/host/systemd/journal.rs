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
    lines::read_lines,
};

/// For journalctl, which reads many files on a host with a long history.
const DEADLINE: Duration = Duration::from_secs(10);

/// The last lines of a unit, such as `longshore-shop.service`, and what systemd said of it, since then. Empty
/// where the journal cannot be read.
///
/// Not those of its last run alone: one that crashes has often just begun the next one, and said nothing yet.
pub async fn last_lines_of(unit: &str, since: SystemTime) -> LastLines {
    let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = format!("--since=@{}.{:06}", since.as_secs(), since.subsec_micros());
    // What the app wrote just before it ended may still be on its way.
    run(&["--sync"], |_| ()).await;
    let own = read(&format!("_SYSTEMD_UNIT={unit}"), &since).await;
    read(&format!("--unit={unit}"), &since).await.with_own(own)
}

/// The last lines of what a match of journalctl picks.
async fn read(of: &str, since: &str) -> LastLines {
    let mut lines = LastLines::default();
    let count = LINES_READ.to_string();
    run(&["-q", "--no-pager", "-o", "cat", "-n", &count, since, of], |line| lines.push(&line)).await;
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
    let _ = timeout(DEADLINE, read_lines(stdout, each)).await;
    let _ = timeout(DEADLINE, child.wait()).await;
}

#[derive(Deserialize)]
struct Row {
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    time_us: String,
    #[serde(rename = "MESSAGE", default)]
    message: Option<Message>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Message {
    Text(String),
    /// What is no text comes as bytes.
    Bytes(Vec<u8>),
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
    command.args(["-q", "--no-pager", "-o", "json", "--output-fields=MESSAGE", "-u", unit, "-n", &count]);
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
    read_lines(stdout, |line| {
        if let Some((time, text)) = parse(&line) {
            each(time, text);
        }
    })
    .await?;
    child.wait().await.map(drop)
}

fn parse(line: &str) -> Option<(Millis, String)> {
    let row: Row = serde_json::from_str(line).ok()?;
    let time = row.time_us.parse::<Millis>().ok()? / 1000;
    let text = match row.message? {
        Message::Text(text) => text,
        Message::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
    };
    Some((time, text))
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
}
