//! Where artifacts lie on the controller, and how they are made ready to travel.
//!
//! ```text
//! <root>/blobs/<2 hex>/<digest>   a blob, as the zstd frame that was uploaded and verified
//! <root>/indexes/<digest>         an index, as a zstd frame
//! <root>/manifests/<digest>       a manifest, as it is
//! <root>/attestations/<digest>    what is attested of a release, as it was given
//! <root>/blocks/<key>             a block, made once; a cache, bounded, the least used goes first
//! <root>/damaged/<digest>         blobs that no longer were what their name says
//! ```
//!
//! Blobs are kept compressed because they come so, and 2.4 times less is then written and synced at publish; reading
//! one costs 0.2 s of CPU for 167 MB, once, when its block is made. What keeps a blob is a release in the store that
//! names it (`gc`).

mod blobs;
mod blocks;
mod gc;
mod named;
mod publish;
mod release;
mod sound;

use std::{io, path::Path, sync::Arc};

use longshore_common::{
    bundle::{Blob, Index, block::Wanted, block::partition},
    code::{Code, Coded},
    durable::{self, DurableError},
};

pub use blobs::{Batch, BlobStore, Incoming};
pub use blocks::{BLOCK_CACHE_BYTES, BlockCache, BlockFile, MAKERS, Purpose};
pub use gc::{Collected, GRACE, collect};
pub use named::NamedFiles;
pub use publish::{Offered, Published, Publisher};
pub use release::{Release, Withdrawal, latest_of, list, load, unknown};

use crate::trouble::Trouble;

/// Everything of artifacts that lies on this controller's disk. Shared by all who serve it.
#[derive(Debug)]
pub struct BundleStore {
    pub blobs: BlobStore,
    pub named: NamedFiles,
    pub blocks: BlockCache,
}

#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// What was given, or asked for, is wrong.
    #[error(transparent)]
    Refused(#[from] Coded),
    #[error(transparent)]
    Disk(#[from] DurableError),
    /// A blob is gone or no longer what its name says.
    #[error("blob {} is {how} on the controller; publish its release once more to mend it", blob.digest)]
    Damaged { blob: Blob, how: &'static str },
}

impl BundleError {
    pub fn coded(&self) -> Coded {
        let code = match self {
            BundleError::Refused(coded) => return coded.clone(),
            BundleError::Disk(error) => error.code(),
            BundleError::Damaged { .. } => Code::S02,
        };
        Coded::new(code, longshore_common::chain::Chain(self).to_string())
    }
}

impl From<BundleError> for Trouble {
    fn from(error: BundleError) -> Self {
        Trouble::Refused(error.coded())
    }
}

impl BundleStore {
    /// Blocks. `block_cache_bytes` bounds what the blocks take; blobs are bounded by the releases that name them.
    pub fn open(root: &Path, block_cache_bytes: u64) -> Result<Arc<Self>, BundleError> {
        durable::create_dir_durable(root, 0o700)?;
        let blobs = BlobStore::open(root)?;
        let named = NamedFiles::open(root)?;
        let blocks = BlockCache::open(&root.join("blocks"), block_cache_bytes)?;
        Ok(Arc::new(Self { blobs, named, blocks }))
    }

    /// Makes every block of the whole artifact and returns their bytes on the wire.
    pub async fn make_blocks(self: &Arc<Self>, index: &Arc<Index>) -> Result<u64, BundleError> {
        self.make(index, &Wanted::All).await
    }

    /// Makes what a host that holds `earlier` will ask for, so that it does not have to wait.
    pub async fn make_difference(
        self: &Arc<Self>,
        index: &Arc<Index>,
        earlier: &Index,
    ) -> Result<u64, BundleError> {
        let held = earlier.numbers();
        let wanted = Wanted::choose(index.blobs(), |digest| !held.contains_key(digest));
        self.make(index, &wanted).await
    }

    async fn make(self: &Arc<Self>, index: &Arc<Index>, wanted: &Wanted) -> Result<u64, BundleError> {
        use futures_util::{StreamExt as _, TryStreamExt as _, stream};
        let blocks = partition(index.blobs(), wanted);
        let made = blocks.into_iter().map(|block| async move {
            let file = self.block(index, &block, Purpose::Publish).await?;
            Ok::<u64, BundleError>(file.wire_bytes)
        });
        stream::iter(made).buffer_unordered(MAKERS).try_fold(0, |sum, n| async move { Ok(sum + n) }).await
    }
}

/// Runs what blocks where it may.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BundleError> + Send + 'static,
) -> Result<T, BundleError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(died) => Err(Coded::new(Code::X01, format!("work on the bundle store ended: {died}")).into()),
    }
}

fn zstd_fault(error: io::Error) -> BundleError {
    Coded::new(Code::X01, format!("zstd: {error}")).into()
}
