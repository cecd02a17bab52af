//! What a live phase waits for, host by host.

use longshore_common::time::{Millis, Span};

use super::{
    Facts, Hold, HoldKind,
    away::{Ends, apart, away},
    closed::{after_opening, shut},
    passed_over::unconfirmed,
    sentence::{
        BALANCER_OWNER, HOST_OWNER, HOSTS, KEY_OWNER, Named, OPERATOR, TIME, about, after_look, count, names,
        names_doing, once_more,
    },
    stays,
};
use crate::rollout::{
    finish::name_some,
    gate::Stage,
    host::{HostProgress, HostState, LocalHold},
    model::Rollout,
    phase::{Awaiting, Baking, RollingBack, Staging, Switching},
    spec::UnknownHosts,
};

/// What a deadline does, and what can be typed before it.
struct Limit {
    /// As `step` obeys it.
    until: Option<Millis>,
    then: String,
    command: Option<String>,
}

pub(super) fn staging(rollout: &Rollout, phase: &Staging, facts: &Facts) -> Vec<Hold> {
    let hosts = rollout.named(|host| host.wave == phase.wave && host.is_staging());
    let wave = rollout.wave_name(phase.wave);
    let then = format!("those that are not done count as failed; {wave} switches when all others are staged");
    let limit = Limit { until: rollout.deadline(), then, command: rollout.command("watch") };
    let to_be_staged = rollout.named(|host| host.wave == phase.wave && host.state == HostState::Waiting);
    let next = if hosts.is_empty() && to_be_staged.is_empty() { "switches" } else { "is staged" };
    let shut = rollout.is_shut().then(|| shut(rollout, vec![], format!("{wave} {next}")));
    let (gone, hosts) = apart(hosts, facts, limit.until);
    let ends = Ends { stayed: "nobody waits for that here", back: "that counts as a failure" };
    let gone = away(gone, HoldKind::Staging, ["stages", "stage"], facts, limit.until, ends);
    stagers(hosts, facts, limit).into_iter().chain(gone).chain(shut.flatten()).collect()
}

pub(super) fn switching(rollout: &Rollout, phase: &Switching, facts: &Facts) -> Vec<Hold> {
    let awaited = |fits: &dyn Fn(&HostProgress) -> bool| {
        rollout.named(|host| rollout.awaits(phase.wave, host) && fits(host))
    };
    let silent = |host: &HostProgress| host.silent.is_some();
    let held = |host: &HostProgress| !silent(host) && host.is_refusing();
    let free = |host: &HostProgress| !silent(host) && !held(host);
    let limit = |then: &str, command: Option<String>| Limit {
        until: rollout.deadline(),
        then: then.to_owned(),
        command,
    };
    let undo = if rollout.spec().auto_rollback { "the fleet is rolled back" } else { "the rollout fails" };
    let ask = "the rollout pauses and asks";
    let watch = rollout.command("watch");
    let switching = awaited(&|host| free(host) && host.state == HostState::Switching);
    let (gone, switching) = apart(switching, facts, None); // the deadline takes them for unknown
    let stayed = match rollout.spec().unknown {
        UnknownHosts::Wait => ask,
        UnknownHosts::Count => "that counts as a failure",
        UnknownHosts::Skip => "the rollout goes on without that",
    };
    let ends = Ends { stayed, back: undo };
    let is_shut = rollout.is_shut();
    let waiting = |host: &HostProgress| host.state == HostState::Waiting;
    let directed = |host: &HostProgress| {
        let due = host.state == HostState::Staged && !is_shut;
        (due || host.is_to_serve()) && host.waits_for_balancers()
    };
    let staged = |host: &HostProgress| host.state == HostState::Staged && !directed(host);
    let staging =
        awaited(&|host| free(host) && (host.state == HostState::Staging || (!is_shut && waiting(host))));
    let unbegun =
        if is_shut { awaited(&|host| free(host) && (waiting(host) || staged(host))) } else { vec![] };
    let staged = awaited(&|host| free(host) && !is_shut && staged(host));
    let wave = rollout.wave_name(phase.wave);
    let opening = is_shut.then(|| shut(rollout, unbegun, format!("{wave} goes on")));
    [
        movers(switching, HoldKind::Switching, ["switches", "switch"], facts, limit(undo, watch.clone())),
        away(gone, HoldKind::Switching, ["switches", "switch"], facts, rollout.deadline(), ends),
        stagers(staging, facts, limit("those that are not done count as failed", watch)),
        no_slot(rollout, staged, limit(ask, rollout.command("show"))).map(|hold| by_unknown(rollout, hold)),
        balancers(rollout, awaited(&|host| free(host) && directed(host)), facts, limit(ask, None)),
        unknown(rollout, awaited(&silent), limit(ask, None)),
        held_hosts(awaited(&held), limit(ask, None)).map(|hold| or_without(rollout, hold)),
        opening.flatten(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(super) fn rolling_back(rollout: &Rollout, phase: &RollingBack, facts: &Facts) -> Vec<Hold> {
    let awaited =
        |fits: &dyn Fn(&HostProgress) -> bool| rollout.named(|host| rollout.awaits_back(host) && fits(host));
    let silent = |host: &HostProgress| host.silent.is_some();
    let going = |host: &HostProgress| host.is_returning();
    let held = |host: &HostProgress| !silent(host) && !going(host) && host.held.is_some();
    let directed = |host: &HostProgress| {
        !rollout.is_shut_for_return()
            && !silent(host)
            && !going(host)
            && host.held.is_none()
            && host.waits_for_balancers()
    };
    let rest = |host: &HostProgress| !silent(host) && !going(host) && host.held.is_none() && !directed(host);
    let limit = |then: &str| Limit {
        until: rollout.deadline(),
        then: then.to_owned(),
        command: rollout.command("watch"),
    };
    let leave = "the rollout ends and names them; they go back when they return";
    let (gone, returning) = apart(awaited(&going), facts, None);
    let ends = Ends { stayed: "the rollout ends and names who is not back", back: "a human has to look" };
    let rest = awaited(&rest);
    let (waiting, rest) = if rollout.is_shut_for_return() { (rest, vec![]) } else { (vec![], rest) };
    let keeps = rollout.traffic_cannot_go_back();
    let late = match awaited(&HostProgress::needs_return).is_empty() {
        true => "the rollout ends and names the balancers",
        false => "the rollout pauses and asks",
    };
    let (keeping, rest) = rest.into_iter().partition(|(_, host)| keeps && host.serves_now());
    let opening = rollout.is_shut_for_return().then(|| shut(rollout, waiting, "they go back".to_owned()));
    let mut holds: Vec<Hold> = [
        movers(
            returning,
            HoldKind::RollingBack,
            ["goes back", "go back"],
            facts,
            limit("those that are not back are inconsistent"),
        ),
        away(gone, HoldKind::RollingBack, ["goes back", "go back"], facts, rollout.deadline(), ends),
        no_slot(rollout, rest, limit("the rollout pauses and asks")),
        stays::kept(rollout, keeping, rollout.deadline()),
        balancers(rollout, awaited(&directed), facts, limit(late))
            .map(|hold| stays::returning(rollout, hold)),
        unknown(rollout, awaited(&silent), limit(leave)),
        held_hosts(awaited(&held), limit(leave)),
        opening.flatten(),
    ]
    .into_iter()
    .flatten()
    .collect();
    // Why is said once.
    for (nth, hold) in holds.iter_mut().enumerate() {
        let why = if nth == 0 { format!(" ({})", phase.cause) } else { String::new() };
        hold.what = format!("rolling back{why}: {}", hold.what);
    }
    if let (Some(first), Some(stay)) = (holds.first_mut(), stays::no_way_back(rollout)) {
        first.what += &format!("; {stay}");
    }
    holds
}

pub(super) fn baking(rollout: &Rollout, phase: &Baking, facts: &Facts) -> Hold {
    let length = Span::millis((phase.until - phase.since).max(0).unsigned_abs());
    let wave = rollout.wave_name(phase.wave);
    let hosts = rollout.named(|host| host.wave == phase.wave && host.is_good());
    let stands = match rollout.hosts.values().any(|host| host.wave == phase.wave && !host.is_out()) {
        true => format!("is healthy{}", with_share(rollout, phase)),
        false => "has nobody left".to_owned(),
    };
    Hold {
        kind: HoldKind::Baking,
        what: format!("{wave} {stands} and is watched for {length}{}", once_more(rollout, facts)),
        owner: TIME.to_owned(),
        since: phase.since,
        until: Some(facts.last_look.map_or(phase.until, |look| look.until)),
        then: after_look(facts, after_bake(rollout, phase.wave)),
        command: rollout.command("promote"),
        hosts: hosts.iter().map(|(id, _)| *id).collect(),
    }
}

pub(super) fn awaiting(rollout: &Rollout, phase: &Awaiting) -> Hold {
    let wave = rollout.wave_name(phase.wave);
    let hosts = rollout.named(|host| host.wave == phase.wave && host.is_good());
    Hold {
        kind: HoldKind::Promotion,
        what: format!("{wave} is good and needs promotion"),
        owner: OPERATOR.to_owned(),
        since: phase.since,
        until: None,
        then: after(rollout, phase.wave),
        command: rollout.command("promote"),
        hosts: hosts.iter().map(|(id, _)| *id).collect(),
    }
}

/// ` with 10% of its traffic`, while more steps come.
fn with_share(rollout: &Rollout, phase: &Baking) -> String {
    let share = phase.share.or_else(|| rollout.share_watched(phase.wave));
    match share.filter(|_| rollout.next_share(phase.wave).is_some()) {
        Some(share) if rollout.header.groups().is_some() => {
            format!(" with {share}% of the traffic{}", unconfirmed(rollout))
        }
        Some(_) if rollout.replaces(phase.wave) => " with all of its traffic".to_owned(),
        Some(share) => {
            let (whole, unconfirmed) = (whole_on(rollout, phase.wave), unconfirmed(rollout));
            format!(" with {share}% of its traffic{whole}{unconfirmed}")
        }
        None => String::new(),
    }
}

/// `, on b with all of it,`: in a wave where others share it out.
pub(super) fn whole_on(rollout: &Rollout, wave: u32) -> String {
    let whole = rollout.named(|host| host.wave == wave && host.replaces && !host.is_out());
    if whole.is_empty() { String::new() } else { format!(", on {} with all of it,", names(&whole)) }
}

fn after_bake(rollout: &Rollout, wave: u32) -> String {
    let gates: Vec<&str> =
        rollout.gates_at(Stage::After { wave }).into_iter().map(|gate| gate.name.as_str()).collect();
    let follows = match rollout.needs_promotion(wave) {
        true => format!("an operator promotes it, and then {}", after(rollout, wave)),
        false => after(rollout, wave),
    };
    match gates.is_empty() {
        true => follows,
        false => format!("when its gates have passed ({}), {follows}", gates.join(", ")),
    }
}

fn after(rollout: &Rollout, wave: u32) -> String {
    let watched = rollout.watch().as_ms() > 0;
    if let Some(share) = rollout.next_share(wave) {
        let goes = match rollout.header.groups() {
            Some((_, side)) => format!("{share}% of the traffic goes to the {side} group"),
            None if rollout.replaces(wave) => {
                format!("it is watched once more, in place of the step to {share}%")
            }
            None => format!("{share}% of its traffic goes to the release"),
        };
        return after_opening(rollout, goes);
    }
    match rollout.is_last(wave) {
        true if watched && rollout.header.watch.is_some() => {
            "the watch goes on to the end that it had; if that is over, the rollout has succeeded".to_owned()
        }
        true if watched => "the release is watched".to_owned(),
        true => "the rollout has succeeded".to_owned(),
        false => match next_of(rollout, wave) {
            Some(next) => after_opening(rollout, format!("{} begins", rollout.wave_name(next))),
            None => {
                "what follows the last wave comes next, for nobody is left in the waves behind it".to_owned()
            }
        },
    }
}

/// The next wave that somebody is in.
fn next_of(rollout: &Rollout, wave: u32) -> Option<u32> {
    let later = rollout.hosts.values().filter(|host| host.wave > wave && !host.is_out());
    later.map(|host| host.wave).min()
}

fn hold(kind: HoldKind, what: String, owner: &str, limit: Limit) -> Hold {
    let Limit { until, then, command } = limit;
    Hold {
        kind,
        what,
        owner: owner.to_owned(),
        since: Millis::MAX, // of the earliest of its hosts: see `about`
        until,
        then,
        command,
        hosts: vec![],
    }
}

fn stagers(hosts: Named<'_>, facts: &Facts, limit: Limit) -> Option<Hold> {
    about(hosts, |hosts| {
        let what = format!("{}: {}", count(hosts, "stages", "stage"), names_doing(hosts, facts));
        hold(HoldKind::Staging, what, HOSTS, limit)
    })
}

fn movers(hosts: Named<'_>, kind: HoldKind, does: [&str; 2], facts: &Facts, limit: Limit) -> Option<Hold> {
    about(hosts, |hosts| {
        let what = format!("{}: {}", count(hosts, does[0], does[1]), names_doing(hosts, facts));
        hold(kind, what, HOSTS, limit)
    })
}

fn no_slot(rollout: &Rollout, hosts: Named<'_>, limit: Limit) -> Option<Hold> {
    let down = rollout.named(|host| host.is_down(rollout.spec()));
    let word = |host: &HostProgress| if host.finishing { "excluded, finishing" } else { host.as_str() };
    let down: Vec<String> = down.iter().map(|(_, host)| format!("{} ({})", host.name, word(host))).collect();
    let allowed = rollout.spec().max_unavailable;
    let last = hosts.iter().any(|(id, _)| rollout.is_last_to_serve(*id));
    about(hosts, |hosts| {
        if down.is_empty() && last {
            let gone = names(&rollout.named(|host| host.drained && !host.is_out()));
            let (waits, waiting) = (count(hosts, "waits", "wait"), names(hosts));
            let what = format!(
                "{waits}: {waiting}; nobody else would get connections, for balancers send nothing to {gone}"
            );
            return hold(HoldKind::NoSlot, what, HOSTS, limit);
        }
        let what = format!(
            "{} for a slot: {}; at most {allowed} may be down at once, and down are: {}",
            count(hosts, "waits", "wait"),
            names(hosts),
            name_some(down.iter().map(String::as_str)),
        );
        hold(HoldKind::NoSlot, what, HOSTS, limit)
    })
}

/// Slots that nobody but unknown hosts takes do not come free by themselves: it is said how they do.
fn by_unknown(rollout: &Rollout, hold: Hold) -> Hold {
    let down = rollout.named(|host| host.is_down(rollout.spec()));
    let (unknown, others): (Named<'_>, Named<'_>) =
        down.into_iter().partition(|(_, host)| host.silent.is_some());
    if unknown.is_empty() || others.iter().any(|(_, host)| !host.sick || host.is_moving()) {
        return hold;
    }
    let enough = rollout.spec().max_unavailable.at_most(rollout.total()) + unknown.len();
    let more = rollout
        .command("pace")
        .map(|pace| format!("; to let more be down at once: {pace} --max-unavailable {enough}"));
    let all: Vec<&str> = unknown.iter().map(|(_, host)| host.name.as_str()).collect();
    let exclude = rollout.command("exclude").map(|exclude| format!("{exclude} {}", all.join(" ")));
    Hold {
        owner: HOST_OWNER.to_owned(),
        then: hold.then + &more.unwrap_or_default(),
        command: exclude.or(hold.command),
        ..hold
    }
}

/// Those that have to direct traffic before the hosts can go on.
fn balancers(rollout: &Rollout, hosts: Named<'_>, facts: &Facts, limit: Limit) -> Option<Hold> {
    let late = rollout.balancers_awaited(&facts.doing);
    let first = late.first().and_then(|standing| standing.split(' ').next());
    let command = first.map(|name| format!("longshore host show {name}"));
    about(hosts, |hosts| {
        let standing: Vec<String> =
            hosts.iter().map(|(_, host)| format!("{} ({})", host.name, host.as_str())).collect();
        let unheard = stays::by_check(rollout).map(|words| format!("; {words}")).unwrap_or_default();
        let what = format!(
            "{} for balancers to direct traffic: {}; not done: {}{unheard}",
            count(hosts, "waits", "wait"),
            name_some(standing.iter().map(String::as_str)),
            name_some(late.iter().map(String::as_str)),
        );
        let then = limit.then + &stays::without_newcomers(rollout).unwrap_or_default();
        hold(HoldKind::Balancer, what, BALANCER_OWNER, Limit { until: limit.until, then, command })
    })
}

fn unknown(rollout: &Rollout, hosts: Named<'_>, limit: Limit) -> Option<Hold> {
    about(hosts, |hosts| {
        let without = rollout.command("exclude").zip(hosts.first()).map(|(exclude, (_, host))| {
            format!(
                "; to go on without {}: {exclude} {}",
                if hosts.len() == 1 { "it" } else { "one" },
                host.name
            )
        });
        let limit = Limit { then: limit.then + &without.unwrap_or_default(), ..limit };
        let what = format!("{}: {}", count(hosts, "is unknown", "are unknown"), names(hosts));
        let command = hosts.first().map(|(_, host)| format!("longshore host show {}", host.name));
        hold(HoldKind::Unknown, what, HOST_OWNER, Limit { command, ..limit })
    })
}

fn held_hosts(hosts: Named<'_>, limit: Limit) -> Option<Hold> {
    about(hosts, |hosts| {
        let reasons: Vec<String> = hosts
            .iter()
            .map(|(_, host)| {
                let reason = host.held.as_ref().map_or("", |held| held.reason.as_str());
                format!("{} ({reason})", host.name)
            })
            .collect();
        let reasons = name_some(reasons.iter().map(String::as_str));
        if hosts.iter().all(|(_, host)| host.held.as_ref().is_some_and(LocalHold::is_freeze)) {
            let what = format!("{} it: {reasons}", count(hosts, "declines", "decline"));
            let command = Some("longshore fleet unfreeze".to_owned());
            return hold(HoldKind::Held, what, KEY_OWNER, Limit { command, ..limit });
        }
        let what = format!("{} locally: {reasons}", count(hosts, "is held", "are held"));
        let drained = hosts.iter().find(|(_, host)| host.held.as_ref().is_some_and(LocalHold::is_drain));
        let command = match drained {
            Some((_, host)) => format!("longshore host undrain {}", host.name),
            None => "longshore-agent unhold".to_owned(),
        };
        let command = Some(command);
        hold(HoldKind::Held, what, HOST_OWNER, Limit { command, ..limit })
    })
}

/// An operator who drained a host knows best whether to wait for it.
fn or_without(rollout: &Rollout, hold: Hold) -> Hold {
    let is_drained = |host: &HostProgress| host.held.as_ref().is_some_and(LocalHold::is_drain);
    let drained = rollout.named(is_drained).into_iter().filter(|(id, _)| hold.hosts.contains(id));
    let drained: Vec<&str> = drained.map(|(_, host)| host.name.as_str()).collect();
    let Some(exclude) = rollout.command("exclude").filter(|_| !drained.is_empty()) else { return hold };
    let (names, typed) = (name_some(drained.iter().copied()), drained.join(" "));
    Hold { then: format!("{}; to go on without {names}: {exclude} {typed}", hold.then), ..hold }
}
