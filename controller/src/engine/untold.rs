//! What hosts' records say and a rollout was not told: that a host was removed, is of its environment no more, was drained
//! or taken back. Whoever removes or drains one tells the rollouts that have a task, or the word of balancers, at that
//! moment; one that was away then, or waited for its time, finds it here. So does one whose deadline comes before anybody
//! takes a host for silent.

use std::collections::BTreeMap;

use longshore_common::{
    ids::{EnvName, HostId},
    label::Selector,
    time::Millis,
};

use super::{Engine, records, runner::Job};
use crate::{
    environments,
    fleet::{Host, host},
    rollout::{Event, HostProgress, HostState, Rollout, unheard_when_due},
    trouble::Trouble,
};

impl Engine {
    pub(super) async fn untold(&self, rollout: &Rollout) -> Result<Vec<Event>, Trouble> {
        let hosts = host::list(&self.inner.store).await?.into_iter().map(|host| (host.id, host));
        let hosts: BTreeMap<HostId, Host> = hosts.collect();
        let gone = rollout.balancers().map(|(id, _)| id).filter(|id| !hosts.contains_key(id));
        let gone = gone.map(Event::HostRemoved);
        let balanced = rollout.header.balancing.is_some();
        // A selector that leaves nobody is a slip, or the end of the environment: nobody loses the traffic for it.
        let remain = |selector: &Selector| {
            let still = rollout.hosts.iter().filter(|(_, known)| known.state != HostState::Left);
            let mut still = still.filter_map(|(id, _)| hosts.get(id));
            still.any(|host| host.fits(selector))
        };
        let selector = self.selector(&rollout.header.env).await?.filter(remain);
        let stays = |host: &&Host| selector.as_ref().is_none_or(|selector| host.fits(selector));
        let of_host = |id: &HostId, known: &HostProgress| match hosts.get(id).filter(stays) {
            None => (known.state != HostState::Left).then_some(Event::HostRemoved(*id)),
            Some(host) if balanced => drain(host, known),
            Some(_) => None,
        };
        let told = rollout.hosts.iter().filter_map(|(id, known)| of_host(id, known));
        Ok(gone.chain(told).collect())
    }

    /// `None`: the environment cannot be read, and nobody is said to have left it.
    pub(super) async fn selector(&self, env: &EnvName) -> Result<Option<Selector>, Trouble> {
        match environments::load(&self.inner.store, env).await {
            Ok((environment, _)) => Ok(Some(environment.selector)),
            Err(Trouble::Refused(_)) => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// Rollouts under way let go of hosts that are of their environment no more: these keep what they run.
    pub(super) async fn let_go(&self) -> Result<(), Trouble> {
        let store = &self.inner.store;
        for (_, _, lock) in records::locks(store).await? {
            let Some(jobs) = self.jobs(&lock.rollout) else { continue };
            let Some(loaded) = records::load(store, &lock.rollout).await? else { continue };
            let mut left = self.untold(&loaded.rollout).await?;
            left.retain(|event| matches!(event, Event::HostRemoved(_)));
            for event in left {
                // A task that has just ended needs no telling.
                drop(jobs.send(Job::Fact(event)).await);
            }
        }
        Ok(())
    }

    /// Whoever is gone when a deadline comes is not waited for until everybody takes it for silent.
    pub(super) fn with_unheard(&self, rollout: Rollout, now: Millis) -> Rollout {
        let presence = self.inner.fleet.presence();
        unheard_when_due(rollout, |id| presence.away_for(id).is_some(), now)
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
