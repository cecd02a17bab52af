//! What hosts read: the manifest, the index and the blocks of what is assigned to them, and of nothing else.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{StreamExt as _, stream};
use longshore_common::{
    assignment::Assignment,
    bundle::{
        Index,
        block::{Block, Wanted, partition},
        limits,
    },
    code::{Code, Coded},
    digest::{ReleaseDigest, SealedDigest},
    ids::{AppName, HostId},
    trust::FLEET,
    wire::{parse, to_status},
};
use longshore_proto::v1::{self as pb, blobs_server::Blobs};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::{
    bundle::{self, BundleError, BundleStore, Purpose, Release, blocking},
    identity::Door,
    sealed,
    store::{Key, SharedStore, record},
    trouble::Trouble,
    trust::{TrustDesk, at_desk},
};

/// Pieces that wait for a slow host, beyond what the connection holds.
const PIECES_AHEAD: usize = 2;
/// Blocks of a transfer that are made or opened while the one before is sent.
pub(super) const BLOCKS_AHEAD: usize = 2;
/// A host that takes nothing for so long has gone, whatever its connection says.
const STALLED: Duration = Duration::from_secs(120);

/// The `Blobs` service.
#[derive(Clone)]
pub struct BlobsService {
    pub store: SharedStore,
    pub bundle: Arc<BundleStore>,
    pub trust: Arc<TrustDesk>,
    pub door: Door,
}

/// Of one release, asked for by one host.
struct Asked {
    host: HostId,
    app: AppName,
    release: ReleaseDigest,
}

impl BlobsService {
    async fn asked<T>(&self, request: &Request<T>, app: &str, release: &[u8]) -> Result<Asked, Trouble> {
        let agent = self.door.agent(request.extensions()).await?;
        let app = parse("app", app).map_err(Coded::from)?;
        Ok(Asked { host: agent.host.id, app, release: ReleaseDigest::try_from(release)? })
    }

    /// The fleet's documents are for every host, an app's for those that it is assigned to.
    async fn asked_trust<T>(&self, request: &Request<T>, app: &str) -> Result<AppName, Trouble> {
        let agent = self.door.agent(request.extensions()).await?;
        let app: AppName = parse("app", app).map_err(Coded::from)?;
        let assigned = self.store.get(&Key::assignment(&agent.host.id, &app)).await?.is_some();
        if app.as_str() == FLEET || assigned {
            return Ok(app);
        }
        Err(Trouble::refused(Code::C02, format!("{app} is not assigned to this host")))
    }

    /// The release, if it is what the host is to run.
    async fn release(&self, asked: &Asked) -> Result<Release, Trouble> {
        let Asked { host, app, release } = asked;
        let refused = || {
            let message = format!("release {} of {app} is not assigned to this host", release.short());
            Trouble::refused(Code::C02, message)
        };
        let entry = self.store.get(&Key::assignment(host, app)).await?.ok_or_else(refused)?;
        let assignment: Assignment = record::decode_entry(&entry)?;
        if assignment.release != *release {
            return Err(refused());
        }
        match bundle::load(&*self.store, app, &assignment.version).await? {
            Some((found, _)) if found.digest == *release => Ok(found),
            _ => Err(Trouble::refused(
                Code::N01,
                format!(
                    "release {app}@{} ({}) is not on this controller",
                    assignment.version,
                    release.short()
                ),
            )),
        }
    }

    async fn read_manifest(&self, asked: Asked) -> Result<Vec<u8>, Trouble> {
        let release = self.release(&asked).await?;
        let bundle = Arc::clone(&self.bundle);
        Ok(blocking(move || bundle.named.manifest(&release.digest)).await?)
    }

    async fn read_index(&self, asked: Asked) -> Result<Vec<u8>, Trouble> {
        let release = self.release(&asked).await?;
        let bundle = Arc::clone(&self.bundle);
        Ok(blocking(move || bundle.named.index_frame(&release.index)).await?)
    }

    /// Of the caller alone: what was sealed for others is of no use to it, and is not told.
    async fn read_sealed(&self, request: &Request<pb::SealedRequest>) -> Result<Vec<u8>, Trouble> {
        let agent = self.door.agent(request.extensions()).await?;
        let digest = SealedDigest::try_from(request.get_ref().digest.as_ref())?;
        let row = sealed::row(&self.store, &digest, &agent.host.id).await?.ok_or_else(|| {
            let name = &agent.host.name;
            Trouble::refused(Code::N01, format!("nothing was sealed for {name} under {}", digest.short()))
        })?;
        let damaged =
            |_| Coded::new(Code::S02, format!("what was sealed under {} is damaged", digest.short()));
        Ok(STANDARD.decode(row.text).map_err(damaged)?)
    }

    async fn plan(&self, asked: Asked, wanted: &[u8]) -> Result<(Arc<Index>, Vec<Block>), Trouble> {
        let release = self.release(&asked).await?;
        let bundle = Arc::clone(&self.bundle);
        let index = blocking(move || bundle.named.index(&release.index)).await?;
        let wanted = Wanted::from_bitmap(wanted, index.blobs().len())?;
        let blocks = partition(index.blobs(), &wanted);
        Ok((index, blocks))
    }
}

#[tonic::async_trait]
impl Blobs for BlobsService {
    async fn manifest(
        &self,
        request: Request<pb::ManifestRequest>,
    ) -> Result<Response<pb::ManifestReply>, Status> {
        let pb::ManifestRequest { app, release } = request.get_ref();
        let asked = self.asked(&request, app, release).await.map_err(status)?;
        let manifest = self.read_manifest(asked).await.map_err(status)?.into();
        Ok(Response::new(pb::ManifestReply { manifest }))
    }

    type IndexStream = ReceiverStream<Result<pb::Piece, Status>>;

    async fn sealed(&self, request: Request<pb::SealedRequest>) -> Result<Response<pb::SealedReply>, Status> {
        let text = self.read_sealed(&request).await.map_err(status)?;
        Ok(Response::new(pb::SealedReply { text: text.into() }))
    }

    async fn index(&self, request: Request<pb::IndexRequest>) -> Result<Response<Self::IndexStream>, Status> {
        let pb::IndexRequest { app, release } = request.get_ref();
        let asked = self.asked(&request, app, release).await.map_err(status)?;
        let frame = bytes::Bytes::from(self.read_index(asked).await.map_err(status)?);
        let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
        tokio::spawn(async move {
            for start in (0..frame.len()).step_by(limits::PIECE_BYTES) {
                let data = frame.slice(start..frame.len().min(start + limits::PIECE_BYTES));
                if send(&sender, Ok(pb::Piece { data })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn trust(
        &self,
        request: Request<pb::TrustRequest>,
    ) -> Result<Response<pb::TrustDocuments>, Status> {
        let pb::TrustRequest { app, roots_after } = request.get_ref();
        let (app, after) = (self.asked_trust(&request, app).await.map_err(status)?, *roots_after);
        let offer = at_desk(&self.trust, move |desk| desk.offer(app.as_str(), after)).await;
        Ok(Response::new(offer.map_err(|e| to_status(&e))?.into()))
    }

    type FetchStream = ReceiverStream<Result<pb::BlockPiece, Status>>;

    async fn fetch(&self, request: Request<pb::FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        let pb::FetchRequest { app, release, wanted } = request.get_ref();
        let asked = self.asked(&request, app, release).await.map_err(status)?;
        let (index, blocks) = self.plan(asked, wanted).await.map_err(status)?;
        let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
        let bundle = Arc::clone(&self.bundle);
        tokio::spawn(async move {
            let failed = match send_blocks(&bundle, &index, blocks, &sender).await {
                Ok(()) | Err(Ended::Gone) => return,
                Err(Ended::Failed(error)) => error.coded(),
            };
            tracing::error!(code = %failed.code, "a transfer failed: {}", failed.message);
            // Whoever is gone by now does not need to hear it.
            let _ = send(&sender, Err(to_status(&failed))).await;
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Why a transfer stopped early.
enum Ended {
    /// The host went away, or takes nothing any more.
    Gone,
    Failed(BundleError),
}

async fn send_blocks(
    bundle: &Arc<BundleStore>,
    index: &Arc<Index>,
    blocks: Vec<Block>,
    sender: &mpsc::Sender<Result<pb::BlockPiece, Status>>,
) -> Result<(), Ended> {
    let mut ready = stream::iter(blocks)
        .map(|block| async move {
            let file = bundle.block(index, &block, Purpose::Demand).await?;
            Ok::<_, BundleError>((block, file))
        })
        .buffered(BLOCKS_AHEAD);
    while let Some(next) = ready.next().await {
        let (block, mut file) = next.map_err(Ended::Failed)?;
        let Block { numbers: blobs, content_bytes } = block;
        let mut head = Some(pb::BlockHead { blobs, content_bytes, wire_bytes: file.wire_bytes });
        loop {
            let (back, read) = blocking(move || {
                let read = file.piece()?;
                Ok((file, read))
            })
            .await
            .map_err(Ended::Failed)?;
            file = back;
            if read.is_empty() {
                break;
            }
            let piece = pb::BlockPiece { head: head.take(), data: read };
            send(sender, Ok(piece)).await.map_err(|Gone| Ended::Gone)?;
        }
    }
    Ok(())
}

struct Gone;

async fn send<T>(sender: &mpsc::Sender<Result<T, Status>>, message: Result<T, Status>) -> Result<(), Gone> {
    match tokio::time::timeout(STALLED, sender.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Gone),
    }
}

fn status(trouble: Trouble) -> Status {
    to_status(&trouble.coded())
}
