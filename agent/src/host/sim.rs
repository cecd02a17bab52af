//! The host's twin in memory: the same effects in the same order, but it can lose power after any of them.
//!
//! Every change to the world counts as one effect. [`SimHost::crash_after`] lets a number of them happen and then
//! nothing more, until [`SimHost::reboot`] (the machine comes back; units start by themselves) or
//! [`SimHost::restart_agent`] (only the agent died; apps ran on).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use longshore_common::{
    code::Code,
    digest::ReleaseDigest,
    ids::AppName,
    report::{Blame, Failure, StepName},
    slot::Slot,
    time::Millis,
};
use tokio::sync::Semaphore;

mod beside;

pub use beside::WARM_UNTIL_MS;

use super::{Follow, Host, Sink, Stream, Usage, suite};
use crate::plan::{HookPoint, Needs, Past, Running, Seen, Shown, Stale, Step, Wanted};

/// What is wrong with a release (or, at the network's and disk's places, with the host).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    Check,
    /// The controller cannot be reached.
    Network,
    /// The signed documents by which it came have run out since.
    Expired,
    /// The disk is full.
    Fetch,
    Render,
    Hook(HookPoint),
    Start,
    Probe,
    /// Whoever directs traffic refuses what would come to this release.
    Traffic,
}

#[derive(Debug, Default)]
pub struct SimHost(Mutex<World>);

#[derive(Debug, Default)]
struct World {
    apps: BTreeMap<AppName, App>,
    /// By version.
    releases: BTreeMap<String, (Needs, BTreeSet<Flaw>)>,
    effects: u64,
    crash_after: Option<u64>,
    performed: Vec<String>,
    gate: Option<(StepName, Arc<Semaphore>)>,
    /// Whoever directs traffic cannot be asked.
    director_away: bool,
    /// Glass that somebody broke.
    breaks: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct App {
    seen: Seen,
    staging: BTreeMap<Slot, Staging>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Staging {
    Checked,
    HalfFetched,
    Fetched,
    Rendered,
    Marked,
}

impl SimHost {
    pub fn new() -> Self {
        Self::default()
    }

    /// How a version behaves from now on. Unknown versions run, have no hooks and are healthy.
    pub fn release(&self, version: &str, needs: Needs, flaws: impl IntoIterator<Item = Flaw>) {
        self.world().releases.insert(version.to_owned(), (needs, flaws.into_iter().collect()));
    }

    /// A service with these hooks.
    pub fn service(hooks: impl IntoIterator<Item = HookPoint>) -> Needs {
        let hooks = hooks.into_iter().map(|point| (point, longshore_common::time::Span::secs(60))).collect();
        Needs { runs: true, hooks, ..Needs::default() }
    }

    /// Somebody who is root there breaks the glass.
    pub fn break_glass(&self, what: &str) {
        self.world().breaks.push(what.to_owned());
    }

    /// Let this many more effects happen, then none.
    pub fn crash_after(&self, effects: u64) {
        let mut world = self.world();
        world.crash_after = Some(world.effects + effects);
    }

    pub fn is_crashed(&self) -> bool {
        let world = self.world();
        world.crash_after.is_some_and(|limit| world.effects >= limit)
    }

    /// Power is back. What was set up to run runs, unless it cannot.
    pub fn reboot(&self) {
        let mut world = self.world();
        world.crash_after = None;
        let World { apps, releases, .. } = &mut *world;
        for running in apps.values_mut().flat_map(beside::all_running) {
            let flaws = releases.get(running.slot.version()).map(|(_, flaws)| flaws);
            running.up = flaws.is_none_or(|flaws| !flaws.contains(&Flaw::Start));
        }
    }

    /// Only the agent had died.
    pub fn restart_agent(&self) {
        self.world().crash_after = None;
    }

    /// One change to the world that is not the host's own, such as a durable write of the agent.
    pub fn effect(&self) -> Result<(), Failure> {
        self.world().effect()
    }

    /// Steps begun since the last call, as they print.
    pub fn take_performed(&self) -> Vec<String> {
        std::mem::take(&mut self.world().performed)
    }

    /// The app's process ends.
    pub fn kill(&self, app: &AppName) {
        if let Some(running) = self.world().apps.get_mut(app).and_then(|app| app.seen.running.as_mut()) {
            running.up = false;
        }
    }

    /// Every step of this name waits for a permit of the semaphore that this gives.
    pub fn gate(&self, step: StepName) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        self.world().gate = Some((step, Arc::clone(&gate)));
        gate
    }

    pub fn look(&self, app: &AppName) -> Seen {
        let world = self.world();
        let mut seen = world.apps.get(app).map(|app| app.seen.clone()).unwrap_or_default();
        if world.director_away && seen.sides.traffic != Shown::Never {
            seen.sides.traffic = Shown::Unknown;
        }
        seen
    }

    pub fn step(&self, app: &AppName, step: &Step) -> Result<(), Failure> {
        let mut world = self.world();
        world.alive()?;
        world.performed.push(step.to_string());
        match step {
            Step::Check(wanted) => world.check(app, wanted),
            Step::Fetch(wanted) => world.fetch(app, wanted),
            Step::Render(wanted) => world.render(app, wanted),
            Step::Seal(wanted) => world.seal(app, wanted),
            Step::Admit { wanted, stale } => world.admit(app, wanted, *stale),
            Step::Hook { point, slot } => world.hook(app, *point, slot),
            Step::Point(slot) => world.point(app, slot),
            Step::Unpoint => world.change(app, |app| app.seen.current = None),
            Step::Start(slot) => world.start(app, slot),
            Step::Stop => world.change(app, |app| app.seen.running = None),
            Step::Probe { slot, .. } => world.probe(app, slot),
            Step::StartSide { slot, side } => world.start_side(app, slot, *side),
            Step::Rehearse { slot, .. } => world.probe(app, slot),
            Step::Shift { slot, side, traffic } => world.shift(app, slot, *side, traffic),
            Step::StopSide(side) => world.stop_side(app, *side),
            Step::Direct(directions) => world.direct(app, directions),
            Step::Prune(slots) => world.prune(app, slots),
            Step::Remove => world.remove(app),
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("no holder panics")
    }
}

impl Host for SimHost {
    async fn may_return(&self, _: &AppName, _: &Slot, _: Past) -> Result<(), Failure> {
        Ok(())
    }

    async fn trust(&self) -> longshore_proto::v1::TrustFacts {
        let breaks = self.world().breaks.clone();
        longshore_proto::v1::TrustFacts { state: "unsigned".into(), breaks, ..Default::default() }
    }

    async fn admit(&self, _: &longshore_common::assignment::Assignment) -> Result<(), Failure> {
        Ok(())
    }

    async fn observe(&self, app: &AppName) -> Result<Seen, Failure> {
        self.world().alive()?;
        Ok(self.look(app))
    }

    async fn perform(&self, app: &AppName, step: &Step, sink: &Sink) -> Result<(), Failure> {
        let gate = self.world().gate.clone().filter(|(name, _)| *name == step.name());
        if let Some((_, gate)) = gate {
            gate.acquire().await.expect("never closed").forget();
        }
        if let Step::Hook { point, slot } = step {
            sink.line(point.as_str(), Stream::Stdout, format!("hello from {slot}"));
        }
        self.step(app, step)
    }

    async fn glance(&self, app: &AppName, slot: &Slot) -> Result<String, Failure> {
        let mut world = self.world();
        world.alive()?;
        world.probe(app, slot).map(|()| slot.to_string())
    }

    async fn usage(&self, app: &AppName, _since: Millis) -> Result<Usage, Failure> {
        let up = self.look(app).running.is_some_and(|running| running.up);
        Ok(Usage { running: up, memory_bytes: 1 << 20, main_pid: u32::from(up), ..Usage::default() })
    }

    /// The twin's releases bring no tests.
    async fn test(
        &self,
        _app: &AppName,
        _release: &ReleaseDigest,
        _test: &str,
        _limit: Duration,
        _sink: &Sink,
    ) -> Result<Option<suite::Outcome>, Failure> {
        Ok(None)
    }

    async fn logs(&self, app: &AppName, lines: usize, follow: Follow, sink: &Sink) -> Result<(), Failure> {
        let running = self.look(app).running;
        for n in 0..lines.min(3) {
            let slot = running.as_ref().map_or("nothing", |running| running.slot.as_str());
            sink.line("app", Stream::Stdout, format!("line {n} of {slot}"));
        }
        if follow == Follow::Yes {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

impl World {
    fn alive(&self) -> Result<(), Failure> {
        if self.crash_after.is_some_and(|limit| self.effects >= limit) {
            return Err(failure(Code::X01, StepName::Check, Blame::Environment, "power is out"));
        }
        Ok(())
    }

    fn effect(&mut self) -> Result<(), Failure> {
        self.alive()?;
        self.effects += 1;
        Ok(())
    }

    fn change(&mut self, app: &AppName, change: impl FnOnce(&mut App)) -> Result<(), Failure> {
        self.effect()?;
        change(self.apps.entry(app.clone()).or_default());
        Ok(())
    }

    fn app(&self, app: &AppName) -> App {
        self.apps.get(app).cloned().unwrap_or_default()
    }

    fn has_flaw(&self, version: &str, flaw: Flaw) -> bool {
        self.releases.get(version).is_some_and(|(_, flaws)| flaws.contains(&flaw))
    }

    fn stand(&mut self, app: &AppName, slot: &Slot, stage: Staging) -> Result<(), Failure> {
        self.change(app, |app| {
            app.staging.insert(slot.clone(), stage);
        })
    }

    fn check(&mut self, app: &AppName, wanted: &Wanted) -> Result<(), Failure> {
        if self.has_flaw(wanted.version.as_str(), Flaw::Check) {
            return Err(failure(Code::Q01, StepName::Check, Blame::Environment, "needs another arch"));
        }
        let reached = self.app(app).staging.get(&wanted.slot).copied();
        if reached.is_none() { self.stand(app, &wanted.slot, Staging::Checked) } else { Ok(()) }
    }

    fn fetch(&mut self, app: &AppName, wanted: &Wanted) -> Result<(), Failure> {
        let reached = self.app(app).staging.get(&wanted.slot).copied();
        assert!(reached.is_some(), "fetch comes after check");
        self.stand(app, &wanted.slot, Staging::HalfFetched)?;
        if self.has_flaw(wanted.version.as_str(), Flaw::Network) {
            return Err(failure(Code::C01, StepName::Fetch, Blame::Environment, "connection lost"));
        }
        if self.has_flaw(wanted.version.as_str(), Flaw::Fetch) {
            return Err(failure(Code::D01, StepName::Fetch, Blame::Environment, "disk is full"));
        }
        self.stand(app, &wanted.slot, Staging::Fetched)
    }

    fn render(&mut self, app: &AppName, wanted: &Wanted) -> Result<(), Failure> {
        assert_eq!(
            self.app(app).staging.get(&wanted.slot),
            Some(&Staging::Fetched),
            "render comes after fetch"
        );
        if self.has_flaw(wanted.version.as_str(), Flaw::Render) {
            return Err(failure(Code::M01, StepName::Render, Blame::Version, "no such value: port"));
        }
        self.stand(app, &wanted.slot, Staging::Rendered)
    }

    fn seal(&mut self, app: &AppName, wanted: &Wanted) -> Result<(), Failure> {
        assert_eq!(self.app(app).staging.get(&wanted.slot), Some(&Staging::Rendered), "seal comes last");
        self.stand(app, &wanted.slot, Staging::Marked)?;
        let known = self.releases.get(wanted.version.as_str()).map(|(needs, _)| needs.clone());
        let needs = known.unwrap_or_else(|| SimHost::service([]));
        self.change(app, |app| {
            app.staging.remove(&wanted.slot);
            app.seen.slots.insert(wanted.slot.clone(), needs);
        })
    }

    fn admit(&mut self, app: &AppName, wanted: &Wanted, stale: Stale) -> Result<(), Failure> {
        assert!(self.app(app).seen.is_sealed(&wanted.slot), "what is not here yet is checked");
        if stale == Stale::Refused && self.has_flaw(wanted.version.as_str(), Flaw::Expired) {
            return Err(failure(Code::T04, StepName::Check, Blame::Environment, "timestamp.json expired"));
        }
        Ok(())
    }

    fn hook(&mut self, app: &AppName, point: HookPoint, slot: &Slot) -> Result<(), Failure> {
        assert!(self.app(app).seen.slots[slot].hooks.contains_key(&point), "{slot} has no hook {point}");
        self.effect()?;
        if self.has_flaw(slot.version(), Flaw::Hook(point)) {
            let failed =
                failure(Code::H01, StepName::Hook, Blame::Version, &format!("hook {point} exited with 1"));
            return Err(failed.with_evidence([format!("{point}: boom")]));
        }
        self.effect()
    }

    fn point(&mut self, app: &AppName, slot: &Slot) -> Result<(), Failure> {
        assert!(self.app(app).seen.is_sealed(slot), "current may only name a sealed slot");
        self.change(app, |app| app.seen.current = Some(slot.clone()))
    }

    fn start(&mut self, app: &AppName, slot: &Slot) -> Result<(), Failure> {
        assert!(self.app(app).seen.is_sealed(slot), "only a sealed slot may run");
        let main = format!("unit {slot}");
        self.change(app, |app| app.seen.running = Some(Running { slot: slot.clone(), up: false, main }))?;
        if self.has_flaw(slot.version(), Flaw::Start) {
            let failed = failure(Code::U01, StepName::Start, Blame::Version, "exited with 1");
            return Err(failed.with_evidence(["panic: no".to_owned()]));
        }
        self.change(app, |app| app.seen.running.as_mut().expect("set above").up = true)
    }

    fn probe(&mut self, app: &AppName, slot: &Slot) -> Result<(), Failure> {
        self.effect()?;
        if self.app(app).seen.is_run(slot) && !self.has_flaw(slot.version(), Flaw::Probe) {
            return Ok(());
        }
        Err(failure(Code::B01, StepName::Probe, Blame::Version, "probe http: status 500 until the deadline"))
    }

    fn prune(&mut self, app: &AppName, slots: &[Slot]) -> Result<(), Failure> {
        for slot in slots {
            let seen = self.app(app).seen;
            assert_ne!(seen.current.as_ref(), Some(slot), "the live slot may not go");
            self.change(app, |app| {
                app.seen.slots.remove(slot);
            })?;
        }
        Ok(())
    }

    fn remove(&mut self, app: &AppName) -> Result<(), Failure> {
        assert!(self.app(app).seen.running.is_none(), "stop comes before remove");
        self.change(app, |app| app.seen.current = None)?;
        self.change(app, |app| *app = App::default())
    }
}

fn failure(code: Code, step: StepName, blame: Blame, message: &str) -> Failure {
    Failure::new(code, step, blame, message)
}
