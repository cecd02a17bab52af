//! What load balancers said when they were asked beforehand: whether they could direct the traffic as a rollout will tell
//! them. A rollout begins with that, and would stand still where one cannot.

use std::collections::BTreeSet;

use longshore_common::{
    ids::HostName,
    report::DRAINED,
    traffic::{Director, Side},
};

use super::{
    Check, Failed, Fault,
    failed::one,
    size,
    world::{Surveyed, World},
};

/// Hosts or releases that a sentence names.
const NAMED: usize = 8;

/// Every balancer that could not do its work, in one precondition.
pub(super) fn failed(world: &World) -> Option<Failed> {
    let routing = world.spec.traffic.as_ref()?;
    let mut hosts: Vec<Fault> = world.balancers.iter().flat_map(|(name, said)| faults(name, said)).collect();
    hosts.extend(unaddressed(world));
    let many = hosts.iter().map(|fault| &fault.host).collect::<BTreeSet<_>>().len();
    (!hosts.is_empty()).then(|| {
        let is = if many == 1 { "1 host keeps" } else { "several hosts keep" };
        let (backend, director) = (&routing.backend, routing.director);
        let what = format!("{is} the traffic of backend {backend} from being directed by {director}");
        Failed { hosts, ..one(Check::Traffic, what) }
    })
}

fn faults(name: &HostName, said: &Surveyed) -> Vec<Fault> {
    let fault = |what: String| Fault { host: name.clone(), what };
    match said {
        Surveyed::Unknown { why, .. } => {
            let see = format!("longshore host show {name}");
            let last = why.as_ref().map(|why| format!("; the last that it said: {why}")).unwrap_or_default();
            vec![fault(format!("did not answer: nobody could tell it where traffic goes{last}. See: {see}"))]
        }
        // An older agent; what it cannot say is no reason to stop.
        Surveyed::Unasked { .. } => vec![],
        Surveyed::Answered(survey) => {
            let held = survey.hold.iter().map(|reason| {
                fault(match reason.starts_with(DRAINED) {
                    true => format!("is {reason}, and takes no directions: longshore host undrain {name}"),
                    false => format!(
                        "is held by somebody there ({reason}), and takes no directions: longshore-agent unhold"
                    ),
                })
            });
            held.chain(survey.traffic.problems.iter().map(|what| fault(what.clone()))).collect()
        }
    }
}

/// nginx has to be told where each host is.
fn unaddressed(world: &World) -> Vec<Fault> {
    let routing = world.spec.traffic.as_ref();
    let nginx = routing.is_some_and(|routing| routing.director == Director::Nginx);
    if !nginx || world.balancers.is_empty() {
        return vec![];
    }
    let lost = world.hosts.iter().map(|host| &host.member).filter(|member| member.address.is_none());
    let what = "has never said an address at which nginx could find it: its agent has to connect once";
    lost.map(|member| Fault { host: member.name.clone(), what: what.to_owned() }).collect()
}

/// What does not stop a rollout.
pub(super) fn remarks(world: &World) -> Vec<String> {
    let notes = |(name, said): &(HostName, Surveyed)| -> Vec<String> {
        match said {
            Surveyed::Answered(survey) => {
                survey.traffic.notes.iter().map(|note| format!("{name}: {note}")).collect()
            }
            Surveyed::Unasked { why, .. } => {
                vec![format!("{name} could not be asked whether it can direct the traffic: {why}")]
            }
            Surveyed::Unknown { .. } => vec![],
        }
    };
    world.balancers.iter().flat_map(notes).chain(joining(world)).chain(parting(world)).collect()
}

/// Where there are no groups any more, the one that had no traffic has its part of it from the beginning, with what it runs.
fn joining(world: &World) -> Option<String> {
    let rolling = world.behind.as_ref().is_some_and(|behind| behind.side.is_none());
    let live = world.live.as_ref().filter(|_| rolling && world.had_groups)?;
    let members = world.hosts.iter().map(|host| &host.member).filter(|member| !member.drained);
    let other = members.filter_map(|member| {
        let runs = member.previous.as_ref().filter(|runs| runs.release != live.release)?;
        Some((member.name.as_str(), runs.version.as_str()))
    });
    let (names, runs): (BTreeSet<&str>, BTreeSet<&str>) = other.unzip();
    let (live, runs) = (&live.version, size::some_of(runs.into_iter(), NAMED));
    (!names.is_empty()).then(|| {
        format!(
            "there were two groups, and are none any more: as soon as the rollout begins, hosts that had no traffic get as \
             much as the others, and until their wave they run {runs}, not {live}: {}",
            size::some_of(names.into_iter(), NAMED)
        )
    })
}

/// Where there were no groups before, every host has traffic until the rollout begins; then one of the two has none.
fn parting(world: &World) -> Option<String> {
    let (gets, has) = world.behind.as_ref()?.side?;
    world.live.as_ref().filter(|_| !world.had_groups)?;
    let loses = if has { gets.other() } else { gets };
    let of = |side: Side| {
        let members = world.hosts.iter().map(|host| &host.member);
        let serving = members.filter(move |m| m.group == Some(side) && !m.drained && m.previous.is_some());
        serving.map(|member| member.name.as_str())
    };
    let (lost, left, keeps) = (of(loses).count(), of(loses.other()).count(), loses.other());
    let verb = if lost == 1 { "gets" } else { "get" };
    (lost > 0).then(|| {
        format!(
            "there are two groups now, and were none: as soon as the rollout begins, {} of {loses} {verb} no traffic any more \
             ({}), and {keeps} has all of it, on {}",
            size::hosts(lost),
            size::some_of(of(loses), NAMED),
            size::hosts(left)
        )
    })
}
