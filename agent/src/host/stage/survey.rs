//! What of an index is here already: verified in the staging tree by an attempt that was cut, or in a sealed slot.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::Read as _,
    path::PathBuf,
};

use longshore_common::{
    bundle::{Blob, Entry, Index, Kind, limits, room},
    digest::BlobDigest,
    durable::Step,
};
use rustix::fs::{Mode, OFlags};

use super::tree::{StageError, Tree, at, is_marked};
use crate::host::layout::{INDEX, META};

/// Bytes read at once while hashing.
const READ: usize = 128 * 1024;

/// A blob that a sealed slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Place of the slot in `Survey::slots`.
    pub slot: usize,
    pub path: String,
    pub executable: bool,
}

/// Where the blobs of an index are on this host.
#[derive(Debug, Default)]
pub struct Survey {
    /// Entries (by place in the index) that stand complete in the staging tree.
    pub staged: HashSet<usize>,
    pub slots: Vec<Tree>,
    pub held: HashMap<BlobDigest, Held>,
}

impl Survey {
    /// Blobs that have to be fetched: in no slot, and no entry of the staging tree has them.
    pub fn lacking(&self, index: &Index) -> HashSet<BlobDigest> {
        let here: HashSet<BlobDigest> =
            self.staged.iter().filter_map(|at| index.entries()[*at].blob()).map(|blob| blob.digest).collect();
        let blobs = index.blobs().iter().map(|blob| blob.digest);
        blobs.filter(|digest| !here.contains(digest) && !self.held.contains_key(digest)).collect()
    }

    /// Bytes that must be free before the rest is fetched.
    pub fn room(&self, index: &Index) -> u64 {
        let lacking = self.lacking(index);
        let blobs = index.blobs().iter().filter(|blob| lacking.contains(&blob.digest));
        room(blobs.map(|blob| blob.size))
    }
}

/// Looks. Files of the staging tree are hashed again: they were never synced, so a power cut may have torn them.
pub fn survey(tree: &Tree, index: &Index, slots: &[PathBuf]) -> Result<Survey, StageError> {
    let mut survey = Survey { staged: staged(tree, index)?, ..Survey::default() };
    let mut lacking = survey.lacking(index);
    for path in slots {
        if lacking.is_empty() {
            break;
        }
        // A slot that cannot be read is one that holds nothing for us.
        let Some((slot, entries)) = open_slot(path) else { continue };
        for Entry { path, kind } in entries.entries() {
            let Kind::File { executable, blob } = kind else { continue };
            if lacking.contains(&blob.digest)
                && slot.stat(path)?.is_some_and(|stat| is_marked(&stat, blob, *executable))
            {
                lacking.remove(&blob.digest);
                let held = Held { slot: survey.slots.len(), path: path.clone(), executable: *executable };
                survey.held.insert(blob.digest, held);
            }
        }
        survey.slots.push(slot);
    }
    Ok(survey)
}

fn staged(tree: &Tree, index: &Index) -> Result<HashSet<usize>, StageError> {
    let mut staged = HashSet::new();
    for (at, entry) in index.entries().iter().enumerate() {
        let Kind::File { executable, blob } = &entry.kind else { continue };
        let Some(stat) = tree.stat(&entry.path)? else { continue };
        if is_marked(&stat, blob, *executable) && hash(tree, &entry.path, blob)? {
            staged.insert(at);
        }
    }
    Ok(staged)
}

fn open_slot(path: &std::path::Path) -> Option<(Tree, Index)> {
    let slot = Tree::open(path).ok()?;
    let file = File::open(path.join(META).join(INDEX)).ok()?;
    let mut bytes = Vec::new();
    file.take(limits::INDEX_BYTES as u64 + 1).read_to_end(&mut bytes).ok()?;
    Some((slot, Index::decode(&bytes).ok()?))
}

/// The file's content is this blob.
pub(super) fn hash(tree: &Tree, path: &str, blob: &Blob) -> Result<bool, StageError> {
    let full = tree.path().join(path);
    let mut file = open_file(tree, path)?;
    let mut hash = blake3::Hasher::new();
    let mut buffer = vec![0; READ.min(blob.size as usize + 1)];
    loop {
        match file.read(&mut buffer).map_err(at(Step::Read, &full))? {
            0 => return Ok(hash.finalize().as_bytes() == blob.digest.as_bytes()),
            read => hash.update(&buffer[..read]),
        };
    }
}

pub(super) fn open_file(tree: &Tree, path: &str) -> Result<File, StageError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(tree.root(), path, flags, Mode::empty())
        .map_err(at(Step::Open, &tree.path().join(path)))?;
    Ok(fd.into())
}
