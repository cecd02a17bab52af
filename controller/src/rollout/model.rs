//! A rollout: a small header and one record per host, stored apart and put together again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use longshore_common::{
    digest::{ReleaseDigest, SnapshotDigest},
    ids::{AppName, EnvName, Generation, HostId, RolloutId, Version},
    settings::{Settings, Values},
    time::{Millis, Span},
};
use serde::{Deserialize, Serialize};

use super::{
    balance::Balancing,
    closed::Closed,
    gate::Round,
    host::HostProgress,
    phase::{Phase, Watching},
    settings::{Snapshot, Snapshots},
    spec::Spec,
};

/// What an environment or a host runs: a release with the settings it is rendered with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub version: Version,
    pub release: ReleaseDigest,
    /// Names the snapshot of its settings; `None`: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotDigest>,
    /// Of a host: the snapshot's layers that hold for it. Empty for an environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<u16>,
    /// In place of a snapshot, in records of before there were any.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub values: Values,
}

impl Target {
    /// The same for a host for which these layers hold.
    pub fn on_host(&self, layers: &[u16]) -> Target {
        Target { layers: layers.to_vec(), ..self.clone() }
    }

    /// What a host is rendered with. `None`: the snapshot is not among these.
    pub fn settings(&self, snapshots: &Snapshots) -> Option<Settings> {
        match &self.snapshot {
            Some(digest) => Some(snapshots.get(digest)?.resolve(&self.layers)),
            None => Some(Settings { values: self.values.clone(), ..Settings::default() }),
        }
    }
}

/// Everything of a rollout but its hosts. Its size does not depend on how many there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub id: RolloutId,
    /// Rises with every rollout of the controller: the high bits of the generations it gives.
    pub sequence: u64,
    pub app: AppName,
    pub env: EnvName,
    pub target: Target,
    /// What was live in the environment before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_version: Option<Version>,
    pub spec: Spec,
    /// How many there are; at least one unless no host takes part.
    pub waves: u32,
    /// The first waves that bake for `canary_bake`. Rollouts made before this was kept have none here and go by the
    /// canary.
    #[serde(default)]
    pub careful_waves: u32,
    /// Steps of traffic that the first wave is through with.
    #[serde(default)]
    pub traffic_step: u32,
    /// The load balancers that its hosts stand behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balancing: Option<Balancing>,
    /// Goes into every assignment.
    pub keep_slots: u32,
    pub created_ms: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<Millis>,
    pub phase: Phase,
    /// The gates that were begun where the rollout is now, or where it turned back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<Round>,
    /// Runs of gates begun so far: the number of the last.
    #[serde(default)]
    pub gate_runs: u32,
    /// Who said that every gate and wait that was left is to be passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted: Option<String>,
    /// The watch that began after the last wave, once newcomers interrupted it: of that wave, and with the end that it
    /// keeps. What they are is said in `join`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watching>,
    /// Gates whose last verdict is a pass.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub passed: BTreeSet<String>,
    /// It takes the environment back to what was live there before: where hosts may go back, it goes on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub back: bool,
    /// Whoever is away or held until it is over, or was drained when it began, is brought what is live there when that is over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follows: bool,
    /// Not to begin before; `None`: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Millis>,
    /// Its environment may not be changed at present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Closed>,
    /// While it is closed: the wave that switches, or is paused in that, did so before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub finishing: bool,
    /// For how long it stood paused, or waited for promotion.
    #[serde(default)]
    pub stood_ms: Millis,
}

/// The whole: what `step` takes and gives. Hosts are shared, so that a copy costs a pointer for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    pub header: Header,
    pub hosts: BTreeMap<HostId, Arc<HostProgress>>,
    /// Those that the target and the hosts' ways back name. Only grows, when hosts join.
    pub snapshots: Arc<Snapshots>,
}

impl Header {
    /// From its beginning to its end, without the time for which it stood until somebody let it go on; `None`: it is not over.
    pub fn under_way(&self) -> Option<Millis> {
        let Phase::Done(done) = &self.phase else { return None };
        let begun = self.started_ms.unwrap_or(self.created_ms);
        Some((done.at - begun - self.stood_ms).max(0))
    }
}

impl Rollout {
    /// From what the store holds.
    pub fn from_parts(header: Header, hosts: impl IntoIterator<Item = (HostId, HostProgress)>) -> Self {
        let hosts = hosts.into_iter().map(|(id, host)| (id, Arc::new(host))).collect();
        Self { header, hosts, snapshots: Arc::default() }
    }

    pub fn with_snapshots(self, snapshots: Snapshots) -> Self {
        Self { snapshots: Arc::new(snapshots), ..self }
    }

    /// Digests of the snapshots that it cannot do without.
    pub fn snapshots_needed(&self) -> BTreeSet<SnapshotDigest> {
        let previous = self.hosts.values().filter_map(|host| host.previous.as_ref());
        previous.chain([&self.header.target]).filter_map(|target| target.snapshot).collect()
    }

    /// The settings of the target as they were declared when it was made; `None`: there were none.
    pub fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshots.get(self.header.target.snapshot.as_ref()?)
    }

    pub fn phase(&self) -> &Phase {
        &self.header.phase
    }

    pub fn spec(&self) -> &Spec {
        &self.header.spec
    }

    /// Of a host's present ask; `None` while it was asked nothing.
    pub fn generation(&self, host: HostId) -> Option<Generation> {
        let host = self.hosts.get(&host)?;
        host.ask.map(|_| Generation::new(self.header.sequence, host.round))
    }

    /// Every balancer has said that it sends the host nothing; or none directs any traffic to it.
    pub fn has_let_go_of(&self, host: HostId) -> bool {
        let route = self.hosts.get(&host).and_then(|host| host.route);
        route.is_none_or(|route| route.weight == 0 && route.done)
    }

    /// Hosts by wave, in the order in which they are moved; hosts that are out are in none.
    pub fn waves(&self) -> Vec<Vec<HostId>> {
        let mut waves = vec![vec![]; self.header.waves as usize];
        for (id, host) in self.in_order() {
            if let (false, Some(wave)) = (host.is_out(), waves.get_mut(host.wave as usize)) {
                wave.push(id);
            }
        }
        waves
    }

    /// How long a wave is watched after it is healthy.
    pub fn bake_of(&self, wave: u32) -> Span {
        let begun = self.header.balancing.as_ref().is_none_or(|b| b.side.is_none() || b.share > 0);
        if let (Some(routing), true) = (&self.spec().traffic, begun && self.next_share(wave).is_some()) {
            return routing.hold;
        }
        let canary = wave == 0 && !self.spec().canary.is_zero();
        let careful = canary || wave < self.header.careful_waves;
        if careful { self.spec().canary_bake } else { self.spec().bake }
    }

    /// How long the release is watched after the last wave: where traffic moved, at least for as long as what had it
    /// before stays warm.
    pub fn watch(&self) -> Span {
        let groups =
            self.spec().traffic.as_ref().and_then(|routing| routing.balancers.as_ref()?.groups.as_ref());
        let warm = groups.filter(|_| self.header.has_moved()).map_or(Span::default(), |groups| groups.warm);
        self.spec().watch.max(warm)
    }

    /// `wave 2 of 5`, counted from 1 as people do.
    pub(super) fn wave_name(&self, wave: u32) -> String {
        match (wave, self.header.waves) {
            (_, 1) => format!("the only wave{}", self.stand_ins(wave)),
            (0, waves) => format!("the first of {waves} waves{}", self.stand_ins(wave)),
            (wave, waves) => format!("wave {} of {waves}", wave + 1),
        }
    }

    /// Every host by wave and name.
    pub(super) fn in_order(&self) -> Vec<(HostId, &HostProgress)> {
        self.named(|_| true)
    }

    /// The hosts that fit, by wave and name.
    pub(super) fn named(&self, fits: impl Fn(&HostProgress) -> bool) -> Vec<(HostId, &HostProgress)> {
        let fitting = self.hosts.iter().filter(|(_, host)| fits(host));
        let mut hosts: Vec<(HostId, &HostProgress)> = fitting.map(|(id, host)| (*id, &**host)).collect();
        hosts.sort_by_key(|(id, host)| (host.wave, &host.name, *id));
        hosts
    }

    /// The record of a host, to be changed.
    pub(super) fn host_mut(&mut self, id: HostId) -> Option<&mut HostProgress> {
        self.hosts.get_mut(&id).map(Arc::make_mut)
    }
}

/// The hosts whose records differ or are new: what a commit has to write. Hosts come and never go.
pub fn changed_hosts(before: &Rollout, after: &Rollout) -> Vec<HostId> {
    let mut old = before.hosts.iter().peekable();
    let changed = after.hosts.iter().filter(|(id, new)| {
        let known = old.next_if(|(known, _)| known == id);
        known.is_none_or(|(_, known)| !Arc::ptr_eq(known, new) && known != *new)
    });
    changed.map(|(id, _)| *id).collect()
}
