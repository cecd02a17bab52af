//! The database itself. Nothing outside this file calls sled.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::error::Fault;
use super::{Guard, Listing, Options, Revision, Stored, Write, entry};
use crate::durable::{DurableError, Step, create_dir_durable, sync_dir};

/// The ledger's own words, beside the entries.
const REVISION_KEY: &[u8] = b"m/revision";
const FORMAT_KEY: &[u8] = b"m/format";

/// A sled database and the descriptor by which it is made durable.
#[derive(Debug)]
pub(super) struct Index {
    db: sled::Db,
    /// The same file as sled's own, for the sync that sled leaves out.
    file: File,
    path: PathBuf,
}

/// What a commit came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Guarded {
    /// All guards hold.
    Holds,
    /// This key's does not.
    Conflict(String),
}

impl Index {
    /// Open or create. sled panics and hangs where it finds damage, so the caller guards against both.
    pub(super) fn open(path: &Path, options: Options) -> Result<Index, Fault> {
        create_dir_durable(path, 0o700)?;
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(options.cache_bytes)
            .mode(sled::Mode::LowSpace)
            // Our own flush follows every batch; a flusher thread would only wake an idle host.
            .flush_every_ms(None);
        let db = config.open()?;
        let file_path = path.join("db");
        let file =
            File::open(&file_path).map_err(|error| DurableError::new(Step::Open, &file_path, error))?;
        let index = Index { db, file, path: path.to_owned() };
        index.sync_all()?;
        Ok(index)
    }

    /// Whether a set of guards holds now.
    pub(super) fn check(&self, guards: &[Guard]) -> Result<Guarded, Fault> {
        for guard in guards {
            if !guard.holds(self.revision_of(guard.key())?) {
                return Ok(Guarded::Conflict(guard.key().to_owned()));
            }
        }
        Ok(Guarded::Holds)
    }

    /// Apply writes and the new revision, all or nothing. Durable only after [`Index::sync`].
    pub(super) fn apply(&self, writes: &[Write], revision: Revision) -> Result<(), Fault> {
        let mut batch = sled::Batch::default();
        for write in writes {
            match write {
                Write::Put(key, value) => {
                    let stored = Stored { value: value.clone(), revision };
                    batch.insert(entry::db_key(key), entry::encode(key, &stored));
                }
                Write::Delete(key) => batch.remove(entry::db_key(key)),
            }
        }
        batch.insert(REVISION_KEY, &revision.0.to_be_bytes());
        Ok(self.db.apply_batch(batch)?)
    }

    /// Make everything that was applied durable. sled's own flush hands it to the kernel only.
    pub(super) fn sync(&self) -> Result<(), Fault> {
        self.db.flush()?;
        let synced = self.file.sync_data();
        Ok(synced.map_err(|error| DurableError::new(Step::Sync, &self.path.join("db"), error))?)
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Stored>, Fault> {
        let found = self.db.get(entry::db_key(key))?;
        found.map(|bytes| entry::decode(key, &bytes)).transpose()
    }

    pub(super) fn contains(&self, key: &str) -> Result<bool, Fault> {
        Ok(self.revision_of(key)?.is_some())
    }

    pub(super) fn list(&self, prefix: &str) -> Result<Listing, Fault> {
        let mut entries = Vec::new();
        for item in self.db.scan_prefix(entry::db_key(prefix)) {
            let (db_key, bytes) = item?;
            let key = entry::key_of(&db_key)?;
            let stored = entry::decode(&key, &bytes)?;
            entries.push((key, stored));
        }
        Ok(Listing { revision: self.revision()?, entries })
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

    /// Who wrote the format that lies here: nobody where the database is new.
    pub(super) fn format(&self) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.db.get(FORMAT_KEY)?.map(|bytes| bytes.to_vec()))
    }

    pub(super) fn set_format(&self, format: &[u8]) -> Result<(), Fault> {
        self.db.insert(FORMAT_KEY, format)?;
        self.sync()
    }

    pub(super) fn bytes_on_disk(&self) -> Result<u64, Fault> {
        Ok(self.db.size_on_disk()?)
    }

    /// Write entries as they are, with their revisions, into a database that is new.
    pub(super) fn fill(&self, listing: &Listing) -> Result<(), Fault> {
        for (key, stored) in &listing.entries {
            self.db.insert(entry::db_key(key), entry::encode(key, stored))?;
        }
        self.db.insert(REVISION_KEY, &listing.revision.0.to_be_bytes())?;
        self.sync_all()
    }

    fn revision_of(&self, key: &str) -> Result<Option<Revision>, Fault> {
        let found = self.db.get(entry::db_key(key))?;
        found.map(|bytes| entry::decode_revision(key, &bytes)).transpose()
    }

    /// Every file that sled made, the folder and its parent.
    fn sync_all(&self) -> Result<(), Fault> {
        self.sync()?;
        let conf = self.path.join("conf");
        let synced = File::open(&conf).and_then(|file| file.sync_all());
        synced.map_err(|error| DurableError::new(Step::Sync, &conf, error))?;
        sync_dir(&self.path.join("blobs"))?;
        sync_dir(&self.path)?;
        if let Some(parent) = self.path.parent() {
            sync_dir(parent)?;
        }
        Ok(())
    }
}
