//! The log's files: lines of JSON in segments that are named by their first entry, one writer, bounded.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
    durable::{self, DurableError},
    time::{Clock, Millis},
    wire::cut,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    checkpoint::{CHECKPOINT_ENTRIES, CHECKPOINT_EVERY, Checkpoint, Signer},
    entry::{Chained, GENESIS, TEXT_BYTES, What, line_hash},
    reading::{lines_in, read, shown},
};

/// A segment that is larger is followed by a new one.
const SEGMENT_BYTES: u64 = 8 << 20;
/// Segments that are kept; the oldest goes. A gigabyte, some four million entries.
const SEGMENTS_MAX: usize = 128;
/// Refusals that are written one by one in a minute.
const REFUSALS_A_MINUTE: u32 = 60;
const MINUTE_MS: Millis = 60_000;

/// The log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("write {}", path.display())]
    Write { path: PathBuf, source: DurableError },
    #[error("append to {}", path.display())]
    Append { path: PathBuf, source: io::Error },
    #[error("{} is no Ed25519 key; restore it from a backup, or move it away for a new one", path.display())]
    Key { path: PathBuf },
    #[error("the audit log takes no entries since an earlier error; restart the controller")]
    Failed,
}

impl AuditError {
    /// What is told to a caller whose call could not be recorded.
    pub fn coded(&self) -> Coded {
        let message = format!("the call was not made, for it could not be recorded: {}", Chain(self));
        Coded::new(Code::S04, message)
    }
}

/// The log. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    inner: Arc<Inner>,
}

struct Inner {
    log: Mutex<Log>,
    dir: PathBuf,
    signer: Signer,
    clock: Arc<dyn Clock>,
    latest: watch::Sender<Option<Checkpoint>>,
}

struct Log {
    file: Option<File>,
    path: PathBuf,
    bytes: u64,
    /// The number of the next entry, and the hash of the last.
    next: u64,
    head: [u8; 32],
    /// Entries under the last checkpoint, and when it was made.
    signed: u64,
    signed_ms: Millis,
    refusals: Refusals,
}

/// How many refusals there were in the present minute.
#[derive(Default)]
struct Refusals {
    since_ms: Millis,
    seen: u32,
    unwritten: u64,
}

impl Audit {
    /// `dir` for the segments, `keys` for the key. A line that a crash cut in two was never acknowledged, and goes.
    pub fn open(dir: &Path, keys: &Path, clock: Arc<dyn Clock>) -> Result<Self, AuditError> {
        durable::create_dir_durable(dir, 0o700)
            .map_err(|source| AuditError::Write { path: dir.into(), source })?;
        let signer = Signer::load_or_create(keys)?;
        let log = Log::open(dir)?;
        let (latest, _) = watch::channel(None);
        let inner = Inner { log: Mutex::new(log), dir: dir.into(), signer, clock, latest };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Durable when it returns. The number of the entry; none for a refusal that was only counted.
    pub async fn append(&self, what: What) -> Result<Option<u64>, AuditError> {
        let inner = self.inner.clone();
        let appended = tokio::task::spawn_blocking(move || inner.append(what, true)).await;
        appended.unwrap_or(Err(AuditError::Failed))
    }

    /// How a call ended. Not waited for: what counts was recorded when it began.
    pub fn ended(&self, of: u64, code: Option<String>, why: &str) {
        let (inner, why) = (self.inner.clone(), cut(why, TEXT_BYTES));
        tokio::task::spawn_blocking(move || {
            if let Err(error) = inner.append(What::Ended { of, code, why }, false) {
                tracing::error!(error = %Chain(&error), "how a call ended was not recorded");
            }
        });
    }

    /// The last checkpoint, and every further one.
    pub fn checkpoints(&self) -> watch::Receiver<Option<Checkpoint>> {
        self.inner.latest.subscribe()
    }

    /// The number of the next entry.
    pub fn next(&self) -> u64 {
        self.inner.log().next
    }

    /// At most `most` lines from entry `from` on, and the number to go on with. Waits for the disk.
    pub fn read(&self, from: u64, most: usize) -> Result<(Vec<String>, u64), AuditError> {
        read(&self.inner.dir, from, most, self.next())
    }

    /// Signs what has grown old unsigned, until `stop`; and once more then.
    pub async fn keep(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(CHECKPOINT_EVERY.0.min(Duration::from_secs(60)));
        loop {
            let over = tokio::select! {
                () = stop.cancelled() => true,
                _ = tick.tick() => false,
            };
            let inner = self.inner.clone();
            let signed = tokio::task::spawn_blocking(move || inner.sign_if_due(over)).await;
            if let Ok(Err(error)) = signed {
                tracing::error!(error = %Chain(&error), "the audit log was not signed");
            }
            if over {
                return;
            }
        }
    }
}

impl Inner {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("nothing panics while it holds the lock")
    }

    fn append(&self, what: What, durable: bool) -> Result<Option<u64>, AuditError> {
        let now = self.clock.now_ms();
        let mut log = self.log();
        if matches!(what, What::Denied { .. }) && !log.refusals.admit(now) {
            return Ok(None);
        }
        if let Some(refusals) = log.refusals.over(now) {
            log.write(&self.dir, What::Suppressed { refusals }, now, false)?;
        }
        let i = log.write(&self.dir, shortened(what), now, durable)?;
        if log.next - log.signed >= CHECKPOINT_ENTRIES {
            self.sign(&mut log, now)?;
        }
        Ok(Some(i))
    }

    fn sign_if_due(&self, last: bool) -> Result<(), AuditError> {
        let now = self.clock.now_ms();
        let mut log = self.log();
        let old = now - log.signed_ms >= CHECKPOINT_EVERY.as_ms();
        if log.next > log.signed && (old || last) { self.sign(&mut log, now) } else { Ok(()) }
    }

    /// What is signed is on the disk first.
    fn sign(&self, log: &mut Log, now: Millis) -> Result<(), AuditError> {
        log.sync()?;
        self.latest.send_replace(Some(self.signer.sign(log.next, log.head, now)));
        (log.signed, log.signed_ms) = (log.next, now);
        Ok(())
    }
}

impl Refusals {
    fn admit(&mut self, now: Millis) -> bool {
        if now - self.since_ms >= MINUTE_MS && self.unwritten == 0 {
            (self.since_ms, self.seen) = (now, 0);
        }
        self.seen = self.seen.saturating_add(1);
        let written = self.seen <= REFUSALS_A_MINUTE || now - self.since_ms >= MINUTE_MS;
        self.unwritten += u64::from(!written);
        written
    }

    /// How many were only counted, once their minute is over.
    fn over(&mut self, now: Millis) -> Option<u64> {
        if self.unwritten == 0 || now - self.since_ms < MINUTE_MS {
            return None;
        }
        let refusals = std::mem::take(&mut self.unwritten);
        (self.since_ms, self.seen) = (now, 1);
        Some(refusals)
    }
}

impl Log {
    fn open(dir: &Path) -> Result<Self, AuditError> {
        let mut log = Log {
            file: None,
            path: PathBuf::new(),
            bytes: 0,
            next: 0,
            head: GENESIS,
            signed: 0,
            signed_ms: 0,
            refusals: Refusals::default(),
        };
        if let Some((first, path)) = segments(dir)?.pop() {
            log.resume(first, path)?;
        }
        Ok(log)
    }

    /// Goes on after the last whole line of a segment.
    fn resume(&mut self, first: u64, path: PathBuf) -> Result<(), AuditError> {
        let text = fs::read(&path).map_err(|source| AuditError::Read { path: path.clone(), source })?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        (self.next, self.head) = (first, GENESIS);
        for line in lines_in(&text[..whole]) {
            (self.next, self.head) = (self.next + 1, line_hash(&shown(line)));
        }
        if whole == 0 {
            // The segment holds nothing, so its predecessor's last line is what the next one follows, if it has one.
            let before = segments(path.parent().expect("a segment lies in the folder"))?;
            if let Some((_, before)) = before.iter().rev().nth(1) {
                let text =
                    fs::read(before).map_err(|source| AuditError::Read { path: before.clone(), source })?;
                let last = lines_in(&text).next_back();
                self.head = last.map_or(GENESIS, |line| line_hash(&shown(line)));
            }
        }
        let file = OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|file| {
                file.set_len(whole as u64)?;
                file.sync_all()?;
                Ok(file)
            })
            .map_err(|source| AuditError::Append { path: path.clone(), source })?;
        (self.bytes, self.file, self.path) = (whole as u64, Some(file), path);
        Ok(())
    }

    fn write(&mut self, dir: &Path, what: What, now: Millis, durable: bool) -> Result<u64, AuditError> {
        if self.bytes >= SEGMENT_BYTES || self.path.as_os_str().is_empty() {
            self.begin_segment(dir)?;
            if let Some(before) = prune(dir)? {
                self.write(dir, What::Pruned { before }, now, false)?;
            }
        }
        let i = self.next;
        let line = Chained { i, at_ms: now, prev: self.head, what }.line();
        // After an error nobody knows what the disk holds: nothing more is written until a new process looks.
        let mut file = self.file.take().ok_or(AuditError::Failed)?;
        file.write_all(format!("{line}\n").as_bytes())
            .and_then(|()| if durable { file.sync_data() } else { Ok(()) })
            .map_err(|source| AuditError::Append { path: self.path.clone(), source })?;
        self.file = Some(file);
        self.bytes += line.len() as u64 + 1;
        (self.next, self.head) = (i + 1, line_hash(&line));
        Ok(i)
    }

    fn sync(&mut self) -> Result<(), AuditError> {
        let file = self.file.take().ok_or(AuditError::Failed)?;
        file.sync_data().map_err(|source| AuditError::Append { path: self.path.clone(), source })?;
        self.file = Some(file);
        Ok(())
    }

    fn begin_segment(&mut self, dir: &Path) -> Result<(), AuditError> {
        if self.file.is_some() {
            self.sync()?;
        }
        let path = dir.join(format!("{:012}.jsonl", self.next));
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(&path)
            .map_err(|source| AuditError::Append { path: path.clone(), source })?;
        durable::sync_dir(dir).map_err(|source| AuditError::Write { path: dir.into(), source })?;
        (self.file, self.path, self.bytes) = (Some(file), path, 0);
        Ok(())
    }
}

/// Takes the oldest segments away when there are too many; the number of the first entry that is left then.
fn prune(dir: &Path) -> Result<Option<u64>, AuditError> {
    let mut all = segments(dir)?;
    let old = all.len().saturating_sub(SEGMENTS_MAX);
    for (_, path) in all.drain(..old) {
        durable::remove_durable(&path).map_err(|source| AuditError::Write { path, source })?;
    }
    Ok((old > 0).then(|| all.first().map_or(0, |(first, _)| *first)))
}

/// Segments with their first entries, oldest first.
pub(super) fn segments(dir: &Path) -> Result<Vec<(u64, PathBuf)>, AuditError> {
    let fault = |source| AuditError::Read { path: dir.into(), source };
    let mut found = vec![];
    for entry in fs::read_dir(dir).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        let name =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".jsonl"));
        if let Some(first) = name.and_then(|name| name.parse().ok()) {
            found.push((first, path));
        }
    }
    found.sort();
    Ok(found)
}

fn shortened(what: What) -> What {
    let short = |text: String| cut(&text, TEXT_BYTES);
    match what {
        What::Allowed { actor, key, method, target } => {
            What::Allowed { actor: short(actor), key, method, target: short(target) }
        }
        What::Denied { actor, key, method, target, code, why } => {
            let (actor, target, why) = (short(actor), short(target), short(why));
            What::Denied { actor, key, method, target, code, why }
        }
        What::Event { actor, event, target } => {
            What::Event { actor: short(actor), event: short(event), target: short(target) }
        }
        What::Ended { of, code, why } => What::Ended { of, code, why: short(why) },
        What::Pruned { .. } | What::Suppressed { .. } => what,
    }
}
