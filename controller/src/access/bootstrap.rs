//! Operators that the controller's own machine made, before or beside the running daemon: `init` and
//! `longshore-controller operator` leave a small file, and the daemon takes it into the store when it starts or when
//! a key that it does not know first calls. Whoever can write that folder owns the CA's key as well.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use longshore_common::{
    digest::hex,
    durable::{self, DurableError},
    ids::OperatorName,
    regular::{self, Links},
    time::Millis,
};
use serde::{Deserialize, Serialize};

use super::{
    role::Grants,
    user::{self, OperatorKey, User},
};
use crate::{
    audit::{Audit, What},
    store::SharedStore,
    trouble::Trouble,
};

/// Below the identity folder.
pub const OPERATORS_DIR: &str = "operators";
/// Whoever is root beside the daemon, as records call them.
pub const MACHINE: &str = "the controller's machine";
/// A file that is larger was not made here.
const FILE_BYTES: usize = 64 * 1024;

/// What one file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstKeys {
    pub name: OperatorName,
    pub key: OperatorKey,
    /// Given to an operator that is new; one that exists keeps its own.
    pub grants: Grants,
}

impl FirstKeys {
    /// Into the folder, made if it is not there.
    pub fn write(&self, dir: &Path) -> Result<(), DurableError> {
        durable::create_dir_durable(dir, 0o700)?;
        let text = serde_json::to_vec(self).expect("names, numbers and text are JSON");
        durable::write_atomic(&dir.join(format!("{}.json", self.name)), &text, 0o600)
    }
}

/// The folder, or none where nothing is ever taken up.
#[derive(Clone, Debug, Default)]
pub struct Waiting(pub Option<PathBuf>);

impl Waiting {
    /// Takes up what waits for this operator, once it is on record. True when there was something.
    pub async fn take(
        &self,
        store: &SharedStore,
        audit: Option<&Audit>,
        name: &OperatorName,
        now: Millis,
    ) -> Result<bool, Trouble> {
        let Some(path) = self.0.as_ref().map(|dir| dir.join(format!("{name}.json"))) else {
            return Ok(false);
        };
        let Some(found) = read(&path, name) else { return Ok(false) };
        if let Some(audit) = audit {
            record(audit, &found).await?;
        }
        apply(store, found, now).await?;
        if let Err(error) = durable::remove_durable(&path) {
            tracing::warn!(path = %path.display(), %error, "a file that was taken up is still there");
        }
        Ok(true)
    }

    /// Takes up everything that waits.
    pub async fn take_all(
        &self,
        store: &SharedStore,
        audit: Option<&Audit>,
        now: Millis,
    ) -> Result<(), Trouble> {
        let Some(dir) = &self.0 else { return Ok(()) };
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_suffix(".json")?.parse::<OperatorName>().ok()
        });
        for name in names.collect::<Vec<_>>() {
            self.take(store, audit, &name, now).await?;
        }
        Ok(())
    }
}

fn read(path: &Path, name: &OperatorName) -> Option<FirstKeys> {
    let text = match regular::read(path, FILE_BYTES, Links::Refused) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot be what it should be; left alone");
            return None;
        }
    };
    match serde_json::from_slice::<FirstKeys>(&text) {
        Ok(found) if found.name == *name => Some(found),
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "does not parse; left alone");
            None
        }
    }
}

/// What cannot be recorded is not done.
async fn record(audit: &Audit, found: &FirstKeys) -> Result<(), Trouble> {
    let FirstKeys { name, key, grants: _ } = found;
    let what = What::Event {
        actor: MACHINE.into(),
        event: "operator's key taken up".into(),
        target: format!("{name}, key {}", hex(&key.key[..4])),
    };
    audit.append(what).await.map(drop).map_err(|error| Trouble::Refused(error.coded()))
}

async fn apply(store: &SharedStore, found: FirstKeys, now: Millis) -> Result<(), Trouble> {
    let FirstKeys { name, key, grants } = found;
    if user::get(store, &name).await?.is_none() {
        let mut user = User::new(name.clone(), grants, MACHINE, now);
        user.add_key(key, now);
        user::create(store, &user).await?;
    } else {
        user::change(store, &name, |user| {
            user.add_key(key.clone(), now);
            Ok(())
        })
        .await?;
    }
    tracing::info!(operator = %name, "an operator's key was taken up");
    Ok(())
}
