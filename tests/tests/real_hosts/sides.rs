//! One systemd host: an app that runs beside itself, under load, over a power cut; and the host drained and back.

use std::net::SocketAddr;
use std::time::Duration;

use longshore_tests::bench::poller::ask;
use longshore_tests::fleet::{Fleet, journal};
use longshore_tests::lab::{Host, Lab};
use longshore_tests::load::Load;
use longshore_tests::{Result, Within, until};

use crate::shop::Shop;

const ENVIRONMENT: &str = r#"
[environment]
name = "production"
selector = "name=h1"
[rollout]
canary_bake = "1s"
bake = "1s"
[traffic]
driver = "socket"
drain = "2s"
steps = ["50%"]
hold = "1s"
"#;

const ROLLOUT: Duration = Duration::from_secs(400);
const SOON: Duration = Duration::from_secs(180);

pub fn run_under_systemd() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = lab.host(1);
    host.exec(["useradd", "--system", "--no-create-home", "shop"])?.success()?;
    let fleet = Fleet::raise(&lab)?;
    fleet.apply_environment(ENVIRONMENT)?;
    tell(&lab, &fleet).within(|| {
        let log = |unit| journal(host, unit).unwrap_or_else(|trouble| trouble.to_string());
        let apps = [log("longshore-shop-blue.service"), log("longshore-shop-green.service")];
        let agent = log("longshore-agent.service");
        format!(
            "--- agent\n{agent}\n--- apps\n{}\n--- controller\n{}",
            apps.join("\n"),
            fleet.controller_log()
        )
    })
}

fn tell(lab: &Lab, fleet: &Fleet<'_>) -> Result<()> {
    let host = lab.host(1);
    let beside = |version| Shop { sides: true, ..Shop::version(version) };
    for release in [beside("1.0"), beside("1.1"), Shop { status: 500, ..beside("1.2") }] {
        fleet.publish(&release.folder(lab)?)?;
    }
    fleet.roll_out("shop@1.0", "production", ROLLOUT)?.success()?;
    serves(host, "1.0")?;
    stand(host, ["active", "inactive"])?;

    let load = Load::on([address(host); 3], &["/"]);
    let rolled = fleet.roll_out("shop@1.1", "production", ROLLOUT)?;
    rolled.success()?;
    serves(host, "1.1")?;
    // The other side is warm, and stopped when its time is over.
    until(SOON, "blue to be stopped", || Ok((states(host)? == ["inactive", "active"]).then_some(())))?;
    let failed = fleet.roll_out("shop@1.2", "production", ROLLOUT)?.code_is(1)?;
    assert!(failed.everything().contains("LS-B01"), "{failed}");
    stand(host, ["inactive", "active"])?;
    let answers = load.end();
    assert!(answers.failed == 0 && !answers.said.contains_key("shop 1.2"), "{answers:?}");

    host.power_off()?;
    host.power_on()?;
    serves(host, "1.1")?;
    stand(host, ["inactive", "active"])?;
    fleet.await_connected(1)?;
    the_host_is_drained_and_comes_back(host, fleet)
}

/// Scenario 101: at once, and by a deadline; it takes no new work, over a boot of the machine too, until it is let go.
fn the_host_is_drained_and_comes_back(host: &Host, fleet: &Fleet<'_>) -> Result<()> {
    fleet.longshore(["host", "drain", "h1", "--force", "--reason", "the disk is replaced"])?.success()?;
    until(
        SOON,
        "everything to be stopped",
        || Ok((states(host)? == ["inactive", "inactive"]).then_some(())),
    )?;
    let status = host.exec(["longshore-agent", "status"])?.success()?;
    assert!(status.contains("the disk is replaced"), "{status}");
    // Of a host that takes longer to answer than a list waits, what it said before is shown.
    until(SOON, "the host to be shown as it is", || {
        let shown = fleet.longshore(["host", "show", "h1"])?.success()?;
        let listed = fleet.longshore(["host", "list"])?.success()?;
        Ok((shown.contains("its apps are stopped") && listed.contains("shop 1.1 (down)")).then_some(()))
    })?;
    let left_out = fleet.roll_out("shop@1.0", "production", ROLLOUT)?.code_is(6)?;
    assert!(left_out.everything().contains("no host takes part"), "{left_out}");
    host.power_off()?;
    host.power_on()?;
    fleet.await_connected(1)?;
    stand(host, ["inactive", "inactive"])?;

    fleet.longshore(["host", "undrain", "h1"])?.success()?;
    serves(host, "1.1")?;
    fleet.longshore(["host", "drain", "h1", "--deadline", "5m", "--reason", "again"])?.success()?;
    until(SOON, "everything to be stopped, as nothing is under way", || {
        Ok((states(host)? == ["inactive", "inactive"]).then_some(()))
    })?;
    fleet.longshore(["host", "drain", "h1", "--deadline", "10m"])?.code_is(6)?; // it is so already
    fleet.longshore(["host", "undrain", "h1"])?.success()?;
    serves(host, "1.1")?;
    fleet.roll_out("shop@1.0", "production", ROLLOUT)?.success()?;
    serves(host, "1.0")
}

fn address(host: &Host) -> SocketAddr {
    SocketAddr::from((host.ip(), 8080))
}

/// Of blue and green.
fn states(host: &Host) -> Result<[String; 2]> {
    let state = |unit: &str| -> Result<String> {
        Ok(host.exec(["systemctl", "is-active", unit])?.stdout.trim().to_owned())
    };
    Ok([state("longshore-shop-blue.service")?, state("longshore-shop-green.service")?])
}

fn stand(host: &Host, wanted: [&str; 2]) -> Result<()> {
    let states = states(host)?;
    assert_eq!(states, wanted, "blue and green");
    Ok(())
}

fn serves(host: &Host, version: &str) -> Result<()> {
    let page = format!("shop {version}");
    until(SOON, format!("{} to serve {version}", host.name()), || {
        Ok(ask(address(host)).is_ok_and(|said| said == page).then_some(()))
    })
}
