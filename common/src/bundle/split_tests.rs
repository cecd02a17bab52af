//! Whole streams of blocks, good and hostile.

use proptest::prelude::*;

use super::*;
use crate::{
    bundle::{
        block::{Wanted, partition},
        frame::FrameWriter,
    },
    digest::BlobDigest,
};

#[derive(Default)]
struct Memory {
    now: Vec<u8>,
    most: usize,
    ended: Vec<(u32, Vec<u8>)>,
}

impl BlobSink for Memory {
    type Error = Coded;
    fn begin(&mut self, _: u32, _: &Blob) -> Result<(), Coded> {
        self.now.clear();
        Ok(())
    }
    fn write(&mut self, content: &[u8]) -> Result<(), Coded> {
        self.most = self.most.max(content.len());
        self.now.extend_from_slice(content);
        Ok(())
    }
    fn end(&mut self, number: u32, _: &Blob) -> Result<(), Coded> {
        self.ended.push((number, std::mem::take(&mut self.now)));
        Ok(())
    }
}

fn blobs_of(contents: &[Vec<u8>]) -> Vec<Blob> {
    contents.iter().map(|c| Blob { digest: BlobDigest::of(c), size: c.len() as u64 }).collect()
}

fn frame(content: &[u8]) -> Vec<u8> {
    let mut wire = vec![];
    let mut writer = FrameWriter::new(3, content.len() as u64).unwrap();
    let mut keep = |piece: &[u8]| {
        wire.extend_from_slice(piece);
        Ok(())
    };
    writer.write(content, &mut keep).unwrap();
    writer.finish(&mut keep).unwrap();
    wire
}

/// One block of all blobs, whose wire bytes are given.
fn run(blobs: &[Blob], wire: &[u8], piece: usize) -> (Result<(), Coded>, Memory) {
    let mut sink = Memory::default();
    let block = Block {
        numbers: (0..blobs.len() as u32).collect(),
        content_bytes: blobs.iter().map(|b| b.size).sum(),
    };
    let mut splitter = Splitter::new(blobs).unwrap();
    let result = splitter
        .begin(&block, &mut sink)
        .and_then(|()| wire.chunks(piece).try_for_each(|piece| splitter.feed(piece, &mut sink)))
        .and_then(|()| splitter.finish());
    (result, sink)
}

/// All of its content came, and the frame that holds it did not end.
#[test]
fn a_block_of_empty_blobs_is_cut_off_without_its_end() {
    let blobs = blobs_of(&[vec![]]);
    let whole = frame(b"");
    run(&blobs, &whole, 1000).0.unwrap();
    let refusal = run(&blobs, &whole[..whole.len() - 1], 1000).0.unwrap_err();
    assert!(refusal.code == Code::A05 && refusal.message == "a block is cut off at its end", "{refusal}");
}

#[test]
fn hostile_blocks_are_refused_with_their_code() {
    let contents = [b"one".to_vec(), vec![], b"three".repeat(1000)];
    let blobs = blobs_of(&contents);
    let content = contents.concat();
    let good = frame(&content);
    let mut other = content.clone();
    other[4000] ^= 1;
    let table: Vec<(Vec<u8>, Code, usize)> = vec![
        (good[..good.len() - 1].to_vec(), Code::A05, 2),
        (vec![], Code::A05, 0),
        (frame(&content[..2]), Code::A05, 0),
        (frame(&[&content[..], b"more"].concat()), Code::A04, 3),
        (frame(&vec![b'o'; 64 << 20]), Code::A01, 0),
        ([&good[..], b"!"].concat(), Code::A05, 3),
        ([&good[..], &good[..]].concat(), Code::A05, 3),
        (frame(&other), Code::A01, 2),
        (b"<html>no such page</html>".to_vec(), Code::A05, 0),
    ];
    for (at, (wire, code, most_ended)) in table.into_iter().enumerate() {
        let (result, sink) = run(&blobs, &wire, 1000);
        assert_eq!(result.unwrap_err().code, code, "row {at}");
        assert!(sink.ended.len() <= most_ended, "row {at}: {} blobs counted", sink.ended.len());
        assert!(sink.most <= 128 * 1024);
    }
}

#[test]
fn a_bomb_is_stopped_at_the_first_byte_too_many() {
    let blobs = blobs_of(&[vec![0; 1000]]);
    let (result, sink) = run(&blobs, &frame(&vec![0; 256 << 20]), 500);
    assert_eq!(result.unwrap_err().code, Code::A04);
    assert_eq!(sink.ended.len(), 1);
    assert!(sink.most <= 1000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn every_wanted_blob_comes_out_once_in_order(
        contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 1..20),
        piece in 1..5000usize,
        pick in 0..8u8,
    ) {
        let blobs = blobs_of(&contents);
        let wanted = Wanted::choose(&blobs, |d| d.0[0] & 7 <= pick);
        let mut sink = Memory::default();
        let mut splitter = Splitter::new(&blobs).unwrap();
        for block in partition(&blobs, &wanted) {
            let content: Vec<u8> =
                block.numbers.iter().flat_map(|n| contents[*n as usize].clone()).collect();
            splitter.begin(&block, &mut sink).unwrap();
            for piece in frame(&content).chunks(piece) {
                splitter.feed(piece, &mut sink).unwrap();
            }
            splitter.finish().unwrap();
        }
        let expected: Vec<(u32, Vec<u8>)> =
            wanted.of(&blobs).map(|(n, _)| (n, contents[n as usize].clone())).collect();
        prop_assert_eq!(sink.ended, expected);
    }
}

/// Content that comes as it is, cut in any way, ends in the same blobs; more or less or other of it is refused as early.
#[test]
fn content_that_comes_expanded_is_held_against_the_same_digests() {
    let contents = [&b"one"[..], b"", b"three three"];
    let blobs: Vec<Blob> =
        contents.iter().map(|c| Blob { digest: BlobDigest::of(c), size: c.len() as u64 }).collect();
    let whole = contents.concat();
    let take = |content: &[u8], piece: usize| {
        let mut sink = Memory::default();
        let block = Block { numbers: vec![0, 1, 2], content_bytes: whole.len() as u64 };
        let mut splitter = Splitter::of(Form::Plain, &blobs)?;
        splitter.begin(&block, &mut sink)?;
        content.chunks(piece).try_for_each(|piece| splitter.feed(piece, &mut sink))?;
        splitter.finish()
    };
    for piece in 1..=whole.len() {
        take(&whole, piece).unwrap();
        assert_eq!(take(&whole[..whole.len() - 1], piece).unwrap_err().code, Code::A05);
        assert_eq!(take(&[&whole[..], b"x"].concat(), piece).unwrap_err().code, Code::A04);
        assert_eq!(take(&[b"O", &whole[1..]].concat(), piece).unwrap_err().code, Code::A01);
    }
    let wire = super::super::frame::compress(3, &whole).unwrap();
    assert!(take(&wire, wire.len()).is_err(), "a frame is content like any other");
}
