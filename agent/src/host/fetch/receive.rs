//! One transfer: pieces off the connection, through a short queue, into the tree.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use bytes::Bytes;
use longshore_common::{
    bundle::{block::partition, split::Splitter},
    code::{Code, Coded},
    digest::BlobDigest,
};
use longshore_proto::v1::{self as pb, blobs_client::BlobsClient};
use tokio::{sync::mpsc, time::timeout};
use tonic::transport::Channel;

use super::{FetchError, Place, Round, error::silent};
use crate::host::{
    sink::Sink,
    stage::{StageError, Tree, Writer, check, place},
};

/// Pieces of 256 KiB between the connection and the thread that writes: enough that neither waits for the other's
/// hiccups, and a bound on memory.
const PIECES_AHEAD: usize = 8;
/// The controller may be making a block; longer than this it has gone.
const PIECE_DEADLINE: Duration = Duration::from_secs(120);
/// Bytes between two words about progress.
const PROGRESS_EVERY: u64 = 1 << 20;

/// Places what is here and fetches what is not, both at once. Returns the tree, and what turned out not to be here.
pub(super) async fn run(
    channel: Channel,
    place: &Place,
    round: Round,
    sink: &Sink,
    stop: &Arc<AtomicBool>,
) -> Result<(Tree, HashSet<BlobDigest>), FetchError> {
    let nothing = round.blobs.of(round.index.blobs()).next().is_none();
    let request = pb::FetchRequest {
        app: place.app.to_string(),
        release: place.wanted.release.0.to_vec().into(),
        wanted: round.blobs.to_bitmap().into(),
    };
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let (sink, stop) = (sink.clone(), Arc::clone(stop));
    let writing = tokio::task::spawn_blocking(move || write(round, receiver, &sink, &stop));
    let pumped = if nothing {
        drop(sender); // the writer hears at once that nothing will come
        Ok(())
    } else {
        pump(channel, request, sender).await
    };
    let written = match writing.await {
        Ok(written) => written,
        Err(died) => return Err(FetchError::Host(Coded::new(Code::X01, format!("writing ended: {died}")))),
    };
    match (pumped, written) {
        // The connection's own words say more than "cut off".
        (Err(cut), Err(Written::Short)) => Err(cut),
        (Ok(()), Err(Written::Short)) => {
            Err(FetchError::Cut(Coded::new(Code::C01, "the transfer ended before everything had come")))
        }
        (_, Err(Written::Failed(error))) => Err(error.into()),
        (_, Ok(done)) => Ok(done),
    }
}

/// Reads until the stream ends, or the writer wants no more.
async fn pump(
    channel: Channel,
    request: pb::FetchRequest,
    sender: mpsc::Sender<pb::BlockPiece>,
) -> Result<(), FetchError> {
    let reply = timeout(PIECE_DEADLINE, BlobsClient::new(channel).fetch(request)).await;
    let mut pieces = reply.map_err(|_| silent())??.into_inner();
    loop {
        let next = tokio::select! {
            next = timeout(PIECE_DEADLINE, pieces.message()) => next.map_err(|_| silent())??,
            () = sender.closed() => return Ok(()),
        };
        let Some(piece) = next else { return Ok(()) };
        if sender.send(piece).await.is_err() {
            return Ok(());
        }
    }
}

/// Why the writer stopped.
enum Written {
    /// Nothing was wrong; there was just no more.
    Short,
    Failed(StageError),
}

impl From<StageError> for Written {
    fn from(error: StageError) -> Self {
        Written::Failed(error)
    }
}

impl From<Coded> for Written {
    fn from(coded: Coded) -> Self {
        Written::Failed(coded.into())
    }
}

fn write(
    round: Round,
    mut pieces: mpsc::Receiver<pb::BlockPiece>,
    sink: &Sink,
    stop: &AtomicBool,
) -> Result<(Tree, HashSet<BlobDigest>), Written> {
    let Round { mut tree, index, survey, blobs, bytes: total } = round;
    let gone = place(&mut tree, &index, &survey, stop)?;
    let (mut done, mut told) = (0, 0);
    let mut progress = |more| {
        done += more;
        if done - told >= PROGRESS_EVERY || done == total {
            told = done;
            sink.progress(done, total, "");
        }
    };
    let mut writer = Writer::new(&mut tree, &index, &mut progress);
    let mut splitter = Splitter::new(index.blobs())?;
    let mut queue = Queue { pieces: &mut pieces, next: None };
    for block in partition(index.blobs(), &blobs) {
        splitter.begin(&block, &mut writer)?;
        let mut first = true;
        while let Some(data) = queue.of_this_block(first, &block.numbers)? {
            check(stop)?;
            first = false;
            splitter.feed(&data, &mut writer)?;
        }
        if first {
            return Err(Written::Short);
        }
        if splitter.finish().is_err() {
            return match queue.ended() {
                true => Err(Written::Short),
                false => Err(splitter.finish().expect_err("asked a moment ago").into()),
            };
        }
    }
    if queue.surplus() {
        let message = "the controller sends more blocks than were asked for; stopped";
        return Err(Coded::new(Code::A04, message).into());
    }
    Ok((tree, gone))
}

/// Pieces, taken block by block. A piece with a head begins the next one.
struct Queue<'a> {
    pieces: &'a mut mpsc::Receiver<pb::BlockPiece>,
    next: Option<pb::BlockPiece>,
}

impl Queue<'_> {
    fn of_this_block(&mut self, first: bool, numbers: &[u32]) -> Result<Option<Bytes>, Coded> {
        let piece = match self.next.take() {
            Some(piece) => piece,
            None => match self.pieces.blocking_recv() {
                Some(piece) => piece,
                None => return Ok(None),
            },
        };
        match (&piece.head, first) {
            (None, false) => Ok(Some(piece.data)),
            (Some(head), true) if head.blobs == numbers => Ok(Some(piece.data)),
            (Some(_), false) => {
                self.next = Some(piece);
                Ok(None)
            }
            (Some(_), true) | (None, true) => {
                Err(Coded::new(Code::A05, "the controller sends another block than was asked for"))
            }
        }
    }

    /// Nothing more will come.
    fn ended(&self) -> bool {
        self.next.is_none()
    }

    fn surplus(&mut self) -> bool {
        self.next.is_some() || self.pieces.blocking_recv().is_some()
    }
}
