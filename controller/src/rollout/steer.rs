//! What operators do to hosts and to the direction of a rollout.

use std::collections::BTreeSet;

use longshore_common::{ids::HostId, time::Millis};

use super::{
    draft::Draft,
    event::Refused,
    host::{HostProgress, HostState},
    phase::{Baking, Cause, Inside, Paused, Phase, RollingBack, Watching, Why},
};

/// Rounds that an operator's retries leave for the rollout's own asks.
const ROUND_MAX: u16 = u16::MAX - 64;

impl Draft {
    pub fn start_rolling_back(&mut self, cause: Cause) {
        let (since, deadline) = (self.now, self.now + self.rollout.spec().rollback_deadline.as_ms());
        let wave = self.rollout.header.phase.wave().unwrap_or_default();
        self.enter(Phase::RollingBack(RollingBack { cause, wave, since, deadline }));
    }

    /// Failed hosts try again; named ones must have failed or be held.
    pub fn retry(&mut self, hosts: &BTreeSet<HostId>) -> Result<(), Refused> {
        self.check_known("retry", hosts)?;
        let chosen = match hosts.is_empty() {
            true => self.pick(|host| host.state.is_failed()),
            false => hosts.iter().copied().collect(),
        };
        if chosen.is_empty() {
            return self.refuse("retry", "no host has failed");
        }
        for id in &chosen {
            let host = &self.rollout.hosts[id];
            if !host.state.is_failed() && !host.is_refusing() {
                return self
                    .refuse("retry", format!("{} has not failed: it is {}", host.name, host.as_str()));
            }
            if host.is_stopped() {
                let name = &host.name;
                let why =
                    format!("{name} is drained, and goes on by itself after: longshore host undrain {name}");
                return self.refuse("retry", why);
            }
            if host.round > ROUND_MAX {
                return self
                    .refuse("retry", format!("{} was asked too often: start a new rollout", host.name));
            }
        }
        let now = self.now;
        for id in chosen {
            self.change(id, |host| host.begin_anew(now));
        }
        Ok(())
    }

    pub fn exclude(&mut self, hosts: &BTreeSet<HostId>) -> Result<(), Refused> {
        self.check_known("exclude", hosts)?;
        if hosts.is_empty() {
            return self.refuse("exclude", "name the hosts");
        }
        let (now, version) = (self.now, self.rollout.header.target.version.clone());
        for id in hosts {
            self.change(*id, |host| {
                let runs = host.is_good();
                host.drained |= host.group.is_some();
                host.left_drained = false; // it is not to have it, drained or not
                if !host.is_out() {
                    host.finishing = host.is_moving() && host.silent.is_none();
                    host.forgiven = false;
                    // Not touched yet, it keeps its connections; half changed, it gets none.
                    host.drained &= host.touched || !host.has_a_place() || host.group.is_some();
                    let then = if runs { format!("; it ran {version} then") } else { String::new() };
                    let reason = format!("excluded by an operator{then}");
                    host.enter(HostState::Excluded { reason }, now);
                }
            });
        }
        Ok(())
    }

    fn check_known(&self, event: &'static str, hosts: &BTreeSet<HostId>) -> Result<(), Refused> {
        match hosts.iter().find(|id| !self.rollout.hosts.contains_key(id)) {
            Some(id) => self.refuse(event, format!("host {id} is not of this rollout")),
            None => Ok(()),
        }
    }

    /// Goes on where the pause began. Deadlines start anew and a bake goes on with what was left of it. Unless the
    /// operator paused it, how hosts stand now is accepted: resuming is the answer to what it asked.
    pub fn resume(&mut self, paused: Paused) {
        let again = matches!(paused.why, Why::Gate(_));
        self.direct_again();
        match paused.why {
            Why::Operator { .. } | Why::Gate(_) | Why::Withdrawn { .. } => {}
            Why::VersionFailures(_) | Why::EnvironmentFailures(_) | Why::NoProgress => self.forgive(),
        }
        // One that waits for promotion stands for as long as that takes, paused or not.
        if !matches!(paused.inside, Inside::Awaiting(_)) {
            self.stood(paused.since);
        }
        let now = self.now;
        let stood = now - paused.since;
        let spec = self.rollout.spec();
        let (stage, progress, back) = (spec.stage_deadline, spec.progress_deadline, spec.rollback_deadline);
        let mut inside = paused.inside;
        match &mut inside {
            Inside::Staging(staging) => staging.deadline = now + stage.as_ms(),
            Inside::Switching(switching) => switching.deadline = now + progress.as_ms(),
            Inside::Baking(Baking { since, until, .. }) | Inside::Watching(Watching { since, until, .. }) => {
                *since += stood;
                *until += stood;
            }
            Inside::Gating(_) | Inside::Awaiting(_) => {}
            Inside::RollingBack(rolling) => rolling.deadline = now + back.as_ms(),
        }
        if let Some(watch) = &mut self.rollout.header.watch {
            watch.since += stood;
            watch.until += stood;
        }
        self.enter(inside.into());
        self.renew_gates(again);
    }

    fn forgive(&mut self) {
        let hosts = self.pick(|host| {
            let stands = host.silent.is_some() || host.held.is_some() || host.sick;
            host.finishing || (!host.is_out() && (stands || host.state.is_failed()))
        });
        for id in hosts {
            self.change(id, |host| host.forgiven = true);
        }
        self.forgive_balancers();
    }
}

impl HostProgress {
    fn begin_anew(&mut self, now: Millis) {
        if self.state.is_failed() {
            self.enter(HostState::Waiting, now);
        }
        self.attempts = 0;
        self.held = None; // should it still be held, it will say so again
        self.forgiven = false;
    }
}
