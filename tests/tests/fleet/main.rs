//! The fleet in one process: a controller and five agents with real TLS on free ports, real disks and real processes,
//! each agent under a root folder of its own.
//!
//! This program is its own helper: the agents start it again to launch and to supervise.

mod site;

use std::{process::ExitCode, time::Duration};

use libtest_mimic::{Arguments, Failed, Trial};
use longshore_agent::host::reexec::run_helper;
use longshore_proto::v1 as pb;

use site::Site;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(code) = run_helper(&args) {
        return code;
    }
    let cases: [(&str, fn()); 7] = [
        ("five_agents_go_through_three_releases_while_the_controller_is_killed", three_releases),
        ("a_removed_host_keeps_what_it_has_and_everybody_answers", removed_and_asked),
        ("a_canary_that_falls_ill_in_its_bake_takes_the_release_back", falls_ill),
        ("an_excluded_host_is_touched_no_more_and_the_rest_goes_on", excluded),
        ("an_abort_in_any_phase_brings_every_host_back", aborted),
        ("a_host_that_is_removed_in_the_midst_holds_nobody_up", removed_in_the_midst),
        ("a_release_and_its_settings_go_forward_and_back", forward_and_back),
    ];
    let trials = cases.map(|(name, case)| {
        Trial::test(name, move || {
            case(); // a panic is the failure
            Ok::<(), Failed>(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    runtime.block_on(test);
    runtime.shutdown_timeout(Duration::from_secs(5));
}

/// 1.0 everywhere; 1.1 while the controller dies in the midst; 1.2, whose probe fails, stopped at the canary and undone
/// while the controller dies again. Scenarios 2, 25, 49, 83, 106 and 122.
fn three_releases() {
    run(async {
        let mut site = Site::raise(5).await;
        site.publish("1.0").await;
        let first = site.start("1.0").await;
        assert_eq!(site.outcome(&first).await.outcome, "succeeded");
        site.assert_runs("1.0");

        site.publish("1.1").await;
        let second = site.start("1.1").await;
        site.when(&second, "switching").await;
        site.kill_controller().await;
        assert_eq!(site.outcome(&second).await.outcome, "succeeded");
        site.assert_runs("1.1");

        site.publish("1.2").await;
        let third = site.start("1.2").await;
        site.when(&third, "switching").await;
        site.kill_controller().await;
        let over = site.outcome(&third).await;
        assert_eq!(over.outcome, "rolled-back", "{over:#?}");
        site.assert_runs("1.1");
        let touched = over.hosts.iter().filter(|host| host.failure.is_some()).count();
        assert_eq!(touched, 1, "only the canary met 1.2: {over:#?}");
        site.assert_explained(&third).await;

        // What is there already is nothing to do (118).
        let again = site.start("1.1").await;
        assert_eq!(site.outcome(&again).await.outcome, "nothing-to-do");
        site.lower().await;
    });
}

/// Scenario 7 in our words: what is out of the environment keeps its release. And a question to every host, one that was
/// drained and came back among them.
fn removed_and_asked() {
    run(async {
        let site = Site::raise(2).await;
        let replies = site.ping().await;
        let sound = |reply: &pb::PingReply| !reply.silent && reply.error.is_empty();
        assert!(replies.len() == 2 && replies.iter().all(sound), "{replies:#?}");
        site.publish("1.0").await;
        let first = site.start("1.0").await;
        assert_eq!(site.outcome(&first).await.outcome, "succeeded");
        // How its apps stand now is shown, and not how they stood when it connected.
        for stops in [true, false] {
            site.drain("web-2", stops).await;
            site.until_shown("web-2", !stops).await;
        }
        site.remove_host("web-2").await;
        site.publish("1.1").await;
        let second = site.start("1.1").await;
        assert_eq!(site.outcome(&second).await.outcome, "succeeded");
        assert_eq!(site.runs("web-1").as_deref(), Some("1.1"));
        assert_eq!(site.runs("web-2").as_deref(), Some("1.0"), "a removed host keeps what it has");
        site.lower().await;
    });
}

/// After the canary nothing goes on by itself.
const UNTIL_PROMOTED: &str =
    "canary = 1\ncanary_bake = \"1h\"\nwave = \"50%\"\nbake = \"0s\"\nmax_unavailable = 2\n";

/// The operator pauses after the canary, takes a host out, and goes on.
fn excluded() {
    use pb::steer_request::Act;
    run(async {
        let site = Site::raise(3).await;
        site.publish("1.0").await;
        let first = site.start("1.0").await;
        assert_eq!(site.outcome(&first).await.outcome, "succeeded");
        site.publish("1.1").await;
        site.apply(UNTIL_PROMOTED).await;
        let second = site.start("1.1").await;
        site.when(&second, "baking").await;
        site.steer(&second, Act::Pause(pb::Nothing {})).await;
        site.steer(&second, Act::Exclude(pb::ExcludeHosts { hosts: vec!["web-3".into()] })).await;
        site.steer(&second, Act::Resume(pb::Nothing {})).await;
        site.steer(&second, Act::Promote(pb::Nothing {})).await;
        let over = site.outcome(&second).await;
        assert_eq!(
            (over.outcome.as_str(), over.outcome_reason.as_str()),
            ("succeeded", "2 hosts run 1.1; 1 excluded: web-3")
        );
        let row = over.hosts.iter().find(|host| host.name == "web-3").unwrap();
        assert_eq!(row.state, "excluded", "{row:#?}");
        assert_eq!(site.runs("web-2").as_deref(), Some("1.1"));
        assert_eq!(site.runs("web-3").as_deref(), Some("1.0"), "it keeps what it has");
        site.lower().await;
    });
}

/// Scenario 55: whatever it was doing, it ends on the release that was there before.
fn aborted() {
    use pb::steer_request::Act;
    run(async {
        let site = Site::raise(2).await;
        site.publish("1.0").await;
        let first = site.start("1.0").await;
        assert_eq!(site.outcome(&first).await.outcome, "succeeded");
        site.publish("1.1").await;
        // Long enough for nothing to go on by itself.
        site.apply("canary = 1\nwave = 1\ncanary_bake = \"1h\"\nbake = \"0s\"\nwatch = \"1h\"\n").await;
        for phase in ["staging", "switching", "baking", "paused", "watching"] {
            let id = site.start("1.1").await;
            if phase == "paused" || phase == "watching" {
                site.when(&id, "baking").await;
            }
            match phase {
                "paused" => site.steer(&id, Act::Pause(pb::Nothing {})).await,
                "watching" => site.steer(&id, Act::Promote(pb::Nothing {})).await,
                _ => {}
            }
            site.when(&id, phase).await;
            site.steer(&id, Act::Abort(pb::Nothing {})).await;
            let over = site.outcome(&id).await;
            assert_eq!(over.outcome, "aborted", "{phase}: {over:#?}");
            site.assert_runs("1.0");
            let waves: Vec<&str> = over.waves.iter().map(|wave| wave.state.as_str()).collect();
            let sound = waves.iter().all(|state| ["undone", "not-begun"].contains(state));
            assert!(sound, "{phase}: no wave failed, but {waves:?}");
        }
        site.lower().await;
    });
}

/// It was found healthy, and while the canary bakes its probe begins to fail: nobody else gets the release.
fn falls_ill() {
    run(async {
        let site = Site::raise(2).await;
        site.publish("1.0").await;
        let first = site.start("1.0").await;
        assert_eq!(site.outcome(&first).await.outcome, "succeeded");
        site.apply("canary = 1\ncanary_bake = \"1h\"\n").await;
        site.publish("1.1").await;
        let second = site.start("1.1").await;
        site.when(&second, "baking").await;
        site.fall_ill("web-1", "1.1");
        let over = site.outcome(&second).await;
        assert_eq!(over.outcome, "rolled-back", "{over:#?}");
        let failed: Vec<_> = over.hosts.iter().filter_map(|host| host.failure.as_ref()).collect();
        assert_eq!(failed.len(), 1, "{over:#?}");
        assert_eq!(
            failed[0].message,
            "it was healthy and is no more: probe check fails: exit status 1: fell ill"
        );
        site.assert_runs("1.0");
        site.lower().await;
    });
}

/// It is taken out of the fleet while it switches: the rollout goes on without it, and says so.
fn removed_in_the_midst() {
    run(async {
        let site = Site::raise(3).await;
        site.publish("1.0").await;
        let first = site.start("1.0").await;
        assert_eq!(site.outcome(&first).await.outcome, "succeeded");
        site.publish("1.1").await;
        site.apply(UNTIL_PROMOTED).await;
        let second = site.start("1.1").await;
        site.when(&second, "switching").await;
        site.remove_host("web-3").await;
        site.when(&second, "baking").await;
        site.steer(&second, pb::steer_request::Act::Promote(pb::Nothing {})).await;
        let over = site.outcome(&second).await;
        assert_eq!(
            (over.outcome.as_str(), over.outcome_reason.as_str()),
            ("succeeded", "2 hosts run 1.1; 1 left: web-3")
        );
        site.lower().await;
    });
}

/// Scenario 48: 1.0, 1.1 and back to 1.0, with the hooks of each in their order and the record of who did it.
/// Scenario 99: a hook runs once, before any new process, with the service's environment, and what it wrote is there.
/// Scenario 102: other settings for the same release are a rollout like any other, which is reported and equals what is
/// desired. Scenario 109: and they go back with it. Scenario 127: what is gone back to has the digest of what was there.
fn forward_and_back() {
    run(async {
        let site = Site::raise(1).await;
        let mut digests = vec![];
        for version in ["1.0", "1.1"] {
            site.publish(version).await;
            let id = site.start(version).await;
            let over = site.outcome(&id).await;
            assert_eq!(over.outcome, "succeeded", "{over:#?}");
            digests.push(over.release);
        }
        let back = site.outcome(&site.roll_back().await).await;
        assert_eq!((back.outcome.as_str(), back.version.as_str()), ("succeeded", "1.0"), "{back:#?}");
        assert_eq!(back.release, digests[0], "the bytes of then");
        assert_ne!(back.release, digests[1]);
        assert!(site.live_file("web-1", "bin/serve").contains("this is 1.0"));
        let hooks = "1.0 before_switch, 1.0 started, 1.0 after_healthy, 1.1 before_switch, 1.1 started, \
                     1.1 after_healthy, 1.0 before_switch, 1.0 started, 1.0 after_healthy";
        assert_eq!(site.shared_log("web-1").join(", "), hooks);
        let wanted =
            ["shop@1.0 to production", "shop@1.1 to production", "shop back to what was live before"];
        let started = site.audited("Rollouts/Start").await;
        let said = started
            .iter()
            .zip(wanted)
            .all(|((who, what), wanted)| who == "alice" && what.starts_with(wanted));
        assert!(said && started.len() == 3, "{started:?}");

        // Only a value differs.
        assert!(site.live_file("web-1", "shop.conf").contains("ahoy"));
        site.greet("hello").await;
        let settings = site.outcome(&site.start("1.0").await).await;
        assert_eq!(
            (settings.outcome.as_str(), &settings.release),
            ("succeeded", &digests[0]),
            "{settings:#?}"
        );
        assert_eq!(site.live_file("web-1", "shop.conf"), "hello from 1.0");
        let again = site.outcome(&site.start("1.0").await).await;
        assert_eq!(again.outcome, "nothing-to-do", "what is there is what is desired: {again:#?}");
        let back = site.outcome(&site.roll_back().await).await;
        assert_eq!(back.outcome, "succeeded", "{back:#?}");
        assert!(site.live_file("web-1", "shop.conf").contains("ahoy"), "its settings went back with it");
        site.lower().await;
    });
}
