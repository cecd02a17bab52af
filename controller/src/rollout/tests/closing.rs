//! Windows and freezes: what is begun, what finishes, what goes back, and what is late.

use super::transcript::{Play, check};

/// Scenario 125: no host changes while it is closed, and never two at once.
#[test]
fn nothing_is_begun_while_it_is_closed() {
    let play = check(
        "a b c | max_unavailable=1 wave=1 stage_ahead=1",
        "closed 60s -> ready
         start -> staging 0
         +59s -> staging 0
         open -> staging 0; stage a b
         a b good -> switching 0; run a
         closed 60s -> switching 0
         a healthy -> staging 1
         +3600s -> staging 1
         open -> switching 1; run b; stage c",
    );
    assert_eq!(play.states(), "a healthy, b switching, c staging");
}

/// Hosts that switch finish; the others of the wave do not begin, and nobody is late for it.
#[test]
fn a_wave_holds_where_it_is() {
    let play = check(
        "a b c | max_unavailable=1 progress_deadline=60s",
        "start -> staging 0; stage a b c
         a b c good -> switching 0; run a
         closed 1h -> switching 0
         a healthy -> switching 0
         +30m -> switching 0",
    );
    assert_eq!(
        play.explained(),
        "closed until 1h: prod is closed: outside the window night [longshore env calendar prod]"
    );
    let mut play = play;
    assert_eq!(play.act("open"), "switching 0; run b");
    assert_eq!(play.deadline(), "31m", "the time to make progress begins anew");
}

#[test]
fn a_wave_that_may_finish_finishes_and_no_other_begins() {
    check(
        "a b c | max_unavailable=1 wave=2 progress_deadline=60s",
        "start -> staging 0; stage a b
         a b good -> switching 0; run a
         closed-finishing 1h -> switching 0
         a healthy -> switching 0; run b
         b healthy -> staging 1
         +30m -> staging 1
         open -> staging 1; stage c",
    );
}

/// What was only staged when it closed was not under way.
#[test]
fn a_wave_that_had_not_begun_does_not_finish() {
    check(
        "a b",
        "start -> staging 0; stage a b
         closed-finishing -> staging 0
         a b good -> staging 0
         open -> switching 0; run a b",
    );
}

/// A host that is in the middle of it is as late as ever.
#[test]
fn a_host_that_hangs_is_undone_though_it_is_closed() {
    check(
        "a b | max_unavailable=1 progress_deadline=60s",
        "start -> staging 0; stage a b
         a b good -> switching 0; run a
         closed 1h -> switching 0
         +60s -> rolling-back; return a
         a healthy -> rolled-back",
    );
}

#[test]
fn hosts_go_back_while_it_is_closed_unless_that_is_closed_too() {
    check(
        "a b | max_unavailable=1",
        "start -> staging 0; stage a b
         a b good -> switching 0; run a
         closed -> switching 0
         a healthy -> switching 0
         rollback -> rolling-back; return a",
    );
    let mut play = check(
        "a b | max_unavailable=1 rollback_deadline=60s",
        "start -> staging 0; stage a b
         a b good -> switching 0; run a
         a healthy -> switching 0; run b
         closed-both 1h -> switching 0
         b failed -> rolling-back
         +10m -> rolling-back",
    );
    assert!(
        play.explained().ends_with("prod is closed: outside the window night [longshore env calendar prod]")
    );
    assert_eq!(play.act("open"), "rolling-back; return a");
}

/// Closed is no pause: a bake goes on, an operator may pause and resume, and an abort is honoured.
#[test]
fn what_touches_no_host_goes_on() {
    let mut play = check(
        "a b | wave=1 bake=30s",
        "start -> staging 0; stage a
         a good -> switching 0; run a
         a healthy -> baking 0
         closed 1h -> baking 0
         +30s -> staging 1
         pause -> paused by an operator
         resume -> staging 1
         abort -> rolling-back; return a",
    );
    assert_eq!(play.act("a healthy"), "aborted");
}

/// Scenario 93: begins when its time has come, however late somebody looks, and not while it is closed.
#[test]
fn what_is_to_begin_later_begins_later() {
    let mut play = Play::new("a");
    play.rollout.header.start_at = Some(60_000);
    assert_eq!(play.act("+59s"), "ready");
    assert_eq!(play.deadline(), "1m");
    assert_eq!(
        play.explained(),
        "not-started until 1m: it was made to begin later [longshore rollout abort ID]"
    );
    assert_eq!(play.act("closed"), "ready");
    assert_eq!(play.act("+1h"), "staging 0");
    assert_eq!(play.act("open"), "staging 0; stage a");
}

/// An environment that runs something bad is taken back whatever the hour, unless that is closed too.
#[test]
fn a_rollout_that_goes_back_goes_on_while_it_is_closed() {
    let mut play = Play::new("a b | max_unavailable=1");
    play.rollout.header.back = true;
    assert_eq!(play.act("closed 1h"), "ready");
    assert_eq!(play.act("start"), "staging 0; stage a b");
    assert_eq!(play.act("closed-both 1h"), "staging 0");
    assert_eq!(play.act("a b good"), "staging 0");
    assert_eq!(play.act("closed 1h"), "switching 0; run a");
}

/// A wave that staged and waits for its environment to open is judged all the while: when the last host that could still
/// be good is held, or comes back and is, every host of the wave has failed, and it is over.
#[test]
fn a_hold_may_end_it_before_it_opens() {
    let over = check(
        "a b:held | budget.count=1 held=skip",
        "start    -> staging 0; stage a
         closed   -> staging 0
         b unheld -> staging 0
         a failed -> staging 0
         b held   -> failed",
    );
    assert!(over.reason().contains("nothing had been switched"), "{}", over.reason());
    check(
        "a b:silent | budget.count=1 held=skip unknown=wait",
        "start    -> staging 0; stage a
         closed   -> staging 0
         b held   -> staging 0
         a failed -> staging 0
         b back   -> failed",
    );
}
