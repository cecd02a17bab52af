//! Files that appear whole or not at all.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

use super::{At, Result, Step, folder_of, sync_dir, temp_beside};

/// Put `bytes` at `path`, replacing what is there, with exactly `mode` whatever the umask.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let mut file = AtomicFile::create(path, mode)?;
    file.write_all(bytes).at(Step::Write, path)?;
    file.commit()
}

/// A file under a temporary name until it is committed. Dropped before that, it is gone.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    temp: PathBuf,
    target: PathBuf,
    named: Named,
}

#[derive(Debug, PartialEq, Eq)]
enum Named {
    Temporarily,
    Finally,
}

impl AtomicFile {
    /// Begin a file that is to be at `target`. The folder must exist.
    pub fn create(target: &Path, mode: u32) -> Result<Self> {
        let temp = temp_beside(target);
        // Read as well, so that the writer can check what it wrote.
        let options = OpenOptions::new().read(true).write(true).create_new(true).mode(mode & 0o600).clone();
        let file = create_over_leftover(&options, &temp).at(Step::Create, target)?;
        let new = AtomicFile { file, temp, target: target.to_owned(), named: Named::Temporarily };
        new.file.set_permissions(Permissions::from_mode(mode)).at(Step::SetMode, target)?;
        Ok(new)
    }

    /// For what `Write` does not cover: owner, times, length.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where the bytes are until the commit.
    pub fn temp_path(&self) -> &Path {
        &self.temp
    }

    /// Make it the file at its path, replacing what is there. Durable when this returns.
    pub fn commit(mut self) -> Result<()> {
        self.file.sync_data().at(Step::Sync, &self.target)?;
        std::fs::rename(&self.temp, &self.target).at(Step::Rename, &self.target)?;
        self.named = Named::Finally;
        sync_dir(folder_of(&self.target))
    }

    /// Make it the file at its path unless something is there: then the error `is_taken`.
    pub fn commit_new(mut self) -> Result<()> {
        self.file.sync_data().at(Step::Sync, &self.target)?;
        rustix::fs::renameat_with(CWD, &self.temp, CWD, &self.target, RenameFlags::NOREPLACE)
            .at(Step::Rename, &self.target)?;
        self.named = Named::Finally;
        sync_dir(folder_of(&self.target))
    }
}

/// A name with our pid that exists was left by a process that had the pid before us and is dead.
fn create_over_leftover(options: &OpenOptions, temp: &Path) -> io::Result<File> {
    match options.open(temp) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(temp)?;
            options.open(temp)
        }
        result => result,
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.named == Named::Temporarily {
            // What cannot be removed now is a leftover, which `remove_leftovers` takes at the next start.
            let _ = std::fs::remove_file(&self.temp);
        }
    }
}
