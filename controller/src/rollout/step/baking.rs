//! A wave is healthy and is watched for a while; what fails now counts as if it had failed before.

use crate::rollout::{
    draft::Draft,
    event::{Event, Refused},
    model::Rollout,
    phase::{Baking, Cause, Done, Inside, Phase, Why},
    spec::Promotion,
};

pub(super) fn when_baking(draft: &mut Draft, baking: Baking, event: Event) -> Result<(), Refused> {
    match event {
        Event::Report { host, generation, outcome } => draft.report(host, generation, outcome),
        Event::Silent(host) => draft.silent(host),
        Event::Back(host) => draft.back(host),
        Event::HoldChanged { host, hold } => draft.hold_changed(host, hold),
        Event::HostRemoved(host) => draft.removed(host),
        Event::Tick => {}
        Event::Retry(hosts) => draft.retry(&hosts)?,
        Event::Exclude(hosts) => draft.exclude(&hosts)?,
        Event::Promote => draft.next_wave(baking.wave),
        Event::Pause { by } => draft.pause(Inside::Baking(baking), Why::Operator { by }),
        Event::Abort { by } => draft.start_rolling_back(Cause::Abort { by }),
        Event::Rollback { by } => draft.start_rolling_back(Cause::Operator { by }),
        Event::Supersede(by) => draft.enter(Phase::Done(Done::superseded(by, draft.now))),
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
    if !draft.rollout.is_complete(wave) {
        return draft.enter_switching(wave);
    }
    draft.ask_to_stage(wave);
    if draft.now < baking.until {
        return;
    }
    if needs_promotion(&draft.rollout, wave) {
        draft.enter_awaiting(wave);
    } else {
        draft.next_wave(wave);
    }
}

fn needs_promotion(rollout: &Rollout, wave: u32) -> bool {
    match rollout.spec().promotion {
        Promotion::Auto => false,
        Promotion::Canary => wave == 0,
        Promotion::EveryWave => wave == 0 || !rollout.is_last(wave),
    }
}
