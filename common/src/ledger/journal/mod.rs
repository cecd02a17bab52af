//! The truth of a ledger: every commit, appended and synced before the database hears of it.
//!
//! A journal is one file. It begins with everything that there was when it was begun, followed by the commits
//! since, so reading it gives the whole state and the database can be made anew from it. When it has grown to
//! several times what it amounts to, it is begun anew: written beside, synced, and renamed over the old one.
//!
//! What a power cut left half written at the end was never acknowledged, and is cut off. Anything else that is
//! not as it was written is damage, and an error: a record with a whole one behind it was acknowledged once. (A disk
//! that loses its very end after it said that it was synced cannot be told from a power cut.)

mod frame;
mod reading;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use frame::{Content, Entries, Group, Link, NO_LINK, Start};
use reading::{Reading, Stop};

use super::error::Fault;
use super::image::Image;
use super::{Committed, Revision};
use crate::durable::{AtomicFile, DurableError, Step};

/// What this version writes.
const FORMAT: u32 = 1;

/// A journal below this is never begun anew: reading it takes a few milliseconds.
const RENEW_ABOVE_BYTES: u64 = 2 << 20;

/// How many times what it began with a journal may take.
const RENEW_ABOVE_RATIO: u64 = 4;

/// How many entries lie in one record of the beginning; some hundred kilobytes.
const ENTRIES_PER_RECORD: usize = 256;

/// A journal that can be appended to.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    /// What the next record is linked to.
    link: Link,
    bytes: u64,
    /// How many of them the beginning takes.
    began_with: u64,
}

/// Where a journal ends: which state it amounts to, and by which history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) revision: Revision,
    pub(super) link: [u8; 32],
}

/// Why a journal could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("there is none")]
    Missing,
    #[error("its journal is damaged at byte {at}: {what}")]
    Damaged { at: u64, what: &'static str },
    #[error("written by {writer}")]
    Newer { writer: String },
    #[error(transparent)]
    Disk(#[from] DurableError),
}

impl Journal {
    /// Begin a journal with everything in `image`, in place of one that may be there.
    pub(super) fn begin(path: &Path, image: &Image) -> Result<Journal, DurableError> {
        Journal::begin_after(path, image, NO_LINK)
    }

    /// Read a journal to its end, cutting off what was never acknowledged.
    pub(super) fn read(path: &Path) -> Result<(Journal, Image), ReadError> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ReadError::Missing),
            opened => opened.map_err(|error| DurableError::new(Step::Open, path, error))?,
        };
        let length = file.metadata().map_err(|error| DurableError::new(Step::Inspect, path, error))?.len();
        let mut reading = Reading::default();
        reading.read_all(file, length).map_err(|error| match error {
            Stop::Journal(error) => error,
            Stop::Io(error) => DurableError::new(Step::Read, path, error).into(),
        })?;
        let file = open_to_append(path, reading.at)?;
        let Reading { at, link, began_with, image, .. } = reading;
        Ok((Journal { file, path: path.to_owned(), link, bytes: at, began_with }, image))
    }

    /// Make a group of commits durable.
    pub(super) fn append(&mut self, commits: &[Committed]) -> Result<(), Fault> {
        let mut frames = Vec::new();
        let group = Group { commits: commits.iter().map(Into::into).collect() };
        let link = frame::append(&mut frames, self.link, Content::Group(group));
        self.file.write_all(&frames).map_err(|error| DurableError::new(Step::Write, &self.path, error))?;
        self.file.sync_data().map_err(|error| DurableError::new(Step::Sync, &self.path, error))?;
        self.link = link;
        self.bytes += frames.len() as u64;
        Ok(())
    }

    pub(super) fn is_worth_renewing(&self) -> bool {
        self.bytes > RENEW_ABOVE_BYTES && self.bytes > RENEW_ABOVE_RATIO * self.began_with
    }

    /// Begin the journal anew with what it amounts to, read from itself: it is the one thing that is trusted.
    pub(super) fn renew(&mut self) -> Result<End, Fault> {
        let (journal, image) = Journal::read(&self.path).map_err(Fault::Journal)?;
        *self = journal.renewed(&image)?;
        Ok(self.end(image.revision))
    }

    /// The journal begun anew with `image`, which is what it amounts to.
    pub(super) fn renewed(self, image: &Image) -> Result<Journal, DurableError> {
        Journal::begin_after(&self.path, image, self.link)
    }

    pub(super) fn end(&self, revision: Revision) -> End {
        End { revision, link: self.link }
    }

    /// From now on no write succeeds.
    #[cfg(test)]
    pub(super) fn break_writes(&mut self) {
        self.file = File::open(&self.path).expect("the journal is there");
    }

    fn begin_after(path: &Path, image: &Image, previous: Link) -> Result<Journal, DurableError> {
        let mut frames = Vec::new();
        let start = Start {
            format: FORMAT,
            writer: env!("CARGO_PKG_VERSION").to_owned(),
            revision: image.revision.0,
            entries: image.entries.len() as u64,
        };
        let mut link = frame::append(&mut frames, previous, Content::Start(start));
        let mut entries = image.entries.iter().peekable();
        while entries.peek().is_some() {
            let part = entries.by_ref().take(ENTRIES_PER_RECORD).map(Into::into).collect();
            link = frame::append(&mut frames, link, Content::Entries(Entries { entries: part }));
        }
        let mut file = AtomicFile::create(path, 0o600)?;
        file.write_all(&frames).map_err(|error| DurableError::new(Step::Write, path, error))?;
        file.commit()?;
        let bytes = frames.len() as u64;
        let file = open_to_append(path, bytes)?;
        Ok(Journal { file, path: path.to_owned(), link, bytes, began_with: bytes })
    }
}

/// The revision that a journal of these bytes amounts to, and how many entries there are then; or why it cannot be
/// read. For whoever has the bytes and no folder.
pub fn examine(bytes: &[u8]) -> Result<(Revision, usize), String> {
    let mut reading = Reading::default();
    match reading.read_all(io::Cursor::new(bytes), bytes.len() as u64) {
        Ok(()) => Ok((reading.image.revision, reading.image.entries.len())),
        Err(Stop::Journal(error)) => Err(error.to_string()),
        Err(Stop::Io(error)) => Err(error.to_string()),
    }
}

/// Open a journal of which `length` bytes are good, and drop what is behind them.
fn open_to_append(path: &Path, length: u64) -> Result<File, DurableError> {
    let opened = OpenOptions::new().append(true).open(path);
    let file = opened.map_err(|error| DurableError::new(Step::Open, path, error))?;
    let found = file.metadata().map_err(|error| DurableError::new(Step::Inspect, path, error))?.len();
    if found != length {
        tracing::info!(path = %path.display(), bytes = found - length, "cut off a commit that was never acknowledged");
        let cut = file.set_len(length).and_then(|()| file.sync_all());
        cut.map_err(|error| DurableError::new(Step::Write, path, error))?;
    }
    Ok(file)
}
