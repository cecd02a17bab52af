//! `status`, `token …`, `host …`.

use longshore_common::{code::Code, join::JoinToken, text::visible, time::Span};
use longshore_proto::v1 as pb;
use tokio::time::Instant;
use tokio_stream::StreamExt;

use super::{Desk, deadline, hollow};
use crate::cli::{
    args::{HostCommand, LabelChange, TokenCommand},
    client::Client,
    exit::Exit,
    failure::Failure,
    signing::fleet_root,
    view::{
        controller::Status,
        host::{Host, HostList, HostRemoved, Unmatched},
        ping::Ping,
        token::{TokenList, TokenMade, TokenRevoked},
        trust::running_out,
    },
};

/// The selector that matches every host.
const EVERYBODY: &str = "*";

/// Beyond what hosts are given to answer: the controller's own way there and back.
const PING_SLACK: Span = Span::secs(5);

pub async fn status(desk: &Desk, timeout: Span) -> Result<Exit, Failure> {
    let client = desk.client().await?;
    let asked = Instant::now();
    let reply = client.answer(deadline(timeout), client.controller().status(pb::StatusRequest {})).await?;
    let round_trip_ms = asked.elapsed().as_millis() as u64;
    let signed = client.answer(deadline(timeout), client.trust().status(pb::TrustStatusRequest {})).await?;
    let signed = running_out(signed, desk.output.fresh().now);
    desk.output.print(&Status::new(reply, &client.context, &client.address, round_trip_ms, signed))?;
    Ok(Exit::Done)
}

pub async fn token(desk: &Desk, command: TokenCommand) -> Result<Exit, Failure> {
    let client = desk.client().await?;
    let mut hosts = client.hosts();
    match command {
        TokenCommand::Create { uses, ttl, labels, name, networks, require_approval, unsigned, waiting } => {
            let root = if unsigned { None } else { pinned(desk, &client, waiting.timeout).await? };
            let ttl_ms = ttl.as_ms() as u64;
            let request = pb::CreateTokenRequest {
                uses,
                ttl_ms,
                labels: labels.into_iter().collect(),
                name: name.unwrap_or_default(),
                networks,
                ask: require_approval,
            };
            let reply = client.answer(deadline(waiting.timeout), hosts.create_token(request)).await?;
            desk.output.print(&TokenMade::new(with_root(reply, root)?, uses))?;
        }
        TokenCommand::List { waiting } => {
            let request = pb::ListTokensRequest {};
            let reply = client.answer(deadline(waiting.timeout), hosts.list_tokens(request)).await?;
            desk.output.print(&TokenList::from(reply))?;
        }
        TokenCommand::Revoke { id, waiting } => {
            let request = pb::RevokeTokenRequest { id: id.clone() };
            client.answer(deadline(waiting.timeout), hosts.revoke_token(request)).await?;
            desk.output.print(&TokenRevoked { id })?;
        }
    }
    Ok(Exit::Done)
}

/// What a host that enrols with a new token is to pin: as this machine knows it, never as the controller says.
async fn pinned(desk: &Desk, client: &Client, timeout: Span) -> Result<Option<[u8; 32]>, Failure> {
    let (_, ring) = desk.ring()?;
    if let Some(pin) = ring.pin()? {
        return Ok(Some(pin));
    }
    let refused = |why: &str| Failure::new(Exit::Refused, why);
    let why = match fleet_root(client, deadline(timeout)).await? {
        Some(_) => refused("this fleet is signed, and this machine does not know its root")
            .next("ask whoever ran longshore init for its SHA-256, then: longshore trust pin SHA256"),
        None => refused("nothing is signed in this fleet yet: a host would run whatever the controller says")
            .next("make the fleet's keys first, on this machine: longshore init"),
    };
    Err(why.next("or, for hosts that are to run whatever the controller says: --unsigned"))
}

fn with_root(reply: pb::CreateTokenReply, root: Option<[u8; 32]>) -> Result<pb::CreateTokenReply, Failure> {
    let token: JoinToken = reply.token.parse()?;
    Ok(pb::CreateTokenReply { token: JoinToken { root, ..token }.to_string(), ..reply })
}

pub async fn host(desk: &Desk, command: HostCommand) -> Result<Exit, Failure> {
    let client = desk.client().await?;
    let mut hosts = client.hosts();
    match command {
        HostCommand::List { selector, waiting } => {
            let by = deadline(waiting.timeout);
            let request = pb::ListHostsRequest { selector: selector.clone() };
            let mut list = HostList::from(client.answer(by, hosts.list(request)).await?);
            if list.hosts.is_empty() && selector != EVERYBODY {
                let all = pb::ListHostsRequest { selector: EVERYBODY.to_owned() };
                let all = client.answer(by, hosts.list(all)).await?;
                list.unmatched = Some(Unmatched { selector, of: all.hosts.len() });
            }
            desk.output.print(&list)?;
        }
        HostCommand::Show { host, waiting } => {
            let request = pb::ShowHostRequest { host };
            let reply = client.answer(deadline(waiting.timeout), hosts.show(request)).await?;
            desk.output.print(&Host::from(reply))?;
        }
        HostCommand::Label { host, changes, waiting } => {
            let request = label_request(host, changes);
            let reply = client.answer(deadline(waiting.timeout), hosts.label(request)).await?;
            let told: Vec<String> = reply.told.iter().map(|line| visible(line)).collect();
            desk.output.print(&Host::from(reply))?;
            desk.output.remark(&told)?;
        }
        HostCommand::Drain { host, deadline, force, reason, waiting } => {
            let within = deadline.map(|deadline| deadline.as_ms() as u64);
            let stop_within_ms = if force { Some(0) } else { within };
            let request = pb::DrainHostRequest { host, undrain: false, reason, stop_within_ms };
            return drain(desk, &client, request, waiting.timeout).await;
        }
        HostCommand::Undrain { host, waiting } => {
            let request = pb::DrainHostRequest { host, undrain: true, ..Default::default() };
            return drain(desk, &client, request, waiting.timeout).await;
        }
        HostCommand::Admit { host, key, waiting } => {
            let request = pb::AdmitHostRequest { host, key };
            let reply = client.answer(deadline(waiting.timeout), hosts.admit(request)).await?;
            let pb::AdmitHostReply { host, changed } = reply;
            desk.output.print(&Host::from(host.ok_or_else(|| hollow("host"))?))?;
            return Ok(if changed { Exit::Done } else { Exit::NothingToDo });
        }
        HostCommand::Remove { host, waiting } => {
            let request = pb::RemoveHostRequest { host: host.clone() };
            client.answer(deadline(waiting.timeout), hosts.remove(request)).await?;
            desk.output.print(&HostRemoved { host })?;
        }
        HostCommand::Ping { hosts: selector, timeout } => {
            let deadline_ms = u32::try_from(timeout.as_ms()).unwrap_or(u32::MAX);
            let by = deadline(timeout) + PING_SLACK.0;
            let mut stream = client
                .answer(by, hosts.ping(pb::PingRequest { selector: selector.clone(), deadline_ms }))
                .await?;
            let mut replies = vec![];
            loop {
                match tokio::time::timeout_at(by, stream.next()).await {
                    Ok(Some(Ok(reply))) => replies.push(reply),
                    Ok(Some(Err(status))) => return Err(client.explain(status)),
                    Ok(None) => break,
                    Err(_) => return Err(client.too_late()),
                }
            }
            if replies.is_empty() {
                return Err(nobody(&selector));
            }
            let ping: Ping = replies.into_iter().collect();
            desk.output.print(&ping)?;
            return Ok(if ping.silent > 0 { Exit::Failed } else { Exit::Done });
        }
    }
    Ok(Exit::Done)
}

/// There was nobody to ask.
fn nobody(selector: &str) -> Failure {
    if selector == "*" {
        return Failure::coded(Code::N01, "no host has enrolled yet")
            .next("make a token for one: longshore token create");
    }
    let message =
        format!("no host has the name or id \"{0}\", and none fits \"{0}\" as a selector", visible(selector));
    Failure::coded(Code::N01, message).next("look for the right one: longshore host list")
}

async fn drain(
    desk: &Desk,
    client: &Client,
    request: pb::DrainHostRequest,
    timeout: Span,
) -> Result<Exit, Failure> {
    let reply = client.answer(deadline(timeout), client.hosts().drain(request)).await?;
    let pb::DrainHostReply { host, changed } = reply;
    desk.output.print(&Host::from(host.ok_or_else(|| hollow("host"))?))?;
    Ok(if changed { Exit::Done } else { Exit::NothingToDo })
}

fn label_request(host: String, changes: Vec<LabelChange>) -> pb::LabelHostRequest {
    let mut request = pb::LabelHostRequest { host, ..Default::default() };
    for change in changes {
        match change {
            LabelChange::Set(key, value) => drop(request.set.insert(key, value)), // the last one said wins
            LabelChange::Remove(key) => request.unset.push(key),
        }
    }
    request
}
