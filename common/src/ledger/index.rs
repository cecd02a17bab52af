//! The database: an index over the journal. Nothing outside this file calls sled.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::error::Fault;
use super::image::Image;
use super::{Committed, Listing, Options, Revision, Stored, entry};
use crate::durable::{DurableError, Step, create_dir_durable, sync_dir};

/// The ledger's own word, beside the entries.
const REVISION_KEY: &[u8] = b"m/revision";

/// A sled database and the descriptor by which it is made durable.
#[derive(Debug)]
pub(super) struct Index {
    db: sled::Db,
    /// The same file as sled's own, for the sync that sled leaves out.
    file: File,
    path: PathBuf,
}

impl Index {
    /// Open, or create. sled panics and hangs where it finds damage, so the caller guards against both.
    pub(super) fn open(path: &Path, options: Options) -> Result<Index, Fault> {
        create_dir_durable(path, 0o700)?;
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(options.cache_bytes)
            .mode(sled::Mode::LowSpace)
            // The journal is what makes commits durable; a flusher would only wake an idle host twice a second.
            .flush_every_ms(None);
        let db = config.open()?;
        let file_path = path.join("db");
        let file =
            File::open(&file_path).map_err(|error| DurableError::new(Step::Open, &file_path, error))?;
        Ok(Index { db, file, path: path.to_owned() })
    }

    /// Apply commits, with the revision of the last of them. Not as sled's batch, which would make it write at once and
    /// start its pool of threads for that: what a crash leaves half applied is made anew from the journal.
    pub(super) fn apply(&self, commits: &[Committed]) -> Result<(), Fault> {
        for commit in commits {
            for (key, value) in &commit.changes {
                let db_key = entry::db_key(key);
                match value {
                    Some(value) => self.db.insert(db_key, entry::encode(key, value, commit.revision))?,
                    None => self.db.remove(db_key)?,
                };
            }
        }
        if let Some(last) = commits.last() {
            self.db.insert(REVISION_KEY, &last.revision.0.to_be_bytes())?;
        }
        Ok(())
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Stored>, Fault> {
        let found = self.db.get(entry::db_key(key))?;
        found.map(|bytes| entry::decode(key, &bytes)).transpose()
    }

    pub(super) fn revision_of(&self, key: &str) -> Result<Option<Revision>, Fault> {
        Ok(self.get(key)?.map(|stored| stored.revision))
    }

    pub(super) fn list(&self, prefix: &str) -> Result<Listing, Fault> {
        let entries = self.scan(prefix).collect::<Result<Vec<_>, Fault>>()?;
        Ok(Listing { revision: self.revision()?, entries })
    }

    /// Whether the database holds exactly what `image` does. Reads all of it.
    pub(super) fn equals(&self, image: &Image) -> Result<bool, Fault> {
        let mut expected = image.entries.iter();
        for found in self.scan("") {
            let (key, stored) = found?;
            if expected.next() != Some((&key, &stored)) {
                return Ok(false);
            }
        }
        Ok(expected.next().is_none() && self.revision()? == image.revision)
    }

    fn scan(&self, prefix: &str) -> impl Iterator<Item = Result<(String, Stored), Fault>> + use<> {
        self.db.scan_prefix(entry::db_key(prefix)).map(|item| {
            let (db_key, bytes) = item?;
            let key = entry::key_of(&db_key)?;
            let stored = entry::decode(&key, &bytes)?;
            Ok((key, stored))
        })
    }

    /// The revision of the last commit that was applied.
    pub(super) fn revision(&self) -> Result<Revision, Fault> {
        match self.db.get(REVISION_KEY)? {
            None => Ok(Revision(0)),
            Some(bytes) => match <[u8; 8]>::try_from(&*bytes) {
                Ok(bytes) => Ok(Revision(u64::from_be_bytes(bytes))),
                Err(_) => Err(Fault::Entry { key: "m/revision".to_owned(), what: "is no number" }),
            },
        }
    }

    pub(super) fn bytes_on_disk(&self) -> Result<u64, Fault> {
        Ok(self.db.size_on_disk()?)
    }

    /// Write a whole image into a database that is new.
    pub(super) fn fill(&self, image: &Image) -> Result<(), Fault> {
        for (key, stored) in &image.entries {
            self.db.insert(entry::db_key(key), entry::encode(key, &stored.value, stored.revision))?;
        }
        self.db.insert(REVISION_KEY, &image.revision.0.to_be_bytes())?;
        Ok(())
    }

    /// Make everything of the database durable: what was applied, every file that sled made, their folders.
    /// sled's own flush hands it to the kernel only.
    pub(super) fn sync(&self) -> Result<(), Fault> {
        self.db.flush()?;
        let synced = self.file.sync_data();
        synced.map_err(|error| DurableError::new(Step::Sync, &self.path.join("db"), error))?;
        let conf = self.path.join("conf");
        let synced = File::open(&conf).and_then(|file| file.sync_all());
        synced.map_err(|error| DurableError::new(Step::Sync, &conf, error))?;
        sync_dir(&self.path.join("blobs"))?;
        Ok(sync_dir(&self.path)?)
    }
}
