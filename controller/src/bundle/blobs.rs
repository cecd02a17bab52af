//! Blobs by digest on the local disk. One exists under its name only when it was verified and is durable.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{
        RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use longshore_common::{
    bundle::{
        Blob,
        frame::{FrameReader, frame_bytes_max},
        limits,
    },
    code::{Code, Coded},
    digest::{BlobDigest, hex},
    durable::{self, At as _, DurableError, Step},
};

use super::{BundleError, zstd_fault};

/// What uploads leave free: a twentieth of the disk, and no more than this. The controller's state lies on the same disk, and
/// a controller that cannot write it ends; 256 MiB take in the journal of days in which somebody makes room.
const RESERVE_BYTES: u64 = 256 << 20;

#[derive(Debug)]
pub struct BlobStore {
    root: PathBuf,
    /// Written by whoever removes blobs, read by whoever says that they are there.
    sweep: RwLock<()>,
    next: AtomicU64,
}

impl BlobStore {
    pub fn open(root: &Path) -> Result<Self, BundleError> {
        for folder in ["blobs", "tmp", "damaged"] {
            durable::create_dir_durable(&root.join(folder), 0o700)?;
        }
        let tmp = root.join("tmp");
        for left in fs::read_dir(&tmp).at(Step::Read, &tmp)? {
            let left = left.at(Step::Read, &tmp)?.path();
            fs::remove_file(&left).at(Step::Remove, &left)?;
        }
        for high in 0..=255u8 {
            let folder = root.join("blobs").join(hex(&[high]));
            match fs::create_dir(&folder) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                result => result.at(Step::Create, &folder)?,
            }
        }
        durable::sync_fs(root)?;
        Ok(Self { root: root.into(), sweep: RwLock::new(()), next: AtomicU64::new(0) })
    }

    fn check_room(&self) -> Result<(), BundleError> {
        Ok(room(durable::free_bytes(&self.root)?, durable::total_bytes(&self.root)?)?)
    }

    pub fn path(&self, digest: &BlobDigest) -> PathBuf {
        self.root.join("blobs").join(hex(&digest.0[..1])).join(digest.hex())
    }

    /// Which of these are not there. Those that are count as just used, so that they are still there when the release
    /// that they are asked for is published.
    pub fn missing(&self, digests: &[BlobDigest]) -> Result<Vec<BlobDigest>, BundleError> {
        let _no_sweep = self.sweep.read().expect("no holder panics");
        let mut missing = Vec::new();
        for digest in digests {
            let path = self.path(digest);
            match touch(&path) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => missing.push(*digest),
                Err(e) => return Err(DurableError::new(Step::Inspect, &path, e).into()),
            }
        }
        Ok(missing)
    }

    /// Starts to take in blobs that become durable together.
    pub fn batch(&self) -> Batch<'_> {
        Batch { store: self, staged: Vec::new(), bytes: 0 }
    }

    /// Hands on a blob's content in chunks, verified: an error after some of it means that none of it counts.
    pub fn read(
        &self,
        reader: &mut FrameReader,
        blob: &Blob,
        mut content: impl FnMut(&[u8]) -> Result<(), BundleError>,
    ) -> Result<(), BundleError> {
        let path = self.path(&blob.digest);
        let damaged = |how| BundleError::Damaged { blob: *blob, how };
        let mut file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(damaged("missing")),
            result => result.at(Step::Open, &path)?,
        };
        let mut seen = Seen::new(*blob);
        reader.begin().map_err(zstd_fault)?;
        let mut wire = vec![0; limits::PIECE_BYTES.min(blob.size as usize + 1024)];
        loop {
            let read = file.read(&mut wire).at(Step::Read, &path)?;
            if read == 0 {
                break;
            }
            reader
                .feed(&wire[..read], |chunk| {
                    seen.take(chunk)?;
                    content(chunk)
                })
                .map_err(|e| match e {
                    BundleError::Refused(_) => damaged("damaged"),
                    other => other,
                })?;
        }
        if !reader.ended() || seen.finish().is_err() {
            return Err(damaged("damaged"));
        }
        Ok(())
    }

    /// Reads a blob again. One that is damaged is put aside, so that the next publisher is asked for it.
    pub fn verify(&self, reader: &mut FrameReader, blob: &Blob) -> Result<bool, BundleError> {
        match self.read(reader, blob, |_| Ok(())) {
            Ok(()) => Ok(true),
            Err(BundleError::Damaged { .. }) => {
                let path = self.path(&blob.digest);
                match durable::rename_durable(&path, &self.root.join("damaged").join(blob.digest.hex())) {
                    Err(e) if e.source.kind() == io::ErrorKind::NotFound => Ok(false),
                    result => Ok(result.map(|()| false)?),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Removes every blob that `keep` does not want and that nobody used since `before`. Says how many, and their bytes.
    pub(super) fn sweep(
        &self,
        before: SystemTime,
        keep: impl Fn(&BlobDigest) -> bool,
    ) -> Result<(u64, u64), BundleError> {
        let (mut count, mut bytes) = (0, 0);
        for high in 0..=255u8 {
            let folder = self.root.join("blobs").join(hex(&[high]));
            for item in fs::read_dir(&folder).at(Step::Read, &folder)? {
                let path = item.at(Step::Read, &folder)?.path();
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let Ok(digest) = name.parse::<BlobDigest>() else { continue };
                if keep(&digest) {
                    continue;
                }
                // Asked again under the lock: whoever was told that it is there has touched it.
                let _alone = self.sweep.write().expect("no holder panics");
                let about = fs::metadata(&path).at(Step::Inspect, &path)?;
                if about.modified().at(Step::Inspect, &path)? < before {
                    fs::remove_file(&path).at(Step::Remove, &path)?;
                    count += 1;
                    bytes += about.len();
                }
            }
        }
        Ok((count, bytes))
    }
}

fn touch(path: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    Ok(utimensat(CWD, path, &times, AtFlags::empty())?)
}

/// Blobs that were received and verified, and become durable together. Dropped before that, they are gone.
pub struct Batch<'a> {
    store: &'a BlobStore,
    staged: Vec<(Temp, BlobDigest)>,
    bytes: u64,
}

/// One blob on its way in.
pub struct Incoming {
    temp: Temp,
    file: File,
    seen: Seen,
    wire_left: u64,
}

/// A file that goes when this does, unless it got its name.
struct Temp {
    path: PathBuf,
    named: bool,
}

/// Content that passed, against what it should be.
struct Seen {
    blob: Blob,
    size: u64,
    hash: blake3::Hasher,
}

impl Batch<'_> {
    pub fn blobs(&self) -> usize {
        self.staged.len()
    }

    /// On disk, compressed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn begin(&mut self, reader: &mut FrameReader, blob: Blob) -> Result<Incoming, BundleError> {
        if blob.size > limits::ARTIFACT_BYTES {
            let message = format!("blob {} would have {} bytes", blob.digest, blob.size);
            return Err(Coded::new(Code::A04, message).into());
        }
        self.store.check_room()?;
        reader.begin().map_err(zstd_fault)?;
        let number = self.store.next.fetch_add(1, Ordering::Relaxed);
        let path = self.store.root.join("tmp").join(number.to_string());
        let file = File::create_new(&path).at(Step::Create, &path)?;
        let temp = Temp { path, named: false };
        Ok(Incoming { temp, file, seen: Seen::new(blob), wire_left: frame_bytes_max(blob.size) })
    }

    /// The next bytes of the blob's frame. Written as they are; decoded to see what they hold.
    pub fn feed(
        &mut self,
        reader: &mut FrameReader,
        incoming: &mut Incoming,
        wire: &[u8],
    ) -> Result<(), BundleError> {
        incoming.wire_left = incoming.wire_left.checked_sub(wire.len() as u64).ok_or_else(|| {
            let digest = incoming.seen.blob.digest;
            Coded::new(Code::A04, format!("blob {digest} came in more bytes than its size can need"))
        })?;
        self.store.check_room()?;
        incoming.file.write_all(wire).at(Step::Write, &incoming.temp.path)?;
        self.bytes += wire.len() as u64;
        reader.feed(wire, |chunk| incoming.seen.take(chunk))
    }

    pub fn end(&mut self, reader: &FrameReader, incoming: Incoming) -> Result<(), BundleError> {
        let Incoming { temp, seen, .. } = incoming;
        let digest = seen.blob.digest;
        if !reader.ended() {
            return Err(Coded::new(Code::A05, format!("blob {digest} is cut off")).into());
        }
        seen.finish()?;
        self.staged.push((temp, digest));
        Ok(())
    }

    /// Makes them durable: one sync for their bytes, one for their names.
    pub fn commit(&mut self) -> Result<(), BundleError> {
        if self.staged.is_empty() {
            return Ok(());
        }
        durable::sync_fs(&self.store.root)?;
        {
            let _no_sweep = self.store.sweep.read().expect("no holder panics");
            for (temp, digest) in &mut self.staged {
                let path = self.store.path(digest);
                fs::rename(&temp.path, &path).at(Step::Rename, &path)?;
                temp.named = true;
            }
        }
        self.staged.clear();
        self.bytes = 0;
        durable::sync_fs(&self.store.root)?;
        Ok(())
    }
}

/// Whether uploads may write on a disk of which so many bytes are free.
fn room(free: u64, total: u64) -> Result<(), Coded> {
    let reserve = (total / 20).min(RESERVE_BYTES);
    if free >= reserve {
        return Ok(());
    }
    let mib = |bytes: u64| bytes >> 20;
    let message = format!(
        "{} MiB are free on the controller's disk, and uploads leave {} MiB of it to the controller itself; what came whole \
         before is kept. Make room there, then publish again",
        mib(free),
        mib(reserve)
    );
    Err(Coded::new(Code::D01, message))
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.named {
            // Left behind, it is removed at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Seen {
    fn new(blob: Blob) -> Self {
        Self { blob, size: 0, hash: blake3::Hasher::new() }
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), BundleError> {
        self.size += chunk.len() as u64;
        if self.size > self.blob.size {
            let Blob { digest, size } = self.blob;
            let message =
                format!("blob {digest} expanded past the {size} bytes it was announced with; stopped");
            return Err(Coded::new(Code::A04, message).into());
        }
        self.hash.update(chunk);
        Ok(())
    }

    fn finish(self) -> Result<(), BundleError> {
        let got = BlobDigest(*self.hash.finalize().as_bytes());
        if self.size == self.blob.size && got == self.blob.digest {
            return Ok(());
        }
        let message = format!(
            "a blob came as {} bytes with blake3 {got}; {} bytes with {} were announced. Nothing was kept",
            self.size, self.blob.size, self.blob.digest
        );
        Err(Coded::new(Code::A01, message).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_leave_room_for_the_controller_itself() {
        const GIB: u64 = 1 << 30;
        assert!(room(256 << 20, 100 * GIB).is_ok());
        let full = room((256 << 20) - 1, 100 * GIB).unwrap_err();
        assert_eq!(full.code, Code::D01);
        assert!(full.message.starts_with("255 MiB are free"), "{full}");
        assert!(full.message.contains("uploads leave 256 MiB of it"), "{full}");
        // Of a small disk it is a share.
        assert!(room(GIB / 20, GIB).is_ok() && room(GIB / 20 - 1, GIB).is_err());
    }
}
