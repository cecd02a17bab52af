//! A wave is good and an operator has to say "go on". There is no deadline: nobody is hurt by waiting.

use crate::rollout::{
    draft::Draft,
    event::{Event, Refused},
    phase::{Awaiting, Cause, Inside, Why},
};

pub(super) fn when_awaiting(draft: &mut Draft, awaiting: Awaiting, event: Event) -> Result<(), Refused> {
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
        Event::Promote(promote) if promote.full => draft.promote_fully(&promote)?,
        Event::Promote(_) => {
            draft.stood(awaiting.since);
            draft.next_wave(awaiting.wave);
        }
        Event::Pause { by } => draft.pause(Inside::Awaiting(awaiting), Why::Operator { by }),
        Event::Abort { by } => draft.start_rolling_back(Cause::Abort { by }),
        Event::Rollback { by } => draft.start_rolling_back(Cause::Operator { by }),
        Event::Supersede(by) => draft.supersede(by),
        Event::Start => return draft.refuse("start", "it has started already"),
        Event::Resume => return draft.refuse("resume", "it is not paused: to go on, promote it"),
    }
    Ok(())
}

pub(super) fn settle_awaiting(draft: &mut Draft, awaiting: Awaiting) {
    let (wave, since) = (awaiting.wave, awaiting.since);
    if draft.judge(wave, Inside::Awaiting(awaiting)) {
        return;
    }
    if draft.rollout.is_complete(wave) {
        if draft.stand_in(wave) {
            return;
        }
        draft.ask_to_stage(wave);
        if draft.is_full() {
            draft.stood(since);
            draft.next_wave(wave);
        }
    } else {
        draft.enter_switching(wave);
    }
}
