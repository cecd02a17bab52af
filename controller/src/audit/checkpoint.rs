//! Signed statements "after so many entries the chain ended in this hash". Hosts keep the last of them.

use std::path::Path;

use longshore_common::{
    digest::hex,
    durable,
    time::{Millis, Span},
};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::log::AuditError;
use crate::fleet::host::hex32;

/// A checkpoint is made after this many entries, or this long after an entry.
pub const CHECKPOINT_ENTRIES: u64 = 100;
pub const CHECKPOINT_EVERY: Span = Span::secs(60);
const KEY_FILE: &str = "audit-key.pk8";
/// Nothing else that is ever signed begins like this.
const CONTEXT: &[u8] = b"longshore-audit-checkpoint/1\0";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Entries so far: the chain's next number.
    pub entries: u64,
    /// SHA-256 of the last of them.
    #[serde(with = "hex32")]
    pub head: [u8; 32],
    pub at_ms: Millis,
    /// Ed25519 public key, raw.
    #[serde(with = "hex32")]
    pub key: [u8; 32],
    pub signature: Vec<u8>,
}

impl Checkpoint {
    fn bytes(entries: u64, head: &[u8; 32], at_ms: Millis) -> Vec<u8> {
        [CONTEXT, &entries.to_be_bytes(), head, &at_ms.to_be_bytes()].concat()
    }

    /// Signed by the key that it names.
    pub fn is_sound(&self) -> bool {
        let message = Self::bytes(self.entries, &self.head, self.at_ms);
        UnparsedPublicKey::new(&ED25519, &self.key).verify(&message, &self.signature).is_ok()
    }
}

/// The controller's audit key.
pub struct Signer {
    pair: Ed25519KeyPair,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", hex(&self.public()[..4]))
    }
}

impl Signer {
    /// The key in `dir`, or a new one.
    pub fn load_or_create(dir: &Path) -> Result<Self, AuditError> {
        let path = dir.join(KEY_FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let made = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new())
                    .map_err(|_| AuditError::Key { path: path.clone() })?;
                durable::write_atomic(&path, made.as_ref(), 0o600)
                    .map_err(|source| AuditError::Write { path: path.clone(), source })?;
                made.as_ref().to_vec()
            }
            Err(source) => return Err(AuditError::Read { path, source }),
        };
        let pair = Ed25519KeyPair::from_pkcs8(&bytes).map_err(|_| AuditError::Key { path })?;
        Ok(Self { pair })
    }

    pub fn public(&self) -> [u8; 32] {
        self.pair.public_key().as_ref().try_into().expect("an Ed25519 key has 32 bytes")
    }

    pub fn sign(&self, entries: u64, head: [u8; 32], at_ms: Millis) -> Checkpoint {
        let signature = self.pair.sign(&Checkpoint::bytes(entries, &head, at_ms)).as_ref().to_vec();
        Checkpoint { entries, head, at_ms, key: self.public(), signature }
    }
}
