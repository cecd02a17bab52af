//! Whether a template finds what it asks for, said before any host has it: nothing is written, and no secret is opened.

use longshore_common::{manifest::Manifest, settings::Settings};

use super::filled;
use crate::host::secrets::{Opened, Plain};

/// What stands in for every secret.
const STAND_IN: &[u8] = b"0";

/// Why no host with these settings could render `template`: its values are the host's own here. What depends on what a
/// secret says is not judged. `name` is for the words alone.
pub fn lacks(manifest: &Manifest, settings: &Settings, name: &str, template: &str) -> Option<String> {
    let stand_in = || Plain::new(STAND_IN.to_vec()).expect("it is text");
    let opened: Opened = settings.secrets.keys().map(|name| (name.clone(), stand_in())).collect();
    match filled(manifest, &settings.values, &opened, name, template) {
        Ok(_) => None,
        Err(unfilled) => unfilled.is_certain.then_some(unfilled.said),
    }
}
