//! An idle ledger is idle: in a process of its own, whose threads are those of one ledger.

use std::fs;

use longshore_common::ledger::{Batch, Ledger, Options};

/// sled's pool of threads would wake seven times a second for as long as the process lives.
#[test]
fn a_small_ledger_starts_no_pool_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), Options::AGENT).unwrap();
    for number in 0..50 {
        ledger.commit_blocking(Batch::new().put(format!("app/{number}"), "accepted")).unwrap();
        ledger.commit_blocking(Batch::new().put("live", "1.1").delete(format!("app/{number}"))).unwrap();
        assert_eq!(pool(), 0, "{number}");
    }
    assert_eq!(ledger.list_blocking("app/").unwrap().entries, []);
    ledger.close_blocking();
}

fn pool() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default());
    names.filter(|name| name.starts_with("sled-io")).count()
}
