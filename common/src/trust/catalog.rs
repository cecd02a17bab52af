//! The list of releases that a verified targets document is: what may run, and the floor below which nothing may.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tough::schema::{Signed, Targets};

use super::{
    Part, Result,
    strict::{ours, unfit},
};
use crate::{
    code::{Code, Coded},
    digest::ReleaseDigest,
    ids::Version,
    manifest::MANIFEST_BYTES,
    report::FROZEN,
    text::visible,
    time::Millis,
};

/// A release that may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Rises with every release of the app. Unique.
    pub seq: u64,
    pub version: Version,
    /// Of the manifest's bytes, which hold everything that can execute or change privilege.
    pub digest: ReleaseDigest,
    /// Of the manifest.
    pub length: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog {
    pub app: String,
    /// Of the document.
    pub version: u64,
    pub expires_ms: Millis,
    /// Nothing with a lower number may run, whether it is listed or not.
    pub min_seq: u64,
    /// Larger than any number ever given.
    pub next_seq: u64,
    /// Why nothing new may begin anywhere; of the fleet's own list only.
    pub frozen: Option<String>,
    /// Releases of any app that may run nowhere, whoever signed them, and why; of the fleet's own list only.
    pub revoked: BTreeMap<ReleaseDigest, String>,
    pub releases: BTreeMap<u64, Listed>,
}

/// Our words about the whole list.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    pub app: String,
    #[serde(default)]
    pub min_seq: u64,
    pub next_seq: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub revoked: BTreeMap<ReleaseDigest, String>,
}

/// Our words about one release.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AboutRelease {
    pub seq: u64,
    pub version: Version,
}

/// What a release is called in its list.
pub fn target_name(app: &str, seq: u64) -> String {
    format!("{app}.{seq}.release.json")
}

impl Catalog {
    pub(super) fn read(app: &str, targets: Signed<Targets>) -> Result<Self> {
        let wrong = |why: &str| unfit(app, Part::Targets, why);
        let Targets { version, expires, targets, _extra, .. } = targets.signed;
        let about = ours(&_extra).cloned().ok_or_else(|| wrong("does not say whose it is"))?;
        let about: About = serde_json::from_value(about)
            .map_err(|e| wrong(&format!("is not ours ({})", visible(&e.to_string()))))?;
        if about.app != app {
            return Err(wrong(&format!("is of \"{}\"", visible(&about.app))));
        }
        let mut releases = BTreeMap::new();
        for (name, target) in targets {
            let listed = read_release(app, name.raw(), target)?;
            if listed.seq >= about.next_seq {
                return Err(wrong("gives a release a number from the future"));
            }
            releases.insert(listed.seq, listed);
        }
        Ok(Self {
            app: app.to_owned(),
            version: version.get(),
            expires_ms: expires.as_millisecond(),
            min_seq: about.min_seq,
            next_seq: about.next_seq,
            frozen: about.frozen,
            revoked: about.revoked,
            releases,
        })
    }

    /// Of the fleet's own list: nothing new may begin while it is frozen, and never what it revokes.
    pub fn permit(&self, app: &str, version: &Version, release: &ReleaseDigest) -> Result<()> {
        if let Some(why) = self.revoked.get(release) {
            let message = format!(
                "release {app}@{version} ({}) is revoked by the organisation: {}. Nothing was changed",
                release.short(),
                visible(why)
            );
            return Err(Coded::new(Code::T05, message));
        }
        match &self.frozen {
            Some(reason) => {
                let reason = visible(reason);
                let message =
                    format!("{FROZEN}{reason}. What runs goes on. To lift it: longshore fleet unfreeze");
                Err(Coded::new(Code::P01, message))
            }
            None => Ok(()),
        }
    }

    pub fn by_digest(&self, release: &ReleaseDigest) -> Option<&Listed> {
        self.releases.values().find(|listed| listed.digest == *release)
    }

    pub fn by_version(&self, version: &Version) -> Option<&Listed> {
        self.releases.values().find(|listed| listed.version == *version)
    }

    /// Whether the release may run; `floor` is the highest that was ever seen. `manifest` are its bytes, whose
    /// length and digest are held against what was signed.
    pub fn admit(&self, version: &Version, manifest: &[u8], floor: u64) -> Result<&Listed> {
        self.admit_digest(version, &ReleaseDigest::of(manifest), Some(manifest.len() as u64), floor)
    }

    /// As [`Catalog::admit`], for whoever knows the manifest by its digest; of what has that digest, the length
    /// follows.
    pub fn admit_digest(
        &self,
        version: &Version,
        release: &ReleaseDigest,
        length: Option<u64>,
        floor: u64,
    ) -> Result<&Listed> {
        let app = &self.app;
        let Some(listed) = self.by_digest(release) else {
            let message = match self.by_version(version) {
                Some(other) => format!(
                    "{app}@{version} came as release {}, signed is {}; nothing was unpacked",
                    release.short(),
                    other.digest.short()
                ),
                None => format!(
                    "release {app}@{version} ({}) is not in the signed list v{} of {app}: never signed, or \
                     withdrawn. Roll out another one; only if nobody withdrew it, sign it: \
                     longshore release sign {app}@{version}",
                    release.short(),
                    self.version
                ),
            };
            return Err(Coded::new(Code::T02, message));
        };
        if length.is_some_and(|length| length != listed.length) || listed.version != *version {
            return Err(Coded::new(
                Code::T02,
                format!("{app}@{version} was signed as {} with {} bytes", listed.version, listed.length),
            ));
        }
        self.above_floor(listed, floor)?;
        Ok(listed)
    }

    fn above_floor(&self, listed: &Listed, floor: u64) -> Result<()> {
        let floor = floor.max(self.min_seq);
        if listed.seq >= floor {
            return Ok(());
        }
        Err(Coded::new(
            Code::T05,
            format!(
                "{}@{} is number {} and below the signed floor {floor}; nothing was changed",
                self.app, listed.version, listed.seq
            ),
        ))
    }
}

fn read_release(app: &str, name: &str, target: tough::schema::Target) -> Result<Listed> {
    let wrong = |why: &str| unfit(app, Part::Targets, &format!("lists \"{}\", which {why}", visible(name)));
    let about = target.custom.get("longshore").cloned().ok_or_else(|| wrong("says nothing about itself"))?;
    let about: AboutRelease = serde_json::from_value(about)
        .map_err(|e| wrong(&format!("is not ours ({})", visible(&e.to_string()))))?;
    if name != target_name(app, about.seq) {
        return Err(wrong("is not named as its number says"));
    }
    if target.length > MANIFEST_BYTES as u64 {
        return Err(wrong("is too large for a manifest"));
    }
    let digest =
        ReleaseDigest::try_from(target.hashes.sha256.as_ref()).map_err(|_| wrong("has no proper sha256"))?;
    Ok(Listed { seq: about.seq, version: about.version, digest, length: target.length })
}
