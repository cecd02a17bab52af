//! One step: something happened, what does the rollout become? One file per phase; each names every event.
//!
//! A phase's `when_…` writes the event down, its `settle_…` draws the conclusions. Settling goes on until nothing
//! more follows, so that after every step the rollout waits for something that `explain` can name.

mod awaiting;
mod baking;
mod done;
mod gating;
mod paused;
mod ready;
mod rolling_back;
mod staging;
mod switching;
mod watching;

use longshore_common::{report::Blame, time::Millis};

use super::{
    desired::assignment_of,
    draft::Draft,
    event::{Event, Refused, Transition},
    model::{Rollout, changed_hosts},
    phase::{Cause, Inside, Phase, Why},
    spec::OnSpent,
};

/// What `rollout` becomes by `event` at `now`. The rollout that was given is as it was: commit the new one, then send
/// the assignments. Refused when the phase does not allow what an operator asks; facts are never refused.
pub fn step(rollout: &Rollout, event: Event, now: Millis) -> Result<Transition, Refused> {
    let mut draft = Draft { rollout: rollout.clone(), now, settled: vec![] };
    match rollout.header.phase.clone() {
        Phase::Ready => ready::when_ready(&mut draft, event)?,
        Phase::Staging(staging) => staging::when_staging(&mut draft, staging, event)?,
        Phase::Switching(switching) => switching::when_switching(&mut draft, switching, event)?,
        Phase::Baking(baking) => baking::when_baking(&mut draft, baking, event)?,
        Phase::Gating(gating) => gating::when_gating(&mut draft, gating, event)?,
        Phase::Watching(watching) => watching::when_watching(&mut draft, watching, event)?,
        Phase::Awaiting(awaiting) => awaiting::when_awaiting(&mut draft, awaiting, event)?,
        Phase::RollingBack(back) => rolling_back::when_rolling_back(&mut draft, back, event)?,
        Phase::Paused(paused) => paused::when_paused(&mut draft, paused, event)?,
        Phase::Done(_) => done::when_done(&mut draft, event)?,
    }
    if !rollout.header.phase.is_done() {
        draft.route();
        loop {
            draft.settle();
            if !draft.route() {
                break; // what balancers are told is as the hosts' records ask for
            }
        }
    } else {
        draft.route();
    }
    let (next, settled) = (draft.rollout, draft.settled);
    let changed = changed_hosts(rollout, &next);
    let round = |rollout: &Rollout| rollout.header.balancing.as_ref().map(|balancing| balancing.round);
    let redirected = round(rollout) != round(&next);
    let directions = next.balancers().filter(|_| redirected).filter_map(|(id, _)| next.directions(id));
    let assign = changed
        .iter()
        .filter(|id| {
            let (before, after) = (rollout.hosts.get(id), &next.hosts[id]);
            before.is_none_or(|before| (before.ask, before.round) != (after.ask, after.round))
        })
        .filter_map(|id| assignment_of(&next, *id, &next.hosts[id]))
        .chain(directions)
        .collect();
    Ok(Transition { next, assign, changed, settled })
}

impl Draft {
    /// Until nothing more follows. Ends: a phase that is entered again is entered with nothing left to do in it.
    fn settle(&mut self) {
        loop {
            let (before, share) = (self.rollout.header.phase.clone(), self.rollout.header.traffic_step);
            match before.clone() {
                Phase::Staging(staging) => staging::settle_staging(self, staging),
                Phase::Switching(switching) => switching::settle_switching(self, switching),
                Phase::Baking(baking) => baking::settle_baking(self, baking),
                Phase::Gating(gating) => gating::settle_gating(self, gating),
                Phase::Watching(watching) => watching::settle_watching(self, watching),
                Phase::Awaiting(awaiting) => awaiting::settle_awaiting(self, awaiting),
                Phase::RollingBack(back) => rolling_back::settle_rolling_back(self, back),
                Phase::Ready | Phase::Paused(_) | Phase::Done(_) => return,
            }
            // A further share of traffic begins the same phase anew, within the same moment even.
            if self.rollout.header.phase == before && self.rollout.header.traffic_step == share {
                return;
            }
        }
    }

    /// Is the budget spent? Then the rollout is rolling back or paused.
    fn judge(&mut self, wave: u32, inside: Inside) -> bool {
        let Some((blame, spent)) = self.rollout.spent(wave) else { return false };
        let spec = self.rollout.spec();
        let undo = spec.auto_rollback && spec.on_spent == OnSpent::Rollback;
        match blame {
            Blame::Version if undo => self.start_rolling_back(Cause::VersionFailures(spent)),
            Blame::Version => self.pause(inside, Why::VersionFailures(spent)),
            Blame::Environment => self.pause(inside, Why::EnvironmentFailures(spent)),
        }
        true
    }

    fn next_wave(&mut self, wave: u32) {
        self.leave_gates();
        if self.shift_more(wave) {
            return;
        }
        let changed = self.rollout.has_changed() || self.rollout.header.has_moved();
        let watched = self.rollout.watch().as_ms() > 0 && changed;
        if !self.rollout.is_last(wave) {
            self.enter_staging(wave + 1);
        } else if watched && !self.is_full() {
            self.enter_watching(wave);
        } else {
            self.finish_forward();
        }
    }
}
