//! What holds for every strategy and fleet.

use std::collections::BTreeMap;

use proptest::{prelude::*, test_runner::Config};

use super::setup::world;
use crate::{
    plan::{Part, Plan, World, members, moved, plan, strays},
    rollout::{Rollout, tests::setup},
};

fn fleet() -> impl Strategy<Value = String> {
    let mark = prop_oneof![
        8 => Just(""), 1 => Just(":new"), 1 => Just(":2"), 1 => Just(":silent"), 1 => Just(":older"),
        1 => Just(":arm"), 1 => Just(":full"), 1 => Just(":held"), 1 => Just(":excluded"), 1 => Just(":by-hand"),
    ];
    let zone = prop_oneof![Just(""), Just("@east"), Just("@west"), Just("@north")];
    proptest::collection::vec((zone, mark), 1..40).prop_map(|hosts| {
        let hosts = hosts.iter().enumerate().map(|(n, (zone, mark))| format!("h{n}{zone}{mark}"));
        hosts.collect::<Vec<_>>().join(" ")
    })
}

fn strategy() -> impl Strategy<Value = String> {
    let share = |from: u32| {
        prop_oneof![(from..9).prop_map(|n| n.to_string()), (1u8..=100).prop_map(|p| format!("{p}%"))]
    };
    let spread = prop_oneof![Just(""), Just("spread=zone"), Just("spread=rack")];
    let first = prop_oneof![Just(""), Just("canary_hosts=name=h1*"), Just("canary_hosts=zone=west")];
    let unknown = prop_oneof![Just("wait"), Just("count"), Just("skip")];
    (share(0), share(1), spread, first, unknown).prop_map(|(canary, wave, spread, first, unknown)| {
        let first = if canary == "0" { "" } else { first };
        format!("canary={canary} wave={wave} {spread} {first} unknown={unknown} canary_bake=60s bake=10s")
    })
}

fn steps() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::btree_set(1u8..=100, 0..5).prop_map(|steps| steps.into_iter().collect())
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_plan_keeps_its_promises(
        fleet in fleet(), strategy in strategy(), steps in steps(), skip in any::<bool>(),
    ) {
        let unfit = if skip { "unfit=skip" } else { "unfit=refuse" };
        let mut world = world(&format!("{fleet} | {strategy} | arch=x86_64 {unfit}"));
        world.spec.steps = steps.iter().map(|step| crate::rollout::Share::Percent(*step)).collect();
        let plan = plan(&world);
        each_host_is_there_once(&world, &plan);
        waves_are_whole(&world, &plan);
        a_rollout_follows(&world, &plan);
        it_survives_being_kept(&plan);
    }
}

fn each_host_is_there_once(world: &World, plan: &Plan) {
    let mut wanted: Vec<_> = world.hosts.iter().map(|host| host.member.id).collect();
    let mut found: Vec<_> = plan.hosts.iter().map(|host| host.id).collect();
    wanted.sort();
    found.sort();
    assert_eq!(wanted, found, "every targeted host is covered exactly once");
}

fn waves_are_whole(world: &World, plan: &Plan) {
    let mut hosts: BTreeMap<u32, u32> = BTreeMap::new();
    for host in &plan.hosts {
        match &host.part {
            Part::Wave { wave } => *hosts.entry(*wave).or_default() += 1,
            Part::Skipped { .. } => assert!(host.fetch.bytes == 0, "what is left out fetches nothing"),
        }
    }
    let counted: Vec<(u32, u32)> = plan.waves.iter().map(|wave| (wave.number, wave.blast.hosts)).collect();
    assert_eq!(hosts.into_iter().collect::<Vec<_>>(), counted, "no wave is empty, and none is missing");
    if let Some(last) = plan.waves.last() {
        assert_eq!(last.blast.percent_so_far, 100);
    }
    if world.spec.spread.is_some() {
        let mixed = plan.waves.iter().find(|wave| {
            let of = plan.hosts.iter().filter(|host| host.part == Part::Wave { wave: wave.number });
            let domains: std::collections::BTreeSet<_> = of.map(|host| &host.domain).collect();
            domains.len() > 1
        });
        assert!(mixed.is_none(), "no wave has hosts of two domains: {mixed:?}");
    }
}

/// The engine makes its rollout from the members, and it has the plan's waves.
fn a_rollout_follows(world: &World, plan: &Plan) {
    let mut members = members(world);
    let new = crate::rollout::New { target: world.target.clone(), ..setup::new(world.spec.clone()) };
    let rollout = Rollout::new(new.clone(), &members, 0).unwrap();
    assert_eq!(strays(plan, &rollout), Vec::<String>::new());
    let bakes: Vec<_> = plan.waves.iter().map(|wave| wave.bake).collect();
    assert_eq!(bakes, (0..plan.waves.len() as u32).map(|wave| rollout.bake_of(wave)).collect::<Vec<_>>());
    let first = members.iter_mut().find(|member| member.excluded.is_none());
    if let Some(first) = first {
        first.previous = Some(setup::target("0.1"));
        let other = Rollout::new(new, &members, 0).unwrap();
        assert!(!strays(plan, &other).is_empty(), "a host that was moved meanwhile is noticed");
    }
}

fn it_survives_being_kept(plan: &Plan) {
    let read: Plan = serde_json::from_slice(&serde_json::to_vec(plan).unwrap()).unwrap();
    assert_eq!(read, *plan);
    assert_eq!(read.digest_of_binding(), plan.digest);
    assert_eq!(moved(plan, &read), Vec::<String>::new());
}
