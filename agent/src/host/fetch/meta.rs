//! The manifest and the index of a release: asked for once, kept in the staging tree, believed only by their digest.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    sync::Arc,
};

use longshore_common::{
    bundle::{
        Index, fit,
        frame::{Collect, Form},
        limits,
    },
    code::{Code, Coded},
    digest::{IndexDigest, ReleaseDigest},
    durable::Step,
    ids::AppName,
    manifest::{MANIFEST_BYTES, Manifest},
};
use longshore_proto::v1 as pb;
use rustix::fs::{Mode, OFlags};

use super::{FetchError, Place, unblocked};
use crate::{
    helper::{Came, Inflow},
    host::{
        layout::{INDEX, MANIFEST, META},
        stage::{StageError, Tree, at},
    },
    plan::Wanted,
    supply::{Coming, Pieces, Source},
};

/// Opens the staging tree. What another release left under the same name is removed.
pub(super) fn open(place: &Place) -> Result<Tree, StageError> {
    let mut tree = Tree::lock(&place.staged)?;
    let kept = read(&tree, MANIFEST, MANIFEST_BYTES)?;
    if kept.is_none_or(|bytes| ReleaseDigest::of(&bytes) != place.wanted.release) {
        tree.clear()?;
    }
    Ok(tree)
}

pub(super) async fn manifest(
    source: Source,
    tree: Tree,
    place: Place,
) -> Result<(Manifest, Tree), FetchError> {
    let (kept, tree) = keep(place.clone(), tree, |tree| read(tree, MANIFEST, MANIFEST_BYTES)).await?;
    let wanted = place.wanted.clone();
    if let Some(bytes) = kept {
        return Ok((read_manifest(&bytes, &place.app, &wanted)?, tree));
    }
    let bytes = source.manifest(&place.app, &wanted.release).await?;
    let manifest = read_manifest(&bytes, &place.app, &wanted)?;
    let ((), tree) = keep(place, tree, move |tree| write(tree, MANIFEST, &bytes)).await?;
    Ok((manifest, tree))
}

pub(super) async fn index(
    source: Source,
    tree: Tree,
    place: Place,
    manifest: &Manifest,
) -> Result<(Arc<Index>, Tree), FetchError> {
    let digest = manifest.artifact.index;
    let (kept, tree) = keep(place.clone(), tree, |tree| read(tree, INDEX, limits::INDEX_BYTES)).await?;
    if let Some(bytes) = kept.filter(|bytes| IndexDigest::of(bytes) == digest) {
        return Ok((Arc::new(read_index(&bytes, manifest)?), tree));
    }
    let bytes = match source.index(&place.app, &place.wanted.release).await? {
        Coming::Pieces(pieces) => expand(pieces).await?,
        Coming::Flow(mut flow, _cut) => unblocked(move || collect(&mut flow)).await?,
    };
    let index = Arc::new(read_index(&bytes, manifest)?);
    let ((), tree) = keep(place, tree, move |tree| write(tree, INDEX, &bytes)).await?;
    Ok((index, tree))
}

async fn expand(mut pieces: Pieces<pb::Piece>) -> Result<Vec<u8>, FetchError> {
    let mut collect = collector(Form::Framed)?;
    while let Some(piece) = pieces.next().await? {
        collect.feed(&piece.data)?;
    }
    Ok(collect.finish()?)
}

fn collect(flow: &mut Inflow) -> Result<Vec<u8>, FetchError> {
    let mut collect = collector(Form::Plain)?;
    while let Some(came) = flow.take()? {
        match came {
            Came::Content(content) => collect.feed(content)?,
            Came::Head(_) => return Err(Coded::new(Code::A05, "a block came where an index was due").into()),
        }
    }
    Ok(collect.finish()?)
}

fn collector(form: Form) -> Result<Collect, FetchError> {
    let fault = |e| FetchError::Host(Coded::new(Code::X01, format!("zstd: {e}")));
    Collect::of(form, limits::INDEX_BYTES).map_err(fault)
}

/// Both, as they were verified; what is there already stays.
pub(super) fn lay_down(tree: &mut Tree, manifest: &[u8], index: &[u8]) -> Result<(), StageError> {
    for (name, bytes, most) in [(MANIFEST, manifest, MANIFEST_BYTES), (INDEX, index, limits::INDEX_BYTES)] {
        if read(tree, name, most)?.is_none_or(|kept| kept != bytes) {
            write(tree, name, bytes)?;
        }
    }
    Ok(())
}

/// What a staging tree says of itself, held against what is wanted.
pub fn read_meta(tree: &Tree, wanted: &Wanted) -> Result<(Manifest, Index), StageError> {
    let absent =
        |name| Coded::new(Code::X01, format!("{name} is missing in {}; fetch again", tree.path().display()));
    let manifest = read(tree, MANIFEST, MANIFEST_BYTES)?.ok_or_else(|| absent(MANIFEST))?;
    if ReleaseDigest::of(&manifest) != wanted.release {
        return Err(Coded::new(Code::A01, "the staged manifest is not the one assigned").into());
    }
    let manifest = Manifest::from_bytes(&manifest)?;
    let index =
        read_index(&read(tree, INDEX, limits::INDEX_BYTES)?.ok_or_else(|| absent(INDEX))?, &manifest)?;
    Ok((manifest, index))
}

pub(super) fn read_manifest(bytes: &[u8], app: &AppName, wanted: &Wanted) -> Result<Manifest, Coded> {
    let got = ReleaseDigest::of(bytes);
    if got != wanted.release {
        let message = format!("the manifest came with sha256 {got}, {} was assigned", wanted.release);
        return Err(Coded::new(Code::A01, message));
    }
    let manifest = Manifest::from_bytes(bytes)?;
    if (&manifest.app, &manifest.version) != (app, &wanted.version) {
        let message = format!(
            "the manifest is of {}@{}, {}@{} was assigned",
            manifest.app, manifest.version, app, wanted.version
        );
        return Err(Coded::new(Code::M01, message));
    }
    Ok(manifest)
}

fn read_index(bytes: &[u8], manifest: &Manifest) -> Result<Index, Coded> {
    let digest = IndexDigest::of(bytes);
    if digest != manifest.artifact.index {
        let message =
            format!("the index came with sha256 {digest}, the manifest names {}", manifest.artifact.index);
        return Err(Coded::new(Code::A01, message));
    }
    let index = Index::decode(bytes)?;
    fit(manifest, &index, &digest)?;
    Ok(index)
}

async fn keep<T: Send + 'static>(
    place: Place,
    mut tree: Tree,
    work: impl FnOnce(&mut Tree) -> Result<T, StageError> + Send + 'static,
) -> Result<(T, Tree), FetchError> {
    place.blocking(move |_| Ok((work(&mut tree)?, tree))).await
}

fn read(tree: &Tree, name: &str, most: usize) -> Result<Option<Vec<u8>>, StageError> {
    let path = format!("{META}/{name}");
    let full = tree.path().join(&path);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file: File = match rustix::fs::openat(tree.root(), &path, flags, Mode::empty()) {
        Ok(fd) => fd.into(),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(e) => return Err(at(Step::Open, &full)(e)),
    };
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(at(Step::Read, &full))?;
    Ok((bytes.len() <= most).then_some(bytes))
}

fn write(tree: &mut Tree, name: &str, bytes: &[u8]) -> Result<(), StageError> {
    let path = format!("{META}/{name}");
    let full = tree.path().join(&path);
    let mut file = tree.create(&path)?;
    file.write_all(bytes).map_err(at(Step::Write, &full))?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o444)).map_err(at(Step::SetMode, &full))
}
