//! The agent's half of errands: it asks the controller and hands on what comes, unread but for what is compressed, which
//! is expanded here (`expand`).

use std::{io, path::PathBuf};

use longshore_common::code::{Code, Coded};
use longshore_proto::v1 as pb;
use prost::Message;
use tokio::{
    io::AsyncReadExt,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};

use super::{
    VERSION, expand, frame,
    words::{Ask, Call, Ended, Errand},
};
use crate::{
    host::fetch::FetchError,
    supply::{Pieces, Source},
    uplink::Uplink,
};

/// Pieces between the connection, the thread that expands, and the helper.
const AHEAD: usize = 4;

/// To its end, or until nobody waits for it any more.
pub async fn run(socket: PathBuf, uplink: Uplink, ticket: u64, errand: Errand) {
    if let Err(error) = carry(socket, uplink, ticket, errand).await {
        tracing::debug!(ticket, "an errand for the helper ended early: {error}");
    }
}

async fn carry(socket: PathBuf, uplink: Uplink, ticket: u64, errand: Errand) -> io::Result<()> {
    let (mut from, mut to) = UnixStream::connect(socket).await?.into_split();
    frame::say(&mut to, &Call { version: VERSION, ask: Ask::Deliver { ticket } }).await?;
    tokio::select! {
        done = fulfil(&uplink, errand, &mut to) => done?,
        () = gone(&mut from) => return Ok(()),
    }
    // The helper ends it, when it has read everything.
    gone(&mut from).await;
    Ok(())
}

async fn fulfil(uplink: &Uplink, errand: Errand, to: &mut OwnedWriteHalf) -> io::Result<()> {
    let ended = match errand {
        Errand::Reach { reach } => Ended::Reached { problem: reach.here().await.err() },
        Errand::Online {} => {
            let away = || "the controller is away".to_owned();
            Ended::Reached { problem: (!uplink.is_connected()).then(away) }
        }
        errand => match bring(uplink, errand, to).await {
            Ok(()) => Ended::Brought {},
            Err(Stopped::Short(why)) => Ended::Failed(why.into()),
            Err(Stopped::Gone(error)) => return Err(error),
        },
    };
    frame::say(to, &ended).await
}

enum Stopped {
    Short(FetchError),
    /// Nobody takes it any more.
    Gone(io::Error),
}

impl From<FetchError> for Stopped {
    fn from(error: FetchError) -> Self {
        Stopped::Short(error)
    }
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Stopped::Gone(error)
    }
}

async fn bring(uplink: &Uplink, errand: Errand, to: &mut OwnedWriteHalf) -> Result<(), Stopped> {
    let channel = uplink.channel().await;
    let channel = channel.map_err(|closed| FetchError::Cut(Coded::new(Code::C01, closed.to_string())))?;
    let source = Source::from(channel);
    match errand {
        Errand::Trust { repository, roots_after } => {
            one(to, &source.trust(&repository, roots_after).await?).await
        }
        Errand::Manifest { app, release } => {
            let manifest = source.manifest(&app, &release).await?;
            one(to, &pb::ManifestReply { manifest }).await
        }
        Errand::Sealed { digest } => one(to, &pb::SealedReply { text: source.sealed(&digest).await? }).await,
        Errand::Index { app, release } => {
            expanded(to, source.index(&app, &release).await?, expand::index).await
        }
        Errand::Blocks { app, release, wanted } => {
            expanded(to, source.blocks(&app, &release, wanted).await?, expand::blocks).await
        }
        Errand::Reach { .. } | Errand::Online {} => unreachable!("asked of nobody but this host"),
    }
}

async fn one(to: &mut OwnedWriteHalf, message: &impl Message) -> Result<(), Stopped> {
    Ok(frame::pass(to, &message.encode_to_vec()).await?)
}

/// What comes goes through `expand`, on a thread of its own, and what comes of it goes on.
async fn expanded<T: Message + Default + 'static>(
    to: &mut OwnedWriteHalf,
    mut pieces: Pieces<T>,
    expand: impl FnOnce(mpsc::Receiver<T>, mpsc::Sender<T>) -> Result<(), Coded> + Send + 'static,
) -> Result<(), Stopped> {
    let (came, coming) = mpsc::channel(AHEAD);
    let (made, mut making) = mpsc::channel(AHEAD);
    let expanding = tokio::task::spawn_blocking(move || expand(coming, made));
    let taking = async move {
        while let Some(piece) = pieces.next().await? {
            if came.send(piece).await.is_err() {
                break; // why is what the thread says
            }
        }
        Ok::<(), FetchError>(())
    };
    let passing = async move {
        while let Some(piece) = making.recv().await {
            one(to, &piece).await?;
        }
        Ok::<(), Stopped>(())
    };
    let (taken, passed) = tokio::join!(taking, passing);
    let ended = expanding.await;
    passed?;
    // The connection's own words say more than that a frame was cut off.
    taken?;
    let ended =
        ended.map_err(|died| FetchError::Host(Coded::new(Code::X01, format!("expanding ended: {died}"))))?;
    Ok(ended.map_err(FetchError::Content)?)
}

/// Until the other side has closed. It says nothing on this connection but a refusal, after which it closes.
async fn gone(from: &mut OwnedReadHalf) {
    let mut said = [0; 512];
    while matches!(from.read(&mut said).await, Ok(read) if read > 0) {}
}
