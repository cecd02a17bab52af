//! One transfer: pieces off the connection, through a short queue, into the tree.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::AtomicBool},
};

use bytes::Bytes;
use longshore_common::{
    bundle::{Index, block::Block, frame::Form, split::Splitter},
    code::{Code, Coded},
    digest::BlobDigest,
};
use longshore_proto::v1 as pb;
use tokio::sync::mpsc;

use super::{FetchError, Place, Round};
use crate::{
    host::{
        sink::Sink,
        stage::{StageError, Tree, Writer, check, place},
    },
    supply::Source,
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
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let (form, sink, stop) = (source.form(), sink.clone(), Arc::clone(stop));
    let writing = tokio::task::spawn_blocking(move || write(round, form, receiver, &sink, &stop));
    let pumped = if nothing {
        drop(sender); // the writer hears at once that nothing will come
        Ok(())
    } else {
        pump(source, place, wanted, sender).await
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
    source: Source,
    place: &Place,
    wanted: Vec<u8>,
    sender: mpsc::Sender<pb::BlockPiece>,
) -> Result<(), FetchError> {
    let mut pieces = source.blocks(&place.app, &place.wanted.release, wanted).await?;
    loop {
        let next = tokio::select! {
            next = pieces.next() => next?,
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
    form: Form,
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
    let mut splitter = Splitter::of(form, index.blobs())?;
    let mut queue = Queue { pieces: &mut pieces, next: None };
    let wanted: Vec<u32> = blobs.of(index.blobs()).map(|(number, _)| number).collect();
    let mut left = &wanted[..];
    while !left.is_empty() {
        let (head, mut data) = queue.head()?.ok_or(Written::Short)?;
        let block = announced(&index, left, head)?;
        splitter.begin(&block, &mut writer)?;
        loop {
            check(stop)?;
            splitter.feed(&data, &mut writer)?;
            match queue.more() {
                Some(more) => data = more,
                None => break,
            }
        }
        if let Err(cut_off) = splitter.finish() {
            // Whether it was cut short or is short is told by what comes after it.
            return Err(if queue.next.is_some() { cut_off.into() } else { Written::Short });
        }
        left = &left[block.numbers.len()..];
    }
    if queue.next.is_some() || queue.pieces.blocking_recv().is_some() {
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

/// Pieces, taken block by block. A piece with a head begins the next one.
struct Queue<'a> {
    pieces: &'a mut mpsc::Receiver<pb::BlockPiece>,
    next: Option<pb::BlockPiece>,
}

impl Queue<'_> {
    /// The beginning of the next block, if there is one.
    fn head(&mut self) -> Result<Option<(pb::BlockHead, Bytes)>, Coded> {
        let Some(pb::BlockPiece { head, data }) = self.next.take().or_else(|| self.pieces.blocking_recv())
        else {
            return Ok(None);
        };
        let head = head.ok_or_else(|| Coded::new(Code::A05, "a block comes without its head"))?;
        Ok(Some((head, data)))
    }

    /// More of the same block, unless the next one begins or nothing comes any more.
    fn more(&mut self) -> Option<Bytes> {
        match self.pieces.blocking_recv() {
            Some(piece) if piece.head.is_none() => Some(piece.data),
            other => {
                self.next = other;
                None
            }
        }
    }
}
