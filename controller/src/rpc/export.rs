//! A release as an offline bundle: what hosts would ask for piece by piece, in one stream, with the documents that say
//! that it may run.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use longshore_common::{
    bundle::{
        Index,
        block::{Wanted, partition},
        limits,
    },
    code::{Code, Coded},
    ids::{AppName, Version},
    manifest::Manifest,
    offline::{Documents, Head, Writer},
    trust::FLEET,
    wire::to_status,
};
use longshore_proto::v1 as pb;
use tokio::sync::mpsc;
use tonic::Status;

use super::blobs::BLOCKS_AHEAD;
use crate::{
    access::Place,
    bundle::{BundleError, BundleStore, Purpose, Release, blocking},
    trouble::Trouble,
    trust::{TrustDesk, at_desk},
};

/// Who takes nothing for so long has gone, whatever the connection says.
pub(super) const STALL: Duration = Duration::from_secs(60);

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

    async fn send_all(&self, sender: &Sender, stall: Duration) -> Result<(), Ended> {
        let mut writer = Writer::begin(Vec::new(), &self.head).expect("a vector takes everything");
        pass_on(&mut writer, sender, stall).await?;
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
                pass_on(&mut writer, sender, stall).await?;
            }
        }
        drop(ready);
        let mut rest = writer.end().expect("a vector takes everything");
        send_bytes(std::mem::take(&mut rest), sender, stall).await
    }
}

/// Sends all of it, or what went wrong. Whoever takes nothing for as long as `stall` gives the place back, and hears of it
/// with what is taken next.
pub(super) async fn hand_out(place: Place, stall: Duration, export: Export, sender: Sender) {
    let ended = export.send_all(&sender, stall).await;
    drop((place, export));
    let why = match ended {
        Ok(()) | Err(Ended::Gone) => return,
        Err(Ended::Stalled) => stalled(stall),
        Err(Ended::Failed(error)) => {
            let failed = error.coded();
            tracing::error!(code = %failed.code, "an export failed: {}", failed.message);
            failed
        }
    };
    // For as long as whoever asked is there; by now it holds nothing but this.
    let _ = sender.send(Err(to_status(&why))).await;
}

fn stalled(stall: Duration) -> Coded {
    let seconds = stall.as_secs();
    let message = format!(
        "nothing of an export was taken for {seconds} s, so it was ended: longshore release export begins it again"
    );
    Coded::new(Code::C01, message)
}

enum Ended {
    /// Whoever asked went away.
    Gone,
    /// Whoever asked takes nothing any more.
    Stalled,
    Failed(BundleError),
}

impl From<BundleError> for Ended {
    fn from(error: BundleError) -> Self {
        Ended::Failed(error)
    }
}

async fn pass_on(writer: &mut Writer<Vec<u8>>, sender: &Sender, stall: Duration) -> Result<(), Ended> {
    send_bytes(std::mem::take(writer.out()), sender, stall).await
}

async fn send_bytes(bytes: Vec<u8>, sender: &Sender, stall: Duration) -> Result<(), Ended> {
    let bytes = Bytes::from(bytes);
    for start in (0..bytes.len()).step_by(limits::PIECE_BYTES) {
        let data = bytes.slice(start..bytes.len().min(start + limits::PIECE_BYTES));
        match tokio::time::timeout(stall, sender.send(Ok(pb::Piece { data }))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(Ended::Gone),
            Err(_) => return Err(Ended::Stalled),
        }
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

#[cfg(test)]
mod tests {
    use longshore_common::{ids::OperatorName, wire::from_status};

    use super::*;
    use crate::{access::Places, bundle::BLOCK_CACHE_BYTES};

    #[tokio::test]
    async fn an_export_of_which_nothing_is_taken_holds_no_place_for_long() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = BundleStore::open(dir.path(), BLOCK_CACHE_BYTES).unwrap();
        let head = Head { manifest: vec![b' '; 3 * limits::PIECE_BYTES], ..Head::default() };
        let export = Export { bundle, head, index: Arc::new(Index::new(vec![]).unwrap()) };
        let (places, ann) = (Places::new("exports", 1, 1), "ann".parse::<OperatorName>().unwrap());
        let (sender, mut taken) = mpsc::channel(1);
        let place = places.take(&ann).unwrap();
        let handing = tokio::spawn(hand_out(place, Duration::from_millis(5), export, sender));
        while places.take(&ann).is_err() {
            tokio::task::yield_now().await;
        }
        assert!(taken.recv().await.unwrap().is_ok(), "it waited there");
        let why = from_status(&taken.recv().await.expect("a word").unwrap_err());
        assert!(why.code == Code::C01 && why.message.contains("nothing of an export was taken"), "{why}");
        assert!(taken.recv().await.is_none());
        handing.await.unwrap();
    }
}
