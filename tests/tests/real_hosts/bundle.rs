//! A release in a file, on a host without a network, through the agent and its helper.

use std::fs;
use std::io::Write as _;

use longshore_tests::fleet::Fleet;
use longshore_tests::lab::{Host, Lab};
use longshore_tests::{Result, Within, until};

use crate::helper::{EVERYTHING, SHOP, SOON, app, serves};

/// Offline, through the agent and its helper: what was tampered with changes nothing, what is whole is deployed.
pub fn a_bundle_comes_without_a_network(lab: &Lab, host: &Host, fleet: &Fleet<'_>) -> Result<()> {
    fleet.publish(&app(lab, SHOP, "shop", "1.2")?)?;
    let bundle = lab.folder().join("shop.lsb");
    let into = bundle.display().to_string();
    fleet.longshore(["release", "export", "shop@1.2", "--into", &into])?.success()?;
    let mut bytes = fs::read(&bundle).within(|| "read the bundle".into())?;
    host.put(&bundle, "/root/shop.lsb")?;
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::File::create(&bundle).and_then(|mut file| file.write_all(&bytes)).within(|| "spoil it".into())?;
    host.put(&bundle, "/root/spoiled.lsb")?;
    let values = "[values]\ngreeting = \"ahoy\"\n[secrets]\ndb = { file = \"/etc/longshore/secrets/db\" }\n";
    host.write("/root/values.toml", values, 0o600)?;

    host.partition()?;
    // Sooner than it would notice by itself.
    host.exec(["systemctl", "restart", "longshore-agent"])?.success()?;
    until(SOON, "an agent that has no controller", || {
        Ok(host.exec(["longshore-agent", "status"])?.stdout.contains("not connected").then_some(()))
    })?;
    let before = host.shell(EVERYTHING)?.success()?;
    let deploy = |file: &str, more: &str| {
        host.shell(&format!("longshore-agent deploy --bundle {file} {more} --timeout 170s"))
    };
    let spoiled = deploy("/root/spoiled.lsb", "")?;
    assert!(spoiled.code != Some(0) && spoiled.everything().contains("LS-A0"), "{spoiled}");
    assert_eq!(host.shell(EVERYTHING)?.success()?, before, "{spoiled}");
    // The environment's secret is sealed, and what is sealed is the controller's to give.
    let sealed = deploy("/root/shop.lsb", "")?;
    assert!(sealed.code != Some(0) && sealed.everything().contains("LS-K01"), "{sealed}");
    let deployed = deploy("/root/shop.lsb", "--env-values /root/values.toml")?.success()?;
    assert!(deployed.contains("shop@1.2 is live and healthy"), "{deployed}");
    let page = "exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET / HTTP/1.1\\r\\n\\r\\n' >&3; timeout 5 cat <&3";
    let page = host.exec(["bash", "-c", page])?;
    assert!(page.stdout.contains("1.2"), "{page}");
    assert_eq!(host.read("/var/lib/longshore/apps/shop/current/etc/app.conf")?, "ahoy hunter2\n");

    host.heal()?;
    fleet.await_connected(1)?;
    serves(host, 8080, "1.2")?;
    until(SOON, "the controller to hear of it", || {
        let shown = fleet.longshore(["host", "show", host.name()])?.success()?;
        Ok(shown.contains("deployed on the host by").then_some(()))
    })
}
