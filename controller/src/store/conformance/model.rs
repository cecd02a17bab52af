//! A long random walk: whatever is asked of a store, it answers like a plain map.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::super::{CommitError, Guard, Write};
use super::*;

/// What a walk does, over few keys, so that its steps meet.
#[derive(Debug, Clone)]
enum Op {
    Commit { guards: Vec<(usize, Expect)>, writes: BTreeMap<usize, Option<u8>> },
    Get(usize),
    List(usize),
}

/// How a guard is made from what the model knows.
#[derive(Debug, Clone, Copy)]
enum Expect {
    AsItIs,
    Absent,
    Revision(u64),
}

const KEYS: usize = 6;

fn key(index: usize) -> Key {
    if index.is_multiple_of(2) { live("prod", &format!("app{index}")) } else { env(&format!("env{index}")) }
}

fn op() -> impl Strategy<Value = Op> {
    let expect = prop_oneof![
        3 => Just(Expect::AsItIs),
        1 => Just(Expect::Absent),
        1 => (0..20u64).prop_map(Expect::Revision),
    ];
    let guards = prop::collection::vec((0..KEYS, expect), 0..3);
    let writes = prop::collection::btree_map(0..KEYS, prop::option::of(any::<u8>()), 0..4);
    prop_oneof![
        6 => (guards, writes).prop_map(|(guards, writes)| Op::Commit { guards, writes }),
        1 => (0..KEYS).prop_map(Op::Get),
        1 => (0..3usize).prop_map(Op::List),
    ]
}

#[derive(Debug, Default)]
struct Model {
    revision: Revision,
    entries: BTreeMap<Key, (Bytes, Revision)>,
}

impl Model {
    fn guard(&self, key: Key, expect: Expect) -> Guard {
        match (expect, self.entries.get(&key)) {
            (Expect::AsItIs, Some((_, revision))) => Guard::Unchanged(key, *revision),
            (Expect::AsItIs, None) | (Expect::Absent, _) => Guard::Absent(key),
            (Expect::Revision(revision), _) => Guard::Unchanged(key, Revision(revision)),
        }
    }

    fn txn(&self, guards: &[(usize, Expect)], writes: &BTreeMap<usize, Option<u8>>) -> Txn {
        let guards = guards.iter().map(|(index, expect)| self.guard(key(*index), *expect)).collect();
        let writes = writes.iter().map(|(index, value)| match value {
            Some(byte) => Write::Put(key(*index), vec![*byte].into()),
            None => Write::Delete(key(*index)),
        });
        Txn { guards, writes: writes.collect() }
    }

    /// The first guard that does not hold, or the revision.
    fn commit(&mut self, txn: Txn) -> Result<Revision, Key> {
        let revision_of = |key: &Key| self.entries.get(key).map(|(_, revision)| *revision);
        if let Some(broken) = txn.guards.iter().find(|guard| !guard.holds(revision_of(guard.key()))) {
            return Err(broken.key().clone());
        }
        let next = self.revision.next();
        for write in txn.writes {
            match write {
                Write::Put(key, value) => {
                    self.entries.insert(key, (value, next));
                    self.revision = next;
                }
                Write::Delete(key) => {
                    if self.entries.remove(&key).is_some() {
                        self.revision = next;
                    }
                }
            }
        }
        Ok(self.revision)
    }

    fn list(&self, prefix: &Prefix) -> Vec<Entry> {
        let below = self.entries.iter().filter(|(key, _)| prefix.covers(key));
        below
            .map(|(key, (value, revision))| Entry {
                key: key.clone(),
                value: value.clone(),
                revision: *revision,
            })
            .collect()
    }
}

pub(super) fn behaves_like_a_map<Keep>(make: &dyn Fn() -> (SharedStore, Keep)) {
    let config = Config { cases: 32, failure_persistence: None, ..Config::default() };
    let walks = prop::collection::vec(op(), 1..40);
    let walked = TestRunner::new(config).run(&walks, |walk| {
        let (store, _keep) = make();
        runtime().block_on(follow(&store, walk));
        Ok(())
    });
    if let Err(failure) = walked {
        panic!("{failure}");
    }
}

async fn follow(store: &SharedStore, walk: Vec<Op>) {
    let mut model = Model::default();
    for op in walk {
        match op {
            Op::Commit { guards, writes } => {
                let txn = model.txn(&guards, &writes);
                match (store.commit(txn.clone()).await, model.commit(txn)) {
                    (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                    (Err(CommitError::Conflict { key }), Err(expected)) => assert_eq!(key, expected),
                    (found, expected) => panic!("{found:?} instead of {expected:?}"),
                }
            }
            Op::Get(index) => {
                let key = key(index);
                let found = store.get(&key).await.unwrap().map(|entry| (entry.value, entry.revision));
                assert_eq!(found.as_ref(), model.entries.get(&key));
            }
            Op::List(which) => {
                let prefix = [Prefix::all(), Prefix::envs(), live_in("prod")][which].clone();
                let found = store.list(&prefix).await.unwrap();
                assert_eq!((found.revision, found.entries), (model.revision, model.list(&prefix)));
            }
        }
    }
}
