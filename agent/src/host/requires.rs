//! Whether this host is what a release requires.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use longshore_common::{
    code::Code,
    manifest::{Driver, Manifest},
    report::{Failure, StepName},
    text::bytes,
};

use super::{account::Account, fault, launch, mounts};
use crate::config::Runner;

/// What requirements are held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    pub arch: String,
    /// `debian 12`
    pub os: String,
    pub memory: u64,
    /// Where releases lie.
    pub disk_free: u64,
    /// What runs services.
    pub runner: Runner,
}

impl Machine {
    /// `state` is on the disk that releases are unpacked to; it may not exist yet.
    pub fn look(state: &Path, runner: Runner) -> Self {
        let memory = rustix::system::sysinfo();
        let disk = state.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok());
        Self {
            arch: std::env::consts::ARCH.to_owned(),
            os: os(),
            memory: memory.totalram as u64 * u64::from(memory.mem_unit),
            disk_free: disk.map_or(0, |disk| disk.f_bavail * disk.f_frsize),
            runner,
        }
    }
}

/// `debian 12`: the system's own name for itself and its version.
pub fn os() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned()).unwrap_or_default()
    };
    format!("{} {}", value("ID"), value("VERSION_ID")).trim().to_owned()
}

/// Names everything that the release asks for and the host lacks, at once.
pub fn check(manifest: &Manifest, machine: &Machine) -> Result<(), Failure> {
    let requires = &manifest.requires;
    let mut lacks = vec![];
    if !requires.arch.is_empty() && !requires.arch.contains(&machine.arch) {
        lacks.push(format!("architecture {} (this host is {})", requires.arch.join(" or "), machine.arch));
    }
    if !requires.allows_os(&machine.os) {
        lacks.push(format!("{} (this host is {})", requires.os.join(" or "), machine.os));
    }
    let scarce =
        [("memory", requires.memory, machine.memory), ("free disk", requires.disk, machine.disk_free)];
    for (what, needed, here) in scarce {
        if let Some(needed) = needed.filter(|needed| *needed > here) {
            lacks.push(format!("{} of {what} (this host has {})", bytes(needed), bytes(here)));
        }
    }
    let missing: Vec<&str> =
        requires.commands.iter().map(String::as_str).filter(|command| !is_on_path(command)).collect();
    if !missing.is_empty() {
        lacks.push(format!("{} on the PATH", missing.join(", ")));
    }
    let unmounted: Vec<&str> =
        requires.mounts.iter().map(String::as_str).filter(|path| !mounts::is_mounted(path)).collect();
    if !unmounted.is_empty() {
        lacks.push(format!("a file system mounted at {}", unmounted.join(" and ")));
    }
    let unknown: Vec<&str> =
        requires.users.iter().map(String::as_str).filter(|user| Account::look_up(user).is_err()).collect();
    if !unknown.is_empty() {
        lacks.push(format!("the users {}", unknown.join(", ")));
    }
    lacks.extend(user_problem(manifest, machine.runner));
    if lacks.is_empty() {
        return Ok(());
    }
    let what = format!("{} {}", manifest.app, manifest.version);
    let words =
        format!("{what} cannot run on this host, as it needs {}. Nothing was changed", lacks.join("; "));
    Err(fault::host(Code::Q01, StepName::Check, words))
}

/// Whether a release could run as this user, as is checked before anything is fetched. Empty: it names none.
pub fn run_as_problem(user: &str, driver: &str) -> Option<String> {
    match user {
        "" if driver == Runner::Systemd.as_str() => {
            Some("the release names no user to run as, and here it would be root".to_owned())
        }
        "" => None,
        user => Account::to_become(Some(user)).err().map(|error| error.message),
    }
}

fn user_problem(manifest: &Manifest, runner: Runner) -> Option<String> {
    let service = &manifest.service;
    match (&service.user, service.driver) {
        (_, Driver::None) => None,
        (None, Driver::Systemd) if runner == Runner::Systemd => {
            Some("a user to run as (to run as root, service.user = \"root\" has to say so)".into())
        }
        (None, Driver::Systemd | Driver::Process) => None,
        (Some(user), Driver::Systemd | Driver::Process) => {
            Account::look_up(user).and_then(|_| Account::to_become(Some(user))).err().map(|e| e.message)
        }
    }
}

/// A program of this name can be run.
pub fn is_on_path(command: &str) -> bool {
    let runs = |path: PathBuf| {
        fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    !command.contains('/') && launch::PATH.split(':').any(|folder| runs(Path::new(folder).join(command)))
}

#[cfg(test)]
mod tests {
    use longshore_common::manifest::Requires;

    use super::*;
    use crate::host::render::tests::manifest;

    #[test]
    fn everything_that_lacks_is_named_at_once() {
        let machine = Machine {
            arch: "x86_64".into(),
            os: "debian 12".into(),
            memory: 1 << 30,
            disk_free: 1 << 30,
            runner: Runner::Process,
        };
        let mut release = manifest(&[]);
        check(&release, &machine).unwrap();
        release.requires = Requires {
            arch: vec!["aarch64".into()],
            disk: Some(2 << 30),
            memory: Some(3 << 30),
            commands: vec!["sh".into(), "no-such-command".into(), "../bin/sh".into()],
            os: vec!["ubuntu 24.04".into(), "debian 13".into()],
            mounts: vec!["/proc".into(), "/no/such/mount".into()],
            users: vec!["root".into(), "nobody-here".into()],
            ..Requires::default()
        };
        release.service.driver = Driver::Process;
        release.service.user = Some("no-such-user".into());
        let failure = check(&release, &machine).unwrap_err();
        assert_eq!(failure.code, "LS-Q01");
        for part in [
            "aarch64 (this host is x86_64)",
            "2.1 GB of free disk (this host has 1.1 GB)",
            "3.2 GB of memory",
            "no-such-command, ../bin/sh on the PATH",
            "no user \"no-such-user\"",
            "ubuntu 24.04 or debian 13 (this host is debian 12)",
            "a file system mounted at /no/such/mount",
            "the users nobody-here",
        ] {
            assert!(failure.message.contains(part), "{part} in {}", failure.message);
        }
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let machine = Machine::look(Path::new("/var/lib/no/such/folder"), Runner::Process);
        assert!(machine.memory > 1 << 20 && machine.disk_free > 0, "{machine:?}");
    }

    #[test]
    fn a_service_without_a_user_would_be_root_under_systemd() {
        assert!(run_as_problem("", "process").is_none());
        assert!(run_as_problem("", "systemd").unwrap().contains("root"));
        assert!(run_as_problem("no-such-user", "process").unwrap().contains("no-such-user"));
    }
}
