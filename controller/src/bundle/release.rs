//! The record of a release in the store. Its content never changes; only that it was withdrawn may be added.

use longshore_common::{
    code::Code,
    digest::{IndexDigest, ReleaseDigest},
    ids::{AppName, Revision, Version},
    text::visible,
    time::Millis,
};
use serde::{Deserialize, Serialize};

use crate::{
    store::{Key, Prefix, Store, record},
    trouble::Trouble,
};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub app: AppName,
    pub version: Version,
    /// Names the manifest's bytes, which the bundle store holds.
    pub digest: ReleaseDigest,
    pub index: IndexDigest,
    pub published_ms: Millis,
    /// The operator.
    pub published_by: String,
    /// Entries of the index.
    pub files: u64,
    /// Unpacked.
    pub bytes: u64,
    /// Of the whole artifact in blocks.
    pub wire_bytes: u64,
    /// No rollout may begin with it any more; what runs goes on running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<Withdrawal>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawal {
    pub at_ms: Millis,
    pub by: String,
    pub reason: String,
}

/// The release and the revision that wrote it, if it was published.
pub async fn load(
    store: &dyn Store,
    app: &AppName,
    version: &Version,
) -> Result<Option<(Release, Revision)>, Trouble> {
    match store.get(&Key::release(app, version)).await? {
        Some(entry) => Ok(Some((record::decode_entry(&entry)?, entry.revision))),
        None => Ok(None),
    }
}

/// Every release, or those of one app, the newest first.
pub async fn list(store: &dyn Store, app: Option<&AppName>) -> Result<Vec<Release>, Trouble> {
    let prefix = app.map_or_else(Prefix::releases, Prefix::releases_of);
    let listing = store.list(&prefix).await?;
    let mut releases =
        listing.entries.iter().map(record::decode_entry).collect::<Result<Vec<Release>, _>>()?;
    releases.sort_by(|a, b| (b.published_ms, &b.version).cmp(&(a.published_ms, &a.version)));
    Ok(releases)
}

/// The release published last of an app, `except` this one.
pub async fn latest_of(
    store: &dyn Store,
    app: &AppName,
    except: &Version,
) -> Result<Option<Release>, Trouble> {
    let releases = list(store, Some(app)).await?;
    Ok(releases.into_iter().find(|release| release.version != *except && release.withdrawn.is_none()))
}

/// For whoever asked for what is not there.
pub fn unknown(app: &AppName, version: &Version) -> Trouble {
    let message = format!(
        "release {app}@{version} was never published here; see: longshore release list {}",
        visible(app.as_str())
    );
    Trouble::refused(Code::N01, message)
}
