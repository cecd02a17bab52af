//! Makes a release exist, and says that one should not be used any more.

use std::sync::Arc;

use longshore_common::{
    bundle::{self, Index, frame, limits},
    code::{Code, Coded},
    digest::{BlobDigest, IndexDigest, ReleaseDigest},
    ids::{AppName, OperatorName, Version},
    manifest::{Attestation, Manifest},
    offline::{ATTESTATION_BYTES, ATTESTATIONS},
    text::visible,
    time::Clock,
};

use super::{BundleStore, Release, Withdrawal, blocking, release};
use crate::{
    store::{CommitError, Key, SharedStore, Txn, record},
    trouble::Trouble,
};

/// Attempts at a commit that others keep coming before.
const ATTEMPTS: usize = 5;
/// Bytes of a reason.
const REASON_BYTES: usize = 512;

#[derive(Clone)]
pub struct Publisher {
    pub store: SharedStore,
    pub bundle: Arc<BundleStore>,
    pub clock: Arc<dyn Clock>,
}

/// A release as it comes in. Nothing of it is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    pub manifest: Vec<u8>,
    /// A zstd frame.
    pub index_frame: Vec<u8>,
    /// The files that the manifest names, in its order.
    pub attestations: Vec<Vec<u8>>,
}

/// What was published, and whether it was new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub release: Release,
    pub created: bool,
}

/// A manifest and an index that were read strictly and fit each other.
struct Offer {
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
    digest: ReleaseDigest,
    index: Arc<Index>,
    attestations: Vec<Vec<u8>>,
}

impl Publisher {
    /// Everything is checked before anything is kept. The same content again changes nothing.
    pub async fn publish(&self, by: &OperatorName, offered: Offered) -> Result<Published, Trouble> {
        let offer = blocking(move || Ok(read_offer(offered)?)).await?;
        let Manifest { app, version, .. } = &offer.manifest;
        self.same_or_absent(&offer).await?;
        self.all_uploaded(&offer).await?;
        self.keep_named(&offer).await?;
        let wire_bytes = self.bundle.make_blocks(&offer.index).await?;
        self.prepare_for_earlier(&offer).await?;
        let release = Release {
            app: app.clone(),
            version: version.clone(),
            digest: offer.digest,
            index: offer.manifest.artifact.index,
            published_ms: self.clock.now_ms(),
            published_by: by.to_string(),
            files: offer.manifest.artifact.files,
            bytes: offer.manifest.artifact.bytes,
            wire_bytes,
            withdrawn: None,
        };
        self.record(&offer, release).await
    }

    async fn same_or_absent(&self, offer: &Offer) -> Result<Option<Release>, Trouble> {
        let Manifest { app, version, .. } = &offer.manifest;
        match release::load(&*self.store, app, version).await? {
            Some((known, _)) if known.digest != offer.digest => Err(other_content(&known, &offer.digest)),
            known => Ok(known.map(|(known, _)| known)),
        }
    }

    async fn all_uploaded(&self, offer: &Offer) -> Result<(), Trouble> {
        let (bundle, index) = (Arc::clone(&self.bundle), Arc::clone(&offer.index));
        let blobs: Vec<BlobDigest> = index.blobs().iter().map(|blob| blob.digest).collect();
        let all = blobs.len();
        let missing = blocking(move || bundle.blobs.missing(&blobs)).await?;
        if missing.is_empty() {
            return Ok(());
        }
        let message = format!(
            "{} of {all} blobs of {}@{} were not uploaded; nothing was published",
            missing.len(),
            offer.manifest.app,
            offer.manifest.version
        );
        Err(Trouble::refused(Code::R01, message))
    }

    /// Written again even when there: what was damaged is mended.
    async fn keep_named(&self, offer: &Offer) -> Result<(), Trouble> {
        let (bundle, index) = (Arc::clone(&self.bundle), Arc::clone(&offer.index));
        let (manifest, attestations) = (offer.manifest_bytes.clone(), offer.attestations.clone());
        blocking(move || {
            for attestation in &attestations {
                bundle.named.put_attestation(attestation)?;
            }
            bundle.named.put_manifest(&manifest)?;
            bundle.named.put_index(&index)?;
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Most hosts will hold the release that was published last before this one: what they will ask for is made now.
    async fn prepare_for_earlier(&self, offer: &Offer) -> Result<(), Trouble> {
        let Manifest { app, version, .. } = &offer.manifest;
        let Some(earlier) = release::latest_of(&*self.store, app, version).await? else { return Ok(()) };
        let bundle = Arc::clone(&self.bundle);
        match blocking(move || bundle.named.index(&earlier.index)).await {
            Ok(earlier) => self.bundle.make_difference(&offer.index, &earlier).await.map(drop)?,
            Err(error) => {
                tracing::warn!(%app, "nothing was prepared for hosts with the release before: {error}");
            }
        }
        Ok(())
    }

    async fn record(&self, offer: &Offer, release: Release) -> Result<Published, Trouble> {
        let key = Key::release(&release.app, &release.version);
        let value = record::encode(&key, &release)?;
        for _ in 0..ATTEMPTS {
            if let Some(known) = self.same_or_absent(offer).await? {
                // What was withdrawn stays withdrawn.
                return Ok(Published { release: known, created: false });
            }
            match self.store.commit(Txn::new().absent(key.clone()).put(key.clone(), value.clone())).await {
                Ok(_) => {
                    tracing::info!(app = %release.app, version = %release.version, release = %release.digest,
                        by = release.published_by, "release published");
                    return Ok(Published { release, created: true });
                }
                // Only a read can tell; the loop begins with one.
                Err(CommitError::Conflict { .. } | CommitError::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Trouble::refused(Code::S04, "the release could not be recorded; nothing is lost, publish again"))
    }

    /// No rollout may begin with it any more.
    pub async fn withdraw(
        &self,
        by: &OperatorName,
        app: &AppName,
        version: &Version,
        reason: &str,
    ) -> Result<Release, Trouble> {
        if reason.trim().is_empty() || reason.len() > REASON_BYTES {
            let message =
                format!("say why the release is withdrawn, in 1-{REASON_BYTES} bytes: --reason \"…\"");
            return Err(Trouble::refused(Code::V01, message));
        }
        let key = Key::release(app, version);
        for _ in 0..ATTEMPTS {
            let Some((mut known, revision)) = release::load(&*self.store, app, version).await? else {
                return Err(release::unknown(app, version));
            };
            if known.withdrawn.is_some() {
                return Ok(known);
            }
            let (by, reason) = (by.to_string(), visible(reason));
            known.withdrawn = Some(Withdrawal { at_ms: self.clock.now_ms(), by, reason });
            let value = record::encode(&key, &known)?;
            match self.store.commit(Txn::new().unchanged(key.clone(), revision).put(key.clone(), value)).await
            {
                Ok(_) => return Ok(known),
                Err(CommitError::Conflict { .. } | CommitError::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Trouble::refused(Code::S04, "the release could not be recorded; nothing is lost, try again"))
    }
}

fn read_offer(offered: Offered) -> Result<Offer, Coded> {
    let Offered { manifest: manifest_bytes, index_frame, attestations } = offered;
    let manifest = Manifest::from_bytes(&manifest_bytes)?;
    if manifest.to_bytes() != manifest_bytes {
        return Err(Coded::new(
            Code::M01,
            "the manifest is not in its one encoding (a key twice, or spaces)",
        ));
    }
    let digest = ReleaseDigest::of(&manifest_bytes);
    check_attestations(&manifest, &attestations)?;
    let index_bytes = frame::expand(&index_frame, limits::INDEX_BYTES)?;
    let index = Index::decode(&index_bytes)?;
    bundle::fit(&manifest, &index, &IndexDigest::of(&index_bytes))?;
    Ok(Offer { manifest, manifest_bytes, digest, index: Arc::new(index), attestations })
}

/// The files are what the manifest says of them, each of its kind, and there are no others.
fn check_attestations(manifest: &Manifest, files: &[Vec<u8>]) -> Result<(), Coded> {
    if files.len() > ATTESTATIONS || files.iter().any(|file| file.len() > ATTESTATION_BYTES) {
        let message = format!(
            "a release carries at most {ATTESTATIONS} attestations of {ATTESTATION_BYTES} bytes each; nothing was \
             published"
        );
        return Err(Coded::new(Code::A04, message));
    }
    let named = &manifest.attestations;
    if named.len() != files.len() {
        let message = format!(
            "the manifest names {} attestations, {} came; nothing was published",
            named.len(),
            files.len()
        );
        return Err(Coded::new(Code::M01, message));
    }
    for (named, file) in named.iter().zip(files) {
        if Attestation::recognise(named.kind, file)? != *named {
            let message =
                format!("the {} is not the file that the manifest names; nothing was published", named.kind);
            return Err(Coded::new(Code::A01, message));
        }
    }
    Ok(())
}

fn other_content(known: &Release, offered: &ReleaseDigest) -> Trouble {
    let message = format!(
        "{}@{} exists with other content (release {}, offered {}); releases never change: publish under another version",
        known.app,
        known.version,
        known.digest.short(),
        offered.short()
    );
    Trouble::refused(Code::N02, message)
}
