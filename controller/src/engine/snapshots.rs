//! Snapshots in the store: kept with the rollout that was started from them, for as long as something names them.

use std::{collections::BTreeSet, sync::Arc};

use longshore_common::{
    code::{Code, Coded},
    digest::SnapshotDigest,
    time::Millis,
};
use serde::{Deserialize, Serialize};

use super::records::{self, Given, HostApp, LiveRecord, Record};
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

/// By what is live or was, by what hosts are to run and can go back to, by rollouts that are kept, by the hosts of active
/// ones.
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
    // A host that was away since may report of what it is assigned when everything else has forgotten that.
    for entry in store.list(&Prefix::assignments()).await?.entries {
        let given: Given = record::decode_entry(&entry)?;
        named.extend(given.snapshot);
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

#[cfg(test)]
mod tests {
    use longshore_common::{
        assignment::{Assignment, Intent},
        digest::ReleaseDigest,
        ids::{Generation, HostId},
        settings::Settings,
    };

    use super::*;
    use crate::store::MemoryStore;

    /// A host that is away does not say what it was healthy with until it is back, and by then every rollout that named
    /// its settings may be forgotten.
    #[tokio::test]
    async fn what_a_host_is_still_to_run_is_kept() {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let kept = Kept { at_ms: 0, snapshot: Snapshot::default() };
        let (digest, host) = (kept.snapshot.digest(), HostId(uuid::Uuid::from_u128(7)));
        let assignment = Assignment {
            host,
            app: "shop".parse().unwrap(),
            env: "production".parse().unwrap(),
            rollout: "0193f3a0-0000-7000-8000-000000000001".parse().unwrap(),
            generation: Generation::new(1, 1),
            version: "1.0".parse().unwrap(),
            release: ReleaseDigest::of(b"manifest"),
            settings: Settings::default(),
            intent: Intent::Run,
            keep_slots: 2,
            unwell: None,
            traffic: None,
            directions: None,
        };
        let given = Given { snapshot: Some(digest), layers: vec![], foreign: false, assignment };
        let (of_snapshot, of_host) = (Key::snapshot(&digest), Key::assignment(&host, &given.assignment.app));
        let written = Txn::new()
            .put(of_snapshot.clone(), record::encode(&of_snapshot, &kept).unwrap())
            .put(of_host.clone(), record::encode(&of_host, &given).unwrap());
        store.commit(written).await.unwrap();
        let later = GRACE_MS + 1;
        assert_eq!(sweep(&store, later).await.unwrap(), 0);
        assert!(load_all(&store, BTreeSet::from([digest])).await.is_ok());
        store.commit(Txn::new().delete(of_host)).await.unwrap();
        assert_eq!(sweep(&store, later).await.unwrap(), 1, "and no longer than that");
    }
}
