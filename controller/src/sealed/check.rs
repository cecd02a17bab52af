//! Which hosts cannot open what was sealed.

use std::collections::{BTreeMap, BTreeSet};

use longshore_common::{
    code::{Code, Coded},
    digest::SealedDigest,
    ids::{EnvName, HostId},
    settings::Reference,
};

use super::{Head, Row, whole};
use crate::{
    fleet::{Host, host},
    rollout::{Member, Snapshot},
    store::{Prefix, SharedStore, key::Name, record},
    trouble::Trouble,
};

/// Hosts named in a message; the rest are counted.
const NAMES_MAX: usize = 5;

/// How a digest stands with some hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shut {
    /// `None`: nothing was sealed under it here.
    pub head: Option<Head>,
    /// By which key each host opens it.
    recipients: BTreeMap<HostId, String>,
}

impl Shut {
    /// It was not sealed for the host, or for a key that the host has no more.
    pub fn is_shut_for(&self, host: &Host) -> bool {
        self.head.is_none() || self.recipients.get(&host.id) != Some(&host.recipient)
    }
}

pub async fn shut(store: &SharedStore, digest: &SealedDigest) -> Result<Shut, Trouble> {
    let head = whole(store, digest).await?;
    let mut recipients = BTreeMap::new();
    for entry in store.list(&Prefix::sealed_hosts(digest)).await?.entries {
        if let Name::SealedHost(_, host) = entry.key.name()? {
            recipients.insert(host, record::decode_entry::<Row>(&entry)?.recipient);
        }
    }
    Ok(Shut { head, recipients })
}

/// A sealed secret, by the name that it has there, and hosts that get it and cannot open it: never none, by name.
struct Unopened {
    name: String,
    shut: Shut,
    hosts: Vec<Host>,
}

/// Refuses when a member that takes part gets a sealed secret that it cannot open.
pub async fn check(
    store: &SharedStore,
    env: &EnvName,
    snapshot: &Snapshot,
    members: &[Member],
) -> Result<(), Trouble> {
    match all(store, snapshot, members).await?.first() {
        Some(unopened) => Err(refused(env, unopened).into()),
        None => Ok(()),
    }
}

/// Of each member that takes part, the sealed secrets that it gets and cannot open: one sentence each, with the way out.
pub async fn unopened(
    store: &SharedStore,
    env: &EnvName,
    snapshot: &Snapshot,
    members: &[Member],
) -> Result<BTreeMap<HostId, Vec<String>>, Trouble> {
    let mut found: BTreeMap<HostId, Vec<String>> = BTreeMap::new();
    for Unopened { name, shut, hosts } in all(store, snapshot, members).await? {
        let why = match shut.head {
            Some(_) => "was not encrypted for its key",
            None => "was sealed under no such digest on this controller",
        };
        let what = format!("secret {name} {why}: longshore secret encrypt --env {env} {name}");
        for host in hosts {
            found.entry(host.id).or_default().push(what.clone());
        }
    }
    Ok(found)
}

async fn all(store: &SharedStore, snapshot: &Snapshot, members: &[Member]) -> Result<Vec<Unopened>, Trouble> {
    let mut found = vec![];
    if snapshot.sealed().is_empty() {
        return Ok(found);
    }
    let hosts: BTreeMap<HostId, Host> =
        host::list(store).await?.into_iter().map(|host| (host.id, host)).collect();
    let mut wanted: BTreeMap<(String, SealedDigest), BTreeSet<HostId>> = BTreeMap::new();
    for member in members.iter().filter(|member| member.excluded.is_none()) {
        for (name, reference) in snapshot.resolve(&member.layers).secrets {
            if let Reference::Sealed { digest } = reference {
                wanted.entry((name, digest)).or_default().insert(member.id);
            }
        }
    }
    for ((name, digest), of) in wanted {
        let shut = shut(store, &digest).await?;
        let of = of.iter().filter_map(|id| hosts.get(id));
        let mut hosts: Vec<Host> = of.filter(|host| shut.is_shut_for(host)).cloned().collect();
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        if !hosts.is_empty() {
            found.push(Unopened { name, shut, hosts });
        }
    }
    Ok(found)
}

fn refused(env: &EnvName, Unopened { name, shut, hosts }: &Unopened) -> Coded {
    let hosts: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
    let shown = match hosts.len() {
        0..=NAMES_MAX => hosts.join(", "),
        more => format!("{} and {} more", hosts[..NAMES_MAX].join(", "), more - NAMES_MAX),
    };
    let why = match shut.head {
        Some(_) => "it was not encrypted for the key of",
        None => "nothing was sealed under its digest on this controller; it is wanted by",
    };
    let message = format!(
        "secret {name} cannot be opened: {why} {shown}. Nothing was changed. Encrypt it again: \
         longshore secret encrypt --env {env} {name}; see all: longshore secret check {env}"
    );
    Coded::new(Code::K01, message)
}
