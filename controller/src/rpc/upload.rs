//! Takes in uploaded blobs: what is acknowledged is verified and durable.
//!
//! The stream is read by one task, decoded and written by one blocking thread; between them a few pieces wait. A cut
//! stream keeps what came whole before it.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use longshore_common::{
    bundle::{Blob, frame::FrameReader},
    code::{Code, Coded},
    digest::BlobDigest,
    ids::OperatorName,
    wire::to_status,
};
use longshore_proto::v1::{self as pb, upload_piece::Piece};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Status, Streaming};

use crate::{
    access::{Place, Places},
    bundle::{Batch, BundleError, BundleStore, Incoming},
};

/// Pieces between the task that reads and the thread that writes: at most 4 MiB.
const PIECES_AHEAD: usize = 16;
/// A batch is made durable when it has so many blobs, or so many bytes. Two syncs each: small ones cost time, large
/// ones cost more to send again after a cut.
const BATCH_BLOBS: usize = 2000;
const BATCH_BYTES: u64 = 64 << 20;

/// Uploads that are taken in at a time. Each has a thread for as long as it lasts, of the 512 that all that blocks has.
const UPLOADS: usize = 64;
/// Of them, those of one operator: a byte now and then holds a place for as long as a call may last.
const UPLOADS_OF_ONE: usize = 16;
static PLACES: LazyLock<Places> = LazyLock::new(|| Places::new(TAKEN_IN, UPLOADS, UPLOADS_OF_ONE));
const TAKEN_IN: &str = "uploads are being taken in";
/// Who sends nothing for so long has gone, or never meant to send anything.
const STALL: Duration = Duration::from_secs(60);

pub type Answers = mpsc::Sender<Result<pb::UploadProgress, Status>>;

/// Takes in everything of one call.
pub fn receive(
    by: OperatorName,
    bundle: Arc<BundleStore>,
    pieces: Streaming<pb::UploadPiece>,
    answers: Answers,
) {
    let place = PLACES.take(&by);
    tokio::spawn(take_in(place, STALL, bundle, pieces, answers));
}

/// Until the caller ends, or says nothing for as long as `stall`.
async fn take_in(
    place: Result<Place, Coded>,
    stall: Duration,
    bundle: Arc<BundleStore>,
    mut pieces: impl Stream<Item = Result<pb::UploadPiece, Status>> + Unpin,
    answers: Answers,
) {
    let place = match place {
        Ok(place) => place,
        // A caller that has gone does not need to hear it.
        Err(why) => return drop(answers.send(Err(to_status(&why))).await),
    };
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let acknowledges = answers.clone();
    tokio::task::spawn_blocking(move || {
        let _place = place; // for as long as the thread is taken
        let result = Intake::new(&bundle, &acknowledges).and_then(|intake| intake.run(receiver));
        if let Err(error) = result {
            // A caller that has gone does not need to hear it.
            let _ = acknowledges.blocking_send(Err(to_status(&error.coded())));
        }
    });
    loop {
        match tokio::time::timeout(stall, pieces.next()).await {
            Ok(Some(Ok(pb::UploadPiece { piece }))) => {
                if sender.send(piece).await.is_err() {
                    return; // the thread gave up and has said why
                }
            }
            Ok(None) => return,
            Ok(Some(Err(status))) => {
                tracing::info!("an upload was cut: {}", status.message());
                return;
            }
            Err(_) => return drop(answers.send(Err(to_status(&stalled(stall)))).await),
        }
    }
}

fn stalled(stall: Duration) -> Coded {
    let seconds = stall.as_secs();
    let message = format!(
        "nothing came of an upload for {seconds} s; what came whole before is kept: publish again to send the rest"
    );
    Coded::new(Code::C01, message)
}

struct Intake<'a> {
    batch: Batch<'a>,
    reader: FrameReader,
    open: Option<Incoming>,
    done: pb::UploadProgress,
    answers: &'a Answers,
}

impl<'a> Intake<'a> {
    fn new(bundle: &'a BundleStore, answers: &'a Answers) -> Result<Self, BundleError> {
        let reader = FrameReader::new().map_err(|e| Coded::new(Code::X01, format!("zstd: {e}")))?;
        Ok(Self { batch: bundle.blobs.batch(), reader, open: None, done: Default::default(), answers })
    }

    fn run(mut self, mut pieces: mpsc::Receiver<Option<Piece>>) -> Result<(), BundleError> {
        let mut result = Ok(());
        while let Some(piece) = pieces.blocking_recv() {
            result = self.take(piece);
            if result.is_err() {
                break;
            }
        }
        // Whatever ended it, what came whole is kept.
        self.open = None;
        self.commit()?;
        result
    }

    fn take(&mut self, piece: Option<Piece>) -> Result<(), BundleError> {
        match piece {
            Some(Piece::Head(pb::BlobHead { blob, size })) => {
                if self.open.is_some() {
                    return Err(Coded::new(Code::A05, "a blob began before the one before it ended").into());
                }
                let blob = Blob { digest: BlobDigest::try_from(&blob[..])?, size };
                self.open = Some(self.batch.begin(&mut self.reader, blob)?);
                Ok(())
            }
            Some(Piece::Data(wire)) => {
                let Some(open) = self.open.as_mut() else {
                    return Err(Coded::new(Code::A05, "bytes came that belong to no blob").into());
                };
                self.batch.feed(&mut self.reader, open, &wire)?;
                if self.reader.ended() { self.end() } else { Ok(()) }
            }
            None => Err(Coded::new(Code::V01, "an upload piece holds neither a head nor data").into()),
        }
    }

    fn end(&mut self) -> Result<(), BundleError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        self.batch.end(&self.reader, open)?;
        if self.batch.blobs() >= BATCH_BLOBS || self.batch.bytes() >= BATCH_BYTES {
            self.commit()?;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), BundleError> {
        self.done.blobs += self.batch.blobs() as u64;
        self.done.bytes += self.batch.bytes();
        self.batch.commit()?;
        // A caller that has gone has cut its stream as well: the loop ends by itself.
        let _ = self.answers.blocking_send(Ok(self.done));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use longshore_common::wire::from_status;

    use super::*;
    use crate::bundle::BLOCK_CACHE_BYTES;

    #[tokio::test]
    async fn an_upload_that_sends_nothing_holds_no_place_for_long() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = BundleStore::open(dir.path(), BLOCK_CACHE_BYTES).unwrap();
        let (places, ann) = (Places::new(TAKEN_IN, 1, 1), "ann".parse::<OperatorName>().unwrap());
        let upload = |stall| {
            let (answers, heard) = mpsc::channel(4);
            let mute = tokio_stream::pending::<Result<pb::UploadPiece, Status>>();
            tokio::spawn(take_in(places.take(&ann), stall, bundle.clone(), mute, answers));
            heard
        };
        let said = |told: Option<Result<pb::UploadProgress, Status>>| {
            let why = from_status(&told.expect("a word").unwrap_err());
            assert_eq!(why.code, Code::C01, "{why}");
            why.message
        };
        let taken = places.take(&ann).unwrap();
        assert!(said(upload(STALL).recv().await).contains("uploads are being taken in"));
        drop(taken);
        let mut mute = upload(Duration::from_millis(5));
        assert!(said(mute.recv().await).contains("nothing came"));
        while mute.recv().await.is_some() {} // until its thread has ended
        drop(places.take(&ann).expect("its place is free again"));
    }
}
