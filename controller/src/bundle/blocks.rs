//! Blocks: made once, kept on disk, served to every host that asks.
//!
//! However many hosts ask for one at the same time, it is made by one of them and the others wait for that. What is
//! made is a file; a host is sent pieces of it, so memory does not grow with hosts or artifacts.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use longshore_common::{
    bundle::{
        Index,
        block::{Block, BlockKey},
        frame::{FrameReader, FrameWriter},
        limits,
    },
    durable::{self, At as _, AtomicFile, DurableError, Step},
};
use tokio::sync::{OnceCell, Semaphore};

use super::{
    BundleError, BundleStore, blocking,
    sound::{self, Marks},
    zstd_fault,
};

/// Bytes of disk that blocks may take, unless configured. They are made again when somebody asks.
pub const BLOCK_CACHE_BYTES: u64 = 16 << 30;
/// Blocks made at the same time. Each takes a core and some 30 MiB.
pub const MAKERS: usize = 2;

/// What a block is made for decides how hard it is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Once, ahead of everybody.
    Publish,
    /// A host is waiting.
    Demand,
}

#[derive(Debug)]
pub struct BlockCache {
    folder: PathBuf,
    bytes_max: u64,
    kept: Mutex<Kept>,
    making: Mutex<HashMap<BlockKey, Arc<OnceCell<()>>>>,
    makers: Semaphore,
}

/// What lies in the folder, and the order of use.
#[derive(Debug, Default)]
struct Kept {
    files: HashMap<String, Use>,
    bytes: u64,
    clock: u64,
}

#[derive(Debug)]
struct Use {
    bytes: u64,
    last: u64,
    /// This process made it, or has read it back: what its pieces were then.
    sound: Option<Arc<Marks>>,
}

/// An open block. Stays readable when the cache lets go of it.
#[derive(Debug)]
pub struct BlockFile {
    file: File,
    path: PathBuf,
    pub wire_bytes: u64,
    /// What its pieces have to be; none while it is read back.
    marks: Option<Arc<Marks>>,
    /// Pieces that were read.
    read: usize,
}

impl BlockCache {
    pub fn open(folder: &Path, bytes_max: u64) -> Result<Self, BundleError> {
        durable::create_dir_durable(folder, 0o700)?;
        durable::remove_leftovers(folder)?;
        let mut found = Vec::new();
        for item in fs::read_dir(folder).at(Step::Read, folder)? {
            let path = item.at(Step::Read, folder)?.path();
            let about = fs::metadata(&path).at(Step::Inspect, &path)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found.push((about.modified().at(Step::Inspect, &path)?, name, about.len()));
        }
        found.sort();
        let mut kept = Kept::default();
        for (_, name, bytes) in found {
            kept.used(name, bytes, None);
        }
        Ok(Self {
            folder: folder.into(),
            bytes_max,
            kept: Mutex::new(kept),
            making: Mutex::default(),
            makers: Semaphore::new(MAKERS),
        })
    }

    /// Opens a block that is there.
    fn look(&self, key: &BlockKey) -> Result<Option<BlockFile>, BundleError> {
        let name = key.hex();
        let path = self.folder.join(&name);
        let file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result.at(Step::Open, &path)?,
        };
        let wire_bytes = file.metadata().at(Step::Inspect, &path)?.len();
        let marks = self.kept.lock().expect("no holder panics").used(name, wire_bytes, None);
        Ok(Some(BlockFile { file, path, wire_bytes, marks, read: 0 }))
    }

    /// Lets go of the least used until the rest fits.
    fn make_room(&self) -> Result<(), BundleError> {
        loop {
            let Some(name) = self.kept.lock().expect("no holder panics").take_excess(self.bytes_max) else {
                return Ok(());
            };
            let path = self.folder.join(name);
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(DurableError::new(Step::Remove, &path, e).into());
                }
                _ => {}
            }
        }
    }
}

impl Kept {
    /// What was sound once stays so. Gives what is known of its pieces.
    fn used(&mut self, name: String, bytes: u64, sound: Option<Arc<Marks>>) -> Option<Arc<Marks>> {
        self.clock += 1;
        let found = self.files.entry(name).or_insert(Use { bytes: 0, last: 0, sound: None });
        self.bytes = self.bytes - found.bytes + bytes;
        *found = Use { bytes, last: self.clock, sound: sound.or(found.sound.take()) };
        found.sound.clone()
    }

    /// The least used file, when all together are too much. Never the last one.
    fn take_excess(&mut self, bytes_max: u64) -> Option<String> {
        if self.bytes <= bytes_max || self.files.len() < 2 {
            return None;
        }
        let name = self.files.iter().min_by_key(|(_, used)| used.last).map(|(name, _)| name.clone())?;
        self.bytes -= self.files.remove(&name).map_or(0, |used| used.bytes);
        Some(name)
    }
}

impl BundleStore {
    /// The block, made if there is none.
    pub async fn block(
        self: &Arc<Self>,
        index: &Arc<Index>,
        block: &Block,
        purpose: Purpose,
    ) -> Result<BlockFile, BundleError> {
        let publish = BlockKey::of(index.blobs(), block, limits::PUBLISH_LEVEL);
        if let Some(file) = self.kept_block(index, block, &publish).await? {
            return Ok(file);
        }
        let (key, level) = match purpose {
            Purpose::Publish => (publish, limits::PUBLISH_LEVEL),
            Purpose::Demand => {
                (BlockKey::of(index.blobs(), block, limits::DEMAND_LEVEL), limits::DEMAND_LEVEL)
            }
        };
        loop {
            if let Some(file) = self.kept_block(index, block, &key).await? {
                return Ok(file);
            }
            self.make_once(index, block, key, level).await?;
        }
    }

    /// The block, if there is one and it is sound.
    async fn kept_block(
        self: &Arc<Self>,
        index: &Arc<Index>,
        block: &Block,
        key: &BlockKey,
    ) -> Result<Option<BlockFile>, BundleError> {
        let Some(file) = self.blocks.look(key)? else { return Ok(None) };
        if file.marks.is_some() {
            return Ok(Some(file));
        }
        let (index, block, wire_bytes) = (Arc::clone(index), block.clone(), file.wire_bytes);
        let Some((mut file, marks)) = blocking(move || sound::read_back(file, &index, &block)).await? else {
            return Ok(None);
        };
        file.marks = self.blocks.kept.lock().expect("no holder panics").used(
            key.hex(),
            wire_bytes,
            Some(Arc::new(marks)),
        );
        Ok(Some(file))
    }

    /// Makes the block, or waits until whoever is making it is done. One who gives up waiting stops nobody.
    async fn make_once(
        self: &Arc<Self>,
        index: &Arc<Index>,
        block: &Block,
        key: BlockKey,
        level: i32,
    ) -> Result<(), BundleError> {
        let made = {
            let mut making = self.blocks.making.lock().expect("no holder panics");
            Arc::clone(making.entry(key).or_default())
        };
        let result = made
            .get_or_try_init(|| async {
                let _turn = self.blocks.makers.acquire().await.expect("the semaphore is never closed");
                let (store, index, block) = (Arc::clone(self), Arc::clone(index), block.clone());
                blocking(move || store.make_block(&index, &block, key, level)).await
            })
            .await
            .copied();
        self.blocks.making.lock().expect("no holder panics").remove(&key);
        result
    }

    fn make_block(&self, index: &Index, block: &Block, key: BlockKey, level: i32) -> Result<(), BundleError> {
        let path = self.blocks.folder.join(key.hex());
        let mut file = AtomicFile::create(&path, 0o600)?;
        let mut writer = FrameWriter::new(level, block.content_bytes).map_err(zstd_fault)?;
        let mut reader = FrameReader::new().map_err(zstd_fault)?;
        let mut marks = Marks::default();
        let mut keep = |wire: &[u8]| {
            marks.add(wire);
            file.write_all(wire)
        };
        for number in &block.numbers {
            let blob = &index.blobs()[*number as usize];
            self.blobs.read(&mut reader, blob, |chunk| {
                let written = writer.write(chunk, &mut keep);
                Ok(written.at(Step::Write, &path)?)
            })?;
        }
        writer.finish(&mut keep).at(Step::Write, &path)?;
        let wire_bytes = file.file().metadata().at(Step::Inspect, &path)?.len();
        file.commit()?;
        self.blocks.kept.lock().expect("no holder panics").used(key.hex(), wire_bytes, Some(Arc::new(marks)));
        self.blocks.make_room()
    }
}

impl BlockFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn rewound(mut self) -> Result<Self, BundleError> {
        self.file.rewind().at(Step::Read, &self.path)?;
        self.read = 0;
        Ok(self)
    }

    /// The next piece; empty at the end. One that is not as it was is no piece but the end of this block, which is
    /// made anew for whoever asks next.
    pub fn piece(&mut self) -> Result<Bytes, BundleError> {
        let mut piece = Vec::with_capacity(limits::PIECE_BYTES);
        let limit = limits::PIECE_BYTES as u64;
        (&self.file).take(limit).read_to_end(&mut piece).at(Step::Read, &self.path)?;
        match &self.marks {
            Some(marks) if !marks.allow(self.read, &piece) => return Err(sound::rotten(&self.path)),
            Some(_) | None => {}
        }
        self.read += 1;
        Ok(piece.into())
    }
}
