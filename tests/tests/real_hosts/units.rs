//! The units of `deploy/` under a real systemd: what the daemons must be able to do works, and little else.

use longshore_tests::lab::{Host, Lab};
use longshore_tests::programs::repository;
use longshore_tests::{Output, Result};

/// Exposure as `systemd-analyze security` counts it, in tenths: the most we allow.
const AGENT: u32 = 30;
const CONTROLLER: u32 = 15;

pub fn leave_only_what_is_needed() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = lab.host(1);
    host.shell("useradd --system --no-create-home longshore && mkdir /etc/longshore && touch /etc/longshore/agent.toml")?
        .success()?;
    for unit in ["longshore-agent.service", "longshore-controller.service"] {
        host.put(&repository().join("deploy/systemd").join(unit), &format!("/etc/systemd/system/{unit}"))?;
    }

    // As an agent: its state, its socket, units, D-Bus, folders of other users; nothing else of the host.
    let agent = run_as(
        host,
        "longshore-agent",
        "set -e; touch /var/lib/longshore/x /run/longshore/x /etc/systemd/system/x
         chown daemon /var/lib/longshore/x
         busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager Reload
         journalctl -n 1 --no-pager >/dev/null
         ! touch /etc/x; ! touch /usr/x; ! touch /root/x; ! mount -t tmpfs x /mnt; ! unshare --net true",
    )?;
    agent.success()?;

    host.shell(
        "mkdir -p /var/lib/longshore-controller && touch /var/lib/longshore-controller/controller.toml",
    )?
    .success()?;
    let controller = run_as(
        host,
        "longshore-controller",
        "set -e; touch /var/lib/longshore-controller/x; [ $(id -un) = longshore ]
         ! touch /etc/x; ! cat /etc/shadow; ! ls /root; 
         ! busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager Reload",
    )?;
    controller.success()?;

    for (unit, most) in [("longshore-agent", AGENT), ("longshore-controller", CONTROLLER)] {
        let unit = format!("{unit}.service");
        host.exec(["systemd-analyze", "security", "--no-pager", &format!("--threshold={most}"), &unit])?
            .success()?;
    }
    Ok(())
}

/// Runs a line of shell in the place of the daemon, once, under everything else that the unit says.
fn run_as(host: &Host, unit: &str, line: &str) -> Result<Output> {
    let instead = "[Unit]\nConditionPathExists=\n[Service]\nType=oneshot\nRestart=no\nWatchdogSec=0\nExecStart=\nExecStart=/bin/sh /etc/instead\n";
    host.write("/etc/instead", line, 0o644)?;
    host.write(&format!("/etc/systemd/system/{unit}.service.d/instead.conf"), instead, 0o644)?;
    let script = format!(
        "systemctl daemon-reload; systemctl start {unit}; code=$?; journalctl --no-pager -o cat -u {unit} >&2; exit $code"
    );
    host.shell(&script)
}
