//! Pause and resume, retry, exclude, remove.

use super::transcript::check;

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
