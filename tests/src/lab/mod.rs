//! Real Debian hosts on one machine: each a container with its own systemd, address and network namespace.
//!
//! Hosts lie as overlays over one root that is made once and kept outside the repository ([`root`]). A lab owns a
//! numbered [`claim`]: a bridge with its subnet, a control group, a folder. Dropping the lab gives all of it back,
//! on a panic as well; what a killed run left is cleared by the next one that takes the same number.

mod cgroup;
mod claim;
mod host;
mod root;

use std::env;
use std::net::Ipv4Addr;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use claim::Claim;
pub use host::{Host, Traffic};
pub use root::Kind;

use crate::{Result, Trouble, Within, run};

/// Far more than any of our small commands needs; only a machine in trouble gets there.
const COMMAND: Duration = Duration::from_secs(120);

/// Hosts that are up until this is dropped.
pub struct Lab {
    // Before the claim: hosts must be down before their bridge and folder go.
    hosts: Vec<Host>,
    claim: Claim,
}

impl Lab {
    /// Raises `count` hosts, named h1, h2, …, and waits until the systemd of each is up.
    pub fn new(count: usize) -> Result<Self> {
        Self::of(Kind::Test, count)
    }

    pub fn of(kind: Kind, count: usize) -> Result<Self> {
        Self::available().map_err(Trouble::new)?;
        let root = root::ready(kind, &cache())?;
        raise_kernel_limits()?;
        let claim = Claim::take(&cache())?;
        let hosts =
            (1..=count).map(|number| Host::create(number, &claim, &root)).collect::<Result<Vec<_>>>()?;
        let lab = Self { hosts, claim };
        lab.together(|host| host.power_on())?;
        Ok(lab)
    }

    /// Why no lab can be raised here, if so.
    pub fn available() -> Result<(), String> {
        if !rustix::process::geteuid().is_root() {
            return Err("needs root".into());
        }
        for program in ["systemd-nspawn", "debootstrap", "nsenter", "ip", "mount"] {
            if find_program(program).is_none() {
                return Err(format!("needs {program} (see .ci/run for the packages)"));
            }
        }
        if cgroup::tracking_hierarchies().is_empty() {
            return Err("needs a writable cgroup v2 hierarchy".into());
        }
        let unshare = run(Command::new("unshare").args(["--mount", "--net", "true"]), COMMAND);
        match unshare.map_err(|trouble| trouble.to_string())?.code {
            Some(0) => Ok(()),
            _ => Err("may not make mount and network namespaces (an unprivileged container?)".into()),
        }
    }

    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Host number `number`, counted from 1 as in its name.
    pub fn host(&self, number: usize) -> &Host {
        &self.hosts[number - 1]
    }

    /// The address of this machine as the hosts see it.
    pub fn gateway(&self) -> Ipv4Addr {
        self.claim.address(0)
    }

    /// A folder that goes with the lab.
    pub fn folder(&self) -> PathBuf {
        self.claim.folder().to_owned()
    }

    /// Does the same to every host at once; the first error wins.
    pub fn together<T: Send>(&self, act: impl Fn(&Host) -> Result<T> + Sync) -> Result<Vec<T>> {
        let act = &act;
        thread::scope(|scope| {
            let running: Vec<_> = self.hosts.iter().map(|host| scope.spawn(move || act(host))).collect();
            let ended =
                running.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            ended.collect()
        })
    }
}

/// Where roots and labs lie (`LONGSHORE_LAB_CACHE`, an absolute path): on a real filesystem that overlays can use, outside of every repository.
pub fn cache() -> PathBuf {
    let set = env::var_os("LONGSHORE_LAB_CACHE").map(PathBuf::from).filter(|path| path.is_absolute());
    set.unwrap_or_else(|| "/var/cache/longshore-lab".into())
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let places = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

/// Twenty systemds want more of these than the defaults give. They are only ever raised.
fn raise_kernel_limits() -> Result<()> {
    let wanted = [
        ("/proc/sys/fs/inotify/max_user_instances", 8192),
        ("/proc/sys/fs/inotify/max_user_watches", 1_048_576),
        ("/proc/sys/kernel/pty/max", 8192),
    ];
    for (path, least) in wanted {
        let path = Path::new(path);
        let now = std::fs::read_to_string(path).within(|| format!("read {}", path.display()))?;
        if now.trim().parse::<u64>().is_ok_and(|now| now < least) {
            overwrite(path, &least.to_string())?;
        }
    }
    Ok(())
}

/// Plain writing for kernel files and for hosts that are thrown away: nothing here must survive a crash.
pub fn overwrite(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    let opened = std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(path);
    opened.and_then(|mut file| file.write_all(text.as_bytes())).within(|| format!("write {}", path.display()))
}

fn ip<const N: usize>(words: [&str; N]) -> Result<String> {
    run(Command::new("ip").args(words), COMMAND)?.success()
}
