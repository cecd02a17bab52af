//! What waits for signatures: kept so that the next key holder finds it, and believed by nobody.
//!
//! Each change waits by itself, so that one never takes another's place; signatures under the same words add up.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
    digest::{hex, sha256},
    durable,
    time::Millis,
    trust::{Held, Part, PublicKey, author, read_root},
};
use serde::{Deserialize, Serialize};

use super::change::{self, Change};

const SUFFIX: &str = "pending.json";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    pub app: String,
    pub roots: Vec<Vec<u8>>,
    /// Empty: the list stays as it is.
    pub targets: Vec<u8>,
    /// Of what was held when it was first signed.
    pub changes: Vec<Change>,
    /// Who brought which signature.
    pub signed: Vec<SignedBy>,
}

/// A signature, and the operator in whose call it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedBy {
    pub key: PublicKey,
    pub by: String,
    pub at_ms: Millis,
}

impl Pending {
    /// As `by` hands it in.
    pub(super) fn new(
        app: &str,
        held: Option<&Held>,
        roots: Vec<Vec<u8>>,
        targets: Vec<u8>,
        by: &str,
        now: Millis,
    ) -> Result<Self, Coded> {
        let changes = change::changes(app, held, &roots, &targets)?;
        let new = Self { app: app.to_owned(), roots, targets, changes, signed: vec![] };
        let signed =
            new.signers(held)?.into_iter().map(|key| SignedBy { key, by: by.to_owned(), at_ms: now });
        Ok(Self { signed: signed.collect(), ..new })
    }

    /// By what it says: of its roots, or else of its list, which a root that waits may get anew.
    pub fn id(&self) -> String {
        let list = std::slice::from_ref(&self.targets);
        let documents = if self.roots.is_empty() { list } else { self.roots.as_slice() };
        let said: Vec<u8> = documents.iter().filter_map(|of| author::words(of).ok()).flatten().collect();
        hex(&sha256(&said)[..6])
    }

    /// Whether another was taken in its place, so that no signature makes this one count any more.
    pub fn is_overtaken(&self, held: Option<&Held>) -> bool {
        let Some(held) = held else { return false };
        match self.roots.iter().map(|root| author::version(root)).max() {
            Some(version) => version <= held.root_version(),
            None => self.has_stale_list(held),
        }
    }

    /// Its list is not newer than the one that is held.
    pub(super) fn has_stale_list(&self, held: &Held) -> bool {
        !self.targets.is_empty() && author::version(&self.targets) <= author::version(&held.targets)
    }

    /// With the signatures of `earlier`, which is the same change.
    pub(super) fn joined(mut self, earlier: &Self, held: Option<&Held>) -> Result<Self, Coded> {
        let keys = self.keys(held)?;
        for (own, before) in self.roots.iter_mut().zip(&earlier.roots) {
            *own = author::joined(own, before, &keys)?;
        }
        let kept = !earlier.targets.is_empty() && !held.is_some_and(|held| earlier.has_stale_list(held));
        match (self.targets.is_empty(), kept) {
            (_, false) => {}
            (true, true) => self.targets.clone_from(&earlier.targets),
            (false, true) if author::words(&self.targets)? == author::words(&earlier.targets)? => {
                self.targets = author::joined(&self.targets, &earlier.targets, &keys)?;
            }
            (false, true) => {
                let message = format!(
                    "{}: another list waits with this by now; nothing was changed. Give the command again",
                    self.app
                );
                return Err(Coded::new(Code::R01, message));
            }
        }
        let new = self.signed.into_iter().filter(|new| earlier.signed.iter().all(|old| old.key != new.key));
        self.signed = earlier.signed.iter().cloned().chain(new).collect();
        self.changes.clone_from(&earlier.changes);
        Ok(self)
    }

    pub(super) fn bytes(&self) -> usize {
        self.roots.iter().map(Vec::len).sum::<usize>() + self.targets.len()
    }

    /// Everybody who may sign any of it.
    fn keys(&self, held: Option<&Held>) -> Result<BTreeSet<PublicKey>, Coded> {
        let known = held.map(|held| held.root(&self.app)).transpose()?;
        let new = self.roots.iter().map(|root| read_root(&self.app, root)).collect::<Result<Vec<_>, _>>()?;
        let all = known.iter().chain(&new);
        Ok(all.flat_map(|root| root.role(Part::Root).1 | root.role(Part::Targets).1).collect())
    }

    fn signers(&self, held: Option<&Held>) -> Result<BTreeSet<PublicKey>, Coded> {
        let keys = self.keys(held)?;
        let list = Some(&self.targets).filter(|list| !list.is_empty());
        let mut signers = BTreeSet::new();
        for document in self.roots.iter().chain(list) {
            signers.extend(author::signed_by(document, &keys)?);
        }
        Ok(signers)
    }
}

pub(super) fn keep(dir: &Path, pending: &Pending) -> Result<(), Coded> {
    let bytes = serde_json::to_vec(pending).expect("bytes and text are JSON");
    durable::write_atomic(&path(dir, pending), &bytes, 0o600).map_err(|e| disk(&e))
}

/// What waits for an app, the first first.
pub(super) fn load(dir: &Path, app: &str) -> Result<Vec<Pending>, Coded> {
    let mut all = vec![];
    for (of, path) in files(dir)? {
        if of == app {
            all.push(read(&path)?);
        }
    }
    all.sort_by_key(|pending| (pending.signed.first().map(|first| first.at_ms), pending.id()));
    Ok(all)
}

/// For which apps something waits.
pub(super) fn apps(dir: &Path) -> BTreeSet<String> {
    files(dir).unwrap_or_default().into_iter().map(|(app, _)| app).collect()
}

pub(super) fn remove(dir: &Path, pending: &Pending) -> Result<(), Coded> {
    durable::remove_durable(&path(dir, pending)).map_err(|e| disk(&e))
}

fn read(path: &Path) -> Result<Pending, Coded> {
    let bytes = std::fs::read(path)
        .map_err(|error| Coded::new(Code::S04, format!("read `{}`: {error}", path.display())))?;
    serde_json::from_slice(&bytes).map_err(|e| {
        let message = format!("`{}` does not parse ({e}): remove it and sign again", path.display());
        Coded::new(Code::S02, message)
    })
}

/// No app's name has a dot, so these are in nobody's folder.
fn files(dir: &Path) -> Result<Vec<(String, PathBuf)>, Coded> {
    let unread = |error: io::Error| Coded::new(Code::S04, format!("read `{}`: {error}", dir.display()));
    let mut files = vec![];
    for entry in std::fs::read_dir(dir).map_err(unread)? {
        let name = entry.map_err(unread)?.file_name();
        let app = name.to_str().filter(|name| name.ends_with(SUFFIX)).and_then(|name| name.split_once('.'));
        if let Some((app, _)) = app.filter(|(app, _)| !app.is_empty()) {
            files.push((app.to_owned(), dir.join(&name)));
        }
    }
    Ok(files)
}

fn path(dir: &Path, pending: &Pending) -> PathBuf {
    dir.join(format!("{}.{}.{SUFFIX}", pending.app, pending.id()))
}

fn disk(error: &durable::DurableError) -> Coded {
    Coded::new(error.code(), Chain(error).to_string())
}
