//! Hosts that an operator drains: balancers send them nothing until that is lifted, during a rollout and after it.

use super::transcript::check;

const BEHIND: &str = "a b lb | max_unavailable=1 progress_deadline=60s traffic.director=haproxy traffic.backend=shop \
                      traffic.drain=5s traffic.hold=30s balancers=";

/// Between rollouts what the last one told balancers stands; a drain puts it right, and so does lifting it.
#[test]
fn a_drain_between_rollouts_takes_the_host_out_and_lifting_it_puts_it_back() {
    let mut play = check(
        BEHIND,
        "start         -> staging 0; stage a b; direct a=100 b=100
         a b staged    -> switching 0
         lb directed   -> switching 0; direct a=0 b=100
         lb directed   -> switching 0; run a
         a healthy     -> switching 0; direct a=100 b=100
         lb directed   -> switching 0; direct a=100 b=0
         lb directed   -> switching 0; run b
         b healthy     -> switching 0; direct a=100 b=100
         lb directed   -> succeeded
         a drained     -> succeeded; direct a=0 b=100",
    );
    let a = *play.rollout.hosts.keys().next().expect("there are two");
    assert!(!play.rollout.has_let_go_of(a), "the balancer has not said so yet");
    play.reload();
    assert_eq!(play.act("lb directed"), "succeeded");
    assert!(play.rollout.has_let_go_of(a));
    assert_eq!(play.act("a drained"), "succeeded", "said twice, it changes nothing");
    assert_eq!(play.act("a undrained"), "succeeded; direct a=100 b=100");
}

/// A balancer that could not is asked again when the drain is said again.
#[test]
fn a_balancer_that_refused_is_asked_again_by_the_next_drain() {
    check(
        BEHIND,
        "start         -> staging 0; stage a b; direct a=100 b=100
         a b unchanged -> switching 0; run a b
         lb directed   -> nothing-to-do
         a drained     -> nothing-to-do; direct a=0 b=100
         lb away       -> nothing-to-do
         a drained     -> nothing-to-do; direct a=0 b=100",
    );
}

/// While a rollout moves it, a drained host is changed as it would be, and gets no connections when it is healthy.
#[test]
fn a_drain_in_the_midst_of_a_rollout_lasts_beyond_the_switch() {
    check(
        BEHIND,
        "start         -> staging 0; stage a b; direct a=100 b=100
         a drained     -> staging 0; direct a=0 b=100
         a b staged    -> switching 0
         lb directed   -> switching 0; run a
         a healthy     -> switching 0; direct a=0 b=0
         lb directed   -> switching 0; run b
         b healthy     -> switching 0; direct a=0 b=100
         lb directed   -> succeeded
         a undrained   -> succeeded; direct a=100 b=100",
    );
}

/// Of two groups, the one that has the traffic goes on without the host.
#[test]
fn a_drained_host_of_a_group_gets_nothing() {
    check(
        "a:blue b:blue c:green d:green lb | traffic.director=haproxy traffic.backend=shop traffic.drain=5s \
         traffic.hold=30s balancers=groups.blue=\"g=b\"+groups.green=\"g=g\"+groups.warm=\"0s\"",
        "start       -> staging 0; stage c d; direct a=100 b=100 c=0 d=0
         c d staged  -> switching 0
         lb directed -> switching 0; run c d
         c d healthy -> switching 0; direct a=0 b=0 c=100 d=100
         c drained   -> switching 0; direct a=0 b=0 c=0 d=100
         lb directed -> succeeded
         c undrained -> succeeded; direct a=0 b=0 c=100 d=100",
    );
}

/// Who is removed in the midst of a rollout gets nothing from the next directions on.
#[test]
fn a_host_that_is_removed_in_a_rollout_gets_nothing_more() {
    let play = check(
        BEHIND,
        "start         -> staging 0; stage a b; direct a=100 b=100
         b left        -> staging 0; direct a=100 b=0
         a staged      -> switching 0
         lb directed   -> switching 0; direct a=0 b=0
         lb directed   -> switching 0; run a
         a healthy     -> switching 0; direct a=100 b=0
         lb directed   -> succeeded",
    );
    assert_eq!(play.reason(), "1 host runs 2; 1 left: b");
}

/// And one that is removed when it is over likewise; how it stood at the end stays.
#[test]
fn a_host_that_is_removed_between_rollouts_gets_nothing_more() {
    let mut play = check(
        BEHIND,
        "start         -> staging 0; stage a b; direct a=100 b=100
         a b unchanged -> switching 0; run a b
         lb directed   -> nothing-to-do
         a left        -> nothing-to-do; direct a=0 b=100",
    );
    play.reload();
    assert_eq!(play.act("a left"), "nothing-to-do", "said twice, it changes nothing");
    assert_eq!(play.act("lb directed"), "nothing-to-do");
    let a = *play.rollout.hosts.keys().next().expect("there are two");
    assert!(play.rollout.has_let_go_of(a));
    assert_eq!(play.states(), "a unchanged, b unchanged");
}

/// Of the group that has the traffic, the others get the part of whoever is removed.
#[test]
fn a_removed_host_of_a_group_gets_nothing() {
    check(
        "a:blue b:blue c:green d:green lb | traffic.director=haproxy traffic.backend=shop traffic.drain=5s \
         traffic.hold=30s balancers=groups.blue=\"g=b\"+groups.green=\"g=g\"+groups.warm=\"0s\"",
        "start       -> staging 0; stage c d; direct a=100 b=100 c=0 d=0
         a left      -> staging 0; direct a=0 b=100 c=0 d=0",
    );
}

/// One that left in the midst gets its connections again when it is back and the rollout is over, and not before.
#[test]
fn a_host_that_left_and_is_back_gets_connections_when_the_rollout_is_over() {
    let mut play = check(
        BEHIND,
        "start         -> staging 0; stage a b; direct a=100 b=100
         b left        -> staging 0; direct a=100 b=0
         b undrained   -> staging 0
         a staged      -> switching 0
         lb directed   -> switching 0; direct a=0 b=0
         lb directed   -> switching 0; run a
         a healthy     -> switching 0; direct a=100 b=0
         lb directed   -> succeeded
         b undrained   -> succeeded; direct a=100 b=100
         b drained     -> succeeded; direct a=100 b=0
         b undrained   -> succeeded; direct a=100 b=100",
    );
    play.reload();
    assert_eq!(play.act("b undrained"), "succeeded", "said twice, it changes nothing");
    assert_eq!(play.reason(), "1 host runs 2; 1 left: b");
}
