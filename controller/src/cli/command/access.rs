//! `whoami`, `login`, `user …`, `audit …`.

use std::path::{Path, PathBuf};

use longshore_common::{
    code::Code,
    digest::ReleaseDigest,
    ids::OperatorName,
    text::visible,
    time::{Clock as _, Span, SystemClock},
};
use longshore_proto::v1::{self as pb, change_user_request::Act};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde::Deserialize;
use tokio::time::Instant;
use tonic::Streaming;

use super::{
    Desk,
    audit_list::{self, Wanted},
    deadline, hollow,
};
use crate::{
    audit::{Broken, Checkpoint, Verified, Verifier},
    cli::{
        args::{AuditCommand, UserCommand},
        client::Client,
        context::Contexts,
        exit::Exit,
        failure::Failure,
        given,
        operator::OperatorFolder,
        view::access::{LoggedIn, User, UserList, UserMade, UserRemoved, Verdict, Witnesses},
    },
};

/// A file of checkpoints that is larger is something else.
const WITNESS_BYTES: usize = 1 << 20;

pub async fn whoami(desk: &Desk, timeout: Span) -> Result<Exit, Failure> {
    let client = desk.client().await?;
    let user = client.answer(deadline(timeout), client.access().who_am_i(pb::WhoAmIRequest {})).await?;
    desk.output.print(&User::from(user))?;
    Ok(Exit::Done)
}

/// A new key and certificate in place of the ones in use.
pub async fn login(desk: &Desk, ttl: Option<Span>, timeout: Span) -> Result<Exit, Failure> {
    let client = desk.client().await?;
    let (key, csr_der) = new_key()?;
    let request =
        pb::LoginRequest { csr_der: csr_der.into(), ttl_ms: ttl.map_or(0, |ttl| ttl.as_ms() as u64) };
    let reply = client.answer(deadline(timeout), client.access().login(request)).await?;
    let expires = reply.not_after_ms;
    let config = desk.surroundings.config.as_deref();
    Contexts::renew(config, desk.context.as_deref(), folder(&client, &key, reply))?;
    desk.output.print(&LoggedIn::new(&client.context, expires))?;
    Ok(Exit::Done)
}

pub async fn user(desk: &Desk, command: UserCommand) -> Result<Exit, Failure> {
    let client = desk.client().await?;
    match command {
        UserCommand::Add { name, roles, out, ttl, waiting } => {
            let grants = roles.iter().map(ToString::to_string).collect();
            let request = pb::AddUserRequest {
                name: name.into(),
                grants,
                ttl_ms: ttl.as_ms() as u64,
                ..Default::default()
            };
            add(desk, &client, request, &out, deadline(waiting.timeout)).await?;
        }
        UserCommand::List { waiting } => {
            let mut call = client.access();
            let reply =
                client.answer(deadline(waiting.timeout), call.list_users(pb::ListUsersRequest {})).await?;
            desk.output.print(&UserList::from(reply))?;
        }
        UserCommand::Grant { name, role, waiting } => {
            change(desk, &client, name, Act::Grant(role.to_string()), waiting.timeout).await?;
        }
        UserCommand::Revoke { name, role, waiting } => {
            change(desk, &client, name, Act::Revoke(role.to_string()), waiting.timeout).await?;
        }
        UserCommand::Lock { name, reason, waiting } => {
            change(desk, &client, name, Act::Lock(reason), waiting.timeout).await?;
        }
        UserCommand::Unlock { name, waiting } => {
            change(desk, &client, name, Act::Unlock(pb::Nothing {}), waiting.timeout).await?;
        }
        UserCommand::Remove { name, waiting } => {
            let request = pb::RemoveUserRequest { name: name.to_string() };
            client.answer(deadline(waiting.timeout), client.access().remove_user(request)).await?;
            desk.output.print(&UserRemoved { name: name.into() })?;
        }
    }
    Ok(Exit::Done)
}

/// The key is made here and goes nowhere but into the folder.
async fn add(
    desk: &Desk,
    client: &Client,
    request: pb::AddUserRequest,
    out: &Path,
    by: Instant,
) -> Result<(), Failure> {
    if out.exists() {
        return Err(Failure::usage(format!("{} exists already; name another folder", out.display())));
    }
    let (key, csr_der) = new_key()?;
    let request = pb::AddUserRequest { csr_der: csr_der.into(), ..request };
    let mut reply = client.answer(by, client.access().add_user(request)).await?;
    let user = reply.user.take().ok_or_else(|| hollow("operator"))?;
    let made = UserMade::new(user, out, reply.not_after_ms);
    folder(client, &key, reply)
        .write(out)
        .map_err(|error| Failure::usage(longshore_common::chain::Chain(&error).to_string()))?;
    desk.output.print(&made)
}

async fn change(
    desk: &Desk,
    client: &Client,
    name: OperatorName,
    act: Act,
    timeout: Span,
) -> Result<(), Failure> {
    let request = pb::ChangeUserRequest { name: name.into(), act: Some(act) };
    let user = client.answer(deadline(timeout), client.access().change_user(request)).await?;
    desk.output.print(&User::from(user))
}

fn new_key() -> Result<(KeyPair, Vec<u8>), Failure> {
    let made = || -> Result<_, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let csr = CertificateParams::default().serialize_request(&key)?.der().to_vec();
        Ok((key, csr))
    };
    made().map_err(|error| Failure::coded(Code::X01, format!("make a key: {error}")))
}

fn folder(client: &Client, key: &KeyPair, reply: pb::AddUserReply) -> OperatorFolder {
    OperatorFolder {
        address: client.address.clone(),
        certificate: reply.certificate_pem.to_vec(),
        key: key.serialize_pem().into_bytes(),
        ca: reply.ca_pem.to_vec(),
    }
}

pub async fn audit(desk: &Desk, command: AuditCommand) -> Result<Exit, Failure> {
    let client = desk.client().await?;
    match command {
        AuditCommand::List { actor, method, target, since, denied, lines, follow, waiting } => {
            let from_ms = since.map(|since| SystemClock.now_ms() - since.as_ms());
            let wanted = Wanted { actor, method, target, from_ms, denied };
            audit_list::list(desk, &client, &wanted, lines, follow, deadline(waiting.timeout)).await
        }
        AuditCommand::Verify { witness_files, no_hosts, timeout } => {
            verify(desk, &client, &witness_files, !no_hosts, deadline(timeout)).await
        }
    }
}

pub(super) async fn page<T>(
    client: &Client,
    pages: &mut Streaming<T>,
    by: Instant,
) -> Result<Option<T>, Failure> {
    match tokio::time::timeout_at(by, pages.message()).await {
        Ok(Ok(page)) => Ok(page),
        Ok(Err(status)) => Err(client.explain(status)),
        Err(_) => Err(client.too_late()),
    }
}

async fn verify(
    desk: &Desk,
    client: &Client,
    files: &[PathBuf],
    ask_hosts: bool,
    by: Instant,
) -> Result<Exit, Failure> {
    let (mut witnesses, mut silent, mut answered) = (vec![], vec![], 0);
    for file in files {
        let held = read_witness(file)?;
        witnesses.extend(held.into_iter().map(|checkpoint| (checkpoint, file.display().to_string())));
    }
    if ask_hosts {
        let mut told = client.answer(by, client.access().witnesses(pb::WitnessesRequest {})).await?;
        while let Some(witness) = page(client, &mut told, by).await? {
            let pb::Witness { name, error, checkpoints, .. } = witness;
            match error.is_empty() {
                true => answered += 1,
                false => silent.push(format!("{name}: {error}")),
            }
            witnesses.extend(checkpoints.into_iter().filter_map(checkpoint).map(|held| (held, name.clone())));
        }
    }
    let verifier = Verifier::new(witnesses);
    let (checkpoints, holders) = (verifier.witnesses().len(), verifier.holders());
    let forged: Vec<String> = verifier.forged().iter().cloned().collect();
    let found = read_all(client, verifier, by).await?;
    let exit = match &found {
        Err(_) => Exit::Failed,
        Ok(_) if !forged.is_empty() => Exit::Failed,
        Ok(_) if checkpoints == 0 && answered == 0 && !silent.is_empty() => Exit::Inconclusive,
        Ok(_) => Exit::Done,
    };
    let witnesses = Witnesses { holders, checkpoints, forged, silent };
    desk.output.print(&Verdict::new(found, witnesses, exit == Exit::Inconclusive))?;
    Ok(exit)
}

async fn read_all(
    client: &Client,
    mut verifier: Verifier,
    by: Instant,
) -> Result<Result<Verified, Broken>, Failure> {
    let request = pb::AuditRequest { from: 0, follow: false };
    let mut pages = client.answer(by, client.access().audit(request)).await?;
    while let Some(page) = page(client, &mut pages, by).await? {
        for line in &page.lines {
            if let Err(broken) = verifier.line(line) {
                return Ok(Err(broken));
            }
        }
    }
    Ok(verifier.end())
}

fn checkpoint(told: pb::AuditCheckpoint) -> Option<Checkpoint> {
    let pb::AuditCheckpoint { entries, head, time_ms, key, signature } = told;
    let (head, key) = (head[..].try_into().ok()?, key[..].try_into().ok()?);
    Some(Checkpoint { entries, head, at_ms: time_ms, key, signature: signature.to_vec() })
}

fn read_witness(path: &Path) -> Result<Vec<Checkpoint>, Failure> {
    #[derive(Deserialize)]
    struct Kept {
        entries: u64,
        head: String,
        at_ms: i64,
        key: String,
        signature: Vec<u8>,
    }
    let bad = |why: String| {
        let message =
            format!("witness file `{}` {why}. The log was not looked at", visible(&path.to_string_lossy()));
        Failure::coded(Code::V01, message).next(
            "copy it anew from the host: /var/lib/longshore/identity/audit-checkpoints.json, or with one process \
             /var/lib/longshore/audit-checkpoints.json",
        )
    };
    let text = given::read(path, WITNESS_BYTES).map_err(|error| bad(format!("cannot be read: {error}")))?;
    let kept: Vec<Kept> =
        serde_json::from_slice(&text).map_err(|error| bad(format!("is no list of checkpoints ({error})")))?;
    let digest = |text: &str| {
        text.parse::<ReleaseDigest>()
            .map(|digest| digest.0)
            .map_err(|e| bad(format!("has a checkpoint that is none: {}", e.message)))
    };
    kept.into_iter()
        .map(|Kept { entries, head, at_ms, key, signature }| {
            Ok(Checkpoint { entries, head: digest(&head)?, at_ms, key: digest(&key)?, signature })
        })
        .collect()
}
