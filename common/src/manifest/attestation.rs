//! What others attest of a release: what it is made of (an SBOM), and how it came to be (provenance).
//!
//! The files lie beside the release; their digests are in the manifest, so that they are signed with it. Nothing here
//! is run or decided by what they say, only by whether they are there.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Manifest;
use crate::{
    code::{Code, Coded},
    digest::ContentDigest,
    text::visible,
};

/// What in-toto calls what a statement is wrapped in.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttestationKind {
    Sbom,
    Provenance,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttestationFormat {
    Cyclonedx,
    Spdx,
    /// A statement, plain or in a DSSE envelope.
    InToto,
}

/// A file that is attested of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    pub kind: AttestationKind,
    pub format: AttestationFormat,
    pub sha256: ContentDigest,
    pub bytes: u64,
}

impl Attestation {
    /// What the file is, if it is of that kind.
    pub fn recognise(kind: AttestationKind, bytes: &[u8]) -> Result<Self, Coded> {
        let json: Value = serde_json::from_slice(bytes)
            .map_err(|e| wrong(kind, &format!("is not JSON: {}", visible(&e.to_string()))))?;
        let format = match kind {
            AttestationKind::Sbom => sbom_format(&json),
            AttestationKind::Provenance => is_statement(&json).then_some(AttestationFormat::InToto),
        };
        let format = format.ok_or_else(|| {
            let known = match kind {
                AttestationKind::Sbom => "is neither CycloneDX (bomFormat) nor SPDX (spdxVersion)",
                AttestationKind::Provenance => "is no in-toto statement, nor one in a DSSE envelope",
            };
            wrong(kind, known)
        })?;
        Ok(Self { kind, format, sha256: ContentDigest::of(bytes), bytes: bytes.len() as u64 })
    }
}

/// Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking(Vec<AttestationKind>);

impl Lacking {
    /// `sbom and provenance`
    pub fn names(&self) -> String {
        self.0.iter().map(AttestationKind::to_string).collect::<Vec<_>>().join(" and ")
    }

    /// The command that publishes a release with all of it.
    pub fn remedy(&self) -> String {
        let options: Vec<String> = self.0.iter().map(|kind| format!("--{kind} FILE")).collect();
        format!("longshore release publish {}", options.join(" "))
    }
}

impl Manifest {
    /// What is demanded and the release does not carry, and how it comes to carry it.
    pub fn lacks(&self, demanded: &[AttestationKind]) -> Option<Lacking> {
        let has = |kind| self.attestations.iter().any(|attested| attested.kind == kind);
        let lacking: Vec<AttestationKind> = demanded.iter().copied().filter(|kind| !has(*kind)).collect();
        (!lacking.is_empty()).then_some(Lacking(lacking))
    }
}

fn sbom_format(json: &Value) -> Option<AttestationFormat> {
    if json["bomFormat"] == "CycloneDX" && json["specVersion"].is_string() {
        return Some(AttestationFormat::Cyclonedx);
    }
    let version = json["spdxVersion"].as_str().is_some_and(|version| version.starts_with("SPDX-"));
    let linked = json["@context"].as_str().is_some_and(|context| context.contains("spdx.org/rdf/3"));
    (version || linked).then_some(AttestationFormat::Spdx)
}

fn is_statement(json: &Value) -> bool {
    let plain = |json: &Value| json["_type"].as_str().is_some_and(|of| of.starts_with(STATEMENT));
    let wrapped = || {
        let payload = STANDARD.decode(json["payload"].as_str()?).ok()?;
        let inner: Value = serde_json::from_slice(&payload).ok()?;
        Some(json["payloadType"] == PAYLOAD_TYPE && plain(&inner))
    };
    plain(json) || wrapped().unwrap_or(false)
}

fn wrong(kind: AttestationKind, why: &str) -> Coded {
    Coded::new(Code::M01, format!("the {kind} {why}; nothing was published"))
}

impl AttestationKind {
    pub const ALL: [AttestationKind; 2] = [AttestationKind::Sbom, AttestationKind::Provenance];

    pub fn as_str(self) -> &'static str {
        match self {
            AttestationKind::Sbom => "sbom",
            AttestationKind::Provenance => "provenance",
        }
    }
}

impl fmt::Display for AttestationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for AttestationKind {
    type Err = Coded;
    fn from_str(text: &str) -> Result<Self, Coded> {
        AttestationKind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let message =
                format!("\"{}\" is nothing that is attested: write sbom or provenance", visible(text));
            Coded::new(Code::V01, message)
        })
    }
}

impl fmt::Display for AttestationFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            AttestationFormat::Cyclonedx => "CycloneDX",
            AttestationFormat::Spdx => "SPDX",
            AttestationFormat::InToto => "in-toto",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_what_they_say_they_are() {
        use AttestationKind::{Provenance, Sbom};
        let statement = r#"{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"x"}"#;
        let envelope = format!(
            r#"{{"payloadType":"{PAYLOAD_TYPE}","payload":"{}","signatures":[]}}"#,
            STANDARD.encode(statement)
        );
        for (kind, text, format) in [
            (Sbom, r#"{"bomFormat":"CycloneDX","specVersion":"1.6"}"#, AttestationFormat::Cyclonedx),
            (Sbom, r#"{"spdxVersion":"SPDX-2.3"}"#, AttestationFormat::Spdx),
            (
                Sbom,
                r#"{"@context":"https://spdx.org/rdf/3.0.1/spdx-context.jsonld"}"#,
                AttestationFormat::Spdx,
            ),
            (Provenance, statement, AttestationFormat::InToto),
            (Provenance, &envelope, AttestationFormat::InToto),
        ] {
            assert_eq!(Attestation::recognise(kind, text.as_bytes()).unwrap().format, format, "{text}");
        }
        for (kind, text) in [
            (Sbom, statement),
            (Sbom, "<html>"),
            (Sbom, "{}"),
            (Sbom, r#"{"bomFormat":"CycloneDX"}"#),
            (Sbom, r#"{"specVersion":"1.6"}"#),
            (Provenance, &envelope.replace("vnd.in-toto", "vnd.other")),
            (Provenance, &format!(r#"{{"payloadType":"{PAYLOAD_TYPE}","payload":"e30="}}"#)),
            (Provenance, r#"{"bomFormat":"CycloneDX","specVersion":"1.6"}"#),
            (Provenance, r#"{"payloadType":"x","payload":"e30="}"#),
        ] {
            assert_eq!(Attestation::recognise(kind, text.as_bytes()).unwrap_err().code, Code::M01, "{text}");
        }
    }

    #[test]
    fn kinds_and_formats_have_the_names_that_people_write_and_read() {
        for kind in AttestationKind::ALL {
            assert_eq!(kind.to_string().parse::<AttestationKind>().unwrap(), kind);
        }
        assert_eq!(AttestationKind::ALL.map(|kind| kind.to_string()), ["sbom", "provenance"]);
        assert!("SBOM".parse::<AttestationKind>().unwrap_err().message.contains("\"SBOM\" is nothing"));
        let formats = [AttestationFormat::Cyclonedx, AttestationFormat::Spdx, AttestationFormat::InToto];
        assert_eq!(formats.map(|format| format.to_string()), ["CycloneDX", "SPDX", "in-toto"]);
        let refusal = Attestation::recognise(AttestationKind::Sbom, b"{}").unwrap_err();
        assert!(refusal.message.starts_with("the sbom is neither CycloneDX"), "{refusal}");
    }
}
