//! The log over restarts, and that no change of it goes unnoticed.

mod bytes;
mod edges;

use std::{fs, path::Path, sync::Arc, time::Duration};

use longshore_common::time::{Clock, ManualClock};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::*;

struct Desk {
    folder: tempfile::TempDir,
    clock: ManualClock,
    audit: Audit,
}

impl Desk {
    fn open() -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(1_000_000));
        let audit = open(folder.path(), &clock);
        Self { folder, clock, audit }
    }

    fn again(self) -> Self {
        let Self { folder, clock, audit } = self;
        drop(audit);
        let audit = open(folder.path(), &clock);
        Self { folder, clock, audit }
    }

    async fn events(&self, count: u64) {
        for number in 0..count {
            self.audit.append(event(&format!("host-{number}"))).await.unwrap();
        }
    }

    fn lines(&self) -> Vec<String> {
        self.audit.read(0, usize::MAX).unwrap().0
    }
}

fn open(folder: &Path, clock: &ManualClock) -> Audit {
    let clock: Arc<dyn Clock> = Arc::new(clock.clone());
    Audit::open(&folder.join("audit"), folder, clock).unwrap()
}

fn event(target: &str) -> What {
    What::Event { actor: "a test".into(), event: "enrolled".into(), target: target.into() }
}

fn denied() -> What {
    let (actor, key, method) = ("eve".into(), "00".into(), "Rollouts/Start".into());
    What::Denied { actor, key, method, target: String::new(), code: "LS-C02".into(), why: "no".into() }
}

fn verify(lines: &[String], witnesses: Vec<(Checkpoint, String)>) -> Result<Verified, Broken> {
    let mut verifier = Verifier::new(witnesses);
    lines.iter().try_for_each(|line| verifier.line(line))?;
    verifier.end()
}

#[tokio::test]
async fn the_chain_goes_on_over_restarts_and_a_torn_last_line_goes() {
    let desk = Desk::open();
    desk.events(3).await;
    let desk = desk.again();
    desk.events(2).await;
    let segment = fs::read_dir(desk.folder.path().join("audit")).unwrap().next().unwrap().unwrap().path();
    let mut text = fs::read(&segment).unwrap();
    text.extend_from_slice(b"{\"i\":5,\"at_ms\":1");
    longshore_common::durable::write_atomic(&segment, &text, 0o600).unwrap();
    let desk = desk.again();
    desk.events(1).await;
    let verified = verify(&desk.lines(), vec![]).unwrap();
    assert_eq!((verified.first, verified.entries), (0, 6));
}

#[tokio::test]
async fn checkpoints_come_with_entries_and_with_time() {
    let desk = Desk::open();
    let mut latest = desk.audit.checkpoints();
    desk.events(CHECKPOINT_ENTRIES).await;
    let first = latest.borrow_and_update().clone().expect("a hundred entries are signed");
    assert_eq!(first.entries, CHECKPOINT_ENTRIES);
    assert!(first.is_sound());
    assert!(!Checkpoint { entries: 99, ..first.clone() }.is_sound());
    verify(&desk.lines(), vec![(first, "web-1".into())]).unwrap();
}

#[tokio::test]
async fn a_flood_of_refusals_is_counted_and_not_written() {
    let desk = Desk::open();
    for _ in 0..200 {
        desk.audit.append(denied()).await.unwrap();
    }
    assert_eq!(desk.lines().len(), 60);
    desk.clock.advance(Duration::from_secs(61));
    desk.events(1).await;
    let lines = desk.lines();
    assert!(lines[60].contains("\"suppressed\"") && lines[60].contains("\"refusals\":140"), "{}", lines[60]);
    verify(&lines, vec![]).unwrap();
}

/// Deleted, edited, reordered, truncated, and restamped with a chain that is whole in itself: 500 random places.
#[tokio::test]
async fn every_change_of_the_log_is_found_and_its_place_is_named() {
    let desk = Desk::open();
    desk.events(CHECKPOINT_ENTRIES + 20).await;
    let lines = desk.lines();
    let signer = Signer::load_or_create(desk.folder.path()).unwrap();
    let head = line_hash(lines.last().unwrap());
    let witness = signer.sign(lines.len() as u64, head, desk.clock.now_ms());
    let mut random = StdRng::seed_from_u64(7);
    for round in 0..500 {
        let at = random.random_range(0..lines.len() - 1);
        let mut changed = lines.clone();
        match round % 5 {
            0 => drop(changed.remove(at)),
            1 => changed[at] = changed[at].replace("enrolled", "enroled"),
            2 => changed.swap(at, at + 1),
            3 => changed.truncate(at),
            _ => restamp(&mut changed, at),
        }
        let found = verify(&changed, vec![(witness.clone(), "web-1".into())]);
        let broken = found.expect_err(&format!("round {round}: a change at {at} was not found"));
        let last = lines.len() as u64 - 1;
        assert!((at as u64..=last).contains(&broken.index), "round {round} at {at}: {broken}");
    }
}

/// A tail that was cut off, and the controller wrote on: the first lost entry is named, however far the log has grown
/// again.
#[tokio::test]
async fn a_tail_that_was_cut_off_is_named_by_its_first_entry() {
    let desk = Desk::open();
    let signer = Signer::load_or_create(desk.folder.path()).unwrap();
    let (mut witnesses, mut kept) = (vec![], vec![]);
    for _ in 0..3 {
        kept = desk.lines();
        desk.events(20).await;
        let lines = desk.lines();
        let head = line_hash(lines.last().unwrap());
        witnesses.push((signer.sign(lines.len() as u64, head, desk.clock.now_ms()), "web-1".to_owned()));
        desk.clock.advance(Duration::from_secs(60));
    }
    kept.truncate(33);
    for grown in [0, 1, 20, 40] {
        let mut changed = kept.clone();
        for number in 0..grown {
            let prev = line_hash(changed.last().unwrap());
            let entry = Chained { i: 33 + number, at_ms: desk.clock.now_ms(), prev, what: event("later") };
            changed.push(entry.line());
        }
        let broken = verify(&changed, witnesses.clone()).unwrap_err();
        assert_eq!(broken.index, 33, "{grown} written since: {broken}");
        assert!(broken.why.contains("lost") || broken.why.contains("missing"), "{broken}");
    }
}

/// What somebody did to a witness says nothing of the log.
#[tokio::test]
async fn an_edited_witness_is_told_as_that() {
    let desk = Desk::open();
    desk.events(5).await;
    let signer = Signer::load_or_create(desk.folder.path()).unwrap();
    let lines = desk.lines();
    let good = signer.sign(5, line_hash(lines.last().unwrap()), 1_000_000);
    let edited = Checkpoint { entries: 9, ..good.clone() };
    let verifier = Verifier::new([(good, "web-1".to_owned()), (edited, "web-2.json".to_owned())]);
    assert_eq!(verifier.forged().iter().collect::<Vec<_>>(), ["web-2.json"]);
    let mut verifier = verifier;
    lines.iter().try_for_each(|line| verifier.line(line)).unwrap();
    assert_eq!(verifier.end().unwrap().entries, 5);
}

/// A different entry, and every later one made to follow from it.
fn restamp(lines: &mut [String], at: usize) {
    let mut prev = None;
    for (place, line) in lines.iter_mut().enumerate().skip(at) {
        let mut entry = Chained::parse(line).unwrap();
        if place == at {
            entry.what = event("nobody");
        }
        if let Some(prev) = prev {
            entry.prev = prev;
        }
        *line = entry.line();
        prev = Some(line_hash(line));
    }
}
