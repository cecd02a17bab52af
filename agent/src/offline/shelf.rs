//! Bundles that have come, as files until their release lies in a slot.

use std::{
    fs::File,
    io::{self, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use longshore_common::{
    bundle::frame::Form,
    chain::Chain,
    code::{Code, Coded},
    digest::ReleaseDigest,
    durable::{self, AtomicFile, DurableError},
    ids::AppName,
    offline::{BUNDLE_BYTES, PLAIN_BYTES},
    text::bytes,
};

/// Below the folder of all that is ours.
const FOLDER: &str = "bundles";
/// Room that others keep while a bundle comes.
const ROOM_LEFT: u64 = 64 << 20;
/// Bytes between two looks at how much room there is.
const LOOK_EVERY: u64 = 16 << 20;

/// The folder. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shelf(PathBuf);

impl Shelf {
    pub fn below(data: &Path) -> Self {
        Self(data.join(FOLDER))
    }

    /// A bundle begins to come. Dropped before it is kept, it is gone.
    pub fn arrive(&self, form: Form) -> Result<Arrival, Coded> {
        durable::create_dir_durable(&self.0, 0o700).map_err(disk)?;
        let file = AtomicFile::create(&self.0.join("arriving"), 0o600).map_err(disk)?;
        let most = match form {
            Form::Framed => BUNDLE_BYTES,
            Form::Plain => PLAIN_BYTES,
        };
        Ok(Arrival { file, folder: self.0.clone(), bytes: 0, most })
    }

    /// The bundle that brought this release, if there is one.
    pub fn open(&self, app: &AppName, release: &ReleaseDigest) -> Result<Option<File>, Coded> {
        let path = self.path(app, release);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Coded::new(Code::S04, format!("open `{}`: {error}", path.display()))),
        }
    }

    pub fn remove(&self, app: &AppName, release: &ReleaseDigest) -> Result<(), Coded> {
        durable::remove_durable(&self.path(app, release)).map_err(disk)
    }

    /// Removes all but what is still on its way into a slot.
    pub fn sweep(&self, on_the_way: &[(AppName, ReleaseDigest)]) -> Result<(), Coded> {
        let kept: Vec<PathBuf> = on_the_way.iter().map(|(app, release)| self.path(app, release)).collect();
        let Ok(entries) = std::fs::read_dir(&self.0) else { return Ok(()) };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if !kept.contains(&path) {
                durable::remove_durable(&path).map_err(disk)?;
            }
        }
        Ok(())
    }

    fn path(&self, app: &AppName, release: &ReleaseDigest) -> PathBuf {
        path(&self.0, app, release)
    }
}

fn path(folder: &Path, app: &AppName, release: &ReleaseDigest) -> PathBuf {
    folder.join(format!("{app}-{}.lsb", release.hex()))
}

/// A bundle that is coming.
#[derive(Debug)]
pub struct Arrival {
    file: AtomicFile,
    folder: PathBuf,
    bytes: u64,
    /// Bytes that it may have.
    most: u64,
}

impl Arrival {
    pub fn write(&mut self, piece: &[u8]) -> Result<(), Coded> {
        let before = self.bytes;
        self.bytes += piece.len() as u64;
        if self.bytes > self.most {
            let message = format!("a bundle has at most {}; nothing was changed", bytes(self.most));
            return Err(Coded::new(Code::A04, message));
        }
        if before == 0 || before / LOOK_EVERY != self.bytes / LOOK_EVERY {
            let free = durable::free_bytes(&self.folder).map_err(disk)?;
            if free < ROOM_LEFT {
                let (free, folder) = (bytes(free), self.folder.display());
                let message = format!(
                    "{free} are left where `{folder}` lies, too little for a bundle; nothing was changed"
                );
                return Err(Coded::new(Code::D01, message));
            }
        }
        let path = self.file.temp_path().to_owned();
        self.file.write_all(piece).map_err(|e| disk(DurableError::new(durable::Step::Write, &path, e)))
    }

    /// All of it, from the beginning.
    pub fn read(&self) -> Result<File, Coded> {
        let path = self.file.temp_path();
        let begun = self.file.file().try_clone().and_then(|mut file| file.rewind().map(|()| file));
        begun.map_err(|e| disk(DurableError::new(durable::Step::Read, path, e)))
    }

    /// It stays until the release lies in a slot.
    pub fn keep(self, app: &AppName, release: &ReleaseDigest) -> Result<(), Coded> {
        let from = self.file.temp_path().to_owned();
        self.file.file().sync_data().map_err(|e| disk(DurableError::new(durable::Step::Sync, &from, e)))?;
        let target = path(&self.folder, app, release);
        // Under its name from now on; the temporary one is nobody's any more when it is dropped.
        durable::rename_durable(&from, &target).map_err(disk)
    }
}

fn disk(error: DurableError) -> Coded {
    Coded::new(error.code(), Chain(&error).to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn shelf() -> (tempfile::TempDir, Shelf, AppName, ReleaseDigest) {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::below(dir.path());
        (dir, shelf, "shop".parse().unwrap(), ReleaseDigest::of(b"m"))
    }

    #[test]
    fn what_came_is_what_is_read_and_gone_when_it_is_removed() {
        let (_dir, shelf, app, release) = shelf();
        let mut arrival = shelf.arrive(Form::Framed).unwrap();
        for piece in [&b"abc"[..], b"", b"def"] {
            arrival.write(piece).unwrap();
        }
        let read = |mut file: File| {
            let mut all = String::new();
            file.read_to_string(&mut all).unwrap();
            all
        };
        assert_eq!(read(arrival.read().unwrap()), "abcdef");
        arrival.keep(&app, &release).unwrap();
        assert_eq!(read(shelf.open(&app, &release).unwrap().unwrap()), "abcdef");
        shelf.remove(&app, &release).unwrap();
        assert!(shelf.open(&app, &release).unwrap().is_none());
    }

    #[test]
    fn a_bundle_may_be_as_large_as_the_limit_and_no_larger() {
        let (_dir, shelf, ..) = shelf();
        let mut arrival = shelf.arrive(Form::Framed).unwrap();
        arrival.bytes = BUNDLE_BYTES - 3; // they came before
        arrival.write(b"abc").unwrap();
        let refusal = arrival.write(b"d").unwrap_err();
        assert!(refusal.code == Code::A04 && refusal.message.contains("at most 2.1 GB"), "{refusal}");
    }

    #[test]
    fn a_shelf_that_cannot_be_looked_at_is_not_an_empty_one() {
        let (dir, shelf, app, release) = shelf();
        assert!(shelf.open(&app, &release).unwrap().is_none());
        durable::write_atomic(&dir.path().join(FOLDER), b"a file", 0o600).unwrap();
        assert_eq!(shelf.open(&app, &release).unwrap_err().code, Code::S04);
    }
}
