//! Cuts the content of blocks back into blobs and holds each against its digest while it passes.
//!
//! Nothing counts before `BlobSink::end`: until then what a sink was given may be wrong. More content than the index
//! says ends the transfer at once, so a bomb costs at most one chunk of 128 KiB.

use super::{
    block::Block,
    frame::{Form, FrameReader, frame_bytes_max, reader_for},
    index::Blob,
};
use crate::code::{Code, Coded};

/// Where blobs go. For every blob: `begin`, `write` any number of times, `end`.
pub trait BlobSink {
    type Error: From<Coded>;
    fn begin(&mut self, number: u32, blob: &Blob) -> Result<(), Self::Error>;
    fn write(&mut self, content: &[u8]) -> Result<(), Self::Error>;
    /// All of the blob was written and its digest is right.
    fn end(&mut self, number: u32, blob: &Blob) -> Result<(), Self::Error>;
}

/// Takes the blocks of one transfer, in order.
pub struct Splitter<'a> {
    blobs: &'a [Blob],
    /// None: it is content that comes.
    reader: Option<FrameReader>,
    queue: std::vec::IntoIter<u32>,
    open: Option<Open>,
    /// Bytes on the wire that the block may still take.
    wire_left: u64,
}

/// The blob that content belongs to now.
struct Open {
    number: u32,
    left: u64,
    hash: blake3::Hasher,
}

impl<'a> Splitter<'a> {
    /// Of blocks as they travel.
    pub fn new(blobs: &'a [Blob]) -> Result<Self, Coded> {
        Self::of(Form::Framed, blobs)
    }

    pub fn of(form: Form, blobs: &'a [Blob]) -> Result<Self, Coded> {
        let reader = reader_for(form).map_err(fault)?;
        Ok(Self { blobs, reader, queue: vec![].into_iter(), open: None, wire_left: 0 })
    }

    /// Starts a block that has been planned from the same index (`block::partition`).
    pub fn begin<S: BlobSink>(&mut self, block: &Block, sink: &mut S) -> Result<(), S::Error> {
        self.queue = block.numbers.clone().into_iter();
        self.open = None;
        self.wire_left = match &mut self.reader {
            Some(reader) => {
                reader.begin().map_err(fault)?;
                frame_bytes_max(block.content_bytes)
            }
            None => block.content_bytes,
        };
        self.advance(sink)
    }

    /// The next bytes of the block as they came.
    pub fn feed<S: BlobSink>(&mut self, wire: &[u8], sink: &mut S) -> Result<(), S::Error> {
        self.wire_left = self.wire_left.checked_sub(wire.len() as u64).ok_or_else(|| {
            Coded::new(Code::A04, "a block takes more bytes than its content can need; stopped")
        })?;
        let Self { blobs, reader, queue, open, .. } = self;
        let mut take = |content: &[u8]| Cutter { blobs, queue, open }.take(content, sink);
        match reader {
            Some(reader) => reader.feed(wire, take),
            None => take(wire),
        }
    }

    /// The block is over. An error when its content is not.
    pub fn finish(&mut self) -> Result<(), Coded> {
        match &self.open {
            None if self.reader.as_ref().is_none_or(FrameReader::ended) => Ok(()),
            None => Err(Coded::new(Code::A05, "a block is cut off at its end")),
            Some(open) => Err(Coded::new(
                Code::A05,
                format!("a block is cut off: {} bytes of blob {} are missing", open.left, open.number),
            )),
        }
    }

    fn advance<S: BlobSink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        Cutter { blobs: self.blobs, queue: &mut self.queue, open: &mut self.open }.advance(sink)
    }
}

/// The part of a splitter that content runs through, apart from the decoder that feeds it.
struct Cutter<'a, 'b> {
    blobs: &'a [Blob],
    queue: &'b mut std::vec::IntoIter<u32>,
    open: &'b mut Option<Open>,
}

impl Cutter<'_, '_> {
    fn take<S: BlobSink>(&mut self, mut content: &[u8], sink: &mut S) -> Result<(), S::Error> {
        while !content.is_empty() {
            let Some(open) = self.open.as_mut() else {
                let message = "a block holds more content than its index says; stopped";
                return Err(Coded::new(Code::A04, message).into());
            };
            let now = content.len().min(usize::try_from(open.left).unwrap_or(usize::MAX));
            let (head, rest) = content.split_at(now);
            open.hash.update(head);
            open.left -= now as u64;
            sink.write(head)?;
            content = rest;
            if open.left == 0 {
                self.close(sink)?;
                self.advance(sink)?;
            }
        }
        Ok(())
    }

    /// Opens the next blob; those of no bytes begin and end here.
    fn advance<S: BlobSink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        while self.open.is_none() {
            let Some(number) = self.queue.next() else { return Ok(()) };
            let blob = &self.blobs[number as usize];
            sink.begin(number, blob)?;
            *self.open = Some(Open { number, left: blob.size, hash: blake3::Hasher::new() });
            if blob.size == 0 {
                self.close(sink)?;
            }
        }
        Ok(())
    }

    fn close<S: BlobSink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let blob = &self.blobs[open.number as usize];
        let got = open.hash.finalize();
        if got.as_bytes() != blob.digest.as_bytes() {
            return Err(Coded::new(
                Code::A01,
                format!(
                    "blob {} ({} bytes): got blake3 {}, the index says {}",
                    open.number,
                    blob.size,
                    crate::digest::hex(got.as_bytes()),
                    blob.digest
                ),
            )
            .into());
        }
        sink.end(open.number, blob)
    }
}

fn fault(error: std::io::Error) -> Coded {
    Coded::new(Code::X01, format!("zstd: {error}"))
}

#[cfg(test)]
#[path = "split_tests.rs"]
mod tests;
