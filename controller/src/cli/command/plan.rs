//! `plan APP@VERSION --to ENV`, `plan list`, `plan show`.

use longshore_proto::v1 as pb;
use tokio::time::Instant;

use super::{Desk, deadline, hollow};
use crate::cli::{
    args::{PlanArgs, PlanCommand, ReleaseName},
    client::Client,
    exit::Exit,
    failure::Failure,
    view::plan::{PlanList, PlanView},
};

pub async fn run(desk: &Desk, args: PlanArgs) -> Result<Exit, Failure> {
    match args.command {
        Some(PlanCommand::List { app, env, limit, waiting }) => {
            let client = desk.client().await?;
            let (app, env) = (app.unwrap_or_default(), env.unwrap_or_default());
            let request = pb::ListPlansRequest { app, env, limit };
            let reply = client.answer(deadline(waiting.timeout), client.plans().list(request)).await?;
            desk.output.print(&PlanList::from(reply))?;
            Ok(Exit::Done)
        }
        Some(PlanCommand::Show { plan, hosts, waiting }) => {
            let client = desk.client().await?;
            let request = pb::ShowPlanRequest { plan };
            let reply = client.answer(deadline(waiting.timeout), client.plans().show(request)).await?;
            desk.output.print(&read(reply)?.with_hosts(hosts))?;
            Ok(Exit::Done)
        }
        None => {
            let (Some(release), Some(env)) = (args.release, args.to) else {
                return Err(Failure::usage(
                    "say what to plan, and where: longshore plan APP@VERSION --to ENV",
                ));
            };
            let client = desk.client().await?;
            let plan = make(&client, release, env, deadline(args.timeout)).await?.with_hosts(args.hosts);
            desk.output.print(&plan)?;
            Ok(plan.exit())
        }
    }
}

/// Has the controller ask every host now.
pub async fn make(
    client: &Client,
    release: ReleaseName,
    env: String,
    by: Instant,
) -> Result<PlanView, Failure> {
    let request = pb::MakePlanRequest { app: release.app, version: release.version, env };
    read(client.answer(by, client.plans().make(request)).await?)
}

fn read(reply: pb::PlanReply) -> Result<PlanView, Failure> {
    PlanView::read(reply).ok_or_else(|| hollow("plan that this version can read"))
}
