//! A control group around each host, so that the systemds do not share one tree, and so that power loss is one
//! write that takes every process of a host at the same instant.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::overwrite;
use crate::{Result, Within, until};

/// For the kernel to reap what was killed.
const REAPING: Duration = Duration::from_secs(120);

/// The same group in every hierarchy that is there.
#[derive(Clone)]
pub struct Group {
    /// `<hierarchy>/<name>`; the first one is cgroup v2 and tracks the processes.
    folders: Vec<PathBuf>,
}

impl Group {
    pub fn create(name: &str) -> Result<Self> {
        let group = Self::named(name);
        for folder in &group.folders {
            fs::create_dir_all(folder).within(|| format!("make control group {}", folder.display()))?;
        }
        Ok(group)
    }

    pub fn named(name: &str) -> Self {
        let mut hierarchies = tracking_hierarchies();
        hierarchies.extend(["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/memory"].map(PathBuf::from));
        hierarchies.retain(|hierarchy| hierarchy.join("cgroup.procs").exists());
        Self { folders: hierarchies.into_iter().map(|hierarchy| hierarchy.join(name)).collect() }
    }

    /// Shell words that move the shell itself into the group.
    pub fn enter_script(&self) -> String {
        let lines = self.folders.iter().map(|folder| format!("echo $$ >'{}/cgroup.procs'", folder.display()));
        lines.collect::<Vec<_>>().join(" && ")
    }

    /// Bytes at the highest, where the kernel counts memory for the group.
    pub fn memory_peak(&self) -> Option<u64> {
        let files = ["memory.peak", "memory.max_usage_in_bytes"];
        let mut places = self.folders.iter().flat_map(|folder| files.map(|file| folder.join(file)));
        places.find_map(|place| fs::read_to_string(place).ok()?.trim().parse().ok())
    }

    /// Starts the highest anew, where the kernel lets us.
    pub fn forget_memory_peak(&self) {
        for folder in &self.folders {
            let file = folder.join("memory.max_usage_in_bytes");
            if file.exists()
                && let Err(trouble) = overwrite(&file, "0")
            {
                eprintln!("{trouble}");
            }
        }
    }

    /// Kills everything in it at once and waits until it is gone.
    pub fn kill(&self) -> Result<()> {
        let Some(tracking) = self.folders.first().filter(|folder| folder.exists()) else { return Ok(()) };
        overwrite(&tracking.join("cgroup.kill"), "1")?;
        let events = tracking.join("cgroup.events");
        until(REAPING, format!("{} to be empty", tracking.display()), || {
            let text = fs::read_to_string(&events).within(|| format!("read {}", events.display()))?;
            Ok(text.contains("populated 0").then_some(()))
        })
    }

    /// Removes the empty group and what hosts made below it.
    pub fn remove(&self) -> Result<()> {
        self.folders.iter().filter(|folder| folder.exists()).try_for_each(|folder| remove_below(folder))
    }
}

/// Where cgroup v2 is mounted: the only hierarchy that can kill a whole group.
pub fn tracking_hierarchies() -> Vec<PathBuf> {
    let places = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from);
    places.into_iter().filter(|place| place.join("cgroup.controllers").exists()).collect()
}

fn remove_below(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).within(|| format!("list {}", folder.display()))?;
    for entry in entries {
        let path = entry.within(|| format!("list {}", folder.display()))?.path();
        if path.is_dir() {
            remove_below(&path)?;
        }
    }
    // A group stays busy for a moment after its last process is gone.
    until(REAPING, format!("remove {}", folder.display()), || Ok(fs::remove_dir(folder).ok()))
}
