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
    /// An operator wants no new work on it; what runs there runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<Drained>,
}

/// Who drained a host, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    pub by: String,
    pub reason: String,
    pub since_ms: Millis,
}

/// A key that was certified for the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundKey {
    /// SHA-256 of the SubjectPublicKeyInfo.
    #[serde(with = "hex32")]
    pub spki: [u8; 32],
    /// The end of the last certificate made for it.
    pub expires_ms: Millis,
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

    /// The certificate that lasts longest.
    pub fn certificate_expires_ms(&self) -> Millis {
        self.keys.iter().map(|key| key.expires_ms).max().unwrap_or(0)
    }

    pub fn key(&self, spki: &[u8; 32]) -> Option<&BoundKey> {
        self.keys.iter().find(|key| key.spki == *spki)
    }

    /// Adds a key, or lengthens it, dropping expired ones and then the oldest.
    pub fn bind(&mut self, key: BoundKey, now: Millis) {
        self.keys.retain(|held| held.spki != key.spki && held.expires_ms > now);
        self.keys.insert(0, key);
        self.keys.truncate(KEYS_MAX);
    }
}

/// The host under this id, and the revision that wrote it.
pub async fn get(store: &SharedStore, id: &HostId) -> Result<Option<(Host, Revision)>, Trouble> {
    let key = Key::host(id);
    let Some(entry) = store.get(&key).await? else { return Ok(None) };
    Ok(Some((record::decode_entry(&entry)?, entry.revision)))
}

/// All hosts, by id.
pub async fn list(store: &SharedStore) -> Result<Vec<Host>, Trouble> {
    let listing = store.list(&Prefix::hosts()).await?;
    listing.entries.iter().map(|entry| record::decode_entry(entry).map_err(Trouble::from)).collect()
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
