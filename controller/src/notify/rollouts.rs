//! What a rollout's way gives to tell.

use super::{Happening, Kind};
use crate::{
    engine::records::Record,
    rollout::{Header, Outcome, Phase, Why},
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
        Phase::RollingBack(back) if !same && !matches!(old, Phase::Paused(_)) => {
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
                _ => "it makes no progress".to_owned(),
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

fn explain(record: &Record) -> String {
    format!("See: longshore rollout explain {}", record.header.id)
}

fn of(record: &Record, kind: Kind, what: &str, text: String) -> Happening {
    let Header { app, env, target, id, .. } = &record.header;
    let version = &target.version;
    let subject = format!("{app}@{version} to {env} {what}");
    Happening {
        text,
        rollout: Some(*id),
        by: Some(record.started_by.clone()),
        ..Happening::of_env(kind, env, subject).of(app, version).because(&record.reason)
    }
}
