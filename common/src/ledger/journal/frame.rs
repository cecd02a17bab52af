//! The bytes of a journal: frames that show where they begin and whether they are whole.
//!
//! ```text
//! bytes 0..4   "LSJR"
//! bytes 4..8   length of the payload, big-endian
//! bytes 8..12  CRC32C of length and payload, big-endian
//! bytes 12..   the payload: one `Record`
//! ```
//!
//! Every record carries the BLAKE3 of the payload before it, so that none can be taken out, put in or swapped.

use bytes::Bytes;
use prost::Message;

use crate::ids::Revision;
use crate::ledger::{Committed, Stored};

const MARK: [u8; 4] = *b"LSJR";

/// How long a frame is without its payload.
pub(super) const HEAD: usize = 12;

/// Far above the largest group that the owner gathers.
const PAYLOAD_BYTES_MAX: usize = 256 << 20;

/// What ties a record to the one before it.
pub(super) type Link = [u8; 32];

/// The link of the first record that there ever was.
pub(super) const NO_LINK: Link = [0; 32];

#[derive(Clone, PartialEq, Message)]
pub(super) struct Record {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) previous: Bytes,
    #[prost(oneof = "Content", tags = "2, 3, 4")]
    pub(super) content: Option<Content>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Content {
    /// The first of a file.
    #[prost(message, tag = "2")]
    Start(Start),
    /// A part of what was there when the file began.
    #[prost(message, tag = "3")]
    Entries(Entries),
    /// Commits that became durable together.
    #[prost(message, tag = "4")]
    Group(Group),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Start {
    /// Rises when an older version could not read what a newer one writes.
    #[prost(uint32, tag = "1")]
    pub(super) format: u32,
    /// The version of the program, for the message to a reader that is older.
    #[prost(string, tag = "2")]
    pub(super) writer: String,
    #[prost(uint64, tag = "3")]
    pub(super) revision: u64,
    /// How many entries follow in `Entries` records.
    #[prost(uint64, tag = "4")]
    pub(super) entries: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Entries {
    #[prost(message, repeated, tag = "1")]
    pub(super) entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(uint64, tag = "2")]
    revision: u64,
    #[prost(bytes = "bytes", tag = "3")]
    value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Group {
    #[prost(message, repeated, tag = "1")]
    pub(super) commits: Vec<Commit>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Commit {
    #[prost(uint64, tag = "1")]
    revision: u64,
    #[prost(message, repeated, tag = "2")]
    changes: Vec<Change>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Change {
    #[prost(string, tag = "1")]
    key: String,
    /// None where the key was deleted.
    #[prost(bytes = "bytes", optional, tag = "2")]
    value: Option<Bytes>,
}

/// Append a record's frame, and say what the next record is to be linked to.
pub(super) fn append(frames: &mut Vec<u8>, previous: Link, content: Content) -> Link {
    let record = Record { previous: Bytes::copy_from_slice(&previous), content: Some(content) };
    let payload = record.encode_to_vec();
    let length = u32::try_from(payload.len()).expect("groups and parts are far smaller than 4 GiB");
    frames.extend_from_slice(&MARK);
    frames.extend_from_slice(&length.to_be_bytes());
    frames.extend_from_slice(&sum(&payload).to_be_bytes());
    frames.extend_from_slice(&payload);
    *blake3::hash(&payload).as_bytes()
}

/// How long the payload behind a head is, if it is the head of a frame.
pub(super) fn payload_bytes(head: &[u8; HEAD]) -> Option<usize> {
    let [a, b, c, d, length @ ..] = head;
    let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
    (MARK == [*a, *b, *c, *d] && length <= PAYLOAD_BYTES_MAX).then_some(length)
}

/// The record at the beginning of `bytes`, its link, and how long its frame is. `None` where it is not whole.
pub(super) fn read(bytes: &[u8]) -> Option<(Record, Link, usize)> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
    let payload = rest.get(..payload_bytes(head)?)?;
    let stated = head.last_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))?;
    if sum(payload) != stated {
        return None;
    }
    let record = Record::decode(payload).ok()?;
    Some((record, *blake3::hash(payload).as_bytes(), HEAD + payload.len()))
}

/// Whether a whole record begins anywhere in `bytes`.
pub(super) fn any_whole(bytes: &[u8]) -> bool {
    let marks = bytes.windows(MARK.len()).enumerate().filter(|(_, window)| **window == MARK);
    marks.into_iter().any(|(at, _)| read(&bytes[at..]).is_some())
}

fn sum(payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&(payload.len() as u64).to_be_bytes()), payload)
}

impl From<(&String, &Stored)> for Entry {
    fn from((key, stored): (&String, &Stored)) -> Entry {
        Entry { key: key.clone(), revision: stored.revision.0, value: stored.value.clone() }
    }
}

impl From<Entry> for (String, Stored) {
    fn from(entry: Entry) -> (String, Stored) {
        let Entry { key, revision, value } = entry;
        (key, Stored { value, revision: Revision(revision) })
    }
}

impl From<&Committed> for Commit {
    fn from(commit: &Committed) -> Commit {
        let change =
            |(key, value): &(String, Option<Bytes>)| Change { key: key.clone(), value: value.clone() };
        Commit { revision: commit.revision.0, changes: commit.changes.iter().map(change).collect() }
    }
}

impl From<Commit> for Committed {
    fn from(commit: Commit) -> Committed {
        let Commit { revision, changes } = commit;
        let changes = changes.into_iter().map(|Change { key, value }| (key, value)).collect();
        Committed { revision: Revision(revision), changes }
    }
}
