//! `app list | show | create`.

use longshore_common::code::Code;
use longshore_proto::v1 as pb;
use tokio::time::Instant;

use super::{Desk, deadline, trust};
use crate::cli::{
    args::AppCommand,
    client::Client,
    exit::Exit,
    failure::Failure,
    view::app::{AppDetail, AppList},
};

pub async fn run(desk: &Desk, command: AppCommand) -> Result<Exit, Failure> {
    match command {
        AppCommand::Create { app, keys, threshold, waiting } => {
            trust::create_app(desk, &app, &keys, threshold, waiting.timeout).await
        }
        AppCommand::List(waiting) => {
            let client = desk.client().await?;
            desk.output.print(&list(&client, String::new(), deadline(waiting.timeout)).await?)?;
            Ok(Exit::Done)
        }
        AppCommand::Show { app, waiting } => {
            let (client, by) = (desk.client().await?, deadline(waiting.timeout));
            let found = list(&client, app.to_string(), by).await?.apps.into_iter().next();
            let found = found.ok_or_else(|| {
                Failure::coded(Code::N01, format!("no release of {app} was ever published here"))
                    .next("all apps: longshore app list")
            })?;
            let hosts = client.answer(by, client.hosts().list(pb::ListHostsRequest::default())).await?;
            desk.output.print(&AppDetail::new(found, hosts))?;
            Ok(Exit::Done)
        }
    }
}

/// With an empty name, all of them.
async fn list(client: &Client, app: String, by: Instant) -> Result<AppList, Failure> {
    let releases = client.answer(by, client.releases().list(pb::ListReleasesRequest { app })).await?;
    let environments = client.answer(by, client.environments().list(pb::ListEnvironmentsRequest {})).await?;
    Ok(AppList::new(releases, environments))
}
