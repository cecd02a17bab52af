//! Scenario 94: hosts that come to be of the environment while its rollout is under way.

use super::transcript::{Play, check};
use crate::rollout::{Event, Facts, Snapshots, explain, last_look, step_in_look};

/// They are a wave of their own, after all others, and begin when the wave before is through.
#[test]
fn newcomers_are_a_wave_of_their_own_after_the_others() {
    let mut play = check(
        "a b n1:new:late n2:new:late | canary=1 bake=10s",
        "start     -> staging 0; stage a
         n1 joins  -> staging 0
         n2 joins  -> staging 0
         a good    -> switching 0; run a
         a good    -> staging 1; stage b
         b good    -> switching 1; run b
         b good    -> baking 1
         +9s       -> baking 1
         +1s       -> staging 2; stage n1 n2",
    );
    play.reload();
    assert_eq!(play.act("n1 n2 good"), "switching 2; run n1 n2");
    assert_eq!(play.act("n1 n2 good"), "baking 2");
    assert_eq!(play.act("+10s"), "succeeded");
    assert_eq!(play.reason(), "all 4 hosts run 2");
    let joined: Vec<String> =
        play.rollout.newcomers().iter().map(|(_, host)| format!("{} in {}", host.name, host.wave)).collect();
    assert_eq!(joined, ["n1 in 2", "n2 in 2"]);
}

/// Their wave is no larger than the strategy allows, and one that was begun takes nobody in any more.
#[test]
fn newcomers_come_in_waves_of_the_strategys_size() {
    check(
        "a n1:new:late n2:new:late n3:new:late | wave=1",
        "start    -> staging 0; stage a
         n1 joins -> staging 0
         a good   -> switching 0; run a
         a good   -> staging 1; stage n1
         n2 joins -> staging 1
         n3 joins -> staging 1
         n1 good  -> switching 1; run n1
         n1 good  -> staging 2; stage n2
         n2 good  -> switching 2; run n2
         n2 good  -> staging 3; stage n3",
    );
}

/// While it is paused they are told nothing until it is resumed.
#[test]
fn newcomers_wait_while_it_is_paused() {
    let mut play = check(
        "a n1:new:late | ",
        "start    -> staging 0; stage a
         a good   -> switching 0; run a
         pause    -> paused by an operator
         n1 joins -> paused by an operator
         a good   -> paused by an operator
         +1h      -> paused by an operator",
    );
    assert_eq!(play.desired(), "a run 2");
    assert_eq!(play.act("resume"), "staging 1; stage n1");
}

/// Whoever comes while the release is watched is moved before that is over; the watch ends when it was to, and the gates
/// of the last wave have passed already.
#[test]
fn newcomers_are_moved_in_the_midst_of_the_watch_which_keeps_its_end() {
    let mut play = check(
        "a n1:new:late | watch=60s gate=errors:last-wave",
        "start            -> staging 0; stage a
         a good           -> switching 0; run a
         a good           -> gating 0; look errors
         gate errors pass -> watching 0
         +30s             -> watching 0
         n1 joins         -> staging 1; stage n1
         n1 good          -> switching 1; run n1
         n1 good          -> watching 1
         +20s             -> watching 1",
    );
    assert_eq!(
        play.explained(),
        "watching until 1m: every wave is done; 2 is watched for 1m, newcomers that were moved meanwhile included \
         [longshore rollout promote ID]"
    );
    // Time in which it was paused is none of the watch's.
    assert_eq!(play.act("pause"), "paused by an operator");
    assert_eq!(play.act("+1h"), "paused by an operator");
    assert_eq!(play.act("resume"), "watching 1");
    assert_eq!(play.act("+9s"), "watching 1");
    assert_eq!(play.act("+1s"), "succeeded");
}

/// However many keep coming: with the end of the watch nobody is taken in any more, and who is on the way arrives.
#[test]
fn newcomers_do_not_keep_a_watched_rollout_from_its_end() {
    let mut play = check(
        "a n1:new:late n2:new:late n3:new:late | wave=1 bake=20s watch=60s stage_ahead=0",
        "start    -> staging 0; stage a
         a good   -> switching 0; run a
         a good   -> baking 0
         +20s     -> watching 0
         +30s     -> watching 0
         n1 joins -> staging 1; stage n1
         n1 good  -> switching 1; run n1
         n1 good  -> baking 1
         n2 joins -> baking 1
         +20s     -> staging 2; stage n2
         n2 good  -> switching 2; run n2
         n2 good  -> baking 2
         +10s     -> baking 2
         n3 joins -> baking 2",
    );
    play.reload();
    assert_eq!(play.act("+10s"), "succeeded");
    assert_eq!(play.reason(), "all 3 hosts run 2");
}

/// Nor do they call its last look off: that is made with the hosts that were watched.
#[test]
fn newcomers_do_not_keep_a_watch_from_its_last_look() {
    let mut play = check(
        "a n1:new:late | watch=60s",
        "start  -> staging 0; stage a
         a good -> switching 0; run a
         a good -> watching 0",
    );
    play.now += 60_000;
    let look = last_look(&play.rollout, None, play.now).expect("its time is over");
    let joins = Event::HostJoined { member: Box::new(play.late[0].clone()), snapshots: Snapshots::new() };
    let next = step_in_look(&play.rollout, joins, look, play.now).expect("a fact").next;
    assert_eq!(next, play.rollout, "nothing has changed");
    assert_eq!(last_look(&next, Some(look), play.now), Some(look), "it goes on");
    assert_eq!(play.act("n1 joins"), "succeeded", "where nobody is looked at it ends");
    assert!(play.rollout.newcomers().is_empty());
}

/// A pause in the midst of a newcomers' wave moves the end of the watch as well.
#[test]
fn a_pause_of_newcomers_moves_the_watch() {
    check(
        "a n1:new:late | watch=60s",
        "start    -> staging 0; stage a
         a good   -> switching 0; run a
         a good   -> watching 0
         +50s     -> watching 0
         n1 joins -> staging 1; stage n1
         pause    -> paused by an operator
         +1h      -> paused by an operator
         resume   -> staging 1
         n1 good  -> switching 1; run n1
         n1 good  -> watching 1
         +9s      -> watching 1
         +1s      -> succeeded",
    );
}

/// Who said yes to the release is not asked again for each host that comes; what is measured after every wave is.
#[test]
fn newcomers_in_the_watch_need_no_further_word() {
    check(
        "a n1:new:late n2:new:late | wave=1 watch=10m promotion=every-wave gate=ok:every-wave:approval gate=errors:every-wave",
        "start            -> staging 0; stage a
         a good           -> switching 0; run a
         a good           -> gating 0; look ok errors
         gate ok pass     -> gating 0
         gate errors pass -> awaiting-promotion 0
         promote          -> watching 0
         n1 joins         -> staging 1; stage n1
         n2 joins         -> staging 1
         n1 good          -> switching 1; run n1
         n1 good          -> gating 1; look errors
         gate errors pass -> staging 2; stage n2
         n2 good          -> switching 2; run n2
         n2 good          -> gating 2; look errors
         gate errors pass -> watching 2",
    );
}

/// They are within the slots and the budget as any host: what fails on them takes the release back.
#[test]
fn newcomers_count_as_any_host() {
    check(
        "a n1:new:late n2:new:late | max_unavailable=1 wave=100%",
        "start     -> staging 0; stage a
         n1 joins  -> staging 0
         n2 joins  -> staging 0
         a good    -> switching 0; run a
         a good    -> staging 1; stage n1 n2
         n1 n2 good -> switching 1; run n1
         n1 failed -> rolling-back; remove n1
         n1 good   -> rolling-back; return a",
    );
}

/// A rollout that goes back, or is over, takes nobody in.
#[test]
fn what_goes_back_takes_nobody_in() {
    let mut play = check(
        "a n1:new:late | ",
        "start    -> staging 0; stage a
         a good   -> switching 0; run a
         abort    -> rolling-back; return a
         n1 joins -> rolling-back
         a good   -> aborted
         n1 joins -> aborted",
    );
    assert!(play.rollout.newcomers().is_empty() && !play.rollout.takes_in());
    assert_eq!(play.act("n1 good"), "aborted");
}

/// A host that is drained, or of the group that keeps what it has, is left out as it would have been from the start.
#[test]
fn newcomers_that_are_left_out_change_nothing() {
    let play = check(
        "a n1:excluded:late | ",
        "start    -> staging 0; stage a
         n1 joins -> staging 0
         a good   -> switching 0; run a
         a good   -> succeeded",
    );
    assert_eq!(play.reason(), "1 host runs 2; 1 excluded: n1");
}

/// Behind a balancer they get connections for the first time when they are good.
#[test]
fn newcomers_behind_a_balancer_join_when_they_are_good() {
    check(
        "a n1:new:late lb | max_unavailable=1 traffic.director=haproxy traffic.backend=shop traffic.drain=5s \
         traffic.hold=30s balancers=",
        "start       -> staging 0; stage a; direct a=100
         n1 joins    -> staging 0; direct a=100 n1=0
         a staged    -> switching 0
         lb directed -> switching 0; direct a=0 n1=0
         lb directed -> switching 0; run a
         a healthy   -> switching 0; direct a=100 n1=0
         lb directed -> staging 1; stage n1
         n1 staged   -> switching 1; run n1
         n1 healthy  -> switching 1; direct a=100 n1=100
         lb directed -> succeeded",
    );
}

/// A balancer that has no server for a newcomer can direct nobody: it is said how to go on without that host, and then the
/// balancer is told nothing of it any more.
#[test]
fn newcomers_that_a_balancer_does_not_know_can_be_left_out() {
    let mut play = check(
        "a n1:new:late lb | max_unavailable=1 progress_deadline=60s traffic.director=haproxy traffic.backend=shop \
         traffic.drain=5s traffic.hold=30s balancers=",
        "start       -> staging 0; stage a; direct a=100
         n1 joins    -> staging 0; direct a=100 n1=0
         a staged    -> switching 0
         lb lacks-n1 -> switching 0; direct a=100 n1=0",
    );
    let then = |play: &Play| explain(&play.rollout, &Facts::default()).remove(0).then;
    let without =
        format!("to go on without n1: longshore rollout exclude {} n1", play.rollout.header.id.short());
    assert_eq!(then(&play), format!("the rollout pauses and asks; {without}"));
    assert_eq!(play.act("+60s"), "paused for want of progress");
    assert!(then(&play).contains(&format!("; {without}, and then resume it")), "{}", then(&play));
    assert_eq!(play.act("exclude n1"), "paused for want of progress; direct a=100");
    play.reload();
    assert_eq!(play.act("lb directed"), "paused for want of progress");
    assert!(!then(&play).contains("exclude"), "{}", then(&play));
    assert_eq!(play.act("resume"), "switching 0; direct a=0");
    assert_eq!(play.act("lb directed"), "switching 0; run a");
    assert_eq!(play.act("a healthy"), "switching 0; direct a=100");
    assert_eq!(play.act("lb directed"), "succeeded");
    assert_eq!(play.reason(), "1 host runs 2; 1 excluded: n1");
}

/// A release that every host had already is brought to the newcomer alone.
#[test]
fn newcomers_of_a_rollout_that_is_not_started_yet() {
    check(
        "a:excluded n1:new:late | ",
        "n1 joins -> ready
         start    -> staging 0; stage n1
         n1 good  -> switching 0; run n1
         n1 good  -> succeeded",
    );
}
