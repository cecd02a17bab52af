//! The index: every file of an artifact with its path, mode, size and digest. Its bytes name it.
//!
//! An `Index` in hand has been checked: sorted, within the limits, nothing in it leads out of the folder it is unpacked
//! into. There is one encoding per index, and bytes that are not that encoding are refused.

use std::collections::HashMap;

use longshore_proto::v1 as pb;
use prost::Message as _;

use super::{check, limits};
use crate::{
    code::{Code, Coded},
    digest::{BlobDigest, IndexDigest},
};

/// Version of the encoding.
const FORMAT: u32 = 1;

/// The files of an artifact, sorted by path, byte by byte. Folders exist because files lie in them; an empty folder
/// is not part of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    entries: Vec<Entry>,
    blobs: Vec<Blob>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative, `/` between components, no `.` or `..` or empty component.
    pub path: String,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    File {
        executable: bool,
        blob: Blob,
    },
    /// A symbolic link. Its target is relative and stays inside the artifact, other links followed.
    Link {
        target: String,
    },
}

/// Some bytes and how many they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Blob {
    pub digest: BlobDigest,
    pub size: u64,
}

impl Index {
    /// Sorts the entries and checks them.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, Coded> {
        entries.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
        Self::checked(entries)
    }

    fn checked(entries: Vec<Entry>) -> Result<Self, Coded> {
        check::entries(&entries)?;
        let blobs = distinct(&entries)?;
        Ok(Self { entries, blobs })
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Every distinct blob, in order of first appearance. Transfers number blobs by their place here.
    pub fn blobs(&self) -> &[Blob] {
        &self.blobs
    }

    /// The number of every distinct blob.
    pub fn numbers(&self) -> HashMap<BlobDigest, u32> {
        self.blobs.iter().zip(0..).map(|(blob, number)| (blob.digest, number)).collect()
    }

    /// What lies at a path; a folder is no entry.
    pub fn find(&self, path: &str) -> Option<&Kind> {
        let at = self.entries.binary_search_by(|entry| entry.path.as_bytes().cmp(path.as_bytes())).ok()?;
        Some(&self.entries[at].kind)
    }

    /// Something lies below this path.
    pub fn has_folder(&self, path: &str) -> bool {
        let below = format!("{path}/");
        let at = self.entries.partition_point(|entry| entry.path.as_bytes() < below.as_bytes());
        self.entries.get(at).is_some_and(|entry| entry.path.starts_with(&below))
    }

    /// Sum of the files' sizes, a file that occurs twice counted twice.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().filter_map(Entry::blob).map(|blob| blob.size).sum()
    }

    pub fn encode(&self) -> Vec<u8> {
        let entries = self.entries.iter().map(pb::IndexEntry::from).collect();
        pb::Index { format: FORMAT, entries }.encode_to_vec()
    }

    pub fn digest(&self) -> IndexDigest {
        IndexDigest::of(&self.encode())
    }

    /// Reads bytes whose digest the caller has verified; they may still have been made with ill intent.
    pub fn decode(bytes: &[u8]) -> Result<Self, Coded> {
        if bytes.len() > limits::INDEX_BYTES {
            return Err(Coded::new(
                Code::A04,
                format!("the index has {} bytes; at most {} are allowed", bytes.len(), limits::INDEX_BYTES),
            ));
        }
        let message = pb::Index::decode(bytes)
            .map_err(|e| Coded::new(Code::A05, format!("the index cannot be read: {e}")))?;
        let pb::Index { format, entries } = message;
        if format != FORMAT {
            return Err(Coded::new(
                Code::A05,
                format!("the index has format {format}; this version knows {FORMAT}"),
            ));
        }
        if entries.len() > limits::ENTRIES {
            return Err(check::too_many(entries.len()));
        }
        let entries = entries
            .into_iter()
            .enumerate()
            .map(|(at, entry)| read_entry(at, entry))
            .collect::<Result<Vec<_>, _>>()?;
        let index = Self::checked(entries)?;
        if index.encode() != bytes {
            return Err(Coded::new(Code::A05, "the index is not in its one encoding"));
        }
        Ok(index)
    }
}

impl Entry {
    pub fn blob(&self) -> Option<&Blob> {
        match &self.kind {
            Kind::File { blob, .. } => Some(blob),
            Kind::Link { .. } => None,
        }
    }
}

fn distinct(entries: &[Entry]) -> Result<Vec<Blob>, Coded> {
    let mut sizes: HashMap<BlobDigest, u64> = HashMap::new();
    let mut blobs = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let Some(blob) = entry.blob() else { continue };
        match sizes.insert(blob.digest, blob.size) {
            None => blobs.push(*blob),
            Some(size) if size == blob.size => {}
            Some(size) => {
                return Err(check::wrong(
                    Code::A05,
                    at,
                    entry,
                    &format!("has {} bytes, and another entry says {size} of the same content", blob.size),
                ));
            }
        }
    }
    Ok(blobs)
}

fn read_entry(at: usize, message: pb::IndexEntry) -> Result<Entry, Coded> {
    let pb::IndexEntry { path, executable, size, blob, link } = message;
    let kind = match (blob.is_empty(), link.is_empty()) {
        (false, true) => {
            let digest = BlobDigest::try_from(&blob[..]).map_err(|e| {
                Coded::new(Code::A05, format!("entry {} of the index: {}", at + 1, e.message))
            })?;
            Kind::File { executable, blob: Blob { digest, size } }
        }
        (true, false) if !executable && size == 0 => Kind::Link { target: link },
        _ => {
            let message = format!("entry {} of the index is neither a file nor a link", at + 1);
            return Err(Coded::new(Code::A05, message));
        }
    };
    Ok(Entry { path, kind })
}

impl From<&Entry> for pb::IndexEntry {
    fn from(entry: &Entry) -> Self {
        let path = entry.path.clone();
        match &entry.kind {
            Kind::File { executable, blob } => pb::IndexEntry {
                path,
                executable: *executable,
                size: blob.size,
                blob: blob.digest.0.to_vec().into(),
                link: String::new(),
            },
            Kind::Link { target } => pb::IndexEntry {
                path,
                executable: false,
                size: 0,
                blob: Default::default(),
                link: target.clone(),
            },
        }
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
