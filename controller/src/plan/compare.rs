//! What differs between the live release and the new one: manifest, values, files, config templates.

use std::collections::BTreeMap;

use longshore_common::manifest::Manifest;
use serde_json::Value;

use super::{
    Changed, FileChange, TextChange,
    files::compared,
    lines::unified,
    world::{Release, World},
};
use crate::rollout::Target;

/// Differences that a plan lists; of more it says how many there are.
const CHANGED_MAX: usize = 200;
/// Bytes of one side of a difference.
const SIDE_BYTES: usize = 400;

/// Manifest and values, by path. Empty when nothing is live: then everything is new.
pub(super) fn changes(world: &World) -> Vec<Changed> {
    let Some(live) = &world.live else { return vec![] };
    let mut changed = vec![];
    if let Some(before) = world.known.get(&live.version) {
        let (before, after) = (leaves(&before.manifest), leaves(&world.release.manifest));
        changed.extend(differences(&before, &after));
    }
    changed.extend(differences(&texts(world, live), &texts(world, &world.target)));
    if changed.len() > CHANGED_MAX {
        let more = changed.len() - CHANGED_MAX;
        changed.truncate(CHANGED_MAX);
        changed.push(Changed { path: format!("… and {more} more"), from: None, to: None });
    }
    changed
}

fn differences(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<Changed> {
    let mut paths: Vec<&String> = before.keys().chain(after.keys()).collect();
    paths.sort();
    paths.dedup();
    let side = |side: &BTreeMap<String, String>, path: &String| side.get(path).map(|text| cut(text));
    paths
        .into_iter()
        .filter(|path| before.get(*path) != after.get(*path))
        .map(|path| Changed { path: path.clone(), from: side(before, path), to: side(after, path) })
        .collect()
}

/// Every value and secret as it is declared. Of a secret only the reference.
fn texts(world: &World, target: &Target) -> BTreeMap<String, String> {
    let quoted = |text: String| Value::from(text).to_string();
    match target.snapshot.and_then(|digest| world.snapshots.get(&digest)) {
        Some(snapshot) => {
            snapshot.declared().into_iter().map(|(place, text)| (place, quoted(text))).collect()
        }
        None => {
            let values = target.values.clone().into_iter();
            values.map(|(key, value)| (format!("values.{key}"), quoted(value))).collect()
        }
    }
}

/// At most `SIDE_BYTES`, never inside a character.
fn cut(text: &str) -> String {
    if text.len() <= SIDE_BYTES {
        return text.to_owned();
    }
    let end = (0..=SIDE_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

/// Every value of the manifest by its path. The version and what the artifact consists of are said elsewhere.
fn leaves(manifest: &Manifest) -> BTreeMap<String, String> {
    let mut value = serde_json::to_value(manifest).expect("a manifest holds nothing that JSON cannot say");
    if let Value::Object(fields) = &mut value {
        for said_elsewhere in ["schema", "app", "version", "artifact"] {
            fields.remove(said_elsewhere);
        }
    }
    let mut found = BTreeMap::new();
    walk("", &value, &mut found);
    found
}

fn walk(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| walk(&below(name), value, found)),
        // Probes and tests are told apart by name, wherever they stand.
        Value::Array(items) if !items.is_empty() && items.iter().all(|item| item["name"].is_string()) => {
            for item in items {
                walk(&below(item["name"].as_str().unwrap_or_default()), item, found);
            }
        }
        Value::Array(items) if items.is_empty() => {}
        Value::Null => {}
        leaf => drop(found.insert(path.to_owned(), leaf.to_string())),
    }
}

pub(super) fn files(world: &World) -> FileChange {
    let live = world.live.as_ref().and_then(|live| world.known.get(&live.version));
    let templates = world.templates.iter().filter(|(_, (before, after))| before != after);
    FileChange {
        templates: templates
            .map(|(path, (before, after))| TextChange {
                path: path.clone(),
                lines: unified(before.as_deref().unwrap_or(""), after.as_deref().unwrap_or("")),
            })
            .collect(),
        ..compared(live.map(|live: &Release| &*live.index), &world.release.index)
    }
}
