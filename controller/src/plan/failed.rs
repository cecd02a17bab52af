//! Preconditions that do not hold: of the release, of the environment, of hosts.

use std::collections::BTreeMap;

use super::{
    Check, Failed, Fault, Plan, PlanPolicy, Unfit, balancers,
    make::Judged,
    runners, size,
    world::{Surveyed, World},
};
use crate::rollout::UnknownHosts;

/// In the order of [`Check::ALL`].
pub(super) fn failed(world: &World, judged: &[Judged]) -> Vec<Failed> {
    let mut found = of_release(world);
    found.extend(of_environment(world));
    found.extend(runners::failed(world));
    found.extend(balancers::failed(world));
    found.extend(of_unknown(world, judged));
    if world.policy.unfit == Unfit::Refuse {
        found.extend(of_hosts(world, judged));
    }
    if let Some(nobody) = nobody_left(world, judged) {
        found.push(nobody);
    }
    found.sort_by_key(|failed| failed.check);
    for failed in &mut found {
        failed.may_override = world.policy.overrides.contains(&failed.check);
    }
    found
}

impl Plan {
    /// Also with what is known only once it is known whose plan it is; before others of its kind.
    pub fn failing(mut self, check: Check, what: String, policy: &PlanPolicy) -> Self {
        let at = self.failed.partition_point(|failed| failed.check < check);
        let may_override = policy.overrides.contains(&check);
        self.failed.insert(at, Failed { may_override, ..one(check, what) });
        self
    }
}

pub(super) fn one(check: Check, what: String) -> Failed {
    Failed { check, what, hosts: vec![], may_override: false }
}

fn of_release(world: &World) -> Vec<Failed> {
    let mut found = vec![];
    if let Some(why) = &world.withdrawn {
        found.push(one(Check::Withdrawn, format!("{} was withdrawn: {why}", world.target.version)));
    }
    let manifest = &world.release.manifest;
    let routing = world.spec.traffic.as_ref();
    let unmoved = routing.and_then(|routing| routing.unmoved(&manifest.app, &manifest.service));
    found.extend(unmoved.map(|what| one(Check::Traffic, what)));
    found.extend(world.unmet.iter().map(|(check, what)| one(*check, what.clone())));
    found
}

fn of_environment(world: &World) -> Vec<Failed> {
    let mut found = vec![];
    let lacking = world.promotion.iter().filter_map(|demanded| demanded.lacking.clone());
    found.extend(lacking.map(|lacking| one(Check::Promotion, lacking)));
    if let Some(what) = &world.busy {
        found.push(one(Check::Busy, what.clone()));
    }
    for overlap in &world.overlaps {
        let (count, env) = (size::hosts(overlap.hosts.len()), &overlap.env);
        let belong = if overlap.hosts.len() == 1 { "belongs" } else { "belong" };
        let what = format!(
            "{count} also {belong} to environment {env}, which runs the app: the two would undo each other"
        );
        let fault = |host: &longshore_common::ids::HostName| Fault {
            host: host.clone(),
            what: format!("also in {env}"),
        };
        let mut hosts: Vec<Fault> = overlap.hosts.iter().map(fault).collect();
        hosts.sort_by(|a, b| a.host.cmp(&b.host));
        found.push(Failed { hosts, ..one(Check::Overlap, what) });
    }
    found.extend(slow_drain(world).map(|what| one(Check::Traffic, what)));
    if let Some(selector) = &world.spec.canary_hosts {
        let wanted = |host: &super::world::Candidate| {
            selector.matches(host.member.name.as_str(), &host.member.id.to_string(), &host.member.labels)
        };
        if !world.hosts.iter().any(wanted) {
            found.push(one(
                Check::CanaryHosts,
                format!("canary_hosts = \"{selector}\" matches no host of the environment"),
            ));
        }
    }
    if let Some(label) = &world.spec.spread
        && world.hosts.iter().all(|host| !host.member.labels.contains_key(label))
    {
        found.push(one(Check::Spread, format!("spread = \"{label}\", and no host has that label")));
    }
    found
}

/// A file from before that was refused may say so still.
fn slow_drain(world: &World) -> Option<String> {
    let (spec, env) = (&world.spec, &world.env);
    let what = spec.slow_drain(spec.traffic.as_ref()?)?;
    Some(format!(
        "traffic.drain of environment {env} {what}. Change its file (longshore env show {env}), and then: \
         longshore env apply FILE"
    ))
}

/// Where silent hosts count as failures, more of them than may fail end the rollout before it has begun.
fn of_unknown(world: &World, judged: &[Judged]) -> Option<Failed> {
    let silent = world.hosts.iter().filter(|host| matches!(host.surveyed, Surveyed::Unknown { .. }));
    let hosts: Vec<Fault> = silent
        .map(|host| Fault { host: host.member.name.clone(), what: "did not answer".to_owned() })
        .collect();
    let allowed = world.spec.budget.of(judged.len()).unwrap_or(0);
    (world.spec.unknown == UnknownHosts::Count && hosts.len() > allowed).then(|| {
        let count = if hosts.len() == 1 { "which counts as a failure" } else { "which count as failures" };
        let what = format!("{} did not answer, {count}, and {allowed} may fail", size::hosts(hosts.len()));
        Failed { hosts, ..one(Check::Unknown, what) }
    })
}

/// One for each check, with every host that it fails on.
fn of_hosts(world: &World, judged: &[Judged]) -> Vec<Failed> {
    let mut by_check: BTreeMap<Check, Vec<Fault>> = BTreeMap::new();
    for judged in judged.iter().filter(|judged| judged.plan.change != super::Change::Skipped) {
        for lack in &judged.lacks {
            let fault = Fault { host: judged.plan.name.clone(), what: lack.what.clone() };
            by_check.entry(lack.check).or_default().push(fault);
        }
    }
    let failed = |(check, hosts): (Check, Vec<Fault>)| {
        let what = format!("{} {}", size::hosts(hosts.len()), lacking(world, check, hosts.len()));
        Failed { hosts, ..one(check, what) }
    };
    by_check.into_iter().map(failed).collect()
}

fn lacking(world: &World, check: Check, hosts: usize) -> String {
    let requires = &world.release.manifest.requires;
    let (is, has) = if hosts == 1 { ("is", "has") } else { ("are", "have") };
    match check {
        Check::Architecture => format!("{is} not {}", requires.arch.join(" or ")),
        Check::Os => format!("{is} not {}", requires.os.join(" or ")),
        Check::Memory => format!("{has} too little memory"),
        Check::Disk => format!("{has} too little free disk"),
        Check::Commands => format!("{has} not every command that the release calls"),
        Check::Ports => format!("{has} somebody else on a port of the release"),
        Check::Mounts => format!("{has} not everything mounted"),
        Check::Users => format!("{has} not every user"),
        Check::Clock => format!("{has} a clock that is off"),
        Check::Secrets => format!("{has} not every secret"),
        Check::Config => format!("{has} not every value that a template asks for"),
        Check::Service => "cannot run the service".to_owned(),
        Check::Signed => format!("{} it, whoever signed it", if hosts == 1 { "refuses" } else { "refuse" }),
        Check::Traffic => match world.release.manifest.service.sides {
            Some(_) => "cannot direct the traffic between the two sides".to_owned(),
            None => "cannot give a release without sides the ports that it wants".to_owned(),
        },
        Check::Withdrawn
        | Check::Busy
        | Check::Overlap
        | Check::CanaryHosts
        | Check::Spread
        | Check::Promotion
        | Check::Locked
        | Check::Approvers
        | Check::GateFile
        | Check::Runner
        | Check::Unknown => "cannot take part".to_owned(),
    }
}

/// Where unfit hosts are skipped, one that fits must be left.
fn nobody_left(world: &World, judged: &[Judged]) -> Option<Failed> {
    let left_out = judged.iter().all(|judged| judged.plan.change == super::Change::Skipped);
    let first = judged.iter().find_map(|judged| judged.lacks.first())?;
    (world.policy.unfit == Unfit::Skip && left_out)
        .then(|| one(first.check, "no host of the environment fits the release".to_owned()))
}
