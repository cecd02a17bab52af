//! Opening a ledger: one owner, the journal as the truth, and a database that equals it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::Options;
use super::error::{Fault, OpenError};
use super::image::Image;
use super::index::Index;
use super::journal::{End, Journal, ReadError};
use super::{Listing, Revision, stopped};
use crate::durable::{
    DirLock, create_dir_durable, lock_dir, remove_dir_durable, remove_leftovers, rename_durable,
};

/// Longer than sled needs for the largest state we keep; it has been seen to hang where it finds damage.
const SLED_OPEN_LIMIT: Duration = Duration::from_secs(10);

/// A database below this is never made anew only because it is large: it costs nobody anything.
const COMPACT_ABOVE_BYTES: u64 = 64 << 20;

/// How many times its live bytes a database may take.
const COMPACT_ABOVE_RATIO: u64 = 6;

const SLED: &str = "sled";

/// Where the last damaged database lies, for whoever wants to know what happened to it.
const DAMAGED_SLED: &str = "sled.damaged";

/// A journal and a database that equal each other, and the lock that makes them ours.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) index: Index,
    pub(super) journal: Journal,
    pub(super) revision: Revision,
    /// Dropped last.
    pub(super) lock: DirLock,
}

/// Why a database is made anew.
#[derive(Debug, thiserror::Error)]
enum Rebuild {
    #[error("there is none")]
    Missing,
    #[error("it is small")]
    Small,
    #[error("it was not closed in order")]
    NotStopped,
    #[error("it is mostly air")]
    Airy,
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// Lock, read the journal, and open or make the database.
pub(super) fn open(dir: &Path, options: Options) -> Result<Opened, OpenError> {
    create_dir_durable(dir, 0o700)?;
    let lock = lock_dir(dir)?;
    remove_leftovers(dir)?;
    let stopped = stopped::take(dir)?;
    let (mut journal, image) = open_journal(dir, options, stopped)?;
    let image = Arc::new(image);
    let index = match open_index(dir, options, stopped, &image) {
        Ok(index) => index,
        Err(reason) => rebuild(dir, options, &image, reason).map_err(|fault| broken(dir, fault))?,
    };
    let revision = image.revision;
    drop(image);
    if journal.is_worth_renewing() {
        journal.renew().map_err(|fault| broken(dir, fault))?;
    }
    Ok(Opened { index, journal, revision, lock })
}

fn broken(dir: &Path, fault: Fault) -> OpenError {
    match fault {
        Fault::Disk(error) => OpenError::Disk(error),
        other => OpenError::damaged(dir, other),
    }
}

/// Read the journal; begin it where the folder is new; take the database's word where the journal is damaged and
/// the database is known to be whole.
fn open_journal(dir: &Path, options: Options, stopped: Option<End>) -> Result<(Journal, Image), OpenError> {
    let path = dir.join("journal");
    let error = match Journal::read(&path) {
        Ok((journal, image)) => match stopped {
            Some(end) if end != journal.end(image.revision) => {
                ReadError::Damaged { at: 0, what: "it does not end where it ended when it was closed" }
            }
            Some(_) => return Ok((journal, image)),
            // A sync that failed leaves pages that can be read and will never be written. Whoever was not closed in
            // order may have ended with one, so what was read is written again before anything follows it.
            None => return Ok((journal.renewed(&image)?, image)),
        },
        Err(ReadError::Missing) if !dir.join(SLED).exists() => {
            let image = Image::default();
            return Ok((Journal::begin(&path, &image)?, image));
        }
        Err(error) => error,
    };
    match (error, stopped) {
        (ReadError::Disk(error), _) => Err(error.into()),
        (ReadError::Newer { writer }, _) => Err(OpenError::Newer {
            dir: dir.to_owned(),
            theirs: writer,
            ours: env!("CARGO_PKG_VERSION").to_owned(),
        }),
        (damage, None) => Err(OpenError::damaged(dir, damage)),
        (damage, Some(end)) => journal_from_index(dir, options, damage, end),
    }
}

/// The database was closed in order, so it holds what the journal has lost.
fn journal_from_index(
    dir: &Path,
    options: Options,
    damage: ReadError,
    end: End,
) -> Result<(Journal, Image), OpenError> {
    let sled = dir.join(SLED);
    let listed = guarded(move || Index::open(&sled, options)?.list(""));
    let image = match listed {
        Ok(Listing { revision, entries }) if revision == end.revision => {
            Image { revision, entries: entries.into_iter().collect() }
        }
        Ok(_) => return Err(OpenError::damaged(dir, format!("{damage}, and the database is older"))),
        Err(fault) => {
            return Err(OpenError::damaged(dir, format!("{damage}, and so is the database: {fault}")));
        }
    };
    let path = dir.join("journal");
    if path.exists() {
        rename_durable(&path, &dir.join("journal.damaged"))?;
    }
    let journal = Journal::begin(&path, &image)?;
    tracing::warn!(
        code = "LS-S02", dir = %dir.display(), %damage, records = image.entries.len(),
        "journal damaged; begun anew from the database"
    );
    Ok((journal, image))
}

/// The database that is there, if it was closed in order and equals the journal.
fn open_index(
    dir: &Path,
    options: Options,
    stopped: Option<End>,
    image: &Arc<Image>,
) -> Result<Index, Rebuild> {
    let sled = dir.join(SLED);
    if !sled.exists() {
        return Err(Rebuild::Missing);
    }
    if stopped.is_none() {
        return Err(Rebuild::NotStopped);
    }
    if image.live_bytes() <= options.anew_up_to_bytes {
        return Err(Rebuild::Small);
    }
    let damaged = |fault: Fault| Rebuild::Damaged(fault.to_string());
    let expected = image.clone();
    let opened = guarded(move || {
        let index = Index::open(&sled, options)?;
        Ok(if index.equals(&expected)? { Some(index) } else { None })
    });
    let Some(index) = opened.map_err(damaged)? else {
        return Err(Rebuild::Damaged("it holds other entries than the journal".to_owned()));
    };
    let bytes = index.bytes_on_disk().map_err(damaged)?;
    if is_airy(bytes, image.live_bytes()) { Err(Rebuild::Airy) } else { Ok(index) }
}

fn is_airy(bytes: u64, live: u64) -> bool {
    bytes > COMPACT_ABOVE_BYTES && bytes > COMPACT_ABOVE_RATIO.saturating_mul(live)
}

/// Make the database anew from what the journal amounts to.
fn rebuild(dir: &Path, options: Options, image: &Image, reason: Rebuild) -> Result<Index, Fault> {
    let began = Instant::now();
    let sled = dir.join(SLED);
    match reason {
        Rebuild::Damaged(_) => {
            remove_dir_durable(&dir.join(DAMAGED_SLED))?;
            rename_durable(&sled, &dir.join(DAMAGED_SLED))?;
        }
        Rebuild::Missing | Rebuild::Small | Rebuild::NotStopped | Rebuild::Airy => remove_dir_durable(&sled)?,
    }
    let path = sled.clone();
    let index = guarded(move || Index::open(&path, options))?;
    caught(|| index.fill(image))?;
    let (records, took) = (image.entries.len(), began.elapsed().as_secs_f64());
    match reason {
        Rebuild::Damaged(_) => tracing::warn!(
            code = "LS-S02", dir = %dir.display(), %reason, records, seconds = took,
            "state index damaged; rebuilt from the journal, the old one kept as `{DAMAGED_SLED}`"
        ),
        Rebuild::Small => {}
        Rebuild::Missing if image.revision == Revision(0) => {}
        Rebuild::Missing | Rebuild::NotStopped | Rebuild::Airy => tracing::info!(
            dir = %dir.display(), %reason, records, seconds = took, "state index rebuilt from the journal"
        ),
    }
    Ok(index)
}

/// Run what may panic or hang. What hangs is left behind on its thread, on files that are then renamed away.
fn guarded<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    let (done, result) = mpsc::channel();
    let worker = std::thread::Builder::new().name("ledger-open".to_owned());
    let spawned = worker.spawn(move || {
        let outcome = caught(work);
        // Nobody listens any more where the limit has passed.
        let _ = done.send(outcome);
    });
    match spawned {
        Ok(_) => result.recv_timeout(SLED_OPEN_LIMIT).unwrap_or(Err(Fault::Hung(SLED_OPEN_LIMIT.as_secs()))),
        Err(error) => Err(Fault::Sled(error.into())),
    }
}

/// Run what may panic: that is how sled answers to damage. In a program that aborts on panic it ends the process;
/// the note of an orderly stop is gone by then, so the next start does not trust the same files again.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    // Unwind safety: after a panic nothing of the database is used again.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(panic) => Err(Fault::Panic(words_of(&*panic))),
    }
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_small_or_full_is_not_compacted() {
        let mib = 1 << 20;
        assert!(!is_airy(60 * mib, 0), "small");
        assert!(!is_airy(400 * mib, 70 * mib), "full");
        assert!(is_airy(400 * mib, 60 * mib));
    }
}
