//! Hosts whose apps an operator's drain stops in the midst of what the rollout asked of them.

use super::{
    balance::ROLLING,
    transcript::{Play, check},
};
use crate::rollout::{Facts, Hold, HoldKind, explain};

const BY_ANN: &str = "drained: disk; held by ann";

fn held(play: &Play) -> Hold {
    let holds = explain(&play.rollout, &Facts::default());
    holds.into_iter().find(|hold| hold.kind == HoldKind::Held).expect("a host is held")
}

/// It is no verdict on the release, takes no slot, and is named until an operator says what becomes of it.
#[test]
fn a_host_that_is_stopped_in_its_switch_is_waited_for_like_one_that_is_held() {
    let mut play = check(
        "a b c | held=wait max_unavailable=1 progress_deadline=10m",
        "start        -> staging 0; stage a b c
         a b c staged -> switching 0; run a
         a halted     -> switching 0; run b
         retry a      -> refused: a is drained, and goes on by itself after: longshore host undrain a",
    );
    assert_eq!(play.states(), "a refused, b switching, c staged");
    let hold = held(&play);
    assert_eq!(hold.what, format!("1 host is held locally: a ({BY_ANN})"));
    assert_eq!(hold.command.as_deref(), Some("longshore host undrain a"));
    let without =
        format!("; to go on without a: longshore rollout exclude {} a", play.rollout.header.id.short());
    assert!(hold.then.ends_with(&without), "{}", hold.then);
    play.reload();
    assert_eq!(play.act("b healthy"), "switching 0; run c");
    assert_eq!(play.act("c healthy"), "switching 0");
    assert_eq!(play.act("+10m"), "paused for want of progress", "no verdict on the release");
    assert_eq!(
        play.explained(),
        "no-progress: paused while switching in the only wave: nothing could move before the deadline: a (refused) \
         [longshore rollout resume ID]"
    );
    assert_eq!(play.act("resume"), "succeeded");
    assert_eq!(play.reason(), format!("2 of 3 hosts run 2; 1 refused: a ({BY_ANN})"));
}

/// What was interrupted goes on when it is undrained, with all of the time that it has.
#[test]
fn a_host_that_is_undrained_goes_on_where_it_was() {
    check(
        "a b | held=wait max_unavailable=1 progress_deadline=10m",
        "start      -> staging 0; stage a b
         a b staged -> switching 0; run a
         a halted   -> switching 0; run b
         b healthy  -> switching 0
         +9m        -> switching 0
         a unheld   -> switching 0
         +9m        -> switching 0
         a healthy  -> succeeded",
    );
}

/// The fleet's way back does not wait for its slot; it goes back itself when it is undrained.
#[test]
fn a_stopped_host_takes_no_slot_of_the_way_back() {
    let mut play = check(
        "a b | max_unavailable=1 rollback_deadline=10m bake=1h",
        "start      -> staging 0; stage a b
         a b staged -> switching 0; run a
         a healthy  -> switching 0; run b
         b halted   -> baking 0
         rollback   -> rolling-back; return a
         a healthy  -> rolling-back",
    );
    assert_eq!(
        play.explained(),
        format!(
            "held-hosts until 10m: rolling back (rolled back by ann): 1 host is held locally: b ({BY_ANN}) \
             [longshore host undrain b]"
        )
    );
    assert_eq!(play.act("b unheld"), "rolling-back; return b");
    assert_eq!(play.act("b healthy"), "rolled-back");
}

/// Nor is one inconsistent that was stopped on its way back: it is named, and goes on when it may.
#[test]
fn a_host_that_is_stopped_on_its_way_back_is_named_at_the_end() {
    let mut play = check(
        "a b | max_unavailable=1 rollback_deadline=10m bake=1h",
        "start      -> staging 0; stage a b
         a b staged -> switching 0; run a
         a healthy  -> switching 0; run b
         b healthy  -> baking 0
         rollback   -> rolling-back; return a
         a halted   -> rolling-back; return b
         b healthy  -> rolling-back
         +10m       -> rolled-back",
    );
    let reason = format!("rolled back by ann; 1 host rolled back; will go back on return: a ({BY_ANN})");
    assert_eq!(play.reason(), reason);
    assert_eq!(play.act("a healthy"), "rolled-back");
    assert_eq!(play.states(), "a rolled-back, b rolled-back");
}

/// One that still fetched has not been slow.
#[test]
fn a_host_that_is_stopped_while_it_stages_has_not_failed() {
    let play = check(
        "a b | stage_deadline=5m",
        "start     -> staging 0; stage a b
         a halted  -> staging 0
         b staged  -> switching 0; run b
         b healthy -> succeeded",
    );
    assert_eq!(play.reason(), format!("1 of 2 hosts runs 2; 1 refused: a ({BY_ANN})"));
}

/// Nor is it slow when it may go on: it has all of the time for that.
#[test]
fn a_host_that_is_undrained_while_others_stage_has_its_time() {
    check(
        "a b | stage_deadline=5m max_unavailable=2",
        "start      -> staging 0; stage a b
         a halted   -> staging 0
         +4m        -> staging 0
         a unheld   -> staging 0
         +4m        -> staging 0
         a b staged -> switching 0; run a b",
    );
}

/// Behind balancers it has its connections again when the drain is lifted, also when the rollout is over.
#[test]
fn a_stopped_host_joins_when_the_rollout_is_over() {
    check(
        ROLLING,
        "start       -> staging 0; stage a; direct a=100 b=100
         a staged    -> switching 0
         lb directed -> switching 0; direct a=0 b=100
         lb directed -> switching 0; run a
         a drained   -> switching 0
         a halted    -> staging 1; stage b
         b staged    -> switching 1; direct a=0 b=0
         lb directed -> switching 1; run b
         b healthy   -> switching 1; direct a=0 b=100
         lb directed -> succeeded
         a undrained -> succeeded; direct a=100 b=100",
    );
}
