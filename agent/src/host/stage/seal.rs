//! A staging tree into a slot: complete, synced, sealed, named, in this order.
//!
//! Sealed before it is named, and not the other way round: so a crash in between costs nothing, since what is staged is
//! whole and goes on from there, where a slot that was named first would have to be fetched again. Nobody gains the
//! moment between looking and naming: staging and slots are root's alone, and whoever can swap something in the one can
//! write into the other afterwards.

use std::{io::Write as _, path::Path};

use longshore_common::{
    bundle::{Index, Kind},
    code::{Code, Coded},
    durable::{self, Step},
    ids::AppName,
    manifest::Manifest,
    text::visible,
};
use rustix::fs::{AtFlags, FileType, Mode};

use super::tree::{StageError, Tree, at, is_marked};
use crate::{
    host::layout::{Layout, META, SEALED, VALUES},
    plan::Wanted,
};

/// Values are nobody else's business; secrets are in there as references only.
const VALUES_MODE: u32 = 0o400;

/// Makes what `fetch` and the rendering laid out a sealed slot. Done again after it was done, it changes nothing.
/// Blocks.
pub fn seal(layout: &Layout, app: &AppName, wanted: &Wanted) -> Result<(), StageError> {
    let slot = layout.slot(app, &wanted.slot);
    let staged = layout.staged(app, &wanted.slot);
    if slot.join(META).join(SEALED).is_file() {
        return Ok(durable::remove_dir_durable(&staged)?);
    }
    let mut tree = Tree::lock(&staged)?;
    let (manifest, index) = crate::host::fetch::read_meta(&tree, wanted)?;
    complete(&tree, &manifest, &index)?;
    drop(index);
    crate::host::sys::give_back_memory();
    write_values(&mut tree, wanted)?;
    durable::sync_fs(&staged)?;
    let words = format!("release {}\nindex {}\n", wanted.release, manifest.artifact.index);
    durable::write_atomic(&staged.join(META).join(SEALED), words.as_bytes(), 0o444)?;
    // Without a seal it is no slot, but what a crash left of one.
    durable::remove_dir_durable(&slot)?;
    Ok(durable::rename_new_durable(&staged, &slot)?)
}

fn write_values(tree: &mut Tree, wanted: &Wanted) -> Result<(), StageError> {
    let path = format!("{META}/{VALUES}");
    let full = tree.path().join(&path);
    let json = serde_json::to_vec(&wanted.settings).expect("maps of strings are JSON");
    let mut file = tree.create(&path)?;
    file.write_all(&json).map_err(at(Step::Write, &full))?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(VALUES_MODE)).map_err(at(Step::SetMode, &full))
}

/// Every entry of the index stands as it was verified, and every config file was rendered, perhaps over its template.
fn complete(tree: &Tree, manifest: &Manifest, index: &Index) -> Result<(), StageError> {
    for entry in index.entries().iter().filter(|entry| !manifest.config.contains_key(&entry.path)) {
        let sound = match &entry.kind {
            Kind::File { executable, blob } => {
                tree.stat(&entry.path)?.is_some_and(|stat| is_marked(&stat, blob, *executable))
            }
            Kind::Link { target } => rustix::fs::readlinkat(tree.root(), &entry.path, vec![])
                .is_ok_and(|there| there.as_bytes() == target.as_bytes()),
        };
        if !sound {
            return Err(incomplete(tree.path(), &entry.path));
        }
    }
    for path in manifest.config.keys() {
        let stat = rustix::fs::statat(tree.root(), path, AtFlags::SYMLINK_NOFOLLOW);
        if !stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile) {
            return Err(incomplete(tree.path(), path));
        }
    }
    Ok(())
}

fn incomplete(tree: &Path, path: &str) -> StageError {
    let message =
        format!("\"{}\" is missing or was touched in {}; fetch again", visible(path), tree.display());
    Coded::new(Code::X01, message).into()
}
