//! Snapshots in the store: kept with the rollout that was started from them, for as long as something names them.

use std::{collections::BTreeSet, sync::Arc};

use longshore_common::{
    code::{Code, Coded},
    digest::SnapshotDigest,
    time::Millis,
};
use serde::{Deserialize, Serialize};

use super::records::{self, HostApp, LiveRecord, Record};
use crate::{
    rollout::{HostProgress, Snapshot, Snapshots},
    store::{Key, Prefix, SharedStore, TXN_OPS_MAX, Txn, key::Name, record},
    trouble::Trouble,
};

/// One that nothing names may belong to a rollout that is being made.
const GRACE_MS: Millis = 60 * 60 * 1000;

/// Under `snapshots/<digest>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// When a rollout was last made from it.
    pub at_ms: Millis,
    #[serde(flatten)]
    pub snapshot: Snapshot,
}

/// Those of `digests` that there are.
pub async fn load(
    store: &SharedStore,
    digests: impl IntoIterator<Item = SnapshotDigest>,
) -> Result<Snapshots, Trouble> {
    let mut found = Snapshots::new();
    for digest in digests.into_iter().collect::<BTreeSet<_>>() {
        if let Some((kept, _)) = records::get::<Kept>(store, &Key::snapshot(&digest)).await? {
            found.insert(digest, Arc::new(kept.snapshot));
        }
    }
    Ok(found)
}

/// The same, and each has to be there.
pub async fn load_all(store: &SharedStore, digests: BTreeSet<SnapshotDigest>) -> Result<Snapshots, Trouble> {
    let found = load(store, digests.iter().copied()).await?;
    match digests.iter().find(|digest| !found.contains_key(digest)) {
        None => Ok(found),
        Some(digest) => {
            let message =
                format!("the settings {} are named and not in the store; restore a backup", digest.short());
            Err(Coded::new(Code::S02, message).into())
        }
    }
}

/// Drops the snapshots that nothing names any more.
pub async fn sweep(store: &SharedStore, now: Millis) -> Result<usize, Trouble> {
    let mut old = vec![];
    for entry in store.list(&Prefix::snapshots()).await?.entries {
        if let Name::Snapshot(digest) = entry.key.name()?
            && record::decode_entry::<Kept>(&entry)?.at_ms + GRACE_MS < now
        {
            old.push((digest, entry));
        }
    }
    if old.is_empty() {
        return Ok(0);
    }
    let named = named(store).await?;
    old.retain(|(digest, _)| !named.contains(digest));
    for chunk in old.chunks(TXN_OPS_MAX / 2) {
        let drop = |txn: Txn, (_, entry): &(_, crate::store::Entry)| {
            txn.unchanged(entry.key.clone(), entry.revision).delete(entry.key.clone())
        };
        store.commit(chunk.iter().fold(Txn::new(), drop)).await?;
    }
    Ok(old.len())
}

/// By what is live or was, by what hosts can go back to, by rollouts that are kept, by the hosts of active ones.
async fn named(store: &SharedStore) -> Result<BTreeSet<SnapshotDigest>, Trouble> {
    let mut named = BTreeSet::new();
    for entry in store.list(&Prefix::live()).await?.entries {
        let live: LiveRecord = record::decode_entry(&entry)?;
        named.extend(live.before.iter().chain([&live.target]).filter_map(|target| target.snapshot));
    }
    for entry in store.list(&Prefix::states()).await?.entries {
        let state: HostApp = record::decode_entry(&entry)?;
        named.extend(state.good.iter().filter_map(|good| good.target.snapshot));
    }
    let rollouts: Vec<Record> = records::list(store).await?;
    named.extend(rollouts.iter().filter_map(|record| record.header.target.snapshot));
    let under_way = rollouts.iter().filter(|record| !record.header.phase.is_done());
    for record in under_way {
        for entry in store.list(&Prefix::rollout_hosts(&record.header.id)).await?.entries {
            let host: HostProgress = record::decode_entry(&entry)?;
            named.extend(host.previous.and_then(|target| target.snapshot));
        }
    }
    Ok(named)
}
