//! The time of change that a file in a slot carries: derived from its content, so that it is the same on every host and
//! two contents of one size never share it.
//!
//! Web servers make ETags of (time, size), tools compare (time, size), and so do we: a file in a sealed slot that still
//! has both is the one that was sealed. Real times of change would differ from machine to machine.

use crate::digest::BlobDigest;

/// 2000-01-01T00:00:00Z. Everything that is derived lies in the eight and a half years after it, so nothing that looks
/// at a file takes it to be from the future, or to be fresh.
const EPOCH: i64 = 946_684_800;
/// Bits of the digest that choose the second.
const SECOND_BITS: u32 = 28;

/// Seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mtime {
    pub seconds: i64,
    pub nanos: u32,
}

impl Mtime {
    pub fn of(digest: &BlobDigest) -> Self {
        let word = u64::from_le_bytes(*digest.0.first_chunk().expect("a digest has 32 bytes"));
        let seconds = word & ((1 << SECOND_BITS) - 1);
        let nanos = (word >> SECOND_BITS) % 1_000_000_000;
        Self { seconds: EPOCH + seconds as i64, nanos: nanos as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_differ_by_content_and_lie_in_the_past() {
        let (a, b) = (Mtime::of(&BlobDigest::of(b"1.0.0")), Mtime::of(&BlobDigest::of(b"1.0.1")));
        assert_ne!(a.seconds, b.seconds);
        assert_eq!(a, Mtime::of(&BlobDigest::of(b"1.0.0")));
        let highest = Mtime::of(&BlobDigest([0xff; 32]));
        assert!(highest.seconds < 1_230_000_000 && highest.nanos < 1_000_000_000);
    }
}
