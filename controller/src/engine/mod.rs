//! Carries rollouts out: one task for each that is active, fed by sessions, operators and time.
//!
//! `runner` is that task, `commit` its transactions, `records` what is stored, `states` how apps stand on hosts,
//! `start` how a rollout is made, `newcomers` and `missed` for whom the engine makes one itself, `ticket` by which
//! plan, `turn` when one that was made for later begins, `way_back` where one leads that goes back, `view` how it is
//! shown, `drains` and `rejoin` what operators do to hosts behind balancers, `belonging` what labels do to them, `untold`
//! what of that a rollout was not told, `unwell` what was found out of a host after its switch, `lacking` what it lacks,
//! `watched` whom changes in the store wake, `looks` and `time` what the clock means to a rollout. What becomes of a rollout is decided in
//! `crate::rollout` and nowhere else; here is only the order: load, step, commit, and then tell.
//!
//! Everything is derived from the store. An engine that is dropped at any moment is followed by one that goes on.

mod behind;
mod belonging;
mod calendars;
mod commit;
mod drains;
pub mod gates;
mod idle;
mod lacking;
mod lend;
mod looks;
mod missed;
mod newcomers;
pub mod permit;
pub mod records;
mod rejoin;
mod route;
mod runner;
pub mod settings;
pub mod snapshots;
mod start;
pub mod states;
#[cfg(test)]
mod tests;
mod ticket;
mod time;
pub mod turn;
mod unbrought;
mod untold;
pub mod unwell;
mod view;
mod watched;
mod watchman;
mod way_back;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use longshore_common::{
    code::{Code, Coded},
    ids::RolloutId,
    text::visible,
    time::{Clock, Millis},
};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    fleet::{Fleet, FleetEvent},
    gate::{OwnFiles, Runners, Seen},
    rollout::{Event, Header, Rollout, step},
    store::{Key, Prefix, SharedStore},
    trouble::Trouble,
};
use runner::{JOB_QUEUE, Job};

pub use belonging::TrafficNote;
pub use lacking::Lacking;
pub use lend::Lent;
pub use start::{StartRequest, nothing_runs};
pub use ticket::Ticket;
pub use unbrought::Unbrought;
pub use view::View;

/// Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    store: SharedStore,
    clock: Arc<dyn Clock>,
    fleet: Fleet,
    /// The rollouts that have a task.
    active: Mutex<HashMap<RolloutId, mpsc::Sender<Job>>>,
    /// What gates have seen so far.
    seen: Seen,
    /// What they may not use.
    own: OwnFiles,
    /// Whose test each runner is at.
    runners: Runners,
    looks: looks::Looks,
    /// Somebody may have come to be of an environment.
    newcomers: Notify,
    /// Those that are not brought what is live.
    left: unbrought::Left,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Engine {
    /// Takes up every rollout that is active by the store.
    pub async fn start_all(
        store: SharedStore,
        clock: Arc<dyn Clock>,
        fleet: Fleet,
        events: mpsc::Receiver<FleetEvent>,
        own: OwnFiles,
        stop: CancellationToken,
    ) -> Result<Engine, Trouble> {
        let locks = records::locks(&store).await?;
        let scheduled = turn::scheduled(&store).await?;
        let (active, tasks) = (Mutex::default(), TaskTracker::new());
        let (seen, runners) = (Seen::default(), Runners::default());
        let (newcomers, left, looks) = (Notify::new(), unbrought::Left::default(), looks::Looks::default());
        let inner =
            Inner { store, clock, fleet, active, seen, own, runners, looks, newcomers, left, stop, tasks };
        let engine = Engine { inner: Arc::new(inner) };
        for (env, app, lock) in locks {
            tracing::info!(rollout = %lock.rollout, %app, %env, "rollout taken up again");
            engine.spawn(lock.rollout);
        }
        for record in scheduled {
            engine.spawn(record.header.id); // unless it has its turn, and with it a lock
        }
        engine.inner.tasks.spawn(route::route(engine.clone(), events));
        engine.take_up_drains().await?;
        engine.inner.tasks.spawn(newcomers::watch(engine.clone()));
        for prefix in [Prefix::envs(), Prefix::freezes(), Prefix::locks(), Prefix::releases()] {
            // Whoever applies a file, freezes or unfreezes, locks or unlocks, or withdraws a release is heard at once.
            let tick = |engine: Engine| async move { engine.tell_all(Event::Tick).await };
            engine.inner.tasks.spawn(watched::wake_by(engine.clone(), prefix, tick));
        }
        Ok(engine)
    }

    /// Returns when every task has ended. Nothing that was committed is undone by it.
    pub async fn stopped(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// What no gate uses.
    pub fn own_files(&self) -> &OwnFiles {
        &self.inner.own
    }

    pub fn active_count(&self) -> usize {
        self.active().len()
    }

    /// Does to a rollout what an operator says.
    pub async fn steer(&self, id: RolloutId, event: Event) -> Result<(), Trouble> {
        let Some(jobs) = self.jobs(&id) else {
            return self.steer_idle(id, event).await;
        };
        let (done, answer) = oneshot::channel();
        jobs.send(Job::Steer { event, done }).await.map_err(|_| Trouble::Stopping)?;
        answer.await.unwrap_or(Err(Trouble::Stopping))
    }

    /// Of a rollout that has no task: it is over, and the core says what that means for the act; or its task failed, and
    /// another follows.
    pub(super) async fn steer_idle(&self, id: RolloutId, event: Event) -> Result<(), Trouble> {
        let loaded = records::load(&self.inner.store, &id).await?.ok_or_else(|| unknown(&id.to_string()))?;
        match step(&loaded.rollout, event, self.now()) {
            Err(why) => Err(Coded::from(why).into()),
            Ok(_) if loaded.rollout.phase().is_done() => {
                Err(Trouble::refused(Code::R01, format!("rollout {id} is not active")))
            }
            Ok(_) => Err(Trouble::refused(
                Code::R01,
                format!(
                    "rollout {id} could not be carried on, which the controller's log says more of, and is taken up \
                     again within seconds. Nothing was changed: say it again then"
                ),
            )),
        }
    }

    /// Cancelled when the engine stops: whoever only watches ends then.
    pub fn stopping(&self) -> CancellationToken {
        self.inner.stop.clone()
    }

    /// What the rollout is about, without its hosts; `None`: there is no such rollout.
    pub async fn header(&self, id: &RolloutId) -> Result<Option<Header>, Trouble> {
        let found = records::get::<records::Record>(&self.inner.store, &Key::rollout(id)).await?;
        Ok(found.map(|(record, _)| record.header))
    }

    /// The rollout that an operator means: an id, a unique beginning or end of one, or `latest`.
    pub async fn find(&self, text: &str) -> Result<RolloutId, Trouble> {
        if let Ok(id) = text.parse::<RolloutId>() {
            let found = self.inner.store.get(&Key::rollout(&id)).await?;
            return found.map(|_| id).ok_or_else(|| unknown(text).into());
        }
        let records = records::list(&self.inner.store).await?;
        if text == "latest" {
            let latest = records.last().map(|record| record.header.id);
            return latest.ok_or_else(|| Trouble::refused(Code::N01, "there has been no rollout yet"));
        }
        let sound = text.len() >= 4 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        let ids: Vec<RolloutId> = records.iter().map(|record| record.header.id).collect();
        // Ids begin with their time, so people copy their ends as often as their beginnings.
        let fits = |id: &&RolloutId| {
            let id = id.to_string();
            id.starts_with(text) || id.ends_with(text)
        };
        let mut found = ids.iter().filter(fits).filter(|_| sound);
        match (found.next(), found.next()) {
            (Some(id), None) => Ok(*id),
            (Some(_), Some(_)) => Err(Trouble::refused(
                Code::V01,
                format!("more than one rollout is meant by {text}; give more of its id"),
            )),
            (None, _) => Err(unknown(text).into()),
        }
    }

    /// The same, of a rollout that is to be steered: the newest may be somebody else's, so `latest` is refused
    /// where more than one is under way.
    pub async fn find_to_steer(&self, text: &str) -> Result<RolloutId, Trouble> {
        if text == "latest" {
            let mut under_way = records::list(&self.inner.store).await?;
            under_way.retain(|record| !record.header.phase.is_done());
            if under_way.len() > 1 {
                return Err(ambiguous(&under_way).into());
            }
        }
        self.find(text).await
    }

    fn active(&self) -> MutexGuard<'_, HashMap<RolloutId, mpsc::Sender<Job>>> {
        self.inner.active.lock().expect("nothing panics while it holds the lock")
    }

    fn jobs(&self, id: &RolloutId) -> Option<mpsc::Sender<Job>> {
        self.active().get(id).cloned()
    }

    fn all_jobs(&self) -> Vec<mpsc::Sender<Job>> {
        self.active().values().cloned().collect()
    }

    /// Gives the rollout a task, unless it has one. What is sent to it from now on arrives.
    fn spawn(&self, id: RolloutId) {
        if let Some(jobs) = self.enlist(id) {
            self.inner.tasks.spawn(runner::keep_going(self.clone(), id, jobs));
        }
    }

    /// The receiving end of what is sent to the rollout from now on; `None` when it has a task already.
    fn enlist(&self, id: RolloutId) -> Option<mpsc::Receiver<Job>> {
        let mut active = self.active();
        if active.contains_key(&id) {
            return None;
        }
        let (sender, jobs) = mpsc::channel(JOB_QUEUE);
        active.insert(id, sender);
        Some(jobs)
    }

    fn retire(&self, id: &RolloutId) {
        self.active().remove(id);
        self.inner.looks.forget(id);
        self.inner.newcomers.notify_one(); // who came too late for it
    }

    fn now(&self) -> Millis {
        self.inner.clock.now_ms()
    }

    /// What is known of the rollout's hosts at this moment, for a task that begins now.
    fn presence_facts(&self, rollout: &Rollout) -> Vec<Job> {
        let presence = self.inner.fleet.presence();
        let mut facts = vec![];
        let balancers: Vec<_> = rollout.balancers().map(|(id, _)| id).collect();
        for id in rollout.hosts.keys().chain(&balancers) {
            match presence.connected(id) {
                Some(connected) => {
                    facts.push(Job::Fact(Event::Back(*id)));
                    let hold = connected.hold.map(|hold| hold.reason);
                    facts.push(Job::Fact(Event::HoldChanged { host: *id, hold }));
                }
                None if presence.is_silent(id) => facts.push(Job::Fact(Event::Silent(*id))),
                None => {}
            }
        }
        facts
    }
}

/// Rollouts that a refusal names; the rest are counted.
const NAMED: usize = 10;

fn ambiguous(under_way: &[records::Record]) -> Coded {
    let mut message =
        format!("\"latest\" may be another one's: {} rollouts are under way. Name one:", under_way.len());
    for record in under_way.iter().rev().take(NAMED) {
        let Header { id, app, env, target, .. } = &record.header;
        let (short, version, by) = (id.short(), &target.version, visible(&record.started_by));
        message.push_str(&format!("\n  {short}  {app}@{version} to {env}, by {by}"));
    }
    if under_way.len() > NAMED {
        message.push_str("\n  and more: longshore rollout list --active");
    }
    Coded::new(Code::V01, message)
}

fn unknown(text: &str) -> Coded {
    Coded::new(Code::N01, format!("no rollout \"{}\". See: longshore rollout list", visible(text)))
}
