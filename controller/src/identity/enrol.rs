//! A token and a key become a host; a host's key becomes its next one.
//!
//! Using up the token, making the host and binding its key are one commit, so a crash leaves either an unused token
//! or an enrolled host. The same token with the same key gives the same host again: a lost reply costs nothing. Of two
//! hosts that ask for one name at the same moment, one finds in its commit that the other has it.

use std::{net::SocketAddr, sync::Arc};

use longshore_common::{
    code::{Code, Coded},
    digest::sha256,
    ids::{HostId, HostName},
    join::JoinToken,
    label::{LABELS_MAX, Labels, check_label},
    time::{Clock, Millis, Span},
    tls::Identity,
};
use rcgen::{CertificateSigningRequestParams, PKCS_ECDSA_P256_SHA256, PublicKey, PublicKeyData};
use uuid::Uuid;

use super::{
    Authority, Door,
    authority::{HOST_LIFETIME, Issued},
    token::{Token, Use},
};
use crate::{
    fleet::{
        BoundKey, Host,
        host::{self, Barred, BarredKind},
    },
    store::{Key, Revision, SharedStore, Txn, record},
    trouble::Trouble,
};

/// New attempts when other hosts use the same token, or take the same name, at the same moment.
const ATTEMPTS: u32 = 64;
/// Bytes of a machine id's hash.
const MACHINE_ID_MAX: usize = 128;

/// Enrols and renews.
pub struct Enrolment {
    pub store: SharedStore,
    pub authority: Arc<Authority>,
    pub clock: Arc<dyn Clock>,
    pub door: Door,
}

/// What a host asks with.
#[derive(Clone, Debug)]
pub struct Asking {
    pub token: JoinToken,
    pub key: AskedKey,
    pub name: HostName,
    pub labels: Labels,
    pub machine_id: String,
    pub from: SocketAddr,
}

/// A public key whose private half the asker has shown to hold. Everything else in its request is ignored.
#[derive(Clone, Debug)]
pub struct AskedKey {
    pub(crate) key: PublicKey,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki: [u8; 32],
}

impl AskedKey {
    pub fn from_csr(der: &[u8]) -> Result<Self, Coded> {
        let bad = |why: &str| Coded::new(Code::V01, format!("the certificate request {why}"));
        let csr = CertificateSigningRequestParams::from_der(&der.into())
            .map_err(|error| bad(&format!("is not usable: {error}")))?;
        if csr.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(bad("has a key that is not ECDSA P-256"));
        }
        let spki = sha256(&csr.public_key.subject_public_key_info());
        Ok(Self { key: csr.public_key, spki })
    }
}

/// A host and its fresh certificate.
#[derive(Clone, Debug)]
pub struct Enrolled {
    pub host: Host,
    pub issued: Issued,
}

impl Enrolment {
    pub async fn enrol(&self, asking: Asking) -> Result<Enrolled, Trouble> {
        if !self.authority.knows(&asking.token.ca) {
            return Err(Trouble::refused(
                Code::E04,
                "the token is of another controller: its CA is not this one's. Check the address",
            ));
        }
        for attempt in 1.. {
            match self.try_enrol(&asking).await {
                Err(trouble) if trouble.is_conflict() && attempt < ATTEMPTS => {}
                Ok(enrolled) => {
                    let Host { id, name, token, .. } = &enrolled.host;
                    tracing::info!(host = %id, %name, token, from = %asking.from, "enrolled");
                    return Ok(enrolled);
                }
                refused => return refused,
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn try_enrol(&self, asking: &Asking) -> Result<Enrolled, Trouble> {
        let now = self.clock.now_ms();
        let (mut token, revision) = self.token(&asking.token).await?;
        if now >= token.expires_ms {
            return Err(expired(&token, now).into());
        }
        if let Some(used) = token.used.iter().find(|used| used.key == asking.key.spki) {
            return self.again(used.host, asking).await;
        }
        token.fits(&asking.name, asking.from.ip())?;
        if token.uses_left() == 0 {
            return Err(used_up(&token, asking).into());
        }
        let names = Key::names_taken(&asking.name);
        let names_read = self.store.get(&names).await?; // before the names themselves
        let names_taken =
            names_read.as_ref().map(record::decode_entry::<u64>).transpose()?.unwrap_or_default();
        let host_id = HostId(Uuid::new_v4());
        let issued = self.issue(host_id, &asking.key, now)?;
        let host = self.new_host(host_id, &token, asking, &issued, now).await?;
        token.used.push(Use {
            host: host.id,
            name: host.name.to_string(),
            address: asking.from.ip().to_string(),
            key: asking.key.spki,
            machine_id: host.machine_id.clone(),
            at_ms: now,
        });
        let (token_key, host_key) = (Key::token(&token.id)?, Key::host(&host.id));
        let txn = Txn::new()
            .unchanged(token_key.clone(), revision)
            .absent(host_key.clone())
            .as_read(names.clone(), names_read.map(|entry| entry.revision))
            .put(names.clone(), record::encode(&names, &(names_taken + 1))?)
            .put(token_key.clone(), record::encode(&token_key, &token)?)
            .put(host_key.clone(), record::encode(&host_key, &host)?);
        self.store.commit(txn).await?;
        Ok(Enrolled { host, issued })
    }

    /// The token, if its secret is known.
    async fn token(&self, join: &JoinToken) -> Result<(Token, Revision), Trouble> {
        let unknown = || {
            let message = format!(
                "token {} is unknown here: revoked, long expired, mistyped, or of another controller. \
                 Make a new one: longshore token create",
                join.id
            );
            Coded::new(Code::E02, message)
        };
        let entry = self.store.get(&Key::token(&join.id)?).await?.ok_or_else(unknown)?;
        let token: Token = record::decode_entry(&entry)?;
        if token.knows(&join.secret) { Ok((token, entry.revision)) } else { Err(unknown().into()) }
    }

    /// The same key with the same token: the reply was lost, or the host was set up twice.
    async fn again(&self, id: HostId, asking: &Asking) -> Result<Enrolled, Trouble> {
        let now = self.clock.now_ms();
        let issued = self.issue(id, &asking.key, now)?;
        let bound = issued.bind(asking.key.spki);
        let host = bind(&self.store, id, None, bound, now).await?;
        Ok(Enrolled { host, issued })
    }

    async fn new_host(
        &self,
        id: HostId,
        token: &Token,
        asking: &Asking,
        issued: &Issued,
        now: Millis,
    ) -> Result<Host, Trouble> {
        let mut labels = asking.labels.clone();
        labels.extend(token.labels.clone());
        labels.iter().try_for_each(|(key, value)| check_label(key, value))?;
        if labels.len() > LABELS_MAX {
            return Err(Trouble::refused(Code::V01, format!("a host has at most {LABELS_MAX} labels")));
        }
        if asking.machine_id.len() > MACHINE_ID_MAX || !asking.machine_id.is_ascii() {
            return Err(Trouble::refused(Code::V01, "the machine id is not the hash that it should be"));
        }
        Ok(Host {
            id,
            name: self.free_name(&asking.name, &id).await?,
            labels,
            keys: vec![issued.bind(asking.key.spki)],
            enrolled_ms: now,
            drained: None,
            rejoining: None,
            barred: token.narrowed.ask.then(|| Barred {
                kind: BarredKind::Waiting,
                reason: format!("waits for an operator, as token {} asks for", token.id),
                since_ms: now,
            }),
            recoveries: 0,
            started: None,
            renew: false,
            token: token.id.clone(),
            machine_id: asking.machine_id.clone(),
            recipient: String::new(),
            seen: None,
        })
    }

    /// The name the host asks for, or one made from it when another host has that.
    async fn free_name(&self, wanted: &HostName, id: &HostId) -> Result<HostName, Trouble> {
        let taken = host::list(&self.store).await?.iter().any(|host| host.name == *wanted);
        if !taken {
            return Ok(wanted.clone());
        }
        let stem: String = wanted.as_str().chars().take(240).collect();
        Ok(format!("{stem}-{}", &id.to_string()[..8]).parse()?)
    }

    /// A certificate for the host's next key. `held` is the key of the connection that asks.
    pub async fn renew(&self, id: HostId, held: [u8; 32], key: &AskedKey) -> Result<Enrolled, Trouble> {
        let now = self.clock.now_ms();
        let issued = self.issue(id, key, now)?;
        let bound = issued.bind(key.spki);
        let host = bind(&self.store, id, Some(held), bound, now).await?;
        tracing::info!(host = %id, name = %host.name, expires_ms = issued.expires_ms, "certificate renewed");
        Ok(Enrolled { host, issued })
    }

    pub(super) fn issue(&self, id: HostId, key: &AskedKey, now: Millis) -> Result<Issued, Coded> {
        self.authority.issue_client(&Identity::Host(id), &key.key, HOST_LIFETIME, now).map_err(|error| {
            let why = longshore_common::chain::Chain(&error).to_string();
            Coded::new(Code::X01, format!("no certificate was made: {why}"))
        })
    }
}

/// Adds a key to a host; the one that asks stays beside it, since the reply may be lost on its way.
async fn bind(
    store: &SharedStore,
    id: HostId,
    held: Option<[u8; 32]>,
    bound: BoundKey,
    now: Millis,
) -> Result<Host, Trouble> {
    host::change(store, id, |host| {
        let asking = held.and_then(|held| host.key(&held).cloned());
        host.keys.retain(|key| Some(key.spki) != held);
        if let Some(asking) = asking {
            host.bind(asking, now);
        }
        host.bind(bound.clone(), now);
        Ok(())
    })
    .await
}

fn expired(token: &Token, now: Millis) -> Coded {
    let ago = Span::millis((now - token.expires_ms) as u64 / 1000 * 1000);
    Coded::new(
        Code::E01,
        format!("token {} expired {ago} ago. Make a new one: longshore token create", token.id),
    )
}

/// Which use is in the way: an earlier key of this very machine says more than any other.
fn used_up(token: &Token, asking: &Asking) -> Coded {
    let mine = |used: &&Use| !used.machine_id.is_empty() && used.machine_id == asking.machine_id;
    if let Some(used) = token.used.iter().find(mine) {
        return Coded::new(
            Code::E03,
            format!(
                "token {} was used by this machine with another key, as host {} ({}). \
                 Remove that host if its key is lost, and make a new token: longshore token create",
                token.id, used.name, used.host
            ),
        );
    }
    let message = match token.used.last() {
        Some(used) => format!(
            "token {} already used by {} at {} {}. Make a new one: longshore token create",
            token.id,
            used.name,
            used.address,
            moment(used.at_ms)
        ),
        None => format!("token {} has no uses", token.id),
    };
    Coded::new(Code::E02, message)
}

fn moment(ms: Millis) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| format!("{ms} ms"), |t| t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}
