//! Starting and stopping, by the driver that a release asks for.

use std::{os::unix::fs::chown, time::Duration};

use longshore_common::{
    code::Code,
    ids::AppName,
    loopback::on_own_loopback,
    manifest::{Driver, Manifest},
    report::{Failure, StepName},
    slot::Slot,
    time::Span,
    traffic::Side,
};
use rustix::process::Signal;

use super::RealHost;
use crate::{
    config::Runner,
    host::{
        account::Account,
        environment::variables,
        fault,
        launch::{Fault, LaunchSpec},
        layout::{Layout, Part},
        process::protocol::Service,
        unit::UnitStatus,
    },
    plan::Running,
};

/// For a supervisor, beyond what the app is allowed.
pub(super) const SLACK: Duration = Duration::from_secs(30);

impl RealHost {
    pub(super) async fn start(&self, app: &AppName, slot: &Slot) -> Result<(), Failure> {
        let manifest = self.manifest(app, slot).await?;
        match self.driver_of(&manifest) {
            Driver::Systemd => {
                self.stop_process(app).await?;
                self.start_unit(slot, &manifest, Part::Whole).await
            }
            Driver::Process => {
                self.stop_unit(app).await?;
                self.start_process(slot, &manifest, Part::Whole).await
            }
            // Nothing is to run, so what runs is of another release.
            Driver::None => self.stop(app).await,
        }
    }

    pub(super) async fn start_unit(
        &self,
        slot: &Slot,
        manifest: &Manifest,
        part: Part,
    ) -> Result<(), Failure> {
        let account = Account::to_become(manifest.service.user.as_deref())
            .map_err(|e| fault::host(e.code, StepName::Start, e.message))?;
        own_shared(&self.layout, &manifest.app, account.as_ref(), StepName::Start)?;
        self.units.on(part).start(slot, &self.at_home(manifest)).await
    }

    pub(super) async fn start_process(
        &self,
        slot: &Slot,
        manifest: &Manifest,
        part: Part,
    ) -> Result<(), Failure> {
        let (order, within) = self.process_order(slot, manifest).await?;
        self.processes.on(part).start(&manifest.app, order, within).await
    }

    /// What a supervisor is told, and how long it may take.
    async fn process_order(&self, slot: &Slot, manifest: &Manifest) -> Result<(Service, Duration), Failure> {
        let app = &manifest.app;
        let manifest = self.at_home(manifest);
        let service = &manifest.service;
        let launch = self
            .launch_spec(&service.exec, slot, &manifest, None)
            .map_err(|Fault(why)| fault::host(Code::U01, StepName::Start, why))?;
        own_shared(&self.layout, app, launch.account.as_ref(), StepName::Start)?;
        let Span(grace) = service.stop.grace;
        let order = Service {
            slot: slot.clone(),
            launch,
            sockets: service.sockets.clone(),
            stop_signal: signal_number(&service.stop.signal),
            grace_ms: grace.as_millis() as u64,
        };
        let old = self.grace_of_running(app).await;
        Ok((order, service.start_timeout.0 + grace.max(old) + SLACK))
    }

    /// Starts the app again with the slot that it was last told to run, if its supervisor is gone.
    pub(super) async fn restore(&self, app: &AppName) -> Result<(), Failure> {
        for part in [Part::Whole, Part::Side(Side::Blue), Part::Side(Side::Green)] {
            let order = async |slot: &Slot| {
                let manifest = self.manifest_on(app, slot, part).await?;
                self.process_order(slot, &manifest).await
            };
            if let Some(slot) = self.processes.on(part).restore(app, order).await? {
                tracing::info!(%app, %slot, "started again");
            }
        }
        self.restore_relay(app).await
    }

    pub(super) async fn stop(&self, app: &AppName) -> Result<(), Failure> {
        self.stop_unit(app).await?;
        self.stop_process(app).await
    }

    async fn stop_unit(&self, app: &AppName) -> Result<(), Failure> {
        match self.runner {
            Runner::Systemd => self.units.stop(app, self.grace_of_running(app).await).await,
            Runner::Process => Ok(()),
        }
    }

    async fn stop_process(&self, app: &AppName) -> Result<(), Failure> {
        self.processes.stop(app, self.grace_of_running(app).await + SLACK).await
    }

    /// What is set up to run as this part of the app, by whichever driver.
    pub(super) async fn running_on(&self, app: &AppName, part: Part) -> Result<Option<Running>, Failure> {
        let (units, processes) = (self.units.on(part), self.processes.on(part));
        if self.runner == Runner::Systemd
            && let Some(status) = units.status(app).await?
        {
            let main = units.unit_name(app);
            return Ok(Some(as_told(status, units.wanted(app), main)));
        }
        let wanted = processes.wanted(app);
        if let Some(status) = processes.status(app).await? {
            let main = status.state.to_string();
            return Ok(Some(as_told(status, wanted, main)));
        }
        Ok(wanted.map(|slot| Running { slot, up: false, main: "its supervisor is gone".into() }))
    }

    /// What this part of the app was last told to run, by what is on the disk.
    pub(super) fn wanted_on(&self, app: &AppName, part: Part) -> Option<Slot> {
        let unit = match self.runner {
            Runner::Systemd => self.units.on(part).wanted(app),
            Runner::Process => None,
        };
        unit.or_else(|| self.processes.on(part).wanted(app))
    }

    /// What is to be stopped may take so long. Unknown is what most are content with.
    async fn grace_of_running(&self, app: &AppName) -> Duration {
        let slot = self.running(app).await.ok().flatten().map(|running| running.slot);
        let manifest = match slot {
            Some(slot) => self.manifest(app, &slot).await.ok(),
            None => None,
        };
        manifest.map_or(SLACK, |manifest| manifest.service.stop.grace.0)
    }

    /// The release as it is meant where several agents share a machine.
    pub(super) fn at_home(&self, manifest: &Manifest) -> Manifest {
        let mut manifest = manifest.clone();
        if let Some(own) = self.loopback {
            for address in &mut manifest.service.sockets {
                *address = on_own_loopback(address, own);
            }
        }
        self.sides_at_home(&mut manifest);
        manifest
    }

    /// A program of a release, run in its slot as the app's user, with the app's environment.
    pub(super) fn launch_spec(
        &self,
        command: &[String],
        slot: &Slot,
        manifest: &Manifest,
        previous: Option<&Slot>,
    ) -> Result<LaunchSpec, Fault> {
        let folder = self.layout.slot(&manifest.app, slot);
        let mut spec = LaunchSpec::of(command, &folder, manifest.service.user.as_deref())?;
        spec.env.extend(variables(&self.layout, manifest, slot, previous));
        Ok(spec)
    }
}

/// What runs is up only where it is also what a boot of the machine would start. Where a start was cut short, or refused
/// before it touched what ran, it is not: who wants that to run has to start it, even if it runs on.
fn as_told(status: UnitStatus, wanted: Option<Slot>, main: String) -> Running {
    let up = status.state.is_up() && wanted.as_ref() == Some(&status.slot);
    Running { up, slot: status.slot, main }
}

/// What outlives releases belongs to the app's user.
pub(super) fn own_shared(
    layout: &Layout,
    app: &AppName,
    account: Option<&Account>,
    step: StepName,
) -> Result<(), Failure> {
    let Some(account) = account else { return Ok(()) };
    let shared = layout.shared(app);
    let doing = format!("give {} to {}", shared.display(), account.name);
    chown(&shared, Some(account.uid), Some(account.gid)).map_err(fault::io(step, &doing))
}

/// By the names that a manifest may use; anything else asks politely.
fn signal_number(name: &str) -> i32 {
    let signal = match name {
        "SIGINT" => Signal::INT,
        "SIGQUIT" => Signal::QUIT,
        "SIGHUP" => Signal::HUP,
        "SIGUSR1" => Signal::USR1,
        "SIGUSR2" => Signal::USR2,
        _ => Signal::TERM,
    };
    signal.as_raw()
}
