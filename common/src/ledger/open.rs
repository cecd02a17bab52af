//! Opening a ledger: one owner, no trust in what lies there, no more air than data.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use super::error::{Fault, OpenError};
use super::index::Index;
use super::{Listing, Options, Revision};
use crate::durable::{
    DirLock, create_dir_durable, exchange_durable, lock_dir, remove_dir_durable, remove_leftovers,
};

/// What this version writes. It rises when an older version could not read what a newer one wrote.
const FORMAT: u32 = 1;

/// Longer than sled needs for the largest state we keep; it has been seen to hang where it finds damage.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

/// A database below this is never compacted: it costs nobody anything.
const COMPACT_ABOVE_BYTES: u64 = 64 << 20;

/// How many times its live bytes a database may take.
const COMPACT_ABOVE_RATIO: u64 = 6;

/// A database that was read through, and the lock that makes it ours.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) index: Index,
    pub(super) revision: Revision,
    /// Dropped after the database.
    pub(super) lock: DirLock,
}

/// Lock, open, check everything, compact.
pub(super) fn open(dir: &Path, options: Options) -> Result<Opened, OpenError> {
    create_dir_durable(dir, 0o700)?;
    let lock = lock_dir(dir)?;
    remove_leftovers(dir)?;
    remove_dir_durable(&dir.join("sled.new"))?;
    let damaged = |fault: Fault| match fault {
        Fault::Disk(error) => OpenError::Disk(error),
        other => OpenError::damaged(dir, other),
    };
    let path = dir.join("sled");
    let (index, everything) = {
        let path = path.clone();
        guarded(move || read_through(&path, options)).map_err(damaged)?
    };
    check_format(dir, &index, &everything)?;
    let revision = everything.revision;
    let index = match worth_compacting(&index, &everything).map_err(damaged)? {
        Compact::No => index,
        Compact::Yes => {
            drop(index);
            compact(dir, options, &everything).map_err(damaged)?
        }
    };
    Ok(Opened { index, revision, lock })
}

#[derive(Debug, PartialEq, Eq)]
enum Compact {
    Yes,
    No,
}

/// Open a database and read all of it, so that damage shows now and not in the middle of a rollout.
fn read_through(path: &Path, options: Options) -> Result<(Index, Listing), Fault> {
    let index = Index::open(path, options)?;
    let everything = index.list("")?;
    let newest = everything.entries.iter().map(|(_, stored)| stored.revision).max();
    match newest {
        Some(newest) if newest > everything.revision => {
            Err(Fault::Revision { found: everything.revision, expected: newest })
        }
        Some(_) | None => Ok((index, everything)),
    }
}

/// Run what may panic or hang. What hangs is left behind on its thread; the process is to end soon after.
fn guarded<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    let (done, result) = mpsc::channel();
    let worker = std::thread::Builder::new().name("ledger-open".to_owned());
    let spawned = worker.spawn(move || {
        let outcome = caught(work);
        // Nobody listens any more where the limit has passed.
        let _ = done.send(outcome);
    });
    match spawned {
        Ok(_) => result.recv_timeout(OPEN_LIMIT).unwrap_or(Err(Fault::Hung(OPEN_LIMIT.as_secs()))),
        Err(error) => Err(Fault::Sled(sled::Error::Io(error))),
    }
}

/// Run what may panic: that is how sled answers to damage.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    // Unwind safety: after a panic nothing of the database is used again.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(panic) => Err(Fault::Panicked(words_of(&*panic))),
    }
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}

/// The format is ours, or is written now where there is none because the database is new.
fn check_format(dir: &Path, index: &Index, everything: &Listing) -> Result<(), OpenError> {
    let damaged = |fault: Fault| OpenError::damaged(dir, fault);
    let Some(bytes) = index.format().map_err(damaged)? else {
        if everything.revision != Revision(0) {
            return Err(OpenError::damaged(dir, "its format is not stated"));
        }
        return index.set_format(our_format().as_bytes()).map_err(damaged);
    };
    let text = String::from_utf8_lossy(&bytes);
    let (number, version) = text.split_once(' ').unwrap_or((&text, "an unknown version"));
    match number.parse::<u32>() {
        Ok(number) if number <= FORMAT => Ok(()),
        Ok(_) => Err(OpenError::Newer {
            dir: dir.to_owned(),
            theirs: version.to_owned(),
            ours: env!("CARGO_PKG_VERSION").to_owned(),
        }),
        Err(_) => Err(OpenError::damaged(dir, "its format is no number")),
    }
}

fn our_format() -> String {
    format!("{FORMAT} {}", env!("CARGO_PKG_VERSION"))
}

fn worth_compacting(index: &Index, everything: &Listing) -> Result<Compact, Fault> {
    let live: usize = everything.entries.iter().map(|(key, stored)| key.len() + stored.value.len()).sum();
    let taken = index.bytes_on_disk()?;
    let airy = taken > COMPACT_ABOVE_BYTES && taken > COMPACT_ABOVE_RATIO.saturating_mul(live as u64);
    Ok(if airy { Compact::Yes } else { Compact::No })
}

/// Write everything into a new database and put it in the place of the old one, in one step.
fn compact(dir: &Path, options: Options, everything: &Listing) -> Result<Index, Fault> {
    let (path, new) = (dir.join("sled"), dir.join("sled.new"));
    let index = Index::open(&new, options)?;
    index.set_format(our_format().as_bytes())?;
    index.fill(everything)?;
    drop(index);
    exchange_durable(&new, &path)?;
    remove_dir_durable(&new)?;
    Index::open(&path, options)
}
