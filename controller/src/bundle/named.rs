//! Indexes and manifests, as files by their digest.

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::SystemTime,
};

use longshore_common::{
    bundle::{Index, frame, limits},
    code::{Code, Coded},
    digest::{ContentDigest, IndexDigest, ReleaseDigest},
    durable::{self, At as _, DurableError, Step},
    manifest::MANIFEST_BYTES,
    offline::ATTESTATION_BYTES,
};

use super::{BundleError, zstd_fault};

/// Decoded indexes that stay in memory: those of the rollouts in progress, which every host of a wave asks for at once.
const KEPT: usize = 4;

#[derive(Debug)]
pub struct NamedFiles {
    root: PathBuf,
    indexes: Mutex<VecDeque<(IndexDigest, Arc<Index>)>>,
}

impl NamedFiles {
    pub fn open(root: &Path) -> Result<Self, BundleError> {
        for folder in ["indexes", "manifests", "attestations"] {
            durable::create_dir_durable(&root.join(folder), 0o700)?;
            durable::remove_leftovers(&root.join(folder))?;
        }
        Ok(Self { root: root.into(), indexes: Mutex::default() })
    }

    pub fn put_manifest(&self, bytes: &[u8]) -> Result<ReleaseDigest, BundleError> {
        let digest = ReleaseDigest::of(bytes);
        durable::write_atomic(&self.manifest_path(&digest), bytes, 0o600)?;
        Ok(digest)
    }

    pub fn manifest(&self, digest: &ReleaseDigest) -> Result<Vec<u8>, BundleError> {
        let bytes = read(&self.manifest_path(digest), MANIFEST_BYTES as u64)?;
        if ReleaseDigest::of(&bytes) != *digest {
            return Err(damaged("manifest", &digest.hex()));
        }
        Ok(bytes)
    }

    pub fn put_attestation(&self, bytes: &[u8]) -> Result<ContentDigest, BundleError> {
        let digest = ContentDigest::of(bytes);
        durable::write_atomic(&self.attestation_path(&digest), bytes, 0o600)?;
        Ok(digest)
    }

    pub fn attestation(&self, digest: &ContentDigest) -> Result<Vec<u8>, BundleError> {
        let bytes = read(&self.attestation_path(digest), ATTESTATION_BYTES as u64)?;
        if ContentDigest::of(&bytes) != *digest {
            return Err(damaged("attestation", &digest.hex()));
        }
        Ok(bytes)
    }

    pub fn put_index(&self, index: &Index) -> Result<IndexDigest, BundleError> {
        let bytes = index.encode();
        let digest = IndexDigest::of(&bytes);
        let wire = frame::compress(limits::PUBLISH_LEVEL, &bytes).map_err(zstd_fault)?;
        durable::write_atomic(&self.index_path(&digest), &wire, 0o600)?;
        Ok(digest)
    }

    /// As it travels: a zstd frame.
    pub fn index_frame(&self, digest: &IndexDigest) -> Result<Vec<u8>, BundleError> {
        read(&self.index_path(digest), limits::INDEX_BYTES as u64 * 2)
    }

    pub fn index(&self, digest: &IndexDigest) -> Result<Arc<Index>, BundleError> {
        let mut kept = self.indexes.lock().expect("no holder panics");
        if let Some((_, index)) = kept.iter().find(|(name, _)| name == digest) {
            return Ok(Arc::clone(index));
        }
        // Read under the lock: twenty hosts that ask at once wait for one reading.
        let bytes = frame::expand(&self.index_frame(digest)?, limits::INDEX_BYTES)?;
        if IndexDigest::of(&bytes) != *digest {
            return Err(damaged("index", &digest.hex()));
        }
        let index = Arc::new(Index::decode(&bytes)?);
        kept.push_front((*digest, Arc::clone(&index)));
        kept.truncate(KEPT);
        Ok(index)
    }

    /// Removes what `keep` does not want and is older than `before`.
    pub(super) fn sweep(
        &self,
        before: SystemTime,
        keep_index: impl Fn(&IndexDigest) -> bool,
        keep_manifest: impl Fn(&ReleaseDigest) -> bool,
        keep_attestation: impl Fn(&ContentDigest) -> bool,
    ) -> Result<(), BundleError> {
        let attestations = self.root.join("attestations");
        sweep(&attestations, before, |name| name.parse().is_ok_and(|d| keep_attestation(&d)))?;
        sweep(&self.root.join("indexes"), before, |name| name.parse().is_ok_and(|d| keep_index(&d)))?;
        sweep(&self.root.join("manifests"), before, |name| name.parse().is_ok_and(|d| keep_manifest(&d)))
    }

    fn manifest_path(&self, digest: &ReleaseDigest) -> PathBuf {
        self.root.join("manifests").join(digest.hex())
    }

    fn attestation_path(&self, digest: &ContentDigest) -> PathBuf {
        self.root.join("attestations").join(digest.hex())
    }

    fn index_path(&self, digest: &IndexDigest) -> PathBuf {
        self.root.join("indexes").join(digest.hex())
    }
}

fn sweep(folder: &Path, before: SystemTime, keep: impl Fn(&str) -> bool) -> Result<(), BundleError> {
    for item in fs::read_dir(folder).at(Step::Read, folder)? {
        let path = item.at(Step::Read, folder)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let changed = fs::metadata(&path).and_then(|about| about.modified()).at(Step::Inspect, &path)?;
        if !keep(name) && changed < before {
            fs::remove_file(&path).at(Step::Remove, &path)?;
        }
    }
    Ok(())
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, BundleError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match fs::metadata(path) {
        Ok(about) if about.len() > limit => Err(damaged("file", &name)),
        Ok(_) => Ok(fs::read(path).at(Step::Read, path)?),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Err(Coded::new(Code::N01, format!("{name} is not on this controller")).into())
        }
        Err(e) => Err(DurableError::new(Step::Inspect, path, e).into()),
    }
}

fn damaged(what: &str, name: &str) -> BundleError {
    let message =
        format!("{what} {name} is damaged on the controller; publish its release once more to mend it");
    Coded::new(Code::S02, message).into()
}
