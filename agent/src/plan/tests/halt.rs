//! A drained host: its apps stop, stay stopped, and come back. Scenario 101.

use longshore_common::{
    assignment::Intent,
    code::Code,
    report::{Blame, Failure, Outcome, StepName},
    traffic::Side,
};

use super::bench::{Bench, app, assignment, run};
use crate::{
    host::sim::{Flaw, SimHost},
    plan::{Attempt, Halt, HookPoint, Next, Record, Step, accept_order, after, next},
};

fn bench(flaws: &[Flaw]) -> Bench {
    let bench = Bench::new();
    bench.host.release("1", SimHost::service([HookPoint::BeforeStop]), flaws.iter().copied());
    bench.host.release("2", SimHost::service([]), []);
    bench
}

/// As the worker reads it.
fn tell(bench: &mut Bench, halt: Halt) -> String {
    bench.record = Record { halt: Some(halt), ..bench.record.clone() };
    bench.transcript(Bench::converge)
}

fn slot(bench: &Bench, version: &str) -> String {
    let slots = bench.seen().slots;
    slots.keys().find(|slot| slot.version() == version).unwrap().to_string()
}

#[test]
fn what_runs_stops_stays_stopped_and_comes_back() {
    let mut bench = bench(&[]);
    bench.give(&run(1, "1")).unwrap();
    let one = slot(&bench, "1");
    assert_eq!(tell(&mut bench, Halt::Soon), format!("hook before_stop of {one}\nstop"));
    assert!(bench.seen().running.is_none());
    bench.host.reboot();
    assert_eq!(bench.transcript(Bench::converge), "", "over a boot of the machine too");
    assert_eq!(tell(&mut bench, Halt::Lifted), format!("start {one}\nprobe {one}"));
    assert!(bench.seen().is_live(&one.parse().unwrap()));
    assert_eq!(bench.record.halt, None);
    assert_eq!(bench.transcript(Bench::converge), "");
}

/// What a drained host had taken is asked again when it may go on: it may have waited for longer than documents hold.
#[test]
fn what_waited_out_a_drain_is_admitted_anew() {
    let mut bench = bench(&[]);
    bench.give(&run(1, "1")).unwrap();
    bench.give(&assignment(2, "2", &[], Intent::Stage)).unwrap();
    bench.record = Record { accepted: Some(run(3, "2")), concluded: None, ..bench.record.clone() };
    tell(&mut bench, Halt::Now);
    bench.host.release("2", SimHost::service([]), [Flaw::Expired]);
    let lifted = tell(&mut bench, Halt::Lifted);
    assert!(lifted.contains("admit 2-") && lifted.contains("LS-T04"), "{lifted}");
    assert!(bench.seen().is_live(&slot(&bench, "1").parse().unwrap()), "what was stopped is back");
}

/// What is under way ends first, unless it is to stop now; then it goes on where it was when the drain is lifted.
#[test]
fn what_is_under_way_ends_first_or_stops_where_it_is() {
    let mut bench = bench(&[]);
    bench.give(&run(1, "1")).unwrap();
    let one = slot(&bench, "1");
    let given = |bench: &mut Bench, halt| {
        // Taken, and not yet begun.
        let accepted = Record { accepted: Some(run(2, "2")), concluded: None, ..bench.record.clone() };
        bench.record = accepted;
        tell(bench, halt)
    };
    let now = given(&mut bench, Halt::Now);
    assert_eq!(now, format!("hook before_stop of {one}\nstop"));
    assert!(bench.record.is_busy(), "nothing was concluded");
    let lifted = tell(&mut bench, Halt::Lifted);
    assert!(lifted.ends_with("=> healthy") && lifted.contains("start 2-"), "{lifted}");

    let mut bench = self::bench(&[]);
    bench.give(&run(1, "1")).unwrap();
    let soon = given(&mut bench, Halt::Soon);
    assert!(soon.contains("start 2-") && soon.ends_with("stop\n=> healthy"), "{soon}");
    assert!(matches!(bench.reports.last().unwrap().1, Outcome::Healthy));
}

/// What could not be stopped is tried again at the next look, also where something was under way.
#[test]
fn what_failed_to_stop_in_the_midst_of_a_change_is_tried_again() {
    let mut bench = bench(&[]);
    bench.give(&run(1, "1")).unwrap();
    let record = Record { accepted: Some(run(2, "2")), concluded: None, ..bench.record.clone() };
    let mut record = Record { halt: Some(Halt::Now), ..record };
    let mut attempt = Attempt::resumed(&record);
    let seen = bench.seen();
    let Next::Do(mut step) = next(&record, &attempt, &seen) else { panic!("it is to stop") };
    while step != Step::Stop {
        let _ = after(&mut record, &mut attempt, &step, Ok(()));
        let Next::Do(following) = next(&record, &attempt, &seen) else { panic!("it is to stop") };
        step = following;
    }
    let late = Failure::new(Code::X01, StepName::Switch, Blame::Environment, "the bus did not answer");
    assert!(!after(&mut record, &mut attempt, &step, Err(late)), "nothing is concluded");
    assert_eq!(next(&record, &attempt, &seen), Next::Idle, "not at once");
    let attempt = attempt.again(&record);
    assert!(matches!(next(&record, &attempt, &seen), Next::Do(_)), "but at the next look");
}

/// A hook that fails keeps no app from stopping.
#[test]
fn a_hook_that_fails_stops_nobody_from_stopping() {
    let mut bench = bench(&[Flaw::Hook(HookPoint::BeforeStop)]);
    bench.give(&run(1, "1")).unwrap();
    let one = slot(&bench, "1");
    assert_eq!(tell(&mut bench, Halt::Now), format!("hook before_stop of {one}\nstop"));
    assert!(bench.record.failed.is_none());
}

#[test]
fn both_sides_stop_and_the_live_one_comes_back_with_its_traffic() {
    let mut bench = Bench::new();
    for version in ["1", "2"] {
        bench.host.release(version, SimHost::beside([]), []);
    }
    bench.give(&run(1, "1")).unwrap();
    bench.give(&run(2, "2")).unwrap();
    assert_eq!(tell(&mut bench, Halt::Now), "stop blue\nstop green");
    let lifted = tell(&mut bench, Halt::Lifted);
    assert!(lifted.starts_with("start 2-"), "{lifted}");
    let seen = bench.seen();
    let home = seen.sides.home_of(seen.current.as_ref().unwrap()).unwrap();
    assert_eq!(seen.sides.share(home), Some(100));
    assert!(seen.sides.on(home.other()).is_none_or(|other| !other.up));
    assert!(Side::BOTH.contains(&home));
    assert_eq!(bench.record.halt, None);
}

#[test]
fn a_crash_after_every_effect_leaves_it_stopped_or_running_as_was_asked() {
    for (halt, up) in [(Halt::Now, false), (Halt::Lifted, true)] {
        for effects in 0.. {
            let mut bench = bench(&[]);
            bench.give(&run(1, "1")).unwrap();
            if up {
                tell(&mut bench, Halt::Now);
            }
            bench.record = Record { halt: Some(halt), ..bench.record.clone() };
            bench.host.crash_after(effects);
            let crashed = bench.converge().is_err();
            bench.host.reboot();
            bench.converge().unwrap();
            assert_eq!(bench.host.look(&app()).running.is_some_and(|running| running.up), up);
            if !crashed {
                break;
            }
        }
    }
}

/// It would wait for the end of the drain, and whoever asked for it with it.
#[test]
fn a_way_back_by_hand_is_refused_while_apps_stay_stopped() {
    let mut bench = bench(&[]);
    bench.give(&run(1, "1")).unwrap();
    bench.give(&run(2, "2")).unwrap();
    tell(&mut bench, Halt::Now);
    let refusal = accept_order(&bench.record, &bench.seen(), None, "ann").unwrap_err();
    assert!(refusal.code == Code::P01 && refusal.message.contains("host undrain"), "{refusal}");
    tell(&mut bench, Halt::Lifted);
    accept_order(&bench.record, &bench.seen(), None, "ann").unwrap();
}
