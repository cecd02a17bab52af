//! A bundle with everything in it expanded. Whoever may be lost reads the frames, whoever may not reads what came of them
//! and holds it against the same digests.

use std::{
    io::{self, Read, Write},
    iter::Peekable,
    vec::IntoIter,
};

use super::{Head, Reader, Writer};
use crate::{
    bundle::{
        Blob,
        block::{Block, Wanted, partition},
        frame::Form,
        split::BlobSink,
    },
    code::{Code, Coded},
    manifest::Manifest,
};

/// Everything is held against its digest on the way. What was written before an error is no bundle: it has no end.
pub fn expand(input: impl Read, output: impl Write) -> Result<(), Coded> {
    let (head, reader) = Reader::open(input)?;
    let index = head.index(&Manifest::from_bytes(&head.manifest)?.artifact.index)?;
    let plain = Head { form: Form::Plain, index: index.encode(), ..head };
    let writer = Writer::begin(output, &plain).map_err(|e| not_taken(&e))?;
    let blocks = partition(index.blobs(), &Wanted::All).into_iter().peekable();
    let mut expanded = Expanded { writer, blocks };
    reader.blobs(&index, &mut expanded, &|| Ok(()))?;
    expanded.writer.end().and_then(|mut out| out.flush()).map_err(|e| not_taken(&e))
}

struct Expanded<W> {
    writer: Writer<W>,
    blocks: Peekable<IntoIter<Block>>,
}

impl<W: Write> BlobSink for Expanded<W> {
    type Error = Coded;

    fn begin(&mut self, number: u32, _: &Blob) -> Result<(), Coded> {
        match self.blocks.next_if(|block| block.numbers[0] == number) {
            Some(block) => self.writer.block(block.content_bytes).map_err(|e| not_taken(&e)),
            None => Ok(()),
        }
    }

    fn write(&mut self, content: &[u8]) -> Result<(), Coded> {
        self.writer.data(content).map_err(|e| not_taken(&e))
    }

    fn end(&mut self, _: u32, _: &Blob) -> Result<(), Coded> {
        Ok(())
    }
}

fn not_taken(error: &io::Error) -> Coded {
    Coded::new(Code::C01, format!("the bundle was not taken: {error}"))
}
