//! Hosts whose helper is away: the agent there may look at nothing, says so, and ends its session until it can.

use longshore_common::code::Code;

use super::{
    Facts, Hold, HoldKind,
    sentence::{HOST_OWNER, Named, names},
};
use crate::rollout::model::Rollout;

/// To be typed on the host.
const LOOK: &str = "systemctl status longshore-helper.socket longshore-helper.service";
/// The same, where there is no room for it to start.
const LOOK_AT_DISK: &str = "df -h";

/// The hold, with that as the reason where it is one.
pub(super) fn named(rollout: &Rollout, facts: &Facts, hold: Hold) -> Hold {
    let helpless = hold.hosts.iter().filter(|id| facts.helper_away.contains_key(*id));
    let helpless: Named<'_> = helpless.filter_map(|id| Some((*id, &**rollout.hosts.get(id)?))).collect();
    if helpless.is_empty() || !waits_for_hosts(hold.kind) {
        return hold;
    }
    // Of several, one that knows why speaks for itself; the others are looked at when that one is mended.
    let full = Code::D01.to_string();
    let known = helpless.iter().find_map(|(id, host)| {
        let why = facts.helper_away.get(id).filter(|why| why.starts_with(&full))?;
        Some(format!("on {}: {why}", host.name))
    });
    let (said, command) = match known {
        Some(said) => (said, LOOK_AT_DISK),
        None => (format!("the helper does not answer on {}, look there", names(&helpless)), LOOK),
    };
    Hold {
        what: format!("{}; {said}", hold.what),
        owner: HOST_OWNER.to_owned(),
        command: Some(command.to_owned()),
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
