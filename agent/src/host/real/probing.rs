//! Probing what runs, with an eye on whether it lives.

use std::sync::OnceLock;

use longshore_common::{
    code::Code,
    ids::AppName,
    manifest::{Driver, Manifest},
    report::{Failure, StepName},
    slot::Slot,
};

use super::RealHost;
use crate::host::{
    Sink,
    environment::variables,
    evidence::{LINES_READ, LastLines},
    fault,
    layout::Part,
    probe::{self, Pulse, Scene, Vitals},
    tree::Ended,
    unit::{UnitState, UnitStatus},
};

/// A release that crashes once may have met a passing trouble; at this crash it has failed.
const CRASHES: u32 = 3;

impl RealHost {
    pub(super) async fn settle(&self, app: &AppName, slot: &Slot, sink: &Sink) -> Result<(), Failure> {
        let part = self.part_of(app, slot).await?;
        let manifest = self.manifest_on(app, slot, part).await?;
        let vitals = self.vitals(&manifest, part);
        let scene = self.scene(slot, &manifest);
        let result = probe::settle(&manifest.probes, &scene, &vitals, sink).await;
        self.with_evidence(&manifest, part, result).await
    }

    pub(super) async fn glance_at(&self, app: &AppName, slot: &Slot) -> Result<String, Failure> {
        let part = self.part_of(app, slot).await?;
        let manifest = self.manifest_on(app, slot, part).await?;
        let vitals = self.vitals(&manifest, part);
        let result = probe::glance(&manifest.probes, &self.scene(slot, &manifest), &vitals).await;
        self.with_evidence(&manifest, part, result).await
    }

    /// The release as it is meant where it runs.
    pub(super) async fn manifest_on(
        &self,
        app: &AppName,
        slot: &Slot,
        part: Part,
    ) -> Result<Manifest, Failure> {
        let manifest = self.manifest(app, slot).await?;
        Ok(match part {
            Part::Side(side) => self.on_side(&manifest, side),
            Part::Whole | Part::Relay => manifest,
        })
    }

    /// What the app said last explains most failures.
    async fn with_evidence<T>(
        &self,
        manifest: &Manifest,
        part: Part,
        result: Result<T, Failure>,
    ) -> Result<T, Failure> {
        match result {
            Err(failure) if failure.evidence.is_empty() => {
                let lines = self.last_lines(manifest, part).await;
                Err(failure.with_evidence(lines))
            }
            result => result,
        }
    }

    async fn last_lines(&self, manifest: &Manifest, part: Part) -> LastLines {
        match self.driver_of(manifest) {
            Driver::Systemd => self.units.on(part).last_lines(&manifest.app).await,
            Driver::Process => {
                let read = self.processes.on(part).tail_of_present(&manifest.app, LINES_READ);
                let entries = match read {
                    Ok(entries) => entries,
                    Err(why) => return LastLines::unread(&why),
                };
                let mut lines = LastLines::default();
                entries.iter().for_each(|entry| lines.push(&entry.text));
                lines
            }
            Driver::None => LastLines::default(),
        }
    }

    fn scene(&self, slot: &Slot, manifest: &Manifest) -> Scene {
        Scene {
            app: manifest.app.clone(),
            keeper: self.keeper(),
            supply: self.supply.clone(),
            slot: self.layout.slot(&manifest.app, slot),
            user: manifest.service.user.clone(),
            env: variables(&self.layout, manifest, slot, None),
            own_loopback: self.loopback,
        }
    }

    fn vitals<'a>(&'a self, manifest: &'a Manifest, part: Part) -> UnitVitals<'a> {
        UnitVitals { host: self, manifest, part, restarts: OnceLock::new() }
    }

    async fn unit_status(&self, manifest: &Manifest, part: Part) -> Result<Option<UnitStatus>, Failure> {
        match self.driver_of(manifest) {
            Driver::Systemd => self.units.on(part).status(&manifest.app).await,
            Driver::Process => self.processes.on(part).status(&manifest.app).await,
            Driver::None => Ok(None),
        }
    }
}

/// The life of the app's unit or supervised process.
struct UnitVitals<'a> {
    host: &'a RealHost,
    manifest: &'a Manifest,
    part: Part,
    /// At the first look.
    restarts: OnceLock<u32>,
}

impl Vitals for UnitVitals<'_> {
    async fn pulse(&self) -> Pulse {
        if self.host.driver_of(self.manifest) == Driver::None {
            return Pulse::Alive(String::new());
        }
        match self.host.unit_status(self.manifest, self.part).await {
            Ok(Some(status)) => self.judge(status),
            Ok(None) => self.lost("is not there any more"),
            // Whoever cannot be asked may answer at the next look; the probes' deadlines go on.
            Err(_) => Pulse::Absent,
        }
    }
}

impl UnitVitals<'_> {
    fn judge(&self, status: UnitStatus) -> Pulse {
        let again = status.restarts.saturating_sub(*self.restarts.get_or_init(|| status.restarts));
        match status.state {
            UnitState::Up { .. } | UnitState::Crashing { .. } if again >= CRASHES => {
                self.lost(&format!("crashed {again} times"))
            }
            UnitState::Crashing { last } if again + 1 >= CRASHES => {
                self.lost(&format!("crashed {CRASHES} times, at last with {last}"))
            }
            UnitState::Up { pid, since_ms } => Pulse::Alive(format!("{pid} {since_ms}")),
            UnitState::Crashing { .. } | UnitState::Changing => Pulse::Absent,
            UnitState::Ended { last } => self.lost(&gone(Some(last))),
            UnitState::Stopped => self.lost(&gone(None)),
        }
    }

    fn lost(&self, what: &str) -> Pulse {
        let words = format!("{} {} {what} while it was probed", self.manifest.app, self.manifest.version);
        Pulse::Lost(Box::new(fault::version(Code::U01, StepName::Probe, words)))
    }
}

/// systemd forgets how a unit ended that did so without an error: then nobody knows who ended it.
fn gone(last: Option<Ended>) -> String {
    match last {
        Some(last) => format!("ended with {last}"),
        None => "ended without an error, by itself or because it was stopped,".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that ends by itself is not said to have been stopped by somebody.
    #[test]
    fn what_ended_by_itself_was_not_surely_stopped() {
        assert_eq!(gone(Some(Ended::Exit(3))), format!("ended with {}", Ended::Exit(3)));
        assert!(gone(None).starts_with("ended without an error, by itself or"), "{}", gone(None));
    }
}
