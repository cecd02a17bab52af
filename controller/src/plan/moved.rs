//! What has moved between two plans of the same, as far as it is binding: what somebody who agreed to the first has to
//! know before they agree to the second.

use std::collections::BTreeMap;

use longshore_common::ids::{EnvName, HostId};

use super::{HostPlan, Part, Plan, Running, size};

/// Hosts that a sentence names.
const NAMED: usize = 5;

/// One sentence each; empty exactly when both have the same binding.
pub fn moved(was: &Plan, is: &Plan) -> Vec<String> {
    let mut told = vec![];
    if was.to != is.to {
        told.push(running("the release to roll out", Some(&was.to), Some(&is.to)));
    }
    told.extend(live_moved(was.live.as_ref(), is.live.as_ref()));
    if was.env_file != is.env_file {
        told.push(applied_anew(&is.env));
    }
    told.extend(hosts(was, is));
    if was.gates != is.gates {
        told.push("the gates between waves are others".to_owned());
    }
    let traffic = |plan: &Plan| plan.traffic.as_ref().map(|t| format!("{:?}", t.binding()));
    if traffic(was) != traffic(is) {
        told.push("the load balancers, or the group that gets the release, are others".to_owned());
    }
    if was.approval != is.approval {
        told.push("other approvals are asked for".to_owned());
    }
    if told.is_empty() && was.digest_of_binding() != is.digest_of_binding() {
        told.push("something else that is binding".to_owned());
    }
    told
}

/// `what is live was 1.0, and is 1.2`; none where it is the same.
pub fn live_moved(was: Option<&Running>, is: Option<&Running>) -> Option<String> {
    (was != is).then(|| running("what is live", was, is))
}

pub fn applied_anew(env: &EnvName) -> String {
    format!("the file of environment {env} was applied anew")
}

fn running(what: &str, was: Option<&Running>, is: Option<&Running>) -> String {
    match (was, is) {
        (Some(was), Some(is)) if was.version == is.version && was.release == is.release => {
            format!("{what}: the settings of {} are others", is.version)
        }
        (Some(was), Some(is)) if was.version == is.version => {
            format!(
                "{what}: {} is another release now ({} was planned, {} is there)",
                is.version,
                was.release.short(),
                is.release.short()
            )
        }
        _ => {
            let name =
                |side: Option<&Running>| side.map_or("nothing".to_owned(), |side| side.version.to_string());
            format!("{what} was {}, and is {}", name(was), name(is))
        }
    }
}

fn hosts(was: &Plan, is: &Plan) -> Vec<String> {
    let old: BTreeMap<HostId, &HostPlan> = was.hosts.iter().map(|host| (host.id, host)).collect();
    let new: BTreeMap<HostId, &HostPlan> = is.hosts.iter().map(|host| (host.id, host)).collect();
    let both = || old.iter().filter_map(|(id, was)| Some((*was, *new.get(id)?)));
    let joined = new.iter().filter(|(id, _)| !old.contains_key(id)).map(|(_, host)| *host);
    let left = old.iter().filter(|(id, _)| !new.contains_key(id)).map(|(_, host)| *host);
    let runs: Vec<&HostPlan> = both().filter(|(was, is)| was.from != is.from).map(|(_, is)| is).collect();
    let run = if runs.len() == 1 { "runs" } else { "run" };
    let settings = both().filter(|(was, is)| was.layers != is.layers).map(|(_, is)| is);
    let skipped = |host: &HostPlan| matches!(host.part, Part::Skipped { .. });
    let out = both().filter(|(was, is)| !skipped(was) && skipped(is)).map(|(_, is)| is);
    let back = both().filter(|(was, is)| skipped(was) && !skipped(is)).map(|(_, is)| is);
    let other_wave =
        both().filter(|(was, is)| !skipped(was) && !skipped(is) && was.part != is.part).map(|(_, is)| is);
    let other_reason =
        both().filter(|(was, is)| skipped(was) && skipped(is) && was.part != is.part).map(|(_, is)| is);
    [
        say(joined, "joined the environment"),
        say(left, "left the environment"),
        say(runs.into_iter(), &format!("{run} something else than planned")),
        say(settings, "would get other settings"),
        say(out, "would be skipped now"),
        say(back, "would no longer be skipped"),
        say(other_wave, "would be moved in another wave"),
        say(other_reason, "would be skipped for another reason"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn say<'a>(hosts: impl Iterator<Item = &'a HostPlan>, what: &str) -> Option<String> {
    let mut names: Vec<&str> = hosts.map(|host| host.name.as_str()).collect();
    names.sort_unstable();
    let count = names.len();
    (count > 0).then(|| format!("{} {what}: {}", size::hosts(count), size::some_of(names.into_iter(), NAMED)))
}
