//! Pause and resume, retry, exclude, remove.

use longshore_common::time::Span;

use super::transcript::{Play, check};
use crate::rollout::{Facts, HostState, Phase, explain, last_look, next_deadline};

/// Scenario 18 and 19: no deadline passes while paused, and it starts anew on resume.
#[test]
fn a_pause_stops_every_clock() {
    let mut play = check(
        "a b | max_unavailable=1 progress_deadline=10m bake=1m",
        "pause      -> refused: it has not started
         start      -> staging 0; stage a b
         a b staged -> switching 0; run a
         +9m        -> switching 0
         pause      -> paused by an operator
         +7d        -> paused by an operator",
    );
    assert_eq!(play.deadline(), "none");
    assert_eq!(
        play.explained(),
        "paused: paused by ann while switching in the only wave [longshore rollout resume ID]"
    );
    assert_eq!(play.act("a healthy"), "paused by an operator");
    assert_eq!(play.act("resume"), "switching 0; run b");
    assert_eq!(play.deadline(), "7d19m");
    assert_eq!(play.act("b healthy"), "baking 0");
    play.act("+20s");
    play.act("pause");
    play.act("+1h");
    play.act("resume");
    assert_eq!(play.act("+39s"), "baking 0", "a bake goes on with what was left of it");
    assert_eq!(play.act("+1s"), "succeeded");
    let under_way = play.rollout.header.under_way().map(|ms| Span::millis(ms.unsigned_abs()));
    assert_eq!(under_way, Some(Span::secs(600)), "nine minutes and the bake; plans learn from that");
}

/// A pause is no time in which a bake is watched, whichever comes first, the pause or another length.
#[test]
fn another_length_of_a_bake_counts_no_pause() {
    let mut play = check(
        "a b | bake=1m",
        "start         -> staging 0; stage a b
         a b staged    -> switching 0; run a b
         a b healthy   -> baking 0
         +20s          -> baking 0
         pause         -> paused by an operator
         +1h           -> paused by an operator
         resume        -> baking 0
         pace bake=5m  -> baking 0",
    );
    assert_eq!(play.deadline(), "1h5m", "twenty seconds of the five minutes have passed");
    play.act("pause");
    play.act("+1h");
    play.act("pace bake=30s");
    play.act("resume");
    assert_eq!(play.act("+9s"), "baking 0");
    assert_eq!(play.act("+1s"), "succeeded");
}

/// However short it is made, its hosts are looked at once more before it ends.
#[test]
fn a_bake_that_is_made_shorter_than_what_has_passed_ends_with_a_last_look() {
    for pace in [["+0s", "pace bake=1s", "+0s"], ["pause", "pace bake=1s", "resume"]] {
        let mut play = check(
            "a b | bake=1m",
            "start         -> staging 0; stage a b
             a b staged    -> switching 0; run a b
             a b healthy   -> baking 0
             +20s          -> baking 0",
        );
        for line in pace {
            play.act(line);
        }
        assert_eq!(play.rollout.phase().as_str(), "baking", "{pace:?}");
        let end = next_deadline(&play.rollout).expect("a bake ends");
        assert_eq!(end, play.now + 1, "{pace:?}");
        assert_eq!(last_look(&play.rollout, None, end).map(|look| look.since), Some(end), "{pace:?}");
    }
}

/// What was reported while an operator had paused is judged on resume.
#[test]
fn failures_while_paused_are_judged_on_resume() {
    check(
        "a b",
        "start      -> staging 0; stage a b
         a b staged -> switching 0; run a b
         a healthy  -> switching 0
         pause      -> paused by an operator
         b reverted -> paused by an operator
         resume     -> rolling-back; return a
         a healthy  -> rolled-back",
    );
}

/// A failed host tries again, with a new generation, and its failure no longer counts.
#[test]
fn a_retry_begins_anew() {
    let mut play = check(
        "a b c | budget.count=1 bake=1m",
        "retry       -> refused: it has not started
         start       -> staging 0; stage a b c
         retry       -> refused: no host has failed
         a b c staged -> switching 0; run a b c
         a b healthy -> switching 0
         c reverted  -> baking 0
         +30s        -> baking 0
         retry a     -> refused: a has not failed: it is healthy
         retry c     -> switching 0; stage c
         c staged    -> switching 0; run c
         c healthy   -> baking 0
         +1m         -> succeeded",
    );
    assert_eq!(play.act("retry"), "refused: it is over: start a new rollout");
}

/// Retrying what made a rollout pause is the other way on.
#[test]
fn a_retry_while_paused_is_tried_on_resume() {
    check(
        "a b",
        "start      -> staging 0; stage a b
         a staged   -> staging 0
         b full     -> paused for environment failures
         retry b    -> paused for environment failures
         resume     -> staging 0; stage b
         b staged   -> switching 0; run a b
         a b healthy -> succeeded",
    );
}

/// What is said of the pause is true of what comes next.
#[test]
fn a_pause_whose_failed_hosts_are_tried_again_accuses_nobody() {
    let mut play = check(
        "a b",
        "start      -> staging 0; stage a b
         a staged   -> staging 0
         b full     -> paused for environment failures
         retry b    -> paused for environment failures",
    );
    let said = play.explained();
    assert!(said.contains("not by the release; what failed is tried again on resume"), "{said}");
    assert_eq!(play.act("resume"), "staging 0; stage b");
}

/// Scenario 111: an excluded host is touched no more, neither forward nor back.
#[test]
fn an_excluded_host_is_touched_no_more() {
    let mut play = check(
        "a b c | max_unavailable=1",
        "start        -> staging 0; stage a b c
         a b c staged -> switching 0; run a
         exclude      -> refused: name the hosts
         exclude b    -> switching 0
         a healthy    -> switching 0; run c
         exclude c    -> succeeded",
    );
    assert_eq!(play.states(), "a healthy, b excluded, c excluded");
    let nobody = |play: &Play| matches!(play.rollout.phase(), Phase::Done(done) if done.nobody);
    assert!(!nobody(&play), "a runs it");
    let mut empty = check("a b |", "start -> staging 0; stage a b");
    let ends = ["exclude a", "exclude b"].map(|act| empty.act(act));
    assert!(nobody(&empty), "{ends:?}");
    assert!(empty.reason().starts_with("no host takes part"), "{}", empty.reason());
    assert_eq!(play.act("exclude a"), "refused: it is over");
    let back = check(
        "a b | bake=1h",
        "start       -> staging 0; stage a b
         a b staged  -> switching 0; run a b
         a b healthy -> baking 0
         exclude b   -> baking 0
         b failed    -> baking 0
         rollback    -> rolling-back; return a
         a healthy   -> rolled-back",
    );
    assert_eq!(back.states(), "a rolled-back, b excluded");
    let why = |play: &Play, name: &str| {
        let host = play.rollout.hosts.values().find(|host| host.name.as_str() == name).expect("it is of it");
        let HostState::Excluded { reason } = &host.state else { panic!("{name} is {}", host.as_str()) };
        reason.clone()
    };
    assert_eq!(why(&back, "b"), "excluded by an operator; it ran 2 then", "whoever counts hosts asks");
    assert_eq!(why(&play, "c"), "excluded by an operator", "it never came to run it");
    assert_eq!(
        back.reason(),
        "rolled back by ann; 1 host rolled back; excluded, and left as they are: b",
        "it runs what it was given"
    );
    let alone = check(
        "a b | max_unavailable=1",
        "start      -> staging 0; stage a b
         a b staged -> switching 0; run a
         exclude a  -> switching 0
         abort      -> aborted",
    );
    assert_eq!(
        alone.reason(),
        "aborted by ann; excluded, and left as they are: a",
        "something had been switched"
    );
}

/// Scenario 111: whoever is excluded in the middle of a switch finishes it by itself, either way. Until it has said so it
/// is down, and nobody takes its slot.
#[test]
fn an_excluded_host_finishes_what_it_began() {
    let mut play = check(
        "a b c | max_unavailable=1",
        "start        -> staging 0; stage a b c
         a b c staged -> switching 0; run a
         exclude a    -> switching 0",
    );
    assert_eq!(play.desired(), "a run 2, b stage 2, c stage 2", "what it was asked stands");
    assert_eq!(
        play.explained(),
        "no-slot until 10m: 2 hosts wait for a slot: b, c; at most 1 may be down at once, and down are: a (excluded, \
         finishing) [longshore rollout show ID]"
    );
    play.reload();
    assert_eq!(play.act("a reverted"), "switching 0; run b", "it does not count, and its slot is free");
    assert_eq!(play.act("b healthy"), "switching 0; run c");
    assert_eq!(play.act("c healthy"), "succeeded");
    assert_eq!(play.reason(), "2 hosts run 2; 1 excluded: a");
}

/// One that never says how it ended does not hold the others up for ever: silent, it is not waited for, and at the
/// deadline somebody is asked.
#[test]
fn an_excluded_host_that_never_finishes_is_passed_over() {
    let begin = "start      -> staging 0; stage a b
         a b staged -> switching 0; run a
         exclude a  -> switching 0
         ";
    let fleet = "a b | max_unavailable=1 progress_deadline=10m";
    check(fleet, &format!("{begin}a silent -> switching 0; run b"));
    check(fleet, &format!("{begin}a left -> switching 0; run b"));
    check(
        fleet,
        &format!(
            "{begin}+10m -> paused for want of progress
             resume -> switching 0; run b"
        ),
    );
}

/// Facts about hosts that nobody knows, or that left, change nothing and are never refused.
#[test]
fn facts_are_never_refused() {
    check(
        "a b | bake=1h",
        "start       -> staging 0; stage a b
         a b staged  -> switching 0; run a b
         a left      -> switching 0
         a healthy   -> switching 0
         a silent    -> switching 0
         a back      -> switching 0
         b healthy   -> baking 0
         b left      -> baking 0",
    );
}

/// What runs goes on, nothing more is begun, and only the way back is left; what goes back already goes on.
#[test]
fn a_withdrawn_release_comes_on_no_further_host() {
    let play = check(
        "a b c | canary=1 canary_bake=1h wave=1",
        "withdrawn -> ready
         start     -> staging 0; stage a
         a staged  -> switching 0; run a
         withdrawn -> paused for a withdrawal
         a healthy -> paused for a withdrawal
         resume    -> refused: the release was withdrawn by ann: loses orders. To put hosts back: longshore rollout abort 00000000-0000
         promote x -> refused: the release was withdrawn by ann: loses orders. To put hosts back: longshore rollout abort 00000000-0000
         abort     -> rolling-back; return a
         withdrawn -> rolling-back
         a healthy -> aborted
         withdrawn -> aborted",
    );
    assert_eq!(play.states(), "a rolled-back, b waiting, c waiting");
    let amid = check(
        "a b | canary=1",
        "start     -> staging 0; stage a
         a staged  -> switching 0; run a
         withdrawn -> paused for a withdrawal",
    );
    let then = explain(&amid.rollout, &Facts::default()).remove(0).then;
    assert!(then.ends_with("no further host gets it beside those in the midst of their change: a"), "{then}");
    let mut paused = check(
        "a b | canary=1 canary_bake=1h",
        "start     -> staging 0; stage a
         a staged  -> switching 0; run a
         a healthy -> baking 0
         pause     -> paused by an operator
         withdrawn -> paused for a withdrawal
         +2h       -> paused for a withdrawal",
    );
    assert!(paused.act("rollback").starts_with("rolling-back; return a"));
}
