//! What a journal makes of a torn end, of its own growth, and of a newer version.

use tempfile::tempdir;

use super::*;
use crate::code::Code;
use crate::ledger::{Batch, Ledger, OpenError, Options, VALUE_BYTES_MAX};

fn commit(revision: u64) -> Committed {
    let value = vec![revision as u8; 100];
    Committed { revision: Revision(revision), changes: vec![("key".to_owned(), Some(value.into()))] }
}

#[test]
fn an_end_that_was_torn_anywhere_is_cut_off() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("journal");
    let mut journal = Journal::begin(&path, &Image::default()).unwrap();
    let began_with = journal.bytes;
    journal.append(&[commit(1)]).unwrap();
    let first = journal.bytes;
    journal.append(&[commit(2), commit(3)]).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for length in began_with..=bytes.len() as u64 {
        // Some of what was not synced may have become zeros, or be missing.
        for zeros in [0, 50] {
            let mut torn = bytes[..length as usize].to_vec();
            torn.extend(vec![0; zeros]);
            let torn_path = dir.path().join("torn");
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .open(&torn_path)
                .and_then(|mut file| file.write_all(&torn))
                .unwrap();
            let (mut journal, image) = Journal::read(&torn_path).unwrap();
            let whole = bytes.len() as u64;
            let expected = if length < first {
                0
            } else if length < whole {
                1
            } else {
                3
            };
            assert_eq!(image.revision, Revision(expected), "{length} bytes and {zeros} zeros");
            journal.append(&[commit(expected + 1)]).unwrap();
            assert_eq!(Journal::read(&torn_path).unwrap().1.revision, Revision(expected + 1));
        }
    }
}

#[test]
fn a_record_that_is_taken_out_is_missed() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("journal");
    let mut journal = Journal::begin(&path, &Image::default()).unwrap();
    let mut ends = vec![journal.bytes as usize];
    for revision in 1..=3 {
        journal.append(&[commit(revision)]).unwrap();
        ends.push(journal.bytes as usize);
    }
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.drain(ends[1]..ends[2]);
    let mut file = AtomicFile::create(&path, 0o600).unwrap();
    file.write_all(&bytes).unwrap();
    file.commit().unwrap();
    let error = Journal::read(&path).unwrap_err();
    assert!(error.to_string().contains("does not follow the one before it"), "{error}");
}

#[test]
fn a_journal_that_has_grown_is_begun_anew() {
    let dir = tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), Options::AGENT).unwrap();
    let batch = |round: u8| {
        let put = |batch: Batch, n: u32| batch.put(format!("key/{n}"), vec![round; VALUE_BYTES_MAX]);
        (0..64).fold(Batch::new(), put)
    };
    let mut largest = 0;
    for round in 0..24 {
        ledger.commit_blocking(batch(round)).unwrap();
        largest = largest.max(std::fs::metadata(dir.path().join("journal")).unwrap().len());
    }
    let held = ledger.list_blocking("").unwrap();
    assert_eq!((held.revision, held.entries.len()), (Revision(24), 64));
    let live = 64 * VALUE_BYTES_MAX as u64;
    assert!(largest < (RENEW_ABOVE_RATIO + 2) * live, "{largest} bytes for {live} that live");
    ledger.close_blocking();
    let ledger = Ledger::open(dir.path(), Options::AGENT).unwrap();
    assert_eq!(ledger.list_blocking("").unwrap(), held);
    ledger.close_blocking();
}

#[test]
fn a_newer_format_is_refused_with_both_versions() {
    let dir = tempdir().unwrap();
    let start = Start { format: FORMAT + 1, writer: "9.9.9".to_owned(), revision: 7, entries: 0 };
    let mut frames = Vec::new();
    frame::append(&mut frames, NO_LINK, Content::Start(start));
    let mut file = AtomicFile::create(&dir.path().join("journal"), 0o600).unwrap();
    file.write_all(&frames).unwrap();
    file.commit().unwrap();
    let error = Ledger::open(dir.path(), Options::AGENT).unwrap_err();
    assert!(matches!(&error, OpenError::Newer { theirs, .. } if theirs == "9.9.9"), "{error}");
    assert_eq!(error.coded().code, Code::S03);
    assert!(!dir.path().join("sled").exists(), "nothing was touched");
}
