//! The hosts of a wave fetch and unpack. Nothing that runs is touched, so nobody's downtime depends on a download.

use longshore_common::{
    code::Code,
    report::{Blame, Failure, StepName},
};

use crate::rollout::{
    draft::Draft,
    event::{Event, Refused},
    host::{HostProgress, HostState},
    phase::{Cause, Inside, Staging, Why},
};

pub(super) fn when_staging(draft: &mut Draft, staging: Staging, event: Event) -> Result<(), Refused> {
    match event {
        Event::Report { host, generation, outcome } => draft.report(host, generation, outcome),
        Event::Silent(host) => draft.silent(host),
        Event::Back(host) => draft.back(host),
        Event::HoldChanged { host, hold } => draft.hold_changed(host, hold),
        Event::HostJoined { member, snapshots } => draft.take_in(&member, snapshots),
        Event::HostDrained { host, drained } => draft.bench(host, drained),
        Event::HostRemoved(host) => draft.removed(host),
        Event::Withdrawn { by } => draft.withdrawn(by),
        Event::Calendar { closed } => draft.calendar(closed),
        Event::Tick | Event::Gate { .. } => {}
        Event::Retry(hosts) => draft.retry(&hosts)?,
        Event::Pace(pace) => draft.change_pace(pace)?,
        Event::Exclude(hosts) => draft.exclude(&hosts)?,
        Event::Pause { by } => draft.pause(Inside::Staging(staging), Why::Operator { by }),
        Event::Abort { by } => draft.start_rolling_back(Cause::Abort { by }),
        Event::Rollback { by } => draft.start_rolling_back(Cause::Operator { by }),
        Event::Supersede(by) => draft.supersede(by),
        Event::Start => return draft.refuse("start", "it has started already"),
        Event::Resume => return draft.refuse("resume", "it is not paused"),
        Event::Promote(promote) if promote.full => draft.promote_fully(&promote)?,
        Event::Promote(_) => {
            let wave = draft.rollout.wave_name(staging.wave);
            let why = format!("{wave} is not switched yet, so there is nothing to judge");
            return draft.refuse("promote", why);
        }
    }
    Ok(())
}

pub(super) fn settle_staging(draft: &mut Draft, staging: Staging) {
    let (wave, late) = (staging.wave, draft.now >= staging.deadline);
    if late {
        give_up_staging(draft, wave);
    }
    if draft.judge(wave, Inside::Staging(staging)) {
        return;
    }
    if draft.rollout.is_shut() {
        if late {
            draft.give_time();
        }
        return;
    }
    draft.ask_to_stage(wave);
    if late || !draft.rollout.hosts.values().any(|host| host.wave == wave && host.is_staging()) {
        draft.enter_switching(wave);
    }
}

/// Hosts that were too slow count as failed: by their surroundings, for the release was not even tried.
pub(super) fn give_up_staging(draft: &mut Draft, wave: u32) {
    let failure = Failure::new(
        Code::C01,
        StepName::Fetch,
        Blame::Environment,
        "had not fetched and unpacked the release before the deadline",
    );
    let now = draft.now;
    for id in draft.pick(|host| host.wave <= wave && host.is_staging()) {
        draft.change(id, |host| host.fails(failure.clone(), HostState::Failed, now));
    }
}

impl HostProgress {
    /// It is heard from and at it.
    pub(in crate::rollout) fn is_staging(&self) -> bool {
        self.state == HostState::Staging && self.silent.is_none() && !self.is_stopped()
    }
}
