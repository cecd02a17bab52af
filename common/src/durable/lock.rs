//! One process at a time owns a folder.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::{At, DurableError, Step};
use crate::code::{Code, Coded};

/// A folder that is ours until this is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub struct DirLock {
    /// The kernel's lock lives as long as this open file. It is not inherited through exec.
    file: File,
    dir: PathBuf,
}

/// Why a folder could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("`{}` is in use by {holder}", dir.display())]
    Held { dir: PathBuf, holder: Holder },
    #[error(transparent)]
    Failed(#[from] DurableError),
}

/// Who has a lock, as far as the lock file tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    Pid(u32),
    /// It had not written its pid yet.
    Unknown,
}

/// Take `<dir>/lock`, or say who has it. Never waits.
pub fn lock_dir(dir: &Path) -> Result<DirLock, LockError> {
    let path = dir.join("lock");
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).clone();
    let mut file = options.open(&path).at(Step::Open, &path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(error) if error == rustix::io::Errno::WOULDBLOCK => {
            return Err(LockError::Held { dir: dir.to_owned(), holder: read_holder(&mut file) });
        }
        Err(error) => return Err(DurableError::new(Step::Lock, &path, error).into()),
    }
    // Only for the other's message: the lock itself is the kernel's, so this needs no sync.
    file.set_len(0).at(Step::Write, &path)?;
    write!(file, "{}", std::process::id()).at(Step::Write, &path)?;
    Ok(DirLock { file, dir: dir.to_owned() })
}

impl DirLock {
    /// The folder that is locked.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for DirLock {
    /// Closing alone would not do: a child that another thread forks just now holds a copy until it becomes its program,
    /// and the folder would seem to be ours for that long.
    fn drop(&mut self) {
        // There is nobody to tell; the end of the last copy unlocks it as well.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

impl LockError {
    /// With its code and the way out.
    pub fn coded(&self) -> Coded {
        match self {
            LockError::Held { .. } => Coded::new(Code::S01, format!("{self}; stop that process first")),
            LockError::Failed(error) => Coded::new(error.code(), crate::chain::Chain(error).to_string()),
        }
    }
}

fn read_holder(file: &mut File) -> Holder {
    let mut text = String::new();
    let read = file.take(16).read_to_string(&mut text);
    match (read, text.trim().parse()) {
        (Ok(_), Ok(pid)) => Holder::Pid(pid),
        (Ok(_), Err(_)) | (Err(_), _) => Holder::Unknown,
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Holder::Pid(pid) => write!(f, "pid {pid}"),
            Holder::Unknown => f.write_str("another process"),
        }
    }
}

impl From<LockError> for io::Error {
    fn from(error: LockError) -> io::Error {
        match error {
            LockError::Held { .. } => io::Error::new(io::ErrorKind::WouldBlock, error),
            LockError::Failed(DurableError { ref source, .. }) => io::Error::new(source.kind(), error),
        }
    }
}
