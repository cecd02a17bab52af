//! Starts a rollout by a plan: only in a world that is as the plan saw it, with every precondition met or overridden
//! where the environment allows that, with a reason.

use std::{collections::BTreeMap, sync::Arc};

use longshore_common::{
    code::{Code, Coded},
    ids::{OperatorName, RolloutId},
    text::visible,
    time::Millis,
};
use uuid::Uuid;

use super::{Planner, Wish, keep};
use crate::{
    engine::{StartRequest, Ticket, records::Overridden},
    environments::{self, approve},
    plan::{self, Check, Failed, Part, Plan},
    trouble::Trouble,
};

/// What an operator asks for.
#[derive(Clone, Debug)]
pub struct Begin {
    pub what: What,
    /// The same id never starts a second rollout.
    pub request_id: Uuid,
    pub by: OperatorName,
    pub reason: String,
    /// Not to begin before, as people write it; empty: at once.
    pub at: String,
    /// Names of preconditions, each with why.
    pub overrides: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
pub enum What {
    /// This plan and no other.
    Plan(String),
    /// Whatever the plan is now.
    Wish(Wish),
}

/// Hosts that a refusal names for each precondition.
const NAMED: usize = 3;

impl Planner {
    /// Starts a rollout, or finds the one that this request has started before.
    pub async fn begin(&self, begin: Begin) -> Result<RolloutId, Trouble> {
        if let Some(done) = self.engine.started_by(&begin.request_id).await? {
            return Ok(done);
        }
        let given = read_overrides(&begin.overrides)?;
        // A slip in what was typed is said before what the world lacks; nobody is asked for it.
        if !begin.at.is_empty() {
            let env = match &begin.what {
                What::Plan(text) => self.find(text).await?.env,
                What::Wish(wish) => wish.env.clone(),
            };
            self.engine.start_at(&begin.at, &env).await?;
        }
        let plan = match &begin.what {
            What::Plan(text) => self.as_planned(text, &begin.by).await?,
            What::Wish(wish) => self.make(wish, &begin.by).await?,
        };
        let overrides = match admit(&plan, given, &begin.reason) {
            Ok(overrides) => overrides,
            Err(refused) => return Err(self.and_people(refused, &plan, &begin.by).await?.into()),
        };
        for Overridden { check, reason } in &overrides {
            tracing::warn!(plan = %plan.digest.short(), app = %plan.app, env = %plan.env, %check, reason,
                by = %begin.by, "a precondition is overridden");
        }
        let digest = plan.digest;
        // It had nothing to do or could not start when it was made, so nobody was asked.
        if approve::get(&self.store, &digest).await?.is_none() {
            self.ask_people(&plan).await?;
        }
        let id = self.engine.start(request(plan, overrides, begin)).await?;
        keep::started(&self.store, &digest, id).await?;
        Ok(id)
    }

    /// A refusal with what people have yet to say, which would otherwise be found out once the rest is mended.
    async fn and_people(&self, refused: Coded, plan: &Plan, by: &OperatorName) -> Result<Coded, Trouble> {
        let (environment, _) = environments::load(&self.store, &plan.env).await?;
        let lacking =
            approve::lacking(&self.store, &environment, &plan.app, &plan.digest, by, self.now()).await?;
        Ok(match lacking {
            Some(lacking) => Coded::new(refused.code, format!("{}\nBesides: {lacking}", refused.message)),
            None => refused,
        })
    }

    /// The plan as it was made, if the world still gives the same one.
    async fn as_planned(&self, text: &str, by: &OperatorName) -> Result<Plan, Trouble> {
        let was = self.find(text).await?;
        let wish = Wish { app: was.app.clone(), version: was.to.version.clone(), env: was.env.clone() };
        let sketch = self.compute(&wish, by).await?;
        let is = sketch.of(&was.made_by.parse()?);
        let moved = plan::moved(&was, &is);
        if moved.is_empty() {
            return Ok(is);
        }
        let is = self.keep(sketch).await?;
        Err(has_moved(&was, Some(&is), &moved, self.now()).into())
    }
}

fn has_moved(was: &Plan, is: Option<&Plan>, moved: &[String], now: Millis) -> Coded {
    let ago = (now - was.made_ms).max(0) / 1000;
    let ago = longshore_common::time::Span::secs(ago.unsigned_abs());
    let digest = was.digest.short();
    let mut message =
        format!("the world is no longer as plan {digest} saw it {ago} ago. Nothing was started:");
    for what in moved {
        message.push_str(&format!("\n  {what}"));
    }
    if let Some(is) = is {
        let digest = is.digest.short();
        message
            .push_str(&format!("\nThe plan would now be {digest}. Look at it: longshore plan show {digest}"));
    }
    Coded::new(Code::R03, message)
}

/// By check, so that nothing is said twice.
fn read_overrides(given: &[(String, String)]) -> Result<BTreeMap<Check, String>, Coded> {
    let mut read = BTreeMap::new();
    for (name, reason) in given {
        let Some(check) = Check::parse(name) else {
            let known: Vec<&str> = Check::ALL.into_iter().map(Check::as_str).collect();
            let message =
                format!("--override {}: a precondition is one of {}", visible(name), known.join(", "));
            return Err(Coded::new(Code::V01, message));
        };
        if reason.trim().is_empty() {
            let message = format!("--override {check} needs a reason, which is kept: --reason \"...\"");
            return Err(Coded::new(Code::V01, message));
        }
        read.insert(check, longshore_common::wire::cut(reason, 512));
    }
    Ok(read)
}

/// What is overridden, once nothing else stands in the way. An override of what holds changes nothing, and is not kept.
/// `reason` is that of the whole rollout.
fn admit(plan: &Plan, mut given: BTreeMap<Check, String>, reason: &str) -> Result<Vec<Overridden>, Coded> {
    let reason = given.values().next().cloned().unwrap_or_else(|| reason.to_owned());
    let (mut overridden, mut open) = (vec![], vec![]);
    for failed in &plan.failed {
        match given.remove(&failed.check) {
            Some(reason) if failed.may_override => {
                overridden.push(Overridden { check: failed.check, reason })
            }
            Some(_) => return Err(forbidden(plan, failed)),
            // Of one check there may be several findings.
            None if overridden.iter().any(|done: &Overridden| done.check == failed.check) => {}
            None => open.push(failed),
        }
    }
    match open.first() {
        None => Ok(overridden),
        Some(failed) if failed.check == Check::Busy => Err(Coded::new(Code::R02, failed.what.clone())),
        Some(_) => Err(Coded::new(code(&open), unmet(plan, &open, &reason))),
    }
}

fn forbidden(plan: &Plan, failed: &Failed) -> Coded {
    let (check, env) = (failed.check, &plan.env);
    let message = match check.is_absolute() {
        true => format!("\"{check}\" cannot be overridden: {}", failed.what),
        false => format!(
            "environment {env} does not allow to override \"{check}\": {}. \
             Its file would have to say [plan] overrides = [\"{check}\"]",
            failed.what
        ),
    };
    Coded::new(Code::R04, message)
}

/// Policy has codes of its own, where nothing else is in the way.
fn code(open: &[&Failed]) -> Code {
    let all = |check| open.iter().all(|failed| failed.check == check);
    match (all(Check::Locked), all(Check::Promotion)) {
        (true, _) => Code::W01,
        (_, true) => Code::W03,
        _ => Code::R04,
    }
}

fn unmet(plan: &Plan, open: &[&Failed], reason: &str) -> String {
    let digest = plan.digest.short();
    let mut message = format!("plan {digest} may not start. Nothing was changed:");
    for failed in open {
        message.push_str(&format!("\n  {}: {}", failed.check, failed.what));
        for fault in failed.hosts.iter().take(NAMED) {
            message.push_str(&format!("\n    {}: {}", fault.host, fault.what));
        }
        if failed.hosts.len() > NAMED {
            message.push_str(&format!("\n    and {} more", failed.hosts.len() - NAMED));
        }
    }
    message.push_str(&format!("\nAll of it: longshore plan show {digest}"));
    let names: Vec<&str> =
        open.iter().filter(|failed| failed.may_override).map(|failed| failed.check.as_str()).collect();
    let fixed: Vec<&str> =
        open.iter().filter(|failed| !failed.may_override).map(|failed| failed.check.as_str()).collect();
    if !names.is_empty() && !fixed.is_empty() {
        message.push_str(&format!(
            "\nThe environment allows to override {}; {} has to be mended first",
            names.join(", "),
            fixed.join(", ")
        ));
    }
    if fixed.is_empty() {
        // With those that were given: one that is left out stands in the way again.
        let mut names: Vec<&str> = plan.failed.iter().map(|failed| failed.check.as_str()).collect();
        names.dedup();
        let options: Vec<String> = names.iter().map(|name| format!("--override {name}")).collect();
        message.push_str(&format!(
            "\nOr, as the environment allows: longshore rollout start {digest} {} --reason {}",
            options.join(" "),
            typed(reason)
        ));
    }
    message
}

/// As a shell takes it; `"..."` where nothing was said yet.
fn typed(reason: &str) -> String {
    match reason.trim() {
        "" => "\"...\"".to_owned(),
        said => format!("'{}'", visible(said).replace('\'', r"'\''")),
    }
}

fn request(plan: Plan, overrides: Vec<Overridden>, begin: Begin) -> StartRequest {
    let excluded = plan
        .hosts
        .iter()
        .filter(|host| matches!(host.part, Part::Skipped { .. }))
        .map(|host| {
            (host.id, host.notes.first().cloned().unwrap_or_else(|| "left out by the plan".to_owned()))
        })
        .collect();
    StartRequest {
        newcomers: Default::default(),
        app: plan.app.clone(),
        version: Some(plan.to.version.clone()),
        env: plan.env.clone(),
        request_id: begin.request_id,
        by: begin.by,
        reason: begin.reason,
        at: begin.at,
        rollback: false,
        refused: Default::default(),
        ticket: Some(Arc::new(Ticket { plan, overrides, excluded })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{plan, tests::setup::world};

    /// What is offered can be typed as it stands: it has the overrides that were given as well.
    #[test]
    fn what_is_offered_keeps_the_overrides_that_were_given() {
        let plan = plan(&world("a:bare b:port | | overrides=commands,ports"));
        let names = |names: &[Check]| names.iter().map(|name| (*name, "x".to_owned())).collect();
        let [one, other] = [0, 1].map(|nth| plan.failed[nth].check);
        let refused = admit(&plan, names(&[one]), "").unwrap_err().message;
        assert!(refused.contains(&format!("--override {one} --override {other} --reason 'x'")), "{refused}");
        assert_eq!(admit(&plan, names(&[one, other]), "").unwrap().len(), 2);
        let offered = |reason: &str| {
            let refused = admit(&plan, BTreeMap::new(), reason).unwrap_err().message;
            refused.rsplit_once("--reason ").unwrap().1.to_owned()
        };
        assert_eq!(offered("it's in the image"), r"'it'\''s in the image'");
        assert_eq!(offered(" "), "\"...\"");
    }
}
