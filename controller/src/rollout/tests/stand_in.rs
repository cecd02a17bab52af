//! A canary of which nobody is left: the hosts whose turn comes next stand in, on its terms.

use super::transcript::check;

const CANARY: &str = "a b c d e | canary=1 wave=2 canary_bake=10m bake=1m promotion=canary gate=errors:canary gate=smoke:last-wave";

/// Whoever excludes the canary does not want half the fleet to be the first to try the release.
#[test]
fn an_excluded_canary_is_followed_by_another() {
    let mut play = check(
        CANARY,
        "start     -> staging 0; stage a
         a staged  -> switching 0; run a
         exclude a -> staging 0; stage b
         b staged  -> switching 0; run b
         b healthy -> baking 0",
    );
    assert_eq!(play.waves(), "b | c | d e");
    assert_eq!(
        play.explained(),
        "baking until 10m: the first of 3 waves (b stands in for the canary) is healthy and is watched for 10m \
         [longshore rollout promote ID]"
    );
    play.reload();
    for (line, wanted) in [
        ("+10m", "gating 0; look errors"),
        ("gate errors pass", "awaiting-promotion 0"),
        ("promote", "staging 1; stage c"),
        ("c staged", "switching 1; run c"),
        ("c healthy", "baking 1"),
        ("+1m", "staging 2; stage d e"),
        ("d e staged", "switching 2; run d e"),
        ("d e healthy", "baking 2"),
        ("+1m", "gating 2; look smoke"),
        ("gate smoke pass", "succeeded"),
    ] {
        assert_eq!(play.act(line), wanted, "{line}");
    }
    assert_eq!(play.reason(), "4 hosts run 2; 1 excluded: a");
}

/// Before it starts, while it fetches, in its bake, at its gate, before its promotion: wherever it is lost, another is tried
/// from the beginning, its gate included.
#[test]
fn wherever_it_is_lost_the_next_one_begins_anew() {
    let way = ["start", "a staged", "a healthy", "+10m", "gate errors pass"];
    for so_far in 1..=way.len() {
        let mut play = check(CANARY, "");
        for line in &way[..so_far] {
            play.act(line);
        }
        assert_eq!(play.act("exclude a"), "staging 0; stage b", "after {:?}", &way[..so_far]);
        assert_eq!(play.act("b staged"), "switching 0; run b");
        assert_eq!(play.act("b healthy"), "baking 0");
        assert_eq!(play.act("+10m"), "gating 0; look errors");
    }
    check(
        CANARY,
        "start    -> staging 0; stage a
         a left   -> staging 0; stage b
         b staged -> switching 0; run b",
    );
}

/// The whole of the wave behind it may be needed; it is gone then, and no number is left out.
#[test]
fn a_wave_that_stands_in_as_a_whole_leaves_no_gap() {
    let play = check(
        "a b c d | canary=2 wave=2 canary_bake=1m",
        "start        -> staging 0; stage a b
         exclude a b  -> staging 0; stage c d
         c d staged   -> switching 0; run c d
         c d healthy  -> baking 0
         +1m          -> succeeded",
    );
    assert_eq!((play.waves().as_str(), play.rollout.header.waves), ("c d", 1));
    assert_eq!(play.reason(), "2 hosts run 2; 2 excluded: a, b");
}

/// Hosts that are passed over show nothing either: nobody hears of one, and one is held. When they are back they follow.
#[test]
fn a_canary_that_is_passed_over_is_followed_by_another() {
    check(
        "a:silent b c d | canary=1 wave=2 unknown=skip canary_bake=10m",
        "start      -> staging 0; stage b
         b staged   -> switching 0; run b
         b healthy  -> baking 0
         a back     -> switching 0; stage a
         a staged   -> switching 0; run a
         a healthy  -> baking 0
         +10m       -> staging 1; stage c",
    );
    check(
        "a:held b c | canary=1 wave=2 held=skip canary_bake=10m",
        "start     -> staging 0; stage b
         b staged  -> switching 0; run b
         b healthy -> baking 0",
    );
}

/// It was tried, or somebody says that it need not be.
#[test]
fn a_canary_that_was_tried_has_no_other() {
    // Of two, one is left.
    check(
        "a b c | canary=2 wave=1 canary_bake=1m",
        "start     -> staging 0; stage a b
         exclude a -> staging 0
         b staged  -> switching 0; run b
         b healthy -> baking 0
         +1m       -> staging 1; stage c",
    );
    // It failed, and an operator goes on in spite of that.
    check(
        "a b c | canary=1 wave=2 canary_bake=1m on_spent=pause",
        "start      -> staging 0; stage a
         a staged   -> switching 0; run a
         a reverted -> paused for version failures
         resume     -> staging 1; stage b c",
    );
    // Every wait is passed over.
    check(
        "a b c | canary=1 wave=2 canary_bake=1m",
        "start                -> staging 0; stage a
         promote full because -> staging 0
         exclude a            -> staging 1; stage b c",
    );
    // Nobody is left at all.
    check(
        "a b | canary=1 wave=1",
        "start     -> staging 0; stage a
         exclude b -> staging 0
         exclude a -> nothing-to-do",
    );
}

/// Where traffic goes to the canary in steps, whoever stands in begins with the first.
#[test]
fn whoever_stands_in_begins_with_the_first_share() {
    let mut play = check(
        "a b c | canary=1 wave=2 traffic.director=haproxy traffic.backend=shop traffic.hold=30s traffic.drain=5s traffic.steps=10+50",
        "start     -> staging 0; stage a
         a staged  -> switching 0; run a
         a healthy -> baking 0
         +30s      -> switching 0; run a
         a healthy -> baking 0
         exclude a -> staging 0; stage b
         b staged  -> switching 0; run b
         b healthy -> baking 0",
    );
    assert_eq!(
        play.explained(),
        "baking until 1m: the first of 2 waves (b stands in for the canary) is healthy with 10% of its traffic and is \
         watched for 30s [longshore rollout promote ID]"
    );
    assert_eq!(play.act("+30s"), "switching 0; run b");
}
