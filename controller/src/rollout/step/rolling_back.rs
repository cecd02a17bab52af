//! Every host that was touched goes back, by the same slots as it came. It never turns round again: whatever fails
//! now is left for a human.

use longshore_common::{
    code::Code,
    report::{Blame, Failure, StepName},
};

use crate::rollout::{
    draft::Draft,
    event::{Event, Refused},
    host::{Ask, HostProgress, HostState},
    phase::{Inside, Phase, RollingBack, Why},
};

pub(super) fn when_rolling_back(draft: &mut Draft, back: RollingBack, event: Event) -> Result<(), Refused> {
    match event {
        Event::Report { host, generation, outcome } => draft.report(host, generation, outcome),
        Event::Silent(host) => draft.silent(host),
        Event::Back(host) => draft.back(host),
        Event::HoldChanged { host, hold } => draft.hold_changed(host, hold),
        Event::HostDrained { host, drained } => draft.bench(host, drained),
        Event::HostRemoved(host) => draft.removed(host),
        Event::Withdrawn { by } => draft.withdrawn(by),
        Event::Calendar { closed } => draft.calendar(closed),
        Event::HostJoined { .. } | Event::Tick | Event::Gate { .. } => {}
        Event::Pace(pace) => draft.change_pace(pace)?,
        Event::Exclude(hosts) => draft.exclude(&hosts)?,
        Event::Pause { by } => draft.pause(Inside::RollingBack(back), Why::Operator { by }),
        Event::Abort { by } => {
            let cause = back.cause.or_abort(by);
            draft.enter(Phase::RollingBack(RollingBack { cause, ..back }));
        }
        Event::Supersede(by) => draft.supersede(by),
        Event::Start => return draft.refuse("start", "it has started already"),
        Event::Resume => return draft.refuse("resume", "it is not paused"),
        Event::Promote(_) => return draft.refuse("promote", format!("it goes back: {}", back.cause)),
        Event::Retry(_) => return draft.refuse("retry", "it goes back: start a new rollout when it is done"),
        Event::Rollback { .. } => return draft.refuse("rollback", "it does already"),
    }
    Ok(())
}

pub(super) fn settle_rolling_back(draft: &mut Draft, back: RollingBack) {
    let late = draft.now >= back.deadline;
    if late {
        give_up_returning(draft);
    }
    if draft.rollout.is_shut_for_return() {
        return settle_shut(draft, &back, late);
    }
    draft.take_share_back();
    draft.ask_to_return();
    if !draft.rollout.hosts.values().any(|host| draft.rollout.awaits_back(host)) {
        return draft.finish_back(&back.cause);
    }
    if !late {
        return;
    }
    if draft.rollout.hosts.values().any(|host| host.is_returning()) {
        let deadline = draft.now + draft.rollout.spec().rollback_deadline.as_ms();
        return draft.enter(Phase::RollingBack(RollingBack { deadline, ..back }));
    }
    if draft.rollout.hosts.values().any(|host| host.needs_return() && host.is_reachable()) {
        draft.pause(Inside::RollingBack(back), Why::NoProgress);
    } else {
        draft.finish_back(&back.cause);
    }
}

/// It is closed for going back as well: those that are on their way arrive, the others wait. A host that nobody waits
/// for must not be sent back at such an hour either, so it is not over while one has still to be told.
fn settle_shut(draft: &mut Draft, back: &RollingBack, late: bool) {
    let untold = |host: &HostProgress| host.needs_return() && host.ask != Some(Ask::Return);
    if draft.pick(|host| host.is_awaited_back() || untold(host)).is_empty() {
        draft.finish_back(&back.cause);
    } else if late {
        draft.give_time();
    }
}

fn give_up_returning(draft: &mut Draft) {
    let failure = Failure::new(
        Code::B01,
        StepName::Revert,
        Blame::Environment,
        "was asked to go back and was not healthy before the deadline",
    );
    let now = draft.now;
    for id in draft.pick(HostProgress::is_returning) {
        draft.change(id, |host| {
            host.sick = true;
            host.fails(failure.clone(), HostState::Inconsistent, now);
        });
    }
}

impl HostProgress {
    /// It is heard from and at it.
    pub(in crate::rollout) fn is_returning(&self) -> bool {
        let returns = self.state == HostState::RollingBack && !self.declined && !self.is_stopped();
        returns && self.silent.is_none()
    }
}
