//! Takes in uploaded blobs: what is acknowledged is verified and durable.
//!
//! The stream is read by one task, decoded and written by one blocking thread; between them a few pieces wait. A cut
//! stream keeps what came whole before it.

use std::sync::Arc;

use longshore_common::{
    bundle::{Blob, frame::FrameReader},
    code::{Code, Coded},
    digest::BlobDigest,
    wire::to_status,
};
use longshore_proto::v1::{self as pb, upload_piece::Piece};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::bundle::{Batch, BundleError, BundleStore, Incoming};

/// Pieces between the task that reads and the thread that writes: at most 4 MiB.
const PIECES_AHEAD: usize = 16;
/// A batch is made durable when it has so many blobs, or so many bytes. Two syncs each: small ones cost time, large
/// ones cost more to send again after a cut.
const BATCH_BLOBS: usize = 2000;
const BATCH_BYTES: u64 = 64 << 20;

pub type Answers = mpsc::Sender<Result<pb::UploadProgress, Status>>;

/// Takes in everything of one call.
pub fn receive(bundle: Arc<BundleStore>, mut pieces: Streaming<pb::UploadPiece>, answers: Answers) {
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    tokio::spawn(async move {
        loop {
            match pieces.message().await {
                Ok(Some(pb::UploadPiece { piece })) => {
                    if sender.send(piece).await.is_err() {
                        return; // the thread gave up and has said why
                    }
                }
                Ok(None) => return,
                Err(status) => {
                    tracing::info!("an upload was cut: {}", status.message());
                    return;
                }
            }
        }
    });
    tokio::task::spawn_blocking(move || {
        let result = Intake::new(&bundle, &answers).and_then(|intake| intake.run(receiver));
        if let Err(error) = result {
            // A caller that has gone does not need to hear it.
            let _ = answers.blocking_send(Err(to_status(&error.coded())));
        }
    });
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
