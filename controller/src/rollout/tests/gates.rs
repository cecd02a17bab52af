//! Gates before, between and after waves, beside the bake, and the watch time after the last wave.

use super::transcript::check;
use crate::rollout::{Event, Facts, Promote, explain, next_deadline, step};

/// Up to the moment in which the canary is good.
const CANARY: &str = "start     -> staging 0; stage a
                      a staged  -> switching 0; run a
                      a healthy -> ";

fn after_canary(strategy: &str, rest: &str) -> super::transcript::Play {
    check(&format!("a b c | canary=1 {strategy}"), &format!("{CANARY}{rest}"))
}

/// Nothing but a pass goes on, and each of the others leads where it is declared to.
#[test]
fn nothing_but_a_pass_goes_on() {
    after_canary(
        "gate=errors:canary",
        "gating 0; look errors
         +30s             -> gating 0
         gate errors pass -> staging 1; stage b c",
    );
    let mut play = after_canary(
        "gate=errors:canary",
        "gating 0; look errors
         gate errors fail -> rolling-back; return a
         a healthy        -> rolled-back",
    );
    assert_eq!(play.reason(), "gate errors: fail: as it is; 1 host rolled back");
    assert_eq!(play.act("promote seen"), "refused: it is over");
    after_canary(
        "gate=errors:canary:fail=continue:inconclusive=rollback",
        "gating 0; look errors
         gate errors fail -> staging 1; stage b c",
    );
    after_canary(
        "gate=errors:canary:inconclusive=rollback",
        "gating 0; look errors
         gate errors inconclusive -> rolling-back; return a",
    );
}

/// Scenario 26: an analysis beside the bake that cannot tell pauses; it neither promotes nor aborts.
#[test]
fn what_cannot_tell_pauses() {
    let mut play = after_canary(
        "canary_bake=10m gate=errors:canary:beside:deadline=20m",
        "baking 0; look errors
         +5m                      -> baking 0
         gate errors inconclusive -> paused for a gate
         +1h                      -> paused for a gate",
    );
    assert_eq!(
        play.explained(),
        "gate-not-passed: paused while baking in the first of 2 waves: gate errors: inconclusive: as it is \
         [longshore rollout resume ID]"
    );
    assert_eq!(
        play.act("promote seen"),
        "refused: the environment lets nobody past gate errors; it must pass"
    );
    assert_eq!(play.act("resume"), "baking 0; look errors", "the gate is looked at again");
    assert_eq!(play.act("gate errors@1 fail"), "baking 0", "a late verdict of the first run counts no more");
    assert_eq!(play.act("gate errors pass"), "baking 0");
    assert_eq!(play.act("+5m"), "staging 1; stage b c", "the bake goes on with what was left of it");
}

/// Scenario 27 and 42: of several analyses one fails, and the others do not outweigh it.
#[test]
fn one_that_fails_is_enough() {
    after_canary(
        "gate=errors:canary gate=smoke:canary gate=third:canary",
        "gating 0; look errors smoke third
         gate errors pass -> gating 0
         gate smoke fail  -> rolling-back; return a
         gate third pass  -> rolling-back",
    );
}

/// A gate beside the bake acts at once; what has no verdict when the bake ends is waited for.
#[test]
fn a_gate_beside_the_bake_does_not_wait_for_its_end() {
    after_canary(
        "canary_bake=1m gate=errors:canary:beside gate=smoke:canary",
        "baking 0; look errors
         +5s              -> baking 0
         gate errors fail -> rolling-back; return a",
    );
    after_canary(
        "canary_bake=30s gate=errors:canary:beside gate=smoke:canary",
        "baking 0; look errors
         +30s             -> gating 0; look smoke
         gate smoke pass  -> gating 0
         gate errors pass -> staging 1; stage b c",
    );
}

/// Scenario 31: a test past its deadline has failed; a check that could not be made says so and pauses. Neither hangs.
#[test]
fn every_gate_has_a_deadline() {
    let play = after_canary(
        "gate=smoke:canary:test:deadline=5m",
        "gating 0; look smoke
         +4m -> gating 0
         +1m -> rolling-back; return a",
    );
    assert!(play.explained().contains("gate smoke: fail: it had not ended after 5m"), "{}", play.explained());
    let play = after_canary(
        "gate=signed:canary:approval:deadline=5m",
        "gating 0; look signed
         +5m -> paused for a gate",
    );
    assert!(
        play.explained().contains("gate signed: no-data: nobody approved within 5m"),
        "{}",
        play.explained()
    );
}

/// Scenario 28: a gate before the first wave that fails touches nothing.
#[test]
fn a_gate_before_the_first_wave_touches_nothing() {
    let mut play = check(
        "a b | gate=early:before",
        "start           -> gating 0; look early
         a silent        -> gating 0
         gate early fail -> failed",
    );
    assert_eq!(play.reason(), "gate early: fail: as it is; nothing had been switched");
    assert_eq!(play.desired(), "");
    check(
        "a b | gate=early:before",
        "start           -> gating 0; look early
         gate early pass -> staging 0; stage a b",
    );
    assert_eq!(play.act("resume"), "refused: it is over");
}

/// Every wave has its gates; those of the last come after it, and of a wave that changes nothing there is none to ask.
#[test]
fn gates_stand_where_they_are_declared() {
    check(
        "a b:2 c d | wave=1 gate=errors:every-wave gate=smoke:last-wave",
        "start            -> staging 0; stage a b
         b unchanged      -> staging 0; run b
         a staged         -> switching 0; run a
         a healthy        -> gating 0; look errors
         gate errors pass -> staging 2; stage c
         c staged         -> switching 2; run c
         c healthy        -> gating 2; look errors
         gate errors pass -> staging 3; stage d
         d staged         -> switching 3; run d
         d healthy        -> gating 3; look errors smoke
         gate smoke pass  -> gating 3
         gate errors pass -> succeeded",
    );
    check(
        "a b:2 | wave=1 gate=smoke:last-wave",
        "start            -> staging 0; stage a b
         b unchanged      -> staging 0; run b
         a staged         -> switching 0; run a
         a healthy        -> gating 1; look smoke
         gate smoke fail  -> rolling-back; return a",
    );
}

/// A host that fails while gates are looked at is judged as ever, and what was concluded before it tried again is over.
#[test]
fn hosts_count_while_gates_are_looked_at() {
    after_canary(
        "gate=errors:canary",
        "gating 0; look errors
         a failed -> rolling-back; return a",
    );
    check(
        "a b | budget.count=1 unknown=wait gate=errors:every-wave",
        "start            -> staging 0; stage a b
         a b staged       -> switching 0; run a b
         a b healthy      -> gating 0; look errors
         a silent         -> switching 0
         gate errors pass -> switching 0
         a back           -> gating 0; look errors
         gate errors pass -> succeeded",
    );
}

/// Past a gate only where the environment allows it, and never without a reason.
#[test]
fn an_operator_goes_past_a_gate_only_with_a_reason() {
    let mut play = after_canary(
        "gate=errors:canary:promotable gate=smoke:canary",
        "gating 0; look errors smoke
         promote          -> refused: the environment lets nobody past gate smoke; it must pass
         gate smoke pass  -> gating 0
         promote          -> refused: going past gates needs a reason: --reason \"…\"",
    );
    assert_eq!(
        play.explained(),
        "gate until 1m: gate errors (metrics) after the first of 2 waves has no verdict yet \
         [longshore rollout promote ID --reason \"…\"]"
    );
    let hold = explain(&play.rollout, &Facts::default()).remove(0);
    assert_eq!(hold.owner, "the controller", "it is waited for, and does not promote");
    assert!(hold.then.ends_with("; an operator may go past it before"), "{}", hold.then);
    assert_eq!(play.act("promote it is the clock"), "staging 1; stage b c");
    after_canary(
        "gate=errors:canary:promotable",
        "gating 0; look errors
         gate errors no-data -> paused for a gate
         promote seen        -> staging 1; stage b c",
    );
    let asked = after_canary(
        "gate=errors:canary:promotable",
        "gating 0; look errors
         gate errors no-data -> paused for a gate",
    );
    let then = explain(&asked.rollout, &Facts::default()).remove(0).then;
    assert!(then.starts_with("on promote it goes on past the gate; to look again: "), "{then}");
}

/// As for the end of a single bake, nobody is asked why where there is nothing to pass over but time.
#[test]
fn promoted_fully_needs_a_reason_only_for_gates() {
    let full = |strategy: &str| {
        let play = after_canary(strategy, "baking 0");
        let promote = Promote { by: "ann".to_owned(), reason: String::new(), full: true };
        let refused = step(&play.rollout, Event::Promote(promote), play.now).err();
        refused.map(|refused| refused.why)
    };
    let time = "canary_bake=1m bake=1m watch=1h promotion=every-wave";
    assert_eq!(full(time), None);
    let why = full(&format!("{time} gate=errors:last-wave:promotable"));
    assert_eq!(why.as_deref(), Some("going past gates needs a reason: --reason \"…\""));
}

/// Scenario 32: promoted fully in a pause, while gates are looked at, and after an abort: what is left is skipped and
/// nothing new is looked at; a rollout that goes back is not promoted.
#[test]
fn promoted_fully_skips_what_is_left() {
    let fully =
        "canary_bake=1m bake=1m watch=1h promotion=every-wave gate=errors:every-wave:promotable:watch";
    let rest = "staging 1; stage b c
         b c staged   -> switching 1; run b c
         b c healthy  -> succeeded";
    after_canary(fully, &format!("baking 0\n promote full -> {rest}"));
    after_canary(fully, &format!("baking 0\n +1m -> gating 0; look errors\n promote full -> {rest}"));
    after_canary(fully, &format!("baking 0\n pause -> paused by an operator\n promote full -> {rest}"));
    after_canary(
        fully,
        "baking 0
         abort        -> rolling-back; return a
         promote full -> refused: it goes back: aborted by ann",
    );
    after_canary(
        "canary_bake=1m gate=errors:last-wave",
        "baking 0
         promote full -> refused: the environment lets nobody past gate errors; it must pass",
    );
}

/// Scenario 36: whoever passes over every gate gets a broken release past none of the probes of hosts.
#[test]
fn promoted_fully_is_not_promoted_blindly() {
    after_canary(
        "canary_bake=1m bake=1m gate=errors:every-wave:promotable",
        "baking 0
         promote full -> staging 1; stage b c
         b c staged   -> switching 1; run b c
         b reverted   -> rolling-back; return a c
         a c healthy  -> rolled-back",
    );
}

/// Ending a bake early is no way around a gate, nor around the promotion that follows: that is asked for by itself.
#[test]
fn promoting_a_bake_leaves_its_gates_and_the_promotion() {
    let play = after_canary("canary_bake=10m promotion=canary gate=errors:canary", "baking 0");
    let then = explain(&play.rollout, &Facts::default()).remove(0).then;
    assert_eq!(
        then,
        "when its gates have passed (errors), an operator promotes it, and then wave 2 of 2 begins"
    );
    after_canary(
        "canary_bake=10m promotion=canary gate=errors:canary",
        "baking 0
         promote          -> gating 0; look errors
         gate errors pass -> awaiting-promotion 0
         promote          -> staging 1; stage b c",
    );
    after_canary(
        "canary_bake=10m promotion=canary",
        "baking 0
         promote -> awaiting-promotion 0
         promote -> staging 1; stage b c",
    );
    after_canary(
        "canary_bake=10m promotion=canary",
        "baking 0
         promote full -> staging 1; stage b c",
    );
    after_canary(
        "promotion=canary gate=errors:canary",
        "gating 0; look errors
         gate errors pass -> awaiting-promotion 0
         promote          -> staging 1; stage b c",
    );
}

/// Scenario 29: after the last wave a breach still takes the release back: of a host, or of a gate.
#[test]
fn a_breach_in_the_watch_time_rolls_back() {
    let watched = |rest: &str| {
        check(
            "a b | watch=30m gate=errors:last-wave:watch",
            &format!(
                "start            -> staging 0; stage a b
                 a b staged       -> switching 0; run a b
                 a b healthy      -> gating 0; look errors
                 gate errors pass -> watching 0; look errors
                 +20m             -> watching 0
                 {rest}"
            ),
        )
    };
    let play = watched("+1m -> watching 0");
    assert_eq!(
        play.explained(),
        "watching until 30m: every wave is done; 2 is watched for 30m, and so are gates: errors \
         [longshore rollout promote ID]"
    );
    watched("gate errors fail -> rolling-back; return a b\n a b healthy -> rolled-back");
    watched("b failed -> rolling-back; return a b");
    watched(
        "gate errors no-data -> paused for a gate\n resume -> watching 0; look errors\n +10m -> succeeded",
    );
    watched("a silent -> watching 0\n +10m -> succeeded");
    watched("+10m -> succeeded");
    watched("promote seen -> refused: the environment lets nobody past gate errors; it must pass");
    watched("rollback -> rolling-back; return a b");
}

/// Approvers are told how they open a gate, and operators how they go past it, where that is allowed: past one gate only
/// where they may go past every other that is in the way.
#[test]
fn whoever_may_end_the_wait_for_a_gate_is_told_how() {
    let then = |play: &super::transcript::Play| explain(&play.rollout, &Facts::default()).remove(0).then;
    let past = "; an operator may go past it before";
    let play = after_canary("gate=go:canary:approval:promotable", "gating 0; look go");
    let id = play.rollout.header.id.short();
    assert_eq!(
        play.explained(),
        "gate until 1m: gate go (approval) after the first of 2 waves has no verdict yet [longshore rollout open ID go]"
    );
    let promote = format!("longshore rollout promote {id} --reason \"…\"");
    assert_eq!(then(&play), format!("the rollout pauses and asks{past}: {promote}"));
    let play = after_canary("gate=go:canary:approval", "gating 0; look go");
    assert_eq!(then(&play), "the rollout pauses and asks", "nobody goes past it");

    let play = after_canary(
        "gate=go:canary:approval:promotable gate=smoke:canary",
        "gating 0; look go smoke
         promote seen    -> refused: the environment lets nobody past gate smoke; it must pass",
    );
    assert_eq!(then(&play), "the rollout pauses and asks", "past both, or past none");
    let mut play =
        after_canary("gate=errors:canary:promotable gate=smoke:canary", "gating 0; look errors smoke");
    assert!(play.explained().starts_with("gate until 1m: gate errors (metrics)"), "{}", play.explained());
    assert!(!play.explained().contains("promote"), "{}", play.explained());
    assert_eq!(play.act("gate errors no-data"), "paused for a gate");
    assert!(play.explained().ends_with("[longshore rollout resume ID]"), "{}", play.explained());
}

/// A pause stops the clocks of gates too: nobody looks, and on resume it is looked at anew.
#[test]
fn a_pause_stops_gates() {
    let mut play = after_canary(
        "gate=errors:canary",
        "gating 0; look errors
         +50s   -> gating 0
         pause  -> paused by an operator
         +1h    -> paused by an operator
         resume -> gating 0; look errors
         +50s   -> gating 0",
    );
    assert_eq!(play.deadline(), "1h1m50s");
    play.reload();
    assert_eq!(play.act("gate errors pass"), "staging 1; stage b c");
}

/// A rollout that does not undo itself pauses where it would have.
#[test]
fn without_automatic_rollback_a_failed_gate_asks() {
    after_canary(
        "auto_rollback=false gate=errors:canary",
        "gating 0; look errors
         gate errors fail -> paused for a gate
         rollback         -> rolling-back; return a",
    );
}

/// A runner runs one test at a time; each has all of its time from when it begins, and it is said who waits.
#[test]
fn tests_of_one_runner_run_one_after_the_other() {
    let mut play = after_canary(
        "gate=api:canary:test=runner gate=ui:canary:test=runner gate=load:canary:test=other gate=end:canary:test=runner",
        "gating 0; look api load",
    );
    assert!(
        play.explained().contains("has no verdict yet; then runner runs those that wait for it: ui, end"),
        "{}",
        play.explained()
    );
    assert_eq!(play.act("+50s"), "gating 0");
    assert_eq!(play.act("gate load pass"), "gating 0");
    assert_eq!(play.act("gate api pass"), "gating 0; look ui");
    assert_eq!(play.act("+50s"), "gating 0", "it began later");
    play.reload();
    assert_eq!(play.act("gate ui pass"), "gating 0; look end");
    assert_eq!(play.act("+50s"), "gating 0");
    // One that does not end has failed, a minute after it began.
    assert_eq!(play.act("+10s"), "rolling-back; return a");
}

/// Where the first may fail, those behind it run all the same; a pause gives each its time anew, in the same order.
#[test]
fn who_waits_for_a_runner_is_not_forgotten() {
    let mut play = after_canary(
        "gate=api:canary:test=runner:fail=continue gate=ui:canary:test=runner",
        "gating 0; look api",
    );
    assert_eq!(play.act("+60s"), "gating 0; look ui");
    assert_eq!(play.act("pause"), "paused by an operator");
    assert_eq!(play.act("+1h"), "paused by an operator");
    assert_eq!(play.act("resume"), "gating 0; look ui");
    assert_eq!(play.act("gate ui pass"), "staging 1; stage b c");
}

/// The time for which another rollout has the runner is none of the test's own; that has a bound too, and is told.
#[test]
fn a_test_that_waits_for_its_runner_has_all_of_its_time_after_that() {
    let mut play = after_canary("gate=smoke:canary:test=runner", "gating 0; look smoke");
    play.act("+50s");
    assert_eq!(play.act("gate smoke waits"), "gating 0");
    let waits = play.explained();
    let words = "has not begun: it waits for runner, which is at a test of another rollout";
    assert!(waits.contains(words), "{waits}");
    play.reload();
    assert_eq!(play.act("+59m"), "gating 0");
    assert_eq!(play.act("gate smoke waits"), "gating 0", "as a controller that was started anew says");
    assert_eq!(next_deadline(&play.rollout), Some(play.now + 60_000), "it waits since the first of them");
    assert_eq!(play.act("gate smoke begins"), "gating 0");
    assert!(play.explained().contains("has no verdict yet"), "{}", play.explained());
    assert_eq!(play.act("+59s"), "gating 0");
    assert_eq!(play.act("gate smoke pass"), "staging 1; stage b c");

    let mut play = after_canary(
        "gate=smoke:canary:test=runner",
        "gating 0; look smoke
         gate smoke waits -> gating 0
         +1h              -> paused for a gate",
    );
    let why = "gate smoke: no-data: runner was at tests of other rollouts for 1h: it has not begun";
    assert!(play.explained().contains(why), "{}", play.explained());
    // It lines up anew.
    assert_eq!(play.act("resume"), "gating 0; look smoke");
    assert_eq!(play.act("+60s"), "rolling-back; return a");
}
