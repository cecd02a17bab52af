//! When two plans are the same, and what is said when they are not.

use longshore_common::digest::ContentDigest;

use super::setup::world;
use crate::{
    plan::{Surveyed, World, moved, plan},
    rollout::tests::setup::target,
};

fn both(setup: &str, change: impl FnOnce(&mut World)) -> Vec<String> {
    let was = world(setup);
    let mut is = was.clone();
    change(&mut is);
    let (was, is) = (plan(&was), plan(&is));
    let told = moved(&was, &is);
    assert_eq!(told.is_empty(), was.digest == is.digest, "the digest says the same: {told:?}");
    told
}

#[test]
fn what_is_measured_does_not_bind() {
    let same = both("a b c", |world| {
        world.made_ms += 60_000;
        world.made_by = "bob".into();
        if let Surveyed::Answered(survey) = &mut world.hosts[0].surveyed {
            survey.machine.disk_free_bytes -= 1;
            survey.hold = Some("lunch".into());
        }
        world.hosts[1].surveyed = Surveyed::Unknown { why: None, machine: None };
        world.busy = Some("another rollout".into());
    });
    assert_eq!(same, Vec::<String>::new());
}

#[test]
fn what_binds_and_moved_is_named() {
    type Move = Box<dyn FnOnce(&mut World)>;
    let cases: [(&str, Move); 9] = [
        (
            "the file of environment prod was applied anew",
            Box::new(|world| world.env_file = ContentDigest::of(b"x")),
        ),
        ("what is live was 1, and is 0", Box::new(|world| world.live = Some(target("0")))),
        ("what is live was 1, and is nothing", Box::new(|world| world.live = None)),
        (
            "the release to roll out: the settings of 2 are others",
            Box::new(|world| drop(world.target.values.insert("a".into(), "b".into()))),
        ),
        ("1 host left the environment: c", Box::new(|world| drop(world.hosts.pop()))),
        (
            "1 host runs something else than planned: b",
            Box::new(|world| world.hosts[1].member.previous = Some(target("0"))),
        ),
        (
            "1 host runs something else than planned: a",
            Box::new(|world| world.hosts[0].member.previous = None),
        ),
        (
            "2 hosts run something else than planned: a, b",
            Box::new(|world| world.hosts[..2].iter_mut().for_each(|host| host.member.previous = None)),
        ),
        (
            "1 host joined the environment: d",
            Box::new(|world| {
                let mut joined = world.hosts[0].clone();
                joined.member.id = longshore_common::ids::HostId(uuid::Uuid::from_u128(99));
                joined.member.name = "d".parse().unwrap();
                world.hosts.push(joined);
            }),
        ),
    ];
    for (expected, change) in cases {
        assert_eq!(both("a b c", change), [expected]);
    }
}

#[test]
fn another_order_of_waves_is_another_plan() {
    let told = both("a b c | canary=1", |world| world.spec.canary_hosts = Some("name=c".parse().unwrap()));
    assert_eq!(told, ["2 hosts would be moved in another wave: a, c"]);
    let told = both("a b:arm | | arch=x86_64 unfit=skip", |world| {
        if let Surveyed::Answered(survey) = &mut world.hosts[1].surveyed {
            survey.machine.arch = "x86_64".into();
        }
    });
    assert_eq!(told, ["1 host would no longer be skipped: b"]);
}
