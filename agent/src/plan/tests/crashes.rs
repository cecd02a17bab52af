//! Power loss, or the agent's death, after every single effect: the end is the same.

use longshore_common::{
    assignment::{Assignment, Intent},
    code::Code,
    report::{Blame, Failure, StepName},
    slot::Slot,
};

use super::bench::{Bench, Crashed, assignment, brief, run};
use crate::{
    host::sim::{Flaw, SimHost},
    plan::{Attempt, HookPoint, Record, Seen, blind, conclude, ended_blind},
};

/// What must be the same whether or not there was a crash.
#[derive(Debug, PartialEq)]
struct End {
    seen: Seen,
    good: Vec<Slot>,
    outcome: Option<String>,
}

fn end(bench: &Bench) -> End {
    let outcome = bench.record.concluded.as_ref().map(|concluded| brief(&concluded.outcome));
    End { seen: bench.seen(), good: bench.record.good.clone(), outcome }
}

/// Scenarios 51 and 79: a host or an agent that dies at any instant, before, in or after the switch, ends where one does
/// that lives.
///
/// Prepares with `before`, then does `act` once in peace and once for every effect after which it can be cut short.
#[track_caller]
fn same_end_wherever_it_crashes(
    flaws: &[(&str, Flaw)],
    before: &[Assignment],
    act: impl Fn(&mut Bench) -> Result<(), Crashed>,
) {
    let prepared = || {
        let mut bench = Bench::with_flaws(flaws);
        before.iter().for_each(|assignment| bench.give(assignment).unwrap());
        bench
    };
    let mut peaceful = prepared();
    act(&mut peaceful).unwrap();
    let expected = end(&peaceful);

    type Recovery = fn(&SimHost);
    for recover in [SimHost::reboot as Recovery, SimHost::restart_agent] {
        for effects in 0.. {
            let mut bench = prepared();
            bench.host.crash_after(effects);
            let crashed = act(&mut bench).is_err();
            bench.check_invariants();
            recover(&bench.host);
            bench.check_invariants();
            if crashed {
                bench.converge().unwrap(); // the agent goes on from what it remembers
                act(&mut bench).unwrap(); // and the controller, or the admin, says it once more
            }
            assert_eq!(end(&bench), expected, "after a crash at effect {effects}");
            if !crashed {
                break; // past the last effect: every point was covered
            }
        }
    }
}

fn give(assignment: Assignment) -> impl Fn(&mut Bench) -> Result<(), Crashed> {
    move |bench| bench.give(&assignment)
}

#[test]
fn forward() {
    same_end_wherever_it_crashes(&[], &[run(1, "1")], give(run(2, "2")));
    same_end_wherever_it_crashes(&[], &[run(1, "1"), run(2, "2")], give(run(3, "3")));
}

#[test]
fn first_deployment() {
    same_end_wherever_it_crashes(&[], &[], give(run(1, "1")));
    for flaw in every_flaw() {
        same_end_wherever_it_crashes(&[("1", flaw)], &[], give(run(1, "1")));
    }
}

#[test]
fn every_failure_of_a_new_release() {
    for flaw in every_flaw() {
        same_end_wherever_it_crashes(&[("2", flaw)], &[run(1, "1")], give(run(2, "2")));
    }
}

#[test]
fn old_release_that_refuses_to_be_stopped() {
    let flaws = [("1", Flaw::Hook(HookPoint::BeforeStop))];
    same_end_wherever_it_crashes(&flaws, &[run(1, "1")], give(run(2, "2")));
}

#[test]
fn rollback_and_unchanged() {
    same_end_wherever_it_crashes(&[], &[run(1, "1"), run(2, "2")], give(run(3, "1")));
    same_end_wherever_it_crashes(&[], &[run(1, "1")], give(run(2, "1")));
}

#[test]
fn values_only() {
    let with = |generation, port| assignment(generation, "1", &[("port", port)], Intent::Run);
    same_end_wherever_it_crashes(&[], &[with(1, "80")], give(with(2, "81")));
    same_end_wherever_it_crashes(&[("1", Flaw::Render)], &[], give(with(1, "80")));
}

#[test]
fn stage_then_run() {
    let stage = assignment(2, "2", &[], Intent::Stage);
    same_end_wherever_it_crashes(&[], &[run(1, "1")], give(stage.clone()));
    same_end_wherever_it_crashes(&[], &[run(1, "1"), stage.clone()], give(run(3, "2")));
    same_end_wherever_it_crashes(&[("2", Flaw::Probe)], &[run(1, "1"), stage], give(run(3, "2")));
}

#[test]
fn remove() {
    let remove = assignment(3, "1", &[], Intent::Remove);
    same_end_wherever_it_crashes(&[], &[run(1, "1"), run(2, "2")], give(remove));
}

#[test]
fn revert_asked_on_the_host() {
    let to_first = |bench: &mut Bench| {
        let first = run(1, "1").slot();
        bench.order(Some(first))
    };
    same_end_wherever_it_crashes(&[], &[run(1, "1"), run(2, "2")], to_first);
}

#[test]
fn a_failed_generation_is_not_tried_again() {
    for flaw in every_flaw() {
        let mut bench = Bench::with_flaws(&[("2", flaw)]);
        bench.give(&run(1, "1")).unwrap();
        bench.give(&run(2, "2")).unwrap();
        bench.host.take_performed();
        bench.host.reboot();
        bench.converge().unwrap();
        bench.give(&run(2, "2")).unwrap();
        assert_eq!(bench.host.take_performed(), Vec::<String>::new(), "{flaw:?}");
    }
}

/// Where the host cannot be looked at after a start of the agent, nobody knows what was done before it: that is not called
/// untouched, and nothing is said to be as it was.
#[test]
fn what_was_begun_before_a_start_is_not_called_untouched() {
    let away = || Failure::new(Code::X01, StepName::Check, Blame::Environment, "no D-Bus");
    for (intent, started_again, ends, disturbed) in [
        (Intent::Run, false, "failed LS-X01 at check", false),
        (Intent::Run, true, "inconsistent LS-X01 at check", true),
        (Intent::Remove, true, "inconsistent LS-X01 at check", true),
        // Nothing that is live is touched by it.
        (Intent::Stage, true, "failed LS-X01 at check", false),
    ] {
        let good = vec![run(1, "1").slot()];
        let mut record =
            Record { accepted: Some(assignment(2, "2", &[], intent)), good, ..Record::default() };
        let mut attempt = if started_again { Attempt::resumed(&record) } else { Attempt::default() };
        let mut ended = None;
        while ended.is_none() {
            blind(&mut record, &mut attempt, away());
            ended = ended_blind(&record);
        }
        let outcome = ended.unwrap();
        assert_eq!(brief(&outcome), ends, "{intent:?} {started_again}");
        assert_eq!(conclude(&record, &outcome).disturbed, disturbed, "{intent:?} {started_again}");
    }
}

fn every_flaw() -> Vec<Flaw> {
    let own_hooks = [HookPoint::BeforeSwitch, HookPoint::AfterSwitch, HookPoint::AfterHealthy];
    let steps = [Flaw::Check, Flaw::Fetch, Flaw::Render, Flaw::Start, Flaw::Probe];
    steps.into_iter().chain(own_hooks.map(Flaw::Hook)).collect()
}
