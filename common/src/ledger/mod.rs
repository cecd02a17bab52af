//! sled, made durable: keys and values that are there after a power cut once a commit has returned.
//!
//! The controller's store and the agent's state both lie on this. sled 0.34 is fast and small, and its `flush`
//! does not reach the disk; so nobody else calls it, and what surrounds it here is what makes it safe:
//!
//! - One thread owns everything and is the only writer. A commit checks its guards, is appended to the journal
//!   and synced, is applied to the database as one atomic batch together with the revision counter, and only then
//!   acknowledged or read by anybody. Commits that queue while the disk is busy share its next turn.
//! - The journal is the truth, the database an index over it. At start the database is used if it was closed in
//!   order and equals the journal, entry by entry; otherwise, and where it is small, it is made anew. So one sync
//!   makes a commit durable, and what a crash does to sled's files does not matter.
//! - Every value carries the revision that wrote it and a checksum that covers its key.
//! - Any error of a write ends the ledger: what the disk holds is then known only after a restart. Every later
//!   call says so, and [`Ledger::failed`] tells a daemon that it is time to exit.
//! - A folder has one owner, and a format that is checked. Journal and database are begun anew when they are
//!   mostly history or air.
//!
//! ```text
//! <dir>/lock      whose it is, for as long as that process lives
//! <dir>/journal   every commit since the journal was begun, and what there was then
//! <dir>/sled/     the database
//! <dir>/stopped   only while nobody has it open: where the journal ended when it was closed in order
//! ```
//!
//! What lies here is small: keys of at most [`KEY_BYTES_MAX`], values of at most [`VALUE_BYTES_MAX`] bytes.

mod entry;
mod error;
mod group;
mod handle;
mod image;
mod index;
pub mod journal;
mod open;
mod owner;
mod stopped;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use crate::ids::Revision;
pub use error::{CommitError, LedgerFailed, Malformed, OpenError};
pub use handle::Ledger;

/// The longest key. Far above what our keys need, far below what sled takes.
pub const KEY_BYTES_MAX: usize = 1 << 10;

/// The largest value. Larger ones would make sled write files of their own, which nothing makes durable.
pub const VALUE_BYTES_MAX: usize = 16 << 10;

/// How many writes one commit may hold. etcd's limit for a whole transaction, so nothing that fits there fails here.
pub const BATCH_WRITES_MAX: usize = 128;

/// How many requests may wait for the owner before callers wait too. Enough for the commits of one turn of the
/// disk (4 ms) at ten thousand a second.
pub const QUEUE_REQUESTS: usize = 64;

/// How many requests share one turn of the disk at most, so that the first of them is not kept waiting.
pub const GROUP_REQUESTS_MAX: usize = 64;

/// How a ledger is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How much of the database sled may keep in memory.
    pub cache_bytes: u64,
    /// Up to how many live bytes the database is made anew at every start rather than opened and checked. For
    /// a small one that is quicker, and sled starts its pool of threads, which wake once a second for as long as
    /// the process lives, only when it opens an old database or has written half a megabyte (`tests/idle_ledger.rs`).
    pub anew_up_to_bytes: u64,
}

impl Options {
    /// An agent's state is a few kilobytes, and its memory is the host's.
    pub const AGENT: Options = Options { cache_bytes: 1 << 20, anew_up_to_bytes: 1 << 20 };

    /// A controller reads its whole fleet when it starts.
    pub const CONTROLLER: Options = Options { cache_bytes: 32 << 20, anew_up_to_bytes: 1 << 20 };
}

/// All guards hold and all writes land, or nothing happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    pub guards: Vec<Guard>,
    /// No key twice.
    pub writes: Vec<Write>,
}

/// What must be true of a key at the moment of the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    Absent(String),
    /// The key exists and was last written at this revision.
    Unchanged(String, Revision),
}

/// What becomes of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Put(String, Bytes),
    /// Deleting what does not exist is not an error, and not a change.
    Delete(String),
}

/// A value and the revision that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub value: Bytes,
    pub revision: Revision,
}

/// Everything below a prefix, as of one revision, in the order of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub revision: Revision,
    pub entries: Vec<(String, Stored)>,
}

/// What one commit changed, told once it is durable and before it is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub revision: Revision,
    /// In the order of keys; `None` where the key was deleted. Never empty.
    pub changes: Vec<(String, Option<Bytes>)>,
}

/// Who is told of every commit, in order, on the owner's thread: it must not wait for anything.
pub type Observer = Box<dyn FnMut(Committed) + Send>;

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn absent(mut self, key: impl Into<String>) -> Self {
        self.guards.push(Guard::Absent(key.into()));
        self
    }

    pub fn unchanged(mut self, key: impl Into<String>, revision: Revision) -> Self {
        self.guards.push(Guard::Unchanged(key.into(), revision));
        self
    }

    pub fn put(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.writes.push(Write::Put(key.into(), value.into()));
        self
    }

    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.writes.push(Write::Delete(key.into()));
        self
    }
}

impl Guard {
    pub fn key(&self) -> &str {
        match self {
            Guard::Absent(key) | Guard::Unchanged(key, _) => key,
        }
    }

    fn holds(&self, found: Option<Revision>) -> bool {
        match self {
            Guard::Absent(_) => found.is_none(),
            Guard::Unchanged(_, wanted) => found == Some(*wanted),
        }
    }
}

impl Write {
    pub fn key(&self) -> &str {
        match self {
            Write::Put(key, _) | Write::Delete(key) => key,
        }
    }
}
