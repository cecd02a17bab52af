//! Reads a file that only this host's admin can have put there.
//!
//! Every part of the path is opened below the one before, and none is followed when it is a link: whoever may write
//! into a folder on the way could otherwise name any file of the host as a secret of an app.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::OwnedFd,
    path::{Component, Path},
};

use rustix::{
    fs::{FileType, Mode, OFlags, Stat},
    io::Errno,
};

use crate::identity::PLAIN_BYTES;

/// Why a file is not read although it is there, or may be.
#[derive(Debug)]
pub enum Unread {
    /// A link, or no plain file or folder where one should be.
    Odd,
    /// Somebody else may write it, or a folder on the way.
    Writable,
    /// Everybody may read it.
    Open,
    /// It belongs to neither root nor the agent.
    Owner(u32),
    TooLarge,
    Io(io::Error),
}

impl Unread {
    /// With the way out.
    pub fn explain(&self, path: &Path) -> String {
        let path = path.display();
        match self {
            Unread::Odd => {
                format!("{path} goes through a link, or is no plain file; put the file itself there")
            }
            Unread::Writable => format!(
                "{path}, or a folder on the way to it, can be written by others than its owner: chmod go-w"
            ),
            Unread::Open => format!("{path} can be read by everybody on this host: chmod 0600 {path}"),
            Unread::Owner(uid) => {
                format!("{path}, or a folder on the way to it, belongs to uid {uid}: chown root {path}")
            }
            Unread::TooLarge => {
                format!("{path} is larger than {PLAIN_BYTES} bytes, which is all a secret may have")
            }
            Unread::Io(error) => format!("read {path}: {error}"),
        }
    }
}

/// `None`: there is no such file. `base` is trusted as it is; `below` has plain components only.
pub fn read(base: &Path, below: &Path) -> Result<Option<Vec<u8>>, Unread> {
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at: OwnedFd = match rustix::fs::open(base, folder, Mode::empty()) {
        Ok(at) => at,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(Unread::Io(e.into())),
    };
    let mut parts = below.components().peekable();
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else { return Err(Unread::Odd) };
        let last = parts.peek().is_none();
        // A pipe must not hold us up.
        let kind = if last { OFlags::RDONLY | OFlags::NONBLOCK } else { OFlags::PATH | OFlags::DIRECTORY };
        let flags = kind | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        at = match rustix::fs::openat(&at, name, flags, Mode::empty()) {
            Ok(next) => next,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR | Errno::NXIO) => return Err(Unread::Odd),
            Err(e) => return Err(Unread::Io(e.into())),
        };
        let stat = rustix::fs::fstat(&at).map_err(|e| Unread::Io(e.into()))?;
        check(&stat, last)?;
    }
    let mut bytes = Vec::new();
    File::from(at).take(PLAIN_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(Unread::Io)?;
    if bytes.len() > PLAIN_BYTES { Err(Unread::TooLarge) } else { Ok(Some(bytes)) }
}

fn check(stat: &Stat, is_file: bool) -> Result<(), Unread> {
    let kind = if is_file { FileType::RegularFile } else { FileType::Directory };
    if FileType::from_raw_mode(stat.st_mode) != kind {
        return Err(Unread::Odd);
    }
    if stat.st_uid != 0 && stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(Unread::Owner(stat.st_uid));
    }
    if stat.st_mode & 0o022 != 0 {
        return Err(Unread::Writable);
    }
    if is_file && stat.st_mode & 0o004 != 0 { Err(Unread::Open) } else { Ok(()) }
}
