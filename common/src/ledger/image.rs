//! Everything that a ledger holds, in memory: what a journal amounts to, and what a database must equal.

use std::collections::BTreeMap;

use super::{Committed, Revision, Stored};

/// The entries as of one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) revision: Revision,
    pub(super) entries: BTreeMap<String, Stored>,
}

impl Image {
    pub(super) fn apply(&mut self, commit: Committed) {
        self.revision = commit.revision;
        for (key, value) in commit.changes {
            match value {
                Some(value) => drop(self.entries.insert(key, Stored { value, revision: commit.revision })),
                None => drop(self.entries.remove(&key)),
            }
        }
    }

    /// The bytes of keys and values.
    pub(super) fn live_bytes(&self) -> u64 {
        self.entries.iter().map(|(key, stored)| (key.len() + stored.value.len()) as u64).sum()
    }
}
