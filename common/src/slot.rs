//! The name of an unpacked release on a host's disk.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::{
    code::{Code, Coded},
    digest::{ReleaseDigest, hex},
    ids::Version,
    text::visible,
};

/// Values that config templates are rendered with, by key.
pub type Values = BTreeMap<String, String>;

/// `<version>-<digest8>`. One release with other values is another slot, so a change of values alone is staged,
/// switched and reverted like any release.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slot(String);

impl Slot {
    pub fn new(version: &Version, release: &ReleaseDigest, values: &Values) -> Self {
        let mut hash = sha2::Sha256::new();
        hash.update(release.as_bytes());
        for (key, value) in values {
            hash.update((key.len() as u64).to_le_bytes());
            hash.update(key);
            hash.update((value.len() as u64).to_le_bytes());
            hash.update(value);
        }
        Self(format!("{version}-{}", hex(&hash.finalize()[..4])))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The version part.
    pub fn version(&self) -> &str {
        self.0.rsplit_once('-').expect("checked when it was made").0
    }
}

impl FromStr for Slot {
    type Err = Coded;
    fn from_str(text: &str) -> Result<Self, Coded> {
        let bad = || {
            Coded::new(
                Code::V01,
                format!("slot \"{}\" is invalid: expected <version>-<8 hex digits>", visible(text)),
            )
        };
        let (version, digest) = text.rsplit_once('-').ok_or_else(bad)?;
        version.parse::<Version>()?;
        let hex = digest.len() == 8 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex { Ok(Self(text.to_owned())) } else { Err(bad()) }
    }
}
impl TryFrom<String> for Slot {
    type Error = Coded;
    fn try_from(text: String) -> Result<Self, Coded> {
        text.parse()
    }
}
impl From<Slot> for String {
    fn from(slot: Slot) -> String {
        slot.0
    }
}
impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_values_are_another_slot() {
        let version = "1.2-rc1".parse().unwrap();
        let release = ReleaseDigest::of(b"x");
        let plain = Slot::new(&version, &release, &Values::new());
        let tuned = Slot::new(&version, &release, &Values::from([("a".into(), "b".into())]));
        assert_ne!(plain, tuned);
        assert_eq!(plain.version(), "1.2-rc1");
        assert_eq!(plain.as_str().parse::<Slot>().unwrap(), plain);
    }
}
