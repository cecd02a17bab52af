//! What the unit on the disk and its link say, and so of which slot its process is.

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use longshore_common::{ids::AppName, slot::Slot};

use super::{
    bus::{Properties, number, text as property},
    moment::Moment,
    text::service_name,
};
use crate::host::layout::{Layout, Part};

pub struct Told {
    link: PathBuf,
    pub slot: Slot,
    /// When the later of the two was written.
    pub at: SystemTime,
    /// When the link was moved, by the clock of that boot.
    moved: Option<Moment>,
    /// The name of this boot.
    boot: String,
}

impl Told {
    /// None: the app has no unit.
    pub fn read(layout: &Layout, app: &AppName, part: Part) -> Option<Self> {
        let unit = layout.units().join(service_name(app, part));
        let text = std::fs::read_to_string(&unit).ok()?;
        let link = PathBuf::from(text.lines().find_map(|line| line.strip_prefix("WorkingDirectory="))?);
        let slot = slot_of(&link)?;
        let written = |path: &Path| std::fs::symlink_metadata(path).and_then(|meta| meta.modified()).ok();
        let at = written(&link)?.max(written(&unit)?);
        let moved = link.parent().and_then(Moment::read);
        Some(Self { link, slot, at, moved, boot: Moment::now().boot })
    }

    /// Which slot the unit's process is of; of a unit that has none, which it would be.
    pub fn running(self, properties: &Properties) -> Slot {
        let loaded = property(properties, "WorkingDirectory");
        let loaded = Path::new(loaded.trim_start_matches('!'));
        if loaded != self.link
            && let Some(slot) = slot_of(loaded)
        {
            return slot; // written and not loaded yet
        }
        let older = number(properties, "MainPID") != 0 && self.is_after_start(properties);
        let before = self.link.with_file_name(BEFORE);
        if older { slot_of(&before).unwrap_or(self.slot) } else { self.slot }
    }

    /// The link was moved after the unit's process had been started.
    fn is_after_start(&self, properties: &Properties) -> bool {
        match &self.moved {
            Some(moved) => moved.is_after(number(properties, "ExecMainStartTimestampMonotonic"), &self.boot),
            None => {
                let at = self.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
                number(properties, "ExecMainStartTimestamp") < at
            }
        }
    }
}

/// The link to the slot that ran before the latest start.
pub const BEFORE: &str = "before";

fn slot_of(link: &Path) -> Option<Slot> {
    std::fs::read_link(link).ok()?.file_name()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use zbus::OwnedVariant;

    use super::*;

    fn properties(rows: &[(&str, OwnedVariant)]) -> Properties {
        rows.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    /// Between the move of the link and the restart the process is still the old slot's.
    #[test]
    fn a_process_older_than_the_link_is_of_the_slot_before() {
        let links = tempfile::tempdir().unwrap();
        let link = |name: &str| links.path().join(name);
        for (name, slot) in [("before", "1.0-00000001"), ("new", "1.1-00000002"), ("other", "0.9-00000003")] {
            std::os::unix::fs::symlink(Path::new("../releases").join(slot), link(name)).unwrap();
        }
        let rows = [
            ("new", 999_999_u64, 7_u32, "1.0-00000001"),
            ("new", 1_000_001, 7, "1.1-00000002"),
            ("new", 999_999, 0, "1.1-00000002"),
            ("other", 999_999, 7, "0.9-00000003"),
            ("other", 1_000_001, 7, "0.9-00000003"),
        ];
        for (loaded, started, pid, expected) in rows {
            let told = Told {
                link: link("new"),
                slot: "1.1-00000002".parse().unwrap(),
                at: UNIX_EPOCH + Duration::from_micros(1_000_000),
                moved: None,
                boot: "b".to_owned(),
            };
            let loaded = zbus::Str::from(link(loaded).display().to_string());
            let rows = [
                ("WorkingDirectory", loaded.into()),
                ("ExecMainStartTimestamp", started.into()),
                ("MainPID", pid.into()),
            ];
            assert_eq!(told.running(&properties(&rows)).as_str(), expected, "{started} {pid}");
        }
    }

    /// The time of day of the process lies before that of the link, as after a boot with a clock that begins in the past.
    #[test]
    fn the_clock_on_the_wall_makes_no_process_older() {
        let links = tempfile::tempdir().unwrap();
        for (name, slot) in [("before", "1.0-00000001"), ("new", "1.1-00000002")] {
            std::os::unix::fs::symlink(Path::new("../releases").join(slot), links.path().join(name)).unwrap();
        }
        // The link was moved at 500 of boot `a`.
        for (boot, started, expected) in [
            ("a", 499_u64, "1.0-00000001"),
            ("a", 501, "1.1-00000002"),
            ("b", 499, "1.1-00000002"),
            ("b", 501, "1.1-00000002"),
        ] {
            let told = Told {
                link: links.path().join("new"),
                slot: "1.1-00000002".parse().unwrap(),
                at: UNIX_EPOCH + Duration::from_secs(1_000_000),
                moved: Some(Moment { boot: "a".to_owned(), at_us: 500 }),
                boot: boot.to_owned(),
            };
            let loaded = zbus::Str::from(links.path().join("new").display().to_string());
            let rows = [
                ("WorkingDirectory", loaded.into()),
                ("ExecMainStartTimestamp", 1_u64.into()),
                ("ExecMainStartTimestampMonotonic", started.into()),
                ("MainPID", 7_u32.into()),
            ];
            assert_eq!(told.running(&properties(&rows)).as_str(), expected, "{boot} {started}");
        }
    }
}
