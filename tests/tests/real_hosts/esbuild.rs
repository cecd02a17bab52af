//! The main job on real hosts, with real software: esbuild from the npm registry as a systemd service on five hosts.
//! One story, because raising a fleet costs more than any of its chapters.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use longshore_tests::bench::poller::ask;
use longshore_tests::fleet::{Fleet, journal};
use longshore_tests::lab::{Host, Lab, cache};
use longshore_tests::packages::Package;
use longshore_tests::{Output, Result, Trouble, Within, until};

const ESBUILD: [Package; 2] = [
    Package {
        name: "@esbuild/linux-x64",
        version: "0.24.0",
        sha512: "bdbbadb05a90f9fa32df04926e68c15d7209e8f2f7b1c82126833ccc22f5e367\
                 06699280742647c9ff81a6efcc997f734fd434cc505529bdfa31ae45cdf6bcc4",
    },
    Package {
        name: "@esbuild/linux-x64",
        version: "0.24.2",
        sha512: "f108b89d07024db2e72bd5a8323742f4d8931bafc4dfc44d20253ab1436a2b44\
                 05c42620a0046a56ac5d1665a47689d5b2f1aa5a19a6ecc3b48f24ea2eac23d1",
    },
];

/// Without `--watch=forever` it ends when its standard input does, and a service has none.
const APP: &str = r#"
[app]
name = "esbuild"

[artifact]
path = "dist"

[service]
exec = ["./bin/esbuild", "--serve=0.0.0.0:8080", "--servedir=./www", "--watch=forever"]
user = "esbuild"
start_timeout = "120s"

[[probe]]
name = "http"
http = "http://127.0.0.1:8080/"
interval = "200ms"
timeout = "15s"
healthy_for = "1s"
deadline = "120s"
"#;

/// One canary, then waves of two.
const ENVIRONMENT: &str = r#"
[environment]
name = "lab"
selector = "role=web"

[rollout]
canary = 1
canary_bake = "1s"
wave = 2
bake = "1s"
max_unavailable = 2
progress_deadline = "10m"
"#;

/// What the broken release says before it gives up.
const LAST_WORDS: &str = "esbuild-broken: the flux capacitor is missing";
/// One rollout over five hosts; it takes some 20 s.
const ROLLOUT: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_secs(180);

pub fn rolls_over_five_hosts() -> Result<()> {
    let lab = Lab::new(5)?;
    lab.together(|host| host.exec(["useradd", "--system", "--no-create-home", "esbuild"])?.success())?;
    let mut fleet = Fleet::raise(&lab)?;
    fleet.apply_environment(ENVIRONMENT)?;

    let story = tell(&lab, &mut fleet);
    story.within(|| format!("{}\n--- controller\n{}", agents(&lab), fleet.controller_log()))
}

fn tell(lab: &Lab, fleet: &mut Fleet<'_>) -> Result<()> {
    publish_all(lab, fleet)?;
    two_good_releases(lab, fleet)?;
    a_broken_release_is_stopped_and_undone(lab, fleet)?;
    a_host_loses_power_in_the_midst(lab, fleet)?;
    a_host_reverts_with_the_controller_gone(lab, fleet)?;
    nothing_of_a_token_is_left(lab)
}

fn publish_all(lab: &Lab, fleet: &Fleet<'_>) -> Result<()> {
    for package in &ESBUILD {
        let esbuild = package.unpacked_in(&cache())?.join("bin/esbuild");
        fleet.publish(&app(lab, package.version, &esbuild)?)?;
    }
    let broken = lab.folder().join("broken");
    write(&broken, &format!("#!/bin/sh\necho '{LAST_WORDS}' >&2\nexit 1\n"))?;
    fleet.publish(&app(lab, "0.24.3", &broken)?)?;
    // The same program with another page: a small change.
    let esbuild = ESBUILD[1].unpacked_in(&cache())?.join("bin/esbuild");
    fleet.publish(&app(lab, "0.24.4", &esbuild)?)?;

    publish(fleet, &app(lab, "0.24.4", &esbuild)?)?.code_is(6)?; // the same content: nothing to do
    let other = app(lab, "0.24.4", &broken)?;
    publish(fleet, &other)?.code_is(4).map(drop) // releases are immutable
}

fn publish(fleet: &Fleet<'_>, folder: &Path) -> Result<Output> {
    fleet.longshore(["release", "publish", folder.to_str().expect("a path of ours is text")])
}

fn two_good_releases(lab: &Lab, fleet: &Fleet<'_>) -> Result<()> {
    for package in &ESBUILD {
        fleet.roll_out(&format!("esbuild@{}", package.version), "lab", ROLLOUT)?.success()?;
        lab.together(|host| {
            serves(host, package.version)?;
            let live =
                host.exec(["/var/lib/longshore/apps/esbuild/current/bin/esbuild", "--version"])?.success()?;
            assert_eq!(live.trim(), package.version);
            Ok(())
        })?;
    }
    let again = fleet.roll_out("esbuild@0.24.2", "lab", ROLLOUT)?;
    again.code_is(6)?; // nothing to do
    Ok(())
}

/// Stopped in the first wave, undone by the host itself, the other four never touched.
fn a_broken_release_is_stopped_and_undone(lab: &Lab, fleet: &Fleet<'_>) -> Result<()> {
    let before = lab.together(started_at)?;
    let rollout = fleet.roll_out("esbuild@0.24.3", "lab", ROLLOUT)?.code_is(1)?;
    assert!(rollout.everything().contains(LAST_WORDS), "the operator does not see why: {rollout}");

    let shown = fleet.ask_json(["rollout", "show", "latest"])?;
    assert_eq!(shown["outcome"], "rolled-back", "{shown:#}");
    let explained = fleet.longshore(["rollout", "explain", "latest"])?.success()?;
    assert!(explained.contains(LAST_WORDS), "{explained}");

    lab.together(|host| serves(host, "0.24.2"))?;
    let after = lab.together(started_at)?;
    let restarted = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert_eq!(restarted, 1, "only the first wave's one host may have been touched: {before:?} {after:?}");
    Ok(())
}

fn a_host_loses_power_in_the_midst(lab: &Lab, fleet: &Fleet<'_>) -> Result<()> {
    let mut rollout = fleet.watch(["rollout", "start", "esbuild@0.24.4", "--to", "lab", "--wait"])?;
    let victim = until(SOON, "a host of the second wave at work", || {
        if rollout.has_ended()? {
            return Err(Trouble::new(format!("over before a host could be cut:\n{}", rollout.so_far())));
        }
        let shown = fleet.ask_json(["rollout", "show", "latest"])?;
        let hosts = shown["hosts"].as_array().cloned().unwrap_or_default();
        let at_work = |host: &&serde_json::Value| {
            host["wave"].as_u64() >= Some(2)
                && ["staging", "switching"].iter().any(|state| host["state"] == *state)
        };
        let name = hosts.iter().find(at_work).and_then(|host| host["name"].as_str());
        Ok(name.and_then(|name| lab.hosts().iter().find(|host| host.name() == name)))
    })?;
    victim.power_off()?;
    // Seen as silent, not guessed: the controller says so before the host is switched on again.
    until(SOON, "the cut host to be missed", || {
        let shown = fleet.ask_json(["host", "show", victim.name()])?;
        Ok((shown["connected"] == false).then_some(()))
    })?;
    victim.power_on()?;
    rollout.wait(ROLLOUT)?.success()?;
    lab.together(|host| serves(host, "0.24.4")).map(drop)
}

fn a_host_reverts_with_the_controller_gone(lab: &Lab, fleet: &mut Fleet<'_>) -> Result<()> {
    let host = lab.host(2);
    fleet.kill_controller()?;
    host.exec(["longshore-agent", "revert", "esbuild"])?.success()?;
    serves(host, "0.24.2")?;
    let status = host.exec(["longshore-agent", "status"])?.success()?;
    assert!(status.contains("0.24.2"), "{status}");
    let history = host.exec(["longshore-agent", "history"])?.success()?;
    assert!(history.contains("0.24.4") && history.contains("0.24.2"), "{history}");
    serves(lab.host(3), "0.24.4")?;

    // What the host did alone is told when the controller is back, and nobody undoes it.
    fleet.start_controller()?;
    fleet.await_connected(lab.hosts().len())?;
    until(SOON, "the controller to know of the revert", || {
        let shown = fleet.ask_json(["host", "show", host.name()])?;
        Ok(shown["apps"]
            .as_array()
            .is_some_and(|apps| apps.iter().any(|app| app["version"] == "0.24.2"))
            .then_some(()))
    })?;
    serves(host, "0.24.2")
}

/// Neither in the journal nor in a file: a token is a secret until it is spent, and nobody's business after.
fn nothing_of_a_token_is_left(lab: &Lab) -> Result<()> {
    lab.together(|host| {
        let token = r"lsj1\.tk_[0-9a-f]";
        let places = "/etc /root /run /var/lib";
        let found =
            host.shell(&format!("journalctl --no-pager | grep -c '{token}'; grep -rlsI '{token}' {places}"))?;
        assert_eq!(found.stdout.trim(), "0", "{found}");
        Ok(())
    })
    .map(drop)
}

/// The app's folder as its developers would have it.
fn app(lab: &Lab, version: &str, program: &Path) -> Result<PathBuf> {
    let folder = lab.folder().join("apps").join(version);
    let dist = folder.join("dist");
    for part in ["bin", "www"] {
        fs::create_dir_all(dist.join(part)).within(|| format!("make {}", dist.display()))?;
    }
    write(&folder.join("longshore.toml"), &APP.replace("[app]", &format!("[app]\nversion = \"{version}\"")))?;
    write(&dist.join("www/index.html"), &format!("<h1>esbuild {version}</h1>\n"))?;
    let target = dist.join("bin/esbuild");
    fs::copy(program, &target).within(|| format!("copy {}", program.display()))?;
    fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).within(|| "chmod the program".into())?;
    Ok(folder)
}

fn write(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    let created = fs::File::create(path).and_then(|mut file| file.write_all(text.as_bytes()));
    created.within(|| format!("write {}", path.display()))
}

/// Asked from this machine over the wire, as a user would.
fn serves(host: &Host, version: &str) -> Result<()> {
    let address = SocketAddr::from((host.ip(), 8080));
    until(SOON, format!("{} to serve {version}", host.name()), || {
        Ok(ask(address).is_ok_and(|page| page.contains(&format!("esbuild {version}<"))).then_some(()))
    })
    .within(|| ask(address).unwrap_or_else(|error| error.to_string()))
}

/// When the app was last started there.
fn started_at(host: &Host) -> Result<String> {
    let show = ["systemctl", "show", "-p", "ExecMainStartTimestampMonotonic", "longshore-esbuild.service"];
    host.exec(show)?.success()
}

/// How all agents fared, for the message of a failure.
fn agents(lab: &Lab) -> String {
    let logs = lab.hosts().iter().map(|host| {
        let log = |unit: &str| journal(host, unit).unwrap_or_else(|trouble| trouble.to_string());
        let (agent, helper) = (log("longshore-agent.service"), log("longshore-helper.service"));
        format!("--- agent of {}\n{agent}\n--- its helper\n{helper}", host.name())
    });
    logs.collect()
}
