//! A rollout as it is shown: its state, what its hosts are doing this moment, and why it waits.

use std::collections::BTreeMap;

use longshore_common::ids::{HostId, RolloutId};

use super::{
    Engine,
    gates::{self, GateResult},
    records::{self, Record},
    unknown,
};
use crate::{
    fleet::words::Progress,
    rollout::{Facts, Hold, Rollout, explain},
    store::Revision,
    trouble::Trouble,
};

/// Everything that a page about one rollout needs.
#[derive(Clone, Debug)]
pub struct View {
    pub record: Record,
    pub rollout: Rollout,
    pub revision: Revision,
    /// Of hosts that are at work on it now.
    pub progress: BTreeMap<HostId, Progress>,
    /// Empty only when it is over, and no host behind balancers is kept from its connections.
    pub holds: Vec<Hold>,
    /// Gates that came to their end, in order.
    pub gates: Vec<GateResult>,
    /// What gates that are looked at have seen so far.
    pub seen: BTreeMap<u32, String>,
}

impl Engine {
    pub async fn view(&self, id: &RolloutId) -> Result<View, Trouble> {
        let loaded = records::load(&self.inner.store, id).await?.ok_or_else(|| unknown(&id.to_string()))?;
        let progress = self.progress(&loaded.rollout);
        let doing = progress.iter().map(|(host, progress)| (*host, doing(progress))).collect();
        let mut seen = self.inner.seen.of(id);
        seen.extend(self.said_so_far(&loaded.rollout, &loaded.record.started_by).await?);
        let benched = self.benched(&loaded.rollout).await?;
        let holds = explain(&loaded.rollout, &Facts { doing, seen: seen.clone(), benched });
        let gates = gates::results(&self.inner.store, id).await?;
        Ok(View {
            record: loaded.record,
            rollout: loaded.rollout,
            revision: loaded.revision,
            progress,
            holds,
            gates,
            seen,
        })
    }

    /// Records of rollouts, the newest first.
    pub async fn records(&self) -> Result<Vec<Record>, Trouble> {
        let mut records = records::list(&self.inner.store).await?;
        records.reverse();
        Ok(records)
    }

    fn progress(&self, rollout: &Rollout) -> BTreeMap<HostId, Progress> {
        if rollout.phase().is_done() {
            return BTreeMap::new();
        }
        let presence = self.inner.fleet.presence();
        let of_host = |id: &HostId| {
            let progress = presence.progress(id, &rollout.header.app)?;
            // What the host does for an earlier assignment is not about this rollout.
            (rollout.generation(*id) == Some(progress.generation)).then_some((*id, progress))
        };
        rollout.hosts.keys().filter_map(of_host).collect()
    }
}

/// `fetch, 12 of 67 MB`; a detail that begins with the step says it all.
fn doing(progress: &Progress) -> String {
    const MB: u64 = 1_000_000; // as everywhere where people read sizes
    let step = &progress.step;
    match (progress.bytes_total, progress.detail.as_str()) {
        (0, "") => step.clone(),
        (0, detail) if detail.starts_with(step.as_str()) => detail.to_owned(),
        (0, detail) => format!("{step}, {detail}"),
        (total, _) if total >= MB => {
            format!("{step}, {} of {} MB", progress.bytes_done / MB, total.div_ceil(MB))
        }
        (total, _) => format!("{step}, {} of {total} bytes", progress.bytes_done),
    }
}
