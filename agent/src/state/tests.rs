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
use crate::plan::{
    HoldKind,
    tests::bench::{app, assignment, run},
};

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
        code: String::new(),
        detail: String::new(),
        by: "controller".into(),
    }
}

fn failed() -> Outcome {
    Outcome::Failed { failure: Failure::new(Code::B01, StepName::Probe, Blame::Version, "no") }
}

#[test]
fn what_was_not_begun_for_reasons_of_trust_or_policy_is_refused_and_not_failed() {
    for code in [Code::T01, Code::T02, Code::T03, Code::T04, Code::T05, Code::P01, Code::P02] {
        let failure = Failure::new(code, StepName::Check, Blame::Environment, "no");
        assert_eq!(Event::from(&Outcome::Failed { failure: failure.clone() }).as_str(), "refused", "{code}");
        assert_eq!(Event::from(&Outcome::Refused { failure }).as_str(), "refused");
    }
    assert_eq!(Event::from(&failed()).as_str(), "failed");
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let dir = tempdir().unwrap();
    let state = open(dir.path()).await;
    assert_eq!(state.boot_counter(), 1);
    let record = Record { accepted: Some(run(3, "1")), good: vec![run(1, "1").slot()], ..Record::default() };
    state.keep(&app(), record.clone()).await.unwrap();
    state.conclude(&app(), record.clone(), report(3, failed()), row(5, &failed())).await.unwrap();
    let hold = Hold { reason: "disk".into(), by: "ann".into(), since_ms: 4, kind: HoldKind::Admin };
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

/// Agents of before wrote no code into the rows that hosts keep.
#[test]
fn a_row_without_a_code_is_read() {
    let mut written: serde_json::Value = serde_json::from_slice(&encode(&row(5, &failed()))).unwrap();
    written.as_object_mut().unwrap().remove("code").unwrap();
    assert_eq!(decode::<Row>("row", written.to_string().as_bytes()).unwrap(), row(5, &failed()));
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
async fn a_full_outbox_drops_what_ended_nothing_and_then_what_was_said_again() {
    let dir = tempdir().unwrap();
    let state = open(dir.path()).await;
    let posts = (0..OUTBOX_MAX as u64).map(|n| {
        let outcome = if n == 7 { Outcome::Staged } else { failed() };
        let state = Arc::clone(&state);
        async move { state.report(report(n, outcome.clone()), row(1, &outcome)).await }
    });
    futures_util::future::try_join_all(posts).await.unwrap();
    // An app that ends so once, and another that ends otherwise, are kept whatever comes after.
    let other = Report { app: "blog".parse().unwrap(), ..report(997, failed()) };
    for report in [other.clone(), report(998, Outcome::Healthy)] {
        state.report(report, row(1, &failed())).await.unwrap();
    }
    for _ in 0..OUTBOX_MAX {
        state.report(report(999, failed()), row(1, &failed())).await.unwrap();
    }
    let kept: Vec<Report> = state.outbox_after(0).into_iter().map(|(_, report)| report).collect();
    assert_eq!(kept.len(), OUTBOX_MAX);
    assert!(kept.contains(&other) && kept.contains(&report(998, Outcome::Healthy)), "said once");
    assert!(kept.iter().all(|report| report.generation.0 >= 997), "the oldest go first");
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

/// A file, a drain and a hold at once: which is told, and that each ends by nothing but its own word.
#[tokio::test]
async fn file_drain_and_hold_stand_beside_each_other() {
    let dir = tempdir().unwrap();
    let (folder, file) = (dir.path().join("state"), dir.path().join("HOLD"));
    let state = open(&folder).await;
    state.hold_while(file.clone());
    let by = |state: &State| state.hold().map(|hold| (hold.kind, hold.by.clone(), hold.way_out()));
    let told = |kind, by: &str, way_out: &str| Some((kind, by.to_owned(), way_out.to_owned()));
    let at = file.display().to_string();
    let of_file = told(HoldKind::File, &at, &format!("On the host: rm {at}"));
    let of_drain = told(HoldKind::Drain, "olga", "To let it go: longshore host undrain");
    let of_admin = told(HoldKind::Admin, "ann", "On the host: longshore-agent unhold");
    let hold = Hold { reason: "disk".into(), by: "ann".into(), since_ms: 4, kind: HoldKind::Admin };
    let (by_olga, reason) = ("olga".to_owned(), "rack 7".to_owned());
    let drain = Drain { by: by_olga, reason, since_ms: 5, stop_ms: 5, here_ms: 5 };

    assert_eq!(by(&state), None);
    assert!(state.set_hold(Some(hold.clone()), "ann").await.unwrap());
    assert_eq!(by(&state), of_admin);
    assert!(state.set_drain(Some(drain.clone())).await.unwrap());
    assert_eq!(by(&state), of_drain);
    longshore_common::durable::write_atomic(&file, b"raid", 0o644).unwrap();
    assert_eq!(by(&state), of_file);
    // Each is still there when the one before it goes, whatever the order, and over a restart.
    assert!(state.set_drain(None).await.unwrap());
    assert_eq!(by(&state), of_file);
    longshore_common::durable::remove_durable(&file).unwrap();
    assert_eq!(by(&state), of_admin);
    assert!(state.set_drain(Some(drain)).await.unwrap());
    assert!(state.set_hold(None, "bob").await.unwrap());
    assert!(!state.set_hold(None, "bob").await.unwrap(), "a drain is not an admin's to lift");
    assert_eq!(by(&state), of_drain);
    state.close().await;
    let state = open(&folder).await;
    assert_eq!(by(&state), of_drain);
    assert!(state.set_drain(None).await.unwrap());
    assert_eq!(by(&state), None);
    state.close().await;
}

/// Written before what holds a host had kinds.
#[test]
fn a_hold_of_an_earlier_version_is_an_admins() {
    let hold: Hold = serde_json::from_str(r#"{"reason":"disk","by":"ann","since_ms":4}"#).unwrap();
    assert_eq!(hold.kind, HoldKind::Admin);
}
