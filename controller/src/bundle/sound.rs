//! Blocks from before this process began: read back once before the first host gets them.
//!
//! A block that rotted on our disk would look to every host like a release with wrong bytes, and be held against the
//! release. It is removed instead, and made anew from its blobs, which are held against their digests when they are read.

use std::{fs, io};

use longshore_common::{
    bundle::{
        Blob, Index,
        block::Block,
        split::{BlobSink, Splitter},
    },
    code::Coded,
    durable::{DurableError, Step},
};

use super::{BlockFile, BundleError};

/// The block, to be read from its beginning; None when it was damaged, and is gone now.
pub(super) fn read_back(
    mut file: BlockFile,
    index: &Index,
    block: &Block,
) -> Result<Option<BlockFile>, BundleError> {
    match check(&mut file, index, block) {
        Ok(()) => Ok(Some(file.rewound()?)),
        Err(Fault::Content(why)) => {
            let path = file.path();
            tracing::warn!(code = "LS-S02", block = %path.display(), why = why.message,
                "a block is damaged on this disk and is made anew");
            match fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    Err(DurableError::new(Step::Remove, path, e).into())
                }
                _ => Ok(None),
            }
        }
        Err(Fault::Disk(error)) => Err(error),
    }
}

enum Fault {
    Content(Coded),
    Disk(BundleError),
}

fn check(file: &mut BlockFile, index: &Index, block: &Block) -> Result<(), Fault> {
    let mut splitter = Splitter::new(index.blobs()).map_err(Fault::Content)?;
    splitter.begin(block, &mut Nowhere).map_err(Fault::Content)?;
    loop {
        let piece = file.piece().map_err(Fault::Disk)?;
        if piece.is_empty() {
            return splitter.finish().map_err(Fault::Content);
        }
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
