//! The systemd driver: an app is a unit, written here and started over D-Bus.
//!
//! The unit names its slot by absolute path, so that what boots is one whole release even if power fails between the
//! switch and the restart. Which slot *runs* is told by the loaded unit, except between a reload and the restart that
//! follows it: then the process is older than the unit file, and it is the previous slot, which the file names too.

mod bus;
pub mod journal;
mod text;
pub mod transient;

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use longshore_common::{
    code::Code,
    durable::{remove_durable, write_atomic},
    ids::AppName,
    manifest::Manifest,
    report::{Failure, StepName},
    slot::Slot,
};

pub use self::bus::Bus;
use self::{
    bus::{BusError, JobResult, Manager, Properties, number, text as property},
    text::{mark, service_name, socket_name},
};
use super::{
    fault,
    launch::Fault,
    layout::Layout,
    tree::Ended,
    unit::{UnitState, UnitStatus},
};

/// For a job beyond what the unit itself allows.
const JOB_SLACK: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
pub struct SystemdDriver {
    bus: Bus,
    layout: Layout,
}

impl SystemdDriver {
    pub fn new(layout: Layout) -> Self {
        Self { bus: Bus, layout }
    }

    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Runs this slot instead of what runs. Sockets stay open meanwhile, unless they are other sockets.
    pub async fn start(&self, slot: &Slot, manifest: &Manifest) -> Result<(), Failure> {
        let app = &manifest.app;
        let manager = self.open(StepName::Start).await?;
        let before = self.status_over(&manager, app).await?;
        let previous = before.map(|status| status.slot);
        let service = text::service(&self.layout, manifest, slot, previous.as_ref())?;
        let socket = text::socket(manifest)?;
        let sockets = self.write(app, &service, socket.as_deref()).map_err(fault::disk(StepName::Start))?;
        let result = self.switch(&manager, manifest, sockets).await.map_err(failed(StepName::Start))?;
        let properties = manager.properties(&service_name(app)).await.map_err(failed(StepName::Start))?;
        if result == JobResult::Done && property(&properties, "ActiveState") == "active" {
            return Ok(());
        }
        Err(self.not_started(manifest, result, &properties).await)
    }

    /// Writes the units. What has to be done about the sockets is the answer.
    fn write(
        &self,
        app: &AppName,
        service: &str,
        socket: Option<&str>,
    ) -> longshore_common::durable::Result<Sockets> {
        // Always anew: by its time a process is known to be older than this unit or not.
        write_atomic(&self.layout.units().join(service_name(app)), service.as_bytes(), 0o644)?;
        let path = self.layout.units().join(socket_name(app));
        let old = std::fs::read_to_string(&path).ok();
        match (old, socket) {
            (Some(old), Some(new)) if old == new => Ok(Sockets::Kept),
            (_, Some(new)) => write_atomic(&path, new.as_bytes(), 0o644).map(|()| Sockets::Changed),
            (Some(_), None) => Ok(Sockets::Gone),
            (None, None) => Ok(Sockets::None),
        }
    }

    async fn switch(
        &self,
        manager: &Manager,
        manifest: &Manifest,
        sockets: Sockets,
    ) -> Result<JobResult, BusError> {
        let (service, socket) = (service_name(&manifest.app), socket_name(&manifest.app));
        let within = job_deadline(manifest);
        if sockets == Sockets::Gone {
            manager.disable(&[&socket]).await?;
            // A file that stays by accident is found by the next start and goes then.
            let _ = remove_durable(&self.layout.units().join(&socket));
        }
        manager.reload().await?;
        let enabled =
            if manifest.service.sockets.is_empty() { vec![&*service] } else { vec![&*service, &*socket] };
        manager.enable(&enabled).await?;
        manager.reset_failed(&service).await?;
        manager.reset_failed(&socket).await?;
        match sockets {
            Sockets::None => {}
            Sockets::Gone => drop(manager.stop(&socket, within).await?),
            Sockets::Kept | Sockets::Changed => {
                let up = property(&manager.properties(&socket).await?, "ActiveState") == "active";
                if sockets == Sockets::Changed || !up {
                    // systemd opens sockets only while their service is down.
                    manager.stop(&service, within).await?;
                    let result = manager.restart(&socket, within).await?;
                    if result != JobResult::Done {
                        return Ok(result);
                    }
                }
            }
        }
        manager.restart(&service, within).await
    }

    async fn not_started(&self, manifest: &Manifest, result: JobResult, properties: &Properties) -> Failure {
        let what = format!("{} {}", manifest.app, manifest.version);
        let lines = self.last_lines(&manifest.app).await;
        let program = manifest.service.exec.first().map_or("", String::as_str);
        let why = match (result, last_end(properties)) {
            (JobResult::TimedOut, _) => format!("it did not start within {}", manifest.service.start_timeout),
            (JobResult::Replaced, _) => "another job of systemd came in between".into(),
            (JobResult::Done | JobResult::Failed, Some(Ended::Exit(status))) => {
                match setup_fault(status, Path::new(program)) {
                    Some(Fault(why)) => why,
                    None => format!("it ended with {}", Ended::Exit(status)),
                }
            }
            (JobResult::Done | JobResult::Failed, Some(ended)) => format!("it ended with {ended}"),
            (JobResult::Done | JobResult::Failed, None) => {
                let socket = &manifest.service.sockets.join(", ");
                let hint = if socket.is_empty() { String::new() } else { format!(" (is {socket} in use?)") };
                format!("systemd could not start its unit{hint}: {}", property(properties, "Result"))
            }
        };
        fault::version(Code::U01, StepName::Start, format!("{what} did not start: {why}"))
            .with_evidence(lines)
    }

    /// None: no unit was written for the app.
    pub async fn status(&self, app: &AppName) -> Result<Option<UnitStatus>, Failure> {
        if !self.layout.units().join(service_name(app)).exists() {
            return Ok(None);
        }
        self.status_over(&self.open(StepName::Check).await?, app).await
    }

    async fn status_over(&self, manager: &Manager, app: &AppName) -> Result<Option<UnitStatus>, Failure> {
        let path = self.layout.units().join(service_name(app));
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
        let properties = manager.properties(&service_name(app)).await.map_err(failed(StepName::Check))?;
        let written = std::fs::metadata(&path).and_then(|meta| meta.modified()).ok();
        let slot = running_slot(&text, written, &properties);
        Ok(slot.map(|slot| UnitStatus {
            slot,
            state: state_of(&properties),
            restarts: number(&properties, "NRestarts") as u32,
        }))
    }

    /// What the app said since it was last told to run, and what systemd said of it.
    pub async fn last_lines(&self, app: &AppName) -> super::evidence::LastLines {
        let written = std::fs::metadata(self.layout.units().join(service_name(app)));
        match written.and_then(|meta| meta.modified()) {
            Ok(since) => journal::last_lines_of(&service_name(app), since).await,
            Err(_) => Default::default(),
        }
    }

    pub fn unit_name(&self, app: &AppName) -> String {
        service_name(app)
    }

    /// Stops the app and takes its units away, so that no boot and no connection starts it again.
    pub async fn stop(&self, app: &AppName, grace: Duration) -> Result<(), Failure> {
        let units = self.layout.units();
        let (service, socket) = (service_name(app), socket_name(app));
        if !units.join(&service).exists() && !units.join(&socket).exists() {
            return Ok(());
        }
        let manager = self.open(StepName::Stop).await?;
        let fail = failed(StepName::Stop);
        let within = 2 * grace + JOB_SLACK;
        // The socket first: it would start the service again.
        manager.stop(&socket, within).await.map_err(&fail)?;
        manager.stop(&service, within).await.map_err(&fail)?;
        manager.disable(&[&service, &socket]).await.map_err(&fail)?;
        for unit in [&socket, &service] {
            remove_durable(&units.join(unit)).map_err(fault::disk(StepName::Stop))?;
        }
        manager.reload().await.map_err(&fail)?;
        for unit in [&socket, &service] {
            manager.reset_failed(unit).await.map_err(&fail)?;
        }
        Ok(())
    }

    async fn open(&self, step: StepName) -> Result<Manager, Failure> {
        self.bus.open().await.map_err(failed(step))
    }
}

/// What a start does about the socket unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sockets {
    /// There are none and were none.
    None,
    Kept,
    Changed,
    Gone,
}

fn failed(step: StepName) -> impl Fn(BusError) -> Failure {
    move |error| {
        let code = match error {
            BusError::Late { .. } | BusError::Refused { .. } => Code::U01,
            BusError::Broken(_) => Code::X01,
        };
        fault::host(code, step, error.to_string())
    }
}

/// A stop may take its grace twice (SIGTERM, SIGKILL) before the start begins.
fn job_deadline(manifest: &Manifest) -> Duration {
    2 * manifest.service.stop.grace.0 + manifest.service.start_timeout.0 + JOB_SLACK
}

/// Which slot the unit's process is of; of a unit that has none, which it would be.
fn running_slot(text: &str, written: Option<SystemTime>, properties: &Properties) -> Option<Slot> {
    let loaded = property(properties, "WorkingDirectory");
    let loaded = Path::new(loaded.trim_start_matches('!')).file_name()?.to_str()?.parse::<Slot>().ok()?;
    let told: Option<Slot> = mark(text, "X-Longshore-Slot").and_then(|slot| slot.parse().ok());
    let previous: Option<Slot> = mark(text, "X-Longshore-Previous").and_then(|slot| slot.parse().ok());
    let started = number(properties, "ExecMainStartTimestamp");
    let written = written?.duration_since(UNIX_EPOCH).ok()?.as_micros() as u64;
    let older = number(properties, "MainPID") != 0 && started < written;
    match previous {
        Some(previous) if told.as_ref() == Some(&loaded) && older => Some(previous),
        _ => Some(loaded),
    }
}

fn state_of(properties: &Properties) -> UnitState {
    let last = || last_end(properties);
    match (property(properties, "ActiveState").as_str(), property(properties, "SubState").as_str()) {
        ("active", _) => UnitState::Up {
            pid: number(properties, "MainPID") as u32,
            since_ms: (number(properties, "ExecMainStartTimestamp") / 1000) as i64,
        },
        (_, "auto-restart") => UnitState::Crashing { last: last().unwrap_or(Ended::Exit(0)) },
        ("failed" | "inactive", _) => last().map_or(UnitState::Stopped, |last| UnitState::Ended { last }),
        _ => UnitState::Changing,
    }
}

/// How the main process ended, if it has.
fn last_end(properties: &Properties) -> Option<Ended> {
    let status = number(properties, "ExecMainStatus") as i32;
    match number(properties, "ExecMainCode") {
        0 => None,
        1 => Some(Ended::Exit(status)),
        _ => Some(Ended::Signal(status)), // killed, dumped
    }
}

/// What systemd could not do before the program itself began; by its exit statuses.
fn setup_fault(status: i32, program: &Path) -> Option<Fault> {
    let program = program.display();
    let why = match status {
        200 => "its folder cannot be entered by its user".to_owned(),
        203 => format!("{program} cannot be executed: it is missing, not executable, or for another machine"),
        216 => "its group does not exist on this host".to_owned(),
        217 => "its user does not exist on this host".to_owned(),
        226 => "systemd could not make its file system view (namespaces)".to_owned(),
        _ => return None,
    };
    Some(Fault(why))
}

#[cfg(test)]
mod tests {
    use zbus::OwnedVariant;

    use super::*;

    fn properties(rows: &[(&str, OwnedVariant)]) -> Properties {
        rows.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    fn word(text: &'static str) -> OwnedVariant {
        zbus::Str::from(text).into()
    }

    /// Between reload and restart the loaded unit is the new slot's, and the process still the old one's.
    #[test]
    fn a_process_older_than_its_unit_is_of_the_previous_slot() {
        let text = "[Unit]\nX-Longshore-Slot=1.1-00000002\nX-Longshore-Previous=1.0-00000001\n";
        let written = UNIX_EPOCH + Duration::from_micros(1_000_000);
        let new = "/var/lib/longshore/apps/shop/releases/1.1-00000002";
        let old = "/var/lib/longshore/apps/shop/releases/1.0-00000001";
        let rows = [
            (new, 999_999_u64, 7_u32, "1.0-00000001"),
            (new, 1_000_001, 7, "1.1-00000002"),
            (new, 999_999, 0, "1.1-00000002"),
            (old, 999_999, 7, "1.0-00000001"),
            (old, 1_000_001, 7, "1.0-00000001"),
        ];
        for (folder, started, pid, slot) in rows {
            let properties = properties(&[
                ("WorkingDirectory", word(folder)),
                ("ExecMainStartTimestamp", started.into()),
                ("MainPID", pid.into()),
            ]);
            let running = running_slot(text, Some(written), &properties).unwrap();
            assert_eq!(running.as_str(), slot, "{folder} {started} {pid}");
        }
    }

    #[test]
    fn states_of_systemd_are_states_of_ours() {
        let state = |active, sub, code: i32, status: i32| {
            state_of(&properties(&[
                ("ActiveState", word(active)),
                ("SubState", word(sub)),
                ("ExecMainCode", code.into()),
                ("ExecMainStatus", status.into()),
            ]))
        };
        assert!(state("active", "running", 0, 0).is_up());
        assert_eq!(state("activating", "auto-restart", 1, 3), UnitState::Crashing { last: Ended::Exit(3) });
        assert_eq!(state("failed", "failed", 2, 9), UnitState::Ended { last: Ended::Signal(9) });
        assert_eq!(state("inactive", "dead", 0, 0), UnitState::Stopped);
        assert_eq!(state("deactivating", "stop-sigterm", 0, 0), UnitState::Changing);
    }
}
