//! What hosts outside of the environment said on which its tests run: whether they could hold the release, with all that it
//! gets there. One that cannot refuses it when the rollout begins, and the gate would find nobody to run its test.

use super::{
    Check, Failed, Fault,
    failed::one,
    fetch::Counter,
    fit::lacks,
    world::{Runner, Surveyed, World},
};

/// One for each runner that its gates would wait for in vain.
pub(super) fn failed(world: &World) -> Vec<Failed> {
    let mut counter = Counter::new(world);
    let judge = |runner: &Runner| judge(world, runner, counter.of(&runner.host).room);
    world.runners.iter().filter_map(judge).collect()
}

fn judge(world: &World, runner: &Runner, room: u64) -> Option<Failed> {
    let name = &runner.host.member.name;
    let test = format!("gate {} runs its test on {name}", runner.gates.join(", "));
    if let Surveyed::Unknown { .. } = runner.host.surveyed {
        return Some(one(
            Check::Runner,
            format!("{test}, which did not answer. See: longshore host show {name}"),
        ));
    }
    let held = runner.host.surveyed.answer().and_then(|survey| survey.hold.as_ref());
    let held = held.map(|reason| format!("is held by somebody there ({reason}): longshore-agent unhold"));
    let lacks = lacks(world, &runner.host, room).into_iter().filter(|lack| keeps_from_holding(lack.check));
    let faults = held.into_iter().chain(lacks.map(|lack| lack.what));
    let hosts: Vec<Fault> = faults.map(|what| Fault { host: name.clone(), what }).collect();
    (!hosts.is_empty()).then(|| {
        let (app, version) = (&world.release.manifest.app, &world.target.version);
        Failed { hosts, ..one(Check::Runner, format!("{test}, which would not take {app}@{version}")) }
    })
}

/// Nothing of the release is started there: it listens nowhere, and gets no traffic.
fn keeps_from_holding(check: Check) -> bool {
    !matches!(check, Check::Ports | Check::Clock | Check::Traffic)
}
