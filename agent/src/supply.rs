//! Where what this host lacks comes from: the controller over this process's own connection, or, where this process has
//! no network, the agent's, which is sent on errands (`helper::Courier`).
//!
//! Nothing that comes is believed; whoever asked verifies it.

use std::time::Duration;

use bytes::Bytes;
use longshore_common::{
    bundle::frame::Form,
    digest::{ReleaseDigest, SealedDigest},
    ids::AppName,
};
use longshore_proto::v1::{self as pb, blobs_client::BlobsClient};
use prost::Message;
use tokio::time::timeout;
use tonic::{Streaming, transport::Channel};

use crate::{
    helper::{Courier, Cut, Errand, Inflow},
    host::{
        fetch::{FetchError, silent},
        probe::Reach,
    },
    identity::PLAIN_BYTES,
    uplink::{Closed, Uplink},
};

/// A controller that takes longer for an answer, or for the next piece of an index, has gone.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// The controller may be making a block; longer than this it has gone.
const PIECE_DEADLINE: Duration = Duration::from_secs(120);
/// Of one sealed secret: a ciphertext and what is around it.
const SEALED_BYTES: usize = PLAIN_BYTES + 4096;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub enum Supply {
    Uplink(Uplink),
    Courier(Courier),
}

impl From<Uplink> for Supply {
    fn from(uplink: Uplink) -> Self {
        Supply::Uplink(uplink)
    }
}

impl From<Courier> for Supply {
    fn from(courier: Courier) -> Self {
        Supply::Courier(courier)
    }
}

impl Supply {
    /// Waits while the controller is away; the caller's deadline bounds the wait. A courier waits on its errands.
    pub async fn open(&self) -> Result<Source, Closed> {
        match self {
            Supply::Uplink(uplink) => uplink.channel().await.map(Source::Channel),
            Supply::Courier(courier) => Ok(Source::Courier(courier.clone())),
        }
    }

    /// How a bundle comes: from an agent without privileges, expanded.
    pub fn form(&self) -> Form {
        match self {
            Supply::Uplink(_) => Form::Framed,
            Supply::Courier(_) => Form::Plain,
        }
    }

    /// Whether the controller is there.
    pub async fn is_connected(&self) -> bool {
        match self {
            Supply::Uplink(uplink) => uplink.is_connected(),
            Supply::Courier(courier) => courier.is_online().await,
        }
    }

    /// Whether something on this host's network answers. The error is one short sentence.
    pub async fn reach(&self, wanted: Reach) -> Result<(), String> {
        match self {
            Supply::Uplink(_) => wanted.here().await,
            Supply::Courier(courier) => courier.reach(wanted).await,
        }
    }
}

/// One way to the controller, for one piece of work.
#[derive(Clone, Debug)]
pub enum Source {
    Channel(Channel),
    Courier(Courier),
}

impl From<Channel> for Source {
    fn from(channel: Channel) -> Self {
        Source::Channel(channel)
    }
}

impl From<Courier> for Source {
    fn from(courier: Courier) -> Self {
        Source::Courier(courier)
    }
}

impl Source {
    /// How index and blocks come by it.
    pub fn form(&self) -> Form {
        match self {
            Source::Channel(_) => Form::Framed,
            Source::Courier(_) => Form::Plain,
        }
    }

    /// Signed documents of a repository, roots after this version among them.
    pub async fn trust(&self, repository: &str, roots_after: u64) -> Result<pb::TrustDocuments, FetchError> {
        let app = repository.to_owned();
        match self {
            Source::Channel(channel) => {
                let request = pb::TrustRequest { app, roots_after };
                answer(BlobsClient::new(channel.clone()).trust(request)).await
            }
            Source::Courier(courier) => courier.one(Errand::Trust { repository: app, roots_after }).await,
        }
    }

    pub async fn manifest(&self, app: &AppName, release: &ReleaseDigest) -> Result<Bytes, FetchError> {
        let reply: pb::ManifestReply = match self {
            Source::Channel(channel) => {
                let request =
                    pb::ManifestRequest { app: app.to_string(), release: release.0.to_vec().into() };
                answer(BlobsClient::new(channel.clone()).manifest(request)).await?
            }
            Source::Courier(courier) => {
                courier.one(Errand::Manifest { app: app.clone(), release: *release }).await?
            }
        };
        Ok(reply.manifest)
    }

    pub async fn index(
        &self,
        app: &AppName,
        release: &ReleaseDigest,
    ) -> Result<Coming<pb::Piece>, FetchError> {
        match self {
            Source::Channel(channel) => index(channel.clone(), app, release).await.map(Coming::Pieces),
            Source::Courier(courier) => {
                let errand = Errand::Index { app: app.clone(), release: *release };
                courier.flow(errand).await.map(|(flow, cut)| Coming::Flow(flow, cut))
            }
        }
    }

    /// `wanted`: a bitmap over the blobs of the release's index.
    pub async fn blocks(
        &self,
        app: &AppName,
        release: &ReleaseDigest,
        wanted: Vec<u8>,
    ) -> Result<Coming<pb::BlockPiece>, FetchError> {
        match self {
            Source::Channel(channel) => {
                blocks(channel.clone(), app, release, wanted).await.map(Coming::Pieces)
            }
            Source::Courier(courier) => {
                let errand = Errand::Blocks { app: app.clone(), release: *release, wanted };
                courier.flow(errand).await.map(|(flow, cut)| Coming::Flow(flow, cut))
            }
        }
    }

    /// What was encrypted for this host.
    pub async fn sealed(&self, digest: &SealedDigest) -> Result<Bytes, FetchError> {
        let reply: pb::SealedReply = match self {
            Source::Channel(channel) => {
                let request = pb::SealedRequest { digest: digest.as_bytes().to_vec().into() };
                let client = BlobsClient::new(channel.clone());
                answer(client.max_decoding_message_size(SEALED_BYTES).sealed(request)).await?
            }
            Source::Courier(courier) => courier.one(Errand::Sealed { digest: *digest }).await?,
        };
        Ok(reply.text)
    }
}

/// Within its deadline.
async fn answer<T>(
    asked: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, FetchError> {
    let reply = timeout(ANSWER_DEADLINE, asked).await.map_err(|_| silent())?;
    Ok(reply?.into_inner())
}

pub(crate) async fn index(
    channel: Channel,
    app: &AppName,
    release: &ReleaseDigest,
) -> Result<Pieces<pb::Piece>, FetchError> {
    let request = pb::IndexRequest { app: app.to_string(), release: release.0.to_vec().into() };
    let pieces = answer(BlobsClient::new(channel).index(request)).await?;
    Ok(Pieces(Box::new(pieces), ANSWER_DEADLINE))
}

pub(crate) async fn blocks(
    channel: Channel,
    app: &AppName,
    release: &ReleaseDigest,
    wanted: Vec<u8>,
) -> Result<Pieces<pb::BlockPiece>, FetchError> {
    let request =
        pb::FetchRequest { app: app.to_string(), release: release.0.to_vec().into(), wanted: wanted.into() };
    let reply = timeout(PIECE_DEADLINE, BlobsClient::new(channel).fetch(request)).await;
    Ok(Pieces(Box::new(reply.map_err(|_| silent())??.into_inner()), PIECE_DEADLINE))
}

/// How content comes: framed in messages of the controller, or as it is, for a thread that may block, as long as the
/// `Cut` is held.
#[derive(Debug)]
pub enum Coming<T> {
    Pieces(Pieces<T>),
    Flow(Inflow, Cut),
}

/// What comes one after the other, with how long one may take.
#[derive(Debug)]
pub struct Pieces<T>(Box<Streaming<T>>, Duration);

impl<T: Message + Default> Pieces<T> {
    /// None: that was all.
    pub async fn next(&mut self) -> Result<Option<T>, FetchError> {
        Ok(timeout(self.1, self.0.message()).await.map_err(|_| silent())??)
    }
}
