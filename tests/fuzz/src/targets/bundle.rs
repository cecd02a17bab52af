//! What a release is made of: manifests, indexes, and blocks of blobs.

use std::path::{Component, Path};

use longshore_common::{
    bundle::{
        Blob, Index,
        block::{Wanted, partition},
        frame, limits,
        split::{BlobSink, Splitter},
    },
    code::Coded,
    digest::BlobDigest,
    manifest::{MANIFEST_BYTES, Manifest},
    offline::Reader,
};

use crate::oracle::refused;

pub fn manifest(input: &[u8]) {
    match Manifest::from_bytes(input) {
        Err(error) => refused("manifest", &error),
        Ok(manifest) => {
            let bytes = manifest.to_bytes();
            match Manifest::from_bytes(&bytes) {
                Ok(again) => assert_eq!(again, manifest),
                // Defaults that the input left out are written out.
                Err(error) => assert!(bytes.len() > MANIFEST_BYTES, "{error}"),
            }
        }
    }
}

pub fn index(input: &[u8]) {
    match Index::decode(input) {
        Err(error) => refused("index", &error),
        Ok(index) => {
            assert_eq!(index.encode(), input, "one index, one encoding");
            assert!(index.bytes() <= limits::ARTIFACT_BYTES);
            for entry in index.entries() {
                assert!(stays_inside(&entry.path), "{:?}", entry.path);
                assert!(index.find(&entry.path).is_some());
            }
        }
    }
}

/// A plain way down, as the standard library reads it.
fn stays_inside(path: &str) -> bool {
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    plain && !path.is_empty() && !path.ends_with('/') && !path.chars().any(char::is_control)
}

/// A release in one file.
pub fn offline(input: &[u8]) {
    let taken = Reader::open(input).and_then(|(head, reader)| {
        let manifest = Manifest::from_bytes(&head.manifest)?;
        head.attested(&manifest)?;
        let index = head.index(&manifest.artifact.index)?;
        // Somebody who signs chooses how much is unpacked; here it is bounded so that an input takes no minutes.
        if index.bytes() > CONTENT as u64 {
            return Ok(());
        }
        reader.verify(&index)
    });
    if let Err(error) = taken {
        refused("offline", &error);
    }
}

/// Bytes of content that an input may expand to here.
const CONTENT: usize = 1 << 20;

/// Three sizes of blobs, the length of a piece, and a block's bytes. The digests are those of the content that there
/// is, so that whoever reads it right accepts it.
pub fn block(input: &[u8]) {
    let Some((sizes, wire)) = input.split_first_chunk::<7>() else { return };
    let [a, b, c, d, e, f, piece] = sizes.map(usize::from);
    let sizes = [a << 8 | b, c << 8 | d, e << 8 | f];
    let content = frame::expand(wire, CONTENT);
    let whole = content.as_ref().map_or(&[][..], Vec::as_slice);
    let mut at = 0;
    let blobs = sizes.map(|size| {
        let digest = BlobDigest::of(whole.get(at..at + size).unwrap_or_default());
        at += size;
        Blob { digest, size: size as u64 }
    });
    let taken = split(&blobs, wire, piece + 1);
    let fits = content.as_ref().is_ok_and(|content| content.len() == at);
    match taken {
        Ok(got) => {
            assert!(fits, "a block with other content than its index says was taken");
            assert_eq!(got, whole, "it is not what was in it");
        }
        Err(error) => {
            refused("block", &error);
            let bound = frame::frame_bytes_max(at as u64);
            assert!(!fits || wire.len() as u64 > bound, "a sound block was refused: {error}");
        }
    }
}

fn split(blobs: &[Blob], wire: &[u8], piece: usize) -> Result<Vec<u8>, Coded> {
    let mut sink = Kept::default();
    let mut splitter = Splitter::new(blobs)?;
    for block in partition(blobs, &Wanted::All) {
        splitter.begin(&block, &mut sink)?;
        for piece in wire.chunks(piece) {
            splitter.feed(piece, &mut sink)?;
        }
        splitter.finish()?;
    }
    assert_eq!(sink.ended, blobs.len(), "a block is over and a blob is not");
    Ok(sink.content)
}

#[derive(Default)]
struct Kept {
    content: Vec<u8>,
    ended: usize,
}

impl BlobSink for Kept {
    type Error = Coded;
    fn begin(&mut self, number: u32, _: &Blob) -> Result<(), Coded> {
        assert_eq!(number as usize, self.ended, "out of order");
        Ok(())
    }
    fn write(&mut self, content: &[u8]) -> Result<(), Coded> {
        self.content.extend_from_slice(content);
        Ok(())
    }
    fn end(&mut self, _: u32, _: &Blob) -> Result<(), Coded> {
        self.ended += 1;
        Ok(())
    }
}
