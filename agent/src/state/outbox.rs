//! Reports that the controller has not acknowledged. They survive restarts of both sides.

use std::{collections::BTreeMap, mem::discriminant};

use longshore_common::{
    ledger::Batch,
    report::{Outcome, Report},
};
use tokio::sync::watch;

use super::{Row, State, StateFailed, encode, keys};

/// Reports kept. When there are more, the oldest goes that ended nothing, or else the oldest of an app that later ended so
/// again; what each app ended with last, of every kind, is never dropped.
pub const OUTBOX_MAX: usize = 512;

/// Numbers skipped at every start. The last numbers given may have been acknowledged and their key for the counter
/// overtaken by one written at the same time; none is ever given twice all the same.
pub(super) const GAP: u64 = 64;

impl State {
    /// Reports after this number, in order.
    pub fn outbox_after(&self, seq: u64) -> Vec<(u64, Report)> {
        self.mirror().outbox.range(seq + 1..).map(|(seq, report)| (*seq, report.clone())).collect()
    }

    pub fn outbox_len(&self) -> usize {
        self.mirror().outbox.len()
    }

    /// Changes whenever there is a new report.
    pub fn watch_outbox(&self) -> watch::Receiver<u64> {
        self.outbox.subscribe()
    }

    /// The controller has committed this report.
    pub async fn acknowledge(&self, seq: u64) -> Result<(), StateFailed> {
        if !self.mirror().outbox.contains_key(&seq) {
            return Ok(());
        }
        self.ledger.commit(Batch::new().delete(keys::outbox(seq))).await?;
        self.mirror().outbox.remove(&seq);
        Ok(())
    }

    pub(super) async fn post(&self, batch: Batch, report: Report, row: Row) -> Result<(), StateFailed> {
        let (batch, seq, dropped) = {
            let mut mirror = self.mirror();
            mirror.seq += 1;
            let seq = mirror.seq;
            let full = mirror.outbox.len() >= OUTBOX_MAX;
            let dropped = full.then(|| dispensable(&mirror.outbox, &report)).flatten();
            let batch = dropped.map(keys::outbox).into_iter().fold(batch, Batch::delete);
            (mirror.history.append(batch, &row), seq, dropped)
        };
        let batch = batch.put(keys::outbox(seq), encode(&report)).put(keys::SEQ, encode(&seq));
        self.ledger.commit(batch).await?;
        {
            let mut mirror = self.mirror();
            dropped.map(|old| mirror.outbox.remove(&old));
            mirror.outbox.insert(seq, report);
        }
        self.outbox.send_replace(seq);
        Ok(())
    }
}

/// What says the least of all that waits while `news` comes.
fn dispensable(outbox: &BTreeMap<u64, Report>, news: &Report) -> Option<u64> {
    let nothing = outbox.iter().find(|(_, old)| ends_nothing(&old.outcome));
    let said_again = |seq: u64, old: &Report| {
        let mut later = outbox.range(seq + 1..).map(|(_, report)| report).chain([news]);
        later.any(|later| later.app == old.app && discriminant(&later.outcome) == discriminant(&old.outcome))
    };
    let found = nothing.or_else(|| outbox.iter().find(|(seq, old)| said_again(**seq, old)));
    found.map(|(seq, _)| *seq)
}

/// A later report of the same host says at least as much.
fn ends_nothing(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Staged | Outcome::Unchanged => true,
        Outcome::Healthy | Outcome::Failed { .. } | Outcome::Reverted { .. } => false,
        Outcome::Inconsistent { .. } | Outcome::Refused { .. } | Outcome::Removed => false,
    }
}
