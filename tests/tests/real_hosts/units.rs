//! The units of `deploy/` under a real systemd: what the daemons must be able to do works, and little else.

use longshore_tests::fleet::AGENT_UNITS;
use longshore_tests::lab::{Host, Lab};
use longshore_tests::programs::repository;
use longshore_tests::{Output, Result};

pub fn leave_only_what_is_needed() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = lab.host(1);
    host.shell("useradd --system --no-create-home longshore-agent && useradd --system --no-create-home longshore-controller
         mkdir /etc/longshore && touch /etc/longshore/agent.toml
         install -d -m 755 /var/lib/longshore && install -d -m 700 /var/lib/longshore/helper")?
        .success()?;
    for unit in AGENT_UNITS.into_iter().chain(["longshore-controller.service"]) {
        host.put(&repository().join("deploy/systemd").join(unit), &format!("/etc/systemd/system/{unit}"))?;
    }

    // As an agent: its identity, its socket, the network; nothing else of the host.
    run_as(
        host,
        "longshore-agent",
        "set -e; [ $(id -un) = longshore-agent ]; touch /var/lib/longshore/identity/x /run/longshore/x
         [ $(stat -c %U:%a /var/lib/longshore/identity) = longshore-agent:700 ]
         [ $(stat -c %U /var/lib/longshore) = root ]
         no touch /var/lib/longshore/x; no touch /etc/systemd/system/x; no touch /etc/x; no cat /etc/shadow; no ls /root
         no ls /var/lib/longshore/helper; no unshare --net true
         no busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager Reload",
    )?
    .success()?;
    // And it starts no program, which has to be looked at from outside.
    let line = host.shell("systemctl cat longshore-agent")?.success()?;
    assert!(line.contains("NoExecPaths=/"), "{line}");

    // As its helper: state, units, D-Bus, folders of other users; no network, no user but root.
    run_as(
        host,
        "longshore-helper",
        "set -e; touch /var/lib/longshore/x /etc/systemd/system/x
         chown daemon /var/lib/longshore/x
         busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager Reload
         journalctl -n 1 --no-pager >/dev/null
         [ $(grep -c : /proc/self/net/dev) = 1 ]; no timeout 2 bash -c 'exec 3<>/dev/tcp/127.0.0.1/1' 2>/dev/null
         no setpriv --reuid daemon --clear-groups true
         no touch /etc/x; no touch /usr/x; no touch /root/x; no mount -t tmpfs x /mnt; no unshare --net true",
    )?
    .success()?;

    // As an agent of one process: its state, its socket, units, D-Bus, folders of other users; nothing else of the host.
    let agent = run_as(
        host,
        "longshore-agent-single",
        "set -e; touch /var/lib/longshore/x /run/longshore/x /etc/systemd/system/x
         chown daemon /var/lib/longshore/x
         busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager Reload
         journalctl -n 1 --no-pager >/dev/null
         no touch /etc/x; no touch /usr/x; no touch /root/x; no mount -t tmpfs x /mnt; no unshare --net true",
    )?;
    agent.success()?;

    host.shell(
        "mkdir -p /var/lib/longshore-controller && touch /var/lib/longshore-controller/controller.toml",
    )?
    .success()?;
    let controller = run_as(
        host,
        "longshore-controller",
        "set -e; touch /var/lib/longshore-controller/x; [ $(id -un) = longshore-controller ]
         no ls /var/lib/longshore/identity; no ls /var/lib/longshore/helper
         no touch /etc/x; no cat /etc/shadow; no ls /root; 
         no busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager Reload",
    )?;
    controller.success()?;
    Ok(())
}

/// Runs a line of shell in the place of the daemon, once, under everything else that the unit says.
fn run_as(host: &Host, unit: &str, line: &str) -> Result<Output> {
    let instead = "[Unit]\nConditionPathExists=\n[Service]\nType=oneshot\nRestart=no\nWatchdogSec=0\nNoExecPaths=\nExecPaths=\nExecStart=\nExecStart=/bin/sh /etc/instead\n";
    // `!` would be passed over by `set -e`.
    let no = "no() { if \"$@\"; then echo \"it may: $*\" >&2; exit 1; fi; }";
    host.write("/etc/instead", &format!("{no}\n{line}"), 0o644)?;
    host.write(&format!("/etc/systemd/system/{unit}.service.d/instead.conf"), instead, 0o644)?;
    let script = format!(
        "systemctl daemon-reload; systemctl start {unit}; code=$?; journalctl --no-pager -o cat -u {unit} >&2; exit $code"
    );
    host.shell(&script)
}
