//! Silence, local holds, stale words: what a fleet does to a rollout.

use super::transcript::{Play, check};
use crate::rollout::{Facts, explain};

/// Scenario 56: a host that was offline takes the release when it is back.
#[test]
fn an_offline_host_takes_the_release_when_it_is_back() {
    check(
        "a b:silent | max_unavailable=2",
        "start     -> staging 0; stage a
         a staged  -> switching 0; run a
         a healthy -> switching 0
         b back    -> switching 0; stage b
         b staged  -> switching 0; run b
         b healthy -> succeeded",
    );
}

/// Scenario 56: also one whose wave is long over.
#[test]
fn a_straggler_joins_a_later_wave() {
    check(
        "a b:silent c d | wave=2 unknown=skip bake=10s",
        "start      -> staging 0; stage a
         a staged   -> switching 0; run a
         a healthy  -> baking 0
         +10s       -> staging 1; stage c d
         b back     -> staging 1; stage b
         c d staged -> switching 1; run c d
         b staged   -> switching 1; run b
         c d healthy -> switching 1
         b healthy  -> baking 1
         +10s       -> succeeded",
    );
}

/// Scenario 120: one lost host keeps nobody waiting where the strategy skips it.
#[test]
fn a_lost_host_is_skipped() {
    let play = check(
        "a b:silent c | max_unavailable=1 unknown=skip",
        "start      -> staging 0; stage a c
         a c staged -> switching 0; run a
         a healthy  -> switching 0; run c
         c healthy  -> succeeded",
    );
    assert_eq!(play.reason(), "2 of 3 hosts run 2; 1 unknown: b");
}

/// Where the environment follows, the last sentence says who gets it later; not of a host that runs it already.
#[test]
fn who_misses_it_gets_it_later() {
    let play = check(
        "a b:silent c:held d:2:silent | unknown=skip follows",
        "start     -> staging 0; stage a
         a staged  -> switching 0; run a
         a healthy -> succeeded",
    );
    let last = "1 of 4 hosts runs 2; 2 unknown: b, d; 1 refused: c (lunch); \
                will get it on return: b; will get it when held no longer: c";
    assert_eq!(play.reason(), last);
}

/// A frozen fleet is no host's own hold: where some have the release it is waited for as long as for anything, and nobody is
/// told that the rollout has succeeded.
#[test]
fn a_fleet_that_is_frozen_under_way_is_waited_for() {
    let frozen = || {
        check(
            "a b c | canary=1 held=skip progress_deadline=10m follows",
            "start    -> staging 0; stage a
             a good   -> switching 0; run a
             a good   -> staging 1; stage b c
             b frozen -> staging 1
             c frozen -> switching 1",
        )
    };
    let why = "the fleet is frozen: key stolen";
    let mut play = frozen();
    let waits = format!("2 hosts decline it: b ({why}), c ({why}) [longshore fleet unfreeze]");
    assert!(play.explained().ends_with(&waits), "{}", play.explained());
    assert_eq!(play.act("b c unheld"), "switching 1; stage b c");
    assert_eq!(play.act("b c good"), "switching 1; run b c");
    assert_eq!(play.act("b c good"), "succeeded");

    let mut play = frozen();
    assert_eq!(play.act("+10m"), "paused for want of progress");
    // Whoever resumes has been told.
    assert_eq!(play.act("resume"), "succeeded");
    assert!(play.reason().starts_with(&format!("1 of 3 hosts runs 2; 2 refused: b ({why}), c ({why})")));
    check(
        "a b | held=skip",
        "start    -> staging 0; stage a b
         a frozen -> staging 0
         b frozen -> failed",
    );
}

/// So does one that an operator had drained when it began, unless an operator names it as one that is not to have it.
/// Where nobody took part the release was shown to work nowhere: nobody gets it by itself.
#[test]
fn who_was_drained_gets_it_when_drained_no_longer() {
    let rolls = "start     -> staging 0; stage a
                 a staged  -> switching 0; run a
                 a healthy -> succeeded";
    let play = check("a b:drained c:2:drained d:excluded | follows", rolls);
    let last = "1 host runs 2; will get it when drained no longer: b; 3 excluded: b, c, d";
    assert_eq!(play.reason(), last);
    let play = check("a b:drained |", rolls);
    assert_eq!(play.reason(), "1 host runs 2; 1 excluded: b", "its environment waits");
    let play = check(
        "a b:drained | follows",
        "start     -> staging 0; stage a
         exclude b -> staging 0
         a staged  -> switching 0; run a
         a healthy -> succeeded",
    );
    assert_eq!(play.reason(), "1 host runs 2; 1 excluded: b");
    let play = check("a b:undrained:excluded | follows", rolls);
    assert_eq!(play.reason(), "1 host runs 2; 1 excluded: b", "what its plan had against it stands");
    let play = check("a:drained | follows", "start -> nothing-to-do");
    assert_eq!(play.reason(), "no host takes part; 1 excluded: a");
    assert!(!play.rollout.hosts.values().any(|host| host.misses_out()));
}

/// Scenario 52: a release that takes the network away goes back by itself, and the host tells it when it can. Until then
/// it is unknown, and nobody else is switched.
#[test]
fn a_release_that_cuts_its_host_off_is_told_late() {
    let play = check(
        "a b | canary=1 bake=10s",
        "start      -> staging 0; stage a
         a staged   -> switching 0; run a
         a silent   -> switching 0
         a back     -> switching 0
         a reverted -> rolled-back",
    );
    assert_eq!(play.states(), "a reverted, b waiting");
}

/// A lost host counts against the budget where the strategy says so, and the pause says who it is.
#[test]
fn a_lost_host_counts_against_the_budget() {
    let mut play = check(
        "a b c | unknown=count",
        "start        -> staging 0; stage a b c
         a b c staged -> switching 0; run a b c
         b silent     -> paused for environment failures
         a c healthy  -> paused for environment failures",
    );
    assert!(play.explained().contains("not by the release: b"), "{}", play.explained());
    assert_eq!(play.act("resume"), "succeeded");
}

/// By default a lost host is waited for until the progress deadline, and then a human decides: nobody is rolled back.
#[test]
fn a_lost_host_is_waited_for() {
    let mut play = check(
        "a b c | progress_deadline=10m",
        "start        -> staging 0; stage a b c
         a b c staged -> switching 0; run a b c
         b silent     -> switching 0
         a c healthy  -> switching 0
         +9m          -> switching 0",
    );
    assert_eq!(play.explained(), "unknown-hosts until 10m: 1 host is unknown: b [longshore host show b]");
    assert_eq!(play.act("+1m"), "paused for want of progress");
    assert_eq!(play.act("b back"), "paused for want of progress");
    assert_eq!(play.act("resume"), "switching 0");
    assert_eq!(play.act("b healthy"), "succeeded");
}

/// Scenario 107: a network split is no verdict on the release: nobody is rolled back, and a human decides.
#[test]
fn a_network_split_rolls_nobody_back() {
    for unknown in ["count", "wait", "skip"] {
        let mut play = Play::new(&format!(
            "a b c d e f | wave=3 bake=10m max_unavailable=3 progress_deadline=10m unknown={unknown}"
        ));
        for line in ["start", "a b c staged", "a b c healthy", "+1m", "a b d e silent", "+1h", "+1h", "+1h"] {
            let said = play.act(line);
            assert!(!said.contains("return") && !said.contains("rolling"), "{unknown}: {line}: {said}");
        }
        assert!(play.desired().starts_with("a run 2, b run 2, c run 2"), "{}", play.desired());
    }
}

/// Scenario 107: the one automatic rollback is not followed by another try or another rollback.
#[test]
fn at_most_one_automatic_rollback() {
    let mut play = check(
        "a b c d | max_unavailable=2 bake=1h rollback_deadline=5m",
        "start          -> staging 0; stage a b c d
         a b c d staged -> switching 0; run a b
         a b healthy    -> switching 0; run c d
         c reverted     -> rolling-back; return a d
         a failed       -> rolling-back
         d healthy      -> rolling-back; return b
         b healthy      -> failed
         +1d            -> failed",
    );
    assert_eq!(play.act("a back"), "failed");
    assert_eq!(play.states(), "a inconsistent, b rolled-back, c reverted, d rolled-back");
}

/// Scenario 65: a host that was cut off and comes back is not asked twice, and what it did meanwhile counts.
#[test]
fn a_cut_off_host_is_not_asked_twice() {
    let mut play = check(
        "a b",
        "start      -> staging 0; stage a b
         a b staged -> switching 0; run a b
         a silent   -> switching 0
         a silent   -> switching 0
         a back     -> switching 0
         b healthy  -> switching 0",
    );
    assert_eq!(play.states(), "a switching, b healthy");
    assert_eq!(play.act("a healthy"), "succeeded");
    assert_eq!(play.act("a healthy"), "succeeded");
}

/// A word about an older ask changes nothing, in any phase.
#[test]
fn stale_reports_change_nothing() {
    check(
        "a b | max_unavailable=1",
        "a healthy@1   -> ready
         start         -> staging 0; stage a b
         a failed@0    -> staging 0
         a healthy@2   -> staging 0
         a b staged    -> switching 0; run a
         a failed@1    -> switching 0
         a healthy     -> switching 0; run b
         b reverted    -> rolling-back; return a
         a failed@2    -> rolling-back
         a healthy     -> rolled-back",
    );
}

/// Scenario 92: a held host is passed over, says why, and joins when it is let go.
#[test]
fn a_held_host_is_passed_over_until_it_is_let_go() {
    let mut play = check(
        "a b c:held d | wave=1",
        "start     -> staging 0; stage a
         a staged  -> switching 0; run a
         a healthy -> staging 1; stage b
         b refuses -> staging 3; stage d",
    );
    assert_eq!(play.states(), "a healthy, b refused, c refused, d staging");
    assert_eq!(play.act("b unheld"), "staging 3; stage b");
    assert_eq!(play.act("d b staged"), "switching 3; run d b");
    assert_eq!(play.act("b d healthy"), "succeeded");
    assert_eq!(play.reason(), "3 of 4 hosts run 2; 1 refused: c (lunch)");
}

/// Scenario 92, in our words: a host whose admin has not let it go is waited for where the strategy says so; the hold
/// names the reason and the way out, refusing keeps it waiting, and letting it go runs it.
#[test]
fn a_held_host_is_waited_for() {
    let mut play = check(
        "a b | held=wait progress_deadline=10m",
        "start      -> staging 0; stage a b
         a b staged -> switching 0; run a b
         b refuses  -> switching 0; stage b
         a healthy  -> switching 0",
    );
    assert_eq!(play.states(), "a healthy, b refused");
    assert_eq!(
        play.explained(),
        "held-hosts until 10m: 1 host is held locally: b (refuses) [longshore-agent unhold]"
    );
    assert_eq!(play.act("b unheld"), "switching 0; run b");
    assert_eq!(play.act("b healthy"), "succeeded");
}

/// A download that does not end is the fault of its surroundings.
#[test]
fn slow_staging_is_no_verdict_on_the_release() {
    check(
        "a b | stage_deadline=1h",
        "start    -> staging 0; stage a b
         a staged -> staging 0
         +1h      -> paused for environment failures
         resume   -> switching 0; run a
         a healthy -> succeeded",
    );
}

/// Unknown hosts take slots: what may be down is down already.
#[test]
fn unknown_hosts_take_slots() {
    let mut play = check(
        "a b c:silent | wave=1 max_unavailable=1 progress_deadline=10m",
        "start    -> staging 0; stage a
         a staged -> switching 0",
    );
    assert_eq!(
        play.explained(),
        "no-slot until 10m: 1 host waits for a slot: a; at most 1 may be down at once, and down are: c \
         (unknown) [longshore rollout exclude ID c]"
    );
    let mut without = play.clone();
    assert_eq!(without.act("exclude c"), "switching 0; run a", "what is said helps");
    let hold = explain(&play.rollout, &Facts::default()).remove(0);
    assert!(hold.then.ends_with(" --max-unavailable 2"), "{}", hold.then);
    let mut wider = play.clone();
    assert_eq!(wider.act("pace max_unavailable=2"), "switching 0; run a", "and so does this");
    assert_eq!(play.act("c back"), "switching 0; run a");
}

/// A pause for want of progress names who was in the way, not who has not had its turn; and says so when nobody is
/// any more.
#[test]
fn a_pause_names_what_is_in_the_way() {
    let mut play = check(
        "a b c | wave=1 unknown=wait progress_deadline=10m",
        "start    -> staging 0; stage a
         a staged -> switching 0; run a
         a silent -> switching 0
         +10m     -> paused for want of progress",
    );
    let paused =
        "no-progress: paused while switching in the first of 3 waves: nothing could move before the deadline";
    let resume = "[longshore rollout resume ID]";
    assert_eq!(play.explained(), format!("{paused}: a (unknown) {resume}"));
    play.act("a back");
    play.act("a healthy");
    assert_eq!(play.explained(), format!("{paused}: what was in the way is gone {resume}"));
}

/// What is said of resuming is what it does: the unknown one is passed over, and the staged one has its turn.
#[test]
fn a_pause_says_what_resuming_does_with_each() {
    let mut play = check(
        "a b c | wave=2 max_unavailable=1 unknown=wait progress_deadline=10m",
        "start      -> staging 0; stage a b
         a b staged -> switching 0; run a
         a silent   -> switching 0
         +10m       -> paused for want of progress",
    );
    let hold = explain(&play.rollout, &Facts::default()).remove(0);
    assert!(hold.what.ends_with("a (unknown), b (staged)"), "{}", hold.what);
    let wanted = "on resume it passes over a, and it goes on with b; or undo it: ";
    assert!(hold.then.starts_with(wanted), "{}", hold.then);
    assert_eq!(play.act("resume"), "switching 0; run b");
}

/// Whoever resumes knows how hosts stand at that moment. One that is healthy since is a host as any other: when it falls
/// silent it takes a slot, and is waited for.
#[test]
fn what_an_operator_accepted_is_over_when_the_host_is_healthy() {
    let mut play = check(
        "a:sick b c d e | max_unavailable=2 unknown=wait",
        "start            -> staging 0; stage a b c d e
         a b c d e staged -> switching 0; run a b
         b full           -> paused for environment failures
         resume           -> switching 0; run c d
         a healthy        -> switching 0
         a silent         -> switching 0
         c healthy        -> switching 0
         d healthy        -> switching 0; run e
         e healthy        -> switching 0",
    );
    assert!(play.explained().contains("1 host is unknown: a"), "{}", play.explained());
    assert_eq!(play.act("a back"), "succeeded");
}
