//! Whether an environment's policy lets a rollout begin: locks, approvals, and where the release has proved itself.

use std::collections::BTreeSet;

use longshore_common::{
    code::Code,
    digest::{PlanDigest, ReleaseDigest},
    ids::EnvName,
    time::Millis,
};

use super::records::Record;
use crate::{
    config::Environment,
    environments::{approve, lock},
    promotion::{Run, unproved},
    rollout::{Outcome, Phase},
    store::{Guard, Key, SharedStore, Write, record},
    trouble::Trouble,
};

/// What is to begin.
pub(super) struct Wanted<'a> {
    pub environment: &'a Environment,
    pub app: &'a longshore_common::ids::AppName,
    pub release: ReleaseDigest,
    /// Back to what was live before: it has been here.
    pub back: bool,
    pub plan: Option<&'a PlanDigest>,
    pub at: Millis,
}

/// What the commit that makes the rollout holds besides.
#[derive(Debug, Default)]
pub(super) struct Permit {
    pub guards: Vec<Guard>,
    pub writes: Vec<Write>,
}

/// Refused with the reason, or what the commit has to hold so that it is still so then.
pub(super) async fn permit(
    store: &SharedStore,
    wanted: &Wanted<'_>,
    past: &[Record],
    now: Millis,
) -> Result<Permit, Trouble> {
    let env = &wanted.environment.name;
    let mut permit = Permit { guards: lock::check(store, env, wanted.app, now).await?, ..Permit::default() };
    if wanted.back {
        return Ok(permit);
    }
    proved(wanted, past, now)?;
    let rule = &wanted.environment.approval;
    if let Some((mut asked, revision)) = approve::permit(store, env, rule, wanted.plan, wanted.at).await? {
        let key = Key::approvals(&asked.plan);
        asked.used = true;
        permit.guards.push(Guard::Unchanged(key.clone(), revision));
        permit.writes.push(Write::Put(key.clone(), record::encode(&key, &asked)?));
    }
    Ok(permit)
}

fn proved(wanted: &Wanted<'_>, past: &[Record], now: Millis) -> Result<(), Trouble> {
    let demands = &wanted.environment.promotion.after;
    let envs: BTreeSet<&EnvName> = demands.iter().map(|demand| &demand.env).collect();
    let mut runs: Vec<Run> = past
        .iter()
        .filter(|record| record.header.app == *wanted.app && envs.contains(&record.header.env))
        .filter_map(run)
        .collect();
    runs.sort_by_key(|run| run.ended);
    let lacking = unproved(demands, wanted.release, &runs, now);
    if lacking.is_empty() {
        return Ok(());
    }
    let calendar = &wanted.environment.calendar;
    let lacking: Vec<String> = lacking
        .iter()
        .map(|unproved| match unproved.due() {
            Some(due) => format!("{unproved} until {}", calendar.say_moment(due)),
            None => unproved.to_string(),
        })
        .collect();
    let env = &wanted.environment.name;
    let message = format!("the release may not come to {env} yet: {}", lacking.join("; "));
    Err(Trouble::refused(Code::W03, message))
}

/// A rollout that came to its good end.
fn run(record: &Record) -> Option<Run> {
    let Phase::Done(done) = &record.header.phase else { return None };
    if !matches!(done.outcome, Outcome::Succeeded | Outcome::NothingToDo) {
        return None;
    }
    Some(Run {
        env: record.header.env.clone(),
        rollout: record.header.id,
        release: record.header.target.release,
        ended: done.at,
        rollback: record.rollback,
        passed: record.header.passed.clone(),
    })
}
