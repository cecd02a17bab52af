//! Gets what no slot here holds, and lays out the staging tree of a slot.
//!
//! Network and disk overlap: where this process has the network, this side reads pieces off the connection, one thread
//! decodes, hashes and writes them, and a few pieces wait between; where it has none, the thread reads what another
//! process brings. What was verified stays in the staging tree when the connection is cut, and is not asked
//! for again. When bytes are not what they should be, the staging tree is removed.
//!
//! Patches, when they come, are another way to fill `lacking`; everything else stays.

mod blocks;
mod bundle;
mod error;
mod meta;
mod receive;

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use longshore_common::{
    bundle::{Index, block::Wanted as Blobs},
    code::{Code, Coded},
    durable,
    ids::AppName,
    manifest::Manifest,
};

pub use bundle::{read_bundled_manifest, unpack_bundle};
pub use error::FetchError;
pub(crate) use error::silent;
pub use meta::read_meta;

use super::{
    layout::Layout,
    sink::Sink,
    stage::{self, StageError, Survey, Tree},
    sys,
};
use crate::{plan::Wanted, supply::Source};

/// Times that blobs which vanished from a slot under our hands are asked for after all.
const ROUNDS: usize = 3;

/// The manifest of a release that is assigned to this host: from the staging tree when it is there, else asked for.
pub async fn manifest(
    source: impl Into<Source>,
    layout: &Layout,
    app: &AppName,
    wanted: &Wanted,
) -> Result<Manifest, FetchError> {
    let place = Place::find(layout, app, wanted).await?;
    let asked = async {
        let tree = place.clone().blocking(|place| meta::open(&place)).await?;
        meta::manifest(source.into(), tree, place.clone()).await
    };
    let asked = asked.await.map(|(manifest, _)| manifest);
    place.clear_if_wrong(&asked).await;
    asked
}

/// Everything into the staging tree but what is rendered. Dropping the future gives it up; what was verified by then
/// stays.
pub async fn fetch(
    source: impl Into<Source>,
    layout: &Layout,
    app: &AppName,
    wanted: &Wanted,
    sink: &Sink,
) -> Result<(), FetchError> {
    let place = Place::find(layout, app, wanted).await?;
    let stop = StopOnDrop::default();
    let fetched = rounds(source.into(), &place, sink, &stop.0).await;
    place.clear_if_wrong(&fetched).await;
    unblocked(|| {
        sys::give_back_memory();
        Ok(())
    })
    .await?;
    fetched
}

async fn rounds(
    source: Source,
    place: &Place,
    sink: &Sink,
    stop: &Arc<AtomicBool>,
) -> Result<(), FetchError> {
    let tree = place.clone().blocking(|place| meta::open(&place)).await?;
    let (manifest, tree) = meta::manifest(source.clone(), tree, place.clone()).await?;
    let (index, mut tree) = meta::index(source.clone(), tree, place.clone(), &manifest).await?;
    let mut gone = HashSet::new();
    for _ in 0..ROUNDS {
        let round = Round::look(place.clone(), tree, index.clone(), gone).await?;
        (tree, gone) = receive::run(source.clone(), place, round, sink, stop).await?;
        if gone.is_empty() {
            return Ok(());
        }
    }
    Err(FetchError::Host(Coded::new(Code::X01, "files of a sealed slot change while they are read")))
}

/// Where a slot is staged, and out of what.
#[derive(Clone, Debug)]
pub struct Place {
    app: AppName,
    wanted: Wanted,
    staged: PathBuf,
    /// Sealed ones, the newest first: it is likely the nearest.
    slots: Vec<PathBuf>,
}

impl Place {
    /// Where what came was wrong, nothing of it is to be believed. The error to tell is the one that came first.
    async fn clear_if_wrong<T>(&self, result: &Result<T, FetchError>) {
        let Err(FetchError::Content(_)) = result else { return };
        if let Err(error) = self.clone().blocking(|place| stage_discard(&place)).await {
            tracing::warn!("the staging tree could not be removed: {error}");
        }
    }

    async fn find(layout: &Layout, app: &AppName, wanted: &Wanted) -> Result<Self, FetchError> {
        let (layout, app, wanted) = (layout.clone(), app.clone(), wanted.clone());
        unblocked(move || {
            // The last that is made; durable by whoever made it, and again by the sync before the seal.
            if !layout.run(&app, super::layout::Part::Whole).is_dir() {
                layout.make_app(&app).map_err(FetchError::from_failure)?;
            }
            stage::on_one_disk(&layout.staging(&app), &layout.releases(&app))?;
            let sealed = layout.sealed(&app).map_err(FetchError::from_failure)?;
            let mut slots: Vec<PathBuf> = sealed.iter().map(|slot| layout.slot(&app, slot)).collect();
            // The order in which they are looked through, no more: one that cannot be asked comes last.
            let changed = |path: &PathBuf| std::fs::metadata(path).and_then(|about| about.modified()).ok();
            slots.sort_by_key(|path| std::cmp::Reverse(changed(path)));
            let staged = layout.staged(&app, &wanted.slot);
            Ok(Self { app, wanted, staged, slots })
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        self,
        work: impl FnOnce(Self) -> Result<T, StageError> + Send + 'static,
    ) -> Result<T, FetchError> {
        unblocked(move || Ok(work(self)?)).await
    }
}

async fn unblocked<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(died) => Err(FetchError::Host(Coded::new(Code::X01, format!("staging ended: {died}")))),
    }
}

/// What one round has to do.
struct Round {
    tree: Tree,
    index: Arc<Index>,
    survey: Survey,
    blobs: Blobs,
    bytes: u64,
}

impl Round {
    /// Looks at what is here, and whether the rest has room.
    async fn look(
        place: Place,
        tree: Tree,
        index: Arc<Index>,
        gone: HashSet<longshore_common::digest::BlobDigest>,
    ) -> Result<Self, FetchError> {
        place.blocking(move |place| Self::begin(&place, tree, index, &gone)).await
    }

    /// As [`Round::look`], on a thread that may block.
    fn begin(
        place: &Place,
        tree: Tree,
        index: Arc<Index>,
        gone: &HashSet<longshore_common::digest::BlobDigest>,
    ) -> Result<Self, StageError> {
        let mut survey = stage::survey(&tree, &index, &place.slots)?;
        survey.held.retain(|digest, _| !gone.contains(digest));
        let needed = survey.room(&index);
        let free = durable::free_bytes(tree.path())?;
        if needed > free {
            return Err(stage::too_full(needed, free, tree.path()).into());
        }
        let lacking = survey.lacking(&index);
        let blobs = Blobs::choose(index.blobs(), |digest| lacking.contains(digest));
        let bytes = blobs.of(index.blobs()).map(|(_, blob)| blob.size).sum();
        Ok(Self { tree, index, survey, blobs, bytes })
    }
}

fn stage_discard(place: &Place) -> Result<(), StageError> {
    Tree::lock(&place.staged)?.discard()
}

/// Tells the thread that writes that nobody waits for it any more.
#[derive(Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
