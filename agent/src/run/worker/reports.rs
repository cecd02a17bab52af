//! What a worker reports, and what of it stays in the host's history.

use longshore_common::{
    assignment::Assignment,
    report::{Outcome, Report},
    slot::Slot,
};

use super::Worker;
use crate::{
    host::Host,
    plan::{Record, Stale},
    run::failure_of,
    state::{Row, StateFailed},
};

/// What the history says of a deployment for which documents might have expired.
const STALE: &str = "with --stale";

impl<H: Host> Worker<H> {
    /// A report that ends nothing here.
    pub(super) async fn report(
        &mut self,
        assignment: &Assignment,
        outcome: Outcome,
        record: Option<Box<Record>>,
    ) -> Result<(), StateFailed> {
        let seen = self.tools.host.observe(&self.app).await;
        let live = seen.map_or_else(|_| self.record.good.last().cloned(), |seen| seen.current);
        let by = self.local_by(assignment).unwrap_or_else(|| "controller".to_owned());
        let (report, row) = self.words(assignment, outcome, live, by);
        match record {
            Some(record) => {
                self.tools.state.conclude(&self.app, (*record).clone(), report, row).await?;
                self.record = *record;
                Ok(())
            }
            None => self.tools.state.report(report, row).await,
        }
    }

    /// Who on this host deployed this, if it was not assigned.
    pub(super) fn local_by(&self, assignment: &Assignment) -> Option<String> {
        let local = self.record.local.as_ref();
        local.filter(|_| self.record.accepted.as_ref() == Some(assignment)).map(|local| local.by.clone())
    }

    pub(super) fn words(
        &self,
        assignment: &Assignment,
        outcome: Outcome,
        live: Option<Slot>,
        by: String,
    ) -> (Report, Row) {
        let time_ms = self.tools.state.now_ms();
        let failure = failure_of(&outcome);
        let failed = failure.map(|failure| format!("{}: {}", failure.step, failure.message));
        let by_hand = self.record.local.as_ref().filter(|_| self.local_by(assignment).is_some());
        let stale = by_hand.filter(|local| local.stale == Stale::Allowed).map(|_| STALE.to_owned());
        let detail = [stale, failed].into_iter().flatten().collect::<Vec<_>>().join("; ");
        let row = Row {
            time_ms,
            app: Some(self.app.clone()),
            generation: assignment.generation,
            version: assignment.version.to_string(),
            slot: live.clone(),
            event: (&outcome).into(),
            code: failure.map(|failure| failure.code.clone()).unwrap_or_default(),
            detail,
            by,
        };
        let report = Report {
            app: self.app.clone(),
            rollout: assignment.rollout,
            generation: assignment.generation,
            release: assignment.release,
            time_ms,
            outcome,
            live,
            by: self.local_by(assignment),
        };
        (report, row)
    }
}
