//! Locks: somebody works on an environment, or on one app in it, and nobody starts a rollout there until they are done.
//! A lock holds for everybody, its owner included, and does not touch what is under way.

use longshore_common::{
    code::{Code, Coded},
    ids::{AppName, EnvName, OperatorName},
    time::{Millis, Span},
};
use serde::{Deserialize, Serialize};

use super::{freeze::REASON_BYTES, load};
use crate::{
    engine::records,
    store::{Guard, Key, Prefix, SharedStore, Txn, key::Name, record},
    trouble::Trouble,
};

/// Under `locks/<env>` and `locks/<env>/<app>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locked {
    pub by: OperatorName,
    pub reason: String,
    pub since_ms: Millis,
}

/// What a lock is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub env: EnvName,
    /// `None`: every app.
    pub app: Option<AppName>,
}

impl Scope {
    fn key(&self) -> Key {
        Key::lock(&self.env, self.app.as_ref())
    }

    /// `production`, `shop in production`.
    pub fn name(&self) -> String {
        match &self.app {
            None => self.env.to_string(),
            Some(app) => format!("{app} in {}", self.env),
        }
    }

    /// The command that takes the lock away.
    pub fn unlock(&self) -> String {
        match &self.app {
            None => format!("longshore env unlock {}", self.env),
            Some(app) => format!("longshore env unlock {} --app {app}", self.env),
        }
    }
}

/// All locks of an environment.
pub async fn list(store: &SharedStore, env: &EnvName) -> Result<Vec<(Scope, Locked)>, Trouble> {
    let mut locks = vec![];
    for entry in store.list(&Prefix::locks()).await?.entries {
        if let Name::Lock(of, app) = entry.key.name()?
            && of == *env
        {
            locks.push((Scope { env: of, app }, record::decode_entry(&entry)?));
        }
    }
    Ok(locks)
}

pub async fn lock(store: &SharedStore, scope: &Scope, locked: Locked) -> Result<(), Trouble> {
    load(store, &scope.env).await?; // there is such an environment
    if locked.reason.trim().is_empty() {
        return Err(Trouble::refused(Code::V01, "say why: --reason TEXT"));
    }
    if locked.reason.len() > REASON_BYTES {
        let message =
            format!("the reason has {} bytes; at most {REASON_BYTES} are kept", locked.reason.len());
        return Err(Trouble::refused(Code::V01, message));
    }
    let key = scope.key();
    if let Some((known, _)) = records::get::<Locked>(store, &key).await? {
        return Err(held(scope, &known, locked.since_ms).into());
    }
    store.commit(Txn::new().absent(key.clone()).put(key.clone(), record::encode(&key, &locked)?)).await?;
    tracing::info!(scope = scope.name(), by = %locked.by, reason = locked.reason, "locked");
    Ok(())
}

/// Takes the lock away. Somebody else's only by force.
pub async fn unlock(
    store: &SharedStore,
    scope: &Scope,
    by: &OperatorName,
    force: Force,
) -> Result<Locked, Trouble> {
    let key = scope.key();
    let Some((known, revision)) = records::get::<Locked>(store, &key).await? else {
        return Err(Trouble::refused(Code::N01, format!("{} is not locked", scope.name())));
    };
    if known.by != *by && force == Force::Own {
        let message = format!(
            "{} was locked by {}: {}. Talk to them, or take it all the same: {} --force",
            scope.name(),
            known.by,
            known.reason,
            scope.unlock()
        );
        return Err(Trouble::refused(Code::W01, message));
    }
    store.commit(Txn::new().unchanged(key.clone(), revision).delete(key)).await?;
    tracing::info!(scope = scope.name(), %by, of = %known.by, "unlocked");
    Ok(known)
}

/// Whose lock may be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    Own,
    Anybodys,
}

/// Refused while a lock holds for the app. The guards see to it that none comes between.
pub async fn check(
    store: &SharedStore,
    env: &EnvName,
    app: &AppName,
    now: Millis,
) -> Result<Vec<Guard>, Trouble> {
    let mut guards = vec![];
    for of in [None, Some(app.clone())] {
        let scope = Scope { env: env.clone(), app: of };
        if let Some((known, _)) = records::get::<Locked>(store, &scope.key()).await? {
            return Err(held(&scope, &known, now).into());
        }
        guards.push(Guard::Absent(scope.key()));
    }
    Ok(guards)
}

/// What keeps a rollout of the app from being started now, one sentence for each lock that holds for it.
pub async fn holding(
    store: &SharedStore,
    env: &EnvName,
    app: &AppName,
    now: Millis,
) -> Result<Vec<String>, Trouble> {
    let locks = list(store, env).await?;
    let of_app = locks.iter().filter(|(scope, _)| scope.app.as_ref().is_none_or(|of| of == app));
    Ok(of_app.map(|(scope, known)| held(scope, known, now).message).collect())
}

fn held(scope: &Scope, known: &Locked, now: Millis) -> Coded {
    let ago = Span::secs(((now - known.since_ms).max(0) / 1000) as u64);
    let message = format!(
        "{} is locked by {}, since {ago}: {}. When they are done: {}",
        scope.name(),
        known.by,
        known.reason,
        scope.unlock()
    );
    Coded::new(Code::W01, message)
}
