//! A release as an offline bundle: what hosts would ask for piece by piece, in one stream, with the documents that say
//! that it may run.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use longshore_common::{
    bundle::{
        Index,
        block::{Wanted, partition},
        limits,
    },
    code::Code,
    ids::{AppName, Version},
    manifest::Manifest,
    offline::{Documents, Head, Writer},
    trust::FLEET,
    wire::to_status,
};
use longshore_proto::v1 as pb;
use tokio::sync::mpsc;
use tonic::Status;

use super::blobs::{BLOCKS_AHEAD, Gone, send};
use crate::{
    bundle::{BundleError, BundleStore, Purpose, Release, blocking},
    trouble::Trouble,
    trust::{TrustDesk, at_desk},
};

/// What a bundle is made from.
pub(super) struct Export {
    bundle: Arc<BundleStore>,
    head: Head,
    index: Arc<Index>,
}

type Sender = mpsc::Sender<Result<pb::Piece, Status>>;

impl Export {
    /// Refused where hosts would refuse the release: a bundle that nobody can use is found out here and not there.
    pub(super) async fn prepare(
        bundle: Arc<BundleStore>,
        desk: &Arc<TrustDesk>,
        release: &Release,
    ) -> Result<Self, Trouble> {
        if let Some(withdrawn) = &release.withdrawn {
            let message = format!("{}@{} is withdrawn: {}", release.app, release.version, withdrawn.reason);
            return Err(Trouble::refused(Code::R01, message));
        }
        let store = Arc::clone(&bundle);
        let (digest, index_digest) = (release.digest, release.index);
        let (head, index) = blocking(move || {
            let manifest = store.named.manifest(&digest)?;
            let named = Manifest::from_bytes(&manifest)?.attestations;
            let attestations = named.iter().map(|named| store.named.attestation(&named.sha256));
            let head = Head {
                documents: None,
                index: store.named.index_frame(&index_digest)?,
                attestations: attestations.collect::<Result<_, _>>()?,
                manifest,
                ..Head::default()
            };
            Ok((head, store.named.index(&index_digest)?))
        })
        .await?;
        let documents =
            documents(desk, &release.app, &release.version, release.digest, head.manifest.len() as u64)
                .await?;
        Ok(Self { bundle, head: Head { documents, ..head }, index })
    }

    /// Until all was sent, or nobody takes it any more.
    pub(super) async fn stream(self, sender: Sender) {
        match self.send_all(&sender).await {
            Ok(()) | Err(Ended::Gone) => {}
            Err(Ended::Failed(error)) => {
                let failed = error.coded();
                tracing::error!(code = %failed.code, "an export failed: {}", failed.message);
                // Whoever is gone by now does not need to hear it.
                let _ = send(&sender, Err(to_status(&failed))).await;
            }
        }
    }

    async fn send_all(&self, sender: &Sender) -> Result<(), Ended> {
        let mut writer = Writer::begin(Vec::new(), &self.head).expect("a vector takes everything");
        pass_on(&mut writer, sender).await?;
        let blocks = partition(self.index.blobs(), &Wanted::All);
        let mut ready = stream::iter(blocks)
            .map(|block| async move { self.bundle.block(&self.index, &block, Purpose::Demand).await })
            .buffered(BLOCKS_AHEAD);
        while let Some(next) = ready.next().await {
            let mut file = next?;
            writer.block(file.wire_bytes).expect("a vector takes everything");
            loop {
                let (back, read) = blocking(move || {
                    let read = file.piece()?;
                    Ok((file, read))
                })
                .await?;
                file = back;
                if read.is_empty() {
                    break;
                }
                writer.data(&read).expect("a vector takes everything");
                pass_on(&mut writer, sender).await?;
            }
        }
        drop(ready);
        let mut rest = writer.end().expect("a vector takes everything");
        send_bytes(std::mem::take(&mut rest), sender).await
    }
}

enum Ended {
    /// Whoever asked went away, or takes nothing any more.
    Gone,
    Failed(BundleError),
}

impl From<BundleError> for Ended {
    fn from(error: BundleError) -> Self {
        Ended::Failed(error)
    }
}

async fn pass_on(writer: &mut Writer<Vec<u8>>, sender: &Sender) -> Result<(), Ended> {
    send_bytes(std::mem::take(writer.out()), sender).await
}

async fn send_bytes(bytes: Vec<u8>, sender: &Sender) -> Result<(), Ended> {
    let bytes = Bytes::from(bytes);
    for start in (0..bytes.len()).step_by(limits::PIECE_BYTES) {
        let data = bytes.slice(start..bytes.len().min(start + limits::PIECE_BYTES));
        send(sender, Ok(pb::Piece { data })).await.map_err(|Gone| Ended::Gone)?;
    }
    Ok(())
}

/// The documents as they are now; none where nothing is signed.
async fn documents(
    desk: &Arc<TrustDesk>,
    app: &AppName,
    version: &Version,
    release: longshore_common::digest::ReleaseDigest,
    length: u64,
) -> Result<Option<Documents>, Trouble> {
    let (app, version) = (app.clone(), version.clone());
    let found = at_desk(desk, move |desk| {
        desk.admit(&app, &version, &release, length)?;
        if desk.held(FLEET)?.is_none() {
            return Ok(None);
        }
        Ok(Some(Documents { fleet: desk.offer(FLEET, 0)?, app: desk.offer(app.as_str(), 0)? }))
    });
    Ok(found.await?)
}
