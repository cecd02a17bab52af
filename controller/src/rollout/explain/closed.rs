//! What a rollout waits for whose environment is closed.

use super::{
    Hold, HoldKind,
    sentence::{Named, count, names},
};
use crate::rollout::model::Rollout;

/// That it is closed, and what begins when it opens.
pub(super) fn shut(rollout: &Rollout, hosts: Named<'_>, then: String) -> Option<Hold> {
    let closed = rollout.header.closed.as_ref()?;
    let whom = match hosts.is_empty() {
        true => String::new(),
        false => format!("; {}: {}", count(&hosts, "waits", "wait"), names(&hosts)),
    };
    Some(Hold {
        kind: HoldKind::Closed,
        what: format!("{} is closed: {}{whom}", rollout.header.env, closed.reason),
        owner: closed.owner.clone(),
        since: closed.since,
        until: closed.until,
        then,
        command: Some(closed.command.clone()),
        hosts: hosts.iter().map(|(id, _)| *id).collect(),
    })
}

/// What comes next, if that has to wait for the environment to open.
pub(super) fn after_opening(rollout: &Rollout, then: String) -> String {
    match rollout.is_shut() {
        true => format!("{then} when {} opens", rollout.header.env),
        false => then,
    }
}
