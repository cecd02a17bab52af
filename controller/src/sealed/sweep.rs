//! Takes away sealed secrets that nothing names any more.
//!
//! What names one is an environment's file, the settings of a rollout that is kept, and what a host is to run. One that none
//! of them names is marked, and goes when it was so for `UNNAMED_MS`: a digest that is put back into a file in time is
//! found. Days count as far as somebody looked: a clock that is a month ahead takes nothing away. Nothing goes on a doubt:
//! where a single record cannot be read, everything stays.

use std::collections::BTreeSet;

use longshore_common::{digest::SealedDigest, time::Millis};

use super::{Head, Unnamed};
use crate::{
    engine::{records::Given, snapshots::Kept},
    environments,
    rollout::sealed,
    store::{Entry, Prefix, SharedStore, TXN_OPS_MAX, Txn, key::Name, record},
    trouble::Trouble,
};

/// How long a secret stays that nothing names: 30 days. An older file whose digest is wanted again is within it, or its
/// secret is encrypted again.
pub const UNNAMED_MS: Millis = 30 * 86_400_000;
/// What one look adds to that at most. The controller looks every 6 hours; more than this it was away, or its clock was set.
const LOOK_MS_MAX: Millis = 12 * 3_600_000;

/// How many went. Whoever puts a digest into a file at the very moment at which it goes hears what anybody hears whose
/// secret is not there: LS-K01.
pub async fn sweep(store: &SharedStore, now: Millis) -> Result<usize, Trouble> {
    let entries = store.list(&Prefix::sealed()).await?.entries;
    if entries.is_empty() {
        return Ok(0);
    }
    let (named, mut gone) = (named(store).await?, 0);
    for entry in entries {
        let Name::Sealed(digest) = entry.key.name()? else { continue };
        let head: Head = record::decode_entry(&entry)?;
        match (named.contains(&digest), head.unnamed.map(|before| before.seen_again(now))) {
            (true, None) => {}
            (true, Some(_)) => mark(store, &entry, head, None).await?,
            (false, None) => mark(store, &entry, head, Some(Unnamed { for_ms: 0, seen_ms: now })).await?,
            (false, Some(still)) if still.for_ms <= UNNAMED_MS => {
                mark(store, &entry, head, Some(still)).await?;
            }
            (false, Some(_)) => {
                remove(store, &digest, &entry).await?;
                gone += 1;
            }
        }
    }
    Ok(gone)
}

impl Unnamed {
    fn seen_again(self, now: Millis) -> Self {
        let went_by = now.saturating_sub(self.seen_ms).clamp(0, LOOK_MS_MAX);
        Self { for_ms: self.for_ms + went_by, seen_ms: now }
    }
}

async fn named(store: &SharedStore) -> Result<BTreeSet<SealedDigest>, Trouble> {
    let mut named = BTreeSet::new();
    for applied in environments::list(store).await? {
        let layers = applied.read()?.declared_layers();
        named.extend(
            sealed(layers.iter().map(|(_, layer)| &layer.settings.secrets)).map(|(_, digest)| digest),
        );
    }
    for entry in store.list(&Prefix::snapshots()).await?.entries {
        let kept: Kept = record::decode_entry(&entry)?;
        named.extend(kept.snapshot.sealed().into_iter().map(|(_, digest)| digest));
    }
    for entry in store.list(&Prefix::assignments()).await?.entries {
        let given: Given = record::decode_entry(&entry)?;
        named.extend(sealed(std::iter::once(&given.assignment.settings.secrets)).map(|(_, digest)| digest));
    }
    Ok(named)
}

async fn mark(
    store: &SharedStore,
    entry: &Entry,
    head: Head,
    unnamed: Option<Unnamed>,
) -> Result<(), Trouble> {
    let head = Head { unnamed, ..head };
    let value = record::encode(&entry.key, &head)?;
    store
        .commit(Txn::new().unchanged(entry.key.clone(), entry.revision).put(entry.key.clone(), value))
        .await?;
    Ok(())
}

/// What hosts can open first and the head last: a controller that dies in between finds it again. Whoever seals the same
/// anew meanwhile is not undone.
async fn remove(store: &SharedStore, digest: &SealedDigest, head: &Entry) -> Result<(), Trouble> {
    let drop =
        |txn: Txn, entry: &Entry| txn.unchanged(entry.key.clone(), entry.revision).delete(entry.key.clone());
    let rows = store.list(&Prefix::sealed_hosts(digest)).await?.entries;
    for chunk in rows.chunks(TXN_OPS_MAX / 2) {
        store.commit(chunk.iter().fold(Txn::new(), drop)).await?;
    }
    store.commit(drop(Txn::new(), head)).await?;
    tracing::info!(digest = digest.short(), "a sealed secret that nothing named any more was dropped");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{ops::RangeInclusive, sync::Arc};

    use longshore_common::ids::{HostId, OperatorName};

    use super::*;
    use crate::{
        sealed::{self, NewRow},
        store::{Key, MemoryStore},
        testing::{self, MortalStore},
    };

    const DAY: Millis = 86_400_000;

    async fn seal(store: &SharedStore, text: &str) -> SealedDigest {
        let row = |n: u128| NewRow {
            host: HostId(uuid::Uuid::from_u128(n)),
            recipient: "age1qqq".into(),
            text: format!("age-encryption.org/v1\n{text}").into_bytes(),
        };
        let env = "production".parse().unwrap();
        let head = Head { name: "db".into(), env, hosts: 0, at_ms: 0, by: "ada".into(), unnamed: None };
        sealed::keep(store, head, (0..200).map(row).collect()).await.unwrap()
    }

    async fn apply(store: &SharedStore, secrets: &str) {
        let (ada, file): (OperatorName, String) = (
            "ada".parse().unwrap(),
            format!("[environment]\nname = \"production\"\nselector = \"env=prod\"\n{secrets}"),
        );
        environments::apply(store, &testing::tell(), "production.toml", &file, &ada, 0).await.unwrap();
    }

    /// Two looks a day, from one day until the other; how many went.
    async fn look(store: &SharedStore, days: RangeInclusive<Millis>) -> usize {
        let mut gone = 0;
        for half in 2 * days.start()..=2 * days.end() {
            gone += sweep(store, half * DAY / 2).await.unwrap();
        }
        gone
    }

    async fn is_there(store: &SharedStore, digest: &SealedDigest) -> bool {
        let rows = store.list(&Prefix::sealed_hosts(digest)).await.unwrap().entries.len();
        let head = store.get(&Key::sealed(digest)).await.unwrap().is_some();
        assert_eq!(rows, if head { 200 } else { 0 }, "all of it or none");
        head
    }

    #[tokio::test]
    async fn a_secret_that_nothing_names_goes_after_thirty_days() {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let (used, unused) = (seal(&store, "one").await, seal(&store, "two").await);
        let names = format!("[secrets]\ndb = {{ sealed = \"{}\" }}\n", used.hex());
        apply(&store, &names).await;
        assert_eq!(look(&store, 400..=430).await, 0, "it was named until then, for all we know");
        assert_eq!(sweep(&store, 430 * DAY + 1).await.unwrap(), 1);
        assert!(is_there(&store, &used).await && !is_there(&store, &unused).await);

        // Taken out of the file and put back: the days begin anew.
        apply(&store, "").await;
        assert_eq!(sweep(&store, 500 * DAY).await.unwrap(), 0);
        apply(&store, &names).await;
        assert_eq!(sweep(&store, 600 * DAY).await.unwrap(), 0);
        apply(&store, "").await;
        assert_eq!(look(&store, 601..=631).await, 0);
        assert!(is_there(&store, &used).await);
        assert_eq!(look(&store, 632..=632).await, 1);
        assert!(!is_there(&store, &used).await);
    }

    /// A rollback brings back the settings of its time.
    #[tokio::test]
    async fn a_secret_of_settings_that_are_kept_stays() {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let digest = seal(&store, "one").await;
        apply(&store, &format!("[secrets]\ndb = {{ sealed = \"{}\" }}\n", digest.hex())).await;
        let production = "production".parse().unwrap();
        let (environment, _) = environments::load(&store, &production).await.unwrap();
        let kept = Kept { at_ms: 0, snapshot: environment.snapshot(&"shop".parse().unwrap()).unwrap() };
        let key = Key::snapshot(&kept.snapshot.digest());
        store.commit(Txn::new().put(key.clone(), record::encode(&key, &kept).unwrap())).await.unwrap();
        apply(&store, "").await;
        assert_eq!(look(&store, 1..=100).await, 0);
        store.commit(Txn::new().delete(key)).await.unwrap();
        assert_eq!((look(&store, 101..=131).await, look(&store, 132..=132).await), (0, 1));
        assert!(!is_there(&store, &digest).await);
    }

    /// Nor do days in which nobody looked count.
    #[tokio::test]
    async fn a_clock_that_is_a_month_ahead_takes_no_secret_away() {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let digest = seal(&store, "one").await;
        for day in [400, 431, 432, 9000, 400] {
            assert_eq!(sweep(&store, day * DAY).await.unwrap(), 0, "day {day}");
        }
        assert_eq!(look(&store, 401..=428).await, 0, "three looks count for half a day each");
        assert!(is_there(&store, &digest).await);
        assert_eq!(look(&store, 429..=430).await, 1);
    }

    #[tokio::test]
    async fn what_was_kept_in_part_goes_as_well() {
        let digest = seal(&(Arc::new(MemoryStore::new()) as SharedStore), "one").await;
        for commit in 0..4 {
            let disk = Arc::new(MemoryStore::new());
            let mortal = MortalStore::dying_at(disk.clone(), commit, true);
            let died = mortal.died.clone();
            let dying: SharedStore = mortal;
            tokio::select! {
                _ = seal(&dying, "one") => panic!("the store did not die at commit {commit}"),
                () = died.notified() => {}
            }
            let store: SharedStore = disk;
            let head = sealed::whole(&store, &digest).await.unwrap();
            assert_eq!(head.map(|head| head.hosts), (commit == 3).then_some(200), "commit {commit}");
            assert_eq!((look(&store, 400..=430).await, look(&store, 431..=431).await), (0, 1));
            assert!(store.list(&Prefix::all()).await.unwrap().entries.is_empty(), "commit {commit}");
        }
    }
}
