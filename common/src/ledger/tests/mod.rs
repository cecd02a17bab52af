//! What a ledger keeps, refuses and tells, and what it makes of damage.

mod crash;
mod damage;

use std::path::Path;
use std::sync::{Arc, Mutex};

use tempfile::{TempDir, tempdir};

use super::*;
use crate::code::Code;

/// A database that is opened again however small it is.
const KEPT: Options = Options { anew_up_to_bytes: 0, ..Options::AGENT };

fn open(dir: &TempDir) -> Ledger {
    Ledger::open(dir.path(), KEPT).unwrap()
}

/// Everything that is in a ledger.
fn dump(ledger: &Ledger) -> Listing {
    ledger.list_blocking("").unwrap()
}

/// Some commits: puts, overwrites and deletes of values of many sizes.
fn fill(ledger: &Ledger, commits: usize) {
    for n in 0..commits {
        let size = (n * 7919) % 3000;
        let batch = Batch::new()
            .put(format!("key/{}", n % 40), vec![n as u8; size])
            .put(format!("other/{n}"), n.to_string())
            .delete(format!("other/{}", n.wrapping_sub(9)));
        ledger.commit_blocking(batch).unwrap();
    }
}

/// A copy of a folder as it is now: what a crash at this moment would leave, or a pristine one to damage.
fn copy(from: &Path) -> TempDir {
    let to = tempdir().unwrap();
    copy_into(from, to.path());
    to
}

fn copy_into(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_into(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

fn value(ledger: &Ledger, key: &str) -> Option<Bytes> {
    ledger.get_blocking(key).unwrap().map(|stored| stored.value)
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let dir = tempdir().unwrap();
    let ledger = open(&dir);
    let first = ledger.commit_blocking(Batch::new().put("a", "1").put("b", "2")).unwrap();
    let second = ledger.commit_blocking(Batch::new().delete("a").put("c", "3")).unwrap();
    assert_eq!((first, second), (Revision(1), Revision(2)));
    ledger.close_blocking();

    let ledger = open(&dir);
    let listing = ledger.list_blocking("").unwrap();
    assert_eq!(listing.revision, second);
    let stored = |value: &'static str, revision| Stored { value: value.into(), revision };
    assert_eq!(listing.entries, [("b".into(), stored("2", first)), ("c".into(), stored("3", second))]);
    assert_eq!(ledger.commit_blocking(Batch::new().put("d", "4")).unwrap(), Revision(3));
    ledger.close_blocking();
}

#[test]
fn a_guard_that_does_not_hold_writes_nothing_and_is_named() {
    let dir = tempdir().unwrap();
    let ledger = open(&dir);
    let first = ledger.commit_blocking(Batch::new().absent("a").put("a", "1")).unwrap();
    let refused = ledger.commit_blocking(Batch::new().absent("a").put("b", "2")).unwrap_err();
    assert!(matches!(refused, CommitError::Conflict { key } if key == "a"));
    ledger.commit_blocking(Batch::new().unchanged("a", first).put("a", "2")).unwrap();
    let refused = ledger.commit_blocking(Batch::new().unchanged("a", first).put("a", "3")).unwrap_err();
    assert!(matches!(refused, CommitError::Conflict { key } if key == "a"));
    assert_eq!(value(&ledger, "a").unwrap(), "2");
    assert_eq!(value(&ledger, "b"), None);
    ledger.close_blocking();
}

#[test]
fn a_commit_that_changes_nothing_takes_no_revision() {
    let dir = tempdir().unwrap();
    let ledger = open(&dir);
    let first = ledger.commit_blocking(Batch::new().put("a", "1")).unwrap();
    assert_eq!(ledger.commit_blocking(Batch::new().delete("nothing")).unwrap(), first);
    assert_eq!(ledger.commit_blocking(Batch::new().unchanged("a", first)).unwrap(), first);
    ledger.close_blocking();
}

#[test]
fn what_is_too_large_is_refused_and_the_rest_goes_on() {
    let dir = tempdir().unwrap();
    let ledger = open(&dir);
    let large = vec![0; VALUE_BYTES_MAX + 1];
    let refused = ledger.commit_blocking(Batch::new().put("a", large)).unwrap_err();
    assert!(matches!(refused, CommitError::Malformed { .. }), "{refused}");
    let refused = ledger.commit_blocking(Batch::new().put("a", "1").delete("a")).unwrap_err();
    assert!(matches!(refused, CommitError::Malformed { .. }), "{refused}");
    ledger.commit_blocking(Batch::new().put("a", vec![0; VALUE_BYTES_MAX])).unwrap();
    ledger.close_blocking();
}

#[test]
fn the_second_who_opens_hears_who_was_first() {
    let dir = tempdir().unwrap();
    let ledger = open(&dir);
    let error = Ledger::open(dir.path(), Options::AGENT).unwrap_err().coded();
    assert_eq!(error.code, Code::S01);
    assert!(error.message.contains(&format!("pid {}", std::process::id())), "{error}");
    ledger.close_blocking();
    open(&dir).close_blocking();
}

#[test]
fn the_observer_hears_every_commit_once_and_in_order() {
    let dir = tempdir().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let observer = heard.clone();
    let ledger = Ledger::open_observed(dir.path(), Options::AGENT, |_| {
        Box::new(move |committed| observer.lock().unwrap().push(committed.revision.0))
    })
    .unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let ledger = &ledger;
            scope.spawn(move || {
                for round in 0..25 {
                    let batch = Batch::new().put(format!("{writer}/{round}"), "x");
                    ledger.commit_blocking(batch).unwrap();
                }
            });
        }
    });
    assert_eq!(*heard.lock().unwrap(), (1..=100).collect::<Vec<u64>>());
    ledger.close_blocking();
}

#[test]
fn a_runtime_of_one_thread_goes_on_while_the_disk_works() {
    let dir = tempdir().unwrap();
    let ledger = open(&dir);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let commits = (0..50).map(|n| {
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.commit(Batch::new().put(format!("{n}"), "x")).await })
        });
        for commit in commits.collect::<Vec<_>>() {
            commit.await.unwrap().unwrap();
        }
        assert_eq!(ledger.list("").await.unwrap().entries.len(), 50);
        ledger.close().await;
    });
}

#[test]
fn a_handle_of_a_closed_ledger_says_so() {
    let dir = tempdir().unwrap();
    let ledger = open(&dir);
    ledger.clone().close_blocking();
    let error = ledger.get_blocking("a").unwrap_err();
    assert!(error.to_string().contains("it was closed"), "{error}");
}
