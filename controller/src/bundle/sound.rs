//! Blocks from before this process began: read back once before the first host gets them.
//!
//! A block that rotted on our disk would look to every host like a release with wrong bytes, and be held against the
//! release. It is removed instead, and made anew from its blobs, which are held against their digests when they are
//! read. One that rots later is found by the marks of its pieces, before the piece leaves this machine.

use std::{fs, io, path::Path};

use longshore_common::{
    bundle::{
        Blob, Index,
        block::Block,
        limits,
        split::{BlobSink, Splitter},
    },
    code::{Code, Coded},
    durable::{DurableError, Step},
};

use super::{BlockFile, BundleError};

/// A checksum of every piece of a sound block, against disks that forget. Looked at with every transfer.
#[derive(Debug, Default)]
pub(super) struct Marks {
    whole: Vec<u32>,
    /// Of the last piece, as far as it has come.
    last: u32,
    bytes: usize,
}

impl Marks {
    /// The bytes that follow.
    pub fn add(&mut self, mut wire: &[u8]) {
        while !wire.is_empty() {
            let (now, later) = wire.split_at(wire.len().min(limits::PIECE_BYTES - self.bytes));
            self.last = crc32c::crc32c_append(self.last, now);
            self.bytes += now.len();
            if self.bytes == limits::PIECE_BYTES {
                self.whole.push(std::mem::take(&mut self.last));
                self.bytes = 0;
            }
            wire = later;
        }
    }

    /// Whether the piece of this number is as it was. An empty one is the end.
    pub fn allow(&self, number: usize, piece: &[u8]) -> bool {
        match self.whole.get(number) {
            Some(mark) => piece.len() == limits::PIECE_BYTES && *mark == crc32c::crc32c(piece),
            None if number == self.whole.len() => {
                piece.len() == self.bytes && self.last == crc32c::crc32c(piece)
            }
            None => piece.is_empty(),
        }
    }
}

/// The block, to be read from its beginning, and the marks of its pieces; None when it was damaged, and is gone now.
pub(super) fn read_back(
    mut file: BlockFile,
    index: &Index,
    block: &Block,
) -> Result<Option<(BlockFile, Marks)>, BundleError> {
    match check(&mut file, index, block) {
        Ok(marks) => Ok(Some((file.rewound()?, marks))),
        Err(Fault::Content(why)) => remove(file.path(), &why.message).map(|()| None),
        Err(Fault::Disk(error)) => Err(error),
    }
}

/// A block was sound and is not any more. Agents take the code for a transfer that was cut, and ask again.
pub(super) fn rotten(path: &Path) -> BundleError {
    match remove(path, "a piece is not what it was") {
        Ok(()) => {
            let message =
                "a block was damaged on the controller's disk; it is made anew when asked for again";
            BundleError::Refused(Coded::new(Code::C01, message))
        }
        Err(error) => error,
    }
}

fn remove(path: &Path, why: &str) -> Result<(), BundleError> {
    tracing::warn!(code = "LS-S02", block = %path.display(), why,
        "a block is damaged on this disk and is made anew");
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(DurableError::new(Step::Remove, path, e).into()),
        _ => Ok(()),
    }
}

enum Fault {
    Content(Coded),
    Disk(BundleError),
}

fn check(file: &mut BlockFile, index: &Index, block: &Block) -> Result<Marks, Fault> {
    let mut splitter = Splitter::new(index.blobs()).map_err(Fault::Content)?;
    let mut marks = Marks::default();
    splitter.begin(block, &mut Nowhere).map_err(Fault::Content)?;
    loop {
        let piece = file.piece().map_err(Fault::Disk)?;
        if piece.is_empty() {
            return splitter.finish().map(|_| marks).map_err(Fault::Content);
        }
        marks.add(&piece);
        splitter.feed(&piece, &mut Nowhere).map_err(Fault::Content)?;
    }
}

/// The digests are all that is asked about.
struct Nowhere;

impl BlobSink for Nowhere {
    type Error = Coded;

    fn begin(&mut self, _number: u32, _blob: &Blob) -> Result<(), Coded> {
        Ok(())
    }

    fn write(&mut self, _content: &[u8]) -> Result<(), Coded> {
        Ok(())
    }

    fn end(&mut self, _number: u32, _blob: &Blob) -> Result<(), Coded> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_know_their_pieces_however_they_came() {
        let whole: Vec<u8> = (0..2 * limits::PIECE_BYTES + 7).map(|n| (n % 251) as u8).collect();
        let mut marks = Marks::default();
        whole.chunks(100_003).for_each(|some| marks.add(some));
        for (number, piece) in whole.chunks(limits::PIECE_BYTES).enumerate() {
            assert!(marks.allow(number, piece));
            let mut rotten = piece.to_vec();
            rotten[5] ^= 1;
            assert!(!marks.allow(number, &rotten) && !marks.allow(number, &piece[1..]));
        }
        assert!(marks.allow(3, b"") && !marks.allow(3, b"more"));
        assert!(!marks.allow(2, b""), "cut off");
    }
}
