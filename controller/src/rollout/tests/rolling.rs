//! Going forward: waves, slots, bakes, promotion, nothing to do.

use super::{
    setup::spec,
    transcript::{Play, check},
};
use crate::rollout::wave_state;

/// The whole way, as the docs tell it: a canary, its bake, a wave of two that may not be down together.
#[test]
fn a_rollout_goes_wave_by_wave_and_slot_by_slot() {
    let play = check(
        "a b c | canary=1 wave=2 max_unavailable=1 canary_bake=60s bake=15s stage_ahead=1",
        "start      -> staging 0; stage a b c
         a staged   -> switching 0; run a
         b staged   -> switching 0
         a healthy  -> baking 0
         c staged   -> baking 0
         +59s       -> baking 0
         +1s        -> switching 1; run b
         b healthy  -> switching 1; run c
         c healthy  -> baking 1
         +15s       -> succeeded",
    );
    assert_eq!(play.reason(), "all 3 hosts run 2");
    assert_eq!(play.desired(), "a run 2, b run 2, c run 2");
}

/// Scenario 3 and 4: only a newly healthy host moves the deadline.
#[test]
fn the_progress_deadline_moves_with_health_alone() {
    let mut play = check(
        "a b | max_unavailable=1 progress_deadline=10s attempts=5",
        "start      -> staging 0; stage a b
         a b staged -> switching 0; run a
         +4s        -> switching 0",
    );
    assert_eq!(play.deadline(), "10s");
    play.act("a healthy");
    assert_eq!(play.deadline(), "14s");
    play.act("b failed");
    assert_eq!(play.deadline(), "14s", "a failure and another try are no progress");
    assert_eq!(play.states(), "a healthy, b staging");
    play.act("a healthy");
    assert_eq!(play.deadline(), "14s", "healthy is news once");
}

/// Scenario 4: a host that fails and tries again for ever is stopped by the deadline.
#[test]
fn tries_do_not_move_the_deadline() {
    check(
        "a | attempts=9 progress_deadline=10s",
        "start      -> staging 0; stage a
         a staged   -> switching 0; run a
         +4s        -> switching 0
         a reverted -> switching 0; stage a
         a staged   -> switching 0; run a
         +6s        -> rolling-back; return a
         a healthy  -> rolled-back",
    );
}

/// Scenario 5: when the tries are used up, the rollout does not wait for the deadline.
#[test]
fn used_up_tries_fail_early() {
    let play = check(
        "a | attempts=2 progress_deadline=1h",
        "start      -> staging 0; stage a
         a staged   -> switching 0; run a
         a reverted -> switching 0; stage a
         a staged   -> switching 0; run a
         a reverted -> rolled-back",
    );
    assert_eq!(play.now, 0);
}

/// Scenario 58: the third of three tries works: a success like any other, and the tries are kept.
#[test]
fn the_last_try_may_be_the_one_that_works() {
    let play = check(
        "a | attempts=3",
        "start      -> staging 0; stage a
         a staged   -> switching 0; run a
         a failed   -> switching 0; stage a
         a staged   -> switching 0; run a
         a failed   -> switching 0; stage a
         a staged   -> switching 0; run a
         a healthy  -> succeeded",
    );
    let host = play.rollout.hosts.values().next().expect("there is one");
    assert_eq!((host.attempts, host.failure.as_ref()), (3, None));
}

/// Scenario 6: each wave has its own deadline, and waiting for an operator has none.
#[test]
fn a_late_promotion_meets_no_stale_deadline() {
    let play = check(
        "a b | canary=1 progress_deadline=10s promotion=canary",
        "start      -> staging 0; stage a
         a staged   -> switching 0; run a
         a healthy  -> awaiting-promotion 0
         +7d        -> awaiting-promotion 0
         promote    -> staging 1; stage b
         b staged   -> switching 1; run b
         +9s        -> switching 1
         b healthy  -> succeeded",
    );
    assert_eq!(
        play.rollout.header.under_way(),
        Some(9_000),
        "plans do not learn from how long somebody thought"
    );
}

/// Scenario 7: an ineligible host keeps what it has.
#[test]
fn an_excluded_host_keeps_its_release() {
    let play = check(
        "a b:excluded c",
        "start        -> staging 0; stage a c
         a c staged   -> switching 0; run a c
         a c healthy  -> succeeded",
    );
    assert_eq!(play.states(), "a healthy, b excluded, c healthy");
    assert_eq!(play.reason(), "2 hosts run 2; 1 excluded: b");
}

/// Scenario 8: enough of a wave is enough; the last wave waits for all that is still under way.
#[test]
fn enough_healthy_hosts_open_the_next_wave() {
    check(
        "a b c d | wave=3 enough=60 budget.percent=30",
        "start          -> staging 0; stage a b c
         a b c staged   -> switching 0; run a b c
         a healthy      -> switching 0
         b healthy      -> staging 1; stage d
         d staged       -> switching 1; run d
         d healthy      -> switching 1
         c healthy      -> succeeded",
    );
}

/// Scenario 9, 21 and 22: a good wave waits to be promoted; then every host gets the release.
#[test]
fn a_canary_of_all_needs_promotion() {
    let mut play = check(
        "a b | canary=100% promotion=canary max_unavailable=1",
        "start      -> staging 0; stage a b
         a b staged -> switching 0; run a
         a healthy  -> switching 0; run b
         b healthy  -> awaiting-promotion 0
         resume     -> refused: it is not paused: to go on, promote it",
    );
    assert_eq!(
        play.explained(),
        "awaiting-promotion: the only wave is good and needs promotion [longshore rollout promote ID]"
    );
    assert_eq!(play.act("promote"), "succeeded");
}

/// Scenario 21: half of two is one, and one at a time.
#[test]
fn half_of_two_hosts_is_one_canary() {
    check(
        "a b | canary=50% max_unavailable=1 promotion=every-wave",
        "start     -> staging 0; stage a
         a staged  -> switching 0; run a
         a healthy -> awaiting-promotion 0
         promote   -> staging 1; stage b
         b staged  -> switching 1; run b
         b healthy -> succeeded",
    );
}

/// Scenario 12: hosts that leave are not waited for and no longer counted.
#[test]
fn hosts_that_leave_are_recounted() {
    let play = check(
        "a b c d | wave=2 budget.percent=50",
        "start      -> staging 0; stage a b
         a b staged -> switching 0; run a b
         a left     -> switching 0
         b healthy  -> staging 1; stage c d
         c left     -> staging 1
         d staged   -> switching 1; run d
         d healthy  -> succeeded",
    );
    assert_eq!(play.reason(), "2 hosts run 2; 2 left: a, c");
    assert_eq!(play.desired(), "b run 2, d run 2");
}

/// Scenario 14: an operator may cut a bake short, and nothing else.
#[test]
fn a_bake_is_cut_short_by_promotion() {
    check(
        "a b | canary=1 canary_bake=1h",
        "promote   -> refused: it has not started
         start     -> staging 0; stage a
         promote   -> refused: the first of 2 waves is not switched yet, so there is nothing to judge
         a staged  -> switching 0; run a
         promote   -> refused: the first of 2 waves is not healthy: a is switching
         a healthy -> baking 0
         promote   -> staging 1; stage b
         b staged  -> switching 1; run b
         b healthy -> succeeded
         promote   -> refused: it is over",
    );
}

/// Scenario 15: a strategy that cannot work makes no rollout, and every fault is named at once.
#[test]
fn an_impossible_strategy_is_refused() {
    let bad = spec(
        "wave=0 max_unavailable=0 enough=0 attempts=0 budget.percent=170 progress_deadline=0s promotion=canary",
    );
    let fields: Vec<&str> = bad.problems().into_iter().map(|(field, _)| field).collect();
    assert_eq!(
        fields,
        ["wave", "max_unavailable", "budget.percent", "enough", "attempts", "progress_deadline", "canary"]
    );
    assert!(
        bad.check().unwrap_err().to_string().starts_with("LS-V01 strategy: wave must be at least 1 host")
    );
}

/// A host behind balancers is drained before it is changed: no deadline may come before that.
#[test]
fn a_drain_as_long_as_a_deadline_is_refused() {
    let balanced = |rest: &str| {
        spec(&format!(
            "traffic.director=haproxy traffic.backend=shop traffic.hold=30s balancers= progress_deadline=60s {rest}"
        ))
    };
    assert!(balanced("traffic.drain=59s").check().is_ok());
    let why = balanced("traffic.drain=60s").check().unwrap_err().to_string();
    assert!(
        why.starts_with(
            "LS-V01 strategy: traffic.drain is 1m, and rollout.progress_deadline is 1m: hosts are"
        ),
        "{why}"
    );
}

/// Scenario 20: hosts that never ran the app join in the same rollout, through the same waves.
#[test]
fn new_hosts_and_a_new_release_go_through_one_gate() {
    check(
        "a b:new c:new | canary=1 wave=1 canary_bake=10s bake=10s",
        "start     -> staging 0; stage a
         a staged  -> switching 0; run a
         a healthy -> baking 0
         +10s      -> staging 1; stage b
         b staged  -> switching 1; run b
         b failed  -> rolling-back; return a; remove b
         a healthy -> rolling-back
         b removed -> rolled-back",
    );
}

/// Scenario 118: when every host has the release, that is what is said, in one round trip and without a bake.
#[test]
fn nothing_to_do_is_not_success() {
    let play = check(
        "a:2 b:2 c:2 | canary=1 wave=1 canary_bake=1h bake=1h",
        "start           -> staging 0; stage a b c
         a unchanged     -> staging 1; run a
         b unchanged     -> staging 2; run b
         c unchanged     -> nothing-to-do; run c",
    );
    assert_eq!(play.reason(), "every host ran 2 already");
    assert_eq!(play.desired(), "a run 2, b run 2, c run 2");
    let empty = check("", "start -> nothing-to-do");
    assert_eq!(empty.reason(), "no host takes part");
}

/// A host that was said to run the release and does not is moved in its turn like any other.
#[test]
fn a_host_that_drifted_is_moved_in_its_turn() {
    check(
        "a b:2 | wave=1 bake=10s",
        "start       -> staging 0; stage a b
         b staged    -> staging 0
         a staged    -> switching 0; run a
         a healthy   -> baking 0
         +10s        -> switching 1; run b
         b healthy   -> baking 1
         +10s        -> succeeded",
    );
}

/// Scenario 125: one at a time means one at a time, whoever is slow.
#[test]
fn never_two_at_once_under_a_limit_of_one() {
    check(
        "a b c | max_unavailable=1",
        "start        -> staging 0; stage a b c
         a b c staged -> switching 0; run a
         +5m          -> switching 0
         a healthy    -> switching 0; run b
         b healthy    -> switching 0; run c
         c healthy    -> succeeded",
    );
}

/// Scenario 16 and 17: a host whose last release crashes is down already: moving it takes no slot, and nobody waits
/// for the crashing release to recover.
#[test]
fn sick_hosts_take_slots_but_need_none() {
    check(
        "a b:sick c d | max_unavailable=2",
        "start          -> staging 0; stage a b c d
         a b c d staged -> switching 0; run a b
         b healthy      -> switching 0; run c
         a healthy      -> switching 0; run d
         c d healthy    -> succeeded",
    );
}

/// Scenario 10: the wave that spent the budget has failed and the later ones are still scheduled.
#[test]
fn waves_say_how_they_stand() {
    let states = |play: &Play| [0, 1, 2].map(|wave| wave_state(&play.rollout, wave)).join(" ");
    let mut play = check(
        "a b c | wave=1 bake=10s on_spent=pause",
        "start     -> staging 0; stage a
         a staged  -> switching 0; run a
         a healthy -> baking 0",
    );
    assert_eq!(states(&play), "baking scheduled scheduled");
    play.act("+10s");
    assert_eq!(states(&play), "done staging scheduled");
    play.act("b staged");
    assert_eq!(play.act("b reverted"), "paused for version failures");
    assert_eq!(states(&play), "done failed scheduled");
    play.act("rollback");
    assert_eq!(states(&play), "rolling-back failed not-begun");
    play.act("a healthy");
    assert_eq!(states(&play), "undone failed not-begun");
}

/// An aborted rollout says of no wave that it failed, unless a host of it has.
#[test]
fn what_was_aborted_has_not_failed() {
    let states = |play: &Play| [0, 1].map(|wave| wave_state(&play.rollout, wave)).join(" ");
    let mut play = check(
        "a b | wave=1 bake=10s",
        "start     -> staging 0; stage a
         a staged  -> switching 0; run a
         a healthy -> baking 0
         abort     -> rolling-back; return a",
    );
    assert_eq!(states(&play), "rolling-back not-begun");
    play.act("a healthy");
    assert_eq!(states(&play), "undone not-begun");
}
