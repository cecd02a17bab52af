//! When a link was moved, without a word of the clock on the wall: a machine without one that runs on begins each boot in the
//! past, and what was written before would seem to lie ahead of it.
//!
//! Kept as a link beside the others, whose target is the boot's name and the microseconds since it began.

use std::path::{Path, PathBuf};

use longshore_common::durable::symlink_atomic;
use rustix::time::{ClockId, clock_gettime};

/// The link's name.
pub const MOMENT: &str = "moment";

/// Of a boot of this machine, on the clock that systemd calls monotonic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    pub boot: String,
    pub at_us: u64,
}

impl Moment {
    pub fn now() -> Self {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let now = clock_gettime(ClockId::Monotonic);
        let at_us = now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000;
        Self { boot: id.trim().to_owned(), at_us }
    }

    /// None: an agent that knew of none moved the link.
    pub fn read(folder: &Path) -> Option<Self> {
        let kept = std::fs::read_link(folder.join(MOMENT)).ok()?;
        let (boot, at) = kept.to_str()?.split_once('+')?;
        Some(Self { boot: boot.to_owned(), at_us: at.parse().ok()? })
    }

    pub fn write(&self, folder: &Path) -> longshore_common::durable::Result<()> {
        symlink_atomic(&PathBuf::from(format!("{}+{}", self.boot, self.at_us)), &folder.join(MOMENT))
    }

    /// Whether what was started at `started_us` of the boot `now` was started before this. Boots without a name are not
    /// known to be the same.
    pub fn is_after(&self, started_us: u64, now: &str) -> bool {
        !now.is_empty() && self.boot == now && started_us < self.at_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_reads() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Moment::read(folder.path()), None);
        let now = Moment::now();
        now.write(folder.path()).unwrap();
        assert_eq!(Moment::read(folder.path()), Some(now.clone()));
        let again = Moment::now();
        assert!(again.boot == now.boot && again.at_us >= now.at_us, "{now:?} {again:?}");
    }
}
