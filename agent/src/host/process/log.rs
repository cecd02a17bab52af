//! The app's last lines, in two files of bounded size: the supervisor appends, anybody of ours reads.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

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

    pub fn append(&mut self, entry: &Entry) -> io::Result<()> {
        if self.bytes >= ROTATE_BYTES {
            match fs::rename(&self.path, older(&self.path)) {
                // Somebody took it away, or the disk was too full for the next one when it was moved.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                moved => moved?,
            }
            *self = Self::open(self.path.clone())?;
        }
        let mark = if entry.stream == Stream::Stdout { 'o' } else { 'e' };
        let line = format!("{} {mark} {}\n", entry.time_ms, entry.text);
        self.file.write_all(line.as_bytes())?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

/// The last `count` entries, oldest first. No file, no entries.
pub fn tail(path: &Path, count: usize) -> io::Result<Vec<Entry>> {
    let mut entries = last_of(path, count)?;
    if entries.len() < count {
        let mut before = last_of(&older(path), count - entries.len())?;
        before.append(&mut entries);
        entries = before;
    }
    Ok(entries)
}

fn last_of(path: &Path, count: usize) -> io::Result<Vec<Entry>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(e) => return Err(e),
    };
    let text = String::from_utf8_lossy(&bytes);
    let mut entries: Vec<Entry> = text.lines().rev().filter_map(parse).take(count).collect();
    entries.reverse();
    Ok(entries)
}

fn parse(line: &str) -> Option<Entry> {
    let (time, rest) = line.split_once(' ')?;
    let (mark, text) = rest.split_once(' ')?;
    let stream = if mark == "o" { Stream::Stdout } else { Stream::Stderr };
    Some(Entry { time_ms: time.parse().ok()?, stream, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that is not there any more when it is to be moved ends nothing: the next one is begun all the same.
    #[test]
    fn the_log_goes_on_where_its_file_was_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        let mut log = Appender::open(path.clone()).unwrap();
        let line = |n| Entry { time_ms: n, stream: Stream::Stdout, text: "x".repeat(100_000) };
        longshore_common::durable::remove_durable(&path).unwrap();
        for n in 0..20 {
            log.append(&line(n)).unwrap();
        }
        assert_eq!(tail(&path, 1).unwrap(), [line(19)]);
    }

    #[test]
    fn the_log_stays_bounded_and_its_end_readable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        let mut log = Appender::open(path.clone()).unwrap();
        let text = "x".repeat(1000);
        for n in 0..4000 {
            let text = format!("{n} {text}");
            log.append(&Entry { time_ms: n, stream: Stream::Stderr, text }).unwrap();
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
