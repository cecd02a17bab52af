//! Circles and proofs.

use std::collections::BTreeMap;

use longshore_common::{
    digest::ReleaseDigest,
    ids::{EnvName, RolloutId},
    time::Span,
};
use uuid::Uuid;

use super::{proof::Why, *};

fn env(name: &str) -> EnvName {
    name.parse().unwrap()
}

fn after(name: &str) -> Demand {
    Demand { env: env(name), lived: Span::secs(100), gates: vec!["smoke".to_owned()] }
}

fn digest(text: &str) -> ReleaseDigest {
    ReleaseDigest::of(text.as_bytes())
}

fn run(number: u128, release: &str, ended: i64) -> Run {
    Run {
        env: env("staging"),
        rollout: RolloutId(Uuid::from_u128(number)),
        release: digest(release),
        began: ended,
        ended,
        rollback: false,
        passed: ["smoke".to_owned()].into(),
    }
}

fn why(runs: &[Run], now: i64) -> Option<Why> {
    unproved(&[after("staging")], digest("a"), runs, now).pop().map(|unproved| unproved.why)
}

#[test]
fn circles_are_named_whole() {
    let names = ["dev", "qa", "prod"].map(env);
    let demands = [vec![after("prod")], vec![after("dev")], vec![after("qa")]];
    let all: BTreeMap<&EnvName, Place<'_>> = names
        .iter()
        .zip(&demands)
        .map(|(name, demands)| (name, Place { order: None, demands, gates: vec!["smoke"] }))
        .collect();
    assert_eq!(problems(&names[2], &all), ["it goes in a circle: prod after qa after dev after prod"]);
}

#[test]
fn promotion_goes_one_way_and_to_what_is_there() {
    let names = ["staging", "prod"].map(env);
    let demands = [vec![after("prod"), after("nowhere"), after("staging")], vec![]];
    let places = [Some(Order::Staging), Some(Order::Production)];
    let all: BTreeMap<&EnvName, Place<'_>> = names
        .iter()
        .zip(demands.iter().zip(places))
        .map(|(name, (demands, order))| (name, Place { order, demands, gates: vec!["smoke"] }))
        .collect();
    let found = problems(&names[0], &all).join("\n");
    for part in [
        "prod is production, and staging is staging: promotion goes the other way",
        "there is no environment nowhere; apply it first",
        "staging cannot come after itself",
    ] {
        assert!(found.contains(part), "{part} is not in {found}");
    }
}

/// What could never pass is said when the file is applied, not when a release waits for it.
#[test]
fn gates_that_are_demanded_have_to_be_there() {
    let (staging, prod) = (env("staging"), env("prod"));
    let demands = [after("staging")];
    let found = |gates: Vec<&'static str>| {
        let all = [
            (&staging, Place { order: None, demands: &[], gates }),
            (&prod, Place { order: None, demands: &demands, gates: vec![] }),
        ];
        problems(&prod, &all.into())
    };
    assert_eq!(found(vec!["reach", "smoke"]), [""; 0]);
    let message = "staging has no gate \"smoke\" that could pass there; ";
    assert_eq!(found(vec!["reach", "ready"]), [format!("{message}it has reach, ready")]);
    assert_eq!(found(vec![]), [format!("{message}it has none")]);
}

#[test]
fn only_the_same_digest_counts() {
    assert_eq!(why(&[run(1, "b", 0)], 500_000), Some(Why::Never));
    assert_eq!(why(&[run(1, "a", 0)], 500_000), None);
}

#[test]
fn it_has_to_have_been_live_for_long_enough() {
    let (lived, wanted) = (Span::secs(40), Span::secs(100));
    assert_eq!(why(&[run(1, "a", 0)], 40_000), Some(Why::TooShort { lived, wanted, due: Some(100_000) }));
    let replaced = [run(1, "a", 0), run(2, "b", 40_000)];
    assert_eq!(why(&replaced, 500_000), Some(Why::TooShort { lived, wanted, due: None }));
    let again = [run(1, "a", 0), run(2, "a", 90_000)];
    assert_eq!(why(&again, 100_000), None, "a second rollout of it takes nothing away");
    let long_ago = [run(1, "a", 0), run(2, "b", 200_000)];
    assert_eq!(why(&long_ago, 500_000), None);
}

/// What comes after it takes its hosts away one after another, and is not live itself before its end.
#[test]
fn it_is_live_until_another_begins() {
    let slow = Run { began: 40_000, ..run(2, "b", 200_000) };
    let (lived, wanted) = (Span::secs(40), Span::secs(100));
    let replaced = [run(1, "a", 0), slow.clone()];
    assert_eq!(why(&replaced, 500_000), Some(Why::TooShort { lived, wanted, due: None }));
    let later = [run(1, "a", 0), Run { began: 100_000, ..slow }];
    assert_eq!(why(&later, 500_000), None);
}

#[test]
fn gates_have_to_have_passed() {
    let untested = Run { passed: Default::default(), ..run(1, "a", 0) };
    let lacking = Why::Gates { rollout: untested.rollout, lacking: vec!["smoke".to_owned()] };
    assert_eq!(why(&[untested], 500_000), Some(lacking));
}

#[test]
fn what_was_gone_back_from_is_no_proof() {
    let back = Run { rollback: true, ..run(2, "b", 200_000) };
    let by = back.rollout;
    assert_eq!(why(&[run(1, "a", 0), back.clone()], 500_000), Some(Why::WentBack { by }));
    let mended = [run(1, "a", 0), back.clone(), run(3, "a", 300_000)];
    assert_eq!(why(&mended, 500_000), None);
    // What it showed the first time is worth nothing once it failed the second time.
    let again = [run(4, "a", 0), run(5, "b", 150_000), run(1, "a", 160_000), back];
    assert_eq!(why(&again, 500_000), Some(Why::WentBack { by }));
}
