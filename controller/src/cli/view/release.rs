//! Releases, one and many, and what publishing one did.

use longshore_common::{manifest::Manifest, text::visible};
use longshore_proto::v1 as pb;
use serde::Serialize;

use super::some;
use crate::cli::{
    moment::{Moment, bytes, count, took},
    output::{Page, View},
    signing::Overtaken,
    style::Ink,
    table::{Cell, Facts, Table},
};

#[derive(Clone, Debug, Serialize)]
pub struct Release {
    pub app: String,
    pub version: String,
    pub digest: String,
    pub published_at: Moment,
    pub published_by: String,
    pub files: u64,
    pub bytes: u64,
    /// Of the whole artifact, compressed.
    pub wire_bytes: u64,
    pub withdrawn: bool,
    pub withdrawn_reason: Option<String>,
    /// How it stands with those who sign. None: it was not asked, or what is signed is damaged.
    pub signing: Option<Signing>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Signing {
    /// signed: hosts take it; waiting: of more signatures; never; overtaken: to be signed again; delisted;
    /// delisting: that waits for more signatures; below-floor; revoked; unneeded: nothing is signed in this fleet.
    pub state: String,
    /// Signatures, while it waits.
    pub have: Option<u32>,
    pub takes: Option<u32>,
    /// Ids of the keys that may sign as well.
    pub lacking: Vec<String>,
    /// The command that brings the next signature.
    pub next: Option<String>,
    /// Why it was revoked.
    pub reason: Option<String>,
}

impl From<pb::ReleaseSigning> for Signing {
    fn from(signing: pb::ReleaseSigning) -> Self {
        let pb::ReleaseSigning { state, have, takes, lacking, next, reason } = signing;
        let waits = takes > 0;
        let (have, takes) = (waits.then_some(have), waits.then_some(takes));
        Self { state, have, takes, lacking, next: some(next), reason: some(reason) }
    }
}

impl Signing {
    /// In a table.
    fn cell(&self) -> Cell {
        match (self.state.as_str(), self.have.zip(self.takes)) {
            ("signed", _) => "yes".into(),
            ("unneeded", _) => "-".into(),
            ("waiting", Some((have, takes))) => Cell::new(Ink::Warn, format!("{have} of {takes}")),
            ("delisting", Some((have, takes))) => {
                Cell::new(Ink::Warn, format!("yes; delisting {have} of {takes}"))
            }
            ("never", _) => Cell::new(Ink::Warn, "no"),
            ("below-floor", _) => Cell::new(Ink::Warn, "below the floor"),
            (state, _) => Cell::new(Ink::Warn, visible(state)),
        }
    }

    /// In a sentence. None: nothing is signed in this fleet.
    fn line(&self, name: &str) -> Option<String> {
        let lacking = visible(&self.lacking.join(", "));
        let next = self.next.as_deref().map(|next| format!(": {}", visible(next))).unwrap_or_default();
        let waits = self.have.zip(self.takes);
        Some(match (self.state.as_str(), waits) {
            ("unneeded", _) => return None,
            ("signed", _) => "yes; hosts take it".to_owned(),
            ("waiting", Some((have, takes))) => {
                format!("waits, {have} of {takes} signatures; one of {lacking} is needed{next}")
            }
            ("delisting", Some((have, takes))) => {
                format!(
                    "yes; to take it off the list waits, {have} of {takes} signatures; one of {lacking} is needed{next}"
                )
            }
            ("never", _) => format!("no: longshore release sign {name}"),
            ("overtaken", _) => format!("no: another list was taken meanwhile; to be signed again{next}"),
            ("delisted", _) => "no longer: it was taken off the list".to_owned(),
            ("below-floor", _) => "yes, and below the signed floor: no host takes it".to_owned(),
            ("revoked", _) => {
                format!(
                    "revoked by the organisation: {}",
                    visible(self.reason.as_deref().unwrap_or_default())
                )
            }
            (state, _) => visible(state),
        })
    }
}

impl From<pb::Release> for Release {
    fn from(release: pb::Release) -> Self {
        let pb::Release {
            app,
            version,
            digest,
            published_ms,
            published_by,
            files,
            bytes,
            wire_bytes,
            withdrawn,
            withdrawn_reason,
            created: _,
            signing,
        } = release;
        Self {
            app,
            version,
            digest,
            published_at: Moment(published_ms),
            published_by,
            files,
            bytes,
            wire_bytes,
            withdrawn,
            withdrawn_reason: some(withdrawn_reason),
            signing: signing.map(Signing::from),
        }
    }
}

impl Release {
    pub fn name(&self) -> String {
        visible(&format!("{}@{}", self.app, self.version))
    }

    fn artifact(&self) -> String {
        let (whole, wire) = (bytes(self.bytes), bytes(self.wire_bytes));
        format!("{}, {whole}, {wire} compressed", count(self.files as usize, "file"))
    }

    pub(super) fn facts(&self, page: &Page) -> Facts {
        let mut facts = Facts::default();
        facts
            .add("release", self.name())
            .add("digest", visible(&self.digest))
            .add(
                "published",
                format!("{} by {}", self.published_at.date(&page.zone), visible(&self.published_by)),
            )
            .add("artifact", self.artifact())
            .add_some("signed", self.signing.as_ref().and_then(|signing| signing.line(&self.name())));
        if self.withdrawn {
            facts.add("withdrawn", visible(self.withdrawn_reason.as_deref().unwrap_or("yes")));
        }
        facts
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct ReleaseList {
    pub releases: Vec<Release>,
}

impl From<pb::ListReleasesReply> for ReleaseList {
    fn from(reply: pb::ListReleasesReply) -> Self {
        Self { releases: reply.releases.into_iter().map(Release::from).collect() }
    }
}

impl View for ReleaseList {
    const SCHEMA: &'static str = "longshore.cli.release-list/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        if self.releases.is_empty() {
            return vec![
                "No releases. Publish one: longshore release publish, beside a longshore.toml".to_owned(),
            ];
        }
        let mut table =
            Table::new(["RELEASE", "DIGEST", "FILES", "SIZE", "PUBLISHED", "BY", "SIGNED", "NOTE"]);
        for release in &self.releases {
            let note = match (release.withdrawn, &release.withdrawn_reason) {
                (true, Some(reason)) => Cell::new(Ink::Warn, visible(&format!("withdrawn: {reason}"))),
                (true, None) => Cell::new(Ink::Warn, "withdrawn"),
                (false, _) => "".into(),
            };
            table.row([
                release.name().into(),
                visible(&release.digest).chars().take(8).collect::<String>().into(),
                release.files.to_string().into(),
                bytes(release.bytes).into(),
                release.published_at.relative(page.now).into(),
                visible(&release.published_by).into(),
                release.signing.as_ref().map_or_else(|| "?".into(), Signing::cell),
                note,
            ]);
        }
        table.lines(page.style)
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct ReleaseDetail {
    pub release: Release,
    pub live: Vec<LiveIn>,
    /// Files beside it that are signed with it.
    pub attestations: Vec<Attested>,
    /// The manifest as it was published.
    pub manifest: serde_json::Value,
}

/// What is attested of a release.
#[derive(Clone, Debug, Serialize)]
pub struct Attested {
    /// sbom or provenance.
    pub kind: String,
    /// CycloneDX, SPDX or in-toto.
    pub format: String,
    pub sha256: String,
    pub bytes: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct LiveIn {
    pub env: String,
    pub hosts: u32,
}

impl ReleaseDetail {
    /// None when the controller answered without a release.
    pub fn new(reply: pb::ShowReleaseReply) -> Option<Self> {
        let pb::ShowReleaseReply { release, manifest, live } = reply;
        let read = Manifest::from_bytes(&manifest).map(|manifest| manifest.attestations).unwrap_or_default();
        let attestations = read.into_iter().map(|named| Attested {
            kind: named.kind.to_string(),
            format: named.format.to_string(),
            sha256: named.sha256.hex(),
            bytes: named.bytes,
        });
        Some(Self {
            attestations: attestations.collect(),
            release: release?.into(),
            live: live.into_iter().map(|on| LiveIn { env: on.env, hosts: on.hosts }).collect(),
            manifest: serde_json::from_slice(&manifest).unwrap_or(serde_json::Value::Null),
        })
    }
}

impl View for ReleaseDetail {
    const SCHEMA: &'static str = "longshore.cli.release-detail/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let mut facts = self.release.facts(page);
        for on in &self.live {
            facts.add("live in", visible(&format!("{} on {}", on.env, count(on.hosts as usize, "host"))));
        }
        for attested in &self.attestations {
            let (format, size) = (visible(&attested.format), bytes(attested.bytes));
            facts.add(&attested.kind, format!("{format}, {size}, sha256 {:.16}…", visible(&attested.sha256)));
        }
        let mut lines = facts.lines(page.style);
        let manifest = serde_json::to_string_pretty(&self.manifest).unwrap_or_default();
        lines.push(String::new());
        lines.extend(manifest.lines().map(visible));
        lines
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    pub release: String,
    pub files: u64,
    pub bytes: u64,
    pub damaged: Vec<String>,
}

impl Verified {
    pub fn new(release: String, reply: pb::VerifyReply) -> Self {
        let pb::VerifyReply { blobs, bytes, damaged } = reply;
        Self { release, files: blobs, bytes, damaged }
    }
}

impl View for Verified {
    const SCHEMA: &'static str = "longshore.cli.release-verified/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let read = format!("{}, {} read", count(self.files as usize, "blob"), bytes(self.bytes));
        let release = visible(&self.release);
        if self.damaged.is_empty() {
            return vec![format!("{release} is whole: {read}")];
        }
        let mut lines = vec![
            page.style
                .paint(Ink::Bad, &format!("{release} is damaged: {read}, {} wrong", self.damaged.len())),
        ];
        lines.extend(self.damaged.iter().map(|what| format!("  {}", visible(what))));
        lines.push("Publish the same folder again: what is damaged is uploaded anew.".to_owned());
        lines
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Published {
    pub release: Release,
    /// False: it was there already with the same content.
    pub created: bool,
    /// Distinct contents that the controller lacked, and their bytes before compression.
    pub new_blobs: u64,
    pub new_bytes: u64,
    pub took_ms: i64,
    /// "signed", "signed before" or "waiting" for more signatures; none where nothing is signed.
    pub signed: Option<String>,
    /// Which signatures are missing, if any.
    pub waiting: Option<String>,
    /// What others had signed for its place: it does not count any more.
    pub overtaken: Vec<Overtaken>,
}

impl Published {
    fn signed_line(&self) -> String {
        match self.signed.as_deref() {
            None => "no: nothing is signed in this fleet; longshore init changes that".to_owned(),
            Some("signed") => "now, by a key on this machine; hosts take it".to_owned(),
            Some("signed before") => "before; hosts take it".to_owned(),
            Some("waiting") => {
                let waiting = self.waiting.as_deref().map(|waiting| format!(": {}", visible(waiting)));
                format!("here, and not by enough keys yet{}", waiting.unwrap_or_default())
            }
            Some(word) => word.to_owned(),
        }
    }
}

impl View for Published {
    const SCHEMA: &'static str = "longshore.cli.release-published/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let name = self.release.name();
        let what = match self.created {
            true => page.style.paint(Ink::Good, &format!("{name} is published")),
            false => format!("{name} was published before with exactly this content: nothing to do"),
        };
        let new = match self.new_blobs {
            0 => "nothing; the controller had all of it".to_owned(),
            blobs => format!("{}, {} sent", count(blobs as usize, "file"), bytes(self.new_bytes)),
        };
        let mut facts = Facts::default();
        facts
            .add("artifact", self.release.artifact())
            .add("new", new)
            .add("digest", visible(&self.release.digest))
            .add("signed", self.signed_line())
            .add("took", took(self.took_ms));
        if self.waiting.is_none() {
            facts.add("next", format!("longshore rollout start {name} --to ENVIRONMENT --wait"));
        }
        let mut lines = vec![what];
        lines.extend(facts.lines(page.style).into_iter().map(|line| format!("  {line}")));
        lines.extend(self.overtaken.iter().map(|other| other.line(page.style)));
        lines
    }
}
