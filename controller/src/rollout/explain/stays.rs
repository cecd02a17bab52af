//! Traffic that stays where it is, because nobody else can have it.

use longshore_common::{ids::HostId, time::Millis};

use super::{
    Hold, HoldKind,
    sentence::{Named, OPERATOR, about, count, names},
};
use crate::rollout::{
    finish::name_some,
    host::{HostProgress, HostState},
    model::Rollout,
};

/// `nobody of the blue group can have the traffic: a (drained), b (left)`; `None`: it goes where it is to go.
pub(super) fn why(rollout: &Rollout) -> Option<String> {
    let (_, side) = rollout.header.groups().filter(|_| rollout.traffic_cannot_go_back())?;
    let others = rollout.named(|host| host.group == Some(side.other()));
    let others: Vec<String> =
        others.iter().map(|(_, host)| format!("{} ({})", host.name, standing(host))).collect();
    let (other, others) = (side.other(), name_some(others.iter().map(String::as_str)));
    Some(format!("nobody of the {other} group can have the traffic: {others}"))
}

/// Whoever is to get traffic and was not heard; `None`: everybody was.
pub(super) fn by_check(rollout: &Rollout) -> Option<String> {
    let mut unheard: Vec<&str> = rollout.unheard().map(|host| host.name.as_str()).collect();
    unheard.sort_unstable();
    let (is, they) = if unheard.len() == 1 { ("is", "it is") } else { ("are", "they are") };
    let names = name_some(unheard.iter().copied());
    (!unheard.is_empty()).then(|| {
        format!("{names} {is} unknown, and balancers send something there only while their own check says that {they} up")
    })
}

/// On the way back balancers first give the traffic to the group that had it.
pub(super) fn returning(rollout: &Rollout, hold: Hold) -> Hold {
    match rollout.header.groups().filter(|(balancing, _)| balancing.returns) {
        Some((_, side)) if !rollout.leaves_nothing() => {
            let other = side.other();
            let what =
                format!("traffic moves back from the {side} group to the {other} group: {}", hold.what);
            Hold { what, ..hold }
        }
        Some(_) | None => hold,
    }
}

/// `a keeps 2, for what was there before may not run any more`; `None`: everybody can go back.
pub(super) fn no_way_back(rollout: &Rollout) -> Option<String> {
    let hosts = rollout.named(HostProgress::has_no_way_back);
    let ids: Vec<HostId> = hosts.iter().map(|(id, _)| *id).collect();
    let quiet = rollout.without_traffic(&ids).map(|quiet| format!("; {quiet}")).unwrap_or_default();
    let (names, version) = (names(&hosts), &rollout.header.target.version);
    let keeps = if hosts.len() == 1 { "keeps" } else { "keep" };
    let stay = format!("{names} {keeps} {version}, for what was there before may not run any more{quiet}");
    (!hosts.is_empty()).then_some(stay)
}

fn standing(host: &HostProgress) -> &'static str {
    if host.state == HostState::Left {
        host.as_str()
    } else if host.previous.is_none() {
        "runs nothing"
    } else if host.benched {
        "drained"
    } else if host.silent.is_some() {
        "unknown"
    } else {
        host.as_str()
    }
}

/// `; to go on without n1: longshore rollout exclude 0190… n1`: of newcomers for which a balancer has no server. It is told
/// of all of its servers at once, so that everybody waits for them.
pub(super) fn without_newcomers(rollout: &Rollout) -> Option<String> {
    let late = rollout.balancers_awaited(&Default::default());
    let apart = |c: char| c.is_whitespace() || "(),;:".contains(c);
    let named = |host: &HostProgress| {
        let server = format!("/{}", host.name);
        late.iter().any(|said| said.split(apart).any(|word| word.ends_with(&server)))
    };
    let new = rollout.named(|host| !host.is_out() && host.is_new_to_balancers() && named(host));
    let (exclude, typed) = (rollout.command("exclude")?, all_names(&new));
    (!new.is_empty()).then(|| format!("; to go on without {}: {exclude} {typed}", names(&new)))
}

/// As they are typed.
fn all_names(hosts: &Named<'_>) -> String {
    hosts.iter().map(|(_, host)| host.name.as_str()).collect::<Vec<_>>().join(" ")
}

/// Hosts that are to go back and cannot be drained.
pub(super) fn kept(rollout: &Rollout, hosts: Named<'_>, until: Option<Millis>) -> Option<Hold> {
    let why = why(rollout)?;
    let side = rollout.header.groups().map(|(_, side)| side.other());
    let is_drained = |host: &HostProgress| host.benched && host.state != HostState::Left;
    let drained = rollout.named(|host| host.group == side && is_drained(host));
    let command = drained.first().map(|(_, host)| format!("longshore host undrain {}", host.name));
    about(hosts, |hosts| Hold {
        kind: HoldKind::Balancer,
        what: format!("{} the traffic: {}; {why}", count(hosts, "keeps", "keep"), names(hosts)),
        owner: OPERATOR.to_owned(),
        since: Millis::MAX, // of the earliest of its hosts: see `about`
        until,
        then: "the rollout pauses and asks".to_owned(),
        command,
        hosts: vec![],
    })
}
