//! Hosts behind a load balancer on a host of its own: Debian's HAProxy, and then its nginx, on one systemd host, Caddy from
//! PyPI on four, and constant load. No request fails when traffic moves between two groups, when it moves back, when hosts
//! are drained and join one after the other, and when HAProxy is started again in between. On every host Caddy runs beside
//! itself, behind sockets that the agent holds for it.

use std::net::SocketAddr;
use std::time::Duration;

use longshore_tests::bench::poller::ask;
use longshore_tests::fleet::{Fleet, journal};
use longshore_tests::lab::{Host, Lab};
use longshore_tests::load::Load;
use longshore_tests::{Result, Within, until};

use crate::shop::Shop;

/// Two groups. What gains waits for HAProxy to find it up.
const GROUPS: &str = r#"
[environment]
name = "production"
selector = "tier=web"
[rollout]
canary = 0
wave = "100%"
max_unavailable = "100%"
bake = "1s"
[traffic]
driver = "haproxy"
backend = "shop"
balancers = "tier=lb"
port = 8080
drain = "60s"
steps = ["50%"]
hold = "2s"
[traffic.groups]
blue = "group=blue"
green = "group=green"
warm = "5s"
"#;

/// The same hosts, one after the other.
const ROLLING: &str = r#"
[environment]
name = "production"
selector = "tier=web"
[rollout]
canary = 1
canary_bake = "1s"
wave = "100%"
bake = "1s"
max_unavailable = 1
[traffic]
driver = "haproxy"
backend = "shop"
balancers = "tier=lb"
port = 8080
drain = "60s"
"#;

/// And with nginx, which has to be told where they are.
const NGINX: &str = r#"
[environment]
name = "production"
selector = "tier=web"
[rollout]
canary = 1
canary_bake = "0s"
wave = "100%"
bake = "0s"
max_unavailable = 2
[traffic]
driver = "nginx"
backend = "shop"
balancers = "tier=lb"
port = 8080
drain = "1s"
"#;

/// Until the agent has written it, the upstream has nobody in it.
const NOBODY: &str = "upstream shop { server 127.0.0.1:9 down; }\n";
const NGINX_CONF: &str = "user www-data;\npid /run/nginx.pid;\nevents { }\nhttp {\n  access_log off;\n  \
                          include /etc/nginx/longshore/*.conf;\n  \
                          server { listen 8088; location / { proxy_pass http://shop; } }\n}\n";

const ROLLOUT: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_secs(180);

pub fn loses_no_request() -> Result<()> {
    let lab = Lab::new(5)?;
    lab.together(|host| host.exec(["useradd", "--system", "--no-create-home", "shop"])?.success())?;
    start_haproxy(&lab)?;
    start_nginx(&lab)?;
    let fleet = Fleet::raise(&lab)?;
    label(&lab, &fleet)?;
    fleet.apply_environment(GROUPS)?;

    let story = tell(&lab, &fleet);
    story.within(|| {
        let logs = lab.hosts().iter().map(|host| {
            let log = journal(host, "longshore-agent.service").unwrap_or_else(|trouble| trouble.to_string());
            format!("--- agent of {}\n{log}", host.name())
        });
        format!("{}\n--- controller\n{}", logs.collect::<String>(), fleet.controller_log())
    })
}

fn tell(lab: &Lab, fleet: &Fleet<'_>) -> Result<()> {
    let beside = |version| Shop { sides: true, ..Shop::version(version) };
    for version in ["1.0", "1.1", "1.3", "1.4"] {
        fleet.publish(&beside(version).folder(lab)?)?;
    }
    fleet.publish(&Shop { status: 500, ..beside("1.2") }.folder(lab)?)?;

    fleet.roll_out("shop@1.0", "production", ROLLOUT)?.success()?;
    let public = SocketAddr::from((lab.host(1).ip(), 80));
    until(SOON, "the first answer", || Ok(ask(public).is_ok().then_some(())))?;
    let load = Load::on([public; 4], &["/"]);
    traffic_moves_to_the_other_group(lab, fleet, &load, public)?;
    a_release_that_is_not_healthy_gets_no_traffic(fleet, &load)?;
    an_abort_moves_traffic_back(fleet, &load, public)?;
    fleet.apply_environment(ROLLING)?;
    hosts_are_drained_and_join(lab, fleet, &load)?;
    a_drain_takes_a_host_out_before_its_app_stops(lab, fleet, &load)?;
    let answers = load.end();
    assert_eq!(answers.failed, 0, "{answers:?}");
    haproxy_is_told_again(lab, public)?;
    nginx_directs_as_well(lab, fleet)
}

/// Blue has 1.0; green gets 1.1, half of the traffic, and all of it.
fn traffic_moves_to_the_other_group(
    lab: &Lab,
    fleet: &Fleet<'_>,
    load: &Load,
    public: SocketAddr,
) -> Result<()> {
    assert_eq!(ask(public).ok().as_deref(), Some("shop 1.0"));
    let rollout = fleet.watch(["rollout", "start", "shop@1.1", "--to", "production", "--wait"])?;
    until(ROLLOUT, "half of the traffic", || {
        let said = load.next(50)?;
        assert_eq!(said.failed, 0, "{said:?}");
        let both = ["shop 1.0", "shop 1.1"].map(|page| said.said.get(page).copied().unwrap_or(0));
        Ok((both[0] > 5 && both[1] > 5).then_some(()))
    })?;
    rollout.wait(ROLLOUT)?.success()?;
    let said = load.next(100)?;
    assert!(said.failed == 0 && said.said.keys().eq(["shop 1.1"]), "{said:?}");
    for (number, version) in [(2, "1.0"), (3, "1.0"), (4, "1.1"), (5, "1.1")] {
        serves(lab.host(number), version)?;
    }
    Ok(())
}

fn a_release_that_is_not_healthy_gets_no_traffic(fleet: &Fleet<'_>, load: &Load) -> Result<()> {
    let failed = fleet.roll_out("shop@1.2", "production", ROLLOUT)?.code_is(1)?;
    assert!(failed.everything().contains("LS-B01"), "{failed}");
    let said = load.take();
    assert!(said.failed == 0 && said.said.keys().eq(["shop 1.1"]), "{said:?}");
    Ok(())
}

/// After the switch, while the other group is warm.
fn an_abort_moves_traffic_back(fleet: &Fleet<'_>, load: &Load, public: SocketAddr) -> Result<()> {
    // Warm for longer than it takes to see that it has switched, and to abort.
    fleet.apply_environment(&GROUPS.replace("warm = \"5s\"", "warm = \"10m\""))?;
    let mut rollout = fleet.watch(["rollout", "start", "shop@1.3", "--to", "production", "--wait"])?;
    rollout.until_it_says("watching", ROLLOUT)?;
    until(SOON, "1.3 to have the traffic", || {
        Ok(ask(public).is_ok_and(|page| page == "shop 1.3").then_some(()))
    })?;
    fleet.longshore(["rollout", "abort", "latest"])?.success()?;
    rollout.wait(ROLLOUT)?.code_is(1)?;
    let said = load.next(100)?;
    assert!(said.failed == 0 && said.said.keys().eq(["shop 1.1"]), "{said:?}");
    Ok(())
}

/// All four, one at a time; each has no connection while it is changed.
fn hosts_are_drained_and_join(lab: &Lab, fleet: &Fleet<'_>, load: &Load) -> Result<()> {
    fleet.roll_out("shop@1.3", "production", ROLLOUT)?.success()?;
    for number in 2..=5 {
        serves(lab.host(number), "1.3")?;
    }
    let said = load.next(100)?;
    assert!(said.said.keys().eq(["shop 1.3"]), "{said:?}");
    Ok(())
}

/// With no rollout under way: its connections go, then its app stops; it is back under load when it serves again.
fn a_drain_takes_a_host_out_before_its_app_stops(lab: &Lab, fleet: &Fleet<'_>, load: &Load) -> Result<()> {
    let host = lab.host(2);
    let address = SocketAddr::from((host.ip(), 8080));
    fleet.longshore(["host", "drain", host.name(), "--deadline", "2m", "--reason", "disk"])?.success()?;
    until(SOON, "its app to stop", || Ok(ask(address).is_err().then_some(())))?;
    let said = load.take();
    assert!(said.failed == 0 && said.said.keys().eq(["shop 1.3"]), "{said:?}");
    fleet.longshore(["host", "undrain", host.name()])?.success()?;
    serves(host, "1.3")?;
    until(SOON, "the balancer to send it connections again", || {
        let shown = fleet.ask_json(["rollout", "show", "latest"])?;
        let rows = shown["hosts"].as_array().cloned().unwrap_or_default();
        let joined = |row: &&serde_json::Value| {
            row["name"] == host.name() && row["weight"] == 100 && row["directed"] == true
        };
        Ok(rows.iter().find(joined).map(drop))
    })?;
    let said = load.take();
    assert!(said.failed == 0, "{said:?}");
    Ok(())
}

/// It forgets what it was told when it is started again; its own agent sees that, no rollout is needed.
fn haproxy_is_told_again(lab: &Lab, public: SocketAddr) -> Result<()> {
    let balancer = lab.host(1);
    balancer.exec(["systemctl", "restart", "haproxy"])?.success()?;
    // The file disables every server.
    until(SOON, "the balancer to be told again", || Ok(ask(public).is_ok().then_some(())))
}

/// It knows nobody before a rollout has told it, be there nothing to do otherwise; then hosts are drained and join there.
fn nginx_directs_as_well(lab: &Lab, fleet: &Fleet<'_>) -> Result<()> {
    fleet.apply_environment(NGINX)?;
    let public = SocketAddr::from((lab.host(1).ip(), 8088));
    assert!(ask(public).is_err(), "nobody is there yet");
    fleet.roll_out("shop@1.3", "production", ROLLOUT)?.code_is(6)?;
    // Workers of before the reload, which know nobody, may answer for a moment more.
    until(SOON, "nginx to know the hosts", || Ok((0..40).all(|_| ask(public).is_ok()).then_some(())))?;
    let load = Load::on([public; 4], &["/"]);
    fleet.roll_out("shop@1.4", "production", ROLLOUT)?.success()?;
    for number in 2..=5 {
        serves(lab.host(number), "1.4")?;
        sides_stand(lab.host(number))?;
    }
    until(SOON, "1.4 alone to be served", || {
        let said = load.take();
        assert_eq!(said.failed, 0, "{said:?}");
        Ok(said.said.keys().eq(["shop 1.4"]).then_some(()))
    })?;
    assert_eq!(load.end().failed, 0);
    Ok(())
}

/// One side runs or both do, and the public socket is none of theirs: the relay holds it.
fn sides_stand(host: &Host) -> Result<()> {
    let active =
        |unit: &str| -> Result<bool> { Ok(host.exec(["systemctl", "is-active", unit])?.code == Some(0)) };
    let sides = [active("longshore-shop-blue.service")?, active("longshore-shop-green.service")?];
    let holder = host.exec(["ss", "-Hltnp", "sport", "=", ":8080"])?.success()?;
    let held = !holder.trim().is_empty() && !holder.contains("caddy");
    assert!(sides.contains(&true) && held, "{}: {sides:?}, {holder}", host.name());
    Ok(())
}

fn label(lab: &Lab, fleet: &Fleet<'_>) -> Result<()> {
    let labels = [&["tier=lb"][..], &["tier=web", "group=blue"], &["tier=web", "group=blue"]];
    let labels = labels.into_iter().chain([&["tier=web", "group=green"][..]; 2]);
    for (host, labels) in lab.hosts().iter().zip(labels) {
        let words = ["host", "label", host.name()].into_iter().chain(labels.iter().copied());
        fleet.longshore(words)?.success()?;
    }
    Ok(())
}

/// Servers are called like the hosts, and disabled until they are told otherwise.
fn start_haproxy(lab: &Lab) -> Result<()> {
    let servers = lab.hosts()[1..].iter().map(|host| {
        format!("    server {} {}:8080 check inter 200ms fall 25 disabled\n", host.name(), host.ip())
    });
    let config = format!(
        "global\n    stats socket /run/haproxy/admin.sock mode 660 level admin\n\
         defaults\n    mode http\n    timeout connect 30s\n    timeout client 60s\n    timeout server 60s\n    retries 3\n    \
         option redispatch\n\
         frontend public\n    bind :80\n    default_backend shop\nbackend shop\n{}",
        servers.collect::<String>()
    );
    let host = lab.host(1);
    host.write("/etc/haproxy/haproxy.cfg", &config, 0o644)?;
    host.exec(["systemctl", "restart", "haproxy"])?.success().map(drop)
}

fn start_nginx(lab: &Lab) -> Result<()> {
    let host = lab.host(1);
    host.write("/etc/nginx/nginx.conf", NGINX_CONF, 0o644)?;
    host.exec(["mkdir", "-p", "/etc/nginx/longshore"])?.success()?;
    host.write("/etc/nginx/longshore/shop.conf", NOBODY, 0o644)?;
    host.exec(["systemctl", "restart", "nginx"])?.success().map(drop)
}

fn serves(host: &Host, version: &str) -> Result<()> {
    let address = SocketAddr::from((host.ip(), 8080));
    let page = format!("shop {version}");
    until(SOON, format!("{} to serve {version}", host.name()), || {
        Ok(ask(address).is_ok_and(|said| said == page).then_some(()))
    })
}
