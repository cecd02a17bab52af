//! Which blobs travel together. Pure: the same wish always gives the same blocks, so that one host's block is the next
//! host's cache hit.

use super::{index::Blob, limits};
use crate::{
    code::{Code, Coded},
    digest::BlobDigest,
};

/// Blobs that travel in one zstd frame, one after the other. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Numbers of the blobs in their index, rising.
    pub numbers: Vec<u32>,
    /// Sum of the blobs' sizes.
    pub content_bytes: u64,
}

/// Cuts the wanted blobs into blocks: each is in exactly one, in their order. A block holds at most
/// `BLOCK_CONTENT_BYTES`, unless one larger blob is all of it.
pub fn partition(blobs: &[Blob], wanted: &Wanted) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for (number, blob) in wanted.of(blobs) {
        match blocks.last_mut() {
            Some(block) if block.content_bytes + blob.size <= limits::BLOCK_CONTENT_BYTES => {
                block.numbers.push(number);
                block.content_bytes += blob.size;
            }
            _ => blocks.push(Block { numbers: vec![number], content_bytes: blob.size }),
        }
    }
    blocks
}

/// What names a block's bytes: its content, and how it was encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockKey([u8; 32]);

impl BlockKey {
    pub fn of(blobs: &[Blob], block: &Block, level: i32) -> Self {
        let mut hash = blake3::Hasher::new_derive_key("longshore block 1");
        hash.update(&level.to_le_bytes());
        for number in &block.numbers {
            hash.update(blobs[*number as usize].digest.as_bytes());
        }
        Self(*hash.finalize().as_bytes())
    }

    pub fn hex(&self) -> String {
        crate::digest::hex(&self.0)
    }
}

/// A choice among the distinct blobs of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    All,
    /// By number, rising, without repetition.
    Some(Vec<u32>),
}

impl Wanted {
    pub fn of<'a>(&'a self, blobs: &'a [Blob]) -> Box<dyn Iterator<Item = (u32, &'a Blob)> + 'a> {
        match self {
            Wanted::All => Box::new((0..).zip(blobs)),
            Wanted::Some(numbers) => Box::new(numbers.iter().map(|n| (*n, &blobs[*n as usize]))),
        }
    }

    /// The blobs for which `lacking` says so.
    pub fn choose(blobs: &[Blob], mut lacking: impl FnMut(&BlobDigest) -> bool) -> Self {
        let numbers: Vec<u32> =
            (0..).zip(blobs).filter(|(_, blob)| lacking(&blob.digest)).map(|(number, _)| number).collect();
        if numbers.len() == blobs.len() { Wanted::All } else { Wanted::Some(numbers) }
    }

    /// One bit per blob, lowest first. All of them is the empty map; none of them is never asked for.
    pub fn to_bitmap(&self) -> Vec<u8> {
        let Wanted::Some(numbers) = self else { return vec![] };
        let mut bits = vec![0; numbers.last().map_or(1, |last| *last as usize / 8 + 1)];
        for number in numbers {
            bits[*number as usize / 8] |= 1 << (number % 8);
        }
        bits
    }

    pub fn from_bitmap(bits: &[u8], blobs: usize) -> Result<Self, Coded> {
        if bits.is_empty() {
            return Ok(Wanted::All);
        }
        let numbers: Vec<u32> =
            (0..bits.len() as u32 * 8).filter(|n| bits[*n as usize / 8] & (1 << (n % 8)) != 0).collect();
        match numbers.last() {
            Some(last) if *last as usize >= blobs => Err(Coded::new(
                Code::A05,
                format!("blob {last} was asked for; the index has {blobs}, numbered from 0"),
            )),
            _ => Ok(Wanted::Some(numbers)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn blobs(sizes: &[u64]) -> Vec<Blob> {
        let digest = |n: usize| BlobDigest::of(&n.to_le_bytes());
        sizes.iter().enumerate().map(|(n, size)| Blob { digest: digest(n), size: *size }).collect()
    }

    #[test]
    fn a_large_blob_is_a_block_of_its_own() {
        let max = limits::BLOCK_CONTENT_BYTES;
        let cut = partition(&blobs(&[1, max - 1, 1, max + 1, 0, 2]), &Wanted::All);
        let numbers: Vec<_> = cut.iter().map(|block| block.numbers.clone()).collect();
        assert_eq!(numbers, [vec![0, 1], vec![2], vec![3], vec![4, 5]]);
    }

    #[test]
    fn a_bitmap_names_only_blobs_that_there_are() {
        assert_eq!(Wanted::from_bitmap(&[0b101], 3).unwrap(), Wanted::Some(vec![0, 2]));
        assert_eq!(Wanted::from_bitmap(&[0b1000], 3).unwrap_err().code, Code::A05);
        assert_eq!(Wanted::from_bitmap(&[], 3).unwrap(), Wanted::All);
    }

    #[test]
    fn a_block_is_named_by_its_content_and_how_it_was_encoded() {
        let blobs = blobs(&[1, 2, 3]);
        let block = |numbers: &[u32]| Block { numbers: numbers.to_vec(), content_bytes: 0 };
        let name = |numbers: &[u32], level| BlockKey::of(&blobs, &block(numbers), level).hex();
        let names = [name(&[0, 1], 3), name(&[1, 0], 3), name(&[0], 3), name(&[0, 1], 9)];
        assert_eq!(names[0], name(&[0, 1], 3));
        for (at, one) in names.iter().enumerate() {
            assert!(one.len() == 64 && one.bytes().all(|b| b.is_ascii_hexdigit()), "{one}");
            assert!(!names[..at].contains(one), "{names:?}");
        }
    }

    #[test]
    fn who_lacks_everything_wants_all_and_who_lacks_nothing_wants_none() {
        let blobs = blobs(&[1, 2, 3]);
        assert_eq!(Wanted::choose(&blobs, |_| true), Wanted::All);
        assert_eq!(Wanted::choose(&blobs, |_| false), Wanted::Some(vec![]));
        assert_eq!(Wanted::choose(&blobs, |digest| *digest == blobs[1].digest), Wanted::Some(vec![1]));
    }

    proptest! {
        #[test]
        fn every_wanted_blob_is_in_one_block_in_order(
            sizes in prop::collection::vec(0..12u64 << 20, 0..60), pick in any::<u64>()
        ) {
            let blobs = blobs(&sizes);
            let wanted = Wanted::choose(&blobs, |d| d.0[0] as u64 & 7 <= pick & 7);
            let asked: Vec<u32> = wanted.of(&blobs).map(|(number, _)| number).collect();
            let cut = partition(&blobs, &wanted);
            let sent: Vec<u32> = cut.iter().flat_map(|block| block.numbers.clone()).collect();
            prop_assert_eq!(&sent, &asked);
            for block in &cut {
                let content: u64 = block.numbers.iter().map(|n| blobs[*n as usize].size).sum();
                prop_assert_eq!(content, block.content_bytes);
                prop_assert!(content <= limits::BLOCK_CONTENT_BYTES || block.numbers.len() == 1);
            }
            if !asked.is_empty() {
                prop_assert_eq!(Wanted::from_bitmap(&wanted.to_bitmap(), blobs.len()).unwrap(), wanted);
            }
        }
    }
}
