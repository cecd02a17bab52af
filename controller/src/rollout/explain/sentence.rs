//! The words that holds share.

use longshore_common::ids::HostId;

use super::{Facts, Hold, HoldKind};
use crate::rollout::{desired::watched, finish::name_some, host::HostProgress, model::Rollout, phase::Why};

/// Who is waited for.
pub(super) const OPERATOR: &str = "an operator";
/// Of what nothing but time ends, unless an operator does.
pub(super) const TIME: &str = "the time to pass";
pub(super) const HOSTS: &str = "the hosts";
pub(super) const HOST_OWNER: &str = "whoever looks after the hosts";
pub(super) const KEY_OWNER: &str = "whoever has the organisation's key";
pub(super) const BALANCER_OWNER: &str = "whoever looks after the load balancers";

/// Hosts that a hold is about.
pub(super) type Named<'a> = Vec<(HostId, &'a HostProgress)>;

impl Rollout {
    /// `longshore rollout promote 0190…`
    pub(super) fn command(&self, verb: &str) -> Option<String> {
        Some(format!("longshore rollout {verb} {}", self.header.id.short()))
    }
}

/// A hold about hosts: since the earliest of them, or nothing when there are none.
pub(super) fn about(hosts: Named<'_>, make: impl FnOnce(&Named<'_>) -> Hold) -> Option<Hold> {
    if hosts.is_empty() {
        return None;
    }
    let hold = make(&hosts);
    let since = hosts.iter().map(|(_, host)| host.state_since(hold.kind)).min().unwrap_or(hold.since);
    Some(Hold { since, hosts: hosts.iter().map(|(id, _)| *id).collect(), ..hold })
}

impl HostProgress {
    fn state_since(&self, kind: HoldKind) -> i64 {
        match kind {
            HoldKind::Unknown => self.silent.unwrap_or(self.since),
            HoldKind::Held => self.held.as_ref().map_or(self.since, |held| held.since),
            HoldKind::NotStarted
            | HoldKind::Closed
            | HoldKind::Staging
            | HoldKind::Switching
            | HoldKind::NoSlot
            | HoldKind::Balancer
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
            | HoldKind::RollingBack
            | HoldKind::Drained
            | HoldKind::Rejoining => self.since,
        }
    }
}

/// `web-1 (fetch, 12 of 67 MiB), web-2, web-3 (no connection)`
pub(super) fn names_doing(hosts: &Named<'_>, facts: &Facts) -> String {
    let names: Vec<String> = hosts
        .iter()
        .map(|(id, host)| match (facts.doing.get(id), facts.away.get(id)) {
            (Some(doing), _) => format!("{} ({doing})", host.name),
            (None, Some(_)) => format!("{} (no connection)", host.name),
            (None, None) => host.name.to_string(),
        })
        .collect();
    name_some(names.iter().map(String::as_str))
}

pub(super) fn names(hosts: &Named<'_>) -> String {
    names_doing(hosts, &Facts::default())
}

/// `1 host stages: web-1`, `3 hosts stage: …`
pub(super) fn count(hosts: &Named<'_>, one: &str, many: &str) -> String {
    match hosts.len() {
        1 => format!("1 host {one}"),
        more => format!("{more} hosts {many}"),
    }
}

/// Why a bake, or the watch, goes on although its time is over.
pub(super) fn once_more(rollout: &Rollout, facts: &Facts) -> String {
    if facts.last_look.is_none() {
        return String::new();
    }
    let looked_at = watched(rollout);
    let is_away = |id: &HostId| facts.away.contains_key(id) && looked_at.iter().any(|(host, _)| host == id);
    let away: Named<'_> = rollout.in_order().into_iter().filter(|(id, _)| is_away(id)).collect();
    let without = match away.is_empty() {
        true => String::new(),
        false => format!("; no connection: {}", names(&away)),
    };
    format!("; that time is over, and its hosts are looked at once more{without}")
}

/// What follows a bake, or the watch; at the end of the last look that is only so for hosts that could be looked at.
pub(super) fn after_look(facts: &Facts, follows: String) -> String {
    match facts.last_look {
        Some(_) => format!("hosts that could not be looked at have failed; within the budget, {follows}"),
        None => follows,
    }
}

impl Why {
    pub(in crate::rollout) fn is_failure(&self) -> bool {
        match self {
            Why::VersionFailures(_) | Why::EnvironmentFailures(_) => true,
            Why::Operator { .. } | Why::NoProgress | Why::Gate(_) | Why::Withdrawn { .. } => false,
        }
    }
}
