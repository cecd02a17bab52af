//! `fleet …`: what the organisation's key says to every host, and which hosts have heard it.

use longshore_common::{
    code::Code,
    digest::ReleaseDigest,
    ids::{AppName, Version},
    trust::{Catalog, FLEET},
};
use longshore_proto::v1 as pb;

use super::{Desk, deadline, trust::waiting_for, trust_check};
use crate::cli::{
    args::{FleetCommand, ReleaseName, Revoked},
    client::Client,
    exit::Exit,
    failure::Failure,
    signing::{self, FleetWord, Signed, Signer},
    view::fleet_word::{FleetSays, Heard, LiveThere, Revoking},
};

/// Characters of a reason: it travels to every host with every update.
const REASON: usize = 200;

pub async fn run(desk: &Desk, command: FleetCommand) -> Result<Exit, Failure> {
    let waiting = match &command {
        FleetCommand::Status { waiting }
        | FleetCommand::Freeze { waiting, .. }
        | FleetCommand::Unfreeze { waiting }
        | FleetCommand::Revoke { waiting, .. }
        | FleetCommand::Unrevoke { waiting, .. } => *waiting,
    };
    let by = deadline(waiting.timeout);
    let (client, ring) = desk.signing().await?;
    let signer = Signer { client: &client, ring: &ring, by };
    let word = match command {
        FleetCommand::Status { .. } => {
            let catalog = signing::fleet_list(&signer).await?;
            let heard = heard(&client, &catalog, waiting.timeout).await?;
            desk.output.print(&FleetSays::new(&catalog, false, None, heard))?;
            return Ok(Exit::Done);
        }
        FleetCommand::Freeze { reason, .. } => FleetWord::Freeze(sound(reason)?),
        FleetCommand::Unfreeze { .. } => FleetWord::Unfreeze,
        FleetCommand::Revoke { release, reason, .. } => {
            FleetWord::Revoke(digest_of(&signer, release).await?, sound(reason)?)
        }
        FleetCommand::Unrevoke { release, .. } => FleetWord::Unrevoke(digest_of(&signer, release).await?),
    };
    let (signed, catalog) = signing::say_to_fleet(&signer, &word).await?;
    let before = signed == Signed::Before;
    let heard = match &signed {
        Signed::Waiting(_) => Heard::default(),
        Signed::Enough { .. } | Signed::Before => heard(&client, &catalog, waiting.timeout).await?,
    };
    let revoking = match (&word, &signed) {
        (FleetWord::Revoke(digest, _), Signed::Enough { .. } | Signed::Before) => {
            let digest = digest.hex();
            Some(Revoking { live: live(&signer, &digest).await, digest })
        }
        _ => None,
    };
    let (waiting, overtaken) = waiting_for(signed);
    let says = FleetSays::new(&catalog, before, waiting, heard);
    desk.output.print(&FleetSays { overtaken, revoking, ..says })?;
    Ok(if before { Exit::NothingToDo } else { Exit::Done })
}

fn sound(reason: String) -> Result<String, Failure> {
    let reason = reason.trim().to_owned();
    if reason.is_empty() || reason.chars().count() > REASON {
        return Err(Failure::usage(format!("a reason has 1 to {REASON} characters: --reason \"…\"")));
    }
    Ok(reason)
}

/// By what was signed, where it was; else as the controller has it.
async fn digest_of(signer: &Signer<'_>, release: Revoked) -> Result<ReleaseDigest, Failure> {
    let ReleaseName { app, version } = match release {
        Revoked::Digest(digest) => return Ok(digest),
        Revoked::Named(name) => name,
    };
    let (name, parsed): (AppName, Version) = (app.parse()?, version.parse()?);
    if let Some(digest) = signing::signed_digest(signer, &name, &parsed).await? {
        return Ok(digest);
    }
    let request = pb::ShowReleaseRequest { app, version };
    let shown = signer.client.answer(signer.by, signer.client.releases().show(request)).await?;
    // The bytes are what counts, not what somebody says of them.
    match shown.manifest.is_empty() {
        false => Ok(ReleaseDigest::of(&shown.manifest)),
        true => Err(Failure::coded(Code::N01, format!("{name}@{parsed} is not known here"))
            .next("name it by its digest: longshore fleet revoke SHA256")),
    }
}

/// Where the release is live. That it is revoked stands, so nothing of this fails the command.
async fn live(signer: &Signer<'_>, digest: &str) -> Option<Vec<LiveThere>> {
    let client = signer.client;
    let request = pb::ListEnvironmentsRequest {};
    let reply = client.answer(signer.by, client.environments().list(request)).await.ok()?;
    let of_env = |env: pb::Environment| {
        let of_it = env.live.into_iter().filter(|live| live.digest == digest);
        let env = env.name;
        of_it
            .map(|pb::LiveRelease { app, version, .. }| LiveThere { app, version, env: env.clone() })
            .collect::<Vec<LiveThere>>()
    };
    Some(reply.environments.into_iter().flat_map(of_env).collect())
}

/// Asks every host; each looks for what is new before it answers.
async fn heard(
    client: &Client,
    catalog: &Catalog,
    timeout: longshore_common::time::Span,
) -> Result<Heard, Failure> {
    let mut heard = Heard::default();
    for reply in trust_check::ask(client, "*".to_owned(), timeout).await? {
        let fleet = reply.answer.iter().flat_map(|answer| &answer.repositories).find(|row| row.app == FLEET);
        match fleet {
            Some(fleet) if fleet.list_version >= catalog.version => heard.hosts += 1,
            _ => heard.behind.push(reply.name),
        }
    }
    heard.behind.sort();
    Ok(heard)
}
