//! Where on a host a secret may be found: with the app whose it is, and with the admin who put it there.

use longshore_tests::Result;
use longshore_tests::lab::Host;

/// What was rendered so far is in the files of the slots, which are the app's alone, and nowhere else that anybody on the
/// host could look: units and their properties, arguments and environments, the journal, the helper's state.
pub fn no_secret_lies_open(host: &Host) -> Result<()> {
    // By a file, so that the search does not find itself.
    host.write("/root/secrets", "hunter2\nswordfish\n", 0o600)?;
    let found = |line: &str| -> Result<String> { Ok(host.shell(line)?.stdout) };
    let files = found(
        "grep -rlaF -f /root/secrets /etc /run /tmp /var/lib/longshore /var/log /usr/lib/systemd 2>/dev/null | sort",
    )?;
    let (rendered, others): (Vec<&str>, Vec<&str>) =
        files.lines().partition(|file| file.ends_with("/etc/app.conf"));
    assert_eq!(others, ["/etc/longshore/secrets/db"], "{files}");
    assert!(rendered.len() >= 2, "{files}");
    for file in rendered {
        assert_eq!(host.exec(["stat", "-c", "%U %a", file])?.success()?.trim(), "shop 400", "{file}");
    }
    let everywhere = "for p in /proc/[0-9]*; do
            grep -qaF -f /root/secrets $p/environ $p/cmdline 2>/dev/null && tr '\\0' ' ' <$p/cmdline
        done
        systemctl show '*' --all --no-pager | grep -aF -f /root/secrets
        systemctl cat 'longshore-*' --no-pager | grep -aF -f /root/secrets
        journalctl --no-pager -o export | grep -aF -f /root/secrets";
    assert_eq!(found(everywhere)?, "", "in a process, a unit or the journal");
    // Nor is anything but the host's own to read for whoever else is there, the agent without privileges included.
    for user in ["nobody", "longshore-agent"] {
        let as_other = format!(
            "install -m 644 /root/secrets /tmp/secrets; setpriv --reuid {user} --regid $(id -g {user}) --clear-groups \
             grep -rlaF -f /tmp/secrets /etc /run /var 2>/dev/null; rm /tmp/secrets"
        );
        assert_eq!(found(&as_other)?, "", "readable for {user}");
    }
    Ok(())
}
