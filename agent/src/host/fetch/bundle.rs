//! The same as over the network, out of a bundle on this host's disk: every byte is held against the same digests.

use std::{
    collections::HashSet,
    fs::File,
    io::{BufReader, Seek as _},
    sync::atomic::AtomicBool,
};

use longshore_common::{
    bundle::{Blob, Index, frame::Form, split::BlobSink},
    code::{Code, Coded},
    digest::BlobDigest,
    ids::AppName,
    manifest::Manifest,
    offline::{Head, Reader},
};

use super::{FetchError, Place, ROUNDS, Round, StopOnDrop, meta};
use crate::{
    host::{
        layout::Layout,
        sink::Sink,
        stage::{StageError, Tree, Writer, check, place},
        sys,
    },
    plan::Wanted,
};

/// Bytes between two words about progress.
const PROGRESS_EVERY: u64 = 1 << 20;

/// The manifest of the release that the bundle brings, if it is the one wanted.
pub fn read_bundled_manifest(
    (form, file): (Form, &File),
    app: &AppName,
    wanted: &Wanted,
) -> Result<Manifest, FetchError> {
    let (head, _) = open(form, file)?;
    Ok(meta::read_manifest(&head.manifest, app, wanted)?)
}

/// Everything into the staging tree but what is rendered. Dropping the future gives it up; what was verified by then
/// stays.
pub async fn unpack_bundle(
    (form, file): (Form, File),
    layout: &Layout,
    app: &AppName,
    wanted: &Wanted,
    sink: &Sink,
) -> Result<(), FetchError> {
    let place = Place::find(layout, app, wanted).await?;
    let stop = StopOnDrop::default();
    let (stopped, sink) = (stop.0.clone(), sink.clone());
    let unpacked = place.clone().blocking(move |place| unpack((form, &file), &place, &sink, &stopped)).await;
    place.clear_if_wrong(&unpacked).await;
    unpacked
}

fn unpack(file: (Form, &File), place: &Place, sink: &Sink, stop: &AtomicBool) -> Result<(), StageError> {
    let mut tree = meta::open(place)?;
    let index = lay_down_meta(file, place, &mut tree)?;
    let mut gone = HashSet::new();
    for _ in 0..ROUNDS {
        let round = Round::begin(place, tree, index.clone().into(), &gone)?;
        (tree, gone) = one_round(file, round, sink, stop)?;
        if gone.is_empty() {
            sys::give_back_memory();
            return Ok(());
        }
    }
    Err(Coded::new(Code::X01, "files of a sealed slot change while they are read").into())
}

fn lay_down_meta((form, file): (Form, &File), place: &Place, tree: &mut Tree) -> Result<Index, StageError> {
    let (head, _) = open(form, file)?;
    let manifest = meta::read_manifest(&head.manifest, &place.app, &place.wanted)?;
    let index = head.index(&manifest.artifact.index)?;
    longshore_common::bundle::fit(&manifest, &index, &manifest.artifact.index)?;
    meta::lay_down(tree, &head.manifest, &index.encode())?;
    Ok(index)
}

fn one_round(
    (form, file): (Form, &File),
    round: Round,
    sink: &Sink,
    stop: &AtomicBool,
) -> Result<(Tree, HashSet<BlobDigest>), StageError> {
    let Round { mut tree, index, survey, blobs, bytes: total } = round;
    let gone = place(&mut tree, &index, &survey, stop)?;
    let (mut done, mut told) = (0, 0);
    let mut progress = |more| {
        done += more;
        if done - told >= PROGRESS_EVERY || done == total {
            told = done;
            sink.progress(done, total, "");
        }
    };
    let wanted = blobs.of(index.blobs()).map(|(number, _)| number).collect();
    let writer = Writer::new(&mut tree, &index, &mut progress);
    let (_, reader) = open(form, file)?;
    reader.blobs(&index, &mut Chosen { writer, wanted, open: false }, &|| check(stop))?;
    Ok((tree, gone))
}

fn open(form: Form, mut file: &File) -> Result<(Head, Reader<BufReader<&File>>), Coded> {
    file.rewind().map_err(|e| Coded::new(Code::S04, format!("read the bundle: {e}")))?;
    Reader::open_as(form, BufReader::new(file))
}

/// Writes what is wanted; the rest of the bundle is only held against the index.
struct Chosen<'a> {
    writer: Writer<'a>,
    wanted: HashSet<u32>,
    open: bool,
}

impl BlobSink for Chosen<'_> {
    type Error = StageError;

    fn begin(&mut self, number: u32, blob: &Blob) -> Result<(), StageError> {
        self.open = self.wanted.contains(&number);
        if self.open { self.writer.begin(number, blob) } else { Ok(()) }
    }

    fn write(&mut self, content: &[u8]) -> Result<(), StageError> {
        if self.open { self.writer.write(content) } else { Ok(()) }
    }

    fn end(&mut self, number: u32, blob: &Blob) -> Result<(), StageError> {
        if self.open { self.writer.end(number, blob) } else { Ok(()) }
    }
}
