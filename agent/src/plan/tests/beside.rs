//! Apps that run beside themselves: the order of steps, the instant way back, and a crash after every effect, while
//! traffic goes to nothing but what is complete and healthy.

use longshore_common::{
    assignment::{Assignment, Intent},
    ids::RolloutId,
    report::Outcome,
    slot::Slot,
    time::Span,
    traffic::{Director, Side, Traffic},
};
use uuid::Uuid;

use super::bench::{Bench, Crashed, app, assignment, brief};
use crate::{
    host::sim::{Flaw, SimHost},
    plan::{HookPoint, Seen},
};

fn bench(flaws: &[(&str, Flaw)]) -> Bench {
    let bench = Bench::new();
    for version in ["1", "2", "3"] {
        let own = flaws.iter().filter(|(v, _)| *v == version).map(|(_, flaw)| *flaw);
        bench.host.release(version, SimHost::beside([HookPoint::AfterSwitch]), own);
    }
    bench
}

fn share(generation: u64, version: &str, share: u8) -> Assignment {
    let traffic = Traffic {
        director: Director::Haproxy,
        backend: "shop".parse().unwrap(),
        share,
        drain: Span::secs(5),
    };
    Assignment { traffic: Some(traffic), ..assignment(generation, version, &[], Intent::Run) }
}

fn run(generation: u64, version: &str) -> Assignment {
    share(generation, version, 100)
}

/// `wanted` says slots by their version.
#[track_caller]
fn check(transcript: &str, wanted: &str) {
    let short: Vec<String> = transcript
        .lines()
        .filter(|line| !["check", "fetch", "render", "seal"].iter().any(|step| line.starts_with(step)))
        .map(|line| {
            let words = line.split(' ').map(|word| match word.rsplit_once('-') {
                Some((version, digest)) if digest.len() == 8 => version,
                _ => word,
            });
            words.collect::<Vec<_>>().join(" ")
        })
        .collect();
    let wanted: Vec<&str> = wanted.lines().map(str::trim).collect();
    assert_eq!(short, wanted);
}

/// `blue 1, green 2*; 30% green; current 2`: a star for what does not run.
fn stands(bench: &Bench) -> String {
    let seen = bench.seen();
    let on = |side: Side| {
        let word = |running: &crate::plan::Running| {
            format!("{}{}", running.slot.version(), if running.up { "" } else { "*" })
        };
        seen.sides.on(side).map_or("-".to_owned(), word)
    };
    let green = seen.sides.share(Side::Green).map_or("?".to_owned(), |share| share.to_string());
    let current = seen.current.as_ref().map_or("-", Slot::version);
    format!("blue {}, green {}; {green}% green; current {current}", on(Side::Blue), on(Side::Green))
}

#[test]
fn the_new_release_is_tried_beside_the_old_one_before_traffic_moves() {
    let mut bench = bench(&[]);
    let first = bench.transcript(|bench| bench.give(&run(1, "1")));
    let steps = "start 1 on blue\ntry 1\nshift 100% of traffic to 1 on blue\npoint current at 1\n\
                 hook after_switch of 1\n=> healthy";
    check(&first, steps);
    let second = bench.transcript(|bench| bench.give(&run(2, "2")));
    let steps = "start 2 on green\ntry 2\nshift 100% of traffic to 2 on green\npoint current at 2\n\
                 hook after_switch of 2\n=> healthy";
    check(&second, steps);
    assert_eq!(stands(&bench), "blue 1, green 2; 100% green; current 2", "the old side is warm");
    bench.host.warm_is_over(&app());
    check(&bench.transcript(Bench::converge), "stop blue");
    let third = bench.transcript(|bench| bench.give(&run(3, "3")));
    assert!(third.contains("start 3-") && third.contains("on blue"), "{third}");
}

/// In a step of its own: it may have to wait for connections to end.
#[test]
fn what_is_still_warm_makes_room_for_the_next() {
    let mut bench = bench(&[]);
    bench.give(&run(1, "1")).unwrap();
    bench.give(&run(2, "2")).unwrap();
    let third = bench.transcript(|bench| bench.give(&run(3, "3")));
    assert!(third.contains("\nstop blue\nstart 3-") && third.ends_with("=> healthy"), "{third}");
}

/// Scenario 28: what fails before it has traffic never gets any, and is stopped.
#[test]
fn a_release_that_is_not_healthy_gets_no_traffic() {
    for flaw in [Flaw::Start, Flaw::Probe] {
        let mut bench = bench(&[("2", flaw)]);
        bench.give(&run(1, "1")).unwrap();
        let failed = bench.transcript(|bench| bench.give(&run(2, "2")));
        assert!(!failed.contains("shift") && failed.contains("stop green\n=> failed"), "{failed}");
        assert_eq!(stands(&bench), "blue 1, green -; 0% green; current 1");
        // Scenario 30: the next release is tried while 1 stays active.
        bench.give(&run(3, "3")).unwrap();
        assert_eq!(stands(&bench), "blue 1, green 3; 100% green; current 3");
    }
}

/// Scenario 29: the way back to a side that is still warm is a glance and a shift.
#[test]
fn the_way_back_to_a_warm_side_starts_nothing() {
    let mut bench = bench(&[]);
    bench.give(&run(1, "1")).unwrap();
    bench.give(&run(2, "2")).unwrap();
    let back = bench.transcript(|bench| bench.give(&run(3, "1")));
    let steps = "glance at 1\nshift 100% of traffic to 1 on blue\npoint current at 1\n\
                 hook after_switch of 1\n=> healthy";
    check(&back, steps);
    let again = bench.transcript(|bench| bench.order(None));
    let steps = "glance at 2\nshift 100% of traffic to 2 on green\npoint current at 2\n\
                 stop blue\n=> reverted to 2: LS-P01 at revert";
    check(&again, steps);
}

/// What a rollout itself takes back does not stay warm, and nobody on the host goes back to it.
#[test]
fn a_release_that_its_own_rollout_takes_back_is_no_way_back() {
    let mut bench = bench(&[]);
    let bad = |assignment: Assignment| Assignment { rollout: RolloutId(Uuid::from_u128(50)), ..assignment };
    bench.give(&run(1, "1")).unwrap();
    bench.give(&bad(share(2, "2", 10))).unwrap();
    bench.give(&bad(run(3, "2"))).unwrap();
    let back = bench.transcript(|bench| bench.give(&bad(run(4, "1"))));
    let steps = "glance at 1\nshift 100% of traffic to 1 on blue\npoint current at 1\n\
                 hook after_switch of 1\nstop green\nprune 2\n=> healthy";
    check(&back, steps);
    check(&bench.transcript(|bench| bench.order(None)), "");
    assert_eq!(stands(&bench), "blue 1, green -; 0% green; current 1");
    // It may be tried again, and is judged anew.
    bench.give(&bad(run(5, "2"))).unwrap();
    assert_eq!(stands(&bench), "blue 1, green 2; 100% green; current 2");
    bench.order(None).unwrap();
    assert_eq!(stands(&bench), "blue 1, green -; 0% green; current 1");
}

/// Traffic in steps: a share at a time, each of them an assignment.
#[test]
fn traffic_goes_over_in_shares() {
    let mut bench = bench(&[]);
    bench.give(&run(1, "1")).unwrap();
    bench.give(&share(2, "2", 10)).unwrap();
    assert_eq!(stands(&bench), "blue 1, green 2; 10% green; current 2");
    let more = bench.transcript(|bench| bench.give(&share(3, "2", 50)));
    check(&more, "glance at 2\nshift 50% of traffic to 2 on green\n=> healthy");
    bench.host.warm_is_over(&app());
    check(&bench.transcript(Bench::converge), "");
    bench.give(&share(4, "2", 100)).unwrap();
    assert_eq!(stands(&bench), "blue 1, green 2; 100% green; current 2");
    check(&bench.transcript(|bench| bench.give(&share(5, "2", 100))), "glance at 2\n=> unchanged");
}

/// Scenarios 34 and 35: the canary keeps its traffic until what comes instead is healthy again.
#[test]
fn the_canary_keeps_its_traffic_until_the_old_side_is_ready() {
    let mut bench = bench(&[]);
    bench.give(&run(1, "1")).unwrap();
    bench.give(&share(2, "2", 75)).unwrap();
    bench.host.kill_side(&app(), Side::Blue);
    let back = bench.transcript(|bench| bench.give(&run(3, "1")));
    assert!(back.starts_with("shift 100% of traffic to 2-") || back.starts_with("start 1-"), "{back}");
    let shift = back.find("to 1-").unwrap();
    assert!(back.find("try 1-").unwrap() < shift, "{back}");
    assert_eq!(stands(&bench), "blue 1, green 2; 0% green; current 1");
}

/// A director that is away: nothing is half done, and traffic is set right when it is back.
#[test]
fn nothing_is_begun_while_traffic_cannot_be_directed() {
    let mut bench = bench(&[]);
    bench.give(&run(1, "1")).unwrap();
    bench.host.director_away(true);
    let failed = bench.transcript(|bench| bench.give(&run(2, "2")));
    let twice =
        "shift 100% of traffic to 1 on blue\nshift 100% of traffic to 1 on blue\n=> failed LS-L01 at traffic";
    check(&failed, twice);
    bench.host.director_away(false);
    bench.host.forget_traffic(&app());
    check(&bench.transcript(Bench::converge), "shift 100% of traffic to 1 on blue");
    assert!(matches!(bench.reports.last(), Some((2, Outcome::Failed { .. }))));
}

#[test]
fn a_failure_after_traffic_has_moved_goes_back() {
    let mut bench = bench(&[("2", Flaw::Hook(HookPoint::AfterSwitch))]);
    bench.give(&run(1, "1")).unwrap();
    let failed = bench.transcript(|bench| bench.give(&run(2, "2")));
    let end = "glance at 1\nshift 100% of traffic to 1 on blue\npoint current at 1\nstop green\n\
               => reverted to 1: LS-H01 at hook";
    check(failed.split_once("hook after_switch of 2-").unwrap().1.split_once('\n').unwrap().1, end);
}

/// What must be the same whether or not there was a crash.
#[derive(Debug, PartialEq)]
struct End {
    seen: Seen,
    good: Vec<Slot>,
    outcome: Option<String>,
}

fn end(bench: &Bench) -> End {
    let outcome = bench.record.concluded.as_ref().map(|concluded| brief(&concluded.outcome));
    // Another share of what is live: after a crash nothing may have been left to do.
    let outcome = outcome.map(|word| word.replace("unchanged", "healthy"));
    let mut seen = bench.seen();
    if seen.sides.is_empty() {
        seen.sides = Default::default(); // where nothing runs, it does not matter what is said of traffic
    }
    End { seen, good: bench.record.good.clone(), outcome }
}

#[track_caller]
fn same_end_wherever_it_crashes(flaws: &[(&str, Flaw)], before: &[Assignment], act: &Assignment) {
    let prepared = || {
        let mut bench = bench(flaws);
        before.iter().for_each(|assignment| bench.give(assignment).unwrap());
        bench
    };
    let mut peaceful = prepared();
    peaceful.give(act).unwrap();
    let expected = end(&peaceful);
    type Recovery = fn(&SimHost);
    let forgetful: Recovery = |host| {
        host.reboot();
        host.forget_traffic(&app());
    };
    for recover in [SimHost::reboot as Recovery, SimHost::restart_agent, forgetful] {
        for effects in 0.. {
            let mut bench = prepared();
            bench.host.crash_after(effects);
            let crashed: Result<(), Crashed> = bench.give(act);
            traffic_is_whole(&bench);
            recover(&bench.host);
            bench.converge().unwrap(); // the agent goes on from what it remembers
            if crashed.is_err() {
                bench.give(act).unwrap();
            }
            traffic_is_whole(&bench);
            assert_eq!(end(&bench), expected, "after a crash at effect {effects}");
            if crashed.is_ok() {
                break;
            }
        }
    }
}

/// Whatever has traffic runs, is complete, and has no flaw that a probe would have found.
fn traffic_is_whole(bench: &Bench) {
    let seen = bench.seen();
    if seen.sides.is_empty() {
        return; // nothing was ever good, or everything is removed: there is nothing that could have it
    }
    for side in Side::BOTH.into_iter().filter(|side| seen.sides.share(*side) != Some(0)) {
        let running = seen.sides.on(side).unwrap_or_else(|| panic!("{side} has traffic and runs nothing"));
        assert!(running.up && seen.is_sealed(&running.slot), "{side} has traffic: {running:?}");
    }
}

#[test]
fn traffic_is_whole_whatever_dies() {
    same_end_wherever_it_crashes(&[], &[], &run(1, "1"));
    same_end_wherever_it_crashes(&[], &[run(1, "1")], &run(2, "2"));
    same_end_wherever_it_crashes(&[], &[run(1, "1"), run(2, "2")], &run(3, "3"));
    same_end_wherever_it_crashes(&[], &[run(1, "1"), run(2, "2")], &run(3, "1"));
    same_end_wherever_it_crashes(&[], &[run(1, "1")], &share(2, "2", 25));
    same_end_wherever_it_crashes(&[], &[run(1, "1"), share(2, "2", 25)], &share(3, "2", 100));
    same_end_wherever_it_crashes(&[], &[run(1, "1"), share(2, "2", 75)], &run(3, "1"));
    let remove = assignment(3, "1", &[], Intent::Remove);
    same_end_wherever_it_crashes(&[], &[run(1, "1"), run(2, "2")], &remove);
    for flaw in [Flaw::Start, Flaw::Probe, Flaw::Traffic, Flaw::Hook(HookPoint::AfterSwitch)] {
        same_end_wherever_it_crashes(&[("2", flaw)], &[run(1, "1")], &run(2, "2"));
        same_end_wherever_it_crashes(&[("1", flaw)], &[], &run(1, "1"));
    }
}

/// An app that ran alone is taken over into sides, and what ran alone is stopped when traffic has moved.
#[test]
fn an_app_may_get_sides() {
    let mut bench = bench(&[]);
    bench.host.release("1", SimHost::service([]), []);
    bench.give(&run(1, "1")).unwrap();
    let over = bench.transcript(|bench| bench.give(&run(2, "2")));
    assert!(over.contains("start 2-") && over.contains("\nstop"), "{over}");
    assert_eq!(bench.seen().running, None);
}

/// Scenario 77: what takes a release out of service is that release's own hook: forward of the last good one, back of the
/// one that came after it.
#[test]
fn the_hook_before_a_stop_is_of_what_stops() {
    let mut bench = Bench::new();
    for version in ["1", "2"] {
        bench.host.release(version, SimHost::beside([HookPoint::BeforeStop]), []);
    }
    let after_warm = |bench: &mut Bench| {
        bench.host.warm_is_over(&app());
        bench.transcript(Bench::converge)
    };
    bench.give(&run(1, "1")).unwrap();
    bench.give(&run(2, "2")).unwrap();
    check(&after_warm(&mut bench), "hook before_stop of 1\nstop blue");
    bench.give(&run(3, "1")).unwrap();
    check(&after_warm(&mut bench), "hook before_stop of 2\nstop green");
}
