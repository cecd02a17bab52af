//! Transcripts of what an admin deploys on the host itself.

use longshore_common::{
    assignment::Intent,
    code::Code,
    ids::Generation,
    report::{Blame, Failure, Outcome, StepName},
};

use super::bench::{Bench, app, assignment, run};
use crate::{
    host::sim::{Flaw, SimHost},
    plan::{
        Acceptance, Conclusion, Failed, Hold, HoldKind, Local, Order, Record, Stale, accept, accept_local,
        accept_order, goes_on, refused, superseded,
    },
};

fn ann() -> Local {
    Local { by: "ann".into(), since_ms: 1, stale: Stale::Refused }
}

fn assigned(generation: u64, version: &str) -> Record {
    let incoming = run(generation, version);
    match accept(&Record::default(), &incoming, incoming.host, None) {
        Acceptance::Begin(record) => *record,
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_takes_the_place_of_what_was_assigned_until_something_new_is() {
    let record = assigned(7, "1.0");
    let given_up = superseded(&record, &run(0, "1.1"), "ann").unwrap();
    let Outcome::Failed { failure } = given_up else { panic!("{given_up:?}") };
    assert_eq!(failure.code, Code::P01.to_string());
    assert!(failure.message.contains("ann deployed 1.1"), "{}", failure.message);
    let local = accept_local(&record, &run(0, "1.1"), None, ann()).unwrap();
    assert_eq!(local.generation(), Some(Generation(7)));
    assert_eq!(local.local, Some(ann()));
    assert!(local.disturbed, "what was half way through its switch was never judged");
    // What was assigned before is not taken again, what is assigned from now on is.
    let host = run(7, "1.0").host;
    let again = accept(&local, &run(7, "1.0"), host, None);
    assert!(
        matches!(&again, Acceptance::Refuse(failure, None) if failure.code == Code::O03.to_string()),
        "{again:?}"
    );
    let Acceptance::Begin(next) = accept(&local, &run(8, "1.2"), host, None) else { panic!("8 is new") };
    assert_eq!((next.local, next.accepted.unwrap().app), (None, app()));
}

#[test]
fn a_host_that_was_never_assigned_anything_takes_it_and_then_whatever_the_controller_says_first() {
    let local = accept_local(&Record::default(), &run(0, "1.0"), None, ann()).unwrap();
    assert_eq!(local.generation(), Some(Generation(0)));
    assert_eq!(superseded(&Record::default(), &run(0, "1.0"), "ann"), None);
    let first = accept(&local, &run(1, "1.1"), run(1, "1.1").host, None);
    assert!(matches!(first, Acceptance::Begin(_)), "{first:?}");
}

/// That documents have expired is passed over for what root brought so, and for nothing that comes after it.
#[test]
fn stale_is_said_of_one_deployment() {
    let mut bench = Bench::new();
    bench.give(&run(1, "1")).unwrap();
    bench.give(&assignment(2, "2", &[], Intent::Stage)).unwrap();
    bench.host.release("2", SimHost::service([]), [Flaw::Expired]);
    let stale = Local { stale: Stale::Allowed, ..ann() };
    for (local, end) in [(ann(), "=> failed LS-T04 at check"), (stale, "=> healthy")] {
        bench.record = accept_local(&bench.record, &run(0, "2"), None, local).unwrap();
        let transcript = bench.transcript(Bench::converge);
        assert!(transcript.contains("admit 2-") && transcript.ends_with(end), "{transcript}");
    }
}

#[test]
fn a_hold_and_a_way_back_go_before_it() {
    let hold = Hold { reason: "disk".into(), by: "bob".into(), since_ms: 1, kind: HoldKind::Admin };
    let refusal = accept_local(&Record::default(), &run(0, "1.0"), Some(&hold), ann()).unwrap_err();
    assert!(refusal.code == Code::P01 && refusal.message.contains("--despite-hold"), "{refusal}");
    let drained = Hold { kind: HoldKind::Drain, ..hold };
    let refusal = accept_local(&Record::default(), &run(0, "1.0"), Some(&drained), ann()).unwrap_err();
    assert!(refusal.code == Code::P01 && refusal.message.contains("longshore host undrain"), "{refusal}");
    assert!(!refusal.message.contains("--despite-hold"), "its apps would stay stopped: {refusal}");
    let mut failed = assigned(7, "1.0");
    let failure = Failure::new(Code::B01, StepName::Probe, Blame::Version, "no");
    failed.failed = Some(Failed { failure, touched: true, way_back: None });
    assert_eq!(accept_local(&failed, &run(0, "1.1"), None, ann()).unwrap_err().code, Code::R01);
}

/// The controller is still told what the host refused it.
#[test]
fn it_takes_nothing_back_of_what_was_refused() {
    let failure = Failure::new(Code::P01, StepName::Check, Blame::Environment, "held");
    let refused = refused(&assigned(7, "1.0"), &run(8, "1.1"), &failure);
    let local = accept_local(&refused, &run(0, "1.2"), None, ann()).unwrap();
    assert!(local.refused.is_some() && local.refused == refused.refused);
}

#[test]
fn a_way_back_leads_to_what_is_not_live_unless_something_is_under_way() {
    let mut bench = Bench::new();
    for generation in [1, 2] {
        bench.give(&run(generation, &generation.to_string())).unwrap();
        bench.converge().unwrap();
    }
    let (idle, seen) = (bench.record.clone(), bench.seen());
    let [old, live] = [run(1, "1").slot(), run(2, "2").slot()];
    let refusal = accept_order(&idle, &seen, Some(live.clone()), "ann").unwrap_err();
    assert!(refusal.code == Code::R01 && refusal.message.contains("is live already"), "{refusal}");
    let ordered = accept_order(&idle, &seen, None, "ann").unwrap().order.unwrap();
    assert_eq!((ordered.to, ordered.from), (old, Some(live.clone())));
    // Something fails on its way to a third release: back to the live one is a way back, and the failure is over.
    let failure = Failure::new(Code::B01, StepName::Start, Blame::Version, "no");
    let failed = Some(Failed { failure, touched: true, way_back: None });
    let busy = Record { concluded: None, failed, ..idle };
    let back = accept_order(&busy, &seen, Some(live.clone()), "ann").unwrap();
    assert_eq!((back.failed, back.order.unwrap().to), (None, live));
}

/// Staged ahead and then to be run, or run and run again: one and the same work.
#[test]
fn only_the_same_slot_and_only_forward_is_gone_on_with() {
    let of = |intent, version| assignment(8, version, &[], intent);
    let staging = Record { accepted: Some(of(Intent::Stage, "1")), ..Record::default() };
    assert!(goes_on(&staging, &of(Intent::Run, "1")));
    assert!(!goes_on(&staging, &of(Intent::Run, "2")));
    assert!(!goes_on(&staging, &of(Intent::Stage, "1")), "staged again it begins again");
    assert!(!goes_on(&Record::default(), &of(Intent::Run, "1")));
}

/// What has ended, has failed, or waits for somebody's order on the host is not gone on with; neither is what is taken away,
/// nor a balancer's part.
#[test]
fn only_what_is_under_way_is_gone_on_with() {
    let of = |intent| assignment(8, "1", &[], intent);
    let under_way = Record { accepted: Some(of(Intent::Run)), ..Record::default() };
    let next = of(Intent::Run);
    assert!(goes_on(&under_way, &next));
    let failure = Failure::new(Code::U01, StepName::Probe, Blame::Version, "sick");
    let failed = Failed { failure, touched: true, way_back: None };
    let order = Order { to: next.slot(), from: None, by: "ann".into() };
    let concluded = Conclusion { generation: Generation(7), outcome: Outcome::Healthy };
    for other in [
        Record { failed: Some(failed), ..under_way.clone() },
        Record { order: Some(order), ..under_way.clone() },
        Record { concluded: Some(concluded), ..under_way.clone() },
        Record { accepted: Some(of(Intent::Remove)), ..under_way.clone() },
        Record { accepted: Some(of(Intent::Direct)), ..under_way.clone() },
    ] {
        assert!(!goes_on(&other, &next), "{other:?}");
    }
    for other in [Intent::Remove, Intent::Direct] {
        assert!(!goes_on(&under_way, &of(other)), "{other:?}");
    }
}
