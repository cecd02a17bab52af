//! The room that a host needs before it fetches: the controller looks before a rollout begins, the host looks again.

/// Of a disk; files fill whole ones.
const BLOCK_BYTES: u64 = 4096;
/// Free room that must be there, in hundredths of what is written: directories, journals, other writers.
const ROOM_PERCENT: u64 = 115;

/// Bytes that must be free before files of these sizes are written.
pub fn room(sizes: impl IntoIterator<Item = u64>) -> u64 {
    let written: u64 = sizes.into_iter().map(|size| size.next_multiple_of(BLOCK_BYTES)).sum();
    written / 100 * ROOM_PERCENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_take_whole_blocks_and_some_room_beside_them() {
        assert_eq!(room([]), 0);
        assert_eq!(room([1, 4096, 4097]), 16_384 / 100 * 115);
        assert_eq!(room([30_000_000]), 34_503_680);
    }
}
