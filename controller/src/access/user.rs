//! Operators as the store knows them: their keys, their grants, whether they are locked.

use std::time::Duration;

use longshore_common::{
    code::{Code, Coded},
    ids::OperatorName,
    text::visible,
    time::Millis,
};
use serde::{Deserialize, Serialize};

use super::role::{GRANTS_MAX, Grants, Permission, Scope};
use crate::{
    fleet::host::hex32,
    store::{CommitError, Key, Prefix, Revision, SharedStore, Txn, record},
    trouble::Trouble,
};

/// Keys that one operator may have at a time: several machines, and old keys until they expire.
pub const KEYS_MAX: usize = 16;
/// Operators of one controller.
const USERS_MAX: usize = 1000;
/// New attempts when somebody else changed the record meanwhile.
const ATTEMPTS: usize = 5;
/// How long an operator's certificate is good for, unless whoever adds the operator says otherwise.
pub const LIFE: Duration = Duration::from_secs(90 * 86_400);
/// Bytes of a reason.
const REASON_BYTES: usize = 512;

/// One operator, a person or a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub name: OperatorName,
    pub grants: Grants,
    #[serde(default)]
    pub keys: Vec<OperatorKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<Locked>,
    pub created_ms: Millis,
    pub created_by: String,
    /// What any certificate of theirs is good for, at most: a login makes none that lasts longer than the first one was
    /// meant to. 0: as long as usual.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub life_ms: Millis,
}

fn is_usual(life_ms: &Millis) -> bool {
    *life_ms == 0
}

/// A key whose certificate the controller made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorKey {
    /// SHA-256 of the public key.
    #[serde(with = "hex32")]
    pub key: [u8; 32],
    pub expires_ms: Millis,
    /// The root that signed its certificate, in short. Empty: from before roots were told apart.
    #[serde(default)]
    pub ca: String,
    /// The key that it takes the place of once it is used, in hex. Empty: of none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub replaces: String,
}

/// Nothing is allowed to a locked operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locked {
    pub by: String,
    pub reason: String,
    pub at_ms: Millis,
}

impl User {
    pub fn new(name: OperatorName, grants: Grants, by: &str, now: Millis) -> Self {
        Self {
            name,
            grants,
            keys: vec![],
            locked: None,
            created_ms: now,
            created_by: by.to_owned(),
            life_ms: 0,
        }
    }

    /// How long a certificate of this operator may be good for.
    pub fn life(&self) -> Duration {
        if self.life_ms == 0 { LIFE } else { Duration::from_millis(self.life_ms.unsigned_abs()) }
    }

    /// Whether this key may speak for the operator now.
    pub fn admit(&self, key: &[u8; 32], now: Millis) -> Result<(), Coded> {
        let refuse = |why: String| Err(Coded::new(Code::C02, why));
        if let Some(Locked { by, reason, .. }) = &self.locked {
            let why = if reason.is_empty() { String::new() } else { format!(": {}", visible(reason)) };
            return refuse(format!("operator {} was locked by {}{why}", self.name, visible(by)));
        }
        match self.keys.iter().find(|known| known.key == *key) {
            None => refuse(format!(
                "this key is not one of operator {}'s: it was replaced or taken back. Ask for a new folder: \
                 longshore-controller operator, on the controller",
                self.name
            )),
            Some(known) if known.expires_ms <= now => {
                refuse(format!("the certificate of operator {} has expired", self.name))
            }
            Some(_) => Ok(()),
        }
    }

    /// The refusal names what is missing and what there is.
    pub fn allow(&self, needs: Permission, scope: &Scope) -> Result<(), Coded> {
        if self.grants.allow(needs, scope) {
            return Ok(());
        }
        let over = match scope {
            Scope::Any => String::new(),
            Scope::Fleet => " for the whole fleet".to_owned(),
            Scope::App(app) => format!(" for app {app}"),
            Scope::Env(env) => format!(" for environment {env}"),
            Scope::Both(app, env) => format!(" for {app} in {env}"),
        };
        let message = format!(
            "operator {} lacks the permission \"{needs}\"{over} (has: {}). A policy-admin gives it: \
             longshore user grant {} ROLE",
            self.name,
            self.grants.text(),
            self.name
        );
        Err(Coded::new(Code::C02, message))
    }

    /// Another key. Keys that have expired go first; beyond those, the oldest.
    pub fn add_key(&mut self, key: OperatorKey, now: Millis) {
        self.keys.retain(|known| known.expires_ms > now && known.key != key.key);
        if self.keys.len() >= KEYS_MAX {
            self.keys.remove(0);
        }
        self.keys.push(key);
    }

    /// A key that is used is there to stay; the one that it replaces is of use to nobody any more.
    pub fn settle(&mut self, used: &[u8; 32]) {
        let replaced: Vec<String> = self
            .keys
            .iter_mut()
            .filter(|known| known.key == *used)
            .map(|known| std::mem::take(&mut known.replaces))
            .collect();
        self.keys.retain(|known| !replaced.contains(&longshore_common::digest::hex(&known.key)));
    }

    pub fn lock(&mut self, by: &OperatorName, reason: &str, now: Millis) {
        let reason = longshore_common::wire::cut(reason, REASON_BYTES);
        self.locked = Some(Locked { by: by.to_string(), reason, at_ms: now });
    }
}

pub async fn get(store: &SharedStore, name: &OperatorName) -> Result<Option<(User, Revision)>, Trouble> {
    let found = store.get(&Key::user(name)).await?;
    Ok(match found {
        Some(entry) => Some((record::decode_entry(&entry)?, entry.revision)),
        None => None,
    })
}

/// By name.
pub async fn list(store: &SharedStore) -> Result<Vec<User>, Trouble> {
    let listing = store.list(&Prefix::users()).await?;
    Ok(listing.entries.iter().map(record::decode_entry).collect::<Result<_, _>>()?)
}

/// Refused when there is one of that name.
pub async fn create(store: &SharedStore, user: &User) -> Result<(), Trouble> {
    check(&user.grants)?;
    if list(store).await?.len() >= USERS_MAX {
        let message = format!("there are {USERS_MAX} operators; remove some: longshore user remove NAME");
        return Err(Trouble::refused(Code::A04, message));
    }
    let key = Key::user(&user.name);
    let txn = Txn::new().absent(key.clone()).put(key.clone(), record::encode(&key, user)?);
    match store.commit(txn).await {
        Ok(_) => Ok(()),
        Err(CommitError::Conflict { .. }) => {
            let message = format!("operator {} exists already. See: longshore user list", user.name);
            Err(Trouble::refused(Code::N02, message))
        }
        Err(error) => Err(error.into()),
    }
}

/// Changes a record as it stands. The last operator who may manage operators stays one.
pub async fn change(
    store: &SharedStore,
    name: &OperatorName,
    act: impl Fn(&mut User) -> Result<(), Coded>,
) -> Result<User, Trouble> {
    let key = Key::user(name);
    for _ in 0..ATTEMPTS {
        let (mut user, revision) = get(store, name).await?.ok_or_else(|| unknown(name))?;
        act(&mut user)?;
        check(&user.grants)?;
        if !governs(&user) {
            refuse_last(store, name).await?;
        }
        let value = record::encode(&key, &user)?;
        match store.commit(Txn::new().unchanged(key.clone(), revision).put(key.clone(), value)).await {
            Ok(_) => return Ok(user),
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Trouble::refused(Code::R01, format!("operator {name} is being changed by somebody else; try again")))
}

/// The name may be given anew later; the keys are gone with the record.
pub async fn remove(store: &SharedStore, name: &OperatorName) -> Result<(), Trouble> {
    let (_, revision) = get(store, name).await?.ok_or_else(|| unknown(name))?;
    refuse_last(store, name).await?;
    let key = Key::user(name);
    store.commit(Txn::new().unchanged(key.clone(), revision).delete(key)).await?;
    Ok(())
}

fn unknown(name: &OperatorName) -> Coded {
    Coded::new(Code::N01, format!("no operator {name}. See: longshore user list"))
}

fn governs(user: &User) -> bool {
    user.locked.is_none() && user.grants.allow(Permission::Users, &Scope::Fleet)
}

async fn refuse_last(store: &SharedStore, name: &OperatorName) -> Result<(), Trouble> {
    let others = list(store).await?;
    if others.iter().any(|user| user.name != *name && governs(user)) {
        return Ok(());
    }
    let message = format!(
        "{name} is the only operator who may manage operators; make another policy-admin first: \
         longshore user add NAME --role policy-admin"
    );
    Err(Trouble::refused(Code::R01, message))
}

fn check(grants: &Grants) -> Result<(), Coded> {
    if grants.0.len() > GRANTS_MAX {
        let message = format!("{} grants; an operator has at most {GRANTS_MAX}", grants.0.len());
        return Err(Coded::new(Code::A04, message));
    }
    Ok(())
}
