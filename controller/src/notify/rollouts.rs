//! What a rollout's way gives to tell.

use super::{FirstFailure, Happening, Kind};
use crate::{
    engine::records::Record,
    rollout::{Header, Inside, Outcome, Phase, Rollout, Why, first_failure},
};

/// What is worth telling of the step from one state to the next.
pub fn happenings(before: &Header, after: &Record) -> Vec<Happening> {
    let (old, new) = (&before.phase, &after.header.phase);
    let mut found = vec![];
    let aborted = matches!(new, Phase::Done(done) if done.outcome == Outcome::Aborted);
    if matches!(old, Phase::Ready) && !matches!(new, Phase::Ready) && !aborted {
        found.push(of(after, Kind::Started, "has begun", String::new()));
    }
    found.extend(of_phase(old, after));
    found
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
    use crate::rollout::{Cause, GateStop, Paused, RollingBack, Staging, Verdict, tests::setup::rollout};

    fn told(before: Phase, after: Phase) -> Vec<(Kind, String)> {
        let header = |phase| Header { phase, ..rollout("a b").header };
        let record = Record {
            header: header(after),
            request_id: String::new(),
            started_by: "ada".to_owned(),
            reason: String::new(),
            rollback: false,
            newcomers: false,
            plan: None,
            overrides: vec![],
        };
        happenings(&header(before), &record).into_iter().map(|one| (one.kind, one.text)).collect()
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
