//! Hosts behind load balancers: drained and joined one after the other, or two groups and a switch between them.

use super::transcript::{Play, check};
use crate::rollout::{Facts, explain};

pub(super) const ROLLING: &str = "a b lb | wave=1 max_unavailable=1 progress_deadline=60s traffic.director=haproxy \
                       traffic.backend=shop traffic.drain=5s traffic.hold=30s balancers=";

#[test]
fn a_host_is_drained_before_it_is_changed_and_joins_when_it_is_healthy() {
    let mut play = check(
        ROLLING,
        "start       -> staging 0; stage a; direct a=100 b=100
         a staged    -> switching 0",
    );
    assert_eq!(
        play.explained(),
        "balancer until 1m: 1 host waits for balancers to direct traffic: a (staged); not done: lb [longshore host show lb]"
    );
    assert_eq!(play.act("lb directed"), "switching 0; direct a=0 b=100");
    assert_eq!(play.states(), "a draining, b waiting");
    play.reload();
    assert_eq!(play.act("lb directed"), "switching 0; run a");
    assert_eq!(play.act("a healthy"), "switching 0; direct a=100 b=100");
    assert_eq!(play.states(), "a joining, b waiting");
    assert_eq!(play.act("lb directed"), "staging 1; stage b");
    assert_eq!(play.act("b staged"), "switching 1; direct a=100 b=0");
    assert_eq!(play.act("lb directed"), "switching 1; run b");
    assert_eq!(play.act("b healthy"), "switching 1; direct a=100 b=100");
    assert_eq!(play.act("lb directed"), "succeeded");
}

/// However many wait, no more lose their connections than may be down; also before the balancers first answered.
#[test]
fn no_more_are_drained_than_may_be_down() {
    check(
        "a b c d lb | max_unavailable=2 traffic.director=haproxy traffic.backend=shop traffic.drain=5s \
         traffic.hold=30s balancers=",
        "start          -> staging 0; stage a b c d; direct a=100 b=100 c=100 d=100
         a b c d staged -> switching 0
         lb directed    -> switching 0; direct a=0 b=0 c=100 d=100
         lb directed    -> switching 0; run a b
         a healthy      -> switching 0; direct a=100 b=0 c=100 d=100
         lb directed    -> switching 0; direct a=100 b=0 c=0 d=100
         lb directed    -> switching 0; run c
         b healthy      -> switching 0; direct a=100 b=100 c=0 d=100
         lb directed    -> switching 0; direct a=100 b=100 c=0 d=0
         lb directed    -> switching 0; run d
         c d healthy    -> switching 0; direct a=100 b=100 c=100 d=0; direct a=100 b=100 c=100 d=100
         lb directed    -> succeeded",
    );
}

/// Every balancer has to have come so far.
#[test]
fn all_balancers_are_waited_for() {
    let mut play = check(
        "a lb-1 lb-2 | traffic.director=haproxy traffic.backend=shop traffic.drain=5s traffic.hold=30s balancers=",
        "start         -> staging 0; stage a; direct a=100
         a staged      -> switching 0
         lb-1 directed -> switching 0
         lb-2 silent   -> switching 0",
    );
    let explained = play.explained();
    assert!(explained.contains("a (staged); not done: lb-2 (unknown)"), "{explained}");
    assert_eq!(play.act("lb-2 directed"), "switching 0; direct a=0");
    assert_eq!(play.act("lb-1 directed"), "switching 0");
    assert_eq!(play.act("lb-2 left"), "switching 0; run a", "one that is removed is waited for no more");
}

/// A balancer that is down, or answers nonsense, holds the rollout by name; nothing is half done, and it is asked again.
#[test]
fn a_balancer_that_is_down_holds_and_is_asked_again() {
    let mut play = check(
        ROLLING,
        "start       -> staging 0; stage a; direct a=100 b=100
         a staged    -> switching 0
         lb away     -> switching 0; direct a=100 b=100",
    );
    let explained = play.explained();
    assert!(explained.contains("not done: lb (HAProxy cannot be asked)"), "{explained}");
    assert_eq!(play.act("+60s"), "paused for want of progress");
    let explained = play.explained();
    assert!(
        explained.contains("balancers have not directed traffic: lb (HAProxy cannot be asked)"),
        "{explained}"
    );
    let then = explain(&play.rollout, &Facts::default()).remove(0).then;
    let risk =
        "on resume it goes on with a, and hosts are changed while lb may still send them requests; or undo";
    assert!(then.starts_with(risk), "{then}");
    assert_eq!(play.desired(), "a stage 2", "no host was touched");
    assert_eq!(play.act("lb away"), "paused for want of progress; direct a=100 b=100");
    // The operator knows how it stands, and goes on without it.
    assert_eq!(play.act("resume"), "switching 0; run a; direct a=0 b=100");
}

/// While paused it is asked again as well: what it says now is shown, and once it is mended nothing is left of its old word.
#[test]
fn a_balancer_that_is_mended_while_paused_is_heard() {
    let mut play = check(
        ROLLING,
        "start       -> staging 0; stage a; direct a=100 b=100
         a staged    -> switching 0
         lb directed -> switching 0; direct a=0 b=100
         lb directed -> switching 0; run a
         a healthy   -> switching 0; direct a=100 b=100
         +60s        -> paused for want of progress
         lb away     -> paused for want of progress; direct a=100 b=100",
    );
    let explained = play.explained();
    assert!(explained.contains("lb (HAProxy cannot be asked)"), "{explained}");
    assert_eq!(play.act("lb directed"), "paused for want of progress");
    let explained = play.explained();
    assert!(!explained.contains("lb"), "{explained}");
    assert_eq!(play.states(), "a healthy, b waiting", "it joins no more");
}

/// A host that failed and is back on what it ran before gets its connections back; so does one that was not changed yet.
#[test]
fn what_serves_gets_its_connections_back() {
    check(
        ROLLING,
        "start       -> staging 0; stage a; direct a=100 b=100
         a staged    -> switching 0
         lb directed -> switching 0; direct a=0 b=100
         lb directed -> switching 0; run a
         a reverted  -> rolled-back; direct a=100 b=100",
    );
    check(
        ROLLING,
        "start       -> staging 0; stage a; direct a=100 b=100
         a staged    -> switching 0
         lb directed -> switching 0; direct a=0 b=100
         pause       -> paused by an operator; direct a=100 b=100
         lb directed -> paused by an operator
         resume      -> switching 0; direct a=0 b=100
         abort       -> aborted; direct a=100 b=100",
    );
}

/// The way back is as careful as the way forward. Scenario 106: nothing is stopped that has traffic.
#[test]
fn hosts_are_drained_on_the_way_back_too() {
    let mut play = check(
        ROLLING,
        "start       -> staging 0; stage a; direct a=100 b=100
         a staged    -> switching 0
         lb directed -> switching 0; direct a=0 b=100
         lb directed -> switching 0; run a
         a healthy   -> switching 0; direct a=100 b=100
         lb directed -> staging 1; stage b
         abort       -> rolling-back; direct a=0 b=100",
    );
    let explained = play.explained();
    assert!(explained.contains("1 host waits for balancers to direct traffic: a (draining)"), "{explained}");
    assert_eq!(play.act("lb directed"), "rolling-back; return a");
    assert_eq!(play.act("a healthy"), "rolling-back; direct a=100 b=100");
    assert_eq!(play.act("lb directed"), "aborted");
}

/// A host that never ran anything gets connections for the first time when it is healthy; one that an operator drained gets none.
#[test]
fn new_hosts_join_when_they_are_good_and_drained_ones_never() {
    check(
        "a:new b:drained lb | traffic.director=haproxy traffic.backend=shop traffic.drain=5s traffic.hold=30s balancers=",
        "start       -> staging 0; stage a; direct a=0 b=0
         a staged    -> switching 0
         lb directed -> switching 0; run a
         a healthy   -> switching 0; direct a=100 b=0
         lb directed -> succeeded",
    );
}

/// The first wave gets its share in steps of what a host gets.
#[test]
fn the_first_wave_joins_in_steps() {
    let mut play = check(
        "a b lb | canary=1 canary_bake=60s max_unavailable=1 traffic.director=haproxy traffic.backend=shop \
         traffic.drain=5s traffic.hold=30s traffic.steps=10+50 balancers=",
        "start       -> staging 0; stage a; direct a=100 b=100
         a staged    -> switching 0
         lb directed -> switching 0; direct a=0 b=100
         lb directed -> switching 0; run a
         a healthy   -> switching 0; direct a=10 b=100
         lb directed -> baking 0
         +30s        -> switching 0; direct a=50 b=100
         lb directed -> baking 0
         closed      -> baking 0
         +30s        -> switching 0
         open        -> switching 0; direct a=100 b=100
         lb directed -> baking 0",
    );
    assert_eq!(play.act("+60s"), "staging 1; stage b");
}

/// Without a balancer that an operator went on without, shares follow within the same moment: each promotion is one
/// share further, and the phase says which it is.
#[test]
fn each_promotion_without_a_balancer_is_a_share_further() {
    let mut play = check(
        "a b lb | canary=1 canary_bake=30s max_unavailable=1 progress_deadline=60s traffic.director=haproxy \
         traffic.backend=shop traffic.drain=5s traffic.hold=30s traffic.steps=10+50 balancers=",
        "start      -> staging 0; stage a; direct a=100 b=100
         a staged   -> switching 0
         lb silent  -> switching 0
         +60s       -> paused for want of progress
         resume     -> switching 0; run a; direct a=0 b=100
         a healthy  -> baking 0; direct a=10 b=100",
    );
    for (share, next) in [(10, "baking 0; direct a=50 b=100"), (50, "baking 0; direct a=100 b=100")] {
        let explained = play.explained();
        assert!(explained.contains(&format!("with {share}% of its traffic")), "{explained}");
        let before = play.rollout.phase().clone();
        assert_eq!(play.act("promote"), next);
        assert_ne!(*play.rollout.phase(), before);
    }
    assert_eq!(play.act("promote"), "staging 1; stage b");
}

/// Whoever asks is told of it as long as it lasts, and the end says so as well; one that has come back is named no more.
#[test]
fn a_balancer_that_was_passed_over_is_named_to_the_end() {
    let mut play = check(
        "a b lb lb-2 | canary=1 canary_bake=30s max_unavailable=1 progress_deadline=60s traffic.director=haproxy \
         traffic.backend=shop traffic.drain=5s traffic.hold=30s traffic.steps=10+50 balancers=",
        "start         -> staging 0; stage a; direct a=100 b=100
         a staged      -> switching 0
         lb silent     -> switching 0
         lb-2 directed -> switching 0
         +60s          -> paused for want of progress
         resume        -> switching 0; direct a=0 b=100
         lb-2 directed -> switching 0; run a
         a healthy     -> switching 0; direct a=10 b=100
         lb-2 directed -> baking 0",
    );
    let explained = play.explained();
    assert!(
        explained.contains("with 10% of its traffic, which lb has not confirmed, and is watched"),
        "{explained}"
    );
    let passed_over = "balancer: it goes on without balancers that have not confirmed how traffic is directed: lb (unknown) \
                       [longshore host show lb]";
    assert!(explained.contains(passed_over), "{explained}");
    let mut back = play.clone();
    back.act("lb back");
    back.act("lb directed");
    assert!(!back.explained().contains("lb"), "{}", back.explained());
    let mut newer = play.clone();
    newer.act("supersede");
    let superseded =
        "superseded by rollout 00000000-0000-0000-0000-000000000063; balancers passed over, and not told: lb";
    assert_eq!(newer.reason(), superseded);
    for line in ["abort", "lb-2 directed", "a healthy", "lb-2 directed"] {
        play.act(line);
    }
    assert_eq!(play.reason(), "aborted by ann; 1 host rolled back; balancers passed over, and not told: lb");
    assert_eq!(play.explained(), "");
}

pub(super) const GROUPS: &str = "a:blue b:blue c:green d:green lb | progress_deadline=60s rollback_deadline=60s bake=10s \
    traffic.director=haproxy traffic.backend=shop traffic.drain=5s traffic.hold=30s \
    balancers=groups.blue=\"g=b\"+groups.green=\"g=g\"+groups.warm=\"60s\"";

/// The group without traffic gets the release; then the traffic moves, and the other group stays warm.
#[test]
fn traffic_moves_to_the_group_that_has_proved_itself() {
    let mut play = check(
        GROUPS,
        "start       -> staging 0; stage c d; direct a=100 b=100 c=0 d=0
         c d staged  -> switching 0
         lb directed -> switching 0; run c d
         c d healthy -> baking 0
         +10s        -> switching 0; direct a=0 b=0 c=100 d=100",
    );
    assert_eq!(play.states(), "a excluded, b excluded, c joining, d joining");
    play.reload();
    assert_eq!(play.act("lb directed"), "baking 0");
    assert_eq!(play.act("+10s"), "watching 0", "the old group is warm");
    assert_eq!(play.act("+60s"), "succeeded");
    assert_eq!(play.reason(), "2 hosts run 2; traffic goes to the green group; 2 in the other group: a, b");
}

/// To what was live before it goes at once, whatever the environment says of steps; and nothing is kept warm, for the
/// group that had the traffic runs what was gone back from.
#[test]
fn on_the_way_back_the_traffic_moves_at_once() {
    let play = check(
        &format!("{} traffic.steps=10+50 way-back", GROUPS.replace("c:green d:green", "c:green:2 d:green:2")),
        "start         -> staging 0; stage c d; direct a=100 b=100 c=0 d=0
         c d unchanged -> switching 0; run c d; direct a=0 b=0 c=100 d=100
         lb directed   -> succeeded",
    );
    assert_eq!(play.reason(), "2 hosts run 2; traffic goes to the green group; 2 in the other group: a, b");
}

/// Scenario 28: what fails before the switch never moves traffic.
#[test]
fn a_failure_before_the_switch_moves_no_traffic() {
    check(
        &format!("{GROUPS} gate=smoke:last-wave:test"),
        "start           -> staging 0; stage c d; direct a=100 b=100 c=0 d=0
         lb directed     -> staging 0
         c d staged      -> switching 0; run c d
         c d healthy     -> baking 0
         +10s            -> gating 0; look smoke
         gate smoke fail -> rolling-back; return c d
         c d good        -> rolled-back",
    );
    check(
        GROUPS,
        "start       -> staging 0; stage c d; direct a=100 b=100 c=0 d=0
         lb directed -> staging 0
         c d staged  -> switching 0; run c d
         c reverted  -> rolling-back; return d
         d good      -> rolled-back",
    );
}

/// Scenario 29: what fails after the switch moves it back to the group that was kept as it was. The hosts of the release are
/// changed only when they have no traffic any more (scenarios 34, 35 and 106).
#[test]
fn a_failure_after_the_switch_moves_traffic_back_first() {
    let mut play = check(
        &format!("{GROUPS} gate=errors:last-wave:watch"),
        "start            -> staging 0; stage c d; direct a=100 b=100 c=0 d=0
         lb directed      -> staging 0
         c d staged       -> switching 0; run c d
         c d healthy      -> baking 0
         +10s             -> gating 0; look errors
         gate errors pass -> switching 0; direct a=0 b=0 c=100 d=100
         lb directed      -> baking 0
         +10s             -> gating 0; look errors
         gate errors pass -> watching 0; look errors
         gate errors fail -> rolling-back; direct a=100 b=100 c=0 d=0",
    );
    let explained = play.explained();
    assert!(explained.contains("2 hosts wait for balancers to direct traffic"), "{explained}");
    assert_eq!(play.act("lb away"), "rolling-back; direct a=100 b=100 c=0 d=0");
    assert_eq!(play.desired(), "c run 2, d run 2", "they have traffic, so they are left alone");
    assert_eq!(play.act("lb directed"), "rolling-back; return c d");
    assert_eq!(play.act("c d good"), "rolled-back");
}

/// Scenario 34: at 75 % the way back begins with the traffic, and only then are hosts changed.
#[test]
fn an_abort_in_the_midst_of_the_shares() {
    check(
        &format!("{GROUPS} traffic.steps=75+90"),
        "start       -> staging 0; stage c d; direct a=100 b=100 c=0 d=0
         lb directed -> staging 0
         c d staged  -> switching 0; run c d
         c d healthy -> baking 0
         +10s        -> switching 0; direct a=86 b=86 c=256 d=256
         lb directed -> baking 0
         abort       -> rolling-back; direct a=100 b=100 c=0 d=0
         lb directed -> rolling-back; return c d
         c d good    -> aborted",
    );
}

/// What the group has already needs no change: the traffic moves, which makes the way back instant.
#[test]
fn a_group_that_has_the_release_only_gets_the_traffic() {
    check(
        &GROUPS.replace("c:green d:green", "c:green:2 d:green:2"),
        "start         -> staging 0; stage c d; direct a=100 b=100 c=0 d=0
         lb directed   -> staging 0
         c d unchanged -> switching 0; run c d; direct a=0 b=0 c=100 d=100
         lb directed   -> baking 0
         +10s          -> watching 0
         promote       -> succeeded",
    );
}

/// A move of traffic is a change like any other: it waits for the environment to open.
#[test]
fn traffic_does_not_move_while_the_environment_is_closed() {
    let mut play = check(
        GROUPS,
        "start       -> staging 0; stage c d; direct a=100 b=100 c=0 d=0
         lb directed -> staging 0
         c d staged  -> switching 0; run c d
         c d healthy -> baking 0
         closed-both -> baking 0
         +10s        -> switching 0",
    );
    let explained = play.explained();
    assert!(explained.contains("prod is closed"), "{explained}");
    assert_eq!(play.act("+5m"), "switching 0", "it is not late: nothing could be begun");
    assert_eq!(play.act("open"), "switching 0; direct a=0 b=0 c=100 d=100");
    assert_eq!(play.act("lb directed"), "baking 0");
    assert_eq!(play.act("closed-both"), "baking 0");
    assert_eq!(play.act("abort"), "rolling-back", "neither does it move back where that is closed as well");
    assert_eq!(play.act("open"), "rolling-back; direct a=100 b=100 c=0 d=0");
}

/// Scenario 30: the release after one that failed goes to the same group; the other has the traffic all the time.
#[test]
fn the_next_release_goes_to_the_group_that_failed() {
    let mut failed = check(
        &format!("{GROUPS} gate=errors:last-wave"),
        "start            -> staging 0; stage c d; direct a=100 b=100 c=0 d=0
         lb directed      -> staging 0
         c d staged       -> switching 0; run c d
         c d healthy      -> baking 0
         +10s             -> gating 0; look errors
         gate errors fail -> rolling-back; return c d
         c d good         -> rolled-back",
    );
    assert_eq!(failed.act("lb directed"), "rolled-back");
    check(
        &format!("{GROUPS} gate=errors:last-wave"),
        "start            -> staging 0; stage c d; direct a=100 b=100 c=0 d=0
         lb directed      -> staging 0
         c d staged       -> switching 0; run c d
         c d healthy      -> baking 0
         +10s             -> gating 0; look errors
         gate errors pass -> switching 0; direct a=0 b=0 c=100 d=100",
    );
}

/// Who gets a larger share takes a slot until balancers have said so; another host is not begun in the same moment.
#[test]
fn a_share_that_grows_takes_its_slot_first() {
    let steps =
        "traffic.director=haproxy traffic.backend=shop traffic.drain=5s traffic.hold=10s traffic.steps=50+80";
    let mut play = Play::new(&format!(
        "b:new c a | canary=2 max_unavailable=1 enough=33 canary_bake=9s {steps} balancers="
    ));
    for line in
        ["start", "lb directed", "a b c staged", "lb directed", "lb directed", "a healthy", "lb directed"]
    {
        play.act(line);
    }
    let grown = play.act("+10s");
    assert!(grown.contains("direct a=80") && !grown.contains("run"), "{grown}");
}

/// Also where the promotion that follows is asked for in the same moment: it is another one.
#[test]
fn each_share_is_promoted_by_itself() {
    let steps =
        "traffic.director=haproxy traffic.backend=shop traffic.drain=5s traffic.hold=10s traffic.steps=50+80";
    let calm = "canary=1 wave=1 max_unavailable=1 promotion=every-wave enough=30 canary_bake=0s bake=0s";
    let mut play = Play::new(&format!("a b c | {calm} {steps} balancers="));
    for line in
        ["start", "a staged", "lb directed", "lb directed", "a healthy", "lb directed", "+10s", "promote"]
    {
        play.act(line);
    }
    play.act("lb directed");
    assert_eq!(play.act("+10s"), "awaiting-promotion 0");
    let with_most = play.rollout.phase().clone();
    play.act("promote");
    assert_ne!(play.rollout.phase(), &with_most);
}

/// Whoever approved with one share is asked again with the next, and told which it is.
#[test]
fn a_gate_says_with_which_share_it_is_looked_at() {
    let mut play = check(
        &format!("{GROUPS} traffic.steps=25 gate=go:last-wave:approval:promotable"),
        "start       -> staging 0; stage c d; direct a=100 b=100 c=0 d=0
         lb directed -> staging 0
         c d staged  -> switching 0; run c d
         c d healthy -> baking 0
         +10s        -> gating 0; look go",
    );
    let anew = "(each share is approved by itself) has no verdict yet";
    let first = format!("gate go (approval) after the only wave before the green group gets traffic {anew}");
    assert!(play.explained().contains(&first), "{}", play.explained());
    for line in ["gate go pass", "lb directed", "+30s"] {
        play.act(line);
    }
    let second = format!("after the only wave with 25% of the traffic on the green group {anew}");
    assert!(play.explained().contains(&second), "{}", play.explained());
}

#[test]
fn weights_share_traffic_between_groups_of_any_size() {
    use crate::rollout::balance::weights;
    for share in 1..100u8 {
        for (gaining, losing) in [(1, 1), (1, 9), (9, 1), (3, 7), (50, 50)] {
            let (up, down) = weights(share, gaining, losing);
            let (up, down) = (usize::from(up) * gaining, usize::from(down) * losing);
            let got = 100.0 * up as f64 / (up + down) as f64;
            let most = f64::from(share);
            assert!((got - most).abs() < 6.0, "{share}% of {gaining} and {losing}: {got}%");
        }
    }
    assert_eq!((weights(0, 2, 2), weights(100, 2, 2)), ((0, 100), (100, 0)));
    assert_eq!(weights(50, 0, 2), (0, 100), "nobody is there to get it");
    assert_eq!(weights(50, 2, 0), (100, 0), "nobody else has any");
}
