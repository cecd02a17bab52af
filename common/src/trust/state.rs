//! What was verified, on disk: whole generations, of which a link names the current one.
//!
//! ```text
//! <dir>/current -> gen-<n>
//! <dir>/gen-<n>/{<v>.root.json, timestamp.json, snapshot.json, targets.json, facts.json, MANIFEST.sha256}
//! ```
//! A generation is complete before the link points to it. Whatever is missing or not as its manifest says is an error
//! (`LS-T01`), never "nothing here": what an attacker gains by damaging this must be nothing.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{OFFER_BYTES, Result, tuf::disk};
use crate::{
    code::{Code, Coded},
    digest::{hex, sha256},
    durable,
    time::Millis,
};

const CURRENT: &str = "current";
const MANIFEST: &str = "MANIFEST.sha256";
const FACTS: &str = "facts.json";
/// Generations that stay beside the current one, for `recover`.
const KEPT: u64 = 2;
/// Bytes of one file here; larger ones are not ours.
const FILE_BYTES: u64 = OFFER_BYTES as u64;

/// A repository as it was last verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// By version, without gaps, never empty.
    pub roots: BTreeMap<u64, Vec<u8>>,
    pub timestamp: Vec<u8>,
    pub snapshot: Vec<u8>,
    pub targets: Vec<u8>,
    /// The highest signed floor ever seen. Never falls.
    pub floor: u64,
    /// When an update was last verified. Never falls, but by the word of a host's admin.
    pub latest_ms: Millis,
}

impl Held {
    /// As somebody else would be offered it, without the roots up to `after`.
    pub fn offer(&self, after: u64) -> super::Offer {
        super::Offer {
            roots: self.roots.range(after + 1..).map(|(_, root)| root.clone()).collect(),
            timestamp: self.timestamp.clone(),
            snapshot: self.snapshot.clone(),
            targets: self.targets.clone(),
        }
    }

    pub fn root_version(&self) -> u64 {
        self.roots.keys().next_back().copied().unwrap_or(0)
    }
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    floor: u64,
    latest_ms: Millis,
}

/// The folder of one repository.
#[derive(Clone, Debug)]
pub struct TrustState {
    name: String,
    dir: PathBuf,
    /// What is done about damage, where this is.
    remedy: String,
}

impl TrustState {
    /// Of the repository `name`, below `within`, on a host.
    pub fn new(within: &Path, name: &str) -> Self {
        let remedy = format!("Fix on this machine: longshore-agent trust recover {name}");
        Self { name: name.to_owned(), dir: within.join(name), remedy }
    }

    /// Elsewhere than on a host, where something else is done about damage.
    pub fn mended_by(self, remedy: String) -> Self {
        Self { remedy, ..self }
    }

    /// None: nothing was ever written here.
    pub fn load(&self) -> Result<Option<Held>> {
        if fs::symlink_metadata(&self.dir).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
            return Ok(None);
        }
        let number = self.current()?;
        self.read(number).map(Some)
    }

    /// Makes `held` the current generation. Durable when this returns; torn never.
    pub fn persist(&self, held: &Held) -> Result<()> {
        let first = fs::symlink_metadata(&self.dir).is_err();
        let (dir, number) = if first {
            let parent = self.dir.parent().unwrap_or(Path::new("."));
            durable::create_dir_durable(parent, 0o700).map_err(|e| disk(&e))?;
            let dir = parent.join(format!("{}new-{}", durable::TEMP_PREFIX, self.name));
            durable::remove_dir_durable(&dir).map_err(|e| disk(&e))?;
            durable::create_dir_durable(&dir, 0o700).map_err(|e| disk(&e))?;
            (dir, 1)
        } else {
            (self.dir.clone(), self.current()? + 1)
        };
        write(&dir, number, held).map_err(|e| disk(&e))?;
        if first {
            durable::rename_new_durable(&dir, &self.dir).map_err(|e| disk(&e))?;
        }
        self.prune(number);
        Ok(())
    }

    /// The newest generation that is whole.
    pub fn newest_whole(&self) -> Result<u64> {
        let mut numbers = self.generations();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        let whole = numbers.into_iter().find(|number| self.read(*number).is_ok());
        whole.ok_or_else(|| self.damaged("every generation", "no whole one is left"))
    }

    /// Makes an older generation the current one. What is lost is the memory of what came after it.
    pub fn go_back_to(&self, number: u64) -> Result<()> {
        let target = PathBuf::from(format!("gen-{number}"));
        durable::symlink_atomic(&target, &self.dir.join(CURRENT)).map_err(|e| disk(&e))
    }

    /// Forgets everything: the next update begins from the anchor.
    pub fn forget(&self) -> Result<()> {
        durable::remove_dir_durable(&self.dir).map_err(|e| disk(&e))
    }

    /// The number of the current generation.
    pub fn current(&self) -> Result<u64> {
        let link = self.dir.join(CURRENT);
        let target = fs::read_link(&link).map_err(|e| self.damaged(CURRENT, &e.to_string()))?;
        let number = target.to_str().and_then(|name| name.strip_prefix("gen-")).and_then(|n| n.parse().ok());
        number.ok_or_else(|| self.damaged(CURRENT, "it points elsewhere"))
    }

    fn read(&self, number: u64) -> Result<Held> {
        let generation = format!("gen-{number}");
        let dir = self.dir.join(&generation);
        let broken = |file: &str, why: &str| self.damaged(&format!("{generation}/{file}"), why);
        let content = |name: &str| {
            let path = dir.join(name);
            let about = fs::symlink_metadata(&path).map_err(|e| broken(name, &e.to_string()))?;
            if !about.is_file() || about.len() > FILE_BYTES {
                return Err(broken(name, "not a file of ours"));
            }
            fs::read(&path).map_err(|e| broken(name, &e.to_string()))
        };
        let manifest = String::from_utf8(content(MANIFEST)?).map_err(|_| broken(MANIFEST, "not text"))?;
        let mut files = BTreeMap::new();
        for line in manifest.lines() {
            let (digest, name) = line.split_once("  ").ok_or_else(|| broken(MANIFEST, "a torn line"))?;
            if name.contains('/') {
                return Err(broken(MANIFEST, "a name that is a path"));
            }
            let bytes = content(name)?;
            if hex(&sha256(&bytes)) != digest {
                return Err(broken(name, "sha256 mismatch"));
            }
            files.insert(name.to_owned(), bytes);
        }
        assemble(files).ok_or_else(|| broken(MANIFEST, "a file is not listed"))
    }

    fn generations(&self) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return vec![] };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter_map(|name| name.strip_prefix("gen-")?.parse().ok()).collect()
    }

    /// What stays too long costs a little disk and no more.
    fn prune(&self, current: u64) {
        for number in self.generations() {
            if number + KEPT < current || number > current {
                let path = self.dir.join(format!("gen-{number}"));
                if let Err(error) = durable::remove_dir_durable(&path) {
                    tracing::warn!("an old generation of trust state stays: {error}");
                }
            }
        }
    }

    fn damaged(&self, what: &str, why: &str) -> Coded {
        Coded::new(
            Code::T01,
            format!(
                "the trust state of {} is damaged ({what}: {why}); all its releases are refused, what runs goes on. {}",
                self.name, self.remedy
            ),
        )
    }
}

fn assemble(mut files: BTreeMap<String, Vec<u8>>) -> Option<Held> {
    let facts: Facts = serde_json::from_slice(&files.remove(FACTS)?).ok()?;
    let [timestamp, snapshot, targets] =
        ["timestamp.json", "snapshot.json", "targets.json"].map(|name| files.remove(name));
    let roots: BTreeMap<u64, Vec<u8>> = files
        .into_iter()
        .map(|(name, bytes)| Some((name.strip_suffix(".root.json")?.parse().ok()?, bytes)))
        .collect::<Option<_>>()?;
    let (first, last) = (*roots.keys().next()?, *roots.keys().next_back()?);
    (last - first == roots.len() as u64 - 1).then_some(())?;
    let Facts { floor, latest_ms } = facts;
    Some(Held { roots, timestamp: timestamp?, snapshot: snapshot?, targets: targets?, floor, latest_ms })
}

fn write(dir: &Path, number: u64, held: &Held) -> durable::Result<()> {
    let name = format!("gen-{number}");
    let generation = dir.join(&name);
    durable::remove_dir_durable(&generation)?; // of a process that died before it pointed there
    durable::create_dir_durable(&generation, 0o700)?;
    let Held { roots, timestamp, snapshot, targets, floor, latest_ms } = held;
    let facts = serde_json::to_vec(&Facts { floor: *floor, latest_ms: *latest_ms }).expect("plain numbers");
    let mut files = vec![
        (FACTS.to_owned(), &facts),
        ("timestamp.json".to_owned(), timestamp),
        ("snapshot.json".to_owned(), snapshot),
        ("targets.json".to_owned(), targets),
    ];
    files.extend(roots.iter().map(|(version, root)| (format!("{version}.root.json"), root)));
    let mut manifest = String::new();
    for (name, bytes) in files {
        durable::write_atomic(&generation.join(&name), bytes, 0o600)?;
        manifest.push_str(&format!("{}  {name}\n", hex(&sha256(bytes))));
    }
    durable::write_atomic(&generation.join(MANIFEST), manifest.as_bytes(), 0o600)?;
    durable::symlink_atomic(Path::new(&name), &dir.join(CURRENT))
}
