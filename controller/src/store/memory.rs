//! A store that forgets: for tests, and for a simulated fleet.
//!
//! It keeps the same promises as the others as long as the process lives, and it is the shortest description
//! of what those promises are.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use longshore_common::ids::Revision;

use super::feed::Feed;
use super::{
    Change, Changes, CommitError, Entry, Key, Listing, Prefix, Store, StoreFuture, Txn, Unavailable, Watch,
    Write,
};

/// Everything in one map behind one lock, which is never held across an await.
#[derive(Debug)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    revision: Revision,
    entries: BTreeMap<Key, (Bytes, Revision)>,
    feed: Feed,
}

impl MemoryStore {
    pub fn new() -> Self {
        let revision = Revision(0);
        let inner = Inner { revision, entries: BTreeMap::new(), feed: Feed::starting_at(revision) };
        MemoryStore { inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while it holds the lock")
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    fn get<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Result<Option<Entry>, Unavailable>> {
        Box::pin(async move { Ok(self.lock().get(key)) })
    }

    fn list<'a>(&'a self, prefix: &'a Prefix) -> StoreFuture<'a, Result<Listing, Unavailable>> {
        Box::pin(async move { Ok(self.lock().list(prefix)) })
    }

    fn commit(&self, txn: Txn) -> StoreFuture<'_, Result<Revision, CommitError>> {
        Box::pin(async move { self.lock().commit(txn) })
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Revision,
    ) -> StoreFuture<'a, Result<Watch, Unavailable>> {
        Box::pin(async move { Ok(self.lock().feed.watch(prefix, after)) })
    }
}

impl Inner {
    fn get(&self, key: &Key) -> Option<Entry> {
        self.entries.get(key).map(|(value, revision)| entry(key, value, *revision))
    }

    fn list(&self, prefix: &Prefix) -> Listing {
        let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
        let below = self.entries.range::<str, _>(from).take_while(|(key, _)| prefix.covers(key));
        let entries = below.map(|(key, (value, revision))| entry(key, value, *revision)).collect();
        Listing { revision: self.revision, entries }
    }

    fn commit(&mut self, txn: Txn) -> Result<Revision, CommitError> {
        txn.check().map_err(|error| CommitError::Malformed(error.into()))?;
        for guard in &txn.guards {
            let found = self.entries.get(guard.key()).map(|(_, revision)| *revision);
            if !guard.holds(found) {
                return Err(CommitError::Conflict { key: guard.key().clone() });
            }
        }
        let writes: Vec<Write> = txn.writes.into_iter().filter(|write| self.changes(write)).collect();
        if !writes.is_empty() {
            self.write(writes);
        }
        Ok(self.revision)
    }

    /// Whether a write is more than the deletion of what is not there.
    fn changes(&self, write: &Write) -> bool {
        match write {
            Write::Put(..) => true,
            Write::Delete(key) => self.entries.contains_key(key),
        }
    }

    fn write(&mut self, writes: Vec<Write>) {
        self.revision = self.revision.next();
        let mut changes: Vec<Change> = writes.into_iter().map(|write| self.apply(write)).collect();
        changes.sort_by(|a, b| a.key().cmp(b.key()));
        self.feed.publish(Changes { revision: self.revision, changes });
    }

    fn apply(&mut self, write: Write) -> Change {
        match write {
            Write::Put(key, value) => {
                self.entries.insert(key.clone(), (value.clone(), self.revision));
                Change::Put(Entry { key, value, revision: self.revision })
            }
            Write::Delete(key) => {
                self.entries.remove(&key);
                Change::Deleted(key)
            }
        }
    }
}

fn entry(key: &Key, value: &Bytes, revision: Revision) -> Entry {
    Entry { key: key.clone(), value: value.clone(), revision }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn conforms() {
        super::super::conformance::suite(|| (Arc::new(MemoryStore::new()) as _, ()));
    }
}
