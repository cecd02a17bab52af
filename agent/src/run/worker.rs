//! One app's worker: it alone changes the app and its record.

mod place;
mod reports;

use std::{pin::pin, sync::Arc};

use longshore_common::{
    assignment::{Assignment, Intent},
    code::Coded,
    ids::{AppName, Generation},
    report::{Failure, Outcome},
    slot::Slot,
};
use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    time::Instant,
};

use self::place::Place;
use super::{
    Activity, Tools,
    deadline::deadline,
    outcome::{failure_of, fitted},
    perform::{look, perform},
    told::{self, Told, tell},
};
use crate::{
    host::Host,
    plan::{
        Acceptance, Attempt, Halt, Hold, Local, Next, Record, Seen, Stale, Step, accept, accept_local,
        accept_order, after, conclude, goes_on, next, refused, superseded,
    },
    state::{State, StateFailed, fit},
};

#[derive(Debug)]
pub(super) enum Mail {
    Assign(Box<Assignment>),
    Revert {
        to: Option<Slot>,
        by: String,
        reply: oneshot::Sender<Result<(), Coded>>,
    },
    /// The host is drained; `None`: no more.
    Halt(Option<Halt>),
    /// The answer is what is told from then on.
    Deploy {
        order: Box<LocalOrder>,
        reply: oneshot::Sender<Result<broadcast::Receiver<Told>, Coded>>,
    },
}

/// What somebody on this host wants deployed, from a bundle that lies ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalOrder {
    /// Its generation is given when it is taken.
    pub assignment: Assignment,
    pub by: String,
    pub despite_hold: bool,
    pub stale: Stale,
}

impl LocalOrder {
    /// What stands against it.
    pub(super) fn held(&self, state: &State) -> Option<Hold> {
        if self.despite_hold { state.drained() } else { state.hold() }
    }
}

/// Between two looks at whoever directs traffic.
const LOOK: std::time::Duration = std::time::Duration::from_secs(3);

/// For so long what was seen counts, as far as it is known what was done since. A look asks systemd and reads every slot's
/// manifest; on the way back there would be five of them within a tenth of a second.
const FRESH: std::time::Duration = std::time::Duration::from_millis(250);

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Well,
    /// It failed, or was dropped.
    Otherwise,
}

/// What reading a mail led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mind {
    Same,
    /// The record says something else now: what is in progress is for nothing.
    Changed,
}

pub(super) struct Worker<H> {
    tools: Arc<Tools<H>>,
    app: AppName,
    record: Record,
    attempt: Attempt,
    mailbox: mpsc::Receiver<Mail>,
    activity: watch::Sender<Activity>,
    /// Came while the way back (or a local order) was being gone, which nothing interrupts.
    later: Option<Box<Assignment>>,
    /// It directs traffic, so it is looked at again and again: traffic is kept as it was settled, and a side that nobody
    /// needs any more is stopped.
    looks: bool,
}

impl<H: Host> Worker<H> {
    pub(super) fn new(
        tools: Arc<Tools<H>>,
        app: AppName,
        mailbox: mpsc::Receiver<Mail>,
        activity: watch::Sender<Activity>,
    ) -> Self {
        let record = tools.state.record(&app);
        let attempt = Attempt::resumed(&record);
        Self { tools, app, record, attempt, mailbox, activity, later: None, looks: false }
    }

    /// Until nobody can send mail any more, or the state cannot be written.
    pub(super) async fn work(mut self) -> Result<(), StateFailed> {
        loop {
            let tools = Arc::clone(&self.tools);
            let mut place = Place::among(&tools.permits);
            self.take(&mut place).await?;
            self.converge(&mut place).await?;
            drop(place);
            loop {
                let mail = match self.looks {
                    false => self.mailbox.recv().await,
                    true => match tokio::time::timeout(LOOK, self.mailbox.recv()).await {
                        Ok(mail) => mail,
                        Err(_) => break,
                    },
                };
                let Some(mail) = mail else { return Ok(()) };
                if self.read(mail).await? == Mind::Changed {
                    break;
                }
            }
        }
    }

    async fn converge(&mut self, place: &mut Place<'_>) -> Result<(), StateFailed> {
        self.attempt = self.attempt.again(&self.record);
        let mut known: Option<(Seen, Instant)> = None;
        loop {
            self.read_waiting().await?;
            let fresh = known.take().filter(|(_, at)| at.elapsed() < FRESH);
            let looking = match fresh {
                Some(known) => Ok(known),
                None => look(&self.tools, &self.app).await.map(|seen| (seen, Instant::now())),
            };
            let (seen, at) = match looking {
                Ok(looked) => looked,
                Err(failure) if self.record.is_busy() => {
                    self.give_up_looking(failure).await?;
                    continue;
                }
                Err(failure) => {
                    tracing::warn!(app = %self.app, "cannot look at the host: {}", failure.message);
                    return Ok(());
                }
            };
            match next(&self.record, &self.attempt, &seen) {
                Next::Idle => {
                    let balances = |assignment: &Assignment| assignment.intent == Intent::Direct;
                    // What could not be stopped, or did not come back, is tried again.
                    self.looks = !seen.sides.is_empty()
                        || self.record.halt.is_some()
                        || self.record.accepted.as_ref().is_some_and(balances);
                    return Ok(());
                }
                Next::Keep(record) => {
                    self.keep(*record).await?;
                    self.attempt = Attempt::default();
                    known = Some((seen, at));
                }
                Next::Conclude(outcome) => {
                    self.conclude(outcome, seen.current.clone()).await?;
                    known = Some((seen, at));
                }
                Next::Do(step) => {
                    if step.waits() {
                        place.leave(); // others may use it meanwhile
                    } else if place.is_left() && !self.is_bound() {
                        self.take(place).await?;
                        continue; // with the mail of meanwhile, it may be another step
                    }
                    let left = step.leaves(&seen).map(|left| (left, at));
                    known = match self.take_step(step, &seen).await? {
                        Taken::Well => left,
                        Taken::Otherwise => None,
                    };
                }
            }
        }
    }

    /// Does it, unless a change of mind comes first and the step may be dropped.
    async fn take_step(&mut self, step: Step, seen: &Seen) -> Result<Taken, StateFailed> {
        let allowed = deadline(&step, seen, &self.tools.limits);
        let sink = self.begin(&step, allowed);
        let mut performing =
            pin!(perform(Arc::clone(&self.tools), self.app.clone(), step.clone(), sink, allowed));
        let result = loop {
            tokio::select! {
                result = &mut performing => break result,
                Some(mail) = self.mailbox.recv(), if step.is_interruptible() => {
                    if self.read(mail).await? == Mind::Changed {
                        tracing::info!(app = %self.app, %step, "interrupted");
                        self.activity.send_replace(Activity::default());
                        return Ok(Taken::Otherwise);
                    }
                }
            }
        };
        self.activity.send_replace(Activity::default());
        match &result {
            Ok(()) => tracing::info!(app = %self.app, %step, "done"),
            Err(failure) => {
                tracing::warn!(app = %self.app, %step, code = failure.code, "failed: {}", failure.message)
            }
        }
        let taken = if result.is_ok() { Taken::Well } else { Taken::Otherwise };
        let tidied = result.is_ok() && matches!(step, Step::Prune(_) | Step::StopSide(_));
        self.note(&step, result).await?;
        if tidied {
            tell(&self.tools.events, Told::Tidied { app: self.app.clone() });
        }
        Ok(taken)
    }

    async fn note(&mut self, step: &Step, result: Result<(), Failure>) -> Result<(), StateFailed> {
        let mut record = self.record.clone();
        if after(&mut record, &mut self.attempt, step, result) {
            self.keep(record).await?;
        }
        Ok(())
    }

    /// Before anything live was touched this ends the assignment; after it, it is tried once more on the way back, and
    /// then a human has to look.
    async fn give_up_looking(&mut self, failure: Failure) -> Result<(), StateFailed> {
        let mut record = self.record.clone();
        crate::plan::blind(&mut record, &mut self.attempt, failure);
        self.keep(record).await?;
        if let Some(outcome) = crate::plan::ended_blind(&self.record) {
            // Nobody saw what is live; what was untouched still is.
            let live = self.record.good.last().filter(|_| matches!(outcome, Outcome::Failed { .. })).cloned();
            self.conclude(outcome, live).await?;
        }
        Ok(())
    }

    fn begin(&self, step: &Step, allowed: std::time::Duration) -> crate::host::Sink {
        let (name, generation) = (step.name(), self.generation());
        let now = self.tools.state.now_ms();
        self.activity.send_replace(Activity {
            step: Some(name),
            detail: step.to_string(),
            since_ms: now,
            deadline_ms: now + allowed.as_millis() as i64,
        });
        let (app, events) = (self.app.clone(), self.tools.events.clone());
        let begun =
            Told::Progress { app, generation, step: name, done: 0, total: 0, detail: step.to_string() };
        tell(&events, begun);
        told::sink(self.app.clone(), generation, name, events, self.activity.clone())
    }

    async fn conclude(&mut self, outcome: Outcome, live: Option<Slot>) -> Result<(), StateFailed> {
        let outcome = fitted(outcome);
        let assignment = self.record.accepted.clone().expect("only something accepted ends");
        let order = self.record.order.as_ref().map(|order| order.by.clone());
        let by = order.or_else(|| self.local_by(&assignment)).unwrap_or_else(|| "controller".to_owned());
        let record = conclude(&self.record, &outcome);
        let (report, row) = self.words(&assignment, outcome.clone(), live, by);
        self.tools.state.conclude(&self.app, record.clone(), report, row).await?;
        self.record = record;
        self.attempt = Attempt::default();
        let generation = assignment.generation;
        let (event, code) =
            (crate::state::Event::from(&outcome).as_str(), failure_of(&outcome).map(|f| f.code.as_str()));
        tracing::info!(app = %self.app, %generation, code, "{event}");
        tell(&self.tools.events, Told::Concluded { app: self.app.clone(), generation, outcome });
        Ok(())
    }

    async fn read_waiting(&mut self) -> Result<(), StateFailed> {
        while let Ok(mail) = self.mailbox.try_recv() {
            self.read(mail).await?;
        }
        if !self.is_bound()
            && let Some(assignment) = self.later.take()
        {
            self.read(Mail::Assign(assignment)).await?;
        }
        Ok(())
    }

    async fn read(&mut self, mail: Mail) -> Result<Mind, StateFailed> {
        match mail {
            Mail::Assign(assignment) => self.read_assignment(assignment).await,
            Mail::Halt(halt) => self.read_halt(halt).await,
            Mail::Revert { to, by, reply } => {
                let taken = match look(&self.tools, &self.app).await {
                    Ok(seen) => accept_order(&self.record, &seen, to, &by),
                    Err(failure) => Err(Coded::new(longshore_common::code::Code::X01, failure.message)),
                };
                let taken = match taken {
                    Ok(record) => self.may_return(record).await,
                    refused => refused,
                };
                let (answer, mind) = match taken {
                    Ok(record) => {
                        self.keep(record).await?;
                        self.attempt = Attempt::default();
                        (Ok(()), Mind::Changed)
                    }
                    Err(refusal) => (Err(refusal), Mind::Same),
                };
                drop(reply.send(answer)); // whoever asked may be gone; the order stands
                Ok(mind)
            }
            Mail::Deploy { order, reply } => {
                let (answer, mind) = match self.read_deployment(*order).await? {
                    Ok(()) => (Ok(self.tools.events.subscribe()), Mind::Changed),
                    Err(refusal) => (Err(refusal), Mind::Same),
                };
                drop(reply.send(answer)); // whoever asked may be gone; the order stands
                Ok(mind)
            }
        }
    }

    async fn may_return(&self, record: Record) -> Result<Record, Coded> {
        let Some(order) = &record.order else { return Ok(record) };
        match self.tools.host.may_return(&self.app, &order.to, record.past_of(&order.to)).await {
            Ok(()) => Ok(record),
            Err(refused) => {
                let code = refused.code.parse().unwrap_or(longshore_common::code::Code::X01);
                Err(Coded::new(code, refused.message))
            }
        }
    }

    async fn read_halt(&mut self, halt: Option<Halt>) -> Result<Mind, StateFailed> {
        let halt = match (halt, self.record.halt) {
            (None, Some(_)) => Some(Halt::Lifted),
            (halt, _) => halt,
        };
        if halt == self.record.halt || self.record.accepted.is_none() {
            return Ok(Mind::Same);
        }
        self.keep(Record { halt, ..self.record.clone() }).await?;
        self.attempt = Attempt::default();
        Ok(Mind::Changed)
    }

    /// An admin's own deployment. What it takes the place of is told to have ended, so that no rollout waits for it.
    async fn read_deployment(&mut self, order: LocalOrder) -> Result<Result<(), Coded>, StateFailed> {
        let hold = order.held(&self.tools.state);
        let LocalOrder { assignment, by, despite_hold: _, stale } = order;
        let local = Local { by: by.clone(), since_ms: self.tools.state.now_ms(), stale };
        let record = match accept_local(&self.record, &assignment, hold.as_ref(), local) {
            Ok(record) => record,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if let Err(failure) = self.tools.host.admit(&assignment).await {
            let code = failure.code.parse().unwrap_or(longshore_common::code::Code::X01);
            return Ok(Err(Coded::new(code, failure.message)));
        }
        if let Some(ended) = superseded(&self.record, &assignment, &by) {
            let before = self.record.accepted.clone().expect("only something accepted is superseded");
            self.report(&before, fitted(ended), None).await?;
        }
        let (version, slot) = (&assignment.version, assignment.slot());
        tracing::warn!(app = %self.app, %version, %slot, by, "deployed on this host, from a bundle");
        self.keep(record).await?;
        self.attempt = Attempt::default();
        Ok(Ok(()))
    }

    async fn read_assignment(&mut self, assignment: Box<Assignment>) -> Result<Mind, StateFailed> {
        let hold = self.tools.state.hold();
        let acceptance = accept(&self.record, &assignment, self.tools.me, hold.as_ref());
        if let Acceptance::Begin(_) = acceptance
            && let Err(failure) = self.tools.host.admit(&assignment).await
        {
            return self.refuse(&assignment, failure).await;
        }
        match acceptance {
            Acceptance::Begin(_) if self.is_bound() => {
                let newer = self.later.as_ref().is_none_or(|known| known.generation < assignment.generation);
                if newer {
                    self.later = Some(assignment);
                }
                Ok(Mind::Same)
            }
            Acceptance::Begin(record) => {
                let (generation, slot, intent) =
                    (assignment.generation, assignment.slot(), assignment.intent);
                tracing::info!(app = %self.app, %generation, %slot, ?intent, "accepted");
                let goes_on = goes_on(&self.record, &assignment);
                self.keep(*record).await?;
                if goes_on {
                    return Ok(Mind::Same);
                }
                self.attempt = Attempt::default();
                Ok(Mind::Changed)
            }
            Acceptance::Continue => Ok(Mind::Same),
            Acceptance::Repeat(outcome) => {
                self.report(&assignment, outcome, None).await?;
                Ok(Mind::Same)
            }
            Acceptance::Refuse(failure, record) => {
                tracing::warn!(app = %self.app, code = failure.code, "refused: {}", failure.message);
                self.report(&assignment, Outcome::Refused { failure: fit(failure) }, record).await?;
                Ok(Mind::Same)
            }
        }
    }

    /// By what this host trusts, or its admin allows; remembered, so that it is said again when asked again.
    async fn refuse(&mut self, assignment: &Assignment, failure: Failure) -> Result<Mind, StateFailed> {
        tracing::warn!(app = %self.app, code = failure.code, "refused: {}", failure.message);
        let failure = fit(failure);
        let record = Some(Box::new(refused(&self.record, assignment, &failure)));
        self.report(assignment, Outcome::Refused { failure }, record).await?;
        Ok(Mind::Same)
    }

    async fn keep(&mut self, record: Record) -> Result<(), StateFailed> {
        self.tools.state.keep(&self.app, record.clone()).await?;
        self.record = record;
        Ok(())
    }

    fn generation(&self) -> Generation {
        self.record.accepted.as_ref().map_or(Generation(0), |assignment| assignment.generation)
    }
}
