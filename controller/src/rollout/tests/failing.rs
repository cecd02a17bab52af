//! Failures: of the version, of the surroundings, within the budget and beyond it.

use super::transcript::{Play, check};
use crate::rollout::{Facts, Phase, explain, first_failure};

/// Scenario 1: without automatic rollback one bad host stops the rollout and nobody else is touched; a host that says
/// nothing is waited for until the deadline.
#[test]
fn a_bad_release_touches_one_host_only() {
    let held = check(
        "a b c | max_unavailable=1 auto_rollback=false",
        "start        -> staging 0; stage a b c
         a b c staged -> switching 0; run a
         a reverted   -> paused for version failures
         +1h          -> paused for version failures",
    );
    assert_eq!(held.desired(), "a run 2, b stage 2, c stage 2");

    let late = check(
        "a b c | max_unavailable=1 auto_rollback=false progress_deadline=10m",
        "start        -> staging 0; stage a b c
         a b c staged -> switching 0; run a
         +599s        -> switching 0
         +1s          -> failed",
    );
    assert_eq!(late.desired(), "a run 2, b stage 2, c stage 2");
    assert_eq!(late.reason(), "not healthy before the progress deadline; rolling back by itself is off");
}

/// Scenario 2 and 25: with automatic rollback every host runs the old release again.
#[test]
fn a_spent_budget_puts_every_touched_host_back() {
    let play = check(
        "a b c | max_unavailable=1",
        "start        -> staging 0; stage a b c
         a b c staged -> switching 0; run a
         a healthy    -> switching 0; run b
         b reverted   -> rolling-back; return a
         a healthy    -> rolled-back",
    );
    assert_eq!(play.states(), "a rolled-back, b reverted, c staged");
    assert_eq!(
        play.reason(),
        "1 host failed, 0 allowed overall; 1 host rolled back; 1 host had gone back without being asked: b (to 1)"
    );
}

/// Scenario 25 and 106: a failing canary has gone back by itself: nobody else is stopped, and no wave is repeated.
#[test]
fn a_failing_canary_costs_the_others_nothing() {
    let play = check(
        "a b c | canary=1",
        "start      -> staging 0; stage a
         a staged   -> switching 0; run a
         a reverted -> rolled-back",
    );
    assert_eq!(play.states(), "a reverted, b waiting, c waiting");
    assert_eq!(play.desired(), "a run 2");
}

/// Scenario 50: a hook that fails before anything is switched leaves nothing to undo.
#[test]
fn a_failure_while_staging_has_nothing_to_undo() {
    let play = check(
        "a b | canary=1",
        "start    -> staging 0; stage a
         a failed -> failed",
    );
    assert_eq!(play.reason(), "1 host failed, 0 allowed overall; nothing had been switched");
}

/// Scenario 104: a canary that can never start fails at the deadline and is undone.
#[test]
fn a_canary_that_never_starts_fails_at_the_deadline() {
    check(
        "a b | canary=1 progress_deadline=10m budget.count=5",
        "start     -> staging 0; stage a
         a staged  -> switching 0; run a
         +10m      -> rolling-back; return a
         a healthy -> rolled-back",
    );
}

/// Failures within the budget are passed over, and named in the end.
#[test]
fn failures_within_the_budget_are_passed_over() {
    let play = check(
        "a b c d | wave=2 budget.count=1 unknown=skip",
        "start      -> staging 0; stage a b
         a b staged -> switching 0; run a b
         a reverted -> switching 0
         b healthy  -> staging 1; stage c d
         c d staged -> switching 1; run c d
         c silent   -> switching 1
         d healthy  -> succeeded",
    );
    assert_eq!(play.reason(), "2 of 4 hosts run 2; 1 reverted: a; 1 unknown: c");
}

/// A wave has a budget of its own, the lower of a count and a percentage.
#[test]
fn a_wave_has_a_budget_of_its_own() {
    check(
        "a b c d | wave=4 budget.count=3 wave_budget.count=2 wave_budget.percent=25",
        "start          -> staging 0; stage a b c d
         a b c d staged -> switching 0; run a b c d
         a reverted     -> switching 0
         b healthy      -> switching 0
         c reverted     -> rolling-back; return b d
         b d healthy    -> rolled-back",
    );
}

/// Whatever the budget: a canary of which nobody is healthy is no reason to go on.
#[test]
fn no_budget_covers_a_wave_without_a_healthy_host() {
    check(
        "a b c | canary=1 budget.count=5",
        "start      -> staging 0; stage a
         a staged   -> switching 0; run a
         a reverted -> rolled-back",
    );
    check(
        "a b c | canary=1 budget.count=5",
        "start  -> staging 0; stage a
         a full -> paused for environment failures",
    );
}

/// Neither of a later wave: that all of it fails for one reason is no matter of single hosts, however the first went.
#[test]
fn no_budget_covers_a_later_wave_without_a_healthy_host() {
    let mut play = check(
        "a b c d e f | wave=2 budget.count=5",
        "start    -> staging 0; stage a b
         a b good -> switching 0; run a b
         a b good -> staging 1; stage c d
         c full   -> staging 1
         d full   -> paused for environment failures",
    );
    let explained = play.explained();
    assert!(explained.contains("2 hosts failed in the wave and none of it is healthy"), "{explained}");
    assert_eq!(play.act("resume"), "staging 2; stage e f", "resuming accepts it");
}

/// A wave of one host is no more than that host: its disk is what the budget is for, as long as another one is good.
#[test]
fn the_budget_covers_a_wave_of_one_host_that_fails_by_itself() {
    check(
        "a b c | wave=1 budget.count=1",
        "start  -> staging 0; stage a
         a good -> switching 0; run a
         a good -> staging 1; stage b
         b full -> staging 2; stage c
         c good -> switching 2; run c
         c good -> succeeded",
    );
    check(
        "a b c | wave=1 budget.count=1",
        "start      -> staging 0; stage a
         a good     -> switching 0; run a
         a good     -> staging 1; stage b
         b good     -> switching 1; run b
         b reverted -> rolling-back; return a",
    );
}

/// A full disk is no verdict on the release: beyond the budget a human is asked, and nobody is rolled back.
#[test]
fn environment_failures_pause_and_never_roll_back() {
    let mut play = check(
        "a b c d | wave=2",
        "start      -> staging 0; stage a b
         a b staged -> switching 0; run a b
         a healthy  -> switching 0
         b full     -> paused for environment failures",
    );
    assert_eq!(
        play.explained(),
        "environment-failures: paused while switching in the first of 2 waves: 1 host failed, 0 allowed overall, not by the release: b [longshore rollout resume ID]"
    );
    let then = explain(&play.rollout, &Facts::default()).remove(0).then;
    assert!(
        then.contains("longshore rollout retry ") && then.contains(", and then resume it; or undo"),
        "{then}"
    );
    assert_eq!(play.act("resume"), "staging 1; stage c d", "resuming accepts that b failed");
    play.act("c d staged");
    assert_eq!(play.act("c unfit"), "paused for environment failures");
}

/// What fails while it is paused is counted and named alike; and so is what is to be tried again.
#[test]
fn a_pause_counts_whom_it_names() {
    let mut play = check(
        "a b c d | wave=2 canary=0 on_spent=pause",
        "start      -> staging 0; stage a b
         a b staged -> switching 0; run a b
         a reverted -> paused for version failures",
    );
    let says = |said: &str| {
        format!(
            "version-failures: paused while switching in the first of 2 waves: {said} [longshore rollout rollback ID]"
        )
    };
    assert_eq!(play.explained(), says("1 host failed, 0 allowed overall: a"));
    play.act("b reverted");
    assert_eq!(play.explained(), says("2 hosts failed, 0 allowed overall: a, b"));
    play.act("retry a b");
    assert_eq!(
        play.explained(),
        says("1 host failed, 0 allowed overall; what failed is tried again on resume")
    );
}

/// Both kinds together spend the budget, but only those of the version would roll back.
#[test]
fn failures_of_both_kinds_pause() {
    check(
        "a b c d | budget.count=1",
        "start          -> staging 0; stage a b c d
         a b c d staged -> switching 0; run a b c d
         a reverted     -> switching 0
         b full         -> paused for environment failures",
    );
}

/// Scenario 10 and 11: a pause for a spent budget goes on with the next wave when an operator says so.
#[test]
fn resuming_after_a_spent_budget_goes_on() {
    check(
        "a b c | wave=2 on_spent=pause",
        "start      -> staging 0; stage a b
         a b staged -> switching 0; run a b
         a healthy  -> switching 0
         b reverted -> paused for version failures
         start      -> refused: it has started already
         pause      -> refused: it is paused already
         promote    -> refused: it is paused: resume it first
         resume     -> staging 1; stage c
         c staged   -> switching 1; run c
         c reverted -> paused for version failures
         resume     -> succeeded",
    );
}

/// Scenario 23: an unhealthy canary is not promoted, and the reason is given.
#[test]
fn an_unhealthy_canary_is_not_promoted() {
    check(
        "a b c | canary=2 promotion=canary budget.count=1",
        "start      -> staging 0; stage a b
         a b staged -> switching 0; run a b
         a reverted -> switching 0
         promote    -> refused: the first of 2 waves is not healthy: a is reverted, b is switching",
    );
}

/// What fails while it is watched counts as if it had failed before.
#[test]
fn a_failure_in_the_bake_is_a_failure() {
    check(
        "a b c | canary=2 canary_bake=1h",
        "start       -> staging 0; stage a b
         a b staged  -> switching 0; run a b
         a b healthy -> baking 0
         +10m        -> baking 0
         b reverted  -> rolling-back; return a
         a healthy   -> rolled-back",
    );
}

/// The failure that is shown first is the version's, then the earliest.
#[test]
fn the_first_failure_is_a_verdict_if_there_is_one() {
    let mut play = Play::new("a b c | budget.count=5");
    for line in ["start", "a b c staged", "a full", "+1s", "b reverted", "+1s", "c reverted"] {
        play.act(line);
    }
    let (_, host, last) = first_failure(&play.rollout).expect("three failed");
    assert_eq!((host.name.as_str(), last.failure.code.as_str()), ("b", "LS-B01"));
}

/// A failure's evidence fits into a record, the last lines first.
#[test]
fn a_long_failure_is_kept_short() {
    use longshore_common::report::{Blame, Failure, Outcome, StepName};
    let mut play = Play::new("a");
    play.act("start");
    let (host, generation) = play
        .rollout
        .hosts
        .keys()
        .map(|id| (*id, play.rollout.generation(*id).expect("it was asked to stage")))
        .next()
        .expect("there is one host");
    let lines = (0..20).map(|number| format!("{number} {}", "\u{1b}".repeat(1000)));
    let failure =
        Failure::new(longshore_common::code::Code::H01, StepName::Hook, Blame::Version, "ü".repeat(4000))
            .with_evidence(lines);
    let event = crate::rollout::Event::Report { host, generation, outcome: Outcome::Failed { failure } };
    let next = crate::rollout::step(&play.rollout, event, 0).expect("a report is never refused").next;
    let kept = &next.hosts[&host].failure.as_ref().expect("it failed").failure;
    assert_eq!(kept.evidence.len(), 4);
    assert!(kept.evidence.last().is_some_and(|line| line.starts_with("19 ")));
    assert!(kept.message.len() <= 1024);
    assert!(matches!(next.header.phase, Phase::Done(_)));
}
