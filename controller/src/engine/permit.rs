//! Whether an environment's policy lets a rollout begin: locks, approvals, and where the release has proved itself.

use std::collections::BTreeSet;

use longshore_common::{
    code::Code,
    digest::{PlanDigest, ReleaseDigest},
    ids::{AppName, EnvName, OperatorName},
    time::Millis,
};

use super::records::{Overridden, Record};
use crate::{
    config::Environment,
    environments::{approve, lock},
    plan::Check,
    promotion::{Run, Unproved, unproved},
    rollout::{Outcome, Phase},
    store::{Guard, Key, SharedStore, Write, record},
    trouble::Trouble,
};

/// What is to begin.
pub(super) struct Wanted<'a> {
    pub environment: &'a Environment,
    pub app: &'a AppName,
    pub release: ReleaseDigest,
    /// Back to what was live before, or no further than what is: it has been here.
    pub back: bool,
    pub plan: Option<&'a PlanDigest>,
    /// Who starts it.
    pub by: &'a OperatorName,
    /// Of the plan's preconditions, those that it is started in spite of.
    pub overrides: &'a [Overridden],
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
    let overridden = |check: Check| wanted.overrides.iter().any(|overridden| overridden.check == check);
    let mut permit = Permit::default();
    if !overridden(Check::Locked) {
        permit.guards = lock::check(store, env, wanted.app, now).await?;
    }
    if wanted.back {
        return Ok(permit);
    }
    if !overridden(Check::Promotion) {
        proved(wanted, past, now)?;
    }
    let Wanted { environment, app, plan, by, at, .. } = *wanted;
    if let Some((mut asked, revision)) = approve::permit(store, environment, app, plan, by, at, now).await? {
        let key = Key::approvals(&asked.plan);
        asked.used = true;
        permit.guards.push(Guard::Unchanged(key.clone(), revision));
        permit.writes.push(Write::Put(key.clone(), record::encode(&key, &asked)?));
    }
    Ok(permit)
}

fn proved(wanted: &Wanted<'_>, past: &[Record], now: Millis) -> Result<(), Trouble> {
    let Wanted { environment, app, release, .. } = wanted;
    let lacking = lacking(environment, app, *release, past, now);
    if lacking.is_empty() {
        return Ok(());
    }
    let lacking: Vec<String> = lacking.iter().map(|unproved| say_unproved(environment, unproved)).collect();
    let env = &environment.name;
    let message = format!("the release may not come to {env} yet: {}", lacking.join("; "));
    Err(Trouble::refused(Code::W03, message))
}

/// The demands of the environment that the release does not meet, by what the rollouts of all environments have seen.
pub fn lacking(
    environment: &Environment,
    app: &AppName,
    release: ReleaseDigest,
    past: &[Record],
    now: Millis,
) -> Vec<Unproved> {
    let demands = &environment.promotion.after;
    let envs: BTreeSet<&EnvName> = demands.iter().map(|demand| &demand.env).collect();
    let mut runs: Vec<Run> = past
        .iter()
        .filter(|record| record.header.app == *app && envs.contains(&record.header.env))
        .filter_map(run)
        .collect();
    runs.sort_by_key(|run| run.ended);
    unproved(demands, release, &runs, now)
}

/// One sentence, with the moment until which to wait on the environment's clock.
pub fn say_unproved(environment: &Environment, unproved: &Unproved) -> String {
    match unproved.due() {
        Some(due) => format!("{unproved} until {}", environment.calendar.say_moment(due)),
        None => unproved.to_string(),
    }
}

/// A rollout that came to its good end.
fn run(record: &Record) -> Option<Run> {
    let Phase::Done(done) = &record.header.phase else { return None };
    if record.newcomers {
        return None; // it ran no gates
    }
    if record.header.waves == 0 || done.nobody {
        return None; // no host took part, or all were left out on the way, so none has run it
    }
    if !matches!(done.outcome, Outcome::Succeeded | Outcome::NothingToDo) {
        return None;
    }
    Some(Run {
        env: record.header.env.clone(),
        rollout: record.header.id,
        release: record.header.target.release,
        began: record.header.started_ms.unwrap_or(done.at),
        ended: done.at,
        rollback: record.rollback,
        passed: record.header.passed.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{Done, Header, tests::setup};

    fn ended(outcome: Outcome, waves: u32) -> Record {
        let phase = Phase::Done(Done { outcome, reason: String::new(), at: 9, nobody: false });
        Record {
            header: Header { waves, phase, ..setup::rollout("a").header },
            request_id: String::new(),
            started_by: "ada".to_owned(),
            reason: String::new(),
            rollback: false,
            newcomers: false,
            plan: None,
            overrides: vec![],
        }
    }

    /// An environment without hosts, or with all of them left out, has seen nothing of a release.
    #[test]
    fn where_no_host_took_part_nothing_was_proved() {
        assert_eq!(run(&ended(Outcome::NothingToDo, 0)), None);
        let mut left_out = ended(Outcome::NothingToDo, 2);
        let Phase::Done(done) = &mut left_out.header.phase else { panic!() };
        done.nobody = true;
        assert_eq!(run(&left_out), None, "every host was excluded half way");
        let ran_already = run(&ended(Outcome::NothingToDo, 1)).expect("its hosts ran it before");
        assert_eq!((ran_already.began, ran_already.ended, ran_already.rollback), (9, 9, false));
        let begun = Record {
            header: Header { started_ms: Some(3), ..ended(Outcome::Succeeded, 1).header },
            ..ended(Outcome::Succeeded, 1)
        };
        assert_eq!(run(&begun).map(|run| (run.began, run.ended)), Some((3, 9)));
        assert!(run(&ended(Outcome::Succeeded, 2)).is_some());
        assert_eq!(run(&ended(Outcome::RolledBack, 2)), None);
        assert_eq!(run(&Record { newcomers: true, ..ended(Outcome::Succeeded, 1) }), None);
    }
}
