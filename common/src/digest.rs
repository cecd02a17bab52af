//! Content names: BLAKE3 for blobs (fast: files are hashed while they are written), SHA-256 for what is signed.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::code::{Code, Coded};

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub [u8; 32]);

        impl $name {
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
            pub fn hex(&self) -> String {
                hex(&self.0)
            }
            /// The first eight hex digits: for people, never for decisions.
            pub fn short(&self) -> String {
                hex(&self.0[..4])
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.hex())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }
        impl FromStr for $name {
            type Err = Coded;
            fn from_str(text: &str) -> Result<Self, Coded> {
                unhex(text).map(Self)
            }
        }
        impl TryFrom<String> for $name {
            type Error = Coded;
            fn try_from(text: String) -> Result<Self, Coded> {
                unhex(&text).map(Self)
            }
        }
        impl From<$name> for String {
            fn from(digest: $name) -> String {
                digest.hex()
            }
        }
        impl TryFrom<&[u8]> for $name {
            type Error = Coded;
            fn try_from(bytes: &[u8]) -> Result<Self, Coded> {
                bytes.try_into().map(Self).map_err(|_| {
                    Coded::new(Code::V01, format!("a digest has 32 bytes, not {}", bytes.len()))
                })
            }
        }
    };
}

digest!(
    /// BLAKE3 of a file's content.
    BlobDigest
);
digest!(
    /// SHA-256 of an index's bytes.
    IndexDigest
);
digest!(
    /// SHA-256 of a manifest's bytes: what names a release.
    ReleaseDigest
);
digest!(
    /// SHA-256 of what is binding of a plan.
    PlanDigest
);
digest!(
    /// SHA-256 of some content that is compared and not fetched: a file of an environment, values.
    ContentDigest
);

digest!(
    /// SHA-256 over one sealed secret: its name and every host's ciphertext.
    SealedDigest
);
digest!(
    /// SHA-256 of a snapshot: the settings of an app as they were when a rollout began.
    SnapshotDigest
);

impl PlanDigest {
    pub fn of(binding: &[u8]) -> Self {
        Self(sha256(binding))
    }
}
impl ContentDigest {
    pub fn of(content: &[u8]) -> Self {
        Self(sha256(content))
    }
}
impl BlobDigest {
    pub fn of(content: &[u8]) -> Self {
        Self(*blake3::hash(content).as_bytes())
    }
}
impl IndexDigest {
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha256(bytes))
    }
}
impl ReleaseDigest {
    pub fn of(manifest: &[u8]) -> Self {
        Self(sha256(manifest))
    }
}

pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(bytes).into()
}

pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]])
        .map(char::from)
        .collect()
}

fn unhex(text: &str) -> Result<[u8; 32], Coded> {
    let bad = || Coded::new(Code::V01, "a digest is 64 hexadecimal digits".to_owned());
    if text.len() != 64 || !text.is_ascii() {
        return Err(bad());
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digit = |c: u8| (c as char).to_digit(16).map(|d| d as u8).ok_or_else(bad);
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_go_to_text_and_back() {
        let digest = ReleaseDigest::of(b"longshore");
        assert_eq!(digest.hex().parse::<ReleaseDigest>().unwrap(), digest);
        assert!("12".parse::<ReleaseDigest>().is_err());
        assert!("é".repeat(32).parse::<ReleaseDigest>().is_err());
    }
}
