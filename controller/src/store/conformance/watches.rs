//! What a watcher sees.

use std::collections::BTreeMap;

use super::super::feed::HISTORY_COMMITS;
use super::super::watch::{WATCH_QUEUE_COMMITS, Watch, WatchEvent};
use super::super::{Change, Changes};
use super::*;

/// The next event is this commit with these changes, in this order.
pub(super) async fn expect_changes(watch: &mut Watch, revision: Revision, expected: &[(&Key, Option<&str>)]) {
    let changes = next_changes(watch).await;
    assert_eq!(changes.revision, revision);
    let found: Vec<(&Key, Option<String>)> =
        changes.changes.iter().map(|change| (change.key(), change.value().map(text))).collect();
    let expected: Vec<(&Key, Option<String>)> =
        expected.iter().map(|(key, value)| (*key, value.map(str::to_owned))).collect();
    assert_eq!(found, expected);
}

async fn next_changes(watch: &mut Watch) -> Changes {
    match watch.next().await {
        Some(WatchEvent::Changes(changes)) => changes,
        other => panic!("expected changes, got {other:?}"),
    }
}

async fn expect_gap(watch: &mut Watch) {
    assert_eq!(watch.next().await, Some(WatchEvent::Gap));
    assert_eq!(watch.next().await, None, "a gap ends the watch");
    assert_eq!(watch.next().await, None);
}

pub(super) async fn a_commit_is_one_event(store: SharedStore) {
    let (a, b, c) = (live("prod", "a"), live("prod", "b"), live("prod", "c"));
    let mut watch = store.watch(&live_in("prod"), Revision(0)).await.unwrap();
    let txn = Txn::new().put(c.clone(), "3".into()).put(env("prod"), "x".into()).put(a.clone(), "1".into());
    let first = store.commit(txn).await.unwrap();
    put(&store, &live("prod-2", "a"), "elsewhere").await;
    let txn = Txn::new().delete(c.clone()).put(b.clone(), "2".into()).delete(live("prod", "nothing"));
    let third = store.commit(txn).await.unwrap();
    expect_changes(&mut watch, first, &[(&a, Some("1")), (&c, Some("3"))]).await;
    expect_changes(&mut watch, third, &[(&b, Some("2")), (&c, None)]).await;
}

pub(super) async fn a_watch_misses_nothing_and_repeats_nothing(store: SharedStore) {
    const WRITERS: u64 = 4;
    const COMMITS: u64 = 50;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..COMMITS {
                    let key = live("prod", &format!("app-{writer}-{}", n % 7));
                    let write = match n % 5 {
                        4 => Txn::new().delete(key).put(env(&format!("w{writer}")), n.to_string().into()),
                        _ => Txn::new().put(key, n.to_string().into()),
                    };
                    store.commit(write).await.unwrap();
                }
            })
        })
        .collect();
    // Watchers that begin while the writers are at it, each with a listing that its watch continues.
    let mut watchers = Vec::new();
    for _ in 0..5 {
        let listing = store.list(&Prefix::all()).await.unwrap();
        let watch = store.watch(&Prefix::all(), listing.revision).await.unwrap();
        watchers.push((listing, watch));
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let end = store.list(&Prefix::all()).await.unwrap();
    assert_eq!(end.revision, Revision(WRITERS * COMMITS));
    for (listing, mut watch) in watchers {
        let mut revision = listing.revision;
        let mut seen: BTreeMap<Key, Entry> =
            listing.entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
        while revision < end.revision {
            let changes = next_changes(&mut watch).await;
            assert_eq!(changes.revision, revision.next(), "a commit was lost or repeated");
            revision = changes.revision;
            changes.changes.into_iter().for_each(|change| apply(&mut seen, change));
        }
        assert_eq!(seen.into_values().collect::<Vec<_>>(), end.entries);
    }
}

fn apply(seen: &mut BTreeMap<Key, Entry>, change: Change) {
    match change {
        Change::Put(entry) => drop(seen.insert(entry.key.clone(), entry)),
        Change::Deleted(key) => drop(seen.remove(&key).expect("only what was there is deleted")),
    }
}

pub(super) async fn a_watch_replays_what_was_before_it(store: SharedStore) {
    let a = env("a");
    for n in 1..=10 {
        put(&store, &a, &n.to_string()).await;
    }
    let mut watch = store.watch(&Prefix::envs(), Revision(7)).await.unwrap();
    let mut other = store.watch(&Prefix::hosts(), Revision(7)).await.unwrap();
    for n in 8..=10 {
        expect_changes(&mut watch, Revision(n), &[(&a, Some(&n.to_string()))]).await;
    }
    let host = Key::host(&"6f9619ff-8b86-4d01-b42d-00cf4fc964ff".parse().unwrap());
    let eleventh = put(&store, &host, "x").await;
    expect_changes(&mut other, eleventh, &[(&host, Some("x"))]).await;
}

pub(super) async fn who_falls_behind_gets_a_gap_and_then_the_end(store: SharedStore) {
    let a = env("a");
    let mut slow = store.watch(&Prefix::all(), Revision(0)).await.unwrap();
    let mut quick = store.watch(&Prefix::all(), Revision(0)).await.unwrap();
    let total = WATCH_QUEUE_COMMITS as u64 + 10;
    for n in 1..=total {
        put(&store, &a, &n.to_string()).await;
        expect_changes(&mut quick, Revision(n), &[(&a, Some(&n.to_string()))]).await;
    }
    for n in 1..=WATCH_QUEUE_COMMITS as u64 {
        expect_changes(&mut slow, Revision(n), &[(&a, Some(&n.to_string()))]).await;
    }
    expect_gap(&mut slow).await;
    let listing = store.list(&Prefix::all()).await.unwrap();
    assert_eq!(listing.entries, [entry(&a, &total.to_string(), Revision(total))]);
    let mut again = store.watch(&Prefix::all(), listing.revision).await.unwrap();
    let next = put(&store, &a, "on").await;
    expect_changes(&mut again, next, &[(&a, Some("on"))]).await;
}

pub(super) async fn what_is_too_long_ago_is_a_gap(store: SharedStore) {
    let a = env("a");
    let mut commits = Vec::new();
    for _ in 0..HISTORY_COMMITS + 1 {
        let (store, a) = (store.clone(), a.clone());
        commits.push(tokio::spawn(async move { put(&store, &a, "x").await }));
    }
    for commit in commits {
        commit.await.unwrap();
    }
    expect_gap(&mut store.watch(&Prefix::all(), Revision(0)).await.unwrap()).await;
    let mut just = store.watch(&Prefix::all(), Revision(1)).await.unwrap();
    assert_eq!(next_changes(&mut just).await.revision, Revision(2));
}

pub(super) async fn a_revision_that_never_was_is_a_gap(store: SharedStore) {
    let first = put(&store, &env("a"), "1").await;
    expect_gap(&mut store.watch(&Prefix::all(), first.next()).await.unwrap()).await;
}

pub(super) async fn a_watcher_that_went_away_is_forgotten(store: SharedStore) {
    let a = env("a");
    for _ in 0..300 {
        drop(store.watch(&Prefix::envs(), Revision(0)).await.unwrap());
        drop(store.watch(&live_in("prod"), Revision(0)).await.unwrap());
    }
    let mut watch = store.watch(&Prefix::envs(), Revision(0)).await.unwrap();
    let first = put(&store, &a, "1").await;
    expect_changes(&mut watch, first, &[(&a, Some("1"))]).await;
}
