//! What is left when the process ends without closing, and when a write fails.

use super::super::open::open as open_parts;
use super::*;

#[test]
fn a_ledger_that_was_not_closed_is_whole() {
    let dir = tempdir().unwrap();
    let ledger = open(&dir);
    for _ in 0..4 {
        fill(&ledger, 25);
        let crashed = copy(dir.path());
        let expected = dump(&ledger);
        let reopened = open(&crashed);
        assert_eq!(dump(&reopened), expected);
        reopened.close_blocking();
        assert!(!crashed.path().join("sled.damaged").exists(), "not closed is not damaged");
    }
    ledger.close_blocking();
}

#[test]
fn a_ledger_that_was_closed_keeps_its_database() {
    let dir = tempdir().unwrap();
    let ledger = open(&dir);
    fill(&ledger, 25);
    ledger.close_blocking();
    let made = || std::fs::metadata(dir.path().join("sled/conf")).unwrap().modified().unwrap();
    let before = made();
    open(&dir).close_blocking();
    open(&dir).close_blocking();
    assert_eq!(made(), before, "it was made anew");
}

#[test]
fn a_small_database_is_made_anew() {
    let dir = tempdir().unwrap();
    let ledger = open(&dir);
    fill(&ledger, 25);
    let held = dump(&ledger);
    ledger.close_blocking();
    std::fs::OpenOptions::new().write(true).open(dir.path().join("sled/db")).unwrap().set_len(10).unwrap();
    let ledger = Ledger::open(dir.path(), Options::AGENT).unwrap();
    assert_eq!(dump(&ledger), held);
    ledger.close_blocking();
    assert!(!dir.path().join("sled.damaged").exists(), "it was not even looked at");
}

#[test]
fn dropping_the_last_handle_closes_too() {
    let dir = tempdir().unwrap();
    let ledger = open(&dir);
    fill(&ledger, 5);
    drop(ledger);
    // The owner's last act is to leave the folder, so whoever gets the lock finds the note.
    let opened = std::iter::repeat_with(|| Ledger::open(dir.path(), KEPT))
        .find_map(Result::ok)
        .expect("the folder becomes free");
    assert_eq!(opened.list_blocking("").unwrap().revision, Revision(5));
    opened.close_blocking();
}

#[test]
fn a_write_that_fails_is_the_end_until_a_restart() {
    let dir = tempdir().unwrap();
    let ledger = open(&dir);
    fill(&ledger, 5);
    ledger.close_blocking();

    let mut opened = open_parts(dir.path(), KEPT).unwrap();
    opened.journal.break_writes();
    let ledger = Ledger::start(opened, Box::new(|_| {})).unwrap();
    let before = dump(&ledger);
    let error = ledger.commit_blocking(Batch::new().put("a", "1")).unwrap_err();
    assert!(matches!(error, CommitError::Unknown(_)), "{error}");
    let error = ledger.commit_blocking(Batch::new().put("a", "1")).unwrap_err();
    assert!(matches!(error, CommitError::Refused(_)), "{error}");
    let error = ledger.get_blocking("a").unwrap_err();
    assert!(error.to_string().contains("closed until the process restarts: write `"), "{error}");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(ledger.failed()).to_string(), error.to_string());

    let restarted = open(&copy(dir.path()));
    assert_eq!(dump(&restarted), before);
    restarted.close_blocking();
}

#[test]
fn an_observer_that_panics_is_the_end_too() {
    let dir = tempdir().unwrap();
    let ledger = Ledger::open_observed(dir.path(), KEPT, |_| Box::new(|_| panic!("cannot look"))).unwrap();
    let error = ledger.commit_blocking(Batch::new().put("a", "1")).unwrap_err();
    assert!(matches!(error, CommitError::Unknown(_)), "{error}");
    assert!(ledger.get_blocking("a").unwrap_err().to_string().contains("cannot look"));
}
