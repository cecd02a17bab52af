//! What every host should run, read from the state alone: asked again after a crash, the answer is the same.

use longshore_common::{
    assignment::{Assignment, Intent},
    ids::{Generation, HostId},
    time::Millis,
};

use super::{
    host::{Ask, HostProgress},
    model::{Header, Rollout},
};

/// The assignment of every host that this rollout asked something; the others keep what they have.
pub fn desired(rollout: &Rollout) -> Vec<Assignment> {
    rollout.hosts.iter().filter_map(|(id, host)| assignment_of(&rollout.header, *id, host)).collect()
}

/// When time alone will change the rollout: the engine sets one timer and then sends `Event::Tick`.
pub fn next_deadline(rollout: &Rollout) -> Option<Millis> {
    let (phase, gates) = (rollout.header.phase.deadline(), rollout.gate_deadline());
    phase.into_iter().chain(gates).min()
}

/// One host's part of `desired`. It depends on the host's record and the header's constant fields only.
pub fn assignment_of(header: &Header, id: HostId, host: &HostProgress) -> Option<Assignment> {
    let (target, intent) = match (host.ask?, &host.previous) {
        (Ask::Stage, _) => (&header.target, Intent::Stage),
        (Ask::Run, _) => (&header.target, Intent::Run),
        (Ask::Return, Some(previous)) => (previous, Intent::Run),
        (Ask::Return, None) => (&header.target, Intent::Remove),
    };
    Some(Assignment {
        host: id,
        app: header.app.clone(),
        env: header.env.clone(),
        rollout: header.id,
        generation: Generation::new(header.sequence, host.round),
        version: target.version.clone(),
        release: target.release,
        values: target.values.clone(),
        intent,
        keep_slots: header.keep_slots,
        traffic: None,
    })
}
