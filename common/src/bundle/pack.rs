//! A folder into an index: the same index on every machine.
//!
//! What counts of a file is its path, its content and whether its owner may execute it. Times, owners and every other bit
//! of the mode do not. Empty folders are not kept. Devices, fifos, sockets, setuid files and links that lead out are
//! errors that name the path; nothing is skipped in silence.

use std::{
    fs::{self, Metadata},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use super::{
    index::{Blob, Entry, Index, Kind},
    limits,
};
use crate::{
    code::{Code, Coded},
    digest::BlobDigest,
    regular::{self, Links},
    text::visible,
};

/// Threads that hash. One disk seldom feeds more than two at 4.5 GB/s each.
const THREADS: usize = 2;
/// Bytes read at once.
const READ: usize = 256 * 1024;
/// Mode bits that give a program another user's rights.
const SETID: u32 = 0o6000;
const OWNER_EXECUTES: u32 = 0o100;

/// An index and the folder that it was made from.
#[derive(Clone, Debug)]
pub struct Packed {
    root: PathBuf,
    pub index: Index,
}

#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The folder cannot be an artifact.
    #[error(transparent)]
    Refused(#[from] Coded),
    #[error("read {}", visible(&path.to_string_lossy()))]
    Io { path: PathBuf, source: io::Error },
    #[error("{} changed while it was read; nothing was published", visible(&path.to_string_lossy()))]
    Changed { path: PathBuf },
}

impl PackError {
    pub fn code(&self) -> Code {
        match self {
            PackError::Refused(coded) => coded.code,
            PackError::Io { .. } => Code::V01,
            PackError::Changed { .. } => Code::A01,
        }
    }
}

/// Bytes hashed so far, and of how many.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// Reads the folder and hashes what lies in it.
pub fn pack(folder: &Path, progress: Progress<'_>) -> Result<Packed, PackError> {
    let root = folder.canonicalize().map_err(|source| PackError::Io { path: folder.into(), source })?;
    let mut found = Found::default();
    walk(&root, String::new(), 1, &mut found)?;
    if found.files.is_empty() && found.links.is_empty() {
        let shown = visible(&root.to_string_lossy());
        return Err(
            Coded::new(Code::V01, format!("{shown} holds no file; there is nothing to publish")).into()
        );
    }
    found.files.sort();
    let blobs = hash_all(&root, &found.files, progress)?;
    let files = found
        .files
        .into_iter()
        .zip(blobs)
        .map(|(path, (executable, blob))| Entry { path, kind: Kind::File { executable, blob } });
    let links = found.links.into_iter().map(|(path, target)| Entry { path, kind: Kind::Link { target } });
    Ok(Packed { root, index: Index::new(files.chain(links).collect())? })
}

impl Packed {
    /// A file of the folder that held each distinct blob when it was packed, in the order of `Index::blobs`.
    pub fn sources(&self) -> Vec<PathBuf> {
        let numbers = self.index.numbers();
        let mut sources = vec![PathBuf::new(); self.index.blobs().len()];
        for entry in self.index.entries().iter().rev() {
            if let Some(blob) = entry.blob() {
                sources[numbers[&blob.digest] as usize] = self.root.join(&entry.path);
            }
        }
        sources
    }
}

/// Reads a file again for its bytes. An error when they are no longer those that were packed.
pub fn reread(
    path: &Path,
    blob: &Blob,
    mut content: impl FnMut(&[u8]) -> Result<(), PackError>,
) -> Result<(), PackError> {
    let (_, read) = read_file(path, |piece| content(piece))?;
    if read == *blob { Ok(()) } else { Err(PackError::Changed { path: path.into() }) }
}

#[derive(Default)]
struct Found {
    files: Vec<String>,
    links: Vec<(String, String)>,
}

fn walk(folder: &Path, prefix: String, depth: usize, found: &mut Found) -> Result<(), PackError> {
    let io = |source| PackError::Io { path: folder.into(), source };
    for item in fs::read_dir(folder).map_err(io)? {
        let item = item.map_err(io)?;
        let Ok(name) = item.file_name().into_string() else {
            let shown = visible(&item.path().to_string_lossy());
            return Err(Coded::new(Code::A02, format!("the name of \"{shown}\" is not UTF-8")).into());
        };
        let path = format!("{prefix}{name}");
        let kind = item.file_type().map_err(io)?;
        if kind.is_dir() {
            if depth >= limits::PATH_DEPTH {
                let message = format!("\"{}\" is deeper than {} folders", visible(&path), limits::PATH_DEPTH);
                return Err(Coded::new(Code::A04, message).into());
            }
            walk(&item.path(), format!("{path}/"), depth + 1, found)?;
        } else if kind.is_symlink() {
            found.links.push((path, target(&item.path())?));
        } else if kind.is_file() {
            found.files.push(path);
        } else {
            let what = special(kind);
            let message = format!("\"{}\" is {what}; a release holds files and links only", visible(&path));
            return Err(Coded::new(Code::A03, message).into());
        }
        if found.files.len() + found.links.len() > limits::ENTRIES {
            let message = format!("the folder holds more than {} files", limits::ENTRIES);
            return Err(Coded::new(Code::A04, message).into());
        }
    }
    Ok(())
}

fn target(link: &Path) -> Result<String, PackError> {
    let target = fs::read_link(link).map_err(|source| PackError::Io { path: link.into(), source })?;
    target.into_os_string().into_string().map_err(|_| {
        let shown = visible(&link.to_string_lossy());
        Coded::new(Code::A03, format!("the target of the link \"{shown}\" is not UTF-8")).into()
    })
}

fn special(kind: fs::FileType) -> &'static str {
    if kind.is_fifo() {
        "a fifo"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// Hashes the files on a few threads. The first error ends all of them.
fn hash_all(root: &Path, files: &[String], progress: Progress<'_>) -> Result<Vec<(bool, Blob)>, PackError> {
    let total =
        files.iter().filter_map(|path| fs::symlink_metadata(root.join(path)).ok()).map(|m| m.len()).sum();
    let (next, done, stop) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let failure: Mutex<Option<PackError>> = Mutex::new(None);
    let work = || {
        let mut hashed = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(path) = files.get(at) else { break };
            let result = read_file(&root.join(path), |piece| {
                progress(done.fetch_add(piece.len() as u64, Ordering::Relaxed) + piece.len() as u64, total);
                Ok(())
            });
            match result {
                Ok(file) => hashed.push((at, file)),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    failure.lock().expect("no holder panics").get_or_insert(error);
                }
            }
        }
        hashed
    };
    let mut hashed: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("hashing does not panic")).collect()
    });
    match failure.into_inner().expect("no holder panics") {
        Some(error) => Err(error),
        None => {
            hashed.sort_by_key(|(at, _)| *at);
            Ok(hashed.into_iter().map(|(_, file)| file).collect())
        }
    }
}

/// Whether it is executable, and its content's name. The file must stay as it is while it is read.
fn read_file(
    path: &Path,
    mut content: impl FnMut(&[u8]) -> Result<(), PackError>,
) -> Result<(bool, Blob), PackError> {
    let io = |source| PackError::Io { path: path.into(), source };
    // What was a file when the folder was walked can be a pipe by now, which would never end.
    let mut file = regular::open(path, Links::Refused).map_err(io)?;
    let before = file.metadata().map_err(io)?;
    if before.mode() & SETID != 0 {
        let shown = visible(&path.to_string_lossy());
        let message =
            format!("\"{shown}\" is setuid or setgid; a release gives no file another user's rights");
        return Err(Coded::new(Code::A03, message).into());
    }
    let mut hash = blake3::Hasher::new();
    let mut buffer = vec![0; READ.min(before.len() as usize + 1)];
    let mut size = 0;
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(io(e)),
        };
        hash.update(&buffer[..read]);
        size += read as u64;
        if size > before.len() {
            return Err(PackError::Changed { path: path.into() }); // and may grow for ever
        }
        content(&buffer[..read])?;
    }
    let after = file.metadata().map_err(io)?;
    if size != before.len() || changed(&before, &after) {
        return Err(PackError::Changed { path: path.into() });
    }
    let digest = BlobDigest(*hash.finalize().as_bytes());
    Ok((before.mode() & OWNER_EXECUTES != 0, Blob { digest, size }))
}

fn changed(before: &Metadata, after: &Metadata) -> bool {
    let of = |m: &Metadata| (m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
    of(before) != of(after)
}

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;
