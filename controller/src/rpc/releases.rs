//! What publishers and operators do with releases. The rules are in `publish.rs`; here they meet the wire.

use std::{collections::BTreeMap, sync::Arc};

use longshore_common::{
    assignment::{Assignment, Intent},
    bundle::{frame::FrameReader, limits},
    code::{Code, Coded},
    digest::{BlobDigest, ContentDigest},
    ids::{AppName, OperatorName, Version},
    manifest::Manifest,
    time::Clock,
    wire::{parse, to_status},
};
use longshore_proto::v1::{
    self as pb,
    releases_server::{Releases, ReleasesServer},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    about::About,
    admitted_about,
    export::{self, Export},
    operator,
    scope::Act,
    trust_words, upload,
};
use crate::{
    access::{Place, Places},
    bundle::{self, BundleStore, Offered, Published, Publisher, Release, blocking},
    engine::states,
    identity::Door,
    store::{Prefix, SharedStore, record},
    trouble::Trouble,
    trust::{Asked, TrustDesk, at_desk},
};

/// Acknowledgements of an upload that wait for a slow publisher.
const ANSWERS_AHEAD: usize = 4;
/// Damaged files that an answer names.
const DAMAGED_NAMED: usize = 100;
/// Calls at a time that read an artifact to its end, and of one operator. Each has a thread of the 512 that all that blocks
/// has, or holds an index of up to 32 MiB for as long as its caller takes pieces; whoever may look may call them.
const WHOLE: usize = 8;
const WHOLE_OF_ONE: usize = 3;

/// The `Releases` service.
#[derive(Clone)]
pub struct ReleasesService {
    pub store: SharedStore,
    pub bundle: Arc<BundleStore>,
    pub trust: Arc<TrustDesk>,
    pub clock: Arc<dyn Clock>,
    pub door: Door,
    /// [`ReleasesService::places`]
    pub whole: Places,
}

impl ReleasesService {
    /// For calls that read an artifact to its end.
    pub fn places() -> Places {
        Places::new("artifacts are being read whole", WHOLE, WHOLE_OF_ONE)
    }

    /// With room for the index of the largest artifact.
    pub fn into_server(self) -> ReleasesServer<Self> {
        ReleasesServer::new(self).max_decoding_message_size(limits::PUBLISH_BYTES)
    }

    async fn operator<T: Act>(&self, request: &Request<T>) -> Result<OperatorName, Status> {
        operator(&self.door, request).await
    }

    fn publisher(&self) -> Publisher {
        let Self { store, bundle, clock, .. } = self.clone();
        Publisher { store, bundle, clock }
    }

    async fn find_missing(&self, blobs: &[bytes::Bytes]) -> Result<Vec<BlobDigest>, Trouble> {
        if blobs.len() > limits::MISSING_DIGESTS {
            let message = format!("{} digests in one call; at most {}", blobs.len(), limits::MISSING_DIGESTS);
            return Err(Trouble::refused(Code::V01, message));
        }
        let digests =
            blobs.iter().map(|blob| BlobDigest::try_from(&blob[..])).collect::<Result<Vec<_>, Coded>>()?;
        let bundle = Arc::clone(&self.bundle);
        Ok(blocking(move || bundle.blobs.missing(&digests)).await?)
    }

    async fn load(&self, app: &str, version: &str) -> Result<Release, Trouble> {
        let (app, version) = name(app, version)?;
        match bundle::load(&*self.store, &app, &version).await? {
            Some((release, _)) => Ok(release),
            None => Err(bundle::unknown(&app, &version)),
        }
    }

    async fn show_one(&self, app: &str, version: &str) -> Result<pb::ShowReleaseReply, Trouble> {
        let release = self.load(app, version).await?;
        let (bundle, digest) = (Arc::clone(&self.bundle), release.digest);
        let manifest = blocking(move || bundle.named.manifest(&digest)).await?;
        let live = self.on_hosts(&release).await?;
        let release = self.with_signing(vec![release]).await?.pop();
        Ok(pb::ShowReleaseReply { release, manifest: manifest.into(), live })
    }

    /// As messages, in the same order, with how each stands with those who sign.
    async fn with_signing(&self, releases: Vec<Release>) -> Result<Vec<pb::Release>, Coded> {
        at_desk(&self.trust, move |desk| {
            let mut by_app = BTreeMap::<&AppName, Vec<usize>>::new();
            for (at, release) in releases.iter().enumerate() {
                by_app.entry(&release.app).or_default().push(at);
            }
            let mut messages: Vec<pb::Release> =
                releases.iter().map(|release| message(release, false)).collect();
            for (app, places) in by_app {
                let asked: Vec<Asked> = places.iter().map(|at| asked(&releases[*at])).collect();
                // What is damaged is told by `trust status`; releases are listed all the same.
                let Ok(signed) = desk.signed(app, &asked) else { continue };
                for (at, signed) in places.into_iter().zip(signed) {
                    messages[at].signing = Some(trust_words::signing(signed));
                }
            }
            Ok(messages)
        })
        .await
    }

    /// How many hosts run it, by their last reports, and by the environment for which they do.
    async fn on_hosts(&self, release: &Release) -> Result<Vec<pb::ReleaseOnHosts>, Trouble> {
        let mut counts = BTreeMap::<String, u32>::new();
        for entry in self.store.list(&Prefix::assignments()).await?.entries {
            let Assignment { host, app, env, intent, .. } = record::decode_entry(&entry)?;
            if app != release.app || intent == Intent::Direct {
                continue;
            }
            let (state, _) = states::known(&self.store, &host, &app).await?;
            if state.is_some_and(|state| state.as_seen(app).release == release.digest.hex()) {
                *counts.entry(env.to_string()).or_default() += 1;
            }
        }
        Ok(counts.into_iter().map(|(env, hosts)| pb::ReleaseOnHosts { env, hosts }).collect())
    }

    /// One that the release's manifest names, and no other file.
    async fn read_attestation(&self, app: &str, version: &str, sha256: &[u8]) -> Result<Vec<u8>, Trouble> {
        let release = self.load(app, version).await?;
        let wanted = ContentDigest::try_from(sha256)?;
        let bundle = Arc::clone(&self.bundle);
        let name = format!("{}@{}", release.app, release.version);
        let read = blocking(move || {
            let manifest = Manifest::from_bytes(&bundle.named.manifest(&release.digest)?)?;
            if !manifest.attestations.iter().any(|named| named.sha256 == wanted) {
                let message = format!("nothing with the sha256 {} is attested of {name}", wanted.short());
                return Err(Coded::new(Code::N01, message).into());
            }
            bundle.named.attestation(&wanted)
        });
        Ok(read.await?)
    }

    async fn verify_one(&self, app: &str, version: &str, place: Place) -> Result<pb::VerifyReply, Trouble> {
        let release = self.load(app, version).await?;
        let bundle = Arc::clone(&self.bundle);
        let reply = blocking(move || {
            let _place = place; // for as long as the thread is taken, also when the caller has gone
            let index = bundle.named.index(&release.index)?;
            let manifest = Manifest::from_bytes(&bundle.named.manifest(&release.digest)?)?;
            let mut reader = FrameReader::new().map_err(|e| Coded::new(Code::X01, format!("zstd: {e}")))?;
            let mut reply = pb::VerifyReply::default();
            for blob in index.blobs() {
                reply.blobs += 1;
                reply.bytes += blob.size;
                if !bundle.blobs.verify(&mut reader, blob)? && reply.damaged.len() < DAMAGED_NAMED {
                    let path = index.entries().iter().find(|entry| entry.blob() == Some(blob));
                    reply.damaged.extend(path.map(|entry| entry.path.clone()));
                }
            }
            for named in &manifest.attestations {
                if bundle.named.attestation(&named.sha256).is_err() {
                    reply.damaged.push(format!("its {} ({})", named.kind, named.sha256.short()));
                }
            }
            Ok(reply)
        })
        .await?;
        Ok(reply)
    }
}

#[tonic::async_trait]
impl Releases for ReleasesService {
    async fn missing(
        &self,
        request: Request<pb::MissingRequest>,
    ) -> Result<Response<pb::MissingReply>, Status> {
        self.operator(&request).await?;
        let missing = self.find_missing(&request.get_ref().blobs).await.map_err(status)?;
        let blobs = missing.into_iter().map(|digest| digest.0.to_vec().into()).collect();
        Ok(Response::new(pb::MissingReply { blobs }))
    }

    type UploadStream = ReceiverStream<Result<pb::UploadProgress, Status>>;

    async fn upload(
        &self,
        request: Request<Streaming<pb::UploadPiece>>,
    ) -> Result<Response<Self::UploadStream>, Status> {
        let by = self.operator(&request).await?;
        let (sender, receiver) = mpsc::channel(ANSWERS_AHEAD);
        upload::receive(by, Arc::clone(&self.bundle), request.into_inner(), sender);
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn publish(&self, request: Request<pb::PublishRequest>) -> Result<Response<pb::Release>, Status> {
        let admission = admitted_about(&self.door, &request, named(&request.get_ref().manifest)).await?;
        let pb::PublishRequest { manifest, index, attestations } = request.into_inner();
        let attestations = attestations.into_iter().map(Into::into).collect();
        let offered = Offered { manifest: manifest.into(), index_frame: index.into(), attestations };
        let published = self.publisher().publish(admission.name(), offered).await;
        let Published { release, created } = published.map_err(status)?;
        Ok(Response::new(message(&release, created)))
    }

    async fn list(
        &self,
        request: Request<pb::ListReleasesRequest>,
    ) -> Result<Response<pb::ListReleasesReply>, Status> {
        self.operator(&request).await?;
        let app = match request.get_ref().app.as_str() {
            "" => None,
            app => Some(parse::<AppName>("app", app).map_err(|e| to_status(&e.into()))?),
        };
        let releases = bundle::list(&*self.store, app.as_ref()).await.map_err(status)?;
        let releases = self.with_signing(releases).await.map_err(|why| status(why.into()))?;
        Ok(Response::new(pb::ListReleasesReply { releases }))
    }

    async fn show(
        &self,
        request: Request<pb::ShowReleaseRequest>,
    ) -> Result<Response<pb::ShowReleaseReply>, Status> {
        self.operator(&request).await?;
        let pb::ShowReleaseRequest { app, version } = request.get_ref();
        self.show_one(app, version).await.map(Response::new).map_err(status)
    }

    async fn withdraw(
        &self,
        request: Request<pb::WithdrawReleaseRequest>,
    ) -> Result<Response<pb::Release>, Status> {
        let by = self.operator(&request).await?;
        let pb::WithdrawReleaseRequest { app, version, reason } = request.get_ref();
        let (app, version) = name(app, version).map_err(|e| to_status(&e))?;
        let release = self.publisher().withdraw(&by, &app, &version, reason).await.map_err(status)?;
        Ok(Response::new(message(&release, false)))
    }

    async fn verify(
        &self,
        request: Request<pb::ShowReleaseRequest>,
    ) -> Result<Response<pb::VerifyReply>, Status> {
        let by = self.operator(&request).await?;
        let place = self.whole.take(&by).map_err(|why| to_status(&why))?;
        let pb::ShowReleaseRequest { app, version } = request.get_ref();
        self.verify_one(app, version, place).await.map(Response::new).map_err(status)
    }

    type ExportStream = ReceiverStream<Result<pb::Piece, Status>>;

    async fn export(
        &self,
        request: Request<pb::ShowReleaseRequest>,
    ) -> Result<Response<Self::ExportStream>, Status> {
        let by = self.operator(&request).await?;
        let place = self.whole.take(&by).map_err(|why| to_status(&why))?;
        let pb::ShowReleaseRequest { app, version } = request.get_ref();
        let release = self.load(app, version).await.map_err(status)?;
        let export = Export::prepare(Arc::clone(&self.bundle), &self.trust, &release).await;
        let export = export.map_err(status)?;
        let (sender, receiver) = mpsc::channel(ANSWERS_AHEAD);
        tokio::spawn(export::hand_out(place, export::STALL, export, sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    type AttestationStream = ReceiverStream<Result<pb::Piece, Status>>;

    async fn attestation(
        &self,
        request: Request<pb::AttestationRequest>,
    ) -> Result<Response<Self::AttestationStream>, Status> {
        self.operator(&request).await?;
        let pb::AttestationRequest { app, version, sha256 } = request.get_ref();
        self.read_attestation(app, version, sha256).await.map(pieces).map(Response::new).map_err(status)
    }
}

/// A file in pieces, for whoever reads them.
fn pieces(bytes: Vec<u8>) -> ReceiverStream<Result<pb::Piece, Status>> {
    let bytes = bytes::Bytes::from(bytes);
    let (sender, receiver) = mpsc::channel(ANSWERS_AHEAD);
    tokio::spawn(async move {
        for start in (0..bytes.len()).step_by(limits::PIECE_BYTES) {
            let data = bytes.slice(start..bytes.len().min(start + limits::PIECE_BYTES));
            if sender.send(Ok(pb::Piece { data })).await.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(receiver)
}

/// Whose release a manifest says it is. What does not read is refused by the publisher, in better words.
fn named(manifest: &[u8]) -> Option<About> {
    #[derive(serde::Deserialize)]
    struct Named {
        app: AppName,
        version: Version,
    }
    let named = serde_json::from_slice::<Named>(manifest).ok()?;
    Some(About::release(&named.app, &named.version))
}

fn name(app: &str, version: &str) -> Result<(AppName, Version), Coded> {
    Ok((parse("app", app)?, parse("version", version)?))
}

fn asked(release: &Release) -> Asked {
    let Release { version, digest, withdrawn, .. } = release;
    Asked { version: version.clone(), release: *digest, withdrawn: withdrawn.is_some() }
}

fn message(release: &Release, created: bool) -> pb::Release {
    let Release {
        app,
        version,
        digest,
        index: _,
        published_ms,
        published_by,
        files,
        bytes,
        wire_bytes,
        withdrawn,
    } = release.clone();
    pb::Release {
        app: app.into(),
        version: version.into(),
        digest: digest.hex(),
        published_ms,
        published_by,
        files,
        bytes,
        wire_bytes,
        withdrawn: withdrawn.is_some(),
        withdrawn_reason: withdrawn.map(|withdrawal| withdrawal.reason).unwrap_or_default(),
        created,
        signing: None,
    }
}

fn status(trouble: Trouble) -> Status {
    to_status(&trouble.coded())
}
