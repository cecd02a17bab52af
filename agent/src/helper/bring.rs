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
use tonic::transport::Channel;

use super::{
    VERSION,
    expand::{self, Arrived, Arriving, Stopped},
    flow::Outflow,
    frame,
    words::{Ask, Call, Ended, Errand},
};
use crate::{
    host::{fetch::FetchError, sys::give_back_memory},
    supply::{self, Pieces, Source},
    uplink::Uplink,
};

/// Pieces between the connection and the thread that expands.
const AHEAD: usize = 4;

/// To its end, or until nobody waits for it any more.
pub async fn run(socket: PathBuf, uplink: Uplink, ticket: u64, errand: Errand) {
    if let Err(error) = carry(socket, uplink, ticket, errand).await {
        tracing::debug!(ticket, "an errand for the helper ended early: {error}");
    }
}

async fn carry(socket: PathBuf, uplink: Uplink, ticket: u64, errand: Errand) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket).await?;
    frame::say(&mut stream, &Call { version: VERSION, ask: Ask::Deliver { ticket } }).await?;
    match errand {
        Errand::Index { app, release } => {
            let asked = async { supply::index(channel(&uplink).await?, &app, &release).await };
            flow(stream, asked, expand::index).await
        }
        Errand::Blocks { app, release, wanted } => {
            let asked = async { supply::blocks(channel(&uplink).await?, &app, &release, wanted).await };
            flow(stream, asked, expand::blocks).await
        }
        errand => {
            let (mut from, mut to) = stream.into_split();
            tokio::select! {
                done = fulfil(&uplink, errand, &mut to) => done?,
                () = gone(&mut from) => return Ok(()),
            }
            // The helper ends it, when it has read everything.
            gone(&mut from).await;
            Ok(())
        }
    }
}

async fn fulfil(uplink: &Uplink, errand: Errand, to: &mut OwnedWriteHalf) -> io::Result<()> {
    let ended = match errand {
        Errand::Reach { reach } => Ended::Reached { problem: reach.here().await.err() },
        Errand::Online {} => {
            let away = || "the controller is away".to_owned();
            Ended::Reached { problem: (!uplink.is_connected()).then(away) }
        }
        errand => match ask(uplink, errand).await {
            Ok(message) => {
                frame::pass(to, &message).await?;
                Ended::Brought {}
            }
            Err(why) => Ended::Failed(why.into()),
        },
    };
    frame::say(to, &ended).await
}

/// For what comes in one message.
async fn ask(uplink: &Uplink, errand: Errand) -> Result<Vec<u8>, FetchError> {
    let source = Source::from(channel(uplink).await?);
    Ok(match errand {
        Errand::Trust { repository, roots_after } => {
            source.trust(&repository, roots_after).await?.encode_to_vec()
        }
        Errand::Manifest { app, release } => {
            let manifest = source.manifest(&app, &release).await?;
            pb::ManifestReply { manifest }.encode_to_vec()
        }
        Errand::Sealed { digest } => pb::SealedReply { text: source.sealed(&digest).await? }.encode_to_vec(),
        Errand::Index { .. } | Errand::Blocks { .. } => unreachable!("they flow"),
        Errand::Reach { .. } | Errand::Online {} => unreachable!("asked of nobody but this host"),
    })
}

async fn channel(uplink: &Uplink) -> Result<Channel, FetchError> {
    let channel = uplink.channel().await;
    channel.map_err(|closed| FetchError::Cut(Coded::new(Code::C01, closed.to_string())))
}

/// What is asked for goes through `expand`, on a thread that hands on what comes of it, and how it ended.
async fn flow<T: Message + Default + 'static>(
    stream: UnixStream,
    asked: impl Future<Output = Result<Pieces<T>, FetchError>>,
    expand: impl FnOnce(Arriving<T>, &mut Outflow) -> Result<(), Stopped> + Send + 'static,
) -> io::Result<()> {
    let (mut to, watch) = Outflow::of(stream)?;
    let (came, coming) = Arriving::channel(AHEAD);
    let expanding = tokio::task::spawn_blocking(move || {
        let ended = match expand(coming, &mut to) {
            Ok(()) => Ended::Brought {},
            Err(Stopped::Short(why)) => Ended::Failed(why.into()),
            Err(Stopped::Gone(error)) => return Err(error),
        };
        give_back_memory();
        to.end(&ended)
    });
    let taking = async {
        let last = match pass(asked, &came).await {
            Ok(()) => Arrived::All,
            Err(why) => Arrived::Short(why),
        };
        // Where the thread has ended already, it has said why.
        let _ = came.send(last).await;
        expanding.await.map_err(io::Error::other)?
    };
    tokio::select! {
        done = taking => done?,
        () = watch.gone() => return Ok(()),
    }
    // The helper ends it, when it has read everything.
    watch.gone().await;
    Ok(())
}

/// Until all has come, or the thread wants no more.
async fn pass<T: Message + Default + 'static>(
    asked: impl Future<Output = Result<Pieces<T>, FetchError>>,
    came: &mpsc::Sender<Arrived<T>>,
) -> Result<(), FetchError> {
    let mut pieces = asked.await?;
    while let Some(piece) = pieces.next().await? {
        if came.send(Arrived::Piece(piece)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Until the other side has closed. It says nothing on this connection but a refusal, after which it closes.
async fn gone(from: &mut OwnedReadHalf) {
    let mut said = [0; 512];
    while matches!(from.read(&mut said).await, Ok(read) if read > 0) {}
}
