//! The agent and its helper on real hosts, under the whole of their units' hardening: what an operator does works, what
//! somebody who owns the agent does is refused, and a host goes from one process to two and back.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use longshore_tests::bench::poller::{ask, ask_within};
use longshore_tests::fleet::{Fleet, Heartbeat, Processes, journal};
use longshore_tests::lab::{Host, Lab};
use longshore_tests::programs::program;
use longshore_tests::{Result, Within, until};

use crate::{bundle, secrets};

const ROLLOUT: Duration = Duration::from_secs(600);
pub const SOON: Duration = Duration::from_secs(180);

/// As a service of systemd: sockets held open, a hook, a probe that is a program, config with secrets.
pub const SHOP: &str = r#"
[app]
name = "shop"
version = "VERSION"
[artifact]
path = "dist"
[service]
exec = ["./bin/app"]
user = "shop"
sockets = ["0.0.0.0:8080"]
[config."etc/app.conf"]
template = "etc/app.conf.j2"
[hooks]
before_switch = { run = ["./bin/hook"], timeout = "120s" }
[[probe]]
name = "http"
http = "http://127.0.0.1:8080/"
interval = "200ms"
timeout = "15s"
healthy_for = "600ms"
deadline = "120s"
[[probe]]
name = "program"
exec = ["./bin/check"]
interval = "200ms"
timeout = "15s"
healthy_for = "600ms"
deadline = "120s"
"#;

/// By our own supervisor, on two sides, behind our own relay.
const BESIDE: &str = r#"
[app]
name = "beside"
version = "VERSION"
[artifact]
path = "dist"
[service]
driver = "process"
exec = ["./bin/app", "--listen", "{listen}"]
user = "shop"
sockets = ["0.0.0.0:8090"]
[service.sides]
blue = "127.0.0.1:8091"
green = "127.0.0.1:8092"
warm = "1s"
[[probe]]
name = "http"
http = "http://{listen}/"
interval = "200ms"
timeout = "15s"
healthy_for = "600ms"
deadline = "120s"
"#;

const ENVIRONMENT: &str = r#"
[environment]
name = "lab"
selector = "role=web"
[values]
greeting = "ahoy"
[secrets]
db = { file = "/etc/longshore/secrets/db" }
[rollout]
bake = "1s"
progress_deadline = "10m"
"#;

pub fn works_under_its_hardening() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = lab.host(1);
    host.exec(["useradd", "--system", "--no-create-home", "shop"])?.success()?;
    let fleet = Fleet::raise_as(&lab, Heartbeat::Quick, Processes::Two)?;
    let story = tell(&lab, host, &fleet);
    story.within(|| {
        let log = |unit: &str| journal(host, unit).unwrap_or_else(|trouble| trouble.to_string());
        let (agent, helper) = (log("longshore-agent"), log("longshore-helper"));
        format!("--- agent\n{agent}\n--- helper\n{helper}\n--- controller\n{}", fleet.controller_log())
    })
}

fn tell(lab: &Lab, host: &Host, fleet: &Fleet<'_>) -> Result<()> {
    two_processes_are_there(host)?;
    host.shell("install -d -m 700 /etc/longshore/secrets")?.success()?;
    host.write("/etc/longshore/secrets/db", "hunter2\n", 0o600)?;
    fleet.apply_environment(ENVIRONMENT)?;
    for version in ["1.0", "1.1"] {
        fleet.publish(&app(lab, SHOP, "shop", version)?)?;
    }
    a_release_with_everything(host, fleet)?;
    no_connection_is_refused(host, fleet)?;
    a_secret_that_is_sealed(lab, host, fleet)?;
    secrets::no_secret_lies_open(host)?;
    sides_and_supervisors_have_a_network(lab, host, fleet)?;
    both_may_die(host, fleet)?;
    bundle::a_bundle_comes_without_a_network(lab, host, fleet)?;
    the_agent_is_owned(host, fleet)
}

fn two_processes_are_there(host: &Host) -> Result<()> {
    let line = "ps -o user:20= -p $(systemctl show -P MainPID longshore-agent)
        ps -o user:20= -p $(systemctl show -P MainPID longshore-helper)
        stat -c '%U %a' /var/lib/longshore/identity /var/lib/longshore/helper /run/longshore-helper.sock
        grep CapEff /proc/$(systemctl show -P MainPID longshore-agent)/status | tr -d '\\t'
        ls /var/lib/longshore/helper | sort | tr '\\n' ' '";
    let said = host.shell(line)?.success()?;
    let lines: Vec<&str> = said.lines().map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "longshore-agent",
            "root",
            "longshore-agent 700",
            "root 700",
            "root 660",
            "CapEff:0000000000000000",
            "age-key.txt host trust.json"
        ],
    );
    let status = host.exec(["longshore-agent", "status"])?.success()?;
    assert!(status.contains("two; the helper is "), "{status}");
    Ok(())
}

fn a_release_with_everything(host: &Host, fleet: &Fleet<'_>) -> Result<()> {
    fleet.roll_out("shop@1.0", "lab", ROLLOUT)?.success()?;
    serves(host, 8080, "1.0")?;
    let slot = "/var/lib/longshore/apps/shop/current";
    assert_eq!(host.read(&format!("{slot}/etc/app.conf"))?, "ahoy hunter2\n");
    assert_eq!(
        host.exec(["stat", "-c", "%U %a", &format!("{slot}/etc/app.conf")])?.success()?.trim(),
        "shop 400"
    );
    // Neither of them is our child, nor root.
    let hook = host.read("/var/lib/longshore/apps/shop/shared/hook")?;
    assert!(hook.contains("shop") && hook.contains("longshore-hook.shop.service"), "{hook}");
    let probe = host.read("/var/lib/longshore/apps/shop/shared/check")?;
    assert!(probe.contains("shop") && probe.contains("longshore-probe.shop.program.service"), "{probe}");
    Ok(())
}

fn no_connection_is_refused(host: &Host, fleet: &Fleet<'_>) -> Result<()> {
    let address = SocketAddr::from((host.ip(), 8080));
    let mut rollout = fleet.watch(["rollout", "start", "shop@1.1", "--to", "lab", "--wait"])?;
    let (mut asked, mut failed) = (0, vec![]);
    while !rollout.has_ended()? {
        asked += 1;
        failed.extend(ask_within(SOON, address, "/").err().map(|error| error.to_string()));
        std::thread::sleep(Duration::from_millis(5));
    }
    rollout.wait(ROLLOUT)?.success()?;
    assert!(asked > 20 && failed.is_empty(), "of {asked} connections {} failed: {failed:?}", failed.len());
    serves(host, 8080, "1.1")
}

fn a_secret_that_is_sealed(lab: &Lab, host: &Host, fleet: &Fleet<'_>) -> Result<()> {
    let secret = lab.folder().join("sealed");
    write(&secret, "swordfish\n")?;
    let file = secret.display().to_string();
    let made = fleet.longshore(["secret", "encrypt", "--env", "lab", "db", "--file", &file])?.success()?;
    let line = made.lines().find(|line| line.contains("sealed")).within(|| made.clone())?;
    let line = line.trim().trim_start_matches("db").trim_start().trim_start_matches('=').trim();
    let environment = ENVIRONMENT.replace("{ file = \"/etc/longshore/secrets/db\" }", line);
    fleet.apply_environment(&environment).within(|| environment.clone())?;
    fleet.roll_out("shop@1.1", "lab", ROLLOUT)?.success()?;
    assert_eq!(host.read("/var/lib/longshore/apps/shop/current/etc/app.conf")?, "ahoy swordfish\n");
    Ok(())
}

fn sides_and_supervisors_have_a_network(lab: &Lab, host: &Host, fleet: &Fleet<'_>) -> Result<()> {
    for version in ["1.0", "1.1"] {
        fleet.publish(&app(lab, BESIDE, "beside", version)?)?;
        fleet.roll_out(&format!("beside@{version}"), "lab", ROLLOUT)?.success()?;
        serves(host, 8090, version)?;
    }
    let units = host.exec(["systemctl", "list-units", "--plain", "longshore-shim.*"])?.success()?;
    assert!(units.contains("longshore-shim.beside-relay.service"), "{units}");
    Ok(())
}

/// What runs runs on, and both are back by themselves.
fn both_may_die(host: &Host, fleet: &Fleet<'_>) -> Result<()> {
    host.exec(["systemctl", "kill", "--signal=SIGKILL", "longshore-helper", "longshore-agent"])?.success()?;
    serves(host, 8080, "1.1")?;
    serves(host, 8090, "1.1")?;
    until(SOON, "an agent with its helper", || {
        let status = host.exec(["longshore-agent", "status"])?;
        Ok((status.stdout.contains("two; the helper is ") && status.stdout.contains("connected to"))
            .then_some(()))
    })?;
    fleet.await_connected(1)?;
    host.exec(["longshore-agent", "hold", "disk swap"])?.success()?;
    fleet.roll_out("shop@1.0", "lab", ROLLOUT)?.code_is(4).map(drop).or_else(|_| {
        // Refused by the host after the start, the rollout has failed.
        fleet.longshore(["rollout", "explain", "latest"])?.success().map(drop)
    })?;
    host.exec(["longshore-agent", "unhold"])?.success()?;
    serves(host, 8080, "1.1")?;
    let reverted = host.exec(["longshore-agent", "revert", "shop"])?.success()?;
    assert!(reverted.contains("1."), "{reverted}");
    Ok(())
}

/// All that runs, would run, or says what may; neither the log of what was refused nor what an attacker cannot reach.
pub const EVERYTHING: &str = "find /var/lib/longshore /etc/systemd/system /etc/longshore -path /var/lib/longshore/state -prune \
     -o -path '*/run*' -prune -o -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum; \
     find /var/lib/longshore -name current -exec readlink {} +";

fn the_agent_is_owned(host: &Host, fleet: &Fleet<'_>) -> Result<()> {
    let status = host.exec(["longshore-agent", "status", "-o", "json"])?.success()?;
    let status: serde_json::Value = serde_json::from_str(&status).within(|| status.clone())?;
    let shop = status["apps"].as_array().and_then(|apps| apps.iter().find(|app| app["app"] == "shop"));
    let shop = shop.within(|| status.to_string())?;
    let (id, release) = (text(&status["host"]), text(&shop["release"]));
    let generation = shop["generation"].as_u64().unwrap_or(2) - 1;
    // What the host would hear of by itself, at some moment, it has heard of.
    fleet.longshore(["trust", "check"])?;
    let before = host.shell(EVERYTHING)?.success()?;
    host.put(&program("helper-attack")?, "/usr/bin/helper-attack")?;
    let as_the_agent = format!(
        "setpriv --reuid longshore-agent --regid longshore-agent --clear-groups helper-attack {id} {generation} {release}"
    );
    let said = host.shell(&as_the_agent)?.success()?;
    let refusals = ["is not newer than", "assignment is for host", "LS-T02"];
    until(SOON, "three refusals", || {
        let log = journal(host, "longshore-helper")?;
        Ok(refusals.iter().all(|words| log.contains(words)).then_some(()))
    })
    .within(|| said.clone())?;
    assert_eq!(host.shell(EVERYTHING)?.success()?, before, "{said}");
    // And nobody else is even heard.
    let other = format!("setpriv --reuid shop --clear-groups helper-attack {id} {generation} {release}");
    let other = host.shell(&other)?.code_is(1)?;
    assert!(other.stdout.contains("Permission denied"), "{other}");
    fleet.await_connected(1)
}

/// A host that has the agent as one process is divided by the installer, and united again where that is asked for.
pub fn is_divided_and_united() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = lab.host(1);
    host.exec(["useradd", "--system", "--no-create-home", "shop"])?.success()?;
    let fleet = Fleet::raise_as(&lab, Heartbeat::Quick, Processes::One)?;
    host.shell("install -d -m 700 /etc/longshore/secrets")?.success()?;
    host.write("/etc/longshore/secrets/db", "hunter2\n", 0o600)?;
    fleet.apply_environment(ENVIRONMENT)?;
    for version in ["1.0", "1.1", "1.2"] {
        fleet.publish(&app(&lab, SHOP, "shop", version)?)?;
    }
    fleet.roll_out("shop@1.0", "lab", ROLLOUT)?.success()?;
    assert!(host.exec(["longshore-agent", "status"])?.success()?.contains("one, with"));
    let started =
        host.exec(["systemctl", "show", "-P", "ExecMainStartTimestamp", "longshore-shop"])?.success()?;
    for (words, processes, version) in [("", "two; the helper", "1.1"), ("--single", "one, with", "1.2")] {
        host.shell(&format!("cd /root && sh ./install-agent.sh {words}"))?.success()?;
        // Once more: nothing to do.
        host.shell(&format!("cd /root && sh ./install-agent.sh {words}"))?.success()?;
        let now =
            host.exec(["systemctl", "show", "-P", "ExecMainStartTimestamp", "longshore-shop"])?.success()?;
        assert!(version == "1.2" || now == started, "the app was touched: {started} {now}");
        fleet.await_connected(1)?;
        let status = host.exec(["longshore-agent", "status"])?.success()?;
        assert!(status.contains(processes), "{status}");
        fleet.roll_out(&format!("shop@{version}"), "lab", ROLLOUT)?.success()?;
        serves(host, 8080, version)?;
        if version == "1.1" {
            an_agent_of_the_shared_user_gets_its_own(host, &fleet)?;
        }
    }
    Ok(())
}

/// As hosts were while agent and controller were both the user `longshore`.
fn an_agent_of_the_shared_user_gets_its_own(host: &Host, fleet: &Fleet<'_>) -> Result<()> {
    let as_before = "set -e; cd /etc/systemd/system; useradd --system --no-create-home longshore
        systemctl stop longshore-agent longshore-helper.socket longshore-helper
        sed -i -E 's/^(User|Group|SocketGroup)=longshore-agent/\\1=longshore/' longshore-agent.service longshore-helper.socket
        sed -i 's/^ExecStart=.*/& --user longshore/' longshore-helper.service
        chown -R longshore:longshore /var/lib/longshore/identity
        systemctl daemon-reload; systemctl start longshore-helper.socket longshore-agent";
    host.shell(as_before)?.success()?;
    fleet.await_connected(1)?;
    let runs_as = "ps -o user:20= -p $(systemctl show -P MainPID longshore-agent)";
    assert_eq!(host.shell(runs_as)?.success()?.trim(), "longshore");
    host.shell("cd /root && sh ./install-agent.sh")?.success()?;
    fleet.await_connected(1)?;
    assert_eq!(host.shell(runs_as)?.success()?.trim(), "longshore-agent");
    let owners =
        "find /var/lib/longshore/identity ! -user longshore-agent; stat -c %G /run/longshore-helper.sock";
    assert_eq!(host.shell(owners)?.success()?.trim(), "longshore-agent");
    Ok(())
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// An app's folder as its developers would have it.
pub fn app(lab: &Lab, file: &str, name: &str, version: &str) -> Result<PathBuf> {
    let folder = lab.folder().join("apps").join(name).join(version);
    let dist = folder.join("dist");
    for part in ["bin", "etc"] {
        fs::create_dir_all(dist.join(part)).within(|| format!("make {}", dist.display()))?;
    }
    let script = |name: &str| {
        format!(
            "#!/bin/sh\nid -un >\"$LONGSHORE_SHARED/{name}\"\ncat /proc/self/cgroup >>\"$LONGSHORE_SHARED/{name}\"\n"
        )
    };
    write(&folder.join("longshore.toml"), &file.replace("VERSION", version))?;
    write(&dist.join("VERSION"), version)?;
    write(&dist.join("etc/app.conf.j2"), "{{ greeting }} {{ secrets.db }}\n")?;
    for program in ["hook", "check"] {
        write(&dist.join("bin").join(program), &script(program))?;
        executable(&dist.join("bin").join(program))?;
    }
    let target = dist.join("bin/app");
    fs::copy(program("bench-app")?, &target).within(|| "copy the app".into())?;
    executable(&target)?;
    Ok(folder)
}

fn executable(path: &std::path::Path) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).within(|| "chmod a program".into())
}

fn write(path: &std::path::Path, text: &str) -> Result<()> {
    use std::io::Write;
    let created = fs::File::create(path).and_then(|mut file| file.write_all(text.as_bytes()));
    created.within(|| format!("write {}", path.display()))
}

pub fn serves(host: &Host, port: u16, version: &str) -> Result<()> {
    let address = SocketAddr::from((host.ip(), port));
    until(SOON, format!("{} to serve {version} on {port}", host.name()), || {
        Ok(ask(address).is_ok_and(|page| page.contains(version)).then_some(()))
    })
    .within(|| ask(address).unwrap_or_else(|error| error.to_string()))
}
