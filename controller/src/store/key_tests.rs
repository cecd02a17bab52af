//! How keys read and sort, and that what is no key is told.

use super::*;

const ID: &str = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff";

fn every_key() -> Vec<(Key, Name)> {
    let (host, rollout): (HostId, RolloutId) = (ID.parse().unwrap(), ID.parse().unwrap());
    let app: AppName = "web".parse().unwrap();
    let env: EnvName = "prod".parse().unwrap();
    let version: Version = "1.4.2+abc".parse().unwrap();
    vec![
        (Key::host(&host), Name::Host(host)),
        (Key::token("tk_7d").unwrap(), Name::Token("tk_7d".to_owned())),
        (Key::release(&app, &version), Name::Release(app.clone(), version)),
        (Key::env(&env), Name::Env(env.clone())),
        (Key::rollout(&rollout), Name::Rollout(rollout)),
        (Key::rollout_host(&rollout, &host), Name::RolloutHost(rollout, host)),
        (Key::rollout_gates(&rollout), Name::RolloutGates(rollout)),
        (Key::gate_result(&rollout, 7), Name::GateResult(rollout, 7)),
        (Key::gate_answers(&rollout, u32::MAX), Name::GateAnswers(rollout, u32::MAX)),
        (Key::active(&env, &app), Name::Active(env.clone(), app.clone())),
        (Key::live(&env, &app), Name::Live(env.clone(), app.clone())),
        (Key::assignment(&host, &app), Name::Assignment(host, app.clone())),
        (Key::state(&host, &app), Name::State(host, app.clone())),
        (Key::snapshot(&SnapshotDigest([1; 32])), Name::Snapshot(SnapshotDigest([1; 32]))),
        (Key::sealed(&SealedDigest([2; 32])), Name::Sealed(SealedDigest([2; 32]))),
        (Key::sealed_host(&SealedDigest([2; 32]), &host), Name::SealedHost(SealedDigest([2; 32]), host)),
        (Key::user(&"ann".parse().unwrap()), Name::User("ann".parse().unwrap())),
        (Key::plan(&PlanDigest([7; 32])), Name::Plan(PlanDigest([7; 32]))),
        (Key::plan_page(&PlanDigest([7; 32]), 12), Name::PlanPage(PlanDigest([7; 32]), 12)),
        (Key::freeze(&env), Name::Freeze(env.clone())),
        (Key::lock(&env, None), Name::Lock(env.clone(), None)),
        (Key::lock(&env, Some(&app)), Name::Lock(env.clone(), Some(app.clone()))),
        (Key::approvals(&PlanDigest::of(b"x")), Name::Approvals(PlanDigest::of(b"x"))),
        (Key::notice(&Uuid::nil()), Name::Notice(Uuid::nil())),
        (Key::counter("rollouts"), Name::Counter("rollouts".to_owned())),
        (Key::names_taken(&"a".parse().unwrap()), Name::Counter("names-taken-ca".to_owned())),
    ]
}

#[test]
fn every_key_reads_back_as_what_it_stands_for() {
    for (key, name) in every_key() {
        assert_eq!(key.name(), Ok(name), "{key}");
    }
}

#[test]
fn prefixes_cover_whole_parts_only() {
    let host: HostId = ID.parse().unwrap();
    let key = Key::assignment(&host, &"web".parse().unwrap());
    let own = Prefix::assignments_of(&host);
    assert_eq!(key.prefixes().collect::<Vec<_>>(), [Prefix::all(), Prefix::assignments(), own.clone()]);
    assert!(key.prefixes().all(|prefix| prefix.covers(&key)));
    assert!(!own.covers(&Key::state(&host, &"web".parse().unwrap())));
    let other = Prefix::live_in(&"prod".parse().unwrap());
    assert!(!other.covers(&Key::live(&"prod-2".parse().unwrap(), &"web".parse().unwrap())));
}

#[test]
fn listing_rollouts_reads_headers_only() {
    let (host, rollout) = (ID.parse().unwrap(), ID.parse().unwrap());
    assert!(Prefix::rollouts().covers(&Key::rollout(&rollout)));
    assert!(!Prefix::rollouts().covers(&Key::rollout_host(&rollout, &host)));
    assert!(Prefix::rollout_hosts(&rollout).covers(&Key::rollout_host(&rollout, &host)));
}

#[test]
fn parts_that_would_confuse_are_refused() {
    for bad in ["", "a/b", "A", "a b", "\u{1b}", &"a".repeat(65)] {
        assert!(Key::token(bad).is_err(), "{bad:?}");
    }
    for bad in ["", "hosts", "hosts/", "hosts/x", "envs/a/b", "nothing/a"] {
        assert!(Key::trusted(bad).name().is_err(), "{bad:?}");
    }
}
