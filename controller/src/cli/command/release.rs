//! `release …`.

use longshore_proto::v1 as pb;

use super::{Desk, deadline, hollow};
use crate::cli::{
    args::ReleaseCommand,
    exit::Exit,
    failure::Failure,
    view::release::{ReleaseDetail, ReleaseList, Verified},
};

pub async fn run(desk: &Desk, command: ReleaseCommand) -> Result<Exit, Failure> {
    match command {
        ReleaseCommand::Publish(args) => super::publish::run(desk, args).await,
        ReleaseCommand::List { app, waiting } => {
            let client = desk.client().await?;
            let request = pb::ListReleasesRequest { app: app.unwrap_or_default() };
            let reply = client.answer(deadline(waiting.timeout), client.releases().list(request)).await?;
            desk.output.print(&ReleaseList::from(reply))?;
            Ok(Exit::Done)
        }
        ReleaseCommand::Show { release, waiting } => {
            let client = desk.client().await?;
            let request = pb::ShowReleaseRequest { app: release.app, version: release.version };
            let reply = client.answer(deadline(waiting.timeout), client.releases().show(request)).await?;
            desk.output.print(&ReleaseDetail::new(reply).ok_or_else(|| hollow("release"))?)?;
            Ok(Exit::Done)
        }
        ReleaseCommand::Verify { release, timeout } => {
            let client = desk.client().await?;
            let name = format!("{}@{}", release.app, release.version);
            let request = pb::ShowReleaseRequest { app: release.app, version: release.version };
            let reply = client.answer(deadline(timeout), client.releases().verify(request)).await?;
            let verified = Verified::new(name, reply);
            desk.output.print(&verified)?;
            Ok(if verified.damaged.is_empty() { Exit::Done } else { Exit::Failed })
        }
        ReleaseCommand::Export(args) => super::export::run(desk, args).await,
        ReleaseCommand::Attestation { release, kind, waiting } => {
            super::export::attestation(desk, release, kind, waiting.timeout).await
        }
        ReleaseCommand::Sign(args) => super::trust::sign(desk, args).await,
        ReleaseCommand::Withdraw { release, reason, waiting } => {
            super::withdraw::run(desk, release, reason, waiting.timeout).await
        }
    }
}
