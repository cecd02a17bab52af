//! What happens in the fleet finds the rollouts that it is about.

use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
    ids::{Generation, HostId, RolloutId},
    report::Report,
};
use tokio::sync::mpsc;

use super::{
    Engine, commit,
    records::{self, SEQUENCE},
    runner::Job,
    states,
};
use crate::{
    fleet::FleetEvent,
    rollout::{Event, step, taken_up},
    store::{Key, Txn, record},
    trouble::Trouble,
};

/// New attempts at the counter.
const ATTEMPTS: u32 = 16;

/// Until the fleet or the controller stops.
pub(super) async fn route(engine: Engine, mut events: mpsc::Receiver<FleetEvent>) {
    let stop = engine.inner.stop.clone();
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = events.recv() => event,
        };
        let Some(event) = event else { return };
        if let Err(trouble) = engine.handle(event).await {
            tracing::error!(trouble = %Chain(&trouble), "an event of the fleet was not kept");
        }
    }
}

impl Engine {
    async fn handle(&self, event: FleetEvent) -> Result<(), Trouble> {
        match event {
            FleetEvent::Report { host, report, done } => {
                let rollout = report.rollout;
                let job = Job::Report { host, report, done };
                let given = match self.jobs(&rollout) {
                    Some(jobs) => jobs.send(job).await.map_err(|mpsc::error::SendError(job)| job),
                    None => Err(job),
                };
                if let Err(job) = given {
                    self.late(rollout, job).await;
                }
            }
            FleetEvent::Silent(host) => self.tell_all(Event::Silent(host)).await,
            FleetEvent::Back { host, apps } => {
                self.inner.newcomers.notify_one();
                self.tell_all(Event::Back(host)).await;
                for seen in &apps {
                    states::keep_seen(&self.inner.store, &host, seen).await?;
                }
            }
            FleetEvent::Hold(host, hold) => {
                if hold.is_none() {
                    self.inner.newcomers.notify_one(); // it may have missed something
                }
                self.tell_all(Event::HoldChanged { host, hold: hold.map(|hold| hold.sentence()) }).await;
            }
            FleetEvent::Removed(host) => {
                self.tell_all(Event::HostRemoved(host)).await;
                self.drain_changed(host);
            }
            FleetEvent::Ahead { host, app, generation } => {
                tracing::warn!(%host, %app, %generation,
                    "the host holds a later assignment than this store ever gave; numbering goes on after it");
                self.catch_up(generation).await?;
            }
        }
        Ok(())
    }

    /// To every active rollout; those that the host is not of ignore it.
    pub(super) async fn tell_all(&self, event: Event) {
        for jobs in self.all_jobs() {
            // A task that has just ended needs no telling.
            drop(jobs.send(Job::Fact(event.clone())).await);
        }
    }

    /// Something for a rollout that has no task, or none any more.
    pub(super) async fn late(&self, rollout: RolloutId, job: Job) {
        if self.inner.stop.is_cancelled() {
            return job.answer(Err(Trouble::Stopping));
        }
        match job {
            Job::Fact(_) | Job::Gate(_) | Job::Looked(_) => {}
            // Whoever asked may have gone: an agent says it again.
            Job::Report { host, report, done } => drop(done.send(self.late_report(&host, &report).await)),
            Job::Steer { event, done } => drop(done.send(self.steer_idle(rollout, event).await)),
        }
    }

    /// A report about a rollout that is over, or not known here. A host that was still owed its way back may say so
    /// even then.
    async fn late_report(&self, host: &HostId, report: &Report) -> Result<(), Trouble> {
        let (store, now) = (&self.inner.store, self.now());
        if let Some(loaded) = records::load(store, &report.rollout).await?
            && (loaded.rollout.hosts.contains_key(host) || loaded.rollout.is_balancer(host))
        {
            let (generation, outcome) = (report.generation, report.outcome.clone());
            // Nobody carries it out at this moment: what is late by that is no verdict.
            let heard = taken_up(&loaded.rollout, now);
            let stepped = step(&heard, Event::Report { host: *host, generation, outcome }, now);
            let transition = stepped.map_err(Coded::from)?;
            match commit::advance(store, &loaded, &transition.next, vec![], &[], now).await {
                // Somebody else wrote the rollout: with its next report or start it is looked at anew.
                Err(trouble) if trouble.is_conflict() => {
                    return Err(Trouble::refused(Code::S04, "the rollout was written at the same time"));
                }
                result => drop(result?),
            }
        }
        states::keep(store, host, report, now).await
    }

    /// The next rollout's generations come after this one.
    async fn catch_up(&self, generation: Generation) -> Result<(), Trouble> {
        let key = Key::counter(SEQUENCE);
        for attempt in 0.. {
            let (sequence, read) = records::get::<u64>(&self.inner.store, &key).await?.unzip();
            if sequence.unwrap_or(0) >= generation.sequence() {
                return Ok(());
            }
            let value = record::encode(&key, &generation.sequence())?;
            let txn = Txn::new().as_read(key.clone(), read).put(key.clone(), value);
            match self.inner.store.commit(txn).await.map_err(Trouble::from) {
                Err(trouble) if trouble.is_conflict() && attempt < ATTEMPTS => {}
                result => return result.map(|_| ()),
            }
        }
        unreachable!("the last attempt returns")
    }
}
