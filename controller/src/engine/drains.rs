//! Hosts that an operator drains or takes back, behind load balancers that we direct, also when no rollout is under way:
//! connections go before the apps stop, and come when they serve again.
//!
//! What balancers were told last stands in the rollout that told them, be it over or not. A drain is one more word of it.

use std::{collections::BTreeSet, time::Duration};

use longshore_common::{
    assignment::Intent,
    chain::Chain,
    code::Coded,
    ids::{AppName, HostId, RolloutId},
};
use tokio::sync::oneshot;

use super::{
    Engine, commit,
    records::{self, Given},
    runner::{Job, STORE_PAUSE},
};
use crate::{
    fleet::{
        Asked, Host, host,
        words::{Answer, Question},
    },
    rollout::{Event, Rollout, step},
    store::{Prefix, record},
    trouble::Trouble,
};

/// Between looks at whether balancers have let go of a host.
const LOOK: Duration = Duration::from_millis(500);
/// Between questions to a host whether it serves again.
const ASK: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(5);
/// New attempts at a commit that others keep getting in the way of.
const ATTEMPTS: u32 = 16;

impl Engine {
    /// Balancers that we direct know of the host.
    pub async fn is_balanced(&self, host: &HostId) -> Result<bool, Trouble> {
        Ok(!self.balancing(host).await?.is_empty())
    }

    /// The host was drained, or is drained no more. What follows from that is done beside, however long it takes.
    pub fn drain_changed(&self, host: HostId) {
        let (engine, stop) = (self.clone(), self.inner.stop.clone());
        self.inner.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = engine.carry_drain(host) => {}
            }
        });
    }

    /// Takes up every drain that balancers have not heard of, or that waits for them.
    pub(super) async fn take_up_drains(&self) -> Result<(), Trouble> {
        let rollouts = self.directing().await?;
        if rollouts.is_empty() {
            return Ok(());
        }
        for host in host::list(&self.inner.store).await? {
            let drained = host.drained.is_some();
            let told =
                |rollout: &Rollout| rollout.hosts.get(&host.id).is_none_or(|known| known.benched == drained);
            if host.drained.as_ref().is_some_and(|drained| drained.waits) || !rollouts.iter().all(told) {
                self.drain_changed(host.id);
            }
        }
        Ok(())
    }

    async fn carry_drain(&self, id: HostId) {
        loop {
            match self.try_to_carry_drain(id).await {
                Ok(()) => return,
                Err(trouble) => {
                    tracing::warn!(host = %id, trouble = %Chain(&trouble), "a drain is carried on in a moment");
                }
            }
            tokio::time::sleep(STORE_PAUSE).await;
        }
    }

    async fn try_to_carry_drain(&self, id: HostId) -> Result<(), Trouble> {
        let Some((host, _)) = host::get(&self.inner.store, &id).await? else { return Ok(()) };
        match &host.drained {
            None => self.put_back(&host).await,
            Some(drained) => {
                let since_ms = drained.since_ms;
                self.tell_all(Event::HostDrained { host: id, drained: true }).await;
                for rollout in self.balancing(&id).await? {
                    self.tell(&rollout.header.id, &Event::HostDrained { host: id, drained: true }).await?;
                }
                self.wait_until_away(id, since_ms).await?;
                self.inner.fleet.let_stop(id, since_ms).await
            }
        }
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

    /// Connections come when the apps serve there again, and not before.
    async fn put_back(&self, host: &Host) -> Result<(), Trouble> {
        loop {
            let again = host::get(&self.inner.store, &host.id).await?;
            if again.is_none_or(|(host, _)| host.drained.is_some()) {
                return Ok(()); // removed, or drained anew
            }
            let mut left = self.balancing(&host.id).await?;
            left.retain(|rollout| rollout.hosts[&host.id].benched);
            if left.is_empty() {
                return Ok(());
            }
            let serving = self.serving(&host.id).await;
            for rollout in &left {
                let (app, known) = (&rollout.header.app, &rollout.hosts[&host.id]);
                // Where nothing of the app ever was, there is nothing to wait for, and nothing is sent there.
                let nothing = known.previous.is_none() && known.ask.is_none();
                if nothing || serving.contains(app) {
                    let event = Event::HostDrained { host: host.id, drained: false };
                    self.tell(&rollout.header.id, &event).await?;
                    tracing::info!(%app, host = %host.name, "balancers may send the host connections again");
                }
            }
            tokio::time::sleep(ASK).await;
        }
    }

    /// Apps that are healthy there by the host's own word; none while it cannot be asked.
    async fn serving(&self, host: &HostId) -> BTreeSet<AppName> {
        match self.inner.fleet.ask(*host, Question::Ping, ANSWER).await {
            Asked::Answered { answer: Answer::Pong { apps, .. }, .. } => apps
                .into_iter()
                .filter(|seen| seen.running && seen.verdict == "healthy")
                .map(|seen| seen.app)
                .collect(),
            Asked::Answered { .. } | Asked::Silent => BTreeSet::new(),
        }
    }

    /// The rollouts whose word balancers have about the host.
    async fn balancing(&self, host: &HostId) -> Result<Vec<Rollout>, Trouble> {
        let mut rollouts = self.directing().await?;
        rollouts.retain(|rollout| rollout.hosts.contains_key(host));
        Ok(rollouts)
    }

    /// The rollouts whose word balancers have.
    async fn directing(&self) -> Result<Vec<Rollout>, Trouble> {
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
    async fn tell(&self, id: &RolloutId, event: &Event) -> Result<(), Trouble> {
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
