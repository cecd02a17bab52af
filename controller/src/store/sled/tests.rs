//! The suite, restarts, and `kill -9`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use tempfile::tempdir;

use super::super::{WatchEvent, conformance};
use super::*;

/// Where the child of `survives_kill_9` finds its store.
const CHILD_DIR: &str = "LONGSHORE_TEST_STORE";

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

fn env(name: &str) -> Key {
    Key::env(&name.parse().unwrap())
}

fn put(n: u64) -> Txn {
    let value = bytes::Bytes::from(n.to_string());
    Txn::new().put(env("first"), value.clone()).put(env("second"), value)
}

#[test]
fn conforms() {
    conformance::suite(|| {
        let dir = tempdir().unwrap();
        (Arc::new(SledStore::open(dir.path()).unwrap()) as _, dir)
    });
}

#[test]
fn a_restart_keeps_revisions_and_forgets_watchers() {
    let dir = tempdir().unwrap();
    runtime().block_on(async {
        let store = SledStore::open(dir.path()).unwrap();
        for n in 1..=5 {
            assert_eq!(store.commit(put(n)).await.unwrap(), Revision(n));
        }
        let mut watch = store.watch(&Prefix::all(), Revision(5)).await.unwrap();
        store.close().await;
        drop(store);
        assert_eq!(watch.next().await, None, "closed is no gap");

        let store = SledStore::open(dir.path()).unwrap();
        let mut old = store.watch(&Prefix::all(), Revision(4)).await.unwrap();
        assert_eq!(old.next().await, Some(WatchEvent::Gap));
        let mut current = store.watch(&Prefix::all(), Revision(5)).await.unwrap();
        assert_eq!(store.commit(put(6)).await.unwrap(), Revision(6));
        let Some(WatchEvent::Changes(changes)) = current.next().await else { panic!("the sixth commit") };
        assert_eq!(changes.revision, Revision(6));
        store.close().await;
    });
}

/// What was acknowledged is there after `kill -9`, and a commit is there as a whole or not at all.
#[test]
fn survives_kill_9() {
    let dir = tempdir().unwrap();
    let mut acknowledged = 0;
    for cycle in 0..15 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::sled::tests::commits_until_killed", "--ignored", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut numbers = lines.map_while(Result::ok).filter_map(|line| line.parse::<u64>().ok());
        acknowledged = numbers.by_ref().nth(cycle * 7 % 40).expect("the child commits until it is killed");
        child.kill().unwrap();
        child.wait().unwrap();
        // What it wrote into the pipe before it died was acknowledged as well.
        acknowledged = numbers.last().unwrap_or(acknowledged);

        let kept = runtime().block_on(async {
            let store = SledStore::open(dir.path()).unwrap();
            let kept = store.list(&Prefix::envs()).await.unwrap();
            store.close().await;
            kept
        });
        let values: Vec<&[u8]> = kept.entries.iter().map(|entry| &*entry.value).collect();
        assert_eq!(values, [kept.revision.0.to_string().as_bytes(); 2], "cycle {cycle}");
        assert!(kept.revision.0 >= acknowledged, "cycle {cycle}: {acknowledged} was acknowledged");
    }
    assert!(acknowledged > 0);
}

/// Not a test of its own: what `survives_kill_9` runs and kills.
#[test]
#[ignore = "the child of survives_kill_9"]
fn commits_until_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    runtime().block_on(async {
        let store = SledStore::open(Path::new(&dir)).unwrap();
        let mut revision = store.list(&Prefix::all()).await.unwrap().revision;
        loop {
            revision = store.commit(put(revision.next().0)).await.unwrap();
            println!("{}", revision.0);
        }
    });
}
