//! Hosts that an operator drains or takes back, behind load balancers that we direct, also when no rollout is under way:
//! connections go before the apps stop, and come when they serve again (`rejoin`).
//!
//! What balancers were told last stands in the rollout that told them, be it over or not. A drain is one more word of it,
//! and so is that a host was removed.

use std::{collections::BTreeSet, time::Duration};

use longshore_common::{
    assignment::Intent,
    chain::Chain,
    code::Coded,
    ids::{HostId, RolloutId},
};
use tokio::sync::oneshot;

use super::{
    Engine, commit,
    records::{self, Given},
    runner::{Job, STORE_PAUSE},
};
use crate::{
    fleet::{Drained, Host, host},
    rollout::{Event, Rollout, step},
    store::{Prefix, record},
    trouble::Trouble,
};

/// Between looks at whether balancers have let go of a host.
const LOOK: Duration = Duration::from_millis(500);
/// New attempts at a commit that others keep getting in the way of.
const ATTEMPTS: u32 = 16;

impl Engine {
    /// Keeps new work from a host; where its apps are to stop by a deadline, not before balancers have let go of it.
    /// Whether anything was changed by it.
    pub async fn drain(&self, id: HostId, drained: Drained) -> Result<(Host, bool), Trouble> {
        let balanced = !self.balancing(&id).await?.is_empty();
        let waits = balanced && drained.stop_ms.is_some_and(|stop_ms| stop_ms > drained.since_ms);
        let drained = Drained { waits, ..drained };
        let (host, changed) = self.inner.fleet.drain(&id.to_string(), drained).await?;
        if balanced {
            self.drain_changed(id);
        }
        Ok((host, changed))
    }

    /// The host was drained, is drained no more, is back by its labels, or was removed. What follows from that is done
    /// beside, however long it takes.
    pub(super) fn drain_changed(&self, host: HostId) {
        let (engine, stop) = (self.clone(), self.inner.stop.clone());
        self.inner.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = engine.carry_drain(host) => {}
            }
        });
    }

    /// Takes up every drain and removal that balancers have not heard of, or that waits for them.
    pub(super) async fn take_up_drains(&self) -> Result<(), Trouble> {
        let rollouts = self.directing().await?;
        let hosts = host::list(&self.inner.store).await?;
        let here: BTreeSet<HostId> = hosts.iter().map(|host| host.id).collect();
        let known = rollouts.iter().flat_map(|rollout| &rollout.hosts);
        let served = known.filter(|(_, known)| known.route.is_some_and(|route| route.weight > 0));
        for (gone, _) in served.filter(|(id, _)| !here.contains(*id)) {
            self.drain_changed(*gone);
        }
        for host in hosts {
            let drained = host.drained.is_some();
            let told =
                |rollout: &Rollout| rollout.hosts.get(&host.id).is_none_or(|known| known.benched == drained);
            let waits =
                host.drained.as_ref().is_some_and(|drained| drained.waits) || host.rejoining.is_some();
            if waits || !rollouts.iter().all(told) {
                self.drain_changed(host.id);
            }
        }
        Ok(())
    }

    async fn carry_drain(&self, id: HostId) {
        loop {
            match self.try_to_carry_drain(id).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(trouble) => {
                    tracing::warn!(host = %id, trouble = %Chain(&trouble), "a drain is carried on in a moment");
                    tokio::time::sleep(STORE_PAUSE).await;
                }
            }
        }
    }

    /// Whether all is done that the host's record asks for: somebody may have said otherwise meanwhile.
    async fn try_to_carry_drain(&self, id: HostId) -> Result<bool, Trouble> {
        let Some((host, _)) = host::get(&self.inner.store, &id).await? else {
            return self.tell_of_removal(id).await.map(|()| true);
        };
        match &host.drained {
            None => self.put_back(&id).await?,
            Some(drained) => {
                let since_ms = drained.since_ms;
                self.tell_all(Event::HostDrained { host: id, drained: true }).await;
                for rollout in self.balancing(&id).await? {
                    self.tell(&rollout.header.id, &Event::HostDrained { host: id, drained: true }).await?;
                }
                self.wait_until_away(id, since_ms).await?;
                self.inner.fleet.let_stop(id, since_ms).await?;
            }
        }
        let since = |host: &Host| host.drained.as_ref().map(|drained| drained.since_ms);
        let again = host::get(&self.inner.store, &id).await?;
        Ok(again.is_none_or(|(again, _)| since(&again) == since(&host)))
    }

    /// Balancers send it nothing any more; if it was one itself, it is waited for no more.
    async fn tell_of_removal(&self, id: HostId) -> Result<(), Trouble> {
        let is_of = |rollout: &&Rollout| rollout.hosts.contains_key(&id) || rollout.is_balancer(&id);
        for rollout in self.directing().await?.iter().filter(is_of) {
            self.tell(&rollout.header.id, &Event::HostRemoved(id)).await?;
        }
        Ok(())
    }

    /// Until no balancer sends it anything, its apps stop anyway, or the drain is another.
    async fn wait_until_away(&self, id: HostId, since_ms: i64) -> Result<(), Trouble> {
        loop {
            let host = host::get(&self.inner.store, &id).await?;
            let drained =
                host.and_then(|(host, _)| host.drained).filter(|drained| drained.since_ms == since_ms);
            let Some(stop_ms) = drained.filter(|drained| drained.waits).and_then(|drained| drained.stop_ms)
            else {
                return Ok(());
            };
            let rollouts = self.balancing(&id).await?;
            if self.now() >= stop_ms || rollouts.iter().all(|rollout| rollout.has_let_go_of(id)) {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The rollouts whose word balancers have about the host.
    pub(super) async fn balancing(&self, host: &HostId) -> Result<Vec<Rollout>, Trouble> {
        let mut rollouts = self.directing().await?;
        rollouts.retain(|rollout| rollout.hosts.contains_key(host));
        Ok(rollouts)
    }

    /// The rollouts whose word balancers have.
    pub(super) async fn directing(&self) -> Result<Vec<Rollout>, Trouble> {
        let store = &self.inner.store;
        let mut ids: BTreeSet<RolloutId> = BTreeSet::new();
        for entry in store.list(&Prefix::assignments()).await?.entries {
            let given: Given = record::decode_entry(&entry)?;
            if given.assignment.intent == Intent::Direct {
                ids.insert(given.assignment.rollout);
            }
        }
        let mut rollouts = vec![];
        for id in ids {
            if let Some(loaded) = records::load(store, &id).await? {
                rollouts.push(loaded.rollout);
            }
        }
        Ok(rollouts)
    }

    /// To the rollout's task, or where it has none, to what it left.
    pub(super) async fn tell(&self, id: &RolloutId, event: &Event) -> Result<(), Trouble> {
        for attempt in 0.. {
            if let Some(jobs) = self.jobs(id) {
                let (done, answer) = oneshot::channel();
                if jobs.send(Job::Steer { event: event.clone(), done }).await.is_ok()
                    && let Ok(Ok(())) = answer.await
                {
                    return Ok(());
                }
            }
            let store = &self.inner.store;
            let Some(loaded) = records::load(store, id).await? else { return Ok(()) };
            if loaded.rollout.phase().is_done() {
                let stepped = step(&loaded.rollout, event.clone(), self.now()).map_err(Coded::from)?;
                match commit::advance(store, &loaded, &stepped.next, vec![], &[], self.now()).await {
                    Err(trouble) if trouble.is_conflict() => {}
                    result => return result.map(drop),
                }
            }
            if attempt >= ATTEMPTS {
                return Err(Trouble::Stopping);
            }
            tokio::time::sleep(LOOK).await; // it has just ended, or just begun
        }
        unreachable!("the last attempt returns")
    }
}
