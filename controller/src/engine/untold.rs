//! What hosts' records say and a rollout was not told: that a host was removed, drained or taken back. Whoever does so
//! tells the rollouts that have a task, or the word of balancers, at that moment; one that was away then, or waited for
//! its time, finds it here.

use std::collections::BTreeMap;

use longshore_common::ids::HostId;

use super::Engine;
use crate::{
    fleet::{Host, host},
    rollout::{Event, HostProgress, HostState, Rollout},
    trouble::Trouble,
};

impl Engine {
    pub(super) async fn untold(&self, rollout: &Rollout) -> Result<Vec<Event>, Trouble> {
        let hosts = host::list(&self.inner.store).await?.into_iter().map(|host| (host.id, host));
        let hosts: BTreeMap<HostId, Host> = hosts.collect();
        let gone = rollout.balancers().map(|(id, _)| id).filter(|id| !hosts.contains_key(id));
        let gone = gone.map(Event::HostRemoved);
        let balanced = rollout.header.balancing.is_some();
        let of_host = |id: &HostId, known: &HostProgress| match hosts.get(id) {
            None => (known.state != HostState::Left).then_some(Event::HostRemoved(*id)),
            Some(host) if balanced => drain(host, known),
            Some(_) => None,
        };
        let told = rollout.hosts.iter().filter_map(|(id, known)| of_host(id, known));
        Ok(gone.chain(told).collect())
    }
}

/// One that is being taken back has its connections when its apps serve: that is said elsewhere (`rejoin`).
fn drain(host: &Host, known: &HostProgress) -> Option<Event> {
    let drained = host.drained.is_some();
    let differs = match known.benched {
        true => !drained && host.rejoining.is_none(),
        false => drained,
    };
    differs.then_some(Event::HostDrained { host: host.id, drained })
}
