//! A store in which others are quicker.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Barrier;

use crate::store::{
    CommitError, Entry, Guard, Key, Listing, MemoryStore, Prefix, Revision, Store, StoreFuture, Txn,
    Unavailable, Watch,
};

/// So many commits find that somebody else changed the record meanwhile.
pub struct ContendedStore {
    inner: MemoryStore,
    races: AtomicUsize,
    /// Commits that wait for another one.
    met: AtomicUsize,
    both: Barrier,
}

impl Default for ContendedStore {
    fn default() -> Self {
        let (inner, races, met) = (MemoryStore::new(), AtomicUsize::new(0), AtomicUsize::new(0));
        Self { inner, races, met, both: Barrier::new(2) }
    }
}

impl ContendedStore {
    /// The next two commits are made when both have come: neither has read what the other one writes.
    pub fn meet(&self) {
        self.met.store(2, Ordering::SeqCst);
    }

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
        if is_one_of(&self.met) {
            return Box::pin(async move {
                self.both.wait().await;
                self.inner.commit(txn).await
            });
        }
        if !is_one_of(&self.races) {
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

/// Of so many; it counts.
fn is_one_of(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}
