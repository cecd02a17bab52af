//! The hosts of a wave switch, never more at once than may be down; hosts that come late are staged and switched too.

use longshore_common::{
    code::Code,
    ids::HostId,
    report::{Blame, Failure, StepName},
};

use super::staging::give_up_staging;
use crate::rollout::{
    draft::Draft,
    event::{Event, Refused},
    finish::name_some,
    host::{HostProgress, HostState},
    phase::{Cause, Inside, Outcome, Switching, Why},
};

pub(super) fn when_switching(draft: &mut Draft, switching: Switching, event: Event) -> Result<(), Refused> {
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
        Event::Pause { by } => draft.pause(Inside::Switching(switching), Why::Operator { by }),
        Event::Abort { by } => draft.start_rolling_back(Cause::Abort { by }),
        Event::Rollback { by } => draft.start_rolling_back(Cause::Operator { by }),
        Event::Supersede(by) => draft.supersede(by),
        Event::Start => return draft.refuse("start", "it has started already"),
        Event::Resume => return draft.refuse("resume", "it is not paused"),
        Event::Promote(promote) if promote.full => draft.promote_fully(&promote)?,
        Event::Promote(_) => return refuse_to_promote(draft, switching.wave),
    }
    Ok(())
}

/// A wave that is not good is not promoted, and the operator is told which hosts are not.
fn refuse_to_promote(draft: &Draft, wave: u32) -> Result<(), Refused> {
    let is_bad = |host: &HostProgress| host.wave == wave && !host.is_out() && !host.is_good();
    let bad = draft.rollout.named(|host| is_bad(host) || draft.rollout.awaits(wave, host));
    let bad: Vec<String> =
        bad.iter().map(|(_, host)| format!("{} is {}", host.name, host.as_str())).collect();
    let name = draft.rollout.wave_name(wave);
    if bad.is_empty() {
        return draft.refuse("promote", format!("{name} does not have the share of the traffic that is due"));
    }
    let why = format!("{name} is not healthy: {}", name_some(bad.iter().map(String::as_str)));
    draft.refuse("promote", why)
}

pub(super) fn settle_switching(draft: &mut Draft, switching: Switching) {
    let (wave, inside) = (switching.wave, Inside::Switching(switching.clone()));
    if draft.judge(wave, inside.clone()) {
        return;
    }
    if draft.rollout.is_complete(wave) {
        return complete(draft, wave);
    }
    let late = draft.now >= switching.deadline;
    if draft.rollout.is_shut() {
        // What waits for the environment to open is not late; what switches may be.
        let stuck = draft.pick(|host| host.is_stuck_in(wave));
        return match (late, stuck.is_empty()) {
            (true, false) => give_up_switching(draft, stuck),
            (true, true) => draft.give_time(),
            (false, _) => {}
        };
    }
    if late {
        return deadline(draft, wave, inside);
    }
    draft.ask_to_stage(wave);
    // Before anybody is asked: who gets more traffic takes a slot until balancers have said so.
    if draft.rollout.share_is_due(wave) {
        draft.give_share(wave);
        if draft.rollout.is_complete(wave) {
            return complete(draft, wave);
        }
    }
    draft.ask_to_run(wave);
}

/// A wave that changed something is watched; another has nothing to show.
fn complete(draft: &mut Draft, wave: u32) {
    if draft.stand_in(wave) {
        return;
    }
    let changed = |host: &HostState| *host == HostState::Healthy;
    let moved = draft.rollout.header.has_moved();
    let to_move = draft.rollout.header.groups().is_some_and(|(balancing, _)| balancing.moves);
    if moved || draft.rollout.hosts.values().any(|host| host.wave == wave && changed(&host.state)) {
        draft.enter_baking(wave);
    } else if draft.rollout.is_last(wave) && (draft.rollout.has_changed() || to_move) {
        draft.enter_gating(wave);
    } else {
        draft.next_wave(wave);
    }
}

/// No further host came to healthy in time. Hosts that we hear from and that run the new release without becoming
/// healthy are a verdict on it. Without any, hosts are unknown, held or slow: that is no verdict, and a human looks.
fn deadline(draft: &mut Draft, wave: u32, inside: Inside) {
    let stuck = draft.pick(|host| host.is_stuck_in(wave));
    if !stuck.is_empty() {
        return give_up_switching(draft, stuck);
    }
    give_up_staging(draft, wave);
    if draft.judge(wave, inside.clone()) {
        return;
    }
    if draft.rollout.is_complete(wave) {
        return complete(draft, wave);
    }
    draft.pause(inside, Why::NoProgress);
}

fn give_up_switching(draft: &mut Draft, stuck: Vec<HostId>) {
    let failure = Failure::new(
        Code::B01,
        StepName::Probe,
        Blame::Version,
        "was asked to run the release and was not healthy before the progress deadline",
    );
    let now = draft.now;
    for id in stuck {
        draft.change(id, |host| {
            host.sick = true;
            host.fails(failure.clone(), HostState::Failed, now);
        });
    }
    if draft.rollout.spec().auto_rollback {
        draft.start_rolling_back(Cause::Deadline);
    } else {
        draft.finish(Outcome::Failed, format!("{}; rolling back by itself is off", Cause::Deadline));
    }
}

impl HostProgress {
    /// We hear from it, it was asked to run the release, and there is no verdict yet.
    pub(in crate::rollout) fn is_stuck_in(&self, wave: u32) -> bool {
        let switches = self.state == HostState::Switching && !self.is_stopped();
        self.wave <= wave && self.silent.is_none() && switches
    }
}
