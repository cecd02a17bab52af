//! Our Debian packages on a host: what an installation makes, starts and leaves.

use std::{path::Path, process::Command, time::Duration};

use longshore_tests::{
    Result, Within,
    lab::{Host, Lab},
    programs::{program, repository},
    run,
};

/// To pack programs of a debug build, which are large.
const BUILD: Duration = Duration::from_secs(600);
const PROGRAMS: [&str; 3] = ["longshore", "longshore-controller", "longshore-agent"];

pub fn install_and_leave() -> Result<()> {
    let folder = tempfile::tempdir().within(|| "make a folder".into())?;
    let built = build(folder.path())?;
    let lab = Lab::new(1)?;
    let host = lab.host(1);
    for (name, package) in PROGRAMS.iter().zip(built.lines()) {
        host.put(Path::new(package), &format!("/root/{name}.deb"))?;
    }
    host.shell("dpkg -i /root/*.deb")?.success()?;
    for name in PROGRAMS.into_iter().chain(["longshore-helper"]) {
        host.exec([name, "--version"])?.success()?;
    }
    for unit in ["longshore-controller", "longshore-agent", "longshore-helper.socket"] {
        host.exec(["systemctl", "is-enabled", unit])?.code_is(1)?;
        host.exec(["systemctl", "is-active", unit])?.code_is(3)?;
    }

    the_script_leaves_a_package_alone(host)?;
    let dir = "/var/lib/longshore-controller";
    assert_eq!(host.shell(&format!("stat -c '%U %a' {dir}"))?.success()?.trim(), "longshore-controller 700");
    let init = format!(
        "runuser -u longshore-controller -- longshore-controller init --dir {dir} --name {}",
        host.name()
    );
    host.shell(&init)?.success()?;
    host.exec(["systemctl", "enable", "--now", "--quiet", "longshore-controller"])?.success()?;
    let before = main_pid(host)?;
    host.shell("dpkg -i /root/longshore-controller.deb")?.success()?;
    let after = main_pid(host)?;
    assert!(before != "0" && after != "0" && before != after, "upgraded from {before} to {after}");
    each_has_a_user_of_its_own(host)?;
    a_host_of_the_shared_user_is_changed_over(host)?;

    let said = host.shell("dpkg --purge longshore longshore-controller longshore-agent")?;
    assert!(said.everything().contains(dir), "{said}");
    said.success()?;
    host.exec(["systemctl", "cat", "longshore-controller"])?.code_is(1)?;
    host.exec(["pgrep", "-x", "longshore-contr"])?.code_is(1)?;
    host.shell(&format!("test -e {dir}/controller.toml"))?.success()?;
    host.shell(&format!("rm -r {dir} && userdel longshore-controller"))?.success()?;
    the_script_installs_a_controller(host, dir)
}

/// Its unit would hide the package's.
fn the_script_leaves_a_package_alone(host: &Host) -> Result<()> {
    host.put(&repository().join("deploy/install-controller.sh"), "/root/install-controller.sh")?;
    let install = format!("cd /root && sh ./install-controller.sh --name {}", host.name());
    let refused = host.shell(&install)?.code_is(4)?.everything();
    assert!(refused.contains("the package longshore-controller is installed here"), "{refused}");
    assert!(refused.contains("longshore-controller init --dir"), "the way out is said: {refused}");
    host.shell("test ! -e /etc/systemd/system/longshore-controller.service")?.success()?;
    host.shell("rm /root/install-controller.sh")?.success()?;
    Ok(())
}

/// On a machine that has neither its user nor its folder.
fn the_script_installs_a_controller(host: &Host, dir: &str) -> Result<()> {
    let deploy = repository().join("deploy");
    host.put(&deploy.join("systemd/longshore-controller.service"), "/root/longshore-controller.service")?;
    host.put(&deploy.join("install-controller.sh"), "/root/install-controller.sh")?;
    let install = format!("cd /root && sh ./install-controller.sh --name {}", host.name());
    let lacks = host.shell(&install)?.code_is(4)?.everything();
    assert!(lacks.contains("no program /root/longshore-controller"), "{lacks}");
    host.put(&program("longshore-controller")?, "/root/longshore-controller")?;
    host.shell("cd /root && sh ./install-controller.sh")?.code_is(2)?;
    let made =
        format!("ls -d {dir} /usr/bin/longshore-controller /etc/systemd/system/longshore-controller.service");
    assert!(host.shell(&made)?.code_is(2)?.stdout.is_empty(), "something was made before all was there");
    host.exec(["getent", "passwd", "longshore-controller"])?.code_is(2)?;
    let said = host.shell(&install)?.success()?;
    assert!(said.contains("runs and starts with this machine"), "{said}");
    assert!(said.contains("context add") && !said.contains("Start it"), "it is started already: {said}");
    host.exec(["systemctl", "is-active", "longshore-controller"])?.success()?;
    assert_eq!(host.shell(&format!("stat -c '%U %a' {dir}"))?.success()?.trim(), "longshore-controller 700");
    let before = main_pid(host)?;
    host.shell("cd /root && sh ./install-controller.sh")?.success()?;
    assert_eq!(main_pid(host)?, before, "what is done is left alone");
    let lacks =
        host.shell("cd /root && rm longshore-controller && sh ./install-controller.sh")?.code_is(4)?;
    assert!(!lacks.everything().contains("runs and starts"), "{lacks}");
    assert_eq!(main_pid(host)?, before);
    Ok(())
}

/// On a machine that carries both, neither can read what the other has.
fn each_has_a_user_of_its_own(host: &Host) -> Result<()> {
    host.shell("install -d -o longshore-agent -g longshore-agent -m 700 /var/lib/longshore/identity")?
        .success()?;
    for (user, own, others) in [
        ("longshore-agent", "/var/lib/longshore/identity", "/var/lib/longshore-controller"),
        ("longshore-controller", "/var/lib/longshore-controller", "/var/lib/longshore/identity"),
    ] {
        host.exec(["runuser", "-u", user, "--", "ls", own])?.success()?;
        let refused = host.exec(["runuser", "-u", user, "--", "ls", others])?.code_is(2)?;
        assert!(refused.stderr.contains("Permission denied"), "{refused}");
        assert_eq!(host.exec(["systemctl", "show", "-P", "User", user])?.success()?.trim(), user);
    }
    Ok(())
}

/// As it was while both were the user `longshore`, with a controller that runs: the next package finds its state with
/// another owner, and a controller that runs on as it did.
fn a_host_of_the_shared_user_is_changed_over(host: &Host) -> Result<()> {
    let state = "/var/lib/longshore-controller";
    let as_before = format!(
        "set -e; useradd --system --user-group --no-create-home longshore
         systemctl stop longshore-controller
         sed -i -E 's/^(User|Group)=.*/\\1=longshore/' /usr/lib/systemd/system/longshore-controller.service
         chown -R longshore:longshore {state} /var/lib/longshore/identity
         systemctl daemon-reload; systemctl start longshore-controller
         [ $(stat -c %U {state}/controller.toml) = longshore ]"
    );
    host.shell(&as_before)?.success()?;
    host.shell("dpkg -i /root/longshore-controller.deb /root/longshore-agent.deb")?.success()?;
    let strangers = format!(
        "find {state} ! -user longshore-controller; find /var/lib/longshore/identity ! -user longshore-agent"
    );
    let strangers = host.shell(&strangers)?.success()?;
    assert_eq!(strangers, "", "left to others");
    assert_ne!(main_pid(host)?, "0");
    host.exec(["systemctl", "is-active", "longshore-controller"])?.success()?;
    let runs_as =
        host.shell("ps -o user:30= -p $(systemctl show -P MainPID longshore-controller)")?.success()?;
    assert_eq!(runs_as.trim(), "longshore-controller");
    Ok(())
}

/// The packages' paths, line by line, in the order of `PROGRAMS`.
fn build(into: &Path) -> Result<String> {
    let agent = program("longshore-agent")?;
    let programs = agent.parent().within(|| "a program lies in a folder".into())?;
    let mut build = Command::new(repository().join("deploy/debian/build"));
    build.arg(programs).arg(into).env("COMPRESS", "none");
    run(&mut build, BUILD)?.success()
}

fn main_pid(host: &Host) -> Result<String> {
    let shown = host.exec(["systemctl", "show", "-P", "MainPID", "longshore-controller"])?.success()?;
    Ok(shown.trim().to_owned())
}
