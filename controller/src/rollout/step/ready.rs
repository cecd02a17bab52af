//! Made, not started: nothing has been assigned.

use crate::rollout::{
    draft::Draft,
    event::{Event, Refused},
    gate::Stage,
    phase::Outcome,
};

pub(super) fn when_ready(draft: &mut Draft, event: Event) -> Result<(), Refused> {
    match event {
        Event::Start => start(draft),
        Event::Silent(host) => draft.silent(host),
        Event::Back(host) => draft.back(host),
        Event::HoldChanged { host, hold } => draft.hold_changed(host, hold),
        Event::HostJoined { member, snapshots } => {
            draft.look_again(&member);
            draft.take_in(&member, snapshots);
        }
        Event::HostDrained { host, drained } => draft.bench(host, drained),
        Event::HostRemoved(host) => draft.removed(host),
        Event::Withdrawn { by } => draft.withdrawn(by),
        Event::Pace(pace) => draft.change_pace(pace)?,
        Event::Calendar { closed } => draft.calendar(closed),
        Event::Exclude(hosts) => draft.exclude(&hosts)?,
        Event::Tick => start_on_time(draft),
        Event::Report { .. } | Event::Gate { .. } => {}
        Event::Abort { by } => draft.finish(Outcome::Aborted, format!("aborted by {by}; it had not started")),
        Event::Supersede(by) => draft.supersede(by),
        Event::Pause { .. } => return draft.refuse("pause", "it has not started"),
        Event::Resume => return draft.refuse("resume", "it has not started"),
        Event::Promote(_) => return draft.refuse("promote", "it has not started"),
        Event::Retry(_) => return draft.refuse("retry", "it has not started"),
        Event::Rollback { .. } => return draft.refuse("rollback", "nothing was touched: abort it instead"),
    }
    Ok(())
}

/// One that was made to begin later begins when its time has come, however late somebody looks.
fn start_on_time(draft: &mut Draft) {
    if draft.rollout.header.start_at.is_some_and(|at| draft.now >= at) {
        start(draft);
    }
}

fn start(draft: &mut Draft) {
    draft.rollout.header.started_ms = Some(draft.now);
    if draft.rollout.header.waves == 0 {
        draft.finish_forward();
    } else if draft.rollout.gates_at(Stage::Before).is_empty() {
        draft.enter_staging(0);
    } else {
        draft.enter_gating_before();
    }
}
