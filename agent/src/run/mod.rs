//! Goes round between deciding, doing and remembering: one worker per app, a bounded number of them at work.
//!
//! A worker looks at the host, asks `plan` for the next step, does it under a deadline, writes down what has to be
//! remembered, and looks again. Mail (assignments, local orders) is read between steps, and during those steps that
//! may be dropped half way. Everybody who wants to watch hears what is going on through [`Crew::watch`].

mod deadline;
mod glance;
mod outcome;
mod perform;
#[cfg(test)]
mod tests;
mod told;
mod worker;
mod works;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use longshore_common::{
    assignment::Assignment,
    code::{Code, Coded},
    ids::{AppName, HostId},
    report::Failure,
    slot::Slot,
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Semaphore, broadcast, mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::{
    host::Host,
    plan::{Drain, Halt, Local, Record, Seen, accept_local},
    state::{State, StateFailed},
};
pub use glance::Glance;
pub(crate) use outcome::failure_of;
pub use told::{Activity, Line, Told};
pub use worker::LocalOrder;
use worker::{Mail, Worker};
pub use works::{Accounts, Boot, Found, Works};

/// Mails that one app may have waiting. The controller sends one for every change of mind about an app.
const MAILBOX: usize = 32;
/// What a slow watcher may fall behind before it misses something.
const WATCH_BACKLOG: usize = 256;

/// How patient the agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Apps that are worked on at the same time.
    pub parallel: usize,
    /// Attempts of a fetch, when the network is what fails.
    pub fetch_attempts: u32,
    /// Pause before the second attempt; doubled for each further one.
    pub fetch_backoff: Duration,
    /// Of a whole fetch, waiting for a controller that is away included.
    pub fetch_deadline: Duration,
    /// Of every step that has no deadline of its own in the manifest.
    pub step_deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            parallel: 2,
            fetch_attempts: 5,
            fetch_backoff: Duration::from_millis(500),
            fetch_deadline: Duration::from_secs(30 * 60),
            step_deadline: Duration::from_secs(5 * 60),
        }
    }
}

/// Makes this host true. Cheap to clone; when the last clone is dropped, all work ends where it is.
#[derive(Debug)]
pub struct Crew<H>(Arc<Yard<H>>);

impl<H> Clone for Crew<H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Yard<H> {
    tools: Arc<Tools<H>>,
    workers: Mutex<BTreeMap<AppName, Hired>>,
}

/// What every worker has at hand.
#[derive(Debug)]
struct Tools<H> {
    host: Arc<H>,
    state: Arc<State>,
    me: HostId,
    limits: Limits,
    permits: Semaphore,
    events: broadcast::Sender<Told>,
}

#[derive(Debug)]
struct Hired {
    mail: mpsc::Sender<Mail>,
    activity: watch::Receiver<Activity>,
    task: JoinHandle<Result<(), StateFailed>>,
}

impl Drop for Hired {
    fn drop(&mut self) {
        self.task.abort(); // no different from losing power, which every step survives
    }
}

/// How an app stands on this host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Standing {
    pub record: Record,
    pub activity: Activity,
    pub seen: Result<Seen, Failure>,
}

impl<H: Host> Crew<H> {
    pub fn new(host: Arc<H>, state: Arc<State>, me: HostId, limits: Limits) -> Self {
        let permits = Semaphore::new(limits.parallel.max(1));
        let tools = Tools { host, state, me, limits, permits, events: broadcast::Sender::new(WATCH_BACKLOG) };
        Self(Arc::new(Yard { tools: Arc::new(tools), workers: Mutex::default() }))
    }

    /// Goes on with everything that was under way when the agent ended.
    pub fn resume(&self) {
        for app in self.0.tools.state.apps() {
            self.hire(&app);
        }
        // Also where there is none (any more): an app may not have heard that it was lifted when the agent ended.
        self.halt(self.0.tools.state.drain().as_ref());
    }

    /// An operator wants this host's apps stopped, or (`None`) no longer.
    pub async fn drain(&self, drain: Option<Drain>) -> Result<(), StateFailed> {
        if self.0.tools.state.set_drain(drain.clone()).await? {
            match &drain {
                Some(Drain { by, reason, .. }) => tracing::warn!(by, reason, "this host is drained"),
                None => tracing::warn!("this host is drained no more"),
            }
            self.halt(drain.as_ref());
        }
        Ok(())
    }

    /// Tells every app; those that may finish what is under way are told again when their time is over.
    fn halt(&self, drain: Option<&Drain>) {
        let left = drain.map_or(0, |drain| drain.here_ms - self.0.tools.state.now_ms()).max(0);
        let halt = drain.map(|_| if left > 0 { Halt::Soon } else { Halt::Now });
        for app in self.0.tools.state.apps() {
            let mail = self.hire(&app);
            // A worker that reads no mail is at a step that ends; then it reads this.
            tokio::spawn(async move { drop(mail.send(Mail::Halt(halt)).await) });
        }
        if let (Some(Halt::Soon), Some(drain)) = (halt, drain.cloned()) {
            let yard = Arc::downgrade(&self.0);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(left.unsigned_abs())).await;
                if let Some(yard) =
                    yard.upgrade().filter(|yard| yard.tools.state.drain().as_ref() == Some(&drain))
                {
                    Crew(yard).halt(Some(&drain));
                }
            });
        }
    }

    /// The controller says so. Whether it is taken shows in the reports.
    pub fn assign(&self, assignment: Assignment) {
        let app = assignment.app.clone();
        let generation = assignment.generation;
        if self.hire(&app).try_send(Mail::Assign(Box::new(assignment))).is_err() {
            tracing::warn!(%app, %generation, "dropped an assignment: {MAILBOX} are waiting already");
        }
    }

    /// Somebody on this host wants `app` back on its last good slot, or on `to`. Says whether the order was taken; how
    /// it goes is told to whoever watches.
    pub async fn revert(&self, app: &AppName, to: Option<Slot>, by: String) -> Result<(), Coded> {
        if self.0.tools.state.record(app).accepted.is_none() {
            return Err(self.unknown(app));
        }
        let (reply, answer) = oneshot::channel();
        let busy = || {
            Coded::new(Code::R01, format!("{app} is busy and takes no more orders: longshore-agent status"))
        };
        self.hire(app).try_send(Mail::Revert { to, by, reply }).map_err(|_| busy())?;
        answer.await.map_err(|_| busy())?
    }

    /// Whether an admin's own deployment would be taken now, as far as the record says.
    pub fn may_deploy(&self, order: &LocalOrder) -> Result<(), Coded> {
        let state = &self.0.tools.state;
        let hold = order.held(state);
        let LocalOrder { assignment, by, despite_hold: _, stale } = order;
        let local = Local { by: by.clone(), since_ms: state.now_ms(), stale: *stale };
        accept_local(&state.record(&assignment.app), assignment, hold.as_ref(), local).map(drop)
    }

    /// Somebody on this host wants this deployed. When it was taken: what is told of it.
    pub async fn deploy(&self, order: LocalOrder) -> Result<broadcast::Receiver<Told>, Coded> {
        let app = order.assignment.app.clone();
        let (reply, answer) = oneshot::channel();
        let busy = || {
            Coded::new(Code::R01, format!("{app} is busy and takes no more orders: longshore-agent status"))
        };
        let mail = Mail::Deploy { order: Box::new(order), reply };
        self.hire(&app).try_send(mail).map_err(|_| busy())?;
        answer.await.map_err(|_| busy())?
    }

    /// Everything that is told from now on.
    pub fn watch(&self) -> broadcast::Receiver<Told> {
        self.0.tools.events.subscribe()
    }

    pub fn apps(&self) -> Vec<AppName> {
        self.0.tools.state.apps()
    }

    pub async fn standing(&self, app: &AppName) -> Standing {
        let activity =
            self.workers().get(app).map(|hired| hired.activity.borrow().clone()).unwrap_or_default();
        let seen = self.0.tools.host.observe(app).await;
        Standing { record: self.0.tools.state.record(app), activity, seen }
    }

    pub fn host(&self) -> &Arc<H> {
        &self.0.tools.host
    }

    pub fn me(&self) -> HostId {
        self.0.tools.me
    }

    pub fn state(&self) -> &Arc<State> {
        &self.0.tools.state
    }

    fn hire(&self, app: &AppName) -> mpsc::Sender<Mail> {
        let mut workers = self.workers();
        if let Some(hired) = workers.get(app) {
            return hired.mail.clone();
        }
        let (mail, mailbox) = mpsc::channel(MAILBOX);
        let (activity_sender, activity) = watch::channel(Activity::default());
        let worker = Worker::new(Arc::clone(&self.0.tools), app.clone(), mailbox, activity_sender);
        let task = tokio::spawn(worker.work());
        workers.insert(app.clone(), Hired { mail: mail.clone(), activity, task });
        mail
    }

    fn workers(&self) -> MutexGuard<'_, BTreeMap<AppName, Hired>> {
        self.0.workers.lock().expect("no holder panics")
    }
}
