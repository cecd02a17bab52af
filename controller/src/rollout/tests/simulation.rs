//! Thousands of hosts, in memory, under a seed: links break, words are lost and doubled, disks fill, releases are bad,
//! the controller crashes. A failure prints its seed; `LONGSHORE_SEED=7` plays that one alone.

use longshore_common::ids::Generation;

use super::{fleet::Fleet, setup::spec, world::World};
use crate::rollout::{Outcome, Phase};

/// Seeds of the everyday run.
fn seeds(everyday: std::ops::Range<u64>) -> Vec<u64> {
    match std::env::var("LONGSHORE_SEED") {
        Ok(seed) => vec![seed.parse().expect("LONGSHORE_SEED is a number")],
        Err(_) => everyday.collect(),
    }
}

/// Plays a fleet to its end and checks what is left of it.
fn play(seed: u64, hosts: usize, strategy: &str, world: World) -> Fleet {
    println!("LONGSHORE_SEED={seed} {hosts} hosts | {strategy}");
    let mut fleet = Fleet::new(seed, hosts, spec(strategy), world);
    fleet.run();
    fleet.check_end();
    fleet
}

fn outcome(fleet: &Fleet) -> Outcome {
    match fleet.rollout.phase() {
        Phase::Done(done) => done.outcome,
        other => panic!("it has not ended: {}", other.as_str()),
    }
}

const STEADY: &str = "canary=1% wave=20% max_unavailable=5% canary_bake=60s bake=15s stage_ahead=1";

/// A good release reaches every host, and the last is as carefully switched as the first.
#[test]
fn a_good_release_reaches_two_thousand_hosts() {
    for seed in seeds(1..2) {
        let fleet = play(seed, 2000, STEADY, World::calm());
        assert_eq!(outcome(&fleet), Outcome::Succeeded);
        assert!(fleet.hosts.iter().all(|host| host.runs() == Some("2")));
        assert!(fleet.hosts.iter().all(|host| host.switched == 1), "nobody switches twice");
    }
}

/// A bad release touches the canary and no more, and all of it is undone.
#[test]
fn a_bad_release_stops_at_the_canary() {
    for seed in seeds(1..9) {
        let fleet = play(seed, 500, STEADY, World { bad: 100, ..World::calm() });
        assert_eq!(outcome(&fleet), Outcome::RolledBack);
        assert!(
            fleet.hosts.iter().filter(|host| host.switched > 0).count() <= 5,
            "more than one percent touched"
        );
        assert!(fleet.hosts.iter().all(|host| host.runs() == Some("1")));
    }
}

/// A release that fails here and there goes through within the budget, or is undone: never half.
#[test]
fn a_flaky_release_is_through_or_undone() {
    for seed in seeds(1..13) {
        let strategy = format!("{STEADY} budget.percent=3 attempts=2");
        let fleet = play(seed, 300, &strategy, World { bad: 8, ..World::calm() });
        let new = fleet.hosts.iter().filter(|host| host.runs() == Some("2")).count();
        match outcome(&fleet) {
            Outcome::Succeeded => assert!(new >= 291, "{new}"),
            Outcome::RolledBack => assert_eq!(new, 0),
            other => panic!("{other:?}"),
        }
    }
}

/// An operator excludes hosts that are just switching: they finish by themselves, and until then nobody takes their slot.
#[test]
fn who_is_excluded_in_mid_switch_keeps_its_slot() {
    for seed in seeds(1..17) {
        let fleet = play(seed, 60, STEADY, World { excluded: 30, doubled: 5, crash: 5, ..World::calm() });
        let excluded = fleet.rollout.hosts.values().filter(|host| host.is_out()).count();
        assert!(excluded > 0 && fleet.hosts.iter().all(|host| host.runs() == Some("2")), "{excluded}");
    }
}

/// Links break, disks fill, the controller crashes: it ends, nobody acts twice on a generation, limits are kept.
#[test]
fn a_rough_world_bends_no_promise() {
    for seed in seeds(1..25) {
        let unknown = ["wait", "count", "skip"][(seed % 3) as usize];
        let promotion = ["auto", "every-wave"][(seed % 2) as usize];
        let strategy = format!(
            "{STEADY} budget.percent=5 attempts=3 unknown={unknown} promotion={promotion} progress_deadline=3m \
             stage_deadline=5m rollback_deadline=3m"
        );
        let fleet = play(seed, 120, &strategy, World::rough());
        assert_ne!(outcome(&fleet), Outcome::NothingToDo);
        assert!(fleet.hosts.iter().all(|host| host.accepted >= Generation::default()));
    }
}

/// A third of the fleet is cut off in the middle: nobody is rolled back for it.
#[test]
fn a_split_fleet_is_not_rolled_back() {
    for seed in seeds(1..9) {
        let unknown = ["wait", "count"][(seed % 2) as usize];
        let strategy = format!("{STEADY} unknown={unknown} progress_deadline=2m");
        let fleet = play(seed, 300, &strategy, World { split_at: Some(90_000), ..World::calm() });
        assert_eq!(outcome(&fleet), Outcome::Succeeded);
        assert!(fleet.hosts.iter().all(|host| host.went_back == 0));
    }
}
