//! Folders, links and renames that are still there after a power cut, and questions about file systems.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags};

use super::{At, DurableError, Result, Step, TEMP_PREFIX, folder_of, open_dir, temp_beside};

/// Make sure of a folder, and of those it lies in. One that is made here gets exactly `mode`; one that exists
/// keeps its own.
pub fn create_dir_durable(path: &Path, mode: u32) -> Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)).at(Step::SetMode, path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound && folder_of(path) != path => {
            create_dir_durable(folder_of(path), mode)?;
            return create_dir_durable(path, mode);
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        Err(error) => return Err(DurableError::new(Step::Create, path, error)),
    }
    // One that existed may have been made by a process that died before it came to this line.
    sync_dir(path)?;
    sync_dir(folder_of(path))
}

/// Make `link` point to `target`, replacing a link that is there. Whoever follows it finds the old or the new.
pub fn symlink_atomic(target: &Path, link: &Path) -> Result<()> {
    let temp = temp_beside(link);
    match symlink(target, &temp) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(&temp).at(Step::Remove, &temp)?;
            symlink(target, &temp).at(Step::Link, link)?;
        }
        result => result.at(Step::Link, link)?,
    }
    if let Err(error) = fs::rename(&temp, link) {
        // The rename's error is the one to tell; a leftover is taken at the next start.
        let _ = fs::remove_file(&temp);
        return Err(DurableError::new(Step::Rename, link, error));
    }
    sync_dir(folder_of(link))
}

/// Rename, replacing what is there. What is renamed must have been synced before.
pub fn rename_durable(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).at(Step::Rename, to)?;
    sync_both(from, to)
}

/// Rename unless something has the name already: then the error `is_taken`, and nothing happened.
pub fn rename_new_durable(from: &Path, to: &Path) -> Result<()> {
    rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).at(Step::Rename, to)?;
    sync_both(from, to)
}

/// Remove a file or a link. That it was not there is not an error.
pub fn remove_durable(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_dir(folder_of(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(DurableError::new(Step::Remove, path, error)),
    }
}

/// Remove a folder and all in it. It loses its name first, durably, so that nobody meets it half removed.
/// That it was not there is not an error.
pub fn remove_dir_durable(path: &Path) -> Result<()> {
    let away = temp_beside(path);
    match fs::rename(path, &away) {
        Ok(()) => sync_dir(folder_of(path))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(DurableError::new(Step::Remove, path, error)),
    }
    fs::remove_dir_all(&away).at(Step::Remove, path)
}

/// Remove what writers that died left in a folder under temporary names. For its owner, at start, before it
/// writes there itself.
pub fn remove_leftovers(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).at(Step::Read, dir)? {
        let entry = entry.at(Step::Read, dir)?;
        if !entry.file_name().as_encoded_bytes().starts_with(TEMP_PREFIX.as_bytes()) {
            continue;
        }
        let path = entry.path();
        let removed = match entry.file_type().at(Step::Inspect, &path)? {
            kind if kind.is_dir() => fs::remove_dir_all(&path),
            _ => fs::remove_file(&path),
        };
        removed.at(Step::Remove, &path)?;
    }
    Ok(())
}

/// Make a folder's names durable.
pub fn sync_dir(path: &Path) -> Result<()> {
    open_dir(path)?.sync_all().at(Step::Sync, path)
}

/// Make everything durable on the file system that `path` lies on. One call for a tree of many files.
pub fn sync_fs(path: &Path) -> Result<()> {
    rustix::fs::syncfs(open_dir(path)?).at(Step::Sync, path)
}

/// How many bytes an unprivileged process may still write where `path` lies.
pub fn free_bytes(path: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(path).at(Step::Inspect, path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// How many bytes the file system has on which `path` lies, used or not.
pub fn total_bytes(path: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(path).at(Step::Inspect, path)?;
    Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
}

/// Whether one can be renamed or linked to the other. Both must exist.
pub fn same_filesystem(a: &Path, b: &Path) -> Result<bool> {
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).at(Step::Inspect, path);
    Ok(device(a)? == device(b)?)
}

fn sync_both(from: &Path, to: &Path) -> Result<()> {
    sync_dir(folder_of(to))?;
    if folder_of(from) != folder_of(to) {
        sync_dir(folder_of(from))?;
    }
    Ok(())
}
