//! Files that somebody else may have put where we read. A pipe would have us wait for ever and a device has no end, so
//! only regular files are opened, without waiting, and no more of them is read than was said.
//!
//! Only a path at which there is nothing at all gives `NotFound`: a link to nowhere is something.

use std::{
    fs::{self, File, Metadata},
    io::{self, ErrorKind, Read as _},
    os::unix::fs::FileTypeExt as _,
    path::Path,
};

use rustix::fs::{Mode, OFlags};

/// Whether a link in the place of the file is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    Followed,
    /// Where its folder belongs to a user who may do less than we.
    Refused,
}

/// To be read; an error says what stands in the file's place.
pub fn open(path: &Path, links: Links) -> io::Result<File> {
    let itself = fs::symlink_metadata(path)?;
    let (about, more) = match links {
        Links::Followed => (target(path)?, OFlags::empty()),
        Links::Refused => (itself, OFlags::NOFOLLOW),
    };
    // Before as well: with some devices, to open them already does something.
    check(&about)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | more;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    check(&file.metadata()?)?;
    Ok(file)
}

/// The whole file, which may have `most` bytes.
pub fn read(path: &Path, most: usize, links: Links) -> io::Result<Vec<u8>> {
    let file = open(path, links)?;
    let mut bytes = vec![];
    (&file).take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() <= most {
        return Ok(bytes);
    }
    let has = file.metadata()?.len().max(bytes.len() as u64);
    let why = format!("it has {has} bytes; at most {most} are read. Is it the right file?");
    Err(io::Error::new(ErrorKind::FileTooLarge, why))
}

/// The same as text.
pub fn read_text(path: &Path, most: usize, links: Links) -> io::Result<String> {
    let text = String::from_utf8(read(path, most, links)?);
    text.map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is no UTF-8"))
}

/// What a path leads to where something is there, if only a link.
fn target(path: &Path) -> io::Result<Metadata> {
    fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            io::Error::new(ErrorKind::InvalidInput, "it is a link to nowhere; mend the link, or remove it")
        }
        _ => error,
    })
}

fn check(about: &Metadata) -> io::Result<()> {
    let kind = about.file_type();
    if kind.is_file() {
        return Ok(());
    }
    let what = if kind.is_dir() {
        "a folder"
    } else if kind.is_symlink() {
        "a link"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    let why = format!("it is {what}, and only a file is read; put a file in its place");
    Err(io::Error::new(ErrorKind::InvalidInput, why))
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use super::*;
    use crate::durable::write_atomic;

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        write_atomic(&file, b"four", 0o600).unwrap();
        symlink("file", &link).unwrap();
        assert_eq!(read(&file, 4, Links::Refused).unwrap(), b"four");
        assert_eq!(read_text(&link, 4, Links::Followed).unwrap(), "four");
        let large = read(&file, 3, Links::Followed).unwrap_err();
        assert_eq!(large.kind(), ErrorKind::FileTooLarge);
        assert!(large.to_string().starts_with("it has 4 bytes; at most 3 are read"), "{large}");
        write_atomic(&file, b"\xff", 0o600).unwrap();
        assert_eq!(read_text(&file, 4, Links::Followed).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn whatever_else_stands_there_is_named_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), 0o600.into()).unwrap();
        let _listens = UnixListener::bind(at("door")).unwrap();
        symlink("pipe", at("link")).unwrap();
        symlink("nowhere", at("lost")).unwrap();
        for (path, links, says) in [
            (at("pipe"), Links::Refused, "it is a FIFO"),
            (at("link"), Links::Followed, "it is a FIFO"),
            (at("link"), Links::Refused, "it is a link"),
            (at("lost"), Links::Refused, "it is a link"),
            (at("lost"), Links::Followed, "it is a link to nowhere"),
            (at("door"), Links::Followed, "it is a socket"),
            (dir.path().to_owned(), Links::Followed, "it is a folder"),
            ("/dev/zero".into(), Links::Followed, "it is a device"),
        ] {
            let why = read(&path, 9, links).unwrap_err();
            assert_eq!(why.kind(), ErrorKind::InvalidInput, "{}", path.display());
            assert!(why.to_string().starts_with(says), "{}: {why}", path.display());
        }
        assert_eq!(read(&at("none"), 9, Links::Followed).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
