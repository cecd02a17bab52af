//! One transfer: blocks as they come (`blocks`), into the tree.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::AtomicBool},
};

use longshore_common::{
    bundle::{Index, block::Block, frame::Form, split::Splitter},
    code::{Code, Coded},
    digest::BlobDigest,
};
use longshore_proto::v1 as pb;
use tokio::sync::{mpsc, oneshot};

use super::{
    FetchError, Place, Round,
    blocks::{Blocks, Flow, Queue},
};
use crate::{
    helper::Cut,
    host::{
        sink::Sink,
        stage::{StageError, Tree, Writer, check, place},
    },
    supply::{Coming, Source},
};

/// Pieces of 256 KiB between the connection and the thread that writes: enough that neither waits for the other's
/// hiccups, and a bound on memory.
const PIECES_AHEAD: usize = 8;
/// Bytes between two words about progress.
const PROGRESS_EVERY: u64 = 1 << 20;

/// Places what is here and fetches what is not, both at once. Returns the tree, and what turned out not to be here.
pub(super) async fn run(
    source: Source,
    place: &Place,
    round: Round,
    sink: &Sink,
    stop: &Arc<AtomicBool>,
) -> Result<(Tree, HashSet<BlobDigest>), FetchError> {
    let nothing = round.blobs.of(round.index.blobs()).next().is_none();
    let wanted = round.blobs.to_bitmap();
    let (tell, told) = oneshot::channel();
    let (form, sink, stop) = (source.form(), sink.clone(), Arc::clone(stop));
    let writing = tokio::task::spawn_blocking(move || write(round, form, told, &sink, &stop));
    let pumped = match nothing {
        true => Ok(None),
        false => bring(source, place, wanted, tell).await,
    };
    // The flow is cut when nobody waits here any more.
    let (cut, pumped) = match pumped {
        Ok(cut) => (cut, Ok(())),
        Err(short) => (None, Err(short)),
    };
    let written = writing.await;
    drop(cut);
    match (pumped, written) {
        (_, Err(died)) => Err(FetchError::Host(Coded::new(Code::X01, format!("writing ended: {died}")))),
        (_, Ok(Ok(done))) => Ok(done),
        (_, Ok(Err(Written::Failed(error)))) => Err(error.into()),
        (_, Ok(Err(Written::Cut(error)))) => Err(error),
        // The connection's own words say more than "cut off".
        (Err(short), Ok(Err(Written::Short))) => Err(short),
        (Ok(()), Ok(Err(Written::Short))) => {
            Err(FetchError::Cut(Coded::new(Code::C01, "the transfer ended before everything had come")))
        }
    }
}

/// Tells the thread that writes where content comes from; where that is this side, brings it until the stream ends, or
/// the writer wants no more.
async fn bring(
    source: Source,
    place: &Place,
    wanted: Vec<u8>,
    tell: oneshot::Sender<Box<dyn Blocks>>,
) -> Result<Option<Cut>, FetchError> {
    let mut pieces = match source.blocks(&place.app, &place.wanted.release, wanted).await? {
        Coming::Flow(flow, cut) => {
            // A writer that is gone has failed, and says why.
            drop(tell.send(Box::new(Flow::of(flow))));
            return Ok(Some(cut));
        }
        Coming::Pieces(pieces) => pieces,
    };
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    drop(tell.send(Box::new(Queue::of(receiver))));
    loop {
        let next = tokio::select! {
            next = pieces.next() => next?,
            () = sender.closed() => return Ok(None),
        };
        let Some(piece) = next else { return Ok(None) };
        if sender.send(piece).await.is_err() {
            return Ok(None);
        }
    }
}

/// Why the writer stopped.
pub(super) enum Written {
    /// Nothing was wrong; there was just no more.
    Short,
    /// Whoever brings it says why there is no more.
    Cut(FetchError),
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
    form: Form,
    told: oneshot::Receiver<Box<dyn Blocks>>,
    sink: &Sink,
    stop: &AtomicBool,
) -> Result<(Tree, HashSet<BlobDigest>), Written> {
    let Round { mut tree, index, survey, blobs, bytes: total } = round;
    let gone = place(&mut tree, &index, &survey, stop)?;
    let wanted: Vec<u32> = blobs.of(index.blobs()).map(|(number, _)| number).collect();
    let mut left = &wanted[..];
    if left.is_empty() {
        return Ok((tree, gone));
    }
    let (mut done, mut told_of) = (0, 0);
    let mut progress = |more| {
        done += more;
        if done - told_of >= PROGRESS_EVERY || done == total {
            told_of = done;
            sink.progress(done, total, "");
        }
    };
    let mut writer = Writer::new(&mut tree, &index, &mut progress);
    let mut splitter = Splitter::of(form, index.blobs())?;
    let mut coming = told.blocking_recv().map_err(|_| Written::Short)?;
    while !left.is_empty() {
        let head = coming.head()?.ok_or(Written::Short)?;
        let block = announced(&index, left, head)?;
        splitter.begin(&block, &mut writer)?;
        while let Some(data) = coming.more()? {
            check(stop)?;
            splitter.feed(data, &mut writer)?;
        }
        if let Err(cut_off) = splitter.finish() {
            // Whether it was cut short or is short is told by what comes after it.
            return Err(if coming.is_followed() { cut_off.into() } else { Written::Short });
        }
        left = &left[block.numbers.len()..];
    }
    if coming.is_more() {
        let message = "the controller sends more than was asked for; stopped";
        return Err(Coded::new(Code::A04, message).into());
    }
    Ok((tree, gone))
}

/// The block that a head announces. How blobs are cut into blocks is the controller's affair, as long as they are the
/// wanted ones in their order.
fn announced(index: &Index, left: &[u32], head: pb::BlockHead) -> Result<Block, Coded> {
    let numbers = head.blobs;
    if numbers.is_empty() || !left.starts_with(&numbers) {
        return Err(Coded::new(Code::A05, "the controller sends other blobs than were asked for"));
    }
    let content_bytes = numbers.iter().map(|number| index.blobs()[*number as usize].size).sum();
    Ok(Block { numbers, content_bytes })
}
