//! Which gates are waited for, and the watch time.

use longshore_common::time::Span;

use super::{Facts, Hold, HoldKind, sentence::OPERATOR};
use crate::rollout::{
    gate::{GateKind, GateSpec, Run, Stage, Then},
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
        Stage::After { wave } => format!("after {}", rollout.wave_name(wave)),
        Stage::Watch => "in the watch time".to_owned(),
    };
    let seen = facts.seen.get(&run.number).map(|seen| format!(": {seen}")).unwrap_or_default();
    let (verdict, _) = gate.overdue();
    let then = match gate.then(verdict) {
        Then::Continue => "it goes on without a verdict",
        Then::Pause => "the rollout pauses and asks",
        Then::Rollback => "the rollout is rolled back",
    };
    Hold {
        kind: HoldKind::Gate,
        what: format!("gate {} ({}) {place} has no verdict yet{seen}", gate.name, gate.kind.as_str()),
        owner: owner(gate).to_owned(),
        since: run.since,
        until: Some(run.deadline),
        then: then.to_owned(),
        command: command(rollout, gate),
        hosts: vec![],
    }
}

fn owner(gate: &GateSpec) -> &'static str {
    match gate.kind {
        GateKind::Approval => "its approvers",
        GateKind::Webhook | GateKind::Http => "whoever answers there",
        GateKind::Probe | GateKind::Test | GateKind::Metrics | GateKind::App => "the controller",
    }
}

fn command(rollout: &Rollout, gate: &GateSpec) -> Option<String> {
    match (gate.kind, gate.promotable) {
        (GateKind::Approval, _) => Some(rollout.command("open")? + " " + &gate.name),
        (_, true) => Some(rollout.command("promote")? + " --reason \"…\""),
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
    Hold {
        kind: HoldKind::Watching,
        what: format!("every wave is done; {version} is watched for {length}{gates}"),
        owner: OPERATOR.to_owned(),
        since: phase.since,
        until: Some(phase.until),
        then: "the rollout has succeeded".to_owned(),
        command: rollout.command("promote"),
        hosts: vec![],
    }
}
