//! The root filesystem that all hosts lie over: made once with debootstrap, never changed after, kept outside
//! the repository because it takes most of a minute and a mirror to make.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{Result, Within, run};

/// Part of the name of a finished root: raise it when what goes into one changes.
const EDITION: u32 = 3;
/// A slow mirror; a quick one needs 40 s.
const DEBOOTSTRAP: Duration = Duration::from_secs(900);
const SUITE: &str = "bookworm";

/// What a host must have on it.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// What our own agent and its tests need; HAProxy and nginx are there and not started.
    Test,
    /// And what the ssh script needs that we are measured against.
    Bench,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Test => "test",
            Kind::Bench => "bench",
        }
    }

    fn packages(self) -> &'static str {
        match self {
            Kind::Test => {
                "systemd,systemd-sysv,dbus,iproute2,ca-certificates,curl,procps,haproxy,nginx-light"
            }
            Kind::Bench => {
                "systemd,systemd-sysv,dbus,iproute2,ca-certificates,curl,procps,openssh-server,rsync,zstd"
            }
        }
    }
}

/// The finished root; made now if this machine has none, while others that want it wait.
pub fn ready(kind: Kind, cache: &Path) -> Result<PathBuf> {
    let name = format!("{SUITE}-{}-{EDITION}", kind.name());
    let root = cache.join(&name);
    fs::create_dir_all(cache).within(|| format!("make {}", cache.display()))?;
    let lock = cache.join(format!("{name}.lock"));
    let lock = File::create(&lock).within(|| format!("open {}", lock.display()))?;
    lock.lock().within(|| format!("lock {name}"))?; // whoever holds it is under debootstrap's deadline
    if !root.exists() {
        make(kind, &cache.join(format!("{name}.part")), &root)?;
    }
    Ok(root)
}

fn make(kind: Kind, part: &Path, root: &Path) -> Result<()> {
    if part.exists() {
        fs::remove_dir_all(part).within(|| format!("remove the unfinished {}", part.display()))?;
    }
    eprintln!("making the root of the lab's hosts once, in {}", root.display());
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(["--variant=minbase", &format!("--include={}", kind.packages()), SUITE]).arg(part);
    if let Some(mirror) = env::var_os("LONGSHORE_LAB_MIRROR") {
        debootstrap.arg(mirror);
    }
    run(&mut debootstrap, DEBOOTSTRAP)?.success()?;
    for service in ["haproxy.service", "nginx.service"] {
        let started = part.join("etc/systemd/system/multi-user.target.wants").join(service);
        if started.is_symlink() {
            fs::remove_file(&started).within(|| format!("remove {}", started.display()))?;
        }
    }
    let archives = part.join("var/cache/apt/archives");
    fs::remove_dir_all(&archives).within(|| format!("remove {}", archives.display()))?;
    fs::rename(part, root).within(|| format!("rename to {}", root.display()))
}
