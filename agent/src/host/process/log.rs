//! The app's last lines, in two files of bounded size: the supervisor appends, anybody of ours reads.
//!
//! Each is `<ms> <mark>@<slot> <text>`, for two slots may run at the same time; supervisors from before write no slot.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use longshore_common::slot::Slot;

use crate::host::{Stream, process::protocol::Entry};

/// Then the file becomes the older one, and the older one goes: at most twice this on disk.
pub const ROTATE_BYTES: u64 = 1 << 20;

fn older(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

pub struct Appender {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Appender {
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path, file, bytes })
    }

    /// A line of what runs from that slot.
    pub fn append(&mut self, entry: &Entry, slot: &Slot) -> io::Result<()> {
        if self.bytes >= ROTATE_BYTES {
            match fs::rename(&self.path, older(&self.path)) {
                // Somebody took it away, or the disk was too full for the next one when it was moved.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                moved => moved?,
            }
            *self = Self::open(self.path.clone())?;
        }
        let mark = if entry.stream == Stream::Stdout { 'o' } else { 'e' };
        let line = format!("{} {mark}@{slot} {}\n", entry.time_ms, entry.text);
        self.file.write_all(line.as_bytes())?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

/// The last `count` entries, oldest first. No file, no entries.
pub fn tail(path: &Path, count: usize) -> io::Result<Vec<Entry>> {
    tail_of(path, count, |_, _| true)
}

/// The same of those that `keep` wants, which is told the slot as well, where it is known.
pub fn tail_of(
    path: &Path,
    count: usize,
    keep: impl Fn(&Entry, Option<&str>) -> bool,
) -> io::Result<Vec<Entry>> {
    let mut entries = last_of(path, count, &keep)?;
    if entries.len() < count {
        let mut before = last_of(&older(path), count - entries.len(), &keep)?;
        before.append(&mut entries);
        entries = before;
    }
    Ok(entries)
}

fn last_of(path: &Path, count: usize, keep: impl Fn(&Entry, Option<&str>) -> bool) -> io::Result<Vec<Entry>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(e) => return Err(e),
    };
    let text = String::from_utf8_lossy(&bytes);
    let kept = text.lines().rev().filter_map(parse).filter(|(entry, slot)| keep(entry, *slot));
    let mut entries: Vec<Entry> = kept.map(|(entry, _)| entry).take(count).collect();
    entries.reverse();
    Ok(entries)
}

fn parse(line: &str) -> Option<(Entry, Option<&str>)> {
    let (time, rest) = line.split_once(' ')?;
    let (mark, text) = rest.split_once(' ')?;
    let (mark, slot) = mark.split_once('@').map_or((mark, None), |(mark, slot)| (mark, Some(slot)));
    let stream = if mark == "o" { Stream::Stdout } else { Stream::Stderr };
    Some((Entry { time_ms: time.parse().ok()?, stream, text: text.to_owned() }, slot))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Slot {
        "1.0-0a1b2c3d".parse().unwrap()
    }

    /// A file that is not there any more when it is to be moved ends nothing: the next one is begun all the same.
    #[test]
    fn the_log_goes_on_where_its_file_was_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        let mut log = Appender::open(path.clone()).unwrap();
        let line = |n| Entry { time_ms: n, stream: Stream::Stdout, text: "x".repeat(100_000) };
        longshore_common::durable::remove_durable(&path).unwrap();
        for n in 0..20 {
            log.append(&line(n), &slot()).unwrap();
        }
        assert_eq!(tail(&path, 1).unwrap(), [line(19)]);
    }

    /// What was replaced goes on talking until it has ended, and as much as it likes.
    #[test]
    fn lines_of_one_slot_are_told_from_those_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        longshore_common::durable::write_atomic(&path, b"1 o up\n2 e of old\n", 0o600).unwrap();
        let mut log = Appender::open(path.clone()).unwrap();
        let (old, new) = (slot(), "2.0-0a1b2c3d".parse::<Slot>().unwrap());
        let line = |time_ms, text: &str| Entry { time_ms, stream: Stream::Stdout, text: text.to_owned() };
        log.append(&line(3, "cannot open the database"), &new).unwrap();
        for n in 4..60 {
            log.append(&line(n, "o@2.0-0a1b2c3d I drain"), &old).unwrap();
        }
        let texts = |slot: &Slot| -> Vec<String> {
            let of = |_: &Entry, its: Option<&str>| its == Some(slot.as_str());
            tail_of(&path, 5, of).unwrap().into_iter().map(|entry| entry.text).collect()
        };
        assert_eq!(texts(&new), ["cannot open the database"]);
        assert_eq!(texts(&old), ["o@2.0-0a1b2c3d I drain"; 5]);
        let all = tail(&path, 100).unwrap();
        assert_eq!((all.len(), &all[0].text[..], all[1].stream), (59, "up", Stream::Stderr));
        assert_eq!(tail_of(&path, 9, |entry, slot| slot.is_none() && entry.time_ms > 1).unwrap().len(), 1);
    }

    #[test]
    fn the_log_stays_bounded_and_its_end_readable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        let mut log = Appender::open(path.clone()).unwrap();
        let text = "x".repeat(1000);
        for n in 0..4000 {
            let text = format!("{n} {text}");
            log.append(&Entry { time_ms: n, stream: Stream::Stderr, text }, &slot()).unwrap();
        }
        let size: u64 =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(size <= 2 * ROTATE_BYTES + 4096, "{size}");
        let last = tail(&path, 1200).unwrap();
        assert_eq!(last.len(), 1200, "across both files");
        let times: Vec<_> = last.iter().map(|entry| entry.time_ms).collect();
        assert_eq!(times, (2800..4000).collect::<Vec<_>>());
        assert!(tail(&folder.path().join("none.log"), 5).unwrap().is_empty());
    }
}
