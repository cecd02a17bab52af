//! What is there after a restart.

use std::{path::Path, sync::Arc};

use longshore_common::{
    assignment::Intent,
    code::Code,
    digest::ReleaseDigest,
    ids::{Generation, RolloutId},
    report::{Blame, Failure, Outcome, Report, StepName},
    time::{ManualClock, Millis},
};
use tempfile::tempdir;
use uuid::Uuid;

use super::{history::ROWS_PER_APP, outbox::OUTBOX_MAX, *};
use crate::plan::tests::bench::{app, assignment, run};

async fn open(dir: &Path) -> Arc<State> {
    State::open(dir, Arc::new(ManualClock::at(1_000))).await.unwrap()
}

fn report(generation: u64, outcome: Outcome) -> Report {
    Report {
        app: app(),
        rollout: RolloutId(Uuid::from_u128(1)),
        generation: Generation(generation),
        release: ReleaseDigest::of(b"1"),
        time_ms: 1,
        outcome,
        live: None,
        by: None,
    }
}

fn row(time_ms: Millis, outcome: &Outcome) -> Row {
    Row {
        time_ms,
        app: Some(app()),
        generation: Generation(1),
        version: "1".into(),
        slot: None,
        event: outcome.into(),
        detail: String::new(),
        by: "controller".into(),
    }
}

fn failed() -> Outcome {
    Outcome::Failed { failure: Failure::new(Code::B01, StepName::Probe, Blame::Version, "no") }
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let dir = tempdir().unwrap();
    let state = open(dir.path()).await;
    assert_eq!(state.boot_counter(), 1);
    let record = Record { accepted: Some(run(3, "1")), good: vec![run(1, "1").slot()], ..Record::default() };
    state.keep(&app(), record.clone()).await.unwrap();
    state.conclude(&app(), record.clone(), report(3, failed()), row(5, &failed())).await.unwrap();
    let hold = Hold { reason: "disk".into(), by: "ann".into(), since_ms: 4, drained: false };
    assert!(state.set_hold(Some(hold.clone()), "ann").await.unwrap());
    assert!(!state.set_hold(Some(hold.clone()), "ann").await.unwrap());
    state.close().await;

    let state = open(dir.path()).await;
    assert_eq!(state.boot_counter(), 2);
    assert_eq!(state.record(&app()), record);
    assert_eq!(state.hold(), Some(hold));
    assert_eq!(state.outbox_after(0), [(65, report(3, failed()))]);
    assert_eq!(state.history(Some(&app()), 9).await.unwrap(), [row(5, &failed())]);
    assert!(state.set_hold(None, "bob").await.unwrap());
    let of_host = state.history(None, 9).await.unwrap();
    let said: Vec<_> = of_host.iter().map(|row| (row.event, row.by.as_str(), row.detail.as_str())).collect();
    assert_eq!(said, [(Event::Unheld, "bob", ""), (Event::Held, "ann", "disk")]);
    state.close().await;
}

#[tokio::test]
async fn numbers_rise_even_when_everything_was_acknowledged() {
    let dir = tempdir().unwrap();
    let state = open(dir.path()).await;
    state.report(report(1, Outcome::Staged), row(1, &Outcome::Staged)).await.unwrap();
    state.acknowledge(65).await.unwrap();
    state.acknowledge(65).await.unwrap();
    state.close().await;
    let state = open(dir.path()).await;
    assert_eq!(state.outbox_len(), 0);
    state.report(report(2, Outcome::Staged), row(2, &Outcome::Staged)).await.unwrap();
    let seq = state.outbox_after(0)[0].0;
    assert!(seq > 65);
    assert_eq!(*state.watch_outbox().borrow(), seq);
    state.close().await;
}

#[tokio::test]
async fn a_full_outbox_drops_only_what_ended_nothing() {
    let dir = tempdir().unwrap();
    let state = open(dir.path()).await;
    let posts = (0..OUTBOX_MAX as u64).map(|n| {
        let outcome = if n == 7 { Outcome::Staged } else { failed() };
        let state = Arc::clone(&state);
        async move { state.report(report(n, outcome.clone()), row(1, &outcome)).await }
    });
    futures_util::future::try_join_all(posts).await.unwrap();
    for _ in 0..2 {
        state.report(report(999, failed()), row(1, &failed())).await.unwrap();
    }
    let kept = state.outbox_after(0);
    assert_eq!(kept.len(), OUTBOX_MAX + 1);
    assert!(kept.iter().all(|(_, report)| report.outcome != Outcome::Staged));
    assert_eq!(state.history(Some(&app()), usize::MAX).await.unwrap().len(), ROWS_PER_APP);
    state.close().await;
}

#[tokio::test]
async fn a_second_agent_hears_who_was_first() {
    let dir = tempdir().unwrap();
    let state = open(dir.path()).await;
    let error = State::open(dir.path(), Arc::new(ManualClock::at(0))).await.unwrap_err();
    assert_eq!(error.code, Code::S01);
    state.close().await;
}

#[tokio::test]
async fn the_largest_record_fits() {
    let dir = tempdir().unwrap();
    let state = open(dir.path()).await;
    let lines = || (0..20).map(|n| format!("{n} {}", "\u{1}".repeat(1000)));
    let failure = || {
        fit(Failure::new(Code::U01, StepName::Start, Blame::Version, "x".repeat(9000)).with_evidence(lines()))
    };
    let mut accepted = assignment(1, "1", &[], Intent::Run);
    accepted.settings.values = (0..100).map(|n| (format!("key-{n}"), "v".repeat(120))).collect();
    let failed = crate::plan::Failed { failure: failure(), touched: true, way_back: Some(failure()) };
    let record = Record { accepted: Some(accepted), failed: Some(failed), ..Record::default() };
    state.keep(&app(), record).await.unwrap();
    state.close().await;
}
