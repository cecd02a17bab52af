//! The `Plans` service.

use longshore_common::{
    ids::{AppName, EnvName},
    wire::parse,
};
use longshore_proto::v1::{self as pb, plans_server::Plans};
use tonic::{Request, Response, Status};

use super::{invalid, operator, refuse, wanted_name};
use crate::{
    identity::Door,
    plan::Plan,
    prepare::{Kept, Planner, Wish},
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

fn reply(plan: &Plan) -> pb::PlanReply {
    let json = serde_json::to_vec(plan).expect("a plan holds nothing that JSON cannot say");
    pb::PlanReply { digest: plan.digest.hex(), plan: json.into() }
}

fn row(kept: Kept) -> pb::PlanRow {
    let Kept { digest, app, env, version, made_ms, made_by, hosts, waves, failed, pages: _, rollout } = kept;
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
    }
}

#[tonic::async_trait]
impl Plans for PlansService {
    async fn make(&self, request: Request<pb::MakePlanRequest>) -> Result<Response<pb::PlanReply>, Status> {
        let by = operator(&self.door, &request).await?;
        let pb::MakePlanRequest { app, version, env } = request.into_inner();
        let plan = self.planner.make(&wish(&app, &version, &env)?, &by).await.map_err(refuse)?;
        Ok(Response::new(reply(&plan)))
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
        let plans = kept.into_iter().filter(wanted).take(limit).map(row).collect();
        Ok(Response::new(pb::ListPlansReply { plans }))
    }

    async fn show(&self, request: Request<pb::ShowPlanRequest>) -> Result<Response<pb::PlanReply>, Status> {
        operator(&self.door, &request).await?;
        let plan = self.planner.find(&request.into_inner().plan).await.map_err(refuse)?;
        Ok(Response::new(reply(&plan)))
    }
}
