//! What the agent remembers over restarts: a record per app, the outbox, history, the hold.
//!
//! All of it lies in one ledger and is mirrored in memory, so reading costs nothing and an idle agent touches no disk.
//! Whatever changes is durable before the call returns. After a failed write the ledger takes nothing any more and the
//! process has to be started again: [`State::failed`] says when.

mod fit;
mod history;
mod hold;
mod keys;
mod outbox;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

use longshore_common::{
    assignment::Assignment,
    code::{Code, Coded},
    ids::AppName,
    ledger::{Batch, CommitError, Ledger, LedgerFailed, Options},
    report::{DRAINED, Report},
    time::{Clock, Millis},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::watch;

pub use fit::fit;
pub use history::{Event, Row};

use crate::plan::{Drain, Hold, HoldKind, Record};
use hold::HoldFile;

/// Open once per process; shared by everything that remembers.
#[derive(Debug)]
pub struct State {
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    mirror: Mutex<Mirror>,
    /// Rises with every report that is put into the outbox.
    outbox: watch::Sender<u64>,
    /// For whatever reason: somebody over the socket, the file, or a drain.
    hold: watch::Sender<Option<Hold>>,
    hold_file: HoldFile,
    boot: u64,
}

#[derive(Debug, Default)]
struct Mirror {
    apps: BTreeMap<AppName, Record>,
    /// Somebody on the host wants it so.
    hold: Option<Hold>,
    drain: Option<Drain>,
    outbox: BTreeMap<u64, Report>,
    /// The highest number that a report ever had.
    seq: u64,
    history: history::Rows,
}

/// The state does not take writes any more; the process has to be started again.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub struct StateFailed(#[from] CommitError);

impl State {
    /// Counts this as a start of the agent.
    pub async fn open(dir: &Path, clock: Arc<dyn Clock>) -> Result<Arc<Self>, Coded> {
        let dir = dir.to_owned();
        let opened = tokio::task::spawn_blocking(move || Ledger::open(&dir, Options::AGENT)).await;
        let ledger = opened.expect("a ledger opens or says why not").map_err(|e| e.coded())?;
        let mut mirror = Mirror::default();
        let mut boot = 0;
        for (key, stored) in ledger.list("").await.map_err(|e| e.coded())?.entries {
            match keys::parse(&key) {
                Some(keys::Key::Assignment(app)) => {
                    mirror.apps.entry(app).or_default().accepted = Some(decode(&key, &stored.value)?);
                }
                Some(keys::Key::Record(app)) => {
                    let record: Record = decode(&key, &stored.value)?;
                    let known = mirror.apps.entry(app).or_default();
                    *known = Record { accepted: known.accepted.take(), ..record };
                }
                Some(keys::Key::Outbox(seq)) => {
                    mirror.outbox.insert(seq, decode(&key, &stored.value)?);
                    mirror.seq = mirror.seq.max(seq);
                }
                Some(keys::Key::History(app, nth)) => mirror.history.note(app, nth),
                Some(keys::Key::Seq) => mirror.seq = mirror.seq.max(decode(&key, &stored.value)?),
                Some(keys::Key::Boot) => boot = decode(&key, &stored.value)?,
                Some(keys::Key::Hold) => mirror.hold = Some(decode(&key, &stored.value)?),
                Some(keys::Key::Drain) => mirror.drain = Some(decode(&key, &stored.value)?),
                None => {
                    return Err(Coded::new(
                        Code::S03,
                        format!(
                            "state has an entry \"{key}\" that this version does not know; use the newer version"
                        ),
                    ));
                }
            }
        }
        boot += 1;
        mirror.seq += outbox::GAP;
        let written = ledger.commit(Batch::new().put(keys::BOOT, encode(&boot))).await;
        written.map_err(|e| Coded::new(e.code(), longshore_common::chain::Chain(&e).to_string()))?;
        let (outbox, hold) = (watch::Sender::new(mirror.seq), watch::Sender::new(mirror.held()));
        let hold_file = HoldFile::default();
        Ok(Arc::new(Self { ledger, clock, mirror: Mutex::new(mirror), outbox, hold, hold_file, boot }))
    }

    /// Rises with every start of the agent.
    pub fn boot_counter(&self) -> u64 {
        self.boot
    }

    pub fn now_ms(&self) -> Millis {
        self.clock.now_ms()
    }

    /// Empty for an app that was never assigned.
    pub fn record(&self, app: &AppName) -> Record {
        self.mirror().apps.get(app).cloned().unwrap_or_default()
    }

    pub fn apps(&self) -> Vec<AppName> {
        self.mirror().apps.keys().cloned().collect()
    }

    pub async fn keep(&self, app: &AppName, record: Record) -> Result<(), StateFailed> {
        let batch = self.put_record(Batch::new(), app, &record);
        self.ledger.commit(batch).await?;
        self.mirror().apps.insert(app.clone(), record);
        Ok(())
    }

    /// The record, the report and the row of history land together or not at all.
    pub async fn conclude(
        &self,
        app: &AppName,
        record: Record,
        report: Report,
        row: Row,
    ) -> Result<(), StateFailed> {
        let batch = self.put_record(Batch::new(), app, &record);
        self.post(batch, report, row).await?;
        self.mirror().apps.insert(app.clone(), record);
        Ok(())
    }

    /// A report that changes nothing in the record: a refusal, or the same answer once more.
    pub async fn report(&self, report: Report, row: Row) -> Result<(), StateFailed> {
        self.post(Batch::new(), report, row).await
    }

    pub fn drain(&self) -> Option<Drain> {
        self.mirror().drain.clone()
    }

    /// Whether anything changed.
    pub async fn set_drain(&self, drain: Option<Drain>) -> Result<bool, StateFailed> {
        // This host's clock against the controller's is another one each time.
        let told = |drain: &Option<Drain>| drain.clone().map(|drain| Drain { here_ms: 0, ..drain });
        let before = self.drain();
        if told(&before) == told(&drain) {
            return Ok(false);
        }
        let (batch, event) = match &drain {
            Some(drain) => (Batch::new().put(keys::DRAIN, encode(drain)), Event::Held),
            None => (Batch::new().delete(keys::DRAIN), Event::Unheld),
        };
        let words = drain.as_ref().or(before.as_ref()).map(held_by).unwrap_or_default();
        let row = Row::of_host(self.now_ms(), event, words.reason, words.by);
        let batch = self.mirror().history.append(batch, &row);
        self.ledger.commit(batch).await?;
        self.mirror().drain = drain;
        self.tell_hold();
        Ok(true)
    }

    /// Waits until the state cannot be written any more.
    pub async fn failed(&self) -> LedgerFailed {
        self.ledger.failed().await
    }

    /// The folder is free when this returns.
    pub async fn close(&self) {
        self.ledger.clone().close().await;
    }

    fn put_record(&self, batch: Batch, app: &AppName, record: &Record) -> Batch {
        let known = self.mirror().apps.get(app).and_then(|known| known.accepted.clone());
        let batch = match &record.accepted {
            Some(assignment) if known.as_ref() != Some(assignment) => {
                batch.put(keys::assignment(app), encode::<Assignment>(assignment))
            }
            Some(_) | None => batch,
        };
        let rest = Record { accepted: None, ..record.clone() };
        batch.put(keys::record(app), encode(&rest))
    }

    fn mirror(&self) -> MutexGuard<'_, Mirror> {
        self.mirror.lock().expect("no holder panics")
    }
}

impl Mirror {
    /// Why the host takes no new work, if it takes none.
    fn held(&self) -> Option<Hold> {
        self.drain.as_ref().map(held_by).or_else(|| self.hold.clone())
    }
}

/// A drained host takes no work, like one that somebody there holds.
fn held_by(drain: &Drain) -> Hold {
    let Drain { by, reason, since_ms, .. } = drain.clone();
    Hold { reason: format!("{DRAINED}{reason}"), by, since_ms, kind: HoldKind::Drain }
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("our own words can be said in JSON")
}

fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, Coded> {
    serde_json::from_slice(bytes).map_err(|e| {
        let message = format!(
            "state entry \"{key}\" does not read as this version writes it: {e}. A newer version may have written it; \
             nothing was changed"
        );
        Coded::new(Code::S03, message)
    })
}
