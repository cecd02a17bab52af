//! Who is moved with whom, and how much is at stake.

use super::setup::check;

#[test]
fn waves_are_those_of_the_strategy() {
    check(
        "a b c d e | canary=1 wave=2 canary_bake=60s bake=10s",
        "wave 1: a (20%, 20% so far, bake 1m)
           wave 2: b c (40%, 60% so far, bake 10s)
           wave 3: d e (40%, 100% so far, bake 10s)",
    );
}

/// Scenario 15, its neighbour: steps always cover everybody, as what is left goes in waves.
#[test]
fn a_canary_grows_by_steps_and_what_is_left_follows() {
    let twenty: Vec<String> = (10..30).map(|n| format!("h{n}")).collect();
    let plan = |strategy: &str| {
        let world = super::setup::world(&format!("{} | {strategy}", twenty.join(" ")));
        crate::plan::plan(&world).waves.iter().map(|wave| wave.blast.hosts).collect::<Vec<_>>()
    };
    let mut spec = super::setup::world("a").spec;
    spec.steps = ["5%", "25%", "50%"].map(|step| step.parse().unwrap()).to_vec();
    let grown = |canary: &str, wave: &str| {
        let mut world = super::setup::world(&twenty.join(" "));
        world.spec = spec.clone();
        (world.spec.canary, world.spec.wave) = (canary.parse().unwrap(), wave.parse().unwrap());
        crate::plan::plan(&world).waves.iter().map(|wave| wave.blast.hosts).collect::<Vec<_>>()
    };
    assert_eq!(grown("0", "25%"), [1, 4, 5, 5, 5]);
    assert_eq!(grown("0", "100%"), [1, 4, 5, 10]);
    // A canary that is as large as the first step is that step; a larger one passes it over.
    assert_eq!(grown("1", "100%"), [1, 4, 5, 10]);
    assert_eq!(grown("7", "100%"), [7, 3, 10]);
    assert_eq!(plan("canary=1 wave=100%"), [1, 19]);
}

#[test]
fn one_failure_domain_is_moved_at_a_time_and_the_first_bakes_longer() {
    check(
        "a@west b@east c@east d@west e | canary=1 wave=2 spread=zone canary_bake=60s bake=10s",
        "wave 1 east: b (20%, 20% so far, bake 1m)
           wave 2 east: c (20%, 40% so far, bake 1m)
           wave 3 west: a d (40%, 80% so far, bake 10s)
           wave 4: e (20%, 100% so far, bake 10s)
           - 1 host is without the label zone: a domain of their own, moved last: e",
    );
}

/// Scenario 100: placement on a host that does not exist.
#[test]
fn hosts_that_are_wanted_first_have_to_exist() {
    check(
        "a b | canary=1 canary_hosts=name=nobody",
        "wave 1: a (50%, 50% so far, bake 0s)
           wave 2: b (50%, 100% so far, bake 0s)
           failed canary-hosts: canary_hosts = \"name=nobody\" matches no host of the environment",
    );
    check(
        "a b | canary=1 canary_hosts=name=b",
        "wave 1: b (50%, 50% so far, bake 0s)
           wave 2: a (50%, 100% so far, bake 0s)",
    );
    check(
        "a b | spread=rack",
        "wave 1: a b (100%, 100% so far, bake 0s)
           failed spread: spread = \"rack\", and no host has that label
           - 2 hosts are without the label rack: a domain of their own, moved last: a, b",
    );
}

/// Scenario 118: every host has it already.
#[test]
fn nothing_to_do_is_said_as_that() {
    let plan = crate::plan::plan(&super::setup::world("a:2 b:2"));
    assert!(plan.is_nothing_to_do());
    assert_eq!((plan.fetch.bytes, plan.back.to.len()), (0, 0));
    check("a:2 b", "wave 1: a b (100%, 100% so far, bake 0s)\n- 1 host runs it already and is left alone");
}
