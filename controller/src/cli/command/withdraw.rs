//! `release withdraw`: nothing begins with it any more, hosts hear that it is off the list, and whoever withdraws it sees
//! where it runs.

use longshore_common::{time::Span, trust::author::read_catalog};
use longshore_proto::v1 as pb;

use super::{Desk, deadline, trust, trust_check};
use crate::cli::{
    args::ReleaseName,
    client::Client,
    exit::Exit,
    failure::Failure,
    signing::Signed,
    view::{
        release::Release,
        withdrawn::{Heard, Live, Stopped, Withdrawn},
    },
};

pub async fn run(desk: &Desk, release: ReleaseName, reason: String, timeout: Span) -> Result<Exit, Failure> {
    let client = desk.client().await?;
    let ReleaseName { app, version } = release;
    let by = deadline(timeout);
    let request = pb::ShowReleaseRequest { app: app.clone(), version: version.clone() };
    let shown = client.answer(by, client.releases().show(request)).await?;
    let before = shown.release.is_some_and(|release| release.withdrawn);
    let request = pb::WithdrawReleaseRequest { app: app.clone(), version: version.clone(), reason };
    let reply = client.answer(by, client.releases().withdraw(request)).await?;
    // The controller starts nothing with it any more; that no host runs it, only a key can say.
    let signed = trust::delist(desk, &app, &version, timeout).await;
    let signed = signed.map_err(|failure| Failure {
        message: format!("{app}@{version} is withdrawn and still SIGNED: {}", failure.message),
        ..failure
    })?;
    // No key had anything to say either.
    let exit = match (before, &signed) {
        (true, None | Some(Signed::Before)) => Exit::NothingToDo,
        _ => Exit::Done,
    };
    let heard = match &signed {
        Some(Signed::Enough { .. } | Signed::Before) => Some(heard(&client, &app, timeout).await?),
        Some(Signed::Waiting(_)) | None => None,
    };
    let by = deadline(timeout);
    let request = pb::ShowReleaseRequest { app: app.clone(), version: version.clone() };
    let shown = client.answer(by, client.releases().show(request)).await?;
    let request = pb::ListRolloutsRequest { app, active_only: true, ..Default::default() };
    let active = client.answer(by, client.rollouts().list(request)).await?.rollouts;
    let stopped = active.into_iter().filter(|rollout| is_stopped(rollout, &version)).map(Stopped::from);
    let (waiting, overtaken) = signed.map(trust::waiting_for).unwrap_or_default();
    desk.output.print(&Withdrawn {
        release: shown.release.map_or_else(|| Release::from(reply), Release::from),
        waiting,
        overtaken,
        heard,
        stopped: stopped.collect(),
        live: shown.live.into_iter().map(Live::from).collect(),
    })?;
    Ok(exit)
}

/// One that goes back already needs nothing, and one that is to begin later ends then.
fn is_stopped(rollout: &pb::Rollout, version: &str) -> bool {
    rollout.version == version && rollout.phase != "rolling-back" && rollout.phase != "ready"
}

/// Asks every host; each looks for what is new before it answers. Hosts that never had the app look when they get it.
async fn heard(client: &Client, app: &str, timeout: Span) -> Result<Heard, Failure> {
    let by = deadline(timeout);
    let status = client.answer(by, client.trust().status(pb::TrustStatusRequest {})).await?;
    let own = status.repositories.iter().find(|repository| repository.app == app);
    let newest = own.and_then(|own| read_catalog(app, &own.targets).ok()).map_or(0, |list| list.version);
    let mut heard = Heard::default();
    for reply in trust_check::ask(client, "*".to_owned(), timeout).await? {
        let Some(answer) = &reply.answer else {
            heard.behind.push(reply.name);
            continue;
        };
        match answer.repositories.iter().find(|row| row.app == app) {
            Some(row) if row.list_version >= newest => heard.hosts += 1,
            Some(_) => heard.behind.push(reply.name),
            None => {}
        }
    }
    heard.behind.sort();
    Ok(heard)
}
