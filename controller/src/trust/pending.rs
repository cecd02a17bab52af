//! What waits for signatures: kept so that the next key holder finds it, and believed by nobody.

use std::{
    io,
    path::{Path, PathBuf},
};

use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
    durable,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    pub app: String,
    pub roots: Vec<Vec<u8>>,
    /// Empty: the list stays as it is.
    pub targets: Vec<u8>,
}

pub(super) fn keep(dir: &Path, pending: &Pending) -> Result<(), Coded> {
    let bytes = serde_json::to_vec(pending).expect("bytes and text are JSON");
    durable::write_atomic(&path(dir, &pending.app), &bytes, 0o600).map_err(|e| disk(&e))
}

pub(super) fn load(dir: &Path, app: &str) -> Result<Option<Pending>, Coded> {
    let path = path(dir, app);
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| {
            Coded::new(
                Code::S02,
                format!("`{}` does not parse ({e}): remove it and sign again", path.display()),
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Coded::new(Code::S04, format!("read `{}`: {error}", path.display()))),
    }
}

pub(super) fn remove(dir: &Path, app: &str) -> Result<(), Coded> {
    durable::remove_durable(&path(dir, app)).map_err(|e| disk(&e))
}

/// No app's name has a dot, so this is nobody's folder.
fn path(dir: &Path, app: &str) -> PathBuf {
    dir.join(format!("{app}.pending.json"))
}

fn disk(error: &durable::DurableError) -> Coded {
    Coded::new(error.code(), Chain(error).to_string())
}
