//! A rollout as it is shown: its state, what its hosts are doing this moment, and why it waits.

use std::{collections::BTreeMap, time::Duration};

use longshore_common::{
    ids::{HostId, RolloutId},
    time::Millis,
};

use super::{
    Engine,
    gates::{self, GateResult},
    records::{self, Record},
    turn, unknown,
};
use crate::{
    fleet::{host, words::Progress},
    rollout::{Away, Facts, Hold, Phase, Rollout, explain},
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
    /// After that much time what it waits for may be another thing, without a change of the rollout.
    pub stale_in: Option<Duration>,
}

/// Between two looks at who is before a rollout whose time has come.
const LOOK: Duration = Duration::from_secs(1);

impl Engine {
    pub async fn view(&self, id: &RolloutId) -> Result<View, Trouble> {
        let loaded = records::load(&self.inner.store, id).await?.ok_or_else(|| unknown(&id.to_string()))?;
        let progress = self.progress(&loaded.rollout);
        let doing = progress.iter().map(|(host, progress)| (*host, doing(progress))).collect();
        let mut seen = self.inner.seen.of(id);
        seen.extend(self.said_so_far(&loaded.rollout, &loaded.record.started_by).await?);
        let benched = self.benched(&loaded.rollout).await?;
        let (header, now) = (&loaded.rollout.header, self.now());
        let begins = header.start_at.filter(|_| turn::is_scheduled(header));
        let left = |at: Millis| Duration::from_millis((at - now).max(0).unsigned_abs());
        let ends = time_watched(&loaded.rollout).filter(|at| *at > now);
        // Mostly it is over at its end; if not, there is more to be said.
        let stale_in = begins.map(|at| left(at).max(LOOK)).or_else(|| ends.map(|at| left(at) + LOOK));
        let in_line = match turn::is_due(header, now) {
            true => self.before(&loaded.record).await?,
            false => None,
        };
        let last_look = self.inner.looks.under_way(&loaded.rollout, now);
        let away = self.away(&loaded.rollout);
        let helper_away = self.helper_away(&loaded.rollout, &away).await?;
        let facts = Facts { doing, away, helper_away, seen: seen.clone(), benched, in_line, last_look };
        let holds = explain(&loaded.rollout, &facts);
        let gates = gates::results(&self.inner.store, id).await?;
        Ok(View {
            record: loaded.record,
            rollout: loaded.rollout,
            revision: loaded.revision,
            progress,
            holds,
            gates,
            seen,
            stale_in,
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
            let own = rollout.generation(*id) == Some(progress.generation)
                || (rollout.is_balancer(id) && progress.generation.sequence() == rollout.header.sequence);
            own.then_some((*id, progress))
        };
        let balancers: Vec<HostId> = rollout.balancers().map(|(id, _)| id).collect();
        rollout.hosts.keys().chain(&balancers).filter_map(of_host).collect()
    }

    /// Hosts whose connection is gone, and of which it is not known yet whether they stay away.
    fn away(&self, rollout: &Rollout) -> BTreeMap<HostId, Away> {
        if rollout.phase().is_done() {
            return BTreeMap::new();
        }
        let (presence, now) = (self.inner.fleet.presence(), self.now());
        let ms = |time: Duration| time.as_millis() as Millis;
        let silence = ms(self.inner.fleet.silence());
        let of_host = |id: &HostId| {
            let since = now - ms(presence.away_for(id)?);
            Some((*id, Away { since, unknown_at: since + silence }))
        };
        rollout.hosts.keys().filter_map(of_host).collect()
    }

    /// Hosts whose last word was that the helper there is away, and why; of those that are gone, as their records have it.
    async fn helper_away(
        &self,
        rollout: &Rollout,
        away: &BTreeMap<HostId, Away>,
    ) -> Result<BTreeMap<HostId, String>, Trouble> {
        let mut found = BTreeMap::new();
        if rollout.phase().is_done() {
            return Ok(found);
        }
        let presence = self.inner.fleet.presence();
        for (id, host) in &rollout.hosts {
            let why = match presence.why_helper_away(id) {
                Some(why) => why,
                None if host.silent.is_some() || away.contains_key(id) => {
                    let record = host::get(&self.inner.store, id).await?;
                    let seen = record.and_then(|(host, _)| host.seen);
                    seen.and_then(|seen| seen.facts.why_helper_away().map(str::to_owned))
                }
                None => None,
            };
            found.extend(why.map(|why| (*id, why)));
        }
        Ok(found)
    }
}

/// When the time of a bake, or of the watch, is over.
fn time_watched(rollout: &Rollout) -> Option<Millis> {
    match rollout.phase() {
        phase @ (Phase::Baking(_) | Phase::Watching(_)) => phase.deadline(),
        _ => None,
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
