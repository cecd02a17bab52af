//! One release's way through development and staging into production, with real software all along: Caddy from PyPI as
//! the app, Prometheus from Debian that scrapes it, systemd hosts. What is wrong with a release is found later every
//! time: by its own tests in staging, or by what Prometheus measures of the canary.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use longshore_tests::bench::poller::{ask, ask_for};
use longshore_tests::fleet::{Fleet, journal};
use longshore_tests::lab::{Host, Lab, overwrite};
use longshore_tests::load::Load;
use longshore_tests::{Process, Result, Within, until};

use crate::shop::Shop;

/// The first stops of every release.
const DEVELOPMENT: &str = r#"
[environment]
name = "development"
selector = "name=h1"
[rollout]
canary_bake = "0s"
bake = "0s"
[promotion]
order = "development"
"#;

const STAGING: &str = r#"
[environment]
name = "staging"
selector = "name=h2"
[rollout]
canary_bake = "0s"
bake = "0s"
[promotion]
order = "staging"
[[promotion.after]]
env = "development"
[[gate]]
name = "smoke"
kind = "test"
after = "last-wave"
deadline = "5m"
test = "smoke"
on = "h2"
"#;

/// Of the requests that the hosts of the release answered, those with 5xx.
const PRODUCTION: &str = r#"
[environment]
name = "production"
selector = "name=h3"
[rollout]
canary = 1
canary_bake = "2s"
bake = "1s"
[promotion]
order = "production"
[[promotion.after]]
env = "staging"
gates = ["smoke"]
[[gate]]
name = "errors"
kind = "metrics"
after = "canary"
deadline = "5m"
prometheus = "http://GATEWAY:9090"
query = '(sum(rate(caddy_http_request_duration_seconds_count{instance=~"$hosts",code=~"5.."}[4s])) or vector(0)) / sum(rate(caddy_http_request_duration_seconds_count{instance=~"$hosts"}[4s]))'
max = 0.05
window = "5s"
step = "1s"
breaches = 1
samples = 4
"#;

const ROLLOUT: Duration = Duration::from_secs(400);
const SOON: Duration = Duration::from_secs(180);

pub fn reaches_production_by_way_of_staging() -> Result<()> {
    let lab = Lab::new(4)?;
    lab.together(|host| host.exec(["useradd", "--system", "--no-create-home", "shop"])?.success())?;
    let fleet = Fleet::raise(&lab)?;
    let gateway = lab.gateway().to_string();
    let production = PRODUCTION.replace("GATEWAY", &gateway).replace("name=h3", "tier=live");
    for host in [lab.host(3), lab.host(4)] {
        fleet.longshore(["host", "label", host.name(), "tier=live"])?.success()?;
    }
    for environment in [DEVELOPMENT, STAGING, &production] {
        fleet.apply_environment(environment)?;
    }
    let mut prometheus = start_prometheus(&lab)?;

    let story = tell(&lab, &fleet);
    story.within(|| {
        let agents = lab.hosts().iter().map(|host| journal(host, "longshore-agent.service"));
        let agents: Vec<String> =
            agents.map(|log| log.unwrap_or_else(|trouble| trouble.to_string())).collect();
        let controller = fleet.controller_log();
        format!(
            "--- agents\n{}\n--- controller\n{controller}\n--- prometheus\n{}",
            agents.join("\n---\n"),
            prometheus.so_far()
        )
    })?;
    prometheus.kill()
}

fn tell(lab: &Lab, fleet: &Fleet<'_>) -> Result<()> {
    let wrong_page = Shop { page: "1.0", ..Shop::version("1.1") };
    let no_checkout = Shop { checkout: 500, ..Shop::version("1.2") };
    for release in [Shop::version("1.0"), wrong_page, no_checkout] {
        fleet.publish(&release.folder(lab)?)?;
    }
    let live = [lab.host(3), lab.host(4)];
    let load = Load::on(live.map(|host| SocketAddr::from((host.ip(), 8080))), &["/", "/checkout"]);

    a_good_release_gets_there(lab, fleet)?;
    a_release_that_fails_its_tests_stays_in_staging(lab, fleet)?;
    a_canary_that_errs_is_stopped(lab, fleet, &load)?;
    load.end();
    Ok(())
}

/// Only by way of the environments before.
fn a_good_release_gets_there(lab: &Lab, fleet: &Fleet<'_>) -> Result<()> {
    let refused = fleet.roll_out("shop@1.0", "production", ROLLOUT)?.code_is(4)?;
    assert!(refused.everything().contains("LS-W03"), "{refused}");
    let refused = fleet.roll_out("shop@1.0", "staging", ROLLOUT)?.code_is(4)?;
    assert!(refused.everything().contains("development"), "{refused}");
    fleet.roll_out("shop@1.0", "development", ROLLOUT)?.success()?;
    let staged = fleet.roll_out("shop@1.0", "staging", ROLLOUT)?;
    let gate = gate_of(fleet, "smoke").within(|| staged.to_string())?;
    staged.success()?;
    assert_eq!(gate["state"], "pass", "{gate:#}");
    let tests = ["the page is there", "the page names its version", "requests are counted"];
    assert_eq!(evidence(&gate), tests.map(|name| format!("passed {name}")), "test by test");
    // By the helper of that host, as a unit of the app's user and with the app's sandbox.
    let status = lab.host(2).exec(["longshore-agent", "status"])?.success()?;
    assert!(status.contains("two; the helper is "), "{status}");
    let log = journal(lab.host(2), "longshore-test.shop.service")?;
    assert!(log.contains("Longshore test"), "{log}");

    fleet.roll_out("shop@1.0", "production", ROLLOUT)?.success()?;
    assert_eq!(gate_of(fleet, "errors")?["state"], "pass");
    lab.together(|host| serves(host, "1.0")).map(drop)
}

fn a_release_that_fails_its_tests_stays_in_staging(lab: &Lab, fleet: &Fleet<'_>) -> Result<()> {
    fleet.roll_out("shop@1.1", "development", ROLLOUT)?.success()?;
    let failed = fleet.roll_out("shop@1.1", "staging", ROLLOUT)?.code_is(1)?;
    let gate = gate_of(fleet, "smoke")?;
    assert_eq!(gate["state"], "fail", "{gate:#}");
    let seen = evidence(&gate);
    assert!(seen.iter().any(|line| line.starts_with("failed the page names its version")), "{seen:?}");
    assert!(seen.iter().any(|line| line == "passed the page is there"), "{seen:?}");
    let shown = failed.everything();
    assert!(shown.contains("failed the page names its version"), "whoever waits sees which test: {shown}");
    serves(lab.host(2), "1.0")?;
    fleet.roll_out("shop@1.1", "production", ROLLOUT)?.code_is(4).map(drop)
}

/// Its tests pass; what it does to users only shows in production, on one host of two.
fn a_canary_that_errs_is_stopped(lab: &Lab, fleet: &Fleet<'_>, load: &Load) -> Result<()> {
    for environment in ["development", "staging"] {
        fleet.roll_out("shop@1.2", environment, ROLLOUT)?.success()?;
    }
    let [canary, other] = [lab.host(3), lab.host(4)];
    let (canary_before, other_before) = (started_at(canary)?, started_at(other)?);
    let before = load.failed_on(&SocketAddr::from((other.ip(), 8080)));
    let stopped = fleet.roll_out("shop@1.2", "production", ROLLOUT)?.code_is(1)?;
    let shown = fleet.ask_json(["rollout", "show", "latest"])?;
    assert_eq!(shown["outcome"], "rolled-back", "{shown:#}");
    let gate = gate_of(fleet, "errors")?;
    assert_eq!(gate["state"], "fail", "{gate:#}");
    assert!(gate["note"].as_str().is_some_and(|note| note.contains("more than 0.05")), "{gate:#}");
    assert!(stopped.everything().contains("gate errors (metrics)"), "{stopped}");
    let explained = fleet.longshore(["rollout", "explain", "latest"])?.success()?;
    assert!(explained.contains("errors"), "{explained}");

    lab.together(|host| if host.name() > "h2" { serves(host, "1.0") } else { Ok(()) })?;
    assert_ne!(started_at(canary)?, canary_before, "the canary was to be changed and changed back");
    assert_eq!(started_at(other)?, other_before, "only the canary may be touched");
    let after = load.failed_on(&SocketAddr::from((other.ip(), 8080)));
    assert_eq!(after, before, "users of the other host were to notice nothing");
    Ok(())
}

/// The last run of a gate of the latest rollout.
fn gate_of(fleet: &Fleet<'_>, name: &str) -> Result<serde_json::Value> {
    let shown = fleet.ask_json(["rollout", "show", "latest"])?;
    let gates = shown["gates"].as_array().cloned().unwrap_or_default();
    gates.into_iter().rfind(|gate| gate["name"] == name).within(|| format!("no gate {name}: {shown:#}"))
}

fn evidence(gate: &serde_json::Value) -> Vec<String> {
    let lines = gate["evidence"].as_array().map(Vec::as_slice).unwrap_or_default();
    lines.iter().filter_map(|line| line.as_str().map(str::to_owned)).collect()
}

/// Debian's, on this machine: it scrapes the two hosts of production every second.
fn start_prometheus(lab: &Lab) -> Result<Process> {
    let folder = lab.folder().join("prometheus");
    fs::create_dir_all(&folder).within(|| format!("make {}", folder.display()))?;
    let hosts = [lab.host(3), lab.host(4)].map(|host| {
        format!("  - targets: [\"{}:8080\"]\n    labels: {{instance: {}}}\n", host.ip(), host.name())
    });
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 900ms}}\nscrape_configs:\n- job_name: shop\n  static_configs:\n{}",
        hosts.concat()
    );
    let file = folder.join("prometheus.yml");
    overwrite(&file, &config)?;
    let address = SocketAddr::from((lab.gateway(), 9090));
    let mut command = Command::new("/usr/bin/prometheus");
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
    command.arg(format!("--web.listen-address={address}")).arg("--log.level=warn");
    let prometheus = Process::start(&mut command)?;
    until(SOON, "Prometheus to be ready", || Ok(ask_for(address, "/-/ready").is_ok().then_some(())))
        .within(|| prometheus.so_far())?;
    Ok(prometheus)
}

fn serves(host: &Host, version: &str) -> Result<()> {
    let address = SocketAddr::from((host.ip(), 8080));
    let page = format!("shop {version}");
    until(SOON, format!("{} to serve {version}", host.name()), || {
        Ok(ask(address).is_ok_and(|said| said == page).then_some(()))
    })
}

/// When the app was last started there.
fn started_at(host: &Host) -> Result<String> {
    let show = ["systemctl", "show", "-p", "ExecMainStartTimestampMonotonic", "longshore-shop.service"];
    host.exec(show)?.success()
}
