//! The `Plans` service.

use longshore_common::{
    digest::PlanDigest,
    ids::{AppName, EnvName, Version},
    wire::parse,
};
use longshore_proto::v1::{self as pb, plans_server::Plans};
use tonic::{Request, Response, Status};

use super::{approvals, invalid, operator, refuse, wanted_name};
use crate::{
    environments::approve,
    identity::Door,
    plan::Plan,
    prepare::{self, Kept, Planner, Wish},
    trouble::Trouble,
};

/// Rows of a list, unless it is said how many.
const LIST_DEFAULT: usize = 50;

pub struct PlansService {
    pub planner: Planner,
    pub door: Door,
}

pub(super) fn wish(app: &str, version: &str, env: &str) -> Result<Wish, Status> {
    Ok(Wish {
        app: parse("app", app).map_err(invalid)?,
        version: parse("version", version).map_err(invalid)?,
        env: parse("env", env).map_err(invalid)?,
    })
}

impl PlansService {
    async fn reply(&self, plan: &Plan) -> Result<pb::PlanReply, Trouble> {
        let json = serde_json::to_vec(plan).expect("a plan holds nothing that JSON cannot say");
        let rollout = self.planner.started_by(&plan.digest).await?;
        Ok(pb::PlanReply {
            digest: plan.digest.hex(),
            plan: json.into(),
            approval: self.approval(&plan.digest).await?,
            rollout: rollout.map(|id| id.to_string()).unwrap_or_default(),
            withdrawn: self.withdrawn(&plan.app, &plan.to.version).await?,
        })
    }

    /// How a plan stands with those who are asked; none where nobody was.
    async fn approval(&self, plan: &PlanDigest) -> Result<Option<pb::ApprovalRow>, Trouble> {
        let Planner { store, clock, .. } = &self.planner;
        let Some((asked, _)) = approve::get(store, plan).await? else { return Ok(None) };
        Ok(Some(approvals::row(store, &asked, clock.now_ms()).await?))
    }

    /// That its release was withdrawn, also since it was made; empty: it was not.
    async fn withdrawn(&self, app: &AppName, version: &Version) -> Result<String, Trouble> {
        Ok(prepare::withdrawn(&self.planner.store, app, version).await?.unwrap_or_default())
    }

    async fn row(&self, kept: Kept) -> Result<pb::PlanRow, Trouble> {
        let approval = match self.approval(&kept.digest).await? {
            Some(asked) => asked.state,
            None if kept.asks => "pending".to_owned(), // and nobody was asked yet
            None => String::new(),
        };
        let withdrawn = self.withdrawn(&kept.app, &kept.version).await?;
        Ok(pb::PlanRow { approval, withdrawn, ..row(kept) })
    }
}

fn row(kept: Kept) -> pb::PlanRow {
    let Kept { digest, app, env, version, made_ms, made_by, hosts, waves, failed, rollout, .. } = kept;
    pb::PlanRow {
        digest: digest.hex(),
        app: app.to_string(),
        version: version.to_string(),
        env: env.to_string(),
        made_ms,
        made_by,
        hosts,
        waves,
        failed: failed.iter().map(ToString::to_string).collect(),
        rollout: rollout.map(|id| id.to_string()).unwrap_or_default(),
        approval: String::new(),
        withdrawn: String::new(),
    }
}

#[tonic::async_trait]
impl Plans for PlansService {
    async fn make(&self, request: Request<pb::MakePlanRequest>) -> Result<Response<pb::PlanReply>, Status> {
        let by = operator(&self.door, &request).await?;
        let pb::MakePlanRequest { app, version, env } = request.into_inner();
        let plan = self.planner.make(&wish(&app, &version, &env)?, &by).await.map_err(refuse)?;
        Ok(Response::new(self.reply(&plan).await.map_err(refuse)?))
    }

    async fn list(
        &self,
        request: Request<pb::ListPlansRequest>,
    ) -> Result<Response<pb::ListPlansReply>, Status> {
        operator(&self.door, &request).await?;
        let pb::ListPlansRequest { app, env, limit } = request.into_inner();
        wanted_name::<AppName>("app", &app)?;
        wanted_name::<EnvName>("env", &env)?;
        let limit = if limit == 0 { LIST_DEFAULT } else { limit as usize };
        let wanted = |kept: &Kept| {
            (app.is_empty() || kept.app.as_str() == app) && (env.is_empty() || kept.env.as_str() == env)
        };
        let kept = self.planner.list().await.map_err(refuse)?;
        let mut plans = vec![];
        for kept in kept.into_iter().filter(wanted).take(limit) {
            plans.push(self.row(kept).await.map_err(refuse)?);
        }
        Ok(Response::new(pb::ListPlansReply { plans }))
    }

    async fn show(&self, request: Request<pb::ShowPlanRequest>) -> Result<Response<pb::PlanReply>, Status> {
        operator(&self.door, &request).await?;
        let plan = self.planner.find(&request.into_inner().plan).await.map_err(refuse)?;
        Ok(Response::new(self.reply(&plan).await.map_err(refuse)?))
    }
}
