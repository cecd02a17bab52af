//! `whoami`, `login`, `user …`, `audit …`.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

use longshore_common::{
    code::Code,
    digest::ReleaseDigest,
    ids::OperatorName,
    time::{Clock as _, Millis, Span, SystemClock},
};
use longshore_proto::v1::{self as pb, change_user_request::Act};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde::Deserialize;
use tokio::time::Instant;
use tonic::Streaming;

use super::{Desk, deadline, hollow};
use crate::{
    audit::{Broken, Chained, Checkpoint, Verified, Verifier, What},
    cli::{
        args::{AuditCommand, UserCommand},
        client::Client,
        context::Contexts,
        exit::Exit,
        failure::Failure,
        operator::OperatorFolder,
        view::access::{Entries, Entry, LoggedIn, User, UserList, UserMade, UserRemoved, Verdict},
    },
};

/// A file of checkpoints that is larger is something else.
const WITNESS_BYTES: u64 = 1 << 20;

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
            list(desk, &client, &wanted, lines, follow, deadline(waiting.timeout)).await?;
            Ok(Exit::Done)
        }
        AuditCommand::Verify { witness_files, no_hosts, timeout } => {
            verify(desk, &client, &witness_files, !no_hosts, deadline(timeout)).await
        }
    }
}

/// Which entries are shown.
struct Wanted {
    actor: Option<String>,
    method: Option<String>,
    target: Option<String>,
    from_ms: Option<Millis>,
    denied: bool,
}

impl Wanted {
    fn fits(&self, entry: &Chained) -> bool {
        // What is told of a host, or by it, is of the host that it names as its actor.
        let (method, targets) = match &entry.what {
            What::Allowed { method, target, .. } | What::Denied { method, target, .. } => {
                (method.as_str(), [target.as_str(), ""])
            }
            What::Event { actor, event, target } => (event.as_str(), [target.as_str(), actor.as_str()]),
            What::Ended { .. } | What::Pruned { .. } | What::Suppressed { .. } => ("", ["", ""]),
        };
        self.actor.as_deref().is_none_or(|actor| entry.what.actor() == actor)
            && self.method.as_deref().is_none_or(|wanted| method.starts_with(wanted))
            && self
                .target
                .as_deref()
                .is_none_or(|wanted| targets.iter().any(|target| target.contains(wanted)))
            && self.from_ms.is_none_or(|from| entry.at_ms >= from)
            && (!self.denied || matches!(entry.what, What::Denied { .. } | What::Suppressed { .. }))
    }
}

async fn list(
    desk: &Desk,
    client: &Client,
    wanted: &Wanted,
    most: usize,
    follow: bool,
    by: Instant,
) -> Result<(), Failure> {
    let mut shown: VecDeque<Entry> = VecDeque::new();
    let request = pb::AuditRequest { from: 0, follow: false };
    let mut pages = client.answer(by, client.access().audit(request)).await?;
    let mut next = 0;
    while let Some(page) = page(client, &mut pages, by).await? {
        for entry in page.lines.iter().filter_map(|line| Chained::parse(line)) {
            next = entry.i + 1;
            end(&mut shown, &entry);
            if wanted.fits(&entry) && !matches!(entry.what, What::Ended { .. }) {
                shown.push_back(Entry::new(entry));
            }
            while shown.len() > most {
                shown.pop_front();
            }
        }
    }
    let entries = Entries { entries: shown.into() };
    if !follow {
        return desk.output.print(&entries);
    }
    for entry in entries.entries {
        desk.output.print_one_of_many(&entry)?;
    }
    let request = pb::AuditRequest { from: next, follow: true };
    let mut pages = client.answer(by, client.access().audit(request)).await?;
    while let Some(page) = pages.message().await.map_err(|status| client.explain(status))? {
        for entry in page.lines.iter().filter_map(|line| Chained::parse(line)) {
            if wanted.fits(&entry) {
                desk.output.print_one_of_many(&Entry::new(entry))?;
            }
        }
    }
    Ok(())
}

/// Writes how a call ended beside its beginning.
fn end(shown: &mut VecDeque<Entry>, entry: &Chained) {
    if let What::Ended { of, code, why } = &entry.what
        && let Some(begun) = shown.iter_mut().rev().find(|begun| begun.i == *of)
    {
        begun.ended(code.as_deref(), why);
    }
}

async fn page<T>(client: &Client, pages: &mut Streaming<T>, by: Instant) -> Result<Option<T>, Failure> {
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
    let (mut witnesses, mut silent) = (vec![], vec![]);
    for file in files {
        let held = read_witness(file)?;
        witnesses.extend(held.into_iter().map(|checkpoint| (checkpoint, file.display().to_string())));
    }
    if ask_hosts {
        let mut told = client.answer(by, client.access().witnesses(pb::WitnessesRequest {})).await?;
        while let Some(witness) = page(client, &mut told, by).await? {
            let pb::Witness { name, error, checkpoints, .. } = witness;
            if !error.is_empty() {
                silent.push(format!("{name}: {error}"));
            }
            witnesses.extend(checkpoints.into_iter().filter_map(checkpoint).map(|held| (held, name.clone())));
        }
    }
    let mut holders: Vec<String> = witnesses.iter().map(|(_, holder)| holder.clone()).collect();
    holders.sort();
    holders.dedup();
    let checkpoints = witnesses.len();
    let found = match Verifier::new(witnesses) {
        Ok(verifier) => read_all(client, verifier, by).await?,
        Err(broken) => Err(broken),
    };
    let exit = if found.is_ok() { Exit::Done } else { Exit::Failed };
    desk.output.print(&Verdict::new(found, holders, checkpoints, silent))?;
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
    let bad = |why: String| Failure::usage(format!("read {}: {why}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| bad(error.to_string()))?.len();
    if size > WITNESS_BYTES {
        return Err(bad(format!("{size} bytes; a host's checkpoints take at most {WITNESS_BYTES}")));
    }
    let text = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
    let kept: Vec<Kept> = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
    let digest =
        |text: &str| text.parse::<ReleaseDigest>().map(|digest| digest.0).map_err(|e| bad(e.message));
    kept.into_iter()
        .map(|Kept { entries, head, at_ms, key, signature }| {
            Ok(Checkpoint { entries, head: digest(&head)?, at_ms, key: digest(&key)?, signature })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_shown_when_every_filter_has_it() {
        let line = |kind: &str, more: &str| {
            let prev = "0".repeat(64);
            let text = format!(r#"{{"i":1,"at_ms":1000,"prev":"{prev}","kind":"{kind}",{more}}}"#);
            Chained::parse(&text).expect("a line of the log")
        };
        let call = r#""actor":"bob","key":"00","method":"Hosts/Remove","target":"host web-3""#;
        let allowed = line("allowed", call);
        let denied = line("denied", &format!(r#"{call},"code":"LS-C02","why":"no""#));
        let event =
            line("event", r#""actor":"host web-3 (7)","event":"glass broken on the host","target":"root""#);
        let nothing = || Wanted { actor: None, method: None, target: None, from_ms: None, denied: false };
        let shows = |wanted: Wanted| [&allowed, &denied, &event].map(|entry| wanted.fits(entry));
        assert_eq!(shows(nothing()), [true, true, true]);
        assert_eq!(shows(Wanted { actor: Some("bob".into()), ..nothing() }), [true, true, false]);
        assert_eq!(shows(Wanted { method: Some("Hosts".into()), ..nothing() }), [true, true, false]);
        assert_eq!(shows(Wanted { method: Some("Rollouts".into()), ..nothing() }), [false; 3]);
        assert_eq!(shows(Wanted { target: Some("web-3".into()), ..nothing() }), [true, true, true]);
        assert_eq!(shows(Wanted { target: Some("web-4".into()), ..nothing() }), [false; 3]);
        assert_eq!(shows(Wanted { target: Some("bob".into()), ..nothing() }), [false; 3]);
        assert_eq!(shows(Wanted { method: Some("glass".into()), ..nothing() }), [false, false, true]);
        assert_eq!(shows(Wanted { from_ms: Some(1001), ..nothing() }), [false; 3]);
        assert_eq!(shows(Wanted { denied: true, ..nothing() }), [false, true, false]);
    }
}
