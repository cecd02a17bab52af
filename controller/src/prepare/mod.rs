//! Plans, in the world: hosts are asked, the store is read, `crate::plan` decides, and the plan is kept and started.
//!
//! `ask` puts the questions to hosts, `gather` makes the world that a plan is computed from, `lacking` finds gates that could never open, `keep` stores plans and finds
//! them again, `begin` starts a rollout by one. What a plan says is decided in `crate::plan` and nowhere else.

mod ask;
mod begin;
mod gather;
mod keep;
mod lacking;
mod policy;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use longshore_common::{
    digest::PlanDigest,
    ids::{AppName, EnvName, OperatorName, RolloutId, Version},
    time::{Clock, Millis},
};

pub use begin::{Begin, What};
pub use keep::{Kept, PLANS_KEPT};

use crate::{
    bundle::BundleStore,
    engine::Engine,
    environments::approve::{self, Asked},
    fleet::Fleet,
    plan,
    plan::Plan,
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
        let plan = keep::keep(&self.store, self.compute(wish, by).await?).await?;
        if plan.approval.is_some() {
            let asked = Asked {
                plan: plan.digest,
                app: plan.app.clone(),
                version: plan.to.version.clone(),
                env: plan.env.clone(),
                author: by.clone(),
                asked_ms: plan.made_ms,
                said: vec![],
                used: false,
            };
            approve::ask(&self.store, asked).await?;
        }
        Ok(plan)
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

    async fn compute(&self, wish: &Wish, by: &OperatorName) -> Result<Plan, Trouble> {
        let world = self.gather(wish, by).await?;
        let planned = tokio::task::spawn_blocking(move || plan::plan(&world)).await;
        let plan = planned.expect("computing a plan does not panic");
        tracing::info!(app = %plan.app, env = %plan.env, version = %plan.to.version, plan = %plan.digest.short(),
            hosts = plan.hosts.len(), failed = plan.failed.len(), "planned");
        Ok(plan)
    }

    fn now(&self) -> Millis {
        self.clock.now_ms()
    }
}
