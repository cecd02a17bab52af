//! What a document must be before and beyond what `tough` checks: ours, for this app, by keys of the one kind, none
//! of them counted twice, without delegations.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tough::schema::{RoleKeys, RoleType, Root, Signed, Targets};

use super::{Part, PublicKey, Result};
use crate::{
    code::{Code, Coded},
    text::visible,
    time::Millis,
};

/// Keys that a role may have; more are a mistake.
const KEYS_MAX: usize = 32;
/// Signatures under a document.
const SIGNATURES_MAX: usize = 64;
/// Under this name our own words stand in a document, and are signed with it.
pub(super) const OURS: &str = "x-longshore";

/// A root document, read: its signatures are not checked here.
#[derive(Clone, Debug)]
pub struct RootView {
    pub version: u64,
    pub expires_ms: Millis,
    pub app: String,
    keys: BTreeMap<Part, (u64, BTreeSet<PublicKey>)>,
}

impl RootView {
    /// The keys of a role, and how many of them it takes.
    pub fn role(&self, part: Part) -> (u64, &BTreeSet<PublicKey>) {
        let (threshold, keys) = &self.keys[&part];
        (*threshold, keys)
    }
}

/// Reads and checks a root document of `app`, but not its signatures.
pub fn read_root(app: &str, bytes: &[u8]) -> Result<RootView> {
    let root: Signed<Root> = parse(app, Part::Root, bytes)?;
    few_signatures(app, Part::Root, root.signatures.len())?;
    let Root { consistent_snapshot, version, expires, keys, roles, _extra, .. } = &root.signed;
    let version = version.get();
    if !consistent_snapshot {
        return Err(unfit(app, Part::Root, "does not say consistent_snapshot"));
    }
    let of = ours(_extra).and_then(|ours| ours["app"].as_str()).unwrap_or_default();
    if of != app {
        return Err(unfit(app, Part::Root, &format!("is of \"{}\"", visible(of))));
    }
    let mut read = BTreeMap::new();
    for part in Part::ALL {
        let role = roles
            .get(&role_type(part))
            .ok_or_else(|| unfit(app, Part::Root, &format!("has no keys for {part}")))?;
        read.insert(part, (role.threshold.get(), role_keys(app, part, role, keys)?));
    }
    if roles.len() != Part::ALL.len() {
        return Err(unfit(app, Part::Root, "names roles that are not used here"));
    }
    Ok(RootView { version, expires_ms: expires.as_millisecond(), app: app.to_owned(), keys: read })
}

fn role_keys(
    app: &str,
    part: Part,
    role: &RoleKeys,
    keys: &std::collections::HashMap<
        tough::schema::decoded::Decoded<tough::schema::decoded::Hex>,
        tough::schema::key::Key,
    >,
) -> Result<BTreeSet<PublicKey>> {
    if role.keyids.len() > KEYS_MAX {
        return Err(unfit(app, Part::Root, &format!("has more than {KEYS_MAX} keys for {part}")));
    }
    let mut distinct = BTreeSet::new();
    for id in &role.keyids {
        let key = keys.get(id).and_then(PublicKey::from_tuf).ok_or_else(|| {
            unfit(app, Part::Root, &format!("has a key for {part} that is missing or not Ed25519"))
        })?;
        if !distinct.insert(key) {
            return Err(unfit(app, Part::Root, &format!("has one key twice for {part}")));
        }
    }
    if role.threshold.get() > distinct.len() as u64 {
        let why = format!("wants {} keys for {part} and names {}", role.threshold, distinct.len());
        return Err(unfit(app, Part::Root, &why));
    }
    Ok(distinct)
}

/// Refuses a targets document that `tough` would follow further than its own bytes.
pub(super) fn check_targets(app: &str, bytes: &[u8]) -> Result<()> {
    let raw: Value = serde_json::from_slice(bytes).map_err(|e| unreadable(app, Part::Targets, &e))?;
    if raw["signed"].get("delegations").is_some() {
        return Err(unfit(app, Part::Targets, "has delegations, which are not used here"));
    }
    let targets: Signed<Targets> = parse(app, Part::Targets, bytes)?;
    few_signatures(app, Part::Targets, targets.signatures.len())
}

pub(super) fn role_type(part: Part) -> RoleType {
    match part {
        Part::Root => RoleType::Root,
        Part::Targets => RoleType::Targets,
        Part::Snapshot => RoleType::Snapshot,
        Part::Timestamp => RoleType::Timestamp,
    }
}

pub(super) fn ours(extra: &std::collections::HashMap<String, Value>) -> Option<&Value> {
    extra.get(OURS)
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(app: &str, part: Part, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| unreadable(app, part, &e))
}

fn few_signatures(app: &str, part: Part, count: usize) -> Result<()> {
    if count > SIGNATURES_MAX {
        return Err(unfit(app, part, &format!("bears more than {SIGNATURES_MAX} signatures")));
    }
    Ok(())
}

fn unreadable(app: &str, part: Part, error: &serde_json::Error) -> Coded {
    unfit(app, part, &format!("cannot be read ({})", visible(&error.to_string())))
}

pub(super) fn unfit(app: &str, part: Part, why: &str) -> Coded {
    Coded::new(Code::T02, format!("{part}.json of {app} {why}; nothing was believed"))
}
