//! Windows and freezes: what is begun, what finishes, what goes back, and what is late.

use std::collections::BTreeSet;

use super::{
    properties::what_is_closed_is_left_alone,
    transcript::{Play, check},
    walk::{Dice, FLEETS, STRATEGIES, all_lines, names, random_line},
};
use crate::rollout::{Facts, explain};

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
        "closed until 1h: prod is closed: outside the window night; 2 hosts wait: b, c [longshore env calendar prod]"
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
    let explained = play.explained();
    let wanted = "prod is closed: outside the window night; 2 hosts wait: a, b [longshore env calendar prod]";
    assert!(explained.ends_with(wanted), "{explained}");
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

/// What is on its hosts already need not come there once more.
#[test]
fn a_wave_that_is_staged_is_not_said_to_be_staged_when_it_opens() {
    let then = |lines: &[&str]| {
        let mut play = Play::new("a b | wave=1 bake=30s");
        for line in lines {
            play.act(line);
        }
        explain(&play.rollout, &Facts::default()).last().map(|hold| hold.then.clone()).unwrap()
    };
    let to_be_staged = ["start", "a staged", "a healthy", "closed 1h", "+30s"];
    assert_eq!(then(&to_be_staged), "wave 2 of 2 is staged");
    let staged = ["start", "closed 1h", "a staged"];
    assert_eq!(then(&staged), "the first of 2 waves switches");
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
    let then = &explain(&play.rollout, &Facts::default())[0].then;
    assert_eq!(then, "the first wave begins; not before, also where the environment opens earlier");
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

/// A further share of traffic is a change of the host: it waits as a switch does, though the wave is good and watched.
/// The way back gives the old release all of it at once.
#[test]
fn traffic_is_not_moved_while_it_is_closed() {
    let steps = "a b | canary=1 canary_bake=60s traffic.director=haproxy traffic.backend=shop traffic.drain=5s \
                 traffic.hold=30s traffic.steps=10+50";
    for closed in ["closed 1h", "closed-finishing 1h"] {
        let mut play = check(
            steps,
            "start     -> staging 0; stage a
             a staged  -> switching 0; run a
             a healthy -> baking 0",
        );
        assert_eq!(play.act(closed), "baking 0");
        assert_eq!(play.act("+30s"), "switching 0", "{closed}: the next share is begun by nobody");
        assert_eq!(play.act("promote"), "refused: the first of 2 waves is not healthy: a is staged");
        assert_eq!(play.act("+30m"), "switching 0");
        assert!(play.explained().contains("prod is closed"), "{}", play.explained());
        assert_eq!(play.clone().act("abort"), "rolling-back; return a");
        assert_eq!(play.act("open"), "switching 0; run a");
    }
}

/// A host that nobody waits for any more is not sent back at an hour that is closed for it; it is told when it opens.
#[test]
fn a_silent_host_is_not_told_to_go_back_while_that_is_closed() {
    let mut play = Play::new("a b | unknown=wait progress_deadline=60s bake=1h");
    for line in ["start", "a b staged", "a b healthy", "b silent", "closed-both 1h"] {
        play.act(line);
    }
    assert_eq!(play.act("abort"), "rolling-back");
    assert_eq!(play.act("+30m"), "rolling-back");
    assert_eq!(play.act("b back"), "rolling-back");
    assert_eq!(play.act("open"), "rolling-back; return a b");
    assert_eq!(play.act("a b healthy"), "aborted");
}

/// Whatever has happened before: once it is closed, no event that there is begins anything on a host.
#[test]
fn no_event_begins_anything_while_it_is_closed() {
    let traffic =
        "traffic.director=haproxy traffic.backend=shop traffic.drain=5s traffic.hold=3s traffic.steps=10+50";
    let (mut tried, mut phases) = (0, BTreeSet::new());
    for (seed, strategy) in (0..).zip(STRATEGIES.iter().cycle().take(200)) {
        let mut dice = Dice(seed);
        let traffic = if dice.percent(40) { traffic } else { "" };
        let fleet = FLEETS[dice.below(FLEETS.len())];
        let mut play = Play::new(&format!("{fleet} | {strategy} {traffic}"));
        let names = names(&play);
        play.act("start");
        let calm = dice.percent(50);
        for _ in 0..dice.below(30) {
            match calm {
                true => all_is_well(&mut play, &mut dice, &names),
                false => drop(play.act(&random_line(&mut dice, &names))),
            }
        }
        for closed in ["closed 1h", "closed-finishing 1h", "closed-both 1h"] {
            let mut shut = play.clone();
            shut.act("open");
            shut.act(closed);
            phases.insert(shut.rollout.phase().as_str());
            for line in all_lines(&names).iter().filter(|line| *line != "open") {
                let mut then = shut.clone();
                let said = then.act(line);
                let broken = what_is_closed_is_left_alone(&shut.rollout, &then.rollout);
                assert_eq!(broken, None, "seed {seed}, {strategy} {traffic}: {closed}, {line} -> {said}");
                tried += 1;
            }
        }
    }
    assert!(tried > 10_000, "{tried}");
    let all = [
        "staging",
        "switching",
        "baking",
        "gating",
        "watching",
        "awaiting-promotion",
        "rolling-back",
        "paused",
        "done",
    ];
    assert!(all.iter().all(|phase| phases.contains(phase)), "{phases:?}");
}

/// What is asked works, gates pass, or time does.
fn all_is_well(play: &mut Play, dice: &mut Dice, names: &[String]) {
    match dice.below(3) {
        0 => drop(play.act(["gate early pass", "gate errors pass", "gate smoke pass"][dice.below(3)])),
        1 => drop(play.act("+5s")),
        _ => names.iter().for_each(|name| drop(play.act(&format!("{name} good")))),
    }
}
