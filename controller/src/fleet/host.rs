//! A host as the store remembers it.

use longshore_common::{
    code::{Code, Coded},
    ids::{HostId, HostName},
    label::{Labels, Selector},
    time::Millis,
};
use serde::{Deserialize, Serialize};

use crate::{
    fleet::words::Facts,
    store::{Key, Prefix, Revision, SharedStore, Txn, record},
    trouble::Trouble,
};

/// Keys that one host may hold at a time: the one it uses, and one or two that it is changing to.
pub const KEYS_MAX: usize = 3;
/// New attempts at a commit that others keep getting in the way of.
const ATTEMPTS: usize = 8;

/// An enrolled host. There is one for as long as the host may speak to us: removing the host removes this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Never used again for another host.
    pub id: HostId,
    /// A label for people; not unique by force, though enrolment avoids doubles.
    pub name: HostName,
    pub labels: Labels,
    /// Newest first; never empty, at most `KEYS_MAX`.
    pub keys: Vec<BoundKey>,
    pub enrolled_ms: Millis,
    /// The id of the join token it came with.
    pub token: String,
    /// Hash of the machine's own id; tells a reinstalled host from another one. May be empty.
    #[serde(default)]
    pub machine_id: String,
    /// Secrets encrypted to it are opened by this host only; empty: it never told one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub recipient: String,
    /// What it said of itself when it last connected.
    #[serde(default)]
    pub seen: Option<Seen>,
    /// Set while it is served nothing until an operator decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub barred: Option<Barred>,
    /// How often it has come back from an expired certificate. A copy of its disk has another count.
    #[serde(default)]
    pub recoveries: u32,
    /// How often its agent had started when it last connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Started>,
    /// Whoever has its present key may be a copy: it is asked for another as soon as it connects.
    #[serde(default)]
    pub renew: bool,
    /// An operator wants no new work on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<Drained>,
    /// Drained no more; load balancers send it nothing yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejoining: Option<Rejoining>,
}

/// What the audit log says when an identity that may be in two places is paused.
pub const PAUSED: &str = "paused as a possible copy";

/// Why a host is served nothing until an operator decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Barred {
    pub kind: BarredKind,
    pub reason: String,
    pub since_ms: Millis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BarredKind {
    /// Its token asks for an operator's yes.
    Waiting,
    /// One identity in two places.
    Cloned,
}

impl BarredKind {
    pub fn as_str(self) -> &'static str {
        match self {
            BarredKind::Waiting => "waiting",
            BarredKind::Cloned => "cloned",
        }
    }
}

/// A start of the agent. The count only rises, unless the disk is an older copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub count: u64,
    /// Of the machine, by its kernel. May be empty.
    pub boot_id: String,
}

/// What is said of a host that is left out because it is drained begins with this; what is said of others does not.
pub const DRAINED_BY: &str = "drained by ";

/// Who drained a host, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    pub by: String,
    pub reason: String,
    pub since_ms: Millis,
    /// Its apps stop when nothing is under way there any more, at the latest then; `None`: they run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_ms: Option<Millis>,
    /// Load balancers are to let go of it before that; at `stop_ms` its apps stop anyway.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
}

/// Load balancers send a host connections again when its apps are healthy there; if they are not by then, it is drained
/// again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejoining {
    /// Who undrained it.
    pub by: String,
    pub since_ms: Millis,
    pub until_ms: Millis,
}

/// A key that was certified for the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundKey {
    /// SHA-256 of the SubjectPublicKeyInfo.
    #[serde(with = "hex32")]
    pub spki: [u8; 32],
    /// The end of the last certificate made for it.
    pub expires_ms: Millis,
    /// The root that signed that certificate, in short. Empty: from before roots were told apart.
    #[serde(default)]
    pub ca: String,
}

/// Written when the host connects and something of it has changed; never by a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub at_ms: Millis,
    pub address: String,
    pub agent_version: String,
    pub facts: Facts,
}

impl Host {
    pub fn fits(&self, selector: &Selector) -> bool {
        selector.matches(self.name.as_str(), &self.id.to_string(), &self.labels)
    }

    /// Whether an environment with this selector has it: not before it was let in.
    pub fn belongs(&self, selector: &Selector) -> bool {
        let waits = self.barred.as_ref().is_some_and(|barred| barred.kind == BarredKind::Waiting);
        !waits && self.fits(selector)
    }

    /// Why rollouts that start now leave it out.
    pub fn left_out(&self) -> Option<String> {
        if let Some(barred) = &self.barred {
            return Some(barred.reason.clone());
        }
        self.drained.as_ref().map(|drained| format!("{DRAINED_BY}{}: {}", drained.by, drained.reason))
    }

    /// Whether it may speak to us at all.
    pub fn let_in(&self) -> Result<(), Coded> {
        let Some(Barred { kind, reason, .. }) = &self.barred else { return Ok(()) };
        let name = &self.name;
        Err(match kind {
            BarredKind::Waiting => Coded::new(
                Code::E07,
                format!(
                    "host {name} waits for an operator to let it in; compare the fingerprint that \
                     longshore-agent status prints, then: longshore host admit {name}"
                ),
            ),
            BarredKind::Cloned => Coded::new(
                Code::E06,
                format!(
                    "{reason}. It is paused until an operator decides: on the copy, longshore-agent enroll --again with \
                     a new token; then longshore host admit {name}"
                ),
            ),
        })
    }

    /// The certificate that lasts longest.
    pub fn certificate_expires_ms(&self) -> Millis {
        self.keys.iter().map(|key| key.expires_ms).max().unwrap_or(0)
    }

    /// Of its newest key, in hex. The host shows the same.
    pub fn fingerprint(&self) -> String {
        self.keys.first().map(|key| longshore_common::digest::hex(&key.spki)).unwrap_or_default()
    }

    pub fn key(&self, spki: &[u8; 32]) -> Option<&BoundKey> {
        self.keys.iter().find(|key| key.spki == *spki)
    }

    /// Adds a key, or lengthens it, dropping expired ones and then the oldest.
    pub fn bind(&mut self, key: BoundKey, now: Millis) {
        self.keys.retain(|held| held.spki != key.spki && held.expires_ms > now);
        self.keys.insert(0, key);
        self.keys.truncate(KEYS_MAX);
        self.renew = false;
    }

    /// The host has shown its newest key, so it has stored it; what came before is of use to copies only.
    pub fn forget_older_keys(&mut self, shown: &[u8; 32]) {
        if self.keys.first().is_some_and(|newest| newest.spki == *shown) {
            self.keys.truncate(1);
        }
    }
}

/// The host under this id, and the revision that wrote it.
pub async fn get(store: &SharedStore, id: &HostId) -> Result<Option<(Host, Revision)>, Trouble> {
    let key = Key::host(id);
    let Some(entry) = store.get(&key).await? else { return Ok(None) };
    Ok(Some((record::decode_entry(&entry)?, entry.revision)))
}

/// All hosts, by name: whoever tells of some of them tells of the same ones each time.
pub async fn list(store: &SharedStore) -> Result<Vec<Host>, Trouble> {
    let listing = store.list(&Prefix::hosts()).await?;
    let hosts = listing.entries.iter().map(|entry| record::decode_entry(entry).map_err(Trouble::from));
    let mut hosts = hosts.collect::<Result<Vec<Host>, Trouble>>()?;
    hosts.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    Ok(hosts)
}

/// The one host that an operator means by an id or a name.
pub async fn find(store: &SharedStore, text: &str) -> Result<Host, Trouble> {
    if let Ok(id) = text.parse::<HostId>() {
        return match get(store, &id).await? {
            Some((host, _)) => Ok(host),
            None => Err(unknown(text).into()),
        };
    }
    let mut named: Vec<Host> =
        list(store).await?.into_iter().filter(|host| host.name.as_str() == text).collect();
    match named.len() {
        1 => Ok(named.remove(0)),
        0 => Err(unknown(text).into()),
        count => {
            let ids: Vec<String> = named.iter().map(|host| host.id.to_string()).collect();
            let message =
                format!("{count} hosts are called {text}; say which one by its id: {}", ids.join(", "));
            Err(Coded::new(Code::V01, message).into())
        }
    }
}

/// Changes a host's record, again if somebody else was quicker.
pub async fn change(
    store: &SharedStore,
    id: HostId,
    edit: impl Fn(&mut Host) -> Result<(), Coded>,
) -> Result<Host, Trouble> {
    let mut attempt = 0;
    loop {
        let (mut host, revision) = get(store, &id).await?.ok_or_else(|| gone(&id))?;
        edit(&mut host)?;
        let key = Key::host(&id);
        let value = record::encode(&key, &host)?;
        let txn = Txn::new().unchanged(key.clone(), revision).put(key, value);
        match store.commit(txn).await.map_err(Trouble::from) {
            Ok(_) => return Ok(host),
            Err(trouble) if trouble.is_conflict() && attempt < ATTEMPTS => attempt += 1,
            Err(trouble) => return Err(trouble),
        }
    }
}

/// What a host that is not, or no longer, one of ours is told.
pub fn gone(id: &HostId) -> Coded {
    Coded::new(
        Code::E06,
        format!(
            "host {id} is not enrolled here, or was removed. \
             To bring it back, enrol it with a new token: longshore token create"
        ),
    )
}

fn unknown(text: &str) -> Coded {
    let shown = longshore_common::text::visible(text);
    Coded::new(Code::N01, format!("no host is called \"{shown}\". See: longshore host list"))
}

/// 32 bytes as 64 hex digits.
pub mod hex32 {
    use longshore_common::digest::ReleaseDigest;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&longshore_common::digest::hex(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse::<ReleaseDigest>().map(|digest| digest.0).map_err(|e| D::Error::custom(e.message))
    }
}
