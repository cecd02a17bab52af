//! The name of an unpacked release on a host's disk.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::{
    code::{Code, Coded},
    digest::{ReleaseDigest, hex},
    ids::Version,
    settings::Settings,
    text::visible,
};

/// `<version>-<digest8>`. One release with other settings is another slot, so a change of settings alone is
/// staged, switched and reverted like any release.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slot(String);

impl Slot {
    pub fn new(version: &Version, release: &ReleaseDigest, settings: &Settings) -> Self {
        let mut hash = sha2::Sha256::new();
        hash.update(release.as_bytes());
        let mut add = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        for (name, value) in &settings.values {
            add(name);
            add(value);
        }
        for (name, reference) in &settings.secrets {
            add("secret"); // three in a row, the last in braces: no row of names and values looks like this
            add(name);
            add(&serde_json::to_string(reference).expect("a reference is JSON"));
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
    use crate::settings::{Reference, Values};

    #[test]
    fn other_values_are_another_slot() {
        let version = "1.2-rc1".parse().unwrap();
        let release = ReleaseDigest::of(b"x");
        let plain = Slot::new(&version, &release, &Settings::default());
        let mut tuned = Settings { values: Values::from([("a".into(), "b".into())]), ..Settings::default() };
        let slots = [plain.clone(), Slot::new(&version, &release, &tuned), {
            let sealed = Reference::Credential { name: "b".into(), rev: 0 };
            tuned.secrets.insert("a".into(), sealed);
            Slot::new(&version, &release, &tuned)
        }];
        assert_eq!(slots.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
        assert_eq!(plain.version(), "1.2-rc1");
        assert_eq!(plain.as_str().parse::<Slot>().unwrap(), plain);
    }
}
