//! What a lab owns on the machine: a number, and with it a subnet, a bridge, a control group and a folder.
//!
//! The claim is a lock on a file, so the kernel gives it up when the process dies, however it dies. Whoever takes
//! the number next first clears what was left.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::cgroup::Group;
use super::{COMMAND, ip, overwrite};
use crate::{Result, Within, run, until};

/// Where the locks lie: gone at a reboot, like all that they stand for.
const LOCKS: &str = "/run/longshore-lab";
/// Where nspawn keeps a mount point for each machine.
const PROPAGATE: &str = "/run/systemd/nspawn/propagate";
/// 10.99.0.0/24 in parts of 32 addresses.
const LABS: u8 = 8;
/// Hosts that fit in one part beside its network, gateway and broadcast addresses.
pub const HOSTS_MAX: usize = 29;
/// For the kernel to let go of a mount whose processes have been killed.
const UNMOUNT: Duration = Duration::from_secs(120);

pub struct Claim {
    number: u8,
    folder: PathBuf,
    group: Group,
    /// Held for as long as the claim; unlocked by closing it, which is the last thing that happens.
    _lock: File,
}

impl Claim {
    /// The first free number. What dead owners left under any number is cleared on the way.
    pub fn take(cache: &Path) -> Result<Self> {
        fs::create_dir_all(LOCKS).within(|| format!("make {LOCKS}"))?;
        let mut mine = None;
        for number in 0..LABS {
            let note = Path::new(LOCKS).join(format!("{number}.lock"));
            let Some(lock) = try_lock(&note)? else { continue };
            let left = fs::read_to_string(&note).within(|| format!("read {}", note.display()))?;
            clear(number, Path::new(&left))?;
            if mine.is_none() {
                mine = Some((number, note, lock));
            }
        }
        let (number, note, lock) = mine.within(|| format!("all {LABS} labs of this machine are in use"))?;
        Self::furnish(number, &note, lock, cache)
    }

    fn furnish(number: u8, note: &Path, lock: File, cache: &Path) -> Result<Self> {
        let folder = cache.join("labs").join(number.to_string());
        overwrite(note, &folder.display().to_string())?;
        fs::create_dir_all(&folder).within(|| format!("make {}", folder.display()))?;
        let claim = Self { number, folder, group: Group::create(&group_name(number))?, _lock: lock };
        claim.raise_bridge()?;
        Ok(claim)
    }

    fn raise_bridge(&self) -> Result<()> {
        let bridge = self.bridge();
        ip(["link", "add", &bridge, "type", "bridge"])?;
        ip(["addr", "add", &format!("{}/27", self.address(0)), "dev", &bridge])?;
        ip(["link", "set", &bridge, "up"])?;
        Ok(())
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn bridge(&self) -> String {
        bridge_name(self.number)
    }

    /// A name that no other lab gives to one of its hosts.
    pub fn machine(&self, host: usize) -> String {
        machine_name(self.number, host)
    }

    /// Address 0 is the bridge, the others are hosts.
    pub fn address(&self, host: usize) -> Ipv4Addr {
        let last = usize::from(self.number) * 32 + 1 + host;
        Ipv4Addr::new(10, 99, 0, u8::try_from(last).expect("eight labs of 32 addresses fit in a byte"))
    }

    pub fn group(&self, host: usize) -> Result<Group> {
        Group::create(&format!("{}/h{host}", group_name(self.number)))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Err(trouble) = self.group.kill().and_then(|()| clear(self.number, &self.folder)) {
            eprintln!("lab {} is not all gone (the next run clears it): {trouble}", self.number);
        }
    }
}

fn try_lock(path: &Path) -> Result<Option<File>> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let file = file.within(|| format!("open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).within(|| format!("lock {}", path.display())),
    }
}

/// Takes down whatever there is of lab `number`: nothing is there, or all, or any part of it.
fn clear(number: u8, folder: &Path) -> Result<()> {
    let group = Group::named(&group_name(number));
    group.kill()?;
    group.remove()?;
    unmount_below(folder)?;
    if Path::new("/sys/class/net").join(bridge_name(number)).exists() {
        ip(["link", "del", &bridge_name(number)])?;
    }
    for host in 1..=HOSTS_MAX {
        // nspawn leaves this behind when it is killed; it may also never have been there.
        fs::remove_dir(Path::new(PROPAGATE).join(machine_name(number, host))).unwrap_or_default();
    }
    if folder.is_absolute() && folder.exists() {
        fs::remove_dir_all(folder).within(|| format!("remove {}", folder.display()))?;
    }
    Ok(())
}

fn unmount_below(folder: &Path) -> Result<()> {
    if !folder.is_absolute() {
        return Ok(());
    }
    let mounts = fs::read_to_string("/proc/self/mounts").within(|| "read the mounts".into())?;
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    for place in places.filter(|place| place.starts_with(folder)) {
        until(UNMOUNT, format!("unmount {}", place.display()), || {
            Ok((run(Command::new("umount").arg(place), COMMAND)?.code == Some(0)).then_some(()))
        })?;
    }
    Ok(())
}

fn bridge_name(number: u8) -> String {
    format!("lsbr{number}")
}

fn machine_name(number: u8, host: usize) -> String {
    format!("ls{number}h{host}")
}

fn group_name(number: u8) -> String {
    format!("longshore-lab-{number}")
}
