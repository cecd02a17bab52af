//! `release …`.

use longshore_proto::v1 as pb;

use super::{Desk, deadline, hollow};
use crate::cli::{
    args::ReleaseCommand,
    exit::Exit,
    failure::Failure,
    signing::Signed,
    view::release::{Release, ReleaseDetail, ReleaseList, Verified, Withdrawn},
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
            let client = desk.client().await?;
            let (app, version) = (release.app.clone(), release.version.clone());
            let by = deadline(waiting.timeout);
            let request = pb::ShowReleaseRequest { app: app.clone(), version: version.clone() };
            let shown = client.answer(by, client.releases().show(request)).await?;
            let before = shown.release.is_some_and(|release| release.withdrawn);
            let request = pb::WithdrawReleaseRequest { app: release.app, version: release.version, reason };
            let reply = client.answer(by, client.releases().withdraw(request)).await?;
            // The controller starts nothing with it any more; that no host runs it, only a key can say.
            let signed = super::trust::delist(desk, &app, &version, waiting.timeout).await;
            let signed = signed.map_err(|failure| Failure {
                message: format!("{app}@{version} is withdrawn and still SIGNED: {}", failure.message),
                ..failure
            })?;
            let request = pb::ShowReleaseRequest { app, version };
            let shown = client.answer(by, client.releases().show(request)).await?;
            // No key had anything to say either.
            let exit = match (before, &signed) {
                (true, None | Some(Signed::Before)) => Exit::NothingToDo,
                _ => Exit::Done,
            };
            let (waiting, overtaken) = signed.map(super::trust::waiting_for).unwrap_or_default();
            let release = shown.release.map_or_else(|| Release::from(reply), Release::from);
            desk.output.print(&Withdrawn { release, waiting, overtaken })?;
            Ok(exit)
        }
    }
}
