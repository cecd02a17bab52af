//! What every host should run, read from the state alone: asked again after a crash, the answer is the same.

use longshore_common::{
    assignment::{Assignment, Intent},
    ids::{Generation, HostId},
    slot::Slot,
    time::{Millis, Span},
};

use super::{
    host::{Ask, HostProgress, HostState},
    model::{Rollout, Target},
    phase::{Baking, Phase, Watching},
};

/// The assignment of every host that this rollout asked something, and of its balancers; the others keep what they
/// have.
pub fn desired(rollout: &Rollout) -> Vec<Assignment> {
    let hosts = rollout.hosts.iter().filter_map(|(id, host)| assignment_of(rollout, *id, host));
    hosts.chain(rollout.balancers().filter_map(|(id, _)| rollout.directions(id))).collect()
}

/// When time alone will change the rollout: the engine sets one timer and then sends `Event::Tick`.
pub fn next_deadline(rollout: &Rollout) -> Option<Millis> {
    let (phase, gates) = (rollout.deadline(), rollout.gate_deadline());
    phase.into_iter().chain(gates).min()
}

/// Hosts that have to stay healthy for the rollout to go on, each with the assignment by which it was found so: those
/// that it has changed, from their first verdict to its end. While it is paused nothing would come of it.
pub fn watched(rollout: &Rollout) -> Vec<(HostId, Generation)> {
    match rollout.phase() {
        Phase::Ready | Phase::RollingBack(_) | Phase::Paused(_) | Phase::Done(_) => return vec![],
        Phase::Staging(_)
        | Phase::Switching(_)
        | Phase::Baking(_)
        | Phase::Gating(_)
        | Phase::Awaiting(_)
        | Phase::Watching(_) => {}
    }
    let stays = |host: &HostProgress| host.state == HostState::Healthy && host.silent.is_none();
    let hosts = rollout.hosts.iter().filter(|(_, host)| stays(host) && host.ask == Some(Ask::Run));
    hosts.map(|(id, host)| (*id, Generation::new(rollout.header.sequence, host.round))).collect()
}

/// From when to when a bake, or the watch, lasts.
pub(super) fn time_watched(rollout: &Rollout) -> Option<(Millis, Millis)> {
    match rollout.phase() {
        Phase::Baking(Baking { since, until, .. }) | Phase::Watching(Watching { since, until, .. }) => {
            Some((*since, *until))
        }
        _ => None,
    }
}

/// Between two looks at a host that has to stay healthy: a quarter of a bake or of the watch, from one to five seconds.
pub fn look_every(rollout: &Rollout) -> Span {
    const LEAST_MS: Millis = 1_000;
    const MOST_MS: Millis = 5_000;
    let quarter = time_watched(rollout).map(|(since, until)| (until - since) / 4);
    Span::millis(quarter.unwrap_or(MOST_MS).clamp(LEAST_MS, MOST_MS).unsigned_abs())
}

/// One host's part of `desired`. It depends on the host's record, and on what of the rollout never changes.
pub fn assignment_of(rollout: &Rollout, id: HostId, host: &HostProgress) -> Option<Assignment> {
    let header = &rollout.header;
    let target = asked_target(rollout, host)?;
    let intent = match (host.ask?, &host.previous) {
        (Ask::Stage, _) => Intent::Stage,
        (Ask::Run, _) | (Ask::Return, Some(_)) => Intent::Run,
        (Ask::Return, None) => Intent::Remove,
    };
    Some(Assignment {
        host: id,
        app: header.app.clone(),
        env: header.env.clone(),
        rollout: header.id,
        generation: Generation::new(header.sequence, host.round),
        // Snapshots are loaded with every rollout that may still ask something.
        settings: target.settings(&rollout.snapshots)?,
        version: target.version,
        release: target.release,
        intent,
        keep_slots: header.keep_slots,
        traffic: header
            .spec
            .traffic
            .as_ref()
            .filter(|_| header.balancing.is_none())
            .map(|routing| routing.for_share(host.share)),
        directions: None,
        unwell: left_unwell(rollout, host),
    })
}

/// The slot that it is sent back from, where it was found unwell in it.
fn left_unwell(rollout: &Rollout, host: &HostProgress) -> Option<Slot> {
    let is_left = host.unwell && host.ask == Some(Ask::Return) && host.previous.is_some();
    let Target { version, release, .. } = &rollout.header.target;
    let settings = host.target(&rollout.header).settings(&rollout.snapshots).filter(|_| is_left)?;
    Some(Slot::new(version, release, &settings))
}

/// What the host is asked to stage, run or remove at present.
pub fn asked_target(rollout: &Rollout, host: &HostProgress) -> Option<Target> {
    Some(match (host.ask?, &host.previous) {
        (Ask::Return, Some(previous)) => previous.clone(),
        (Ask::Stage | Ask::Run | Ask::Return, _) => host.target(&rollout.header),
    })
}
