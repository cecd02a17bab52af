//! Writing below one folder and nowhere else.
//!
//! Every folder is opened from the one above it, never through a link, so whatever happens to the tree meanwhile, no
//! write leaves it.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use longshore_common::{
    bundle::{Blob, mtime::Mtime},
    code::{Code, Coded},
    durable::{self, DurableError, Step},
    text::bytes_apart,
};
use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, Stat, Timespec, Timestamps};

/// Why a tree could not be written.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// What came, or what lies there, is not what it should be.
    #[error(transparent)]
    Content(#[from] Coded),
    #[error(transparent)]
    Disk(#[from] DurableError),
}

impl StageError {
    pub fn coded(&self) -> Coded {
        match self {
            StageError::Content(coded) => coded.clone(),
            StageError::Disk(error) => {
                Coded::new(error.code(), longshore_common::chain::Chain(error).to_string())
            }
        }
    }
}

/// A folder that is ours to write below, as long as this lives.
#[derive(Debug)]
pub struct Tree {
    path: PathBuf,
    root: OwnedFd,
    /// The folders from below the root to the one written last, each with its name.
    stack: Vec<(String, OwnedFd)>,
}

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FOLDER_MODE: u32 = 0o755;

impl Tree {
    /// Opens a folder, made if there is none, and waits until nobody else writes in it.
    pub fn lock(path: &Path) -> Result<Self, StageError> {
        loop {
            match rustix::fs::mkdir(path, Mode::from_raw_mode(FOLDER_MODE)) {
                Ok(()) => rustix::fs::chmod(path, Mode::from_raw_mode(FOLDER_MODE))
                    .map_err(at(Step::SetMode, path))?,
                Err(rustix::io::Errno::EXIST) => {}
                Err(e) => return Err(at(Step::Create, path)(e)),
            }
            let root = match rustix::fs::openat(CWD, path, FOLDER, Mode::empty()) {
                // Removed by the one who had it before us.
                Err(rustix::io::Errno::NOENT) => continue,
                result => result.map_err(at(Step::Open, path))?,
            };
            rustix::fs::flock(&root, FlockOperation::LockExclusive).map_err(at(Step::Lock, path))?;
            let ours = rustix::fs::fstat(&root).map_err(at(Step::Inspect, path))?;
            match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(there) if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino) => {
                    return Ok(Self { path: path.into(), root, stack: vec![] });
                }
                Ok(_) | Err(rustix::io::Errno::NOENT) => {} // removed or replaced while we waited
                Err(e) => return Err(at(Step::Inspect, path)(e)),
            }
        }
    }

    /// Opens one that is there, for reading; nobody is kept out.
    pub fn open(path: &Path) -> Result<Self, StageError> {
        let root = rustix::fs::openat(CWD, path, FOLDER, Mode::empty()).map_err(at(Step::Open, path))?;
        Ok(Self { path: path.into(), root, stack: vec![] })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The open folder that a path lies in, made if need be, and the name in it.
    pub fn parent<'p>(&mut self, path: &'p str) -> Result<(BorrowedFd<'_>, &'p str), StageError> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let names: Vec<&str> = folder.split('/').filter(|name| !name.is_empty()).collect();
        let common = self.stack.iter().zip(&names).take_while(|((open, _), name)| open == *name).count();
        self.stack.truncate(common);
        for name in &names[common..] {
            let opened = self.enter(name)?;
            self.stack.push(((*name).to_owned(), opened));
        }
        let parent = self.stack.last().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd());
        Ok((parent, name))
    }

    fn enter(&self, name: &str) -> Result<OwnedFd, StageError> {
        let above = self.stack.last().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd());
        let error = |step, e| at(step, &self.path.join(name))(e);
        match rustix::fs::mkdirat(above, name, Mode::from_raw_mode(FOLDER_MODE)) {
            Ok(()) => {
                let fd = rustix::fs::openat(above, name, FOLDER, Mode::empty())
                    .map_err(|e| error(Step::Open, e))?;
                // The umask of the agent is not that of the app, whose user must get through.
                rustix::fs::fchmod(&fd, Mode::from_raw_mode(FOLDER_MODE))
                    .map_err(|e| error(Step::SetMode, e))?;
                Ok(fd)
            }
            Err(rustix::io::Errno::EXIST) => {
                rustix::fs::openat(above, name, FOLDER, Mode::empty()).map_err(|e| error(Step::Open, e))
            }
            Err(e) => Err(error(Step::Create, e)),
        }
    }

    /// A new file at a path, in place of whatever was there.
    pub fn create(&mut self, path: &str) -> Result<File, StageError> {
        let full = self.path.join(path);
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR);
        match open() {
            Err(rustix::io::Errno::EXIST) => {
                rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(at(Step::Remove, &full))?;
                Ok(open().map_err(at(Step::Create, &full))?.into())
            }
            result => Ok(result.map_err(at(Step::Create, &full))?.into()),
        }
    }

    /// A symbolic link at a path, in place of whatever was there.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<(), StageError> {
        let full = self.path.join(path);
        let (parent, name) = self.parent(path)?;
        match rustix::fs::symlinkat(target, parent, name) {
            Err(rustix::io::Errno::EXIST) => {
                rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(at(Step::Remove, &full))?;
                rustix::fs::symlinkat(target, parent, name).map_err(at(Step::Link, &full))
            }
            result => result.map_err(at(Step::Link, &full)),
        }
    }

    /// Gives the file at `source` below `from` a second name here. False when the file system will not, or the source
    /// is gone: then it has to be copied, or fetched.
    pub fn link(&mut self, from: BorrowedFd<'_>, source: &str, path: &str) -> Result<bool, StageError> {
        use rustix::io::Errno;
        let full = self.path.join(path);
        let (parent, name) = self.parent(path)?;
        let link = || rustix::fs::linkat(from, source, parent, name, AtFlags::empty());
        let result = match link() {
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(at(Step::Remove, &full))?;
                link()
            }
            result => result,
        };
        match result {
            Ok(()) => Ok(true),
            Err(Errno::MLINK | Errno::XDEV | Errno::PERM | Errno::NOENT | Errno::OPNOTSUPP) => Ok(false),
            Err(e) => Err(at(Step::Link, &full)(e)),
        }
    }

    /// What lies at a path, itself and not what it leads to.
    pub fn stat(&self, path: &str) -> Result<Option<Stat>, StageError> {
        match rustix::fs::statat(&self.root, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
            Err(e) => Err(at(Step::Inspect, &self.path.join(path))(e)),
        }
    }

    /// Removes what is below, all of it. The folder stays, and stays locked.
    pub fn clear(&mut self) -> Result<(), StageError> {
        self.stack.clear();
        for item in std::fs::read_dir(&self.path).map_err(at(Step::Read, &self.path))? {
            let item = item.map_err(at(Step::Read, &self.path))?;
            let path = item.path();
            let is_folder = item.file_type().map_err(at(Step::Inspect, &path))?.is_dir();
            let removed =
                if is_folder { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.map_err(at(Step::Remove, &path))?;
        }
        Ok(())
    }

    /// Removes the folder itself.
    pub fn discard(self) -> Result<(), StageError> {
        Ok(durable::remove_dir_durable(&self.path)?)
    }
}

/// The modes that files of a slot have: read by all, written by nobody.
pub fn mode_of(executable: bool) -> u32 {
    if executable { 0o555 } else { 0o444 }
}

/// Marks a written file as verified: its final mode, then the time that its content gives it.
pub fn mark_verified(file: &File, blob: &Blob, executable: bool, path: &Path) -> Result<(), StageError> {
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode_of(executable))).map_err(at(Step::SetMode, path))?;
    let Mtime { seconds, nanos } = Mtime::of(&blob.digest);
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    rustix::fs::futimens(file, &Timestamps { last_access: time, last_modification: time })
        .map_err(at(Step::SetMode, path))
}

/// It bears every mark of having been verified and not touched since.
pub fn is_marked(stat: &Stat, blob: &Blob, executable: bool) -> bool {
    let Mtime { seconds, nanos } = Mtime::of(&blob.digest);
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_mode & 0o7777 == mode_of(executable)
        && stat.st_size as u64 == blob.size
        && (stat.st_mtime, stat.st_mtime_nsec) == (seconds, nanos.into())
}

pub fn at<E: Into<io::Error>>(step: Step, path: &Path) -> impl Fn(E) -> StageError {
    let path = path.to_owned();
    move |error| DurableError::new(step, &path, error).into()
}

/// A slot is moved from one to the other in one rename, which no two file systems share.
pub fn on_one_disk(staging: &Path, releases: &Path) -> Result<(), StageError> {
    let device = |path: &Path| rustix::fs::stat(path).map(|stat| stat.st_dev).ok();
    let (Some(one), Some(other)) = (device(staging), device(releases)) else { return Ok(()) };
    if one == other {
        return Ok(());
    }
    let (staging, releases) = (staging.display(), releases.display());
    Err(StageError::Content(Coded::new(
        Code::D03,
        format!(
            "{staging} and {releases} are on different file systems, so no release can be moved into place whole; nothing was \
             changed. Mount what is above both, not one of them"
        ),
    )))
}

/// Not enough room: says how much is needed and where.
pub fn too_full(needed: u64, free: u64, path: &Path) -> Coded {
    let ([needed, free], path) = (bytes_apart(needed, free), path.display());
    Coded::new(
        Code::D01,
        format!("need {needed} in {path}, {free} free; nothing was changed. Free space, then retry"),
    )
}
