//! A rollout that is taken up after nobody was there for longer than its deadlines.

use longshore_common::{ids::HostId, time::Millis};

use super::transcript::{Play, check};
use crate::rollout::{next_deadline, taken_up, unheard_when_due};

const HOUR: Millis = 3_600_000;

/// So much later somebody is there again, and looks at the clock.
fn after(play: &mut Play, away: Millis) -> String {
    play.now += away;
    play.rollout = taken_up(&play.rollout, play.now);
    play.reload();
    play.act("+0s")
}

/// Hosts went on by themselves; what they came to is heard before it is judged.
#[test]
fn hosts_have_time_to_say_what_they_came_to() {
    let mut play = check(
        "a b | max_unavailable=1 progress_deadline=10m",
        "start      -> staging 0; stage a b
         a b staged -> switching 0; run a",
    );
    assert_eq!(after(&mut play, HOUR), "switching 0");
    assert_eq!(next_deadline(&play.rollout), Some(play.now + 600_000));
    assert_eq!(play.act("a healthy"), "switching 0; run b");
    let late = play.act("+10m");
    assert!(late.starts_with("rolling-back"), "whoever is there and says nothing is judged as ever: {late}");

    let mut staging = check("a | stage_deadline=10m", "start -> staging 0; stage a");
    assert_eq!(after(&mut staging, HOUR), "staging 0");
    assert_eq!(staging.act("a staged"), "switching 0; run a");

    let mut back = check(
        "a | rollback_deadline=10m",
        "start    -> staging 0; stage a
         a staged -> switching 0; run a
         abort    -> rolling-back; return a",
    );
    assert_eq!(after(&mut back, HOUR), "rolling-back");
    assert_eq!(back.act("a healthy"), "aborted");
    assert_eq!(back.states(), "a rolled-back");
}

/// A host that died in its switch is no verdict on the release, however soon the deadline comes after it.
#[test]
fn who_has_no_connection_at_the_deadline_is_unknown_and_has_not_failed() {
    let due = |play: &mut Play, gone: &str, later: Millis| {
        play.now += later;
        let of_host = |id: &HostId| gone.split(' ').any(|name| play.rollout.hosts[id].name.as_str() == name);
        play.rollout = unheard_when_due(play.rollout.clone(), of_host, play.now);
        play.act("+0s")
    };
    let switching = || {
        check(
            "a b c | canary=1 max_unavailable=2 unknown=wait progress_deadline=20s",
            "start      -> staging 0; stage a
             a staged   -> switching 0; run a
             a healthy  -> staging 1; stage b c
             b c staged -> switching 1; run b c",
        )
    };
    let mut play = switching();
    assert_eq!(due(&mut play, "b c", 19_999), "switching 1");
    assert_eq!(play.states(), "a healthy, b switching, c switching", "it may come back until then");
    assert_eq!(due(&mut play, "b c", 1), "paused for want of progress");
    assert!(play.explained().contains("b"), "{}", play.explained());
    assert_eq!(play.desired(), "a run 2, b run 2, c run 2", "what is healthy stays");
    let mut one = switching();
    let said = due(&mut one, "b", 20_000);
    assert!(said.starts_with("rolling-back"), "c is there and says nothing: {said}");

    let mut back = check(
        "a | rollback_deadline=20s",
        "start    -> staging 0; stage a
         a staged -> switching 0; run a
         abort    -> rolling-back; return a",
    );
    assert_eq!(due(&mut back, "a", 20_000), "aborted");
    assert!(back.reason().contains("will go back on return: a"), "{}", back.reason());
}

/// A deadline that is far away is left where it is, however often somebody else takes the rollout up.
#[test]
fn a_deadline_that_is_far_away_stays() {
    let mut play = check(
        "a | progress_deadline=10m",
        "start    -> staging 0; stage a
         a staged -> switching 0; run a",
    );
    let deadline = next_deadline(&play.rollout);
    for _ in 0..4 {
        assert_eq!(after(&mut play, 60_000), "switching 0");
        assert_eq!(next_deadline(&play.rollout), deadline);
    }
}

/// Nobody looked, so that it has not failed to come to a verdict.
#[test]
fn a_gate_that_nobody_looked_at_has_its_time() {
    let mut play = check(
        "a b | canary=1 gate=errors:canary:deadline=1m",
        "start     -> staging 0; stage a
         a staged  -> switching 0; run a
         a healthy -> gating 0; look errors",
    );
    assert_eq!(after(&mut play, HOUR), "gating 0");
    assert_eq!(next_deadline(&play.rollout), Some(play.now + 60_000));
    assert_eq!(play.act("gate errors pass"), "staging 1; stage b");
}

/// People had the time all the same, so that an approval does not wait for as long again: whoever came in vain has a moment.
#[test]
fn an_approval_that_nobody_could_give_keeps_its_deadline() {
    let setup = "a b | canary=1 gate=ok:canary:approval:deadline=4h";
    let asked = || {
        check(
            setup,
            "start     -> staging 0; stage a
             a staged  -> switching 0; run a
             a healthy -> gating 0; look ok",
        )
    };
    let mut in_time = asked();
    assert_eq!(after(&mut in_time, 3 * HOUR), "gating 0");
    assert_eq!(next_deadline(&in_time.rollout), Some(4 * HOUR));
    for away in [4 * HOUR - 60_000, 5 * HOUR] {
        let mut late = asked();
        assert_eq!(after(&mut late, away), "gating 0");
        assert_eq!(next_deadline(&late.rollout), Some(away + 120_000));
        assert_eq!(late.clone().act("gate ok pass"), "staging 1; stage b");
        assert_eq!(late.act("+2m"), "paused for a gate");
    }
}
