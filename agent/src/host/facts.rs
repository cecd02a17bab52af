//! What this host is, and whether that is what a release requires.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use longshore_common::{
    code::Code,
    manifest::{Driver, Manifest},
    report::{Failure, StepName},
};

use super::{account::Account, fault, launch};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `debian 12`
    pub os: String,
    pub kernel: String,
    pub arch: String,
    pub cpus: u32,
    pub memory_bytes: u64,
    /// Where releases lie.
    pub disk_free_bytes: u64,
    pub disk_total_bytes: u64,
    /// Other than loopback.
    pub addresses: Vec<String>,
    /// `systemd` or `process`
    pub driver: &'static str,
}

impl Facts {
    /// `state` is on the disk that releases are unpacked to; it may not exist yet.
    pub fn gather(state: &Path) -> Self {
        let (disk_free_bytes, disk_total_bytes) = disk(state);
        let uname = rustix::system::uname();
        Self {
            os: os_name(&fs::read_to_string("/etc/os-release").unwrap_or_default()),
            kernel: uname.release().to_string_lossy().into_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, |count| count.get() as u32),
            memory_bytes: memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
            disk_free_bytes,
            disk_total_bytes,
            addresses: addresses(),
            driver: if has_systemd() { "systemd" } else { "process" },
        }
    }
}

/// systemd is what started this machine.
pub fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Names everything that the release asks for and the host lacks, at once.
pub fn check(manifest: &Manifest, facts: &Facts) -> Result<(), Failure> {
    let requires = &manifest.requires;
    let mut lacks = vec![];
    if !requires.arch.is_empty() && !requires.arch.contains(&facts.arch) {
        lacks.push(format!("architecture {}, this host is {}", requires.arch.join(" or "), facts.arch));
    }
    if let Some(memory) = requires.memory.filter(|memory| *memory > facts.memory_bytes) {
        lacks.push(format!("{} of memory, this host has {}", mib(memory), mib(facts.memory_bytes)));
    }
    if let Some(disk) = requires.disk.filter(|disk| *disk > facts.disk_free_bytes) {
        lacks.push(format!("{} of free disk, this host has {}", mib(disk), mib(facts.disk_free_bytes)));
    }
    let missing: Vec<&str> =
        requires.commands.iter().map(String::as_str).filter(|command| !is_on_path(command)).collect();
    if !missing.is_empty() {
        lacks.push(format!("{} on the PATH ({})", missing.join(", "), launch::PATH));
    }
    if manifest.service.driver == Driver::Systemd {
        if !has_systemd() {
            lacks.push("systemd, which does not run here (driver = \"process\" needs none)".into());
        }
        if manifest.service.user.is_none() {
            lacks.push("a user to run as; to run as root, say service.user = \"root\"".into());
        }
    }
    if let Some(user) = &manifest.service.user
        && let Err(error) = Account::look_up(user).and_then(|_| Account::to_become(Some(user)))
    {
        lacks.push(error.message);
    }
    if lacks.is_empty() {
        return Ok(());
    }
    let words = format!(
        "{} {} cannot run on this host; it requires {}. Nothing was changed",
        manifest.app,
        manifest.version,
        lacks.join("; ")
    );
    Err(fault::host(Code::Q01, StepName::Check, words))
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

fn is_on_path(command: &str) -> bool {
    let runs = |path: PathBuf| {
        fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    !command.contains('/') && launch::PATH.split(':').any(|folder| runs(Path::new(folder).join(command)))
}

fn os_name(release: &str) -> String {
    let value = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches('"').to_owned())
    };
    let id = value("ID").unwrap_or_else(|| "linux".into());
    value("VERSION_ID").map_or(id.clone(), |version| format!("{id} {version}"))
}

fn memory(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Free for us, and in all; of the nearest folder that exists.
fn disk(state: &Path) -> (u64, u64) {
    let stat = state.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok());
    stat.map_or((0, 0), |stat| (stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize))
}

fn addresses() -> Vec<String> {
    let four = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let six = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    local_v4(&four).into_iter().map(|a| a.to_string()).chain(global_v6(&six)).collect()
}

/// Leaves of the routing trie that are marked as this host's own.
fn local_v4(trie: &str) -> BTreeSet<std::net::Ipv4Addr> {
    let mut found = BTreeSet::new();
    let mut leaf = None;
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(leaf.filter(|address: &std::net::Ipv4Addr| !address.is_loopback()));
        }
    }
    found
}

/// Addresses of global scope.
fn global_v6(interfaces: &str) -> Vec<String> {
    let parse = |line: &str| {
        let mut fields = line.split_whitespace();
        let address = u128::from_str_radix(fields.next()?, 16).ok()?;
        (fields.nth(2)? == "00").then(|| std::net::Ipv6Addr::from(address).to_string())
    };
    interfaces.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_facts() {
        let facts = Facts::gather(Path::new("/var/lib/longshore"));
        assert!(facts.memory_bytes > 1 << 20 && facts.disk_total_bytes > 0 && facts.cpus > 0, "{facts:?}");
        assert!(!facts.os.is_empty() && !facts.kernel.is_empty());
        assert!(is_on_path("sh") && !is_on_path("no-such-command") && !is_on_path("../bin/sh"));
    }

    #[test]
    fn what_the_kernel_prints_is_understood() {
        assert_eq!(os_name("PRETTY_NAME=\"x\"\nID=debian\nVERSION_ID=\"12\"\n"), "debian 12");
        assert_eq!(os_name(""), "linux");
        assert_eq!(memory("MemTotal:       16384 kB\nMemFree: 1 kB\n"), 16 << 20);
        let trie = "Main:\n  |-- 10.99.0.11\n     /32 host LOCAL\n  |-- 10.99.0.255\n     /32 link BROADCAST\n  |-- 127.0.0.1\n     /32 host LOCAL\n";
        assert_eq!(local_v4(trie), BTreeSet::from([std::net::Ipv4Addr::new(10, 99, 0, 11)]));
        let six = "00000000000000000000000000000001 01 80 10 80 lo\nfd000000000000000000000000000005 02 40 00 80 eth0\n";
        assert_eq!(global_v6(six), ["fd00::5"]);
    }
}
