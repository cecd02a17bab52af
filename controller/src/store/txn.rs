//! A transaction: what must still be true, and what is then written.

use bytes::Bytes;
use longshore_common::ids::Revision;

use super::record::VALUE_BYTES_MAX;
use super::{BoxError, Key};

/// How many guards and writes one transaction may hold together. etcd's default limit (`--max-txn-ops`), kept
/// for every store, so that what works on one works on the other.
pub const TXN_OPS_MAX: usize = 128;

/// All guards hold and all writes land, or nothing happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    pub guards: Vec<Guard>,
    /// No key twice: the order of writes inside a transaction means nothing.
    pub writes: Vec<Write>,
}

/// What must be true of a key at the moment of the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// Nothing lies under the key.
    Absent(Key),
    /// The key exists and was last written at this revision.
    Unchanged(Key, Revision),
}

/// What becomes of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Put(Key, Bytes),
    /// Deleting what does not exist is not an error, and not a change.
    Delete(Key),
}

/// Why a commit did not return a revision. The three differ in what the caller may do next.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A guard did not hold; nothing was written. Load and decide again.
    #[error("`{key}` has changed since it was read")]
    Conflict { key: Key },
    /// Nothing was written, and nothing will be. Trying again later is safe.
    #[error("the store takes no writes")]
    Unavailable(#[source] BoxError),
    /// The writes may or may not have landed. Only a read can tell.
    #[error("whether the store kept the write is not known")]
    Unknown(#[source] BoxError),
    /// The transaction itself is malformed; it would be refused at any time. A fault of ours.
    #[error("the transaction is not one that a store takes")]
    Malformed(#[source] BoxError),
}

/// What is wrong with a transaction before any store sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TxnError {
    #[error("it has {found} guards and writes, more than {TXN_OPS_MAX}")]
    TooManyOps { found: usize },
    #[error("it writes `{key}` twice")]
    WrittenTwice { key: Key },
    #[error("`{key}` would take {bytes} bytes, more than {VALUE_BYTES_MAX}")]
    LargeValue { key: Key, bytes: usize },
}

impl Txn {
    pub fn new() -> Self {
        Self::default()
    }

    /// The key must not exist.
    pub fn absent(mut self, key: Key) -> Self {
        self.guards.push(Guard::Absent(key));
        self
    }

    /// The key must exist and be as it was read.
    pub fn unchanged(mut self, key: Key, revision: Revision) -> Self {
        self.guards.push(Guard::Unchanged(key, revision));
        self
    }

    /// The key must be as it was read: absent if nothing was found, else of that revision.
    pub fn as_read(self, key: Key, revision: Option<Revision>) -> Self {
        match revision {
            None => self.absent(key),
            Some(revision) => self.unchanged(key, revision),
        }
    }

    pub fn put(mut self, key: Key, value: Bytes) -> Self {
        self.writes.push(Write::Put(key, value));
        self
    }

    pub fn delete(mut self, key: Key) -> Self {
        self.writes.push(Write::Delete(key));
        self
    }

    /// Guards and writes together: what [`TXN_OPS_MAX`] bounds.
    pub fn ops(&self) -> usize {
        self.guards.len() + self.writes.len()
    }

    /// What every store checks before it looks at its data.
    pub fn check(&self) -> Result<(), TxnError> {
        if self.ops() > TXN_OPS_MAX {
            return Err(TxnError::TooManyOps { found: self.ops() });
        }
        let mut keys: Vec<&Key> = self.writes.iter().map(Write::key).collect();
        keys.sort_unstable();
        let large = self.writes.iter().find_map(|write| match write {
            Write::Put(key, value) if value.len() > VALUE_BYTES_MAX => Some((key.clone(), value.len())),
            Write::Put(..) | Write::Delete(_) => None,
        });
        if let Some((key, bytes)) = large {
            return Err(TxnError::LargeValue { key, bytes });
        }
        match keys.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(TxnError::WrittenTwice { key: pair[0].clone() }),
            None => Ok(()),
        }
    }
}

impl Guard {
    pub fn key(&self) -> &Key {
        match self {
            Guard::Absent(key) | Guard::Unchanged(key, _) => key,
        }
    }

    /// Whether the guard holds for a key last written at `found`, or absent.
    pub fn holds(&self, found: Option<Revision>) -> bool {
        match self {
            Guard::Absent(_) => found.is_none(),
            Guard::Unchanged(_, wanted) => found == Some(*wanted),
        }
    }
}

impl Write {
    pub fn key(&self) -> &Key {
        match self {
            Write::Put(key, _) | Write::Delete(key) => key,
        }
    }
}
