//! How state reaches the disk. Nothing else in the project writes it.
//!
//! - A file is written under a temporary name beside its own, synced, renamed, and its folder synced: whoever
//!   reads the path finds the old content or the new one, whole, also after a power cut.
//! - A link is replaced by renaming another over it: there is no moment without it.
//! - A new folder is synced, then the folder that it lies in.
//! - What is removed as a tree is first renamed away, so that a half-removed tree never has the tree's name.
//!
//! Everything here blocks: async callers go through `spawn_blocking`. An error of a sync is not to be retried
//! in place: the kernel has already forgotten what it could not write. What then lies on the disk is the old
//! state or the new one, but which of them is not known until it is read again.

mod dirs;
mod file;
mod lock;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::code::Code;

pub use dirs::{
    create_dir_durable, free_bytes, remove_dir_durable, remove_durable, remove_leftovers, rename_durable,
    rename_new_durable, same_filesystem, symlink_atomic, sync_dir, sync_fs, total_bytes,
};
pub use file::{AtomicFile, write_atomic};
pub use lock::{DirLock, Holder, LockError, lock_dir};

/// Temporary names begin so. What bears one is of no worth to anybody but the process that is writing it.
pub const TEMP_PREFIX: &str = ".longshore-tmp-";

/// What failed, on which path.
#[derive(Debug, thiserror::Error)]
#[error("{step} `{}`{}", path.display(), room(*free))]
pub struct DurableError {
    pub step: Step,
    pub path: PathBuf,
    pub source: io::Error,
    /// Where the disk is full: the bytes that were free just then, too few for what was to be written.
    pub free: Option<u64>,
}

/// One operation on the file system, as an infinitive: it is followed by a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Step {
    #[error("create")]
    Create,
    #[error("open")]
    Open,
    #[error("read")]
    Read,
    #[error("write")]
    Write,
    #[error("set the mode of")]
    SetMode,
    #[error("sync")]
    Sync,
    #[error("rename to")]
    Rename,
    #[error("link")]
    Link,
    #[error("remove")]
    Remove,
    #[error("inspect")]
    Inspect,
    #[error("lock")]
    Lock,
}

pub type Result<T> = std::result::Result<T, DurableError>;

impl DurableError {
    pub fn new(step: Step, path: &Path, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let is_full = source.kind() == io::ErrorKind::StorageFull; // a quota says nothing of the disk
        let look = || free_bytes(path).or_else(|_| free_bytes(folder_of(path))).ok();
        DurableError { step, path: path.to_owned(), source, free: is_full.then(look).flatten() }
    }

    /// The disk is full, or the quota is used up.
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// What was to be created exists already.
    pub fn is_taken(&self) -> bool {
        self.source.kind() == io::ErrorKind::AlreadyExists
    }

    pub fn code(&self) -> Code {
        if self.is_full() { Code::D01 } else { Code::S04 }
    }
}

/// Says which step on which path an error belongs to.
pub trait At<T> {
    fn at(self, step: Step, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> At<T> for std::result::Result<T, E> {
    fn at(self, step: Step, path: &Path) -> Result<T> {
        self.map_err(|error| DurableError::new(step, path, error))
    }
}

fn room(free: Option<u64>) -> String {
    free.map_or(String::new(), |free| format!(" ({free} bytes free)"))
}

/// The folder that a path lies in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// A name in the same folder that nobody else uses, in this process or another that lives.
fn temp_beside(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = OsString::from(format!("{TEMP_PREFIX}{}-{count}", std::process::id()));
    folder_of(path).join(name)
}

fn open_dir(path: &Path) -> Result<File> {
    let file = File::open(path).at(Step::Open, path)?;
    Ok(file)
}
