//! What is learned about hosts. Nothing is decided here: facts are written into the host's record.

use longshore_common::{
    code::Code,
    ids::{Generation, HostId},
    report::{Failure, Outcome, StepName},
    time::Millis,
};

use super::{
    draft::Draft,
    host::{Ask, HostProgress, HostState, LastFailure, LocalHold},
    phase::{Inside, Paused, Phase},
};

/// Evidence kept with a failed host: a record has 16 KiB, and JSON may double what lines hold.
const EVIDENCE_BYTES: usize = 4 * 1024;
const MESSAGE_BYTES: usize = 1024;

impl Draft {
    /// A verdict on the host's present ask; on any other it says nothing, and of a host that is out only that it is at
    /// rest.
    pub fn report(&mut self, id: HostId, generation: Generation, outcome: Outcome) {
        if self.rollout.is_balancer(&id) {
            return self.directed(id, generation, outcome);
        }
        let present = self.rollout.generation(id) == Some(generation);
        if !present {
            return;
        }
        if self.rollout.hosts[&id].is_out() {
            // Whole again by its own word, it may have connections; of a group, an operator took it out for good.
            let serves = matches!(outcome, Outcome::Healthy | Outcome::Unchanged | Outcome::Reverted { .. });
            return self.change(id, |host| {
                host.finishing = false;
                host.drained &= !serves || host.group.is_some();
            });
        }
        let (now, tries) = (self.now, self.tries());
        let (mut healthy, mut back) = (false, false);
        self.change(id, |host| {
            let before = host.state.clone();
            host.heard();
            match host.ask {
                Some(Ask::Stage) => host.after_stage(outcome, tries, now),
                Some(Ask::Run) => host.after_run(outcome, tries, now),
                Some(Ask::Return) => host.after_return(outcome, now),
                None => {}
            }
            healthy = host.state == HostState::Healthy && before != HostState::Healthy;
            back = host.state == HostState::RolledBack && before != HostState::RolledBack;
        });
        match &mut self.rollout.header.phase {
            Phase::Switching(switching) if healthy => {
                switching.deadline = now + self.rollout.header.spec.progress_deadline.as_ms();
            }
            Phase::RollingBack(rolling) if back => {
                rolling.deadline = now + self.rollout.header.spec.rollback_deadline.as_ms();
            }
            Phase::Ready
            | Phase::Staging(_)
            | Phase::Switching(_)
            | Phase::Baking(_)
            | Phase::Gating(_)
            | Phase::Awaiting(_)
            | Phase::Watching(_)
            | Phase::RollingBack(_)
            | Phase::Paused(_)
            | Phase::Done(_) => {}
        }
    }

    /// How often a host may try: not again once the way is back.
    fn tries(&self) -> u8 {
        match &self.rollout.header.phase {
            Phase::Paused(Paused { inside: Inside::RollingBack(_), .. })
            | Phase::RollingBack(_)
            | Phase::Done(_) => 0,
            Phase::Ready
            | Phase::Staging(_)
            | Phase::Switching(_)
            | Phase::Baking(_)
            | Phase::Gating(_)
            | Phase::Awaiting(_)
            | Phase::Watching(_)
            | Phase::Paused(_) => self.rollout.spec().attempts,
        }
    }

    pub fn silent(&mut self, id: HostId) {
        let now = self.now;
        if let Some(balancer) = self.balancer(id) {
            balancer.silent.get_or_insert(now);
        }
        self.change(id, |host| {
            host.silent.get_or_insert(now);
            host.finishing = false; // nobody waits for what is out and silent
        });
    }

    pub fn back(&mut self, id: HostId) {
        if let Some(balancer) = self.balancer(id)
            && balancer.silent.take().is_some()
        {
            balancer.forgiven = false;
        }
        self.change(id, HostProgress::heard);
    }

    pub fn hold_changed(&mut self, id: HostId, hold: Option<String>) {
        let now = self.now;
        if let Some(balancer) = self.balancer(id) {
            let free = hold.is_none();
            let since = balancer.held.as_ref().map_or(now, |held| held.since);
            balancer.held = hold.clone().map(|reason| LocalHold { reason, since });
            if free {
                self.direct_again();
            }
        }
        let was_stopped = self.is_stopped(id);
        self.change(id, |host| match (hold, &mut host.held) {
            (Some(reason), Some(held)) => held.reason = reason,
            (Some(reason), held @ None) => *held = Some(LocalHold { reason, since: now }),
            (None, held) => {
                if held.take().is_some() && !host.state.is_failed() {
                    host.forgiven = false;
                }
            }
        });
        if was_stopped && !self.is_stopped(id) {
            self.give_time(); // it goes on with what it was at, and has all of the time for that
        }
    }

    fn is_stopped(&self, id: HostId) -> bool {
        self.rollout.hosts.get(&id).is_some_and(|host| host.is_stopped())
    }

    pub fn removed(&mut self, id: HostId) {
        let now = self.now;
        if let Some(balancing) = &mut self.rollout.header.balancing {
            balancing.balancers.remove(&id);
        }
        self.change(id, |host| {
            host.ask = None;
            host.finishing = false;
            host.enter(HostState::Left, now);
        });
    }
}

impl HostProgress {
    /// It speaks. That it failed stays forgiven; that it was unknown is over.
    fn heard(&mut self) {
        if self.silent.take().is_some() && !self.state.is_failed() {
            self.forgiven = false;
        }
    }

    fn after_stage(&mut self, outcome: Outcome, tries: u8, now: Millis) {
        match outcome {
            Outcome::Staged => {
                if matches!(self.state, HostState::Staging | HostState::Waiting) {
                    self.declined = false;
                    self.enter(HostState::Staged, now);
                }
            }
            Outcome::Healthy | Outcome::Unchanged => {
                self.put(Ask::Run); // true already: nothing moves there
                self.sick = false;
                self.failure = None;
                self.enter(HostState::Unchanged, now);
            }
            Outcome::Failed { failure } | Outcome::Reverted { failure, .. } => {
                self.failed(failure, HostState::Failed, tries, now);
            }
            Outcome::Inconsistent { failure } => self.inconsistent(failure, now),
            Outcome::Refused { failure } if is_hold(&failure) => {
                self.decline(failure, now);
                self.attempts = self.attempts.saturating_sub(1);
                self.enter(HostState::Waiting, now);
            }
            Outcome::Refused { failure } => self.fails(failure, HostState::Failed, now),
            Outcome::Removed => {} // answers another question
        }
    }

    fn after_run(&mut self, outcome: Outcome, tries: u8, now: Millis) {
        match outcome {
            Outcome::Healthy | Outcome::Unchanged => {
                self.sick = false;
                self.forgiven = false; // what it was forgiven for is over
                self.failure = None;
                if self.state != HostState::Unchanged {
                    self.enter(HostState::Healthy, now);
                }
            }
            Outcome::Failed { failure } => {
                let served = matches!(self.state, HostState::Healthy | HostState::Unchanged);
                self.sick |= served || (self.previous.is_none() && failure.step >= StepName::Switch);
                self.failed(failure, HostState::Failed, tries, now);
            }
            Outcome::Reverted { failure, to_version, .. } => {
                self.sick = false;
                self.touched = false;
                self.failed(failure, HostState::Reverted { to: to_version }, tries, now);
            }
            Outcome::Inconsistent { failure } => self.inconsistent(failure, now),
            Outcome::Refused { failure } if is_hold(&failure) => {
                self.touched &= self.attempts > 1;
                self.put(Ask::Stage); // so that it does not switch, out of turn, when it is let go
                self.decline(failure, now);
                self.enter(HostState::Staged, now);
            }
            Outcome::Refused { failure } => self.fails(failure, HostState::Failed, now),
            Outcome::Staged | Outcome::Removed => {} // answer other questions
        }
    }

    fn after_return(&mut self, outcome: Outcome, now: Millis) {
        match outcome {
            Outcome::Healthy | Outcome::Unchanged | Outcome::Removed => {
                self.sick = false;
                self.declined = false;
                self.touched = false;
                self.enter(HostState::RolledBack, now);
            }
            // Its slot is gone as well: nothing was fetched, and what runs was not touched.
            Outcome::Failed { failure } if failure.step < StepName::Switch && self.may_stay(&failure) => {
                self.fails(failure, HostState::Healthy, now);
            }
            Outcome::Failed { failure }
            | Outcome::Reverted { failure, .. }
            | Outcome::Inconsistent { failure } => self.inconsistent(failure, now),
            Outcome::Refused { failure } if is_hold(&failure) => self.decline(failure, now),
            Outcome::Refused { failure } if self.may_stay(&failure) => {
                self.fails(failure, HostState::Healthy, now);
            }
            Outcome::Refused { failure } => self.inconsistent(failure, now),
            Outcome::Staged => {} // answers another question
        }
    }

    /// What it ran before may not run there any more, and what it runs was good: nothing was changed, and nothing need be.
    fn may_stay(&self, refusal: &Failure) -> bool {
        self.served
            && self.state == HostState::RollingBack
            && self.previous.is_some()
            && is_forbidden(refusal)
    }

    /// It begins anew while it has tries left.
    fn failed(&mut self, failure: Failure, state: HostState, tries: u8, now: Millis) {
        let again = self.attempts < tries;
        self.fails(failure, if again { HostState::Waiting } else { state }, now);
    }

    pub(super) fn fails(&mut self, failure: Failure, state: HostState, now: Millis) {
        let earlier = self.failure.take().filter(|_| self.ask == Some(Ask::Return));
        self.failure = Some(match earlier {
            Some(earlier) => earlier.followed_by(failure),
            None => LastFailure { failure: short(failure), at: now },
        });
        self.forgiven = false;
        self.enter(state, now);
    }

    fn inconsistent(&mut self, failure: Failure, now: Millis) {
        self.sick = true;
        self.fails(failure, HostState::Inconsistent, now);
    }

    fn decline(&mut self, failure: Failure, now: Millis) {
        self.declined = true;
        self.held.get_or_insert(LocalHold { reason: failure.message, since: now });
    }
}

impl LastFailure {
    /// Why it had to go back stays the first thing that is said.
    fn followed_by(self, on_the_way_back: Failure) -> Self {
        let Self { mut failure, at } = self;
        failure.message = format!("{}; on the way back: {}", failure.message, on_the_way_back.message);
        failure.evidence.extend(on_the_way_back.evidence);
        Self { failure: short(failure), at }
    }
}

fn is_hold(refusal: &Failure) -> bool {
    refusal.code == Code::P01.to_string()
}

/// What the host was asked to run may not run there: who signs, or its admin, does not allow it (any more).
fn is_forbidden(refusal: &Failure) -> bool {
    let codes = [Code::T01, Code::T02, Code::T03, Code::T04, Code::T05, Code::P02];
    codes.iter().any(|code| refusal.code == code.to_string())
}

/// The failure with as much of its evidence, the newest first, as a record may hold.
fn short(mut failure: Failure) -> Failure {
    let mut room = EVIDENCE_BYTES;
    let kept = failure.evidence.iter().rev().take_while(|line| {
        let fits = line.len() <= room;
        room = room.saturating_sub(line.len());
        fits
    });
    let excess = failure.evidence.len() - kept.count();
    failure.evidence.drain(..excess);
    if failure.message.len() > MESSAGE_BYTES {
        let end = failure.message.floor_char_boundary(MESSAGE_BYTES);
        failure.message.truncate(end);
    }
    failure
}
