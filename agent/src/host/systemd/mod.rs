//! The systemd driver: an app is a unit, written here and started over D-Bus.
//!
//! The unit finds its slot through a link of the app's. It is moved, durably, right before the restart; or where the
//! new release needs another unit, that unit with a new link takes the old one's place. Either is one rename, so what
//! boots is one whole release even if power fails between the switch and the restart. Which slot *runs* is what the
//! link of the loaded unit names, unless the process is older than the link: then it is what ran before, which is kept
//! as well. What is older is told by the boot and its own clock (`moment`), whatever the time of day was said to be.

mod bus;
pub mod journal;
mod moment;
mod places;
mod text;
mod told;
pub mod transient;

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use longshore_common::{
    code::Code,
    durable::{create_dir_durable, remove_dir_durable, remove_durable, symlink_atomic, write_atomic},
    ids::AppName,
    manifest::Manifest,
    report::{Failure, StepName},
    slot::Slot,
};

pub use self::bus::Bus;
use self::{
    bus::{BusError, JobResult, Manager, Properties, number, text as property},
    moment::{MOMENT, Moment},
    text::{service_name, socket_name},
    told::{BEFORE, Told},
};
use super::{
    fault,
    launch::Fault,
    layout::{Layout, Part},
    tree::Ended,
    unit::{UnitState, UnitStatus},
};

/// For a job beyond what the unit itself allows.
const JOB_SLACK: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
pub struct SystemdDriver {
    bus: Bus,
    layout: Layout,
    part: Part,
}

impl SystemdDriver {
    pub fn new(layout: Layout) -> Self {
        Self { bus: Bus::default(), layout, part: Part::Whole }
    }

    /// The same for another of the app's units.
    pub fn on(&self, part: Part) -> Self {
        Self { part, ..self.clone() }
    }

    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Runs this slot instead of what runs. Sockets stay open meanwhile, unless they are other sockets.
    pub async fn start(&self, slot: &Slot, manifest: &Manifest) -> Result<(), Failure> {
        let app = &manifest.app;
        let service = text::service(&self.layout, manifest, self.part)?;
        let socket = text::socket(manifest)?;
        places::check(&manifest.service.sockets)?;
        let manager = self.open(StepName::Start).await?;
        let before = self.running_over(&manager, app).await?;
        let disk = fault::disk(StepName::Start);
        // The link first: when the unit that refers to it is there, it has to be whole.
        self.move_link(app, &service.link, slot, before).map_err(&disk)?;
        let written = self.write(app, &service.text, socket.as_deref()).map_err(&disk)?;
        let result = self.switch(&manager, manifest, written).await.map_err(failed(StepName::Start))?;
        self.drop_old_links(app, &service.link);
        let name = self.service_name(app);
        if result == JobResult::Done && manager.is_active(&name).await.map_err(failed(StepName::Start))? {
            return Ok(());
        }
        let properties = manager.state(&name).await.map_err(failed(StepName::Start))?;
        Err(self.not_started(manifest, result, &properties).await)
    }

    /// Writes the units where they differ.
    fn write(
        &self,
        app: &AppName,
        service: &str,
        socket: Option<&str>,
    ) -> longshore_common::durable::Result<Written> {
        let path = self.layout.units().join(self.service_name(app));
        let same = std::fs::read_to_string(&path).is_ok_and(|old| old == service);
        if !same {
            write_atomic(&path, service.as_bytes(), 0o644)?;
        }
        let path = self.layout.units().join(socket_name(app, self.part));
        let sockets = match (std::fs::read_to_string(&path).ok(), socket) {
            (Some(old), Some(new)) if old == new => Sockets::Kept,
            (_, Some(new)) => {
                write_atomic(&path, new.as_bytes(), 0o644)?;
                Sockets::Changed
            }
            (Some(_), None) => Sockets::Gone,
            (None, None) => Sockets::None,
        };
        Ok(Written { sockets, same: same && matches!(sockets, Sockets::None | Sockets::Kept) })
    }

    /// Always anew: by its time a process is known to be older than this start or not.
    fn move_link(
        &self,
        app: &AppName,
        link: &Path,
        slot: &Slot,
        running: Option<Slot>,
    ) -> longshore_common::durable::Result<()> {
        let target = |slot: &Slot| Path::new("../releases").join(slot.as_str());
        let folder = self.layout.unit_links(app, self.part);
        create_dir_durable(&folder, 0o755)?;
        if let Some(running) = running {
            symlink_atomic(&target(&running), &folder.join(BEFORE))?;
        }
        // Before the link: until that is moved, what runs is what ran before, whichever way it is asked.
        Moment::now().write(&folder)?;
        symlink_atomic(&target(slot), link)
    }

    /// Links of units that are not there any more. One that stays by accident goes with the next start.
    fn drop_old_links(&self, app: &AppName, current: &Path) {
        let Ok(links) = std::fs::read_dir(self.layout.unit_links(app, self.part)) else { return };
        for path in links.filter_map(|entry| Some(entry.ok()?.path())) {
            if path != current && path.file_name().is_some_and(|name| name != BEFORE && name != MOMENT) {
                let _ = remove_durable(&path);
            }
        }
    }

    async fn switch(
        &self,
        manager: &Manager,
        manifest: &Manifest,
        Written { sockets, same }: Written,
    ) -> Result<JobResult, BusError> {
        let (service, socket) = (self.service_name(&manifest.app), socket_name(&manifest.app, self.part));
        let within = job_deadline(manifest);
        if sockets == Sockets::Gone {
            manager.disable(&[&socket]).await?;
            // A file that stays by accident is found by the next start and goes then.
            let _ = remove_durable(&self.layout.units().join(&socket));
        }
        if !same || !is_settled(&manager.loaded(&service).await?) {
            manager.reload().await?;
            let both = [&*service, &*socket];
            manager.enable(if manifest.service.sockets.is_empty() { &both[..1] } else { &both }).await?;
        }
        manager.reset_failed(&service).await?;
        match sockets {
            Sockets::None => {}
            Sockets::Gone => {
                manager.stop(&socket, within).await?;
                manager.reset_failed(&socket).await?;
            }
            Sockets::Kept | Sockets::Changed => {
                if sockets == Sockets::Changed || !manager.is_active(&socket).await? {
                    manager.reset_failed(&socket).await?;
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
                no_process(&manifest.service.sockets, &property(properties, "Result"))
            }
        };
        fault::version(Code::U01, StepName::Start, format!("{what} did not start: {why}"))
            .with_evidence(lines)
    }

    /// None: no unit was written for the app.
    pub async fn status(&self, app: &AppName) -> Result<Option<UnitStatus>, Failure> {
        if !self.layout.units().join(self.service_name(app)).exists() {
            return Ok(None);
        }
        self.status_over(&self.open(StepName::Check).await?, app).await
    }

    /// The slot that a boot would start. None: no unit was written for the app.
    pub fn wanted(&self, app: &AppName) -> Option<Slot> {
        Told::read(&self.layout, app, self.part).map(|told| told.slot)
    }

    /// Of which slot the unit is. None: no unit was written for the app.
    async fn running_over(&self, manager: &Manager, app: &AppName) -> Result<Option<Slot>, Failure> {
        let Some(told) = Told::read(&self.layout, app, self.part) else { return Ok(None) };
        let properties = manager.origin(&self.service_name(app)).await.map_err(failed(StepName::Start))?;
        Ok(Some(told.running(&properties)))
    }

    async fn status_over(&self, manager: &Manager, app: &AppName) -> Result<Option<UnitStatus>, Failure> {
        let Some(told) = Told::read(&self.layout, app, self.part) else { return Ok(None) };
        let properties = manager.state(&self.service_name(app)).await.map_err(failed(StepName::Check))?;
        Ok(Some(UnitStatus {
            slot: told.running(&properties),
            state: state_of(&properties),
            restarts: number(&properties, "NRestarts") as u32,
        }))
    }

    /// What the app said since it was last told to run, and what systemd said of it.
    pub async fn last_lines(&self, app: &AppName) -> super::evidence::LastLines {
        let Some(told) = Told::read(&self.layout, app, self.part) else { return Default::default() };
        // A bus that does not answer takes no line away.
        let begun = self.begun_over(&told, app).await.unwrap_or(told.at);
        journal::last_lines_of(&self.service_name(app), told.at, begun).await
    }

    /// When the app's last start began. None: no unit was written for the app.
    pub async fn begun(&self, app: &AppName) -> Result<Option<SystemTime>, Failure> {
        let Some(told) = Told::read(&self.layout, app, self.part) else { return Ok(None) };
        self.begun_over(&told, app).await.map(Some).map_err(failed(StepName::Check))
    }

    /// Where systemd knows of no start: when it was told to run.
    async fn begun_over(&self, told: &Told, app: &AppName) -> Result<SystemTime, BusError> {
        let begun_us = self.bus.open().await?.begun_us(&self.service_name(app)).await?;
        Ok(if begun_us == 0 { told.at } else { UNIX_EPOCH + Duration::from_micros(begun_us) })
    }

    pub fn unit_name(&self, app: &AppName) -> String {
        self.service_name(app)
    }

    fn service_name(&self, app: &AppName) -> String {
        service_name(app, self.part)
    }

    /// Stops the app and takes its units away, so that no boot and no connection starts it again.
    pub async fn stop(&self, app: &AppName, grace: Duration) -> Result<(), Failure> {
        let units = self.layout.units();
        let (service, socket) = (self.service_name(app), socket_name(app, self.part));
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
        remove_dir_durable(&self.layout.unit_links(app, self.part)).map_err(fault::disk(StepName::Stop))?;
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

/// What `write` did.
#[derive(Clone, Copy, Debug)]
struct Written {
    sockets: Sockets,
    /// The units were as they are already.
    same: bool,
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

/// systemd knows the unit as it is on the disk, and starts it at boot.
fn is_settled(properties: &Properties) -> bool {
    let stale = properties.get("NeedDaemonReload").is_none_or(|stale| bool::try_from(stale) != Ok(false));
    !stale
        && property(properties, "LoadState") == "loaded"
        && property(properties, "UnitFileState") == "enabled"
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

/// No process was made. Where it was the sockets that could not be opened, nothing is wrong with the service
/// itself, and systemd calls its result a success.
fn no_process(sockets: &[String], result: &str) -> String {
    let hint =
        if sockets.is_empty() { String::new() } else { format!(" (is {} in use?)", sockets.join(", ")) };
    let result = if ["", "success"].contains(&result) { String::new() } else { format!(": {result}") };
    format!("systemd could not start its unit{hint}{result}")
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

    #[test]
    fn a_service_that_systemd_never_began_has_no_result_to_tell_of() {
        let socket = ["0.0.0.0:6060".to_owned()];
        let said = no_process(&socket, "success");
        assert_eq!(said, "systemd could not start its unit (is 0.0.0.0:6060 in use?)");
        assert_eq!(no_process(&[], "resources"), "systemd could not start its unit: resources");
        assert_eq!(no_process(&[], ""), "systemd could not start its unit");
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
