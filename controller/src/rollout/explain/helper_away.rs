//! Hosts whose helper is away: the agent there may look at nothing, says so, and ends its session until it can.

use super::{
    Facts, Hold, HoldKind,
    sentence::{HOST_OWNER, Named, names},
};
use crate::rollout::model::Rollout;

/// To be typed on the host.
const LOOK: &str = "systemctl status longshore-helper.socket longshore-helper.service";

/// The hold, with that as the reason where it is one.
pub(super) fn named(rollout: &Rollout, facts: &Facts, hold: Hold) -> Hold {
    let helpless = hold.hosts.iter().filter(|id| facts.helper_away.contains(*id));
    let helpless: Named<'_> = helpless.filter_map(|id| Some((*id, &**rollout.hosts.get(id)?))).collect();
    if helpless.is_empty() || !waits_for_hosts(hold.kind) {
        return hold;
    }
    Hold {
        what: format!("{}; the helper does not answer on {}, look there", hold.what, names(&helpless)),
        owner: HOST_OWNER.to_owned(),
        command: Some(LOOK.to_owned()),
        ..hold
    }
}

/// Whether nothing but what its hosts say ends it.
fn waits_for_hosts(kind: HoldKind) -> bool {
    match kind {
        HoldKind::Staging | HoldKind::Switching | HoldKind::Unknown | HoldKind::RollingBack => true,
        HoldKind::NotStarted
        | HoldKind::Closed
        | HoldKind::NoSlot
        | HoldKind::Balancer
        | HoldKind::Held
        | HoldKind::Baking
        | HoldKind::Gate
        | HoldKind::GateNotPassed
        | HoldKind::Watching
        | HoldKind::Promotion
        | HoldKind::Paused
        | HoldKind::VersionFailures
        | HoldKind::EnvironmentFailures
        | HoldKind::NoProgress
        | HoldKind::Withdrawn
        | HoldKind::Drained
        | HoldKind::Rejoining => false,
    }
}
