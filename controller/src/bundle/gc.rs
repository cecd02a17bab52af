//! Removes what no release names.
//!
//! Nothing is removed on a doubt: when a single record or index cannot be read, everything stays. What somebody was told
//! is there (`Missing`, an upload) counts as used at that moment and stays for `GRACE`, so a publisher has that long
//! from its last question until it publishes.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use longshore_common::{digest::BlobDigest, manifest::Manifest};

use super::{BundleStore, blocking, release};
use crate::{store::Store, trouble::Trouble};

/// How long what no release names stays. The slowest upload we mean to serve, 8 GiB at 1 Mbit/s, takes 19 hours.
pub const GRACE: Duration = Duration::from_secs(24 * 3600);

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    pub blobs: u64,
    /// As they lay on disk.
    pub bytes: u64,
}

pub async fn collect(
    store: &dyn Store,
    bundle: &Arc<BundleStore>,
    grace: Duration,
) -> Result<Collected, Trouble> {
    let before = SystemTime::now() - grace;
    let releases = release::list(store, None).await?;
    let bundle = Arc::clone(bundle);
    let collected = blocking(move || {
        let mut blobs: HashSet<BlobDigest> = HashSet::new();
        let indexes: HashSet<_> = releases.iter().map(|release| release.index).collect();
        let manifests: HashSet<_> = releases.iter().map(|release| release.digest).collect();
        for digest in &indexes {
            blobs.extend(bundle.named.index(digest)?.blobs().iter().map(|blob| blob.digest));
        }
        let mut attestations = HashSet::new();
        for digest in &manifests {
            let manifest = Manifest::from_bytes(&bundle.named.manifest(digest)?)?;
            attestations.extend(manifest.attestations.iter().map(|named| named.sha256));
        }
        let (count, bytes) = bundle.blobs.sweep(before, |digest| blobs.contains(digest))?;
        bundle.named.sweep(
            before,
            |index| indexes.contains(index),
            |manifest| manifests.contains(manifest),
            |attestation| attestations.contains(attestation),
        )?;
        Ok(Collected { blobs: count, bytes })
    })
    .await?;
    Ok(collected)
}
