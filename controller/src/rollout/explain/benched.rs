//! Hosts to which balancers send nothing by an operator's word, also when the rollout is over: what balancers were told
//! last stands.

use longshore_common::{ids::HostId, time::Millis};

use super::{Facts, Hold, HoldKind, sentence::HOST_OWNER};
use crate::rollout::{host::HostProgress, model::Rollout};

/// Why balancers send a host nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Benched {
    /// Somebody keeps work from it.
    Drained { by: String, reason: String, since: Millis },
    /// Somebody took it back, and its apps do not serve yet.
    Rejoining { by: String, since: Millis, until: Millis },
}

pub(super) fn benched(rollout: &Rollout, facts: &Facts) -> Vec<Hold> {
    let hosts = rollout.named(|host| host.benched);
    hosts
        .into_iter()
        .filter_map(|(id, host)| Some(hold(id, host, rollout, facts.benched.get(&id)?)))
        .collect()
}

fn hold(id: HostId, host: &HostProgress, rollout: &Rollout, why: &Benched) -> Hold {
    let (name, app) = (&host.name, &rollout.header.app);
    match why {
        Benched::Drained { by, reason, since } => Hold {
            kind: HoldKind::Drained,
            what: format!("load balancers send {name} nothing: drained by {by}: {reason}"),
            owner: by.clone(),
            since: *since,
            until: None,
            then: format!("it gets connections when {app} is healthy there"),
            command: Some(format!("longshore host undrain {name}")),
            hosts: vec![id],
        },
        Benched::Rejoining { by, since, until } => Hold {
            kind: HoldKind::Rejoining,
            what: format!(
                "{by} undrained {name}: load balancers send it nothing before {app} is healthy there"
            ),
            owner: HOST_OWNER.to_owned(),
            since: *since,
            until: Some(*until),
            then: "it is drained again".to_owned(),
            command: Some(format!("longshore host show {name}")),
            hosts: vec![id],
        },
    }
}
