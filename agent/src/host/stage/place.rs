//! Puts blobs at their paths: written as they come, or linked from where they are.

use std::{
    collections::HashSet,
    fs::File,
    io::{Read as _, Write as _},
    sync::atomic::{AtomicBool, Ordering},
};

use longshore_common::{
    bundle::{Blob, Index, Kind, split::BlobSink},
    code::{Code, Coded},
    digest::BlobDigest,
    durable::Step,
};

use super::{
    survey::{Held, Survey, open_file},
    tree::{StageError, Tree, at, is_marked, mark_verified},
};

/// Bytes copied at once.
const COPY: usize = 128 * 1024;

/// Lays out everything that needs no transfer: links, what slots hold, second names of what is staged. Returns the
/// blobs that turned out not to be here after all.
pub fn place(
    tree: &mut Tree,
    index: &Index,
    survey: &Survey,
    stop: &AtomicBool,
) -> Result<HashSet<BlobDigest>, StageError> {
    let mut first: std::collections::HashMap<BlobDigest, (usize, bool)> = std::collections::HashMap::new();
    for at in &survey.staged {
        if let Kind::File { executable, blob } = &index.entries()[*at].kind {
            first.insert(blob.digest, (*at, *executable));
        }
    }
    let mut gone = HashSet::new();
    for (at, entry) in index.entries().iter().enumerate() {
        check(stop)?;
        match &entry.kind {
            Kind::Link { target } => tree.symlink(&entry.path, target)?,
            Kind::File { .. } if survey.staged.contains(&at) => {}
            Kind::File { executable, blob } => {
                let placed = match (first.get(&blob.digest), survey.held.get(&blob.digest)) {
                    (Some((other, other_executable)), _) => {
                        let source = &index.entries()[*other].path;
                        again(tree, source, *other_executable, &entry.path, *executable, blob)?
                    }
                    (None, Some(held)) => from_slot(tree, survey, held, &entry.path, *executable, blob)?,
                    (None, None) => continue, // comes over the network
                };
                if placed {
                    first.entry(blob.digest).or_insert((at, *executable));
                } else {
                    gone.insert(blob.digest);
                }
            }
        }
    }
    Ok(gone)
}

/// A second name, or a second copy, of what stands in the tree.
fn again(
    tree: &mut Tree,
    source: &str,
    source_executable: bool,
    path: &str,
    executable: bool,
    blob: &Blob,
) -> Result<bool, StageError> {
    let twin = Tree::open(tree.path())?;
    if source_executable == executable && tree.link(twin.root(), source, path)? {
        return Ok(true);
    }
    copy(tree, &twin, source, path, executable, blob)
}

fn from_slot(
    tree: &mut Tree,
    survey: &Survey,
    held: &Held,
    path: &str,
    executable: bool,
    blob: &Blob,
) -> Result<bool, StageError> {
    let slot = &survey.slots[held.slot];
    if held.executable == executable && tree.link(slot.root(), &held.path, path)? {
        // Looked at after the link was made: what it names now is what the slot will hold.
        let same = tree.stat(path)?.is_some_and(|stat| is_marked(&stat, blob, executable));
        if same {
            return Ok(true);
        }
    }
    match slot.stat(&held.path)? {
        Some(_) => copy(tree, slot, &held.path, path, executable, blob),
        None => Ok(false),
    }
}

/// Copies and verifies. False when the source is not what it should be.
fn copy(
    tree: &mut Tree,
    from: &Tree,
    source: &str,
    path: &str,
    executable: bool,
    blob: &Blob,
) -> Result<bool, StageError> {
    let (from_path, to_path) = (from.path().join(source), tree.path().join(path));
    let mut input = open_file(from, source)?;
    let mut output = tree.create(path)?;
    let mut hash = blake3::Hasher::new();
    let mut buffer = vec![0; COPY.min(blob.size as usize + 1)];
    let mut left = blob.size;
    loop {
        let read = input.read(&mut buffer).map_err(at(Step::Read, &from_path))?;
        if read == 0 {
            break;
        }
        let Some(rest) = left.checked_sub(read as u64) else { return Ok(false) };
        left = rest;
        hash.update(&buffer[..read]);
        output.write_all(&buffer[..read]).map_err(at(Step::Write, &to_path))?;
    }
    if hash.finalize().as_bytes() != blob.digest.as_bytes() {
        return Ok(false);
    }
    mark_verified(&output, blob, executable, &to_path)?;
    Ok(true)
}

/// Whoever wanted this has given up.
pub fn check(stop: &AtomicBool) -> Result<(), StageError> {
    if stop.load(Ordering::Relaxed) {
        return Err(Coded::new(Code::C01, "given up for something newer").into());
    }
    Ok(())
}

/// Writes blobs into the tree as they come out of blocks.
pub struct Writer<'a> {
    tree: &'a mut Tree,
    index: &'a Index,
    /// Entries by the number of their blob.
    places: Vec<(u32, u32)>,
    open: Option<File>,
    /// Called with every number of bytes written.
    progress: &'a mut dyn FnMut(u64),
}

impl<'a> Writer<'a> {
    pub fn new(tree: &'a mut Tree, index: &'a Index, progress: &'a mut dyn FnMut(u64)) -> Self {
        let numbers = index.numbers();
        let mut places: Vec<(u32, u32)> = (0..)
            .zip(index.entries())
            .filter_map(|(at, entry)| entry.blob().map(|blob| (numbers[&blob.digest], at)))
            .collect();
        places.sort_unstable();
        Self { tree, index, places, open: None, progress }
    }

    /// Paths of a blob, each with whether it is executable; the first is where it is written.
    fn paths(&self, number: u32) -> impl Iterator<Item = (&'a str, bool)> + use<'a> {
        let index = self.index;
        let from = self.places.partition_point(|(n, _)| *n < number);
        let upto = self.places.partition_point(|(n, _)| *n <= number);
        let places: Vec<u32> = self.places[from..upto].iter().map(|(_, at)| *at).collect();
        places.into_iter().map(move |at| {
            let entry = &index.entries()[at as usize];
            let executable = matches!(entry.kind, Kind::File { executable: true, .. });
            (entry.path.as_str(), executable)
        })
    }

    fn first(&self, number: u32) -> (&'a str, bool) {
        self.paths(number).next().expect("every blob of an index has an entry")
    }
}

impl BlobSink for Writer<'_> {
    type Error = StageError;

    fn begin(&mut self, number: u32, _: &Blob) -> Result<(), StageError> {
        let (path, _) = self.first(number);
        self.open = Some(self.tree.create(path)?);
        Ok(())
    }

    fn write(&mut self, content: &[u8]) -> Result<(), StageError> {
        let file = self.open.as_mut().expect("a blob was begun");
        file.write_all(content).map_err(at(Step::Write, self.tree.path()))?;
        (self.progress)(content.len() as u64);
        Ok(())
    }

    fn end(&mut self, number: u32, blob: &Blob) -> Result<(), StageError> {
        let file = self.open.take().expect("a blob was begun");
        let (path, executable) = self.first(number);
        mark_verified(&file, blob, executable, &self.tree.path().join(path))?;
        drop(file);
        for (other, other_executable) in self.paths(number).skip(1) {
            if !again(self.tree, path, executable, other, other_executable, blob)? {
                let message =
                    format!("\"{path}\" changed under our hands while it was copied to \"{other}\"");
                return Err(Coded::new(Code::X01, message).into());
            }
        }
        Ok(())
    }
}
