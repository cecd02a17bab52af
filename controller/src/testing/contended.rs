//! A store in which others are quicker.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::store::{
    CommitError, Entry, Guard, Key, Listing, MemoryStore, Prefix, Revision, Store, StoreFuture, Txn,
    Unavailable, Watch,
};

/// So many commits find that somebody else changed the record meanwhile.
#[derive(Default)]
pub struct ContendedStore {
    inner: MemoryStore,
    races: AtomicUsize,
}

impl ContendedStore {
    pub fn lose(&self, races: usize) {
        self.races.store(races, Ordering::SeqCst);
    }

    /// Races that nobody has run yet.
    pub fn left(&self) -> usize {
        self.races.load(Ordering::SeqCst)
    }
}

impl Store for ContendedStore {
    fn get<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Result<Option<Entry>, Unavailable>> {
        self.inner.get(key)
    }

    fn list<'a>(&'a self, prefix: &'a Prefix) -> StoreFuture<'a, Result<Listing, Unavailable>> {
        self.inner.list(prefix)
    }

    fn commit(&self, txn: Txn) -> StoreFuture<'_, Result<Revision, CommitError>> {
        let lost = self.races.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if lost.is_err() {
            return self.inner.commit(txn);
        }
        let guard = txn.guards.into_iter().next().expect("only what is guarded loses a race");
        let (Guard::Absent(key) | Guard::Unchanged(key, _)) = guard;
        Box::pin(async { Err(CommitError::Conflict { key }) })
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Revision,
    ) -> StoreFuture<'a, Result<Watch, Unavailable>> {
        self.inner.watch(prefix, after)
    }
}
