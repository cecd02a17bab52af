//! What signed documents change of those that are held, in the terms of whoever gave the command; and that command, for
//! whoever signs after them.

use std::fmt::{self, Write as _};

use longshore_common::{
    code::Coded,
    digest::ReleaseDigest,
    ids::Version,
    text::visible,
    trust::{Catalog, FLEET, Held, Part, PublicKey, RootView, author, read_root},
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// The first keys of an app, or of the organisation.
    FirstKeys {
        takes: u64,
        keys: Vec<PublicKey>,
    },
    /// Who may sign releases; of the fleet's own root, who the organisation is.
    Keys {
        added: Vec<PublicKey>,
        removed: Vec<PublicKey>,
        took: u64,
        takes: u64,
        of: usize,
    },
    /// The organisation's keys as the fleet has them, in an app's root.
    Organisation,
    /// The controller's own key, as it is now.
    Controller,
    /// A root that says the same for longer.
    Renewal,
    Listed {
        version: Version,
        release: ReleaseDigest,
    },
    Delisted {
        version: Version,
    },
    /// Nothing older may run.
    Floor {
        seq: u64,
        version: Option<Version>,
    },
    Frozen(String),
    Unfrozen,
    Revoked(ReleaseDigest, String),
    Unrevoked(ReleaseDigest),
}

/// What is different. Documents that cannot be read are an error; who signed them is not looked at.
pub(super) fn changes(
    app: &str,
    held: Option<&Held>,
    roots: &[Vec<u8>],
    targets: &[u8],
) -> Result<Vec<Change>, Coded> {
    let before = held.map(|held| Ok::<_, Coded>((held.root(app)?, held.catalog(app)?))).transpose()?;
    let mut changes = vec![];
    if let Some(root) = roots.last() {
        let root = read_root(app, root)?;
        of_root(before.as_ref().map(|(root, _)| root), &root, &mut changes);
    }
    if !targets.is_empty() {
        let list = author::read_catalog(app, targets)?;
        let empty = author::empty_catalog(app);
        of_list(before.as_ref().map_or(&empty, |(_, list)| list), &list, &mut changes);
    }
    Ok(changes)
}

fn of_root(before: Option<&RootView>, root: &RootView, changes: &mut Vec<Change>) {
    let (takes, keys) = root.role(Part::Targets);
    let Some(before) = before else {
        changes.push(Change::FirstKeys { takes, keys: keys.iter().copied().collect() });
        return;
    };
    let count = changes.len();
    let (took, known) = before.role(Part::Targets);
    if (took, known) != (takes, keys) {
        let added = keys.difference(known).copied().collect();
        let removed = known.difference(keys).copied().collect();
        changes.push(Change::Keys { added, removed, took, takes, of: keys.len() });
    }
    if root.app != FLEET && before.role(Part::Root) != root.role(Part::Root) {
        changes.push(Change::Organisation);
    }
    if before.role(Part::Timestamp) != root.role(Part::Timestamp) {
        changes.push(Change::Controller);
    }
    if changes.len() == count {
        changes.push(Change::Renewal);
    }
}

fn of_list(before: &Catalog, list: &Catalog, changes: &mut Vec<Change>) {
    let by_seq = |seq: u64| {
        let listed = list.releases.get(&seq).or(before.releases.get(&seq));
        listed.map(|listed| listed.version.clone())
    };
    let new = list.releases.values().filter(|listed| before.releases.get(&listed.seq) != Some(listed));
    changes
        .extend(new.map(|listed| Change::Listed { version: listed.version.clone(), release: listed.digest }));
    let gone = before.releases.values().filter(|listed| !list.releases.contains_key(&listed.seq));
    changes.extend(gone.map(|listed| Change::Delisted { version: listed.version.clone() }));
    if list.min_seq != before.min_seq {
        changes.push(Change::Floor { seq: list.min_seq, version: by_seq(list.min_seq) });
    }
    match &list.frozen {
        frozen if *frozen == before.frozen => {}
        Some(reason) => changes.push(Change::Frozen(reason.clone())),
        None => changes.push(Change::Unfrozen),
    }
    let revoked = list.revoked.iter().filter(|(release, why)| before.revoked.get(release) != Some(why));
    changes.extend(revoked.map(|(release, why)| Change::Revoked(*release, why.clone())));
    let lifted = before.revoked.keys().filter(|release| !list.revoked.contains_key(release));
    changes.extend(lifted.map(|release| Change::Unrevoked(*release)));
}

impl Change {
    /// Whether `held` says so already: then nobody has to sign it any more.
    pub(super) fn is_in(&self, root: &RootView, list: &Catalog) -> bool {
        match self {
            Change::FirstKeys { takes, keys } => {
                let (of_root, known) = root.role(Part::Targets);
                of_root == *takes && known.iter().eq(keys)
            }
            Change::Keys { added, removed, takes, .. } => {
                let (of_root, known) = root.role(Part::Targets);
                let gone = removed.iter().all(|key| !known.contains(key));
                of_root == *takes && gone && added.iter().all(|key| known.contains(key))
            }
            // Another root than this one was taken: whether it says so is for people to see.
            Change::Organisation | Change::Controller | Change::Renewal => false,
            Change::Listed { version, release } => {
                list.by_version(version).is_some_and(|listed| listed.digest == *release)
            }
            Change::Delisted { version } => list.by_version(version).is_none(),
            Change::Floor { seq, .. } => list.min_seq >= *seq,
            Change::Frozen(reason) => list.frozen.as_ref() == Some(reason),
            Change::Unfrozen => list.frozen.is_none(),
            Change::Revoked(release, why) => list.revoked.get(release) == Some(why),
            Change::Unrevoked(release) => !list.revoked.contains_key(release),
        }
    }
}

/// In words: `lists 1.4.2 (9c1e5a5f)`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::FirstKeys { takes, keys } => {
                write!(
                    f,
                    "begins with {} {} ({takes} of {} sign)",
                    plural(keys.len()),
                    short(keys),
                    keys.len()
                )
            }
            Change::Keys { added, removed, took, takes, of } => {
                let mut parts = vec![];
                for (verb, keys) in [("adds", added), ("removes", removed)] {
                    if !keys.is_empty() {
                        parts.push(format!("{verb} {} {}", plural(keys.len()), short(keys)));
                    }
                }
                match took == takes {
                    true => parts.push(format!("{takes} of {of} sign")),
                    false => parts.push(format!("{takes} of {of} sign (it took {took})")),
                }
                f.write_str(&parts.join(", "))
            }
            Change::Organisation => f.write_str("takes over the organisation's keys from the fleet"),
            Change::Controller => f.write_str("takes over the controller's key"),
            Change::Renewal => f.write_str("renews the root"),
            Change::Listed { version, release } => write!(f, "lists {version} ({})", release.short()),
            Change::Delisted { version } => write!(f, "takes {version} off the list"),
            Change::Floor { version: Some(version), .. } => {
                write!(f, "lets nothing older than {version} run")
            }
            Change::Floor { seq, version: None } => write!(f, "lets nothing below number {seq} run"),
            Change::Frozen(reason) => write!(f, "freezes the fleet: {}", visible(reason)),
            Change::Unfrozen => f.write_str("lifts the freeze"),
            Change::Revoked(release, reason) => {
                write!(f, "revokes {}: {}", release.short(), visible(reason))
            }
            Change::Unrevoked(release) => write!(f, "no longer revokes {}", release.short()),
        }
    }
}

/// All of them, in one line.
pub(super) fn said(changes: &[Change]) -> String {
    match changes {
        [] => "the same anew".to_owned(),
        changes => changes.iter().map(Change::to_string).collect::<Vec<_>>().join("; "),
    }
}

/// What whoever signs next types: the same document comes of it. The controller is not asked to sign what it likes:
/// the command says it all.
pub(super) fn command(app: &str, changes: &[Change]) -> String {
    let first = changes.iter().find(|change| !matches!(change, Change::Organisation | Change::Controller));
    match first {
        None | Some(Change::Organisation | Change::Controller | Change::Renewal) => {
            format!("longshore trust rotate {app}")
        }
        Some(Change::FirstKeys { .. }) => format!("longshore app create {app}"),
        Some(Change::Keys { added, removed, took, takes, of: _ }) => {
            let mut command = format!("longshore trust rotate {app}");
            for (option, keys) in [("--add-key", added), ("--remove-key", removed)] {
                for key in keys {
                    write!(command, " {option} {key}").expect("text takes all");
                }
            }
            if took != takes {
                write!(command, " --threshold {takes}").expect("text takes all");
            }
            command
        }
        Some(Change::Listed { version, release: _ }) => {
            let floor = changes.iter().any(|change| matches!(change, Change::Floor { .. }));
            format!("longshore release sign {app}@{version}{}", if floor { " --security" } else { "" })
        }
        Some(Change::Floor { version, seq: _ }) => {
            let version = version.as_ref().map_or("VERSION".to_owned(), Version::to_string);
            format!("longshore release sign {app}@{version} --security")
        }
        Some(Change::Delisted { version }) => {
            format!("longshore release withdraw {app}@{version} --reason {}", quoted("second signature"))
        }
        Some(Change::Frozen(reason)) => format!("longshore fleet freeze --reason {}", quoted(reason)),
        Some(Change::Unfrozen) => "longshore fleet unfreeze".to_owned(),
        Some(Change::Revoked(release, reason)) => {
            format!("longshore fleet revoke {release} --reason {}", quoted(reason))
        }
        Some(Change::Unrevoked(release)) => format!("longshore fleet unrevoke {release}"),
    }
}

/// For a shell: nothing in single quotes means anything but itself.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn short(keys: &[PublicKey]) -> String {
    keys.iter().map(PublicKey::short).collect::<Vec<_>>().join(", ")
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "key" } else { "keys" }
}
