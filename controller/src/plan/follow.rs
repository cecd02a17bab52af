//! Whether a rollout does what a plan says. The last look before it is stored: between planning and that, hosts may
//! have come, gone or been moved.

use longshore_common::ids::{HostId, HostName};

use super::{Part, Plan, make::running};
use crate::rollout::Rollout;

/// What differs, one sentence each; empty: the rollout follows the plan.
pub fn strays(plan: &Plan, rollout: &Rollout) -> Vec<String> {
    let mut told = vec![];
    if running(&rollout.header.target) != plan.to {
        told.push(format!("it would roll out {}, not {}", rollout.header.target.version, plan.to.version));
    }
    let mut waves: Vec<Vec<HostId>> = vec![vec![]; plan.waves.len()];
    for host in &plan.hosts {
        if let Part::Wave { wave } = host.part
            && let Some(wave) = waves.get_mut(wave as usize)
        {
            wave.push(host.id);
        }
    }
    if rollout.waves() != waves {
        told.push("hosts joined, left or changed their wave this very moment".to_owned());
    }
    let other: Vec<&HostName> = plan
        .hosts
        .iter()
        .filter(|host| {
            let now = rollout.hosts.get(&host.id);
            now.is_none_or(|now| now.previous.as_ref().map(running) != host.from || now.layers != host.layers)
        })
        .map(|host| &host.name)
        .collect();
    if let Some(first) = other.first() {
        told.push(format!("{first} runs or gets something else than planned ({} such hosts)", other.len()));
    }
    told
}
