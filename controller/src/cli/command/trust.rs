//! `init`, `app create`, `key …`, `trust …`, and the signing half of `release …`.

use longshore_common::{
    code::Code,
    digest::{ReleaseDigest, hex},
    ids::{AppName, Version},
    time::{Clock as _, Span, SystemClock},
    trust::{FLEET, PublicKey},
};
use longshore_proto::v1 as pb;

use super::{Desk, deadline, hollow};
use crate::cli::{
    args::{KeyCommand, SignArgs, TrustCommand},
    client::Client,
    exit::Exit,
    failure::Failure,
    signing::{self, Changes, Floor, HandedBack, KeyRing, Overtaken, Signed, Signer},
    view::{
        trust::{AppMade, FleetRoot, Keys, Outcome, TrustStatus},
        trust_waiting::{Dropped, TrustKeys},
    },
};

pub async fn init(desk: &Desk, timeout: Span) -> Result<Exit, Failure> {
    let (client, ring) = desk.signing().await?;
    let signer = Signer { client: &client, ring: &ring, by: deadline(timeout) };
    let (root, created) = signing::init(&signer).await?;
    let keys = ring.folder().display().to_string();
    desk.output.print(&FleetRoot { root_sha256: hex(&root), created, keys })?;
    Ok(if created { Exit::Done } else { Exit::NothingToDo })
}

/// The app's first release key is made here.
pub async fn create_app(
    desk: &Desk,
    app: &AppName,
    keys: &[PublicKey],
    threshold: u64,
    timeout: Span,
) -> Result<Exit, Failure> {
    let (client, ring) = desk.signing().await?;
    let signer = Signer { client: &client, ring: &ring, by: deadline(timeout) };
    let (made, signed) = signing::create_app(&signer, app, keys, threshold).await?;
    let signing::AppKeys { own, threshold, keys } = made;
    let (app, public_key) = (app.to_string(), own.to_string());
    let key_id = own.short();
    let (waiting, _) = waiting_for(signed);
    let made = AppMade { app, public_key, key_id, threshold, keys, waiting };
    desk.output.print(&made)?;
    Ok(Exit::Done)
}

pub async fn key(desk: &Desk, command: KeyCommand) -> Result<Exit, Failure> {
    let ring = desk.ring()?.1;
    match command {
        KeyCommand::Create { name } => drop(ring.create(name.as_str())?),
        KeyCommand::Add { name, ssh_agent } => drop(ring.add_from_agent(name.as_str(), &ssh_agent)?),
        KeyCommand::List => {}
    }
    desk.output.print(&Keys::new(&ring))?;
    Ok(Exit::Done)
}

pub async fn run(desk: &Desk, command: TrustCommand) -> Result<Exit, Failure> {
    match command {
        TrustCommand::Status { waiting } => {
            let client = desk.client().await?;
            let request = pb::TrustStatusRequest {};
            let reply = client.answer(deadline(waiting.timeout), client.trust().status(request)).await?;
            show_status(desk, reply)
        }
        TrustCommand::Refresh { waiting } => {
            let (client, ring) = desk.signing().await?;
            let signer = Signer { client: &client, ring: &ring, by: deadline(waiting.timeout) };
            let HandedBack { taken, refused } = signer.hand_back().await?;
            for app in &taken {
                eprintln!("longshore: {app}: the controller had lost what was seen here; it was handed back");
            }
            for (app, why) in &refused {
                eprintln!(
                    "longshore: {app}: what was seen here and the controller has lost is not taken back: {}",
                    why.message
                );
            }
            let request = pb::TrustStatusRequest {};
            let reply = client.answer(signer.by, client.trust().refresh(request)).await?;
            let exit = show_status(desk, reply)?;
            Ok(if refused.is_empty() { exit } else { Exit::Failed })
        }
        TrustCommand::Rotate { app, add, remove, threshold, waiting } => {
            let (client, ring) = desk.signing().await?;
            let signer = Signer { client: &client, ring: &ring, by: deadline(waiting.timeout) };
            let changes = Changes { add, remove, threshold };
            let signed = signing::rotate(&signer, app.as_str(), &changes).await?;
            let what = match app.as_str() {
                FLEET => "the organisation's keys".to_owned(),
                app => format!("the keys of {app}"),
            };
            let accepted = matches!(signed, Signed::Enough { .. });
            let other_keys = app.as_str() == FLEET && accepted && changes != Changes::default();
            let exit = say(desk, what, signed)?;
            if other_keys {
                eprintln!(
                    "longshore: nothing new of any app runs until its root names these keys as well; for each: longshore \
                     trust rotate APP (longshore trust status says whose is lacking)"
                );
            }
            Ok(exit)
        }
        TrustCommand::Keys { app, waiting } => {
            let (client, ring) = desk.signing().await?;
            let request = pb::TrustStatusRequest {};
            let reply = client.answer(deadline(waiting.timeout), client.trust().status(request)).await?;
            let keys = TrustKeys::new(reply, app.as_ref().map(AppName::as_str), &ring.keys());
            if let (true, Some(app)) = (keys.keys.is_empty(), app) {
                return Err(Failure::coded(Code::N01, format!("nothing is signed for {app} here"))
                    .next("longshore trust status"));
            }
            desk.output.print(&keys)?;
            Ok(Exit::Done)
        }
        TrustCommand::Drop { app, id, overtaken: _, reason, waiting } => {
            let client = desk.client().await?;
            let id = id.unwrap_or_default();
            let request = pb::DropTrustRequest { app: app.to_string(), id, reason };
            let reply = client.answer(deadline(waiting.timeout), client.trust().drop(request)).await?;
            let dropped = Dropped::new(app.to_string(), reply);
            desk.output.print(&dropped)?;
            Ok(if dropped.dropped.is_empty() { Exit::NothingToDo } else { Exit::Done })
        }
        TrustCommand::Check { selector, host, timeout } => {
            super::trust_check::run(desk, selector, host, timeout).await
        }
        TrustCommand::Pin { root, replace } => {
            let root: ReleaseDigest = root.parse()?;
            let ring = desk.ring()?.1;
            if ring.pin().is_ok_and(|pin| pin.is_some_and(|pin| pin != root.0)) && !replace {
                return Err(Failure::new(
                    Exit::Refused,
                    "this machine pins another root; nothing was changed",
                )
                .next("if the fleet was made anew: the same with --replace"));
            }
            let _alone = ring.lock()?.map_err(|holder| {
                let folder = ring.folder().display();
                let message = format!("{holder} signs by the keys in {folder}; nothing was changed");
                Failure::coded(Code::S01, message).next("when that has ended: the same again")
            })?;
            ring.forget_seen()?;
            ring.set_pin(root.0)?;
            let keys = ring.folder().display().to_string();
            desk.output.print(&FleetRoot { root_sha256: root.hex(), created: false, keys })?;
            Ok(Exit::Done)
        }
    }
}

/// `release sign`: for whoever did not publish it.
pub async fn sign(desk: &Desk, args: SignArgs) -> Result<Exit, Failure> {
    let SignArgs { release, digest, security, waiting } = args;
    let by = deadline(waiting.timeout);
    let (client, ring) = desk.signing().await?;
    let (app, version): (AppName, Version) = (release.app.parse()?, release.version.parse()?);
    let request = pb::ShowReleaseRequest { app: release.app.clone(), version: release.version.clone() };
    let reply = client.answer(by, client.releases().show(request)).await?;
    let shown = reply.release.ok_or_else(|| hollow("release"))?;
    // What is signed are the bytes, not what somebody says of them.
    let found = ReleaseDigest::of(&reply.manifest);
    if found.hex() != shown.digest || digest.as_ref().is_some_and(|digest| *digest != found.hex()) {
        let message = format!("{app}@{version} has the digest {}; nothing was signed", found.hex());
        return Err(Failure::coded(Code::A01, message));
    }
    let signer = Signer { client: &client, ring: &ring, by };
    let length = reply.manifest.len() as u64;
    let floor = security.then_some(Floor);
    let signed = signing::sign_release(&signer, &app, &version, found, length, floor).await?;
    holds(&signer, &app, &version, &signed).await?;
    say(desk, format!("{app}@{version} ({})", found.short()), signed)
}

/// After `release publish`. None: nothing is signed in this fleet.
pub async fn sign_published(
    client: &Client,
    ring: &KeyRing,
    manifest: &[u8],
    timeout: Span,
) -> Result<Option<Signed>, Failure> {
    let by = deadline(timeout);
    if ring.pin()?.is_none() && signing::fleet_root(client, by).await?.is_none() {
        return Ok(None);
    }
    let read = longshore_common::manifest::Manifest::from_bytes(manifest)?;
    let signer = Signer { client, ring, by };
    let digest = ReleaseDigest::of(manifest);
    let length = manifest.len() as u64;
    let signed = signing::sign_release(&signer, &read.app, &read.version, digest, length, None).await;
    let signed = signed.map_err(|failure| Failure {
        message: format!("{}@{} is published and NOT SIGNED: {}", read.app, read.version, failure.message),
        ..failure
    })?;
    holds(&signer, &read.app, &read.version, &signed).await?;
    Ok(Some(signed))
}

/// Refuses what no host would take, however well it is signed: a document that others sign has run out. What waits for
/// signatures is not that far.
async fn holds(
    signer: &Signer<'_>,
    app: &AppName,
    version: &Version,
    signed: &Signed,
) -> Result<(), Failure> {
    if let Signed::Waiting(_) = signed {
        return Ok(());
    }
    let now = SystemClock.now_ms();
    let expired = signing::expired(signer, app, now).await?;
    let Some(first) = expired.first() else { return Ok(()) };
    let all: Vec<String> = expired.iter().map(|expired| expired.what(now)).collect();
    let message = format!("{app}@{version} is signed, and hosts will not take it: {}", all.join("; "));
    Err(Failure::coded(Code::T04, message).next(first.renewal()))
}

/// After `release withdraw`, where this machine can sign.
pub async fn delist(desk: &Desk, app: &str, version: &str, timeout: Span) -> Result<Option<Signed>, Failure> {
    let (client, ring) = desk.signing().await?;
    if ring.pin()?.is_none() {
        return Ok(None);
    }
    let signer = Signer { client: &client, ring: &ring, by: deadline(timeout) };
    signing::withdraw(&signer, &app.parse()?, &version.parse()?).await.map(Some)
}

fn show_status(desk: &Desk, reply: pb::TrustStatusReply) -> Result<Exit, Failure> {
    let ring = desk.ring()?.1;
    let status = TrustStatus::new(reply, ring.pin()?, &ring.seen(), desk.output.fresh().now);
    desk.output.print(&status)?;
    Ok(if status.warnings.is_empty() { Exit::Done } else { Exit::Failed })
}

fn say(desk: &Desk, what: String, signed: Signed) -> Result<Exit, Failure> {
    let before = signed == Signed::Before;
    let (waiting, overtaken) = waiting_for(signed);
    desk.output.print(&Outcome { what, before, waiting, overtaken })?;
    Ok(if before { Exit::NothingToDo } else { Exit::Done })
}

/// What is missing, if anything; and what does not count any more.
pub(super) fn waiting_for(signed: Signed) -> (Option<String>, Vec<Overtaken>) {
    match signed {
        Signed::Waiting(waiting) => (Some(waiting), vec![]),
        Signed::Enough { overtaken } => (None, overtaken),
        Signed::Before => (None, vec![]),
    }
}
