//! The slots on the disk and the link that names the live one.
//!
//! A slot exists when its seal does; `stage` makes them. Nothing here looks into what runs. Everything blocks.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use longshore_common::{
    code::Code,
    digest::ReleaseDigest,
    durable::{create_dir_durable, remove_dir_durable, remove_durable, remove_leftovers, symlink_atomic},
    ids::AppName,
    manifest::{MANIFEST_BYTES, Manifest},
    report::{Failure, StepName},
    settings::{Secrets, Settings, Values},
    slot::Slot,
};

use super::{
    fault,
    layout::{Layout, MANIFEST, META, Part, SEALED, VALUES},
    stage::Tree,
};

impl Layout {
    /// Apps that have a folder here.
    pub fn list_apps(&self) -> Result<Vec<AppName>, Failure> {
        names_in(&self.apps(), |name| name.parse().ok())
    }

    /// Complete and verified slots, by name.
    pub fn sealed(&self, app: &AppName) -> Result<Vec<Slot>, Failure> {
        let mut slots: Vec<Slot> = names_in(&self.releases(app), |name| name.parse().ok())?;
        slots.retain(|slot| self.is_sealed(app, slot));
        slots.sort();
        Ok(slots)
    }

    pub fn is_sealed(&self, app: &AppName, slot: &Slot) -> bool {
        self.slot(app, slot).join(META).join(SEALED).is_file()
    }

    /// The release whose manifest lies in a slot, by that manifest's bytes; None: there is no such slot.
    pub fn sealed_release(&self, app: &AppName, slot: &Slot) -> Result<Option<ReleaseDigest>, Failure> {
        if !self.is_sealed(app, slot) {
            return Ok(None);
        }
        let manifest = self.slot(app, slot).join(META).join(MANIFEST);
        Ok(Some(ReleaseDigest::of(&read_bounded(&manifest, MANIFEST_BYTES)?)))
    }

    /// The manifest and the settings that a sealed slot was made from.
    pub fn read_slot(&self, app: &AppName, slot: &Slot) -> Result<(Manifest, Settings), Failure> {
        let meta = self.slot(app, slot).join(META);
        let manifest = read_bounded(&meta.join(MANIFEST), MANIFEST_BYTES)?;
        let manifest = Manifest::from_bytes(&manifest).map_err(|e| damaged(slot, &e.message))?;
        let settings = read_bounded(&meta.join(VALUES), VALUES_BYTES)?;
        let settings = serde_json::from_slice(&settings).map_err(|e| damaged(slot, &e.to_string()))?;
        Ok((manifest, settings_of(settings)))
    }

    /// The slot that `current` names; None when the app has never been live.
    pub fn live(&self, app: &AppName) -> Result<Option<Slot>, Failure> {
        let link = self.current(app);
        let target = match fs::read_link(&link) {
            Ok(target) => target,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(fault::io(StepName::Check, &format!("read {}", link.display()))(e)),
        };
        let name = target.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        name.map(Some).ok_or_else(|| {
            let words = format!("{} points to {}, which is no slot", link.display(), target.display());
            fault::host(Code::S02, StepName::Check, words)
        })
    }

    /// Makes `current` name a sealed slot, in one durable rename.
    pub fn point(&self, app: &AppName, slot: &Slot) -> Result<(), Failure> {
        if !self.is_sealed(app, slot) {
            let words = format!("slot {slot} is not complete on this host; `current` was not moved");
            return Err(fault::host(Code::N01, StepName::Switch, words));
        }
        let target = PathBuf::from("releases").join(slot.as_str());
        symlink_atomic(&target, &self.current(app)).map_err(fault::disk(StepName::Switch))
    }

    /// Takes `current` away. That there is none is not an error.
    pub fn unpoint(&self, app: &AppName) -> Result<(), Failure> {
        remove_durable(&self.current(app)).map_err(fault::disk(StepName::Switch))
    }

    /// Removes these slots, and what was staged for them. The live one is refused: nothing is removed then.
    pub fn prune(&self, app: &AppName, slots: &[Slot]) -> Result<(), Failure> {
        let live = self.live(app)?;
        if let Some(slot) = slots.iter().find(|slot| live.as_ref() == Some(slot)) {
            let words = format!("slot {slot} is live and stays");
            return Err(fault::host(Code::X01, StepName::Prune, words));
        }
        for slot in slots {
            remove_dir_durable(&self.slot(app, slot)).map_err(fault::disk(StepName::Prune))?;
            self.discard_staged(app, slot, StepName::Prune)?;
        }
        Ok(())
    }

    /// Removes everything of an app, which does not run any more.
    pub fn remove(&self, app: &AppName) -> Result<(), Failure> {
        self.clean_staging(app, None)?;
        remove_dir_durable(&self.app(app)).map_err(fault::disk(StepName::Remove))
    }

    /// Makes the app's folders. Anybody may pass through them, as apps run as users of their own.
    pub fn make_app(&self, app: &AppName) -> Result<(), Failure> {
        for folder in
            [self.releases(app), self.staging(app), self.shared(app), self.unit_links(app, Part::Whole)]
        {
            create_dir_durable(&folder, 0o755).map_err(fault::disk(StepName::Stage))?;
        }
        create_dir_durable(&self.run(app, Part::Whole), 0o700).map_err(fault::disk(StepName::Stage))
    }

    /// Removes what writers that died left behind. Before anything is done for the app, by its only writer. What
    /// was fetched into staging stays, for the assignment that goes on with it.
    pub fn clean(&self, app: &AppName) -> Result<(), Failure> {
        for folder in [self.apps(), self.app(app), self.releases(app), self.staging(app)] {
            if folder.is_dir() {
                remove_leftovers(&folder).map_err(fault::disk(StepName::Check))?;
            }
        }
        for slot in names_in(&self.releases(app), |name| name.parse::<Slot>().ok())? {
            match self.slot(app, &slot).join(META).join(SEALED).try_exists() {
                Ok(true) => {}
                Ok(false) => {
                    remove_dir_durable(&self.slot(app, &slot)).map_err(fault::disk(StepName::Check))?;
                }
                // It may be the one that runs.
                Err(e) => {
                    tracing::error!(%app, %slot, "whether it is complete cannot be told, so it stays: {e}")
                }
            }
        }
        Ok(())
    }

    /// Removes what is staged for any slot but `wanted`.
    pub fn clean_staging(&self, app: &AppName, wanted: Option<&Slot>) -> Result<(), Failure> {
        for slot in names_in(&self.staging(app), |name| name.parse::<Slot>().ok())? {
            if wanted != Some(&slot) {
                self.discard_staged(app, &slot, StepName::Check)?;
            }
        }
        Ok(())
    }
}

impl Layout {
    /// Waits for a transfer that was given up a moment ago and may still be writing.
    fn discard_staged(&self, app: &AppName, slot: &Slot, step: StepName) -> Result<(), Failure> {
        let staged = self.staged(app, slot);
        let discarded = if staged.is_dir() { Tree::lock(&staged).and_then(Tree::discard) } else { Ok(()) };
        discarded.map_err(|e| fault::host(e.coded().code, step, e.coded().message))
    }
}

/// What a slot says of its settings.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Noted {
    Now(Noticed),
    /// Of before there were secrets: values alone.
    Values(Values),
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Noticed {
    #[serde(default)]
    values: Values,
    #[serde(default)]
    secrets: Secrets,
}

fn settings_of(noted: Noted) -> Settings {
    match noted {
        Noted::Now(Noticed { values, secrets }) => Settings { values, secrets },
        Noted::Values(values) => Settings { values, ..Settings::default() },
    }
}

/// Settings are at most as large as a record of the store.
const VALUES_BYTES: usize = 64 * 1024;

fn damaged(slot: &Slot, why: &str) -> Failure {
    fault::host(Code::S02, StepName::Check, format!("what slot {slot} says of itself is damaged: {why}"))
}

fn read_bounded(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    use io::Read;
    let doing = format!("read {}", path.display());
    let fail = fault::io(StepName::Check, &doing);
    let mut bytes = Vec::new();
    fs::File::open(path).map_err(&fail)?.take(most as u64 + 1).read_to_end(&mut bytes).map_err(&fail)?;
    if bytes.len() > most {
        return Err(fail(io::Error::other(format!("larger than {most} bytes"))));
    }
    Ok(bytes)
}

/// Names in a folder that mean something; a folder that is not there has none.
fn names_in<T>(folder: &Path, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, Failure> {
    let doing = format!("list {}", folder.display());
    let fail = fault::io(StepName::Check, &doing);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(e) => return Err(fail(e)),
    };
    let mut names = vec![];
    for entry in entries {
        let name = entry.map_err(&fail)?.file_name();
        names.extend(name.to_str().and_then(&read));
    }
    Ok(names)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use longshore_common::durable::write_atomic;

    use super::*;

    /// A sealed slot with nothing in it but what says so.
    pub fn seal(layout: &Layout, app: &AppName, slot: &Slot) {
        let meta = layout.slot(app, slot).join(META);
        create_dir_durable(&meta, 0o755).unwrap();
        write_atomic(&meta.join(SEALED), b"", 0o444).unwrap();
    }

    fn fixture() -> (tempfile::TempDir, Layout, AppName, Slot, Slot) {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::under(folder.path()).unwrap();
        let app = "shop".parse().unwrap();
        layout.make_app(&app).unwrap();
        let (one, two) = ("1.0-00000001".parse().unwrap(), "1.1-00000002".parse().unwrap());
        seal(&layout, &app, &one);
        seal(&layout, &app, &two);
        (folder, layout, app, one, two)
    }

    #[test]
    fn only_a_sealed_slot_exists() {
        let (_folder, layout, app, one, two) = fixture();
        let torn: Slot = "1.2-00000003".parse().unwrap();
        create_dir_durable(&layout.slot(&app, &torn), 0o755).unwrap();
        assert_eq!(layout.sealed(&app).unwrap(), [one, two]);
        assert_eq!(layout.point(&app, &torn).unwrap_err().code, "LS-N01");
        assert_eq!(layout.live(&app).unwrap(), None, "nothing was pointed at");
        layout.clean(&app).unwrap();
        assert!(!layout.slot(&app, &torn).exists());
    }

    /// A disk that does not answer for a moment costs no slot.
    #[test]
    fn what_cannot_be_looked_at_is_not_cleared_away() {
        let (_folder, layout, app, one, two) = fixture();
        let meta = layout.slot(&app, &one).join(META);
        remove_dir_durable(&meta).unwrap();
        std::os::unix::fs::symlink(META, &meta).unwrap(); // it leads to itself
        layout.clean(&app).unwrap();
        assert!(layout.slot(&app, &one).exists());
        assert_eq!(layout.sealed(&app).unwrap(), [two]);
    }

    /// Promise 1: a reader that looks all the time never finds `current` missing or naming something incomplete.
    #[test]
    fn current_always_names_a_complete_slot() {
        let (_folder, layout, app, one, two) = fixture();
        layout.point(&app, &one).unwrap();
        let (stop, looks) = (AtomicBool::new(false), AtomicU32::new(0));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let sealed = layout.current(&app).join(META).join(SEALED);
                while !stop.load(Ordering::Relaxed) {
                    fs::metadata(&sealed).expect("current names a sealed slot at every instant");
                    looks.fetch_add(1, Ordering::Relaxed);
                }
            });
            let mut moves = 0;
            // Also where the reader is let run late.
            while (moves < 100 || looks.load(Ordering::Relaxed) <= 100) && !reader.is_finished() {
                layout.point(&app, &two).unwrap();
                layout.point(&app, &one).unwrap();
                moves += 1;
            }
            stop.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
        assert_eq!(layout.live(&app).unwrap(), Some(one));
    }

    #[test]
    fn pruning_never_takes_the_live_slot() {
        let (_folder, layout, app, one, two) = fixture();
        layout.point(&app, &one).unwrap();
        assert!(layout.prune(&app, &[two.clone(), one.clone()]).is_err());
        assert_eq!(layout.sealed(&app).unwrap().len(), 2, "a refused prune removes nothing");
        layout.prune(&app, std::slice::from_ref(&two)).unwrap();
        layout.prune(&app, &[two]).unwrap();
        assert_eq!(layout.sealed(&app).unwrap(), [one]);
    }

    #[test]
    fn removing_leaves_nothing() {
        let (_folder, layout, app, one, _) = fixture();
        layout.point(&app, &one).unwrap();
        layout.remove(&app).unwrap();
        layout.remove(&app).unwrap();
        assert_eq!(fs::read_dir(layout.apps()).unwrap().count(), 0);
    }
}
