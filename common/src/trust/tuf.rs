//! `tough`, run over documents in memory and over a scratch folder that is thrown away.
//!
//! `tough` is asynchronous, so it gets an executor of its own for the length of the call; nothing in it waits for
//! anything but this machine's disk. Its way of keeping state is not used: it writes in place and takes a file that
//! it cannot read for one that is not there.

use std::{
    collections::BTreeMap,
    fmt,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tough::{
    Bytes, ExpirationEnforcement, Limits, Repository, RepositoryLoader, Transport, TransportError,
    TransportErrorKind, TransportStream, async_trait, error::Error, schema,
};

use super::{
    Part, ROOT_BYTES, ROOT_HOPS, Result, SNAPSHOT_BYTES, TARGETS_BYTES, TIMESTAMP_BYTES, state::Held,
};
use crate::{
    chain::Chain,
    code::{Code, Coded},
    durable::{self, DurableError},
    text::visible,
};

/// Where the documents would be if they were fetched: nothing is.
const BASE: &str = "longshore-offer:///";

/// Follows the documents from `root`, a trusted one, against what is `held`. `scratch` is a folder that exists, on
/// a disk of our own.
pub(super) fn follow(
    app: &str,
    root: &[u8],
    held: Option<&Held>,
    offered: BTreeMap<String, Vec<u8>>,
    scratch: &Path,
) -> Result<Repository> {
    let folder = Scratch::make(scratch)?;
    if let Some(held) = held {
        let kept = [
            ("root.json", root),
            ("timestamp.json", &held.timestamp),
            ("snapshot.json", &held.snapshot),
            ("targets.json", &held.targets),
        ];
        for (name, bytes) in kept {
            put(&folder.0.join(name), bytes).map_err(|e| disk(&e))?;
        }
    }
    let base = || url(BASE);
    let loader = RepositoryLoader::new(&root, base(), base())
        .transport(Offered(Arc::new(offered)))
        .limits(Limits {
            max_root_size: ROOT_BYTES as u64,
            max_targets_size: TARGETS_BYTES as u64,
            max_timestamp_size: TIMESTAMP_BYTES as u64,
            max_snapshot_size: SNAPSHOT_BYTES as u64,
            max_root_updates: ROOT_HOPS as u64,
        })
        // Expiry is checked by the caller, against its own clock and for every part alike.
        .expiration_enforcement(ExpirationEnforcement::Unsafe)
        .datastore(&folder.0);
    let executor = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .build()
        .map_err(|e| Coded::new(Code::X01, format!("verification cannot begin: {e}")))?;
    executor.block_on(loader.load()).map_err(|error| verdict(app, &error))
}

/// What is thrown away need not outlive a power cut.
fn put(path: &Path, bytes: &[u8]) -> std::result::Result<(), DurableError> {
    let failed = |e| DurableError::new(durable::Step::Write, path, e);
    std::fs::File::create(path).and_then(|mut file| file.write_all(bytes)).map_err(failed)
}

fn url(text: &str) -> url::Url {
    text.parse().expect("a constant that is a URL")
}

/// What `tough` says, in our codes.
fn verdict(app: &str, error: &Error) -> Coded {
    let told = visible(&Chain(error).to_string());
    match error {
        Error::VerifyMetadata { role, source, .. } => too_few(app, &role.to_string(), source),
        Error::VerifyTrustedMetadata { source, .. } => too_few(app, "root", source),
        Error::OlderMetadata { role, current_version, new_version, .. } => older(
            app,
            format!("the server offered {role} v{new_version}, v{current_version} has been seen here"),
        ),
        Error::OlderSnapshotInTimestamp { snapshot_new, snapshot_old, .. } => older(
            app,
            format!("the server offered snapshot v{snapshot_new}, v{snapshot_old} has been seen here"),
        ),
        Error::SnapshotRoleRollback { old_role_version, new_role_version, .. } => older(
            app,
            format!("the server offered targets v{new_role_version}, v{old_role_version} has been seen here"),
        ),
        Error::SnapshotRoleMissing { .. } => {
            Coded::new(Code::T05, format!("{app}: rollback refused: {told}"))
        }
        Error::DatastoreCreate { .. }
        | Error::DatastoreOpen { .. }
        | Error::DatastoreRemove { .. }
        | Error::DatastoreInit { .. } => Coded::new(Code::S04, format!("trust state of {app}: {told}")),
        _ => Coded::new(
            Code::T02,
            format!("the metadata of {app} does not fit together ({told}); nothing was believed"),
        ),
    }
}

fn older(app: &str, why: String) -> Coded {
    Coded::new(Code::T05, format!("{app}: rollback refused: {why}. {}", if_put_back(app)))
}

/// What is done where nobody attacked.
pub(super) fn if_put_back(app: &str) -> String {
    format!(
        "If the server was put back to an older copy, on the operator's machine that signed for {app} last: longshore \
         trust refresh"
    )
}

fn too_few(app: &str, role: &str, error: &schema::Error) -> Coded {
    match error {
        schema::Error::SignatureThreshold { threshold, valid, .. } if *valid > 0 => Coded::new(
            Code::T03,
            format!(
                "{role}.json of {app} has {valid} of {threshold} required signatures; another key has to sign. Which: \
                 longshore trust status"
            ),
        ),
        schema::Error::SignatureThreshold { threshold, .. } => Coded::new(
            Code::T02,
            format!("{role}.json of {app} is signed by no key that is trusted for it (needs {threshold})"),
        ),
        other => Coded::new(Code::T02, format!("{role}.json of {app}: {}", visible(&other.to_string()))),
    }
}

pub(super) fn disk(error: &DurableError) -> Coded {
    Coded::new(error.code(), Chain(error).to_string())
}

/// A folder of this call's own, gone at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn make(within: &Path) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}trust-{}-{number}", durable::TEMP_PREFIX, std::process::id());
        let path = within.join(name);
        // One that is there was left by a process that had our id before and is dead.
        drop(std::fs::remove_dir_all(&path));
        durable::create_dir_durable(&path, 0o700).map_err(|e| disk(&e))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is taken by `remove_leftovers` at the next start.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Hands out what was offered, by name.
#[derive(Clone)]
struct Offered(Arc<BTreeMap<String, Vec<u8>>>);

impl fmt::Debug for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

#[async_trait]
impl Transport for Offered {
    async fn fetch(&self, url: url::Url) -> std::result::Result<TransportStream, TransportError> {
        let name = url.path().trim_start_matches('/');
        match self.0.get(name) {
            Some(bytes) => {
                let bytes = Bytes::from(bytes.clone());
                Ok(Box::pin(tokio_stream::once(Ok(bytes))))
            }
            None => Err(TransportError::new(TransportErrorKind::FileNotFound, url.as_str())),
        }
    }
}

/// When each part of a verified repository runs out.
pub(super) fn expiries(repository: &Repository) -> [(Part, crate::time::Millis); 4] {
    [
        (Part::Timestamp, repository.timestamp().signed.expires.as_millisecond()),
        (Part::Snapshot, repository.snapshot().signed.expires.as_millisecond()),
        (Part::Targets, repository.targets().signed.expires.as_millisecond()),
        (Part::Root, repository.root().signed.expires.as_millisecond()),
    ]
}
