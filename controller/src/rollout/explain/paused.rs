//! What a rollout waits for when it is a human's turn.

use longshore_common::report::Blame;

use super::{
    Facts, Hold, HoldKind,
    gates::may_be_passed,
    sentence::{Named, OPERATOR, names},
    stays,
};
use crate::rollout::{
    finish::name_some,
    host::{HostProgress, HostState},
    model::Rollout,
    phase::{Group, Inside, Paused, Phase, Spent, Why},
};

/// What is before a rollout whose time has come: one sentence, who can act, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InLine {
    pub what: String,
    pub owner: String,
    pub command: String,
}

pub(super) fn not_started(rollout: &Rollout, facts: &Facts) -> Hold {
    if let Some(InLine { what, owner, command }) = facts.in_line.clone() {
        return Hold {
            kind: HoldKind::NotStarted,
            what: format!("its time has come, and it waits in line: {what}"),
            owner,
            since: rollout.header.start_at.unwrap_or(rollout.header.created_ms),
            until: None,
            then: "it begins when that is over, if its hosts run then what they ran when it was made"
                .to_owned(),
            command: Some(command),
            hosts: vec![],
        };
    }
    Hold {
        kind: HoldKind::NotStarted,
        what: match rollout.header.start_at {
            Some(_) => "it was made to begin later".to_owned(),
            None => "it has not been started".to_owned(),
        },
        owner: "the controller".to_owned(),
        since: rollout.header.created_ms,
        until: rollout.header.start_at,
        then: match rollout.header.start_at {
            Some(_) => {
                "the first wave begins; not before, also where the environment opens earlier".to_owned()
            }
            None => "the first wave begins".to_owned(),
        },
        command: rollout.command("abort"),
        hosts: vec![],
    }
}

pub(super) fn paused(rollout: &Rollout, paused: &Paused) -> Hold {
    let rolling_back = matches!(paused.inside, Inside::RollingBack(_));
    let phase = Phase::from(paused.inside.clone());
    let at = match phase.wave() {
        Some(wave) if !rolling_back => format!("while {} in {}", phase.as_str(), rollout.wave_name(wave)),
        Some(_) | None => format!("while {}", phase.as_str()),
    };
    let (kind, what, hosts, verb) = match &paused.why {
        Why::Operator { by } => (HoldKind::Paused, format!("paused by {by} {at}"), vec![], "resume"),
        Why::VersionFailures(spent) => {
            let hosts = accused(rollout, paused);
            let what = format!("paused {at}: {}", failures(spent, "", &hosts));
            (HoldKind::VersionFailures, what, hosts, "rollback")
        }
        Why::EnvironmentFailures(spent) => {
            let hosts = accused(rollout, paused);
            let what = format!("paused {at}: {}", failures(spent, ", not by the release", &hosts));
            (HoldKind::EnvironmentFailures, what, hosts, "resume")
        }
        Why::NoProgress => {
            let hosts = blockers(rollout, phase.wave().filter(|_| !rolling_back));
            let mut what =
                format!("paused {at}: nothing could move before the deadline: {}", standing(&hosts));
            what += &undirected(rollout);
            if let Some(why) = stays::why(rollout).filter(|_| rolling_back) {
                what += &format!("; {why}");
            }
            (HoldKind::NoProgress, what, hosts, "resume")
        }
        Why::Gate(stop) => {
            let passable = rollout.gate(&stop.gate).is_some_and(|gate| may_be_passed(rollout, gate));
            let verb = if passable { "promote" } else { "resume" };
            (HoldKind::GateNotPassed, format!("paused {at}: {stop}"), vec![], verb)
        }
        Why::Withdrawn { by } => {
            let what = format!("paused {at}: the release was withdrawn by {by}");
            (HoldKind::Withdrawn, what, vec![], "abort")
        }
    };
    let what = match &paused.why {
        Why::NoProgress => what,
        Why::Operator { .. }
        | Why::VersionFailures(_)
        | Why::EnvironmentFailures(_)
        | Why::Gate(_)
        | Why::Withdrawn { .. } => what + &undirected(rollout),
    };
    let reason = if verb == "promote" { " --reason \"…\"" } else { "" };
    Hold {
        kind,
        what,
        owner: OPERATOR.to_owned(),
        since: paused.since,
        until: None,
        then: then(rollout, paused, rolling_back),
        command: rollout.command(verb).map(|command| command + reason),
        hosts: hosts.iter().map(|(id, _)| *id).collect(),
    }
}

/// `; balancers have not directed traffic: lb-1 (does not answer)`, as long as they have not; whatever it is paused for.
fn undirected(rollout: &Rollout) -> String {
    let late = rollout.balancers_awaited(&Default::default());
    match late.is_empty() {
        true => String::new(),
        false => {
            let late = name_some(late.iter().map(String::as_str));
            format!("; balancers have not directed traffic: {late}")
        }
    }
}

/// The hosts whose failures spend the budget for which it is paused, as they are now: more may have failed since, and
/// some may be tried again.
fn accused<'r>(rollout: &'r Rollout, paused: &Paused) -> Named<'r> {
    let (spent, blame) = match &paused.why {
        Why::VersionFailures(spent) => (spent, Some(Blame::Version)),
        Why::EnvironmentFailures(spent) => (spent, None),
        Why::Operator { .. } | Why::NoProgress | Why::Gate(_) | Why::Withdrawn { .. } => return vec![],
    };
    let wave = phase_wave(paused).filter(|_| spent.group != Group::All);
    rollout.named(|host| {
        let counted = host.counts_as_failed(rollout.spec());
        counted.is_some_and(|whose| blame.is_none_or(|blame| whose == blame))
            && wave.is_none_or(|wave| host.wave == wave)
    })
}

/// `2 hosts failed, 0 allowed overall: a, b`. Of hosts that are tried again it says so.
fn failures(spent: &Spent, whose: &str, hosts: &Named<'_>) -> String {
    if hosts.is_empty() {
        return format!("{spent}{whose}; what failed is tried again on resume");
    }
    let now = Spent { failed: hosts.len() as u32, ..spent.clone() };
    let less = now.failed < spent.failed;
    let again = if less { format!(", of {} when it paused", spent.failed) } else { String::new() };
    format!("{now}{again}{whose}: {}", names(hosts))
}

/// Hosts that are unknown, held or sick, which keeps the others from moving; and those that the wave itself waits for.
fn blockers(rollout: &Rollout, wave: Option<u32>) -> Named<'_> {
    rollout.named(|host| {
        let awaited = match wave {
            Some(wave) => rollout.awaits(wave, host),
            None => host.is_pending(rollout.spec()),
        };
        !host.is_out() && (host.silent.is_some() || host.held.is_some() || host.sick || awaited)
    })
}

fn standing(hosts: &Named<'_>) -> String {
    if hosts.is_empty() {
        return "what was in the way is gone".to_owned();
    }
    let text: Vec<String> = hosts
        .iter()
        .map(|(_, host): &(_, &HostProgress)| format!("{} ({})", host.name, host.as_str()))
        .collect();
    name_some(text.iter().map(String::as_str))
}

fn then(rollout: &Rollout, paused: &Paused, rolling_back: bool) -> String {
    let id = rollout.header.id.short();
    // What is being undone already is not to be undone.
    let undo = match rolling_back {
        true => String::new(),
        false => format!("; or undo it: longshore rollout rollback {id}"),
    };
    match &paused.why {
        Why::Operator { .. } => format!("on resume it goes on where it was{undo}"),
        Why::Withdrawn { .. } => {
            let amid = rollout.named(|host| host.state == HostState::Switching && !host.is_out());
            let beside = match amid.is_empty() {
                true => String::new(),
                false => format!(" beside those in the midst of their change: {}", names(&amid)),
            };
            format!(
                "hosts that run it go back; until then they go on with it, and no further host gets it{beside}"
            )
        }
        Why::VersionFailures(_) => {
            let risk = at_risk(rollout).map(|risk| format!(", and {risk}")).unwrap_or_default();
            format!("the hosts go back; or go on in spite of it{risk}: longshore rollout resume {id}")
        }
        Why::Gate(stop) => match rollout.gate(&stop.gate).is_some_and(|gate| may_be_passed(rollout, gate)) {
            true => {
                format!(
                    "on promote it goes on past the gate; to look again: longshore rollout resume {id}{undo}"
                )
            }
            false => format!("on resume the gate is looked at again{undo}"),
        },
        Why::EnvironmentFailures(_) | Why::NoProgress if rolling_back => {
            let unknown = "unknown and sick hosts are no longer waited for and take no slot".to_owned();
            format!("on resume {}", joined(std::iter::once(unknown).chain(at_risk(rollout)).collect()))
        }
        Why::EnvironmentFailures(_) => {
            let (goes, again) = match accused(rollout, paused).is_empty() {
                true => ("it goes on with all hosts", String::new()),
                false => (
                    "it goes on without these hosts",
                    format!("; to have them tried again: longshore rollout retry {id}, and then resume it"),
                ),
            };
            let parts = std::iter::once(goes.to_owned()).chain(at_risk(rollout)).collect();
            format!("on resume {}{again}{undo}", joined(parts))
        }
        Why::NoProgress => {
            let without = stays::without_newcomers(rollout).map(|without| without + ", and then resume it");
            let without = without.unwrap_or_default();
            format!("on resume {}{without}{undo}", on_resume(rollout, phase_wave(paused)))
        }
    }
}

/// What resuming does with those that are in the way: whoever cannot be asked is passed over, and the others have
/// their turn.
fn on_resume(rollout: &Rollout, wave: Option<u32>) -> String {
    let unasked = |host: &HostProgress| host.silent.is_some() || host.is_refusing();
    let (over, rest): (Named<'_>, Named<'_>) =
        blockers(rollout, wave).into_iter().partition(|(_, host)| unasked(host));
    let awaited = |host: &HostProgress| wave.is_none_or(|wave| rollout.awaits(wave, host));
    let (with, sick): (Named<'_>, Named<'_>) = rest.into_iter().partition(|(_, host)| awaited(host));
    let about =
        |hosts: Named<'_>, does: &str| (!hosts.is_empty()).then(|| format!("{does} {}", names(&hosts)));
    let parts: Vec<String> = [
        about(over, "it passes over"),
        about(with, "it goes on with"),
        about(sick, "it keeps no slot for"),
        at_risk(rollout),
    ]
    .into_iter()
    .flatten()
    .collect();
    if parts.is_empty() { "it goes on".to_owned() } else { joined(parts) }
}

/// Whoever resumes goes on without balancers that have not confirmed what they are told: nobody knows then what these
/// send to a host that is changed.
fn at_risk(rollout: &Rollout) -> Option<String> {
    let round = rollout.header.balancing.as_ref().map_or(0, |balancing| balancing.round);
    let late = rollout.balancers().filter(|(_, balancer)| !balancer.has(round));
    let mut late: Vec<&str> = late.map(|(_, balancer)| balancer.name.as_str()).collect();
    late.sort_unstable();
    let names = name_some(late.iter().copied());
    (!late.is_empty()).then(|| format!("hosts are changed while {names} may still send them requests"))
}

/// `a`, `a, and b`, `a, b, and c`
fn joined(mut parts: Vec<String>) -> String {
    let last = parts.pop().unwrap_or_default();
    if parts.is_empty() { last } else { format!("{}, and {last}", parts.join(", ")) }
}

fn phase_wave(paused: &Paused) -> Option<u32> {
    Phase::from(paused.inside.clone()).wave()
}

impl Paused {
    /// The rollout as if nobody had paused it; only to be read.
    pub(in crate::rollout) fn resumed(&self, rollout: &Rollout) -> Rollout {
        let mut rollout = rollout.clone();
        rollout.header.phase = self.inside.clone().into();
        rollout
    }
}
