//! The way back: by the same slots, once, and honest about who did not make it.

use super::transcript::{Play, check};
use crate::rollout::desired;

/// Going back moves by the same limit; who is down already takes no slot; who went back by itself is left alone.
#[test]
fn the_way_back_uses_the_same_slots() {
    let play = check(
        "a b c d e | max_unavailable=2 budget.count=1",
        "start            -> staging 0; stage a b c d e
         a b c d e staged -> switching 0; run a b
         a b healthy      -> switching 0; run c d
         c reverted       -> switching 0; run e
         d reverted       -> rolling-back; return a e
         e healthy        -> rolling-back; return b
         a b healthy      -> rolled-back",
    );
    assert_eq!(play.states(), "a rolled-back, b rolled-back, c reverted, d reverted, e rolled-back");
    assert_eq!(play.desired(), "a run 1, b run 1, c run 2, d run 2, e run 1");
}

/// A host that had nothing before is left with nothing, and only if it was touched.
#[test]
fn a_host_with_nothing_before_is_emptied() {
    let play = check(
        "a:new b:new c:new | max_unavailable=1",
        "start        -> staging 0; stage a b c
         a b c staged -> switching 0; run a
         a healthy    -> switching 0; run b
         b failed     -> rolling-back; remove b
         b removed    -> rolling-back; remove a
         a removed    -> rolled-back",
    );
    assert_eq!(play.states(), "a rolled-back, b rolled-back, c staged");
}

/// Scenario 55: an abort ends on the original release from wherever it comes.
#[test]
fn abort_is_honoured_from_every_phase() {
    check("a b", "abort -> aborted");
    check(
        "a b",
        "start    -> staging 0; stage a b
         a staged -> staging 0
         abort    -> aborted",
    );
    check(
        "a b | max_unavailable=1",
        "start      -> staging 0; stage a b
         a b staged -> switching 0; run a
         abort      -> rolling-back; return a
         a healthy  -> aborted",
    );
    check(
        "a b | bake=1h",
        "start       -> staging 0; stage a b
         a b staged  -> switching 0; run a b
         a b healthy -> baking 0
         abort       -> rolling-back; return a b
         a b healthy -> aborted",
    );
    check(
        "a b | max_unavailable=1",
        "start      -> staging 0; stage a b
         a b staged -> switching 0; run a
         pause      -> paused by an operator
         abort      -> rolling-back; return a
         pause      -> paused by an operator
         a healthy  -> paused by an operator
         rollback   -> refused: it does already: resume it
         abort      -> aborted",
    );
}

/// Whoever says so again, also when it is paused on its way back, does not take the reason away.
#[test]
fn the_first_abort_keeps_its_reason() {
    let play = check(
        "a b | max_unavailable=1",
        "start         -> staging 0; stage a b
         a b staged    -> switching 0; run a
         abort no good -> rolling-back; return a
         abort         -> rolling-back
         pause         -> paused by an operator
         abort again   -> rolling-back
         a healthy     -> aborted",
    );
    assert_eq!(play.reason(), "aborted by ann (no good); 1 host rolled back");
}

/// A rollback by hand is one too.
#[test]
fn an_operator_rolls_back_at_any_time() {
    check(
        "a b c | wave=1 bake=1h",
        "rollback  -> refused: nothing was touched: abort it instead
         start     -> staging 0; stage a
         a staged  -> switching 0; run a
         a healthy -> baking 0
         rollback  -> rolling-back; return a
         rollback  -> refused: it does already
         promote   -> refused: it goes back: rolled back by ann
         retry     -> refused: it goes back: start a new rollout when it is done
         a healthy -> rolled-back
         rollback  -> refused: it is over; to go back: longshore rollout rollback shop --to prod",
    );
}

/// A host that is unknown is told at once, waited for, and named; its assignment stands when it returns.
#[test]
fn unknown_hosts_go_back_when_they_return() {
    let mut play = check(
        "a b c | rollback_deadline=5m bake=1h max_unavailable=2",
        "start         -> staging 0; stage a b c
         a b c staged  -> switching 0; run a b
         a b healthy   -> switching 0; run c
         c healthy     -> baking 0
         a silent      -> switching 0
         rollback      -> rolling-back; return a b
         b healthy     -> rolling-back; return c
         +4m           -> rolling-back
         c healthy     -> rolling-back
         +4m           -> rolling-back
         +1m           -> rolled-back",
    );
    assert_eq!(play.reason(), "rolled back by ann; 2 hosts rolled back; will go back on return: a");
    assert_eq!(play.desired(), "a run 1, b run 1, c run 1");
    assert_eq!(play.act("a healthy"), "rolled-back");
    assert_eq!(play.states(), "a rolled-back, b rolled-back, c rolled-back");
}

/// What fails on the way back is left for a human, and the rollout does not turn round again.
#[test]
fn a_failure_on_the_way_back_is_inconsistent() {
    let play = check(
        "a b | max_unavailable=2 bake=1h rollback_deadline=5m",
        "start          -> staging 0; stage a b
         a b staged     -> switching 0; run a b
         a b healthy    -> baking 0
         a failed       -> rolling-back; return a b
         a failed       -> rolling-back
         +5m            -> failed",
    );
    assert_eq!(play.states(), "a inconsistent, b inconsistent");
    assert!(play.reason().ends_with("inconsistent, look at them: a, b"), "{}", play.reason());
}

/// Where nothing may go down any more, a rollback asks instead of breaking the limit.
#[test]
fn a_rollback_without_slots_asks() {
    let mut play = check(
        "a b c d | max_unavailable=1 budget.count=3 rollback_deadline=5m wave=2",
        "start       -> staging 0; stage a b
         a b staged  -> switching 0; run a
         a healthy   -> switching 0; run b
         b healthy   -> staging 1; stage c d
         c silent    -> staging 1
         rollback    -> rolling-back
         +5m         -> paused for want of progress",
    );
    assert_eq!(
        play.explained(),
        "no-progress: paused while rolling-back: nothing could move before the deadline: c (unknown), d (staging) [longshore rollout resume ID]"
    );
    assert_eq!(play.act("resume"), "rolling-back; return a");
    assert_eq!(play.act("a healthy"), "rolling-back; return b");
    assert_eq!(play.act("b healthy"), "rolled-back");
}

/// A held host does not go back before it is let go; the rollout ends and names it.
#[test]
fn a_held_host_goes_back_when_it_is_let_go() {
    let mut play = check(
        "a b | bake=1h max_unavailable=1 rollback_deadline=5m",
        "start      -> staging 0; stage a b
         a b staged -> switching 0; run a
         a healthy  -> switching 0; run b
         b healthy  -> baking 0
         a held     -> baking 0
         rollback   -> rolling-back; return b
         b refuses  -> rolling-back
         a unheld   -> rolling-back; return a
         a healthy  -> rolling-back
         +5m        -> rolled-back",
    );
    assert!(play.reason().ends_with("will go back on return: b (refuses)"), "{}", play.reason());
    assert_eq!(play.act("b unheld"), "rolled-back");
    assert_eq!(play.desired(), "a run 1, b run 1");
}

/// Scenario 122: what hosts are owed is read from the state: a controller that takes over repeats no step.
#[test]
fn a_takeover_repeats_no_step() {
    let mut play = Play::new("a b c | canary=1 canary_bake=10s max_unavailable=1");
    let lines = [
        "start",
        "a staged",
        "a healthy",
        "+10s",
        "b c staged",
        "b healthy",
        "c reverted",
        "a healthy",
        "b healthy",
    ];
    for line in lines {
        let before = play.desired();
        play.reload();
        assert_eq!(play.desired(), before);
        assert!(!play.act("+0s").contains(';'), "nothing is owed twice before {line}");
        play.act(line);
    }
    assert_eq!(play.states(), "a rolled-back, b rolled-back, c reverted");
}

/// Scenario 95: a newer rollout takes over at once; what the old one asked stands until the new one asks.
#[test]
fn a_newer_rollout_supersedes() {
    let play = check(
        "a b | max_unavailable=1",
        "start      -> staging 0; stage a b
         a b staged -> switching 0; run a
         supersede  -> aborted
         a healthy  -> aborted",
    );
    assert_eq!(play.reason(), "superseded by rollout 00000000-0000-0000-0000-000000000063");
    assert_eq!(play.desired(), "a run 2, b stage 2");
}

/// What was live before was withdrawn, and hosts do not run it any more: they keep what is good there, and it is said.
#[test]
fn hosts_that_may_not_run_what_they_ran_stay() {
    let begin = "start      -> staging 0; stage a b
                 a b staged -> switching 0; run a b";
    let play = check(
        "a b | max_unavailable=2 bake=1h",
        &format!(
            "{begin}
             a b healthy -> baking 0
             abort       -> rolling-back; return a b
             a forbidden -> rolling-back
             b forbidden -> aborted"
        ),
    );
    assert_eq!(play.states(), "a healthy, b healthy");
    let still = "on 2 still, for what was there before may not run any more";
    assert_eq!(play.reason(), format!("aborted by ann; {still}: a, b (LS-T05: forbidden)"));
    let play = check(
        "a b | max_unavailable=2",
        &format!(
            "{begin}
             a healthy   -> switching 0
             b reverted  -> rolling-back; return a
             a forbidden -> failed"
        ),
    );
    assert_eq!(play.states(), "a healthy, b reverted");
    assert!(play.reason().ends_with(&format!("{still}: a (LS-T05: forbidden)")), "{}", play.reason());
}

/// One that does not serve is for a human, whatever it may run.
#[test]
fn who_may_not_go_back_and_does_not_serve_is_looked_at() {
    let play = check(
        "a b | max_unavailable=2",
        "start        -> staging 0; stage a b
         a b staged   -> switching 0; run a b
         a failed     -> rolling-back; return a b
         b healthy    -> rolling-back
         a forbidden  -> failed",
    );
    assert_eq!(play.states(), "a inconsistent, b rolled-back");
}

/// The host's own last word of the release was that it is healthy: it is told which slot is no way back.
#[test]
fn whoever_was_found_unwell_is_told_so_on_its_way_back() {
    let play = check(
        "a b | bake=1h",
        "start       -> staging 0; stage a b
         a b staged  -> switching 0; run a b
         a b healthy -> baking 0
         a failed    -> rolling-back; return a b",
    );
    let told = desired(&play.rollout).into_iter();
    let told: Vec<Option<String>> =
        told.map(|told| told.unwell.map(|slot| slot.version().to_owned())).collect();
    assert_eq!(told, [Some("2".to_owned()), None], "b was well when it was asked");
}
