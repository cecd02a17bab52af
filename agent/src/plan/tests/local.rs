//! Transcripts of what an admin deploys on the host itself.

use longshore_common::{code::Code, ids::Generation, report::Outcome};

use super::bench::{app, run};
use crate::plan::{Acceptance, Hold, Local, Record, accept, accept_local, superseded};

fn ann() -> Local {
    Local { by: "ann".into(), since_ms: 1 }
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

#[test]
fn a_hold_and_a_way_back_go_before_it() {
    let hold = Hold { reason: "disk".into(), by: "bob".into(), since_ms: 1, drained: false };
    let refusal = accept_local(&Record::default(), &run(0, "1.0"), Some(&hold), ann()).unwrap_err();
    assert!(refusal.code == Code::P01 && refusal.message.contains("--despite-hold"), "{refusal}");
    let mut failed = assigned(7, "1.0");
    let failure = longshore_common::report::Failure::new(
        Code::B01,
        longshore_common::report::StepName::Probe,
        longshore_common::report::Blame::Version,
        "no",
    );
    failed.failed = Some(crate::plan::Failed { failure, touched: true, way_back: None });
    assert_eq!(accept_local(&failed, &run(0, "1.1"), None, ann()).unwrap_err().code, Code::R01);
}
