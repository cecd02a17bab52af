//! What happened on this host, per app and to the host itself, for admins. Bounded.

use std::collections::{BTreeMap, VecDeque};

use longshore_common::{
    code::{Code, Coded},
    ids::{AppName, Generation},
    ledger::Batch,
    report::{Failure, Outcome},
    slot::Slot,
    time::Millis,
};
use serde::{Deserialize, Serialize};

use super::{State, decode, encode, keys};

/// Rows that an app keeps; older ones go.
pub const ROWS_PER_APP: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    Staged,
    Healthy,
    Unchanged,
    Failed,
    Reverted,
    Inconsistent,
    Refused,
    Removed,
    /// An admin holds the host.
    Held,
    Unheld,
}

impl Event {
    pub fn as_str(self) -> &'static str {
        match self {
            Event::Staged => "staged",
            Event::Healthy => "healthy",
            Event::Unchanged => "unchanged",
            Event::Failed => "failed",
            Event::Reverted => "reverted",
            Event::Inconsistent => "inconsistent",
            Event::Refused => "refused",
            Event::Removed => "removed",
            Event::Held => "held",
            Event::Unheld => "unheld",
        }
    }
}

impl From<&Outcome> for Event {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Staged => Event::Staged,
            Outcome::Healthy => Event::Healthy,
            Outcome::Unchanged => Event::Unchanged,
            Outcome::Failed { failure } if is_refusal(failure) => Event::Refused,
            Outcome::Failed { .. } => Event::Failed,
            Outcome::Reverted { .. } => Event::Reverted,
            Outcome::Inconsistent { .. } => Event::Inconsistent,
            Outcome::Refused { .. } => Event::Refused,
            Outcome::Removed => Event::Removed,
        }
    }
}

/// Nothing was tried: who signed it, or what the admin or the organisation allows, was against it.
fn is_refusal(failure: &Failure) -> bool {
    let refusals = [Code::T01, Code::T02, Code::T03, Code::T04, Code::T05, Code::P01, Code::P02];
    refusals.iter().any(|code| failure.code == code.to_string())
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub time_ms: Millis,
    /// None: the host itself.
    pub app: Option<AppName>,
    pub generation: Generation,
    pub version: String,
    /// What is live after it.
    pub slot: Option<Slot>,
    pub event: Event,
    /// `LS-…` of what went wrong. Empty where nothing did, and in rows that were written before codes were.
    #[serde(default)]
    pub code: String,
    pub detail: String,
    /// `controller`, or the local user.
    pub by: String,
}

impl Row {
    /// Of the host itself.
    pub(super) fn of_host(time_ms: Millis, event: Event, detail: String, by: String) -> Self {
        let (generation, version, code) = (Generation(0), String::new(), String::new());
        Self { time_ms, app: None, generation, version, slot: None, event, code, detail, by }
    }
}

/// Which rows there are; the rows themselves stay on disk.
#[derive(Debug, Default)]
pub(super) struct Rows {
    by_app: BTreeMap<Option<AppName>, VecDeque<u64>>,
    last: u64,
}

impl Rows {
    /// In the order of the keys, so ascending within an app.
    pub(super) fn note(&mut self, app: Option<AppName>, nth: u64) {
        self.by_app.entry(app).or_default().push_back(nth);
        self.last = self.last.max(nth);
    }

    /// The batch with one more row, and without those that are too many now.
    pub(super) fn append(&mut self, batch: Batch, row: &Row) -> Batch {
        self.last += 1;
        self.note(row.app.clone(), self.last);
        let app = row.app.as_ref();
        let rows = self.by_app.get_mut(&row.app).expect("noted above");
        let excess = rows.len().saturating_sub(ROWS_PER_APP);
        let batch = rows.drain(..excess).fold(batch, |batch, old| batch.delete(keys::history(app, old)));
        batch.put(keys::history(app, self.last), encode(row))
    }
}

impl State {
    /// The latest rows first: of an app, or of the host itself.
    pub async fn history(&self, app: Option<&AppName>, limit: usize) -> Result<Vec<Row>, Coded> {
        let listing = self.ledger.list(&keys::history_of(app)).await.map_err(|e| e.coded())?;
        let rows = listing.entries.iter().rev().take(limit);
        rows.map(|(key, stored)| decode(key, &stored.value))
            .collect::<Result<_, _>>()
            .map_err(|e: Coded| Coded::new(Code::S02, e.message))
    }
}
