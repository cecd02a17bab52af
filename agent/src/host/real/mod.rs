//! The real host: carries out the core's steps on this machine, and looks at it.
//!
//! Nothing is decided here. `slots`, `fetch` and `stage` know the disk, `systemd` and `process` know what runs, and
//! each step is one call of theirs.

mod balance;
mod beside;
mod bundle;
mod gates;
mod probing;
mod service;
mod tend;
mod told;

use std::{net::Ipv4Addr, time::Duration};

use longshore_common::{
    assignment::{Assignment, Intent},
    code::{Code, Coded},
    digest::ReleaseDigest,
    ids::AppName,
    manifest::{Driver, Manifest},
    report::{Failure, StepName},
    settings::Secrets,
    slot::Slot,
    time::Millis,
    traffic::{Directed, Looked},
};

use longshore_proto::v1 as pb;

use super::{
    Event, Follow, Host, Sink, Stream, Usage,
    direct::Directors,
    environment::variables,
    fault,
    fetch::{self, FetchError, read_meta},
    hook,
    keeper::Keeper,
    layout::{Layout, Part},
    process::ProcessDriver,
    reexec::SelfExec,
    render,
    requires::{self, Machine},
    secrets::Sources,
    stage::{self, Tree},
    suite,
    systemd::{Bus, SystemdDriver, journal},
};
use crate::{
    config::{Config, Runner},
    offline::{Shelf, Trusting},
    plan::{HookPoint, Manner, Needs, Past, Running, Seen, Stale, Step, Wanted},
    supply::Supply,
    trust::{Gate, bring},
};

/// For so long a connection is waited for where the documents that are here have run out.
const CONNECTS_WITHIN: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct RealHost {
    layout: Layout,
    me: SelfExec,
    supply: Supply,
    gate: Gate,
    shelf: Shelf,
    runner: Runner,
    /// What 127.0.0.1 means for apps of this agent.
    loopback: Option<Ipv4Addr>,
    processes: ProcessDriver,
    units: SystemdDriver,
    secrets: Sources,
    directors: Directors,
}

impl RealHost {
    /// Clears away what a crash left, and starts apps again that nobody but us starts after a boot.
    pub async fn open(config: &Config, supply: impl Into<Supply>, me: SelfExec) -> Result<Self, Coded> {
        let runner = config.driver.unwrap_or_else(Runner::detect);
        let units = SystemdDriver::new(
            Layout::under(&config.root).map_err(|e| Coded::new(Code::M01, e.to_string()))?,
        );
        let layout = Layout::under(&config.root).map_err(|e| Coded::new(Code::M01, e.to_string()))?;
        let host = Self {
            processes: ProcessDriver::new(me.clone(), layout.clone())
                .with_lives(config.apps)
                .in_units(units_of(runner, &units)),
            units,
            runner,
            loopback: config.loopback,
            secrets: Sources::of(config)?,
            directors: config.directors.clone(),
            gate: Gate::new(config),
            shelf: Shelf::below(&config.data()),
            layout,
            me,
            supply: supply.into(),
        };
        for app in host.layout.list_apps().map_err(coded)? {
            let cleaned = host.disk({
                let app = app.clone();
                move |layout| layout.clean(&app)
            });
            cleaned.await.map_err(coded)?;
            if let Err(failure) = host.restore(&app).await {
                // The next assignment sees that it does not run.
                tracing::error!(%app, "could not start it again: {}", failure.message);
            }
        }
        Ok(host)
    }

    /// Work on the disk, off the threads that must not block.
    async fn disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Layout) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let layout = self.layout.clone();
        let done = tokio::task::spawn_blocking(move || work(&layout)).await;
        done.unwrap_or_else(|died| {
            Err(fault::host(Code::X01, StepName::Check, format!("work on the disk ended: {died}")))
        })
    }

    async fn manifest(&self, app: &AppName, slot: &Slot) -> Result<Manifest, Failure> {
        let (app, slot) = (app.clone(), slot.clone());
        self.disk(move |layout| layout.read_slot(&app, &slot).map(|(manifest, _)| manifest)).await
    }

    /// What runs this release here, whatever machine it was written for.
    fn driver_of(&self, manifest: &Manifest) -> Driver {
        match (manifest.service.driver, self.runner) {
            (Driver::Systemd, Runner::Process) => Driver::Process,
            (driver, Runner::Systemd | Runner::Process) => driver,
        }
    }

    async fn check(&self, app: &AppName, wanted: &Wanted) -> Result<(), Failure> {
        if let Some(bundle) = self.bundle_of(app, wanted).await? {
            return self.check_bundle(app, wanted, bundle).await;
        }
        let failed = |e: FetchError| e.failure(StepName::Check);
        let source = self.supply.open().await;
        let source = source.map_err(|closed| fault::host(Code::C01, StepName::Check, closed.to_string()))?;
        // Whether it may run is known before a byte of it is asked for.
        bring(&self.gate, &source, app).await.map_err(failed)?;
        self.signed(app, wanted, StepName::Check).await?;
        let manifest = fetch::manifest(source, &self.layout, app, wanted).await.map_err(failed)?;
        self.gate.allow_manifest(&manifest).map_err(|e| fault::host(e.code, StepName::Check, e.message))?;
        let (app, keep, runner) = (app.clone(), wanted.slot.clone(), self.runner);
        self.disk(move |layout| {
            layout.clean_staging(&app, Some(&keep))?;
            requires::check(&manifest, &Machine::look(layout.state(), runner))
        })
        .await?;
        // Said now, before anything is fetched; rendering opens them again.
        self.secrets.open(&self.supply, &wanted.settings.secrets, StepName::Check).await.map(drop)
    }

    /// By what was verified last, without asking anybody.
    async fn signed(&self, app: &AppName, wanted: &Wanted, step: StepName) -> Result<(), Failure> {
        let (gate, app, wanted) = (self.gate.clone(), app.clone(), wanted.clone());
        self.disk(move |_| {
            let admitted = gate.admit(&app, &wanted.version, &wanted.release);
            admitted.map_err(|e| fault::host(e.code, step, e.message))
        })
        .await
    }

    /// Of what lies in a slot and never was good here is asked what is asked of what is fetched: by documents that hold.
    /// Where they have run out, the controller may have newer ones.
    async fn admit_untried(&self, app: &AppName, wanted: &Wanted, stale: Stale) -> Result<(), Failure> {
        if let Err(expired) = self.documents_hold(app, stale).await {
            if stale == Stale::Allowed {
                return Err(expired);
            }
            let failed = |why: String| Failure {
                message: format!("{}. Newer ones were asked for: {why}", expired.message),
                ..expired.clone()
            };
            // After a start of the agent the connection may be a moment away.
            let Ok(source) = tokio::time::timeout(CONNECTS_WITHIN, self.supply.open()).await else {
                return Err(failed("the controller is away".to_owned()));
            };
            let source = source.map_err(|closed| failed(closed.to_string()))?;
            let brought = bring(&self.gate, &source, app).await;
            brought.map_err(|e| failed(e.failure(StepName::Check).message))?;
            self.documents_hold(app, stale).await?;
        }
        self.signed(app, wanted, StepName::Check).await
    }

    async fn documents_hold(&self, app: &AppName, stale: Stale) -> Result<(), Failure> {
        let (gate, app) = (self.gate.clone(), app.clone());
        self.disk(move |_| {
            gate.holds(&app, stale).map_err(|e| fault::host(e.code, StepName::Check, e.message))
        })
        .await
    }

    async fn fetch(&self, app: &AppName, wanted: &Wanted, sink: &Sink) -> Result<(), Failure> {
        self.signed(app, wanted, StepName::Fetch).await?;
        if let Some(bundle) = self.bundle_of(app, wanted).await? {
            return self.fetch_bundle(app, wanted, bundle, sink).await;
        }
        let failed = |e: FetchError| e.failure(StepName::Fetch);
        let source = self.supply.open().await;
        let source = source.map_err(|closed| fault::host(Code::C01, StepName::Fetch, closed.to_string()))?;
        fetch::fetch(source, &self.layout, app, wanted, sink).await.map_err(failed)
    }

    async fn render(&self, app: &AppName, wanted: &Wanted) -> Result<(), Failure> {
        let (app, wanted) = (app.clone(), wanted.clone());
        let opened = self.secrets.open(&self.supply, &wanted.settings.secrets, StepName::Render).await?;
        self.disk(move |layout| {
            let staged = layout.staged(&app, &wanted.slot);
            let meta = Tree::open(&staged).and_then(|tree| read_meta(&tree, &wanted));
            let (manifest, _) = meta.map_err(|e| FetchError::from(e).failure(StepName::Render))?;
            render::render(&manifest, &wanted.settings.values, &opened, &staged)?;
            let mut own = variables(layout, &manifest, &wanted.slot, None);
            own.retain(|name, value| !manifest.service.is_of_side(name, value));
            render::environment(&own, &staged)
        })
        .await
    }

    async fn seal(&self, app: &AppName, wanted: &Wanted) -> Result<(), Failure> {
        let sealing = self.disk({
            let (app, wanted) = (app.clone(), wanted.clone());
            move |layout| {
                stage::seal(layout, &app, &wanted).map_err(|e| FetchError::from(e).failure(StepName::Stage))
            }
        });
        sealing.await?;
        self.drop_bundle(app, wanted).await
    }

    async fn hook(&self, app: &AppName, point: HookPoint, slot: &Slot, sink: &Sink) -> Result<(), Failure> {
        let manifest = self.manifest(app, slot).await?;
        let Some(hook) = point.of(&manifest) else { return Ok(()) };
        let spec = self.launch_spec(&hook.run, slot, &manifest, self.previous(app, slot).await?.as_ref());
        let spec = spec.map_err(|f| fault::host(Code::H01, StepName::Hook, f.to_string()))?;
        service::own_shared(&self.layout, app, spec.account.as_ref(), StepName::Hook)?;
        hook::run(&self.keeper(), app, point, hook, &spec, sink).await
    }

    /// Of the release's own programs.
    fn keeper(&self) -> Keeper {
        match self.runner {
            Runner::Systemd => Keeper::Systemd(self.units.bus().clone()),
            Runner::Process => Keeper::Tree(self.me.clone()),
        }
    }

    /// What was live before `slot`, as far as the machine still shows it.
    async fn previous(&self, app: &AppName, slot: &Slot) -> Result<Option<Slot>, Failure> {
        let live = self.layout.live(app)?;
        if live.as_ref().is_some_and(|live| live != slot) {
            return Ok(live);
        }
        let running = self.running(app).await?.map(|running| running.slot);
        Ok(running.filter(|running| running != slot))
    }

    async fn seen(&self, app: &AppName) -> Result<Seen, Failure> {
        let on_disk = self.disk({
            let app = app.clone();
            move |layout| {
                let mut seen = Seen { current: layout.live(&app)?, ..Seen::default() };
                for slot in layout.sealed(&app)? {
                    match layout.read_slot(&app, &slot) {
                        Ok((manifest, _)) => drop(seen.slots.insert(slot, Needs::of(&manifest))),
                        // It cannot be run, so it does not count as a slot.
                        Err(failure) => tracing::warn!(%app, %slot, "{}", failure.message),
                    }
                }
                Ok(seen)
            }
        });
        let mut seen = on_disk.await?;
        seen.running = self.running(app).await?;
        seen.sides = self.sides(app, seen.current.as_ref()).await?;
        seen.balance = self.balance(app).await?;
        Ok(seen)
    }

    /// What is set up to run, by whichever driver.
    async fn running(&self, app: &AppName) -> Result<Option<Running>, Failure> {
        self.running_on(app, Part::Whole).await
    }

    async fn remove(&self, app: &AppName) -> Result<(), Failure> {
        self.stop(app).await?;
        self.stop_relay(app).await?;
        let app = app.clone();
        self.disk(move |layout| layout.remove(&app)).await
    }
}

impl Host for RealHost {
    async fn secrets_missing(&self, secrets: &Secrets) -> Vec<String> {
        self.secrets.missing(secrets).await
    }

    async fn look_at_director(&self, app: &AppName, asked: Directed) -> Looked {
        self.look_at_director(app, asked).await
    }

    /// Root's own word needs no other. Where the agent passes it on, whoever owns the agent could be its author, and a
    /// floor that has risen since counts; and, for what never was good here, how old the documents are.
    async fn may_return(&self, app: &AppName, slot: &Slot, past: Past) -> Result<(), Failure> {
        if let Supply::Uplink(_) = self.supply {
            return Ok(());
        }
        let (gate, app, slot) = (self.gate.clone(), app.clone(), slot.clone());
        self.disk(move |layout| {
            let refused = |e: Coded| fault::host(e.code, StepName::Revert, e.message);
            let (manifest, _) = layout.read_slot(&app, &slot)?;
            if past == Past::Untried {
                gate.holds(&app, Stale::Refused).map_err(refused)?;
            }
            gate.admit(&app, &manifest.version, &manifest.digest()).map_err(refused)?;
            gate.allow_manifest(&manifest).map_err(refused)
        })
        .await
    }

    fn trusting(&self) -> Option<Trusting> {
        let (gate, shelf, supply) = (self.gate.clone(), self.shelf.clone(), self.supply.clone());
        Some(Trusting { gate, shelf, supply })
    }

    async fn trust(&self) -> pb::TrustFacts {
        let gate = self.gate.clone();
        let looked = tokio::task::spawn_blocking(move || gate.facts()).await;
        looked.expect("looking at what is trusted does not panic")
    }

    async fn observe(&self, app: &AppName) -> Result<Seen, Failure> {
        self.seen(app).await
    }

    /// What lies in a slot already was verified when it came, and is again: the floor may have risen since, and the
    /// way back that a failed release takes by itself does not come by here. How old the documents are is asked when
    /// something is about to run (`admit_untried`).
    async fn admit(&self, assignment: &Assignment) -> Result<(), Failure> {
        if assignment.intent == Intent::Remove {
            return Ok(());
        }
        if assignment.intent == Intent::Direct {
            let refused = |e: Coded| fault::host(e.code, StepName::Check, e.message);
            return self.gate.allow(assignment).map_err(refused);
        }
        let (gate, assignment) = (self.gate.clone(), assignment.clone());
        self.disk(move |layout| {
            let refused = |e: Coded| fault::host(e.code, StepName::Check, e.message);
            gate.allow(&assignment).map_err(refused)?;
            let Assignment { app, version, release, .. } = &assignment;
            let Some(held) = layout.sealed_release(app, &assignment.slot())? else { return Ok(()) };
            if held != *release {
                let words = format!("the slot of {app}@{version} holds another release; nothing was changed");
                return Err(fault::host(Code::A01, StepName::Check, words));
            }
            gate.admit(app, version, release).map_err(refused)?;
            let (manifest, _) = layout.read_slot(app, &assignment.slot())?;
            gate.allow_manifest(&manifest).map_err(refused)
        })
        .await
    }

    async fn perform(&self, app: &AppName, step: &Step, sink: &Sink) -> Result<(), Failure> {
        match step {
            Step::Check(wanted) => self.check(app, wanted).await,
            Step::Fetch(wanted) => self.fetch(app, wanted, sink).await,
            Step::Render(wanted) => self.render(app, wanted).await,
            Step::Seal(wanted) => self.seal(app, wanted).await,
            Step::Admit { wanted, stale } => self.admit_untried(app, wanted, *stale).await,
            Step::Hook { point, slot } => self.hook(app, *point, slot, sink).await,
            Step::Point(slot) => {
                let (app, slot) = (app.clone(), slot.clone());
                self.disk(move |layout| layout.point(&app, &slot)).await
            }
            Step::Unpoint => {
                let app = app.clone();
                self.disk(move |layout| layout.unpoint(&app)).await
            }
            Step::Start(slot) => self.start(app, slot).await,
            Step::Stop => self.stop(app).await,
            Step::Probe { slot, manner: Manner::Settle } => self.settle(app, slot, sink).await,
            Step::Probe { slot, manner: Manner::Glance } => self.glance_at(app, slot).await.map(drop),
            Step::StartSide { slot, side } => self.start_side(app, slot, *side).await,
            Step::Rehearse { slot, manner: Manner::Settle, .. } => self.settle(app, slot, sink).await,
            Step::Rehearse { slot, manner: Manner::Glance, .. } => self.glance_at(app, slot).await.map(drop),
            Step::Shift { slot, side, traffic } => self.shift(app, slot, *side, traffic, sink).await,
            Step::StopSide(side) => self.stop_side(app, *side).await,
            Step::Direct(directions) => self.direct(app, directions, sink).await,
            Step::Prune(slots) => {
                let (app, slots) = (app.clone(), slots.clone());
                self.disk(move |layout| layout.prune(&app, &slots)).await
            }
            Step::Remove => self.remove(app).await,
        }
    }

    async fn glance(&self, app: &AppName, slot: &Slot) -> Result<String, Failure> {
        self.glance_at(app, slot).await
    }

    async fn usage(&self, app: &AppName, since: Millis) -> Result<Usage, Failure> {
        self.usage_of(app, since).await
    }

    async fn test(
        &self,
        app: &AppName,
        release: &ReleaseDigest,
        test: &str,
        limit: Duration,
        sink: &Sink,
    ) -> Result<Option<suite::Outcome>, Failure> {
        self.run_test(app, release, test, limit, sink).await
    }

    async fn logs(&self, app: &AppName, lines: usize, follow: Follow, sink: &Sink) -> Result<(), Failure> {
        let say = |time_ms: Millis, stream: Stream, line: String| {
            sink.send(Event::Line { source: "app".into(), stream, line, time_ms: Some(time_ms) });
        };
        let fail = fault::io(StepName::Check, "the app's log cannot be read");
        let part = self.live_part(app).await?;
        let (units, processes) = (self.units.on(part), self.processes.on(part));
        if self.runner == Runner::Systemd
            && let Some(begun) = units.begun(app).await?
        {
            let until = match follow {
                Follow::Yes => journal::Until::Dropped,
                Follow::No => journal::Until::Now,
            };
            let unit = units.unit_name(app);
            let each = |time, line| say(time, Stream::Stdout, line);
            return journal::lines_of(&unit, begun, lines, until, each).await.map_err(fail);
        }
        for entry in processes.tail(app, lines).map_err(fail)? {
            say(entry.time_ms, entry.stream, entry.text);
        }
        match follow {
            Follow::Yes => processes.follow(app, |entry| say(entry.time_ms, entry.stream, entry.text)).await,
            Follow::No => Ok(()),
        }
    }
}

/// Where supervisors are units of their own.
fn units_of(runner: Runner, units: &SystemdDriver) -> Option<Bus> {
    (runner == Runner::Systemd).then(|| units.bus().clone())
}

fn coded(failure: Failure) -> Coded {
    Coded::new(failure.code.parse().unwrap_or(Code::X01), failure.message)
}
