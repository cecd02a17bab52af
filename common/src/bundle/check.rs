//! What makes a list of entries an index: order, limits, and that nothing leads out of the folder.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map},
};

use super::{
    index::{Entry, Kind},
    limits,
};
use crate::{
    code::{Code, Coded},
    text::visible,
};

/// Characters of a path that a message shows.
const SHOWN: usize = 120;

pub(super) fn entries(entries: &[Entry]) -> Result<(), Coded> {
    if entries.len() > limits::ENTRIES {
        return Err(too_many(entries.len()));
    }
    let mut total: u64 = 0;
    for (at, entry) in entries.iter().enumerate() {
        path(&entry.path).map_err(|(code, what)| wrong(code, at, entry, &what))?;
        total = total.saturating_add(entry.blob().map_or(0, |blob| blob.size));
        if total > limits::ARTIFACT_BYTES {
            let what = format!("brings the artifact over {} GiB", limits::ARTIFACT_BYTES >> 30);
            return Err(wrong(Code::A04, at, entry, &what));
        }
    }
    order(entries)?;
    clashes(entries)?;
    links(entries)
}

pub(super) fn too_many(entries: usize) -> Coded {
    Coded::new(Code::A04, format!("the index has {entries} entries; at most {} are allowed", limits::ENTRIES))
}

/// An error about one entry, which is numbered from 1.
pub(super) fn wrong(code: Code, at: usize, entry: &Entry, what: &str) -> Coded {
    Coded::new(code, format!("entry {} \"{}\" {what}", at + 1, shown(&entry.path)))
}

fn shown(path: &str) -> String {
    let cut: String = path.chars().take(SHOWN).collect();
    if cut.len() < path.len() { format!("{}…", visible(&cut)) } else { visible(&cut) }
}

/// One path by itself.
pub(super) fn path(path: &str) -> Result<(), (Code, String)> {
    if path.len() > limits::PATH_BYTES {
        return Err((
            Code::A04,
            format!("has a path of {} bytes (at most {})", path.len(), limits::PATH_BYTES),
        ));
    }
    if path.starts_with('/') {
        return Err((Code::A02, "is an absolute path; paths are relative to the release".into()));
    }
    let depth = path.split('/').count();
    if depth > limits::PATH_DEPTH {
        return Err((Code::A04, format!("has {depth} path components (at most {})", limits::PATH_DEPTH)));
    }
    if path.chars().any(char::is_control) {
        return Err((Code::A02, "has a control character in its path".into()));
    }
    for name in path.split('/') {
        match name {
            ".." => return Err((Code::A02, "leaves the release directory".into())),
            "" | "." => return Err((Code::A02, "has an empty or \".\" component in its path".into())),
            name if name.len() > limits::NAME_BYTES => {
                let what =
                    format!("has a component of {} bytes (at most {})", name.len(), limits::NAME_BYTES);
                return Err((Code::A04, what));
            }
            _ => {}
        }
    }
    if reserved(path) {
        return Err((Code::A02, format!("lies in \"{}\", which is Longshore's own", limits::RESERVED)));
    }
    Ok(())
}

fn reserved(path: &str) -> bool {
    path.split('/').next().is_some_and(|top| top.eq_ignore_ascii_case(limits::RESERVED))
}

fn order(entries: &[Entry]) -> Result<(), Coded> {
    for (at, pair) in entries.windows(2).enumerate() {
        match pair[0].path.as_bytes().cmp(pair[1].path.as_bytes()) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => return Err(wrong(Code::A02, at + 1, &pair[1], "occurs twice")),
            std::cmp::Ordering::Greater => {
                return Err(wrong(Code::A05, at + 1, &pair[1], "is not in order; the index is not sorted"));
            }
        }
    }
    Ok(())
}

/// No path is a folder and something else, and no two paths differ in case alone: on a file system that folds case
/// one of them would overwrite the other.
fn clashes(entries: &[Entry]) -> Result<(), Coded> {
    let mut seen: HashMap<Cow<'_, str>, (&str, bool)> = HashMap::with_capacity(entries.len());
    let mut folder = "";
    for (at, entry) in entries.iter().enumerate() {
        let parent = entry.path.rsplit_once('/').map_or("", |(parent, _)| parent);
        if parent != folder {
            for (end, _) in entry.path.match_indices('/') {
                place(&mut seen, &entry.path[..end], true)
                    .map_err(|what| wrong(Code::A02, at, entry, &what))?;
            }
            folder = parent;
        }
        place(&mut seen, &entry.path, false).map_err(|what| wrong(Code::A02, at, entry, &what))?;
    }
    Ok(())
}

fn place<'a>(
    seen: &mut HashMap<Cow<'a, str>, (&'a str, bool)>,
    path: &'a str,
    is_folder: bool,
) -> Result<(), String> {
    match seen.entry(folded(path)) {
        hash_map::Entry::Vacant(free) => {
            free.insert((path, is_folder));
            Ok(())
        }
        hash_map::Entry::Occupied(taken) => {
            let (other, other_is_folder) = *taken.get();
            if other != path {
                return Err(format!("differs from \"{}\" in case alone", shown(other)));
            }
            if is_folder && other_is_folder {
                return Ok(());
            }
            Err(format!("needs \"{}\" to be both a folder and a file", shown(other)))
        }
    }
}

fn folded(path: &str) -> Cow<'_, str> {
    if path.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) {
        return path.into();
    }
    path.to_lowercase().into()
}

/// Every link's target is relative and, whatever other links lie on the way, inside the release.
fn links(entries: &[Entry]) -> Result<(), Coded> {
    let targets: HashMap<&str, &str> = entries
        .iter()
        .filter_map(|entry| match &entry.kind {
            Kind::Link { target } => Some((entry.path.as_str(), target.as_str())),
            Kind::File { .. } => None,
        })
        .collect();
    let mut steps_left = limits::LINK_STEPS;
    for (at, entry) in entries.iter().enumerate() {
        if let Kind::Link { target } = &entry.kind {
            let mut by_way_of = None;
            let found = contained(&targets, &entry.path, target, &mut steps_left, &mut by_way_of);
            found.map_err(|(code, why)| {
                let next = by_way_of.map(|(link, next)| {
                    format!("by way of \"{}\", a symlink to \"{}\", ", shown(&link), shown(next))
                });
                let what =
                    format!("is a symlink to \"{}\", {}{why}", shown(target), next.unwrap_or_default());
                wrong(code, at, entry, &what)
            })?;
        }
    }
    Ok(())
}

/// `by_way_of` becomes the last link that was followed on the way, and where it leads.
fn contained<'a>(
    targets: &HashMap<&'a str, &'a str>,
    path: &'a str,
    target: &'a str,
    steps_left: &mut u32,
    by_way_of: &mut Option<(String, &'a str)>,
) -> Result<(), (Code, &'static str)> {
    if target.len() > limits::PATH_BYTES {
        return Err((Code::A04, "a longer target than a path may be"));
    }
    let mut here: Vec<&str> = path.split('/').collect();
    here.pop();
    let mut ahead: Vec<&str> = Vec::new();
    enter(target, &mut ahead)?;
    let mut hops = 0;
    while let Some(name) = ahead.pop() {
        *steps_left =
            steps_left.checked_sub(1).ok_or((Code::A04, "and the links are too entangled to follow"))?;
        match name {
            "" | "." => {}
            ".." => {
                here.pop()
                    .ok_or((Code::A03, "which leaves the release; only links inside it are allowed"))?;
            }
            name => {
                here.push(name);
                if here.len() > limits::PATH_DEPTH {
                    return Err((Code::A04, "which is deeper than a path may be"));
                }
                let link = here.join("/");
                let Some(&next) = targets.get(link.as_str()) else { continue };
                *by_way_of = Some((link, next));
                hops += 1;
                if hops > limits::LINK_HOPS {
                    return Err((Code::A03, "which leads in circles"));
                }
                here.pop();
                enter(next, &mut ahead)?;
            }
        }
    }
    match here.first() {
        Some(top) if reserved(top) => Err((Code::A03, "which lies in Longshore's own folder")),
        _ => Ok(()),
    }
}

/// Puts a target's components before those that are still to be walked.
fn enter<'a>(target: &'a str, ahead: &mut Vec<&'a str>) -> Result<(), (Code, &'static str)> {
    if target.is_empty() {
        return Err((Code::A03, "which is empty"));
    }
    if target.starts_with('/') {
        return Err((Code::A03, "an absolute path; only links inside the release are allowed"));
    }
    if target.chars().any(char::is_control) {
        return Err((Code::A03, "which holds a control character"));
    }
    ahead.extend(target.rsplit('/'));
    Ok(())
}
