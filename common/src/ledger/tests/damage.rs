//! What a ledger makes of files that are not what it wrote: the same entries, or an error that says so.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::*;

/// How many times each kind of damage is done, at random places. (Run with 125 when this was written: 500 of 500
/// damaged databases and 500 of 500 damaged journals came back whole.)
const ROUNDS: u64 = 12;

#[derive(Debug, Clone, Copy)]
enum Damage {
    Flip,
    Zero,
    Truncate,
    Garble,
}

impl Damage {
    /// Do it to a file, at a place that the round decides.
    fn apply(self, path: &Path, round: u64) {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        let length = file.metadata().unwrap().len();
        if length == 0 {
            return;
        }
        let at = scattered(round) % length;
        let span = (1 + scattered(round ^ 0xabcd) % 4096).min(length - at) as usize;
        match self {
            Damage::Flip => {
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ (1 << (round % 8))], at).unwrap();
            }
            Damage::Zero => file.write_all_at(&vec![0; span], at).unwrap(),
            Damage::Garble => {
                let bytes: Vec<u8> = (0..span as u64).map(|n| scattered(round + n) as u8).collect();
                file.write_all_at(&bytes, at).unwrap();
            }
            Damage::Truncate => file.set_len(at).unwrap(),
        }
    }
}

const KINDS: [Damage; 4] = [Damage::Flip, Damage::Zero, Damage::Truncate, Damage::Garble];

/// A number that looks random and is the same every time.
fn scattered(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// sled panics where it meets damage; that is expected here and not worth a page of backtrace each time.
fn without_backtraces() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() != Some("ledger-open") {
            before(info);
        }
    }));
}

/// A ledger that was closed in order, and what it held.
fn closed() -> (TempDir, Listing) {
    let dir = tempdir().unwrap();
    let ledger = open(&dir);
    fill(&ledger, 60);
    let held = dump(&ledger);
    ledger.close_blocking();
    (dir, held)
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files_below(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found.sort();
    found
}

#[test]
fn a_damaged_database_is_made_anew_from_the_journal() {
    without_backtraces();
    let (pristine, held) = closed();
    let mut noticed = 0;
    for round in 0..ROUNDS {
        for kind in KINDS {
            let dir = copy(pristine.path());
            let files = files_below(&dir.path().join("sled"));
            let file = &files[scattered(round ^ 0x5eed) as usize % files.len()];
            kind.apply(file, round);
            let ledger = open(&dir);
            assert_eq!(dump(&ledger), held, "{kind:?} of {} in round {round}", file.display());
            let next = ledger.commit_blocking(Batch::new().put("on", "and on")).unwrap();
            assert_eq!(next, held.revision.next());
            ledger.close_blocking();
            noticed += u64::from(dir.path().join("sled.damaged").exists());
            let again = open(&dir);
            assert_eq!(dump(&again).revision, next);
            again.close_blocking();
        }
    }
    assert!(noticed > ROUNDS, "only {noticed} of {} were noticed", ROUNDS * 4);
}

#[test]
fn a_damaged_journal_is_begun_anew_from_a_database_that_was_closed() {
    let (pristine, held) = closed();
    for round in 0..ROUNDS {
        for kind in KINDS {
            let dir = copy(pristine.path());
            kind.apply(&dir.path().join("journal"), round);
            let ledger = open(&dir);
            assert_eq!(dump(&ledger), held, "{kind:?} in round {round}");
            ledger.close_blocking();
        }
    }
}

#[test]
fn a_damaged_journal_without_a_database_to_trust_is_an_error_or_a_torn_end() {
    let (pristine, held) = closed();
    std::fs::remove_file(pristine.path().join("stopped")).unwrap();
    for round in 0..ROUNDS {
        let dir = copy(pristine.path());
        Damage::Flip.apply(&dir.path().join("journal"), round);
        match Ledger::open(dir.path(), KEPT) {
            Ok(ledger) => {
                // Only the last record can be taken for one that a power cut tore.
                assert_eq!(dump(&ledger).revision.next(), held.revision, "round {round}");
                ledger.close_blocking();
            }
            Err(error) => {
                assert_eq!(error.coded().code, Code::S02, "{error}");
                assert!(error.to_string().contains("its journal is damaged at byte"), "{error}");
            }
        }
    }
}

#[test]
fn damage_to_both_is_an_error_that_names_the_way_out() {
    without_backtraces();
    let (dir, _) = closed();
    Damage::Zero.apply(&dir.path().join("journal"), 3);
    std::fs::OpenOptions::new().write(true).open(dir.path().join("sled/db")).unwrap().set_len(10).unwrap();
    let error = Ledger::open(dir.path(), KEPT).unwrap_err().coded();
    assert_eq!(error.code, Code::S02);
    assert!(error.message.contains("Restore a backup"), "{error}");
}

#[test]
fn a_journal_that_is_gone_is_not_an_empty_ledger() {
    let (dir, _) = closed();
    std::fs::remove_file(dir.path().join("journal")).unwrap();
    std::fs::remove_file(dir.path().join("stopped")).unwrap();
    let error = Ledger::open(dir.path(), KEPT).unwrap_err().coded();
    assert_eq!(error.code, Code::S02);
}
