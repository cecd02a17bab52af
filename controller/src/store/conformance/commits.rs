//! What a commit means.

use super::super::{CommitError, TXN_OPS_MAX, record::VALUE_BYTES_MAX};
use super::*;

pub(super) async fn an_empty_store_is_at_revision_zero(store: SharedStore) {
    let listing = store.list(&Prefix::all()).await.unwrap();
    assert_eq!((listing.revision, listing.entries), (Revision(0), vec![]));
    assert_eq!(store.get(&env("a")).await.unwrap(), None);
}

pub(super) async fn a_write_is_read_back_with_its_revision(store: SharedStore) {
    let (a, b) = (env("a"), env("b"));
    let first = put(&store, &a, "1").await;
    let second = put(&store, &b, "1").await;
    let third = put(&store, &a, "2").await;
    assert_eq!([first, second, third], [Revision(1), Revision(2), Revision(3)]);
    assert_eq!(store.get(&a).await.unwrap(), Some(entry(&a, "2", third)));
    assert_eq!(store.get(&b).await.unwrap(), Some(entry(&b, "1", second)));
    store.commit(Txn::new().delete(a.clone())).await.unwrap();
    assert_eq!(store.get(&a).await.unwrap(), None);
}

pub(super) async fn guards_hold_or_name_their_key(store: SharedStore) {
    let (a, b) = (env("a"), env("b"));
    let first = store.commit(Txn::new().absent(a.clone()).put(a.clone(), "1".into())).await.unwrap();
    conflict(&store, Txn::new().absent(a.clone()), &a).await;
    conflict(&store, Txn::new().unchanged(b.clone(), first), &b).await;
    let second =
        store.commit(Txn::new().unchanged(a.clone(), first).put(a.clone(), "2".into())).await.unwrap();
    conflict(&store, Txn::new().unchanged(a.clone(), first), &a).await;
    // Written again is changed, deleted and written again is changed too.
    store.commit(Txn::new().delete(a.clone())).await.unwrap();
    put(&store, &a, "2").await;
    conflict(&store, Txn::new().unchanged(a.clone(), second), &a).await;
}

async fn conflict(store: &SharedStore, txn: Txn, expected: &Key) {
    match store.commit(txn).await {
        Err(CommitError::Conflict { key }) => assert_eq!(key, *expected),
        other => panic!("expected a conflict over {expected}, got {other:?}"),
    }
}

pub(super) async fn nothing_of_a_refused_commit_is_written(store: SharedStore) {
    let (a, b, c) = (env("a"), env("b"), env("c"));
    let first = put(&store, &a, "1").await;
    let txn = Txn::new().unchanged(a.clone(), first).absent(a.clone());
    let txn = txn.put(a.clone(), "2".into()).put(b.clone(), "2".into()).delete(c.clone());
    conflict(&store, txn, &a).await;
    let listing = store.list(&Prefix::all()).await.unwrap();
    assert_eq!((listing.revision, listing.entries), (first, vec![entry(&a, "1", first)]));
}

pub(super) async fn what_changes_nothing_takes_no_revision(store: SharedStore) {
    let a = env("a");
    let first = put(&store, &a, "1").await;
    let mut watch = store.watch(&Prefix::all(), first).await.unwrap();
    assert_eq!(store.commit(Txn::new().delete(env("b"))).await.unwrap(), first);
    assert_eq!(store.commit(Txn::new().unchanged(a.clone(), first)).await.unwrap(), first);
    let second = put(&store, &a, "2").await;
    assert_eq!(second, first.next());
    watches::expect_changes(&mut watch, second, &[(&a, Some("2"))]).await;
}

pub(super) async fn malformed_transactions_are_refused(store: SharedStore) {
    let a = env("a");
    let twice = Txn::new().put(a.clone(), "1".into()).delete(a.clone());
    let large = Txn::new().put(a.clone(), vec![0; VALUE_BYTES_MAX + 1].into());
    let many = (0..=TXN_OPS_MAX).fold(Txn::new(), |txn, n| txn.delete(env(&format!("e{n}"))));
    for txn in [twice, large, many] {
        let refused = store.commit(txn).await.unwrap_err();
        assert!(matches!(refused, CommitError::Malformed(_)), "{refused:?}");
    }
    assert_eq!(store.list(&Prefix::all()).await.unwrap().revision, Revision(0));
}

pub(super) async fn a_transaction_may_be_as_large_as_promised(store: SharedStore) {
    let value = Bytes::from(vec![7; VALUE_BYTES_MAX]);
    let txn = (0..TXN_OPS_MAX).fold(Txn::new(), |txn, n| txn.put(env(&format!("e{n}")), value.clone()));
    let revision = store.commit(txn).await.unwrap();
    let listing = store.list(&Prefix::envs()).await.unwrap();
    assert_eq!(listing.entries.len(), TXN_OPS_MAX);
    assert!(listing.entries.iter().all(|entry| entry.value == value && entry.revision == revision));
}

pub(super) async fn of_many_with_one_guard_one_wins(store: SharedStore) {
    let a = env("a");
    for round in 0..20 {
        let before = store.get(&a).await.unwrap().map(|entry| entry.revision);
        let commits: Vec<_> = (0..8)
            .map(|n| {
                let (store, key) = (store.clone(), a.clone());
                let txn = Txn::new().as_read(key.clone(), before).put(key, format!("{round}/{n}").into());
                tokio::spawn(async move { store.commit(txn).await.map(|revision| (n, revision)) })
            })
            .collect();
        let mut won = Vec::new();
        for commit in commits {
            match commit.await.unwrap() {
                Ok(winner) => won.push(winner),
                Err(CommitError::Conflict { key }) => assert_eq!(key, a),
                Err(other) => panic!("{other:?}"),
            }
        }
        let [(n, revision)] = won[..] else { panic!("winners of round {round}: {won:?}") };
        let found = store.get(&a).await.unwrap();
        assert_eq!(found, Some(entry(&a, &format!("{round}/{n}"), revision)));
    }
}

pub(super) async fn a_list_is_of_one_revision(store: SharedStore) {
    let keys = ["a", "m", "z"].map(env);
    let writer = {
        let (store, keys) = (store.clone(), keys.clone());
        tokio::spawn(async move {
            for n in 0..100 {
                let write = |txn: Txn, key: &Key| txn.put(key.clone(), n.to_string().into());
                store.commit(keys.iter().fold(Txn::new(), write)).await.unwrap();
            }
        })
    };
    while !writer.is_finished() {
        let listing = store.list(&Prefix::envs()).await.unwrap();
        for entry in &listing.entries {
            assert_eq!(entry.value, listing.entries[0].value, "two commits in one listing");
            assert_eq!(entry.revision, listing.revision, "the listing of another revision");
        }
    }
    writer.await.unwrap();
}

pub(super) async fn a_list_holds_what_its_prefix_covers(store: SharedStore) {
    for key in [live("prod", "web"), live("prod", "api"), live("prod-2", "web"), env("prod")] {
        put(&store, &key, "x").await;
    }
    let keys = async |prefix: &Prefix| {
        let listing = store.list(prefix).await.unwrap();
        listing.entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>()
    };
    assert_eq!(keys(&live_in("prod")).await, [live("prod", "api"), live("prod", "web")]);
    let all = [env("prod"), live("prod", "api"), live("prod", "web"), live("prod-2", "web")];
    let mut found = keys(&Prefix::all()).await;
    assert!(found.is_sorted(), "{found:?}");
    found.sort_by_key(|key| all.iter().position(|other| other == key));
    assert_eq!(found, all);
}
