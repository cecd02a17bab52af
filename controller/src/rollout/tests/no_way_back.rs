//! Hosts behind balancers that cannot go back, since what they ran may not run any more: they keep what was undone, and get
//! no traffic for it.

use super::transcript::check;

const BEHIND: &str = "max_unavailable=1 rollback_deadline=60s traffic.director=haproxy traffic.backend=shop \
                      traffic.drain=5s traffic.hold=30s";

/// The canary had a quarter of its traffic. It has none when it is aborted, unless there is nobody else.
#[test]
fn a_canary_that_cannot_go_back_gets_no_traffic() {
    let mut play = check(
        &format!("a b lb | canary=1 canary_bake=60s {BEHIND} traffic.steps=25 balancers="),
        "start       -> staging 0; stage a; direct a=100 b=100
         a staged    -> switching 0
         lb directed -> switching 0; direct a=0 b=100
         lb directed -> switching 0; run a
         a healthy   -> switching 0; direct a=25 b=100
         lb directed -> baking 0
         abort       -> rolling-back; direct a=0 b=100
         lb directed -> rolling-back; return a
         a forbidden -> aborted
         b drained   -> aborted; direct a=25 b=0
         b undrained -> aborted; direct a=0 b=100",
    );
    assert_eq!(
        play.reason(),
        "aborted by ann; on 2 still, for what was there before may not run any more: a (LS-T05: forbidden); \
         a gets no traffic as long as others serve"
    );
    play.reload();
    assert_eq!(play.act("lb directed"), "aborted");
}

/// While others still go back it is said of it as well.
#[test]
fn a_host_that_cannot_go_back_is_named_on_the_way() {
    let mut play = check(
        &format!("a b c lb | wave=1 {BEHIND} balancers="),
        "start       -> staging 0; stage a; direct a=100 b=100 c=100
         a staged    -> switching 0
         lb directed -> switching 0; direct a=0 b=100 c=100
         lb directed -> switching 0; run a
         a healthy   -> switching 0; direct a=100 b=100 c=100
         lb directed -> staging 1; stage b
         b staged    -> switching 1; direct a=100 b=0 c=100
         lb directed -> switching 1; run b
         b healthy   -> switching 1; direct a=100 b=100 c=100
         lb directed -> staging 2; stage c
         abort       -> rolling-back; direct a=0 b=100 c=100
         lb directed -> rolling-back; return a
         a forbidden -> rolling-back; direct a=0 b=0 c=100",
    );
    let explained = play.explained();
    let stays = "b (draining); not done: lb; a keeps 2, for what was there before may not run any more; a gets no \
                 traffic as long as others serve [";
    assert!(explained.contains(stays), "{explained}");
    assert_eq!(play.act("lb directed"), "rolling-back; return b");
    assert_eq!(play.act("b healthy"), "rolling-back; direct a=0 b=100 c=100");
    assert_eq!(play.act("lb directed"), "aborted");
}
