//! Which files of the artifacts differ: how many, and the first of each kind by name.

use longshore_common::bundle::Index;
use serde::{Deserialize, Serialize};

use super::FileChange;

/// Paths of each kind that a plan names. They come from the artifact and each may have a kibibyte.
const NAMED: usize = 10;

/// Of each kind the first, sorted by path, at most `NAMED`; how many there are is said by the counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePaths {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
}

impl FilePaths {
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// Both are sorted by path, byte by byte.
pub(super) fn compared(before: Option<&Index>, after: &Index) -> FileChange {
    let mut found = FileChange::default();
    let mut old = before.map(Index::entries).unwrap_or_default().iter().peekable();
    for entry in after.entries() {
        while let Some(gone) = old.next_if(|old| old.path.as_bytes() < entry.path.as_bytes()) {
            note(&mut found.removed, &mut found.paths.removed, &gone.path);
        }
        match old.next_if(|old| old.path == entry.path) {
            None => note(&mut found.added, &mut found.paths.added, &entry.path),
            Some(old) if old == entry => found.same += 1,
            Some(_) => note(&mut found.changed, &mut found.paths.changed, &entry.path),
        }
    }
    for gone in old {
        note(&mut found.removed, &mut found.paths.removed, &gone.path);
    }
    found
}

fn note(count: &mut u32, named: &mut Vec<String>, path: &str) {
    *count += 1;
    if named.len() < NAMED {
        named.push(path.to_owned());
    }
}
