//! The store on one machine: the ledger below, our own feed of changes beside it.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use longshore_common::ids::Revision;
use longshore_common::ledger::{self, Committed, Ledger, LedgerFailed, OpenError, Options, Stored};

use super::feed::Feed;
use super::{
    Change, Changes, CommitError, Entry, Guard, Key, Listing, Prefix, Store, StoreFuture, Txn, Unavailable,
    Watch, Write,
};

/// A store in a folder. One process at a time has it.
#[derive(Debug)]
pub struct SledStore {
    ledger: Ledger,
    /// The ledger's owner publishes here, once a commit is durable and before it is acknowledged.
    feed: Arc<Mutex<Feed>>,
}

impl SledStore {
    /// Open the store in `dir`, or create it. Blocks. A restart forgets what changed before it: a watcher that
    /// comes back with an older revision gets a gap and lists again.
    pub fn open(dir: &Path) -> Result<SledStore, OpenError> {
        let feed = Arc::new(Mutex::new(Feed::starting_at(Revision(0))));
        let published = feed.clone();
        let ledger = Ledger::open_observed(dir, Options::CONTROLLER, |found| {
            *lock(&published) = Feed::starting_at(found);
            Box::new(move |committed| lock(&published).publish(changes(committed)))
        })?;
        Ok(SledStore { ledger, feed })
    }

    /// Waits until the store has failed, and says why: then the controller is to exit with 75.
    pub async fn failed(&self) -> LedgerFailed {
        self.ledger.failed().await
    }

    /// Close in order, after everything that was asked before. The folder is free when this returns.
    pub async fn close(&self) {
        self.ledger.clone().close().await;
    }
}

impl Store for SledStore {
    fn get<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Result<Option<Entry>, Unavailable>> {
        Box::pin(async move {
            let found = self.ledger.get(key.as_str()).await.map_err(unavailable)?;
            Ok(found.map(|stored| entry(key.clone(), stored)))
        })
    }

    fn list<'a>(&'a self, prefix: &'a Prefix) -> StoreFuture<'a, Result<Listing, Unavailable>> {
        Box::pin(async move {
            let found = self.ledger.list(prefix.as_str()).await.map_err(unavailable)?;
            let entries = found.entries.into_iter().map(|(key, stored)| entry(Key::trusted(&key), stored));
            Ok(Listing { revision: found.revision, entries: entries.collect() })
        })
    }

    fn commit(&self, txn: Txn) -> StoreFuture<'_, Result<Revision, CommitError>> {
        Box::pin(async move {
            txn.check().map_err(|error| CommitError::Malformed(error.into()))?;
            self.ledger.commit(batch(txn)).await.map_err(refused)
        })
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Revision,
    ) -> StoreFuture<'a, Result<Watch, Unavailable>> {
        Box::pin(async move { Ok(lock(&self.feed).watch(prefix, after)) })
    }
}

fn lock(feed: &Mutex<Feed>) -> MutexGuard<'_, Feed> {
    feed.lock().expect("nothing panics while it holds the lock")
}

fn batch(txn: Txn) -> ledger::Batch {
    let text = |key: Key| key.as_str().to_owned();
    let guards = txn.guards.into_iter().map(|guard| match guard {
        Guard::Absent(key) => ledger::Guard::Absent(text(key)),
        Guard::Unchanged(key, revision) => ledger::Guard::Unchanged(text(key), revision),
    });
    let writes = txn.writes.into_iter().map(|write| match write {
        Write::Put(key, value) => ledger::Write::Put(text(key), value),
        Write::Delete(key) => ledger::Write::Delete(text(key)),
    });
    ledger::Batch { guards: guards.collect(), writes: writes.collect() }
}

fn entry(key: Key, stored: Stored) -> Entry {
    Entry { key, value: stored.value, revision: stored.revision }
}

fn changes(committed: Committed) -> Changes {
    let revision = committed.revision;
    let changes = committed.changes.into_iter().map(|(key, value)| match value {
        Some(value) => Change::Put(Entry { key: Key::trusted(&key), value, revision }),
        None => Change::Deleted(Key::trusted(&key)),
    });
    Changes { revision, changes: changes.collect() }
}

fn unavailable(failed: LedgerFailed) -> Unavailable {
    Unavailable(failed.into())
}

fn refused(error: ledger::CommitError) -> CommitError {
    match error {
        ledger::CommitError::Conflict { key } => CommitError::Conflict { key: Key::trusted(&key) },
        ledger::CommitError::Refused(failed) => CommitError::Unavailable(failed.into()),
        ledger::CommitError::Unknown(failed) => CommitError::Unknown(failed.into()),
        ledger::CommitError::Malformed { reason } => CommitError::Malformed(reason.into()),
    }
}

#[cfg(test)]
mod tests;
