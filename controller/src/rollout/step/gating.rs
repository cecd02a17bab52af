//! Gates are looked at: before anything is touched, or after a wave that is good.

use crate::rollout::{
    draft::Draft,
    event::{Event, Refused},
    phase::{Cause, Gating, Inside, Phase, Why},
};

pub(super) fn when_gating(draft: &mut Draft, gating: Gating, event: Event) -> Result<(), Refused> {
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
        Event::Promote(promote) => {
            draft.pass_over(&promote)?;
            draft.enter(Phase::Gating(Gating { promoted: true, ..gating }));
        }
        Event::Pause { by } => draft.pause(Inside::Gating(gating), Why::Operator { by }),
        Event::Abort { by } => draft.start_rolling_back(Cause::Abort { by }),
        Event::Rollback { by } => draft.start_rolling_back(Cause::Operator { by }),
        Event::Supersede(by) => draft.supersede(by),
        Event::Start => return draft.refuse("start", "it has started already"),
        Event::Resume => return draft.refuse("resume", "it is not paused: its gates are being looked at"),
    }
    Ok(())
}

pub(super) fn settle_gating(draft: &mut Draft, gating: Gating) {
    let wave = gating.wave;
    if !gating.before && draft.judge(wave, Inside::Gating(gating.clone())) {
        return;
    }
    if draft.judge_gates(Inside::Gating(gating.clone())) {
        return;
    }
    if gating.before {
        if draft.gates_are_open() {
            draft.leave_gates();
            draft.enter_staging(0);
        }
        return;
    }
    if !draft.rollout.is_complete(wave) {
        return draft.enter_switching(wave);
    }
    if draft.stand_in(wave) {
        return;
    }
    draft.ask_to_stage(wave);
    if !draft.gates_are_open() {
        return;
    }
    if draft.rollout.needs_promotion(wave) && !gating.promoted {
        draft.enter_awaiting(wave);
    } else {
        draft.next_wave(wave);
    }
}
