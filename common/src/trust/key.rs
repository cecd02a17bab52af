//! Ed25519 keys, and no others.

use std::{collections::HashMap, fmt, str::FromStr};

use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde::{Deserialize, Serialize};
use tough::schema::key::{Ed25519Key, Ed25519Scheme, Key};

use crate::{
    code::{Code, Coded},
    digest::hex,
};

/// What a signature is checked with. Named by the SHA-256 that TUF gives it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// The key as TUF's documents say it.
    pub(super) fn to_tuf(self) -> Key {
        Key::Ed25519 {
            keyval: Ed25519Key { public: self.0.to_vec().into(), _extra: HashMap::new() },
            scheme: Ed25519Scheme::Ed25519,
            _extra: HashMap::new(),
        }
    }

    /// None: a key of a kind that is not used here.
    pub(super) fn from_tuf(key: &Key) -> Option<Self> {
        match key {
            Key::Ed25519 { keyval, .. } => keyval.public.as_ref().try_into().ok().map(Self),
            Key::Rsa { .. } | Key::Ecdsa { .. } | Key::EcdsaOld { .. } => None,
        }
    }

    /// The name under which documents list it.
    pub fn id(&self) -> [u8; 32] {
        let id = self.to_tuf().key_id().expect("an Ed25519 key is plain JSON");
        id.as_ref().try_into().expect("a key is named by a SHA-256")
    }

    /// The first eight hex digits of its name: for people.
    pub fn short(&self) -> String {
        hex(&self.id()[..4])
    }

    /// Whether `signature` is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, self.0);
        key.verify(message, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.short())
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for PublicKey {
    type Error = Coded;
    fn try_from(text: String) -> Result<Self, Coded> {
        text.parse()
    }
}

impl FromStr for PublicKey {
    type Err = Coded;
    fn from_str(text: &str) -> Result<Self, Coded> {
        let digest: crate::digest::ReleaseDigest =
            text.parse().map_err(|_| Coded::new(Code::V01, "a public key is 64 hexadecimal digits"))?;
        Ok(Self(digest.0))
    }
}

/// Makes signatures. Never shown, never logged.
pub struct SigningKey {
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl SigningKey {
    pub fn generate() -> Self {
        use ring::rand::{SecureRandom as _, SystemRandom};
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).expect("the system has random bytes");
        Self::from_seed(seed)
    }

    pub fn from_seed(seed: [u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("32 bytes are a seed");
        Self { seed, pair }
    }

    /// What has to be kept, secret, to have the key again.
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(self.pair.public_key().as_ref().try_into().expect("an Ed25519 key has 32 bytes"))
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public().short())
    }
}
