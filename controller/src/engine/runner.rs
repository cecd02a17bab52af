//! One active rollout: one task from its start, or the controller's, to its end.
//!
//! The order never varies: load, step, commit guarded by the loaded revision, then say so. What waits is taken
//! together, so that a wave that reports at once costs one commit and not one a host. After a conflict, or when it is
//! not known whether a commit landed, it loads and decides again.

mod say;

use std::{collections::BTreeMap, time::Duration};

use longshore_common::{
    chain::Chain,
    code::Coded,
    ids::{AppName, HostId, RolloutId},
    report::Report,
    text::visible,
    time::Millis,
    wire,
};
use tokio::sync::{mpsc, oneshot};

use super::{
    Engine,
    calendars::EnvCalendar,
    commit::{self, StateChange},
    gates::{self, GateResult},
    looks,
    records::{self, HostApp, Loaded},
    states,
    time::{Awake, deadline},
    turn::{self, Turn},
    watchman::Watchman,
};
use crate::{
    bundle::{self, Withdrawal},
    gate::{Concluded, Desk, Said},
    rollout::{Event, GateWord, LastLook, Phase, Rollout, RunState, Settled, next_deadline, step, taken_up},
    store::Key,
    trouble::Trouble,
};

/// Things that wait for one rollout. Senders wait when it is full.
pub const JOB_QUEUE: usize = 256;
/// Things that are decided together and committed at once.
const BATCH: usize = 64;
/// Before a store that failed is tried again.
pub(super) const STORE_PAUSE: Duration = Duration::from_secs(1);
/// Before a rollout whose task failed is taken up again.
const AGAIN: Duration = Duration::from_secs(10);
/// Decisions in a row that met a conflict; more of them means something is wrong that a new attempt does not mend.
const CONFLICTS_MAX: u32 = 20;

/// Of who withdrew a release, and why.
const WITHDRAWN_BYTES: usize = 300;

/// Something for a rollout to deal with.
#[derive(Debug)]
pub(super) enum Job {
    /// A fact; nobody waits for it.
    Fact(Event),
    /// A result; acknowledged once it is committed.
    Report { host: HostId, report: Box<Report>, done: oneshot::Sender<Result<(), Trouble>> },
    /// What a gate came to.
    Gate(Concluded),
    /// The hosts were looked at once more; whoever is unwell, or could not be looked at, has been said before.
    Looked(LastLook),
    /// An operator's word.
    Steer { event: Event, done: oneshot::Sender<Result<(), Trouble>> },
}

/// What a batch did to a rollout.
struct Decided {
    next: Rollout,
    states: Vec<StateChange>,
    gates: Vec<GateResult>,
    /// Answered by the state itself: an act that the phase does not allow.
    refused: Vec<Option<Coded>>,
    events: Vec<&'static str>,
}

impl Decided {
    /// The store kept it after all, and only could not say so: decided a second time, an act would count twice. What
    /// reports add to states is kept apart from the rollout, and they may be heard twice.
    fn is_in(&self, before: &Loaded, again: &Loaded) -> bool {
        let is = |rollout: &Rollout| rollout.header == self.next.header && rollout.hosts == self.next.hosts;
        self.states.is_empty() && !is(&before.rollout) && is(&again.rollout)
    }
}

struct Runner {
    engine: Engine,
    id: RolloutId,
    /// Nobody has carried the rollout out until now, or nothing could be written down: nobody knows for how long.
    fresh: bool,
    awake: Awake,
    /// From the first look at the rollout on.
    calendar: Option<EnvCalendar>,
    /// Its time has come, and somebody is before it.
    in_line: bool,
    /// Why it cannot have its turn, ever.
    refused: Option<String>,
    jobs: mpsc::Receiver<Job>,
}

/// Keeps the rollout going until it is over or the controller stops. A task that fails or dies, which takes a damaged
/// record or a fault of ours, is followed by another after a while: nothing but the store remembers it.
pub(super) async fn keep_going(engine: Engine, id: RolloutId, mut jobs: mpsc::Receiver<Job>) {
    loop {
        let (fresh, awake) = (true, Awake::new(engine.now()));
        let (calendar, in_line, refused) = (None, false, None);
        let runner = Runner { engine: engine.clone(), id, fresh, awake, calendar, in_line, refused, jobs };
        let ended = tokio::spawn(runner.run()).await;
        engine.retire(&id);
        match ended {
            Ok(Ok(())) => return engine.tell_all(Event::Tick).await, // somebody may have waited for its end
            Ok(Err(trouble)) => {
                tracing::error!(rollout = %id, trouble = %Chain(&trouble), "set aside for {AGAIN:?}");
            }
            Err(died) => tracing::error!(rollout = %id, %died, "its task died; set aside for {AGAIN:?}"),
        }
        tokio::select! {
            () = engine.inner.stop.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
        let Some(again) = engine.enlist(id) else { return };
        jobs = again;
    }
}

impl Runner {
    async fn run(mut self) -> Result<(), Trouble> {
        let ended = self.roll().await;
        self.engine.retire(&self.id);
        self.jobs.close();
        while let Some(job) = self.jobs.recv().await {
            self.engine.late(self.id, job).await;
        }
        match ended {
            Err(Trouble::Stopping) => Ok(()),
            ended => ended,
        }
    }

    /// Until the rollout is done, or the controller stops.
    async fn roll(&mut self) -> Result<(), Trouble> {
        let stop = self.engine.inner.stop.clone();
        let Some(mut loaded) = self.load().await? else { return Ok(()) };
        let owed = commit::restore_assignments(&self.engine.inner.store, &loaded).await?;
        if owed > 0 {
            tracing::info!(rollout = %self.id, owed, "assignments written that a crash had left owing");
        }
        let header = &loaded.rollout.header;
        let begins = matches!(header.phase, Phase::Ready) && header.start_at.is_none();
        let first = if begins { Event::Start } else { Event::Tick };
        self.calendar = Some(EnvCalendar::new(header.env.clone()));
        let checks = gates::checks(&self.engine.inner.store, &self.id).await?;
        let (fleet, clock) = (self.engine.inner.fleet.clone(), self.engine.inner.clock.clone());
        let (mut watchman, mut unwell) = Watchman::new(fleet.clone(), header.app.clone(), clock.clone());
        let (seen, runners) = (self.engine.inner.seen.clone(), self.engine.inner.runners.clone());
        let own = self.engine.own_files().clone();
        let (mut desk, mut said) = Desk::new(checks, fleet, clock, seen, own, runners);
        // Who is gone is waited for no more, and so that is said before anything is judged.
        let mut batch: Vec<Job> =
            self.engine.untold(&loaded.rollout).await?.into_iter().chain([first]).map(Job::Fact).collect();
        let open = self.engine.open_answers(&loaded.rollout, &loaded.record.started_by).await?;
        batch.extend(open.into_iter().map(Job::Fact));
        batch.extend(self.engine.presence_facts(&loaded.rollout));
        loop {
            loaded = self.take(loaded, batch).await?;
            let now = self.engine.now();
            desk.keep_up(&loaded.rollout);
            let look = self.engine.inner.looks.begin(&loaded.rollout, now);
            watchman.keep_up(&loaded.rollout, look);
            if loaded.rollout.phase().is_done() {
                return Ok(());
            }
            let next = self.next_look(&loaded.rollout, look);
            batch = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                job = self.jobs.recv() => match job {
                    Some(job) => self.gather(job),
                    None => return Ok(()),
                },
                Some(said) = said.recv() => vec![Job::of_gate(said)],
                Some(failed) = unwell.recv() => vec![Job::Fact(failed)],
                last = watchman.looked() => looks::found(&mut unwell, last),
                () = deadline(&self.engine, next) => vec![Job::Fact(Event::Tick)],
            };
        }
    }

    /// The job, and whatever else waits already.
    fn gather(&mut self, first: Job) -> Vec<Job> {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(job) = self.jobs.try_recv()
        {
            batch.push(job);
        }
        batch
    }

    /// Decides on a batch, commits, answers. Returns what holds then.
    async fn take(&mut self, mut loaded: Loaded, batch: Vec<Job>) -> Result<Loaded, Trouble> {
        let (mut landed, mut conflicts) = (None, 0);
        loop {
            // One moment for both: whose time comes between them must not begin without its turn.
            let now = self.engine.now();
            self.fresh |= self.awake.has_slept(now);
            let decides = landed.is_none();
            let decided = match landed.take() {
                Some(decided) => Ok(decided),
                None => self.decide_in_turn(&mut loaded, &batch, now).await,
            };
            let decided = match decided {
                Err(trouble) if trouble.is_transient() => {
                    self.wait_for_store(trouble, "not decided").await?;
                    loaded = self.load().await?.ok_or(Trouble::Stopping)?;
                    continue;
                }
                decided => decided?,
            };
            let store = &self.engine.inner.store;
            let committed =
                commit::advance(store, &loaded, &decided.next, decided.states.clone(), &decided.gates, now)
                    .await;
            match committed {
                Ok(revision) => {
                    self.fresh &= !decides;
                    self.say(&loaded.rollout, &decided);
                    let record =
                        records::Record { header: decided.next.header.clone(), ..loaded.record.clone() };
                    for (job, refused) in batch.into_iter().zip(decided.refused) {
                        job.answer(refused.map_or(Ok(()), |why| Err(why.into())));
                    }
                    return Ok(Loaded { record, rollout: decided.next, revision });
                }
                Err(trouble) if trouble.is_conflict() && conflicts < CONFLICTS_MAX => {
                    conflicts += 1;
                    tracing::debug!(rollout = %self.id, "somebody was quicker; deciding again");
                }
                Err(trouble) if trouble.is_transient() => {
                    self.wait_for_store(trouble, "not committed").await?;
                }
                Err(trouble) => {
                    for job in batch {
                        job.answer(Err(Trouble::Refused(trouble.coded())));
                    }
                    return Err(trouble);
                }
            }
            let Some(again) = self.load().await? else { return Err(Trouble::Stopping) };
            landed = decided.is_in(&loaded, &again).then_some(decided);
            loaded = again;
        }
    }

    async fn decide_in_turn(
        &mut self,
        loaded: &mut Loaded,
        batch: &[Job],
        now: Millis,
    ) -> Result<Decided, Trouble> {
        self.take_turn(loaded, now).await?;
        self.decide(loaded, batch, now).await
    }

    /// One that was made to begin later takes the environment when its time has come, or waits in line.
    async fn take_turn(&mut self, loaded: &mut Loaded, now: Millis) -> Result<(), Trouble> {
        for attempt in 0.. {
            (self.in_line, self.refused) = (false, None);
            if !turn::is_due(&loaded.rollout.header, now) {
                break;
            }
            match self.engine.take_turn(loaded).await {
                Ok(Turn::Has) => break,
                Ok(Turn::Waits) => {
                    self.in_line = true;
                    break;
                }
                Ok(Turn::Taken) => {}
                Err(trouble) if trouble.is_conflict() && attempt < CONFLICTS_MAX => {}
                Err(Trouble::Refused(why)) => {
                    self.refused = Some(why.message);
                    break;
                }
                Err(trouble) => return Err(trouble),
            }
            *loaded = self.load().await?.ok_or(Trouble::Stopping)?;
        }
        Ok(())
    }

    /// Steps through the batch. Nothing is kept of it unless it is committed.
    async fn decide(&mut self, loaded: &Loaded, batch: &[Job], now: Millis) -> Result<Decided, Trouble> {
        let mut next = loaded.rollout.clone();
        if self.fresh {
            self.engine.inner.looks.forget(&self.id);
            next = taken_up(&next, now);
        }
        next = self.engine.with_unheard(next, now);
        let mut gates = vec![];
        if let Some(event) = self.told_by_time(&next, now).await? {
            let told = self.engine.inner.looks.step(&next, event, now, None).map_err(Coded::from)?;
            let settled = told.settled.into_iter();
            gates.extend(settled.filter_map(|settled| GateResult::of(&told.next, settled, vec![])));
            next = told.next;
        }
        if turn::is_due(&next.header, now) && !self.in_line {
            for event in self.engine.since_it_was_made(&next).await? {
                next = step(&next, event, now).map_err(Coded::from)?.next;
            }
        }
        let mut states: BTreeMap<(HostId, AppName), StateChange> = BTreeMap::new();
        let (mut refused, mut events) = (vec![], vec![]);
        let mut looked = None;
        for job in batch {
            let event = match job {
                Job::Fact(tick @ Event::Tick) if self.in_line => {
                    events.push(tick.as_str());
                    refused.push(None);
                    continue;
                }
                Job::Fact(event) | Job::Steer { event, .. } => event.clone(),
                Job::Looked(last) => {
                    looked = Some(*last);
                    Event::Tick
                }
                Job::Gate(Concluded { number, conclusion }) => {
                    let (verdict, note) = (conclusion.verdict, conclusion.note.clone());
                    Event::Gate { number: *number, word: GateWord::Verdict { verdict, note } }
                }
                Job::Report { host, report, .. } => {
                    // What a balancer says is about other hosts.
                    let folded = next.is_balancer(host) || self.fold(&mut states, *host, report, now).await?;
                    if !folded {
                        tracing::debug!(%host, generation = %report.generation, "older than what is known");
                    }
                    Event::Report {
                        host: *host,
                        generation: report.generation,
                        outcome: report.outcome.clone(),
                    }
                }
            };
            events.push(event.as_str());
            match self.engine.inner.looks.step(&next, event, now, looked) {
                Ok(transition) => {
                    let evidence = |number| match job {
                        Job::Gate(gate) if gate.number == number => gate.conclusion.evidence.clone(),
                        _ => vec![],
                    };
                    for settled in transition.settled {
                        let evidence = match evidence(settled.run.number) {
                            heard if heard.is_empty() => self.heard_before(&settled, &gates).await?,
                            heard => heard,
                        };
                        gates.extend(GateResult::of(&transition.next, settled, evidence));
                    }
                    next = transition.next;
                    refused.push(None);
                }
                Err(why) => refused.push(Some(Coded::from(why))),
            }
        }
        Ok(Decided { next, states: states.into_values().collect(), gates, refused, events })
    }

    /// What an operator went past is told with what it had come to, and why.
    async fn heard_before(&self, settled: &Settled, now: &[GateResult]) -> Result<Vec<String>, Trouble> {
        if !matches!(settled.run.state, RunState::PassedOver { .. }) {
            return Ok(vec![]);
        }
        let number = settled.run.number;
        if let Some(before) = now.iter().rev().find(|before| before.settled.run.number == number) {
            return Ok(before.clone().told());
        }
        let key = Key::gate_result(&self.id, number);
        let before = records::get::<GateResult>(&self.engine.inner.store, &key).await?;
        Ok(before.map(|(before, _)| before.told()).unwrap_or_default())
    }

    /// What has to be said before anything else is decided: that the environment is closed or open now, or that a
    /// rollout whose time has come may not begin.
    async fn told_by_time(&mut self, rollout: &Rollout, now: Millis) -> Result<Option<Event>, Trouble> {
        if rollout.phase().is_done() {
            return Ok(None);
        }
        let store = &self.engine.inner.store;
        if let Some(event) = self.called_off(rollout, now).await? {
            return Ok(Some(event));
        }
        match &mut self.calendar {
            Some(calendar) => calendar.event(store, rollout, now).await,
            None => Ok(None),
        }
    }

    /// A release that is withdrawn comes on no further host. What was planned for later is looked at again when its time
    /// has come.
    async fn called_off(&self, rollout: &Rollout, now: Millis) -> Result<Option<Event>, Trouble> {
        let header = &rollout.header;
        let (due, begun) = (turn::is_due(header, now), header.phase.heeds_withdrawal());
        if !due && !begun {
            return Ok(None);
        }
        let store = &self.engine.inner.store;
        let release = bundle::load(&**store, &header.app, &header.target.version).await?;
        let withdrawn = release.and_then(|(release, _)| release.withdrawn);
        if begun {
            let by = withdrawn.map(|Withdrawal { by, reason, .. }| format!("{by}: {}", visible(&reason)));
            return Ok(by.map(|by| Event::Withdrawn { by: wire::cut(&by, WITHDRAWN_BYTES) }));
        }
        let why = match withdrawn {
            Some(by) => Some(format!("{} withdrew the release", by.by)),
            None if self.refused.is_some() => self.refused.clone(),
            None if self.in_line => None,
            None => self.engine.moved(rollout).await?,
        };
        Ok(why.map(|why| Event::Abort { by: format!("the controller: {why}") }))
    }

    /// When time alone may change something: the rollout's own deadline, or the environment's calendar.
    fn next_look(&self, rollout: &Rollout, look: Option<LastLook>) -> Option<Millis> {
        let opens = self.calendar.as_ref().and_then(EnvCalendar::until);
        let own = match look {
            Some(look) => Some(look.until),
            None => next_deadline(rollout).filter(|_| !self.in_line), // it is woken when it may be its turn
        };
        [own, opens].into_iter().flatten().min()
    }

    /// Adds a report to what is known of the host's app. Whether it was news.
    async fn fold(
        &self,
        states: &mut BTreeMap<(HostId, AppName), StateChange>,
        host: HostId,
        report: &Report,
        now: Millis,
    ) -> Result<bool, Trouble> {
        let key = (host, report.app.clone());
        let store = &self.engine.inner.store;
        let (known, read) = match states.get(&key) {
            Some(change) => (Some(change.state.clone()), change.read),
            None => states::known(store, &host, &report.app).await?,
        };
        let assigned = states::assigned(store, &host, report).await?;
        let Some(state) = HostApp::after(known, report, assigned, now) else { return Ok(false) };
        states.insert(key, StateChange { host, app: report.app.clone(), read, state });
        Ok(true)
    }

    /// Loads the rollout, again until the store answers or the controller stops.
    async fn load(&mut self) -> Result<Option<Loaded>, Trouble> {
        loop {
            match records::load(&self.engine.inner.store, &self.id).await {
                Err(trouble) if trouble.is_transient() => {
                    self.wait_for_store(trouble, "not loaded").await?;
                }
                loaded => return loaded,
            }
        }
    }

    /// What the store did not do is tried again where it is, for as long as that lasts.
    async fn wait_for_store(&mut self, trouble: Trouble, what: &'static str) -> Result<(), Trouble> {
        tracing::error!(rollout = %self.id, trouble = %Chain(&trouble), "{what}; trying again");
        self.fresh = true; // what hosts say meanwhile waits as well
        tokio::select! {
            () = self.engine.inner.stop.cancelled() => Err(Trouble::Stopping),
            () = tokio::time::sleep(STORE_PAUSE) => Ok(()),
        }
    }
}

impl Job {
    fn of_gate(said: Said) -> Self {
        match said {
            Said::Concluded(concluded) => Job::Gate(concluded),
            Said::Word { number, word } => Job::Fact(Event::Gate { number, word }),
        }
    }

    pub fn answer(self, result: Result<(), Trouble>) {
        match self {
            Job::Fact(_) | Job::Gate(_) | Job::Looked(_) => {}
            // Whoever asked may have gone.
            Job::Report { done, .. } | Job::Steer { done, .. } => drop(done.send(result)),
        }
    }
}
