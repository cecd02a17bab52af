//! Shares of traffic, one after the other, and a pace that is changed on the way.

use super::transcript::{Play, check};
use crate::rollout::{Event, Facts, desired, explain};

/// The share that each host's assignment says: `a 10, b 100`.
fn shares(play: &Play) -> String {
    let said: Vec<String> = desired(&play.rollout)
        .iter()
        .map(|assignment| {
            let name = &play.rollout.hosts[&assignment.host].name;
            let share = assignment.traffic.as_ref().map_or(0, |traffic| traffic.share);
            format!("{name} {share}")
        })
        .collect();
    said.join(", ")
}

const STEPS: &str = "a b | canary=1 canary_bake=60s traffic.director=haproxy traffic.backend=shop traffic.drain=5s \
                     traffic.hold=30s traffic.steps=10+50";

#[test]
fn the_first_wave_gets_its_traffic_in_steps() {
    let mut play = check(
        STEPS,
        "start     -> staging 0; stage a
         a staged  -> switching 0; run a
         a healthy -> baking 0",
    );
    assert_eq!(shares(&play), "a 10");
    let explained = play.explained();
    assert!(explained.contains("is healthy with 10% of its traffic and is watched for 30s"), "{explained}");
    assert_eq!(play.act("+30s"), "switching 0; run a");
    assert_eq!(shares(&play), "a 50");
    play.reload();
    assert_eq!(play.act("a healthy"), "baking 0");
    assert_eq!(play.act("promote"), "switching 0; run a");
    assert_eq!(shares(&play), "a 100");
    assert_eq!(play.act("a healthy"), "baking 0");
    assert_eq!(play.act("+59s"), "baking 0");
    assert_eq!(play.act("+1s"), "staging 1; stage b");
    assert_eq!(play.act("b staged"), "switching 1; run b");
    assert_eq!(shares(&play), "a 100, b 100", "later waves get the whole at once");
    assert_eq!(play.act("b healthy"), "succeeded");
}

/// Nor does it share any out with what ran without sides: that is stopped when the release beside it is healthy.
#[test]
fn a_release_over_one_without_sides_is_not_said_to_have_a_share() {
    let begin = "start     -> staging 0; stage a
         a staged  -> switching 0; run a
         a healthy -> baking 0";
    let play = check(&STEPS.replace("a b |", "a:plain b |"), begin);
    let baking = explain(&play.rollout, &Facts::default()).remove(0);
    assert!(baking.what.contains("is healthy with all of its traffic and is watched for 30s"), "{baking:?}");
    let then = "it is watched once more, in place of the step to 50%";
    assert!(baking.then.contains(then), "{then} is not in {}", baking.then);

    // What each host ran counts, and a wave may have both.
    let setup = STEPS.replace("a b |", "a b:plain c |").replace("canary=1", "canary=2 max_unavailable=2");
    let play = check(
        &setup,
        "start       -> staging 0; stage a b
         a b staged  -> switching 0; run a b
         a b healthy -> baking 0",
    );
    let explained = play.explained();
    let shares = "is healthy with 10% of its traffic, on b with all of it, and is watched for 30s";
    assert!(explained.contains(shares), "{explained}");
}

/// A release without sides takes the place of what runs: it has all of the traffic from the first step on.
#[test]
fn a_release_without_sides_is_not_said_to_have_a_share() {
    let setup = format!("{STEPS} traffic.replaces=true gate=go:canary:approval:promotable");
    let mut play = check(
        &setup,
        "start     -> staging 0; stage a
         a staged  -> switching 0; run a
         a healthy -> baking 0",
    );
    let baking = explain(&play.rollout, &Facts::default()).remove(0);
    assert!(baking.what.contains("is healthy with all of its traffic and is watched for 30s"), "{baking:?}");
    let then = "it is watched once more, in place of the step to 50%";
    assert!(baking.then.contains(then), "{then} is not in {}", baking.then);
    assert_eq!(play.act("+30s"), "gating 0; look go");
    let says = "with all of its traffic, in place of the step to 10% (each step is approved by itself)";
    assert!(play.explained().contains(says), "{says} is not in {}", play.explained());
}

/// Scenario 106: going back is the whole at once, and no step is repeated.
#[test]
fn the_way_back_has_no_steps() {
    let mut play = check(
        STEPS,
        "start     -> staging 0; stage a
         a staged  -> switching 0; run a
         a healthy -> baking 0
         +30s      -> switching 0; run a
         abort     -> rolling-back; return a",
    );
    assert_eq!(shares(&play), "a 100");
    assert_eq!(play.act("a healthy"), "aborted");
}

/// A director that is away is a failure of the surroundings: it pauses, and what it says is in the hold.
#[test]
fn a_director_that_is_away_pauses() {
    check(
        STEPS,
        "start     -> staging 0; stage a
         a staged  -> switching 0; run a
         a full    -> paused for environment failures
         retry     -> paused for environment failures
         resume    -> switching 0; stage a",
    );
}

#[test]
fn the_pace_changes_on_the_way() {
    let mut play = check(
        "a b c d e | canary=1 wave=1 max_unavailable=1 canary_bake=1h bake=1h",
        "start                  -> staging 0; stage a
         a staged               -> switching 0; run a
         a healthy              -> baking 0
         pace bake=10s          -> baking 0
         +10s                   -> staging 1; stage b
         pace wave=100%         -> staging 1
         b staged               -> switching 1; run b
         pace max_unavailable=3 -> switching 1
         b healthy              -> baking 1",
    );
    assert_eq!(play.rollout.header.waves, 3);
    assert_eq!(play.act("+10s"), "staging 2; stage c d e");
    assert_eq!(play.act("c d e staged"), "switching 2; run c d e");
    assert_eq!(play.act("c d e healthy"), "baking 2");
    assert_eq!(
        play.act("pace max_unavailable=0"),
        "refused: max_unavailable must be at least 1 host or 1%: nothing could ever move"
    );
    assert_eq!(
        play.act("pace hold=1s"),
        "refused: there are no steps of traffic: the environment has no [traffic]"
    );
    assert_eq!(play.event("pace wave=1"), Event::Pace(Default::default()).as_str());
}

/// Waves that are dealt anew are as large as was said: whoever was excluded is in none of them.
#[test]
fn excluded_hosts_take_no_place_in_waves_that_are_dealt_anew() {
    let play = check(
        "a b c d e f g | canary=1 wave=1 canary_bake=1h",
        "start       -> staging 0; stage a
         a staged    -> switching 0; run a
         a healthy   -> baking 0
         exclude b c -> baking 0
         pace wave=2 -> baking 0",
    );
    assert_eq!((play.waves().as_str(), play.rollout.header.waves), ("a | d e | f g", 3));
}

/// A host that says to run the release already, after a try that failed, gets its further shares at once.
#[test]
fn shares_follow_in_the_same_moment() {
    let mut play = check(
        "a | attempts=2 traffic.director=haproxy traffic.backend=shop traffic.drain=5s traffic.hold=3s traffic.steps=10",
        "start       -> staging 0; stage a
         a staged    -> switching 0; run a
         a failed    -> switching 0; stage a",
    );
    play.act("a unchanged");
    assert_eq!(shares(&play), "a 100");
    let settled = play.rollout.clone();
    play.act("+0s");
    assert_eq!(play.rollout, settled, "a tick finds nothing left to do");
}
