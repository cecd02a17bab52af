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

/// The same as an `EnvironmentFile` of systemd.
pub fn environment_file(variables: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (name, value) in variables {
        text.push_str(name);
        text.push_str("=\"");
        for c in value.chars() {
            if matches!(c, '"' | '\\' | '`' | '$') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push_str("\"\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted() {
        let variables = BTreeMap::from([
            ("A".to_owned(), "plain".to_owned()),
            ("B".to_owned(), "$x \"y\" \\z `w`\n#".to_owned()),
        ]);
        assert_eq!(environment_file(&variables), "A=\"plain\"\nB=\"\\$x \\\"y\\\" \\\\z \\`w\\`\n#\"\n");
    }
}
