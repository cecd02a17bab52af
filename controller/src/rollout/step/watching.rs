//! Every wave is done and the release is watched: what breaks now still takes it back.

use crate::rollout::{
    draft::Draft,
    event::{Event, Refused},
    host::HostState,
    phase::{Cause, Inside, Watching, Why},
};

pub(super) fn when_watching(draft: &mut Draft, watching: Watching, event: Event) -> Result<(), Refused> {
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
        Event::Tick => {}
        Event::Gate { number, word } => draft.gate_says(number, word),
        Event::Retry(hosts) => draft.retry(&hosts)?,
        Event::Pace(pace) => draft.change_pace(pace)?,
        Event::Exclude(hosts) => draft.exclude(&hosts)?,
        Event::Promote(promote) => {
            draft.pass_over(&promote)?;
            draft.leave_gates();
            draft.finish_forward();
        }
        Event::Pause { by } => draft.pause(Inside::Watching(watching), Why::Operator { by }),
        Event::Abort { by } => draft.start_rolling_back(Cause::Abort { by }),
        Event::Rollback { by } => draft.start_rolling_back(Cause::Operator { by }),
        Event::Supersede(by) => draft.supersede(by),
        Event::Start => return draft.refuse("start", "it has started already"),
        Event::Resume => return draft.refuse("resume", "it is not paused: to end the watch, promote it"),
    }
    Ok(())
}

pub(super) fn settle_watching(draft: &mut Draft, watching: Watching) {
    let wave = watching.wave;
    if draft.judge(wave, Inside::Watching(watching.clone())) {
        return;
    }
    if draft.judge_gates(Inside::Watching(watching.clone())) {
        return;
    }
    if !draft.rollout.is_last(wave) {
        draft.leave_gates(); // newcomers: they are moved before the watch goes on
        draft.interrupt_watch(watching);
        return draft.enter_staging(wave + 1);
    }
    // A host that an operator let try again has to be seen through; one that is merely silent is not waited for.
    let again = [HostState::Waiting, HostState::Staging, HostState::Staged, HostState::Switching];
    if draft
        .rollout
        .hosts
        .values()
        .any(|host| again.contains(&host.state) && draft.rollout.awaits(wave, host))
    {
        return draft.enter_switching(wave);
    }
    if draft.now >= watching.until {
        draft.finish_forward();
    }
}
