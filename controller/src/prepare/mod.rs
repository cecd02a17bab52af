//! Plans, in the world: hosts are asked, the store is read, `crate::plan` decides, and the plan is kept and started.
//!
//! `against` finds what there is against releases that hosts run, `ask` puts the questions to hosts, `directed` says what they are asked of whoever directs traffic, `distrust` whether they
//! take anything at all, `dry` fills templates beforehand, `lacking` finds gates that could never open, `gather` makes of all
//! this the world that a plan is computed from, `sketch` leaves open whose plan it is, `keep` stores plans and finds them again, `stale` says which of them cannot start
//! any more, `begin` starts a rollout by one.
//! What a plan says is decided in `crate::plan` and nowhere else.

mod against;
mod ask;
mod begin;
mod directed;
mod distrust;
mod dry;
mod gather;
mod keep;
mod lacking;
mod policy;
mod sketch;
mod stale;
#[cfg(test)]
mod tests;
mod unwell;

use std::sync::Arc;

use longshore_common::{
    digest::PlanDigest,
    ids::{AppName, EnvName, OperatorName, RolloutId, Version},
    time::{Clock, Millis},
};

pub use against::{against_live, refused_on_the_way_back};
pub use begin::{Begin, What};
pub use keep::{Kept, PLANS_KEPT};
pub use stale::{stale, withdrawn};

use self::sketch::Sketch;
use crate::{
    bundle::BundleStore,
    engine::Engine,
    environments::approve::{self, Asked},
    fleet::Fleet,
    plan,
    plan::{Check, Plan},
    store::SharedStore,
    trouble::Trouble,
    trust::TrustCheck,
};

/// Cheap to clone.
#[derive(Clone)]
pub struct Planner {
    pub store: SharedStore,
    pub clock: Arc<dyn Clock>,
    pub fleet: Fleet,
    pub engine: Engine,
    pub bundle: Arc<BundleStore>,
    pub signed: TrustCheck,
}

/// What is to be planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    pub app: AppName,
    pub version: Version,
    pub env: EnvName,
}

impl Planner {
    /// Asks every host of the environment now, computes the plan and keeps it.
    pub async fn make(&self, wish: &Wish, by: &OperatorName) -> Result<Plan, Trouble> {
        self.keep(self.compute(wish, by).await?).await
    }

    /// Keeps a plan. Whoever has to agree to it is asked at once, where it has something to do and nothing else stands in
    /// its way but what somebody may override, or that they are too few yet.
    async fn keep(&self, sketch: Sketch) -> Result<Plan, Trouble> {
        let plan = keep::keep(&self.store, &sketch.by, |author| sketch.of(author)).await?;
        let may_go = |failed: &plan::Failed| failed.may_override || failed.check == Check::Approvers;
        if !plan.is_nothing_to_do() && plan.failed.iter().all(may_go) {
            self.ask_people(&plan).await?;
        }
        Ok(plan)
    }

    /// Asks for the approvals that a plan needs, in the name of whoever made it first.
    async fn ask_people(&self, plan: &Plan) -> Result<(), Trouble> {
        if plan.approval.is_none() {
            return Ok(());
        }
        let asked = Asked {
            plan: plan.digest,
            app: plan.app.clone(),
            version: plan.to.version.clone(),
            env: plan.env.clone(),
            author: plan.made_by.parse()?,
            asked_ms: plan.made_ms,
            said: vec![],
            used: false,
        };
        approve::ask(&self.store, asked).await
    }

    /// The plans that are kept, the newest first.
    pub async fn list(&self) -> Result<Vec<Kept>, Trouble> {
        keep::list(&self.store).await
    }

    /// The plan that an operator means: its digest, a unique beginning of it, or `latest`.
    pub async fn find(&self, text: &str) -> Result<Plan, Trouble> {
        keep::find(&self.store, text).await
    }

    /// The rollout that was started by a plan last.
    pub async fn started_by(&self, plan: &PlanDigest) -> Result<Option<RolloutId>, Trouble> {
        Ok(keep::row_of(&self.store, plan).await?.and_then(|kept| kept.rollout))
    }

    /// As `by` would start it, whoever's plan it is.
    async fn compute(&self, wish: &Wish, by: &OperatorName) -> Result<Sketch, Trouble> {
        let (world, environment, people) = self.gather(wish, by).await?;
        let planned = tokio::task::spawn_blocking(move || plan::plan(&world)).await;
        let plan = planned.expect("computing a plan does not panic");
        tracing::info!(app = %plan.app, env = %plan.env, version = %plan.to.version, plan = %plan.digest.short(),
            hosts = plan.hosts.len(), failed = plan.failed.len(), "planned");
        Ok(Sketch { plan, by: by.clone(), environment, people })
    }

    fn now(&self) -> Millis {
        self.clock.now_ms()
    }
}
