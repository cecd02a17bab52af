//! What the controller remembers: four verbs over keys and values, durable and ordered.
//!
//! - `get`: one entry.
//! - `list`: everything below a prefix, all of it as of one revision.
//! - `commit`: guards and writes, all or nothing, durable when it returns.
//! - `watch`: every change after a revision, in order, or one `Gap`, after which the caller lists again.
//!
//! The revision is the store's own write counter: it belongs to the whole store, every commit that writes
//! takes the next one, and every entry carries the revision that last wrote it. That is what guards compare.
//!
//! Where things are: [`key`] is the only place that builds keys, [`record`] the only place that makes values,
//! [`memory`] and [`mod@sled`] are the stores, `feed` hands changes to watchers, and `conformance` is the suite that
//! every store passes. Another store (etcd) fits behind the same trait: revisions are store-wide, a
//! transaction is at most [`TXN_OPS_MAX`] operations, and nothing here promises more than etcd can keep.

#[cfg(test)]
pub mod conformance;
mod feed;
pub mod key;
pub mod memory;
pub mod record;
pub mod sled;
mod txn;
mod watch;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
pub use longshore_common::ids::Revision;

pub use self::sled::SledStore;
pub use key::{Key, Prefix};
pub use memory::MemoryStore;
pub use txn::{CommitError, Guard, TXN_OPS_MAX, Txn, TxnError, Write};
pub use watch::{Change, Changes, Watch, WatchEvent};

/// An error whose kind does not matter to the caller, only its words.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the verbs return: a trait with `async fn` could not be held as `Arc<dyn Store>`.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The four verbs. Everything that a caller sees was durable before it saw it.
pub trait Store: Send + Sync + 'static {
    /// The entry under `key`, with every commit in it that was acknowledged before the call.
    fn get<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Result<Option<Entry>, Unavailable>>;

    /// Every entry below `prefix` in the order of keys, as of one revision.
    fn list<'a>(&'a self, prefix: &'a Prefix) -> StoreFuture<'a, Result<Listing, Unavailable>>;

    /// All guards hold and all writes land, or nothing happened. The returned revision is the one that the
    /// writes now carry; a transaction that changes nothing returns the current one.
    fn commit(&self, txn: Txn) -> StoreFuture<'_, Result<Revision, CommitError>>;

    /// Every change below `prefix` after revision `after`. Pass the revision of a listing to miss nothing.
    fn watch<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Revision,
    ) -> StoreFuture<'a, Result<Watch, Unavailable>>;
}

/// How the rest of the controller holds its store.
pub type SharedStore = Arc<dyn Store>;

/// One key's value and the revision that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: Key,
    pub value: Bytes,
    /// The revision of the commit that last wrote this key. What `Guard::Unchanged` compares.
    pub revision: Revision,
}

/// A listing: entries, and the revision as of which all of them were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The store's revision when the list was read; the right `after` for a watch that continues it.
    pub revision: Revision,
    /// In the order of keys.
    pub entries: Vec<Entry>,
}

/// The store could not answer. Nothing was read or promised; asking again later is safe.
#[derive(Debug)]
pub struct Unavailable(pub BoxError);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store cannot be read")
    }
}

impl std::error::Error for Unavailable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}
