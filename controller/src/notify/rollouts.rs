//! What a rollout's way gives to tell.

use super::{AskingGate, FirstFailure, Happening, Kind};
use crate::{
    engine::records::Record,
    rollout::{GateKind, Header, Inside, Outcome, Phase, Rollout, Why, first_failure},
};

/// What is worth telling of the step from one state to the next.
pub fn happenings(before: &Header, after: &Record) -> Vec<Happening> {
    let (old, new) = (&before.phase, &after.header.phase);
    let mut found = vec![];
    let aborted = matches!(new, Phase::Done(done) if done.outcome == Outcome::Aborted);
    if matches!(old, Phase::Ready) && !matches!(new, Phase::Ready) && !aborted {
        found.push(of(after, Kind::Started, "has begun", String::new()));
    }
    found.extend(waiting_gates(before, after));
    found.extend(of_phase(old, after));
    found
}

/// One for all gates that began to wait for people with this step, however many there are. A run's number is never used
/// again, so that neither a later step nor a restart tells of it anew; one that is begun anew asks everybody anew.
fn waiting_gates(before: &Header, after: &Record) -> Option<Happening> {
    let header = &after.header;
    let asks = |name: &String| {
        header.spec.gates.iter().any(|gate| gate.name == *name && gate.kind == GateKind::Approval)
    };
    let begun = header.round.iter().flat_map(|round| &round.runs);
    let begun = begun.filter(|run| run.number > before.gate_runs && run.is_pending() && asks(&run.gate));
    let gates: Vec<AskingGate> =
        begun.map(|run| AskingGate { name: run.gate.clone(), asked: String::new() }).collect();
    // While it is paused nobody can open any; they are begun anew when it goes on.
    let open = matches!(header.phase, Phase::Baking(_) | Phase::Gating(_) | Phase::Watching(_));
    if gates.is_empty() || !open {
        return None;
    }
    let names: Vec<&str> = gates.iter().map(|gate| gate.name.as_str()).collect();
    let word = if names.len() == 1 { "gate" } else { "gates" };
    let what = format!("waits for approval at {word} {}", names.join(", "));
    Some(Happening { gates, ..of(after, Kind::ApprovalNeeded, &what, String::new()) })
}

/// That it was made to begin later.
pub fn scheduled(record: &Record, at: String) -> Happening {
    of(record, Kind::Scheduled, &format!("begins {at}"), String::new())
}

fn of_phase(old: &Phase, after: &Record) -> Option<Happening> {
    let same = old.as_str() == after.header.phase.as_str();
    match &after.header.phase {
        // One that was paused on its way back was told of before.
        Phase::RollingBack(back) if !same && !is_paused_on_its_way_back(old) => {
            Some(of(after, Kind::RollingBack, "goes back", back.cause.to_string()))
        }
        Phase::Awaiting(_) if !same => {
            Some(of(after, Kind::Waiting, "waits for an operator to promote it", explain(after)))
        }
        Phase::Paused(paused) if !same => {
            let why = match &paused.why {
                Why::Operator { .. } => return None,
                Why::VersionFailures(spent) | Why::EnvironmentFailures(spent) => spent.to_string(),
                Why::Withdrawn { by } => format!("the release was withdrawn by {by}"),
                Why::Gate(stop) => stop.to_string(),
                Why::NoProgress => "it makes no progress".to_owned(),
            };
            Some(of(
                after,
                Kind::Waiting,
                "is paused and waits for an operator",
                format!("{why}\n{}", explain(after)),
            ))
        }
        Phase::Done(done) if !same => {
            let (kind, what) = match done.outcome {
                Outcome::Succeeded => (Kind::Succeeded, "has succeeded"),
                Outcome::NothingToDo => (Kind::Succeeded, "had nothing to do"),
                Outcome::RolledBack => (Kind::RolledBack, "was rolled back"),
                Outcome::Failed => (Kind::Failed, "has failed"),
                Outcome::Aborted => (Kind::Aborted, "was aborted"),
            };
            Some(of(after, kind, what, done.reason.clone()))
        }
        _ => None,
    }
}

fn is_paused_on_its_way_back(phase: &Phase) -> bool {
    matches!(phase, Phase::Paused(paused) if matches!(paused.inside, Inside::RollingBack(_)))
}

fn explain(record: &Record) -> String {
    format!("See: longshore rollout explain {}", record.header.id)
}

/// Which host failed first, and how.
pub fn failure(rollout: &Rollout) -> Option<FirstFailure> {
    let (_, host, last) = first_failure(rollout)?;
    let failed = rollout.hosts.values().filter(|host| host.failure.is_some()).count();
    Some(FirstFailure {
        host: host.name.clone(),
        code: last.failure.code.clone(),
        step: last.failure.step,
        message: last.failure.message.clone(),
        others: failed.saturating_sub(1),
    })
}

fn of(record: &Record, kind: Kind, what: &str, text: String) -> Happening {
    let Header { app, env, target, id, from_version, .. } = &record.header;
    let version = &target.version;
    let subject = format!("{app}@{version} to {env} {what}");
    Happening {
        text,
        rollout: Some(*id),
        plan: record.plan,
        from_version: from_version.clone(),
        by: Some(record.started_by.clone()),
        ..Happening::of_env(kind, env, subject).of(app, version).because(&record.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{
        Cause, GateStop, Gating, Paused, RollingBack, Round, Run, RunState, Stage, Staging, Verdict,
        tests::setup::rollout,
    };

    fn header(phase: Phase) -> Header {
        Header { phase, ..rollout("a b").header }
    }

    fn record(phase: Phase) -> Record {
        Record {
            header: header(phase),
            request_id: String::new(),
            started_by: "ada".to_owned(),
            reason: String::new(),
            rollback: false,
            newcomers: false,
            plan: None,
            overrides: vec![],
        }
    }

    fn told(before: Phase, after: Phase) -> Vec<(Kind, String)> {
        happenings(&header(before), &record(after)).into_iter().map(|one| (one.kind, one.text)).collect()
    }

    fn forward() -> Inside {
        Inside::Staging(Staging { wave: 0, since: 0, deadline: 9 })
    }

    fn back() -> RollingBack {
        RollingBack { cause: Cause::Operator { by: "bob".to_owned() }, wave: 0, since: 0, deadline: 9 }
    }

    fn paused(inside: Inside, why: Why) -> Phase {
        Phase::Paused(Paused { inside, why, since: 0 })
    }

    /// Whoever is told that it waits for them has to know that a gate said no.
    #[test]
    fn a_pause_is_told_with_its_reason() {
        let (gate, note) = ("smoke".to_owned(), "2 passed, 1 failed".to_owned());
        let stop = GateStop { gate, verdict: Verdict::Fail, note };
        let by_gate = told(forward().into(), paused(forward(), Why::Gate(stop)));
        assert_eq!(by_gate.len(), 1);
        let (kind, text) = &by_gate[0];
        assert!(
            *kind == Kind::Waiting && text.starts_with("gate smoke: fail: 2 passed, 1 failed\n"),
            "{text}"
        );
        let stuck = told(forward().into(), paused(forward(), Why::NoProgress));
        assert!(stuck[0].1.starts_with("it makes no progress\n"), "{stuck:?}");
    }

    /// One notice for all of them when they begin, and none with what happens while they wait.
    #[test]
    fn gates_that_begin_to_wait_are_told_once() {
        let run = |gate: &str, number: u32, state: RunState| Run {
            gate: gate.to_owned(),
            number,
            since: 0,
            deadline: 9,
            waits: false,
            state,
        };
        let spec = "a b | canary=1 gate=go:canary:approval gate=legal:canary:approval gate=errors:canary";
        let at = |phase: Phase, runs: Vec<Run>| {
            let gate_runs = runs.iter().map(|run| run.number).max().unwrap_or(0);
            let round = Some(Round { stage: Stage::After { wave: 0 }, runs });
            Header { phase, round, gate_runs, ..rollout(spec).header }
        };
        let asked = |before: &Header, after: Header| {
            let after = Record { header: after, ..record(Phase::Ready) };
            let told = happenings(before, &after).into_iter();
            let names = |one: Happening| one.gates.into_iter().map(|gate| gate.name).collect::<Vec<_>>();
            told.filter(|one| one.kind == Kind::ApprovalNeeded).map(names).collect::<Vec<_>>()
        };
        let gating = || Phase::Gating(Gating { wave: 0, before: false, promoted: false, since: 0 });
        let pending = |first: u32| -> Vec<Run> {
            let begun = (first..).zip(["errors", "go", "legal"]);
            begun.map(|(number, gate)| run(gate, number, RunState::Pending)).collect()
        };
        let begun = at(gating(), pending(1));
        assert_eq!(asked(&at(forward().into(), vec![]), begun.clone()), [["go", "legal"]]);
        let by = "bob".to_owned();
        let passed = RunState::PassedOver { by, reason: String::new(), at: 3 };
        let mut later = begun.clone();
        later.round.as_mut().expect("one was begun").runs[0].state = passed;
        assert!(asked(&begun, later.clone()).is_empty(), "they wait still");
        assert!(asked(&later, later.clone()).is_empty(), "a restart");
        assert_eq!(asked(&later, at(gating(), pending(4))), [["go", "legal"]], "everybody is asked anew");
    }

    /// Most rollouts that go back by hand were paused before; one that was paused on its way back only goes on.
    #[test]
    fn the_way_back_is_told_once_also_after_a_pause() {
        let by_hand = || Why::Operator { by: "bob".to_owned() };
        let goes_back = [(Kind::RollingBack, "rolled back by bob".to_owned())];
        assert_eq!(told(forward().into(), Phase::RollingBack(back())), goes_back);
        assert_eq!(told(paused(forward(), by_hand()), Phase::RollingBack(back())), goes_back);
        let half_way = paused(Inside::RollingBack(back()), by_hand());
        assert!(told(half_way, Phase::RollingBack(back())).is_empty());
    }
}
