//! What an artifact may be. Anything over a limit is refused where it enters, before it is acted on.

/// Entries of an index. Ten times the largest tree we measured (a Python environment with CUDA, 11 000 files).
pub const ENTRIES: usize = 100_000;
/// Bytes of one path. `PATH_MAX` is 4096 and the slot's own folder comes before it.
pub const PATH_BYTES: usize = 1024;
/// Components of one path.
pub const PATH_DEPTH: usize = 32;
/// Bytes of one component: `NAME_MAX` of every file system we know.
pub const NAME_BYTES: usize = 255;
/// Sum of the files' sizes.
pub const ARTIFACT_BYTES: u64 = 8 << 30;
/// Bytes of an encoded index. 100 000 entries with paths of 120 bytes come to 16 MiB.
pub const INDEX_BYTES: usize = 16 << 20;
/// Symbolic links followed in resolving one target; the kernel's own limit.
pub const LINK_HOPS: usize = 40;
/// Components walked in resolving all links of an index, so that entangled ones cannot cost minutes.
pub const LINK_STEPS: u32 = 4_000_000;

/// Content of one block, unless a single larger blob is all of it. Large enough that small files share a dictionary,
/// small enough that a cut costs little.
pub const BLOCK_CONTENT_BYTES: u64 = 8 << 20;
/// Largest window that a frame may ask of the one who decodes it: 8 MiB.
pub const WINDOW_LOG: u32 = 23;
/// Level at which a release's blocks are made, once, when it is published. 70.7 MB for 167 MB of program in 3.2 s of
/// CPU; level 19 saves a tenth more for thirty times the CPU.
pub const PUBLISH_LEVEL: i32 = 9;
/// Level of blocks that a host is waiting for: a quarter of the CPU for a twenty-fifth more bytes.
pub const DEMAND_LEVEL: i32 = 3;
/// Level at which blobs travel from the publisher: 240 MB/s a core, as fast as most uplinks or faster.
pub const UPLOAD_LEVEL: i32 = 3;

/// Bytes of one piece of a stream. Well below the 1 MiB that a message may have, large enough that the cost of a
/// message does not show.
pub const PIECE_BYTES: usize = 256 * 1024;
/// Bytes of a `Publish` message: a manifest, a compressed index, which is no larger than an index and a little, and what
/// is attested.
pub const PUBLISH_BYTES: usize =
    INDEX_BYTES + (1 << 20) + crate::offline::ATTESTATIONS * crate::offline::ATTESTATION_BYTES;
/// Digests in one `Missing` call.
pub const MISSING_DIGESTS: usize = 10_000;

/// The folder at the top of a slot that is ours. No artifact may hold it, in any case of its letters.
pub const RESERVED: &str = ".longshore";
