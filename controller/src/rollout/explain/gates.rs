//! Which gates are waited for, and the watch time.

use longshore_common::time::Span;

use super::{
    Facts, Hold, HoldKind,
    forward::whole_on,
    sentence::{TIME, after_look, once_more},
};
use crate::rollout::{
    gate::{GateKind, GateSpec, Run, Stage, Then, Verdict},
    model::Rollout,
    phase::Watching,
};

/// One for each gate without a verdict.
pub(super) fn pending(rollout: &Rollout, facts: &Facts) -> Vec<Hold> {
    let due = rollout.due_gates().into_iter();
    due.map(|(stage, gate, run)| hold(rollout, stage, gate, run, facts)).collect()
}

fn hold(rollout: &Rollout, stage: Stage, gate: &GateSpec, run: &Run, facts: &Facts) -> Hold {
    let place = match stage {
        Stage::Before => "before the first wave".to_owned(),
        Stage::After { wave } => {
            format!("after {}{}", rollout.wave_name(wave), with_share(rollout, gate, wave))
        }
        Stage::Watch => "in the watch time".to_owned(),
    };
    let seen = facts.seen.get(&run.number).map(|seen| format!(": {seen}")).unwrap_or_default();
    let queued = queued(rollout, gate);
    let stands = match gate.runner.as_ref().filter(|_| run.waits) {
        Some(runner) => {
            format!("has not begun: it waits for {runner}, which is at a test of another rollout")
        }
        None => "has no verdict yet".to_owned(),
    };
    let then = match run.waits {
        true => leads(gate, Verdict::NoData).to_owned(),
        false => then(gate),
    };
    Hold {
        kind: HoldKind::Gate,
        what: format!("gate {} ({}) {place} {stands}{seen}{queued}", gate.name, gate.kind.as_str()),
        owner: owner(gate).to_owned(),
        since: run.since,
        until: Some(run.deadline),
        then: then + &past(rollout, gate),
        command: command(rollout, gate),
        hosts: vec![],
    }
}

/// ` with 10% of its traffic`, where a gate is looked at with one share of it after the other. Whoever approves is
/// asked with each of them.
fn with_share(rollout: &Rollout, gate: &GateSpec, wave: u32) -> String {
    let shared = || wave == 0 && (rollout.header.traffic_step > 0 || rollout.next_share(wave).is_some());
    let share = match rollout.header.groups() {
        Some((moving, side)) if moving.moves && rollout.is_last(wave) => match moving.share {
            0 => format!(" before the {side} group gets traffic"),
            share => format!(" with {share}% of the traffic on the {side} group"),
        },
        Some(_) => return String::new(),
        None => match rollout.share_watched(wave).filter(|_| shared()) {
            Some(share) if rollout.replaces(wave) => {
                format!(" with all of its traffic, in place of the step to {share}%")
            }
            Some(share) => format!(" with {share}% of its traffic{}", whole_on(rollout, wave)),
            None => return String::new(),
        },
    };
    match gate.kind {
        GateKind::Approval if rollout.replaces(wave) => format!("{share} (each step is approved by itself)"),
        GateKind::Approval => format!("{share} (each share is approved by itself)"),
        GateKind::Probe
        | GateKind::Test
        | GateKind::Metrics
        | GateKind::App
        | GateKind::Webhook
        | GateKind::Http => share,
    }
}

/// `; then runner-1 runs those that wait for it: b, c`
fn queued(rollout: &Rollout, gate: &GateSpec) -> String {
    let queued = rollout.queued_gates();
    let behind = queued.iter().filter(|(_, _, _, first)| first.name == gate.name);
    let names: Vec<&str> = behind.map(|(_, gate, _, _)| gate.name.as_str()).collect();
    match &gate.runner {
        Some(runner) if !names.is_empty() => {
            format!("; then {runner} runs those that wait for it: {}", names.join(", "))
        }
        Some(_) | None => String::new(),
    }
}

/// What its deadline leads to, whatever it will have seen by then.
fn then(gate: &GateSpec) -> String {
    let ends = gate.kind.ends();
    let leads = |verdict: Verdict| leads(gate, verdict);
    let first = leads(ends[0]);
    if ends.iter().all(|verdict| leads(*verdict) == first) {
        return first.to_owned();
    }
    let each: Vec<String> = ends.iter().map(|verdict| format!("{verdict}: {}", leads(*verdict))).collect();
    format!("by what it has seen ({})", each.join("; "))
}

fn leads(gate: &GateSpec, verdict: Verdict) -> &'static str {
    match gate.then(verdict) {
        Then::Continue => "it goes on without a pass",
        Then::Pause => "the rollout pauses and asks",
        Then::Rollback => "the rollout is rolled back",
    }
}

/// To go past it is an operator's: it is not for whoever is waited for. Approvers have a command of their own.
fn past(rollout: &Rollout, gate: &GateSpec) -> String {
    if !may_be_passed(rollout, gate) {
        return String::new();
    }
    let command = promote(rollout).filter(|_| gate.kind == GateKind::Approval);
    let command = command.map(|command| format!(": {command}")).unwrap_or_default();
    format!("; an operator may go past it before{command}")
}

/// Whether `promote` goes on: it goes past everything that is in the way, or past nothing.
pub(super) fn may_be_passed(rollout: &Rollout, gate: &GateSpec) -> bool {
    let mut closed = rollout.runs().iter().filter(|run| run.is_pending() || run.stops().is_some());
    gate.promotable && closed.all(|run| rollout.gate(&run.gate).is_some_and(|gate| gate.promotable))
}

fn promote(rollout: &Rollout) -> Option<String> {
    Some(rollout.command("promote")? + " --reason \"…\"")
}

/// Who is waited for.
fn owner(gate: &GateSpec) -> &'static str {
    match gate.kind {
        GateKind::Approval => "its approvers",
        GateKind::Webhook => "the system that was told",
        GateKind::Http => "the address that is asked",
        GateKind::Probe | GateKind::Test | GateKind::Metrics | GateKind::App => "the controller",
    }
}

fn command(rollout: &Rollout, gate: &GateSpec) -> Option<String> {
    match (gate.kind, may_be_passed(rollout, gate)) {
        (GateKind::Approval, _) => Some(rollout.command("open")? + " " + &gate.name),
        (_, true) => promote(rollout),
        (_, false) => rollout.command("watch"),
    }
}

pub(super) fn watching(rollout: &Rollout, phase: &Watching, facts: &Facts) -> Hold {
    let length = Span::millis((phase.until - phase.since).max(0).unsigned_abs());
    let version = &rollout.header.target.version;
    let gates: Vec<String> = rollout
        .due_gates()
        .iter()
        .map(|(_, gate, run)| match facts.seen.get(&run.number) {
            Some(seen) => format!("{} ({seen})", gate.name),
            None => gate.name.clone(),
        })
        .collect();
    let gates =
        if gates.is_empty() { String::new() } else { format!(", and so are gates: {}", gates.join(", ")) };
    let kept = match rollout.header.watch {
        Some(_) => ", newcomers that were moved meanwhile included",
        None => "",
    };
    Hold {
        kind: HoldKind::Watching,
        what: format!(
            "every wave is done; {version} is watched for {length}{kept}{gates}{}",
            once_more(rollout, facts)
        ),
        owner: TIME.to_owned(),
        since: phase.since,
        until: Some(facts.last_look.map_or(phase.until, |look| look.until)),
        then: after_look(facts, "the rollout has succeeded".to_owned()),
        command: rollout.command("promote"),
        hosts: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::gate::After;

    fn gate(kind: GateKind, on_fail: Then, on_inconclusive: Then, on_no_data: Then) -> GateSpec {
        GateSpec {
            name: "g".into(),
            kind,
            after: After::Canary,
            deadline: Span::secs(60),
            on_fail,
            on_inconclusive,
            on_no_data,
            beside_bake: false,
            in_watch: false,
            promotable: false,
            runner: None,
        }
    }

    #[test]
    fn a_deadline_leads_to_what_the_last_look_does() {
        use Then::{Continue, Pause, Rollback};
        let said = |kind| then(&gate(kind, Rollback, Pause, Pause));
        assert_eq!(
            said(GateKind::Http),
            "by what it has seen (fail: the rollout is rolled back; no-data: the rollout pauses and asks)"
        );
        assert_eq!(said(GateKind::Metrics), "the rollout pauses and asks");
        assert_eq!(said(GateKind::Approval), "the rollout pauses and asks");
        assert_eq!(
            then(&gate(GateKind::Metrics, Rollback, Rollback, Continue)),
            "by what it has seen (inconclusive: the rollout is rolled back; no-data: it goes on without a pass)"
        );
    }
}
