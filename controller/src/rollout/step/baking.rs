//! A wave is healthy and is watched for a while; what fails now counts as if it had failed before.

use crate::rollout::{
    draft::Draft,
    event::{Event, Refused},
    phase::{Baking, Cause, Inside, Why},
};

pub(super) fn when_baking(draft: &mut Draft, baking: Baking, event: Event) -> Result<(), Refused> {
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
        // Gates stay, and so does the promotion: only the wait for nothing but time is over.
        Event::Promote(_) => draft.enter_gating(baking.wave),
        Event::Pause { by } => draft.pause(Inside::Baking(baking), Why::Operator { by }),
        Event::Abort { by } => draft.start_rolling_back(Cause::Abort { by }),
        Event::Rollback { by } => draft.start_rolling_back(Cause::Operator { by }),
        Event::Supersede(by) => draft.supersede(by),
        Event::Start => return draft.refuse("start", "it has started already"),
        Event::Resume => return draft.refuse("resume", "it is not paused: to end the bake, promote it"),
    }
    Ok(())
}

pub(super) fn settle_baking(draft: &mut Draft, baking: Baking) {
    let wave = baking.wave;
    if draft.judge(wave, Inside::Baking(baking.clone())) {
        return;
    }
    if draft.judge_gates(Inside::Baking(baking.clone())) {
        return;
    }
    if !draft.rollout.is_complete(wave) {
        return draft.enter_switching(wave);
    }
    if draft.stand_in(wave) {
        return;
    }
    draft.ask_to_stage(wave);
    if draft.now >= baking.until || draft.is_full() {
        draft.enter_gating(wave);
    }
}
