//! The gates of a rollout as messages: those that are over with their evidence, then those that are looked at.

use longshore_proto::v1 as pb;

use crate::{
    engine::{
        View,
        gates::{GateResult, settled_at},
    },
    rollout::{GateSpec, Run, RunState, Stage, Then},
};

pub fn rows(view: &View) -> Vec<pb::GateRow> {
    let settled = view.gates.iter().map(|GateResult { gate, settled, evidence }| pb::GateRow {
        evidence: evidence.clone(),
        ..row(settled.stage, gate, &settled.run)
    });
    // A verdict that came between the two reads is in both.
    let is_settled = |run: &Run| view.gates.iter().any(|result| result.settled.run.number == run.number);
    let due = view.rollout.due_gates().into_iter().filter(|due| !is_settled(due.2));
    let pending = due.map(|(stage, gate, run)| pb::GateRow {
        note: view.seen.get(&run.number).cloned().unwrap_or_default(),
        ..row(stage, gate, run)
    });
    let queued = view.rollout.queued_gates().into_iter().map(|(stage, gate, run, first)| pb::GateRow {
        note: match &gate.runner {
            Some(runner) => format!("waits for {runner}, which runs gate {} first", first.name),
            None => String::new(),
        },
        ..row(stage, gate, run)
    });
    settled.chain(pending).chain(queued).collect()
}

fn row(stage: Stage, gate: &GateSpec, run: &Run) -> pb::GateRow {
    let (note, then) = match &run.state {
        RunState::Pending => (String::new(), ""),
        RunState::Concluded { note, then, .. } => (note.clone(), word(*then)),
        RunState::PassedOver { by, reason, .. } => (format!("passed over by {by}: {reason}"), "continue"),
    };
    let place = match stage {
        Stage::Before => "before".to_owned(),
        Stage::After { wave } => format!("after wave {}", wave + 1),
        Stage::Watch => "watch".to_owned(),
    };
    let until_ms = if run.is_pending() { run.deadline } else { settled_at(&run.state) };
    pb::GateRow {
        name: gate.name.clone(),
        kind: gate.kind.as_str().to_owned(),
        place,
        state: run.as_str().to_owned(),
        note,
        since_ms: run.since,
        until_ms,
        then: then.to_owned(),
        evidence: vec![],
        run: run.number,
        promotable: gate.promotable,
    }
}

fn word(then: Then) -> &'static str {
    match then {
        Then::Continue => "continue",
        Then::Pause => "pause",
        Then::Rollback => "rollback",
    }
}
