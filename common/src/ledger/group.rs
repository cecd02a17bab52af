//! Which commits of a group are to be kept, decided before any of them is.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{CommitError, Fault, Malformed};
use super::index::Index;
use super::{BATCH_WRITES_MAX, Batch, Committed, Guard, KEY_BYTES_MAX, Revision, VALUE_BYTES_MAX, Write};

/// Commits that become durable together, each decided on top of those before it.
#[derive(Debug)]
pub(super) struct Group<'a> {
    index: &'a Index,
    /// As of the last commit that was admitted.
    revision: Revision,
    /// What the admitted commits made of the keys that they wrote; `None` is deleted.
    written: BTreeMap<String, Option<Revision>>,
    pub(super) commits: Vec<Committed>,
}

/// What a commit came to: its revision, or the one as of which its guards held.
pub(super) type Outcome = Result<Revision, CommitError>;

impl<'a> Group<'a> {
    pub(super) fn after(index: &'a Index, revision: Revision) -> Self {
        Group { index, revision, written: BTreeMap::new(), commits: Vec::new() }
    }

    /// Decide one. The outer error is the ledger's end, the inner one the caller's.
    pub(super) fn admit(&mut self, batch: Batch) -> Result<Outcome, Fault> {
        if let Err(reason) = check(&batch) {
            return Ok(Err(CommitError::Malformed { reason }));
        }
        if let Some(broken) = self.broken(&batch.guards)? {
            return Ok(Err(CommitError::Conflict { key: broken.to_owned() }));
        }
        let mut changes = Vec::with_capacity(batch.writes.len());
        for write in batch.writes {
            match write {
                Write::Put(key, value) => changes.push((key, Some(value))),
                Write::Delete(key) if self.revision_of(&key)?.is_some() => changes.push((key, None)),
                Write::Delete(_) => {}
            }
        }
        if !changes.is_empty() {
            changes.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            self.revision = self.revision.next();
            let became = |value: &Option<_>| value.is_some().then_some(self.revision);
            self.written.extend(changes.iter().map(|(key, value)| (key.clone(), became(value))));
            self.commits.push(Committed { revision: self.revision, changes });
        }
        Ok(Ok(self.revision))
    }

    /// The key of the first guard that does not hold.
    fn broken<'b>(&self, guards: &'b [Guard]) -> Result<Option<&'b str>, Fault> {
        for guard in guards {
            if !guard.holds(self.revision_of(guard.key())?) {
                return Ok(Some(guard.key()));
            }
        }
        Ok(None)
    }

    fn revision_of(&self, key: &str) -> Result<Option<Revision>, Fault> {
        match self.written.get(key) {
            Some(written) => Ok(*written),
            None => self.index.revision_of(key),
        }
    }
}

/// What is wrong with a batch whatever lies in the ledger.
fn check(batch: &Batch) -> Result<(), Malformed> {
    if batch.writes.len() > BATCH_WRITES_MAX {
        return Err(Malformed::ManyWrites { found: batch.writes.len() });
    }
    let mut keys = BTreeSet::new();
    for write in &batch.writes {
        let key = write.key();
        if key.len() > KEY_BYTES_MAX {
            return Err(Malformed::LongKey { bytes: key.len() });
        }
        if !keys.insert(key) {
            return Err(Malformed::WrittenTwice { key: key.to_owned() });
        }
        if let Write::Put(_, value) = write
            && value.len() > VALUE_BYTES_MAX
        {
            return Err(Malformed::LargeValue { key: key.to_owned(), bytes: value.len() });
        }
    }
    Ok(())
}
