//! What stops a plan: each precondition, and what the policy makes of it.

use longshore_common::bundle::room;

use super::setup::{MIB, candidate, check, told, world};
use crate::plan::{Check, Overlap, Runner, Surveyed, plan};

#[test]
fn everything_that_a_host_lacks_is_named() {
    for (mark, requires, failed) in [
        ("arm", "arch=x86_64", "failed architecture: 1 host is not x86_64\n  b: is aarch64"),
        (
            "small",
            "memory=1024",
            "failed memory: 1 host has too little memory\n  b: has 536.9 MB of memory, 1.1 GB are required",
        ),
        (
            "full",
            "disk=100",
            "failed disk: 1 host has too little free disk\n  b: has 1.0 MB free, 141.0 MB are needed",
        ),
        (
            "late",
            "clock=2s",
            "failed clock: 1 host has a clock that is off\n  b: clock is 1m30s behind, 2s are allowed",
        ),
        (
            "late",
            "clock=1h",
            "failed clock: 1 host has a clock that is off\n  b: clock is 1m30s behind, 30s are allowed",
        ),
        (
            "bare",
            "",
            "failed commands: 1 host has not every command that the release calls\n  b: has no openssl",
        ),
        (
            "port",
            "",
            "failed ports: 1 host has somebody else on a port of the release\n  b: port is taken: 8080 by nginx (pid 7)",
        ),
        (
            "unmounted",
            "",
            "failed mounts: 1 host has not everything mounted\n  b: has nothing mounted at /srv/data",
        ),
        ("userless", "", "failed users: 1 host has not every user\n  b: has no user backup"),
        (
            "rootless",
            "",
            "failed service: 1 host cannot run the service\n  b: the agent may not become another user",
        ),
        (
            "secretless",
            "",
            "failed secrets: 1 host has not every secret\n  b: secret db: this host has no credential db",
        ),
        (
            "unopened",
            "",
            "failed secrets: 1 host has not every secret\n  b: secret db was not encrypted for its key",
        ),
        (
            "secretless:unopened",
            "",
            "failed secrets: 1 host has not every secret\n  b: secret db: this host has no credential db; \
             secret db was not encrypted for its key",
        ),
        (
            "unsettled",
            "",
            "failed config: 1 host has not every value that a template asks for\n  b: app.conf: nothing is declared as db_url",
        ),
        ("distrustful", "", "failed signed: 1 host refuses it, whoever signed it\n  b: pins another root"),
    ] {
        let plan = plan(&world(&format!("a b:{mark} | | {requires}")));
        let told = told(&plan);
        let (_, rest) = told.split_once('\n').unwrap();
        assert_eq!(rest, failed, "{mark}");
    }
    check(
        "a b c | | os=ubuntu_24.04 arch=aarch64",
        "wave 1: a b c (100%, 100% so far, bake 0s)
           failed architecture: 3 hosts are not aarch64
             a: is x86_64
             b: is x86_64
             c: is x86_64
           failed os: 3 hosts are not ubuntu 24.04
             a: is debian 12
             b: is debian 12
             c: is debian 12",
    );
}

/// A port that the app's own present release listens on is let go of by it.
#[test]
fn the_apps_own_ports_are_free() {
    let mut own = world("a:port | | ports=8080");
    assert_eq!(plan(&own).failed.len(), 1, "release 1 does not claim it");
    let live = own.known.get_mut(&"1".parse().unwrap()).unwrap();
    let mut manifest = (*live.manifest).clone();
    manifest.service.sockets = vec!["0.0.0.0:8080".into()];
    live.manifest = manifest.into();
    assert_eq!(plan(&own).failed, []);
}

/// Scenario 67: a host that the release is not for is not offered it, and does not fail.
#[test]
fn where_the_policy_says_so_hosts_that_do_not_fit_are_left_out() {
    check(
        "a b:arm c | | arch=x86_64 unfit=skip",
        "wave 1: a c (100%, 100% so far, bake 0s)
           left out: b (architecture)
           - 1 host is left out: b",
    );
    check(
        "a:arm | | arch=x86_64 unfit=skip",
        "left out: a (architecture)
           failed architecture: no host of the environment fits the release
           - 1 host is left out: a",
    );
}

#[test]
fn a_silent_host_is_named_and_treated_as_the_policy_says() {
    check(
        "a b:silent",
        "wave 1: a b (100%, 100% so far, bake 0s)
           - 1 host is unknown, as it did not answer; its wave waits for it: b",
    );
    check(
        "a b:silent | unknown=skip",
        "wave 1: a b (100%, 100% so far, bake 0s)
           - 1 host is unknown, as it did not answer; the rollout goes on without it until it is back: b",
    );
    check(
        "a b:silent c:silent | unknown=count budget.count=1 | overrides=unknown",
        "wave 1: a b c (100%, 100% so far, bake 0s)
           failed unknown, may be overridden: 2 hosts did not answer, which count as failures, and 1 may fail
             b: did not answer
             c: did not answer
           - 2 hosts are unknown, as they did not answer; each counts as a failure: b, c",
    );
    check(
        "a b:silent | unknown=count budget.count=1",
        "wave 1: a b (100%, 100% so far, bake 0s)
           - 1 host is unknown, as it did not answer; it counts as a failure: b",
    );
}

/// A host refuses a release that only just fits, so the plan must not say that it may start.
#[test]
fn the_disk_is_judged_as_the_host_will_judge_it() {
    let disk_of = |free: u64| {
        let mut world = world("a b");
        if let Surveyed::Answered(survey) = &mut world.hosts[0].surveyed {
            survey.machine.disk_free_bytes = free;
        }
        plan(&world).failed.into_iter().map(|failed| failed.hosts[0].what.clone()).collect::<Vec<_>>()
    };
    let room = room([30 * MIB]);
    assert_eq!(disk_of(room), Vec::<String>::new());
    assert_eq!(disk_of(31 * MIB), ["has 32.5 MB free, 36.2 MB are needed"]);
    assert_eq!(disk_of(room - 780), ["has 36,175,000 bytes free, 36,175,780 bytes are needed"]);
}

#[test]
fn what_never_changes_is_judged_of_hosts_that_cannot_be_asked() {
    let plan = plan(&world("a:silent b:older | | arch=aarch64 disk=99999999"));
    assert_eq!(plan.failed.len(), 1);
    assert_eq!((plan.failed[0].check, plan.failed[0].hosts.len()), (Check::Architecture, 2));
    assert!(plan.remarks.iter().any(|remark| remark.contains("could not be asked")), "{:?}", plan.remarks);
}

/// Scenario 96, and its neighbours. Scenario 115 does not come up: an app is of one environment on a host, and a second
/// one is refused unless somebody overrides it by name.
#[test]
fn what_is_wrong_with_release_and_environment_is_said_first() {
    let mut world = world("a:full b | | overrides=overlap,disk disk=99999");
    world.withdrawn = Some("loses orders (ada)".into());
    world.busy = Some("prod is held".into());
    world.overlaps = vec![Overlap { env: "blue".parse().unwrap(), hosts: vec!["a".parse().unwrap()] }];
    world.unmet = vec![(Check::Locked, "prod is locked by bob".into())];
    let failed: Vec<(Check, bool)> =
        plan(&world).failed.iter().map(|failed| (failed.check, failed.may_override)).collect();
    assert_eq!(
        failed,
        [
            (Check::Withdrawn, false),
            (Check::Busy, false),
            (Check::Overlap, true),
            (Check::Locked, false),
            (Check::Disk, true)
        ]
    );
}

/// A runner that cannot hold the release would refuse it, and its gate would wait for a test that nobody runs.
#[test]
fn a_host_that_runs_a_test_is_asked_what_holding_the_release_takes() {
    let said = |mark: &str| {
        let mut world = world("a | | overrides=secrets");
        let host = candidate(&format!("ta7{mark}"), 9);
        world.runners = vec![Runner { host, gates: vec!["smoke".into()] }];
        told(&plan(&world))
    };
    let wave = "wave 1: a (100%, 100% so far, bake 0s)";
    for fits in ["", ":older", ":port", ":late"] {
        assert_eq!(said(fits), wave, "{fits}: nothing is started there");
    }
    assert_eq!(
        said(":secretless:bare"),
        format!(
            "{wave}\nfailed runner: gate smoke runs its test on ta7, which would not take shop@2\n  \
             ta7: has no openssl\n  ta7: secret db: this host has no credential db"
        )
    );
    assert_eq!(
        said(":silent"),
        format!(
            "{wave}\nfailed runner: gate smoke runs its test on ta7, which did not answer. \
             See: longshore host show ta7"
        )
    );
}

#[test]
fn every_check_has_a_name_that_reads_back() {
    for check in Check::ALL {
        assert_eq!(Check::parse(check.as_str()), Some(check));
        assert_eq!(serde_json::to_value(check).unwrap(), check.as_str());
    }
    assert_eq!(Check::parse("everything"), None);
}
