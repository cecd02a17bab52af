//! A rollout in the middle of a step, and the moment of the step. `step/` changes it and hands the result out.

use longshore_common::{ids::HostId, time::Millis};

use super::{
    event::Refused,
    gate::Settled,
    host::{HostProgress, HostState},
    model::Rollout,
    phase::{Awaiting, Baking, Inside, Paused, Phase, Staging, Switching, Why},
};

pub(super) struct Draft {
    pub rollout: Rollout,
    pub now: Millis,
    /// Gates that came to their end in this step.
    pub settled: Vec<Settled>,
}

impl Draft {
    pub fn refuse<T>(&self, event: &'static str, why: impl Into<String>) -> Result<T, Refused> {
        Err(Refused { phase: self.rollout.header.phase.as_str(), event, why: why.into() })
    }

    pub fn enter(&mut self, phase: Phase) {
        self.rollout.header.phase = phase;
    }

    /// Nothing moved since then, until somebody let it go on.
    pub fn stood(&mut self, since: Millis) {
        let stood = (self.now - since).max(0);
        let header = &mut self.rollout.header;
        header.stood_ms = header.stood_ms.saturating_add(stood);
    }

    pub fn enter_staging(&mut self, wave: u32) {
        let (since, deadline) = (self.now, self.now + self.rollout.spec().stage_deadline.as_ms());
        self.enter(Phase::Staging(Staging { wave, since, deadline }));
    }

    pub fn enter_switching(&mut self, wave: u32) {
        let (since, deadline) = (self.now, self.now + self.rollout.spec().progress_deadline.as_ms());
        self.rollout.header.finishing = false; // what begins now was not under way
        self.enter(Phase::Switching(Switching { wave, since, deadline }));
    }

    pub fn enter_baking(&mut self, wave: u32) {
        let (bake, share) = (self.rollout.bake_of(wave), self.rollout.share_watched(wave));
        let (since, until) = (self.now, self.now + bake.as_ms());
        self.begin_bake_gates(wave);
        self.enter(Phase::Baking(Baking { wave, share, since, until }));
    }

    pub fn enter_awaiting(&mut self, wave: u32) {
        let share = self.rollout.share_watched(wave);
        self.enter(Phase::Awaiting(Awaiting { wave, share, since: self.now }));
    }

    pub fn pause(&mut self, inside: Inside, why: Why) {
        self.enter(Phase::Paused(Paused { inside, why, since: self.now }));
    }

    /// The release was withdrawn: nothing more of it is begun, and a human decides.
    pub fn withdrawn(&mut self, by: String) {
        let why = Why::Withdrawn { by };
        let phase = &self.rollout.header.phase;
        if !phase.heeds_withdrawal() {
            return;
        }
        match phase.clone() {
            Phase::Paused(paused) => self.enter(Phase::Paused(Paused { why, ..paused })),
            Phase::Staging(staging) => self.pause(Inside::Staging(staging), why),
            Phase::Switching(switching) => self.pause(Inside::Switching(switching), why),
            Phase::Baking(baking) => self.pause(Inside::Baking(baking), why),
            Phase::Gating(gating) => self.pause(Inside::Gating(gating), why),
            Phase::Awaiting(awaiting) => self.pause(Inside::Awaiting(awaiting), why),
            Phase::Watching(watching) => self.pause(Inside::Watching(watching), why),
            Phase::Ready | Phase::RollingBack(_) | Phase::Done(_) => {}
        }
    }

    /// The ids of hosts that fit, by wave and name.
    pub fn pick(&self, fits: impl Fn(&HostProgress) -> bool) -> Vec<HostId> {
        self.rollout.named(fits).into_iter().map(|(id, _)| id).collect()
    }

    pub fn change(&mut self, id: HostId, change: impl FnOnce(&mut HostProgress)) {
        if let Some(host) = self.rollout.host_mut(id) {
            change(host);
        }
    }
}

impl HostProgress {
    pub(super) fn enter(&mut self, state: HostState, now: Millis) {
        if self.state != state {
            self.state = state;
            self.since = now;
        }
    }
}
