//! What gates ask of the host: what an app uses, and running a test of its release.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use longshore_common::{
    code::Code,
    digest::ReleaseDigest,
    ids::AppName,
    manifest::Manifest,
    report::{Failure, StepName},
    settings::Settings,
    slot::Slot,
    text::visible,
    time::Millis,
};

use super::RealHost;
use crate::{
    config::Runner,
    host::{
        Event, Follow, Host, Sink, fault, suite,
        unit::{UnitState, UnitStatus},
        usage::{self, Usage},
    },
    plan::{Needs, Stale, Wanted},
};

impl RealHost {
    pub(super) async fn usage_of(&self, app: &AppName, since: Millis) -> Result<Usage, Failure> {
        let status = self.status(app).await?;
        let Some(UnitStatus { state, restarts, .. }) = status else {
            return Err(fault::host(Code::N01, StepName::Check, format!("{app} does not run here")));
        };
        let main_pid = match state {
            UnitState::Up { pid, .. } => pid,
            UnitState::Changing
            | UnitState::Crashing { .. }
            | UnitState::Ended { .. }
            | UnitState::Stopped => 0,
        };
        let (cpu_ms, memory_bytes) = match main_pid {
            0 => (0, 0),
            main => self.disk(move |_| Ok(usage::of_tree(main))).await?,
        };
        let errors = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&errors);
        let sink = Sink::new(move |event| {
            if let Event::Line { line, time_ms, .. } = event
                && time_ms.is_some_and(|at| at >= since)
                && usage::is_error(&line)
            {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        let read = self.logs(app, usage::LINES, Follow::No, &sink).await;
        let log_unread = read.err().map(|failure| failure.message);
        let (running, error_lines) = (main_pid != 0, errors.load(Ordering::Relaxed));
        Ok(Usage { running, restarts, cpu_ms, memory_bytes, error_lines, log_unread, main_pid })
    }

    async fn status(&self, app: &AppName) -> Result<Option<UnitStatus>, Failure> {
        let part = self.live_part(app).await?;
        if self.runner == Runner::Systemd
            && let Some(status) = self.units.on(part).status(app).await?
        {
            return Ok(Some(status));
        }
        self.processes.on(part).status(app).await
    }

    pub(super) async fn run_test(
        &self,
        app: &AppName,
        release: &ReleaseDigest,
        test: &str,
        limit: Duration,
        sink: &Sink,
    ) -> Result<Option<suite::Outcome>, Failure> {
        let Some(slot) = self.slot_of(app, release).await? else { return Ok(None) };
        let (manifest, live) = self.slot_and_live(app, &slot).await?;
        if live.as_ref() != Some(&slot) {
            let (version, settings) = (manifest.version.clone(), Settings::default());
            let wanted = Wanted { slot: slot.clone(), version, release: *release, settings };
            self.admit_untried(app, &wanted, Stale::Refused).await?;
        }
        let Some(test) = manifest.tests.iter().find(|known| known.name == test) else {
            let trouble =
                format!("{app}@{} has no test \"{}\" in its manifest", manifest.version, visible(test));
            return Ok(Some(suite::Outcome { trouble, ..suite::Outcome::default() }));
        };
        let spec = match self.launch_spec(&test.run, &slot, &manifest, None) {
            Ok(spec) => spec,
            Err(fault) => {
                return Ok(Some(suite::Outcome { trouble: fault.to_string(), ..suite::Outcome::default() }));
            }
        };
        let reports = self.layout.reports(app, &test.name);
        Ok(Some(suite::run(&self.keeper(), app, test, spec, &reports, limit, sink).await))
    }

    async fn slot_and_live(&self, app: &AppName, slot: &Slot) -> Result<(Manifest, Option<Slot>), Failure> {
        let (app, slot) = (app.clone(), slot.clone());
        self.disk(move |layout| Ok((layout.read_slot(&app, &slot)?.0, layout.live(&app)?))).await
    }

    async fn slot_of(&self, app: &AppName, release: &ReleaseDigest) -> Result<Option<Slot>, Failure> {
        let (app, release) = (app.clone(), *release);
        self.disk(move |layout| {
            for slot in layout.sealed(&app)? {
                let read = layout.read_slot(&app, &slot);
                if read.is_ok_and(|(manifest, _)| Needs::of(&manifest).release == Some(release)) {
                    return Ok(Some(slot));
                }
            }
            Ok(None)
        })
        .await
    }
}
