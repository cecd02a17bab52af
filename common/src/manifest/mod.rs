//! What a release is: the manifest, whose bytes name the release.
//!
//! `longshore.toml` (`file.rs`) is what people write; the manifest is what is stored, sent and, later, signed. It
//! holds everything that can execute or change privilege, so nothing else has to be believed.

mod attestation;
pub mod file;
mod model;
mod requires;
mod sides;
mod test;

pub use attestation::{Attestation, AttestationFormat, AttestationKind, Lacking};
pub use model::*;
pub use sides::Sides;
pub use test::{Report, Test};

use crate::{
    code::{Code, Coded},
    digest::ReleaseDigest,
    text::visible,
};

/// Bytes of a manifest; larger ones are refused before they are parsed.
pub const MANIFEST_BYTES: usize = 64 * 1024;

impl Manifest {
    /// The bytes that name the release. Field order is that of the types and maps are sorted, so one manifest
    /// has one encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a manifest holds nothing that JSON cannot say")
    }

    pub fn digest(&self) -> ReleaseDigest {
        ReleaseDigest::of(&self.to_bytes())
    }

    /// Strict: unknown fields, wrong types and anything over 64 KiB are errors.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Coded> {
        if bytes.len() > MANIFEST_BYTES {
            return Err(Coded::new(
                Code::M01,
                format!("manifest is {} bytes long; at most {MANIFEST_BYTES} are allowed", bytes.len()),
            ));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(|e| {
            // The error repeats keys of the manifest as they are.
            let why = visible(&e.to_string());
            Coded::new(Code::M01, format!("manifest line {} column {}: {why}", e.line(), e.column()))
        })?;
        if manifest.schema != SCHEMA {
            return Err(Coded::new(
                Code::M01,
                format!(
                    "manifest has schema \"{}\", this version knows \"{SCHEMA}\"",
                    visible(&manifest.schema)
                ),
            ));
        }
        Ok(manifest)
    }
}
