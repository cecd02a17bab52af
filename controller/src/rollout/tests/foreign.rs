//! Hosts that come from another environment with what that gave them.

use super::transcript::check;

const BEHIND: &str =
    "traffic.director=haproxy traffic.backend=shop traffic.drain=5s traffic.hold=30s balancers=";

/// It runs what is tested elsewhere: nobody is sent there before it is changed.
#[test]
fn a_host_of_another_environment_gets_traffic_when_it_runs_what_all_do() {
    check(
        &format!("a b c:7:foreign lb | wave=1 max_unavailable=1 {BEHIND}"),
        "start       -> staging 0; stage a; direct a=100 b=100 c=0
         a staged    -> switching 0
         lb directed -> switching 0; direct a=0 b=100 c=0
         lb directed -> switching 0; run a
         a healthy   -> switching 0; direct a=100 b=100 c=0
         lb directed -> staging 1; stage b
         b staged    -> switching 1; direct a=100 b=0 c=0
         lb directed -> switching 1; run b
         b healthy   -> switching 1; direct a=100 b=100 c=0
         lb directed -> staging 2; stage c
         c staged    -> switching 2; run c
         c healthy   -> switching 2; direct a=100 b=100 c=100
         lb directed -> succeeded",
    );
}

/// Nor where the rollout ends before its turn, or undoes what it did there.
#[test]
fn what_another_environment_gave_it_gets_no_traffic_at_the_end_either() {
    check(
        &format!("a b c:7:foreign:late lb | wave=1 max_unavailable=1 {BEHIND}"),
        "start       -> staging 0; stage a; direct a=100 b=100
         c joins     -> staging 0; direct a=100 b=100 c=0
         lb directed -> staging 0
         abort       -> aborted",
    );
}

/// Where all hosts come from elsewhere, as after an environment took another name, they keep the traffic that there is.
#[test]
fn where_nobody_else_serves_all_keep_their_traffic() {
    check(
        &format!("a:7:foreign b:7:foreign lb | wave=1 max_unavailable=1 {BEHIND}"),
        "start       -> staging 0; stage a; direct a=100 b=100
         a staged    -> switching 0
         lb directed -> switching 0; direct a=0 b=100",
    );
}

/// So they do where an operator has drained everybody else: nobody would have any.
#[test]
fn where_everybody_else_is_drained_all_keep_their_traffic() {
    check(
        &format!("a:drained b:7:foreign c:7:foreign lb | wave=1 max_unavailable=1 {BEHIND}"),
        "start       -> staging 0; stage b; direct a=0 b=100 c=100
         b staged    -> switching 0
         lb directed -> switching 0; direct a=0 b=0 c=100",
    );
}

/// One that comes back had no traffic by anybody's word, whoever gave it what it runs: first it is changed.
#[test]
fn a_host_that_joins_gets_traffic_when_it_runs_what_all_do() {
    check(
        &format!("a b c:late lb | wave=1 max_unavailable=1 {BEHIND}"),
        "start       -> staging 0; stage a; direct a=100 b=100
         c joins     -> staging 0; direct a=100 b=100 c=0
         a staged    -> switching 0
         lb directed -> switching 0; direct a=0 b=100 c=0",
    );
}

/// A canary that is excluded with a share of its traffic has all of it when all run what it runs.
#[test]
fn a_canary_that_was_excluded_has_its_traffic_at_the_end() {
    check(
        &format!("a b lb | canary=1 max_unavailable=1 {BEHIND} traffic.steps=25"),
        "start       -> staging 0; stage a; direct a=100 b=100
         a staged    -> switching 0
         lb directed -> switching 0; direct a=0 b=100
         lb directed -> switching 0; run a
         a healthy   -> switching 0; direct a=25 b=100
         lb directed -> baking 0
         exclude a   -> staging 0; stage b
         b staged    -> switching 0; direct a=25 b=0
         lb directed -> switching 0; run b
         b healthy   -> switching 0; direct a=25 b=25
         lb directed -> baking 0
         +30s        -> switching 0; direct a=25 b=100
         lb directed -> succeeded; direct a=100 b=100
         lb directed -> succeeded",
    );
}
