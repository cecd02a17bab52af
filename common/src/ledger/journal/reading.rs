//! Reading a journal: record by record, each where it belongs, until the end or the first that is not whole.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use super::frame::{self, Content, Entries, Group, HEAD, Link, Record, Start};
use super::{FORMAT, ReadError};
use crate::ledger::image::Image;
use crate::ledger::{Committed, Revision, Stored};
use crate::text::visible;

/// A journal that is being read.
#[derive(Default)]
pub(super) struct Reading {
    /// Where the next record begins.
    pub(super) at: u64,
    /// What it is to be linked to.
    pub(super) link: Link,
    pub(super) began_with: u64,
    /// How many entries of the beginning are still to come; `None` before the start.
    missing: Option<u64>,
    pub(super) image: Image,
}

/// Why reading stopped before the end.
pub(super) enum Stop {
    Journal(ReadError),
    Io(io::Error),
}

impl Reading {
    /// Read everything that is whole of `length` bytes. What is not, and has nothing whole behind it, is left.
    pub(super) fn read_all(&mut self, file: impl Read + Seek, length: u64) -> Result<(), Stop> {
        let mut input = BufReader::new(file);
        let mut buffer = Vec::new();
        while self.at < length {
            match next(&mut input, &mut buffer, length - self.at)? {
                Some((record, link, size)) => self.take(record, link, size as u64)?,
                None if self.is_begun() && self.is_torn(input)? => return Ok(()),
                None => return Err(self.damaged("a record is not whole").into()),
            }
        }
        if self.is_begun() { Ok(()) } else { Err(self.damaged("its beginning is not whole").into()) }
    }

    /// Whether there is nothing whole behind the record that is not.
    fn is_torn(&self, mut input: BufReader<impl Read + Seek>) -> io::Result<bool> {
        let mut rest = Vec::new();
        input.seek(SeekFrom::Start(self.at + 1))?;
        input.read_to_end(&mut rest)?;
        Ok(!frame::any_whole(&rest))
    }

    fn is_begun(&self) -> bool {
        self.missing == Some(0)
    }

    fn damaged(&self, what: &'static str) -> ReadError {
        ReadError::Damaged { at: self.at, what }
    }

    fn take(&mut self, record: Record, link: Link, size: u64) -> Result<(), ReadError> {
        // The first record of a file is linked to one of a file that is gone.
        if self.missing.is_some() && *record.previous != self.link {
            return Err(self.damaged("a record does not follow the one before it"));
        }
        let is_beginning = !matches!(record.content, Some(Content::Group(_)));
        match (record.content, self.missing) {
            (Some(Content::Start(start)), None) => self.start(start)?,
            (Some(Content::Entries(part)), Some(missing)) => self.entries(part, missing)?,
            (Some(Content::Group(group)), Some(0)) => self.group(group)?,
            _ => return Err(self.damaged("a record is not where it belongs")),
        }
        self.at += size;
        self.link = link;
        if is_beginning {
            self.began_with = self.at;
        }
        Ok(())
    }

    fn start(&mut self, start: Start) -> Result<(), ReadError> {
        if start.format > FORMAT {
            return Err(ReadError::Newer { writer: visible(&start.writer) });
        }
        self.image.revision = Revision(start.revision);
        self.missing = Some(start.entries);
        Ok(())
    }

    fn entries(&mut self, part: Entries, missing: u64) -> Result<(), ReadError> {
        let found = part.entries.len() as u64;
        let left = missing.checked_sub(found).ok_or_else(|| self.damaged("there are too many entries"))?;
        self.missing = Some(left);
        self.image.entries.extend(part.entries.into_iter().map(<(String, Stored)>::from));
        Ok(())
    }

    fn group(&mut self, group: Group) -> Result<(), ReadError> {
        for commit in group.commits.into_iter().map(Committed::from) {
            if commit.revision != self.image.revision.next() {
                return Err(self.damaged("a revision is missing"));
            }
            self.image.apply(commit);
        }
        Ok(())
    }
}

/// The next record, its link, and how long its frame is; `None` where it is not whole.
fn next(input: &mut impl Read, buffer: &mut Vec<u8>, left: u64) -> io::Result<Option<(Record, Link, usize)>> {
    let mut head = [0; HEAD];
    if left < HEAD as u64 {
        return Ok(None);
    }
    input.read_exact(&mut head)?;
    let Some(payload) = frame::payload_bytes(&head).filter(|payload| (HEAD + payload) as u64 <= left) else {
        return Ok(None);
    };
    buffer.clear();
    buffer.extend_from_slice(&head);
    buffer.resize(HEAD + payload, 0);
    input.read_exact(&mut buffer[HEAD..])?;
    Ok(frame::read(buffer))
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Io(error)
    }
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Stop {
        Stop::Journal(error)
    }
}
