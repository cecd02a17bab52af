//! Join tokens as the store remembers them: made, listed, revoked. What a token buys is in `enrol`.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use longshore_common::{
    code::{Code, Coded},
    digest::{hex, sha256},
    ids::{HostId, HostName},
    join::JoinToken,
    label::{LABELS_MAX, Labels, check_label, fits},
    text::visible,
    time::{Millis, Span},
};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::{
    fleet::host::hex32,
    store::{Key, Prefix, SharedStore, Txn, record},
    trouble::Trouble,
};

pub const TTL_DEFAULT: Duration = Duration::from_secs(30 * 60);
pub const TTL_MAX: Duration = Duration::from_secs(30 * 86_400);
/// Hosts that one token may enrol. Each use is kept in the token's record, which may not grow past 16 KiB.
pub const USES_MAX: u32 = 50;
/// Used and expired tokens are kept this long, so that the one who uses them late is told what they were.
const KEPT_MS: Millis = 86_400_000;
/// Networks of one token, and bytes of its pattern of names.
const NETWORKS_MAX: usize = 16;
const PATTERN_BYTES: usize = 253;
/// Forgotten per new token, so that the clearing never outgrows a transaction.
const CLEARED_AT_ONCE: usize = 32;

/// A token without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub id: String,
    /// SHA-256 of the secret, which has 256 bits of its own: no slower hash would add anything.
    #[serde(with = "hex32")]
    secret: [u8; 32],
    pub uses: u32,
    pub expires_ms: Millis,
    /// Given to every host that comes with it, over what the host says of itself.
    pub labels: Labels,
    pub created_by: String,
    pub created_ms: Millis,
    /// The root that it pins, in short. Empty: from before roots were told apart.
    #[serde(default)]
    pub ca: String,
    #[serde(flatten)]
    pub narrowed: Narrowed,
    /// In order of use; never more than `uses`.
    pub used: Vec<Use>,
}

/// Whom a token is for, beyond whoever has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Narrowed {
    /// Names that hosts may ask for; `*` stands for any run of characters. Empty: any.
    #[serde(default)]
    pub name: String,
    /// Where they may come from. Empty: anywhere.
    #[serde(default)]
    pub networks: Vec<String>,
    /// Each of them waits until an operator lets it in.
    #[serde(default)]
    pub ask: bool,
}

/// One host that came with a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    pub host: HostId,
    pub name: String,
    pub address: String,
    #[serde(with = "hex32")]
    pub key: [u8; 32],
    #[serde(default)]
    pub machine_id: String,
    pub at_ms: Millis,
}

/// What an operator asks for.
#[derive(Clone, Debug)]
pub struct NewToken {
    pub uses: u32,
    pub ttl: Duration,
    pub labels: Labels,
    pub created_by: String,
    pub narrowed: Narrowed,
}

impl Token {
    /// Whether it is for a host of this name, from there. Nothing is used up by a host that it is not for.
    pub fn fits(&self, name: &HostName, from: IpAddr) -> Result<(), Coded> {
        let Narrowed { name: pattern, networks, .. } = &self.narrowed;
        let refuse = |what: String| {
            let message =
                format!("token {} is {what}. It was not used up; another: longshore token create", self.id);
            Err(Coded::new(Code::C02, message))
        };
        if !pattern.is_empty() && !fits(pattern, name.as_str()) {
            return refuse(format!(
                "for hosts called {}, not {name} (enroll --name says another)",
                visible(pattern)
            ));
        }
        let from = from.to_canonical();
        let inside = |text: &String| text.parse::<IpNet>().is_ok_and(|network| network.contains(&from));
        if !networks.is_empty() && !networks.iter().any(inside) {
            return refuse(format!("good from {}, not from {from}", networks.join(", ")));
        }
        Ok(())
    }

    pub fn uses_left(&self) -> u32 {
        self.uses.saturating_sub(self.used.len() as u32)
    }

    /// In constant time, and blind to whether the secret or the token is wrong.
    pub fn knows(&self, secret: &[u8; 32]) -> bool {
        bool::from(sha256(secret).ct_eq(&self.secret))
    }
}

/// Makes a token; the secret is in what is returned and nowhere else.
pub async fn create(
    store: &SharedStore,
    ca: [u8; 32],
    wanted: NewToken,
    now: Millis,
) -> Result<(JoinToken, Token), Trouble> {
    check(&wanted)?;
    let bytes: [u8; 5] = rand::random();
    let join = JoinToken { id: format!("tk_{}", hex(&bytes)), secret: rand::random(), ca, root: None };
    let token = Token {
        id: join.id.clone(),
        secret: sha256(&join.secret),
        uses: wanted.uses,
        expires_ms: now + wanted.ttl.as_millis() as Millis,
        labels: wanted.labels,
        ca: super::roots::id(&ca),
        narrowed: wanted.narrowed,
        created_by: wanted.created_by,
        created_ms: now,
        used: vec![],
    };
    let key = Key::token(&token.id)?;
    let mut txn = Txn::new().absent(key.clone()).put(key.clone(), record::encode(&key, &token)?);
    let old = list(store).await?.into_iter().filter(|token| token.expires_ms + KEPT_MS < now);
    for token in old.take(CLEARED_AT_ONCE) {
        txn = txn.delete(Key::token(&token.id)?);
    }
    store.commit(txn).await?;
    Ok((join, token))
}

fn check(wanted: &NewToken) -> Result<(), Coded> {
    let bad = |why: String| Err(Coded::new(Code::V01, why));
    if !(1..=USES_MAX).contains(&wanted.uses) {
        return bad(format!("a token has 1-{USES_MAX} uses, not {}", wanted.uses));
    }
    if wanted.ttl > TTL_MAX || wanted.ttl < Duration::from_secs(1) {
        return bad(format!("a token lives from 1s to {}, not {}", Span(TTL_MAX), Span(wanted.ttl)));
    }
    if wanted.labels.len() > LABELS_MAX {
        return bad(format!("a host has at most {LABELS_MAX} labels"));
    }
    wanted.labels.iter().try_for_each(|(key, value)| check_label(key, value))?;
    check_narrowed(&wanted.narrowed)
}

fn check_narrowed(Narrowed { name, networks, ask: _ }: &Narrowed) -> Result<(), Coded> {
    let bad = |why: String| Err(Coded::new(Code::V01, why));
    let sound = |c: char| c.is_ascii_alphanumeric() || "-.*".contains(c);
    if name.len() > PATTERN_BYTES || !name.chars().all(sound) {
        let shown = visible(name);
        return bad(format!(
            "\"{shown}\" is no pattern of names: letters, digits, -, . and * for any of them"
        ));
    }
    if networks.len() > NETWORKS_MAX {
        return bad(format!("a token has at most {NETWORKS_MAX} networks"));
    }
    match networks.iter().find(|text| text.parse::<IpNet>().is_err()) {
        Some(text) => bad(format!("\"{}\" is no network: write 10.1.0.0/16 or 2001:db8::/32", visible(text))),
        None => Ok(()),
    }
}

/// All tokens, by id; used and expired ones as well, for a day.
pub async fn list(store: &SharedStore) -> Result<Vec<Token>, Trouble> {
    let listing = store.list(&Prefix::tokens()).await?;
    listing.entries.iter().map(|entry| record::decode_entry(entry).map_err(Trouble::from)).collect()
}

/// From now on the token enrols nobody; hosts that came with it stay.
pub async fn revoke(store: &SharedStore, id: &str) -> Result<(), Trouble> {
    let unknown = || Coded::new(Code::N01, format!("no token {}. See: longshore token list", visible(id)));
    let key = Key::token(id).map_err(|_| unknown())?;
    let entry = store.get(&key).await?.ok_or_else(unknown)?;
    store.commit(Txn::new().unchanged(key.clone(), entry.revision).delete(key)).await?;
    Ok(())
}
