//! Names and numbers. Each is checked where it enters, so nothing behind the door checks again.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    code::{Code, Coded},
    text::visible,
};

/// Longest name, as in a DNS label.
pub const NAME_MAX: usize = 63;
/// Longest version.
pub const VERSION_MAX: usize = 64;

/// Of an app, an environment, or a thing within a file of theirs.
pub fn is_name(text: &str) -> bool {
    let fits = !text.is_empty() && text.len() <= NAME_MAX;
    let starts = text.starts_with(|c: char| c.is_ascii_lowercase());
    let chars = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    fits && starts && chars && !text.ends_with('-')
}

fn check_name(what: &str, text: &str) -> Result<(), Coded> {
    if is_name(text) {
        return Ok(());
    }
    Err(Coded::new(
        Code::V01,
        format!(
            "{what} \"{}\" is invalid: use 1-{NAME_MAX} of a-z 0-9 \"-\", starting with a letter and not ending with \"-\"",
            visible(text)
        ),
    ))
}

/// What stands behind `longshore-` in units of our own: an app of such a name would have its unit in their place.
const UNITS_OF_OURS: [&str; 5] = ["agent", "agent-single", "helper", "controller", "nginx"];
/// What ends the unit names of an app's parts: the unit of an app `shop-blue` would be that of a side of `shop`.
const UNIT_SUFFIXES: [&str; 3] = ["-blue", "-green", "-relay"];

/// A name of a unit beside ours. Refused wherever a name is read, a signed manifest included: no release key may take
/// the place of the agent's own units.
fn check_app_name(what: &str, text: &str) -> Result<(), Coded> {
    check_name(what, text)?;
    let refuse = |why: String| {
        let message = format!("{what} \"{text}\" is reserved: {why}. Call the app something else");
        Err(Coded::new(Code::V01, message))
    };
    if UNITS_OF_OURS.contains(&text) {
        return refuse(format!("longshore-{text} is a unit of Longshore itself"));
    }
    match UNIT_SUFFIXES.into_iter().find(|suffix| text.ends_with(suffix)) {
        Some(suffix) => refuse(format!("with \"{suffix}\" end the units of an app's sides")),
        None => Ok(()),
    }
}

fn check_host_name(what: &str, text: &str) -> Result<(), Coded> {
    let fits = !text.is_empty() && text.len() <= 253;
    let chars = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_');
    if fits && chars && text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(Coded::new(
        Code::V01,
        format!(
            "{what} \"{}\" is invalid: use 1-253 of a-z A-Z 0-9 \"-\" \"_\" \".\", starting with a letter or digit",
            visible(text)
        ),
    ))
}

fn check_version(what: &str, text: &str) -> Result<(), Coded> {
    let fits = !text.is_empty() && text.len() <= VERSION_MAX;
    let chars = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+'));
    if fits && chars && text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(Coded::new(
        Code::V01,
        format!(
            "{what} \"{}\" is invalid: use 1-{VERSION_MAX} of a-z A-Z 0-9 \".\" \"-\" \"_\" \"+\", starting with a letter or digit",
            visible(text)
        ),
    ))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = Coded;
            fn from_str(text: &str) -> Result<Self, Coded> {
                $check($what, text)?;
                Ok(Self(text.to_owned()))
            }
        }
        impl TryFrom<String> for $name {
            type Error = Coded;
            fn try_from(text: String) -> Result<Self, Coded> {
                $check($what, &text)?;
                Ok(Self(text))
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// Of something that is deployed. Never that of a unit of ours.
    AppName, "app name", check_app_name
);
name!(
    /// Of a named set of hosts with a policy.
    EnvName, "environment name", check_name
);
name!(
    /// What a host is called. A label: the identity is `HostId`.
    HostName, "host name", check_host_name
);
name!(
    /// Of a release; unique within its app, compared as text only.
    Version, "version", check_version
);
name!(
    /// Of an operator.
    OperatorName, "operator name", check_host_name
);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl FromStr for $name {
            type Err = Coded;
            fn from_str(text: &str) -> Result<Self, Coded> {
                Uuid::try_parse(text).map(Self).map_err(|_| {
                    Coded::new(Code::V01, format!("id \"{}\" is invalid: expected a UUID", visible(text)))
                })
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id!(
    /// Of a host; given at enrolment, never used again for another.
    HostId
);
id!(
    /// Of a rollout; a UUIDv7, so ids sort by time of creation.
    RolloutId
);

impl HostId {
    /// Of a machine that never enrolled.
    pub const NONE: Self = Self(Uuid::nil());
}

impl RolloutId {
    /// Of what no rollout asked for.
    pub const NONE: Self = Self(Uuid::nil());

    /// Enough to name it, short enough to type: its milliseconds, 48 bits of a UUIDv7.
    pub fn short(&self) -> String {
        self.to_string().chars().take(13).collect()
    }
}

/// Orders the assignments of one app on one host. Only rises.
///
/// The high bits are the rollout's sequence number, the low 16 the round within it, so that a later rollout
/// always wins over an earlier one whatever happened in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    pub const ROUND_BITS: u32 = 16;

    pub fn new(sequence: u64, round: u16) -> Self {
        Self((sequence << Self::ROUND_BITS) | u64::from(round))
    }
    pub fn sequence(self) -> u64 {
        self.0 >> Self::ROUND_BITS
    }
    pub fn round(self) -> u16 {
        (self.0 & u64::from(u16::MAX)) as u16
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.sequence(), self.round())
    }
}

/// A store's write counter: every commit that changes something takes the next one. 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_hurt_are_refused_and_shown_escaped() {
        for bad in
            ["", "a b", "ünï", "; rm -rf /", "..", "-a", "a-", "1a", "A", "a\u{1b}[31m", &"a".repeat(64)]
        {
            let error = bad.parse::<AppName>().expect_err(bad);
            assert_eq!(error.code, Code::V01);
            assert!(!error.message.contains('\u{1b}'), "raw escape in {error}");
        }
        assert_eq!("shop-2".parse::<AppName>().unwrap().as_str(), "shop-2");
    }

    #[test]
    fn an_app_may_not_be_called_as_a_unit_of_ours() {
        for taken in
            ["agent", "agent-single", "helper", "controller", "nginx", "shop-blue", "a-green", "a-relay"]
        {
            let error = taken.parse::<AppName>().expect_err(taken);
            assert_eq!(error.code, Code::V01);
            assert!(error.message.contains("is reserved"), "{error}");
            assert!(serde_json::from_str::<AppName>(&format!("\"{taken}\"")).is_err(), "{taken}");
        }
        for free in ["agents", "my-agent", "helper-2", "blue", "shop-blues", "relay"] {
            assert!(free.parse::<AppName>().is_ok(), "{free}");
        }
        assert!("controller".parse::<EnvName>().is_ok(), "an environment is no unit");
    }

    #[test]
    fn versions_are_one_path_component() {
        for bad in ["", ".", "..", "1/2", "a b", ".1", "-1", &"1".repeat(65)] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
        assert!("1.4.2+abc".parse::<Version>().is_ok());
    }

    #[test]
    fn a_later_rollout_outranks_every_round_of_an_earlier_one() {
        assert!(Generation::new(2, 0) > Generation::new(1, u16::MAX));
        assert_eq!(Generation::new(7, 3).sequence(), 7);
        assert_eq!(Generation::new(7, 3).round(), 3);
    }
}
