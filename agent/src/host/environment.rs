//! What apps and hooks find in their environment.

use std::collections::BTreeMap;

use longshore_common::{ids::AppName, manifest::Manifest, slot::Slot};

use super::layout::Layout;

/// `LONGSHORE_APP`, `LONGSHORE_VERSION`; and as absolute paths `LONGSHORE_SLOT`, `LONGSHORE_SHARED` and, where another
/// slot was live before, `LONGSHORE_PREVIOUS_SLOT`; and what the manifest says, which cannot change these.
pub fn variables(
    layout: &Layout,
    manifest: &Manifest,
    slot: &Slot,
    previous: Option<&Slot>,
) -> BTreeMap<String, String> {
    let app: &AppName = &manifest.app;
    let path = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    let mut env = manifest.service.env.clone();
    env.insert("LONGSHORE_APP".into(), app.to_string());
    env.insert("LONGSHORE_VERSION".into(), manifest.version.to_string());
    env.insert("LONGSHORE_SLOT".into(), path(layout.slot(app, slot)));
    env.insert("LONGSHORE_SHARED".into(), path(layout.shared(app)));
    if let Some(previous) = previous.filter(|previous| *previous != slot) {
        env.insert("LONGSHORE_PREVIOUS_SLOT".into(), path(layout.slot(app, previous)));
    }
    env
}
